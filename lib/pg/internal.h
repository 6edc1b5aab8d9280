/* Private to lib/pg: the parts of a struct db, and which thread owns which.
 *
 *   engine.c   the engine thread: queues, routing, deadlines; owns everything in struct engine
 *   conn.c     one pipelined connection of the engine
 *   connect.c  opening a connection; the connector thread, so that the engine never blocks
 *   cancel.c   the canceller thread, because asking Postgres to cancel blocks
 *   pool.c     the blocking threads for transactions
 *   query.c    parameters and rows: no thread of its own
 *   errors.c   what Postgres' errors mean to us
 *   heap.c     queries by deadline
 *
 * States of a connection of the engine (enum conn_state):
 *
 *   DOWN --retry time--> CONNECTING --connector succeeded--> READY --lost, retired--> DOWN
 *                             `--------connector failed, longer back-off-----------> DOWN
 *
 * States of a query (enum query_state):
 *
 *   BOUND --db_submit--> WAITING --sent--> IN_FLIGHT --result, deadline, loss--> ENDED, completed
 *                           ^                  |
 *                           `------------------'  a read that was lost or aborted, or any
 *                                                 statement that certainly did not run
 */
#ifndef STOA_PG_INTERNAL_H
#define STOA_PG_INTERNAL_H

#include "metrics/metrics.h"
#include "pg/db.h"

#include <pthread.h>
#include <sys/queue.h>

#define NEVER INT64_MAX
#define CAUSE_BYTES 256

/* Queries in flight on one connection. Enough to hide the round trip, few enough that a stuck
 * connection does not swallow the queue. */
#define MAX_IN_FLIGHT 128
#define RING_SLOTS (2 * MAX_IN_FLIGHT) /* each read may be followed by a sync */

/* ---- a query ---- */

enum query_state { QUERY_BOUND, QUERY_WAITING, QUERY_IN_FLIGHT, QUERY_ENDED };

struct db_query {
    struct db *db;
    struct arena *arena;
    const struct db_statement *statement;
    unsigned n_params, n_bound;
    bool failed;         /* memory ran out for a parameter */
    const char **values; /* n_params, encoded; NULL: SQL NULL */
    int *lengths;

    int64_t deadline_ns;
    const atomic_bool *cancelled;
    db_done_fn *done;
    void *user;
    struct trace_statement trace;
    struct db_group *group; /* whose statement it is; NULL */

    /* Engine thread, but for next which a submitting thread sets. */
    enum query_state state;
    TAILQ_ENTRY(db_query) next;
    size_t heap_index; /* in the deadline heap; HEAP_NONE */
    struct db_conn *conn;
    unsigned slot;        /* in conn's ring */
    int64_t submitted_ns; /* 0: how long it waited has been counted */
    int64_t sent_ns;
    int64_t loss_ns;                   /* of the last counted loss */
    unsigned losses, stale, deadlocks; /* why it was sent again, counted */

    /* ENDED: the engine's, then of the thread that completes it. */
    struct db_result result;
    PGresult *owned;             /* what result points into; NULL: nothing */
    struct db_query *next_ended; /* in the list that is handed over; NULL: the last */
};
TAILQ_HEAD(query_list, db_query);

/* ---- heap.c ---- */

#define HEAP_NONE SIZE_MAX

struct heap {
    struct db_query **items;
    size_t n, max;
};

void heap_add(struct heap *h, struct db_query *q);
void heap_remove(struct heap *h, struct db_query *q);
struct db_query *heap_first(const struct heap *h);

/* ---- the engine's connections ---- */

enum conn_state { CONN_DOWN, CONN_CONNECTING, CONN_READY };

/* What the server still owes us, in order. A read ends with its result; a write ends with the sync
 * behind it, because only then has it committed; a SLOT_SYNC ends a run of reads. */
enum slot_kind { SLOT_READ, SLOT_WRITE, SLOT_SYNC };

struct slot {
    enum slot_kind kind;
    bool expired;           /* its deadline has passed */
    struct db_query *query; /* NULL: nobody waits for it any more */
};

struct db_conn {
    struct engine *engine;
    enum conn_state state;
    PGconn *pg;
    const char *retire; /* why it takes nothing more and is reopened when empty; NULL */
    bool wants_write;   /* libpq has bytes that the socket did not take */
    bool watches_write; /* the engine is woken when it takes more */
    struct slot ring[RING_SLOTS];
    unsigned head, tail;  /* ring positions, taken modulo its size */
    unsigned in_flight;   /* reads and writes in the ring */
    unsigned writes;      /* writes in the ring */
    unsigned unsynced;    /* reads sent since the last sync */
    bool got_result;      /* the read at the head has had its result */
    PGresult *held;       /* of the write at the head, until its sync */
    unsigned n_expired;   /* slots in the ring whose deadline has passed */
    unsigned cancels;     /* asked for on behalf of the slot at the head */
    int64_t cancelled_ns; /* when a cancel was last asked for; 0: never */
    int64_t heard_ns;     /* when Postgres last said something, or first had something to say */
    int64_t check_ns;     /* when to look at expired slots; NEVER */
    int64_t retry_ns;     /* DOWN: when to connect */
    int64_t backoff_ns;

    /* Shared with the connector, under its lock. */
    bool connect_wanted, connect_done;
    PGconn *fresh; /* NULL: it failed, see cause */
    char cause[CAUSE_BYTES];
};

bool conn_can_take(const struct db_conn *c);
/* Sends one query; on failure the connection is lost and the query waits again. */
void conn_send(struct db_conn *c, struct db_query *q, int64_t now);
/* Ends the run of reads, if any, and hands libpq's bytes to the socket. */
void conn_flush(struct db_conn *c);
void conn_receive(struct db_conn *c);
/* A query in flight has passed its deadline. */
void conn_expire(struct db_conn *c, struct db_query *q, int64_t now);
/* check_ns has come. */
void conn_check(struct db_conn *c, int64_t now);
/* Closes it and settles what was in flight. cause: for the log; NULL for a wanted end. */
void conn_lost(struct db_conn *c, const char *cause);
void conn_opened(struct db_conn *c, PGconn *pg);

/* ---- connect.c ---- */

/* Any thread that may block. until_ns bounds it (but not libpq's name resolution); stop_fd: gives
 * up when it becomes readable; -1 for none. NULL: cause says why. */
PGconn *pg_connect(const char *conninfo, int stop_fd, int64_t until_ns, char *cause) MUST_CHECK;

/* As pg_connect(), with the statement time-out set and all statements prepared. The connection is
 * non-blocking and in pipeline mode. */
PGconn *pg_open(const struct db *db, int64_t until_ns, char *cause) MUST_CHECK;
#define OPEN_TIMEOUT_NS (5 * NSEC_PER_SEC)

/* What a session begins with. $1: the statement time-out, text. Tests of plans begin with it too.
 */
extern const char pg_session_sql[];

/* Sends what is pending and waits for the next result of a non-blocking connection; NULL is libpq's
 * end of one command's results. -ETIMEDOUT (the connection is as good as before), -ECANCELED
 * (stop_fd), -ENOTCONN. */
int pg_next_result(PGconn *pg, int stop_fd, int64_t until_ns, PGresult **ret) MUST_CHECK;

/* The first line of a message of libpq. */
void copy_cause(char *to, const char *message);

struct connector {
    pthread_t thread;
    pthread_mutex_t lock;
    pthread_cond_t work;
    bool stop;
};

int connector_start(struct db *db) MUST_CHECK;
void connector_stop(struct db *db);
/* Engine thread. */
void connector_ask(struct db *db, struct db_conn *c);
/* Engine thread: takes the finished attempt of c, if there is one. */
bool connector_take(struct db *db, struct db_conn *c, PGconn **ret, char *ret_cause);

/* ---- cancel.c ---- */

struct canceller;

int canceller_start(struct canceller **ret) MUST_CHECK;
void canceller_stop(struct canceller *canceller);
/* Asks Postgres to cancel what pg runs, soon; lost without memory or when too many wait: the caller
 * asks again. Any thread that owns pg. */
void canceller_ask(struct canceller *canceller, PGconn *pg);

/* ---- engine.c ---- */

STAILQ_HEAD(group_list, db_group);

struct engine {
    struct db *db;
    pthread_t thread;
    int epoll_fd; /* a connection leaves it when PQfinish() closes its socket */
    struct db_conn *conns;
    unsigned n_conns;
    struct query_list reads, writes; /* WAITING */
    struct query_list ended;         /* since the last hand-over, in order */
    struct heap deadlines;
    struct group_list held; /* groups whose next statement waits for more */
    int64_t held_ns;        /* until then; NEVER */
    int64_t lost_logged_ns, failed_logged_ns;
    bool announced; /* what on_ready was last told */
};

void engine_wait_again(struct engine *e, struct db_query *q);
/* The query has ended; its completion runs soon. res: what result points into, or NULL; taken over.
 */
void engine_end(struct engine *e, struct db_query *q, const struct db_result *result,
                PGresult *res);
void engine_fail(struct engine *e, struct db_query *q, enum db_error error);
void engine_ring(struct db *db);

/* ---- pool.c ---- */

struct pool;

int pool_start(struct db *db) MUST_CHECK;
void pool_stop(struct db *db);
/* Any thread: transactions that wait for one of the pool's. */
size_t pool_waiting(struct db *db);

/* ---- errors.c ---- */

/* Fills error, sqlstate, constraint and message from a failed result. */
void error_read(const PGresult *res, struct db_result *ret);
/* The server is going away or the connection is: nothing more will come on it. */
bool error_is_loss(const PGresult *res);
/* The statement did not run since what was prepared is gone or stale: prepare anew and repeat. */
bool error_is_stale(const PGresult *res);
/* The server only reads: after a fail-over, the next connection may find the primary. */
bool error_is_of_standby(const PGresult *res);
bool error_is(const PGresult *res, const char *sqlstate);

/* ---- group.c ---- */

/* Of the statement of one. */
const char *group_statement_name(const struct db_group *group, const struct db *db);

/* Engine thread: makes statements of what has come for db->groups. Returns when to do so again
 * though nothing comes; NEVER. */
int64_t group_pump_asked(struct engine *e);
/* Engine thread: a statement of the group is back, and the next may go before it is answered. */
void group_returned(struct engine *e, struct db_group *group);
/* Engine thread, db->closing: nothing stays without an answer. */
void group_end(struct engine *e);

/* ---- count.c: what is told in /metrics ---- */

#define N_OUTCOMES (DB_INTERNAL + 1)
#define N_SQLSTATE_CLASSES 16

/* What becomes of statements and connections. Counted by whichever thread it happens on. */
struct db_counts {
    metrics_number outcomes[N_OUTCOMES];        /* of statements */
    metrics_number classes[N_SQLSTATE_CLASSES]; /* of their errors */
    struct metrics_histogram waits;             /* from submitting to sending */
    struct metrics_histogram *durations;        /* of each statement, from sending to its result */
    metrics_number connects, connect_failures, losses;
    /* As the engine thread last saw it. */
    metrics_number idle, busy, down, in_flight;
    metrics_number transactions_running;
    metrics_number group_waiting, group_statements, group_items;
};

/* A statement has ended with this. duration_ns: negative: it was not sent. */
void count_statement(struct db *db, const struct db_statement *statement,
                     const struct db_result *result, int64_t duration_ns);
/* Engine thread: it waits no longer. */
void count_sent(struct db_query *q, int64_t now);
/* Engine thread, before it sleeps. */
void count_connections(struct engine *e);

/* ---- the whole ---- */

struct db {
    struct db_options options; /* with the defaults filled in */
    char *conninfo;
    const struct db_statement *statements;
    size_t n_statements;
    int doorbell_fd; /* wakes the engine */
    int stop_fd;     /* readable once db_close() has begun */
    atomic_bool ready;
    atomic_size_t n_queries; /* waiting or in flight */
    struct db_counts counts;

    pthread_mutex_t lock; /* guards what follows */
    struct query_list incoming;
    struct group_list groups; /* where something has come */
    bool asleep;              /* the engine waits for its doorbell */
    bool closing;
    size_t n_handed_over;    /* lists that are being completed elsewhere */
    pthread_cond_t returned; /* one less is */

    struct engine engine;
    struct connector connector;
    struct canceller *canceller;
    struct pool *pool;
};

/* The pg_type oid of a parameter. */
Oid type_oid(enum db_type type);

#endif
