/* Which usernames auth accepts, and the key of an e-mail address. */
#include "../../services/auth/names.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>

#include <cmocka.h>

static void expect_fault(struct str username, const char *want)
{
    const char *fault = username_fault(username);

    if (!fault || !strstr(fault, want))
        fail_msg("\"%.*s\": %s, not %s", STR_FMT(username), fault ? fault : "accepted", want);
}

static void expect_accepted(const char *username)
{
    const char *fault = username_fault(str_of(username));

    if (fault)
        fail_msg("\"%s\" %s", username, fault);
}

static void names_of_all_scripts_are_accepted(void **state UNUSED)
{
    static const char *const names[] = {
        "ada",
        "Ada Lovelace",
        "a",
        "ada.lovelace",
        "...",
        "o'hara",
        "<b>",
        "../x",
        "a/b",
        "%2e",
        "Zo\xc3\xab",                                                   /* composed */
        "Zoe\xcc\x88",                                                  /* combining */
        "\xd0\x90\xd0\xb4\xd0\xb0",                                     /* Cyrillic */
        "\xd7\xa2\xd7\x93\xd7\x94",                                     /* Hebrew */
        "\xd8\xb9\xd8\xaf\xd8\xa9",                                     /* Arabic */
        "\xe3\x82\xa8\xe3\x82\xa4\xe3\x83\x80",                         /* Katakana */
        "\xf0\x9f\xa6\x89",                                             /* emoji */
        "\xe2\x9d\xa4\xef\xb8\x8f",                                     /* heart, VS16 */
        "\xf0\x9f\x91\xa9\xe2\x80\x8d\xf0\x9f\x92\xbb",                 /* woman, ZWJ, laptop */
        "\xf0\x9f\x91\xa9\xf0\x9f\x8f\xbd\xe2\x80\x8d\xf0\x9f\x94\xac", /* with skin tone */
        "\xf0\x9f\x8f\xb3\xef\xb8\x8f\xe2\x80\x8d\xf0\x9f\x8c\x88", /* flag, VS16, ZWJ, rainbow */
    };

    for (size_t i = 0; i < ARRAY_SIZE(names); i++)
        expect_accepted(names[i]);
}

static void every_control_character_is_refused(void **state UNUSED)
{
    for (int c = 1; c < 0x20; c++) {
        char name[] = {'a', (char)c, 'b', 0};
        expect_fault(str_of(name), "control");
    }
    expect_fault(STR("a\x7f"), "control");
    expect_fault(STR("a\0b"), "control");
    for (int c = 0x80; c < 0xa0; c++) {
        char name[] = {'a', '\xc2', (char)c, 'b', 0};
        expect_fault(str_of(name), "control");
    }
    expect_fault(STR("a\xe2\x80\xa8"
                     "b"),
                 "control"); /* LINE SEPARATOR */
    expect_fault(STR("a\xe2\x80\xa9"
                     "b"),
                 "control"); /* PARAGRAPH SEPARATOR */
}

static void every_bidi_control_is_refused(void **state UNUSED)
{
    static const char *const controls[] = {"\xd8\x9c",     "\xe2\x80\x8e", "\xe2\x80\x8f",
                                           "\xe2\x80\xaa", "\xe2\x80\xab", "\xe2\x80\xac",
                                           "\xe2\x80\xad", "\xe2\x80\xae", "\xe2\x81\xa6",
                                           "\xe2\x81\xa7", "\xe2\x81\xa8", "\xe2\x81\xa9"};

    for (size_t i = 0; i < ARRAY_SIZE(controls); i++) {
        char name[16];

        snprintf(name, sizeof(name), "a%sb", controls[i]);
        expect_fault(str_of(name), "direction");
        expect_fault(str_of(controls[i]), "direction");
    }
}

/* "ada" with something that nobody sees would pass for "ada". */
static void invisible_characters_are_refused(void **state UNUSED)
{
    static const char *const invisible[] = {
        "\xc2\xad",         /* soft hyphen */
        "\xe2\x80\x8b",     /* zero width space */
        "\xe2\x80\x8c",     /* zero width non-joiner */
        "\xe2\x80\x8d",     /* zero width joiner, after a letter */
        "\xef\xb8\x8f",     /* variation selector, after a letter */
        "\xe2\x81\xa0",     /* word joiner */
        "\xef\xbb\xbf",     /* byte order mark */
        "\xe3\x85\xa4",     /* Hangul filler */
        "\xcd\x8f",         /* combining grapheme joiner */
        "\xf3\xa0\x81\xa1", /* tag a */
        "\xe2\xa0\x80",     /* braille without a dot */
    };

    for (size_t i = 0; i < ARRAY_SIZE(invisible); i++) {
        char name[16];

        snprintf(name, sizeof(name), "ada%s", invisible[i]);
        expect_fault(str_of(name), "invisible");
        expect_fault(str_of(invisible[i]), "invisible");
    }
}

static void white_space_at_the_ends_is_refused(void **state UNUSED)
{
    static const char *const names[] = {" ada",
                                        "ada ",
                                        " ",
                                        "\xc2\xa0"
                                        "ada",
                                        "ada\xe3\x80\x80",
                                        "\xe2\x80\x83"
                                        "a"};

    for (size_t i = 0; i < ARRAY_SIZE(names); i++)
        expect_fault(str_of(names[i]), "begin or end");
}

/* It would change what stands before the name on a page. */
static void a_mark_on_nothing_is_refused(void **state UNUSED)
{
    static const char *const names[] = {"\xcc\x81", /* acute accent */
                                        "\xcc\xb8"
                                        "ada",                      /* long solidus overlay */
                                        "\xe0\xa4\xbe\xe0\xa4\x95", /* Devanagari vowel sign */
                                        "\xe2\x83\x9d"
                                        "1"}; /* enclosing circle */

    for (size_t i = 0; i < ARRAY_SIZE(names); i++)
        expect_fault(str_of(names[i]), "begin with a combining mark");
}

static void path_segments_with_a_meaning_are_refused(void **state UNUSED)
{
    expect_fault(STR("."), "must not be");
    expect_fault(STR(".."), "must not be");
}

static void bytes_that_are_no_text_are_refused(void **state UNUSED)
{
    expect_fault(STR("a\xff"), "not valid");
    expect_fault(STR("a\xc3"), "not valid");
    expect_fault(STR("\xed\xa0\x80"), "not valid"); /* a surrogate */
    expect_fault(STR("a\xef\xbf\xbf"), "none");     /* U+FFFF */
}

static void email_key_is_lower_case(void **state UNUSED)
{
    struct arena arena;

    arena_init(&arena, 0);
    assert_string_equal(email_key(STR("Ada.L+x@Example.COM"), &arena).p, "ada.l+x@example.com");
    assert_string_equal(email_key(STR(""), &arena).p, "");
    assert_string_equal(email_key(STR("@[`{AZaz"), &arena).p, "@[`{azaz");
    arena_free(&arena);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(names_of_all_scripts_are_accepted),
        cmocka_unit_test(every_control_character_is_refused),
        cmocka_unit_test(every_bidi_control_is_refused),
        cmocka_unit_test(invisible_characters_are_refused),
        cmocka_unit_test(white_space_at_the_ends_is_refused),
        cmocka_unit_test(a_mark_on_nothing_is_refused),
        cmocka_unit_test(path_segments_with_a_meaning_are_refused),
        cmocka_unit_test(bytes_that_are_no_text_are_refused),
        cmocka_unit_test(email_key_is_lower_case),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
