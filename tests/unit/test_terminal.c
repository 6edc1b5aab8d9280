/* Columns: what a text takes on a terminal, and text cut and filled to a width. */
#include "../../cli/cli.h"

#include <setjmp.h>
#include <stdarg.h>

#include <cmocka.h>

static void widths(void **state UNUSED)
{
    assert_int_equal(terminal_width(STR("")), 0);
    assert_int_equal(terminal_width(STR("abc")), 3);
    assert_int_equal(terminal_width(STR("héé")), 3);
    assert_int_equal(terminal_width(STR("漢字")), 4);
    assert_int_equal(terminal_width(STR("カナ")), 4);
    assert_int_equal(terminal_width(STR("e\xcc\x81")), 1);        /* a combining accent */
    assert_int_equal(terminal_width(STR("\xf0\x9f\x8e\x89")), 2); /* a party popper */
    assert_int_equal(terminal_width(STR("\033[1;33mA\033[0m")), 1);
    assert_int_equal(terminal_width(STR("a\xff"
                                        "b")),
                     3);
    assert_int_equal(terminal_width(STR("\xe6\xbc")), 2); /* a character cut in two */
}

static void expect_padded(struct str s, size_t width, const char *want)
{
    struct buf to = {.max = 256};

    terminal_pad(&to, s, width);
    buf_append_char(&to, '\0');
    assert_int_equal(buf_error(&to), 0);
    assert_string_equal(to.p, want);
    assert_int_equal(terminal_width(str_of(to.p)), width);
    buf_free(&to);
}

static void padding(void **state UNUSED)
{
    expect_padded(STR("ab"), 4, "ab  ");
    expect_padded(STR("abcdef"), 4, "abcd");
    expect_padded(STR("漢字"), 3, "漢 ");
    expect_padded(STR("漢字"), 5, "漢字 ");
    expect_padded(STR("e\xcc\x81x"), 1, "e\xcc\x81");
    expect_padded(STR(""), 0, "");
}

static void expect_clean(struct str s, bool lines, const char *want)
{
    struct buf to = {.max = 256};

    terminal_clean(&to, s, lines);
    buf_append_char(&to, '\0');
    assert_int_equal(buf_error(&to), 0);
    assert_string_equal(to.p, want);
    buf_free(&to);
}

/* What somebody else has written. */
static void cleaning(void **state UNUSED)
{
    expect_clean(STR("héé 漢字 \xf0\x9f\x8e\x89"), false, "héé 漢字 \xf0\x9f\x8e\x89");
    expect_clean(STR("a\033[2Jb"), true, "a\u241b[2Jb");
    expect_clean(STR("\x01\x1f\x7f\0x"), false, "\u2401\u241f\u2421\u2400x");
    expect_clean(STR("a\nb\tc\r\nd\re"), true, "a\nb    c\nd\u240de");
    expect_clean(STR("a\nb\tc"), false, "a b c");
    expect_clean(STR("a\xc2\x9b"
                     "b"),
                 true, "a\ufffdb"); /* CSI of C1 */
    expect_clean(STR("a\u202eb\u2066c\u200f"), true, "a\ufffdb\ufffdc\ufffd");
    expect_clean(STR("a\xff\xe6\xbc"), true, "a\ufffd\ufffd\ufffd");
}

static void cleaning_json(void **state UNUSED)
{
    struct buf to = {.max = 256};

    terminal_clean_json(&to, STR("{\"a\":\"\\u001b\xc2\x9b\x7f\u202e漢\"}\n"));
    assert_true(str_eq(buf_str(&to), STR("{\"a\":\"\\u001b\\u009b\\u007f\\u202e漢\"}\n")));
    buf_free(&to);
}

static void expect_lines(const char *text, size_t width, const char *joined)
{
    struct buf all = {.max = 1024};
    struct str rest = str_of(text);

    do {
        struct str line = terminal_wrap(&rest, width);

        assert_true(terminal_width(line) <= width);
        buf_append_str(&all, line);
        buf_append_char(&all, '|');
    } while (rest.n);
    buf_append_char(&all, '\0');
    assert_string_equal(all.p, joined);
    buf_free(&all);
}

static void wrapping(void **state UNUSED)
{
    expect_lines("", 10, "|");
    expect_lines("one two", 10, "one two|");
    expect_lines("one two three", 8, "one two|three|");
    expect_lines("one two three", 7, "one two|three|");
    expect_lines("one two three", 6, "one|two|three|");
    expect_lines("a\n\nb\n", 10, "a||b|");
    expect_lines("abcdefgh", 3, "abc|def|gh|");
    expect_lines("漢字漢字", 5, "漢字|漢字|");
    expect_lines(" lead", 3, " le|ad|");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(widths),   cmocka_unit_test(padding),       cmocka_unit_test(cleaning),
        cmocka_unit_test(wrapping), cmocka_unit_test(cleaning_json),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
