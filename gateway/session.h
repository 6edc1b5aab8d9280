/* A WebSocket whose request has gone: nginx keeps the connection, and this is its data. A carrier
 * takes its messages to the service and brings those of the service.
 *
 *   session.c         its states, its timer, its beginning and end
 *   session_io.c      the socket: reading, writing, when to stop
 *   session_rpc.c     messages of the client and of the service, and what the RPC's end means
 *   session_stream.c  the carrier for most: a gRPC stream on the worker's shared connections (h2.h)
 *
 * Everything runs on the worker's event loop. A session's memory is its own, as there is no
 * request's pool any more.
 *
 * An event or a call of the carrier's may bring a session to its end; it is freed only by
 * session_settle(), which each of them calls last.
 */
#ifndef STOA_GATEWAY_SESSION_H
#define STOA_GATEWAY_SESSION_H

#include "frame_queue.h"
#include "grpc_json.h"
#include "h2.h"

/*           | 101 sent | client's Close | RPC ends, our fault, | broken   | both have     | gone,
 *           |          |                | the worker ends      | frames   | closed, time  | no
 * answer WAITING   | OPEN     |                | CLOSING, once 101 is sent       |               |
 * OPEN      |          | LEAVING        | CLOSING              | ENDED    |               | GONE
 * LEAVING   |          |                | ENDED                |          | ENDED (time)  | GONE
 * CLOSING   |          | ENDED          |                      | ENDED    |               | GONE
 * ENDED     |          |                |                      |          | GONE          | GONE
 */
enum session_state {
    SESSION_WAITING, /* the request is still there (upgrade.c) */
    SESSION_OPEN,
    SESSION_LEAVING, /* the client sends no more; the RPC comes to its end */
    SESSION_CLOSING, /* we send no more than the Close that is queued; the client's is to come */
    SESSION_ENDED,   /* nor does the client: what is queued goes out, until it has hung up */
    SESSION_GONE,    /* session_settle() frees it */
};

struct upgrade;
struct session;

/* How a session's RPC reaches the service. What comes back, the carrier hands to session_deliver(),
 * session_opened(), session_go_on() and session_end(), from the event loop: never from inside one
 * of these. They are called while s->call is there. */
struct session_carrier {
    /* Whether another message has to wait; session_go_on() then says when it need not any more. */
    bool (*is_full)(struct session *s);
    /* Takes a message (copied). NGX_OK; NGX_ERROR: out of memory; NGX_DECLINED: the RPC has ended,
     * as session_end() will tell. */
    ngx_int_t (*send)(struct session *s, struct str wire);
    /* The client has no more messages. */
    void (*half_close)(struct session *s);
    /* The client has read what session_deliver() wanted to wait for. */
    void (*resume)(struct session *s);
    /* The client has gone: ends the RPC and frees s->call. */
    void (*cancel)(struct session *s);
    size_t message_max; /* of the client's, serialized; 0: only the configuration's limit */
    int send_buffer;    /* of the client's socket; 0: as the system has it */
};

struct session {
    ngx_connection_t *c;
    struct upgrade *upgrade; /* WAITING */
    const struct session_carrier *carrier;
    void *call; /* the carrier's; NULL: the RPC has ended */
    const struct grpc_json_conf *conf;
    const struct schema_binding *binding;
    const struct schema_method *method;
    void *metrics;
    struct grpc_json_hold *hold; /* what counts it as a stream of its caller; may be NULL */
    struct websocket_reader reader;
    struct frame_queue out;
    struct str first; /* what path and query say, for the first message; malloc */
    struct str held;  /* input that waits; malloc. held_at: how much of it has been read */
    size_t held_at;
    ngx_msec_t send_timeout;
    ngx_msec_t heard_at;          /* when bytes last came, or a ping went */
    ngx_msec_t used_at;           /* when a message last came or went */
    ngx_msec_t deadline;          /* of the RPC, for a carrier that does not watch it; 0: none */
    uint32_t counted;             /* bytes in grpc_json_websocket_held() */
    uint16_t code;                /* of the client's Close */
    uint8_t state;                /* enum session_state */
    uint8_t window;               /* of the client's permessage-deflate; 0: no compression */
    bool raw_in : 1, raw_out : 1; /* messages are google.api.HttpBody */
    bool no_more : 1;             /* the client has said that it has no more messages */
    bool full : 1;                /* for the carrier: it takes no more for now */
    bool paused : 1;              /* the service waits until the client has read */
    bool pongs_wait : 1;          /* the client pings and does not read */
    bool ping_sent : 1;           /* and nothing has been heard since */
    bool hung_up : 1;             /* our side of the connection is closed */
};

/* ---- session.c ---- */

/* For a request that is waiting; it owns nothing of the request. NULL without memory. */
struct session *session_new(ngx_http_request_t *r, struct upgrade *upgrade, unsigned window);
/* The 101 has gone out and nobody else touches the request any more: frees it. */
void session_detach(struct session *s, ngx_http_request_t *r);
/* The last of it. While the request is there it is the request's end. */
void session_free(struct session *s);

/* Queues a Close frame, as the last frame, and ends the RPC if it has not ended. */
void session_close(struct session *s, unsigned code, struct str reason);
/* The client has sent a Close. */
void session_left(struct session *s, unsigned code);
/* Nothing that the client sends is looked at any more. */
void session_ended(struct session *s);
/* Nothing can be sent or read any more. */
void session_gone(struct session *s);
/* The time of its state is over. */
void session_on_timer(struct session *s);
/* The last step of every event: frees a session that has gone. */
void session_settle(struct session *s);

/* ---- session_io.c ---- */

/* Handlers of the connection's events. */
void session_on_read(ngx_event_t *event);
void session_on_write(ngx_event_t *event);
/* Writes what there is, if the client takes it. The session may have gone: session_settle(). */
void session_write(struct session *s);
/* Looks at the socket again, from the event loop. */
void session_wants_write(struct session *s);
void session_wants_read(struct session *s);
/* Keeps input until it is wanted. -ENOMEM. */
int session_hold(struct session *s, const void *p, size_t n) MUST_CHECK;
/* Counts what the session holds of input that is not whole. */
void session_count(struct session *s);
/* Whether the client's next message has to wait. */
bool session_is_blocked(struct session *s);

/* ---- session_rpc.c ---- */

/* From the carrier: the service has accepted the call. */
void session_opened(struct session *s);
/* From the carrier: a message of the service's. Whether more may come; false: after resume(). The
 * RPC may have ended: then s->call is NULL, and the caller ends with session_settle(). */
bool session_deliver(struct session *s, struct str wire);
/* From the carrier: more messages may be sent. */
void session_go_on(struct session *s);
/* From the carrier, its last: the RPC has ended, s->call is gone. The session may be gone, too. */
void session_end(struct session *s, const struct grpc_h2_end *end);

/* What a message of the service's is to a client. */
struct session_text {
    enum websocket_opcode opcode;
    struct str payload; /* part of the message, or in the scratch buffer */
};

#define SESSION_NO_FAULT          \
    {                             \
        STR(""), STR("is broken") \
    }
#define SESSION_BROKEN "the service sent a broken message"

/* -EBADMSG: it is no such message; *fault says what is wrong, when that was found. -EMSGSIZE,
 * -ENOMEM. */
int session_print(const struct session *s, struct str wire, struct session_text *ret,
                  struct schema_fault *fault) MUST_CHECK;
void session_log_broken(const struct session *s, const struct schema_fault *fault);
/* Whether the client gets a payload of n bytes compressed, if that makes it smaller. */
bool session_wants_deflate(const struct session *s, size_t n);
/* NULL without memory. */
struct frame *session_frame(const struct session_text *text, bool deflate);

/* Closes as the RPC's end says. */
void session_say_end(struct session *s, const struct grpc_h2_end *end);
/* A message of the client's, of OPEN. */
void session_take_message(struct session *s, enum websocket_opcode opcode, struct str payload);

/* ---- session_stream.c ---- */

/* What a call begins with. */
struct session_opening {
    ngx_http_upstream_srv_conf_t *upstream;
    const struct grpc_h2_header *headers;
    size_t n;
    ngx_msec_t timeout; /* 0: none */
    ngx_msec_t came;    /* when the last of the handshake came */
};

/* Opens a stream of the session's own. -ENOMEM. */
int session_open_stream(struct session *s, const struct session_opening *opening) MUST_CHECK;

/* ---- upgrade.c, for a call whose request is waiting ---- */

/* As session_opened() and session_end(). */
void upgrade_opened(struct upgrade *upgrade);
void upgrade_ended(struct upgrade *upgrade, const struct grpc_h2_end *end);

#endif
