/* Every SQL statement of posts, by name. */
#ifndef STOA_POSTS_STATEMENTS_H
#define STOA_POSTS_STATEMENTS_H

#include "pg/db.h"

enum posts_statement {
    CREATE_ARTICLE,
    GET_ARTICLE,
    LIST_ARTICLES,
    LIST_ARTICLES_BY_TAG,
    LIST_ARTICLES_BY_AUTHOR,
    LIST_ARTICLES_BY_FAVORITE,
    LIST_ARTICLES_FILTERED,
    POSTS_STATEMENTS
};

extern const struct db_statement posts_statements[POSTS_STATEMENTS];

/* The columns of an article, first in the answer of each statement above. */
enum article_column {
    ARTICLE_SLUG,
    ARTICLE_TITLE,
    ARTICLE_DESCRIPTION,
    ARTICLE_TAG_LIST,
    ARTICLE_CREATED_AT,
    ARTICLE_UPDATED_AT,
    ARTICLE_FAVORITES_COUNT,
    ARTICLE_AUTHOR_USERNAME,
    ARTICLE_AUTHOR_BIO,
    ARTICLE_AUTHOR_IMAGE,
    ARTICLE_FAVORITED,
    ARTICLE_AUTHOR_FOLLOWED,
    ARTICLE_BODY,              /* GET_ARTICLE */
    LIST_TOTAL = ARTICLE_BODY, /* LIST_...; int8, in every row */
};

/* Filters that combine look no further than this many articles of the narrower one. */
#define POSTS_MAX_FILTERED 10000

/* The longest page. The statements count on it. */
#define POSTS_MAX_PAGE 100

#endif
