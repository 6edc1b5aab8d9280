/* SendMessage, EditMessage, DeleteMessage: each binds one statement on a poller thread and answers
 * from its outcome, which has committed, on the database's engine thread. */
#include "live.h"

/* Ends the call, and returns false, unless there is a message in the answer. */
static bool message_from_result(const struct request *request, const struct db_result *result,
                                struct message_row *ret)
{
    int r;

    if (change_failed(request, result))
        return false;
    r = message_from_row(result, 0, request->room, rpc_call_arena(request->call), ret);
    if (r < 0)
        service_fail_memory(request->call);
    return r == 0;
}

/* ---- SendMessage ---- */

static void on_sent(void *user, const struct db_result *result)
{
    const struct request *request = user;
    Stoa__Chat__V1__SendMessageResponse response = STOA__CHAT__V1__SEND_MESSAGE_RESPONSE__INIT;
    struct message_row message;

    if (!message_from_result(request, result, &message))
        return;
    response.message = &message.message;
    hub_message_sent(chat_hub(request->service), request->room, &message.message);
    rpc_reply(request->call, &response.base);
}

static void send_message(struct service *service, struct rpc_call *call,
                         const Stoa__Chat__V1__SendMessageRequest *from)
{
    const Stoa__Chat__V1__SendMessageRequest__NewMessage *message = from->message;
    struct db_query *query;
    struct request *request = request_begin(service, call, SEND_MESSAGE, from->room, &query);

    if (!request)
        return;
    request->message = message->reply_to;
    request->tells = true;
    db_bind_text(query, str_of(message->text));
    if (message->_reply_to_case)
        db_bind_int8(query, message->reply_to);
    else
        db_bind_null(query);
    bind_client_id(query, message->client_id);
    (void)service_query_with(call, query, on_sent, request);
}
RPC_UNARY(send_message, struct service, Stoa__Chat__V1__SendMessageRequest)

/* ---- EditMessage ---- */

static void on_edited(void *user, const struct db_result *result)
{
    const struct request *request = user;
    Stoa__Chat__V1__EditMessageResponse response = STOA__CHAT__V1__EDIT_MESSAGE_RESPONSE__INIT;
    struct message_row message;

    if (!message_from_result(request, result, &message))
        return;
    response.message = &message.message;
    rpc_reply(request->call, &response.base);
}

static void edit_message(struct service *service, struct rpc_call *call,
                         const Stoa__Chat__V1__EditMessageRequest *message)
{
    struct db_query *query;
    struct request *request = request_begin(service, call, EDIT_MESSAGE, message->room, &query);

    if (!request)
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

    if (!request)
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
