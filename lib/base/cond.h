/* Condition variables whose time limits are those of clock_monotonic_ns(): a step of the wall clock
 * neither ends a wait nor makes it longer. */
#ifndef STOA_BASE_COND_H
#define STOA_BASE_COND_H

#include "base/base.h"

#include <pthread.h>
#include <time.h>

static inline void cond_init(pthread_cond_t *cond)
{
    pthread_condattr_t attr;

    /* None of these can fail with the attributes that are set here. */
    pthread_condattr_init(&attr);
    pthread_condattr_setclock(&attr, CLOCK_MONOTONIC);
    pthread_cond_init(cond, &attr);
    pthread_condattr_destroy(&attr);
}

/* pthread_cond_timedwait(): 0, or ETIMEDOUT from deadline_ns on. */
static inline int cond_wait_until(pthread_cond_t *cond, pthread_mutex_t *lock, int64_t deadline_ns)
{
    const struct timespec deadline = {.tv_sec = (time_t)(deadline_ns / NSEC_PER_SEC),
                                      .tv_nsec = (long)(deadline_ns % NSEC_PER_SEC)};

    return pthread_cond_timedwait(cond, lock, &deadline);
}

#endif
