-- How long what happens in a room is kept, by age or by the number of messages (services/chat/README.md).
--
-- What exists stays as it is: every room keeps everything. The version before may go on beside this: it calls the
-- functions that it knows, which are still there, and finds in a room what is kept.

ALTER TABLE chat.rooms
    -- What happened before this number is kept no longer: messages and events go together, the lowest number first,
    -- in the transaction that raises it. From here to last_seq there are no holes.
    ADD COLUMN first_seq bigint NOT NULL DEFAULT 1 CHECK (first_seq BETWEEN 1 AND last_seq + 1),
    -- Of the numbers before first_seq, how many were events and not messages.
    ADD COLUMN events_before bigint NOT NULL DEFAULT 0 CHECK (events_before BETWEEN 0 AND first_seq - 1),
    -- What the owner has said; 0: no limit.
    ADD COLUMN retain_days integer NOT NULL DEFAULT 0 CHECK (retain_days >= 0),
    ADD COLUMN retain_messages integer NOT NULL DEFAULT 0 CHECK (retain_messages >= 0),
    -- When there may be something to remove. NULL: nothing limits the room, as far as was known when it was looked at.
    ADD COLUMN retention_due timestamptz;
-- Neither hold what changes with a message: taking a number stays a heap-only update.
CREATE INDEX rooms_retention_due ON chat.rooms (retention_due) WHERE deleted_at IS NULL AND retention_due IS NOT NULL;
CREATE INDEX rooms_unlimited ON chat.rooms (id) WHERE deleted_at IS NULL AND retention_due IS NULL;

-- ---- what the owner says ----

CREATE FUNCTION chat.create_room(caller bigint, kind integer, name text, description text, client text,
                                 retain_days integer, retain_messages integer, OUT outcome text, OUT room bigint)
    LANGUAGE plpgsql VOLATILE
    AS $$
BEGIN
    PERFORM chat.lock_accounts(caller);
    outcome := 'ok';
    IF NOT EXISTS (SELECT FROM auth.profiles p WHERE p.id = caller) THEN
        outcome := 'no_account';
        RETURN;
    END IF;
    SELECT r.id INTO room FROM chat.rooms r
    WHERE client IS NOT NULL AND r.created_by = caller AND r.client_id = client;
    IF FOUND THEN
        RETURN;
    END IF;
    IF chat.has_all_rooms(caller, caller) THEN
        outcome := 'too_many_rooms';
        RETURN;
    END IF;
    INSERT INTO chat.rooms AS r (kind, name, description, created_by, member_count, client_id, retain_days,
                                 retain_messages, retention_due)
    VALUES ($2, $3, $4, caller, 1, client, $6, $7, CASE WHEN $6 > 0 OR $7 > 0 THEN clock_timestamp() END)
    RETURNING r.id INTO room;
    INSERT INTO chat.members (room_id, account_id, role) VALUES (room, caller, 3);
END $$;

-- For the version before.
CREATE OR REPLACE FUNCTION chat.create_room(caller bigint, kind integer, name text, description text, client text,
                                            OUT outcome text, OUT room bigint)
    LANGUAGE sql VOLATILE
    AS $$ SELECT * FROM chat.create_room($1, $2, $3, $4, $5, 0, 0) $$;

-- NULL: stays. Both limits or none.
CREATE FUNCTION chat.update_room(room bigint, caller bigint, name text, description text, retain_days integer,
                                 retain_messages integer, OUT outcome text)
    LANGUAGE plpgsql VOLATILE
    AS $$
DECLARE
    entry record;
BEGIN
    SELECT * INTO entry FROM chat.enter(room, caller);
    outcome := CASE WHEN entry.outcome <> 'ok' THEN entry.outcome
                    WHEN entry.kind = 3 THEN 'direct_room'
                    WHEN entry.role < CASE WHEN $5 IS NULL THEN 2 ELSE 3 END THEN 'forbidden'
                    ELSE 'ok' END;
    IF outcome = 'ok' THEN
        UPDATE chat.rooms r
        SET name = coalesce($3, r.name), description = coalesce($4, r.description),
            retain_days = coalesce($5, r.retain_days), retain_messages = coalesce($6, r.retain_messages),
            retention_due = CASE WHEN r.retain_days <> $5 OR r.retain_messages <> $6 THEN clock_timestamp()
                                 ELSE r.retention_due END
        WHERE r.id = room
          AND (r.name <> $3 OR r.description <> $4 OR r.retain_days <> $5 OR r.retain_messages <> $6);
        IF FOUND THEN
            PERFORM chat.log(room, 10, caller);
        END IF;
    END IF;
END $$;

-- For the version before.
CREATE OR REPLACE FUNCTION chat.update_room(room bigint, caller bigint, name text, description text, OUT outcome text)
    LANGUAGE sql VOLATILE
    AS $$ SELECT chat.update_room($1, $2, $3, $4, NULL, NULL) $$;

-- ---- what goes ----

-- A client that sends something again finds what it sent, for so long at least (client_id); whatever the limits say.
CREATE FUNCTION chat.kept_at_least() RETURNS interval LANGUAGE sql IMMUTABLE AS $$ SELECT interval '1 day' $$;

-- The first number of a room, from low on, that is not older than this; high when there is none before it, low when at
-- is NULL. A number is one row in one of two tables, and time stamps rise with the numbers.
CREATE FUNCTION chat.seq_at(room bigint, low bigint, high bigint, at timestamptz) RETURNS bigint
    LANGUAGE plpgsql STABLE
    AS $$
DECLARE
    middle bigint;
BEGIN
    WHILE at IS NOT NULL AND low < high LOOP
        middle := (low + high) / 2;
        IF coalesce((SELECT m.created_at FROM chat.messages m WHERE m.room_id = room AND m.seq = middle),
                    (SELECT e.created_at FROM chat.events e WHERE e.room_id = room AND e.seq = middle)) < at THEN
            low := middle + 1;
        ELSE
            high := middle;
        END IF;
    END LOOP;
    RETURN low;
END $$;

-- The first number from which on there are at most so many messages, or that is kept when messages is NULL. Of the
-- numbers up to one, the events count themselves; the others are messages.
CREATE FUNCTION chat.seq_of_latest(room chat.rooms, messages bigint) RETURNS bigint
    LANGUAGE plpgsql STABLE
    AS $$
DECLARE
    low bigint := room.first_seq;
    high bigint := room.last_seq + 1;
    middle bigint;
    excess bigint := room.last_seq - room.event_count - messages;
BEGIN
    WHILE messages IS NOT NULL AND low < high LOOP
        middle := (low + high) / 2;
        IF middle - 1 - coalesce((SELECT e.number FROM chat.events e WHERE e.room_id = room.id AND e.seq < middle
                                  ORDER BY e.seq DESC LIMIT 1), room.events_before) < excess THEN
            low := middle + 1;
        ELSE
            high := middle;
        END IF;
    END LOOP;
    RETURN low;
END $$;

-- Removes one batch of what is kept no longer, from one room where that may be due: 1, or 0: there is none, or another
-- instance is at it. max_days, max_messages: what no room may exceed, 0: no limit. again_s: when a room is looked at
-- again, at the earliest. The room is locked meanwhile, for as long as it takes to remove a batch of rows.
CREATE FUNCTION chat.sweep_room(max_days integer, max_messages integer, again_s integer, batch integer) RETURNS bigint
    LANGUAGE plpgsql VOLATILE
    AS $$
DECLARE
    room chat.rooms;
    due bigint;
    days integer;
    messages integer;
    cut bigint;
    stop bigint;
    removed bigint;
    eldest timestamptz;
    again interval := again_s * interval '1 second';
BEGIN
    -- One at a time, so that it can wait for a room where somebody always writes.
    IF NOT pg_try_advisory_xact_lock(1667785077, 0) THEN -- "chau", beside lock_accounts()
        RETURN 0;
    END IF;
    SELECT r.id INTO due FROM chat.rooms r WHERE r.deleted_at IS NULL AND r.retention_due <= clock_timestamp()
    ORDER BY r.retention_due LIMIT 1;
    SELECT * INTO room FROM chat.rooms r WHERE r.id = due FOR NO KEY UPDATE;
    IF NOT FOUND THEN
        RETURN 0;
    END IF;
    days := least(nullif(room.retain_days, 0), nullif(max_days, 0));
    messages := least(nullif(room.retain_messages, 0), nullif(max_messages, 0));

    cut := least(greatest(chat.seq_at(room.id, room.first_seq, room.last_seq + 1,
                                      clock_timestamp() - days * interval '1 day'),
                          chat.seq_of_latest(room, messages)),
                 chat.seq_at(room.id, room.first_seq, room.last_seq + 1, clock_timestamp() - chat.kept_at_least()));
    -- The batch ends there, or when it has enough rows: a message has many reactions, or few.
    stop := least(cut, room.first_seq + batch);
    stop := greatest(least(room.first_seq + 1, stop),
                     least(stop, (SELECT each.seq FROM (
                         SELECT c.seq, sum(c.n) OVER (ORDER BY c.seq) FROM chat.reaction_counts c
                         WHERE c.room_id = room.id AND c.seq >= room.first_seq AND c.seq < stop
                     ) each (seq, total) WHERE each.total > 4 * batch ORDER BY each.seq LIMIT 1)));
    DELETE FROM chat.reactions x WHERE x.room_id = room.id AND x.seq >= room.first_seq AND x.seq < stop;
    DELETE FROM chat.reaction_counts c WHERE c.room_id = room.id AND c.seq >= room.first_seq AND c.seq < stop;
    DELETE FROM chat.messages m WHERE m.room_id = room.id AND m.seq >= room.first_seq AND m.seq < stop;
    DELETE FROM chat.events e WHERE e.room_id = room.id AND e.seq >= room.first_seq AND e.seq < stop;
    GET DIAGNOSTICS removed = ROW_COUNT;

    -- The next time by age is known; by count it is not, but the longer nobody writes, the later will do. Limits of all
    -- rooms may have become stricter meanwhile.
    eldest := coalesce((SELECT m.created_at FROM chat.messages m WHERE m.room_id = room.id AND m.seq = stop),
                       (SELECT e.created_at FROM chat.events e WHERE e.room_id = room.id AND e.seq = stop),
                       clock_timestamp());
    UPDATE chat.rooms r
    SET first_seq = stop, events_before = r.events_before + removed,
        retention_due = CASE
            WHEN stop < cut THEN clock_timestamp() -- after the others that are due
            WHEN days IS NULL AND messages IS NULL THEN NULL
            ELSE clock_timestamp() + greatest(again, least(
                interval '1 day', eldest + days * interval '1 day' - clock_timestamp(),
                CASE WHEN messages IS NOT NULL THEN (clock_timestamp() - r.active_at) / 8 END))
            END
    WHERE r.id = room.id;
    RETURN 1;
END $$;

-- When all rooms have a limit: those that have none of their own are looked at too. How many, at most a batch.
CREATE FUNCTION chat.limit_rooms(batch integer) RETURNS bigint
    LANGUAGE plpgsql VOLATILE
    AS $$
DECLARE
    n bigint;
BEGIN
    UPDATE chat.rooms r SET retention_due = clock_timestamp()
    WHERE r.id = ANY (ARRAY(SELECT o.id FROM chat.rooms o WHERE o.deleted_at IS NULL AND o.retention_due IS NULL
                            ORDER BY o.id LIMIT batch FOR NO KEY UPDATE SKIP LOCKED));
    GET DIAGNOSTICS n = ROW_COUNT;
    RETURN n;
END $$;

REVOKE EXECUTE ON ALL FUNCTIONS IN SCHEMA chat FROM PUBLIC;
