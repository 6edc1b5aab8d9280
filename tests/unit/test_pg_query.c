/* lib/pg: parameters and rows of every type, and what errors of statements become. */
#include "pg_fixture.h"

enum {
    ECHO_BOOL,
    ECHO_INT4,
    ECHO_INT8,
    ECHO_TEXT,
    ECHO_BYTEA,
    ECHO_UUID,
    ECHO_TIME,
    ECHO_TEXTS,
    ECHO_INTS,
    TIME_TEXT,
    NESTED_TEXTS,
    INSERT,
    DEFERRED,
    DIVIDE,
    RAISE,
    SERIES,
    STAR,
    STORE,
    LOAD,
    PLAN,
    PLAN_EACH,
};

static const struct db_statement statements[] = {
    [ECHO_BOOL] = {"echo_bool", "SELECT $1", DB_READ, {DB_BOOL}},
    [ECHO_INT4] = {"echo_int4", "SELECT $1", DB_READ, {DB_INT4}},
    [ECHO_INT8] = {"echo_int8", "SELECT $1", DB_READ, {DB_INT8}},
    [ECHO_TEXT] = {"echo_text", "SELECT $1, length($1), $1 = ''", DB_READ, {DB_TEXT}},
    [ECHO_BYTEA] = {"echo_bytea", "SELECT $1, length($1)", DB_READ, {DB_BYTEA}},
    [ECHO_UUID] = {"echo_uuid", "SELECT $1, $1::text", DB_READ, {DB_UUID}},
    [ECHO_TIME] = {"echo_time", "SELECT $1, $1::text", DB_READ, {DB_TIMESTAMPTZ}},
    [ECHO_TEXTS] = {"echo_texts",
                    "SELECT $1, array_to_string($1, '|', '-'), cardinality($1)",
                    DB_READ,
                    {DB_TEXT_ARRAY}},
    [ECHO_INTS] = {"echo_ints",
                   "SELECT (SELECT sum(v) FROM unnest($1) v)::int8, cardinality($1)",
                   DB_READ,
                   {DB_INT8_ARRAY}},
    [TIME_TEXT] = {"time_text",
                   "SELECT timestamptz '2026-02-03 04:05:06.789012+00'",
                   DB_READ,
                   {DB_END}},
    [NESTED_TEXTS] = {"nested_texts",
                      "SELECT '{{a,b},{c,d}}'::text[], 'plain'::bytea",
                      DB_READ,
                      {DB_END}},
    [INSERT] = {"insert",
                "INSERT INTO items (id, parent, amount) VALUES ($1, $2, $3)",
                DB_WRITE,
                {DB_INT8, DB_INT8, DB_INT4}},
    [DEFERRED] = {"deferred", "INSERT INTO late (id) VALUES ($1)", DB_WRITE, {DB_INT8}},
    [DIVIDE] = {"divide", "SELECT 1 / $1", DB_READ, {DB_INT4}},
    [RAISE] = {"raise", "SELECT throw($1)", DB_READ, {DB_TEXT}},
    [SERIES] = {"series", "SELECT g FROM generate_series(1, $1) g", DB_READ, {DB_INT4}},
    [STAR] = {"star", "SELECT * FROM shape", DB_READ, {DB_END}},
    [STORE] = {"store",
               "INSERT INTO texts (body) VALUES ($1) RETURNING length(body), body",
               DB_WRITE,
               {DB_TEXT}},
    [LOAD] = {"load", "SELECT length($1), $1", DB_READ, {DB_TEXT}},
    [PLAN] = {"plan", "EXPLAIN (COSTS OFF) SELECT FROM few WHERE id = 1", DB_READ, {DB_END}},
    [PLAN_EACH] = {"plan_each",
                   "EXPLAIN (COSTS OFF) SELECT FROM alike"
                   " CROSS JOIN LATERAL (SELECT FROM few WHERE id = few_id OFFSET 0) found",
                   DB_READ,
                   {DB_END}},
};

static struct db *db;
static struct arena arena;
static struct answer answer;

static int open_db(void **state)
{
    if (pg_group_setup(state) != 0)
        return -1;
    pg_sql("CREATE TABLE few (id bigint PRIMARY KEY)");
    pg_sql("INSERT INTO few VALUES (1)");
    pg_sql("CREATE TABLE alike (few_id bigint)");
    pg_sql("INSERT INTO alike SELECT 1 FROM generate_series(1, 1000)");
    pg_sql("ANALYZE few, alike");
    pg_sql("CREATE TABLE items (id bigint PRIMARY KEY, "
           "parent bigint CONSTRAINT items_parent REFERENCES items, "
           "amount integer NOT NULL CONSTRAINT items_amount CHECK (amount > 0));"
           "CREATE TABLE late (id bigint CONSTRAINT late_id UNIQUE DEFERRABLE INITIALLY DEFERRED);"
           "CREATE TABLE texts (body text);"
           "CREATE TABLE shape (a integer); INSERT INTO shape VALUES (7);"
           "CREATE FUNCTION throw(state text) RETURNS void LANGUAGE plpgsql AS "
           "$$BEGIN RAISE 'thrown' USING ERRCODE = state; END$$");
    db = pg_open_db(&(struct db_options){.connections = 2, .pool_threads = 1}, statements,
                    ARRAY_SIZE(statements));
    return 0;
}

static int close_db(void **state)
{
    db_close(db);
    return pg_group_teardown(state);
}

static int reset(void **state)
{
    (void)state;
    answer_free(&answer);
    answer_init(&answer); /* not every test has one */
    arena_free(&arena);
    return 0;
}

static struct db_query *query(size_t statement)
{
    struct db_query *q = db_query(db, &arena, statement);

    assert_non_null(q);
    return q;
}

/* Runs q and expects one row. */
static const struct db_result *row_of(struct db_query *q)
{
    assert_int_equal(answer_run(&answer, q), DB_OK);
    assert_int_equal(db_rows(&answer.result), 1);
    return &answer.result;
}

/* Runs q for one row whose first column is NULL. */
static void expect_null(struct db_query *q)
{
    assert_true(db_is_null(row_of(q), 0, 0));
    answer_free(&answer);
}

/* More than a socket takes at once, both ways, with several on the connections. */
static void test_larger_than_a_socket_buffer(void **state)
{
    static const size_t kinds[] = {STORE, LOAD, STORE, LOAD, STORE};
    size_t n = 3 << 20;
    char *text = malloc(n);
    struct answer answers[ARRAY_SIZE(kinds)];

    (void)state;
    memset(text, 'x', n);
    for (size_t i = 0; i < ARRAY_SIZE(kinds); i++) {
        struct db_query *q = db_query(db, &arena, kinds[i]);

        answer_init(&answers[i]);
        db_bind_text(q, (struct str){text, n});
        assert_int_equal(
            db_submit(q, clock_monotonic_ns() + SECONDS(20), NULL, answer_done, &answers[i]), 0);
    }
    for (size_t i = 0; i < ARRAY_SIZE(kinds); i++) {
        answer_wait(&answers[i]);
        assert_int_equal(answers[i].result.error, DB_OK);
        assert_int_equal(db_get_int4(&answers[i].result, 0, 0), (int32_t)n);
        assert_int_equal(db_get_text(&answers[i].result, 0, 1).n, n);
        answer_free(&answers[i]);
    }
    free(text);
}

static void test_bool(void **state)
{
    (void)state;
    for (int v = 0; v < 2; v++) {
        struct db_query *q = query(ECHO_BOOL);

        db_bind_bool(q, v);
        assert_int_equal(db_get_bool(row_of(q), 0, 0), v);
        answer_free(&answer);
    }
    answer_init(&answer);
}

static void test_integers(void **state)
{
    static const int32_t small[] = {INT32_MIN, -1, 0, 1, 258, INT32_MAX};
    static const int64_t big[] = {INT64_MIN, INT32_MIN, -1, 0, 1, INT64_C(0x0102030405060708),
                                  INT64_MAX};
    (void)state;
    for (size_t i = 0; i < ARRAY_SIZE(small); i++) {
        struct db_query *q = query(ECHO_INT4);

        db_bind_int4(q, small[i]);
        assert_int_equal(db_get_int4(row_of(q), 0, 0), small[i]);
        answer_free(&answer);
    }
    for (size_t i = 0; i < ARRAY_SIZE(big); i++) {
        struct db_query *q = query(ECHO_INT8);

        db_bind_int8(q, big[i]);
        assert_true(db_get_int8(row_of(q), 0, 0) == big[i]);
        answer_free(&answer);
    }
    answer_init(&answer);
}

static void expect_text(struct str text, int characters)
{
    struct db_query *q = query(ECHO_TEXT);
    const struct db_result *r;

    db_bind_text(q, text);
    r = row_of(q);
    assert_true(str_eq(db_get_text(r, 0, 0), text));
    assert_int_equal(db_get_text(r, 0, 0).p[text.n], '\0');
    assert_int_equal(db_get_int4(r, 0, 1), characters);
    assert_int_equal(db_get_bool(r, 0, 2), text.n == 0);
    answer_free(&answer);
}

static void test_text(void **state)
{
    static char large[1 << 20];

    (void)state;
    expect_text(STR(""), 0);
    expect_text(STR("it's \"quoted\" \\ $1 ; --"), 23);
    expect_text(STR("\xc3\xa4\xe2\x82\xac\xf0\x9f\x90\x98"), 3);
    memset(large, 'x', sizeof(large));
    expect_text((struct str){large, sizeof(large)}, sizeof(large));
    answer_init(&answer);
}

/* Text that Postgres cannot hold is the caller's mistake, not ours. */
static void test_text_refused(void **state)
{
    static const struct str bad[] = {{"a\0b", 3}, {"\xff", 1}};

    (void)state;
    for (size_t i = 0; i < ARRAY_SIZE(bad); i++) {
        struct db_query *q = query(ECHO_TEXT);

        db_bind_text(q, bad[i]);
        assert_int_equal(answer_run(&answer, q), DB_CHECK);
        assert_string_equal(answer.result.sqlstate, "22021");
        assert_null(answer.result.rows);
        answer_free(&answer);
    }
    answer_init(&answer);
}

static void test_bytea(void **state)
{
    static const struct str values[] = {{"", 0}, {"\0\xff\0 '\\", 6}};

    (void)state;
    for (size_t i = 0; i < ARRAY_SIZE(values); i++) {
        struct db_query *q = query(ECHO_BYTEA);
        const struct db_result *r;

        db_bind_bytea(q, values[i]);
        r = row_of(q);
        assert_true(str_eq(db_get_text(r, 0, 0), values[i]));
        assert_non_null(db_get_text(r, 0, 0).p);
        assert_int_equal(db_get_int4(r, 0, 1), values[i].n);
        answer_free(&answer);
    }
    answer_init(&answer);
}

static void test_uuid(void **state)
{
    static const uint8_t id[16] = {0x01, 0x23, 0x45, 0x67, 0x89, 0xab, 0xcd, 0xef,
                                   0xfe, 0xdc, 0xba, 0x98, 0x76, 0x54, 0x32, 0x10};
    struct db_query *q = query(ECHO_UUID);
    const struct db_result *r;

    (void)state;
    db_bind_uuid(q, id);
    r = row_of(q);
    assert_int_equal(db_get_text(r, 0, 0).n, 16);
    assert_memory_equal(db_get_text(r, 0, 0).p, id, 16);
    assert_string_equal(db_get_text(r, 0, 1).p, "01234567-89ab-cdef-fedc-ba9876543210");
}

static void test_timestamps(void **state)
{
    static const struct {
        int64_t us;
        const char *text;
    } cases[] = {
        {0, "1970-01-01 00:00:00+00"},
        {INT64_C(946684800000000), "2000-01-01 00:00:00+00"},
        {-1, "1969-12-31 23:59:59.999999+00"},
        {INT64_C(1770091506789012), "2026-02-03 04:05:06.789012+00"},
        {INT64_MAX, "infinity"},
        {INT64_MIN, "-infinity"},
    };
    (void)state;
    for (size_t i = 0; i < ARRAY_SIZE(cases); i++) {
        struct db_query *q = query(ECHO_TIME);
        const struct db_result *r;

        db_bind_timestamp(q, cases[i].us);
        r = row_of(q);
        assert_true(db_get_timestamp(r, 0, 0) == cases[i].us);
        assert_string_equal(db_get_text(r, 0, 1).p, cases[i].text);
        answer_free(&answer);
    }
    assert_true(db_get_timestamp(row_of(query(TIME_TEXT)), 0, 0) == INT64_C(1770091506789012));
}

static void expect_texts(const struct str *v, size_t n, const char *joined)
{
    struct db_query *q = query(ECHO_TEXTS);
    const struct db_result *r;
    struct str *back;

    db_bind_text_array(q, v, n);
    r = row_of(q);
    assert_int_equal(db_get_text_array(r, 0, 0, &arena, &back), (int)n);
    for (size_t i = 0; i < n; i++) {
        assert_true(str_eq(back[i], v[i]));
        assert_int_equal(back[i].p == NULL, v[i].p == NULL);
    }
    assert_string_equal(db_get_text(r, 0, 1).p, joined);
    assert_int_equal(db_get_int4(r, 0, 2), (int)n);
    answer_free(&answer);
}

static void test_arrays(void **state)
{
    const struct str texts[] = {STR("one"), STR(""), STR_NULL, STR("{\"a,b\"}")};
    static const int64_t ints[] = {INT64_MAX, -1, INT64_MIN, 5};
    static struct str many[5000];
    struct db_query *q;
    const struct db_result *r;

    (void)state;
    expect_texts(NULL, 0, "");
    expect_texts(texts, 1, "one");
    expect_texts(texts, ARRAY_SIZE(texts), "one||-|{\"a,b\"}");
    for (size_t i = 0; i < ARRAY_SIZE(many); i++)
        many[i] = STR("");
    q = query(ECHO_TEXTS);
    db_bind_text_array(q, many, ARRAY_SIZE(many));
    assert_int_equal(db_get_int4(row_of(q), 0, 2), (int)ARRAY_SIZE(many));
    answer_free(&answer);

    q = query(ECHO_INTS);
    db_bind_int8_array(q, ints, ARRAY_SIZE(ints));
    r = row_of(q);
    assert_true(db_get_int8(r, 0, 0) == 3);
    assert_int_equal(db_get_int4(r, 0, 1), 4);
    answer_free(&answer);

    q = query(ECHO_INTS);
    db_bind_int8_array(q, NULL, 0);
    r = row_of(q);
    assert_true(db_is_null(r, 0, 0));
    assert_int_equal(db_get_int4(r, 0, 1), 0);
}

/* Values that are no one-dimensional text[] are an error, never read beyond their end. */
static void test_arrays_refused(void **state)
{
    const struct db_result *r = row_of(query(NESTED_TEXTS));
    struct str *back;

    (void)state;
    assert_int_equal(db_get_text_array(r, 0, 0, &arena, &back), -EBADMSG);
    assert_int_equal(db_get_text_array(r, 0, 1, &arena, &back), -EBADMSG);
}

static void test_null(void **state)
{
    static const int echoes[] = {ECHO_BOOL,  ECHO_INT4, ECHO_INT8, ECHO_TEXT,
                                 ECHO_BYTEA, ECHO_UUID, ECHO_TIME, ECHO_TEXTS};
    struct str *back;
    struct db_query *q;

    (void)state;
    for (size_t i = 0; i < ARRAY_SIZE(echoes); i++) {
        q = query((size_t)echoes[i]);
        db_bind_null(q);
        expect_null(q);
    }
    q = query(ECHO_TEXT);
    db_bind_text(q, STR_NULL);
    expect_null(q);
    q = query(ECHO_BYTEA);
    db_bind_bytea(q, STR_NULL);
    expect_null(q);
    q = query(ECHO_TEXTS);
    db_bind_null(q);
    assert_int_equal(db_get_text_array(row_of(q), 0, 0, &arena, &back), 0);
    assert_null(db_get_text(&answer.result, 0, 0).p);
}

static void test_rows(void **state)
{
    struct db_query *q = query(SERIES);

    (void)state;
    db_bind_int4(q, 0);
    assert_int_equal(answer_run(&answer, q), DB_OK);
    assert_int_equal(db_rows(&answer.result), 0);
    answer_free(&answer);
    q = query(SERIES);
    db_bind_int4(q, 10000);
    assert_int_equal(answer_run(&answer, q), DB_OK);
    assert_int_equal(db_rows(&answer.result), 10000);
    assert_int_equal(db_get_int4(&answer.result, 9999, 0), 10000);
}

static enum db_error insert(int64_t id, int64_t parent, int32_t amount)
{
    struct db_query *q = query(INSERT);

    answer_free(&answer);
    db_bind_int8(q, id);
    if (parent)
        db_bind_int8(q, parent);
    else
        db_bind_null(q);
    db_bind_int4(q, amount);
    return answer_run(&answer, q);
}

static void test_constraints(void **state)
{
    struct db_query *q;

    (void)state;
    answer_init(&answer);
    assert_int_equal(insert(1, 0, 1), DB_OK);
    assert_int_equal(insert(1, 0, 1), DB_UNIQUE);
    assert_string_equal(answer.constraint, "items_pkey");
    assert_string_equal(answer.result.sqlstate, "23505");
    assert_int_equal(insert(2, 99, 1), DB_FOREIGN_KEY);
    assert_string_equal(answer.constraint, "items_parent");
    assert_int_equal(insert(2, 1, 0), DB_CHECK);
    assert_string_equal(answer.constraint, "items_amount");
    answer_free(&answer);
    q = query(INSERT);
    db_bind_int8(q, 3);
    db_bind_null(q);
    db_bind_null(q);
    assert_int_equal(answer_run(&answer, q), DB_CHECK);
    assert_string_equal(answer.result.sqlstate, "23502");
    assert_int_equal(pg_sql("SELECT count(*) FROM items"), 1);
}

/* A constraint that Postgres checks in the commit fails after the statement has succeeded. */
static void test_failed_commit(void **state)
{
    static const enum db_error expected[] = {DB_OK, DB_UNIQUE, DB_OK};
    static const int64_t ids[] = {1, 1, 2};

    (void)state;
    for (size_t i = 0; i < ARRAY_SIZE(ids); i++) {
        struct db_query *q = query(DEFERRED);

        db_bind_int8(q, ids[i]);
        assert_int_equal(answer_run(&answer, q), expected[i]);
        if (expected[i] == DB_UNIQUE)
            assert_string_equal(answer.constraint, "late_id");
        answer_free(&answer);
    }
    assert_int_equal(pg_sql("SELECT count(*) FROM late"), 2);
    answer_init(&answer);
}

static void test_error_classes(void **state)
{
    static const struct {
        const char *sqlstate;
        enum db_error error;
    } cases[] = {
        {"40001", DB_CONFLICT}, {"40P01", DB_CONFLICT},   {"55P03", DB_CONFLICT},
        {"22012", DB_CHECK},    {"53100", DB_OVERLOADED}, {"53300", DB_OVERLOADED},
        {"XX001", DB_INTERNAL}, {"42P01", DB_INTERNAL},   {"57014", DB_DEADLINE},
    };
    (void)state;
    log_setup("test", LOG_ERROR + 1); /* what is internal is logged */
    for (size_t i = 0; i < ARRAY_SIZE(cases); i++) {
        struct db_query *q = query(RAISE);

        db_bind_text(q, str_of(cases[i].sqlstate));
        assert_int_equal(answer_run(&answer, q), cases[i].error);
        assert_string_equal(answer.result.sqlstate, cases[i].sqlstate);
        answer_free(&answer);
    }
    log_setup("test", LOG_ERROR);
    answer_init(&answer);
}

#define NEIGHBOURS 60

/* Reads that share a sync with a failing one are answered all the same. */
static void test_error_isolation(void **state)
{
    static struct answer answers[NEIGHBOURS];

    (void)state;
    for (int round = 0; round < 20; round++) {
        for (int i = 0; i < NEIGHBOURS; i++) {
            struct db_query *q = query(DIVIDE);

            db_bind_int4(q, i % 7 == 3 ? 0 : 1);
            answer_submit(&answers[i], q, SECONDS(30));
        }
        for (int i = 0; i < NEIGHBOURS; i++) {
            assert_int_equal(answer_wait(&answers[i]), i % 7 == 3 ? DB_CHECK : DB_OK);
            answer_free(&answers[i]);
        }
    }
    answer_init(&answer);
}

/* A migration that changes a column under a running service costs a reconnect, not an error. */
static void test_stale_plan(void **state)
{
    (void)state;
    assert_int_equal(db_get_int4(row_of(query(STAR)), 0, 0), 7);
    answer_free(&answer);
    pg_sql("ALTER TABLE shape ALTER a TYPE bigint");
    for (int i = 0; i < 10; i++) {
        assert_true(db_get_int8(row_of(query(STAR)), 0, 0) == 7);
        answer_free(&answer);
    }
    answer_init(&answer);
}

/* It is as small as when the service begins, and it will not stay so. */
static void test_small_table_by_its_index(void **state)
{
    (void)state;
    assert_int_equal(answer_run(&answer, db_query(db, &arena, PLAN)), DB_OK);
    assert_non_null(strstr(db_get_text(&answer.result, 0, 0).p, "using few_pkey"));
}

/* In a page there is little that would be looked up twice. */
static void test_nothing_remembered_of_rows(void **state)
{
    (void)state;
    assert_int_equal(answer_run(&answer, db_query(db, &arena, PLAN_EACH)), DB_OK);
    for (int row = 0; row < db_rows(&answer.result); row++)
        assert_null(strstr(db_get_text(&answer.result, row, 0).p, "Memoize"));
}

/* A parameter that cannot be encoded is reported by db_submit(). */
static void test_no_memory(void **state)
{
    struct arena small;
    struct db_query *q;
    static char large[100000];

    (void)state;
    arena_init(&small, 8192);
    q = db_query(db, &small, ECHO_TEXT);
    assert_non_null(q);
    db_bind_text(q, (struct str){large, sizeof(large)});
    assert_int_equal(db_submit(q, INT64_MAX, NULL, answer_done, &answer), -ENOMEM);
    arena_free(&small);
    arena_init(&small, 1);
    assert_null(db_query(db, &small, ECHO_TEXT));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_teardown(test_bool, reset),
        cmocka_unit_test_teardown(test_integers, reset),
        cmocka_unit_test_teardown(test_text, reset),
        cmocka_unit_test_teardown(test_text_refused, reset),
        cmocka_unit_test_teardown(test_bytea, reset),
        cmocka_unit_test_teardown(test_uuid, reset),
        cmocka_unit_test_teardown(test_timestamps, reset),
        cmocka_unit_test_teardown(test_arrays, reset),
        cmocka_unit_test_teardown(test_arrays_refused, reset),
        cmocka_unit_test_teardown(test_null, reset),
        cmocka_unit_test_teardown(test_rows, reset),
        cmocka_unit_test_teardown(test_constraints, reset),
        cmocka_unit_test_teardown(test_failed_commit, reset),
        cmocka_unit_test_teardown(test_error_classes, reset),
        cmocka_unit_test_teardown(test_error_isolation, reset),
        cmocka_unit_test_teardown(test_stale_plan, reset),
        cmocka_unit_test_teardown(test_small_table_by_its_index, reset),
        cmocka_unit_test_teardown(test_nothing_remembered_of_rows, reset),
        cmocka_unit_test_teardown(test_larger_than_a_socket_buffer, reset),
        cmocka_unit_test_teardown(test_no_memory, reset),
    };
    return cmocka_run_group_tests(tests, open_db, close_db);
}
