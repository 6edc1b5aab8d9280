/* Tables of numbers that strangers choose stay tables, whatever the numbers are. */
#include "base/id_table.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>

#include <cmocka.h>

#define ITEMS 4096
#define LONGEST 64 /* a bucket; by chance it has a dozen */

struct item {
    uint64_t id;
    UT_hash_handle hh;
};

static struct item items[ITEMS];

static void fill(uint64_t (*next)(uint64_t before))
{
    struct item *table = NULL, *found;
    uint64_t id = 0;
    unsigned longest = 0;

    for (size_t i = 0; i < ITEMS; i++) {
        id = next(id);
        items[i] = (struct item){.id = id};
        HASH_ADD(hh, table, id, sizeof(items[i].id), &items[i]);
    }
    for (unsigned i = 0; i < table->hh.tbl->num_buckets; i++) {
        if (table->hh.tbl->buckets[i].count > longest)
            longest = table->hh.tbl->buckets[i].count;
    }
    assert_false(table->hh.tbl->noexpand);
    assert_in_range(longest, 1, LONGEST);
    for (size_t i = 0; i < ITEMS; i++) {
        HASH_FIND(hh, table, &items[i].id, sizeof(items[i].id), found);
        assert_ptr_equal(found, &items[i]);
    }
    HASH_CLEAR(hh, table);
}

static uint64_t one_more(uint64_t before)
{
    return before + 1;
}

static uint64_t far_apart(uint64_t before)
{
    return before + (UINT64_C(1) << 52);
}

/* What uthash's own function has the same low bits for. */
static uint64_t meets(uint64_t before)
{
    unsigned hash;

    do {
        before++;
        HASH_JEN(&before, sizeof(before), hash);
    } while (hash & 1023);
    return before;
}

static void no_choice_of_numbers_makes_it_slow(void **state UNUSED)
{
    fill(one_more);
    fill(far_apart);
    fill(meets);
}

static uint64_t any_number(void)
{
    return (uint64_t)mrand48() << 32 ^ (uint32_t)mrand48();
}

/* Numbers at equal distances, as clients count: 4 of them for each bucket. */
static unsigned longest_of_a_series(unsigned shift, const uint64_t secret[2])
{
    unsigned counts[ITEMS / 4] = {0}, longest = 0;

    for (uint64_t i = 1; i <= ITEMS; i++) {
        unsigned count = ++counts[id_table_mix(i << shift, secret) % (ITEMS / 4)];

        if (count > longest)
            longest = count;
    }
    return longest;
}

/* A process has one secret. Who meets a bad one meets it until the next start. */
static void no_secret_is_bad(void **state UNUSED)
{
    srand48(1);
    for (unsigned i = 0; i < 200; i++) {
        const uint64_t secret[2] = {any_number(), any_number()};

        for (unsigned shift = 0; shift <= 52; shift += 4)
            assert_in_range(longest_of_a_series(shift, secret), 1, 24);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(no_choice_of_numbers_makes_it_slow),
        cmocka_unit_test(no_secret_is_bad),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
