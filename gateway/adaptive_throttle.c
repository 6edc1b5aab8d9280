#include "adaptive_throttle.h"

#define TIMES_TAKEN 2

/* Counts of the second before this one count too, older ones no more. */
static void roll(struct adaptive_throttle *throttle, int64_t now_s)
{
    if (now_s == throttle->second)
        return;
    throttle->counts[1] =
        now_s == throttle->second + 1 ? throttle->counts[0] : (struct adaptive_count){0, 0, 0};
    throttle->counts[0] = (struct adaptive_count){0, 0, 0};
    throttle->second = now_s;
}

static struct adaptive_count sum(const struct adaptive_throttle *throttle)
{
    const struct adaptive_count *a = &throttle->counts[0], *b = &throttle->counts[1];

    return (struct adaptive_count){a->asked + b->asked, a->refused + b->refused,
                                   a->held_back + b->held_back};
}

bool adaptive_throttle_ask(struct adaptive_throttle *throttle, int64_t now_s)
{
    struct adaptive_count all;
    uint64_t not_taken, may;

    roll(throttle, now_s);
    throttle->counts[0].asked++;
    all = sum(throttle);
    if (all.refused == 0)
        return true;
    /* A refusal can be of a request that was counted before these. What is still on its way counts
     * as taken. */
    not_taken = all.refused + all.held_back;
    may = not_taken < all.asked ? TIMES_TAKEN * (all.asked - not_taken) : 0;
    throttle->share += may >= all.asked ? 1 : (double)(may + 1) / (double)(all.asked + 1);
    if (throttle->share >= 1) {
        throttle->share = 0;
        return true;
    }
    throttle->counts[0].held_back++;
    return false;
}

void adaptive_throttle_refused(struct adaptive_throttle *throttle, int64_t now_s)
{
    roll(throttle, now_s);
    throttle->counts[0].refused++;
}
