/* How /metrics tells of the connections to Redis. */
#include "redis/internal.h"

static const char *const outcomes[] = {
    [REDIS_ANSWERED] = "answered",
    [REDIS_REFUSED] = "refused",
    [REDIS_TIMED_OUT] = "timed_out",
    [REDIS_LOST] = "lost",
};

static struct metrics_label label_of(const struct redis_use *use)
{
    return METRICS_LABEL("connection", str_of(use->name));
}

/* A family with a sample of each connection. */
static void write_each(const struct redis_use *uses, size_t n, const struct metrics_family family,
                       uint64_t (*value)(const struct redis *redis), struct buf *text)
{
    metrics_begin(text, &family);
    for (size_t i = 0; i < n; i++) {
        if (uses[i].redis)
            metrics_sample(text, &family, METRICS_LABELS(label_of(&uses[i])), value(uses[i].redis));
    }
}

static uint64_t is_up(const struct redis *redis)
{
    return redis_ready(redis);
}

static uint64_t connects(const struct redis *redis)
{
    return metrics_get(&redis->counts.connects);
}

static uint64_t failures(const struct redis *redis)
{
    return metrics_get(&redis->counts.failures);
}

static uint64_t losses(const struct redis *redis)
{
    return metrics_get(&redis->counts.losses);
}

static uint64_t messages(const struct redis *redis)
{
    return metrics_get(&redis->counts.messages);
}

static uint64_t waiting(const struct redis *redis)
{
    return atomic_load(&redis->n_commands);
}

static void write_commands(const struct redis_use *uses, size_t n, struct buf *text)
{
    static const struct metrics_family
        commands = {"stoa_redis", "commands_total", METRICS_COUNTER,
                    "Commands that have ended, by what became of them."},
        durations = {"stoa_redis", "command_duration_seconds", METRICS_HISTOGRAM,
                     "Time from submitting a command to its answer."};

    metrics_begin(text, &commands);
    for (size_t i = 0; i < n; i++) {
        for (size_t k = 0; uses[i].redis && k < ARRAY_SIZE(outcomes); k++)
            metrics_sample(
                text, &commands,
                METRICS_LABELS(label_of(&uses[i]), METRICS_LABEL("outcome", str_of(outcomes[k]))),
                metrics_get(&uses[i].redis->counts.outcomes[k]));
    }
    metrics_begin(text, &durations);
    for (size_t i = 0; i < n; i++) {
        if (uses[i].redis)
            metrics_write_histogram(text, &durations, METRICS_LABELS(label_of(&uses[i])),
                                    &metrics_durations, &uses[i].redis->counts.duration);
    }
}

#define FAMILY(n, t, h) ((struct metrics_family){"stoa_redis", (n), (t), (h)})

void redis_write_metrics(const struct redis_use *uses, size_t n, struct buf *text)
{
    write_each(uses, n, FAMILY("up", METRICS_GAUGE, "1: Redis has answered on it; 0: not."), is_up,
               text);
    write_each(uses, n, FAMILY("connects_total", METRICS_COUNTER, "Connections made."), connects,
               text);
    write_each(
        uses, n,
        FAMILY("connect_failures_total", METRICS_COUNTER, "Attempts to connect that failed."),
        failures, text);
    write_each(uses, n,
               FAMILY("connections_lost_total", METRICS_COUNTER,
                      "Connections that broke, or were given up."),
               losses, text);
    write_each(uses, n, FAMILY("messages_total", METRICS_COUNTER, "Messages heard of channels."),
               messages, text);
    write_each(uses, n,
               FAMILY("commands_waiting", METRICS_GAUGE,
                      "Commands that wait, or whose answers are to come."),
               waiting, text);
    write_commands(uses, n, text);
}
