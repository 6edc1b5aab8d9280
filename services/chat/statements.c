/* The SQL of chat, one named statement a query, with the index that serves it named beside it.
 *
 * Statements are planned once for all parameters: a page is cut by the caller's limit and again by
 * a constant that the planner can see, and what belongs to a row of it is looked up LATERAL ...
 * OFFSET 0, row by row through a primary key.
 */
#include "statements.h"

#define STRINGIFY_(x) #x
#define STRINGIFY(x) STRINGIFY_(x)
#define MAX_PAGE STRINGIFY(CHAT_MAX_PAGE)

/* In the order of enum room_column. */
#define ROOM_COLUMNS "id, name, description, last_seq, created_at"

/* The primary key behind auth.profiles. $1: who opens it, $2: name, $3: description. No row: there
 * is no such account. */
static const char create_room[] = "INSERT INTO chat.rooms (name, description, created_by)"
                                  " SELECT $2, $3, id FROM auth.profiles WHERE id = $1"
                                  " RETURNING " ROOM_COLUMNS;

/* rooms_pkey. */
static const char get_room[] = "SELECT " ROOM_COLUMNS " FROM chat.rooms WHERE id = $1";

/* rooms_pkey, backwards. $1: only rooms with a lower id, $2: how many, one more than a page. */
static const char list_rooms[] =
    "SELECT * FROM (SELECT " ROOM_COLUMNS " FROM chat.rooms WHERE id < $1"
    "               ORDER BY id DESC LIMIT $2) cut"
    " ORDER BY id DESC LIMIT " MAX_PAGE " + 1";

/* rooms_pkey, messages_client_id_key, the primary key behind auth.profiles.
 * $1: room, $2: author, $3: text, $4: client_id or NULL.
 * No row: there is no such account. A row of NULLs: there is no such room. The update waits for
 * whoever sends to the room at the same moment, so the number and the time rise together; a double
 * that stored its message meanwhile is met as a violation of messages_client_id_key, and undoes all
 * of this. */
static const char send_message[] =
    "WITH author AS ("
    "  SELECT username, image FROM auth.profiles WHERE id = $2"
    "), first AS ("
    "  SELECT seq, text, client_id, created_at FROM chat.messages"
    "  WHERE room_id = $1 AND author_id = $2 AND client_id = $4"
    "), room AS ("
    "  UPDATE chat.rooms SET last_seq = last_seq + 1"
    "  WHERE id = $1 AND NOT EXISTS (SELECT FROM first) AND EXISTS (SELECT FROM author)"
    "  RETURNING id, last_seq"
    "), message AS ("
    "  INSERT INTO chat.messages (room_id, seq, author_id, client_id, text, created_at)"
    "  SELECT id, last_seq, $2, $4, $3, clock_timestamp() FROM room"
    "  RETURNING seq, text, client_id, created_at"
    ") SELECT m.*, author.username, author.image FROM author LEFT JOIN"
    "  (SELECT * FROM first UNION ALL SELECT * FROM message) m ON true";

/* messages_pkey; rooms_pkey; the primary key behind auth.profiles. $1: room, $2: caller, $3: after
 * this seq, $4: before this seq, $5: how many. No row: there is no such room. What was written by
 * an account that is gone has no author, and nothing of it is shown. */
#define LIST_MESSAGES(order)                                                    \
    "SELECT m.seq, CASE WHEN p.username IS NULL THEN '' ELSE m.text END,"       \
    "       CASE WHEN m.author_id = $2 THEN m.client_id END, m.created_at,"     \
    "       p.username, p.image, r.last_seq"                                    \
    " FROM chat.rooms r LEFT JOIN"                                              \
    "  ((SELECT * FROM (SELECT * FROM chat.messages"                            \
    "                   WHERE room_id = $1 AND seq > $3 AND seq < $4"           \
    "                   ORDER BY " order " LIMIT $5) cut LIMIT " MAX_PAGE ") m" \
    "   LEFT JOIN LATERAL (SELECT username, image FROM auth.profiles"           \
    "                      WHERE id = m.author_id OFFSET 0) p ON true) ON true" \
    " WHERE r.id = $1 ORDER BY m.seq"

static const char list_messages_after[] = LIST_MESSAGES("seq");
static const char list_messages_before[] = LIST_MESSAGES("seq DESC");

/* Erases once more an account that was forgotten so long ago that no statement can have seen it
 * since: statements end after 30 seconds. Answers with how many, one or none. forgotten_accounts is
 * as small as the accounts deleted in these minutes; rooms_by_creator, messages_by_author. */
static const char purge_account[] =
    "WITH due AS ("
    "  DELETE FROM chat.forgotten_accounts WHERE account_id = ("
    "    SELECT account_id FROM chat.forgotten_accounts"
    "    WHERE forgotten_at < now() - interval '5 minutes' LIMIT 1 FOR UPDATE SKIP LOCKED)"
    "  RETURNING account_id"
    "), erased AS MATERIALIZED (SELECT chat.erase_account(account_id) FROM due)"
    " SELECT count(*) FROM (SELECT * FROM erased OFFSET 0) each";

const struct db_statement chat_statements[CHAT_STATEMENTS] = {
    [CREATE_ROOM] = {"create_room", create_room, DB_WRITE, {DB_INT8, DB_TEXT, DB_TEXT}},
    [GET_ROOM] = {"get_room", get_room, DB_READ, {DB_INT8}},
    [LIST_ROOMS] = {"list_rooms", list_rooms, DB_READ, {DB_INT8, DB_INT4}},
    [SEND_MESSAGE] = {"send_message", send_message, DB_WRITE, {DB_INT8, DB_INT8, DB_TEXT, DB_TEXT}},
    [LIST_MESSAGES_AFTER] = {"list_messages_after",
                             list_messages_after,
                             DB_READ,
                             {DB_INT8, DB_INT8, DB_INT8, DB_INT8, DB_INT4}},
    [LIST_MESSAGES_BEFORE] = {"list_messages_before",
                              list_messages_before,
                              DB_READ,
                              {DB_INT8, DB_INT8, DB_INT8, DB_INT8, DB_INT4}},
    [PURGE_ACCOUNT] = {"purge_account", purge_account, DB_WRITE, {DB_END}},
};
