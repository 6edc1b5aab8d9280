/* Makes one occurrence of singular messages that the wire has several times, and leaves groups out.
 *
 * Both are legal (protobuf.dev "Encoding", Last One Wins) and rare, but protobuf-c 1.4 fails to
 * merge messages that have an unset oneof or `optional` field, and knows no groups. Pure functions
 * on bytes that have passed the check; any thread.
 */
#include "schema/tables.h"

#include <errno.h>

/* Bytes that may be looked at, over all levels and joins: without a bound, occurrences inside
 * occurrences would make a small message costly. */
#define MAX_WORK (64 << 20)

struct merge {
    struct arena *arena;
    struct buf to;
    size_t work;
};

/* How often a field occurs: in all, and since another member of its oneof occurred. */
struct count {
    uint32_t all, last_run;
};

static int spend(struct merge *m, size_t bytes)
{
    m->work += bytes;
    return m->work > MAX_WORK ? -EBADMSG : 0;
}

static bool is_singular_message(const struct schema_field *f)
{
    return f && f->type == SCHEMA_MESSAGE && !f->repeated;
}

/* Sets the counts of the other members of f's oneof back. */
static void start_run(const struct schema_message *type, const struct schema_field *f,
                      struct count *counts)
{
    for (size_t i = 0; i < type->n_fields; i++) {
        if (type->fields[i].oneof == f->oneof && &type->fields[i] != f)
            counts[i].last_run = 0;
    }
}

static struct count *count_fields(struct merge *m, const struct schema_message *type,
                                  struct str bytes)
{
    struct count *counts = arena_calloc(m->arena, type->n_fields, sizeof(*counts));
    struct schema_reader r = schema_reader_of(bytes);
    struct schema_wire_field f;

    while (counts && schema_read_field(&r, &f) == 1) {
        const struct schema_field *field = schema_field_by_number(type, f.number);

        if (!field)
            continue;
        if (field->oneof >= 0)
            start_run(type, field, counts);
        counts[field - type->fields].all++;
        counts[field - type->fields].last_run++;
    }
    return counts;
}

/* The first occurrence and the n - 1 that follow in rest, one after the other: by the rules of the
 * wire format that is the merged message. */
static int join(struct merge *m, const struct schema_wire_field *first, struct schema_reader rest,
                uint32_t n, struct str *ret)
{
    size_t size = (size_t)(rest.end - rest.at) + first->bytes.n, used = first->bytes.n;
    struct schema_wire_field f;
    char *all;

    *ret = first->bytes;
    if (n == 1)
        return 0;
    if (spend(m, size))
        return -EBADMSG;
    all = arena_alloc(m->arena, size);
    if (!all)
        return -ENOMEM;
    if (used)
        memcpy(all, first->bytes.p, used);
    while (--n && schema_read_field(&rest, &f) == 1) {
        if (f.number != first->number) {
            n++;
            continue;
        }
        if (f.bytes.n)
            memcpy(all + used, f.bytes.p, f.bytes.n);
        used += f.bytes.n;
    }
    *ret = (struct str){all, used};
    return 0;
}

static int merge_message(struct merge *m, const struct schema_message *type, struct str bytes);

static int put_message(struct merge *m, const struct schema_field *f, struct str content)
{
    size_t mark = schema_put_begin(&m->to, f->number);
    int err = merge_message(m, f->message, content);

    schema_put_end(&m->to, mark);
    return err;
}

/* One occurrence of a singular message. The first of the last run is written, for all of the run.
 */
static int put_singular(struct merge *m, const struct schema_field *f,
                        const struct schema_wire_field *value, struct schema_reader rest,
                        struct count *count)
{
    struct str content;
    int err;

    if (count->all-- != count->last_run || count->last_run == 0)
        return 0;
    err = join(m, value, rest, count->last_run, &content);
    count->last_run = 0;
    return err ? err : put_message(m, f, content);
}

/* Recursion is bounded: the check lets through 100 levels. */
static int merge_message(struct merge *m, const struct schema_message *type, struct str bytes)
{
    struct count *counts = count_fields(m, type, bytes);
    struct schema_reader r = schema_reader_of(bytes);
    const uint8_t *at = r.at;
    struct schema_wire_field f;
    int err = spend(m, 2 * bytes.n);

    if (!counts)
        return -ENOMEM;
    for (; !err && schema_read_field(&r, &f) == 1; at = r.at) {
        const struct schema_field *field = schema_field_by_number(type, f.number);

        if (f.wire_type == SCHEMA_WIRE_START_GROUP)
            continue;
        if (is_singular_message(field))
            err = put_singular(m, field, &f, r, &counts[field - type->fields]);
        else if (field && field->type == SCHEMA_MESSAGE)
            err = put_message(m, field, f.bytes);
        else
            buf_append(&m->to, at, (size_t)(r.at - at));
    }
    return err;
}

int schema_merge_wire(const struct schema_message *type, struct str bytes, struct arena *arena,
                      struct str *ret, struct schema_fault *ret_fault)
{
    struct merge m = {.arena = arena};
    int err;

    buf_init(&m.to, bytes.n); /* merging only makes it shorter */
    err = merge_message(&m, type, bytes);
    if (!err && m.to.failed)
        err = -ENOMEM;
    if (!err)
        *ret = arena_copy(arena, m.to.n ? buf_str(&m.to) : STR(""));
    buf_free(&m.to);
    if (!err && !ret->p)
        err = -ENOMEM;
    if (err == -EBADMSG)
        *ret_fault = (struct schema_fault){
            .path = STR(""), .message = STR("has too many messages that occur several times")};
    return err;
}
