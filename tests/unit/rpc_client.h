/* A blocking gRPC client on the C core, for tests of lib/grpc. One thread per client; every wait
 * ends after CLIENT_WAIT_S at the latest. */
#ifndef STOA_TESTS_RPC_CLIENT_H
#define STOA_TESTS_RPC_CLIENT_H

#include "base/base.h"

#include <assert.h>
#include <grpc/byte_buffer_reader.h>
#include <grpc/grpc.h>
#include <grpc/grpc_security.h>
#include <protobuf-c/protobuf-c.h>
#include <stdio.h>
#include <stdlib.h>

#define CLIENT_WAIT_S 60

struct client {
    grpc_completion_queue *cq;
    grpc_channel *channel;
};

struct client_metadata {
    const char *key;
    struct str value;
};

struct client_call {
    struct client *client;
    grpc_call *core;
    grpc_metadata_array headers, trailers;
    grpc_status_code code;
    grpc_slice message;
    bool have_headers, have_status, receiving;
    grpc_byte_buffer *incoming;
    char headers_tag, status_tag, send_tag, receive_tag;
};

static inline void client_open_with(struct client *client, const char *target,
                                    grpc_channel_credentials *creds, const char *tls_name,
                                    bool compress)
{
    grpc_arg args[] = {
        {.type = GRPC_ARG_INTEGER,
         .key = (char *)GRPC_ARG_USE_LOCAL_SUBCHANNEL_POOL,
         .value.integer = 1},
        {.type = GRPC_ARG_INTEGER,
         .key = (char *)GRPC_COMPRESSION_CHANNEL_DEFAULT_ALGORITHM,
         .value.integer = compress ? GRPC_COMPRESS_GZIP : GRPC_COMPRESS_NONE},
        {.type = GRPC_ARG_INTEGER, .key = (char *)GRPC_ARG_ENABLE_RETRIES, .value.integer = 0},
        /* Windows stay as they are when nobody reads. */
        {.type = GRPC_ARG_INTEGER, .key = (char *)GRPC_ARG_HTTP2_BDP_PROBE, .value.integer = 0},
        {.type = GRPC_ARG_STRING,
         .key = (char *)GRPC_SSL_TARGET_NAME_OVERRIDE_ARG,
         .value.string = (char *)(tls_name ? tls_name : "")},
    };
    grpc_channel_args all = {tls_name ? 5 : 4, args};

    grpc_init();
    client->cq = grpc_completion_queue_create_for_pluck(NULL);
    client->channel = grpc_channel_create(target, creds, &all);
    grpc_channel_credentials_release(creds);
}

static inline void client_open(struct client *client, const char *target)
{
    client_open_with(client, target, grpc_insecure_credentials_create(), NULL, false);
}

static inline void client_close(struct client *client)
{
    grpc_channel_destroy(client->channel);
    grpc_completion_queue_shutdown(client->cq);
    while (grpc_completion_queue_pluck(client->cq, NULL, gpr_inf_future(GPR_CLOCK_REALTIME), NULL)
               .type != GRPC_QUEUE_SHUTDOWN)
        ;
    grpc_completion_queue_destroy(client->cq);
    grpc_shutdown();
}

static inline gpr_timespec client_in_ms(int64_t ms)
{
    return gpr_time_add(gpr_now(GPR_CLOCK_REALTIME), gpr_time_from_millis(ms, GPR_TIMESPAN));
}

/* False after ms milliseconds without the event. */
static inline bool client_wait_ms(struct client_call *call, char *tag, int64_t ms, bool *ok)
{
    grpc_event event = grpc_completion_queue_pluck(call->client->cq, tag, client_in_ms(ms), NULL);

    *ok = event.success != 0;
    return event.type == GRPC_OP_COMPLETE;
}

static inline bool client_wait(struct client_call *call, char *tag)
{
    bool ok, came = client_wait_ms(call, tag, CLIENT_WAIT_S * 1000, &ok);

    assert(came);
    return ok;
}

static inline void client_batch(struct client_call *call, const grpc_op *ops, size_t n, char *tag)
{
    grpc_call_error error = grpc_call_start_batch(call->core, ops, n, tag, NULL);

    assert(error == GRPC_CALL_OK);
    (void)error;
}

/* timeout_ms 0: no deadline. */
static inline void client_begin(struct client *client, struct client_call *call, const char *method,
                                int64_t timeout_ms, const struct client_metadata *metadata,
                                size_t n)
{
    grpc_metadata items[8];
    grpc_op ops[2] = {{.op = GRPC_OP_SEND_INITIAL_METADATA}, {.op = GRPC_OP_RECV_STATUS_ON_CLIENT}};
    grpc_op headers = {.op = GRPC_OP_RECV_INITIAL_METADATA};
    grpc_slice path = grpc_slice_from_copied_string(method);
    grpc_slice host = grpc_slice_from_static_string("localhost");

    assert(n <= ARRAY_SIZE(items));
    *call = (struct client_call){.client = client};
    grpc_metadata_array_init(&call->headers);
    grpc_metadata_array_init(&call->trailers);
    for (size_t i = 0; i < n; i++)
        items[i] = (grpc_metadata){
            .key = grpc_slice_from_copied_string(metadata[i].key),
            .value = grpc_slice_from_copied_buffer(metadata[i].value.p, metadata[i].value.n)};
    call->core = grpc_channel_create_call(
        client->channel, NULL, GRPC_PROPAGATE_DEFAULTS, client->cq, path, &host,
        timeout_ms ? client_in_ms(timeout_ms) : gpr_inf_future(GPR_CLOCK_REALTIME), NULL);
    ops[0].data.send_initial_metadata.count = n;
    ops[0].data.send_initial_metadata.metadata = items;
    ops[0].flags = GRPC_INITIAL_METADATA_WAIT_FOR_READY;
    ops[1].data.recv_status_on_client.trailing_metadata = &call->trailers;
    ops[1].data.recv_status_on_client.status = &call->code;
    ops[1].data.recv_status_on_client.status_details = &call->message;
    headers.data.recv_initial_metadata.recv_initial_metadata = &call->headers;
    client_batch(call, &headers, 1, &call->headers_tag);
    client_batch(call, ops, 2, &call->status_tag);
    for (size_t i = 0; i < n; i++) {
        grpc_slice_unref(items[i].key);
        grpc_slice_unref(items[i].value);
    }
    grpc_slice_unref(path);
}

static inline grpc_byte_buffer *client_buffer(struct str bytes)
{
    grpc_slice slice = grpc_slice_from_copied_buffer(bytes.p ? bytes.p : "", bytes.n);
    grpc_byte_buffer *buffer = grpc_raw_byte_buffer_create(&slice, 1);

    grpc_slice_unref(slice);
    return buffer;
}

/* Sends a message; false when the call has ended. */
static inline bool client_send_bytes(struct client_call *call, struct str bytes)
{
    grpc_byte_buffer *buffer = client_buffer(bytes);
    grpc_op op = {.op = GRPC_OP_SEND_MESSAGE, .data.send_message.send_message = buffer};
    bool ok;

    client_batch(call, &op, 1, &call->send_tag);
    ok = client_wait(call, &call->send_tag);
    grpc_byte_buffer_destroy(buffer);
    return ok;
}

static inline bool client_send(struct client_call *call, const ProtobufCMessage *message)
{
    size_t n = protobuf_c_message_get_packed_size(message);
    uint8_t *bytes = malloc(n + 1);
    bool ok;

    assert(bytes);
    protobuf_c_message_pack(message, bytes);
    ok = client_send_bytes(call, (struct str){(char *)bytes, n});
    free(bytes);
    return ok;
}

static inline bool client_half_close(struct client_call *call)
{
    grpc_op op = {.op = GRPC_OP_SEND_CLOSE_FROM_CLIENT};

    client_batch(call, &op, 1, &call->send_tag);
    return client_wait(call, &call->send_tag);
}

/* Waits for a message up to ms; NULL in *ret_bytes->p: none will come. False: not yet. The bytes
 * belong to the caller (free). */
static inline bool client_receive_ms(struct client_call *call, int64_t ms, struct str *ret_bytes)
{
    grpc_op op = {.op = GRPC_OP_RECV_MESSAGE, .data.recv_message.recv_message = &call->incoming};
    grpc_byte_buffer_reader reader;
    bool ok;

    *ret_bytes = STR_NULL;
    if (!call->receiving)
        client_batch(call, &op, 1, &call->receive_tag);
    call->receiving = !client_wait_ms(call, &call->receive_tag, ms, &ok);
    if (call->receiving)
        return false;
    if (call->incoming) {
        size_t n = grpc_byte_buffer_length(call->incoming);
        char *bytes = malloc(n + 1);
        grpc_slice all;

        assert(bytes);
        grpc_byte_buffer_reader_init(&reader, call->incoming);
        all = grpc_byte_buffer_reader_readall(&reader);
        memcpy(bytes, GRPC_SLICE_START_PTR(all), n);
        bytes[n] = '\0';
        grpc_slice_unref(all);
        grpc_byte_buffer_reader_destroy(&reader);
        grpc_byte_buffer_destroy(call->incoming);
        call->incoming = NULL;
        *ret_bytes = (struct str){bytes, n};
    }
    return true;
}

static inline struct str client_receive_bytes(struct client_call *call)
{
    struct str bytes;
    bool came = client_receive_ms(call, CLIENT_WAIT_S * 1000, &bytes);

    assert(came);
    (void)came;
    return bytes;
}

/* Waits for the next message and drops it; false: none will come. */
static inline bool client_skip(struct client_call *call)
{
    struct str bytes = client_receive_bytes(call);

    free((char *)bytes.p);
    return bytes.p != NULL;
}

/* The next message, unpacked (protobuf_c_message_free_unpacked); NULL: none will come. */
static inline void *client_receive(struct client_call *call, const ProtobufCMessageDescriptor *type)
{
    struct str bytes = client_receive_bytes(call);
    ProtobufCMessage *message;

    if (!bytes.p)
        return NULL;
    message = protobuf_c_message_unpack(type, NULL, bytes.n, (const uint8_t *)bytes.p);
    assert(message);
    free((char *)bytes.p);
    return message;
}

static inline void client_headers(struct client_call *call)
{
    if (!call->have_headers)
        client_wait(call, &call->headers_tag);
    call->have_headers = true;
}

/* The status, when the call has ended. */
static inline int client_status(struct client_call *call)
{
    if (!call->have_status)
        client_wait(call, &call->status_tag);
    call->have_status = true;
    return (int)call->code;
}

static inline struct str client_message(const struct client_call *call)
{
    return (struct str){(const char *)GRPC_SLICE_START_PTR(call->message),
                        GRPC_SLICE_LENGTH(call->message)};
}

static inline struct str client_find(const grpc_metadata_array *metadata, const char *key)
{
    for (size_t i = 0; i < metadata->count; i++)
        if (grpc_slice_str_cmp(metadata->metadata[i].key, key) == 0)
            return (struct str){(const char *)GRPC_SLICE_START_PTR(metadata->metadata[i].value),
                                GRPC_SLICE_LENGTH(metadata->metadata[i].value)};
    return STR_NULL;
}

static inline void client_cancel(struct client_call *call)
{
    grpc_call_cancel(call->core, NULL);
}

/* Cancels the call if it has not ended, and frees it. */
static inline void client_end(struct client_call *call)
{
    if (!call->have_status)
        client_cancel(call);
    client_headers(call);
    client_status(call);
    if (call->receiving) {
        client_wait(call, &call->receive_tag);
        grpc_byte_buffer_destroy(call->incoming);
    }
    grpc_slice_unref(call->message);
    grpc_metadata_array_destroy(&call->headers);
    grpc_metadata_array_destroy(&call->trailers);
    grpc_call_unref(call->core);
}

/* Sends one message and half-closes: what unary and server streaming calls begin with. */
static inline void client_request_bytes(struct client *client, struct client_call *call,
                                        const char *method, int64_t timeout_ms, struct str bytes)
{
    client_begin(client, call, method, timeout_ms, NULL, 0);
    if (client_send_bytes(call, bytes))
        client_half_close(call);
}

static inline void client_request(struct client *client, struct client_call *call,
                                  const char *method, int64_t timeout_ms,
                                  const ProtobufCMessage *request)
{
    client_begin(client, call, method, timeout_ms, NULL, 0);
    if (client_send(call, request))
        client_half_close(call);
}

#endif
