/* gateway/standing_delay.c: who may wait in a queue. */
#include "../../gateway/standing_delay.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>

#include <cmocka.h>

static const struct standing_delay_limits limits = {.target = 100, .burst = 1000};

/* A server of so many a second, in milliseconds of its own. */
struct server {
    struct standing_delay state;
    uint64_t now;
    double queue; /* of those that were let in, and are not served yet */
    unsigned let_in, refused;
    uint64_t longest; /* that somebody waits who was let in */
};

/* For so many milliseconds `offered` a millisecond come and `served` are served. */
static void run(struct server *server, uint64_t ms, unsigned offered, double served)
{
    for (uint64_t end = server->now + ms; server->now < end; server->now++) {
        for (unsigned i = 0; i < offered; i++) {
            uint64_t wait = (uint64_t)(server->queue / served);

            if (!standing_delay_admits(&server->state, &limits, server->now, wait)) {
                server->refused++;
                continue;
            }
            server->let_in++;
            server->queue++;
            server->longest = wait > server->longest ? wait : server->longest;
        }
        server->queue = server->queue > served ? server->queue - served : 0;
    }
}

static void start(struct server *server)
{
    *server = (struct server){.now = 1000000};
}

static void lets_all_in_who_come_all_at_once(void **state)
{
    struct server server;

    (void)state;
    start(&server);
    run(&server, 100, 50, 6); /* 5,000 within 0.1 s, of whom the last wait 0.73 s */
    assert_int_equal(server.refused, 0);
    assert_in_range(server.longest, 700, 1000);
    run(&server, 1000, 0, 6);
    run(&server, 10000, 5, 6);
    assert_int_equal(server.refused, 0);
}

static void does_not_let_a_queue_stand(void **state)
{
    struct server server;

    (void)state;
    start(&server);
    run(&server, 2000, 12, 6); /* the burst, and what it leaves */
    server.let_in = server.refused = 0;
    server.longest = 0;
    run(&server, 60000, 12, 6);
    /* As many are served as can be. For a tenth of the time a burst may come again. */
    assert_in_range(server.let_in, 60000 * 6 * 97 / 100, 60000 * 6 + 6 * limits.burst);
    assert_in_range(server.longest, limits.target, 2 * limits.target);
}

/* So many have come at once, and whoever lets them in gets to the first of them after `stall`
 * milliseconds: each has waited for what has passed since, and to let one in takes as long as to
 * refuse two. */
static void come_at_once(struct server *server, unsigned number, uint64_t stall, unsigned served)
{
    uint64_t came = server->now;

    for (server->now += stall; number > 0; server->now++) {
        for (unsigned done = 0; number > 0 && done < 2 * served; number--) {
            uint64_t wait = server->now - came;

            if (!standing_delay_admits(&server->state, &limits, server->now, wait)) {
                server->refused++;
                done++;
                continue;
            }
            server->let_in++;
            done += 2;
            server->longest = wait > server->longest ? wait : server->longest;
        }
    }
}

static void nobody_waits_longer_than_a_burst(void **state)
{
    struct server server;

    (void)state;
    start(&server);
    come_at_once(&server, 20000, 0, 6);
    assert_true(server.refused > 0);
    assert_in_range(server.longest, limits.burst, limits.burst + limits.target);
}

static void who_stood_still_lets_in_who_came_meanwhile(void **state)
{
    struct server server;

    (void)state;
    start(&server);
    for (int i = 0; i < 5; i++) {
        come_at_once(&server, 100, 5 * limits.burst, 6);
        come_at_once(&server, 1, 2 * limits.burst, 6);
    }
    assert_int_equal(server.refused, 0);
    /* As many as are let in within a burst. */
    come_at_once(&server, 20000, 5 * limits.burst, 6);
    assert_in_range(server.let_in, limits.burst * 6, (limits.burst + limits.target) * 6);
}

static void gives_the_burst_back(void **state)
{
    struct server server;

    (void)state;
    start(&server);
    run(&server, 3000, 12, 6);
    assert_true(server.refused > 0);
    /* Ten times as long without a queue: another storm is let in. */
    run(&server, 10 * limits.burst + 1000, 1, 6);
    server.refused = 0;
    run(&server, 100, 50, 6);
    run(&server, 1000, 0, 6);
    assert_int_equal(server.refused, 0);
    /* Nobody at all for longer than it takes counts as well. */
    run(&server, 3000, 12, 6);
    server.now += 10 * limits.burst + 1000;
    server.queue = 0;
    server.refused = 0;
    run(&server, 100, 50, 6);
    assert_int_equal(server.refused, 0);
}

static void few_who_wait_do_not_wait_for_each_other(void **state)
{
    struct standing_delay delay = {0};

    (void)state;
    /* A machine that is slow for another reason: one a second, and each waits. */
    for (uint64_t now = 1000; now < 1000000; now += 1000)
        assert_true(standing_delay_admits(&delay, &limits, now, 300));
}

static void without_a_burst_nobody_waits(void **state)
{
    const struct standing_delay_limits strict = {.target = 100, .burst = 0};
    struct standing_delay delay = {0};

    (void)state;
    assert_true(standing_delay_admits(&delay, &strict, 5000, 100));
    assert_false(standing_delay_admits(&delay, &strict, 5000, 101));
    assert_true(standing_delay_admits(&delay, &strict, 5000, 0));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(lets_all_in_who_come_all_at_once),
        cmocka_unit_test(does_not_let_a_queue_stand),
        cmocka_unit_test(nobody_waits_longer_than_a_burst),
        cmocka_unit_test(who_stood_still_lets_in_who_came_meanwhile),
        cmocka_unit_test(gives_the_burst_back),
        cmocka_unit_test(few_who_wait_do_not_wait_for_each_other),
        cmocka_unit_test(without_a_burst_nobody_waits),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
