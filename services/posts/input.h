/* What requests about articles have in common. Any thread. */
#ifndef STOA_POSTS_INPUT_H
#define STOA_POSTS_INPUT_H

#include "service/service.h"
#include "slug.h"

#define ARTICLE_MAX_TAGS 32 /* by the contract's rules */

/* Tags as they are stored, ARTICLE_MAX_TAGS at most; the array is in the call's arena. */
struct tag_list {
    struct str *tags;
    size_t n;
};

/* On a fault these end the call and return false. */

/* The tag_list of a field ("article"), in normal form. */
bool read_tags(struct rpc_call *call, const char *of, char **tags, size_t n,
               struct tag_list *ret) MUST_CHECK;

/* Adds a fault for a text that is white space alone, of whatever script: the contract's own rule
 * knows ASCII's. NULL is no text. Returns how many faults there are then. */
size_t add_if_blank(struct schema_fault *faults, size_t n, const char *path, const char *text);

/* The slugs that an article of this title may have: the title's own, and one that is unique but for
 * bad luck, when that is taken. Each call makes another unique one. */
struct slugs {
    struct str preferred, unique;
};
bool make_slugs(struct rpc_call *call, const struct slug *slug, struct slugs *ret) MUST_CHECK;

/* The same within a transaction: -ENOMEM, or -EIO, which is logged. */
int try_slugs(const struct slug *slug, struct arena *arena, struct slugs *ret) MUST_CHECK;

/* Titles collide only when they are published in the same instant. */
#define MAX_SLUG_TRIES 5

/* Whether a write failed because both slugs were taken in that instant. */
bool slug_was_taken(const struct db_result *result);

/* ABORTED, after MAX_SLUG_TRIES. */
void fail_slug_taken(struct rpc_call *call);

#endif
