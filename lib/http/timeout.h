/* How long a caller is ready to wait: the header Request-Timeout.
 *
 * Pure functions; any thread.
 */
#ifndef STOA_HTTP_TIMEOUT_H
#define STOA_HTTP_TIMEOUT_H

#include "base/base.h"

/* A day: what a caller asks for beyond it is this. */
#define REQUEST_TIMEOUT_MAX_MS UINT32_C(86400000)

/* Reads a Request-Timeout: seconds, with or without decimals ("30", "1.5"), more than none. At most
 * 9 digits on either side of the point; fractions of a millisecond count as a whole one. Returns 0,
 * or -EINVAL. */
int request_timeout_read(struct str header, uint32_t *ret_ms) MUST_CHECK;

#endif
