/* services/auth/common_password.c: what the list has, and how it is looked up. */
#include "../../services/auth/common_password.h"

#include <setjmp.h>
#include <stdarg.h>
#include <string.h>

#include <cmocka.h>

static void known_ones_are_found(void **state)
{
    static const char *const common[] = {"password", "password123", "12345678", "qwertyuiop",
                                         "PASSWORD", "Password1",   "1q2w3e4r"};

    (void)state;
    for (size_t i = 0; i < ARRAY_SIZE(common); i++)
        assert_true(password_is_common(str_of(common[i])));
}

static void others_are_not(void **state)
{
    static const char *const others[] = {"correct horse battery", "password 123", "passwörd", "",
                                         "kq7x-tvb2-mn4z"};
    char longest[256];

    (void)state;
    memset(longest, '1', sizeof(longest));
    for (size_t i = 0; i < ARRAY_SIZE(others); i++)
        assert_false(password_is_common(str_of(others[i])));
    assert_false(password_is_common((struct str){longest, sizeof(longest)}));
    /* The whole text counts, also behind a NUL. */
    assert_false(password_is_common((struct str){"password\0x", 10}));
}

/* Each entry is found, in either case: the order is that of the look-up. */
static void the_list_is_in_order(void **state)
{
    (void)state;
    assert_in_range(n_common_passwords, 10000, 30000);
    for (size_t i = 0; i < n_common_passwords; i++) {
        assert_true(strlen(common_passwords[i]) >= 8);
        assert_true(password_is_common(str_of(common_passwords[i])));
        if (i > 0)
            assert_true(strcmp(common_passwords[i - 1], common_passwords[i]) < 0);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(known_ones_are_found),
        cmocka_unit_test(others_are_not),
        cmocka_unit_test(the_list_is_in_order),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
