-- What an account has written is hidden at once when the account is deleted (statements.c), and goes in bounded pieces afterwards
-- (services/chat/README.md).
--
-- The version before may go on beside this. Until they have gone it shows messages without their author.

ALTER TABLE chat.forgotten_accounts
    -- Nothing was found any more.
    ADD COLUMN is_erased boolean NOT NULL DEFAULT false;

-- The same, and finds as well what an account did in rooms that it is no longer seen in.
CREATE UNIQUE INDEX events_client_id_of_actor ON chat.events (actor_id, room_id, client_id) WHERE client_id IS NOT NULL;
DROP INDEX chat.events_client_id_key;
ALTER INDEX chat.events_client_id_of_actor RENAME TO events_client_id_key;

-- How long a statement that saw an account may still leave something behind; it ends after 30 seconds.
CREATE FUNCTION chat.settled_after() RETURNS interval LANGUAGE sql IMMUTABLE AS $$ SELECT interval '5 minutes' $$;

-- Removes a batch of each kind of what an account has done and written, its latest messages first: how many. What it wrote is
-- deleted as it would be by itself, so that numbers stay whole and whoever follows a room hears of it; such a message has no
-- author any more. Its memberships and reactions go. A room without an owner gets the eldest of its moderators, or of its
-- members, as its owner; one without members goes.
--
-- Whoever writes to one of the rooms waits for it. Messages have at most four times as many reactions as the batch, or there is one
-- message, with all of its own.
CREATE FUNCTION chat.erase_some(account bigint, batch integer) RETURNS bigint
    LANGUAGE plpgsql VOLATILE
    SET search_path = pg_catalog, pg_temp
    AS $$
DECLARE
    joined bigint[];
    made bigint[];
    message_rooms bigint[];
    message_seqs bigint[];
    reaction_rooms bigint[];
    reaction_seqs bigint[];
    room bigint;
    reaction record;
    was smallint;
    heir bigint;
    at timestamptz;
    removed bigint;
    erased bigint;
BEGIN
    PERFORM chat.lock_accounts(account);
    -- At most chat.max_rooms(); what is in a deleted one goes with that.
    joined := ARRAY(SELECT m.room_id FROM chat.members m
                    CROSS JOIN LATERAL (SELECT FROM chat.rooms WHERE id = m.room_id AND deleted_at IS NULL OFFSET 0) r
                    WHERE m.account_id = account AND m.role > 0 ORDER BY m.room_id LIMIT batch);
    made := ARRAY(SELECT r.id FROM chat.rooms r WHERE r.created_by = account AND r.client_id IS NOT NULL LIMIT batch);
    SELECT array_agg(each.room_id), array_agg(each.seq) INTO message_rooms, message_seqs FROM (
        SELECT mine.room_id, mine.seq, row_number() OVER newest AS place, sum(mine.reactions) OVER newest AS total FROM (
            SELECT m.room_id, m.seq, CASE WHEN m.reaction_kinds > 0 THEN
                       (SELECT sum(c.n) FROM chat.reaction_counts c WHERE c.room_id = m.room_id AND c.seq = m.seq)
                   ELSE 0 END AS reactions
            FROM chat.messages m WHERE m.author_id = account ORDER BY m.room_id DESC, m.seq DESC LIMIT batch
        ) mine WINDOW newest AS (ORDER BY mine.room_id DESC, mine.seq DESC)
    ) each WHERE each.place = 1 OR each.total <= 4 * batch;
    SELECT array_agg(x.room_id), array_agg(x.seq) INTO reaction_rooms, reaction_seqs FROM (
        SELECT room_id, seq FROM chat.reactions WHERE account_id = account ORDER BY room_id, seq LIMIT batch) x;
    PERFORM FROM chat.rooms r WHERE r.id = ANY (joined || made || message_rooms || reaction_rooms)
    ORDER BY r.id FOR NO KEY UPDATE;
    at := clock_timestamp();

    -- As many events at once as there are messages.
    DELETE FROM chat.reactions x USING unnest(message_rooms, message_seqs) k (room_id, seq)
    WHERE x.room_id = k.room_id AND x.seq = k.seq;
    DELETE FROM chat.reaction_counts c USING unnest(message_rooms, message_seqs) k (room_id, seq)
    WHERE c.room_id = k.room_id AND c.seq = k.seq;
    WITH gone AS (
        UPDATE chat.messages m SET text = '', author_id = NULL, client_id = NULL, reaction_kinds = 0,
                                   deleted_at = coalesce(m.deleted_at, at)
        FROM unnest(message_rooms, message_seqs) k (room_id, seq)
        JOIN chat.messages old ON old.room_id = k.room_id AND old.seq = k.seq
        WHERE m.room_id = k.room_id AND m.seq = k.seq AND m.author_id = account
        RETURNING m.room_id, m.seq, old.deleted_at
    ), placed AS (
        SELECT room_id, seq, row_number() OVER (PARTITION BY room_id ORDER BY seq) AS place FROM gone
        WHERE deleted_at IS NULL
    ), numbered AS (
        INSERT INTO chat.events (room_id, seq, number, kind, actor_id, created_at, message_seq)
        SELECT r.id, r.last_seq + p.place, r.event_count + p.place, 3, account, greatest(at, r.active_at), p.seq
        FROM placed p JOIN chat.rooms r ON r.id = p.room_id
        RETURNING room_id
    )
    UPDATE chat.rooms r SET last_seq = r.last_seq + n.n, event_count = r.event_count + n.n
    FROM (SELECT numbered.room_id, count(*) FROM numbered GROUP BY 1) n (room_id, n) WHERE r.id = n.room_id;
    erased := coalesce(cardinality(message_rooms), 0);

    FOR reaction IN SELECT x.room_id, x.seq, x.emoji
                    FROM (SELECT DISTINCT * FROM unnest(reaction_rooms, reaction_seqs)) k (room_id, seq)
                    JOIN chat.reactions x ON x.room_id = k.room_id AND x.seq = k.seq AND x.account_id = account
                    ORDER BY 1, 2, 3 LOOP
        PERFORM chat.log(reaction.room_id, 5, account, reaction.seq, reaction.emoji);
        PERFORM chat.take_reaction(reaction.room_id, reaction.seq, account, reaction.emoji);
    END LOOP;
    erased := erased + coalesce(cardinality(reaction_rooms), 0);

    FOREACH room IN ARRAY joined LOOP
        DELETE FROM chat.members m WHERE m.room_id = room AND m.account_id = account AND m.role > 0 RETURNING m.role INTO was;
        CONTINUE WHEN NOT FOUND;
        UPDATE chat.rooms r SET member_count = r.member_count - 1 WHERE r.id = room;
        PERFORM chat.log(room, 7, account, subject => account);
        IF NOT EXISTS (SELECT FROM chat.members m WHERE m.room_id = room AND m.role > 0) THEN
            UPDATE chat.rooms r SET deleted_at = clock_timestamp() WHERE r.id = room AND r.deleted_at IS NULL;
        ELSIF was = 3 AND NOT EXISTS (SELECT FROM chat.members m WHERE m.room_id = room AND m.role = 3) THEN
            SELECT m.account_id INTO heir FROM chat.members m WHERE m.room_id = room AND m.role > 0
            ORDER BY m.role DESC, m.joined_at, m.account_id LIMIT 1;
            UPDATE chat.members m SET role = 3 WHERE m.room_id = room AND m.account_id = heir;
            PERFORM chat.log(room, 9, account, subject => heir, role => 3);
        END IF;
    END LOOP;
    erased := erased + cardinality(joined);

    DELETE FROM chat.members WHERE ctid = ANY (ARRAY(
        SELECT ctid FROM chat.members WHERE account_id = account AND role = 0 LIMIT batch));
    GET DIAGNOSTICS removed = ROW_COUNT;
    erased := erased + removed;
    UPDATE chat.events SET client_id = NULL WHERE ctid = ANY (ARRAY(
        SELECT ctid FROM chat.events WHERE actor_id = account AND client_id IS NOT NULL LIMIT batch));
    GET DIAGNOSTICS removed = ROW_COUNT;
    erased := erased + removed;
    UPDATE chat.rooms SET client_id = NULL WHERE id = ANY (made);
    RETURN erased + cardinality(made);
END $$;

-- Removes a batch of what is left of a forgotten account: 1, or 0: there is nothing to do, or other instances are at it.
CREATE FUNCTION chat.purge_account(batch integer) RETURNS bigint
    LANGUAGE plpgsql VOLATILE
    SET search_path = pg_catalog, pg_temp
    AS $$
DECLARE
    due chat.forgotten_accounts;
BEGIN
    SELECT * INTO due FROM chat.forgotten_accounts f
    WHERE NOT f.is_erased OR f.forgotten_at < now() - chat.settled_after()
    ORDER BY f.forgotten_at LIMIT 1 FOR UPDATE SKIP LOCKED;
    IF NOT FOUND THEN
        RETURN 0;
    END IF;
    IF chat.erase_some(due.account_id, batch) = 0 THEN
        DELETE FROM chat.forgotten_accounts f
        WHERE f.account_id = due.account_id AND f.forgotten_at < now() - chat.settled_after();
        UPDATE chat.forgotten_accounts f SET is_erased = true WHERE f.account_id = due.account_id AND NOT f.is_erased;
    END IF;
    RETURN 1;
END $$;

-- Of an account with no more than a batch of each kind nothing is left when this has been committed; in no room is it a member.
CREATE OR REPLACE FUNCTION chat.forget_account(account_id bigint) RETURNS void
    LANGUAGE plpgsql VOLATILE SECURITY DEFINER
    SET search_path = pg_catalog, pg_temp
    AS $$
BEGIN
    INSERT INTO chat.forgotten_accounts VALUES ($1)
    ON CONFLICT ON CONSTRAINT forgotten_accounts_pkey
    DO UPDATE SET forgotten_at = excluded.forgotten_at, is_erased = false;
    PERFORM chat.erase_some($1, 500);
END $$;

-- For the version before, whose purge_account() calls this.
CREATE OR REPLACE FUNCTION chat.erase_account(account bigint) RETURNS void
    LANGUAGE plpgsql VOLATILE
    SET search_path = pg_catalog, pg_temp
    AS $$
BEGIN
    WHILE chat.erase_some(account, 500) > 0 LOOP
    END LOOP;
END $$;

REVOKE EXECUTE ON FUNCTION chat.settled_after(), chat.erase_some(bigint, integer), chat.purge_account(integer) FROM PUBLIC;
