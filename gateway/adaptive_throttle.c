#include "adaptive_throttle.h"

#define TIMES_TAKEN 2
#define SECOND_MS 1000
#define TURN_MS 5000
/* As many are asked for in a second whatever was taken, to see when something is. */
#define LEAST 1
/* Requests come at random times, and some in one turn of who asks. */
#define BURST_MS 100
#define LEAST_BURST 8
/* What a shorter time says of a second is chance. */
#define SHORTEST_MS 10

/* What is still on its way counts as taken. A refusal can be of a request of the second before. */
static uint64_t taken(const struct adaptive_count *a, const struct adaptive_count *b)
{
    uint64_t asked = a->asked + b->asked;
    uint64_t not_taken = a->refused + a->held_back + b->refused + b->held_back;

    return not_taken < asked ? asked - not_taken : 0;
}

static void remember_best(struct adaptive_throttle *throttle, uint64_t now_ms)
{
    const struct adaptive_count none = {0};
    uint64_t n = taken(&throttle->counts[0], &none);

    if (now_ms - throttle->turned_ms >= TURN_MS) {
        throttle->best[1] = now_ms - throttle->turned_ms < 2 * TURN_MS ? throttle->best[0] : 0;
        throttle->best[0] = 0;
        throttle->turned_ms = now_ms;
    }
    if (n > throttle->best[0])
        throttle->best[0] = n;
}

/* Counts of the second before this one count too, older ones no more. */
static void roll(struct adaptive_throttle *throttle, uint64_t now_ms)
{
    struct adaptive_count *counts = throttle->counts;
    uint64_t passed = now_ms - counts[0].began_ms;

    if (passed < SECOND_MS)
        return;
    remember_best(throttle, now_ms);
    throttle->has_before = passed < 2 * SECOND_MS;
    counts[1] = throttle->has_before ? counts[0] : (struct adaptive_count){0};
    counts[0] = (struct adaptive_count){
        .began_ms = throttle->has_before ? counts[0].began_ms + SECOND_MS : now_ms};
}

/* Requests a second. */
static double rate(const struct adaptive_throttle *throttle, uint64_t now_ms)
{
    const struct adaptive_count *counts = throttle->counts;
    uint64_t lasted_ms = now_ms - counts[throttle->has_before].began_ms;
    double most = (double)taken(&counts[0], &counts[1]) * SECOND_MS /
                  (double)(lasted_ms > SHORTEST_MS ? lasted_ms : SHORTEST_MS);

    for (size_t i = 0; i < ARRAY_SIZE(throttle->best); i++) {
        if ((double)throttle->best[i] > most)
            most = (double)throttle->best[i];
    }
    return TIMES_TAKEN * (most + LEAST);
}

static void refill(struct adaptive_throttle *throttle, uint64_t now_ms)
{
    double per_ms = rate(throttle, now_ms) / SECOND_MS;
    double burst = per_ms * BURST_MS;

    throttle->permits += per_ms * (double)(now_ms - throttle->refilled_ms);
    if (burst < LEAST_BURST)
        burst = LEAST_BURST;
    if (throttle->permits > burst)
        throttle->permits = burst;
    throttle->refilled_ms = now_ms;
}

bool adaptive_throttle_ask(struct adaptive_throttle *throttle, uint64_t now_ms)
{
    struct adaptive_count *counts = throttle->counts;

    roll(throttle, now_ms);
    counts[0].asked++;
    if (counts[0].refused + counts[1].refused == 0)
        return true;
    refill(throttle, now_ms);
    if (throttle->permits < 1) {
        counts[0].held_back++;
        return false;
    }
    throttle->permits--;
    return true;
}

void adaptive_throttle_refused(struct adaptive_throttle *throttle, uint64_t now_ms)
{
    roll(throttle, now_ms);
    throttle->counts[0].refused++;
}
