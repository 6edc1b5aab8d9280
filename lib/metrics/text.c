#include "metrics/text.h"

#include <assert.h>
#include <stdio.h>

/* Dense where answers from memory and from one query are, and 10 s is where gateways give up. The
 * rest follows 1, 2.5, 5. */
static const uint64_t durations_us[] = {100,     250,     500,     1000,    2500,   5000,
                                        10000,   25000,   50000,   100000,  250000, 500000,
                                        1000000, 2500000, 5000000, 10000000};

const struct metrics_bounds metrics_durations = {durations_us, ARRAY_SIZE(durations_us), 1e-6};

_Static_assert(ARRAY_SIZE(durations_us) < METRICS_MAX_BUCKETS, "a place for each bucket");

unsigned metrics_bucket_of(const struct metrics_bounds *bounds, uint64_t value)
{
    unsigned i = 0;

    /* Most values are in the first buckets. */
    while (i < bounds->n && value > bounds->at[i])
        i++;
    return i;
}

void metrics_begin(struct buf *text, const struct metrics_family *family)
{
    static const char *const types[] = {"counter", "gauge", "histogram"};

    buf_printf(text, "# HELP %s_%s %s\n# TYPE %s_%s %s\n", family->prefix, family->name,
               family->help, family->prefix, family->name, types[family->type]);
}

static void append_escaped(struct buf *text, struct str value)
{
    for (size_t i = 0; i < value.n; i++) {
        char c = value.p[i];

        if (c == '"' || c == '\\')
            buf_append_char(text, '\\');
        if (c == '\n')
            buf_append_str(text, STR("\\n"));
        else
            buf_append_char(text, c);
    }
}

/* Name and labels, with `le` as the last one unless it is NULL. */
static void append_name(struct buf *text, const struct metrics_family *family, const char *suffix,
                        const struct metrics_label *labels, const char *le)
{
    char before = '{';

    buf_printf(text, "%s_%s%s", family->prefix, family->name, suffix);
    for (const struct metrics_label *label = labels; label->name; label++, before = ',') {
        buf_printf(text, "%c%s=\"", before, label->name);
        append_escaped(text, label->value);
        buf_append_char(text, '"');
    }
    if (le) {
        buf_printf(text, "%cle=\"%s\"", before, le);
        before = ',';
    }
    if (before == ',')
        buf_append_char(text, '}');
    buf_append_char(text, ' ');
}

void metrics_sample(struct buf *text, const struct metrics_family *family,
                    const struct metrics_label *labels, uint64_t value)
{
    append_name(text, family, "", labels, NULL);
    buf_printf(text, "%llu\n", (unsigned long long)value);
}

void metrics_sample_real(struct buf *text, const struct metrics_family *family,
                         const struct metrics_label *labels, double value)
{
    append_name(text, family, "", labels, NULL);
    buf_printf(text, "%.15g\n", value);
}

/* The counts are summed up here, so _count is what the buckets hold, whatever is added meanwhile.
 */
void metrics_sample_histogram(struct buf *text, const struct metrics_family *family,
                              const struct metrics_label *labels,
                              const struct metrics_bounds *bounds, const uint64_t *counts,
                              uint64_t sum)
{
    uint64_t total = 0;
    char le[32];

    assert(bounds->n < METRICS_MAX_BUCKETS);
    for (unsigned i = 0; i <= bounds->n; i++) {
        total += counts[i];
        if (i < bounds->n) /* 0.01 and not 0.010, as others write it: labels are compared as text */
            snprintf(le, sizeof(le), "%g", (double)bounds->at[i] * bounds->unit);
        else
            snprintf(le, sizeof(le), "+Inf");
        append_name(text, family, "_bucket", labels, le);
        buf_printf(text, "%llu\n", (unsigned long long)total);
    }
    append_name(text, family, "_sum", labels, NULL);
    buf_printf(text, "%.15g\n", (double)sum * bounds->unit);
    append_name(text, family, "_count", labels, NULL);
    buf_printf(text, "%llu\n", (unsigned long long)total);
}

void metrics_single(struct buf *text, const struct metrics_family *family, uint64_t value)
{
    metrics_begin(text, family);
    metrics_sample(text, family, METRICS_NO_LABELS, value);
}
