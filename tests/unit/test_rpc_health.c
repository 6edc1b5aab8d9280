/* lib/grpc: grpc.health.v1 and server reflection. */
#include "rpc_fixture.h"

#include "grpc/reflection/v1/reflection.pb-c.h"

/* ---- health ---- */

typedef Grpc__Health__V1__HealthCheckResponse health_response;

#define STATUS(name) GRPC__HEALTH__V1__HEALTH_CHECK_RESPONSE__SERVING_STATUS__##name
#define HEALTH "/grpc.health.v1.Health/"

/* The next status of a Check or Watch; -1: there is none. */
static int next_status(struct client_call *call)
{
    health_response *response =
        client_receive(call, &grpc__health__v1__health_check_response__descriptor);
    int status;

    if (!response)
        return -1;
    status = (int)response->status;
    protobuf_c_message_free_unpacked(&response->base, NULL);
    return status;
}

static int check(struct client *client, const char *service, int *ret_status)
{
    text_message request = TEXT(service);
    struct client_call call;
    int code;

    client_request(client, &call, HEALTH "Check", 0, &request.base);
    *ret_status = next_status(&call);
    code = client_status(&call);
    client_end(&call);
    return code;
}

static void expect_health(struct fixture *f, const char *service, int status)
{
    int got;

    assert_int_equal(check(&f->client, service, &got), 0);
    assert_int_equal(got, status);
}

static int start_plain(void **state)
{
    struct fixture *f = test_calloc(1, sizeof(*f));

    fixture_start(f, (struct rpc_server_options){0}, plain_handlers, NULL);
    *state = f;
    return 0;
}

static int stop_plain(void **state)
{
    fixture_stop(*state);
    test_free(*state);
    return 0;
}

static void test_check(void **state)
{
    struct fixture *f = *state;
    int status;

    expect_health(f, "", STATUS(NOT_SERVING));
    expect_health(f, "liveness", STATUS(SERVING));
    rpc_server_set_ready(f->server, true);
    expect_health(f, "", STATUS(SERVING));
    expect_health(f, "stoa.test.v1.Echo", STATUS(SERVING));
    rpc_server_set_ready(f->server, false);
    expect_health(f, "stoa.test.v1.Echo", STATUS(NOT_SERVING));
    expect_health(f, "liveness", STATUS(SERVING));
    assert_int_equal(check(&f->client, "stoa.test.v1.Nobody", &status), RPC_NOT_FOUND);
}

/* What rpc_check_health() says to its caller. */
static void test_asking_another(void **state)
{
    struct arena arena CLEANUP(arena_free) = {.max = 1 << 16};
    struct fixture *f = *state;
    struct str error = STR_NULL;

    rpc_server_set_ready(f->server, false);
    assert_int_equal(rpc_check_health(f->target, 30000, &arena, &error), -EAGAIN);
    assert_true(str_eq(error, STR("not ready")));
    rpc_server_set_ready(f->server, true);
    assert_int_equal(rpc_check_health(f->target, 30000, &arena, &error), 0);
    error = STR_NULL;
    assert_int_equal(rpc_check_health("unix:/nonexistent/sock", 30000, &arena, &error),
                     -EHOSTUNREACH);
    assert_true(error.n > 0);
    rpc_server_set_ready(f->server, false);
}

static void watch(struct fixture *f, struct client_call *call, const char *service)
{
    text_message request = TEXT(service);

    client_request(&f->client, call, HEALTH "Watch", 0, &request.base);
}

static void test_watch(void **state)
{
    struct fixture *f = *state;
    struct client_call all, one, live, nobody;

    watch(f, &all, "");
    watch(f, &one, "stoa.test.v1.Echo");
    watch(f, &live, "liveness");
    watch(f, &nobody, "stoa.test.v1.Nobody");
    assert_int_equal(next_status(&all), STATUS(NOT_SERVING));
    assert_int_equal(next_status(&one), STATUS(NOT_SERVING));
    assert_int_equal(next_status(&live), STATUS(SERVING));
    assert_int_equal(next_status(&nobody), STATUS(SERVICE_UNKNOWN));
    rpc_server_set_ready(f->server, true);
    rpc_server_set_ready(f->server, true); /* no change, no message */
    rpc_server_set_ready(f->server, false);
    assert_int_equal(next_status(&all), STATUS(SERVING));
    assert_int_equal(next_status(&all), STATUS(NOT_SERVING));
    assert_int_equal(next_status(&one), STATUS(SERVING));
    assert_int_equal(next_status(&one), STATUS(NOT_SERVING));
    client_end(&one);
    rpc_server_set_ready(f->server, true);
    assert_int_equal(next_status(&all), STATUS(SERVING));
    client_end(&all);
    client_end(&live);
    client_end(&nobody);
}

static void *stop_server(void *server)
{
    rpc_server_stop(server, 60000);
    return NULL;
}

/* A watch must not hold up the stop until the grace is over. */
static void test_watch_ends_at_stop(void **state)
{
    struct fixture *f = *state;
    struct client_call call;
    pthread_t stopper;

    rpc_server_set_ready(f->server, true);
    watch(f, &call, "");
    assert_int_equal(next_status(&call), STATUS(SERVING));
    assert_int_equal(pthread_create(&stopper, NULL, stop_server, f->server), 0);
    assert_int_equal(next_status(&call), STATUS(NOT_SERVING));
    assert_int_equal(next_status(&call), -1);
    assert_int_equal(client_status(&call), RPC_UNAVAILABLE);
    client_end(&call);
    pthread_join(stopper, NULL);
}

/* ---- reflection ---- */

typedef Grpc__Reflection__V1__ServerReflectionRequest reflection_request;
typedef Grpc__Reflection__V1__ServerReflectionResponse reflection_response;

#define REQUEST(name) GRPC__REFLECTION__V1__SERVER_REFLECTION_REQUEST__MESSAGE_REQUEST_##name
#define RESPONSE(name) GRPC__REFLECTION__V1__SERVER_REFLECTION_RESPONSE__MESSAGE_RESPONSE_##name
#define V1 "/grpc.reflection.v1.ServerReflection/ServerReflectionInfo"
#define V1ALPHA "/grpc.reflection.v1alpha.ServerReflection/ServerReflectionInfo"

static reflection_response *ask(struct client_call *call, reflection_request *request)
{
    reflection_response *response;

    assert_true(client_send(call, &request->base));
    response = client_receive(call, &grpc__reflection__v1__server_reflection_response__descriptor);
    assert_non_null(response);
    assert_int_equal(response->original_request->message_request_case,
                     request->message_request_case);
    return response;
}

static void forget(reflection_response *response)
{
    protobuf_c_message_free_unpacked(&response->base, NULL);
}

static bool lists(const reflection_response *response, const char *service)
{
    assert_int_equal(response->message_response_case, RESPONSE(LIST_SERVICES_RESPONSE));
    for (size_t i = 0; i < response->list_services_response->n_service; i++)
        if (strcmp(response->list_services_response->service[i]->name, service) == 0)
            return true;
    return false;
}

/* Whether the answer has a file; its imports come along. */
static bool has_file(const reflection_response *response, const char *name)
{
    bool found = false;

    assert_int_equal(response->message_response_case, RESPONSE(FILE_DESCRIPTOR_RESPONSE));
    for (size_t i = 0; i < response->file_descriptor_response->n_file_descriptor_proto; i++) {
        ProtobufCBinaryData bytes = response->file_descriptor_response->file_descriptor_proto[i];
        Google__Protobuf__FileDescriptorProto *file =
            google__protobuf__file_descriptor_proto__unpack(NULL, bytes.len, bytes.data);
        assert_non_null(file);
        found = found || strcmp(file->name, name) == 0;
        google__protobuf__file_descriptor_proto__free_unpacked(file, NULL);
    }
    return found;
}

static void reflect(struct fixture *f, const char *method)
{
    reflection_request request = GRPC__REFLECTION__V1__SERVER_REFLECTION_REQUEST__INIT;
    reflection_response *response;
    struct client_call call;

    client_begin(&f->client, &call, method, 0, NULL, 0);
    request.message_request_case = REQUEST(LIST_SERVICES);
    request.list_services = (char *)"*";
    response = ask(&call, &request);
    assert_true(lists(response, "stoa.test.v1.Echo"));
    assert_true(lists(response, "grpc.health.v1.Health"));
    assert_true(lists(response, "grpc.reflection.v1.ServerReflection"));
    assert_true(lists(response, "grpc.reflection.v1alpha.ServerReflection"));
    forget(response);

    request.message_request_case = REQUEST(FILE_CONTAINING_SYMBOL);
    request.file_containing_symbol = (char *)"stoa.test.v1.Echo.Publish";
    response = ask(&call, &request);
    assert_true(has_file(response, "stoa/test/v1/echo.proto"));
    assert_true(has_file(response, "stoa/posts/v1/posts.proto"));
    assert_true(has_file(response, "google/protobuf/timestamp.proto"));
    forget(response);

    request.message_request_case = REQUEST(FILE_BY_FILENAME);
    request.file_by_filename = (char *)"stoa/posts/v1/posts.proto";
    response = ask(&call, &request);
    assert_true(has_file(response, "stoa/posts/v1/posts.proto"));
    assert_false(has_file(response, "stoa/test/v1/echo.proto"));
    forget(response);

    client_half_close(&call);
    assert_false(client_skip(&call));
    assert_int_equal(client_status(&call), 0);
    client_end(&call);
}

static void test_reflection(void **state)
{
    reflect(*state, V1);
    reflect(*state, V1ALPHA);
}

static void test_reflection_of_extensions(void **state)
{
    struct fixture *f = *state;
    reflection_request request = GRPC__REFLECTION__V1__SERVER_REFLECTION_REQUEST__INIT;
    Grpc__Reflection__V1__ExtensionRequest extension =
        GRPC__REFLECTION__V1__EXTENSION_REQUEST__INIT;
    reflection_response *response;
    struct client_call call;
    bool http = false;

    client_begin(&f->client, &call, V1, 0, NULL, 0);
    request.message_request_case = REQUEST(ALL_EXTENSION_NUMBERS_OF_TYPE);
    request.all_extension_numbers_of_type = (char *)"google.protobuf.MethodOptions";
    response = ask(&call, &request);
    assert_int_equal(response->message_response_case, RESPONSE(ALL_EXTENSION_NUMBERS_RESPONSE));
    for (size_t i = 0; i < response->all_extension_numbers_response->n_extension_number; i++)
        http = http || response->all_extension_numbers_response->extension_number[i] == 72295728;
    assert_true(http);
    forget(response);

    request.message_request_case = REQUEST(FILE_CONTAINING_EXTENSION);
    request.file_containing_extension = &extension;
    extension.containing_type = (char *)"google.protobuf.MethodOptions";
    extension.extension_number = 72295728;
    response = ask(&call, &request);
    assert_true(has_file(response, "google/api/annotations.proto"));
    forget(response);
    client_end(&call);
}

static void test_reflection_of_nothing(void **state)
{
    struct fixture *f = *state;
    reflection_request request = GRPC__REFLECTION__V1__SERVER_REFLECTION_REQUEST__INIT;
    reflection_response *response;
    struct client_call call;

    client_begin(&f->client, &call, V1, 0, NULL, 0);
    request.message_request_case = REQUEST(FILE_CONTAINING_SYMBOL);
    request.file_containing_symbol = (char *)"stoa.test.v1.Nothing";
    response = ask(&call, &request);
    assert_int_equal(response->message_response_case, RESPONSE(ERROR_RESPONSE));
    assert_int_equal(response->error_response->error_code, RPC_NOT_FOUND);
    forget(response);
    request.message_request_case =
        GRPC__REFLECTION__V1__SERVER_REFLECTION_REQUEST__MESSAGE_REQUEST__NOT_SET;
    response = ask(&call, &request);
    assert_int_equal(response->message_response_case, RESPONSE(ERROR_RESPONSE));
    assert_int_equal(response->error_response->error_code, RPC_INVALID_ARGUMENT);
    forget(response);
    client_end(&call);
}

#define PLAIN_TEST(name) cmocka_unit_test_setup_teardown(name, start_plain, stop_plain)

int main(void)
{
    const struct CMUnitTest tests[] = {
        PLAIN_TEST(test_check),
        PLAIN_TEST(test_asking_another),
        PLAIN_TEST(test_watch),
        PLAIN_TEST(test_watch_ends_at_stop),
        PLAIN_TEST(test_reflection),
        PLAIN_TEST(test_reflection_of_extensions),
        PLAIN_TEST(test_reflection_of_nothing),
    };

    return cmocka_run_group_tests_name("rpc health and reflection", tests, NULL, NULL);
}
