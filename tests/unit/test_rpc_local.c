/* lib/grpc: calls that the process makes of its own methods. */
#include "rpc_fixture.h"

/* What came of a call. */
struct outcome {
    atomic_int proceeded, replied, failed;
    char text[64], reason[64];
    enum rpc_code code;
    size_t n_violations;
};

static void on_proceed(void *user, struct rpc_call *call)
{
    struct outcome *outcome = user;
    const char *context = rpc_call_context(call);

    snprintf(outcome->text, sizeof(outcome->text), "%s", context);
    atomic_fetch_add(&outcome->proceeded, 1);
}

static void on_replied(void *user, struct rpc_call *call UNUSED, const ProtobufCMessage *response)
{
    struct outcome *outcome = user;

    snprintf(outcome->text, sizeof(outcome->text), "%s", ((const text_message *)response)->service);
    atomic_fetch_add(&outcome->replied, 1);
}

static void on_failed(void *user, struct rpc_call *call UNUSED, const struct rpc_error *error)
{
    struct outcome *outcome = user;

    outcome->code = error->code;
    outcome->n_violations = error->n_violations;
    snprintf(outcome->reason, sizeof(outcome->reason), "%s", error->reason ? error->reason : "");
    atomic_fetch_add(&outcome->failed, 1);
}

static struct rpc_call *begin(struct fixture *f, const char *method, struct outcome *outcome)
{
    const struct rpc_local local = {
        .method = method, .proceed = on_proceed, .replied = on_replied, .failed = on_failed};
    struct rpc_call *call;

    memset(outcome, 0, sizeof(*outcome));
    assert_int_equal(rpc_local_new(f->server, &local, &call), 0);
    rpc_local_set_user(call, outcome);
    return call;
}

/* ---- the server ---- */

/* "late" is answered by the test itself. */
static struct rpc_call *_Atomic waiting;

static void speak(void *service UNUSED, struct rpc_call *call, const ProtobufCMessage *request)
{
    const char *text = ((const text_message *)request)->service;

    assert_int_not_equal(rpc_call_deadline_ns(call), INT64_MAX);
    assert_false(atomic_load(rpc_call_cancelled(call)));
    if (strcmp(text, "late") == 0)
        atomic_store(&waiting, call);
    else if (strcmp(text, "fail") == 0)
        rpc_fail_with(call, &(struct rpc_error){.code = RPC_ABORTED, .reason = "AS_YOU_WISH"});
    else
        rpc_reply(call, request);
}

/* The word of a token is the context; "bad" is refused. */
static void authenticate(void *context UNUSED, struct rpc_call *call)
{
    struct str token = rpc_call_metadata(call, "authorization");

    if (!token.p || str_eq(token, STR("bad"))) {
        rpc_fail_with(call, &(struct rpc_error){.code = RPC_UNAUTHENTICATED, .reason = "BAD"});
        return;
    }
    rpc_call_set_context(call, (void *)token.p);
    rpc_call_proceed(call);
}

static const struct rpc_handler handlers[] = UNARY_HANDLERS(speak, publish_ok);

static int start(void **state)
{
    struct fixture *f = test_calloc(1, sizeof(*f));

    fixture_start(f, (struct rpc_server_options){.max_calls = 2, .authenticate = authenticate},
                  handlers, NULL);
    *state = f;
    return 0;
}

static int stop(void **state)
{
    fixture_stop(*state);
    test_free(*state);
    return 0;
}

/* ---- tests ---- */

static void test_answers(void **state)
{
    struct fixture *f = *state;
    text_message hello = TEXT("hello"), fail = TEXT("fail");
    struct outcome outcome;

    rpc_local_run(begin(f, ECHO "Say", &outcome), &hello.base);
    assert_int_equal(outcome.replied, 1);
    assert_string_equal(outcome.text, "hello");
    rpc_local_run(begin(f, ECHO "Say", &outcome), &fail.base);
    assert_int_equal(outcome.failed, 1);
    assert_int_equal(outcome.code, RPC_ABORTED);
    assert_string_equal(outcome.reason, "AS_YOU_WISH");
}

/* By the same rules as a call from outside. */
static void test_rules(void **state)
{
    struct fixture *f = *state;
    Stoa__Posts__V1__CreateArticleRequest request = STOA__POSTS__V1__CREATE_ARTICLE_REQUEST__INIT;
    struct outcome outcome;

    rpc_local_run(begin(f, ECHO "Publish", &outcome), &request.base);
    assert_int_equal(outcome.replied, 0);
    assert_int_equal(outcome.failed, 1);
    assert_int_equal(outcome.code, RPC_INVALID_ARGUMENT);
    assert_string_equal(outcome.reason, "INVALID_FIELDS");
    assert_true(outcome.n_violations > 0);
}

static void test_authentication(void **state)
{
    struct fixture *f = *state;
    const struct rpc_local_metadata good = {STR("authorization"), STR("good")},
                                    bad = {STR("authorization"), STR("bad")};
    struct outcome outcome;
    struct rpc_call *call = begin(f, ECHO "Chat", &outcome); /* a stream's method too */

    rpc_local_set_metadata(call, &good, 1, STR("unix:"));
    assert_true(str_eq(rpc_call_peer(call), STR("unix:")));
    rpc_local_authenticate(call);
    assert_int_equal(outcome.proceeded, 1);
    assert_string_equal(outcome.text, "good");
    rpc_local_end(call);
    call = begin(f, ECHO "Chat", &outcome);
    rpc_local_set_metadata(call, &bad, 1, STR_NULL);
    rpc_local_authenticate(call);
    assert_int_equal(outcome.proceeded, 0);
    assert_int_equal(outcome.failed, 1);
    assert_string_equal(outcome.reason, "BAD");
    rpc_local_authenticate(begin(f, ECHO "Say", &outcome)); /* without any */
    assert_int_equal(outcome.failed, 1);
}

static void test_decoding(void **state)
{
    struct fixture *f = *state;
    Stoa__Posts__V1__CreateArticleRequest request = STOA__POSTS__V1__CREATE_ARTICLE_REQUEST__INIT;
    struct rpc_packed *packed = rpc_pack(&request.base);
    const ProtobufCMessage *message = NULL;
    struct arena arena = {.max = 0};
    struct outcome outcome;
    struct rpc_error error;
    struct rpc_call *call = begin(f, ECHO "Publish", &outcome);

    assert_int_equal(rpc_local_decode(call, STR("\xff\xff"), &arena, &message, &error), -EBADMSG);
    assert_string_equal(error.reason, "MALFORMED_MESSAGE");
    assert_int_equal(rpc_local_decode(call, rpc_packed_bytes(packed), &arena, &message, &error),
                     -EDOM);
    assert_string_equal(error.reason, "INVALID_FIELDS");
    assert_ptr_equal(message->descriptor, request.base.descriptor);
    rpc_local_end(call);
    call = begin(f, ECHO "Say", &outcome);
    assert_int_equal(rpc_local_decode(call, STR("\x0a\x02hi"), &arena, &message, &error), 0);
    assert_string_equal(((const text_message *)message)->service, "hi");
    rpc_local_end(call);
    rpc_packed_unref(packed);
    arena_free(&arena);
}

/* They count as calls in work. */
static void test_limits(void **state)
{
    struct fixture *f = *state;
    const struct rpc_local local = {.method = ECHO "Say"}, unknown = {.method = ECHO "Sing"};
    struct outcome one, two;
    struct rpc_call *calls[] = {begin(f, ECHO "Say", &one), begin(f, ECHO "Say", &two)}, *third;

    assert_int_equal(rpc_local_new(f->server, &local, &third), -EAGAIN);
    rpc_local_end(calls[0]);
    calls[0] = begin(f, ECHO "Say", &one);
    rpc_local_end(calls[0]);
    rpc_local_end(calls[1]);
    assert_int_equal(rpc_local_new(f->server, &unknown, &third), -ENOENT);
}

static void *answer_late(void *user)
{
    text_message done = TEXT("done");

    WAIT_UNTIL(*(atomic_bool *)user);
    usleep(20000);
    rpc_reply(atomic_load(&waiting), &done.base);
    return NULL;
}

/* A server that stops waits for them, and takes no more. */
static void test_stop(void **state)
{
    struct fixture *f = *state;
    const struct rpc_local local = {.method = ECHO "Say"};
    text_message late = TEXT("late");
    atomic_bool stopping = false;
    struct outcome outcome;
    struct rpc_call *call;
    pthread_t thread;

    rpc_local_run(begin(f, ECHO "Say", &outcome), &late.base);
    assert_int_equal(outcome.replied, 0);
    assert_int_equal(pthread_create(&thread, NULL, answer_late, &stopping), 0);
    atomic_store(&stopping, true);
    rpc_server_stop(f->server, 60000);
    assert_int_equal(outcome.replied, 1);
    assert_string_equal(outcome.text, "done");
    assert_int_equal(rpc_local_new(f->server, &local, &call), -EAGAIN);
    pthread_join(thread, NULL);
}

int main(void)
{
#define TEST(name) cmocka_unit_test_setup_teardown(name, start, stop)
    const struct CMUnitTest tests[] = {
        TEST(test_answers),  TEST(test_rules),  TEST(test_authentication),
        TEST(test_decoding), TEST(test_limits), TEST(test_stop),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
