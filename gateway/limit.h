/* Zones of limits, as limit.c shares them with connections.c. */
#ifndef STOA_GATEWAY_LIMIT_H
#define STOA_GATEWAY_LIMIT_H

#include "grpc_json.h"
#include "stream_count.h"

#include "base/rate.h"

#include <openssl/evp.h>

/* One zone of the configuration. */
struct limit_zone {
    ngx_str_t name;
    ngx_http_complex_value_t key;
    struct rate_limit limit; /* of requests */
    uint32_t most;           /* open ones of a caller; 0: the zone counts requests */
    bool connections;        /* what is open are connections, not streams */
    ngx_shm_zone_t *memory;
    ngx_slab_pool_t *pool;
    union {
        void *memory;
        struct rate_table *rates;
        struct stream_count *streams;
    } table;
};

/* What callers are counted by; only its beginning for what is open. NGX_OK or NGX_ERROR. */
ngx_int_t limit_hash_key(ngx_str_t key, unsigned char ret[EVP_MAX_MD_SIZE]);
/* Of a zone of what is open: one more of a caller. Returns what stream_count_enter() does. */
int limit_enter(struct limit_zone *zone, const unsigned char key[STREAM_COUNT_KEY_SIZE],
                uint32_t most) MUST_CHECK;
/* One that has been entered by this worker is over. */
void limit_leave(struct limit_zone *zone, const unsigned char key[STREAM_COUNT_KEY_SIZE]);
/* Refuses a request since limit_enter() has said err. Returns as a phase handler does. */
ngx_int_t limit_refuse(ngx_http_request_t *r, struct grpc_json_ctx *ctx,
                       const struct limit_zone *zone, int err);

#endif
