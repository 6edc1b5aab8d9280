/* A ring of spans. Each is a copy of fixed size, so that recording one takes no memory. */
#include "trace/internal.h"

#include "base/cond.h"
#include "base/hex.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/random.h>
#include <unistd.h>

struct trace_recorder {
    struct trace_recorder_options options;
    char instance[TRACE_INSTANCE_SIZE];

    pthread_mutex_t lock; /* guards what follows */
    pthread_cond_t changed;
    bool woken;
    struct kept_span *ring; /* of TRACE_WAITING */
    size_t first, n;
    uint64_t recorded, dropped;
};

int trace_recorder_new(const struct trace_recorder_options *options, struct trace_recorder **ret)
{
    struct trace_recorder *recorder = calloc(1, sizeof(*recorder));
    char host[64] = "";

    if (!recorder)
        return -ENOMEM;
    recorder->ring = calloc(TRACE_WAITING, sizeof(*recorder->ring));
    if (!recorder->ring) {
        free(recorder);
        return -ENOMEM;
    }
    recorder->options = *options;
    /* A name that is too long is cut, and need not end with a NUL then. */
    if (gethostname(host, sizeof(host) - 1) < 0)
        host[0] = '\0';
    snprintf(recorder->instance, sizeof(recorder->instance), "%s:%ld", host, (long)getpid());
    pthread_mutex_init(&recorder->lock, NULL);
    cond_init(&recorder->changed);
    *ret = recorder;
    return 0;
}

void trace_recorder_free(struct trace_recorder *recorder)
{
    if (!recorder)
        return;
    pthread_cond_destroy(&recorder->changed);
    pthread_mutex_destroy(&recorder->lock);
    free(recorder->ring);
    free(recorder);
}

/* ---- making spans ---- */

bool trace_is_chosen(const struct trace_context *trace, unsigned one_in)
{
    uint64_t number = 0;

    /* The last digits: the random ones in what generators of ids commonly make. */
    (void)hex_to_uint64((struct str){trace->id + TRACE_ID_SIZE - 8, 8}, &number);
    return one_in > 0 && number % one_in == 0;
}

bool trace_begin(const struct trace_recorder *recorder, struct str traceparent,
                 struct trace_context *ret)
{
    unsigned char random[TRACE_RANDOM_SIZE];

    if (getrandom(random, sizeof(random), GRND_NONBLOCK) != sizeof(random))
        return false;
    if (!trace_start(ret, traceparent, random))
        ret->sampled = trace_is_chosen(ret, recorder->options.one_in);
    return ret->sampled;
}

static size_t copy(char *to, size_t room, struct str s)
{
    size_t n = s.n < room ? s.n : room;

    if (n > 0)
        memcpy(to, s.p, n);
    return n;
}

void trace_record(struct trace_recorder *recorder, const struct trace_span *span)
{
    struct kept_span *kept;

    pthread_mutex_lock(&recorder->lock);
    if (recorder->n == TRACE_WAITING) {
        recorder->dropped++;
    } else {
        kept = &recorder->ring[(recorder->first + recorder->n++) % TRACE_WAITING];
        kept->trace = *span->trace;
        kept->kind = span->kind;
        kept->code = span->code;
        kept->failed = span->failed;
        kept->begun_us = span->begun_us;
        kept->end_us = span->end_us > span->begun_us ? span->end_us : span->begun_us;
        kept->name_size = copy(kept->name, sizeof(kept->name), span->name);
        kept->detail_size = copy(kept->detail, sizeof(kept->detail), span->detail);
        recorder->recorded++;
        if (recorder->n == TRACE_BATCH)
            pthread_cond_signal(&recorder->changed);
    }
    pthread_mutex_unlock(&recorder->lock);
}

struct trace_statement trace_statement_begin(const struct trace_context *parent)
{
    return (struct trace_statement){parent, parent ? clock_realtime_us() : 0};
}

void trace_statement_end(struct trace_recorder *recorder, const struct trace_statement *statement,
                         const char *name, const char *sqlstate, bool failed, size_t writes)
{
    struct trace_context trace;
    unsigned char random[TRACE_SPAN_SIZE / 2];

    if (!recorder || !statement->parent ||
        getrandom(random, sizeof(random), GRND_NONBLOCK) != sizeof(random))
        return;
    trace_child(&trace, statement->parent, random);
    trace_record(recorder, &(struct trace_span){.trace = &trace,
                                                .kind = TRACE_SQL,
                                                .name = str_of(name),
                                                .detail = str_of(sqlstate),
                                                .code = (int)writes,
                                                .failed = failed,
                                                .begun_us = statement->begun_us,
                                                .end_us = clock_realtime_us()});
}

/* ---- exporting them ---- */

void trace_wait(struct trace_recorder *recorder, int64_t until_ns)
{
    int r = 0;

    pthread_mutex_lock(&recorder->lock);
    while (r == 0 && !recorder->woken && recorder->n < TRACE_BATCH)
        r = cond_wait_until(&recorder->changed, &recorder->lock, until_ns);
    recorder->woken = false;
    pthread_mutex_unlock(&recorder->lock);
}

void trace_wake(struct trace_recorder *recorder)
{
    pthread_mutex_lock(&recorder->lock);
    recorder->woken = true;
    pthread_cond_signal(&recorder->changed);
    pthread_mutex_unlock(&recorder->lock);
}

/* The oldest spans, copied out so that the lock is not held while they are written. */
static struct kept_span *take(struct trace_recorder *recorder, struct arena *arena, size_t *ret_n)
{
    struct kept_span *spans;
    size_t n;

    pthread_mutex_lock(&recorder->lock);
    n = recorder->n < TRACE_BATCH ? recorder->n : TRACE_BATCH;
    spans = arena_calloc(arena, n + 1, sizeof(*spans));
    for (size_t i = 0; spans && i < n; i++)
        spans[i] = recorder->ring[(recorder->first + i) % TRACE_WAITING];
    recorder->first = (recorder->first + n) % TRACE_WAITING;
    recorder->n -= n;
    if (!spans)
        recorder->dropped += n;
    pthread_mutex_unlock(&recorder->lock);
    *ret_n = n;
    return spans;
}

static void drop(struct trace_recorder *recorder, size_t n)
{
    pthread_mutex_lock(&recorder->lock);
    recorder->dropped += n;
    pthread_mutex_unlock(&recorder->lock);
}

int trace_take(struct trace_recorder *recorder, struct arena *arena,
               const trace_export_request **ret)
{
    size_t n;
    const struct kept_span *spans = take(recorder, arena, &n);

    if (!spans)
        return -ENOMEM;
    *ret = n > 0 ? export_request(recorder->options.service, recorder->instance, spans, n, arena)
                 : NULL;
    if (n > 0 && !*ret) {
        drop(recorder, n);
        return -ENOMEM;
    }
    return (int)n;
}

void trace_stats(struct trace_recorder *recorder, struct trace_stats *ret)
{
    pthread_mutex_lock(&recorder->lock);
    *ret = (struct trace_stats){recorder->recorded, recorder->dropped, recorder->n};
    pthread_mutex_unlock(&recorder->lock);
}
