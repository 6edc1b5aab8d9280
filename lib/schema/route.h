/* Compiled google.api.http rules; private to lib/schema, and read by lib/openapi.
 *
 *   template.c  reads a path template
 *   bindings.c  checks the rules of every method and makes bindings of them, at load
 *   route.c     the trie of all bindings, and the search in it
 *   request.c   builds requests and prints answers by a binding
 */
#ifndef STOA_SCHEMA_ROUTE_H
#define STOA_SCHEMA_ROUTE_H

#include "schema/load.h"

#define ROUTE_MAX_SEGMENTS 64
#define ROUTE_MAX_LITERAL 255   /* bytes of a literal segment */
#define ROUTE_MAX_FIELD_PATH 16 /* fields in "a.b.c" */

enum route_segment_kind { ROUTE_LITERAL, ROUTE_STAR, ROUTE_REST };

struct route_segment {
    enum route_segment_kind kind;
    struct str literal; /* normalized, see route_normalize() */
};

struct route_variable {
    struct str field_path; /* as the template has it */
    unsigned first, n;     /* its segments; the last may be ROUTE_REST */
    bool multi;            /* can hold more than one segment: an escaped slash stays escaped */
    const struct schema_field **fields; /* outermost first */
    unsigned n_fields;
};

struct route_template {
    struct str text;
    struct route_segment *segments;
    unsigned n_segments;
    struct route_variable *variables;
    unsigned n_variables;
    struct str verb; /* empty: none */
};

enum route_body { ROUTE_BODY_NONE, ROUTE_BODY_ALL, ROUTE_BODY_FIELD };

struct schema_binding {
    const struct schema_method *method;
    struct str http_method; /* "*": any */
    struct route_template template;
    enum route_body body;
    const struct schema_field *body_field;     /* ROUTE_BODY_FIELD */
    const struct schema_field *response_field; /* NULL: the whole message */
};

/* Reads a template. On error -EINVAL and *ret_cause says what is wrong with it; memory is the
 * arena's. */
int route_parse(struct str text, struct arena *arena, struct route_template *ret,
                const char **ret_cause) MUST_CHECK;

/* Writes a segment as segments are compared: escapes of unreserved characters undone, the digits of
 * others in upper case (RFC 3986 section 6.2.2). Returns its length, or -1 when it is damaged or
 * longer than ROUTE_MAX_LITERAL. */
int route_normalize(struct str segment, char to[ROUTE_MAX_LITERAL]) MUST_CHECK;

/* Whether a segment is "." or "..", also escaped (RFC 3986 sections 3.3 and 6.2.2.3). */
bool route_is_dots(struct str segment);

/* Whether text can be a value of this field (request.c). Returns 0, -EBADMSG or -ENOMEM. */
int route_check_value(const struct schema *schema, const struct schema_field *field,
                      struct str value, struct arena *arena) MUST_CHECK;

/* Appends text as a value of this field to a message (request.c). Returns 0, -EBADMSG or -ENOMEM.
 */
int route_put_value(const struct schema *schema, const struct schema_field *field, struct str value,
                    struct buf *wire, struct arena *arena) MUST_CHECK;

/* Enters a binding into the trie that is being built; -EEXIST and *ret_other when another binding
 * answers the very same requests, -E2BIG for more than 32 HTTP methods. */
struct schema_routes *routes_new(struct arena *arena) MUST_CHECK;
int routes_add(struct schema_routes *routes, struct arena *arena,
               const struct schema_binding *binding,
               const struct schema_binding **ret_other) MUST_CHECK;

#endif
