/* UpdateArticle, DeleteArticle: a transaction each, on a thread of the database's pool. It locks
 * the article, decides whether the caller may change it, and changes it. */
#include "etag.h"
#include "input.h"
#include "posts.h"
#include "rows.h"

#include <errno.h>

/* What came of looking at the article. */
enum verdict {
    MAY_CHANGE,
    NOT_FOUND,
    FORBIDDEN,
    CHANGED /* a condition fails */,
    FAILED /* the database said no */
};

/* Changes of an article; {NULL, 0}: stays. */
struct changes {
    struct str title, description, body;
    bool has_tags;
    struct tag_list tags;
    struct slug slug; /* with a title */
};

/* A call on its way, in its arena. */
struct edit {
    struct service *service;
    struct rpc_call *call;
    struct str slug;
    int64_t id; /* of the locked article */
    struct changes changes;
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

/* Ends the call unless the article was changed; true: it was not. */
static bool edit_failed(const struct edit *edit, const struct db_result *outcome, int verdict)
{
    struct rpc_call *call = edit->call;

    if (service_query_failed(call, outcome))
        return true;
    switch ((enum verdict)verdict) {
    case MAY_CHANGE:
        return false;
    case NOT_FOUND:
        service_fail_not_found(call, "article", edit->slug);
        return true;
    case FORBIDDEN:
        fail_forbidden(call, "article", edit->slug);
        return true;
    case CHANGED:
        fail_changed(call, "article", edit->slug);
        return true;
    case FAILED: /* without a database error: no memory for the query */
        break;
    }
    service_fail_memory(call);
    return true;
}

/* ---- UpdateArticle: what changes ---- */

struct faults {
    struct schema_fault list[8];
    size_t n;
};

static void add_fault(struct faults *faults, const char *path, const char *message)
{
    if (faults->n < ARRAY_SIZE(faults->list))
        faults->list[faults->n++] = (struct schema_fault){str_of(path), str_of(message)};
}

/* A text that the mask names: there, or null, which is as blank as it gets. */
static void take_text(bool is_set, const char *value, const char *path, struct str *ret,
                      struct faults *faults)
{
    if (is_set)
        *ret = str_of(value);
    else
        add_fault(faults, path, "can't be blank");
}

typedef Stoa__Posts__V1__UpdateArticleRequest__ArticleChanges article_changes;

#define IS_SET(changes, field) ((changes)->_##field##_case != 0)

/* What one path of the mask names. */
static void take_path(const article_changes *from, struct str path, struct edit *edit,
                      struct faults *faults)
{
    struct changes *to = &edit->changes;
    bool all = str_eq(path, STR("*")), known = all;

    if (all || str_eq(path, STR("title"))) {
        take_text(IS_SET(from, title), from->title, "article.title", &to->title, faults);
        known = true;
    }
    if (all || str_eq(path, STR("description"))) {
        take_text(IS_SET(from, description), from->description, "article.description",
                  &to->description, faults);
        known = true;
    }
    if (all || str_eq(path, STR("body"))) {
        take_text(IS_SET(from, body), from->body, "article.body", &to->body, faults);
        known = true;
    }
    if (all || str_eq(path, STR("tag_list")))
        known = to->has_tags = true;
    if (!known)
        add_fault(faults, "update_mask", "names a field that an article does not have");
}

/* Without a mask what is set counts (AIP-134). */
static void take_what_is_set(const article_changes *from, struct changes *to)
{
    if (IS_SET(from, title))
        to->title = str_of(from->title);
    if (IS_SET(from, description))
        to->description = str_of(from->description);
    if (IS_SET(from, body))
        to->body = str_of(from->body);
    to->has_tags = from->n_tag_list > 0;
}

/* Fills in the changes; on a fault it ends the call and returns false. */
static bool read_changes(struct edit *edit, const Stoa__Posts__V1__UpdateArticleRequest *request)
{
    const article_changes *from = request->article; /* there, by the contract's rules */
    const Google__Protobuf__FieldMask *mask = request->update_mask;
    struct changes *changes = &edit->changes;
    struct faults faults = {.n = 0};

    if (!mask)
        take_what_is_set(from, changes);
    for (size_t i = 0; mask && i < mask->n_paths; i++)
        take_path(from, str_of(mask->paths[i]), edit, &faults);
    if (faults.n > 0) {
        service_fail_fields(edit->call, RPC_INVALID_ARGUMENT, "INVALID_FIELDS", faults.list,
                            faults.n);
        return false;
    }
    if (changes->has_tags &&
        !read_tags(edit->call, from->tag_list, from->n_tag_list, &changes->tags))
        return false;
    if (changes->title.p &&
        slug_from_title(changes->title, rpc_call_arena(edit->call), &changes->slug) < 0) {
        service_fail_memory(edit->call);
        return false;
    }
    return true;
}

/* ---- UpdateArticle: the transaction ---- */

static void bind_update(struct db_query *query, const struct edit *edit, bool new_title)
{
    const struct changes *changes = &edit->changes;

    db_bind_int8(query, service_caller_id(edit->call));
    db_bind_int8(query, edit->id);
    db_bind_text(query, new_title ? edit->slugs.preferred : STR_NULL);
    db_bind_text(query, new_title ? edit->slugs.unique : STR_NULL);
    db_bind_text(query, changes->title);
    db_bind_text(query, changes->description);
    db_bind_text(query, changes->body);
    if (changes->has_tags)
        db_bind_text_array(query, changes->tags.tags, changes->tags.n);
    else
        db_bind_null(query);
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
    if (edit->changes.title.p && !make_slugs(edit->call, &edit->changes.slug, &edit->slugs))
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
    if (edit_failed(edit, outcome, verdict))
        return;
    response.article = &edit->article.message;
    if (tag_article(edit->call, &edit->article))
        rpc_reply(edit->call, &response.base);
}

static struct edit *begin(struct service *service, struct rpc_call *call, const char *slug)
{
    struct edit *edit;

    if (!read_conditions(call))
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
    struct edit *edit = begin(service, call, request->slug);

    if (edit && read_changes(edit, request))
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

    if (!edit_failed(edit, outcome, verdict))
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
