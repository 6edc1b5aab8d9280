/* Sessions that share one gRPC stream to each instance of a service: the gateway's side of
 * stoa.edge.v1.EdgeService/Attach (proto/stoa/edge/v1/edge.proto).
 *
 *   attach.c         a session in it: the carrier of session.h, and what comes for one session
 *   attach_link.c    a stream: what goes up in turn and together, what comes down
 *   attach_place.c   which instance a session is with, and with which when that one is lost
 *   attach_fanout.c  broadcasts: made once, given to all who want them, written together
 *   channels.c       who is in which channel, up to where
 *   attach_wire.c    the bytes
 *
 * Everything runs on the worker's event loop. A call is with a link from when it is announced
 * there; a link that was lost lives on until the last of its calls is elsewhere, since it has their
 * places in the channels.
 */
#ifndef STOA_GATEWAY_ATTACH_H
#define STOA_GATEWAY_ATTACH_H

#include "channels.h"
#include "edge/attach_wire.h"
#include "rpc_stream.h"
#include "session.h"

/* ---- an upstream and the RPC by which its instances are attached to; as long as the worker ----
 */

struct attach_group {
    struct attach_group *next;
    ngx_http_upstream_srv_conf_t *upstream;
    struct str path;     /* of Attach; the configuration's */
    ngx_queue_t pending; /* calls that want (another) instance */
    ngx_queue_t links;
    struct attach_server *servers;
    ngx_event_t run; /* places what is pending: posted or at a time */
    bool beats;      /* an instance has answered `beat`: those of an older contract do not */
};

struct attach_server {
    struct attach_server *next;
    struct attach_group *group;
    struct grpc_h2_server at;
    struct attach_link *link; /* for new calls; NULL: none */
    ngx_uint_t failures;      /* in a row */
    ngx_msec_t retry_at;      /* no attempt before; when failures > 0 */
    void *metrics;            /* edge.h; may be NULL */
};

/* ---- a stream ---- */

enum attach_link_state {
    ATTACH_CONNECTING,
    ATTACH_WORKS,
    ATTACH_GOING, /* the instance wants to go: takes no new calls, and those it has are moved */
    ATTACH_LOST,
};

struct attach_link {
    ngx_queue_t queue; /* of the group's links */
    struct attach_group *group;
    struct attach_server *server;
    struct grpc_h2_stream *stream; /* NULL: lost */
    enum attach_link_state state;
    ngx_msec_t works_since;
    struct channels channels;
    ngx_queue_t announced; /* calls that the service has yet to accept, longest first */
    ngx_queue_t settled;   /* those it has */
    ngx_queue_t waiting;   /* calls that have more to say: their turn comes */
    size_t n_calls;
    struct buf up; /* items for the next AttachRequest */
    ngx_event_t flush;
    ngx_event_t beat;
    uint32_t turn;
    uint32_t missed; /* beats of the clock in which nothing was heard, in a row */
    bool counted;    /* in the metrics */
    bool heard;      /* something, since the last one */
    bool full;       /* the stream takes no more for now */
    bool broken;     /* no memory, or nonsense: to be lost */
};

/* ---- a session in it ---- */

struct attach_call {
    ngx_queue_t place; /* in one of: pending, announced, settled; or in none */
    ngx_queue_t waits; /* in link->waiting, when `waiting` */
    ngx_queue_t dirty; /* in attach_fanout.c, when `written_later` */
    struct session *session;
    struct attach_group *group;
    struct attach_link *link; /* NULL: not announced yet */
    uint64_t id;
    struct member member; /* its channels, in link->channels */
    struct str open;      /* serialized Open of a call that no instance has accepted yet; malloc */
    struct str state;    /* what the service wants to have when it is resumed; malloc. NULL: none */
    ngx_msec_t since;    /* while it is not accepted: since when, as its client sees it */
    uint32_t turn, said; /* bytes in link->turn */
    uint16_t close_code; /* attach_fanout.c: to be closed; 0: not */
    bool accepted : 1;   /* by link's instance */
    bool pending : 1;    /* in group->pending */
    bool waiting : 1;
    bool written_later : 1;
};

/* ---- attach.c ---- */

/* Opens a call. path: of Attach. -ENOMEM. */
int attach_open(struct session *s, struct str path,
                const struct session_opening *opening) MUST_CHECK;
/* The call that an item is for; NULL: it has ended. */
struct attach_call *attach_find(uint64_t id);
/* An item for this call. Sets link->broken when it makes no sense. The call may be gone. */
void attach_take(struct attach_call *call, const struct attach_down *down);
/* Says to the link's instance that the call is open, or open again. */
void attach_announce(struct attach_call *call);
/* Out of the queue that it is in, if any. */
void attach_unlink(struct attach_call *call);
/* Out of link->waiting, if it is there. */
void attach_wait_no_more(struct attach_call *call);
/* Ends a call that no instance will; its session goes on by itself. */
void attach_fail(struct attach_call *call, int status, struct str message);
/* When the worker ends. */
void attach_shutdown(void);

/* ---- attach_link.c ---- */

/* Opens a stream to the server; attach_link_free() frees it. NULL without memory. */
struct attach_link *attach_link_start(struct attach_server *server);
/* Nothing is read or sent by it any more; then only its calls and attach_link_free() touch it. */
void attach_link_close(struct attach_link *link);
void attach_link_free(struct attach_link *link);
/* Queues an item; nothing when the link is lost. */
void attach_link_put(struct attach_link *link, uint64_t session, enum attach_up what,
                     struct str value);
/* To be lost: it cannot go on as it should. */
void attach_link_break(struct attach_link *link);
/* Whether more may be queued. */
bool attach_link_has_room(const struct attach_link *link);
/* A call is with this link from now on, or not any more (which frees a lost link). */
void attach_link_enter(struct attach_link *link, struct attach_call *call);
void attach_link_leave(struct attach_call *call);
/* Whether nothing has been heard for so long that the instance may be dead. */
bool attach_link_is_late(const struct attach_link *link);
/* Whether it is another call's turn; then this one waits. */
bool attach_link_is_busy(struct attach_call *call);

/* ---- attach_place.c ---- */

/* The one of this upstream and RPC, made when there is none; path is not copied. NULL without
 * memory. */
struct attach_group *attach_group(ngx_http_upstream_srv_conf_t *upstream, struct str path);
/* A call wants an instance, or another one. */
void attach_want(struct attach_call *call);
void attach_want_no_more(struct attach_call *call);
/* How long (ms) a call waits for an instance to accept it, by those that wait now. */
ngx_msec_t attach_delay(const ngx_http_upstream_srv_conf_t *upstream, struct str path);
/* Something has changed. */
void attach_group_touch(struct attach_group *group);
/* A link has come to its end. */
void attach_link_lost(struct attach_link *link);
/* Its instance wants to go. */
void attach_link_going(struct attach_link *link);
/* Whether another instance would take its calls now. Those that nobody has spoken to yet are
 * connected to. */
bool attach_has_other(const struct attach_link *link);
/* The last of attach_shutdown(). */
void attach_groups_shutdown(void);

/* ---- attach_fanout.c ---- */

/* A message for all calls of the link that are live in the channel and have not had its number.
 * What there is no memory for closes the call that it was for. */
void attach_broadcast(struct attach_link *link, const struct attach_down *down);
/* The last step after a message for one session: writes when much waits, and closes a client that
 * does not keep up. The session may be gone. */
void attach_settle(struct session *s);
/* The call has ended. */
void attach_fanout_forget(struct attach_call *call);
/* When the worker ends. */
void attach_fanout_shutdown(void);

#endif
