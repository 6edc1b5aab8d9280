-- Deleting an account: what the other services keep of it is theirs to remove, each by a function of its own
-- that auth may call, in the transaction that removes the account. A service that is not there (yet) has
-- nothing of it.

CREATE FUNCTION auth.forget_account_elsewhere(account bigint) RETURNS void
LANGUAGE plpgsql AS $$
DECLARE
    service text;
BEGIN
    FOR service IN
        SELECT n.nspname FROM pg_catalog.pg_proc p JOIN pg_catalog.pg_namespace n ON n.oid = p.pronamespace
        WHERE n.nspname IN ('posts', 'chat') AND p.proname = 'forget_account'
        ORDER BY n.nspname
    LOOP
        EXECUTE format('SELECT %I.forget_account($1)', service) USING account;
    END LOOP;
END
$$;
