/* gateway/stream_count.c: how many streams a caller has, over processes that come and go. */
#include "../../gateway/stream_count.h"

#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>

#include <cmocka.h>

#define ENTRY_SIZE 24
#define HEADER_SIZE 16

static void *memory;

static struct stream_count *new_table(size_t entries)
{
    struct stream_count *table;

    free(memory);
    memory = malloc(HEADER_SIZE + entries * ENTRY_SIZE);
    assert_non_null(memory);
    table = stream_count_init(memory, HEADER_SIZE + entries * ENTRY_SIZE);
    assert_non_null(table);
    return table;
}

/* Callers of one home crowd together, so that entries move when one is dropped. */
static const unsigned char *key_of(uint64_t caller)
{
    static uint64_t key[2];

    key[0] = caller / 4;
    key[1] = caller;
    return (const unsigned char *)key;
}

static int enter(struct stream_count *table, uint64_t caller, uint32_t process, uint32_t most)
{
    return stream_count_enter(table, key_of(caller), process, most);
}

static void leave(struct stream_count *table, uint64_t caller, uint32_t process)
{
    stream_count_leave(table, key_of(caller), process);
}

static void limit_of_a_caller(void **state)
{
    struct stream_count *table = new_table(100);

    (void)state;
    for (int i = 0; i < 3; i++)
        assert_int_equal(enter(table, 1, 10, 3), 0);
    assert_int_equal(enter(table, 1, 10, 3), -EBUSY);
    assert_int_equal(enter(table, 2, 10, 3), 0);
    leave(table, 1, 10);
    assert_int_equal(enter(table, 1, 10, 3), 0);
    assert_int_equal(enter(table, 1, 10, 3), -EBUSY);
    /* A lower limit holds for what comes. */
    leave(table, 1, 10);
    assert_int_equal(enter(table, 1, 10, 1), -EBUSY);
}

static void processes_share_a_limit(void **state)
{
    struct stream_count *table = new_table(100);

    (void)state;
    assert_int_equal(enter(table, 1, 10, 3), 0);
    assert_int_equal(enter(table, 1, 11, 3), 0);
    assert_int_equal(enter(table, 1, 12, 3), 0);
    assert_int_equal(enter(table, 1, 10, 3), -EBUSY);
    assert_int_equal(enter(table, 1, 13, 3), -EBUSY);
    leave(table, 1, 11);
    assert_int_equal(enter(table, 1, 13, 3), 0);
}

static bool is_10(uint32_t process)
{
    return process == 10;
}

static void a_process_dies(void **state)
{
    struct stream_count *table = new_table(64);

    (void)state;
    for (uint64_t caller = 0; caller < 20; caller++) {
        assert_int_equal(enter(table, caller, 10, 2), 0);
        assert_int_equal(enter(table, caller, 11, 2), 0);
    }
    stream_count_sweep(table, is_10);
    for (uint64_t caller = 0; caller < 20; caller++) {
        assert_int_equal(enter(table, caller, 12, 2), 0);
        assert_int_equal(enter(table, caller, 12, 2), -EBUSY);
        leave(table, caller, 12);
        leave(table, caller, 11);
    }
    /* Empty: all of it can be used again. */
    for (uint64_t caller = 100; caller < 150; caller++)
        assert_int_equal(enter(table, caller, 12, 1), 0);
}

static void full(void **state)
{
    struct stream_count *table = new_table(64);
    uint64_t callers = 0;

    (void)state;
    while (enter(table, callers, 10, 2) == 0)
        callers++;
    assert_in_range(callers, 48, 63);
    assert_int_equal(enter(table, callers, 10, 2), -ENOSPC);
    assert_int_equal(enter(table, 0, 10, 2), 0); /* one that has a place */
    assert_int_equal(enter(table, 0, 10, 2), -EBUSY);
    leave(table, 1, 10);
    assert_int_equal(enter(table, callers, 10, 2), 0);
    assert_null(stream_count_init(memory, ENTRY_SIZE));
}

/* Against a plain array, with callers that come and go at random. */
static void as_counted_by_hand(void **state)
{
    enum { CALLERS = 40, PROCESSES = 3, MOST = 4 };
    struct stream_count *table = new_table(200);
    uint32_t held[CALLERS][PROCESSES] = {0};

    (void)state;
    srand(1);
    for (int i = 0; i < 100000; i++) {
        uint32_t caller = (uint32_t)rand() % CALLERS, process = (uint32_t)rand() % PROCESSES;
        uint32_t all = held[caller][0] + held[caller][1] + held[caller][2];

        if (rand() % 2) {
            assert_int_equal(enter(table, caller, process, MOST), all < MOST ? 0 : -EBUSY);
            held[caller][process] += all < MOST;
        } else if (held[caller][process]) {
            leave(table, caller, process);
            held[caller][process]--;
        }
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
        cmocka_unit_test(limit_of_a_caller),  cmocka_unit_test(processes_share_a_limit),
        cmocka_unit_test(a_process_dies),     cmocka_unit_test(full),
        cmocka_unit_test(as_counted_by_hand),
    };

    return cmocka_run_group_tests(tests, NULL, free_memory);
}
