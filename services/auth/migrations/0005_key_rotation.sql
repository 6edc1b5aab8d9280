-- Keys that are changed while their instance runs. Whoever runs the version before sets no time, and so
-- retires none.

-- When the last token of a key that signs no more has expired.
ALTER TABLE auth.signing_keys ADD COLUMN retires_at timestamptz;

CREATE OR REPLACE VIEW auth.verification_keys AS
    SELECT key_id, public_jwk FROM auth.signing_keys WHERE retires_at IS NULL OR retires_at > now();
