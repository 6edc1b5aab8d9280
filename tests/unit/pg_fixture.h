/* For the tests of lib/pg: a private Postgres in a temporary folder, and queries that are waited
 * for. Each test binary has a cluster of its own. Tests run in the root of the repository. */
#ifndef STOA_TESTS_PG_FIXTURE_H
#define STOA_TESTS_PG_FIXTURE_H

#include "base/log.h"
#include "pg/db.h"

#include <errno.h>
#include <pthread.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#include <cmocka.h>

#define SECONDS(n) ((n)*NSEC_PER_SEC)

static char pg_dir[64];
static char pg_conninfo[256];

/* Runs tests/private-postgres; the first line that it prints goes to output (may be NULL). */
static UNUSED int pg_script(const char *what, char *output, size_t size)
{
    char command[256], line[256] = "";
    FILE *pipe;

    snprintf(command, sizeof(command), "tests/private-postgres %s %s %d", what, pg_dir,
             (int)getpid());
    pipe = popen(command, "r");
    if (!pipe)
        return -1;
    if (fgets(line, sizeof(line), pipe) && output)
        snprintf(output, size, "%.*s", (int)strcspn(line, "\n"), line);
    return pclose(pipe);
}

static UNUSED int pg_group_setup(void **state)
{
    (void)state;
    log_setup("test", LOG_ERROR);
    snprintf(pg_dir, sizeof(pg_dir), "/tmp/stoa-pg-XXXXXX");
    return mkdtemp(pg_dir) ? pg_script("start", pg_conninfo, sizeof(pg_conninfo)) : -1;
}

static UNUSED int pg_group_teardown(void **state)
{
    char command[128];

    (void)state;
    pg_script("stop", NULL, 0);
    snprintf(command, sizeof(command), "rm -rf %s", pg_dir);
    return system(command);
}

/* Plain SQL on a connection of its own; the first value of the answer as a number. A test that has
 * failed may have left a lock behind: who comes next fails as well, and does not wait for ever. */
static UNUSED long pg_sql(const char *sql)
{
    char conninfo[sizeof(pg_conninfo) + 32];
    PGconn *pg;
    PGresult *res;
    long value = 0;

    snprintf(conninfo, sizeof(conninfo), "%s options='-c lock_timeout=60s'", pg_conninfo);
    pg = PQconnectdb(conninfo);
    res = PQexec(pg, sql);
    if (PQresultStatus(res) != PGRES_TUPLES_OK && PQresultStatus(res) != PGRES_COMMAND_OK)
        fail_msg("%s: %s", sql, PQerrorMessage(pg));
    if (PQntuples(res) > 0 && PQnfields(res) > 0)
        value = strtol(PQgetvalue(res, 0, 0), NULL, 10);
    PQclear(res);
    PQfinish(pg);
    return value;
}

/* New connections are as those to a standby, or to the primary again. */
static UNUSED void pg_set_read_only(bool read_only)
{
    char sql[128];

    snprintf(sql, sizeof(sql),
             "SET TRANSACTION READ WRITE;"
             "ALTER ROLE CURRENT_USER SET default_transaction_read_only = %s",
             read_only ? "on" : "off");
    pg_sql(sql);
}

/* Polls until condition gives something other than 0; a bound, not a measurement. */
static UNUSED void pg_await_sql(const char *sql)
{
    int64_t until = clock_monotonic_ns() + SECONDS(20);

    while (pg_sql(sql) == 0) {
        if (clock_monotonic_ns() > until)
            fail_msg("waited in vain for: %s", sql);
        usleep(5000);
    }
}

static UNUSED void pg_await_ready(const struct db *db)
{
    int64_t until = clock_monotonic_ns() + SECONDS(20);

    while (!db_ready(db)) {
        assert_true(clock_monotonic_ns() < until);
        usleep(1000);
    }
}

static UNUSED struct db *pg_open_db(const struct db_options *options,
                                    const struct db_statement *statements, size_t n)
{
    struct db_options with = *options;
    struct db *db = NULL;

    with.conninfo = pg_conninfo;
    assert_int_equal(db_open(&with, statements, n, &db), 0);
    pg_await_ready(db);
    return db;
}

/* ---- a query that is waited for ---- */

struct answer {
    pthread_mutex_t lock;
    pthread_cond_t changed;
    bool done;
    int body_result;
    struct db_result result; /* rows are a copy; constraint and message are cut off */
    char constraint[64];
    int64_t done_ns;
};

static UNUSED void answer_init(struct answer *a)
{
    *a = (struct answer){.done = false};
    pthread_mutex_init(&a->lock, NULL);
    pthread_cond_init(&a->changed, NULL);
}

static UNUSED void answer_free(struct answer *a)
{
    PQclear((PGresult *)a->result.rows);
    pthread_mutex_destroy(&a->lock);
    pthread_cond_destroy(&a->changed);
}

static void answer_take(struct answer *a, const struct db_result *result)
{
    pthread_mutex_lock(&a->lock);
    assert_false(a->done);
    a->done = true;
    a->done_ns = clock_monotonic_ns();
    a->result.error = result->error;
    memcpy(a->result.sqlstate, result->sqlstate, sizeof(a->result.sqlstate));
    snprintf(a->constraint, sizeof(a->constraint), "%.*s", STR_FMT(result->constraint));
    if (result->rows)
        a->result.rows = PQcopyResult(result->rows, PG_COPYRES_ATTRS | PG_COPYRES_TUPLES);
    pthread_cond_broadcast(&a->changed);
    pthread_mutex_unlock(&a->lock);
}

static UNUSED void answer_done(void *user, const struct db_result *result)
{
    answer_take(user, result);
}

static UNUSED void answer_transaction(void *user, const struct db_result *outcome, int body_result)
{
    struct answer *a = user;

    a->body_result = body_result;
    answer_take(a, outcome);
}

static UNUSED enum db_error answer_wait(struct answer *a)
{
    struct timespec until;
    int error = 0;

    clock_gettime(CLOCK_REALTIME, &until);
    until.tv_sec += 60;
    pthread_mutex_lock(&a->lock);
    while (!a->done && error == 0)
        error = pthread_cond_timedwait(&a->changed, &a->lock, &until);
    pthread_mutex_unlock(&a->lock);
    assert_int_equal(error, 0);
    return a->result.error;
}

static UNUSED void answer_submit(struct answer *a, struct db_query *q, int64_t timeout_ns)
{
    answer_init(a);
    assert_int_equal(db_submit(q, clock_monotonic_ns() + timeout_ns, NULL, answer_done, a), 0);
}

/* Submits and waits. */
static UNUSED enum db_error answer_run(struct answer *a, struct db_query *q)
{
    answer_submit(a, q, SECONDS(30));
    return answer_wait(a);
}

#endif
