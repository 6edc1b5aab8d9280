/* Who is in which channel, and up to where: for a broadcast, those who want it; for a session, its
 * places, which outlive the stream that they came by. Free of nginx; one thread.
 *
 * A place is known from both sides, so that either is found without a search: a channel has its
 * members in one piece of memory, which a broadcast goes through, and a member its places.
 */
#ifndef STOA_GATEWAY_CHANNELS_H
#define STOA_GATEWAY_CHANNELS_H

#include "base/base.h"

struct channel;
struct member;

/* A member in a channel. */
struct seat {
    struct member *member;
    int64_t seq;    /* what it has */
    uint32_t place; /* in member->places */
    bool live;
};

/* Those that one stream speaks of. */
struct channels {
    struct channel **table; /* by id; chained */
    size_t n, cap;          /* channels; cap: a power of two, or 0 */
};

/* Part of a session. All its places are in one struct channels. */
struct member {
    struct place *places;
    uint32_t n, cap;
};

/* Sets where a member is in a channel; joins it when it is not in it. 0; -ENOSPC: it is in `most`
 * channels already; -ENOMEM: nothing has changed. */
int channels_set(struct channels *channels, struct member *member, uint64_t id, int64_t seq,
                 bool live, uint32_t most) MUST_CHECK;
/* Nothing when it is not in it. */
void channels_leave(struct channels *channels, struct member *member, uint64_t id);
void channels_leave_all(struct channels *channels, struct member *member);
/* Takes a member's places elsewhere, where it is in none; none of them is live there. -ENOMEM: it
 * is where it was. */
int channels_move(struct channels *from, struct channels *to, struct member *member) MUST_CHECK;

/* The seats of a channel, in no order, until channels change. n is 0 when there is none. */
struct seat *channels_seats(const struct channels *channels, uint64_t id, size_t *ret_n);
/* Place i (< n) of a member. */
uint64_t member_channel(const struct member *member, uint32_t i);
const struct seat *member_seat(const struct member *member, uint32_t i);

#endif
