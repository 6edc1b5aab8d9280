/* lib/pg: Postgres crashes and comes back under load from several threads.
 *
 * What was acknowledged is in the table; what was in flight is answered UNAVAILABLE or lasts
 * unseen, but never the other way round; reads are answered in the end; nobody opens the db
 * again. */
#include "pg_fixture.h"

#include <stdatomic.h>

enum { ADD, COUNT, SLEEP, KILL };

static const struct db_statement statements[] = {
    [ADD] = {"add", "INSERT INTO numbers (n) VALUES ($1)", DB_WRITE, {DB_INT8}},
    [COUNT] = {"count", "SELECT count(*) FROM numbers", DB_READ, {DB_END}},
    [SLEEP] = {"sleep", "SELECT pg_sleep($1 / 1000.0)", DB_READ, {DB_INT4}},
    [KILL] = {"kill", "SELECT pg_terminate_backend(pg_backend_pid())", DB_READ, {DB_END}},
};

static atomic_int ready_changes;

static void on_ready(void *user, bool ready)
{
    (void)user;
    (void)ready;
    atomic_fetch_add(&ready_changes, 1);
}

static struct db *open_db(void)
{
    return pg_open_db(
        &(struct db_options){.connections = 4, .pool_threads = 2, .on_ready = on_ready}, statements,
        ARRAY_SIZE(statements));
}

static int start(void **state)
{
    if (pg_group_setup(state) != 0)
        return -1;
    pg_sql("CREATE TABLE numbers (n bigint PRIMARY KEY)");
    log_setup("test", LOG_ERROR);
    return 0;
}

static int reset(void **state)
{
    (void)state;
    pg_sql("TRUNCATE numbers");
    return 0;
}

/* ---- load ---- */

enum { THREADS = 3, WINDOW = 40 };

struct load {
    struct db *db;
    int64_t first;        /* numbers of this thread start here */
    atomic_bool *stop;    /* set by the test */
    int64_t acknowledged; /* writes answered OK */
    int64_t unavailable;  /* writes lost in flight */
    int64_t reads;
    char outcomes[400000]; /* of each number: an enum db_error */
    pthread_t thread;
};

static void *put_load(void *arg)
{
    struct load *load = arg;
    struct arena arena;
    int64_t n = 0;

    arena_init(&arena, 0);
    while (!atomic_load(load->stop) && n + WINDOW < (int64_t)sizeof(load->outcomes)) {
        struct answer answers[WINDOW];

        for (int i = 0; i < WINDOW; i++) {
            struct db_query *q = db_query(load->db, &arena, i % 2 ? COUNT : ADD);

            if (i % 2 == 0)
                db_bind_int8(q, load->first + n + i / 2);
            answer_submit(&answers[i], q, SECONDS(60));
        }
        for (int i = 0; i < WINDOW; i++) {
            enum db_error error = answer_wait(&answers[i]);

            if (i % 2) {
                assert_int_equal(error, DB_OK);
                load->reads++;
            } else {
                assert_true(error == DB_OK || error == DB_UNAVAILABLE);
                load->outcomes[n++] = (char)error;
                load->acknowledged += error == DB_OK;
                load->unavailable += error == DB_UNAVAILABLE;
            }
            answer_free(&answers[i]);
        }
        arena_reset(&arena);
    }
    arena_free(&arena);
    return NULL;
}

static void check_acknowledged(const struct load *load)
{
    PGconn *pg = PQconnectdb(pg_conninfo);
    PGresult *res = PQexec(pg, "SELECT n FROM numbers ORDER BY n");
    static char present[THREADS * sizeof(load->outcomes)];

    assert_int_equal(PQresultStatus(res), PGRES_TUPLES_OK);
    memset(present, 0, sizeof(present));
    for (int i = 0; i < PQntuples(res); i++)
        present[strtol(PQgetvalue(res, i, 0), NULL, 10)] = 1;
    for (int t = 0; t < THREADS; t++) {
        for (int64_t i = 0; i < load[t].acknowledged + load[t].unavailable; i++) {
            if (load[t].outcomes[i] == DB_OK && !present[load[t].first + i])
                fail_msg("write %ld was acknowledged and is lost", (long)(load[t].first + i));
        }
    }
    PQclear(res);
    PQfinish(pg);
}

static void await_not_ready(const struct db *db)
{
    int64_t until = clock_monotonic_ns() + SECONDS(20);

    while (db_ready(db)) {
        assert_true(clock_monotonic_ns() < until);
        usleep(1000);
    }
}

static void test_crash_under_load(void **state)
{
    static struct load loads[THREADS];
    atomic_bool stop_load = false;
    struct db *db = open_db();
    int64_t acknowledged = 0, unavailable = 0, reads = 0;

    (void)state;
    for (int t = 0; t < THREADS; t++) {
        loads[t] = (struct load){
            .db = db, .first = t * (int64_t)sizeof(loads[t].outcomes), .stop = &stop_load};
        assert_int_equal(pthread_create(&loads[t].thread, NULL, put_load, &loads[t]), 0);
    }
    for (int crash = 0; crash < 4; crash++) {
        int64_t back;
        long before = pg_sql("SELECT count(*) FROM numbers");

        while (pg_sql("SELECT count(*) FROM numbers") < before + 500)
            usleep(1000);
        assert_int_equal(pg_script("crash", NULL, 0), 0);
        await_not_ready(db);
        assert_int_equal(pg_script("start", NULL, 0), 0);
        back = clock_monotonic_ns();
        pg_await_ready(db);
        /* The promise is a second; ten leave room for a sanitizer on a busy machine. */
        assert_true(clock_monotonic_ns() - back < SECONDS(10));
        print_message("ready again %ld ms after Postgres\n",
                      (long)((clock_monotonic_ns() - back) / NSEC_PER_MSEC));
    }
    atomic_store(&stop_load, true);
    for (int t = 0; t < THREADS; t++) {
        pthread_join(loads[t].thread, NULL);
        acknowledged += loads[t].acknowledged;
        unavailable += loads[t].unavailable;
        reads += loads[t].reads;
    }
    print_message("writes acknowledged %ld, unavailable %ld, reads %ld\n", (long)acknowledged,
                  (long)unavailable, (long)reads);
    check_acknowledged(loads);
    db_close(db);
}

/* A write that waits for a connection was never sent: it is not lost, only late. */
static void test_unsent_waits(void **state)
{
    struct arena arena;
    struct db *db = open_db();
    struct answer write, read, hasty;
    struct db_query *q;
    int changes;

    (void)state;
    arena_init(&arena, 0);
    assert_int_equal(pg_script("crash", NULL, 0), 0);
    await_not_ready(db);
    changes = atomic_load(&ready_changes);
    q = db_query(db, &arena, ADD);
    db_bind_int8(q, 1);
    answer_submit(&write, q, SECONDS(60));
    answer_submit(&read, db_query(db, &arena, COUNT), SECONDS(60));
    answer_submit(&hasty, db_query(db, &arena, COUNT), 50 * NSEC_PER_MSEC);
    assert_int_equal(answer_wait(&hasty), DB_DEADLINE);
    assert_int_equal(pg_script("start", NULL, 0), 0);
    assert_int_equal(answer_wait(&write), DB_OK);
    assert_int_equal(answer_wait(&read), DB_OK);
    assert_int_equal(pg_sql("SELECT count(*) FROM numbers"), 1);
    assert_true(atomic_load(&ready_changes) > changes);
    answer_free(&write);
    answer_free(&read);
    answer_free(&hasty);
    db_close(db);
    arena_free(&arena);
}

/* A read that runs when Postgres crashes runs again. */
static void test_running_read(void **state)
{
    struct arena arena;
    struct db *db = open_db();
    struct answer read;
    struct db_query *q;

    (void)state;
    arena_init(&arena, 0);
    q = db_query(db, &arena, SLEEP);
    db_bind_int4(q, 5000);
    answer_submit(&read, q, SECONDS(60));
    pg_await_sql("SELECT count(*) FROM pg_stat_activity WHERE query LIKE 'SELECT pg_sleep%'");
    assert_int_equal(pg_script("restart", NULL, 0), 0);
    assert_int_equal(answer_wait(&read), DB_OK);
    answer_free(&read);
    db_close(db);
    arena_free(&arena);
}

/* Nobody can know whether a write that was running has committed: it fails, and is not sent again.
 */
static void test_running_write(void **state)
{
    struct arena arena;
    struct db *db = open_db();
    PGconn *holder = PQconnectdb(pg_conninfo);
    struct answer write;
    struct db_query *q;

    (void)state;
    arena_init(&arena, 0);
    PQclear(PQexec(holder, "BEGIN"));
    PQclear(PQexec(holder, "LOCK TABLE numbers"));
    q = db_query(db, &arena, ADD);
    db_bind_int8(q, 1);
    answer_submit(&write, q, SECONDS(60));
    pg_await_sql("SELECT count(*) FROM pg_stat_activity WHERE wait_event_type = 'Lock'");
    assert_int_equal(pg_script("restart", NULL, 0), 0);
    assert_int_equal(answer_wait(&write), DB_UNAVAILABLE);
    answer_free(&write);
    PQfinish(holder);
    pg_await_ready(db);
    assert_int_equal(pg_sql("SELECT count(*) FROM numbers WHERE n = 1"), 0);
    db_close(db);
    arena_free(&arena);
}

/* A read that kills its server each time is given up, and the db lives on. */
static void test_deadly_read(void **state)
{
    struct arena arena;
    struct db *db = open_db();
    struct answer answer;

    (void)state;
    arena_init(&arena, 0);
    assert_int_equal(answer_run(&answer, db_query(db, &arena, KILL)), DB_UNAVAILABLE);
    answer_free(&answer);
    assert_int_equal(answer_run(&answer, db_query(db, &arena, COUNT)), DB_OK);
    answer_free(&answer);
    db_close(db);
    arena_free(&arena);
}

/* ---- transactions ---- */

struct account {
    struct db *db;
    struct arena arena;
    struct answer answer;
    int64_t n;
    int runs;
};

static int add_slowly(struct db_tx *tx, void *user)
{
    struct account *account = user;
    struct db_query *q = db_query(account->db, &account->arena, ADD);
    struct db_result result;

    account->runs++;
    db_bind_int8(q, account->n);
    if (db_tx_run(tx, q, &result) != DB_OK)
        return 0;
    q = db_query(account->db, &account->arena, SLEEP);
    db_bind_int4(q, 5000);
    db_tx_run(tx, q, &result);
    return 0;
}

static void account_done(void *user, const struct db_result *outcome, int body_result)
{
    struct account *account = user;

    answer_transaction(&account->answer, outcome, body_result);
}

/* Before COMMIT nothing can last, so a transaction that loses its connection runs again. */
static void test_transaction_again(void **state)
{
    struct account account = {.db = open_db(), .n = 77};

    (void)state;
    answer_init(&account.answer);
    assert_int_equal(db_transaction(account.db, clock_monotonic_ns() + SECONDS(60), NULL, NULL,
                                    add_slowly, account_done, &account),
                     0);
    pg_await_sql("SELECT count(*) FROM pg_stat_activity WHERE query LIKE 'SELECT pg_sleep%'");
    assert_int_equal(pg_script("restart", NULL, 0), 0);
    assert_int_equal(answer_wait(&account.answer), DB_OK);
    assert_true(account.runs > 1);
    assert_int_equal(pg_sql("SELECT count(*) FROM numbers WHERE n = 77"), 1);
    db_close(account.db);
    answer_free(&account.answer);
    arena_free(&account.arena);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_teardown(test_crash_under_load, reset),
        cmocka_unit_test_teardown(test_unsent_waits, reset),
        cmocka_unit_test_teardown(test_running_read, reset),
        cmocka_unit_test_teardown(test_running_write, reset),
        cmocka_unit_test_teardown(test_deadly_read, reset),
        cmocka_unit_test_teardown(test_transaction_again, reset),
    };
    return cmocka_run_group_tests(tests, start, pg_group_teardown);
}
