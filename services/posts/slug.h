/* Slugs: the names of articles in URLs, made from their titles. Pure; any thread. */
#ifndef STOA_POSTS_SLUG_H
#define STOA_POSTS_SLUG_H

#include "base/arena.h"

#define SLUG_MAX_CHARS 96   /* code points of a slug without its suffix */
#define SLUG_RANDOM_BYTES 5 /* that a suffix is made of */
#define SLUG_SUFFIX_CHARS 9 /* '-' and eight characters */

struct slug {
    struct str text;   /* NUL-terminated */
    bool needs_suffix; /* not to be used bare: a route has this name, or the title says nothing */
};

/* The letters, digits and combining marks of the title's lower-case NFKC form, in whatever script;
 * each run of anything else is one '-'. Invisible characters (soft hyphens, joiners, bidi controls)
 * vanish. A long title is cut, between words if it can be. The result is never empty and never
 * begins or ends with '-'; a slug's own slug is itself. Returns 0, -EILSEQ (not UTF-8) or -ENOMEM.
 */
int slug_from_title(struct str title, struct arena *arena, struct slug *ret) MUST_CHECK;

/* "base-x7k2m9qp", for a title that is taken: 40 random bits in lower-case letters and digits that
 * are not mistaken for each other. {NULL, 0} without memory. */
struct str slug_with_suffix(struct str base, const uint8_t random[SLUG_RANDOM_BYTES],
                            struct arena *arena) MUST_CHECK;

#endif
