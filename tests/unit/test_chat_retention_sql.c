/* The statements of chat on a real Postgres: what is deleted, forgotten or kept no longer is
 * nowhere, whoever writes meanwhile. */
#include "chat_sql_fixture.h"

/* ---- what goes ---- */

static void a_deleted_room_is_removed_bit_by_bit(void **state UNUSED)
{
    int64_t room = create_with_members(PUBLIC), kept = create_with_members(PUBLIC);
    struct answer a;
    int64_t n = 1;
    int batches = 0;

    pg_sql("WITH s AS (INSERT INTO chat.messages (room_id, seq, author_id, text, created_at)"
           "   SELECT 1, i, 1, 'text', clock_timestamp() FROM generate_series(4, 2503) i"
           "   RETURNING 1)"
           " UPDATE chat.rooms SET last_seq = last_seq + (SELECT count(*) FROM s) WHERE id = 1");
    change("ok", ADD_REACTION, I(ADA), room, I(4), "+1", NONE);
    send(kept, ADA, "stays");
    change("ok", ADD_REACTION, I(ADA), kept, I(4), "+1", NONE);
    change("ok", DELETE_ROOM, I(ADA), room);
    for (; n > 0; batches++) {
        run(&a, PURGE_ROOM);
        n = db_get_int8(&a.result, 0, 0);
        assert_true(n <= CHAT_PURGE_BATCH);
        answer_free(&a);
    }
    assert_true(batches > 6);
    assert_int_equal(pg_sql("SELECT count(*) FROM chat.rooms"), 1);
    assert_int_equal(pg_sql("SELECT count(*) FROM chat.messages"), 1);
    assert_int_equal(pg_sql("SELECT count(*) FROM chat.events"), 4);
    assert_int_equal(pg_sql("SELECT count(*) FROM chat.members"), 3);
    assert_int_equal(pg_sql("SELECT count(*) FROM chat.reactions"), 1);
    assert_int_equal(pg_sql("SELECT count(*) FROM chat.reaction_counts"), 1);
}

static void a_forgotten_account_leaves_no_word(void **state UNUSED)
{
    int64_t room = create_with_members(PUBLIC), alone = create(ADA, PRIVATE);

    expect_sent(room, ADA, "mine", "c1", 4, "mine");
    send(room, CLEO, "Cleo's");                                 /* 5 */
    change("ok", ADD_REACTION, I(ADA), room, I(5), "a", "r1");  /* 6 */
    change("ok", ADD_REACTION, I(BOB), room, I(5), "a", NONE);  /* 7 */
    change("ok", ADD_REACTION, I(ADA), room, I(5), "b", NONE);  /* 8 */
    change("ok", ADD_REACTION, I(CLEO), room, I(4), "c", NONE); /* 9 */
    send(room, ADA, "mine too");                                /* 10 */
    change("ok", OPEN_DIRECT_ROOM, I(ADA), "bob");              /* room 3 */
    change("ok", OPEN_DIRECT_ROOM, I(DAN), "cleo");             /* room 4 */
    send(3, ADA, "to Bob");
    sql_as("auth", "SELECT chat.forget_account(1)");
    /* Two messages, two reactions, the membership, and Bob is the owner now. */
    assert_int_equal(pg_sql("SELECT last_seq FROM chat.rooms WHERE id = 1"), 16);
    assert_int_equal(pg_sql("SELECT count(*) FROM chat.messages WHERE author_id = 1"), 0);
    assert_int_equal(pg_sql("SELECT count(*) FROM chat.messages WHERE author_id IS NULL"
                            " AND text = '' AND deleted_at IS NOT NULL AND client_id IS NULL"),
                     3);
    assert_int_equal(pg_sql("SELECT count(*) FROM chat.reactions"), 1); /* Bob's */
    assert_int_equal(pg_sql("SELECT count(*) FROM chat.events WHERE client_id IS NOT NULL"), 0);
    assert_int_equal(pg_sql("SELECT count(*) FROM chat.members WHERE account_id = 1"), 0);
    assert_int_equal(pg_sql("SELECT role FROM chat.members WHERE room_id = 1 AND account_id = 2"),
                     OWNER);
    assert_int_equal(pg_sql("SELECT count(*) FROM chat.rooms WHERE deleted_at IS NOT NULL"), 1);
    change("no_room", SEND_MESSAGE, I(ADA), alone, "gone", NO_NUMBER, NONE);
    assert_int_equal(pg_sql("SELECT count(*) FROM chat.members WHERE room_id = 3"), 1);
    expect_whole();
    sql_as("auth", "SELECT chat.forget_account(1)"); /* again, and one that never was */
    sql_as("auth", "SELECT chat.forget_account(99)");
    expect_whole();
    assert_int_equal(pg_sql("SELECT last_seq FROM chat.rooms WHERE id = 1"), 16);
}

/* How many batches there were of what is left of accounts. */
static int purge_accounts(void)
{
    struct answer a;

    for (int batches = 0;; batches++) {
        run(&a, PURGE_ACCOUNT);
        bool done = db_get_int8(&a.result, 0, 0) == 0;
        answer_free(&a);
        if (done)
            return batches;
    }
}

/* What a statement on its way leaves behind goes some minutes later. */
static void what_comes_late_is_erased_too(void **state UNUSED)
{
    int64_t room = create_with_members(PUBLIC);

    sql_as("auth", "SELECT chat.forget_account(3)");
    assert_int_equal(purge_accounts(), 1);  /* finds nothing */
    change("ok", JOIN_ROOM, I(CLEO), room); /* her account is still seen */
    send(room, CLEO, "late");
    assert_int_equal(purge_accounts(), 0); /* not yet due */
    pg_sql("UPDATE chat.forgotten_accounts SET forgotten_at = now() - interval '6 minutes'");
    assert_int_equal(purge_accounts(), 2); /* erases, and finds nothing */
    assert_int_equal(pg_sql("SELECT count(*) FROM chat.messages WHERE text <> ''"), 0);
    assert_int_equal(pg_sql("SELECT count(*) FROM chat.members WHERE account_id = 3"), 0);
    assert_int_equal(pg_sql("SELECT count(*) FROM chat.forgotten_accounts"), 0);
}

/* As the version before does it. */
static void an_account_is_erased_at_once_as_well(void **state UNUSED)
{
    int64_t room = create_with_members(PUBLIC);

    for (int i = 0; i < 3; i++)
        send(room, ADA, "mine");
    pg_sql("SELECT chat.erase_account(1)");
    assert_int_equal(pg_sql("SELECT count(*) FROM chat.messages WHERE text <> ''"), 0);
    assert_int_equal(pg_sql("SELECT last_seq FROM chat.rooms"), 6 + 3 + 2);
}

/* More of each kind than goes at once: Ada's messages in room 1, each with a reaction and the
 * eldest with very many; her reactions in room 2; rooms that she made and was removed from. */
static void a_large_account_goes_in_pieces(void **state UNUSED)
{
    static const char messages[] = "SELECT count(*) FROM chat.messages WHERE author_id = 1",
                      reactions[] = "SELECT count(*) FROM chat.reactions WHERE account_id = 1",
                      removed[] = "SELECT count(*) FROM chat.members WHERE account_id = 1",
                      known[] = "SELECT count(*) FROM chat.events WHERE client_id IS NOT NULL",
                      made[] = "SELECT count(*) FROM chat.rooms WHERE client_id IS NOT NULL";
    static const struct {
        int messages, others;
    } left[] = {{800, 700}, {300, 200}, {1, 0}, {0, 0}};

    create_with_members(PUBLIC);
    create_with_members(PUBLIC);
    pg_sql("INSERT INTO chat.messages (room_id, seq, author_id, text, created_at, reaction_kinds)"
           " SELECT r.id, i, r.id, 'text', clock_timestamp(), 1"
           " FROM chat.rooms r, generate_series(4, 1303) i WHERE r.id = 1 OR i <= 1203");
    pg_sql("INSERT INTO chat.reactions SELECT room_id, seq, CASE room_id WHEN 1 THEN 1 + account"
           " ELSE 1 END, '+1' FROM chat.messages, generate_series(1, CASE WHEN room_id = 1 AND"
           " seq = 4 THEN 3000 ELSE 1 END) account");
    pg_sql("INSERT INTO chat.reaction_counts SELECT room_id, seq, emoji, count(*), seq"
           " FROM chat.reactions GROUP BY 1, 2, 3");
    pg_sql("UPDATE chat.rooms SET last_seq = CASE id WHEN 1 THEN 1303 ELSE 1203 END");
    /* She has left this one, but is known by what she did. */
    pg_sql(
        "INSERT INTO chat.events (room_id, seq, number, kind, actor_id, created_at, client_id)"
        " SELECT 2, 1203 + i, 3 + i, 10, 1, clock_timestamp(), i FROM generate_series(1, 1200) i");
    pg_sql("UPDATE chat.rooms SET last_seq = 2403, event_count = 1203 WHERE id = 2");
    pg_sql("WITH made AS (INSERT INTO chat.rooms (name, description, created_by, member_count,"
           "   client_id) SELECT '', '', 1, 1, i FROM generate_series(1, 1200) i RETURNING id)"
           " INSERT INTO chat.members (room_id, account_id, role)"
           " SELECT id, account, CASE account WHEN 1 THEN 0 ELSE 3 END"
           " FROM made, generate_series(1, 2) account");
    expect_whole();

    sql_as("auth", "SELECT chat.forget_account(1)");
    assert_int_equal(pg_sql("SELECT count(*) FROM chat.members WHERE account_id = 1 AND role > 0"),
                     0);
    for (size_t i = 0; i < ARRAY_SIZE(left); i++) {
        assert_int_equal(pg_sql(messages), left[i].messages);
        assert_int_equal(pg_sql(reactions), left[i].others);
        assert_int_equal(pg_sql(removed), left[i].others);
        assert_int_equal(pg_sql(known), left[i].others);
        assert_int_equal(pg_sql(made), left[i].others);
        expect_whole();
        assert_int_equal(pg_sql("SELECT chat.purge_account(500)"), 1);
    }
    assert_int_equal(pg_sql("SELECT count(*) FROM chat.reactions"), 0);
    /* Each message was deleted once; then she left. */
    assert_int_equal(pg_sql("SELECT last_seq FROM chat.rooms WHERE id = 1"), 1303 + 1300 + 2);
    assert_int_equal(pg_sql("SELECT last_seq FROM chat.rooms WHERE id = 2"), 2403 + 1200 + 2);
    assert_int_equal(purge_accounts(), 0);
    pg_sql("UPDATE chat.forgotten_accounts SET forgotten_at = now() - interval '6 minutes'");
    assert_int_equal(purge_accounts(), 1);
    assert_int_equal(pg_sql("SELECT count(*) FROM chat.forgotten_accounts"), 0);
}

/* What it wrote, for as long as it may take, is deleted for whoever reads. */
static void what_is_left_of_an_account_is_not_shown(void **state UNUSED)
{
    int64_t room = create_with_members(PUBLIC);
    struct answer a;

    pg_sql("INSERT INTO chat.messages (room_id, seq, author_id, text, created_at, reaction_kinds)"
           " VALUES (1, 4, 99, 'needle', clock_timestamp(), 1)");
    pg_sql("INSERT INTO chat.reactions VALUES (1, 4, 2, '+1')");
    pg_sql("INSERT INTO chat.reaction_counts VALUES (1, 4, '+1', 1, 4)");
    pg_sql("UPDATE chat.rooms SET last_seq = 4");
    for (int i = 0; i < 3; i++) {
        if (i == 0)
            run(&a, LIST_MESSAGES_AFTER, I(BOB), room, I(3), I(INT64_MAX), I(10));
        else if (i == 1)
            run(&a, LIST_EVENTS, I(BOB), room, I(3), I(10));
        else
            run(&a, SEARCH_MESSAGES, I(BOB), room, "needle", I(INT64_MAX), I(INT64_MAX),
                I(INT64_MAX), I(10));
        assert_int_equal(db_rows(&a.result), 1);
        assert_int_equal(db_get_int8(&a.result, 0, MESSAGE_SEQ), 4);
        assert_int_equal(db_get_text(&a.result, 0, MESSAGE_TEXT).n, 0);
        assert_false(db_is_null(&a.result, 0, MESSAGE_DELETED_AT));
        assert_true(db_is_null(&a.result, 0, MESSAGE_REACTIONS));
        assert_true(db_is_null(&a.result, 0, MESSAGE_AUTHOR_USERNAME));
        answer_free(&a);
    }
}

/* Accounts that are deleted while everybody writes: nobody waits in a circle. */
static void accounts_go_while_others_write(void **state UNUSED)
{
    enum { N = 200 };
    static struct answer answers[N];

    for (int r = 0; r < 5; r++)
        create_with_members(PUBLIC);
    for (int i = 0; i < N; i++) {
        if (i % 4)
            submit(&answers[i], SEND_MESSAGE, I(1 + i % 3), I(1 + i % 5), "text", NO_NUMBER, NONE);
        else
            submit(&answers[i], JOIN_ROOM, I(3 + i % 8 / 4), I(1 + i % 5));
        if (i == N / 2)
            sql_as("auth", "SELECT chat.forget_account(3), chat.forget_account(2)");
    }
    for (int i = 0; i < N; i++) {
        assert_int_equal(answer_wait(&answers[i]), DB_OK);
        answer_free(&answers[i]);
    }
    sql_as("auth", "SELECT chat.forget_account(3), chat.forget_account(2)");
    assert_int_equal(pg_sql("SELECT count(*) FROM chat.messages WHERE author_id IN (2, 3)"
                            " AND text <> ''"),
                     0);
}

static bool refused(const char *role, const char *sql)
{
    char conninfo[sizeof(sql_admin) + 32];
    PGconn *pg;
    PGresult *res;
    bool denied;

    snprintf(conninfo, sizeof(conninfo), "%s user=stoa_%s", sql_admin, role);
    pg = PQconnectdb(conninfo);
    res = PQexec(pg, sql);
    denied = PQresultErrorField(res, PG_DIAG_SQLSTATE) &&
             strcmp(PQresultErrorField(res, PG_DIAG_SQLSTATE), "42501") == 0;
    PQclear(res);
    PQfinish(pg);
    return denied;
}

static void only_auth_may_forget(void **state UNUSED)
{
    assert_true(refused("posts", "SELECT chat.forget_account(1)"));
    assert_true(refused("auth", "SELECT chat.erase_account(1)"));
    assert_true(refused("auth", "SELECT chat.erase_some(1, 1)"));
    assert_true(refused("auth", "SELECT chat.purge_account(1)"));
    assert_true(refused("auth", "SELECT * FROM chat.messages"));
    assert_true(refused("auth", "SELECT chat.send_message(1, 1, 'x', NULL, NULL)"));
}

/* ---- what is kept no longer ---- */

/* What happened up to this number did so many hours earlier; then the room may be due. */
static void grow_old(int64_t room, int64_t last, int hours)
{
    static const char *const tables[] = {"messages", "events"};

    for (size_t i = 0; i < ARRAY_SIZE(tables); i++)
        pg_sql(arena_printf(&arena,
                            "UPDATE chat.%s SET created_at = created_at - interval '%d hours'"
                            " WHERE room_id = %d AND seq <= %d",
                            tables[i], hours, (int)room, (int)last)
                   .p);
    pg_sql("UPDATE chat.rooms SET retention_due = now() WHERE retention_due IS NOT NULL");
}

static void keep(int64_t room, int64_t days, int64_t messages)
{
    change("ok", UPDATE_ROOM, I(ADA), room, NONE, NONE, days, messages);
}

static void expect_first(int64_t room, int64_t want)
{
    struct answer a;

    run(&a, GET_ROOM, I(ADA), room);
    assert_int_equal(db_get_int8(&a.result, 0, ROOM_FIRST_SEQ), want);
    answer_free(&a);
    expect_whole();
}

static void what_is_old_goes(void **state UNUSED)
{
    int64_t room = create_with_members(PUBLIC);
    struct answer a;

    expect_sent(room, ADA, "an old needle", "c4", 4, "an old needle");
    send(room, BOB, "another old needle");                          /* 5 */
    change("ok", ADD_REACTION, I(CLEO), room, I(5), "+1", NONE);    /* 6 */
    send(room, BOB, "a new needle");                                /* 7 */
    change("ok", EDIT_MESSAGE, I(BOB), room, I(5), "late", NONE);   /* 8 */
    change("ok", ADD_REACTION, I(ADA), room, I(5), "+1", NONE);     /* 9 */
    change("ok", ADD_REACTION, I(ADA), room, I(7), "+1", NONE);     /* 10 */
    change("ok", SEND_MESSAGE, I(ADA), room, "answer", I(5), NONE); /* 11 */
    keep(room, 2, 0);                                               /* 12 */
    assert_int_equal(unread(CLEO), 4);
    assert_int_equal(sweep(0, 0), 1);
    expect_first(room, 1); /* nothing is old */
    grow_old(room, 6, 47);
    assert_int_equal(sweep(0, 0), 1);
    expect_first(room, 1);
    grow_old(room, 6, 2);
    assert_int_equal(sweep(0, 0), 1);
    expect_first(room, 7);
    assert_int_equal(sweep(0, 0), 0); /* not due again */
    assert_int_equal(pg_sql("SELECT events_before FROM chat.rooms"), 4);

    /* Lists, search, unread messages, marks. */
    run(&a, LIST_MESSAGES_AFTER, I(ADA), room, I(0), I(INT64_MAX), I(50));
    assert_int_equal(db_rows(&a.result), 2);
    assert_int_equal(db_get_int8(&a.result, 0, MESSAGE_SEQ), 7);
    assert_int_equal(db_get_int8(&a.result, 0, MESSAGES_FIRST_SEQ), 7);
    assert_int_equal(db_get_int8(&a.result, 1, MESSAGE_REPLY_TO), 5);
    answer_free(&a);
    run(&a, LIST_EVENTS, I(ADA), room, I(2), I(50));
    assert_int_equal(db_rows(&a.result), 6);
    assert_int_equal(db_get_int8(&a.result, 0, EVENT_SEQ), 7);
    assert_int_equal(db_get_int8(&a.result, 0, MESSAGES_FIRST_SEQ), 7);
    assert_true(db_is_null(&a.result, 1, MESSAGE_SEQ)); /* edited, and gone */
    assert_int_equal(db_get_int8(&a.result, 1, EVENT_MESSAGE_SEQ), 5);
    assert_int_equal(db_get_int4(&a.result, 2, EVENT_REACTION_COUNT), 0);
    assert_false(db_get_bool(&a.result, 2, EVENT_REACTION_MINE));
    assert_int_equal(db_get_int4(&a.result, 3, EVENT_REACTION_COUNT), 1);
    answer_free(&a);
    expect_found(ADA, NO_NUMBER, "needle", "1/7 ");
    assert_int_equal(unread(CLEO), 2);
    mark(CLEO, 5, 5, 2);
    mark(CLEO, 7, 7, 1);

    /* What is gone cannot be answered, changed or reacted to. */
    change("no_reply", SEND_MESSAGE, I(ADA), room, "too late", I(5), NONE);
    change("no_message", EDIT_MESSAGE, I(ADA), room, I(4), "too late", NONE);
    change("no_message", DELETE_MESSAGE, I(ADA), room, I(4), NONE);
    change("no_message", ADD_REACTION, I(ADA), room, I(5), "+1", NONE);
    change("no_message", REMOVE_REACTION, I(CLEO), room, I(5), "+1", NONE);
    expect_sent(room, ADA, "its double is gone too", "c4", 13, "its double is gone too");

    /* All of it: numbers go on. */
    grow_old(room, 13, 96);
    sweep(0, 0);
    expect_first(room, 14);
    assert_int_equal(unread(CLEO), 0);
    send(room, BOB, "the next"); /* 14 */
    assert_int_equal(unread(CLEO), 1);
    run(&a, LIST_EVENTS, I(ADA), room, I(13), I(50));
    assert_int_equal(db_get_int8(&a.result, 0, EVENT_SEQ), 14);
    answer_free(&a);
    expect_whole();
    sql_as("auth", "SELECT chat.forget_account(2)");
}

static void as_many_stay_as_are_kept(void **state UNUSED)
{
    int64_t room = create_with_members(PRIVATE);

    for (int i = 0; i < 10; i++) { /* messages 4, 6 ... 22, an event after each */
        send(room, ADA, "text");
        change("ok", ADD_REACTION, I(BOB), room, I(4 + 2 * i), "+1", NONE);
    }
    keep(room, 0, 4); /* 24 */
    sweep(0, 0);
    expect_first(room, 1); /* all of it is younger than a day */
    grow_old(room, 12, 25);
    sweep(0, 0);
    expect_first(room, 13);
    grow_old(room, 24, 25);
    sweep(0, 0);
    expect_first(room, 15); /* an event, then 16, 18, 20, 22 */
    assert_int_equal(pg_sql("SELECT count(*) FROM chat.messages"), 4);
    for (int64_t n = 3; n >= 1; n--) {
        keep(room, 0, n);
        grow_old(room, 99, 25);
        sweep(0, 0);
        assert_int_equal(pg_sql("SELECT count(*) FROM chat.messages"), n);
        expect_whole();
    }
    keep(room, 0, 0);
    sweep(0, 0); /* no limit: it is not looked at any more */
    assert_int_equal(pg_sql("SELECT count(*) FROM chat.rooms WHERE retention_due IS NULL"), 1);
    /* Either limit suffices. */
    keep(room, 3, 100);
    grow_old(room, 99, 99);
    sweep(0, 0);
    assert_int_equal(pg_sql("SELECT count(*) FROM chat.messages"), 0);
    expect_whole();
}

/* A batch has a bounded number of rows, and rooms take turns. */
static void a_long_room_goes_in_batches(void **state UNUSED)
{
    int64_t room = create_with_members(PUBLIC), other = create_with_members(PUBLIC);
    long before, first = 1;
    struct answer a;

    pg_sql("WITH s AS (INSERT INTO chat.messages (room_id, seq, author_id, text, created_at,"
           "                                      reaction_kinds)"
           "   SELECT 1, i, 1, 'text', clock_timestamp(), 1 FROM generate_series(4, 1803) i"
           "   RETURNING 1)"
           " UPDATE chat.rooms SET last_seq = last_seq + (SELECT count(*) FROM s),"
           "  active_at = clock_timestamp() WHERE id = 1");
    /* Each message has a reaction, those at 1000 and 1001 very many. */
    pg_sql("INSERT INTO chat.reactions SELECT 1, seq, account, '+1' FROM chat.messages,"
           " generate_series(1, CASE WHEN seq IN (1000, 1001) THEN 3000 ELSE 1 END) account");
    pg_sql("INSERT INTO chat.reaction_counts SELECT room_id, seq, emoji, count(*), seq"
           " FROM chat.reactions GROUP BY 1, 2, 3");
    send(other, BOB, "text");
    keep(room, 1, 0);
    keep(other, 1, 0);
    grow_old(room, 9999, 25);
    grow_old(other, 9999, 25);
    while (first < 1804) {
        before = pg_sql("SELECT count(*) FROM chat.reactions WHERE room_id = 1");
        run(&a, SWEEP_ROOM, I(0), I(0), I(600));
        assert_int_equal(db_get_int8(&a.result, 0, 0), 1);
        answer_free(&a);
        long now = pg_sql("SELECT first_seq FROM chat.rooms WHERE id = 1");
        assert_true(now >= first && now <= first + CHAT_SWEEP_BATCH);
        assert_true(before - pg_sql("SELECT count(*) FROM chat.reactions WHERE room_id = 1") <=
                    4 * CHAT_SWEEP_BATCH + 3000);
        first = now;
        expect_whole();
    }
    /* The other one did not wait for all of it. */
    assert_int_equal(pg_sql("SELECT first_seq FROM chat.rooms WHERE id = 2"), 6);
    sweep(0, 0);
    expect_first(room, 1805); /* and that it was said so */
}

static void owners_say_what_is_kept(void **state UNUSED)
{
    int64_t room = create_with_members(PUBLIC);
    struct answer a;

    change("forbidden", UPDATE_ROOM, I(BOB), room, "Ours", NONE, I(1), I(0));
    change("not_member", UPDATE_ROOM, I(DAN), room, NONE, NONE, I(1), I(0));
    change("ok", UPDATE_ROOM, I(BOB), room, "Ours", NONE, NO_NUMBER, NO_NUMBER); /* 4 */
    keep(room, 30, 1000);                                                        /* 5 */
    keep(room, 30, 1000);                                                        /* as it was */
    change("ok", OPEN_DIRECT_ROOM, I(ADA), "bob");
    change("direct_room", UPDATE_ROOM, I(ADA), I(2), NONE, NONE, I(1), I(0));
    run(&a, GET_ROOM, I(CLEO), room);
    assert_int_equal(db_get_int8(&a.result, 0, ROOM_LAST_SEQ), 5);
    assert_int_equal(db_get_int4(&a.result, 0, ROOM_RETAIN_DAYS), 30);
    assert_int_equal(db_get_int4(&a.result, 0, ROOM_RETAIN_MESSAGES), 1000);
    answer_free(&a);
    run(&a, CREATE_ROOM, I(ADA), I(PUBLIC), "Room", "", NONE, I(7), I(0));
    assert_int_equal(db_get_int8(&a.result, 0, OUTCOME_ROOM), 3);
    answer_free(&a);
    assert_int_equal(pg_sql("SELECT count(*) FROM chat.rooms WHERE retention_due IS NOT NULL"), 2);
    /* The version before knows nothing of it. */
    assert_int_equal(pg_sql("SELECT (chat.create_room(1, 1, 'Room', '', NULL)).room"), 4);
    pg_sql("SELECT 1 FROM chat.update_room(1, 1, 'Other', NULL)");
    assert_int_equal(pg_sql("SELECT retain_days FROM chat.rooms WHERE name = 'Other'"), 30);
}

static int64_t limit_rooms(void)
{
    struct answer a;
    int64_t n;

    run(&a, LIMIT_ROOMS);
    n = db_get_int8(&a.result, 0, 0);
    answer_free(&a);
    return n;
}

static void all_rooms_may_have_limits(void **state UNUSED)
{
    int64_t room = create_with_members(PUBLIC), strict = create_with_members(PUBLIC);

    for (int i = 0; i < 6; i++) { /* 4 to 9 */
        send(room, ADA, "text");
        send(strict, ADA, "text");
    }
    keep(strict, 2, 0); /* 10 */
    assert_int_equal(limit_rooms(), 1);
    assert_int_equal(limit_rooms(), 0);
    grow_old(room, 5, 80);
    grow_old(strict, 6, 50);
    sweep(3, 0);
    expect_first(room, 6);
    expect_first(strict, 7);
    grow_old(room, 9, 25);
    grow_old(strict, 10, 25);
    sweep(3, 2);
    expect_first(room, 8);
    expect_first(strict, 8);
    sweep(0, 0); /* nothing is due yet */
    grow_old(room, 0, 0);
    sweep(0, 0); /* they have no limit any more, but the one of its own */
    assert_int_equal(pg_sql("SELECT id FROM chat.rooms WHERE retention_due IS NULL"), 1);
}

/* Nobody who writes meanwhile is lost, nor gets a number twice. */
static void rooms_are_swept_while_others_write(void **state UNUSED)
{
    enum { N = 300 };
    static struct answer answers[N], sweeps[N];
    int64_t room = create_with_members(PUBLIC);

    for (int i = 0; i < 40; i++)
        send(room, ADA, "text"); /* 4 to 43 */
    keep(room, 1, 0);
    grow_old(room, 44, 30);
    for (int i = 0; i < N; i++) {
        if (i % 3 == 0)
            submit(&answers[i], SEND_MESSAGE, I(1 + i % 2), room, "text", I(4 + i % 40), NONE);
        else if (i % 3 == 1)
            submit(&answers[i], ADD_REACTION, I(BOB), room, I(4 + i % 40), "+1", NONE);
        else
            submit(&answers[i], SEND_MESSAGE, I(CLEO), room, "text", NO_NUMBER, NONE);
        submit(&sweeps[i], SWEEP_ROOM, I(0), I(0), I(1));
    }
    for (int i = 0; i < N; i++) {
        assert_int_equal(answer_wait(&answers[i]), DB_OK);
        answer_free(&answers[i]);
        assert_int_equal(answer_wait(&sweeps[i]), DB_OK);
        answer_free(&sweeps[i]);
    }
    assert_true(pg_sql("SELECT first_seq FROM chat.rooms") >= 45);
    assert_int_equal(pg_sql("SELECT count(*) FROM chat.messages WHERE author_id = 3"), N / 3);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(a_deleted_room_is_removed_bit_by_bit),
        TEST(a_forgotten_account_leaves_no_word),
        TEST(what_comes_late_is_erased_too),
        TEST(an_account_is_erased_at_once_as_well),
        TEST(a_large_account_goes_in_pieces),
        TEST(what_is_left_of_an_account_is_not_shown),
        TEST(accounts_go_while_others_write),
        TEST(only_auth_may_forget),
        TEST(what_is_old_goes),
        TEST(as_many_stay_as_are_kept),
        TEST(a_long_room_goes_in_batches),
        TEST(owners_say_what_is_kept),
        TEST(all_rooms_may_have_limits),
        TEST(rooms_are_swept_while_others_write),
    };
    return cmocka_run_group_tests(tests, setup, teardown);
}
