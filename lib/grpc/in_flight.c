#include "grpc/in_flight.h"

/* Calls that come at random times wait for each other: so that none of what can be done at once
 * stands idle when as many come as can be done, three more have to be there (M/D/1/4 does 87 %,
 * with one less 80 %). With one at a time that is four times as long as alone; it is never less
 * than twice. */
#define WAITING 3
#define LEAST_TIMES 2.0
/* What comes at once may wait for longer, by a quarter. */
#define BURST_TIMES 1.25
/* Before it is known how many are done at once: a burst of eighty is let in, however long they
 * take. */
#define UNKNOWN_WIDTH 16
#define KNOWN_NS (60 * NSEC_PER_SEC)
/* One answer says little, and so does a moment. Where answers are rare, fewer will do. */
#define ROUND_CALLS 16
#define ROUND_NS (20 * NSEC_PER_MSEC)
#define FEW_CALLS 4
#define LONG_ROUND_NS (250 * NSEC_PER_MSEC)
/* No single stop, nor the burst after it, decides a rate; nor do few answers, that come by chance
 * one close behind the other. */
#define RATE_NS (100 * NSEC_PER_MSEC)
#define LONG_RATE_NS NSEC_PER_SEC
#define TURN_NS (5 * NSEC_PER_SEC)
#define STOP_NS (100 * NSEC_PER_MSEC)
#define OVER_NS NSEC_PER_SEC
#define STANDS_NS (500 * NSEC_PER_MSEC)
#define LOOK_NS (10 * NSEC_PER_SEC)
#define GROWTH 1.25
/* A refusal costs the gateway 15 us, and more when it comes from here. Where an answer costs twenty
 * of them, and four times of what can be done come, five sixths of the answers are left. */
#define DEAR_NS (20 * 15 * NSEC_PER_USEC)
/* How much of what is seen counts at once: something else may be at work beside. */
#define LEARN_FASTER 0.25
#define LEARN_SLOWER 0.125

void in_flight_init(struct in_flight *f, unsigned most, int64_t patience_ns, unsigned cores)
{
    pthread_mutex_init(&f->lock, NULL);
    f->most = most;
    f->limit = most < IN_FLIGHT_BURST ? most : IN_FLIGHT_BURST;
    f->patience_ns = patience_ns;
    f->cheap_per_s = (double)NSEC_PER_SEC / DEAR_NS * cores;
}

void in_flight_free(struct in_flight *f)
{
    pthread_mutex_destroy(&f->lock);
}

static double too_long_ns(const struct in_flight *f)
{
    double times = 1 + WAITING / (f->width > 0 ? f->width : 1);
    double ns = (times > LEAST_TIMES ? times : LEAST_TIMES) * f->alone_ns;

    return ns > (double)f->patience_ns ? ns : (double)f->patience_ns;
}

/* Whether nobody has been answered for longer than an answer is late that is only late, or what has
 * come to wait then is not all answered yet. */
static bool has_stopped(struct in_flight *f, int64_t now_ns)
{
    if (f->open < f->limit)
        f->stopped = false;
    else if ((double)(now_ns - f->unanswered_ns) > too_long_ns(f) + STOP_NS)
        f->stopped = true;
    return f->stopped && !f->limited;
}

bool in_flight_begin(struct in_flight *f, int64_t now_ns, struct in_flight_call *ret)
{
    bool may;

    pthread_mutex_lock(&f->lock);
    may = has_stopped(f, now_ns) ? f->open < f->most : f->open < f->limit;
    if (may) {
        if (f->open == 0)
            f->unanswered_ns = now_ns;
        f->open++;
        *ret = (struct in_flight_call){f->round.number, f->open};
    } else {
        f->round.refused = true;
        f->n_refused++;
    }
    pthread_mutex_unlock(&f->lock);
    return may;
}

uint64_t in_flight_refused(struct in_flight *f)
{
    uint64_t n;

    pthread_mutex_lock(&f->lock);
    n = f->n_refused;
    pthread_mutex_unlock(&f->lock);
    return n;
}

/* ---- what the answers say; all of this under the lock ---- */

/* What is answered in so long. */
static double answered_in(const struct in_flight *f, double ns)
{
    const double *per_ns = f->rate.per_ns;

    return (per_ns[0] > per_ns[1] ? per_ns[0] : per_ns[1]) * ns;
}

static bool is_cheap(const struct in_flight *f)
{
    return answered_in(f, NSEC_PER_SEC) >= f->cheap_per_s;
}

/* As many as may be in work while answers do not take too long: by the answers that there were, or
 * by those that could have been. */
static double top_of(const struct in_flight *f)
{
    double ns = BURST_TIMES * too_long_ns(f);
    double width = f->width > 0 ? f->width : UNKNOWN_WIDTH;
    double by_rate = answered_in(f, ns), by_width = width * ns / f->alone_ns;
    double top = by_rate > by_width ? by_rate : by_width;

    return top < f->most && !is_cheap(f) ? top : f->most;
}

static void release(struct in_flight *f)
{
    f->limit = top_of(f);
    f->limited = false;
}

/* Nothing else was in work: this is what an answer takes. */
static void learn(struct in_flight *f, double took_ns)
{
    double share = took_ns < f->alone_ns ? LEARN_FASTER : LEARN_SLOWER;

    if (f->alone_ns <= 0 || f->back_to > 0)
        share = 1;
    f->alone_ns += (took_ns - f->alone_ns) * share;
}

/* Whether what is in work is too much: for longer than a burst lasts, or again. */
static bool stands(struct in_flight *f, double open, double took_ns, int64_t now_ns)
{
    if (open <= IN_FLIGHT_LEAST || took_ns <= too_long_ns(f) || is_cheap(f)) {
        f->stands_ns = 0;
        return false;
    }
    if (f->stands_ns == 0)
        f->stands_ns = now_ns;
    return now_ns - f->stands_ns >= STANDS_NS || f->limited;
}

static void set_limit(struct in_flight *f, double open, double took_ns, int64_t now_ns)
{
    if (stands(f, open, took_ns, now_ns)) {
        double fitting = answered_in(f, too_long_ns(f));

        f->limited = true;
        f->width = answered_in(f, f->alone_ns);
        if (f->width < 1)
            f->width = 1;
        f->known_ns = now_ns;
        f->known_alone_ns = f->alone_ns;
        if (fitting < f->limit)
            f->limit = fitting > IN_FLIGHT_LEAST ? fitting : IN_FLIGHT_LEAST;
    } else if (f->stands_ns == 0) {
        f->limit *= GROWTH;
        if (!f->limited || f->limit >= top_of(f))
            release(f);
    }
}

/* After some time of refusing, lets one in at a time for a round; or ends that. Returns whether it
 * has set the limit. */
static bool look(struct in_flight *f, bool refused, int64_t now_ns)
{
    if (f->back_to > 0) {
        f->limit = f->back_to;
        f->back_to = 0;
        f->looked_ns = now_ns;
        return true;
    }
    if (!refused) {
        f->looked_ns = now_ns;
        return false;
    }
    if (now_ns - f->looked_ns < LOOK_NS)
        return false;
    f->back_to = f->limit;
    f->limit = 1;
    return true;
}

static void end_round(struct in_flight *f, int64_t now_ns)
{
    const struct in_flight_round round = f->round;
    double took_ns = round.took_ns / round.n, open = round.open / round.n;
    bool adjusted = f->limited;

    /* What a machine can do changes, and what takes longer now was not too much then. */
    if (now_ns - f->known_ns >= KNOWN_NS || f->alone_ns > 2 * f->known_alone_ns)
        f->width = 0;
    if (round.n_alone > 0)
        learn(f, round.alone_ns / round.n_alone);
    else if (took_ns < f->alone_ns)
        learn(f, took_ns);
    else if (took_ns / open > f->alone_ns) /* at worst, all before it were done one by one */
        learn(f, took_ns / open);
    if (!look(f, round.refused, now_ns))
        set_limit(f, open, took_ns, now_ns);
    adjusted |= f->limited;
    f->round = (struct in_flight_round){.number = round.number + adjusted, .began_ns = now_ns};
    /* A flood that is over leaves nothing behind, though what comes now is too little for rounds in
     * which the limit grows. */
    if (round.refused || f->stands_ns != 0)
        f->over_ns = now_ns;
    else if (now_ns - f->over_ns >= OVER_NS)
        release(f);
}

static void count_rate(struct in_flight *f, int64_t now_ns)
{
    int64_t lasted_ns = now_ns - f->rate.began_ns;
    double per_ns;

    f->rate.n++;
    if (lasted_ns < RATE_NS || (f->rate.n < ROUND_CALLS && lasted_ns < LONG_RATE_NS))
        return;
    per_ns = (double)f->rate.n / (double)lasted_ns;
    if (now_ns - f->rate.turned_ns >= TURN_NS) {
        f->rate.per_ns[1] = f->rate.per_ns[0];
        f->rate.per_ns[0] = 0;
        f->rate.turned_ns = now_ns;
    }
    if (per_ns > f->rate.per_ns[0])
        f->rate.per_ns[0] = per_ns;
    f->rate.began_ns = now_ns;
    f->rate.n = 0;
}

static void measure(struct in_flight *f, const struct in_flight_call *call, int64_t took_ns,
                    int64_t now_ns)
{
    struct in_flight_round *round = &f->round;
    int64_t lasted_ns;

    f->unanswered_ns = now_ns;
    count_rate(f, now_ns);
    if (f->alone_ns <= 0) {
        learn(f, (double)took_ns);
        release(f);
    }
    /* What began before is of another limit. */
    if (call->round != round->number)
        return;
    if (round->began_ns == 0)
        round->began_ns = f->looked_ns = f->over_ns = now_ns;
    round->n++;
    round->took_ns += (double)took_ns;
    round->open += call->open;
    if (call->open == 1) {
        round->n_alone++;
        round->alone_ns += (double)took_ns;
    }
    lasted_ns = now_ns - round->began_ns;
    if ((round->n >= ROUND_CALLS && lasted_ns >= ROUND_NS) ||
        (round->n >= FEW_CALLS && lasted_ns >= LONG_ROUND_NS))
        end_round(f, now_ns);
}

void in_flight_end(struct in_flight *f, const struct in_flight_call *call, int64_t took_ns,
                   int64_t now_ns)
{
    pthread_mutex_lock(&f->lock);
    f->open--;
    if (took_ns >= 0)
        measure(f, call, took_ns, now_ns);
    pthread_mutex_unlock(&f->lock);
}
