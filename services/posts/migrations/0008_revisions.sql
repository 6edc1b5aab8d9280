-- What articles were before they were changed: the last 20 states of each. Written by the statement that
-- changes the article, which is locked meanwhile.
CREATE TABLE posts.article_revisions (
    article_id bigint NOT NULL REFERENCES posts.articles ON DELETE CASCADE,
    number integer NOT NULL, -- 1, 2, 3 ... of the article
    title text NOT NULL,
    description text NOT NULL,
    body text NOT NULL,
    tag_list text[] COLLATE "C" NOT NULL,
    created_at timestamptz NOT NULL, -- since when the article was so
    PRIMARY KEY (article_id, number)
);
