/* An account's sessions: listing and ending them. Each RPC is one statement; the transaction that
 * deletes a session writes its revocation as well, where all services read it. */
#include "auth.h"

#define DEFAULT_PAGE 20
#define MAX_PAGE 100

/* ---- ending ---- */

static struct uuid uuid_column(const struct db_result *result, int row, int col)
{
    struct uuid id;

    memcpy(id.bytes, db_get_text(result, row, col).p, sizeof(id.bytes));
    return id;
}

/* The columns id and tokens_expire_at of sessions that a committed statement has ended: their
 * access tokens count no more in this process. */
static void end_sessions_here(const struct auth *auth, const struct db_result *result)
{
    for (int i = 0; i < db_rows(result); i++) {
        struct uuid session = uuid_column(result, i, 0);

        service_session_ended(auth->service, &session, db_get_timestamp(result, i, 1));
    }
}

/* A call that ends sessions; in its arena. */
struct ending {
    struct auth *auth;
    struct rpc_call *call;
    const ProtobufCMessage *response;
    struct str not_found; /* the name of what must have been there; {NULL, 0}: nothing must */
};

static void on_ended(void *user, const struct db_result *result)
{
    struct ending *e = user;

    if (service_query_failed(e->call, result))
        return;
    end_sessions_here(e->auth, result);
    if (e->not_found.p && db_rows(result) == 0)
        service_fail_not_found(e->call, "session", e->not_found);
    else
        rpc_reply(e->call, e->response);
}

static void end(struct auth *auth, struct rpc_call *call, enum auth_statement statement,
                const struct uuid *session, struct str not_found, const ProtobufCMessage *response)
{
    struct arena *arena = rpc_call_arena(call);
    struct ending *e = arena_alloc(arena, sizeof(*e));
    struct db_query *query = e ? db_query(service_db(auth->service), arena, statement) : NULL;

    if (query) {
        *e = (struct ending){auth, call, response, not_found};
        db_bind_int8(query, service_caller_id(call));
        db_bind_uuid(query, session->bytes);
    }
    service_query_with(call, query, on_ended, e);
}

void auth_end_current_session_rpc(void *service, struct rpc_call *call,
                                  const ProtobufCMessage *request)
{
    static const Stoa__Auth__V1__EndCurrentSessionResponse response =
        STOA__AUTH__V1__END_CURRENT_SESSION_RESPONSE__INIT;

    (void)request;
    end(service, call, AUTH_END_SESSION, &service_caller(call)->session, STR_NULL, &response.base);
}

void auth_end_session_rpc(void *service, struct rpc_call *call, const ProtobufCMessage *request)
{
    static const Stoa__Auth__V1__EndSessionResponse response =
        STOA__AUTH__V1__END_SESSION_RESPONSE__INIT;
    struct str name = str_of(((const Stoa__Auth__V1__EndSessionRequest *)request)->session);
    struct uuid session;

    if (uuid_parse(name, &session) < 0) /* the contract's rule has looked at it */
        service_fail_not_found(call, "session", name);
    else
        end(service, call, AUTH_END_SESSION, &session, name, &response.base);
}

void auth_end_other_sessions_rpc(void *service, struct rpc_call *call,
                                 const ProtobufCMessage *request)
{
    static const Stoa__Auth__V1__EndOtherSessionsResponse response =
        STOA__AUTH__V1__END_OTHER_SESSIONS_RESPONSE__INIT;

    (void)request;
    end(service, call, AUTH_END_OTHER_SESSIONS, &service_caller(call)->session, STR_NULL,
        &response.base);
}

/* ---- listing ---- */

struct listing {
    struct auth *auth;
    struct rpc_call *call;
    int page_size;
};

/* A row with the messages that it becomes. */
struct listed {
    Stoa__Auth__V1__Session session;
    Google__Protobuf__Timestamp created_at, last_used_at;
    char id[UUID_CHARS + 1];
};

static void read_row(struct listed *to, const struct db_result *result, int row,
                     const struct uuid *current)
{
    enum { ID, USER_AGENT, ADDRESS, CREATED_AT, LAST_USED_AT };
    struct uuid id = uuid_column(result, row, ID);

    stoa__auth__v1__session__init(&to->session);
    uuid_print(&id, to->id);
    to->session.id = to->id;
    if (!db_is_null(result, row, USER_AGENT)) {
        to->session._device_case = STOA__AUTH__V1__SESSION___DEVICE_DEVICE;
        to->session.device = (char *)db_get_text(result, row, USER_AGENT).p;
    }
    if (!db_is_null(result, row, ADDRESS)) {
        to->session._address_case = STOA__AUTH__V1__SESSION___ADDRESS_ADDRESS;
        to->session.address = (char *)db_get_text(result, row, ADDRESS).p;
    }
    service_set_time(&to->created_at, db_get_timestamp(result, row, CREATED_AT));
    service_set_time(&to->last_used_at, db_get_timestamp(result, row, LAST_USED_AT));
    to->session.created_at = &to->created_at;
    to->session.last_used_at = &to->last_used_at;
    to->session.current = memcmp(&id, current, sizeof(id)) == 0;
}

static void on_listed(void *user, const struct db_result *result)
{
    struct listing *l = user;
    struct arena *arena = rpc_call_arena(l->call);
    Stoa__Auth__V1__ListSessionsResponse response = STOA__AUTH__V1__LIST_SESSIONS_RESPONSE__INIT;
    struct listed *rows;
    int n;

    if (service_query_failed(l->call, result))
        return;
    n = db_rows(result) < l->page_size ? db_rows(result) : l->page_size;
    rows = arena_calloc(arena, (size_t)n, sizeof(*rows));
    response.sessions = arena_calloc(arena, (size_t)n, sizeof(*response.sessions));
    if (!rows || !response.sessions) {
        service_fail_memory(l->call);
        return;
    }
    for (int i = 0; i < n; i++) {
        read_row(&rows[i], result, i, &service_caller(l->call)->session);
        response.sessions[i] = &rows[i].session;
    }
    response.n_sessions = (size_t)n;
    if (db_rows(result) > n)
        response.next_page_token = rows[n - 1].id;
    service_reply_tagged(l->call, &response.base);
}

static void list_sessions(struct auth *auth, struct rpc_call *call,
                          const Stoa__Auth__V1__ListSessionsRequest *request)
{
    struct arena *arena = rpc_call_arena(call);
    struct listing *l = arena_alloc(arena, sizeof(*l));
    struct db_query *query =
        l ? db_query(service_db(auth->service), arena, AUTH_LIST_SESSIONS) : NULL;
    int page_size = request->page_size ? request->page_size : DEFAULT_PAGE;
    struct uuid after;

    if (query) {
        *l = (struct listing){auth, call, page_size < MAX_PAGE ? page_size : MAX_PAGE};
        db_bind_int8(query, service_caller_id(call));
        if (uuid_parse(str_of(request->page_token), &after) == 0)
            db_bind_uuid(query, after.bytes);
        else
            db_bind_null(query);
        db_bind_int4(query, l->page_size + 1); /* one more tells whether there is a next page */
    }
    service_query_with(call, query, on_listed, l);
}

void auth_list_sessions_rpc(void *service, struct rpc_call *call, const ProtobufCMessage *request)
{
    list_sessions(service, call, (const Stoa__Auth__V1__ListSessionsRequest *)request);
}
