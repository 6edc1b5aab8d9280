/* CreateRoom, GetRoom, ListRooms: each binds one statement on a poller thread and answers from its
 * outcome on the database's engine thread. */
#include "rooms.h"

#include "page_token.h"

#include "stoa/chat/v1/chat.pb-c.h"

/* A room and the time stamp in it, in one piece. */
struct room {
    Stoa__Chat__V1__Room message;
    Google__Protobuf__Timestamp created_at;
};

/* Strings are the result's: *ret is good until the completion returns. */
static void room_from_row(const struct db_result *result, int row, struct room *ret)
{
    Stoa__Chat__V1__Room *room = &ret->message;

    stoa__chat__v1__room__init(room);
    room->id = db_get_int8(result, row, ROOM_ID);
    room->name = (char *)db_get_text(result, row, ROOM_NAME).p;
    room->description = (char *)db_get_text(result, row, ROOM_DESCRIPTION).p;
    room->last_seq = db_get_int8(result, row, ROOM_LAST_SEQ);
    service_set_time(&ret->created_at, db_get_timestamp(result, row, ROOM_CREATED_AT));
    room->created_at = &ret->created_at;
}

/* ---- CreateRoom ---- */

static void on_room_created(void *user, const struct db_result *result)
{
    struct rpc_call *call = user;
    Stoa__Chat__V1__CreateRoomResponse response = STOA__CHAT__V1__CREATE_ROOM_RESPONSE__INIT;
    struct room room;

    if (service_query_failed(call, result))
        return;
    if (db_rows(result) == 0) { /* the token outlived its account */
        service_fail_field(call, RPC_UNAUTHENTICATED, "TOKEN_INVALID", "token", "is invalid");
        return;
    }
    room_from_row(result, 0, &room);
    response.room = &room.message;
    rpc_reply(call, &response.base);
}

static void create_room(struct service *service, struct rpc_call *call,
                        const Stoa__Chat__V1__CreateRoomRequest *request)
{
    struct db_query *query = db_query(service_db(service), rpc_call_arena(call), CREATE_ROOM);

    if (!query) {
        service_fail_memory(call);
        return;
    }
    db_bind_int8(query, service_caller_id(call));
    db_bind_text(query, str_of(request->room->name));
    db_bind_text(query, str_of(request->room->description));
    service_query(call, query, on_room_created);
}
RPC_UNARY(create_room, struct service, Stoa__Chat__V1__CreateRoomRequest)

/* ---- GetRoom ---- */

void room_fail_not_found(struct rpc_call *call, int64_t room)
{
    service_fail_not_found(call, "room",
                           arena_printf(rpc_call_arena(call), "%lld", (long long)room));
}

struct lookup {
    struct rpc_call *call;
    int64_t room;
};

static void on_room(void *user, const struct db_result *result)
{
    const struct lookup *lookup = user;
    struct rpc_call *call = lookup->call;
    Stoa__Chat__V1__GetRoomResponse response = STOA__CHAT__V1__GET_ROOM_RESPONSE__INIT;
    struct room room;

    if (service_query_failed(call, result))
        return;
    if (db_rows(result) == 0) {
        room_fail_not_found(call, lookup->room);
        return;
    }
    room_from_row(result, 0, &room);
    response.room = &room.message;
    rpc_reply(call, &response.base);
}

static void get_room(struct service *service, struct rpc_call *call,
                     const Stoa__Chat__V1__GetRoomRequest *request)
{
    struct arena *arena = rpc_call_arena(call);
    struct lookup *lookup = arena_alloc(arena, sizeof(*lookup));
    struct db_query *query = db_query(service_db(service), arena, GET_ROOM);

    if (!lookup || !query) {
        service_fail_memory(call);
        return;
    }
    *lookup = (struct lookup){call, request->room};
    db_bind_int8(query, request->room);
    (void)service_query_with(call, query, on_room, lookup);
}
RPC_UNARY(get_room, struct service, Stoa__Chat__V1__GetRoomRequest)

/* ---- ListRooms ---- */

/* A list on its way. One more room than the page has is asked for: it tells that there is a next.
 */
struct listing {
    struct rpc_call *call;
    int page_size;
};

static void on_rooms(void *user, const struct db_result *result)
{
    const struct listing *listing = user;
    struct rpc_call *call = listing->call;
    struct arena *arena = rpc_call_arena(call);
    Stoa__Chat__V1__ListRoomsResponse response = STOA__CHAT__V1__LIST_ROOMS_RESPONSE__INIT;
    char token[PAGE_TOKEN_CHARS + 1];
    struct room *rooms;
    int n;

    if (service_query_failed(call, result))
        return;
    n = db_rows(result) < listing->page_size ? db_rows(result) : listing->page_size;
    rooms = arena_alloc(arena, (size_t)n * sizeof(*rooms));
    response.rooms = arena_alloc(arena, (size_t)n * sizeof(*response.rooms));
    if (!rooms || !response.rooms) {
        service_fail_memory(call);
        return;
    }
    for (int i = 0; i < n; i++) {
        room_from_row(result, i, &rooms[i]);
        response.rooms[i] = &rooms[i].message;
    }
    response.n_rooms = (size_t)n;
    if (db_rows(result) > n) {
        page_token_write(rooms[n - 1].message.id, token);
        response.next_page_token = token;
    }
    rpc_reply(call, &response.base);
}

static void list_rooms(struct service *service, struct rpc_call *call,
                       const Stoa__Chat__V1__ListRoomsRequest *request)
{
    struct arena *arena = rpc_call_arena(call);
    struct listing *listing = arena_alloc(arena, sizeof(*listing));
    struct db_query *query = db_query(service_db(service), arena, LIST_ROOMS);
    int64_t before = INT64_MAX;

    if (!listing || !query) {
        service_fail_memory(call);
        return;
    }
    if (*request->page_token && page_token_read(str_of(request->page_token), &before) < 0) {
        service_fail_field(call, RPC_INVALID_ARGUMENT, "INVALID_FIELDS", "page_token",
                           "is not a page token");
        return;
    }
    *listing = (struct listing){call, chat_page_size(request->page_size)};
    db_bind_int8(query, before);
    db_bind_int4(query, listing->page_size + 1);
    (void)service_query_with(call, query, on_rooms, listing);
}
RPC_UNARY(list_rooms, struct service, Stoa__Chat__V1__ListRoomsRequest)

int rooms_register(struct service *service, struct str *ret_error)
{
    const struct rpc_handler handlers[] = {
        {.method = "CreateRoom", .unary = create_room_rpc},
        {.method = "GetRoom", .unary = get_room_rpc},
        {.method = "ListRooms", .unary = list_rooms_rpc},
        send_message_handler,
        list_messages_handler,
    };

    return rpc_server_add(service_rpc(service), &stoa__chat__v1__room_service__descriptor, handlers,
                          ARRAY_SIZE(handlers), service, ret_error);
}
