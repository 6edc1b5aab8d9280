/* SendMessage, EditMessage, DeleteMessage: statements are bound on a poller thread and answered
 * from their outcome, which has committed, on the database's engine thread. */
#include "live.h"
#include "live_parts.h"

#include "edge/edge.h"

#include <errno.h>
#include <stdlib.h>

/* Ends the call, and returns false, unless there is a message in the answer. */
static bool message_from_result(const struct request *request, const struct db_result *result,
                                int row, struct message_row *ret)
{
    int r;

    if (change_failed_at(request, result, row))
        return false;
    r = message_from_row(result, row, request->room, rpc_call_arena(request->call), ret);
    if (r < 0)
        service_fail_memory(request->call);
    return r == 0;
}

/* ---- SendMessage ----
 *
 * Messages that wait go together as one statement. A room's go one statement after the other, so
 * that they keep the order in which they came; rooms are spread over a few groups, so that one that
 * is locked for long holds only some others up. */

#define GROUPS 2
#define MAX_SENDS HUB_MAX_STORED
#define MAX_SEND_BYTES ((size_t)256 << 10)

struct sends {
    struct hub *hub;
    struct edge *edge;
    struct db_group *groups[GROUPS];
    /* The database's engine thread: */
    struct sent_messages sent; /* acknowledged, not yet told */
    bool holds;                /* the edge, until all of a statement are told */
};

struct sending {
    struct request request;
    const Stoa__Chat__V1__SendMessageRequest__NewMessage *message;
    struct resend resend;
    struct db_group_item item;
    struct sent_message sent; /* in sends->sent, with a reference to the call */
};

static const struct sending *sending_of(const struct db_group_item *item)
{
    return CONTAINER_OF(item, struct sending, item);
}

static int64_t caller_of(const struct sending *sending)
{
    return service_caller_id(sending->request.call);
}

static void bind_one(struct db_query *query, const struct db_group_item *item)
{
    const struct sending *sending = sending_of(item);

    db_bind_int8(query, caller_of(sending));
    db_bind_int8(query, sending->request.room);
    db_bind_text(query, str_of(sending->message->text));
    if (sending->message->_reply_to_case)
        db_bind_int8(query, sending->message->reply_to);
    else
        db_bind_null(query);
    bind_client_id(query, sending->resend.client_id);
}

static void bind_many(struct db_query *query, struct db_group_item *const *items, size_t n)
{
    int64_t callers[MAX_SENDS], rooms[MAX_SENDS], replies[MAX_SENDS];
    struct str texts[MAX_SENDS], client_ids[MAX_SENDS];

    for (size_t i = 0; i < n; i++) {
        const struct sending *sending = sending_of(items[i]);

        callers[i] = caller_of(sending);
        rooms[i] = sending->request.room;
        texts[i] = str_of(sending->message->text);
        replies[i] = sending->message->_reply_to_case ? sending->message->reply_to : 0;
        client_ids[i] = str_of(sending->resend.client_id);
    }
    db_bind_int8_array(query, callers, n);
    db_bind_int8_array(query, rooms, n);
    db_bind_text_array(query, texts, n);
    db_bind_int8_array(query, replies, n);
    db_bind_text_array(query, client_ids, n);
}

/* What has been stored is what was given; the row has the rest. */
static void complete_message(const struct sending *sending, Stoa__Chat__V1__Message *message)
{
    const Stoa__Chat__V1__SendMessageRequest__NewMessage *given = sending->message;

    message->text = given->text;
    if (*sending->resend.client_id) {
        message->_client_id_case = STOA__CHAT__V1__MESSAGE___CLIENT_ID_CLIENT_ID;
        message->client_id = (char *)sending->resend.client_id;
    }
    if (given->_reply_to_case) {
        message->_reply_to_case = STOA__CHAT__V1__MESSAGE___REPLY_TO_REPLY_TO;
        message->reply_to = given->reply_to;
    }
}

/* Whether a message that was there already was sent by this. Once it has been changed nobody knows.
 */
static bool sent_by(const struct sending *sending, const Stoa__Chat__V1__Message *message)
{
    const Stoa__Chat__V1__SendMessageRequest__NewMessage *given = sending->message;

    return message->edited_at || message->deleted_at ||
           (strcmp(message->text, given->text) == 0 &&
            message->reply_to == (given->_reply_to_case ? given->reply_to : 0));
}

/* Answers and what is told go to a worker of the gateway as one message: it costs both sides about
 * as much as a few of what is in it. But nobody waits for many who are told one by one. A statement
 * is back, so on_all_sent() comes. */
static void hold(struct sends *sends)
{
    if (sends->holds || hub_tells_many_alone(sends->hub))
        return;
    edge_hold(sends->edge);
    sends->holds = true;
}

static void on_sent(struct db_group_item *item, const struct db_result *result, int row)
{
    struct sending *sending = CONTAINER_OF(item, struct sending, item);
    const struct request *request = &sending->request;
    struct sends *sends = chat_sends(request->service);
    Stoa__Chat__V1__SendMessageResponse response = STOA__CHAT__V1__SEND_MESSAGE_RESPONSE__INIT;
    struct message_row message;

    if (result->error == DB_OK)
        hold(sends);
    if (!message_from_result(request, result, row, &message))
        return;
    if (db_is_null(result, row, MESSAGE_TEXT))
        complete_message(sending, &message.message);
    else if (sending->resend.by_key && !sent_by(sending, &message.message)) {
        service_fail_key_used(request->call);
        return;
    }
    response.message = &message.message;
    sending->sent = (struct sent_message){
        .room = request->room,
        .seq = message.message.seq,
        .created_us = part_time_us(message.message.created_at),
        .event = part_message(request->room, &message.message),
    };
    rpc_call_ref(request->call);
    STAILQ_INSERT_TAIL(&sends->sent, &sending->sent, next);
    hub_message_stored(sends->hub, request->room);
    rpc_reply(request->call, &response.base);
}

/* Who has sent is answered before anybody is told: a room may be large. */
static void on_all_sent(void *user)
{
    struct sends *sends = user;
    struct sent_message *sent;

    if (!STAILQ_EMPTY(&sends->sent))
        hub_messages_sent(sends->hub, &sends->sent);
    if (sends->holds)
        edge_release(sends->edge);
    sends->holds = false;
    while ((sent = STAILQ_FIRST(&sends->sent)) != NULL) {
        STAILQ_REMOVE_HEAD(&sends->sent, next);
        rpc_call_unref(CONTAINER_OF(sent, struct sending, sent)->request.call);
    }
}

int sends_new(struct hub *hub, struct edge *edge, struct sends **ret)
{
    struct sends *sends = calloc(1, sizeof(*sends));
    const struct db_group_options options = {.one = SEND_MESSAGE,
                                             .many = SEND_MESSAGES,
                                             .max_statements = 1,
                                             .max_items = MAX_SENDS,
                                             .max_bytes = MAX_SEND_BYTES,
                                             .number_column = SENT_NUMBER,
                                             .bind_one = bind_one,
                                             .bind_many = bind_many,
                                             .done = on_sent,
                                             .all_done = on_all_sent,
                                             .user = sends};
    int r = sends ? 0 : -ENOMEM;

    if (sends) {
        sends->hub = hub;
        sends->edge = edge;
        STAILQ_INIT(&sends->sent);
    }
    for (size_t i = 0; r == 0 && i < GROUPS; i++)
        r = db_group_new(&options, &sends->groups[i]);
    if (r < 0)
        sends_free(sends);
    else
        *ret = sends;
    return r;
}

void sends_free(struct sends *sends)
{
    if (!sends)
        return;
    for (size_t i = 0; i < GROUPS; i++)
        db_group_free(sends->groups[i]);
    free(sends);
}

static void send_message(struct service *service, struct rpc_call *call,
                         const Stoa__Chat__V1__SendMessageRequest *from)
{
    const struct sends *sends = chat_sends(service);
    struct sending *sending = request_new(service, call, from->room, sizeof(*sending));

    if (!sending || !read_resend(call, from->message->client_id, &sending->resend) ||
        limit_failed(&sending->request, LIMIT_SEND, sending->resend.client_id))
        return;
    sending->message = from->message;
    sending->request.message = from->message->reply_to;
    sending->request.tells = true;
    sending->item.bytes = strlen(from->message->text);
    (void)service_group(call, sends->groups[(uint64_t)from->room % GROUPS], service_db(service),
                        &sending->item);
}
RPC_UNARY(send_message, struct service, Stoa__Chat__V1__SendMessageRequest)

/* ---- EditMessage ---- */

static void on_edited(void *user, const struct db_result *result)
{
    const struct request *request = user;
    Stoa__Chat__V1__EditMessageResponse response = STOA__CHAT__V1__EDIT_MESSAGE_RESPONSE__INIT;
    struct message_row message;

    if (!message_from_result(request, result, 0, &message))
        return;
    response.message = &message.message;
    rpc_reply(request->call, &response.base);
}

static void edit_message(struct service *service, struct rpc_call *call,
                         const Stoa__Chat__V1__EditMessageRequest *message)
{
    struct db_query *query;
    struct request *request = request_begin(service, call, EDIT_MESSAGE, message->room, &query);

    if (!request || limit_failed(request, LIMIT_CHANGE, message->client_id))
        return;
    request->message = message->seq;
    db_bind_int8(query, message->seq);
    db_bind_text(query, str_of(message->text));
    bind_client_id(query, message->client_id);
    (void)service_query_with(call, query, on_edited, request);
}
RPC_UNARY(edit_message, struct service, Stoa__Chat__V1__EditMessageRequest)

/* ---- DeleteMessage ---- */

static void delete_message(struct service *service, struct rpc_call *call,
                           const Stoa__Chat__V1__DeleteMessageRequest *message)
{
    struct db_query *query;
    struct request *request = request_begin(service, call, DELETE_MESSAGE, message->room, &query);

    if (!request || limit_failed(request, LIMIT_CHANGE, message->client_id))
        return;
    request->message = message->seq;
    db_bind_int8(query, message->seq);
    bind_client_id(query, message->client_id);
    submit_change(request, query, &stoa__chat__v1__delete_message_response__descriptor);
}
RPC_UNARY(delete_message, struct service, Stoa__Chat__V1__DeleteMessageRequest)

const struct rpc_handler send_message_handler = {.method = "SendMessage",
                                                 .unary = send_message_rpc},
                         edit_message_handler = {.method = "EditMessage",
                                                 .unary = edit_message_rpc},
                         delete_message_handler = {.method = "DeleteMessage",
                                                   .unary = delete_message_rpc};
