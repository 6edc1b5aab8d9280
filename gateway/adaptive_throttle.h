/* How much of what is asked goes on to a service that refuses some of it for want of capacity.
 *
 * A refusal costs the service and whoever asks; in a flood it is most of what they do. So who hears
 * refusals asks for no more than twice of what is taken, and refuses the rest itself. Twice, so
 * that it sees at once when more is taken. Source: client-side throttling, in "Handling Overload",
 * Site Reliability Engineering, chapter 21 (https://sre.google/sre-book/handling-overload/).
 *
 * Free of nginx; one thread. Zeroed memory is a throttle that has heard nothing.
 */
#ifndef STOA_GATEWAY_ADAPTIVE_THROTTLE_H
#define STOA_GATEWAY_ADAPTIVE_THROTTLE_H

#include "base/base.h"

struct adaptive_throttle {
    int64_t second; /* of the newer of two counts */
    struct adaptive_count {
        uint64_t asked, refused; /* refused: by the service */
        uint64_t held_back;      /* of those asked, that did not go on */
    } counts[2];
    double share; /* what of a request has been let through since the last whole one */
};

/* Whether a request goes on now. Counts it. now_s: seconds of any clock that does not go back. */
bool adaptive_throttle_ask(struct adaptive_throttle *throttle, int64_t now_s) MUST_CHECK;

/* The service has refused one for want of capacity. */
void adaptive_throttle_refused(struct adaptive_throttle *throttle, int64_t now_s);

#endif
