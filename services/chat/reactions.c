/* AddReaction, RemoveReaction: each binds one statement on a poller thread and answers from its
 * outcome on the database's engine thread. */
#include "chat.h"

/* Ends the call, and returns false, unless there is a reaction in the answer. */
static bool reaction_from_result(const struct request *request, const struct db_result *result,
                                 Stoa__Chat__V1__Reaction *ret)
{
    if (change_failed(request, result))
        return false;
    stoa__chat__v1__reaction__init(ret);
    ret->emoji = (char *)request->emoji.p;
    ret->count = db_get_int4(result, 0, REACTION_COUNT);
    ret->mine = db_get_bool(result, 0, REACTION_MINE);
    return true;
}

static void on_added(void *user, const struct db_result *result)
{
    const struct request *request = user;
    Stoa__Chat__V1__AddReactionResponse response = STOA__CHAT__V1__ADD_REACTION_RESPONSE__INIT;
    Stoa__Chat__V1__Reaction reaction;

    if (!reaction_from_result(request, result, &reaction))
        return;
    response.reaction = &reaction;
    rpc_reply(request->call, &response.base);
}

static void on_removed(void *user, const struct db_result *result)
{
    const struct request *request = user;
    Stoa__Chat__V1__RemoveReactionResponse response =
        STOA__CHAT__V1__REMOVE_REACTION_RESPONSE__INIT;
    Stoa__Chat__V1__Reaction reaction;

    if (!reaction_from_result(request, result, &reaction))
        return;
    response.reaction = &reaction;
    rpc_reply(request->call, &response.base);
}

/* What both are asked for. */
struct asked {
    int64_t room, message;
    const char *emoji, *client_id;
};

/* An emoji of several words would look like two reactions. Ends the call; true: it has. */
static bool emoji_failed(struct rpc_call *call, const char *emoji)
{
    if (text_failed(call, "emoji", emoji, true))
        return true;
    if (!strchr(emoji, ' '))
        return false;
    service_fail_field(call, RPC_INVALID_ARGUMENT, "INVALID_FIELDS", "emoji",
                       "must not contain a space");
    return true;
}

static void change(struct service *service, struct rpc_call *call, enum chat_statement statement,
                   struct asked asked, db_done_fn *done)
{
    struct db_query *query;
    struct request *request = request_begin(service, call, statement, asked.room, &query);

    if (!request || emoji_failed(call, asked.emoji) ||
        limit_failed(request, LIMIT_CHANGE, asked.client_id))
        return;
    request->message = asked.message;
    request->emoji = str_of(asked.emoji);
    db_bind_int8(query, asked.message);
    db_bind_text(query, request->emoji);
    bind_client_id(query, asked.client_id);
    (void)service_query_with(call, query, done, request);
}

static void add_reaction(struct service *service, struct rpc_call *call,
                         const Stoa__Chat__V1__AddReactionRequest *message)
{
    change(service, call, ADD_REACTION,
           (struct asked){message->room, message->seq, message->emoji, message->client_id},
           on_added);
}
RPC_UNARY(add_reaction, struct service, Stoa__Chat__V1__AddReactionRequest)

static void remove_reaction(struct service *service, struct rpc_call *call,
                            const Stoa__Chat__V1__RemoveReactionRequest *message)
{
    change(service, call, REMOVE_REACTION,
           (struct asked){message->room, message->seq, message->emoji, message->client_id},
           on_removed);
}
RPC_UNARY(remove_reaction, struct service, Stoa__Chat__V1__RemoveReactionRequest)

const struct rpc_handler add_reaction_handler = {.method = "AddReaction",
                                                 .unary = add_reaction_rpc},
                         remove_reaction_handler = {.method = "RemoveReaction",
                                                    .unary = remove_reaction_rpc};
