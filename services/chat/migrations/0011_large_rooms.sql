-- What has cost more the larger a room was.

-- Who was removed stays a row: a list of members read past all of them.
CREATE INDEX members_of_room ON chat.members (room_id, account_id) WHERE role > 0;
