/* lib/base: strings, numbers, arena, buffer, log. */
#include "base/arena.h"
#include "base/buf.h"
#include "base/hex.h"
#include "base/log.h"
#include "base/uuid.h"

#include <errno.h>
#include <inttypes.h>
#include <limits.h>
#include <sched.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#include <cmocka.h>

static void test_str(void **state)
{
    (void)state;
    assert_true(str_eq(STR("abc"), STR("abc")));
    assert_false(str_eq(STR("abc"), STR("abd")));
    assert_true(str_eq(STR_NULL, STR("")));
    assert_true(str_starts(STR("abc"), STR("ab")));
    assert_false(str_starts(STR("a"), STR("ab")));
    assert_true(str_ends(STR("abc"), STR("bc")));
    assert_false(str_ends(STR("c"), STR("bc")));
    assert_int_equal(str_skip(STR("abc"), 5).n, 0);
    assert_true(str_eq_nocase(STR("Bearer"), STR("bEARER")));
    assert_false(str_eq_nocase(STR("Bearer"), STR("Bearers")));
    /* '@' and '`' differ by the case bit and are no letters. */
    assert_false(str_eq_nocase(STR("@"), STR("`")));
    assert_true(str_is_blank(STR("")));
    assert_true(str_is_blank(STR(" \t\r\n\v\f")));
    assert_false(str_is_blank(STR(" x ")));
    assert_true(str_eq(str_trim(STR(" \t\r\n\v\fx y\n ")), STR("x y")));
    assert_int_equal(str_trim(STR(" \t ")).n, 0);
    assert_int_equal(str_trim(STR_NULL).n, 0);
}

static void test_str_to_int64(void **state)
{
    static const struct {
        const char *text;
        int result;
        int64_t value;
    } cases[] = {
        {"0", 0, 0},
        {"-0", 0, 0},
        {"42", 0, 42},
        {"-42", 0, -42},
        {"9223372036854775807", 0, INT64_MAX},
        {"-9223372036854775808", 0, INT64_MIN},
        {"9223372036854775808", -ERANGE, 0},
        {"-9223372036854775809", -ERANGE, 0},
        {"99999999999999999999", -ERANGE, 0},
        {"", -EINVAL, 0},
        {"-", -EINVAL, 0},
        {"+1", -EINVAL, 0},
        {" 1", -EINVAL, 0},
        {"1x", -EINVAL, 0},
    };

    (void)state;
    for (size_t i = 0; i < ARRAY_SIZE(cases); i++) {
        int64_t v = 0;
        assert_int_equal(str_to_int64(str_of(cases[i].text), &v), cases[i].result);
        if (cases[i].result == 0)
            assert_true(v == cases[i].value);
    }
}

static void test_arena(void **state)
{
    struct arena a;

    (void)state;
    arena_init(&a, 0);
    for (size_t i = 1; i < 3000; i += 7) {
        char *p = arena_alloc(&a, i);
        assert_non_null(p);
        assert_int_equal((uintptr_t)p % _Alignof(max_align_t), 0);
        memset(p, 0x5a, i);
    }
    assert_non_null(arena_alloc(&a, 0));
    assert_string_equal(arena_printf(&a, "%d-%s", 7, "x").p, "7-x");
    struct str copy = arena_copy(&a, (struct str){"ab\0c", 4});
    assert_int_equal(copy.n, 4);
    assert_int_equal(copy.p[4], 0);
    assert_null(arena_calloc(&a, SIZE_MAX / 2, 3));
    assert_null(arena_alloc(&a, SIZE_MAX));
    arena_reset(&a);
    assert_true(a.total < 8192);
    assert_non_null(arena_alloc(&a, 10));
    arena_free(&a);
    assert_int_equal(a.total, 0);
}

/* Texts of each length, before and behind the end of a block, one after the other. */
static void test_arena_printf(void **state)
{
    struct str texts[300];
    struct arena a;

    (void)state;
    arena_init(&a, 0);
    for (size_t i = 0; i < ARRAY_SIZE(texts); i++) {
        texts[i] = arena_printf(&a, "%0*zu", (int)(i + 1), i);
        assert_non_null(texts[i].p);
    }
    for (size_t i = 0; i < ARRAY_SIZE(texts); i++) {
        assert_int_equal(texts[i].n, i + 1);
        assert_int_equal(strlen(texts[i].p), texts[i].n);
        assert_int_equal(strtoul(texts[i].p, NULL, 10), i);
    }
    assert_int_equal(arena_printf(&a, "%9000d", 1).n, 9000);
    arena_free(&a);
}

static void test_arena_limit(void **state)
{
    struct arena a;

    (void)state;
    arena_init(&a, 10000);
    assert_non_null(arena_alloc(&a, 5000));
    assert_null(arena_alloc(&a, 5000));
    assert_true(a.total <= 10000);
    assert_non_null(arena_alloc(&a, 100)); /* a refusal does not break it */
    arena_free(&a);
}

static void test_buf(void **state)
{
    struct buf b;

    (void)state;
    buf_init(&b, 1000);
    buf_append_str(&b, STR("abc"));
    buf_append_char(&b, 'd');
    buf_printf(&b, "%03d", 5);
    assert_true(str_eq(buf_str(&b), STR("abcd005")));
    char *p = buf_reserve(&b, 500);
    assert_non_null(p);
    memset(p, 'x', 500);
    b.n += 500;
    assert_true(b.cap <= 1000);
    buf_free(&b);
}

static void test_buf_limit_is_sticky(void **state)
{
    struct buf b;

    (void)state;
    buf_init(&b, 8);
    buf_append_str(&b, STR("12345678"));
    assert_false(b.failed);
    buf_append_char(&b, '9');
    assert_true(b.failed);
    assert_int_equal(b.n, 8);
    buf_append(&b, NULL, 0);
    assert_true(b.failed);
    buf_free(&b);
    assert_false(b.failed);
}

/* What log_write() prints, by way of a pipe in place of standard error. */
static size_t logged(char *text, size_t size, struct str value)
{
    int fds[2], saved = dup(STDERR_FILENO);
    ssize_t n;

    assert_int_equal(pipe(fds), 0);
    dup2(fds[1], STDERR_FILENO);
    log_debug("below the level");
    log_info("a \"message\"", LOG_S("text", value), LOG_I("number", -5));
    dup2(saved, STDERR_FILENO);
    close(saved);
    close(fds[1]);
    n = read(fds[0], text, size - 1);
    assert_true(n > 0);
    close(fds[0]);
    text[n] = '\0';
    return (size_t)n;
}

static void test_log(void **state)
{
    char text[32768];

    (void)state;
    log_setup("test", LOG_INFO);
    logged(text, sizeof(text), STR("line\nbreak \"quoted\" \x01"));
    assert_non_null(strstr(text, "\"level\":\"info\",\"service\":\"test\",\"msg\":\"a "
                                 "\\\"message\\\"\",\"text\":\"line\\u000abreak \\\"quoted\\\" "
                                 "\\u0001\",\"number\":-5}\n"));
    assert_null(strstr(text, "below"));
    logged(text, sizeof(text), STR_NULL); /* what is absent is left out, what is empty is not */
    assert_non_null(strstr(text, "\"msg\":\"a \\\"message\\\"\",\"number\":-5}\n"));
    logged(text, sizeof(text), STR(""));
    assert_non_null(strstr(text, "\"text\":\"\",\"number\":-5}\n"));
}

/* A line goes in one piece into a pipe, where others write as well, and names what it was cut off.
 */
static void test_log_cuts_what_is_long(void **state)
{
    static char big[20000];
    char text[32768];
    size_t n;

    (void)state;
    memset(big, 'y', sizeof(big));
    n = logged(text, sizeof(text), (struct str){big, sizeof(big)});
    assert_true(n <= PIPE_BUF);
    assert_non_null(strstr(text, "yyy...\",\"number\":-5}\n"));
    memset(big, '\x01', sizeof(big)); /* six bytes each */
    n = logged(text, sizeof(text), (struct str){big, sizeof(big)});
    assert_true(n <= PIPE_BUF);
    assert_non_null(strstr(text, "\\u0001...\",\"number\":-5}\n"));
}

/* JSON is UTF-8: Postgres' words before there is an encoding, a setting's text. */
static void test_log_is_utf8(void **state)
{
    char text[1024];

    (void)state;
    logged(text, sizeof(text), STR("a\xffz \xc3\xa4 \xe2\x82"));
    assert_non_null(strstr(text, "\"text\":\"a\\ufffdz \xc3\xa4 \\ufffd\\ufffd\","));
}

/* Who does not read the log must not stop the service. */
static void test_log_that_nobody_reads(void **state)
{
    enum { LINES = 2000 };
    static char text[1 << 20];
    int fds[2], saved = dup(STDERR_FILENO);
    uint64_t lost = log_lines_lost();
    unsigned kept = 0;
    ssize_t n;

    (void)state;
    assert_int_equal(pipe(fds), 0);
    dup2(fds[1], STDERR_FILENO);
    alarm(60); /* a write that waits would wait for ever */
    for (int i = 0; i < LINES; i++)
        log_info("what nobody reads", LOG_I("number", i));
    alarm(0);
    lost = log_lines_lost() - lost;
    n = read(fds[0], text, sizeof(text) - 1);
    assert_true(n > 0);
    text[n] = '\0';
    for (const char *at = text; (at = strchr(at, '\n')); at++)
        kept++;
    log_info("it is read again");
    dup2(saved, STDERR_FILENO);
    close(saved);
    assert_true(lost > 0);
    assert_int_equal(kept + lost, LINES);
    n = read(fds[0], text, sizeof(text) - 1);
    assert_true(n > 0);
    text[n] = '\0';
    snprintf(text + 512 * 1024, 128, "\"msg\":\"log lines were lost\",\"lines\":%" PRIu64 "}\n",
             lost);
    assert_non_null(strstr(text, text + 512 * 1024));
    assert_non_null(strstr(text, "it is read again"));
    close(fds[0]);
    close(fds[1]);
}

static void test_uuid(void **state)
{
    static const char *const wrong[] = {
        "",
        "00112233-4455-6677-8899-aabbccddeef",
        "00112233-4455-6677-8899-aabbccddeeff0",
        "001122334-455-6677-8899-aabbccddeeff",
        "00112233-4455-6677-8899-aabbccddeefg",
        "00112233_4455-6677-8899-aabbccddeeff",
        "{0112233-4455-6677-8899-aabbccddeeff",
        "00112233-4455-6677-8899-aabbccdd-eff",
    };
    char text[UUID_CHARS + 1];
    struct uuid id, other;

    (void)state;
    assert_int_equal(uuid_parse(STR("00112233-4455-6677-8899-AAbbCCddEEff"), &id), 0);
    for (size_t i = 0; i < sizeof(id.bytes); i++)
        assert_int_equal(id.bytes[i], i * 0x11);
    uuid_print(&id, text);
    assert_string_equal(text, "00112233-4455-6677-8899-aabbccddeeff");
    for (size_t i = 0; i < ARRAY_SIZE(wrong); i++)
        assert_int_equal(uuid_parse(str_of(wrong[i]), &id), -EINVAL);
    assert_int_equal(uuid_parse(STR_NULL, &id), -EINVAL);

    assert_int_equal(uuid_new(&id), 0);
    assert_int_equal(uuid_new(&other), 0);
    assert_memory_not_equal(&id, &other, sizeof(id));
    assert_true(memcmp(&id, &other, 6) <= 0); /* the time comes first */
    assert_int_equal(id.bytes[6] >> 4, 7);
    assert_int_equal(id.bytes[8] >> 6, 2);
}

static void test_hex_numbers(void **state)
{
    static const struct {
        uint64_t value;
        const char *text;
    } cases[] = {{0, "0"},
                 {1, "1"},
                 {15, "f"},
                 {16, "10"},
                 {0x1234567, "1234567"},
                 {INT64_MAX, "7fffffffffffffff"},
                 {UINT64_MAX, "ffffffffffffffff"}};

    (void)state;
    for (size_t i = 0; i < ARRAY_SIZE(cases); i++) {
        char text[HEX_UINT64_MAX];
        struct str wrote = {text, (size_t)(hex_from_uint64(text, cases[i].value) - text)};
        uint64_t read;

        assert_true(str_eq(wrote, str_of(cases[i].text)));
        assert_true(hex_to_uint64(wrote, &read));
        assert_true(read == cases[i].value);
    }
}

static void test_cpu_count_follows_the_affinity(void **state)
{
    cpu_set_t before, one;
    int first = 0;

    (void)state;
    assert_int_equal(sched_getaffinity(0, sizeof(before), &before), 0);
    assert_int_equal(cpu_count(), CPU_COUNT(&before));
    while (!CPU_ISSET(first, &before))
        first++;
    CPU_ZERO(&one);
    CPU_SET(first, &one);
    assert_int_equal(sched_setaffinity(0, sizeof(one), &one), 0);
    assert_int_equal(cpu_count(), 1);
    assert_int_equal(sched_setaffinity(0, sizeof(before), &before), 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_str),
        cmocka_unit_test(test_str_to_int64),
        cmocka_unit_test(test_arena),
        cmocka_unit_test(test_arena_printf),
        cmocka_unit_test(test_arena_limit),
        cmocka_unit_test(test_buf),
        cmocka_unit_test(test_buf_limit_is_sticky),
        cmocka_unit_test(test_uuid),
        cmocka_unit_test(test_log),
        cmocka_unit_test(test_log_cuts_what_is_long),
        cmocka_unit_test(test_log_is_utf8),
        cmocka_unit_test(test_log_that_nobody_reads),
        cmocka_unit_test(test_hex_numbers),
        cmocka_unit_test(test_cpu_count_follows_the_affinity),
    };
    return cmocka_run_group_tests_name("base", tests, NULL, NULL);
}
