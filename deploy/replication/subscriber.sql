-- A database of posts' or chat's own gets what auth offers, under the same names (docs/scaling.md): for psql, as the
-- superuser, after bootstrap.sql and before the service migrates. The environment says how auth's database is reached, from
-- this server:
--
--     STOA_AUTH_CONNECTION   libpq keywords, with passfile= rather than a password: "host=... dbname=stoa user=stoa_replica ..."
--     STOA_SUBSCRIPTION      the name of this database's subscription, and of its slot there: one for each database
\set ON_ERROR_STOP on
\getenv connection STOA_AUTH_CONNECTION
\getenv subscription STOA_SUBSCRIPTION
SET client_min_messages = warning;

-- The columns and keys of auth's own migrations, as far as its views show them. Nobody writes here but replication.
CREATE TABLE auth.users (
    id bigint PRIMARY KEY,
    username text NOT NULL,
    username_key text COLLATE "C" NOT NULL UNIQUE,
    bio text,
    image text
);
CREATE TABLE auth.signing_keys (
    key_id text COLLATE "C" PRIMARY KEY,
    public_jwk text NOT NULL,
    retires_at timestamptz
);
CREATE TABLE auth.revoked_sessions (
    seq bigint PRIMARY KEY,
    session_id uuid NOT NULL,
    revoked_at timestamptz NOT NULL,
    expires_at timestamptz NOT NULL
);

CREATE VIEW auth.profiles AS
    SELECT id, username, username_key, bio, image FROM auth.users;
CREATE VIEW auth.verification_keys AS
    SELECT key_id, public_jwk FROM auth.signing_keys WHERE retires_at IS NULL OR retires_at > now();
CREATE VIEW auth.revocations AS
    SELECT seq, session_id, revoked_at, expires_at FROM auth.revoked_sessions;
GRANT USAGE ON SCHEMA auth TO stoa_posts, stoa_chat;
GRANT SELECT ON auth.profiles, auth.verification_keys, auth.revocations TO stoa_posts, stoa_chat;

-- Where all is one database, auth erases what a deleted account has left in the same transaction. Here it is the transaction in
-- which the deletion arrives.
CREATE FUNCTION auth.forget_account_here() RETURNS trigger
LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp AS $$
DECLARE
    service text;
BEGIN
    FOR service IN
        SELECT n.nspname FROM pg_catalog.pg_proc p JOIN pg_catalog.pg_namespace n ON n.oid = p.pronamespace
        WHERE n.nspname IN ('posts', 'chat') AND p.proname = 'forget_account'
        ORDER BY n.nspname
    LOOP
        EXECUTE format('SELECT %I.forget_account($1)', service) USING OLD.id;
    END LOOP;
    RETURN NULL;
END
$$;
CREATE TRIGGER forget_account AFTER DELETE ON auth.users FOR EACH ROW EXECUTE FUNCTION auth.forget_account_here();
ALTER TABLE auth.users ENABLE REPLICA TRIGGER forget_account;

CREATE SUBSCRIPTION :"subscription" CONNECTION :'connection' PUBLICATION stoa_auth;
