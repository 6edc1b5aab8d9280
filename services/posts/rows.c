/* Rows of the statements as messages. Copies only what the result does not hold in protobuf-c's
 * form, or what has to outlive it. */
#include "rows.h"

#include "highlight.h"
#include "service/service.h"
#include "statements.h"

#include <errno.h>

/* A column that is never NULL. Postgres' text is NUL-terminated in the result. NULL without memory.
 */
static char *text(const struct row *row, int column)
{
    struct str s = db_get_text(row->result, row->number, column);

    return (char *)(row->keep ? arena_copy(row->arena, s).p : s.p);
}

static bool is_null(const struct row *row, int column)
{
    return db_is_null(row->result, row->number, column);
}

static int64_t timestamp(const struct row *row, int column)
{
    return db_get_timestamp(row->result, row->number, column);
}

/* A list of strings; copies, in one piece. */
static int read_texts(const struct row *row, int column, char ***ret, size_t *ret_n)
{
    struct str *texts;
    int n = db_get_text_array(row->result, row->number, column, row->arena, &texts);
    size_t bytes = 0;
    char *at;

    if (n <= 0)
        return n;
    for (int i = 0; i < n; i++)
        bytes += sizeof(char *) + texts[i].n + 1;
    *ret = arena_alloc(row->arena, bytes);
    if (!*ret)
        return -ENOMEM;
    at = (char *)(*ret + n);
    for (int i = 0; i < n; i++) {
        (*ret)[i] = at;
        if (texts[i].n)
            memcpy(at, texts[i].p, texts[i].n);
        at[texts[i].n] = '\0';
        at += texts[i].n + 1;
    }
    *ret_n = (size_t)n;
    return 0;
}

int profile_from_row(const struct row *row, int first, Stoa__Posts__V1__Profile *ret)
{
    stoa__posts__v1__profile__init(ret);
    ret->username = text(row, first + PROFILE_USERNAME);
    ret->following = db_get_bool(row->result, row->number, first + PROFILE_FOLLOWED);
    if (!is_null(row, first + PROFILE_BIO)) {
        ret->_bio_case = STOA__POSTS__V1__PROFILE___BIO_BIO;
        ret->bio = text(row, first + PROFILE_BIO);
        if (!ret->bio)
            return -ENOMEM;
    }
    if (!is_null(row, first + PROFILE_IMAGE)) {
        ret->_image_case = STOA__POSTS__V1__PROFILE___IMAGE_IMAGE;
        ret->image = text(row, first + PROFILE_IMAGE);
        if (!ret->image)
            return -ENOMEM;
    }
    return ret->username ? 0 : -ENOMEM;
}

int article_from_row(const struct row *row, struct article *ret)
{
    Stoa__Posts__V1__Article *article = &ret->message;
    int r;

    stoa__posts__v1__article__init(article);
    ret->version = (struct version){db_get_int8(row->result, row->number, ARTICLE_ID),
                                    timestamp(row, ARTICLE_UPDATED_AT)};
    article->slug = text(row, ARTICLE_SLUG);
    article->title = text(row, ARTICLE_TITLE);
    article->description = text(row, ARTICLE_DESCRIPTION);
    if (!article->slug || !article->title || !article->description)
        return -ENOMEM;
    article->favorited = db_get_bool(row->result, row->number, ARTICLE_FAVORITED);
    article->favorites_count = db_get_int4(row->result, row->number, ARTICLE_FAVORITES_COUNT);
    service_set_time(&ret->created_at, timestamp(row, ARTICLE_CREATED_AT));
    service_set_time(&ret->updated_at, timestamp(row, ARTICLE_UPDATED_AT));
    article->created_at = &ret->created_at;
    article->updated_at = &ret->updated_at;
    article->author = &ret->author;
    r = profile_from_row(row, ARTICLE_AUTHOR_USERNAME, &ret->author);
    return r < 0 ? r : read_texts(row, ARTICLE_TAG_LIST, &article->tag_list, &article->n_tag_list);
}

int article_from_row_in_full(const struct row *row, struct article *ret)
{
    int r = article_from_row(row, ret);

    if (r < 0)
        return r;
    ret->message._body_case = STOA__POSTS__V1__ARTICLE___BODY_BODY;
    ret->message.body = text(row, ARTICLE_BODY);
    return ret->message.body ? 0 : -ENOMEM;
}

static char *html(const struct row *row, int column)
{
    struct str marked = db_get_text(row->result, row->number, column);

    return (char *)highlight_html(marked, row->arena).p;
}

int article_from_row_found(const struct row *row, struct article *ret)
{
    Stoa__Posts__V1__Highlight *highlight = &ret->highlight;
    int r = article_from_row(row, ret);

    if (r < 0)
        return r;
    stoa__posts__v1__highlight__init(highlight);
    highlight->title = html(row, FOUND_TITLE);
    highlight->description = html(row, FOUND_DESCRIPTION);
    highlight->excerpt = html(row, FOUND_EXCERPT);
    ret->message.highlight = highlight;
    return highlight->title && highlight->description && highlight->excerpt ? 0 : -ENOMEM;
}

int draft_from_row(const struct row *row, struct draft *ret)
{
    Stoa__Posts__V1__Draft *draft = &ret->message;

    stoa__posts__v1__draft__init(draft);
    draft->id = (uint32_t)db_get_int8(row->result, row->number, DRAFT_ID);
    ret->version = (struct version){draft->id, timestamp(row, DRAFT_UPDATED_AT)};
    draft->title = text(row, DRAFT_TITLE);
    draft->description = text(row, DRAFT_DESCRIPTION);
    if (!draft->title || !draft->description)
        return -ENOMEM;
    service_set_time(&ret->created_at, timestamp(row, DRAFT_CREATED_AT));
    service_set_time(&ret->updated_at, timestamp(row, DRAFT_UPDATED_AT));
    draft->created_at = &ret->created_at;
    draft->updated_at = &ret->updated_at;
    return read_texts(row, DRAFT_TAG_LIST, &draft->tag_list, &draft->n_tag_list);
}

int draft_from_row_in_full(const struct row *row, struct draft *ret)
{
    int r = draft_from_row(row, ret);

    if (r < 0)
        return r;
    ret->message._body_case = STOA__POSTS__V1__DRAFT___BODY_BODY;
    ret->message.body = text(row, DRAFT_BODY);
    return ret->message.body ? 0 : -ENOMEM;
}

int revision_from_row(const struct row *row, struct revision *ret)
{
    Stoa__Posts__V1__Revision *revision = &ret->message;

    stoa__posts__v1__revision__init(revision);
    revision->number = (uint32_t)db_get_int4(row->result, row->number, REVISION_NUMBER);
    revision->title = text(row, REVISION_TITLE);
    revision->description = text(row, REVISION_DESCRIPTION);
    if (!revision->title || !revision->description)
        return -ENOMEM;
    service_set_time(&ret->created_at, timestamp(row, REVISION_CREATED_AT));
    revision->created_at = &ret->created_at;
    return read_texts(row, REVISION_TAG_LIST, &revision->tag_list, &revision->n_tag_list);
}

int revision_from_row_in_full(const struct row *row, struct revision *ret)
{
    int r = revision_from_row(row, ret);

    if (r < 0)
        return r;
    ret->message._body_case = STOA__POSTS__V1__REVISION___BODY_BODY;
    ret->message.body = text(row, REVISION_BODY);
    return ret->message.body ? 0 : -ENOMEM;
}

int comment_from_row(const struct row *row, struct comment *ret)
{
    Stoa__Posts__V1__Comment *comment = &ret->message;

    stoa__posts__v1__comment__init(comment);
    comment->id = (uint32_t)db_get_int8(row->result, row->number, COMMENT_ID);
    ret->version.id = comment->id; /* a comment never changes */
    ret->version.changed_us = 0;
    comment->body = text(row, COMMENT_BODY);
    if (!comment->body)
        return -ENOMEM;
    service_set_time(&ret->created_at, timestamp(row, COMMENT_CREATED_AT));
    service_set_time(&ret->updated_at, timestamp(row, COMMENT_UPDATED_AT));
    comment->created_at = &ret->created_at;
    comment->updated_at = &ret->updated_at;
    comment->author = &ret->author;
    return profile_from_row(row, COMMENT_AUTHOR, &ret->author);
}
