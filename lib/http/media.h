/* Media types in HTTP headers: what a body is (Content-Type) and what a caller takes (Accept).
 *
 * Source: RFC 9110 sections 8.3 and 12.5.1. Pure functions; any thread; no memory. Whatever bytes a
 * header has are judged, in one pass.
 */
#ifndef STOA_HTTP_MEDIA_H
#define STOA_HTTP_MEDIA_H

#include "base/base.h"

/* A media type; both are parts of the header's text, in the caller's case. */
struct media_type {
    struct str name;    /* "application/json" */
    struct str charset; /* without quotes; empty: none is named */
};

/* Reads a Content-Type. Returns 0, or -EINVAL: no type "/" subtype, or a damaged parameter. */
int media_type_read(struct str header, struct media_type *ret) MUST_CHECK;

/* How much an Accept header wants a media type ("application/json", lower case), in thousandths: 0
 * is not at all. The most specific range that fits decides. Ranges that are damaged count for
 * nothing, and a header of nothing but those and white space accepts everything. */
unsigned media_accepts(struct str accept, struct str name);

#endif
