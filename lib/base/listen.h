/* Where a server listens: "unix:/path", "127.0.0.1:9001", "[::1]:9001", "host:port".
 *
 * Addresses come from an operator's settings; errors are one line for the operator. */
#ifndef STOA_BASE_LISTEN_H
#define STOA_BASE_LISTEN_H

#include "base/arena.h"

#define LISTEN_SOCKET_MODE 0660 /* of a unix socket's file */

/* Whether the address can be listened on now; a unix socket's file that nobody listens on is
 * removed. -EINVAL (no address), -EADDRINUSE, other errnos, -ENOMEM; *ret_error is static or in
 * the arena. */
int listen_check(const char *address, struct arena *arena, struct str *ret_error) MUST_CHECK;

/* listen_check(), and then a listening socket: non-blocking, close-on-exec, the caller's. */
int listen_open(const char *address, struct arena *arena, int *ret_fd,
                struct str *ret_error) MUST_CHECK;

#endif
