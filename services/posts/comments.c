/* CreateComment, ListComments, DeleteComment: each binds one statement on a poller thread and
 * answers from its outcome on a poller thread again. (A create that is a replay is one more
 * statement.) */
#include "etag.h"
#include "idempotency.h"
#include "input.h"
#include "page.h"
#include "posts.h"
#include "rows.h"

/* A comment whose idempotency key goes while it is looked at, again and again, is given up. */
#define MAX_TRIES 5

/* A call on its way, in its arena. */
struct request {
    struct service *service;
    struct rpc_call *call;
    struct str slug;
    struct str body; /* CreateComment, with the two that follow */
    struct idempotency idempotency;
    int tries;
    uint32_t comment; /* DeleteComment */
    bool may_go;      /* likewise: its conditions hold */
    struct page page; /* ListComments */
};

/* NULL: the call has been failed. */
static struct request *begin(struct service *service, struct rpc_call *call, const char *slug)
{
    struct request *request = arena_alloc(rpc_call_arena(call), sizeof(*request));

    if (request)
        *request = (struct request){.service = service, .call = call, .slug = str_of(slug)};
    else
        service_fail_memory(call);
    return request;
}

/* ---- CreateComment ---- */

static void try_create(struct request *request);

static void reply_created(const struct request *request, const struct db_result *result)
{
    struct rpc_call *call = request->call;
    const struct row row = {.result = result, .arena = rpc_call_arena(call)};
    Stoa__Posts__V1__CreateCommentResponse response =
        STOA__POSTS__V1__CREATE_COMMENT_RESPONSE__INIT;
    struct comment comment;

    if (comment_from_row(&row, &comment) < 0) {
        service_fail_memory(call);
    } else if (tag_comment(call, &comment)) {
        response.comment = &comment.message;
        rpc_reply(call, &response.base);
    }
}

static void on_replayed(void *user, const struct db_result *result)
{
    struct request *request = user;

    switch (read_replay(request->call, result, REPLAY_COMMENT_IS_SAME)) {
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

static void replay(struct request *request)
{
    struct rpc_call *call = request->call;
    struct db_query *query =
        db_query(service_db(request->service), rpc_call_arena(call), REPLAY_COMMENT);

    if (!query) {
        service_fail_memory(call);
        return;
    }
    db_bind_int8(query, service_caller_id(call));
    bind_idempotency(query, &request->idempotency);
    db_bind_text(query, request->body);
    (void)service_query_with(call, query, on_replayed, request);
}

static void on_created(void *user, const struct db_result *result)
{
    struct request *request = user;
    struct rpc_call *call = request->call;

    if (key_was_used(result)) {
        replay(request);
        return;
    }
    if (service_query_failed(call, result))
        return;
    if (db_rows(result) == 0)
        fail_no_account(call);
    else if (db_is_null(result, 0, COMMENT_ID))
        service_fail_not_found(call, "article", request->slug);
    else
        reply_created(request, result);
}

static void try_create(struct request *request)
{
    struct rpc_call *call = request->call;
    struct db_query *query =
        db_query(service_db(request->service), rpc_call_arena(call), CREATE_COMMENT);

    request->tries++;
    if (!query) {
        service_fail_memory(call);
        return;
    }
    db_bind_int8(query, service_caller_id(call));
    db_bind_text(query, request->slug);
    db_bind_text(query, request->body);
    bind_idempotency(query, &request->idempotency);
    (void)service_query_with(call, query, on_created, request);
}

static void create_comment(struct service *service, struct rpc_call *call,
                           const Stoa__Posts__V1__CreateCommentRequest *message)
{
    struct request *request = begin(service, call, message->slug);
    struct schema_fault fault;

    if (request && add_if_blank(&fault, 0, "comment.body", message->comment->body) > 0) {
        service_fail_fields(call, RPC_INVALID_ARGUMENT, "INVALID_FIELDS", &fault, 1);
        return;
    }
    if (!request || !read_idempotency(call, &message->base, &request->idempotency))
        return;
    request->body = str_of(message->comment->body);
    try_create(request);
}
RPC_UNARY(create_comment, struct service, Stoa__Posts__V1__CreateCommentRequest)

/* ---- ListComments ---- */

static void on_comments(void *user, const struct db_result *result)
{
    const struct request *request = user;
    struct rpc_call *call = request->call;
    struct arena *arena = rpc_call_arena(call);
    Stoa__Posts__V1__ListCommentsResponse response = STOA__POSTS__V1__LIST_COMMENTS_RESPONSE__INIT;
    const struct page *page = &request->page;
    struct comment *comments;
    struct str token;
    int rows, n;
    size_t shown = 0;

    if (service_query_failed(call, result))
        return;
    if (db_rows(result) == 0) {
        service_fail_not_found(call, "article", request->slug);
        return;
    }
    /* An article without comments is one row with nothing in it. */
    rows = db_is_null(result, 0, COMMENT_ID) ? 0 : db_rows(result);
    n = rows < page->size ? rows : page->size;
    comments = arena_alloc(arena, (size_t)n * sizeof(*comments));
    response.comments = arena_alloc(arena, (size_t)n * sizeof(*response.comments));
    if (!comments || !response.comments) {
        service_fail_memory(call);
        return;
    }
    for (int i = 0; i < n; i++) {
        if (db_is_null(result, i, COMMENT_AUTHOR + PROFILE_USERNAME))
            continue; /* the account has gone, and takes this with it */
        if (comment_from_row(&(struct row){result, i, arena, false}, &comments[shown]) < 0) {
            service_fail_memory(call);
            return;
        }
        response.comments[shown] = &comments[shown].message;
        shown++;
    }
    response.n_comments = shown;
    if (rows > n) {
        const struct cursor last = {.id = db_get_int8(result, n - 1, COMMENT_ID)};

        if (!page_has_next(call, page, last, &token))
            return;
        if (page->by_token) {
            response._next_page_token_case =
                STOA__POSTS__V1__LIST_COMMENTS_RESPONSE___NEXT_PAGE_TOKEN_NEXT_PAGE_TOKEN;
            response.next_page_token = (char *)token.p;
        }
    }
    service_reply_tagged(call, &response.base);
}

static void list_comments(struct service *service, struct rpc_call *call,
                          const Stoa__Posts__V1__ListCommentsRequest *message)
{
    struct db_query *query = db_query(service_db(service), rpc_call_arena(call), LIST_COMMENTS);
    struct request *request = begin(service, call, message->slug);
    const struct page_request page = {
        .page_size = message->page_size,
        .page_token = message->page_token,
        .default_size = POSTS_MAX_PAGE,
    };

    if (!request)
        return;
    request->page.list = arena_printf(rpc_call_arena(call), "comments/%s", message->slug);
    request->page.query = STR("");
    if (!query || !request->page.list.p) {
        service_fail_memory(call);
        return;
    }
    if (!page_read(call, &page, &request->page))
        return;
    db_bind_int8(query, service_caller_id(call));
    db_bind_text(query, request->slug);
    db_bind_int4(query, request->page.size + 1);
    db_bind_int8(query, request->page.after.id);
    (void)service_query_with(call, query, on_comments, request);
}
RPC_UNARY(list_comments, struct service, Stoa__Posts__V1__ListCommentsRequest)

/* ---- DeleteComment ---- */

static void on_deleted(void *user, const struct db_result *result)
{
    const struct request *request = user;
    struct rpc_call *call = request->call;
    Stoa__Posts__V1__DeleteCommentResponse response =
        STOA__POSTS__V1__DELETE_COMMENT_RESPONSE__INIT;
    struct str id = arena_printf(rpc_call_arena(call), "%u", request->comment);

    if (service_query_failed(call, result))
        return;
    if (db_rows(result) == 0)
        service_fail_not_found(call, "article", request->slug);
    else if (!db_get_bool(result, 0, DELETED_FOUND))
        service_fail_not_found(call, "comment", id);
    else if (!db_get_bool(result, 0, DELETED_MINE))
        fail_forbidden(call, "comment", id);
    else if (!request->may_go)
        service_fail_changed(call, "comment", id);
    else
        rpc_reply(call, &response.base);
}

static void delete_comment(struct service *service, struct rpc_call *call,
                           const Stoa__Posts__V1__DeleteCommentRequest *message)
{
    struct db_query *query = db_query(service_db(service), rpc_call_arena(call), DELETE_COMMENT);
    struct request *request = begin(service, call, message->slug);

    if (!request || !service_read_conditions(call))
        return;
    if (!query) {
        service_fail_memory(call);
        return;
    }
    request->comment = message->id;
    request->may_go = conditions_hold(call, (struct version){.id = message->id});
    db_bind_int8(query, service_caller_id(call));
    db_bind_text(query, request->slug);
    db_bind_int8(query, message->id);
    db_bind_bool(query, request->may_go);
    (void)service_query_with(call, query, on_deleted, request);
}
RPC_UNARY(delete_comment, struct service, Stoa__Posts__V1__DeleteCommentRequest)

const struct rpc_handler create_comment_handler = {.method = "CreateComment",
                                                   .unary = create_comment_rpc},
                         list_comments_handler = {.method = "ListComments",
                                                  .unary = list_comments_rpc},
                         delete_comment_handler = {.method = "DeleteComment",
                                                   .unary = delete_comment_rpc};
