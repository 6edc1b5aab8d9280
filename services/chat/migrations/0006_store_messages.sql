-- Sending for less. The version before goes on with chat.send_message() and chat.send_messages(), which decide here too
-- whenever the short way has not worked.

-- The same words as before, so that what the indexes hold stays right. But ' ' || room was not immutable for Postgres,
-- which therefore could not put the function's body in the place of its call, and planned it anew in each INSERT.
CREATE OR REPLACE FUNCTION chat.room_word(room bigint) RETURNS text
    LANGUAGE sql IMMUTABLE PARALLEL SAFE
    AS $$ SELECT ' ' || room::text $$;
CREATE OR REPLACE FUNCTION chat.search_document(room bigint, text text) RETURNS tsvector
    LANGUAGE sql IMMUTABLE PARALLEL SAFE
    AS $$ SELECT pg_catalog.to_tsvector('pg_catalog.simple', text)
              || pg_catalog.array_to_tsvector(ARRAY[' ' || room::text]) $$;

-- A message is stored, and why it cannot be is looked for only when that did not work. message: NULL, or what is there
-- already with the client_id; otherwise it is what was given, with seq and created_at.
CREATE FUNCTION chat.store_message(caller bigint, room bigint, body text, reply bigint, client text,
                                   OUT outcome text, OUT seq bigint, OUT created_at timestamptz,
                                   OUT message chat.messages)
    LANGUAGE plpgsql VOLATILE
    AS $$
#variable_conflict use_column
DECLARE
    next bigint;
    at timestamptz;
    sent record;
BEGIN
    SELECT r.last_seq + 1, greatest(clock_timestamp(), r.active_at) INTO next, at FROM chat.rooms r
    WHERE r.id = room AND r.deleted_at IS NULL FOR NO KEY UPDATE;
    INSERT INTO chat.messages (room_id, seq, author_id, client_id, text, created_at, reply_to)
    SELECT room, next, caller, client, body, at, reply FROM chat.members m
    WHERE next IS NOT NULL AND m.room_id = room AND m.account_id = caller AND m.role > 0
      AND NOT EXISTS (SELECT FROM chat.messages x
                      WHERE x.room_id = room AND x.author_id = caller AND x.client_id = client)
      AND (reply IS NULL OR EXISTS (SELECT FROM chat.messages x
                                    WHERE x.room_id = room AND x.seq = reply AND x.deleted_at IS NULL));
    IF FOUND THEN
        UPDATE chat.rooms r SET last_seq = next, active_at = at WHERE r.id = room;
        outcome := 'ok';
        seq := next;
        created_at := at;
    ELSE
        SELECT * INTO sent FROM chat.send_message(room, caller, body, reply, client);
        outcome := sent.outcome;
        message := sent.message;
        seq := message.seq;
        created_at := message.created_at;
    END IF;
END $$;

-- The same for several. replies: 0 for none, clients: '' for none. The rooms are locked in the order of their ids; a
-- room's messages get their numbers in the order in which they are given.
CREATE FUNCTION chat.store_messages(callers bigint[], rooms bigint[], bodies text[], replies bigint[], clients text[])
    RETURNS TABLE (number bigint, outcome text, seq bigint, created_at timestamptz, message chat.messages)
    LANGUAGE plpgsql VOLATILE
    AS $$
#variable_conflict use_column
DECLARE
    now_at timestamptz;
    seqs bigint[];
    times timestamptz[];
BEGIN
    PERFORM FROM chat.rooms r WHERE r.id = ANY (rooms) AND r.deleted_at IS NULL ORDER BY r.id FOR NO KEY UPDATE;
    now_at := clock_timestamp();
    SELECT array_agg(n.seq ORDER BY n.number), array_agg(n.at ORDER BY n.number) INTO seqs, times
    FROM (SELECT a.number, r.last_seq + row_number() OVER (PARTITION BY a.room ORDER BY a.number) AS seq,
                 greatest(now_at, r.active_at) AS at
          FROM unnest(callers, rooms, replies) WITH ORDINALITY a (caller, room, reply, number)
          CROSS JOIN LATERAL (SELECT last_seq, active_at FROM chat.rooms
                              WHERE id = a.room AND deleted_at IS NULL OFFSET 0) r
          CROSS JOIN LATERAL (SELECT FROM chat.members
                              WHERE room_id = a.room AND account_id = a.caller AND role > 0 OFFSET 0) m
          WHERE a.reply = 0 OR EXISTS (SELECT FROM chat.messages x
                                       WHERE x.room_id = a.room AND x.seq = a.reply AND x.deleted_at IS NULL)) n;
    IF cardinality(seqs) = cardinality(rooms) THEN
        BEGIN
            INSERT INTO chat.messages (room_id, seq, author_id, client_id, text, created_at, reply_to)
            SELECT a.room, a.seq, a.caller, nullif(a.client, ''), a.body, a.at, nullif(a.reply, 0)
            FROM unnest(rooms, seqs, callers, clients, bodies, times, replies)
                 a (room, seq, caller, client, body, at, reply);
            UPDATE chat.rooms r SET last_seq = n.last, active_at = n.at
            FROM (SELECT a.room, max(a.seq), max(a.at) FROM unnest(rooms, seqs, times) a (room, seq, at) GROUP BY a.room)
                 n (room, last, at)
            WHERE r.id = n.room;
            RETURN QUERY SELECT a.number, 'ok', a.seq, a.at, NULL::chat.messages
                         FROM unnest(seqs, times) WITH ORDINALITY a (seq, at, number);
            RETURN;
        EXCEPTION WHEN unique_violation THEN
            NULL; -- one has been sent before, or is there twice: nothing of this has been done
        END;
    END IF;
    RETURN QUERY SELECT s.number, s.outcome, (s.message).seq, (s.message).created_at, s.message
                 FROM chat.send_messages(callers, rooms, bodies, replies, clients) s;
END $$;

REVOKE EXECUTE ON ALL FUNCTIONS IN SCHEMA chat FROM PUBLIC;
