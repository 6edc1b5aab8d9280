/* lib/grpc: calls that would only wait, at a service that more ask of than it can answer. */
#include "rpc_details.h"
#include "rpc_fixture.h"

#include "grpc/internal.h"

/* ---- calls that would only wait ---- */

/* A service that answers one call after the other, each in some milliseconds. */
static struct lane {
    pthread_t thread;
    pthread_mutex_t lock;
    pthread_cond_t changed;
    struct rpc_call *calls[128];
    size_t first, n;
    bool ends;
} lane = {.lock = PTHREAD_MUTEX_INITIALIZER, .changed = PTHREAD_COND_INITIALIZER};

static void line_up(void *service UNUSED, struct rpc_call *call,
                    const ProtobufCMessage *request UNUSED)
{
    pthread_mutex_lock(&lane.lock);
    assert_true(lane.n < ARRAY_SIZE(lane.calls));
    lane.calls[(lane.first + lane.n++) % ARRAY_SIZE(lane.calls)] = call;
    pthread_cond_signal(&lane.changed);
    pthread_mutex_unlock(&lane.lock);
}

static struct rpc_call *next_in_lane(void)
{
    struct rpc_call *call = NULL;

    pthread_mutex_lock(&lane.lock);
    while (lane.n == 0 && !lane.ends)
        pthread_cond_wait(&lane.changed, &lane.lock);
    if (lane.n > 0) {
        call = lane.calls[lane.first];
        lane.first = (lane.first + 1) % ARRAY_SIZE(lane.calls);
        lane.n--;
    }
    pthread_mutex_unlock(&lane.lock);
    return call;
}

static void *serve_lane(void *user UNUSED)
{
    text_message answer = TEXT("your turn");
    struct rpc_call *call;

    while ((call = next_in_lane()) != NULL) {
        nanosleep(&(struct timespec){.tv_nsec = 3 * NSEC_PER_MSEC}, NULL);
        rpc_reply(call, &answer.base);
    }
    return NULL;
}

static void end_lane(void)
{
    pthread_mutex_lock(&lane.lock);
    lane.ends = true;
    pthread_cond_signal(&lane.changed);
    pthread_mutex_unlock(&lane.lock);
    pthread_join(lane.thread, NULL);
}

#define CROWD 24

static struct {
    const char *method;
    const ProtobufCMessage *request;
    atomic_bool over;
    atomic_uint answered, refused, otherwise;
} crowd;

static int ask(struct client *client, const char *method, const ProtobufCMessage *request)
{
    struct client_call call;
    int code;

    client_request(client, &call, method, 60000, request);
    client_skip(&call);
    code = client_status(&call);
    client_end(&call);
    return code;
}

static void *ask_again_and_again(void *target)
{
    struct client client;

    client_open(&client, target);
    while (!atomic_load(&crowd.over)) {
        int code = ask(&client, crowd.method, crowd.request);

        atomic_fetch_add(code == RPC_OK                   ? &crowd.answered
                         : code == RPC_RESOURCE_EXHAUSTED ? &crowd.refused
                                                          : &crowd.otherwise,
                         1);
    }
    client_close(&client);
    return NULL;
}

static bool all_are_answered(struct client *client, const char *method,
                             const ProtobufCMessage *request)
{
    int n = 32;

    while (n > 0 && ask(client, method, request) == RPC_OK)
        n--;
    return n == 0;
}

static void start_crowd(pthread_t threads[CROWD], char *target, const char *method,
                        const ProtobufCMessage *request)
{
    crowd.method = method;
    crowd.request = request;
    atomic_store(&crowd.over, false);
    atomic_store(&crowd.answered, 0);
    atomic_store(&crowd.refused, 0);
    for (size_t i = 0; i < CROWD; i++)
        assert_int_equal(pthread_create(&threads[i], NULL, ask_again_and_again, target), 0);
    WAIT_UNTIL(atomic_load(&crowd.refused) > 100);
}

static void end_crowd(pthread_t threads[CROWD])
{
    atomic_store(&crowd.over, true);
    for (size_t i = 0; i < CROWD; i++)
        pthread_join(threads[i], NULL);
    assert_true(atomic_load(&crowd.answered) > 0);
    assert_int_equal(atomic_load(&crowd.otherwise), 0);
}

/* Until one of the test's own is refused. */
static void be_refused(struct client *client)
{
    text_message request = TEXT("x");
    struct client_call call;
    struct answer_details d;

    for (;;) {
        client_request(client, &call, ECHO "Say", 60000, &request.base);
        client_skip(&call);
        if (client_status(&call) == RPC_RESOURCE_EXHAUSTED)
            break;
        client_end(&call);
    }
    d = details_of(&call);
    assert_string_equal(d.error_info->reason, "OVERLOADED");
    assert_true(d.retry_info->retry_delay->seconds > 0);
    free_details(&d);
    client_end(&call);
}

/* More come than the service can answer, and stay: some are refused, the others answered; other
 * RPCs and health are as ever, and all is when the crowd has gone. */
static void test_calls_that_would_only_wait(void **state UNUSED)
{
    const struct rpc_handler handlers[] = UNARY_HANDLERS(line_up, publish_ok);
    text_message request = TEXT("x");
    pthread_t threads[CROWD];
    struct fixture f;

    lane.ends = false;
    assert_int_equal(pthread_create(&lane.thread, NULL, serve_lane, NULL), 0);
    fixture_start(&f, (struct rpc_server_options){.patience_ms = 1}, handlers, NULL);
    assert_true(all_are_answered(&f.client, ECHO "Say", &request.base));
    start_crowd(threads, f.target, ECHO "Say", &request.base);
    be_refused(&f.client);
    assert_int_equal(call_with_token(&f.client, ECHO "Publish", NULL, STR("")),
                     RPC_INVALID_ARGUMENT);
    assert_int_equal(call_with_token(&f.client, "/grpc.health.v1.Health/Check", NULL, STR("")), 0);
    end_crowd(threads);
    assert_true(all_are_answered(&f.client, ECHO "Say", &request.base));
    fixture_stop(&f);
    end_lane();
}

/* A crowd that asks for what is counted apart is refused; who asks the same RPC for something else
 * is not, though all are answered in one row. */
static void test_what_is_counted_apart(void **state UNUSED)
{
    const struct rpc_handler handlers[] = UNARY_HANDLERS(line_up, publish_ok);
    Stoa__Posts__V1__ListArticlesRequest list = STOA__POSTS__V1__LIST_ARTICLES_REQUEST__INIT,
                                         search = STOA__POSTS__V1__LIST_ARTICLES_REQUEST__INIT;
    pthread_t threads[CROWD];
    struct fixture f;

    search.q = (char *)"x";
    lane.ends = false;
    assert_int_equal(pthread_create(&lane.thread, NULL, serve_lane, NULL), 0);
    fixture_start(&f, (struct rpc_server_options){.patience_ms = 1}, handlers, NULL);
    assert_true(all_are_answered(&f.client, ECHO "List", &search.base));
    start_crowd(threads, f.target, ECHO "List", &search.base);
    assert_true(all_are_answered(&f.client, ECHO "List", &list.base));
    end_crowd(threads);
    fixture_stop(&f);
    end_lane();
}

/* One poller answers a call that is overdue while another one is about to run its handler. */
static void test_overdue_before_it_has_a_place(void **state UNUSED)
{
    struct in_flight in_flight = {0};
    struct rpc_method method = {.in_flight = &in_flight};
    struct rpc_call call = {.method = &method, .answered = true};

    in_flight_init(&in_flight, 1, NSEC_PER_SEC, 1);
    assert_true(count_place(&call, NULL));
    assert_int_equal(in_flight.open, 0);
    in_flight_free(&in_flight);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_calls_that_would_only_wait),
        cmocka_unit_test(test_overdue_before_it_has_a_place),
        cmocka_unit_test(test_what_is_counted_apart),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
