-- Fills an empty suite for the benchmark: 1,000 accounts, :articles articles of about 1 KB with five of
-- 100 tags each. For psql as the superuser: \set articles N. Nobody can sign in to these accounts.
BEGIN;

INSERT INTO auth.users (username, username_key, email, email_key, password_hash, bio, image)
SELECT 'writer' || i, 'writer' || i, 'writer' || i || '@example.com', 'writer' || i || '@example.com', '!',
       'About writer ' || i, 'https://example.com/avatar/' || i || '.png'
FROM generate_series(1, 1000) i;

INSERT INTO posts.articles (slug, author_id, title, description, body, tag_list, created_at, updated_at)
SELECT 'article-title-' || i, u.id, 'Article title ' || i, 'A short description of article ' || i,
       'Body of article ' || i || '. ' || repeat('A sentence of filler that makes it about a kilobyte long. ', 18),
       ARRAY(SELECT 'tag' || lpad(((i * 7 + k * 19) % 100 + 1)::text, 3, '0') FROM generate_series(0, 4) k ORDER BY 1),
       now() - (:articles - i) * interval '1 second', now() - (:articles - i) * interval '1 second'
FROM generate_series(1, :articles) i
JOIN auth.users u ON u.username_key = 'writer' || (1 + (i * 37) % 1000);

INSERT INTO posts.article_tags (tag, created_at, article_id)
SELECT tag, created_at, id FROM posts.articles, unnest(tag_list) tag ON CONFLICT DO NOTHING;

INSERT INTO posts.article_counts AS c (shard, n) SELECT 0, count(*) FROM posts.articles
ON CONFLICT (shard) DO UPDATE SET n = excluded.n;
INSERT INTO posts.tag_counts AS c (tag, shard, n) SELECT tag, 0, count(*) FROM posts.article_tags GROUP BY tag
ON CONFLICT (tag, shard) DO UPDATE SET n = excluded.n;
INSERT INTO posts.account_counts AS c (account_id, shard, articles)
SELECT author_id, 0, count(*) FROM posts.articles GROUP BY author_id
ON CONFLICT (account_id, shard) DO UPDATE SET articles = excluded.articles;

COMMIT;
VACUUM ANALYZE;
