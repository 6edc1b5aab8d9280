/* Private to the live_*.c files: rooms that are followed here, and who follows them. Everything is
 * guarded by the hub's lock, and every function is called under it, unless it says otherwise. */
#ifndef STOA_CHAT_LIVE_INTERNAL_H
#define STOA_CHAT_LIVE_INTERNAL_H

#include "account_set.h"
#include "bus.h"
#include "live.h"
#include "metrics/metrics.h"
#include "presence.h"
#include "window.h"

#include <pthread.h>

/* A session's following of a room.
 *
 *     ASKED --the room is known, and the account a member--> REPLAYING --all of it given--> LIVE
 *       `--refused, too far behind                              `--reset, gone `--gone
 */
enum subscription_state { ASKED, REPLAYING, LIVE };

#define LIVE_ID_BYTES 257 /* 64 characters, and a NUL */

struct subscription {
    struct live_session *session;
    struct room *room;
    enum subscription_state state;
    int64_t seq;          /* ASKED: after_seq, -1: from now on; REPLAYING: what has been given */
    int64_t member_since; /* at this number of the room it was a member */
    uint64_t born;        /* reads of the room that had begun when it began to wait for one */
    bool waits;           /* for a read of what comes after seq */
    bool read_for;        /* which has come, and did not fit into the window */
    char *id;             /* of the action that is to be answered; NULL: none */
    TAILQ_ENTRY(subscription) next;    /* in one list of the room, by its state */
    LIST_ENTRY(subscription) siblings; /* of the session */
};
TAILQ_HEAD(subscription_list, subscription);

/* How many sessions of a carrier are live in a room. */
struct room_carrier {
    struct live_carrier *carrier;
    size_t n;
};

struct room {
    int64_t id;
    struct hub *hub;
    bool known; /* it has been read: what follows, and the window, is as it says */
    bool public;
    int64_t first_seq; /* what happened before it is kept no longer */
    struct window window;
    struct account_set members;
    struct subscription_list behind; /* ASKED and REPLAYING */
    struct subscription_list alone;  /* LIVE, each of which gets its own copy */
    struct subscription_list shared; /* LIVE, with a carrier that copies */
    struct room_carrier *carriers;   /* of `shared` */
    size_t n_carriers, cap_carriers;
    size_t n_subscriptions;
    bool reading, again;      /* a read is on its way; another one is wanted after it */
    bool detached;            /* it is no longer the hub's, and goes when it has been read */
    int64_t heard;            /* before it was known: the latest number that was spoken of */
    uint64_t n_begun, n_done; /* reads */
    struct arena arena;       /* of the read on its way */
    int64_t read_ns;          /* when to read, INT64_MAX: no need */
    int64_t idle_ns;          /* since when nobody follows it */
    UT_hash_handle hh;
};

struct account_sessions {
    int64_t id;
    LIST_HEAD(, live_session) sessions;
    size_t n;
    UT_hash_handle hh;
};

/* What /metrics tells of live rooms. */
struct live_counts {
    metrics_number sessions[2]; /* open now, by enum live_kind */
    metrics_number rooms, subscriptions;
    metrics_number sent;                 /* messages that committed here */
    metrics_number events;               /* of rooms, in their order */
    metrics_number deliveries, replayed; /* of events, to subscribers: live, and in replays */
    metrics_number early, behind;        /* events that were missing: two ways to see it */
    metrics_number resets, slow, refused_sessions;
    struct metrics_histogram lag; /* from an event's making to its delivery */
};

struct hub {
    struct live_counts counts;
    struct service *service;
    struct live_settings settings;
    const struct schema_message *response; /* ConnectResponse */
    struct bus *bus;                       /* NULL: there is no other instance */
    struct presence *presence;
    /* Rooms of messages that are being acknowledged; written by one thread, emptied under the lock.
     */
    _Atomic int64_t stored[HUB_MAX_STORED];
    _Atomic size_t n_stored;
    atomic_size_t n_alone; /* in the rooms' lists of that name; written under the lock */
    pthread_mutex_t lock;  /* guards what follows */
    pthread_cond_t wake;   /* the clock has something to do */
    struct room *rooms;    /* by id */
    struct account_sessions *accounts;
    TAILQ_HEAD(, live_session) sessions;
    bool stopping;
    bool clock_runs;
    pthread_t clock;
    int64_t clock_ns; /* when the clock looks next */
    int64_t ended_ns; /* when it looks at tokens next */
    int64_t ahead_ns; /* when it asks Postgres for what is new next */
    bool asking;      /* that question is on its way */
    struct arena ahead_arena;
    bool identified, identifying; /* which database it is; it is asked */
    struct arena identity_arena;
};

/* ---- live_hub.c ---- */

static inline void hub_lock(struct hub *hub)
{
    pthread_mutex_lock(&hub->lock);
}

static inline void hub_unlock(struct hub *hub)
{
    pthread_mutex_unlock(&hub->lock);
}

/* Whether a message of the room has been acknowledged of which it has not been told. */
bool hub_is_storing(struct hub *hub, int64_t room);

/* The clock looks at this time at the latest. */
void hub_look_at(struct hub *hub, int64_t ns);

/* ---- live_count.c; any thread, not under the lock ---- */

/* Families stoa_chat_...; a metrics_write_fn of the hub. */
void hub_write_metrics(void *hub, struct buf *text);

static inline void count_down(metrics_number *gauge)
{
    atomic_fetch_sub_explicit(gauge, 1, memory_order_relaxed);
}

/* ---- live_subscription.c ---- */

/* NULL without memory. id: of the action that is to be answered; NULL or empty: none. */
struct subscription *subscription_new(struct live_session *session, struct room *room,
                                      int64_t after_seq, const char *id);
struct subscription *session_subscription(struct live_session *session, int64_t room);
/* Ends a subscription; the client is told by whoever calls. */
void subscription_end(struct subscription *subscription);

/* The subscription may be gone after each of these, and the client is told. */

/* One that is ASKED, of a room that is known: it begins, is refused, or waits for a read. */
void subscription_decide(struct subscription *subscription);
/* Goes on with a replay as far as the transport takes it. */
void subscription_pump(struct subscription *subscription);
/* One that is ASKED: the read that it waited for has failed. */
void subscription_unread(struct subscription *subscription);
/* The account is no member any more; kind: of the event that says so. */
void subscription_gone(struct subscription *subscription, int kind);
void subscription_deleted(struct subscription *subscription);
/* What it would get next is kept no longer. One that is only ASKED begins where what is kept does.
 */
void subscription_overtaken(struct subscription *subscription);

/* Goes on with those who ask to follow the room, as far as is known now. */
void room_decide(struct room *room);
/* Goes on with all that wait for what has been read. */
void room_settle(struct room *room);

/* ---- live_room.c ---- */

struct room *room_find(struct hub *hub, int64_t id);

/* The session follows a room, which is found out about if need be. */
void room_subscribe(struct hub *hub, struct live_session *session, int64_t id, int64_t after_seq,
                    const char *action_id);

/* An event has committed: it is taken over. */
void room_event(struct room *room, int64_t seq, struct window_entry entry);
/* For everybody who is live in the room; it has no place in the order. Returns how many they are.
 */
size_t room_broadcast(struct room *room, int64_t seq, const struct rpc_packed *bytes);
/* There may be something new. */
void room_read(struct room *room);
void room_deleted(struct room *room);
/* What happened before first_seq is kept no longer: it is not replayed. */
void room_keeps(struct room *room, int64_t first_seq);
/* Looks at what is due. Returns when it wants to be called again. */
int64_t room_look(struct room *room, int64_t now);
/* All that is left, when the process ends. */
void room_free(struct room *room);

/* ---- live_session.c ---- */

/* In how many milliseconds a client may try again what was refused for want of something. */
#define RETRY_AFTER_MS 1000

extern const struct rpc_error live_no_memory, live_stopping;

/* Sends a part, which is taken over; NULL, for want of memory, cuts the session off. False: the
 * session has ended, and its subscriptions are gone. */
bool session_tell(struct live_session *session, struct rpc_packed *part);
/* The same of a part that stays the caller's. */
bool session_send(struct live_session *session, const struct rpc_packed *part);
/* The same of an event of a room, in a replay. */
bool session_send_event(struct live_session *session, const struct rpc_packed *part, int64_t room,
                        int64_t seq);

/* An action, or a subscription, is refused. */
void session_refuse(struct live_session *session, const char *id, int64_t room,
                    const struct rpc_error *error);

/* error: NULL for a good end. */
void session_end(struct live_session *session, const struct rpc_error *error, bool at_once);

/* A room is followed no longer: a session that is for that room alone ends. */
void session_after_room(struct live_session *session);

/* Looks at the caller's token, and at an end that takes too long. */
void session_look(struct live_session *session, int64_t now);

#endif
