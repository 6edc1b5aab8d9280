/* Tags as they are stored. */
#include "../../services/posts/tags.h"

#include <errno.h>
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

#define TAGS(...) (const char *[]){__VA_ARGS__}, ARRAY_SIZE(((const char *[]){__VA_ARGS__}))

static void expect(const char *const *tags, size_t n, const char *const *want, size_t n_want)
{
    struct str *list = NULL;
    struct tags_fault fault;

    assert_int_equal(tags_normalise(tags, n, &arena, &list, &fault), n_want);
    for (size_t i = 0; i < n_want; i++)
        assert_true(str_eq(list[i], str_of(want[i])));
}

static void expect_fault(const char *const *tags, size_t n, size_t index, const char *description)
{
    struct str *list;
    struct tags_fault fault;

    assert_int_equal(tags_normalise(tags, n, &arena, &list, &fault), -EINVAL);
    assert_int_equal(fault.index, index);
    assert_string_equal(fault.description, description);
}

static void sorted_without_doubles(void **state UNUSED)
{
    expect(TAGS("b", "a", "c"), TAGS("a", "b", "c"));
    expect(TAGS("a", "b", "a", "b", "a"), TAGS("a", "b"));
    expect(TAGS("one"), TAGS("one"));
    expect(TAGS("ab", "a", "abc", "aa"), TAGS("a", "aa", "ab", "abc"));
    expect(TAGS("a", "B"), TAGS("B", "a")); /* by code point; case tells tags apart */
    expect(TAGS("\xf0\x9f\x90\x89", "\xef\xbf\xa5", "é", "z"),
           TAGS("z", "é", "\xef\xbf\xa5", "\xf0\x9f\x90\x89"));
}

static void none_is_none(void **state UNUSED)
{
    struct str *list = NULL;
    struct tags_fault fault;

    assert_int_equal(tags_normalise(NULL, 0, &arena, &list, &fault), 0);
}

static void white_space_around_is_cut(void **state UNUSED)
{
    expect(TAGS(" a ", "a", "\ta\n", "b c"), TAGS("a", "b c"));
    expect(TAGS("\xc2\xa0"
                "a\xe3\x80\x80"),
           TAGS("a")); /* no-break, ideographic space */
    assert_true(str_eq(tag_trim(STR("")), STR("")));
    assert_true(str_eq(tag_trim(STR("  ")), STR("")));
    assert_true(str_eq(tag_trim(STR(" \xf0\x9f\x90\x89 ")), STR("\xf0\x9f\x90\x89")));
}

static void what_would_spoil_a_list_is_refused(void **state UNUSED)
{
    expect_fault(TAGS("a", " "), 1, "can't be blank");
    expect_fault(TAGS(""), 0, "can't be blank");
    expect_fault(TAGS("\xc2\xa0"), 0, "can't be blank");
    expect_fault(TAGS("fine", "b", "be\x07ll"), 2, "must not contain control characters");
    expect_fault(TAGS("li\nne"), 0, "must be one line");
    expect_fault(TAGS("del\x7f"), 0, "must not contain control characters");
    expect_fault(TAGS("c1\xc2\x85"
                      "x"),
                 0, "must be one line");
    expect_fault(TAGS("over\u202eride"), 0,
                 "must not contain characters that change the direction of text around them");
    expect(TAGS("\u2067isolated\u2069"), TAGS("\u2067isolated\u2069"));
}

static void lack_of_memory_is_reported(void **state UNUSED)
{
    struct arena small;
    struct str *list;
    struct tags_fault fault;

    arena_init(&small, 1);
    assert_int_equal(tags_normalise(TAGS("a"), &small, &list, &fault), -ENOMEM);
    arena_free(&small);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(sorted_without_doubles),
        cmocka_unit_test(none_is_none),
        cmocka_unit_test(white_space_around_is_cut),
        cmocka_unit_test(what_would_spoil_a_list_is_refused),
        cmocka_unit_test(lack_of_memory_is_reported),
    };
    return cmocka_run_group_tests(tests, reset, reset);
}
