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

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(widths), cmocka_unit_test(padding)};

    return cmocka_run_group_tests(tests, NULL, NULL);
}
