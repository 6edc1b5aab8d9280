/* How many calls of an RPC may be in work at once, so that their answers come as soon as they can.
 *
 * Where more is asked than can be done, what is let in beyond it only waits, and everybody for all
 * before them. So the limit follows the answers. While they take too long, what is in work in
 * excess waits in a queue that stands, and the limit falls to what is answered in the time that an
 * answer may take (Little's law; by the most that was answered in the last seconds, or a lower
 * limit would be its own reason). Otherwise it grows, until a burst has room: a queue that goes by
 * itself within half a second is no reason to refuse anybody: so long a disk may hold up writes
 * that otherwise take a millisecond. Nor is a time without any answer, in which the database
 * restarts, say: then all wait. Sources: K. Nichols, V. Jacobson: Controlling Queue Delay, 2012; N.
 * Cardwell et al.: BBR: Congestion-Based Congestion Control, 2016.
 *
 * Too long is so many times what an answer takes alone as keeps busy what can be done at once, and
 * longer than somebody would notice. What it takes alone is seen whenever nothing else is in work;
 * and every ten seconds of refusing, one at a time is let in for a moment to see it again. How much
 * can be done at once is seen when more comes: nobody knows it before, so the first burst is let in
 * however long it takes, but for a bound; for a minute after a flood no more are than can be
 * answered soon. So nothing has to be set for a machine or for an RPC.
 *
 * An answer that costs no more than some refusals is not refused: what comes beyond would take from
 * those who are answered, and who is refused comes again the sooner. What an answer costs nobody
 * knows here; but what so few cores answer so many times a second cannot cost more.
 *
 * Any thread. */
#ifndef STOA_GRPC_IN_FLIGHT_H
#define STOA_GRPC_IN_FLIGHT_H

#include "base/base.h"

#include <pthread.h>

#define IN_FLIGHT_LEAST 2   /* in work at once that are not refused, but to look */
#define IN_FLIGHT_BURST 256 /* likewise, before anything has been answered */

struct in_flight {
    unsigned most;       /* in work at once, whatever the answers say */
    double cheap_per_s;  /* answers: as many cost too little to be refused */
    int64_t patience_ns; /* what an answer may take in any case */

    pthread_mutex_t lock; /* guards what follows */
    unsigned open;        /* in work */
    double limit;
    bool limited;          /* it was cut, and has not grown back */
    double alone_ns;       /* what an answer takes when nothing else is in work; 0: not known */
    double width;          /* how many such were done at once when more came; 0: not known */
    int64_t known_ns;      /* since when */
    double known_alone_ns; /* and by which alone_ns */
    int64_t unanswered_ns; /* since when calls are in work without an answer to any */
    bool stopped;          /* there was none for some time, and more wait than the limit says */
    int64_t stands_ns;     /* since when answers take too long; 0: they don't */
    int64_t looked_ns;     /* when alone_ns was looked for last, or nobody was refused */
    double back_to;        /* one at a time is let in to look: the limit afterwards; 0: no */
    int64_t over_ns;       /* when the last round ended with refusals, or with late answers */
    /* What is measured until the limit is set anew. */
    struct in_flight_round {
        uint32_t number;
        int64_t began_ns; /* 0: with the first answer */
        unsigned n;
        double took_ns, open; /* sums over the n */
        unsigned n_alone;     /* of them: nothing else was in work when they began */
        double alone_ns;      /* sum over those */
        bool refused;
    } round;
    struct {
        int64_t began_ns;
        unsigned n;       /* answers since then */
        double per_ns[2]; /* the most in these seconds, and in those before */
        int64_t turned_ns;
    } rate;
    uint64_t n_refused;
};

/* One call in work. */
struct in_flight_call {
    uint32_t round;
    unsigned open; /* with it, when it began */
};

/* Zeroed memory. most: 1 or more; patience_ns: more than 0; cores: that the machine has. */
void in_flight_init(struct in_flight *f, unsigned most, int64_t patience_ns, unsigned cores);
void in_flight_free(struct in_flight *f);

/* A call begins. False: it is one too many. now_ns, here and below: of a clock that does not go
 * back, more than 0. */
bool in_flight_begin(struct in_flight *f, int64_t now_ns, struct in_flight_call *ret) MUST_CHECK;
/* It ends; once. took_ns: since it began, less than 0: its end tells nothing about answers. */
void in_flight_end(struct in_flight *f, const struct in_flight_call *call, int64_t took_ns,
                   int64_t now_ns);

/* How many have been one too many. */
uint64_t in_flight_refused(struct in_flight *f);

#endif
