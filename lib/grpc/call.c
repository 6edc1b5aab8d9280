/* A call: how it begins, what a handler can ask of it, and how a unary one ends.
 *
 * A unary call has one owner at a time: the runtime until the authenticate hook, the hook, the
 * runtime again while the request is read, then the handler. The owner holds a reference and gives
 * it up by ending the call. `answered` decides who sends the status, since the runtime may answer
 * first when the call is overdue. */
#include "grpc/internal.h"

#include "base/log.h"

#include <assert.h>
#include <errno.h>
#include <grpc/support/alloc.h>
#include <stdarg.h>
#include <stdio.h>

/* Packed messages grow when they are unpacked (two bytes can make a struct of fifty); what a
 * handler needs for its answer comes on top. */
#define ARENA_FACTOR 8
#define ARENA_EXTRA ((size_t)16 << 20)

static const struct rpc_error overload_error = {
    .code = RPC_RESOURCE_EXHAUSTED,
    .message = STR("too many calls at once"),
    .reason = "OVERLOADED",
    .retry_after_ms = 1000,
};

/* ---- references ---- */

void rpc_call_ref(struct rpc_call *call)
{
    atomic_fetch_add_explicit(&call->refs, 1, memory_order_relaxed);
}

void rpc_call_unref(struct rpc_call *call)
{
    unsigned before = atomic_fetch_sub_explicit(&call->refs, 1, memory_order_acq_rel);

    assert(before > 0);
    if (before == 1)
        pool_put(call);
}

/* ---- tags ---- */

static void on_request(struct ev *ev, bool ok)
{
    struct rpc_call *call = CONTAINER_OF(ev, struct rpc_call, on_request);

    if (!ok) { /* the server stops */
        pool_put(call);
        return;
    }
    atomic_fetch_add_explicit(&call->server->n_came, 1, memory_order_relaxed);
    pool_post(call->server, 1);
    call_accept(call);
}

static void on_open(struct ev *ev, bool ok UNUSED)
{
    struct rpc_call *call = CONTAINER_OF(ev, struct rpc_call, on_open);

    stream_opened(call);
    rpc_call_unref(call);
}

void call_handle(struct rpc_call *call)
{
    const struct rpc_method *method = call->method;
    const ProtobufCMessage *request;
    struct rpc_error error;

    if (!call->incoming && !call->carried) /* half-closed without a request, too large, or gone */
        rpc_fail(call, RPC_UNIMPLEMENTED, "the call has no request message");
    else if (atomic_load(&call->cancelled))
        rpc_fail(call, RPC_CANCELLED, "the caller has gone");
    else if (!method->apart && !count_place(call, NULL))
        rpc_fail_with(call, &overload_error);
    else if (message_decode(call, &call->arena, &request, &error) < 0)
        rpc_fail_with(call, &error);
    else if (method->apart && !count_place(call, request))
        rpc_fail_with(call, &overload_error);
    else
        method->unary(method->service, call, request);
}

static void on_message(struct ev *ev, bool ok UNUSED)
{
    struct rpc_call *call = CONTAINER_OF(ev, struct rpc_call, on_message);

    if (call->stream)
        stream_received(call);
    else
        call_handle(call);
    rpc_call_unref(call);
}

static void on_close(struct ev *ev, bool ok UNUSED)
{
    struct rpc_call *call = CONTAINER_OF(ev, struct rpc_call, on_close);

    if (call->close_cancelled)
        atomic_store(&call->cancelled, true);
    if (call->stream)
        stream_closed(call);
    rpc_call_unref(call);
}

static void on_sent(struct ev *ev, bool ok)
{
    struct rpc_call *call = CONTAINER_OF(ev, struct rpc_call, on_sent);

    if (call->stream)
        stream_sent(call, ok);
    else
        held_set(call, 0);
    rpc_call_unref(call);
}

void call_init(struct rpc_call *call, struct rpc_server *server)
{
    struct arena arena = call->arena;

    *call = (struct rpc_call){
        .on_request = {on_request},
        .on_open = {on_open},
        .on_message = {on_message},
        .on_close = {on_close},
        .on_sent = {on_sent},
        .server = server,
        .arena = arena,
        .finished = true, /* nobody's yet: ending it is a bug that shows */
    };
    if (!arena.head)
        arena_init(&call->arena, server->options.max_request_bytes * ARENA_FACTOR + ARENA_EXTRA);
    grpc_call_details_init(&call->details);
    grpc_metadata_array_init(&call->metadata);
}

/* ---- traces ---- */

void call_begin_trace(struct rpc_call *call)
{
    const struct trace_recorder *recorder = call->server->options.recorder;
    struct trace_context context;

    if (!recorder || call->method->built_in ||
        !trace_begin(recorder, rpc_call_metadata(call, "traceparent"), &context))
        return;
    call->trace = arena_alloc(&call->arena, sizeof(*call->trace));
    if (call->trace)
        *call->trace = (struct call_trace){context, clock_realtime_us()};
}

/* Whether a code says that the service is at fault
 * (https://opentelemetry.io/docs/specs/semconv/rpc/grpc/). */
static bool is_failure(enum rpc_code code)
{
    return code == RPC_UNKNOWN || code == RPC_DEADLINE_EXCEEDED || code == RPC_UNIMPLEMENTED ||
           code == RPC_INTERNAL || code == RPC_UNAVAILABLE || code == RPC_DATA_LOSS;
}

void call_end_trace(struct rpc_call *call)
{
    if (!call->trace)
        return;
    trace_record(call->server->options.recorder, &(struct trace_span){
                                                     .trace = &call->trace->context,
                                                     .kind = TRACE_RPC,
                                                     .name = call->method->path,
                                                     .code = (int)call->code,
                                                     .failed = is_failure(call->code),
                                                     .begun_us = call->trace->begun_us,
                                                     .end_us = clock_realtime_us(),
                                                 });
}

const struct trace_context *rpc_call_trace(const struct rpc_call *call)
{
    return call->trace ? &call->trace->context : NULL;
}

/* ---- the beginning ---- */

static int64_t monotonic_ns(gpr_timespec t)
{
    t = gpr_convert_clock_type(t, GPR_CLOCK_MONOTONIC);
    if (t.tv_sec >= INT64_MAX / NSEC_PER_SEC)
        return INT64_MAX;
    return t.tv_sec * NSEC_PER_SEC + t.tv_nsec;
}

/* All that a unary call is answered, in one batch or on its carrier. One of response (taken over)
 * and error is NULL. started: somebody waits for its close already. */
static void send_answer(struct rpc_call *call, const grpc_slice *response,
                        const struct rpc_error *error, bool started)
{
    struct batch batch = {.n = 0};
    struct rpc_status status;

    if (call->carried) {
        carry_answer(call, response, error);
        return;
    }
    status_make(&status, error);
    batch_headers(&batch, call);
    if (response) {
        if (GRPC_SLICE_LENGTH(*response) >= HELD_LEAST && held_is_counted(call))
            held_set(call, GRPC_SLICE_LENGTH(*response));
        batch_message(&batch, call, *response, 0);
    }
    batch_status(&batch, call, &status);
    if (!started)
        batch_receive_close(&batch, call);
    batch_start(&batch, call, &call->on_sent);
    status_free(&status);
    held_enforce(call->server);
}

/* Answers a call that is not started. */
static void refuse(struct rpc_call *call, const struct rpc_error *error)
{
    if (call->method)
        count_end(call, error->code);
    send_answer(call, NULL, error, false);
    rpc_call_unref(call);
}

static void refuse_unknown(struct rpc_call *call, struct str path)
{
    metrics_add(&call->server->unknown_calls, 1);
    refuse(call, &(struct rpc_error){
                     .code = RPC_UNIMPLEMENTED,
                     .message = arena_printf(&call->arena, "unknown method %.*s", STR_FMT(path)),
                 });
}

static void refuse_overload(struct rpc_call *call)
{
    atomic_fetch_add_explicit(&call->server->refused_calls, 1, memory_order_relaxed);
    refuse(call, &overload_error);
}

/* Without memory for it the caller decides by itself whether to ask elsewhere. */
static void say_untouched(struct rpc_call *call)
{
    if (rpc_call_add_trailer(call, STR("grpc-retry-pushback-ms"), STR("0")))
        log_warn("out of memory: a refused call is not sent elsewhere");
}

static void refuse_stopping(struct rpc_call *call)
{
    say_untouched(call);
    refuse(call, &(struct rpc_error){.code = RPC_UNAVAILABLE,
                                     .message = STR("the server is stopping"),
                                     .reason = "STOPPING"});
}

/* How many calls may be in work before this one. What the process calls itself comes from calls
 * that are. */
static size_t limit_for(struct rpc_call *call, size_t before)
{
    const struct rpc_server_options *options = &call->server->options;
    size_t kept = options->is_preferred ? options->max_calls / 4 : 0;

    if (kept > 0 && before >= options->max_calls - kept &&
        ((!call->core && !call->carried) ||
         options->is_preferred(options->is_preferred_context, call)))
        kept = 0;
    return options->max_calls - kept;
}

/* Counts the call as active, or refuses it: there are too many, or the server stops. Who stops it
 * sets `draining` and then reads `active`; here it is the other way round, so one sees the other.
 */
int call_admit(struct rpc_call *call)
{
    struct rpc_server *server = call->server;
    size_t before = atomic_fetch_add(&server->active, 1);
    bool stopping = atomic_load(&server->draining);

    if (call->method->vital || (!stopping && before < limit_for(call, before))) {
        call->admitted = true;
        atomic_fetch_add_explicit(&server->started_calls, 1, memory_order_relaxed);
        count_begin(call);
        return 0;
    }
    pool_dismiss(server);
    return stopping ? -EAGAIN : -ENOBUFS;
}

/* False: the call has been refused. */
static bool admit(struct rpc_call *call)
{
    int r = call_admit(call);

    if (r == -EAGAIN)
        refuse_stopping(call);
    else if (r < 0)
        refuse_overload(call);
    return r == 0;
}

static void set_deadline(struct rpc_call *call, int64_t deadline_ns)
{
    call->deadline_ns = deadline_ns;
    if (call->deadline_ns == INT64_MAX && !call->stream)
        call->deadline_ns = call->begun_ns + call->server->options.max_call_ms * NSEC_PER_MSEC;
    else if (!call->carried)
        return; /* the core looks after it */
    bound_call(call);
}

static bool is_stream(const struct schema_method *method)
{
    return method->client_streaming || method->server_streaming;
}

static void start(struct rpc_call *call, int64_t deadline_ns)
{
    const struct rpc_server_options *options = &call->server->options;
    struct batch batch = {.n = 0};

    atomic_store_explicit(&call->finished, false, memory_order_relaxed);
    set_deadline(call, deadline_ns);
    call_begin_trace(call);
    if (call->core) {
        batch_receive_close(&batch, call);
        batch_start(&batch, call, &call->on_close);
    }
    if (options->authenticate && !call->method->built_in)
        options->authenticate(options->authenticate_context, call);
    else
        rpc_call_proceed(call);
}

void call_begin(struct rpc_call *call, struct str path, int64_t deadline_ns)
{
    atomic_store_explicit(&call->refs, 1, memory_order_relaxed); /* the owner's */
    call->method = server_method(call->server, path);
    if (!call->method)
        refuse_unknown(call, path);
    else if (call->carried && is_stream(call->method->schema))
        refuse(call, &(struct rpc_error){.code = RPC_UNIMPLEMENTED,
                                         .message = STR("a stream is a call of its own")});
    else if (!admit(call))
        return;
    else if (call->carried && carry_keep(call) < 0)
        refuse_overload(call);
    else if (is_stream(call->method->schema) && stream_new(call) < 0)
        refuse_overload(call);
    else
        start(call, deadline_ns);
}

void call_accept(struct rpc_call *call)
{
    call_begin(call, slice_str(&call->details.method), monotonic_ns(call->details.deadline));
}

void call_receive(struct rpc_call *call)
{
    struct batch batch = {
        .ops = {{.op = GRPC_OP_RECV_MESSAGE, .data.recv_message.recv_message = &call->incoming}},
        .n = 1,
    };

    batch_start(&batch, call, &call->on_message);
}

void rpc_call_proceed(struct rpc_call *call)
{
    if (call->local)
        call->local->options.proceed(call->local->user, call);
    else if (call->carried)
        carry_proceed(call);
    else if (call->stream)
        stream_proceed(call);
    else
        call_receive(call);
}

/* ---- the end of a unary call ---- */

/* True for the one who may send the status, which is counted as this code. */
static MUST_CHECK bool claim(struct rpc_call *call, enum rpc_code code)
{
    if (atomic_exchange(&call->answered, true))
        return false;
    count_end(call, atomic_load(&call->cancelled) ? RPC_CANCELLED : code);
    if (call->bounded)
        unbound_call(call);
    return true;
}

void call_answer(struct rpc_call *call, const struct rpc_error *error)
{
    send_answer(call, NULL, error, true);
}

static void begin_end(struct rpc_call *call)
{
    bool twice = atomic_exchange(&call->finished, true);

    assert(!twice); /* a call is ended exactly once */
    (void)twice;
}

/* Takes over the reference to the slice. */
static void reply_unary(struct rpc_call *call, grpc_slice response)
{
    begin_end(call);
    if (claim(call, RPC_OK) && !atomic_load(&call->cancelled))
        send_answer(call, &response, NULL, true);
    else
        grpc_slice_unref(response);
    rpc_call_unref(call);
}

void rpc_reply(struct rpc_call *call, const ProtobufCMessage *response)
{
    assert(response->descriptor == call->method->output);
    if (call->stream) {
        stream_reply(call, response);
    } else if (call->local) {
        begin_end(call);
        local_end(call, response, NULL);
    } else {
        reply_unary(call, message_pack(response));
    }
}

void rpc_reply_packed(struct rpc_call *call, struct str response)
{
    assert(!call->stream && !call->local);
    reply_unary(call, grpc_slice_from_copied_buffer(response.p, response.n));
}

void rpc_fail_with(struct rpc_call *call, const struct rpc_error *error)
{
    assert(error->code != RPC_OK);
    if (call->stream) {
        rpc_stream_finish(call, error);
        return;
    }
    begin_end(call);
    if (call->local) {
        local_end(call, NULL, error);
        return;
    }
    if (claim(call, error->code) && !atomic_load(&call->cancelled))
        call_answer(call, error);
    rpc_call_unref(call);
}

void rpc_fail(struct rpc_call *call, enum rpc_code code, const char *fmt, ...)
{
    char message[512];
    va_list ap;
    int n;

    va_start(ap, fmt);
    n = vsnprintf(message, sizeof(message), fmt, ap);
    va_end(ap);
    if (n < 0)
        n = 0;
    if ((size_t)n >= sizeof(message))
        n = sizeof(message) - 1;
    rpc_fail_with(call, &(struct rpc_error){.code = code, .message = {message, (size_t)n}});
}

void rpc_refuse(struct rpc_call *call, const char *reason, const char *message)
{
    say_untouched(call);
    rpc_fail_with(call, &(struct rpc_error){
                            .code = RPC_UNAVAILABLE, .message = str_of(message), .reason = reason});
}

/* ---- what a handler can ask ---- */

struct arena *rpc_call_arena(struct rpc_call *call)
{
    return &call->arena;
}

int64_t rpc_call_deadline_ns(const struct rpc_call *call)
{
    return call->deadline_ns;
}

const atomic_bool *rpc_call_cancelled(const struct rpc_call *call)
{
    return &call->cancelled;
}

const struct schema_method *rpc_call_method(const struct rpc_call *call)
{
    return call->method->schema;
}

void rpc_call_set_context(struct rpc_call *call, void *context)
{
    call->context = context;
}

void *rpc_call_context(const struct rpc_call *call)
{
    return call->context;
}

struct str rpc_call_metadata(const struct rpc_call *call, const char *key)
{
    struct str wanted = str_of(key);

    for (size_t i = 0; i < call->n_given; i++)
        if (str_eq(call->given[i].key, wanted))
            return call->given[i].value;
    for (size_t i = 0; i < call->metadata.count; i++)
        if (str_eq(slice_str(&call->metadata.metadata[i].key), wanted))
            return slice_str(&call->metadata.metadata[i].value);
    return STR_NULL;
}

size_t rpc_call_metadata_count(const struct rpc_call *call, const char *key)
{
    struct str wanted = str_of(key);
    size_t n = 0;

    for (size_t i = 0; i < call->n_given; i++)
        n += str_eq(call->given[i].key, wanted);
    for (size_t i = 0; i < call->metadata.count; i++)
        n += str_eq(slice_str(&call->metadata.metadata[i].key), wanted);
    return n;
}

struct str rpc_call_peer(struct rpc_call *call)
{
    if (!call->peer.p && call->core) {
        char *peer = grpc_call_get_peer(call->core);
        call->peer = arena_copy(&call->arena, str_of(peer));
        gpr_free(peer);
    }
    return call->peer;
}

static int add_metadata(struct rpc_call *call, struct rpc_metadata **to, struct str key,
                        struct str value)
{
    grpc_metadata item = {.key = grpc_slice_from_copied_buffer(key.p, key.n),
                          .value = grpc_slice_from_copied_buffer(value.p ? value.p : "", value.n)};
    int r = 0;

    if (!*to)
        *to = arena_calloc(&call->arena, 1, sizeof(**to));
    if (!*to)
        r = -ENOMEM;
    else if (!grpc_header_key_is_legal(item.key) ||
             (!grpc_is_binary_header(item.key) && !grpc_header_nonbin_value_is_legal(item.value)))
        r = -EINVAL;
    else if ((*to)->n >= RPC_MAX_METADATA)
        r = -ENOSPC;
    if (r < 0) {
        grpc_slice_unref(item.key);
        grpc_slice_unref(item.value);
        return r;
    }
    (*to)->items[(*to)->n++] = item;
    return 0;
}

int rpc_call_add_header(struct rpc_call *call, struct str key, struct str value)
{
    if (call->stream && stream_headers_sent(call))
        return -EALREADY;
    return add_metadata(call, &call->headers, key, value);
}

int rpc_call_add_trailer(struct rpc_call *call, struct str key, struct str value)
{
    return add_metadata(call, &call->trailers, key, value);
}
