/* lib/http/entity_tag.c: ETag, If-Match, If-None-Match. */
#include "http/entity_tag.h"

#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>

#include <cmocka.h>

static struct arena arena;

static int set_up(void **state)
{
    (void)state;
    arena_init(&arena, 0);
    return 0;
}

static int tear_down(void **state)
{
    (void)state;
    arena_free(&arena);
    return 0;
}

static void makes_tags(void **state)
{
    static const char *const cases[][2] = {
        {"v1", "\"v1\""},
        {"\"v1\"", "\"v1\""},
        {"W/\"v1\"", "W/\"v1\""},
        {"W/v1", "\"W/v1\""},
        {"\"\"", "\"\""},
        {"a!#$%&'()*+,-./:;<=>?@[\\]^_`{|}~\xc3\xa9",
         "\"a!#$%&'()*+,-./:;<=>?@[\\]^_`{|}~\xc3\xa9\""},
        {"", NULL},
        {" ", NULL},
        {"a b", NULL},
        {"a\"b", NULL},
        {"\"a", NULL},
        {"\"a\"b\"", NULL},
        {"\"a\" ", NULL},
        {"W/\"a", NULL},
        {"w/\"a\"", NULL},
        {"a\r\nSet-Cookie:x", NULL},
        {"a\x7f", NULL},
    };
    char large[ENTITY_TAG_MAX + 1];
    struct str tag;

    (void)state;
    for (size_t i = 0; i < ARRAY_SIZE(cases); i++) {
        assert_int_equal(entity_tag_of(&arena, str_of(cases[i][0]), &tag),
                         cases[i][1] ? 0 : -EBADMSG);
        assert_true(str_eq(tag, str_of(cases[i][1])));
    }
    memset(large, 'a', sizeof(large));
    assert_int_equal(entity_tag_of(&arena, (struct str){large, sizeof(large) - 1}, &tag), 0);
    assert_int_equal(entity_tag_of(&arena, (struct str){large, sizeof(large)}, &tag), -EBADMSG);
}

static void knows_well_formed_lists(void **state)
{
    static const char *const good[] = {
        "*",          " * ",     "\"a\"", "W/\"a\"",  "\"a\",\"b\"", "\"a\" , W/\"b\"",
        ", ,\"a\",,", "\"a,b\"", "\"\"",  "\t\"a\"\t"};
    static const char *const bad[] = {
        "",           " ",       ",",       "a",        "\"a",     "*,\"a\"", "\"a\",*",    "**",
        "\"a\"\"b\"", "\"a\" b", "w/\"a\"", "W/ \"a\"", "\"a b\"", "\"a\n\"", "\"a\";\"b\""};

    (void)state;
    for (size_t i = 0; i < ARRAY_SIZE(good); i++)
        assert_true(entity_tags_valid(str_of(good[i])));
    for (size_t i = 0; i < ARRAY_SIZE(bad); i++)
        assert_false(entity_tags_valid(str_of(bad[i])));
}

static void compares(void **state)
{
    /* The table of RFC 9110 section 8.8.3.2. */
    static const struct {
        const char *a, *b;
        bool strong, weak;
    } cases[] = {
        {"W/\"1\"", "W/\"1\"", false, true},     {"W/\"1\"", "W/\"2\"", false, false},
        {"W/\"1\"", "\"1\"", false, true},       {"\"1\"", "W/\"1\"", false, true},
        {"\"1\"", "\"1\"", true, true},          {"\"0\", \"1\"", "\"1\"", true, true},
        {"\"0\",W/\"1\"", "\"1\"", false, true}, {"*", "\"1\"", true, true},
        {"\"1,\"", "\"1\"", false, false},
    };

    (void)state;
    for (size_t i = 0; i < ARRAY_SIZE(cases); i++) {
        struct str list = str_of(cases[i].a), tag = str_of(cases[i].b);

        assert_int_equal(entity_tags_match(list, tag, ENTITY_TAG_STRONG), cases[i].strong);
        assert_int_equal(entity_tags_match(list, tag, ENTITY_TAG_WEAK), cases[i].weak);
    }
    assert_false(entity_tags_match(STR("\"1\""), STR_NULL, ENTITY_TAG_WEAK));
    assert_true(entity_tags_match(STR("*"), STR_NULL, ENTITY_TAG_STRONG));
}

static void a_prefix_is_of_a_tag(void **state)
{
    static const struct {
        const char *list, *prefix;
        bool matches;
    } cases[] = {
        {"\"7.a.x\"", "\"7.a.", true},        {"W/\"7.a.x\"", "\"7.a.", true},
        {"\"1\", \"7.a.x\"", "\"7.a.", true}, {"*", "\"7.a.", true},
        {"\"17.a.x\"", "\"7.a.", false},      {"\"7.ab.x\"", "\"7.a.", false},
        {"\"7.a\"", "\"7.a.", false},         {"\"x,7.a.x\"", "\"7.a.", false},
        {"\"*\"", "\"7.a.", false},
    };

    (void)state;
    for (size_t i = 0; i < ARRAY_SIZE(cases); i++)
        assert_int_equal(entity_tags_match_prefix(str_of(cases[i].list), str_of(cases[i].prefix)),
                         cases[i].matches);
}

static void judges_in_order(void **state)
{
    static const struct {
        const char *if_match, *if_none_match, *tag;
        enum entity_tag_verdict verdict;
    } cases[] = {
        {NULL, NULL, "\"1\"", ENTITY_TAG_SEND},
        {NULL, NULL, NULL, ENTITY_TAG_SEND},
        {"\"1\"", NULL, "\"1\"", ENTITY_TAG_SEND},
        {"\"2\"", NULL, "\"1\"", ENTITY_TAG_FAILED},
        {"W/\"1\"", NULL, "\"1\"", ENTITY_TAG_FAILED},
        {"\"2\"", NULL, NULL, ENTITY_TAG_FAILED},
        {"*", NULL, NULL, ENTITY_TAG_SEND},
        {NULL, "\"1\"", "\"1\"", ENTITY_TAG_NOT_MODIFIED},
        {NULL, "W/\"1\"", "\"1\"", ENTITY_TAG_NOT_MODIFIED},
        {NULL, "\"2\"", "\"1\"", ENTITY_TAG_SEND},
        {NULL, "*", NULL, ENTITY_TAG_NOT_MODIFIED},
        {NULL, "1", "\"1\"", ENTITY_TAG_SEND},
        {"\"2\"", "\"1\"", "\"1\"", ENTITY_TAG_FAILED},
        {"\"1\"", "\"1\"", "\"1\"", ENTITY_TAG_NOT_MODIFIED},
    };

    (void)state;
    for (size_t i = 0; i < ARRAY_SIZE(cases); i++)
        assert_int_equal(entity_tag_judge(str_of(cases[i].if_match), str_of(cases[i].if_none_match),
                                          str_of(cases[i].tag)),
                         cases[i].verdict);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(makes_tags),      cmocka_unit_test(knows_well_formed_lists),
        cmocka_unit_test(compares),        cmocka_unit_test(a_prefix_is_of_a_tag),
        cmocka_unit_test(judges_in_order),
    };

    return cmocka_run_group_tests(tests, set_up, tear_down);
}
