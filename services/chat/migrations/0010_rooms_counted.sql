-- In how many rooms an account is, is counted in the index of its memberships alone. Its rooms are looked at only when that
-- is as many as may be: some may have been deleted, with what is in them still to be removed. Each is then looked up by
-- itself: joined to the memberships, rooms may be read in the order of their ids, those of everybody.
CREATE OR REPLACE FUNCTION chat.has_all_rooms(account bigint, actor bigint) RETURNS boolean
    LANGUAGE plpgsql VOLATILE
    AS $$
DECLARE
    most integer := CASE WHEN account = actor THEN chat.max_rooms() ELSE chat.max_rooms_by_others() END;
BEGIN
    IF (SELECT count(*) < most FROM (
            SELECT FROM chat.members m WHERE m.account_id = account AND m.role > 0 LIMIT most) mine) THEN
        RETURN false;
    END IF;
    RETURN (SELECT count(*) >= most FROM (
        SELECT FROM chat.members m
        CROSS JOIN LATERAL (SELECT FROM chat.rooms WHERE id = m.room_id AND deleted_at IS NULL OFFSET 0) r
        WHERE m.account_id = account AND m.role > 0 LIMIT most) mine);
END $$;
