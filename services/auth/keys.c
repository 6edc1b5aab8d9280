/* The keys that this instance signs with.
 *
 * Each instance has a key of its own in a file, made at its first start. The public half goes to
 * auth.signing_keys, from where every service reads what it verifies with; it is published again
 * each time that Postgres becomes reachable.
 *
 * A key is changed while the service runs (enum step): the next one is published, and does not sign
 * until everybody has had the time to read of it; from then on the one before counts for as long as
 * a token that it has just signed. Steps are taken by the main thread and end on the database's
 * engine thread; a step that fails is taken again. A new key of our own waits in a file beside the
 * other, so a restart goes on where it was.
 */
#include "keys.h"

#include "base/log.h"

#include <errno.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#define MAX_PUBLISH_ATTEMPTS 5
#define STATEMENT_TIMEOUT (20 * NSEC_PER_SEC)
#define BUSY_INTERVAL (100 * NSEC_PER_MSEC)
#define AGAIN_INTERVAL (1 * NSEC_PER_SEC)
#define LOOK_INTERVAL (60 * NSEC_PER_SEC)     /* how late a key may be changed for its age */
#define UNABLE_INTERVAL (3600 * NSEC_PER_SEC) /* after a change that was due and not possible */
/* How long a call may take that has begun with the key before, and how far clocks may differ. */
#define RETIREMENT_MARGIN_S 120

enum step {
    STEP_NONE,    /* one key, which signs */
    STEP_PUBLISH, /* the next one is to be published */
    STEP_WAIT,    /* it is; at due_ns it signs */
    STEP_RETIRE,  /* it signs; until when the one before counts is to be written down */
};

/* Signers that sign no more, but may still be in use by a call; freed at the end. */
struct old_signer {
    struct jwt_signer *signer;
    struct old_signer *next;
};

struct auth_keys {
    struct auth *auth;
    const char *path, *next_path;
    _Atomic(struct jwt_signer *) signer; /* any thread; changed by the main thread */

    /* Of the publication at start; the database's engine thread's. */
    struct arena publish_arena;
    bool publishing;
    unsigned publish_attempts;

    /* The main thread's. */
    struct jwt_signer *next;
    struct old_signer *old;  /* the latest first */
    bool next_is_ours;       /* in next_path; otherwise it was put at path */
    bool requested;          /* by a signal, or left from before a restart */
    int64_t unable_until_ns; /* no change for the key's age before that */
    struct arena arena;      /* of the statement in flight */

    pthread_mutex_t lock; /* guards what follows */
    enum step step;
    bool busy; /* a statement is in flight */
    int64_t due_ns;
};

/* ---- files ---- */

static const char *cure_of(int error)
{
    if (error == -EPERM)
        return "it must be owned and readable by this user alone: chown it, chmod 600";
    if (error == -EINVAL)
        return "it holds no P-256 private key as JWK: move it away, and a new one is made";
    if (error == -ENOENT || error == -ENOTDIR)
        return "make its folder, or name another path";
    return "make its folder writable for this user";
}

static bool exists(const char *path)
{
    return access(path, F_OK) == 0;
}

/* Seconds since the file was written: the age of its key. */
static int64_t age_s(const char *path)
{
    struct stat st;

    return stat(path, &st) == 0 ? time(NULL) - st.st_mtime : 0;
}

static bool is_same_key(const struct jwt_signer *a, const struct jwt_signer *b)
{
    return str_eq(jwt_signer_key_id(a), jwt_signer_key_id(b));
}

int auth_keys_new(struct auth *auth, struct auth_keys **ret, struct str *ret_error)
{
    const char *path = auth->config->key_path.p;
    struct arena *arena = service_arena(auth->service);
    struct auth_keys *k = calloc(1, sizeof(*k));
    struct jwt_signer *signer = NULL;
    int r;

    if (!k)
        return -ENOMEM;
    k->auth = auth;
    k->path = path;
    k->next_path = arena_printf(arena, "%s.next", path).p;
    arena_init(&k->publish_arena, 64 * 1024);
    arena_init(&k->arena, 64 * 1024);
    pthread_mutex_init(&k->lock, NULL);
    r = k->next_path ? jwt_key_create(path) : -ENOMEM;
    if (r == 0)
        r = jwt_signer_open(path, &signer);
    if (r < 0) {
        *ret_error =
            arena_printf(arena, "STOA_AUTH_KEY=%s (%s): %s", path, strerror(-r), cure_of(r));
        auth_keys_free(k);
        return r;
    }
    atomic_store(&k->signer, signer);
    k->requested = exists(k->next_path);
    *ret = k;
    return 0;
}

void auth_keys_free(struct auth_keys *k)
{
    if (!k)
        return;
    while (k->old) {
        struct old_signer *old = k->old;

        k->old = old->next;
        jwt_signer_free(old->signer);
        free(old);
    }
    jwt_signer_free(k->next);
    jwt_signer_free(atomic_load(&k->signer));
    arena_free(&k->publish_arena);
    arena_free(&k->arena);
    pthread_mutex_destroy(&k->lock);
    free(k);
}

const struct jwt_signer *auth_signer(const struct auth *auth)
{
    return atomic_load(&auth->keys->signer);
}

/* ---- publishing what signs ---- */

static struct db_query *publication(struct auth_keys *k, struct arena *arena,
                                    const struct jwt_signer *signer)
{
    struct db_query *query = db_query(service_db(k->auth->service), arena, AUTH_PUBLISH_KEY);

    if (query) {
        db_bind_text(query, jwt_signer_key_id(signer));
        db_bind_text(query, jwt_signer_public_jwk(signer));
    }
    return query;
}

static void publish(struct auth_keys *k);

static void on_published(void *user, const struct db_result *result)
{
    struct auth_keys *k = user;

    k->publishing = false;
    if (result->error == DB_OK) {
        log_info("signing key published", LOG_S("key_id", jwt_signer_key_id(auth_signer(k->auth))));
        service_set_condition(k->auth->service, AUTH_KEY_CONDITION, true);
        return;
    }
    if (result->error == DB_UNAVAILABLE)
        return; /* comes again when Postgres does */
    log_error("the signing key could not be published", LOG_C("sqlstate", result->sqlstate),
              LOG_S("cause", db_cause(result)), LOG_I("attempt", k->publish_attempts));
    if (k->publish_attempts < MAX_PUBLISH_ATTEMPTS)
        publish(k);
}

static void publish(struct auth_keys *k)
{
    struct db_query *query;

    arena_reset(&k->publish_arena);
    k->publish_attempts++;
    query = publication(k, &k->publish_arena, auth_signer(k->auth));
    k->publishing = query && db_submit(query, INT64_MAX, NULL, on_published, k) == 0;
}

void auth_keys_publish(struct auth_keys *k)
{
    if (k->publishing)
        return;
    k->publish_attempts = 0;
    publish(k);
}

/* ---- changing it: the next key ---- */

static void go_on(struct auth_keys *k, enum step step, int64_t wait_ns)
{
    pthread_mutex_lock(&k->lock);
    k->step = step;
    k->busy = false;
    k->due_ns = clock_monotonic_ns() + wait_ns;
    pthread_mutex_unlock(&k->lock);
}

/* What somebody put at path in place of the key that signs; otherwise one of our own. */
static int open_next(struct auth_keys *k)
{
    int r = jwt_signer_open(k->path, &k->next);

    k->next_is_ours = false;
    if (r < 0)
        return r;
    k->next_is_ours = is_same_key(k->next, auth_signer(k->auth));
    if (!k->next_is_ours)
        return 0;
    jwt_signer_free(k->next);
    k->next = NULL;
    r = jwt_key_create(k->next_path);
    return r < 0 ? r : jwt_signer_open(k->next_path, &k->next);
}

/* How long until the key has its age, or until it is to be looked at again; not less than until a
 * change is possible again. */
static int64_t until_old(const struct auth_keys *k)
{
    int64_t period = k->auth->config->key_rotation_s;
    int64_t until = (period - age_s(k->path)) * NSEC_PER_SEC;
    int64_t able = k->unable_until_ns - clock_monotonic_ns();

    if (period == 0)
        return LOOK_INTERVAL;
    return until > able ? until : able;
}

static void begin(struct auth_keys *k)
{
    int64_t wait = until_old(k);
    int r;

    if (!k->requested && wait > 0) {
        go_on(k, STEP_NONE, wait < LOOK_INTERVAL ? wait : LOOK_INTERVAL);
        return;
    }
    k->requested = false;
    r = open_next(k);
    if (r == 0) {
        go_on(k, STEP_PUBLISH, 0);
        return;
    }
    k->unable_until_ns = clock_monotonic_ns() + UNABLE_INTERVAL;
    log_error("the signing key can't be changed: the one before goes on signing",
              LOG_C("file", k->next_is_ours ? k->next_path : k->path), LOG_C("error", strerror(-r)),
              LOG_C("cure", cure_of(r)));
    go_on(k, STEP_NONE, LOOK_INTERVAL);
}

/* ---- statements of a change ---- */

static bool failed(struct auth_keys *k, const struct db_result *result, enum step step)
{
    if (result->error == DB_OK)
        return false;
    if (result->error != DB_UNAVAILABLE)
        log_error("a change of the signing key waits for the database",
                  LOG_C("sqlstate", result->sqlstate), LOG_S("cause", db_cause(result)));
    go_on(k, step, AGAIN_INTERVAL);
    return true;
}

static void submit(struct auth_keys *k, struct db_query *query, db_done_fn *done, enum step step)
{
    pthread_mutex_lock(&k->lock);
    k->busy = true;
    pthread_mutex_unlock(&k->lock);
    if (!query || db_submit(query, clock_monotonic_ns() + STATEMENT_TIMEOUT, NULL, done, k) < 0)
        go_on(k, step, AGAIN_INTERVAL);
}

static void on_next_published(void *user, const struct db_result *result)
{
    struct auth_keys *k = user;
    int64_t lead_s = k->auth->config->key_lead_s;

    if (failed(k, result, STEP_PUBLISH))
        return;
    log_info("the next signing key is published", LOG_S("key_id", jwt_signer_key_id(k->next)),
             LOG_I("signs_in_seconds", lead_s));
    go_on(k, STEP_WAIT, lead_s * NSEC_PER_SEC);
}

static void on_retired(void *user, const struct db_result *result)
{
    struct auth_keys *k = user;

    if (!failed(k, result, STEP_RETIRE))
        go_on(k, STEP_NONE, 0);
}

static void retire(struct auth_keys *k)
{
    struct db_query *query = db_query(service_db(k->auth->service), &k->arena, AUTH_RETIRE_KEY);

    if (query) {
        db_bind_text(query, jwt_signer_key_id(k->old->signer));
        db_bind_int8(query, k->auth->config->token_ttl_s + RETIREMENT_MARGIN_S);
    }
    submit(k, query, on_retired, STEP_RETIRE);
}

/* ---- the next key signs ---- */

/* Whether somebody has put a key at path while ours was waiting: that one goes first. */
static bool has_been_given(struct auth_keys *k)
{
    struct jwt_signer *there = NULL;
    bool given = jwt_signer_open(k->path, &there) == 0 && !is_same_key(there, auth_signer(k->auth));

    jwt_signer_free(there);
    return given;
}

static void drop_ours(struct auth_keys *k)
{
    jwt_signer_free(k->next);
    k->next = NULL;
    /* At the next start it would take the place of the given one. */
    if (unlink(k->next_path) < 0)
        log_error("a signing key that is not needed can't be removed: remove it",
                  LOG_C("file", k->next_path), LOG_C("error", strerror(errno)));
    k->requested = true;
    go_on(k, STEP_NONE, 0);
}

static void take_over(struct auth_keys *k)
{
    struct old_signer *old = calloc(1, sizeof(*old));
    int r = old ? 0 : -ENOMEM;

    if (r == 0 && k->next_is_ours && has_been_given(k)) {
        free(old);
        drop_ours(k);
        return;
    }
    if (r == 0 && k->next_is_ours)
        r = jwt_key_replace(k->next_path, k->path);
    if (r < 0) {
        free(old);
        log_error("the next signing key can't take its place; trying again", LOG_C("file", k->path),
                  LOG_C("error", strerror(-r)), LOG_C("cure", cure_of(r)));
        go_on(k, STEP_WAIT, LOOK_INTERVAL);
        return;
    }
    *old = (struct old_signer){atomic_load(&k->signer), k->old};
    k->old = old;
    atomic_store(&k->signer, k->next);
    k->next = NULL;
    log_info("the signing key has changed",
             LOG_S("key_id", jwt_signer_key_id(auth_signer(k->auth))),
             LOG_S("before", jwt_signer_key_id(old->signer)));
    go_on(k, STEP_RETIRE, 0);
}

/* ---- the main thread ---- */

void auth_keys_rotate(struct auth_keys *k)
{
    pthread_mutex_lock(&k->lock);
    k->requested = k->step == STEP_NONE;
    if (k->requested)
        k->due_ns = 0;
    pthread_mutex_unlock(&k->lock);
    if (!k->requested)
        log_warn("the signing key is being changed already: the signal is ignored");
}

static void take_step(struct auth_keys *k, enum step step)
{
    arena_reset(&k->arena);
    switch (step) {
    case STEP_NONE:
        begin(k);
        return;
    case STEP_PUBLISH:
        submit(k, publication(k, &k->arena, k->next), on_next_published, STEP_PUBLISH);
        return;
    case STEP_WAIT:
        take_over(k);
        return;
    case STEP_RETIRE:
        retire(k);
        return;
    }
}

/* Milliseconds until there is something to do. */
static int wait_ms(struct auth_keys *k, bool *ret_due, enum step *ret_step)
{
    int64_t now = clock_monotonic_ns(), wait;

    pthread_mutex_lock(&k->lock);
    wait = k->busy ? BUSY_INTERVAL : k->due_ns - now;
    *ret_due = !k->busy && wait <= 0;
    *ret_step = k->step;
    pthread_mutex_unlock(&k->lock);
    return wait <= 0 ? 0 : (int)((wait < LOOK_INTERVAL ? wait : LOOK_INTERVAL) / NSEC_PER_MSEC) + 1;
}

int auth_keys_tick(struct auth_keys *k)
{
    enum step step;
    bool due;
    int ms = wait_ms(k, &due, &step);

    if (!due)
        return ms;
    take_step(k, step);
    return wait_ms(k, &due, &step);
}
