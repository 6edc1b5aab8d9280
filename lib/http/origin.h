/* Web origins ("https://app.example.com:8443", RFC 6454 section 6.2) and the patterns that allow
 * them.
 *
 * A pattern is an origin, in which
 *   - the host may begin with "*.": any subdomain at any depth, not the domain itself;
 *   - the port may be "*": any port, or none.
 * The opaque origin "null" is nobody's: sandboxed frames and local files share it, so no pattern
 * allows it.
 */
#ifndef STOA_HTTP_ORIGIN_H
#define STOA_HTTP_ORIGIN_H

#include "base/base.h"

/* Whether text can be a pattern at all. */
bool origin_pattern_valid(struct str pattern);

/* Whether an Origin header's value is one that the (valid) pattern allows. Case does not count. */
bool origin_matches(struct str pattern, struct str origin);

#endif
