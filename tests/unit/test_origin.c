/* lib/http/origin.c: which web origins a pattern allows. */
#include "http/origin.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>

#include <cmocka.h>

static void patterns(void **state)
{
    static const char *const good[] = {
        "https://example.com",    "http://localhost:*",   "https://*.example.com:8443",
        "https://[2001:db8::1]",  "http://[::1]:*",       "app+x://a_b",
        "https://127.0.0.1:8080", "HTTPS://EXAMPLE.com:1"};
    static const char *const bad[] = {
        "",
        "*",
        "null",
        "example.com",
        "https://",
        "https:///",
        "https://example.com/",
        "https://example.com/path",
        "https://user@example.com",
        "https://*",
        "https://*.",
        "https://a.*.com",
        "https://*example.com",
        "https://example..com",
        "https://.example.com",
        "https://example.com.",
        "https://example.com:",
        "https://example.com:0x1",
        "https://example.com:123456",
        "https://[::1",
        "https://[::g]",
        "://example.com",
        "1https://example.com",
        "https:example.com",
        "https://exa mple.com",
        "https://example.com:80,https://b.com",
    };

    (void)state;
    for (size_t i = 0; i < ARRAY_SIZE(good); i++) {
        if (!origin_pattern_valid(str_of(good[i])))
            fail_msg("refused: %s", good[i]);
    }
    for (size_t i = 0; i < ARRAY_SIZE(bad); i++) {
        if (origin_pattern_valid(str_of(bad[i])))
            fail_msg("accepted: %s", bad[i]);
    }
}

static void matches(void **state)
{
    static const struct {
        const char *pattern, *origin;
        bool expected;
    } cases[] = {
        {"https://example.com", "https://example.com", true},
        {"https://example.com", "HTTPS://Example.COM", true},
        {"https://example.com", "http://example.com", false},
        {"https://example.com", "https://example.com:8443", false},
        {"https://example.com", "https://example.com.evil.net", false},
        {"https://example.com", "https://evil-example.com", false},
        {"https://example.com", "https://www.example.com", false},
        {"https://example.com", "https://example.com/", false},
        {"https://example.com", "null", false},
        {"https://example.com", "", false},
        {"https://example.com:8443", "https://example.com:8443", true},
        {"https://example.com:8443", "https://example.com", false},
        {"https://example.com:8443", "https://example.com:84430", false},
        {"https://*.example.com", "https://a.example.com", true},
        {"https://*.example.com", "https://a.b.example.com", true},
        {"https://*.example.com", "https://example.com", false},
        {"https://*.example.com", "https://.example.com", false},
        {"https://*.example.com", "https://evil.net/.example.com", false},
        {"https://*.example.com", "https://evil.net:1.example.com", false},
        {"https://*.example.com", "https://evil.net?.example.com", false},
        {"https://*.example.com", "https://a@b.example.com", false},
        {"https://*.example.com", "https://aexample.com", false},
        {"http://localhost:*", "http://localhost", true},
        {"http://localhost:*", "http://localhost:3000", true},
        {"http://localhost:*", "http://localhost:", false},
        {"http://localhost:*", "http://localhost:3000.evil.net", false},
        {"http://localhost:*", "http://localhost:80@evil.net", false},
        {"http://localhost:*", "https://localhost:3000", false},
        {"http://[::1]:*", "http://[::1]:8080", true},
        {"http://[::1]:*", "http://[::1]", true},
        {"http://[::1]:*", "http://[::2]:8080", false},
    };

    (void)state;
    for (size_t i = 0; i < ARRAY_SIZE(cases); i++) {
        if (origin_matches(str_of(cases[i].pattern), str_of(cases[i].origin)) != cases[i].expected)
            fail_msg("%s, %s: not %d", cases[i].pattern, cases[i].origin, cases[i].expected);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(patterns), cmocka_unit_test(matches)};

    return cmocka_run_group_tests(tests, NULL, NULL);
}
