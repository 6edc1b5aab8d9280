/* Postgres: a pipelined engine for single statements, a small blocking pool for transactions.
 *
 * The engine is one thread that drives K libpq connections in pipeline mode. A query is one
 * prepared statement with typed binary parameters; its completion runs on the engine thread, or on
 * one that the engine hands it over to, and may finish the RPC there and then. Completions must not
 * block.
 *
 * What happens to a query when things go wrong:
 *   queue full            -> db_submit() returns -ENOBUFS at once: RESOURCE_EXHAUSTED
 *   deadline passed       -> DB_DEADLINE; a running statement is cancelled in Postgres
 *   caller gone           -> dropped before it is sent
 *   connection lost       -> reads are sent again on another or the new connection while their
 *                            deadline lasts; writes that were sent fail with DB_UNAVAILABLE, since
 *                            nobody can know whether they committed; unsent ones wait
 *   deadlock              -> the statement that Postgres undoes for it is sent again, three times
 *                            at most; then DB_CONFLICT
 * Each write has a sync of its own, so that it is a transaction of its own; reads may share one.
 */
#ifndef STOA_PG_DB_H
#define STOA_PG_DB_H

#include "base/arena.h"
#include "base/buf.h"
#include "trace/trace.h"

#include <libpq-fe.h>
#include <stdatomic.h>

struct db;
struct db_query;

enum db_kind { DB_READ, DB_WRITE };

/* Parameter and result types, all sent in binary. */
enum db_type {
    DB_END = 0, /* ends the list of parameters */
    DB_BOOL,
    DB_INT4,
    DB_INT8,
    DB_TEXT,
    DB_BYTEA,
    DB_UUID,        /* 16 bytes */
    DB_TIMESTAMPTZ, /* microseconds since the Unix epoch */
    DB_TEXT_ARRAY,
    DB_INT8_ARRAY,
    DB_TIMESTAMPTZ_ARRAY,
};

#define DB_MAX_PARAMS 24

/* Statements are static tables, one per service, each named in one place. They are prepared on
 * every connection and planned once for all parameters (plan_cache_mode = force_generic_plan), by
 * an index where there is one, however small the table is then (enable_seqscan = off), row by row
 * (enable_memoize = off). */
struct db_statement {
    const char *name; /* of the prepared statement, unique in the service */
    const char *sql;
    enum db_kind kind;
    enum db_type params[DB_MAX_PARAMS + 1];
};

enum db_error {
    DB_OK = 0,
    DB_UNAVAILABLE, /* no connection, or it was lost with the write in flight */
    DB_DEADLINE,    /* the deadline passed; a write was rolled back */
    DB_CANCELLED,   /* the caller was gone before the statement was sent */
    DB_UNIQUE,      /* 23505; see constraint */
    DB_FOREIGN_KEY, /* 23503 */
    DB_CHECK,       /* 23514, 23502, 22xxx: data that Postgres refused */
    DB_CONFLICT,    /* 40001, 40P01: try again */
    DB_OVERLOADED,  /* 53xxx, 57xxx but restarts */
    DB_INTERNAL,    /* anything else: a bug */
};

/* The outcome of one query; valid during the completion. */
struct db_result {
    enum db_error error;
    char sqlstate[6];
    const char *statement; /* whose error Postgres told; static; NULL: no statement's */
    struct str constraint; /* the violated constraint's name, if any */
    struct str message;    /* Postgres' own words: for the log, never for the caller */
    const PGresult *rows;  /* NULL on error */
};

/* Why there is an error, for the log: Postgres' own words, or ours when it has said nothing. */
struct str db_cause(const struct db_result *result);

/* The result is there until it returns, also when the query's arena is freed before. */
typedef void db_done_fn(void *user, const struct db_result *result);

struct db_options {
    const char *conninfo;         /* libpq connection string; a password comes by PGPASSFILE or
                                     passfile= */
    unsigned connections;         /* pipelined; 0: 16 */
    unsigned pool_threads;        /* blocking, for transactions; 0: 2 */
    size_t max_queue;             /* queries waiting or in flight; 0: 4096 */
    size_t max_pool_queue;        /* transactions waiting; 0: 256 */
    int64_t statement_timeout_ms; /* upper bound set on every connection; 0: 30,000 */
    /* Called on the engine thread when connectivity changes (true: at least one connection with all
     * statements prepared). May be NULL. */
    void (*on_ready)(void *user, bool ready);
    void *on_ready_user;
    struct trace_recorder *recorder; /* of the spans of traced statements; NULL: none */
    /* Called on the engine thread with the queries that have ended since the last time. 0:
     * db_complete(ended) will be called, once and soon, on a thread that must not wait for
     * db_close(). Another value, or NULL: the engine completes them itself. */
    int (*hand_over)(void *user, struct db_query *ended);
    void *hand_over_user;
};

/* Starts the engine thread and the pool; connects in the background and again after every loss.
 * statements: outlives the db. -EINVAL, -ENOMEM, -EAGAIN (threads). */
int db_open(const struct db_options *options, const struct db_statement *statements, size_t n,
            struct db **ret) MUST_CHECK;

/* Whether conninfo is keywords of libpq with values. -EINVAL with the cause, -ENOMEM. */
int db_conninfo_check(const char *conninfo, struct arena *arena, struct str *ret_cause) MUST_CHECK;
/* Fails what is queued with DB_UNAVAILABLE, waits for what was handed over, ends the threads. */
void db_close(struct db *db);
/* Whether a connection is there with all statements prepared. Any thread. */
bool db_ready(const struct db *db);
/* Appends the families stoa_db_... (metrics/server.h). Any thread. */
void db_write_metrics(struct db *db, struct buf *text);

/* ---- a query ---- */

/* A new query in the arena (a call's), to be bound and submitted once. statement: index in the
 * table. The arena must outlive the completion. NULL without memory. */
struct db_query *db_query(struct db *db, struct arena *arena, size_t statement) MUST_CHECK;

/* Parameters in order, types as declared (checked by assert). Bytes are copied into the arena
 * encoded for the wire. Failure (memory) is remembered and reported by db_submit(). */
void db_bind_null(struct db_query *q);
void db_bind_bool(struct db_query *q, bool v);
void db_bind_int4(struct db_query *q, int32_t v);
void db_bind_int8(struct db_query *q, int64_t v);
void db_bind_text(struct db_query *q, struct str v); /* {NULL, 0} binds NULL */
void db_bind_bytea(struct db_query *q, struct str v);
void db_bind_uuid(struct db_query *q, const uint8_t v[16]);
void db_bind_timestamp(struct db_query *q, int64_t unix_us);
void db_bind_text_array(struct db_query *q, const struct str *v, size_t n);
void db_bind_int8_array(struct db_query *q, const int64_t *v, size_t n);
void db_bind_timestamp_array(struct db_query *q, const int64_t *unix_us, size_t n);

/* The query is a part of this span, which lives until it is done; NULL: of none. */
void db_trace(struct db_query *q, const struct trace_context *parent);

/* Runs the completions of queries that were handed over, in the order in which they ended. */
void db_complete(struct db_query *ended);

/* Queues the query. done runs exactly once, on the engine thread or within db_complete(), unless an
 * error is returned:
 * -ENOBUFS (queue full), -ENOMEM (binding failed), -ESHUTDOWN.
 * deadline_ns: clock_monotonic_ns() terms. cancelled: may be NULL; valid until done. */
int db_submit(struct db_query *q, int64_t deadline_ns, const atomic_bool *cancelled,
              db_done_fn *done, void *user) MUST_CHECK;

/* ---- reading rows (binary format) ---- */

/* How many there are; 0 of an error. Rows and columns count from 0. A place that the result does
 * not have, another type, and NULL where a number or a truth value is read are wrong statements,
 * and checked by assert. */
int db_rows(const struct db_result *r);
bool db_is_null(const struct db_result *r, int row, int col);
bool db_get_bool(const struct db_result *r, int row, int col);
int32_t db_get_int4(const struct db_result *r, int row, int col);
int64_t db_get_int8(const struct db_result *r, int row, int col);
/* text, varchar, citext, bytea, uuid: the bytes, owned by the result; {NULL, 0} for NULL. Text is
 * NUL-terminated. */
struct str db_get_text(const struct db_result *r, int row, int col);
int64_t db_get_timestamp(const struct db_result *r, int row, int col); /* unix µs */
/* A one-dimensional text[]; elements owned by the result (not NUL-terminated), the array by the
 * arena. Returns the count, or -ENOMEM / -EBADMSG. NULL counts as empty. */
int db_get_text_array(const struct db_result *r, int row, int col, struct arena *arena,
                      struct str **ret) MUST_CHECK;

/* ---- transactions on the blocking pool ---- */

struct db_tx;

/* Runs on a pool thread inside BEGIN ... ; returns 0 to commit, anything else to roll back. */
typedef int db_tx_fn(struct db_tx *tx, void *user);

/* Runs body in a transaction, then done on the same pool thread with the outcome (error DB_OK and
 * body's return value, or the error that ended it). Serialization failures run body again while the
 * deadline lasts. trace: as for db_trace(), of all its statements. Returns as db_submit(). */
int db_transaction(struct db *db, int64_t deadline_ns, const atomic_bool *cancelled,
                   const struct trace_context *trace, db_tx_fn *body,
                   void (*done)(void *user, const struct db_result *outcome, int body_result),
                   void *user) MUST_CHECK;

/* Inside body: runs a bound query (made by db_query(), not submitted) and waits for it. *ret is
 * valid until the next db_tx_run() or the end of body. After an error body should return. */
enum db_error db_tx_run(struct db_tx *tx, struct db_query *q, struct db_result *ret);

/* ---- migrations (migrate.c) ---- */

struct db_migration {
    int version;      /* 1, 2, 3 ... without holes */
    const char *name; /* "0001_accounts" */
    struct str sql;
};

/* Applies what is missing of the numbered files, in order, each in one transaction, under an
 * advisory lock so that several instances may start at once. Applied ones are recorded with a
 * SHA-256 checksum in SCHEMA.schema_migrations; a changed or missing old one is refused. One that
 * waits for a lock gives way and is tried again, for 20 s at least; then -EAGAIN. Blocking; its own
 * connection. *ret_applied counts. On error one line in *ret_error (in the arena) that
 * names the migration, the cause and what to do. */
int db_migrate(const char *conninfo, const char *schema, const struct db_migration *migrations,
               size_t n, struct arena *arena, int *ret_applied, struct str *ret_error) MUST_CHECK;

/* Compares without changing: 0 current; -ENODATA: some are missing (or the schema is newer:
 * -EEXIST); other errors as above. */
int db_migrations_current(const char *conninfo, const char *schema,
                          const struct db_migration *migrations, size_t n, struct arena *arena,
                          struct str *ret_error) MUST_CHECK;

#endif
