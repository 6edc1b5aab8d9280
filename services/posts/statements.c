/* The SQL of posts, one named statement a query, with the index that serves it named beside it.
 *
 * Statements are planned once for all parameters, and an unknown LIMIT counts for a tenth of the
 * table in such a plan. Three habits keep the plans right whatever the tables' size:
 *   - a page is cut twice, by the caller's limit and by a constant that the planner can see;
 *   - what belongs to a row of the page is looked up LATERAL ... OFFSET 0, which can only be done
 *     row by row through a primary key;
 *   - "is it mine?" is a scalar subquery, which is never turned into reading all that is mine, and
 *     comes after a test that spares anonymous callers the look-up.
 *
 * A list is one statement: the count is joined to the page from the left, so that it is there when
 * the page is empty.
 *
 * Locks are taken in one order, so that writers never wait in a circle: drafts, articles by id (new
 * ones by slug), then the counters of accounts, those of tags, and that of all articles, each in
 * the order of its key. (Of the parts of a WITH that nothing reads, Postgres runs the last one
 * first.) And a row that a statement only sees in its snapshot may have changed before it is
 * locked: what depends on an article's tags, and a change of an article that was locked before, is
 * done by a second statement, when the article is locked (LOCK_ARTICLE, posts.mark_favorite()).
 */
#include "statements.h"

#include "service/turns.h"

/* SQL is laid out by hand. */
/* clang-format off */

#define STRINGIFY_(x) #x
#define STRINGIFY(x) STRINGIFY_(x)
#define MAX_ROWS STRINGIFY(POSTS_MAX_ROWS)
#define MAX_FILTERED STRINGIFY(POSTS_MAX_FILTERED)
#define PURGE_BATCH STRINGIFY(POSTS_PURGE_BATCH)
#define MAX_TAGS STRINGIFY(POSTS_MAX_TAGS)
#define MAX_REVISIONS STRINGIFY(POSTS_MAX_REVISIONS)
#define MAX_FOUND STRINGIFY(POSTS_MAX_FOUND)
#define SEARCH_SAMPLE STRINGIFY(POSTS_SEARCH_SAMPLE)
#define SEARCH_SAMPLE_BYTES STRINGIFY(POSTS_SEARCH_SAMPLE_BYTES)
#define MAX_FOLLOWED STRINGIFY(POSTS_MAX_FOLLOWED)
#define INDEX_BATCH STRINGIFY(POSTS_INDEX_BATCH)

/* ---- parts ---- */

/* Whether a caller follows an account; 0 is nobody. follows_pkey. */
#define FOLLOWED_BY(caller, account)                            \
    caller " <> 0 AND (SELECT true FROM posts.follows f"        \
    "                  WHERE f.follower_id = " caller           \
    "                  AND f.followee_id = " account ") IS NOT NULL"
#define FOLLOWED(account) FOLLOWED_BY("$1", account)

/* Whether the article a is among a caller's favourites. favorites_pkey. */
#define FAVORITED_BY(caller)                                             \
    caller " <> 0 AND (SELECT true FROM posts.favorites f"               \
    "                  WHERE f.account_id = " caller                     \
    "                  AND f.article_id = a.id) IS NOT NULL"

/* In the order of enum article_column. a: an article, p: its author's profile, $1: the caller. */
#define ARTICLE_COLUMNS_WITH(followed, favorited)                                    \
    " a.id, a.slug, a.title, a.description, a.tag_list, a.created_at, a.updated_at," \
    " a.favorites_count, p.username, p.bio, p.image, " followed ", " favorited

/* followed: whether the caller follows the author. */
#define ARTICLE_COLUMNS_OF(followed) \
    ARTICLE_COLUMNS_WITH(followed, FAVORITED_BY("$1"))
#define ARTICLE_COLUMNS ARTICLE_COLUMNS_OF(FOLLOWED("a.author_id"))

/* The profile of an account: the primary key behind auth.profiles. */
#define PROFILE_ROW(account) \
    "(SELECT username, bio, image FROM auth.profiles WHERE id = " account " OFFSET 0) p"
#define PROFILE_OF(account) " CROSS JOIN LATERAL " PROFILE_ROW(account)

/* The same, NULLs where the account has gone. An account that had much goes in pieces, and a list
 * that it still is in has no row less than there are: who reads it shows none of these. */
#define PROFILE_IF_ANY(account) " LEFT JOIN LATERAL " PROFILE_ROW(account) " ON true"

/* The articles of a page of ids: articles_pkey. */
#define THEIR_ARTICLES \
    " CROSS JOIN LATERAL (SELECT * FROM posts.articles WHERE id = page.id OFFSET 0) a"

/* A page of columns from somewhere, newest first. $2: limit, $3: offset. */
#define PAGE(columns, from, order)                                     \
    "(SELECT * FROM (SELECT " columns " FROM " from " ORDER BY " order \
    "                LIMIT $2 OFFSET $3) cut LIMIT " MAX_ROWS ")"

/* What comes after the cursor, $4 and $5, in lists that are newest first. */
#define OLDER(created_at, id) "(" created_at ", " id ") < ($4, $5)"

/* columns: of the articles; count: one row of one int8; page: a FROM item that brings a; more:
 * columns behind the total. */
#define LIST_WITH(columns, more, count, page, order)                                     \
    "SELECT" columns ", c.total" more                                                    \
    " FROM (" count ") c (total)"                                                        \
    " LEFT JOIN (" page PROFILE_IF_ANY("a.author_id") ") ON true"                        \
    " ORDER BY " order
#define NEWEST_FIRST "a.created_at DESC, a.id DESC"
#define LIST(count, page) LIST_WITH(ARTICLE_COLUMNS, "", count, page, NEWEST_FIRST)

/* An account by its name's key ($n): the unique index behind auth.profiles. NULL: there is none. */
#define ACCOUNT(n) "(SELECT id FROM auth.profiles WHERE username_key = $" #n ")"

/* The caller, while its account exists: the primary key behind auth.profiles. */
#define ME "WITH me AS (SELECT id FROM auth.profiles WHERE id = $1)"

/* ---- idempotency keys ---- */

/* Beside a create: idempotency_keys_pkey is broken when the key was used. */
#define STORE_KEY(key, hash, slug, from)                                                        \
    "  INSERT INTO posts.idempotency_keys"                                                      \
    "    (account_id, key, request_hash, resource_id, slug, created_at)"                        \
    "  SELECT $1, " key ", " hash ", id, " slug ", created_at FROM " from " WHERE " key         \
    " IS NOT NULL"

/* What was stored for key $2 of account $1, k, with its author's profile, p; $3: the request's
 * hash. A key that has served is removed, and is no row. idempotency_keys_pkey. */
#define REPLAY(columns)                                                                   \
    "WITH served AS ("                                                                    \
    "  DELETE FROM posts.idempotency_keys WHERE account_id = $1 AND key = $2"             \
    "  AND created_at < now() - interval '24 hours'"                                      \
    ") SELECT " columns ", p.username, p.bio, p.image, " FOLLOWED("k.account_id")
#define REPLAYED                                                                          \
    ", k.request_hash = $3 FROM posts.idempotency_keys k" PROFILE_OF("k.account_id")      \
    " WHERE k.account_id = $1 AND k.key = $2 AND k.created_at >= now() - interval '24 hours'"

/* idempotency_keys_oldest. Rows are locked and never updated, so each is where it was seen. */
static const char purge_keys[] =
    "WITH gone AS ("
    "  DELETE FROM posts.idempotency_keys WHERE ctid = ANY (ARRAY("
    "    SELECT ctid FROM posts.idempotency_keys WHERE created_at < now() - interval '24 hours'"
    "    ORDER BY created_at LIMIT " PURGE_BATCH " FOR UPDATE SKIP LOCKED))"
    "  RETURNING 1) SELECT count(*) FROM gone";

/* Of migrations/0011_large_deletions.sql. deleted_articles_left, deleted_articles_oldest; then
 * favorites_by_article, comments_by_article, article_revisions_pkey. */
static const char purge_articles[] = "SELECT posts.purge_articles(" PURGE_BATCH ")";

/* forgotten_accounts is as small as the accounts deleted in these minutes. Then articles_by_author,
 * favorites_pkey, comments_by_author, follows_pkey, follows_by_followee, idempotency_keys_pkey,
 * drafts_by_author. */
static const char purge_account[] = "SELECT posts.purge_account(" PURGE_BATCH ")";

/* dropped_tags_pkey, article_tags_pkey, tag_counts_pkey. */
static const char purge_tags[] = "SELECT posts.purge_tags(" PURGE_BATCH ")";

/* ---- one article ---- */

/* What else a new article, or several, needs: its tags, and one more in each counter. Counters by
 * their primary keys, in the order of these. */
#define WITH_TAGS_AND_COUNTS                                                                   \
    ", tags AS ("                                                                              \
    "  INSERT INTO posts.article_tags (tag, created_at, article_id)"                           \
    "  SELECT tag, created_at, id FROM article, unnest(tag_list) tag"                          \
    "), all_count AS ("                                                                        \
    "  INSERT INTO posts.article_counts AS c (shard, n)"                                       \
    "  SELECT posts.shard(), count(*) FROM article HAVING count(*) > 0"                        \
    "  ON CONFLICT (shard) DO UPDATE SET n = c.n + excluded.n"                                 \
    "), tags_count AS ("                                                                       \
    "  INSERT INTO posts.tag_counts AS c (tag, shard, n)"                                      \
    "  SELECT tag, posts.shard(), count(*) FROM article, unnest(tag_list) tag"                 \
    "  GROUP BY tag ORDER BY tag"                                                              \
    "  ON CONFLICT (tag, shard) DO UPDATE SET n = c.n + excluded.n"                            \
    "), author_count AS ("                                                                     \
    "  INSERT INTO posts.account_counts AS c (account_id, shard, articles)"                    \
    "  SELECT author_id, posts.shard(), count(*) FROM article"                                 \
    "  GROUP BY author_id ORDER BY author_id"                                                  \
    "  ON CONFLICT (account_id, shard) DO UPDATE SET articles = c.articles + excluded.articles" \
    ")"

/* In the order of enum article_column, of what was inserted; p: the author. */
#define NEW_ARTICLE_COLUMNS                                                             \
    " a.id, a.slug, a.title, a.description, a.tag_list, a.created_at, a.updated_at,"    \
    " a.favorites_count, p.username, p.bio, p.image,"                                   \
    " (SELECT true FROM posts.follows f WHERE f.follower_id = a.author_id"              \
    "  AND f.followee_id = a.author_id) IS NOT NULL, false"

/* auth.profiles by id, articles_slug_key.
 * $1: author, $2: slug, $3: slug if that is taken, $4: title, $5: description, $6: body, $7: tags,
 * $8: idempotency key or NULL, $9: the request's hash.
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
    ")" WITH_TAGS_AND_COUNTS
    ", kept AS (" STORE_KEY("$8", "$9", "slug", "article")
    ") SELECT" NEW_ARTICLE_COLUMNS " FROM article a, author p";

/* Several at once, without idempotency keys; arrays, an element for each article: $1: authors, $2:
 * slugs, $3: slugs if those are taken, $4: titles, $5: descriptions, $6: bodies. Then, an element
 * for each tag: $7: the article's place in those arrays, from 1; $8: the tag.
 * A row for each article, with its place; none where there is no such account. An article is known
 * by its slug until it has an id. */
static const char create_articles[] =
    "WITH tag_lists AS ("
    "  SELECT n, array_agg(tag ORDER BY at) AS tag_list"
    "  FROM unnest($7, $8) WITH ORDINALITY t (n, tag, at) GROUP BY n"
    "), chosen AS MATERIALIZED ("
    "  SELECT n, p.id AS author_id, p.username, p.bio, p.image, title, description, body,"
    "         coalesce(tag_list, '{}') AS tag_list,"
    "         CASE WHEN row_number() OVER (PARTITION BY slug ORDER BY n) > 1"
    "              OR EXISTS (SELECT FROM posts.articles a WHERE a.slug = i.slug)"
    "              THEN unique_slug ELSE slug END AS slug"
    "  FROM unnest($1, $2, $3, $4, $5, $6) WITH ORDINALITY"
    "       i (author_id, slug, unique_slug, title, description, body, n)"
    "  CROSS JOIN LATERAL (SELECT * FROM auth.profiles WHERE id = i.author_id OFFSET 0) p"
    "  LEFT JOIN tag_lists USING (n)"
    "), article AS ("
    "  INSERT INTO posts.articles (slug, author_id, title, description, body, tag_list)"
    "  SELECT slug, author_id, title, description, body, tag_list FROM chosen ORDER BY slug"
    "  RETURNING id, slug, author_id, title, description, tag_list, created_at, updated_at,"
    "            favorites_count"
    ")" WITH_TAGS_AND_COUNTS
    " SELECT" NEW_ARTICLE_COLUMNS ", p.n FROM article a JOIN chosen p USING (slug)";

/* $4: title, $5: description, $6: tags, of the request. */
static const char replay_article[] =
    REPLAY("k.resource_id, k.slug, $4, $5, $6, k.created_at, k.created_at, 0") ", false" REPLAYED;

/* articles_slug_key. $2: slug. */
#define ARTICLE_BY_SLUG(followed, favorited)                 \
    "SELECT" ARTICLE_COLUMNS_WITH(followed, favorited) ", a.body" \
    " FROM posts.articles a JOIN auth.profiles p ON p.id = a.author_id WHERE a.slug = $2"

/* Several at once; arrays, an element for each: $1: callers, $2: slugs. A row for each that there
 * is, with its place, from 1. articles_slug_key, the primary key behind auth.profiles. */
#define ARTICLES_BY_SLUG(followed, favorited)                            \
    "SELECT" ARTICLE_COLUMNS_WITH(followed, favorited) ", a.body, i.n"        \
    " FROM unnest($1, $2) WITH ORDINALITY i (caller, slug, n)"           \
    " CROSS JOIN LATERAL (SELECT * FROM posts.articles WHERE slug = i.slug OFFSET 0) a" \
    PROFILE_OF("a.author_id")

static const char get_article[] =
    ARTICLE_BY_SLUG(FOLLOWED("a.author_id"), FAVORITED_BY("$1"));
static const char get_articles[] =
    ARTICLES_BY_SLUG(FOLLOWED_BY("i.caller", "a.author_id"), FAVORITED_BY("i.caller"));

/* The same when no caller is anybody: a look-up that is not done still has to be made ready, with each
 * statement. */
static const char get_article_anonymous[] = ARTICLE_BY_SLUG("false", "false");
static const char get_articles_anonymous[] = ARTICLES_BY_SLUG("false", "false");

/* articles_slug_key. $1: slug. */
static const char lock_article[] =
    "SELECT id, author_id, title, updated_at FROM posts.articles WHERE slug = $1 FOR UPDATE";

/* articles_pkey, articles_slug_key, article_tags_pkey, article_revisions_pkey; counters by their
 * primary keys. For an article that is locked. $2: article, $3: slug, $4: slug if that is taken, $5: title, $6:
 * description, $7: body, $8: tags; NULL: stays. */
static const char update_article[] =
    "WITH old AS ("
    "  SELECT id, created_at, updated_at, title, description, body, tag_list"
    "  FROM posts.articles WHERE id = $2"
    "), a AS ("
    "  UPDATE posts.articles a"
    "  SET slug = CASE WHEN $3 IS NULL THEN a.slug"
    "                  WHEN EXISTS (SELECT FROM posts.articles other"
    "                               WHERE other.slug = $3 AND other.id <> $2) THEN $4"
    "                  ELSE $3 END,"
    "      title = coalesce($5, a.title), description = coalesce($6, a.description),"
    "      body = coalesce($7, a.body), tag_list = coalesce($8, a.tag_list),"
    "      updated_at = greatest(now(), a.updated_at + interval '1 microsecond')"
    "  WHERE a.id = $2 RETURNING a.*"
    "), last AS ("
    "  SELECT coalesce(max(number), 0) AS number FROM posts.article_revisions WHERE article_id = $2"
    "), kept AS ("
    "  INSERT INTO posts.article_revisions"
    "    (article_id, number, title, description, body, tag_list, created_at)"
    "  SELECT old.id, last.number + 1, old.title, old.description, old.body, old.tag_list,"
    "         old.updated_at FROM old, a, last"
    "  WHERE (old.title, old.description, old.body, old.tag_list)"
    "        IS DISTINCT FROM (a.title, a.description, a.body, a.tag_list) RETURNING number"
    "), dropped AS ("
    "  DELETE FROM posts.article_revisions r USING kept"
    "  WHERE r.article_id = $2 AND r.number <= kept.number - " MAX_REVISIONS
    "), gone AS ("
    "  DELETE FROM posts.article_tags t USING old"
    "  WHERE $8 IS NOT NULL AND t.tag = ANY (old.tag_list) AND t.created_at = old.created_at"
    "  AND t.article_id = old.id AND NOT t.tag = ANY ($8) RETURNING t.tag"
    "), added AS ("
    "  INSERT INTO posts.article_tags (tag, created_at, article_id)"
    "  SELECT tag, created_at, id FROM old, unnest($8) tag WHERE NOT tag = ANY (old.tag_list)"
    "  RETURNING tag"
    "), tags_count AS ("
    "  INSERT INTO posts.tag_counts AS c (tag, shard, n)"
    "  SELECT tag, posts.shard(), n FROM (SELECT tag, -1 FROM gone UNION ALL"
    "                                     SELECT tag, 1 FROM added) change (tag, n) ORDER BY tag"
    "  ON CONFLICT (tag, shard) DO UPDATE SET n = c.n + excluded.n"
    ") SELECT" ARTICLE_COLUMNS ", a.body FROM a" PROFILE_OF("a.author_id");

/* articles_pkey, article_tags_pkey; counters by their primary keys. For an article that is locked.
 * What else belongs to it is left to PURGE_ARTICLES. $1: article. */
static const char delete_article[] =
    "WITH gone AS ("
    "  DELETE FROM posts.articles WHERE id = $1 RETURNING id, author_id, created_at, tag_list"
    "), tags AS ("
    "  DELETE FROM posts.article_tags t USING gone"
    "  WHERE t.tag = ANY (gone.tag_list) AND t.created_at = gone.created_at"
    "  AND t.article_id = gone.id"
    "), all_count AS ("
    "  INSERT INTO posts.article_counts AS c (shard, n) SELECT posts.shard(), -1 FROM gone"
    "  ON CONFLICT (shard) DO UPDATE SET n = c.n - 1"
    "), tags_count AS ("
    "  INSERT INTO posts.tag_counts AS c (tag, shard, n)"
    "  SELECT tag, posts.shard(), -1 FROM gone, unnest(tag_list) tag"
    "  ON CONFLICT (tag, shard) DO UPDATE SET n = c.n - 1"
    "), author_count AS ("
    "  INSERT INTO posts.account_counts AS c (account_id, shard, articles)"
    "  SELECT author_id, posts.shard(), -1 FROM gone"
    "  ON CONFLICT (account_id, shard) DO UPDATE SET articles = c.articles - 1"
    ") SELECT id FROM gone";

/* ---- favourites ---- */

/* posts.mark_favorite() of migrations/0009_locks.sql: articles_slug_key, favorites_pkey; counters by
 * their primary keys. $2: slug.
 * No row: the caller has no account; a row of NULLs: there is no such article. */
#define MARK_FAVORITE(wanted)                                                    \
    ME " SELECT" ARTICLE_COLUMNS_WITH(FOLLOWED("a.author_id"), wanted) ", a.body" \
    " FROM me LEFT JOIN (posts.mark_favorite(me.id, $2, " wanted ") a"           \
    PROFILE_OF("a.author_id") ") ON true"

static const char favorite_article[] = MARK_FAVORITE("true");
static const char unfavorite_article[] = MARK_FAVORITE("false");

/* ---- lists ---- */

/* All: $2 limit, $3 offset; $4, $5: created_at and id of the article that the page comes after, or
 * a time that never comes. */

/* A page of articles, of which those that are skipped are read in the index alone: it is found where
 * the page begins, and then the page is read. of: which articles, AND behind it. */
#define ARTICLES_PAGE(of)                                                                        \
    "(SELECT * FROM (SELECT * FROM posts.articles WHERE " of "(created_at, id) <= ("             \
    "                  SELECT created_at, id FROM posts.articles"                                \
    "                  WHERE " of OLDER("created_at", "id")                                      \
    "                  ORDER BY created_at DESC, id DESC LIMIT 1 OFFSET $3)"                     \
    "                ORDER BY created_at DESC, id DESC LIMIT $2) cut LIMIT " MAX_ROWS ") a"

/* articles_newest. article_counts has at most as many rows as there are shards. */
static const char list_articles[] =
    LIST("SELECT coalesce(sum(n), 0) FROM posts.article_counts", ARTICLES_PAGE(""));

/* article_tags_pkey, backwards; tag_counts_pkey. $6: tag. */
static const char list_articles_by_tag[] =
    LIST("SELECT coalesce(sum(n), 0) FROM posts.tag_counts WHERE tag = $6",
         PAGE("article_id",
              "posts.article_tags WHERE tag = $6 AND " OLDER("created_at", "article_id"),
              "created_at DESC, article_id DESC") " page (id)" THEIR_ARTICLES);

/* The author, once for all articles: the unique index behind auth.profiles, account_counts_pkey,
 * follows_pkey; articles_by_author. $6: the author's username key. */
#define AUTHOR(caller, key)                                                                    \
    " LEFT JOIN LATERAL ("                                                                     \
    "  SELECT id, username, bio, image, " FOLLOWED_BY(caller, "p.id") " AS followed,"          \
    "         (SELECT sum(articles) FROM posts.account_counts WHERE account_id = p.id) AS total" \
    "  FROM auth.profiles p WHERE username_key = " key " OFFSET 0) p ON true"
/* As ARTICLES_PAGE(""), of the author p. */
static const char list_articles_by_author[] =
    "SELECT" ARTICLE_COLUMNS_OF("p.followed") ", coalesce(p.total, 0)"
    " FROM (SELECT) one" AUTHOR("$1", "$6")
    " LEFT JOIN LATERAL ("
    "  SELECT created_at, id FROM posts.articles WHERE author_id = p.id AND " OLDER("created_at", "id")
    "  ORDER BY created_at DESC, id DESC LIMIT 1 OFFSET $3) first ON true"
    " LEFT JOIN LATERAL (SELECT * FROM ("
    "  SELECT * FROM posts.articles"
    "  WHERE author_id = p.id AND (created_at, id) <= (first.created_at, first.id)"
    "  ORDER BY created_at DESC, id DESC LIMIT $2) cut LIMIT " MAX_ROWS ") a ON true"
    " ORDER BY " NEWEST_FIRST;

/* Several such lists at once, none of which skips articles; arrays, an element for each: $1: callers,
 * $2: limits, $3, $4: what each comes after, $5: the authors' username keys. The same indexes. The
 * rows of each list say its place, from 1, and come in no order: to sort them all costs a sixth of
 * the statement, and they are about in order. */
static const char list_articles_by_authors[] =
    "SELECT" ARTICLE_COLUMNS_WITH("p.followed", FAVORITED_BY("i.caller")) ", coalesce(p.total, 0), i.n"
    " FROM unnest($1, $2, $3, $4, $5) WITH ORDINALITY"
    "      i (caller, page_rows, before, before_id, author, n)" AUTHOR("i.caller", "i.author")
    " LEFT JOIN LATERAL (SELECT * FROM ("
    "  SELECT * FROM posts.articles"
    "  WHERE author_id = p.id AND (created_at, id) < (i.before, i.before_id)"
    "  ORDER BY created_at DESC, id DESC LIMIT i.page_rows) cut"
    "  LIMIT " MAX_ROWS ") a ON true";

/* Articles of which favourites are left that nobody sees. As few as were deleted in these seconds:
 * deleted_articles_left. */
#define DELETED_ARTICLES "SELECT article_id FROM posts.deleted_articles WHERE NOT is_erased"

/* favorites_newest; account_counts_pkey, favorites_pkey. $6: the username key of whose favourites. */
static const char list_articles_by_favorite[] =
    LIST("SELECT coalesce(sum(favorites), 0)"
         "       - (SELECT count(*) FROM (" DELETED_ARTICLES " OFFSET 0) d"
         "          WHERE (SELECT true FROM posts.favorites f WHERE f.account_id = " ACCOUNT(6)
         "                 AND f.article_id = d.article_id) IS NOT NULL)"
         " FROM posts.account_counts WHERE account_id = " ACCOUNT(6),
         PAGE("article_id",
              "posts.favorites WHERE account_id = " ACCOUNT(6)
              " AND article_id NOT IN (" DELETED_ARTICLES ")"
              " AND " OLDER("article_created_at", "article_id"),
              "article_created_at DESC, article_id DESC") " page (id)" THEIR_ARTICLES);

/* Two or three filters: the newest of the favourites, or else of the author's articles, are looked
 * at one by one. favorites_newest or articles_by_author, then articles_pkey.
 * $6: tag, $7: the author's username key, $8: the username key of whose favourites; NULL: any. */
static const char list_articles_filtered[] =
    "WITH matching AS MATERIALIZED ("
    "  SELECT a.id, a.created_at FROM ("
    "    (SELECT article_id AS id FROM posts.favorites"
    "     WHERE $8 IS NOT NULL AND account_id = " ACCOUNT(8)
    "     ORDER BY article_created_at DESC, article_id DESC LIMIT " MAX_FILTERED ")"
    "    UNION ALL"
    "    (SELECT id FROM posts.articles WHERE $8 IS NULL AND author_id = " ACCOUNT(7)
    "     ORDER BY created_at DESC, id DESC LIMIT " MAX_FILTERED ")"
    "  ) page" THEIR_ARTICLES
    "  WHERE ($6 IS NULL OR $6 = ANY (a.tag_list))"
    "  AND ($7 IS NULL OR a.author_id = " ACCOUNT(7) ")"
    ") "
    LIST("SELECT count(*) FROM matching",
         PAGE("id", "matching WHERE " OLDER("created_at", "id"), "created_at DESC, id DESC")
         " page" THEIR_ARTICLES);

/* ---- search ---- */

/* The text with the hits marked. Characters that mark hits are taken out of it first. */
#define HIGHLIGHTED(text, options)                                             \
    "ts_headline('posts.words', translate(" text ", E'\\x01\\x02', ''),"                \
    "            (SELECT words FROM query), E'StartSel=\\x01, StopSel=\\x02, " options "')"

/* The newest articles by article_search_pkey, or all that have the words by article_search_document;
 * then articles_pkey or favorites_pkey for a filter, and article_search_pkey for what is found.
 * An index of words knows no order, so by it all articles that have them are looked at (share of
 * reltuples), though of their rows only the ids. From the newest on, articles are looked at until
 * enough have been found (wanted / share). An article costs about the same either way, so the fewer
 * are taken. share is that of the newest few, where long documents count as if they did not have the
 * words, as it would take too long to see. If older ones don't keep to it, it is the index after all.
 * $4, $5: score and id of the article that the page comes after; $6: tag, $7: the author's username
 * key, $8: the username key of whose favourites, NULL: any; $9: words, in websearch syntax. */
static const char search_articles[] =
    "WITH query AS MATERIALIZED ("
    "  SELECT posts.search_query($9) AS words"
    "), sample AS MATERIALIZED ("
    "  SELECT count(*) / " SEARCH_SAMPLE "::float8 AS share"
    "  FROM (SELECT document FROM posts.article_search"
    "        ORDER BY article_id DESC LIMIT " SEARCH_SAMPLE ") newest"
    "  WHERE CASE WHEN pg_column_size(document) <= " SEARCH_SAMPLE_BYTES
    "        THEN document @@ (SELECT words FROM query) END"
    "), plan AS MATERIALIZED ("
    "  SELECT wanted,"
    "         CASE WHEN wanted < share * share * reltuples"
    "              THEN ceil(2 * wanted / share) ELSE 0 END::int8 AS reach"
    "  FROM sample, pg_catalog.pg_class,"
    "       (SELECT CASE WHEN coalesce($6, $7, $8) IS NULL THEN " MAX_FOUND
    "               ELSE " MAX_FILTERED " END AS wanted) wanted"
    "  WHERE oid = 'posts.article_search'::regclass"
    "), walked AS MATERIALIZED ("
    "  SELECT article_id FROM (SELECT article_id, document FROM posts.article_search"
    "                          ORDER BY article_id DESC LIMIT (SELECT reach FROM plan)) newest"
    "  WHERE document @@ (SELECT words FROM query) LIMIT (SELECT wanted FROM plan)"
    "), is_all AS MATERIALIZED ("
    "  SELECT count(*) >= (SELECT wanted FROM plan) AS it_is FROM walked"
    "), newest AS MATERIALIZED ("
    "  SELECT article_id AS id FROM walked WHERE (SELECT it_is FROM is_all)"
    "  UNION ALL"
    "  (SELECT article_id FROM ("
    "     SELECT article_id FROM posts.article_search"
    "     WHERE document @@ (SELECT words FROM query) AND NOT (SELECT it_is FROM is_all)"
    "     OFFSET 0) matching"
    "   ORDER BY article_id DESC LIMIT (SELECT wanted FROM plan))"
    "), found AS MATERIALIZED ("
    "  SELECT newest.id,"
    "         (ts_rank(s.document, (SELECT words FROM query), 1) * 1000000000)::int8 AS score"
    "  FROM (SELECT id FROM newest"
    "        WHERE ($6 IS NULL AND $7 IS NULL OR"
    "               (SELECT true FROM posts.articles a"
    "                WHERE a.id = newest.id AND ($6 IS NULL OR $6 = ANY (a.tag_list))"
    "                AND ($7 IS NULL OR a.author_id = " ACCOUNT(7) ")) IS NOT NULL)"
    "        AND ($8 IS NULL OR"
    "             (SELECT true FROM posts.favorites f WHERE f.account_id = " ACCOUNT(8)
    "              AND f.article_id = newest.id) IS NOT NULL)"
    "        ORDER BY id DESC LIMIT " MAX_FOUND ") newest"
    "  CROSS JOIN LATERAL (SELECT document FROM posts.article_search"
    "                      WHERE article_id = newest.id OFFSET 0) s"
    ") "
    LIST_WITH(ARTICLE_COLUMNS, ", a.score, "
              HIGHLIGHTED("a.title", "HighlightAll=true") ", "
              HIGHLIGHTED("a.description", "HighlightAll=true") ", "
              HIGHLIGHTED("left(a.body, 10000)",
                          "MaxFragments=2, MinWords=8, MaxWords=24, FragmentDelimiter=\" … \""),
              "SELECT CASE WHEN (SELECT words FROM query) IS NULL THEN " STRINGIFY(NO_WORDS)
              "            ELSE (SELECT count(*) FROM found) END",
              PAGE("a.*, page.score",
                   "(SELECT id, score FROM found WHERE " OLDER("score", "id")
                   " ORDER BY score DESC, id DESC) page" THEIR_ARTICLES,
                   "page.score DESC, page.id DESC") " a",
              "a.score DESC, a.id DESC");

/* Takes the words of articles that the queue names. search_queue_pkey, articles_pkey,
 * article_search_pkey. What the statement sees of an article is not older than the queue's rows that it
 * removes; a change after that is another row. One at a time, so that none writes older words over
 * newer ones. */
static const char index_articles[] =
    "WITH alone AS MATERIALIZED ("
    "  SELECT pg_try_advisory_xact_lock('posts.search_queue'::regclass::int, 0) AS is_it"
    "), due AS ("
    "  DELETE FROM posts.search_queue WHERE id = ANY (ARRAY("
    "    SELECT id FROM posts.search_queue WHERE (SELECT is_it FROM alone)"
    "    ORDER BY id LIMIT " INDEX_BATCH "))"
    "  RETURNING article_id"
    "), changed AS MATERIALIZED ("
    "  SELECT DISTINCT article_id FROM due"
    "), gone AS ("
    "  DELETE FROM posts.article_search WHERE article_id = ANY (ARRAY("
    "    SELECT article_id FROM changed"
    "    WHERE (SELECT true FROM posts.articles a WHERE a.id = article_id) IS NULL))"
    "), taken AS ("
    "  INSERT INTO posts.article_search AS s (article_id, document)"
    "  SELECT a.id, posts.search_document(a.title, a.description, a.body, a.tag_list)"
    "  FROM changed CROSS JOIN LATERAL ("
    "    SELECT * FROM posts.articles WHERE id = changed.article_id OFFSET 0) a"
    "  ON CONFLICT (article_id) DO UPDATE SET document = excluded.document"
    ") SELECT count(*) FROM due";

/* An account's newest articles after the cursor; articles_by_author. */
#define NEWEST_OF(account, since, limit)                                                      \
    " CROSS JOIN LATERAL (SELECT id, created_at FROM posts.articles"                          \
    "                     WHERE author_id = " account " AND " OLDER("created_at", "id") since \
    "                     ORDER BY created_at DESC, id DESC LIMIT " limit ") newest"

/* What the page must reach to: $2 and $3. */
#define REACH "$2::bigint + $3"

/* How many of each account's are looked at first: together a page, if each has as many. */
#define FIRST_OF_EACH                                 \
    "(" REACH " - 1) / (SELECT greatest(count(*), 1)" \
    "                   FROM posts.follows WHERE follower_id = $1) + 1"

/* Of the first of each account the newest, as many as a page of n has: the page is of their authors
 * alone, and when there are n has nothing that is older. So finding it costs one look-up for each
 * account that is followed, and little more than the page. Only if these have not written enough it
 * costs n for each author. follows_pkey, articles_by_author, account_counts_pkey. */
static const char list_feed[] =
    LIST_WITH(ARTICLE_COLUMNS_OF("true"), "",
         "SELECT coalesce(sum(n.articles), 0) FROM posts.follows f"
         " CROSS JOIN LATERAL (SELECT articles FROM posts.account_counts"
         "                     WHERE account_id = f.followee_id OFFSET 0) n"
         " WHERE f.follower_id = $1",
         PAGE("newest.id, newest.created_at",
              "(SELECT unnest(ids) AS id, since FROM ("
              "  SELECT array_agg(DISTINCT id) AS ids,"
              "         CASE WHEN count(*) < " REACH " THEN '-infinity' ELSE min(created_at) END AS since"
              "  FROM (SELECT f.followee_id AS id, newest.created_at FROM posts.follows f"
              NEWEST_OF("f.followee_id", "", FIRST_OF_EACH)
              "  WHERE f.follower_id = $1 ORDER BY newest.created_at DESC, newest.id DESC"
              "  LIMIT " REACH ") first) found) author"
              NEWEST_OF("author.id", " AND created_at >= author.since", REACH),
              "newest.created_at DESC, newest.id DESC") " page" THEIR_ARTICLES,
         NEWEST_FIRST);

/* article_tags_pkey, from one tag to the next. */
static const char list_tags[] =
    "WITH RECURSIVE tags (tag, n) AS ("
    "  (SELECT tag, 1 FROM posts.article_tags ORDER BY tag LIMIT 1)"
    "  UNION ALL"
    "  SELECT next.tag, tags.n + 1 FROM tags CROSS JOIN LATERAL ("
    "    SELECT tag FROM posts.article_tags t WHERE t.tag > tags.tag ORDER BY tag LIMIT 1) next"
    "  WHERE tags.n < " MAX_TAGS ") SELECT tag FROM tags";

/* ---- revisions ---- */

/* articles_slug_key, article_revisions_pkey. $1: caller, $2: slug; more: columns, which: of an
 * article's revisions. No row: there is no such article; NULLs behind the first: no such revision. */
#define REVISIONS(more, which)                                                            \
    "SELECT a.author_id = $1, r.number, r.title, r.description, r.tag_list, r.created_at" \
    more " FROM (SELECT id, author_id FROM posts.articles WHERE slug = $2) a"             \
    " LEFT JOIN LATERAL (SELECT * FROM posts.article_revisions"                           \
    "                    WHERE article_id = a.id AND a.author_id = $1" which              \
    "                    ORDER BY number DESC LIMIT " MAX_REVISIONS ") r ON true"         \
    " ORDER BY r.number DESC"

static const char list_revisions[] = REVISIONS("", "");

/* $3: number. */
static const char get_revision[] = REVISIONS(", r.body", " AND number = $3");

/* ---- drafts ---- */

/* In the order of enum draft_column, without the body. */
#define DRAFT_COLUMNS " id, title, description, tag_list, created_at, updated_at"

/* The primary key behind auth.profiles. $1: author, $2: title, $3: description, $4: body, $5: tags,
 * $6: idempotency key or NULL, $7: the request's hash. No row: the caller has no account. */
static const char create_draft[] =
    ME ", draft AS ("
       "  INSERT INTO posts.drafts (author_id, title, description, body, tag_list)"
       "  SELECT id, $2, $3, $4, $5 FROM me RETURNING *"
       "), kept AS (" STORE_KEY("$6", "$7", "NULL", "draft")
       ") SELECT" DRAFT_COLUMNS ", body FROM draft";

/* $4: title, $5: description, $6: body, $7: tags, of the request. */
static const char replay_draft[] =
    REPLAY("k.resource_id, $4, $5, $7, k.created_at, k.created_at, $6") REPLAYED;

/* drafts_pkey. $1: caller, $2: draft. */
static const char get_draft[] =
    "SELECT" DRAFT_COLUMNS ", body FROM posts.drafts WHERE id = $2 AND author_id = $1";

/* drafts_by_author. $1: caller, $2: limit, $3: only drafts before this one. */
static const char list_drafts[] =
    "SELECT * FROM (SELECT" DRAFT_COLUMNS " FROM posts.drafts WHERE author_id = $1 AND id < $3"
    "               ORDER BY id DESC LIMIT $2) cut LIMIT " MAX_ROWS;

/* drafts_pkey. $1: caller, $2: draft. */
static const char lock_draft[] =
    "SELECT" DRAFT_COLUMNS ", body FROM posts.drafts WHERE id = $2 AND author_id = $1 FOR UPDATE";

/* drafts_pkey. For a draft that is locked. $1: draft, $2: title, $3: description, $4: body, $5: tags;
 * NULL: stays. */
static const char update_draft[] =
    "UPDATE posts.drafts"
    " SET title = coalesce($2, title), description = coalesce($3, description),"
    "     body = coalesce($4, body), tag_list = coalesce($5, tag_list),"
    "     updated_at = greatest(now(), updated_at + interval '1 microsecond')"
    " WHERE id = $1 RETURNING" DRAFT_COLUMNS ", body";

/* drafts_pkey. For a draft that is locked. $1: draft. */
static const char delete_draft[] = "DELETE FROM posts.drafts WHERE id = $1";

/* idempotency_keys_pkey. The answer of key $2 of account $1, which CREATE_ARTICLE has stored. */
static const char keep_published[] =
    "UPDATE posts.idempotency_keys SET answer = $3 WHERE account_id = $1 AND key = $2";

static const char replay_published[] = REPLAY("k.answer, k.resource_id") REPLAYED;

/* ---- comments ---- */

/* In the order of enum comment_column. c: a comment, p: its author's profile, $1: the caller. */
#define COMMENT_COLUMNS                                                       \
    " c.id, c.created_at, c.updated_at, c.body, p.username, p.bio, p.image, " \
    FOLLOWED("c.author_id")

/* articles_slug_key. Who deletes the article waits, or is waited for: it is locked as a foreign key
 * would. $2: slug, $3: body, $4: idempotency key or NULL, $5: the request's hash.
 * No row: the caller has no account; a row of NULLs: there is no such article. */
static const char create_comment[] =
    ME ", c AS ("
       "  INSERT INTO posts.comments (article_id, author_id, body)"
       "  SELECT a.id, me.id, $3 FROM me, posts.articles a WHERE a.slug = $2 FOR KEY SHARE OF a"
       "  RETURNING id, created_at, updated_at, body, author_id"
       "), kept AS (" STORE_KEY("$4", "$5", "NULL", "c")
       ") SELECT" COMMENT_COLUMNS " FROM me LEFT JOIN (c" PROFILE_OF("c.author_id") ") ON true";

/* $4: body of the request. */
static const char replay_comment[] =
    REPLAY("k.resource_id, k.created_at, k.created_at, $4") REPLAYED;

/* articles_slug_key, comments_by_article. $2: slug, $3: limit, $4: only comments before this one.
 * No row: there is no such article; a row of NULLs: it has no comments. */
static const char list_comments[] =
    "SELECT" COMMENT_COLUMNS " FROM (SELECT id FROM posts.articles WHERE slug = $2) a"
    " LEFT JOIN LATERAL ("
    "  SELECT cut.* FROM (SELECT * FROM posts.comments WHERE article_id = a.id AND id < $4"
    "                     ORDER BY id DESC LIMIT $3) cut LIMIT " MAX_ROWS " ) c ON true"
    " LEFT JOIN LATERAL (SELECT username, bio, image FROM auth.profiles"
    "                    WHERE id = c.author_id OFFSET 0) p ON true"
    " ORDER BY c.id DESC";

/* articles_slug_key, comments_pkey. $1: caller, $2: slug, $3: comment, $4: whether it may go. No
 * row: there is no such article. */
static const char delete_comment[] =
    "WITH found AS ("
    "  SELECT c.id, c.author_id FROM posts.articles a"
    "  LEFT JOIN posts.comments c ON c.id = $3 AND c.article_id = a.id WHERE a.slug = $2"
    "), gone AS ("
    "  DELETE FROM posts.comments c USING found WHERE c.id = found.id AND c.author_id = $1 AND $4"
    ") SELECT id IS NOT NULL, author_id IS NOT DISTINCT FROM $1 FROM found";

/* ---- profiles ---- */

/* In the order of enum profile_column. The unique index behind auth.profiles, follows_pkey.
 * $1: caller, $2: username key. */
static const char get_profile[] =
    "SELECT p.username, p.bio, p.image, " FOLLOWED("p.id")
    " FROM auth.profiles p WHERE p.username_key = $2";

/* Whether the caller follows fewer than may be followed: a feed costs a look-up for each. */
#define FOLLOWS_FEW                                                                    \
    "SELECT count(*) < " MAX_FOLLOWED " FROM (SELECT FROM posts.follows WHERE follower_id = $1" \
    "                                         LIMIT " MAX_FOLLOWED ") followed"

/* The same indexes. No row: the caller has no account; a row of NULLs: there is no such profile. */
#define FOLLOW(change, followed)                                                \
    ME ", profile AS (SELECT id, username, bio, image FROM auth.profiles"       \
       "                 WHERE username_key = $2)"                              \
       ", changed AS (" change ") SELECT p.username, p.bio, p.image, " followed \
       " FROM me LEFT JOIN profile p ON true"

/* The last column is false where one more would be too many. At once with others it may be a few
 * more. */
static const char follow_profile[] =
    FOLLOW("INSERT INTO posts.follows (follower_id, followee_id)"
           " SELECT me.id, profile.id FROM me, profile WHERE (" FOLLOWS_FEW ") ON CONFLICT DO NOTHING",
           "(" FOLLOWS_FEW ") OR " FOLLOWED("p.id"));

static const char unfollow_profile[] =
    FOLLOW("DELETE FROM posts.follows f USING profile"
           " WHERE f.follower_id = $1 AND f.followee_id = profile.id",
           "false");

/* clang-format on */

#define PAGE_PARAMS DB_INT8, DB_INT4, DB_INT4, DB_TIMESTAMPTZ, DB_INT8

const struct db_statement posts_statements[POSTS_STATEMENTS] = {
    [CREATE_ARTICLE] = {"create_article",
                        create_article,
                        DB_WRITE,
                        {DB_INT8, DB_TEXT, DB_TEXT, DB_TEXT, DB_TEXT, DB_TEXT, DB_TEXT_ARRAY,
                         DB_TEXT, DB_BYTEA}},
    [CREATE_ARTICLES] = {"create_articles",
                         create_articles,
                         DB_WRITE,
                         {DB_INT8_ARRAY, DB_TEXT_ARRAY, DB_TEXT_ARRAY, DB_TEXT_ARRAY, DB_TEXT_ARRAY,
                          DB_TEXT_ARRAY, DB_INT8_ARRAY, DB_TEXT_ARRAY}},
    [REPLAY_ARTICLE] = {"replay_article",
                        replay_article,
                        DB_WRITE,
                        {DB_INT8, DB_TEXT, DB_BYTEA, DB_TEXT, DB_TEXT, DB_TEXT_ARRAY}},
    [GET_ARTICLE] = {"get_article", get_article, DB_READ, {DB_INT8, DB_TEXT}},
    [GET_ARTICLES] = {"get_articles", get_articles, DB_READ, {DB_INT8_ARRAY, DB_TEXT_ARRAY}},
    [GET_ARTICLE_ANONYMOUS] = {"get_article_anonymous",
                               get_article_anonymous,
                               DB_READ,
                               {DB_INT8, DB_TEXT}},
    [GET_ARTICLES_ANONYMOUS] = {"get_articles_anonymous",
                                get_articles_anonymous,
                                DB_READ,
                                {DB_INT8_ARRAY, DB_TEXT_ARRAY}},
    [LOCK_ARTICLE] = {"lock_article", lock_article, DB_WRITE, {DB_TEXT}},
    [UPDATE_ARTICLE] = {"update_article",
                        update_article,
                        DB_WRITE,
                        {DB_INT8, DB_INT8, DB_TEXT, DB_TEXT, DB_TEXT, DB_TEXT, DB_TEXT,
                         DB_TEXT_ARRAY}},
    [DELETE_ARTICLE] = {"delete_article", delete_article, DB_WRITE, {DB_INT8}},
    [FAVORITE_ARTICLE] = {"favorite_article", favorite_article, DB_WRITE, {DB_INT8, DB_TEXT}},
    [UNFAVORITE_ARTICLE] = {"unfavorite_article", unfavorite_article, DB_WRITE, {DB_INT8, DB_TEXT}},
    [LIST_ARTICLES] = {"list_articles", list_articles, DB_READ, {PAGE_PARAMS}},
    [LIST_ARTICLES_BY_TAG] = {"list_articles_by_tag",
                              list_articles_by_tag,
                              DB_READ,
                              {PAGE_PARAMS, DB_TEXT}},
    [LIST_ARTICLES_BY_AUTHOR] = {"list_articles_by_author",
                                 list_articles_by_author,
                                 DB_READ,
                                 {PAGE_PARAMS, DB_TEXT}},
    [LIST_ARTICLES_BY_AUTHORS] = {"list_articles_by_authors",
                                  list_articles_by_authors,
                                  DB_READ,
                                  {DB_INT8_ARRAY, DB_INT8_ARRAY, DB_TIMESTAMPTZ_ARRAY,
                                   DB_INT8_ARRAY, DB_TEXT_ARRAY}},
    [LIST_ARTICLES_BY_FAVORITE] = {"list_articles_by_favorite",
                                   list_articles_by_favorite,
                                   DB_READ,
                                   {PAGE_PARAMS, DB_TEXT}},
    [LIST_ARTICLES_FILTERED] = {"list_articles_filtered",
                                list_articles_filtered,
                                DB_READ,
                                {PAGE_PARAMS, DB_TEXT, DB_TEXT, DB_TEXT}},
    [SEARCH_ARTICLES] = {"search_articles",
                         search_articles,
                         DB_READ,
                         {DB_INT8, DB_INT4, DB_INT4, DB_INT8, DB_INT8, DB_TEXT, DB_TEXT, DB_TEXT,
                          DB_TEXT}},
    [LIMIT_SEARCH] = TURN_LIMIT,
    [LIST_FEED] = {"list_feed", list_feed, DB_READ, {PAGE_PARAMS}},
    [LIST_TAGS] = {"list_tags", list_tags, DB_READ, {DB_END}},
    [LIST_REVISIONS] = {"list_revisions", list_revisions, DB_READ, {DB_INT8, DB_TEXT}},
    [GET_REVISION] = {"get_revision", get_revision, DB_READ, {DB_INT8, DB_TEXT, DB_INT4}},
    [CREATE_DRAFT] = {"create_draft",
                      create_draft,
                      DB_WRITE,
                      {DB_INT8, DB_TEXT, DB_TEXT, DB_TEXT, DB_TEXT_ARRAY, DB_TEXT, DB_BYTEA}},
    [REPLAY_DRAFT] = {"replay_draft",
                      replay_draft,
                      DB_WRITE,
                      {DB_INT8, DB_TEXT, DB_BYTEA, DB_TEXT, DB_TEXT, DB_TEXT, DB_TEXT_ARRAY}},
    [GET_DRAFT] = {"get_draft", get_draft, DB_READ, {DB_INT8, DB_INT8}},
    [LIST_DRAFTS] = {"list_drafts", list_drafts, DB_READ, {DB_INT8, DB_INT4, DB_INT8}},
    [LOCK_DRAFT] = {"lock_draft", lock_draft, DB_WRITE, {DB_INT8, DB_INT8}},
    [UPDATE_DRAFT] = {"update_draft",
                      update_draft,
                      DB_WRITE,
                      {DB_INT8, DB_TEXT, DB_TEXT, DB_TEXT, DB_TEXT_ARRAY}},
    [DELETE_DRAFT] = {"delete_draft", delete_draft, DB_WRITE, {DB_INT8}},
    [KEEP_PUBLISHED] = {"keep_published", keep_published, DB_WRITE, {DB_INT8, DB_TEXT, DB_BYTEA}},
    [REPLAY_PUBLISHED] = {"replay_published",
                          replay_published,
                          DB_WRITE,
                          {DB_INT8, DB_TEXT, DB_BYTEA}},
    [CREATE_COMMENT] = {"create_comment",
                        create_comment,
                        DB_WRITE,
                        {DB_INT8, DB_TEXT, DB_TEXT, DB_TEXT, DB_BYTEA}},
    [REPLAY_COMMENT] = {"replay_comment",
                        replay_comment,
                        DB_WRITE,
                        {DB_INT8, DB_TEXT, DB_BYTEA, DB_TEXT}},
    [LIST_COMMENTS] = {"list_comments",
                       list_comments,
                       DB_READ,
                       {DB_INT8, DB_TEXT, DB_INT4, DB_INT8}},
    [DELETE_COMMENT] = {"delete_comment",
                        delete_comment,
                        DB_WRITE,
                        {DB_INT8, DB_TEXT, DB_INT8, DB_BOOL}},
    [GET_PROFILE] = {"get_profile", get_profile, DB_READ, {DB_INT8, DB_TEXT}},
    [FOLLOW_PROFILE] = {"follow_profile", follow_profile, DB_WRITE, {DB_INT8, DB_TEXT}},
    [PURGE_ARTICLES] = {"purge_articles", purge_articles, DB_WRITE, {DB_END}},
    [PURGE_ACCOUNT] = {"purge_account", purge_account, DB_WRITE, {DB_END}},
    [PURGE_TAGS] = {"purge_tags", purge_tags, DB_WRITE, {DB_END}},
    [INDEX_ARTICLES] = {"index_articles", index_articles, DB_WRITE, {DB_END}},
    [PURGE_KEYS] = {"purge_keys", purge_keys, DB_WRITE, {DB_END}},
    [UNFOLLOW_PROFILE] = {"unfollow_profile", unfollow_profile, DB_WRITE, {DB_INT8, DB_TEXT}},
};
