-- Rooms and their messages. An account is known by its id; names come from auth.profiles when read.

CREATE TABLE chat.rooms (
    id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    name text NOT NULL,
    description text NOT NULL,
    created_by bigint NOT NULL,
    -- The number of the latest message. Whoever sends locks the row, takes the next number and stores
    -- the message in the same transaction: so numbers have no holes, and a message that can be seen
    -- has all its predecessors.
    last_seq bigint NOT NULL DEFAULT 0,
    created_at timestamptz NOT NULL DEFAULT now()
) WITH (fillfactor = 50); -- room for heap-only updates of last_seq

CREATE TABLE chat.messages (
    room_id bigint NOT NULL REFERENCES chat.rooms ON DELETE CASCADE,
    seq bigint NOT NULL CHECK (seq > 0),
    author_id bigint NOT NULL,
    client_id text COLLATE "C",
    text text NOT NULL,
    created_at timestamptz NOT NULL,
    PRIMARY KEY (room_id, seq)
);

-- A message that is sent again is found here, and cannot be stored a second time.
CREATE UNIQUE INDEX messages_client_id_key ON chat.messages (room_id, author_id, client_id)
    WHERE client_id IS NOT NULL;
