-- What has cost more the larger a room was.

-- Who was removed stays a row: a list of members read past all of them.
CREATE INDEX members_of_room ON chat.members (room_id, account_id) WHERE role > 0;

-- A search for what many messages have, from the newest message on. An index of words knows no order: by it, each message that
-- has the words is read before the newest are known, and for a phrase also parsed again.

-- Where a message is in a search, which is in this order, backwards.
CREATE TYPE chat.message_place AS (created_at timestamptz, room_id bigint, seq bigint);

-- Of the messages before a place the newest that have these words, the newest first: as many as are wanted, or none, when there
-- are fewer or the index is quicker. rooms: what to look in, the most recently active first, active: since when each is silent,
-- messages: how many there are in all of them. Time stamps rise with the numbers of a room.
--
-- Costs are in bytes of text that is split into words, which is most of the work: 0.1 us each. To find a message and read it is as
-- much as 50. The messages looked at tell what the index takes for all; when that much has been spent here, it is the index after
-- all. So a search takes twice the time of the quicker way at most, if older messages are like the latest.
CREATE FUNCTION chat.search_newest(words tsquery, rooms bigint[], active timestamptz[], messages bigint,
                                   before chat.message_place, wanted integer)
    RETURNS SETOF chat.message_place
    LANGUAGE plpgsql STABLE ROWS 100
    AS $$
DECLARE
    read_cost CONSTANT bigint := 50;
    sample_cost CONSTANT bigint := 20000;
    -- The index knows no places of words: for a phrase it finds what has its words, and each is split again.
    loose tsquery := regexp_replace(words::text, '<(-|[0-9]+)>', '&', 'g')::tsquery;
    is_phrase boolean := loose <> words;
    newest chat.message_place[] := '{}';
    newest_here chat.message_place[];
    -- Of the newest, when there are as many as wanted: what comes before is none of them.
    oldest chat.message_place := ('-infinity', 0, 0);
    place chat.message_place;
    message record;
    document tsvector;
    has_words boolean;
    next_seq bigint;
    fetched integer;
    cost bigint;
    looked_at bigint := 0;
    spent bigint := 0;
    spent_by_index bigint := 0; -- on those looked at
BEGIN
    IF messages * read_cost <= sample_cost THEN
        RETURN;
    END IF;
    FOR i IN 1 .. coalesce(cardinality(rooms), 0) LOOP
        EXIT WHEN active[i] < oldest.created_at;
        newest_here := '{}';
        next_seq := 9223372036854775807;
        IF active[i] >= before.created_at THEN
            next_seq := (SELECT chat.seq_at(r.id, r.first_seq, r.last_seq + 1, before.created_at + interval '1 microsecond')
                         FROM chat.rooms r WHERE r.id = rooms[i]);
        END IF;
        <<room>>
        LOOP
            fetched := 0;
            FOR message IN SELECT m.seq, m.created_at, m.text, m.deleted_at FROM chat.messages m
                           WHERE m.room_id = rooms[i] AND m.seq < next_seq ORDER BY m.seq DESC LIMIT 50 LOOP
                fetched := fetched + 1;
                next_seq := message.seq;
                place := (message.created_at, rooms[i], message.seq);
                CONTINUE WHEN place >= before;
                EXIT room WHEN place < oldest;
                looked_at := looked_at + 1;
                cost := read_cost + octet_length(message.text);
                spent := spent + cost;
                IF message.deleted_at IS NULL THEN
                    document := chat.search_document(rooms[i], message.text);
                    has_words := document @@ words;
                    IF has_words OR is_phrase AND document @@ loose THEN
                        spent_by_index := spent_by_index + CASE WHEN is_phrase THEN cost ELSE read_cost END;
                    END IF;
                    IF has_words THEN
                        newest_here := newest_here || place;
                        EXIT room WHEN cardinality(newest_here) = wanted;
                    END IF;
                END IF;
                IF spent > sample_cost AND spent > spent_by_index * messages / looked_at THEN
                    RETURN;
                END IF;
            END LOOP;
            EXIT WHEN fetched < 50;
        END LOOP;
        newest := ARRAY(SELECT p FROM unnest(newest || newest_here) p ORDER BY p DESC LIMIT wanted);
        IF cardinality(newest) = wanted THEN
            oldest := newest[wanted];
        END IF;
    END LOOP;
    IF cardinality(newest) = wanted THEN
        RETURN QUERY SELECT p.* FROM unnest(newest) p;
    END IF;
END $$;

REVOKE EXECUTE ON FUNCTION chat.search_newest(tsquery, bigint[], timestamptz[], bigint, chat.message_place, integer)
    FROM PUBLIC;
