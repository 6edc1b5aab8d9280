/* SearchMessages: bound on a poller thread, read and answered on a thread of the database's pool. A
 * search of words that many messages have takes as long as thousands of other reads, which must not
 * wait for it: so searches take turns. */
#include "chat.h"
#include "page_token.h"
#include "service/turns.h"

#define USUAL_PAGE 20

/* Where a page begins: a page token's numbers. */
enum cursor { CURSOR_TIME, CURSOR_ROOM, CURSOR_SEQ, CURSOR_NUMBERS };

/* A search, in its call's arena. */
struct search {
    struct request request;
    struct turn turn;
    enum { FOUND, NO_ROOM, NOT_MEMBER } outcome;
    struct str answer; /* FOUND: packed; {NULL, 0} without memory */
};

/* Rows do not outlive the transaction. */
static struct str pack_found(const struct request *request, const struct db_result *result)
{
    struct arena *arena = rpc_call_arena(request->call);
    Stoa__Chat__V1__SearchMessagesResponse response =
        STOA__CHAT__V1__SEARCH_MESSAGES_RESPONSE__INIT;
    int rows = db_is_null(result, 0, MESSAGE_SEQ) ? 0 : db_rows(result);
    int n = rows < request->page_size ? rows : request->page_size;
    struct message_row *messages = arena_calloc(arena, (size_t)n, sizeof(*messages));
    char next[PAGE_TOKEN_SIZE] = "";

    response.messages = arena_calloc(arena, (size_t)n, sizeof(*response.messages));
    if (!messages || !response.messages)
        return STR_NULL;
    for (int i = 0; i < n; i++) {
        if (message_from_row(result, i, db_get_int8(result, i, SEARCH_ROOM), arena, &messages[i]) <
            0)
            return STR_NULL;
        /* The page goes on behind what is left of an account that has gone. */
        if (!messages[i].message.deleted_at)
            response.messages[response.n_messages++] = &messages[i].message;
    }
    if (rows > n) {
        const int64_t last[CURSOR_NUMBERS] = {
            [CURSOR_TIME] = db_get_timestamp(result, n - 1, MESSAGE_CREATED_AT),
            [CURSOR_ROOM] = db_get_int8(result, n - 1, SEARCH_ROOM),
            [CURSOR_SEQ] = db_get_int8(result, n - 1, MESSAGE_SEQ),
        };

        page_token_write(last, CURSOR_NUMBERS, next);
    }
    response.next_page_token = next;
    return service_pack(arena, &response.base);
}

static int read_found(void *user, const struct db_result *result)
{
    struct search *search = user;

    search->outcome = db_rows(result) == 0 || db_is_null(result, 0, MESSAGES_MAY_READ) ? NO_ROOM
                      : db_get_bool(result, 0, MESSAGES_MAY_READ)                      ? FOUND
                                                                                       : NOT_MEMBER;
    if (search->outcome == FOUND)
        search->answer = pack_found(&search->request, result);
    return 0;
}

static void on_found(void *user, const struct db_result *outcome, int found_result UNUSED)
{
    struct search *search = user;
    struct rpc_call *call = search->request.call;

    if (service_query_failed(call, outcome))
        return;
    if (search->outcome == NO_ROOM)
        fail_no_room(&search->request);
    else if (search->outcome == NOT_MEMBER)
        fail_not_member(&search->request);
    else if (!search->answer.p)
        service_fail_memory(call);
    else
        rpc_reply_packed(call, search->answer);
}

static void search_messages(struct service *service, struct rpc_call *call,
                            const Stoa__Chat__V1__SearchMessagesRequest *message)
{
    int64_t after[CURSOR_NUMBERS] = {INT64_MAX, INT64_MAX, INT64_MAX};
    struct search *search = request_new(service, call, message->room, sizeof(*search));
    struct arena *arena = rpc_call_arena(call);
    struct db *db = service_db(service);
    struct db_query *limit, *query;

    if (!search || !read_page_token(call, message->page_token, after, CURSOR_NUMBERS))
        return;
    search->request.page_size = chat_page_size(message->page_size, USUAL_PAGE);
    limit = db_query(db, arena, LIMIT_SEARCH);
    query = db_query(db, arena, SEARCH_MESSAGES);
    if (!limit || !query) {
        service_fail_memory(call);
        return;
    }
    db_bind_int8(query, service_caller_id(call));
    if (message->room > 0)
        db_bind_int8(query, message->room);
    else /* all of the caller's */
        db_bind_null(query);
    db_bind_text(query, str_of(message->query));
    db_bind_timestamp(query, after[CURSOR_TIME]);
    db_bind_int8(query, after[CURSOR_ROOM]);
    db_bind_int8(query, after[CURSOR_SEQ]);
    db_bind_int4(query, search->request.page_size + 1);
    search->turn = (struct turn){.call = call,
                                 .db = db,
                                 .limit = limit,
                                 .query = query,
                                 .found = read_found,
                                 .done = on_found,
                                 .user = search};
    turn_take(&search->turn);
}
RPC_UNARY(search_messages, struct service, Stoa__Chat__V1__SearchMessagesRequest)

const struct rpc_handler search_messages_handler = {.method = "SearchMessages",
                                                    .unary = search_messages_rpc};
