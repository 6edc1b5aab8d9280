-- auth's database gives away what other services may read, to databases of their own (docs/scaling.md): for psql, as the superuser,
-- once auth has migrated. wal_level has to be logical. The password of stoa_replica is set apart from it.
\set ON_ERROR_STOP on
SET client_min_messages = warning;

SELECT 'CREATE ROLE stoa_replica LOGIN REPLICATION'
WHERE NOT EXISTS (SELECT FROM pg_roles WHERE rolname = 'stoa_replica')
\gexec

-- What the three views show, and nothing else: no e-mail address, no hash of a password, no session.
GRANT CONNECT ON DATABASE stoa TO stoa_replica;
GRANT USAGE ON SCHEMA auth TO stoa_replica;
GRANT SELECT (id, username, username_key, bio, image) ON auth.users TO stoa_replica;
GRANT SELECT (key_id, public_jwk, retires_at) ON auth.signing_keys TO stoa_replica;
GRANT SELECT (seq, session_id, revoked_at, expires_at) ON auth.revoked_sessions TO stoa_replica;

CREATE PUBLICATION stoa_auth FOR TABLE
    auth.users (id, username, username_key, bio, image),
    auth.signing_keys (key_id, public_jwk, retires_at),
    auth.revoked_sessions (seq, session_id, revoked_at, expires_at);
