/* The statements of chat on a real Postgres: numbers without holes, one message for all its
 * doubles, pages that begin at a key. */
#include "sql_fixture.h"

#include "../../services/chat/statements.h"

static struct db *db;
static struct arena arena;

enum { ADA = 1, BOB = 2 };

static int setup(void **state UNUSED)
{
    if (sql_group_setup("chat") != 0)
        return -1;
    sql_as_admin("INSERT INTO auth.users (username, username_key, email, email_key, password_hash)"
                 " SELECT n, lower(n), n, n, '' FROM unnest(ARRAY['Ada', 'Bob']) n");
    arena_init(&arena, 0);
    db = pg_open_db(&(struct db_options){.connections = 4}, chat_statements, CHAT_STATEMENTS);
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
    pg_sql("TRUNCATE chat.rooms, chat.messages, chat.forgotten_accounts RESTART IDENTITY");
    return 0;
}

static void create_room(int64_t creator, int rows)
{
    struct db_query *q = db_query(db, &arena, CREATE_ROOM);
    struct answer a;

    db_bind_int8(q, creator);
    db_bind_text(q, STR("Room"));
    db_bind_text(q, STR(""));
    assert_int_equal(answer_run(&a, q), DB_OK);
    assert_int_equal(db_rows(&a.result), rows);
    answer_free(&a);
}

static void submit_send(struct answer *a, int64_t room, int64_t author, const char *text,
                        const char *client_id)
{
    struct db_query *q = db_query(db, &arena, SEND_MESSAGE);

    db_bind_int8(q, room);
    db_bind_int8(q, author);
    db_bind_text(q, str_of(text));
    db_bind_text(q, str_of(client_id));
    answer_submit(a, q, SECONDS(30));
}

static void expect_sent(int64_t author, const char *text, const char *client_id, int64_t seq,
                        const char *stored)
{
    struct answer a;

    submit_send(&a, 1, author, text, client_id);
    assert_int_equal(answer_wait(&a), DB_OK);
    assert_int_equal(db_get_int8(&a.result, 0, MESSAGE_SEQ), seq);
    assert_true(str_eq(db_get_text(&a.result, 0, MESSAGE_TEXT), str_of(stored)));
    answer_free(&a);
}

static void messages_are_numbered_in_their_room(void **state UNUSED)
{
    create_room(ADA, 1);
    create_room(BOB, 1);
    expect_sent(ADA, "one", NULL, 1, "one");
    expect_sent(BOB, "two", NULL, 2, "two");
    expect_sent(ADA, "three", "c", 3, "three");
    assert_int_equal(pg_sql("SELECT last_seq FROM chat.rooms WHERE id = 1"), 3);
    assert_int_equal(pg_sql("SELECT last_seq FROM chat.rooms WHERE id = 2"), 0);
}

static void a_double_gets_the_first_answer(void **state UNUSED)
{
    create_room(ADA, 1);
    expect_sent(ADA, "first", "c1", 1, "first");
    expect_sent(ADA, "again", "c1", 1, "first");
    expect_sent(BOB, "another's", "c1", 2, "another's");
    expect_sent(ADA, "next", "c2", 3, "next");
    assert_int_equal(pg_sql("SELECT count(*) FROM chat.messages"), 3);
}

static void without_room_or_account_nothing_is_stored(void **state UNUSED)
{
    struct answer a;

    create_room(999, 0);
    create_room(ADA, 1);
    submit_send(&a, 99, ADA, "no room", NULL);
    assert_int_equal(answer_wait(&a), DB_OK);
    assert_int_equal(db_rows(&a.result), 1);
    assert_true(db_is_null(&a.result, 0, MESSAGE_SEQ));
    answer_free(&a);
    submit_send(&a, 1, 999, "no account", NULL);
    assert_int_equal(answer_wait(&a), DB_OK);
    assert_int_equal(db_rows(&a.result), 0);
    answer_free(&a);
    assert_int_equal(pg_sql("SELECT count(*) FROM chat.messages"), 0);
    assert_int_equal(pg_sql("SELECT last_seq FROM chat.rooms"), 0);
}

/* Doubles sent at once: some meet the first as a violation, and then nothing of them remains. */
static void numbers_have_no_holes_after_a_race(void **state UNUSED)
{
    enum { N = 300, DOUBLES = 6 };
    static struct answer answers[N];

    create_room(ADA, 1);
    for (int i = 0; i < N; i++) {
        struct str client_id = arena_printf(&arena, "c%d", i / DOUBLES);
        submit_send(&answers[i], 1, ADA, "text", client_id.p);
    }
    for (int i = 0; i < N; i++) {
        enum db_error error = answer_wait(&answers[i]);
        assert_true(error == DB_OK || error == DB_UNIQUE);
        if (error == DB_UNIQUE)
            assert_string_equal(answers[i].constraint, "messages_client_id_key");
        answer_free(&answers[i]);
    }
    assert_int_equal(pg_sql("SELECT count(*) FROM chat.messages"), N / DOUBLES);
    assert_int_equal(pg_sql("SELECT max(seq) FROM chat.messages"), N / DOUBLES);
    assert_int_equal(pg_sql("SELECT last_seq FROM chat.rooms"), N / DOUBLES);
    /* Time runs as the numbers do. */
    assert_int_equal(pg_sql("SELECT count(*) FROM chat.messages a JOIN chat.messages b"
                            " ON b.seq = a.seq + 1 WHERE b.created_at < a.created_at"),
                     0);
}

/* ---- lists ---- */

static void expect_messages(enum chat_statement statement, int64_t after, int64_t before, int limit,
                            const char *want)
{
    struct db_query *q = db_query(db, &arena, statement);
    char seqs[128] = "";
    struct answer a;

    db_bind_int8(q, 1);
    db_bind_int8(q, ADA);
    db_bind_int8(q, after);
    db_bind_int8(q, before);
    db_bind_int4(q, limit);
    assert_int_equal(answer_run(&a, q), DB_OK);
    for (int i = 0; i < db_rows(&a.result); i++) {
        assert_int_equal(db_get_int8(&a.result, i, MESSAGES_LAST_SEQ), 6);
        if (db_is_null(&a.result, i, MESSAGE_SEQ))
            continue;
        int64_t seq = db_get_int8(&a.result, i, MESSAGE_SEQ);
        snprintf(seqs + strlen(seqs), sizeof(seqs) - strlen(seqs), "%d ", (int)seq);
        /* Odd ones are Ada's; another's client_id is not for her. */
        assert_int_equal(db_is_null(&a.result, i, MESSAGE_CLIENT_ID), seq % 2 == 0);
    }
    assert_string_equal(seqs, want);
    answer_free(&a);
}

static void pages_go_both_ways(void **state UNUSED)
{
    create_room(ADA, 1);
    for (int i = 1; i <= 6; i++)
        expect_sent(i % 2 ? ADA : BOB, "text", arena_printf(&arena, "c%d", i).p, i, "text");
    expect_messages(LIST_MESSAGES_BEFORE, 0, INT64_MAX, 50, "1 2 3 4 5 6 ");
    expect_messages(LIST_MESSAGES_BEFORE, 0, INT64_MAX, 2, "5 6 ");
    expect_messages(LIST_MESSAGES_BEFORE, 0, 5, 2, "3 4 ");
    expect_messages(LIST_MESSAGES_BEFORE, 0, 1, 2, "");
    expect_messages(LIST_MESSAGES_AFTER, 0, INT64_MAX, 2, "1 2 ");
    expect_messages(LIST_MESSAGES_AFTER, 4, INT64_MAX, 50, "5 6 ");
    expect_messages(LIST_MESSAGES_AFTER, 6, INT64_MAX, 50, "");
    expect_messages(LIST_MESSAGES_AFTER, 1, 4, 50, "2 3 ");
    expect_messages(LIST_MESSAGES_AFTER, INT64_MAX, INT64_MAX, 50, "");
}

/* ---- accounts that are deleted ---- */

#define OF_ADA                                                        \
    "SELECT (SELECT count(*) FROM chat.messages WHERE author_id = 1)" \
    " + (SELECT count(*) FROM chat.rooms WHERE created_by = 1)"       \
    " + (SELECT count(*) FROM chat.messages WHERE text LIKE 'hers%')" \
    " + (SELECT count(*) FROM chat.messages WHERE client_id LIKE 'hers%')"

/* The message's author and text as a reader gets them. */
static void expect_message(int64_t seq, const char *author, const char *text)
{
    struct db_query *q = db_query(db, &arena, LIST_MESSAGES_AFTER);
    struct answer a;

    db_bind_int8(q, 1);
    db_bind_int8(q, BOB);
    db_bind_int8(q, seq - 1);
    db_bind_int8(q, INT64_MAX);
    db_bind_int4(q, 1);
    assert_int_equal(answer_run(&a, q), DB_OK);
    assert_int_equal(db_get_int8(&a.result, 0, MESSAGE_SEQ), seq);
    assert_true(str_eq(db_get_text(&a.result, 0, MESSAGE_TEXT), str_of(text)));
    assert_int_equal(db_is_null(&a.result, 0, MESSAGE_AUTHOR_USERNAME), !author);
    if (author)
        assert_true(str_eq(db_get_text(&a.result, 0, MESSAGE_AUTHOR_USERNAME), str_of(author)));
    answer_free(&a);
}

static void a_forgotten_account_leaves_its_places(void **state UNUSED)
{
    create_room(ADA, 1);
    create_room(BOB, 1);
    expect_sent(ADA, "hers 1", "hers", 1, "hers 1");
    expect_sent(BOB, "his", "his", 2, "his");
    expect_sent(ADA, "hers 2", NULL, 3, "hers 2");
    sql_as("auth", "SELECT chat.forget_account(1)");
    assert_int_equal(pg_sql(OF_ADA), 0);
    assert_int_equal(pg_sql("SELECT count(*) FROM chat.rooms"), 2);
    expect_message(1, NULL, "");
    expect_message(2, "Bob", "his");
    expect_message(3, NULL, "");
    assert_int_equal(pg_sql("SELECT count(*) FROM chat.messages WHERE client_id = 'his'"), 1);
    sql_as("auth", "SELECT chat.forget_account(1)"); /* again, and one that never wrote */
    sql_as("auth", "SELECT chat.forget_account(99)");
    expect_sent(BOB, "next", NULL, 4, "next");
}

/* Ada's account is still there for a statement on its way. When it is gone, nothing of the message
 * is shown, and some minutes later it is erased. */
static void what_comes_late_is_not_shown_and_erased_later(void **state UNUSED)
{
    static const int64_t purged[] = {1, 0};

    create_room(BOB, 1);
    sql_as("auth", "SELECT chat.forget_account(1)");
    expect_sent(ADA, "hers, late", "hers", 1, "hers, late");
    pg_sql("UPDATE chat.messages SET author_id = 99"); /* whose account is gone */
    expect_message(1, NULL, "");
    pg_sql("UPDATE chat.messages SET author_id = 1");
    pg_sql("UPDATE chat.forgotten_accounts SET forgotten_at = now() - interval '6 minutes'");
    sql_as("auth", "SELECT chat.forget_account(2)"); /* not yet due */
    for (size_t i = 0; i < ARRAY_SIZE(purged); i++) {
        struct answer a;

        assert_int_equal(answer_run(&a, db_query(db, &arena, PURGE_ACCOUNT)), DB_OK);
        assert_int_equal(db_get_int8(&a.result, 0, 0), purged[i]);
        answer_free(&a);
    }
    assert_int_equal(pg_sql(OF_ADA), 0);
    assert_int_equal(pg_sql("SELECT account_id FROM chat.forgotten_accounts"), 2);
}

/* Others can neither forget nor erase, and auth can do nothing else here. */
static void only_auth_may_forget(void **state UNUSED)
{
    assert_int_equal(
        pg_sql("SELECT count(*) FROM unnest(ARRAY['stoa_auth', 'stoa_posts']) role,"
               " unnest(ARRAY['chat.erase_account(bigint)', 'chat.forget_account(bigint)']) f"
               " WHERE has_function_privilege(role, f, 'EXECUTE')"),
        1);
    assert_int_equal(pg_sql("SELECT has_function_privilege('stoa_auth',"
                            " 'chat.forget_account(bigint)', 'EXECUTE')::int"),
                     1);
    assert_int_equal(pg_sql("SELECT has_schema_privilege('stoa_posts', 'chat', 'USAGE')::int"), 0);
    assert_int_equal(
        pg_sql("SELECT count(*) FROM pg_class, unnest(ARRAY['stoa_auth', 'stoa_posts']) role"
               " WHERE relnamespace = 'chat'::regnamespace AND relkind = 'r'"
               " AND has_table_privilege(role, oid, 'SELECT, INSERT, UPDATE, DELETE, TRUNCATE')"),
        0);
}

/* ---- plans ---- */

static void nothing_grows_with_the_tables(void **state UNUSED)
{
    static const struct {
        enum chat_statement statement;
        const char *arguments;
        long max_pages;
    } cases[] = {
        {CREATE_ROOM, "1, 'name', ''", 30},
        {GET_ROOM, "77", 10},
        {LIST_ROOMS, "5000, 51", 30},
        {SEND_MESSAGE, "1, 1, 'text', NULL", 60},
        {SEND_MESSAGE, "1, 1, 'text', 'c77'", 60},
        {LIST_MESSAGES_AFTER, "1, 1, 20000, 9223372036854775807, 50", 240},
        {LIST_MESSAGES_BEFORE, "1, 1, 0, 20000, 50", 240},
        {LIST_MESSAGES_BEFORE, "1, 1, 0, 9223372036854775807, 50", 240},
        {PURGE_ACCOUNT, NULL, 600}, /* an account with 2 rooms and 20 messages */
    };
    bool seen[CHAT_STATEMENTS] = {false};

    pg_sql("INSERT INTO chat.rooms (name, description, created_by, last_seq)"
           " SELECT 'Room ' || i, '', 1 + i % 5000, 50000 FROM generate_series(1, 10000) i");
    pg_sql("INSERT INTO chat.messages SELECT room, seq, 1 + seq % 5000, 'c' || seq, 'text ' || "
           "seq, now()"
           " FROM generate_series(1, 2) room, generate_series(1, 50000) seq");
    sql_as_admin("INSERT INTO auth.users (username, username_key, email, email_key, password_hash)"
                 " SELECT 'u' || i, 'u' || i, i, i, '' FROM generate_series(3, 5000) i");
    pg_sql("INSERT INTO chat.forgotten_accounts VALUES (4321, now() - interval '1 hour')");
    sql_as_admin("VACUUM ANALYZE");
    for (size_t i = 0; i < ARRAY_SIZE(cases); i++) {
        sql_expect_plan(&chat_statements[cases[i].statement], cases[i].arguments,
                        "forgotten_accounts", cases[i].max_pages);
        seen[cases[i].statement] = true;
    }
    sql_expect_all_seen(seen, chat_statements, CHAT_STATEMENTS);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup(messages_are_numbered_in_their_room, empty_tables),
        cmocka_unit_test_setup(a_double_gets_the_first_answer, empty_tables),
        cmocka_unit_test_setup(without_room_or_account_nothing_is_stored, empty_tables),
        cmocka_unit_test_setup(numbers_have_no_holes_after_a_race, empty_tables),
        cmocka_unit_test_setup(pages_go_both_ways, empty_tables),
        cmocka_unit_test_setup(a_forgotten_account_leaves_its_places, empty_tables),
        cmocka_unit_test_setup(what_comes_late_is_not_shown_and_erased_later, empty_tables),
        cmocka_unit_test_setup(only_auth_may_forget, empty_tables),
        cmocka_unit_test_setup(nothing_grows_with_the_tables, empty_tables),
    };
    return cmocka_run_group_tests(tests, setup, teardown);
}
