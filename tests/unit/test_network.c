/* lib/base/network.c: which addresses are in a list, and which lists are none. */
#include "base/network.h"

#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>

#include <cmocka.h>

static bool has(const char *list, const char *address)
{
    struct arena arena CLEANUP(arena_free) = {.max = 1 << 16};
    struct network_list networks;
    struct str wrong;

    assert_int_equal(network_list_parse(str_of(list), &arena, &networks, &wrong), 0);
    return network_list_has(&networks, str_of(address));
}

static void test_addresses(void **state UNUSED)
{
    assert_true(has("192.0.2.7", "192.0.2.7"));
    assert_true(has("192.0.2.7", "::ffff:192.0.2.7"));
    assert_false(has("192.0.2.7", "192.0.2.8"));
    assert_true(has("2001:db8::1", "2001:DB8:0::1"));
    assert_false(has("2001:db8::1", "2001:db8::2"));
    assert_true(has("192.0.2.7,2001:db8::1 , 198.51.100.1", "198.51.100.1"));
    assert_true(has("192.0.2.7,2001:db8::1 , 198.51.100.1", "2001:db8::1"));
}

static void test_networks(void **state UNUSED)
{
    assert_true(has("10.0.0.0/8", "10.255.255.255"));
    assert_false(has("10.0.0.0/8", "11.0.0.0"));
    assert_true(has("172.16.0.0/12", "172.31.0.1"));
    assert_false(has("172.16.0.0/12", "172.32.0.1"));
    assert_true(has("192.0.2.6/31", "192.0.2.7"));
    assert_false(has("192.0.2.6/31", "192.0.2.5"));
    assert_true(has("0.0.0.0/0", "203.0.113.9"));
    assert_false(has("0.0.0.0/0", "2001:db8::1"));
    assert_true(has("::/0", "203.0.113.9"));
    assert_true(has("::/0", "2001:db8::1"));
    assert_true(has("2001:db8::/33", "2001:db8:7fff::1"));
    assert_false(has("2001:db8::/33", "2001:db8:8000::1"));
}

static void test_nothing_and_no_address(void **state UNUSED)
{
    assert_false(has("", "127.0.0.1"));
    assert_false(has("  ", "127.0.0.1"));
    assert_false(has("::/0", ""));
    assert_false(has("::/0", "localhost"));
    assert_false(has("::/0", "127.0.0.1:80"));
}

static void test_refused(void **state UNUSED)
{
    static const char *const lists[][2] = {
        {"gateway", "gateway"},
        {"10.0.0.0/33", "10.0.0.0/33"},
        {"::/129", "::/129"},
        {"10.0.0.0/", "10.0.0.0/"},
        {"10.0.0.0/-1", "10.0.0.0/-1"},
        {"10.1.0.0/8", "10.1.0.0/8"},
        {"2001:db8::1/64", "2001:db8::1/64"},
        {"127.0.0.1,", ""},
        {",127.0.0.1", ""},
        {"127.0.0.1 127.0.0.2", "127.0.0.1 127.0.0.2"},
        {"127.0.0.1, 1.2.3", "1.2.3"},
    };

    for (size_t i = 0; i < ARRAY_SIZE(lists); i++) {
        struct arena arena CLEANUP(arena_free) = {.max = 1 << 16};
        struct network_list networks;
        struct str wrong = STR("not set");

        assert_int_equal(network_list_parse(str_of(lists[i][0]), &arena, &networks, &wrong),
                         -EINVAL);
        assert_true(str_eq(wrong, str_of(lists[i][1])));
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_addresses),
        cmocka_unit_test(test_networks),
        cmocka_unit_test(test_nothing_and_no_address),
        cmocka_unit_test(test_refused),
    };

    return cmocka_run_group_tests_name("lists of networks", tests, NULL, NULL);
}
