/* Private to lib/grpc: the server, a call, and what the files do for each other and for client.c.
 *
 * Completion queue tags are struct ev, embedded in the object they belong to. Every outstanding
 * operation of a call holds a reference to it, so a call outlives whatever the core still does with
 * its memory; the last reference puts it back into the server's pool.
 */
#ifndef STOA_GRPC_INTERNAL_H
#define STOA_GRPC_INTERNAL_H

#include "base/id_table.h"
#include "grpc/in_flight.h"
#include "grpc/rpc.h"
#include "metrics/metrics.h"

#include <grpc/grpc.h>
#include <pthread.h>
#include <sys/queue.h>

/* ThreadSanitizer can't see the core's own synchronisation: a tag hands everything written before
 * its operation was started to the thread that takes it from the queue. */
#ifdef __SANITIZE_THREAD__
#include <sanitizer/tsan_interface.h>
#define TAG_RELEASE(tag) __tsan_release(tag)
#define TAG_ACQUIRE(tag) __tsan_acquire(tag)
#else
#define TAG_RELEASE(tag) ((void)(tag))
#define TAG_ACQUIRE(tag) ((void)(tag))
#endif

#define RPC_MAX_METADATA 16 /* headers or trailers that a handler may add */

/* A completion queue tag. fn runs on a poller thread. */
struct ev {
    void (*fn)(struct ev *ev, bool ok);
};

/* What /metrics tells of a method. */
struct rpc_counts {
    metrics_number open;                           /* admitted and not ended */
    metrics_number codes[RPC_UNAUTHENTICATED + 1]; /* ended, refused ones included */
    struct metrics_histogram duration;             /* of unary ones, by metrics_durations */
};

struct rpc_method {
    struct str path;
    const struct schema_method *schema; /* types, rules, kind, policy */
    const ProtobufCMessageDescriptor *input, *output;
    rpc_unary_fn *unary;
    const struct rpc_stream_handler *stream;
    void *service;
    struct rpc_counts *counts;
    /* NULL: as many as max_calls allows. Otherwise one for all requests, but where there is an
     * `apart` a second one for those that set it. */
    struct in_flight *in_flight;
    const ProtobufCFieldDescriptor *apart; /* of input: its (stoa.api.v1.field).apart; NULL: none */
    bool built_in;                         /* health and reflection: no authentication */
    bool vital; /* Health.Check: answered also when max_calls are in work */
};

struct rpc_metadata {
    grpc_metadata items[RPC_MAX_METADATA];
    size_t n;
};

struct rpc_stream; /* stream.c */

/* A call of the process's own; in the call's arena. */
struct local_call {
    struct rpc_local options;
    void *user;
};

struct rpc_status {
    grpc_status_code code;
    grpc_slice message;
    grpc_slice details; /* a packed google.rpc.Status; empty: none */
};

struct carrier;      /* carry.c */
struct rpc_carriers; /* the same */

/* A call that came on a carrier; in the call's arena. */
struct carried_call {
    struct rpc_call *call;
    struct carrier *carrier; /* a reference */
    uint64_t id;
    const struct Stoa__Edge__V1__CarriedCall *item; /* until call_begin() returns */
    struct str request;                             /* once it is admitted */
    grpc_slice response;                            /* these three: once it is answered */
    struct rpc_status status;
    size_t sent;                    /* bytes of the response */
    TAILQ_ENTRY(carried_call) next; /* in carrier->answers */
    bool open;                      /* in carrier->calls; under the carrier's lock */
    UT_hash_handle hh;
};

/* What a call's span is made of; in the call's arena. */
struct call_trace {
    struct trace_context context;
    int64_t begun_us;
};

struct rpc_packed {
    atomic_uint refs;
    grpc_slice bytes;
};

struct rpc_call {
    struct ev on_request, on_open, on_message, on_close, on_sent;
    struct rpc_server *server;
    const struct rpc_method *method;
    grpc_call *core;
    grpc_call_details details;
    grpc_metadata_array metadata;
    grpc_byte_buffer *incoming; /* of the outstanding receive, then of the message being handled */
    grpc_byte_buffer *outgoing; /* of the outstanding send */
    int close_cancelled;        /* out parameter of RECV_CLOSE_ON_SERVER */
    atomic_uint refs;
    atomic_bool cancelled;
    atomic_bool finished;         /* the handler has ended the call (or not yet got it) */
    atomic_bool answered;         /* the status is on its way: by the handler or by the runtime */
    bool admitted;                /* counts in server->active */
    bool bounded;                 /* in the server's list of unary calls whose end we look after */
    struct rpc_call *prev, *next; /* that list; next also links the pool */
    int64_t begun_ns;             /* when it was admitted */
    struct in_flight *among;      /* of its method's; NULL: it has no place */
    struct in_flight_call place;  /* among those that are in work */
    int64_t placed_ns;            /* since when */
    atomic_bool placed;           /* it is; who ends it there sets this to false */
    int64_t deadline_ns;
    void *context;
    struct str peer;
    struct rpc_metadata *headers, *trailers; /* NULL until something is added */
    struct rpc_stream *stream;               /* NULL: unary */
    struct local_call *local;                /* NULL: it is not one of the process's own */
    struct carried_call *carried;            /* NULL: it did not come on a carrier */
    const struct rpc_local_metadata *given;  /* metadata of a call without the core's part */
    size_t n_given;
    struct call_trace *trace; /* NULL: it is not traced */
    enum rpc_code code;       /* how it was answered */
    atomic_size_t held; /* what waits for its caller, as held.c counts it; set under its lock */
    bool unread;        /* ended because of that; the same */
    TAILQ_ENTRY(rpc_call) among_held;
    struct arena arena;
};

/* held.c: what waits for callers for whom nothing is kept. */
struct held {
    pthread_mutex_t lock;         /* guards what follows */
    TAILQ_HEAD(, rpc_call) calls; /* by how long nothing of them has been taken, longest first */
    int64_t logged_ns;            /* 0: never */
    atomic_size_t bytes;          /* of them all; read without the lock */
    metrics_number ended;
};

struct rpc_health; /* health.c */

struct rpc_server {
    struct rpc_server_options options; /* with defaults filled in */
    struct arena arena;                /* tables and error lines */
    grpc_server *core;
    grpc_completion_queue *cq;
    struct ev on_drained;
    struct ev on_probe;                   /* poller 0 sets it; one at a time */
    int64_t probed_ns;                    /* poller 0: when it last did */
    atomic_int_fast64_t probe_ns;         /* the same while it is in the queue; 0: it is not */
    struct metrics_histogram queue_waits; /* how long it waited there */
    struct rpc_health *health;
    struct rpc_carriers *carriers;
    struct held held;
    grpc_call *doorbell; /* leads nowhere: its empty batches are events for the pollers */

    struct rpc_method *methods;
    size_t n_methods, cap_methods;
    const struct rpc_method **table; /* open addressing by path, built at start */
    size_t table_mask;
    const char **services;
    size_t n_services, cap_services;

    pthread_t *threads;
    unsigned n_threads;
    bool started, stopped;
    int64_t tick_ns; /* how often overdue calls are looked for */

    pthread_mutex_t lock; /* guards what follows */
    pthread_cond_t changed;
    struct rpc_call *pool;
    size_t n_pool, n_alive; /* calls in the pool; calls outside of it */
    size_t n_missing;       /* requests that could not be posted for want of memory */
    bool drained;           /* the core has let go of all calls */
    bool rings;             /* the doorbell may be used */
    unsigned n_paused;      /* pollers that wait */
    struct rpc_call *first_due, *last_due; /* unary calls whose end we look after, by deadline */

    atomic_int_fast64_t due_ns; /* the deadline of the first; INT64_MAX: there is none */

    atomic_bool draining; /* stop has begun: no new calls */
    atomic_bool paused;   /* pollers wait */
    atomic_size_t n_came; /* calls that were taken off the queue */
    atomic_size_t active;
    atomic_uint_fast64_t started_calls, finished_calls, refused_calls;
    metrics_number unknown_calls; /* of methods that are not there */
};

static inline struct str slice_str(const grpc_slice *slice)
{
    return (struct str){(const char *)GRPC_SLICE_START_PTR(*slice), GRPC_SLICE_LENGTH(*slice)};
}

/* ---- accept.c ---- */

/* Keeps a file for connections that find none. Any number of times, any thread. */
void accept_init(void);

/* ---- read.c ---- */

/* Has the linker take read.c from the library. What it defines is no reason to, where a library
 * that comes before has it, too: ThreadSanitizer's does. */
void read_init(void);

/* ---- server.c ---- */

/* The method of a path; NULL when there is none. */
const struct rpc_method *server_method(const struct rpc_server *server, struct str path);
bool server_has_service(const struct rpc_server *server, const char *name);

/* rpc_server_add() for health and reflection. types: NULL, or a service whose message types stand
 * in for its own, method by method (same wire format). */
int server_add_built_in(struct rpc_server *server, const ProtobufCServiceDescriptor *descriptor,
                        const ProtobufCServiceDescriptor *types, const struct rpc_handler *handlers,
                        size_t n, void *service) MUST_CHECK;

/* Puts an event into the queue, behind what is there; it runs ev->fn on a poller. Before the
 * pollers are paused for stopping, or under the lock while server->rings. */
void server_ring(struct rpc_server *server, struct ev *ev);

/* ---- count.c: what is told in /metrics ---- */

/* The call has been admitted. */
void count_begin(struct rpc_call *call);
/* The call's request is here: whether it gets a place among those of its method in work. request:
 * may be NULL where the method has no `apart`. */
bool count_place(struct rpc_call *call, const ProtobufCMessage *request) MUST_CHECK;
/* How many in_flight a method has that has one. */
size_t count_places(const struct rpc_method *method);
/* The call has ended with a code, which it keeps for its span; RPC_OK to RPC_UNAUTHENTICATED. Once
 * for each call, admitted or not. */
void count_end(struct rpc_call *call, enum rpc_code code);
/* It has ended, and was not asked for anything. */
void count_nothing(struct rpc_call *call);
/* Poller 0, every tick: tries how long the queue is. */
void count_queue_wait(struct rpc_server *server);

/* ---- pool.c: call objects, posted requests, overdue calls ---- */

/* Posts requests until `n` more calls can be accepted. */
void pool_post(struct rpc_server *server, size_t n);
/* A call object, perhaps a new one; NULL without memory. */
struct rpc_call *pool_take(struct rpc_server *server) MUST_CHECK;
/* Takes back a call that nobody refers to. */
void pool_put(struct rpc_call *call);
/* A call that was counted as active and is refused. */
void pool_dismiss(struct rpc_server *server);
void pool_free(struct rpc_server *server);

void bound_call(struct rpc_call *call);   /* the call ends at its deadline_ns at the latest */
void unbound_call(struct rpc_call *call); /* it has been answered */
/* Pollers, from server->due_ns on: answers DEADLINE_EXCEEDED for calls that are overdue. */
void pool_end_overdue(struct rpc_server *server, int64_t now_ns);
/* Poller 0, every tick: posts requests that could not be posted before. */
void pool_tick(struct rpc_server *server);

/* ---- call.c ---- */

/* Tags of a call object; once in its life. */
void call_init(struct rpc_call *call, struct rpc_server *server);
/* A request was accepted: looks it up, admits it and starts it. */
void call_accept(struct rpc_call *call);
/* The same of a call object. deadline_ns: INT64_MAX without one. */
void call_begin(struct rpc_call *call, struct str path, int64_t deadline_ns);
/* The request is there: decodes it and runs the handler. */
void call_handle(struct rpc_call *call);
/* Counts the call as active. 0, -EAGAIN (the server stops) or -ENOBUFS (there are enough). */
int call_admit(struct rpc_call *call) MUST_CHECK;
/* Answers a unary call in the handler's stead; the handler's own answer is then dropped. */
void call_answer(struct rpc_call *call, const struct rpc_error *error);
/* Starts the call's span, in the trace that it belongs to or in one of its own. */
void call_begin_trace(struct rpc_call *call);
/* Nobody refers to the call any more: records its span. */
void call_end_trace(struct rpc_call *call);
/* Starts to receive the next message; on_message follows. */
void call_receive(struct rpc_call *call);

/* ---- message.c: between wire bytes and messages ---- */

/* Checks, unpacks and validates bytes. Returns 0; -EBADMSG: they are no such message; -EDOM: *ret
 * is one, and breaks the contract's rules. *error is then filled for the caller (its strings in the
 * arena). */
int message_decode_bytes(const struct rpc_method *method, struct str bytes, struct arena *arena,
                         const ProtobufCMessage **ret, struct rpc_error *ret_error) MUST_CHECK;
/* The same of call->incoming, which is freed. */
int message_decode(struct rpc_call *call, struct arena *arena, const ProtobufCMessage **ret,
                   struct rpc_error *ret_error) MUST_CHECK;
/* Fills *error for a message that breaks rules; -EDOM. */
int message_invalid(struct arena *arena, const struct schema_fault *faults, size_t n,
                    struct rpc_error *error);
grpc_slice message_pack(const ProtobufCMessage *message) MUST_CHECK;
/* The bytes in one piece: in place when the core has them so, else copied into the arena. -ENOMEM.
 */
int message_contiguous(const grpc_byte_buffer *buffer, struct arena *arena,
                       struct str *ret) MUST_CHECK;
/* protobuf-c's view of an arena. */
ProtobufCAllocator arena_allocator(struct arena *arena);

/* ---- status.c: errors as google.rpc.Status ---- */

void status_make(struct rpc_status *status, const struct rpc_error *error /* NULL: OK */);
void status_free(struct rpc_status *status);

/* ---- held.c: what waits for callers who do not read ---- */

/* Less of a call is not counted: max_calls bounds it. */
#define HELD_LEAST ((size_t)4 << 10)

void held_init(struct held *held);
void held_free(struct held *held);
/* Whether what waits for this call counts. By who owns the call. */
bool held_is_counted(struct rpc_call *call);
/* So many bytes wait for a counted call now, or are with the transport. The last is 0. One at a
 * time for each call; held_enforce() is to follow, without locks that a stream's callbacks take. */
void held_set(struct rpc_call *call, size_t n);
/* Ends the calls that have waited longest, while too much waits. */
void held_enforce(struct rpc_server *server);

/* ---- batch.c: send operations ---- */

struct batch {
    grpc_op ops[4];
    size_t n;
    grpc_metadata trailers[RPC_MAX_METADATA + 1];
};

void batch_headers(struct batch *batch, struct rpc_call *call);
/* Takes over the slice. flags: GRPC_WRITE_... */
void batch_message(struct batch *batch, struct rpc_call *call, grpc_slice message, uint32_t flags);
/* The status must live until batch_start() returns. */
void batch_status(struct batch *batch, struct rpc_call *call, struct rpc_status *status);
void batch_receive_close(struct batch *batch, struct rpc_call *call);
/* Starts the batch; ev gets a reference to the call, which its fn drops. */
void batch_start(struct batch *batch, struct rpc_call *call, struct ev *ev);

/* ---- local.c ---- */

/* Ends a local call. One of the two is NULL. */
void local_end(struct rpc_call *call, const ProtobufCMessage *response,
               const struct rpc_error *error);

/* ---- carry.c ---- */

int carry_new(struct rpc_server *server) MUST_CHECK;
/* Edges are told to make their calls elsewhere; carriers end with their last call. */
void carry_stop(struct rpc_server *server);
void carry_free(struct rpc_server *server);
/* Calls that came on carriers, and the messages that their answers went in. */
void carry_count(const struct rpc_server *server, uint64_t *ret_calls, uint64_t *ret_messages);
/* This thread is a poller, which says when it is through with an event. */
void carry_begin_turns(void);
void carry_end_turn(void);
/* The call has been admitted: its request and metadata stay. 0 or -ENOMEM. */
int carry_keep(struct rpc_call *call) MUST_CHECK;
/* Authentication has succeeded. */
void carry_proceed(struct rpc_call *call);
/* Answers a carried call. One of response (taken over) and error is NULL. */
void carry_answer(struct rpc_call *call, const grpc_slice *response, const struct rpc_error *error);
/* Nobody refers to the carried call any more. */
void carry_release(struct rpc_call *call);

/* ---- stream.c ---- */

int stream_new(struct rpc_call *call) MUST_CHECK;
void stream_free(struct rpc_call *call);
void stream_proceed(struct rpc_call *call);
void stream_opened(struct rpc_call *call);   /* on_open */
void stream_received(struct rpc_call *call); /* on_message */
void stream_sent(struct rpc_call *call, bool ok);
void stream_closed(struct rpc_call *call); /* on_close */
/* What its handler keeps for it beside the queue; until it is closed. */
void stream_hold(struct rpc_call *call, size_t bytes);
/* Ends the stream in its handler's stead: its answers are not read. `closed` follows. */
void stream_give_up(struct rpc_call *call);
void stream_reply(struct rpc_call *call, const ProtobufCMessage *response);
bool stream_headers_sent(struct rpc_call *call);

/* ---- health.c, reflection.c ---- */

int health_new(struct rpc_server *server) MUST_CHECK;
void health_stop(struct rpc_server *server); /* not ready for good; ends all watches */
void health_free(struct rpc_server *server);
int reflection_add(struct rpc_server *server) MUST_CHECK;

#endif
