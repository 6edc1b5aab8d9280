/* Which usernames count as the same. */
#include "text/username_key.h"

#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>

#include <cmocka.h>

static void expect_key(const char *username, const char *want)
{
    struct arena arena;
    struct str key = STR_NULL;

    arena_init(&arena, 0);
    assert_int_equal(username_key(str_of(username), &arena, &key), 0);
    assert_string_equal(key.p, want);
    assert_int_equal(key.n, strlen(want));
    arena_free(&arena);
}

static void ascii_is_lower_cased(void **state UNUSED)
{
    expect_key("ada", "ada");
    expect_key("Ada_Lovelace-1815 @[`{", "ada_lovelace-1815 @[`{");
    expect_key("AZaz", "azaz");
    expect_key("", "");
}

static void case_is_folded_beyond_ascii(void **state UNUSED)
{
    expect_key("ÅSA", "åsa");
    expect_key("Straße", "strasse");
    expect_key("ΣΊΣΥΦΟΣ", "σίσυφοσ");
    expect_key("Σίσυφος", "σίσυφοσ"); /* final sigma folds to sigma */
    expect_key("Алиса", "алиса");
}

static void compatible_forms_are_one(void **state UNUSED)
{
    expect_key("Ａｄａ", "ada");      /* full width */
    expect_key("ﬁnn", "finn");        /* a ligature */
    expect_key("A\xcc\x8asa", "åsa"); /* A + combining ring, composed */
    expect_key("\xe2\x84\xab", "å");  /* Angstrom sign */
    expect_key("\xc2\xb2", "2");      /* superscript two */
    expect_key("名前", "名前");       /* no case, no change */
}

static void broken_utf8_is_refused(void **state UNUSED)
{
    static const char *const broken[] = {"\xff", "a\xc3", "\xed\xa0\x80", "\xc0\xaf"};
    struct arena arena;
    struct str key;

    arena_init(&arena, 0);
    for (size_t i = 0; i < ARRAY_SIZE(broken); i++)
        assert_int_equal(username_key(str_of(broken[i]), &arena, &key), -EILSEQ);
    arena_free(&arena);
}

static void lack_of_memory_is_reported(void **state UNUSED)
{
    struct arena arena;
    struct str key;

    arena_init(&arena, 1);
    assert_int_equal(username_key(STR("ada"), &arena, &key), -ENOMEM);
    arena_free(&arena);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(ascii_is_lower_cased),       cmocka_unit_test(case_is_folded_beyond_ascii),
        cmocka_unit_test(compatible_forms_are_one),   cmocka_unit_test(broken_utf8_is_refused),
        cmocka_unit_test(lack_of_memory_is_reported),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
