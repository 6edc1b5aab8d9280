-- Who is in a room, with what rights; messages that are edited, deleted, answered and reacted to; and one
-- order for all of it (services/chat/README.md).
--
-- What exists stays: every room is a public one, open to join, whose members are who opened it (the owner) and
-- who wrote to it. The version before may go on writing beside this: what it inserts is complete without the
-- new columns.

ALTER TABLE chat.rooms
    -- 1: public, 2: private, 3: direct, between two.
    ADD COLUMN kind smallint NOT NULL DEFAULT 1 CHECK (kind BETWEEN 1 AND 3),
    -- Of 1 to last_seq, how many are events and not messages.
    ADD COLUMN event_count bigint NOT NULL DEFAULT 0,
    ADD COLUMN member_count integer NOT NULL DEFAULT 0 CHECK (member_count >= 0),
    -- When last_seq was taken.
    ADD COLUMN active_at timestamptz NOT NULL DEFAULT now(),
    -- Then nobody sees it any more, and a purge removes what is in it, and then itself.
    ADD COLUMN deleted_at timestamptz,
    -- The creator's, so that a create that is sent again makes nothing.
    ADD COLUMN client_id text COLLATE "C",
    -- The two accounts of a direct room, the lower id first.
    ADD COLUMN direct_low bigint,
    ADD COLUMN direct_high bigint,
    ADD CONSTRAINT rooms_direct_check CHECK ((kind = 3) = (direct_low IS NOT NULL AND direct_high IS NOT NULL)
                                             AND direct_low < direct_high);
-- All are partial or hold what never changes: taking a number stays a heap-only update.
CREATE INDEX rooms_public ON chat.rooms (id) WHERE kind = 1 AND deleted_at IS NULL;
CREATE INDEX rooms_deleted ON chat.rooms (deleted_at) WHERE deleted_at IS NOT NULL;
CREATE UNIQUE INDEX rooms_direct_key ON chat.rooms (direct_low, direct_high) WHERE deleted_at IS NULL;
CREATE UNIQUE INDEX rooms_client_id_key ON chat.rooms (created_by, client_id) WHERE client_id IS NOT NULL;

CREATE TABLE chat.members (
    room_id bigint NOT NULL,
    account_id bigint NOT NULL,
    -- 0: removed, and may not join; 1: member, 2: moderator, 3: owner.
    role smallint NOT NULL CHECK (role BETWEEN 0 AND 3),
    joined_at timestamptz NOT NULL DEFAULT clock_timestamp(),
    read_seq bigint NOT NULL DEFAULT 0, -- everything up to here
    PRIMARY KEY (room_id, account_id)
) WITH (fillfactor = 80);
CREATE INDEX members_by_account ON chat.members (account_id, room_id) WHERE role > 0;
CREATE INDEX members_owners ON chat.members (room_id) WHERE role = 3;
-- The deletion of an account.
CREATE INDEX members_removed ON chat.members (account_id) WHERE role = 0;

-- Every number of a room is a row here or in chat.messages: a message is its own event.
CREATE TABLE chat.events (
    room_id bigint NOT NULL,
    seq bigint NOT NULL CHECK (seq > 0),
    -- 1, 2, 3 ... among the events of the room: so seq - number counts the messages before it.
    number bigint NOT NULL,
    -- 2: edited, 3: deleted, 4: reaction added, 5: reaction removed, 6: joined, 7: left, 8: removed,
    -- 9: role changed, 10: room updated.
    kind smallint NOT NULL CHECK (kind BETWEEN 2 AND 10),
    actor_id bigint NOT NULL,
    created_at timestamptz NOT NULL,
    message_seq bigint, -- 2 to 5
    emoji text COLLATE "C", -- 4 and 5
    subject_id bigint, -- 6 to 9: whose membership
    role smallint, -- 6 and 9: the role that it has then
    client_id text COLLATE "C",
    PRIMARY KEY (room_id, seq)
);
CREATE UNIQUE INDEX events_client_id_key ON chat.events (room_id, actor_id, client_id)
    WHERE client_id IS NOT NULL;

ALTER TABLE chat.messages
    ADD COLUMN reply_to bigint,
    ADD COLUMN edited_at timestamptz,
    -- Then text is empty.
    ADD COLUMN deleted_at timestamptz,
    -- How many rows of reaction_counts it has.
    ADD COLUMN reaction_kinds smallint NOT NULL DEFAULT 0,
    -- A room is locked when a message is written to it, and goes after its messages: the key would check
    -- at each message what is known.
    DROP CONSTRAINT messages_room_id_fkey;
-- What somebody wrote in a room after what they have read there; and the deletion of an account.
DROP INDEX IF EXISTS chat.messages_by_author;
CREATE INDEX messages_by_author ON chat.messages (author_id, room_id, seq);

CREATE TABLE chat.reactions (
    room_id bigint NOT NULL,
    seq bigint NOT NULL,
    account_id bigint NOT NULL,
    emoji text COLLATE "C" NOT NULL,
    PRIMARY KEY (room_id, seq, account_id, emoji)
);
CREATE INDEX reactions_by_account ON chat.reactions (account_id, room_id, seq);

-- How many accounts reacted so, kept by whoever adds and removes a reaction.
CREATE TABLE chat.reaction_counts (
    room_id bigint NOT NULL,
    seq bigint NOT NULL,
    emoji text COLLATE "C" NOT NULL,
    n integer NOT NULL CHECK (n > 0),
    since bigint NOT NULL, -- the event of the first one
    PRIMARY KEY (room_id, seq, emoji)
) WITH (fillfactor = 80);

-- What an account wrote that has been erased.
UPDATE chat.messages SET deleted_at = created_at WHERE author_id IS NULL;
INSERT INTO chat.members (room_id, account_id, role, joined_at, read_seq)
SELECT r.id, a.account_id, CASE WHEN a.account_id = r.created_by THEN 3 ELSE 1 END, a.since, r.last_seq
FROM chat.rooms r
CROSS JOIN LATERAL (
    SELECT account_id, min(since) FROM (
        SELECT r.created_by, r.created_at
        UNION ALL SELECT m.author_id, m.created_at FROM chat.messages m WHERE m.room_id = r.id
    ) each (account_id, since) GROUP BY account_id
) a (account_id, since)
JOIN auth.profiles p ON p.id = a.account_id;
-- A room whose creator has gone: who came first is its owner.
UPDATE chat.members m SET role = 3
FROM (SELECT DISTINCT ON (room_id) room_id, account_id FROM chat.members
      ORDER BY room_id, role DESC, joined_at, account_id) first
WHERE m.room_id = first.room_id AND m.account_id = first.account_id AND m.role < 3;
UPDATE chat.rooms r
SET member_count = (SELECT count(*) FROM chat.members m WHERE m.room_id = r.id),
    active_at = coalesce((SELECT m.created_at FROM chat.messages m WHERE m.room_id = r.id
                          ORDER BY seq DESC LIMIT 1), r.created_at);

-- ---- search ----

-- The words of a message, and the room as one word more, which no text can have, since it begins with a space:
-- so one index finds words within rooms.
CREATE FUNCTION chat.room_word(room bigint) RETURNS text
    LANGUAGE sql IMMUTABLE PARALLEL SAFE
    AS $$ SELECT ' ' || room $$;
CREATE FUNCTION chat.search_document(room bigint, text text) RETURNS tsvector
    LANGUAGE sql IMMUTABLE PARALLEL SAFE
    AS $$ SELECT pg_catalog.to_tsvector('pg_catalog.simple', text)
              || pg_catalog.array_to_tsvector(ARRAY[' ' || room]) $$;
CREATE INDEX messages_search ON chat.messages USING gin (chat.search_document(room_id, text))
    WHERE deleted_at IS NULL;

-- ---- changes ----

-- A change of a room is one call of one of the functions below. It locks the room's row first; each of its
-- statements then sees all that came before it in the room, and nobody sees what it does before it has
-- committed. So roles, limits, doubles and numbers need no second try. `outcome` is 'ok', or why nothing was
-- changed.
--
-- Locks: accounts (lock_accounts), then one room, then nothing that another change waits for. erase_account()
-- alone locks several rooms, by id.

CREATE FUNCTION chat.max_members() RETURNS integer LANGUAGE sql IMMUTABLE AS 'SELECT 10000';
CREATE FUNCTION chat.max_rooms() RETURNS integer LANGUAGE sql IMMUTABLE AS 'SELECT 500';
-- Of these, the ones that an account is put into by others; so nobody can fill another's rooms up.
CREATE FUNCTION chat.max_rooms_by_others() RETURNS integer LANGUAGE sql IMMUTABLE AS 'SELECT 400';
CREATE FUNCTION chat.max_emoji() RETURNS integer LANGUAGE sql IMMUTABLE AS 'SELECT 20';
CREATE FUNCTION chat.max_reactions() RETURNS integer LANGUAGE sql IMMUTABLE AS 'SELECT 5000';

-- Whoever makes memberships of an account takes its lock: there are as many as counted, and one direct room.
CREATE FUNCTION chat.lock_accounts(VARIADIC accounts bigint[]) RETURNS void
    LANGUAGE plpgsql VOLATILE
    AS $$
DECLARE
    key integer;
BEGIN
    FOR key IN SELECT DISTINCT hashint8(account) FROM unnest(accounts) account ORDER BY 1 LOOP
        PERFORM pg_advisory_xact_lock(1667785076, key); -- "chat"
    END LOOP;
END $$;

-- Whether it is in as many rooms as may be when the actor makes it a member of one more. The account is locked.
CREATE FUNCTION chat.has_all_rooms(account bigint, actor bigint) RETURNS boolean
    LANGUAGE plpgsql VOLATILE
    AS $$
DECLARE
    most integer := CASE WHEN account = actor THEN chat.max_rooms() ELSE chat.max_rooms_by_others() END;
BEGIN
    RETURN (SELECT count(*) >= most FROM (
        SELECT FROM chat.members m JOIN chat.rooms r ON r.id = m.room_id
        WHERE m.account_id = account AND m.role > 0 AND r.deleted_at IS NULL LIMIT most) mine);
END $$;

-- Locks the room. role: -1 for who never was a member, or left.
CREATE FUNCTION chat.enter(room bigint, caller bigint, OUT outcome text, OUT kind smallint, OUT role smallint,
                           OUT member_count integer)
    LANGUAGE plpgsql VOLATILE
    AS $$
BEGIN
    SELECT r.kind, r.member_count INTO kind, member_count FROM chat.rooms r
    WHERE r.id = room AND r.deleted_at IS NULL FOR NO KEY UPDATE;
    IF NOT FOUND THEN
        kind := 0;
    END IF;
    SELECT m.role INTO role FROM chat.members m WHERE kind > 0 AND m.room_id = room AND m.account_id = caller;
    role := coalesce(role, -1);
    outcome := CASE WHEN role > 0 THEN 'ok'
                    WHEN NOT EXISTS (SELECT FROM auth.profiles p WHERE p.id = caller) THEN 'no_account'
                    WHEN kind = 1 THEN 'not_member'
                    ELSE 'no_room' END;
END $$;

-- Gives the room's next number to an event. The room is locked.
CREATE FUNCTION chat.log(room bigint, kind integer, actor bigint, message_seq bigint DEFAULT NULL,
                         emoji text DEFAULT NULL, subject bigint DEFAULT NULL, role integer DEFAULT NULL,
                         client text DEFAULT NULL, OUT event chat.events)
    LANGUAGE plpgsql VOLATILE
    AS $$
BEGIN
    UPDATE chat.rooms r
    SET last_seq = r.last_seq + 1, event_count = r.event_count + 1,
        active_at = greatest(clock_timestamp(), r.active_at)
    WHERE r.id = room RETURNING r.last_seq, r.event_count, r.active_at
    INTO event.seq, event.number, event.created_at;
    INSERT INTO chat.events AS e
    VALUES (room, event.seq, event.number, kind, actor, event.created_at, message_seq, emoji, subject, role, client)
    RETURNING e.* INTO event;
END $$;

-- Whether a change with this client_id was made before: NULL, 'ok' if it was the same, 'client_id_used'.
CREATE FUNCTION chat.replayed(room bigint, caller bigint, client text, kind integer, target bigint,
                              emoji text DEFAULT NULL) RETURNS text
    LANGUAGE plpgsql VOLATILE
    AS $$
DECLARE
    event chat.events;
BEGIN
    IF client IS NULL THEN
        RETURN NULL;
    END IF;
    SELECT * INTO event FROM chat.events e
    WHERE e.room_id = room AND e.actor_id = caller AND e.client_id = client;
    RETURN CASE WHEN NOT FOUND THEN NULL
                WHEN event.kind = $4 AND event.message_seq = target AND event.emoji IS NOT DISTINCT FROM $6 THEN 'ok'
                ELSE 'client_id_used' END;
END $$;

-- ---- rooms ----

CREATE FUNCTION chat.create_room(caller bigint, kind integer, name text, description text, client text,
                                 OUT outcome text, OUT room bigint)
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
    INSERT INTO chat.rooms AS r (kind, name, description, created_by, member_count, client_id)
    VALUES ($2, $3, $4, caller, 1, client) RETURNING r.id INTO room;
    INSERT INTO chat.members (room_id, account_id, role) VALUES (room, caller, 3);
END $$;

-- The room of the two, made if there is none. target: a username's key.
CREATE FUNCTION chat.open_direct_room(caller bigint, target text, OUT outcome text, OUT room bigint)
    LANGUAGE plpgsql VOLATILE
    AS $$
DECLARE
    other bigint;
    low bigint;
    high bigint;
BEGIN
    SELECT p.id INTO other FROM auth.profiles p WHERE p.username_key = target;
    IF other IS NULL OR other = caller THEN
        outcome := CASE WHEN other IS NULL THEN 'no_user' ELSE 'self' END;
        RETURN;
    END IF;
    low := least(caller, other);
    high := greatest(caller, other);
    outcome := 'ok';
    SELECT r.id INTO room FROM chat.rooms r
    WHERE r.direct_low = low AND r.direct_high = high AND r.deleted_at IS NULL;
    IF FOUND THEN
        RETURN;
    END IF;
    PERFORM chat.lock_accounts(low, high);
    SELECT r.id INTO room FROM chat.rooms r
    WHERE r.direct_low = low AND r.direct_high = high AND r.deleted_at IS NULL;
    IF FOUND THEN
        RETURN;
    END IF;
    IF NOT EXISTS (SELECT FROM auth.profiles p WHERE p.id = caller) THEN
        outcome := 'no_account';
    ELSIF NOT EXISTS (SELECT FROM auth.profiles p WHERE p.id = other) THEN
        outcome := 'no_user';
    ELSIF chat.has_all_rooms(caller, caller) THEN
        outcome := 'too_many_rooms';
    ELSIF chat.has_all_rooms(other, caller) THEN
        outcome := 'they_have_too_many_rooms';
    ELSE
        INSERT INTO chat.rooms AS r (kind, name, description, created_by, member_count, direct_low, direct_high)
        VALUES (3, '', '', caller, 2, low, high) RETURNING r.id INTO room;
        INSERT INTO chat.members (room_id, account_id, role) VALUES (room, low, 1), (room, high, 1);
    END IF;
END $$;

-- NULL: stays.
CREATE FUNCTION chat.update_room(room bigint, caller bigint, name text, description text, OUT outcome text)
    LANGUAGE plpgsql VOLATILE
    AS $$
DECLARE
    entry record;
BEGIN
    SELECT * INTO entry FROM chat.enter(room, caller);
    outcome := CASE WHEN entry.outcome <> 'ok' THEN entry.outcome
                    WHEN entry.kind = 3 THEN 'direct_room'
                    WHEN entry.role < 2 THEN 'forbidden'
                    ELSE 'ok' END;
    IF outcome = 'ok' THEN
        UPDATE chat.rooms r SET name = coalesce($3, r.name), description = coalesce($4, r.description)
        WHERE r.id = room AND (r.name <> $3 OR r.description <> $4);
        IF FOUND THEN
            PERFORM chat.log(room, 10, caller);
        END IF;
    END IF;
END $$;

CREATE FUNCTION chat.delete_room(room bigint, caller bigint, OUT outcome text)
    LANGUAGE plpgsql VOLATILE
    AS $$
DECLARE
    entry record;
BEGIN
    SELECT * INTO entry FROM chat.enter(room, caller);
    outcome := CASE WHEN entry.outcome <> 'ok' THEN entry.outcome
                    WHEN entry.kind = 3 THEN 'direct_room'
                    WHEN entry.role < 3 THEN 'forbidden'
                    ELSE 'ok' END;
    IF outcome = 'ok' THEN
        UPDATE chat.rooms r SET deleted_at = clock_timestamp(), client_id = NULL WHERE r.id = room;
    END IF;
END $$;

-- ---- members ----

-- Makes the account a member, with nothing unread. The account and the room are locked.
CREATE FUNCTION chat.add_member(room bigint, actor bigint, account bigint, member_count integer, OUT outcome text)
    LANGUAGE plpgsql VOLATILE
    AS $$
BEGIN
    IF member_count >= chat.max_members() THEN
        outcome := 'room_full';
    ELSIF chat.has_all_rooms(account, actor) THEN
        outcome := CASE WHEN actor = account THEN 'too_many_rooms' ELSE 'they_have_too_many_rooms' END;
    ELSE
        outcome := 'ok';
        PERFORM chat.log(room, 6, actor, subject => account, role => 1);
        UPDATE chat.rooms r SET member_count = r.member_count + 1 WHERE r.id = room;
        INSERT INTO chat.members AS m (room_id, account_id, role, read_seq)
        SELECT room, account, 1, r.last_seq FROM chat.rooms r WHERE r.id = room
        ON CONFLICT ON CONSTRAINT members_pkey DO UPDATE
        SET role = 1, joined_at = excluded.joined_at, read_seq = excluded.read_seq;
    END IF;
END $$;

CREATE FUNCTION chat.join_room(room bigint, caller bigint, OUT outcome text)
    LANGUAGE plpgsql VOLATILE
    AS $$
DECLARE
    entry record;
BEGIN
    PERFORM chat.lock_accounts(caller);
    SELECT * INTO entry FROM chat.enter(room, caller);
    outcome := entry.outcome;
    IF outcome = 'not_member' AND entry.role = 0 THEN
        outcome := 'removed';
    ELSIF outcome = 'not_member' THEN
        outcome := chat.add_member(room, caller, caller, entry.member_count);
    END IF;
END $$;

CREATE FUNCTION chat.is_last_owner(room bigint, account bigint) RETURNS boolean
    LANGUAGE sql VOLATILE
    AS $$
    SELECT EXISTS (SELECT FROM chat.members m WHERE m.room_id = room AND m.account_id = account AND m.role = 3)
       AND NOT EXISTS (SELECT FROM chat.members m WHERE m.room_id = room AND m.role = 3 AND m.account_id <> account)
$$;

CREATE FUNCTION chat.leave_room(room bigint, caller bigint, OUT outcome text)
    LANGUAGE plpgsql VOLATILE
    AS $$
DECLARE
    entry record;
BEGIN
    SELECT * INTO entry FROM chat.enter(room, caller);
    outcome := CASE WHEN entry.outcome <> 'ok' THEN entry.outcome
                    WHEN entry.kind = 3 THEN 'direct_room'
                    WHEN chat.is_last_owner(room, caller) THEN 'last_owner'
                    ELSE 'ok' END;
    IF outcome = 'ok' THEN
        DELETE FROM chat.members m WHERE m.room_id = room AND m.account_id = caller;
        UPDATE chat.rooms r SET member_count = r.member_count - 1 WHERE r.id = room;
        PERFORM chat.log(room, 7, caller, subject => caller);
    END IF;
END $$;

-- target: a username's key.
CREATE FUNCTION chat.invite_member(room bigint, caller bigint, target text, OUT outcome text, OUT member chat.members)
    LANGUAGE plpgsql VOLATILE
    AS $$
DECLARE
    entry record;
    account bigint := (SELECT p.id FROM auth.profiles p WHERE p.username_key = target);
BEGIN
    IF account IS NOT NULL THEN
        PERFORM chat.lock_accounts(account);
    END IF;
    SELECT * INTO entry FROM chat.enter(room, caller);
    outcome := CASE WHEN entry.outcome <> 'ok' THEN entry.outcome
                    WHEN entry.kind = 3 THEN 'direct_room'
                    WHEN entry.role < 2 THEN 'forbidden'
                    WHEN NOT EXISTS (SELECT FROM auth.profiles p WHERE p.id = account) THEN 'no_user'
                    ELSE 'ok' END;
    IF outcome = 'ok' AND NOT EXISTS (SELECT FROM chat.members m
                                      WHERE m.room_id = room AND m.account_id = account AND m.role > 0) THEN
        outcome := chat.add_member(room, caller, account, entry.member_count);
    END IF;
    IF outcome = 'ok' THEN
        SELECT * INTO member FROM chat.members m WHERE m.room_id = room AND m.account_id = account;
    END IF;
END $$;

CREATE FUNCTION chat.remove_member(room bigint, caller bigint, target text, OUT outcome text)
    LANGUAGE plpgsql VOLATILE
    AS $$
DECLARE
    entry record;
    member chat.members;
BEGIN
    SELECT * INTO entry FROM chat.enter(room, caller);
    SELECT m.* INTO member FROM auth.profiles p
    JOIN chat.members m ON m.room_id = room AND m.account_id = p.id AND m.role > 0 WHERE p.username_key = target;
    outcome := CASE WHEN entry.outcome <> 'ok' THEN entry.outcome
                    WHEN entry.kind = 3 THEN 'direct_room'
                    WHEN entry.role < 2 THEN 'forbidden'
                    WHEN member.account_id IS NULL THEN 'no_member'
                    WHEN member.account_id = caller THEN 'self'
                    WHEN entry.role < 3 AND member.role >= entry.role THEN 'forbidden'
                    ELSE 'ok' END;
    IF outcome = 'ok' THEN
        UPDATE chat.members m SET role = 0 WHERE m.room_id = room AND m.account_id = member.account_id;
        UPDATE chat.rooms r SET member_count = r.member_count - 1 WHERE r.id = room;
        PERFORM chat.log(room, 8, caller, subject => member.account_id);
    END IF;
END $$;

CREATE FUNCTION chat.set_member_role(room bigint, caller bigint, target text, new_role integer,
                                     OUT outcome text, OUT member chat.members)
    LANGUAGE plpgsql VOLATILE
    AS $$
DECLARE
    entry record;
BEGIN
    SELECT * INTO entry FROM chat.enter(room, caller);
    SELECT m.* INTO member FROM auth.profiles p
    JOIN chat.members m ON m.room_id = room AND m.account_id = p.id AND m.role > 0 WHERE p.username_key = target;
    outcome := CASE WHEN entry.outcome <> 'ok' THEN entry.outcome
                    WHEN entry.kind = 3 THEN 'direct_room'
                    WHEN entry.role < 3 THEN 'forbidden'
                    WHEN member.account_id IS NULL THEN 'no_member'
                    WHEN new_role < 3 AND chat.is_last_owner(room, member.account_id) THEN 'last_owner'
                    ELSE 'ok' END;
    IF outcome = 'ok' AND member.role <> new_role THEN
        UPDATE chat.members m SET role = new_role WHERE m.room_id = room AND m.account_id = member.account_id
        RETURNING m.* INTO member;
        PERFORM chat.log(room, 9, caller, subject => member.account_id, role => new_role);
    END IF;
END $$;

-- ---- messages ----

CREATE FUNCTION chat.send_message(room bigint, caller bigint, body text, reply bigint, client text,
                                  OUT outcome text, OUT message chat.messages)
    LANGUAGE plpgsql VOLATILE
    AS $$
DECLARE
    next bigint;
    at timestamptz;
BEGIN
    outcome := (SELECT entry.outcome FROM chat.enter(room, caller) entry);
    IF outcome <> 'ok' THEN
        RETURN;
    END IF;
    IF client IS NOT NULL THEN
        SELECT * INTO message FROM chat.messages m
        WHERE m.room_id = room AND m.author_id = caller AND m.client_id = client;
        IF FOUND THEN
            RETURN;
        END IF;
    END IF;
    IF reply IS NOT NULL AND NOT EXISTS (SELECT FROM chat.messages m WHERE m.room_id = room AND m.seq = reply
                                         AND m.deleted_at IS NULL) THEN
        outcome := 'no_reply';
        RETURN;
    END IF;
    UPDATE chat.rooms r SET last_seq = r.last_seq + 1, active_at = greatest(clock_timestamp(), r.active_at)
    WHERE r.id = room RETURNING r.last_seq, r.active_at INTO next, at;
    INSERT INTO chat.messages AS m (room_id, seq, author_id, client_id, text, created_at, reply_to)
    VALUES (room, next, caller, client, body, at, reply) RETURNING m.* INTO message;
END $$;

-- The reactions to a message in the order of the first ones, each as its count, + if the viewer's is among them or
-- else -, and the emoji. NULL: none.
CREATE FUNCTION chat.reaction_list(room bigint, target bigint, viewer bigint) RETURNS text[]
    LANGUAGE plpgsql STABLE
    AS $$
BEGIN
    RETURN (SELECT array_agg(c.n || CASE WHEN (SELECT true FROM chat.reactions x
                                               WHERE x.room_id = room AND x.seq = target
                                               AND x.account_id = viewer AND x.emoji = c.emoji)
                                         THEN '+' ELSE '-' END || c.emoji ORDER BY c.since, c.emoji)
            FROM chat.reaction_counts c WHERE c.room_id = room AND c.seq = target);
END $$;

CREATE FUNCTION chat.edit_message(room bigint, caller bigint, target bigint, body text, client text,
                                  OUT outcome text, OUT message chat.messages, OUT reactions text[])
    LANGUAGE plpgsql VOLATILE
    AS $$
DECLARE
    replay text;
    event chat.events;
BEGIN
    outcome := (SELECT entry.outcome FROM chat.enter(room, caller) entry);
    IF outcome <> 'ok' THEN
        RETURN;
    END IF;
    replay := chat.replayed(room, caller, client, 2, target);
    SELECT * INTO message FROM chat.messages m WHERE m.room_id = room AND m.seq = target;
    outcome := CASE WHEN replay IS NOT NULL THEN replay
                    WHEN message.seq IS NULL THEN 'no_message'
                    WHEN message.author_id IS DISTINCT FROM caller THEN 'forbidden'
                    WHEN message.deleted_at IS NOT NULL THEN 'deleted'
                    ELSE 'ok' END;
    IF outcome = 'ok' AND replay IS NULL AND message.text <> body THEN
        event := chat.log(room, 2, caller, target, client => client);
        UPDATE chat.messages m SET text = body, edited_at = event.created_at
        WHERE m.room_id = room AND m.seq = target RETURNING m.* INTO message;
    END IF;
    IF outcome = 'ok' AND message.reaction_kinds > 0 THEN
        reactions := chat.reaction_list(room, target, caller);
    END IF;
END $$;

CREATE FUNCTION chat.delete_message(room bigint, caller bigint, target bigint, client text, OUT outcome text)
    LANGUAGE plpgsql VOLATILE
    AS $$
DECLARE
    entry record;
    replay text;
    message chat.messages;
    event chat.events;
BEGIN
    SELECT * INTO entry FROM chat.enter(room, caller);
    IF entry.outcome <> 'ok' THEN
        outcome := entry.outcome;
        RETURN;
    END IF;
    replay := chat.replayed(room, caller, client, 3, target);
    SELECT * INTO message FROM chat.messages m WHERE m.room_id = room AND m.seq = target;
    outcome := CASE WHEN replay IS NOT NULL THEN replay
                    WHEN message.seq IS NULL THEN 'no_message'
                    WHEN message.author_id IS DISTINCT FROM caller AND entry.role < 2 THEN 'forbidden'
                    ELSE 'ok' END;
    IF outcome = 'ok' AND replay IS NULL AND message.deleted_at IS NULL THEN
        event := chat.log(room, 3, caller, target, client => client);
        UPDATE chat.messages m SET text = '', deleted_at = event.created_at, reaction_kinds = 0
        WHERE m.room_id = room AND m.seq = target;
        DELETE FROM chat.reactions x WHERE x.room_id = room AND x.seq = target;
        DELETE FROM chat.reaction_counts c WHERE c.room_id = room AND c.seq = target;
    END IF;
END $$;

-- n: how many accounts have reacted so, afterwards.
CREATE FUNCTION chat.add_reaction(room bigint, caller bigint, target bigint, face text, client text,
                                  OUT outcome text, OUT n integer, OUT mine boolean)
    LANGUAGE plpgsql VOLATILE
    AS $$
DECLARE
    message chat.messages;
    event chat.events;
BEGIN
    outcome := (SELECT entry.outcome FROM chat.enter(room, caller) entry);
    IF outcome <> 'ok' THEN
        RETURN;
    END IF;
    SELECT * INTO message FROM chat.messages m WHERE m.room_id = room AND m.seq = target;
    n := coalesce((SELECT c.n FROM chat.reaction_counts c
                   WHERE c.room_id = room AND c.seq = target AND c.emoji = face), 0);
    mine := EXISTS (SELECT FROM chat.reactions x WHERE x.room_id = room AND x.seq = target
                    AND x.account_id = caller AND x.emoji = face);
    outcome := chat.replayed(room, caller, client, 4, target, face);
    IF outcome IS NOT NULL THEN
        RETURN;
    END IF;
    outcome := CASE WHEN message.seq IS NULL THEN 'no_message'
                    WHEN message.deleted_at IS NOT NULL THEN 'deleted'
                    WHEN mine THEN 'ok'
                    WHEN n = 0 AND message.reaction_kinds >= chat.max_emoji() THEN 'too_many_emoji'
                    WHEN (SELECT sum(c.n) FROM chat.reaction_counts c
                          WHERE c.room_id = room AND c.seq = target) >= chat.max_reactions() THEN 'too_many_reactions'
                    ELSE 'ok' END;
    IF outcome = 'ok' AND NOT mine THEN
        event := chat.log(room, 4, caller, target, face, client => client);
        INSERT INTO chat.reactions VALUES (room, target, caller, face);
        IF n = 0 THEN
            INSERT INTO chat.reaction_counts VALUES (room, target, face, 1, event.seq);
            UPDATE chat.messages m SET reaction_kinds = m.reaction_kinds + 1 WHERE m.room_id = room AND m.seq = target;
        ELSE
            UPDATE chat.reaction_counts c SET n = c.n + 1
            WHERE c.room_id = room AND c.seq = target AND c.emoji = face;
        END IF;
        n := n + 1;
        mine := true;
    END IF;
END $$;

CREATE FUNCTION chat.remove_reaction(room bigint, caller bigint, target bigint, face text, client text,
                                     OUT outcome text, OUT n integer, OUT mine boolean)
    LANGUAGE plpgsql VOLATILE
    AS $$
BEGIN
    outcome := (SELECT entry.outcome FROM chat.enter(room, caller) entry);
    IF outcome <> 'ok' THEN
        RETURN;
    END IF;
    n := coalesce((SELECT c.n FROM chat.reaction_counts c
                   WHERE c.room_id = room AND c.seq = target AND c.emoji = face), 0);
    mine := EXISTS (SELECT FROM chat.reactions x WHERE x.room_id = room AND x.seq = target
                    AND x.account_id = caller AND x.emoji = face);
    outcome := chat.replayed(room, caller, client, 5, target, face);
    IF outcome IS NOT NULL THEN
        RETURN;
    END IF;
    outcome := CASE WHEN EXISTS (SELECT FROM chat.messages m WHERE m.room_id = room AND m.seq = target)
                    THEN 'ok' ELSE 'no_message' END;
    IF outcome = 'ok' AND mine THEN
        PERFORM chat.log(room, 5, caller, target, face, client => client);
        PERFORM chat.take_reaction(room, target, caller, face);
        n := n - 1;
        mine := false;
    END IF;
END $$;

-- The reaction is there, and the room is locked.
CREATE FUNCTION chat.take_reaction(room bigint, target bigint, account bigint, face text) RETURNS void
    LANGUAGE plpgsql VOLATILE
    AS $$
BEGIN
    DELETE FROM chat.reactions x
    WHERE x.room_id = room AND x.seq = target AND x.account_id = account AND x.emoji = face;
    DELETE FROM chat.reaction_counts c
    WHERE c.room_id = room AND c.seq = target AND c.emoji = face AND c.n = 1;
    IF FOUND THEN
        UPDATE chat.messages m SET reaction_kinds = m.reaction_kinds - 1 WHERE m.room_id = room AND m.seq = target;
    ELSE
        UPDATE chat.reaction_counts c SET n = c.n - 1
        WHERE c.room_id = room AND c.seq = target AND c.emoji = face;
    END IF;
END $$;

-- ---- what goes ----

-- One batch of what is in a deleted room, and at last the room. How many rows; 0: there is no deleted room.
CREATE FUNCTION chat.purge_room(batch integer) RETURNS bigint
    LANGUAGE plpgsql VOLATILE
    AS $$
DECLARE
    room bigint;
    part text;
    n bigint;
BEGIN
    SELECT r.id INTO room FROM chat.rooms r WHERE r.deleted_at IS NOT NULL
    ORDER BY r.deleted_at LIMIT 1 FOR UPDATE SKIP LOCKED;
    IF NOT FOUND THEN
        RETURN 0;
    END IF;
    FOREACH part IN ARRAY ARRAY['reactions', 'reaction_counts', 'events', 'messages', 'members'] LOOP
        EXECUTE format('DELETE FROM chat.%I WHERE ctid = ANY (ARRAY('
                       'SELECT ctid FROM chat.%I WHERE room_id = $1 LIMIT $2))', part, part) USING room, batch;
        GET DIAGNOSTICS n = ROW_COUNT;
        IF n > 0 THEN
            RETURN n;
        END IF;
    END LOOP;
    DELETE FROM chat.rooms r WHERE r.id = room;
    RETURN 1;
END $$;

-- Accounts that have been deleted. A change that was on its way meanwhile still saw the account; so it is
-- erased once more when every such statement has ended.
CREATE TABLE IF NOT EXISTS chat.forgotten_accounts (
    account_id bigint PRIMARY KEY,
    forgotten_at timestamptz NOT NULL DEFAULT now()
);

-- What the account wrote is deleted, message by message, as it would be by itself, so that numbers stay whole and
-- whoever follows a room hears of it; its reactions and memberships go. A room without an owner gets the
-- eldest of its moderators, or of its members, as its owner; one without members goes.
CREATE OR REPLACE FUNCTION chat.erase_account(account bigint) RETURNS void
    LANGUAGE plpgsql VOLATILE
    SET search_path = pg_catalog, pg_temp
    AS $$
DECLARE
    room bigint;
    rooms bigint[];
    target bigint;
    face text;
    was smallint;
    heir bigint;
BEGIN
    PERFORM chat.lock_accounts(account);
    rooms := ARRAY(SELECT room_id FROM chat.members m WHERE m.account_id = account AND m.role > 0
                   UNION SELECT room_id FROM chat.members m WHERE m.account_id = account AND m.role = 0
                   UNION SELECT room_id FROM chat.messages m WHERE m.author_id = account
                   UNION SELECT room_id FROM chat.reactions x WHERE x.account_id = account
                   ORDER BY 1);
    PERFORM FROM chat.rooms r WHERE r.id = ANY (rooms) ORDER BY r.id FOR NO KEY UPDATE;
    FOREACH room IN ARRAY rooms LOOP
        DELETE FROM chat.reactions x USING chat.messages m
        WHERE m.room_id = room AND m.author_id = account AND m.reaction_kinds > 0 AND x.room_id = room AND x.seq = m.seq;
        DELETE FROM chat.reaction_counts c USING chat.messages m
        WHERE m.room_id = room AND m.author_id = account AND m.reaction_kinds > 0 AND c.room_id = room AND c.seq = m.seq;
        -- As many events at once as there are messages.
        WITH gone AS (
            UPDATE chat.messages m SET text = '', reaction_kinds = 0, deleted_at = clock_timestamp()
            WHERE m.room_id = room AND m.author_id = account AND m.deleted_at IS NULL RETURNING m.seq
        ), numbered AS (
            INSERT INTO chat.events (room_id, seq, number, kind, actor_id, created_at, message_seq)
            SELECT room, r.last_seq + i, r.event_count + i, 3, account, clock_timestamp(), gone.seq
            FROM chat.rooms r, (SELECT seq, row_number() OVER (ORDER BY seq) FROM gone) gone (seq, i)
            WHERE r.id = room RETURNING 1
        )
        UPDATE chat.rooms r SET last_seq = r.last_seq + n.n, event_count = r.event_count + n.n
        FROM (SELECT count(*) FROM numbered) n (n) WHERE r.id = room AND n.n > 0;
        UPDATE chat.messages m SET client_id = NULL
        WHERE m.room_id = room AND m.author_id = account AND m.client_id IS NOT NULL;
        FOR target, face IN SELECT x.seq, x.emoji FROM chat.reactions x
                            WHERE x.room_id = room AND x.account_id = account ORDER BY x.seq, x.emoji LOOP
            PERFORM chat.log(room, 5, account, target, face);
            PERFORM chat.take_reaction(room, target, account, face);
        END LOOP;
        UPDATE chat.events e SET client_id = NULL
        WHERE e.room_id = room AND e.actor_id = account AND e.client_id IS NOT NULL;

        DELETE FROM chat.members m WHERE m.room_id = room AND m.account_id = account RETURNING m.role INTO was;
        IF was > 0 THEN
            UPDATE chat.rooms r SET member_count = r.member_count - 1 WHERE r.id = room;
            PERFORM chat.log(room, 7, account, subject => account);
            SELECT m.account_id INTO heir FROM chat.members m WHERE m.room_id = room AND m.role > 0
            ORDER BY m.role DESC, m.joined_at, m.account_id LIMIT 1;
            IF NOT FOUND THEN
                UPDATE chat.rooms r SET deleted_at = clock_timestamp() WHERE r.id = room AND r.deleted_at IS NULL;
            ELSIF was = 3 AND NOT EXISTS (SELECT FROM chat.members m WHERE m.room_id = room AND m.role = 3) THEN
                UPDATE chat.members m SET role = 3 WHERE m.room_id = room AND m.account_id = heir;
                PERFORM chat.log(room, 9, account, subject => heir, role => 3);
            END IF;
        END IF;
    END LOOP;
    UPDATE chat.rooms r SET client_id = NULL WHERE r.created_by = account AND r.client_id IS NOT NULL;
END $$;

-- One of those that were forgotten so long ago that no statement can have seen it since: statements end after 30
-- seconds. How many, one or none.
CREATE FUNCTION chat.purge_account() RETURNS bigint
    LANGUAGE plpgsql VOLATILE
    AS $$
DECLARE
    account bigint;
BEGIN
    DELETE FROM chat.forgotten_accounts f WHERE f.account_id = (
        SELECT d.account_id FROM chat.forgotten_accounts d
        WHERE d.forgotten_at < now() - interval '5 minutes' LIMIT 1 FOR UPDATE SKIP LOCKED)
    RETURNING f.account_id INTO account;
    IF NOT FOUND THEN
        RETURN 0;
    END IF;
    PERFORM chat.erase_account(account);
    RETURN 1;
END $$;

-- For auth, and for nobody else: with the rights of chat, whose tables auth cannot touch.
CREATE OR REPLACE FUNCTION chat.forget_account(account_id bigint) RETURNS void
    LANGUAGE plpgsql VOLATILE SECURITY DEFINER
    SET search_path = pg_catalog, pg_temp
    AS $$
BEGIN
    INSERT INTO chat.forgotten_accounts VALUES ($1)
    ON CONFLICT ON CONSTRAINT forgotten_accounts_pkey DO UPDATE SET forgotten_at = excluded.forgotten_at;
    PERFORM chat.erase_account($1);
END $$;

REVOKE EXECUTE ON ALL FUNCTIONS IN SCHEMA chat FROM PUBLIC;
GRANT USAGE ON SCHEMA chat TO stoa_auth;
GRANT EXECUTE ON FUNCTION chat.forget_account(bigint) TO stoa_auth;
