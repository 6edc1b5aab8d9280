/* A service's side of stoa.edge.v1.EdgeService/Attach: the calls of many clients, on the few
 * streams of the edges that they come through (proto/stoa/edge/v1/edge.proto).
 *
 *   edge.c         streams, calls in them, what waits to be sent
 *   attach_wire.c  the bytes, for both sides
 *
 * Callbacks come one at a time for each stream, without any lock held that the functions below
 * take. The functions may be called on any thread, also from callbacks. None of them waits or calls
 * back, and for a call that has ended they do nothing. What they say goes out in the order of the
 * calls. While a message is with the transport, or while edge_hold() is in effect, what is said
 * waits, and then goes as one message. A stream for which too much waits is ended: its edge does
 * not read, and takes its calls elsewhere.
 */
#ifndef STOA_EDGE_EDGE_H
#define STOA_EDGE_EDGE_H

#include "grpc/rpc.h"

#include "stoa/edge/v1/edge.pb-c.h"

struct edge;
struct edge_stream;  /* of a worker of an edge */
struct edge_session; /* a call */

struct edge_handler {
    /* Whether calls can be taken: while they cannot yet, streams are refused, and edges come again
     * or go elsewhere with calls that nothing has happened to. May be NULL: always. */
    bool (*ready)(void *context);
    /* A stream begins, and is over, after the last call in it. May be NULL. */
    void (*attached)(void *context, struct edge_stream *stream);
    void (*detached)(void *context, struct edge_stream *stream);
    /* A call begins: accepts it by edge_accept() or refuses it by edge_end(), now or later. */
    void (*open)(void *context, struct edge_session *s, const Stoa__Edge__V1__Open *open);
    /* What the call says comes after edge_accept(). A request message, serialized and not checked;
     * valid until it returns. */
    void (*message)(void *context, struct edge_session *s, struct str message);
    /* The client has no more. */
    void (*half_close)(void *context, struct edge_session *s);
    /* After edge_is_busy() was true: it is no longer. */
    void (*drained)(void *context, struct edge_session *s);
    /* The last one, whoever ended the call: the client, the stream, or edge_end(). */
    void (*closed)(void *context, struct edge_session *s);
};

/* -ENOMEM. handler and context outlive it. */
int edge_new(const struct edge_handler *handler, void *context, struct edge **ret) MUST_CHECK;
/* EdgeService, for a server that is not started yet. */
int edge_add(struct edge *edge, struct rpc_server *server, struct str *ret_error) MUST_CHECK;
/* Ends all streams, and those that still come: their edges take the calls elsewhere. When the
 * server is about to stop. */
void edge_stop(struct edge *edge);
/* From edge_hold() to edge_release(), what is said waits, whoever says it, and then goes as one
 * message on each stream. Calls nest. Any thread; only for moments. */
void edge_hold(struct edge *edge);
void edge_release(struct edge *edge);
/* When the server has stopped. NULL is nothing. */
void edge_free(struct edge *edge);

/* ---- streams ---- */

/* One pointer of the service's for each stream; NULL at first. It is not freed. */
void edge_stream_set_context(struct edge_stream *stream, void *context);
void *edge_stream_context(const struct edge_stream *stream);
/* In a callback of the stream. */
struct rpc_call *edge_stream_call(const struct edge_stream *stream);
/* In `attached`: it comes from somebody who need not be an edge. All such streams together may hold
 * 16 MiB that are not read. */
void edge_stream_is_guest(struct edge_stream *stream);
/* A message for all of the stream's calls that are live in the channel. seq: its place there,
 * rising; 0: it has none. */
void edge_broadcast(struct edge_stream *stream, uint64_t channel, int64_t seq, struct str message);

/* ---- calls ---- */

/* One pointer of the service's for each call; NULL at first. It is not freed. */
void edge_set_context(struct edge_session *s, void *context);
void *edge_context(const struct edge_session *s);
/* The stream that the call came on; there until `detached`. */
struct edge_stream *edge_stream_of(const struct edge_session *s);
/* A call is there until `closed` has returned; who touches it later keeps a reference. */
void edge_ref(struct edge_session *s);
void edge_unref(struct edge_session *s);

/* The client's WebSocket opens, and `message` may come. Once for each call. */
void edge_accept(struct edge_session *s);
/* A response message, serialized; at most 64 KiB. */
void edge_send(struct edge_session *s, struct str message);
/* The same of one that has a place in a channel where the call is not live. */
void edge_send_at(struct edge_session *s, struct str message, uint64_t channel, int64_t seq);
/* Whether enough is on its way to the client: a replay then waits for `drained`. */
bool edge_is_busy(struct edge_session *s);
/* The call is in the channel and has all up to seq. live: broadcasts that are said after this, and
 * are after seq, are for it. Where a client can learn of it, this comes before what tells the
 * client: a stream may be lost between any two items, and the call is then resumed elsewhere with
 * the channels that the edge knows of. */
void edge_join(struct edge_session *s, uint64_t channel, int64_t seq, bool live);
/* For the same reason, after what tells the client that it is out; but before the answer to one who
 * asked for it, and asks again when there is none. */
void edge_leave(struct edge_session *s, uint64_t channel);
/* State that comes back when the call is resumed elsewhere; at most 4 KiB. A call without it cannot
 * be resumed. */
void edge_keep(struct edge_session *s, struct str state);
/* error: NULL for a good end. */
void edge_end(struct edge_session *s, const struct rpc_error *error);

#endif
