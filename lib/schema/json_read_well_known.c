/* JSON text to wire: the types of google/protobuf/ that have a JSON form of their own. Their fields
 * are as google/protobuf declares them, which is checked when the schema is loaded. */
#include "schema/json.h"

#include <assert.h>

/* ---- time ---- */

static int read_time(struct json_context *c, const struct schema_message *type)
{
    bool stamp = type->well_known == SCHEMA_TIMESTAMP;
    const char *message = stamp ? "must be a time stamp such as \"2026-01-31T08:30:00Z\""
                                : "must be a duration such as \"1.5s\"";
    struct json_mark mark = json_scratch_mark(c);
    char bytes[JSON_SHORT] = {0}, *to = bytes;
    struct json_time t;
    struct str text;
    int err;

    if (!json_at(c, '"'))
        return json_wrong_kind(c, message);
    err = json_scan_text(c, &text);
    if (err)
        return err;
    if (stamp ? json_parse_timestamp(text, &t) : json_parse_duration(text, &t))
        return json_fault(c, message);
    if (t.seconds)
        to = json_varint(json_tag(to, 1, SCHEMA_WIRE_VARINT), (uint64_t)t.seconds);
    if (t.nanos)
        to = json_varint(json_tag(to, 2, SCHEMA_WIRE_VARINT), (uint64_t)(int64_t)t.nanos);
    json_put_short(c, bytes, (size_t)(to - bytes));
    json_scratch_release(c, mark);
    return 0;
}

/* ---- field masks: "user.displayName,photo" ---- */

static bool is_upper(char ch)
{
    return ch >= 'A' && ch <= 'Z';
}

static bool is_path_char(char ch)
{
    return is_upper(ch) || (ch >= 'a' && ch <= 'z') || (ch >= '0' && ch <= '9') || ch == '.';
}

static const char mask_message[] =
    "must be a list of field paths such as \"user.displayName,photo\"";

static int put_mask_path(struct json_context *c, struct str path)
{
    size_t start = schema_put_begin(c->out, 1);
    char *to = json_room(c, path.n * 2);

    if (!to)
        return buf_error(c->out);
    if (str_eq(path, STR("*"))) { /* all fields (AIP-134) */
        *to++ = '*';
        path.n = 0;
    }
    for (size_t i = 0; i < path.n; i++) {
        char ch = path.p[i];

        if (!is_path_char(ch))
            return json_fault(c, mask_message);
        if (is_upper(ch)) {
            *to++ = '_';
            ch |= 0x20;
        }
        *to++ = ch;
    }
    c->out->n = (size_t)(to - c->out->p);
    schema_put_end(c->out, start);
    return 0;
}

static int read_field_mask(struct json_context *c)
{
    struct json_mark mark = json_scratch_mark(c);
    struct str text, path;
    int err;

    if (!json_at(c, '"'))
        return json_wrong_kind(c, mask_message);
    err = json_scan_text(c, &text);
    if (err || !text.n)
        return err;
    for (;;) {
        const char *comma = memchr(text.p, ',', text.n);

        path = (struct str){text.p, comma ? (size_t)(comma - text.p) : text.n};
        if (!path.n)
            return json_fault(c, mask_message);
        err = put_mask_path(c, path);
        if (err)
            return err;
        if (!comma)
            break;
        text = str_skip(text, path.n + 1);
        if (!text.n)
            return json_fault(c, mask_message);
    }
    json_scratch_release(c, mark);
    return 0;
}

/* ---- Value ---- */

static int read_value(struct json_context *c, const struct schema_message *type)
{
    enum { NULL_VALUE, NUMBER, STRING, BOOL, STRUCT, LIST } kind;

    switch (c->at < c->end ? *c->at : '\0') {
    case 'n':
        kind = NULL_VALUE;
        break;
    case '"':
        kind = STRING;
        break;
    case 't':
    case 'f':
        kind = BOOL;
        break;
    case '{':
        kind = STRUCT;
        break;
    case '[':
        kind = LIST;
        break;
    default:
        kind = NUMBER;
        break;
    }
    return json_read_value(c, &type->fields[kind], false, true);
}

/* ---- Any ---- */

/* "@type" may stand anywhere among the members. What is before it is gone over once to find it and
 * then read; with an Any in an Any in an Any, once more for each. So there is a limit to it, which
 * only what goes over more than LOOK_AHEAD_FREE bytes meets. */
#define LOOK_AHEAD_FACTOR 4
#define LOOK_AHEAD_FREE (256 << 10)

static int look_ahead(struct json_context *c, struct json_segment *here)
{
    const char *begin = c->at;
    int err = json_skip_value(c);

    c->looked_ahead += (size_t)(c->at - begin);
    if (err || c->looked_ahead <= LOOK_AHEAD_FREE ||
        c->looked_ahead / LOOK_AHEAD_FACTOR <= (size_t)(c->end - c->start))
        return err;
    here->name = STR("@type");
    return json_fault(c, "must be the first member, of so large and deep an Any");
}

/* The type that the members name, as the value of "@type"; {NULL, 0} if there are no members.
 * c->at is behind the opening brace and stays there. */
static int find_type_url(struct json_context *c, struct json_segment *here, struct str *ret)
{
    const char *begin = c->at;
    bool empty = true;
    struct str name;
    int more, err;

    *ret = STR_NULL;
    for (more = json_first(c, '}'); more > 0; more = json_next(c, '}')) {
        empty = false;
        err = json_scan_name(c, &name);
        if (err)
            return err;
        here->name = name;
        if (str_eq(name, STR("@type"))) {
            if (!json_at(c, '"'))
                return json_wrong_kind(c, "must be a string");
            err = json_scan_text(c, ret);
            c->at = begin;
            return err;
        }
        err = look_ahead(c, here);
        if (err)
            return err;
    }
    if (more)
        return more;
    c->at = begin;
    here->name = STR("@type");
    return empty ? 0 : json_fault(c, "is required");
}

/* {"@type": ..., "value": ...}: a type that has a JSON form of its own. */
static int read_any_value(struct json_context *c, const struct schema_message *type,
                          struct json_segment *here)
{
    bool type_seen = false, value_seen = false, *seen;
    struct str name;
    int more, err;

    for (more = json_first(c, '}'); more > 0; more = json_next(c, '}')) {
        err = json_scan_name(c, &name);
        if (err)
            return err;
        here->name = name;
        seen = str_eq(name, STR("@type"))   ? &type_seen
               : str_eq(name, STR("value")) ? &value_seen
                                            : NULL;
        if (seen && *seen)
            return json_fault(c, "is given twice");
        if (!seen && c->refuse_unknown)
            return json_fault(c, "is not a known field");
        if (seen)
            *seen = true;
        err = seen == &value_seen ? json_read_message(c, type) : json_skip_value(c);
        if (err)
            return err;
    }
    here->name = STR("value");
    return more || value_seen ? more : json_fault(c, "is required");
}

static int read_any_members(struct json_context *c, struct json_segment *here)
{
    const struct schema_message *type;
    char head[JSON_SHORT] = {0}, *to;
    struct str url;
    size_t before, start;
    int err = find_type_url(c, here, &url);

    if (err)
        return err;
    if (!url.p)
        return json_first(c, '}');
    type = json_type_of_url(c, url);
    here->name = STR("@type");
    if (!type)
        return json_fault(c, "is not the URL of a known message type");
    to = json_varint(json_tag(head, 1, SCHEMA_WIRE_LENGTH), url.n);
    json_put_short(c, head, (size_t)(to - head));
    buf_append_str(c->out, url);
    before = c->out->n;
    start = schema_put_begin(c->out, 2);
    if (type->well_known == SCHEMA_PLAIN || type->well_known == SCHEMA_EMPTY) {
        c->path = here->up;
        err = json_read_members(c, type, true);
    } else {
        err = read_any_value(c, type, here);
    }
    if (err)
        return err;
    if (c->out->n > start)
        schema_put_end(c->out, start);
    else
        c->out->n = before;
    return 0;
}

static int read_any(struct json_context *c)
{
    struct json_segment here = {.up = c->path, .kind = JSON_SEGMENT_MEMBER};
    struct json_mark mark = json_scratch_mark(c);
    int err;

    if (!json_at(c, '{'))
        return json_wrong_kind(c, "must be an object");
    err = json_enter(c);
    if (err)
        return err;
    c->at++;
    c->path = &here;
    err = read_any_members(c, &here);
    c->path = here.up;
    json_scratch_release(c, mark);
    json_leave(c);
    return err;
}

int json_read_well_known(struct json_context *c, const struct schema_message *type)
{
    switch (type->well_known) {
    case SCHEMA_ANY:
        return read_any(c);
    case SCHEMA_TIMESTAMP:
    case SCHEMA_DURATION:
        return read_time(c, type);
    case SCHEMA_FIELD_MASK:
        return read_field_mask(c);
    case SCHEMA_STRUCT:
        return json_read_map(c, &type->fields[0]);
    case SCHEMA_LIST_VALUE:
        return json_read_list(c, &type->fields[0]);
    case SCHEMA_VALUE:
        return read_value(c, type);
    case SCHEMA_WRAPPER:
        return json_read_value(c, &type->fields[0], false, false);
    case SCHEMA_PLAIN:
    case SCHEMA_EMPTY:
        break;
    }
    assert(!"a type that has a JSON form of its own");
    return -EINVAL;
}
