#include "service/purge.h"

#include "base/log.h"
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
};

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
        give_up(purge, result->message);
        return;
    }
    if (db_get_int8(result, 0, 0) < purge->steps[purge->step].batch)
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
            purge_batch(purge);
        }
    }
    return (int)((purge->due_ns - now) / NSEC_PER_MSEC) + 1;
}
