/* CreateArticle, GetArticle: each is one statement, submitted and answered on a poller thread.
 * Creates without an idempotency key go together when there are many, and so do reads. */
#include "etag.h"
#include "idempotency.h"
#include "input.h"
#include "posts.h"
#include "rows.h"

/* ---- CreateArticle: the statements ---- */

#define MAX_CREATE_STATEMENTS 3 /* as many backends commit beside each other */
#define MAX_CREATES 32          /* in one statement */
#define MAX_CREATE_BYTES (256 * 1024)

/* A create on its way, in its call's arena. */
struct creation {
    struct service *service;
    struct rpc_call *call;
    const Stoa__Posts__V1__CreateArticleRequest__NewArticle *article;
    struct tag_list tags;
    struct slug slug;
    struct slugs slugs;
    struct idempotency idempotency;
    int tries;
    struct db_group_item item;
};

static void bind_creation(struct db_query *query, const struct creation *creation)
{
    db_bind_int8(query, service_caller_id(creation->call));
    db_bind_text(query, creation->slugs.preferred);
    db_bind_text(query, creation->slugs.unique);
    db_bind_text(query, str_of(creation->article->title));
    db_bind_text(query, str_of(creation->article->description));
    db_bind_text(query, str_of(creation->article->body));
    db_bind_text_array(query, creation->tags.tags, creation->tags.n);
    bind_idempotency(query, &creation->idempotency);
}

static const struct creation *creation_of(const struct db_group_item *item)
{
    return CONTAINER_OF(item, struct creation, item);
}

static void bind_one(struct db_query *query, const struct db_group_item *item)
{
    bind_creation(query, creation_of(item));
}

/* CREATE_ARTICLES has a text array for each of these. */
static struct str text_of(const struct creation *creation, int param)
{
    switch (param) {
    case 0:
        return creation->slugs.preferred;
    case 1:
        return creation->slugs.unique;
    case 2:
        return str_of(creation->article->title);
    case 3:
        return str_of(creation->article->description);
    default:
        return str_of(creation->article->body);
    }
}

static void bind_many(struct db_query *query, struct db_group_item *const *items, size_t n)
{
    int64_t numbers[MAX_CREATES * ARTICLE_MAX_TAGS];
    struct str texts[MAX_CREATES * ARTICLE_MAX_TAGS];
    size_t n_tags = 0;

    for (size_t i = 0; i < n; i++)
        numbers[i] = service_caller_id(creation_of(items[i])->call);
    db_bind_int8_array(query, numbers, n);
    for (int param = 0; param < 5; param++) {
        for (size_t i = 0; i < n; i++)
            texts[i] = text_of(creation_of(items[i]), param);
        db_bind_text_array(query, texts, n);
    }
    for (size_t i = 0; i < n; i++) {
        const struct tag_list *tags = &creation_of(items[i])->tags;

        for (size_t t = 0; t < tags->n; t++, n_tags++) {
            numbers[n_tags] = (int64_t)i + 1;
            texts[n_tags] = tags->tags[t];
        }
    }
    db_bind_int8_array(query, numbers, n_tags);
    db_bind_text_array(query, texts, n_tags);
}

static void on_created(void *user, const struct db_result *result);

/* By itself. */
static void try_create(struct creation *creation)
{
    struct rpc_call *call = creation->call;
    struct db_query *query =
        db_query(service_db(creation->service), rpc_call_arena(call), CREATE_ARTICLE);

    creation->tries++;
    if (!make_slugs(call, &creation->slug, &creation->slugs))
        return;
    if (!query) {
        service_fail_memory(call);
        return;
    }
    bind_creation(query, creation);
    (void)service_query_with(call, query, on_created, creation);
}

/* With others, if there are any. */
static void create_in_group(struct creation *creation)
{
    const Stoa__Posts__V1__CreateArticleRequest__NewArticle *article = creation->article;
    const struct posts *posts = service_state(creation->service);

    creation->tries++;
    if (!make_slugs(creation->call, &creation->slug, &creation->slugs))
        return;
    creation->item.bytes =
        strlen(article->title) + strlen(article->description) + strlen(article->body);
    (void)service_group(creation->call, posts->creations, service_db(creation->service),
                        &creation->item);
}

/* ---- CreateArticle: the answer ---- */

static void reply_created(const struct creation *creation, const struct db_result *result,
                          int number)
{
    const struct row row = {
        .result = result, .number = number, .arena = rpc_call_arena(creation->call)};
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

    switch (read_replay(creation->call, result, REPLAY_ARTICLE_IS_SAME)) {
    case REPLAY_FIRST:
        reply_created(creation, result, 0);
        break;
    case REPLAY_GONE:
        create_again(creation);
        break;
    case REPLAY_FAILED:
        break;
    }
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

/* row: its own, -1: there is none. */
static void created(struct creation *creation, const struct db_result *result, int row)
{
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
    if (row < 0)
        fail_no_account(call);
    else
        reply_created(creation, result, row);
}

static void on_created(void *user, const struct db_result *result)
{
    created(user, result, db_rows(result) - 1);
}

static void on_created_in_group(struct db_group_item *item, const struct db_result *result, int row)
{
    created(CONTAINER_OF(item, struct creation, item), result, row);
}

int creations_new(struct db_group **ret)
{
    return db_group_new(&(struct db_group_options){.one = CREATE_ARTICLE,
                                                   .many = CREATE_ARTICLES,
                                                   .max_statements = MAX_CREATE_STATEMENTS,
                                                   .max_items = MAX_CREATES,
                                                   .max_bytes = MAX_CREATE_BYTES,
                                                   .number_column = CREATED_NUMBER,
                                                   .bind_one = bind_one,
                                                   .bind_many = bind_many,
                                                   .done = on_created_in_group},
                        ret);
}

static bool texts_are_there(struct rpc_call *call,
                            const Stoa__Posts__V1__CreateArticleRequest__NewArticle *article)
{
    struct schema_fault faults[3];
    size_t n = add_if_blank(faults, 0, "article.title", article->title);

    n = add_if_blank(faults, n, "article.description", article->description);
    n = add_if_blank(faults, n, "article.body", article->body);
    if (n > 0)
        service_fail_fields(call, RPC_INVALID_ARGUMENT, "INVALID_FIELDS", faults, n);
    return n == 0;
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
    if (!texts_are_there(call, article) ||
        !read_idempotency(call, &request->base, &creation->idempotency) ||
        !read_tags(call, "article", article->tag_list, article->n_tag_list, &creation->tags))
        return;
    if (slug_from_title(str_of(article->title), rpc_call_arena(call), &creation->slug) < 0) {
        service_fail_memory(call);
        return;
    }
    if (creation->idempotency.key.p)
        try_create(creation);
    else
        create_in_group(creation);
}
RPC_UNARY(create_article, struct service, Stoa__Posts__V1__CreateArticleRequest)

/* ---- GetArticle ---- */

/* One statement at a time, unless it is slow: then as many as there are connections for reads. */
#define MAX_LOOKUP_STATEMENTS 4
#define LOOKUP_PATIENCE_NS (20 * NSEC_PER_MSEC)
#define MAX_LOOKUPS 32               /* in one statement */
#define MAX_LOOKUP_BYTES (64 * 1024) /* of slugs */

/* A read on its way, in its call's arena. */
struct lookup {
    struct rpc_call *call;
    struct str slug;
    struct db_group_item item;
};

static const struct lookup *lookup_of(const struct db_group_item *item)
{
    return CONTAINER_OF(item, struct lookup, item);
}

static void bind_lookup(struct db_query *query, const struct db_group_item *item)
{
    db_bind_int8(query, service_caller_id(lookup_of(item)->call));
    db_bind_text(query, lookup_of(item)->slug);
}

static void bind_lookups(struct db_query *query, struct db_group_item *const *items, size_t n)
{
    int64_t callers[MAX_LOOKUPS];
    struct str slugs[MAX_LOOKUPS];

    for (size_t i = 0; i < n; i++) {
        callers[i] = service_caller_id(lookup_of(items[i])->call);
        slugs[i] = lookup_of(items[i])->slug;
    }
    db_bind_int8_array(query, callers, n);
    db_bind_text_array(query, slugs, n);
}

/* number: its own row, -1: there is none. */
static void on_article(struct db_group_item *item, const struct db_result *result, int number)
{
    const struct lookup *lookup = lookup_of(item);
    struct rpc_call *call = lookup->call;
    const struct row row = {.result = result, .number = number, .arena = rpc_call_arena(call)};
    Stoa__Posts__V1__GetArticleResponse response = STOA__POSTS__V1__GET_ARTICLE_RESPONSE__INIT;
    struct article article;

    if (service_query_failed(call, result))
        return;
    if (number < 0) {
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

int lookups_new(struct db_group **ret)
{
    return db_group_new(&(struct db_group_options){.one = GET_ARTICLE,
                                                   .many = GET_ARTICLES,
                                                   .plain_one = GET_ARTICLE_ANONYMOUS,
                                                   .plain_many = GET_ARTICLES_ANONYMOUS,
                                                   .max_statements = MAX_LOOKUP_STATEMENTS,
                                                   .patience_ns = LOOKUP_PATIENCE_NS,
                                                   .max_items = MAX_LOOKUPS,
                                                   .max_bytes = MAX_LOOKUP_BYTES,
                                                   .number_column = GOT_NUMBER,
                                                   .bind_one = bind_lookup,
                                                   .bind_many = bind_lookups,
                                                   .done = on_article},
                        ret);
}

static void get_article(struct service *service, struct rpc_call *call,
                        const Stoa__Posts__V1__GetArticleRequest *request)
{
    const struct posts *posts = service_state(service);
    struct lookup *lookup = arena_calloc(rpc_call_arena(call), 1, sizeof(*lookup));

    if (!lookup) {
        service_fail_memory(call);
        return;
    }
    lookup->call = call;
    lookup->slug = str_of(request->slug);
    lookup->item.bytes = lookup->slug.n;
    lookup->item.plain = service_caller_id(call) == 0;
    (void)service_group(call, posts->lookups, service_db(service), &lookup->item);
}
RPC_UNARY(get_article, struct service, Stoa__Posts__V1__GetArticleRequest)

const struct rpc_handler create_article_handler = {.method = "CreateArticle",
                                                   .unary = create_article_rpc},
                         get_article_handler = {.method = "GetArticle", .unary = get_article_rpc};
