#include "grpc/client.h"

#include "google/rpc/error_details.pb-c.h"
#include "google/rpc/status.pb-c.h"
#include "grpc/internal.h"

#include <assert.h>
#include <errno.h>
#include <grpc/grpc_security.h>
#include <grpc/support/alloc.h>
#include <stdio.h>
#include <stdlib.h>

#define MAX_RESPONSE_BYTES ((size_t)16 << 20)
#define PEM_BYTES_MAX ((size_t)4 << 20)
#define SYSTEM_CA_FILE "/etc/ssl/certs/ca-certificates.crt"

/* How soon a lost connection is tried again. */
#define BACKOFF_FIRST_MS 200
#define BACKOFF_MAX_MS 5000
#define CONNECT_MS 20000

struct rpc_client {
    const struct schema *schema;
    grpc_completion_queue *cq;
    grpc_channel *channel;
};

/* What both kinds of calls are made of. Tags are addresses of the members. */
struct exchange {
    struct rpc_client *client;
    const ProtobufCMethodDescriptor *method;
    grpc_call *core;
    grpc_metadata_array headers, trailers;
    grpc_byte_buffer *incoming;
    grpc_status_code code;
    grpc_slice message;
};

struct rpc_client_stream {
    struct exchange exchange;
    char open_tag, headers_tag, send_tag, receive_tag, status_tag;
    grpc_metadata metadata[RPC_CLIENT_METADATA]; /* until it is open */
    grpc_byte_buffer *first;                     /* NULL: none */
    bool open;
    bool receiving; /* a receive is on its way */
    bool ended;     /* the status is there */
};

/* ---- the channel ---- */

static char *read_pem(const char *path, struct arena *arena, struct str *ret_error)
{
    char *text = arena_alloc(arena, PEM_BYTES_MAX + 1);
    FILE *from = text ? fopen(path, "re") : NULL;
    size_t n = 0;
    int err = text ? errno : ENOMEM;

    if (text && from) {
        n = fread(text, 1, PEM_BYTES_MAX + 1, from);
        err = ferror(from) ? errno : n > PEM_BYTES_MAX ? EFBIG : 0;
        text[err ? 0 : n] = '\0';
    }
    if (from)
        fclose(from);
    if (!err)
        return text;
    *ret_error = arena_printf(arena, "cannot read %s: %s", path, strerror(err));
    return NULL;
}

static grpc_channel_credentials *make_credentials(const struct rpc_client_options *o,
                                                  struct arena *arena, struct str *ret_error)
{
    grpc_ssl_pem_key_cert_pair own = {NULL, NULL};
    char *roots;

    if (!o->tls)
        return grpc_insecure_credentials_create();
    roots = read_pem(o->ca_file ? o->ca_file : SYSTEM_CA_FILE, arena, ret_error);
    if (!roots)
        return NULL;
    if (o->certificate_file && o->key_file) {
        own.cert_chain = read_pem(o->certificate_file, arena, ret_error);
        own.private_key = own.cert_chain ? read_pem(o->key_file, arena, ret_error) : NULL;
        if (!own.private_key)
            return NULL;
    }
    return grpc_ssl_credentials_create_ex(roots, own.private_key ? &own : NULL, NULL, NULL);
}

static grpc_channel *make_channel(const struct rpc_client_options *o,
                                  grpc_channel_credentials *credentials)
{
    size_t max = o->max_response_bytes ? o->max_response_bytes : MAX_RESPONSE_BYTES;
    grpc_arg args[] = {
        {.type = GRPC_ARG_STRING,
         .key = (char *)GRPC_ARG_PRIMARY_USER_AGENT_STRING,
         .value.string = (char *)o->user_agent},
        {.type = GRPC_ARG_INTEGER,
         .key = (char *)GRPC_ARG_MAX_RECEIVE_MESSAGE_LENGTH,
         .value.integer = (int)max},
        /* Who may try again knows the caller, not the core. */
        {.type = GRPC_ARG_INTEGER, .key = (char *)GRPC_ARG_ENABLE_RETRIES, .value.integer = 0},
        {.type = GRPC_ARG_INTEGER,
         .key = (char *)GRPC_ARG_INITIAL_RECONNECT_BACKOFF_MS,
         .value.integer = BACKOFF_FIRST_MS},
        {.type = GRPC_ARG_INTEGER,
         .key =
             (char *)GRPC_ARG_MIN_RECONNECT_BACKOFF_MS, /* that is how long an attempt may take */
         .value.integer = CONNECT_MS},
        {.type = GRPC_ARG_INTEGER,
         .key = (char *)GRPC_ARG_MAX_RECONNECT_BACKOFF_MS,
         .value.integer = BACKOFF_MAX_MS},
        /* A proxy gets to see ciphertext or nothing. */
        {.type = GRPC_ARG_INTEGER,
         .key = (char *)GRPC_ARG_ENABLE_HTTP_PROXY,
         .value.integer = o->tls},
    };
    grpc_channel_args all = {ARRAY_SIZE(args), args};

    return grpc_channel_create(o->address, credentials, &all);
}

int rpc_client_new(const struct rpc_client_options *options, struct arena *arena,
                   struct rpc_client **ret, struct str *ret_error)
{
    struct rpc_client *client = malloc(sizeof(*client));
    grpc_channel_credentials *credentials;

    *ret_error = STR("out of memory");
    if (!client)
        return -ENOMEM;
    grpc_init();
    credentials = make_credentials(options, arena, ret_error);
    if (!credentials) {
        grpc_shutdown();
        free(client);
        return -EINVAL;
    }
    *client = (struct rpc_client){.schema = options->schema,
                                  .cq = grpc_completion_queue_create_for_pluck(NULL),
                                  .channel = make_channel(options, credentials)};
    grpc_channel_credentials_release(credentials);
    *ret = client;
    return 0;
}

void rpc_client_free(struct rpc_client *client)
{
    if (!client)
        return;
    grpc_channel_destroy(client->channel);
    grpc_completion_queue_shutdown(client->cq);
    while (grpc_completion_queue_pluck(client->cq, NULL, gpr_inf_future(GPR_CLOCK_REALTIME), NULL)
               .type != GRPC_QUEUE_SHUTDOWN)
        ;
    grpc_completion_queue_destroy(client->cq);
    grpc_shutdown();
    free(client);
}

/* ---- an exchange ---- */

static gpr_timespec in_ms(int64_t ms)
{
    return gpr_time_add(gpr_now(GPR_CLOCK_MONOTONIC), gpr_time_from_millis(ms, GPR_TIMESPAN));
}

/* -EAGAIN, or whether the operations succeeded: 1 or 0. */
static int wait_for(struct rpc_client *client, void *tag, int64_t timeout_ms)
{
    grpc_event event = grpc_completion_queue_pluck(
        client->cq, tag, timeout_ms < 0 ? gpr_inf_future(GPR_CLOCK_MONOTONIC) : in_ms(timeout_ms),
        NULL);

    if (event.type != GRPC_OP_COMPLETE)
        return -EAGAIN;
    TAG_ACQUIRE(tag);
    return event.success != 0;
}

static void start(struct exchange *x, const grpc_op *ops, size_t n, void *tag)
{
    grpc_call_error error;

    TAG_RELEASE(tag);
    error = grpc_call_start_batch(x->core, ops, n, tag, NULL);
    assert(error == GRPC_CALL_OK);
    (void)error;
}

static const ProtobufCMethodDescriptor *find_method(const ProtobufCServiceDescriptor *service,
                                                    const char *name)
{
    for (unsigned i = 0; i < service->n_methods; i++) {
        if (strcmp(service->methods[i].name, name) == 0)
            return &service->methods[i];
    }
    return NULL;
}

static void exchange_begin(struct exchange *x, struct rpc_client *client,
                           const struct rpc_request *request)
{
    char path[256];
    grpc_slice method;
    int n;

    *x = (struct exchange){
        .client = client,
        .method = find_method(request->service, request->method),
        .message = grpc_empty_slice(),
    };
    assert(x->method && request->n_metadata <= RPC_CLIENT_METADATA);
    n = snprintf(path, sizeof(path), "/%s/%s", request->service->name, request->method);
    assert(n > 0 && (size_t)n < sizeof(path));
    (void)n;
    grpc_metadata_array_init(&x->headers);
    grpc_metadata_array_init(&x->trailers);
    method = grpc_slice_from_copied_string(path);
    x->core = grpc_channel_create_call(
        client->channel, NULL, GRPC_PROPAGATE_DEFAULTS, client->cq, method, NULL,
        request->timeout_ms ? in_ms(request->timeout_ms) : gpr_inf_future(GPR_CLOCK_MONOTONIC),
        NULL);
    grpc_slice_unref(method);
}

static void exchange_end(struct exchange *x)
{
    if (x->incoming)
        grpc_byte_buffer_destroy(x->incoming);
    grpc_slice_unref(x->message);
    grpc_metadata_array_destroy(&x->headers);
    grpc_metadata_array_destroy(&x->trailers);
    grpc_call_unref(x->core);
}

static grpc_op metadata_op(const struct rpc_request *request, grpc_metadata to[RPC_CLIENT_METADATA])
{
    for (size_t i = 0; i < request->n_metadata; i++)
        to[i] = (grpc_metadata){.key = grpc_slice_from_copied_buffer(request->metadata[i].key.p,
                                                                     request->metadata[i].key.n),
                                .value = grpc_slice_from_copied_buffer(
                                    request->metadata[i].value.p, request->metadata[i].value.n)};
    return (grpc_op){.op = GRPC_OP_SEND_INITIAL_METADATA,
                     .data.send_initial_metadata = {.count = request->n_metadata, .metadata = to}};
}

static void free_metadata(const grpc_op *op)
{
    for (size_t i = 0; i < op->data.send_initial_metadata.count; i++) {
        grpc_slice_unref(op->data.send_initial_metadata.metadata[i].key);
        grpc_slice_unref(op->data.send_initial_metadata.metadata[i].value);
    }
}

/* What HTTP/2 forbids the core refuses, without a word on what becomes of the call. */
static bool is_legal(const struct rpc_request *request)
{
    grpc_metadata metadata[RPC_CLIENT_METADATA];
    const grpc_op op = metadata_op(request, metadata);
    bool legal = true;

    for (size_t i = 0; i < request->n_metadata; i++)
        legal &= grpc_header_key_is_legal(metadata[i].key) &&
                 grpc_header_nonbin_value_is_legal(metadata[i].value);
    free_metadata(&op);
    return legal;
}

static grpc_byte_buffer *pack(const ProtobufCMessage *message)
{
    grpc_slice slice = message_pack(message);
    grpc_byte_buffer *buffer = grpc_raw_byte_buffer_create(&slice, 1);

    grpc_slice_unref(slice);
    return buffer;
}

static grpc_op status_op(struct exchange *x)
{
    return (grpc_op){.op = GRPC_OP_RECV_STATUS_ON_CLIENT,
                     .data.recv_status_on_client = {.trailing_metadata = &x->trailers,
                                                    .status = &x->code,
                                                    .status_details = &x->message}};
}

/* ---- what came ---- */

static int copy_headers(const grpc_metadata_array *from, struct arena *arena,
                        struct rpc_answer *ret)
{
    struct rpc_pair *pairs = arena_calloc(arena, from->count, sizeof(*pairs));

    if (!pairs)
        return -ENOMEM;
    for (size_t i = 0; i < from->count; i++) {
        pairs[i].key = arena_copy(arena, slice_str(&from->metadata[i].key));
        pairs[i].value = arena_copy(arena, slice_str(&from->metadata[i].value));
        if (!pairs[i].key.p || !pairs[i].value.p)
            return -ENOMEM;
    }
    ret->headers = pairs;
    ret->n_headers = from->count;
    return 0;
}

struct str rpc_answer_header(const struct rpc_answer *answer, const char *key)
{
    for (size_t i = 0; i < answer->n_headers; i++) {
        if (str_eq(answer->headers[i].key, str_of(key)))
            return answer->headers[i].value;
    }
    return STR_NULL;
}

/* Unpacks an Any of this type; NULL when it is another one, or damaged. */
static void *detail(const Google__Protobuf__Any *any, const ProtobufCMessageDescriptor *type,
                    ProtobufCAllocator *allocator)
{
    const char *slash = strrchr(any->type_url, '/');

    if (!slash || strcmp(slash + 1, type->name) != 0)
        return NULL;
    return protobuf_c_message_unpack(type, allocator, any->value.len, any->value.data);
}

static int copy_violations(const Google__Rpc__BadRequest *bad, struct arena *arena,
                           struct rpc_answer *ret)
{
    struct schema_fault *faults = arena_calloc(arena, bad->n_field_violations, sizeof(*faults));

    if (!faults)
        return -ENOMEM;
    for (size_t i = 0; i < bad->n_field_violations; i++)
        faults[i] = (struct schema_fault){str_of(bad->field_violations[i]->field),
                                          str_of(bad->field_violations[i]->description)};
    ret->violations = faults;
    ret->n_violations = bad->n_field_violations;
    return 0;
}

/* A detail that cannot be read is left out: code and sentence stay. */
static int read_details(struct str bytes, struct arena *arena, struct rpc_answer *ret)
{
    ProtobufCAllocator allocator = arena_allocator(arena);
    const Google__Rpc__Status *status = (const Google__Rpc__Status *)protobuf_c_message_unpack(
        &google__rpc__status__descriptor, &allocator, bytes.n, (const uint8_t *)bytes.p);

    ret->by_peer = status != NULL;
    for (size_t i = 0; status && i < status->n_details; i++) {
        const Google__Protobuf__Any *any = status->details[i];
        const Google__Rpc__ErrorInfo *info =
            detail(any, &google__rpc__error_info__descriptor, &allocator);
        const Google__Rpc__RetryInfo *retry =
            detail(any, &google__rpc__retry_info__descriptor, &allocator);
        const Google__Rpc__BadRequest *bad =
            detail(any, &google__rpc__bad_request__descriptor, &allocator);

        if (info)
            ret->reason = info->reason;
        if (retry && retry->retry_delay && retry->retry_delay->seconds < INT32_MAX)
            ret->retry_after_ms =
                retry->retry_delay->seconds * 1000 + retry->retry_delay->nanos / 1000000;
        if (bad && copy_violations(bad, arena, ret))
            return -ENOMEM;
    }
    return 0;
}

static int read_status(const struct exchange *x, struct arena *arena, struct rpc_answer *ret)
{
    ret->code = (enum rpc_code)x->code;
    ret->message = arena_copy(arena, slice_str(&x->message));
    if (!ret->message.p)
        return -ENOMEM;
    for (size_t i = 0; i < x->trailers.count; i++) {
        if (grpc_slice_str_cmp(x->trailers.metadata[i].key, "grpc-status-details-bin") == 0)
            return read_details(slice_str(&x->trailers.metadata[i].value), arena, ret);
    }
    return 0;
}

static int not_understood(struct rpc_answer *ret)
{
    *ret = (struct rpc_answer){
        .code = RPC_INTERNAL,
        .message = STR("the answer is no message of this call"),
        .reason = "",
    };
    return 0;
}

/* The message in x->incoming, which is freed. */
static int read_message(struct exchange *x, struct arena *arena, struct rpc_answer *ret)
{
    ProtobufCAllocator allocator = arena_allocator(arena);
    const struct schema_message *type =
        schema_message(x->client->schema, str_of(x->method->output->name));
    struct schema_fault fault;
    struct str bytes, copy;
    int r = message_contiguous(x->incoming, arena, &bytes);

    assert(type);
    copy = r ? STR_NULL : arena_copy(arena, bytes);
    grpc_byte_buffer_destroy(x->incoming);
    x->incoming = NULL;
    if (!copy.p)
        return -ENOMEM;
    r = schema_clean_wire(type, copy, arena, &ret->bytes, &fault);
    if (r == -EBADMSG)
        return not_understood(ret);
    if (r)
        return -ENOMEM;
    ret->response = protobuf_c_message_unpack(x->method->output, &allocator, ret->bytes.n,
                                              (const uint8_t *)ret->bytes.p);
    return ret->response ? 0 : -ENOMEM; /* the bytes were checked: only memory can fail */
}

/* ---- unary ---- */

static int read_answer(struct exchange *x, struct arena *arena, struct rpc_answer *ret)
{
    int err = copy_headers(&x->headers, arena, ret);

    if (!err)
        err = read_status(x, arena, ret);
    if (err || ret->code != RPC_OK)
        return err;
    return x->incoming ? read_message(x, arena, ret) : not_understood(ret);
}

int rpc_client_call(struct rpc_client *client, const struct rpc_request *request,
                    struct arena *arena, struct rpc_answer *ret)
{
    grpc_metadata metadata[RPC_CLIENT_METADATA];
    grpc_byte_buffer *outgoing;
    struct exchange x;
    grpc_op ops[6];
    int err;

    *ret = (struct rpc_answer){.reason = ""};
    if (!is_legal(request)) {
        ret->code = RPC_INVALID_ARGUMENT;
        ret->message = STR("a header of the call has characters that no header may have");
        return 0;
    }
    outgoing = pack(request->message);
    exchange_begin(&x, client, request);
    ops[0] = metadata_op(request, metadata);
    ops[1] = (grpc_op){.op = GRPC_OP_SEND_MESSAGE, .data.send_message = {.send_message = outgoing}};
    ops[2] = (grpc_op){.op = GRPC_OP_SEND_CLOSE_FROM_CLIENT};
    ops[3] = (grpc_op){.op = GRPC_OP_RECV_INITIAL_METADATA,
                       .data.recv_initial_metadata = {.recv_initial_metadata = &x.headers}};
    ops[4] =
        (grpc_op){.op = GRPC_OP_RECV_MESSAGE, .data.recv_message = {.recv_message = &x.incoming}};
    ops[5] = status_op(&x);
    start(&x, ops, ARRAY_SIZE(ops), &x);
    (void)wait_for(client, &x, -1); /* the status says how it went */
    free_metadata(&ops[0]);
    grpc_byte_buffer_destroy(outgoing);
    err = read_answer(&x, arena, ret);
    exchange_end(&x);
    return err;
}

/* ---- streams ---- */

int rpc_client_open(struct rpc_client *client, const struct rpc_request *request,
                    struct rpc_client_stream **ret)
{
    struct rpc_client_stream *stream = is_legal(request) ? calloc(1, sizeof(*stream)) : NULL;
    struct exchange *x;
    grpc_op ops[3], status, headers;
    size_t n = 1;

    if (!stream)
        return is_legal(request) ? -ENOMEM : -EINVAL;
    x = &stream->exchange;
    exchange_begin(x, client, request);
    status = status_op(x);
    headers = (grpc_op){.op = GRPC_OP_RECV_INITIAL_METADATA,
                        .data.recv_initial_metadata = {.recv_initial_metadata = &x->headers}};
    ops[0] = metadata_op(request, stream->metadata);
    if (request->message) {
        stream->first = pack(request->message);
        ops[n++] = (grpc_op){.op = GRPC_OP_SEND_MESSAGE,
                             .data.send_message = {.send_message = stream->first}};
        ops[n++] = (grpc_op){.op = GRPC_OP_SEND_CLOSE_FROM_CLIENT};
    }
    start(x, &status, 1, &stream->status_tag);
    start(x, &headers, 1, &stream->headers_tag);
    start(x, ops, n, &stream->open_tag);
    free_metadata(&ops[0]);
    *ret = stream;
    return 0;
}

/* What it begins with is on its way, or has failed. */
static void wait_open(struct rpc_client_stream *stream)
{
    if (!stream->open)
        (void)wait_for(stream->exchange.client, &stream->open_tag, -1);
    stream->open = true;
}

int rpc_client_send(struct rpc_client_stream *stream, const ProtobufCMessage *message)
{
    grpc_byte_buffer *outgoing;
    grpc_op op = {.op = GRPC_OP_SEND_MESSAGE};
    int ok;

    wait_open(stream);
    outgoing = pack(message);
    op.data.send_message.send_message = outgoing;
    start(&stream->exchange, &op, 1, &stream->send_tag);
    ok = wait_for(stream->exchange.client, &stream->send_tag, -1);
    grpc_byte_buffer_destroy(outgoing);
    return ok == 1 ? 0 : -EPIPE;
}

int rpc_client_receive(struct rpc_client_stream *stream, int64_t timeout_ms, struct arena *arena,
                       struct rpc_answer *ret)
{
    struct exchange *x = &stream->exchange;
    grpc_op op = {.op = GRPC_OP_RECV_MESSAGE, .data.recv_message = {.recv_message = &x->incoming}};
    int err;

    *ret = (struct rpc_answer){.reason = ""};
    if (!stream->receiving && !stream->ended)
        start(x, &op, 1, &stream->receive_tag);
    stream->receiving = !stream->ended;
    if (stream->receiving && wait_for(x->client, &stream->receive_tag, timeout_ms) == -EAGAIN)
        return -EAGAIN;
    stream->receiving = false;
    if (x->incoming)
        return read_message(x, arena, ret);
    if (!stream->ended)
        (void)wait_for(x->client, &stream->status_tag, -1);
    stream->ended = true;
    err = read_status(x, arena, ret);
    return err ? err : -EPIPE;
}

void rpc_client_cancel(struct rpc_client_stream *stream)
{
    (void)grpc_call_cancel(stream->exchange.core, NULL);
}

void rpc_client_close(struct rpc_client_stream *stream)
{
    struct exchange *x;

    if (!stream)
        return;
    x = &stream->exchange;
    rpc_client_cancel(stream);
    if (stream->receiving)
        (void)wait_for(x->client, &stream->receive_tag, -1);
    if (!stream->ended)
        (void)wait_for(x->client, &stream->status_tag, -1);
    wait_open(stream);
    (void)wait_for(x->client, &stream->headers_tag, -1);
    if (stream->first)
        grpc_byte_buffer_destroy(stream->first);
    exchange_end(x);
    free(stream);
}
