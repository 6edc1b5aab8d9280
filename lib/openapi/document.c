/* The whole document, and the blocks that it is built of. */
#include "openapi/internal.h"

#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>

#define OPTION_METHOD 51000

/* ---- building blocks ---- */

void put(struct document *d, json_t *object, const char *key, json_t *value)
{
    if (json_object_set_new(object, key, value))
        d->failed = true;
}

json_t *json_text(struct str s)
{
    return json_stringn(s.p ? s.p : "", s.n);
}

void put_str(struct document *d, json_t *object, const char *key, struct str value)
{
    put(d, object, key, json_text(value));
}

void put_true(struct document *d, json_t *object, const char *key)
{
    put(d, object, key, json_true());
}

void append(struct document *d, json_t *array, json_t *value)
{
    if (json_array_append_new(array, value))
        d->failed = true;
}

json_t *json_ref(struct document *d, const char *kind, struct str name)
{
    json_t *ref = json_object();

    put_str(d, ref, "$ref", text(d, "#/components/%s/%.*s", kind, STR_FMT(name)));
    return ref;
}

struct str text(struct document *d, const char *fmt, ...)
{
    char small[256];
    struct str s;
    va_list ap;
    int n;

    va_start(ap, fmt);
    n = vsnprintf(small, sizeof(small), fmt, ap);
    va_end(ap);
    s.n = n < 0 ? 0 : (size_t)n;
    s.p = arena_alloc(&d->arena, s.n + 1);
    if (!s.p || n < 0) {
        d->failed = true;
        return STR("");
    }
    va_start(ap, fmt);
    vsnprintf((char *)s.p, s.n + 1, fmt, ap);
    va_end(ap);
    return s;
}

struct str keep(struct document *d, const struct buf *b)
{
    struct str s = b->failed ? STR_NULL : arena_copy(&d->arena, buf_str(b));

    if (b->failed || (b->n && !s.p)) {
        d->failed = true;
        return STR("");
    }
    return s.p ? s : STR("");
}

bool add_name(struct document *d, struct schema_names *names, struct str name, size_t index)
{
    int err = schema_names_add(names, &d->arena, name, (uint32_t)index);

    if (err == -ENOMEM)
        d->failed = true;
    return !err;
}

void fail(struct document *d, const char *fmt, ...)
{
    char line[512];
    va_list ap;

    if (d->error.n)
        return;
    va_start(ap, fmt);
    vsnprintf(line, sizeof(line), fmt, ap);
    va_end(ap);
    d->error = arena_copy(d->error_arena, str_of(line));
    if (!d->error.n)
        d->failed = true;
}

/* ---- types ---- */

static void add_types(struct document *d)
{
    put(d, d->schemas, "Problem", problem_schema());
    /* Types are added, and their array moves, while they are described. */
    for (size_t i = 0; i < d->n_components && !d->failed; i++) {
        const struct component c = d->components[i];

        put(d, d->schemas, c.name.n ? c.name.p : "",
            c.is_enum ? enum_schema(d, c.type) : message_schema(d, c.type, c.direction, NULL));
    }
}

/* ---- paths ---- */

static void lower_case(const char *from, char *to, size_t n)
{
    size_t i;

    for (i = 0; from[i] && i + 1 < n; i++)
        to[i] = (char)(from[i] >= 'A' && from[i] <= 'Z' ? from[i] - 'A' + 'a' : from[i]);
    to[i] = '\0';
}

/* OpenAPI 3.1 knows eight methods. Others, and a second binding of a method on what is the same
 * path there, go where 3.2 puts what has no name. */
static void add_operation(struct document *d, json_t *item, const struct schema_binding *b,
                          json_t *op)
{
    static const char known[] = " get put post delete options head patch trace ";
    char method[32], spaced[40];
    json_t *others;
    struct str key = b->http_method;

    lower_case(b->http_method.p, method, sizeof(method));
    snprintf(spaced, sizeof(spaced), " %s ", method);
    if (strstr(known, spaced) && !json_object_get(item, method)) {
        put(d, item, method, op);
        return;
    }
    others = json_object_get(item, "x-additionalOperations");
    if (!others) {
        others = json_object();
        put(d, item, "x-additionalOperations", others);
    }
    if (strstr(known, spaced))
        key = text(d, "%.*s %.*s", STR_FMT(key), STR_FMT(b->template.text));
    put(d, others, key.p, op);
}

static void add_tag(struct document *d, const struct schema_method *method)
{
    struct str name = tag_of(d, method), words = note_of(d, method->service)->comment;
    size_t package = note_of(d, method->service)->package;
    json_t *tag;

    if (!add_name(d, &d->tag_names, name, 0))
        return;
    if (!words.n && package)
        words = note_of(d, (struct str){method->service.p, package - 1})->comment;
    tag = json_object();
    put_str(d, tag, "name", name);
    if (words.n)
        put_str(d, tag, "description", words);
    append(d, d->tags, tag);
}

static void add_binding(struct document *d, const struct schema_binding *b, unsigned nth)
{
    json_t *parameters = json_array();
    json_t *item = path_item(d, b, parameters);

    add_tag(d, b->method);
    query_parameters(d, b, parameters);
    add_operation(d, item, b, operation(d, b, nth, parameters));
    json_decref(parameters);
}

static void add_paths(struct document *d)
{
    const struct schema_binding *before = NULL;
    unsigned nth = 0;

    for (size_t i = 0; i < schema_binding_count(d->schema) && !d->failed; i++) {
        const struct schema_binding *b = schema_binding_at(d->schema, i);

        if (!is_served(b))
            continue;
        nth = before && before->method == b->method ? nth + 1 : 0;
        before = b;
        add_binding(d, b, nth);
    }
}

/* ---- the whole ---- */

static json_t *info(struct document *d)
{
    json_t *object = json_object();

    put_str(d, object, "title", d->options->title);
    put_str(d, object, "version", d->options->version);
    if (d->options->description.n)
        put_str(d, object, "description", d->options->description);
    return object;
}

static json_t *servers(struct document *d)
{
    static const struct openapi_server here = {STR("/"), STR("This server.")};
    const struct openapi_server *list = d->options->n_servers ? d->options->servers : &here;
    size_t n = d->options->n_servers ? d->options->n_servers : 1;
    json_t *array = json_array();

    for (size_t i = 0; i < n; i++) {
        json_t *server = json_object();

        put_str(d, server, "url", list[i].url);
        if (list[i].description.n)
            put_str(d, server, "description", list[i].description);
        append(d, array, server);
    }
    return array;
}

static json_t *components(struct document *d)
{
    json_t *object = json_object();

    put(d, object, "schemas", json_incref(d->schemas));
    put(d, object, "responses", json_incref(d->responses));
    if (d->uses_bearer)
        put(d, object, "securitySchemes",
            json_pack("{s:{s:s, s:s, s:s}}", "bearer", "type", "http", "scheme", "bearer",
                      "description", "An access token: `Authorization: Bearer TOKEN`."));
    return object;
}

/* Twice: names of types depend on which types there are. */
static void add_everything(struct document *d)
{
    find_shared_names(d);
    add_paths(d);
    add_types(d);
    name_components(d);
    json_object_clear(d->schemas);
    json_object_clear(d->paths);
    json_object_clear(d->shapes);
    json_array_clear(d->tags);
    d->operation_ids = d->tag_names = (struct schema_names){0};
    add_paths(d);
    add_types(d);
}

static json_t *make(struct document *d)
{
    json_t *root = json_object();

    add_everything(d);
    put(d, root, "openapi", json_string("3.1.0"));
    put(d, root, "info", info(d));
    put(d, root, "servers", servers(d));
    put(d, root, "tags", json_incref(d->tags));
    put(d, root, "paths", json_incref(d->paths));
    put(d, root, "components", components(d));
    return root;
}

static int dump(const char *bytes, size_t n, void *to)
{
    buf_append(to, bytes, n);
    return ((struct buf *)to)->failed ? -1 : 0;
}

int openapi_write(const struct schema *schema, const struct openapi_options *options,
                  struct buf *json, struct arena *error_arena, struct str *ret_error)
{
    struct document d = {.schema = schema,
                         .options = options,
                         .schemas = json_object(),
                         .responses = json_object(),
                         .paths = json_object(),
                         .shapes = json_object(),
                         .tags = json_array(),
                         .error_arena = error_arena};
    json_t *root = NULL;
    int err;

    arena_init(&d.arena, 0);
    d.has_auth =
        schema_file_by_extension(schema, STR("google.protobuf.MethodOptions"), OPTION_METHOD).p;
    err = notes_read(&d);
    if (!err)
        root = make(&d);
    if (!err && d.failed)
        err = -ENOMEM;
    if (!err && d.error.n)
        err = -EINVAL;
    if (!err && json_dump_callback(root, dump, json, JSON_INDENT(1)))
        err = buf_error(json) == -EMSGSIZE ? -EFBIG : -ENOMEM;
    *ret_error = err == -EINVAL ? d.error : STR("out of memory");
    json_decref(root);
    json_decref(d.schemas);
    json_decref(d.responses);
    json_decref(d.paths);
    json_decref(d.shapes);
    json_decref(d.tags);
    arena_free(&d.arena);
    return err;
}
