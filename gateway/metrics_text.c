/* Prometheus' text format: a family of samples for each member of the cells. */
#include "metrics.h"

#include "grpc/code.h"

#include <ngx_event.h>

#define MEMBER(name) offsetof(struct metrics_cell, name)

const uint64_t metrics_bounds_ms[METRICS_N_BUCKETS - 1] = {1,   2,   5,    10,   25,   50,   100,
                                                           250, 500, 1000, 2500, 5000, 10000};

_Static_assert(METRICS_NO_CODE == RPC_UNAUTHENTICATED + 1, "each code of gRPC has a count");

/* How a kind of series is called. */
struct naming {
    const char *prefix, *label;
};

static const struct naming namings[] = {
    [METRICS_RPC] = {"grpc_json", "rpc"},
    [METRICS_UPSTREAM] = {"grpc_json_upstream", "upstream"},
    [METRICS_LIMIT] = {"grpc_json_limit", "limit"},
};

/* ---- lines ---- */

static void head(struct buf *text, enum metrics_kind kind, const char *name, const char *type,
                 const char *help)
{
    const char *prefix = namings[kind].prefix;

    buf_printf(text, "# HELP %s_%s %s\n# TYPE %s_%s %s\n", prefix, name, help, prefix, name, type);
}

static void label_value(struct buf *text, ngx_str_t value)
{
    for (size_t i = 0; i < value.len; i++) {
        char c = (char)value.data[i];

        if (c == '"' || c == '\\')
            buf_append_char(text, '\\');
        if (c == '\n')
            buf_append_str(text, STR("\\n"));
        else
            buf_append_char(text, c);
    }
}

/* `prefix_name{label="series"`, for more labels to follow. */
static void begin(struct buf *text, const struct metrics_series *series, const char *name)
{
    const struct naming *naming = &namings[series->kind];

    buf_printf(text, "%s_%s{%s=\"", naming->prefix, name, naming->label);
    label_value(text, series->name);
    buf_append_char(text, '"');
}

static void end(struct buf *text, uint64_t value)
{
    buf_printf(text, "} %llu\n", (unsigned long long)value);
}

static void end_seconds(struct buf *text, uint64_t ms)
{
    buf_printf(text, "} %llu.%03llu\n", (unsigned long long)(ms / 1000),
               (unsigned long long)(ms % 1000));
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
    head(text, kind, name, "counter", help);
    for (const struct metrics_series *series = first(table, kind); series;
         series = of_kind(series->next, kind)) {
        for (unsigned i = 0; i < METRICS_N_STATUS; i++) {
            uint64_t value = metrics_sum(table, series, MEMBER(status) + i * sizeof(uint64_t));

            if (value == 0)
                continue;
            begin(text, series, name);
            if (metrics_status_at(i))
                buf_printf(text, ",status=\"%u\"", metrics_status_at(i));
            else
                buf_append_str(text, STR(",status=\"other\""));
            end(text, value);
        }
    }
}

static void codes(const struct metrics_table *table, enum metrics_kind kind, struct buf *text)
{
    const char *name = "grpc_results_total";

    head(text, kind, name, "counter", "Calls that a service answered, by gRPC code.");
    for (const struct metrics_series *series = first(table, kind); series;
         series = of_kind(series->next, kind)) {
        for (unsigned i = 0; i < METRICS_NO_CODE; i++) {
            uint64_t value = metrics_sum(table, series, MEMBER(code) + i * sizeof(uint64_t));

            if (value == 0)
                continue;
            begin(text, series, name);
            buf_printf(text, ",code=\"%s\"", rpc_code_name((int)i));
            end(text, value);
        }
    }
}

/* The buckets are summed up here, so _count is what they hold, whatever else a worker adds
 * meanwhile. */
static void histogram(const struct metrics_table *table, const struct metrics_series *series,
                      const char *name, struct buf *text)
{
    uint64_t value[METRICS_N_BUCKETS], total = 0;

    for (unsigned i = 0; i < METRICS_N_BUCKETS; i++)
        value[i] = total += metrics_sum(table, series, MEMBER(bucket) + i * sizeof(uint64_t));
    if (total == 0)
        return;
    for (unsigned i = 0; i < METRICS_N_BUCKETS - 1; i++) {
        uint64_t ms = metrics_bounds_ms[i];

        buf_printf(text, "%s_", namings[series->kind].prefix);
        buf_printf(text, "%s_bucket{%s=\"", name, namings[series->kind].label);
        label_value(text, series->name);
        /* As other exporters write it, 0.01 and not 0.010: labels are compared as text. */
        buf_printf(text, "\",le=\"%g\"", (double)ms / 1000);
        end(text, value[i]);
    }
    buf_printf(text, "%s_%s_bucket{%s=\"", namings[series->kind].prefix, name,
               namings[series->kind].label);
    label_value(text, series->name);
    buf_append_str(text, STR("\",le=\"+Inf\""));
    end(text, total);
    begin(text, series, "duration_seconds_count");
    end(text, total);
    begin(text, series, "duration_seconds_sum");
    end_seconds(text, metrics_sum(table, series, MEMBER(total_ms)));
}

static void durations(const struct metrics_table *table, enum metrics_kind kind, const char *help,
                      struct buf *text)
{
    head(text, kind, "duration_seconds", "histogram", help);
    for (const struct metrics_series *series = first(table, kind); series;
         series = of_kind(series->next, kind)) {
        histogram(table, series, "duration_seconds", text);
    }
}

/* A counter that is one member. */
static void counter(const struct metrics_table *table, enum metrics_kind kind, const char *name,
                    size_t member, const char *help, struct buf *text)
{
    head(text, kind, name, "counter", help);
    for (const struct metrics_series *series = first(table, kind); series;
         series = of_kind(series->next, kind)) {
        begin(text, series, name);
        end(text, metrics_sum(table, series, member));
    }
}

static void gauge(const struct metrics_table *table, const char *name, size_t begun, size_t ended,
                  const char *help, struct buf *text)
{
    head(text, METRICS_RPC, name, "gauge", help);
    for (const struct metrics_series *series = first(table, METRICS_RPC); series;
         series = of_kind(series->next, METRICS_RPC)) {
        begin(text, series, name);
        end(text, metrics_open(table, series, begun, ended));
    }
}

/* ---- of the process as a whole ---- */

static void single(struct buf *text, const char *name, const char *type, const char *help,
                   uint64_t value)
{
    head(text, METRICS_RPC, name, type, help);
    buf_printf(text, "grpc_json_%s %llu\n", name, (unsigned long long)value);
}

static void connections(struct buf *text)
{
#if (NGX_STAT_STUB)
    static const char *const states[] = {"active", "reading", "writing", "waiting"};
    ngx_atomic_t *const counts[] = {ngx_stat_active, ngx_stat_reading, ngx_stat_writing,
                                    ngx_stat_waiting};

    single(text, "connections_accepted_total", "counter", "Connections of clients.",
           *ngx_stat_accepted);
    head(text, METRICS_RPC, "connections", "gauge",
         "Connections of clients now: all, and those in each state.");
    for (size_t i = 0; i < ARRAY_SIZE(states); i++)
        buf_printf(text, "grpc_json_connections{state=\"%s\"} %llu\n", states[i],
                   (unsigned long long)*counts[i]);
#else
    (void)text;
#endif
}

static uint64_t living_workers(const struct metrics_table *table)
{
    uint64_t n = 0;

    for (uint32_t i = 0; i < table->n_slots; i++)
        n += metrics_slot_alive(&table->slots[i]);
    return n;
}

void metrics_print(const struct metrics_table *table, time_t configured, struct buf *text)
{
    statuses(table, METRICS_RPC, "requests_total", "Requests, by RPC and HTTP status.", text);
    codes(table, METRICS_RPC, text);
    durations(table, METRICS_RPC, "Time from a request's first byte to its last answer's.", text);
    counter(table, METRICS_RPC, "received_bytes_total", MEMBER(received), "Bytes from clients.",
            text);
    counter(table, METRICS_RPC, "sent_bytes_total", MEMBER(sent), "Bytes to clients.", text);
    gauge(table, "requests_open", MEMBER(begun), MEMBER(ended),
          "Requests in work now, streams included.", text);
    gauge(table, "sessions_open", MEMBER(session_begun), MEMBER(session_ended),
          "WebSocket sessions now.", text);
    statuses(table, METRICS_UPSTREAM, "requests_total",
             "Tries with an upstream, by HTTP status as it was taken.", text);
    codes(table, METRICS_UPSTREAM, text);
    durations(table, METRICS_UPSTREAM, "Time that an upstream took.", text);
    counter(table, METRICS_UPSTREAM, "received_bytes_total", MEMBER(received),
            "Bytes from upstreams.", text);
    counter(table, METRICS_UPSTREAM, "sent_bytes_total", MEMBER(sent), "Bytes to upstreams.", text);
    counter(table, METRICS_LIMIT, "refused_total", MEMBER(ended), "Requests that a limit refused.",
            text);
    connections(text);
    single(text, "workers", "gauge", "Worker processes, those that are leaving included.",
           living_workers(table));
    single(text, "configuration_loaded_timestamp_seconds", "gauge",
           "When the configuration in use was loaded, in seconds since 1970.",
           (uint64_t)configured);
}
