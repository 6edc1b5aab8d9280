/* The pool: its queue, a clerk, and hashing threads.
 *
 * A job lives in its call's arena and is linked into the queue. The clerk hands jobs to hashing
 * threads that have none and runs done when they are finished. A hashing thread checks that
 * somebody still waits for the answer before it spends 15 ms on it. It runs behind everything else
 * on the machine, so that it may stop anywhere and for long: it takes no lock, and no callback runs
 * on it.
 *
 * Passwords are compared in NFC, as RFC 8265 section 4.2 says, so that the same password typed on
 * another system is the same.
 */
#include "password.h"

#include "background.h"
#include "base/log.h"
#include "metrics/metrics.h"

#include <argon2.h>
#include <errno.h>
#include <inttypes.h>
#include <limits.h>
#include <pthread.h>
#include <semaphore.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/random.h>
#include <uninorm.h>
#include <unistr.h>

/* OWASP's minimum for Argon2id; 15 ms of a core. */
#define MEMORY_KIB 19456
#define PASSES 2
#define LANES 1
#define SALT_BYTES 16
#define HASH_BYTES 32
#define ENCODED_BYTES 128
#define MAX_THREADS 256
#define LEAST_QUEUE 3

struct job {
    struct job *next;
    struct str password; /* wiped before done runs */
    const char *verify;  /* PHC string to verify against; NULL: make one */
    bool nobody;         /* verify is the pool's dummy: never right */
    struct password_request request;
};

/* A hashing thread. All but `finished` is the clerk's; from begin until finished, the thread's. */
struct hasher {
    struct password_pool *pool;
    pthread_t thread;
    sem_t begin;     /* job is set; without one: end */
    struct job *job; /* NULL: it has none */
    enum password_outcome outcome;
    char encoded[ENCODED_BYTES];
    atomic_bool finished;
};

struct password_pool {
    size_t max_queue;
    char dummy[ENCODED_BYTES]; /* a hash of no one's password */
    struct hasher hashers[MAX_THREADS];
    unsigned n_hashers; /* started */
    pthread_t clerk;
    bool has_clerk;
    sem_t news; /* for the clerk: a job came, a job is finished, or the pool closes */

    pthread_mutex_t lock; /* guards what follows; never taken by a hashing thread */
    struct job *first, **last;
    size_t n_queued;
    uint64_t n_refused;
    bool closing;

    metrics_number busy, done, dropped;
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

/* ---- the queue ---- */

/* NULL: none waits, or none will be begun. */
static struct job *pop(struct password_pool *pool)
{
    struct job *job;

    pthread_mutex_lock(&pool->lock);
    job = pool->closing ? NULL : pool->first;
    if (job) {
        pool->first = job->next;
        if (!pool->first)
            pool->last = &pool->first;
        pool->n_queued--;
    }
    pthread_mutex_unlock(&pool->lock);
    return job;
}

static int push(struct password_pool *pool, struct job *job)
{
    int r = -ENOBUFS;

    pthread_mutex_lock(&pool->lock);
    if (pool->n_queued < pool->max_queue && !pool->closing) {
        *pool->last = job;
        pool->last = &job->next;
        pool->n_queued++;
        r = 0;
    } else {
        pool->n_refused++;
    }
    pthread_mutex_unlock(&pool->lock);
    if (r == 0)
        sem_post(&pool->news);
    return r;
}

bool password_pool_has_room(struct password_pool *pool)
{
    bool room;

    pthread_mutex_lock(&pool->lock);
    room = pool->n_queued < pool->max_queue;
    pool->n_refused += !room;
    pthread_mutex_unlock(&pool->lock);
    return room;
}

void password_pool_stats(struct password_pool *pool, struct password_pool_stats *ret)
{
    *ret = (struct password_pool_stats){
        .max_queue = pool->max_queue,
        .busy = (unsigned)metrics_get(&pool->busy),
        .threads = pool->n_hashers,
        .done = metrics_get(&pool->done),
        .dropped = metrics_get(&pool->dropped),
    };
    pthread_mutex_lock(&pool->lock);
    ret->waiting = pool->n_queued;
    ret->refused = pool->n_refused;
    pthread_mutex_unlock(&pool->lock);
}

/* ---- threads ---- */

static void await(sem_t *semaphore)
{
    while (sem_wait(semaphore) < 0) /* EINTR */
        ;
}

static void *hashing_thread(void *user)
{
    struct hasher *hasher = user;
    int r = background_enter();

    if (r < 0)
        log_warn("passwords are hashed at the priority of everything else",
                 LOG_S("cause", str_of(strerror(-r))));
    for (;;) {
        await(&hasher->begin);
        if (!hasher->job)
            return NULL;
        hasher->outcome = work_on(hasher->job, hasher->encoded);
        atomic_store(&hasher->finished, true);
        sem_post(&hasher->pool->news);
    }
}

/* Returns whether the hasher has a job afterwards. */
static bool attend_to(struct hasher *hasher)
{
    if (hasher->job && atomic_load(&hasher->finished)) {
        struct job *job = hasher->job;

        hasher->job = NULL;
        atomic_fetch_sub_explicit(&hasher->pool->busy, 1, memory_order_relaxed);
        metrics_add(hasher->outcome == PASSWORD_DEADLINE || hasher->outcome == PASSWORD_CANCELLED
                        ? &hasher->pool->dropped
                        : &hasher->pool->done,
                    1);
        finish(job, hasher->outcome, hasher->encoded);
    }
    if (hasher->job)
        return true;
    hasher->job = pop(hasher->pool);
    if (!hasher->job)
        return false;
    atomic_store(&hasher->finished, false);
    metrics_add(&hasher->pool->busy, 1);
    sem_post(&hasher->begin);
    return true;
}

/* Until the pool closes and all that was begun is finished. */
static void *clerk_thread(void *user)
{
    struct password_pool *pool = user;
    bool closing;

    do {
        bool busy = false;

        await(&pool->news);
        pthread_mutex_lock(&pool->lock);
        closing = pool->closing;
        pthread_mutex_unlock(&pool->lock);
        for (unsigned i = 0; i < pool->n_hashers; i++)
            busy |= attend_to(&pool->hashers[i]);
        closing = closing && !busy;
    } while (!closing);
    return NULL;
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

/* The memory that a container may take, as its own control group says in the file system at root
 * (version 2, version 1); UINT64_MAX without a limit. */
static uint64_t memory_limit(const char *root)
{
    static const char *const files[] = {"memory.max", "memory/memory.limit_in_bytes"};
    uint64_t limit = UINT64_MAX;

    for (size_t i = 0; i < ARRAY_SIZE(files); i++) {
        char path[PATH_MAX];
        FILE *file;

        snprintf(path, sizeof(path), "%s/%s", root, files[i]);
        file = fopen(path, "re");
        if (!file)
            continue;
        if (fscanf(file, "%" SCNu64, &limit) != 1) /* "max" */
            limit = UINT64_MAX;
        fclose(file);
        break;
    }
    return limit;
}

unsigned password_pool_threads_of(unsigned cores, const char *cgroup)
{
    uint64_t n = cores < 2 ? 1 : cores - 1;
    uint64_t fit = memory_limit(cgroup) / 2 / (MEMORY_KIB * UINT64_C(1024));

    n = n > fit ? fit : n;
    return n < 1 ? 1 : n > MAX_THREADS ? MAX_THREADS : (unsigned)n;
}

unsigned password_pool_threads(void)
{
    return password_pool_threads_of(cpu_count(), "/sys/fs/cgroup");
}

size_t password_pool_queue(unsigned threads)
{
    return threads > LEAST_QUEUE ? threads : LEAST_QUEUE;
}

static int make_dummy(struct password_pool *pool)
{
    char secret[32];

    if (getrandom(secret, sizeof(secret), 0) != sizeof(secret))
        return -EIO;
    return new_hash((struct str){secret, sizeof(secret)}, pool->dummy);
}

static int start_threads(struct password_pool *pool, unsigned n)
{
    int r;

    while (pool->n_hashers < n) {
        struct hasher *hasher = &pool->hashers[pool->n_hashers];

        hasher->pool = pool;
        sem_init(&hasher->begin, 0, 0);
        r = pthread_create(&hasher->thread, NULL, hashing_thread, hasher);
        if (r != 0) {
            sem_destroy(&hasher->begin);
            return -r;
        }
        pool->n_hashers++;
    }
    r = pthread_create(&pool->clerk, NULL, clerk_thread, pool);
    pool->has_clerk = r == 0;
    return -r;
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
    sem_init(&pool->news, 0, 0);
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

static void end_threads(struct password_pool *pool)
{
    if (pool->has_clerk) {
        sem_post(&pool->news);
        pthread_join(pool->clerk, NULL);
    }
    for (unsigned i = 0; i < pool->n_hashers; i++) {
        struct hasher *hasher = &pool->hashers[i];

        sem_post(&hasher->begin);
        pthread_join(hasher->thread, NULL);
        sem_destroy(&hasher->begin);
    }
}

void password_pool_free(struct password_pool *pool)
{
    if (!pool)
        return;
    pthread_mutex_lock(&pool->lock);
    pool->closing = true;
    pthread_mutex_unlock(&pool->lock);
    end_threads(pool);
    for (struct job *job = pool->first, *next; job; job = next) {
        next = job->next;
        finish(job, PASSWORD_FAILED, NULL);
    }
    sem_destroy(&pool->news);
    pthread_mutex_destroy(&pool->lock);
    free(pool);
}
