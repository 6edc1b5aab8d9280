-- Articles, their tags, and the counters that lists answer with.
--
-- Nothing here refers to another schema: an account is known by its id, and its profile comes from
-- auth.profiles when it is read, so a changed username shows at once.

CREATE TABLE posts.articles (
    id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    -- Bytes in byte order: a slug is compared and looked up, never sorted for people.
    slug text COLLATE "C" NOT NULL CONSTRAINT articles_slug_key UNIQUE,
    author_id bigint NOT NULL,
    title text NOT NULL,
    description text NOT NULL,
    body text NOT NULL,
    -- Sorted, without doubles. The same tags are rows of article_tags; here they are for reading.
    tag_list text[] COLLATE "C" NOT NULL,
    favorites_count integer NOT NULL DEFAULT 0 CHECK (favorites_count >= 0),
    created_at timestamptz NOT NULL DEFAULT now(),
    updated_at timestamptz NOT NULL DEFAULT now()
);

-- Newest first, all of them and by author; covering, so that skipping to an offset reads no article.
CREATE INDEX articles_newest ON posts.articles (created_at DESC, id DESC);
CREATE INDEX articles_by_author ON posts.articles (author_id, created_at DESC, id DESC);

-- Which articles have a tag, in the order of lists (the key read backwards is newest first). created_at
-- is the article's and never changes. Rows come and go only in the statement that writes the
-- article's tag_list, which names each of them by its key; so there is no foreign key, and no second
-- index to serve one.
CREATE TABLE posts.article_tags (
    tag text COLLATE "C" NOT NULL,
    created_at timestamptz NOT NULL,
    article_id bigint NOT NULL,
    PRIMARY KEY (tag, created_at, article_id)
);

-- Who marked what as a favourite. The primary key answers "is it mine?", favorites_newest lists an
-- account's favourites newest article first, favorites_by_article serves the deletion of an article.
CREATE TABLE posts.favorites (
    account_id bigint NOT NULL,
    article_id bigint NOT NULL REFERENCES posts.articles ON DELETE CASCADE,
    article_created_at timestamptz NOT NULL,
    created_at timestamptz NOT NULL DEFAULT now(),
    PRIMARY KEY (account_id, article_id)
);
CREATE INDEX favorites_newest ON posts.favorites (account_id, article_created_at DESC, article_id DESC);
CREATE INDEX favorites_by_article ON posts.favorites (article_id);

-- Who follows whom.
CREATE TABLE posts.follows (
    follower_id bigint NOT NULL,
    followee_id bigint NOT NULL,
    created_at timestamptz NOT NULL DEFAULT now(),
    PRIMARY KEY (follower_id, followee_id)
);
CREATE INDEX follows_by_followee ON posts.follows (followee_id);

-- Counters: how many articles there are in all, of a tag, by an account, and how many favourites an
-- account has. They change in the statement that changes what they count, so they are never off. A
-- count is the sum over its shards; a backend adds to the shard of its own process id, so that
-- writers on different connections seldom wait for one another's commit. One shard alone may be
-- negative. The room left in each page keeps updates heap-only.
CREATE TABLE posts.article_counts (
    shard smallint PRIMARY KEY,
    n integer NOT NULL
) WITH (fillfactor = 20, autovacuum_vacuum_threshold = 1000);

CREATE TABLE posts.tag_counts (
    tag text COLLATE "C",
    shard smallint,
    n integer NOT NULL,
    PRIMARY KEY (tag, shard)
) WITH (fillfactor = 50);

CREATE TABLE posts.account_counts (
    account_id bigint,
    shard smallint,
    articles integer NOT NULL DEFAULT 0,
    favorites integer NOT NULL DEFAULT 0,
    PRIMARY KEY (account_id, shard)
) WITH (fillfactor = 50);

-- The shard that this connection writes to. Process ids come in steps; a prime keeps them apart.
CREATE FUNCTION posts.shard() RETURNS smallint
    LANGUAGE sql STABLE PARALLEL RESTRICTED
    AS 'SELECT (pg_backend_pid() % 17)::smallint';
