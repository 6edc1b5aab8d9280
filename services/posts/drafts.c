/* CreateDraft, GetDraft, ListDrafts: each binds one statement on a poller thread and answers from
 * its outcome on a poller thread again. (A create that is a replay is one more statement.)
 * UpdateDraft, DeleteDraft: a transaction each, on a thread of the database's pool, as in edits.c.
 */
#include "drafts.h"

#include "changes.h"
#include "etag.h"
#include "idempotency.h"
#include "page.h"
#include "posts.h"

#define DEFAULT_PAGE 20

/* A draft whose idempotency key goes while it is looked at, again and again, is given up. */
#define MAX_TRIES 5

/* A call on its way, in its arena. */
struct request {
    struct service *service;
    struct rpc_call *call;
    uint32_t id;                                              /* of the draft */
    const Stoa__Posts__V1__CreateDraftRequest__NewDraft *new; /* CreateDraft, with what follows */
    struct tag_list tags;
    struct idempotency idempotency;
    int tries;
    struct page page;       /* ListDrafts */
    struct changes changes; /* UpdateDraft, with what follows */
    struct draft draft;     /* as it is afterwards */
};

/* NULL: the call has been failed. */
static struct request *begin(struct service *service, struct rpc_call *call, uint32_t id)
{
    struct request *request = arena_calloc(rpc_call_arena(call), 1, sizeof(*request));

    if (!request) {
        service_fail_memory(call);
        return NULL;
    }
    request->service = service;
    request->call = call;
    request->id = id;
    return request;
}

/* A statement for the call, its first parameter bound to the caller. NULL without memory. */
static struct db_query *query_of(const struct request *request, enum posts_statement statement)
{
    struct db_query *query =
        db_query(service_db(request->service), rpc_call_arena(request->call), statement);

    if (query)
        db_bind_int8(query, service_caller_id(request->call));
    return query;
}

static void submit(struct request *request, struct db_query *query, db_done_fn *done)
{
    if (query)
        (void)service_query_with(request->call, query, done, request);
    else
        service_fail_memory(request->call);
}

struct str draft_name(struct rpc_call *call, uint32_t id)
{
    return arena_printf(rpc_call_arena(call), "%u", id);
}

/* ---- CreateDraft ---- */

static void try_create(struct request *request);

static void reply_created(const struct request *request, const struct db_result *result)
{
    struct rpc_call *call = request->call;
    const struct row row = {.result = result, .arena = rpc_call_arena(call)};
    Stoa__Posts__V1__CreateDraftResponse response = STOA__POSTS__V1__CREATE_DRAFT_RESPONSE__INIT;
    struct draft draft;

    if (draft_from_row_in_full(&row, &draft) < 0) {
        service_fail_memory(call);
    } else if (tag_draft(call, &draft)) {
        response.draft = &draft.message;
        rpc_reply(call, &response.base);
    }
}

static void on_replayed(void *user, const struct db_result *result)
{
    struct request *request = user;

    switch (read_replay(request->call, result, REPLAY_DRAFT_IS_SAME)) {
    case REPLAY_FIRST:
        reply_created(request, result);
        break;
    case REPLAY_GONE:
        if (request->tries < MAX_TRIES)
            try_create(request);
        else
            fail_key_going(request->call);
        break;
    case REPLAY_FAILED:
        break;
    }
}

static void bind_texts(struct db_query *query, const struct request *request)
{
    db_bind_text(query, str_of(request->new->title));
    db_bind_text(query, str_of(request->new->description));
    db_bind_text(query, str_of(request->new->body));
    db_bind_text_array(query, request->tags.tags, request->tags.n);
}

static void on_created(void *user, const struct db_result *result)
{
    struct request *request = user;
    struct db_query *query;

    if (key_was_used(result)) {
        query = query_of(request, REPLAY_DRAFT);
        if (query) {
            bind_idempotency(query, &request->idempotency);
            bind_texts(query, request);
        }
        submit(request, query, on_replayed);
    } else if (!service_query_failed(request->call, result)) {
        if (db_rows(result) == 0)
            fail_no_account(request->call);
        else
            reply_created(request, result);
    }
}

static void try_create(struct request *request)
{
    struct db_query *query = query_of(request, CREATE_DRAFT);

    request->tries++;
    if (query) {
        bind_texts(query, request);
        bind_idempotency(query, &request->idempotency);
    }
    submit(request, query, on_created);
}

static void create_draft(struct service *service, struct rpc_call *call,
                         const Stoa__Posts__V1__CreateDraftRequest *message)
{
    struct request *request = begin(service, call, 0);

    if (!request || !read_idempotency(call, &message->base, &request->idempotency))
        return;
    request->new = message->draft; /* there, by the contract's rules */
    if (read_tags(call, "draft", request->new->tag_list, request->new->n_tag_list, &request->tags))
        try_create(request);
}
RPC_UNARY(create_draft, struct service, Stoa__Posts__V1__CreateDraftRequest)

/* ---- GetDraft ---- */

static void on_draft(void *user, const struct db_result *result)
{
    const struct request *request = user;
    struct rpc_call *call = request->call;
    const struct row row = {.result = result, .arena = rpc_call_arena(call)};
    Stoa__Posts__V1__GetDraftResponse response = STOA__POSTS__V1__GET_DRAFT_RESPONSE__INIT;
    struct draft draft;

    if (service_query_failed(call, result))
        return;
    if (db_rows(result) == 0) {
        service_fail_not_found(call, "draft", draft_name(call, request->id));
    } else if (draft_from_row_in_full(&row, &draft) < 0) {
        service_fail_memory(call);
    } else if (tag_draft(call, &draft)) {
        response.draft = &draft.message;
        rpc_reply(call, &response.base);
    }
}

static void get_draft(struct service *service, struct rpc_call *call,
                      const Stoa__Posts__V1__GetDraftRequest *message)
{
    struct request *request = begin(service, call, message->id);
    struct db_query *query;

    if (!request)
        return;
    query = query_of(request, GET_DRAFT);
    if (query)
        db_bind_int8(query, request->id);
    submit(request, query, on_draft);
}
RPC_UNARY(get_draft, struct service, Stoa__Posts__V1__GetDraftRequest)

/* ---- ListDrafts ---- */

static void on_drafts(void *user, const struct db_result *result)
{
    const struct request *request = user;
    struct rpc_call *call = request->call;
    struct arena *arena = rpc_call_arena(call);
    Stoa__Posts__V1__ListDraftsResponse response = STOA__POSTS__V1__LIST_DRAFTS_RESPONSE__INIT;
    const struct page *page = &request->page;
    struct draft *drafts;
    struct str token;
    int rows, n;

    if (service_query_failed(call, result))
        return;
    rows = db_rows(result);
    n = rows < page->size ? rows : page->size;
    drafts = arena_alloc(arena, (size_t)n * sizeof(*drafts));
    response.drafts = arena_alloc(arena, (size_t)n * sizeof(*response.drafts));
    if (!drafts || !response.drafts) {
        service_fail_memory(call);
        return;
    }
    for (int i = 0; i < n; i++) {
        if (draft_from_row(&(struct row){result, i, arena, false}, &drafts[i]) < 0) {
            service_fail_memory(call);
            return;
        }
        response.drafts[i] = &drafts[i].message;
    }
    response.n_drafts = (size_t)n;
    if (rows > n) {
        if (!page_has_next(call, page, (struct cursor){.id = drafts[n - 1].message.id}, &token))
            return;
        response._next_page_token_case =
            STOA__POSTS__V1__LIST_DRAFTS_RESPONSE___NEXT_PAGE_TOKEN_NEXT_PAGE_TOKEN;
        response.next_page_token = (char *)token.p;
    }
    service_reply_tagged(call, &response.base);
}

static void list_drafts(struct service *service, struct rpc_call *call,
                        const Stoa__Posts__V1__ListDraftsRequest *message)
{
    const struct page_request page = {
        .page_size = message->page_size,
        .page_token = message->page_token,
        .default_size = DEFAULT_PAGE,
    };
    struct request *request = begin(service, call, 0);
    struct db_query *query;

    if (!request)
        return;
    request->page.list = STR("drafts");
    request->page.query = STR("");
    if (!page_read(call, &page, &request->page))
        return;
    query = query_of(request, LIST_DRAFTS);
    if (query) {
        db_bind_int4(query, request->page.size + 1);
        db_bind_int8(query, request->page.after.id);
    }
    submit(request, query, on_drafts);
}
RPC_UNARY(list_drafts, struct service, Stoa__Posts__V1__ListDraftsRequest)

/* ---- in transactions ---- */

enum verdict lock_draft(struct service *service, struct rpc_call *call, struct db_tx *tx,
                        uint32_t id, struct draft *ret)
{
    struct arena *arena = rpc_call_arena(call);
    struct db_query *query = db_query(service_db(service), arena, LOCK_DRAFT);
    struct db_result result;

    if (!query)
        return FAILED;
    db_bind_int8(query, service_caller_id(call));
    db_bind_int8(query, id);
    if (db_tx_run(tx, query, &result) != DB_OK)
        return FAILED;
    if (db_rows(&result) == 0)
        return NOT_FOUND;
    if (draft_from_row_in_full(&(struct row){&result, 0, arena, true}, ret) < 0)
        return FAILED;
    return conditions_hold(call, ret->version) ? MAY_CHANGE : CHANGED;
}

enum verdict delete_locked_draft(struct service *service, struct rpc_call *call, struct db_tx *tx,
                                 uint32_t id)
{
    struct db_query *query = db_query(service_db(service), rpc_call_arena(call), DELETE_DRAFT);
    struct db_result result;

    if (!query)
        return FAILED;
    db_bind_int8(query, id);
    return db_tx_run(tx, query, &result) == DB_OK ? MAY_CHANGE : FAILED;
}

/* ---- UpdateDraft ---- */

static int update_in_transaction(struct db_tx *tx, void *user)
{
    struct request *request = user;
    struct arena *arena = rpc_call_arena(request->call);
    struct db_query *query = db_query(service_db(request->service), arena, UPDATE_DRAFT);
    struct db_result result;
    enum verdict verdict =
        lock_draft(request->service, request->call, tx, request->id, &request->draft);

    if (verdict != MAY_CHANGE)
        return verdict;
    if (!query)
        return FAILED;
    db_bind_int8(query, request->id);
    bind_changes(query, &request->changes);
    if (db_tx_run(tx, query, &result) != DB_OK ||
        draft_from_row_in_full(&(struct row){&result, 0, arena, true}, &request->draft) < 0)
        return FAILED;
    return MAY_CHANGE;
}

static void on_updated(void *user, const struct db_result *outcome, int verdict)
{
    struct request *request = user;
    struct rpc_call *call = request->call;
    Stoa__Posts__V1__UpdateDraftResponse response = STOA__POSTS__V1__UPDATE_DRAFT_RESPONSE__INIT;

    if (verdict_failed(call, outcome, verdict, "draft", draft_name(call, request->id)))
        return;
    response.draft = &request->draft.message;
    if (tag_draft(call, &request->draft))
        rpc_reply(call, &response.base);
}

static void update_draft(struct service *service, struct rpc_call *call,
                         const Stoa__Posts__V1__UpdateDraftRequest *message)
{
    /* The draft is there, by the contract's rules. */
    const struct given given =
        GIVEN(message->draft, .of = "draft", .mask = message->update_mask, .may_be_empty = true);
    struct request *request;

    if (!service_read_conditions(call))
        return;
    request = begin(service, call, message->id);
    if (request && read_changes(call, &given, &request->changes))
        (void)service_transaction(call, service_db(service), update_in_transaction, on_updated,
                                  request);
}
RPC_UNARY(update_draft, struct service, Stoa__Posts__V1__UpdateDraftRequest)

/* ---- DeleteDraft ---- */

static int delete_in_transaction(struct db_tx *tx, void *user)
{
    struct request *request = user;
    enum verdict verdict =
        lock_draft(request->service, request->call, tx, request->id, &request->draft);

    return verdict == MAY_CHANGE
               ? delete_locked_draft(request->service, request->call, tx, request->id)
               : verdict;
}

static void on_deleted(void *user, const struct db_result *outcome, int verdict)
{
    struct request *request = user;
    struct rpc_call *call = request->call;
    Stoa__Posts__V1__DeleteDraftResponse response = STOA__POSTS__V1__DELETE_DRAFT_RESPONSE__INIT;

    if (!verdict_failed(call, outcome, verdict, "draft", draft_name(call, request->id)))
        rpc_reply(call, &response.base);
}

static void delete_draft(struct service *service, struct rpc_call *call,
                         const Stoa__Posts__V1__DeleteDraftRequest *message)
{
    struct request *request;

    if (!service_read_conditions(call))
        return;
    request = begin(service, call, message->id);
    if (request)
        (void)service_transaction(call, service_db(service), delete_in_transaction, on_deleted,
                                  request);
}
RPC_UNARY(delete_draft, struct service, Stoa__Posts__V1__DeleteDraftRequest)

const struct rpc_handler create_draft_handler = {.method = "CreateDraft",
                                                 .unary = create_draft_rpc},
                         get_draft_handler = {.method = "GetDraft", .unary = get_draft_rpc},
                         list_drafts_handler = {.method = "ListDrafts", .unary = list_drafts_rpc},
                         update_draft_handler = {.method = "UpdateDraft",
                                                 .unary = update_draft_rpc},
                         delete_draft_handler = {.method = "DeleteDraft",
                                                 .unary = delete_draft_rpc};
