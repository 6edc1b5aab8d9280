/* Lines of todo.txt files: parts, words, tags, recurrence, dates. */
#include "../../cli/task/line.h"

#include <errno.h>
#include <limits.h>
#include <setjmp.h>
#include <stdarg.h>

#include <cmocka.h>

static struct arena arena;

static int reset(void **state UNUSED)
{
    arena_free(&arena);
    arena_init(&arena, 0);
    return 0;
}

static date_t day(const char *text)
{
    date_t d = DATE_NONE;

    assert_int_equal(date_read(str_of(text), &d), 0);
    return d;
}

static void expect_same(struct str text)
{
    struct buf printed = {.max = INT_MAX};
    struct line l;

    line_read(text, &l);
    line_print(&l, &printed);
    assert_int_equal(printed.n, text.n);
    assert_memory_equal(text.n ? printed.p : "", text.p, text.n);
    buf_free(&printed);
}

static void parts(void **state UNUSED)
{
    struct line l;

    line_read(STR("x (A) 2026-11-29 2026-11-01 Call Ada"), &l);
    assert_true(l.done);
    assert_int_equal(l.priority, 'A');
    assert_int_equal(l.completed, day("2026-11-29"));
    assert_int_equal(l.created, day("2026-11-01"));
    assert_true(str_eq(l.body, STR("Call Ada")));

    line_read(STR("(B) 2026-11-01 body"), &l);
    assert_false(l.done);
    assert_int_equal(l.priority, 'B');
    assert_int_equal(l.completed, DATE_NONE);
    assert_int_equal(l.created, day("2026-11-01"));

    line_read(STR("x 2026-11-29 done"), &l);
    assert_int_equal(l.completed, day("2026-11-29"));
    assert_int_equal(l.created, DATE_NONE);
}

static void what_only_looks_like_a_part_is_body(void **state UNUSED)
{
    static const char *const bodies[] = {
        "X 2026-01-01 a", "xylophone",    "x",          "(a) b",      "(A)b",   "(AA) b", "(A)",
        "2026-02-29 a",   "2026-13-01 a", "2026-1-1 a", "2026-01-01", " (A) a", "",
    };

    for (size_t i = 0; i < ARRAY_SIZE(bodies); i++) {
        struct line l;

        line_read(str_of(bodies[i]), &l);
        assert_false(l.done);
        assert_int_equal(l.priority, 0);
        assert_int_equal(l.created, DATE_NONE);
        assert_true(str_eq(l.body, str_of(bodies[i])));
    }
}

static void every_line_is_printed_as_it_was_read(void **state UNUSED)
{
    expect_same(STR(""));
    expect_same(STR("x "));
    expect_same(STR("x (A) 2026-11-29 2026-11-01  two  blanks "));
    expect_same(STR("(A) 0000-01-01 a"));
    expect_same(STR("x 9999-12-31 2026-02-30 a\tb"));
    expect_same(STR("caf\xe9 \0 \xff\xfe\r"));
}

static void words(void **state UNUSED)
{
    struct str rest = STR(" a +b\t@c d:e http://x.org k:v:w + @ :x y: ");
    static const struct {
        enum word_kind kind;
        const char *text, *value;
    } expected[] = {
        {WORD_PLAIN, "a", NULL},
        {WORD_PROJECT, "+b", NULL},
        {WORD_CONTEXT, "@c", NULL},
        {WORD_TAG, "d:e", "e"},
        {WORD_PLAIN, "http://x.org", NULL},
        {WORD_TAG, "k:v:w", "v:w"},
        {WORD_PLAIN, "+", NULL},
        {WORD_PLAIN, "@", NULL},
        {WORD_PLAIN, ":x", NULL},
        {WORD_PLAIN, "y:", NULL},
    };
    struct word w;

    for (size_t i = 0; i < ARRAY_SIZE(expected); i++) {
        assert_true(line_next_word(&rest, &w));
        assert_int_equal(w.kind, expected[i].kind);
        assert_true(str_eq(w.text, str_of(expected[i].text)));
        assert_true(str_eq(w.value, str_of(expected[i].value)));
    }
    assert_false(line_next_word(&rest, &w));
}

static void tags_are_set_in_their_place(void **state UNUSED)
{
    struct str set = line_with_tag(STR("a due:1 b due:2"), STR("due"), STR("3"), &arena);

    assert_string_equal(set.p, "a due:3 b due:2");
    set = line_with_tag(STR("a"), STR("due"), STR("3"), &arena);
    assert_string_equal(set.p, "a due:3");
    set = line_with_tag(STR(""), STR("due"), STR("3"), &arena);
    assert_string_equal(set.p, "due:3");
    set = line_with_tag(STR("a\0b"), STR("t"), STR("3"), &arena);
    assert_true(str_eq(set, STR("a\0b t:3")));
}

static void expect_next(const char *text, const char *today, const char *next)
{
    struct str got = STR_NULL;
    struct line l;

    line_read(str_of(text), &l);
    assert_int_equal(line_recur(&l, day(today), &arena, &got), 0);
    assert_string_equal(got.p, next);
}

static void recurrence(void **state UNUSED)
{
    struct str got;
    struct line l;

    expect_next("a rec:1w due:2026-11-20", "2026-11-29", "a rec:1w due:2026-12-06");
    expect_next("a rec:+1w due:2026-11-20", "2026-11-29", "a rec:+1w due:2026-11-27");
    expect_next("(A) 2026-01-01 a rec:d", "2026-11-29", "(A) 2026-11-29 a rec:d due:2026-11-30");
    expect_next("a rec:+1m due:2026-01-31", "2026-02-02", "a rec:+1m due:2026-02-28");
    expect_next("a rec:+1y due:2024-02-29", "2026-02-02", "a rec:+1y due:2025-02-28");
    expect_next("a rec:5b", "2026-11-27", "a rec:5b due:2026-12-04");
    expect_next("a rec:+1w due:2026-11-20 t:2026-11-18", "2026-11-29",
                "a rec:+1w due:2026-11-27 t:2026-11-25");
    expect_next("a rec:+1w t:2026-11-18", "2026-11-29", "a rec:+1w t:2026-11-25");
    expect_next("a rec:+1w due:9999-12-31", "2026-11-29", "a rec:+1w due:9999-12-31");

    line_read(STR("a due:2026-11-20"), &l);
    assert_int_equal(line_recur(&l, day("2026-11-29"), &arena, &got), -ENOENT);
    line_read(STR("a rec:often"), &l);
    assert_int_equal(line_recur(&l, day("2026-11-29"), &arena, &got), -EINVAL);
    line_read(STR("a rec:0d"), &l);
    assert_int_equal(line_recur(&l, day("2026-11-29"), &arena, &got), -EINVAL);
    line_read(STR("a rec:999999d"), &l);
    assert_int_equal(line_recur(&l, day("2026-11-29"), &arena, &got), -EINVAL);
}

static void every_day_is_itself(void **state UNUSED)
{
    date_t first = day("0000-01-01"), last = day("9999-12-31");
    struct civil before = date_civil(first);

    assert_int_equal(day("1970-01-01"), 0);
    assert_int_equal(day("2026-11-29"), 20786);
    for (date_t d = first; d < last; d++) {
        struct civil c = date_civil(d + 1);

        assert_int_equal(date_of(c), d + 1);
        assert_true(c.day == before.day + 1 || c.day == 1);
        before = c;
    }
    assert_int_equal(date_weekday(day("2026-11-29")), 6);
    assert_int_equal(date_weekday(first), 5);
}

static void days_that_people_type(void **state UNUSED)
{
    date_t today = day("2026-11-29"), d = 0; /* a Sunday */
    static const struct {
        const char *text;
        int days;
    } good[] = {{"today", 0}, {"Tomorrow", 1}, {"yesterday", -1}, {"mon", 1},  {"sunday", 7},
                {"SAT", 6},   {"+1w", 7},      {"-2d", -2},       {"+1m", 30}, {"2026-12-01", 2}};
    static const char *const bad[] = {"",  "+",  "-",          "+1",   "1w",
                                      "m", "to", "2026-11-31", "++1d", "+0d"};

    for (size_t i = 0; i < ARRAY_SIZE(good); i++) {
        assert_int_equal(date_read_human(str_of(good[i].text), today, &d), 0);
        assert_int_equal(d - today, good[i].days);
    }
    for (size_t i = 0; i < ARRAY_SIZE(bad); i++)
        assert_int_equal(date_read_human(str_of(bad[i]), today, &d), -EINVAL);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(parts),
        cmocka_unit_test(what_only_looks_like_a_part_is_body),
        cmocka_unit_test(every_line_is_printed_as_it_was_read),
        cmocka_unit_test(words),
        cmocka_unit_test(tags_are_set_in_their_place),
        cmocka_unit_test(recurrence),
        cmocka_unit_test(every_day_is_itself),
        cmocka_unit_test(days_that_people_type),
    };

    return cmocka_run_group_tests(tests, reset, reset);
}
