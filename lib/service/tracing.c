/* A thread that takes spans from the recorder, a batch or a second at a time, and sends them to a
 * collector. While the collector is away spans wait, the newest ones as long as there is room; one
 * batch is tried again for half a minute. Nothing else in the process waits for any of that. */
#include "service/internal.h"

#include "base/log.h"
#include "base/version.h"
#include "grpc/client.h"
#include "opentelemetry/proto/collector/trace/v1/trace_service.pb-c.h"

#include <errno.h>
#include <stdlib.h>

#define EVERY_NS NSEC_PER_SEC
#define PAUSE_NS NSEC_PER_SEC /* between two tries of a batch */
#define TRY_NS (30 * NSEC_PER_SEC)
#define CALL_MS 10000
#define LAST_CALL_MS 2000 /* of a process that stops */
#define LOG_NS (60 * NSEC_PER_SEC)
#define REQUEST_BYTES ((size_t)4 << 20)

struct tracing {
    struct trace_recorder *recorder;
    struct rpc_client *client;
    const char *address;
    pthread_t thread;
    atomic_bool stop;
    metrics_number exported, lost; /* spans */
    /* The thread's. */
    int64_t logged_ns;
    uint64_t n_lost; /* since it was last logged */
};

struct trace_recorder *tracing_recorder(const struct tracing *tracing)
{
    return tracing ? tracing->recorder : NULL;
}

/* Whether the same batch may be sent again
 * (https://opentelemetry.io/docs/specs/otlp/#failures). */
static bool may_try_again(const struct rpc_answer *answer)
{
    switch (answer->code) {
    case RPC_CANCELLED:
    case RPC_DEADLINE_EXCEEDED:
    case RPC_ABORTED:
    case RPC_OUT_OF_RANGE:
    case RPC_UNAVAILABLE:
    case RPC_DATA_LOSS:
        return true;
    default:
        return answer->code == RPC_RESOURCE_EXHAUSTED && answer->retry_after_ms > 0;
    }
}

/* Once a minute at most: a collector that is away would fill the log. */
static void lost(struct tracing *tracing, size_t n, struct str cause)
{
    int64_t now = clock_monotonic_ns();

    metrics_add(&tracing->lost, n);
    tracing->n_lost += n;
    if (tracing->logged_ns != 0 && now - tracing->logged_ns < LOG_NS)
        return;
    log_warn("spans were not exported", LOG_C("address", tracing->address),
             LOG_I("spans", (int64_t)tracing->n_lost), LOG_S("cause", cause));
    tracing->logged_ns = now;
    tracing->n_lost = 0;
}

static void pause_for(struct tracing *tracing, int64_t ns)
{
    const struct timespec pause = {.tv_sec = ns / NSEC_PER_SEC, .tv_nsec = ns % NSEC_PER_SEC};

    if (!atomic_load(&tracing->stop))
        (void)clock_nanosleep(CLOCK_MONOTONIC, 0, &pause, NULL); /* shorter is no harm */
}

/* What became of n spans that a collector was given. */
static void taken(struct tracing *tracing, const struct rpc_answer *answer, size_t n)
{
    const Opentelemetry__Proto__Collector__Trace__V1__ExportTraceServiceResponse *response =
        (const void *)answer->response;
    const Opentelemetry__Proto__Collector__Trace__V1__ExportTracePartialSuccess *partial =
        response->partial_success;

    size_t refused = 0;

    if (partial && partial->rejected_spans > 0)
        refused = (uint64_t)partial->rejected_spans < n ? (size_t)partial->rejected_spans : n;
    if (refused > 0)
        lost(tracing, refused, str_of(partial->error_message));
    metrics_add(&tracing->exported, n - refused);
}

static void export(struct tracing *tracing, const trace_export_request *request, size_t n)
{
    int64_t until_ns = clock_monotonic_ns() + TRY_NS;

    for (;;) {
        struct arena arena CLEANUP(arena_free) = {.max = REQUEST_BYTES};
        struct rpc_answer answer;
        bool last = atomic_load(&tracing->stop);
        int r = rpc_client_call(
            tracing->client,
            &(struct rpc_request){
                .service = &opentelemetry__proto__collector__trace__v1__trace_service__descriptor,
                .method = "Export",
                .message = &request->base,
                .timeout_ms = last ? LAST_CALL_MS : CALL_MS,
            },
            &arena, &answer);

        if (r < 0) {
            lost(tracing, n, str_of(strerror(-r)));
            return;
        }
        if (answer.code == RPC_OK) {
            taken(tracing, &answer, n);
            return;
        }
        if (last || !may_try_again(&answer) || clock_monotonic_ns() > until_ns) {
            lost(tracing, n, answer.message);
            return;
        }
        pause_for(tracing, PAUSE_NS);
    }
}

/* Returns how many were taken. */
static size_t export_batch(struct tracing *tracing)
{
    struct arena arena CLEANUP(arena_free) = {.max = REQUEST_BYTES};
    const trace_export_request *request;
    int n = trace_take(tracing->recorder, &arena, &request);

    if (n > 0)
        export(tracing, request, (size_t)n);
    return n > 0 ? (size_t)n : 0;
}

static void *tracing_main(void *user)
{
    struct tracing *tracing = user;

    while (!atomic_load(&tracing->stop)) {
        trace_wait(tracing->recorder, clock_monotonic_ns() + EVERY_NS);
        while (export_batch(tracing) == TRACE_BATCH && !atomic_load(&tracing->stop))
            ;
    }
    (void)export_batch(tracing); /* what the last calls left */
    return NULL;
}

void tracing_write_metrics(const struct tracing *tracing, struct buf *text)
{
    static const struct metrics_family
        spans = {"stoa_trace", "spans_total", METRICS_COUNTER,
                 "Spans by what became of them; lost: the collector did not take them; dropped: "
                 "there was no room for them to wait."},
        waiting = {"stoa_trace", "spans_waiting", METRICS_GAUGE,
                   "Spans that wait for the collector."};
    struct trace_stats stats = {.recorded = 0};
    uint64_t exported = 0, lost = 0;

    if (tracing) {
        trace_stats(tracing->recorder, &stats);
        exported = metrics_get(&tracing->exported);
        lost = metrics_get(&tracing->lost);
    }
    metrics_begin(text, &spans);
    metrics_sample(text, &spans, METRICS_LABELS(METRICS_LABEL("outcome", STR("exported"))),
                   exported);
    metrics_sample(text, &spans, METRICS_LABELS(METRICS_LABEL("outcome", STR("lost"))), lost);
    metrics_sample(text, &spans, METRICS_LABELS(METRICS_LABEL("outcome", STR("dropped"))),
                   stats.dropped);
    metrics_single(text, &waiting, stats.waiting);
}

int tracing_new(struct service *service, struct tracing **ret, struct str *ret_error)
{
    const struct service_settings *settings = &service->settings;
    struct tracing *tracing;
    int r;

    *ret = NULL;
    if (settings->traces.n == 0)
        return 0;
    *ret_error = STR("out of memory or threads");
    tracing = calloc(1, sizeof(*tracing));
    if (!tracing)
        return -ENOMEM;
    tracing->address = settings->traces.p;
    r = trace_recorder_new(
        &(struct trace_recorder_options){.service = service->definition->name,
                                         .one_in = (unsigned)settings->trace_one_in},
        &tracing->recorder);
    if (r >= 0)
        r = rpc_client_new(&(struct rpc_client_options){.schema = service->schema,
                                                        .address = tracing->address,
                                                        .user_agent = "stoa/" STOA_VERSION},
                           &service->arena, &tracing->client, ret_error);
    if (r >= 0)
        r = -pthread_create(&tracing->thread, NULL, tracing_main, tracing);
    if (r < 0) {
        rpc_client_free(tracing->client);
        trace_recorder_free(tracing->recorder);
        free(tracing);
        return r;
    }
    *ret = tracing;
    return 0;
}

void tracing_free(struct tracing *tracing)
{
    if (!tracing)
        return;
    atomic_store(&tracing->stop, true);
    trace_wake(tracing->recorder);
    pthread_join(tracing->thread, NULL);
    rpc_client_free(tracing->client);
    trace_recorder_free(tracing->recorder);
    free(tracing);
}
