/* What the files of the JSON mapping share; private to lib/schema.
 *
 *   json_read.c, json_read_well_known.c    JSON text to wire
 *   json_write.c, json_write_well_known.c  wire to JSON text
 *   json_wire.c                            the fields of a wire message in order of their numbers
 *   canonical.c                            wire to wire, in one form for each message
 *   json_text.c                            tokens: strings, escapes, base64, skipping a value
 *   json_number.c, json_time.c             numbers, time stamps and durations as text
 *   json_context.c                         faults, paths, scratch memory
 *
 * Source: protobuf.dev "ProtoJSON Format" and RFC 8259. One conversion runs on one thread.
 */
#ifndef STOA_SCHEMA_JSON_H
#define STOA_SCHEMA_JSON_H

#include "schema/tables.h"

#include <errno.h>
#include <sys/types.h>

/* ---- scratch: memory that is given back in reverse order ----
 *
 * The arena only grows; what one submessage needs for a moment (the order of its fields, a map's
 * keys) is given back before the next one, so that memory follows depth, not the number of
 * messages. */

#define JSON_SCRATCH_CHUNKS 24 /* each at least twice as large as the one before */

struct json_scratch {
    struct {
        char *p;
        size_t size;
    } chunks[JSON_SCRATCH_CHUNKS];
    unsigned n_chunks;
    unsigned current;
    size_t used; /* of the current chunk */
};

struct json_mark {
    unsigned chunk;
    size_t used;
};

/* ---- one conversion ---- */

/* Where in the JSON text the conversion is; a chain on the stack, made into a path when there is a
 * fault. */
struct json_segment {
    const struct json_segment *up;
    enum {
        JSON_SEGMENT_NONE,   /* between members */
        JSON_SEGMENT_MEMBER, /* .name */
        JSON_SEGMENT_KEY,    /* ["name"] */
        JSON_SEGMENT_INDEX,  /* [index] */
    } kind;
    struct str name;
    size_t index;
};

struct json_context {
    const struct schema *schema;
    struct arena *arena;
    struct buf *out;
    struct schema_fault *fault;
    const struct json_segment *path;
    unsigned depth; /* brackets open */
    unsigned max_depth;
    bool refuse_unknown, print_unset, long_fractions;
    bool mask_next; /* reading: the next message is one that a mask is made for */
    uint64_t seen;  /* reading: which of its first 64 fields the last message gave */
    struct json_scratch scratch;
    const char *start, *at, *end; /* reading: the text */
    size_t looked_ahead;          /* reading: bytes gone over to find an "@type" */
    size_t items, max_items;      /* reading: of all lists and maps */
};

void json_context_init(struct json_context *c, const struct schema *schema,
                       const struct schema_json_options *options, struct buf *out,
                       struct arena *arena, struct schema_fault *ret_fault);

/* Fills the fault with the current path and returns -EBADMSG (-ENOMEM). */
int json_fault(struct json_context *c, const char *message);
int json_faultf(struct json_context *c, const char *fmt, ...) PRINTF_LIKE(2, 3);
/* The text is no JSON: what is wrong, and where. */
int json_syntax(struct json_context *c, const char *what, const char *at);
/* The byte at c->at cannot be there, or the text ends. */
int json_unexpected(struct json_context *c);
/* A value of another kind is expected at c->at; a syntax fault if there is no value at all. */
int json_wrong_kind(struct json_context *c, const char *message);
/* The message type that the URL of an Any names; NULL if there is none. */
const struct schema_message *json_type_of_url(const struct json_context *c, struct str url);

/* NULL without memory. */
void *json_scratch_alloc(struct json_context *c, size_t n) MUST_CHECK;

static inline struct json_mark json_scratch_mark(const struct json_context *c)
{
    return (struct json_mark){c->scratch.current, c->scratch.used};
}

static inline void json_scratch_release(struct json_context *c, struct json_mark mark)
{
    c->scratch.current = mark.chunk;
    c->scratch.used = mark.used;
}

int json_too_deep(struct json_context *c);

/* One more bracket is open. */
static inline int json_enter(struct json_context *c)
{
    return c->depth++ < c->max_depth ? 0 : json_too_deep(c);
}

int json_too_many(struct json_context *c);

/* One more item of a list or map. Memory of whoever unpacks them follows their number, not the
 * bytes of the text. */
static inline int json_count_item(struct json_context *c)
{
    return c->items++ < c->max_items ? 0 : json_too_many(c);
}

static inline void json_leave(struct json_context *c)
{
    c->depth--;
}

/* ---- output ---- */

static inline char *json_room(struct json_context *c, size_t n)
{
    struct buf *b = c->out;

    return b->cap - b->n >= n ? b->p + b->n : buf_reserve(b, n);
}

#define JSON_SHORT 40 /* bytes of any number, tag or key that is put together on the stack */

/* Appends the first n <= JSON_SHORT bytes of an array that has JSON_SHORT. */
static inline void json_put_short(struct json_context *c, const char *bytes, size_t n)
{
    struct buf *b = c->out;

    if (b->cap - b->n >= JSON_SHORT) {
        memcpy(b->p + b->n, bytes, JSON_SHORT); /* a known size: a few moves */
        b->n += n;
    } else {
        buf_append(b, bytes, n);
    }
}

static inline void json_put_char(struct json_context *c, char ch)
{
    struct buf *b = c->out;

    if (b->cap - b->n >= 1)
        b->p[b->n++] = ch;
    else
        buf_append_char(b, ch);
}

/* Returns where the next byte goes. At most 10 bytes. */
static inline char *json_varint(char *to, uint64_t v)
{
    for (; v >= 0x80; v >>= 7)
        *to++ = (char)(v | 0x80);
    *to++ = (char)v;
    return to;
}

static inline char *json_tag(char *to, uint32_t number, enum schema_wire_type type)
{
    return json_varint(to, (uint64_t)number << 3 | type);
}

/* ---- tokens (json_text.c) ---- */

static inline void json_skip_space(struct json_context *c)
{
    const char *at = c->at;

    while (at < c->end && (*at == ' ' || *at == '\n' || *at == '\t' || *at == '\r'))
        at++;
    c->at = at;
}

static inline bool json_at(const struct json_context *c, char ch)
{
    return c->at < c->end && *c->at == ch;
}

/* Behind an opening bracket or a value: takes white space and the byte `close` or a comma.
 * Returns 0 at the close, 1 if one more value follows, or -EBADMSG. */
int json_first(struct json_context *c, char close) MUST_CHECK;
int json_next(struct json_context *c, char close) MUST_CHECK;

/* A string of the text, checked: raw is what stands between the quotes, size the number of bytes
 * that it means. raw.n == size when there are no escapes. */
struct json_string {
    struct str raw;
    size_t size;
};

/* c->at is at the opening quote; moves behind the closing one. */
int json_scan_string(struct json_context *c, struct json_string *ret) MUST_CHECK;
/* Writes s.size bytes. */
void json_unescape(const struct json_string *s, char *to);
/* A string's meaning: raw itself if it has no escapes, else in scratch memory. */
int json_scan_text(struct json_context *c, struct str *ret) MUST_CHECK;
/* A member's name and the colon; c->at is then at the value. */
int json_scan_name(struct json_context *c, struct str *ret) MUST_CHECK;
/* Takes true, false or null if it is there. */
bool json_take_literal(struct json_context *c, struct str literal);
/* Moves over a whole value, checking it. */
int json_skip_value(struct json_context *c) MUST_CHECK;

/* Appends s in quotes. */
int json_write_string(struct json_context *c, struct str s) MUST_CHECK;
/* Appends s in quotes as base64. */
int json_write_base64(struct json_context *c, struct str s) MUST_CHECK;
/* ---- numbers (json_number.c) ---- */

/* A number of the text: magnitude * 10^exponent. */
struct json_number {
    struct str text;
    uint64_t magnitude;
    int64_t exponent;
    bool negative;
    bool exact; /* magnitude has all digits; else it needs more than 64 bits */
};

/* Parses a number of JSON's grammar at `at`; returns where it ends, NULL if there is none and then
 * *ret_stop is the byte that is wrong. */
const char *json_parse_number(const char *at, const char *end, struct json_number *ret,
                              const char **ret_stop);
/* Returns 0, -EINVAL (not whole) or -ERANGE. */
int json_number_to_uint64(const struct json_number *n, uint64_t *ret) MUST_CHECK; /* magnitude */
/* Return 0, -ERANGE (would be infinite) or -ENOMEM. */
int json_number_to_double(struct json_context *c, const struct json_number *n,
                          double *ret) MUST_CHECK;
int json_number_to_float(struct json_context *c, const struct json_number *n,
                         float *ret) MUST_CHECK;

/* Return the number of bytes written, at most JSON_SHORT; no NUL. Doubles and floats are written
 * as the shortest decimal that reads back the same; NaN and infinities in quotes. */
size_t json_format_uint64(char *to, uint64_t v);
size_t json_format_int64(char *to, int64_t v);
size_t json_format_double(char *to, double v);
size_t json_format_float(char *to, float v);

/* ---- time (json_time.c) ---- */

struct json_time {
    int64_t seconds;
    int32_t nanos;
};

/* Return 0 or -EINVAL. */
int json_parse_timestamp(struct str s, struct json_time *ret) MUST_CHECK;
int json_parse_duration(struct str s, struct json_time *ret) MUST_CHECK;
/* Return the number of bytes written (in quotes, at most JSON_SHORT), or -ERANGE. */
int json_format_timestamp(char *to, struct json_time t, bool long_fraction) MUST_CHECK;
int json_format_duration(char *to, struct json_time t) MUST_CHECK;

/* ---- wire (json_wire.c) ---- */

extern const uint8_t json_wire_types[];

static inline enum schema_wire_type json_wire_type(enum schema_type type)
{
    return (enum schema_wire_type)json_wire_types[type];
}

static inline uint64_t json_zigzag(int64_t v)
{
    return (uint64_t)v << 1 ^ -(uint64_t)(v < 0);
}

/* The known fields of a serialized message in order of their numbers. Most messages are written
 * that way and are read as they stand; others (doubled singular fields, two members of a oneof, any
 * order) are indexed first, so that the rules of the wire format hold: the last value of a scalar
 * and the last member of a oneof win, submessages are merged. */
struct json_fields {
    const struct schema_message *type;
    struct schema_reader reader;
    const uint8_t *start;
    const uint64_t *order; /* field index << 32 | offset; NULL: the wire is in order */
    size_t n_order, next;
    /* The field at hand; NULL at the end. */
    const struct schema_field *field;
    struct schema_wire_field value;
};

/* Opens at the first field. */
int json_fields_open(struct json_context *c, struct json_fields *f,
                     const struct schema_message *type, struct str wire) MUST_CHECK;
int json_fields_next(struct json_context *c, struct json_fields *f) MUST_CHECK;
/* The value of the singular field at hand, from all its occurrences; moves to the next field.
 * Merged messages are in scratch memory. */
int json_fields_take(struct json_context *c, struct json_fields *f,
                     struct schema_wire_field *ret) MUST_CHECK;

/* How many occurrences the field at hand has; stays there. */
int json_fields_count(struct json_context *c, const struct json_fields *f, size_t *ret) MUST_CHECK;

/* Whether the value is one of this field: else it is an unknown field. */
bool json_usable(const struct schema_message *type, const struct schema_field *f,
                 const struct schema_wire_field *value);

/* The next value of a packed list. Returns 0 or -EBADMSG. */
static inline int json_packed_next(struct schema_reader *r, enum schema_wire_type type,
                                   uint64_t *ret)
{
    size_t n = type == SCHEMA_WIRE_64BIT ? 8 : 4;

    if (type == SCHEMA_WIRE_VARINT)
        return schema_read_varint(r, ret);
    if ((size_t)(r->end - r->at) < n)
        return -EBADMSG;
    *ret = 0;
    for (size_t i = 0; i < n; i++)
        *ret |= (uint64_t)r->at[i] << (8 * i);
    r->at += n;
    return 0;
}

/* An entry of a map is a message of two fields; what is missing has its default. */
struct json_entry {
    struct schema_wire_field key, value;
    bool has_value;
    bool unknown; /* its value is an unknown one of a closed enum, which makes the entry unknown */
};

int json_entry_read(struct json_context *c, const struct schema_message *type, struct str bytes,
                    struct json_entry *ret) MUST_CHECK;

/* A map key as it is compared: a number or text. */
struct json_map_key {
    struct str text;
    uint64_t number;
    size_t position; /* of the entry in its map */
};

struct json_map_key json_entry_key(const struct schema_message *type,
                                   const struct json_entry *entry, size_t position);
/* By key, then by position. */
void json_sort_keys(struct json_map_key *keys, size_t n);
bool json_same_key(const struct json_map_key *a, const struct json_map_key *b);

/* ---- reading ---- */

/* A message as the value at c->at; appends its fields. */
int json_read_message(struct json_context *c, const struct schema_message *type) MUST_CHECK;
int json_read_well_known(struct json_context *c, const struct schema_message *type) MUST_CHECK;
/* Members up to the closing brace, whose opening one has been taken. In an Any, "@type" is passed
 * over. */
int json_read_members(struct json_context *c, const struct schema_message *type,
                      bool in_any) MUST_CHECK;

/* Appends a scalar as the wire has it; bare: without its tag. */
void json_put_scalar(struct json_context *c, const struct schema_field *f, uint64_t v, bool bare);

#define JSON_IGNORED 1 /* an unknown enum name, which the options say to ignore */

/* One value of a field, not null. bare: without its tag; keep_zero: written also when it is the
 * type's default. Returns 0, JSON_IGNORED or an error. */
int json_read_value(struct json_context *c, const struct schema_field *f, bool bare,
                    bool keep_zero) MUST_CHECK;
int json_read_list(struct json_context *c, const struct schema_field *f) MUST_CHECK;
int json_read_map(struct json_context *c, const struct schema_field *f) MUST_CHECK;

/* ---- writing ---- */

int json_write_message(struct json_context *c, const struct schema_message *type,
                       struct str wire) MUST_CHECK;
int json_write_well_known(struct json_context *c, const struct schema_message *type,
                          struct str wire) MUST_CHECK;
/* The members without braces; a comma goes before the first unless an opening brace is there. */
int json_write_members(struct json_context *c, const struct schema_message *type,
                       struct str wire) MUST_CHECK;
/* One value of a field. */
int json_write_value(struct json_context *c, const struct schema_field *f,
                     const struct schema_wire_field *value) MUST_CHECK;
/* A whole repeated field or map at hand in f, in brackets; f moves behind it. */
int json_write_list(struct json_context *c, struct json_fields *f) MUST_CHECK;
int json_write_map(struct json_context *c, struct json_fields *f) MUST_CHECK;

#endif
