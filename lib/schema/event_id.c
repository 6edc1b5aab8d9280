/* Ids of events: (stoa.api.v1.field).event_id in what a stream sends, and .last_event_id in the
 * request that asks for what came after one. No state; any thread. */
#include "base/utf8.h"
#include "schema/json.h"
#include "schema/load.h"
#include "schema/route.h"

#include <errno.h>
#include <stdio.h>

static bool is_event_id(const struct schema_field *f)
{
    return f->event_id;
}

static bool is_last_event_id(const struct schema_field *f)
{
    return f->last_event_id;
}

int load_event_ids(struct load *load)
{
    int err = 0;

    for (size_t i = 0; !err && i < load->schema->n_methods; i++) {
        struct schema_method *method = &load->schema->methods[i];

        err = load_way(load->schema, method->output, is_event_id, &method->event_id);
        if (!err)
            err = load_way(load->schema, method->input, is_last_event_id, &method->last_event_id);
    }
    return err;
}

bool load_is_id_type(const struct schema_field *f)
{
    switch (f->type) {
    case SCHEMA_STRING:
    case SCHEMA_INT32:
    case SCHEMA_INT64:
    case SCHEMA_UINT32:
    case SCHEMA_UINT64:
    case SCHEMA_SINT32:
    case SCHEMA_SINT64:
    case SCHEMA_FIXED32:
    case SCHEMA_FIXED64:
    case SCHEMA_SFIXED32:
    case SCHEMA_SFIXED64:
        return !f->repeated;
    default:
        return false;
    }
}

/* ---- reading ---- */

/* An integer as text; false: the wire type is another one. */
static bool print_number(const struct schema_field *f, const struct schema_wire_field *value,
                         char *to, size_t size, int *ret_n)
{
    uint64_t v = value->scalar;
    bool fixed32 = f->type == SCHEMA_FIXED32 || f->type == SCHEMA_SFIXED32;
    bool fixed64 = f->type == SCHEMA_FIXED64 || f->type == SCHEMA_SFIXED64;

    if (value->wire_type != (fixed32   ? SCHEMA_WIRE_32BIT
                             : fixed64 ? SCHEMA_WIRE_64BIT
                                       : SCHEMA_WIRE_VARINT))
        return false;
    if (f->type == SCHEMA_SINT32 || f->type == SCHEMA_SINT64)
        v = (v >> 1) ^ (0 - (v & 1));
    if (f->type == SCHEMA_UINT64 || f->type == SCHEMA_FIXED64)
        *ret_n = snprintf(to, size, "%llu", (unsigned long long)v);
    else if (f->type == SCHEMA_UINT32 || f->type == SCHEMA_FIXED32)
        *ret_n = snprintf(to, size, "%u", (unsigned)v);
    else if (f->type == SCHEMA_INT64 || f->type == SCHEMA_SINT64 || f->type == SCHEMA_SFIXED64)
        *ret_n = snprintf(to, size, "%lld", (long long)v);
    else
        *ret_n = snprintf(to, size, "%d", (int)(uint32_t)v);
    return true;
}

/* Of a field that is there several times the last one counts; messages are merged. */
static void read_id(const struct schema_field *const *way, size_t n, struct str wire, char *room,
                    size_t size, struct str *ret)
{
    struct schema_reader r = schema_reader_of(wire);
    struct schema_wire_field f;
    int printed;

    while (schema_read_field(&r, &f) == 1) {
        if (f.number != way[0]->number)
            continue;
        if (n > 1 && f.wire_type == SCHEMA_WIRE_LENGTH)
            read_id(way + 1, n - 1, f.bytes, room, size, ret);
        else if (n == 1 && way[0]->type == SCHEMA_STRING && f.wire_type == SCHEMA_WIRE_LENGTH)
            *ret = f.bytes;
        else if (n == 1 && way[0]->type != SCHEMA_STRING &&
                 print_number(way[0], &f, room, size, &printed))
            *ret = (struct str){room, (size_t)printed};
    }
}

struct str schema_event_id(const struct schema_method *method, struct str wire,
                           char room[SCHEMA_EVENT_ID_ROOM])
{
    struct str id = STR_NULL;

    if (method->event_id.n)
        read_id(method->event_id.fields, method->event_id.n, wire, room, SCHEMA_EVENT_ID_ROOM, &id);
    return id.n ? id : STR_NULL;
}

/* ---- the request ---- */

static int check_id(const struct schema *schema, const struct schema_field *f, struct str id,
                    struct arena *arena, struct schema_fault *ret_fault)
{
    int64_t unused;

    if (f->type == SCHEMA_STRING) {
        if (utf8_valid(id) && !memchr(id.p, 0, id.n))
            return 0;
        *ret_fault = (struct schema_fault){STR("lastEventId"), STR("is not valid UTF-8")};
        return -EBADMSG;
    }
    /* JSON would take 1e3 for a number. */
    if (str_to_int64(id, &unused) == -EINVAL ||
        route_check_value(schema, f, id, arena) == -EBADMSG) {
        *ret_fault = (struct schema_fault){STR("lastEventId"), STR("is no such number")};
        return -EBADMSG;
    }
    return 0;
}

int schema_put_last_event_id(const struct schema *schema, const struct schema_method *method,
                             struct str id, struct buf *wire, struct arena *arena,
                             struct schema_fault *ret_fault)
{
    const struct schema_way *way = &method->last_event_id;
    size_t marks[SCHEMA_MAX_WAY], before = wire->n;
    int err;

    if (way->n == 0)
        return 0;
    err = check_id(schema, way->fields[way->n - 1], id, arena, ret_fault);
    if (err)
        return err;
    for (size_t i = 0; i + 1 < way->n; i++)
        marks[i] = schema_put_begin(wire, way->fields[i]->number);
    err = route_put_value(schema, way->fields[way->n - 1], id, wire, arena);
    for (size_t i = way->n - 1; i-- > 0;)
        schema_put_end(wire, marks[i]);
    if (!err)
        err = buf_error(wire);
    if (err)
        wire->n = before;
    return err;
}
