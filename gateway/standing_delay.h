/* Whether a newcomer may wait in a queue, or is better refused at once.
 *
 * A queue that forms because many come at once goes away by itself; refusing them would only make
 * them come twice. A queue that stands, because more come than can be served, helps nobody: all
 * wait, and no more are served than without it. The two are told apart by time, as CoDel does (RFC
 * 8289 section 3.1). While some newcomers wait for less than `target`, nobody is refused. When all
 * have waited for longer during a time of `burst`, those who would wait for longer than `target`
 * are refused. Time in which nobody waits that long gives the burst back, at a tenth of its length.
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
    uint64_t target; /* a wait as short as this does not count */
    uint64_t burst;  /* for so long waits may be longer than that; 0: never */
};

struct standing_delay {
    uint64_t at_ms; /* when the last one came */
    uint64_t spent; /* of the burst, in tenths of a millisecond */
    bool late;      /* the last one's wait was above the target */
};

/* Whether somebody may wait who comes now and would wait for wait_ms in all. now_ms: of any clock
 * that does not go back. */
bool standing_delay_admits(struct standing_delay *state, const struct standing_delay_limits *limits,
                           uint64_t now_ms, uint64_t wait_ms) MUST_CHECK;

#endif
