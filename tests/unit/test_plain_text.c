/* Which characters a text may have that others read. */
#include "text/plain_text.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <unistr.h>

#include <cmocka.h>

static const char *fault_of(uint32_t c, enum plain_text kind)
{
    uint8_t text[8] = "a";
    int n = u8_uctomb(text + 1, c, 6);

    assert_true(n > 0);
    text[1 + n] = 'b';
    return plain_text_fault((struct str){(const char *)text, (size_t)n + 2}, kind);
}

static void expect_fault(uint32_t c, enum plain_text kind, const char *want)
{
    const char *fault = fault_of(c, kind);

    if (!fault || !strstr(fault, want))
        fail_msg("U+%04X: %s, not %s", c, fault ? fault : "accepted", want);
}

static void texts_of_all_kinds_are_accepted(void **state UNUSED)
{
    static const char *const texts[] = {
        "",
        " ",
        "plain ~",
        "Zoe\xcc\x88",                                  /* combining */
        "e\xcc\x81\xcc\x82\xcc\x83\xcc\x84\xcc\x85",    /* many of them */
        "\xf0\x9f\x91\xa9\xe2\x80\x8d\xf0\x9f\x92\xbb", /* woman, ZWJ, laptop */
        "\xd8\xb9\xd8\xaf\xd8\xa9 \xe2\x80\x8f!",       /* Arabic, right-to-left mark */
        "\xe2\x81\xa8\xd7\xa2\xe2\x81\xa9",             /* Hebrew, isolated */
        "\xc2\xa0\xc2\xad\xef\xbb\xbf",                 /* no-break space, soft hyphen, BOM */
    };

    for (size_t i = 0; i < ARRAY_SIZE(texts); i++) {
        assert_null(plain_text_fault(str_of(texts[i]), PLAIN_TEXT_ONE_LINE));
        assert_null(plain_text_fault(str_of(texts[i]), PLAIN_TEXT_LINES));
    }
    assert_null(plain_text_fault(STR_NULL, PLAIN_TEXT_LINES));
}

static bool is_space(uint32_t c)
{
    return c == '\t' || c == '\n' || c == '\r' || c == 0x85;
}

static void every_control_character_is_refused(void **state UNUSED)
{
    for (uint32_t c = 0; c < 0xa0; c++) {
        if (c >= 0x20 && c < 0x7f)
            continue;
        if (is_space(c)) {
            expect_fault(c, PLAIN_TEXT_ONE_LINE, "one line");
            assert_null(fault_of(c, PLAIN_TEXT_LINES));
        } else {
            expect_fault(c, PLAIN_TEXT_ONE_LINE, "control");
            expect_fault(c, PLAIN_TEXT_LINES, "control");
        }
    }
    expect_fault(0x2028, PLAIN_TEXT_ONE_LINE, "one line");
    assert_null(fault_of(0x2029, PLAIN_TEXT_LINES));
}

static void embeddings_and_overrides_are_refused(void **state UNUSED)
{
    for (uint32_t c = 0x202a; c <= 0x202e; c++)
        expect_fault(c, PLAIN_TEXT_LINES, "direction");
    assert_null(fault_of(0x2029, PLAIN_TEXT_LINES));
    assert_null(fault_of(0x202f, PLAIN_TEXT_LINES));
    for (uint32_t c = 0x2066; c <= 0x2069; c++)
        assert_null(fault_of(c, PLAIN_TEXT_LINES));
}

static void what_is_no_character_is_refused(void **state UNUSED)
{
    expect_fault(0xfffe, PLAIN_TEXT_LINES, "none");
    expect_fault(0x10ffff, PLAIN_TEXT_LINES, "none");
    expect_fault(0xfdd0, PLAIN_TEXT_ONE_LINE, "none");
    assert_null(fault_of(0xfffd, PLAIN_TEXT_LINES));
}

static void damaged_text_is_refused(void **state UNUSED)
{
    static const char *const texts[] = {"\xff", "a\xc3", "\xed\xa0\x80", "\xf5\x80\x80\x80",
                                        "\x80"};

    for (size_t i = 0; i < ARRAY_SIZE(texts); i++)
        assert_string_equal(plain_text_fault(str_of(texts[i]), PLAIN_TEXT_LINES),
                            "is not valid text");
}

static void white_space_of_all_scripts_is_blank(void **state UNUSED)
{
    static const char *const blank[] = {
        "", " ", "\t\n\v\f\r ", "\u00a0", "\u3000\u2003", "\xc2\x85\u2028\u1680"};
    static const char *const seen[] = {"a",      "\u3000a\u3000", " .",
                                       "\u65e5", "\U0001f642",    "\u00a0\u00e9"};

    assert_true(text_is_blank(STR_NULL));
    for (size_t i = 0; i < ARRAY_SIZE(blank); i++)
        assert_true(text_is_blank(str_of(blank[i])));
    for (size_t i = 0; i < ARRAY_SIZE(seen); i++)
        assert_false(text_is_blank(str_of(seen[i])));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(texts_of_all_kinds_are_accepted),
        cmocka_unit_test(every_control_character_is_refused),
        cmocka_unit_test(embeddings_and_overrides_are_refused),
        cmocka_unit_test(what_is_no_character_is_refused),
        cmocka_unit_test(damaged_text_is_refused),
        cmocka_unit_test(white_space_of_all_scripts_is_blank),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
