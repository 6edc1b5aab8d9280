/* What is counted of Postgres, and how /metrics tells it. Labels are the names of statements, which
 * are the service's own, and classes of SQLSTATE from a list. */
#include "pg/internal.h"

#include <assert.h>

/* https://www.postgresql.org/docs/15/errcodes-appendix.html; the last is for all others. What libpq
 * makes itself, when there is no connection, has no SQLSTATE. */
static const char *const classes[N_SQLSTATE_CLASSES] = {"none", "08", "0A", "21",   "22", "23",
                                                        "25",   "26", "28", "40",   "42", "53",
                                                        "55",   "57", "XX", "other"};

static const char *const outcomes[N_OUTCOMES] = {
    [DB_OK] = "ok",
    [DB_UNAVAILABLE] = "unavailable",
    [DB_DEADLINE] = "deadline",
    [DB_CANCELLED] = "cancelled",
    [DB_UNIQUE] = "unique",
    [DB_FOREIGN_KEY] = "foreign_key",
    [DB_CHECK] = "check",
    [DB_CONFLICT] = "conflict",
    [DB_OVERLOADED] = "overloaded",
    [DB_INTERNAL] = "internal",
};

/* ---- counting ---- */

static unsigned class_of(const char *sqlstate)
{
    unsigned i = 0;

    if (!sqlstate[0])
        return 0;
    while (i < N_SQLSTATE_CLASSES - 1 && strncmp(sqlstate, classes[i], 2) != 0)
        i++;
    return i;
}

void count_statement(struct db *db, const struct db_statement *statement,
                     const struct db_result *result, int64_t duration_ns)
{
    struct db_counts *counts = &db->counts;
    size_t i = (size_t)(statement - db->statements);

    assert(i < db->n_statements);
    metrics_add(&counts->outcomes[result->error], 1);
    if (result->error != DB_OK && result->error != DB_CANCELLED)
        metrics_add(&counts->classes[class_of(result->sqlstate)], 1);
    if (duration_ns >= 0)
        metrics_observe_ns(&counts->durations[i], duration_ns);
}

void count_sent(struct db_query *q, int64_t now)
{
    if (q->submitted_ns == 0)
        return;
    metrics_observe_ns(&q->db->counts.waits, now - q->submitted_ns);
    q->submitted_ns = 0;
}

void count_connections(struct engine *e)
{
    struct db_counts *counts = &e->db->counts;
    uint64_t busy = 0, idle = 0, in_flight = 0;

    for (unsigned i = 0; i < e->n_conns; i++) {
        const struct db_conn *c = &e->conns[i];

        if (c->state != CONN_READY)
            continue;
        in_flight += c->in_flight;
        busy += c->in_flight > 0;
        idle += c->in_flight == 0;
    }
    metrics_set(&counts->busy, busy);
    metrics_set(&counts->idle, idle);
    metrics_set(&counts->down, e->n_conns - busy - idle);
    metrics_set(&counts->in_flight, in_flight);
}

/* ---- telling ---- */

#define FAMILY(n, t, h) ((struct metrics_family){"stoa_db", (n), (t), (h)})

static void write_labelled(struct buf *text, const struct metrics_family family, const char *label,
                           const char *const *names, const metrics_number *values, size_t n)
{
    metrics_begin(text, &family);
    for (size_t i = 0; i < n; i++)
        metrics_sample(text, &family, METRICS_LABELS(METRICS_LABEL(label, str_of(names[i]))),
                       metrics_get(&values[i]));
}

static void write_connections(struct db *db, struct buf *text)
{
    static const struct metrics_family family = {
        "stoa_db", "connections", METRICS_GAUGE,
        "Pipelined connections: with statements in flight, without, and those not open."};
    static const char *const states[] = {"busy", "idle", "down"};
    const struct db_counts *counts = &db->counts;
    const metrics_number *const values[] = {&counts->busy, &counts->idle, &counts->down};

    metrics_single(text,
                   &FAMILY("up", METRICS_GAUGE,
                           "1: Postgres can be reached, with at least one connection; 0: not."),
                   db_ready(db));
    metrics_begin(text, &family);
    for (size_t i = 0; i < ARRAY_SIZE(states); i++)
        metrics_sample(text, &family, METRICS_LABELS(METRICS_LABEL("state", str_of(states[i]))),
                       metrics_get(values[i]));
    metrics_single(text,
                   &FAMILY("connects_total", METRICS_COUNTER,
                           "Connections opened: at the start, and again after each loss."),
                   metrics_get(&counts->connects));
    metrics_single(
        text,
        &FAMILY("connect_failures_total", METRICS_COUNTER, "Attempts to connect that failed."),
        metrics_get(&counts->connect_failures));
    metrics_single(text,
                   &FAMILY("connections_lost_total", METRICS_COUNTER,
                           "Connections that broke, or were given up."),
                   metrics_get(&counts->losses));
}

static void write_queues(struct db *db, struct buf *text)
{
    const struct db_counts *counts = &db->counts;
    uint64_t all = atomic_load(&db->n_queries), in_flight = metrics_get(&counts->in_flight);

    metrics_single(
        text, &FAMILY("queries_waiting", METRICS_GAUGE, "Statements that wait for a connection."),
        all > in_flight ? all - in_flight : 0);
    metrics_single(
        text,
        &FAMILY("queries_in_flight", METRICS_GAUGE, "Statements sent, whose results are to come."),
        in_flight);
    metrics_single(text,
                   &FAMILY("queries_limit", METRICS_GAUGE,
                           "Statements that may wait or be in flight; more are refused."),
                   db->options.max_queue);
    metrics_single(text,
                   &FAMILY("transactions_waiting", METRICS_GAUGE,
                           "Transactions that wait for a thread of the pool."),
                   pool_waiting(db));
    metrics_single(text, &FAMILY("transactions_running", METRICS_GAUGE, "Transactions in work."),
                   metrics_get(&counts->transactions_running));
    metrics_single(text,
                   &FAMILY("transaction_threads", METRICS_GAUGE,
                           "Threads of the pool: transactions that may run at once."),
                   db->options.pool_threads);
    metrics_single(text,
                   &FAMILY("group_items_waiting", METRICS_GAUGE,
                           "Writes and reads that wait to go together as one statement."),
                   metrics_get(&counts->group_waiting));
    metrics_single(text,
                   &FAMILY("group_items_total", METRICS_COUNTER,
                           "Writes and reads that went in statements of one or several."),
                   metrics_get(&counts->group_items));
    metrics_single(
        text,
        &FAMILY("group_statements_total", METRICS_COUNTER, "Statements that these were sent as."),
        metrics_get(&counts->group_statements));
}

/* Statements that have not run yet are left out. */
static void write_durations(const struct db *db, struct buf *text)
{
    static const struct metrics_family
        waits = {"stoa_db", "wait_seconds", METRICS_HISTOGRAM,
                 "How long statements waited for a connection."},
        durations = {"stoa_db", "statement_duration_seconds", METRICS_HISTOGRAM,
                     "Time from sending a statement to its result, by the statement's name."};

    metrics_begin(text, &waits);
    metrics_write_histogram(text, &waits, METRICS_NO_LABELS, &metrics_durations, &db->counts.waits);
    metrics_begin(text, &durations);
    for (size_t i = 0; i < db->n_statements; i++) {
        const struct metrics_histogram *duration = &db->counts.durations[i];

        if (!metrics_is_empty(duration, &metrics_durations))
            metrics_write_histogram(
                text, &durations,
                METRICS_LABELS(METRICS_LABEL("statement", str_of(db->statements[i].name))),
                &metrics_durations, duration);
    }
}

void db_write_metrics(struct db *db, struct buf *text)
{
    write_connections(db, text);
    write_queues(db, text);
    write_durations(db, text);
    write_labelled(text,
                   FAMILY("statements_total", METRICS_COUNTER,
                          "Statements that have ended, by what became of them."),
                   "outcome", outcomes, db->counts.outcomes, N_OUTCOMES);
    write_labelled(text,
                   FAMILY("errors_total", METRICS_COUNTER,
                          "Statements that failed, by class of SQLSTATE; none: Postgres said "
                          "nothing, since the deadline or the connection had ended."),
                   "class", classes, db->counts.classes, N_SQLSTATE_CLASSES);
}
