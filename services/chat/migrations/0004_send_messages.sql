-- Messages that wait are sent together: as many statements for all of them as chat.send_message() has for one.
-- What comes of each is what that says; a client_id that comes twice is one message here too.
--
-- replies: 0 for none, clients: '' for none. The rooms are locked in the order of their ids; a room's messages get
-- their numbers in the order in which they are given.
CREATE FUNCTION chat.send_messages(callers bigint[], rooms bigint[], bodies text[], replies bigint[], clients text[])
    RETURNS TABLE (number bigint, outcome text, message chat.messages)
    LANGUAGE plpgsql VOLATILE
    AS $$
#variable_conflict use_column
DECLARE
    now_at timestamptz;
BEGIN
    PERFORM FROM chat.rooms r WHERE r.id = ANY (rooms) AND r.deleted_at IS NULL ORDER BY r.id FOR NO KEY UPDATE;
    now_at := clock_timestamp();
    RETURN QUERY
    WITH judged AS MATERIALIZED (
        SELECT a.*, r.last_seq, r.active_at, old.message,
               CASE WHEN NOT coalesce(m.role > 0, false) THEN
                        CASE WHEN NOT EXISTS (SELECT FROM auth.profiles p WHERE p.id = a.caller) THEN 'no_account'
                             WHEN r.kind = 1 THEN 'not_member'
                             ELSE 'no_room' END
                    WHEN old.message IS NOT NULL THEN 'sent'
                    WHEN a.reply <> 0 AND NOT EXISTS (SELECT FROM chat.messages x WHERE x.room_id = a.room
                                                      AND x.seq = a.reply AND x.deleted_at IS NULL) THEN 'no_reply'
                    ELSE 'ok' END AS verdict
        FROM unnest(callers, rooms, bodies, replies, clients) WITH ORDINALITY a (caller, room, body, reply, client, number)
        LEFT JOIN LATERAL (SELECT * FROM chat.rooms WHERE id = a.room AND deleted_at IS NULL OFFSET 0) r ON true
        LEFT JOIN LATERAL (SELECT role FROM chat.members
                           WHERE room_id = r.id AND account_id = a.caller OFFSET 0) m ON true
        LEFT JOIN LATERAL (SELECT x AS message FROM chat.messages x
                           WHERE a.client <> '' AND x.room_id = r.id AND x.author_id = a.caller
                           AND x.client_id = a.client OFFSET 0) old ON true
    ), first_of_each AS MATERIALIZED (
        SELECT *, CASE WHEN client = '' THEN number
                       ELSE first_value(number) OVER (PARTITION BY room, caller, client
                                                      ORDER BY verdict <> 'ok', number) END AS first
        FROM judged
    ), numbered AS MATERIALIZED (
        SELECT *, last_seq + row_number() OVER (PARTITION BY room ORDER BY number) AS seq,
               greatest(now_at, active_at) AS at
        FROM first_of_each WHERE verdict = 'ok' AND number = first
    ), taken AS (
        UPDATE chat.rooms r SET last_seq = n.last, active_at = n.at
        FROM (SELECT room, max(seq), max(at) FROM numbered GROUP BY room) n (room, last, at) WHERE r.id = n.room
    ), stored AS (
        INSERT INTO chat.messages AS x (room_id, seq, author_id, client_id, text, created_at, reply_to)
        SELECT room, seq, caller, nullif(client, ''), body, at, nullif(reply, 0) FROM numbered ORDER BY room, seq
        RETURNING x.room_id, x.seq, x AS message
    )
    SELECT f.number, CASE WHEN f.verdict = 'sent' OR n.number IS NOT NULL THEN 'ok' ELSE f.verdict END,
           coalesce(s.message, f.message)
    FROM first_of_each f
    LEFT JOIN numbered n ON n.number = f.first AND f.verdict IN ('ok', 'no_reply')
    LEFT JOIN stored s ON s.room_id = n.room AND s.seq = n.seq;
END $$;

REVOKE EXECUTE ON FUNCTION chat.send_messages(bigint[], bigint[], text[], bigint[], text[]) FROM PUBLIC;
