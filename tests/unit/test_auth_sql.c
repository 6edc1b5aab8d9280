/* The statements of auth on a real Postgres: names and addresses are unique, a session comes with
 * its account and its published key or not at all, and the other services see two views and no
 * more. */
#include "sql_fixture.h"

#include "../../services/auth/statements.h"

static struct db *db;
static struct arena arena;

static int setup(void **state UNUSED)
{
    if (sql_group_setup("auth") != 0)
        return -1;
    arena_init(&arena, 0);
    db = pg_open_db(&(struct db_options){.connections = 4}, auth_statements, AUTH_N_STATEMENTS);
    return 0;
}

static int teardown(void **state)
{
    db_close(db);
    arena_free(&arena);
    return pg_group_teardown(state);
}

static int empty_tables(void **state UNUSED)
{
    pg_sql("TRUNCATE auth.users, auth.sessions, auth.signing_keys RESTART IDENTITY");
    return 0;
}

/* ---- statements ---- */

static const uint8_t *next_session(void)
{
    static uint8_t id[16];

    id[15]++;
    return id;
}

static void submit_account(struct answer *a, const char *name, const char *email,
                           const uint8_t *session)
{
    struct db_query *q = db_query(db, &arena, AUTH_CREATE_ACCOUNT);

    db_bind_text(q, str_of(name));
    db_bind_text(q, str_of(name));
    db_bind_text(q, str_of(email));
    db_bind_text(q, str_of(email));
    db_bind_text(q, STR("hash"));
    db_bind_uuid(q, session);
    db_bind_text(q, STR("k1"));
    db_bind_text(q, STR("jwk1"));
    answer_submit(a, q, SECONDS(30));
}

/* Returns the id of the account; on an error 0, and the constraint is as wanted. */
static int64_t create(const char *name, const char *email, const char *constraint)
{
    struct answer a;
    int64_t id = 0;

    submit_account(&a, name, email, next_session());
    if (constraint) {
        assert_int_equal(answer_wait(&a), DB_UNIQUE);
        assert_string_equal(a.constraint, constraint);
    } else {
        assert_int_equal(answer_wait(&a), DB_OK);
        id = db_get_int8(&a.result, 0, 0);
    }
    answer_free(&a);
    return id;
}

/* Returns the number of rows: 1 when the session was started. */
static int start_session(int64_t account, const char *hash)
{
    struct db_query *q = db_query(db, &arena, AUTH_START_SESSION);
    struct answer a;
    int rows;

    db_bind_int8(q, account);
    db_bind_text(q, str_of(hash));
    db_bind_uuid(q, next_session());
    db_bind_text(q, STR("k1"));
    db_bind_text(q, STR("jwk1"));
    assert_int_equal(answer_run(&a, q), DB_OK);
    rows = db_rows(&a.result);
    answer_free(&a);
    return rows;
}

static void publish(const char *key_id)
{
    struct db_query *q = db_query(db, &arena, AUTH_PUBLISH_KEY);
    struct answer a;

    db_bind_text(q, str_of(key_id));
    db_bind_text(q, STR("jwk"));
    assert_int_equal(answer_run(&a, q), DB_OK);
    answer_free(&a);
}

static void expect_taken(const char *name, const char *email, bool name_taken, bool email_taken)
{
    struct db_query *q = db_query(db, &arena, AUTH_TAKEN);
    struct answer a;

    db_bind_text(q, str_of(name));
    db_bind_text(q, str_of(email));
    assert_int_equal(answer_run(&a, q), DB_OK);
    assert_int_equal(db_get_bool(&a.result, 0, 0), name_taken);
    assert_int_equal(db_get_bool(&a.result, 0, 1), email_taken);
    answer_free(&a);
}

/* ---- accounts and sessions ---- */

static void names_and_addresses_are_unique(void **state UNUSED)
{
    create("ada", "ada@x", NULL);
    create("ada", "bob@x", "users_username_key_unique");
    create("bob", "ada@x", "users_email_key_unique");
    expect_taken("ada", "ada@x", true, true);
    expect_taken("ada", "bob@x", true, false);
    expect_taken("bob", "ada@x", false, true);
    expect_taken("bob", "bob@x", false, false);
}

static void one_of_many_sign_ups_at_once_wins(void **state UNUSED)
{
    struct answer answers[32];
    int won = 0;

    for (size_t i = 0; i < ARRAY_SIZE(answers); i++) {
        struct str email = arena_printf(&arena, "%zu@x", i);
        submit_account(&answers[i], "ada", email.p, next_session());
    }
    for (size_t i = 0; i < ARRAY_SIZE(answers); i++) {
        enum db_error error = answer_wait(&answers[i]);
        assert_true(error == DB_OK || error == DB_UNIQUE);
        won += error == DB_OK;
        answer_free(&answers[i]);
    }
    assert_int_equal(won, 1);
    assert_int_equal(pg_sql("SELECT count(*) FROM auth.users"), 1);
    assert_int_equal(pg_sql("SELECT count(*) FROM auth.sessions"), 1);
}

static void account_comes_with_session_and_key_or_not_at_all(void **state UNUSED)
{
    struct answer a;
    uint8_t session[16] = {1};

    submit_account(&a, "ada", "ada@x", session);
    assert_int_equal(answer_wait(&a), DB_OK);
    answer_free(&a);
    assert_int_equal(pg_sql("SELECT count(*) FROM auth.users u JOIN auth.sessions s"
                            " ON s.user_id = u.id"),
                     1);
    assert_int_equal(pg_sql("SELECT count(*) FROM auth.verification_keys WHERE key_id = 'k1'"), 1);
    pg_sql("DELETE FROM auth.signing_keys");
    submit_account(&a, "bob", "bob@x", session); /* a session id that exists */
    assert_int_equal(answer_wait(&a), DB_UNIQUE);
    answer_free(&a);
    assert_int_equal(pg_sql("SELECT count(*) FROM auth.users"), 1);
    assert_int_equal(pg_sql("SELECT count(*) FROM auth.signing_keys"), 0);
}

static void session_needs_the_password_that_was_verified(void **state UNUSED)
{
    int64_t ada = create("ada", "ada@x", NULL);

    assert_int_equal(start_session(ada, "hash"), 1);
    assert_int_equal(start_session(ada, "the one before"), 0);
    assert_int_equal(start_session(ada + 1, "hash"), 0);
    assert_int_equal(pg_sql("SELECT count(*) FROM auth.sessions"), 2);
}

static void sessions_end_with_their_account(void **state UNUSED)
{
    int64_t ada = create("ada", "ada@x", NULL);

    assert_int_equal(start_session(ada, "hash"), 1);
    pg_sql("DELETE FROM auth.users");
    assert_int_equal(pg_sql("SELECT count(*) FROM auth.sessions"), 0);
}

/* ---- keys ---- */

static void key_is_marked_as_used_once_a_day(void **state UNUSED)
{
    int64_t ada = create("ada", "ada@x", NULL);

    pg_sql("UPDATE auth.signing_keys SET last_used_at = now() - interval '23 hours'");
    assert_int_equal(start_session(ada, "hash"), 1);
    assert_int_equal(pg_sql("SELECT count(*) FROM auth.signing_keys"
                            " WHERE last_used_at < now() - interval '22 hours'"),
                     1);
    pg_sql("UPDATE auth.signing_keys SET last_used_at = now() - interval '25 hours'");
    assert_int_equal(start_session(ada, "hash"), 1);
    assert_int_equal(pg_sql("SELECT count(*) FROM auth.signing_keys"
                            " WHERE last_used_at > now() - interval '1 hour'"),
                     1);
}

/* An instance that was idle for so long that another one has dropped its key. */
static void session_brings_a_dropped_key_back(void **state UNUSED)
{
    int64_t ada = create("ada", "ada@x", NULL);

    pg_sql("DELETE FROM auth.signing_keys");
    assert_int_equal(start_session(ada, "hash"), 1);
    assert_int_equal(pg_sql("SELECT count(*) FROM auth.verification_keys"
                            " WHERE key_id = 'k1' AND public_jwk = 'jwk1'"),
                     1);
}

static void only_keys_without_living_tokens_are_dropped(void **state UNUSED)
{
    publish("mine");
    publish("young");
    publish("old");
    pg_sql("UPDATE auth.signing_keys SET last_used_at = now() - interval '40 days'"
           " WHERE key_id <> 'young'");
    pg_sql("UPDATE auth.signing_keys SET last_used_at = now() - interval '32 days 23 hours'"
           " WHERE key_id = 'young'");
    publish("mine");
    assert_int_equal(pg_sql("SELECT count(*) FROM auth.verification_keys"), 2);
    assert_int_equal(pg_sql("SELECT count(*) FROM auth.signing_keys WHERE key_id = 'old'"), 0);
    assert_int_equal(pg_sql("SELECT count(*) FROM auth.signing_keys WHERE key_id = 'mine'"
                            " AND last_used_at > now() - interval '1 hour'"),
                     1);
}

/* ---- rights ---- */

static void expect_refused(const char *role, const char *sql)
{
    struct str conninfo = arena_printf(&arena, "%s user=%s", sql_admin, role);
    PGconn *pg = PQconnectdb(conninfo.p);
    PGresult *res = PQexec(pg, sql);
    const char *state = PQresultErrorField(res, PG_DIAG_SQLSTATE);

    if (!state || strcmp(state, "42501") != 0)
        fail_msg("%s may do: %s (%s)", role, sql, state ? state : PQresStatus(PQresultStatus(res)));
    PQclear(res);
    PQfinish(pg);
}

static void other_services_see_two_views_and_no_more(void **state UNUSED)
{
    static const char *const roles[] = {"stoa_posts", "stoa_chat"};
    static const char *const refused[] = {
        "SELECT password_hash FROM auth.users",
        "SELECT id FROM auth.users",
        "SELECT * FROM auth.sessions",
        "SELECT * FROM auth.signing_keys",
        "SELECT * FROM auth.schema_migrations",
        "UPDATE auth.profiles SET username = 'x'",
        "DELETE FROM auth.profiles",
        "INSERT INTO auth.verification_keys VALUES ('mine', '{}')",
        "DELETE FROM auth.verification_keys",
        "CREATE TABLE auth.x ()",
        "DROP VIEW auth.profiles",
    };

    create("ada", "ada@x", NULL);
    pg_sql("CREATE TABLE IF NOT EXISTS auth.schema_migrations ()");
    for (size_t i = 0; i < ARRAY_SIZE(roles); i++) {
        struct str conninfo = arena_printf(&arena, "%s user=%s", sql_admin, roles[i]);
        PGconn *pg = PQconnectdb(conninfo.p);
        PQclear(sql_exec(pg, "SELECT id, username, username_key, bio, image FROM auth.profiles"));
        PQclear(sql_exec(pg, "SELECT key_id, public_jwk FROM auth.verification_keys"));
        PQfinish(pg);
        for (size_t j = 0; j < ARRAY_SIZE(refused); j++)
            expect_refused(roles[i], refused[j]);
    }
}

/* ---- cost ---- */

static void nothing_grows_with_the_tables(void **state UNUSED)
{
    static const struct {
        enum auth_statement statement;
        const char *arguments;
        long max_pages;
    } cases[] = {
        {AUTH_TAKEN, "'u7', 'u8@x'", 10},
        {AUTH_CREATE_ACCOUNT,
         "'new', 'new', 'new@x', 'new@x', 'h', '00000000-0000-7000-8000-000000000000', 'k1', 'j'",
         60},
        {AUTH_FIND_ACCOUNT, "'u7@x'", 6},
        {AUTH_START_SESSION, "7, 'h', '00000000-0000-7000-8000-000000000000', 'k1', 'j'", 40},
        {AUTH_CURRENT_ACCOUNT, "7", 6},
    };

    pg_sql("INSERT INTO auth.users (username, username_key, email, email_key, password_hash)"
           " SELECT 'u' || i, 'u' || i, 'u' || i || '@x', 'u' || i || '@x', 'h'"
           " FROM generate_series(1, 20000) i");
    pg_sql("INSERT INTO auth.sessions (id, user_id)"
           " SELECT gen_random_uuid(), 1 + i % 20000 FROM generate_series(1, 40000) i");
    publish("k1");
    sql_as_admin("VACUUM ANALYZE");
    for (size_t i = 0; i < ARRAY_SIZE(cases); i++) /* a row in signing_keys for each instance */
        sql_expect_plan(&auth_statements[cases[i].statement], cases[i].arguments, "signing_keys",
                        cases[i].max_pages);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup(names_and_addresses_are_unique, empty_tables),
        cmocka_unit_test_setup(one_of_many_sign_ups_at_once_wins, empty_tables),
        cmocka_unit_test_setup(account_comes_with_session_and_key_or_not_at_all, empty_tables),
        cmocka_unit_test_setup(session_needs_the_password_that_was_verified, empty_tables),
        cmocka_unit_test_setup(sessions_end_with_their_account, empty_tables),
        cmocka_unit_test_setup(key_is_marked_as_used_once_a_day, empty_tables),
        cmocka_unit_test_setup(session_brings_a_dropped_key_back, empty_tables),
        cmocka_unit_test_setup(only_keys_without_living_tokens_are_dropped, empty_tables),
        cmocka_unit_test_setup(other_services_see_two_views_and_no_more, empty_tables),
        cmocka_unit_test_setup(nothing_grows_with_the_tables, empty_tables),
    };
    return cmocka_run_group_tests(tests, setup, teardown);
}
