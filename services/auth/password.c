/* The pool of hashing threads and its queue.
 *
 * A job lives in its call's arena and is linked into the queue; the thread that takes it checks
 * that somebody still waits for the answer before it spends 20 ms on it. Passwords are compared in
 * NFC, as RFC 8265 section 4.2 says, so that the same password typed on another system is the same.
 */
#include "password.h"

#include <argon2.h>
#include <errno.h>
#include <pthread.h>
#include <stdlib.h>
#include <sys/random.h>
#include <sys/resource.h>
#include <uninorm.h>
#include <unistr.h>

/* OWASP's minimum for Argon2id; 20 ms of a core. */
#define MEMORY_KIB 19456
#define PASSES 2
#define LANES 1
#define SALT_BYTES 16
#define HASH_BYTES 32
#define ENCODED_BYTES 128
#define MAX_THREADS 256
#define LEAST_PRIORITY 19

struct job {
    struct job *next;
    struct str password; /* wiped before done runs */
    const char *verify;  /* PHC string to verify against; NULL: make one */
    bool nobody;         /* verify is the pool's dummy: never right */
    struct password_request request;
};

struct password_pool {
    unsigned n_threads; /* started */
    size_t max_queue;
    char dummy[ENCODED_BYTES]; /* a hash of no one's password */
    pthread_t threads[MAX_THREADS];

    pthread_mutex_t lock; /* guards what follows */
    pthread_cond_t work;
    struct job *first, **last;
    size_t n_queued;
    bool closing;
};

/* ---- Argon2id ---- */

static int new_hash(struct str password, char encoded[ENCODED_BYTES])
{
    uint8_t salt[SALT_BYTES];

    if (getrandom(salt, sizeof(salt), 0) != sizeof(salt))
        return -EIO;
    if (argon2id_hash_encoded(PASSES, MEMORY_KIB, LANES, password.p, password.n, salt, sizeof(salt),
                              HASH_BYTES, encoded, ENCODED_BYTES) != ARGON2_OK)
        return -ENOMEM;
    return 0;
}

static enum password_outcome verify_hash(const struct job *job)
{
    int r = argon2id_verify(job->verify, job->password.p, job->password.n);

    if (r == ARGON2_VERIFY_MISMATCH || (r == ARGON2_OK && job->nobody))
        return PASSWORD_WRONG;
    return r == ARGON2_OK ? PASSWORD_DONE : PASSWORD_FAILED;
}

/* ---- one job ---- */

static void wipe(struct str secret)
{
    if (secret.n > 0)
        explicit_bzero((char *)secret.p, secret.n);
}

static enum password_outcome work_on(const struct job *job, char encoded[ENCODED_BYTES])
{
    const struct password_request *request = &job->request;

    if (request->cancelled && atomic_load(request->cancelled))
        return PASSWORD_CANCELLED;
    if (request->deadline_ns <= clock_monotonic_ns())
        return PASSWORD_DEADLINE;
    if (job->verify)
        return verify_hash(job);
    return new_hash(job->password, encoded) == 0 ? PASSWORD_DONE : PASSWORD_FAILED;
}

/* The call, and the job with it, may be gone when done has run. */
static void finish(struct job *job, enum password_outcome outcome, const char *encoded)
{
    wipe(job->password);
    job->request.done(job->request.user, outcome,
                      outcome == PASSWORD_DONE && !job->verify ? encoded : NULL);
}

static void run(struct job *job)
{
    char encoded[ENCODED_BYTES] = "";
    enum password_outcome outcome = work_on(job, encoded);

    finish(job, outcome, encoded);
}

/* ---- the queue ---- */

/* Under the lock. */
static struct job *pop(struct password_pool *pool)
{
    struct job *job = pool->first;

    if (job) {
        pool->first = job->next;
        if (!pool->first)
            pool->last = &pool->first;
        pool->n_queued--;
    }
    return job;
}

/* Everything else on the machine comes first: a hash takes 20 ms of a core and lets nobody in
 * between, a read takes microseconds. On Linux this is the calling thread's alone; it can't be
 * refused. */
static void step_back(void)
{
    setpriority(PRIO_PROCESS, 0, LEAST_PRIORITY);
}

static void *hashing_thread(void *user)
{
    struct password_pool *pool = user;

    step_back();
    for (;;) {
        struct job *job;

        pthread_mutex_lock(&pool->lock);
        while (!pool->first && !pool->closing)
            pthread_cond_wait(&pool->work, &pool->lock);
        job = pool->closing ? NULL : pop(pool);
        pthread_mutex_unlock(&pool->lock);
        if (!job)
            return NULL;
        run(job);
    }
}

static int push(struct password_pool *pool, struct job *job)
{
    int r = -ENOBUFS;

    pthread_mutex_lock(&pool->lock);
    if (pool->n_queued < pool->max_queue && !pool->closing) {
        *pool->last = job;
        pool->last = &job->next;
        pool->n_queued++;
        pthread_cond_signal(&pool->work);
        r = 0;
    }
    pthread_mutex_unlock(&pool->lock);
    return r;
}

bool password_pool_has_room(struct password_pool *pool)
{
    bool room;

    pthread_mutex_lock(&pool->lock);
    room = pool->n_queued < pool->max_queue;
    pthread_mutex_unlock(&pool->lock);
    return room;
}

/* ---- submitting ---- */

static bool is_ascii(struct str s)
{
    for (size_t i = 0; i < s.n; i++) {
        if ((unsigned char)s.p[i] >= 0x80)
            return false;
    }
    return true;
}

/* The password in NFC: itself, or a copy in the arena in its place. */
static int normalize(struct str *password, struct arena *arena)
{
    uint8_t *normal;
    struct str copy;
    size_t n = 0;

    if (is_ascii(*password))
        return 0;
    if (u8_check((const uint8_t *)password->p, password->n))
        return -EILSEQ;
    normal = u8_normalize(UNINORM_NFC, (const uint8_t *)password->p, password->n, NULL, &n);
    if (!normal)
        return -ENOMEM;
    copy = arena_copy(arena, (struct str){(const char *)normal, n});
    explicit_bzero(normal, n);
    free(normal);
    if (!copy.p)
        return -ENOMEM;
    wipe(*password);
    *password = copy;
    return 0;
}

static int submit(struct password_pool *pool, struct arena *arena,
                  const struct password_request *request, const char *verify, bool nobody)
{
    struct job *job = arena_alloc(arena, sizeof(*job));
    struct str password = str_of(request->password);
    int r = job ? normalize(&password, arena) : -ENOMEM;

    if (r == 0) {
        *job = (struct job){
            .password = password, .verify = verify, .nobody = nobody, .request = *request};
        r = push(pool, job);
    }
    if (r < 0)
        wipe(password);
    return r;
}

int password_hash(struct password_pool *pool, struct arena *arena,
                  const struct password_request *request)
{
    return submit(pool, arena, request, NULL, false);
}

int password_verify(struct password_pool *pool, struct arena *arena,
                    const struct password_request *request, struct str encoded)
{
    struct str copy = encoded.p ? arena_copy(arena, encoded) : str_of(pool->dummy);

    if (!copy.p) {
        wipe(str_of(request->password));
        return -ENOMEM;
    }
    return submit(pool, arena, request, copy.p, !encoded.p);
}

/* ---- life of the pool ---- */

static int make_dummy(struct password_pool *pool)
{
    char secret[32];

    if (getrandom(secret, sizeof(secret), 0) != sizeof(secret))
        return -EIO;
    return new_hash((struct str){secret, sizeof(secret)}, pool->dummy);
}

static int start_threads(struct password_pool *pool, unsigned n)
{
    while (pool->n_threads < n) {
        int r = pthread_create(&pool->threads[pool->n_threads], NULL, hashing_thread, pool);
        if (r != 0)
            return -r;
        pool->n_threads++;
    }
    return 0;
}

int password_pool_new(const struct password_pool_options *options, struct password_pool **ret)
{
    struct password_pool *pool;
    int r;

    if (options->threads == 0 || options->threads > MAX_THREADS || options->max_queue == 0)
        return -EINVAL;
    pool = calloc(1, sizeof(*pool));
    if (!pool)
        return -ENOMEM;
    pthread_mutex_init(&pool->lock, NULL);
    pthread_cond_init(&pool->work, NULL);
    pool->max_queue = options->max_queue;
    pool->last = &pool->first;
    r = make_dummy(pool);
    if (r == 0)
        r = start_threads(pool, options->threads);
    if (r < 0) {
        password_pool_free(pool);
        return r;
    }
    *ret = pool;
    return 0;
}

void password_pool_free(struct password_pool *pool)
{
    struct job *job;

    if (!pool)
        return;
    pthread_mutex_lock(&pool->lock);
    pool->closing = true;
    pthread_cond_broadcast(&pool->work);
    pthread_mutex_unlock(&pool->lock);
    for (unsigned i = 0; i < pool->n_threads; i++)
        pthread_join(pool->threads[i], NULL);
    while ((job = pop(pool)))
        finish(job, PASSWORD_FAILED, NULL);
    pthread_cond_destroy(&pool->work);
    pthread_mutex_destroy(&pool->lock);
    free(pool);
}
