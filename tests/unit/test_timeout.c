/* lib/http/timeout.c: Request-Timeout. */
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

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(reads_seconds),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
