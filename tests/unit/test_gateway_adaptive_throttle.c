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

static struct seen ask(struct adaptive_throttle *throttle, int64_t second, unsigned offered,
                       unsigned capacity)
{
    struct seen seen = {0, 0, 0};
    unsigned each = capacity ? (offered + capacity - 1) / capacity : 0;
    unsigned room = 0;

    for (unsigned i = 0; i < offered; i++) {
        /* Capacity comes evenly over the second, and does not keep. */
        if (each && i % each == 0)
            room = 1;
        if (!adaptive_throttle_ask(throttle, second)) {
            seen.held_back++;
        } else if (room > 0) {
            room--;
            seen.taken++;
        } else {
            adaptive_throttle_refused(throttle, second);
            seen.refused++;
        }
    }
    return seen;
}

static void holds_nothing_back_while_nothing_is_refused(void **state)
{
    struct adaptive_throttle throttle = {0};

    (void)state;
    for (int64_t second = 0; second < 5; second++)
        assert_int_equal(ask(&throttle, second, 1000, 1000).taken, 1000);
}

static void asks_for_little_more_than_is_taken(void **state)
{
    static const unsigned times[] = {5, 10, 100};
    struct adaptive_throttle throttle = {0};
    int64_t second = 0;

    (void)state;
    for (size_t i = 0; i < ARRAY_SIZE(times); i++) {
        struct seen seen = {0, 0, 0};

        for (int n = 0; n < 4; n++)
            seen = ask(&throttle, second++, 100 * times[i], 100);
        /* The service has work, and refuses no more than it does. */
        assert_in_range(seen.taken, 50, 100);
        assert_in_range(seen.refused, 1, 200);
    }
}

static void lets_all_through_two_seconds_after_it_is_over(void **state)
{
    struct adaptive_throttle throttle = {0};

    (void)state;
    for (int64_t second = 10; second < 14; second++)
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
    for (int64_t second = 0; second < 4; second++) {
        struct seen seen = ask(&throttle, second, 1000, 0);

        through += seen.refused;
    }
    /* A few still ask, in each second. */
    assert_in_range(through, 4, 400);
    (void)ask(&throttle, 4, 1000, 1000);
    (void)ask(&throttle, 5, 1000, 1000);
    assert_int_equal(ask(&throttle, 6, 1000, 1000).taken, 1000);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(holds_nothing_back_while_nothing_is_refused),
        cmocka_unit_test(asks_for_little_more_than_is_taken),
        cmocka_unit_test(lets_all_through_two_seconds_after_it_is_over),
        cmocka_unit_test(finds_out_when_a_service_that_takes_nothing_is_back),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
