-- The language that searches are in is the database's to say: English until posts.search_in() says something else.

-- How words become what the index has. What uses it looks it up when it runs, so that a change needs no restart.
CREATE TEXT SEARCH CONFIGURATION posts.words (COPY = pg_catalog.english);

-- As in 0005_search.sql, but for the language.
CREATE OR REPLACE FUNCTION posts.search_document(title text, description text, body text, tag_list text[])
    RETURNS tsvector
    LANGUAGE sql STABLE PARALLEL SAFE
    AS $$
    SELECT setweight(to_tsvector('posts.words', title), 'A')
        || setweight(to_tsvector('posts.words', array_to_string(tag_list, ' ')), 'B')
        || setweight(to_tsvector('posts.words', description), 'B')
        || to_tsvector('posts.words', left(body, 50000))
$$;

CREATE OR REPLACE FUNCTION posts.search_query(q text) RETURNS tsquery
    LANGUAGE plpgsql STABLE PARALLEL RESTRICTED
    SET search_path = pg_catalog, pg_temp
    AS $$
DECLARE
    words tsquery;
BEGIN
    words := websearch_to_tsquery('posts.words', q);
    RETURN CASE WHEN querytree(words) NOT IN ('', 'T') THEN words END;
EXCEPTION WHEN internal_error THEN
    RETURN NULL; -- "tsquery stack too small": more than 32 times "not" in a row
END $$;

-- From now on searches are in this language: a text search configuration of Postgres (`\dF` in psql lists them), or of
-- one's own with the default parser. 'simple' takes words as they are written, whatever their language. All articles
-- are queued, and their number is given; those that wait are found by their old words. The mapping of posts.words
-- changes and not posts.words itself, which plans have by its number.
CREATE FUNCTION posts.search_in(language regconfig) RETURNS bigint
    LANGUAGE plpgsql VOLATILE
    SET search_path = pg_catalog, pg_temp
    SET client_min_messages = warning
    AS $$
DECLARE
    mapping record;
    queued bigint;
BEGIN
    IF (SELECT cfgparser FROM pg_ts_config WHERE oid = language)
        <> (SELECT cfgparser FROM pg_ts_config WHERE oid = 'posts.words'::regconfig) THEN
        RAISE 'the text search configuration % has another parser than the default one', language;
    END IF;
    FOR mapping IN
        SELECT t.alias, string_agg(m.mapdict::regdictionary::text, ', ' ORDER BY m.mapseqno) AS dictionaries
        FROM ts_token_type('default') t
        LEFT JOIN pg_ts_config_map m ON m.maptokentype = t.tokid AND m.mapcfg = language
        GROUP BY t.alias
    LOOP
        IF mapping.dictionaries IS NULL THEN
            EXECUTE format('ALTER TEXT SEARCH CONFIGURATION posts.words DROP MAPPING IF EXISTS FOR %I', mapping.alias);
        ELSE
            EXECUTE format('ALTER TEXT SEARCH CONFIGURATION posts.words ALTER MAPPING FOR %I WITH %s', mapping.alias,
                           mapping.dictionaries);
        END IF;
    END LOOP;
    INSERT INTO posts.search_queue (article_id) SELECT id FROM posts.articles;
    GET DIAGNOSTICS queued = ROW_COUNT;
    RETURN queued;
END $$;
REVOKE EXECUTE ON FUNCTION posts.search_in(regconfig) FROM PUBLIC;
