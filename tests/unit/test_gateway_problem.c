/* gateway/problem.c and gateway/rpc_status.c: what a failed call says over HTTP. */
#include "../../gateway/rpc_status.h"

#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>

#include <setjmp.h>

#include <cmocka.h>

#include "google/rpc/error_details.pb-c.h"
#include "google/rpc/status.pb-c.h"

static void assert_str(struct str s, const char *expected)
{
    assert_int_equal(s.n, strlen(expected));
    assert_memory_equal(s.p, expected, s.n);
}

static void assert_printed(const struct problem *p, const char *expected)
{
    struct buf json;

    buf_init(&json, 1 << 20);
    problem_print(p, &json);
    assert_false(json.failed);
    assert_str(buf_str(&json), expected);
    buf_free(&json);
}

static char *base64(const uint8_t *p, size_t n)
{
    static const char digits[] = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    char *out = malloc(n * 2 + 4);
    size_t at = 0;

    assert_non_null(out);
    for (size_t i = 0; i < n; i += 3) {
        uint32_t v = (uint32_t)p[i] << 16;

        v |= i + 1 < n ? (uint32_t)p[i + 1] << 8 : 0;
        v |= i + 2 < n ? p[i + 2] : 0;
        for (size_t k = 0; k < 4 && k <= n - i; k++)
            out[at++] = digits[v >> (18 - 6 * k) & 63];
    }
    out[at] = '\0';
    return out;
}

/* grpc-status-details-bin of a status with one detail. */
static char *details_of(const char *type, const ProtobufCMessage *detail)
{
    Google__Protobuf__Any any = GOOGLE__PROTOBUF__ANY__INIT, *anys[] = {&any};
    Google__Rpc__Status status = GOOGLE__RPC__STATUS__INIT;
    char url[128];
    uint8_t *wire;
    char *text;
    size_t n;

    snprintf(url, sizeof(url), "type.googleapis.com/%s", type);
    any.type_url = url;
    any.value.len = protobuf_c_message_get_packed_size(detail);
    any.value.data = malloc(any.value.len + 1);
    assert_non_null(any.value.data);
    protobuf_c_message_pack(detail, any.value.data);
    status.n_details = 1;
    status.details = anys;
    wire = malloc(google__rpc__status__get_packed_size(&status) + 1);
    assert_non_null(wire);
    n = google__rpc__status__pack(&status, wire);
    text = base64(wire, n);
    free(any.value.data);
    free(wire);
    return text;
}

static void prints_what_a_status_says(void **state)
{
    struct problem p;

    (void)state;
    problem_init(&p, 404);
    assert_printed(&p, "{\"type\":\"about:blank\",\"title\":\"Not Found\",\"status\":404,"
                       "\"errors\":{\"path\":[\"not found\"]}}");
    problem_init(&p, 599);
    assert_printed(&p, "{\"type\":\"about:blank\",\"title\":\"Error\",\"status\":599,"
                       "\"errors\":{\"request\":[\"could not be served\"]}}");
}

static void groups_messages_by_key(void **state)
{
    struct problem p;

    (void)state;
    problem_init(&p, 422);
    problem_add(&p, STR("a"), STR("1"));
    problem_add(&p, STR("b"), STR("2"));
    problem_add(&p, STR("a"), STR("3"));
    p.instance = STR("urn:x");
    p.reason = STR("WHY");
    p.detail = STR("");
    assert_printed(&p, "{\"type\":\"about:blank\",\"title\":\"Unprocessable Content\","
                       "\"status\":422,\"detail\":\"\",\"instance\":\"urn:x\",\"reason\":\"WHY\","
                       "\"errors\":{\"a\":[\"1\",\"3\"],\"b\":[\"2\"]}}");
}

static void drops_errors_beyond_the_limit(void **state)
{
    struct problem p;

    (void)state;
    problem_init(&p, 422);
    for (int i = 0; i < PROBLEM_MAX_ERRORS + 10; i++)
        problem_add(&p, STR("a"), STR("m"));
    assert_int_equal(p.n_errors, PROBLEM_MAX_ERRORS);
}

static void escapes_hostile_text(void **state)
{
    struct problem p;

    (void)state;
    problem_init(&p, 400);
    problem_add(&p, STR("k\"\\\n\x01\x7f"), STR("\xff\xc0\x80 \xc3\xa9 \xe2\x82 \xed\xa0\x80"));
    assert_printed(&p, "{\"type\":\"about:blank\",\"title\":\"Bad Request\",\"status\":400,"
                       "\"errors\":{\"k\\\"\\\\\\u000a\\u0001\\u007f\":[\"\\ufffd\\ufffd\\ufffd "
                       "\xc3\xa9 \\ufffd\\ufffd \\ufffd\\ufffd\\ufffd\"]}}");
}

static void fails_with_its_buffer(void **state)
{
    struct problem p;
    struct buf json;

    (void)state;
    problem_init(&p, 400);
    buf_init(&json, 20);
    problem_print(&p, &json);
    assert_true(json.failed);
    buf_free(&json);
}

static void takes_keys_from_paths(void **state)
{
    static const char *const cases[][2] = {
        {"username", "username"},
        {"user.username", "username"},
        {"article.tag_list[2]", "tagList"},
        {"article.tagList[2]", "tagList"},
        {"a.b[1].c_d_e", "cDE"},
        {"a.labels[\"x.y]_z\"]", "labels"},
        {"a.labels[\"x\\\"].y\"].name", "name"},
        {"_odd__name_", "oddName"},
        {"Article", "article"},
        {"", "request"},
        {"a.", "request"},
        {"[1]", "request"},
    };
    struct arena arena;

    (void)state;
    arena_init(&arena, 0);
    for (size_t i = 0; i < ARRAY_SIZE(cases); i++)
        assert_str(problem_key(&arena, str_of(cases[i][0])), cases[i][1]);
    arena_free(&arena);
}

static void reads_prefixes(void **state)
{
    unsigned char prefix[RPC_PREFIX_SIZE];
    uint32_t size;

    (void)state;
    rpc_prefix_write(prefix, 0x01020304);
    assert_int_equal(rpc_prefix_read(prefix, &size), 0);
    assert_int_equal(size, 0x01020304);
    prefix[0] = 1;
    assert_int_equal(rpc_prefix_read(prefix, &size), -EBADMSG);
}

static void reads_codes(void **state)
{
    int code;

    (void)state;
    assert_int_equal(rpc_code_read(STR("0"), &code), 0);
    assert_int_equal(code, 0);
    assert_int_equal(rpc_code_read(STR("99"), &code), 0);
    assert_int_equal(code, 2);
    assert_int_equal(rpc_code_read(STR(""), &code), -EBADMSG);
    assert_int_equal(rpc_code_read(STR("-1"), &code), -EBADMSG);
    assert_int_equal(rpc_code_read(STR("5x"), &code), -EBADMSG);
}

static void knows_a_serving_answer(void **state)
{
    (void)state;
    assert_true(rpc_health_serving(STR("\x08\x01")));
    assert_false(rpc_health_serving(STR("\x08\x02")));
    assert_false(rpc_health_serving(STR("")));
    assert_false(rpc_health_serving(STR("\x08")));
    assert_false(rpc_health_serving(STR("\x08\x01\x08")));
}

static void reads_violations(void **state)
{
    Google__Rpc__BadRequest bad = GOOGLE__RPC__BAD_REQUEST__INIT;
    Google__Rpc__BadRequest__FieldViolation one = GOOGLE__RPC__BAD_REQUEST__FIELD_VIOLATION__INIT;
    Google__Rpc__BadRequest__FieldViolation *all[] = {&one};
    struct arena arena;
    struct problem p;
    char *text;

    (void)state;
    one.field = (char *)(uintptr_t) "user.full_name";
    one.description = (char *)(uintptr_t) "can't be blank";
    bad.n_field_violations = 1;
    bad.field_violations = all;
    text = details_of("google.rpc.BadRequest", &bad.base);
    arena_init(&arena, 0);
    rpc_problem(&p, 3, STR("not %C3%A9 valid%2"), str_of(text), &arena);
    assert_int_equal(p.status, 422);
    assert_str(p.detail, "not \xc3\xa9 valid%2");
    assert_int_equal(p.n_errors, 1);
    assert_str(p.errors[0].key, "fullName");
    assert_str(p.errors[0].message, "can't be blank");
    /* The service's own failure: nothing of it goes out. */
    rpc_problem(&p, 13, STR("secret"), str_of(text), &arena);
    assert_int_equal(p.status, 500);
    assert_null(p.detail.p);
    assert_int_equal(p.n_errors, 0);
    arena_free(&arena);
    free(text);
}

/* However the details are cut or damaged, reading them ends and stays inside. */
static void survives_damaged_details(void **state)
{
    Google__Rpc__RetryInfo retry = GOOGLE__RPC__RETRY_INFO__INIT;
    Google__Protobuf__Duration delay = GOOGLE__PROTOBUF__DURATION__INIT;
    struct arena arena;
    struct problem p;
    char *text, *copy;
    size_t n;

    (void)state;
    delay.seconds = 3;
    delay.nanos = 1;
    retry.retry_delay = &delay;
    text = details_of("google.rpc.RetryInfo", &retry.base);
    n = strlen(text);
    arena_init(&arena, 0);
    rpc_problem(&p, 14, STR_NULL, str_of(text), &arena);
    assert_int_equal(p.retry_after, 4);
    for (size_t i = 0; i < n; i++) {
        copy = malloc(i + 1);
        assert_non_null(copy);
        memcpy(copy, text, i);
        rpc_problem(&p, 14, STR_NULL, (struct str){copy, i}, &arena);
        assert_int_equal(p.status, 503);
        free(copy);
        for (int c = 1; c < 128; c++) {
            char saved = text[i];

            text[i] = (char)c;
            rpc_problem(&p, 5, STR("%"), (struct str){text, n}, &arena);
            assert_int_equal(p.status, 404);
            text[i] = saved;
        }
        arena_reset(&arena);
    }
    arena_free(&arena);
    free(text);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(prints_what_a_status_says),
        cmocka_unit_test(groups_messages_by_key),
        cmocka_unit_test(drops_errors_beyond_the_limit),
        cmocka_unit_test(escapes_hostile_text),
        cmocka_unit_test(fails_with_its_buffer),
        cmocka_unit_test(takes_keys_from_paths),
        cmocka_unit_test(reads_prefixes),
        cmocka_unit_test(reads_codes),
        cmocka_unit_test(knows_a_serving_answer),
        cmocka_unit_test(reads_violations),
        cmocka_unit_test(survives_damaged_details),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
