/* Entity tags and the conditions that callers make of them.
 *
 * Source: RFC 9110 sections 8.8.3 (entity tags) and 13 (If-Match, If-None-Match). Pure functions;
 * any thread. Whatever bytes a header has are judged, in one pass.
 */
#ifndef STOA_HTTP_ENTITY_TAG_H
#define STOA_HTTP_ENTITY_TAG_H

#include "base/arena.h"

/* Longer ones are not taken: a caller would have to send them back. */
#define ENTITY_TAG_MAX 512

/* The entity tag that a service means: a value that is one already ("v1" or W/"v1", quotes
 * included) is itself, other text gets quotes. 0, -EBADMSG when it cannot be a tag (empty, too
 * long, with spaces, quotes inside or control characters), or -ENOMEM, with *ret {NULL, 0}. */
int entity_tag_of(struct arena *arena, struct str value, struct str *ret) MUST_CHECK;

/* tag: a valid one. */
bool entity_tag_is_weak(struct str tag);

/* Whether an If-Match or If-None-Match is well-formed: "*", or a list of entity tags. */
bool entity_tags_valid(struct str header);

enum entity_tag_comparison {
    ENTITY_TAG_STRONG, /* both are strong and the same */
    ENTITY_TAG_WEAK,   /* the same, whether weak or not */
};

/* Whether tag is in a well-formed list. "*" is any, also none. tag: as entity_tag_of() made it;
 * {NULL, 0}: none. */
bool entity_tags_match(struct str header, struct str tag, enum entity_tag_comparison comparison);

/* Whether a tag of a well-formed list, weak or not, begins with prefix, which includes the first
 * quote. "*" is any. For tags that say first what a condition is about, and behind it what is not
 * its concern. */
bool entity_tags_match_prefix(struct str header, struct str prefix);

enum entity_tag_verdict {
    ENTITY_TAG_SEND,         /* the conditions hold */
    ENTITY_TAG_NOT_MODIFIED, /* 304 */
    ENTITY_TAG_FAILED,       /* 412 */
};

/* What the conditions of a GET or HEAD say of an answer that would be a success, in the order of
 * section 13.2.2. Headers: {NULL, 0} when they are not there. An If-None-Match that is damaged is
 * no condition; an If-Match must have been found valid. */
enum entity_tag_verdict entity_tag_judge(struct str if_match, struct str if_none_match,
                                         struct str tag);

#endif
