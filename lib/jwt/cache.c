/* Tokens whose signature and fixed claims have been verified, by the SHA-256 of their bytes.
 *
 * A set-associative table of fixed size: a digest chooses a set of WAYS entries, a new token takes
 * the place of the least recently used one there. One mutex guards a group of sets, so threads
 * rarely meet. Digests can't be steered into one set without valid tokens, and then only these
 * suffer.
 */
#include "jwt/internal.h"

#include <errno.h>
#include <openssl/evp.h>
#include <pthread.h>
#include <stdlib.h>

#define WAYS 8
#define LOCKS 64
#define DEFAULT_ENTRIES 16384
#define MAX_ENTRIES (1 << 24)
#define TEXT_BYTES 152

struct entry {
    uint8_t digest[JWT_DIGEST_BYTES];
    uint64_t key_serial; /* 0: empty */
    uint64_t used;       /* the set's clock at the last use */
    int64_t issued_at, not_before, expires_at;
    uint8_t subject_bytes, session_bytes, id_bytes;
    char text[TEXT_BYTES]; /* subject, session and id, one after the other */
};

struct set {
    uint64_t clock;
    struct entry ways[WAYS];
};

struct lock {
    _Alignas(64) pthread_mutex_t mutex; /* each on a cache line of its own */
};

struct jwt_cache {
    EVP_MD *sha256; /* fetched once: a fetch costs more than the digest */
    size_t n_sets;  /* a power of two */
    struct set *sets;
    struct lock locks[LOCKS];
};

static size_t sets_for(size_t entries)
{
    size_t n = 1;

    if (entries == 0)
        entries = DEFAULT_ENTRIES;
    if (entries > MAX_ENTRIES)
        entries = MAX_ENTRIES;
    while (n * WAYS < entries)
        n *= 2;
    return n;
}

int jwt_cache_new(size_t entries, struct jwt_cache **ret)
{
    struct jwt_cache *cache = aligned_alloc(64, sizeof(*cache));

    if (!cache)
        return -ENOMEM;
    cache->n_sets = sets_for(entries);
    cache->sets = calloc(cache->n_sets, sizeof(*cache->sets));
    cache->sha256 = EVP_MD_fetch(NULL, "SHA256", NULL);
    for (size_t i = 0; i < LOCKS; i++)
        pthread_mutex_init(&cache->locks[i].mutex, NULL);
    if (!cache->sets || !cache->sha256) {
        jwt_cache_free(cache);
        return -ENOMEM;
    }
    *ret = cache;
    return 0;
}

void jwt_cache_free(struct jwt_cache *cache)
{
    if (!cache)
        return;
    for (size_t i = 0; i < LOCKS; i++)
        pthread_mutex_destroy(&cache->locks[i].mutex);
    EVP_MD_free(cache->sha256);
    free(cache->sets);
    free(cache);
}

int jwt_cache_digest(struct jwt_cache *cache, struct str token, uint8_t ret[JWT_DIGEST_BYTES])
{
    return EVP_Digest(token.p, token.n, ret, NULL, cache->sha256, NULL) == 1 ? 0 : -ENOMEM;
}

/* ---- one set ---- */

static size_t set_index(const struct jwt_cache *cache, const uint8_t digest[JWT_DIGEST_BYTES])
{
    uint64_t bits;

    memcpy(&bits, digest, sizeof(bits));
    return bits & (cache->n_sets - 1);
}

static struct set *lock_set(struct jwt_cache *cache, size_t index)
{
    pthread_mutex_lock(&cache->locks[index % LOCKS].mutex);
    return &cache->sets[index];
}

static void unlock_set(struct jwt_cache *cache, size_t index)
{
    pthread_mutex_unlock(&cache->locks[index % LOCKS].mutex);
}

static struct entry *find_entry(struct set *set, const uint8_t digest[JWT_DIGEST_BYTES])
{
    for (size_t i = 0; i < WAYS; i++) {
        struct entry *entry = &set->ways[i];
        if (entry->key_serial && memcmp(entry->digest, digest, JWT_DIGEST_BYTES) == 0)
            return entry;
    }
    return NULL;
}

/* The entry that a new token takes: an empty one, else the least recently used. */
static struct entry *victim(struct set *set)
{
    struct entry *oldest = &set->ways[0];

    for (size_t i = 0; i < WAYS; i++) {
        struct entry *entry = &set->ways[i];
        if (!entry->key_serial)
            return entry;
        if (entry->used < oldest->used)
            oldest = entry;
    }
    return oldest;
}

/* ---- looking up ---- */

static int copy_claims(const struct entry *entry, struct arena *arena, struct jwt_claims *ret)
{
    size_t n = (size_t)entry->subject_bytes + entry->session_bytes + entry->id_bytes;
    char *text = arena_alloc(arena, n);

    if (!text)
        return -ENOMEM;
    memcpy(text, entry->text, n);
    ret->subject = (struct str){text, entry->subject_bytes};
    ret->session = (struct str){text + entry->subject_bytes, entry->session_bytes};
    ret->id = (struct str){ret->session.p + entry->session_bytes, entry->id_bytes};
    ret->issued_at = entry->issued_at;
    ret->not_before = entry->not_before;
    ret->expires_at = entry->expires_at;
    return 1;
}

int jwt_cache_find(struct jwt_cache *cache, const uint8_t digest[JWT_DIGEST_BYTES],
                   struct arena *arena, struct jwt_claims *ret)
{
    size_t index = set_index(cache, digest);
    struct set *set = lock_set(cache, index);
    struct entry *entry = find_entry(set, digest);
    int r = 0;

    if (entry) {
        entry->used = ++set->clock;
        r = copy_claims(entry, arena, ret);
    }
    unlock_set(cache, index);
    return r;
}

/* ---- changing ---- */

static void fill_entry(struct entry *entry, const uint8_t digest[JWT_DIGEST_BYTES],
                       uint64_t key_serial, const struct jwt_claims *claims)
{
    char *text = entry->text;

    memcpy(entry->digest, digest, JWT_DIGEST_BYTES);
    entry->key_serial = key_serial;
    entry->issued_at = claims->issued_at;
    entry->not_before = claims->not_before;
    entry->expires_at = claims->expires_at;
    entry->subject_bytes = (uint8_t)claims->subject.n;
    entry->session_bytes = (uint8_t)claims->session.n;
    entry->id_bytes = (uint8_t)claims->id.n;
    memcpy(text, claims->subject.p, claims->subject.n);
    text += claims->subject.n;
    memcpy(text, claims->session.p, claims->session.n);
    text += claims->session.n;
    memcpy(text, claims->id.p, claims->id.n);
}

void jwt_cache_add(struct jwt_cache *cache, const uint8_t digest[JWT_DIGEST_BYTES],
                   uint64_t key_serial, const struct jwt_claims *claims)
{
    size_t index = set_index(cache, digest);
    struct set *set;
    struct entry *entry;

    if (claims->subject.n + claims->session.n + claims->id.n > TEXT_BYTES)
        return;
    set = lock_set(cache, index);
    entry = find_entry(set, digest);
    if (!entry)
        entry = victim(set);
    fill_entry(entry, digest, key_serial, claims);
    entry->used = ++set->clock;
    unlock_set(cache, index);
}

void jwt_cache_forget(struct jwt_cache *cache, const uint8_t digest[JWT_DIGEST_BYTES])
{
    size_t index = set_index(cache, digest);
    struct entry *entry = find_entry(lock_set(cache, index), digest);

    if (entry)
        entry->key_serial = 0;
    unlock_set(cache, index);
}

static bool contains(const uint64_t *serials, size_t n, uint64_t serial)
{
    for (size_t i = 0; i < n; i++) {
        if (serials[i] == serial)
            return true;
    }
    return false;
}

void jwt_cache_keep_keys(struct jwt_cache *cache, const uint64_t *serials, size_t n)
{
    for (size_t i = 0; i < cache->n_sets; i++) {
        struct set *set = lock_set(cache, i);
        for (size_t way = 0; way < WAYS; way++) {
            if (!contains(serials, n, set->ways[way].key_serial))
                set->ways[way].key_serial = 0;
        }
        unlock_set(cache, i);
    }
}
