/* UpdateArticle, DeleteArticle: a transaction each, on a thread of the database's pool. It locks
 * the article, decides whether the caller may change it, and changes it. */
#include "changes.h"
#include "etag.h"
#include "posts.h"
#include "rows.h"
#include "verdict.h"

#include <errno.h>

/* A call on its way, in its arena. */
struct edit {
    struct service *service;
    struct rpc_call *call;
    struct str slug;
    int64_t id; /* of the locked article */
    struct changes changes;
    struct slug slug_of_title; /* with a title */
    struct slugs slugs;
    int tries;
    struct article article; /* as it is afterwards */
};

/* ---- what both do ---- */

static enum verdict lock(struct edit *edit, struct db_tx *tx, struct db_result *ret)
{
    struct db_query *query =
        db_query(service_db(edit->service), rpc_call_arena(edit->call), LOCK_ARTICLE);

    if (!query)
        return FAILED;
    db_bind_text(query, edit->slug);
    if (db_tx_run(tx, query, ret) != DB_OK)
        return FAILED;
    if (db_rows(ret) == 0)
        return NOT_FOUND;
    if (db_get_int8(ret, 0, LOCKED_AUTHOR_ID) != service_caller_id(edit->call))
        return FORBIDDEN;
    edit->id = db_get_int8(ret, 0, LOCKED_ID);
    if (!conditions_hold(edit->call,
                         (struct version){edit->id, db_get_timestamp(ret, 0, LOCKED_UPDATED_AT)}))
        return CHANGED;
    return MAY_CHANGE;
}

/* ---- UpdateArticle ---- */

static void bind_update(struct db_query *query, const struct edit *edit, bool new_title)
{
    db_bind_int8(query, service_caller_id(edit->call));
    db_bind_int8(query, edit->id);
    db_bind_text(query, new_title ? edit->slugs.preferred : STR_NULL);
    db_bind_text(query, new_title ? edit->slugs.unique : STR_NULL);
    bind_changes(query, &edit->changes);
}

static int update_in_transaction(struct db_tx *tx, void *user)
{
    struct edit *edit = user;
    struct arena *arena = rpc_call_arena(edit->call);
    struct db_query *query = db_query(service_db(edit->service), arena, UPDATE_ARTICLE);
    struct db_result result;
    enum verdict verdict = lock(edit, tx, &result);
    bool new_title;

    if (verdict != MAY_CHANGE)
        return verdict;
    if (!query)
        return FAILED;
    new_title = edit->changes.title.p &&
                !str_eq(edit->changes.title, db_get_text(&result, 0, LOCKED_TITLE));
    bind_update(query, edit, new_title);
    if (db_tx_run(tx, query, &result) != DB_OK)
        return FAILED;
    if (db_rows(&result) == 0) /* its author's account has gone */
        return NOT_FOUND;
    return article_from_row_in_full(&(struct row){&result, 0, arena, true}, &edit->article) < 0
               ? FAILED
               : MAY_CHANGE;
}

static void on_updated(void *user, const struct db_result *outcome, int verdict);

static void try_update(struct edit *edit)
{
    edit->tries++;
    if (edit->changes.title.p && !make_slugs(edit->call, &edit->slug_of_title, &edit->slugs))
        return;
    (void)service_transaction(edit->call, service_db(edit->service), update_in_transaction,
                              on_updated, edit);
}

static void on_updated(void *user, const struct db_result *outcome, int verdict)
{
    struct edit *edit = user;
    Stoa__Posts__V1__UpdateArticleResponse response =
        STOA__POSTS__V1__UPDATE_ARTICLE_RESPONSE__INIT;

    if (slug_was_taken(outcome)) {
        if (edit->tries < MAX_SLUG_TRIES)
            try_update(edit);
        else
            fail_slug_taken(edit->call);
        return;
    }
    if (verdict_failed(edit->call, outcome, verdict, "article", edit->slug))
        return;
    response.article = &edit->article.message;
    if (tag_article(edit->call, &edit->article))
        rpc_reply(edit->call, &response.base);
}

static struct edit *begin(struct service *service, struct rpc_call *call, const char *slug)
{
    struct edit *edit;

    if (!service_read_conditions(call))
        return NULL;
    edit = arena_calloc(rpc_call_arena(call), 1, sizeof(*edit));
    if (!edit) {
        service_fail_memory(call);
        return NULL;
    }
    edit->service = service;
    edit->call = call;
    edit->slug = str_of(slug);
    return edit;
}

static void update_article(struct service *service, struct rpc_call *call,
                           const Stoa__Posts__V1__UpdateArticleRequest *request)
{
    /* The article is there, by the contract's rules. */
    const struct given given =
        GIVEN(request->article, .of = "article", .mask = request->update_mask);
    struct edit *edit = begin(service, call, request->slug);

    if (!edit || !read_changes(call, &given, &edit->changes))
        return;
    if (edit->changes.title.p &&
        slug_from_title(edit->changes.title, rpc_call_arena(call), &edit->slug_of_title) < 0)
        service_fail_memory(call);
    else
        try_update(edit);
}
RPC_UNARY(update_article, struct service, Stoa__Posts__V1__UpdateArticleRequest)

/* ---- DeleteArticle ---- */

static int delete_in_transaction(struct db_tx *tx, void *user)
{
    struct edit *edit = user;
    struct db_query *query =
        db_query(service_db(edit->service), rpc_call_arena(edit->call), DELETE_ARTICLE);
    struct db_result result;
    enum verdict verdict = lock(edit, tx, &result);

    if (verdict != MAY_CHANGE)
        return verdict;
    if (!query)
        return FAILED;
    db_bind_int8(query, edit->id);
    return db_tx_run(tx, query, &result) == DB_OK ? MAY_CHANGE : FAILED;
}

static void on_deleted(void *user, const struct db_result *outcome, int verdict)
{
    struct edit *edit = user;
    Stoa__Posts__V1__DeleteArticleResponse response =
        STOA__POSTS__V1__DELETE_ARTICLE_RESPONSE__INIT;

    if (!verdict_failed(edit->call, outcome, verdict, "article", edit->slug))
        rpc_reply(edit->call, &response.base);
}

static void delete_article(struct service *service, struct rpc_call *call,
                           const Stoa__Posts__V1__DeleteArticleRequest *request)
{
    struct edit *edit = begin(service, call, request->slug);

    if (edit)
        (void)service_transaction(call, service_db(service), delete_in_transaction, on_deleted,
                                  edit);
}
RPC_UNARY(delete_article, struct service, Stoa__Posts__V1__DeleteArticleRequest)

const struct rpc_handler update_article_handler = {.method = "UpdateArticle",
                                                   .unary = update_article_rpc},
                         delete_article_handler = {.method = "DeleteArticle",
                                                   .unary = delete_article_rpc};
