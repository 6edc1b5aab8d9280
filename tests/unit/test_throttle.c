/* services/auth/throttle.c with a real Redis: limits of one instance and of several, with Redis,
 * without it, and while it comes and goes. */
#include "../../services/auth/throttle.h"
#include "redis_fixture.h"

#include <hiredis/hiredis.h>
#include <stdatomic.h>

#define HOUR_US UINT64_C(3600000000)
#define N_PER_HOUR(n)                              \
    {                                              \
        .interval_us = HOUR_US / (n), .quota = (n) \
    }

static const uint8_t secret[SHARED_RATE_SECRET_BYTES] = "shared by all instances of auth";

struct instance {
    struct throttle *throttle;
    struct redis *redis;
};

static struct instance start(const struct throttle_options *options, bool with_redis)
{
    struct instance i = {.redis = NULL};
    struct throttle_options with = *options;

    with.entries = with.entries ? with.entries : 4096;
    assert_int_equal(throttle_new(&with, &i.throttle), 0);
    if (with_redis) {
        assert_int_equal(
            redis_open(&(struct redis_options){.address = str_of(redis_address), .timeout_ms = 500},
                       &i.redis),
            0);
        assert_int_equal(shared_rate_use_redis(throttle_rate(i.throttle), i.redis), 0);
        shared_rate_set_secret(throttle_rate(i.throttle), secret);
    }
    return i;
}

static void stop(struct instance *i)
{
    redis_close(i->redis);
    throttle_free(i->throttle);
}

/* ---- an attempt that is waited for ---- */

struct told {
    pthread_mutex_t lock;
    pthread_cond_t changed;
    int times;
    struct shared_rate_verdict verdict;
};

static void on_verdict(void *user, const struct shared_rate_verdict *verdict)
{
    struct told *told = user;

    pthread_mutex_lock(&told->lock);
    told->times++;
    told->verdict = *verdict;
    pthread_cond_signal(&told->changed);
    pthread_mutex_unlock(&told->lock);
}

static struct shared_rate_verdict attempt(const struct instance *i, enum throttle_attempt what,
                                          const char *address, const char *account)
{
    struct told told = {.lock = PTHREAD_MUTEX_INITIALIZER, .changed = PTHREAD_COND_INITIALIZER};
    struct arena arena;

    arena_init(&arena, 0);
    assert_int_equal(throttle_ask(i->throttle, &arena, what, str_of(address), str_of(account),
                                  on_verdict, &told),
                     0);
    pthread_mutex_lock(&told.lock);
    while (told.times == 0)
        pthread_cond_wait(&told.changed, &told.lock);
    pthread_mutex_unlock(&told.lock);
    arena_free(&arena);
    return told.verdict;
}

/* How many of n attempts are let through. */
static int let_through(const struct instance *i, int n, const char *address, const char *account)
{
    int allowed = 0;

    while (n-- > 0)
        allowed += attempt(i, THROTTLE_LOGIN, address, account).allowed;
    return allowed;
}

/* ---- what Redis has ---- */

static redisReply *ask_server(const char *format, ...)
{
    redisContext *c = redisConnectUnix(redis_address + strlen("unix:"));
    redisReply *reply;
    va_list args;

    assert_non_null(c);
    va_start(args, format);
    reply = redisvCommand(c, format, args);
    va_end(args);
    redisFree(c);
    assert_non_null(reply);
    return reply;
}

static int64_t ask_number(const char *format, const char *argument)
{
    redisReply *reply = ask_server(format, argument);
    int64_t n = reply->integer;

    assert_int_equal(reply->type, REDIS_REPLY_INTEGER);
    freeReplyObject(reply);
    return n;
}

static int each_setup(void **state)
{
    (void)state;
    redis_start();
    return 0;
}

static int each_teardown(void **state)
{
    (void)state;
    redis_stop(SIGKILL);
    return 0;
}

/* ---- cases ---- */

static const struct throttle_options by_address = {
    .limits[THROTTLE_LOGIN][THROTTLE_ADDRESS] = N_PER_HOUR(5),
};

static void one_instance_alone(void **state)
{
    struct instance i = start(&by_address, false);
    struct shared_rate_verdict v;

    (void)state;
    assert_int_equal(let_through(&i, 9, "192.0.2.1", "ada"), 5);
    v = attempt(&i, THROTTLE_LOGIN, "192.0.2.1", "bob"); /* whatever the account */
    assert_false(v.allowed);
    assert_in_range(v.retry_after_ms, 1000, 721000);
    assert_true(attempt(&i, THROTTLE_LOGIN, "192.0.2.2", "ada").allowed);
    assert_true(attempt(&i, THROTTLE_REGISTER, "192.0.2.1", "ada").allowed); /* no limit: quota 0 */
    stop(&i);
}

static void an_ipv6_network_is_one_address(void **state)
{
    struct instance i = start(&by_address, false);

    (void)state;
    for (int n = 0; n < 5; n++) {
        char address[64];

        snprintf(address, sizeof(address), "2001:db8:0:1::%x", n + 1);
        assert_true(attempt(&i, THROTTLE_LOGIN, address, "ada").allowed);
    }
    assert_false(attempt(&i, THROTTLE_LOGIN, "2001:db8:0:1:ffff::", "ada").allowed);
    assert_true(attempt(&i, THROTTLE_LOGIN, "2001:db8:0:2::1", "ada").allowed);
    /* Nobody's address is that of this machine, nor looks like another kind's. */
    assert_true(attempt(&i, THROTTLE_LOGIN, NULL, "ada").allowed);
    stop(&i);
}

/* Who floods an account from one address uses up what that address may do, and not the account's.
 */
static void an_owner_is_not_locked_out(void **state)
{
    static const struct throttle_options options = {
        .limits[THROTTLE_LOGIN] = {[THROTTLE_ADDRESS] = N_PER_HOUR(50),
                                   [THROTTLE_PAIR] = N_PER_HOUR(3),
                                   [THROTTLE_ACCOUNT] = N_PER_HOUR(8)},
    };

    (void)state;
    for (int with_redis = 0; with_redis < 2; with_redis++) {
        struct instance i = start(&options, with_redis);

        if (with_redis)
            redis_await(i.redis, true);
        assert_int_equal(let_through(&i, 20, "192.0.2.1", "ada"), 3);
        assert_int_equal(let_through(&i, 2, "192.0.2.9", "ada"), 2);
        /* Many addresses together meet the account's limit. */
        assert_int_equal(
            let_through(&i, 20, "192.0.2.3", "ada") + let_through(&i, 20, "192.0.2.4", "ada"), 3);
        stop(&i);
    }
}

static void instances_count_together(void **state)
{
    struct instance a = start(&by_address, true), b = start(&by_address, true);
    struct shared_rate_verdict v;

    (void)state;
    redis_await(a.redis, true);
    redis_await(b.redis, true);
    assert_int_equal(let_through(&a, 3, "192.0.2.1", "ada"), 3);
    assert_int_equal(let_through(&b, 5, "192.0.2.1", "ada"), 2);
    v = attempt(&a, THROTTLE_LOGIN, "192.0.2.1", "ada");
    assert_false(v.allowed);
    assert_in_range(v.retry_after_ms, 1000, 721000);
    /* Also one that starts now. */
    stop(&b);
    b = start(&by_address, true);
    redis_await(b.redis, true);
    assert_int_equal(let_through(&b, 5, "192.0.2.1", "ada"), 0);
    stop(&a);
    stop(&b);
}

/* What is refused comes back by itself, in Redis as in the table. */
static void a_bucket_fills_again(void **state)
{
    static const struct throttle_options quick = {
        .limits[THROTTLE_LOGIN][THROTTLE_ADDRESS] = {.interval_us = 200000, .quota = 2},
    };
    struct instance a = start(&quick, true), b = start(&quick, true);
    int64_t until = clock_monotonic_ns() + SECONDS(20);

    (void)state;
    redis_await(a.redis, true);
    redis_await(b.redis, true);
    assert_int_equal(let_through(&a, 2, "192.0.2.1", "ada"), 2);
    while (!attempt(&b, THROTTLE_LOGIN, "192.0.2.1", "ada").allowed) {
        assert_true(clock_monotonic_ns() < until);
        usleep(10000);
    }
    stop(&a);
    stop(&b);
}

static void redis_holds_hashes_for_a_while(void **state)
{
    static const struct throttle_options options = {
        .limits[THROTTLE_LOGIN] = {[THROTTLE_ADDRESS] = N_PER_HOUR(100),
                                   [THROTTLE_PAIR] = N_PER_HOUR(100),
                                   [THROTTLE_ACCOUNT] = N_PER_HOUR(100)},
    };
    struct instance i = start(&options, true);
    redisReply *keys;

    (void)state;
    redis_await(i.redis, true);
    assert_int_equal(let_through(&i, 10, "192.0.2.1", "ada@example.com"), 10);
    keys = ask_server("KEYS *");
    assert_int_equal(keys->elements, 3);
    for (size_t k = 0; k < keys->elements; k++) {
        const char *key = keys->element[k]->str;

        assert_memory_equal(key, "stoa:auth:throttle:", 19);
        assert_int_equal(strspn(key + 19, "0123456789abcdef"), 32);
        assert_int_equal(strlen(key), 19 + 32);
        /* Ten of a hundred in an hour are forgotten after six minutes. */
        assert_in_range(ask_number("PTTL %s", key), 300000, 360000);
    }
    freeReplyObject(keys);
    stop(&i);
}

/* Twenty threads of two instances at once: exactly the quota is let through. */

enum { RACERS = 20, PER_RACER = 25 };

static struct instance racing[2];
static atomic_int raced;

static void *race(void *user)
{
    atomic_fetch_add(&raced,
                     let_through(&racing[(intptr_t)user % 2], PER_RACER, "192.0.2.1", "ada"));
    return NULL;
}

static void counting_is_atomic(void **state)
{
    static const struct throttle_options options = {
        .limits[THROTTLE_LOGIN][THROTTLE_ADDRESS] = N_PER_HOUR(150),
    };
    pthread_t threads[RACERS];

    (void)state;
    for (size_t i = 0; i < ARRAY_SIZE(racing); i++) {
        racing[i] = start(&options, true);
        redis_await(racing[i].redis, true);
    }
    for (intptr_t i = 0; i < RACERS; i++)
        assert_int_equal(pthread_create(&threads[i], NULL, race, (void *)i), 0);
    for (size_t i = 0; i < RACERS; i++)
        pthread_join(threads[i], NULL);
    assert_int_equal(raced, 150);
    stop(&racing[0]);
    stop(&racing[1]);
}

static void without_redis_each_counts_its_own(void **state)
{
    struct instance a = start(&by_address, true), b = start(&by_address, true);

    (void)state;
    redis_await(a.redis, true);
    redis_await(b.redis, true);
    redis_stop(SIGKILL);
    assert_int_equal(let_through(&a, 10, "192.0.2.1", "ada"), 5);
    assert_int_equal(let_through(&b, 10, "192.0.2.1", "ada"), 5);
    /* A Redis that has forgotten all, the script too, does not open what the table holds shut. */
    redis_start();
    redis_await(a.redis, true);
    redis_await(b.redis, true);
    assert_int_equal(let_through(&a, 10, "192.0.2.1", "ada"), 0);
    assert_int_equal(let_through(&a, 10, "192.0.2.7", "ada"), 5);
    assert_int_equal(let_through(&b, 10, "192.0.2.7", "ada"), 0);
    stop(&a);
    stop(&b);
}

static void a_paused_redis_delays_once(void **state)
{
    struct instance i = start(&by_address, true);
    int64_t begun;

    (void)state;
    redis_await(i.redis, true);
    kill(redis_pid, SIGSTOP);
    assert_true(attempt(&i, THROTTLE_LOGIN, "192.0.2.1", "ada").allowed);
    begun = clock_monotonic_ns();
    assert_int_equal(let_through(&i, 10, "192.0.2.1", "ada"), 4);
    assert_true(clock_monotonic_ns() - begun < SECONDS(10)); /* ten time-outs would be five */
    kill(redis_pid, SIGCONT);
    redis_await(i.redis, true);
    assert_int_equal(let_through(&i, 10, "192.0.2.5", "ada"), 5);
    stop(&i);
}

static void a_full_redis_is_none(void **state)
{
    struct instance a = start(&by_address, true), b = start(&by_address, true);

    (void)state;
    redis_await(a.redis, true);
    redis_await(b.redis, true);
    freeReplyObject(ask_server("CONFIG SET maxmemory-policy noeviction"));
    freeReplyObject(ask_server("CONFIG SET maxmemory 1"));
    assert_int_equal(let_through(&a, 10, "192.0.2.1", "ada"), 5);
    assert_int_equal(let_through(&b, 10, "192.0.2.1", "ada"), 5);
    stop(&a);
    stop(&b);
}

/* Strangers in any number neither grow the table nor free one that is held back. */
static void the_table_is_bounded(void **state)
{
    static const struct throttle_options options = {
        .limits[THROTTLE_LOGIN][THROTTLE_ACCOUNT] = N_PER_HOUR(5),
        .entries = 1024,
    };
    struct instance i = start(&options, false);

    (void)state;
    assert_int_equal(let_through(&i, 10, "192.0.2.1", "ada"), 5);
    for (int n = 0; n < 50000; n++) {
        char account[32];

        snprintf(account, sizeof(account), "stranger%d", n);
        assert_true(attempt(&i, THROTTLE_LOGIN, "192.0.2.1", account).allowed);
    }
    assert_int_equal(let_through(&i, 10, "192.0.2.1", "ada"), 0);
    stop(&i);
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, each_setup, each_teardown)

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(one_instance_alone),         TEST(an_ipv6_network_is_one_address),
        TEST(an_owner_is_not_locked_out), TEST(instances_count_together),
        TEST(a_bucket_fills_again),       TEST(redis_holds_hashes_for_a_while),
        TEST(counting_is_atomic),         TEST(without_redis_each_counts_its_own),
        TEST(a_paused_redis_delays_once), TEST(a_full_redis_is_none),
        TEST(the_table_is_bounded),
    };

    return cmocka_run_group_tests(tests, redis_group_setup, redis_group_teardown);
}
