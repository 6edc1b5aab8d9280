-- Accounts, sessions and signing keys; and the two views that the other services may read.

CREATE TABLE auth.users (
    id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    username text NOT NULL CHECK (char_length(username) BETWEEN 1 AND 64),
    -- NFKC, case-folded: the form in which usernames are compared. Keys are compared as bytes.
    username_key text COLLATE "C" NOT NULL CONSTRAINT users_username_key_unique UNIQUE,
    email text NOT NULL CHECK (char_length(email) BETWEEN 1 AND 254),
    -- Lower case.
    email_key text COLLATE "C" NOT NULL CONSTRAINT users_email_key_unique UNIQUE,
    -- Argon2id, as a PHC string with its parameters and salt.
    password_hash text NOT NULL,
    bio text,
    image text,
    created_at timestamptz NOT NULL DEFAULT now(),
    updated_at timestamptz NOT NULL DEFAULT now()
);

-- One row for each sign-in; the sid of access tokens.
CREATE TABLE auth.sessions (
    id uuid PRIMARY KEY,
    user_id bigint NOT NULL REFERENCES auth.users ON DELETE CASCADE,
    created_at timestamptz NOT NULL DEFAULT now()
);
-- Serves the deletion of an account.
CREATE INDEX sessions_by_user ON auth.sessions (user_id);

-- The public half of each instance's key. last_used_at is moved once a day by the statements that
-- make sessions, so a row outlives every token that its key has signed.
CREATE TABLE auth.signing_keys (
    key_id text COLLATE "C" PRIMARY KEY,
    public_jwk text NOT NULL,
    created_at timestamptz NOT NULL DEFAULT now(),
    last_used_at timestamptz NOT NULL DEFAULT now()
);

-- What others may know about an account. username_key serves look-ups by name.
CREATE VIEW auth.profiles AS
    SELECT id, username, username_key, bio, image FROM auth.users;

-- What access tokens are verified with.
CREATE VIEW auth.verification_keys AS
    SELECT key_id, public_jwk FROM auth.signing_keys;

GRANT USAGE ON SCHEMA auth TO stoa_posts, stoa_chat;
GRANT SELECT ON auth.profiles, auth.verification_keys TO stoa_posts, stoa_chat;
