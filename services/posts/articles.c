/* CreateArticle, GetArticle: each binds one statement on a poller thread and answers from its
 * outcome on the database's engine thread. */
#include "etag.h"
#include "idempotency.h"
#include "input.h"
#include "posts.h"
#include "rows.h"

/* ---- CreateArticle ---- */

/* A create on its way, in its call's arena. */
struct creation {
    struct service *service;
    struct rpc_call *call;
    const Stoa__Posts__V1__CreateArticleRequest__NewArticle *article;
    struct tag_list tags;
    struct slug slug;
    struct idempotency idempotency;
    int tries;
};

static void on_created(void *user, const struct db_result *result);

static void try_create(struct creation *creation)
{
    struct rpc_call *call = creation->call;
    struct db_query *query =
        db_query(service_db(creation->service), rpc_call_arena(call), CREATE_ARTICLE);
    struct slugs slugs;

    creation->tries++;
    if (!make_slugs(call, &creation->slug, &slugs))
        return;
    if (!query) {
        service_fail_memory(call);
        return;
    }
    db_bind_int8(query, service_caller_id(call));
    db_bind_text(query, slugs.preferred);
    db_bind_text(query, slugs.unique);
    db_bind_text(query, str_of(creation->article->title));
    db_bind_text(query, str_of(creation->article->description));
    db_bind_text(query, str_of(creation->article->body));
    db_bind_text_array(query, creation->tags.tags, creation->tags.n);
    bind_idempotency(query, &creation->idempotency);
    (void)service_query_with(call, query, on_created, creation);
}

static void reply_created(const struct creation *creation, const struct db_result *result)
{
    const struct row row = {.result = result, .arena = rpc_call_arena(creation->call)};
    Stoa__Posts__V1__CreateArticleResponse response =
        STOA__POSTS__V1__CREATE_ARTICLE_RESPONSE__INIT;
    struct article article;

    if (article_from_row(&row, &article) < 0) {
        service_fail_memory(creation->call);
        return;
    }
    article.message._body_case = STOA__POSTS__V1__ARTICLE___BODY_BODY;
    article.message.body = creation->article->body;
    response.article = &article.message;
    if (tag_article(creation->call, &article))
        rpc_reply(creation->call, &response.base);
}

static void create_again(struct creation *creation)
{
    if (creation->tries < MAX_SLUG_TRIES)
        try_create(creation);
    else
        fail_slug_taken(creation->call);
}

static void on_replayed(void *user, const struct db_result *result)
{
    struct creation *creation = user;

    if (service_query_failed(creation->call, result))
        return;
    if (db_rows(result) == 0) /* it had served, and is gone */
        create_again(creation);
    else if (!db_get_bool(result, 0, REPLAY_ARTICLE_IS_SAME))
        fail_key_used(creation->call);
    else
        reply_created(creation, result);
}

static void replay(struct creation *creation)
{
    struct rpc_call *call = creation->call;
    struct db_query *query =
        db_query(service_db(creation->service), rpc_call_arena(call), REPLAY_ARTICLE);

    if (!query) {
        service_fail_memory(call);
        return;
    }
    db_bind_int8(query, service_caller_id(call));
    bind_idempotency(query, &creation->idempotency);
    db_bind_text(query, str_of(creation->article->title));
    db_bind_text(query, str_of(creation->article->description));
    db_bind_text_array(query, creation->tags.tags, creation->tags.n);
    (void)service_query_with(call, query, on_replayed, creation);
}

static void on_created(void *user, const struct db_result *result)
{
    struct creation *creation = user;
    struct rpc_call *call = creation->call;

    if (key_was_used(result)) {
        replay(creation);
        return;
    }
    if (slug_was_taken(result)) {
        create_again(creation);
        return;
    }
    if (service_query_failed(call, result))
        return;
    if (db_rows(result) == 0)
        fail_no_account(call);
    else
        reply_created(creation, result);
}

static void create_article(struct service *service, struct rpc_call *call,
                           const Stoa__Posts__V1__CreateArticleRequest *request)
{
    const Stoa__Posts__V1__CreateArticleRequest__NewArticle *article = request->article;
    struct creation *creation = arena_calloc(rpc_call_arena(call), 1, sizeof(*creation));

    if (!creation) {
        service_fail_memory(call);
        return;
    }
    creation->service = service;
    creation->call = call;
    creation->article = article; /* there, by the contract's rules */
    if (!read_idempotency(call, &request->base, &creation->idempotency) ||
        !read_tags(call, article->tag_list, article->n_tag_list, &creation->tags))
        return;
    if (slug_from_title(str_of(article->title), rpc_call_arena(call), &creation->slug) < 0) {
        service_fail_memory(call);
        return;
    }
    try_create(creation);
}
RPC_UNARY(create_article, struct service, Stoa__Posts__V1__CreateArticleRequest)

/* ---- GetArticle ---- */

struct lookup {
    struct rpc_call *call;
    struct str slug;
};

static void on_article(void *user, const struct db_result *result)
{
    const struct lookup *lookup = user;
    struct rpc_call *call = lookup->call;
    const struct row row = {.result = result, .arena = rpc_call_arena(call)};
    Stoa__Posts__V1__GetArticleResponse response = STOA__POSTS__V1__GET_ARTICLE_RESPONSE__INIT;
    struct article article;

    if (service_query_failed(call, result))
        return;
    if (db_rows(result) == 0) {
        service_fail_not_found(call, "article", lookup->slug);
        return;
    }
    if (article_from_row_in_full(&row, &article) < 0) {
        service_fail_memory(call);
        return;
    }
    response.article = &article.message;
    if (tag_article(call, &article))
        rpc_reply(call, &response.base);
}

static void get_article(struct service *service, struct rpc_call *call,
                        const Stoa__Posts__V1__GetArticleRequest *request)
{
    struct arena *arena = rpc_call_arena(call);
    struct lookup *lookup = arena_alloc(arena, sizeof(*lookup));
    struct db_query *query = db_query(service_db(service), arena, GET_ARTICLE);

    if (!lookup || !query) {
        service_fail_memory(call);
        return;
    }
    *lookup = (struct lookup){call, str_of(request->slug)};
    db_bind_int8(query, service_caller_id(call));
    db_bind_text(query, lookup->slug);
    (void)service_query_with(call, query, on_article, lookup);
}
RPC_UNARY(get_article, struct service, Stoa__Posts__V1__GetArticleRequest)

const struct rpc_handler create_article_handler = {.method = "CreateArticle",
                                                   .unary = create_article_rpc},
                         get_article_handler = {.method = "GetArticle", .unary = get_article_rpc};
