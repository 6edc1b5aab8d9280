/* Verifying: the key set and the order of the checks. Any thread may verify while another replaces
 * the keys.
 *
 * Order: remembered? -> shape -> header -> key -> signature -> claims -> issuer, audience, times.
 * Claims are looked at only when the signature is right. Times are checked at every use, also of a
 * remembered token.
 */
#include "jwt/internal.h"
#include "metrics/metrics.h"

#include "base/rwlock.h"

#include <errno.h>
#include <jose/jws.h>
#include <pthread.h>
#include <stdlib.h>

#define MAX_KEYS 256
#define MAX_LEEWAY_S 60

struct key {
    char kid[JWT_MAX_KID_BYTES + 1];
    json_t *jwk;
    uint64_t serial; /* never 0, never used twice: tells a key from a later one of the same kid */
};

/* Replaced as a whole; whoever verifies holds a reference. */
struct key_set {
    atomic_size_t references;
    size_t n;
    struct key keys[];
};

struct jwt_verifier {
    char *issuer, *audience;
    int64_t leeway_s;
    struct jwt_cache *cache;
    metrics_number hits, misses;
    pthread_mutex_t set_lock; /* one replacement at a time; guards next_serial */
    uint64_t next_serial;
    pthread_rwlock_t lock; /* guards the pointer keys, and adding to the cache */
    struct key_set *keys;
};

/* ---- key sets ---- */

static struct key_set *key_set_new(size_t n)
{
    struct key_set *set = calloc(1, sizeof(*set) + n * sizeof(struct key));

    if (set)
        atomic_init(&set->references, 1);
    return set;
}

static void key_set_unref(struct key_set *set)
{
    if (!set || atomic_fetch_sub(&set->references, 1) != 1)
        return;
    for (size_t i = 0; i < set->n; i++)
        json_decref(set->keys[i].jwk);
    free(set);
}

static const struct key *key_set_find(const struct key_set *set, const char *kid)
{
    for (size_t i = 0; i < set->n; i++) {
        if (strcmp(set->keys[i].kid, kid) == 0)
            return &set->keys[i];
    }
    return NULL;
}

static struct key_set *current_keys(struct jwt_verifier *verifier)
{
    struct key_set *set;

    pthread_rwlock_rdlock(&verifier->lock);
    set = verifier->keys;
    atomic_fetch_add(&set->references, 1);
    pthread_rwlock_unlock(&verifier->lock);
    return set;
}

/* A key that was there before, unchanged, keeps its serial number and so its remembered tokens. */
static void give_serial(struct jwt_verifier *verifier, struct key *key)
{
    const struct key *before = key_set_find(verifier->keys, key->kid);

    key->serial =
        before && json_equal(before->jwk, key->jwk) ? before->serial : verifier->next_serial++;
}

static int parse_keys(const struct str *jwks, size_t n, struct key_set *set)
{
    for (size_t i = 0; i < n; i++) {
        char kid[JWT_MAX_KID_BYTES + 1];
        json_t *jwk;
        int r = jwt_key_parse_public(jwks[i], &jwk, kid);

        if (r < 0)
            return r;
        if (key_set_find(set, kid)) {
            json_decref(jwk);
            return -EINVAL; /* which of the two would it be? */
        }
        memcpy(set->keys[i].kid, kid, sizeof(kid));
        set->keys[i].jwk = jwk;
        set->n = i + 1;
    }
    return 0;
}

static void replace_keys(struct jwt_verifier *verifier, struct key_set *set)
{
    uint64_t serials[MAX_KEYS];
    struct key_set *before = verifier->keys;

    for (size_t i = 0; i < set->n; i++) {
        give_serial(verifier, &set->keys[i]);
        serials[i] = set->keys[i].serial;
    }
    pthread_rwlock_wrlock(&verifier->lock);
    verifier->keys = set;
    jwt_cache_keep_keys(verifier->cache, serials, set->n);
    pthread_rwlock_unlock(&verifier->lock);
    key_set_unref(before);
}

/* Services refresh their keys every few seconds and nearly always find the same ones. */
static bool same_keys(const struct key_set *a, const struct key_set *b)
{
    if (a->n != b->n)
        return false;
    for (size_t i = 0; i < a->n; i++) {
        const struct key *other = key_set_find(b, a->keys[i].kid);
        if (!other || !json_equal(a->keys[i].jwk, other->jwk))
            return false;
    }
    return true;
}

int jwt_verifier_set_keys(struct jwt_verifier *verifier, const struct str *jwks, size_t n)
{
    struct key_set *set;
    int r;

    if (n > MAX_KEYS)
        return -EINVAL;
    set = key_set_new(n);
    if (!set)
        return -ENOMEM;
    r = parse_keys(jwks, n, set);
    pthread_mutex_lock(&verifier->set_lock);
    if (r == 0 && !same_keys(set, verifier->keys)) {
        replace_keys(verifier, set);
        set = NULL;
    }
    pthread_mutex_unlock(&verifier->set_lock);
    key_set_unref(set);
    return r;
}

size_t jwt_verifier_key_count(const struct jwt_verifier *verifier)
{
    struct key_set *set = current_keys((struct jwt_verifier *)verifier);
    size_t n = set->n;

    key_set_unref(set);
    return n;
}

/* ---- a verifier ---- */

int jwt_verifier_new(const struct jwt_verifier_options *options, struct jwt_verifier **ret)
{
    struct jwt_verifier *verifier;
    int r;

    if (!options->issuer || !options->audience || options->leeway_s < 0 ||
        options->leeway_s > MAX_LEEWAY_S)
        return -EINVAL;
    verifier = calloc(1, sizeof(*verifier));
    if (!verifier)
        return -ENOMEM;
    rwlock_init(&verifier->lock);
    pthread_mutex_init(&verifier->set_lock, NULL);
    verifier->leeway_s = options->leeway_s;
    verifier->next_serial = 1;
    verifier->issuer = strdup(options->issuer);
    verifier->audience = strdup(options->audience);
    verifier->keys = key_set_new(0);
    r = jwt_cache_new(options->cache_entries, &verifier->cache);
    if (r < 0 || !verifier->issuer || !verifier->audience || !verifier->keys) {
        jwt_verifier_free(verifier);
        return -ENOMEM;
    }
    *ret = verifier;
    return 0;
}

void jwt_verifier_free(struct jwt_verifier *verifier)
{
    if (!verifier)
        return;
    jwt_cache_free(verifier->cache);
    key_set_unref(verifier->keys);
    pthread_mutex_destroy(&verifier->set_lock);
    pthread_rwlock_destroy(&verifier->lock);
    free(verifier->issuer);
    free(verifier->audience);
    free(verifier);
}

/* ---- one token ---- */

/* RFC 7519 sections 4.1.4 and 4.1.5. */
static enum jwt_result check_times(const struct jwt_verifier *verifier, int64_t now_s,
                                   const struct jwt_claims *claims)
{
    if (now_s >= claims->expires_at + verifier->leeway_s)
        return JWT_EXPIRED;
    if (now_s < claims->not_before - verifier->leeway_s)
        return JWT_NOT_YET_VALID;
    return JWT_OK;
}

static bool signature_is_right(const struct jwt_parts *parts, const json_t *jwk)
{
    jose_cfg_auto_t *cfg = jwt_jose_cfg();
    json_t *jws = json_pack("{s:s%, s:s%, s:s%}", "protected", parts->header.p, parts->header.n,
                            "payload", parts->payload.p, parts->payload.n, "signature",
                            parts->signature.p, parts->signature.n);
    bool right = cfg && jws && jose_jws_ver(cfg, jws, NULL, jwk, false);

    json_decref(jws);
    return right;
}

/* Only while the key is still in the set, so that nothing outlives jwt_verifier_set_keys(). */
static void remember(struct jwt_verifier *verifier, const uint8_t digest[JWT_DIGEST_BYTES],
                     const struct key *key, const struct jwt_claims *claims)
{
    const struct key *now;

    pthread_rwlock_rdlock(&verifier->lock);
    now = key_set_find(verifier->keys, key->kid);
    if (now && now->serial == key->serial)
        jwt_cache_add(verifier->cache, digest, key->serial, claims);
    pthread_rwlock_unlock(&verifier->lock);
}

static enum jwt_result copy_result(struct jwt_verifier *verifier, struct arena *arena,
                                   const struct jwt_claims *claims, struct jwt_claims *ret)
{
    *ret = *claims;
    ret->issuer = str_of(verifier->issuer);
    ret->audience = str_of(verifier->audience);
    ret->subject = arena_copy(arena, claims->subject);
    ret->session = arena_copy(arena, claims->session);
    ret->id = arena_copy(arena, claims->id);
    return ret->subject.p && ret->session.p && ret->id.p ? JWT_OK : JWT_NO_MEMORY;
}

/* The signature is right: what does the token say? */
static enum jwt_result accept_claims(struct jwt_verifier *verifier, struct str payload,
                                     const uint8_t digest[JWT_DIGEST_BYTES], const struct key *key,
                                     int64_t now_s, struct arena *arena, struct jwt_claims *ret)
{
    struct jwt_claims claims;
    json_t *json;
    enum jwt_result result;

    if (jwt_read_claims(payload, &json, &claims) < 0)
        return JWT_MALFORMED;
    if (!str_eq(claims.issuer, str_of(verifier->issuer)))
        result = JWT_WRONG_ISSUER;
    else if (!str_eq(claims.audience, str_of(verifier->audience)))
        result = JWT_WRONG_AUDIENCE;
    else
        result = check_times(verifier, now_s, &claims);
    if (result == JWT_OK)
        result = copy_result(verifier, arena, &claims, ret);
    if (result == JWT_OK)
        remember(verifier, digest, key, &claims);
    json_decref(json);
    return result;
}

static enum jwt_result verify_new(struct jwt_verifier *verifier, struct str token,
                                  const uint8_t digest[JWT_DIGEST_BYTES], int64_t now_s,
                                  struct arena *arena, struct jwt_claims *ret)
{
    struct jwt_parts parts;
    char kid[JWT_MAX_KID_BYTES + 1];
    struct key_set *keys;
    const struct key *key;
    enum jwt_result result = JWT_UNKNOWN_KEY;

    if (jwt_split(token, &parts) < 0 || jwt_read_header(parts.header, kid) < 0)
        return JWT_MALFORMED;
    keys = current_keys(verifier);
    key = key_set_find(keys, kid);
    if (key)
        result = signature_is_right(&parts, key->jwk) ? JWT_OK : JWT_BAD_SIGNATURE;
    if (result == JWT_OK)
        result = accept_claims(verifier, parts.payload, digest, key, now_s, arena, ret);
    key_set_unref(keys);
    return result;
}

static enum jwt_result verify_known(struct jwt_verifier *verifier,
                                    const uint8_t digest[JWT_DIGEST_BYTES], int64_t now_s,
                                    struct jwt_claims *claims)
{
    enum jwt_result result = check_times(verifier, now_s, claims);

    claims->issuer = str_of(verifier->issuer);
    claims->audience = str_of(verifier->audience);
    if (result == JWT_EXPIRED)
        jwt_cache_forget(verifier->cache, digest);
    return result;
}

enum jwt_result jwt_verify(struct jwt_verifier *verifier, struct str token, int64_t now_s,
                           struct arena *arena, struct jwt_claims *ret)
{
    uint8_t digest[JWT_DIGEST_BYTES];
    int found;

    if (token.n == 0 || token.n > JWT_MAX_BYTES)
        return JWT_MALFORMED;
    if (jwt_cache_digest(verifier->cache, token, digest) < 0)
        return JWT_NO_MEMORY;
    found = jwt_cache_find(verifier->cache, digest, arena, ret);
    if (found < 0)
        return JWT_NO_MEMORY;
    metrics_add(found ? &verifier->hits : &verifier->misses, 1);
    if (found)
        return verify_known(verifier, digest, now_s, ret);
    return verify_new(verifier, token, digest, now_s, arena, ret);
}

void jwt_verifier_stats(const struct jwt_verifier *verifier, struct jwt_cache_stats *ret)
{
    *ret = (struct jwt_cache_stats){.hits = metrics_get(&verifier->hits),
                                    .misses = metrics_get(&verifier->misses)};
}
