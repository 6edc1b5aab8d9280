/* The contract as an OpenAPI 3.1 document: what the descriptor set says of routes, messages, rules
 * and access, with the comments of its .proto files, for people and for client generators.
 *
 * Sources: OpenAPI Specification 3.1.0, JSON Schema 2020-12 (core and validation), the proto3 JSON
 * mapping. README.md says how each part of the contract is expressed.
 */
#ifndef STOA_OPENAPI_OPENAPI_H
#define STOA_OPENAPI_OPENAPI_H

#include "schema/schema.h"

struct openapi_server {
    struct str url; /* absolute, or relative to where the document is: "/" */
    struct str description;
};

struct openapi_options {
    struct str title, version; /* of the API; both needed */
    struct str description;    /* Markdown; may be empty */
    const struct openapi_server *servers;
    size_t n_servers;
    /* What the gateway does with messages (struct schema_json_options). */
    bool print_unset;    /* answers have every field without presence: such fields are required */
    bool refuse_unknown; /* requests must not have other members than those described */
};

/* Appends the document as JSON text. The schema's files should have source info, or there are no
 * comments. Takes milliseconds and some memory: it is for the start, not for requests.
 * Returns 0; -EINVAL with *ret_error, one line in the arena, when an example of the contract is no
 * value of its field; -ENOMEM, or -EFBIG when the document is longer than json's limit. */
int openapi_write(const struct schema *schema, const struct openapi_options *options,
                  struct buf *json, struct arena *error_arena, struct str *ret_error) MUST_CHECK;

#endif
