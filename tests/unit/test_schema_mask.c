/* (stoa.api.v1.field).mask_of: what a JSON request leaves out, sets to null and sets stays apart.
 */
#include "schema_fixture.h"

#include <errno.h>

#define HEAD                                                                       \
    "syntax = \"proto3\";\npackage t;\nimport \"google/api/annotations.proto\";\n" \
    "import \"google/protobuf/field_mask.proto\";\nimport \"stoa/api/v1/annotations.proto\";\n"

static const char proto[] =
    HEAD "message Part { optional string name = 1; repeated string tags = 2; }\n"
         "message Thing {\n"
         "  optional string short_name = 1; int32 count = 2; repeated string tag_list = 3;\n"
         "  map<string, string> labels = 4; Part part = 5; Part other = 6;\n"
         "}\n"
         "message Change {\n"
         "  string id = 1; Thing thing = 2; Thing beside = 3;\n"
         "  google.protobuf.FieldMask update_mask = 4 [(stoa.api.v1.field).mask_of = \"thing\"];\n"
         "}\n"
         "service S { rpc Update(Change) returns (Change) {\n"
         "  option (google.api.http) = {patch: \"/things/{id}\" body: \"*\"}; } }\n";

static int set_up(void **state UNUSED)
{
    arena_init(&arena, 0);
    schema = fixture_load(proto);
    return 0;
}

/* What becomes of a body, in JSON again; or the part and the path of a fault. */
static void expect(const char *body, const char *expected)
{
    struct schema_fault fault = {STR_NULL, STR_NULL};
    struct schema_match match;
    enum schema_part part;
    struct buf wire, json;
    struct str got;
    int err;

    buf_init(&wire, 1 << 16);
    buf_init(&json, 1 << 16);
    assert_int_equal(schema_route(schema, STR("PATCH"), STR("/things/a"), &match), 0);
    err =
        schema_request(schema, &match, STR_NULL, str_of(body), NULL, &wire, &arena, &part, &fault);
    if (err) {
        assert_int_equal(err, -EBADMSG);
        got = arena_printf(&arena, "%s %.*s: %.*s",
                           part == SCHEMA_PART_FIELD  ? "field"
                           : part == SCHEMA_PART_BODY ? "body"
                                                      : "other",
                           STR_FMT(fault.path), STR_FMT(fault.message));
    } else {
        assert_int_equal(schema_json_write(schema, match.method->input, buf_str(&wire), NULL, &json,
                                           &arena, &fault),
                         0);
        got = arena_copy(&arena, buf_str(&json));
    }
    assert_string_equal(got.p, expected);
    buf_free(&wire);
    buf_free(&json);
}

static void what_is_given_is_in_the_mask(void **state UNUSED)
{
    expect("{\"thing\":{}}", "{\"id\":\"a\",\"thing\":{},\"updateMask\":\"\"}");
    expect("{\"thing\":{\"shortName\":\"x\"}}",
           "{\"id\":\"a\",\"thing\":{\"shortName\":\"x\"},\"updateMask\":\"shortName\"}");
    /* In the order of the fields, by their original names on the wire, whatever the caller used. */
    expect("{\"thing\":{\"tag_list\":[],\"count\":0,\"shortName\":\"\"}}",
           "{\"id\":\"a\",\"thing\":{\"shortName\":\"\"},"
           "\"updateMask\":\"shortName,count,tagList\"}");
    expect("{\"thing\":{\"unknown\":1,\"labels\":{}}}",
           "{\"id\":\"a\",\"thing\":{},\"updateMask\":\"labels\"}");
}

static void null_is_given(void **state UNUSED)
{
    expect("{\"thing\":{\"shortName\":null,\"count\":null}}",
           "{\"id\":\"a\",\"thing\":{},\"updateMask\":\"shortName,count\"}");
    expect("{\"thing\":{\"part\":null}}", "{\"id\":\"a\",\"thing\":{},\"updateMask\":\"part\"}");
}

static void a_list_cannot_be_null(void **state UNUSED)
{
    expect("{\"thing\":{\"tagList\":null}}", "field thing.tagList: can't be null");
    expect("{\"thing\":{\"labels\":null}}", "field thing.labels: can't be null");
    /* Only where a mask is made. */
    expect("{\"beside\":{\"tagList\":null}}", "{\"id\":\"a\",\"beside\":{}}");
    expect("{\"thing\":{\"part\":{\"tags\":null}}}",
           "{\"id\":\"a\",\"thing\":{\"part\":{}},\"updateMask\":\"part\"}");
}

/* What messages inside of it are given is not taken for its own. */
static void only_its_own_members_count(void **state UNUSED)
{
    expect("{\"thing\":{\"part\":{\"name\":\"x\",\"tags\":[\"y\"]}}}",
           "{\"id\":\"a\",\"thing\":{\"part\":{\"name\":\"x\",\"tags\":[\"y\"]}},"
           "\"updateMask\":\"part\"}");
    expect("{\"thing\":{\"count\":1},\"beside\":{\"shortName\":\"x\"}}",
           "{\"id\":\"a\",\"thing\":{\"count\":1},\"beside\":{\"shortName\":\"x\"},"
           "\"updateMask\":\"count\"}");
}

static void a_mask_of_the_caller_stays(void **state UNUSED)
{
    expect("{\"thing\":{\"shortName\":\"x\",\"count\":1},\"updateMask\":\"count\"}",
           "{\"id\":\"a\",\"thing\":{\"shortName\":\"x\",\"count\":1},\"updateMask\":\"count\"}");
    expect("{\"updateMask\":\"\",\"thing\":{\"shortName\":\"x\"}}",
           "{\"id\":\"a\",\"thing\":{\"shortName\":\"x\"},\"updateMask\":\"\"}");
    /* Null is no mask, and nothing is masked without the message. */
    expect("{\"updateMask\":null,\"thing\":{\"shortName\":\"x\"}}",
           "{\"id\":\"a\",\"thing\":{\"shortName\":\"x\"}}");
    expect("{}", "{\"id\":\"a\"}");
    expect("{\"thing\":null}", "{\"id\":\"a\"}");
}

static void faults_stay_faults(void **state UNUSED)
{
    expect("{\"thing\":{\"tagList\":5}}", "body thing.tagList: must be a list");
    expect("{\"thing\":5}", "body thing: must be an object");
}

static void what_cannot_be_masked_is_refused_at_load(void **state UNUSED)
{
    static const char *const bad[] = {
        "string mask = 1 [(stoa.api.v1.field).mask_of = \"a\"]; M a = 2;",
        "repeated google.protobuf.FieldMask mask = 1 [(stoa.api.v1.field).mask_of = \"a\"]; M a = "
        "2;",
        "google.protobuf.FieldMask mask = 1 [(stoa.api.v1.field).mask_of = \"b\"]; M a = 2;",
        "google.protobuf.FieldMask mask = 1 [(stoa.api.v1.field).mask_of = \"a\"]; string a = 2;",
        "google.protobuf.FieldMask mask = 1 [(stoa.api.v1.field).mask_of = \"a\"];"
        " repeated M a = 2;",
        "google.protobuf.FieldMask mask = 1 [(stoa.api.v1.field).mask_of = \"mask\"];",
    };

    for (size_t i = 0; i < ARRAY_SIZE(bad); i++) {
        char text[1024];

        snprintf(text, sizeof(text), HEAD "message M { %s }\n", bad[i]);
        fixture_refused(text, "field mask: mask_of needs one FieldMask");
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(what_is_given_is_in_the_mask),
        cmocka_unit_test(null_is_given),
        cmocka_unit_test(a_list_cannot_be_null),
        cmocka_unit_test(only_its_own_members_count),
        cmocka_unit_test(a_mask_of_the_caller_stays),
        cmocka_unit_test(faults_stay_faults),
        cmocka_unit_test(what_cannot_be_masked_is_refused_at_load),
    };

    return cmocka_run_group_tests_name("schema mask", tests, set_up, tear_down);
}
