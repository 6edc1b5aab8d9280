/* The canceller: a thread that asks Postgres to cancel statements. libpq 15 has only the blocking
 * PQcancel(), which opens a connection of its own and waits for the server to close it; a server
 * that hangs would hang the engine with it. */
#include "pg/internal.h"

#include "base/log.h"

#include <errno.h>
#include <stdlib.h>
#include <time.h>

#define MAX_WAITING 64
#define STOP_WAIT_SECONDS 2

struct request {
    STAILQ_ENTRY(request) next;
    PGcancel *cancel;
};

struct canceller {
    pthread_t thread;
    pthread_mutex_t lock;
    pthread_cond_t work;
    STAILQ_HEAD(, request) waiting;
    unsigned n_waiting;
    bool stop;
};

static void send_cancel(struct request *r)
{
    char cause[CAUSE_BYTES] = "";

    if (!PQcancel(r->cancel, cause, sizeof(cause)))
        log_warn("postgres cancel failed", LOG_C("cause", cause));
}

static void request_free(struct request *r)
{
    PQfreeCancel(r->cancel);
    free(r);
}

static void *canceller_main(void *arg)
{
    struct canceller *k = arg;

    pthread_mutex_lock(&k->lock);
    while (!k->stop) {
        struct request *r = STAILQ_FIRST(&k->waiting);

        if (!r) {
            pthread_cond_wait(&k->work, &k->lock);
            continue;
        }
        STAILQ_REMOVE_HEAD(&k->waiting, next);
        k->n_waiting--;
        pthread_mutex_unlock(&k->lock);
        send_cancel(r);
        request_free(r);
        pthread_mutex_lock(&k->lock);
    }
    pthread_mutex_unlock(&k->lock);
    return NULL;
}

int canceller_start(struct canceller **ret)
{
    struct canceller *k = calloc(1, sizeof(*k));
    int error;

    if (!k)
        return -ENOMEM;
    pthread_mutex_init(&k->lock, NULL);
    pthread_cond_init(&k->work, NULL);
    STAILQ_INIT(&k->waiting);
    error = pthread_create(&k->thread, NULL, canceller_main, k);
    if (error) {
        free(k);
        return -error;
    }
    *ret = k;
    return 0;
}

/* A thread that hangs in PQcancel() cannot be woken: after a while it is left behind with its
 * memory, which it alone uses, rather than keeping the process from ending. */
void canceller_stop(struct canceller *k)
{
    struct timespec until;

    pthread_mutex_lock(&k->lock);
    k->stop = true;
    pthread_cond_signal(&k->work);
    pthread_mutex_unlock(&k->lock);
    clock_gettime(CLOCK_REALTIME, &until);
    until.tv_sec += STOP_WAIT_SECONDS;
    if (pthread_timedjoin_np(k->thread, NULL, &until) != 0) {
        log_warn("postgres does not answer a cancel; going on without");
        pthread_detach(k->thread);
        return;
    }
    for (struct request *r; (r = STAILQ_FIRST(&k->waiting)) != NULL;) {
        STAILQ_REMOVE_HEAD(&k->waiting, next);
        request_free(r);
    }
    pthread_mutex_destroy(&k->lock);
    pthread_cond_destroy(&k->work);
    free(k);
}

void canceller_ask(struct canceller *k, PGconn *pg)
{
    struct request *r = calloc(1, sizeof(*r));

    if (!r)
        return;
    r->cancel = PQgetCancel(pg);
    pthread_mutex_lock(&k->lock);
    if (r->cancel && k->n_waiting < MAX_WAITING) {
        STAILQ_INSERT_TAIL(&k->waiting, r, next);
        k->n_waiting++;
        r = NULL;
        pthread_cond_signal(&k->work);
    }
    pthread_mutex_unlock(&k->lock);
    if (r)
        request_free(r);
}
