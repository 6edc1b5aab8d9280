-- Comments on articles.

CREATE TABLE posts.comments (
    -- Clients get it as a JSON number, and over gRPC as a uint32.
    id bigint GENERATED ALWAYS AS IDENTITY (MAXVALUE 4294967295) PRIMARY KEY,
    article_id bigint NOT NULL REFERENCES posts.articles ON DELETE CASCADE,
    author_id bigint NOT NULL,
    body text NOT NULL,
    created_at timestamptz NOT NULL DEFAULT now(),
    updated_at timestamptz NOT NULL DEFAULT now()
);

-- An article's comments, the newest first; and the deletion of an article.
CREATE INDEX comments_by_article ON posts.comments (article_id, id DESC);
-- The deletion of an account.
CREATE INDEX comments_by_author ON posts.comments (author_id);
