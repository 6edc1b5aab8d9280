/* lib/schema/template.c, bindings.c, route.c: which RPC serves a request, and with which captures.
 */
#include "schema/route.h"
#include "schema_fixture.h"

#include <errno.h>

static int set_up(void **state UNUSED)
{
    arena_init(&arena, 0);
    schema = fixture_load_files("routes.proto");
    return 0;
}

/* "Method field=raw field=raw", "404" or "405 allow". */
static struct str route_in(const struct schema *in, const char *method, const char *path)
{
    struct schema_match match;
    int err = schema_route(in, str_of(method), str_of(path), &match);
    struct str text;

    if (err == -ENOENT)
        return STR("404");
    if (err == -EPERM)
        return arena_printf(&arena, "405 %s", schema_allow(in, &match, &arena).p);
    assert_int_equal(err, 0);
    text = str_of(strrchr(match.method->path.p, '/') + 1);
    for (unsigned i = 0; i < match.n_captures; i++) {
        const struct schema_capture *c = &match.captures[i];

        text =
            arena_printf(&arena, "%s %s=%.*s", text.p,
                         c->binding->template.variables[c->variable].field_path.p, STR_FMT(c->raw));
    }
    return text;
}

static void expect(const char *method, const char *path, const char *expected)
{
    struct str got = route_in(schema, method, path);

    if (!str_eq(got, str_of(expected)))
        fail_msg("%s %s: got \"%s\", expected \"%s\"", method, path, got.p, expected);
}

static void test_literals_come_first(void **state)
{
    (void)state;
    expect("GET", "/v1/things/special", "Fixed");
    expect("GET", "/v1/things/other", "Get name=other");
    /* DELETE has no binding at the literal, but it has one at the variable. */
    expect("DELETE", "/v1/things/special", "Delete name=special");
    expect("GET", "/v1/pairs/a/fixed", "Star");
    expect("GET", "/v1/pairs/a/7", "Two name=a id=7");
    expect("GET", "/", "Root");
}

static void test_paths_are_exact(void **state)
{
    (void)state;
    expect("GET", "/v1/things/a/", "404");
    expect("GET", "/v1/things/", "404");
    expect("GET", "/v1//things/a", "404");
    expect("GET", "//v1/things/a", "404");
    expect("GET", "/v1/things/a/b", "404");
    expect("GET", "/V1/things/a", "404");
    expect("GET", "v1/things/a", "404");
    expect("GET", "", "404");
    expect("GET", "/v1", "404");
    expect("GET", "/v1/pairs//7", "404");
}

static void test_methods(void **state)
{
    (void)state;
    expect("HEAD", "/v1/things/a", "Get name=a");
    expect("PUT", "/v1/things/a", "405 GET, HEAD, DELETE, OPTIONS, PURGE");
    expect("get", "/v1/things/a", "405 GET, HEAD, DELETE, OPTIONS, PURGE");
    /* The union of what literal and variable answer. */
    expect("PUT", "/v1/things/special", "405 GET, HEAD, DELETE, OPTIONS, PURGE");
    expect("POST", "/v1/search", "405 GET, HEAD, OPTIONS");
    expect("GET", "/v1/things", "405 POST, OPTIONS");
    expect("PURGE", "/v1/things/a", "Custom name=a");
    expect("ANYTHING", "/v1/anything/a", "Custom name=a");
    expect("HEAD", "/v1/anything/a", "Custom name=a");
}

static void test_verbs(void **state)
{
    (void)state;
    expect("POST", "/v1/things/a:publish", "Publish name=a");
    expect("POST", "/v1/things/a:b:publish", "Publish name=a:b");
    expect("GET", "/v1/things/a:other", "Get name=a:other");
    /* The verb's binding is not for GET, the variable's is. */
    expect("GET", "/v1/things/a:publish", "Get name=a:publish");
    expect("PUT", "/v1/things/a:publish", "405 GET, HEAD, POST, DELETE, OPTIONS, PURGE");
    expect("POST", "/v1/things/:publish", "405 GET, HEAD, DELETE, OPTIONS, PURGE");
    expect("POST", "/v1/things/a:", "405 GET, HEAD, DELETE, OPTIONS, PURGE");
    expect("POST", "/v1/things/a:%70ublish", "Publish name=a");
    expect("POST", "/v1/files/a/b:publish", "Publish name=files/a/b");
    expect("POST", "/v1/files/a:publish/b", "405 GET, HEAD, OPTIONS");
    expect("POST", "/v1/things/a%3Apublish", "405 GET, HEAD, DELETE, OPTIONS, PURGE");
    expect("POST", "/v1/files:publish", "Publish name=files");
}

static void test_rest(void **state)
{
    (void)state;
    expect("GET", "/v1/files/a", "File name=files/a");
    expect("GET", "/v1/files/a/b/c", "File name=files/a/b/c");
    expect("GET", "/v1/files/a%2Fb//c/", "File name=files/a%2Fb//c/");
    expect("GET", "/v1/files", "File name=files"); /* ** can be nothing */
    expect("GET", "/v1/files/", "File name=files/");
    expect("GET", "/v1/filesystem", "404");
}

static void test_captures_of_several_segments(void **state)
{
    (void)state;
    expect("PUT", "/v1/inner/boxes/1/shelves/2", "Update inner.name=boxes/1/shelves/2");
    expect("PUT", "/v1/inner/boxes/1/shelves/", "404");
    expect("PUT", "/v1/inner/boxes/1/shelves/2/3", "404");
    expect("PATCH", "/v1/things/x%20y/inner", "Update inner.name=x%20y");
}

static void test_escapes_in_literals(void **state)
{
    (void)state;
    expect("GET", "/v1/%74hings/special", "Fixed");
    expect("GET", "/v1/things/%73pecial", "Fixed");
    expect("GET", "/v1/%7Ecaf%C3%A9/x", "Escaped");
    expect("GET", "/v1/~caf%c3%a9/x", "Escaped");
    expect("GET", "/v1/%7ecaf%c3%A9/%78", "Escaped");
    expect("GET", "/v1/caf%C3%A9/x", "404");
    expect("GET", "/v1%2Fthings/special", "404");    /* an escaped slash is no separator */
    expect("GET", "/v1/things/%zz", "Get name=%zz"); /* refused when it is decoded */
    expect("GET", "/v1/%zz/special", "404");
}

/* Who names a parent folder finds nothing, whatever he escapes of it. */
static void test_dot_segments(void **state)
{
    static const char *const dots[] = {".", "..", "%2e", "%2E.", ".%2e", "%2e%2E"};
    char path[64];

    (void)state;
    for (size_t i = 0; i < ARRAY_SIZE(dots); i++) {
        snprintf(path, sizeof(path), "/v1/things/%s", dots[i]);
        expect("GET", path, "404");
        snprintf(path, sizeof(path), "/v1/files/%s/x", dots[i]);
        expect("GET", path, "404");
        snprintf(path, sizeof(path), "/v1/%s/v1/things/x", dots[i]);
        expect("GET", path, "404");
    }
    expect("GET", "/v1/things/...", "Get name=...");
    expect("GET", "/v1/things/.a", "Get name=.a");
    expect("GET", "/v1/files/%2ea/b..", "File name=files/%2ea/b..");
}

static void test_long_paths(void **state)
{
    struct buf path;

    (void)state;
    buf_init(&path, 1 << 20);
    buf_append_str(&path, STR("/v1/files"));
    for (int i = 0; i < 10000; i++)
        buf_append_str(&path, STR("/x"));
    buf_append_char(&path, '\0');
    assert_true(str_starts(route_in(schema, "GET", path.p), STR("File name=files/x/x")));
    memcpy(path.p, "/v1/filez", 9);
    assert_string_equal(route_in(schema, "GET", path.p).p, "404");
    buf_free(&path);
}

/* Choices that overlap at each of many segments are stepped back through, not tried in all their
 * combinations. */
static void test_overlapping_routes(void **state)
{
    struct buf proto;
    struct schema *wide;

    (void)state;
    buf_init(&proto, 1 << 20);
    buf_append_str(&proto, STR("syntax = \"proto3\"; package t; message M { string a = 1; }"
                               "import \"google/api/annotations.proto\"; service S {"));
    for (int i = 0; i < 12; i++) {
        buf_printf(&proto, "rpc R%d(M) returns (M) { option (google.api.http) = {get: \"", i);
        for (int j = 0; j < 12; j++)
            buf_append_str(&proto, j == i ? STR("/*") : STR("/x"));
        buf_append_str(&proto, STR("/end\"}; }"));
    }
    buf_append(&proto, "}", 2);
    wide = fixture_load(proto.p);
    assert_string_equal(route_in(wide, "GET", "/x/x/x/x/x/x/x/x/x/x/x/y/end").p, "R11");
    assert_string_equal(route_in(wide, "GET", "/y/x/x/x/x/x/x/x/x/x/x/x/end").p, "R0");
    assert_string_equal(route_in(wide, "GET", "/y/y/x/x/x/x/x/x/x/x/x/x/end").p, "404");
    schema_free(wide);
    buf_free(&proto);
}

/* ---- templates that are refused ---- */

#define WITH_RULE(rule)                                                                            \
    "syntax = \"proto3\"; package t; import \"google/api/annotations.proto\";"                     \
    "message M { string a = 1; M m = 2; repeated string r = 3; map<string, M> p = 4; int32 n = 5;" \
    " repeated M rm = 6; E e = 7; bool b = 8; bytes by = 9;"                                       \
    " oneof o { string oa = 10; int32 ob = 11; M om = 12; } }"                                     \
    "enum E { ZERO = 0; ONE = 1; }"                                                                \
    "service S { rpc Do(M) returns (M) { option (google.api.http) = {" rule "}; }"                 \
    " rpc Other(M) returns (M) { option (google.api.http) = {get: \"/taken/{a}\"}; } }"

#define REFUSED(rule, cause) fixture_refused(WITH_RULE(rule), "test.proto: /t.S/" cause)

static void test_malformed_templates(void **state)
{
    (void)state;
    REFUSED("get: \"\"", "Do: template \"\" does not start with /");
    REFUSED("get: \"v1\"", "Do: template \"v1\" does not start with /");
    REFUSED("get: \"/v1/\"", "Do: template \"/v1/\" has an empty segment");
    REFUSED("get: \"/v1//x\"", "Do: template \"/v1//x\" has an empty segment");
    REFUSED("get: \"/v1/x:\"", "Do: template \"/v1/x:\" has an empty verb");
    REFUSED("get: \"/v1/{a\"", "Do: template \"/v1/{a\" has a variable that is not closed");
    REFUSED("get: \"/v1/{a=}\"", "Do: template \"/v1/{a=}\" has an empty segment");
    REFUSED("get: \"/v1/{a={n}}\"", "Do: template \"/v1/{a={n}}\" has a character");
    REFUSED("get: \"/v1/**/x\"", "Do: template \"/v1/**/x\" has something behind **");
    REFUSED("get: \"/v1/{a=**}/x\"", "Do: template \"/v1/{a=**}/x\" has something behind **");
    REFUSED("get: \"/v1/x*\"", "Do: template \"/v1/x*\" has a character");
    REFUSED("get: \"/v1/***\"", "Do: template \"/v1/***\" has");
    REFUSED("get: \"/v1/x?y\"", "Do: template \"/v1/x?y\" has a character");
    REFUSED("get: \"/v1/x y\"", "Do: template \"/v1/x y\" has a character");
    REFUSED("get: \"/v1/%2\"", "Do: template \"/v1/%2\" has a literal that is too long");
    REFUSED("get: \"/v1/x}\"", "Do: template \"/v1/x}\" has a character");
    REFUSED("body: \"*\"", "Do: its google.api.http rule has no path");
}

#define REFUSED_METHOD(kind)                                  \
    REFUSED("custom: {kind: \"" kind "\" path: \"/v1/{a}\"}", \
            "Do: template \"/v1/{a}\": nothing serves the HTTP method \"" kind "\"")

/* Those that no request has that nginx passes on. */
static void test_impossible_methods(void **state)
{
    (void)state;
    REFUSED_METHOD("");
    REFUSED_METHOD("A B");
    REFUSED_METHOD("get");
    REFUSED_METHOD("M1");
    REFUSED_METHOD("**");
    REFUSED_METHOD("TRACE");
    REFUSED_METHOD("CONNECT");
    schema_free(fixture_load(WITH_RULE("custom: {kind: \"VERSION-CONTROL\" path: \"/x\"}")));
}

static void test_impossible_templates(void **state)
{
    (void)state;
    REFUSED("get: \"/v1/{x}\"", "Do: template \"/v1/{x}\": t.M has no field x");
    REFUSED("get: \"/v1/{m.x}\"", "Do: template \"/v1/{m.x}\": t.M has no field x");
    REFUSED("get: \"/v1/{}\"", "Do: template \"/v1/{}\": t.M has no field ");
    REFUSED("get: \"/v1/{a.b}\"", "Do: template \"/v1/{a.b}\": a in a.b is not a message");
    REFUSED("get: \"/v1/{m}\"", "Do: template \"/v1/{m}\": m is a message and cannot be in a path");
    REFUSED("get: \"/v1/{r}\"", "Do: template \"/v1/{r}\": r is repeated and cannot be in a path");
    REFUSED("get: \"/v1/{p}\"", "Do: template \"/v1/{p}\": p is repeated and cannot be in a path");
    REFUSED("get: \"/v1/{rm.a}\"", "Do: template \"/v1/{rm.a}\": rm.a is repeated");
    REFUSED("get: \"/v1/{a}/{a}\"", "Do: template \"/v1/{a}/{a}\": a is there twice");
    REFUSED("get: \"/v1\" body: \"*\"", "Do: template \"/v1\": GET takes no body");
    REFUSED("post: \"/v1\" body: \"x\"", "Do: template \"/v1\": body: t.M has no field x");
    REFUSED("post: \"/v1/{a}\" body: \"a\"", "Do: template \"/v1/{a}\": a is in path and body");
    REFUSED("get: \"/v1\" response_body: \"x\"",
            "Do: template \"/v1\": response_body: t.M has no field x");
    REFUSED("get: \"/v1\" additional_bindings {get: \"/v2\" additional_bindings {get: \"/v3\"}}",
            "Do: additional_bindings cannot have additional_bindings");
}

static void test_impossible_values(void **state)
{
    struct schema *s;

    (void)state;
    REFUSED("get: \"/v1/{n=x/*}\"", "Do: template \"/v1/{n=x/*}\": n cannot hold several segments");
    REFUSED("get: \"/v1/{n=*/**}/\"", "Do: template \"/v1/{n=*/**}/\" has");
    REFUSED("get: \"/v1/{m.n=a/b}\"", "Do: template \"/v1/{m.n=a/b}\": m.n cannot hold several");
    REFUSED("get: \"/v1/{n=x}\"", "Do: template \"/v1/{n=x}\": n cannot be \"x\"");
    REFUSED("get: \"/v1/{e=TWO}\"", "Do: template \"/v1/{e=TWO}\": e cannot be \"TWO\"");
    REFUSED("get: \"/v1/{b=on}\"", "Do: template \"/v1/{b=on}\": b cannot be \"on\"");
    REFUSED("get: \"/v1/../{a}\"", "Do: template \"/v1/../{a}\" has a dot segment");
    REFUSED("get: \"/v1/{a=%2e}\"", "Do: template \"/v1/{a=%2e}\" has a dot segment");
    s = fixture_load(WITH_RULE("get: \"/v1/{n=7}/{e=ONE}/{b=true}/{a=x/*}/{by=a/**}\""));
    assert_string_equal(route_in(s, "GET", "/v1/7/ONE/true/x/y/a/b").p,
                        "Do n=7 e=ONE b=true a=x/y by=a/b");
    schema_free(s);
}

static void test_oneofs(void **state)
{
    (void)state;
    REFUSED("get: \"/v1/{oa}/{ob}\"", "Do: template \"/v1/{oa}/{ob}\": oa and ob are of one oneof");
    REFUSED("get: \"/v1/{om.a}/{ob}\"", "Do: template \"/v1/{om.a}/{ob}\": om.a and ob are of");
    REFUSED("get: \"/v1/{m.oa}/{m.om.n}\"",
            "Do: template \"/v1/{m.oa}/{m.om.n}\": m.oa and m.om.n are of one oneof, \"o\"");
    REFUSED("put: \"/v1/{oa}\" body: \"om\"",
            "Do: template \"/v1/{oa}\": oa and the body's om are of one oneof, \"o\"");
    schema_free(fixture_load(WITH_RULE("put: \"/v1/{om.a}/{om.n}/{m.oa}\" body: \"om\"")));
}

/* Any number of HTTP methods up to the limit, in any combination. */
static void test_many_methods(void **state)
{
    struct schema *s;
    struct buf proto;

    (void)state;
    buf_init(&proto, 1 << 20);
    buf_append_str(&proto, STR("syntax = \"proto3\"; package t; message M { string a = 1; }"
                               "import \"google/api/annotations.proto\"; service S {"));
    for (int i = 0; i < 25; i++)
        buf_printf(&proto,
                   "rpc R%d(M) returns (M) { option (google.api.http) = {custom: {kind: \"X%c\""
                   " path: \"/x%d/{a}\"} additional_bindings {custom: {kind: \"X%c\" path:"
                   " \"/%s/{a}\"}}}; }",
                   i, 'A' + i, i, 'A' + i, i < 2 ? "few" : "all");
    buf_append(&proto, "}", 2);
    s = fixture_load(proto.p);
    assert_string_equal(route_in(s, "XC", "/x2/a").p, "R2 a=a");
    assert_string_equal(route_in(s, "GET", "/x2/a").p, "405 OPTIONS, XC");
    assert_string_equal(route_in(s, "GET", "/few/a").p, "405 OPTIONS, XA, XB");
    assert_true(
        str_starts(route_in(s, "GET", "/all/a"), STR("405 OPTIONS, XC, XD, XE, XF, XG, XH")));
    schema_free(s);
    buf_free(&proto);
}

static void test_listing(void **state)
{
    struct schema_binding_description d;
    size_t n = schema_binding_count(schema);

    (void)state;
    schema_binding_describe(schema_binding_at(schema, 0), &d);
    assert_string_equal(d.method->path.p, "/stoa.routes.Routes/Get");
    assert_string_equal(d.http_method.p, "GET");
    assert_string_equal(d.path.p, "/v1/things/{name}");
    assert_string_equal(d.body.p, "");
    assert_string_equal(d.response_body.p, "");
    for (size_t i = 0; i < n; i++) {
        schema_binding_describe(schema_binding_at(schema, i), &d);
        if (str_eq(d.path, STR("/v1/tags"))) {
            assert_string_equal(d.body.p, "tag_list");
            assert_string_equal(d.response_body.p, "names");
        }
        if (str_eq(d.path, STR("/v1/things")))
            assert_string_equal(d.body.p, "*");
    }
    schema_binding_describe(schema_binding_at(schema, n - 1), &d);
    assert_string_equal(d.path.p, "/");
}

static void test_conflicts(void **state)
{
    (void)state;
    REFUSED("get: \"/taken/{a}\"",
            "Other: template \"/taken/{a}\": GET is taken by \"/taken/{a}\" of /t.S/Do");
    REFUSED("get: \"/taken/{n}\"", "Other: template \"/taken/{a}\": GET is taken by");
    REFUSED("get: \"/taken/*\"", "Other: template \"/taken/{a}\": GET is taken by");
    REFUSED("get: \"/{m.a=taken/*}\"", "Other: template \"/taken/{a}\": GET is taken by");
    REFUSED("get: \"/%74aken/*\"", "Other: template \"/taken/{a}\": GET is taken by");
    REFUSED("get: \"/x\" additional_bindings {get: \"/x\"}", "Do: template \"/x\": GET is taken");
    REFUSED("custom: {kind: \"*\" path: \"/x\"} additional_bindings"
            " {custom: {kind: \"*\" path: \"/x\"}}",
            "Do: template \"/x\": * is taken");
}

static void test_neighbours_are_no_conflict(void **state)
{
    struct schema *s;

    (void)state;
    s = fixture_load(
        WITH_RULE("post: \"/taken/{a}\" additional_bindings {get: \"/taken/{a}:v\"}"
                  " additional_bindings {get: \"/taken/x\"}"
                  " additional_bindings {get: \"/taken/**\"}"
                  " additional_bindings {custom: {kind: \"*\" path: \"/taken/{a}\"}}"));
    assert_string_equal(route_in(s, "GET", "/taken/y").p, "Other a=y");
    assert_string_equal(route_in(s, "POST", "/taken/y").p, "Do a=y");
    assert_string_equal(route_in(s, "PATCH", "/taken/y").p, "Do a=y");
    assert_string_equal(route_in(s, "GET", "/taken/y:v").p, "Do a=y");
    assert_string_equal(route_in(s, "GET", "/taken/x").p, "Do");
    assert_string_equal(route_in(s, "GET", "/taken/y/z").p, "Do");
    schema_free(s);
}

static void test_thousand_routes(void **state)
{
    struct buf proto;
    struct schema *many;
    char path[64], expected[64];

    (void)state;
    buf_init(&proto, 1 << 20);
    buf_append_str(&proto, STR("syntax = \"proto3\"; package t; message M { string a = 1; }"
                               "import \"google/api/annotations.proto\"; service S {"));
    for (int i = 0; i < 1000; i++)
        buf_printf(&proto,
                   "rpc R%d(M) returns (M) { option (google.api.http) ="
                   " {get: \"/v1/kind%d/{a}/things\"}; }",
                   i, i);
    buf_append(&proto, "}", 2);
    many = fixture_load(proto.p);
    for (int i = 0; i < 1000; i++) {
        snprintf(path, sizeof(path), "/v1/kind%d/%d/things", i, i);
        snprintf(expected, sizeof(expected), "R%d a=%d", i, i);
        assert_string_equal(route_in(many, "GET", path).p, expected);
    }
    schema_free(many);
    buf_free(&proto);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_literals_come_first),
        cmocka_unit_test(test_paths_are_exact),
        cmocka_unit_test(test_methods),
        cmocka_unit_test(test_verbs),
        cmocka_unit_test(test_rest),
        cmocka_unit_test(test_captures_of_several_segments),
        cmocka_unit_test(test_escapes_in_literals),
        cmocka_unit_test(test_dot_segments),
        cmocka_unit_test(test_long_paths),
        cmocka_unit_test(test_overlapping_routes),
        cmocka_unit_test(test_malformed_templates),
        cmocka_unit_test(test_impossible_methods),
        cmocka_unit_test(test_impossible_templates),
        cmocka_unit_test(test_impossible_values),
        cmocka_unit_test(test_oneofs),
        cmocka_unit_test(test_many_methods),
        cmocka_unit_test(test_listing),
        cmocka_unit_test(test_conflicts),
        cmocka_unit_test(test_neighbours_are_no_conflict),
        cmocka_unit_test(test_thousand_routes),
    };

    return cmocka_run_group_tests_name("schema route", tests, set_up, tear_down);
}
