/* FavoriteArticle, UnfavoriteArticle: each binds one statement on a poller thread and answers from
 * its outcome on a poller thread again. */
#include "etag.h"
#include "posts.h"
#include "rows.h"

/* A call on its way, in its arena. */
struct change {
    struct rpc_call *call;
    struct str slug;
    void (*reply)(struct rpc_call *call, Stoa__Posts__V1__Article *article);
};

static void on_changed(void *user, const struct db_result *result)
{
    const struct change *change = user;
    struct rpc_call *call = change->call;
    const struct row row = {.result = result, .arena = rpc_call_arena(call)};
    struct article article;

    if (service_query_failed(call, result))
        return;
    if (db_rows(result) == 0)
        fail_no_account(call);
    else if (db_is_null(result, 0, ARTICLE_ID))
        service_fail_not_found(call, "article", change->slug);
    else if (article_from_row_in_full(&row, &article) < 0)
        service_fail_memory(call);
    else if (tag_article(call, &article))
        change->reply(call, &article.message);
}

static void submit(struct service *service, struct rpc_call *call, enum posts_statement statement,
                   struct change with)
{
    struct arena *arena = rpc_call_arena(call);
    struct change *change = arena_alloc(arena, sizeof(*change));
    struct db_query *query = db_query(service_db(service), arena, statement);

    if (!change || !query) {
        service_fail_memory(call);
        return;
    }
    *change = with;
    db_bind_int8(query, service_caller_id(call));
    db_bind_text(query, change->slug);
    (void)service_query_with(call, query, on_changed, change);
}

static void reply_favorited(struct rpc_call *call, Stoa__Posts__V1__Article *article)
{
    Stoa__Posts__V1__FavoriteArticleResponse response =
        STOA__POSTS__V1__FAVORITE_ARTICLE_RESPONSE__INIT;

    response.article = article;
    rpc_reply(call, &response.base);
}

static void favorite_article(struct service *service, struct rpc_call *call,
                             const Stoa__Posts__V1__FavoriteArticleRequest *request)
{
    submit(service, call, FAVORITE_ARTICLE,
           (struct change){call, str_of(request->slug), reply_favorited});
}
RPC_UNARY(favorite_article, struct service, Stoa__Posts__V1__FavoriteArticleRequest)

static void reply_unfavorited(struct rpc_call *call, Stoa__Posts__V1__Article *article)
{
    Stoa__Posts__V1__UnfavoriteArticleResponse response =
        STOA__POSTS__V1__UNFAVORITE_ARTICLE_RESPONSE__INIT;

    response.article = article;
    rpc_reply(call, &response.base);
}

static void unfavorite_article(struct service *service, struct rpc_call *call,
                               const Stoa__Posts__V1__UnfavoriteArticleRequest *request)
{
    submit(service, call, UNFAVORITE_ARTICLE,
           (struct change){call, str_of(request->slug), reply_unfavorited});
}
RPC_UNARY(unfavorite_article, struct service, Stoa__Posts__V1__UnfavoriteArticleRequest)

const struct rpc_handler favorite_article_handler = {.method = "FavoriteArticle",
                                                     .unary = favorite_article_rpc},
                         unfavorite_article_handler = {.method = "UnfavoriteArticle",
                                                       .unary = unfavorite_article_rpc};
