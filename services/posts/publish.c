/* PublishDraft: a transaction on a thread of the database's pool. It locks the draft, judges it by
 * the rules of CreateArticle, creates the article as that does, and deletes the draft. With an
 * idempotency key the article is kept beside the key: the draft that made it is gone. */
#include "drafts.h"
#include "etag.h"
#include "idempotency.h"
#include "input.h"
#include "posts.h"

#include <errno.h>

typedef Stoa__Posts__V1__CreateArticleRequest__NewArticle new_article;

/* A call on its way, in its arena. */
struct publication {
    struct service *service;
    struct rpc_call *call;
    uint32_t id; /* of the draft */
    struct idempotency idempotency;
    int tries;
    struct draft draft;
    struct article article; /* that it becomes */
    /* Why it is REFUSED: the faults, or, without one, that the caller has no account. */
    struct schema_fault *faults;
    int n_faults;
    bool gone; /* the draft: a replay, or there never was one */
};

static void try_publish(struct publication *publication);

/* ---- the transaction ---- */

#define MAX_BLANK 3 /* texts */

/* Texts with white space that the contract's rules do not know. */
static int add_blank_texts(struct publication *publication)
{
    const Stoa__Posts__V1__Draft *draft = &publication->draft.message;
    struct schema_fault *faults =
        arena_calloc(rpc_call_arena(publication->call), MAX_BLANK, sizeof(*faults));
    size_t n;

    if (!faults)
        return -ENOMEM;
    n = add_if_blank(faults, 0, "article.title", draft->title);
    n = add_if_blank(faults, n, "article.description", draft->description);
    n = add_if_blank(faults, n, "article.body", draft->body);
    publication->faults = faults;
    return (int)n;
}

/* By the rules of a new article. */
static enum verdict judge(struct publication *publication)
{
    const struct schema_message *type = schema_message(service_schema(publication->service),
                                                       STR("stoa.posts.v1.CreateArticleRequest"));
    struct arena *arena = rpc_call_arena(publication->call);
    const Stoa__Posts__V1__Draft *draft = &publication->draft.message;
    Stoa__Posts__V1__CreateArticleRequest request = STOA__POSTS__V1__CREATE_ARTICLE_REQUEST__INIT;
    new_article article = STOA__POSTS__V1__CREATE_ARTICLE_REQUEST__NEW_ARTICLE__INIT;

    article.title = draft->title;
    article.description = draft->description;
    article.body = draft->body;
    article.tag_list = draft->tag_list;
    article.n_tag_list = draft->n_tag_list;
    request.article = &article;
    publication->n_faults = schema_validate(type, &request.base, arena, &publication->faults);
    if (publication->n_faults == 0)
        publication->n_faults = add_blank_texts(publication);
    if (publication->n_faults < 0)
        return FAILED;
    return publication->n_faults > 0 ? REFUSED : MAY_CHANGE;
}

static int bind_article(struct db_query *query, struct publication *publication)
{
    const Stoa__Posts__V1__Draft *draft = &publication->draft.message;
    struct arena *arena = rpc_call_arena(publication->call);
    struct str *tags = arena_calloc(arena, draft->n_tag_list, sizeof(*tags));
    struct slug slug;
    struct slugs slugs = {.preferred = STR_NULL};
    int r = tags ? slug_from_title(str_of(draft->title), arena, &slug) : -ENOMEM;

    if (r == 0)
        r = try_slugs(&slug, arena, &slugs);
    if (r < 0)
        return r;
    for (size_t i = 0; i < draft->n_tag_list; i++)
        tags[i] = str_of(draft->tag_list[i]);
    db_bind_int8(query, service_caller_id(publication->call));
    db_bind_text(query, slugs.preferred);
    db_bind_text(query, slugs.unique);
    db_bind_text(query, str_of(draft->title));
    db_bind_text(query, str_of(draft->description));
    db_bind_text(query, str_of(draft->body));
    db_bind_text_array(query, tags, draft->n_tag_list);
    bind_idempotency(query, &publication->idempotency);
    return 0;
}

static enum verdict create(struct publication *publication, struct db_tx *tx)
{
    struct arena *arena = rpc_call_arena(publication->call);
    struct db_query *query = db_query(service_db(publication->service), arena, CREATE_ARTICLE);
    struct article *article = &publication->article;
    struct db_result result;

    if (!query || bind_article(query, publication) < 0)
        return FAILED;
    if (db_tx_run(tx, query, &result) != DB_OK)
        return FAILED;
    if (db_rows(&result) == 0)
        return REFUSED;
    if (article_from_row(&(struct row){&result, 0, arena, true}, article) < 0)
        return FAILED;
    article->message._body_case = STOA__POSTS__V1__ARTICLE___BODY_BODY;
    article->message.body = publication->draft.message.body;
    return MAY_CHANGE;
}

/* The answer, for a replay; but for the author, who is today's then. */
static enum verdict keep(struct publication *publication, struct db_tx *tx)
{
    struct arena *arena = rpc_call_arena(publication->call);
    struct db_query *query = db_query(service_db(publication->service), arena, KEEP_PUBLISHED);
    Stoa__Posts__V1__Article article = publication->article.message;
    struct db_result result;
    size_t n;
    char *bytes;

    article.author = NULL;
    n = protobuf_c_message_get_packed_size(&article.base);
    bytes = arena_alloc(arena, n);
    if (!query || !bytes)
        return FAILED;
    protobuf_c_message_pack(&article.base, (uint8_t *)bytes);
    db_bind_int8(query, service_caller_id(publication->call));
    db_bind_text(query, publication->idempotency.key);
    db_bind_bytea(query, (struct str){bytes, n});
    return db_tx_run(tx, query, &result) == DB_OK ? MAY_CHANGE : FAILED;
}

static int publish_in_transaction(struct db_tx *tx, void *user)
{
    struct publication *publication = user;
    enum verdict verdict = lock_draft(publication->service, publication->call, tx, publication->id,
                                      &publication->draft);

    publication->n_faults = 0;
    if (verdict == MAY_CHANGE)
        verdict = judge(publication);
    if (verdict == MAY_CHANGE)
        verdict = create(publication, tx);
    if (verdict == MAY_CHANGE && publication->idempotency.key.p)
        verdict = keep(publication, tx);
    if (verdict == MAY_CHANGE)
        verdict = delete_locked_draft(publication->service, publication->call, tx, publication->id);
    return verdict;
}

/* ---- the answer ---- */

static void reply(struct publication *publication)
{
    Stoa__Posts__V1__PublishDraftResponse response = STOA__POSTS__V1__PUBLISH_DRAFT_RESPONSE__INIT;

    response.article = &publication->article.message;
    if (tag_article(publication->call, &publication->article))
        rpc_reply(publication->call, &response.base);
}

/* What was kept, as it was answered then, with its author of today. */
static void reply_kept(struct publication *publication, const struct db_result *result)
{
    const struct row row = {.result = result, .arena = rpc_call_arena(publication->call)};
    struct article *article = &publication->article;
    struct str bytes = db_get_text(result, 0, PUBLISHED_ANSWER);
    Stoa__Posts__V1__Article *kept =
        stoa__posts__v1__article__unpack(NULL, bytes.n, (const uint8_t *)bytes.p);

    if (!kept || profile_from_row(&row, PUBLISHED_AUTHOR, &article->author) < 0) {
        service_fail_memory(publication->call);
    } else {
        article->version =
            (struct version){db_get_int8(result, 0, PUBLISHED_ID),
                             kept->updated_at->seconds * 1000000 + kept->updated_at->nanos / 1000};
        article->message = *kept;
        article->message.author = &article->author;
        reply(publication);
    }
    stoa__posts__v1__article__free_unpacked(kept, NULL);
}

static void on_replayed(void *user, const struct db_result *result)
{
    struct publication *publication = user;
    struct rpc_call *call = publication->call;

    switch (read_replay(call, result, REPLAY_PUBLISHED_IS_SAME)) {
    case REPLAY_FIRST:
        reply_kept(publication, result);
        break;
    case REPLAY_GONE:
        if (publication->gone)
            service_fail_not_found(call, "draft", draft_name(call, publication->id));
        else if (publication->tries < MAX_SLUG_TRIES)
            try_publish(publication);
        else
            fail_key_going(call);
        break;
    case REPLAY_FAILED:
        break;
    }
}

static void replay(struct publication *publication)
{
    struct rpc_call *call = publication->call;
    struct db_query *query =
        db_query(service_db(publication->service), rpc_call_arena(call), REPLAY_PUBLISHED);

    if (!query) {
        service_fail_memory(call);
        return;
    }
    db_bind_int8(query, service_caller_id(call));
    bind_idempotency(query, &publication->idempotency);
    (void)service_query_with(call, query, on_replayed, publication);
}

static void on_published(void *user, const struct db_result *outcome, int verdict)
{
    struct publication *publication = user;
    struct rpc_call *call = publication->call;

    publication->gone = outcome->error == DB_OK && verdict == NOT_FOUND;
    if (slug_was_taken(outcome) && publication->tries < MAX_SLUG_TRIES)
        try_publish(publication);
    else if (slug_was_taken(outcome))
        fail_slug_taken(call);
    else if (key_was_used(outcome) || (publication->gone && publication->idempotency.key.p))
        replay(publication);
    else if (verdict_failed(call, outcome, verdict, "draft", draft_name(call, publication->id)))
        return;
    else if (verdict == REFUSED && publication->n_faults > 0)
        service_fail_fields(call, RPC_INVALID_ARGUMENT, "INVALID_FIELDS", publication->faults,
                            (size_t)publication->n_faults);
    else if (verdict == REFUSED)
        fail_no_account(call);
    else
        reply(publication);
}

static void try_publish(struct publication *publication)
{
    publication->tries++;
    (void)service_transaction(publication->call, service_db(publication->service),
                              publish_in_transaction, on_published, publication);
}

static void publish_draft(struct service *service, struct rpc_call *call,
                          const Stoa__Posts__V1__PublishDraftRequest *message)
{
    struct publication *publication;

    if (!service_read_conditions(call))
        return;
    publication = arena_calloc(rpc_call_arena(call), 1, sizeof(*publication));
    if (!publication) {
        service_fail_memory(call);
        return;
    }
    publication->service = service;
    publication->call = call;
    publication->id = message->id;
    if (read_idempotency(call, &message->base, &publication->idempotency))
        try_publish(publication);
}
RPC_UNARY(publish_draft, struct service, Stoa__Posts__V1__PublishDraftRequest)

const struct rpc_handler publish_draft_handler = {.method = "PublishDraft",
                                                  .unary = publish_draft_rpc};
