/* grpc.testing.TestService, as the interoperability clients of gRPC expect it
 * (https://github.com/grpc/grpc/blob/master/doc/interop-test-descriptions.md). */
#include "testserver.h"

#include "grpc/testing/test.pb-c.h"

#include <errno.h>

#define MAX_PAYLOAD (32 << 20)

typedef Grpc__Testing__StreamingOutputCallRequest output_request;
typedef Grpc__Testing__StreamingOutputCallResponse output_response;
typedef Grpc__Testing__ResponseParameters parameters;

/* Zeros for all payloads: pages that are never written cost nothing. */
static uint8_t zeros[MAX_PAYLOAD];

static Grpc__Testing__Payload payload_of(int32_t size)
{
    Grpc__Testing__Payload payload = GRPC__TESTING__PAYLOAD__INIT;

    payload.body.data = zeros;
    payload.body.len = (size_t)size;
    return payload;
}

static bool bad_size(int32_t size)
{
    return size < 0 || size > MAX_PAYLOAD;
}

static const struct rpc_error bad_size_error = {.code = RPC_INVALID_ARGUMENT,
                                                .message = {"no such payload size", 20}};

static bool wanted_error(const Grpc__Testing__EchoStatus *status, struct rpc_error *ret_error)
{
    if (!status || status->code == 0)
        return false;
    *ret_error =
        (struct rpc_error){.code = (enum rpc_code)status->code, .message = str_of(status->message)};
    return true;
}

/* ---- unary ---- */

static void empty_call(void *service UNUSED, struct rpc_call *call,
                       const ProtobufCMessage *request UNUSED)
{
    Grpc__Testing__Empty response = GRPC__TESTING__EMPTY__INIT;
    struct rpc_error error;

    if (outcome_metadata(call, NULL, &error) < 0)
        rpc_fail_with(call, &error);
    else
        rpc_reply(call, &response.base);
}

static void unary_call(void *service UNUSED, struct rpc_call *call, const ProtobufCMessage *message)
{
    const Grpc__Testing__SimpleRequest *request = (const Grpc__Testing__SimpleRequest *)message;
    Grpc__Testing__SimpleResponse response = GRPC__TESTING__SIMPLE_RESPONSE__INIT;
    Grpc__Testing__Payload payload;
    struct rpc_error error;

    if (outcome_metadata(call, NULL, &error) < 0 || wanted_error(request->response_status, &error))
        rpc_fail_with(call, &error);
    else if (bad_size(request->response_size))
        rpc_fail_with(call, &bad_size_error);
    else {
        payload = payload_of(request->response_size);
        response.payload = &payload;
        rpc_reply(call, &response.base);
    }
}

static void unimplemented_call(void *service UNUSED, struct rpc_call *call,
                               const ProtobufCMessage *request UNUSED)
{
    rpc_fail(call, RPC_UNIMPLEMENTED, "UnimplementedCall is not implemented");
}

/* ---- streams of answers ---- */

/* The answers that one request asks for. */
struct order {
    struct order *next;
    size_t at, n;
    parameters *list;
    struct rpc_error error; /* code RPC_OK: none */
};

/* Orders stay in the call's arena: a stream's memory grows with what was asked of it. */
struct output {
    struct order *first, **last;
    bool complete;   /* no more orders will come */
    bool half_close; /* nothing is sent before they are complete */
};

static enum production output_next(void *state, int64_t *ret_delay_us)
{
    struct output *output = state;

    while (output->first && output->first->error.code == RPC_OK &&
           output->first->at == output->first->n) {
        output->first = output->first->next;
        if (!output->first)
            output->last = &output->first;
    }
    if (output->half_close && !output->complete)
        return PRODUCE_NOTHING;
    if (!output->first)
        return output->complete ? PRODUCE_END : PRODUCE_NOTHING;
    if (output->first->error.code != RPC_OK)
        return PRODUCE_END;
    *ret_delay_us = output->first->list[output->first->at].interval_us;
    return PRODUCE_MESSAGE;
}

static int64_t output_send(void *state, struct rpc_call *call)
{
    struct output *output = state;
    int32_t size = output->first->list[output->first->at].size;
    Grpc__Testing__Payload payload = payload_of(size);
    output_response response = GRPC__TESTING__STREAMING_OUTPUT_CALL_RESPONSE__INIT;
    int r;

    response.payload = &payload;
    r = rpc_stream_send(call, &response.base);
    if (r < 0)
        return r;
    output->first->at++;
    return size;
}

static void output_end(void *state, struct rpc_call *call)
{
    struct output *output = state;

    rpc_stream_finish(call, output->first ? &output->first->error : NULL);
}

static const struct producer_source output_source = {output_next, output_send, output_end};

static int copy_parameters(struct rpc_call *call, const output_request *request,
                           struct order *order)
{
    order->n = request->n_response_parameters;
    order->list = arena_calloc(rpc_call_arena(call), order->n, sizeof(*order->list));
    if (!order->list)
        return -ENOMEM;
    for (size_t i = 0; i < order->n; i++) {
        order->list[i] = *request->response_parameters[i];
        if (bad_size(order->list[i].size)) {
            order->n = i;
            order->error = bad_size_error;
        }
    }
    return 0;
}

/* The request as an order that outlives it; NULL without memory. */
static struct order *order_of(struct rpc_call *call, const output_request *request)
{
    struct arena *arena = rpc_call_arena(call);
    struct order *order = arena_calloc(arena, 1, sizeof(*order));

    if (!order || copy_parameters(call, request, order) < 0)
        return NULL;
    if (wanted_error(request->response_status, &order->error))
        order->error.message = arena_copy(arena, order->error.message);
    return order;
}

static void add_order(struct rpc_call *call, const output_request *request)
{
    struct producer *producer = rpc_call_context(call);
    struct output *output = producer ? producer_state(producer) : NULL;
    struct order *order;

    if (!producer) /* the stream was refused when it opened */
        return;
    producer_lock(producer);
    order = order_of(call, request);
    if (order) {
        *output->last = order;
        output->last = &order->next;
    } else {
        producer_fail(producer, RPC_RESOURCE_EXHAUSTED, STR("no memory"));
    }
    producer_unlock(producer);
}

static void complete(struct rpc_call *call)
{
    struct producer *producer = rpc_call_context(call);

    if (!producer)
        return;
    producer_lock(producer);
    ((struct output *)producer_state(producer))->complete = true;
    producer_unlock(producer);
}

static bool open_output(struct rpc_call *call, bool half_close)
{
    struct output *output = arena_calloc(rpc_call_arena(call), 1, sizeof(*output));
    struct rpc_error error = {.code = RPC_RESOURCE_EXHAUSTED, .message = STR("no memory")};

    if (!output || outcome_metadata(call, NULL, &error) < 0 ||
        !producer_new(call, &output_source, output)) {
        rpc_stream_finish(call, &error);
        return false;
    }
    output->last = &output->first;
    output->half_close = half_close;
    return true;
}

static void streaming_output_open(void *service UNUSED, struct rpc_call *call,
                                  const ProtobufCMessage *request)
{
    if (!open_output(call, false))
        return;
    add_order(call, (const output_request *)request);
    complete(call);
}

static void full_duplex_open(void *service UNUSED, struct rpc_call *call,
                             const ProtobufCMessage *request UNUSED)
{
    (void)open_output(call, false);
}

static void half_duplex_open(void *service UNUSED, struct rpc_call *call,
                             const ProtobufCMessage *request UNUSED)
{
    (void)open_output(call, true);
}

static void duplex_message(void *service UNUSED, struct rpc_call *call,
                           const ProtobufCMessage *message)
{
    add_order(call, (const output_request *)message);
}

static void duplex_half_close(void *service UNUSED, struct rpc_call *call)
{
    complete(call);
}

static const struct rpc_stream_handler streaming_output = {
    .open = streaming_output_open, .drained = producer_drained, .closed = producer_closed};
static const struct rpc_stream_handler full_duplex = {
    .open = full_duplex_open,
    .message = duplex_message,
    .half_close = duplex_half_close,
    .drained = producer_drained,
    .closed = producer_closed,
};
static const struct rpc_stream_handler half_duplex = {
    .open = half_duplex_open,
    .message = duplex_message,
    .half_close = duplex_half_close,
    .drained = producer_drained,
    .closed = producer_closed,
};

/* ---- a stream of requests ---- */

static void streaming_input_open(void *service UNUSED, struct rpc_call *call,
                                 const ProtobufCMessage *request UNUSED)
{
    int64_t *sum = arena_calloc(rpc_call_arena(call), 1, sizeof(*sum));
    struct rpc_error error = {.code = RPC_RESOURCE_EXHAUSTED, .message = STR("no memory")};

    rpc_call_set_context(call, sum);
    if (!sum || outcome_metadata(call, NULL, &error) < 0)
        rpc_fail_with(call, &error);
}

static void streaming_input_message(void *service UNUSED, struct rpc_call *call,
                                    const ProtobufCMessage *message)
{
    const Grpc__Testing__StreamingInputCallRequest *request =
        (const Grpc__Testing__StreamingInputCallRequest *)message;
    int64_t *sum = rpc_call_context(call);

    *sum += request->payload ? (int64_t)request->payload->body.len : 0;
}

static void streaming_input_half_close(void *service UNUSED, struct rpc_call *call)
{
    Grpc__Testing__StreamingInputCallResponse response =
        GRPC__TESTING__STREAMING_INPUT_CALL_RESPONSE__INIT;
    int64_t sum = *(int64_t *)rpc_call_context(call);

    response.aggregated_payload_size = sum > INT32_MAX ? INT32_MAX : (int32_t)sum;
    rpc_reply(call, &response.base);
}

static const struct rpc_stream_handler streaming_input = {
    .open = streaming_input_open,
    .message = streaming_input_message,
    .half_close = streaming_input_half_close,
};

/* ---- the service ---- */

int interop_add(struct rpc_server *server, struct str *ret_error)
{
    static const struct rpc_handler handlers[] = {
        {.method = "EmptyCall", .unary = empty_call},
        {.method = "UnaryCall", .unary = unary_call},
        {.method = "CacheableUnaryCall", .unary = unary_call},
        {.method = "StreamingOutputCall", .stream = &streaming_output},
        {.method = "StreamingInputCall", .stream = &streaming_input},
        {.method = "FullDuplexCall", .stream = &full_duplex},
        {.method = "HalfDuplexCall", .stream = &half_duplex},
        {.method = "UnimplementedCall", .unary = unimplemented_call},
    };

    return rpc_server_add(server, &grpc__testing__test_service__descriptor, handlers,
                          ARRAY_SIZE(handlers), NULL, ret_error);
}
