/* For tests of lib/jwt: keys in a temporary folder, and a forger that signs any header and payload
 * bytes with any key, straight by OpenSSL, so that what it makes owes nothing to the code under
 * test. */
#ifndef STOA_TESTS_JWT_FORGE_H
#define STOA_TESTS_JWT_FORGE_H

#include "base/arena.h"
#include "jwt/jwt.h"

#include <jose/b64.h>
#include <jose/openssl.h>
#include <openssl/ecdsa.h>
#include <openssl/evp.h>
#include <openssl/hmac.h>
#include <openssl/x509.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cmocka.h> /* needs setjmp.h, stdarg.h and stddef.h before it */

#define FORGE_NOW INT64_C(1700000000)

/* Two key pairs of one issuer, and a verifier that knows the first. */
struct forge {
    char folder[64];
    const char *path[2];
    struct jwt_signer *signer[2];
    EVP_PKEY *key[2];
    struct jwt_verifier *verifier;
    struct arena arena;
};

UNUSED static EVP_PKEY *forge_load_key(const char *path)
{
    json_t *jwk = json_load_file(path, 0, NULL);
    EVP_PKEY *key;

    assert_non_null(jwk);
    key = jose_openssl_jwk_to_EVP_PKEY(NULL, jwk);
    json_decref(jwk);
    assert_non_null(key);
    return key;
}

UNUSED static void forge_use_keys(struct forge *f, int first, int n)
{
    struct str jwks[2];

    for (int i = 0; i < n; i++)
        jwks[i] = jwt_signer_public_jwk(f->signer[first + i]);
    assert_int_equal(jwt_verifier_set_keys(f->verifier, jwks, (size_t)n), 0);
}

UNUSED static int forge_setup(void **state)
{
    struct forge *f = calloc(1, sizeof(*f));
    const struct jwt_verifier_options options = {
        .issuer = "stoa", .audience = "stoa", .leeway_s = 5};

    assert_non_null(f);
    arena_init(&f->arena, 0);
    snprintf(f->folder, sizeof(f->folder), "/tmp/test-jwt.XXXXXX");
    assert_non_null(mkdtemp(f->folder));
    for (int i = 0; i < 2; i++) {
        struct str path = arena_printf(&f->arena, "%s/key%d.jwk", f->folder, i);
        f->path[i] = path.p;
        assert_int_equal(jwt_key_create(f->path[i]), 0);
        assert_int_equal(jwt_signer_open(f->path[i], &f->signer[i]), 0);
        f->key[i] = forge_load_key(f->path[i]);
    }
    assert_int_equal(jwt_verifier_new(&options, &f->verifier), 0);
    forge_use_keys(f, 0, 1);
    *state = f;
    return 0;
}

UNUSED static int forge_teardown(void **state)
{
    struct forge *f = *state;

    for (int i = 0; i < 2; i++) {
        jwt_signer_free(f->signer[i]);
        EVP_PKEY_free(f->key[i]);
        unlink(f->path[i]);
    }
    rmdir(f->folder);
    jwt_verifier_free(f->verifier);
    arena_free(&f->arena);
    free(f);
    return 0;
}

UNUSED static struct str forge_encode(struct arena *arena, struct str bytes)
{
    size_t n = jose_b64_enc_buf(NULL, bytes.n, NULL, 0);
    char *text = arena_alloc(arena, n + 1);

    assert_non_null(text);
    jose_b64_enc_buf(bytes.n ? bytes.p : "", bytes.n, text, n);
    text[n] = '\0';
    return (struct str){text, n};
}

/* r and s of fixed width (RFC 7518 section 3.4) from OpenSSL's DER. */
UNUSED static struct str forge_ecdsa(struct arena *arena, EVP_PKEY *key, struct str input)
{
    uint8_t der[128];
    const uint8_t *at = der;
    uint8_t *raw = arena_alloc(arena, 64);
    size_t n = sizeof(der);
    EVP_MD_CTX *ctx = EVP_MD_CTX_new();
    ECDSA_SIG *sig;

    assert_int_equal(EVP_DigestSignInit(ctx, NULL, EVP_sha256(), NULL, key), 1);
    assert_int_equal(EVP_DigestSign(ctx, der, &n, (const uint8_t *)input.p, input.n), 1);
    EVP_MD_CTX_free(ctx);
    sig = d2i_ECDSA_SIG(NULL, &at, (long)n);
    assert_non_null(sig);
    BN_bn2binpad(ECDSA_SIG_get0_r(sig), raw, 32);
    BN_bn2binpad(ECDSA_SIG_get0_s(sig), raw + 32, 32);
    ECDSA_SIG_free(sig);
    return (struct str){(char *)raw, 64};
}

/* A token of any header and payload bytes, rightly signed with ES256. */
UNUSED static struct str forge_token_bytes(struct arena *arena, EVP_PKEY *key, struct str header,
                                           struct str payload)
{
    struct str input =
        arena_printf(arena, "%s.%s", forge_encode(arena, header).p, forge_encode(arena, payload).p);

    return arena_printf(arena, "%s.%s", input.p,
                        forge_encode(arena, forge_ecdsa(arena, key, input)).p);
}

UNUSED static struct str forge_token(struct forge *f, int key, const char *header,
                                     const char *payload)
{
    return forge_token_bytes(&f->arena, f->key[key], str_of(header), str_of(payload));
}

/* The header that our signer makes, with more members behind it (",\"x\":1") or "". */
UNUSED static const char *forge_header(struct forge *f, const char *more)
{
    return arena_printf(&f->arena, "{\"alg\":\"ES256\",\"kid\":\"%s\",\"typ\":\"JWT\"%s}",
                        jwt_signer_key_id(f->signer[0]).p, more)
        .p;
}

UNUSED static struct jwt_claims forge_claims(void)
{
    return (struct jwt_claims){.issuer = STR("stoa"),
                               .audience = STR("stoa"),
                               .subject = STR("42"),
                               .session = STR("0190c2f0-7e1a-7b6f-9d3e-1f2a3b4c5d6e"),
                               .id = STR("AAAAAAAAAAAAAAAAAAAAAA"),
                               .issued_at = FORGE_NOW,
                               .not_before = FORGE_NOW,
                               .expires_at = FORGE_NOW + 900};
}

#define FORGE_PAYLOAD                                                                \
    "{\"iss\":\"stoa\",\"aud\":\"stoa\",\"sub\":\"42\",\"sid\":\"s\",\"jti\":\"j\"," \
    "\"iat\":1700000000,\"nbf\":1700000000,\"exp\":1700000900}"

UNUSED static enum jwt_result forge_verify_at(struct forge *f, struct str token, int64_t now)
{
    struct jwt_claims claims;
    struct arena arena;
    enum jwt_result result;

    arena_init(&arena, 0);
    result = jwt_verify(f->verifier, token, now, &arena, &claims);
    arena_free(&arena);
    return result;
}

UNUSED static enum jwt_result forge_verify(struct forge *f, struct str token)
{
    return forge_verify_at(f, token, FORGE_NOW);
}

#endif
