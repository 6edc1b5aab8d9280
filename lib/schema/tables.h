/* The compiled tables behind struct schema; private to lib/schema, and read by lib/openapi. load.c
 * builds them, everything else only reads. All memory is in the schema's arena and immutable after
 * schema_load(). */
#ifndef STOA_SCHEMA_TABLES_H
#define STOA_SCHEMA_TABLES_H

#include "schema/schema.h"

/* FieldDescriptorProto.Type. */
enum schema_type {
    SCHEMA_DOUBLE = 1,
    SCHEMA_FLOAT = 2,
    SCHEMA_INT64 = 3,
    SCHEMA_UINT64 = 4,
    SCHEMA_INT32 = 5,
    SCHEMA_FIXED64 = 6,
    SCHEMA_FIXED32 = 7,
    SCHEMA_BOOL = 8,
    SCHEMA_STRING = 9,
    SCHEMA_GROUP = 10,
    SCHEMA_MESSAGE = 11,
    SCHEMA_BYTES = 12,
    SCHEMA_UINT32 = 13,
    SCHEMA_ENUM = 14,
    SCHEMA_SFIXED32 = 15,
    SCHEMA_SFIXED64 = 16,
    SCHEMA_SINT32 = 17,
    SCHEMA_SINT64 = 18,
};

enum schema_wire_type {
    SCHEMA_WIRE_VARINT = 0,
    SCHEMA_WIRE_64BIT = 1,
    SCHEMA_WIRE_LENGTH = 2,
    SCHEMA_WIRE_START_GROUP = 3,
    SCHEMA_WIRE_END_GROUP = 4,
    SCHEMA_WIRE_32BIT = 5,
};

/* Message types whose JSON form is special. */
enum schema_well_known {
    SCHEMA_PLAIN = 0,
    SCHEMA_ANY,
    SCHEMA_TIMESTAMP,
    SCHEMA_DURATION,
    SCHEMA_FIELD_MASK,
    SCHEMA_STRUCT,
    SCHEMA_VALUE,
    SCHEMA_LIST_VALUE,
    SCHEMA_WRAPPER, /* any of the nine */
    SCHEMA_EMPTY,
};

/* A hash table from names to indices: open addressing, at most half full. Built once in an arena,
 * then only read. The keys are kept by their owner. */
struct schema_name {
    struct str key;
    uint32_t hash;
    uint32_t index;
};

struct schema_names {
    struct schema_name *slots; /* mask + 1 of them; key.p is NULL in a free one */
    uint32_t mask;
    uint32_t used;
};

/* Returns 0, -EEXIST (the name is there already and stays as it was) or -ENOMEM. */
int schema_names_add(struct schema_names *names, struct arena *arena, struct str key,
                     uint32_t index) MUST_CHECK;
bool schema_names_find(const struct schema_names *names, struct str key, uint32_t *ret) MUST_CHECK;

/* All names of messages, fields, enums and values are identifiers, that of an extension is its full
 * name in brackets; a JSON name has no control character, quote or backslash: all can be printed in
 * JSON as they are. */

struct schema_enum_value {
    struct str name;
    int32_t number;
};

struct schema_enum {
    struct str full_name;
    /* In order of declaration, one or more; the first of a number gives it its name. */
    const struct schema_enum_value *values;
    size_t n_values;
    bool null_value; /* google.protobuf.NullValue */
    bool closed;     /* proto2 */
    struct schema_names by_name;
    const uint32_t *by_number; /* indices of values in order of number, then of declaration */
};

struct schema_rules; /* compiled buf.validate rules, validate.c */

struct schema_field {
    struct str name;      /* "tag_list"; of an extension "[package.name]" */
    struct str json_name; /* "tagList"; of an extension the same as its name */
    uint32_t number;
    enum schema_type type;
    bool repeated;        /* also maps */
    bool map;             /* then message is the entry type: fields[] 1 key, 2 value */
    bool packed;          /* how we write it; both are read */
    bool presence;        /* message, oneof member, `optional`, proto2 */
    bool required;        /* proto2 */
    bool extension;       /* proto2; unknown to generated code of the message */
    bool null_when_unset; /* (stoa.api.v1.field) */
    bool entity_tag;      /* (stoa.api.v1.field) */
    struct str example;   /* (stoa.api.v1.field); {NULL, 0}: none */
    bool event_id;        /* (stoa.api.v1.field) */
    bool last_event_id;   /* (stoa.api.v1.field) */
    bool apart;           /* (stoa.api.v1.field) */
    struct str mask_of;   /* (stoa.api.v1.field); {NULL, 0}: none */
    bool utf8;            /* proto3 string: must be UTF-8 */
    int oneof;            /* index in the message's oneofs (synthetic ones too), or -1 */
    const struct schema_message *message; /* of SCHEMA_MESSAGE and SCHEMA_GROUP */
    const struct schema_enum *enumeration;
    struct str default_value;         /* proto2 text form (bytes C-escaped); {NULL, 0}: zero */
    const struct schema_rules *rules; /* NULL: none */
};

struct schema_oneof {
    struct str name;
    bool synthetic; /* of a proto3 `optional` field */
    bool required;  /* buf.validate */
};

/* Well-known types have the fields that google/protobuf declares for them, checked at load. */
struct schema_message {
    struct str full_name;
    const struct schema_field *fields; /* with all known extensions, sorted by number */
    size_t n_fields;
    const struct schema_oneof *oneofs;
    size_t n_oneofs;
    enum schema_well_known well_known;
    bool map_entry;
    bool has_rules;                          /* this message or one below it has rules to check */
    struct schema_names by_json_name;        /* JSON names, then original names */
    const struct schema_field *const *dense; /* by number, for numbers below n_dense */
    uint32_t n_dense;
    uint64_t required;                 /* bit i: fields[i] is required; only for the first 64 */
    const struct schema_field *mask;   /* its field with a mask_of; NULL: none */
    const struct schema_field *masked; /* and the field that this one names */
};

/* By number: an index for dense numbering, else binary search; NULL if there is none. */
const struct schema_field *schema_field_search(const struct schema_message *m, uint32_t number);
static inline const struct schema_field *schema_field_by_number(const struct schema_message *m,
                                                                uint32_t number)
{
    return number < m->n_dense ? m->dense[number] : schema_field_search(m, number);
}
/* By JSON name or original name (proto3 JSON accepts both); NULL if there is none. */
const struct schema_field *schema_field_by_json_name(const struct schema_message *m,
                                                     struct str name);
/* By original name. */
const struct schema_field *schema_field_by_name(const struct schema_message *m, struct str name);
const struct schema_enum_value *schema_enum_by_name(const struct schema_enum *e, struct str name);
const struct schema_enum_value *schema_enum_by_number(const struct schema_enum *e, int32_t number);

/* ---- wire primitives (wire.c), used by every reader ---- */

struct schema_reader {
    const uint8_t *at, *end;
};

static inline struct schema_reader schema_reader_of(struct str s)
{
    const uint8_t *p = (const uint8_t *)(s.p ? s.p : "");

    return (struct schema_reader){p, p + s.n};
}

/* One field of a message: its number, wire type, and value. Groups: bytes spans the group's inside.
 * Returns 1, 0 at the end, or -EBADMSG. */
struct schema_wire_field {
    uint32_t number;
    enum schema_wire_type wire_type;
    uint64_t scalar;  /* VARINT, 64BIT, 32BIT */
    struct str bytes; /* LENGTH, groups */
};
int schema_read_field(struct schema_reader *r, struct schema_wire_field *ret) MUST_CHECK;
int schema_read_varint(struct schema_reader *r, uint64_t *ret) MUST_CHECK;

/* merge.c: the second half of schema_clean_wire(), for bytes that have passed the check but have a
 * singular message field more than once or a group somewhere. */
int schema_merge_wire(const struct schema_message *type, struct str bytes, struct arena *arena,
                      struct str *ret, struct schema_fault *ret_fault) MUST_CHECK;

/* Appending wire bytes. */
void schema_put_varint(struct buf *b, uint64_t v);
void schema_put_tag(struct buf *b, uint32_t number, enum schema_wire_type type);
/* Fields of bytes or text; then such, and numbers, without presence: not written when empty or 0.
 */
static inline void schema_put_bytes(struct buf *b, uint32_t number, struct str value)
{
    schema_put_tag(b, number, SCHEMA_WIRE_LENGTH);
    schema_put_varint(b, value.n);
    buf_append_str(b, value);
}

static inline void schema_put_some(struct buf *b, uint32_t number, struct str value)
{
    if (value.n)
        schema_put_bytes(b, number, value);
}

static inline void schema_put_number(struct buf *b, uint32_t number, uint64_t value)
{
    if (!value)
        return;
    schema_put_tag(b, number, SCHEMA_WIRE_VARINT);
    schema_put_varint(b, value);
}

/* Whether what was read is the field of a message that is known to be of this type. */
static inline bool schema_field_is(const struct schema_wire_field *f, uint32_t number,
                                   enum schema_wire_type type)
{
    return f->number == number && f->wire_type == type;
}

/* A length-delimited field written in place: begin remembers where, end fills in the length (moving
 * the content when its length needs more than one byte). */
size_t schema_put_begin(struct buf *b, uint32_t number) MUST_CHECK;
void schema_put_end(struct buf *b, size_t mark);

#endif
