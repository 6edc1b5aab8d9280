-- Deletion of an account: auth calls chat.forget_account() in the transaction that deletes it.
--
-- The messages of a room are numbered without holes, so a message stays where it is: without author, without
-- text. A room stays too; it belongs to whoever writes in it.

ALTER TABLE chat.rooms ALTER COLUMN created_by DROP NOT NULL;
ALTER TABLE chat.messages ALTER COLUMN author_id DROP NOT NULL;

-- Serve the deletion of an account.
CREATE INDEX rooms_by_creator ON chat.rooms (created_by);
CREATE INDEX messages_by_author ON chat.messages (author_id);

-- A statement that was on its way meanwhile still saw the account, and may leave a message or a room behind. Its
-- text is not shown, since it has no author; and the account is erased once more when every such statement has ended.
CREATE TABLE chat.forgotten_accounts (
    account_id bigint PRIMARY KEY,
    forgotten_at timestamptz NOT NULL DEFAULT now()
);

-- Rooms are locked before messages, as by whoever sends.
CREATE FUNCTION chat.erase_account(account bigint) RETURNS void
    LANGUAGE plpgsql VOLATILE
    SET search_path = pg_catalog, pg_temp
    AS $$
BEGIN
    PERFORM FROM chat.rooms WHERE created_by = account ORDER BY id FOR UPDATE;
    UPDATE chat.rooms SET created_by = NULL WHERE created_by = account;
    UPDATE chat.messages SET author_id = NULL, client_id = NULL, text = '' WHERE author_id = account;
END $$;

-- For auth, and for nobody else: with the rights of chat, whose tables auth cannot touch.
CREATE FUNCTION chat.forget_account(account_id bigint) RETURNS void
    LANGUAGE plpgsql VOLATILE SECURITY DEFINER
    SET search_path = pg_catalog, pg_temp
    AS $$
BEGIN
    INSERT INTO chat.forgotten_accounts VALUES ($1)
    ON CONFLICT ON CONSTRAINT forgotten_accounts_pkey DO UPDATE SET forgotten_at = excluded.forgotten_at;
    PERFORM chat.erase_account($1);
END $$;

REVOKE EXECUTE ON FUNCTION chat.erase_account(bigint), chat.forget_account(bigint) FROM PUBLIC;
GRANT USAGE ON SCHEMA chat TO stoa_auth;
GRANT EXECUTE ON FUNCTION chat.forget_account(bigint) TO stoa_auth;
