/* Builds request messages from path, query and body, and prints answers, by an HTTP binding. No
 * state; any thread. Sources: the comment of google/api/http.proto at googleapis, and RFC 3986. */
#include "base/hex.h"
#include "base/utf8.h"
#include "schema/json.h"
#include "schema/route.h"

#include <stdlib.h>

#define MAX_PARAMETERS 256

/* A value of the path or the query, and the field that it is for. */
struct bound {
    const struct schema_field *fields[ROUTE_MAX_FIELD_PATH]; /* outermost first */
    unsigned n_fields;
    unsigned order; /* later ones win */
    enum schema_part part;
    struct str value; /* decoded */
};

struct building {
    const struct schema *schema;
    const struct schema_binding *binding;
    struct schema_json_options options;
    struct buf *wire;
    struct arena *arena;
    enum schema_part *part;
    struct schema_fault *fault;
    struct bound *bounds;
    size_t n;
};

/* ---- faults ---- */

static struct str path_text(struct arena *arena, const struct bound *b)
{
    struct str path = b->fields[0]->json_name;

    for (unsigned i = 1; i < b->n_fields && path.p; i++)
        path = arena_printf(arena, "%.*s.%.*s", STR_FMT(path), STR_FMT(b->fields[i]->json_name));
    return path;
}

static int fault_at(struct building *r, enum schema_part part, struct str path, struct str message)
{
    if (!path.p || !message.p)
        return -ENOMEM;
    *r->part = part;
    *r->fault = (struct schema_fault){.path = path, .message = message};
    return -EBADMSG;
}

static int fault(struct building *r, const struct bound *b, struct str message)
{
    return fault_at(r, b->part, path_text(r->arena, b), message);
}

/* ---- percent-decoding ---- */

enum decoding { DECODE_QUERY, DECODE_SEGMENT, DECODE_SEGMENTS };

/* RFC 6570 section 1.5, RFC 3986 section 2.2. */
static bool is_reserved(int c)
{
    return c && strchr(":/?#[]@!$&'()*+,;=", c);
}

/* In the query `+` is a space. In a variable of several segments reserved characters stay escaped
 * as they are: a slash would look like a separator. Returns 0, -EINVAL (a bad escape) or -ENOMEM.
 */
static int decode(struct arena *arena, struct str raw, enum decoding how, struct str *ret)
{
    char *to;
    size_t n = 0;

    *ret = raw.n ? raw : STR("");
    if (!raw.n ||
        (!memchr(raw.p, '%', raw.n) && (how != DECODE_QUERY || !memchr(raw.p, '+', raw.n))))
        return 0;
    to = arena_alloc(arena, raw.n);
    if (!to)
        return -ENOMEM;
    for (size_t i = 0; i < raw.n; i++) {
        char c = raw.p[i];
        int high, low;

        if (c == '%') {
            high = raw.n - i > 2 ? hex_value(raw.p[i + 1]) : -1;
            low = raw.n - i > 2 ? hex_value(raw.p[i + 2]) : -1;
            if (high < 0 || low < 0)
                return -EINVAL;
            if (how != DECODE_SEGMENTS || !is_reserved(high << 4 | low)) {
                c = (char)(high << 4 | low);
                i += 2;
            }
        } else if (c == '+' && how == DECODE_QUERY) {
            c = ' ';
        }
        to[n++] = c;
    }
    *ret = (struct str){to, n};
    return 0;
}

static int decode_value(struct building *r, struct bound *b, struct str raw, enum decoding how)
{
    int err = decode(r->arena, raw, how, &b->value);

    if (err == -EINVAL)
        return fault(r, b, STR("has a bad percent escape"));
    if (err)
        return err;
    if (!utf8_valid(b->value))
        return fault(r, b, STR("is not valid UTF-8"));
    if (memchr(b->value.p, 0, b->value.n))
        return fault(r, b, STR("must not contain a NUL character"));
    return 0;
}

/* ---- the query ---- */

static bool is_text_message(const struct schema_message *m)
{
    return m->well_known == SCHEMA_TIMESTAMP || m->well_known == SCHEMA_DURATION ||
           m->well_known == SCHEMA_FIELD_MASK || m->well_known == SCHEMA_WRAPPER;
}

/* The fields that "a.b.c" names; false when there are none. */
static bool resolve(const struct schema_message *in, struct str name, struct bound *b)
{
    const struct schema_field *f;
    const char *dot;
    struct str part;

    for (b->n_fields = 0; in && b->n_fields < ROUTE_MAX_FIELD_PATH;) {
        dot = name.n ? memchr(name.p, '.', name.n) : NULL;
        part = dot ? (struct str){name.p, (size_t)(dot - name.p)} : name;
        f = schema_field_by_json_name(in, part);
        if (!f)
            return false;
        b->fields[b->n_fields++] = f;
        if (!dot)
            return true;
        name = str_skip(name, part.n + 1);
        in = !f->repeated && f->type == SCHEMA_MESSAGE && f->message->well_known == SCHEMA_PLAIN
                 ? f->message
                 : NULL;
    }
    return false;
}

static bool same_fields(const struct bound *b, const struct route_variable *v)
{
    return b->n_fields == v->n_fields &&
           memcmp(b->fields, v->fields, v->n_fields * sizeof(v->fields[0])) == 0;
}

/* Path and body come before the query. */
static bool is_bound_elsewhere(const struct schema_binding *binding, const struct bound *b)
{
    const struct route_template *t = &binding->template;

    if (binding->body == ROUTE_BODY_ALL ||
        (binding->body == ROUTE_BODY_FIELD && b->fields[0] == binding->body_field))
        return true;
    for (unsigned i = 0; i < t->n_variables; i++) {
        if (same_fields(b, &t->variables[i]))
            return true;
    }
    return false;
}

/* A parameter that has no place to go. */
static int spare_parameter(struct building *r, struct str name, struct str message)
{
    if (!r->options.refuse_unknown)
        return 0;
    if (!utf8_valid(name))
        return fault_at(r, SCHEMA_PART_QUERY, STR(""),
                        STR("has a parameter whose name is not valid UTF-8"));
    return fault_at(r, SCHEMA_PART_QUERY, name, message);
}

static int add_parameter(struct building *r, struct str parameter)
{
    const char *equals = memchr(parameter.p, '=', parameter.n);
    size_t n = equals ? (size_t)(equals - parameter.p) : parameter.n;
    struct bound *b = &r->bounds[r->n];
    const struct schema_field *last;
    struct str name;
    int err;

    err = decode(r->arena, (struct str){parameter.p, n}, DECODE_QUERY, &name);
    if (err == -EINVAL)
        return spare_parameter(r, (struct str){parameter.p, n}, STR("has a bad percent escape"));
    if (err)
        return err;
    if (!resolve(r->binding->method->input, name, b))
        return spare_parameter(r, name, STR("is not a known parameter"));
    if (is_bound_elsewhere(r->binding, b))
        return spare_parameter(r, name, STR("is not taken from the query"));
    b->part = SCHEMA_PART_QUERY;
    last = b->fields[b->n_fields - 1];
    if (last->map || last->type == SCHEMA_GROUP ||
        (last->message && !is_text_message(last->message)))
        return fault(r, b, STR("cannot be given in the query"));
    err = decode_value(r, b, str_skip(parameter, n + 1), DECODE_QUERY);
    if (err)
        return err;
    b->order = (unsigned)r->n++;
    return 0;
}

static int read_query(struct building *r, struct str query)
{
    size_t n, count = 0;
    int err;

    for (; query.n; query = str_skip(query, n + 1)) {
        const char *ampersand = memchr(query.p, '&', query.n);

        n = ampersand ? (size_t)(ampersand - query.p) : query.n;
        if (n == 0)
            continue;
        if (++count > MAX_PARAMETERS)
            return fault_at(r, SCHEMA_PART_QUERY, STR(""),
                            STR("has too many parameters (maximum is 256)"));
        err = add_parameter(r, (struct str){query.p, n});
        if (err)
            return err;
    }
    return 0;
}

/* Whether a name as the query has it, with escapes, is this one. */
static bool is_name(struct str raw, struct str name)
{
    size_t n = 0;

    for (size_t i = 0; i < raw.n; i++, n++) {
        char c = raw.p[i];

        if (c == '%') {
            int high = raw.n - i > 2 ? hex_value(raw.p[i + 1]) : -1;
            int low = raw.n - i > 2 ? hex_value(raw.p[i + 2]) : -1;

            if (high < 0 || low < 0)
                return false;
            c = (char)(high << 4 | low);
            i += 2;
        }
        if (n == name.n || c != name.p[n])
            return false;
    }
    return n == name.n;
}

bool schema_sets_apart(const struct schema_method *method, struct str query)
{
    const struct schema_field *apart = method->apart;
    size_t n;

    for (; apart && query.n; query = str_skip(query, n + 1)) {
        const char *ampersand = memchr(query.p, '&', query.n), *equals;
        struct str name;

        n = ampersand ? (size_t)(ampersand - query.p) : query.n;
        equals = memchr(query.p, '=', n);
        name = (struct str){query.p, equals ? (size_t)(equals - query.p) : n};
        if (name.n + 1 < n && (is_name(name, apart->json_name) || is_name(name, apart->name)))
            return true;
    }
    return false;
}

/* ---- the path ---- */

static int read_captures(struct building *r, const struct schema_match *match)
{
    int err = 0;

    for (unsigned i = 0; !err && i < match->n_captures; i++) {
        const struct schema_capture *c = &match->captures[i];
        const struct route_variable *v = &c->binding->template.variables[c->variable];
        struct bound *b = &r->bounds[r->n];

        memcpy(b->fields, v->fields, v->n_fields * sizeof(v->fields[0]));
        b->n_fields = v->n_fields;
        b->part = SCHEMA_PART_PATH;
        b->order = (unsigned)r->n++;
        err = decode_value(r, b, c->raw, v->multi ? DECODE_SEGMENTS : DECODE_SEGMENT);
    }
    return err;
}

/* ---- text to wire ---- */

static bool is_whole_number(struct str s)
{
    int64_t unused;

    return str_to_int64(s, &unused) == 0;
}

/* The ways in which callers write a bool in a query: true, t and 1 in any case. The value itself
 * when it is none of them. */
static struct str plain_bool(struct str value)
{
    static const struct str yes[] = {STR("true"), STR("t"), STR("1")};
    static const struct str no[] = {STR("false"), STR("f"), STR("0")};

    for (size_t i = 0; i < ARRAY_SIZE(yes); i++) {
        if (str_eq_nocase(value, yes[i]))
            return yes[0];
        if (str_eq_nocase(value, no[i]))
            return no[0];
    }
    return value;
}

/* The value as the JSON that means it. */
static struct str as_json(struct arena *arena, const struct schema_field *f, struct str value)
{
    enum schema_type type = f->type;
    char *to;
    size_t n = 0;

    if (f->message && f->message->well_known == SCHEMA_WRAPPER)
        type = f->message->fields[0].type;
    if (type == SCHEMA_BOOL)
        value = plain_bool(value);
    if ((type == SCHEMA_BOOL && (str_eq(value, STR("true")) || str_eq(value, STR("false")))) ||
        (type == SCHEMA_ENUM && is_whole_number(value)))
        return value;
    if (value.n > SIZE_MAX / 8)
        return STR_NULL;
    to = arena_alloc(arena, value.n * 6 + 2);
    if (!to)
        return STR_NULL;
    to[n++] = '"';
    for (size_t i = 0; i < value.n; i++) {
        uint8_t c = (uint8_t)value.p[i];

        if (c < 0x20) {
            memcpy(to + n, "\\u00", 4);
            to[n + 4] = "01"[c >> 4];
            to[n + 5] = hex_digit(c);
            n += 6;
            continue;
        }
        if (c == '"' || c == '\\')
            to[n++] = '\\';
        to[n++] = (char)c;
    }
    to[n++] = '"';
    return (struct str){to, n};
}

static int put_string(struct building *r, const struct schema_field *f, struct str value)
{
    schema_put_tag(r->wire, f->number, SCHEMA_WIRE_LENGTH);
    schema_put_varint(r->wire, value.n);
    buf_append_str(r->wire, value);
    return 0;
}

/* By the JSON reader, so that numbers, names and times mean the same everywhere. */
static int put_as_json(const struct building *r, const struct schema_field *f, struct str value)
{
    struct schema_json_options options = r->options;
    struct str json = as_json(r->arena, f, value);
    struct json_context c;

    if (!json.p)
        return -ENOMEM;
    options.refuse_unknown = true; /* a value that means nothing is not left out */
    json_context_init(&c, r->schema, &options, r->wire, r->arena, r->fault);
    c.start = c.at = json.p;
    c.end = json.p + json.n;
    return json_read_value(&c, f, false, true);
}

int route_check_value(const struct schema *schema, const struct schema_field *field,
                      struct str value, struct arena *arena)
{
    struct buf wire CLEANUP(buf_free) = {.max = 64 << 10};
    struct schema_fault unused;
    const struct building r = {.schema = schema, .wire = &wire, .arena = arena, .fault = &unused};

    return put_as_json(&r, field, value);
}

int route_put_value(const struct schema *schema, const struct schema_field *field, struct str value,
                    struct buf *wire, struct arena *arena)
{
    struct schema_fault unused;
    struct building r = {.schema = schema, .wire = wire, .arena = arena, .fault = &unused};

    return field->type == SCHEMA_STRING ? put_string(&r, field, value)
                                        : put_as_json(&r, field, value);
}

static int put_value(struct building *r, const struct bound *b)
{
    const struct schema_field *f = b->fields[b->n_fields - 1];
    int err;

    if (f->type == SCHEMA_STRING)
        return put_string(r, f, b->value);
    err = put_as_json(r, f, b->value);
    return err == -EBADMSG ? fault(r, b, r->fault->message) : err;
}

static int compare_bounds(const void *a, const void *b)
{
    const struct bound *x = a, *y = b;

    for (unsigned i = 0; i < x->n_fields && i < y->n_fields; i++) {
        /* Fields of one message are one array. */
        if (x->fields[i] != y->fields[i])
            return x->fields[i] < y->fields[i] ? -1 : 1;
    }
    return x->order < y->order ? -1 : x->order > y->order;
}

/* Where the values end that have the same field at this level as bounds[first]. */
static size_t run_end(const struct building *r, size_t first, size_t end, unsigned level)
{
    size_t i = first + 1;

    while (i < end && r->bounds[i].fields[level] == r->bounds[first].fields[level])
        i++;
    return i;
}

/* Values of one field: several only when it is repeated. */
static int put_values(struct building *r, size_t i, size_t end)
{
    const struct bound *first = &r->bounds[i];
    int err = 0;

    if (end - i > 1 && !first->fields[first->n_fields - 1]->repeated)
        return fault(r, &r->bounds[i + 1], STR("is given twice"));
    for (; !err && i < end; i++)
        err = put_value(r, &r->bounds[i]);
    return err;
}

/* A member of f's oneof, other than f, among bounds[i] to bounds[end - 1]; end if there is none. */
static size_t find_member(const struct building *r, size_t i, size_t end, unsigned level,
                          const struct schema_field *f)
{
    while (i < end &&
           (r->bounds[i].fields[level] == f || r->bounds[i].fields[level]->oneof != f->oneof))
        i++;
    return i;
}

/* Refuses two members of a oneof among bounds[i] to bounds[end - 1], which all have a field of
 * `type` at this level. body: a field of it that the body gives; NULL: none. */
static int check_oneofs(struct building *r, const struct schema_message *type, size_t i, size_t end,
                        unsigned level, const struct schema_field *body)
{
    for (; i < end; i++) {
        const struct schema_field *f = r->bounds[i].fields[level];
        size_t other;

        if (f->oneof < 0)
            continue;
        other = body && body != f && body->oneof == f->oneof ? i : find_member(r, i, end, level, f);
        if (other == end)
            continue;
        /* Loading has seen to it that one of two is of the query. */
        if (r->bounds[other].part != SCHEMA_PART_QUERY)
            other = i;
        return fault(r, &r->bounds[other],
                     arena_printf(r->arena, "only one member of \"%.*s\" may be given",
                                  STR_FMT(type->oneofs[f->oneof].name)));
    }
    return 0;
}

/* Writes bounds[i] to bounds[end - 1], which have the same fields above level. */
static int put_level(struct building *r, size_t i, size_t end, unsigned level)
{
    int err = 0;

    while (!err && i < end) {
        const struct schema_field *f = r->bounds[i].fields[level];
        size_t next = run_end(r, i, end, level), mark;

        if (r->bounds[i].n_fields == level + 1) {
            err = put_values(r, i, next);
        } else {
            err = check_oneofs(r, f->message, i, next, level + 1, NULL);
            if (err)
                break;
            mark = schema_put_begin(r->wire, f->number);
            err = put_level(r, i, next, level + 1);
            schema_put_end(r->wire, mark);
        }
        i = next;
    }
    return err;
}

/* ---- the body ---- */

static int read_value(struct json_context *c, const struct schema_field *f)
{
    if (f->map)
        return json_read_map(c, f);
    if (f->repeated)
        return json_read_list(c, f);
    return json_read_value(c, f, false, true);
}

/* A body that is a scalar, a list or a map. */
static int read_plain_body(struct building *r, const struct schema_field *f, struct str body)
{
    struct json_context c;
    int err;

    if (str_is_blank(body))
        return 0;
    json_context_init(&c, r->schema, &r->options, r->wire, r->arena, r->fault);
    c.start = c.at = body.p;
    c.end = body.p + body.n;
    json_skip_space(&c);
    err = read_value(&c, f);
    if (err)
        return err == JSON_IGNORED ? 0 : err;
    json_skip_space(&c);
    return c.at == c.end ? 0 : json_unexpected(&c);
}

static int read_message(struct building *r, const struct schema_message *type, struct str body)
{
    if (schema_is_http_body(type)) {
        schema_put_http_body(r->wire, r->options.content_type, body);
        return 0;
    }
    if (str_is_blank(body))
        return 0;
    return schema_json_read(r->schema, type, body, &r->options, r->wire, r->arena, r->fault);
}

/* The body's field, and what the path says about fields inside it, as one message. */
static int put_body_field(struct building *r, struct str body, size_t first, size_t end)
{
    const struct schema_field *f = r->binding->body_field;
    size_t mark;
    int err;

    if (f->repeated || !f->message)
        return read_plain_body(r, f, body);
    mark = schema_put_begin(r->wire, f->number);
    err = read_message(r, f->message, body);
    if (!err)
        err = put_level(r, first, end, 1);
    schema_put_end(r->wire, mark);
    return err;
}

static int put_all(struct building *r, struct str body)
{
    size_t first = 0, end = 0;
    int err;

    if (r->n)
        qsort(r->bounds, r->n, sizeof(*r->bounds), compare_bounds);
    err = check_oneofs(r, r->binding->method->input, 0, r->n, 0, r->binding->body_field);
    if (err)
        return err;
    if (r->binding->body == ROUTE_BODY_FIELD) {
        while (first < r->n && r->bounds[first].fields[0] != r->binding->body_field)
            first++;
        end = first < r->n ? run_end(r, first, r->n, 0) : first;
        err = put_body_field(r, body, first, end);
    } else {
        err = r->binding->body == ROUTE_BODY_ALL ? read_message(r, r->binding->method->input, body)
                                                 : 0;
    }
    if (!err)
        err = put_level(r, 0, first, 0);
    return err ? err : put_level(r, end, r->n, 0);
}

/* As many values as there can be. */
static size_t count_bounds(const struct schema_match *match, struct str query)
{
    size_t n = 1;

    for (size_t i = 0; i < query.n && n < MAX_PARAMETERS; i++)
        n += query.p[i] == '&';
    return n + match->n_captures;
}

int schema_request(const struct schema *schema, const struct schema_match *match, struct str query,
                   struct str body, const struct schema_json_options *options, struct buf *wire,
                   struct arena *arena, enum schema_part *ret_part, struct schema_fault *ret_fault)
{
    struct building r = {.schema = schema,
                         .binding = match->binding,
                         .options = options ? *options : (struct schema_json_options){0},
                         .wire = wire,
                         .arena = arena,
                         .part = ret_part,
                         .fault = ret_fault};
    size_t before = wire->n;
    int err = 0;

    *ret_part = SCHEMA_PART_BODY;
    if (match->binding->body == ROUTE_BODY_ALL && !r.options.refuse_unknown)
        query = STR_NULL; /* the body is everything but the path */
    if (query.n || match->n_captures) {
        r.bounds = arena_alloc(arena, count_bounds(match, query) * sizeof(*r.bounds));
        if (!r.bounds)
            return -ENOMEM;
        err = read_query(&r, query);
        if (!err)
            err = read_captures(&r, match);
    }
    if (!err)
        err = put_all(&r, body);
    if (err == -EDOM) {
        *ret_part = SCHEMA_PART_FIELD;
        err = -EBADMSG;
    }
    if (!err)
        err = buf_error(wire);
    if (err)
        wire->n = before;
    return err;
}

int schema_stream_request(const struct schema *schema, const struct schema_match *match,
                          struct str body, const struct schema_json_options *options,
                          struct buf *wire, struct arena *arena, struct schema_fault *ret_fault)
{
    enum schema_part part;
    struct building r = {.schema = schema,
                         .binding = match->binding,
                         .options = options ? *options : (struct schema_json_options){0},
                         .wire = wire,
                         .arena = arena,
                         .part = &part,
                         .fault = ret_fault};
    size_t before = wire->n;
    int err = match->binding->body == ROUTE_BODY_FIELD
                  ? put_body_field(&r, body, 0, 0)
                  : read_message(&r, match->method->input, body);

    if (!err)
        err = buf_error(wire);
    if (err)
        wire->n = before;
    return err;
}

/* ---- answers ---- */

/* The response field when the message does not have it. */
static int write_absent(struct json_context *c, const struct schema_field *f)
{
    const struct schema_wire_field zero = {.bytes = STR("")};

    if (f->repeated) {
        buf_append_str(c->out, f->map ? STR("{}") : STR("[]"));
        return 0;
    }
    if (f->message ? f->message->well_known != SCHEMA_PLAIN : f->presence) {
        buf_append_str(c->out, STR("null"));
        return 0;
    }
    return json_write_value(c, f, &zero);
}

static int write_field(struct json_context *c, struct json_fields *at)
{
    const struct schema_field *f = at->field;
    struct schema_wire_field value;
    int err;

    if (f->map)
        return json_write_map(c, at);
    if (f->repeated)
        return json_write_list(c, at);
    err = json_fields_take(c, at, &value);
    return err ? err : json_write_value(c, f, &value);
}

int schema_response(const struct schema *schema, const struct schema_match *match, struct str wire,
                    const struct schema_json_options *options, struct buf *json,
                    struct arena *arena, struct schema_fault *ret_fault)
{
    const struct schema_field *f = match->binding->response_field;
    const struct schema_message *type = match->method->output;
    struct json_context c;
    struct json_fields at;
    size_t before = json->n;
    int err;

    if (!f)
        return schema_json_write(schema, type, wire, options, json, arena, ret_fault);
    json_context_init(&c, schema, options, json, arena, ret_fault);
    err = json_fields_open(&c, &at, type, wire.n ? wire : STR(""));
    while (!err && at.field && at.field != f)
        err = json_fields_next(&c, &at);
    if (!err)
        err = at.field ? write_field(&c, &at) : write_absent(&c, f);
    if (!err)
        err = buf_error(json);
    if (err)
        json->n = before;
    return err;
}
