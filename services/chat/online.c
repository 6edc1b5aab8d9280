/* GetPresence: who is online is asked of Redis, then who they are of Postgres, as far as the caller
 * may know. On a poller, then on the engine threads of both. */
#include "presence.h"

#include <stdlib.h>

struct online {
    struct request request;
    struct db_query *query;
    int64_t count;
    bool partial;
};

static void on_names(void *user, const struct db_result *result)
{
    const struct online *online = user;
    const struct request *request = &online->request;
    struct arena *arena = rpc_call_arena(request->call);
    Stoa__Chat__V1__GetPresenceResponse response = STOA__CHAT__V1__GET_PRESENCE_RESPONSE__INIT;
    Stoa__Chat__V1__Author *authors;
    size_t n;

    if (read_failed(request, result))
        return;
    n = db_is_null(result, 0, PRESENCE_USERNAME) ? 0 : (size_t)db_rows(result);
    authors = arena_calloc(arena, n, sizeof(*authors));
    response.accounts = arena_calloc(arena, n, sizeof(*response.accounts));
    if (!authors || !response.accounts) {
        service_fail_memory(request->call);
        return;
    }
    for (size_t i = 0; i < n; i++)
        response.accounts[i] =
            author_from_row(result, (int)i, PRESENCE_USERNAME, PRESENCE_IMAGE, &authors[i]);
    response.n_accounts = n;
    response.online = (int32_t)(n > 0 ? (int64_t)n : online->count);
    response.partial = online->partial;
    rpc_reply(request->call, &response.base);
}

static void on_online(void *user, struct presence_answer *answer)
{
    struct online *online = user;

    online->count = answer->online;
    online->partial = answer->partial;
    db_bind_int8_array(online->query, answer->ids, answer->n);
    free(answer->ids);
    (void)service_query_with(online->request.call, online->query, on_names, online);
}

static void get_presence(struct service *service, struct rpc_call *call,
                         const Stoa__Chat__V1__GetPresenceRequest *message)
{
    struct online *online = request_new(service, call, message->room, sizeof(*online));

    if (!online)
        return;
    online->query = db_query(service_db(service), rpc_call_arena(call), ROOM_PRESENCE);
    if (!online->query) {
        service_fail_memory(call);
        return;
    }
    db_bind_int8(online->query, service_caller_id(call));
    db_bind_int8(online->query, message->room);
    presence_ask(chat_presence(service), message->room, on_online, online);
}
RPC_UNARY(get_presence, struct service, Stoa__Chat__V1__GetPresenceRequest)

const struct rpc_handler get_presence_handler = {.method = "GetPresence",
                                                 .unary = get_presence_rpc};
