/* One row of an article statement as an Article message. On the engine thread; copies only what the
 * result does not hold in protobuf-c's form. */
#include "article_row.h"

#include "service/service.h"
#include "statements.h"

#include <errno.h>

/* A column that is never NULL. Postgres' text is NUL-terminated in the result. */
static char *text(const struct db_result *result, int row, int column)
{
    return (char *)db_get_text(result, row, column).p;
}

static int set_tags(const struct db_result *result, int row, struct arena *arena,
                    Stoa__Posts__V1__Article *article)
{
    struct str *tags;
    int n = db_get_text_array(result, row, ARTICLE_TAG_LIST, arena, &tags);

    if (n <= 0)
        return n;
    article->tag_list = arena_calloc(arena, (size_t)n, sizeof(*article->tag_list));
    if (!article->tag_list)
        return -ENOMEM;
    for (int i = 0; i < n; i++) {
        article->tag_list[i] = (char *)arena_copy(arena, tags[i]).p;
        if (!article->tag_list[i])
            return -ENOMEM;
    }
    article->n_tag_list = (size_t)n;
    return 0;
}

static void set_author(const struct db_result *result, int row, Stoa__Posts__V1__Profile *author)
{
    stoa__posts__v1__profile__init(author);
    author->username = text(result, row, ARTICLE_AUTHOR_USERNAME);
    author->following = db_get_bool(result, row, ARTICLE_AUTHOR_FOLLOWED);
    if (!db_is_null(result, row, ARTICLE_AUTHOR_BIO)) {
        author->_bio_case = STOA__POSTS__V1__PROFILE___BIO_BIO;
        author->bio = text(result, row, ARTICLE_AUTHOR_BIO);
    }
    if (!db_is_null(result, row, ARTICLE_AUTHOR_IMAGE)) {
        author->_image_case = STOA__POSTS__V1__PROFILE___IMAGE_IMAGE;
        author->image = text(result, row, ARTICLE_AUTHOR_IMAGE);
    }
}

int article_from_row(const struct db_result *result, int row, struct arena *arena,
                     struct article *ret)
{
    Stoa__Posts__V1__Article *article = &ret->message;

    stoa__posts__v1__article__init(article);
    article->slug = text(result, row, ARTICLE_SLUG);
    article->title = text(result, row, ARTICLE_TITLE);
    article->description = text(result, row, ARTICLE_DESCRIPTION);
    article->favorited = db_get_bool(result, row, ARTICLE_FAVORITED);
    article->favorites_count = db_get_int4(result, row, ARTICLE_FAVORITES_COUNT);
    service_set_time(&ret->created_at, db_get_timestamp(result, row, ARTICLE_CREATED_AT));
    service_set_time(&ret->updated_at, db_get_timestamp(result, row, ARTICLE_UPDATED_AT));
    set_author(result, row, &ret->author);
    article->created_at = &ret->created_at;
    article->updated_at = &ret->updated_at;
    article->author = &ret->author;
    return set_tags(result, row, arena, article);
}
