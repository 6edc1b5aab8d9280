/* The only client here: asks a server about its health, for a program that looks after another. */
#include "grpc/health/v1/health.pb-c.h"
#include "grpc/internal.h"

#include <errno.h>
#include <grpc/byte_buffer_reader.h>
#include <grpc/grpc_security.h>
#include <stdlib.h>

#define PATH "/grpc.health.v1.Health/Check"
#define SERVING GRPC__HEALTH__V1__HEALTH_CHECK_RESPONSE__SERVING_STATUS__SERVING

struct answer {
    grpc_status_code code;
    grpc_slice message;
    grpc_byte_buffer *body;
};

static bool is_serving(grpc_byte_buffer *body)
{
    Grpc__Health__V1__HealthCheckResponse *response;
    grpc_byte_buffer_reader reader;
    bool serving;
    grpc_slice bytes;

    if (!body || !grpc_byte_buffer_reader_init(&reader, body))
        return false;
    bytes = grpc_byte_buffer_reader_readall(&reader);
    grpc_byte_buffer_reader_destroy(&reader);
    response = grpc__health__v1__health_check_response__unpack(NULL, GRPC_SLICE_LENGTH(bytes),
                                                               GRPC_SLICE_START_PTR(bytes));
    grpc_slice_unref(bytes);
    serving = response && response->status == SERVING;
    grpc__health__v1__health_check_response__free_unpacked(response, NULL);
    return serving;
}

/* One call, to its end. */
static void ask(grpc_channel *channel, gpr_timespec deadline, struct answer *ret)
{
    grpc_completion_queue *cq = grpc_completion_queue_create_for_pluck(NULL);
    grpc_slice path = grpc_slice_from_static_string(PATH), empty = grpc_empty_slice();
    grpc_call *call = grpc_channel_create_call(channel, NULL, GRPC_PROPAGATE_DEFAULTS, cq, path,
                                               NULL, deadline, NULL);
    grpc_byte_buffer *request = grpc_raw_byte_buffer_create(&empty, 1);
    grpc_metadata_array headers, trailers;
    grpc_op ops[6] = {
        {.op = GRPC_OP_SEND_INITIAL_METADATA},
        {.op = GRPC_OP_SEND_MESSAGE, .data.send_message.send_message = request},
        {.op = GRPC_OP_SEND_CLOSE_FROM_CLIENT},
        {.op = GRPC_OP_RECV_INITIAL_METADATA,
         .data.recv_initial_metadata.recv_initial_metadata = &headers},
        {.op = GRPC_OP_RECV_MESSAGE, .data.recv_message.recv_message = &ret->body},
        {.op = GRPC_OP_RECV_STATUS_ON_CLIENT,
         .data.recv_status_on_client = {.trailing_metadata = &trailers,
                                        .status = &ret->code,
                                        .status_details = &ret->message}},
    };

    grpc_metadata_array_init(&headers);
    grpc_metadata_array_init(&trailers);
    if (grpc_call_start_batch(call, ops, ARRAY_SIZE(ops), ops, NULL) != GRPC_CALL_OK)
        abort(); /* a fixed list of operations */
    /* The call's own deadline ends it. */
    grpc_completion_queue_pluck(cq, ops, gpr_inf_future(GPR_CLOCK_REALTIME), NULL);
    grpc_call_unref(call);
    grpc_byte_buffer_destroy(request);
    grpc_metadata_array_destroy(&headers);
    grpc_metadata_array_destroy(&trailers);
    grpc_completion_queue_shutdown(cq);
    grpc_completion_queue_destroy(cq);
}

int rpc_check_health(const char *address, int64_t timeout_ms, struct arena *arena,
                     struct str *ret_error)
{
    struct answer answer = {.message = grpc_empty_slice()};
    grpc_channel_credentials *plain;
    grpc_channel *channel;
    int r = 0;

    grpc_init();
    plain = grpc_insecure_credentials_create();
    channel = grpc_channel_create(address, plain, NULL);
    ask(channel,
        gpr_time_add(gpr_now(GPR_CLOCK_REALTIME), gpr_time_from_millis(timeout_ms, GPR_TIMESPAN)),
        &answer);
    if (answer.code != GRPC_STATUS_OK) {
        *ret_error = arena_copy(arena, (struct str){(char *)GRPC_SLICE_START_PTR(answer.message),
                                                    GRPC_SLICE_LENGTH(answer.message)});
        r = -EHOSTUNREACH;
    } else if (!is_serving(answer.body)) {
        *ret_error = STR("not ready");
        r = -EAGAIN;
    }
    grpc_slice_unref(answer.message);
    grpc_byte_buffer_destroy(answer.body);
    grpc_channel_destroy(channel);
    grpc_channel_credentials_release(plain);
    return r;
}
