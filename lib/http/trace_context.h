/* Which trace a request belongs to: the headers traceparent and tracestate.
 *
 * Source: W3C Trace Context, level 1 (https://www.w3.org/TR/trace-context-1/). Pure functions; any
 * thread.
 */
#ifndef STOA_HTTP_TRACE_CONTEXT_H
#define STOA_HTTP_TRACE_CONTEXT_H

#include "base/arena.h"

#define TRACE_ID_SIZE 32
#define TRACE_SPAN_SIZE 16
#define TRACE_PARENT_SIZE 55
#define TRACE_RANDOM_SIZE 24
#define TRACE_STATE_MEMBERS 32
#define TRACE_STATE_SIZE 512 /* what a tracestate is cut to; the least that must be passed on */

struct trace_context {
    char id[TRACE_ID_SIZE];       /* lower-case hex, not all zero */
    char span[TRACE_SPAN_SIZE];   /* of whoever holds this struct; the same form */
    char parent[TRACE_SPAN_SIZE]; /* the span that it was made for, if there is one */
    bool has_parent;
    bool sampled;
};

/* Starts a span: in the trace of a valid traceparent, else in a new one, which counts as sampled,
 * since whoever starts a trace logs it. random: bytes that nobody can foresee. Returns whether the
 * traceparent was continued. */
bool trace_start(struct trace_context *trace, struct str traceparent,
                 const unsigned char random[TRACE_RANDOM_SIZE]);

/* Starts a span within another one, of the same trace. random: as above. */
void trace_child(struct trace_context *trace, const struct trace_context *parent,
                 const unsigned char random[TRACE_SPAN_SIZE / 2]);

/* The trace of a valid traceparent, in its bytes; {NULL, 0}: it is none. */
struct str trace_id_of(struct str traceparent);

/* The traceparent for those that are called: version 00, this span as their parent. No NUL. */
void trace_parent(const struct trace_context *trace, char to[TRACE_PARENT_SIZE]);

/* A tracestate as it is passed on, lines joined with commas: {NULL, 0} when there is nothing in it,
 * when it is not well-formed as a whole, or without memory. One that is too long loses its members
 * of more than 128 bytes, then those at its end (section 3.3.1.5). */
struct str trace_state(struct arena *arena, struct str tracestate) MUST_CHECK;

#endif
