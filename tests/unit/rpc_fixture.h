/* A server with a contract of its own for tests of lib/grpc: service stoa.test.v1.Echo, described
 * at run time and added to the suite's descriptor set. Its messages are borrowed: the text travels
 * in HealthCheckRequest.service, Publish takes a CreateArticleRequest for its rules, and List a
 * ListArticlesRequest for its `q`, which is counted apart. */
#ifndef STOA_TESTS_RPC_FIXTURE_H
#define STOA_TESTS_RPC_FIXTURE_H

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "base/buf.h"
#include "google/protobuf/descriptor.pb-c.h"
#include "grpc/health/v1/health.pb-c.h"
#include "grpc/rpc.h"
#include "rpc_client.h"
#include "stoa/posts/v1/posts.pb-c.h"

#include <errno.h>
#include <pthread.h>
#include <stdlib.h>
#include <time.h>
#include <unistd.h>

#define ECHO "/stoa.test.v1.Echo/"
#define MSG "grpc.health.v1.HealthCheckRequest"

typedef Grpc__Health__V1__HealthCheckRequest text_message;

#define TEXT(value)                                                                               \
    ((text_message){PROTOBUF_C_MESSAGE_INIT(&grpc__health__v1__health_check_request__descriptor), \
                    (char *)(value)})

extern const char stoa_api_descriptor_set[], stoa_api_descriptor_set_end[];

struct echo_method {
    const char *name, *input;
    bool client_streaming, server_streaming;
};

static const struct echo_method echo_methods[] = {
    {"Say", MSG, false, false},  {"Publish", "stoa.posts.v1.CreateArticleRequest", false, false},
    {"Count", MSG, false, true}, {"Join", MSG, true, false},
    {"Chat", MSG, true, true},   {"List", "stoa.posts.v1.ListArticlesRequest", false, false},
};

static const ProtobufCMethodDescriptor echo_method_descriptors[] = {
    {"Say", &grpc__health__v1__health_check_request__descriptor,
     &grpc__health__v1__health_check_request__descriptor},
    {"Publish", &stoa__posts__v1__create_article_request__descriptor,
     &grpc__health__v1__health_check_request__descriptor},
    {"Count", &grpc__health__v1__health_check_request__descriptor,
     &grpc__health__v1__health_check_request__descriptor},
    {"Join", &grpc__health__v1__health_check_request__descriptor,
     &grpc__health__v1__health_check_request__descriptor},
    {"Chat", &grpc__health__v1__health_check_request__descriptor,
     &grpc__health__v1__health_check_request__descriptor},
    {"List", &stoa__posts__v1__list_articles_request__descriptor,
     &grpc__health__v1__health_check_request__descriptor},
};

static const ProtobufCServiceDescriptor echo_descriptor = {
    .magic = PROTOBUF_C__SERVICE_DESCRIPTOR_MAGIC,
    .name = "stoa.test.v1.Echo",
    .short_name = "Echo",
    .package = "stoa.test.v1",
    .n_methods = ARRAY_SIZE(echo_method_descriptors),
    .methods = echo_method_descriptors,
};

/* Appends the serialized set {file: [echo.proto]} : sets concatenate. */
static inline void append_echo_file(struct buf *set)
{
    Google__Protobuf__MethodDescriptorProto methods[ARRAY_SIZE(echo_methods)];
    Google__Protobuf__MethodDescriptorProto *method_list[ARRAY_SIZE(echo_methods)];
    Google__Protobuf__ServiceDescriptorProto service =
                                                 GOOGLE__PROTOBUF__SERVICE_DESCRIPTOR_PROTO__INIT,
                                             *services[] = {&service};
    Google__Protobuf__FileDescriptorProto file = GOOGLE__PROTOBUF__FILE_DESCRIPTOR_PROTO__INIT,
                                          *files[] = {&file};
    Google__Protobuf__FileDescriptorSet all = GOOGLE__PROTOBUF__FILE_DESCRIPTOR_SET__INIT;
    char *imports[] = {(char *)"grpc/health/v1/health.proto", (char *)"stoa/posts/v1/posts.proto"};
    char names[ARRAY_SIZE(echo_methods)][80];
    char *at;

    for (size_t i = 0; i < ARRAY_SIZE(echo_methods); i++) {
        google__protobuf__method_descriptor_proto__init(&methods[i]);
        snprintf(names[i], sizeof(names[i]), ".%s", echo_methods[i].input);
        methods[i].name = (char *)echo_methods[i].name;
        methods[i].input_type = names[i];
        methods[i].output_type = (char *)"." MSG;
        methods[i].has_client_streaming = methods[i].has_server_streaming = 1;
        methods[i].client_streaming = echo_methods[i].client_streaming;
        methods[i].server_streaming = echo_methods[i].server_streaming;
        method_list[i] = &methods[i];
    }
    service.name = (char *)"Echo";
    service.n_method = ARRAY_SIZE(echo_methods);
    service.method = method_list;
    file.name = (char *)"stoa/test/v1/echo.proto";
    file.package = (char *)"stoa.test.v1";
    file.syntax = (char *)"proto3";
    file.n_dependency = 2;
    file.dependency = imports;
    file.n_service = 1;
    file.service = services;
    all.n_file = 1;
    all.file = files;
    at = buf_reserve(set, google__protobuf__file_descriptor_set__get_packed_size(&all));
    assert_non_null(at);
    set->n += google__protobuf__file_descriptor_set__pack(&all, (uint8_t *)at);
}

static inline struct schema *load_echo_schema(void)
{
    struct schema *schema = NULL;
    struct arena arena;
    struct str error = STR_NULL;
    struct buf set;
    int r;

    arena_init(&arena, 0);
    buf_init(&set, 16 << 20);
    buf_append(&set, stoa_api_descriptor_set,
               (size_t)(stoa_api_descriptor_set_end - stoa_api_descriptor_set));
    append_echo_file(&set);
    r = schema_load(buf_str(&set), &arena, &schema, &error);
    if (r < 0)
        print_error("%.*s\n", STR_FMT(error));
    assert_int_equal(r, 0);
    buf_free(&set);
    arena_free(&arena);
    return schema;
}

/* ---- a server and a client ---- */

struct fixture {
    struct schema *schema;
    struct rpc_server *server;
    struct client client;
    char folder[32], path[64], target[80];
};

static inline void fixture_start(struct fixture *f, struct rpc_server_options options,
                                 const struct rpc_handler *handlers, void *service)
{
    struct str error;

    f->schema = load_echo_schema();
    options.schema = f->schema;
    assert_int_equal(rpc_server_new(&options, &f->server), 0);
    if (rpc_server_add(f->server, &echo_descriptor, handlers, ARRAY_SIZE(echo_methods), service,
                       &error) < 0)
        fail_msg("%.*s", STR_FMT(error));
    snprintf(f->folder, sizeof(f->folder), "/tmp/stoa-rpc-XXXXXX");
    assert_non_null(mkdtemp(f->folder));
    snprintf(f->path, sizeof(f->path), "%s/sock", f->folder);
    snprintf(f->target, sizeof(f->target), "unix:%s", f->path);
    if (rpc_server_listen(f->server, f->target, NULL, 0, NULL, &error) < 0)
        fail_msg("%.*s", STR_FMT(error));
    assert_int_equal(rpc_server_start(f->server), 0);
    client_open(&f->client, f->target);
}

static inline void fixture_stop(struct fixture *f)
{
    struct rpc_server_stats stats;

    client_close(&f->client);
    rpc_server_stop(f->server, 10000);
    rpc_server_stats(f->server, &stats);
    assert_int_equal(stats.active, 0);
    assert_int_equal(stats.started, stats.finished);
    rpc_server_free(f->server);
    schema_free(f->schema);
    unlink(f->path);
    rmdir(f->folder);
}

/* Polls until a condition holds; fails the test after a minute. */
#define WAIT_UNTIL(condition)                                               \
    do {                                                                    \
        int64_t end_ = clock_monotonic_ns() + CLIENT_WAIT_S * NSEC_PER_SEC; \
        while (!(condition)) {                                              \
            if (clock_monotonic_ns() > end_)                                \
                fail_msg("waited in vain for: %s", #condition);             \
            nanosleep(&(struct timespec){.tv_nsec = 1000000}, NULL);        \
        }                                                                   \
    } while (0)

/* ---- handlers that several tests use ---- */

static inline void say_back(void *service UNUSED, struct rpc_call *call,
                            const ProtobufCMessage *request)
{
    rpc_reply(call, request);
}

static inline void publish_ok(void *service UNUSED, struct rpc_call *call,
                              const ProtobufCMessage *request UNUSED)
{
    text_message ok = TEXT("published");

    rpc_reply(call, &ok.base);
}

static inline void open_and_finish(void *service UNUSED, struct rpc_call *call,
                                   const ProtobufCMessage *request UNUSED)
{
    rpc_stream_finish(call, NULL);
}

static inline void ignore_message(void *service UNUSED, struct rpc_call *call UNUSED,
                                  const ProtobufCMessage *message UNUSED)
{
}

static const struct rpc_stream_handler finish_at_once UNUSED = {
    .open = open_and_finish,
    .message = ignore_message,
};

#define UNARY_HANDLERS(say, publish)                                                           \
    {                                                                                          \
        {.method = "Say", .unary = (say)}, {.method = "Publish", .unary = (publish)},          \
            {.method = "Count", .stream = &finish_at_once},                                    \
            {.method = "Join", .stream = &finish_at_once},                                     \
            {.method = "Chat", .stream = &finish_at_once}, {.method = "List", .unary = (say)}, \
    }

static const struct rpc_handler plain_handlers[] UNUSED = UNARY_HANDLERS(say_back, publish_ok);

/* A unary call with a text; returns the status code, and the answer in ret (size bytes). */
static inline int say(struct client *client, const char *text, int64_t timeout_ms, char *ret,
                      size_t size)
{
    text_message request = TEXT(text);
    struct client_call call;
    text_message *answer;
    int code;

    client_request(client, &call, ECHO "Say", timeout_ms, &request.base);
    answer = client_receive(&call, &grpc__health__v1__health_check_request__descriptor);
    if (ret)
        snprintf(ret, size, "%s", answer ? answer->service : "");
    if (answer)
        protobuf_c_message_free_unpacked(&answer->base, NULL);
    code = client_status(&call);
    client_end(&call);
    return code;
}

/* A unary call with these bytes as the message; token: NULL without one. Returns the status code.
 */
static inline int call_with_token(struct client *client, const char *method, const char *token,
                                  struct str bytes)
{
    const struct client_metadata metadata = {"authorization", str_of(token)};
    struct client_call call;
    int code;

    client_begin(client, &call, method, 0, &metadata, token ? 1 : 0);
    if (client_send_bytes(&call, bytes))
        client_half_close(&call);
    client_skip(&call); /* the status comes behind it */
    code = client_status(&call);
    client_end(&call);
    return code;
}

#endif
