/* Prometheus' text format, version 0.0.4
 * (https://prometheus.io/docs/instrumenting/exposition_formats/).
 *
 * A family is a name with its type and meaning; its samples follow it at once, one for each
 * combination of label values. Names and labels come from code and from the contract, never from a
 * caller, so their number is bounded. What does not fit shows in the buffer (buf_error()).
 */
#ifndef STOA_METRICS_TEXT_H
#define STOA_METRICS_TEXT_H

#include "base/buf.h"

#define METRICS_CONTENT_TYPE "text/plain; version=0.0.4; charset=utf-8"

enum metrics_type { METRICS_COUNTER, METRICS_GAUGE, METRICS_HISTOGRAM };

struct metrics_family {
    const char *prefix, *name; /* "stoa_grpc", "calls_total": stoa_grpc_calls_total */
    enum metrics_type type;
    const char *help; /* one sentence */
};

struct metrics_label {
    const char *name; /* NULL ends the list */
    struct str value; /* any bytes */
};

/* Up to three labels of a sample. */
#define METRICS_LABEL(n, v) ((struct metrics_label){.name = (n), .value = (v)})
#define METRICS_LABELS(...) ((const struct metrics_label[]){__VA_ARGS__, {.name = NULL}})
#define METRICS_NO_LABELS ((const struct metrics_label[]){{.name = NULL}})

/* Upper bounds of a histogram's buckets, rising; a value is in the first whose bound it does not
 * exceed. `unit`: what one of them is in the family's base unit: 1e-6 for microseconds of a family
 * in seconds. */
struct metrics_bounds {
    const uint64_t *at;
    unsigned n;
    double unit;
};

/* The bounds of all durations here, in microseconds: 100 us to 10 s. */
extern const struct metrics_bounds metrics_durations;

#define METRICS_MAX_BUCKETS 20 /* of any bounds, with the one for all that is above */

/* Which bucket counts a value: 0 … n. */
unsigned metrics_bucket_of(const struct metrics_bounds *bounds, uint64_t value);

/* Begins a family, by its HELP and TYPE lines; then come its samples. */
void metrics_begin(struct buf *text, const struct metrics_family *family);
void metrics_sample(struct buf *text, const struct metrics_family *family,
                    const struct metrics_label *labels, uint64_t value);
/* A value that is no whole number, such as one in seconds. */
void metrics_sample_real(struct buf *text, const struct metrics_family *family,
                         const struct metrics_label *labels, double value);
/* counts: n + 1 of them, not cumulative; sum: of all values, in the bounds' unit. */
void metrics_sample_histogram(struct buf *text, const struct metrics_family *family,
                              const struct metrics_label *labels,
                              const struct metrics_bounds *bounds, const uint64_t *counts,
                              uint64_t sum);

/* A family with one sample and no labels. */
void metrics_single(struct buf *text, const struct metrics_family *family, uint64_t value);

#endif
