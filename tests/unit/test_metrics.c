/* lib/metrics: what is written is Prometheus' text format, and nothing in a label breaks out of it.
 */
#include "metrics/metrics.h"
#include "metrics/process.h"
#include "metrics/server.h"

#include <arpa/inet.h>
#include <errno.h>

#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
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

/* ---- the server ---- */

/* A TCP port that was free a moment ago. */
static int free_port(void)
{
    struct sockaddr_in name = {.sin_family = AF_INET, .sin_addr = {htonl(INADDR_LOOPBACK)}};
    socklen_t n = sizeof(name);
    int fd = socket(AF_INET, SOCK_STREAM, 0);

    assert_int_equal(bind(fd, (const struct sockaddr *)&name, n), 0);
    assert_int_equal(getsockname(fd, (struct sockaddr *)&name, &n), 0);
    close(fd);
    return ntohs(name.sin_port);
}

/* What a server answers to a GET of /metrics. */
static void get(const struct sockaddr *name, socklen_t n, char ret[4096])
{
    static const char request[] = "GET /metrics HTTP/1.1\r\nHost: x\r\n\r\n";
    int fd = socket(name->sa_family, SOCK_STREAM, 0);
    ssize_t got, sum = 0;

    assert_int_equal(connect(fd, name, n), 0);
    assert_int_equal(write(fd, request, strlen(request)), strlen(request));
    while ((got = read(fd, ret + sum, 4095 - (size_t)sum)) > 0)
        sum += got;
    ret[sum] = '\0';
    close(fd);
}

static void write_calls(void *user, struct buf *text)
{
    metrics_single(text, &calls, (uint64_t) * (int *)user);
}

static void it_serves_on_all_of_its_addresses(void **state UNUSED)
{
    struct sockaddr_in tcp = {.sin_family = AF_INET, .sin_addr = {htonl(INADDR_LOOPBACK)}};
    struct sockaddr_un file = {.sun_family = AF_UNIX};
    struct arena arena CLEANUP(arena_free) = {.max = 65536};
    struct metrics_server *server, *other;
    struct str addresses, error;
    int value = 42, port = free_port();
    const struct metrics_writer writer = {write_calls, &value};
    char answer[4096];
    struct stat st;

    snprintf(file.sun_path, sizeof(file.sun_path), "/tmp/test_metrics.%d.sock", (int)getpid());
    tcp.sin_port = htons((uint16_t)port);
    addresses = arena_printf(&arena, "unix:%s,127.0.0.1:%d", file.sun_path, port);
    assert_int_equal(metrics_server_start(addresses, &writer, 1, &arena, &server, &error), 0);
    assert_int_equal(stat(file.sun_path, &st), 0);
    assert_int_equal(st.st_mode & 0777, 0660);
    get((const struct sockaddr *)&file, sizeof(file), answer);
    assert_non_null(strstr(answer, "HTTP/1.1 200 OK\r\n"));
    assert_non_null(strstr(answer, "\r\n\r\n# HELP t_calls_total Calls.\n"));
    value = 43;
    get((const struct sockaddr *)&tcp, sizeof(tcp), answer);
    assert_non_null(strstr(answer, "\nt_calls_total 43\n"));
    assert_int_equal(metrics_server_start(addresses, &writer, 1, &arena, &other, &error),
                     -EADDRINUSE);
    assert_non_null(strstr(error.p, "another server listens here"));
    metrics_server_stop(server);
    /* It can be had again, the file that was left included. */
    assert_int_equal(metrics_server_start(addresses, &writer, 1, &arena, &server, &error), 0);
    metrics_server_stop(server);
    unlink(file.sun_path);
}

static void wrong_addresses_are_told(void **state UNUSED)
{
#define ANY "127.0.0.1:0,"
    static const char *const wrong[] = {
        "9101",
        "127.0.0.1",
        "127.0.0.1:port",
        "unix:",
        "unix:/no/such/x.sock",
        ANY ANY ANY ANY ANY ANY ANY ANY "127.0.0.1:0",
    };
    const struct metrics_writer writer = {write_calls, NULL};

    for (size_t i = 0; i < ARRAY_SIZE(wrong); i++) {
        struct arena arena CLEANUP(arena_free) = {.max = 65536};
        struct metrics_server *server;
        struct str error = STR_NULL;

        assert_true(metrics_server_start(str_of(wrong[i]), &writer, 1, &arena, &server, &error) <
                    0);
        assert_true(error.n > 0);
    }
    metrics_server_stop(NULL);
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
        cmocka_unit_test(it_serves_on_all_of_its_addresses),
        cmocka_unit_test(wrong_addresses_are_told),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
