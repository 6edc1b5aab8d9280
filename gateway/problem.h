/* problem+json (RFC 9457): what an HTTP caller is told when a request fails.
 *
 * Free of nginx. Besides the standard members there is always `errors`, a map from what is wrong to
 * why: {"title": ["can't be blank"]}. What a service said in google.rpc details becomes members of
 * its own (rpc_details.c): reason, domain, metadata, quota, preconditions, resource, help.
 */
#ifndef STOA_GATEWAY_PROBLEM_H
#define STOA_GATEWAY_PROBLEM_H

#include "base/arena.h"
#include "base/buf.h"

#define PROBLEM_MAX_ERRORS 64
#define PROBLEM_MAX_METADATA 32
#define PROBLEM_MAX_VIOLATIONS 16
#define PROBLEM_MAX_LINKS 8

struct problem_error {
    struct str key, message;
};

struct problem_pair {
    struct str name, value;
};

/* Of a quota (no type) or a precondition. */
struct problem_violation {
    struct str type, subject, description;
};

struct problem_link {
    struct str description, url;
};

struct problem {
    int status;          /* HTTP */
    struct str detail;   /* a sentence for the caller; {NULL, 0}: left out */
    struct str instance; /* URI reference of this occurrence; {NULL, 0}: left out */
    struct str language; /* of the detail, for Content-Language; {NULL, 0}: not said */
    struct str type;     /* what a type's URI starts with; {NULL, 0}: about:blank for all */
    struct str reason;   /* google.rpc.ErrorInfo; {NULL, 0}: left out */
    struct str domain;   /* of the reason; {NULL, 0}: left out */
    struct str resource_type, resource_name; /* google.rpc.ResourceInfo; {NULL, 0}: left out */
    unsigned retry_after;                    /* seconds, for the Retry-After header; 0: none */
    struct problem_error errors[PROBLEM_MAX_ERRORS];
    unsigned n_errors;
    struct problem_pair metadata[PROBLEM_MAX_METADATA]; /* google.rpc.ErrorInfo */
    unsigned n_metadata;
    struct problem_violation quota[PROBLEM_MAX_VIOLATIONS]; /* google.rpc.QuotaFailure */
    unsigned n_quota;
    struct problem_violation preconditions[PROBLEM_MAX_VIOLATIONS]; /* .PreconditionFailure */
    unsigned n_preconditions;
    struct problem_link links[PROBLEM_MAX_LINKS]; /* google.rpc.Help */
    unsigned n_links;
};

void problem_init(struct problem *p, int status);

/* Strings are kept, not copied. More than PROBLEM_MAX_ERRORS are dropped. */
void problem_add(struct problem *p, struct str key, struct str message);

/* The reason phrase of a status: "Not Found"; "Error" for one we don't know. */
struct str problem_title(int status);

/* The key of `errors` for a field path: the last segment without index, in lowerCamelCase.
 * "article.tag_list[2]" gives "tagList". {NULL, 0} without memory. */
struct str problem_key(struct arena *arena, struct str field_path) MUST_CHECK;

/* Appends the JSON text. `type` is p->type with "DOMAIN:REASON" behind it when both are there and
 * well-formed, else about:blank: then the status says it all (RFC 9457 section 4.2.1). With no
 * error added, `errors` says what the status alone tells. Bytes that are not UTF-8 become U+FFFD.
 * Failure is the buffer's. */
void problem_print(const struct problem *p, struct buf *json);

#endif
