-- Sessions that are refreshed, listed and ended. Whoever runs the version before knows nothing of it:
-- each new column has a value for the rows that it makes.

ALTER TABLE auth.sessions
    -- SHA-256 of the two secrets of a refresh token: the one that all tokens of the session share, and the
    -- one of the current token. A session without them cannot be refreshed.
    ADD COLUMN family_hash bytea,
    ADD COLUMN refresh_hash bytea,
    -- The token before, which counts for a few seconds more; when it was replaced, and what its successor is
    -- made of, together with the token itself (services/auth/refresh_token.c).
    ADD COLUMN previous_hash bytea,
    ADD COLUMN rotated_at timestamptz,
    ADD COLUMN successor_nonce bytea,
    -- The sign-in (created_at) or the latest refreshment, by whom, from where.
    ADD COLUMN last_used_at timestamptz NOT NULL DEFAULT now(),
    ADD COLUMN user_agent text,
    ADD COLUMN address inet,
    -- When the last of its access tokens expires. 31 days is the longest that one may live.
    ADD COLUMN tokens_expire_at timestamptz NOT NULL DEFAULT now() + interval '31 days',
    -- When it ends unless it is refreshed before. Moved in steps of a thirtieth of its life (a day), so that
    -- most refreshments change no index.
    ADD COLUMN expires_at timestamptz NOT NULL DEFAULT now() + interval '31 days';

-- Lists an account's sessions, latest sign-in first (ids are ordered by time), and serves its deletion.
CREATE INDEX sessions_by_user_newest ON auth.sessions (user_id, id);
DROP INDEX auth.sessions_by_user;
-- Serves the removal of what has expired.
CREATE INDEX sessions_by_expiry ON auth.sessions (expires_at);

-- Sessions that were ended while they had access tokens that live. Rows are only added, in the transaction
-- that ends the session, and removed when they have no meaning any more.
CREATE TABLE auth.revoked_sessions (
    seq bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    session_id uuid NOT NULL,
    -- Not now(): a transaction may have waited.
    revoked_at timestamptz NOT NULL DEFAULT clock_timestamp(),
    expires_at timestamptz NOT NULL
);
CREATE INDEX revoked_sessions_by_expiry ON auth.revoked_sessions (expires_at);

-- What every service reads several times a second, to refuse the tokens of these sessions.
CREATE VIEW auth.revocations AS
    SELECT seq, session_id, revoked_at, expires_at FROM auth.revoked_sessions;

GRANT SELECT ON auth.revocations TO stoa_posts, stoa_chat;
