/* lib/redis/shared_rate.c, as it decides at once, with a real Redis: what one instance lets through
 * counts at the others a moment later. How Redis decides: test_throttle.c. */
#include "redis/shared_rate.h"
#include "redis_fixture.h"

#include <hiredis/hiredis.h>

#define HOUR_US UINT64_C(3600000000)
#define N_PER_HOUR(n)                              \
    {                                              \
        .interval_us = HOUR_US / (n), .quota = (n) \
    }

static const uint8_t secret[SHARED_RATE_SECRET_BYTES] = "shared by all instances";

struct instance {
    struct shared_rate *rate;
    struct redis *redis;
};

static struct instance start(void)
{
    const struct shared_rate_options options = {
        .entries = 4096, .prefix = "stoa:test:", .about = "tests"};
    struct instance i = {.redis = NULL};

    assert_int_equal(shared_rate_new(&options, &i.rate), 0);
    assert_int_equal(
        redis_open(&(struct redis_options){.address = str_of(redis_address), .timeout_ms = 500},
                   &i.redis),
        0);
    assert_int_equal(shared_rate_use_redis(i.rate, i.redis), 0);
    shared_rate_set_secret(i.rate, secret);
    redis_await(i.redis, true);
    return i;
}

static void stop(struct instance *i)
{
    redis_close(i->redis);
    shared_rate_free(i->rate);
}

static struct shared_rate_verdict take(const struct instance *i, const struct rate_limit *limit,
                                       const char *who)
{
    const struct shared_rate_count count = {limit, str_of(who)};
    struct shared_rate_verdict verdict;

    assert_int_equal(shared_rate_take(i->rate, &count, 1, &verdict), 0);
    return verdict;
}

/* How many are let through until one is refused; the others have time to hear of each. */
static int take_all(const struct instance *i, const struct rate_limit *limit, const char *who)
{
    int n = 0;

    while (take(i, limit, who).allowed) {
        n++;
        usleep(500);
    }
    return n;
}

/* How many keys Redis has. */
static int64_t n_keys(void)
{
    redisContext *c = redisConnectUnix(redis_address + strlen("unix:"));
    redisReply *reply = redisCommand(c, "DBSIZE");
    int64_t n;

    assert_non_null(reply);
    n = reply->integer;
    freeReplyObject(reply);
    redisFree(c);
    return n;
}

static void await_keys(int64_t want)
{
    int64_t until = clock_monotonic_ns() + SECONDS(20);

    while (n_keys() != want) {
        assert_true(clock_monotonic_ns() < until);
        usleep(5000);
    }
}

static int each_setup(void **state UNUSED)
{
    redis_start();
    return 0;
}

static int each_teardown(void **state UNUSED)
{
    redis_stop(SIGKILL);
    return 0;
}

/* ---- cases ---- */

static void one_instance(void **state UNUSED)
{
    static const struct rate_limit five = N_PER_HOUR(5), none = {.quota = 0};
    struct instance i = start();
    struct shared_rate_verdict v;

    for (int n = 0; n < 5; n++)
        assert_true(take(&i, &five, "ada").allowed);
    v = take(&i, &five, "ada");
    assert_false(v.allowed);
    assert_in_range(v.retry_after_ms, 1000, 721000);
    assert_true(take(&i, &five, "bob").allowed);
    for (int n = 0; n < 20; n++)
        assert_true(take(&i, &none, "ada").allowed);
    stop(&i);
}

/* Who is refused by one limit does not use up those after it. */
static void limits_in_their_order(void **state UNUSED)
{
    static const struct rate_limit two = N_PER_HOUR(2), three = N_PER_HOUR(3);
    const struct shared_rate_count counts[] = {{&two, STR("account")}, {&three, STR("room")}};
    struct instance i = start();
    struct shared_rate_verdict v;

    for (int n = 0; n < 9; n++) {
        assert_int_equal(shared_rate_take(i.rate, counts, 2, &v), 0);
        assert_int_equal(v.allowed, n < 2);
    }
    assert_true(take(&i, &three, "room").allowed);
    assert_false(take(&i, &three, "room").allowed);
    stop(&i);
}

static void instances_hear_of_each_other(void **state UNUSED)
{
    static const struct rate_limit limit = N_PER_HOUR(600);
    struct instance a = start(), b = start(), c;
    int n = 0;

    for (; n < 400; n++)
        assert_true(take(&a, &limit, "ada").allowed);
    await_keys(1);
    /* Each by itself would let 600 through. */
    n += take_all(&b, &limit, "ada");
    assert_in_range(n, 600, 900);
    n += take_all(&a, &limit, "ada");
    c = start(); /* knows nothing yet */
    n += take_all(&c, &limit, "ada");
    assert_in_range(n, 600, 1100);
    stop(&a);
    stop(&b);
    stop(&c);
}

static void redis_comes_and_goes(void **state UNUSED)
{
    static const struct rate_limit five = N_PER_HOUR(5), many = N_PER_HOUR(100);
    struct instance a = start(), b = start();

    redis_stop(SIGKILL);
    redis_await(a.redis, false);
    redis_await(b.redis, false);
    assert_int_equal(take_all(&a, &five, "ada"), 5);
    assert_int_equal(take_all(&b, &five, "ada"), 5);
    redis_start(); /* and has forgotten all, the script too */
    redis_await(a.redis, true);
    redis_await(b.redis, true);
    assert_false(take(&a, &five, "ada").allowed);
    assert_true(take(&a, &many, "bob").allowed);
    await_keys(1);
    assert_in_range(take_all(&a, &many, "bob") + take_all(&b, &many, "bob"), 99, 160);
    stop(&a);
    stop(&b);
}

/* How many scripts Redis has run. */
static int64_t n_scripts(void)
{
    redisContext *c = redisConnectUnix(redis_address + strlen("unix:"));
    redisReply *reply = redisCommand(c, "INFO commandstats");
    int64_t n = 0;

    assert_non_null(reply);
    for (const char *at = reply->str; (at = strstr(at, "cmdstat_eval")) != NULL; at++)
        n += strtoll(strstr(at, "calls=") + strlen("calls="), NULL, 10);
    freeReplyObject(reply);
    redisFree(c);
    return n;
}

/* Requests of many callers are few commands, which leave nothing out. */
static void many_go_together(void **state UNUSED)
{
    enum { CALLERS = 100, LIMIT = 400, EACH = LIMIT - 4 };
    static const struct rate_limit limit = N_PER_HOUR(LIMIT);
    struct instance a = start(), b;
    char who[32];

    for (int n = 0; n < CALLERS * EACH; n++) {
        snprintf(who, sizeof(who), "account %d", n % CALLERS);
        assert_true(take(&a, &limit, who).allowed);
    }
    await_keys(CALLERS);
    b = start();
    for (int caller = 0; caller < CALLERS; caller += CALLERS - 1) {
        int n = 0;

        snprintf(who, sizeof(who), "account %d", caller);
        while (n < LIMIT / 2 && take(&b, &limit, who).allowed) {
            n++;
            usleep(20000);
        }
        assert_in_range(n, 1, LIMIT / 2 - 1); /* not the whole limit once more */
    }
    assert_in_range(n_scripts(), 1, CALLERS * EACH / 50);
    stop(&a);
    stop(&b);
}

/* More callers than can be told of at once, and nobody to tell. */
static void a_paused_redis_costs_nothing(void **state UNUSED)
{
    static const struct rate_limit limit = N_PER_HOUR(2);
    struct instance i = start();
    char who[32];

    kill(redis_pid, SIGSTOP);
    for (int n = 0; n < 2000; n++) {
        snprintf(who, sizeof(who), "account %d", n);
        assert_true(take(&i, &limit, who).allowed);
    }
    kill(redis_pid, SIGCONT);
    redis_await(i.redis, true);
    assert_true(take(&i, &limit, "account 1999").allowed);
    assert_false(take(&i, &limit, "account 1999").allowed);
    stop(&i);
}

static void what_is_remembered(void **state UNUSED)
{
    struct instance i = start();

    assert_false(shared_rate_remembers(i.rate, STR("a")));
    shared_rate_remember(i.rate, STR("a"), 600);
    assert_true(shared_rate_remembers(i.rate, STR("a")));
    assert_false(shared_rate_remembers(i.rate, STR("b")));
    shared_rate_remember(i.rate, STR("b"), 1);
    usleep(1100000);
    assert_false(shared_rate_remembers(i.rate, STR("b")));
    shared_rate_forget(i.rate, STR("a"));
    assert_false(shared_rate_remembers(i.rate, STR("a")));
    stop(&i);
}

#define TEST(f) cmocka_unit_test_setup_teardown(f, each_setup, each_teardown)

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(one_instance),       TEST(limits_in_their_order), TEST(instances_hear_of_each_other),
        TEST(many_go_together),   TEST(redis_comes_and_goes),  TEST(a_paused_redis_costs_nothing),
        TEST(what_is_remembered),
    };
    return cmocka_run_group_tests(tests, redis_group_setup, redis_group_teardown);
}
