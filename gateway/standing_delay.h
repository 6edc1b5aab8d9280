/* Whether who comes to a queue may wait in it, or is better refused while that can be told quickly.
 *
 * A queue that forms since many come at once goes away by itself, and who refuses them only makes
 * them come twice. One that stands, since more come than can be served, helps nobody: all wait, and
 * no more are served than without it. The two are told apart by time, as CoDel does (RFC 8289
 * section 3.1): as long as some who come wait for less than `target`, nobody is refused; when none
 * has for `burst`, who would wait for longer is, until the time that was taken is given back: a
 * tenth of what passes without such a wait.
 *
 * Only the time that goes by while one is let in after the other counts, and not how long they have
 * waited: whoever lets them in may have stood still, since it only begins or has no processor, and
 * to refuse them then only makes them wait longer.
 *
 * Free of nginx; one thread. Zeroed memory is a queue that nobody has waited in.
 */
#ifndef STOA_GATEWAY_STANDING_DELAY_H
#define STOA_GATEWAY_STANDING_DELAY_H

#include "base/base.h"

/* Milliseconds. */
struct standing_delay_limits {
    uint64_t target; /* as short as this, a wait is none */
    uint64_t burst;  /* for so long may waits be longer; 0: never */
};

struct standing_delay {
    uint64_t at_ms; /* when somebody came last */
    uint64_t spent; /* of the burst, in tenths of a millisecond */
    bool late;      /* and that one's wait was above the target */
};

/* Whether who comes now, and waits for so long in all, may. now_ms: of any clock that does not go
 * back. */
bool standing_delay_admits(struct standing_delay *state, const struct standing_delay_limits *limits,
                           uint64_t now_ms, uint64_t wait_ms) MUST_CHECK;

#endif
