/* The gRPC server runtime: typed handlers on the gRPC C core.
 *
 * This folder is the only place that includes <grpc/...>; services see this header. A server has
 * one completion queue and poller threads (one by default, the fastest per CPU). Handlers run on a
 * poller thread and must not block: work that waits goes to lib/pg or to a pool of its own, which
 * finishes the call later from any thread.
 *
 * Life of a unary call:
 *     accepted -> authenticate hook -> request read -> wire check, unpack -> buf.validate rules
 *     -> handler
 *     -> exactly one of rpc_reply() / rpc_fail() / rpc_fail_with(), now or later, on any thread.
 * After that the call must not be touched. All memory of a call is one arena, freed in one step.
 *
 * Authentication comes before reading, so that a stranger without a token learns nothing and costs
 * little.
 */
#ifndef STOA_GRPC_RPC_H
#define STOA_GRPC_RPC_H

#include "base/arena.h"
#include "base/buf.h"
#include "grpc/code.h"
#include "schema/schema.h"
#include "trace/trace.h"

#include <protobuf-c/protobuf-c.h>
#include <stdatomic.h>

struct rpc_server;
struct rpc_call;

/* An error for the caller, sent as google.rpc.Status in grpc-status-details-bin. Everything that is
 * set becomes a detail message; strings need to live only until the call returns. */
struct rpc_error {
    enum rpc_code code;
    struct str message; /* one sentence in plain words */
    const char *reason; /* google.rpc.ErrorInfo.reason, UPPER_SNAKE_CASE (AIP-193); domain "stoa" */
    const struct schema_fault *violations; /* google.rpc.BadRequest.field_violations */
    size_t n_violations;
    const char *resource_type;        /* google.rpc.ResourceInfo: "article", with ... */
    struct str resource_name;         /* ... what was asked for, and ... */
    const char *resource_description; /* ... what is wrong: "not found" */
    int64_t retry_after_ms;           /* google.rpc.RetryInfo; 0: none */
};

/* ---- a call, as a handler sees it ---- */

/* Memory that lives as the call, for one thread at a time. */
struct arena *rpc_call_arena(struct rpc_call *call);

/* When the caller stops waiting: clock_monotonic_ns() terms; INT64_MAX without a deadline. */
int64_t rpc_call_deadline_ns(const struct rpc_call *call);

/* Set once the caller has gone away or the deadline has passed. The pointer is valid while the call
 * is; pass it to lib/pg so that queued work is dropped. */
const atomic_bool *rpc_call_cancelled(const struct rpc_call *call);

/* First value of a request metadata key (lower case); {NULL, 0} when absent. Lives as the call. */
struct str rpc_call_metadata(const struct rpc_call *call, const char *key);
/* How many values it has. */
size_t rpc_call_metadata_count(const struct rpc_call *call, const char *key);

/* Adds to the initial / trailing metadata of the answer; strings are copied. -ENOSPC after 16,
 * -EINVAL when HTTP/2 forbids the key or value, -EALREADY when a stream's headers have been sent
 * (that is, with its first message or when `open` has returned). */
int rpc_call_add_header(struct rpc_call *call, struct str key, struct str value) MUST_CHECK;
int rpc_call_add_trailer(struct rpc_call *call, struct str key, struct str value) MUST_CHECK;

/* "unix:..." or "ipv4:127.0.0.1:1234", as the core names the peer. */
struct str rpc_call_peer(struct rpc_call *call);
const struct schema_method *rpc_call_method(const struct rpc_call *call);

/* The call's own span, to make others within; NULL when the call is not traced. Lives as it does.
 */
const struct trace_context *rpc_call_trace(const struct rpc_call *call);

/* One pointer for the authenticate hook to hand something to the handler (in the call's arena). */
void rpc_call_set_context(struct rpc_call *call, void *context);
void *rpc_call_context(const struct rpc_call *call);

/* ---- finishing; each ends the call ---- */

/* On any thread, once. Strings and messages are copied or packed before these return, and the call
 * may be gone then. response: of the method's output type. */
void rpc_reply(struct rpc_call *call, const ProtobufCMessage *response);
/* A unary call, not one of the process's own, with a response of the method's that is packed. */
void rpc_reply_packed(struct rpc_call *call, struct str response);
void rpc_fail(struct rpc_call *call, enum rpc_code code, const char *fmt, ...) PRINTF_LIKE(3, 4);
void rpc_fail_with(struct rpc_call *call, const struct rpc_error *error);
/* With UNAVAILABLE, before anything was done for the call: the trailer grpc-retry-pushback-ms: 0
 * says so (gRFC A6), and the gateway asks another instance at once, whatever the method. reason,
 * message: static. */
void rpc_refuse(struct rpc_call *call, const char *reason, const char *message);

/* ---- streams ---- */

/* Packs and queues one message. Any thread. Returns 0, -ENOBUFS (the caller reads too slowly: its
 * queue is full, see rpc_stream_bound(); the usual answer is rpc_stream_cancel) or -EPIPE
 * (finished or cancelled). */
int rpc_stream_send(struct rpc_call *call, const ProtobufCMessage *message) MUST_CHECK;

/* A message in its wire form, packed once for all streams that it goes to. Reference-counted; any
 * thread. */
struct rpc_packed;
/* NULL without memory. */
struct rpc_packed *rpc_pack(const ProtobufCMessage *message) MUST_CHECK;
struct rpc_packed *rpc_packed_copy(struct str bytes) MUST_CHECK;
/* What the buffer holds, without a copy of it: the buffer is empty then, in any case. NULL also for
 * one that has failed. */
struct rpc_packed *rpc_packed_take(struct buf *bytes) MUST_CHECK;
struct rpc_packed *rpc_packed_ref(struct rpc_packed *packed);
void rpc_packed_unref(struct rpc_packed *packed); /* NULL is nothing */
struct str rpc_packed_bytes(const struct rpc_packed *packed);

/* The google.rpc.Status that a caller gets of an error, in grpc-status-details-bin; NULL: it has no
 * more to say than code and message, or there is no memory. */
struct rpc_packed *rpc_error_details(const struct rpc_error *error) MUST_CHECK;

/* rpc_stream_send() of what is packed; the stream takes a reference of its own. The bytes are a
 * message of the method's output type. */
int rpc_stream_send_packed(struct rpc_call *call, const struct rpc_packed *packed) MUST_CHECK;

/* Bounds of the stream's queue: at least one message may always wait. Without it messages are
 * bounded by max_stream_queue and bytes by 4 MiB. In `open`. */
void rpc_stream_bound(struct rpc_call *call, size_t messages, size_t bytes);

/* How much is queued, besides what is with the transport. Any thread. */
void rpc_stream_waiting(struct rpc_call *call, size_t *ret_messages, size_t *ret_bytes);

/* Ends the stream after everything queued has been sent. Any thread; once. */
void rpc_stream_finish(struct rpc_call *call, const struct rpc_error *error /* NULL: OK */);

/* Ends the stream at once, dropping what is queued (a consumer that can't keep up). NULL:
 * CANCELLED. While a message is stuck on its way the caller gets code and sentence only, no
 * details. */
void rpc_stream_cancel(struct rpc_call *call, const struct rpc_error *error);

/* A stream that another thread sends to is kept by a reference of that thread's own, given up when
 * the stream is closed: stopping waits for it. */
void rpc_call_ref(struct rpc_call *call);
void rpc_call_unref(struct rpc_call *call);

/* ---- handlers ---- */

typedef void rpc_unary_fn(void *service, struct rpc_call *call, const ProtobufCMessage *request);

struct rpc_stream_handler {
    /* The stream has begun. request: server streaming, the one request; bidi: NULL. */
    void (*open)(void *service, struct rpc_call *call, const ProtobufCMessage *request);
    /* Client and bidi streaming: one more message; valid until it returns. The next is read after.
     */
    void (*message)(void *service, struct rpc_call *call, const ProtobufCMessage *message);
    /* Client and bidi streaming: a message that breaks the contract's rules; both are valid until
     * it returns, and the stream goes on. NULL: that ends the stream, as bytes that are no such
     * message always do. */
    void (*refused)(void *service, struct rpc_call *call, const ProtobufCMessage *message,
                    const struct rpc_error *error);
    /* The caller will send no more. May be NULL. */
    void (*half_close)(void *service, struct rpc_call *call);
    /* All that was queued is with the transport: a stream of any length is made at the speed of its
     * reader by sending little at a time and going on here. With several pollers it may run beside
     * the other callbacks, `closed` included. May be NULL. */
    void (*drained)(void *service, struct rpc_call *call);
    /* Last callback of every stream that was opened, finished or cancelled. May be NULL. */
    void (*closed)(void *service, struct rpc_call *call);
    /* Bidi: messages are read only while few wait to be sent, so that a handler that answers each
     * with one of about its size never finds the queue full. */
    bool paced;
    /* The answer begins with the first message or the end, and not with open(): for a stream that
     * learns only later whether it may be, and whose refusal is then seen as one by whoever has to
     * choose a status with the beginning, such as HTTP's. */
    bool begins_late;
};

struct rpc_handler {
    const char *method;  /* "GetArticle" */
    rpc_unary_fn *unary; /* one of unary and stream */
    const struct rpc_stream_handler *stream;
};

/* Gives a handler its types: defines NAME_rpc, an rpc_unary_fn around
 *     static void NAME(SERVICE *service, struct rpc_call *call, const REQUEST *request) */
#define RPC_UNARY(NAME, SERVICE, REQUEST)                                                         \
    static void NAME##_rpc(void *service, struct rpc_call *call, const ProtobufCMessage *request) \
    {                                                                                             \
        NAME((SERVICE *)service, call, (const REQUEST *)request);                                 \
    }

/* ---- calls of the process's own ---- */

/* A call that comes from a handler and not from the network, such as one message of a stream that
 * asks for what an RPC does: it is authenticated, validated and served as any other, and its
 * answer goes to its maker. It counts as a call in work, also when the server stops.
 *
 *     rpc_local_new, rpc_local_set_user -> [rpc_local_authenticate -> proceed] -> rpc_local_run
 *         -> replied or failed
 *
 * or rpc_local_end() instead of the last step. Every end frees the call when the callback has
 * returned. Callbacks run on whatever thread comes to it, also within the call that leads there.
 */
struct rpc_local {
    const char *method; /* "/stoa.chat.v1.RoomService/SendMessage" */
    /* Authentication has succeeded: rpc_call_context() is what the hook has left. */
    void (*proceed)(void *user, struct rpc_call *call);
    void (*replied)(void *user, struct rpc_call *call, const ProtobufCMessage *response);
    void (*failed)(void *user, struct rpc_call *call, const struct rpc_error *error);
};

/* -ENOENT (no such method), -EAGAIN (the server stops, or has enough calls), -ENOMEM. A stream's
 * method can be authenticated and decoded for, and not run. */
int rpc_local_new(struct rpc_server *server, const struct rpc_local *local,
                  struct rpc_call **ret) MUST_CHECK;

/* What the callbacks get as user; may be in the call's arena. */
void rpc_local_set_user(struct rpc_call *call, void *user);

struct rpc_local_metadata {
    struct str key, value;
};
/* What rpc_call_metadata() will find, and rpc_call_peer() will say; all of it lives as the call,
 * best in its arena. */
void rpc_local_set_metadata(struct rpc_call *call, const struct rpc_local_metadata *metadata,
                            size_t n, struct str peer);

/* By the server's hook and the metadata set before; `proceed` or `failed` follows. */
void rpc_local_authenticate(struct rpc_call *call);
/* request: of the method's input type, alive as long as the call; best in its arena. */
void rpc_local_run(struct rpc_call *call, const ProtobufCMessage *request);
/* Checks, unpacks and validates bytes as a message of the method's input type. Returns 0; -EBADMSG:
 * they are none; -EDOM: *ret is one, and breaks the contract's rules. *ret_error says what is wrong
 * with it. Everything is in the arena. */
int rpc_local_decode(const struct rpc_call *call, struct str bytes, struct arena *arena,
                     const ProtobufCMessage **ret, struct rpc_error *ret_error) MUST_CHECK;
/* Ends a call that is not run, without a callback. */
void rpc_local_end(struct rpc_call *call);

/* ---- server ---- */

struct rpc_server_options {
    const struct schema *schema; /* outlives the server */
    /* Called before a request is decoded; must end in rpc_call_proceed() or rpc_fail...(), now or
     * later, on any thread. NULL: every call proceeds. Not called for health and reflection. */
    void (*authenticate)(void *context, struct rpc_call *call);
    void *authenticate_context;
    size_t max_request_bytes; /* 0: 4 MiB. Larger: RESOURCE_EXHAUSTED from the core */
    size_t max_calls;         /* calls in work at once; more: RESOURCE_EXHAUSTED. 0: 4096 */
    /* Whether a call is of those for whom a quarter of max_calls is kept: whatever all others hold
     * open, these are served. Asked when the rest is in use, on any thread. NULL: nothing is kept.
     */
    bool (*is_preferred)(void *context, struct rpc_call *call);
    void *is_preferred_context;
    /* Unary calls of an RPC that would only wait are refused with RESOURCE_EXHAUSTED while answers
     * take longer than this (in_flight.h). 0: none is. */
    int64_t patience_ms;
    size_t max_stream_queue; /* messages waiting per stream. 0: 1024 */
    int64_t max_call_ms;     /* bound on unary calls without a deadline. 0: 30,000 */
    unsigned pollers;        /* poller threads. 0: 1 */
    /* Gets a span of each call whose traceparent says so, or whose turn has come; outlives the
     * server. NULL: none. */
    struct trace_recorder *recorder;
};

struct rpc_tls {
    const char *certificate_file, *key_file; /* PEM */
    const char *client_ca_file;              /* mTLS: callers must show one; NULL: plain TLS */
};

/* -ENOMEM, -EINVAL. */
int rpc_server_new(const struct rpc_server_options *options, struct rpc_server **ret) MUST_CHECK;

/* handlers: one row for each method of the service; a method without a row, an unknown name or the
 * wrong kind is -EINVAL with one line in *ret_error (static or in the server). Before start. */
int rpc_server_add(struct rpc_server *server, const ProtobufCServiceDescriptor *descriptor,
                   const struct rpc_handler *handlers, size_t n, void *service,
                   struct str *ret_error) MUST_CHECK;

/* address: "unix:/path", "127.0.0.1:9001", "[::1]:9001", ":0"-style ports allowed (ret_port, may be
 * NULL, gets the port). tls: NULL for plain text. A unix socket file is made with `mode` (0: 0660),
 * replacing a stale one that nobody listens on. -EADDRINUSE with one line in *ret_error when it is
 * taken. Before start. */
int rpc_server_listen(struct rpc_server *server, const char *address, const struct rpc_tls *tls,
                      unsigned mode, int *ret_port, struct str *ret_error) MUST_CHECK;

/* Once. Handlers run on the pollers from here on. -ENOMEM, or the error of a thread that cannot be
 * started. */
int rpc_server_start(struct rpc_server *server) MUST_CHECK;

/* The second half of the authenticate hook: the call goes on to decoding and its handler. */
void rpc_call_proceed(struct rpc_call *call);

/* Readiness in grpc.health.v1: the services and "" answer SERVING or NOT_SERVING; the name
 * "liveness" answers SERVING as long as the process works. Watch streams see the change. Any
 * thread. A server starts not ready. */
void rpc_server_set_ready(struct rpc_server *server, bool ready);

/* Something that the program can do without (a cache, ...), by a name of its own in grpc.health.v1:
 * SERVING or NOT_SERVING, without a say in readiness. name: static; four at most. Any thread. */
void rpc_server_set_part(struct rpc_server *server, const char *name, bool serving);

/* Runs fn(arg) once, soon, on a poller thread; must not block. What is answered there needs no
 * second thread: each answer from elsewhere wakes a poller. Any thread. -EAGAIN: the server is not
 * started, or has stopped; -ENOMEM. */
int rpc_server_run(struct rpc_server *server, void (*fn)(void *arg), void *arg) MUST_CHECK;

/* Graceful stop: not ready; new calls are refused as by rpc_refuse(); calls in work may end within
 * grace_ms, then they are cancelled; GOAWAY, and the connections end. Returns when no call is left
 * and all threads have ended. */
void rpc_server_stop(struct rpc_server *server, int64_t grace_ms);
void rpc_server_free(struct rpc_server *server); /* after stop, or when never started */

/* ---- asking another server ---- */

/* Whether the server at an address ("unix:/path", "127.0.0.1:9001"; in plain text) says in
 * grpc.health.v1 that it is ready. Waits for the answer, timeout_ms at most. 0; -EAGAIN: it is not
 * ready; -EHOSTUNREACH: it did not answer; *ret_error is then one line, static or in the arena. */
int rpc_check_health(const char *address, int64_t timeout_ms, struct arena *arena,
                     struct str *ret_error) MUST_CHECK;

struct rpc_server_stats {
    uint64_t started, finished, refused; /* calls; refused: over max_calls */
    uint64_t active;
};
void rpc_server_stats(const struct rpc_server *server, struct rpc_server_stats *ret);

/* Appends the families stoa_grpc_... (metrics/server.h). Any thread, after start. */
void rpc_server_write_metrics(const struct rpc_server *server, struct buf *text);

#endif
