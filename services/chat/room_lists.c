/* ListRooms, ListMyRooms: one more room than the page has is asked for; it tells that there is a
 * next. Bound on a poller thread, answered from the database's engine thread. */
#include "chat.h"
#include "page_token.h"

/* A page of rooms. */
struct rooms {
    Stoa__Chat__V1__Room **rooms;
    size_t n;
    char next[PAGE_TOKEN_SIZE]; /* empty: there is none */
};

/* The numbers of a page token after this row. */
typedef size_t token_fn(const struct db_result *result, int row, int64_t *ret);

static size_t by_id(const struct db_result *result, int row, int64_t *ret)
{
    ret[0] = db_get_int8(result, row, ROOM_ID);
    return 1;
}

static size_t by_activity(const struct db_result *result, int row, int64_t *ret)
{
    ret[0] = db_get_timestamp(result, row, ROOM_ACTIVE_AT);
    ret[1] = db_get_int8(result, row, ROOM_ID);
    return 2;
}

/* False: the call has been failed. */
static bool rooms_from_result(const struct request *request, const struct db_result *result,
                              token_fn *token, struct rooms *ret)
{
    struct arena *arena = rpc_call_arena(request->call);
    int64_t numbers[PAGE_TOKEN_NUMBERS];
    struct room_row *rows;
    int n;

    if (service_query_failed(request->call, result))
        return false;
    n = db_rows(result) < request->page_size ? db_rows(result) : request->page_size;
    rows = arena_calloc(arena, (size_t)n, sizeof(*rows));
    *ret = (struct rooms){.rooms = arena_calloc(arena, (size_t)n, sizeof(*ret->rooms)),
                          .n = (size_t)n};
    if (!rows || !ret->rooms) {
        service_fail_memory(request->call);
        return false;
    }
    for (int i = 0; i < n; i++) {
        room_from_row(chat_retention(request->service), result, i, &rows[i]);
        ret->rooms[i] = &rows[i].room;
    }
    if (db_rows(result) > n)
        page_token_write(numbers, token(result, n - 1, numbers), ret->next);
    return true;
}

/* ---- ListRooms ---- */

static void on_rooms(void *user, const struct db_result *result)
{
    const struct request *request = user;
    Stoa__Chat__V1__ListRoomsResponse response = STOA__CHAT__V1__LIST_ROOMS_RESPONSE__INIT;
    struct rooms page;

    if (!rooms_from_result(request, result, by_id, &page))
        return;
    response.rooms = page.rooms;
    response.n_rooms = page.n;
    response.next_page_token = page.next;
    rpc_reply(request->call, &response.base);
}

static void list_rooms(struct service *service, struct rpc_call *call,
                       const Stoa__Chat__V1__ListRoomsRequest *message)
{
    struct db_query *query;
    struct request *request = request_begin(service, call, LIST_ROOMS, 0, &query);
    int64_t before = INT64_MAX;

    if (!request || !read_page_token(call, message->page_token, &before, 1))
        return;
    request->page_size = chat_page_size(message->page_size, CHAT_USUAL_PAGE);
    db_bind_int8(query, before);
    db_bind_int4(query, request->page_size + 1);
    (void)service_query_with(call, query, on_rooms, request);
}
RPC_UNARY(list_rooms, struct service, Stoa__Chat__V1__ListRoomsRequest)

/* ---- ListMyRooms ---- */

static void on_my_rooms(void *user, const struct db_result *result)
{
    const struct request *request = user;
    Stoa__Chat__V1__ListMyRoomsResponse response = STOA__CHAT__V1__LIST_MY_ROOMS_RESPONSE__INIT;
    struct rooms page;

    if (!rooms_from_result(request, result, by_activity, &page))
        return;
    response.rooms = page.rooms;
    response.n_rooms = page.n;
    response.next_page_token = page.next;
    rpc_reply(request->call, &response.base);
}

static void list_my_rooms(struct service *service, struct rpc_call *call,
                          const Stoa__Chat__V1__ListMyRoomsRequest *message)
{
    struct db_query *query;
    struct request *request = request_begin(service, call, LIST_MY_ROOMS, 0, &query);
    int64_t after[2] = {INT64_MAX, INT64_MAX};

    if (!request || !read_page_token(call, message->page_token, after, ARRAY_SIZE(after)))
        return;
    request->page_size = chat_page_size(message->page_size, CHAT_USUAL_PAGE);
    db_bind_timestamp(query, after[0]);
    db_bind_int8(query, after[1]);
    db_bind_int4(query, request->page_size + 1);
    (void)service_query_with(call, query, on_my_rooms, request);
}
RPC_UNARY(list_my_rooms, struct service, Stoa__Chat__V1__ListMyRoomsRequest)

const struct rpc_handler list_rooms_handler = {.method = "ListRooms", .unary = list_rooms_rpc},
                         list_my_rooms_handler = {.method = "ListMyRooms",
                                                  .unary = list_my_rooms_rpc};
