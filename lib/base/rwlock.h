/* A lock for what is read all the time and written now and then. By default glibc lets readers in
 * ahead of a waiting writer, so a few threads that read without pause keep it out for minutes:
 * a revoked session would go on, a new key would not be known. Here a waiting writer is next.
 * No thread may take it for reading twice at once. */
#ifndef STOA_BASE_RWLOCK_H
#define STOA_BASE_RWLOCK_H

#include <pthread.h>

static inline void rwlock_init(pthread_rwlock_t *lock)
{
    pthread_rwlockattr_t attr;

    /* None of these can fail with the attributes that are set here. */
    pthread_rwlockattr_init(&attr);
    pthread_rwlockattr_setkind_np(&attr, PTHREAD_RWLOCK_PREFER_WRITER_NONRECURSIVE_NP);
    pthread_rwlock_init(lock, &attr);
    pthread_rwlockattr_destroy(&attr);
}

#endif
