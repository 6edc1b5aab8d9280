-- Secrets that all instances of auth share. No other role can read them.

CREATE TABLE auth.secrets (
    name text PRIMARY KEY,
    value bytea NOT NULL
);

-- What attempts to sign in are counted by, so that Redis holds neither addresses nor e-mail addresses
-- (services/auth/throttle.c). 244 random bits.
INSERT INTO auth.secrets (name, value)
    VALUES ('throttle', uuid_send(gen_random_uuid()) || uuid_send(gen_random_uuid()));
