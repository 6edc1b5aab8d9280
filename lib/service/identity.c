/* Who is calling: access tokens are verified here, against the keys that auth publishes in Postgres
 * (auth.verification_keys) and the sessions that it has ended (revocations.h).
 *
 * No token is accepted before both are known.
 *
 * The key set is read at start and every few seconds. A token with an unknown key id may be signed
 * by a key that was published a moment ago, so its call is parked until the next refresh has been
 * read, and judged then. Refreshes for unknown keys are at least UNKNOWN_KEY_INTERVAL apart and
 * parked calls are few, so that made-up key ids cost Postgres next to nothing.
 *
 * Threads: identity_authenticate() on the pollers, identity_tick() on the main thread, on_keys()
 * where the database's completions run.
 */
#include "base/log.h"
#include "service/internal.h"
#include "service/revocations.h"

#include <errno.h>
#include <stdlib.h>

#define REFRESH_INTERVAL (5 * NSEC_PER_SEC)
#define UNKNOWN_KEY_INTERVAL (250 * NSEC_PER_MSEC)
#define RETRY_INTERVAL (1 * NSEC_PER_SEC)
#define REFRESH_TIMEOUT (2 * NSEC_PER_SEC)
#define MAX_PARKED 256
#define MAX_KEYS 64
#define LEEWAY_S 5                            /* for clocks that differ, when tokens are verified */
#define CLOCK_DIFFERENCE_US INT64_C(60000000) /* and, more than that, until they are forgotten */

struct parked {
    struct rpc_call *calls[MAX_PARKED];
    size_t n;
};

/* What became of the access tokens of calls. */
enum check {
    CHECK_VALID,
    CHECK_NONE,
    CHECK_MISSING,
    CHECK_INVALID,
    CHECK_EXPIRED,
    CHECK_REVOKED,
    CHECKS
};

struct identity {
    struct service *service;
    metrics_number checks[CHECKS];
    struct jwt_verifier *verifier;
    struct revocations *revocations;
    struct arena refresh_arena; /* of the refresh in flight */

    pthread_mutex_t lock;    /* guards what follows */
    struct parked waiting;   /* for the next refresh */
    struct parked refreshed; /* for the one in flight */
    bool refreshing, stopped;
    int64_t next_refresh_ns, last_refresh_ns;
};

const struct db_statement service_keys_statement = {
    .name = "verification_keys",
    .sql = "SELECT key_id, public_jwk FROM auth.verification_keys ORDER BY key_id",
    .kind = DB_READ,
    .params = {DB_END},
};

#define KEYS_CONDITION "verification keys known"
#define REVOCATIONS_CONDITION "revocations known"

static void wake_service(void *user)
{
    struct identity *identity = user;

    service_wake(identity->service);
}

static void on_revocations_known(void *user)
{
    struct identity *identity = user;

    service_set_condition(identity->service, REVOCATIONS_CONDITION, true);
    /* The keys that were read without them did not count: now they are read again at once. */
    pthread_mutex_lock(&identity->lock);
    identity->next_refresh_ns = 0;
    pthread_mutex_unlock(&identity->lock);
    service_wake(identity->service);
}

int identity_new(struct service *service, struct identity **ret)
{
    struct identity *identity = calloc(1, sizeof(*identity));
    int r;

    if (!identity)
        return -ENOMEM;
    identity->service = service;
    pthread_mutex_init(&identity->lock, NULL);
    arena_init(&identity->refresh_arena, 1 << 20);
    r = jwt_verifier_new(&(struct jwt_verifier_options){.issuer = service->settings.issuer.p,
                                                        .audience = service->settings.audience.p,
                                                        .leeway_s = LEEWAY_S},
                         &identity->verifier);
    if (r == 0)
        r = revocations_new(&(struct revocations_options){.wake = wake_service,
                                                          .known = on_revocations_known,
                                                          .user = identity},
                            &identity->revocations);
    if (r < 0) {
        identity_free(identity);
        return r;
    }
    service_set_condition(service, KEYS_CONDITION, false);
    service_set_condition(service, REVOCATIONS_CONDITION, false);
    *ret = identity;
    return 0;
}

void identity_free(struct identity *identity)
{
    if (!identity)
        return;
    jwt_verifier_free(identity->verifier);
    revocations_free(identity->revocations);
    arena_free(&identity->refresh_arena);
    pthread_mutex_destroy(&identity->lock);
    free(identity);
}

bool identity_knows_keys(const struct identity *identity)
{
    return jwt_verifier_key_count(identity->verifier) > 0;
}

/* ---- judging a call ---- */

/* Nothing was done: another instance may be asked. */
static void refuse_unknown(struct rpc_call *call)
{
    rpc_refuse(call, "KEYS_UNKNOWN", "the token can't be checked right now");
}

static void refuse(struct identity *identity, struct rpc_call *call, enum check check)
{
    static const char *const reasons[CHECKS] = {
        [CHECK_MISSING] = "TOKEN_MISSING",
        [CHECK_INVALID] = "TOKEN_INVALID",
        [CHECK_EXPIRED] = "TOKEN_EXPIRED",
        [CHECK_REVOKED] = "TOKEN_REVOKED",
    };

    metrics_add(&identity->checks[check], 1);
    service_fail_field(call, RPC_UNAUTHENTICATED, reasons[check], "token",
                       check == CHECK_MISSING ? "is missing" : "is invalid");
}

static void accept(struct identity *identity, struct rpc_call *call, enum check check)
{
    metrics_add(&identity->checks[check], 1);
    rpc_call_proceed(call);
}

/* The token of "Bearer ..." (RFC 6750 section 2.1) or "Token ..." (RealWorld), which one space or
 * more come before (RFC 9110 section 11.4); {NULL, 0} when the scheme is another. */
static struct str token_of(struct str authorization)
{
    static const struct str schemes[] = {{"Bearer ", 7}, {"Token ", 6}};

    for (size_t i = 0; i < ARRAY_SIZE(schemes); i++) {
        struct str scheme = schemes[i];
        size_t n = scheme.n;

        if (authorization.n < n || !str_eq_nocase((struct str){authorization.p, n}, scheme))
            continue;
        while (n < authorization.n && authorization.p[n] == ' ')
            n++;
        return str_skip(authorization, n);
    }
    return STR_NULL;
}

/* Hands the verified caller to the handlers. */
static enum jwt_result set_caller(struct rpc_call *call, const struct jwt_claims *claims,
                                  struct str token)
{
    struct service_caller *caller = arena_alloc(rpc_call_arena(call), sizeof(*caller));

    if (!caller)
        return JWT_NO_MEMORY;
    caller->token = token;
    caller->expires_us = claims->expires_at * USEC_PER_SEC;
    if (str_to_int64(claims->subject, &caller->account_id) < 0 || caller->account_id <= 0 ||
        uuid_parse(claims->session, &caller->session) < 0)
        return JWT_MALFORMED;
    rpc_call_set_context(call, caller);
    return JWT_OK;
}

/* Ends in proceed or fail and returns true; false when the token's key is unknown. */
static bool judge(struct identity *identity, struct rpc_call *call)
{
    struct str token = token_of(rpc_call_metadata(call, "authorization"));
    struct jwt_claims claims;
    enum jwt_result result = JWT_MALFORMED;

    if (token.n > 0)
        result = jwt_verify(identity->verifier, token, clock_realtime_us() / USEC_PER_SEC,
                            rpc_call_arena(call), &claims);
    if (result == JWT_OK)
        result = set_caller(call, &claims, token);
    switch (result) {
    case JWT_OK:
        if (revocations_have(identity->revocations, &service_caller(call)->session))
            refuse(identity, call, CHECK_REVOKED);
        else
            accept(identity, call, CHECK_VALID);
        return true;
    case JWT_UNKNOWN_KEY:
        return false;
    case JWT_NO_MEMORY:
        rpc_fail(call, RPC_RESOURCE_EXHAUSTED, "out of memory");
        return true;
    case JWT_EXPIRED:
        refuse(identity, call, CHECK_EXPIRED);
        return true;
    default:
        refuse(identity, call, CHECK_INVALID);
        return true;
    }
}

bool identity_caller_ended(struct identity *identity, const struct service_caller *caller,
                           struct rpc_error *ret_error)
{
    static const struct schema_fault invalid = {{"token", 5}, {"is invalid", 10}};
    bool expired = clock_realtime_us() >= caller->expires_us + LEEWAY_S * USEC_PER_SEC;

    if (!expired && !revocations_have(identity->revocations, &caller->session))
        return false;
    *ret_error = (struct rpc_error){
        .code = RPC_UNAUTHENTICATED,
        .message = expired ? STR("TOKEN_EXPIRED: the access token has expired")
                           : STR("TOKEN_REVOKED: the session has been ended"),
        .reason = expired ? "TOKEN_EXPIRED" : "TOKEN_REVOKED",
        .violations = &invalid,
        .n_violations = 1,
    };
    return true;
}

static bool park(struct identity *identity, struct rpc_call *call)
{
    bool parked = false;

    pthread_mutex_lock(&identity->lock);
    if (!identity->stopped && identity->waiting.n < MAX_PARKED) {
        int64_t soonest = identity->last_refresh_ns + UNKNOWN_KEY_INTERVAL;
        identity->waiting.calls[identity->waiting.n++] = call;
        if (identity->next_refresh_ns > soonest)
            identity->next_refresh_ns = soonest;
        parked = true;
    }
    pthread_mutex_unlock(&identity->lock);
    if (parked)
        service_wake(identity->service);
    return parked;
}

void identity_authenticate(void *context, struct rpc_call *call)
{
    struct identity *identity = context;
    enum schema_auth policy = rpc_call_method(call)->auth;

    if (policy == SCHEMA_AUTH_NONE) {
        accept(identity, call, CHECK_NONE);
        return;
    }
    /* Who sets the header in one place leaves it empty where nobody is signed in. */
    if (rpc_call_metadata(call, "authorization").n == 0) {
        if (policy == SCHEMA_AUTH_OPTIONAL)
            accept(identity, call, CHECK_NONE);
        else
            refuse(identity, call, CHECK_MISSING);
        return;
    }
    if (judge(identity, call) || park(identity, call))
        return;
    /* Without any key it is no fault of the token's. */
    if (identity_knows_keys(identity))
        refuse(identity, call, CHECK_INVALID);
    else
        refuse_unknown(call);
}

/* ---- metrics ---- */

void identity_write_metrics(const struct identity *identity, struct buf *text)
{
    static const char *const names[CHECKS] = {
        [CHECK_VALID] = "valid",     [CHECK_NONE] = "none",       [CHECK_MISSING] = "missing",
        [CHECK_INVALID] = "invalid", [CHECK_EXPIRED] = "expired", [CHECK_REVOKED] = "revoked",
    };
    static const struct metrics_family
        checks = {"stoa_token", "checks_total", METRICS_COUNTER,
                  "Calls by their access token; none: without one, where none is needed."},
        hits = {"stoa_token", "cache_hits_total", METRICS_COUNTER,
                "Tokens that had been verified before."},
        misses = {"stoa_token", "cache_misses_total", METRICS_COUNTER,
                  "Tokens that had not, and whose signature was looked at."};
    struct jwt_cache_stats cache;

    jwt_verifier_stats(identity->verifier, &cache);
    metrics_begin(text, &checks);
    for (unsigned i = 0; i < CHECKS; i++)
        metrics_sample(text, &checks, METRICS_LABELS(METRICS_LABEL("result", str_of(names[i]))),
                       metrics_get(&identity->checks[i]));
    metrics_single(text, &hits, cache.hits);
    metrics_single(text, &misses, cache.misses);
}

/* ---- the key set ---- */

static void set_keys(struct identity *identity, const struct db_result *result)
{
    struct str jwks[MAX_KEYS];
    int n = db_rows(result), r;

    if (n > MAX_KEYS) {
        log_warn("too many verification keys: the rest is ignored", LOG_I("keys", n));
        n = MAX_KEYS;
    }
    for (int i = 0; i < n; i++)
        jwks[i] = db_get_text(result, i, 1);
    r = jwt_verifier_set_keys(identity->verifier, jwks, (size_t)n);
    if (r < 0)
        log_error("the published verification keys are not taken: the old ones stay",
                  LOG_C("cause", r == -ENOMEM ? "no memory" : "one is malformed"));
    service_set_condition(identity->service, KEYS_CONDITION, identity_knows_keys(identity));
}

/* Takes the calls that waited for the refresh that just ended. */
static struct parked take_refreshed(struct identity *identity, bool ok)
{
    struct parked calls;
    int64_t wait = REFRESH_INTERVAL;

    if (!ok)
        wait = revocations_are_known(identity->revocations) ? RETRY_INTERVAL : UNKNOWN_KEY_INTERVAL;
    else if (!identity_knows_keys(identity))
        wait = UNKNOWN_KEY_INTERVAL; /* a first start: auth publishes its key any moment */
    pthread_mutex_lock(&identity->lock);
    calls = identity->refreshed;
    identity->refreshed.n = 0;
    identity->refreshing = false;
    identity->next_refresh_ns = clock_monotonic_ns() + wait;
    if (identity->waiting.n > 0)
        identity->next_refresh_ns = identity->last_refresh_ns + UNKNOWN_KEY_INTERVAL;
    pthread_mutex_unlock(&identity->lock);
    return calls;
}

static void finish_refresh(struct identity *identity, bool ok)
{
    struct parked calls = take_refreshed(identity, ok);

    for (size_t i = 0; i < calls.n; i++) {
        if (!ok)
            refuse_unknown(calls.calls[i]);
        else if (!judge(identity, calls.calls[i]))
            refuse(identity, calls.calls[i], CHECK_INVALID);
    }
    service_wake(identity->service);
}

static void on_keys(void *user, const struct db_result *result)
{
    struct identity *identity = user;

    bool known = revocations_are_known(identity->revocations);

    if (result->error == DB_OK && known)
        set_keys(identity, result);
    else if (result->error != DB_OK && result->error != DB_UNAVAILABLE)
        log_warn("verification keys could not be read", LOG_S("cause", db_cause(result)));
    finish_refresh(identity, result->error == DB_OK && known);
}

static void refresh(struct identity *identity)
{
    size_t statement = identity->service->definition->n_statements;
    struct db_query *query;

    arena_reset(&identity->refresh_arena);
    query = db_query(identity->service->db, &identity->refresh_arena, statement);
    if (!query ||
        db_submit(query, clock_monotonic_ns() + REFRESH_TIMEOUT, NULL, on_keys, identity) < 0)
        finish_refresh(identity, false);
}

static int tick_keys(struct identity *identity)
{
    int64_t now = clock_monotonic_ns(), wait = REFRESH_TIMEOUT;
    bool due = false;

    pthread_mutex_lock(&identity->lock);
    if (!identity->refreshing && !identity->stopped) {
        due = identity->next_refresh_ns <= now;
        wait = identity->next_refresh_ns - now;
    }
    if (due) {
        identity->refreshing = true;
        identity->last_refresh_ns = now;
        identity->refreshed = identity->waiting;
        identity->waiting.n = 0;
        wait = REFRESH_TIMEOUT;
    }
    pthread_mutex_unlock(&identity->lock);
    if (due)
        refresh(identity);
    return (int)(wait / NSEC_PER_MSEC) + 1;
}

int identity_tick(struct identity *identity)
{
    const struct service *service = identity->service;
    /* The keys come second: without the revocations they do not count. */
    int revocations =
        revocations_tick(identity->revocations, service->db, service->definition->n_statements + 1);
    int keys = tick_keys(identity);

    return keys < revocations ? keys : revocations;
}

void identity_database_ready(struct identity *identity)
{
    revocations_read_again(identity->revocations);
}

void identity_session_ended(struct identity *identity, const struct uuid *session,
                            int64_t expires_at_us)
{
    revocations_add(identity->revocations, session, expires_at_us + CLOCK_DIFFERENCE_US);
}

void identity_stop(struct identity *identity)
{
    struct parked calls;

    pthread_mutex_lock(&identity->lock);
    identity->stopped = true;
    calls = identity->waiting;
    identity->waiting.n = 0;
    pthread_mutex_unlock(&identity->lock);
    for (size_t i = 0; i < calls.n; i++)
        rpc_refuse(calls.calls[i], "STOPPING", "the service is stopping");
}
