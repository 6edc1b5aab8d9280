/* CreateArticle, GetArticle, ListArticles: each binds one statement on a poller thread and answers
 * from its outcome on the database's engine thread. */
#include "articles.h"

#include "article_row.h"
#include "base/log.h"
#include "slug.h"
#include "statements.h"
#include "tags.h"
#include "text/username_key.h"

#include <errno.h>
#include <unistd.h>

#define DEFAULT_PAGE 20
/* Titles collide only when they are published in the same instant. */
#define MAX_CREATE_TRIES 5

/* ---- CreateArticle ---- */

/* A create on its way, in its call's arena. */
struct creation {
    struct service *service;
    struct rpc_call *call;
    const Stoa__Posts__V1__CreateArticleRequest__NewArticle *article;
    struct str *tags;
    size_t n_tags;
    struct slug slug;
    int tries;
};

static void on_created(void *user, const struct db_result *result);

static void try_create(struct creation *creation)
{
    struct rpc_call *call = creation->call;
    struct arena *arena = rpc_call_arena(call);
    struct db_query *query = db_query(service_db(creation->service), arena, CREATE_ARTICLE);
    uint8_t random[SLUG_RANDOM_BYTES];
    struct str unique;

    creation->tries++;
    if (getentropy(random, sizeof(random)) < 0) {
        log_error("no random numbers", LOG_C("error", strerror(errno)));
        rpc_fail(call, RPC_INTERNAL, "internal error");
        return;
    }
    unique = slug_with_suffix(creation->slug.text, random, arena);
    if (!query || !unique.p) {
        service_fail_memory(call);
        return;
    }
    db_bind_int8(query, service_caller_id(call));
    db_bind_text(query, creation->slug.needs_suffix ? unique : creation->slug.text);
    db_bind_text(query, unique);
    db_bind_text(query, str_of(creation->article->title));
    db_bind_text(query, str_of(creation->article->description));
    db_bind_text(query, str_of(creation->article->body));
    db_bind_text_array(query, creation->tags, creation->n_tags);
    (void)service_query_with(call, query, on_created, creation);
}

static void reply_created(const struct creation *creation, const struct db_result *result)
{
    Stoa__Posts__V1__CreateArticleResponse response =
        STOA__POSTS__V1__CREATE_ARTICLE_RESPONSE__INIT;
    struct article article;

    if (article_from_row(result, 0, rpc_call_arena(creation->call), &article) < 0) {
        service_fail_memory(creation->call);
        return;
    }
    article.message._body_case = STOA__POSTS__V1__ARTICLE___BODY_BODY;
    article.message.body = creation->article->body;
    response.article = &article.message;
    rpc_reply(creation->call, &response.base);
}

static void on_created(void *user, const struct db_result *result)
{
    struct creation *creation = user;
    struct rpc_call *call = creation->call;

    if (result->error == DB_UNIQUE && str_eq(result->constraint, STR("articles_slug_key"))) {
        if (creation->tries < MAX_CREATE_TRIES)
            try_create(creation);
        else
            rpc_fail(call, RPC_ABORTED, "too many articles with this title at once; try again");
        return;
    }
    if (service_query_failed(call, result))
        return;
    if (db_rows(result) == 0) /* the token outlived its account */
        service_fail_field(call, RPC_UNAUTHENTICATED, "TOKEN_INVALID", "token", "is invalid");
    else
        reply_created(creation, result);
}

/* Fills in what a creation stores of the request; on a fault it ends the call and returns false. */
static bool prepare(struct creation *creation)
{
    struct rpc_call *call = creation->call;
    struct arena *arena = rpc_call_arena(call);
    struct tags_fault fault;
    int n = tags_normalise((const char *const *)creation->article->tag_list,
                           creation->article->n_tag_list, arena, &creation->tags, &fault);

    if (n == -EINVAL) {
        struct str field = arena_printf(arena, "article.tag_list[%zu]", fault.index);
        service_fail_field(call, RPC_INVALID_ARGUMENT, "INVALID_FIELDS",
                           field.p ? field.p : "article.tag_list", fault.description);
        return false;
    }
    if (n < 0 || slug_from_title(str_of(creation->article->title), arena, &creation->slug) < 0) {
        service_fail_memory(call);
        return false;
    }
    creation->n_tags = (size_t)n;
    return true;
}

static void create_article(struct service *service, struct rpc_call *call,
                           const Stoa__Posts__V1__CreateArticleRequest *request)
{
    struct creation *creation = arena_calloc(rpc_call_arena(call), 1, sizeof(*creation));

    if (!creation) {
        service_fail_memory(call);
        return;
    }
    creation->service = service;
    creation->call = call;
    creation->article = request->article; /* there, by the contract's rules */
    if (prepare(creation))
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
    Stoa__Posts__V1__GetArticleResponse response = STOA__POSTS__V1__GET_ARTICLE_RESPONSE__INIT;
    struct article article;

    if (service_query_failed(call, result))
        return;
    if (db_rows(result) == 0) {
        service_fail_not_found(call, "article", lookup->slug);
        return;
    }
    if (article_from_row(result, 0, rpc_call_arena(call), &article) < 0) {
        service_fail_memory(call);
        return;
    }
    article.message._body_case = STOA__POSTS__V1__ARTICLE___BODY_BODY;
    article.message.body = (char *)db_get_text(result, 0, ARTICLE_BODY).p;
    response.article = &article.message;
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

/* ---- ListArticles ---- */

/* The filters that are set, as the statements take them; {NULL, 0}: any. */
struct filters {
    struct str tag;
    struct str author, favorited; /* username keys */
};

static void on_articles(void *user, const struct db_result *result)
{
    struct rpc_call *call = user;
    struct arena *arena = rpc_call_arena(call);
    Stoa__Posts__V1__ListArticlesResponse response = STOA__POSTS__V1__LIST_ARTICLES_RESPONSE__INIT;
    struct article *articles;
    int64_t total;
    int n;

    if (service_query_failed(call, result))
        return;
    /* An empty page is one row with nothing but the total. */
    n = db_is_null(result, 0, ARTICLE_SLUG) ? 0 : db_rows(result);
    total = db_get_int8(result, 0, LIST_TOTAL);
    articles = arena_alloc(arena, (size_t)n * sizeof(*articles));
    response.articles = arena_alloc(arena, (size_t)n * sizeof(*response.articles));
    if (!articles || !response.articles) {
        service_fail_memory(call);
        return;
    }
    for (int i = 0; i < n; i++) {
        if (article_from_row(result, i, arena, &articles[i]) < 0) {
            service_fail_memory(call);
            return;
        }
        response.articles[i] = &articles[i].message;
    }
    response.n_articles = (size_t)n;
    response.articles_count = total > INT32_MAX ? INT32_MAX : (int32_t)total;
    rpc_reply(call, &response.base);
}

static int read_filters(const Stoa__Posts__V1__ListArticlesRequest *request, struct arena *arena,
                        struct filters *ret)
{
    int r = 0;

    *ret = (struct filters){.tag = STR_NULL};
    if (*request->tag)
        ret->tag = tag_trim(str_of(request->tag));
    if (*request->author)
        r = username_key(str_of(request->author), arena, &ret->author);
    if (r == 0 && *request->favorited)
        r = username_key(str_of(request->favorited), arena, &ret->favorited);
    return r;
}

/* The statement that serves these filters; its parameters after the page are bound by
 * bind_filters(). */
static enum posts_statement list_statement(const struct filters *filters)
{
    int n = !!filters->tag.p + !!filters->author.p + !!filters->favorited.p;

    if (n == 0)
        return LIST_ARTICLES;
    if (n > 1)
        return LIST_ARTICLES_FILTERED;
    if (filters->tag.p)
        return LIST_ARTICLES_BY_TAG;
    return filters->author.p ? LIST_ARTICLES_BY_AUTHOR : LIST_ARTICLES_BY_FAVORITE;
}

static void bind_filters(struct db_query *query, enum posts_statement statement,
                         const struct filters *filters)
{
    bool all = statement == LIST_ARTICLES_FILTERED;

    if (all || filters->tag.p)
        db_bind_text(query, filters->tag);
    if (all || filters->author.p)
        db_bind_text(query, filters->author);
    if (all || filters->favorited.p)
        db_bind_text(query, filters->favorited);
}

static int32_t page_limit(const Stoa__Posts__V1__ListArticlesRequest *request)
{
    if (request->_limit_case == STOA__POSTS__V1__LIST_ARTICLES_REQUEST___LIMIT__NOT_SET)
        return DEFAULT_PAGE;
    return request->limit > POSTS_MAX_PAGE ? POSTS_MAX_PAGE : request->limit;
}

static void list_articles(struct service *service, struct rpc_call *call,
                          const Stoa__Posts__V1__ListArticlesRequest *request)
{
    struct arena *arena = rpc_call_arena(call);
    enum posts_statement statement;
    struct filters filters;
    struct db_query *query;

    if (read_filters(request, arena, &filters) < 0) {
        service_fail_memory(call);
        return;
    }
    statement = list_statement(&filters);
    query = db_query(service_db(service), arena, statement);
    if (!query) {
        service_fail_memory(call);
        return;
    }
    db_bind_int8(query, service_caller_id(call));
    db_bind_int4(query, page_limit(request));
    db_bind_int4(query, request->offset);
    bind_filters(query, statement, &filters);
    service_query(call, query, on_articles);
}
RPC_UNARY(list_articles, struct service, Stoa__Posts__V1__ListArticlesRequest)

int articles_register(struct service *service, struct str *ret_error)
{
    static const struct rpc_handler handlers[] = {
        {.method = "CreateArticle", .unary = create_article_rpc},
        {.method = "GetArticle", .unary = get_article_rpc},
        {.method = "ListArticles", .unary = list_articles_rpc},
    };

    return rpc_server_add(service_rpc(service), &stoa__posts__v1__article_service__descriptor,
                          handlers, ARRAY_SIZE(handlers), service, ret_error);
}
