/* lib/grpc/client.h: unary calls and streams of a blocking client, against a server of lib/grpc. */
#include "grpc/client.h"
#include "rpc_certificates.h"
#include "rpc_fixture.h"

/* ---- the server's side ---- */

/* Answers with the metadata "x-say", and puts the request's text into a header. */
static void say_metadata(void *service UNUSED, struct rpc_call *call,
                         const ProtobufCMessage *request)
{
    const text_message *text = (const text_message *)request;
    struct str said = rpc_call_metadata(call, "x-say");
    char copy[64];
    text_message answer = TEXT(copy);

    snprintf(copy, sizeof(copy), "%.*s", STR_FMT(said));
    if (strcmp(text->service, "fail") == 0) {
        rpc_fail_with(call, &(struct rpc_error){.code = RPC_RESOURCE_EXHAUSTED,
                                                .message = STR("not so fast"),
                                                .reason = "TOO_FAST",
                                                .retry_after_ms = 1500});
        return;
    }
    assert_int_equal(rpc_call_add_header(call, STR("x-heard"), str_of(text->service)), 0);
    rpc_reply(call, &answer.base);
}

/* Count "3" says 1, 2, 3; "wait" says nothing and stays open. */
static void count_open(void *service UNUSED, struct rpc_call *call, const ProtobufCMessage *request)
{
    const char *text = ((const text_message *)request)->service;

    if (strcmp(text, "wait") == 0)
        return;
    for (int i = 1; i <= atoi(text); i++) {
        char number[12];
        text_message message = TEXT(number);

        snprintf(number, sizeof(number), "%d", i);
        assert_int_equal(rpc_stream_send(call, &message.base), 0);
    }
    rpc_stream_finish(call, NULL);
}

static void chat_open(void *service UNUSED, struct rpc_call *call UNUSED,
                      const ProtobufCMessage *request UNUSED)
{
}

/* Chat gives everything back; "end" ends it with an error. */
static void chat_message(void *service UNUSED, struct rpc_call *call,
                         const ProtobufCMessage *message)
{
    if (strcmp(((const text_message *)message)->service, "end") == 0)
        rpc_stream_finish(
            call,
            &(struct rpc_error){.code = RPC_ABORTED, .message = STR("enough"), .reason = "ENOUGH"});
    else
        assert_int_equal(rpc_stream_send(call, message), 0);
}

static const struct rpc_stream_handler count = {.open = count_open, .message = ignore_message};
static const struct rpc_stream_handler chat = {.open = chat_open, .message = chat_message};
static const struct rpc_handler handlers[] = {
    {.method = "Say", .unary = say_metadata}, {.method = "Publish", .unary = publish_ok},
    {.method = "Count", .stream = &count},    {.method = "Join", .stream = &finish_at_once},
    {.method = "Chat", .stream = &chat},      {.method = "List", .unary = publish_ok},
};

/* ---- a client ---- */

struct both {
    struct fixture server;
    struct arena arena;
    struct rpc_client *client;
};

static int setup(void **state)
{
    static struct both b;
    struct rpc_client_options options = {.user_agent = "test/1", .max_response_bytes = 1 << 16};
    struct str error;

    fixture_start(&b.server, (struct rpc_server_options){.pollers = 1}, handlers, NULL);
    arena_init(&b.arena, 0);
    options.schema = b.server.schema;
    options.address = b.server.target;
    assert_int_equal(rpc_client_new(&options, &b.arena, &b.client, &error), 0);
    *state = &b;
    return 0;
}

static int teardown(void **state)
{
    struct both *b = *state;

    rpc_client_free(b->client);
    arena_free(&b->arena);
    fixture_stop(&b->server);
    return 0;
}

static struct rpc_answer call(struct both *b, const char *method, const ProtobufCMessage *message,
                              int64_t timeout_ms)
{
    static const struct rpc_pair metadata[] = {{{"x-say", 5}, {"hello", 5}}};
    struct rpc_request request = {&echo_descriptor, method, message, metadata, 1, timeout_ms};
    struct rpc_answer answer;

    assert_int_equal(rpc_client_call(b->client, &request, &b->arena, &answer), 0);
    return answer;
}

static const char *text_of(const struct rpc_answer *answer)
{
    assert_non_null(answer->response);
    return ((const text_message *)answer->response)->service;
}

/* ---- unary ---- */

static void test_answer(void **state)
{
    text_message request = TEXT("question");
    struct rpc_answer answer = call(*state, "Say", &request.base, 60000);

    assert_int_equal(answer.code, RPC_OK);
    assert_string_equal(text_of(&answer), "hello");
    assert_true(str_eq(rpc_answer_header(&answer, "x-heard"), STR("question")));
    assert_null(rpc_answer_header(&answer, "x-other").p);
    assert_int_equal(answer.bytes.n, 7); /* tag, length, "hello" */
}

static void test_forbidden_metadata(void **state)
{
    static const struct rpc_pair metadata[] = {{{"x-say", 5}, {"a\nb", 3}}};
    text_message message = TEXT("x");
    struct rpc_request request = {&echo_descriptor, "Say", &message.base, metadata, 1, 60000};
    struct rpc_client_stream *stream;
    struct rpc_answer answer;
    struct both *b = *state;

    assert_int_equal(rpc_client_call(b->client, &request, &b->arena, &answer), 0);
    assert_int_equal(answer.code, RPC_INVALID_ARGUMENT);
    request.method = "Count";
    assert_int_equal(rpc_client_open(b->client, &request, &stream), -EINVAL);
}

static void test_error_details(void **state)
{
    text_message request = TEXT("fail");
    struct rpc_answer answer = call(*state, "Say", &request.base, 60000);

    assert_int_equal(answer.code, RPC_RESOURCE_EXHAUSTED);
    assert_true(str_eq(answer.message, STR("not so fast")));
    assert_true(answer.by_peer);
    assert_string_equal(answer.reason, "TOO_FAST");
    assert_int_equal(answer.retry_after_ms, 1500);
    assert_null(answer.response);
}

static void test_violations(void **state)
{
    Stoa__Posts__V1__CreateArticleRequest__NewArticle article =
        STOA__POSTS__V1__CREATE_ARTICLE_REQUEST__NEW_ARTICLE__INIT;
    Stoa__Posts__V1__CreateArticleRequest request = STOA__POSTS__V1__CREATE_ARTICLE_REQUEST__INIT;
    struct rpc_answer answer;

    request.article = &article;
    answer = call(*state, "Publish", &request.base, 60000);
    assert_int_equal(answer.code, RPC_INVALID_ARGUMENT);
    assert_int_equal(answer.n_violations, 3);
    assert_true(str_eq(answer.violations[0].path, STR("article.title")));
    assert_true(answer.violations[0].message.n > 0);
}

static void test_too_large(void **state)
{
    char *text = calloc(1, (1 << 16) + 2);
    struct rpc_request request = {.service = &echo_descriptor, .method = "Chat"};
    text_message message = TEXT(text);
    struct both *b = *state;
    struct rpc_client_stream *stream;
    struct rpc_answer answer;

    assert_non_null(text);
    memset(text, 'x', (1 << 16) + 1);
    assert_int_equal(rpc_client_open(b->client, &request, &stream), 0);
    assert_int_equal(rpc_client_send(stream, &message.base), 0);
    assert_int_equal(rpc_client_receive(stream, 60000, &b->arena, &answer), -EPIPE);
    assert_int_equal(answer.code, RPC_RESOURCE_EXHAUSTED);
    assert_false(answer.by_peer);
    rpc_client_close(stream);
    free(text);
}

static void test_unreachable(void **state)
{
    struct both *b = *state;
    struct rpc_client_options options = {
        .schema = b->server.schema, .address = "unix:/nowhere/at/all", .user_agent = "test/1"};
    struct both other = {.arena = b->arena};
    text_message message = TEXT("x");
    struct rpc_request request = {.service = &echo_descriptor, .method = "Count"};
    struct rpc_client_stream *stream;
    struct rpc_answer answer;
    struct str error;

    assert_int_equal(rpc_client_new(&options, &other.arena, &other.client, &error), 0);
    answer = call(&other, "Say", &message.base, 60000);
    assert_int_equal(answer.code, RPC_UNAVAILABLE);
    assert_false(answer.by_peer);
    request.message = &message.base;
    assert_int_equal(rpc_client_open(other.client, &request, &stream), 0);
    assert_int_equal(rpc_client_receive(stream, 60000, &other.arena, &answer), -EPIPE);
    assert_int_equal(answer.code, RPC_UNAVAILABLE);
    rpc_client_close(stream);
    rpc_client_free(other.client);
    b->arena = other.arena;
}

/* ---- streams ---- */

static void test_count(void **state)
{
    struct both *b = *state;
    text_message message = TEXT("3");
    struct rpc_request request = {
        .service = &echo_descriptor, .method = "Count", .message = &message.base};
    static const char *const numbers[] = {"1", "2", "3"};
    struct rpc_client_stream *stream;
    struct rpc_answer answer;

    assert_int_equal(rpc_client_open(b->client, &request, &stream), 0);
    for (size_t i = 0; i < ARRAY_SIZE(numbers); i++) {
        assert_int_equal(rpc_client_receive(stream, -1, &b->arena, &answer), 0);
        assert_string_equal(text_of(&answer), numbers[i]);
    }
    assert_int_equal(rpc_client_receive(stream, -1, &b->arena, &answer), -EPIPE);
    assert_int_equal(answer.code, RPC_OK);
    /* Asked again it says the same. */
    assert_int_equal(rpc_client_receive(stream, -1, &b->arena, &answer), -EPIPE);
    assert_int_equal(answer.code, RPC_OK);
    rpc_client_close(stream);
}

static void test_chat(void **state)
{
    struct both *b = *state;
    struct rpc_request request = {.service = &echo_descriptor, .method = "Chat"};
    struct rpc_client_stream *stream;
    text_message message = TEXT("one"), end = TEXT("end");
    struct rpc_answer answer;

    assert_int_equal(rpc_client_open(b->client, &request, &stream), 0);
    assert_int_equal(rpc_client_receive(stream, 1, &b->arena, &answer), -EAGAIN);
    assert_int_equal(rpc_client_send(stream, &message.base), 0);
    assert_int_equal(rpc_client_receive(stream, -1, &b->arena, &answer), 0);
    assert_string_equal(text_of(&answer), "one");
    assert_int_equal(rpc_client_send(stream, &end.base), 0);
    assert_int_equal(rpc_client_receive(stream, -1, &b->arena, &answer), -EPIPE);
    assert_int_equal(answer.code, RPC_ABORTED);
    assert_string_equal(answer.reason, "ENOUGH");
    assert_int_equal(rpc_client_send(stream, &message.base), -EPIPE);
    rpc_client_close(stream);
}

static void *cancel(void *stream)
{
    rpc_client_cancel(stream);
    return NULL;
}

static void test_cancel(void **state)
{
    struct both *b = *state;
    text_message message = TEXT("wait");
    struct rpc_request request = {
        .service = &echo_descriptor, .method = "Count", .message = &message.base};
    struct rpc_client_stream *stream;
    struct rpc_answer answer;
    pthread_t thread;

    assert_int_equal(rpc_client_open(b->client, &request, &stream), 0);
    assert_int_equal(pthread_create(&thread, NULL, cancel, stream), 0);
    assert_int_equal(rpc_client_receive(stream, -1, &b->arena, &answer), -EPIPE);
    assert_int_equal(answer.code, RPC_CANCELLED);
    pthread_join(thread, NULL);
    rpc_client_close(stream);
    /* One that still receives when it is closed. */
    assert_int_equal(rpc_client_open(b->client, &request, &stream), 0);
    assert_int_equal(rpc_client_receive(stream, 1, &b->arena, &answer), -EAGAIN);
    rpc_client_close(stream);
    /* And one with a deadline. */
    request.timeout_ms = 20;
    assert_int_equal(rpc_client_open(b->client, &request, &stream), 0);
    assert_int_equal(rpc_client_receive(stream, -1, &b->arena, &answer), -EPIPE);
    assert_int_equal(answer.code, RPC_DEADLINE_EXCEEDED);
    rpc_client_close(stream);
}

/* ---- TLS ---- */

static void test_tls(void **state UNUSED)
{
    struct test_identity ca = make_identity("ca", 1, NULL), own = make_identity("x", 2, &ca),
                         other = make_identity("other ca", 3, NULL);
    char folder[] = "/tmp/stoa-rpc-XXXXXX", files[4][64], address[32];
    struct rpc_tls tls = {files[0], files[1], NULL};
    struct rpc_server_options server_options = {.pollers = 1};
    struct rpc_client_options options = {
        .address = address, .user_agent = "test/1", .tls = true, .ca_file = files[2]};
    struct both b = {.client = NULL};
    text_message message = TEXT("x");
    struct rpc_server *server;
    struct str error;
    int port;

    assert_non_null(mkdtemp(folder));
    for (size_t i = 0; i < ARRAY_SIZE(files); i++)
        snprintf(files[i], sizeof(files[i]), "%s/%zu", folder, i);
    write_certificate(&own, files[0]);
    write_key(&own, files[1]);
    write_certificate(&ca, files[2]);
    write_certificate(&other, files[3]);
    options.schema = server_options.schema = load_echo_schema();
    assert_int_equal(rpc_server_new(&server_options, &server), 0);
    assert_int_equal(
        rpc_server_add(server, &echo_descriptor, handlers, ARRAY_SIZE(handlers), NULL, &error), 0);
    assert_int_equal(rpc_server_listen(server, "127.0.0.1:0", &tls, 0, &port, &error), 0);
    assert_int_equal(rpc_server_start(server), 0);
    snprintf(address, sizeof(address), "localhost:%d", port);
    arena_init(&b.arena, 0);

    assert_int_equal(rpc_client_new(&options, &b.arena, &b.client, &error), 0);
    assert_int_equal(call(&b, "Say", &message.base, 60000).code, RPC_OK);
    rpc_client_free(b.client);

    options.ca_file = files[3];
    assert_int_equal(rpc_client_new(&options, &b.arena, &b.client, &error), 0);
    assert_int_equal(call(&b, "Say", &message.base, 60000).code, RPC_UNAVAILABLE);
    rpc_client_free(b.client);

    options.ca_file = "/nowhere";
    assert_int_equal(rpc_client_new(&options, &b.arena, &b.client, &error), -EINVAL);
    assert_true(str_eq(error, STR("cannot read /nowhere: No such file or directory")));

    rpc_server_stop(server, 10000);
    rpc_server_free(server);
    schema_free((struct schema *)options.schema);
    arena_free(&b.arena);
    for (size_t i = 0; i < ARRAY_SIZE(files); i++)
        unlink(files[i]);
    rmdir(folder);
    free_identity(&ca);
    free_identity(&own);
    free_identity(&other);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_answer),        cmocka_unit_test(test_forbidden_metadata),
        cmocka_unit_test(test_error_details), cmocka_unit_test(test_violations),
        cmocka_unit_test(test_too_large),     cmocka_unit_test(test_unreachable),
        cmocka_unit_test(test_count),         cmocka_unit_test(test_chat),
        cmocka_unit_test(test_cancel),        cmocka_unit_test(test_tls),
    };

    setenv("GRPC_DNS_RESOLVER", "native", 0); /* c-ares 1.18 loses the bytes of "localhost" */
    return cmocka_run_group_tests(tests, setup, teardown);
}
