/* What the files that make a document share; private to lib/openapi. One thread; everything lives
 * until openapi_write() returns.
 *
 *   document.c    the whole, and which types it needs
 *   notes.c       comments, deprecation and packages, from the files of the descriptor set
 *   components.c  names of types that are described once
 *   types.c       messages, fields and enums as JSON Schema
 *   rules.c       buf.validate rules as JSON Schema keywords
 *   examples.c    example values
 *   paths.c       bindings as paths, with their parameters
 *   operations.c  what is said of one binding
 *   problem.c     the schema of errors
 *
 * JSON is built with jansson. Its functions pass failures on (NULL), and put() notes them, so that
 * a long run of steps is checked once at its end.
 */
#ifndef STOA_OPENAPI_INTERNAL_H
#define STOA_OPENAPI_INTERNAL_H

#include "openapi/openapi.h"
#include "schema/route.h"
#include "schema/rules.h"

#include <jansson.h>

/* A message has two forms: what a client may send, and what it gets. */
enum direction { INPUT, OUTPUT };

/* What the files say of a symbol beyond the tables. */
struct note {
    struct str comment; /* Markdown, empty: none */
    size_t package;     /* length of the package in the symbol's full name, with its dot */
    bool deprecated;
};

struct notes {
    struct schema_names by_symbol;
    struct note *items;
    size_t n, cap;
};

/* A type of its own under components/schemas. */
struct component {
    const void *type; /* struct schema_message or struct schema_enum */
    struct str full_name;
    enum direction direction;
    bool is_enum;
    struct str name;
};

/* Names, and which of them several things have. */
struct shared_names {
    struct schema_names first; /* what has it first, by index */
    struct schema_names shared;
};

struct document {
    const struct schema *schema;
    const struct openapi_options *options;
    struct arena arena;
    struct notes notes;
    struct component *components;
    size_t n_components, cap_components;
    struct schema_names by_type[2]; /* components by full name, for each direction */
    struct schema_names component_names;
    struct shared_names methods, services; /* of the served ones, without packages */
    struct schema_names operation_ids, tag_names;
    json_t *shapes; /* of paths, without the names of parameters: the path */
    bool has_auth;  /* the set has (stoa.api.v1.method), so that methods say who may call */
    bool uses_bearer;
    json_t *schemas, *responses, *paths, *tags;
    bool failed; /* memory */
    struct arena *error_arena;
    struct str error; /* the first; empty: none */
};

/* Fields that are given elsewhere (in the path) and so are not part of a message in the body.
 * level: how many of the variables' leading fields are above that message. */
struct except {
    const struct route_variable *variables;
    unsigned n, level;
    const struct schema_field *above[ROUTE_MAX_FIELD_PATH];
};

/* ---- document.c: building blocks ---- */

/* Takes the reference to value, also when it fails. */
void put(struct document *d, json_t *object, const char *key, json_t *value);
void put_str(struct document *d, json_t *object, const char *key, struct str value);
void put_true(struct document *d, json_t *object, const char *key);
void append(struct document *d, json_t *array, json_t *value);
json_t *json_text(struct str s);
json_t *json_ref(struct document *d, const char *kind, struct str name);
/* An empty string, and d->failed, without memory. */
struct str text(struct document *d, const char *fmt, ...) PRINTF_LIKE(2, 3);
/* Adds to a set of names, and tells whether it is new. */
bool add_name(struct document *d, struct schema_names *names, struct str name, size_t index);
/* Text from a buffer, for the document's life. */
struct str keep(struct document *d, const struct buf *b);
/* Notes the first error; the document is then not made. */
void fail(struct document *d, const char *fmt, ...) PRINTF_LIKE(2, 3);

/* ---- notes.c ---- */

int notes_read(struct document *d) MUST_CHECK;
/* Of a package-qualified symbol; never NULL. A value of an enum is under the enum:
 * "pkg.Enum.VALUE"; a file under its package. */
const struct note *note_of(const struct document *d, struct str symbol);
/* A comment in which fields of `scope` have their JSON names; scope may be NULL. */
struct str comment_in(struct document *d, struct str comment, const struct schema_message *scope);
/* The first sentence, in one line without its full stop. */
struct str first_sentence(struct document *d, struct str comment);
struct str message_comment(struct document *d, const struct schema_message *m);

/* ---- components.c ---- */

/* When everything has been referred to once. */
void name_components(struct document *d);
/* A name for a schema that has no type of its own. */
struct str component_name(struct document *d, struct str wanted);
/* A reference; notes that the type is wanted. */
json_t *message_ref(struct document *d, const struct schema_message *m, enum direction direction);
json_t *enum_ref(struct document *d, const struct schema_enum *e);

/* ---- types.c ---- */

json_t *message_schema(struct document *d, const struct schema_message *m, enum direction direction,
                       const struct except *except);
json_t *enum_schema(struct document *d, const struct schema_enum *e);
/* With its comment when it is a field of `in`. */
json_t *field_schema(struct document *d, const struct schema_message *in,
                     const struct schema_field *f, enum direction direction);
/* Whether a request must have the field. */
bool is_needed(struct document *d, const struct schema_field *f);
/* A message that is any bytes with a content type. */
bool is_http_body(const struct schema_message *m);
/* What of `except` is about members of field f of its message; false when nothing is. */
bool except_below(const struct except *except, const struct schema_field *f, struct except *ret);
bool is_excepted(const struct except *except, const struct schema_field *f);

/* ---- rules.c ---- */

/* Adds the rules of a value to its schema; what keywords cannot say becomes sentences. type: of the
 * value, or of what a wrapper holds. */
void add_rules(struct document *d, json_t *schema, const struct schema_rules *rules,
               enum schema_type type, const struct schema_enum *enumeration,
               const struct schema_field *f, struct buf *sentences);
/* Sets a keyword; one that is there already gets into allOf. */
void add_keyword(struct document *d, json_t *schema, const char *key, json_t *value);

/* ---- examples.c ---- */

/* NULL when the contract does not say enough to make one. */
json_t *message_example(struct document *d, const struct schema_message *m,
                        enum direction direction, const struct except *except);
json_t *field_example(struct document *d, const struct schema_field *f, enum direction direction);
/* The value of (stoa.api.v1.field).example; NULL: none, or an error is noted. */
json_t *own_example(struct document *d, const struct schema_field *f);

/* ---- paths.c ---- */

/* The path item of a binding, made when it is new, and the parameters of the binding. */
json_t *path_item(struct document *d, const struct schema_binding *b, json_t *parameters);
void query_parameters(struct document *d, const struct schema_binding *b, json_t *parameters);

/* ---- operations.c ---- */

json_t *operation(struct document *d, const struct schema_binding *b, unsigned nth,
                  json_t *parameters);
/* Before any binding is described. */
void find_shared_names(struct document *d);
/* The service's tag. */
struct str tag_of(struct document *d, const struct schema_method *method);
/* Whether the gateway serves the binding at all. */
bool is_served(const struct schema_binding *b);

/* ---- problem.c ---- */

json_t *problem_schema(void);

#endif
