/* For tests of posts' statements on a real Postgres: accounts, articles, and what is true of the
 * counters at all times. */
#ifndef STOA_TESTS_POSTS_SQL_FIXTURE_H
#define STOA_TESTS_POSTS_SQL_FIXTURE_H

#include "sql_fixture.h"

#include "../../services/posts/statements.h"

enum { ADA = 1, BOB = 2, CYD = 3 };

static UNUSED int setup(void **state UNUSED)
{
    if (sql_db_setup("posts", 4, posts_statements, POSTS_STATEMENTS) != 0)
        return -1;
    sql_as_admin("INSERT INTO auth.users (username, username_key, email, email_key, password_hash)"
                 " SELECT n, lower(n), n, n, '' FROM unnest(ARRAY['Ada', 'Bob', 'Cyd']) n");
    return 0;
}

static UNUSED int empty_tables(void **state UNUSED)
{
    pg_sql("TRUNCATE posts.articles, posts.article_tags, posts.favorites, posts.follows, "
           "posts.comments, posts.idempotency_keys, posts.forgotten_accounts,"
           " posts.article_counts, posts.tag_counts, posts.account_counts,"
           " posts.article_search, posts.search_queue, posts.drafts, posts.article_revisions,"
           " posts.deleted_articles, posts.dropped_tags RESTART IDENTITY");
    return 0;
}

static UNUSED void submit_create(struct answer *a, int64_t author, struct str slug,
                                 struct str other, const struct str *tags, size_t n_tags)
{
    struct db_query *q = db_query(db, &arena, CREATE_ARTICLE);

    assert_non_null(q);
    db_bind_int8(q, author);
    db_bind_text(q, slug);
    db_bind_text(q, other);
    db_bind_text(q, STR("Title"));
    db_bind_text(q, STR("Description"));
    db_bind_text(q, STR(" body\r\n"));
    db_bind_text_array(q, tags, n_tags);
    db_bind_null(q);
    db_bind_null(q);
    answer_submit(a, q, SECONDS(30));
}

static UNUSED void create(int64_t author, const char *slug, const char *tag1, const char *tag2)
{
    struct str tags[] = {str_of(tag1), str_of(tag2)};
    struct answer a;

    submit_create(&a, author, str_of(slug), STR("other"), tags, !!tag1 + !!tag2);
    assert_int_equal(answer_wait(&a), DB_OK);
    assert_int_equal(db_rows(&a.result), 1);
    assert_true(str_eq(db_get_text(&a.result, 0, ARTICLE_SLUG), str_of(slug)));
    answer_free(&a);
}

static UNUSED void expect_exact_counts(void)
{
    assert_int_equal(pg_sql("SELECT count(*) FROM posts.articles"),
                     pg_sql("SELECT coalesce(sum(n), 0) FROM posts.article_counts"));
    assert_int_equal(pg_sql("SELECT count(*) FROM (SELECT tag, count(*) FROM posts.article_tags"
                            " GROUP BY tag EXCEPT SELECT tag, sum(n) FROM posts.tag_counts"
                            " GROUP BY tag) wrong"),
                     0);
    assert_int_equal(pg_sql("SELECT count(*) FROM (SELECT author_id, count(*) FROM posts.articles"
                            " GROUP BY author_id EXCEPT SELECT account_id, sum(articles)"
                            " FROM posts.account_counts GROUP BY account_id) wrong"),
                     0);
}

/* What a list has: slugs in order, each with a space behind it, and the total in every row. */
static UNUSED void expect_articles(const struct db_result *result, const char *want, int64_t total)
{
    char slugs[256] = "";

    for (int i = 0; i < db_rows(result); i++) {
        assert_int_equal(db_get_int8(result, i, LIST_TOTAL), total);
        if (!db_is_null(result, i, ARTICLE_SLUG))
            snprintf(slugs + strlen(slugs), sizeof(slugs) - strlen(slugs), "%s ",
                     db_get_text(result, i, ARTICLE_SLUG).p);
    }
    assert_string_equal(slugs, want);
}

/* Five articles, newest last; Cyd likes a1, b2 and a5. */
static UNUSED void fill(void)
{
    create(ADA, "a1", "x", "y");
    create(BOB, "b2", "x", NULL);
    create(ADA, "a3", "y", NULL);
    create(BOB, "b4", NULL, NULL);
    create(ADA, "a5", "x", NULL);
    pg_sql("INSERT INTO posts.favorites (account_id, article_id, article_created_at)"
           " SELECT 3, id, created_at FROM posts.articles WHERE slug IN ('a1', 'b2', 'a5')");
    pg_sql("INSERT INTO posts.account_counts (account_id, shard, favorites) VALUES (3, 0, 3)");
}

#endif
