/* lib/pg/group: what waits goes together, and each has an end of its own. */
#include "pg_fixture.h"

#include "pg/group.h"

#include <stdatomic.h>
#include <sys/epoll.h>

#define MAX_ITEMS 16
#define MAX_BYTES 1000
#define N_WRITES 400

enum { ONE, MANY, READ_ONE, READ_MANY, PLAIN_ONE, PLAIN_MANY };

/* A row says which transaction wrote it. A number below zero is refused without an error. */
static const struct db_statement statements[] = {
    [ONE] = {"one",
             "INSERT INTO numbers (n) SELECT $1 WHERE $1 >= 0 RETURNING n",
             DB_WRITE,
             {DB_INT8}},
    [MANY] = {"many",
              "WITH given AS (SELECT * FROM unnest($1) WITH ORDINALITY g (n, place)),"
              " written AS (INSERT INTO numbers (n) SELECT n FROM given WHERE n >= 0 RETURNING n)"
              " SELECT n, place FROM written JOIN given USING (n) ORDER BY place DESC",
              DB_WRITE,
              {DB_INT8_ARRAY}},
    /* A row says which statement read it. */
    [READ_ONE] = {"read_one",
                  "SELECT (extract(epoch FROM statement_timestamp()) * 1000000)::int8"
                  " FROM numbers WHERE n = $1",
                  DB_READ,
                  {DB_INT8}},
    [READ_MANY] = {"read_many",
                   "SELECT (extract(epoch FROM statement_timestamp()) * 1000000)::int8, place"
                   " FROM unnest($1) WITH ORDINALITY g (n, place) JOIN numbers USING (n)",
                   DB_READ,
                   {DB_INT8_ARRAY}},
    [PLAIN_ONE] = {"plain_one", "SELECT -1::int8 WHERE $1 >= 0", DB_READ, {DB_INT8}},
    [PLAIN_MANY] = {"plain_many",
                    "SELECT -2::int8, place FROM unnest($1) WITH ORDINALITY g (n, place)",
                    DB_READ,
                    {DB_INT8_ARRAY}},
};

/* What came of a write, or of a read. */
struct write {
    int64_t n;
    struct db_group_item item;
    atomic_int ended;
    enum db_error error;
    bool has_row;
    int64_t answer;
    int all_done; /* how many statements were over then */
};

static struct write writes[N_WRITES];
static struct db *db;
static struct db_group *group;
static PGconn *locker;
static atomic_int n_all_done;
static atomic_uint n_looks;

/* The engine looks for what has come: every call of epoll_wait() in the library. */
int __real_epoll_wait(int fd, struct epoll_event *events, int max, int ms);
int __wrap_epoll_wait(int fd, struct epoll_event *events, int max, int ms);
int __wrap_epoll_wait(int fd, struct epoll_event *events, int max, int ms)
{
    atomic_fetch_add(&n_looks, 1);
    return __real_epoll_wait(fd, events, max, ms);
}

static int64_t number_of(const struct db_group_item *item)
{
    return CONTAINER_OF(item, struct write, item)->n;
}

static void bind_one(struct db_query *query, const struct db_group_item *item)
{
    db_bind_int8(query, number_of(item));
}

static void bind_many(struct db_query *query, struct db_group_item *const *items, size_t n)
{
    int64_t numbers[MAX_ITEMS];

    assert_in_range(n, 2, MAX_ITEMS);
    for (size_t i = 0; i < n; i++)
        numbers[i] = number_of(items[i]);
    db_bind_int8_array(query, numbers, n);
}

static void done(struct db_group_item *item, const struct db_result *result, int row)
{
    struct write *write = CONTAINER_OF(item, struct write, item);

    write->error = result->error;
    write->has_row = row >= 0;
    if (row >= 0)
        write->answer = db_get_int8(result, row, 0);
    write->all_done = atomic_load(&n_all_done);
    atomic_fetch_add(&write->ended, 1);
}

static void all_done(void *user)
{
    atomic_fetch_add((atomic_int *)user, 1);
}

static void open_group(const struct db_options *options, const struct db_group_options *with)
{
    struct db_group_options group_options = *with;

    group_options.max_items = MAX_ITEMS;
    group_options.max_bytes = MAX_BYTES;
    group_options.number_column = 1;
    group_options.bind_one = bind_one;
    group_options.bind_many = bind_many;
    group_options.done = done;
    group_options.all_done = all_done;
    group_options.user = &n_all_done;
    db = pg_open_db(options, statements, ARRAY_SIZE(statements));
    assert_int_equal(db_group_new(&group_options, &group), 0);
}

static void open_with(unsigned max_statements, size_t max_queue)
{
    open_group(
        &(struct db_options){.connections = 4, .max_queue = max_queue},
        &(struct db_group_options){.one = ONE, .many = MANY, .max_statements = max_statements});
}

/* A connection that was only opened shows what was prepared last. */
#define OPENED "FROM pg_stat_activity WHERE query LIKE 'SELECT -2%' AND state = 'idle'"

/* Reads, on four of 16 connections. These and the pool's two are all there: to prepare a statement
 * takes a lock too. */
static void open_reads(int64_t patience_ns)
{
    /* Nobody but the locker is left over. */
    pg_await_sql("SELECT (count(*) = 1)::int FROM pg_stat_activity"
                 " WHERE backend_type = 'client backend' AND pid <> pg_backend_pid()");
    open_group(&(struct db_options){.connections = 16},
               &(struct db_group_options){.one = READ_ONE,
                                          .many = READ_MANY,
                                          .plain_one = PLAIN_ONE,
                                          .plain_many = PLAIN_MANY,
                                          .max_statements = 4,
                                          .patience_ns = patience_ns});
    pg_await_sql("SELECT (count(*) = 18)::int " OPENED);
}

static int submit_plain(struct write *write, int64_t n)
{
    *write = (struct write){
        .n = n,
        .item = {.deadline_ns = clock_monotonic_ns() + SECONDS(30), .bytes = 1, .plain = true},
    };
    return db_group_submit(group, db, &write->item);
}

static int submit(struct write *write, int64_t n, size_t bytes, const atomic_bool *cancelled)
{
    *write = (struct write){
        .n = n,
        .item = {.deadline_ns = clock_monotonic_ns() + SECONDS(30),
                 .cancelled = cancelled,
                 .bytes = bytes},
    };
    return db_group_submit(group, db, &write->item);
}

static void await(const struct write *write)
{
    int64_t until = clock_monotonic_ns() + SECONDS(60);

    while (atomic_load(&write->ended) == 0) {
        assert_true(clock_monotonic_ns() < until);
        usleep(200);
    }
}

/* Every one has ended, and none twice. */
static void await_all(size_t n)
{
    for (size_t i = 0; i < n; i++)
        await(&writes[i]);
    usleep(1000);
    for (size_t i = 0; i < n; i++)
        assert_int_equal(atomic_load(&writes[i].ended), 1);
}

static void lock(const char *sql)
{
    PQclear(PQexec(locker, sql));
    assert_int_equal(PQtransactionStatus(locker), PQTRANS_INTRANS);
}

static void hold(void)
{
    lock("BEGIN; LOCK TABLE numbers IN SHARE MODE");
}

static void release(void)
{
    PQclear(PQexec(locker, "COMMIT"));
}

/* Submits the first, and when that waits for the lock the others. */
static void submit_behind_it(size_t n, size_t bytes)
{
    assert_int_equal(submit(&writes[0], 0, bytes, NULL), 0);
    pg_await_sql("SELECT count(*) FROM pg_stat_activity WHERE wait_event_type = 'Lock'");
    for (size_t i = 1; i < n; i++)
        assert_int_equal(submit(&writes[i], (int64_t)i, bytes, NULL), 0);
}

static void submit_behind_a_lock(size_t n, size_t bytes)
{
    hold();
    submit_behind_it(n, bytes);
}

static int start(void **state)
{
    if (pg_group_setup(state) != 0)
        return -1;
    pg_sql("CREATE TABLE numbers (n bigint CONSTRAINT numbers_n UNIQUE,"
           " by xid8 DEFAULT pg_current_xact_id())");
    locker = PQconnectdb(pg_conninfo);
    return 0;
}

static int stop(void **state)
{
    PQfinish(locker);
    return pg_group_teardown(state);
}

static int reset(void **state UNUSED)
{
    pg_sql("TRUNCATE numbers");
    open_with(1, 0);
    return 0;
}

static int end(void **state UNUSED)
{
    if (db)
        db_close(db);
    db = NULL;
    db_group_free(group);
    return 0;
}

/* ---- tests ---- */

static void test_alone(void **state UNUSED)
{
    assert_int_equal(submit(&writes[0], 7, 1, NULL), 0);
    await_all(1);
    assert_int_equal(writes[0].error, DB_OK);
    assert_true(writes[0].has_row);
    assert_int_equal(writes[0].answer, 7);
    assert_int_equal(submit(&writes[0], -7, 1, NULL), 0);
    await_all(1);
    assert_int_equal(writes[0].error, DB_OK);
    assert_false(writes[0].has_row);
}

static void test_together(void **state UNUSED)
{
    submit_behind_a_lock(100, 1);
    release();
    await_all(100);
    for (size_t i = 0; i < 100; i++) {
        assert_int_equal(writes[i].error, DB_OK);
        assert_true(writes[i].has_row);
        assert_int_equal(writes[i].answer, i);
    }
    /* The first alone; 99 behind it, 16 at a time. */
    assert_int_equal(pg_sql("SELECT count(*) FROM numbers"), 100);
    assert_int_equal(pg_sql("SELECT count(DISTINCT by) FROM numbers"), 8);
    assert_int_equal(pg_sql("SELECT max(n) FROM (SELECT count(*) n FROM numbers GROUP BY by) t"),
                     MAX_ITEMS);
}

/* What can wait is done once for a statement, when all of it have been told. */
static void test_all_done(void **state UNUSED)
{
    int64_t until = clock_monotonic_ns() + SECONDS(60);
    int before = atomic_load(&n_all_done);

    submit_behind_a_lock(1 + MAX_ITEMS, 1);
    release();
    await_all(1 + MAX_ITEMS);
    while (atomic_load(&n_all_done) < before + 2) {
        assert_true(clock_monotonic_ns() < until);
        usleep(200);
    }
    for (size_t i = 0; i < 1 + MAX_ITEMS; i++)
        assert_int_equal(writes[i].all_done, before + (i > 0));
}

/* After a statement of several one waits for more, but not for ever; nor does it when the db
 * closes.
 */
static void test_after_several(void **state UNUSED)
{
    submit_behind_a_lock(1 + MAX_ITEMS, 1);
    release();
    await_all(1 + MAX_ITEMS);
    assert_int_equal(submit(&writes[0], 100, 1, NULL), 0);
    await_all(1);
    assert_int_equal(writes[0].error, DB_OK);
    for (int i = 0; i < 5; i++) {
        submit_behind_a_lock(1 + MAX_ITEMS, 1);
        release();
        await_all(1 + MAX_ITEMS);
        assert_int_equal(submit(&writes[0], 100, 1, NULL), 0);
        db_close(db);
        db = NULL;
        assert_int_equal(atomic_load(&writes[0].ended), 1);
        end(NULL);
        reset(NULL);
    }
}

static void test_no_more_bytes_than(void **state UNUSED)
{
    submit_behind_a_lock(5, MAX_BYTES / 2);
    release();
    await_all(5);
    assert_int_equal(pg_sql("SELECT count(DISTINCT by) FROM numbers"), 3);
    pg_sql("TRUNCATE numbers");
    submit_behind_a_lock(3, 2 * MAX_BYTES); /* too large to go with others, but not to go */
    release();
    await_all(3);
    assert_int_equal(pg_sql("SELECT count(DISTINCT by) FROM numbers"), 3);
}

static void test_without_a_row(void **state UNUSED)
{
    submit_behind_a_lock(1, 1);
    for (size_t i = 1; i < 10; i++)
        assert_int_equal(submit(&writes[i], i % 3 == 0 ? -(int64_t)i : (int64_t)i, 1, NULL), 0);
    release();
    await_all(10);
    for (size_t i = 1; i < 10; i++) {
        assert_int_equal(writes[i].error, DB_OK);
        assert_int_equal(writes[i].has_row, i % 3 != 0);
        if (writes[i].has_row)
            assert_int_equal(writes[i].answer, i);
    }
}

static void test_the_error_of_one(void **state UNUSED)
{
    pg_sql("INSERT INTO numbers (n) VALUES (5), (40)");
    submit_behind_a_lock(60, 1);
    release();
    await_all(60);
    for (size_t i = 0; i < 60; i++) {
        bool taken = i == 5 || i == 40;

        assert_int_equal(writes[i].error, taken ? DB_UNIQUE : DB_OK);
        assert_int_equal(writes[i].has_row, !taken);
    }
    assert_int_equal(pg_sql("SELECT count(*) FROM numbers"), 60);
}

/* One that is held when others are sent once more waits for them, and the engine sleeps. */
static void test_held_behind_the_error_of_one(void **state UNUSED)
{
    unsigned before;

    pg_sql("INSERT INTO numbers (n) VALUES (1)");
    lock("BEGIN; INSERT INTO numbers (n) VALUES (2); SAVEPOINT row");
    lock("LOCK TABLE numbers IN SHARE MODE");
    submit_behind_it(MAX_ITEMS + 2, 1);
    lock("ROLLBACK TO row");
    pg_await_sql("SELECT count(*) FROM pg_stat_activity"
                 " WHERE wait_event = 'transactionid' AND query NOT LIKE 'WITH%'");
    usleep(10000); /* longer than anything is held */
    before = atomic_load(&n_looks);
    usleep(100000);
    assert_in_range(atomic_load(&n_looks) - before, 0, 10);
    assert_int_equal(atomic_load(&writes[MAX_ITEMS + 1].ended), 0);
    release();
    await_all(MAX_ITEMS + 2);
    for (size_t i = 0; i < MAX_ITEMS + 2; i++)
        assert_int_equal(writes[i].error, i == 1 || i == 2 ? DB_UNIQUE : DB_OK);
}

static void test_the_same_twice(void **state UNUSED)
{
    submit_behind_a_lock(1, 1);
    for (size_t i = 1; i < 11; i++)
        assert_int_equal(submit(&writes[i], 1, 1, NULL), 0);
    release();
    await_all(11);
    for (size_t i = 1, ok = 0; i < 11; i++) {
        ok += writes[i].error == DB_OK;
        assert_true(writes[i].error == DB_OK || writes[i].error == DB_UNIQUE);
        if (i == 10)
            assert_int_equal(ok, 1);
    }
}

static void test_whose_caller_has_gone(void **state UNUSED)
{
    atomic_bool gone = false;

    submit_behind_a_lock(1, 1);
    for (size_t i = 1; i < 6; i++)
        assert_int_equal(submit(&writes[i], (int64_t)i, 1, i % 2 ? &gone : NULL), 0);
    atomic_store(&gone, true);
    release();
    await_all(6);
    for (size_t i = 1; i < 6; i++)
        assert_int_equal(writes[i].error, i % 2 ? DB_CANCELLED : DB_OK);
    assert_int_equal(pg_sql("SELECT count(*) FROM numbers WHERE n > 0"), 2);
}

static void test_the_latest_deadline(void **state UNUSED)
{
    hold();
    assert_int_equal(submit(&writes[0], 0, 1, NULL), 0);
    pg_await_sql("SELECT count(*) FROM pg_stat_activity WHERE wait_event_type = 'Lock'");
    for (size_t i = 1; i < 4; i++) {
        writes[i] = (struct write){
            .n = (int64_t)i,
            .item.deadline_ns = clock_monotonic_ns() + SECONDS(i == 2 ? 60 : 0),
        };
        assert_int_equal(db_group_submit(group, db, &writes[i].item), 0);
    }
    release();
    await_all(4);
    for (size_t i = 0; i < 4; i++)
        assert_int_equal(writes[i].error, DB_OK);
}

static void test_too_many(void **state UNUSED)
{
    end(NULL);
    open_with(1, 10);
    submit_behind_a_lock(10, 1);
    assert_int_equal(submit(&writes[10], 10, 1, NULL), -ENOBUFS);
    assert_int_equal(atomic_load(&writes[10].ended), 0);
    release();
    await_all(10);
    assert_int_equal(submit(&writes[10], 10, 1, NULL), 0);
    await_all(11);
}

/* What was acknowledged is there, what was not told is not, and everything ends. */
static void test_lost_server(void **state UNUSED)
{
    size_t acknowledged = 0;

    end(NULL);
    open_with(3, 0);
    for (size_t i = 0; i < N_WRITES; i++) {
        assert_int_equal(submit(&writes[i], (int64_t)i, 1, NULL), 0);
        if (i == N_WRITES / 2)
            pg_script("restart", NULL, 0);
    }
    await_all(N_WRITES);
    PQreset(locker);
    for (size_t i = 0; i < N_WRITES; i++) {
        char sql[64];

        assert_true(writes[i].error == DB_OK || writes[i].error == DB_UNAVAILABLE);
        if (writes[i].error != DB_OK)
            continue;
        acknowledged++;
        snprintf(sql, sizeof(sql), "SELECT count(*) FROM numbers WHERE n = %zu", i);
        assert_int_equal(pg_sql(sql), 1);
    }
    assert_in_range(acknowledged, 1, N_WRITES);
}

static void test_close(void **state UNUSED)
{
    submit_behind_a_lock(50, 1);
    db_close(db);
    db = NULL;
    for (size_t i = 0; i < 50; i++) {
        assert_int_equal(atomic_load(&writes[i].ended), 1);
        assert_int_equal(writes[i].error, DB_UNAVAILABLE);
    }
    release();
}

/* ---- handed over ---- */

static struct db_query *kept[4];
static atomic_size_t n_kept;

/* For a thread that is busy with something else. */
static int keep(void *user UNUSED, struct db_query *ended)
{
    assert_true(atomic_load(&n_kept) < ARRAY_SIZE(kept));
    kept[atomic_load(&n_kept)] = ended;
    atomic_fetch_add(&n_kept, 1);
    return 0;
}

static void await_kept(size_t n)
{
    int64_t until = clock_monotonic_ns() + SECONDS(60);

    while (atomic_load(&n_kept) < n) {
        assert_true(clock_monotonic_ns() < until);
        usleep(200);
    }
}

/* Postgres gets the next statement when one is back, not when that has been answered. */
static void test_next_before_the_answer(void **state UNUSED)
{
    end(NULL);
    open_group(&(struct db_options){.connections = 4, .hand_over = keep},
               &(struct db_group_options){.one = ONE, .many = MANY, .max_statements = 1});
    submit_behind_a_lock(3, 1);
    release();
    pg_await_sql("SELECT (count(*) = 3)::int FROM numbers");
    for (size_t i = 0; i < 3; i++)
        assert_int_equal(atomic_load(&writes[i].ended), 0);
    await_kept(2);
    db_complete(kept[0]);
    db_complete(kept[1]);
    await_all(3);
}

/* ---- many at once ---- */

static void *submit_some(void *from)
{
    struct write *write = from;

    for (size_t i = 0; i < N_WRITES / 4; i++)
        assert_int_equal(submit(&write[i], write + i - writes, 1, NULL), 0);
    return NULL;
}

static void test_many_threads(void **state UNUSED)
{
    pthread_t threads[4];

    end(NULL);
    open_with(2, 0);
    for (size_t i = 0; i < ARRAY_SIZE(threads); i++)
        assert_int_equal(
            pthread_create(&threads[i], NULL, submit_some, &writes[i * (N_WRITES / 4)]), 0);
    for (size_t i = 0; i < ARRAY_SIZE(threads); i++)
        assert_int_equal(pthread_join(threads[i], NULL), 0);
    await_all(N_WRITES);
    for (size_t i = 0; i < N_WRITES; i++) {
        assert_int_equal(writes[i].error, DB_OK);
        assert_int_equal(writes[i].answer, i);
    }
    assert_int_equal(pg_sql("SELECT count(*) FROM numbers"), N_WRITES);
}

/* ---- reads ---- */

/* Nobody reads until release(). */
static void hold_reads(void)
{
    PQclear(PQexec(locker, "BEGIN; LOCK TABLE numbers IN ACCESS EXCLUSIVE MODE"));
    assert_int_equal(PQtransactionStatus(locker), PQTRANS_INTRANS);
}

static void await_waiting_reads(unsigned n)
{
    char sql[128];

    snprintf(sql, sizeof(sql),
             "SELECT (count(*) = %u)::int FROM pg_stat_activity WHERE wait_event_type = 'Lock'", n);
    pg_await_sql(sql);
}

/* What came while one was on its way goes as one when that is back. */
static void test_reads_together(void **state UNUSED)
{
    pg_sql("INSERT INTO numbers SELECT generate_series(0, 11)");
    end(NULL);
    open_reads(SECONDS(3600));
    hold_reads();
    assert_int_equal(submit(&writes[0], 0, 1, NULL), 0);
    await_waiting_reads(1);
    for (size_t i = 1; i < 12; i++)
        assert_int_equal(submit(&writes[i], i < 11 ? (int64_t)i : 99, 1, NULL), 0);
    release();
    await_all(12);
    for (size_t i = 0; i < 12; i++) {
        assert_int_equal(writes[i].error, DB_OK);
        assert_int_equal(writes[i].has_row, i < 11);
        if (i > 1 && i < 11)
            assert_int_equal(writes[i].answer, writes[1].answer);
    }
    assert_true(writes[0].answer < writes[1].answer);
}

/* The plain statements serve those for whom they do, when no other is among them. */
static void test_plain_reads(void **state UNUSED)
{
    pg_sql("INSERT INTO numbers SELECT generate_series(0, 11)");
    end(NULL);
    open_reads(SECONDS(3600));
    assert_int_equal(submit_plain(&writes[0], 0), 0);
    await_all(1);
    assert_int_equal(writes[0].answer, -1);
    for (int others = 0; others < 2; others++) {
        hold_reads();
        assert_int_equal(submit(&writes[0], 0, 1, NULL), 0);
        await_waiting_reads(1);
        for (size_t i = 1; i < 5; i++)
            assert_int_equal(submit_plain(&writes[i], (int64_t)i), 0);
        if (others)
            assert_int_equal(submit(&writes[5], 5, 1, NULL), 0);
        release();
        await_all(5 + (size_t)others);
        for (size_t i = 1; i < 5 + (size_t)others; i++) {
            assert_int_equal(writes[i].error, DB_OK);
            assert_true(others ? writes[i].answer > 0 : writes[i].answer == -2);
        }
    }
}

/* When the one is slow, others go beside it. */
static void test_reads_beside_a_slow_one(void **state UNUSED)
{
    pg_sql("INSERT INTO numbers SELECT generate_series(0, 11)");
    end(NULL);
    open_reads(1);
    hold_reads();
    for (unsigned i = 0; i < 12; i++) {
        assert_int_equal(submit(&writes[i], i, 1, NULL), 0);
        await_waiting_reads(i < 4 ? i + 1 : 4); /* each on a connection of its own */
    }
    release();
    await_all(12);
    for (size_t i = 0; i < 12; i++)
        assert_true(writes[i].error == DB_OK && writes[i].has_row);
}

static void *keep_reading(void *stop)
{
    struct write *read = &writes[1];

    while (!atomic_load((atomic_bool *)stop)) {
        for (size_t i = 0; i < 8; i++)
            assert_int_equal(submit(&read[i], 0, 1, NULL), 0);
        for (size_t i = 0; i < 8; i++)
            await(&read[i]);
    }
    return NULL;
}

/* What was there before a read came is seen by it, however busy the group is. */
static void test_reads_are_fresh(void **state UNUSED)
{
    atomic_bool stop = false;
    pthread_t reader;

    end(NULL);
    open_reads(SECONDS(3600));
    assert_int_equal(pthread_create(&reader, NULL, keep_reading, &stop), 0);
    for (int64_t n = 1; n <= 100; n++) {
        char sql[64];

        snprintf(sql, sizeof(sql), "INSERT INTO numbers (n) VALUES (%d)", (int)n);
        pg_sql(sql);
        assert_int_equal(submit(&writes[0], n, 1, NULL), 0);
        await(&writes[0]);
        assert_int_equal(writes[0].error, DB_OK);
        assert_true(writes[0].has_row);
    }
    atomic_store(&stop, true);
    assert_int_equal(pthread_join(reader, NULL), 0);
}

/* Reads go again when their server comes back. */
static void test_reads_of_a_lost_server(void **state UNUSED)
{
    pg_sql("INSERT INTO numbers SELECT generate_series(0, 399)");
    end(NULL);
    open_reads(SECONDS(3600));
    for (size_t i = 0; i < N_WRITES; i++) {
        assert_int_equal(submit(&writes[i], (int64_t)i, 1, NULL), 0);
        if (i == N_WRITES / 2)
            pg_script("restart", NULL, 0);
    }
    await_all(N_WRITES);
    PQreset(locker);
    for (size_t i = 0; i < N_WRITES; i++)
        assert_true(writes[i].error == DB_OK && writes[i].has_row);
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, reset, end)

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(test_alone),
        TEST(test_together),
        TEST(test_all_done),
        TEST(test_after_several),
        TEST(test_no_more_bytes_than),
        TEST(test_without_a_row),
        TEST(test_the_error_of_one),
        TEST(test_held_behind_the_error_of_one),
        TEST(test_the_same_twice),
        TEST(test_whose_caller_has_gone),
        TEST(test_the_latest_deadline),
        TEST(test_too_many),
        TEST(test_lost_server),
        TEST(test_close),
        TEST(test_next_before_the_answer),
        TEST(test_many_threads),
        TEST(test_reads_together),
        TEST(test_plain_reads),
        TEST(test_reads_beside_a_slow_one),
        TEST(test_reads_are_fresh),
        TEST(test_reads_of_a_lost_server),
    };

    return cmocka_run_group_tests_name("pg_group", tests, start, stop);
}
