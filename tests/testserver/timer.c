/* Timers: a heap in order of time, and a thread that waits for the first. */
#include "testserver.h"

#include "base/cond.h"

#include <errno.h>
#include <stdlib.h>

#define FIRST_HEAP 64

static struct {
    pthread_mutex_t lock;
    pthread_cond_t changed;
    pthread_t thread;
    struct timer **heap; /* from 1 on */
    size_t n, cap;
    bool hurry, stop;
} timers = {.lock = PTHREAD_MUTEX_INITIALIZER};

/* ---- the heap; the lock is held ---- */

static void put(struct timer *timer, size_t place)
{
    timers.heap[place] = timer;
    timer->place = place;
}

static void sift(size_t place)
{
    struct timer *timer = timers.heap[place];

    for (; place > 1 && timers.heap[place / 2]->at_ns > timer->at_ns; place /= 2)
        put(timers.heap[place / 2], place);
    for (size_t child; (child = 2 * place) <= timers.n; place = child) {
        if (child < timers.n && timers.heap[child + 1]->at_ns < timers.heap[child]->at_ns)
            child++;
        if (timers.heap[child]->at_ns >= timer->at_ns)
            break;
        put(timers.heap[child], place);
    }
    put(timer, place);
}

static void take_out(struct timer *timer)
{
    size_t place = timer->place;
    struct timer *last = timers.heap[timers.n--];

    timer->place = 0;
    if (last == timer)
        return;
    put(last, place);
    sift(place);
}

static int grow(void)
{
    size_t cap = timers.cap ? timers.cap * 2 : FIRST_HEAP;
    struct timer **heap = realloc(timers.heap, cap * sizeof(struct timer *));

    if (!heap)
        return -ENOMEM;
    timers.heap = heap;
    timers.cap = cap;
    return 0;
}

int timer_set(struct timer *timer, int64_t at_ns)
{
    int r = 0;

    pthread_mutex_lock(&timers.lock);
    if (timers.n + 1 >= timers.cap)
        r = grow();
    if (r == 0) {
        timer->at_ns = timers.hurry ? 0 : at_ns;
        put(timer, ++timers.n);
        sift(timers.n);
        if (timer->place == 1)
            pthread_cond_signal(&timers.changed);
    }
    pthread_mutex_unlock(&timers.lock);
    return r;
}

bool timer_cancel(struct timer *timer)
{
    bool waits;

    pthread_mutex_lock(&timers.lock);
    waits = timer->place > 0;
    if (waits)
        take_out(timer);
    pthread_mutex_unlock(&timers.lock);
    return waits;
}

/* ---- the thread ---- */

static void *run(void *unused)
{
    (void)unused;
    pthread_mutex_lock(&timers.lock);
    while (!timers.stop) {
        struct timer *first = timers.n > 0 ? timers.heap[1] : NULL;

        if (!first) {
            pthread_cond_wait(&timers.changed, &timers.lock);
        } else if (first->at_ns > clock_monotonic_ns()) {
            (void)cond_wait_until(&timers.changed, &timers.lock, first->at_ns);
        } else {
            take_out(first);
            pthread_mutex_unlock(&timers.lock);
            first->fire(first);
            pthread_mutex_lock(&timers.lock);
        }
    }
    pthread_mutex_unlock(&timers.lock);
    return NULL;
}

int timers_start(void)
{
    cond_init(&timers.changed);
    return -pthread_create(&timers.thread, NULL, run, NULL);
}

void timers_hurry(void)
{
    pthread_mutex_lock(&timers.lock);
    timers.hurry = true;
    for (size_t i = 1; i <= timers.n; i++)
        timers.heap[i]->at_ns = 0; /* all alike: still a heap */
    pthread_cond_signal(&timers.changed);
    pthread_mutex_unlock(&timers.lock);
}

bool timers_hurried(void)
{
    bool hurry;

    pthread_mutex_lock(&timers.lock);
    hurry = timers.hurry;
    pthread_mutex_unlock(&timers.lock);
    return hurry;
}

void timers_stop(void)
{
    pthread_mutex_lock(&timers.lock);
    timers.stop = true;
    pthread_cond_signal(&timers.changed);
    pthread_mutex_unlock(&timers.lock);
    pthread_join(timers.thread, NULL);
    free(timers.heap);
}
