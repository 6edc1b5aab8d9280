/* Prometheus' text format: a family of samples for each member of the cells. */
#include "metrics.h"

#include "grpc/code.h"
#include "metrics/process.h"

#include <ngx_event.h>

#define MEMBER(name) offsetof(struct metrics_cell, name)

static const uint64_t bounds_ms[METRICS_N_BUCKETS - 1] = {1,   2,   5,    10,   25,   50,   100,
                                                          250, 500, 1000, 2500, 5000, 10000};

/* nginx counts time in milliseconds, so there is nothing below the first. */
const struct metrics_bounds metrics_gateway_durations = {bounds_ms, METRICS_N_BUCKETS - 1, 1e-3};

_Static_assert(METRICS_NO_CODE == RPC_UNAUTHENTICATED + 1, "each code of gRPC has a count");

/* How a kind of series is called. */
struct naming {
    const char *prefix, *label;
};

static const struct naming namings[] = {
    [METRICS_RPC] = {"grpc_json", "rpc"},
    [METRICS_UPSTREAM] = {"grpc_json_upstream", "upstream"},
    [METRICS_LIMIT] = {"grpc_json_limit", "limit"},
    [METRICS_ATTACH] = {"grpc_json_attach", "instance"},
};

static struct metrics_family family_of(enum metrics_kind kind, const char *name,
                                       enum metrics_type type, const char *help)
{
    return (struct metrics_family){namings[kind].prefix, name, type, help};
}

static struct metrics_label label_of(const struct metrics_series *series)
{
    return METRICS_LABEL(namings[series->kind].label,
                         ((struct str){(const char *)series->name.data, series->name.len}));
}

/* ---- families ---- */

/* From a place in the list on, the first of a kind. */
static const struct metrics_series *of_kind(const struct metrics_series *s, enum metrics_kind kind)
{
    while (s && s->kind != kind)
        s = s->next;
    return s;
}

static const struct metrics_series *first(const struct metrics_table *table, enum metrics_kind kind)
{
    return of_kind(__atomic_load_n(&table->first, __ATOMIC_ACQUIRE), kind);
}

static void statuses(const struct metrics_table *table, enum metrics_kind kind, const char *name,
                     const char *help, struct buf *text)
{
    const struct metrics_family family = family_of(kind, name, METRICS_COUNTER, help);
    char status[8];

    metrics_begin(text, &family);
    for (const struct metrics_series *series = first(table, kind); series;
         series = of_kind(series->next, kind)) {
        for (unsigned i = 0; i < METRICS_N_STATUS; i++) {
            uint64_t value = metrics_sum(table, series, MEMBER(status) + i * sizeof(uint64_t));

            if (value == 0)
                continue;
            snprintf(status, sizeof(status), "%u", metrics_status_at(i));
            metrics_sample(
                text, &family,
                METRICS_LABELS(
                    label_of(series),
                    METRICS_LABEL("status", metrics_status_at(i) ? str_of(status) : STR("other"))),
                value);
        }
    }
}

static void codes(const struct metrics_table *table, enum metrics_kind kind, struct buf *text)
{
    const struct metrics_family family = family_of(kind, "grpc_results_total", METRICS_COUNTER,
                                                   "Calls that a service answered, by gRPC code.");

    metrics_begin(text, &family);
    for (const struct metrics_series *series = first(table, kind); series;
         series = of_kind(series->next, kind)) {
        for (unsigned i = 0; i < METRICS_NO_CODE; i++) {
            uint64_t value = metrics_sum(table, series, MEMBER(code) + i * sizeof(uint64_t));

            if (value > 0)
                metrics_sample(text, &family,
                               METRICS_LABELS(label_of(series),
                                              METRICS_LABEL("code", str_of(rpc_code_name((int)i)))),
                               value);
        }
    }
}

static void durations(const struct metrics_table *table, enum metrics_kind kind, const char *name,
                      const char *help, struct buf *text)
{
    const struct metrics_family family = family_of(kind, name, METRICS_HISTOGRAM, help);

    metrics_begin(text, &family);
    for (const struct metrics_series *series = first(table, kind); series;
         series = of_kind(series->next, kind)) {
        uint64_t counts[METRICS_N_BUCKETS], total = 0;

        for (unsigned i = 0; i < METRICS_N_BUCKETS; i++)
            total += counts[i] = metrics_sum(table, series, MEMBER(bucket) + i * sizeof(uint64_t));
        if (total > 0 || kind == METRICS_ATTACH) /* instances are few, RPCs many */
            metrics_sample_histogram(text, &family, METRICS_LABELS(label_of(series)),
                                     &metrics_gateway_durations, counts,
                                     metrics_sum(table, series, MEMBER(total_ms)));
    }
}

/* A counter that is one member. */
static void counter(const struct metrics_table *table, enum metrics_kind kind, const char *name,
                    size_t member, const char *help, struct buf *text)
{
    const struct metrics_family family = family_of(kind, name, METRICS_COUNTER, help);

    metrics_begin(text, &family);
    for (const struct metrics_series *series = first(table, kind); series;
         series = of_kind(series->next, kind))
        metrics_sample(text, &family, METRICS_LABELS(label_of(series)),
                       metrics_sum(table, series, member));
}

static void gauge(const struct metrics_table *table, enum metrics_kind kind, const char *name,
                  size_t begun, size_t ended, const char *help, struct buf *text)
{
    const struct metrics_family family = family_of(kind, name, METRICS_GAUGE, help);

    metrics_begin(text, &family);
    for (const struct metrics_series *series = first(table, kind); series;
         series = of_kind(series->next, kind))
        metrics_sample(text, &family, METRICS_LABELS(label_of(series)),
                       metrics_open(table, series, begun, ended));
}

/* ---- of nginx as a whole ---- */

static void single(struct buf *text, const char *name, enum metrics_type type, const char *help,
                   uint64_t value)
{
    const struct metrics_family family = family_of(METRICS_RPC, name, type, help);

    metrics_single(text, &family, value);
}

static void connections(struct buf *text)
{
#if (NGX_STAT_STUB)
    static const char *const states[] = {"active", "reading", "writing", "waiting"};
    ngx_atomic_t *const counts[] = {ngx_stat_active, ngx_stat_reading, ngx_stat_writing,
                                    ngx_stat_waiting};
    const struct metrics_family family =
        family_of(METRICS_RPC, "connections", METRICS_GAUGE,
                  "Connections of clients now: all, and those in each state.");

    single(text, "connections_accepted_total", METRICS_COUNTER, "Connections of clients.",
           *ngx_stat_accepted);
    metrics_begin(text, &family);
    for (size_t i = 0; i < ARRAY_SIZE(states); i++)
        metrics_sample(text, &family, METRICS_LABELS(METRICS_LABEL("state", str_of(states[i]))),
                       *counts[i]);
#else
    (void)text;
#endif
}

/* Workers that live: their number, and what they use. */
static void workers(const struct metrics_table *table, struct buf *text)
{
    pid_t pids[METRICS_MAX_SLOTS];
    size_t n = 0;

    for (uint32_t i = 0; i < table->n_slots && n < METRICS_MAX_SLOTS; i++) {
        if (metrics_slot_alive(&table->slots[i]))
            pids[n++] = (pid_t)table->slots[i].pid;
    }
    single(
        text, "workers", METRICS_GAUGE,
        "Worker processes, those that are leaving included; the figures of the process are their "
        "sums.",
        n);
    metrics_write_processes(text, pids, n);
}

/* Of all sessions; a worker that has gone has none. */
static uint64_t queued(const struct metrics_table *table)
{
    uint64_t sum = 0;

    for (const struct metrics_series *series = first(table, METRICS_RPC); series;
         series = of_kind(series->next, METRICS_RPC)) {
        for (uint32_t i = 0; i < table->n_slots; i++) {
            if (metrics_slot_alive(&table->slots[i]))
                sum += __atomic_load_n(&series->cells[i].queued, __ATOMIC_RELAXED);
        }
    }
    return sum;
}

static void attached(const struct metrics_table *table, struct buf *text)
{
    gauge(table, METRICS_ATTACH, "streams_open", MEMBER(begun), MEMBER(ended),
          "Attach streams to an instance now.", text);
    gauge(table, METRICS_ATTACH, "sessions_open", MEMBER(session_begun), MEMBER(session_ended),
          "Sessions that an instance has, or is asked to take, now.", text);
    durations(
        table, METRICS_ATTACH, "accepted_seconds",
        "Time from the last byte of a WebSocket's handshake until an instance had accepted the "
        "session.",
        text);
    counter(table, METRICS_ATTACH, "resumed_total", MEMBER(resumed),
            "Sessions of a lost stream that an instance was asked to take over.", text);
    counter(table, METRICS_ATTACH, "sent_messages_total", MEMBER(messages_sent),
            "Messages to an instance, each with items of many sessions.", text);
    counter(table, METRICS_ATTACH, "sent_bytes_total", MEMBER(sent), "Their bytes.", text);
    counter(table, METRICS_ATTACH, "received_messages_total", MEMBER(messages_received),
            "Messages from an instance.", text);
    counter(table, METRICS_ATTACH, "received_bytes_total", MEMBER(received), "Their bytes.", text);
    counter(table, METRICS_ATTACH, "deliveries_total", MEMBER(deliveries),
            "Copies of an instance's broadcasts, one for each session that wanted them.", text);
}

void metrics_print(const struct metrics_table *table, time_t configured, struct buf *text)
{
    statuses(table, METRICS_RPC, "requests_total", "Requests, by RPC and HTTP status.", text);
    codes(table, METRICS_RPC, text);
    durations(table, METRICS_RPC, "duration_seconds",
              "Time from a request's first byte to its last answer's.", text);
    counter(table, METRICS_RPC, "received_bytes_total", MEMBER(received), "Bytes from clients.",
            text);
    counter(table, METRICS_RPC, "sent_bytes_total", MEMBER(sent), "Bytes to clients.", text);
    gauge(table, METRICS_RPC, "requests_open", MEMBER(begun), MEMBER(ended),
          "Requests in work now, streams included.", text);
    gauge(table, METRICS_RPC, "sessions_open", MEMBER(session_begun), MEMBER(session_ended),
          "WebSocket sessions now.", text);
    counter(table, METRICS_RPC, "sessions_slow_total", MEMBER(session_slow),
            "WebSocket sessions closed since their clients read too slowly.", text);
    single(text, "sessions_queued_bytes", METRICS_GAUGE,
           "Bytes that wait for clients of sessions now.", queued(table));
    statuses(table, METRICS_UPSTREAM, "requests_total",
             "Tries with an upstream, by HTTP status as it was taken.", text);
    codes(table, METRICS_UPSTREAM, text);
    durations(table, METRICS_UPSTREAM, "duration_seconds", "Time that an upstream took.", text);
    counter(table, METRICS_UPSTREAM, "received_bytes_total", MEMBER(received),
            "Bytes from upstreams.", text);
    counter(table, METRICS_UPSTREAM, "sent_bytes_total", MEMBER(sent), "Bytes to upstreams.", text);
    counter(table, METRICS_LIMIT, "refused_total", MEMBER(ended),
            "Requests and connections that a limit refused.", text);
    attached(table, text);
    connections(text);
    workers(table, text);
    metrics_write_build(text, "gateway");
    single(text, "configuration_loaded_timestamp_seconds", METRICS_GAUGE,
           "When the configuration in use was loaded, in seconds since 1970.",
           (uint64_t)configured);
}
