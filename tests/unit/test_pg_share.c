/* lib/pg/share: equal reads that wait are served by one statement, which is younger than they. */
#include "pg_fixture.h"

#include "pg/share.h"

#include <stdatomic.h>

#define N_READS 100

enum { READ, ROWS, ROWS_OF_MANY };

/* A row says which statement read it. */
static const struct db_statement statements[] = {
    [READ] = {"read",
              "SELECT (extract(epoch FROM statement_timestamp()) * 1000000)::int8,"
              "       (SELECT count(*) FROM numbers WHERE n <= $1)",
              DB_READ,
              {DB_INT8}},
    /* Rows for each that reads so far; backwards, so that those of several lie among each other. */
    [ROWS] = {"rows",
              "SELECT (extract(epoch FROM statement_timestamp()) * 1000000)::int8, n"
              " FROM numbers WHERE n <= $1 ORDER BY n DESC",
              DB_READ,
              {DB_INT8}},
    [ROWS_OF_MANY] = {"rows_of_many",
                      "SELECT (extract(epoch FROM statement_timestamp()) * 1000000)::int8, n, place"
                      " FROM unnest($1) WITH ORDINALITY g (most, place), numbers"
                      " WHERE n <= most ORDER BY n DESC, place DESC",
                      DB_READ,
                      {DB_INT8_ARRAY}},
};

/* What came of a read. */
struct read {
    struct db_share_item item;
    atomic_int ended;
    enum db_error error;
    int64_t statement, answer;
    int64_t most; /* of one in a group: it has the numbers up to this one */
    size_t n_rows;
};

static struct read reads[N_READS];
static struct db *db;
static struct db_share *share;
static struct db_group *group;
static struct arena arena;
static PGconn *locker;

/* first: with whose rows. */
static void take_rows(struct read *read, const struct db_group_item *first,
                      const struct db_result *result)
{
    read->n_rows = first->n_rows;
    for (size_t i = 0; i < first->n_rows; i++) {
        read->statement = db_get_int8(result, first->rows[i], 0);
        read->answer += db_get_int8(result, first->rows[i], 1);
    }
}

static void take(struct db_share_item *item, const struct db_share_item *first,
                 const struct db_result *result)
{
    struct read *read = CONTAINER_OF(item, struct read, item);

    read->error = result->error;
    if (result->error == DB_OK && !item->query) {
        take_rows(read, &first->grouped, result);
    } else if (result->error == DB_OK) {
        read->statement = db_get_int8(result, 0, 0);
        read->answer = db_get_int8(result, 0, 1);
    }
    atomic_fetch_add(&read->ended, 1); /* now it is its owner's */
}

static void done(struct db_share_item *item, const struct db_result *result)
{
    struct db_share_item *other;

    while ((other = STAILQ_FIRST(&item->others)) != NULL) {
        STAILQ_REMOVE_HEAD(&item->others, next);
        take(other, item, result);
    }
    take(item, item, result);
}

static int submit_with(struct read *read, const char *key, const atomic_bool *cancelled,
                       struct arena *memory)
{
    *read = (struct read){
        .item = {.key = str_of(key),
                 .query = db_query(db, memory, READ),
                 .deadline_ns = clock_monotonic_ns() + SECONDS(60),
                 .cancelled = cancelled},
    };
    db_bind_int8(read->item.query, INT64_MAX);
    return db_share_submit(share, &read->item);
}

static int submit(struct read *read, const char *key)
{
    return submit_with(read, key, NULL, &arena);
}

static int64_t most_of(const struct db_group_item *item)
{
    return CONTAINER_OF(item, struct read, item.grouped)->most;
}

static void bind_rows(struct db_query *query, const struct db_group_item *item)
{
    db_bind_int8(query, most_of(item));
}

static void bind_rows_of_many(struct db_query *query, struct db_group_item *const *items, size_t n)
{
    int64_t most[N_READS];

    for (size_t i = 0; i < n; i++)
        most[i] = most_of(items[i]);
    db_bind_int8_array(query, most, n);
}

/* One that goes with those of other keys. */
static int submit_in_group(struct read *read, const char *key, int64_t most)
{
    *read = (struct read){
        .item = {.key = str_of(key),
                 .group = group,
                 .db = db,
                 .deadline_ns = clock_monotonic_ns() + SECONDS(60)},
        .most = most,
    };
    return db_share_submit(share, &read->item);
}

static void await(const struct read *read)
{
    int64_t until = clock_monotonic_ns() + SECONDS(60);

    while (atomic_load(&read->ended) == 0) {
        assert_true(clock_monotonic_ns() < until);
        usleep(200);
    }
}

/* Every one has ended, and none twice. */
static void await_all(size_t n)
{
    for (size_t i = 0; i < n; i++)
        await(&reads[i]);
    usleep(1000);
    for (size_t i = 0; i < n; i++)
        assert_int_equal(atomic_load(&reads[i].ended), 1);
}

/* Nobody reads until release(). */
static void hold(void)
{
    PQclear(PQexec(locker, "BEGIN; LOCK TABLE numbers IN ACCESS EXCLUSIVE MODE"));
    assert_int_equal(PQtransactionStatus(locker), PQTRANS_INTRANS);
}

static void release(void)
{
    PQclear(PQexec(locker, "COMMIT"));
}

static void await_waiting(unsigned n)
{
    char sql[128];

    snprintf(sql, sizeof(sql),
             "SELECT (count(*) = %u)::int FROM pg_stat_activity WHERE wait_event_type = 'Lock'", n);
    pg_await_sql(sql);
}

#define OPENED "FROM pg_stat_activity WHERE query LIKE 'SELECT (extract%' AND state = 'idle'"

/* On four of 16 connections. These and the pool's two are all there: to prepare a statement takes a
 * lock too. */
static void open_with(int64_t patience_ns, size_t max_queue)
{
    pg_await_sql("SELECT (count(*) = 1)::int FROM pg_stat_activity"
                 " WHERE backend_type = 'client backend' AND pid <> pg_backend_pid()");
    db = pg_open_db(&(struct db_options){.connections = 16, .max_queue = max_queue}, statements,
                    ARRAY_SIZE(statements));
    pg_await_sql("SELECT (count(*) = 18)::int " OPENED);
    assert_int_equal(db_share_new(done, patience_ns, &share), 0);
    assert_int_equal(db_group_new(&(struct db_group_options){.one = ROWS,
                                                             .many = ROWS_OF_MANY,
                                                             .max_statements = 4,
                                                             .patience_ns = patience_ns,
                                                             .max_items = N_READS,
                                                             .max_bytes = 1,
                                                             .number_column = 2,
                                                             .several_rows = true,
                                                             .bind_one = bind_rows,
                                                             .bind_many = bind_rows_of_many,
                                                             .done = db_share_grouped},
                                  &group),
                     0);
}

static int start(void **state)
{
    if (pg_group_setup(state) != 0)
        return -1;
    pg_sql("CREATE TABLE numbers (n bigint)");
    locker = PQconnectdb(pg_conninfo);
    arena_init(&arena, 0);
    return 0;
}

static int stop(void **state)
{
    PQfinish(locker);
    arena_free(&arena);
    return pg_group_teardown(state);
}

static int reset(void **state UNUSED)
{
    pg_sql("TRUNCATE numbers");
    return 0;
}

static int end(void **state UNUSED)
{
    if (db)
        db_close(db);
    db = NULL;
    db_share_free(share);
    db_group_free(group);
    group = NULL;
    share = NULL;
    return 0;
}

/* ---- tests ---- */

/* The first alone, those behind it by one statement; another key waits for nobody. */
static void test_equal_ones_together(void **state UNUSED)
{
    open_with(SECONDS(3600), 0);
    hold();
    for (size_t i = 0; i < 20; i++)
        assert_int_equal(submit(&reads[i], "same"), 0);
    await_waiting(1);
    assert_int_equal(submit(&reads[20], "another"), 0);
    await_waiting(2);
    release();
    await_all(21);
    for (size_t i = 0; i < 21; i++)
        assert_int_equal(reads[i].error, DB_OK);
    for (size_t i = 2; i < 20; i++)
        assert_int_equal(reads[i].statement, reads[1].statement);
    assert_true(reads[0].statement < reads[1].statement);
}

static void test_beside_a_slow_one(void **state UNUSED)
{
    open_with(1, 0);
    hold();
    for (unsigned i = 0; i < 3; i++) {
        assert_int_equal(submit(&reads[i], "same"), 0);
        await_waiting(i + 1); /* each on a connection of its own */
    }
    release();
    await_all(3);
    for (size_t i = 0; i < 3; i++)
        assert_int_equal(reads[i].error, DB_OK);
}

static void *keep_reading(void *end_it)
{
    struct arena own = {.max = 0};

    while (!atomic_load((atomic_bool *)end_it)) {
        for (size_t i = 1; i < 9; i++)
            assert_int_equal(submit_with(&reads[i], "same", NULL, &own), 0);
        for (size_t i = 1; i < 9; i++)
            await(&reads[i]);
        arena_reset(&own);
    }
    arena_free(&own);
    return NULL;
}

/* What was there before a read came is seen by it, however many read the same. */
static void test_fresh(void **state UNUSED)
{
    atomic_bool end_it = false;
    pthread_t reader;

    open_with(SECONDS(3600), 0);
    assert_int_equal(pthread_create(&reader, NULL, keep_reading, &end_it), 0);
    for (int64_t n = 1; n <= 100; n++) {
        pg_sql("INSERT INTO numbers VALUES (1)");
        assert_int_equal(submit(&reads[0], "same"), 0);
        await(&reads[0]);
        assert_int_equal(reads[0].error, DB_OK);
        assert_int_equal(reads[0].answer, n);
    }
    atomic_store(&end_it, true);
    assert_int_equal(pthread_join(reader, NULL), 0);
}

/* Whose caller has gone is not sent for alone, and takes nobody with it. */
static void test_whose_caller_has_gone(void **state UNUSED)
{
    atomic_bool gone = true;

    open_with(SECONDS(3600), 0);
    assert_int_equal(submit_with(&reads[0], "same", &gone, &arena), 0);
    await(&reads[0]);
    assert_int_equal(reads[0].error, DB_CANCELLED);
    hold();
    assert_int_equal(submit(&reads[0], "same"), 0);
    await_waiting(1);
    assert_int_equal(submit_with(&reads[1], "same", &gone, &arena), 0);
    assert_int_equal(submit(&reads[2], "same"), 0);
    release();
    await_all(3);
    assert_int_equal(reads[0].error, DB_OK);
    assert_int_equal(reads[2].error, DB_OK);
}

/* The latest deadline is the statement's, and the first one's is its own. */
static void test_deadlines(void **state UNUSED)
{
    open_with(SECONDS(3600), 0);
    hold();
    reads[0] = (struct read){.item = {.key = STR("same"), .query = db_query(db, &arena, READ)}};
    reads[0].item.deadline_ns = clock_monotonic_ns() + SECONDS(3);
    db_bind_int8(reads[0].item.query, 1);
    assert_int_equal(db_share_submit(share, &reads[0].item), 0);
    await_waiting(1);
    reads[1] = (struct read){.item = {.key = STR("same"), .query = db_query(db, &arena, READ)}};
    db_bind_int8(reads[1].item.query, 1); /* its deadline has passed */
    assert_int_equal(db_share_submit(share, &reads[1].item), 0);
    assert_int_equal(submit(&reads[2], "same"), 0);
    await(&reads[0]);
    assert_int_equal(reads[0].error, DB_DEADLINE);
    release();
    await_all(3);
    assert_int_equal(reads[1].error, DB_OK);
    assert_int_equal(reads[2].error, DB_OK);
}

/* A full queue is told to who came; and who waits is not forgotten. */
static void test_full_queue(void **state UNUSED)
{
    open_with(1, 1);
    hold();
    assert_int_equal(submit(&reads[0], "same"), 0);
    await_waiting(1);
    assert_int_equal(submit(&reads[1], "same"), -ENOBUFS);
    assert_int_equal(submit(&reads[1], "another"), -ENOBUFS);
    assert_int_equal(atomic_load(&reads[1].ended), 0);
    release();
    await_all(1);
    assert_int_equal(reads[0].error, DB_OK);
    assert_int_equal(submit(&reads[1], "same"), 0);
    await_all(2);
    assert_int_equal(reads[1].error, DB_OK);
}

static void test_lost_server(void **state UNUSED)
{
    open_with(SECONDS(3600), 0);
    for (size_t i = 0; i < N_READS; i++) {
        assert_int_equal(submit(&reads[i], i % 3 ? "same" : "another"), 0);
        if (i == N_READS / 2)
            pg_script("restart", NULL, 0);
    }
    await_all(N_READS);
    for (size_t i = 0; i < N_READS; i++)
        assert_int_equal(reads[i].error, DB_OK);
    PQreset(locker);
}

static void test_close(void **state UNUSED)
{
    open_with(SECONDS(3600), 0);
    hold();
    for (size_t i = 0; i < N_READS; i++)
        assert_int_equal(submit(&reads[i], i % 3 ? "same" : "another"), 0);
    db_close(db);
    db = NULL;
    for (size_t i = 0; i < N_READS; i++) {
        assert_int_equal(atomic_load(&reads[i].ended), 1);
        assert_int_equal(reads[i].error, DB_UNAVAILABLE);
    }
    release();
}

/* What waits for the first statement goes as one, whatever its key, and each has its rows; of equal
 * ones one goes for all. */
static void test_different_ones_in_a_group(void **state UNUSED)
{
    static const struct {
        const char *key;
        int64_t most, sum;
        size_t n_rows;
    } cases[] = {{"all", 3, 6, 3},  {"all", 3, 6, 3}, {"two", 2, 3, 2}, {"one", 1, 1, 1},
                 {"none", 0, 0, 0}, {"two", 2, 3, 2}, {"all", 3, 6, 3}};

    pg_sql("INSERT INTO numbers SELECT generate_series(1, 3)");
    open_with(SECONDS(3600), 0);
    hold();
    for (size_t i = 0; i < ARRAY_SIZE(cases); i++) {
        assert_int_equal(submit_in_group(&reads[i], cases[i].key, cases[i].most), 0);
        if (i == 0)
            await_waiting(1);
    }
    release();
    await_all(ARRAY_SIZE(cases));
    for (size_t i = 0; i < ARRAY_SIZE(cases); i++) {
        assert_int_equal(reads[i].error, DB_OK);
        assert_int_equal(reads[i].n_rows, cases[i].n_rows);
        assert_int_equal(reads[i].answer, cases[i].sum);
    }
    assert_true(reads[0].statement < reads[2].statement);
    assert_int_equal(reads[3].statement, reads[2].statement);
    assert_true(reads[2].statement < reads[5].statement);
    assert_int_equal(reads[6].statement, reads[1].statement);
}

static void test_close_with_a_group(void **state UNUSED)
{
    static const char *const keys[] = {"key 0", "key 1", "key 2"};

    open_with(SECONDS(3600), 0);
    hold();
    for (size_t i = 0; i < N_READS; i++)
        assert_int_equal(submit_in_group(&reads[i], keys[i % 3], 3), 0);
    db_close(db);
    db = NULL;
    for (size_t i = 0; i < N_READS; i++) {
        assert_int_equal(atomic_load(&reads[i].ended), 1);
        assert_int_equal(reads[i].error, DB_UNAVAILABLE);
    }
    release();
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, reset, end)

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(test_equal_ones_together),
        TEST(test_beside_a_slow_one),
        TEST(test_fresh),
        TEST(test_whose_caller_has_gone),
        TEST(test_deadlines),
        TEST(test_full_queue),
        TEST(test_lost_server),
        TEST(test_close),
        TEST(test_different_ones_in_a_group),
        TEST(test_close_with_a_group),
    };

    return cmocka_run_group_tests_name("pg_share", tests, start, stop);
}
