/* The pool: blocking threads, each with a connection of its own, for transactions that read,
 * decide and write. Bodies and completions run on these threads.
 *
 * Until COMMIT is sent, nothing of a transaction can last. So a serialization failure, a deadlock
 * or a lost connection before that point runs it again from the start while its deadline lasts; a
 * connection that breaks during COMMIT leaves the outcome unknown: DB_UNAVAILABLE. */
#include "pg/internal.h"

#include "base/log.h"

#include <assert.h>
#include <errno.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>

#define ANSWER_GRACE_NS (5 * NSEC_PER_SEC) /* for a cancel, COMMIT and ROLLBACK to be answered */
#define PAUSE_FIRST_MS 2
#define PAUSE_MAX_MS 250
#define MAX_LOSSES 3

struct job {
    STAILQ_ENTRY(job) next;
    int64_t deadline_ns;
    const atomic_bool *cancelled;
    const struct trace_context *trace;
    db_tx_fn *body;
    void (*done)(void *user, const struct db_result *outcome, int body_result);
    void *user;
};

/* A thread of the pool, and the transaction that it runs. */
struct db_tx {
    struct db *db;
    pthread_t thread;
    PGconn *pg;   /* NULL: not connected */
    bool tainted; /* a cancel was asked for: it may still come, so the connection must go */
    int64_t deadline_ns;
    const struct trace_context *trace; /* of what it is a part; NULL: of nothing that is traced */
    PGresult *last;                    /* backs the strings and rows of what was returned last */
    struct db_result result;           /* of the last statement; once an error, it stays */
};

struct pool {
    pthread_mutex_t lock;
    pthread_cond_t work;
    STAILQ_HEAD(, job) waiting;
    size_t n_waiting;
    bool stop;
    unsigned n_threads;
    struct db_tx threads[];
};

/* ---- talking to Postgres ---- */

static void disconnect(struct db_tx *tx)
{
    PQfinish(tx->pg);
    tx->pg = NULL;
    tx->tainted = false;
}

static bool connect_thread(struct db_tx *tx, int64_t until_ns)
{
    char cause[CAUSE_BYTES] = "";

    if (tx->pg)
        return true;
    tx->pg = pg_open(tx->db, until_ns, cause);
    if (tx->pg && !PQexitPipelineMode(tx->pg))
        disconnect(tx);
    if (!tx->pg) /* the engine, which tries as well, warns */
        log_debug("pool cannot connect to postgres", LOG_C("cause", cause));
    return tx->pg != NULL;
}

static void cancel(struct db_tx *tx)
{
    tx->tainted = true;
    canceller_ask(tx->db->canceller, tx->pg);
}

/* What ends a run of results: the first error among them, or the last one. NULL: no connection any
 * more. Past the deadline the statement is cancelled, but for COMMIT and ROLLBACK. */
static PGresult *collect(struct db_tx *tx, bool may_cancel)
{
    int64_t until_ns = may_cancel ? tx->deadline_ns : clock_monotonic_ns() + ANSWER_GRACE_NS;
    PGresult *kept = NULL;

    for (;;) {
        PGresult *res;
        int error = pg_next_result(tx->pg, tx->db->stop_fd, until_ns, &res);

        if (error == -ETIMEDOUT && may_cancel) {
            cancel(tx);
            may_cancel = false;
            until_ns = clock_monotonic_ns() + ANSWER_GRACE_NS;
            continue;
        }
        if (error == 0 && !res)
            return kept;
        if (error < 0 || PQresultStatus(res) == PGRES_COPY_IN ||
            PQresultStatus(res) == PGRES_COPY_OUT) {
            if (error == 0)
                PQclear(res);
            PQclear(kept);
            return NULL;
        }
        if (kept && PQresultStatus(kept) == PGRES_FATAL_ERROR) {
            PQclear(res);
        } else {
            PQclear(kept);
            kept = res;
        }
    }
}

/* Lets go of the last result; the connection stays. */
static void forget_last(struct db_tx *tx)
{
    PQclear(tx->last);
    tx->last = NULL;
    tx->result = (struct db_result){.error = DB_OK};
}

/* Takes over res (NULL: the connection broke) as the transaction's last result. */
static enum db_error conclude(struct db_tx *tx, PGresult *res)
{
    PQclear(tx->last);
    tx->last = res;
    tx->result = (struct db_result){.error = DB_OK, .rows = res};
    if (!res)
        tx->result = (struct db_result){.error = DB_UNAVAILABLE};
    else if (PQresultStatus(res) != PGRES_TUPLES_OK && PQresultStatus(res) != PGRES_COMMAND_OK)
        error_read(res, &tx->result);
    if (!res || (tx->result.error != DB_OK &&
                 (error_is_loss(res) || error_is_stale(res) || error_is_of_standby(res))))
        disconnect(tx);
    return tx->result.error;
}

static enum db_error command(struct db_tx *tx, const char *sql, bool may_cancel)
{
    return conclude(tx, PQsendQuery(tx->pg, sql) ? collect(tx, may_cancel) : NULL);
}

enum db_error db_tx_run(struct db_tx *tx, struct db_query *q, struct db_result *ret)
{
    static const int binary[DB_MAX_PARAMS] = {1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1,
                                              1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1};

    assert(q->state == QUERY_BOUND && q->n_bound == q->n_params);
    if (tx->result.error == DB_OK && q->failed) {
        forget_last(tx);
        tx->result.error = DB_OVERLOADED; /* no memory for the parameters */
    } else if (tx->result.error == DB_OK) {
        struct trace_statement trace = trace_statement_begin(tx->trace);
        int64_t sent_ns = clock_monotonic_ns();
        bool sent = PQsendQueryPrepared(tx->pg, q->statement->name, (int)q->n_params, q->values,
                                        q->lengths, binary, 1);

        if (conclude(tx, sent ? collect(tx, true) : NULL) != DB_OK)
            tx->result.statement = q->statement->name;
        trace_statement_end(tx->db->options.recorder, &trace, q->statement->name,
                            tx->result.sqlstate, tx->result.error != DB_OK, 1);
        count_statement(tx->db, q->statement, &tx->result, clock_monotonic_ns() - sent_ns);
    }
    *ret = tx->result;
    return ret->error;
}

/* ---- one transaction ---- */

static bool begin(struct db_tx *tx)
{
    int64_t ms = (tx->deadline_ns - clock_monotonic_ns()) / NSEC_PER_MSEC;
    char sql[96];

    if (ms > tx->db->options.statement_timeout_ms)
        ms = tx->db->options.statement_timeout_ms;
    snprintf(sql, sizeof(sql), "BEGIN; SET LOCAL statement_timeout = %lld",
             (long long)(ms > 0 ? ms : 1));
    return command(tx, sql, true) == DB_OK;
}

/* Leaves the connection outside of a transaction, or closes it. The error that led here stays. */
static void roll_back(struct db_tx *tx)
{
    PGresult *res = NULL;

    if (tx->pg && !tx->tainted && PQsendQuery(tx->pg, "ROLLBACK"))
        res = collect(tx, false);
    if (PQresultStatus(res) != PGRES_COMMAND_OK)
        disconnect(tx);
    PQclear(res);
}

static void commit(struct db_tx *tx)
{
    if (command(tx, "COMMIT", false) != DB_OK)
        return;
    /* Postgres answers ROLLBACK, without an error, when a statement had failed before. */
    assert(strcmp(PQcmdStatus(tx->last), "COMMIT") == 0);
    if (tx->tainted)
        disconnect(tx);
}

/* Runs the body once. True: the outcome in tx->result stands; false: nothing lasts of it and it
 * may run again. */
static bool attempt(struct db_tx *tx, const struct job *job, int *ret_body)
{
    bool again;

    if (begin(tx)) {
        *ret_body = job->body(tx, job->user);
        if (tx->result.error == DB_OK && *ret_body == 0) {
            commit(tx);
            /* A lost connection has no answer; one that says it goes away may have committed. */
            return tx->result.error != DB_CONFLICT;
        }
    }
    again = tx->result.error == DB_CONFLICT || (tx->result.error != DB_OK && !tx->pg);
    roll_back(tx);
    return !again;
}

static void set_error(struct db_tx *tx, enum db_error error)
{
    forget_last(tx);
    tx->result.error = error;
}

/* Waits a little, less than the deadline; false: db_close() has begun. */
static bool pause_thread(struct db_tx *tx, unsigned *tries)
{
    struct pollfd stop = {.fd = tx->db->stop_fd, .events = POLLIN};
    int64_t left = (tx->deadline_ns - clock_monotonic_ns()) / NSEC_PER_MSEC + 1;
    int64_t ms = PAUSE_FIRST_MS << (*tries < 7 ? *tries : 7);
    /* Two transactions that collide must not come back in step. */
    int64_t jitter = (int64_t)((uintptr_t)tx / sizeof(*tx) % 4) * ms / 4;

    ms = ms + jitter > PAUSE_MAX_MS ? PAUSE_MAX_MS : ms + jitter;
    ++*tries;
    return poll(&stop, 1, (int)(left < ms ? (left > 0 ? left : 0) : ms)) == 0;
}

/* Whether there is still somebody to run it for. */
static bool is_wanted(struct db_tx *tx, const struct job *job)
{
    if (job->cancelled && atomic_load(job->cancelled))
        set_error(tx, DB_CANCELLED);
    else if (clock_monotonic_ns() >= job->deadline_ns)
        set_error(tx, DB_DEADLINE);
    else
        return true;
    return false;
}

static int run(struct db_tx *tx, const struct job *job)
{
    unsigned tries = 0, losses = 0;
    int body = 0;

    tx->deadline_ns = job->deadline_ns;
    tx->trace = job->trace;
    while (is_wanted(tx, job)) {
        int64_t until_ns = clock_monotonic_ns() + OPEN_TIMEOUT_NS;

        if (connect_thread(tx, until_ns < job->deadline_ns ? until_ns : job->deadline_ns)) {
            if (attempt(tx, job, &body))
                break;
            if (!tx->pg && ++losses > MAX_LOSSES)
                break; /* it may be what kills the server */
        }
        if (!pause_thread(tx, &tries)) {
            set_error(tx, DB_UNAVAILABLE);
            break;
        }
    }
    return body;
}

/* ---- threads ---- */

static void finish(struct db_tx *tx, struct job *job, int body)
{
    struct db_result outcome = tx->result;

    outcome.rows = NULL;
    job->done(job->user, &outcome, body);
    forget_last(tx);
    free(job);
}

/* Waits for a job; NULL when the pool stops and nothing waits. */
static struct job *take(struct pool *pool, bool *ret_stop)
{
    struct job *job;

    pthread_mutex_lock(&pool->lock);
    while (STAILQ_EMPTY(&pool->waiting) && !pool->stop)
        pthread_cond_wait(&pool->work, &pool->lock);
    *ret_stop = pool->stop;
    job = STAILQ_FIRST(&pool->waiting);
    if (job) {
        STAILQ_REMOVE_HEAD(&pool->waiting, next);
        pool->n_waiting--;
    }
    pthread_mutex_unlock(&pool->lock);
    return job;
}

static void *pool_main(void *arg)
{
    struct db_tx *tx = arg;
    struct job *job;
    bool stop;

    /* Early, so that the first transaction finds the door open. */
    connect_thread(tx, clock_monotonic_ns() + OPEN_TIMEOUT_NS);
    while ((job = take(tx->db->pool, &stop)) != NULL) {
        metrics_number *running = &tx->db->counts.transactions_running;
        int body = 0;

        metrics_add(running, 1);
        if (stop)
            set_error(tx, DB_UNAVAILABLE);
        else
            body = run(tx, job);
        finish(tx, job, body);
        atomic_fetch_sub_explicit(running, 1, memory_order_relaxed);
    }
    PQclear(tx->last);
    disconnect(tx);
    return NULL;
}

int pool_start(struct db *db)
{
    unsigned n = db->options.pool_threads;
    struct pool *pool = calloc(1, sizeof(*pool) + n * sizeof(pool->threads[0]));

    if (!pool)
        return -ENOMEM;
    pthread_mutex_init(&pool->lock, NULL);
    pthread_cond_init(&pool->work, NULL);
    STAILQ_INIT(&pool->waiting);
    db->pool = pool;
    for (; pool->n_threads < n; pool->n_threads++) {
        struct db_tx *tx = &pool->threads[pool->n_threads];
        int error;

        tx->db = db;
        error = pthread_create(&tx->thread, NULL, pool_main, tx);
        if (error) {
            pool_stop(db);
            return -error;
        }
    }
    return 0;
}

void pool_stop(struct db *db)
{
    struct pool *pool = db->pool;

    pthread_mutex_lock(&pool->lock);
    pool->stop = true;
    pthread_cond_broadcast(&pool->work);
    pthread_mutex_unlock(&pool->lock);
    for (unsigned i = 0; i < pool->n_threads; i++)
        pthread_join(pool->threads[i].thread, NULL);
    pthread_mutex_destroy(&pool->lock);
    pthread_cond_destroy(&pool->work);
    free(pool);
}

size_t pool_waiting(struct db *db)
{
    struct pool *pool = db->pool;
    size_t n;

    pthread_mutex_lock(&pool->lock);
    n = pool->n_waiting;
    pthread_mutex_unlock(&pool->lock);
    return n;
}

int db_transaction(struct db *db, int64_t deadline_ns, const atomic_bool *cancelled,
                   const struct trace_context *trace, db_tx_fn *body,
                   void (*done)(void *user, const struct db_result *outcome, int body_result),
                   void *user)
{
    struct pool *pool = db->pool;
    struct job *job = malloc(sizeof(*job));
    int error = 0;

    if (!job)
        return -ENOMEM;
    *job = (struct job){.deadline_ns = deadline_ns,
                        .cancelled = cancelled,
                        .trace = trace,
                        .body = body,
                        .done = done,
                        .user = user};
    pthread_mutex_lock(&pool->lock);
    if (pool->stop)
        error = -ESHUTDOWN;
    else if (pool->n_waiting >= db->options.max_pool_queue)
        error = -ENOBUFS;
    if (error == 0) {
        STAILQ_INSERT_TAIL(&pool->waiting, job, next);
        pool->n_waiting++;
        pthread_cond_signal(&pool->work);
    }
    pthread_mutex_unlock(&pool->lock);
    if (error < 0)
        free(job);
    return error;
}
