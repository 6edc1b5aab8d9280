/* ListMessages, ListEvents, MarkRead: each binds one statement on a poller thread and answers from
 * its outcome on the database's engine thread. */
#include "live.h"
#include "live_parts.h"

/* ---- ListMessages ---- */

static void on_messages(void *user, const struct db_result *result)
{
    const struct request *request = user;
    struct rpc_call *call = request->call;
    struct arena *arena = rpc_call_arena(call);
    Stoa__Chat__V1__ListMessagesResponse response = STOA__CHAT__V1__LIST_MESSAGES_RESPONSE__INIT;
    struct message_row *messages;
    int n, r = 0;

    if (read_failed(request, result))
        return;
    /* An empty page is one row with nothing but what is said of the room. */
    n = db_is_null(result, 0, MESSAGE_SEQ) ? 0 : db_rows(result);
    messages = arena_calloc(arena, (size_t)n, sizeof(*messages));
    response.messages = arena_calloc(arena, (size_t)n, sizeof(*response.messages));
    if (!messages || !response.messages)
        r = -1;
    for (int i = 0; r == 0 && i < n; i++) {
        r = message_from_row(result, i, request->room, arena, &messages[i]);
        response.messages[i] = &messages[i].message;
    }
    if (r < 0) {
        service_fail_memory(call);
        return;
    }
    response.n_messages = (size_t)n;
    response.last_seq = db_get_int8(result, 0, MESSAGES_LAST_SEQ);
    response.first_seq = db_get_int8(result, 0, MESSAGES_FIRST_SEQ);
    rpc_reply(call, &response.base);
}

static void list_messages(struct service *service, struct rpc_call *call,
                          const Stoa__Chat__V1__ListMessagesRequest *message)
{
    bool after = message->_after_seq_case != 0, before = message->_before_seq_case != 0;
    struct db_query *query;
    struct request *request = request_begin(
        service, call, after ? LIST_MESSAGES_AFTER : LIST_MESSAGES_BEFORE, message->room, &query);

    if (!request)
        return;
    db_bind_int8(query, after ? message->after_seq : 0);
    db_bind_int8(query, before ? message->before_seq : INT64_MAX);
    db_bind_int4(query, chat_page_size(message->page_size, CHAT_USUAL_PAGE));
    (void)service_query_with(call, query, on_messages, request);
}
RPC_UNARY(list_messages, struct service, Stoa__Chat__V1__ListMessagesRequest)

/* ---- ListEvents ---- */

static void on_events(void *user, const struct db_result *result)
{
    const struct request *request = user;
    struct rpc_call *call = request->call;
    struct arena *arena = rpc_call_arena(call);
    Stoa__Chat__V1__ListEventsResponse response = STOA__CHAT__V1__LIST_EVENTS_RESPONSE__INIT;
    struct event_row *events;
    int n, r = 0;

    if (read_failed(request, result))
        return;
    n = db_is_null(result, 0, EVENT_SEQ) ? 0 : db_rows(result);
    events = arena_calloc(arena, (size_t)n, sizeof(*events));
    response.events = arena_calloc(arena, (size_t)n, sizeof(*response.events));
    if (!events || !response.events)
        r = -1;
    for (int i = 0; r == 0 && i < n; i++) {
        r = event_from_row(result, i, request->room, arena, &events[i]);
        response.events[i] = &events[i].event;
    }
    if (r < 0) {
        service_fail_memory(call);
        return;
    }
    response.n_events = (size_t)n;
    response.last_seq = db_get_int8(result, 0, MESSAGES_LAST_SEQ);
    response.first_seq = db_get_int8(result, 0, MESSAGES_FIRST_SEQ);
    rpc_reply(call, &response.base);
}

static void list_events(struct service *service, struct rpc_call *call,
                        const Stoa__Chat__V1__ListEventsRequest *message)
{
    struct db_query *query;
    struct request *request = request_begin(service, call, LIST_EVENTS, message->room, &query);

    if (!request)
        return;
    db_bind_int8(query, message->after_seq);
    db_bind_int4(query, chat_page_size(message->page_size, CHAT_USUAL_PAGE));
    (void)service_query_with(call, query, on_events, request);
}
RPC_UNARY(list_events, struct service, Stoa__Chat__V1__ListEventsRequest)

/* ---- MarkRead ---- */

/* Those who follow the room see how far others have read. */
static void announce_mark(const struct request *request, const struct db_result *result)
{
    Stoa__Chat__V1__Author account;
    struct rpc_packed *part;

    if (!author_from_row(result, 0, MARK_USERNAME, MARK_IMAGE, &account))
        return;
    part = part_read(request->room, &account, db_get_int8(result, 0, MARK_READ_SEQ));
    if (part)
        hub_announce(chat_hub(request->service), request->room, part);
    rpc_packed_unref(part);
}

static void on_marked(void *user, const struct db_result *result)
{
    const struct request *request = user;
    Stoa__Chat__V1__MarkReadResponse response = STOA__CHAT__V1__MARK_READ_RESPONSE__INIT;

    if (read_failed(request, result))
        return;
    if (db_get_bool(result, 0, MARK_MOVED) &&
        db_get_int4(result, 0, MARK_MEMBER_COUNT) <= CHAT_MAX_READERS)
        announce_mark(request, result);
    response.read_seq = db_get_int8(result, 0, MARK_READ_SEQ);
    response.unread_count = db_get_int8(result, 0, MARK_UNREAD);
    rpc_reply(request->call, &response.base);
}

static void mark_read(struct service *service, struct rpc_call *call,
                      const Stoa__Chat__V1__MarkReadRequest *message)
{
    struct db_query *query;
    struct request *request = request_begin(service, call, MARK_READ, message->room, &query);

    if (!request)
        return;
    db_bind_int8(query, message->seq);
    (void)service_query_with(call, query, on_marked, request);
}
RPC_UNARY(mark_read, struct service, Stoa__Chat__V1__MarkReadRequest)

const struct rpc_handler list_messages_handler = {.method = "ListMessages",
                                                  .unary = list_messages_rpc},
                         list_events_handler = {.method = "ListEvents", .unary = list_events_rpc},
                         mark_read_handler = {.method = "MarkRead", .unary = mark_read_rpc};
