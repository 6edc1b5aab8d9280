-- Fills a suite: accounts, articles of about 1 KB with five of 100 tags each, comments, favourites, follows; with
-- what counts them. For psql as the superuser; bench/seed runs it. Variables: articles, accounts, and for each
-- article comments and favorites, for each account follows. Nobody can sign in to these accounts.
BEGIN;
SET LOCAL synchronous_commit = off;

CREATE TEMP TABLE account ON COMMIT DROP AS
SELECT i, nextval(pg_get_serial_sequence('auth.users', 'id')) AS id FROM generate_series(0, :accounts - 1) i;
ALTER TABLE account ADD PRIMARY KEY (i);

INSERT INTO auth.users (id, username, username_key, email, email_key, password_hash, bio, image) OVERRIDING SYSTEM VALUE
SELECT id, 'writer' || i + 1, 'writer' || i + 1, 'writer' || i + 1 || '@example.com', 'writer' || i + 1 || '@example.com', '!',
       'About writer ' || i + 1, 'https://example.com/avatar/' || i + 1 || '.png'
FROM account;

CREATE TEMP TABLE article ON COMMIT DROP AS
SELECT i, nextval(pg_get_serial_sequence('posts.articles', 'id')) AS id, now() - (:articles - i) * interval '1 second' AS created_at,
       ARRAY(SELECT 'tag' || lpad(((i * 7 + k * 19) % 100 + 1)::text, 3, '0') FROM generate_series(0, 4) k ORDER BY 1) AS tag_list
FROM generate_series(1, :articles) i;
ANALYZE account, article;

INSERT INTO posts.articles (id, slug, author_id, title, description, body, tag_list, favorites_count, created_at, updated_at)
OVERRIDING SYSTEM VALUE
SELECT a.id, 'article-title-' || a.i, author.id, 'Article title ' || a.i, 'A short description of article ' || a.i,
       'Body of article ' || a.i || '. ' || repeat('A sentence of filler that makes it about a kilobyte long. ', 18),
       a.tag_list, least(:favorites, :accounts), a.created_at, a.created_at
FROM article a JOIN account author ON author.i = (a.i * 37) % :accounts;

-- In the order of the index that is largest, which then grows at its end.
INSERT INTO posts.article_tags (tag, created_at, article_id)
SELECT tag, created_at, id FROM article, unnest(tag_list) tag ORDER BY 1, 2;

-- No foreign key is looked up for each of millions of rows that are made to fit.
SET LOCAL session_replication_role = replica;

INSERT INTO posts.favorites (account_id, article_id, article_created_at)
SELECT fan.id, a.id, a.created_at FROM article a, generate_series(1, least(:favorites, :accounts)) k
JOIN LATERAL (SELECT id FROM account WHERE i = (a.i * 11 + k) % :accounts) fan ON true
ORDER BY 1, 2;

INSERT INTO posts.comments (article_id, author_id, body, created_at, updated_at)
SELECT a.id, reader.id, 'Comment ' || k || ' on article ' || a.i || ', with thanks for writing it.', a.created_at, a.created_at
FROM article a, generate_series(1, :comments) k
JOIN LATERAL (SELECT id FROM account WHERE i = (a.i * 13 + k * 101) % :accounts) reader ON true;

SET LOCAL session_replication_role = origin;

INSERT INTO posts.follows (follower_id, followee_id)
SELECT follower.id, followee.id FROM account follower, generate_series(1, :follows) k
JOIN account followee ON true
WHERE followee.i = (follower.i + k * 7) % :accounts AND followee.i <> follower.i
ON CONFLICT DO NOTHING;

INSERT INTO posts.article_counts AS c (shard, n) SELECT 0, count(*) FROM article
ON CONFLICT (shard) DO UPDATE SET n = c.n + excluded.n;
INSERT INTO posts.tag_counts AS c (tag, shard, n) SELECT tag, 0, count(*) FROM article, unnest(tag_list) tag GROUP BY tag
ON CONFLICT (tag, shard) DO UPDATE SET n = c.n + excluded.n;
INSERT INTO posts.account_counts (account_id, shard, articles, favorites)
SELECT id, 0, coalesce(written.n, 0), coalesce(liked.n, 0) FROM account
LEFT JOIN (SELECT author_id, count(*) n FROM posts.articles GROUP BY 1) written ON written.author_id = id
LEFT JOIN (SELECT account_id, count(*) n FROM posts.favorites GROUP BY 1) liked ON liked.account_id = id;

-- What the indexer would do, and not beside whatever is measured next.
INSERT INTO posts.article_search (article_id, document)
SELECT id, posts.search_document(title, description, body, a.tag_list) FROM article JOIN posts.articles a USING (id);
DELETE FROM posts.search_queue q USING article a WHERE q.article_id = a.id;

COMMIT;
VACUUM ANALYZE;
