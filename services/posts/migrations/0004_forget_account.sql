-- Deletion of an account: auth calls posts.forget_account() in the transaction that deletes it.

-- A statement that was on its way meanwhile still saw the account, and may leave something behind, which
-- nothing shows, since it has no author, but which is counted. So the account is erased once more when
-- every such statement has ended.
CREATE TABLE posts.forgotten_accounts (
    account_id bigint PRIMARY KEY,
    forgotten_at timestamptz NOT NULL DEFAULT now()
);

-- All that the account has written and marked, with what counts it. Locks are taken in the order that
-- services/posts/statements.c explains.
CREATE FUNCTION posts.erase_account(account bigint) RETURNS void
    LANGUAGE plpgsql VOLATILE
    SET search_path = pg_catalog, pg_temp
    AS $$
BEGIN
    PERFORM FROM posts.articles
    WHERE id IN (SELECT id FROM posts.articles WHERE author_id = account
                 UNION ALL SELECT article_id FROM posts.favorites WHERE account_id = account)
    ORDER BY id FOR UPDATE;

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
    DELETE FROM posts.follows WHERE follower_id = account;
    DELETE FROM posts.follows WHERE followee_id = account;
    DELETE FROM posts.account_counts WHERE account_id = account;
    DELETE FROM posts.idempotency_keys WHERE account_id = account;
END $$;

-- For auth, and for nobody else: with the rights of posts, whose tables auth cannot touch.
CREATE FUNCTION posts.forget_account(account_id bigint) RETURNS void
    LANGUAGE plpgsql VOLATILE SECURITY DEFINER
    SET search_path = pg_catalog, pg_temp
    AS $$
BEGIN
    INSERT INTO posts.forgotten_accounts VALUES ($1)
    ON CONFLICT ON CONSTRAINT forgotten_accounts_pkey DO UPDATE SET forgotten_at = excluded.forgotten_at;
    PERFORM posts.erase_account($1);
END $$;

REVOKE EXECUTE ON FUNCTION posts.erase_account(bigint), posts.forget_account(bigint) FROM PUBLIC;
GRANT USAGE ON SCHEMA posts TO stoa_auth;
GRANT EXECUTE ON FUNCTION posts.forget_account(bigint) TO stoa_auth;
