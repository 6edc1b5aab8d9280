#include "indexer.h"

#include "base/log.h"
#include "statements.h"

#include <errno.h>
#include <stdlib.h>

struct indexer {
    struct service *service;
    int64_t interval_ns;
    int64_t due_ns; /* main thread */
    atomic_bool busy;
    /* Of whoever has made it busy: the main thread, then a thread of the database's pool. */
    struct arena arena; /* of the batch on its way */
    int64_t until_ns;   /* batches follow one another until then */
    int64_t taken;      /* by the batch */
};

int indexer_new(struct service *service, int64_t interval_ms, struct indexer **ret)
{
    struct indexer *indexer = calloc(1, sizeof(*indexer));

    if (!indexer)
        return -ENOMEM;
    indexer->service = service;
    indexer->interval_ns = interval_ms * NSEC_PER_MSEC;
    arena_init(&indexer->arena, 64 * 1024);
    *ret = indexer;
    return 0;
}

void indexer_free(struct indexer *indexer)
{
    if (!indexer)
        return;
    arena_free(&indexer->arena);
    free(indexer);
}

static void give_up(struct indexer *indexer, struct str cause)
{
    log_warn("articles are not taken into the search; trying again later", LOG_S("cause", cause));
    atomic_store(&indexer->busy, false);
}

static int index_in_transaction(struct db_tx *tx, void *user)
{
    struct indexer *indexer = user;
    struct db_query *query =
        db_query(service_db(indexer->service), &indexer->arena, INDEX_ARTICLES);
    struct db_result result;

    if (!query)
        return -ENOMEM;
    if (db_tx_run(tx, query, &result) != DB_OK)
        return -EIO; /* the outcome says more */
    indexer->taken = db_get_int8(&result, 0, 0);
    return 0;
}

static void on_indexed(void *user, const struct db_result *outcome, int failed);

static void index_batch(struct indexer *indexer)
{
    int r;

    arena_free(&indexer->arena);
    r = db_transaction(service_db(indexer->service), INT64_MAX, NULL, NULL, index_in_transaction,
                       on_indexed, indexer);
    if (r < 0)
        give_up(indexer, str_of(strerror(-r)));
}

static void on_indexed(void *user, const struct db_result *outcome, int failed)
{
    struct indexer *indexer = user;

    if (outcome->error != DB_OK)
        give_up(indexer, outcome->message);
    else if (failed)
        give_up(indexer, str_of(strerror(-failed)));
    else if (indexer->taken == POSTS_INDEX_BATCH && clock_monotonic_ns() < indexer->until_ns)
        index_batch(indexer);
    else
        atomic_store(&indexer->busy, false);
}

int indexer_tick(struct indexer *indexer)
{
    int64_t now = clock_monotonic_ns();

    if (now >= indexer->due_ns) {
        indexer->due_ns = now + indexer->interval_ns;
        if (!atomic_exchange(&indexer->busy, true)) {
            indexer->until_ns = now + indexer->interval_ns / 20;
            index_batch(indexer);
        }
    }
    return (int)((indexer->due_ns - now) / NSEC_PER_MSEC) + 1;
}
