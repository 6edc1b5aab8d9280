/* lib/base/rate.c: how many requests a caller has, and what a full table forgets. */
#include "base/rate.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>

#include <cmocka.h>

#define SECOND UINT64_C(1000000)
#define START (1000 * SECOND)

static void *memory;

static struct rate_table *new_table(size_t n)
{
    struct rate_table *table;

    free(memory);
    memory = aligned_alloc(64, (n + 63) / 64 * 64);
    assert_non_null(memory);
    table = rate_table_init(memory, n);
    assert_non_null(table);
    return table;
}

static struct rate_verdict take(struct rate_table *table, const struct rate_limit *limit,
                                uint64_t caller, uint64_t now)
{
    uint64_t key[2] = {caller * UINT64_C(0x9e3779b97f4a7c15), caller + 1};

    return rate_take(table, limit, (const unsigned char *)key, now);
}

static void quota_at_once(void **state)
{
    struct rate_table *table = new_table(1 << 16);
    struct rate_limit limit = {SECOND / 10, 5};

    (void)state;
    for (uint64_t left = 5; left-- > 0;) {
        struct rate_verdict v = take(table, &limit, 1, START);

        assert_true(v.allowed);
        assert_int_equal(v.remaining, left);
        assert_int_equal(v.reset_s, 1);
        assert_int_equal(v.required_s, 0);
    }
    for (int i = 0; i < 3; i++) {
        struct rate_verdict v = take(table, &limit, 1, START);

        assert_false(v.allowed);
        assert_int_equal(v.remaining, 0);
        assert_int_equal(v.required_s, 1);
        assert_int_equal(v.reset_s, v.required_s);
    }
    /* Others are not concerned. */
    assert_true(take(table, &limit, 2, START).allowed);
}

/* One more for each interval that passes, never more than the quota. */
static void refills(void **state)
{
    struct rate_table *table = new_table(1 << 16);
    struct rate_limit limit = {10 * SECOND, 2};
    struct rate_verdict v;

    (void)state;
    assert_true(take(table, &limit, 1, START).allowed);
    assert_true(take(table, &limit, 1, START).allowed);
    v = take(table, &limit, 1, START + SECOND);
    assert_false(v.allowed);
    assert_int_equal(v.required_s, 9);
    assert_false(take(table, &limit, 1, START + 10 * SECOND - 1).allowed);
    v = take(table, &limit, 1, START + 10 * SECOND);
    assert_true(v.allowed);
    assert_int_equal(v.reset_s, 20);
    assert_false(take(table, &limit, 1, START + 10 * SECOND).allowed);
    v = take(table, &limit, 1, START + 1000 * SECOND);
    assert_true(v.allowed);
    assert_int_equal(v.remaining, 1);
}

/* What others have let through counts as if it had been let through here, and no further. */
static void others_count(void **state)
{
    struct rate_table *table = new_table(1 << 16);
    struct rate_limit limit = {SECOND, 10};
    uint64_t key[2] = {UINT64_C(0x9e3779b97f4a7c15), 2}; /* of caller 1 */
    const unsigned char *bytes = (const unsigned char *)key;

    (void)state;
    assert_false(rate_is_ahead(table, bytes, START));
    rate_raise(table, &limit, bytes, START, 7 * SECOND);
    assert_true(rate_is_ahead(table, bytes, START));
    assert_int_equal(take(table, &limit, 1, START).remaining, 2);
    rate_raise(table, &limit, bytes, START, 4 * SECOND); /* less than is known */
    assert_int_equal(take(table, &limit, 1, START).remaining, 1);
    rate_raise(table, &limit, bytes, START, 1000 * SECOND);
    assert_int_equal(take(table, &limit, 1, START).required_s, 1);
    assert_true(rate_is_ahead(table, bytes, START + 10 * SECOND - 1));
    assert_false(rate_is_ahead(table, bytes, START + 10 * SECOND));
    assert_int_equal(take(table, &limit, 1, START + 10 * SECOND).remaining, 9);
}

/* What it says is what it does: required_s later the request is allowed, one second less and it is
 * not. */
static void promise_is_kept(void **state)
{
    static const struct rate_limit limits[] = {
        {SECOND, 1}, {SECOND / 3, 10}, {7 * SECOND, 3}, {1, 1000}, {3600 * SECOND, 2}};

    (void)state;
    for (size_t i = 0; i < ARRAY_SIZE(limits); i++) {
        struct rate_table *table = new_table(1 << 16);
        struct rate_verdict v;
        uint64_t now = START;

        do
            v = take(table, &limits[i], 1, now);
        while (v.allowed);
        if (v.required_s > 1)
            assert_false(
                take(table, &limits[i], 1, now + (v.required_s - 1) * SECOND - SECOND / 2).allowed);
        assert_true(take(table, &limits[i], 1, now + v.required_s * SECOND).allowed);
    }
}

static void long_run_is_the_rate(void **state)
{
    struct rate_table *table = new_table(1 << 16);
    struct rate_limit limit;
    unsigned allowed = 0;

    (void)state;
    assert_int_equal(rate_parse(STR("600/1m"), &limit), 0);
    for (uint64_t ms = 0; ms < 600 * 1000; ms += 7)
        allowed += take(table, &limit, 1, START + ms * 1000).allowed;
    /* Ten minutes at ten a second, and the quota that was there at the start. */
    assert_in_range(allowed, 6000 + 598, 6000 + 600);
}

static void narrower_after_a_reload(void **state)
{
    struct rate_table *table = new_table(1 << 16);
    struct rate_limit wide = {3600 * SECOND, 10}, narrow = {SECOND, 1};

    (void)state;
    for (int i = 0; i < 10; i++)
        assert_true(take(table, &wide, 1, START).allowed);
    assert_int_equal(take(table, &narrow, 1, START).required_s, 1);
    assert_true(take(table, &narrow, 1, START + SECOND).allowed);
}

/* A clock that goes back a little (each process reads its own) gives nobody more. */
static void clock_goes_back(void **state)
{
    struct rate_table *table = new_table(1 << 16);
    struct rate_limit limit = {SECOND / 20, 2};

    (void)state;
    assert_true(take(table, &limit, 1, START).allowed);
    assert_true(take(table, &limit, 1, START).allowed);
    for (int i = 0; i < 10; i++) {
        assert_false(take(table, &limit, 1, START - SECOND / 10).allowed);
        assert_false(take(table, &limit, 1, START).allowed);
    }
}

static void flood_of_keys(void **state)
{
    struct rate_table *table = new_table(1 << 14);
    struct rate_limit limit = {SECOND, 20};
    size_t capacity = rate_table_capacity(table);

    (void)state;
    assert_in_range(capacity, 900, 1024);
    for (int i = 0; i < 20; i++)
        assert_true(take(table, &limit, 1, START).allowed);
    for (uint64_t caller = 2; caller < 100 * capacity; caller++)
        assert_true(take(table, &limit, caller, START + 1).allowed);
    /* The one that is held back is still known. */
    assert_false(take(table, &limit, 1, START + 2).allowed);
}

static void remembers_as_many_as_it_says(void **state)
{
    struct rate_table *table = new_table(1 << 18);
    struct rate_limit limit = {SECOND, 1};
    size_t half = rate_table_capacity(table) / 2, forgotten = 0;

    (void)state;
    for (uint64_t caller = 0; caller < half; caller++)
        (void)take(table, &limit, caller, START);
    for (uint64_t caller = 0; caller < half; caller++)
        forgotten += take(table, &limit, caller, START).allowed;
    /* Half full: few sets are. */
    assert_in_range(forgotten, 0, half / 20);
}

static void small_memory(void **state)
{
    uint64_t little[16] __attribute__((aligned(64))) = {0};

    (void)state;
    assert_null(rate_table_init(little, sizeof(little)));
    assert_int_equal(rate_table_capacity(new_table(64 + 128)), 8);
    assert_int_equal(rate_table_capacity(new_table(64 + 128 + 127)), 8);
}

static void texts(void **state)
{
    static const struct {
        const char *text;
        uint64_t interval, quota, window;
    } good[] = {
        {"1/s", SECOND, 1, 1},
        {"10/s", SECOND / 10, 10, 1},
        {"600/1m", SECOND / 10, 600, 60},
        {"5/15m", 180 * SECOND, 5, 900},
        {"3/24h", 28800 * SECOND, 3, 86400},
        {"1000000/s", 1, 1000000, 1},
        {"10000/10s", 1000, 10000, 10},
    };
    static const char *const bad[] = {"",
                                      "1",
                                      "1/",
                                      "/s",
                                      "0/s",
                                      "-1/s",
                                      "+1/s",
                                      "1/0s",
                                      "1/x",
                                      "1/s1",
                                      "1/-1s",
                                      "1.5/s",
                                      "1/s ",
                                      " 1/s",
                                      "1//s",
                                      "1/25h",
                                      "1/1d",
                                      "2000000/s",
                                      "99999999999999999999/s",
                                      "1/99999999999999999999s"};
    struct rate_limit limit;

    (void)state;
    for (size_t i = 0; i < ARRAY_SIZE(good); i++) {
        assert_int_equal(rate_parse(str_of(good[i].text), &limit), 0);
        assert_int_equal(limit.interval_us, good[i].interval);
        assert_int_equal(limit.quota, good[i].quota);
        assert_int_equal(rate_window_s(&limit), good[i].window);
    }
    for (size_t i = 0; i < ARRAY_SIZE(bad); i++) {
        if (rate_parse(str_of(bad[i]), &limit) == 0)
            fail_msg("accepted: %s", bad[i]);
    }
}

static int free_memory(void **state)
{
    (void)state;
    free(memory);
    return 0;
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(quota_at_once),
        cmocka_unit_test(refills),
        cmocka_unit_test(others_count),
        cmocka_unit_test(promise_is_kept),
        cmocka_unit_test(long_run_is_the_rate),
        cmocka_unit_test(narrower_after_a_reload),
        cmocka_unit_test(clock_goes_back),
        cmocka_unit_test(flood_of_keys),
        cmocka_unit_test(remembers_as_many_as_it_says),
        cmocka_unit_test(small_memory),
        cmocka_unit_test(texts),
    };

    return cmocka_run_group_tests(tests, NULL, free_memory);
}
