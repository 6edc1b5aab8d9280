#include "standing_delay.h"

/* Who come further apart (ms) do not wait for each other, whatever else they wait for. */
#define APART 50
/* Of the time in which nobody waits too long, one part in so many is given back. */
#define GIVEN_BACK 10

/* Time is taken between two who wait too long and come one close behind the other. */
static void count(struct standing_delay *state, uint64_t burst, uint64_t passed, bool late)
{
    uint64_t taken = 0, given;

    if (late && state->late)
        taken = passed < APART ? passed : APART;
    given = passed - taken;
    state->spent += taken * GIVEN_BACK;
    state->spent -= given < state->spent ? given : state->spent;
    if (state->spent > burst * GIVEN_BACK)
        state->spent = burst * GIVEN_BACK;
}

bool standing_delay_admits(struct standing_delay *state, const struct standing_delay_limits *limits,
                           uint64_t now_ms, uint64_t wait_ms)
{
    bool late = wait_ms > limits->target;

    count(state, limits->burst, now_ms - state->at_ms, late);
    state->at_ms = now_ms;
    state->late = late;
    return !late || state->spent < limits->burst * GIVEN_BACK;
}
