/* Page tokens of chat's room lists. */
#include "../../services/chat/page_token.h"

#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>

#include <cmocka.h>

static void what_is_written_is_read(void **state UNUSED)
{
    static const int64_t ids[] = {1, 9, 255, 1234567890123, INT64_MAX};

    for (size_t i = 0; i < ARRAY_SIZE(ids); i++) {
        char token[PAGE_TOKEN_CHARS + 1];
        int64_t id = 0;

        page_token_write(ids[i], token);
        assert_int_equal(strlen(token), PAGE_TOKEN_CHARS);
        assert_int_equal(page_token_read(str_of(token), &id), 0);
        assert_int_equal(id, ids[i]);
    }
}

static void anything_else_is_refused(void **state UNUSED)
{
    static const char *const tokens[] = {
        "",
        "1",
        "0000000000000000",  /* no room has this id */
        "8000000000000000",  /* negative */
        "ffffffffffffffff",  /* negative */
        "000000000000000g",  /* not a digit */
        "000000000000000A",  /* never written so */
        "00000000000000001", /* too long */
        "-000000000000001",
        " 000000000000001",
        "\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff",
    };
    int64_t id = 0;

    for (size_t i = 0; i < ARRAY_SIZE(tokens); i++)
        assert_int_equal(page_token_read(str_of(tokens[i]), &id), -EINVAL);
    assert_int_equal(page_token_read((struct str){"000000000000001\0", 16}, &id), -EINVAL);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(what_is_written_is_read),
        cmocka_unit_test(anything_else_is_refused),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
