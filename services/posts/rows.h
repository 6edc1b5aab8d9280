/* Rows as messages. On a poller thread within a completion, or on a thread of the database's pool
 * within a transaction. */
#ifndef STOA_POSTS_ROWS_H
#define STOA_POSTS_ROWS_H

#include "pg/db.h"

#include "stoa/posts/v1/posts.pb-c.h"

/* A row of a result. Strings of what is made of it are the result's own, and good as long as that
 * is; with `keep` they are copies in the arena, for an answer that waits for its commit. */
struct row {
    const struct db_result *result;
    int number;
    struct arena *arena;
    bool keep;
};

/* Which state of an article or comment a row shows: no two states share one. */
struct version {
    int64_t id, changed_us;
};

/* An article and the messages in it, in one piece. */
struct article {
    struct version version;
    Stoa__Posts__V1__Article message;
    Stoa__Posts__V1__Profile author;
    Stoa__Posts__V1__Highlight highlight; /* of a search */
    Google__Protobuf__Timestamp created_at, updated_at;
};

/* A draft likewise. */
struct draft {
    struct version version;
    Stoa__Posts__V1__Draft message;
    Google__Protobuf__Timestamp created_at, updated_at;
};

/* A revision of an article likewise; it never changes. */
struct revision {
    Stoa__Posts__V1__Revision message;
    Google__Protobuf__Timestamp created_at;
};

/* A comment likewise. */
struct comment {
    struct version version;
    Stoa__Posts__V1__Comment message;
    Stoa__Posts__V1__Profile author;
    Google__Protobuf__Timestamp created_at, updated_at;
};

/* Fills *ret from a row with the columns of enum article_column, without the body. -ENOMEM. */
int article_from_row(const struct row *row, struct article *ret) MUST_CHECK;

/* The same with the highlight, from a row of SEARCH_ARTICLES. */
int article_from_row_found(const struct row *row, struct article *ret) MUST_CHECK;

/* The same with the body. */
int article_from_row_in_full(const struct row *row, struct article *ret) MUST_CHECK;

/* Fills *ret from a row with the columns of enum draft_column, without the body. -ENOMEM. */
int draft_from_row(const struct row *row, struct draft *ret) MUST_CHECK;

/* The same with the body. */
int draft_from_row_in_full(const struct row *row, struct draft *ret) MUST_CHECK;

/* The same for enum revision_column. */
int revision_from_row(const struct row *row, struct revision *ret) MUST_CHECK;
int revision_from_row_in_full(const struct row *row, struct revision *ret) MUST_CHECK;

/* Fills *ret from a row with the columns of enum comment_column. -ENOMEM. */
int comment_from_row(const struct row *row, struct comment *ret) MUST_CHECK;

/* Fills *ret from the columns of enum profile_column, from column `first` on. -ENOMEM. */
int profile_from_row(const struct row *row, int first, Stoa__Posts__V1__Profile *ret) MUST_CHECK;

#endif
