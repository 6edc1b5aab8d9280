/* Writers of posts on a real Postgres that come to the same rows at once: none of them waits for
 * another in a circle. lib/pg sends again what Postgres undoes to end one, so the tests
 * have connections of their own. */
#include "sql_fixture.h"

#include "../../services/posts/statements.h"

static int setup(void **state UNUSED)
{
    if (sql_group_setup("posts") != 0)
        return -1;
    sql_as_admin(
        "INSERT INTO auth.users (username, username_key, email, email_key, password_hash)"
        " SELECT n, n, n, n, '' FROM unnest(ARRAY['ada', 'bob', 'c', 'd', 'e', 'f', 'g', 'h',"
        "                                         'i', 'j']) n");
    sql_as_admin("GRANT pg_read_all_stats TO stoa_posts"); /* who waits */
    return 0;
}

static int an_article_of_each(void **state UNUSED)
{
    pg_sql("TRUNCATE posts.articles, posts.article_tags, posts.favorites, posts.follows,"
           " posts.comments, posts.article_counts, posts.tag_counts, posts.account_counts,"
           " posts.article_search, posts.search_queue, posts.article_revisions,"
           " posts.deleted_articles, posts.dropped_tags RESTART IDENTITY");
    pg_sql("INSERT INTO posts.articles (slug, author_id, title, description, body, tag_list)"
           " VALUES ('of-ada', 1, 'T', 'D', 'B', '{x}'), ('of-bob', 2, 'T', 'D', 'B', '{}')");
    pg_sql("INSERT INTO posts.article_tags SELECT 'x', created_at, id FROM posts.articles WHERE id "
           "= 1");
    pg_sql("INSERT INTO posts.tag_counts VALUES ('x', 0, 1)");
    pg_sql("INSERT INTO posts.article_counts VALUES (0, 2)");
    pg_sql("INSERT INTO posts.account_counts VALUES (1, 0, 1, 0), (2, 0, 1, 0)");
    return 0;
}

/* ---- connections of one's own ---- */

/* As a service's role; tables of a few rows are read by their indexes, as large ones are. */
static PGconn *connect_as(const char *role)
{
    char conninfo[sizeof(sql_admin) + 32];
    PGconn *pg;

    snprintf(conninfo, sizeof(conninfo), "%s user=stoa_%s", sql_admin, role);
    pg = PQconnectdb(conninfo);
    PQclear(sql_exec(pg, "SET enable_seqscan = off; SET enable_bitmapscan = off"));
    return pg;
}

/* Sends SQL that has to wait for a lock, and returns when it does. */
static void begin_to_wait(PGconn *pg, const char *sql)
{
    char waits[256];

    assert_int_equal(PQsendQuery(pg, sql), 1);
    snprintf(waits, sizeof(waits),
             "SELECT count(*) FROM pg_stat_activity WHERE pid = %d AND wait_event_type = 'Lock'",
             PQbackendPID(pg));
    pg_await_sql(waits);
}

/* How it ended: an SQLSTATE, "" when it was done. Closes the connection. */
static const char *end_of(PGconn *pg)
{
    static char states[4][8];
    static unsigned n;
    char *state = states[n++ % ARRAY_SIZE(states)];
    PGresult *res;

    *state = '\0';
    while ((res = PQgetResult(pg)) != NULL) {
        const char *error = PQresultErrorField(res, PG_DIAG_SQLSTATE);

        if (error)
            snprintf(state, sizeof(states[0]), "%.7s", error);
        PQclear(res);
    }
    PQfinish(pg);
    return state;
}

static void commit(PGconn *pg)
{
    PQclear(sql_exec(pg, "COMMIT"));
    PQfinish(pg);
}

/* Prepared as the services do; params: their types. */
static void prepare(PGconn *pg, enum posts_statement statement, const char *params)
{
    char sql[16384];

    snprintf(sql, sizeof(sql), "SET plan_cache_mode = force_generic_plan; PREPARE s (%s) AS %s",
             params, posts_statements[statement].sql);
    PQclear(sql_exec(pg, sql));
}

/* ---- favourites ---- */

/* They wait for one who marks the article as well, beside a comment, which holds it. */
static void favourites_beside_a_comment(void **state UNUSED)
{
    enum { FANS = 6 };
    PGconn *comment = connect_as("posts"), *first = connect_as("posts"), *fans[FANS];

    prepare(comment, CREATE_COMMENT, "int8, text, text, text, bytea");
    PQclear(sql_exec(comment, "BEGIN; EXECUTE s (2, 'of-ada', '!', NULL, NULL)"));
    PQclear(sql_exec(first, "BEGIN; SELECT FROM posts.articles WHERE id = 1 FOR NO KEY UPDATE"));
    for (int i = 0; i < FANS; i++) {
        char sql[64];

        fans[i] = connect_as("posts");
        prepare(fans[i], FAVORITE_ARTICLE, "int8, text");
        snprintf(sql, sizeof(sql), "EXECUTE s (%d, 'of-ada')", 3 + i);
        begin_to_wait(fans[i], sql);
    }
    PQclear(sql_exec(first, "UPDATE posts.articles SET favorites_count = 1 WHERE id = 1"));
    commit(first);
    for (int i = 0; i < FANS; i++)
        assert_string_equal(end_of(fans[i]), "");
    commit(comment);
    assert_int_equal(pg_sql("SELECT favorites_count FROM posts.articles WHERE id = 1"), 1 + FANS);
}

/* Who deletes it has it, and comes to its favourites next. */
static void a_mark_is_taken_away_while_the_article_is_deleted(void **state UNUSED)
{
    PGconn *deletion = connect_as("posts"), *fan = connect_as("posts");

    pg_sql("INSERT INTO posts.favorites SELECT 3, id, created_at FROM posts.articles WHERE id = 1");
    pg_sql("INSERT INTO posts.account_counts VALUES (3, 0, 0, 1)");
    PQclear(sql_exec(deletion, "BEGIN; SELECT FROM posts.articles WHERE id = 1 FOR UPDATE"));
    prepare(fan, UNFAVORITE_ARTICLE, "int8, text");
    begin_to_wait(fan, "EXECUTE s (3, 'of-ada')");
    PQclear(sql_exec(deletion, "SET lock_timeout = '20s'"));
    prepare(deletion, DELETE_ARTICLE, "int8");
    PQclear(sql_exec(deletion, "EXECUTE s (1)"));
    commit(deletion);
    assert_string_equal(end_of(fan), "");
    pg_sql("SELECT posts.purge_articles(1000)");
    assert_int_equal(pg_sql("SELECT sum(favorites) FROM posts.account_counts"), 0);
}

/* No comment stays on an article that is gone: who comments waits for who deletes it, and the other
 * way round. */
static void a_comment_while_the_article_is_deleted(void **state UNUSED)
{
    PGconn *comment = connect_as("posts"), *deletion = connect_as("posts");

    prepare(comment, CREATE_COMMENT, "int8, text, text, text, bytea");
    prepare(deletion, DELETE_ARTICLE, "int8");
    PQclear(sql_exec(comment, "BEGIN; EXECUTE s (2, 'of-ada', '!', NULL, NULL)"));
    begin_to_wait(deletion, "EXECUTE s (1)");
    commit(comment);
    assert_string_equal(end_of(deletion), "");
    assert_int_equal(pg_sql("SELECT posts.purge_articles(1000)"), 1);
    assert_int_equal(pg_sql("SELECT count(*) FROM posts.comments"), 0);

    comment = connect_as("posts");
    deletion = connect_as("posts");
    prepare(comment, CREATE_COMMENT, "int8, text, text, text, bytea");
    prepare(deletion, DELETE_ARTICLE, "int8");
    PQclear(sql_exec(deletion, "BEGIN; EXECUTE s (2)"));
    begin_to_wait(comment, "EXECUTE s (1, 'of-bob', '!', NULL, NULL)");
    commit(deletion);
    assert_string_equal(end_of(comment), "");
    assert_int_equal(pg_sql("SELECT count(*) FROM posts.comments"), 0);
}

/* Instances that purge at once have different articles, and who holds a row is not waited for. */
static void purges_at_once(void **state UNUSED)
{
    PGconn *first = connect_as("posts"), *holder = connect_as("posts");

    pg_sql("INSERT INTO posts.comments (article_id, author_id, body)"
           " SELECT 1 + i % 2, 3, '!' FROM generate_series(1, 10) i");
    pg_sql("DELETE FROM posts.articles WHERE id = 1");
    PQclear(sql_exec(first, "BEGIN; SELECT posts.purge_articles(1000)"));
    pg_sql("DELETE FROM posts.articles WHERE id = 2");
    PQclear(sql_exec(holder, "BEGIN; DELETE FROM posts.comments WHERE id = 1")); /* of the second */
    assert_int_equal(pg_sql("SELECT posts.purge_articles(1000)"), 1);
    assert_int_equal(pg_sql("SELECT posts.purge_articles(1000)"), 0);
    assert_int_equal(pg_sql("SELECT count(*) FROM posts.comments"), 6); /* not yet committed */
    commit(first);
    commit(holder);
    assert_int_equal(pg_sql("SELECT count(*) FROM posts.comments"), 0);
}

/* The last article of a tag goes while another that has it comes: the tag stays, and is counted. */
static void a_tag_that_comes_back(void **state UNUSED)
{
    PGconn *creation = connect_as("posts"), *purge = connect_as("posts");

    pg_sql("DELETE FROM posts.article_tags; INSERT INTO posts.tag_counts VALUES ('x', 1, -1)");
    PQclear(sql_exec(creation, "BEGIN; UPDATE posts.tag_counts SET n = n + 1 WHERE shard = 0;"
                               " INSERT INTO posts.tag_counts VALUES ('x', 2, 1)"));
    begin_to_wait(purge, "SELECT posts.purge_tags(1000)");
    commit(creation);
    assert_string_equal(end_of(purge), "");
    assert_int_equal(pg_sql("SELECT sum(n) FROM posts.tag_counts WHERE tag = 'x'"), 2);
}

/* ---- creates ---- */

/* Three titles that both have, in opposite orders; the one in the middle was just taken. */
static void creates_of_equal_titles(void **state UNUSED)
{
    static const char *const slugs[] = {"{a,m,z}", "{z,m,a}"};
    PGconn *holder = connect_as("posts"), *creates[2];
    const char *ends[2];

    PQclear(sql_exec(holder, "BEGIN; INSERT INTO posts.articles"
                             " (slug, author_id, title, description, body, tag_list)"
                             " VALUES ('m', 2, 'T', 'D', 'B', '{}')"));
    for (int i = 0; i < 2; i++) {
        char sql[256];

        creates[i] = connect_as("posts");
        prepare(creates[i], CREATE_ARTICLES,
                "int8[], text[], text[], text[], text[], text[], int8[], text[]");
        snprintf(sql, sizeof(sql),
                 "EXECUTE s ('{3,4,5}', '%s', '{u%d,v%d,w%d}', '{T,T,T}',"
                 " '{D,D,D}', '{B,B,B}', '{}', '{}')",
                 slugs[i], i, i, i);
        begin_to_wait(creates[i], sql);
    }
    PQclear(sql_exec(holder, "ROLLBACK"));
    PQfinish(holder);
    for (int i = 0; i < 2; i++)
        ends[i] = end_of(creates[i]);
    /* The one that came later goes again, with other slugs. */
    assert_string_equal(*ends[0] ? ends[1] : ends[0], "");
    assert_string_equal(*ends[0] ? ends[0] : ends[1], "23505");
}

/* ---- accounts that are deleted ---- */

#define FORGET(account) "SELECT posts.forget_account(" #account ")"

/* Both come to who follows whom: neither waits for what the other removes. */
static void accounts_that_follow_each_other(void **state UNUSED)
{
    PGconn *ada = connect_as("auth"), *bob = connect_as("auth");

    pg_sql("INSERT INTO posts.follows VALUES (1, 2), (2, 1)");
    PQclear(sql_exec(ada, "SET lock_timeout = '20s'; BEGIN; " FORGET(1)));
    PQclear(sql_exec(bob, "SET lock_timeout = '20s'; BEGIN; " FORGET(2)));
    commit(bob);
    commit(ada);
    assert_int_equal(pg_sql("SELECT count(*) FROM posts.follows"), 0);
}

/* What she commented on is deleted at the same time: its purge and hers come to the same comments,
 * and what one of them holds the other leaves. */
static void an_account_and_what_it_commented_on(void **state UNUSED)
{
    PGconn *ada = connect_as("auth"), *purge = connect_as("posts");

    pg_sql("INSERT INTO posts.comments (article_id, author_id, body)"
           " SELECT 2, 1 + i % 2, '!' FROM generate_series(1, 5) i");
    pg_sql("INSERT INTO posts.favorites SELECT 1, id, created_at FROM posts.articles WHERE id = 2");
    pg_sql("DELETE FROM posts.articles WHERE id = 2");
    PQclear(sql_exec(ada, "SET lock_timeout = '20s'; BEGIN; " FORGET(1)));
    PQclear(sql_exec(purge, "SET lock_timeout = '20s'; SELECT posts.purge_articles(1000)"));
    PQfinish(purge);
    assert_int_equal(pg_sql("SELECT count(*) FROM posts.comments"), 2);
    commit(ada);
    assert_int_equal(pg_sql("SELECT count(*) FROM posts.comments"), 0);
    assert_int_equal(pg_sql("SELECT count(*) FROM posts.favorites"), 0);
    assert_int_equal(pg_sql("SELECT count(*) FROM posts.account_counts WHERE account_id = 1"), 0);
}

/* An article that she was just creating has counted her, and then comes to the counter of its tag
 * that the deletion changes as well. */
static void an_account_and_what_it_creates(void **state UNUSED)
{
    PGconn *creation = connect_as("posts"), *ada = connect_as("auth");
    char sql[256];

    PQclear(sql_exec(creation, "BEGIN; UPDATE posts.account_counts SET articles = articles + 1"
                               " WHERE account_id = 1"));
    begin_to_wait(ada, FORGET(1));
    snprintf(sql, sizeof(sql),
             "SET lock_timeout = '20s'; INSERT INTO posts.tag_counts AS c VALUES ('x', %d, 1)"
             " ON CONFLICT (tag, shard) DO UPDATE SET n = c.n + 1",
             PQbackendPID(ada) % 17);
    PQclear(sql_exec(creation, sql));
    commit(creation);
    assert_string_equal(end_of(ada), "");
    assert_int_equal(pg_sql("SELECT count(*) FROM posts.account_counts WHERE account_id = 1"), 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup(favourites_beside_a_comment, an_article_of_each),
        cmocka_unit_test_setup(a_mark_is_taken_away_while_the_article_is_deleted,
                               an_article_of_each),
        cmocka_unit_test_setup(a_comment_while_the_article_is_deleted, an_article_of_each),
        cmocka_unit_test_setup(purges_at_once, an_article_of_each),
        cmocka_unit_test_setup(a_tag_that_comes_back, an_article_of_each),
        cmocka_unit_test_setup(creates_of_equal_titles, an_article_of_each),
        cmocka_unit_test_setup(accounts_that_follow_each_other, an_article_of_each),
        cmocka_unit_test_setup(an_account_and_what_it_commented_on, an_article_of_each),
        cmocka_unit_test_setup(an_account_and_what_it_creates, an_article_of_each),
    };
    return cmocka_run_group_tests(tests, setup, pg_group_teardown);
}
