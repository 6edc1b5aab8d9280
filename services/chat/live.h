/* Live rooms: the hub, which knows the rooms that somebody here follows, and the sessions, which
 * follow them. Sessions come over a transport: a gRPC stream each (live_stream.c), or many in one
 * stream of an edge.
 *
 * Threads: anything here may be called from any thread. One lock, the hub's, guards rooms, sessions
 * and their order; what a transport is asked to do happens under it, so that what a session gets is
 * in order, and must neither wait nor call back into this.
 *
 * Order. A room's events come from what is committed here, from other instances by Redis, and from
 * Postgres. The one after the last is passed on, whoever brought it; a gap is filled from Postgres,
 * by one query at a time for the whole room. Nothing comes in before it has committed.
 */
#ifndef STOA_CHAT_LIVE_H
#define STOA_CHAT_LIVE_H

#include "chat.h"
#include "service/redis_settings.h"

#include <sys/queue.h>
/* What did not fit for want of memory is not there, and whoever added it looks. */
#define HASH_NONFATAL_OOM 1
#include <uthash.h>

struct hub;
struct live_session;
struct live_carrier;

/* ---- settings ---- */

struct live_settings {
    int64_t max_connections;             /* of an account, here */
    int64_t max_subscriptions;           /* of a session */
    int64_t max_actions;                 /* of a session, begun and not answered */
    int64_t max_waiting, waiting_bytes;  /* of a session that reads slowly; a transport's to keep */
    int64_t replay_events, replay_bytes; /* kept of a room, and the most that a replay has */
    int64_t cache_bytes;                 /* kept of all rooms, about */
};

/* ---- transports ---- */

/* What a transport does for the session layer. All of it is called under the hub's lock: it must
 * not wait, and not call what is declared below. A channel is a room, by its id. Bytes are a
 * ConnectResponse or SubscribeResponse in wire form: the parts that both have are the same bytes.
 */
struct live_transport {
    /* A message for this session alone. 0, or -ENOBUFS when it reads too slowly: the session is
     * then cut off with SLOW_CONSUMER. */
    int (*send)(struct live_session *session, const struct rpc_packed *message);

    /* The same of an event of a channel in which the session is not live, and its place there: from
     * then on the session has what is up to it. NULL: send() will do. */
    int (*send_event)(struct live_session *session, const struct rpc_packed *message,
                      int64_t channel, int64_t seq);

    /* Whether enough waits for the session: then a replay stops, until live_drained(). */
    bool (*busy)(struct live_session *session);

    /* Where the session is in a channel: it has what is up to seq. live: what is broadcast in the
     * channel from now on is for it; else it gets what it missed by send_event(). NULL: no need to
     * know.
     */
    void (*place)(struct live_session *session, int64_t channel, int64_t seq, bool live);

    /* Broadcasts of the channel are no longer for the session. NULL: no need to know. */
    void (*left)(struct live_session *session, int64_t channel);

    /* A message for every session of the carrier that is live in the channel; once, however many
     * they are. seq: its place in the channel's order; 0: it has none. NULL: each gets it by
     * send(). */
    void (*broadcast)(struct live_carrier *carrier, int64_t channel, int64_t seq,
                      const struct rpc_packed *message);

    /* What a session of this account would show to go on elsewhere as it is: the access token, when
     * it has been renewed. Lives during the call. NULL: no need to know. */
    void (*resume_state)(struct live_session *session, struct str state);

    /* The session is over; nothing is sent to it after. error: NULL for a good end. at_once: what
     * waits is dropped, also when an end was asked for before and the client does not read.
     * live_closed() is still to come, from the transport. */
    void (*end)(struct live_session *session, const struct rpc_error *error, bool at_once);

    /* Nobody refers to the session any more. */
    void (*free)(struct live_session *session);
};

/* What sessions come over; its owner's, from live_carrier_init() until its last session is closed.
 */
struct live_carrier {
    const struct live_transport *transport;
    struct hub *hub;
};

void live_carrier_init(struct live_carrier *carrier, struct hub *hub,
                       const struct live_transport *transport);

/* ---- sessions ---- */

/* SUBSCRIBE: one room, whose end is the session's; no welcome, no acks. */
enum live_kind { LIVE_CONNECT, LIVE_SUBSCRIBE };

struct subscription;

/* First member of what the transport keeps of a session. All but `carrier` is the session layer's.
 */
struct live_session {
    struct live_carrier *carrier;
    enum live_kind kind;
    atomic_uint refs;

    /* Under the hub's lock. */
    struct service_caller caller; /* without the token */
    LIST_HEAD(, subscription) subscriptions;
    size_t n_subscriptions;
    size_t n_actions;
    bool ended, cut, half_closed;
    int64_t ended_ns;
    TAILQ_ENTRY(live_session) next; /* all that are open */
    struct account_sessions *account;
    LIST_ENTRY(live_session) siblings; /* of the account */
};

/* A session begins. caller: who has been authenticated. resumed: it was open at another instance
 * before: it gets `resumed` instead of `welcome`. An account that has too many is refused: the
 * session then ends at once. live_closed() must follow in any case. */
void live_open(struct live_session *session, struct live_carrier *carrier, enum live_kind kind,
               const struct service_caller *caller, bool resumed);

/* A message of the client, unpacked and valid (LIVE_CONNECT). */
void live_message(struct live_session *session, const Stoa__Chat__V1__ConnectRequest *message);

/* One that breaks the contract's rules: it is answered with an error. */
void live_refused(struct live_session *session, const Stoa__Chat__V1__ConnectRequest *message,
                  const struct rpc_error *error);

/* Follows a room: after_seq < 0: from now on. For LIVE_SUBSCRIBE, and for what a gateway says that
 * a resumed session followed; id: of the action that asks for it, NULL: nobody waits for an ack. */
void live_subscribe(struct live_session *session, int64_t room, int64_t after_seq, const char *id);
/* The same when it counts against what the account may ask: else it is answered with an error. */
void live_ask(struct live_session *session, int64_t room, int64_t after_seq, const char *id);

/* The client will send no more: the session ends when what it asked for has been answered. */
void live_half_closed(struct live_session *session);

/* There is room again where busy() said that there was none. */
void live_drained(struct live_session *session);

/* The client is gone, or the session's end has been sent: its last call, once. */
void live_closed(struct live_session *session);

/* ---- live_attach.c: sessions that come in the stream of an edge ---- */

struct edge;

/* For edge_add(); it is the caller's. -ENOMEM. */
int live_attach_new(struct service *service, struct edge **ret) MUST_CHECK;

/* ---- the hub ---- */

/* For start(). redis: without an address there is no other instance. -ENOMEM, or as bus_new(), with
 * one line in *ret_error. */
int hub_new(struct service *service, const struct live_settings *settings,
            const struct redis_settings *redis, struct hub **ret, struct str *ret_error) MUST_CHECK;
const struct live_settings *hub_settings(const struct hub *hub);
/* When Postgres can be reached (again); begins to look at the clock. -EAGAIN: no thread. */
int hub_database_ready(struct hub *hub) MUST_CHECK;
/* Ends all sessions, and refuses new ones: the service stops. */
void hub_stop(struct hub *hub);
void hub_free(struct hub *hub); /* after the last call and the database; NULL is nothing */

/* A message that has been sent, which has committed. */
struct sent_message {
    int64_t room, seq, created_us;
    struct rpc_packed *event; /* live_parts.h; NULL, for want of memory: the clock finds it */
    STAILQ_ENTRY(sent_message) next;
};
STAILQ_HEAD(sent_messages, sent_message);

/* How many rooms hub_message_stored() may name before hub_messages_sent(). */
#define HUB_MAX_STORED 64

/* A message of the room has committed, and is acknowledged next: who begins to follow the room
 * here from now on is not live before hub_messages_sent(). On the thread that calls that; not under
 * the lock, which many may want. */
void hub_message_stored(struct hub *hub, int64_t room);

/* Tells this instance's sessions and the others: those of a room in their order. The events are
 * taken over. */
void hub_messages_sent(struct hub *hub, const struct sent_messages *messages);
/* Whether that may take long, since many follow rooms by streams of their own. Any thread. */
bool hub_tells_many_alone(const struct hub *hub);

/* Something has been changed in a room, which has committed. */
void hub_room_changed(struct hub *hub, int64_t room);

/* A part that has no place in the order, for everybody who is live in the room here and at other
 * instances; may be lost. */
void hub_announce(struct hub *hub, int64_t room, const struct rpc_packed *message);
/* The same, for those here. */
void hub_announce_here(struct hub *hub, int64_t room, const struct rpc_packed *message);

/* Once, before the first session: what hears who follows a room. */
struct presence;
void hub_use_presence(struct hub *hub, struct presence *presence);
/* NULL: there is none. */
struct bus *hub_bus(struct hub *hub);

#endif
