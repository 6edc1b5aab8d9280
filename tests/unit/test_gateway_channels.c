/* gateway/channels.c: who is in which channel, and up to where. */
#include "../../gateway/channels.h"

#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>

#include <cmocka.h>

#define MEMBERS 40
#define IDS 12
#define STEPS 200000

/* ---- a plain model of the same ---- */

struct expected {
    bool in, live;
    int64_t seq;
};

static struct expected expected[MEMBERS][IDS];
static struct member members[MEMBERS];

/* Ids that fall into the same slot of a small table, and zero. */
static uint64_t id_of(unsigned i)
{
    return (uint64_t)i << 32;
}

static unsigned count(unsigned id)
{
    unsigned n = 0;

    for (unsigned i = 0; i < MEMBERS; i++)
        n += expected[i][id].in;
    return n;
}

static void check_channel(const struct channels *channels, unsigned id)
{
    size_t n;
    const struct seat *seats = channels_seats(channels, id_of(id), &n);

    assert_int_equal(n, count(id));
    for (size_t i = 0; i < n; i++) {
        const struct expected *wanted = &expected[seats[i].member - members][id];

        assert_true(wanted->in);
        assert_int_equal(seats[i].live, wanted->live);
        assert_int_equal(seats[i].seq, wanted->seq);
        assert_ptr_equal(member_seat(seats[i].member, seats[i].place), &seats[i]);
    }
}

static void check_member(unsigned m)
{
    uint32_t n = 0;

    for (unsigned id = 0; id < IDS; id++)
        n += expected[m][id].in;
    assert_int_equal(members[m].n, n);
    for (uint32_t i = 0; i < n; i++) {
        assert_true(expected[m][member_channel(&members[m], i) >> 32].in);
        assert_ptr_equal(member_seat(&members[m], i)->member, &members[m]);
    }
}

static void step(struct channels *channels, unsigned m, unsigned id)
{
    struct expected *wanted = &expected[m][id];

    switch (rand() % 8) {
    case 0:
        channels_leave_all(channels, &members[m]);
        memset(expected[m], 0, sizeof(expected[m]));
        break;
    case 1:
    case 2:
        channels_leave(channels, &members[m], id_of(id));
        *wanted = (struct expected){0};
        break;
    default:
        *wanted = (struct expected){true, rand() % 2, rand()};
        assert_int_equal(
            channels_set(channels, &members[m], id_of(id), wanted->seq, wanted->live, IDS), 0);
        break;
    }
}

static void keeps_both_sides(void **state)
{
    struct channels channels = {0};

    (void)state;
    srand(1);
    memset(expected, 0, sizeof(expected));
    for (unsigned i = 0; i < STEPS; i++) {
        unsigned m = (unsigned)rand() % MEMBERS, id = (unsigned)rand() % IDS;

        step(&channels, m, id);
        check_channel(&channels, id);
        check_member(m);
    }
    for (unsigned m = 0; m < MEMBERS; m++)
        channels_leave_all(&channels, &members[m]);
    assert_null(channels.table);
    assert_int_equal(channels.n, 0);
}

static void limits_the_places_of_a_member(void **state)
{
    struct channels channels = {0};
    struct member member = {0};

    (void)state;
    for (uint64_t id = 0; id < 3; id++)
        assert_int_equal(channels_set(&channels, &member, id, 1, true, 3), 0);
    assert_int_equal(channels_set(&channels, &member, 3, 1, true, 3), -ENOSPC);
    assert_int_equal(channels_set(&channels, &member, 2, 7, true, 3), 0);
    assert_int_equal(channels.n, 3);
    channels_leave_all(&channels, &member);
    assert_null(member.places);
    assert_null(channels.table);
}

static void moves_a_member(void **state)
{
    struct channels from = {0}, to = {0};
    struct member one = {0}, other = {0};
    const struct seat *seats;
    size_t n;

    (void)state;
    for (uint64_t id = 0; id < 100; id++) {
        assert_int_equal(channels_set(&from, &one, id, (int64_t)id, true, 100), 0);
        assert_int_equal(channels_set(&from, &other, id, 5, true, 100), 0);
    }
    assert_int_equal(channels_move(&from, &to, &one), 0);
    assert_int_equal(one.n, 100);
    for (uint64_t id = 0; id < 100; id++) {
        seats = channels_seats(&to, id, &n);
        assert_int_equal(n, 1);
        assert_ptr_equal(seats[0].member, &one);
        assert_int_equal(seats[0].seq, id);
        assert_false(seats[0].live);
        seats = channels_seats(&from, id, &n);
        assert_int_equal(n, 1);
        assert_ptr_equal(seats[0].member, &other);
        assert_true(seats[0].live);
    }
    channels_leave_all(&from, &other);
    channels_leave_all(&to, &one);
    assert_null(from.table);
    assert_null(to.table);
    assert_int_equal(channels_move(&from, &to, &one), 0); /* nothing is moved as well */
    assert_null(one.places);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(keeps_both_sides),
        cmocka_unit_test(limits_the_places_of_a_member),
        cmocka_unit_test(moves_a_member),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
