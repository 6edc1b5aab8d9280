/* SearchMessages: bound on a poller thread, answered from the database's engine thread. */
#include "chat.h"
#include "page_token.h"

#define USUAL_PAGE 20

/* Where a page begins: a page token's numbers. */
enum cursor { CURSOR_TIME, CURSOR_ROOM, CURSOR_SEQ, CURSOR_NUMBERS };

static void on_found(void *user, const struct db_result *result)
{
    const struct request *request = user;
    struct rpc_call *call = request->call;
    struct arena *arena = rpc_call_arena(call);
    Stoa__Chat__V1__SearchMessagesResponse response =
        STOA__CHAT__V1__SEARCH_MESSAGES_RESPONSE__INIT;
    char next[PAGE_TOKEN_SIZE] = "";
    struct message_row *messages;
    int rows, n, r = 0;

    if (read_failed(request, result))
        return;
    rows = db_is_null(result, 0, MESSAGE_SEQ) ? 0 : db_rows(result);
    n = rows < request->page_size ? rows : request->page_size;
    messages = arena_calloc(arena, (size_t)n, sizeof(*messages));
    response.messages = arena_calloc(arena, (size_t)n, sizeof(*response.messages));
    if (!messages || !response.messages)
        r = -1;
    for (int i = 0; r == 0 && i < n; i++) {
        r = message_from_row(result, i, db_get_int8(result, i, SEARCH_ROOM), arena, &messages[i]);
        response.messages[i] = &messages[i].message;
    }
    if (r < 0) {
        service_fail_memory(call);
        return;
    }
    response.n_messages = (size_t)n;
    if (rows > n) {
        const int64_t last[CURSOR_NUMBERS] = {
            [CURSOR_TIME] = db_get_timestamp(result, n - 1, MESSAGE_CREATED_AT),
            [CURSOR_ROOM] = db_get_int8(result, n - 1, SEARCH_ROOM),
            [CURSOR_SEQ] = db_get_int8(result, n - 1, MESSAGE_SEQ),
        };

        page_token_write(last, CURSOR_NUMBERS, next);
    }
    response.next_page_token = next;
    rpc_reply(call, &response.base);
}

static void search_messages(struct service *service, struct rpc_call *call,
                            const Stoa__Chat__V1__SearchMessagesRequest *message)
{
    int64_t after[CURSOR_NUMBERS] = {INT64_MAX, INT64_MAX, INT64_MAX};
    struct db_query *query;
    struct request *request = request_begin(service, call, SEARCH_MESSAGES, message->room, &query);

    if (!request || !read_page_token(call, message->page_token, after, CURSOR_NUMBERS))
        return;
    request->page_size = chat_page_size(message->page_size, USUAL_PAGE);
    if (message->room == 0) /* none was bound: all of the caller's */
        db_bind_null(query);
    db_bind_text(query, str_of(message->query));
    db_bind_timestamp(query, after[CURSOR_TIME]);
    db_bind_int8(query, after[CURSOR_ROOM]);
    db_bind_int8(query, after[CURSOR_SEQ]);
    db_bind_int4(query, request->page_size + 1);
    (void)service_query_with(call, query, on_found, request);
}
RPC_UNARY(search_messages, struct service, Stoa__Chat__V1__SearchMessagesRequest)

const struct rpc_handler search_messages_handler = {.method = "SearchMessages",
                                                    .unary = search_messages_rpc};
