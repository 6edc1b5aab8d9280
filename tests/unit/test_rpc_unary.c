/* lib/grpc: unary calls from the request to the status, with a real client over a unix socket. */
#include "rpc_details.h"
#include "rpc_fixture.h"

#include "opentelemetry/proto/collector/trace/v1/trace_service.pb-c.h"

#include "grpc/internal.h"

static int start_plain(void **state)
{
    struct fixture *f = test_calloc(1, sizeof(*f));

    fixture_start(f, (struct rpc_server_options){.max_request_bytes = 65536}, plain_handlers, NULL);
    *state = f;
    return 0;
}

static int stop_plain(void **state)
{
    fixture_stop(*state);
    test_free(*state);
    return 0;
}

/* ---- requests ---- */

static void test_echo(void **state)
{
    struct fixture *f = *state;
    char answer[64];

    assert_int_equal(say(&f->client, "hello", 0, answer, sizeof(answer)), 0);
    assert_string_equal(answer, "hello");
    assert_int_equal(say(&f->client, "", 0, answer, sizeof(answer)), 0);
    assert_string_equal(answer, "");
}

static void test_unknown_method(void **state)
{
    struct fixture *f = *state;
    const char *methods[] = {ECHO "Nothing", "/stoa.test.v1.Other/Say", "/", "/x"};
    struct client_call call;

    for (size_t i = 0; i < ARRAY_SIZE(methods); i++) {
        client_request_bytes(&f->client, &call, methods[i], 0, STR(""));
        assert_int_equal(client_status(&call), RPC_UNIMPLEMENTED);
        client_end(&call);
    }
}

static void expect_refused(struct fixture *f, struct str bytes, int code)
{
    struct client_call call;

    client_request_bytes(&f->client, &call, ECHO "Say", 0, bytes);
    assert_int_equal(client_status(&call), code);
    client_end(&call);
}

static void test_bad_bytes(void **state)
{
    struct fixture *f = *state;

    expect_refused(f, STR("\x0a\x7f"), RPC_INVALID_ARGUMENT);         /* cut off */
    expect_refused(f, STR("\x0a\x02\xff\xfe"), RPC_INVALID_ARGUMENT); /* not UTF-8 */
    expect_refused(f, STR("\x08\x01"), RPC_INVALID_ARGUMENT);         /* wrong wire type */
    expect_refused(f, STR("\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\x01"), RPC_INVALID_ARGUMENT);
}

static void test_nul_in_string(void **state)
{
    struct fixture *f = *state;
    struct client_call call;
    struct answer_details d;

    client_request_bytes(&f->client, &call, ECHO "Say", 0,
                         STR("\x0a\x03"
                             "a\0b"));
    assert_int_equal(client_status(&call), RPC_INVALID_ARGUMENT);
    d = details_of(&call);
    assert_non_null(d.bad_request);
    assert_int_equal(d.bad_request->n_field_violations, 1);
    assert_string_equal(d.bad_request->field_violations[0]->field, "service");
    free_details(&d);
    client_end(&call);
}

static void test_oversize(void **state)
{
    struct fixture *f = *state;
    size_t n = 65536 + 1024;
    char *text = test_calloc(1, n + 1);
    char answer[16];

    memset(text, 'x', n);
    assert_int_equal(say(&f->client, text, 0, NULL, 0), RPC_RESOURCE_EXHAUSTED);
    text[60000] = '\0';
    assert_int_equal(say(&f->client, text, 0, NULL, 0), RPC_OK);
    assert_int_equal(say(&f->client, "still here", 0, answer, sizeof(answer)), 0);
    test_free(text);
}

static void test_compressed(void **state)
{
    struct fixture *f = *state;
    struct client client;
    char text[4096];

    memset(text, 'x', sizeof(text) - 1);
    text[sizeof(text) - 1] = '\0';
    client_open_with(&client, f->target, grpc_insecure_credentials_create(), NULL, true);
    assert_int_equal(say(&client, text, 0, NULL, 0), RPC_UNIMPLEMENTED);
    client_close(&client);
}

static void test_no_request(void **state)
{
    struct fixture *f = *state;
    struct client_call call;

    client_begin(&f->client, &call, ECHO "Say", 0, NULL, 0);
    client_half_close(&call);
    assert_int_equal(client_status(&call), RPC_UNIMPLEMENTED);
    client_end(&call);
}

static void test_all_violations_in_one_answer(void **state)
{
    struct fixture *f = *state;
    Stoa__Posts__V1__CreateArticleRequest request = STOA__POSTS__V1__CREATE_ARTICLE_REQUEST__INIT;
    Stoa__Posts__V1__CreateArticleRequest__NewArticle article =
        STOA__POSTS__V1__CREATE_ARTICLE_REQUEST__NEW_ARTICLE__INIT;
    struct client_call call;
    struct answer_details d;

    article.body = (char *)"a body";
    request.article = &article;
    client_request(&f->client, &call, ECHO "Publish", 0, &request.base);
    assert_int_equal(client_status(&call), RPC_INVALID_ARGUMENT);
    assert_true(str_starts(client_message(&call), STR("article.title ")));
    d = details_of(&call);
    assert_int_equal(d.status->code, RPC_INVALID_ARGUMENT);
    assert_true(str_eq(str_of(d.status->message), client_message(&call)));
    assert_non_null(d.bad_request);
    assert_int_equal(d.bad_request->n_field_violations, 2);
    assert_string_equal(d.bad_request->field_violations[0]->field, "article.title");
    assert_string_equal(d.bad_request->field_violations[1]->field, "article.description");
    assert_string_equal(d.error_info->domain, "stoa");
    free_details(&d);
    client_end(&call);
}

/* ---- errors ---- */

static void fail_with_everything(void *service UNUSED, struct rpc_call *call,
                                 const ProtobufCMessage *request UNUSED)
{
    const struct schema_fault faults[] = {{STR("user.email"), STR("is taken")},
                                          {STR("user.username"), STR("is taken")}};

    rpc_fail_with(call, &(struct rpc_error){
                            .code = RPC_ALREADY_EXISTS,
                            .message = STR("naïve: 100%\n"),
                            .reason = "TAKEN",
                            .violations = faults,
                            .n_violations = ARRAY_SIZE(faults),
                            .resource_type = "user",
                            .resource_name = STR("ann"),
                            .resource_description = "already there",
                            .retry_after_ms = 2500,
                        });
}

static void fail_with_too_much(void *service UNUSED, struct rpc_call *call,
                               const ProtobufCMessage *request UNUSED)
{
    struct schema_fault faults[64];
    struct str text = arena_printf(rpc_call_arena(call), "%01000d", 0);

    for (size_t i = 0; i < ARRAY_SIZE(faults); i++)
        faults[i] = (struct schema_fault){text, text};
    rpc_fail_with(call, &(struct rpc_error){
                            .code = RPC_INVALID_ARGUMENT,
                            .message = text,
                            .violations = faults,
                            .n_violations = ARRAY_SIZE(faults),
                        });
}

static void test_details(void **state UNUSED)
{
    const struct rpc_handler handlers[] = UNARY_HANDLERS(fail_with_everything, fail_with_too_much);
    struct fixture f;
    text_message request = TEXT("x");
    struct client_call call;
    struct answer_details d;

    fixture_start(&f, (struct rpc_server_options){0}, handlers, NULL);
    client_request(&f.client, &call, ECHO "Say", 0, &request.base);
    assert_int_equal(client_status(&call), RPC_ALREADY_EXISTS);
    assert_true(str_eq(client_message(&call), STR("naïve: 100%\n")));
    d = details_of(&call);
    assert_int_equal(d.status->n_details, 4);
    assert_string_equal(d.error_info->reason, "TAKEN");
    assert_string_equal(d.error_info->domain, "stoa");
    assert_int_equal(d.bad_request->n_field_violations, 2);
    assert_string_equal(d.bad_request->field_violations[1]->field, "user.username");
    assert_string_equal(d.bad_request->field_violations[1]->description, "is taken");
    assert_string_equal(d.resource_info->resource_type, "user");
    assert_string_equal(d.resource_info->resource_name, "ann");
    assert_string_equal(d.resource_info->description, "already there");
    assert_int_equal(d.retry_info->retry_delay->seconds, 2);
    assert_int_equal(d.retry_info->retry_delay->nanos, 500000000);
    free_details(&d);
    client_end(&call);
    fixture_stop(&f);
}

/* Clients refuse trailers over 8 KiB: an error that is too long is cut, not lost. */
static void test_details_fit_in_trailers(void **state UNUSED)
{
    const struct rpc_handler handlers[] = UNARY_HANDLERS(fail_with_too_much, publish_ok);
    struct fixture f;
    text_message request = TEXT("x");
    struct client_call call;
    struct answer_details d;

    fixture_start(&f, (struct rpc_server_options){0}, handlers, NULL);
    client_request(&f.client, &call, ECHO "Say", 0, &request.base);
    assert_int_equal(client_status(&call), RPC_INVALID_ARGUMENT);
    d = details_of(&call);
    assert_true(d.bad_request->n_field_violations > 0);
    free_details(&d);
    client_end(&call);
    fixture_stop(&f);
}

/* ---- metadata ---- */

static void mirror_metadata(void *service UNUSED, struct rpc_call *call,
                            const ProtobufCMessage *request)
{
    struct str text = rpc_call_metadata(call, "x-text");
    struct str binary = rpc_call_metadata(call, "x-raw-bin");

    assert_null(rpc_call_metadata(call, "x-absent").p);
    assert_true(str_starts(rpc_call_peer(call), STR("unix:")));
    assert_true(str_eq(rpc_call_method(call)->path, STR(ECHO "Say")));
    assert_int_equal(rpc_call_add_header(call, STR("x-text"), text), 0);
    assert_int_equal(rpc_call_add_trailer(call, STR("x-raw-bin"), binary), 0);
    assert_int_equal(rpc_call_add_header(call, STR("Bad Key"), text), -EINVAL);
    assert_int_equal(rpc_call_add_header(call, STR("x-bad"), STR("a\nb")), -EINVAL);
    for (int i = 0; i < 15; i++)
        assert_int_equal(rpc_call_add_trailer(call, STR("x-many"), STR("1")), 0);
    assert_int_equal(rpc_call_add_trailer(call, STR("x-many"), STR("1")), -ENOSPC);
    rpc_reply(call, request);
}

static void test_metadata(void **state UNUSED)
{
    const struct rpc_handler handlers[] = UNARY_HANDLERS(mirror_metadata, publish_ok);
    const struct client_metadata metadata[] = {{"x-text", STR("some text")},
                                               {"x-raw-bin", STR("\x00\x01\xff")}};
    struct fixture f;
    struct client_call call;

    fixture_start(&f, (struct rpc_server_options){0}, handlers, NULL);
    client_begin(&f.client, &call, ECHO "Say", 0, metadata, ARRAY_SIZE(metadata));
    client_send_bytes(&call, STR(""));
    client_half_close(&call);
    client_skip(&call);
    client_headers(&call);
    assert_int_equal(client_status(&call), 0);
    assert_true(str_eq(client_find(&call.headers, "x-text"), STR("some text")));
    assert_true(str_eq(client_find(&call.trailers, "x-raw-bin"), STR("\x00\x01\xff")));
    client_end(&call);
    fixture_stop(&f);
}

/* ---- answers that are packed already ---- */

static void reply_packed(struct rpc_call *call, const ProtobufCMessage *response)
{
    uint8_t bytes[256];
    size_t n = protobuf_c_message_get_packed_size(response);

    assert_true(n <= sizeof(bytes));
    protobuf_c_message_pack(response, bytes);
    rpc_reply_packed(call, (struct str){(const char *)bytes, n});
}

static void say_packed(void *service UNUSED, struct rpc_call *call, const ProtobufCMessage *request)
{
    reply_packed(call, request);
}

static void test_packed_answer(void **state UNUSED)
{
    static const char *const texts[] = {"as it was packed", ""};
    const struct rpc_handler handlers[] = UNARY_HANDLERS(say_packed, publish_ok);
    struct fixture f;
    char text[32];

    fixture_start(&f, (struct rpc_server_options){0}, handlers, NULL);
    for (size_t i = 0; i < ARRAY_SIZE(texts); i++) {
        assert_int_equal(say(&f.client, texts[i], 0, text, sizeof(text)), 0);
        assert_string_equal(text, texts[i]);
    }
    fixture_stop(&f);
}

/* ---- authentication ---- */

static void authenticate(void *context, struct rpc_call *call)
{
    struct str token = rpc_call_metadata(call, "authorization");

    rpc_call_set_context(call, context);
    if (str_eq(token, STR("good")))
        rpc_call_proceed(call);
    else
        rpc_fail(call, RPC_UNAUTHENTICATED, "token %s", token.p ? "is invalid" : "is missing");
}

static void say_context(void *service UNUSED, struct rpc_call *call,
                        const ProtobufCMessage *request UNUSED)
{
    text_message answer = TEXT(rpc_call_context(call));

    rpc_reply(call, &answer.base);
}

static void test_authenticate(void **state UNUSED)
{
    const struct rpc_handler handlers[] = UNARY_HANDLERS(say_context, publish_ok);
    const char *methods[] = {ECHO "Say", ECHO "Count", ECHO "Join", ECHO "Chat"};
    struct fixture f;

    fixture_start(&f,
                  (struct rpc_server_options){.authenticate = authenticate,
                                              .authenticate_context = (void *)"ann"},
                  handlers, NULL);
    for (size_t i = 0; i < ARRAY_SIZE(methods); i++) {
        assert_int_equal(call_with_token(&f.client, methods[i], NULL, STR("")),
                         RPC_UNAUTHENTICATED);
        assert_int_equal(call_with_token(&f.client, methods[i], "bad", STR("")),
                         RPC_UNAUTHENTICATED);
        assert_int_equal(call_with_token(&f.client, methods[i], "good", STR("")), RPC_OK);
    }
    /* A stranger is refused before anybody looks at the bytes; health needs no token. */
    assert_int_equal(call_with_token(&f.client, ECHO "Say", "bad", STR("\xff")),
                     RPC_UNAUTHENTICATED);
    assert_int_equal(call_with_token(&f.client, "/grpc.health.v1.Health/Check", NULL, STR("")),
                     RPC_OK);
    fixture_stop(&f);
}

/* ---- ending from another thread ---- */

struct later {
    pthread_t thread;
    struct rpc_call *call;
    bool proceed;
};

static void *end_later(void *arg)
{
    struct later *later = arg;
    text_message answer = TEXT("later");

    nanosleep(&(struct timespec){.tv_nsec = 2000000}, NULL);
    if (later->proceed)
        rpc_call_proceed(later->call);
    else
        rpc_reply(later->call, &answer.base);
    return NULL;
}

static struct later laters[2];
/* The answer may be there before pthread_create() is back, which says whom to wait for. */
static pthread_mutex_t laters_lock = PTHREAD_MUTEX_INITIALIZER;

static void begin_later(struct later *later, struct rpc_call *call, bool proceed)
{
    pthread_mutex_lock(&laters_lock);
    *later = (struct later){.call = call, .proceed = proceed};
    assert_int_equal(pthread_create(&later->thread, NULL, end_later, later), 0);
    pthread_mutex_unlock(&laters_lock);
}

static void join_laters(void)
{
    pthread_mutex_lock(&laters_lock);
    for (size_t i = 0; i < ARRAY_SIZE(laters); i++)
        pthread_join(laters[i].thread, NULL);
    pthread_mutex_unlock(&laters_lock);
}

static void authenticate_later(void *context UNUSED, struct rpc_call *call)
{
    begin_later(&laters[0], call, true);
}

static void reply_later(void *service UNUSED, struct rpc_call *call,
                        const ProtobufCMessage *request UNUSED)
{
    begin_later(&laters[1], call, false);
}

static void test_other_threads(void **state UNUSED)
{
    const struct rpc_handler handlers[] = UNARY_HANDLERS(reply_later, publish_ok);
    struct fixture f;
    char answer[16];

    fixture_start(&f, (struct rpc_server_options){.authenticate = authenticate_later}, handlers,
                  NULL);
    assert_int_equal(say(&f.client, "x", 0, answer, sizeof(answer)), 0);
    assert_string_equal(answer, "later");
    join_laters();
    fixture_stop(&f);
}

/* ---- deadlines and cancellation ---- */

static struct rpc_call *_Atomic parked;
static atomic_llong parked_deadline;

static void park(void *service UNUSED, struct rpc_call *call,
                 const ProtobufCMessage *request UNUSED)
{
    atomic_store(&parked_deadline, rpc_call_deadline_ns(call));
    atomic_store(&parked, call);
}

static void end_parked(void)
{
    struct rpc_call *call = atomic_exchange(&parked, NULL);
    text_message answer = TEXT("too late");

    rpc_reply(call, &answer.base);
}

static void test_deadline(void **state UNUSED)
{
    const struct rpc_handler handlers[] = UNARY_HANDLERS(park, publish_ok);
    enum { TIMEOUT_MS = 2000 };
    int64_t before = clock_monotonic_ns(), limit = before + TIMEOUT_MS * NSEC_PER_MSEC;
    struct fixture f;

    fixture_start(&f, (struct rpc_server_options){0}, handlers, NULL);
    assert_int_equal(say(&f.client, "x", TIMEOUT_MS, NULL, 0), RPC_DEADLINE_EXCEEDED);
    WAIT_UNTIL(atomic_load(&parked));
    assert_true(atomic_load(&parked_deadline) > limit);
    assert_true(atomic_load(&parked_deadline) < clock_monotonic_ns() + TIMEOUT_MS * NSEC_PER_MSEC);
    WAIT_UNTIL(atomic_load(rpc_call_cancelled(atomic_load(&parked))));
    end_parked();
    fixture_stop(&f);
}

/* rpc.grpc.status_code of the one span. */
static int64_t code_of_span(struct trace_recorder *recorder)
{
    struct arena arena CLEANUP(arena_free) = {0};
    const trace_export_request *request;
    const Opentelemetry__Proto__Trace__V1__Span *span;

    assert_int_equal(trace_take(recorder, &arena, &request), 1);
    span = request->resource_spans[0]->scope_spans[0]->spans[0];
    assert_string_equal(span->attributes[3]->key, "rpc.grpc.status_code");
    return span->attributes[3]->value->int_value;
}

static void test_bound_without_deadline(void **state UNUSED)
{
    const struct rpc_handler handlers[] = UNARY_HANDLERS(park, publish_ok);
    text_message late = TEXT("too late");
    struct trace_recorder *recorder;
    struct fixture f;

    assert_int_equal(trace_recorder_new(
                         &(struct trace_recorder_options){.service = "t", .one_in = 1}, &recorder),
                     0);
    fixture_start(&f, (struct rpc_server_options){.max_call_ms = 100, .recorder = recorder},
                  handlers, NULL);
    assert_int_equal(say(&f.client, "x", 0, NULL, 0), RPC_DEADLINE_EXCEEDED);
    WAIT_UNTIL(atomic_load(&parked));
    assert_true(atomic_load(rpc_call_cancelled(atomic_load(&parked))));
    reply_packed(atomic_exchange(&parked, NULL), &late.base);
    fixture_stop(&f);
    assert_int_equal(code_of_span(recorder), RPC_DEADLINE_EXCEEDED);
    trace_recorder_free(recorder);
}

static void test_bound_covers_reading(void **state UNUSED)
{
    struct fixture f;
    struct client_call call;

    fixture_start(&f, (struct rpc_server_options){.max_call_ms = 100}, plain_handlers, NULL);
    client_begin(&f.client, &call, ECHO "Say", 0, NULL, 0); /* and no request ever */
    assert_int_equal(client_status(&call), RPC_DEADLINE_EXCEEDED);
    client_end(&call);
    fixture_stop(&f);
}

static void test_client_cancel(void **state UNUSED)
{
    const struct rpc_handler handlers[] = UNARY_HANDLERS(park, publish_ok);
    text_message request = TEXT("x");
    struct fixture f;
    struct client_call call;

    fixture_start(&f, (struct rpc_server_options){0}, handlers, NULL);
    client_request(&f.client, &call, ECHO "Say", 0, &request.base);
    WAIT_UNTIL(atomic_load(&parked));
    assert_false(atomic_load(rpc_call_cancelled(atomic_load(&parked))));
    client_cancel(&call);
    WAIT_UNTIL(atomic_load(rpc_call_cancelled(atomic_load(&parked))));
    assert_int_equal(client_status(&call), RPC_CANCELLED);
    end_parked();
    client_end(&call);
    fixture_stop(&f);
}

/* ---- the bound on calls ---- */

static void test_max_calls(void **state UNUSED)
{
    const struct rpc_handler handlers[] = UNARY_HANDLERS(park, publish_ok);
    text_message request = TEXT("x");
    struct fixture f;
    struct client_call first, second;
    struct rpc_server_stats stats;
    struct answer_details d;

    fixture_start(&f, (struct rpc_server_options){.max_calls = 1}, handlers, NULL);
    client_request(&f.client, &first, ECHO "Say", 0, &request.base);
    WAIT_UNTIL(atomic_load(&parked));
    client_request(&f.client, &second, ECHO "Say", 0, &request.base);
    assert_int_equal(client_status(&second), RPC_RESOURCE_EXHAUSTED);
    d = details_of(&second);
    assert_true(d.retry_info->retry_delay->seconds > 0);
    free_details(&d);
    client_end(&second);
    /* An overloaded process is still alive. */
    assert_int_equal(call_with_token(&f.client, "/grpc.health.v1.Health/Check", NULL, STR("")), 0);
    end_parked();
    client_skip(&first);
    assert_int_equal(client_status(&first), 0);
    client_end(&first);
    rpc_server_stats(f.server, &stats);
    assert_int_equal(stats.refused, 1);
    fixture_stop(&f);
}

/* ---- many at once ---- */

#define HAMMER_THREADS 64
#define HAMMER_CALLS 40

static void *hammer(void *target)
{
    struct client client;
    char text[32], answer[32];
    size_t bad = 0;

    client_open(&client, target);
    for (int i = 0; i < HAMMER_CALLS; i++) {
        snprintf(text, sizeof(text), "%d of %p", i, (void *)&client);
        if (i % 8 == 7) {
            struct client_call call;
            text_message request = TEXT(text);
            client_request(&client, &call, ECHO "Say", 0, &request.base);
            client_end(&call);
        } else if (say(&client, text, 60000, answer, sizeof(answer)) != 0 ||
                   strcmp(text, answer) != 0) {
            bad++;
        }
    }
    client_close(&client);
    return (void *)bad;
}

static void hammer_with(unsigned pollers)
{
    pthread_t threads[HAMMER_THREADS];
    struct fixture f;
    void *bad;

    fixture_start(&f, (struct rpc_server_options){.pollers = pollers}, plain_handlers, NULL);
    for (size_t i = 0; i < HAMMER_THREADS; i++)
        assert_int_equal(pthread_create(&threads[i], NULL, hammer, f.target), 0);
    for (size_t i = 0; i < HAMMER_THREADS; i++) {
        pthread_join(threads[i], &bad);
        assert_null(bad);
    }
    fixture_stop(&f);
}

static void test_hammer(void **state UNUSED)
{
    hammer_with(1);
    hammer_with(3);
}

int main(void)
{
    const struct CMUnitTest plain[] = {
        cmocka_unit_test(test_echo),       cmocka_unit_test(test_unknown_method),
        cmocka_unit_test(test_bad_bytes),  cmocka_unit_test(test_nul_in_string),
        cmocka_unit_test(test_oversize),   cmocka_unit_test(test_compressed),
        cmocka_unit_test(test_no_request), cmocka_unit_test(test_all_violations_in_one_answer),
    };
    const struct CMUnitTest own[] = {
        cmocka_unit_test(test_details),
        cmocka_unit_test(test_details_fit_in_trailers),
        cmocka_unit_test(test_metadata),
        cmocka_unit_test(test_packed_answer),
        cmocka_unit_test(test_authenticate),
        cmocka_unit_test(test_other_threads),
        cmocka_unit_test(test_deadline),
        cmocka_unit_test(test_bound_without_deadline),
        cmocka_unit_test(test_bound_covers_reading),
        cmocka_unit_test(test_client_cancel),
        cmocka_unit_test(test_max_calls),
        cmocka_unit_test(test_hammer),
    };
    int failed = cmocka_run_group_tests_name("rpc requests", plain, start_plain, stop_plain);

    return failed + cmocka_run_group_tests_name("rpc calls", own, NULL, NULL);
}
