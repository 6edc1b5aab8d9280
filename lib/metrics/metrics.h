/* Numbers that are counted where something happens, and read by /metrics.
 *
 * A counter is one relaxed atomic addition, an observation of a histogram two: no lock, no call, no
 * memory. They lie in the struct of whatever they tell of, zero at first, and are written out by a
 * function of its owner (metrics/server.h). A reader may see some of what happened at one moment
 * before the rest of it.
 */
#ifndef STOA_METRICS_METRICS_H
#define STOA_METRICS_METRICS_H

#include "metrics/text.h"

#include <stdatomic.h>

/* Only grows, or, as a gauge, is set. */
typedef atomic_uint_fast64_t metrics_number;

static inline void metrics_add(metrics_number *number, uint64_t n)
{
    atomic_fetch_add_explicit(number, n, memory_order_relaxed);
}

static inline void metrics_set(metrics_number *number, uint64_t n)
{
    atomic_store_explicit(number, n, memory_order_relaxed);
}

static inline uint64_t metrics_get(const metrics_number *number)
{
    return atomic_load_explicit(number, memory_order_relaxed);
}

struct metrics_histogram {
    metrics_number sum; /* in the unit of its bounds */
    metrics_number buckets[METRICS_MAX_BUCKETS];
};

static inline void metrics_observe(struct metrics_histogram *histogram,
                                   const struct metrics_bounds *bounds, uint64_t value)
{
    metrics_add(&histogram->buckets[metrics_bucket_of(bounds, value)], 1);
    metrics_add(&histogram->sum, value);
}

/* A duration in nanoseconds, by metrics_durations. Less than nothing counts as nothing. */
static inline void metrics_observe_ns(struct metrics_histogram *histogram, int64_t ns)
{
    metrics_observe(histogram, &metrics_durations, ns > 0 ? (uint64_t)ns / NSEC_PER_USEC : 0);
}

/* Whether nothing was observed yet. */
bool metrics_is_empty(const struct metrics_histogram *histogram,
                      const struct metrics_bounds *bounds);

/* The samples of a histogram, after metrics_begin(). */
void metrics_write_histogram(struct buf *text, const struct metrics_family *family,
                             const struct metrics_label *labels,
                             const struct metrics_bounds *bounds,
                             const struct metrics_histogram *histogram);

#endif
