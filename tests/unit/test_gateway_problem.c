/* gateway/problem.c, rpc_status.c and rpc_details.c: what a failed call says over HTTP. */
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

#define MAX_DETAILS 8

/* grpc-status-details-bin of a status with these details. */
static char *details_of_all(const ProtobufCMessage *const *details, size_t n_details)
{
    Google__Protobuf__Any any[MAX_DETAILS], *anys[MAX_DETAILS];
    Google__Rpc__Status status = GOOGLE__RPC__STATUS__INIT;
    char url[MAX_DETAILS][128];
    uint8_t *wire;
    char *text;
    size_t n;

    assert_true(n_details <= MAX_DETAILS);
    for (size_t i = 0; i < n_details; i++) {
        google__protobuf__any__init(&any[i]);
        snprintf(url[i], sizeof(url[i]), "type.googleapis.com/%s", details[i]->descriptor->name);
        any[i].type_url = url[i];
        any[i].value.len = protobuf_c_message_get_packed_size(details[i]);
        any[i].value.data = malloc(any[i].value.len + 1);
        assert_non_null(any[i].value.data);
        protobuf_c_message_pack(details[i], any[i].value.data);
        anys[i] = &any[i];
    }
    status.n_details = n_details;
    status.details = anys;
    wire = malloc(google__rpc__status__get_packed_size(&status) + 1);
    assert_non_null(wire);
    n = google__rpc__status__pack(&status, wire);
    text = base64(wire, n);
    for (size_t i = 0; i < n_details; i++)
        free(any[i].value.data);
    free(wire);
    return text;
}

static char *details_of(const ProtobufCMessage *detail)
{
    return details_of_all(&detail, 1);
}

static char *words(const char *text)
{
    return (char *)(uintptr_t)text;
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

/* As h2_stream.c decodes what a service sends: what is no base64 is left out. */
static int problem_as_sent(struct problem *p, int code, struct str message, struct str details,
                           struct arena *arena)
{
    struct str status;

    if (rpc_base64_decode(arena, details, &status))
        status = STR_NULL;
    return rpc_problem(p, code, message.n ? rpc_percent_decode(arena, message) : STR_NULL, status,
                       arena);
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
    one.field = words("user.full_name");
    one.description = words("can't be blank");
    bad.n_field_violations = 1;
    bad.field_violations = all;
    text = details_of(&bad.base);
    arena_init(&arena, 0);
    assert_int_equal(problem_as_sent(&p, 3, STR("not %C3%A9 valid%2"), str_of(text), &arena), 0);
    assert_int_equal(p.status, 422);
    assert_str(p.detail, "not \xc3\xa9 valid%2");
    assert_int_equal(p.n_errors, 1);
    assert_str(p.errors[0].key, "fullName");
    assert_str(p.errors[0].message, "can't be blank");
    /* The service's own failure: nothing of it goes out. */
    assert_int_equal(problem_as_sent(&p, 13, STR("secret"), str_of(text), &arena), 0);
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
    text = details_of(&retry.base);
    n = strlen(text);
    arena_init(&arena, 0);
    assert_int_equal(problem_as_sent(&p, 14, STR_NULL, str_of(text), &arena), 0);
    assert_int_equal(p.retry_after, 4);
    for (size_t i = 0; i < n; i++) {
        copy = malloc(i + 1);
        assert_non_null(copy);
        memcpy(copy, text, i);
        assert_int_equal(problem_as_sent(&p, 14, STR_NULL, (struct str){copy, i}, &arena), 0);
        assert_int_equal(p.status, 503);
        free(copy);
        for (int c = 1; c < 128; c++) {
            char saved = text[i];

            text[i] = (char)c;
            assert_int_equal(problem_as_sent(&p, 5, STR("%"), (struct str){text, n}, &arena), 0);
            assert_int_equal(p.status, 404);
            text[i] = saved;
        }
        arena_reset(&arena);
    }
    arena_free(&arena);
    free(text);
}

/* One of each detail, as a service might send them all together. */
static char *every_detail(void)
{
    Google__Rpc__ErrorInfo info = GOOGLE__RPC__ERROR_INFO__INIT;
    Google__Rpc__ErrorInfo__MetadataEntry one = GOOGLE__RPC__ERROR_INFO__METADATA_ENTRY__INIT,
                                          two = one, *entries[] = {&one, &two};
    Google__Rpc__QuotaFailure quota = GOOGLE__RPC__QUOTA_FAILURE__INIT;
    Google__Rpc__QuotaFailure__Violation used = GOOGLE__RPC__QUOTA_FAILURE__VIOLATION__INIT,
                                         *useds[] = {&used};
    Google__Rpc__PreconditionFailure failure = GOOGLE__RPC__PRECONDITION_FAILURE__INIT;
    Google__Rpc__PreconditionFailure__Violation
        terms = GOOGLE__RPC__PRECONDITION_FAILURE__VIOLATION__INIT,
        *all_terms[] = {&terms};
    Google__Rpc__ResourceInfo resource = GOOGLE__RPC__RESOURCE_INFO__INIT;
    Google__Rpc__Help help = GOOGLE__RPC__HELP__INIT;
    Google__Rpc__Help__Link good = GOOGLE__RPC__HELP__LINK__INIT, bad = good,
                            *links[] = {&bad, &good};
    Google__Rpc__LocalizedMessage localized = GOOGLE__RPC__LOCALIZED_MESSAGE__INIT;
    Google__Rpc__RetryInfo retry = GOOGLE__RPC__RETRY_INFO__INIT;
    Google__Protobuf__Duration delay = GOOGLE__PROTOBUF__DURATION__INIT;
    Google__Rpc__DebugInfo debug = GOOGLE__RPC__DEBUG_INFO__INIT;
    const ProtobufCMessage *all[] = {&info.base, &quota.base,     &failure.base, &resource.base,
                                     &help.base, &localized.base, &retry.base,   &debug.base};

    info.reason = words("OUT_OF_STOCK");
    info.domain = words("shop.example.com");
    one.key = words("a"), one.value = words("1");
    two.key = words("b\""), two.value = words("");
    info.n_metadata = 2, info.metadata = entries;
    used.subject = words("project:x"), used.description = words("is used up");
    quota.n_violations = 1, quota.violations = useds;
    terms.type = words("TOS"), terms.subject = words("cloud"), terms.description = words("sign");
    failure.n_violations = 1, failure.violations = all_terms;
    resource.resource_type = words("book"), resource.resource_name = words("shelves/1/books/2");
    resource.owner = words("user:secret@example.com"), resource.description = words("is gone");
    good.description = words("Read"), good.url = words("https://example.com/help");
    bad.url = words("javascript:alert(1)");
    help.n_links = 2, help.links = links;
    localized.locale = words("de-CH"), localized.message = words("Ausverkauft");
    delay.seconds = 3;
    retry.retry_delay = &delay;
    debug.detail = words("secret stack");
    return details_of_all(all, ARRAY_SIZE(all));
}

static void prints_every_detail(void **state)
{
    char *text = every_detail();
    struct arena arena;
    struct problem p;

    (void)state;
    arena_init(&arena, 0);
    assert_int_equal(problem_as_sent(&p, 8, STR("sold out"), str_of(text), &arena), 0);
    p.type = STR("urn:problem:");
    assert_int_equal(p.retry_after, 3);
    assert_str(p.language, "de-CH");
    assert_printed(
        &p, "{\"type\":\"urn:problem:shop.example.com:OUT_OF_STOCK\","
            "\"title\":\"Too Many Requests\",\"status\":429,\"detail\":\"Ausverkauft\","
            "\"reason\":\"OUT_OF_STOCK\",\"domain\":\"shop.example.com\","
            "\"metadata\":{\"a\":\"1\",\"b\\\"\":\"\"},"
            "\"quota\":[{\"subject\":\"project:x\",\"description\":\"is used up\"}],"
            "\"preconditions\":[{\"type\":\"TOS\",\"subject\":\"cloud\",\"description\":\"sign\"}],"
            "\"resource\":{\"type\":\"book\",\"name\":\"shelves/1/books/2\"},"
            "\"help\":[{\"url\":\"https://example.com/help\",\"description\":\"Read\"}],"
            "\"errors\":{\"quota\":[\"is used up\"],\"precondition\":[\"sign\"],"
            "\"book\":[\"is gone\"]}}");
    /* Of a failure of the service's own nothing remains but when to come back. */
    assert_int_equal(problem_as_sent(&p, 14, STR("sold out"), str_of(text), &arena), 0);
    p.type = STR("urn:problem:");
    assert_int_equal(p.retry_after, 3);
    assert_null(p.language.p);
    assert_printed(&p, "{\"type\":\"about:blank\",\"title\":\"Service Unavailable\",\"status\":503,"
                       "\"errors\":{\"service\":[\"is unavailable\"]}}");
    arena_free(&arena);
    free(text);
}

static void survives_damage_to_every_detail(void **state)
{
    char *text = every_detail(), *copy;
    size_t n = strlen(text);
    struct arena arena;
    struct problem p;
    struct buf json;

    (void)state;
    arena_init(&arena, 0);
    buf_init(&json, 1 << 20);
    for (size_t i = 0; i < n; i++) {
        copy = malloc(i + 1);
        assert_non_null(copy);
        memcpy(copy, text, i);
        assert_int_equal(problem_as_sent(&p, 9, STR("m"), (struct str){copy, i}, &arena), 0);
        problem_print(&p, &json);
        free(copy);
        for (int c = 'A'; c <= 'z'; c++) {
            char saved = text[i];

            text[i] = (char)c;
            assert_int_equal(problem_as_sent(&p, 9, STR("m"), (struct str){text, n}, &arena), 0);
            problem_print(&p, &json);
            assert_false(json.failed);
            assert_true(p.status == 400);
            text[i] = saved;
            json.n = 0;
        }
        arena_reset(&arena);
    }
    buf_free(&json);
    arena_free(&arena);
    free(text);
}

/* More of anything than there is room for is left out. */
static void limits_every_list(void **state)
{
    enum { MANY = 100 };
    Google__Rpc__ErrorInfo info = GOOGLE__RPC__ERROR_INFO__INIT;
    Google__Rpc__ErrorInfo__MetadataEntry entry[MANY], *entries[MANY];
    Google__Rpc__QuotaFailure quota = GOOGLE__RPC__QUOTA_FAILURE__INIT;
    Google__Rpc__QuotaFailure__Violation used = GOOGLE__RPC__QUOTA_FAILURE__VIOLATION__INIT,
                                         *useds[MANY];
    Google__Rpc__Help help = GOOGLE__RPC__HELP__INIT;
    Google__Rpc__Help__Link link = GOOGLE__RPC__HELP__LINK__INIT, *links[MANY];
    const ProtobufCMessage *all[] = {&info.base, &quota.base, &help.base};
    char keys[MANY][16], *text;
    struct arena arena;
    struct problem p;

    (void)state;
    used.subject = words("s");
    link.url = words("http://x");
    for (int i = 0; i < MANY; i++) {
        google__rpc__error_info__metadata_entry__init(&entry[i]);
        snprintf(keys[i], sizeof(keys[i]), "k%d", i);
        entry[i].key = keys[i], entry[i].value = keys[i];
        entries[i] = &entry[i], useds[i] = &used, links[i] = &link;
    }
    info.n_metadata = quota.n_violations = help.n_links = MANY;
    info.metadata = entries, quota.violations = useds, help.links = links;
    text = details_of_all(all, ARRAY_SIZE(all));
    arena_init(&arena, 0);
    assert_int_equal(problem_as_sent(&p, 8, STR_NULL, str_of(text), &arena), 0);
    assert_int_equal(p.n_metadata, PROBLEM_MAX_METADATA);
    assert_int_equal(p.n_quota, PROBLEM_MAX_VIOLATIONS);
    assert_int_equal(p.n_links, PROBLEM_MAX_LINKS);
    assert_int_equal(p.n_errors, 0);
    arena_free(&arena);
    free(text);
}

static void names_types_only_of_well_formed_reasons(void **state)
{
    static const char *const cases[][3] = {
        {"NOT_FOUND", "stoa", "urn:x:stoa:NOT_FOUND"},
        {"A1", "a.b-c", "urn:x:a.b-c:A1"},
        {"not_found", "stoa", "about:blank"},
        {"A B", "stoa", "about:blank"},
        {"A\"", "stoa", "about:blank"},
        {"A", "", "about:blank"},
        {"A", "a/b", "about:blank"},
        {"", "stoa", "about:blank"},
    };
    char expected[64];
    struct problem p;
    struct buf json;

    (void)state;
    buf_init(&json, 4096);
    for (size_t i = 0; i < ARRAY_SIZE(cases); i++) {
        problem_init(&p, 404);
        p.type = STR("urn:x:");
        p.reason = str_of(cases[i][0]);
        p.domain = str_of(cases[i][1]);
        json.n = 0;
        problem_print(&p, &json);
        snprintf(expected, sizeof(expected), "{\"type\":\"%s\",", cases[i][2]);
        assert_true(str_starts(buf_str(&json), str_of(expected)));
    }
    buf_free(&json);
}

static void makes_412_of_a_lost_state(void **state)
{
    static const struct {
        int code;
        const char *reason;
        int status;
    } cases[] = {
        {9, "ETAG_MISMATCH", 412},  {10, "ETAG_MISMATCH", 412}, {5, "ETAG_MISMATCH", 404},
        {13, "ETAG_MISMATCH", 500}, {9, "OTHER", 400},          {10, "CONFLICT", 409},
    };
    Google__Rpc__ErrorInfo info = GOOGLE__RPC__ERROR_INFO__INIT;
    struct arena arena;
    struct problem p;
    char *text;

    (void)state;
    arena_init(&arena, 0);
    for (size_t i = 0; i < ARRAY_SIZE(cases); i++) {
        info.reason = words(cases[i].reason);
        text = details_of(&info.base);
        assert_int_equal(problem_as_sent(&p, cases[i].code, STR("m"), str_of(text), &arena), 0);
        assert_int_equal(p.status, cases[i].status);
        free(text);
    }
    arena_free(&arena);
}

static void takes_localized_violations(void **state)
{
    Google__Rpc__BadRequest bad = GOOGLE__RPC__BAD_REQUEST__INIT;
    Google__Rpc__BadRequest__FieldViolation one = GOOGLE__RPC__BAD_REQUEST__FIELD_VIOLATION__INIT,
                                            *all[] = {&one};
    Google__Rpc__LocalizedMessage localized = GOOGLE__RPC__LOCALIZED_MESSAGE__INIT;
    struct arena arena;
    struct problem p;
    char *text;

    (void)state;
    one.field = words("name"), one.description = words("can't be blank");
    localized.locale = words("de"), localized.message = words("fehlt");
    one.localized_message = &localized;
    bad.n_field_violations = 1, bad.field_violations = all;
    text = details_of(&bad.base);
    arena_init(&arena, 0);
    assert_int_equal(problem_as_sent(&p, 3, STR_NULL, str_of(text), &arena), 0);
    assert_str(p.errors[0].message, "fehlt");
    arena_free(&arena);
    free(text);
}

static void assert_decoded(struct arena *arena, const char *text, const char *expected)
{
    struct str bytes;

    assert_int_equal(rpc_base64_decode(arena, str_of(text), &bytes), expected ? 0 : -EBADMSG);
    if (expected)
        assert_str(bytes, expected);
}

static void codes_and_decodes_base64(void **state)
{
    static const char *const pairs[][2] = {
        {"", ""},
        {"f", "Zg=="},
        {"fo", "Zm8="},
        {"foo", "Zm9v"},
        {"\xff\xfe\xfd", "//79"},
        {"\xfb\xf0", "+/A="},
    };
    static const char *const others[][2] = {
        {"Zg", "f"}, {"Zm8", "fo"}, {"__79", "\xff\xfe\xfd"}, {"-_A", "\xfb\xf0"}};
    static const char *const bad[] = {"Z", "Zg=a", "Z g=", "Zg===", "Zm9v\n", "Zm9vZ", "*"};
    struct arena arena;

    (void)state;
    arena_init(&arena, 0);
    for (size_t i = 0; i < ARRAY_SIZE(pairs); i++) {
        assert_str(rpc_base64_encode(&arena, str_of(pairs[i][0])), pairs[i][1]);
        assert_decoded(&arena, pairs[i][1], pairs[i][0]);
    }
    for (size_t i = 0; i < ARRAY_SIZE(others); i++)
        assert_decoded(&arena, others[i][0], others[i][1]);
    for (size_t i = 0; i < ARRAY_SIZE(bad); i++)
        assert_decoded(&arena, bad[i], NULL);
    arena_free(&arena);
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
        cmocka_unit_test(prints_every_detail),
        cmocka_unit_test(survives_damage_to_every_detail),
        cmocka_unit_test(limits_every_list),
        cmocka_unit_test(names_types_only_of_well_formed_reasons),
        cmocka_unit_test(makes_412_of_a_lost_state),
        cmocka_unit_test(takes_localized_violations),
        cmocka_unit_test(codes_and_decodes_base64),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
