-- Locks in one order where they were not, so that nobody waits in a circle (services/posts/statements.c).

-- Marks an article as a favourite of an account, or takes the mark away, and gives the article as it is then; no
-- row: there is none. Each statement in here sees what was committed before it began. One statement for all of it
-- would have to lock, after the newest version of the row, the one in its snapshot as well, while others come from
-- that one to the newest: and where a new comment held the older version, they waited for each other.
CREATE FUNCTION posts.mark_favorite(account bigint, article_slug text, wanted boolean) RETURNS SETOF posts.articles
    LANGUAGE plpgsql VOLATILE ROWS 1
    SET search_path = pg_catalog, pg_temp
    AS $$
DECLARE
    article posts.articles;
    step integer := CASE WHEN wanted THEN 1 ELSE -1 END;
BEGIN
    -- First of all, also against its deletion, which takes its favourites next.
    SELECT * INTO article FROM posts.articles a WHERE a.slug = article_slug FOR NO KEY UPDATE;
    IF NOT FOUND THEN
        RETURN;
    END IF;
    IF wanted THEN
        INSERT INTO posts.favorites (account_id, article_id, article_created_at)
        VALUES (account, article.id, article.created_at) ON CONFLICT DO NOTHING;
    ELSE
        DELETE FROM posts.favorites f WHERE f.account_id = account AND f.article_id = article.id;
    END IF;
    IF FOUND THEN
        UPDATE posts.articles a SET favorites_count = a.favorites_count + step WHERE a.id = article.id
        RETURNING a.* INTO article;
        INSERT INTO posts.account_counts AS c (account_id, shard, favorites) VALUES (account, posts.shard(), step)
        ON CONFLICT ON CONSTRAINT account_counts_pkey DO UPDATE SET favorites = c.favorites + excluded.favorites;
    END IF;
    RETURN NEXT article;
END $$;
REVOKE EXECUTE ON FUNCTION posts.mark_favorite(bigint, text, boolean) FROM PUBLIC;

-- As in 0004_forget_account.sql, but that the articles that the account has commented on are locked as well, its
-- counters before others, and who it follows with who follows it.
CREATE OR REPLACE FUNCTION posts.erase_published(account bigint) RETURNS void
    LANGUAGE plpgsql VOLATILE
    SET search_path = pg_catalog, pg_temp
    AS $$
BEGIN
    -- Who deletes an article has locked it before they come to its favourites and comments.
    PERFORM FROM posts.articles
    WHERE id IN (SELECT id FROM posts.articles WHERE author_id = account
                 UNION ALL SELECT article_id FROM posts.favorites WHERE account_id = account
                 UNION ALL SELECT article_id FROM posts.comments WHERE author_id = account)
    ORDER BY id FOR UPDATE;

    -- An article that the account was just creating changes these first, and then those of its tags.
    DELETE FROM posts.account_counts WHERE account_id = account;

    WITH gone AS (
        DELETE FROM posts.articles WHERE author_id = account RETURNING id, created_at, tag_list
    ), tags AS (
        DELETE FROM posts.article_tags t USING gone
        WHERE t.tag = ANY (gone.tag_list) AND t.created_at = gone.created_at AND t.article_id = gone.id
    ), fans AS (
        DELETE FROM posts.favorites f USING gone WHERE f.article_id = gone.id AND f.account_id <> account
        RETURNING f.account_id
    ), mine AS (
        DELETE FROM posts.favorites WHERE account_id = account RETURNING article_id
    ), liked AS (
        UPDATE posts.articles a SET favorites_count = a.favorites_count - 1
        FROM mine WHERE a.id = mine.article_id AND a.author_id <> account
    ), all_count AS (
        INSERT INTO posts.article_counts AS c (shard, n)
        SELECT posts.shard(), -count(*) FROM gone HAVING count(*) > 0
        ON CONFLICT (shard) DO UPDATE SET n = c.n + excluded.n
    ), tags_count AS (
        INSERT INTO posts.tag_counts AS c (tag, shard, n)
        SELECT tag, posts.shard(), -count(*) FROM gone, unnest(tag_list) tag GROUP BY tag ORDER BY tag
        ON CONFLICT (tag, shard) DO UPDATE SET n = c.n + excluded.n
    )
    INSERT INTO posts.account_counts AS c (account_id, shard, favorites)
    SELECT account_id, posts.shard(), -count(*) FROM fans GROUP BY account_id ORDER BY account_id
    ON CONFLICT (account_id, shard) DO UPDATE SET favorites = c.favorites + excluded.favorites;

    DELETE FROM posts.comments WHERE author_id = account;

    -- Of two that follow each other and go at once both come to the same two rows.
    PERFORM FROM posts.follows WHERE follower_id = account OR followee_id = account
    ORDER BY follower_id, followee_id FOR UPDATE;
    DELETE FROM posts.follows WHERE follower_id = account;
    DELETE FROM posts.follows WHERE followee_id = account;
    DELETE FROM posts.idempotency_keys WHERE account_id = account;
END $$;
