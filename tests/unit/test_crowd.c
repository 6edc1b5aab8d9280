/* services/chat/crowd.c and typists.c: who is online in a room, and who is typing. */
#include "../../services/chat/crowd.h"
#include "../../services/chat/typists.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>

#include <cmocka.h>

/* ---- crowds ---- */

static struct crowd crowd_of(const char *const *texts, size_t n, size_t names)
{
    struct crowd crowd = {.listed = true};

    for (size_t i = 0; i < n; i++)
        assert_int_equal(crowd_add(&crowd, str_of(texts[i])), 0);
    crowd_settle(&crowd, names);
    return crowd;
}

#define CROWD(names, ...)                        \
    crowd_of((const char *const[]){__VA_ARGS__}, \
             sizeof((const char *const[]){__VA_ARGS__}) / sizeof(char *), names)

static void instances_are_put_together(void **state)
{
    struct crowd crowd = CROWD(100, "3 7 5 9", "2 5 11");
    static const int64_t want[] = {5, 7, 9, 11};

    (void)state;
    assert_true(crowd.listed);
    assert_int_equal(crowd.online, 4); /* one is at both */
    assert_int_equal(crowd.n, 4);
    assert_memory_equal(crowd.ids, want, sizeof(want));
    assert_true(crowd_has(&crowd, 11));
    assert_false(crowd_has(&crowd, 6));
    crowd_free(&crowd);
    assert_int_equal(crowd.online, 0);
}

static void many_are_a_number(void **state)
{
    struct crowd crowd = CROWD(3, "2 1 2", "2 3 4");

    (void)state;
    assert_false(crowd.listed);
    assert_int_equal(crowd.online, 4);
    assert_int_equal(crowd.n, 0);
    crowd_free(&crowd);
    crowd = CROWD(100, "2 1 2", "5000"); /* one that names nobody */
    assert_false(crowd.listed);
    assert_int_equal(crowd.online, 5002);
    crowd_free(&crowd);
}

static void nobody_has_answered(void **state)
{
    struct crowd crowd = crowd_of(NULL, 0, 100);

    (void)state;
    assert_true(crowd.listed);
    assert_int_equal(crowd.online, 0);
    assert_false(crowd_has(&crowd, 1));
    crowd_free(&crowd);
}

static void what_is_no_crowd_is_nobody(void **state)
{
    struct crowd crowd = CROWD(100, "", "x", "-3 1 2 3", "0", " 1", "99999999999999999999 1");

    (void)state;
    assert_true(crowd.online <= 1);
    crowd_free(&crowd);
    crowd = CROWD(100, "2 1"); /* fewer than it says */
    assert_false(crowd.listed);
    assert_int_equal(crowd.online, 2);
    crowd_free(&crowd);
}

static void crowds_are_compared(void **state)
{
    struct crowd a = CROWD(100, "2 1 2"), b = CROWD(100, "1 2", "1 1"), c = CROWD(100, "2 1 3");
    struct crowd big = CROWD(100, "200"), bigger = CROWD(100, "201"), nobody = {.listed = true};

    (void)state;
    assert_true(crowd_equals(&a, &b));
    assert_false(crowd_equals(&a, &c));
    assert_false(crowd_equals(&a, &nobody));
    assert_true(crowd_equals(&big, &big));
    assert_false(crowd_equals(&big, &bigger));
    crowd_free(&a);
    crowd_free(&b);
    crowd_free(&c);
    crowd_free(&big);
    crowd_free(&bigger);
}

/* ---- typists ---- */

static bool type(struct typists *typists, const char *username, int64_t now)
{
    Stoa__Chat__V1__Author author;

    stoa__chat__v1__author__init(&author);
    author.username = (char *)username;
    return typists_add(typists, &author, now);
}

static void typing_is_over_by_itself(void **state)
{
    struct typists typists = {.n = 0};
    Stoa__Chat__V1__Author named[TYPISTS_NAMED];

    (void)state;
    assert_true(type(&typists, "ada", 0));
    assert_true(typists.changed);
    typists.changed = false;
    assert_true(type(&typists, "ada", TYPING_LASTS / 2)); /* still */
    assert_false(typists.changed);
    assert_true(type(&typists, "bob", TYPING_LASTS / 2));
    assert_true(type(&typists, "cleo", TYPING_LASTS));
    typists.changed = false;
    typists_drop(&typists, TYPING_LASTS);
    assert_int_equal(typists.n, 3);
    assert_false(typists.changed);
    typists_drop(&typists, TYPING_LASTS / 2 + TYPING_LASTS);
    assert_int_equal(typists.n, 1);
    assert_true(typists.changed);
    assert_int_equal(typists_named(&typists, named), 1);
    assert_string_equal(named[0].username, "cleo");
    typists_drop(&typists, 2 * TYPING_LASTS);
    assert_int_equal(typists.n, 0);
    assert_null(typists.list);
}

static void who_is_gone_does_not_type(void **state)
{
    struct typists typists = {.n = 0};

    (void)state;
    assert_true(type(&typists, "ada", 0));
    assert_true(type(&typists, "bob", 0));
    typists.changed = false;
    typists_remove(&typists, "cleo");
    assert_false(typists.changed);
    assert_int_equal(typists.n, 2);
    typists_remove(&typists, "ada");
    assert_true(typists.changed);
    assert_int_equal(typists.n, 1);
    typists_remove(&typists, "bob");
    assert_null(typists.list);
}

static void typists_are_bounded(void **state)
{
    struct typists typists = {.n = 0};
    Stoa__Chat__V1__Author named[TYPISTS_NAMED];
    char name[TYPISTS_USERNAME + 1];

    (void)state;
    for (int i = 0; i < 2 * MAX_TYPISTS; i++) {
        snprintf(name, sizeof(name), "user %d", i);
        assert_int_equal(type(&typists, name, 0), i < MAX_TYPISTS);
    }
    assert_int_equal(typists_named(&typists, named), TYPISTS_NAMED);
    typists_free(&typists);
    memset(name, 'x', sizeof(name) - 1);
    name[sizeof(name) - 1] = '\0';
    assert_false(type(&typists, name, 0));
    typists_free(&typists);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(instances_are_put_together), cmocka_unit_test(many_are_a_number),
        cmocka_unit_test(nobody_has_answered),        cmocka_unit_test(what_is_no_crowd_is_nobody),
        cmocka_unit_test(crowds_are_compared),        cmocka_unit_test(typing_is_over_by_itself),
        cmocka_unit_test(who_is_gone_does_not_type),  cmocka_unit_test(typists_are_bounded),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
