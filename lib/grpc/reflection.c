/* grpc.reflection.v1 and v1alpha
 * (https://github.com/grpc/grpc/blob/master/doc/server-reflection.md) from the descriptor set that
 * the server's schema was compiled from. The two versions differ in their package only, so the v1
 * types serve both. */
#include "grpc/internal.h"
#include "grpc/reflection/v1/reflection.pb-c.h"
#include "grpc/reflection/v1alpha/reflection.pb-c.h"

#include <errno.h>

typedef Grpc__Reflection__V1__ServerReflectionRequest reflection_request;
typedef Grpc__Reflection__V1__ServerReflectionResponse reflection_response;
typedef Grpc__Reflection__V1__FileDescriptorResponse file_response;
typedef Grpc__Reflection__V1__ExtensionNumberResponse extension_response;
typedef Grpc__Reflection__V1__ListServiceResponse list_response;
typedef Grpc__Reflection__V1__ServiceResponse service_response;
typedef Grpc__Reflection__V1__ErrorResponse error_response;

#define REQUEST(name) GRPC__REFLECTION__V1__SERVER_REFLECTION_REQUEST__MESSAGE_REQUEST_##name
#define RESPONSE(name) GRPC__REFLECTION__V1__SERVER_REFLECTION_RESPONSE__MESSAGE_RESPONSE_##name

#define MAX_FILES 256 /* in one answer */

static void fail(reflection_response *response, error_response *error, enum rpc_code code,
                 const char *message)
{
    grpc__reflection__v1__error_response__init(error);
    error->error_code = (int32_t)code;
    error->error_message = (char *)message;
    response->message_response_case = RESPONSE(ERROR_RESPONSE);
    response->error_response = error;
}

/* ---- files ---- */

struct files {
    struct str bytes[MAX_FILES];
    size_t n;
};

static void add_file(struct files *files, struct str bytes)
{
    for (size_t i = 0; i < files->n; i++)
        if (files->bytes[i].p == bytes.p)
            return;
    if (bytes.p && files->n < MAX_FILES)
        files->bytes[files->n++] = bytes;
}

/* The name of a serialized FileDescriptorProto: field 1, which protoc writes first. */
static struct str file_name(struct str bytes)
{
    if (bytes.n < 2 || bytes.p[0] != 0x0a || (unsigned char)bytes.p[1] >= 0x80 ||
        (size_t)bytes.p[1] > bytes.n - 2)
        return STR_NULL;
    return (struct str){bytes.p + 2, (size_t)bytes.p[1]};
}

/* The file and all that it imports, breadth first, each once. */
static void collect(const struct schema *schema, struct str file, struct files *files)
{
    add_file(files, file);
    for (size_t i = 0; i < files->n; i++) {
        const struct str *imports = NULL;
        size_t n = schema_file_imports(schema, file_name(files->bytes[i]), &imports);

        for (size_t j = 0; j < n; j++)
            add_file(files, schema_file_by_name(schema, imports[j]));
    }
}

/* ---- one answer ---- */

struct answer {
    reflection_response response;
    error_response error;
    file_response file;
    extension_response extension;
    list_response list;
    struct files files;
    ProtobufCBinaryData data[MAX_FILES];
};

static void answer_file(const struct schema *schema, struct answer *answer, struct str file)
{
    if (!file.p) {
        fail(&answer->response, &answer->error, RPC_NOT_FOUND, "not found");
        return;
    }
    collect(schema, file, &answer->files);
    for (size_t i = 0; i < answer->files.n; i++)
        answer->data[i] = (ProtobufCBinaryData){.len = answer->files.bytes[i].n,
                                                .data = (uint8_t *)answer->files.bytes[i].p};
    grpc__reflection__v1__file_descriptor_response__init(&answer->file);
    answer->file.n_file_descriptor_proto = answer->files.n;
    answer->file.file_descriptor_proto = answer->data;
    answer->response.message_response_case = RESPONSE(FILE_DESCRIPTOR_RESPONSE);
    answer->response.file_descriptor_response = &answer->file;
}

static void answer_extensions(const struct schema *schema, struct answer *answer, const char *type)
{
    const int32_t *numbers = NULL;

    if (!schema_message(schema, str_of(type))) {
        fail(&answer->response, &answer->error, RPC_NOT_FOUND, "not found");
        return;
    }
    grpc__reflection__v1__extension_number_response__init(&answer->extension);
    answer->extension.base_type_name = (char *)type;
    answer->extension.n_extension_number = schema_extension_numbers(schema, str_of(type), &numbers);
    answer->extension.extension_number = (int32_t *)numbers;
    answer->response.message_response_case = RESPONSE(ALL_EXTENSION_NUMBERS_RESPONSE);
    answer->response.all_extension_numbers_response = &answer->extension;
}

static int answer_services(const struct rpc_server *server, struct answer *answer,
                           struct arena *arena)
{
    service_response *services = arena_calloc(arena, server->n_services, sizeof(*services));
    service_response **list = arena_calloc(arena, server->n_services, sizeof(*list));

    if (!services || !list)
        return -ENOMEM;
    for (size_t i = 0; i < server->n_services; i++) {
        grpc__reflection__v1__service_response__init(&services[i]);
        services[i].name = (char *)server->services[i];
        list[i] = &services[i];
    }
    grpc__reflection__v1__list_service_response__init(&answer->list);
    answer->list.n_service = server->n_services;
    answer->list.service = list;
    answer->response.message_response_case = RESPONSE(LIST_SERVICES_RESPONSE);
    answer->response.list_services_response = &answer->list;
    return 0;
}

static int make_answer(const struct rpc_server *server, const reflection_request *request,
                       struct answer *answer, struct arena *arena)
{
    const struct schema *schema = server->options.schema;

    grpc__reflection__v1__server_reflection_response__init(&answer->response);
    answer->response.valid_host = request->host;
    answer->response.original_request = (reflection_request *)request;
    switch (request->message_request_case) {
    case REQUEST(FILE_BY_FILENAME):
        answer_file(schema, answer, schema_file_by_name(schema, str_of(request->file_by_filename)));
        return 0;
    case REQUEST(FILE_CONTAINING_SYMBOL):
        answer_file(schema, answer,
                    schema_file_by_symbol(schema, str_of(request->file_containing_symbol)));
        return 0;
    case REQUEST(FILE_CONTAINING_EXTENSION):
        answer_file(schema, answer,
                    schema_file_by_extension(
                        schema, str_of(request->file_containing_extension->containing_type),
                        request->file_containing_extension->extension_number));
        return 0;
    case REQUEST(ALL_EXTENSION_NUMBERS_OF_TYPE):
        answer_extensions(schema, answer, request->all_extension_numbers_of_type);
        return 0;
    case REQUEST(LIST_SERVICES):
        return answer_services(server, answer, arena);
    default:
        fail(&answer->response, &answer->error, RPC_INVALID_ARGUMENT, "an empty request");
        return 0;
    }
}

/* ---- the stream ---- */

static void reflect_open(void *service UNUSED, struct rpc_call *call UNUSED,
                         const ProtobufCMessage *request UNUSED)
{
}

static void reflect(void *service, struct rpc_call *call, const ProtobufCMessage *message)
{
    struct rpc_error overrun = {.code = RPC_RESOURCE_EXHAUSTED,
                                .message = STR("answers are not read")};
    struct arena arena;
    struct answer *answer;
    int r = -ENOMEM;

    arena_init(&arena, 0);
    answer = arena_calloc(&arena, 1, sizeof(*answer));
    if (answer)
        r = make_answer(service, (const reflection_request *)message, answer, &arena);
    if (r == 0)
        r = rpc_stream_send(call, &answer->response.base);
    if (r < 0 && r != -EPIPE)
        rpc_stream_cancel(call, &overrun);
    arena_free(&arena);
}

static void reflect_half_close(void *service UNUSED, struct rpc_call *call)
{
    rpc_stream_finish(call, NULL);
}

int reflection_add(struct rpc_server *server)
{
    static const struct rpc_stream_handler stream = {
        .open = reflect_open,
        .message = reflect,
        .half_close = reflect_half_close,
    };
    static const struct rpc_handler handlers[] = {
        {.method = "ServerReflectionInfo", .stream = &stream},
    };
    const ProtobufCServiceDescriptor *v1 = &grpc__reflection__v1__server_reflection__descriptor;
    const ProtobufCServiceDescriptor *v1alpha =
        &grpc__reflection__v1alpha__server_reflection__descriptor;
    int r = server_add_built_in(server, v1, NULL, handlers, ARRAY_SIZE(handlers), server);

    return r < 0 ? r
                 : server_add_built_in(server, v1alpha, v1, handlers, ARRAY_SIZE(handlers), server);
}
