/* lib/pg: transactions on the blocking pool. */
#include "pg_fixture.h"

#include <stdatomic.h>

enum { GET, SET, SLEEP, SERIALIZABLE, LATE, RAISE, WHO };

static const struct db_statement statements[] = {
    [GET] = {"get", "SELECT n FROM counters WHERE id = $1", DB_READ, {DB_INT4}},
    [SET] = {"set", "UPDATE counters SET n = $2 WHERE id = $1", DB_WRITE, {DB_INT4, DB_INT8}},
    [SLEEP] = {"sleep", "SELECT pg_sleep($1 / 1000.0)", DB_READ, {DB_INT4}},
    [SERIALIZABLE] = {"serializable",
                      "SET TRANSACTION ISOLATION LEVEL SERIALIZABLE",
                      DB_WRITE,
                      {DB_END}},
    [LATE] = {"late", "INSERT INTO late (id) VALUES ($1)", DB_WRITE, {DB_INT4}},
    [RAISE] = {"raise", "SELECT 1 / $1", DB_READ, {DB_INT4}},
    [WHO] = {"who", "SELECT pg_backend_pid()", DB_READ, {DB_END}},
};

static struct db *db;

static int start(void **state)
{
    if (pg_group_setup(state) != 0)
        return -1;
    pg_sql(
        "CREATE TABLE counters (id integer PRIMARY KEY, n bigint NOT NULL);"
        "INSERT INTO counters VALUES (1, 0), (2, 0);"
        "CREATE TABLE late (id integer CONSTRAINT late_id UNIQUE DEFERRABLE INITIALLY DEFERRED)");
    return 0;
}

static int open_db(void **state)
{
    (void)state;
    pg_sql("UPDATE counters SET n = 0; TRUNCATE late");
    db = pg_open_db(&(struct db_options){.connections = 1, .pool_threads = 3, .max_pool_queue = 4},
                    statements, ARRAY_SIZE(statements));
    return 0;
}

static int close_db(void **state)
{
    (void)state;
    if (db)
        db_close(db);
    db = NULL;
    return 0;
}

/* ---- a transaction that is waited for ---- */

struct task {
    struct answer answer;
    struct arena arena;
    int first, second; /* counters, in the order of their update */
    int result;        /* of the body */
    int sleep_ms;
    atomic_int runs;
    enum db_error seen; /* by the body */
    pthread_barrier_t *meet;
};

static void task_done(void *user, const struct db_result *outcome, int body_result)
{
    struct task *task = user;

    answer_transaction(&task->answer, outcome, body_result);
}

static int task_submit(struct task *task, db_tx_fn *body, int64_t timeout_ns,
                       const atomic_bool *cancelled)
{
    answer_init(&task->answer);
    return db_transaction(db, clock_monotonic_ns() + timeout_ns, cancelled, NULL, body, task_done,
                          task);
}

static enum db_error task_run(struct task *task, db_tx_fn *body)
{
    assert_int_equal(task_submit(task, body, SECONDS(30), NULL), 0);
    return answer_wait(&task->answer);
}

static void task_free(struct task *task)
{
    answer_free(&task->answer);
    arena_free(&task->arena);
}

static enum db_error get(struct db_tx *tx, struct task *task, int id, int64_t *ret)
{
    struct db_query *q = db_query(db, &task->arena, GET);
    struct db_result result;

    db_bind_int4(q, id);
    if (db_tx_run(tx, q, &result) == DB_OK)
        *ret = db_get_int8(&result, 0, 0);
    return result.error;
}

static enum db_error set(struct db_tx *tx, struct task *task, int id, int64_t n)
{
    struct db_query *q = db_query(db, &task->arena, SET);
    struct db_result result;

    db_bind_int4(q, id);
    db_bind_int8(q, n);
    return db_tx_run(tx, q, &result);
}

static enum db_error run_int4(struct db_tx *tx, struct task *task, size_t statement, int n)
{
    struct db_query *q = db_query(db, &task->arena, statement);
    struct db_result result;

    db_bind_int4(q, n);
    return db_tx_run(tx, q, &result);
}

/* ---- bodies ---- */

static int move_one(struct db_tx *tx, void *user)
{
    struct task *task = user;
    int64_t a = 0, b = 0;

    atomic_fetch_add(&task->runs, 1);
    task->seen = get(tx, task, 1, &a);
    if (task->seen == DB_OK)
        task->seen = get(tx, task, 2, &b);
    if (task->seen == DB_OK)
        task->seen = set(tx, task, 1, a - 1);
    if (task->seen == DB_OK)
        task->seen = set(tx, task, 2, b + 1);
    return task->result;
}

static void test_commit(void **state)
{
    struct task task = {.result = 0};

    (void)state;
    assert_int_equal(task_run(&task, move_one), DB_OK);
    assert_int_equal(task.answer.body_result, 0);
    assert_int_equal(pg_sql("SELECT n FROM counters WHERE id = 1"), -1);
    assert_int_equal(pg_sql("SELECT n FROM counters WHERE id = 2"), 1);
    task_free(&task);
}

static void test_rollback(void **state)
{
    struct task task = {.result = -7};

    (void)state;
    assert_int_equal(task_run(&task, move_one), DB_OK);
    assert_int_equal(task.answer.body_result, -7);
    assert_int_equal(pg_sql("SELECT sum(abs(n)) FROM counters"), 0);
    assert_int_equal(
        pg_sql("SELECT count(*) FROM pg_stat_activity WHERE state LIKE 'idle in transaction%'"), 0);
    task_free(&task);
}

static int fail_between(struct db_tx *tx, void *user)
{
    struct task *task = user;
    int64_t n;

    atomic_fetch_add(&task->runs, 1);
    set(tx, task, 1, 5);
    run_int4(tx, task, RAISE, 0);
    /* After an error every statement gives the same one. */
    task->seen = get(tx, task, 1, &n);
    return 0;
}

/* An error ends the transaction, even when the body overlooks it. */
/* The connection's process, and its counter's error if there is to be one. */
static int who_body(struct db_tx *tx, void *user)
{
    struct task *task = user;
    struct db_result result;

    if (db_tx_run(tx, db_query(db, &task->arena, WHO), &result) != DB_OK)
        return -1;
    atomic_store(&task->runs, db_get_int4(&result, 0, 0));
    return task->result;
}

/* Whatever becomes of a transaction, its connection serves the next one. */
static void test_connections_stay(void **state)
{
    enum { TRANSACTIONS = 30, THREADS = 3 };
    const atomic_bool cancelled = true;
    int pids[THREADS] = {0};
    size_t known = 0;

    (void)state;
    for (size_t i = 0; i < TRANSACTIONS; i++) {
        struct task task = {.result = i % 3 == 1}; /* is rolled back */
        int pid;

        if (i % 3 == 2) {
            assert_int_equal(task_submit(&task, who_body, SECONDS(30), &cancelled), 0);
            assert_int_equal(answer_wait(&task.answer), DB_CANCELLED);
            task_free(&task);
            continue;
        }
        assert_int_equal(task_run(&task, who_body), DB_OK);
        pid = atomic_load(&task.runs);
        for (size_t j = 0; j <= known; j++) {
            if (j == known) {
                assert_true(known < THREADS);
                pids[known++] = pid;
            }
            if (pids[j] == pid)
                break;
        }
        task_free(&task);
    }
    assert_true(known > 0);
}

static void test_error(void **state)
{
    struct task task = {.result = 0}, after = {.result = 0};

    (void)state;
    assert_int_equal(task_run(&task, fail_between), DB_CHECK);
    assert_string_equal(task.answer.result.sqlstate, "22012");
    assert_int_equal(task.seen, DB_CHECK);
    assert_int_equal(task.runs, 1);
    assert_int_equal(pg_sql("SELECT sum(abs(n)) FROM counters"), 0);
    assert_int_equal(task_run(&after, move_one), DB_OK);
    task_free(&task);
    task_free(&after);
}

/* A connection that was opened while the address led to a standby is let go of. */
static void test_standby(void **state)
{
    struct task before = {.result = 0}, after = {.result = 0};

    (void)state;
    pg_set_read_only(true);
    close_db(NULL);
    db = pg_open_db(&(struct db_options){.connections = 1, .pool_threads = 1}, statements,
                    ARRAY_SIZE(statements));
    assert_int_equal(task_run(&before, move_one), DB_UNAVAILABLE);
    assert_string_equal(before.answer.result.sqlstate, "25006");
    pg_set_read_only(false);
    assert_int_equal(task_run(&after, move_one), DB_OK);
    task_free(&before);
    task_free(&after);
}

static int insert_late(struct db_tx *tx, void *user)
{
    struct task *task = user;

    task->seen = run_int4(tx, task, LATE, 1);
    return 0;
}

static void test_failed_commit(void **state)
{
    struct task task = {.result = 0}, second = {.result = 0};

    (void)state;
    assert_int_equal(task_run(&task, insert_late), DB_OK);
    assert_int_equal(task_run(&second, insert_late), DB_UNIQUE);
    assert_int_equal(second.seen, DB_OK);
    assert_string_equal(second.answer.constraint, "late_id");
    task_free(&task);
    task_free(&second);
}

/* ---- conflicts ---- */

/* Both have read before either writes: one of them cannot be serialized. */
static int increment_serializable(struct db_tx *tx, void *user)
{
    struct task *task = user;
    struct db_result result;
    int64_t n = 0;

    if (db_tx_run(tx, db_query(db, &task->arena, SERIALIZABLE), &result) != DB_OK ||
        get(tx, task, 1, &n) != DB_OK)
        return 0;
    if (atomic_fetch_add(&task->runs, 1) == 0)
        pthread_barrier_wait(task->meet);
    set(tx, task, 1, n + 1);
    return 0;
}

static void test_serialization_failure(void **state)
{
    struct task a = {.result = 0}, b = {.result = 0};
    pthread_barrier_t meet;

    (void)state;
    pthread_barrier_init(&meet, NULL, 2);
    a.meet = b.meet = &meet;
    assert_int_equal(task_submit(&a, increment_serializable, SECONDS(30), NULL), 0);
    assert_int_equal(task_submit(&b, increment_serializable, SECONDS(30), NULL), 0);
    assert_int_equal(answer_wait(&a.answer), DB_OK);
    assert_int_equal(answer_wait(&b.answer), DB_OK);
    assert_true(a.runs + b.runs > 2);
    assert_int_equal(pg_sql("SELECT n FROM counters WHERE id = 1"), 2);
    pthread_barrier_destroy(&meet);
    task_free(&a);
    task_free(&b);
}

static int set_both(struct db_tx *tx, void *user)
{
    struct task *task = user;

    if (set(tx, task, task->first, 1) != DB_OK)
        return 0;
    if (atomic_fetch_add(&task->runs, 1) == 0)
        pthread_barrier_wait(task->meet);
    set(tx, task, task->second, 1);
    return 0;
}

static void test_deadlock(void **state)
{
    struct task a = {.first = 1, .second = 2}, b = {.first = 2, .second = 1};
    pthread_barrier_t meet;

    (void)state;
    pthread_barrier_init(&meet, NULL, 2);
    a.meet = b.meet = &meet;
    assert_int_equal(task_submit(&a, set_both, SECONDS(30), NULL), 0);
    assert_int_equal(task_submit(&b, set_both, SECONDS(30), NULL), 0);
    assert_int_equal(answer_wait(&a.answer), DB_OK);
    assert_int_equal(answer_wait(&b.answer), DB_OK);
    assert_true(a.runs + b.runs > 2);
    pthread_barrier_destroy(&meet);
    task_free(&a);
    task_free(&b);
}

/* ---- limits ---- */

static int sleep_then_set(struct db_tx *tx, void *user)
{
    struct task *task = user;

    atomic_fetch_add(&task->runs, 1);
    set(tx, task, 1, 9);
    task->seen = run_int4(tx, task, SLEEP, task->sleep_ms);
    return 0;
}

static void test_deadline(void **state)
{
    struct task task = {.sleep_ms = 60000}, after = {.result = 0};

    (void)state;
    assert_int_equal(task_submit(&task, sleep_then_set, SECONDS(2), NULL), 0);
    assert_int_equal(answer_wait(&task.answer), DB_DEADLINE);
    assert_int_equal(task.seen, DB_DEADLINE);
    assert_int_equal(pg_sql("SELECT sum(abs(n)) FROM counters"), 0);
    assert_int_equal(task_run(&after, move_one), DB_OK);
    task_free(&task);
    task_free(&after);
}

static int sleep_twice(struct db_tx *tx, void *user)
{
    struct task *task = user;

    run_int4(tx, task, SLEEP, task->sleep_ms);
    task->seen = run_int4(tx, task, SLEEP, 60000);
    return 0;
}

/* The time-out of Postgres counts for each statement; the deadline for all together. */
static void test_deadline_of_the_whole(void **state)
{
    struct task task = {.sleep_ms = 300};

    (void)state;
    assert_int_equal(task_submit(&task, sleep_twice, 600 * NSEC_PER_MSEC, NULL), 0);
    assert_int_equal(answer_wait(&task.answer), DB_DEADLINE);
    task_free(&task);
}

static void test_deadline_passed_in_queue(void **state)
{
    struct task task = {.result = 0};

    (void)state;
    assert_int_equal(task_submit(&task, move_one, -1, NULL), 0);
    assert_int_equal(answer_wait(&task.answer), DB_DEADLINE);
    assert_int_equal(task.runs, 0);
    task_free(&task);
}

static void test_cancelled(void **state)
{
    atomic_bool cancelled = true;
    struct task task = {.result = 0};

    (void)state;
    assert_int_equal(task_submit(&task, move_one, SECONDS(30), &cancelled), 0);
    assert_int_equal(answer_wait(&task.answer), DB_CANCELLED);
    assert_int_equal(task.runs, 0);
    task_free(&task);
}

static int wait_at_barrier(struct db_tx *tx, void *user)
{
    struct task *task = user;

    (void)tx;
    pthread_barrier_wait(task->meet);
    pthread_barrier_wait(task->meet);
    return 0;
}

/* Three run, four wait, the eighth is refused. */
static void test_queue_full(void **state)
{
    struct task tasks[8] = {{.result = 0}};
    pthread_barrier_t meet;

    (void)state;
    pthread_barrier_init(&meet, NULL, 4);
    for (int i = 0; i < 3; i++) {
        tasks[i].meet = &meet;
        assert_int_equal(task_submit(&tasks[i], wait_at_barrier, SECONDS(30), NULL), 0);
    }
    pthread_barrier_wait(&meet);
    for (int i = 3; i < 7; i++)
        assert_int_equal(task_submit(&tasks[i], move_one, SECONDS(30), NULL), 0);
    assert_int_equal(task_submit(&tasks[7], move_one, SECONDS(30), NULL), -ENOBUFS);
    pthread_barrier_wait(&meet);
    for (int i = 0; i < 7; i++)
        assert_int_equal(answer_wait(&tasks[i].answer), DB_OK);
    for (int i = 0; i < 8; i++)
        task_free(&tasks[i]);
    pthread_barrier_destroy(&meet);
}

/* What waits is answered, what runs is broken off. */
static void test_close(void **state)
{
    struct task running[3], waiting[2];

    (void)state;
    for (int i = 0; i < 3; i++) {
        running[i] = (struct task){.sleep_ms = 60000};
        assert_int_equal(task_submit(&running[i], sleep_twice, SECONDS(60), NULL), 0);
    }
    pg_await_sql("SELECT (count(*) = 3)::int FROM pg_stat_activity "
                 "WHERE state = 'active' AND query LIKE 'SELECT pg_sleep%'");
    for (int i = 0; i < 2; i++) {
        waiting[i] = (struct task){.result = 0};
        assert_int_equal(task_submit(&waiting[i], move_one, SECONDS(60), NULL), 0);
    }
    close_db(NULL);
    for (int i = 0; i < 3; i++) {
        assert_int_equal(answer_wait(&running[i].answer), DB_UNAVAILABLE);
        task_free(&running[i]);
    }
    for (int i = 0; i < 2; i++) {
        assert_int_equal(answer_wait(&waiting[i].answer), DB_UNAVAILABLE);
        assert_int_equal(waiting[i].runs, 0);
        task_free(&waiting[i]);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(test_commit, open_db, close_db),
        cmocka_unit_test_setup_teardown(test_rollback, open_db, close_db),
        cmocka_unit_test_setup_teardown(test_connections_stay, open_db, close_db),
        cmocka_unit_test_setup_teardown(test_error, open_db, close_db),
        cmocka_unit_test_setup_teardown(test_standby, open_db, close_db),
        cmocka_unit_test_setup_teardown(test_failed_commit, open_db, close_db),
        cmocka_unit_test_setup_teardown(test_serialization_failure, open_db, close_db),
        cmocka_unit_test_setup_teardown(test_deadlock, open_db, close_db),
        cmocka_unit_test_setup_teardown(test_deadline, open_db, close_db),
        cmocka_unit_test_setup_teardown(test_deadline_of_the_whole, open_db, close_db),
        cmocka_unit_test_setup_teardown(test_deadline_passed_in_queue, open_db, close_db),
        cmocka_unit_test_setup_teardown(test_cancelled, open_db, close_db),
        cmocka_unit_test_setup_teardown(test_queue_full, open_db, close_db),
        cmocka_unit_test_setup_teardown(test_close, open_db, close_db),
    };
    return cmocka_run_group_tests(tests, start, pg_group_teardown);
}
