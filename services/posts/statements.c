/* The SQL of posts, one named statement a query, with the index that serves it named beside it.
 *
 * Statements are planned once for all parameters, and an unknown LIMIT counts for a tenth of the
 * table in such a plan. Three habits keep the plans right whatever the tables' size:
 *   - a page is cut twice, by the caller's limit and by a constant that the planner can see;
 *   - what belongs to a row of the page is looked up LATERAL ... OFFSET 0, which can only be done
 * row by row through a primary key;
 *   - "is it mine?" is a scalar subquery, which is never turned into reading all that is mine, and
 *     comes after a test that spares anonymous callers the look-up.
 *
 * A list is one statement: the count is joined to the page from the left, so that it is there when
 * the page is empty.
 */
#include "statements.h"

#define STRINGIFY_(x) #x
#define STRINGIFY(x) STRINGIFY_(x)
#define MAX_PAGE STRINGIFY(POSTS_MAX_PAGE)
#define MAX_FILTERED STRINGIFY(POSTS_MAX_FILTERED)

/* In the order of enum article_column. a: an article, p: its author's profile, $1: the caller, 0
 * for nobody. favorites_pkey, follows_pkey. */
#define ARTICLE_COLUMNS                                                           \
    " a.slug, a.title, a.description, a.tag_list, a.created_at, a.updated_at,"    \
    " a.favorites_count, p.username, p.bio, p.image,"                             \
    " $1 <> 0 AND (SELECT true FROM posts.favorites f"                            \
    "              WHERE f.account_id = $1 AND f.article_id = a.id) IS NOT NULL," \
    " $1 <> 0 AND (SELECT true FROM posts.follows f"                              \
    "              WHERE f.follower_id = $1 AND f.followee_id = a.author_id) IS NOT NULL"

/* The author of each article of a page: the primary key behind auth.profiles. */
#define THEIR_AUTHORS                                                     \
    " CROSS JOIN LATERAL (SELECT username, bio, image FROM auth.profiles" \
    "                     WHERE id = a.author_id OFFSET 0) p"

/* The articles of a page of ids: articles_pkey. */
#define THEIR_ARTICLES \
    " CROSS JOIN LATERAL (SELECT * FROM posts.articles WHERE id = page.id OFFSET 0) a"

/* A page of columns from somewhere, newest first; $2: limit, $3: offset. */
#define PAGE(columns, from, order)                                     \
    "(SELECT * FROM (SELECT " columns " FROM " from " ORDER BY " order \
    "                LIMIT $2 OFFSET $3) cut LIMIT " MAX_PAGE ")"

/* count: one row of one int8; page: a FROM item that brings a. */
#define LIST(count, page)                                                    \
    "SELECT" ARTICLE_COLUMNS ", c.total"                                     \
    " FROM (" count ") c (total) LEFT JOIN (" page THEIR_AUTHORS ") ON true" \
    " ORDER BY a.created_at DESC, a.id DESC"

/* An account by its name's key ($n): the unique index behind auth.profiles. NULL: there is none. */
#define ACCOUNT(n) "(SELECT id FROM auth.profiles WHERE username_key = $" #n ")"

/* auth.profiles by id, articles_slug_key; counters by their primary keys.
 * $1: author, $2: slug, $3: slug if that is taken, $4: title, $5: description, $6: body, $7: tags.
 * No row: there is no such account. */
static const char create_article[] =
    "WITH author AS ("
    "  SELECT id, username, bio, image FROM auth.profiles WHERE id = $1"
    "), article AS ("
    "  INSERT INTO posts.articles (slug, author_id, title, description, body, tag_list)"
    "  SELECT CASE WHEN EXISTS (SELECT FROM posts.articles WHERE slug = $2) THEN $3 ELSE $2 END,"
    "         id, $4, $5, $6, $7 FROM author"
    "  RETURNING id, slug, author_id, title, description, tag_list, created_at, updated_at,"
    "            favorites_count"
    "), tags AS ("
    "  INSERT INTO posts.article_tags (tag, created_at, article_id)"
    "  SELECT tag, created_at, id FROM article, unnest(tag_list) tag"
    "), all_count AS ("
    "  INSERT INTO posts.article_counts AS c (shard, n) SELECT posts.shard(), 1 FROM article"
    "  ON CONFLICT (shard) DO UPDATE SET n = c.n + 1"
    "), tags_count AS ("
    "  INSERT INTO posts.tag_counts AS c (tag, shard, n)"
    "  SELECT tag, posts.shard(), 1 FROM article, unnest(tag_list) tag"
    "  ON CONFLICT (tag, shard) DO UPDATE SET n = c.n + 1"
    "), author_count AS ("
    "  INSERT INTO posts.account_counts AS c (account_id, shard, articles)"
    "  SELECT author_id, posts.shard(), 1 FROM article"
    "  ON CONFLICT (account_id, shard) DO UPDATE SET articles = c.articles + 1"
    ") SELECT a.slug, a.title, a.description, a.tag_list, a.created_at, a.updated_at,"
    "         a.favorites_count, p.username, p.bio, p.image, false, false"
    "  FROM article a, author p";

/* articles_slug_key. $2: slug. */
static const char get_article[] =
    "SELECT" ARTICLE_COLUMNS ", a.body"
    " FROM posts.articles a JOIN auth.profiles p ON p.id = a.author_id WHERE a.slug = $2";

/* articles_newest. article_counts has at most as many rows as there are shards. */
static const char list_articles[] =
    LIST("SELECT coalesce(sum(n), 0) FROM posts.article_counts",
         PAGE("*", "posts.articles", "created_at DESC, id DESC") " a");

/* article_tags_pkey, backwards; tag_counts_pkey. $4: tag. */
static const char list_articles_by_tag[] =
    LIST("SELECT coalesce(sum(n), 0) FROM posts.tag_counts WHERE tag = $4",
         PAGE("article_id", "posts.article_tags WHERE tag = $4",
              "created_at DESC, article_id DESC") " page (id)" THEIR_ARTICLES);

/* articles_by_author; account_counts_pkey. $4: the author's username key. */
static const char list_articles_by_author[] = LIST(
    "SELECT coalesce(sum(articles), 0) FROM posts.account_counts"
    " WHERE account_id = " ACCOUNT(4),
    PAGE("*", "posts.articles WHERE author_id = " ACCOUNT(4), "created_at DESC, id DESC") " a");

/* favorites_newest; account_counts_pkey. $4: the username key of whose favourites. */
static const char list_articles_by_favorite[] =
    LIST("SELECT coalesce(sum(favorites), 0) FROM posts.account_counts"
         " WHERE account_id = " ACCOUNT(4),
         PAGE("article_id", "posts.favorites WHERE account_id = " ACCOUNT(4),
              "article_created_at DESC, article_id DESC") " page (id)" THEIR_ARTICLES);

/* Two or three filters: the newest of the favourites, or else of the author's articles, are looked
 * at one by one. favorites_newest or articles_by_author, then articles_pkey.
 * $4: tag, $5: the author's username key, $6: the username key of whose favourites; NULL: any. */
static const char list_articles_filtered[] =
    "WITH matching AS MATERIALIZED ("
    "  SELECT a.id, a.created_at FROM ("
    "    (SELECT article_id AS id FROM posts.favorites"
    "     WHERE $6 IS NOT NULL AND account_id = " ACCOUNT(
        6) "     ORDER BY article_created_at DESC, article_id DESC LIMIT " MAX_FILTERED ")"
           "    UNION ALL"
           "    (SELECT id FROM posts.articles WHERE $6 IS NULL AND author_id = " ACCOUNT(
               5) "     ORDER BY created_at DESC, id DESC LIMIT " MAX_FILTERED ")"
                  "  ) page" THEIR_ARTICLES "  WHERE ($4 IS NULL OR $4 = ANY (a.tag_list))"
                  "  AND ($5 IS NULL OR a.author_id = " ACCOUNT(
                      5) ")"
                         ") " LIST("SELECT count(*) FROM matching",
                                   PAGE("id", "matching",
                                        "created_at DESC, id DESC") " page" THEIR_ARTICLES);

const struct db_statement posts_statements[POSTS_STATEMENTS] = {
    [CREATE_ARTICLE] = {"create_article",
                        create_article,
                        DB_WRITE,
                        {DB_INT8, DB_TEXT, DB_TEXT, DB_TEXT, DB_TEXT, DB_TEXT, DB_TEXT_ARRAY}},
    [GET_ARTICLE] = {"get_article", get_article, DB_READ, {DB_INT8, DB_TEXT}},
    [LIST_ARTICLES] = {"list_articles", list_articles, DB_READ, {DB_INT8, DB_INT4, DB_INT4}},
    [LIST_ARTICLES_BY_TAG] = {"list_articles_by_tag",
                              list_articles_by_tag,
                              DB_READ,
                              {DB_INT8, DB_INT4, DB_INT4, DB_TEXT}},
    [LIST_ARTICLES_BY_AUTHOR] = {"list_articles_by_author",
                                 list_articles_by_author,
                                 DB_READ,
                                 {DB_INT8, DB_INT4, DB_INT4, DB_TEXT}},
    [LIST_ARTICLES_BY_FAVORITE] = {"list_articles_by_favorite",
                                   list_articles_by_favorite,
                                   DB_READ,
                                   {DB_INT8, DB_INT4, DB_INT4, DB_TEXT}},
    [LIST_ARTICLES_FILTERED] = {"list_articles_filtered",
                                list_articles_filtered,
                                DB_READ,
                                {DB_INT8, DB_INT4, DB_INT4, DB_TEXT, DB_TEXT, DB_TEXT}},
};
