/* Lists of articles on a real Postgres: what they find, in which order, and how many there are. */
#include "posts_sql_fixture.h"

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
    struct answer a;

    bind_page_after(q, c->caller, c->limit, c->offset, c->after);
    bind_filter(q, c, c->tag);
    bind_filter(q, c, c->author);
    bind_filter(q, c, c->favorited);
    assert_int_equal(answer_run(&a, q), DB_OK);
    assert_true(db_rows(&a.result) > 0);
    expect_articles(&a.result, c->want, c->total);
    answer_free(&a);
}

static void each_filter_finds_and_counts(void **state UNUSED)
{
    static const struct list_case cases[] = {
        {LIST_ARTICLES, .limit = 20, .want = "a5 b4 a3 b2 a1 ", .total = 5},
        {LIST_ARTICLES_BY_TAG, .limit = 20, .tag = "x", .want = "a5 b2 a1 ", .total = 3},
        {LIST_ARTICLES_BY_TAG, .limit = 20, .tag = "X", .want = "", .total = 0},
        {LIST_ARTICLES_BY_AUTHOR, .limit = 20, .author = "ada", .want = "a5 a3 a1 ", .total = 3},
        {LIST_ARTICLES_BY_AUTHOR, .limit = 1, .offset = 1, .author = "ada", .want = "a3 ",
         .total = 3},
        {LIST_ARTICLES_BY_AUTHOR, .limit = 20, .offset = 9, .author = "ada", .want = "",
         .total = 3},
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

/* As one by one: who asks, how many, after which, whose. */
static void lists_of_several_authors_are_as_one_by_one(void **state UNUSED)
{
    enum { N = 7 };
    static const int64_t callers[N] = {0, CYD, CYD, 0, 0, 0, ADA};
    static const int64_t rows[N] = {20, 2, 20, 20, 20, 1, 0};
    int64_t before[N], before_ids[N];
    struct str authors[N] = {STR("ada"), STR("ada"), STR("bob"), STR("nobody"),
                             STR("ada"), STR("ada"), STR("ada")};
    static const char *const want[N] = {"a1 a3 a5 ", "a3 a5 ", "b2 b4 ", "", "a1 a3 ", "a5 ", ""};
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

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup(each_filter_finds_and_counts, empty_tables),
        cmocka_unit_test_setup(lists_of_several_authors_are_as_one_by_one, empty_tables),
        cmocka_unit_test_setup(filters_combine, empty_tables),
        cmocka_unit_test_setup(the_total_does_not_depend_on_the_page, empty_tables),
        cmocka_unit_test_setup(articles_of_one_moment_have_an_order, empty_tables),
        cmocka_unit_test_setup(tags_are_a_thousand_at_most, empty_tables),
        cmocka_unit_test_setup(flags_are_the_callers, empty_tables),
        cmocka_unit_test_setup(a_feed_has_the_newest_of_all_who_are_followed, empty_tables),
        cmocka_unit_test_setup(followed_is_each_author_in_every_list, empty_tables),
    };
    return cmocka_run_group_tests(tests, setup, teardown);
}
