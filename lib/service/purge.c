#include "service/purge.h"

#include "base/log.h"
#include "metrics/metrics.h"
#include "service/internal.h"

#include <errno.h>
#include <stdatomic.h>
#include <stdlib.h>

struct purge {
    struct service *service;
    const struct purge_step *steps;
    size_t n_steps;
    int64_t interval_ns;
    int64_t due_ns; /* main thread */
    atomic_bool busy;
    /* Of whoever has made it busy: the main thread, then the database's engine thread. */
    struct arena arena; /* of the statement on its way */
    size_t step;
    int64_t until_ns; /* then each step gives way to the next, though it has more to do */
    struct {
        metrics_number rows, failures;
        metrics_number succeeded_us; /* when it last came to its end, since the epoch; 0: never */
    } counts;
};

static void write_metrics(void *user, struct buf *text)
{
    const struct purge *purge = user;
    static const struct metrics_family
        last = {"stoa_purge", "last_success_timestamp_seconds", METRICS_GAUGE,
                "When what nobody needs was last removed without an error, in seconds since 1970."},
        rows = {"stoa_purge", "rows_total", METRICS_COUNTER,
                "What the purge has removed or sorted."},
        failures = {"stoa_purge", "failures_total", METRICS_COUNTER, "Purges that failed."};

    metrics_begin(text, &last);
    metrics_sample_real(text, &last, METRICS_NO_LABELS,
                        (double)metrics_get(&purge->counts.succeeded_us) / USEC_PER_SEC);
    metrics_single(text, &rows, metrics_get(&purge->counts.rows));
    metrics_single(text, &failures, metrics_get(&purge->counts.failures));
}

int purge_new(struct service *service, const struct purge_step *steps, size_t n_steps,
              int64_t interval_s, struct purge **ret)
{
    struct purge *purge = calloc(1, sizeof(*purge));

    if (!purge)
        return -ENOMEM;
    purge->service = service;
    purge->steps = steps;
    purge->n_steps = n_steps;
    purge->interval_ns = interval_s * NSEC_PER_SEC;
    arena_init(&purge->arena, 64 * 1024);
    service_add_metrics(service, write_metrics, purge);
    *ret = purge;
    return 0;
}

void purge_free(struct purge *purge)
{
    if (!purge)
        return;
    arena_free(&purge->arena);
    free(purge);
}

static void on_purged(void *user, const struct db_result *result);

static void give_up(struct purge *purge, struct str cause)
{
    const struct db_statement *statements = purge->service->definition->statements;

    log_warn("old rows are not purged; trying again later",
             LOG_C("statement", statements[purge->steps[purge->step].statement].name),
             LOG_S("cause", cause));
    metrics_add(&purge->counts.failures, 1);
    atomic_store(&purge->busy, false);
}

/* The step that it is at, or the next one that is wanted; NULL: there is none. */
static const struct purge_step *wanted_step(struct purge *purge)
{
    for (; purge->step < purge->n_steps; purge->step++) {
        const struct purge_step *step = &purge->steps[purge->step];

        if (!step->wanted || step->wanted(purge->service))
            return step;
    }
    return NULL;
}

static void purge_batch(struct purge *purge)
{
    const struct purge_step *step = wanted_step(purge);
    struct db_query *query;
    int r;

    if (!step) {
        metrics_set(&purge->counts.succeeded_us, (uint64_t)clock_realtime_us());
        atomic_store(&purge->busy, false);
        return;
    }
    arena_free(&purge->arena);
    query = db_query(service_db(purge->service), &purge->arena, step->statement);
    if (query && step->bind)
        step->bind(purge->service, query);
    r = query ? db_submit(query, INT64_MAX, NULL, on_purged, purge) : -ENOMEM;
    if (r < 0)
        give_up(purge, str_of(strerror(-r)));
}

static void on_purged(void *user, const struct db_result *result)
{
    struct purge *purge = user;

    if (result->error != DB_OK) {
        give_up(purge, db_cause(result));
        return;
    }
    metrics_add(&purge->counts.rows, (uint64_t)db_get_int8(result, 0, 0));
    if (db_get_int8(result, 0, 0) < purge->steps[purge->step].batch ||
        clock_monotonic_ns() >= purge->until_ns)
        purge->step++;
    purge_batch(purge);
}

int purge_tick(struct purge *purge)
{
    int64_t now = clock_monotonic_ns();

    if (now >= purge->due_ns) {
        purge->due_ns = now + purge->interval_ns;
        if (!atomic_exchange(&purge->busy, true)) {
            purge->step = 0;
            purge->until_ns = now + purge->interval_ns / 2; /* so that the next one is on time */
            purge_batch(purge);
        }
    }
    return (int)((purge->due_ns - now) / NSEC_PER_MSEC) + 1;
}
