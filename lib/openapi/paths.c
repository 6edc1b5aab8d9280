/* Bindings as OpenAPI paths. A path template of OpenAPI has variables of one segment only, so each
 * wildcard of a google.api.http template becomes a parameter of its own; and two paths that differ
 * only in the names of their parameters are one path there. */
#include "openapi/internal.h"

#include <ctype.h>

#define MAX_QUERY_PARAMETERS 256 /* what a request may have, lib/schema/request.c */

/* A wildcard of a template. */
struct wildcard {
    const struct route_variable *variable; /* NULL: its value is not looked at */
    unsigned segment;
    bool part; /* of a variable with more segments */
    struct str name;
};

/* ---- wildcards ---- */

static const struct route_variable *variable_at(const struct route_template *t, unsigned segment)
{
    for (unsigned i = 0; i < t->n_variables; i++) {
        if (segment - t->variables[i].first < t->variables[i].n)
            return &t->variables[i];
    }
    return NULL;
}

static struct str field_path(struct document *d, const struct schema_field *const *fields,
                             unsigned n, const char *separator)
{
    struct str path = fields[0]->json_name;

    for (unsigned i = 1; i < n; i++)
        path = text(d, "%.*s%s%.*s", STR_FMT(path), separator, STR_FMT(fields[i]->json_name));
    return path;
}

static struct str json_path(struct document *d, const struct schema_field *const *fields,
                            unsigned n)
{
    return field_path(d, fields, n, ".");
}

static bool is_name(struct str s)
{
    for (size_t i = 0; i < s.n; i++) {
        if (!isalnum((unsigned char)s.p[i]) && s.p[i] != '_' && s.p[i] != '-')
            return false;
    }
    return s.n > 0;
}

static unsigned count_wildcards(const struct route_template *t, const struct route_variable *v)
{
    unsigned n = 0;

    for (unsigned i = v->first; i < v->first + v->n; i++)
        n += t->segments[i].kind != ROUTE_LITERAL;
    return n;
}

/* The field; and where it has several wildcards, the literal before this one, or its number. */
static struct str wildcard_name(struct document *d, const struct route_template *t,
                                const struct wildcard *w)
{
    const struct route_variable *v = w->variable;
    const struct route_segment *before;
    struct str path;

    if (!v)
        return text(d, "segment%u", w->segment + 1);
    /* Not every tool takes a dot in the name of a variable. */
    path = field_path(d, v->fields, v->n_fields, "_");
    if (count_wildcards(t, v) == 1)
        return path;
    before = w->segment > v->first ? &t->segments[w->segment - 1] : NULL;
    if (before && before->kind == ROUTE_LITERAL && is_name(before->literal))
        return text(d, "%.*s_%.*s", STR_FMT(path), STR_FMT(before->literal));
    return text(d, "%.*s_%u", STR_FMT(path), w->segment + 1 - v->first);
}

static unsigned find_wildcards(struct document *d, const struct route_template *t,
                               struct wildcard *ret)
{
    unsigned n = 0;

    for (unsigned i = 0; i < t->n_segments; i++) {
        struct wildcard *w = &ret[n];

        if (t->segments[i].kind == ROUTE_LITERAL)
            continue;
        *w = (struct wildcard){.variable = variable_at(t, i), .segment = i};
        w->part = w->variable && w->variable->n > 1;
        w->name = wildcard_name(d, t, w);
        n++;
    }
    return n;
}

/* ---- the path ---- */

static struct str path_text(struct document *d, const struct route_template *t,
                            const struct wildcard *wildcards)
{
    struct buf b CLEANUP(buf_free) = {.max = 1 << 16};
    unsigned n = 0;

    for (unsigned i = 0; i < t->n_segments; i++) {
        if (t->segments[i].kind == ROUTE_LITERAL)
            buf_printf(&b, "/%.*s", STR_FMT(t->segments[i].literal));
        else
            buf_printf(&b, "/{%.*s}", STR_FMT(wildcards ? wildcards[n].name : STR("")));
        n += t->segments[i].kind != ROUTE_LITERAL;
    }
    if (t->n_segments == 0)
        buf_append_char(&b, '/');
    if (t->verb.n)
        buf_printf(&b, ":%.*s", STR_FMT(t->verb));
    return keep(d, &b);
}

/* The names in "{a}" and "{b}" of a path, in order. */
static void take_names(struct document *d, struct str path, struct wildcard *wildcards)
{
    for (size_t i = 0, n = 0; i < path.n; i++) {
        size_t start = i + 1;

        if (path.p[i] != '{')
            continue;
        while (path.p[i] != '}')
            i++;
        wildcards[n++].name = text(d, "%.*s", (int)(i - start), path.p + start);
    }
}

/* The path that is there already but for the names of its parameters. */
static struct str same_path(struct document *d, struct str shape)
{
    return str_of(json_string_value(json_object_get(d->shapes, shape.p)));
}

/* ---- parameters ---- */

/* Moves what is said of a field's schema to the parameter. */
static json_t *parameter(struct document *d, struct str name, const char *in, bool required,
                         json_t *schema)
{
    static const char *const keys[] = {"description", "deprecated"};
    json_t *p = json_object(), *examples = json_object_get(schema, "examples");

    put_str(d, p, "name", name);
    put(d, p, "in", json_string(in));
    for (size_t i = 0; i < ARRAY_SIZE(keys); i++) {
        json_t *value = json_object_get(schema, keys[i]);

        if (value)
            put(d, p, keys[i], json_incref(value));
        (void)json_object_del(schema, keys[i]);
    }
    if (required)
        put_true(d, p, "required");
    if (examples)
        put(d, p, "example", json_incref(json_array_get(examples, 0)));
    (void)json_object_del(schema, "examples");
    put(d, p, "schema", schema);
    return p;
}

static const struct schema_message *parent_of(const struct schema_binding *b,
                                              const struct route_variable *v)
{
    return v->n_fields > 1 ? v->fields[v->n_fields - 2]->message : b->method->input;
}

static json_t *path_parameter(struct document *d, const struct schema_binding *b,
                              const struct wildcard *w)
{
    const struct route_variable *v = w->variable;
    bool rest = b->template.segments[w->segment].kind == ROUTE_REST;
    json_t *schema = NULL, *p;
    struct str words = STR("Any text; it makes no difference.");

    if (v && !w->part && !rest) {
        schema = field_schema(d, parent_of(b, v), v->fields[v->n_fields - 1], INPUT);
        return parameter(d, w->name, "path", true, schema);
    }
    if (v)
        words =
            text(d, "%s `%.*s`%s", w->part ? "Part of" : "The value of",
                 STR_FMT(json_path(d, v->fields, v->n_fields)),
                 rest ? ", which may have several segments: a slash in it is not escaped." : ".");
    schema = json_object();
    put(d, schema, "type", json_string("string"));
    put_str(d, schema, "description", words);
    p = parameter(d, w->name, "path", true, schema);
    if (rest)
        put_true(d, p, "x-segments");
    return p;
}

json_t *path_item(struct document *d, const struct schema_binding *b, json_t *parameters)
{
    struct wildcard wildcards[ROUTE_MAX_SEGMENTS] = {{0}};
    unsigned n = find_wildcards(d, &b->template, wildcards);
    struct str shape = path_text(d, &b->template, NULL);
    struct str path = same_path(d, shape);

    if (path.p)
        take_names(d, path, wildcards);
    path = path_text(d, &b->template, wildcards);
    put_str(d, d->shapes, shape.p, path);
    for (unsigned i = 0; i < n; i++)
        append(d, parameters, path_parameter(d, b, &wildcards[i]));
    if (path.n && !json_object_get(d->paths, path.p))
        put(d, d->paths, path.p, json_object());
    return json_object_get(d->paths, path.p ? path.p : "");
}

/* ---- the query ---- */

struct query {
    struct document *d;
    const struct schema_binding *binding;
    json_t *parameters;
    const struct schema_field *fields[ROUTE_MAX_FIELD_PATH];
};

static bool is_text_message(const struct schema_message *m)
{
    return m->well_known == SCHEMA_TIMESTAMP || m->well_known == SCHEMA_DURATION ||
           m->well_known == SCHEMA_FIELD_MASK || m->well_known == SCHEMA_WRAPPER;
}

static bool is_within(const struct query *q, const struct schema_message *m, unsigned level)
{
    for (unsigned i = 0; i < level; i++) {
        if (q->fields[i]->message == m)
            return true;
    }
    return m == q->binding->method->input;
}

static bool is_in_path(const struct query *q, unsigned n)
{
    const struct route_template *t = &q->binding->template;

    for (unsigned i = 0; i < t->n_variables; i++) {
        if (t->variables[i].n_fields == n &&
            memcmp(t->variables[i].fields, q->fields, n * sizeof(q->fields[0])) == 0)
            return true;
    }
    return false;
}

static bool opens(const struct schema_field *f)
{
    return f->type == SCHEMA_MESSAGE && !f->repeated && f->message->well_known == SCHEMA_PLAIN;
}

/* Recursion is bounded: a type is not entered again within itself. */
static void query_level(struct query *q, const struct schema_message *m, unsigned level,
                        bool needed)
{
    for (size_t i = 0; i < m->n_fields; i++) {
        const struct schema_field *f = &m->fields[i];
        bool required;

        if (json_array_size(q->parameters) == MAX_QUERY_PARAMETERS)
            return;
        q->fields[level] = f;
        if (is_in_path(q, level + 1) ||
            (level == 0 && q->binding->body == ROUTE_BODY_FIELD && f == q->binding->body_field))
            continue;
        required = needed && is_needed(q->d, f);
        if (opens(f)) {
            if (level + 1 < ROUTE_MAX_FIELD_PATH && !is_within(q, f->message, level))
                query_level(q, f->message, level + 1, required);
            continue;
        }
        if (f->map || f->type == SCHEMA_GROUP || (f->message && !is_text_message(f->message)))
            continue;
        append(q->d, q->parameters,
               parameter(q->d, json_path(q->d, q->fields, level + 1), "query", required,
                         field_schema(q->d, m, f, INPUT)));
    }
}

void query_parameters(struct document *d, const struct schema_binding *b, json_t *parameters)
{
    struct query q = {.d = d, .binding = b, .parameters = parameters};

    if (b->body != ROUTE_BODY_ALL)
        query_level(&q, b->method->input, 0, true);
}
