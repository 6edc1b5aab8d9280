#include "turns.h"

#include <pthread.h>

#define MAX_WAITING 15

static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
static STAILQ_HEAD(, turn) waiting = STAILQ_HEAD_INITIALIZER(waiting);
static unsigned n_waiting;
static bool running;

static bool start(const struct turn *turn)
{
    return service_transaction(turn->call, turn->db, turn->body, turn->done, turn->user);
}

void turn_take(struct turn *turn)
{
    enum { RUN, WAIT, REFUSE } what = WAIT;

    pthread_mutex_lock(&lock);
    if (!running) {
        running = true;
        what = RUN;
    } else if (n_waiting < MAX_WAITING) {
        STAILQ_INSERT_TAIL(&waiting, turn, next);
        n_waiting++;
    } else {
        what = REFUSE;
    }
    pthread_mutex_unlock(&lock);
    if (what == REFUSE)
        service_fail_overloaded(turn->call);
    else if (what == RUN && !start(turn))
        turn_end();
}

void turn_end(void)
{
    struct turn *turn;

    do {
        pthread_mutex_lock(&lock);
        turn = STAILQ_FIRST(&waiting);
        if (turn) {
            STAILQ_REMOVE_HEAD(&waiting, next);
            n_waiting--;
        }
        running = turn != NULL;
        pthread_mutex_unlock(&lock);
    } while (turn && !start(turn)); /* one that cannot start has been failed */
}
