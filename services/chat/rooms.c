/* Rooms one by one, and joining one. What changes a room is one statement; the room in the answer
 * is read after that has committed, so that it is the room as others see it. Statements are bound
 * on a poller thread, and answered from on the database's engine thread. */
#include "chat.h"

/* ---- answers ---- */

/* NAME(call, room): answers with the room. */
#define REPLY(NAME, TYPE, INIT)                                         \
    static void NAME(struct rpc_call *call, Stoa__Chat__V1__Room *room) \
    {                                                                   \
        TYPE response = INIT;                                           \
        response.room = room;                                           \
        rpc_reply(call, &response.base);                                \
    }

REPLY(reply_created, Stoa__Chat__V1__CreateRoomResponse, STOA__CHAT__V1__CREATE_ROOM_RESPONSE__INIT)
REPLY(reply_direct, Stoa__Chat__V1__OpenDirectRoomResponse,
      STOA__CHAT__V1__OPEN_DIRECT_ROOM_RESPONSE__INIT)
REPLY(reply_got, Stoa__Chat__V1__GetRoomResponse, STOA__CHAT__V1__GET_ROOM_RESPONSE__INIT)
REPLY(reply_updated, Stoa__Chat__V1__UpdateRoomResponse, STOA__CHAT__V1__UPDATE_ROOM_RESPONSE__INIT)
REPLY(reply_joined, Stoa__Chat__V1__JoinRoomResponse, STOA__CHAT__V1__JOIN_ROOM_RESPONSE__INIT)

static int32_t kind_of(const Stoa__Chat__V1__CreateRoomRequest__NewRoom *asked)
{
    return asked->kind ? (int32_t)asked->kind : STOA__CHAT__V1__ROOM_KIND__ROOM_KIND_PUBLIC;
}

/* Whether a room, which may have been there before, was opened by this. Once something has happened
 * in it, only its kind is still what it was for sure. */
static bool opened_by(const struct db_result *result,
                      const Stoa__Chat__V1__CreateRoomRequest__NewRoom *asked)
{
    const Stoa__Chat__V1__Retention *keeps = asked->retention;

    return db_get_int4(result, 0, ROOM_KIND) == kind_of(asked) &&
           (db_get_int8(result, 0, ROOM_LAST_SEQ) > 0 ||
            (str_eq(db_get_text(result, 0, ROOM_NAME), str_of(asked->name)) &&
             str_eq(db_get_text(result, 0, ROOM_DESCRIPTION), str_of(asked->description)) &&
             db_get_int4(result, 0, ROOM_RETAIN_DAYS) == (keeps ? keeps->days : 0) &&
             db_get_int4(result, 0, ROOM_RETAIN_MESSAGES) == (keeps ? keeps->messages : 0)));
}

static void on_room(void *user, const struct db_result *result)
{
    const struct request *request = user;
    struct room_row room;

    if (service_query_failed(request->call, result))
        return;
    if (db_rows(result) == 0) {
        fail_no_room(request);
        return;
    }
    if (request->asked && !opened_by(result, request->asked)) {
        service_fail_key_used(request->call);
        return;
    }
    room_from_row(chat_retention(request->service), result, 0, &room);
    request->reply(request->call, &room.room);
}

static void answer_with_room(struct request *request)
{
    struct rpc_call *call = request->call;
    struct db_query *query = db_query(service_db(request->service), rpc_call_arena(call), GET_ROOM);

    if (!query) {
        service_fail_memory(call);
        return;
    }
    db_bind_int8(query, service_caller_id(call));
    db_bind_int8(query, request->room);
    (void)service_query_with(call, query, on_room, request);
}

static void on_made(void *user, const struct db_result *result)
{
    struct request *request = user;

    if (change_failed(request, result))
        return;
    request->room = db_get_int8(result, 0, OUTCOME_ROOM);
    answer_with_room(request);
}

static void on_room_changed(void *user, const struct db_result *result)
{
    if (!change_failed(user, result))
        answer_with_room(user);
}

/* ---- handlers ---- */

static void create_room(struct service *service, struct rpc_call *call,
                        const Stoa__Chat__V1__CreateRoomRequest *message)
{
    const Stoa__Chat__V1__CreateRoomRequest__NewRoom *room = message->room;
    struct db_query *query;
    struct request *request = request_begin(service, call, CREATE_ROOM, 0, &query);
    struct resend resend;

    if (!request || text_failed(call, "room.name", room->name, true) ||
        text_failed(call, "room.description", room->description, false) ||
        !read_resend(call, room->client_id, &resend) ||
        limit_failed(request, LIMIT_OPEN, resend.client_id))
        return;
    request->reply = reply_created;
    request->asked = resend.by_key ? room : NULL;
    db_bind_int4(query, kind_of(room));
    db_bind_text(query, str_of(room->name));
    db_bind_text(query, str_of(room->description));
    bind_client_id(query, resend.client_id);
    db_bind_int4(query, room->retention ? room->retention->days : 0);
    db_bind_int4(query, room->retention ? room->retention->messages : 0);
    (void)service_query_with(call, query, on_made, request);
}
RPC_UNARY(create_room, struct service, Stoa__Chat__V1__CreateRoomRequest)

static void open_direct_room(struct service *service, struct rpc_call *call,
                             const Stoa__Chat__V1__OpenDirectRoomRequest *message)
{
    struct db_query *query;
    struct request *request = request_begin(service, call, OPEN_DIRECT_ROOM, 0, &query);

    if (!request || !request_bind_username(request, query, message->username) ||
        limit_failed(request, LIMIT_OPEN, ""))
        return;
    request->reply = reply_direct;
    (void)service_query_with(call, query, on_made, request);
}
RPC_UNARY(open_direct_room, struct service, Stoa__Chat__V1__OpenDirectRoomRequest)

static void get_room(struct service *service, struct rpc_call *call,
                     const Stoa__Chat__V1__GetRoomRequest *message)
{
    struct db_query *query;
    struct request *request = request_begin(service, call, GET_ROOM, message->room, &query);

    if (!request)
        return;
    request->reply = reply_got;
    (void)service_query_with(call, query, on_room, request);
}
RPC_UNARY(get_room, struct service, Stoa__Chat__V1__GetRoomRequest)

static void update_room(struct service *service, struct rpc_call *call,
                        const Stoa__Chat__V1__UpdateRoomRequest *message)
{
    const Stoa__Chat__V1__UpdateRoomRequest__RoomChanges *changes = message->changes;
    bool name = changes->_name_case != 0, description = changes->_description_case != 0;
    struct db_query *query;
    struct request *request = request_begin(service, call, UPDATE_ROOM, message->room, &query);

    if (!request || (name && text_failed(call, "changes.name", changes->name, true)) ||
        (description && text_failed(call, "changes.description", changes->description, false)) ||
        limit_failed(request, LIMIT_CHANGE, ""))
        return;
    request->reply = reply_updated;
    db_bind_text(query, name ? str_of(changes->name) : STR_NULL);
    db_bind_text(query, description ? str_of(changes->description) : STR_NULL);
    if (changes->retention) {
        db_bind_int4(query, changes->retention->days);
        db_bind_int4(query, changes->retention->messages);
    } else {
        db_bind_null(query);
        db_bind_null(query);
    }
    (void)service_query_with(call, query, on_room_changed, request);
}
RPC_UNARY(update_room, struct service, Stoa__Chat__V1__UpdateRoomRequest)

static void delete_room(struct service *service, struct rpc_call *call,
                        const Stoa__Chat__V1__DeleteRoomRequest *message)
{
    struct db_query *query;
    struct request *request = request_begin(service, call, DELETE_ROOM, message->room, &query);

    if (request && !limit_failed(request, LIMIT_CHANGE, ""))
        submit_change(request, query, &stoa__chat__v1__delete_room_response__descriptor);
}
RPC_UNARY(delete_room, struct service, Stoa__Chat__V1__DeleteRoomRequest)

static void join_room(struct service *service, struct rpc_call *call,
                      const Stoa__Chat__V1__JoinRoomRequest *message)
{
    struct db_query *query;
    struct request *request = request_begin(service, call, JOIN_ROOM, message->room, &query);

    if (!request || limit_failed(request, LIMIT_CHANGE, ""))
        return;
    request->reply = reply_joined;
    (void)service_query_with(call, query, on_room_changed, request);
}
RPC_UNARY(join_room, struct service, Stoa__Chat__V1__JoinRoomRequest)

const struct rpc_handler create_room_handler = {.method = "CreateRoom", .unary = create_room_rpc},
                         open_direct_room_handler = {.method = "OpenDirectRoom",
                                                     .unary = open_direct_room_rpc},
                         get_room_handler = {.method = "GetRoom", .unary = get_room_rpc},
                         update_room_handler = {.method = "UpdateRoom", .unary = update_room_rpc},
                         delete_room_handler = {.method = "DeleteRoom", .unary = delete_room_rpc},
                         join_room_handler = {.method = "JoinRoom", .unary = join_room_rpc};
