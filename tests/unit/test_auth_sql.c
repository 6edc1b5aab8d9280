/* The statements of auth on a real Postgres: names and addresses are unique, a session comes with
 * its account and its published key or not at all, what ends leaves a revocation exactly while its
 * tokens live, and the other services see three views and no more. */
#include "sql_fixture.h"

#include "service/internal.h"
#include "service/revocations.h"

#include "../../services/auth/statements.h"

static int setup(void **state UNUSED)
{
    return sql_db_setup("auth", 4, auth_statements, AUTH_N_STATEMENTS);
}

static int empty_tables(void **state UNUSED)
{
    pg_sql("TRUNCATE auth.users, auth.sessions, auth.signing_keys, auth.revoked_sessions"
           " RESTART IDENTITY");
    return 0;
}

/* ---- statements ---- */

static const uint8_t *next_session(void)
{
    static uint8_t id[16];

    id[15]++;
    return id;
}

/* What a statement that makes an access token begins with. The refresh token's hash is a word. */
static void bind_tokens(struct db_query *q, const uint8_t *session, const char *refresh)
{
    db_bind_uuid(q, session);
    db_bind_bytea(q, STR("family"));
    db_bind_bytea(q, str_of(refresh));
    db_bind_text(q, STR("192.0.2.7"));
    db_bind_text(q, STR("browser"));
    db_bind_int8(q, 900);
    db_bind_int8(q, 3600);
    db_bind_text(q, STR("k1"));
    db_bind_text(q, STR("jwk1"));
}

static void submit_account(struct answer *a, const char *name, const char *email,
                           const uint8_t *session)
{
    struct db_query *q = db_query(db, &arena, AUTH_CREATE_ACCOUNT);

    bind_tokens(q, session, "first");
    db_bind_text(q, str_of(name));
    db_bind_text(q, str_of(name));
    db_bind_text(q, str_of(email));
    db_bind_text(q, str_of(email));
    db_bind_text(q, STR("hash"));
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

    bind_tokens(q, next_session(), "first");
    db_bind_int8(q, account);
    db_bind_text(q, str_of(hash));
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

/* The change decides, or the sign-in would leave a session that the change does not end. */
static void sign_in_waits_for_a_change_of_the_password(void **state UNUSED)
{
    int64_t ada = create("ada", "ada@x", NULL);
    PGconn *change = PQconnectdb(pg_conninfo);
    struct db_query *q = db_query(db, &arena, AUTH_START_SESSION);
    struct answer a;

    PQclear(sql_exec(change, "BEGIN; UPDATE auth.users SET password_hash = 'new'"));
    bind_tokens(q, next_session(), "first");
    db_bind_int8(q, ada);
    db_bind_text(q, STR("hash"));
    answer_submit(&a, q, SECONDS(30));
    pg_await_sql("SELECT count(*) FROM pg_stat_activity WHERE wait_event_type = 'Lock'");
    PQclear(sql_exec(change, "COMMIT"));
    PQfinish(change);
    assert_int_equal(answer_wait(&a), DB_OK);
    assert_int_equal(db_rows(&a.result), 0);
    answer_free(&a);
    assert_int_equal(pg_sql("SELECT count(*) FROM auth.sessions"), 1);
}

static void sessions_end_with_their_account(void **state UNUSED)
{
    int64_t ada = create("ada", "ada@x", NULL);

    assert_int_equal(start_session(ada, "hash"), 1);
    pg_sql("DELETE FROM auth.users");
    assert_int_equal(pg_sql("SELECT count(*) FROM auth.sessions"), 0);
}

/* ---- refreshing ---- */

static const uint8_t the_session[16] = {9, 9};

static int refresh_by(const char *family, const char *token, const char *successor)
{
    struct db_query *q = db_query(db, &arena, AUTH_REFRESH_SESSION);
    struct answer a;
    int outcome;

    db_bind_uuid(q, the_session);
    db_bind_bytea(q, str_of(family));
    db_bind_bytea(q, str_of(token));
    db_bind_text(q, STR_NULL);
    db_bind_text(q, STR_NULL);
    db_bind_int8(q, 900);
    db_bind_int8(q, 3600);
    db_bind_text(q, STR("k1"));
    db_bind_text(q, STR("jwk1"));
    db_bind_bytea(q, str_of(successor));
    db_bind_bytea(q, STR("nonce"));
    db_bind_int8(q, 10);
    assert_int_equal(answer_run(&a, q), DB_OK);
    outcome = db_rows(&a.result) ? db_get_int4(&a.result, 0, 0) : 0;
    answer_free(&a);
    return outcome;
}

static int refresh(const char *token, const char *successor)
{
    return refresh_by("family", token, successor);
}

static void pass_time(const char *interval)
{
    char sql[512];

    snprintf(sql, sizeof(sql),
             "UPDATE auth.sessions SET created_at = created_at - t, rotated_at = rotated_at - t,"
             " tokens_expire_at = tokens_expire_at - t, expires_at = expires_at - t"
             " FROM (SELECT interval '%s') AS x (t)",
             interval);
    pg_sql(sql);
}

static void start_the_session(void)
{
    struct answer a;

    submit_account(&a, "ada", "ada@x", the_session);
    assert_int_equal(answer_wait(&a), DB_OK);
    answer_free(&a);
}

static void refresh_tokens_follow_one_another(void **state UNUSED)
{
    start_the_session();
    assert_int_equal(refresh("first", "second"), AUTH_ROTATED);
    assert_int_equal(refresh("first", "other"), AUTH_ROTATED_BEFORE);
    pass_time("9 seconds");
    assert_int_equal(refresh("first", "other"), AUTH_ROTATED_BEFORE);
    assert_int_equal(refresh("second", "third"), AUTH_ROTATED);
    assert_int_equal(pg_sql("SELECT count(*) FROM auth.sessions WHERE refresh_hash = 'third'"
                            " AND previous_hash = 'second' AND successor_nonce = 'nonce'"),
                     1);
    assert_int_equal(pg_sql("SELECT count(*) FROM auth.revoked_sessions"), 0);
}

static void old_refresh_token_ends_the_session(void **state UNUSED)
{
    start_the_session();
    assert_int_equal(refresh("first", "second"), AUTH_ROTATED);
    pass_time("11 seconds");
    assert_int_equal(refresh("first", "third"), AUTH_USED_TWICE);
    assert_int_equal(refresh("second", "third"), 0);
    assert_int_equal(pg_sql("SELECT count(*) FROM auth.revocations WHERE seq = 1"
                            " AND expires_at > now() + interval '15 minutes'"),
                     1);
}

static void guessed_refresh_token_ends_nothing(void **state UNUSED)
{
    start_the_session();
    assert_int_equal(refresh_by("guessed", "first", "second"), 0);
    assert_int_equal(refresh_by("guessed", "guessed", "second"), 0);
    assert_int_equal(refresh("first", "second"), AUTH_ROTATED);
}

static void session_that_nobody_uses_expires(void **state UNUSED)
{
    start_the_session();
    pass_time("59 minutes");
    assert_int_equal(refresh("first", "second"), AUTH_ROTATED);
    pass_time("59 minutes");
    assert_int_equal(refresh("second", "third"), AUTH_ROTATED);
    pass_time("61 minutes");
    assert_int_equal(refresh("third", "fourth"), 0);
}

/* ---- ending ---- */

static int end_with(enum auth_statement statement, int64_t account, const uint8_t *session)
{
    struct db_query *q = db_query(db, &arena, statement);
    struct answer a;
    int rows;

    db_bind_int8(q, account);
    if (session)
        db_bind_uuid(q, session);
    assert_int_equal(answer_run(&a, q), DB_OK);
    rows = db_rows(&a.result);
    answer_free(&a);
    return rows;
}

static void ending_revokes_what_still_has_tokens(void **state UNUSED)
{
    int64_t ada = create("ada", "ada@x", NULL), bob = create("bob", "bob@x", NULL);

    assert_int_equal(start_session(ada, "hash"), 1);
    pass_time("20 minutes"); /* their tokens have expired */
    assert_int_equal(start_session(ada, "hash"), 1);
    assert_int_equal(end_with(AUTH_END_OTHER_SESSIONS, ada, the_session), 3);
    assert_int_equal(pg_sql("SELECT count(*) FROM auth.revoked_sessions"), 1);
    assert_int_equal(pg_sql("SELECT count(*) FROM auth.sessions"), 1);
    assert_int_equal(end_with(AUTH_END_ALL_SESSIONS, bob, NULL), 1);
    assert_int_equal(end_with(AUTH_END_ALL_SESSIONS, bob, NULL), 0);
}

/* Its last access token is as young as its last refresh. */
static void a_refreshed_session_is_revoked_when_it_ends(void **state UNUSED)
{
    start_the_session();
    pass_time("14 minutes");
    assert_int_equal(refresh("first", "second"), AUTH_ROTATED);
    pass_time("14 minutes");
    assert_int_equal(refresh("first", "other"), AUTH_USED_TWICE);
    assert_int_equal(pg_sql("SELECT count(*) FROM auth.revoked_sessions"
                            " WHERE expires_at BETWEEN now() + interval '1 minute'"
                            " AND now() + interval '2 minutes'"),
                     1);
}

static void only_ones_own_session_is_ended(void **state UNUSED)
{
    int64_t bob;

    start_the_session();
    bob = create("bob", "bob@x", NULL);
    assert_int_equal(end_with(AUTH_END_SESSION, bob, the_session), 0);
    assert_int_equal(end_with(AUTH_END_SESSION, 1, the_session), 1);
}

/* Returns the number of rows: 1 when the account has been changed. */
static int change(int64_t account, const uint8_t *session, const char *verified, const char *hash)
{
    struct db_query *q = db_query(db, &arena, AUTH_CHANGE_ACCOUNT);
    struct answer a;
    int rows;

    db_bind_int8(q, account);
    db_bind_uuid(q, session);
    for (int i = 0; i < 4; i++) /* the names */
        db_bind_null(q);
    db_bind_bool(q, true);
    db_bind_text(q, STR("bio"));
    db_bind_bool(q, false);
    db_bind_null(q);
    db_bind_text(q, hash ? str_of(hash) : STR_NULL);
    db_bind_text(q, str_of(verified));
    assert_int_equal(answer_run(&a, q), DB_OK);
    rows = db_rows(&a.result);
    answer_free(&a);
    return rows;
}

/* Both were there when the call began, and may have gone while a password was hashed. */
static void change_needs_its_session_and_the_password_that_was_verified(void **state UNUSED)
{
    int64_t bob;

    start_the_session();
    bob = create("bob", "bob@x", NULL);
    assert_int_equal(change(1, the_session, "the one before", "new"), 0);
    assert_int_equal(change(bob, the_session, "hash", NULL), 0);
    assert_int_equal(end_with(AUTH_LOCK_ACCOUNT, bob, the_session), 0);
    assert_int_equal(pg_sql("SELECT count(*) FROM auth.users WHERE bio IS NULL"), 2);
    assert_int_equal(end_with(AUTH_LOCK_ACCOUNT, 1, the_session), 1);
    assert_int_equal(change(1, the_session, "the one before", NULL), 1);
    assert_int_equal(change(1, the_session, "hash", "new"), 1);
    assert_int_equal(end_with(AUTH_END_SESSION, 1, the_session), 1);
    assert_int_equal(change(1, the_session, "new", "another"), 0);
    assert_int_equal(change(1, the_session, "new", NULL), 0);
    assert_int_equal(end_with(AUTH_LOCK_ACCOUNT, 1, the_session), 0);
}

/* The version before makes rows without the new columns. */
static void sessions_of_the_version_before(void **state UNUSED)
{
    int64_t ada = create("ada", "ada@x", NULL);

    pg_sql("DELETE FROM auth.sessions");
    pg_sql("INSERT INTO auth.sessions (id, user_id)"
           " VALUES ('09090000-0000-0000-0000-000000000000', 1)");
    assert_int_equal(refresh("first", "second"), 0);
    assert_int_equal(end_with(AUTH_END_SESSION, ada, the_session), 1);
    assert_int_equal(pg_sql("SELECT count(*) FROM auth.revocations"
                            " WHERE expires_at > now() + interval '30 days'"),
                     1);
}

static void purge(enum auth_statement statement, int64_t rows)
{
    struct answer a;

    assert_int_equal(answer_run(&a, db_query(db, &arena, statement)), DB_OK);
    assert_int_equal(db_get_int8(&a.result, 0, 0), rows);
    answer_free(&a);
}

static void only_what_has_expired_is_purged(void **state UNUSED)
{
    create("ada", "ada@x", NULL);
    pass_time("2 hours");
    create("bob", "bob@x", NULL);
    purge(AUTH_PURGE_SESSIONS, 1);
    assert_int_equal(pg_sql("SELECT count(*) FROM auth.sessions"), 1);
    pg_sql("INSERT INTO auth.revoked_sessions (session_id, expires_at) VALUES"
           " (gen_random_uuid(), now() - interval '1 second'),"
           " (gen_random_uuid(), now() + interval '1 minute')");
    purge(AUTH_PURGE_REVOCATIONS, 1);
    assert_int_equal(pg_sql("SELECT max(seq) FROM auth.revoked_sessions"), 2);
    assert_int_equal(pg_sql("SELECT count(*) FROM auth.revoked_sessions"), 1);
}

static void much_is_purged_in_batches(void **state UNUSED)
{
    static const int64_t batches[] = {AUTH_PURGE_BATCH, AUTH_PURGE_BATCH, 500, 0};

    create("ada", "ada@x", NULL);
    pg_sql("INSERT INTO auth.sessions (id, user_id, expires_at)"
           " SELECT gen_random_uuid(), (SELECT id FROM auth.users), now() - interval '1 second'"
           " FROM generate_series(1, 2500)");
    pg_sql("INSERT INTO auth.revoked_sessions (session_id, expires_at)"
           " SELECT gen_random_uuid(), now() - interval '1 second' FROM generate_series(1, 2500)");
    for (size_t i = 0; i < ARRAY_SIZE(batches); i++) {
        purge(AUTH_PURGE_SESSIONS, batches[i]);
        purge(AUTH_PURGE_REVOCATIONS, batches[i]);
    }
    assert_int_equal(pg_sql("SELECT count(*) FROM auth.sessions"), 1);
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

static void retire(const char *key_id, int64_t seconds)
{
    struct db_query *q = db_query(db, &arena, AUTH_RETIRE_KEY);
    struct answer a;

    db_bind_text(q, str_of(key_id));
    db_bind_int8(q, seconds);
    assert_int_equal(answer_run(&a, q), DB_OK);
    answer_free(&a);
}

/* A key that signs no more counts until its time is over, and is dropped then. */
static void retired_keys_count_for_a_while(void **state UNUSED)
{
    publish("before");
    publish("mine");
    retire("before", 3600);
    assert_int_equal(pg_sql("SELECT count(*) FROM auth.verification_keys"), 2);
    retire("before", 0);
    assert_int_equal(pg_sql("SELECT count(*) FROM auth.verification_keys"), 1);
    assert_int_equal(pg_sql("SELECT count(*) FROM auth.verification_keys WHERE key_id = 'mine'"),
                     1);
    publish("mine");
    assert_int_equal(pg_sql("SELECT count(*) FROM auth.signing_keys"), 1);
    /* One that signs again, since somebody has put it back, counts without an end. */
    retire("mine", 0);
    publish("mine");
    assert_int_equal(pg_sql("SELECT count(*) FROM auth.verification_keys"), 1);
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

static void other_services_see_three_views_and_no_more(void **state UNUSED)
{
    static const char *const roles[] = {"stoa_posts", "stoa_chat"};
    static const char *const refused[] = {
        "SELECT password_hash FROM auth.users",
        "SELECT id FROM auth.users",
        "SELECT * FROM auth.sessions",
        "SELECT * FROM auth.signing_keys",
        "SELECT * FROM auth.secrets",
        "SELECT * FROM auth.schema_migrations",
        "UPDATE auth.profiles SET username = 'x'",
        "DELETE FROM auth.profiles",
        "INSERT INTO auth.verification_keys VALUES ('mine', '{}')",
        "DELETE FROM auth.verification_keys",
        "SELECT * FROM auth.revoked_sessions",
        "DELETE FROM auth.revocations",
        "INSERT INTO auth.revocations (session_id, expires_at) VALUES (gen_random_uuid(), now())",
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
        PQclear(
            sql_exec(pg, "SELECT seq, session_id, revoked_at, expires_at FROM auth.revocations"));
        PQfinish(pg);
        for (size_t j = 0; j < ARRAY_SIZE(refused); j++)
            expect_refused(roles[i], refused[j]);
    }
}

/* ---- cost ---- */

#define SESSION "'00000000-0000-7000-8000-000000000000'"
#define TOKENS "gen_random_uuid(), 'f', 'r', '192.0.2.7', 'b', 900, 3600, 'k1', 'j'"

static void nothing_grows_with_the_tables(void **state UNUSED)
{
    static const struct {
        enum auth_statement statement;
        const char *arguments;
        long max_pages;
    } cases[] = {
        {AUTH_TAKEN, "'u7', 'u8@x'", 10},
        {AUTH_CREATE_ACCOUNT, TOKENS ", 'new', 'new', 'new@x', 'new@x', 'h'", 80},
        {AUTH_FIND_ACCOUNT, "'u7@x'", 6},
        {AUTH_START_SESSION, TOKENS ", 7, 'h'", 60},
        {AUTH_REFRESH_SESSION, TOKENS ", 'second', 'nonce', 10", 60},
        {AUTH_CURRENT_ACCOUNT, "7", 6},
        {AUTH_BEFORE_CHANGE, "1, " SESSION ", 900, 'u7', 'u8@x'", 20},
        {AUTH_CHANGE_ACCOUNT,
         "1, " SESSION ", 'new', 'new', 'new@x', 'new@x', true, 'b', true, 'i', 'h2', 'h'", 60},
        {AUTH_LIST_SESSIONS, "7, NULL, 20", 10},
        {AUTH_END_SESSION, "1, " SESSION, 30},
        {AUTH_END_OTHER_SESSIONS, "7, " SESSION, 40},
        {AUTH_LOCK_ACCOUNT, "1, " SESSION, 15},
        {AUTH_END_ALL_SESSIONS, "7", 40},
        {AUTH_PURGE_SESSIONS, NULL, 10},
        {AUTH_PURGE_REVOCATIONS, NULL, 10},
        {AUTH_DELETE_ACCOUNT, "7", 100}, /* with nothing elsewhere */
        {AUTH_PUBLISH_KEY, "'k2', '{}'", 20},
        {AUTH_RETIRE_KEY, "'k1', 900", 20},
        {AUTH_PUBLISHED_KEYS, NULL, 10},
    };
    bool seen[AUTH_N_STATEMENTS] = {[AUTH_THROTTLE_SECRET] = true}; /* reads a table of one row */

    pg_sql("INSERT INTO auth.users (username, username_key, email, email_key, password_hash)"
           " SELECT 'u' || i, 'u' || i, 'u' || i || '@x', 'u' || i || '@x', 'h'"
           " FROM generate_series(1, 20000) i");
    pg_sql("INSERT INTO auth.sessions (id, user_id)"
           " SELECT gen_random_uuid(), 1 + i % 20000 FROM generate_series(1, 40000) i");
    pg_sql("INSERT INTO auth.sessions (id, user_id) VALUES (" SESSION ", 1)");
    pg_sql("INSERT INTO auth.revoked_sessions (session_id, expires_at)"
           " SELECT gen_random_uuid(), now() + interval '1 hour' FROM generate_series(1, 40000)");
    publish("k1");
    sql_as_admin("VACUUM ANALYZE");
    for (size_t i = 0; i < ARRAY_SIZE(cases); i++) { /* a row in signing_keys for each instance */
        sql_expect_plan(&auth_statements[cases[i].statement], cases[i].arguments, "signing_keys",
                        cases[i].max_pages);
        seen[cases[i].statement] = true;
    }
    sql_expect_all_seen(seen, auth_statements, AUTH_N_STATEMENTS);
    /* What every service runs by itself: a look for what is new, and a full batch. */
    sql_expect_plan(&revocations_statement, "39999", NULL, 10);
    sql_expect_plan(&revocations_statement, "20000", NULL, 40);
    sql_expect_plan(&service_keys_statement, NULL, "signing_keys", 10);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup(names_and_addresses_are_unique, empty_tables),
        cmocka_unit_test_setup(one_of_many_sign_ups_at_once_wins, empty_tables),
        cmocka_unit_test_setup(account_comes_with_session_and_key_or_not_at_all, empty_tables),
        cmocka_unit_test_setup(session_needs_the_password_that_was_verified, empty_tables),
        cmocka_unit_test_setup(sign_in_waits_for_a_change_of_the_password, empty_tables),
        cmocka_unit_test_setup(sessions_end_with_their_account, empty_tables),
        cmocka_unit_test_setup(refresh_tokens_follow_one_another, empty_tables),
        cmocka_unit_test_setup(old_refresh_token_ends_the_session, empty_tables),
        cmocka_unit_test_setup(guessed_refresh_token_ends_nothing, empty_tables),
        cmocka_unit_test_setup(session_that_nobody_uses_expires, empty_tables),
        cmocka_unit_test_setup(ending_revokes_what_still_has_tokens, empty_tables),
        cmocka_unit_test_setup(a_refreshed_session_is_revoked_when_it_ends, empty_tables),
        cmocka_unit_test_setup(only_ones_own_session_is_ended, empty_tables),
        cmocka_unit_test_setup(change_needs_its_session_and_the_password_that_was_verified,
                               empty_tables),
        cmocka_unit_test_setup(sessions_of_the_version_before, empty_tables),
        cmocka_unit_test_setup(only_what_has_expired_is_purged, empty_tables),
        cmocka_unit_test_setup(much_is_purged_in_batches, empty_tables),
        cmocka_unit_test_setup(key_is_marked_as_used_once_a_day, empty_tables),
        cmocka_unit_test_setup(session_brings_a_dropped_key_back, empty_tables),
        cmocka_unit_test_setup(only_keys_without_living_tokens_are_dropped, empty_tables),
        cmocka_unit_test_setup(retired_keys_count_for_a_while, empty_tables),
        cmocka_unit_test_setup(other_services_see_three_views_and_no_more, empty_tables),
        cmocka_unit_test_setup(nothing_grows_with_the_tables, empty_tables),
    };
    return cmocka_run_group_tests(tests, setup, teardown);
}
