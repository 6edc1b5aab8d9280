/* lib/http/media.c: Content-Type and Accept. */
#include "http/media.h"

#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>

#include <cmocka.h>

static void test_content_types(void **state)
{
    static const struct {
        const char *header, *name, *charset;
    } cases[] = {
        {"application/json", "application/json", ""},
        {" Application/JSON \t", "Application/JSON", ""},
        {"application/json;charset=utf-8", "application/json", "utf-8"},
        {"application/json ; x=y; CHARSET=\"UTF-8\"", "application/json", "UTF-8"},
        {"application/json;charset=utf-8;charset=UTF-8", "application/json", "UTF-8"},
        {"application/json;", "application/json", ""},
        {"application/json; ; charset=latin1", "application/json", "latin1"},
        {"a/b;x=\"a,;\\\"charset=q\"", "a/b", ""},
        {"application/vnd.x+json", "application/vnd.x+json", ""},
    };
    static const char *const damaged[] = {
        "",
        " ",
        "json",
        "application/",
        "/json",
        "application/json, application/json",
        "application/json text",
        "application/json;charset",
        "application/json;charset=",
        "application/json;charset=\"utf-8",
        "application/json;charset=utf-8;charset=latin1",
        "application/json;charset = utf-8",
        "application\xff/json",
        "application/json;=x",
    };
    struct media_type type;

    (void)state;
    for (size_t i = 0; i < ARRAY_SIZE(cases); i++) {
        if (media_type_read(str_of(cases[i].header), &type))
            fail_msg("\"%s\" is refused", cases[i].header);
        assert_true(str_eq(type.name, str_of(cases[i].name)));
        assert_true(str_eq(type.charset, str_of(cases[i].charset)));
    }
    for (size_t i = 0; i < ARRAY_SIZE(damaged); i++) {
        if (media_type_read(str_of(damaged[i]), &type) != -EINVAL)
            fail_msg("\"%s\" is not refused", damaged[i]);
    }
}

static void test_accept(void **state)
{
    static const struct {
        const char *accept;
        unsigned quality; /* of application/json */
    } cases[] = {
        {"", 1000},
        {" ", 1000},
        {", ,", 1000},
        {"*/*", 1000},
        {"application/json", 1000},
        {"APPLICATION/Json", 1000},
        {"application/*", 1000},
        {"Application/*;q=0.3", 300},
        {"text/html", 0},
        {"text/*", 0},
        {"text/html, application/json;q=0.5", 500},
        {"text/html,*/*;q=0.8", 800},
        {"*/*;q=0.8,application/json;q=0.25", 250}, /* the most specific decides */
        {"application/json;q=0.25,*/*", 250},
        {"application/json;q=0,*/*", 0},
        {"application/*;q=0,*/*", 0},
        {"application/json;q=0", 0},
        {"application/json;q=0.000", 0},
        {"application/json;q=0.001", 1},
        {"application/json;q=1.000", 1000},
        {"application/json; charset=utf-8; q=0.5", 500},
        {"application/json;x=\"a,b;q=0\";q=0.7", 700},
        {"application/json ; Q=0.7 , text/html", 700},
        {"application/json;q=0.1, application/json;q=0.4", 400},
        {"application/jsonp", 0},
        {"application", 1000},          /* damaged, and nothing else */
        {"application, text/html", 0},  /* damaged, and something else */
        {"application/json;q=2", 1000}, /* damaged */
        {"application/json;q=0.5x", 1000},
        {"text/html;q=\"x, application/json", 1000},
        {"text/html, application/json extra", 0},
    };

    (void)state;
    for (size_t i = 0; i < ARRAY_SIZE(cases); i++) {
        unsigned got = media_accepts(str_of(cases[i].accept), STR("application/json"));

        if (got != cases[i].quality)
            fail_msg("\"%s\": %u, expected %u", cases[i].accept, got, cases[i].quality);
    }
    assert_int_equal(media_accepts(STR("text/*"), STR("text/event-stream")), 1000);
    assert_int_equal(media_accepts(STR_NULL, STR("text/event-stream")), 1000);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_content_types),
        cmocka_unit_test(test_accept),
    };

    return cmocka_run_group_tests_name("media types", tests, NULL, NULL);
}
