/* lib/schema/request.c: path, query and body become one message; answers become JSON. */
#include "schema/tables.h"
#include "schema_fixture.h"

#include <errno.h>

static bool refuse_unknown; /* as an option of request() */

static int set_up(void **state UNUSED)
{
    arena_init(&arena, 0);
    schema = fixture_load_files("routes.proto");
    return 0;
}

static struct schema_match match_of(const char *method, const char *path)
{
    struct schema_match match;

    if (schema_route(schema, str_of(method), str_of(path), &match))
        fail_msg("%s %s has no route", method, path);
    return match;
}

/* The request as JSON, or "part path: message" of a fault. */
static struct str request(const char *method, const char *path, const char *query, struct str body)
{
    static const char *const parts[] = {"body", "query", "path"};
    const struct schema_json_options options = {.refuse_unknown = refuse_unknown};
    struct schema_match match = match_of(method, path);
    struct schema_fault fault = {STR_NULL, STR_NULL};
    enum schema_part part;
    struct buf wire, json;
    struct str text;
    int err;

    buf_init(&wire, 1 << 20);
    buf_init(&json, 1 << 20);
    buf_append_str(&wire, STR("before"));
    err =
        schema_request(schema, &match, str_of(query), body, &options, &wire, &arena, &part, &fault);
    if (err) {
        assert_int_equal(err, -EBADMSG);
        assert_int_equal(wire.n, 6); /* nothing half done is left */
        text = arena_printf(&arena, "%s %.*s: %.*s", parts[part], STR_FMT(fault.path),
                            STR_FMT(fault.message));
    } else {
        assert_int_equal(
            schema_check_wire(match.method->input, str_skip(buf_str(&wire), 6), &arena, &fault), 0);
        assert_int_equal(schema_json_write(schema, match.method->input, str_skip(buf_str(&wire), 6),
                                           &options, &json, &arena, &fault),
                         0);
        text = arena_copy(&arena, buf_str(&json));
    }
    buf_free(&wire);
    buf_free(&json);
    return text;
}

static void expect(const char *method, const char *path, const char *query, const char *body,
                   const char *expected)
{
    struct str got = request(method, path, query, str_of(body));

    if (!str_eq(got, str_of(expected)))
        fail_msg("%s %s?%s\n  got:      %s\n  expected: %s", method, path, query, got.p, expected);
}

static void expect_query(const char *query, const char *expected)
{
    expect("GET", "/v1/search", query, "", expected);
}

/* ---- query ---- */

static void test_query_scalars(void **state)
{
    (void)state;
    expect_query("", "{}");
    expect_query("name=a&id=-7&flag=true&ratio=1.5&raw=AAE%3D",
                 "{\"name\":\"a\",\"id\":-7,\"flag\":true,\"ratio\":1.5,\"raw\":\"AAE=\"}");
    expect_query("ratio=NaN&rough=-Infinity&zigzag=-5",
                 "{\"ratio\":\"NaN\",\"rough\":\"-Infinity\",\"zigzag\":\"-5\"}");
    expect_query("big=0", "{\"big\":\"0\"}"); /* with presence, 0 is something */
    expect_query("big=18446744073709551615", "{\"big\":\"18446744073709551615\"}");
    expect_query("name=", "{}");
    expect_query("name", "{}");
    expect_query("first=", "{\"first\":\"\"}");
    expect_query("&&name=a&", "{\"name\":\"a\"}");
    expect_query("name=a=b", "{\"name\":\"a=b\"}");
    expect_query("name=%22%5C%0A%01", "{\"name\":\"\\\"\\\\\\n\\u0001\"}");
}

static void test_query_bools(void **state)
{
    static const char *const yes[] = {"true", "TRUE", "True", "t", "T", "1"};
    static const char *const no[] = {"false", "FALSE", "f", "F", "0"};

    (void)state;
    for (size_t i = 0; i < ARRAY_SIZE(yes); i++)
        expect_query(arena_printf(&arena, "flag=%s&maybe=%s", yes[i], yes[i]).p,
                     "{\"flag\":true,\"maybe\":true}");
    for (size_t i = 0; i < ARRAY_SIZE(no); i++)
        expect_query(arena_printf(&arena, "flag=%s&maybe=%s", no[i], no[i]).p, "{\"maybe\":false}");
}

/* What would have to be dropped or guessed is refused. */
static void test_query_twice(void **state)
{
    (void)state;
    expect_query("name=a&name=b", "query name: is given twice");
    expect_query("name=a&id=1&name=a", "query name: is given twice");
    expect_query("inner.name=a&inner.count=1&inner.name=b", "query inner.name: is given twice");
    expect_query("limit=1&limit=2", "query limit: is given twice");
    expect_query("tagList=a&tag_list=b&tagList=c", "{\"tagList\":[\"a\",\"b\",\"c\"]}");
}

static void test_query_oneofs(void **state)
{
    static const char choice[] = "only one member of \"choice\" may be given";
    static const char either[] = "only one member of \"either\" may be given";
    static const char part[] = "only one member of \"part\" may be given";

    (void)state;
    expect_query("first=a&piece=b", "{\"first\":\"a\",\"piece\":\"b\"}");
    expect_query("first=a&id=4&second=2", arena_printf(&arena, "query second: %s", choice).p);
    expect_query("second=&first=", arena_printf(&arena, "query second: %s", choice).p);
    expect_query("inner.left=a&inner.right=b",
                 arena_printf(&arena, "query inner.right: %s", either).p);
    expect_query("inner.left=a&inner.inner.right=b",
                 "{\"inner\":{\"inner\":{\"right\":\"b\"},\"left\":\"a\"}}");
    expect_query("whole.name=a&whole.count=2", "{\"whole\":{\"name\":\"a\",\"count\":2}}");
    expect_query("whole.name=a&count=2", arena_printf(&arena, "query count: %s", part).p);
    expect("GET", "/v1/chosen/a", "second=1", "",
           arena_printf(&arena, "query second: %s", choice).p);
    expect("GET", "/v1/chosen/a", "first=b&piece=c", "", "{\"first\":\"a\",\"piece\":\"c\"}");
    expect("PUT", "/v1/whole/a/b", "piece=c", "{}",
           arena_printf(&arena, "query piece: %s", part).p);
    expect("PUT", "/v1/whole/a/b", "inner.right=c", "{}",
           arena_printf(&arena, "query inner.right: %s", either).p);
    expect("PUT", "/v1/whole/a/b", "first=c", "{\"count\":1}",
           "{\"inner\":{\"left\":\"a\"},\"first\":\"c\",\"whole\":{\"count\":1,\"right\":\"b\"}}");
}

static void test_query_names(void **state)
{
    (void)state;
    expect_query("tagList=a&tag_list=b", "{\"tagList\":[\"a\",\"b\"]}");
    expect_query("inner.name=a&inner.inner.count=2&inner.tags=x&inner.tags=y",
                 "{\"inner\":{\"name\":\"a\",\"tags\":[\"x\",\"y\"],\"inner\":{\"count\":2}}}");
    expect_query("%6eame=a", "{\"name\":\"a\"}");
    expect_query("unknown=1&Name=2&=3&name.x=4&inner.nothing=5&.=6&inner..name=7&%zz=8", "{}");
    expect_query("since.seconds=5&labels.a=b&inners.name=c", "{}");
}

static void test_query_repeated(void **state)
{
    (void)state;
    expect_query("numbers=3&numbers=1&id=9&numbers=2", "{\"id\":9,\"numbers\":[3,1,2]}");
    expect_query("orders=NEWEST&orders=2&orders=7", "{\"orders\":[\"NEWEST\",\"OLDEST\",7]}");
    expect_query("times=2020-01-02T03:04:05Z&times=1970-01-01T00:00:00Z",
                 "{\"times\":[\"2020-01-02T03:04:05Z\",\"1970-01-01T00:00:00Z\"]}");
}

static void test_query_well_known_types(void **state)
{
    (void)state;
    expect_query("since=2020-01-02T03:04:05.5%2B01:00", "{\"since\":\"2020-01-02T02:04:05.500Z\"}");
    expect_query("age=3.5s&readMask=name,inner.tagList&limit=7&maybe=false&text=a+b",
                 "{\"age\":\"3.500s\",\"readMask\":\"name,inner.tagList\",\"limit\":\"7\","
                 "\"maybe\":false,\"text\":\"a b\"}");
}

static void test_query_encoding(void **state)
{
    (void)state;
    expect_query("name=a+b%2Bc%20d%26e%3D", "{\"name\":\"a b+c d&e=\"}");
    expect_query("name=%C3%A9%2F", "{\"name\":\"\u00e9/\"}");
    expect_query("name=%", "query name: has a bad percent escape");
    expect_query("name=%4", "query name: has a bad percent escape");
    expect_query("name=%g1", "query name: has a bad percent escape");
    expect_query("name=%FF", "query name: is not valid UTF-8");
    expect_query("name=a%00b", "query name: must not contain a NUL character");
}

static void test_query_faults(void **state)
{
    static const char whole[] = "must be a whole number from -2147483648 to 2147483647";

    (void)state;
    expect_query("id=x", arena_printf(&arena, "query id: %s", whole).p);
    expect_query("id=", arena_printf(&arena, "query id: %s", whole).p);
    expect_query("id=2147483648", arena_printf(&arena, "query id: %s", whole).p);
    expect_query("id=1.5", arena_printf(&arena, "query id: %s", whole).p);
    expect_query("id=1%22", arena_printf(&arena, "query id: %s", whole).p);
    expect_query("inner.count=x", arena_printf(&arena, "query inner.count: %s", whole).p);
    expect_query("big=-1", "query big: must be a whole number from 0 to 18446744073709551615");
    expect_query("flag=2", "query flag: must be true or false");
    expect_query("flag=yes", "query flag: must be true or false");
    expect_query("flag=", "query flag: must be true or false");
    expect_query("maybe=", "query maybe: must be true or false");
    expect_query("ratio=x", "query ratio: must be a number");
    expect_query("raw=*", "query raw: must be a string of base64");
    expect_query("order=BEST", "query order: is not one of the known values");
    expect_query("inner=x", "query inner: cannot be given in the query");
    expect_query("labels=x", "query labels: cannot be given in the query");
    expect_query("inners=x", "query inners: cannot be given in the query");
    assert_true(
        str_starts(request("GET", "/v1/search", "since=yesterday", STR("")), STR("query since: ")));
    assert_true(
        str_starts(request("GET", "/v1/search", "readMask=a_b", STR("")), STR("query readMask: ")));
    assert_true(str_starts(request("GET", "/v1/search", "limit=x", STR("")), STR("query limit: ")));
}

static void test_query_length(void **state)
{
    struct buf query;
    struct str got;

    (void)state;
    buf_init(&query, 1 << 20);
    for (int i = 0; i < 256; i++)
        buf_append_str(&query, STR("&numbers=1"));
    buf_append_char(&query, '\0');
    got = request("GET", "/v1/search", query.p, STR(""));
    assert_int_equal(got.n, strlen("{\"numbers\":[]}") + 256 * 2 - 1);
    query.n--;
    buf_append(&query, "&x=1", 5);
    expect_query(query.p, "query : has too many parameters (maximum is 256)");
    buf_free(&query);
}

/* With refuse_unknown, as for JSON members. */
static void test_unknown_parameters(void **state)
{
    static const struct {
        const char *method, *path, *query, *body, *expected;
    } cases[] = {
        {"GET", "/v1/search", "name=a&&tag_list=b", "", "{\"name\":\"a\",\"tagList\":[\"b\"]}"},
        {"GET", "/v1/search", "unknown=1", "", "query unknown: is not a known parameter"},
        {"GET", "/v1/search", "Name=1", "", "query Name: is not a known parameter"},
        {"GET", "/v1/search", "inner.x=1", "", "query inner.x: is not a known parameter"},
        {"GET", "/v1/search", "since.seconds=1", "",
         "query since.seconds: is not a known parameter"},
        {"GET", "/v1/search", "a%20b=1", "", "query a b: is not a known parameter"},
        {"GET", "/v1/search", "%zz=1", "", "query %zz: has a bad percent escape"},
        {"GET", "/v1/search", "%ff=1", "", "query : has a parameter whose name is not valid UTF-8"},
        {"GET", "/v1/things/a", "name=b", "", "query name: is not taken from the query"},
        {"PATCH", "/v1/things/a/inner", "inner.count=1", "{}",
         "query inner.count: is not taken from the query"},
        {"POST", "/v1/things", "id=7", "{}", "query id: is not taken from the query"},
        {"POST", "/v1/things", "", "{\"x\":1}", "body x: is not a known field"},
    };

    (void)state;
    refuse_unknown = true;
    for (size_t i = 0; i < ARRAY_SIZE(cases); i++)
        expect(cases[i].method, cases[i].path, cases[i].query, cases[i].body, cases[i].expected);
    refuse_unknown = false;
}

/* ---- path ---- */

static void test_captures(void **state)
{
    (void)state;
    expect("GET", "/v1/things/a%20b+c%2Fd%3F", "", "", "{\"name\":\"a b+c/d?\"}");
    expect("GET", "/v1/things/%E2%82%AC", "", "", "{\"name\":\"\u20ac\"}");
    expect("GET", "/v1/files/a%2Fb%20c/%2fd", "", "", "{\"name\":\"files/a%2Fb c/%2fd\"}");
    /* Reserved characters stay as they came when there can be several segments. */
    expect("GET", "/v1/files/%3A%3f%23%5B%5d%40%21%24%26%27%28%29%2a%2B%2c%3B%3d", "", "",
           "{\"name\":\"files/%3A%3f%23%5B%5d%40%21%24%26%27%28%29%2a%2B%2c%3B%3d\"}");
    expect("GET", "/v1/files/%41%2D%7e%22%25%3C%7C:@", "", "", "{\"name\":\"files/A-~\\\"%<|:@\"}");
    expect("PUT", "/v1/inner/boxes/a%3Ab/shelves/%C3%A9", "", "",
           "{\"inner\":{\"name\":\"boxes/a%3Ab/shelves/\u00e9\"}}");
    expect("GET", "/v1/things/%3A%3f%23%5B%5d%40", "", "", "{\"name\":\":?#[]@\"}");
    expect("GET", "/v1/pairs/a/-5", "", "", "{\"name\":\"a\",\"id\":-5}");
    expect("GET", "/v1/things/%zz", "", "", "path name: has a bad percent escape");
    expect("GET", "/v1/things/%ff", "", "", "path name: is not valid UTF-8");
    expect("GET", "/v1/things/a%00", "", "", "path name: must not contain a NUL character");
    expect("GET", "/v1/pairs/a/x", "", "",
           "path id: must be a whole number from -2147483648 to 2147483647");
}

static void test_path_comes_before_query(void **state)
{
    (void)state;
    expect("GET", "/v1/things/a", "name=b&id=3", "", "{\"name\":\"a\",\"id\":3}");
    expect("GET", "/v1/pairs/a/5", "id=x", "", "{\"name\":\"a\",\"id\":5}");
}

static void test_path_comes_before_body(void **state)
{
    (void)state;
    expect("POST", "/v1/things/a:publish", "", "{\"name\":\"b\",\"id\":3}",
           "{\"name\":\"a\",\"id\":3}");
    expect("PATCH", "/v1/things/a/inner", "", "{\"name\":\"b\",\"count\":3}",
           "{\"inner\":{\"name\":\"a\",\"count\":3}}");
}

/* ---- body ---- */

static void test_whole_body(void **state)
{
    (void)state;
    expect("POST", "/v1/things", "id=7", "{\"name\":\"a\"}", "{\"name\":\"a\"}");
    expect("POST", "/v1/things", "id=x", "", "{}");
    expect("POST", "/v1/things", "", " \r\n", "{}");
    expect("POST", "/v1/things/a:publish", "", "", "{\"name\":\"a\"}");
    expect("POST", "/v1/things", "", "{\"id\":\"x\"}",
           "body id: must be a whole number from -2147483648 to 2147483647");
    expect("POST", "/v1/things", "", "{", "body : is not valid JSON: unexpected end at byte 2");
}

static void test_body_field(void **state)
{
    (void)state;
    expect("PATCH", "/v1/things/a/inner", "id=5&inner.count=9&name=q", "{\"tags\":[\"x\"]}",
           "{\"name\":\"q\",\"id\":5,\"inner\":{\"name\":\"a\",\"tags\":[\"x\"]}}");
    expect("PATCH", "/v1/things/a/inner", "", "", "{\"inner\":{\"name\":\"a\"}}");
    expect("PATCH", "/v1/things/a/inner", "", "[]", "body : must be an object");
}

static void test_body_of_other_kinds(void **state)
{
    (void)state;
    expect("PUT", "/v1/tags", "", " [\"a\", \"b\"] ", "{\"tagList\":[\"a\",\"b\"]}");
    expect("PUT", "/v1/tags", "", "", "{}");
    expect("PUT", "/v1/tags", "", "[\"a\"], \"id\": 5", /* no way out of the field */
           "body : is not valid JSON: unexpected character at byte 6");
    expect("PUT", "/v1/tags", "", "[1]", "body [0]: must be a string");
    expect("PUT", "/v1/labels", "", "{\"a\":\"b\"}", "{\"labels\":{\"a\":\"b\"}}");
    expect("PUT", "/v1/scalar", "", "5", "{\"id\":5}");
    expect("PUT", "/v1/scalar", "", "\"5\"", "{\"id\":5}");
    expect("PUT", "/v1/scalar", "", "5 6",
           "body : is not valid JSON: unexpected character at byte 3");
}

static void test_body_is_left_out_where_none_is_taken(void **state)
{
    struct schema_match match = match_of("GET", "/v1/search");

    (void)state;
    assert_false(schema_match_has_body(&match));
    expect("GET", "/v1/search", "", "{ rubbish", "{}");
    match = match_of("POST", "/v1/things");
    assert_true(schema_match_has_body(&match));
}

static void test_limits(void **state)
{
    struct schema_match match = match_of("GET", "/v1/things/a-long-name");
    struct schema_fault fault;
    enum schema_part part;
    struct arena small;
    struct buf wire;

    (void)state;
    buf_init(&wire, 8);
    assert_int_equal(
        schema_request(schema, &match, STR_NULL, STR_NULL, NULL, &wire, &arena, &part, &fault),
        -EMSGSIZE);
    buf_free(&wire);
    arena_init(&small, 16);
    assert_int_equal(
        schema_request(schema, &match, STR_NULL, STR_NULL, NULL, &wire, &small, &part, &fault),
        -ENOMEM);
    buf_free(&wire);
    arena_free(&small);
}

/* ---- answers ---- */

static void expect_answer(const char *method, const char *path, const char *answer,
                          const char *expected)
{
    const struct schema_json_options options = {0};
    struct schema_match match = match_of(method, path);
    struct schema_fault fault = {STR_NULL, STR_NULL};
    struct buf wire, json;

    buf_init(&wire, 1 << 20);
    buf_init(&json, 1 << 20);
    assert_int_equal(schema_json_read(schema, match.method->output, str_of(answer), &options, &wire,
                                      &arena, &fault),
                     0);
    assert_int_equal(
        schema_response(schema, &match, buf_str(&wire), &options, &json, &arena, &fault), 0);
    assert_string_equal(arena_copy(&arena, buf_str(&json)).p, expected);
    buf_free(&wire);
    buf_free(&json);
}

static void test_response_body(void **state)
{
    (void)state;
    expect_answer("GET", "/v1/search", "{\"name\":\"a\",\"count\":\"5\"}",
                  "{\"name\":\"a\",\"count\":\"5\"}");
    expect_answer("PUT", "/v1/tags", "{\"name\":\"a\",\"names\":[\"x\",\"y\"],\"count\":\"5\"}",
                  "[\"x\",\"y\"]");
    expect_answer("PUT", "/v1/tags", "{\"name\":\"a\"}", "[]");
    expect_answer("PUT", "/v1/labels", "{\"labels\":{\"a\":5}}", "{\"a\":5}");
    expect_answer("PUT", "/v1/labels", "{}", "{}");
    expect_answer("PUT", "/v1/scalar", "{\"count\":\"5\"}", "\"5\"");
    expect_answer("PUT", "/v1/scalar", "{}", "\"0\"");
    expect_answer("GET", "/v1/nested", "{\"inner\":{\"name\":\"a\"}}", "{\"name\":\"a\"}");
    expect_answer("GET", "/v1/nested", "{\"name\":\"a\"}", "{}");
    expect_answer("GET", "/v1/at", "{\"at\":\"2020-01-02T03:04:05Z\"}", "\"2020-01-02T03:04:05Z\"");
    expect_answer("GET", "/v1/at", "{}", "null");
    expect_answer("GET", "/v1/maybe", "{}", "null");
    expect_answer("GET", "/v1/maybe", "{\"maybe\":\"\"}", "\"\"");
}

static void test_damaged_answers(void **state)
{
    static const char *const paths[] = {"/v1/search", "/v1/nested", "/v1/at"};
    struct schema_fault fault;
    struct buf json;

    (void)state;
    for (size_t i = 0; i < ARRAY_SIZE(paths); i++) {
        struct schema_match match = match_of("GET", paths[i]);

        buf_init(&json, 1 << 16);
        assert_int_equal(
            schema_response(schema, &match, STR("\x1a\x05"), NULL, &json, &arena, &fault),
            -EBADMSG);
        assert_int_equal(json.n, 0);
        buf_free(&json);
    }
}

/* ---- streams of requests ---- */

/* The first message of a stream, as JSON, or "path: message" of a fault: what the body says, and
 * behind it what path and query say. */
static struct str first_message(const char *method, const char *path, const char *query,
                                struct str body)
{
    struct schema_match match = match_of(method, path);
    struct schema_fault fault = {STR_NULL, STR_NULL};
    enum schema_part part;
    struct buf wire, json;
    struct str text;

    buf_init(&wire, 1 << 20);
    buf_init(&json, 1 << 20);
    if (schema_stream_request(schema, &match, body, NULL, &wire, &arena, &fault)) {
        assert_int_equal(wire.n, 0);
        text = arena_printf(&arena, "%.*s: %.*s", STR_FMT(fault.path), STR_FMT(fault.message));
    } else {
        assert_int_equal(schema_request(schema, &match, str_of(query), STR_NULL, NULL, &wire,
                                        &arena, &part, &fault),
                         0);
        assert_int_equal(schema_json_write(schema, match.method->input, buf_str(&wire), NULL, &json,
                                           &arena, &fault),
                         0);
        text = arena_copy(&arena, buf_str(&json));
    }
    buf_free(&wire);
    buf_free(&json);
    return text;
}

static void expect_first(const char *method, const char *path, const char *query, const char *body,
                         const char *expected)
{
    struct str got = first_message(method, path, query, str_of(body));

    assert_string_equal(got.p, expected);
}

static void test_stream_messages(void **state)
{
    (void)state;
    /* A GET has no body; a message is the whole of it then. */
    expect_first("GET", "/v1/search", "", "{\"name\":\"a\",\"id\":1}", "{\"name\":\"a\",\"id\":1}");
    expect_first("GET", "/v1/search", "", "", "{}");
    expect_first("GET", "/v1/pairs/b/7", "flag=true", "{\"name\":\"a\",\"ratio\":2}",
                 "{\"name\":\"b\",\"id\":7,\"flag\":true,\"ratio\":2}");
    expect_first("GET", "/v1/search", "inner.name=q", "{\"inner\":{\"name\":\"b\",\"count\":1}}",
                 "{\"inner\":{\"name\":\"q\",\"count\":1}}");
    expect_first("POST", "/v1/things", "", "{\"name\":\"a\"}", "{\"name\":\"a\"}");
    expect_first("PATCH", "/v1/things/n/inner", "id=3", "{\"name\":\"b\",\"count\":1}",
                 "{\"id\":3,\"inner\":{\"name\":\"n\",\"count\":1}}");
    expect_first("PUT", "/v1/tags", "", "[\"x\"]", "{\"tagList\":[\"x\"]}");
    expect_first("GET", "/v1/search", "", "{\"id\":\"x\"}",
                 "id: must be a whole number from -2147483648 to 2147483647");
    expect_first("GET", "/v1/search", "", "[]", ": must be an object");
}

static void test_json_valid(void **state)
{
    static const char *const good[] = {"{}", " [1, \"x\", {\"a\": null}] ", "1e5", "\"\xc3\xa4\"",
                                       "true"};
    static const char *const bad[] = {"",    " ",  "{",        "{} {}",     "[1,]",
                                      "nul", "01", "\"\xff\"", "{\"a\" 1}", "\"\\ud800\""};

    (void)state;
    for (size_t i = 0; i < ARRAY_SIZE(good); i++)
        assert_true(schema_json_valid(str_of(good[i]), 0));
    for (size_t i = 0; i < ARRAY_SIZE(bad); i++)
        assert_false(schema_json_valid(str_of(bad[i]), 0));
    assert_true(schema_json_valid(STR("[[[]]]"), 3));
    assert_false(schema_json_valid(STR("[[[]]]"), 2));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_query_scalars),
        cmocka_unit_test(test_query_bools),
        cmocka_unit_test(test_query_twice),
        cmocka_unit_test(test_query_oneofs),
        cmocka_unit_test(test_query_names),
        cmocka_unit_test(test_query_repeated),
        cmocka_unit_test(test_query_well_known_types),
        cmocka_unit_test(test_query_encoding),
        cmocka_unit_test(test_query_faults),
        cmocka_unit_test(test_query_length),
        cmocka_unit_test(test_unknown_parameters),
        cmocka_unit_test(test_captures),
        cmocka_unit_test(test_path_comes_before_query),
        cmocka_unit_test(test_path_comes_before_body),
        cmocka_unit_test(test_whole_body),
        cmocka_unit_test(test_body_field),
        cmocka_unit_test(test_body_of_other_kinds),
        cmocka_unit_test(test_body_is_left_out_where_none_is_taken),
        cmocka_unit_test(test_limits),
        cmocka_unit_test(test_response_body),
        cmocka_unit_test(test_damaged_answers),
        cmocka_unit_test(test_stream_messages),
        cmocka_unit_test(test_json_valid),
    };

    return cmocka_run_group_tests_name("schema request", tests, set_up, tear_down);
}
