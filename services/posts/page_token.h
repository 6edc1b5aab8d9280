/* Page tokens: a place in a list as text. A token is for the list that it was made for; for
 * another, or damaged, it is refused. It is no secret: all that it can do is to choose a place in a
 * list. Pure; any thread. */
#ifndef STOA_POSTS_PAGE_TOKEN_H
#define STOA_POSTS_PAGE_TOKEN_H

#include "base/arena.h"

/* The row that a page comes after. Lists are ordered by a time in microseconds, or by a score, and
 * then by id; the highest first. */
struct cursor {
    int64_t order, id;
};

/* Two numbers and a check, in hexadecimal. */
#define PAGE_TOKEN_CHARS 40

/* {NULL, 0} without memory. */
struct str page_token_make(struct arena *arena, struct str list, struct cursor cursor) MUST_CHECK;

/* 0, -EINVAL: not made for this list, -ENOMEM. */
int page_token_read(struct arena *arena, struct str list, struct str token,
                    struct cursor *ret) MUST_CHECK;

#endif
