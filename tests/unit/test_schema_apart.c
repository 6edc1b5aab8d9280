/* (stoa.api.v1.field).apart: which requests are counted apart of the others of their RPC. */
#include "schema_fixture.h"

static const char contract[] =
    "syntax = \"proto3\";\n"
    "package a;\n"
    "import \"stoa/api/v1/annotations.proto\";\n"
    "service S { rpc List(Request) returns (None); rpc Plain(None) returns (None); }\n"
    "message None {}\n"
    "message Request {\n"
    "  string tag = 1;\n"
    "  string words_to_find = 2 [(stoa.api.v1.field).apart = true];\n"
    "}\n";

static int set_up(void **state UNUSED)
{
    schema = fixture_load(contract);
    return 0;
}

static void a_query_tells(void **state)
{
    static const char *const yes[] = {"wordsToFind=x",           "words_to_find=x",
                                      "tag=a&wordsToFind=x&b=c", "words%54oFind=x",
                                      "&&wordsToFind==",         "wordsToFind=%"};
    static const char *const no[] = {"",
                                     "tag=wordsToFind",
                                     "wordsToFind",
                                     "wordsToFind=",
                                     "wordsToFin=x",
                                     "wordsToFind2=x",
                                     "wordsToFind%=x",
                                     "words%5=x",
                                     "=x",
                                     "%",
                                     "&"};

    (void)state;
    for (size_t i = 0; i < ARRAY_SIZE(yes); i++)
        assert_true(schema_sets_apart(method("/a.S/List"), str_of(yes[i])));
    for (size_t i = 0; i < ARRAY_SIZE(no); i++)
        assert_false(schema_sets_apart(method("/a.S/List"), str_of(no[i])));
    assert_false(schema_sets_apart(method("/a.S/Plain"), STR("wordsToFind=x")));
    assert_false(schema_sets_apart(method("/a.S/List"), STR_NULL));
}

static void refuses_what_it_cannot_be(void **state)
{
    (void)state;
    fixture_refused("syntax = \"proto3\"; import \"stoa/api/v1/annotations.proto\";"
                    "message M { int32 a = 1 [(stoa.api.v1.field).apart = true]; }",
                    "field a: what is counted apart must be one string");
    fixture_refused("syntax = \"proto3\"; import \"stoa/api/v1/annotations.proto\";"
                    "message M { repeated string a = 1 [(stoa.api.v1.field).apart = true]; }",
                    "field a: what is counted apart must be one string");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(a_query_tells, set_up, tear_down),
        cmocka_unit_test(refuses_what_it_cannot_be),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
