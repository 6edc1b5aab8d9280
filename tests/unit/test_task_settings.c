/* The configuration file of todo.sh: which lines are settings, and what they say. */
#include "../../cli/task/settings.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>

#include <cmocka.h>

static int begin(void **state UNUSED)
{
    clearenv();
    return setenv("HOME", "/home/ada", 1);
}

/* Reads it; the warnings, without names and texts, are the numbers of lines. */
static void read_text(const char *text, const char *warned)
{
    struct buf warnings = {.max = 64 << 10};

    assert_int_equal(settings_read(str_of(text), "c", &warnings), 0);
    buf_append_char(&warnings, '\0');
    if (*warned)
        assert_non_null(strstr(warnings.p, warned));
    else
        assert_string_equal(warnings.p, "");
    buf_free(&warnings);
}

static void expect(const char *text, const char *value)
{
    read_text(text, "");
    assert_string_equal(getenv("A"), value);
}

static void plain_settings(void **state UNUSED)
{
    setenv("B", "b b", 1);
    expect("A=1", "1");
    expect("export A=2\n", "2");
    expect("  export   A=3   # comment\r\n", "3");
    expect("A='a b $B'", "a b $B");
    expect("A=\"a $B ${B}c\"", "a b b b bc");
    expect("A=$B/x", "b b/x");
    expect("A=${NONE:-a $B}", "a b b");
    expect("A=${NONE-}", "");
    expect("A=${B:-other}", "b b");
    expect("A=~/x", "/home/ada/x");
    expect("A=~", "/home/ada");
    expect("A=\"~/x\"", "~/x");
    expect("A=a\\ b\\$B", "a b$B");
    expect("A=\"a\\n\\\"\\$\\\\\"", "a\\n\"$\\");
    expect("A=a'b'\"c\"d", "abcd");
    expect("A=a#b", "a#b");
    expect("A=", "");
    expect("A=$", "$");
    expect("X=1 A=2; export Y=3", "2");
    assert_string_equal(getenv("X"), "1");
    assert_string_equal(getenv("Y"), "3");
    expect("A='two\nlines'", "two\nlines");
    expect("A=joined\\\nup", "joinedup");
    expect("# nothing\n\n   \nA=last", "last");
    expect("export A", "last");
}

static void what_only_a_shell_can_do_is_passed_over(void **state UNUSED)
{
    static const char *const lines[] = {
        "A=$(rm x)", "A=`rm x`",    "A=\"$(rm x)\"", "if true", ". other",  "echo hello",
        "A",         "A=1 command", "A=1 | b",       "A=(1 2)", "A=${B%c}", "A=${B",
        "A='open",   "A=\"open",    "A+=1",          "A=1&",
    };

    for (size_t i = 0; i < ARRAY_SIZE(lines); i++) {
        char text[128];

        unsetenv("OK");
        snprintf(text, sizeof(text), "OK=before\n%s\nOK=after\n", lines[i]);
        read_text(text, "c:2: ");
        assert_string_equal(getenv("OK"), "after");
    }
}

/* `n` times what opens, a text, and `n` times what closes. */
static void expect_nested(const char *open, size_t n, const char *close, const char *warned)
{
    struct buf text = {.max = 4 << 20};

    setenv("A", "before", 1);
    buf_append_str(&text, STR("A="));
    for (size_t i = 0; i < n; i++)
        buf_append_str(&text, str_of(open));
    buf_append_char(&text, 'x');
    for (size_t i = 0; i < n; i++)
        buf_append_str(&text, str_of(close));
    buf_append(&text, "\n", 2);
    assert_int_equal(buf_error(&text), 0);
    read_text(text.p, warned);
    if (*warned)
        assert_string_equal(getenv("A"), "before");
    buf_free(&text);
}

/* Each level costs stack, and what fails at its end is read again from the next line on. */
static void what_nests_or_goes_on_has_an_end(void **state UNUSED)
{
    expect_nested("${NONE-", SETTINGS_DEPTH_MAX, "}", "");
    assert_string_equal(getenv("A"), "x");
    expect_nested("${NONE-", SETTINGS_DEPTH_MAX + 1, "}", "c:1: ");
    expect_nested("${NONE-", 100000, "}", "c:1: ");
    expect_nested("${NONE-\"", 100000, "", "c:1: ");
    expect_nested("'\n'", SETTINGS_LINES_MAX - 1, "", "");
    expect_nested("'\n'", SETTINGS_LINES_MAX, "", "c:1: ");
    expect_nested("\"\n\"", SETTINGS_LINES_MAX, "", "c:1: ");
    expect_nested("\\\n", SETTINGS_LINES_MAX, "", "c:1: ");
    expect("A=after", "after");
}

static void lists_of_files(void **state UNUSED)
{
    struct buf words = {.max = 4096};

    setenv("B", "b b", 1);
    assert_int_equal(settings_expand(STR("(\"$B\" ~/c 'd')"), &words), 0);
    assert_int_equal(words.n, sizeof("b b\0/home/ada/c\0d"));
    assert_memory_equal(words.p, "b b\0/home/ada/c\0d", words.n);
    words.n = 0;
    assert_int_not_equal(settings_expand(STR("a; b"), &words), 0);
    words.n = 0;
    assert_int_not_equal(settings_expand(STR("$(a)"), &words), 0);
    buf_free(&words);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup(plain_settings, begin),
        cmocka_unit_test_setup(what_only_a_shell_can_do_is_passed_over, begin),
        cmocka_unit_test_setup(what_nests_or_goes_on_has_an_end, begin),
        cmocka_unit_test_setup(lists_of_files, begin),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
