/* lib/grpc: calls that come together on one stream (stoa.edge.v1.CallService), with a real client
 * over a unix socket that writes and reads the stream's messages. */
#include "rpc_fixture.h"

#include "google/rpc/status.pb-c.h"
#include "grpc/carry_wire.h"
#include "stoa/edge/v1/call.pb-c.h"

#define CARRY "/stoa.edge.v1.CallService/Carry"
#define MAX_CALLS 8
#define EDGES 4

typedef Stoa__Edge__V1__CarryResponse response_type;
typedef Stoa__Edge__V1__CarriedAnswer answer_type;

/* ---- handlers: what a text asks for ---- */

struct held {
    struct rpc_call *calls[MAX_CALLS];
    size_t n;
    pthread_mutex_t lock;
};

struct carry_fixture {
    struct fixture rpc;
    struct held held;
    struct client_call stream;
};

static void hold(struct held *held, struct rpc_call *call)
{
    pthread_mutex_lock(&held->lock);
    assert_true(held->n < MAX_CALLS);
    held->calls[held->n++] = call;
    pthread_mutex_unlock(&held->lock);
}

/* NULL: not yet. */
static struct rpc_call *held_call(struct held *held, size_t i)
{
    struct rpc_call *call;

    pthread_mutex_lock(&held->lock);
    call = i < held->n ? held->calls[i] : NULL;
    pthread_mutex_unlock(&held->lock);
    return call;
}

static void reply_text(struct rpc_call *call, struct str text)
{
    text_message answer = TEXT(text.p);

    rpc_reply(call, &answer.base);
}

static void reply_large(struct rpc_call *call, size_t size)
{
    char *text = malloc(size + 1);

    assert_non_null(text);
    memset(text, 'x', size);
    text[size] = '\0';
    reply_text(call, (struct str){text, size});
    free(text);
}

static void say_what_is_asked(void *service, struct rpc_call *call, const ProtobufCMessage *request)
{
    struct str text = str_of(((const text_message *)request)->service);

    if (str_eq(text, STR("hold"))) {
        hold(service, call);
    } else if (str_eq(text, STR("peer"))) {
        reply_text(call, rpc_call_peer(call));
    } else if (str_eq(text, STR("metadata"))) {
        reply_text(call, rpc_call_metadata(call, "x-test"));
    } else if (str_eq(text, STR("large"))) {
        reply_large(call, 3 * CARRY_PIECE_MAX);
    } else if (str_eq(text, STR("headers"))) {
        assert_int_equal(rpc_call_add_header(call, STR("x-initial"), STR("one")), 0);
        assert_int_equal(rpc_call_add_trailer(call, STR("x-raw-bin"), STR("\1\2")), 0);
        rpc_reply(call, request);
    } else if (str_eq(text, STR("fail"))) {
        rpc_fail_with(call, &(struct rpc_error){.code = RPC_NOT_FOUND,
                                                .message = STR("not here"),
                                                .reason = "NOT_HERE"});
    } else {
        rpc_reply(call, request);
    }
}

static void let_in(void *context UNUSED, struct rpc_call *call)
{
    if (str_eq(rpc_call_metadata(call, "authorization"), STR("Bearer good")))
        rpc_call_proceed(call);
    else
        rpc_fail(call, RPC_UNAUTHENTICATED, "who are you?");
}

static const struct rpc_handler handlers[] = UNARY_HANDLERS(say_what_is_asked, publish_ok);

static int start_with(void **state, struct rpc_server_options options)
{
    struct carry_fixture *f = test_calloc(1, sizeof(*f));

    pthread_mutex_init(&f->held.lock, NULL);
    fixture_start(&f->rpc, options, handlers, &f->held);
    client_begin(&f->rpc.client, &f->stream, CARRY, 0, NULL, 0);
    *state = f;
    return 0;
}

static int start(void **state)
{
    return start_with(state, (struct rpc_server_options){.authenticate = let_in});
}

static int start_small(void **state)
{
    return start_with(state, (struct rpc_server_options){.max_calls = 3});
}

static int start_few(void **state)
{
    return start_with(state, (struct rpc_server_options){.max_calls = 2 * EDGES});
}

static int start_impatient(void **state)
{
    return start_with(state, (struct rpc_server_options){.max_call_ms = 50});
}

static int start_narrow(void **state)
{
    return start_with(state,
                      (struct rpc_server_options){.max_request_bytes = CARRY_REQUEST_MAX - 1});
}

static int stop(void **state)
{
    struct carry_fixture *f = *state;

    client_end(&f->stream);
    fixture_stop(&f->rpc);
    pthread_mutex_destroy(&f->held.lock);
    test_free(f);
    return 0;
}

/* ---- the stream ---- */

struct ask {
    uint64_t id;
    const char *text; /* of Say */
    const char *method, *token, *metadata, *value;
    uint64_t timeout_ms;
};

static void put(struct buf *to, const struct ask *ask)
{
    text_message request = TEXT(ask->text);
    size_t n = protobuf_c_message_get_packed_size(&request.base);
    uint8_t bytes[64];
    size_t mark = carry_begin_call(to, ask->id, str_of(ask->method ? ask->method : ECHO "Say"));

    assert_true(n <= sizeof(bytes));
    protobuf_c_message_pack(&request.base, bytes);
    carry_put_metadata(to, STR("authorization"), str_of(ask->token ? ask->token : "Bearer good"));
    if (ask->metadata)
        carry_put_metadata(to, str_of(ask->metadata), str_of(ask->value));
    carry_end_call(to, mark, (struct str){(char *)bytes, n}, ask->timeout_ms);
}

static void send_asks(struct carry_fixture *f, const struct ask *asks, size_t n, uint64_t cancelled)
{
    struct buf wire;

    buf_init(&wire, 1 << 20);
    for (size_t i = 0; i < n; i++)
        put(&wire, &asks[i]);
    if (cancelled)
        carry_put_cancelled(&wire, cancelled);
    assert_int_equal(buf_error(&wire), 0);
    assert_true(client_send_bytes(&f->stream, buf_str(&wire)));
    buf_free(&wire);
}

#define ASK(f, ...) send_asks(f, &(struct ask){__VA_ARGS__}, 1, 0)

static response_type *receive(struct carry_fixture *f)
{
    return client_receive(&f->stream, &stoa__edge__v1__carry_response__descriptor);
}

static void release(response_type *response)
{
    stoa__edge__v1__carry_response__free_unpacked(response, NULL);
}

/* The one whole answer of the next message. */
static answer_type *receive_one(struct carry_fixture *f, response_type **ret)
{
    *ret = receive(f);
    assert_non_null(*ret);
    assert_int_equal((*ret)->n_answers, 1);
    assert_non_null((*ret)->answers[0]->end);
    return (*ret)->answers[0];
}

static void assert_text(const answer_type *answer, const char *wanted)
{
    text_message *text = (text_message *)protobuf_c_message_unpack(
        &grpc__health__v1__health_check_request__descriptor, NULL, answer->message.len,
        answer->message.data);

    assert_non_null(text);
    assert_string_equal(text->service, wanted);
    protobuf_c_message_free_unpacked(&text->base, NULL);
}

static void assert_says(struct carry_fixture *f, uint64_t id, const char *text)
{
    response_type *response;
    answer_type *answer = receive_one(f, &response);

    assert_int_equal(answer->id, id);
    assert_int_equal(answer->end->code, 0);
    assert_text(answer, text);
    release(response);
}

static void assert_fails(struct carry_fixture *f, uint64_t id, int code)
{
    response_type *response;
    answer_type *answer = receive_one(f, &response);

    assert_int_equal(answer->id, id);
    assert_int_equal(answer->end->code, code);
    assert_int_equal(answer->message.len, 0);
    release(response);
}

static void assert_refuses_stream(struct carry_fixture *f, int code)
{
    assert_null(receive(f));
    assert_int_equal(client_status(&f->stream), code);
}

/* ---- tests ---- */

static void answers_together(void **state)
{
    struct carry_fixture *f = *state;
    const struct ask asks[] = {
        {.id = 1, .text = "one"},
        {.id = 1000, .text = "two"},
        {.id = UINT64_MAX, .text = "three", .token = "Bearer bad"},
    };
    response_type *response;

    send_asks(f, asks, ARRAY_SIZE(asks), 0);
    response = receive(f);
    assert_non_null(response);
    assert_int_equal(response->n_answers, 3);
    assert_int_equal(response->answers[0]->id, 1);
    assert_text(response->answers[0], "one");
    assert_text(response->answers[1], "two");
    assert_int_equal(response->answers[1]->id, 1000);
    assert_int_equal(response->answers[2]->end->code, RPC_UNAUTHENTICATED);
    assert_string_equal(response->answers[2]->end->message, "who are you?");
    release(response);
}

static void knows_peer_and_metadata(void **state)
{
    struct carry_fixture *f = *state;

    ASK(f, .id = 1, .text = "metadata", .metadata = "x-test", .value = "a value");
    assert_says(f, 1, "a value");
    ASK(f, .id = 2, .text = "peer");
    assert_says(f, 2, "unix:");
}

static void carries_metadata_back(void **state)
{
    struct carry_fixture *f = *state;
    response_type *response;
    answer_type *answer;

    ASK(f, .id = 1, .text = "headers");
    answer = receive_one(f, &response);
    assert_int_equal(answer->n_metadata, 1);
    assert_string_equal(answer->metadata[0]->name, "x-initial");
    assert_string_equal(answer->metadata[0]->value, "one");
    assert_int_equal(answer->n_trailers, 1);
    assert_string_equal(answer->trailers[0]->name, "x-raw-bin");
    assert_string_equal(answer->trailers[0]->value, "AQI=");
    release(response);
}

static void carries_errors_back(void **state)
{
    struct carry_fixture *f = *state;
    Google__Rpc__Status *status;
    response_type *response;
    answer_type *answer;

    ASK(f, .id = 1, .text = "fail");
    answer = receive_one(f, &response);
    assert_int_equal(answer->end->code, RPC_NOT_FOUND);
    assert_string_equal(answer->end->message, "not here");
    status = google__rpc__status__unpack(NULL, answer->end->details.len, answer->end->details.data);
    assert_non_null(status);
    assert_int_equal(status->code, RPC_NOT_FOUND);
    assert_int_equal(status->n_details, 1);
    google__rpc__status__free_unpacked(status, NULL);
    release(response);
    /* The rules of the contract, as for any call; an empty CreateArticleRequest breaks some. */
    ASK(f, .id = 2, .text = "", .method = ECHO "Publish");
    assert_fails(f, 2, RPC_INVALID_ARGUMENT);
    ASK(f, .id = 3, .text = "", .method = ECHO "Nothing");
    assert_fails(f, 3, RPC_UNIMPLEMENTED);
    ASK(f, .id = 4, .text = "", .method = ECHO "Count");
    assert_fails(f, 4, RPC_UNIMPLEMENTED);
}

static void sends_large_answers_in_pieces(void **state)
{
    struct carry_fixture *f = *state;
    const struct ask asks[] = {{.id = 1, .text = "large"}, {.id = 2, .text = "small"}};
    size_t got = 0, size = 0, pieces = 0;
    bool small_came = false, ended = false;

    send_asks(f, asks, ARRAY_SIZE(asks), 0);
    while (!ended) {
        response_type *response = receive(f);

        assert_non_null(response);
        for (size_t i = 0; i < response->n_answers; i++) {
            const answer_type *answer = response->answers[i];

            if (answer->id == 2) {
                assert_text(answer, "small");
                small_came = true;
                continue;
            }
            assert_true(answer->message.len <= CARRY_PIECE_MAX);
            size = pieces++ ? size : answer->size;
            got += answer->message.len;
            ended = answer->end != NULL;
        }
        release(response);
    }
    assert_true(small_came); /* before the last piece of the large one */
    assert_int_equal(pieces, 4);
    assert_true(size > 3 * CARRY_PIECE_MAX);
    assert_int_equal(got, size);
}

static void ends_at_the_deadline(void **state)
{
    struct carry_fixture *f = *state;

    ASK(f, .id = 1, .text = "hold", .timeout_ms = 100000);
    ASK(f, .id = 2, .text = "hold", .timeout_ms = 20);
    assert_fails(f, 2, RPC_DEADLINE_EXCEEDED);
    WAIT_UNTIL(held_call(&f->held, 1));
    assert_false(atomic_load(rpc_call_cancelled(f->held.calls[0])));
    assert_true(atomic_load(rpc_call_cancelled(f->held.calls[1])));
    assert_true(rpc_call_deadline_ns(f->held.calls[1]) < rpc_call_deadline_ns(f->held.calls[0]));
    rpc_fail(f->held.calls[1], RPC_INTERNAL, "too late to be told");
    reply_text(f->held.calls[0], STR("in time"));
    assert_says(f, 1, "in time");
}

static void bounds_calls_without_a_deadline(void **state)
{
    struct carry_fixture *f = *state;

    ASK(f, .id = 1, .text = "hold");
    assert_fails(f, 1, RPC_DEADLINE_EXCEEDED);
    rpc_fail(held_call(&f->held, 0), RPC_INTERNAL, "too late to be told");
}

static void cancels(void **state)
{
    struct carry_fixture *f = *state;

    ASK(f, .id = 1, .text = "hold");
    WAIT_UNTIL(held_call(&f->held, 0));
    send_asks(f, &(struct ask){.id = 2, .text = "next"}, 1, 1);
    assert_says(f, 2, "next");
    WAIT_UNTIL(atomic_load(rpc_call_cancelled(held_call(&f->held, 0))));
    send_asks(f, NULL, 0, 77); /* nothing to it */
    reply_text(held_call(&f->held, 0), STR("to nobody"));
    ASK(f, .id = 3, .text = "last");
    assert_says(f, 3, "last");
}

static void cancels_calls_of_a_stream_that_ends(void **state)
{
    struct carry_fixture *f = *state;
    struct rpc_server_stats stats;

    ASK(f, .id = 1, .text = "hold");
    WAIT_UNTIL(held_call(&f->held, 0));
    client_cancel(&f->stream);
    WAIT_UNTIL(atomic_load(rpc_call_cancelled(held_call(&f->held, 0))));
    reply_text(held_call(&f->held, 0), STR("to nobody"));
    WAIT_UNTIL((rpc_server_stats(f->rpc.server, &stats), stats.active == 0));
}

static void refuses_more_than_max_calls(void **state)
{
    struct carry_fixture *f = *state;

    ASK(f, .id = 1, .text = "hold");
    ASK(f, .id = 2, .text = "hold"); /* the third in work is the stream */
    WAIT_UNTIL(held_call(&f->held, 1));
    ASK(f, .id = 3, .text = "one too many");
    assert_fails(f, 3, RPC_RESOURCE_EXHAUSTED);
    reply_text(f->held.calls[0], STR("done"));
    assert_says(f, 1, "done");
    reply_text(f->held.calls[1], STR("done"));
    assert_says(f, 2, "done");
    ASK(f, .id = 4, .text = "again");
    assert_says(f, 4, "again");
}

static void ends_when_the_edge_has_no_more(void **state)
{
    struct carry_fixture *f = *state;

    ASK(f, .id = 1, .text = "hold");
    assert_true(client_half_close(&f->stream));
    WAIT_UNTIL(held_call(&f->held, 0));
    reply_text(held_call(&f->held, 0), STR("last"));
    assert_says(f, 1, "last");
    assert_refuses_stream(f, RPC_OK);
}

static void *stop_server(void *arg)
{
    struct carry_fixture *f = arg;

    rpc_server_stop(f->rpc.server, CLIENT_WAIT_S * 1000);
    return NULL;
}

/* What came before the edge knew is refused so that it may ask elsewhere, and the rest is done. */
static void says_that_it_goes(void **state)
{
    struct carry_fixture *f = *state;
    response_type *response;
    answer_type *answer;
    pthread_t thread;

    ASK(f, .id = 1, .text = "hold");
    WAIT_UNTIL(held_call(&f->held, 0));
    assert_int_equal(pthread_create(&thread, NULL, stop_server, f), 0);
    response = receive(f);
    assert_non_null(response);
    assert_true(response->going);
    assert_int_equal(response->n_answers, 0);
    release(response);
    ASK(f, .id = 2, .text = "did not know");
    answer = receive_one(f, &response);
    assert_int_equal(answer->end->code, RPC_UNAVAILABLE);
    assert_int_equal(answer->n_trailers, 1);
    assert_string_equal(answer->trailers[0]->name, "grpc-retry-pushback-ms");
    release(response);
    assert_true(client_half_close(&f->stream));
    reply_text(held_call(&f->held, 0), STR("done"));
    assert_says(f, 1, "done");
    assert_refuses_stream(f, RPC_OK);
    pthread_join(thread, NULL);
}

static void refuses_an_id_twice(void **state)
{
    struct carry_fixture *f = *state;

    ASK(f, .id = 1, .text = "hold");
    WAIT_UNTIL(held_call(&f->held, 0));
    ASK(f, .id = 1, .text = "hold");
    assert_refuses_stream(f, RPC_INVALID_ARGUMENT);
    WAIT_UNTIL(atomic_load(rpc_call_cancelled(held_call(&f->held, 0))));
    reply_text(held_call(&f->held, 0), STR("to nobody"));
}

static void refuses_no_id(void **state)
{
    ASK(*state, .id = 0, .text = "hello");
    assert_refuses_stream(*state, RPC_INVALID_ARGUMENT);
}

static void refuses_what_is_no_header(void **state)
{
    ASK(*state, .id = 1, .text = "hello", .metadata = "x-test", .value = "two\nlines");
    assert_refuses_stream(*state, RPC_INVALID_ARGUMENT);
}

static void refuses_more_calls_than_an_edge_has(void **state)
{
    struct carry_fixture *f = *state;
    struct ask *asks = test_calloc(2 * CARRY_CALLS_MAX + 1, sizeof(*asks));

    for (size_t i = 0; i < 2 * CARRY_CALLS_MAX + 1; i++)
        asks[i] = (struct ask){.id = i + 1, .text = "hello"};
    send_asks(f, asks, 2 * CARRY_CALLS_MAX + 1, 0);
    assert_refuses_stream(f, RPC_RESOURCE_EXHAUSTED);
    test_free(asks);
}

static void ask_for_nothing(struct client_call *stream, uint64_t *id, size_t n)
{
    char method[256];
    struct buf wire;

    memset(method, 'x', sizeof(method));
    method[0] = '/';
    buf_init(&wire, 4 << 20);
    for (size_t i = 0; i < n; i++) {
        size_t mark = carry_begin_call(&wire, ++*id, (struct str){method, sizeof(method)});

        carry_end_call(&wire, mark, STR_NULL, 0);
    }
    assert_int_equal(buf_error(&wire), 0);
    (void)client_send_bytes(stream, buf_str(&wire));
    buf_free(&wire);
}

/* All that a stream that was asked for `asked` calls is answered; returns whether it was ended. */
static bool read_all(struct client_call *stream, size_t asked)
{
    response_type *response;

    while (asked > 0) {
        response = client_receive(stream, &stoa__edge__v1__carry_response__descriptor);
        if (!response)
            return true;
        asked -= response->n_answers;
        release(response);
    }
    return false;
}

/* Edges that do not read what they are answered: refused calls are not in work, and yet there is an
 * end to them, over all streams. Who asks for more then loses its stream. */
static void bounds_what_nobody_reads(void **state)
{
    struct carry_fixture *f = *state;
    struct client_call edges[EDGES];
    size_t ended = 0;
    uint64_t id = 0;

    /* Some hundred answers are on their way, more than a stream takes; the others wait. */
    for (size_t i = 0; i < EDGES; i++) {
        client_begin(&f->rpc.client, &edges[i], CARRY, 0, NULL, 0);
        for (int k = 0; k < 2; k++)
            ask_for_nothing(&edges[i], &id, CARRY_CALLS_MAX);
    }
    for (size_t i = 0; i < EDGES; i++) {
        if (read_all(&edges[i], (size_t)2 * CARRY_CALLS_MAX)) {
            assert_int_equal(client_status(&edges[i]), RPC_RESOURCE_EXHAUSTED);
            ended++;
        }
        client_end(&edges[i]);
    }
    assert_in_range(ended, 1, EDGES - 1);
}

/* Callers with and without a carrier at once; the two ways share all that a server has. */
static void serves_both_ways(void **state)
{
    struct carry_fixture *f = *state;
    char text[32];

    for (uint64_t i = 1; i <= 200; i++) {
        ASK(f, .id = i, .text = "carried");
        assert_int_equal(say(&f->rpc.client, "by itself", 0, text, sizeof(text)),
                         RPC_UNAUTHENTICATED);
        assert_says(f, i, "carried");
    }
}

/* ---- several pollers, and other threads ---- */

#define CROWD 2000 /* fewer than may wait */
#define IN_A_MESSAGE 20

/* Lets calls in and answers them, in a thread of its own. */
struct elsewhere {
    struct errand {
        struct rpc_call *call;
        bool proceed;
        int64_t not_before_ns;
    } errands[2 * CROWD + 1]; /* the last one has no call: that is all */
    size_t n, done;
    pthread_mutex_t lock;
    pthread_cond_t more;
    pthread_t thread;
};

static struct elsewhere elsewhere;

static void do_elsewhere(struct errand errand)
{
    pthread_mutex_lock(&elsewhere.lock);
    assert_true(elsewhere.n < ARRAY_SIZE(elsewhere.errands));
    elsewhere.errands[elsewhere.n++] = errand;
    pthread_cond_signal(&elsewhere.more);
    pthread_mutex_unlock(&elsewhere.lock);
}

static struct errand next_errand(void)
{
    struct errand errand;

    pthread_mutex_lock(&elsewhere.lock);
    while (elsewhere.done == elsewhere.n)
        pthread_cond_wait(&elsewhere.more, &elsewhere.lock);
    errand = elsewhere.errands[elsewhere.done++];
    pthread_mutex_unlock(&elsewhere.lock);
    return errand;
}

static void *run_errands(void *arg UNUSED)
{
    struct errand errand;

    while ((errand = next_errand()).call) {
        if (errand.proceed) {
            rpc_call_proceed(errand.call);
        } else {
            while (clock_monotonic_ns() < errand.not_before_ns)
                ;
            reply_text(errand.call, STR("later"));
        }
    }
    return NULL;
}

static void let_in_elsewhere(void *context UNUSED, struct rpc_call *call)
{
    do_elsewhere((struct errand){.call = call, .proceed = true});
}

static void say_now_or_later(void *service UNUSED, struct rpc_call *call,
                             const ProtobufCMessage *request)
{
    struct str text = str_of(((const text_message *)request)->service);

    if (str_eq(text, STR("later")))
        do_elsewhere((struct errand){.call = call});
    else if (str_eq(text, STR("when time is up")))
        do_elsewhere((struct errand){.call = call, .not_before_ns = rpc_call_deadline_ns(call)});
    else
        rpc_reply(call, request);
}

static const struct rpc_handler crowd_handlers[] = UNARY_HANDLERS(say_now_or_later, publish_ok);

static int start_crowd(void **state)
{
    struct carry_fixture *f = test_calloc(1, sizeof(*f));

    elsewhere =
        (struct elsewhere){.lock = PTHREAD_MUTEX_INITIALIZER, .more = PTHREAD_COND_INITIALIZER};
    assert_int_equal(pthread_create(&elsewhere.thread, NULL, run_errands, NULL), 0);
    pthread_mutex_init(&f->held.lock, NULL);
    fixture_start(&f->rpc,
                  (struct rpc_server_options){
                      .pollers = 3, .patience_ms = 60000, .authenticate = let_in_elsewhere},
                  crowd_handlers, NULL);
    client_begin(&f->rpc.client, &f->stream, CARRY, 0, NULL, 0);
    *state = f;
    return 0;
}

static int stop_crowd(void **state)
{
    do_elsewhere((struct errand){.call = NULL});
    pthread_join(elsewhere.thread, NULL);
    return stop(state);
}

static bool has_time(uint64_t id)
{
    return id % 3 != 0;
}

static void send_crowd(struct carry_fixture *f)
{
    for (uint64_t first = 1; first <= CROWD; first += IN_A_MESSAGE) {
        struct ask asks[IN_A_MESSAGE];

        for (uint64_t i = 0; i < IN_A_MESSAGE; i++)
            asks[i] = (struct ask){
                .id = first + i,
                .text = i % 2 ? "later" : "now",
                .timeout_ms = has_time(first + i) ? 0 : 1,
            };
        send_asks(f, asks, IN_A_MESSAGE, first);
    }
    assert_true(client_half_close(&f->stream));
}

static void judge_timed(const answer_type *answer, unsigned *times)
{
    assert_in_range(answer->id, 1, CROWD);
    assert_non_null(answer->end);
    if (answer->end->code != RPC_OK)
        assert_int_equal(answer->end->code, RPC_DEADLINE_EXCEEDED);
    times[answer->id]++;
}

static void judge(const answer_type *answer, unsigned *times)
{
    judge_timed(answer, times);
    if (has_time(answer->id))
        assert_int_equal(answer->end->code, RPC_OK);
}

/* Each call is answered once, or was cancelled, whoever lets it in, runs it, answers it and watches
 * its time; and then nothing is left. */
static void serves_a_crowd(void **state)
{
    struct carry_fixture *f = *state;
    unsigned times[CROWD + 1] = {0};
    struct rpc_server_stats stats;
    response_type *response;

    send_crowd(f);
    while ((response = receive(f))) {
        for (size_t i = 0; i < response->n_answers; i++)
            judge(response->answers[i], times);
        release(response);
    }
    assert_int_equal(client_status(&f->stream), RPC_OK);
    for (size_t id = 1; id <= CROWD; id++)
        assert_in_range(times[id], id % IN_A_MESSAGE == 1 ? 0 : 1, 1);
    WAIT_UNTIL((rpc_server_stats(f->rpc.server, &stats), stats.active == 0));
}

/* A handler answers at the moment at which the runtime does: one of them is heard, and the call is
 * let go of once. */
static void ends_calls_when_their_time_is_up(void **state)
{
    struct carry_fixture *f = *state;
    unsigned times[CROWD + 1] = {0};

    for (uint64_t first = 1; first <= CROWD; first += IN_A_MESSAGE) {
        struct ask asks[IN_A_MESSAGE];
        size_t left = IN_A_MESSAGE;

        for (uint64_t i = 0; i < IN_A_MESSAGE; i++)
            asks[i] =
                (struct ask){.id = first + i, .text = "when time is up", .timeout_ms = 2 + i % 2};
        send_asks(f, asks, IN_A_MESSAGE, 0);
        while (left > 0) {
            response_type *response = receive(f);

            assert_non_null(response);
            for (size_t i = 0; i < response->n_answers; i++)
                judge_timed(response->answers[i], times);
            left -= response->n_answers;
            release(response);
        }
    }
    for (size_t id = 1; id <= CROWD; id++)
        assert_int_equal(times[id], 1);
}

static void is_not_offered_where_messages_are_small(void **state)
{
    assert_refuses_stream(*state, RPC_UNIMPLEMENTED);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(answers_together, start, stop),
        cmocka_unit_test_setup_teardown(knows_peer_and_metadata, start, stop),
        cmocka_unit_test_setup_teardown(carries_metadata_back, start, stop),
        cmocka_unit_test_setup_teardown(carries_errors_back, start, stop),
        cmocka_unit_test_setup_teardown(sends_large_answers_in_pieces, start, stop),
        cmocka_unit_test_setup_teardown(ends_at_the_deadline, start, stop),
        cmocka_unit_test_setup_teardown(bounds_calls_without_a_deadline, start_impatient, stop),
        cmocka_unit_test_setup_teardown(cancels, start, stop),
        cmocka_unit_test_setup_teardown(cancels_calls_of_a_stream_that_ends, start, stop),
        cmocka_unit_test_setup_teardown(refuses_more_than_max_calls, start_small, stop),
        cmocka_unit_test_setup_teardown(ends_when_the_edge_has_no_more, start, stop),
        cmocka_unit_test_setup_teardown(says_that_it_goes, start, stop),
        cmocka_unit_test_setup_teardown(refuses_an_id_twice, start, stop),
        cmocka_unit_test_setup_teardown(refuses_no_id, start, stop),
        cmocka_unit_test_setup_teardown(refuses_what_is_no_header, start, stop),
        cmocka_unit_test_setup_teardown(refuses_more_calls_than_an_edge_has, start, stop),
        cmocka_unit_test_setup_teardown(bounds_what_nobody_reads, start_few, stop),
        cmocka_unit_test_setup_teardown(serves_both_ways, start, stop),
        cmocka_unit_test_setup_teardown(serves_a_crowd, start_crowd, stop_crowd),
        cmocka_unit_test_setup_teardown(ends_calls_when_their_time_is_up, start_crowd, stop_crowd),
        cmocka_unit_test_setup_teardown(is_not_offered_where_messages_are_small, start_narrow,
                                        stop),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
