/* ListArticles, ListFeed, ListTags: each binds one statement on a poller thread and answers from
 * its outcome on the database's engine thread. */
#include "posts.h"
#include "rows.h"
#include "tags.h"
#include "text/username_key.h"

#include <errno.h>

#define DEFAULT_PAGE 20

/* ---- pages ---- */

static int32_t page_limit(bool is_set, int32_t asked)
{
    if (!is_set)
        return DEFAULT_PAGE;
    return asked > POSTS_MAX_PAGE ? POSTS_MAX_PAGE : asked;
}

/* The parameters that all lists begin with. */
static void bind_page(struct db_query *query, const struct rpc_call *call, int32_t limit,
                      int32_t offset)
{
    db_bind_int8(query, service_caller_id(call));
    db_bind_int4(query, limit);
    db_bind_int4(query, offset);
    db_bind_timestamp(query, INT64_MAX);
    db_bind_int8(query, INT64_MAX);
}

/* A list of articles, as both answers have it. */
struct list {
    Stoa__Posts__V1__Article **articles;
    size_t n;
    int32_t total;
};

static int list_from_result(const struct db_result *result, struct arena *arena, struct list *ret)
{
    /* An empty page is one row with nothing but the total. */
    int n = db_is_null(result, 0, ARTICLE_SLUG) ? 0 : db_rows(result);
    int64_t total = db_get_int8(result, 0, LIST_TOTAL);
    struct article *articles = arena_alloc(arena, (size_t)n * sizeof(*articles));

    ret->articles = arena_alloc(arena, (size_t)n * sizeof(struct article *));
    if (!articles || !ret->articles)
        return -ENOMEM;
    for (int i = 0; i < n; i++) {
        if (article_from_row(&(struct row){result, i, arena, false}, &articles[i]) < 0)
            return -ENOMEM;
        ret->articles[i] = &articles[i].message;
    }
    ret->n = (size_t)n;
    ret->total = total > INT32_MAX ? INT32_MAX : (int32_t)total;
    return 0;
}

/* ---- ListArticles ---- */

/* The filters that are set, as the statements take them; {NULL, 0}: any. */
struct filters {
    struct str tag;
    struct str author, favorited; /* username keys */
};

static void on_articles(void *user, const struct db_result *result)
{
    struct rpc_call *call = user;
    Stoa__Posts__V1__ListArticlesResponse response = STOA__POSTS__V1__LIST_ARTICLES_RESPONSE__INIT;
    struct list list;

    if (service_query_failed(call, result))
        return;
    if (list_from_result(result, rpc_call_arena(call), &list) < 0) {
        service_fail_memory(call);
        return;
    }
    response.articles = list.articles;
    response.n_articles = list.n;
    response.articles_count = list.total;
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

static void list_articles(struct service *service, struct rpc_call *call,
                          const Stoa__Posts__V1__ListArticlesRequest *request)
{
    struct arena *arena = rpc_call_arena(call);
    bool limited = request->_limit_case != STOA__POSTS__V1__LIST_ARTICLES_REQUEST___LIMIT__NOT_SET;
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
    bind_page(query, call, page_limit(limited, request->limit), request->offset);
    bind_filters(query, statement, &filters);
    service_query(call, query, on_articles);
}
RPC_UNARY(list_articles, struct service, Stoa__Posts__V1__ListArticlesRequest)

/* ---- ListFeed ---- */

static void on_feed(void *user, const struct db_result *result)
{
    struct rpc_call *call = user;
    Stoa__Posts__V1__ListFeedResponse response = STOA__POSTS__V1__LIST_FEED_RESPONSE__INIT;
    struct list list;

    if (service_query_failed(call, result))
        return;
    if (list_from_result(result, rpc_call_arena(call), &list) < 0) {
        service_fail_memory(call);
        return;
    }
    response.articles = list.articles;
    response.n_articles = list.n;
    response.articles_count = list.total;
    rpc_reply(call, &response.base);
}

static void list_feed(struct service *service, struct rpc_call *call,
                      const Stoa__Posts__V1__ListFeedRequest *request)
{
    struct db_query *query = db_query(service_db(service), rpc_call_arena(call), LIST_FEED);
    bool limited = request->_limit_case != STOA__POSTS__V1__LIST_FEED_REQUEST___LIMIT__NOT_SET;

    if (!query) {
        service_fail_memory(call);
        return;
    }
    bind_page(query, call, page_limit(limited, request->limit), request->offset);
    service_query(call, query, on_feed);
}
RPC_UNARY(list_feed, struct service, Stoa__Posts__V1__ListFeedRequest)

/* ---- ListTags ---- */

static void on_tags(void *user, const struct db_result *result)
{
    struct rpc_call *call = user;
    Stoa__Posts__V1__ListTagsResponse response = STOA__POSTS__V1__LIST_TAGS_RESPONSE__INIT;
    size_t n;

    if (service_query_failed(call, result))
        return;
    n = (size_t)db_rows(result);
    response.tags = arena_alloc(rpc_call_arena(call), n * sizeof(*response.tags));
    if (!response.tags) {
        service_fail_memory(call);
        return;
    }
    for (size_t i = 0; i < n; i++)
        response.tags[i] = (char *)db_get_text(result, (int)i, 0).p;
    response.n_tags = n;
    rpc_reply(call, &response.base);
}

static void list_tags(struct service *service, struct rpc_call *call,
                      const Stoa__Posts__V1__ListTagsRequest *request UNUSED)
{
    service_query(call, db_query(service_db(service), rpc_call_arena(call), LIST_TAGS), on_tags);
}
RPC_UNARY(list_tags, struct service, Stoa__Posts__V1__ListTagsRequest)

const struct rpc_handler list_articles_handler = {.method = "ListArticles",
                                                  .unary = list_articles_rpc},
                         list_feed_handler = {.method = "ListFeed", .unary = list_feed_rpc},
                         list_tags_handler = {.method = "ListTags", .unary = list_tags_rpc};
