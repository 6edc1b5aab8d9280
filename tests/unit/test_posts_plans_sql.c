/* What the statements of posts read on a real Postgres does not grow with the tables. */
#include "posts_sql_fixture.h"

/* 100,000 articles by 5,000 accounts, with a few tags and accounts that have a large share. */
static void seed(void)
{
    sql_as_admin("INSERT INTO auth.users (username, username_key, email, email_key, password_hash)"
                 " SELECT 'u' || i, 'u' || i, i, i, '' FROM generate_series(4, 5000) i");
    pg_sql("INSERT INTO posts.articles"
           " (slug, author_id, title, description, body, favorites_count, tag_list, created_at)"
           " SELECT 'article-' || i, 1 + floor(5000 * power(random(), 3)), 'Title ' || i,"
           "  'Description', repeat('Lorem ipsum ', 60), 2,"
           "  ARRAY(SELECT DISTINCT 'tag' || floor(1000 * power(random(), 4))"
           "        FROM generate_series(0, i % 4)),"
           "  now() - (100000 - i) * interval '1 minute' FROM generate_series(1, 100000) i");
    pg_sql("UPDATE posts.articles SET author_id = 9 WHERE id = 777");
    pg_sql("INSERT INTO posts.article_tags"
           " SELECT tag, created_at, id FROM posts.articles, unnest(tag_list) tag");
    pg_sql("INSERT INTO posts.favorites (account_id, article_id, article_created_at)"
           " SELECT 1 + (id * 7 + i * i) % 5000, id, created_at"
           " FROM posts.articles, generate_series(0, 1) i");
    pg_sql("INSERT INTO posts.follows (follower_id, followee_id)"
           " SELECT 1 + i % 5000, 1 + (i / 5000 * 17 + i) % 5000"
           " FROM generate_series(0, 99999) i ON CONFLICT DO NOTHING");
    pg_sql("INSERT INTO posts.comments (article_id, author_id, body)"
           " SELECT 1 + i * 7919 % 100000, 1 + i % 5000, 'Comment ' || i"
           " FROM generate_series(1, 100000) i");
    pg_sql("INSERT INTO posts.article_counts VALUES (0, 50000), (1, 50000)");
    pg_sql(
        "INSERT INTO posts.tag_counts SELECT tag, 0, count(*) FROM posts.article_tags GROUP BY 1");
    pg_sql("INSERT INTO posts.account_counts (account_id, shard, articles)"
           " SELECT author_id, 0, count(*) FROM posts.articles GROUP BY 1");
    pg_sql("INSERT INTO posts.article_search SELECT id, to_tsvector('posts.words', title || ' ' || "
           "body)"
           " FROM posts.articles");
    pg_sql("DELETE FROM posts.search_queue WHERE article_id <= 99000");
    pg_sql("INSERT INTO posts.forgotten_accounts VALUES (4321, now() - interval '1 hour')");
    /* Of an article that is gone much is left: more than is removed at once. */
    pg_sql("INSERT INTO posts.deleted_articles VALUES (200000)");
    pg_sql("INSERT INTO posts.favorites SELECT 10000 + i, 200000, now()"
           " FROM generate_series(1, 20000) i");
    pg_sql("INSERT INTO posts.account_counts (account_id, shard, favorites)"
           " SELECT 10000 + i, 0, 1 FROM generate_series(1, 20000) i");
    pg_sql("INSERT INTO posts.comments (article_id, author_id, body)"
           " SELECT 200000, 1 + i % 5000, 'Comment ' || i FROM generate_series(1, 20000) i");
    pg_sql(
        "INSERT INTO posts.dropped_tags (tag) SELECT 'tag' || i FROM generate_series(1, 2000) i");
    pg_sql("INSERT INTO posts.idempotency_keys"
           " SELECT 1 + i % 5000, 'key-' || i, 'h', i, 's', now() - i * interval '1 second'"
           " FROM generate_series(1, 100000) i");
    pg_sql(
        "INSERT INTO posts.article_revisions"
        " SELECT 700 + i % 5000, 1 + i / 5000, 'Title', '', repeat('Lorem ipsum ', 60), '{}', now()"
        " FROM generate_series(0, 99999) i");
    pg_sql("INSERT INTO posts.drafts (author_id, title, description, body, tag_list)"
           " SELECT 1 + i % 5000, 'Title ' || i, '', repeat('Lorem ipsum ', 60), '{}'"
           " FROM generate_series(1, 100000) i");
    sql_as_admin("VACUUM ANALYZE");
}

#define FIRST_PAGE(caller) #caller ", 20, 0, 'infinity', 9223372036854775807"
#define DEEP_PAGE(caller) #caller ", 20, 0, now() - interval '60 days', 1"
/* What is skipped is counted in an index, which has some hundred rows a page. */
#define SKIPPING(n) "0, 20, " #n ", 'infinity', 9223372036854775807"
/* The page of a token looks for one row more: 20 that are followed have not written it all last. */
static void a_feed_looks_at_little_more_than_its_page(void)
{
    char plan[65536];
    long rows;

    pg_sql("UPDATE posts.articles SET author_id = 4000 + id % 20 WHERE id > 98000");
    pg_sql("DELETE FROM posts.follows WHERE follower_id = 3900");
    pg_sql("INSERT INTO posts.follows SELECT 3900, 4000 + i FROM generate_series(0, 19) i");
    sql_plan(&posts_statements[LIST_FEED], "3900, 21, 0, 'infinity', 9223372036854775807", plan,
             sizeof(plan));
    rows = sql_plan_rows(plan, "articles_by_author");
    if (rows < 21 || rows > 21 + 2 * 20 + 20)
        fail_msg("a feed's page takes %ld rows:\n%s", rows, plan);
}

#define FIRST_FOUND(caller) #caller ", 20, 0, 9223372036854775807, 9223372036854775807"

static void nothing_grows_with_the_tables(void **state UNUSED)
{
    static const struct {
        enum posts_statement statement;
        const char *arguments;
        long max_pages; /* a look-up is 3 or 4; a list of 20 has 2 to 4 for each article */
    } cases[] = {
        {GET_ARTICLE, "0, 'article-777'", 10},
        {GET_ARTICLE, "9, 'article-777'", 20},
        {GET_ARTICLES, "'{0,9,9,0}', '{article-777,article-50000,nothing,article-777}'", 60},
        {GET_ARTICLE_ANONYMOUS, "0, 'article-777'", 10},
        {GET_ARTICLES_ANONYMOUS, "'{0,0,0}', '{article-777,nothing,article-777}'", 30},
        {LOCK_ARTICLE, "'article-777'", 20},
        {UPDATE_ARTICLE, "1, 777, NULL, NULL, NULL, NULL, 'B', NULL", 60},
        {UPDATE_ARTICLE, "1, 777, 's', 's-1', 'T', 'D', 'B', '{tag0,tag1,tag2}'", 120},
        {DELETE_ARTICLE, "777", 200},
        {FAVORITE_ARTICLE, "9, 'article-777'", 80},
        {UNFAVORITE_ARTICLE, "9, 'article-777'", 80},
        {LIST_ARTICLES, FIRST_PAGE(0), 120},
        {LIST_ARTICLES, FIRST_PAGE(9), 280},
        {LIST_ARTICLES, DEEP_PAGE(9), 280},
        {LIST_ARTICLES, SKIPPING(99900), 900},
        {LIST_ARTICLES, SKIPPING(2147483647), 900},
        {LIST_ARTICLES_BY_TAG, FIRST_PAGE(0) ", 'tag0'", 200},
        {LIST_ARTICLES_BY_TAG, DEEP_PAGE(0) ", 'tag0'", 200},
        {LIST_ARTICLES_BY_TAG, FIRST_PAGE(9) ", 'tag999'", 360},
        {LIST_ARTICLES_BY_TAG, SKIPPING(20000) ", 'tag0'", 500},
        {LIST_ARTICLES_BY_AUTHOR, FIRST_PAGE(0) ", 'ada'", 60},
        {LIST_ARTICLES_BY_AUTHOR, DEEP_PAGE(0) ", 'ada'", 60},
        {LIST_ARTICLES_BY_AUTHOR, SKIPPING(5000) ", 'ada'", 120},
        {LIST_ARTICLES_BY_AUTHOR, FIRST_PAGE(9) ", 'u4999'", 200},
        {LIST_ARTICLES_BY_AUTHOR, FIRST_PAGE(9) ", 'nobody'", 40},
        {LIST_ARTICLES_BY_AUTHORS,
         "'{0,9}', '{20,20}', '{infinity,2000-01-01}', '{1,1}', '{ada,u4999}'", 100},
        {LIST_ARTICLES_BY_AUTHORS,
         "'{9,9}', '{20,20}', '{infinity,infinity}', '{1,1}', '{u4999,nobody}'", 200},
        {LIST_ARTICLES_BY_FAVORITE, FIRST_PAGE(0) ", 'ada'", 200},
        {LIST_ARTICLES_BY_FAVORITE, DEEP_PAGE(9) ", 'u4999'", 360},
        {LIST_ARTICLES_FILTERED, FIRST_PAGE(0) ", 'tag0', 'u4999', NULL", 500},
        {LIST_ARTICLES_FILTERED, FIRST_PAGE(0) ", NULL, 'ada', 'bob'", 500},
        {SEARCH_ARTICLES, FIRST_FOUND(9) ", NULL, NULL, NULL, '777'", 400},
        {SEARCH_ARTICLES, FIRST_FOUND(9) ", 'tag0', 'ada', 'bob', '777 or 778'", 400},
        {SEARCH_ARTICLES, FIRST_FOUND(9) ", NULL, NULL, NULL, '-lorem'", 20},
        /* What all have: the words of the newest POSTS_MAX_FOUND, by a look-up of each. */
        {SEARCH_ARTICLES, FIRST_FOUND(9) ", NULL, NULL, NULL, 'lorem'", 7000},
        {INDEX_ARTICLES, NULL, 1500},    /* POSTS_INDEX_BATCH of them */
        {LIST_FEED, FIRST_PAGE(9), 600}, /* of 20 that are followed */
        {LIST_FEED, DEEP_PAGE(9), 600},
        {LIST_FEED, FIRST_PAGE(999999), 20},
        {LIST_TAGS, NULL, 5000}, /* 1,000 tags */
        {CREATE_ARTICLE, "1, 's', 's-1', 'T', 'D', 'B', '{tag0,tag1,tag2}', 'k', 'h'", 130},
        {CREATE_ARTICLES,
         "'{1,2}', '{s,t}', '{s-1,t-1}', '{T,T}', '{D,D}', '{B,B}', '{1,1,2}', '{tag0,tag1,tag0}'",
         250},
        {REPLAY_ARTICLE, "1, 'key-777', 'h', 'T', 'D', '{tag0}'", 30},
        {LIST_REVISIONS, "9, 'article-777'", 60},
        {GET_REVISION, "9, 'article-777', 3", 30},
        {CREATE_DRAFT, "1, 'T', 'D', 'B', '{tag0,tag1}', 'k', 'h'", 40},
        {REPLAY_DRAFT, "1, 'key-777', 'h', 'T', 'D', 'B', '{tag0}'", 30},
        {GET_DRAFT, "778, 777", 10},
        {LIST_DRAFTS, "778, 20, 9223372036854775807", 40},
        {LIST_DRAFTS, "778, 20, 50000", 40},
        {LOCK_DRAFT, "778, 777", 20},
        {UPDATE_DRAFT, "777, 'T', NULL, 'B', '{tag0}'", 40},
        {DELETE_DRAFT, "777", 20},
        {KEEP_PUBLISHED, "778, 'key-777', 'answer'", 40},
        {REPLAY_PUBLISHED, "778, 'key-777', 'h'", 30},
        {CREATE_COMMENT, "9, 'article-777', 'B', 'k', 'h'", 70},
        {REPLAY_COMMENT, "1, 'key-777', 'h', 'B'", 30},
        {PURGE_KEYS, NULL, 12000},     /* 1,000 keys */
        {PURGE_ARTICLES, NULL, 40000}, /* 1,000 favourites and their counters, 1,000 comments */
        {PURGE_TAGS, NULL, 12000},     /* 1,000 tags */
        {LIST_COMMENTS, "9, 'article-777', 20, 999999999", 200},
        {DELETE_COMMENT, "1, 'article-777', 777, true", 30},
        {GET_PROFILE, "9, 'ada'", 20},
        {FOLLOW_PROFILE, "9, 'ada'", 40},
        {UNFOLLOW_PROFILE, "9, 'ada'", 40},
    };

    /* One has a case of its own, one reads no table. */
    bool seen[POSTS_STATEMENTS] = {[PURGE_ACCOUNT] = true, [LIMIT_SEARCH] = true};

    seed();
    for (size_t i = 0; i < ARRAY_SIZE(cases); i++) {
        sql_expect_plan(&posts_statements[cases[i].statement], cases[i].arguments, "article_counts",
                        cases[i].max_pages);
        seen[cases[i].statement] = true;
    }
    a_feed_looks_at_little_more_than_its_page();
    /* An account with 7 articles, 40 favourites, 20 comments, 20 drafts. */
    sql_expect_plan(&posts_statements[PURGE_ACCOUNT], NULL, "forgotten_accounts", 4000);
    sql_expect_all_seen(seen, posts_statements, POSTS_STATEMENTS);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup(nothing_grows_with_the_tables, empty_tables),
    };
    return cmocka_run_group_tests(tests, setup, teardown);
}
