/* lib/schema/event_id.c and http_body.c: ids of events, and bodies that are not JSON. */
#include "schema_fixture.h"

#include "base/arena.h"

#include <errno.h>

static const char contract[] =
    "syntax = \"proto3\";\n"
    "package a;\n"
    "import \"google/api/annotations.proto\";\n"
    "import \"google/api/httpbody.proto\";\n"
    "import \"stoa/api/v1/annotations.proto\";\n"
    "service S {\n"
    "  rpc Text(TextRequest) returns (stream TextEvent);\n"
    "  rpc Number(NumberRequest) returns (stream NumberEvent);\n"
    "  rpc Zigzag(None) returns (stream ZigzagEvent);\n"
    "  rpc Fixed(None) returns (stream FixedEvent);\n"
    "  rpc Small(None) returns (stream SmallEvent);\n"
    "  rpc Plain(None) returns (stream None);\n"
    "  rpc Body(Upload) returns (google.api.HttpBody) {\n"
    "    option (google.api.http) = {post: \"/body\" body: \"body\"};\n"
    "  }\n"
    "  rpc Part(google.api.HttpBody) returns (Upload) {\n"
    "    option (google.api.http) = {post: \"/part\" body: \"*\" response_body: \"body\"};\n"
    "  }\n"
    "}\n"
    "message None {}\n"
    "message TextRequest { string after = 1 [(stoa.api.v1.field).last_event_id = true]; }\n"
    "message TextEvent { string id = 2 [(stoa.api.v1.field).event_id = true]; }\n"
    "message Position { int64 number = 3 [(stoa.api.v1.field).last_event_id = true]; }\n"
    "message NumberRequest { string name = 1; Position position = 2; }\n"
    "message Item { uint64 number = 1 [(stoa.api.v1.field).event_id = true]; }\n"
    "message NumberEvent { Item item = 1; }\n"
    "message ZigzagEvent { sint64 number = 1 [(stoa.api.v1.field).event_id = true]; }\n"
    "message FixedEvent { sfixed32 number = 1 [(stoa.api.v1.field).event_id = true]; }\n"
    "message SmallEvent { int32 number = 1 [(stoa.api.v1.field).event_id = true]; }\n"
    "message Upload { google.api.HttpBody body = 1; string name = 2; }\n";

static int set_up(void **state UNUSED)
{
    schema = fixture_load(contract);
    return 0;
}

static void assert_str(struct str s, const char *expected)
{
    assert_non_null(s.p);
    assert_int_equal(s.n, strlen(expected));
    assert_memory_equal(s.p, expected, s.n);
}

static void assert_id(const char *path, struct str wire, const char *expected)
{
    char room[SCHEMA_EVENT_ID_ROOM];
    struct str id = schema_event_id(method(path), wire, room);

    if (expected)
        assert_str(id, expected);
    else
        assert_null(id.p);
}

static void reads_ids(void **state)
{
    (void)state;
    assert_id("/a.S/Text",
              STR("\x12\x03"
                  "a-1"),
              "a-1");
    assert_id("/a.S/Text",
              STR("\x12\x01"
                  "a\x12\x01"
                  "b"),
              "b");
    assert_id("/a.S/Text", STR("\x12\x00"), NULL);
    assert_id("/a.S/Text", STR(""), NULL);
    assert_id("/a.S/Number", STR("\x0a\x02\x08\x07"), "7");
    assert_id("/a.S/Number", STR("\x0a\x0b\x08\xff\xff\xff\xff\xff\xff\xff\xff\xff\x01"),
              "18446744073709551615");
    assert_id("/a.S/Zigzag", STR("\x08\x03"), "-2");
    assert_id("/a.S/Fixed", STR("\x0d\xff\xff\xff\xff"), "-1");
    assert_id("/a.S/Small", STR("\x08\xff\xff\xff\xff\xff\xff\xff\xff\xff\x01"), "-1");
    assert_id("/a.S/Plain", STR("\x08\x01"), NULL);
}

static void passes_over_damage(void **state)
{
    (void)state;
    assert_id("/a.S/Text", STR("\x10\x05"), NULL);       /* a number where a text should be */
    assert_id("/a.S/Number", STR("\x0a\x02\x0a"), NULL); /* cut */
    assert_id("/a.S/Fixed", STR("\x08\x05"), NULL);
}

static int put(const char *path, struct str id, struct buf *wire, struct schema_fault *fault)
{
    struct arena scratch;
    int err;

    arena_init(&scratch, 0);
    err = schema_put_last_event_id(schema, method(path), id, wire, &scratch, fault);
    arena_free(&scratch);
    return err;
}

static void writes_last_ids(void **state)
{
    struct buf wire CLEANUP(buf_free) = {.max = 1024};
    struct schema_fault fault;

    (void)state;
    assert_int_equal(put("/a.S/Text", STR("a-1"), &wire, &fault), 0);
    assert_str(buf_str(&wire), "\x0a\x03"
                               "a-1");
    wire.n = 0;
    assert_int_equal(put("/a.S/Number", STR("7"), &wire, &fault), 0);
    assert_str(buf_str(&wire), "\x12\x02\x18\x07");
    wire.n = 0;
    assert_int_equal(put("/a.S/Plain", STR("7"), &wire, &fault), 0);
    assert_int_equal(wire.n, 0);
}

static void refuses_bad_last_ids(void **state)
{
    static const struct str bad[] = {STR("x"),  STR("1e3"), STR("1.0"), STR("9223372036854775808"),
                                     STR(" 1"), STR("\"1"), STR("null")};
    struct buf wire CLEANUP(buf_free) = {.max = 1024};
    struct schema_fault fault;

    (void)state;
    buf_append_str(&wire, STR("\x0a\x01x"));
    for (size_t i = 0; i < ARRAY_SIZE(bad); i++) {
        assert_int_equal(put("/a.S/Number", bad[i], &wire, &fault), -EBADMSG);
        assert_str(fault.path, "lastEventId");
        assert_int_equal(wire.n, 3);
    }
    assert_int_equal(put("/a.S/Text", STR("\xff"), &wire, &fault), -EBADMSG);
    assert_int_equal(put("/a.S/Text", STR("a\0b"), &wire, &fault), -EBADMSG);
}

static void refuses_fields_that_hold_no_id(void **state)
{
    static const char *const fields[] = {"bytes a = 1", "repeated int32 a = 1", "double a = 1",
                                         "bool a = 1"};
    char proto[256];

    (void)state;
    for (size_t i = 0; i < ARRAY_SIZE(fields); i++) {
        snprintf(proto, sizeof(proto),
                 "syntax = \"proto3\"; import \"stoa/api/v1/annotations.proto\";\n"
                 "message M { %s [(stoa.api.v1.field).event_id = true]; }",
                 fields[i]);
        fixture_refused(proto, "field a: an event id must be one string or integer");
    }
}

/* ---- bodies ---- */

static struct schema_match match(const char *path)
{
    struct schema_match m;

    assert_int_equal(schema_route(schema, STR("POST"), str_of(path), &m), 0);
    return m;
}

static void knows_raw_bodies(void **state)
{
    struct schema_match body = match("/body"), part = match("/part");

    (void)state;
    assert_true(schema_match_raw_request(&body));
    assert_true(schema_match_raw_response(&body));
    assert_true(schema_match_raw_request(&part));
    assert_true(schema_match_raw_response(&part));
}

static void puts_raw_bodies(void **state)
{
    struct schema_match m = match("/body");
    struct schema_json_options options = {.content_type = STR("a/b")};
    struct buf wire CLEANUP(buf_free) = {.max = 1024};
    struct schema_fault fault;
    enum schema_part part;
    struct arena scratch;

    (void)state;
    arena_init(&scratch, 0);
    assert_int_equal(schema_request(schema, &m, STR("name=n&body.data=x"), STR("\xff{"), &options,
                                    &wire, &scratch, &part, &fault),
                     0);
    assert_str(buf_str(&wire), "\x0a\x09\x0a\x03"
                               "a/b\x12\x02\xff{\x12\x01n");
    arena_free(&scratch);
}

static void takes_raw_bodies(void **state)
{
    struct schema_match m = match("/part");
    struct str body, type, data;

    (void)state;
    assert_int_equal(schema_raw_response(&m,
                                         STR("\x0a\x09\x0a\x03"
                                             "a/b\x12\x02\xff{\x12\x01n"),
                                         &body),
                     0);
    assert_int_equal(schema_read_http_body(body, &type, &data), 0);
    assert_str(type, "a/b");
    assert_str(data, "\xff{");
    assert_int_equal(schema_raw_response(&m, STR(""), &body), 0);
    assert_int_equal(schema_read_http_body(body, &type, &data), 0);
    assert_str(data, "");
    assert_int_equal(schema_raw_response(&m, STR("\x0a\x09\x0a"), &body), -EBADMSG);
    assert_int_equal(schema_read_http_body(STR("\x08\x01"), &type, &data), -EBADMSG);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(reads_ids),
        cmocka_unit_test(passes_over_damage),
        cmocka_unit_test(writes_last_ids),
        cmocka_unit_test(refuses_bad_last_ids),
        cmocka_unit_test(refuses_fields_that_hold_no_id),
        cmocka_unit_test(knows_raw_bodies),
        cmocka_unit_test(puts_raw_bodies),
        cmocka_unit_test(takes_raw_bodies),
    };

    return cmocka_run_group_tests(tests, set_up, tear_down);
}
