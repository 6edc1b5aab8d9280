/* lib/schema/entity_tag.c: which field of a response names its state, and what it says. */
#include "schema_fixture.h"

#include "base/arena.h"

static const char contract[] =
    "syntax = \"proto3\";\n"
    "package a;\n"
    "import \"stoa/api/v1/annotations.proto\";\n"
    "service S {\n"
    "  rpc GetOwn(None) returns (Own) {\n"
    "    option (stoa.api.v1.method).cache_control = \"private, max-age=5\";\n"
    "  }\n"
    "  rpc GetInner(None) returns (Inner);\n"
    "  rpc GetNearest(None) returns (Nearest);\n"
    "  rpc GetTwo(None) returns (Two);\n"
    "  rpc GetMany(None) returns (Many);\n"
    "  rpc GetFar(None) returns (Far);\n"
    "  rpc GetLoop(None) returns (Loop);\n"
    "  rpc GetNothing(None) returns (None);\n"
    "}\n"
    "message None {}\n"
    "message Own { string other = 1; string etag = 2 [(stoa.api.v1.field).entity_tag = true]; }\n"
    "message Inner { int32 x = 1; Own own = 3; }\n"
    "message Nearest { Inner inner = 1; Own own = 2; }\n"
    "message Two { Own a = 1; Own b = 2; }\n"
    "message Many { repeated Own own = 1; map<string, Own> by_name = 2; }\n"
    "message Far { F2 f = 1; } message F2 { F3 f = 1; } message F3 { F4 f = 1; }\n"
    "message F4 { Own own = 1; }\n"
    "message Loop { Loop again = 1; Loop more = 2; Loop most = 3; }\n";

static int set_up(void **state UNUSED)
{
    schema = fixture_load(contract);
    return 0;
}

static void assert_tag(const char *path, struct str wire, const char *expected)
{
    struct str tag = schema_entity_tag(method(path), wire);

    if (!expected) {
        assert_null(tag.p);
        return;
    }
    assert_non_null(tag.p);
    assert_int_equal(tag.n, strlen(expected));
    assert_memory_equal(tag.p, expected, tag.n);
}

static void takes_the_nearest_field(void **state)
{
    (void)state;
    assert_int_equal(method("/a.S/GetOwn")->entity_tag.n, 1);
    assert_int_equal(method("/a.S/GetInner")->entity_tag.n, 2);
    assert_int_equal(method("/a.S/GetNearest")->entity_tag.n, 2);
    assert_tag("/a.S/GetOwn", STR("\x0a\x01z\x12\x02v1"), "v1");
    assert_tag("/a.S/GetInner", STR("\x08\x05\x1a\x04\x12\x02v1"), "v1");
    assert_tag("/a.S/GetNearest", STR("\x0a\x06\x1a\x04\x12\x02no\x12\x04\x12\x02v1"), "v1");
}

static void takes_none_where_several_are_as_near(void **state)
{
    (void)state;
    assert_tag("/a.S/GetTwo", STR("\x0a\x04\x12\x02v1"), NULL);
    assert_tag("/a.S/GetMany", STR("\x0a\x04\x12\x02v1"), NULL);
    assert_tag("/a.S/GetFar", STR("\x0a\x08\x0a\x06\x0a\x04\x12\x02v1"), NULL);
    assert_tag("/a.S/GetLoop", STR("\x0a\x04\x12\x02v1"), NULL);
    assert_tag("/a.S/GetNothing", STR("\x12\x02v1"), NULL);
}

static void reads_as_the_wire_format_says(void **state)
{
    (void)state;
    assert_tag("/a.S/GetOwn", STR(""), NULL);
    assert_tag("/a.S/GetOwn", STR("\x12\x00"), "");
    assert_tag("/a.S/GetOwn", STR("\x12\x02v1\x12\x02v2"), "v2");
    /* The second Own is merged into the first and says nothing of the tag. */
    assert_tag("/a.S/GetInner", STR("\x1a\x04\x12\x02v1\x1a\x03\x0a\x01z"), "v1");
    assert_tag("/a.S/GetInner", STR("\x1a\x04\x12\x02v1\x1a\x04\x12\x02v2"), "v2");
    /* Another wire type is another field. */
    assert_tag("/a.S/GetOwn", STR("\x10\x05"), NULL);
    assert_tag("/a.S/GetOwn", STR("\x12\x02v1\x12\x09v"), "v1");
    assert_tag("/a.S/GetInner", STR("\x1a\x04\x12\x7fv1"), NULL);
}

static void refuses_tags_that_are_no_single_string(void **state)
{
    (void)state;
    fixture_refused("syntax = \"proto3\"; import \"stoa/api/v1/annotations.proto\";"
                    "message M { int32 a = 1 [(stoa.api.v1.field).entity_tag = true]; }",
                    "field a: an entity_tag must be one string");
    fixture_refused("syntax = \"proto3\"; import \"stoa/api/v1/annotations.proto\";"
                    "message M { repeated string a = 1 [(stoa.api.v1.field).entity_tag = true]; }",
                    "field a: an entity_tag must be one string");
}

static void knows_cache_control(void **state)
{
    (void)state;
    assert_string_equal(method("/a.S/GetOwn")->cache_control.p, "private, max-age=5");
    assert_null(method("/a.S/GetInner")->cache_control.p);
    fixture_refused("syntax = \"proto3\"; import \"stoa/api/v1/annotations.proto\"; message M {}"
                    "service S { rpc R(M) returns (M) {"
                    "option (stoa.api.v1.method).cache_control = \"a\\r\\nb\"; } }",
                    "/S/R: cache_control is no header value");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(takes_the_nearest_field),
        cmocka_unit_test(takes_none_where_several_are_as_near),
        cmocka_unit_test(reads_as_the_wire_format_says),
        cmocka_unit_test(refuses_tags_that_are_no_single_string),
        cmocka_unit_test(knows_cache_control),
    };

    return cmocka_run_group_tests(tests, set_up, tear_down);
}
