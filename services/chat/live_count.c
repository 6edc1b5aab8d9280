/* How /metrics tells of live rooms. What is told is of all rooms together: there are as many as
 * people make. */
#include "live_internal.h"

#define FAMILY(n, t, h) ((struct metrics_family){"stoa_chat", (n), (t), (h)})

static void write_sessions(struct hub *hub, struct buf *text)
{
    static const struct metrics_family family = {
        "stoa_chat", "sessions", METRICS_GAUGE,
        "Live sessions now: connections, and subscriptions to one room."};
    static const char *const kinds[] = {[LIVE_CONNECT] = "connect", [LIVE_SUBSCRIBE] = "subscribe"};

    metrics_begin(text, &family);
    for (size_t i = 0; i < ARRAY_SIZE(kinds); i++)
        metrics_sample(text, &family, METRICS_LABELS(METRICS_LABEL("kind", str_of(kinds[i]))),
                       metrics_get(&hub->counts.sessions[i]));
}

static void write_gaps(struct hub *hub, struct buf *text)
{
    static const struct metrics_family family = {
        "stoa_chat", "gaps_total", METRICS_COUNTER,
        "Times that a room was read from Postgres since something was missing: seen by the number "
        "of what came, or by the question of each second."};

    metrics_begin(text, &family);
    metrics_sample(text, &family, METRICS_LABELS(METRICS_LABEL("seen_by", STR("number"))),
                   metrics_get(&hub->counts.early));
    metrics_sample(text, &family, METRICS_LABELS(METRICS_LABEL("seen_by", STR("question"))),
                   metrics_get(&hub->counts.behind));
}

void hub_write_metrics(void *user, struct buf *text)
{
    static const struct metrics_family lag = {
        "stoa_chat", "delivery_lag_seconds", METRICS_HISTOGRAM,
        "Time from the making of an event, by Postgres' clock, to its giving to subscribers."};
    struct hub *hub = user;
    const struct live_counts *counts = &hub->counts;

    write_sessions(hub, text);
    metrics_single(text,
                   &FAMILY("sessions_refused_total", METRICS_COUNTER,
                           "Sessions refused: the account had too many, or the instance stopped."),
                   metrics_get(&counts->refused_sessions));
    metrics_single(
        text,
        &FAMILY("rooms", METRICS_GAUGE, "Rooms that are followed here now, or were a moment ago."),
        metrics_get(&counts->rooms));
    metrics_single(text,
                   &FAMILY("subscribers", METRICS_GAUGE, "Followings of rooms by sessions now."),
                   metrics_get(&counts->subscriptions));
    metrics_single(text,
                   &FAMILY("messages_sent_total", METRICS_COUNTER,
                           "Messages that were sent here and have committed."),
                   metrics_get(&counts->sent));
    metrics_single(text,
                   &FAMILY("events_total", METRICS_COUNTER,
                           "Events of the rooms that are followed here, from wherever."),
                   metrics_get(&counts->events));
    metrics_single(text,
                   &FAMILY("events_delivered_total", METRICS_COUNTER,
                           "Events given to subscribers as they happened, counted for each."),
                   metrics_get(&counts->deliveries));
    metrics_single(text,
                   &FAMILY("events_replayed_total", METRICS_COUNTER,
                           "Events given to subscribers that had missed them."),
                   metrics_get(&counts->replayed));
    metrics_begin(text, &lag);
    metrics_write_histogram(text, &lag, METRICS_NO_LABELS, &metrics_durations, &counts->lag);
    write_gaps(hub, text);
    metrics_single(text,
                   &FAMILY("resets_total", METRICS_COUNTER,
                           "Subscribers told to read the history, since they had missed too much."),
                   metrics_get(&counts->resets));
    metrics_single(text,
                   &FAMILY("slow_consumers_total", METRICS_COUNTER,
                           "Sessions over gRPC cut off since they read too slowly; WebSockets are "
                           "cut off by the gateway."),
                   metrics_get(&counts->slow));
    bus_write_metrics(hub->bus, text);
}
