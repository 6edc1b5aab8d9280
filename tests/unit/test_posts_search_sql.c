/* The search of articles on a real Postgres: what is indexed, what is found, and in which order. */
#include "posts_sql_fixture.h"

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
    struct answer a;

    submit_search(&a, c);
    expect_articles(&a.result, c->want, c->total);
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

int main(void)
{
    const struct CMUnitTest tests[] = {
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
    };
    return cmocka_run_group_tests(tests, setup, teardown);
}
