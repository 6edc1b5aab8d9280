/* problem+json (RFC 9457): what an HTTP caller is told when a request fails.
 *
 * Free of nginx. Besides the standard members there is always `errors`, a map from what is wrong to
 * why: {"title": ["can't be blank"]}; and `reason` when the service gave one.
 */
#ifndef STOA_GATEWAY_PROBLEM_H
#define STOA_GATEWAY_PROBLEM_H

#include "base/arena.h"
#include "base/buf.h"

#define PROBLEM_MAX_ERRORS 64

struct problem_error {
    struct str key, message;
};

struct problem {
    int status;           /* HTTP */
    struct str detail;    /* a sentence for the caller; {NULL, 0}: left out */
    struct str instance;  /* URI reference of this occurrence; {NULL, 0}: left out */
    struct str reason;    /* google.rpc.ErrorInfo.reason; {NULL, 0}: left out */
    unsigned retry_after; /* seconds, for the Retry-After header; 0: none */
    struct problem_error errors[PROBLEM_MAX_ERRORS];
    unsigned n_errors;
};

void problem_init(struct problem *p, int status);

/* Strings are kept, not copied. More than PROBLEM_MAX_ERRORS are dropped. */
void problem_add(struct problem *p, struct str key, struct str message);

/* The reason phrase of a status: "Not Found"; "Error" for one we don't know. */
struct str problem_title(int status);

/* The key of `errors` for a field path: the last segment without index, in lowerCamelCase.
 * "article.tag_list[2]" gives "tagList". {NULL, 0} without memory. */
struct str problem_key(struct arena *arena, struct str field_path) MUST_CHECK;

/* Appends the JSON text. With no error added, `errors` says what the status alone tells. Bytes that
 * are not UTF-8 become U+FFFD. Failure is the buffer's. */
void problem_print(const struct problem *p, struct buf *json);

#endif
