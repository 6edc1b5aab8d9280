/* How many requests go on to a service that refuses some of them for want of capacity.
 *
 * A refusal costs the service and its caller; in a flood it is most of what they do. So a caller
 * that hears refusals asks for no more than twice of what is accepted, and refuses the rest itself.
 * Twice, so that it notices at once when more is accepted. Source: client-side throttling, in
 * "Handling Overload", Site Reliability Engineering, chapter 21
 * (https://sre.google/sre-book/handling-overload/).
 *
 * There a share of what comes goes on. Here it is so many a second, by the most that were taken in
 * a second of the last five to ten: a share that fits a flood holds back too much when the flood
 * goes, and a moment in which nothing is taken (a disk, a database that restarts) would hold back
 * for seconds what could be done.
 *
 * Free of nginx; one thread. Zeroed memory is a throttle that has heard nothing.
 */
#ifndef STOA_GATEWAY_ADAPTIVE_THROTTLE_H
#define STOA_GATEWAY_ADAPTIVE_THROTTLE_H

#include "base/base.h"

struct adaptive_throttle {
    /* Of the second that lasts, and of the one before if something was asked then. */
    struct adaptive_count {
        uint64_t began_ms;
        uint64_t asked, refused; /* refused: by the service */
        uint64_t held_back;      /* of those asked, those that did not go on */
    } counts[2];
    bool has_before;
    uint64_t best[2]; /* the most taken in a second: since turned_ms, and in the time before it */
    uint64_t turned_ms;
    double permits; /* to go on, as of refilled_ms */
    uint64_t refilled_ms;
};

/* Whether a request goes on now. Counts it. now_ms: of any clock that does not go back. */
bool adaptive_throttle_ask(struct adaptive_throttle *throttle, uint64_t now_ms) MUST_CHECK;

/* The service has refused one for want of capacity. */
void adaptive_throttle_refused(struct adaptive_throttle *throttle, uint64_t now_ms);

#endif
