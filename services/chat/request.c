/* How a call begins that is about a room. On a poller thread. */
#include "chat.h"
#include "page_token.h"
#include "text/username_key.h"

void *request_new(struct service *service, struct rpc_call *call, int64_t room, size_t size)
{
    struct request *request = arena_calloc(rpc_call_arena(call), 1, size);

    if (!request) {
        service_fail_memory(call);
        return NULL;
    }
    request->service = service;
    request->call = call;
    request->room = room;
    return request;
}

struct request *request_begin(struct service *service, struct rpc_call *call,
                              enum chat_statement statement, int64_t room,
                              struct db_query **ret_query)
{
    struct request *request = request_new(service, call, room, sizeof(*request));

    if (!request)
        return NULL;
    *ret_query = db_query(service_db(service), rpc_call_arena(call), statement);
    if (!*ret_query) {
        service_fail_memory(call);
        return NULL;
    }
    db_bind_int8(*ret_query, service_caller_id(call));
    if (room > 0)
        db_bind_int8(*ret_query, room);
    return request;
}

bool request_bind_username(struct request *request, struct db_query *query, const char *username)
{
    struct str key;

    request->username = str_of(username);
    if (username_key(request->username, rpc_call_arena(request->call), &key) < 0) {
        service_fail_memory(request->call); /* the contract has seen to it that it is UTF-8 */
        return false;
    }
    db_bind_text(query, key);
    return true;
}

bool read_page_token(struct rpc_call *call, const char *token, int64_t *numbers, size_t n)
{
    if (!*token || page_token_read(str_of(token), numbers, n) == 0)
        return true;
    service_fail_field(call, RPC_INVALID_ARGUMENT, "INVALID_FIELDS", "page_token",
                       "is not a page token");
    return false;
}
