#include "throttle.h"

#include "base/log.h"

#include <arpa/inet.h>
#include <errno.h>
#include <openssl/evp.h>
#include <openssl/hmac.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <sys/random.h>

#define TABLE_ALIGNMENT 64
#define ENTRY_BYTES 16
#define SHA1_BYTES 20
#define LOG_INTERVAL_NS (10 * NSEC_PER_SEC)

/* base/rate.c as Redis runs it, one key after the other. Each key lives as long as it has a
 * meaning.
 * -> which key refused (0: none), and for how many microseconds */
static const char script[] =
    "local time = redis.call('TIME')"
    " local now = time[1] * 1000000 + time[2]"
    " for i = 1, #KEYS do"
    "  local interval, window = tonumber(ARGV[2 * i - 1]), tonumber(ARGV[2 * i])"
    "  local arrival = tonumber(redis.call('GET', KEYS[i]) or now)"
    "  arrival = math.min(math.max(arrival, now), now + window)"
    "  local next = arrival + interval"
    "  if next > now + window then return {i, next - now - window} end"
    "  redis.call('SET', KEYS[i], string.format('%.0f', next),"
    "   'PX', math.ceil((next - now) / 1000))"
    " end"
    " return {0, 0}";

struct throttle {
    struct throttle_options options;
    struct redis *redis;                    /* may be NULL */
    char script_digest[2 * SHA1_BYTES + 1]; /* its name in Redis */
    atomic_bool shared;                     /* the secret is that of all instances */
    atomic_llong refused;                   /* since the log said so last */
    atomic_llong next_log_ns, next_failure_log_ns;

    pthread_mutex_t lock; /* guards what follows */
    struct rate_table *table;
    uint8_t secret[THROTTLE_SECRET_BYTES];
};

/* ---- life ---- */

static int hex_digest_of_script(char ret[2 * SHA1_BYTES + 1])
{
    unsigned char digest[EVP_MAX_MD_SIZE];

    if (!EVP_Digest(script, sizeof(script) - 1, digest, NULL, EVP_sha1(), NULL))
        return -ENOMEM;
    for (size_t i = 0; i < SHA1_BYTES; i++)
        snprintf(ret + 2 * i, 3, "%02x", digest[i]);
    return 0;
}

static int make_table(struct throttle *t)
{
    /* One line for the table's own head; the size is a multiple of the alignment. */
    size_t n = (t->options.entries * ENTRY_BYTES / TABLE_ALIGNMENT + 3) * TABLE_ALIGNMENT;
    void *memory = aligned_alloc(TABLE_ALIGNMENT, n);

    t->table = memory ? rate_table_init(memory, n) : NULL;
    return t->table ? 0 : -ENOMEM;
}

int throttle_new(const struct throttle_options *options, struct throttle **ret)
{
    struct throttle *t = calloc(1, sizeof(*t));
    int r;

    if (!t)
        return -ENOMEM;
    t->options = *options;
    pthread_mutex_init(&t->lock, NULL);
    r = make_table(t);
    if (r == 0)
        r = hex_digest_of_script(t->script_digest);
    if (r == 0 && getrandom(t->secret, sizeof(t->secret), 0) != sizeof(t->secret))
        r = -EIO;
    if (r < 0) {
        throttle_free(t);
        return r;
    }
    *ret = t;
    return 0;
}

void throttle_free(struct throttle *t)
{
    if (!t)
        return;
    free(t->table);
    explicit_bzero(t->secret, sizeof(t->secret));
    pthread_mutex_destroy(&t->lock);
    free(t);
}

void throttle_use_redis(struct throttle *t, struct redis *redis)
{
    t->redis = redis;
}

void throttle_set_secret(struct throttle *t, const uint8_t secret[THROTTLE_SECRET_BYTES])
{
    pthread_mutex_lock(&t->lock);
    memcpy(t->secret, secret, sizeof(t->secret));
    pthread_mutex_unlock(&t->lock);
    atomic_store(&t->shared, true);
}

/* ---- an attempt, and the limits that it meets ---- */

struct met {
    const struct rate_limit *limit;
    unsigned char key[RATE_KEY_SIZE];
};

struct attempt {
    struct throttle *throttle;
    struct arena *arena;
    struct met met[THROTTLE_N_SUBJECTS];
    size_t n_met;
    throttle_done_fn *done;
    void *user;
};

/* An address that a person has for themselves: of IPv6 that is a whole network of 64 bits. */
static size_t address_bytes(struct str address, unsigned char ret[sizeof(struct in6_addr)])
{
    char text[INET6_ADDRSTRLEN];

    if (address.n == 0 || address.n >= sizeof(text))
        return 0;
    memcpy(text, address.p, address.n);
    text[address.n] = '\0';
    if (inet_pton(AF_INET, text, ret) == 1)
        return sizeof(struct in_addr);
    return inet_pton(AF_INET6, text, ret) == 1 ? sizeof(struct in6_addr) / 2 : 0;
}

/* Nobody finds or chooses another's key; neither table nor Redis holds what it was made of. */
static int make_key(const uint8_t secret[THROTTLE_SECRET_BYTES], struct arena *arena,
                    enum throttle_attempt attempt, enum throttle_subject subject,
                    struct str address, struct str account, unsigned char ret[RATE_KEY_SIZE])
{
    unsigned char bytes[sizeof(struct in6_addr)], hash[EVP_MAX_MD_SIZE];
    bool by_address = subject != THROTTLE_ACCOUNT, by_account = subject != THROTTLE_ADDRESS;
    size_t n = by_address ? address_bytes(address, bytes) : 0;
    unsigned char *text = arena_alloc(arena, 3 + n + account.n);

    if (!text)
        return -ENOMEM;
    text[0] = (unsigned char)attempt;
    text[1] = (unsigned char)subject;
    text[2] = (unsigned char)n; /* where the account begins */
    memcpy(text + 3, bytes, n);
    if (by_account && account.n > 0)
        memcpy(text + 3 + n, account.p, account.n);
    if (!HMAC(EVP_sha256(), secret, THROTTLE_SECRET_BYTES, text,
              3 + n + (by_account ? account.n : 0), hash, NULL))
        return -ENOMEM;
    memcpy(ret, hash, RATE_KEY_SIZE);
    return 0;
}

static int find_limits(struct attempt *a, enum throttle_attempt attempt, struct str address,
                       struct str account)
{
    struct throttle *t = a->throttle;
    uint8_t secret[THROTTLE_SECRET_BYTES];
    int r = 0;

    pthread_mutex_lock(&t->lock);
    memcpy(secret, t->secret, sizeof(secret));
    pthread_mutex_unlock(&t->lock);
    for (size_t i = 0; r == 0 && i < THROTTLE_N_SUBJECTS; i++) {
        const struct rate_limit *limit = &t->options.limits[attempt][i];
        struct met *met = &a->met[a->n_met];

        if (limit->quota == 0)
            continue;
        met->limit = limit;
        r = make_key(secret, a->arena, attempt, (enum throttle_subject)i, address, account,
                     met->key);
        a->n_met++;
    }
    explicit_bzero(secret, sizeof(secret));
    return r;
}

/* True at most once in LOG_INTERVAL_NS, over all threads. */
static bool may_log(atomic_llong *next_ns)
{
    long long now = clock_monotonic_ns(), next = atomic_load(next_ns);

    return now >= next && atomic_compare_exchange_strong(next_ns, &next, now + LOG_INTERVAL_NS);
}

static void allow(struct attempt *a)
{
    a->done(a->user, &(struct throttle_verdict){.allowed = true});
}

static void refuse(struct attempt *a, int64_t wait_us)
{
    struct throttle *t = a->throttle;

    atomic_fetch_add(&t->refused, 1);
    if (may_log(&t->next_log_ns))
        log_warn("attempts to sign in, to sign up or to refresh were refused: too many came",
                 LOG_I("attempts", atomic_exchange(&t->refused, 0)));
    a->done(a->user, &(struct throttle_verdict){.retry_after_ms = wait_us / 1000 + 1});
}

/* ---- this process ---- */

static struct rate_verdict take(struct attempt *a)
{
    struct throttle *t = a->throttle;
    struct rate_verdict verdict = {.allowed = true};

    pthread_mutex_lock(&t->lock);
    for (size_t i = 0; verdict.allowed && i < a->n_met; i++)
        verdict = rate_take(t->table, a->met[i].limit, a->met[i].key,
                            (uint64_t)(clock_monotonic_ns() / NSEC_PER_USEC));
    pthread_mutex_unlock(&t->lock);
    return verdict;
}

/* ---- all of them ---- */

enum { WORDS_BEFORE_KEYS = 3, WORDS_MAX = WORDS_BEFORE_KEYS + 3 * THROTTLE_N_SUBJECTS };

static int ask_redis(struct attempt *a, struct str command, struct str script_or_digest,
                     redis_done_fn *done);

static struct str key_text(struct attempt *a, const struct met *met)
{
    uint64_t part[2];

    memcpy(part, met->key, sizeof(part));
    return arena_printf(a->arena, "stoa:auth:throttle:%016llx%016llx", (unsigned long long)part[0],
                        (unsigned long long)part[1]);
}

static void on_told(void *user, const struct redis_result *result)
{
    struct attempt *a = user;
    int64_t refused_by, wait_us;

    if (redis_get_int(result, 0, &refused_by) && redis_get_int(result, 1, &wait_us)) {
        if (refused_by > 0)
            refuse(a, wait_us);
        else
            allow(a);
        return;
    }
    /* lib/redis says it when Redis cannot be reached. */
    if (result->outcome != REDIS_LOST && may_log(&a->throttle->next_failure_log_ns))
        log_warn("redis does not count attempts: each instance counts its own",
                 LOG_S("cause", result->outcome == REDIS_TIMED_OUT ? STR("no answer in time")
                                                                   : result->message));
    allow(a);
}

/* A Redis that was just started does not have the script yet. */
static void on_told_by_digest(void *user, const struct redis_result *result)
{
    struct attempt *a = user;

    if (result->outcome != REDIS_REFUSED || !str_starts(result->message, STR("NOSCRIPT")))
        on_told(a, result);
    else if (ask_redis(a, STR("EVAL"), str_of(script), on_told) < 0)
        allow(a);
}

static int ask_redis(struct attempt *a, struct str command, struct str script_or_digest,
                     redis_done_fn *done)
{
    struct str words[WORDS_MAX] = {command, script_or_digest,
                                   arena_printf(a->arena, "%zu", a->n_met)};
    size_t n = WORDS_BEFORE_KEYS;
    struct redis_command *made;

    for (size_t i = 0; i < a->n_met; i++)
        words[n++] = key_text(a, &a->met[i]);
    for (size_t i = 0; i < a->n_met; i++) {
        const struct rate_limit *limit = a->met[i].limit;

        words[n++] = arena_printf(a->arena, "%llu", (unsigned long long)limit->interval_us);
        words[n++] =
            arena_printf(a->arena, "%llu", (unsigned long long)(limit->interval_us * limit->quota));
    }
    for (size_t i = 0; i < n; i++) {
        if (!words[i].p)
            return -ENOMEM;
    }
    made = redis_command(a->throttle->redis, a->arena, words, n);
    return made ? redis_submit(made, done, a) : -ENOMEM;
}

int throttle_ask(struct throttle *t, struct arena *arena, enum throttle_attempt attempt,
                 struct str address, struct str account, throttle_done_fn *done, void *user)
{
    struct attempt *a = arena_calloc(arena, 1, sizeof(*a));
    struct rate_verdict verdict;
    int r;

    if (!a)
        return -ENOMEM;
    *a = (struct attempt){.throttle = t, .arena = arena, .done = done, .user = user};
    r = find_limits(a, attempt, address, account);
    if (r < 0)
        return r;
    verdict = take(a);
    if (!verdict.allowed)
        refuse(a, (int64_t)verdict.required_s * 1000000);
    else if (a->n_met == 0 || !t->redis || !atomic_load(&t->shared) ||
             ask_redis(a, STR("EVALSHA"), str_of(t->script_digest), on_told_by_digest) < 0)
        allow(a);
    return 0;
}
