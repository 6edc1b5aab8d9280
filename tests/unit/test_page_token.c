/* Page tokens of chat's lists. */
#include "../../services/chat/page_token.h"

#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>

#include <cmocka.h>

static void what_is_written_is_read(void **state UNUSED)
{
    static const int64_t numbers[] = {1, 9, 255, 1234567890123, INT64_MAX};

    for (size_t n = 1; n <= PAGE_TOKEN_NUMBERS; n++) {
        for (size_t i = 0; i + n <= ARRAY_SIZE(numbers); i++) {
            int64_t read[PAGE_TOKEN_NUMBERS] = {0};
            char token[PAGE_TOKEN_SIZE];

            page_token_write(&numbers[i], n, token);
            assert_int_equal(strlen(token), PAGE_TOKEN_CHARS(n));
            assert_int_equal(page_token_read(str_of(token), read, n), 0);
            assert_memory_equal(read, &numbers[i], n * sizeof(read[0]));
        }
    }
}

/* A token of another list has more numbers, or fewer. */
static void the_count_of_numbers_counts(void **state UNUSED)
{
    static const int64_t numbers[PAGE_TOKEN_NUMBERS] = {1, 2, 3};
    int64_t read[PAGE_TOKEN_NUMBERS] = {7, 7, 7};
    char token[PAGE_TOKEN_SIZE];

    page_token_write(numbers, 2, token);
    assert_int_equal(page_token_read(str_of(token), read, 1), -EINVAL);
    assert_int_equal(page_token_read(str_of(token), read, 3), -EINVAL);
    token[PAGE_TOKEN_CHARS(2) - 1] = 'x';
    assert_int_equal(page_token_read(str_of(token), read, 2), -EINVAL);
    assert_int_equal(read[0], 7);
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
        assert_int_equal(page_token_read(str_of(tokens[i]), &id, 1), -EINVAL);
    assert_int_equal(page_token_read((struct str){"000000000000001\0", 16}, &id, 1), -EINVAL);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(what_is_written_is_read),
        cmocka_unit_test(the_count_of_numbers_counts),
        cmocka_unit_test(anything_else_is_refused),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
