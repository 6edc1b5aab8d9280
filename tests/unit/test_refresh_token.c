/* What a refresh token looks like, and what follows from it. */
#include "../../services/auth/refresh_token.h"

#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>

#include <cmocka.h>

static struct refresh_token new_token(void)
{
    struct refresh_token token;
    struct uuid session;

    assert_int_equal(uuid_new(&session), 0);
    assert_int_equal(refresh_token_new(&session, &token), 0);
    assert_memory_equal(&token.session, &session, sizeof(session));
    return token;
}

static void what_is_printed_is_read(void **state UNUSED)
{
    char text[REFRESH_TOKEN_CHARS + 1];

    for (int i = 0; i < 100; i++) {
        struct refresh_token token = new_token(), read;

        assert_int_equal(refresh_token_print(&token, text), 0);
        assert_int_equal(strlen(text), REFRESH_TOKEN_CHARS);
        assert_int_equal(refresh_token_parse(str_of(text), &read), 0);
        assert_memory_equal(&token, &read, sizeof(token));
    }
}

/* Every other text of one changed byte is refused or is another token: none has two spellings. */
static void a_token_has_one_spelling(void **state UNUSED)
{
    struct refresh_token token = new_token(), read;
    char text[REFRESH_TOKEN_CHARS + 1];
    int refused = 0;

    assert_int_equal(refresh_token_print(&token, text), 0);
    for (size_t i = 0; i < REFRESH_TOKEN_CHARS; i++) {
        char was = text[i];
        for (int c = 0; c < 256; c++) {
            text[i] = (char)c;
            if (refresh_token_parse((struct str){text, REFRESH_TOKEN_CHARS}, &read) < 0)
                refused++;
            else if (text[i] != was)
                assert_memory_not_equal(&token, &read, sizeof(token));
        }
        text[i] = was;
    }
    assert_true(refused > REFRESH_TOKEN_CHARS * 190);
}

static void other_texts_are_refused(void **state UNUSED)
{
    struct refresh_token token = new_token(), read;
    char text[REFRESH_TOKEN_CHARS + 3];

    assert_int_equal(refresh_token_print(&token, text), 0);
    for (size_t n = 0; n < REFRESH_TOKEN_CHARS; n++)
        assert_int_equal(refresh_token_parse((struct str){text, n}, &read), -EINVAL);
    memcpy(text + REFRESH_TOKEN_CHARS, "==", 2);
    for (size_t n = 1; n <= 2; n++)
        assert_int_equal(refresh_token_parse((struct str){text, REFRESH_TOKEN_CHARS + n}, &read),
                         -EINVAL);
    assert_int_equal(refresh_token_parse(STR_NULL, &read), -EINVAL);
}

static void successor_follows_from_token_and_nonce(void **state UNUSED)
{
    struct refresh_token token = new_token(), other = token, first, again, different;
    uint8_t nonce[REFRESH_NONCE_BYTES], other_nonce[REFRESH_NONCE_BYTES];

    assert_int_equal(refresh_token_nonce(nonce), 0);
    assert_int_equal(refresh_token_nonce(other_nonce), 0);
    assert_int_equal(refresh_token_successor(&token, nonce, &first), 0);
    assert_int_equal(refresh_token_successor(&token, nonce, &again), 0);
    assert_memory_equal(&first, &again, sizeof(first));
    assert_memory_equal(&first.session, &token.session, sizeof(token.session));
    assert_memory_equal(first.family, token.family, sizeof(token.family));
    assert_memory_not_equal(first.secret, token.secret, sizeof(token.secret));
    assert_int_equal(refresh_token_successor(&token, other_nonce, &different), 0);
    assert_memory_not_equal(first.secret, different.secret, sizeof(first.secret));
    other.secret[31] ^= 1;
    assert_int_equal(refresh_token_successor(&other, nonce, &different), 0);
    assert_memory_not_equal(first.secret, different.secret, sizeof(first.secret));
}

static void hashes_are_of_each_secret_alone(void **state UNUSED)
{
    /* SHA-256 of 16 and of 32 zeros. */
    static const uint8_t zeros16[] = {0x37, 0x47, 0x08, 0xff, 0xf7, 0x71, 0x9d, 0xd5};
    static const uint8_t zeros32[] = {0x66, 0x68, 0x7a, 0xad, 0xf8, 0x62, 0xbd, 0x77};
    struct refresh_token token = {.session = {{1}}};
    uint8_t family[REFRESH_HASH_BYTES], secret[REFRESH_HASH_BYTES];

    assert_int_equal(refresh_token_hashes(&token, family, secret), 0);
    assert_memory_equal(family, zeros16, sizeof(zeros16));
    assert_memory_equal(secret, zeros32, sizeof(zeros32));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(what_is_printed_is_read),
        cmocka_unit_test(a_token_has_one_spelling),
        cmocka_unit_test(other_texts_are_refused),
        cmocka_unit_test(successor_follows_from_token_and_nonce),
        cmocka_unit_test(hashes_are_of_each_secret_alone),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
