/* What a list of tags means. Pure; any thread. */
#ifndef STOA_POSTS_TAGS_H
#define STOA_POSTS_TAGS_H

#include "base/arena.h"

/* A tag without the white space around it. */
struct str tag_trim(struct str tag);

struct tags_fault {
    size_t index; /* of the tag that is wrong */
    const char *description;
};

/* Trims the tags, sorts them by code point and drops doubles. The array is in the arena, its
 * strings are parts of the given ones. Returns the count, -EINVAL with *ret_fault (blank, or
 * no plain line of text) or -ENOMEM. */
int tags_normalise(const char *const *tags, size_t n, struct arena *arena, struct str **ret,
                   struct tags_fault *ret_fault) MUST_CHECK;

#endif
