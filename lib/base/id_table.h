/* uthash for tables whose keys are numbers that a stranger chooses. uthash's own function is known:
 * whoever chooses numbers that meet in one bucket makes each look-up as long as the table, and the
 * table stops growing. This one has a secret of the process. Instead of <uthash.h>; then keys have
 * 64 bits. HASH_ADD() adds nothing without memory. Any thread. */
#ifndef STOA_BASE_ID_TABLE_H
#define STOA_BASE_ID_TABLE_H

#include "base/base.h"

uint32_t id_table_hash(uint64_t id);
/* The same with this secret. */
uint32_t id_table_mix(uint64_t id, const uint64_t with[2]);

static inline uint32_t id_table_hash_key(const void *key, size_t size)
{
    uint64_t id = 0;

    memcpy(&id, key, size < sizeof(id) ? size : sizeof(id));
    return id_table_hash(id);
}

#define HASH_NONFATAL_OOM 1
#define HASH_FUNCTION(key, size, hash) ((hash) = id_table_hash_key(key, size))
#include <uthash.h>

#endif
