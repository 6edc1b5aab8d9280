/* The numbers of /metrics, in memory that all workers share.
 *
 * A series belongs to an RPC of the descriptor sets, or to an upstream, a limit or an instance of
 * the configuration: never to anything that a client says, so their number is known when the
 * configuration is. Series are made by the master and never removed; a reload finds them again by
 * name.
 *
 * Each worker adds to a cell of its own in each series. What is read is the sum of the cells, also
 * of workers that have gone, so that counters never fall. All access is atomic and without order:
 * a reader may see a request's count before its bytes.
 */
#ifndef STOA_GATEWAY_METRICS_H
#define STOA_GATEWAY_METRICS_H

#include <ngx_config.h>
#include <ngx_core.h>

#include "metrics/text.h"

#define METRICS_N_STATUS 40 /* HTTP statuses told apart; the last is for all others */
#define METRICS_N_CODES 18  /* gRPC codes 0 to 16, and none */
#define METRICS_N_BUCKETS 14
#define METRICS_MAX_SLOTS 4096 /* workers that are told of */
#define METRICS_NO_CODE (METRICS_N_CODES - 1)

enum metrics_kind { METRICS_RPC, METRICS_UPSTREAM, METRICS_LIMIT, METRICS_ATTACH };

/* What one worker has seen. */
struct metrics_cell {
    uint64_t status[METRICS_N_STATUS];
    uint64_t code[METRICS_N_CODES];
    uint64_t bucket[METRICS_N_BUCKETS]; /* not cumulative; the last is for all that is longer */
    uint64_t total_ms;
    uint64_t received, sent; /* bytes */
    uint64_t begun, ended;   /* requests; the difference is open */
    uint64_t session_begun, session_ended;
    uint64_t session_slow; /* closed since their clients read too slowly */
    /* METRICS_ATTACH, of which `begun` and `ended` are streams, `received` and `sent` their
     * messages' bytes, and `bucket` and `total_ms` tell how long handshakes took until they were
     * accepted. */
    uint64_t messages_received, messages_sent, resumed, deliveries;
    uint64_t queued; /* of the requests of no RPC: bytes that wait for clients, now */
};

struct metrics_series {
    struct metrics_series *next;
    enum metrics_kind kind;
    ngx_str_t name;
    struct metrics_cell *cells; /* one for each slot */
};

struct metrics_slot {
    ngx_atomic_t pid; /* of the worker that has it; 0: nobody had it yet */
};

/* At the start of the zone. */
struct metrics_table {
    uint32_t version; /* of this layout: a reload may bring another build of the module */
    uint32_t n_slots;
    struct metrics_series *first; /* grows at the front */
    struct metrics_slot slots[];
};

/* The sum over all cells of one member of struct metrics_cell; offset: the member's. */
uint64_t metrics_sum(const struct metrics_table *table, const struct metrics_series *series,
                     size_t offset);

/* What is open: begun less ended, of workers that live. begun, ended: as offset above. */
uint64_t metrics_open(const struct metrics_table *table, const struct metrics_series *series,
                      size_t begun, size_t ended);

/* Whether the slot's worker lives. */
bool metrics_slot_alive(const struct metrics_slot *slot);

/* The HTTP status that a member of `status` counts; 0: all others. */
unsigned metrics_status_at(unsigned index);

/* metrics_text.c: appends all of it in Prometheus' text format, version 0.0.4. */
void metrics_print(const struct metrics_table *table, time_t configured, struct buf *text);

/* In milliseconds; metrics_bucket_of() says which bucket counts a duration. */
extern const struct metrics_bounds metrics_gateway_durations;

#endif
