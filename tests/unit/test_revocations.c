/* Reading revocations on a real Postgres: none is missed, whatever the order in which transactions
 * commit, and none is kept longer than it has a meaning. */
#include "sql_fixture.h"

#include "service/revocations.h"

static struct revocations *revocations;
static atomic_int known;

static void ignore(void *user UNUSED)
{
}

static void on_known(void *user UNUSED)
{
    known++;
}

static int setup(void **state UNUSED)
{
    return sql_db_setup("posts", 2, &revocations_statement, 1);
}

static int begin(void **state UNUSED)
{
    sql_as_admin("TRUNCATE auth.revoked_sessions RESTART IDENTITY");
    known = 0;
    return revocations_new(
        &(struct revocations_options){.wake = ignore, .known = on_known, .user = NULL},
        &revocations);
}

static int end(void **state UNUSED)
{
    /* The reading in flight ends before what it fills goes away. */
    db_close(db);
    revocations_free(revocations);
    db = pg_open_db(&(struct db_options){.connections = 2}, &revocations_statement, 1);
    return 0;
}

static struct uuid session(unsigned n)
{
    return (struct uuid){{0xaa, (uint8_t)(n >> 16), (uint8_t)(n >> 8), (uint8_t)n}};
}

static void insert(PGconn *pg, unsigned first, unsigned last, const char *revoked_at)
{
    char sql[512];

    snprintf(sql, sizeof(sql),
             "INSERT INTO auth.revoked_sessions (session_id, expires_at, revoked_at)"
             " SELECT (rpad('aa' || lpad(to_hex(n), 6, '0'), 32, '0'))::uuid,"
             " now() + interval '1 hour', %s FROM generate_series(%u, %u) n",
             revoked_at, first, last);
    if (pg)
        PQclear(sql_exec(pg, sql));
    else
        sql_as_admin(sql);
}

static bool has(unsigned n)
{
    struct uuid id = session(n);

    return revocations_have(revocations, &id);
}

static void tick(void)
{
    int ms = revocations_tick(revocations, db, 0);

    assert_in_range(ms, 1, 1001);
    usleep(1000);
}

static void await(unsigned n)
{
    int64_t until = clock_monotonic_ns() + SECONDS(20);

    while (!has(n)) {
        if (clock_monotonic_ns() > until)
            fail_msg("session %u is not known as revoked", n);
        tick();
    }
}

static void await_known(void)
{
    int64_t until = clock_monotonic_ns() + SECONDS(20);

    while (!revocations_are_known(revocations)) {
        assert_true(clock_monotonic_ns() < until);
        tick();
    }
}

static void finds_what_is_there_and_what_comes(void **state UNUSED)
{
    insert(NULL, 1, 3, "now()");
    assert_false(revocations_are_known(revocations));
    await_known();
    assert_true(has(1) && has(2) && has(3));
    assert_false(has(4));
    insert(NULL, 4, 4, "now()");
    await(4);
    assert_int_equal(known, 1);
}

static void reads_many_in_pages(void **state UNUSED)
{
    insert(NULL, 1, 2500, "now()");
    await_known(); /* not before the last page */
    for (unsigned n = 1; n <= 2500; n++)
        assert_true(has(n));
}

/* A transaction that takes its number first and commits last, with more than a page in between. */
static void a_late_commit_is_not_missed(void **state UNUSED)
{
    PGconn *late = PQconnectdb(sql_admin);

    await_known();
    PQclear(sql_exec(late, "BEGIN"));
    insert(late, 1, 1, "clock_timestamp()");
    insert(NULL, 2, 2001, "clock_timestamp()");
    await(2001);
    assert_false(has(1));
    insert(NULL, 2002, 2002, "clock_timestamp()");
    await(2002);
    PQclear(sql_exec(late, "COMMIT"));
    await(1);
    PQfinish(late);
}

/* A number that was never used holds nothing up for good: what is behind it for longer than any
 * transaction lasts need not be read again. */
static void a_hole_is_settled_after_a_minute(void **state UNUSED)
{
    insert(NULL, 1, 1, "now() - interval '61 seconds'");
    sql_as_admin("SELECT nextval('auth.revoked_sessions_seq_seq')");
    insert(NULL, 2, 3, "now() - interval '61 seconds'");
    await(3);
    await_known();
    sql_as_admin("DELETE FROM auth.revoked_sessions"); /* or it would read them for ever */
    insert(NULL, 5, 5, "now()");
    await(5);
}

static void what_has_expired_is_forgotten(void **state UNUSED)
{
    struct uuid old = session(1), young = session(2), long_gone = session(3);
    int64_t now = clock_realtime_us(), until = clock_monotonic_ns() + SECONDS(20);

    revocations_add(revocations, &old, now + 50000);
    revocations_add(revocations, &young, now + 60000000);
    revocations_add(revocations, &long_gone, now - 1);
    assert_true(has(1) && has(2));
    assert_false(has(3));
    while (has(1)) {
        assert_true(clock_monotonic_ns() < until);
        tick();
    }
    assert_true(has(2));
}

/* Another server, perhaps an earlier state: numbers begin anew. */
static void everything_is_read_again(void **state UNUSED)
{
    insert(NULL, 1, 50, "now()");
    await(50);
    sql_as_admin("TRUNCATE auth.revoked_sessions RESTART IDENTITY");
    insert(NULL, 51, 51, "now()");
    revocations_read_again(revocations);
    await(51);
    assert_true(has(1));
    assert_int_equal(known, 1);
}

static void a_lost_server_is_come_back_to(void **state UNUSED)
{
    await_known();
    pg_script("restart", NULL, 0);
    insert(NULL, 1, 1, "now()");
    await(1);
}

struct reader {
    pthread_barrier_t started;
    atomic_bool stop;
};

/* Looks once more after the last one was added: it has to see what was added by then. */
static void *look(void *arg)
{
    struct reader *reader = arg;
    bool stop, found;

    pthread_barrier_wait(&reader->started);
    do {
        stop = atomic_load(&reader->stop);
        found = false;
        for (unsigned n = 1; n <= 100; n++)
            found |= has(n);
    } while (!stop);
    return found ? arg : NULL;
}

static void readers_and_writers_at_once(void **state UNUSED)
{
    int64_t now = clock_realtime_us();
    struct reader reader = {.stop = false};
    pthread_t threads[3];
    void *saw;

    assert_int_equal(pthread_barrier_init(&reader.started, NULL, ARRAY_SIZE(threads) + 1), 0);
    for (size_t i = 0; i < ARRAY_SIZE(threads); i++)
        assert_int_equal(pthread_create(&threads[i], NULL, look, &reader), 0);
    pthread_barrier_wait(&reader.started);
    for (unsigned n = 1; n <= 20000; n++) {
        struct uuid id = session(n);
        revocations_add(revocations, &id, now + (n % 2 ? 20000 : 60000000));
        if (n % 1000 == 0)
            tick();
    }
    atomic_store(&reader.stop, true);
    for (size_t i = 0; i < ARRAY_SIZE(threads); i++) {
        assert_int_equal(pthread_join(threads[i], &saw), 0);
        assert_non_null(saw);
    }
    assert_int_equal(pthread_barrier_destroy(&reader.started), 0);
    for (unsigned n = 2; n <= 20000; n += 2)
        assert_true(has(n));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(finds_what_is_there_and_what_comes, begin, end),
        cmocka_unit_test_setup_teardown(reads_many_in_pages, begin, end),
        cmocka_unit_test_setup_teardown(a_late_commit_is_not_missed, begin, end),
        cmocka_unit_test_setup_teardown(a_hole_is_settled_after_a_minute, begin, end),
        cmocka_unit_test_setup_teardown(what_has_expired_is_forgotten, begin, end),
        cmocka_unit_test_setup_teardown(everything_is_read_again, begin, end),
        cmocka_unit_test_setup_teardown(a_lost_server_is_come_back_to, begin, end),
        cmocka_unit_test_setup_teardown(readers_and_writers_at_once, begin, end),
    };
    return cmocka_run_group_tests(tests, setup, teardown);
}
