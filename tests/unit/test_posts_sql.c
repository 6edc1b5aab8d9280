/* The statements of posts on a real Postgres: what they store, what they find, what they count, and
 * that none of it grows with the tables. */
#include "sql_fixture.h"

#include "../../services/posts/statements.h"

enum { ADA = 1, BOB = 2, CYD = 3 };

static int setup(void **state UNUSED)
{
    if (sql_db_setup("posts", 4, posts_statements, POSTS_STATEMENTS) != 0)
        return -1;
    sql_as_admin("INSERT INTO auth.users (username, username_key, email, email_key, password_hash)"
                 " SELECT n, lower(n), n, n, '' FROM unnest(ARRAY['Ada', 'Bob', 'Cyd']) n");
    return 0;
}

static int empty_tables(void **state UNUSED)
{
    pg_sql("TRUNCATE posts.articles, posts.article_tags, posts.favorites, posts.follows, "
           "posts.comments, posts.idempotency_keys, posts.forgotten_accounts,"
           " posts.article_counts, posts.tag_counts, posts.account_counts,"
           " posts.article_search, posts.search_queue, posts.drafts, posts.article_revisions "
           "RESTART IDENTITY");
    return 0;
}

/* ---- creating ---- */

static void submit_create(struct answer *a, int64_t author, struct str slug, struct str other,
                          const struct str *tags, size_t n_tags)
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

static void create(int64_t author, const char *slug, const char *tag1, const char *tag2)
{
    struct str tags[] = {str_of(tag1), str_of(tag2)};
    struct answer a;

    submit_create(&a, author, str_of(slug), STR("other"), tags, !!tag1 + !!tag2);
    assert_int_equal(answer_wait(&a), DB_OK);
    assert_int_equal(db_rows(&a.result), 1);
    assert_true(str_eq(db_get_text(&a.result, 0, ARTICLE_SLUG), str_of(slug)));
    answer_free(&a);
}

static void expect_exact_counts(void)
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
    static const int64_t purged[] = {1, 0};

    mingle();
    sql_as("auth", "SELECT posts.forget_account(1)");
    create(ADA, "late", "x", NULL); /* its account is still there, as for a statement on its way */
    favorite(ADA, "b1");
    pg_sql("UPDATE posts.forgotten_accounts SET forgotten_at = now() - interval '6 minutes'");
    sql_as("auth", "SELECT posts.forget_account(2)"); /* not yet due */
    for (size_t i = 0; i < ARRAY_SIZE(purged); i++) {
        struct answer a;

        assert_int_equal(answer_run(&a, db_query(db, &arena, PURGE_ACCOUNT)), DB_OK);
        assert_int_equal(db_get_int8(&a.result, 0, 0), purged[i]);
        answer_free(&a);
    }
    assert_int_equal(pg_sql(OF_ADA), 0);
    assert_int_equal(pg_sql("SELECT account_id FROM posts.forgotten_accounts"), 2);
    expect_exact_counts();
    expect_exact_favorites();
}

/* Others can neither forget nor erase, and auth can do nothing else here. */
static void only_auth_may_forget(void **state UNUSED)
{
    static const char privileges[] =
        "SELECT count(*) FROM unnest(ARRAY['stoa_auth', 'stoa_chat']) role,"
        " unnest(ARRAY['posts.erase_account(bigint)', 'posts.erase_published(bigint)',"
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
    struct db_query *q = db_query(db, &arena, DELETE_ARTICLE);
    struct answer a;

    mingle();
    db_bind_int8(q, pg_sql("SELECT id FROM posts.articles WHERE slug = 'b1'"));
    assert_int_equal(answer_run(&a, q), DB_OK);
    answer_free(&a);
    assert_int_equal(pg_sql("SELECT sum(n) FROM posts.article_counts"), 3);
    assert_int_equal(pg_sql("SELECT sum(favorites) FROM posts.account_counts"), 9);
    expect_exact_counts();
    expect_exact_favorites();
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

/* ---- lists ---- */

struct list_case {
    enum posts_statement statement;
    int64_t caller;
    int limit, offset;
    int64_t after; /* the article that the page comes after; 0: none */
    const char *tag, *author, *favorited;
    const char *want; /* slugs of the page, in order */
    int64_t total;
};

static int64_t moment_of(int64_t article)
{
    char sql[128];

    snprintf(sql, sizeof(sql),
             "SELECT (extract(epoch FROM created_at) * 1000000)::int8 FROM posts.articles"
             " WHERE id = %lld",
             (long long)article);
    return pg_sql(sql);
}

static void bind_page_after(struct db_query *q, int64_t caller, int limit, int offset,
                            int64_t after)
{
    db_bind_int8(q, caller);
    db_bind_int4(q, limit);
    db_bind_int4(q, offset);
    db_bind_timestamp(q, after ? moment_of(after) : INT64_MAX);
    db_bind_int8(q, after ? after : INT64_MAX);
}

/* The first page, or by offset. */
static void bind_page(struct db_query *q, int64_t caller, int limit, int offset)
{
    bind_page_after(q, caller, limit, offset, 0);
}

static void bind_filter(struct db_query *q, const struct list_case *c, const char *filter)
{
    if (c->statement == LIST_ARTICLES_FILTERED || filter)
        db_bind_text(q, str_of(filter));
}

static void expect_list(const struct list_case *c)
{
    struct db_query *q = db_query(db, &arena, c->statement);
    char slugs[256] = "";
    struct answer a;

    bind_page_after(q, c->caller, c->limit, c->offset, c->after);
    bind_filter(q, c, c->tag);
    bind_filter(q, c, c->author);
    bind_filter(q, c, c->favorited);
    assert_int_equal(answer_run(&a, q), DB_OK);
    assert_true(db_rows(&a.result) > 0);
    for (int i = 0; i < db_rows(&a.result); i++) {
        assert_int_equal(db_get_int8(&a.result, i, LIST_TOTAL), c->total);
        if (!db_is_null(&a.result, i, ARTICLE_SLUG))
            snprintf(slugs + strlen(slugs), sizeof(slugs) - strlen(slugs), "%s ",
                     db_get_text(&a.result, i, ARTICLE_SLUG).p);
    }
    assert_string_equal(slugs, c->want);
    answer_free(&a);
}

/* Five articles, newest last; Cyd likes a1, b2 and a5. */
static void fill(void)
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

static void each_filter_finds_and_counts(void **state UNUSED)
{
    static const struct list_case cases[] = {
        {LIST_ARTICLES, .limit = 20, .want = "a5 b4 a3 b2 a1 ", .total = 5},
        {LIST_ARTICLES_BY_TAG, .limit = 20, .tag = "x", .want = "a5 b2 a1 ", .total = 3},
        {LIST_ARTICLES_BY_TAG, .limit = 20, .tag = "X", .want = "", .total = 0},
        {LIST_ARTICLES_BY_AUTHOR, .limit = 20, .author = "ada", .want = "a5 a3 a1 ", .total = 3},
        {LIST_ARTICLES_BY_AUTHOR, .limit = 20, .author = "cyd", .want = "", .total = 0},
        {LIST_ARTICLES_BY_AUTHOR, .limit = 20, .author = "nobody", .want = "", .total = 0},
        {LIST_ARTICLES_BY_FAVORITE, .limit = 20, .favorited = "cyd", .want = "a5 b2 a1 ",
         .total = 3},
        {LIST_ARTICLES_BY_FAVORITE, .limit = 20, .favorited = "ada", .want = "", .total = 0},
        {LIST_ARTICLES_BY_FAVORITE, .limit = 20, .favorited = "nobody", .want = "", .total = 0},
    };

    fill();
    for (size_t i = 0; i < ARRAY_SIZE(cases); i++)
        expect_list(&cases[i]);
}

/* As one by one: who asks, how many, from where, whose. */
static void lists_of_several_authors_are_as_one_by_one(void **state UNUSED)
{
    enum { N = 7 };
    static const int64_t callers[N] = {0, CYD, CYD, 0, 0, 0, ADA};
    static const int64_t rows[N] = {20, 2, 20, 20, 20, 1, 20}, offsets[N] = {0, 0, 0, 0, 0, 1, 9};
    int64_t before[N], before_ids[N];
    struct str authors[N] = {STR("ada"), STR("ada"), STR("bob"), STR("nobody"),
                             STR("ada"), STR("ada"), STR("ada")};
    static const char *const want[N] = {"a1 a3 a5 ", "a3 a5 ", "b2 b4 ", "", "a1 a3 ", "a3 ", ""};
    static const int64_t totals[N] = {3, 3, 2, 0, 3, 3, 3};
    struct db_query *q = db_query(db, &arena, LIST_ARTICLES_BY_AUTHORS);
    char slugs[N][64] = {""};
    struct answer a;

    fill();
    pg_sql("UPDATE posts.articles SET created_at = '2024-01-01'"); /* the order is their ids' */
    pg_sql("INSERT INTO posts.follows (follower_id, followee_id) VALUES (3, 1)");
    for (size_t i = 0; i < N; i++)
        before[i] = before_ids[i] = INT64_MAX;
    before_ids[4] = pg_sql("SELECT id FROM posts.articles WHERE slug = 'a5'");
    before[4] = moment_of(before_ids[4]);
    assert_non_null(q);
    db_bind_int8_array(q, callers, N);
    db_bind_int8_array(q, rows, N);
    db_bind_int8_array(q, offsets, N);
    db_bind_timestamp_array(q, before, N);
    db_bind_int8_array(q, before_ids, N);
    db_bind_text_array(q, authors, N);
    assert_int_equal(answer_run(&a, q), DB_OK);
    for (int row = db_rows(&a.result) - 1; row >= 0; row--) {
        int64_t i = db_get_int8(&a.result, row, LISTED_NUMBER) - 1;
        struct str slug = db_get_text(&a.result, row, ARTICLE_SLUG);

        assert_in_range(i, 0, N - 1);
        assert_int_equal(db_get_int8(&a.result, row, LIST_TOTAL), totals[i]);
        if (!slug.p)
            continue;
        snprintf(slugs[i] + strlen(slugs[i]), sizeof(slugs[i]) - strlen(slugs[i]), "%s ", slug.p);
        assert_int_equal(db_get_bool(&a.result, row, ARTICLE_AUTHOR_FOLLOWED), i == 1);
        assert_int_equal(db_get_bool(&a.result, row, ARTICLE_FAVORITED),
                         (i == 1 && slug.p[1] == '5') || (i == 2 && slug.p[1] == '2'));
    }
    for (size_t i = 0; i < N; i++)
        assert_string_equal(slugs[i], want[i]);
    answer_free(&a);
}

static void filters_combine(void **state UNUSED)
{
    static const struct list_case cases[] = {
        {LIST_ARTICLES_FILTERED, 0, 20, 0, 0, "x", "ada", NULL, "a5 a1 ", 2},
        {LIST_ARTICLES_FILTERED, 0, 20, 0, 0, "x", NULL, "cyd", "a5 b2 a1 ", 3},
        {LIST_ARTICLES_FILTERED, 0, 20, 0, 0, "y", NULL, "cyd", "a1 ", 1},
        {LIST_ARTICLES_FILTERED, 0, 20, 0, 0, NULL, "bob", "cyd", "b2 ", 1},
        {LIST_ARTICLES_FILTERED, 0, 20, 0, 0, "y", "ada", "cyd", "a1 ", 1},
        {LIST_ARTICLES_FILTERED, 0, 20, 0, 0, "y", "bob", "cyd", "", 0},
        {LIST_ARTICLES_FILTERED, 0, 20, 0, 0, "x", "nobody", NULL, "", 0},
        {LIST_ARTICLES_FILTERED, 0, 20, 0, 0, "x", "nobody", "cyd", "", 0},
        {LIST_ARTICLES_FILTERED, 0, 20, 0, 0, "x", NULL, "nobody", "", 0},
        {LIST_ARTICLES_FILTERED, 0, 1, 1, 0, "x", "ada", NULL, "a1 ", 2},
    };

    fill();
    for (size_t i = 0; i < ARRAY_SIZE(cases); i++)
        expect_list(&cases[i]);
}

static void the_total_does_not_depend_on_the_page(void **state UNUSED)
{
    static const struct list_case cases[] = {
        {LIST_ARTICLES, .limit = 2, .want = "a5 b4 ", .total = 5},
        {LIST_ARTICLES, .limit = 2, .offset = 3, .want = "b2 a1 ", .total = 5},
        {LIST_ARTICLES, .limit = 2, .offset = 4, .want = "a1 ", .total = 5},
        {LIST_ARTICLES, .limit = 2, .offset = 5, .want = "", .total = 5},
        {LIST_ARTICLES, .limit = 0, .want = "", .total = 5},
        {LIST_ARTICLES, .limit = 100, .offset = INT32_MAX, .want = "", .total = 5},
        {LIST_ARTICLES_BY_TAG, .limit = 0, .tag = "x", .want = "", .total = 3},
        {LIST_ARTICLES_BY_AUTHOR, .limit = 1, .offset = 9, .author = "ada", .want = "", .total = 3},
    };

    expect_list(&(struct list_case){LIST_ARTICLES, .limit = 20, .want = "", .total = 0});
    fill();
    for (size_t i = 0; i < ARRAY_SIZE(cases); i++)
        expect_list(&cases[i]);
}

static void articles_of_one_moment_have_an_order(void **state UNUSED)
{
    static const struct list_case cases[] = {
        {LIST_ARTICLES, .limit = 20, .want = "a5 b4 a3 b2 a1 ", .total = 5},
        {LIST_ARTICLES, .limit = 2, .after = 4, .want = "a3 b2 ", .total = 5},
        {LIST_ARTICLES_BY_TAG, .limit = 2, .after = 5, .tag = "x", .want = "b2 a1 ", .total = 3},
        {LIST_ARTICLES_BY_AUTHOR, .limit = 1, .after = 5, .author = "ada", .want = "a3 ",
         .total = 3},
        {LIST_ARTICLES_BY_FAVORITE, .limit = 1, .after = 5, .favorited = "cyd", .want = "b2 ",
         .total = 3},
        {LIST_ARTICLES_FILTERED, .limit = 1, .after = 5, .tag = "x", .favorited = "cyd",
         .want = "b2 ", .total = 3},
        {LIST_FEED, .caller = CYD, .limit = 2, .after = 4, .want = "a3 b2 ", .total = 5},
    };

    fill();
    pg_sql("INSERT INTO posts.follows (follower_id, followee_id) VALUES (3, 1), (3, 2)");
    pg_sql("UPDATE posts.articles SET created_at = '2024-01-01'");
    pg_sql("UPDATE posts.article_tags SET created_at = '2024-01-01'");
    pg_sql("UPDATE posts.favorites SET article_created_at = '2024-01-01'");
    for (size_t i = 0; i < ARRAY_SIZE(cases); i++)
        expect_list(&cases[i]);
}

static void tags_are_a_thousand_at_most(void **state UNUSED)
{
    struct answer a;

    pg_sql("INSERT INTO posts.article_tags SELECT 't' || i, now(), i + j"
           " FROM generate_series(1, 1001) i, generate_series(0, 1) j");
    assert_int_equal(answer_run(&a, db_query(db, &arena, LIST_TAGS)), DB_OK);
    assert_int_equal(db_rows(&a.result), 1000);
    assert_true(str_eq(db_get_text(&a.result, 0, 0), STR("t1")));
    answer_free(&a);
}

static void flags_are_the_callers(void **state UNUSED)
{
    static const int64_t callers[] = {0, ADA, CYD};

    fill();
    pg_sql("INSERT INTO posts.follows (follower_id, followee_id) VALUES (3, 1)");
    for (size_t i = 0; i < ARRAY_SIZE(callers); i++) {
        struct db_query *q = db_query(db, &arena, LIST_ARTICLES);
        struct answer a;

        bind_page(q, callers[i], 20, 0);
        assert_int_equal(answer_run(&a, q), DB_OK);
        for (int row = 0; row < 5; row++) { /* a5 b4 a3 b2 a1 */
            bool liked = row == 0 || row == 3 || row == 4, by_ada = row % 2 == 0;
            assert_int_equal(db_get_bool(&a.result, row, ARTICLE_FAVORITED),
                             callers[i] == CYD && liked);
            assert_int_equal(db_get_bool(&a.result, row, ARTICLE_AUTHOR_FOLLOWED),
                             callers[i] == CYD && by_ada);
        }
        answer_free(&a);
    }
}

static void expect_feeds(const struct list_case *cases, size_t n)
{
    for (size_t i = 0; i < n; i++)
        expect_list(&cases[i]);
}

/* Also when the page ends among articles of one moment, or with one author's alone. */
static void a_feed_has_the_newest_of_all_who_are_followed(void **state UNUSED)
{
    static const struct list_case cases[] = {
        {LIST_FEED, CYD, .limit = 20, .want = "a5 b4 a3 b2 a1 ", .total = 5},
        {LIST_FEED, CYD, .limit = 1, .want = "a5 ", .total = 5},
        {LIST_FEED, CYD, .limit = 2, .want = "a5 b4 ", .total = 5},
        {LIST_FEED, CYD, .limit = 3, .want = "a5 b4 a3 ", .total = 5},
        {LIST_FEED, CYD, .limit = 1, .offset = 1, .want = "b4 ", .total = 5},
        {LIST_FEED, CYD, .limit = 2, .offset = 2, .want = "a3 b2 ", .total = 5},
        {LIST_FEED, CYD, .limit = 2, .offset = 5, .want = "", .total = 5},
        {LIST_FEED, CYD, .limit = 0, .want = "", .total = 5},
        {LIST_FEED, ADA, .limit = 20, .want = "b4 b2 ", .total = 2},
        {LIST_FEED, ADA, .limit = 1, .want = "b4 ", .total = 2},
        {LIST_FEED, BOB, .limit = 20, .want = "", .total = 0},
    };
    static const struct list_case alone[] = {
        {LIST_FEED, CYD, .limit = 2, .want = "a5 a3 ", .total = 5},
        {LIST_FEED, CYD, .limit = 4, .want = "a5 a3 a1 b4 ", .total = 5},
    };

    fill();
    pg_sql("INSERT INTO posts.follows (follower_id, followee_id) VALUES (3, 1), (3, 2), (1, 2)");
    expect_feeds(cases, ARRAY_SIZE(cases));
    pg_sql("UPDATE posts.articles SET created_at = '2024-01-01'");
    expect_feeds(cases, ARRAY_SIZE(cases));
    pg_sql("UPDATE posts.articles SET created_at = '2023-01-01' WHERE author_id = 2");
    expect_feeds(alone, ARRAY_SIZE(alone));
}

/* By one author, and of those who are followed: the statements know it for all articles at once. */
static void followed_is_each_author_in_every_list(void **state UNUSED)
{
    static const struct {
        struct list_case list;
        bool followed;
    } cases[] = {
        {{LIST_ARTICLES_BY_AUTHOR, CYD, .limit = 20, .author = "ada"}, true},
        {{LIST_ARTICLES_BY_AUTHOR, CYD, .limit = 20, .author = "bob"}, false},
        {{LIST_ARTICLES_BY_AUTHOR, ADA, .limit = 20, .author = "ada"}, false},
        {{LIST_ARTICLES_BY_AUTHOR, 0, .limit = 20, .author = "ada"}, false},
        {{LIST_FEED, CYD, .limit = 20}, true},
    };

    fill();
    pg_sql("INSERT INTO posts.follows (follower_id, followee_id) VALUES (3, 1)");
    for (size_t i = 0; i < ARRAY_SIZE(cases); i++) {
        const struct list_case *c = &cases[i].list;
        struct db_query *q = db_query(db, &arena, c->statement);
        struct answer a;

        bind_page(q, c->caller, c->limit, c->offset);
        bind_filter(q, c, c->author);
        assert_int_equal(answer_run(&a, q), DB_OK);
        assert_true(db_rows(&a.result) >= 2);
        for (int row = 0; row < db_rows(&a.result); row++)
            assert_int_equal(db_get_bool(&a.result, row, ARTICLE_AUTHOR_FOLLOWED),
                             cases[i].followed);
        answer_free(&a);
    }
}

/* ---- search ---- */

static int64_t index_batch(void)
{
    struct answer a;
    int64_t taken;

    assert_int_equal(answer_run(&a, db_query(db, &arena, INDEX_ARTICLES)), DB_OK);
    taken = db_get_int8(&a.result, 0, 0);
    answer_free(&a);
    return taken;
}

static void index_all(void)
{
    while (index_batch() > 0)
        ;
}

struct search_case {
    const char *q, *want; /* slugs in order, each with a space behind it */
    int64_t total;
    const char *tag, *author, *favorited;
};

static void submit_search(struct answer *a, const struct search_case *c)
{
    struct db_query *q = db_query(db, &arena, SEARCH_ARTICLES);

    db_bind_int8(q, 0);
    db_bind_int4(q, 20);
    db_bind_int4(q, 0);
    db_bind_int8(q, INT64_MAX);
    db_bind_int8(q, INT64_MAX);
    db_bind_text(q, str_of(c->tag));
    db_bind_text(q, str_of(c->author));
    db_bind_text(q, str_of(c->favorited));
    db_bind_text(q, str_of(c->q));
    assert_int_equal(answer_run(a, q), DB_OK);
    assert_true(db_rows(&a->result) > 0);
}

static void expect_search(const struct search_case *c)
{
    char slugs[256] = "";
    struct answer a;

    submit_search(&a, c);
    for (int i = 0; i < db_rows(&a.result); i++) {
        assert_int_equal(db_get_int8(&a.result, i, LIST_TOTAL), c->total);
        if (!db_is_null(&a.result, i, ARTICLE_SLUG))
            snprintf(slugs + strlen(slugs), sizeof(slugs) - strlen(slugs), "%s ",
                     db_get_text(&a.result, i, ARTICLE_SLUG).p);
    }
    assert_string_equal(slugs, c->want);
    answer_free(&a);
}

/* Of the articles of fill(). */
static void write_texts(void)
{
    pg_sql("UPDATE posts.articles a SET title = t.title, description = t.description, body = t.body"
           " FROM (VALUES ('a1', 'Whales', 'On whales', 'A whale is no fish.'),"
           "              ('b2', 'Fish', 'On fish', 'Whales eat some.'),"
           "              ('a3', 'Nothing', 'Of note', repeat('filler ', 5000) || 'whale'),"
           "              ('b4', 'Sea', 'Sailing', 'The sea has ships, and a blue whale'),"
           "              ('a5', 'The and of', 'It was', 'not to be'))"
           "      t (slug, title, description, body) WHERE a.slug = t.slug");
}

static void a_search_finds_and_ranks(void **state UNUSED)
{
    static const struct search_case cases[] = {
        {.q = "whale", .want = "a1 b2 b4 a3 ", .total = 4},
        {.q = "WHALES", .want = "a1 b2 b4 a3 ", .total = 4},
        {.q = "whale fish", .want = "b2 a1 ", .total = 2},
        {.q = "fish or ships", .want = "b2 b4 a1 ", .total = 3},
        {.q = "whale -fish", .want = "b4 a3 ", .total = 2},
        {.q = "\"blue whale\"", .want = "b4 ", .total = 1},
        {.q = "\"whale blue\"", .want = "", .total = 0},
        {.q = "unheard", .want = "", .total = 0},
        {.q = "y", .want = "a1 a3 ", .total = 2}, /* a tag */
        {.q = "whale", .want = "a1 b2 ", .total = 2, .tag = "x"},
        {.q = "whale", .want = "b2 b4 ", .total = 2, .author = "bob"},
        {.q = "whale", .want = "a1 b2 ", .total = 2, .favorited = "cyd"},
        {.q = "whale", .want = "b2 ", .total = 1, .tag = "x", .author = "bob", .favorited = "cyd"},
        {.q = "whale", .want = "", .total = 0, .author = "nobody"},
    };
    static const char *const no_words[] = {"the",  "the and of", "-whale", "whale or -fish",
                                           "\"\"", "& | ! ()",   " ",      "-"};

    fill();
    write_texts();
    index_all();
    for (size_t i = 0; i < ARRAY_SIZE(cases); i++)
        expect_search(&cases[i]);
    for (size_t i = 0; i < ARRAY_SIZE(no_words); i++)
        expect_search(&(struct search_case){.q = no_words[i], .want = "", .total = NO_WORDS});
    expect_search(&(struct search_case){.q = "-the whale or", .want = "a1 b2 b4 a3 ", .total = 4});
}

/* The newest of 11,000, from one and then each so many before it, as expect_search() wants them. */
static const char *twenty_from(char *ret, int newest, int step)
{
    *ret = '\0';
    for (int i = 0; i < 20; i++)
        sprintf(ret + strlen(ret), "p%d ", newest - i * step);
    return ret;
}

/* What many have is looked for from the newest on, if the tables' statistics say that this is less
 * work: with the same result. */
static void a_search_is_the_same_from_the_newest_on_and_by_the_index(void **state UNUSED)
{
    char all[256], of_ada[256], fresh[256], plan[65536];
    const char *by_index, *skipped;
    const struct search_case cases[] = {
        {.q = "common", .want = twenty_from(all, 11000, 1), .total = POSTS_MAX_FOUND},
        {.q = "common -nothing", .want = all, .total = POSTS_MAX_FOUND},
        {.q = "\"quite common\"", .want = all, .total = POSTS_MAX_FOUND},
        /* All of the newest that are looked at at first have it, but only 1,000 of all. */
        {.q = "fresh", .want = twenty_from(fresh, 11000, 1), .total = 1000},
        {.q = "common", .want = twenty_from(of_ada, 10999, 2), .total = 2000, .author = "ada"},
        /* Two are his, but one of them is not among the newest POSTS_MAX_FILTERED. */
        {.q = "common", .want = "p5000 ", .total = 1, .author = "cyd"},
        {.q = "old", .want = "p1 ", .total = 1},
    };

    pg_sql(
        "INSERT INTO posts.articles (slug, author_id, title, description, body, tag_list)"
        " SELECT 'p' || i, CASE WHEN i IN (500, 5000) THEN 3 ELSE 2 - i % 2 END, '', '', '', '{}'"
        " FROM generate_series(1, 11000) i ORDER BY i");
    pg_sql("INSERT INTO posts.article_search"
           " SELECT id, to_tsvector('posts.words', 'quite common'"
           "        || CASE WHEN i > 10700 OR i <= 700 THEN ' fresh' ELSE ' stale' END"
           "        || CASE WHEN i = 1 THEN ' old' ELSE ' new' END)"
           " FROM posts.articles CROSS JOIN LATERAL (SELECT substr(slug, 2)::int) n (i)");
    for (int analyzed = 0; analyzed < 2; analyzed++) {
        for (size_t i = 0; i < ARRAY_SIZE(cases); i++)
            expect_search(&cases[i]);
        pg_sql("ANALYZE posts.article_search");
    }
    sql_plan(&posts_statements[SEARCH_ARTICLES],
             "0, 20, 0, 9223372036854775807, 9223372036854775807, NULL, NULL, NULL, 'common'", plan,
             sizeof(plan));
    by_index = strstr(plan, "Bitmap Index Scan on article_search_document");
    assert_non_null(by_index);
    skipped = strstr(by_index, "(never executed)");
    if (!skipped || skipped > by_index + strcspn(by_index, "\n"))
        fail_msg("what all have is looked for by the index:\n%s", plan);
}

static void what_changes_is_found_anew(void **state UNUSED)
{
    fill();
    index_all();
    expect_search(&(struct search_case){.q = "whale", .want = "", .total = 0});
    write_texts();
    expect_search(&(struct search_case){.q = "whale", .want = "", .total = 0});
    index_all();
    expect_search(&(struct search_case){.q = "fish", .want = "b2 a1 ", .total = 2});
    /* Nothing but words and tags is a reason. */
    pg_sql("UPDATE posts.articles SET favorites_count = favorites_count + 1, updated_at = now()");
    assert_int_equal(pg_sql("SELECT count(*) FROM posts.search_queue"), 0);
    pg_sql("UPDATE posts.articles SET body = 'else', description = 'else' WHERE slug = 'a1'");
    index_all();
    expect_search(&(struct search_case){.q = "fish", .want = "b2 ", .total = 1});
    pg_sql("DELETE FROM posts.articles WHERE slug = 'b2'"); /* at once */
    expect_search(&(struct search_case){.q = "fish", .want = "", .total = 0});
    /* An article that went while it was indexed. */
    pg_sql("INSERT INTO posts.article_search SELECT article_id, 'fish' FROM posts.search_queue");
    index_all();
    assert_int_equal(pg_sql("SELECT count(*) FROM posts.article_search WHERE document = 'fish'"),
                     0);
    assert_int_equal(pg_sql("SELECT count(*) FROM posts.article_search"), 4);
}

/* For connections that have prepared their statements before, too. */
static void searches_are_in_the_language_that_is_set(void **state UNUSED)
{
    static const struct {
        const char *language;
        struct search_case searches[6]; /* up to one without words */
    } cases[] = {
        {"english",
         {{.q = "ships", .want = "a1 ", .total = 1},
          {.q = "Haus", .want = "", .total = 0},
          {.q = "\xd0\xb4\xd0\xbe\xd0\xbc", .want = "", .total = 0}, /* house, in Russian */
          {.q = "an", .want = "", .total = NO_WORDS},
          {.q = "die", .want = "b2 ", .total = 1}}},
        {"german",
         {{.q = "Haus", .want = "b2 ", .total = 1},
          {.q = "an ship", .want = "a1 ", .total = 1},
          {.q = "die", .want = "", .total = NO_WORDS}}},
        {"russian",
         {{.q = "\xd0\xb4\xd0\xbe\xd0\xbc", .want = "a3 ", .total = 1},
          {.q = "ships", .want = "a1 ", .total = 1}}},
        {"simple",
         {{.q = "ships", .want = "", .total = 0},
          {.q = "an", .want = "a1 b2 ", .total = 2},
          {.q = "die", .want = "b2 ", .total = 1}}},
        {"english", {{.q = "ships", .want = "a1 ", .total = 1}}},
    };
    char sql[64];

    create(ADA, "a1", NULL, NULL);
    create(BOB, "b2", NULL, NULL);
    create(ADA, "a3", NULL, NULL);
    pg_sql("UPDATE posts.articles a SET title = t.title, body = t.body"
           " FROM (VALUES ('a1', 'An old ship', ''), ('b2', 'Die H\xc3\xa4user', 'an der Elbe'),"
           "  ('a3', '\xd0\xb4\xd0\xbe\xd0\xbc\xd0\xb0', '')) t (slug, title, body)"
           " WHERE a.slug = t.slug");
    for (size_t i = 0; i < ARRAY_SIZE(cases); i++) {
        snprintf(sql, sizeof(sql), "SELECT posts.search_in('%s')", cases[i].language);
        assert_int_equal(pg_sql(sql), 3);
        index_all();
        for (const struct search_case *c = cases[i].searches; c->q; c++)
            expect_search(c);
    }
}

static void articles_from_before_are_queued(void **state UNUSED)
{
    fill();
    write_texts();
    pg_sql("TRUNCATE posts.search_queue");
    sql_shell(
        "psql -Xq1 -v ON_ERROR_STOP=1 '%s' -f services/posts/migrations/0006_search_queue.sql",
        pg_conninfo);
    index_all();
    expect_search(&(struct search_case){.q = "fish", .want = "b2 a1 ", .total = 2});
    assert_int_equal(pg_sql("SELECT count(*) FROM posts.article_search"), 5);
}

static void articles_are_indexed_in_batches(void **state UNUSED)
{
    pg_sql("INSERT INTO posts.articles (slug, author_id, title, description, body, tag_list)"
           " SELECT 's' || i, 1, 'whale', 'd', 'b', '{}' FROM generate_series(1, 45) i");
    assert_int_equal(index_batch(), POSTS_INDEX_BATCH);
    assert_int_equal(index_batch(), POSTS_INDEX_BATCH);
    assert_int_equal(index_batch(), 5);
    assert_int_equal(index_batch(), 0);
    assert_int_equal(pg_sql("SELECT count(*) FROM posts.article_search"), 45);
}

/* Whoever indexes has it alone; the others have nothing to do. */
static void indexers_take_turns(void **state UNUSED)
{
    PGconn *other = PQconnectdb(pg_conninfo);

    create(ADA, "a1", NULL, NULL);
    PQclear(sql_exec(other, "BEGIN"));
    PQclear(sql_exec(other, posts_statements[INDEX_ARTICLES].sql));
    create(ADA, "a2", NULL, NULL);
    assert_int_equal(index_batch(), 0);
    PQclear(sql_exec(other, "COMMIT"));
    PQfinish(other);
    assert_int_equal(index_batch(), 1);
    assert_int_equal(pg_sql("SELECT count(*) FROM posts.article_search"), 2);
}

/* Whatever an author writes can be indexed: at the limits of the contract, and in words as many and
 * as long as they can be. */
static void no_text_stops_the_indexer(void **state UNUSED)
{
    static const char *const bodies[] = {
        "repeat('x', 262144)",
        "(SELECT string_agg(i::text, ' ') FROM generate_series(1, 40000) i)",
        "(SELECT string_agg(chr(19968 + i % 20000) || chr(19968 + i / 7), ' ')"
        " FROM generate_series(1, 87000) i)",
        "(SELECT string_agg('a' || i || '-b' || i, ' ') FROM generate_series(1, 20000) i)",
        "(SELECT string_agg('h' || i || '.org/p' || i, ' ') FROM generate_series(1, 20000) i)",
        "(SELECT string_agg(repeat(chr(128512 + i % 50), 500) || i, ' ')"
        " FROM generate_series(1, 500) i)",
        "repeat(chr(1) || chr(2) || chr(127), 80000)",
    };

    for (size_t i = 0; i < ARRAY_SIZE(bodies); i++) {
        char sql[512];

        snprintf(sql, sizeof(sql),
                 "INSERT INTO posts.articles (slug, author_id, title, description, body, tag_list)"
                 " VALUES ('s%zu', 1, 'whale', 'd', left(%s, 262144), '{}')",
                 i, bodies[i]);
        pg_sql(sql);
        assert_int_equal(index_batch(), 1);
    }
    assert_int_equal(pg_sql("SELECT count(*) FROM posts.article_search"), ARRAY_SIZE(bodies));
}

static void highlights_mark_hits_alone(void **state UNUSED)
{
    struct search_case c = {.q = "whale", .total = 1};
    struct str title, excerpt;
    struct answer a;

    create(ADA, "a1", NULL, NULL);
    pg_sql("UPDATE posts.articles SET title = E'\\x01Whales\\x02 & \\x01 more',"
           " body = repeat('filler ', 100) || 'of a whale < 3 ' || repeat('filler ', 2000)");
    index_all();
    submit_search(&a, &c);
    title = db_get_text(&a.result, 0, FOUND_TITLE);
    excerpt = db_get_text(&a.result, 0, FOUND_EXCERPT);
    assert_string_equal(title.p, "\x01Whales\x02 &  more");
    assert_non_null(strstr(excerpt.p, "of a \x01whale\x02 < 3"));
    assert_true(excerpt.n < 400);
    assert_string_equal(db_get_text(&a.result, 0, FOUND_DESCRIPTION).p, "Description");
    answer_free(&a);
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

/* ---- plans ---- */

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
        {LIST_ARTICLES_BY_TAG, FIRST_PAGE(0) ", 'tag0'", 200},
        {LIST_ARTICLES_BY_TAG, DEEP_PAGE(0) ", 'tag0'", 200},
        {LIST_ARTICLES_BY_TAG, FIRST_PAGE(9) ", 'tag999'", 360},
        {LIST_ARTICLES_BY_AUTHOR, FIRST_PAGE(0) ", 'ada'", 60},
        {LIST_ARTICLES_BY_AUTHOR, DEEP_PAGE(0) ", 'ada'", 60},
        {LIST_ARTICLES_BY_AUTHOR, FIRST_PAGE(9) ", 'u4999'", 200},
        {LIST_ARTICLES_BY_AUTHOR, FIRST_PAGE(9) ", 'nobody'", 40},
        {LIST_ARTICLES_BY_AUTHORS,
         "'{0,9}', '{20,20}', '{0,0}', '{infinity,2000-01-01}', '{1,1}', '{ada,u4999}'", 100},
        {LIST_ARTICLES_BY_AUTHORS,
         "'{9,9}', '{20,20}', '{0,0}', '{infinity,infinity}', '{1,1}', '{u4999,nobody}'", 200},
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
        {PURGE_KEYS, NULL, 12000}, /* 1,000 keys */
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
        cmocka_unit_test_setup(only_auth_may_forget, empty_tables),
        cmocka_unit_test_setup(a_deleted_article_is_counted_nowhere, empty_tables),
        cmocka_unit_test_setup(the_time_of_a_change_never_goes_back, empty_tables),
        cmocka_unit_test_setup(each_filter_finds_and_counts, empty_tables),
        cmocka_unit_test_setup(lists_of_several_authors_are_as_one_by_one, empty_tables),
        cmocka_unit_test_setup(filters_combine, empty_tables),
        cmocka_unit_test_setup(the_total_does_not_depend_on_the_page, empty_tables),
        cmocka_unit_test_setup(articles_of_one_moment_have_an_order, empty_tables),
        cmocka_unit_test_setup(tags_are_a_thousand_at_most, empty_tables),
        cmocka_unit_test_setup(flags_are_the_callers, empty_tables),
        cmocka_unit_test_setup(a_feed_has_the_newest_of_all_who_are_followed, empty_tables),
        cmocka_unit_test_setup(followed_is_each_author_in_every_list, empty_tables),
        cmocka_unit_test_setup(a_draft_is_its_authors, empty_tables),
        cmocka_unit_test_setup(drafts_are_listed_newest_first, empty_tables),
        cmocka_unit_test_setup(a_search_finds_and_ranks, empty_tables),
        cmocka_unit_test_setup(a_search_is_the_same_from_the_newest_on_and_by_the_index,
                               empty_tables),
        cmocka_unit_test_setup(what_changes_is_found_anew, empty_tables),
        cmocka_unit_test_setup(searches_are_in_the_language_that_is_set, empty_tables),
        cmocka_unit_test_setup(articles_from_before_are_queued, empty_tables),
        cmocka_unit_test_setup(articles_are_indexed_in_batches, empty_tables),
        cmocka_unit_test_setup(indexers_take_turns, empty_tables),
        cmocka_unit_test_setup(no_text_stops_the_indexer, empty_tables),
        cmocka_unit_test_setup(highlights_mark_hits_alone, empty_tables),
        cmocka_unit_test_setup(nothing_grows_with_the_tables, empty_tables),
    };
    return cmocka_run_group_tests(tests, setup, teardown);
}
