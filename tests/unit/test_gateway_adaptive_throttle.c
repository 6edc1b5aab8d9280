/* gateway/adaptive_throttle.c: what goes on to a service that refuses. */
#include "../../gateway/adaptive_throttle.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>

#include <cmocka.h>

/* A service that takes so many a second, and what became of those that were asked for. */
struct seen {
    unsigned taken, refused, held_back;
};

/* In a second, evenly over it. */
static struct seen ask(struct adaptive_throttle *throttle, uint64_t second, unsigned offered,
                       unsigned capacity)
{
    struct seen seen = {0, 0, 0};
    double room = 0;

    for (unsigned i = 0; i < offered; i++) {
        uint64_t now_ms = second * 1000 + (uint64_t)i * 1000 / offered;

        /* Capacity does not keep. */
        room += (double)capacity / offered;
        room = room > 1 ? 1 : room;
        if (!adaptive_throttle_ask(throttle, now_ms)) {
            seen.held_back++;
        } else if (room > 0.999) {
            room--;
            seen.taken++;
        } else {
            adaptive_throttle_refused(throttle, now_ms);
            seen.refused++;
        }
    }
    return seen;
}

static void holds_nothing_back_while_nothing_is_refused(void **state)
{
    struct adaptive_throttle throttle = {0};

    (void)state;
    for (uint64_t second = 0; second < 5; second++)
        assert_int_equal(ask(&throttle, second, 1000, 1000).taken, 1000);
}

static void asks_for_little_more_than_is_taken(void **state)
{
    static const unsigned times[] = {5, 10, 100};
    struct adaptive_throttle throttle = {0};
    uint64_t second = 0;

    (void)state;
    for (size_t i = 0; i < ARRAY_SIZE(times); i++) {
        struct seen seen = {0, 0, 0};

        for (int n = 0; n < 4; n++)
            seen = ask(&throttle, second++, 100 * times[i], 100);
        /* The service has work, and refuses no more than it does. */
        assert_in_range(seen.taken, 95, 101);
        assert_in_range(seen.refused, 1, 200);
    }
}

static void lets_all_through_two_seconds_after_it_is_over(void **state)
{
    struct adaptive_throttle throttle = {0};

    (void)state;
    for (uint64_t second = 10; second < 14; second++)
        (void)ask(&throttle, second, 10000, 100);
    (void)ask(&throttle, 14, 50, 1000);
    (void)ask(&throttle, 15, 50, 1000);
    assert_int_equal(ask(&throttle, 16, 50, 1000).taken, 50);
    /* Nobody asks for a while. */
    (void)ask(&throttle, 17, 10000, 100);
    assert_int_equal(ask(&throttle, 30, 50, 1000).taken, 50);
}

static void finds_out_when_a_service_that_takes_nothing_is_back(void **state)
{
    struct adaptive_throttle throttle = {0};
    unsigned through = 0;

    (void)state;
    for (uint64_t second = 0; second < 4; second++) {
        struct seen seen = ask(&throttle, second, 1000, 0);

        through += seen.refused;
    }
    /* A few still ask, in each second. */
    assert_in_range(through, 4, 400);
    (void)ask(&throttle, 4, 1000, 1000);
    (void)ask(&throttle, 5, 1000, 1000);
    assert_int_equal(ask(&throttle, 6, 1000, 1000).taken, 1000);
}

static void what_goes_on_does_not_follow_what_comes(void **state)
{
    struct adaptive_throttle throttle = {0};
    struct seen seen;

    (void)state;
    for (uint64_t second = 10; second < 15; second++)
        (void)ask(&throttle, second, 10000, 100);
    /* As much as is taken twice: nothing of it is too much. */
    seen = ask(&throttle, 15, 200, 100);
    assert_in_range(seen.taken, 95, 101);
    seen = ask(&throttle, 16, 100, 100);
    assert_int_equal(seen.held_back, 0);
}

static void a_moment_in_which_nothing_is_taken_is_over_with_it(void **state)
{
    struct adaptive_throttle throttle = {0};

    (void)state;
    for (uint64_t second = 10; second < 15; second++)
        (void)ask(&throttle, second, 90, 100);
    (void)ask(&throttle, 15, 90, 0);
    assert_int_equal(ask(&throttle, 16, 90, 100).held_back, 0);
}

static void what_was_taken_long_ago_says_nothing(void **state)
{
    struct adaptive_throttle throttle = {0};
    struct seen seen = {0, 0, 0};

    (void)state;
    for (uint64_t second = 10; second < 15; second++)
        (void)ask(&throttle, second, 1000, 1000);
    for (uint64_t second = 15; second < 26; second++)
        seen = ask(&throttle, second, 1000, 10);
    assert_in_range(seen.refused, 1, 30);
    assert_in_range(seen.taken, 5, 11);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(holds_nothing_back_while_nothing_is_refused),
        cmocka_unit_test(asks_for_little_more_than_is_taken),
        cmocka_unit_test(lets_all_through_two_seconds_after_it_is_over),
        cmocka_unit_test(finds_out_when_a_service_that_takes_nothing_is_back),
        cmocka_unit_test(what_goes_on_does_not_follow_what_comes),
        cmocka_unit_test(a_moment_in_which_nothing_is_taken_is_over_with_it),
        cmocka_unit_test(what_was_taken_long_ago_says_nothing),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
