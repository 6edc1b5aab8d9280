#include "base/id_table.h"

#include <pthread.h>
#include <stdlib.h>
#include <sys/random.h>

static uint64_t secret[2];
static pthread_once_t once = PTHREAD_ONCE_INIT;

static void choose_secret(void)
{
    if (getrandom(secret, sizeof(secret), 0) != sizeof(secret))
        abort(); /* a kernel that gives none: no key or token could be made either */
}

/* Both halves of the product: neither has bits of its own that a choice of ids could leave out. */
static uint64_t fold(uint64_t a, uint64_t b)
{
    unsigned __int128 product = (unsigned __int128)a * b;

    return (uint64_t)(product >> 64) ^ (uint64_t)product;
}

/* Twice: after one product, ids at equal distances met in a few buckets with one secret in ten. */
uint32_t id_table_mix(uint64_t id, const uint64_t with[2])
{
    uint64_t mixed = fold(fold(id ^ with[0], with[1] | 1) ^ with[1], with[0] | 1);

    return (uint32_t)(mixed >> 32 ^ mixed);
}

uint32_t id_table_hash(uint64_t id)
{
    pthread_once(&once, choose_secret);
    return id_table_mix(id, secret);
}
