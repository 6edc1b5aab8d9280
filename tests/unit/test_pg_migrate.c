/* lib/pg: migrations, applied and refused. */
#include "pg_fixture.h"

#define M(number, text)                                              \
    {                                                                \
        .version = (number), .name = "000" #number, .sql = STR(text) \
    }

static const struct db_migration good[] = {
    M(1, "CREATE TABLE \"Blog one\".a (n integer); INSERT INTO \"Blog one\".a VALUES (1);"),
    M(2, "ALTER TABLE \"Blog one\".a ADD m integer DEFAULT 2"),
    M(3, "-- nothing but a comment"),
};

static struct arena arena;
static struct str error;
static int applied;

static int reset(void **state)
{
    (void)state;
    pg_sql("DROP SCHEMA IF EXISTS \"Blog one\" CASCADE");
    arena_free(&arena);
    return 0;
}

static int migrate(const struct db_migration *list, size_t n)
{
    return db_migrate(pg_conninfo, "Blog one", list, n, &arena, &applied, &error);
}

static int current(const struct db_migration *list, size_t n)
{
    return db_migrations_current(pg_conninfo, "Blog one", list, n, &arena, &error);
}

static void expect_error(const char *part)
{
    assert_non_null(error.p);
    assert_null(strchr(error.p, '\n'));
    if (!strstr(error.p, part))
        fail_msg("\"%s\" does not say \"%s\"", error.p, part);
}

static void test_fresh_and_repeat(void **state)
{
    (void)state;
    assert_int_equal(current(good, 3), -ENODATA);
    expect_error("0001");
    assert_int_equal(migrate(good, 2), 0);
    assert_int_equal(applied, 2);
    assert_int_equal(pg_sql("SELECT n + m FROM \"Blog one\".a"), 3);
    assert_int_equal(migrate(good, 2), 0);
    assert_int_equal(applied, 0);
    assert_int_equal(current(good, 2), 0);
    assert_int_equal(current(good, 3), -ENODATA);
    expect_error("0003");
    assert_int_equal(migrate(good, 3), 0);
    assert_int_equal(applied, 1);
    assert_int_equal(current(good, 3), 0);
    assert_int_equal(
        pg_sql("SELECT count(*) FROM \"Blog one\".schema_migrations "
               "WHERE checksum = sha256('-- nothing but a comment') AND name = '0003'"),
        1);
}

static void test_none(void **state)
{
    (void)state;
    assert_int_equal(current(NULL, 0), 0);
    assert_int_equal(migrate(NULL, 0), 0);
    assert_int_equal(applied, 0);
}

static void test_changed(void **state)
{
    const struct db_migration changed[] = {good[0], M(2, "SELECT 1"), good[2]};

    (void)state;
    assert_int_equal(migrate(good, 2), 0);
    assert_int_equal(migrate(changed, 3), -EBADMSG);
    expect_error("0002");
    assert_int_equal(applied, 0);
    assert_int_equal(current(changed, 3), -EBADMSG);
}

static void test_holes(void **state)
{
    const struct db_migration hole[] = {good[0], good[2]};
    const struct db_migration from_zero[] = {M(0, "SELECT 1"), good[0]};
    const struct db_migration twice[] = {good[0], good[0]};

    (void)state;
    assert_int_equal(migrate(hole, 2), -EINVAL);
    expect_error("0003");
    assert_int_equal(migrate(from_zero, 2), -EINVAL);
    assert_int_equal(migrate(twice, 2), -EINVAL);
    assert_int_equal(current(hole, 2), -EINVAL);
    assert_int_equal(pg_sql("SELECT count(*) FROM pg_namespace WHERE nspname = 'Blog one'"), 0);
}

/* The one that fails leaves nothing behind; those before it stay. */
static void test_failing_sql(void **state)
{
    const struct db_migration failing[] = {
        good[0],
        M(2, "CREATE TABLE \"Blog one\".b (n integer);\n-- \xc3\xa4\xc3\xb6\n\nSELECT nonsense;\n"),
        good[2],
    };
    (void)state;
    assert_int_equal(migrate(failing, 3), -EIO);
    expect_error("0002 failed in line 4: column \"nonsense\" does not exist");
    assert_int_equal(applied, 1);
    assert_int_equal(pg_sql("SELECT count(*) FROM pg_tables WHERE tablename = 'b'"), 0);
    assert_int_equal(pg_sql("SELECT count(*) FROM \"Blog one\".schema_migrations"), 1);
    /* Corrected, it goes on from there. */
    assert_int_equal(migrate(good, 3), 0);
    assert_int_equal(applied, 2);
}

static void test_failing_commit(void **state)
{
    const struct db_migration failing[] = {
        M(1, "CREATE TABLE \"Blog one\".d (n integer UNIQUE DEFERRABLE INITIALLY DEFERRED);"
             "INSERT INTO \"Blog one\".d VALUES (1), (1)"),
    };
    (void)state;
    assert_int_equal(migrate(failing, 1), -EIO);
    expect_error("0001");
    assert_int_equal(pg_sql("SELECT count(*) FROM pg_tables WHERE tablename = 'd'"), 0);
    assert_int_equal(pg_sql("SELECT count(*) FROM \"Blog one\".schema_migrations"), 0);
}

static void test_own_transaction(void **state)
{
    const struct db_migration bad[] = {M(1, "COMMIT; SELECT 1")};
    static const char nul[] = "SELECT 1;\0 DROP";
    const struct db_migration cut[] = {
        {.version = 1, .name = "0001_nul", .sql = {nul, sizeof(nul) - 1}}};

    (void)state;
    assert_int_equal(migrate(bad, 1), -EINVAL);
    expect_error("COMMIT");
    assert_int_equal(migrate(cut, 1), -EINVAL);
    expect_error("NUL");
    assert_int_equal(pg_sql("SELECT count(*) FROM \"Blog one\".schema_migrations"), 0);
}

static void test_missing_old(void **state)
{
    (void)state;
    assert_int_equal(migrate(good, 3), 0);
    pg_sql("DELETE FROM \"Blog one\".schema_migrations WHERE version = 2");
    assert_int_equal(migrate(good, 3), -EBADMSG);
    expect_error("migration 2 is missing");
    assert_int_equal(current(good, 3), -EBADMSG);
}

static void test_newer_database(void **state)
{
    (void)state;
    assert_int_equal(migrate(good, 3), 0);
    assert_int_equal(current(good, 2), -EEXIST);
    expect_error("0003");
    assert_int_equal(migrate(good, 2), -EEXIST);
    assert_int_equal(applied, 0);
}

static void test_no_connection(void **state)
{
    (void)state;
    assert_int_equal(db_migrate("host=/nonexistent", "Blog one", good, 3, &arena, &applied, &error),
                     -ECONNREFUSED);
    expect_error("/nonexistent");
}

/* A role that owns its schema needs no right on the database. */
static void test_plain_role(void **state)
{
    char conninfo[300];

    (void)state;
    pg_sql("CREATE ROLE plain LOGIN; CREATE SCHEMA \"Blog one\" AUTHORIZATION plain");
    snprintf(conninfo, sizeof(conninfo), "%s user=plain", pg_conninfo);
    assert_int_equal(db_migrate(conninfo, "Blog one", good, 3, &arena, &applied, &error), 0);
    assert_int_equal(applied, 3);
    assert_int_equal(db_migrate(conninfo, "other", good, 3, &arena, &applied, &error), -EIO);
    expect_error("permission denied");
    pg_sql("DROP SCHEMA \"Blog one\" CASCADE; DROP ROLE plain");
}

/* ---- several at once ---- */

enum { AT_ONCE = 6 };

struct runner {
    const struct db_migration *migrations;
    size_t n;
    pthread_t thread;
    int result, applied;
};

static void *run_migrations(void *arg)
{
    struct runner *runner = arg;
    struct arena own;
    struct str why;

    arena_init(&own, 0);
    runner->result = db_migrate(pg_conninfo, "Blog one", runner->migrations, runner->n, &own,
                                &runner->applied, &why);
    if (runner->result < 0)
        print_message("%.*s\n", STR_FMT(why));
    arena_free(&own);
    return NULL;
}

static void start_runner(struct runner *runner, const struct db_migration *list, size_t n)
{
    *runner = (struct runner){.migrations = list, .n = n};
    assert_int_equal(pthread_create(&runner->thread, NULL, run_migrations, runner), 0);
}

static void test_concurrent(void **state)
{
    struct runner runners[AT_ONCE];
    int total = 0;

    (void)state;
    for (int i = 0; i < AT_ONCE; i++)
        start_runner(&runners[i], good, 3);
    for (int i = 0; i < AT_ONCE; i++) {
        pthread_join(runners[i].thread, NULL);
        assert_int_equal(runners[i].result, 0);
        total += runners[i].applied;
    }
    assert_int_equal(total, 3);
    assert_int_equal(pg_sql("SELECT count(*) FROM \"Blog one\".a"), 1);
}

/* ---- beside live traffic ---- */

static void run_on(PGconn *pg, const char *sql)
{
    PGresult *res = PQexec(pg, sql);

    if (PQresultStatus(res) != PGRES_TUPLES_OK && PQresultStatus(res) != PGRES_COMMAND_OK)
        fail_msg("%s: %s", sql, PQerrorMessage(pg));
    PQclear(res);
}

/* Each has what the other wants: the migration gives way, soon, and comes again. */
static void test_gives_way_to_statements(void **state)
{
    static const char migration_waits[] =
        "SELECT count(*) FROM pg_locks WHERE NOT granted AND mode = 'AccessExclusiveLock'";
    struct runner runner;
    PGconn *pg = PQconnectdb(pg_conninfo);

    (void)state;
    assert_int_equal(migrate(good, 1), 0);
    run_on(pg, "BEGIN; SELECT * FROM \"Blog one\".a");
    start_runner(&runner, good, 3);
    pg_await_sql(migration_waits);
    /* Whoever wants the table now stands behind the migration, but not for as long as the reader
     * reads. */
    assert_int_equal(pg_sql("SELECT n FROM \"Blog one\".a"), 1);
    assert_int_equal(pg_sql("SELECT count(*) FROM \"Blog one\".schema_migrations"), 1);
    run_on(pg, "COMMIT");
    PQfinish(pg);
    pthread_join(runner.thread, NULL);
    assert_int_equal(runner.result, 0);
    assert_int_equal(runner.applied, 2);
}

/* A statement that has one table and wants another, and a migration that takes them the other way
 * round: the statement is not the one that is ended. */
static void test_is_the_one_that_gives_up(void **state)
{
    const struct db_migration crossing[] = {
        M(1, "CREATE TABLE \"Blog one\".a (n integer); CREATE TABLE \"Blog one\".b (n integer)"),
        M(2, "ALTER TABLE \"Blog one\".a ADD m integer; ALTER TABLE \"Blog one\".b ADD m integer"),
    };
    struct runner runner;
    PGconn *pg = PQconnectdb(pg_conninfo);

    (void)state;
    assert_int_equal(migrate(crossing, 1), 0);
    run_on(pg, "BEGIN; SELECT * FROM \"Blog one\".b");
    start_runner(&runner, crossing, 2);
    pg_await_sql("SELECT count(*) FROM pg_locks WHERE NOT granted"
                 " AND relation = '\"Blog one\".b'::regclass");
    run_on(pg, "SELECT * FROM \"Blog one\".a");
    run_on(pg, "COMMIT");
    PQfinish(pg);
    pthread_join(runner.thread, NULL);
    assert_int_equal(runner.result, 0);
    assert_int_equal(runner.applied, 1);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_teardown(test_fresh_and_repeat, reset),
        cmocka_unit_test_teardown(test_none, reset),
        cmocka_unit_test_teardown(test_changed, reset),
        cmocka_unit_test_teardown(test_holes, reset),
        cmocka_unit_test_teardown(test_failing_sql, reset),
        cmocka_unit_test_teardown(test_failing_commit, reset),
        cmocka_unit_test_teardown(test_own_transaction, reset),
        cmocka_unit_test_teardown(test_missing_old, reset),
        cmocka_unit_test_teardown(test_newer_database, reset),
        cmocka_unit_test_teardown(test_no_connection, reset),
        cmocka_unit_test_teardown(test_plain_role, reset),
        cmocka_unit_test_teardown(test_concurrent, reset),
        cmocka_unit_test_teardown(test_gives_way_to_statements, reset),
        cmocka_unit_test_teardown(test_is_the_one_that_gives_up, reset),
    };
    return cmocka_run_group_tests(tests, pg_group_setup, pg_group_teardown);
}
