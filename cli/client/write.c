/* post new and edit: documents that are written, sent, and never lost. */
#include "post.h"

#include "google/protobuf/field_mask.pb-c.h"

#include <errno.h>

#define ARTICLES &stoa__posts__v1__article_service__descriptor
#define DRAFTS &stoa__posts__v1__draft_service__descriptor

#define FIELDS_MAX 4

static int say_saved(struct client *c, const struct rpc_answer *answer,
                     const Stoa__Posts__V1__Article *article, const Stoa__Posts__V1__Draft *draft)
{
    if (c->set.output == OUTPUT_JSON)
        return say_json(c, answer->response);
    if (article)
        say(c, c->set.output == OUTPUT_PLAIN ? "%s" : "Saved %s.", article->slug);
    else if (draft)
        say(c,
            c->set.output == OUTPUT_PLAIN
                ? "draft/%u"
                : "Saved draft/%u; `stoa post publish draft/%u' publishes it.",
            (unsigned)draft->id, (unsigned)draft->id);
    return DONE;
}

static int read_document(struct client *c, struct text_source *source, struct document *ret,
                         const char *again)
{
    struct str error;

    if (document_read(source->text, ret, &c->arena, &error))
        return text_source_fail(source, c, REFUSED, error, source->text, again);
    return 0;
}

/* Copies that end with NUL, for protobuf-c. */
static char *text_of(struct client *c, struct str s)
{
    return (char *)must_str(arena_copy(&c->arena, s.p ? s : STR(""))).p;
}

static char **tags_of(struct client *c, const struct document *d)
{
    char **tags = must_have(arena_calloc(&c->arena, d->n_tags, sizeof(*tags)));

    for (size_t i = 0; i < d->n_tags; i++)
        tags[i] = text_of(c, d->tags[i]);
    return tags;
}

/* ---- new ---- */

static int create(struct client *c, const struct document *d, struct str key,
                  struct rpc_answer *ret)
{
    Stoa__Posts__V1__CreateArticleRequest article = STOA__POSTS__V1__CREATE_ARTICLE_REQUEST__INIT;
    Stoa__Posts__V1__CreateArticleRequest__NewArticle new_article =
        STOA__POSTS__V1__CREATE_ARTICLE_REQUEST__NEW_ARTICLE__INIT;
    Stoa__Posts__V1__CreateDraftRequest draft = STOA__POSTS__V1__CREATE_DRAFT_REQUEST__INIT;
    Stoa__Posts__V1__CreateDraftRequest__NewDraft new_draft =
        STOA__POSTS__V1__CREATE_DRAFT_REQUEST__NEW_DRAFT__INIT;
    struct call call = {
        .service = DRAFTS, .method = "CreateDraft", .request = &draft.base, .idempotency_key = key};

    new_article.title = new_draft.title = text_of(c, d->title);
    new_article.description = new_draft.description = text_of(c, d->description);
    new_article.body = new_draft.body = text_of(c, d->body);
    new_article.n_tag_list = new_draft.n_tag_list = d->n_tags;
    new_article.tag_list = new_draft.tag_list = tags_of(c, d);
    article.article = &new_article;
    draft.draft = &new_draft;
    if (has_option(c, 'P'))
        call = (struct call){.service = ARTICLES,
                             .method = "CreateArticle",
                             .request = &article.base,
                             .idempotency_key = key};
    return try_call(c, &call, ret);
}

int post_new(struct client *c)
{
    const char *again = has_option(c, 'P') ? "stoa post new --publish" : "stoa post new";
    static const struct document empty;
    struct text_source source;
    struct document d;
    struct rpc_answer answer;
    struct str start = document_text(c, &empty);
    int status = text_source_read(&source, c, start);

    if (!status && str_eq(source.text, start))
        status = text_source_nothing(&source, c);
    if (!status)
        status = read_document(c, &source, &d, again);
    if (status)
        return status;
    if (!d.key.n)
        d.key = new_key(c);
    if (create(c, &d, d.key, &answer) != RPC_OK) {
        struct str line;

        status = describe(c, SERVICE_POSTS, &answer, &line);
        /* Without an answer it may be there: sent again with the same key it is so once. */
        return text_source_fail(&source, c, status, line,
                                status == UNREACHABLE ? document_text(c, &d) : source.text, again);
    }
    text_source_done(&source);
    return has_option(c, 'P')
               ? say_saved(
                     c, &answer,
                     ((const Stoa__Posts__V1__CreateArticleResponse *)answer.response)->article,
                     NULL)
               : say_saved(c, &answer, NULL,
                           ((const Stoa__Posts__V1__CreateDraftResponse *)answer.response)->draft);
}

/* ---- edit ---- */

/* What has changed, for the mask. */
static size_t changed_fields(const struct document *old, const struct document *new,
                             char *ret[FIELDS_MAX])
{
    size_t n = 0;

    if (!str_eq(old->title, new->title))
        ret[n++] = (char *)"title";
    if (!str_eq(old->description, new->description))
        ret[n++] = (char *)"description";
    if (!str_eq(old->body, new->body))
        ret[n++] = (char *)"body";
    if (!document_same_tags(old, new))
        ret[n++] = (char *)"tag_list";
    return n;
}

static enum rpc_code update(struct client *c, const struct post_name *name,
                            const struct document *d, struct str etag,
                            Google__Protobuf__FieldMask *mask, struct rpc_answer *ret)
{
    Stoa__Posts__V1__UpdateArticleRequest article = STOA__POSTS__V1__UPDATE_ARTICLE_REQUEST__INIT;
    Stoa__Posts__V1__UpdateArticleRequest__ArticleChanges changes =
        STOA__POSTS__V1__UPDATE_ARTICLE_REQUEST__ARTICLE_CHANGES__INIT;
    Stoa__Posts__V1__UpdateDraftRequest draft = STOA__POSTS__V1__UPDATE_DRAFT_REQUEST__INIT;
    Stoa__Posts__V1__UpdateDraftRequest__DraftChanges draft_changes =
        STOA__POSTS__V1__UPDATE_DRAFT_REQUEST__DRAFT_CHANGES__INIT;
    struct call call = {
        .service = ARTICLES, .method = "UpdateArticle", .request = &article.base, .if_match = etag};

    /* Fields that may be left out are there: the mask says which of them count. */
    changes._title_case = STOA__POSTS__V1__UPDATE_ARTICLE_REQUEST__ARTICLE_CHANGES___TITLE_TITLE;
    changes._description_case =
        STOA__POSTS__V1__UPDATE_ARTICLE_REQUEST__ARTICLE_CHANGES___DESCRIPTION_DESCRIPTION;
    changes._body_case = STOA__POSTS__V1__UPDATE_ARTICLE_REQUEST__ARTICLE_CHANGES___BODY_BODY;
    draft_changes._title_case = STOA__POSTS__V1__UPDATE_DRAFT_REQUEST__DRAFT_CHANGES___TITLE_TITLE;
    draft_changes._description_case =
        STOA__POSTS__V1__UPDATE_DRAFT_REQUEST__DRAFT_CHANGES___DESCRIPTION_DESCRIPTION;
    draft_changes._body_case = STOA__POSTS__V1__UPDATE_DRAFT_REQUEST__DRAFT_CHANGES___BODY_BODY;
    changes.title = draft_changes.title = text_of(c, d->title);
    changes.description = draft_changes.description = text_of(c, d->description);
    changes.body = draft_changes.body = text_of(c, d->body);
    changes.n_tag_list = draft_changes.n_tag_list = d->n_tags;
    changes.tag_list = draft_changes.tag_list = tags_of(c, d);
    article.slug = name->slug;
    article.article = &changes;
    draft.id = name->draft;
    draft.draft = &draft_changes;
    article.update_mask = draft.update_mask = mask;
    if (name->draft)
        call = (struct call){
            .service = DRAFTS, .method = "UpdateDraft", .request = &draft.base, .if_match = etag};
    return try_call(c, &call, ret);
}

static void say_version(struct client *c, const char *title, struct str text)
{
    buf_append_str(&c->out, str_of(style(c, BOLD)));
    buf_printf(&c->out, "---- %s ----", title);
    buf_append_str(&c->out, str_of(style(c, PLAIN)));
    buf_append_char(&c->out, '\n');
    say_text_of(c, text);
}

/* Somebody has changed it meanwhile: both texts are shown, and ours is kept with the entity tag of
 * the one that is there now, so that sending it replaces what was seen and nothing else. */
static int conflict(struct client *c, struct text_source *source, const struct post_name *name,
                    struct document *ours, const char *again)
{
    struct post theirs;
    int status = post_fetch(c, name, &theirs);

    if (status) {
        text_source_keep(source, c, source->text);
        return status;
    }
    if (c->set.output != OUTPUT_JSON) {
        say_version(c, "as it is now", document_text(c, &theirs.document));
        say_version(c, "yours", document_text(c, ours));
        status = flush(c);
    }
    ours->etag = theirs.etag;
    return status ? status
                  : text_source_fail(source, c, CONFLICT,
                                     STR("it was changed meanwhile, and nothing of yours is sent"),
                                     document_text(c, ours), again);
}

static int send_changes(struct client *c, struct text_source *source, const struct post_name *name,
                        const struct post *old, const char *again)
{
    Google__Protobuf__FieldMask mask = GOOGLE__PROTOBUF__FIELD_MASK__INIT;
    char *fields[FIELDS_MAX];
    struct rpc_answer answer;
    struct document d;
    struct str line;
    int status = read_document(c, source, &d, again);

    if (status)
        return status;
    mask.paths = fields;
    mask.n_paths = changed_fields(&old->document, &d, fields);
    if (!mask.n_paths) {
        text_source_done(source);
        if (c->set.output == OUTPUT_JSON)
            return say_json(c, old->response);
        say(c, "Nothing is changed.");
        return DONE;
    }
    if (update(c, name, &d, d.etag.n ? d.etag : old->etag, &mask, &answer) != RPC_OK) {
        if (strcmp(answer.reason, "ETAG_MISMATCH") == 0)
            return conflict(c, source, name, &d, again);
        status = describe(c, SERVICE_POSTS, &answer, &line);
        return text_source_fail(source, c, status, line, source->text, again);
    }
    text_source_done(source);
    return name->draft
               ? say_saved(c, &answer, NULL,
                           ((const Stoa__Posts__V1__UpdateDraftResponse *)answer.response)->draft)
               : say_saved(
                     c, &answer,
                     ((const Stoa__Posts__V1__UpdateArticleResponse *)answer.response)->article,
                     NULL);
}

int post_edit(struct client *c)
{
    struct text_source source;
    struct post_name name;
    struct post old;
    int status = post_name_read(c, c->argv[0], &name);

    if (!status)
        status = post_fetch(c, &name, &old);
    if (!status)
        status = text_source_read(&source, c, document_text(c, &old.document));
    return status
               ? status
               : send_changes(c, &source, &name, &old, TEXT(c, "stoa post edit %s", c->argv[0]).p);
}
