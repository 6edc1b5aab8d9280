-- What is deleted goes at once, and what belonged to it in bounded pieces afterwards (services/posts/README.md).
--
-- The version before may go on beside this. Its statements delete an article with its favourites by themselves, and the
-- triggers see to the rest.

-- ---- articles ----

-- Articles that have been deleted, until nothing that belonged to them is left, and no statement that saw them can leave
-- more.
CREATE TABLE posts.deleted_articles (
    article_id bigint PRIMARY KEY,
    deleted_at timestamptz NOT NULL DEFAULT now(),
    -- Nothing was found any more. Until then the lists of favourites leave the article out.
    is_erased boolean NOT NULL DEFAULT false
) WITH (autovacuum_vacuum_threshold = 1000, autovacuum_vacuum_scale_factor = 0);
CREATE INDEX deleted_articles_left ON posts.deleted_articles (article_id) WHERE NOT is_erased;
CREATE INDEX deleted_articles_oldest ON posts.deleted_articles (deleted_at);

-- Tags that articles have had, among which may be some that none has now.
CREATE TABLE posts.dropped_tags (
    id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    tag text COLLATE "C" NOT NULL
) WITH (autovacuum_vacuum_threshold = 1000, autovacuum_vacuum_scale_factor = 0);
-- From before; the counters are still there.
INSERT INTO posts.dropped_tags (tag) SELECT tag FROM posts.tag_counts GROUP BY tag HAVING sum(n) = 0;

-- A row that refers to an article would have to go with it. Who adds one locks the article, so that it is there, or is
-- seen by the last look.
ALTER TABLE posts.favorites DROP CONSTRAINT favorites_article_id_fkey;
ALTER TABLE posts.comments DROP CONSTRAINT comments_article_id_fkey;
ALTER TABLE posts.article_revisions DROP CONSTRAINT article_revisions_article_id_fkey;

CREATE FUNCTION posts.queue_deleted_articles() RETURNS trigger
    LANGUAGE plpgsql VOLATILE
    SET search_path = pg_catalog, pg_temp
    AS $$
BEGIN
    INSERT INTO posts.deleted_articles (article_id) SELECT id FROM gone;
    RETURN NULL;
END $$;
CREATE TRIGGER articles_gone AFTER DELETE ON posts.articles
    REFERENCING OLD TABLE AS gone
    FOR EACH STATEMENT EXECUTE FUNCTION posts.queue_deleted_articles();

CREATE FUNCTION posts.queue_dropped_tags() RETURNS trigger
    LANGUAGE plpgsql VOLATILE
    SET search_path = pg_catalog, pg_temp
    AS $$
BEGIN
    INSERT INTO posts.dropped_tags (tag) SELECT DISTINCT tag FROM gone;
    RETURN NULL;
END $$;
CREATE TRIGGER article_tags_gone AFTER DELETE ON posts.article_tags
    REFERENCING OLD TABLE AS gone
    FOR EACH STATEMENT EXECUTE FUNCTION posts.queue_dropped_tags();

-- How long a statement that saw an article or an account may still leave something behind; it ends after 30 seconds.
CREATE FUNCTION posts.settled_after() RETURNS interval LANGUAGE sql IMMUTABLE AS $$ SELECT interval '5 minutes' $$;

-- Removes a batch of each kind of what belonged to deleted articles, with what counts it: 1, or 0: there is nothing to
-- do, or other instances are at it. Rows that somebody holds are skipped, since who holds them removes them.
CREATE FUNCTION posts.purge_articles(batch integer) RETURNS bigint
    LANGUAGE plpgsql VOLATILE
    SET search_path = pg_catalog, pg_temp
    AS $$
DECLARE
    ids bigint[];
    fans bigint;
    n bigint;
    is_more boolean;
BEGIN
    ids := ARRAY(SELECT d.article_id FROM posts.deleted_articles d WHERE NOT d.is_erased
                 ORDER BY d.article_id LIMIT batch / 10 FOR UPDATE SKIP LOCKED);
    IF ids = '{}' THEN
        ids := ARRAY(SELECT d.article_id FROM posts.deleted_articles d WHERE d.deleted_at < now() - posts.settled_after()
                     ORDER BY d.deleted_at LIMIT batch / 10 FOR UPDATE SKIP LOCKED);
    END IF;
    IF ids = '{}' THEN
        RETURN 0;
    END IF;

    WITH gone AS (
        DELETE FROM posts.favorites WHERE ctid = ANY (ARRAY(
            SELECT ctid FROM posts.favorites WHERE article_id = ANY (ids) LIMIT batch FOR UPDATE SKIP LOCKED))
        RETURNING account_id
    ), counted AS (
        INSERT INTO posts.account_counts AS c (account_id, shard, favorites)
        SELECT account_id, posts.shard(), -count(*) FROM gone GROUP BY account_id ORDER BY account_id
        ON CONFLICT (account_id, shard) DO UPDATE SET favorites = c.favorites + excluded.favorites
    )
    SELECT count(*) INTO fans FROM gone;
    is_more := fans = batch;

    DELETE FROM posts.comments WHERE ctid = ANY (ARRAY(
        SELECT ctid FROM posts.comments WHERE article_id = ANY (ids) LIMIT batch FOR UPDATE SKIP LOCKED));
    GET DIAGNOSTICS n = ROW_COUNT;
    is_more := is_more OR n = batch;
    DELETE FROM posts.article_revisions WHERE ctid = ANY (ARRAY(
        SELECT ctid FROM posts.article_revisions WHERE article_id = ANY (ids) LIMIT batch FOR UPDATE SKIP LOCKED));
    GET DIAGNOSTICS n = ROW_COUNT;
    is_more := is_more OR n = batch;

    IF NOT is_more THEN
        DELETE FROM posts.deleted_articles d
        WHERE d.article_id = ANY (ids) AND d.deleted_at < now() - posts.settled_after();
        UPDATE posts.deleted_articles d SET is_erased = true WHERE d.article_id = ANY (ids) AND NOT d.is_erased;
    END IF;
    RETURN 1;
END $$;

-- Removes the counters of tags that no article has: how many of the tags in the queue it looked at. Of rows that are
-- locked and add up to 0 it is known that the rest counts the same without them.
CREATE FUNCTION posts.purge_tags(batch integer) RETURNS bigint
    LANGUAGE plpgsql VOLATILE
    SET search_path = pg_catalog, pg_temp
    AS $$
DECLARE
    looked_at bigint;
    tags text[] COLLATE "C";
BEGIN
    WITH due AS (
        DELETE FROM posts.dropped_tags WHERE id = ANY (ARRAY(
            SELECT id FROM posts.dropped_tags ORDER BY id LIMIT batch FOR UPDATE SKIP LOCKED))
        RETURNING tag
    )
    SELECT count(*), array_agg(DISTINCT tag) INTO looked_at, tags FROM due;
    tags := ARRAY(SELECT each FROM unnest(tags) each
                  WHERE (SELECT true FROM posts.article_tags t WHERE t.tag = each LIMIT 1) IS NULL);
    WITH locked AS MATERIALIZED (
        SELECT tag, shard, n FROM posts.tag_counts WHERE tag = ANY (tags) ORDER BY tag, shard FOR UPDATE
    )
    DELETE FROM posts.tag_counts c USING locked l
    WHERE c.tag = l.tag AND c.shard = l.shard
      AND l.tag IN (SELECT tag FROM locked GROUP BY tag HAVING sum(n) = 0);
    RETURN looked_at;
END $$;

-- ---- accounts ----

-- Nothing was found any more.
ALTER TABLE posts.forgotten_accounts ADD COLUMN is_erased boolean NOT NULL DEFAULT false;

-- Removes a batch of each kind of what an account has written and marked, with what counts it, its newest articles first:
-- how many rows. Locks are taken in the order that services/posts/statements.c explains, or not waited for.
CREATE FUNCTION posts.erase_some(account bigint, batch integer) RETURNS bigint
    LANGUAGE plpgsql VOLATILE
    SET search_path = pg_catalog, pg_temp
    AS $$
DECLARE
    own bigint[];
    marked bigint[];
    counted bigint;
    erased bigint;
    n bigint;
BEGIN
    -- Who publishes a draft locks it before anything else, and so waits here, or is seen after.
    DELETE FROM posts.drafts WHERE id = ANY (ARRAY(
        SELECT id FROM posts.drafts WHERE author_id = account ORDER BY id DESC LIMIT batch FOR UPDATE));
    GET DIAGNOSTICS erased = ROW_COUNT;

    own := ARRAY(SELECT id FROM posts.articles WHERE author_id = account ORDER BY created_at DESC, id DESC LIMIT batch);
    marked := ARRAY(SELECT article_id FROM posts.favorites WHERE account_id = account ORDER BY article_id LIMIT batch);
    PERFORM FROM posts.articles WHERE id = ANY (own || marked) ORDER BY id FOR UPDATE;

    -- An article that the account was just creating changes these first, and then those of its tags. All of its articles
    -- are counted off at once, also those that are left for the next time.
    WITH gone AS (DELETE FROM posts.account_counts WHERE account_id = account RETURNING articles)
    SELECT coalesce(sum(articles), 0) INTO counted FROM gone;

    WITH gone AS (
        DELETE FROM posts.articles WHERE id = ANY (own) RETURNING id, created_at, tag_list
    ), tags AS (
        DELETE FROM posts.article_tags t USING gone
        WHERE t.tag = ANY (gone.tag_list) AND t.created_at = gone.created_at AND t.article_id = gone.id
    ), tags_count AS (
        INSERT INTO posts.tag_counts AS c (tag, shard, n)
        SELECT tag, posts.shard(), -count(*) FROM gone, unnest(tag_list) tag GROUP BY tag ORDER BY tag
        ON CONFLICT (tag, shard) DO UPDATE SET n = c.n + excluded.n
    )
    SELECT erased + count(*) INTO erased FROM gone;

    WITH mine AS (
        DELETE FROM posts.favorites WHERE article_id = ANY (marked) AND ctid = ANY (ARRAY(
            SELECT ctid FROM posts.favorites WHERE account_id = account
            ORDER BY article_id LIMIT batch FOR UPDATE SKIP LOCKED))
        RETURNING article_id
    ), liked AS (
        UPDATE posts.articles a SET favorites_count = a.favorites_count - 1 FROM mine WHERE a.id = mine.article_id
    )
    SELECT erased + count(*) INTO erased FROM mine;

    IF counted <> 0 THEN
        INSERT INTO posts.article_counts AS c (shard, n) VALUES (posts.shard(), -counted)
        ON CONFLICT (shard) DO UPDATE SET n = c.n + excluded.n;
    END IF;

    DELETE FROM posts.comments WHERE ctid = ANY (ARRAY(
        SELECT ctid FROM posts.comments WHERE author_id = account LIMIT batch FOR UPDATE SKIP LOCKED));
    GET DIAGNOSTICS n = ROW_COUNT;
    erased := erased + n;
    DELETE FROM posts.follows WHERE ctid = ANY (ARRAY(
        SELECT ctid FROM posts.follows WHERE follower_id = account LIMIT batch FOR UPDATE SKIP LOCKED));
    GET DIAGNOSTICS n = ROW_COUNT;
    erased := erased + n;
    DELETE FROM posts.follows WHERE ctid = ANY (ARRAY(
        SELECT ctid FROM posts.follows WHERE followee_id = account LIMIT batch FOR UPDATE SKIP LOCKED));
    GET DIAGNOSTICS n = ROW_COUNT;
    erased := erased + n;
    DELETE FROM posts.idempotency_keys WHERE ctid = ANY (ARRAY(
        SELECT ctid FROM posts.idempotency_keys WHERE account_id = account LIMIT batch FOR UPDATE SKIP LOCKED));
    GET DIAGNOSTICS n = ROW_COUNT;
    RETURN erased + n;
END $$;

-- Removes a batch of what is left of a forgotten account: 1, or 0: there is nothing to do, or other instances are at it.
CREATE FUNCTION posts.purge_account(batch integer) RETURNS bigint
    LANGUAGE plpgsql VOLATILE
    SET search_path = pg_catalog, pg_temp
    AS $$
DECLARE
    due posts.forgotten_accounts;
BEGIN
    SELECT * INTO due FROM posts.forgotten_accounts f
    WHERE NOT f.is_erased OR f.forgotten_at < now() - posts.settled_after()
    ORDER BY f.forgotten_at LIMIT 1 FOR UPDATE SKIP LOCKED;
    IF NOT FOUND THEN
        RETURN 0;
    END IF;
    IF posts.erase_some(due.account_id, batch) = 0 THEN
        DELETE FROM posts.forgotten_accounts f
        WHERE f.account_id = due.account_id AND f.forgotten_at < now() - posts.settled_after();
        UPDATE posts.forgotten_accounts f SET is_erased = true WHERE f.account_id = due.account_id AND NOT f.is_erased;
    END IF;
    RETURN 1;
END $$;

-- Of an account with no more than a batch of each kind nothing is left when this has been committed.
CREATE OR REPLACE FUNCTION posts.forget_account(account_id bigint) RETURNS void
    LANGUAGE plpgsql VOLATILE SECURITY DEFINER
    SET search_path = pg_catalog, pg_temp
    AS $$
BEGIN
    INSERT INTO posts.forgotten_accounts VALUES ($1)
    ON CONFLICT ON CONSTRAINT forgotten_accounts_pkey
    DO UPDATE SET forgotten_at = excluded.forgotten_at, is_erased = false;
    PERFORM posts.erase_some($1, 1000);
END $$;

-- For the version before, whose purge calls erase_account(), which calls this.
CREATE OR REPLACE FUNCTION posts.erase_published(account bigint) RETURNS void
    LANGUAGE plpgsql VOLATILE
    SET search_path = pg_catalog, pg_temp
    AS $$
BEGIN
    WHILE posts.erase_some(account, 1000) > 0 LOOP
    END LOOP;
END $$;

REVOKE EXECUTE ON FUNCTION posts.queue_deleted_articles(), posts.queue_dropped_tags(), posts.settled_after(),
    posts.purge_articles(integer), posts.purge_tags(integer), posts.erase_some(bigint, integer),
    posts.purge_account(integer) FROM PUBLIC;
