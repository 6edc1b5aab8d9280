/* Who may try: the limits' settings, Redis, and what becomes of a call that is one too many
 * (throttle.h). Calls come on pollers; verdicts there too, or on the engine thread of Redis. */
#include "admission.h"

#include "base/log.h"

#include <errno.h>
#include <stdlib.h>

#define REDIS_HEALTH "redis"
#define REDIS_QUEUE 1024

struct admission {
    struct auth *auth;
    struct throttle *throttle;
    struct redis *redis;
    metrics_number attempts[THROTTLE_N_ATTEMPTS], throttled[THROTTLE_N_ATTEMPTS];
    struct arena arena; /* of the statement in flight; the database's engine thread's */
    bool asking, known; /* likewise */
};

/* ---- start ---- */

static const struct {
    const char *name;
    enum throttle_attempt attempt;
    enum throttle_subject subject;
    size_t offset;
} limits[] = {
#define LIMIT(NAME, ATTEMPT, SUBJECT, MEMBER)                                                   \
    {                                                                                           \
        NAME, THROTTLE_##ATTEMPT, THROTTLE_##SUBJECT, offsetof(struct admission_config, MEMBER) \
    }
    LIMIT("STOA_AUTH_LOGIN_ADDRESS_RATE", LOGIN, ADDRESS, login_address),
    LIMIT("STOA_AUTH_LOGIN_PAIR_RATE", LOGIN, PAIR, login_pair),
    LIMIT("STOA_AUTH_LOGIN_ACCOUNT_RATE", LOGIN, ACCOUNT, login_account),
    LIMIT("STOA_AUTH_REGISTER_ADDRESS_RATE", REGISTER, ADDRESS, register_address),
    LIMIT("STOA_AUTH_REGISTER_ACCOUNT_RATE", REGISTER, ACCOUNT, register_account),
    LIMIT("STOA_AUTH_REFRESH_ADDRESS_RATE", REFRESH, ADDRESS, refresh_address),
    LIMIT("STOA_AUTH_REFRESH_SESSION_RATE", REFRESH, ACCOUNT, refresh_session),
#undef LIMIT
};

static int read_limits(const struct auth *auth, struct throttle_options *ret, struct str *ret_error)
{
    const char *config = (const char *)&auth->config->admission;

    for (size_t i = 0; i < ARRAY_SIZE(limits); i++) {
        struct str text = *(const struct str *)(config + limits[i].offset);

        if (str_eq(text, STR("off")))
            continue;
        if (rate_parse(text, &ret->limits[limits[i].attempt][limits[i].subject]) < 0) {
            *ret_error =
                arena_printf(service_arena(auth->service),
                             "%s=%s: set off, or attempts in a time up to a day, such as 10/1m",
                             limits[i].name, text.p);
            return -EINVAL;
        }
    }
    return 0;
}

static void on_redis(void *user, bool ready)
{
    struct auth *auth = user;

    rpc_server_set_part(service_rpc(auth->service), REDIS_HEALTH, ready);
}

static int open_redis(struct admission *a, struct str *ret_error)
{
    const struct admission_config *config = &a->auth->config->admission;
    struct redis_options options = {
        .max_queue = REDIS_QUEUE,
        .on_ready = on_redis,
        .on_ready_user = a->auth,
    };
    int r;

    if (config->redis.address.n == 0) {
        log_info("STOA_REDIS is not set: each instance counts attempts by itself");
        return 0;
    }
    rpc_server_set_part(service_rpc(a->auth->service), REDIS_HEALTH, false);
    r = service_open_redis(a->auth->service, &config->redis, options, &a->redis, ret_error);
    if (r == 0)
        r = shared_rate_use_redis(throttle_rate(a->throttle), a->redis);
    return r;
}

int admission_new(struct auth *auth, struct admission **ret, struct str *ret_error)
{
    struct admission *a = calloc(1, sizeof(*a));
    struct throttle_options options = {.entries = (size_t)auth->config->admission.entries};
    int r;

    if (!a)
        return -ENOMEM;
    a->auth = auth;
    arena_init(&a->arena, 64 * 1024);
    r = read_limits(auth, &options, ret_error);
    if (r == 0)
        r = throttle_new(&options, &a->throttle);
    if (r == 0)
        r = open_redis(a, ret_error);
    if (r < 0) {
        admission_free(a);
        return r;
    }
    *ret = a;
    return 0;
}

void admission_free(struct admission *a)
{
    if (!a)
        return;
    redis_close(a->redis); /* its thread may still use the throttle */
    throttle_free(a->throttle);
    arena_free(&a->arena);
    free(a);
}

/* ---- the secret that all instances share ---- */

static void on_secret(void *user, const struct db_result *result)
{
    struct admission *a = user;
    struct str secret =
        result->error == DB_OK && db_rows(result) == 1 ? db_get_text(result, 0, 0) : STR_NULL;

    a->asking = false;
    if (secret.n == SHARED_RATE_SECRET_BYTES) {
        shared_rate_set_secret(throttle_rate(a->throttle), (const uint8_t *)secret.p);
        a->known = true;
    } else if (result->error != DB_UNAVAILABLE) { /* comes again when Postgres does */
        log_error(
            "the secret of the throttle can't be read: each instance counts attempts by itself",
            LOG_S("cause", db_cause(result)));
    }
}

void admission_database_ready(struct admission *a)
{
    struct db_query *query;

    if (a->known || a->asking)
        return;
    arena_reset(&a->arena);
    query = db_query(service_db(a->auth->service), &a->arena, AUTH_THROTTLE_SECRET);
    a->asking = query && db_submit(query, INT64_MAX, NULL, on_secret, a) == 0;
}

/* ---- metrics ---- */

void admission_write_metrics(const struct admission *a, struct buf *text)
{
    static const char *const names[THROTTLE_N_ATTEMPTS] = {[THROTTLE_LOGIN] = "login",
                                                           [THROTTLE_REGISTER] = "register",
                                                           [THROTTLE_REFRESH] = "refresh"};
    static const struct metrics_family
        attempts = {"stoa_auth", "attempts_total", METRICS_COUNTER,
                    "Attempts to sign in, to sign up and to refresh, refused ones included."},
        throttled = {"stoa_auth", "throttled_total", METRICS_COUNTER,
                     "Attempts refused since there were too many in a time."};
    const struct redis_use use = {"commands", a->redis};

    metrics_begin(text, &attempts);
    for (unsigned i = 0; i < THROTTLE_N_ATTEMPTS; i++)
        metrics_sample(text, &attempts, METRICS_LABELS(METRICS_LABEL("attempt", str_of(names[i]))),
                       metrics_get(&a->attempts[i]));
    metrics_begin(text, &throttled);
    for (unsigned i = 0; i < THROTTLE_N_ATTEMPTS; i++)
        metrics_sample(text, &throttled, METRICS_LABELS(METRICS_LABEL("attempt", str_of(names[i]))),
                       metrics_get(&a->throttled[i]));
    redis_write_metrics(&use, 1, text);
}

/* ---- calls ---- */

/* An attempt on its way; in the arena of its call. */
struct attempt {
    struct admission *admission;
    enum throttle_attempt kind;
    shared_rate_done_fn *done;
    void *user;
};

static void on_verdict(void *user, const struct shared_rate_verdict *verdict)
{
    const struct attempt *attempt = user;

    if (!verdict->allowed)
        metrics_add(&attempt->admission->throttled[attempt->kind], 1);
    attempt->done(attempt->user, verdict);
}

void admission_ask(struct admission *a, struct rpc_call *call, enum throttle_attempt attempt,
                   struct str account, shared_rate_done_fn *done, void *user)
{
    struct str address = service_client(a->auth->service, call).address;

    struct attempt *counted = arena_alloc(rpc_call_arena(call), sizeof(*counted));

    metrics_add(&a->attempts[attempt], 1);
    if (counted)
        *counted = (struct attempt){a, attempt, done, user};
    /* Without memory nothing is admitted, and nobody is told to come back. */
    if (!counted || throttle_ask(a->throttle, rpc_call_arena(call), attempt, address, account,
                                 on_verdict, counted) < 0)
        done(user, &(struct shared_rate_verdict){.allowed = false});
}

void admission_fail(struct rpc_call *call, const struct shared_rate_verdict *verdict)
{
    if (verdict->retry_after_ms == 0) {
        service_fail_memory(call);
        return;
    }
    rpc_fail_with(call,
                  &(struct rpc_error){.code = RPC_RESOURCE_EXHAUSTED,
                                      .message = STR("too many attempts: wait, then try again"),
                                      .reason = "TOO_MANY_ATTEMPTS",
                                      .retry_after_ms = verdict->retry_after_ms});
}

bool admission_passed(const struct auth *auth, struct rpc_call *call, char *password,
                      const struct shared_rate_verdict *verdict)
{
    if (verdict->allowed)
        return auth_has_room(auth, call, password);
    auth_forget_password(password);
    admission_fail(call, verdict);
    return false;
}
