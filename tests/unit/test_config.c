/* lib/base/config: values, ranges, files, and what an error says. */
#include "base/config.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>
#include <unistd.h>

#include <cmocka.h>

struct settings {
    struct str name, password;
    int64_t port;
    bool on;
};

static const struct config_setting table[] = {
    {"T_NAME", CONFIG_STRING, offsetof(struct settings, name), NULL, 1, 10, false, "A name."},
    {"T_PASSWORD", CONFIG_STRING, offsetof(struct settings, password), "", 0, 0, true, "Secret."},
    {"T_PORT", CONFIG_INT, offsetof(struct settings, port), "80", 1, 65535, false, "A port."},
    {"T_ON", CONFIG_BOOL, offsetof(struct settings, on), "off", 0, 0, false, "A switch."},
};

struct fixture {
    struct arena arena;
    struct settings settings;
    struct str error;
    int result;
};

/* Reads the table with one variable changed; T_NAME is set unless it is that variable. */
static void read_with(struct fixture *f, const char *name, const char *value)
{
    static const char *const all[] = {"T_NAME", "T_PASSWORD",  "T_PORT",
                                      "T_ON",   "T_NAME_FILE", "T_PASSWORD_FILE"};

    for (size_t i = 0; i < ARRAY_SIZE(all); i++)
        unsetenv(all[i]);
    setenv("T_NAME", "x", 1);
    if (name && value)
        setenv(name, value, 1);
    else if (name)
        unsetenv(name);
    arena_init(&f->arena, 0);
    f->result = config_read(table, ARRAY_SIZE(table), &f->settings, &f->arena, &f->error);
}

static void assert_error(const char *name, const char *value, const char *expected)
{
    struct fixture f = {0};

    read_with(&f, name, value);
    assert_true(f.result < 0);
    assert_non_null(f.error.p);
    assert_non_null(strstr(f.error.p, expected));
    assert_null(strchr(f.error.p, '\n'));
    arena_free(&f.arena);
}

static void test_values_and_defaults(void **state)
{
    struct fixture f = {0};

    (void)state;
    read_with(&f, "T_ON", "true");
    assert_int_equal(f.result, 0);
    assert_string_equal(f.settings.name.p, "x");
    assert_int_equal(f.settings.password.n, 0);
    assert_int_equal(f.settings.port, 80);
    assert_true(f.settings.on);
    arena_free(&f.arena);
}

static void test_errors_name_setting_cause_and_cure(void **state)
{
    (void)state;
    assert_error("T_NAME", NULL, "T_NAME is not set: A name.");
    assert_error("T_NAME", "", "T_NAME");
    assert_error("T_NAME", "12345678901", "set 1 to 10");
    assert_error("T_PORT", "http", "T_PORT=http: set a whole number from 1 to 65535");
    assert_error("T_PORT", "0", "from 1 to 65535");
    assert_error("T_PORT", "65536", "from 1 to 65535");
    assert_error("T_PORT", "", "T_PORT");
    assert_error("T_ON", "maybe", "T_ON=maybe: set on or off");
    assert_error("T_PASSWORD_FILE", "/nonexistent/file", "T_PASSWORD_FILE: cannot read");
    assert_error("T_NAME_FILE", "/dev/null", "T_NAME and T_NAME_FILE are both set");
}

static void test_value_from_file(void **state)
{
    char path[] = "/tmp/test_config_XXXXXX";
    int fd = mkstemp(path);
    struct fixture f = {0};

    (void)state;
    assert_int_equal(write(fd, "s3cret\n", 7), 7);
    close(fd);
    read_with(&f, "T_PASSWORD_FILE", path);
    unlink(path);
    assert_int_equal(f.result, 0);
    assert_string_equal(f.settings.password.p, "s3cret");
    arena_free(&f.arena);
}

static void test_file_of_wrong_size(void **state)
{
    (void)state;
    assert_error("T_PASSWORD_FILE", "/dev/zero", "T_PASSWORD_FILE: cannot read");
    assert_error("T_PASSWORD_FILE", "/", "T_PASSWORD_FILE: cannot read");
}

static void test_help_lists_all_settings(void **state)
{
    char *text = NULL;
    size_t size = 0;
    FILE *to = open_memstream(&text, &size);

    (void)state;
    config_print_help(table, ARRAY_SIZE(table), to);
    fclose(to);
    for (size_t i = 0; i < ARRAY_SIZE(table); i++)
        assert_non_null(strstr(text, table[i].name));
    assert_non_null(strstr(text, "must be set"));
    free(text);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_values_and_defaults),
        cmocka_unit_test(test_errors_name_setting_cause_and_cure),
        cmocka_unit_test(test_value_from_file),
        cmocka_unit_test(test_file_of_wrong_size),
        cmocka_unit_test(test_help_lists_all_settings),
    };
    return cmocka_run_group_tests_name("config", tests, NULL, NULL);
}
