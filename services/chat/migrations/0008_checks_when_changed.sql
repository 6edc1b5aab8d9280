-- What a room must be is looked at when it changes. Postgres reads each CHECK of a table from its text and plans it in every
-- statement that writes to the table, whichever columns that sets: of a message, which sets last_seq and active_at alone, that
-- was more than a fifth of the work. A trigger for columns is not even asked.
CREATE FUNCTION chat.refuse_room() RETURNS trigger LANGUAGE plpgsql
    AS $$
BEGIN
    RAISE EXCEPTION 'room % would not be one', NEW.id
        USING ERRCODE = 'check_violation', SCHEMA = TG_TABLE_SCHEMA, TABLE = TG_TABLE_NAME, CONSTRAINT = TG_NAME;
END $$;
REVOKE EXECUTE ON FUNCTION chat.refuse_room() FROM PUBLIC;

-- last_seq is not among the columns: nothing takes it back.
CREATE TRIGGER rooms_hold
    AFTER INSERT OR UPDATE OF kind, direct_low, direct_high, member_count, first_seq, events_before, retain_days,
                              retain_messages ON chat.rooms
    FOR EACH ROW WHEN ((
        NEW.kind BETWEEN 1 AND 3
        AND (NEW.kind = 3) = (NEW.direct_low IS NOT NULL AND NEW.direct_high IS NOT NULL)
        AND coalesce(NEW.direct_low < NEW.direct_high, true)
        AND NEW.member_count >= 0
        AND NEW.first_seq BETWEEN 1 AND NEW.last_seq + 1
        AND NEW.events_before BETWEEN 0 AND NEW.first_seq - 1
        AND NEW.retain_days >= 0 AND NEW.retain_messages >= 0
    ) IS NOT TRUE)
    EXECUTE FUNCTION chat.refuse_room();
ALTER TABLE chat.rooms
    DROP CONSTRAINT rooms_kind_check, DROP CONSTRAINT rooms_direct_check, DROP CONSTRAINT rooms_member_count_check,
    DROP CONSTRAINT rooms_check, DROP CONSTRAINT rooms_check1, DROP CONSTRAINT rooms_retain_days_check,
    DROP CONSTRAINT rooms_retain_messages_check;

-- A message has the number after its room's last one, which begins at 0.
ALTER TABLE chat.messages DROP CONSTRAINT messages_seq_check;
