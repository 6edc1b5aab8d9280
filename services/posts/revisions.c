/* ListRevisions, GetRevision: each binds one statement on a poller thread and answers from its
 * outcome on a poller thread again. */
#include "etag.h"
#include "posts.h"
#include "rows.h"

/* A call on its way, in its arena. */
struct lookup {
    struct rpc_call *call;
    struct str slug;
    uint32_t number; /* GetRevision */
};

static void submit(struct service *service, struct rpc_call *call, enum posts_statement statement,
                   struct lookup with, db_done_fn *done)
{
    struct arena *arena = rpc_call_arena(call);
    struct lookup *lookup = arena_alloc(arena, sizeof(*lookup));
    struct db_query *query = db_query(service_db(service), arena, statement);

    if (!lookup || !query) {
        service_fail_memory(call);
        return;
    }
    *lookup = with;
    db_bind_int8(query, service_caller_id(call));
    db_bind_text(query, lookup->slug);
    if (statement == GET_REVISION)
        db_bind_int4(query, (int32_t)lookup->number);
    (void)service_query_with(call, query, done, lookup);
}

/* Ends the call unless the article is there and the caller's. */
static bool article_failed(const struct lookup *lookup, const struct db_result *result)
{
    if (service_query_failed(lookup->call, result))
        return true;
    if (db_rows(result) == 0)
        service_fail_not_found(lookup->call, "article", lookup->slug);
    else if (!db_get_bool(result, 0, REVISION_IS_MINE))
        fail_forbidden(lookup->call, "article", lookup->slug);
    else
        return false;
    return true;
}

/* ---- ListRevisions ---- */

static void on_revisions(void *user, const struct db_result *result)
{
    const struct lookup *lookup = user;
    struct rpc_call *call = lookup->call;
    struct arena *arena = rpc_call_arena(call);
    Stoa__Posts__V1__ListRevisionsResponse response =
        STOA__POSTS__V1__LIST_REVISIONS_RESPONSE__INIT;
    struct revision *revisions;
    size_t n;

    if (article_failed(lookup, result))
        return;
    n = db_is_null(result, 0, REVISION_NUMBER) ? 0 : (size_t)db_rows(result);
    revisions = arena_calloc(arena, n, sizeof(*revisions));
    response.revisions = arena_calloc(arena, n, sizeof(*response.revisions));
    if (!revisions || !response.revisions) {
        service_fail_memory(call);
        return;
    }
    for (size_t i = 0; i < n; i++) {
        if (revision_from_row(&(struct row){result, (int)i, arena, false}, &revisions[i]) < 0) {
            service_fail_memory(call);
            return;
        }
        response.revisions[i] = &revisions[i].message;
    }
    response.n_revisions = n;
    service_reply_tagged(call, &response.base);
}

static void list_revisions(struct service *service, struct rpc_call *call,
                           const Stoa__Posts__V1__ListRevisionsRequest *request)
{
    submit(service, call, LIST_REVISIONS, (struct lookup){call, str_of(request->slug), 0},
           on_revisions);
}
RPC_UNARY(list_revisions, struct service, Stoa__Posts__V1__ListRevisionsRequest)

/* ---- GetRevision ---- */

static void on_revision(void *user, const struct db_result *result)
{
    const struct lookup *lookup = user;
    struct rpc_call *call = lookup->call;
    const struct row row = {.result = result, .arena = rpc_call_arena(call)};
    Stoa__Posts__V1__GetRevisionResponse response = STOA__POSTS__V1__GET_REVISION_RESPONSE__INIT;
    struct revision revision;

    if (article_failed(lookup, result))
        return;
    if (db_is_null(result, 0, REVISION_NUMBER)) {
        service_fail_not_found(call, "revision",
                               arena_printf(rpc_call_arena(call), "%u", lookup->number));
    } else if (revision_from_row_in_full(&row, &revision) < 0) {
        service_fail_memory(call);
    } else {
        response.revision = &revision.message;
        service_reply_tagged(call, &response.base);
    }
}

static void get_revision(struct service *service, struct rpc_call *call,
                         const Stoa__Posts__V1__GetRevisionRequest *request)
{
    submit(service, call, GET_REVISION,
           (struct lookup){call, str_of(request->slug), request->number}, on_revision);
}
RPC_UNARY(get_revision, struct service, Stoa__Posts__V1__GetRevisionRequest)

const struct rpc_handler list_revisions_handler = {.method = "ListRevisions",
                                                   .unary = list_revisions_rpc},
                         get_revision_handler = {.method = "GetRevision",
                                                 .unary = get_revision_rpc};
