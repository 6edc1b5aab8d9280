/* The statements of posts on a real Postgres, but for lists and searches: what they store, what
 * they change, what they count. */
#include "posts_sql_fixture.h"

/* ---- creating ---- */

static void a_create_answers_with_what_it_stored(void **state UNUSED)
{
    struct str tags[] = {STR("a"), STR("b")}, *stored;
    struct answer a;

    submit_create(&a, ADA, STR("title"), STR("title-1"), tags, 2);
    assert_int_equal(answer_wait(&a), DB_OK);
    assert_true(str_eq(db_get_text(&a.result, 0, ARTICLE_SLUG), STR("title")));
    assert_true(str_eq(db_get_text(&a.result, 0, ARTICLE_AUTHOR_USERNAME), STR("Ada")));
    assert_true(db_is_null(&a.result, 0, ARTICLE_AUTHOR_BIO));
    assert_int_equal(db_get_text_array(&a.result, 0, ARTICLE_TAG_LIST, &arena, &stored), 2);
    assert_true(str_eq(stored[1], STR("b")));
    assert_int_equal(db_get_timestamp(&a.result, 0, ARTICLE_CREATED_AT),
                     db_get_timestamp(&a.result, 0, ARTICLE_UPDATED_AT));
    assert_false(db_get_bool(&a.result, 0, ARTICLE_FAVORITED));
    answer_free(&a);
    assert_int_equal(pg_sql("SELECT 1 FROM posts.articles WHERE body = E' body\\r\\n'"), 1);
    expect_exact_counts();
}

static void a_taken_slug_gives_the_other(void **state UNUSED)
{
    struct answer a;

    create(ADA, "taken", NULL, NULL);
    submit_create(&a, BOB, STR("taken"), STR("taken-2"), NULL, 0);
    assert_int_equal(answer_wait(&a), DB_OK);
    assert_true(str_eq(db_get_text(&a.result, 0, ARTICLE_SLUG), STR("taken-2")));
    answer_free(&a);
    submit_create(&a, BOB, STR("taken"), STR("taken-2"), NULL, 0);
    assert_int_equal(answer_wait(&a), DB_UNIQUE);
    assert_string_equal(a.constraint, "articles_slug_key");
    answer_free(&a);
    expect_exact_counts();
}

/* One wants the slug of an old one, two want the same, one has no account, and tags differ. */
static void several_at_once_are_as_one_by_one(void **state UNUSED)
{
    enum { N = 5 };
    static const int64_t authors[N] = {BOB, ADA, 999, BOB, ADA};
    static const int64_t places[] = {1, 1, 3, 5, 5, 5};
    struct str slugs[N] = {STR("old"), STR("new"), STR("nobody"), STR("new"), STR("last")};
    struct str others[N] = {STR("old-2"), STR("new-2"), STR("no-2"), STR("new-3"), STR("last-2")};
    struct str texts[N] = {STR("T1"), STR("T2"), STR("T3"), STR("T4"), STR("T5")};
    struct str tags[] = {STR("b"), STR("a"), STR("x"), STR("c"), STR("a"), STR("b")}, *stored;
    static const struct {
        struct str slug, author, title;
        int n_tags;
    } expected[N] = {{STR("old-2"), STR("Bob"), STR("T1"), 2},
                     {STR("new"), STR("Ada"), STR("T2"), 0},
                     {.slug = STR_NULL},
                     {STR("new-3"), STR("Bob"), STR("T4"), 0},
                     {STR("last"), STR("Ada"), STR("T5"), 3}};
    bool seen[N] = {false};
    struct db_query *q = db_query(db, &arena, CREATE_ARTICLES);
    struct answer a;

    create(ADA, "old", "a", NULL);
    assert_non_null(q);
    db_bind_int8_array(q, authors, N);
    db_bind_text_array(q, slugs, N);
    db_bind_text_array(q, others, N);
    for (int i = 0; i < 3; i++)
        db_bind_text_array(q, texts, N);
    db_bind_int8_array(q, places, ARRAY_SIZE(places));
    db_bind_text_array(q, tags, ARRAY_SIZE(tags));
    assert_int_equal(answer_run(&a, q), DB_OK);
    assert_int_equal(db_rows(&a.result), N - 1);
    for (int row = 0; row < N - 1; row++) {
        int64_t i = db_get_int8(&a.result, row, CREATED_NUMBER) - 1;
        int n_tags = db_get_text_array(&a.result, row, ARTICLE_TAG_LIST, &arena, &stored);

        assert_in_range(i, 0, N - 1);
        assert_false(seen[i]);
        seen[i] = true;
        assert_true(str_eq(db_get_text(&a.result, row, ARTICLE_SLUG), expected[i].slug));
        assert_true(str_eq(db_get_text(&a.result, row, ARTICLE_TITLE), expected[i].title));
        assert_true(
            str_eq(db_get_text(&a.result, row, ARTICLE_AUTHOR_USERNAME), expected[i].author));
        assert_int_equal(n_tags, expected[i].n_tags);
        if (i == 0)
            assert_true(str_eq(stored[0], STR("b")) && str_eq(stored[1], STR("a")));
    }
    assert_false(seen[2]);
    answer_free(&a);
    assert_int_equal(pg_sql("SELECT count(*) FROM posts.articles"), N);
    assert_int_equal(pg_sql("SELECT count(*) FROM posts.article_tags"), 6);
    expect_exact_counts();
}

/* What is mine differs by caller; one is asked for twice, one is not there. */
static void several_reads_are_as_one_by_one(void **state UNUSED)
{
    enum { N = 6 };
    static const int64_t callers[N] = {0, BOB, ADA, BOB, 0, 999};
    struct str slugs[N] = {STR("a"), STR("a"), STR("a"), STR("b"), STR("nothing"), STR("b")};
    bool seen[N] = {false};
    struct db_query *q = db_query(db, &arena, GET_ARTICLES);
    struct answer a;

    create(ADA, "a", "x", NULL);
    create(CYD, "b", NULL, NULL);
    pg_sql("INSERT INTO posts.follows VALUES (2, 1)");
    pg_sql("INSERT INTO posts.favorites (account_id, article_id, article_created_at)"
           " SELECT 2, id, created_at FROM posts.articles WHERE slug = 'b'");
    assert_non_null(q);
    db_bind_int8_array(q, callers, N);
    db_bind_text_array(q, slugs, N);
    assert_int_equal(answer_run(&a, q), DB_OK);
    assert_int_equal(db_rows(&a.result), N - 1);
    for (int row = 0; row < N - 1; row++) {
        int64_t i = db_get_int8(&a.result, row, GOT_NUMBER) - 1;

        assert_in_range(i, 0, N - 1);
        assert_false(seen[i]);
        seen[i] = true;
        assert_true(str_eq(db_get_text(&a.result, row, ARTICLE_SLUG), slugs[i]));
        assert_true(str_eq(db_get_text(&a.result, row, ARTICLE_AUTHOR_USERNAME),
                           slugs[i].p[0] == 'a' ? STR("Ada") : STR("Cyd")));
        assert_true(str_eq(db_get_text(&a.result, row, ARTICLE_BODY), STR(" body\r\n")));
        assert_int_equal(db_get_bool(&a.result, row, ARTICLE_AUTHOR_FOLLOWED), i == 1);
        assert_int_equal(db_get_bool(&a.result, row, ARTICLE_FAVORITED), i == 3);
    }
    assert_false(seen[4]);
    answer_free(&a);
}

/* Nobody gets of the statements for nobody what others give nobody. */
static void anonymous_reads_are_as_others(void **state UNUSED)
{
    static const struct {
        enum posts_statement one, many;
    } forms[] = {{GET_ARTICLE, GET_ARTICLES}, {GET_ARTICLE_ANONYMOUS, GET_ARTICLES_ANONYMOUS}};
    static const int64_t callers[] = {0, 0};
    const struct str slugs[] = {STR("a"), STR("b")};
    struct answer a[2][2];

    create(ADA, "a", "x", NULL);
    create(CYD, "b", NULL, NULL);
    for (size_t i = 0; i < 2; i++) {
        struct db_query *one = db_query(db, &arena, forms[i].one),
                        *many = db_query(db, &arena, forms[i].many);

        db_bind_int8(one, 0);
        db_bind_text(one, slugs[0]);
        db_bind_int8_array(many, callers, 2);
        db_bind_text_array(many, slugs, 2);
        assert_int_equal(answer_run(&a[i][0], one), DB_OK);
        assert_int_equal(answer_run(&a[i][1], many), DB_OK);
    }
    for (size_t form = 0; form < 2; form++) {
        assert_int_equal(db_rows(&a[0][form].result), 1 + form);
        assert_int_equal(db_rows(&a[1][form].result), 1 + form);
        for (int row = 0; row <= (int)form; row++) {
            for (int column = 0; column < (int)(GOT_NUMBER + form); column++)
                assert_true(str_eq(db_get_text(&a[0][form].result, row, column),
                                   db_get_text(&a[1][form].result, row, column)));
        }
        answer_free(&a[0][form]);
        answer_free(&a[1][form]);
    }
}

static void without_an_account_nothing_is_stored(void **state UNUSED)
{
    struct str tag = STR("tag");
    struct answer a;

    submit_create(&a, 999, STR("nobody"), STR("nobody-1"), &tag, 1);
    assert_int_equal(answer_wait(&a), DB_OK);
    assert_int_equal(db_rows(&a.result), 0);
    answer_free(&a);
    assert_int_equal(pg_sql("SELECT (SELECT count(*) FROM posts.articles)"
                            " + (SELECT count(*) FROM posts.article_tags)"
                            " + (SELECT count(*) FROM posts.article_counts)"),
                     0);
}

/* A token outlives its account until its revocation has been read. */
static void without_an_account_nothing_is_changed(void **state UNUSED)
{
    static const struct {
        enum posts_statement statement;
        const char *of, *body;
    } cases[] = {
        {FAVORITE_ARTICLE, "a1", NULL}, {UNFAVORITE_ARTICLE, "a1", NULL},
        {FOLLOW_PROFILE, "ada", NULL},  {UNFOLLOW_PROFILE, "ada", NULL},
        {CREATE_COMMENT, "a1", "body"},
    };

    create(ADA, "a1", NULL, NULL);
    for (size_t i = 0; i < ARRAY_SIZE(cases); i++) {
        struct db_query *q = db_query(db, &arena, cases[i].statement);
        struct answer a;

        db_bind_int8(q, 999);
        db_bind_text(q, str_of(cases[i].of));
        if (cases[i].body) {
            db_bind_text(q, str_of(cases[i].body));
            db_bind_null(q);
            db_bind_null(q);
        }
        assert_int_equal(answer_run(&a, q), DB_OK);
        assert_int_equal(db_rows(&a.result), 0);
        answer_free(&a);
    }
    assert_int_equal(pg_sql("SELECT (SELECT count(*) FROM posts.favorites)"
                            " + (SELECT count(*) FROM posts.follows)"
                            " + (SELECT count(*) FROM posts.comments)"
                            " + (SELECT favorites_count FROM posts.articles)"),
                     0);
}

static void creates_at_once_count_exactly(void **state UNUSED)
{
    enum { N = 200 };
    static struct answer answers[N];
    struct str tags[] = {STR("a"), STR("b"), STR("c")};
    int stored = 0;

    for (size_t i = 0; i < N; i++) {
        struct str other = arena_printf(&arena, "same-%zu", i);
        submit_create(&answers[i], i % 2 ? ADA : BOB, STR("same"), other, tags, 1 + i % 3);
    }
    for (size_t i = 0; i < N; i++) {
        enum db_error error = answer_wait(&answers[i]);
        assert_true(error == DB_OK || error == DB_UNIQUE);
        stored += error == DB_OK;
        answer_free(&answers[i]);
    }
    assert_true(stored > 0);
    assert_int_equal(pg_sql("SELECT count(*) FROM posts.articles"), stored);
    expect_exact_counts();
}

/* ---- idempotency keys ---- */

static void keys_go_after_a_day_in_batches(void **state UNUSED)
{
    static const int64_t removed[] = {POSTS_PURGE_BATCH, POSTS_PURGE_BATCH, 500, 0};

    pg_sql("INSERT INTO posts.idempotency_keys"
           " SELECT 1, 'key-' || i, 'h', i, NULL, now() - interval '23 hours 59 minutes'"
           "        - (i > 10)::int * interval '2 minutes' FROM generate_series(1, 2510) i");
    for (size_t i = 0; i < ARRAY_SIZE(removed); i++) {
        struct answer a;

        assert_int_equal(answer_run(&a, db_query(db, &arena, PURGE_KEYS)), DB_OK);
        assert_int_equal(db_get_int8(&a.result, 0, 0), removed[i]);
        answer_free(&a);
    }
    assert_int_equal(pg_sql("SELECT count(*) FROM posts.idempotency_keys"), 10);
}

/* A key that has served is no row, and is gone for the create that follows. */
static void a_served_key_is_free(void **state UNUSED)
{
    struct db_query *q = db_query(db, &arena, REPLAY_COMMENT);
    struct answer a;

    pg_sql(
        "INSERT INTO posts.idempotency_keys VALUES"
        " (1, 'old', 'h', 1, NULL, now() - interval '25 hours'), (1, 'new', 'h', 1, NULL, now())");
    db_bind_int8(q, ADA);
    db_bind_text(q, STR("old"));
    db_bind_bytea(q, STR("h"));
    db_bind_text(q, STR("body"));
    assert_int_equal(answer_run(&a, q), DB_OK);
    assert_int_equal(db_rows(&a.result), 0);
    answer_free(&a);
    assert_int_equal(pg_sql("SELECT count(*) FROM posts.idempotency_keys WHERE key = 'new'"), 1);
    assert_int_equal(pg_sql("SELECT count(*) FROM posts.idempotency_keys"), 1);
}

/* ---- accounts that are deleted ---- */

/* Whether favourites are counted as they are. */
static void expect_exact_favorites(void)
{
    assert_int_equal(pg_sql("SELECT count(*) FROM (SELECT a.id, count(f.account_id) FROM"
                            " posts.articles a LEFT JOIN posts.favorites f ON f.article_id = a.id"
                            " GROUP BY a.id EXCEPT SELECT id, favorites_count FROM posts.articles)"
                            " wrong"),
                     0);
    assert_int_equal(
        pg_sql("SELECT count(*) FROM (SELECT account_id, sum(favorites) FROM posts.account_counts"
               " GROUP BY 1 HAVING sum(favorites) <> 0 EXCEPT"
               " SELECT account_id, count(*) FROM posts.favorites GROUP BY 1) wrong"),
        0);
}

static void favorite(int64_t account, const char *slug)
{
    struct db_query *q = db_query(db, &arena, FAVORITE_ARTICLE);
    struct answer a;

    db_bind_int8(q, account);
    db_bind_text(q, str_of(slug));
    assert_int_equal(answer_run(&a, q), DB_OK);
    answer_free(&a);
}

/* Runs a statement of the purge until there is nothing left to do: how often there was. */
static int purge(enum posts_statement statement)
{
    int64_t removed;
    int n = -1;

    do {
        struct answer a;

        assert_int_equal(answer_run(&a, db_query(db, &arena, statement)), DB_OK);
        removed = db_get_int8(&a.result, 0, 0);
        answer_free(&a);
        n++;
    } while (removed > 0);
    return n;
}

static void make_all_due(void)
{
    pg_sql("UPDATE posts.forgotten_accounts SET forgotten_at = now() - interval '6 minutes'");
    pg_sql("UPDATE posts.deleted_articles SET deleted_at = now() - interval '6 minutes'");
}

static void delete_article(const char *slug)
{
    struct db_query *q = db_query(db, &arena, DELETE_ARTICLE);
    char sql[128];
    struct answer a;

    snprintf(sql, sizeof(sql), "SELECT id FROM posts.articles WHERE slug = '%s'", slug);
    db_bind_int8(q, pg_sql(sql));
    assert_int_equal(answer_run(&a, q), DB_OK);
    assert_int_equal(db_rows(&a.result), 1);
    answer_free(&a);
}

/* The first page of a list that is of something; NULL: of all. */
static void expect_list(enum posts_statement list, const char *of, const char *want, int64_t total)
{
    struct db_query *q = db_query(db, &arena, list);
    struct answer a;

    db_bind_int8(q, 0);
    db_bind_int4(q, 2);
    db_bind_int4(q, 0);
    db_bind_timestamp(q, INT64_MAX);
    db_bind_int8(q, INT64_MAX);
    if (of)
        db_bind_text(q, str_of(of));
    assert_int_equal(answer_run(&a, q), DB_OK);
    expect_articles(&a.result, want, total);
    answer_free(&a);
}

/* Everybody writes, likes, follows and comments on everything. */
static void mingle(void)
{
    static const char *const slugs[] = {"a1", "a2", "b1", "c1"};

    create(ADA, "a1", "x", "y");
    create(ADA, "a2", "x", NULL);
    create(BOB, "b1", "x", "y");
    create(CYD, "c1", "y", NULL);
    for (int64_t account = ADA; account <= CYD; account++) {
        for (size_t i = 0; i < ARRAY_SIZE(slugs); i++)
            favorite(account, slugs[i]);
    }
    pg_sql("INSERT INTO posts.follows SELECT a, b FROM generate_series(1, 3) a,"
           " generate_series(1, 3) b WHERE a <> b");
    pg_sql("INSERT INTO posts.comments (article_id, author_id, body)"
           " SELECT id, account, '!' FROM posts.articles, generate_series(1, 3) account");
    pg_sql("INSERT INTO posts.idempotency_keys SELECT a, 'k', 'h', 1, NULL, now()"
           " FROM generate_series(1, 3) a");
    pg_sql("INSERT INTO posts.drafts (author_id, title, description, body, tag_list)"
           " SELECT a, 't', 'd', 'b', '{x}' FROM generate_series(1, 3) a");
}

#define OF_ADA                                                                         \
    "SELECT (SELECT count(*) FROM posts.articles WHERE author_id = 1)"                 \
    " + (SELECT count(*) FROM posts.drafts WHERE author_id = 1)"                       \
    " + (SELECT count(*) FROM posts.comments WHERE author_id = 1)"                     \
    " + (SELECT count(*) FROM posts.favorites WHERE account_id = 1)"                   \
    " + (SELECT count(*) FROM posts.follows WHERE follower_id = 1 OR followee_id = 1)" \
    " + (SELECT count(*) FROM posts.account_counts WHERE account_id = 1)"              \
    " + (SELECT count(*) FROM posts.idempotency_keys WHERE account_id = 1)"

static void a_forgotten_account_leaves_nothing(void **state UNUSED)
{
    mingle();
    sql_as("auth", "SELECT posts.forget_account(1)");
    assert_int_equal(pg_sql(OF_ADA), 0);
    assert_int_equal(pg_sql("SELECT count(*) FROM posts.articles"), 2);
    expect_exact_counts();
    expect_exact_favorites();
    expect_list(LIST_ARTICLES_BY_FAVORITE, "bob", "c1 b1 ", 2);
    purge(PURGE_ARTICLES);
    expect_list(LIST_ARTICLES_BY_FAVORITE, "bob", "c1 b1 ", 2);
    assert_int_equal(pg_sql("SELECT count(*) FROM posts.comments"), 4);
    assert_int_equal(pg_sql("SELECT count(*) FROM posts.favorites"), 4);
    assert_int_equal(pg_sql("SELECT count(*) FROM posts.follows"), 2);
    assert_int_equal(pg_sql("SELECT count(*) FROM posts.idempotency_keys"), 2);
    assert_int_equal(pg_sql("SELECT sum(n) FROM posts.article_counts"), 2);
    assert_int_equal(pg_sql("SELECT sum(n) FROM posts.tag_counts WHERE tag = 'x'"), 1);
    expect_exact_counts();
    expect_exact_favorites();
    sql_as("auth", "SELECT posts.forget_account(1)"); /* again, and one that never wrote */
    sql_as("auth", "SELECT posts.forget_account(99)");
    expect_exact_counts();
}

static void what_comes_late_is_erased_later(void **state UNUSED)
{
    mingle();
    sql_as("auth", "SELECT posts.forget_account(1)");
    assert_int_equal(purge(PURGE_ACCOUNT), 1); /* finds nothing */
    create(ADA, "late", "x", NULL); /* its account is still there, as for a statement on its way */
    favorite(ADA, "b1");
    assert_int_equal(purge(PURGE_ACCOUNT), 0);
    make_all_due();
    sql_as("auth", "SELECT posts.forget_account(2)"); /* not yet due */
    assert_int_equal(purge(PURGE_ACCOUNT), 3);        /* erases, finds nothing; and so for bob */
    assert_int_equal(pg_sql(OF_ADA), 0);
    assert_int_equal(pg_sql("SELECT account_id FROM posts.forgotten_accounts"), 2);
    expect_exact_counts();
    expect_exact_favorites();
}

/* As the version before does it. */
static void an_account_is_erased_at_once_as_well(void **state UNUSED)
{
    mingle();
    pg_sql("INSERT INTO posts.comments (article_id, author_id, body)"
           " SELECT 4, 1, '!' FROM generate_series(1, 2500)");
    pg_sql("SELECT posts.erase_account(1)");
    assert_int_equal(pg_sql(OF_ADA), 0);
    expect_exact_counts();
}

/* 2,500 of each, 1,000 at a time. */
static void a_large_account_goes_in_pieces(void **state UNUSED)
{
    static const char left[] = "SELECT count(*) FROM posts.articles WHERE author_id = 1";

    mingle();
    pg_sql("INSERT INTO posts.articles (slug, author_id, title, description, body, tag_list,"
           "                            created_at, favorites_count)"
           " SELECT i, 1, 't', 'd', 'b', '{x}', now() + i * interval '1 second', 1"
           " FROM generate_series(1, 2500) i");
    pg_sql("INSERT INTO posts.article_tags SELECT 'x', created_at, id FROM posts.articles"
           " WHERE title = 't'");
    pg_sql("INSERT INTO posts.favorites SELECT 1 + id % 2 * 2, id, created_at FROM posts.articles"
           " WHERE title = 't'");
    pg_sql("INSERT INTO posts.article_counts VALUES (20, 2500)");
    pg_sql("INSERT INTO posts.tag_counts VALUES ('x', 20, 2500)");
    pg_sql("INSERT INTO posts.account_counts VALUES (1, 20, 2500, 1250), (3, 20, 0, 1250)");
    pg_sql("INSERT INTO posts.comments (article_id, author_id, body)"
           " SELECT 4, 1, '!' FROM generate_series(1, 2500)");
    pg_sql("INSERT INTO posts.follows SELECT 10 + i, 1 FROM generate_series(1, 2500) i");
    expect_exact_counts();
    expect_exact_favorites();

    sql_as("auth", "SELECT posts.forget_account(1)");
    assert_int_equal(pg_sql(left), 1502);
    expect_exact_favorites();
    /* All that it wrote is counted off at once, and gone from the counts of others. */
    expect_list(LIST_ARTICLES, NULL, "1500 1499 ", 2);
    assert_int_equal(pg_sql("SELECT sum(n) FROM posts.tag_counts WHERE tag = 'x'"),
                     pg_sql("SELECT count(*) FROM posts.article_tags WHERE tag = 'x'"));
    assert_int_equal(pg_sql("SELECT count(*) FROM posts.account_counts WHERE account_id = 1"), 0);

    for (int want = 502; want >= 0; want -= 502) {
        assert_int_equal(pg_sql("SELECT posts.purge_account(1000)"), 1);
        assert_int_equal(pg_sql(left), want);
        expect_exact_favorites();
    }
    purge(PURGE_ACCOUNT);
    purge(PURGE_ARTICLES);
    assert_int_equal(pg_sql(OF_ADA), 0);
    assert_int_equal(pg_sql("SELECT count(*) FROM posts.comments"), 4);
    assert_int_equal(pg_sql("SELECT count(*) FROM posts.favorites"), 4);
    expect_exact_counts();
    expect_exact_favorites();
    make_all_due();
    purge(PURGE_ACCOUNT);
    purge(PURGE_ARTICLES);
    assert_int_equal(pg_sql("SELECT count(*) FROM posts.forgotten_accounts"), 0);
    assert_int_equal(pg_sql("SELECT count(*) FROM posts.deleted_articles"), 0);
}

/* Others can neither forget nor erase, and auth can do nothing else here. */
static void only_auth_may_forget(void **state UNUSED)
{
    static const char privileges[] =
        "SELECT count(*) FROM unnest(ARRAY['stoa_auth', 'stoa_chat']) role,"
        " unnest(ARRAY['posts.erase_account(bigint)', 'posts.erase_published(bigint)',"
        " 'posts.erase_some(bigint, integer)', 'posts.purge_account(integer)',"
        " 'posts.purge_articles(integer)', 'posts.purge_tags(integer)',"
        " 'posts.forget_account(bigint)']) f"
        " WHERE has_function_privilege(role, f, 'EXECUTE')";

    assert_int_equal(pg_sql(privileges), 1);
    assert_int_equal(pg_sql("SELECT has_function_privilege('stoa_auth',"
                            " 'posts.forget_account(bigint)', 'EXECUTE')::int"),
                     1);
    assert_int_equal(pg_sql("SELECT has_schema_privilege('stoa_chat', 'posts', 'USAGE')::int"), 0);
    assert_int_equal(
        pg_sql("SELECT count(*) FROM pg_class, unnest(ARRAY['stoa_auth', 'stoa_chat']) role"
               " WHERE relnamespace = 'posts'::regnamespace AND relkind = 'r'"
               " AND has_table_privilege(role, oid, 'SELECT, INSERT, UPDATE, DELETE, TRUNCATE')"),
        0);
}

/* ---- changing ---- */

static void a_deleted_article_is_counted_nowhere(void **state UNUSED)
{
    mingle();
    expect_list(LIST_ARTICLES_BY_FAVORITE, "ada", "c1 b1 ", 4);
    delete_article("b1");
    assert_int_equal(pg_sql("SELECT sum(n) FROM posts.article_counts"), 3);
    expect_exact_counts();
    expect_exact_favorites();
    expect_list(LIST_ARTICLES_BY_FAVORITE, "ada", "c1 a2 ", 3);
    purge(PURGE_ARTICLES);
    assert_int_equal(pg_sql("SELECT sum(favorites) FROM posts.account_counts"), 9);
    assert_int_equal(pg_sql("SELECT count(*) FROM posts.comments"), 9);
    expect_list(LIST_ARTICLES_BY_FAVORITE, "ada", "c1 a2 ", 3);
    expect_exact_favorites();
}

/* What belongs to it goes 1,000 rows at a time; one of its readers sees the same before, while and
 * after it goes. */
static void what_belonged_to_an_article_goes_in_pieces(void **state UNUSED)
{
    static const char favorites[] = "SELECT count(*) FROM posts.favorites WHERE article_id = 1",
                      comments[] = "SELECT count(*) FROM posts.comments WHERE article_id = 1";

    mingle();
    pg_sql("INSERT INTO posts.favorites SELECT 10 + i, id, created_at"
           " FROM posts.articles, generate_series(1, 2500) i WHERE slug = 'a1'");
    pg_sql("UPDATE posts.articles SET favorites_count = 2503 WHERE slug = 'a1'");
    pg_sql("INSERT INTO posts.account_counts SELECT 10 + i, 0, 0, 1 FROM generate_series(1, 2500) "
           "i");
    pg_sql("INSERT INTO posts.comments (article_id, author_id, body)"
           " SELECT 1, 2, '!' FROM generate_series(1, 1500)");
    pg_sql("INSERT INTO posts.article_revisions"
           " SELECT 1, i, 't', 'd', 'b', '{}', now() FROM generate_series(1, 20) i");
    assert_int_equal(pg_sql(favorites), 2503);

    delete_article("a1");
    assert_int_equal(pg_sql(favorites), 2503);
    create(BOB, "a1", NULL, NULL); /* another one, that has nothing of it */
    for (int step = 1; step <= 3; step++) {
        expect_list(LIST_ARTICLES_BY_FAVORITE, "cyd", "c1 b1 ", 3);
        assert_int_equal(pg_sql("SELECT posts.purge_articles(1000)"), 1);
        assert_int_equal(pg_sql(favorites), step < 3 ? 2503 - 1000 * step : 0);
        assert_int_equal(pg_sql(comments), step < 2 ? 503 : 0);
        expect_exact_counts();
        expect_exact_favorites();
    }
    expect_list(LIST_ARTICLES_BY_FAVORITE, "cyd", "c1 b1 ", 3);
    assert_int_equal(purge(PURGE_ARTICLES), 0);
    assert_int_equal(pg_sql("SELECT count(*) FROM posts.article_revisions"), 0);

    /* The version before comments on an article that it saw, and which is gone when it does. */
    pg_sql("INSERT INTO posts.comments (article_id, author_id, body) VALUES (1, 2, '!')");
    assert_int_equal(purge(PURGE_ARTICLES), 0);
    make_all_due();
    assert_int_equal(purge(PURGE_ARTICLES), 1);
    assert_int_equal(pg_sql(comments), 0);
    assert_int_equal(pg_sql("SELECT count(*) FROM posts.deleted_articles"), 0);
}

static void a_tag_goes_with_its_last_article(void **state UNUSED)
{
    static const char rows[] = "SELECT count(*) FROM posts.tag_counts WHERE tag = '%s'";
    char of_x[64], of_y[64];

    snprintf(of_x, sizeof(of_x), rows, "x");
    snprintf(of_y, sizeof(of_y), rows, "y");
    mingle();
    pg_sql("INSERT INTO posts.tag_counts VALUES ('y', 20, -1), ('y', 21, 1)");
    delete_article("a1");
    delete_article("a2");
    purge(PURGE_TAGS);
    assert_true(pg_sql(of_x) > 0); /* b1 has it */
    pg_sql("UPDATE posts.articles SET tag_list = '{y}' WHERE slug = 'b1'");
    pg_sql("DELETE FROM posts.article_tags WHERE tag = 'x'");
    pg_sql("INSERT INTO posts.tag_counts VALUES ('x', 22, -1)");
    purge(PURGE_TAGS);
    assert_int_equal(pg_sql(of_x), 0);
    assert_true(pg_sql(of_y) > 0);
    sql_as("auth", "SELECT posts.forget_account(2), posts.forget_account(3)");
    purge(PURGE_TAGS);
    assert_int_equal(pg_sql("SELECT count(*) FROM posts.tag_counts"), 0);
    assert_int_equal(pg_sql("SELECT count(*) FROM posts.dropped_tags"), 0);
    create(ADA, "again", "y", NULL);
    expect_exact_counts();
}

/* A change that has waited for another began before it, and its tag must differ all the same. */
static void the_time_of_a_change_never_goes_back(void **state UNUSED)
{
    struct db_query *q = db_query(db, &arena, UPDATE_ARTICLE);
    struct answer a;

    create(ADA, "a1", NULL, NULL);
    pg_sql("UPDATE posts.articles SET updated_at = now() + interval '1 hour'");
    db_bind_int8(q, ADA);
    db_bind_int8(q, 1);
    for (int i = 0; i < 4; i++)
        db_bind_null(q);
    db_bind_text(q, STR("new body"));
    db_bind_null(q);
    assert_int_equal(answer_run(&a, q), DB_OK);
    answer_free(&a);
    assert_int_equal(pg_sql("SELECT count(*) FROM posts.articles a"
                            " JOIN posts.article_revisions r ON r.article_id = a.id"
                            " WHERE a.body = 'new body' AND a.updated_at > r.created_at"
                            " AND r.created_at > now() + interval '59 minutes'"),
                     1);
}

/* ---- drafts ---- */

/* Runs a statement about the draft with this id, as this account; the count of its rows. */
static int of_draft(enum posts_statement statement, int64_t account, int64_t id)
{
    struct db_query *q = db_query(db, &arena, statement);
    struct answer a;
    int rows;

    db_bind_int8(q, account);
    db_bind_int8(q, id);
    assert_int_equal(answer_run(&a, q), DB_OK);
    rows = db_rows(&a.result);
    answer_free(&a);
    return rows;
}

static void submit_draft(struct answer *a, int64_t author, const char *title)
{
    struct db_query *q = db_query(db, &arena, CREATE_DRAFT);
    struct str tags[] = {STR("a"), STR("b")};

    db_bind_int8(q, author);
    db_bind_text(q, str_of(title));
    db_bind_text(q, STR(""));
    db_bind_text(q, STR(" body\r\n"));
    db_bind_text_array(q, tags, 2);
    db_bind_null(q);
    db_bind_null(q);
    assert_int_equal(answer_run(a, q), DB_OK);
}

static void a_draft_is_its_authors(void **state UNUSED)
{
    static const enum posts_statement statements[] = {GET_DRAFT, LOCK_DRAFT};
    struct str *tags;
    struct answer a;
    int64_t id;

    submit_draft(&a, ADA, "title");
    assert_int_equal(db_rows(&a.result), 1);
    id = db_get_int8(&a.result, 0, DRAFT_ID);
    assert_true(str_eq(db_get_text(&a.result, 0, DRAFT_TITLE), STR("title")));
    assert_true(str_eq(db_get_text(&a.result, 0, DRAFT_DESCRIPTION), STR("")));
    assert_true(str_eq(db_get_text(&a.result, 0, DRAFT_BODY), STR(" body\r\n")));
    assert_int_equal(db_get_text_array(&a.result, 0, DRAFT_TAG_LIST, &arena, &tags), 2);
    assert_int_equal(db_get_timestamp(&a.result, 0, DRAFT_CREATED_AT),
                     db_get_timestamp(&a.result, 0, DRAFT_UPDATED_AT));
    answer_free(&a);
    for (size_t i = 0; i < ARRAY_SIZE(statements); i++) {
        assert_int_equal(of_draft(statements[i], ADA, id), 1);
        assert_int_equal(of_draft(statements[i], BOB, id), 0);
        assert_int_equal(of_draft(statements[i], 0, id), 0);
        assert_int_equal(of_draft(statements[i], ADA, id + 1), 0);
    }
    submit_draft(&a, 999, "no account");
    assert_int_equal(db_rows(&a.result), 0);
    answer_free(&a);
    /* Nothing else has heard of it. */
    assert_int_equal(pg_sql("SELECT (SELECT count(*) FROM posts.articles)"
                            " + (SELECT count(*) FROM posts.article_tags)"
                            " + (SELECT count(*) FROM posts.account_counts)"
                            " + (SELECT count(*) FROM posts.tag_counts)"
                            " + (SELECT count(*) FROM posts.search_queue)"),
                     0);
}

static void drafts_are_listed_newest_first(void **state UNUSED)
{
    static const struct {
        int64_t caller, before;
        int limit;
        const char *want;
    } cases[] = {
        {ADA, INT64_MAX, 20, "4 3 1 "},
        {ADA, INT64_MAX, 2, "4 3 "},
        {ADA, 3, 20, "1 "},
        {ADA, 1, 20, ""},
        {BOB, INT64_MAX, 20, "2 "},
        {CYD, INT64_MAX, 20, ""},
    };
    static const int64_t authors[] = {ADA, BOB, ADA, ADA};
    struct answer a;

    for (size_t i = 0; i < ARRAY_SIZE(authors); i++) {
        submit_draft(&a, authors[i], "title");
        answer_free(&a);
    }
    for (size_t i = 0; i < ARRAY_SIZE(cases); i++) {
        struct db_query *q = db_query(db, &arena, LIST_DRAFTS);
        char ids[64] = "";

        db_bind_int8(q, cases[i].caller);
        db_bind_int4(q, cases[i].limit);
        db_bind_int8(q, cases[i].before);
        assert_int_equal(answer_run(&a, q), DB_OK);
        for (int row = 0; row < db_rows(&a.result); row++)
            snprintf(ids + strlen(ids), sizeof(ids) - strlen(ids), "%ld ",
                     (long)db_get_int8(&a.result, row, DRAFT_ID));
        assert_string_equal(ids, cases[i].want);
        answer_free(&a);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup(a_create_answers_with_what_it_stored, empty_tables),
        cmocka_unit_test_setup(a_taken_slug_gives_the_other, empty_tables),
        cmocka_unit_test_setup(several_at_once_are_as_one_by_one, empty_tables),
        cmocka_unit_test_setup(several_reads_are_as_one_by_one, empty_tables),
        cmocka_unit_test_setup(anonymous_reads_are_as_others, empty_tables),
        cmocka_unit_test_setup(without_an_account_nothing_is_stored, empty_tables),
        cmocka_unit_test_setup(without_an_account_nothing_is_changed, empty_tables),
        cmocka_unit_test_setup(creates_at_once_count_exactly, empty_tables),
        cmocka_unit_test_setup(keys_go_after_a_day_in_batches, empty_tables),
        cmocka_unit_test_setup(a_served_key_is_free, empty_tables),
        cmocka_unit_test_setup(a_forgotten_account_leaves_nothing, empty_tables),
        cmocka_unit_test_setup(what_comes_late_is_erased_later, empty_tables),
        cmocka_unit_test_setup(an_account_is_erased_at_once_as_well, empty_tables),
        cmocka_unit_test_setup(a_large_account_goes_in_pieces, empty_tables),
        cmocka_unit_test_setup(only_auth_may_forget, empty_tables),
        cmocka_unit_test_setup(a_deleted_article_is_counted_nowhere, empty_tables),
        cmocka_unit_test_setup(what_belonged_to_an_article_goes_in_pieces, empty_tables),
        cmocka_unit_test_setup(a_tag_goes_with_its_last_article, empty_tables),
        cmocka_unit_test_setup(the_time_of_a_change_never_goes_back, empty_tables),
        cmocka_unit_test_setup(a_draft_is_its_authors, empty_tables),
        cmocka_unit_test_setup(drafts_are_listed_newest_first, empty_tables),
    };
    return cmocka_run_group_tests(tests, setup, teardown);
}
