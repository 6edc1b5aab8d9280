/* lib/grpc/in_flight.c: how many calls are let in, by a service that is simulated: so many threads,
 * each answer takes a time of one of them, calls come at random times and wait in one queue. */
#include "grpc/in_flight.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdlib.h>

#include <cmocka.h>

#define MOST 4096
#define PATIENCE_NS (40 * NSEC_PER_MSEC)
#define MS NSEC_PER_MSEC
#define MAX_THREADS 4
#define CORES 2

/* Times of the simulation begin here, as those of a machine that has run for a while. */
#define START_NS (1000 * NSEC_PER_SEC)

struct job {
    struct in_flight_call call;
    int64_t begun_ns, ends_ns;
};

struct service {
    struct in_flight in_flight;
    unsigned threads;
    int64_t takes_ns;
    int64_t now_ns, free_ns[MAX_THREADS];
    struct job jobs[MOST];
    unsigned first, n; /* those in work, by their end */
    unsigned short seed[3];
};

struct seen {
    unsigned asked, answered, refused;
    int64_t longest_ns; /* of those answered, the last quarter of the time */
    int64_t slowest_ns; /* of all of them */
};

static void setup(struct service *s, unsigned threads, int64_t takes_ns)
{
    *s = (struct service){
        .threads = threads, .takes_ns = takes_ns, .now_ns = START_NS, .seed = {1, 2, 3}};
    in_flight_init(&s->in_flight, MOST, PATIENCE_NS, CORES);
}

static void finish_until(struct service *s, int64_t until_ns, int64_t watch_ns, struct seen *seen)
{
    while (s->n > 0 && s->jobs[s->first].ends_ns <= until_ns) {
        const struct job *job = &s->jobs[s->first];
        int64_t took_ns = job->ends_ns - job->begun_ns;

        in_flight_end(&s->in_flight, &job->call, took_ns, job->ends_ns);
        seen->answered++;
        if (job->ends_ns >= watch_ns && took_ns > seen->longest_ns)
            seen->longest_ns = took_ns;
        if (took_ns > seen->slowest_ns)
            seen->slowest_ns = took_ns;
        s->first = (s->first + 1) % MOST;
        s->n--;
    }
}

static void ask(struct service *s, struct seen *seen)
{
    struct job job = {.begun_ns = s->now_ns};
    unsigned soonest = 0;

    seen->asked++;
    if (!in_flight_begin(&s->in_flight, s->now_ns, &job.call)) {
        seen->refused++;
        return;
    }
    for (unsigned i = 1; i < s->threads; i++) {
        if (s->free_ns[i] < s->free_ns[soonest])
            soonest = i;
    }
    job.ends_ns = (s->free_ns[soonest] > s->now_ns ? s->free_ns[soonest] : s->now_ns) + s->takes_ns;
    s->free_ns[soonest] = job.ends_ns;
    s->jobs[(s->first + s->n++) % MOST] = job;
}

/* `load` of what the service can do, for so long. */
static struct seen run(struct service *s, double load, int64_t lasts_ns)
{
    struct seen seen = {0};
    double gap_ns = (double)s->takes_ns / s->threads / load;
    int64_t end_ns = s->now_ns + lasts_ns, watch_ns = end_ns - lasts_ns / 4;

    for (;;) {
        s->now_ns += (int64_t)(2 * erand48(s->seed) * gap_ns);
        if (s->now_ns > end_ns)
            break;
        finish_until(s, s->now_ns, watch_ns, &seen);
        ask(s, &seen);
    }
    s->now_ns = end_ns;
    finish_until(s, end_ns, watch_ns, &seen);
    return seen;
}

static unsigned can_do(const struct service *s, int64_t lasts_ns)
{
    return (unsigned)(lasts_ns / s->takes_ns) * s->threads;
}

static struct service service;

static int teardown(void **state UNUSED)
{
    in_flight_free(&service.in_flight);
    return 0;
}

static void nobody_is_refused_while_all_can_be_done(void **state UNUSED)
{
    static const struct {
        unsigned threads;
        int64_t takes_ns;
    } services[] = {{1, MS / 5}, {2, 2 * MS}, {4, 20 * MS}};

    for (size_t i = 0; i < ARRAY_SIZE(services); i++) {
        setup(&service, services[i].threads, services[i].takes_ns);
        assert_int_equal(run(&service, 0.1, 10 * NSEC_PER_SEC).refused, 0);
        assert_int_equal(run(&service, 0.6, 30 * NSEC_PER_SEC).refused, 0);
        in_flight_free(&service.in_flight);
    }
    setup(&service, 1, MS);
}

/* Whatever comes, what is let in is nearly what can be done, and waits no longer than it may. */
static void answers_stay_quick_however_much_comes(void **state UNUSED)
{
    static const double loads[] = {1.5, 3, 10, 100};
    static const int64_t takes_ns[] = {MS / 2, 5 * MS, 20 * MS};

    for (size_t k = 0; k < ARRAY_SIZE(takes_ns); k++) {
        for (size_t i = 0; i < ARRAY_SIZE(loads); i++) {
            int64_t lasts_ns = 20 * NSEC_PER_SEC;
            int64_t may_ns = 4 * takes_ns[k] > PATIENCE_NS ? 4 * takes_ns[k] : PATIENCE_NS;
            struct seen seen;

            setup(&service, 2, takes_ns[k]);
            (void)run(&service, 0.1, 10 * NSEC_PER_SEC);
            seen = run(&service, loads[i], lasts_ns);
            assert_true(seen.answered > can_do(&service, lasts_ns) * 9 / 10);
            assert_true(seen.longest_ns < 2 * may_ns);
            assert_int_equal(in_flight_refused(&service.in_flight), seen.refused);
            in_flight_free(&service.in_flight);
        }
    }
    setup(&service, 1, MS);
}

/* Nobody is refused by a limit that has never been met, and yet all wait: so many ask, and each
 * again as soon as it is answered. */
static void a_queue_of_those_who_ask_again_is_cut(void **state UNUSED)
{
    struct seen seen = {0};

    setup(&service, 1, MS / 2);
    (void)run(&service, 0.1, 5 * NSEC_PER_SEC);
    for (int i = 0; i < 300; i++)
        ask(&service, &seen);
    assert_int_equal(seen.refused, 0);
    while (seen.refused == 0 && seen.answered < 20000) {
        unsigned answered = seen.answered;

        service.now_ns += service.takes_ns;
        finish_until(&service, service.now_ns, INT64_MAX, &seen);
        for (; answered < seen.answered; answered++)
            ask(&service, &seen);
    }
    assert_true(seen.refused > 0);
    assert_true(service.in_flight.limit * (double)service.takes_ns < 2.0 * PATIENCE_NS);
}

/* What comes at once and no more waits, and is answered. */
static void bursts_are_let_in(void **state UNUSED)
{
    struct seen seen = {0};

    setup(&service, 2, 2 * MS);
    (void)run(&service, 0.1, 10 * NSEC_PER_SEC);
    for (int burst = 0; burst < 20; burst++) {
        for (int i = 0; i < 64; i++)
            ask(&service, &seen);
        assert_int_equal(run(&service, 0.1, NSEC_PER_SEC).refused, 0);
    }
    assert_int_equal(seen.refused, 0);
}

/* As many as ask again and again, and a disk that holds all of them up for some time at the very
 * beginning, when nobody has seen yet how much can be answered. */
static void a_slow_moment_refuses_nobody(void **state UNUSED)
{
    struct in_flight_call calls[64];
    int64_t now_ns, took_ns = ARRAY_SIZE(calls) * MS;

    setup(&service, 1, MS);
    (void)run(&service, 0.1, 5 * NSEC_PER_SEC);
    now_ns = service.now_ns + 100 * MS;
    for (size_t i = 0; i < ARRAY_SIZE(calls); i++)
        assert_true(in_flight_begin(&service.in_flight, now_ns + (int64_t)i * MS, &calls[i]));
    now_ns += took_ns;
    assert_true(took_ns > PATIENCE_NS);
    for (size_t i = 0; i < 450; i++, now_ns += MS) {
        struct in_flight_call *call = &calls[i % ARRAY_SIZE(calls)];

        in_flight_end(&service.in_flight, call, took_ns, now_ns);
        assert_true(in_flight_begin(&service.in_flight, now_ns, call));
    }
}

/* How many are let in that come at once. */
static unsigned burst(struct service *s)
{
    struct seen seen = {0};

    while (seen.refused == 0)
        ask(s, &seen);
    (void)run(s, 0.1, 10 * NSEC_PER_SEC);
    return seen.asked - 1;
}

static void all_is_as_before_when_it_is_over(void **state UNUSED)
{
    unsigned before;

    setup(&service, 2, 10 * MS);
    (void)run(&service, 0.1, 10 * NSEC_PER_SEC);
    before = burst(&service);
    assert_true(before > 64);
    assert_true(run(&service, 50, 20 * NSEC_PER_SEC).refused > 0);
    (void)run(&service, 0.1, 2 * NSEC_PER_SEC);
    assert_int_equal(run(&service, 0.5, 10 * NSEC_PER_SEC).refused, 0);
    (void)run(&service, 0.1, 60 * NSEC_PER_SEC);
    assert_in_range(burst(&service), before * 9 / 10, before * 11 / 10);
}

/* A hundred times too much from one moment to the next: what is let in before anybody can know it
 * is answered soon, and nothing of it is left two seconds after the end. */
static void a_flood_without_warning_is_over_soon(void **state UNUSED)
{
    static const int64_t takes_ns[] = {5 * MS, 12 * MS, 40 * MS};

    for (size_t i = 0; i < ARRAY_SIZE(takes_ns); i++) {
        int64_t lasts_ns = 8 * NSEC_PER_SEC,
                may_ns = takes_ns[i] > 10 * MS ? 4 * takes_ns[i] : PATIENCE_NS;
        struct seen seen;

        setup(&service, 1, takes_ns[i]);
        (void)run(&service, 0.1, 10 * NSEC_PER_SEC);
        seen = run(&service, 100, lasts_ns);
        assert_true(seen.answered > can_do(&service, lasts_ns) * 9 / 10);
        assert_true(seen.longest_ns < 2 * may_ns);
        (void)run(&service, 0.1, 2 * NSEC_PER_SEC);
        assert_true(run(&service, 0.1, 10 * NSEC_PER_SEC).slowest_ns <= 3 * takes_ns[i]);
        in_flight_free(&service.in_flight);
    }
    setup(&service, 1, MS);
}

/* From its first moment on: what can be done is known since the one before. */
static void the_next_flood_delays_nobody(void **state UNUSED)
{
    static const double loads[] = {1, 2, 10, 100};
    static const unsigned threads[] = {1, 2, 4};
    int64_t takes_ns = 20 * MS, lasts_ns = 10 * NSEC_PER_SEC;

    for (size_t k = 0; k < ARRAY_SIZE(threads); k++) {
        setup(&service, threads[k], takes_ns);
        (void)run(&service, 0.1, 10 * NSEC_PER_SEC);
        (void)run(&service, 50, lasts_ns);
        for (size_t i = 0; i < ARRAY_SIZE(loads); i++) {
            struct seen seen;

            (void)run(&service, 0.1, 10 * NSEC_PER_SEC);
            seen = run(&service, loads[i], lasts_ns);
            assert_true(seen.slowest_ns <= 5 * takes_ns);
            assert_true(seen.answered > can_do(&service, lasts_ns) * 85 / 100);
        }
        in_flight_free(&service.in_flight);
    }
    setup(&service, 1, MS);
}

/* Who begins in a flood has never seen an answer that did not wait. */
static void learns_in_a_flood_how_long_an_answer_takes(void **state UNUSED)
{
    struct seen seen;

    setup(&service, 2, 10 * MS);
    (void)run(&service, 20, 30 * NSEC_PER_SEC);
    seen = run(&service, 20, 8 * NSEC_PER_SEC);
    assert_true(seen.longest_ns < 2 * PATIENCE_NS);
    assert_true(seen.answered > can_do(&service, 8 * NSEC_PER_SEC) * 9 / 10);
}

/* Answers that come to take longer for good are no reason to refuse for good. */
static void learns_that_answers_take_longer_now(void **state UNUSED)
{
    setup(&service, 4, 5 * MS);
    (void)run(&service, 0.3, 10 * NSEC_PER_SEC);
    service.takes_ns = 200 * MS;
    (void)run(&service, 0.6, 60 * NSEC_PER_SEC);
    assert_int_equal(run(&service, 0.6, 60 * NSEC_PER_SEC).refused, 0);
}

/* After a stop of some seconds all that has waited is answered late, and says nothing of now. */
static void a_stop_that_is_over_refuses_nobody(void **state UNUSED)
{
    setup(&service, 2, 2 * MS);
    (void)run(&service, 0.3, 10 * NSEC_PER_SEC);
    service.free_ns[0] = service.free_ns[1] = service.now_ns + 3 * NSEC_PER_SEC;
    assert_int_equal(run(&service, 0.05, 30 * NSEC_PER_SEC).refused, 0);
}

/* A refusal of what costs next to nothing would cost as much. */
static void what_is_cheap_is_not_refused(void **state UNUSED)
{
    struct seen seen;

    setup(&service, 2, MS / 10);
    (void)run(&service, 0.1, 10 * NSEC_PER_SEC);
    seen = run(&service, 1.05, 2 * NSEC_PER_SEC);
    assert_int_equal(seen.refused, 0);
    assert_true(seen.slowest_ns > 2 * PATIENCE_NS);
    /* But for the bound. */
    seen = run(&service, 4, 2 * NSEC_PER_SEC);
    assert_true(seen.answered > can_do(&service, 2 * NSEC_PER_SEC) * 98 / 100);
    assert_true(service.n > MOST * 9 / 10);
}

/* Beyond the bound nobody waits, though no answer has said anything yet. */
static void no_more_than_the_bound_are_in_work(void **state UNUSED)
{
    struct in_flight *f = &service.in_flight;
    struct in_flight_call call;

    *f = (struct in_flight){0};
    in_flight_init(f, 3, PATIENCE_NS, CORES);
    for (unsigned i = 0; i < 3; i++)
        assert_true(in_flight_begin(f, START_NS, &call));
    assert_false(in_flight_begin(f, START_NS, &call));
    in_flight_end(f, &call, -1, START_NS);
    assert_true(in_flight_begin(f, START_NS, &call));
    assert_int_equal(in_flight_refused(f), 1);
}

int main(void)
{
#define CASE(fn) cmocka_unit_test_teardown(fn, teardown)
    const struct CMUnitTest tests[] = {
        CASE(nobody_is_refused_while_all_can_be_done),
        CASE(answers_stay_quick_however_much_comes),
        CASE(a_queue_of_those_who_ask_again_is_cut),
        CASE(bursts_are_let_in),
        CASE(a_slow_moment_refuses_nobody),
        CASE(all_is_as_before_when_it_is_over),
        CASE(a_flood_without_warning_is_over_soon),
        CASE(the_next_flood_delays_nobody),
        CASE(learns_in_a_flood_how_long_an_answer_takes),
        CASE(learns_that_answers_take_longer_now),
        CASE(a_stop_that_is_over_refuses_nobody),
        CASE(what_is_cheap_is_not_refused),
        CASE(no_more_than_the_bound_are_in_work),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
