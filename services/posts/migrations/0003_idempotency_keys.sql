-- What was made for an Idempotency-Key: with the request, which is the same when it comes again, it says
-- the whole first answer. Kept for a day.

CREATE TABLE posts.idempotency_keys (
    account_id bigint NOT NULL,
    key text COLLATE "C" NOT NULL,
    request_hash bytea NOT NULL,
    -- The article or comment; no foreign key, since the answer outlives it.
    resource_id bigint NOT NULL,
    slug text COLLATE "C", -- of an article
    created_at timestamptz NOT NULL,
    PRIMARY KEY (account_id, key)
);
-- What is to be purged.
CREATE INDEX idempotency_keys_oldest ON posts.idempotency_keys (created_at);
