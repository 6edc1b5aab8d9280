-- Drafts: articles that are not yet published. In a table of their own, so that what reads
-- posts.articles sees published ones alone, without asking.

CREATE TABLE posts.drafts (
    -- Clients get it as a JSON number, and over gRPC as a uint32.
    id bigint GENERATED ALWAYS AS IDENTITY (MAXVALUE 4294967295) PRIMARY KEY,
    author_id bigint NOT NULL,
    title text NOT NULL,
    description text NOT NULL,
    body text NOT NULL,
    -- As in posts.articles.
    tag_list text[] COLLATE "C" NOT NULL,
    created_at timestamptz NOT NULL DEFAULT now(),
    updated_at timestamptz NOT NULL DEFAULT now()
);

-- An account's drafts, the newest first; and the deletion of an account.
CREATE INDEX drafts_by_author ON posts.drafts (author_id, id DESC);

-- What a request does not say of its first answer: the article that a draft became. Without its author.
ALTER TABLE posts.idempotency_keys ADD COLUMN answer bytea;

-- Drafts go first: who publishes one locks it before anything else, and so waits here, or is seen after.
ALTER FUNCTION posts.erase_account(bigint) RENAME TO erase_published;
CREATE FUNCTION posts.erase_account(account bigint) RETURNS void
    LANGUAGE plpgsql VOLATILE
    SET search_path = pg_catalog, pg_temp
    AS $$
BEGIN
    DELETE FROM posts.drafts WHERE author_id = account;
    PERFORM posts.erase_published(account);
END $$;
REVOKE EXECUTE ON FUNCTION posts.erase_account(bigint) FROM PUBLIC;
