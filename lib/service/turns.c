#include "service/turns.h"

#include <errno.h>
#include <pthread.h>

/* What waits keeps nothing else busy, as one runs at a time. But searches come at random times:
 * with less than three that wait, there would often be none to run next (in_flight.c says more).
 * More wait only where that is soon over. */
#define MAX_WAITING 15
#define MIN_WAITING 3
#define MAX_WAIT_NS (10 * NSEC_PER_MSEC)
/* How much of one turn's time counts. */
#define LEARN_FASTER 4
#define LEARN_SLOWER 8

static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
static STAILQ_HEAD(, turn) waiting = STAILQ_HEAD_INITIALIZER(waiting);
static unsigned n_waiting;
static bool running;
static int64_t began_ns; /* the turn that runs */
static int64_t usual_ns; /* what a turn takes; 0: not known */

static bool has_room(void)
{
    return n_waiting < MIN_WAITING ||
           (n_waiting < MAX_WAITING && n_waiting * usual_ns < MAX_WAIT_NS);
}

static void learn(int64_t took_ns)
{
    if (usual_ns == 0)
        usual_ns = took_ns;
    else
        usual_ns += (took_ns - usual_ns) / (took_ns < usual_ns ? LEARN_FASTER : LEARN_SLOWER);
}

/* Under the lock. */
static void begin(void)
{
    running = true;
    began_ns = clock_monotonic_ns();
}

static int search(struct db_tx *tx, void *user)
{
    const struct turn *turn = user;
    struct db_result result;

    if (db_tx_run(tx, turn->limit, &result) != DB_OK ||
        db_tx_run(tx, turn->query, &result) != DB_OK)
        return -EIO; /* the outcome says more */
    return turn->found(turn->user, &result);
}

static void start_next(bool ran);

static void end(void *user, const struct db_result *outcome, int found_result)
{
    const struct turn *turn = user;

    start_next(true);
    turn->done(turn->user, outcome, found_result);
}

static bool start(struct turn *turn)
{
    return service_transaction(turn->call, turn->db, search, end, turn);
}

/* What was running is over; ran: it was a turn, and not one that could not start. */
static void start_next(bool ran)
{
    struct turn *turn;

    do {
        pthread_mutex_lock(&lock);
        if (ran)
            learn(clock_monotonic_ns() - began_ns);
        running = ran = false;
        turn = STAILQ_FIRST(&waiting);
        if (turn) {
            STAILQ_REMOVE_HEAD(&waiting, next);
            n_waiting--;
            begin();
        }
        pthread_mutex_unlock(&lock);
    } while (turn && !start(turn)); /* one that cannot start has been failed */
}

void turn_take(struct turn *turn)
{
    enum { RUN, WAIT, REFUSE } what = WAIT;

    pthread_mutex_lock(&lock);
    if (!running) {
        begin();
        what = RUN;
    } else if (has_room()) {
        STAILQ_INSERT_TAIL(&waiting, turn, next);
        n_waiting++;
    } else {
        what = REFUSE;
    }
    pthread_mutex_unlock(&lock);
    if (what == REFUSE)
        service_fail_overloaded(turn->call);
    else if (what == RUN && !start(turn))
        start_next(false);
}
