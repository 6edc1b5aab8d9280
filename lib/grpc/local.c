/* Calls that the process makes of its own methods: a call object without the core's part of it. */
#include "grpc/internal.h"

#include <assert.h>
#include <errno.h>

int rpc_local_new(struct rpc_server *server, const struct rpc_local *local, struct rpc_call **ret)
{
    const struct rpc_method *method = server_method(server, str_of(local->method));
    struct rpc_call *call = method ? pool_take(server) : NULL;
    int r;

    if (!method)
        return -ENOENT;
    if (!call)
        return -ENOMEM;
    call->method = method;
    r = call_admit(call);
    if (r == 0) {
        call->local = arena_calloc(&call->arena, 1, sizeof(*call->local));
        r = call->local ? 0 : -ENOMEM;
        if (r < 0)
            count_end(call, RPC_RESOURCE_EXHAUSTED);
    } else {
        count_end(call, r == -EAGAIN ? RPC_UNAVAILABLE : RPC_RESOURCE_EXHAUSTED);
    }
    if (r < 0) {
        pool_put(call);
        return r == -ENOMEM ? r : -EAGAIN;
    }
    call->local->options = *local;
    atomic_store_explicit(&call->refs, 1, memory_order_relaxed);
    atomic_store_explicit(&call->finished, false, memory_order_relaxed);
    call->deadline_ns = call->begun_ns + server->options.max_call_ms * NSEC_PER_MSEC;
    call_begin_trace(call);
    *ret = call;
    return 0;
}

void rpc_local_set_user(struct rpc_call *call, void *user)
{
    call->local->user = user;
}

void rpc_local_set_metadata(struct rpc_call *call, const struct rpc_local_metadata *metadata,
                            size_t n, struct str peer)
{
    call->given = metadata;
    call->n_given = n;
    call->peer = peer;
}

void rpc_local_authenticate(struct rpc_call *call)
{
    const struct rpc_server_options *options = &call->server->options;

    if (options->authenticate)
        options->authenticate(options->authenticate_context, call);
    else
        rpc_call_proceed(call);
}

void rpc_local_run(struct rpc_call *call, const ProtobufCMessage *request)
{
    const struct rpc_method *method = call->method;
    struct schema_fault *faults;
    struct rpc_error error;
    int n;

    assert(method->unary && request->descriptor == method->input);
    n = schema_validate(method->schema->input, request, &call->arena, &faults);
    if (n == 0) {
        method->unary(method->service, call, request);
    } else if (n < 0) {
        rpc_fail(call, RPC_RESOURCE_EXHAUSTED, "the message needs too much memory");
    } else {
        message_invalid(&call->arena, faults, (size_t)n, &error);
        rpc_fail_with(call, &error);
    }
}

int rpc_local_decode(const struct rpc_call *call, struct str bytes, struct arena *arena,
                     const ProtobufCMessage **ret, struct rpc_error *ret_error)
{
    return message_decode_bytes(call->method, bytes, arena, ret, ret_error);
}

void local_end(struct rpc_call *call, const ProtobufCMessage *response,
               const struct rpc_error *error)
{
    const struct local_call *local = call->local;

    count_end(call, error ? error->code : RPC_OK);
    if (error)
        local->options.failed(local->user, call, error);
    else
        local->options.replied(local->user, call, response);
    rpc_call_unref(call);
}

void rpc_local_end(struct rpc_call *call)
{
    bool twice = atomic_exchange(&call->finished, true);

    assert(call->local && !twice);
    (void)twice;
    count_nothing(call);
    rpc_call_unref(call);
}
