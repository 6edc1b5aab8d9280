/* lib/schema/rules.c and validate.c: each rule, seen through the whole way of a request, JSON to
 * wire to decoded message to violations. */
#include "schema/tables.h"
#include "schema_fixture.h"

#include <pthread.h>
#include <tests/rules.pb-c.h>

static int set_up(void **state UNUSED)
{
    arena_init(&arena, 0);
    schema = fixture_load_files("rules.proto");
    return 0;
}

/* All violations as "path: message" lines. */
static struct str validate(const ProtobufCMessageDescriptor *type, struct str wire)
{
    const struct schema_message *m = schema_message(schema, str_of(type->name));
    struct schema_fault fault = {STR_NULL, STR_NULL}, *violations = NULL;
    ProtobufCMessage *message;
    struct str text = STR("");
    int n;

    assert_non_null(m);
    assert_int_equal(schema_check_wire(m, wire, &arena, &fault), 0);
    message = protobuf_c_message_unpack(type, NULL, wire.n, (const uint8_t *)wire.p);
    assert_non_null(message);
    n = schema_validate(m, message, &arena, &violations);
    assert_true(n >= 0);
    protobuf_c_message_free_unpacked(message, NULL);
    for (int i = 0; i < n; i++)
        text = arena_printf(&arena, "%s%s%.*s: %.*s", text.p, i ? "\n" : "",
                            STR_FMT(violations[i].path), STR_FMT(violations[i].message));
    return text;
}

static struct str validate_json(const ProtobufCMessageDescriptor *type, const char *json)
{
    const struct schema_message *m = schema_message(schema, str_of(type->name));
    const struct schema_json_options options = {.refuse_unknown = true};
    struct schema_fault fault = {STR_NULL, STR_NULL};
    struct str text;
    struct buf wire;

    assert_non_null(m);
    buf_init(&wire, 1 << 20);
    if (schema_json_read(schema, m, str_of(json), &options, &wire, &arena, &fault))
        fail_msg("%s: %.*s: %.*s", json, STR_FMT(fault.path), STR_FMT(fault.message));
    text = validate(type, buf_str(&wire));
    buf_free(&wire);
    return text;
}

struct expectation {
    const char *json;
    const char *violations; /* "": valid */
};

static void expect(const ProtobufCMessageDescriptor *type, const struct expectation *cases,
                   size_t n)
{
    for (size_t i = 0; i < n; i++) {
        struct str got = validate_json(type, cases[i].json);

        if (!str_eq(got, str_of(cases[i].violations)))
            fail_msg("%s\n  got:      %s\n  expected: %s", cases[i].json, got.p,
                     cases[i].violations);
    }
}

#define EXPECT(type, ...)                                                     \
    do {                                                                      \
        static const struct expectation cases[] = {__VA_ARGS__};              \
        expect(&stoa__rules__##type##__descriptor, cases, ARRAY_SIZE(cases)); \
    } while (0)

static void test_numbers(void **state)
{
    (void)state;
    EXPECT(numbers, {"{}", ""}, {"{\"positive\":1}", ""},
           {"{\"positive\":0}", "positive: must be greater than 0"},
           {"{\"positive\":-1}", "positive: must be greater than 0"}, {"{\"small\":5}", ""},
           {"{\"small\":-5}", ""}, {"{\"small\":6}", "small: must be less than or equal to 5"},
           {"{\"small\":-6}", "small: must be greater than or equal to -5"},
           {"{\"outside\":9}", ""}, {"{\"outside\":21}", ""},
           {"{\"outside\":10}", "outside: must be less than 10, or greater than 20"},
           {"{\"outside\":20}", "outside: must be less than 10, or greater than 20"},
           {"{\"big\":\"18446744073709551615\"}", ""},
           {"{\"big\":\"18446744073709551614\"}",
            "big: must be greater than or equal to 18446744073709551615"},
           {"{\"listed\":-1}", ""}, {"{\"listed\":7}", ""},
           {"{\"listed\":0}", "listed: must be one of: -1, 7"}, {"{\"unlisted\":2}", ""},
           {"{\"unlisted\":3}", "unlisted: must be none of: 3"}, {"{\"fixed\":42}", ""},
           {"{\"fixed\":41}", "fixed: must be 42"}, {"{\"below\":99}", ""},
           {"{\"below\":100}", "below: must be less than 100"}, {"{\"negative\":-1}", ""},
           {"{\"negative\":0}", "negative: must be less than 0"},
           {"{\"any\":\"9223372036854775807\"}", ""}, {"{\"equal\":4}", ""},
           {"{\"equal\":5}", "equal: must be less than or equal to 4"},
           {"{\"equal\":3}", "equal: must be greater than or equal to 4"});
}

static void test_floats(void **state)
{
    (void)state;
    EXPECT(numbers, {"{\"half\":0.5}", ""},
           {"{\"half\":0.75}", "half: must be less than or equal to 0.5"},
           {"{\"half\":\"NaN\"}", "half: must be less than or equal to 0.5"},
           {"{\"half\":\"-Infinity\"}", ""}, {"{\"finite\":2}", ""},
           {"{\"finite\":1.5}", "finite: must be greater than 1.5"},
           {"{\"finite\":\"Infinity\"}", "finite: must be a finite number"},
           {"{\"finite\":\"NaN\"}",
            "finite: must be a finite number\nfinite: must be greater than 1.5"});
}

static void test_bools_and_enums(void **state)
{
    (void)state;
    EXPECT(numbers, {"{\"accepted\":true}", ""}, {"{\"accepted\":false}", "accepted: must be true"},
           {"{\"color\":\"BLUE\"}", ""}, {"{\"color\":0}", ""},
           {"{\"color\":9}", "color: must be a known value"}, {"{\"warm\":\"RED\"}", ""},
           {"{\"warm\":\"BLUE\"}", "warm: must be one of: RED"});
}

static void test_string_lengths(void **state)
{
    (void)state;
    EXPECT(strings, {"{\"min\":\"abc\"}", ""},
           {"{\"min\":\"ab\"}", "min: is too short (minimum is 3 characters)"},
           {"{\"min\":\"\u20ac\u20ac\"}", "min: is too short (minimum is 3 characters)"},
           {"{\"min\":\"\"}", "min: can't be blank"}, {"{\"max\":\"\"}", ""},
           {"{\"max\":\"\u20ac\U0001f600\u00e9\"}", ""},
           {"{\"max\":\"abcd\"}", "max: is too long (maximum is 3 characters)"},
           {"{\"exact\":\"\u20acx\"}", ""},
           {"{\"exact\":\"x\"}", "exact: has the wrong length (must be 2 characters)"},
           {"{\"exact\":\"\"}", "exact: can't be blank"}, {"{\"bytes\":\"\u20ac\"}", ""},
           {"{\"bytes\":\"x\"}", "bytes: is too short (minimum is 2 bytes)"},
           {"{\"bytes\":\"\u20ac\u20ac\"}", "bytes: is too long (maximum is 4 bytes)"},
           {"{\"exactBytes\":\"\u20ac\"}", ""},
           {"{\"exactBytes\":\"xx\"}", "exact_bytes: has the wrong length (must be 3 bytes)"});
}

static void test_string_contents(void **state)
{
    (void)state;
    EXPECT(strings, {"{\"pattern\":\"abc\"}", ""},
           {"{\"pattern\":\"aBc\"}", "pattern: must match the pattern ^[a-z]+$"},
           {"{\"pattern\":\"abc\\n\"}", "pattern: must match the pattern ^[a-z]+$"},
           {"{\"pattern\":\"\"}", "pattern: can't be blank"}, {"{\"affixes\":\"abmmyz\"}", ""},
           {"{\"affixes\":\"x!\"}", "affixes: must start with \"ab\"\n"
                                    "affixes: must end with \"yz\"\n"
                                    "affixes: must contain \"mm\"\n"
                                    "affixes: must not contain \"!\""},
           {"{\"listed\":\"b\"}", ""}, {"{\"listed\":\"c\"}", "listed: must be one of: a, b"},
           {"{\"unlisted\":\"me\"}", ""},
           {"{\"unlisted\":\"root\"}", "unlisted: must be none of: root"},
           {"{\"constant\":\"yes\"}", ""}, {"{\"constant\":\"no\"}", "constant: must be \"yes\""});
}

/* Empty or blank breaks several rules, but is one fact for the caller. */
static void test_blank(void **state)
{
    (void)state;
    EXPECT(strings, {"{\"blank\":\" x \"}", ""}, {"{\"blank\":\"\"}", "blank: can't be blank"},
           {"{\"blank\":\" \\t\\r\\n\"}", "blank: can't be blank"},
           {"{\"blank\":\"          \"}", "blank: can't be blank"},
           {"{\"blank\":\"abcde\"}", "blank: is too long (maximum is 4 characters)"},
           {"{\"blank\":\"\u00a0\"}", ""});
}

static void test_pattern_cost_is_bounded(void **state)
{
    (void)state;
    EXPECT(
        strings, {"{\"slow\":\"aaaa1Bb\"}", ""},
        {"{\"slow\":\"aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa\"}",
         "slow: must match the pattern ^(([a-z])+.)+[A-Z]([a-z])+$"});
}

struct format {
    const char *field;
    const char *message;
    const char *good[20], *bad[24];
};

static const struct format formats[] = {
    {"email",
     "email: is not a valid email address",
     {"a@b", "jake@jake.jake", "x.y+z@sub.example.org", "a!#$%&'*+/=?^_`{|}~-@b", ".a.@b-c.d"},
     {"a", "@b", "a@", "a@b@c", "a b@c", "a@b c", "a@-b", "a@b-", "a@b..c", "a@.b", "a@b.",
      "\u00e9@b", "a@b_c", "a,b@c",
      "a@aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa"}},
    {"hostname",
     "hostname: is not a valid host name",
     {"a", "example.org", "example.org.", "a-b.c1", "1.a", "3com.com"},
     {".", "-a", "a-", "a..b", "a_b", "a.1", "10.0.0.1", "\u00e9.org", "a b"}},
    {"ip",
     "ip: is not a valid IP address",
     {"127.0.0.1", "::1", "2001:db8::1", "fe80::1%eth0"},
     {"256.0.0.1", "1.2.3", "::g", "1.2.3.4.5", "a", "01.2.3.4", "::1/64"}},
    {"ipv4", "ipv4: is not a valid IPv4 address", {"0.0.0.0"}, {"::1", "1.2.3.4 "}},
    {"ipv6",
     "ipv6: is not a valid IPv6 address",
     {"::", "::ffff:1.2.3.4", "1:2:3:4:5:6:7:8"},
     {"1.2.3.4", ":::", "1:2:3:4:5:6:7:8:9", "::1%", "[::1]"}},
    {"uri",
     "uri: is not a valid URI",
     {"https://example.org", "http://u:p@h:80/a/b?c=d#e", "mailto:a@b", "urn:isbn:123",
      "http://[::1]:8080/", "http://[v1.a:b]/", "a:", "x+y-z.1:/p%20q", "file:///etc/hosts",
      "http://a?b/c?d#e?f/g", "http://example.org:/"},
     {"example.org", "/path", "1a:b", "http://[::1", "http://a b", "http://a/%zz", "http://a/%2",
      "http://a:x", "http://[::g]", "http://[1.2.3.4]", ":a", "http://a/#b#c", "http://\u00e9",
      "http://a/<b>", "http://[v.a]", "http://a@b@c", "//a"}},
    {"uriRef",
     "uri_ref: is not a valid URI reference",
     {"", "/path", "a/b:c", "../x", "?q", "#f", "//host/p", "http://a", "./a:b", "a"},
     {"1a:b", "a b", "%", "//h:x", "a#b#c"}},
    {"uuid",
     "uuid: is not a valid UUID",
     {"123e4567-e89b-12d3-a456-426614174000", "123E4567-E89B-12D3-A456-426614174000"},
     {"123e4567e89b12d3a456426614174000", "123e4567-e89b-12d3-a456-42661417400g",
      "123e4567-e89b-12d3-a456-4266141740000", "123e4567-e89b-12d3-a456_426614174000"}},
};

static void test_formats(void **state)
{
    (void)state;
    for (size_t i = 0; i < ARRAY_SIZE(formats); i++) {
        const struct format *f = &formats[i];

        for (size_t j = 0; j < ARRAY_SIZE(f->good) && f->good[j]; j++) {
            struct str json = arena_printf(&arena, "{\"%s\":\"%s\"}", f->field, f->good[j]);

            if (validate_json(&stoa__rules__strings__descriptor, json.p).n)
                fail_msg("%s %s should be valid", f->field, f->good[j]);
        }
        for (size_t j = 0; j < ARRAY_SIZE(f->bad) && f->bad[j]; j++) {
            struct str json = arena_printf(&arena, "{\"%s\":\"%s\"}", f->field, f->bad[j]);
            struct str got = validate_json(&stoa__rules__strings__descriptor, json.p);

            if (!str_eq(got, str_of(f->message)))
                fail_msg("%s %s should be invalid, got \"%s\"", f->field, f->bad[j], got.p);
        }
    }
}

static void test_bytes(void **state)
{
    (void)state;
    EXPECT(bytes, {"{\"min\":\"/w==\"}", "min: is too short (minimum is 2 bytes)"},
           {"{\"min\":\"\"}", "min: can't be blank"},
           {"{\"max\":\"////\"}", "max: is too long (maximum is 2 bytes)"},
           {"{\"exact\":\"/////w==\"}", "exact: has the wrong length (must be 2 bytes)"},
           {"{\"prefix\":\"iVBORw==\"}", ""},
           {"{\"prefix\":\"aVBORw==\"}", "prefix: must start with 0x8950"},
           {"{\"pattern\":\"MTIz\"}", ""},
           {"{\"pattern\":\"/w==\"}", "pattern: must match the pattern ^[0-9]+$"},
           {"{\"listed\":\"YQ==\"}", ""},
           {"{\"listed\":\"Yg==\"}", "listed: must be one of: 0x61"});
}

static void test_presence(void **state)
{
    (void)state;
    EXPECT(implicit, {"{}", "number: must be greater than 0\ntext: can't be blank"},
           {"{\"number\":1,\"text\":\"x\"}", ""},
           {"{\"number\":1,\"text\":\"x\",\"ignored\":-1}", "ignored: must be greater than 0"},
           {"{\"number\":1,\"text\":\"x\",\"never\":\"a\"}", ""});
    EXPECT(required,
           {"{}", "text: can't be blank\nmaybe: can't be blank\nmessage: can't be blank\n"
                  "list: can't be blank\nlabels: can't be blank\ncolor: can't be blank"},
           {"{\"text\":\"x\",\"maybe\":\"\",\"message\":{\"number\":1,\"text\":\"x\"},"
            "\"list\":[0],\"labels\":{\"\":0},\"color\":\"RED\"}",
            ""},
           {"{\"text\":\"x\",\"maybe\":\"\",\"message\":{},\"list\":[0],\"labels\":{\"\":0},"
            "\"color\":\"RED\"}",
            "message.number: must be greater than 0\nmessage.text: can't be blank"});
}

static void test_oneof(void **state)
{
    (void)state;
    EXPECT(choice, {"{}", "pick: can't be blank"}, {"{\"name\":\"ab\"}", ""},
           {"{\"name\":\"a\"}", "name: is too short (minimum is 2 characters)"},
           {"{\"number\":0}", "number: must be greater than 3"}, {"{\"number\":4}", ""});
}

static void test_lists(void **state)
{
    (void)state;
    EXPECT(lists,
           {"{}", "tags: has too few items (minimum is 1)\n"
                  "flags: has too few entries (minimum is 1)"},
           {"{\"tags\":[\"a\",\"b\"],\"flags\":{\"true\":\"\"}}", ""},
           {"{\"tags\":[\"a\",\"b\",\"c\",\"a\"],\"flags\":{\"true\":\"\"}}",
            "tags: has too many items (maximum is 3)\ntags: has doubled items"},
           {"{\"tags\":[\"a\",\"\",\"abcde\"],\"flags\":{\"true\":\"\"}}",
            "tags[1]: can't be blank\ntags[2]: is too long (maximum is 4 characters)"},
           {"{\"tags\":[\"a\"],\"choices\":[{\"number\":4},{\"number\":1},{}],"
            "\"flags\":{\"true\":\"\"}}",
            "choices[1].number: must be greater than 3\nchoices[2].pick: can't be blank"},
           {"{\"tags\":[\"a\"],\"unique\":[1,2,3],\"colors\":[\"RED\",5],"
            "\"flags\":{\"true\":\"\"}}",
            "colors[1]: must be a known value"},
           {"{\"tags\":[\"a\"],\"unique\":[1,2,1],\"flags\":{\"true\":\"\"}}",
            "unique: has doubled items"});
}

static void test_maps(void **state)
{
    (void)state;
    EXPECT(lists,
           {"{\"tags\":[\"a\"],\"flags\":{\"true\":\"\"},"
            "\"labels\":{\"long\":{\"number\":4},\"b\":{\"number\":1}}}",
            "labels[\"long\"]: is too long (maximum is 3 characters)\n"
            "labels[\"b\"].number: must be greater than 3"},
           {"{\"tags\":[\"a\"],\"flags\":{\"true\":\"\"},\"names\":{\"-7\":\"x\",\"8\":\"ok\"}}",
            "names[-7]: is too short (minimum is 2 characters)"});
}

static void test_times(void **state)
{
    (void)state;
    EXPECT(times, {"{}", ""}, {"{\"short\":\"3.5s\"}", ""},
           {"{\"short\":\"3.500000001s\"}", "short: must be less than or equal to 3.5s"},
           {"{\"short\":\"0s\"}", "short: must be greater than 0s"},
           {"{\"short\":\"-1s\"}", "short: must be greater than 0s"},
           {"{\"past\":\"2001-02-03T04:05:06Z\"}", ""},
           {"{\"past\":\"9001-02-03T04:05:06Z\"}", "past: must be in the past"},
           {"{\"future\":\"9001-02-03T04:05:06Z\"}", ""},
           {"{\"future\":\"2001-02-03T04:05:06Z\"}", "future: must be in the future"},
           {"{\"near\":\"2001-02-03T04:05:06Z\"}", "near: must be within 3600s of now"},
           {"{\"since\":\"2020-01-01T00:00:00Z\"}", ""},
           {"{\"since\":\"2019-12-31T23:59:59.999Z\"}",
            "since: must be greater than or equal to 2020-01-01T00:00:00Z"},
           {"{\"listed\":\"60s\"}", ""}, {"{\"listed\":\"61s\"}", "listed: must be one of: 60s"});
}

static void test_wrappers(void **state)
{
    (void)state;
    EXPECT(
        wrappers, {"{}", ""}, {"{\"number\":4,\"text\":\"ab\"}", ""},
        {"{\"number\":3,\"text\":\"\"}", "number: must be greater than 3\ntext: can't be blank"});
}

static void test_number_of_violations_is_bounded(void **state)
{
    struct buf json;
    struct str got;
    size_t lines = 1;

    (void)state;
    buf_init(&json, 1 << 16);
    buf_append_str(&json, STR("{\"tags\":[\"a\"],\"flags\":{\"true\":\"\"},\"choices\":[{}"));
    for (int i = 0; i < 500; i++)
        buf_append_str(&json, STR(",{}"));
    buf_append(&json, "]}", 3); /* with the NUL */
    got = validate_json(&stoa__rules__lists__descriptor, json.p);
    for (size_t i = 0; i < got.n; i++)
        lines += got.p[i] == '\n';
    assert_int_equal(lines, 64);
    buf_free(&json);
}

/* A list that protobuf-c decodes can be as deep as the wire check allows. */
static void test_depth(void **state)
{
    size_t marks[99], mark;
    struct buf wire;
    struct str got;

    (void)state;
    buf_init(&wire, 1 << 16);
    for (size_t i = 0; i < ARRAY_SIZE(marks); i++)
        marks[i] = schema_put_begin(&wire, 2);
    mark = schema_put_begin(&wire, 1);
    buf_append_str(&wire, STR("ab"));
    schema_put_end(&wire, mark);
    for (size_t i = ARRAY_SIZE(marks); i-- > 0;)
        schema_put_end(&wire, marks[i]);
    got = validate(&stoa__rules__node__descriptor, buf_str(&wire));
    assert_true(str_starts(got, STR("child.child.child.")));
    assert_true(str_ends(got, STR(".child.name: is too long (maximum is 1 character)")));
    buf_free(&wire);
}

/* A schema is shared by all threads of a service, with its compiled patterns. */
static void *validate_often(void *result)
{
    const struct schema_message *type = schema_message(schema, STR("stoa.rules.Strings"));
    Stoa__Rules__Strings message = STOA__RULES__STRINGS__INIT;
    struct schema_fault *violations;
    char text[] = "UPPER";
    struct arena own;

    message._pattern_case = STOA__RULES__STRINGS___PATTERN_PATTERN;
    message.pattern = text;
    arena_init(&own, 0);
    for (int i = 0; i < 500; i++) {
        if (schema_validate(type, &message.base, &own, &violations) != 1)
            result = NULL;
        arena_reset(&own);
    }
    arena_free(&own);
    return result;
}

static void test_threads_share_a_schema(void **state)
{
    pthread_t threads[4];
    void *result;

    (void)state;
    for (size_t i = 0; i < ARRAY_SIZE(threads); i++)
        assert_int_equal(pthread_create(&threads[i], NULL, validate_often, schema), 0);
    for (size_t i = 0; i < ARRAY_SIZE(threads); i++) {
        assert_int_equal(pthread_join(threads[i], &result), 0);
        assert_ptr_equal(result, schema);
    }
}

static void test_no_memory_is_an_error(void **state)
{
    const struct schema_message *type = schema_message(schema, STR("stoa.rules.Required"));
    Stoa__Rules__Required message = STOA__RULES__REQUIRED__INIT;
    struct schema_fault *violations;
    struct arena small;

    (void)state;
    arena_init(&small, 16);
    assert_true(schema_validate(type, &message.base, &small, &violations) < 0);
    arena_free(&small);
}

/* ---- rules that are refused at load ---- */

#define FILE_WITH(declarations)                                                          \
    "syntax = \"proto3\"; package t; import \"buf/validate/validate.proto\"; message M " \
    "{" declarations "}"

static void test_refused_rules(void **state)
{
    (void)state;
    fixture_refused(FILE_WITH("int32 a = 1 [(buf.validate.field).string.min_len = 1];"),
                    "test.proto: t.M.a: StringRules are not for a field of this type");
    fixture_refused(FILE_WITH("repeated string a = 1 [(buf.validate.field).string.min_len = 1];"),
                    "test.proto: t.M.a: StringRules are not for a field of this type");
    fixture_refused(FILE_WITH("string a = 1 [(buf.validate.field).repeated.min_items = 1];"),
                    "test.proto: t.M.a: RepeatedRules are not for a field of this type");
    fixture_refused(
        FILE_WITH("map<string, int32> a = 1 [(buf.validate.field).repeated.min_items = 1];"),
        "test.proto: t.M.a: RepeatedRules are not for a field of this type");
    fixture_refused(
        FILE_WITH("map<string, int32> a = 1 [(buf.validate.field).map.values.string.min_len = 1];"),
        "test.proto: t.M.a: StringRules are not for a field of this type");
    fixture_refused(FILE_WITH("string a = 1 [(buf.validate.field).timestamp.lt_now = true];"),
                    "test.proto: t.M.a: TimestampRules are not for a field of this type");
    fixture_refused(FILE_WITH("string a = 1 [(buf.validate.field).string.pattern = \"a(b\"];"),
                    "test.proto: t.M.a: pattern \"a(b\" is wrong at offset 3");
    fixture_refused(FILE_WITH("repeated M a = 1 [(buf.validate.field).repeated.unique = true];"),
                    "test.proto: t.M.a: rule unique is for scalars and enums");
}

/* The whole of buf.validate as others write it: what we do not know must not be skipped. */
static void test_unknown_rules(void **state)
{
    static const char file[] =
        "syntax = \"proto2\"; package t; import \"google/protobuf/descriptor.proto\";"
        "message Rules { optional string cel = 23; optional Text string = 14;"
        " message Text { optional bool tuuid = 33; } }"
        "extend google.protobuf.FieldOptions { optional Rules field = 1159; }"
        "extend google.protobuf.MessageOptions { optional Rules message = 1159; }";
    struct str proto;

    (void)state;
    proto = arena_printf(&arena, "%s message M { optional string a = 1 [(t.field).cel = \"x\"]; }",
                         file);
    fixture_refused(proto.p, "t.M.a: unknown option: field 23 of buf.validate.FieldRules");
    proto = arena_printf(
        &arena, "%s message M { optional string a = 1 [(t.field).string.tuuid = true]; }", file);
    fixture_refused(proto.p, "t.M.a: unknown option: field 33 of buf.validate.StringRules");
    proto = arena_printf(&arena, "%s message M { option (t.message).cel = \"x\"; }", file);
    fixture_refused(proto.p, "t.M: rules for whole messages are not supported");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_numbers),
        cmocka_unit_test(test_floats),
        cmocka_unit_test(test_bools_and_enums),
        cmocka_unit_test(test_string_lengths),
        cmocka_unit_test(test_string_contents),
        cmocka_unit_test(test_blank),
        cmocka_unit_test(test_pattern_cost_is_bounded),
        cmocka_unit_test(test_formats),
        cmocka_unit_test(test_bytes),
        cmocka_unit_test(test_presence),
        cmocka_unit_test(test_oneof),
        cmocka_unit_test(test_lists),
        cmocka_unit_test(test_maps),
        cmocka_unit_test(test_times),
        cmocka_unit_test(test_wrappers),
        cmocka_unit_test(test_number_of_violations_is_bounded),
        cmocka_unit_test(test_depth),
        cmocka_unit_test(test_threads_share_a_schema),
        cmocka_unit_test(test_no_memory_is_an_error),
        cmocka_unit_test(test_refused_rules),
        cmocka_unit_test(test_unknown_rules),
    };

    return cmocka_run_group_tests_name("schema validate", tests, set_up, tear_down);
}
