/* permessage-deflate (RFC 7692) without context takeover: each message is compressed by itself, so
 * an idle session holds no compressor, and one compressed message serves many sessions.
 *
 * Any thread; zlib's memory is taken and given back within a call.
 */
#ifndef STOA_HTTP_WEBSOCKET_DEFLATE_H
#define STOA_HTTP_WEBSOCKET_DEFLATE_H

#include "base/buf.h"

#define WEBSOCKET_WINDOW 12     /* 4 KB: what websocket_deflate() uses */
#define WEBSOCKET_WINDOW_ANY 15 /* 32 KB: the largest there is */

/* Appends the payload of a compressed message, for a frame with WEBSOCKET_COMPRESSED. Returns 1; 0:
 * it would be no smaller, and nothing was appended; -ENOMEM (also when `to` has no room for as much
 * as the message; `to` is then failed). */
int websocket_deflate(struct str message, struct buf *to) MUST_CHECK;

/* Whether what websocket_deflate() makes of n bytes can be read by a client with this window, as
 * websocket_extensions_read() gave it. 0: never. */
bool websocket_deflate_suits(unsigned window, size_t n);

/* Appends the message that is in a compressed payload. to->max bounds it: zip bombs stop there.
 * Returns 0; -EMSGSIZE: it does not fit; -EBADMSG: damaged; -ENOMEM. */
int websocket_inflate(struct str payload, struct buf *to) MUST_CHECK;

#endif
