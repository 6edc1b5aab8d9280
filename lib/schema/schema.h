/* The contract at run time: what the descriptor set (api.binpb) says, compiled into tables.
 *
 * One descriptor set drives the gateway's routes and JSON mapping, request validation inside the
 * services, and gRPC server reflection. A struct schema is immutable after schema_load() and may be
 * used by any number of threads. Nothing in this library knows gRPC or nginx.
 */
#ifndef STOA_SCHEMA_SCHEMA_H
#define STOA_SCHEMA_SCHEMA_H

#include "base/arena.h"
#include "base/buf.h"

#include <protobuf-c/protobuf-c.h>

struct schema;
struct schema_message; /* one message type */
struct schema_field;

enum schema_auth {                       /* stoa.api.v1.Auth: does a method need an access token? */
                   SCHEMA_AUTH_REQUIRED, /* also when a method says nothing */
                   SCHEMA_AUTH_OPTIONAL,
                   SCHEMA_AUTH_NONE,
};

/* stoa.api.v1.Header: a bit for each in schema_method.headers. */
enum schema_headers {
    SCHEMA_ETAG = 1 << 0,
    SCHEMA_IF_MATCH = 1 << 1,
    SCHEMA_IDEMPOTENCY_KEY = 1 << 2,
    SCHEMA_LINK = 1 << 3,
};

#define SCHEMA_MAX_WAY 4

/* The fields that lead from a message to one in it, or in a message that it holds. */
struct schema_way {
    const struct schema_field *const *fields; /* outermost first */
    size_t n;                                 /* 0: there is none */
};

struct schema_method {
    struct str path;    /* "/stoa.posts.v1.ArticleService/GetArticle", NUL-terminated */
    struct str service; /* "stoa.posts.v1.ArticleService" */
    const struct schema_message *input, *output;
    bool client_streaming, server_streaming;
    bool idempotent; /* idempotency_level: NO_SIDE_EFFECTS or IDEMPOTENT */
    enum schema_auth auth;
    int http_status; /* of a success over HTTP: 200 unless (stoa.api.v1.method).http_status */
    bool json_lines; /* (stoa.api.v1.method).json_lines */
    struct str cache_control;         /* (stoa.api.v1.method).cache_control; {NULL, 0}: none */
    unsigned headers;                 /* enum schema_headers: (stoa.api.v1.method).headers */
    struct schema_way entity_tag;     /* from output to its (stoa.api.v1.field).entity_tag */
    struct schema_way event_id;       /* from output to its (stoa.api.v1.field).event_id */
    struct schema_way last_event_id;  /* from input to its (stoa.api.v1.field).last_event_id */
    const struct schema_field *apart; /* of input: its (stoa.api.v1.field).apart; NULL: none */
    uint32_t apart_number;            /* of that field */
};

/* Compiles a serialized google.protobuf.FileDescriptorSet (with imports). The bytes are copied.
 * On error -EINVAL (-ENOMEM) and *ret_error is one line that names file, element and cause (in the
 * arena). Rules of buf.validate that are unknown, ill-typed or have a bad pattern are errors here,
 * never at the first request. */
int schema_load(struct str descriptor_set, struct arena *error_arena, struct schema **ret,
                struct str *ret_error) MUST_CHECK;

/* schema_load() of a file. */
int schema_load_file(const char *path, struct arena *error_arena, struct schema **ret,
                     struct str *ret_error) MUST_CHECK;
void schema_free(struct schema *schema);

/* By full name ("stoa.auth.v1.User", no leading dot); NULL if there is none. */
const struct schema_message *schema_message(const struct schema *schema, struct str full_name);
struct str schema_message_name(const struct schema_message *message);

/* By path ("/package.Service/Method"); NULL if there is none. */
const struct schema_method *schema_method(const struct schema *schema, struct str path);
size_t schema_method_count(const struct schema *schema);
const struct schema_method *schema_method_at(const struct schema *schema, size_t i);

/* For reflection: the serialized FileDescriptorProto of a file by name, or of the file that
 * declares a symbol (package-qualified message, field, enum, service, method, extension);
 * {NULL, 0} if there is none. */
struct str schema_file_by_name(const struct schema *schema, struct str name);
struct str schema_file_by_symbol(const struct schema *schema, struct str symbol);
/* The file that declares extension `number` of `extendee`; {NULL, 0} if none does. */
struct str schema_file_by_extension(const struct schema *schema, struct str extendee, int number);
/* All files, serialized, in the order of the set. */
size_t schema_file_count(const struct schema *schema);
struct str schema_file_at(const struct schema *schema, size_t i);
/* Names of the direct imports of a file, n of them; 0 when the file is unknown. */
size_t schema_file_imports(const struct schema *schema, struct str name, const struct str **ret);
/* Numbers of all known extensions of a message type. */
size_t schema_extension_numbers(const struct schema *schema, struct str extendee,
                                const int32_t **ret);

/* ---- faults: what is wrong with somebody's input, and where ---- */

struct schema_fault {
    struct str path;    /* "article.tagList[3]" (JSON) or "article.tag_list[3]" (wire, rules);
                           empty: the whole input */
    struct str message; /* in plain words, for the caller */
};

/* ---- wire.c: reading protobuf wire bytes from strangers ---- */

/* Checks that bytes are a well-formed message of this type before protobuf-c unpacks them: tags and
 * lengths inside the input, at most 100 levels deep, strings valid UTF-8 without NUL (protobuf-c
 * hands out NUL-terminated strings, so a NUL would cut one short unseen), wire types as declared,
 * required fields there.
 * Unknown fields are skipped over. Returns 0, or -EBADMSG with *ret_fault (strings in the arena).
 */
int schema_check_wire(const struct schema_message *type, struct str bytes, struct arena *arena,
                      struct schema_fault *ret_fault) MUST_CHECK;

/* As schema_check_wire(), and makes of the bytes what protobuf-c (1.4) can always unpack:
 * *ret_bytes is the input itself, or else a copy in the arena without unknown groups and with
 * singular messages that occur several times merged into one. May also return -ENOMEM. */
int schema_clean_wire(const struct schema_message *type, struct str bytes, struct arena *arena,
                      struct str *ret_bytes, struct schema_fault *ret_fault) MUST_CHECK;

/* As schema_check_wire(), and appends the message in its canonical form: fields in order of their
 * numbers, singular ones once, lists packed as they are declared, entries of maps in order of their
 * keys, numbers in their shortest form, no defaults without presence, then unknown fields as they
 * are. Serializations of equal messages without unknown fields become the same bytes. Bytes inside
 * an Any stay. May also return -EMSGSIZE or -ENOMEM. */
int schema_canonical_wire(const struct schema_message *type, struct str bytes, struct buf *to,
                          struct arena *arena, struct schema_fault *ret_fault) MUST_CHECK;

/* ---- validate.c: the buf.validate standard rules ---- */

/* Enforces the rules on a decoded message (type and message->descriptor are the same type). All
 * violations are collected, each with its field path ("user.username"), up to a limit of 64.
 * Returns the count (0: valid), or -ENOMEM. */
int schema_validate(const struct schema_message *type, const ProtobufCMessage *message,
                    struct arena *arena, struct schema_fault **ret_violations) MUST_CHECK;

/* ---- json_read.c, json_write.c: the proto3 JSON mapping, straight between text and wire ---- */

struct schema_json_options {
    bool print_unset;        /* print fields without presence also when they have their default */
    bool long_fractions;     /* time stamps always have at least three fraction digits */
    bool refuse_unknown;     /* reading: an unknown member is an error instead of ignored */
    unsigned max_depth;      /* levels of nesting, 0: 100 */
    size_t max_items;        /* reading: items of all lists and maps together, 0: any */
    struct str content_type; /* schema_request(): of a body that is a google.api.HttpBody */
};

/* Reads JSON text as a message of this type and appends its wire form. Returns 0, -EBADMSG with
 * *ret_fault (in the arena), -EDOM likewise when a value is of the right type but refused by the
 * contract (mask_of), or -EMSGSIZE / -ENOMEM when wire's limit or memory is used up. */
int schema_json_read(const struct schema *schema, const struct schema_message *type,
                     struct str json, const struct schema_json_options *options, struct buf *wire,
                     struct arena *arena, struct schema_fault *ret_fault) MUST_CHECK;

/* Whether text is JSON (RFC 8259), of whatever shape, in UTF-8 and at most max_depth levels deep
 * (0: 100). */
bool schema_json_valid(struct str json, unsigned max_depth);

/* Appends the JSON form of a serialized message. Same returns; -EBADMSG: bytes are not such a
 * message. */
int schema_json_write(const struct schema *schema, const struct schema_message *type,
                      struct str wire, const struct schema_json_options *options, struct buf *json,
                      struct arena *arena, struct schema_fault *ret_fault) MUST_CHECK;

/* ---- route.c: google.api.http ---- */

struct schema_binding; /* one HTTP binding of one method */

#define SCHEMA_MAX_CAPTURES 16

struct schema_capture {
    const struct schema_binding *binding;
    unsigned variable; /* index of the path variable */
    struct str raw;    /* percent-encoded, a part of the request's path */
};

struct schema_match {
    const struct schema_binding *binding;
    const struct schema_method *method;
    struct schema_capture captures[SCHEMA_MAX_CAPTURES];
    unsigned n_captures;
    uint32_t allow; /* on -EPERM: what schema_allow() prints */
};

/* Finds the binding for a request. path: without query, still percent-encoded. HEAD matches GET
 * bindings; a path with a segment "." or ".." matches none. Returns 0, -ENOENT (no such path) or
 * -EPERM (the path exists, not for this HTTP method). */
int schema_route(const struct schema *schema, struct str http_method, struct str path,
                 struct schema_match *ret) MUST_CHECK;

/* After -EPERM: the HTTP methods that the path has, "GET, HEAD, POST, OPTIONS", for an Allow header
 * (RFC 9110 section 10.2.1). OPTIONS is always among them: whoever serves routes answers it. In the
 * arena, NUL-terminated; {NULL, 0} without memory. */
struct str schema_allow(const struct schema *schema, const struct schema_match *match,
                        struct arena *arena);

/* Whether the matched binding takes a body (its rule has `body`). */
bool schema_match_has_body(const struct schema_match *match);

enum schema_part {
    SCHEMA_PART_BODY,
    SCHEMA_PART_QUERY,
    SCHEMA_PART_PATH,
    SCHEMA_PART_FIELD, /* of the body, with a value of its type that the contract refuses */
};

/* Builds the request message from path captures, query string (without '?') and JSON body. An
 * empty body counts as {}. On -EBADMSG *ret_part says which part of the request *ret_fault is
 * about. Query parameters that name no field, or one that path or body give, are ignored, or
 * refused with options->refuse_unknown. */
int schema_request(const struct schema *schema, const struct schema_match *match, struct str query,
                   struct str body, const struct schema_json_options *options, struct buf *wire,
                   struct arena *arena, enum schema_part *ret_part,
                   struct schema_fault *ret_fault) MUST_CHECK;

/* Whether a query string sets the (stoa.api.v1.field).apart of the method's request. Quick, and
 * before anything else is looked at. */
bool schema_sets_apart(const struct schema_method *method, struct str query);

/* One message of a stream of requests: `body` fills the field that the binding's rule names as its
 * body, or else the whole message, also when the rule has no body, as that of a GET. What path and
 * query say is schema_request()'s, with no body, and belongs behind it: of two values of a field
 * the later one counts. Returns the same. */
int schema_stream_request(const struct schema *schema, const struct schema_match *match,
                          struct str body, const struct schema_json_options *options,
                          struct buf *wire, struct arena *arena,
                          struct schema_fault *ret_fault) MUST_CHECK;

/* Appends the JSON of a response message, honouring the binding's response_body. */
int schema_response(const struct schema *schema, const struct schema_match *match, struct str wire,
                    const struct schema_json_options *options, struct buf *json,
                    struct arena *arena, struct schema_fault *ret_fault) MUST_CHECK;

/* The value of the entity tag field in a serialized response, a part of wire; {NULL, 0} when it is
 * not set or the method has none. Damaged bytes end the search. */
struct str schema_entity_tag(const struct schema_method *method, struct str wire);

/* ---- event_id.c ---- */

#define SCHEMA_EVENT_ID_ROOM 24

/* The event id of a streamed message: a part of wire, or a number printed into room. {NULL, 0}: it
 * has none, or an empty one. */
struct str schema_event_id(const struct schema_method *method, struct str wire,
                           char room[SCHEMA_EVENT_ID_ROOM]);

/* Appends the field that takes a Last-Event-ID to a serialized request, where it stands above what
 * the request has for it. Returns 0, also when the method has no such field, -EBADMSG (the id can't
 * be a value of the field; *ret_fault says so), -EMSGSIZE or -ENOMEM. */
int schema_put_last_event_id(const struct schema *schema, const struct schema_method *method,
                             struct str id, struct buf *wire, struct arena *arena,
                             struct schema_fault *ret_fault) MUST_CHECK;

/* ---- http_body.c: google.api.HttpBody, a body that is not JSON ---- */

/* By its name and by the two fields that are used here. */
bool schema_is_http_body(const struct schema_message *type);

/* Takes the parts out of a serialized HttpBody; they are parts of wire. Absent ones are empty.
 * -EBADMSG: it is none. */
int schema_read_http_body(struct str wire, struct str *ret_content_type,
                          struct str *ret_data) MUST_CHECK;

/* Appends the two fields. */
void schema_put_http_body(struct buf *wire, struct str content_type, struct str data);

/* What the matched binding's request body fills, and what its response body is: an HttpBody, whose
 * bytes are then those of HTTP. */
bool schema_match_raw_request(const struct schema_match *match);
bool schema_match_raw_response(const struct schema_match *match);

/* The same of what schema_stream_request() fills. */
bool schema_match_raw_stream(const struct schema_match *match);

/* The HttpBody in a serialized response: all of it, or its response_body. An absent one is empty.
 * -EBADMSG: it is no such message. */
int schema_raw_response(const struct schema_match *match, struct str wire,
                        struct str *ret_body) MUST_CHECK;

/* All bindings, in the order of the descriptor set. Strings are the schema's, NUL-terminated. */
struct schema_binding_description {
    const struct schema_method *method;
    struct str http_method;   /* "GET"; "*": any */
    struct str path;          /* the template: "/v1/things/{name}:publish" */
    struct str body;          /* a field, "*" (the whole message), or empty (no body) */
    struct str response_body; /* a field, or empty (the whole message) */
};
size_t schema_binding_count(const struct schema *schema);
const struct schema_binding *schema_binding_at(const struct schema *schema, size_t i);
void schema_binding_describe(const struct schema_binding *binding,
                             struct schema_binding_description *ret);

#endif
