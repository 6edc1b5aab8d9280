/* Highlights of a search: what an author wrote, as HTML, with the hits marked. Pure; any thread. */
#ifndef STOA_POSTS_HIGHLIGHT_H
#define STOA_POSTS_HIGHLIGHT_H

#include "base/arena.h"

/* What SEARCH_ARTICLES puts around a hit; it takes these out of the texts first. */
#define HIGHLIGHT_START '\x01'
#define HIGHLIGHT_STOP '\x02'

/* The text with & < > " ' escaped, and <mark> and </mark> for the two. NUL-terminated; {NULL, 0}
 * without memory. */
struct str highlight_html(struct str text, struct arena *arena) MUST_CHECK;

#endif
