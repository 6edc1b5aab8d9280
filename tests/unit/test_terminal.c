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

#define FAMILY "\U0001f468\u200d\U0001f469\u200d\U0001f467\u200d\U0001f466"
#define ASTRONAUT "\U0001f469\U0001f3fd\u200d\U0001f680"
#define ENGLAND "\U0001f3f4\U000e0067\U000e0062\U000e0065\U000e006e\U000e0067\U000e007f"

/* One for the reader. */
static void clusters(void **state UNUSED)
{
    static const struct {
        const char *text;
        size_t width, characters;
    } cases[] = {
        {FAMILY, 2, 1},
        {"\U0001f1e9\U0001f1ea", 2, 1},                     /* a flag */
        {"\U0001f1e9\U0001f1ea\U0001f1eb\U0001f1f7", 4, 2}, /* two */
        {"\U0001f1e9\U0001f1ea\U0001f1eb", 3, 2},           /* and a half */
        {"\U0001f44d\U0001f3fd", 2, 1},                     /* a skin tone */
        {"\U0001f3fd", 2, 1},
        {"\u2764", 1, 1},
        {"\u2764\ufe0f", 2, 1},
        {"\u231a\ufe0e", 2, 1},
        {"1\ufe0f\u20e3", 2, 1}, /* a key */
        {"11", 2, 2},
        {ASTRONAUT, 2, 1},
        {ENGLAND, 2, 1},
        {"\U0001f3f3\ufe0f\u200d\U0001f308", 2, 1}, /* a rainbow on a flag */
        {"\U0001f469\u200d\u2764\ufe0f\u200d\U0001f48b\u200d\U0001f468", 2, 1},
        {"a\u200d\U0001f469", 3, 2}, /* nothing to join it to */
        {"\u0928\u093f", 2, 1},      /* Devanagari, with a mark that has a width */
        {"\u0915\u200d", 1, 1},
        {"\u1100\u1161\u11a8", 2, 1}, /* Hangul from its parts */
        {"e\u0301\u0302x", 2, 2},
        {"\n\u0301", 1, 2},
        {"\r\n", 2, 2},
        {"\U0001f469\u200d\xff", 3, 2},
        {"\u200d\u200d", 0, 1},
        {"\u0928\u093f\u093f\u093f\u093f", 5, 2}, /* no writing has so many */
    };

    for (size_t i = 0; i < ARRAY_SIZE(cases); i++) {
        struct str s = str_of(cases[i].text);
        size_t width, n = 0;

        assert_int_equal(terminal_width(s), cases[i].width);
        for (; s.n; n++)
            s = str_skip(s, terminal_character(s.p, s.n, &width));
        assert_int_equal(n, cases[i].characters);
    }
}

static void expect_parts(const char *text, const char *want)
{
    struct buf to = {.max = 256};

    buf_append_str(&to, STR(FAMILY));
    buf_append_str(&to, str_of(text));
    terminal_part(&to, strlen(FAMILY));
    buf_append_char(&to, '\0');
    assert_int_equal(buf_error(&to), 0);
    assert_memory_equal(to.p, FAMILY, strlen(FAMILY)); /* what was there before stays */
    assert_string_equal(to.p + strlen(FAMILY), want);
    buf_free(&to);
}

/* Without what terminals do not agree on. */
static void parts(void **state UNUSED)
{
    expect_parts("", "");
    expect_parts("plain", "plain");
    expect_parts(FAMILY " x", "\U0001f468\U0001f469\U0001f467\U0001f466 x");
    expect_parts(ASTRONAUT, "\U0001f469\U0001f680");
    expect_parts("\U0001f44d\U0001f3fd\U0001f3fd", "\U0001f44d");
    expect_parts("\u2764\ufe0f 1\ufe0f\u20e3 \u231a\ufe0e", "\u2764 1\u20e3 \u231a");
    expect_parts("\U0001f3f3\ufe0f\u200d\U0001f308", "\U0001f3f3\U0001f308");
    expect_parts("\U0001f1e9\U0001f1ea" ENGLAND, "\U0001f1e9\U0001f1ea" ENGLAND);
    /* A joiner between letters is a matter of their writing, and a tone may stand alone. */
    expect_parts("\u0915\u094d\u200d\u0937 \U0001f3fd", "\u0915\u094d\u200d\u0937 \U0001f3fd");
    expect_parts("\xff\U0001f469\u200d", "\xff\U0001f469");
    expect_parts("\U0001f44d\u0301\U0001f3fd", "\U0001f44d\u0301");
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
    expect_padded(STR("a" FAMILY), 2, "a ");
    expect_padded(STR("a" FAMILY "b"), 3, "a" FAMILY);
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
    expect_lines(FAMILY FAMILY FAMILY, 5, FAMILY FAMILY "|" FAMILY "|");
    expect_lines(" lead", 3, " le|ad|");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(clusters),      cmocka_unit_test(parts),    cmocka_unit_test(widths),
        cmocka_unit_test(padding),       cmocka_unit_test(cleaning), cmocka_unit_test(wrapping),
        cmocka_unit_test(cleaning_json),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
