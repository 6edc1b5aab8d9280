/* Rows as messages. On the database's engine thread, within a completion. */
#ifndef STOA_POSTS_ARTICLE_ROW_H
#define STOA_POSTS_ARTICLE_ROW_H

#include "pg/db.h"

#include "stoa/posts/v1/posts.pb-c.h"

/* An article and the messages in it, in one piece. */
struct article {
    Stoa__Posts__V1__Article message;
    Stoa__Posts__V1__Profile author;
    Google__Protobuf__Timestamp created_at, updated_at;
};

/* Fills *ret from a row with the columns of enum article_column, without the body. Strings are the
 * result's, so *ret is good until the completion returns; tags are in the arena. -ENOMEM. */
int article_from_row(const struct db_result *result, int row, struct arena *arena,
                     struct article *ret) MUST_CHECK;

#endif
