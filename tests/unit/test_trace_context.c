/* lib/http/trace_context.c: traceparent and tracestate. */
#include "http/trace_context.h"

#include <stdio.h>

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>

#include <cmocka.h>

#define ID "0af7651916cd43dd8448eb211c80319c"
#define SPAN "b7ad6b7169203331"

static const unsigned char bytes[TRACE_RANDOM_SIZE] = {
    0x01, 0x23, 0x45, 0x67, 0x89, 0xab, 0xcd, 0xef, 0x10, 0x11, 0x12, 0x13,
    0x14, 0x15, 0x16, 0x17, 0x18, 0x19, 0x1a, 0x1b, 0x1c, 0x1d, 0x1e, 0x1f};

static void assert_parent(const struct trace_context *trace, const char *expected)
{
    char text[TRACE_PARENT_SIZE + 1] = "";

    trace_parent(trace, text);
    assert_string_equal(text, expected);
}

static void continues_a_valid_parent(void **state)
{
    static const char *const cases[][2] = {
        {"00-" ID "-" SPAN "-01", "01"},  {"00-" ID "-" SPAN "-00", "00"},
        {"00-" ID "-" SPAN "-ff", "01"},  {"00-" ID "-" SPAN "-02", "00"},
        {"cc-" ID "-" SPAN "-01", "01"},  {"01-" ID "-" SPAN "-01-what-the-future", "01"},
        {"fe-" ID "-" SPAN "-00-", "00"},
    };
    struct trace_context trace;
    char expected[64];

    (void)state;
    for (size_t i = 0; i < ARRAY_SIZE(cases); i++) {
        assert_true(trace_start(&trace, str_of(cases[i][0]), bytes));
        snprintf(expected, sizeof(expected), "00-" ID "-0123456789abcdef-%s", cases[i][1]);
        assert_parent(&trace, expected);
        assert_true(str_eq(trace_id_of(str_of(cases[i][0])), STR(ID)));
    }
}

static void makes_a_span_within_another(void **state)
{
    struct trace_context parent, trace;

    (void)state;
    assert_true(trace_start(&parent, STR("00-" ID "-" SPAN "-01"), bytes));
    assert_true(parent.has_parent);
    assert_memory_equal(parent.parent, SPAN, TRACE_SPAN_SIZE);
    trace_child(&trace, &parent, bytes + 8);
    assert_parent(&trace, "00-" ID "-1011121314151617-01");
    assert_true(trace.has_parent);
    assert_memory_equal(trace.parent, "0123456789abcdef", TRACE_SPAN_SIZE);
    assert_false(trace_start(&trace, STR(""), bytes));
    assert_false(trace.has_parent);
}

static void starts_anew_without_one(void **state)
{
    static const char *const cases[] = {
        NULL,
        "",
        "00-" ID "-" SPAN,
        "00-" ID "-" SPAN "-0",
        "00-" ID "-" SPAN "-01-",
        "00-" ID "-" SPAN "-01x",
        "01-" ID "-" SPAN "-01x",
        "ff-" ID "-" SPAN "-01",
        "0-" ID "-" SPAN "-001",
        "00-0AF7651916CD43DD8448EB211C80319C-" SPAN "-01",
        "00-00000000000000000000000000000000-" SPAN "-01",
        "00-" ID "-0000000000000000-01",
        "00-" ID "-" SPAN "-0g",
        "00_" ID "-" SPAN "-01",
        "00-" ID "-" SPAN "-01,00-" ID "-" SPAN "-01",
        " 00-" ID "-" SPAN "-01",
    };
    struct trace_context trace;

    (void)state;
    for (size_t i = 0; i < ARRAY_SIZE(cases); i++) {
        assert_false(trace_start(&trace, str_of(cases[i]), bytes));
        assert_parent(&trace, "00-101112131415161718191a1b1c1d1e1f-0123456789abcdef-01");
        assert_null(trace_id_of(str_of(cases[i])).p);
    }
}

static void never_makes_a_zero_id(void **state)
{
    static const unsigned char zero[TRACE_RANDOM_SIZE];
    struct trace_context trace;

    (void)state;
    assert_false(trace_start(&trace, STR_NULL, zero));
    assert_parent(&trace, "00-00000000000000000000000000000001-0000000000000001-01");
}

static void assert_state(struct arena *arena, const char *header, const char *expected)
{
    struct str got = trace_state(arena, str_of(header));

    assert_true((got.p != NULL) == (expected != NULL));
    if (!str_eq(got, str_of(expected)))
        fail_msg("\"%s\" gives \"%.*s\"", header, STR_FMT(got));
}

static void passes_states_on(void **state)
{
    static const char *const cases[][2] = {
        {"rojo=00f067aa0ba902b7,congo=t61rcWkgMzE", "rojo=00f067aa0ba902b7,congo=t61rcWkgMzE"},
        {" a=1 ,\t, b=2,", "a=1,b=2"},
        {"tenant@system=x y", "tenant@system=x y"},
        {"0t@s=1", "0t@s=1"},
        {"a_-*/=!~", "a_-*/=!~"},
        {NULL, NULL},
        {"", NULL},
        {",", NULL},
        {"a", NULL},
        {"a=", NULL},
        {"=1", NULL},
        {"A=1", NULL},
        {"0a=1", NULL},
        {"a=1,b", NULL},
        {"a=1,a=2", NULL},
        {"a=b=c", NULL},
        {"a=\x80", NULL},
        {"a@=1", NULL},
        {"@a=1", NULL},
        {"a@b@c=1", NULL},
        {"a@system890123456=1", NULL},
    };
    struct arena arena;

    (void)state;
    arena_init(&arena, 0);
    for (size_t i = 0; i < ARRAY_SIZE(cases); i++)
        assert_state(&arena, cases[i][0], cases[i][1]);
    arena_free(&arena);
}

static void limits_states(void **state)
{
    char text[4096] = "", large[256];
    struct arena arena;
    struct str got;
    size_t n = 0;

    (void)state;
    arena_init(&arena, 0);
    for (int i = 0; i < TRACE_STATE_MEMBERS; i++)
        n += (size_t)snprintf(text + n, sizeof(text) - n, "k%d=v,", i);
    assert_non_null(trace_state(&arena, str_of(text)).p);
    snprintf(text + n, sizeof(text) - n, "k=v");
    assert_null(trace_state(&arena, str_of(text)).p);
    /* The long member goes first, then the last ones. */
    memset(large, 'x', sizeof(large));
    n = (size_t)snprintf(text, sizeof(text), "a=%.100s,b=%.200s,c=%.100s,", large, large, large);
    for (int i = 0; i < 4; i++)
        n += (size_t)snprintf(text + n, sizeof(text) - n, "d%d=%.90s,", i, large);
    got = trace_state(&arena, str_of(text));
    assert_true(got.n <= TRACE_STATE_SIZE && got.n > TRACE_STATE_SIZE - 100);
    assert_true(str_starts(got, STR("a=x")));
    assert_null(memmem(got.p, got.n, "b=", 2));
    assert_non_null(memmem(got.p, got.n, ",c=", 3));
    assert_non_null(memmem(got.p, got.n, ",d2=", 4));
    assert_null(memmem(got.p, got.n, ",d3=", 4));
    arena_free(&arena);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(continues_a_valid_parent), cmocka_unit_test(makes_a_span_within_another),
        cmocka_unit_test(starts_anew_without_one),  cmocka_unit_test(never_makes_a_zero_id),
        cmocka_unit_test(passes_states_on),         cmocka_unit_test(limits_states),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
