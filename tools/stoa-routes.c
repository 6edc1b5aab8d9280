/* stoa-routes: the HTTP routes of a descriptor set, and which of them serves a request.
 *
 * Asks the same tables as the gateway (lib/schema), so what it says is what the gateway does. */
#include "schema/schema.h"

#include <errno.h>
#include <getopt.h>
#include <jansson.h>
#include <stdio.h>

#define MAX_WIRE (16 << 20)

enum exit_status { EXIT_SERVED = 0, EXIT_NOT_SERVED = 1, EXIT_USAGE = 2, EXIT_FAILED = 3 };

struct options {
    const char *descriptor_set, *method, *path; /* method NULL: list */
    bool json, refuse_unknown;
};

static const char help[] =
    "usage: stoa-routes --descriptor-set FILE [--json]\n"
    "       stoa-routes --descriptor-set FILE [--refuse-unknown] METHOD PATH\n"
    "\n"
    "The first lists the HTTP routes (google.api.http) of a descriptor set, one a line:\n"
    "method, path, RPC, body, response body and kind, parted by tabs. A `-` is no body, or the\n"
    "whole response; `*` as method is any, as body the whole message.\n"
    "\n"
    "The second prints as JSON which RPC serves a request: `rpc`, `kind`, `method`, `path` and\n"
    "`body` of the route, and as `request` the message that path and query make (proto3 JSON;\n"
    "fields at their default are left out). Or `error`, `status`, `message` and what belongs to "
    "it\n"
    "when none does. PATH is as in an HTTP request: escaped, with its query.\n"
    "\n"
    "  --descriptor-set FILE  of `protoc --include_imports -o FILE`\n"
    "  --json                 list as a JSON array\n"
    "  --refuse-unknown       unknown query parameters are errors (grpc_json_refuse_unknown on)\n"
    "  --help                 this text\n"
    "\n"
    "exit status: 0 listed, or an RPC serves the request; 1 none does; 2 wrong usage; 3 the\n"
    "descriptor set cannot be used (stderr says why), or the system failed\n";

static int usage(const char *what)
{
    fprintf(stderr, "stoa-routes: %s (--help tells how to call it)\n", what);
    return EXIT_USAGE;
}

static int failed(const char *what)
{
    fprintf(stderr, "stoa-routes: %s\n", what);
    return EXIT_FAILED;
}

static const char *kind_of(const struct schema_method *m)
{
    if (m->client_streaming)
        return m->server_streaming ? "bidi_streaming" : "client_streaming";
    return m->server_streaming ? "server_streaming" : "unary";
}

/* A member with this text; what is appended to a NULL object is noticed when it is printed. */
static void put(json_t *object, const char *name, struct str text)
{
    json_object_set_new(object, name, json_stringn(text.p ? text.p : "", text.n));
}

/* Prints and frees it. */
static int print(json_t *value, size_t flags, int status)
{
    int err = value ? json_dumpf(value, stdout, flags | JSON_ENCODE_ANY) : -1;

    json_decref(value);
    return err || putchar('\n') == EOF || fflush(stdout) ? failed("cannot write") : status;
}

static json_t *describe(const struct schema_binding *binding)
{
    struct schema_binding_description d;
    json_t *route = json_object();

    schema_binding_describe(binding, &d);
    put(route, "rpc", d.method->path);
    json_object_set_new(route, "kind", json_string(kind_of(d.method)));
    put(route, "method", d.http_method);
    put(route, "path", d.path);
    put(route, "body", d.body);
    put(route, "response_body", d.response_body);
    return route;
}

/* ---- listing ---- */

static int list_json(const struct schema *schema)
{
    json_t *routes = json_array();

    for (size_t i = 0; i < schema_binding_count(schema); i++)
        json_array_append_new(routes, describe(schema_binding_at(schema, i)));
    return print(routes, JSON_INDENT(2), EXIT_SERVED);
}

static int list_text(const struct schema *schema)
{
    for (size_t i = 0; i < schema_binding_count(schema); i++) {
        struct schema_binding_description d;

        schema_binding_describe(schema_binding_at(schema, i), &d);
        printf("%s\t%s\t%s\t%s\t%s\t%s\n", d.http_method.p, d.path.p, d.method->path.p,
               d.body.n ? d.body.p : "-", d.response_body.n ? d.response_body.p : "-",
               kind_of(d.method));
    }
    return fflush(stdout) || ferror(stdout) ? failed("cannot write") : EXIT_SERVED;
}

/* ---- one request ---- */

static json_t *error(json_t *answer, const char *name, int status, struct str message)
{
    json_object_set_new(answer, "error", json_string(name));
    json_object_set_new(answer, "status", json_integer(status));
    put(answer, "message", message);
    return answer;
}

static int no_route(const struct schema *schema, const struct schema_match *match, int err,
                    bool is_options, struct arena *arena)
{
    json_t *answer = json_object();
    struct str allow;

    if (err == -ENOENT)
        return print(error(answer, "not_found", 404, STR("no route has this path")), JSON_INDENT(2),
                     EXIT_NOT_SERVED);
    allow = schema_allow(schema, match, arena);
    if (!allow.p)
        return failed("out of memory");
    if (is_options)
        error(answer, "answered_by_gateway", 204, STR("OPTIONS is answered without an RPC"));
    else
        error(answer, "method_not_allowed", 405,
              STR("the path has routes, none of them for this method"));
    put(answer, "allow", allow);
    return print(answer, JSON_INDENT(2), EXIT_NOT_SERVED);
}

static int bad_value(const struct schema_match *match, enum schema_part part,
                     const struct schema_fault *fault)
{
    json_t *answer = describe(match->binding);

    error(answer, "invalid_value", 422, fault->message);
    put(answer, "part", part == SCHEMA_PART_PATH ? STR("path") : STR("query"));
    put(answer, "field", fault->path);
    return print(answer, JSON_INDENT(2), EXIT_NOT_SERVED);
}

static int served(const struct schema *schema, const struct schema_match *match, struct str wire,
                  struct arena *arena)
{
    const struct schema_json_options options = {0};
    struct buf request CLEANUP(buf_free) = {.max = MAX_WIRE};
    json_t *route = describe(match->binding);
    char *text = json_dumps(route, JSON_INDENT(2));
    struct schema_fault fault;
    int err;

    json_decref(route);
    if (!text)
        return failed("out of memory");
    err = schema_json_write(schema, match->method->input, wire, &options, &request, arena, &fault);
    /* The message's own text goes in as it is: reading it again could change a number. */
    if (!err)
        printf("%.*s,\n  \"request\": %.*s\n}\n", (int)strlen(text) - 2, text,
               STR_FMT(buf_str(&request)));
    free(text);
    if (err)
        return failed("cannot print the request");
    return fflush(stdout) || ferror(stdout) ? failed("cannot write") : EXIT_SERVED;
}

static int explain(const struct schema *schema, const struct options *o, struct arena *arena)
{
    const struct schema_json_options options = {.refuse_unknown = o->refuse_unknown};
    struct buf wire CLEANUP(buf_free) = {.max = MAX_WIRE};
    struct str method = str_of(o->method), path = {o->path, strcspn(o->path, "#")}, query;
    struct schema_fault fault = {STR_NULL, STR_NULL};
    struct schema_match match;
    enum schema_part part;
    int err;

    query = str_skip(path, strcspn(path.p, "?#") + 1);
    path.n = strcspn(path.p, "?#");
    err = schema_route(schema, method, path, &match);
    if (err)
        return no_route(schema, &match, err, str_eq(method, STR("OPTIONS")), arena);
    err = schema_request(schema, &match, query, STR(""), &options, &wire, arena, &part, &fault);
    if (err == -EBADMSG)
        return bad_value(&match, part, &fault);
    return err ? failed("out of memory") : served(schema, &match, buf_str(&wire), arena);
}

/* ---- the command line ---- */

/* Returns -1 to go on, or an exit status. */
static int read_options(int argc, char **argv, struct options *ret)
{
    static const struct option known[] = {
        {"descriptor-set", required_argument, NULL, 'd'},
        {"json", no_argument, NULL, 'j'},
        {"refuse-unknown", no_argument, NULL, 'u'},
        {"help", no_argument, NULL, 'h'},
        {0},
    };
    int c;

    while ((c = getopt_long(argc, argv, "", known, NULL)) != -1) {
        switch (c) {
        case 'd':
            ret->descriptor_set = optarg;
            break;
        case 'j':
            ret->json = true;
            break;
        case 'u':
            ret->refuse_unknown = true;
            break;
        case 'h':
            return fputs(help, stdout) < 0 || fflush(stdout) ? failed("cannot write") : EXIT_SERVED;
        default:
            return usage("wrong option");
        }
    }
    if (!ret->descriptor_set)
        return usage("--descriptor-set is missing");
    if (argc - optind != 0 && argc - optind != 2)
        return usage("METHOD and PATH are wanted, or neither");
    if (argc - optind == 2) {
        ret->method = argv[optind];
        ret->path = argv[optind + 1];
    }
    return -1;
}

static int run(const struct options *o, struct arena *arena)
{
    struct schema *schema;
    struct str cause = STR("cannot be read");
    int err = schema_load_file(o->descriptor_set, arena, &schema, &cause);

    if (err) {
        fprintf(stderr, "stoa-routes: %.*s\n", STR_FMT(cause));
        return EXIT_FAILED;
    }
    if (o->method)
        err = explain(schema, o, arena);
    else
        err = o->json ? list_json(schema) : list_text(schema);
    schema_free(schema);
    return err;
}

int main(int argc, char **argv)
{
    struct options options = {0};
    struct arena arena;
    int status = read_options(argc, argv, &options);

    if (status >= 0)
        return status;
    arena_init(&arena, 0);
    status = run(&options, &arena);
    arena_free(&arena);
    return status;
}
