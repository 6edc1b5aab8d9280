-- Full-text search over published articles.

-- What a search looks through: the words of each article with their places. A table of its own, so that
-- reading and changing articles costs what it did. No foreign key: a trigger keeps them together.
CREATE TABLE posts.article_search (
    article_id bigint PRIMARY KEY,
    document tsvector NOT NULL
);
-- Written by the indexer alone, so that only it waits when the list of pending entries is sorted in.
CREATE INDEX article_search_document ON posts.article_search USING gin (document)
    WITH (gin_pending_list_limit = 1024);

-- Articles whose words are to be taken again; rows are only added and removed, so no writer waits for
-- another or for the indexer. Taking the words costs several times what the rest of a create does, and
-- is left to the indexer (INDEX_ARTICLES in services/posts/statements.c).
CREATE TABLE posts.search_queue (
    id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    article_id bigint NOT NULL
) WITH (autovacuum_vacuum_threshold = 1000, autovacuum_vacuum_scale_factor = 0);

-- The words of an article. Of a long body the first 50,000 characters count: each gives twice its four bytes
-- (a compound word, and its parts) and its place at most, which together is less than the megabyte that
-- a tsvector holds.
CREATE FUNCTION posts.search_document(title text, description text, body text, tag_list text[])
    RETURNS tsvector
    LANGUAGE sql STABLE PARALLEL SAFE
    AS $$
    SELECT setweight(to_tsvector('pg_catalog.english', title), 'A')
        || setweight(to_tsvector('pg_catalog.english', array_to_string(tag_list, ' ')), 'B')
        || setweight(to_tsvector('pg_catalog.english', description), 'B')
        || to_tsvector('pg_catalog.english', left(body, 50000))
$$;

-- What somebody looks for, in websearch syntax. NULL when it names no word that the index can find:
-- querytree() is then empty, or T if something is there that is not to be in an article.
CREATE FUNCTION posts.search_query(q text) RETURNS tsquery
    LANGUAGE plpgsql STABLE PARALLEL RESTRICTED
    SET search_path = pg_catalog, pg_temp
    AS $$
DECLARE
    words tsquery;
BEGIN
    words := websearch_to_tsquery('english', q);
    RETURN CASE WHEN querytree(words) NOT IN ('', 'T') THEN words END;
EXCEPTION WHEN internal_error THEN
    RETURN NULL; -- "tsquery stack too small": more than 32 times "not" in a row
END $$;

-- Of statements that write several articles, in one step; but a trigger that looks at some columns only
-- has to be asked for each row.
CREATE FUNCTION posts.queue_new_for_search() RETURNS trigger
    LANGUAGE plpgsql VOLATILE
    SET search_path = pg_catalog, pg_temp
    AS $$
BEGIN
    INSERT INTO posts.search_queue (article_id) SELECT id FROM written;
    RETURN NULL;
END $$;

CREATE FUNCTION posts.queue_changed_for_search() RETURNS trigger
    LANGUAGE plpgsql VOLATILE
    SET search_path = pg_catalog, pg_temp
    AS $$
BEGIN
    INSERT INTO posts.search_queue (article_id) VALUES (NEW.id);
    RETURN NULL;
END $$;

-- At once; and from the queue once more, in case the indexer has just seen the article.
CREATE FUNCTION posts.remove_from_search() RETURNS trigger
    LANGUAGE plpgsql VOLATILE
    SET search_path = pg_catalog, pg_temp
    AS $$
BEGIN
    DELETE FROM posts.article_search s USING written w WHERE s.article_id = w.id;
    INSERT INTO posts.search_queue (article_id) SELECT id FROM written;
    RETURN NULL;
END $$;

CREATE TRIGGER articles_search_new AFTER INSERT ON posts.articles
    REFERENCING NEW TABLE AS written
    FOR EACH STATEMENT EXECUTE FUNCTION posts.queue_new_for_search();
CREATE TRIGGER articles_search_changed AFTER UPDATE OF title, description, body, tag_list ON posts.articles
    FOR EACH ROW EXECUTE FUNCTION posts.queue_changed_for_search();
CREATE TRIGGER articles_search_gone AFTER DELETE ON posts.articles
    REFERENCING OLD TABLE AS written
    FOR EACH STATEMENT EXECUTE FUNCTION posts.remove_from_search();

REVOKE EXECUTE ON FUNCTION posts.search_document(text, text, text, text[]), posts.search_query(text),
    posts.queue_new_for_search(), posts.queue_changed_for_search(), posts.remove_from_search() FROM PUBLIC;
