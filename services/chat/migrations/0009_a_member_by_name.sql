-- Whom a change is about is found by name first, and then in the room. With the two joined Postgres merged them: it read all
-- members of the room, in the order of their accounts, to find one.
CREATE FUNCTION chat.member_named(room bigint, target text) RETURNS SETOF chat.members
    LANGUAGE sql STABLE
    AS $$
    SELECT m.* FROM chat.members m
    WHERE m.room_id = room AND m.account_id = (SELECT p.id FROM auth.profiles p WHERE p.username_key = target)
        AND m.role > 0
$$;

CREATE OR REPLACE FUNCTION chat.remove_member(room bigint, caller bigint, target text, OUT outcome text)
    LANGUAGE plpgsql VOLATILE
    AS $$
DECLARE
    entry record;
    member chat.members;
BEGIN
    SELECT * INTO entry FROM chat.enter(room, caller);
    SELECT * INTO member FROM chat.member_named(room, target);
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

CREATE OR REPLACE FUNCTION chat.set_member_role(room bigint, caller bigint, target text, new_role integer,
                                                OUT outcome text, OUT member chat.members)
    LANGUAGE plpgsql VOLATILE
    AS $$
DECLARE
    entry record;
BEGIN
    SELECT * INTO entry FROM chat.enter(room, caller);
    SELECT * INTO member FROM chat.member_named(room, target);
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

REVOKE EXECUTE ON FUNCTION chat.member_named(bigint, text) FROM PUBLIC;
