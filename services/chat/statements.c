/* The SQL of chat, one named statement a query, with the index that serves it named beside it.
 *
 * A change is one call of a function, which locks the room, looks, decides and writes: the
 * functions are in migrations/0003_members.sql, 0005_retention.sql and 0006_store_messages.sql, and
 * README.md says why they are functions.
 *
 * Statements are planned once for all parameters: a page is cut by the caller's limit and again by
 * a constant that the planner can see, and what belongs to a row of it is looked up LATERAL ...
 * OFFSET 0, row by row through a primary key.
 *
 * Everywhere $1 is the caller, and $2 the room where there is one.
 */
#include "statements.h"

#include "service/turns.h"

/* SQL is laid out by hand. */
/* clang-format off */

#define STRINGIFY_(x) #x
#define STRINGIFY(x) STRINGIFY_(x)
#define MAX_ROWS STRINGIFY(CHAT_MAX_ROWS)
#define MAX_REPLAY STRINGIFY(CHAT_MAX_REPLAY)
#define MAX_UNREAD STRINGIFY(CHAT_MAX_UNREAD)
#define PURGE_BATCH STRINGIFY(CHAT_PURGE_BATCH)
#define SWEEP_BATCH STRINGIFY(CHAT_SWEEP_BATCH)
#define ERASE_BATCH STRINGIFY(CHAT_ERASE_BATCH)

/* ---- parts ---- */

/* The profile of an account as `alias`: the primary key behind auth.profiles. */
#define PROFILE_OF(account, alias)                                   \
    " LEFT JOIN LATERAL (SELECT username, image FROM auth.profiles"  \
    "                    WHERE id = " account " OFFSET 0) " alias " ON true"

/* The caller's membership of room r, as m. members_pkey. */
#define MY_MEMBERSHIP                                                                  \
    " LEFT JOIN LATERAL (SELECT role, read_seq FROM chat.members"                      \
    "                    WHERE room_id = r.id AND account_id = $1 AND role > 0 OFFSET 0) m ON true"

/* The room $2 as r with the caller's membership m; no row when the caller must not know of it.
 * rooms_pkey, members_pkey. */
#define ROOM_OF_CALLER                                                                 \
    "(SELECT r.*, coalesce(m.role, 0) AS my_role FROM chat.rooms r" MY_MEMBERSHIP                   \
    " WHERE r.id = $2 AND r.deleted_at IS NULL AND (r.kind = 1 OR m.role > 0)) r"

/* How many messages of others come after read_seq in room r, and are kept: the numbers after it,
 * less those of events and those of one's own messages. events_pkey, messages_by_author. */
#define UNREAD(read_seq)                                                                            \
    "(SELECT CASE WHEN x.seq >= r.last_seq THEN 0 ELSE r.last_seq - r.event_count - x.seq"          \
    "   + coalesce((SELECT e.number FROM chat.events e WHERE e.room_id = r.id AND e.seq <= x.seq"   \
    "               ORDER BY e.seq DESC LIMIT 1), r.events_before)"                                 \
    "   - (SELECT count(*) FROM chat.messages o"                                                    \
    "      WHERE o.author_id = $1 AND o.room_id = r.id AND o.seq > x.seq) END"                      \
    " FROM (SELECT greatest(" read_seq ", r.last_seq - " MAX_UNREAD ", r.first_seq - 1)) x (seq))"

/* In the order of enum room_column. r: a room, m: the caller's membership, if there is one. The
 * primary key behind auth.profiles. */
#define ROOM_COLUMNS                                                                  \
    " r.id, r.name, r.description, r.last_seq, r.created_at, r.kind::integer,"        \
    " r.member_count, r.active_at, coalesce(m.role, 0)::integer, coalesce(m.read_seq, 0)," \
    " CASE WHEN m.role > 0 THEN " UNREAD("m.read_seq") " ELSE 0 END,"                 \
    " p.username, p.image, r.first_seq, r.retain_days, r.retain_messages"
#define PEER PROFILE_OF("r.direct_low + r.direct_high - $1", "p")

/* In the order of enum message_column. m: a message, p: its author's profile; without one the
 * message is deleted, even if it has yet to be (PURGE_ACCOUNT). reaction_counts_pkey,
 * reactions_pkey. */
#define MESSAGE_COLUMNS_FOR(viewer, reactions)                                               \
    " m.seq, CASE WHEN p.username IS NULL THEN '' ELSE m.text END,"                          \
    " CASE WHEN m.author_id = " viewer " THEN m.client_id END, m.created_at,"                \
    " m.reply_to, m.edited_at,"                                                              \
    " CASE WHEN p.username IS NULL THEN coalesce(m.deleted_at, m.created_at) ELSE m.deleted_at END," \
    " " reactions ", p.username, p.image"
#define MESSAGE_COLUMNS_WITH(reactions) MESSAGE_COLUMNS_FOR("$1", reactions)
#define REACTIONS_FOR(viewer)                                                                \
    "CASE WHEN m.reaction_kinds > 0 AND p.username IS NOT NULL"                              \
    "     THEN chat.reaction_list(m.room_id, m.seq, " viewer ") END"
#define MESSAGE_COLUMNS MESSAGE_COLUMNS_FOR("$1", REACTIONS_FOR("$1"))
#define AUTHOR PROFILE_OF("m.author_id", "p")

/* ---- changes of rooms ---- */

/* rooms_client_id_key, members_by_account, rooms_pkey. $2: kind, $3: name, $4: description, $5:
 * client_id or NULL, $6, $7: retain_days, retain_messages. */
static const char create_room[] =
    "SELECT f.outcome, f.room FROM chat.create_room($1, $2, $3, $4, $5, $6, $7) f";

/* rooms_direct_key; the unique index behind auth.profiles. $2: the other's username key. */
static const char open_direct_room[] =
    "SELECT f.outcome, f.room FROM chat.open_direct_room($1, $2) f";

/* rooms_pkey, members_pkey, as all that follow. $3: name, $4: description, $5, $6: retain_days,
 * retain_messages; NULL: stays. */
static const char update_room[] = "SELECT chat.update_room($2, $1, $3, $4, $5, $6)";
static const char delete_room[] = "SELECT chat.delete_room($2, $1)";

/* ---- changes of members ---- */

/* members_by_account. */
static const char join_room[] = "SELECT chat.join_room($2, $1)";
/* members_owners. */
static const char leave_room[] = "SELECT chat.leave_room($2, $1)";

/* In the order of enum member_column. The unique index behind auth.profiles. $3: a username key. */
#define MEMBER_CHANGE(call)                                                                 \
    "SELECT m.outcome, m.account_id, m.role::integer, m.joined_at, p.username, p.image"     \
    " FROM (SELECT f.outcome, (f.member).* FROM " call " f) m" PROFILE_OF("m.account_id", "p")

static const char invite_member[] = MEMBER_CHANGE("chat.invite_member($2, $1, $3)");
static const char remove_member[] = "SELECT chat.remove_member($2, $1, $3)";
/* members_owners. $4: role. */
static const char set_member_role[] = MEMBER_CHANGE("chat.set_member_role($2, $1, $3, $4)");

/* ---- changes of messages ---- */

/* What chat.store_message() answers as f, in the order of enum message_column: of a message that was
 * stored only what was not given. reaction_counts_pkey, reactions_pkey. */
#define STORED_MESSAGE(caller, call)                                                          \
    "SELECT f.outcome, f.seq, (f.message).text, (f.message).client_id, f.created_at,"         \
    " (f.message).reply_to, (f.message).edited_at, (f.message).deleted_at,"                   \
    " CASE WHEN (f.message).reaction_kinds > 0"                                               \
    "      THEN chat.reaction_list((f.message).room_id, f.seq, " caller ") END,"              \
    " p.username, p.image" call PROFILE_OF(caller, "p")

/* messages_pkey, messages_client_id_key. $3: text, $4: reply_to or NULL, $5: client_id or NULL. */
static const char send_message[] =
    STORED_MESSAGE("$1", " FROM chat.store_message($1, $2, $3, $4, $5) f");

/* Several (migrations/0006_store_messages.sql). rooms_pkey, members_pkey, messages_client_id_key,
 * messages_pkey. $1: callers, $2: rooms, $3: texts, $4: reply_to or 0, $5: client_id or empty. */
static const char send_messages[] =
    STORED_MESSAGE("($1)[f.number]", ", f.number FROM chat.store_messages($1, $2, $3, $4, $5) f");

/* messages_pkey, events_client_id_key, as all that follow. $3: seq, $4: text, $5: client_id or
 * NULL. */
static const char edit_message[] =
    "SELECT m.outcome," MESSAGE_COLUMNS_WITH("m.reactions")
    " FROM (SELECT f.outcome, (f.message).*, f.reactions"
    "       FROM chat.edit_message($2, $1, $3, $4, $5) f) m" AUTHOR;

/* reactions_pkey, reaction_counts_pkey. $3: seq, $4: client_id or NULL. */
static const char delete_message[] = "SELECT chat.delete_message($2, $1, $3, $4)";

/* reactions_pkey, reaction_counts_pkey. $3: seq, $4: emoji, $5: client_id or NULL. */
static const char add_reaction[] =
    "SELECT f.outcome, f.n, f.mine FROM chat.add_reaction($2, $1, $3, $4, $5) f";
static const char remove_reaction[] =
    "SELECT f.outcome, f.n, f.mine FROM chat.remove_reaction($2, $1, $3, $4, $5) f";

/* members_pkey. It does not lock the room: of two marks the later one wins, whichever comes first.
 * $3: seq. No row: there is no such room. */
static const char mark_read[] =
    "WITH room AS (SELECT * FROM " ROOM_OF_CALLER "), moved AS ("
    "  UPDATE chat.members m SET read_seq = least($3, room.last_seq) FROM room"
    "  WHERE m.room_id = $2 AND m.account_id = $1 AND m.role > 0"
    "  AND m.read_seq < least($3, room.last_seq) RETURNING true"
    ") SELECT r.my_role > 0, mark.seq, " UNREAD("mark.seq") ", EXISTS (SELECT FROM moved),"
    " r.member_count, p.username, p.image"
    " FROM room r" MY_MEMBERSHIP PROFILE_OF("$1", "p")
    " CROSS JOIN LATERAL (SELECT greatest(m.read_seq, least($3, r.last_seq))) mark (seq)";

/* ---- rooms ---- */

/* rooms_pkey. */
static const char get_room[] =
    "SELECT" ROOM_COLUMNS " FROM (SELECT * FROM chat.rooms"
    "                             WHERE id = $2 AND deleted_at IS NULL) r" MY_MEMBERSHIP PEER
    " WHERE r.kind = 1 OR m.role > 0";

/* rooms_public, backwards. $2: only rooms with a lower id, $3: how many, one more than a page. */
static const char list_rooms[] =
    "SELECT" ROOM_COLUMNS " FROM (SELECT * FROM (SELECT * FROM chat.rooms"
    "                                            WHERE kind = 1 AND deleted_at IS NULL AND id < $2"
    "                                            ORDER BY id DESC LIMIT $3) cut"
    "                             LIMIT " MAX_ROWS ") r" MY_MEMBERSHIP PEER " ORDER BY r.id DESC";

/* members_by_account, rooms_pkey: an account's rooms are at most chat.max_rooms(). Only those of a
 * page are counted. $2, $3: active_at and id of the room that the page comes after, $4: how many,
 * one more than a page. */
static const char list_my_rooms[] =
    "SELECT" ROOM_COLUMNS " FROM ("
    "  SELECT * FROM (SELECT r.*, mine.role, mine.read_seq FROM chat.members mine"
    "                 CROSS JOIN LATERAL (SELECT * FROM chat.rooms"
    "                                     WHERE id = mine.room_id AND deleted_at IS NULL OFFSET 0) r"
    "                 WHERE mine.account_id = $1 AND mine.role > 0 AND (r.active_at, r.id) < ($2, $3)"
    "                 ORDER BY r.active_at DESC, r.id DESC LIMIT $4) cut LIMIT " MAX_ROWS
    ") r CROSS JOIN LATERAL (SELECT r.role, r.read_seq) m" PEER
    " ORDER BY r.active_at DESC, r.id DESC";

/* members_of_room. $3: only accounts with a higher id, $4: how many, one more than a page. No row: there
 * is no such room. */
static const char list_members[] =
    "SELECT r.my_role > 0, m.account_id, m.role::integer, m.joined_at, p.username, p.image"
    " FROM " ROOM_OF_CALLER
    " LEFT JOIN LATERAL ("
    "  SELECT * FROM (SELECT account_id, role, joined_at FROM chat.members"
    "                 WHERE room_id = $2 AND account_id > $3 AND role > 0"
    "                 ORDER BY account_id LIMIT $4) cut LIMIT " MAX_ROWS ") m ON r.my_role > 0"
    PROFILE_OF("m.account_id", "p") " ORDER BY m.account_id";

/* ---- messages ---- */

/* messages_pkey. $3: after this seq, $4: before this seq, $5: how many. No row: there is no such
 * room. */
#define LIST_MESSAGES(order)                                                         \
    "SELECT r.my_role > 0," MESSAGE_COLUMNS ", r.last_seq, r.first_seq FROM " ROOM_OF_CALLER \
    " LEFT JOIN LATERAL ("                                                           \
    "  SELECT * FROM (SELECT * FROM chat.messages"                                   \
    "                 WHERE room_id = $2 AND seq > $3 AND seq < $4"                  \
    "                 ORDER BY " order " LIMIT $5) cut LIMIT " MAX_ROWS              \
    " ) m ON r.my_role > 0" AUTHOR " ORDER BY m.seq"

static const char list_messages_after[] = LIST_MESSAGES("seq");
static const char list_messages_before[] = LIST_MESSAGES("seq DESC");

/* The numbers of a room r from two tables, each in its order: messages_pkey, events_pkey; then the
 * message, the reaction and the profiles of each. may_read: of r, after: the seq that they come after,
 * rows: the most that there can be, $4: how many. No row: there is no such room. */
#define EVENTS_OF(room, may_read, after, rows, more)                                                \
    "SELECT " may_read "," MESSAGE_COLUMNS ", r.last_seq, r.first_seq,"                             \
    "  e.seq, e.kind, e.created_at, a.username, a.image, e.message_seq, e.emoji,"                   \
    "  CASE WHEN e.emoji IS NOT NULL THEN coalesce(c.n, 0) END,"                                    \
    "  CASE WHEN e.emoji IS NOT NULL THEN"                                                          \
    "    (SELECT true FROM chat.reactions x WHERE x.room_id = $2 AND x.seq = e.message_seq"         \
    "     AND x.account_id = $1 AND x.emoji = e.emoji) IS NOT NULL END,"                            \
    "  s.username, s.image, e.role::integer" more                                                   \
    " FROM " room                                                                                   \
    " LEFT JOIN LATERAL (SELECT * FROM (SELECT * FROM ("                                            \
    "    (SELECT seq, 1 AS kind, created_at, author_id AS actor_id, seq AS message_seq,"            \
    "            NULL::text AS emoji, NULL::bigint AS subject_id, NULL::smallint AS role"           \
    "     FROM chat.messages WHERE room_id = $2 AND seq > " after " ORDER BY seq LIMIT " rows ")"   \
    "    UNION ALL"                                                                                 \
    "    (SELECT seq, kind, created_at, actor_id, message_seq, emoji, subject_id, role"             \
    "     FROM chat.events WHERE room_id = $2 AND seq > " after " ORDER BY seq LIMIT " rows ")"     \
    "  ) each ORDER BY seq LIMIT $4) cut LIMIT " rows ") e ON " may_read                            \
    " LEFT JOIN LATERAL (SELECT * FROM chat.messages WHERE room_id = $2 AND seq = e.message_seq"    \
    "                    AND e.kind <= 3 OFFSET 0) m ON true"                                       \
    " LEFT JOIN LATERAL (SELECT n FROM chat.reaction_counts WHERE room_id = $2"                     \
    "                    AND seq = e.message_seq AND emoji = e.emoji OFFSET 0) c ON true"           \
    AUTHOR PROFILE_OF("e.actor_id", "a") PROFILE_OF("e.subject_id", "s") " ORDER BY e.seq"

/* $3: after this seq. */
static const char list_events[] =
    EVENTS_OF(ROOM_OF_CALLER, "r.my_role > 0", "$3", MAX_ROWS, "");

/* For an instance that serves the room to its members: $1 is 0, nobody's view. $3: after this seq. $5: the
 * room for the first time, that is also its members, and of its events the latest 100 at least and $4 at
 * most. members_of_room. */
#define SERVED_AFTER \
    "CASE WHEN $5 THEN greatest(least($3, r.last_seq - 100), r.last_seq - $4) ELSE $3 END"
static const char room_events[] =
    EVENTS_OF("(SELECT * FROM chat.rooms WHERE id = $2 AND deleted_at IS NULL) r", "true", SERVED_AFTER,
              MAX_REPLAY,
              ", e.subject_id, r.kind::integer,"
              "  CASE WHEN $5 AND coalesce(e.seq, r.last_seq) = r.last_seq THEN"
              "    (SELECT string_agg(int8send(account_id), '' ORDER BY account_id) FROM chat.members"
              "     WHERE room_id = $2 AND role > 0) END");

/* rooms_pkey. $1: rooms, $2, $3: the last and the first number that each is known to have. Those that
 * have a later one, or are no more. */
static const char rooms_ahead[] =
    "SELECT s.id, r.last_seq, r.first_seq FROM unnest($1, $2, $3) s (id, last, first)"
    " LEFT JOIN LATERAL (SELECT last_seq, first_seq FROM chat.rooms"
    "                    WHERE id = s.id AND deleted_at IS NULL OFFSET 0) r ON true"
    " WHERE r.last_seq IS NULL OR r.last_seq > s.last OR r.first_seq > s.first";

/* Of the cluster, and of the database in it. */
static const char database_identity[] =
    "SELECT system_identifier || '-' || current_database() FROM pg_control_system()";

/* The primary key behind auth.profiles. $1: accounts. */
static const char profiles[] =
    "SELECT a.id, p.username, p.image FROM unnest($1) a (id)" PROFILE_OF("a.id", "p")
    " WHERE p.username IS NOT NULL";

/* members_pkey, the primary key behind auth.profiles. $3: accounts that are online, as far as they are
 * named. No row: there is no such room. */
static const char room_presence[] =
    "SELECT r.my_role > 0, o.username, o.image FROM " ROOM_OF_CALLER
    " LEFT JOIN LATERAL (SELECT p.username, p.image FROM unnest($3) a (id)"
    "   JOIN LATERAL (SELECT FROM chat.members WHERE room_id = $2 AND account_id = a.id AND role > 0"
    "                 OFFSET 0) m ON true" PROFILE_OF("a.id", "p")
    "   WHERE p.username IS NOT NULL) o ON r.my_role > 0 ORDER BY o.username";

/* messages_pkey from the newest message on, for what many have (migrations/0011_large_rooms.sql), or
 * messages_search, which finds words and rooms at once, with all that is found to be sorted; then
 * messages_pkey for what is on the page. For each message of the rooms that it looks in, the index asks
 * all of these whether it is theirs: so it looks in some at a time. members_by_account, rooms_pkey. $2:
 * room, NULL: all of the caller's, $3: words, $4, $5, $6: created_at, room and seq of the message that
 * the page comes after, $7: how many, one more than a page. */
#define ROOMS_AT_A_TIME "32"
static const char search_messages[] =
    "WITH mine AS MATERIALIZED ("
    "  SELECT m.room_id, r.active_at, r.messages FROM chat.members m CROSS JOIN LATERAL ("
    "    SELECT active_at, last_seq - event_count - (first_seq - 1 - events_before) AS messages"
    "    FROM chat.rooms WHERE id = m.room_id AND deleted_at IS NULL OFFSET 0) r"
    "  WHERE m.account_id = $1 AND m.role > 0 AND ($2 IS NULL OR m.room_id = $2)"
    "), wanted AS MATERIALIZED ("
    "  SELECT words FROM websearch_to_tsquery('pg_catalog.simple', $3) words WHERE numnode(words) > 0"
    "), newest AS MATERIALIZED ("
    "  SELECT n.* FROM wanted, (SELECT array_agg(room_id ORDER BY active_at DESC) AS rooms,"
    "                                  array_agg(active_at ORDER BY active_at DESC) AS active,"
    "                                  sum(messages)::bigint AS messages FROM mine) mine,"
    "       chat.search_newest(words, rooms, active, messages, ($4, $5, $6), $7) n"
    "), by_index AS MATERIALIZED ("
    "  SELECT words && rooms AS query FROM wanted,"
    "       (SELECT string_agg(quote_literal(chat.room_word(room_id)), ' | ')::tsquery"
    "        FROM (SELECT room_id, row_number() OVER () / " ROOMS_AT_A_TIME " FROM mine) each (room_id, part)"
    "        GROUP BY part) within (rooms)"
    "  WHERE NOT EXISTS (SELECT FROM newest)"
    ") SELECT CASE WHEN $2 IS NULL OR EXISTS (SELECT FROM mine) THEN true"
    "              WHEN EXISTS (SELECT FROM chat.rooms"
    "                           WHERE id = $2 AND kind = 1 AND deleted_at IS NULL) THEN false END,"
    MESSAGE_COLUMNS ", m.room_id"
    " FROM (SELECT) one LEFT JOIN ("
    "  (SELECT * FROM newest UNION ALL SELECT cut.* FROM ("
    "     SELECT m.* FROM by_index CROSS JOIN LATERAL ("
    "       SELECT created_at, room_id, seq FROM chat.messages WHERE deleted_at IS NULL"
    "       AND chat.search_document(room_id, text) @@ by_index.query OFFSET 0) m"
    "     WHERE (m.created_at, m.room_id, m.seq) < ($4, $5, $6)"
    "     ORDER BY m.created_at DESC, m.room_id DESC, m.seq DESC LIMIT $7) cut LIMIT " MAX_ROWS
    "  ) page CROSS JOIN LATERAL (SELECT * FROM chat.messages"
    "                             WHERE room_id = page.room_id AND seq = page.seq OFFSET 0) m"
    ") ON true" AUTHOR " ORDER BY m.created_at DESC, m.room_id DESC, m.seq DESC";

/* ---- what is removed from time to time; each answers with how much ---- */

/* rooms_retention_due, and the primary keys of what is in a room. $1, $2: the days and messages that
 * no room may exceed, 0: no limit, $3: seconds until a room is looked at again, at least. */
static const char sweep_room[] = "SELECT chat.sweep_room($1, $2, $3, " SWEEP_BATCH ")";
/* rooms_unlimited. */
static const char limit_rooms[] = "SELECT chat.limit_rooms(" PURGE_BATCH ")";
/* rooms_deleted, and the primary keys of what is in a room. */
static const char purge_room[] = "SELECT chat.purge_room(" PURGE_BATCH ")";
/* forgotten_accounts is as small as the accounts deleted in these minutes. members_by_account,
 * members_removed, messages_by_author, reactions_by_account, events_client_id_key,
 * rooms_client_id_key. */
static const char purge_account[] = "SELECT chat.purge_account(" ERASE_BATCH ")";
/* So that no message waits while the index sorts in the ones before. */
static const char sort_search_index[] = "SELECT gin_clean_pending_list('chat.messages_search')";

/* clang-format on */

const struct db_statement chat_statements[CHAT_STATEMENTS] = {
    [CREATE_ROOM] = {"create_room",
                     create_room,
                     DB_WRITE,
                     {DB_INT8, DB_INT4, DB_TEXT, DB_TEXT, DB_TEXT, DB_INT4, DB_INT4}},
    [OPEN_DIRECT_ROOM] = {"open_direct_room", open_direct_room, DB_WRITE, {DB_INT8, DB_TEXT}},
    [UPDATE_ROOM] = {"update_room",
                     update_room,
                     DB_WRITE,
                     {DB_INT8, DB_INT8, DB_TEXT, DB_TEXT, DB_INT4, DB_INT4}},
    [DELETE_ROOM] = {"delete_room", delete_room, DB_WRITE, {DB_INT8, DB_INT8}},
    [GET_ROOM] = {"get_room", get_room, DB_READ, {DB_INT8, DB_INT8}},
    [LIST_ROOMS] = {"list_rooms", list_rooms, DB_READ, {DB_INT8, DB_INT8, DB_INT4}},
    [LIST_MY_ROOMS] = {"list_my_rooms",
                       list_my_rooms,
                       DB_READ,
                       {DB_INT8, DB_TIMESTAMPTZ, DB_INT8, DB_INT4}},
    [JOIN_ROOM] = {"join_room", join_room, DB_WRITE, {DB_INT8, DB_INT8}},
    [LEAVE_ROOM] = {"leave_room", leave_room, DB_WRITE, {DB_INT8, DB_INT8}},
    [LIST_MEMBERS] = {"list_members", list_members, DB_READ, {DB_INT8, DB_INT8, DB_INT8, DB_INT4}},
    [INVITE_MEMBER] = {"invite_member", invite_member, DB_WRITE, {DB_INT8, DB_INT8, DB_TEXT}},
    [REMOVE_MEMBER] = {"remove_member", remove_member, DB_WRITE, {DB_INT8, DB_INT8, DB_TEXT}},
    [SET_MEMBER_ROLE] = {"set_member_role",
                         set_member_role,
                         DB_WRITE,
                         {DB_INT8, DB_INT8, DB_TEXT, DB_INT4}},
    [SEND_MESSAGE] = {"send_message",
                      send_message,
                      DB_WRITE,
                      {DB_INT8, DB_INT8, DB_TEXT, DB_INT8, DB_TEXT}},
    [SEND_MESSAGES] = {"send_messages",
                       send_messages,
                       DB_WRITE,
                       {DB_INT8_ARRAY, DB_INT8_ARRAY, DB_TEXT_ARRAY, DB_INT8_ARRAY, DB_TEXT_ARRAY}},
    [EDIT_MESSAGE] = {"edit_message",
                      edit_message,
                      DB_WRITE,
                      {DB_INT8, DB_INT8, DB_INT8, DB_TEXT, DB_TEXT}},
    [DELETE_MESSAGE] = {"delete_message",
                        delete_message,
                        DB_WRITE,
                        {DB_INT8, DB_INT8, DB_INT8, DB_TEXT}},
    [ADD_REACTION] = {"add_reaction",
                      add_reaction,
                      DB_WRITE,
                      {DB_INT8, DB_INT8, DB_INT8, DB_TEXT, DB_TEXT}},
    [REMOVE_REACTION] = {"remove_reaction",
                         remove_reaction,
                         DB_WRITE,
                         {DB_INT8, DB_INT8, DB_INT8, DB_TEXT, DB_TEXT}},
    [MARK_READ] = {"mark_read", mark_read, DB_WRITE, {DB_INT8, DB_INT8, DB_INT8}},
    [LIST_MESSAGES_AFTER] = {"list_messages_after",
                             list_messages_after,
                             DB_READ,
                             {DB_INT8, DB_INT8, DB_INT8, DB_INT8, DB_INT4}},
    [LIST_MESSAGES_BEFORE] = {"list_messages_before",
                              list_messages_before,
                              DB_READ,
                              {DB_INT8, DB_INT8, DB_INT8, DB_INT8, DB_INT4}},
    [LIST_EVENTS] = {"list_events", list_events, DB_READ, {DB_INT8, DB_INT8, DB_INT8, DB_INT4}},
    [ROOM_EVENTS] = {"room_events",
                     room_events,
                     DB_READ,
                     {DB_INT8, DB_INT8, DB_INT8, DB_INT4, DB_BOOL}},
    [DATABASE_IDENTITY] = {"database_identity", database_identity, DB_READ, {DB_END}},
    [ROOMS_AHEAD] = {"rooms_ahead",
                     rooms_ahead,
                     DB_READ,
                     {DB_INT8_ARRAY, DB_INT8_ARRAY, DB_INT8_ARRAY}},
    [PROFILES] = {"profiles", profiles, DB_READ, {DB_INT8_ARRAY}},
    [ROOM_PRESENCE] = {"room_presence", room_presence, DB_READ, {DB_INT8, DB_INT8, DB_INT8_ARRAY}},
    [SEARCH_MESSAGES] = {"search_messages",
                         search_messages,
                         DB_READ,
                         {DB_INT8, DB_INT8, DB_TEXT, DB_TIMESTAMPTZ, DB_INT8, DB_INT8, DB_INT4}},
    [LIMIT_SEARCH] = TURN_LIMIT,
    [SWEEP_ROOM] = {"sweep_room", sweep_room, DB_WRITE, {DB_INT4, DB_INT4, DB_INT4}},
    [LIMIT_ROOMS] = {"limit_rooms", limit_rooms, DB_WRITE, {DB_END}},
    [PURGE_ROOM] = {"purge_room", purge_room, DB_WRITE, {DB_END}},
    [PURGE_ACCOUNT] = {"purge_account", purge_account, DB_WRITE, {DB_END}},
    [SORT_SEARCH_INDEX] = {"sort_search_index", sort_search_index, DB_WRITE, {DB_END}},
};
