/* Spans: what was done for a request that is traced, on its way to an OpenTelemetry collector.
 *
 * A recorder keeps the spans of a process until an exporter takes them, as a message of OTLP
 * (https://opentelemetry.io/docs/specs/otlp/). It is bounded: what does not fit is dropped and
 * counted, and nobody waits. How ids travel is http/trace_context.h's; how messages do, the
 * exporter's: a thread of lib/service, and the gateway's workers.
 *
 * All functions may be called on any thread, but for new and free. A NULL recorder records nothing:
 * whoever may trace asks for that first, and does nothing more.
 */
#ifndef STOA_TRACE_TRACE_H
#define STOA_TRACE_TRACE_H

#include "base/arena.h"
#include "http/trace_context.h"

#define TRACE_NAME_MAX 128 /* a longer name is cut */
#define TRACE_BATCH 512    /* spans in a message, at most */
#define TRACE_WAITING 4096 /* spans that wait, at most */

struct trace_recorder;

struct trace_recorder_options {
    const char *service; /* "posts": service.name; outlives the recorder */
    unsigned one_in;     /* of requests without a trace of their own, one in so many is traced; 0:
                            none */
};

/* -ENOMEM. */
int trace_recorder_new(const struct trace_recorder_options *options,
                       struct trace_recorder **ret) MUST_CHECK;
void trace_recorder_free(struct trace_recorder *recorder); /* NULL is nothing */

/* ---- making spans ---- */

/* Starts a span as trace_start() does. What has no valid traceparent is sampled when its turn has
 * come. False: it is not sampled, or there are no random bytes, and there is nothing to record.
 * The span's beginning is now. */
bool trace_begin(const struct trace_recorder *recorder, struct str traceparent,
                 struct trace_context *ret) MUST_CHECK;

/* Whether a trace is among the one in so many, by its id: all who ask agree. 0: none is. */
bool trace_is_chosen(const struct trace_context *trace, unsigned one_in);

enum trace_kind {
    TRACE_HTTP, /* the gateway's, of a request; code: HTTP status; detail: its method */
    TRACE_RPC,  /* a service's, of a call; name: "/package.Service/Method"; code: gRPC status */
    TRACE_SQL,  /* of a statement; name: its name; detail: SQLSTATE of an error, or empty; code: how
                   many callers' writes went in it */
};

struct trace_span {
    const struct trace_context *trace; /* whose span it is */
    enum trace_kind kind;
    struct str name, detail;
    int code;
    bool failed;              /* it is an error of ours, not of who asked */
    int64_t begun_us, end_us; /* Unix time */
};

/* Copies it. */
void trace_record(struct trace_recorder *recorder, const struct trace_span *span);

/* A statement, for those that send them: on behalf of what, and since when. */
struct trace_statement {
    const struct trace_context *parent; /* NULL: of nothing that is traced */
    int64_t begun_us;
};

/* parent: NULL when it is not traced. */
struct trace_statement trace_statement_begin(const struct trace_context *parent);

/* Records the statement, if it has a parent, as a span of its own. sqlstate: empty unless Postgres
 * refused it; failed: it came to no result. */
void trace_statement_end(struct trace_recorder *recorder, const struct trace_statement *statement,
                         const char *name, const char *sqlstate, bool failed, size_t writes);

/* ---- exporting them ---- */

/* Waits until a batch is full, or until_ns (clock_monotonic_ns() terms), or trace_wake(). */
void trace_wait(struct trace_recorder *recorder, int64_t until_ns);
void trace_wake(struct trace_recorder *recorder);

typedef struct Opentelemetry__Proto__Collector__Trace__V1__ExportTraceServiceRequest
    trace_export_request;

/* Takes the oldest spans, TRACE_BATCH at most, as a request in the arena. Returns how many; 0: none
 * wait. -ENOMEM: they are lost, and count as dropped. */
int trace_take(struct trace_recorder *recorder, struct arena *arena,
               const trace_export_request **ret) MUST_CHECK;

struct trace_stats {
    uint64_t recorded, dropped; /* since the beginning; dropped: for want of room or memory */
    size_t waiting;
};
void trace_stats(struct trace_recorder *recorder, struct trace_stats *ret);

#endif
