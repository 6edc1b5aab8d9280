/* lib/metrics: what is written is Prometheus' text format, and nothing in a label breaks out of it.
 */
#include "metrics/metrics.h"
#include "metrics/process.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>
#include <unistd.h>

#include <cmocka.h>

static const struct metrics_family calls = {"t", "calls_total", METRICS_COUNTER, "Calls."};
static const struct metrics_family times = {"t", "time_seconds", METRICS_HISTOGRAM, "Time."};

static void assert_text(struct buf *text, const char *expected)
{
    buf_append_char(text, '\0');
    assert_false(text->failed);
    assert_string_equal(text->p, expected);
    buf_free(text);
}

static void samples_follow_their_family(void **state UNUSED)
{
    struct buf text = {.max = 4096};

    metrics_begin(&text, &calls);
    metrics_sample(
        &text, &calls,
        METRICS_LABELS(METRICS_LABEL("rpc", STR("/a.B/C")), METRICS_LABEL("code", STR("OK"))), 7);
    metrics_sample(&text, &calls, METRICS_NO_LABELS, UINT64_MAX);
    metrics_sample_real(&text, &calls, METRICS_NO_LABELS, 0.25);
    assert_text(&text, "# HELP t_calls_total Calls.\n"
                       "# TYPE t_calls_total counter\n"
                       "t_calls_total{rpc=\"/a.B/C\",code=\"OK\"} 7\n"
                       "t_calls_total 18446744073709551615\n"
                       "t_calls_total 0.25\n");
}

static void labels_are_quoted(void **state UNUSED)
{
    struct buf text = {.max = 4096};

    metrics_sample(&text, &calls, METRICS_LABELS(METRICS_LABEL("x", STR("a\"b\\c\nd} 1\n"))), 1);
    assert_text(&text, "t_calls_total{x=\"a\\\"b\\\\c\\nd} 1\\n\"} 1\n");
}

static void a_value_is_in_the_first_bucket_that_holds_it(void **state UNUSED)
{
    static const uint64_t at[] = {1, 10, 100};
    static const struct metrics_bounds bounds = {at, 3, 1};

    assert_int_equal(metrics_bucket_of(&bounds, 0), 0);
    assert_int_equal(metrics_bucket_of(&bounds, 1), 0);
    assert_int_equal(metrics_bucket_of(&bounds, 2), 1);
    assert_int_equal(metrics_bucket_of(&bounds, 100), 2);
    assert_int_equal(metrics_bucket_of(&bounds, 101), 3);
    assert_int_equal(metrics_bucket_of(&bounds, UINT64_MAX), 3);
}

static void histograms_are_cumulative(void **state UNUSED)
{
    static const uint64_t at[] = {1000, 250000};
    static const struct metrics_bounds bounds = {at, 2, 1e-6};
    static const uint64_t counts[] = {2, 1, 3};
    struct buf text = {.max = 4096};

    metrics_sample_histogram(&text, &times, METRICS_LABELS(METRICS_LABEL("x", STR("y"))), &bounds,
                             counts, 1500000);
    metrics_sample_histogram(&text, &times, METRICS_NO_LABELS, &bounds, counts, 0);
    assert_text(&text, "t_time_seconds_bucket{x=\"y\",le=\"0.001\"} 2\n"
                       "t_time_seconds_bucket{x=\"y\",le=\"0.25\"} 3\n"
                       "t_time_seconds_bucket{x=\"y\",le=\"+Inf\"} 6\n"
                       "t_time_seconds_sum{x=\"y\"} 1.5\n"
                       "t_time_seconds_count{x=\"y\"} 6\n"
                       "t_time_seconds_bucket{le=\"0.001\"} 2\n"
                       "t_time_seconds_bucket{le=\"0.25\"} 3\n"
                       "t_time_seconds_bucket{le=\"+Inf\"} 6\n"
                       "t_time_seconds_sum 0\n"
                       "t_time_seconds_count 6\n");
}

static void durations_are_counted_in_microseconds(void **state UNUSED)
{
    static struct metrics_histogram histogram;

    assert_true(metrics_is_empty(&histogram, &metrics_durations));
    metrics_observe_ns(&histogram, 100 * NSEC_PER_USEC); /* the first bound */
    metrics_observe_ns(&histogram, -5);                  /* a clock that differs */
    metrics_observe_ns(&histogram, 3600 * NSEC_PER_SEC);
    assert_false(metrics_is_empty(&histogram, &metrics_durations));
    assert_int_equal(metrics_get(&histogram.buckets[0]), 2);
    assert_int_equal(metrics_get(&histogram.buckets[metrics_durations.n]), 1);
    assert_int_equal(metrics_get(&histogram.sum), 100 + 3600 * USEC_PER_SEC);
}

static void what_does_not_fit_shows(void **state UNUSED)
{
    struct buf text = {.max = 40};

    metrics_single(&text, &calls, 1);
    assert_true(text.failed);
    buf_free(&text);
}

static double value_of(const struct buf *text, const char *name)
{
    const char *at = strstr(text->p, name);

    assert_non_null(at);
    return strtod(at + strlen(name), NULL);
}

static void this_process_is_told_of(void **state UNUSED)
{
    struct buf own = {.max = 65536}, twice = {.max = 65536};
    const pid_t pids[] = {getpid(), getpid(), 0 /* none has this number */};

    metrics_write_process(&own);
    buf_append_char(&own, '\0');
    metrics_write_processes(&twice, pids, ARRAY_SIZE(pids));
    buf_append_char(&twice, '\0');
    assert_true(value_of(&own, "\nprocess_resident_memory_bytes ") > 100000);
    assert_true(value_of(&own, "\nprocess_threads ") == 1);
    assert_true(value_of(&own, "\nprocess_open_fds ") >= 3);
    assert_true(value_of(&own, "\nprocess_max_fds ") >= value_of(&own, "\nprocess_open_fds "));
    assert_true(value_of(&own, "\nprocess_start_time_seconds ") <=
                (double)clock_realtime_us() / USEC_PER_SEC + 1);
    assert_true(value_of(&own, "\nprocess_start_time_seconds ") > 1.5e9);
    assert_true(value_of(&twice, "\nprocess_threads ") == 2);
    buf_free(&own);
    buf_free(&twice);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(samples_follow_their_family),
        cmocka_unit_test(labels_are_quoted),
        cmocka_unit_test(a_value_is_in_the_first_bucket_that_holds_it),
        cmocka_unit_test(histograms_are_cumulative),
        cmocka_unit_test(durations_are_counted_in_microseconds),
        cmocka_unit_test(what_does_not_fit_shows),
        cmocka_unit_test(this_process_is_told_of),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
