/* SendMessage, ListMessages: each binds one statement on a poller thread and answers from its
 * outcome on the database's engine thread. */
#include "rooms.h"

#include "stoa/chat/v1/chat.pb-c.h"

/* A double that races the first meets it at the second try. */
#define MAX_SEND_TRIES 3

/* A message and what is in it, in one piece. */
struct message {
    Stoa__Chat__V1__Message message;
    Stoa__Chat__V1__Author author;
    Google__Protobuf__Timestamp created_at;
};

/* Strings are the result's: *ret is good until the completion returns. */
static void message_from_row(const struct db_result *result, int row, int64_t room,
                             struct message *ret)
{
    Stoa__Chat__V1__Message *message = &ret->message;
    Stoa__Chat__V1__Author *author = &ret->author;

    stoa__chat__v1__message__init(message);
    stoa__chat__v1__author__init(author);
    message->room = room;
    message->seq = db_get_int8(result, row, MESSAGE_SEQ);
    message->text = (char *)db_get_text(result, row, MESSAGE_TEXT).p;
    if (!db_is_null(result, row, MESSAGE_CLIENT_ID)) {
        message->_client_id_case = STOA__CHAT__V1__MESSAGE___CLIENT_ID_CLIENT_ID;
        message->client_id = (char *)db_get_text(result, row, MESSAGE_CLIENT_ID).p;
    }
    if (!db_is_null(result, row, MESSAGE_AUTHOR_USERNAME)) {
        author->username = (char *)db_get_text(result, row, MESSAGE_AUTHOR_USERNAME).p;
        message->author = author;
    }
    if (!db_is_null(result, row, MESSAGE_AUTHOR_IMAGE)) {
        author->_image_case = STOA__CHAT__V1__AUTHOR___IMAGE_IMAGE;
        author->image = (char *)db_get_text(result, row, MESSAGE_AUTHOR_IMAGE).p;
    }
    service_set_time(&ret->created_at, db_get_timestamp(result, row, MESSAGE_CREATED_AT));
    message->created_at = &ret->created_at;
}

/* ---- SendMessage ---- */

/* A message on its way, in its call's arena. */
struct sending {
    struct service *service;
    struct rpc_call *call;
    const Stoa__Chat__V1__SendMessageRequest *request;
    int tries;
};

static void on_sent(void *user, const struct db_result *result);

static void try_send(struct sending *sending)
{
    struct rpc_call *call = sending->call;
    const Stoa__Chat__V1__SendMessageRequest *request = sending->request;
    struct str client_id = str_of(request->message->client_id);
    struct db_query *query =
        db_query(service_db(sending->service), rpc_call_arena(call), SEND_MESSAGE);

    if (!query) {
        service_fail_memory(call);
        return;
    }
    sending->tries++;
    db_bind_int8(query, request->room);
    db_bind_int8(query, service_caller_id(call));
    db_bind_text(query, str_of(request->message->text));
    db_bind_text(query, client_id.n > 0 ? client_id : STR_NULL);
    (void)service_query_with(call, query, on_sent, sending);
}

static void on_sent(void *user, const struct db_result *result)
{
    struct sending *sending = user;
    struct rpc_call *call = sending->call;
    Stoa__Chat__V1__SendMessageResponse response = STOA__CHAT__V1__SEND_MESSAGE_RESPONSE__INIT;
    struct message message;

    if (result->error == DB_UNIQUE && str_eq(result->constraint, STR("messages_client_id_key")) &&
        sending->tries < MAX_SEND_TRIES) {
        try_send(sending);
        return;
    }
    if (service_query_failed(call, result))
        return;
    if (db_rows(result) == 0) { /* the token outlived its account */
        service_fail_field(call, RPC_UNAUTHENTICATED, "TOKEN_INVALID", "token", "is invalid");
        return;
    }
    if (db_is_null(result, 0, MESSAGE_SEQ)) {
        room_fail_not_found(call, sending->request->room);
        return;
    }
    message_from_row(result, 0, sending->request->room, &message);
    response.message = &message.message;
    rpc_reply(call, &response.base);
}

static void send_message(struct service *service, struct rpc_call *call,
                         const Stoa__Chat__V1__SendMessageRequest *request)
{
    struct sending *sending = arena_alloc(rpc_call_arena(call), sizeof(*sending));

    if (!sending) {
        service_fail_memory(call);
        return;
    }
    *sending = (struct sending){.service = service, .call = call, .request = request};
    try_send(sending);
}
RPC_UNARY(send_message, struct service, Stoa__Chat__V1__SendMessageRequest)

/* ---- ListMessages ---- */

struct reading {
    struct rpc_call *call;
    int64_t room;
};

static void on_messages(void *user, const struct db_result *result)
{
    const struct reading *reading = user;
    struct rpc_call *call = reading->call;
    struct arena *arena = rpc_call_arena(call);
    Stoa__Chat__V1__ListMessagesResponse response = STOA__CHAT__V1__LIST_MESSAGES_RESPONSE__INIT;
    struct message *messages;
    int n;

    if (service_query_failed(call, result))
        return;
    if (db_rows(result) == 0) {
        room_fail_not_found(call, reading->room);
        return;
    }
    /* An empty page is one row with nothing but the room's last_seq. */
    n = db_is_null(result, 0, MESSAGE_SEQ) ? 0 : db_rows(result);
    messages = arena_alloc(arena, (size_t)n * sizeof(*messages));
    response.messages = arena_alloc(arena, (size_t)n * sizeof(*response.messages));
    if (!messages || !response.messages) {
        service_fail_memory(call);
        return;
    }
    for (int i = 0; i < n; i++) {
        message_from_row(result, i, reading->room, &messages[i]);
        response.messages[i] = &messages[i].message;
    }
    response.n_messages = (size_t)n;
    response.last_seq = db_get_int8(result, 0, MESSAGES_LAST_SEQ);
    rpc_reply(call, &response.base);
}

static void list_messages(struct service *service, struct rpc_call *call,
                          const Stoa__Chat__V1__ListMessagesRequest *request)
{
    struct arena *arena = rpc_call_arena(call);
    bool after =
        request->_after_seq_case != STOA__CHAT__V1__LIST_MESSAGES_REQUEST___AFTER_SEQ__NOT_SET;
    bool before =
        request->_before_seq_case != STOA__CHAT__V1__LIST_MESSAGES_REQUEST___BEFORE_SEQ__NOT_SET;
    struct reading *reading = arena_alloc(arena, sizeof(*reading));
    struct db_query *query =
        db_query(service_db(service), arena, after ? LIST_MESSAGES_AFTER : LIST_MESSAGES_BEFORE);

    if (!reading || !query) {
        service_fail_memory(call);
        return;
    }
    *reading = (struct reading){call, request->room};
    db_bind_int8(query, request->room);
    db_bind_int8(query, service_caller_id(call));
    db_bind_int8(query, after ? request->after_seq : 0);
    db_bind_int8(query, before ? request->before_seq : INT64_MAX);
    db_bind_int4(query, chat_page_size(request->page_size));
    (void)service_query_with(call, query, on_messages, reading);
}
RPC_UNARY(list_messages, struct service, Stoa__Chat__V1__ListMessagesRequest)

const struct rpc_handler send_message_handler = {.method = "SendMessage",
                                                 .unary = send_message_rpc},
                         list_messages_handler = {.method = "ListMessages",
                                                  .unary = list_messages_rpc};
