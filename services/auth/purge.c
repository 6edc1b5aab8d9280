/* Removing sessions and revocations that have expired: one statement a minute, of a bounded number
 * of rows, and sooner while there are more. Every instance does it; they skip each other's rows.
 *
 * auth_purge_tick() runs on the main thread, the completion on the database's engine thread.
 */
#include "auth.h"

#include "base/log.h"
#include "service/purge.h"

#include <errno.h>
#include <pthread.h>
#include <stdlib.h>

#define INTERVAL (60 * NSEC_PER_SEC)
#define BUSY_INTERVAL (1 * NSEC_PER_SEC)
#define BUSY_ROWS 1000 /* the least that a full purge removes (statements.c) */
#define TIMEOUT (20 * NSEC_PER_SEC)

static const enum auth_statement statements[] = {AUTH_PURGE_SESSIONS, AUTH_PURGE_REVOCATIONS};

struct auth_purge {
    struct auth *auth;
    struct arena arena; /* of the statement in flight */
    size_t turn;        /* which statement is next; the main thread's */
    struct purge_counts counts;

    pthread_mutex_t lock; /* guards what follows */
    bool running;
    int64_t next_ns;
};

static void write_metrics(void *user, struct buf *text)
{
    const struct auth_purge *p = user;

    purge_write_counts(&p->counts, text);
}

int auth_purge_new(struct auth *auth, struct auth_purge **ret)
{
    struct auth_purge *p = calloc(1, sizeof(*p));

    if (!p)
        return -ENOMEM;
    p->auth = auth;
    arena_init(&p->arena, 64 * 1024);
    pthread_mutex_init(&p->lock, NULL);
    service_add_metrics(auth->service, write_metrics, p);
    p->next_ns = clock_monotonic_ns() + INTERVAL / ARRAY_SIZE(statements);
    *ret = p;
    return 0;
}

void auth_purge_free(struct auth_purge *p)
{
    if (!p)
        return;
    arena_free(&p->arena);
    pthread_mutex_destroy(&p->lock);
    free(p);
}

static void end(struct auth_purge *p, int64_t wait_ns)
{
    pthread_mutex_lock(&p->lock);
    p->running = false;
    p->next_ns = clock_monotonic_ns() + wait_ns;
    pthread_mutex_unlock(&p->lock);
}

static void on_purged(void *user, const struct db_result *result)
{
    struct auth_purge *p = user;
    int64_t rows = 0;

    if (result->error == DB_OK &&
        str_to_int64(str_of(PQcmdTuples((PGresult *)result->rows)), &rows) < 0)
        rows = 0;
    if (result->error != DB_OK && result->error != DB_UNAVAILABLE)
        log_warn("what has expired could not be removed", LOG_S("cause", db_cause(result)));
    if (rows > 0)
        log_debug("expired rows removed", LOG_I("rows", rows));
    metrics_add(result->error == DB_OK ? &p->counts.rows : &p->counts.failures,
                result->error == DB_OK ? (uint64_t)rows : 1);
    if (result->error == DB_OK)
        metrics_set(&p->counts.succeeded_us, (uint64_t)clock_realtime_us());
    end(p, rows >= BUSY_ROWS ? BUSY_INTERVAL : INTERVAL / ARRAY_SIZE(statements));
}

int auth_purge_tick(struct auth_purge *p)
{
    int64_t now = clock_monotonic_ns(), wait;
    struct db_query *query;
    bool due;

    pthread_mutex_lock(&p->lock);
    due = !p->running && p->next_ns <= now;
    p->running = p->running || due;
    wait = p->running ? BUSY_INTERVAL : p->next_ns - now;
    pthread_mutex_unlock(&p->lock);
    if (due) {
        arena_reset(&p->arena);
        query = db_query(service_db(p->auth->service), &p->arena,
                         statements[p->turn++ % ARRAY_SIZE(statements)]);
        if (!query || db_submit(query, now + TIMEOUT, NULL, on_purged, p) < 0)
            end(p, INTERVAL);
    }
    return (int)(wait / NSEC_PER_MSEC) + 1;
}
