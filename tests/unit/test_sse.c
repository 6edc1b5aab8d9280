/* lib/http/sse.c: the text of server-sent events. */
#include "http/sse.h"

#include <stdarg.h>
#include <stdint.h>
#include <stdlib.h>

#include <setjmp.h>

#include <cmocka.h>

static struct buf text;

static int set_up(void **state)
{
    (void)state;
    buf_init(&text, 1 << 16);
    return 0;
}

static int tear_down(void **state)
{
    (void)state;
    buf_free(&text);
    return 0;
}

static void assert_text(const char *expected)
{
    assert_false(text.failed);
    assert_int_equal(text.n, strlen(expected));
    assert_memory_equal(text.p, expected, text.n);
    text.n = 0;
}

static void writes_an_event(void **state)
{
    (void)state;
    sse_name(&text, STR("error"));
    sse_retry(&text, 7000);
    assert_true(sse_id(&text, STR("a-1 \xc3\xa4")));
    sse_begin_data(&text);
    buf_append_str(&text, STR("{}"));
    sse_end(&text);
    assert_text("event: error\nretry: 7000\nid: a-1 \xc3\xa4\ndata: {}\n\n");
    sse_comment(&text);
    assert_text(":\n\n");
}

static void leaves_out_an_id_that_breaks_the_format(void **state)
{
    static const struct str bad[] = {STR("a\nb"), STR("a\r"),   STR("\n"),
                                     STR("a\0b"), STR("a\xff"), STR("\xc3")};

    (void)state;
    for (size_t i = 0; i < ARRAY_SIZE(bad); i++) {
        assert_false(sse_id(&text, bad[i]));
        assert_int_equal(text.n, 0);
    }
}

static void cuts_data_into_lines(void **state)
{
    static const struct {
        struct str data;
        const char *expected;
    } cases[] = {
        {STR(""), "data: \n\n"},
        {STR("a"), "data: a\n\n"},
        {STR("a\nb"), "data: a\ndata: b\n\n"},
        {STR("a\r\nb\rc\n\nd"), "data: a\ndata: b\ndata: c\ndata: \ndata: d\n\n"},
        {STR("\n"), "data: \ndata: \n\n"},
        {STR("a\r"), "data: a\ndata: \n\n"},
        {STR("a\r\n"), "data: a\ndata: \n\n"},
        {STR(" a: b"), "data:  a: b\n\n"},
    };

    (void)state;
    for (size_t i = 0; i < ARRAY_SIZE(cases); i++) {
        sse_data(&text, cases[i].data);
        assert_text(cases[i].expected);
    }
}

static void replaces_what_is_not_utf8(void **state)
{
    (void)state;
    sse_data(&text, STR("\xe2\x82\xac\xff\xe2\x82\n\xf0\x9f\x98\x80\xc0\xaf"));
    assert_text("data: \xe2\x82\xac\xef\xbf\xbd\xef\xbf\xbd\xef\xbf\xbd\n"
                "data: \xf0\x9f\x98\x80\xef\xbf\xbd\xef\xbf\xbd\n\n");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(writes_an_event, set_up, tear_down),
        cmocka_unit_test_setup_teardown(leaves_out_an_id_that_breaks_the_format, set_up, tear_down),
        cmocka_unit_test_setup_teardown(cuts_data_into_lines, set_up, tear_down),
        cmocka_unit_test_setup_teardown(replaces_what_is_not_utf8, set_up, tear_down),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
