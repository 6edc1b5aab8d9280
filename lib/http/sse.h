/* Server-sent events (https://html.spec.whatwg.org/multipage/server-sent-events.html), as text.
 *
 * An event is: sse_id(), perhaps; then sse_data(), or sse_begin_data(), one line of
 * text that the caller appends, and sse_end().
 */
#ifndef STOA_HTTP_SSE_H
#define STOA_HTTP_SSE_H

#include "base/buf.h"

/* The id that the client sends back as Last-Event-ID. One that the format cannot carry (with a line
 * break or NUL, or that is not UTF-8) is left out, and false is returned. */
bool sse_id(struct buf *to, struct str id);

/* The name of the event, when it is another one than "message". */
void sse_name(struct buf *to, struct str name);

/* How long the client waits before it connects again. */
void sse_retry(struct buf *to, unsigned ms);

/* Data that is one line, such as JSON: the caller appends it to the buffer between the two. */
void sse_begin_data(struct buf *to);
void sse_end(struct buf *to);

/* Text of any number of lines as the event's data, and its end. Bytes that are not UTF-8 become
 * U+FFFD. */
void sse_data(struct buf *to, struct str text);

/* A line that clients ignore: keeps the connection alive. */
void sse_comment(struct buf *to);

#endif
