/* lib/pg: the queue's bound, deadlines, cancellation and routing of the pipelined engine. */
#include "pg_fixture.h"

#include <stdatomic.h>

enum { ADD, SUM, TOUCH, SLEEP, MEET };

static const struct db_statement statements[] = {
    [ADD] = {"add", "INSERT INTO numbers (n) VALUES ($1)", DB_WRITE, {DB_INT8}},
    [SUM] = {"sum", "SELECT count(*), coalesce(sum(n), 0)::int8 FROM numbers", DB_READ, {DB_END}},
    [TOUCH] = {"touch", "UPDATE locked SET n = n + $1 WHERE id = 1", DB_WRITE, {DB_INT8}},
    [SLEEP] = {"sleep", "SELECT pg_sleep($1 / 1000.0)", DB_READ, {DB_INT4}},
    [MEET] = {"meet", "SELECT meet($1)", DB_WRITE, {DB_INT8}},
};

#define SLEEPERS "FROM pg_stat_activity WHERE state = 'active' AND query LIKE 'SELECT pg_sleep%'"
#define LOCK_WAITERS "FROM pg_stat_activity WHERE wait_event_type = 'Lock'"

static struct arena arena;
static PGconn *locker;

static int start(void **state)
{
    if (pg_group_setup(state) != 0)
        return -1;
    pg_sql(
        "CREATE TABLE numbers (n bigint);"
        "CREATE TABLE locked (id integer PRIMARY KEY, n bigint); INSERT INTO locked VALUES (1, 0);"
        /* Takes one of two locks, and the other one once another caller, or itself before, has come
         * that far. Sequences count whatever is undone. */
        "CREATE SEQUENCE arrivals;"
        "CREATE FUNCTION meet(first bigint) RETURNS void LANGUAGE plpgsql AS $$ BEGIN"
        "  PERFORM pg_advisory_xact_lock(first); PERFORM nextval('arrivals');"
        "  WHILE (SELECT last_value FROM arrivals) < 2 LOOP PERFORM pg_sleep(0.005); END LOOP;"
        "  PERFORM pg_advisory_xact_lock(3 - first); INSERT INTO numbers VALUES (first); END $$");
    locker = PQconnectdb(pg_conninfo);
    return 0;
}

static int stop(void **state)
{
    PQfinish(locker);
    return pg_group_teardown(state);
}

static int reset(void **state)
{
    (void)state;
    arena_free(&arena);
    pg_sql("TRUNCATE numbers; UPDATE locked SET n = 0");
    return 0;
}

static struct db *open_db(unsigned connections)
{
    return pg_open_db(&(struct db_options){.connections = connections, .pool_threads = 1},
                      statements, ARRAY_SIZE(statements));
}

static void hold_lock(void)
{
    PQclear(PQexec(locker, "BEGIN; UPDATE locked SET n = n"));
    assert_int_equal(PQtransactionStatus(locker), PQTRANS_INTRANS);
}

static void release_lock(void)
{
    PQclear(PQexec(locker, "COMMIT"));
}

static struct db_query *sleeper(struct db *db, int ms)
{
    struct db_query *q = db_query(db, &arena, SLEEP);

    db_bind_int4(q, ms);
    return q;
}

static struct db_query *with_int8(struct db *db, size_t statement, int64_t n)
{
    struct db_query *q = db_query(db, &arena, statement);

    db_bind_int8(q, n);
    return q;
}

static void test_bad_options(void **state)
{
    struct db *db;

    (void)state;
    assert_int_equal(db_open(&(struct db_options){.conninfo = NULL}, statements, 1, &db), -EINVAL);
    assert_int_equal(
        db_open(&(struct db_options){.conninfo = "", .connections = 1000}, statements, 1, &db),
        -EINVAL);
    assert_int_equal(db_open(&(struct db_options){.conninfo = "", .statement_timeout_ms = -1},
                             statements, 1, &db),
                     -EINVAL);
}

/* Of a query whose memory is its own. */
struct alone {
    struct arena arena;
    unsigned char *memory; /* of the query: all that the arena has */
    int rows;
    int64_t count;
    atomic_bool ended;
};

#define MEMORY 2000

/* The memory is somebody else's before the result is read. */
static void free_and_read(void *user, const struct db_result *result)
{
    struct alone *alone = user;

    memset(alone->memory, 0xff, MEMORY);
    arena_free(&alone->arena);
    if (result->error == DB_OK) {
        alone->rows = db_rows(result);
        alone->count = db_get_int8(result, 0, 0);
    }
    atomic_store(&alone->ended, true);
}

static void test_a_result_outlives_its_query(void **state)
{
    struct db *db = open_db(1);
    struct alone alone = {.rows = 0};
    struct db_query *query;

    (void)state;
    alone.memory = arena_alloc(&alone.arena, 1);
    query = db_query(db, &alone.arena, SUM);
    assert_in_range((unsigned char *)query - alone.memory, 1, MEMORY / 2);
    assert_non_null(arena_alloc(&alone.arena, MEMORY)); /* within the same block */
    pg_sql("INSERT INTO numbers SELECT generate_series(1, 7)");
    assert_int_equal(
        db_submit(query, clock_monotonic_ns() + SECONDS(30), NULL, free_and_read, &alone), 0);
    while (!atomic_load(&alone.ended)) /* its deadline, at the latest */
        usleep(1000);
    assert_int_equal(alone.rows, 1);
    assert_int_equal(alone.count, 7);
    db_close(db);
}

static void test_queue_full(void **state)
{
    struct db *db = pg_open_db(&(struct db_options){.connections = 1, .max_queue = 5}, statements,
                               ARRAY_SIZE(statements));
    struct answer answers[6];

    (void)state;
    hold_lock();
    for (int i = 0; i < 5; i++)
        answer_submit(&answers[i], with_int8(db, TOUCH, 1), SECONDS(30));
    answer_init(&answers[5]);
    assert_int_equal(db_submit(with_int8(db, TOUCH, 1), INT64_MAX, NULL, answer_done, &answers[5]),
                     -ENOBUFS);
    release_lock();
    for (int i = 0; i < 5; i++) {
        assert_int_equal(answer_wait(&answers[i]), DB_OK);
        answer_free(&answers[i]);
    }
    /* There is room again. */
    assert_int_equal(answer_run(&answers[0], with_int8(db, TOUCH, 1)), DB_OK);
    assert_int_equal(pg_sql("SELECT n FROM locked"), 6);
    answer_free(&answers[0]);
    answer_free(&answers[5]);
    db_close(db);
}

/* More than a connection takes: the rest waits in the queue, where the deadline holds as well. */
static void test_deadline_in_queue(void **state)
{
    static struct answer held[400];
    struct db *db = open_db(1);
    struct answer late;

    (void)state;
    hold_lock();
    for (size_t i = 0; i < ARRAY_SIZE(held); i++)
        answer_submit(&held[i], with_int8(db, TOUCH, 1), SECONDS(60));
    answer_submit(&late, with_int8(db, ADD, 1), 50 * NSEC_PER_MSEC);
    assert_int_equal(answer_wait(&late), DB_DEADLINE);
    release_lock();
    for (size_t i = 0; i < ARRAY_SIZE(held); i++) {
        assert_int_equal(answer_wait(&held[i]), DB_OK);
        answer_free(&held[i]);
    }
    assert_int_equal(pg_sql("SELECT n FROM locked"), 400);
    assert_int_equal(pg_sql("SELECT count(*) FROM numbers"), 0);
    answer_free(&late);
    db_close(db);
}

/* A deadline that has passed before the submission is no different. */
static void test_deadline_already_passed(void **state)
{
    struct db *db = open_db(1);
    struct answer late;

    (void)state;
    answer_submit(&late, with_int8(db, ADD, 1), -SECONDS(1));
    assert_int_equal(answer_wait(&late), DB_DEADLINE);
    assert_int_equal(pg_sql("SELECT count(*) FROM numbers"), 0);
    answer_free(&late);
    db_close(db);
}

/* The statement stops in Postgres, and what stands behind it on the connection is answered. */
static void test_deadline_running(void **state)
{
    struct db *db = open_db(1);
    struct answer slow, read, write;

    (void)state;
    answer_submit(&slow, sleeper(db, 60000), SECONDS(2));
    pg_await_sql("SELECT count(*) " SLEEPERS);
    answer_submit(&read, db_query(db, &arena, SUM), SECONDS(30));
    answer_submit(&write, with_int8(db, ADD, 4), SECONDS(30));
    assert_int_equal(answer_wait(&slow), DB_DEADLINE);
    assert_int_equal(answer_wait(&read), DB_OK);
    assert_int_equal(answer_wait(&write), DB_OK);
    assert_int_equal(pg_sql("SELECT count(*) " SLEEPERS), 0);
    assert_int_equal(pg_sql("SELECT sum(n) FROM numbers"), 4);
    answer_free(&slow);
    answer_free(&read);
    answer_free(&write);
    db_close(db);
}

/* Only the statement that runs may be cancelled: one whose deadline passes behind it waits. */
static void test_deadline_behind_another(void **state)
{
    struct db *db = open_db(1);
    struct answer first, behind;

    (void)state;
    answer_submit(&first, sleeper(db, 2000), SECONDS(30));
    answer_submit(&behind, sleeper(db, 1), 20 * NSEC_PER_MSEC);
    assert_int_equal(answer_wait(&behind), DB_DEADLINE);
    assert_true(str_eq(db_cause(&behind.result), STR("no answer within the deadline")));
    assert_int_equal(answer_wait(&first), DB_OK);
    assert_true(behind.done_ns < first.done_ns);
    answer_free(&first);
    answer_free(&behind);
    db_close(db);
}

static void test_deadline_of_write(void **state)
{
    struct db *db = open_db(1);
    struct answer late, next;

    (void)state;
    hold_lock();
    answer_submit(&late, with_int8(db, TOUCH, 1), SECONDS(2));
    answer_submit(&next, with_int8(db, TOUCH, 10), SECONDS(30));
    assert_int_equal(answer_wait(&late), DB_DEADLINE);
    assert_string_equal(late.result.sqlstate, "57014");
    release_lock();
    assert_int_equal(answer_wait(&next), DB_OK);
    assert_int_equal(pg_sql("SELECT n FROM locked"), 10);
    answer_free(&late);
    answer_free(&next);
    db_close(db);
}

/* Cancels arrive when they will, also in the next statement: nobody else may fail of them. */
static void test_stray_cancels(void **state)
{
    enum { ROUNDS = 150 };
    static struct answer hasty[ROUNDS], patient[ROUNDS], writes[ROUNDS];
    struct db *db = open_db(1);

    (void)state;
    for (int i = 0; i < ROUNDS; i++) {
        answer_submit(&hasty[i], sleeper(db, 3), 3 * NSEC_PER_MSEC);
        answer_submit(&patient[i], sleeper(db, 1), SECONDS(60));
        answer_submit(&writes[i], with_int8(db, ADD, 1), SECONDS(60));
        usleep(3000);
    }
    for (int i = 0; i < ROUNDS; i++) {
        enum db_error error = answer_wait(&hasty[i]);

        assert_true(error == DB_OK || error == DB_DEADLINE);
        assert_int_equal(answer_wait(&patient[i]), DB_OK);
        assert_int_equal(answer_wait(&writes[i]), DB_OK);
        answer_free(&hasty[i]);
        answer_free(&patient[i]);
        answer_free(&writes[i]);
    }
    assert_int_equal(pg_sql("SELECT count(*) FROM numbers"), ROUNDS);
    db_close(db);
}

static void test_statement_timeout(void **state)
{
    struct db *db = pg_open_db(&(struct db_options){.connections = 1, .statement_timeout_ms = 50},
                               statements, ARRAY_SIZE(statements));
    struct answer slow;

    (void)state;
    assert_int_equal(answer_run(&slow, sleeper(db, 60000)), DB_DEADLINE);
    assert_string_equal(slow.result.sqlstate, "57014");
    answer_free(&slow);
    db_close(db);
}

/* A caller that is gone costs nothing: its statement is never sent. */
static void test_cancelled(void **state)
{
    static struct answer held[400];
    struct db *db = open_db(1);
    struct answer gone;
    atomic_bool cancelled = false;

    (void)state;
    hold_lock();
    for (size_t i = 0; i < ARRAY_SIZE(held); i++)
        answer_submit(&held[i], with_int8(db, TOUCH, 1), SECONDS(60));
    answer_init(&gone);
    assert_int_equal(db_submit(with_int8(db, ADD, 1), INT64_MAX, &cancelled, answer_done, &gone),
                     0);
    atomic_store(&cancelled, true);
    release_lock();
    assert_int_equal(answer_wait(&gone), DB_CANCELLED);
    for (size_t i = 0; i < ARRAY_SIZE(held); i++) {
        assert_int_equal(answer_wait(&held[i]), DB_OK);
        answer_free(&held[i]);
    }
    assert_int_equal(pg_sql("SELECT count(*) FROM numbers"), 0);
    answer_free(&gone);
    db_close(db);
}

/* A db is ready with its first connection. Here the others count as well: reads and writes are sent
 * until each connection has had one. (One that was only opened shows what was prepared last.) */
#define USED                                               \
    "FROM pg_stat_activity WHERE pid <> pg_backend_pid()"  \
    " AND (left(query, 26) = 'SELECT count(*), coalesce('" \
    "      OR left(query, 25) = 'UPDATE locked SET n = n +')"
static void use_all_connections(struct db *db, unsigned n)
{
    static struct answer answers[100];
    char sql[250];
    int64_t until = clock_monotonic_ns() + SECONDS(20);

    snprintf(sql, sizeof(sql), "SELECT (count(*) = %u)::int " USED, n);
    while (!pg_sql(sql)) {
        assert_true(clock_monotonic_ns() < until);
        for (size_t i = 0; i < ARRAY_SIZE(answers); i++)
            answer_submit(&answers[i], i % 2 ? db_query(db, &arena, SUM) : with_int8(db, TOUCH, 0),
                          SECONDS(30));
        for (size_t i = 0; i < ARRAY_SIZE(answers); i++) {
            assert_int_equal(answer_wait(&answers[i]), DB_OK);
            answer_free(&answers[i]);
        }
    }
}

/* However many writes wait for a lock, reads go on: they have connections of their own. The writes
 * use all others, so that as many as possible can commit together. */
static void test_reads_pass_blocked_writes(void **state)
{
    static const struct {
        unsigned connections, for_writes;
    } cases[] = {{2, 1}, {3, 2}, {4, 2}, {8, 6}, {16, 12}};
    static struct answer writes[100];

    (void)state;
    for (size_t c = 0; c < ARRAY_SIZE(cases); c++) {
        struct db *db = open_db(cases[c].connections);
        struct answer read;
        char waiters[100];

        use_all_connections(db, cases[c].connections);
        hold_lock();
        for (size_t i = 0; i < ARRAY_SIZE(writes); i++)
            answer_submit(&writes[i], with_int8(db, TOUCH, 1), SECONDS(60));
        snprintf(waiters, sizeof(waiters), "SELECT (count(*) = %u)::int " LOCK_WAITERS,
                 cases[c].for_writes);
        pg_await_sql(waiters);
        for (int i = 0; i < 50; i++) {
            assert_int_equal(answer_run(&read, db_query(db, &arena, SUM)), DB_OK);
            answer_free(&read);
        }
        assert_false(writes[0].done);
        release_lock();
        for (size_t i = 0; i < ARRAY_SIZE(writes); i++) {
            assert_int_equal(answer_wait(&writes[i]), DB_OK);
            answer_free(&writes[i]);
        }
        db_close(db);
        pg_await_sql("SELECT (count(*) = 0)::int " USED); /* or they count as the next one's */
    }
    assert_int_equal(pg_sql("SELECT n FROM locked"), 500);
}

/* ---- many threads ---- */

enum { THREADS = 4, PER_THREAD = 1500, WINDOW = 50 };

static void *submit_many(void *arg)
{
    struct db *db = arg;
    struct arena own;

    arena_init(&own, 0);
    for (int done = 0; done < PER_THREAD; done += WINDOW) {
        struct answer answers[WINDOW];

        for (int i = 0; i < WINDOW; i++) {
            struct db_query *q = db_query(db, &own, i % 3 ? SUM : ADD);

            if (i % 3 == 0)
                db_bind_int8(q, 1);
            answer_submit(&answers[i], q, SECONDS(60));
        }
        for (int i = 0; i < WINDOW; i++) {
            assert_int_equal(answer_wait(&answers[i]), DB_OK);
            answer_free(&answers[i]);
        }
        arena_reset(&own);
    }
    arena_free(&own);
    return NULL;
}

/* Two writes that wait for each other: Postgres undoes one, and neither caller hears of it. */
static void test_deadlock(void **state)
{
    struct db *dbs[2] = {open_db(1), open_db(1)};
    struct answer answers[2];

    (void)state;
    for (int i = 0; i < 2; i++)
        answer_submit(&answers[i], with_int8(dbs[i], MEET, i + 1), SECONDS(60));
    for (int i = 0; i < 2; i++) {
        assert_int_equal(answer_wait(&answers[i]), DB_OK);
        answer_free(&answers[i]);
        db_close(dbs[i]);
    }
    assert_int_equal(pg_sql("SELECT last_value FROM arrivals"), 3);
    assert_int_equal(pg_sql("SELECT count(*) FROM numbers"), 2);
}

static void test_many_threads(void **state)
{
    struct db *db = open_db(3);
    pthread_t threads[THREADS];

    (void)state;
    for (int i = 0; i < THREADS; i++)
        assert_int_equal(pthread_create(&threads[i], NULL, submit_many, db), 0);
    for (int i = 0; i < THREADS; i++)
        pthread_join(threads[i], NULL);
    assert_int_equal(pg_sql("SELECT count(*) FROM numbers"),
                     THREADS * (PER_THREAD / WINDOW) * ((WINDOW + 2) / 3));
    db_close(db);
}

/* ---- closing ---- */

struct chain {
    struct answer answer;
    struct db *db;
    struct answer next;
    int next_error;
};

static void submit_next(void *user, const struct db_result *result)
{
    struct chain *chain = user;

    answer_init(&chain->next);
    chain->next_error =
        db_submit(db_query(chain->db, &arena, SUM), INT64_MAX, NULL, answer_done, &chain->next);
    answer_done(&chain->answer, result);
}

static void test_submit_in_completion(void **state)
{
    struct chain chain = {.db = open_db(1)};

    (void)state;
    answer_init(&chain.answer);
    assert_int_equal(
        db_submit(db_query(chain.db, &arena, SUM), INT64_MAX, NULL, submit_next, &chain), 0);
    assert_int_equal(answer_wait(&chain.answer), DB_OK);
    assert_int_equal(chain.next_error, 0);
    assert_int_equal(answer_wait(&chain.next), DB_OK);
    answer_free(&chain.answer);
    answer_free(&chain.next);
    db_close(chain.db);
}

/* db_close() answers what runs and what waits, and takes nothing more. */
static void test_close(void **state)
{
    static struct answer waiting[300];
    struct chain running = {.db = open_db(2)};

    (void)state;
    hold_lock();
    answer_init(&running.answer);
    assert_int_equal(
        db_submit(with_int8(running.db, TOUCH, 1), INT64_MAX, NULL, submit_next, &running), 0);
    for (size_t i = 0; i < ARRAY_SIZE(waiting); i++)
        answer_submit(&waiting[i], with_int8(running.db, TOUCH, 1), SECONDS(60));
    db_close(running.db);
    assert_int_equal(answer_wait(&running.answer), DB_UNAVAILABLE);
    assert_int_equal(running.next_error, -ESHUTDOWN);
    for (size_t i = 0; i < ARRAY_SIZE(waiting); i++) {
        assert_int_equal(answer_wait(&waiting[i]), DB_UNAVAILABLE);
        answer_free(&waiting[i]);
    }
    answer_free(&running.answer);
    answer_free(&running.next);
    release_lock();
}

/* ---- completions on another thread ---- */

/* Takes what is handed over, as a thread would that is busy with something else. */
struct taker {
    pthread_t thread;
    pthread_mutex_t lock;
    pthread_cond_t changed;
    struct db_query *ended[200]; /* n of them, of which n_done have been completed */
    size_t n, n_done;
    bool stop, refuse;
    atomic_int completed_here, completed_elsewhere;
};

static struct taker taker;

static void *take(void *arg UNUSED)
{
    pthread_mutex_lock(&taker.lock);
    for (;;) {
        struct db_query *ended;

        while (taker.n_done == taker.n && !taker.stop)
            pthread_cond_wait(&taker.changed, &taker.lock);
        if (taker.n_done == taker.n)
            break;
        ended = taker.ended[taker.n_done++];
        pthread_mutex_unlock(&taker.lock);
        db_complete(ended);
        pthread_mutex_lock(&taker.lock);
    }
    pthread_mutex_unlock(&taker.lock);
    return NULL;
}

static int hand_over(void *user UNUSED, struct db_query *ended)
{
    int r = -EAGAIN;

    pthread_mutex_lock(&taker.lock);
    if (!taker.refuse && taker.n < ARRAY_SIZE(taker.ended)) {
        taker.ended[taker.n++] = ended;
        pthread_cond_signal(&taker.changed);
        r = 0;
    }
    pthread_mutex_unlock(&taker.lock);
    return r;
}

static void count_thread(void *user, const struct db_result *result)
{
    if (pthread_equal(pthread_self(), taker.thread))
        atomic_fetch_add(&taker.completed_here, 1);
    else
        atomic_fetch_add(&taker.completed_elsewhere, 1);
    answer_done(user, result);
}

static void submit_counted(struct db *db, struct answer *answers, size_t n)
{
    for (size_t i = 0; i < n; i++) {
        answer_init(&answers[i]);
        assert_int_equal(db_submit(i % 2 ? db_query(db, &arena, SUM) : with_int8(db, ADD, 1),
                                   INT64_MAX, NULL, count_thread, &answers[i]),
                         0);
    }
}

static struct db *open_with_taker(void)
{
    taker = (struct taker){.n = 0};
    pthread_mutex_init(&taker.lock, NULL);
    pthread_cond_init(&taker.changed, NULL);
    assert_int_equal(pthread_create(&taker.thread, NULL, take, NULL), 0);
    return pg_open_db(&(struct db_options){.connections = 4, .hand_over = hand_over}, statements,
                      ARRAY_SIZE(statements));
}

static void end_taker(void)
{
    pthread_mutex_lock(&taker.lock);
    taker.stop = true;
    pthread_cond_signal(&taker.changed);
    pthread_mutex_unlock(&taker.lock);
    assert_int_equal(pthread_join(taker.thread, NULL), 0);
}

/* Rows, errors and what was never sent; all of it there, and the engine's own when nobody takes it.
 */
static void test_handed_over(void **state UNUSED)
{
    static struct answer answers[100];
    struct db *db = open_with_taker();
    struct answer late;

    submit_counted(db, answers, ARRAY_SIZE(answers));
    for (size_t i = 0; i < ARRAY_SIZE(answers); i++) {
        assert_int_equal(answer_wait(&answers[i]), DB_OK);
        if (i % 2)
            assert_int_equal(db_rows(&answers[i].result), 1);
        answer_free(&answers[i]);
    }
    assert_int_equal(atomic_load(&taker.completed_here), 100);
    answer_submit(&late, with_int8(db, ADD, 1), 0);
    assert_int_equal(answer_wait(&late), DB_DEADLINE);
    answer_free(&late);
    pthread_mutex_lock(&taker.lock);
    taker.refuse = true;
    pthread_mutex_unlock(&taker.lock);
    submit_counted(db, answers, 10);
    for (size_t i = 0; i < 10; i++) {
        assert_int_equal(answer_wait(&answers[i]), DB_OK);
        answer_free(&answers[i]);
    }
    assert_int_equal(atomic_load(&taker.completed_elsewhere), 10);
    db_close(db);
    end_taker();
    assert_int_equal(pg_sql("SELECT count(*) FROM numbers"), 55);
}

/* db_close() returns when everything has been completed, there as well. */
static void test_close_waits_for_what_was_handed_over(void **state UNUSED)
{
    static struct answer answers[100];
    struct db *db = open_with_taker();

    hold_lock();
    for (size_t i = 0; i < ARRAY_SIZE(answers); i++) {
        answer_init(&answers[i]);
        assert_int_equal(
            db_submit(with_int8(db, TOUCH, 1), INT64_MAX, NULL, count_thread, &answers[i]), 0);
    }
    db_close(db);
    for (size_t i = 0; i < ARRAY_SIZE(answers); i++) {
        assert_true(answers[i].done);
        assert_int_equal(answers[i].result.error, DB_UNAVAILABLE);
        answer_free(&answers[i]);
    }
    assert_int_equal(atomic_load(&taker.completed_here) + atomic_load(&taker.completed_elsewhere),
                     100);
    release_lock();
    end_taker();
}

/* ---- connecting ---- */

/* While a statement cannot be prepared the db is not ready; it becomes so by itself. */
static void test_missing_table(void **state)
{
    static const struct db_statement later[] = {
        {"later", "SELECT n FROM later", DB_READ, {DB_END}},
    };
    struct db *db;
    struct answer answer;

    (void)state;
    log_setup("test", LOG_ERROR);
    assert_int_equal(
        db_open(&(struct db_options){.conninfo = pg_conninfo, .connections = 2}, later, 1, &db), 0);
    answer_submit(&answer, db_query(db, &arena, 0), 100 * NSEC_PER_MSEC);
    assert_int_equal(answer_wait(&answer), DB_DEADLINE);
    assert_false(db_ready(db));
    answer_free(&answer);
    pg_sql("CREATE TABLE later (n integer)");
    pg_await_ready(db);
    assert_int_equal(answer_run(&answer, db_query(db, &arena, 0)), DB_OK);
    answer_free(&answer);
    db_close(db);
}

/* When Postgres hangs, that is noticed on a connection as well where a statement without a deadline
 * is in flight: Postgres would have ended it by statement_timeout. */
static void test_silence(void **state)
{
    int64_t until;
    struct answer purge, read;
    struct db *db;

    (void)state;
    log_setup("test", LOG_ERROR);
    db = pg_open_db(
        &(struct db_options){.connections = 1, .pool_threads = 1, .statement_timeout_ms = 5000},
        statements, ARRAY_SIZE(statements));
    hold_lock();
    answer_init(&purge);
    assert_int_equal(db_submit(with_int8(db, TOUCH, 1), INT64_MAX, NULL, answer_done, &purge), 0);
    pg_await_sql("SELECT count(*) " LOCK_WAITERS);
    assert_int_equal(pg_script("pause", NULL, 0), 0);
    until = clock_monotonic_ns() + SECONDS(40);
    while (db_ready(db) && clock_monotonic_ns() < until) {
        answer_submit(&read, db_query(db, &arena, SUM), 100 * NSEC_PER_MSEC);
        assert_int_equal(answer_wait(&read), DB_DEADLINE);
        answer_free(&read);
    }
    assert_int_equal(pg_script("continue", NULL, 0), 0);
    assert_int_equal(answer_wait(&purge), DB_UNAVAILABLE);
    answer_free(&purge);
    release_lock();
    pg_await_ready(db);
    assert_int_equal(answer_run(&read, db_query(db, &arena, SUM)), DB_OK);
    answer_free(&read);
    db_close(db);
}

static enum db_error add_one(struct db *db)
{
    struct answer answer;
    enum db_error error = answer_run(&answer, with_int8(db, ADD, 1));

    answer_free(&answer);
    return error;
}

/* A connection that was opened while the address led to a standby is let go of. The next one may
 * have been opened before the address led elsewhere. */
static void test_standby(void **state)
{
    int64_t until = clock_monotonic_ns() + SECONDS(20);
    struct db *db;

    (void)state;
    pg_set_read_only(true);
    db = open_db(1);
    assert_int_equal(add_one(db), DB_UNAVAILABLE);
    pg_set_read_only(false);
    while (add_one(db) != DB_OK)
        assert_true(clock_monotonic_ns() < until);
    assert_int_equal(pg_sql("SELECT count(*) FROM numbers"), 1);
    db_close(db);
}

/* Closing while nothing can be reached neither hangs nor leaks. */
static void test_unreachable(void **state)
{
    struct db *db;
    struct answer answer;

    (void)state;
    assert_int_equal(db_open(&(struct db_options){.conninfo = "host=/nonexistent"}, statements,
                             ARRAY_SIZE(statements), &db),
                     0);
    answer_submit(&answer, db_query(db, &arena, SUM), SECONDS(60));
    db_close(db);
    assert_int_equal(answer_wait(&answer), DB_UNAVAILABLE);
    answer_free(&answer);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_bad_options),
        cmocka_unit_test_teardown(test_a_result_outlives_its_query, reset),
        cmocka_unit_test_teardown(test_queue_full, reset),
        cmocka_unit_test_teardown(test_deadline_in_queue, reset),
        cmocka_unit_test_teardown(test_deadline_already_passed, reset),
        cmocka_unit_test_teardown(test_deadline_running, reset),
        cmocka_unit_test_teardown(test_deadline_behind_another, reset),
        cmocka_unit_test_teardown(test_deadline_of_write, reset),
        cmocka_unit_test_teardown(test_stray_cancels, reset),
        cmocka_unit_test_teardown(test_statement_timeout, reset),
        cmocka_unit_test_teardown(test_cancelled, reset),
        cmocka_unit_test_teardown(test_reads_pass_blocked_writes, reset),
        cmocka_unit_test_teardown(test_deadlock, reset),
        cmocka_unit_test_teardown(test_many_threads, reset),
        cmocka_unit_test_teardown(test_submit_in_completion, reset),
        cmocka_unit_test_teardown(test_close, reset),
        cmocka_unit_test_teardown(test_handed_over, reset),
        cmocka_unit_test_teardown(test_close_waits_for_what_was_handed_over, reset),
        cmocka_unit_test_teardown(test_missing_table, reset),
        cmocka_unit_test_teardown(test_silence, reset),
        cmocka_unit_test_teardown(test_standby, reset),
        cmocka_unit_test_teardown(test_unreachable, reset),
    };
    return cmocka_run_group_tests(tests, start, stop);
}
