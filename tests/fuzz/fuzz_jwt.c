/* Fuzz target of the JWT reader (libFuzzer). The first byte chooses the way in:
 *   'h'  the rest is the text of a header: encoded, then read
 *   'c'  the rest is the text of claims: encoded, then read
 *   'k'  the rest is a public JWK
 *   else the whole input is a token, given to a verifier that knows one key
 * Nobody has that key's private half, so no input may ever be accepted. */
#include "jwt/internal.h"

#include <jose/b64.h>
#include <stdlib.h>

#define MAX_TEXT (JWT_MAX_BYTES * 3 / 4)

/* The key of RFC 7515 appendix A.3. */
static const struct str public_key = STR("{\"kty\":\"EC\",\"crv\":\"P-256\",\"kid\":\"k\","
                                         "\"x\":\"f83OJ3D2xF1Bg8vub9tLe1gHMzV76e8Tus9uPHvRVEU\","
                                         "\"y\":\"x_FEzRu9m36HLN_tue659LNpXW6pCyStikYjKIWI5a0\"}");

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void check(bool holds)
{
    if (!holds)
        abort();
}

static struct jwt_verifier *the_verifier(void)
{
    static struct jwt_verifier *verifier;
    const struct jwt_verifier_options options = {
        .issuer = "stoa", .audience = "stoa", .cache_entries = 8};

    if (!verifier) {
        check(jwt_verifier_new(&options, &verifier) == 0);
        check(jwt_verifier_set_keys(verifier, &public_key, 1) == 0);
    }
    return verifier;
}

static struct str encode(struct str text, char buffer[JWT_MAX_BYTES])
{
    size_t n = jose_b64_enc_buf(text.n ? text.p : "", text.n, buffer, JWT_MAX_BYTES);

    check(n <= JWT_MAX_BYTES);
    check(text.n == 0 || jwt_base64url_is_canonical((struct str){buffer, n}));
    return (struct str){buffer, n};
}

static void read_header(struct str text)
{
    char buffer[JWT_MAX_BYTES], kid[JWT_MAX_KID_BYTES + 1];

    if (text.n <= MAX_TEXT && jwt_read_header(encode(text, buffer), kid) == 0)
        check(strlen(kid) > 0 && strlen(kid) <= JWT_MAX_KID_BYTES);
}

static void read_claims(struct str text)
{
    char buffer[JWT_MAX_BYTES];
    struct jwt_claims claims;
    json_t *json;

    if (text.n > MAX_TEXT || jwt_read_claims(encode(text, buffer), &json, &claims) < 0)
        return;
    check(jwt_claims_are_sane(&claims));
    json_decref(json);
}

static void read_key(struct str text)
{
    char kid[JWT_MAX_KID_BYTES + 1];
    json_t *jwk;

    if (jwt_key_parse_public(text, &jwk, kid) == 0)
        json_decref(jwk);
}

static void read_token(struct str token)
{
    struct jwt_claims claims;
    struct arena arena;

    arena_init(&arena, 0);
    check(jwt_verify(the_verifier(), token, 1700000000, &arena, &claims) != JWT_OK);
    arena_free(&arena);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct str input = {(const char *)data, size};

    if (str_starts(input, STR("h")))
        read_header(str_skip(input, 1));
    else if (str_starts(input, STR("c")))
        read_claims(str_skip(input, 1));
    else if (str_starts(input, STR("k")))
        read_key(str_skip(input, 1));
    else
        read_token(input);
    return 0;
}
