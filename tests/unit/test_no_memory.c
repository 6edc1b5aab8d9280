/* Whatever allocation fails while a contract is compiled, or messages go between JSON and wire by
 * it, what comes of it is -ENOMEM: never another error, and nothing that is half done. */
#include "../faults/faults.h"
#include "openapi/openapi.h"
#include "schema_fixture.h"

#include <errno.h>

static const char proto[] =
    "syntax = \"proto3\";\n"
    "package t;\n"
    "import \"buf/validate/validate.proto\";\n"
    "import \"google/api/annotations.proto\";\n"
    "import \"stoa/api/v1/annotations.proto\";\n"
    "service S {\n"
    "  // What it does.\n"
    "  rpc M(In) returns (Out) {\n"
    "    option (google.api.http) = {post: \"/a/{name}\" body: \"*\""
    "      additional_bindings {get: \"/b/{name=x/*}\"}};\n"
    "    option (stoa.api.v1.method) = {auth: AUTH_NONE http_status: 201 cache_control: "
    "\"no-store\"};\n"
    "  }\n"
    "}\n"
    "message In {\n"
    "  string name = 1 [(buf.validate.field).string = {min_len: 1 max_len: 9 pattern: "
    "\"^[a-z/]+$\"}];\n"
    "  repeated Part parts = 2 [(buf.validate.field).repeated.max_items = 5];\n"
    "  map<string, bytes> bytes = 3;\n"
    "  oneof choice { int64 number = 4; string word = 5; }\n"
    "}\n"
    "message Part { enum Kind { NONE = 0; ONE = 1; } Kind kind = 1; double value = 2; Part part = "
    "3; }\n"
    "message Out { Part part = 1; map<string, bytes> bytes = 2; string etag = 3; }\n";

static struct buf set;

/* Calls it with each allocation failing in turn, until there are no more. */
static void fail_each(int (*attempt)(void))
{
    static struct fault_control control;
    int64_t place = 0, refused = 0;
    int err;

    fault_control = &control;
    do {
        control = (struct fault_control){.pid = -1, .mode = FAULT_ONCE, .fail_at = ++place};
        err = attempt();
        control.pid = 0;
        if (err != 0 && err != -ENOMEM)
            fail_msg("allocation %d fails: %d", (int)place, err);
        if (control.failed == 0)
            assert_int_equal(err, 0);
        refused += err != 0;
    } while (control.failed);
    assert_true(refused > 0);
}

static int load(void)
{
    struct schema *loaded = NULL;
    struct arena errors;
    struct str error;
    int err;

    arena_init(&errors, 0);
    err = schema_load(buf_str(&set), &errors, &loaded, &error);
    arena_free(&errors);
    schema_free(loaded);
    return err;
}

static void a_contract_is_compiled(void **state)
{
    (void)state;
    fail_each(load);
}

static int describe(void)
{
    const struct openapi_options options = {.title = STR("T"), .version = STR("1")};
    struct buf json CLEANUP(buf_free) = {.max = 1 << 20};
    struct arena errors;
    struct str error;
    int err;

    arena_init(&errors, 0);
    err = openapi_write(schema, &options, &json, &errors, &error);
    arena_free(&errors);
    return err;
}

static void a_contract_is_described(void **state)
{
    (void)state;
    fail_each(describe);
}

static int request(void)
{
    static const struct str body =
        STR("{\"parts\":[{\"kind\":\"ONE\",\"value\":1.5},{\"part\":{\"part\":{}}}],"
            "\"bytes\":{\"a\":\"AAEC\",\"\\u00e9\":\"_-8\"},\"number\":\"-5\"}");
    const struct schema_json_options options = {.refuse_unknown = true};
    struct schema_fault fault;
    enum schema_part part;
    struct schema_match match;
    struct arena scratch;
    struct buf wire CLEANUP(buf_free) = {.max = 1 << 20};
    int err = schema_route(schema, STR("POST"), STR("/a/%6eame"), &match);

    assert_int_equal(err, 0);
    arena_init(&scratch, 0);
    err = schema_request(schema, &match, STR_NULL, body, &options, &wire, &scratch, &part, &fault);
    if (!err)
        err = buf_error(&wire);
    arena_free(&scratch);
    return err;
}

static void a_request_is_read(void **state)
{
    (void)state;
    fail_each(request);
}

/* part {kind: ONE value: 1.5 part {}}, bytes {"a": 00 01 02}, etag: "x" */
static const struct str answer = STR("\x0a\x0d\x08\x01\x11\0\0\0\0\0\0\xf8\x3f\x1a\0"
                                     "\x12\x08\x0a\x01"
                                     "a\x12\x03\0\x01\x02"
                                     "\x1a\x01x");

static int response(void)
{
    const struct schema_json_options options = {.print_unset = true};
    struct schema_fault fault;
    struct schema_match match;
    struct arena scratch;
    struct buf json CLEANUP(buf_free) = {.max = 1 << 20};
    int err = schema_route(schema, STR("POST"), STR("/a/b"), &match);

    assert_int_equal(err, 0);
    arena_init(&scratch, 0);
    err = schema_response(schema, &match, answer, &options, &json, &scratch, &fault);
    if (!err)
        err = buf_error(&json);
    arena_free(&scratch);
    return err;
}

static void a_response_is_printed(void **state)
{
    (void)state;
    fail_each(response);
}

static int set_up(void **state)
{
    (void)state;
    fixture_compile(proto, &set);
    schema = fixture_load(proto);
    return 0;
}

static int free_all(void **state)
{
    (void)state;
    schema_free(schema);
    buf_free(&set);
    return 0;
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_contract_is_compiled),
        cmocka_unit_test(a_contract_is_described),
        cmocka_unit_test(a_request_is_read),
        cmocka_unit_test(a_response_is_printed),
    };

    return cmocka_run_group_tests(tests, set_up, free_all);
}
