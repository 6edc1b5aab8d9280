#include "metrics/metrics.h"

bool metrics_is_empty(const struct metrics_histogram *histogram,
                      const struct metrics_bounds *bounds)
{
    for (unsigned i = 0; i <= bounds->n; i++) {
        if (metrics_get(&histogram->buckets[i]) > 0)
            return false;
    }
    return true;
}

void metrics_write_histogram(struct buf *text, const struct metrics_family *family,
                             const struct metrics_label *labels,
                             const struct metrics_bounds *bounds,
                             const struct metrics_histogram *histogram)
{
    uint64_t counts[METRICS_MAX_BUCKETS];

    for (unsigned i = 0; i <= bounds->n; i++)
        counts[i] = metrics_get(&histogram->buckets[i]);
    metrics_sample_histogram(text, family, labels, bounds, counts, metrics_get(&histogram->sum));
}
