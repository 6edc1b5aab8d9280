/* What is counted of calls, and how /metrics tells it. The counts are of methods of the contract,
 * so a caller adds no series. */
#include "grpc/internal.h"

#include <assert.h>

#define PROBE_INTERVAL_NS NSEC_PER_SEC

/* ---- counting ---- */

void count_begin(struct rpc_call *call)
{
    call->begun_ns = clock_monotonic_ns();
    metrics_add(&call->method->counts->open, 1);
}

void count_nothing(struct rpc_call *call)
{
    if (call->admitted)
        atomic_fetch_sub_explicit(&call->method->counts->open, 1, memory_order_relaxed);
}

size_t count_places(const struct rpc_method *method)
{
    return method->apart ? 2 : 1;
}

static bool sets(const ProtobufCMessage *request, const ProtobufCFieldDescriptor *text)
{
    const char *value = *(char *const *)((const char *)request + text->offset);

    return value && *value;
}

/* What was refused or given up says nothing about how long an answer takes. */
static bool is_answer(enum rpc_code code)
{
    return code != RPC_RESOURCE_EXHAUSTED && code != RPC_UNAVAILABLE && code != RPC_CANCELLED;
}

static void leave_place(struct rpc_call *call, enum rpc_code code, int64_t now)
{
    if (atomic_exchange(&call->placed, false))
        in_flight_end(call->among, &call->place, is_answer(code) ? now - call->placed_ns : -1, now);
}

bool count_place(struct rpc_call *call, const ProtobufCMessage *request)
{
    const struct rpc_method *method = call->method;

    if (!method->in_flight)
        return true;
    call->among = method->in_flight;
    if (method->apart && sets(request, method->apart))
        call->among++;
    call->placed_ns = clock_monotonic_ns();
    if (!in_flight_begin(call->among, call->placed_ns, &call->place))
        return false;
    atomic_store(&call->placed, true);
    if (atomic_load(&call->answered)) /* by another poller, since it is overdue: its place stays */
        leave_place(call, RPC_CANCELLED, call->placed_ns);
    return true;
}

void count_end(struct rpc_call *call, enum rpc_code code)
{
    struct rpc_counts *counts = call->method->counts;
    int64_t now;

    assert(code >= RPC_OK && code <= RPC_UNAUTHENTICATED);
    call->code = code;
    count_nothing(call);
    metrics_add(&counts->codes[code], 1);
    if (!call->admitted || !call->method->unary)
        return;
    now = clock_monotonic_ns();
    metrics_observe_ns(&counts->duration, now - call->begun_ns);
    leave_place(call, code, now);
}

static void on_probe(struct ev *ev, bool ok UNUSED)
{
    struct rpc_server *server = CONTAINER_OF(ev, struct rpc_server, on_probe);

    metrics_observe_ns(&server->queue_waits,
                       clock_monotonic_ns() - atomic_exchange(&server->probe_ns, 0));
}

void count_queue_wait(struct rpc_server *server)
{
    int64_t now = clock_monotonic_ns();

    if (atomic_load(&server->draining) || now - server->probed_ns < PROBE_INTERVAL_NS ||
        atomic_load(&server->probe_ns) != 0)
        return;
    server->on_probe.fn = on_probe;
    server->probed_ns = now;
    atomic_store(&server->probe_ns, now);
    server_ring(server, &server->on_probe);
}

/* ---- telling ---- */

static struct metrics_label rpc_label(const struct rpc_method *method)
{
    return METRICS_LABEL("rpc", method->path);
}

/* OK is told of each method, the other codes once they have come up. */
static void write_codes(const struct rpc_server *server, struct buf *text)
{
    static const struct metrics_family family = {"stoa_grpc", "calls_total", METRICS_COUNTER,
                                                 "Calls that have ended, by RPC and gRPC code."};

    metrics_begin(text, &family);
    for (size_t i = 0; i < server->n_methods; i++) {
        for (int code = RPC_OK; code <= RPC_UNAUTHENTICATED; code++) {
            uint64_t n = metrics_get(&server->methods[i].counts->codes[code]);

            if (n > 0 || code == RPC_OK)
                metrics_sample(text, &family,
                               METRICS_LABELS(rpc_label(&server->methods[i]),
                                              METRICS_LABEL("code", str_of(rpc_code_name(code)))),
                               n);
        }
    }
}

static void write_durations(const struct rpc_server *server, struct buf *text)
{
    static const struct metrics_family family = {
        "stoa_grpc", "call_duration_seconds", METRICS_HISTOGRAM,
        "Time of unary calls, from taking one off the queue to handing over its answer."};

    metrics_begin(text, &family);
    for (size_t i = 0; i < server->n_methods; i++) {
        const struct rpc_counts *counts = server->methods[i].counts;

        if (!metrics_is_empty(&counts->duration, &metrics_durations))
            metrics_write_histogram(text, &family, METRICS_LABELS(rpc_label(&server->methods[i])),
                                    &metrics_durations, &counts->duration);
    }
}

static void write_open(const struct rpc_server *server, struct buf *text)
{
    static const struct metrics_family family = {"stoa_grpc", "calls_open", METRICS_GAUGE,
                                                 "Calls in work now, streams included."};

    metrics_begin(text, &family);
    for (size_t i = 0; i < server->n_methods; i++)
        metrics_sample(text, &family, METRICS_LABELS(rpc_label(&server->methods[i])),
                       metrics_get(&server->methods[i].counts->open));
}

static void write_limits(const struct rpc_server *server, struct buf *text)
{
    uint64_t calls, messages;
    static const struct metrics_family
        limit = {"stoa_grpc", "calls_limit", METRICS_GAUGE, "Calls that may be in work at once."},
        refused = {"stoa_grpc", "calls_overload_total", METRICS_COUNTER,
                   "Calls refused since the limit was reached."},
        unknown = {"stoa_grpc", "calls_unknown_total", METRICS_COUNTER,
                   "Calls of methods that are not there."},
        carried = {"stoa_grpc", "calls_carried_total", METRICS_COUNTER,
                   "Calls that came together with others on a stream of an edge."},
        held = {"stoa_grpc", "unread_bytes", METRICS_GAUGE,
                "Answers that wait for callers other than gateways, from 4 KiB each, in bytes."},
        unread = {"stoa_grpc", "calls_unread_total", METRICS_COUNTER,
                  "Calls ended since their answers were not read while too much waited."},
        together = {"stoa_grpc", "carry_messages_total", METRICS_COUNTER,
                    "Messages in which carried calls were answered."},
        waits = {"stoa_grpc", "queue_wait_seconds", METRICS_HISTOGRAM,
                 "How long what comes in waits for the poller thread, tried once a second."};

    carry_count(server, &calls, &messages);
    metrics_single(text, &carried, calls);
    metrics_single(text, &together, messages);
    metrics_single(text, &held, atomic_load(&server->held.bytes));
    metrics_single(text, &unread, metrics_get(&server->held.ended));
    metrics_single(text, &limit, server->options.max_calls);
    metrics_single(text, &refused, atomic_load(&server->refused_calls));
    metrics_single(text, &unknown, metrics_get(&server->unknown_calls));
    metrics_begin(text, &waits);
    metrics_write_histogram(text, &waits, METRICS_NO_LABELS, &metrics_durations,
                            &server->queue_waits);
}

static void write_refused(const struct rpc_server *server, struct buf *text)
{
    static const struct metrics_family family = {
        "stoa_grpc", "calls_without_place_total", METRICS_COUNTER,
        "Unary calls refused since they would only have waited, by RPC."};

    metrics_begin(text, &family);
    for (size_t i = 0; i < server->n_methods; i++) {
        const struct rpc_method *method = &server->methods[i];
        uint64_t n = 0;

        if (!method->in_flight)
            continue;
        for (size_t k = 0; k < count_places(method); k++)
            n += in_flight_refused(&method->in_flight[k]);
        metrics_sample(text, &family, METRICS_LABELS(rpc_label(method)), n);
    }
}

void rpc_server_write_metrics(const struct rpc_server *server, struct buf *text)
{
    write_codes(server, text);
    write_durations(server, text);
    write_open(server, text);
    write_limits(server, text);
    write_refused(server, text);
}
