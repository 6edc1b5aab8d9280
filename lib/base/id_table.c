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
    secret[1] |= 1;
}

/* Both halves of the product: neither has bits of its own that a choice of ids could leave out. */
uint32_t id_table_hash(uint64_t id)
{
    unsigned __int128 product;
    uint64_t folded;

    pthread_once(&once, choose_secret);
    product = (unsigned __int128)(id ^ secret[0]) * secret[1];
    folded = (uint64_t)(product >> 64) ^ (uint64_t)product;
    return (uint32_t)(folded >> 32 ^ folded);
}
