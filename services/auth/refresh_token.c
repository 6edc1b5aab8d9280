#include "refresh_token.h"

#include <assert.h>
#include <errno.h>
#include <jose/b64.h>
#include <openssl/evp.h>
#include <openssl/hmac.h>
#include <sys/random.h>

#define PREFIX STR(REFRESH_TOKEN_PREFIX)

static_assert(sizeof(struct refresh_token) == 64, "a token is its bytes, in order");

static int random_bytes(uint8_t *to, size_t n)
{
    return getrandom(to, n, 0) == (ssize_t)n ? 0 : -EIO;
}

int refresh_token_new(const struct uuid *session, struct refresh_token *ret)
{
    int r = random_bytes(ret->family, sizeof(ret->family));

    ret->session = *session;
    return r < 0 ? r : random_bytes(ret->secret, sizeof(ret->secret));
}

int refresh_token_nonce(uint8_t ret[REFRESH_NONCE_BYTES])
{
    return random_bytes(ret, REFRESH_NONCE_BYTES);
}

int refresh_token_successor(const struct refresh_token *token,
                            const uint8_t nonce[REFRESH_NONCE_BYTES], struct refresh_token *ret)
{
    unsigned n = sizeof(ret->secret);

    *ret = *token;
    return HMAC(EVP_sha256(), nonce, REFRESH_NONCE_BYTES, token->secret, sizeof(token->secret),
                ret->secret, &n)
               ? 0
               : -ENOMEM;
}

int refresh_token_hashes(const struct refresh_token *token, uint8_t ret_family[REFRESH_HASH_BYTES],
                         uint8_t ret_secret[REFRESH_HASH_BYTES])
{
    const EVP_MD *sha256 = EVP_sha256();
    bool done =
        EVP_Digest(token->family, sizeof(token->family), ret_family, NULL, sha256, NULL) == 1 &&
        EVP_Digest(token->secret, sizeof(token->secret), ret_secret, NULL, sha256, NULL) == 1;

    return done ? 0 : -ENOMEM;
}

int refresh_token_print(const struct refresh_token *token, char ret[REFRESH_TOKEN_CHARS + 1])
{
    memcpy(ret, PREFIX.p, PREFIX.n);
    if (jose_b64_enc_buf(token, sizeof(*token), ret + PREFIX.n, REFRESH_TOKEN_CHARS - PREFIX.n) !=
        REFRESH_TOKEN_CHARS - PREFIX.n)
        return -ENOMEM;
    ret[REFRESH_TOKEN_CHARS] = '\0';
    return 0;
}

int refresh_token_parse(struct str text, struct refresh_token *ret)
{
    char again[REFRESH_TOKEN_CHARS + 1];
    struct str encoded = str_skip(text, PREFIX.n);

    if (text.n != REFRESH_TOKEN_CHARS || !str_starts(text, PREFIX) ||
        jose_b64_dec_buf(encoded.p, encoded.n, ret, sizeof(*ret)) != sizeof(*ret))
        return -EINVAL;
    /* The last character has bits to spare: the same bytes must not have several spellings. */
    return refresh_token_print(ret, again) == 0 && str_eq(text, str_of(again)) ? 0 : -EINVAL;
}
