/* One pipelined connection of the engine: sends statements and syncs, matches the results to the
 * ring of what was sent, cancels what overstays its deadline. Engine thread only.
 *
 * A write has a sync of its own and is complete only with it: Postgres reports the statement's
 * result before the commit. Reads between two syncs are one implicit transaction: when one fails,
 * Postgres skips those behind it, and they are sent again. */
#include "pg/internal.h"

#include "base/log.h"

#include <assert.h>

#define EXPIRED_LOOK_NS (20 * NSEC_PER_MSEC) /* an expired query may still come to the head */
#define CANCEL_AGAIN_NS NSEC_PER_SEC
#define MAX_CANCELS 5                       /* unanswered ones, then the server is taken for hung */
#define STRAY_CANCEL_NS (10 * NSEC_PER_SEC) /* how late a cancel may still come */
#define SILENCE_NS (5 * NSEC_PER_SEC)       /* beyond what Postgres gives a statement */
#define MAX_STALE 3
#define MAX_DEADLOCKS 3
#define MAX_LOSSES 3
#define LOSS_COUNTED_NS (100 * NSEC_PER_MSEC)

static struct slot *slot_at(struct db_conn *c, unsigned i)
{
    return &c->ring[i % RING_SLOTS];
}

bool conn_can_take(const struct db_conn *c)
{
    return c->state == CONN_READY && !c->retire && c->in_flight < MAX_IN_FLIGHT && c->cancels == 0;
}

/* ---- sending ---- */

static unsigned push(struct db_conn *c, enum slot_kind kind, struct db_query *q)
{
    assert(c->tail - c->head < RING_SLOTS);
    *slot_at(c, c->tail) = (struct slot){.kind = kind, .query = q};
    return c->tail++ % RING_SLOTS;
}

static bool sync_reads(struct db_conn *c)
{
    if (!c->unsynced)
        return true;
    c->unsynced = 0;
    push(c, SLOT_SYNC, NULL);
    return PQpipelineSync(c->pg);
}

static bool send_statement(struct db_conn *c, const struct db_query *q)
{
    static const int binary[DB_MAX_PARAMS] = {1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1,
                                              1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1};

    return PQsendQueryPrepared(c->pg, q->statement->name, (int)q->n_params, q->values, q->lengths,
                               binary, 1);
}

void conn_send(struct db_conn *c, struct db_query *q, int64_t now)
{
    bool write = q->statement->kind == DB_WRITE;

    if ((write && !sync_reads(c)) || !send_statement(c, q)) {
        engine_wait_again(c->engine, q);
        conn_lost(c, PQerrorMessage(c->pg));
        return;
    }
    if (c->in_flight == 0)
        c->heard_ns = now;
    q->state = QUERY_IN_FLIGHT;
    q->conn = c;
    q->sent_ns = now;
    count_sent(q, now);
    q->slot = push(c, write ? SLOT_WRITE : SLOT_READ, q);
    c->in_flight++;
    if (!write) {
        c->unsynced++;
        return;
    }
    c->writes++;
    if (PQpipelineSync(c->pg))
        c->wants_write = true; /* it flushed once; what the socket did not take is conn_flush()'s */
    else
        conn_lost(c, PQerrorMessage(c->pg));
}

void conn_flush(struct db_conn *c)
{
    int left;

    if (c->state != CONN_READY || (!c->unsynced && !c->wants_write))
        return;
    left = sync_reads(c) ? PQflush(c->pg) : -1;
    c->wants_write = left > 0;
    if (left < 0)
        conn_lost(c, PQerrorMessage(c->pg));
}

/* ---- receiving ---- */

static void pop(struct db_conn *c)
{
    struct slot *s = slot_at(c, c->head);

    assert(c->head != c->tail);
    if (s->kind != SLOT_SYNC)
        c->in_flight--;
    if (s->kind == SLOT_WRITE)
        c->writes--;
    if (s->expired)
        c->n_expired--;
    c->head++;
    c->got_result = false;
    if (c->cancels) { /* somebody else is at the head now */
        c->cancels = 0;
        c->check_ns = clock_monotonic_ns() + EXPIRED_LOOK_NS;
    }
}

/* Whether the query failed only by what happened to somebody else, and nothing of it lasts. */
static bool may_rerun(struct db_conn *c, struct db_query *q, const PGresult *res, int64_t now)
{
    int64_t timeout_ns = c->engine->db->options.statement_timeout_ms * NSEC_PER_MSEC;

    if (error_is_stale(res) && q->stale < MAX_STALE) {
        q->stale++;
        c->retire = "its prepared statements are stale";
        return true;
    }
    /* Postgres has undone it, to let another one go on; so has each that comes to meet it again. */
    if (error_is(res, "40P01") && q->deadlocks < MAX_DEADLOCKS && q->deadline_ns > now) {
        q->deadlocks++;
        return true;
    }
    /* A cancel of ours that was meant for a statement before this one. It may come late, and twice:
     * the postmaster signals the backend and its process group. Not this statement's own, whose
     * deadline has not passed; not statement_timeout: it has not run that long. */
    return error_is(res, "57014") && c->cancelled_ns && now - c->cancelled_ns < STRAY_CANCEL_NS &&
           q->deadline_ns > now && now - q->sent_ns < timeout_ns;
}

/* Ends the query, or lets it wait again, and takes over the result. False: the connection is lost,
 * ring and result untouched. */
static bool finish(struct db_conn *c, struct db_query *q, PGresult *res)
{
    ExecStatusType status = PQresultStatus(res);
    struct db_result result = {.error = DB_OK, .rows = res};

    assert(q); /* a write stays in its slot until it is answered */
    if (status == PGRES_TUPLES_OK || status == PGRES_COMMAND_OK) {
        engine_end(c->engine, q, &result, res);
        return true;
    }
    if (status == PGRES_PIPELINE_ABORTED) {
        engine_wait_again(c->engine, q);
        PQclear(res);
        return true;
    }
    error_read(res, &result);
    result.statement = q->statement->name;
    if (error_is_loss(res))
        return false;
    if (may_rerun(c, q, res, clock_monotonic_ns())) {
        engine_wait_again(c->engine, q);
        PQclear(res);
        return true;
    }
    if (error_is_of_standby(res))
        c->retire = "it leads to a standby";
    engine_end(c->engine, q, &result, res);
    return true;
}

static void lost_by(struct db_conn *c, const PGresult *res)
{
    const char *message = PQresultErrorField(res, PG_DIAG_MESSAGE_PRIMARY);
    char cause[CAUSE_BYTES];

    copy_cause(cause, message ? message : PQresultErrorMessage(res));
    conn_lost(c, cause);
}

static void on_read_result(struct db_conn *c, struct slot *s, PGresult *res)
{
    struct db_query *q = s->query;
    bool lost =
        q ? !finish(c, q, res) : PQresultStatus(res) == PGRES_FATAL_ERROR && error_is_loss(res);

    if (lost) {
        lost_by(c, res);
    } else {
        s->query = NULL;
        c->got_result = true;
    }
    if (lost || !q)
        PQclear(res);
}

static void on_write_result(struct db_conn *c, struct slot *s, PGresult *res)
{
    if (PQresultStatus(res) != PGRES_PIPELINE_SYNC) {
        /* The statement's result; or, as a second one, the failure of its commit. */
        PQclear(c->held);
        c->held = res;
        if (PQresultStatus(res) == PGRES_FATAL_ERROR && error_is_loss(res))
            lost_by(c, res);
        return;
    }
    PQclear(res);
    res = c->held;
    c->held = NULL;
    if (res && PQresultStatus(res) != PGRES_PIPELINE_ABORTED && finish(c, s->query, res)) {
        pop(c);
    } else {
        conn_lost(c, "an answer out of order");
        PQclear(res);
    }
}

static void on_result(struct db_conn *c, PGresult *res)
{
    struct slot *s = slot_at(c, c->head);
    bool sync = PQresultStatus(res) == PGRES_PIPELINE_SYNC;

    if (s->kind == SLOT_WRITE) {
        on_write_result(c, s, res);
    } else if (s->kind == SLOT_READ && !sync) {
        on_read_result(c, s, res);
    } else {
        if (sync && s->kind == SLOT_SYNC)
            pop(c);
        else
            lost_by(c, res);
        PQclear(res);
    }
}

void conn_receive(struct db_conn *c)
{
    unsigned nothing = 0;

    if (!PQconsumeInput(c->pg)) {
        conn_lost(c, PQerrorMessage(c->pg));
        return;
    }
    c->heard_ns = clock_monotonic_ns();
    while (c->state == CONN_READY && c->head != c->tail && !PQisBusy(c->pg)) {
        PGresult *res = PQgetResult(c->pg);

        if (res) {
            nothing = 0;
            on_result(c, res);
        } else if (slot_at(c, c->head)->kind == SLOT_READ && c->got_result) {
            pop(c);
        } else if (++nothing > 2) { /* one ends a write's result */
            conn_lost(c, "no answer where one was due");
        }
    }
    if (c->state == CONN_READY && c->retire && c->head == c->tail)
        conn_lost(c, c->retire);
}

/* ---- deadlines ---- */

void conn_expire(struct db_conn *c, struct db_query *q, int64_t now)
{
    struct slot *s = &c->ring[q->slot];

    assert(s->query == q);
    s->expired = true;
    c->n_expired++;
    if (c->check_ns > now)
        c->check_ns = now;
    /* Nothing of a read needs undoing; a write's caller must hear how it ended. */
    if (s->kind == SLOT_READ) {
        s->query = NULL;
        engine_fail(c->engine, q, DB_DEADLINE);
    }
}

/* Postgres ends a statement after statement_timeout, also one that has no deadline. */
static bool is_silent(const struct db_conn *c, int64_t now)
{
    int64_t timeout_ns = c->engine->db->options.statement_timeout_ms * NSEC_PER_MSEC;

    return now - c->heard_ns > timeout_ns + SILENCE_NS;
}

/* Cancelling a statement cancels whatever the connection runs, so only the head may ask for it. */
void conn_check(struct db_conn *c, int64_t now)
{
    struct slot *s = slot_at(c, c->head);

    if (c->state != CONN_READY || c->n_expired == 0) {
        c->check_ns = NEVER;
    } else if (is_silent(c, now)) {
        conn_lost(c, "Postgres has said nothing for longer than a statement may take");
    } else if (!s->expired) {
        c->check_ns = now + EXPIRED_LOOK_NS;
    } else if (c->cancels == MAX_CANCELS) {
        conn_lost(c, "a statement did not end after its deadline");
    } else {
        c->cancels++;
        c->cancelled_ns = now;
        c->check_ns = now + CANCEL_AGAIN_NS;
        canceller_ask(c->engine->db->canceller, c->pg);
    }
}

/* ---- opening and losing ---- */

void conn_opened(struct db_conn *c, PGconn *pg)
{
    c->state = CONN_READY;
    c->pg = pg;
    c->retire = NULL;
    c->wants_write = c->got_result = false;
    c->head = c->tail = c->in_flight = c->writes = c->unsynced = 0;
    c->n_expired = c->cancels = 0;
    c->check_ns = NEVER;
    c->cancelled_ns = 0;
    c->backoff_ns = 0;
}

/* A read that was lost goes again, unless it is what kills the server. Losses close together are
 * one event: when Postgres dies, its connections do so one by one. */
static void lose_read(struct db_conn *c, struct db_query *q)
{
    int64_t now = clock_monotonic_ns();

    if (now - q->loss_ns > LOSS_COUNTED_NS) {
        q->loss_ns = now;
        q->losses++;
    }
    if (q->losses > MAX_LOSSES)
        engine_fail(c->engine, q, DB_UNAVAILABLE);
    else
        engine_wait_again(c->engine, q);
}

/* At most one line a second: when Postgres dies, all connections do. */
static void log_loss(struct db_conn *c, const char *cause, int64_t now)
{
    struct engine *e = c->engine;
    char line[CAUSE_BYTES];

    if (now - e->lost_logged_ns < NSEC_PER_SEC)
        return;
    e->lost_logged_ns = now;
    copy_cause(line, *cause ? cause : "closed by the server");
    log_warn("postgres connection lost", LOG_I("connection", c - e->conns),
             LOG_I("in_flight", c->in_flight), LOG_C("cause", line));
}

void conn_lost(struct db_conn *c, const char *cause)
{
    PGresult *held = c->held;
    struct engine *e = c->engine;
    int64_t now = clock_monotonic_ns();

    if (cause) {
        metrics_add(&e->db->counts.losses, 1);
        log_loss(c, cause, now);
    }
    c->state = CONN_DOWN;
    c->retry_ns = now;
    c->check_ns = NEVER;
    c->held = NULL;
    for (; c->head != c->tail; c->head++) {
        struct slot *s = slot_at(c, c->head);
        struct db_query *q = s->query;

        if (!q)
            continue;
        s->query = NULL;
        if (s->kind == SLOT_READ)
            lose_read(c, q);
        else
            engine_fail(e, q, DB_UNAVAILABLE);
    }
    PQclear(held);
    PQfinish(c->pg);
    c->pg = NULL;
}
