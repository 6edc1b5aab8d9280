/* lib/trace: spans that wait, and the message that they become. Its way to a collector is
 * test_traces.py's. */
#include "trace/trace.h"

#include "opentelemetry/proto/collector/trace/v1/trace_service.pb-c.h"

#include <errno.h>
#include <pthread.h>
#include <stdio.h>

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>

#include <cmocka.h>

#define PARENT "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"

static struct trace_recorder *recorder;

static int setup(void **state)
{
    (void)state;
    return trace_recorder_new(&(struct trace_recorder_options){.service = "test", .one_in = 0},
                              &recorder);
}

static int teardown(void **state)
{
    (void)state;
    trace_recorder_free(recorder);
    return 0;
}

static struct trace_context begin(void)
{
    struct trace_context trace;

    assert_true(trace_begin(recorder, STR(PARENT), &trace));
    return trace;
}

static void record(const char *name)
{
    struct trace_context trace = begin();

    trace_record(
        recorder,
        &(struct trace_span){
            .trace = &trace, .kind = TRACE_RPC, .name = str_of(name), .begun_us = 5, .end_us = 7});
}

/* The spans of the next message. */
static size_t take(struct arena *arena, Opentelemetry__Proto__Trace__V1__Span ***ret)
{
    const trace_export_request *request;
    int n = trace_take(recorder, arena, &request);

    assert_true(n >= 0);
    *ret = n ? request->resource_spans[0]->scope_spans[0]->spans : NULL;
    if (n)
        assert_int_equal(request->resource_spans[0]->scope_spans[0]->n_spans, n);
    return (size_t)n;
}

static void comes_out_as_it_went_in(void **state)
{
    struct arena arena CLEANUP(arena_free) = {0};
    Opentelemetry__Proto__Trace__V1__Span **spans;
    static const uint8_t id[] = {0x0a, 0xf7, 0x65, 0x19, 0x16, 0xcd, 0x43, 0xdd,
                                 0x84, 0x48, 0xeb, 0x21, 0x1c, 0x80, 0x31, 0x9c};
    static const uint8_t parent[] = {0xb7, 0xad, 0x6b, 0x71, 0x69, 0x20, 0x33, 0x31};
    struct trace_context trace = begin();
    struct trace_statement statement = trace_statement_begin(&trace);

    (void)state;
    record("/a.B/C");
    trace_statement_end(recorder, &statement, "insert_it", "23505", true, 3);
    assert_int_equal(take(&arena, &spans), 2);
    assert_string_equal(spans[0]->name, "a.B/C");
    assert_int_equal(spans[0]->trace_id.len, 16);
    assert_memory_equal(spans[0]->trace_id.data, id, 16);
    assert_int_equal(spans[0]->parent_span_id.len, 8);
    assert_memory_equal(spans[0]->parent_span_id.data, parent, 8);
    assert_int_equal(spans[0]->start_time_unix_nano, 5000);
    assert_int_equal(spans[0]->end_time_unix_nano, 7000);
    assert_null(spans[0]->status);
    assert_string_equal(spans[0]->attributes[1]->value->string_value, "a.B");
    assert_string_equal(spans[1]->name, "insert_it");
    assert_int_equal(spans[1]->status->code, 2);
    assert_string_equal(spans[1]->attributes[2]->key, "db.operation.batch.size");
    assert_int_equal(spans[1]->attributes[2]->value->int_value, 3);
    assert_string_equal(spans[1]->attributes[3]->value->string_value, "23505");
    assert_true(spans[1]->end_time_unix_nano >= spans[1]->start_time_unix_nano);
    assert_int_equal(take(&arena, &spans), 0);
}

static void what_is_not_traced_is_not_recorded(void **state)
{
    struct arena arena CLEANUP(arena_free) = {0};
    Opentelemetry__Proto__Trace__V1__Span **spans;
    struct trace_statement statement = trace_statement_begin(NULL);
    struct trace_context trace;

    (void)state;
    assert_false(trace_begin(recorder, STR(""), &trace));
    assert_false(trace_begin(
        recorder, STR("00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-00"), &trace));
    trace_statement_end(recorder, &statement, "nothing", "", false, 1);
    trace_statement_end(NULL, &statement, "nothing", "", false, 1);
    assert_int_equal(take(&arena, &spans), 0);
}

static void chooses_by_the_id_one_in_so_many(void **state)
{
    struct trace_context trace = begin();
    unsigned chosen = 0;

    (void)state;
    for (unsigned i = 0; i < 1000; i++) {
        char digits[9];

        snprintf(digits, sizeof(digits), "%08x", i);
        memcpy(trace.id + TRACE_ID_SIZE - 8, digits, 8);
        assert_true(trace_is_chosen(&trace, 1));
        assert_false(trace_is_chosen(&trace, 0));
        chosen += trace_is_chosen(&trace, 10);
    }
    assert_int_equal(chosen, 100);
}

static void is_bounded(void **state)
{
    struct arena arena CLEANUP(arena_free) = {0};
    Opentelemetry__Proto__Trace__V1__Span **spans;
    struct trace_stats stats;
    char name[2 * TRACE_NAME_MAX] = "";
    size_t n;

    (void)state;
    memset(name, 'x', sizeof(name) - 1);
    record(name);
    for (unsigned i = 0; i < TRACE_WAITING + 9; i++)
        record("/a.B/C");
    trace_stats(recorder, &stats);
    assert_int_equal(stats.recorded, TRACE_WAITING);
    assert_int_equal(stats.dropped, 10);
    assert_int_equal(stats.waiting, TRACE_WAITING);
    /* The oldest are kept: those that wait for the end of a trace's other spans. */
    assert_int_equal(take(&arena, &spans), TRACE_BATCH);
    assert_int_equal(strlen(spans[0]->name), TRACE_NAME_MAX);
    for (n = TRACE_BATCH; take(&arena, &spans) == TRACE_BATCH; n += TRACE_BATCH)
        ;
    assert_int_equal(n, TRACE_WAITING);
}

static void counts_what_it_has_no_memory_for(void **state)
{
    struct arena small CLEANUP(arena_free) = {.max = 600};
    const trace_export_request *request;
    struct trace_stats stats;

    (void)state;
    record("/a.B/C");
    assert_int_equal(trace_take(recorder, &small, &request), -ENOMEM);
    trace_stats(recorder, &stats);
    assert_int_equal(stats.dropped, 1);
    assert_int_equal(stats.waiting, 0);
}

static void *record_many(void *unused)
{
    (void)unused;
    for (unsigned i = 0; i < 1000; i++)
        record("/a.B/C");
    return NULL;
}

static void threads_may_record_while_others_wait_and_take(void **state)
{
    pthread_t threads[4];
    struct trace_stats stats;
    size_t taken = 0;

    (void)state;
    for (size_t i = 0; i < ARRAY_SIZE(threads); i++)
        assert_int_equal(pthread_create(&threads[i], NULL, record_many, NULL), 0);
    while (taken < 4000) {
        struct arena arena CLEANUP(arena_free) = {0};
        Opentelemetry__Proto__Trace__V1__Span **spans;

        trace_wait(recorder, clock_monotonic_ns() + 10 * NSEC_PER_MSEC);
        taken += take(&arena, &spans);
    }
    for (size_t i = 0; i < ARRAY_SIZE(threads); i++)
        pthread_join(threads[i], NULL);
    trace_stats(recorder, &stats);
    assert_int_equal(stats.recorded, 4000);
    assert_int_equal(stats.dropped, 0);
    trace_wake(recorder); /* and the next wait ends at once */
    trace_wait(recorder, INT64_MAX);
}

#define TEST(f) cmocka_unit_test_setup_teardown(f, setup, teardown)

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(comes_out_as_it_went_in),          TEST(what_is_not_traced_is_not_recorded),
        TEST(chooses_by_the_id_one_in_so_many), TEST(is_bounded),
        TEST(counts_what_it_has_no_memory_for), TEST(threads_may_record_while_others_wait_and_take),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
