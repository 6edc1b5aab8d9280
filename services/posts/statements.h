/* Every SQL statement of posts, by name. */
#ifndef STOA_POSTS_STATEMENTS_H
#define STOA_POSTS_STATEMENTS_H

#include "pg/db.h"

enum posts_statement {
    CREATE_ARTICLE,
    CREATE_ARTICLES,
    REPLAY_ARTICLE,
    GET_ARTICLE,
    GET_ARTICLES,
    GET_ARTICLE_ANONYMOUS,
    GET_ARTICLES_ANONYMOUS,
    LOCK_ARTICLE,
    UPDATE_ARTICLE,
    DELETE_ARTICLE,
    FAVORITE_ARTICLE,
    UNFAVORITE_ARTICLE,
    LIST_ARTICLES,
    LIST_ARTICLES_BY_TAG,
    LIST_ARTICLES_BY_AUTHOR,
    LIST_ARTICLES_BY_AUTHORS,
    LIST_ARTICLES_BY_FAVORITE,
    LIST_ARTICLES_FILTERED,
    SEARCH_ARTICLES,
    LIMIT_SEARCH,
    LIST_FEED,
    LIST_TAGS,
    LIST_REVISIONS,
    GET_REVISION,
    CREATE_DRAFT,
    REPLAY_DRAFT,
    GET_DRAFT,
    LIST_DRAFTS,
    LOCK_DRAFT,
    UPDATE_DRAFT,
    DELETE_DRAFT,
    KEEP_PUBLISHED,
    REPLAY_PUBLISHED,
    CREATE_COMMENT,
    REPLAY_COMMENT,
    LIST_COMMENTS,
    DELETE_COMMENT,
    GET_PROFILE,
    FOLLOW_PROFILE,
    UNFOLLOW_PROFILE,
    PURGE_KEYS,
    PURGE_ARTICLES,
    PURGE_ACCOUNT,
    PURGE_TAGS,
    INDEX_ARTICLES,
    POSTS_STATEMENTS
};

extern const struct db_statement posts_statements[POSTS_STATEMENTS];

/* The columns of an article, first in the answer of each statement that gives one. */
enum article_column {
    ARTICLE_ID,
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
    ARTICLE_AUTHOR_FOLLOWED,
    ARTICLE_FAVORITED,
    ARTICLE_BODY,                          /* of statements about one article */
    LIST_TOTAL = ARTICLE_BODY,             /* of lists; int8, in every row */
    REPLAY_ARTICLE_IS_SAME = ARTICLE_BODY, /* whether it was this request */
    CREATED_NUMBER = ARTICLE_BODY,         /* CREATE_ARTICLES: which of them, from 1 */
    GOT_NUMBER = ARTICLE_BODY + 1,         /* GET_ARTICLES: which of them, from 1 */
    LISTED_NUMBER = ARTICLE_BODY + 1,      /* LIST_ARTICLES_BY_AUTHORS: of which list, from 1 */
    FOUND_SCORE = ARTICLE_BODY + 1,        /* of SEARCH_ARTICLES, behind the total; int8 */
    FOUND_TITLE,                           /* these with HIGHLIGHT_START and _STOP around hits */
    FOUND_DESCRIPTION,
    FOUND_EXCERPT,
};

/* LIST_TOTAL of a search that names no word. */
#define NO_WORDS (-1)

/* LOCK_ARTICLE */
enum locked_column { LOCKED_ID, LOCKED_AUTHOR_ID, LOCKED_TITLE, LOCKED_UPDATED_AT };

/* A profile: username, bio, image, followed; those of an article begin at ARTICLE_AUTHOR_USERNAME.
 */
enum profile_column {
    PROFILE_USERNAME,
    PROFILE_BIO,
    PROFILE_IMAGE,
    PROFILE_FOLLOWED,
};

/* The columns of a draft, first in the answer of each statement that gives one; LIST_DRAFTS has no
 * body. */
enum draft_column {
    DRAFT_ID,
    DRAFT_TITLE,
    DRAFT_DESCRIPTION,
    DRAFT_TAG_LIST,
    DRAFT_CREATED_AT,
    DRAFT_UPDATED_AT,
    DRAFT_BODY,
    /* behind the profile of the author */
    REPLAY_DRAFT_IS_SAME = DRAFT_BODY + 1 + PROFILE_FOLLOWED + 1,
};

/* LIST_REVISIONS, GET_REVISION */
enum revision_column {
    REVISION_IS_MINE, /* the article */
    REVISION_NUMBER,
    REVISION_TITLE,
    REVISION_DESCRIPTION,
    REVISION_TAG_LIST,
    REVISION_CREATED_AT,
    REVISION_BODY, /* of GET_REVISION */
};

/* REPLAY_PUBLISHED */
enum published_column {
    PUBLISHED_ANSWER, /* bytea; NULL: the key was used for something else */
    PUBLISHED_ID,     /* of the article */
    PUBLISHED_AUTHOR, /* a profile */
    REPLAY_PUBLISHED_IS_SAME = PUBLISHED_AUTHOR + PROFILE_FOLLOWED + 1,
};

/* CREATE_COMMENT, LIST_COMMENTS */
enum comment_column {
    COMMENT_ID,
    COMMENT_CREATED_AT,
    COMMENT_UPDATED_AT,
    COMMENT_BODY,
    COMMENT_AUTHOR, /* a profile */
    REPLAY_COMMENT_IS_SAME = COMMENT_AUTHOR + PROFILE_FOLLOWED + 1,
};

/* DELETE_COMMENT */
enum deleted_comment_column { DELETED_FOUND, DELETED_MINE };

/* Filters that combine look no further than this many articles of the narrower one, or of the
 * newest that have the words of a search. */
#define POSTS_MAX_FILTERED 10000

/* A search finds this many, the newest that have its words, and puts the best of them first. */
#define POSTS_MAX_FOUND 2000

/* It looks at so many of the newest, if they are no longer than so many bytes in the table, to see
 * how many have its words. */
#define POSTS_SEARCH_SAMPLE 200
#define POSTS_SEARCH_SAMPLE_BYTES 8192

/* An account follows no more. A feed costs a look-up for each. */
#define POSTS_MAX_FOLLOWED 5000

/* States of an article that are kept beside the current one. */
#define POSTS_MAX_REVISIONS 20

/* The longest page; and a row more, which says that there is a next one. The statements count on
 * it. */
#define POSTS_MAX_PAGE 100
#define POSTS_MAX_ROWS 101

/* Keys that PURGE_KEYS removes and tags that PURGE_TAGS looks at at once, and rows of each kind
 * that PURGE_ARTICLES and PURGE_ACCOUNT remove; the first two answer with how many they did, the
 * others with 1: there may be more to do, or 0. */
#define POSTS_PURGE_BATCH 1000

/* Articles that INDEX_ARTICLES takes at once; it answers with how many it did take. */
#define POSTS_INDEX_BATCH 20

/* The most tags that LIST_TAGS gives. */
#define POSTS_MAX_TAGS 1000

#endif
