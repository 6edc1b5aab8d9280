/* The latest events of a room, encoded, as one piece of its order without a hole: what replays are
 * served from. And events that have come before their predecessors, until those come. Pure; its
 * owner's lock guards it. */
#ifndef STOA_CHAT_WINDOW_H
#define STOA_CHAT_WINDOW_H

#include "grpc/rpc.h"

/* An event. The window owns a reference to the bytes. */
struct window_entry {
    struct rpc_packed *bytes;
    int kind;           /* enum EventKind of the contract */
    int64_t message;    /* seq of the message that it shows; 0: none */
    int64_t subject;    /* account whose membership it is about; 0: none */
    int64_t created_us; /* when it was made, since the epoch; 0: not known */
};

struct window_early;

struct window {
    struct window_entry *ring; /* cap is a power of two */
    size_t head, n, cap;
    int64_t last; /* seq of the newest event, in the ring or not */
    size_t bytes; /* in the ring */
    struct window_early *early;
    size_t n_early;
};

/* How many events may wait for their predecessors. */
#define WINDOW_MAX_EARLY 256

/* Empty, after this seq. */
void window_init(struct window *w, int64_t last);
void window_free(struct window *w);

/* Seq of the oldest event in it; last + 1 when it is empty. */
int64_t window_first(const struct window *w);

/* NULL: it is not in the window. */
const struct window_entry *window_at(const struct window *w, int64_t seq);

/* The event last + 1, which is taken over. Without memory the window becomes empty, and last is
 * still the new one's. */
void window_append(struct window *w, struct window_entry entry);

/* n events that end right before the first one; taken over. False, without memory: they are not,
 * and have been given up. */
bool window_prepend(struct window *w, const struct window_entry *entries, size_t n) MUST_CHECK;

/* Drops the oldest ones until it is within both. */
void window_trim(struct window *w, size_t max_events, size_t max_bytes);

/* Keeps an event beyond last + 1, which is taken over; given up when it is there already, or when
 * there is no room. */
void window_keep_early(struct window *w, int64_t seq, struct window_entry entry);

/* Takes out the event last + 1 if it came early. Those that are not beyond last are given up. */
bool window_take_early(struct window *w, struct window_entry *ret) MUST_CHECK;

/* Encodes each event that shows the message anew. again() returns a new reference, or NULL: then
 * the window is emptied, since what it has must not be seen any more. */
void window_show_again(struct window *w, int64_t message,
                       struct rpc_packed *(*again)(const struct window_entry *old, void *user),
                       void *user);

/* Drops all events, early ones too. */
void window_clear(struct window *w);

#endif
