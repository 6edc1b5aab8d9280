/* lib/grpc: server, client and bidirectional streaming. */
#include "rpc_fixture.h"

static const ProtobufCMessageDescriptor *const text_type =
    &grpc__health__v1__health_check_request__descriptor;

static int send_text(struct rpc_call *call, const char *text)
{
    text_message message = TEXT(text);

    return rpc_stream_send(call, &message.base);
}

/* The next message must be this text; NULL: there must be none. */
static void expect_text(struct client_call *call, const char *text)
{
    text_message *message = client_receive(call, text_type);

    if (!text) {
        assert_null(message);
        return;
    }
    assert_non_null(message);
    assert_string_equal(message->service, text);
    protobuf_c_message_free_unpacked(&message->base, NULL);
}

/* What the service saw; written by handlers on poller threads. */
struct seen {
    struct rpc_call *_Atomic call;
    atomic_int opened, messages, half_closed, closed, refused, stop;
};

static struct seen seen;

static void forget(void)
{
    memset(&seen, 0, sizeof(seen));
}

/* The call that was opened last, with a reference: tests use it from their own thread. */
static void keep(struct rpc_call *call)
{
    struct rpc_call *old;

    if (call)
        rpc_call_ref(call);
    old = atomic_exchange(&seen.call, call);
    if (old)
        rpc_call_unref(old);
}

static void on_open(void *service UNUSED, struct rpc_call *call,
                    const ProtobufCMessage *request UNUSED)
{
    keep(call);
    atomic_fetch_add(&seen.opened, 1);
}

static void on_closed(void *service UNUSED, struct rpc_call *call)
{
    assert_true(rpc_call_cancelled(call) != NULL);
    atomic_fetch_add(&seen.closed, 1);
}

/* ---- handlers ---- */

/* Count: "3" answers "1", "2", "3". */
static void count(void *service UNUSED, struct rpc_call *call, const ProtobufCMessage *request)
{
    int n = atoi(((const text_message *)request)->service);
    char text[16];

    on_open(service, call, request);
    assert_int_equal(rpc_call_add_header(call, STR("x-count"), STR("yes")), 0);
    for (int i = 1; i <= n; i++) {
        snprintf(text, sizeof(text), "%d", i);
        assert_int_equal(send_text(call, text), 0);
    }
    if (n > 0) {
        assert_int_equal(rpc_call_add_header(call, STR("x-late"), STR("1")), -EALREADY);
        rpc_stream_finish(call, NULL);
        assert_int_equal(send_text(call, "too late"), -EPIPE);
    }
}

static const struct rpc_stream_handler count_handler = {.open = count, .closed = on_closed};

/* Join: answers the number of messages. */
static void join_message(void *service UNUSED, struct rpc_call *call UNUSED,
                         const ProtobufCMessage *message UNUSED)
{
    atomic_fetch_add(&seen.messages, 1);
}

static void join_half_close(void *service UNUSED, struct rpc_call *call)
{
    char text[16];
    text_message answer = TEXT(text);

    atomic_fetch_add(&seen.half_closed, 1);
    snprintf(text, sizeof(text), "%d", atomic_load(&seen.messages));
    rpc_reply(call, &answer.base);
}

static const struct rpc_stream_handler join_handler = {
    .open = on_open,
    .message = join_message,
    .half_close = join_half_close,
    .closed = on_closed,
};

/* Chat: sends every message back; "bye" ends the stream, "fail" ends it with an error. */
static void chat_message(void *service UNUSED, struct rpc_call *call,
                         const ProtobufCMessage *message)
{
    const char *text = ((const text_message *)message)->service;

    atomic_fetch_add(&seen.messages, 1);
    if (strcmp(text, "fail") == 0)
        rpc_fail(call, RPC_ABORTED, "as you wish");
    else if (rpc_stream_send(call, message) == 0 && strcmp(text, "bye") == 0)
        rpc_stream_finish(call, NULL);
}

static void chat_half_close(void *service UNUSED, struct rpc_call *call)
{
    atomic_fetch_add(&seen.half_closed, 1);
    rpc_stream_finish(call, NULL);
}

static const struct rpc_stream_handler chat_handler = {
    .open = on_open,
    .message = chat_message,
    .half_close = chat_half_close,
    .closed = on_closed,
};

static const struct rpc_handler stream_handlers[] = {
    {.method = "Say", .unary = say_back},          {.method = "Publish", .unary = publish_ok},
    {.method = "Count", .stream = &count_handler}, {.method = "Join", .stream = &join_handler},
    {.method = "Chat", .stream = &chat_handler},   {.method = "List", .unary = publish_ok},
};

static int start_streams(void **state)
{
    struct fixture *f = test_calloc(1, sizeof(*f));

    forget();
    fixture_start(f, (struct rpc_server_options){.max_stream_queue = 64}, stream_handlers, NULL);
    *state = f;
    return 0;
}

static int stop_streams(void **state)
{
    keep(NULL);
    fixture_stop(*state);
    assert_int_equal(atomic_load(&seen.opened), atomic_load(&seen.closed));
    test_free(*state);
    return 0;
}

/* ---- server streaming ---- */

static void test_count(void **state)
{
    struct fixture *f = *state;
    text_message request = TEXT("3");
    struct client_call call;

    client_request(&f->client, &call, ECHO "Count", 0, &request.base);
    expect_text(&call, "1");
    expect_text(&call, "2");
    expect_text(&call, "3");
    expect_text(&call, NULL);
    assert_int_equal(client_status(&call), 0);
    client_headers(&call);
    assert_true(str_eq(client_find(&call.headers, "x-count"), STR("yes")));
    client_end(&call);
    WAIT_UNTIL(atomic_load(&seen.closed) == 1);
}

/* The response headers come though nothing has been sent yet. */
static void test_early_headers(void **state)
{
    struct fixture *f = *state;
    text_message request = TEXT("0");
    struct client_call call;
    struct rpc_call *server_call;

    client_request(&f->client, &call, ECHO "Count", 0, &request.base);
    client_headers(&call);
    assert_true(str_eq(client_find(&call.headers, "x-count"), STR("yes")));
    server_call = atomic_load(&seen.call);
    assert_int_equal(send_text(server_call, "from another thread"), 0);
    expect_text(&call, "from another thread");
    rpc_stream_finish(server_call,
                      &(struct rpc_error){.code = RPC_ABORTED, .message = STR("enough")});
    expect_text(&call, NULL);
    assert_int_equal(client_status(&call), RPC_ABORTED);
    client_end(&call);
}

static void test_bad_request(void **state)
{
    struct fixture *f = *state;
    struct client_call call;

    client_request_bytes(&f->client, &call, ECHO "Count", 0, STR("\x0a\x09x"));
    assert_int_equal(client_status(&call), RPC_INVALID_ARGUMENT);
    client_end(&call);
    client_begin(&f->client, &call, ECHO "Count", 0, NULL, 0);
    client_half_close(&call);
    assert_int_equal(client_status(&call), RPC_UNIMPLEMENTED);
    client_end(&call);
    assert_int_equal(atomic_load(&seen.opened), 0);
}

static void test_caller_leaves(void **state)
{
    struct fixture *f = *state;
    text_message request = TEXT("0");
    struct client_call call;
    struct rpc_call *server_call;

    client_request(&f->client, &call, ECHO "Count", 0, &request.base);
    client_headers(&call);
    server_call = atomic_load(&seen.call);
    client_end(&call);
    WAIT_UNTIL(atomic_load(&seen.closed) == 1);
    assert_true(atomic_load(rpc_call_cancelled(server_call)));
    assert_int_equal(send_text(server_call, "anybody?"), -EPIPE);
}

static void test_stream_deadline(void **state)
{
    struct fixture *f = *state;
    text_message request = TEXT("0");
    struct client_call call;

    client_request(&f->client, &call, ECHO "Count", 200, &request.base);
    assert_int_equal(client_status(&call), RPC_DEADLINE_EXCEEDED);
    client_end(&call);
}

/* ---- a reader that does not read ---- */

/* Fills the stream until its queue is full; returns how many messages were taken. */
static int fill(struct rpc_call *call)
{
    char text[8192];
    int n = 0, r;

    memset(text, 'x', sizeof(text) - 1);
    text[sizeof(text) - 1] = '\0';
    while ((r = send_text(call, text)) == 0)
        n++;
    assert_int_equal(r, -ENOBUFS);
    return n;
}

static void test_slow_reader_is_bounded(void **state)
{
    struct fixture *f = *state;
    text_message request = TEXT("0");
    struct client_call call;
    struct rpc_call *server_call;
    int sent, received = 0;

    client_request(&f->client, &call, ECHO "Count", 0, &request.base);
    client_headers(&call);
    server_call = atomic_load(&seen.call);
    sent = fill(server_call);
    assert_true(sent >= 64);
    /* A reader that wakes up gets all that was taken, in order, and the stream lives on. */
    rpc_stream_finish(server_call, NULL);
    while (client_skip(&call))
        received++;
    assert_int_equal(received, sent);
    assert_int_equal(client_status(&call), 0);
    client_end(&call);
}

static void test_stuck_reader_is_cancelled(void **state)
{
    struct fixture *f = *state;
    text_message request = TEXT("0");
    struct client_call call;
    struct rpc_call *server_call;

    client_request(&f->client, &call, ECHO "Count", 0, &request.base);
    client_headers(&call);
    server_call = atomic_load(&seen.call);
    fill(server_call);
    rpc_stream_cancel(server_call, &(struct rpc_error){.code = RPC_RESOURCE_EXHAUSTED,
                                                       .message = STR("too slow")});
    WAIT_UNTIL(atomic_load(&seen.closed) == 1);
    while (client_skip(&call))
        ;
    assert_int_equal(client_status(&call), RPC_RESOURCE_EXHAUSTED);
    client_end(&call);
}

/* ---- messages that are packed once ---- */

/* A buffer's bytes are taken over, and freed when it has failed. */
static void test_packed_from_a_buffer(void **state)
{
    struct rpc_packed *packed;
    struct buf bytes;

    (void)state;
    buf_init(&bytes, 8);
    buf_append_str(&bytes, STR("12345678"));
    packed = rpc_packed_take(&bytes);
    assert_true(str_eq(rpc_packed_bytes(packed), STR("12345678")));
    assert_true(bytes.n == 0 && !bytes.p);
    rpc_packed_unref(packed);
    buf_append_str(&bytes, STR("1234567"));
    buf_append_str(&bytes, STR("89"));
    assert_null(rpc_packed_take(&bytes));
    assert_true(bytes.n == 0 && !bytes.p && !bytes.failed);
    packed = rpc_packed_take(&bytes);
    assert_int_equal(rpc_packed_bytes(packed).n, 0);
    rpc_packed_unref(packed);
}

/* Many references to the same bytes wait in a queue whose bounds the handler has set. */
static void test_packed_messages(void **state)
{
    struct fixture *f = *state;
    text_message request = TEXT("0"), large = TEXT(NULL);
    struct client_call call;
    struct rpc_call *server_call;
    struct rpc_packed *packed, *copy;
    size_t messages, bytes, sent = 0, received = 0;
    char text[8192];
    int r;

    memset(text, 'x', sizeof(text) - 1);
    text[sizeof(text) - 1] = '\0';
    large.service = text;
    packed = rpc_pack(&large.base);
    copy = rpc_packed_copy(rpc_packed_bytes(packed));
    client_request(&f->client, &call, ECHO "Count", 0, &request.base);
    client_headers(&call);
    server_call = atomic_load(&seen.call);
    rpc_stream_bound(server_call, 1000, 10 * rpc_packed_bytes(packed).n);
    while ((r = rpc_stream_send_packed(server_call, sent % 2 ? copy : packed)) == 0)
        sent++;
    assert_int_equal(r, -ENOBUFS);
    rpc_stream_waiting(server_call, &messages, &bytes);
    assert_int_equal(messages, 10);
    assert_int_equal(bytes, 10 * rpc_packed_bytes(packed).n);
    rpc_packed_unref(packed); /* the stream has references of its own */
    rpc_packed_unref(rpc_packed_ref(copy));
    rpc_packed_unref(copy);
    rpc_packed_unref(NULL);
    rpc_stream_finish(server_call, NULL);
    for (text_message *m; (m = client_receive(&call, text_type)); received++) {
        assert_string_equal(m->service, text);
        protobuf_c_message_free_unpacked(&m->base, NULL);
    }
    assert_int_equal(received, sent);
    assert_int_equal(client_status(&call), 0);
    client_end(&call);
}

/* One message may always wait, whatever its size. */
static void test_bound_below_a_message(void **state)
{
    struct fixture *f = *state;
    text_message request = TEXT("0");
    struct client_call call;
    struct rpc_call *server_call;

    client_request(&f->client, &call, ECHO "Count", 0, &request.base);
    client_headers(&call);
    server_call = atomic_load(&seen.call);
    rpc_stream_bound(server_call, 1, 1);
    assert_int_equal(send_text(server_call, "larger than a byte"), 0);
    expect_text(&call, "larger than a byte");
    rpc_stream_finish(server_call, NULL);
    assert_int_equal(client_status(&call), 0);
    client_end(&call);
}

static void test_cancel_idle_stream(void **state)
{
    struct fixture *f = *state;
    text_message request = TEXT("0");
    struct client_call call;

    client_request(&f->client, &call, ECHO "Count", 0, &request.base);
    client_headers(&call);
    rpc_stream_cancel(atomic_load(&seen.call), NULL);
    expect_text(&call, NULL);
    assert_int_equal(client_status(&call), RPC_CANCELLED);
    client_end(&call);
    WAIT_UNTIL(atomic_load(&seen.closed) == 1);
}

/* ---- client streaming ---- */

static void test_join(void **state)
{
    struct fixture *f = *state;
    text_message message = TEXT("x");
    struct client_call call;

    client_begin(&f->client, &call, ECHO "Join", 0, NULL, 0);
    for (int i = 0; i < 5; i++)
        assert_true(client_send(&call, &message.base));
    client_half_close(&call);
    expect_text(&call, "5");
    expect_text(&call, NULL);
    assert_int_equal(client_status(&call), 0);
    client_end(&call);
    assert_int_equal(atomic_load(&seen.half_closed), 1);
}

/* ---- bidi ---- */

static void test_chat_keeps_order(void **state)
{
    struct fixture *f = *state;
    struct client_call call;
    char text[16];

    client_begin(&f->client, &call, ECHO "Chat", 0, NULL, 0);
    for (int i = 0; i < 200; i++) {
        text_message message = TEXT(text);
        snprintf(text, sizeof(text), "%d", i);
        assert_true(client_send(&call, &message.base));
        if (i % 16 == 15) /* let some gather on the way */
            for (int j = i - 15; j <= i; j++) {
                snprintf(text, sizeof(text), "%d", j);
                expect_text(&call, text);
            }
    }
    client_half_close(&call);
    for (int j = 192; j < 200; j++) {
        snprintf(text, sizeof(text), "%d", j);
        expect_text(&call, text);
    }
    expect_text(&call, NULL);
    assert_int_equal(client_status(&call), 0);
    client_end(&call);
    WAIT_UNTIL(atomic_load(&seen.closed) == 1);
}

/* The server speaks first, and ends while the caller could still send. */
static void test_server_ends_chat(void **state)
{
    struct fixture *f = *state;
    text_message bye = TEXT("bye");
    struct client_call call;

    client_begin(&f->client, &call, ECHO "Chat", 0, NULL, 0);
    client_headers(&call);
    assert_int_equal(send_text(atomic_load(&seen.call), "welcome"), 0);
    expect_text(&call, "welcome");
    client_send(&call, &bye.base);
    expect_text(&call, "bye");
    expect_text(&call, NULL);
    assert_int_equal(client_status(&call), 0);
    client_end(&call);
    WAIT_UNTIL(atomic_load(&seen.closed) == 1);
    assert_int_equal(atomic_load(&seen.half_closed), 0);
}

static void test_chat_fails(void **state)
{
    struct fixture *f = *state;
    text_message message = TEXT("fail");
    struct client_call call;

    client_begin(&f->client, &call, ECHO "Chat", 0, NULL, 0);
    client_send(&call, &message.base);
    expect_text(&call, NULL);
    assert_int_equal(client_status(&call), RPC_ABORTED);
    client_end(&call);
    WAIT_UNTIL(atomic_load(&seen.closed) == 1);
}

static void test_bad_message_ends_chat(void **state)
{
    struct fixture *f = *state;
    text_message message = TEXT("fine");
    struct client_call call;

    client_begin(&f->client, &call, ECHO "Chat", 0, NULL, 0);
    client_send(&call, &message.base);
    expect_text(&call, "fine");
    client_send_bytes(&call, STR("\x0a\x01\xff"));
    expect_text(&call, NULL);
    assert_int_equal(client_status(&call), RPC_INVALID_ARGUMENT);
    client_end(&call);
    WAIT_UNTIL(atomic_load(&seen.closed) == 1);
    assert_int_equal(atomic_load(&seen.messages), 1);
}

static void test_cancel_is_no_half_close(void **state)
{
    struct fixture *f = *state;
    text_message message = TEXT("x");
    struct client_call call;

    client_begin(&f->client, &call, ECHO "Chat", 0, NULL, 0);
    client_send(&call, &message.base);
    expect_text(&call, "x");
    client_end(&call);
    WAIT_UNTIL(atomic_load(&seen.closed) == 1);
    assert_int_equal(atomic_load(&seen.half_closed), 0);
}

/* ---- many threads on one stream ---- */

#define SENDERS 8
#define SENDS 500

static void *sender(void *arg)
{
    struct rpc_call *call = arg;
    int sent = 0;

    while (sent < SENDS) {
        int r = send_text(call, "from one of many");
        if (r == 0)
            sent++;
        else
            assert_int_equal(r, -ENOBUFS);
    }
    rpc_call_unref(call);
    return NULL;
}

static void test_many_senders(void **state)
{
    struct fixture *f = *state;
    text_message request = TEXT("0");
    pthread_t threads[SENDERS];
    struct client_call call;
    struct rpc_call *server_call;

    client_request(&f->client, &call, ECHO "Count", 0, &request.base);
    client_headers(&call);
    server_call = atomic_load(&seen.call);
    for (size_t i = 0; i < SENDERS; i++) {
        rpc_call_ref(server_call);
        assert_int_equal(pthread_create(&threads[i], NULL, sender, server_call), 0);
    }
    for (int i = 0; i < SENDERS * SENDS; i++)
        expect_text(&call, "from one of many");
    for (size_t i = 0; i < SENDERS; i++)
        pthread_join(threads[i], NULL);
    rpc_stream_finish(server_call, NULL);
    expect_text(&call, NULL);
    assert_int_equal(client_status(&call), 0);
    client_end(&call);
}

/* Callers that come, talk and leave at any point, on several pollers. */
static void *visitor(void *arg)
{
    struct client client;
    unsigned seed = (unsigned)(uintptr_t)&client;

    client_open(&client, arg);
    for (int i = 0; i < 30; i++) {
        text_message message = TEXT(i % 3 ? "hello" : "bye");
        struct client_call call;
        int n = rand_r(&seed) % 4;
        client_begin(&client, &call, ECHO "Chat", 0, NULL, 0);
        for (int j = 0; j < n && client_send(&call, &message.base);)
            j++;
        if (n == 0 || rand_r(&seed) % 2)
            client_half_close(&call);
        if (rand_r(&seed) % 2)
            client_skip(&call);
        client_end(&call);
    }
    client_close(&client);
    return NULL;
}

/* Opens may still come while the server stops: nothing is kept. */
static void count_open(void *service UNUSED, struct rpc_call *call UNUSED,
                       const ProtobufCMessage *request UNUSED)
{
    atomic_fetch_add(&seen.opened, 1);
}

static void test_visitors(void **state UNUSED)
{
    const struct rpc_stream_handler chat = {
        .open = count_open,
        .message = chat_message,
        .half_close = chat_half_close,
        .closed = on_closed,
    };
    struct rpc_handler handlers[ARRAY_SIZE(stream_handlers)];
    pthread_t threads[16];
    struct fixture f;

    forget();
    memcpy(handlers, stream_handlers, sizeof(handlers));
    handlers[4].stream = &chat;
    fixture_start(&f, (struct rpc_server_options){.pollers = 3}, handlers, NULL);
    for (size_t i = 0; i < ARRAY_SIZE(threads); i++)
        assert_int_equal(pthread_create(&threads[i], NULL, visitor, f.target), 0);
    for (size_t i = 0; i < ARRAY_SIZE(threads); i++)
        pthread_join(threads[i], NULL);
    fixture_stop(&f);
    assert_int_equal(atomic_load(&seen.opened), atomic_load(&seen.closed));
}

#define STREAM_TEST(name) cmocka_unit_test_setup_teardown(name, start_streams, stop_streams)

int main(void)
{
    const struct CMUnitTest tests[] = {
        STREAM_TEST(test_count),
        STREAM_TEST(test_early_headers),
        STREAM_TEST(test_bad_request),
        STREAM_TEST(test_caller_leaves),
        STREAM_TEST(test_stream_deadline),
        STREAM_TEST(test_slow_reader_is_bounded),
        STREAM_TEST(test_stuck_reader_is_cancelled),
        cmocka_unit_test(test_packed_from_a_buffer),
        STREAM_TEST(test_packed_messages),
        STREAM_TEST(test_bound_below_a_message),
        STREAM_TEST(test_cancel_idle_stream),
        STREAM_TEST(test_join),
        STREAM_TEST(test_chat_keeps_order),
        STREAM_TEST(test_server_ends_chat),
        STREAM_TEST(test_chat_fails),
        STREAM_TEST(test_bad_message_ends_chat),
        STREAM_TEST(test_cancel_is_no_half_close),
        STREAM_TEST(test_many_senders),
        cmocka_unit_test(test_visitors),
    };

    return cmocka_run_group_tests_name("rpc streams", tests, NULL, NULL);
}
