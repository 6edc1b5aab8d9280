/* The protobuf wire format: reading it from strangers, checking it, appending to it.
 *
 * Pure functions on bytes; any thread. Source: protobuf.dev "Encoding".
 */
#include "base/utf8.h"
#include "schema/tables.h"

#include <assert.h>
#include <errno.h>

#define MAX_DEPTH 100
#define MAX_FIELD_NUMBER ((UINT32_C(1) << 29) - 1)
#define MAX_TAG_BYTES 5
#define MAX_VARINT_BYTES 10
/* A length is at most INT32_MAX and protobuf-c reads no more than five bytes of it. */
#define MAX_LENGTH_BYTES 5

/* ---- varints and tags ---- */

static int read_varint(struct schema_reader *r, size_t max_bytes, uint64_t *ret)
{
    const uint8_t *p = r->at;
    uint64_t v = 0;
    size_t left = (size_t)(r->end - p);

    if (max_bytes > left)
        max_bytes = left;
    for (size_t i = 0; i < max_bytes; i++) {
        v |= (uint64_t)(p[i] & 0x7f) << (7 * i);
        if (p[i] < 0x80) {
            r->at = p + i + 1;
            *ret = v;
            return 0;
        }
    }
    return -EBADMSG;
}

int schema_read_varint(struct schema_reader *r, uint64_t *ret)
{
    if (r->at < r->end && *r->at < 0x80) {
        *ret = *r->at++;
        return 0;
    }
    return read_varint(r, MAX_VARINT_BYTES, ret);
}

static int read_tag(struct schema_reader *r, uint32_t *ret_number, enum schema_wire_type *ret_type)
{
    uint64_t tag;

    if (r->at < r->end && *r->at < 0x80)
        tag = *r->at++;
    else if (read_varint(r, MAX_TAG_BYTES, &tag))
        return -EBADMSG;
    if (tag >> 3 == 0 || tag >> 3 > MAX_FIELD_NUMBER || (tag & 7) > SCHEMA_WIRE_32BIT)
        return -EBADMSG;
    *ret_number = (uint32_t)(tag >> 3);
    *ret_type = (enum schema_wire_type)(tag & 7);
    return 0;
}

static int read_fixed(struct schema_reader *r, size_t n, uint64_t *ret)
{
    uint64_t v = 0;

    if ((size_t)(r->end - r->at) < n)
        return -EBADMSG;
    for (size_t i = 0; i < n; i++)
        v |= (uint64_t)r->at[i] << (8 * i);
    r->at += n;
    *ret = v;
    return 0;
}

static int read_length(struct schema_reader *r, struct str *ret)
{
    uint64_t n;

    if (read_varint(r, MAX_LENGTH_BYTES, &n) || n > INT32_MAX || n > (uint64_t)(r->end - r->at))
        return -EBADMSG;
    *ret = (struct str){(const char *)r->at, (size_t)n};
    r->at += n;
    return 0;
}

/* Reads a value that is not a group. */
static int read_value(struct schema_reader *r, struct schema_wire_field *f)
{
    switch (f->wire_type) {
    case SCHEMA_WIRE_VARINT:
        return schema_read_varint(r, &f->scalar);
    case SCHEMA_WIRE_64BIT:
        return read_fixed(r, 8, &f->scalar);
    case SCHEMA_WIRE_32BIT:
        return read_fixed(r, 4, &f->scalar);
    case SCHEMA_WIRE_LENGTH:
        return read_length(r, &f->bytes);
    case SCHEMA_WIRE_START_GROUP:
    case SCHEMA_WIRE_END_GROUP:
        break;
    }
    return -EBADMSG;
}

/* Behind a start tag: reads to the end tag of the same number. Groups inside are kept on a list of
 * open numbers, so that depth costs no stack. */
static int read_group(struct schema_reader *r, uint32_t number, struct str *ret)
{
    uint32_t open[MAX_DEPTH];
    unsigned depth = 0;
    const uint8_t *start = r->at, *at;
    struct schema_wire_field f = {0};

    open[depth++] = number;
    while (depth) {
        at = r->at;
        if (read_tag(r, &f.number, &f.wire_type))
            return -EBADMSG;
        if (f.wire_type == SCHEMA_WIRE_START_GROUP) {
            if (depth == MAX_DEPTH)
                return -EBADMSG;
            open[depth++] = f.number;
        } else if (f.wire_type == SCHEMA_WIRE_END_GROUP) {
            if (open[--depth] != f.number)
                return -EBADMSG;
        } else if (read_value(r, &f)) {
            return -EBADMSG;
        }
    }
    *ret = (struct str){(const char *)start, (size_t)(at - start)};
    return 0;
}

int schema_read_field(struct schema_reader *r, struct schema_wire_field *ret)
{
    int err;

    if (r->at == r->end)
        return 0;
    *ret = (struct schema_wire_field){0};
    err = read_tag(r, &ret->number, &ret->wire_type);
    if (err)
        return err;
    if (ret->wire_type == SCHEMA_WIRE_START_GROUP)
        err = read_group(r, ret->number, &ret->bytes);
    else
        err = read_value(r, ret);
    return err ? err : 1;
}

/* ---- schema_check_wire ---- */

/* Where the check is: one for each open message, on the stack. A path is made from these only when
 * there is a fault. */
struct level {
    const struct level *up;
    const struct schema_message *type;
    const struct schema_field *field; /* that is being looked at */
    const uint8_t *start;             /* of the message */
    const uint8_t *tag;               /* of the field */
    unsigned depth;
};

struct check {
    struct arena *arena;
    bool unclean;      /* protobuf-c may not be able to unpack what is right */
    const char *cause; /* of the fault */
    struct str path;
};

/* Which occurrence of its number the current field is: counted only when a path is made. */
static size_t occurrence(const struct level *l)
{
    struct schema_reader r = {l->start, l->tag};
    struct schema_wire_field f;
    size_t n = 0;

    while (schema_read_field(&r, &f) == 1)
        n += f.number == l->field->number;
    return n;
}

static struct str level_path(const struct level *l, struct arena *arena)
{
    struct str up, here;

    if (!l)
        return STR("");
    up = level_path(l->up, arena);
    if (!l->field)
        return up;
    here = l->field->name;
    if (l->field->repeated)
        return arena_printf(arena, "%.*s%s%.*s[%zu]", STR_FMT(up), up.n ? "." : "", STR_FMT(here),
                            occurrence(l));
    return arena_printf(arena, "%.*s%s%.*s", STR_FMT(up), up.n ? "." : "", STR_FMT(here));
}

static int fault(struct check *c, const struct level *l, const char *cause)
{
    c->cause = cause;
    c->path = level_path(l, c->arena);
    return -EBADMSG;
}

static enum schema_wire_type wire_type_of(enum schema_type type)
{
    switch (type) {
    case SCHEMA_DOUBLE:
    case SCHEMA_FIXED64:
    case SCHEMA_SFIXED64:
        return SCHEMA_WIRE_64BIT;
    case SCHEMA_FLOAT:
    case SCHEMA_FIXED32:
    case SCHEMA_SFIXED32:
        return SCHEMA_WIRE_32BIT;
    case SCHEMA_STRING:
    case SCHEMA_BYTES:
    case SCHEMA_MESSAGE:
        return SCHEMA_WIRE_LENGTH;
    case SCHEMA_GROUP:
        return SCHEMA_WIRE_START_GROUP;
    default:
        return SCHEMA_WIRE_VARINT;
    }
}

static int check_packed(struct check *c, const struct level *l, struct str bytes)
{
    struct schema_reader r = schema_reader_of(bytes);
    uint64_t v;

    switch (wire_type_of(l->field->type)) {
    case SCHEMA_WIRE_64BIT:
        return bytes.n % 8 ? fault(c, l, "is cut short") : 0;
    case SCHEMA_WIRE_32BIT:
        return bytes.n % 4 ? fault(c, l, "is cut short") : 0;
    default:
        while (r.at < r.end) {
            if (schema_read_varint(&r, &v))
                return fault(c, l, "is cut short");
        }
        return 0;
    }
}

static int check_string(struct check *c, const struct level *l, struct str s)
{
    if (utf8_valid_without_nul(s))
        return 0;
    assert(s.p);
    if (memchr(s.p, 0, s.n))
        return fault(c, l, "must not contain a NUL character");
    return fault(c, l, "is not valid UTF-8");
}

static int check_message(struct check *c, struct level *l, struct str bytes);

static int check_below(struct check *c, const struct level *l, struct str bytes)
{
    struct level below = {.up = l, .type = l->field->message, .depth = l->depth + 1};

    if (below.depth > MAX_DEPTH)
        return fault(c, l, "is nested too deeply");
    return check_message(c, &below, bytes);
}

static int check_known(struct check *c, const struct level *l, const struct schema_wire_field *f)
{
    const struct schema_field *field = l->field;
    enum schema_wire_type declared = wire_type_of(field->type);

    if (f->wire_type != declared) {
        if (field->repeated && f->wire_type == SCHEMA_WIRE_LENGTH &&
            declared != SCHEMA_WIRE_START_GROUP)
            return check_packed(c, l, f->bytes);
        return fault(c, l, "has the wrong wire type");
    }
    if (field->type == SCHEMA_STRING)
        return check_string(c, l, f->bytes);
    if (field->message)
        return check_below(c, l, f->bytes);
    return 0;
}

static void note_seen(struct check *c, const struct level *l, uint64_t *seen)
{
    size_t i = (size_t)(l->field - l->type->fields);
    uint64_t bit = UINT64_C(1) << (i & 63);

    /* Beyond 64 fields two may share a bit, which costs a merge that changes nothing. */
    if (l->field->message && !l->field->repeated && *seen & bit)
        c->unclean = true;
    if (i < 64 || l->field->message)
        *seen |= bit;
}

static int check_required(struct check *c, struct level *l, uint64_t seen)
{
    uint64_t missing = l->type->required & ~seen;

    if (!missing)
        return 0;
    l->field = &l->type->fields[__builtin_ctzll(missing)];
    return fault(c, l, "is required");
}

static int check_message(struct check *c, struct level *l, struct str bytes)
{
    struct schema_reader r = schema_reader_of(bytes);
    struct schema_wire_field f;
    uint64_t seen = 0; /* bit i: fields[i], of the first 64 */
    int got, err;

    l->start = r.at;
    for (;;) {
        l->tag = r.at;
        l->field = NULL;
        got = schema_read_field(&r, &f);
        if (got == 0)
            return check_required(c, l, seen);
        if (got < 0)
            return fault(c, l, "is not well-formed protobuf");
        c->unclean |= f.wire_type == SCHEMA_WIRE_START_GROUP;
        l->field = schema_field_by_number(l->type, f.number);
        if (!l->field)
            continue;
        note_seen(c, l, &seen);
        err = check_known(c, l, &f);
        if (err)
            return err;
    }
}

static int check(struct check *c, const struct schema_message *type, struct str bytes,
                 struct schema_fault *ret_fault)
{
    struct level top = {.type = type, .depth = 1};

    if (check_message(c, &top, bytes) == 0)
        return 0;
    *ret_fault = (struct schema_fault){.path = c->path, .message = str_of(c->cause)};
    if (!ret_fault->path.p)
        ret_fault->path = STR("");
    return -EBADMSG;
}

int schema_check_wire(const struct schema_message *type, struct str bytes, struct arena *arena,
                      struct schema_fault *ret_fault)
{
    struct check c = {.arena = arena};

    return check(&c, type, bytes, ret_fault);
}

int schema_clean_wire(const struct schema_message *type, struct str bytes, struct arena *arena,
                      struct str *ret_bytes, struct schema_fault *ret_fault)
{
    struct check c = {.arena = arena};
    int err = check(&c, type, bytes, ret_fault);

    if (err)
        return err;
    *ret_bytes = bytes;
    return c.unclean ? schema_merge_wire(type, bytes, arena, ret_bytes, ret_fault) : 0;
}

/* ---- appending ---- */

static size_t varint_encode(uint8_t *to, uint64_t v)
{
    size_t n = 0;

    for (; v >= 0x80; v >>= 7)
        to[n++] = (uint8_t)(v | 0x80);
    to[n++] = (uint8_t)v;
    return n;
}

void schema_put_varint(struct buf *b, uint64_t v)
{
    uint8_t bytes[MAX_VARINT_BYTES];

    buf_append(b, bytes, varint_encode(bytes, v));
}

void schema_put_tag(struct buf *b, uint32_t number, enum schema_wire_type type)
{
    schema_put_varint(b, (uint64_t)number << 3 | type);
}

size_t schema_put_begin(struct buf *b, uint32_t number)
{
    schema_put_tag(b, number, SCHEMA_WIRE_LENGTH);
    /* Most lengths fit in one byte. */
    buf_append_char(b, 0);
    return b->n;
}

void schema_put_end(struct buf *b, size_t mark)
{
    uint8_t bytes[MAX_VARINT_BYTES];
    size_t content, n;

    if (b->failed)
        return;
    content = b->n - mark;
    n = varint_encode(bytes, content);
    if (n > 1) {
        if (!buf_reserve(b, n - 1))
            return;
        memmove(b->p + mark + n - 1, b->p + mark, content);
        b->n += n - 1;
    }
    memcpy(b->p + mark - 1, bytes, n);
}
