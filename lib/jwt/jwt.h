/* Access tokens: JWT (RFC 7519) signed with ES256 (RFC 7518 section 3.4), as RFC 8725 asks.
 *
 * The JOSE work is libjose's; this layer decides what is let through to it: one algorithm, known
 * keys only, bounded sizes, required claims. Header members jku, jwk, x5u, x5c and crit are never
 * followed.
 */
#ifndef STOA_JWT_JWT_H
#define STOA_JWT_JWT_H

#include "base/arena.h"

#include <stdatomic.h>

#define JWT_MAX_BYTES 2048

struct jwt_claims {
    struct str issuer;   /* iss */
    struct str audience; /* aud: one string */
    struct str subject;  /* sub: the account's id */
    struct str session;  /* sid */
    struct str id;       /* jti */
    int64_t issued_at;   /* iat, seconds since the Unix epoch */
    int64_t not_before;  /* nbf */
    int64_t expires_at;  /* exp */
};

/* ---- signing (auth only) ---- */

struct jwt_signer; /* one private key; immutable, any thread */

/* Makes a new P-256 key and writes it as a JWK (RFC 7517) to path with mode 0600, atomically;
 * leaves an existing file alone, which is no error. -ENAMETOOLONG, -ENOMEM, or the file system's
 * error. */
int jwt_key_create(const char *path) MUST_CHECK;

/* Gives a key file the name of another, which is gone then, atomically and durably. */
int jwt_key_replace(const char *from, const char *to) MUST_CHECK;

/* Loads a private JWK. Refused (-EPERM) when others may read the file. */
int jwt_signer_open(const char *path, struct jwt_signer **ret) MUST_CHECK;
void jwt_signer_free(struct jwt_signer *signer);

/* Key id: the RFC 7638 thumbprint. */
struct str jwt_signer_key_id(const struct jwt_signer *signer);
/* The public JWK as JSON text, with kid, alg and use. */
struct str jwt_signer_public_jwk(const struct jwt_signer *signer);

/* The compact serialization, in the arena. -ENOMEM, -EINVAL. */
int jwt_sign(const struct jwt_signer *signer, const struct jwt_claims *claims, struct arena *arena,
             struct str *ret) MUST_CHECK;

/* ---- verifying (every service) ---- */

struct jwt_verifier; /* a set of public keys and the cache of verified tokens; any thread */

struct jwt_verifier_options {
    const char *issuer, *audience; /* must equal the claims */
    int64_t leeway_s;              /* clock difference allowed for exp and nbf; 0..60 */
    size_t cache_entries;          /* 0: 16,384 */
};

/* Strings are copied. Knows no key yet. -EINVAL (an option), -ENOMEM. */
int jwt_verifier_new(const struct jwt_verifier_options *options,
                     struct jwt_verifier **ret) MUST_CHECK;
void jwt_verifier_free(struct jwt_verifier *verifier);

/* Replaces the key set: n public JWKs as JSON text. All or nothing: a bad one is -EINVAL and the
 * old set stays. Cached tokens of keys that are gone are forgotten. */
int jwt_verifier_set_keys(struct jwt_verifier *verifier, const struct str *jwks,
                          size_t n) MUST_CHECK;
size_t jwt_verifier_key_count(const struct jwt_verifier *verifier);

enum jwt_result {
    JWT_OK = 0,
    JWT_MALFORMED,   /* not a token of ours: shape, size, header, claims */
    JWT_UNKNOWN_KEY, /* kid not in the set: the keys may need a refresh */
    JWT_BAD_SIGNATURE,
    JWT_EXPIRED,
    JWT_NOT_YET_VALID,
    JWT_WRONG_ISSUER,
    JWT_WRONG_AUDIENCE,
    JWT_NO_MEMORY, /* nothing is known about the token */
};

/* now_s: seconds since the Unix epoch. A verified token is remembered (by SHA-256 of its bytes)
 * until it expires; remembered ones cost under 1 µs. Claims are copied into the arena, but issuer
 * and audience live as long as the verifier. *ret is valid with JWT_OK. */
enum jwt_result jwt_verify(struct jwt_verifier *verifier, struct str token, int64_t now_s,
                           struct arena *arena, struct jwt_claims *ret);

/* How many tokens were remembered ones, and how many not. Any thread. */
struct jwt_cache_stats {
    uint64_t hits, misses;
};
void jwt_verifier_stats(const struct jwt_verifier *verifier, struct jwt_cache_stats *ret);

#endif
