#include "redis/shared_rate.h"

#include "base/hex.h"
#include "base/log.h"

#include <errno.h>
#include <openssl/core_names.h>
#include <openssl/evp.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <sys/random.h>

#define TABLE_ALIGNMENT 64
#define ENTRY_BYTES 16
#define SHA1_BYTES 20
#define LOG_INTERVAL_NS (10 * NSEC_PER_SEC)

/* base/rate.c as Redis runs it, one key after the other. Each key lives as long as it has a
 * meaning. */
#define SCRIPT_BEGIN                                            \
    "local time = redis.call('TIME')"                           \
    " local now = time[1] * 1000000 + time[2]"                  \
    " local function read(key, window)"                         \
    "  local arrival = tonumber(redis.call('GET', key) or now)" \
    "  return math.min(math.max(arrival, now), now + window)"   \
    " end"                                                      \
    " local function write(key, next)"                          \
    "  redis.call('SET', key, string.format('%.0f', next),"     \
    "   'PX', math.ceil((next - now) / 1000))"                  \
    " end"

/* Decides. ARGV: interval and window of each key.
 * -> which key refused (0: none), and for how many microseconds */
static const char ask_script[] =
    SCRIPT_BEGIN " for i = 1, #KEYS do"
                 "  local interval, window = tonumber(ARGV[2 * i - 1]), tonumber(ARGV[2 * i])"
                 "  local next = read(KEYS[i], window) + interval"
                 "  if next > now + window then return {i, next - now - window} end"
                 "  write(KEYS[i], next)"
                 " end"
                 " return {0, 0}";

/* Is told what has been let through. ARGV: the time that it takes, and window, of each key.
 * -> how many microseconds from now each key's time is */
static const char tell_script[] =
    SCRIPT_BEGIN " local ahead = {}"
                 " for i = 1, #KEYS do"
                 "  local taken, window = tonumber(ARGV[2 * i - 1]), tonumber(ARGV[2 * i])"
                 "  local next = math.min(read(KEYS[i], window) + taken, now + window)"
                 "  write(KEYS[i], next)"
                 "  ahead[i] = next - now"
                 " end"
                 " return ahead";

struct script {
    const char *text;
    size_t n;
    char digest[2 * SHA1_BYTES + 1]; /* its name in Redis */
};

/* What has been let through for a key, and Redis does not know yet. */
struct told {
    const struct rate_limit *limit; /* NULL: the slot is free */
    unsigned char key[RATE_KEY_SIZE];
    uint64_t n;
};

/* Found by key, from a slot on. What finds no place is not told. */
#define TOLD_SLOTS 512
#define TOLD_MAX 256

struct told_table {
    struct told slots[TOLD_SLOTS];
    size_t n;
    bool urgent; /* it is not to wait until the rest is over */
};

/* Redis is told at once, and then not for so long: a key costs as much for one request as for many.
 * Unless the others would let much too much through meanwhile, which is this part of a quota. */
#define REST_NS (100 * NSEC_PER_MSEC)
#define URGENT_PART 16

struct shared_rate {
    struct shared_rate_options options;
    struct redis *redis;        /* may be NULL */
    struct redis_timer *rested; /* on its engine thread */
    struct script ask, tell;
    atomic_bool shared;   /* the secret is that of all instances */
    atomic_llong refused; /* since the log said so last */
    atomic_llong next_log_ns, next_failure_log_ns;

    pthread_mutex_t lock; /* guards what follows */
    struct rate_table *table;
    EVP_MAC_CTX *mac;                     /* with the secret */
    struct told_table *telling, *to_tell; /* on its way; collected meanwhile */
    bool tells;                           /* `telling` is whoever's who has set this */
    bool rests;                           /* until on_rested() */

    struct arena arena; /* of the command that tells */
};

/* ---- life ---- */

static int script_init(struct script *ret, const char *text, size_t n)
{
    unsigned char digest[EVP_MAX_MD_SIZE];

    if (!EVP_Digest(text, n, digest, NULL, EVP_sha1(), NULL))
        return -ENOMEM;
    ret->text = text;
    ret->n = n;
    hex_encode(ret->digest, digest, (sizeof(ret->digest) - 1) / 2);
    return 0;
}

static int make_tables(struct shared_rate *rate)
{
    /* One line for the table's own head; the size is a multiple of the alignment. */
    size_t n = (rate->options.entries * ENTRY_BYTES / TABLE_ALIGNMENT + 3) * TABLE_ALIGNMENT;
    void *memory = aligned_alloc(TABLE_ALIGNMENT, n);

    rate->table = memory ? rate_table_init(memory, n) : NULL;
    rate->telling = calloc(1, sizeof(*rate->telling));
    rate->to_tell = calloc(1, sizeof(*rate->to_tell));
    return rate->table && rate->telling && rate->to_tell ? 0 : -ENOMEM;
}

static int set_secret(EVP_MAC_CTX *mac, const uint8_t secret[SHARED_RATE_SECRET_BYTES])
{
    char digest[] = "SHA256";
    const OSSL_PARAM parameters[] = {
        OSSL_PARAM_construct_utf8_string(OSSL_MAC_PARAM_DIGEST, digest, 0),
        OSSL_PARAM_construct_end(),
    };

    return EVP_MAC_init(mac, secret, SHARED_RATE_SECRET_BYTES, parameters) ? 0 : -ENOMEM;
}

/* With a secret that nobody knows. */
static int make_mac(struct shared_rate *rate)
{
    uint8_t secret[SHARED_RATE_SECRET_BYTES];
    EVP_MAC *hmac;
    int r;

    if (getrandom(secret, sizeof(secret), 0) != sizeof(secret))
        return -EIO;
    hmac = EVP_MAC_fetch(NULL, "HMAC", NULL);
    rate->mac = hmac ? EVP_MAC_CTX_new(hmac) : NULL;
    EVP_MAC_free(hmac);
    r = rate->mac ? set_secret(rate->mac, secret) : -ENOMEM;
    explicit_bzero(secret, sizeof(secret));
    return r;
}

int shared_rate_new(const struct shared_rate_options *options, struct shared_rate **ret)
{
    struct shared_rate *rate = calloc(1, sizeof(*rate));
    int r;

    if (!rate)
        return -ENOMEM;
    rate->options = *options;
    pthread_mutex_init(&rate->lock, NULL);
    arena_init(&rate->arena, 0);
    r = make_tables(rate);
    if (r == 0)
        r = script_init(&rate->ask, ask_script, sizeof(ask_script) - 1);
    if (r == 0)
        r = script_init(&rate->tell, tell_script, sizeof(tell_script) - 1);
    if (r == 0)
        r = make_mac(rate);
    if (r < 0) {
        shared_rate_free(rate);
        return r;
    }
    *ret = rate;
    return 0;
}

void shared_rate_free(struct shared_rate *rate)
{
    if (!rate)
        return;
    free(rate->table);
    free(rate->telling);
    free(rate->to_tell);
    arena_free(&rate->arena);
    EVP_MAC_CTX_free(rate->mac);
    pthread_mutex_destroy(&rate->lock);
    free(rate);
}

static void on_rested(void *user);

int shared_rate_use_redis(struct shared_rate *rate, struct redis *redis)
{
    rate->rested = redis_timer_new(redis, on_rested, rate);
    if (!rate->rested)
        return -ENOMEM;
    rate->redis = redis;
    return 0;
}

void shared_rate_set_secret(struct shared_rate *rate,
                            const uint8_t secret[SHARED_RATE_SECRET_BYTES])
{
    int r;

    pthread_mutex_lock(&rate->lock);
    r = set_secret(rate->mac, secret);
    pthread_mutex_unlock(&rate->lock);
    if (r < 0)
        log_error("no memory for the keys of limits");
    else
        atomic_store(&rate->shared, true);
}

static bool may_use_redis(const struct shared_rate *rate)
{
    return rate->redis && atomic_load(&rate->shared);
}

/* ---- the limits that a request meets ---- */

struct met {
    const struct rate_limit *limit;
    unsigned char key[RATE_KEY_SIZE];
};

static uint64_t window_us(const struct rate_limit *limit)
{
    return limit->interval_us * limit->quota;
}

/* Nobody finds or chooses another's key; neither table nor Redis holds what it was made of. The
 * lock is held. */
static int make_key(const struct shared_rate *rate, struct str who,
                    unsigned char ret[RATE_KEY_SIZE])
{
    unsigned char hash[EVP_MAX_MD_SIZE];
    size_t n;

    /* From the beginning, with the same secret. */
    if (!EVP_MAC_init(rate->mac, NULL, 0, NULL) ||
        !EVP_MAC_update(rate->mac, (const unsigned char *)who.p, who.n) ||
        !EVP_MAC_final(rate->mac, hash, &n, sizeof(hash)))
        return -ENOMEM;
    memcpy(ret, hash, RATE_KEY_SIZE);
    return 0;
}

/* How many; -ENOMEM. The lock is held. */
static int find_limits(const struct shared_rate *rate, const struct shared_rate_count *counts,
                       size_t n, struct met ret[SHARED_RATE_MAX])
{
    int n_met = 0;

    for (size_t i = 0; i < n; i++) {
        if (counts[i].limit->quota == 0)
            continue;
        ret[n_met].limit = counts[i].limit;
        if (make_key(rate, counts[i].who, ret[n_met].key) < 0)
            return -ENOMEM;
        n_met++;
    }
    return n_met;
}

static uint64_t now_us(void)
{
    return (uint64_t)(clock_monotonic_ns() / NSEC_PER_USEC);
}

/* Asks this process; the lock is held. */
static struct rate_verdict take(struct shared_rate *rate, const struct met *met, int n_met)
{
    struct rate_verdict verdict = {.allowed = true};

    for (int i = 0; verdict.allowed && i < n_met; i++)
        verdict = rate_take(rate->table, met[i].limit, met[i].key, now_us());
    return verdict;
}

/* True at most once in LOG_INTERVAL_NS, over all threads. */
static bool may_log(atomic_llong *next_ns)
{
    long long now = clock_monotonic_ns(), next = atomic_load(next_ns);

    return now >= next && atomic_compare_exchange_strong(next_ns, &next, now + LOG_INTERVAL_NS);
}

static struct shared_rate_verdict refusal(struct shared_rate *rate, int64_t wait_us)
{
    atomic_fetch_add(&rate->refused, 1);
    if (may_log(&rate->next_log_ns))
        log_warn("requests were refused: too many came", LOG_C("what", rate->options.about),
                 LOG_I("requests", atomic_exchange(&rate->refused, 0)));
    return (struct shared_rate_verdict){.retry_after_ms =
                                            wait_us > 1000 ? (wait_us + 999) / 1000 : 1};
}

/* ---- scripts ---- */

static struct str key_text(const struct shared_rate *rate, struct arena *arena,
                           const unsigned char key[RATE_KEY_SIZE])
{
    uint64_t part[2];

    memcpy(part, key, sizeof(part));
    return arena_printf(arena, "%s%016llx%016llx", rate->options.prefix,
                        (unsigned long long)part[0], (unsigned long long)part[1]);
}

static struct str number_text(struct arena *arena, uint64_t n)
{
    return arena_printf(arena, "%llu", (unsigned long long)n);
}

/* A key with its two numbers, of a script. */
struct script_key {
    const unsigned char *key;
    uint64_t first, second;
};

enum { WORDS_BEFORE_KEYS = 3 };
_Static_assert(WORDS_BEFORE_KEYS + 3 * TOLD_MAX <= REDIS_MAX_WORDS, "a command has no room");

/* By the digest, or with the text. -ENOMEM, or as redis_submit(). */
static int run_script(struct shared_rate *rate, struct arena *arena, const struct script *script,
                      bool with_text, const struct script_key *keys, size_t n_keys,
                      redis_done_fn *done, void *user)
{
    size_t n = 0;
    struct str *words = arena_calloc(arena, WORDS_BEFORE_KEYS + 3 * n_keys, sizeof(*words));
    struct redis_command *command;

    if (!words)
        return -ENOMEM;
    words[n++] = with_text ? STR("EVAL") : STR("EVALSHA");
    words[n++] = with_text ? (struct str){script->text, script->n} : str_of(script->digest);
    words[n++] = number_text(arena, n_keys);
    for (size_t i = 0; i < n_keys; i++)
        words[n++] = key_text(rate, arena, keys[i].key);
    for (size_t i = 0; i < n_keys; i++) {
        words[n++] = number_text(arena, keys[i].first);
        words[n++] = number_text(arena, keys[i].second);
    }
    for (size_t i = 0; i < n; i++) {
        if (!words[i].p)
            return -ENOMEM;
    }
    command = redis_command(rate->redis, arena, words, n);
    return command ? redis_submit(command, done, user) : -ENOMEM;
}

/* A Redis that was just started does not have the script yet. */
static bool lacks_script(const struct redis_result *result)
{
    return result->outcome == REDIS_REFUSED && str_starts(result->message, STR("NOSCRIPT"));
}

/* lib/redis says it when Redis cannot be reached. */
static void log_failure(struct shared_rate *rate, const struct redis_result *result)
{
    if (result->outcome != REDIS_LOST && may_log(&rate->next_failure_log_ns))
        log_warn("redis does not count: each instance counts by itself",
                 LOG_C("what", rate->options.about),
                 LOG_S("cause", result->outcome == REDIS_TIMED_OUT ? STR("no answer in time")
                                                                   : result->message));
}

/* ---- Redis decides ---- */

struct question {
    struct shared_rate *rate;
    struct arena *arena;
    struct met met[SHARED_RATE_MAX];
    int n_met;
    shared_rate_done_fn *done;
    void *user;
};

static void answer(const struct question *q, struct shared_rate_verdict verdict)
{
    q->done(q->user, &verdict);
}

static void on_asked(void *user, const struct redis_result *result)
{
    struct question *q = user;
    int64_t refused_by = 0, wait_us = 0;

    if (!redis_get_int(result, 0, &refused_by) || !redis_get_int(result, 1, &wait_us)) {
        refused_by = 0;
        log_failure(q->rate, result);
    }
    answer(q, refused_by > 0 ? refusal(q->rate, wait_us)
                             : (struct shared_rate_verdict){.allowed = true});
}

static int ask_redis(struct question *q, bool with_text, redis_done_fn *done)
{
    struct script_key keys[SHARED_RATE_MAX];

    for (int i = 0; i < q->n_met; i++)
        keys[i] = (struct script_key){q->met[i].key, q->met[i].limit->interval_us,
                                      window_us(q->met[i].limit)};
    return run_script(q->rate, q->arena, &q->rate->ask, with_text, keys, (size_t)q->n_met, done, q);
}

static void on_asked_by_digest(void *user, const struct redis_result *result)
{
    struct question *q = user;

    if (!lacks_script(result))
        on_asked(q, result);
    else if (ask_redis(q, true, on_asked) < 0)
        answer(q, (struct shared_rate_verdict){.allowed = true});
}

int shared_rate_ask(struct shared_rate *rate, struct arena *arena,
                    const struct shared_rate_count *counts, size_t n, shared_rate_done_fn *done,
                    void *user)
{
    struct question *q = arena_calloc(arena, 1, sizeof(*q));
    struct rate_verdict verdict;

    if (!q)
        return -ENOMEM;
    *q = (struct question){.rate = rate, .arena = arena, .done = done, .user = user};
    pthread_mutex_lock(&rate->lock);
    q->n_met = find_limits(rate, counts, n, q->met);
    verdict = take(rate, q->met, q->n_met);
    pthread_mutex_unlock(&rate->lock);
    if (q->n_met < 0)
        return q->n_met;
    if (!verdict.allowed)
        answer(q, refusal(rate, (int64_t)verdict.required_s * 1000000));
    else if (q->n_met == 0 || !may_use_redis(rate) || ask_redis(q, false, on_asked_by_digest) < 0)
        answer(q, (struct shared_rate_verdict){.allowed = true});
    return 0;
}

/* ---- Redis is told ---- */

/* The slot of a key, or the free one that it gets; NULL: it gets none. The lock is held. */
static struct told *told_slot(struct told_table *table, const unsigned char key[RATE_KEY_SIZE])
{
    uint16_t at;

    memcpy(&at, key, sizeof(at));
    at %= TOLD_SLOTS;
    while (table->slots[at].limit) {
        if (memcmp(table->slots[at].key, key, RATE_KEY_SIZE) == 0)
            return &table->slots[at];
        at = (uint16_t)((at + 1) % TOLD_SLOTS);
    }
    return table->n < TOLD_MAX ? &table->slots[at] : NULL;
}

static void note(struct told_table *table, const struct met *met)
{
    struct told *told = told_slot(table, met->key);

    if (!told)
        return;
    if (!told->limit) {
        told->limit = met->limit;
        memcpy(told->key, met->key, RATE_KEY_SIZE);
        table->n++;
    }
    told->n++;
    if (told->n * URGENT_PART >= told->limit->quota || table->n == TOLD_MAX)
        table->urgent = true;
}

static void on_told_by_digest(void *user, const struct redis_result *result);

/* Whoever has set `tells`. */
static int tell_redis(struct shared_rate *rate, bool with_text, redis_done_fn *done)
{
    struct script_key keys[TOLD_MAX];
    size_t n = 0;

    arena_free(&rate->arena);
    for (size_t i = 0; i < TOLD_SLOTS; i++) {
        const struct told *told = &rate->telling->slots[i];

        if (told->limit)
            keys[n++] = (struct script_key){told->key, told->n * told->limit->interval_us,
                                            window_us(told->limit)};
    }
    return run_script(rate, &rate->arena, &rate->tell, with_text, keys, n, done, rate);
}

/* The lock is held. True: `telling` has something, and is the caller's. */
static bool begin_to_tell(struct shared_rate *rate)
{
    struct told_table *next = rate->to_tell;

    if (rate->tells || next->n == 0 || (rate->rests && !next->urgent))
        return false;
    rate->to_tell = rate->telling;
    rate->telling = next;
    memset(rate->to_tell, 0, sizeof(*rate->to_tell));
    rate->tells = true;
    return true;
}

static void end_to_tell(struct shared_rate *rate)
{
    pthread_mutex_lock(&rate->lock);
    rate->tells = false;
    pthread_mutex_unlock(&rate->lock);
}

/* What is told while Redis can't be reached is not told later: it counts from then on. */
static void tell(struct shared_rate *rate)
{
    if (tell_redis(rate, false, on_told_by_digest) < 0)
        end_to_tell(rate);
}

/* What all instances have let through counts here as well. */
static void learn(struct shared_rate *rate, const struct redis_result *result)
{
    size_t answer_index = 0;

    for (size_t i = 0; i < TOLD_SLOTS; i++) {
        const struct told *told = &rate->telling->slots[i];
        int64_t ahead;

        if (told->limit && redis_get_int(result, answer_index++, &ahead) && ahead > 0)
            rate_raise(rate->table, told->limit, told->key, now_us(), (uint64_t)ahead);
    }
}

static void on_told(void *user, const struct redis_result *result)
{
    struct shared_rate *rate = user;
    bool more;

    if (result->outcome != REDIS_ANSWERED)
        log_failure(rate, result);
    pthread_mutex_lock(&rate->lock);
    if (result->outcome == REDIS_ANSWERED)
        learn(rate, result);
    rate->tells = false;
    rate->rests = result->outcome == REDIS_ANSWERED;
    more = rate->rests && begin_to_tell(rate);
    pthread_mutex_unlock(&rate->lock);
    if (result->outcome == REDIS_ANSWERED)
        redis_timer_start(rate->rested, REST_NS);
    if (more)
        tell(rate);
}

static void on_rested(void *user)
{
    struct shared_rate *rate = user;
    bool more;

    pthread_mutex_lock(&rate->lock);
    rate->rests = false;
    more = begin_to_tell(rate);
    pthread_mutex_unlock(&rate->lock);
    if (more)
        tell(rate);
}

static void on_told_by_digest(void *user, const struct redis_result *result)
{
    struct shared_rate *rate = user;

    if (!lacks_script(result))
        on_told(rate, result);
    else if (tell_redis(rate, true, on_told) < 0)
        end_to_tell(rate);
}

int shared_rate_take(struct shared_rate *rate, const struct shared_rate_count *counts, size_t n,
                     struct shared_rate_verdict *ret)
{
    struct met met[SHARED_RATE_MAX];
    struct rate_verdict verdict;
    bool tells = false;
    int n_met;

    pthread_mutex_lock(&rate->lock);
    n_met = find_limits(rate, counts, n, met);
    verdict = take(rate, met, n_met);
    if (verdict.allowed && may_use_redis(rate)) {
        for (int i = 0; i < n_met; i++)
            note(rate->to_tell, &met[i]);
        tells = begin_to_tell(rate);
    }
    pthread_mutex_unlock(&rate->lock);
    if (n_met < 0)
        return n_met;
    if (tells)
        tell(rate);
    *ret = verdict.allowed ? (struct shared_rate_verdict){.allowed = true}
                           : refusal(rate, (int64_t)verdict.required_s * 1000000);
    return 0;
}

/* ---- what is remembered ---- */

/* One, and no more for so long: what has been taken is remembered. */
static struct rate_limit once_in(int64_t seconds)
{
    return (struct rate_limit){.interval_us = (uint64_t)seconds * 1000000, .quota = 1};
}

bool shared_rate_remembers(struct shared_rate *rate, struct str what)
{
    unsigned char key[RATE_KEY_SIZE];
    bool known;

    pthread_mutex_lock(&rate->lock);
    known = make_key(rate, what, key) == 0 && rate_is_ahead(rate->table, key, now_us());
    pthread_mutex_unlock(&rate->lock);
    return known;
}

void shared_rate_remember(struct shared_rate *rate, struct str what, int64_t seconds)
{
    const struct rate_limit once = once_in(seconds);
    unsigned char key[RATE_KEY_SIZE];

    pthread_mutex_lock(&rate->lock);
    if (make_key(rate, what, key) == 0)
        (void)rate_take(rate->table, &once, key, now_us());
    pthread_mutex_unlock(&rate->lock);
}

void shared_rate_forget(struct shared_rate *rate, struct str what)
{
    unsigned char key[RATE_KEY_SIZE];

    pthread_mutex_lock(&rate->lock);
    if (make_key(rate, what, key) == 0)
        rate_forget(rate->table, key);
    pthread_mutex_unlock(&rate->lock);
}
