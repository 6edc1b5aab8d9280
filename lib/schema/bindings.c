/* Makes bindings of the google.api.http rules of all methods, at load. A rule that could never work
 * is an error that names file, method and template. */
#include "schema/json.h"
#include "schema/route.h"

#include <google/api/http.pb-c.h>

#define OPTION_HTTP 72295728

struct place {
    struct load *load;
    uint32_t file;
    const struct schema_method *method;
};

#define FAIL(place, ...) load_fail((place)->load, (place)->file, (place)->method->path, __VA_ARGS__)

/* HTTP method and template of a rule; NULL when it has no pattern. */
static const char *pattern_of(const Google__Api__HttpRule *rule, const char **ret_method)
{
    switch (rule->pattern_case) {
    case GOOGLE__API__HTTP_RULE__PATTERN_GET:
        *ret_method = "GET";
        return rule->get;
    case GOOGLE__API__HTTP_RULE__PATTERN_PUT:
        *ret_method = "PUT";
        return rule->put;
    case GOOGLE__API__HTTP_RULE__PATTERN_POST:
        *ret_method = "POST";
        return rule->post;
    case GOOGLE__API__HTTP_RULE__PATTERN_DELETE:
        *ret_method = "DELETE";
        return rule->delete_;
    case GOOGLE__API__HTTP_RULE__PATTERN_PATCH:
        *ret_method = "PATCH";
        return rule->patch;
    case GOOGLE__API__HTTP_RULE__PATTERN_CUSTOM:
        *ret_method = rule->custom->kind;
        return rule->custom->path;
    default:
        return NULL;
    }
}

/* "*", or what nginx takes for a method and passes on: it knows capitals alone, and answers CONNECT
 * (whose target is no path) and TRACE itself. */
static bool is_method(const char *s)
{
    if (strcmp(s, "*") == 0)
        return true;
    if (strcmp(s, "CONNECT") == 0 || strcmp(s, "TRACE") == 0)
        return false;
    return *s && s[strspn(s, "ABCDEFGHIJKLMNOPQRSTUVWXYZ-_")] == '\0';
}

/* ---- variables ---- */

static int resolve_field(const struct place *at, const struct schema_message *in, struct str name,
                         bool last, const struct route_variable *v, const char *template,
                         const struct schema_field **ret)
{
    const struct schema_field *f = schema_field_by_name(in, name);

    if (!f)
        return FAIL(at, "template \"%s\": %s has no field %.*s", template, in->full_name.p,
                    STR_FMT(name));
    if (f->repeated)
        return FAIL(at, "template \"%s\": %s is repeated and cannot be in a path", template,
                    v->field_path.p);
    if (last && f->message)
        return FAIL(at, "template \"%s\": %s is a message and cannot be in a path", template,
                    v->field_path.p);
    if (!last && (!f->message || f->type == SCHEMA_GROUP))
        return FAIL(at, "template \"%s\": %.*s in %s is not a message", template, STR_FMT(name),
                    v->field_path.p);
    *ret = f;
    return 0;
}

static size_t count_parts(struct str field_path)
{
    size_t n = 1;

    for (size_t i = 0; i < field_path.n; i++)
        n += field_path.p[i] == '.';
    return n;
}

static int resolve_variable(const struct place *at, struct route_variable *v, const char *template)
{
    const struct schema_message *in = at->method->input;
    struct str rest = v->field_path, name;
    size_t n;
    bool last = false;
    int err;

    v->fields = arena_calloc(&at->load->schema->arena, count_parts(rest), sizeof(*v->fields));
    if (!v->fields)
        return -ENOMEM;
    while (!last) {
        for (n = 0; n < rest.n && rest.p[n] != '.'; n++)
            ;
        last = n == rest.n;
        name = (struct str){rest.p, n};
        rest = str_skip(rest, n + 1);
        if (v->n_fields == ROUTE_MAX_FIELD_PATH)
            return FAIL(at, "template \"%s\": %s is nested too deeply", template, v->field_path.p);
        err = resolve_field(at, in, name, last, v, template, &v->fields[v->n_fields]);
        if (err)
            return err;
        in = v->fields[v->n_fields++]->message;
    }
    return 0;
}

static bool same_fields(const struct route_variable *a, const struct route_variable *b)
{
    return a->n_fields == b->n_fields &&
           memcmp(a->fields, b->fields, a->n_fields * sizeof(a->fields[0])) == 0;
}

/* The oneof that two field paths would both set, each another member of it; NULL if there is none.
 */
static const struct schema_oneof *shared_oneof(const struct schema_message *in,
                                               const struct schema_field *const *a, unsigned n_a,
                                               const struct schema_field *const *b, unsigned n_b)
{
    unsigned i = 0;

    while (i < n_a && i < n_b && a[i] == b[i])
        in = a[i++]->message;
    if (i == n_a || i == n_b || a[i]->oneof < 0 || a[i]->oneof != b[i]->oneof)
        return NULL;
    return &in->oneofs[a[i]->oneof];
}

/* A variable and one before it. */
static int check_pair(const struct place *at, const struct route_template *t,
                      const struct route_variable *a, const struct route_variable *b)
{
    const struct schema_oneof *oneof;

    if (same_fields(a, b))
        return FAIL(at, "template \"%s\": %s is there twice", t->text.p, a->field_path.p);
    oneof = shared_oneof(at->method->input, a->fields, a->n_fields, b->fields, b->n_fields);
    if (oneof)
        return FAIL(at, "template \"%s\": %s and %s are of one oneof, \"%.*s\"", t->text.p,
                    b->field_path.p, a->field_path.p, STR_FMT(oneof->name));
    return 0;
}

/* What a variable of literals alone always holds; {NULL, 0} if it has other segments. */
static struct str constant_value(struct arena *arena, const struct route_template *t,
                                 const struct route_variable *v)
{
    struct str value = STR("");

    for (unsigned i = v->first; i < v->first + v->n && value.p; i++) {
        if (t->segments[i].kind != ROUTE_LITERAL)
            return STR_NULL;
        value = arena_printf(arena, "%.*s%s%.*s", STR_FMT(value), i > v->first ? "/" : "",
                             STR_FMT(t->segments[i].literal));
    }
    return value;
}

static bool can_hold_slash(const struct schema_field *f)
{
    return f->type == SCHEMA_STRING || f->type == SCHEMA_BYTES; /* base64 has one */
}

/* A number with a slash in it, or a literal that is none: no request could ever use that. */
static int check_value(const struct place *at, const struct route_template *t,
                       const struct route_variable *v)
{
    const struct schema_field *last = v->fields[v->n_fields - 1];
    unsigned least = v->n - (t->segments[v->first + v->n - 1].kind == ROUTE_REST);
    struct str value;
    int err;

    if (last->type == SCHEMA_STRING)
        return 0;
    if (least > 1 && !can_hold_slash(last))
        return FAIL(at, "template \"%s\": %s cannot hold several segments", t->text.p,
                    v->field_path.p);
    value = constant_value(&at->load->scratch, t, v);
    if (!value.p)
        return 0;
    err = route_check_value(at->load->schema, last, value, &at->load->scratch);
    if (err == -EBADMSG)
        return FAIL(at, "template \"%s\": %s cannot be \"%.*s\"", t->text.p, v->field_path.p,
                    STR_FMT(value));
    return err;
}

static int resolve_variables(const struct place *at, struct route_template *t)
{
    for (unsigned i = 0; i < t->n_variables; i++) {
        struct route_variable *v = &t->variables[i];
        int err = resolve_variable(at, v, t->text.p);

        if (!err)
            err = check_value(at, t, v);
        for (unsigned j = 0; !err && j < i; j++)
            err = check_pair(at, t, v, &t->variables[j]);
        if (err)
            return err;
    }
    return 0;
}

/* ---- body and response_body ---- */

static int set_body(const struct place *at, struct schema_binding *b, const char *body)
{
    const struct route_template *t = &b->template;

    if (!*body)
        return 0;
    if ((str_eq(b->http_method, STR("GET")) || str_eq(b->http_method, STR("HEAD"))) &&
        !at->method->client_streaming)
        return FAIL(at, "template \"%s\": %s takes no body", t->text.p, b->http_method.p);
    b->body = ROUTE_BODY_ALL;
    if (strcmp(body, "*") == 0)
        return 0;
    b->body = ROUTE_BODY_FIELD;
    b->body_field = schema_field_by_name(at->method->input, str_of(body));
    if (!b->body_field || b->body_field->type == SCHEMA_GROUP)
        return FAIL(at, "template \"%s\": body: %s has no field %s", t->text.p,
                    at->method->input->full_name.p, body);
    for (unsigned i = 0; i < t->n_variables; i++) {
        const struct route_variable *v = &t->variables[i];
        const struct schema_oneof *oneof;

        if (v->n_fields == 1 && v->fields[0] == b->body_field)
            return FAIL(at, "template \"%s\": %s is in path and body", t->text.p, body);
        oneof = shared_oneof(at->method->input, v->fields, v->n_fields, &b->body_field, 1);
        if (oneof)
            return FAIL(at, "template \"%s\": %s and the body's %s are of one oneof, \"%.*s\"",
                        t->text.p, v->field_path.p, body, STR_FMT(oneof->name));
    }
    return 0;
}

static int set_response_body(const struct place *at, struct schema_binding *b, const char *name)
{
    if (!*name)
        return 0;
    b->response_field = schema_field_by_name(at->method->output, str_of(name));
    if (!b->response_field)
        return FAIL(at, "template \"%s\": response_body: %s has no field %s", b->template.text.p,
                    at->method->output->full_name.p, name);
    return 0;
}

/* ---- bindings ---- */

static int parse_pattern(const struct place *at, struct schema_binding *b,
                         const Google__Api__HttpRule *rule)
{
    struct arena *arena = &at->load->schema->arena;
    const char *http_method = "", *text = pattern_of(rule, &http_method), *cause = "";
    int err;

    if (!text)
        return FAIL(at, "its google.api.http rule has no path");
    if (!is_method(http_method))
        return FAIL(at, "template \"%s\": nothing serves the HTTP method \"%s\"", text,
                    http_method);
    b->http_method = arena_copy(arena, str_of(http_method));
    if (!b->http_method.p)
        return -ENOMEM;
    err = route_parse(str_of(text), arena, &b->template, &cause);
    if (err == -EINVAL)
        return FAIL(at, "template \"%s\" %s", text, cause);
    return err ? err : resolve_variables(at, &b->template);
}

static int enter(const struct place *at, struct schema_routes *routes,
                 const struct schema_binding *b)
{
    const struct schema_binding *other;
    int err = routes_add(routes, &at->load->schema->arena, b, &other);

    if (err == -EEXIST)
        return FAIL(at, "template \"%s\": %s is taken by \"%s\" of %s", b->template.text.p,
                    b->http_method.p, other->template.text.p, other->method->path.p);
    if (err == -E2BIG)
        return FAIL(at, "template \"%s\": too many different HTTP methods", b->template.text.p);
    return err;
}

static int add_binding(const struct place *at, struct schema_routes *routes,
                       const Google__Api__HttpRule *rule)
{
    struct schema_binding *b = arena_calloc(&at->load->schema->arena, 1, sizeof(*b));
    int err;

    if (!b)
        return -ENOMEM;
    b->method = at->method;
    err = parse_pattern(at, b, rule);
    if (!err)
        err = set_body(at, b, rule->body);
    if (!err)
        err = set_response_body(at, b, rule->response_body);
    return err ? err : enter(at, routes, b);
}

static int add_method(const struct place *at, struct schema_routes *routes,
                      const Google__Protobuf__MethodOptions *options)
{
    const Google__Api__HttpRule *rule;
    ProtobufCMessage *option;
    int err = load_option(at->load, at->file, at->method->path, options ? &options->base : NULL,
                          OPTION_HTTP, &google__api__http_rule__descriptor, false, &option);

    if (err || !option)
        return err;
    rule = (const Google__Api__HttpRule *)option;
    err = add_binding(at, routes, rule);
    for (size_t i = 0; !err && i < rule->n_additional_bindings; i++) {
        const Google__Api__HttpRule *more = rule->additional_bindings[i];

        if (more->n_additional_bindings)
            return FAIL(at, "additional_bindings cannot have additional_bindings");
        err = add_binding(at, routes, more);
    }
    return err;
}

int load_routes(struct load *load)
{
    struct schema *schema = load->schema;
    struct schema_routes *routes = routes_new(&schema->arena);
    int err = routes ? 0 : -ENOMEM;

    for (size_t i = 0; !err && i < schema->n_methods; i++) {
        const struct place at = {load, load->methods[i].file, &schema->methods[i]};

        err = add_method(&at, routes, load->methods[i].proto->options);
    }
    schema->routes = routes;
    return err;
}
