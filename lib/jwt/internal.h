/* Private to lib/jwt: the strict reading of tokens, keys, and the cache of verified tokens. */
#ifndef STOA_JWT_INTERNAL_H
#define STOA_JWT_INTERNAL_H

#include "jwt/jwt.h"

#include <jansson.h>

#define JWT_MAX_KID_BYTES 128
#define JWT_MAX_CLAIM_BYTES 256
#define JWT_MAX_JWK_BYTES 4096
/* The longest life that a token may claim (exp - nbf): longer ones are a mistake or a forgery. */
#define JWT_MAX_LIFETIME_S (INT64_C(31) * 86400)

/* ---- token.c: what a token may look like, before any cryptography ---- */

struct jwt_parts {
    struct str header, payload, signature; /* base64url, parts of the token */
};

/* True when s is base64url without padding (RFC 7515 section 2) in the one canonical spelling. */
bool jwt_base64url_is_canonical(struct str s);

/* Splits a compact serialization. -EINVAL when the shape or the size is wrong. */
int jwt_split(struct str token, struct jwt_parts *ret) MUST_CHECK;

/* Reads the header and copies its kid, NUL-terminated. -EINVAL unless it is one that our signer
 * could have made. */
int jwt_read_header(struct str encoded, char ret_kid[JWT_MAX_KID_BYTES + 1]) MUST_CHECK;

/* Reads the claims; their strings are owned by *ret_json, which the caller frees with
 * json_decref(). -EINVAL. */
int jwt_read_claims(struct str encoded, json_t **ret_json, struct jwt_claims *ret) MUST_CHECK;

/* Whether the claims are complete and in range; signing asks the same as verifying. */
bool jwt_claims_are_sane(const struct jwt_claims *claims);

/* ---- key.c: JSON Web Keys (RFC 7517, RFC 7518 section 6.2) ---- */

/* Parses a public P-256 JWK into one with just kty, crv, x, y and alg; copies its kid. -EINVAL when
 * it is anything else: private, of another kind, not on the curve. */
int jwt_key_parse_public(struct str text, json_t **ret_jwk,
                         char ret_kid[JWT_MAX_KID_BYTES + 1]) MUST_CHECK;

/* A libjose context that keeps silent. One for each operation: its reference count is not atomic.
 */
struct jose_cfg *jwt_jose_cfg(void) MUST_CHECK;

/* ---- cache.c: verified tokens by SHA-256; fixed memory; any thread ---- */

#define JWT_DIGEST_BYTES 32

struct jwt_cache;

/* entries is rounded up to a power of two. */
int jwt_cache_new(size_t entries, struct jwt_cache **ret) MUST_CHECK;
void jwt_cache_free(struct jwt_cache *cache);

int jwt_cache_digest(struct jwt_cache *cache, struct str token,
                     uint8_t ret[JWT_DIGEST_BYTES]) MUST_CHECK;

/* Copies subject, session, id and the times of a remembered token into *ret, strings into the
 * arena; issuer and audience are left alone. Returns 1, 0 (not remembered) or -ENOMEM. */
int jwt_cache_find(struct jwt_cache *cache, const uint8_t digest[JWT_DIGEST_BYTES],
                   struct arena *arena, struct jwt_claims *ret) MUST_CHECK;

/* Remembers a token that the key with this serial number signed, in place of the least recently
 * used one of its set. Tokens with unusually long claims are not remembered. */
void jwt_cache_add(struct jwt_cache *cache, const uint8_t digest[JWT_DIGEST_BYTES],
                   uint64_t key_serial, const struct jwt_claims *claims);

void jwt_cache_forget(struct jwt_cache *cache, const uint8_t digest[JWT_DIGEST_BYTES]);

/* Forgets the tokens of all keys but the n given ones. */
void jwt_cache_keep_keys(struct jwt_cache *cache, const uint64_t *serials, size_t n);

#endif
