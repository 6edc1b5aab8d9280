/* lib/base/utf8.c. */
#include "base/utf8.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <unistr.h>

#include <cmocka.h>

#define BYTES(literal) ((struct str){literal, sizeof(literal) - 1})

static const struct {
    struct str s;
    bool valid;
} cases[] = {
    {BYTES(""), true},
    {BYTES("plain text that is longer than eight bytes"), true},
    {BYTES("NUL\0is UTF-8"), true},
    {BYTES("\xc3\xa9"), true},
    {BYTES("12345678\xe2\x82\xac tail 12345678\xf0\x9f\x98\x80"), true},
    {BYTES("\xed\x9f\xbf\xee\x80\x80\xf4\x8f\xbf\xbf"), true},
    {BYTES("\x80"), false},
    {BYTES("1234567\x80"), false},
    {BYTES("\xc0\x80"), false},         /* overlong */
    {BYTES("\xc1\xbf"), false},         /* overlong */
    {BYTES("\xe0\x9f\xbf"), false},     /* overlong */
    {BYTES("\xf0\x8f\xbf\xbf"), false}, /* overlong */
    {BYTES("\xed\xa0\x80"), false},     /* surrogate */
    {BYTES("\xf4\x90\x80\x80"), false}, /* above U+10FFFF */
    {BYTES("\xf5\x80\x80\x80"), false},
    {BYTES("\xff"), false},
    {BYTES("\xc3"), false},
    {BYTES("\xe2\x82"), false},
    {BYTES("\xf0\x9f\x98"), false},
    {BYTES("\xe2\x82g"), false},
};

static void whole_texts(void **state)
{
    (void)state;
    for (size_t i = 0; i < ARRAY_SIZE(cases); i++) {
        char padded[128];

        assert_int_equal(utf8_valid(cases[i].s), cases[i].valid);
        /* At every position relative to the eight bytes that are looked at in one step. */
        for (size_t shift = 0; shift < 20; shift++) {
            struct str s = {padded, shift + cases[i].s.n};

            memset(padded, 'x', sizeof(padded));
            memcpy(padded + shift, cases[i].s.p, cases[i].s.n);
            assert_int_equal(utf8_valid(s), cases[i].valid);
            assert_int_equal(utf8_valid_without_nul(s), cases[i].valid && !memchr(s.p, 0, s.n));
        }
    }
}

static bool valid_in_two(struct str s, size_t first)
{
    unsigned char at = 0;

    return utf8_check(&at, (struct str){s.p, first}) && utf8_check(&at, str_skip(s, first)) &&
           at == 0;
}

static void pieces(void **state)
{
    (void)state;
    for (size_t i = 0; i < ARRAY_SIZE(cases); i++) {
        struct str s = cases[i].s;
        unsigned char at = 0;
        bool valid = true;

        for (size_t cut = 0; cut <= s.n; cut++)
            assert_int_equal(valid_in_two(s, cut), cases[i].valid);
        for (size_t b = 0; b < s.n && valid; b++)
            valid = utf8_check(&at, (struct str){s.p + b, 1});
        assert_int_equal(valid && at == 0, cases[i].valid);
    }
}

/* Bytes on both sides of every bound in RFC 3629's table, four of them in every order: what is
 * valid, where the first character ends, and which byte is the first that cannot be. */
static const unsigned char bounds[] = {0x00, 0x41, 0x7f, 0x80, 0x8f, 0x90, 0x9f, 0xa0, 0xbf,
                                       0xc0, 0xc1, 0xc2, 0xdf, 0xe0, 0xe1, 0xec, 0xed, 0xee,
                                       0xef, 0xf0, 0xf1, 0xf3, 0xf4, 0xf5, 0xff};

/* Whether a character, or none, makes valid text of it. */
static bool can_become_valid(const unsigned char *bytes, size_t n)
{
    static const unsigned char first[] = {0x80, 0xa0};
    unsigned char text[8];

    memcpy(text, bytes, n);
    for (size_t i = 0; i < ARRAY_SIZE(first); i++) {
        memset(text + n, 0x80, 3);
        text[n] = first[i];
        for (size_t more = 0; more <= 3; more++) {
            if (!u8_check(text, n + more))
                return true;
        }
    }
    return false;
}

static void assert_as_libunistring(const unsigned char *bytes, size_t n)
{
    struct str s = {(const char *)bytes, n};
    ucs4_t unused;
    int length = u8_mbtoucr(&unused, bytes, n);
    unsigned char at = 0;
    bool good = true;

    assert_int_equal(utf8_valid(s), u8_check(bytes, n) == NULL);
    assert_int_equal(utf8_length(s.p, n), length > 0 ? length : 0);
    for (size_t i = 0; i < n && good; i++) {
        good = utf8_check(&at, (struct str){s.p + i, 1});
        assert_int_equal(good, can_become_valid(bytes, i + 1));
    }
    assert_int_equal(good && at == 0, utf8_valid(s));
}

static void as_libunistring(void **state)
{
    const size_t n = ARRAY_SIZE(bounds);

    (void)state;
    for (size_t i = 0; i < n * n * n * n; i++) {
        const unsigned char bytes[] = {bounds[i % n], bounds[i / n % n], bounds[i / n / n % n],
                                       bounds[i / n / n / n]};

        assert_as_libunistring(bytes, sizeof(bytes));
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(whole_texts),
        cmocka_unit_test(pieces),
        cmocka_unit_test(as_libunistring),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
