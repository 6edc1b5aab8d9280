/* lib/http/timeout.c: Request-Timeout and grpc-timeout. */
#include "http/timeout.h"

#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>

#include <cmocka.h>

static void reads_seconds(void **state)
{
    static const struct {
        const char *header;
        uint32_t ms;
    } cases[] = {
        {"1", 1000},         {"30", 30000},
        {"1.5", 1500},       {"0.25", 250},
        {"0.0001", 1},       {"0.0010", 1},
        {"0.001000001", 2},  {"007", 7000},
        {"86400", 86400000}, {"999999999.999999999", 86400000},
    };
    static const char *const bad[] = {"",    "0",     "0.0",        "-1",           "+1",  "1.",
                                      ".5",  "1s",    " 1",         "1 ",           "1,5", "1e3",
                                      "0x1", "1.5.2", "1000000000", "1.0000000001", "inf", "1, 2"};
    uint32_t ms;

    (void)state;
    for (size_t i = 0; i < ARRAY_SIZE(cases); i++) {
        assert_int_equal(request_timeout_read(str_of(cases[i].header), &ms), 0);
        assert_int_equal(ms, cases[i].ms);
    }
    for (size_t i = 0; i < ARRAY_SIZE(bad); i++)
        assert_int_equal(request_timeout_read(str_of(bad[i]), &ms), -EINVAL);
}

static void prints_at_most_eight_digits(void **state)
{
    static const struct {
        uint64_t ms;
        const char *text;
    } cases[] = {
        {1, "1m"},
        {99999999, "99999999m"},
        {100000000, "100000S"},
        {UINT64_C(99999999999), "99999999S"},
        {UINT64_C(100000000000), "1666666M"},
        {UINT64_MAX, "99999999H"},
    };
    char text[GRPC_TIMEOUT_SIZE];

    (void)state;
    for (size_t i = 0; i < ARRAY_SIZE(cases); i++) {
        assert_int_equal(grpc_timeout_print(text, cases[i].ms), strlen(cases[i].text));
        assert_string_equal(text, cases[i].text);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(reads_seconds),
        cmocka_unit_test(prints_at_most_eight_digits),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
