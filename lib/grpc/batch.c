/* Batches of send operations. One batch that sends may be outstanding per call; who may start the
 * next one is decided in call.c (unary) and stream.c. */
#include "grpc/internal.h"

#include <assert.h>

static grpc_op *add(struct batch *batch, grpc_op_type type)
{
    grpc_op *op = &batch->ops[batch->n++];

    assert(batch->n <= ARRAY_SIZE(batch->ops));
    *op = (grpc_op){.op = type};
    return op;
}

void batch_headers(struct batch *batch, struct rpc_call *call)
{
    grpc_op *op = add(batch, GRPC_OP_SEND_INITIAL_METADATA);

    if (call->headers) {
        op->data.send_initial_metadata.count = call->headers->n;
        op->data.send_initial_metadata.metadata = call->headers->items;
    }
}

void batch_message(struct batch *batch, struct rpc_call *call, grpc_slice message, uint32_t flags)
{
    grpc_op *op = add(batch, GRPC_OP_SEND_MESSAGE);

    assert(!call->outgoing);
    call->outgoing = grpc_raw_byte_buffer_create(&message, 1);
    grpc_slice_unref(message);
    op->flags = flags;
    op->data.send_message.send_message = call->outgoing;
}

void batch_status(struct batch *batch, struct rpc_call *call, struct rpc_status *status)
{
    grpc_op *op = add(batch, GRPC_OP_SEND_STATUS_FROM_SERVER);
    size_t n = 0;

    if (call->trailers) {
        n = call->trailers->n;
        memcpy(batch->trailers, call->trailers->items, n * sizeof(*batch->trailers));
    }
    if (GRPC_SLICE_LENGTH(status->details) > 0)
        batch->trailers[n++] =
            (grpc_metadata){.key = grpc_slice_from_static_string("grpc-status-details-bin"),
                            .value = status->details};
    op->data.send_status_from_server.trailing_metadata = batch->trailers;
    op->data.send_status_from_server.trailing_metadata_count = n;
    op->data.send_status_from_server.status = status->code;
    op->data.send_status_from_server.status_details = &status->message;
}

void batch_receive_close(struct batch *batch, struct rpc_call *call)
{
    grpc_op *op = add(batch, GRPC_OP_RECV_CLOSE_ON_SERVER);

    op->data.recv_close_on_server.cancelled = &call->close_cancelled;
}

void batch_start(struct batch *batch, struct rpc_call *call, struct ev *ev)
{
    grpc_call *core = call->core; /* read before the call is handed over */
    grpc_call_error error;

    rpc_call_ref(call);
    TAG_RELEASE(ev);
    error = grpc_call_start_batch(core, batch->ops, batch->n, ev, NULL);
    assert(error == GRPC_CALL_OK);
    (void)error;
}
