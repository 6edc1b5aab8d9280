/* The headers of a WebSocket handshake (RFC 6455 sections 4.2 and 11.3).
 *
 * Pure functions; any thread. Header lines of one name are given one after the other, in their
 * order: several lines mean the same as one (section 11.3).
 */
#ifndef STOA_HTTP_WEBSOCKET_HANDSHAKE_H
#define STOA_HTTP_WEBSOCKET_HANDSHAKE_H

#include "base/base.h"

#define WEBSOCKET_ACCEPT_SIZE 28

/* Sec-WebSocket-Accept for a Sec-WebSocket-Key; no NUL. Returns 0; -EINVAL: the key is not base64
 * of 16 bytes; -ENOMEM. */
int websocket_accept(struct str key, char ret[WEBSOCKET_ACCEPT_SIZE]) MUST_CHECK;

/* ---- Sec-WebSocket-Protocol ---- */

/* Scripts in browsers can set no header but this one. So a client may offer, besides the protocols
 * that it speaks, "bearer." + its access token: all that a JWT is made of may stand in a protocol's
 * name. It is never chosen, so never sent back; a client in a browser offers another one, too,
 * since browsers give up when none of their offers comes back. */
#define WEBSOCKET_BEARER "bearer."

struct websocket_protocols {
    struct str chosen; /* the known one that the client wants most; {NULL, 0}: none */
    struct str bearer; /* the access token; {NULL, 0}: none was offered */
};

/* Reads one line; *io starts as zeros. Both are parts of the line. known: of the server, in any
 * order, in the case that is compared. Returns 0; -EINVAL: it is not a list of tokens, or there is
 * an empty bearer token or a second one. */
int websocket_protocols_read(struct str line, const struct str *known, size_t n,
                             struct websocket_protocols *io) MUST_CHECK;

/* ---- Sec-WebSocket-Extensions ---- */

/* Reads one line; *io_window starts as 0. The first offer of permessage-deflate that can be taken
 * (RFC 7692 section 7.1) makes it 8 to 15: the window that the client inflates with, as a power of
 * two. It stays 0: no compression. Offers of anything else, and those that break the rules, are
 * passed over. Returns 0; -EINVAL: it is not a list of extensions. */
int websocket_extensions_read(struct str line, unsigned *io_window) MUST_CHECK;

#define WEBSOCKET_EXTENSIONS_SIZE 112
/* The Sec-WebSocket-Extensions of the answer when window is not 0, NUL-terminated: neither side
 * keeps its window from message to message. Returns its length. */
size_t websocket_extensions_print(char to[WEBSOCKET_EXTENSIONS_SIZE], unsigned window);

#endif
