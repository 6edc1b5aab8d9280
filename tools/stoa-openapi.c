/* stoa-openapi: the OpenAPI 3.1 document of a descriptor set, on standard output; the same that a
 * gateway with that descriptor set serves. For client generators and for linters. */
#include "openapi/openapi.h"

#include <errno.h>
#include <getopt.h>
#include <stdio.h>
#include <stdlib.h>

#define MAX_SERVERS 16
#define MAX_DOCUMENT (64 << 20)

static const char usage[] =
    "Usage: stoa-openapi --descriptor-set FILE [OPTION]...\n"
    "Writes the OpenAPI 3.1 document of a protobuf descriptor set to standard output.\n"
    "\n"
    "  --descriptor-set FILE  protoc --include_imports --include_source_info -o FILE\n"
    "  --title TEXT           name of the API (default: API)\n"
    "  --version TEXT         its version (default: 1)\n"
    "  --description TEXT     what it is, in Markdown\n"
    "  --server URL           where it is served; may be repeated (default: /)\n"
    "  --print-unset          answers have fields without presence always (grpc_json_print unset)\n"
    "  --refuse-unknown       unknown members are refused (grpc_json_refuse_unknown on)\n"
    "  --help                 this text\n"
    "\n"
    "Exit status: 0, or 1 when the descriptor set is bad or cannot be read, 2 for wrong options.\n";

enum argument {
    DESCRIPTOR_SET = 256,
    TITLE,
    VERSION,
    DESCRIPTION,
    SERVER,
    PRINT_UNSET,
    REFUSE_UNKNOWN,
    HELP,
};

static const struct option names[] = {
    {"descriptor-set", required_argument, NULL, DESCRIPTOR_SET},
    {"title", required_argument, NULL, TITLE},
    {"version", required_argument, NULL, VERSION},
    {"description", required_argument, NULL, DESCRIPTION},
    {"server", required_argument, NULL, SERVER},
    {"print-unset", no_argument, NULL, PRINT_UNSET},
    {"refuse-unknown", no_argument, NULL, REFUSE_UNKNOWN},
    {"help", no_argument, NULL, HELP},
    {NULL, 0, NULL, 0},
};

struct arguments {
    const char *descriptor_set;
    struct openapi_options options;
    struct openapi_server servers[MAX_SERVERS];
};

static void wrong_usage(const char *problem)
{
    fprintf(stderr, "stoa-openapi: %s; see stoa-openapi --help\n", problem);
    exit(2);
}

static void take(struct arguments *a, int option)
{
    switch (option) {
    case DESCRIPTOR_SET:
        a->descriptor_set = optarg;
        break;
    case TITLE:
        a->options.title = str_of(optarg);
        break;
    case VERSION:
        a->options.version = str_of(optarg);
        break;
    case DESCRIPTION:
        a->options.description = str_of(optarg);
        break;
    case SERVER:
        if (a->options.n_servers == MAX_SERVERS)
            wrong_usage("too many servers");
        a->servers[a->options.n_servers++].url = str_of(optarg);
        break;
    case PRINT_UNSET:
        a->options.print_unset = true;
        break;
    case REFUSE_UNKNOWN:
        a->options.refuse_unknown = true;
        break;
    case HELP:
        fputs(usage, stdout);
        exit(0);
    default: /* getopt_long() has said what is wrong */
        exit(2);
    }
}

static int write_document(const struct schema *schema, const struct openapi_options *options,
                          struct arena *errors, struct str *ret_error)
{
    struct buf json CLEANUP(buf_free) = {.max = MAX_DOCUMENT};
    int err = openapi_write(schema, options, &json, errors, ret_error);

    buf_append_char(&json, '\n');
    if (!err && (fwrite(json.p, 1, json.n, stdout) != json.n || fflush(stdout))) {
        *ret_error = STR("cannot write to standard output");
        err = -EIO;
    }
    return err;
}

int main(int argc, char **argv)
{
    struct arguments a = {.options = {.title = STR("API"), .version = STR("1")}};
    struct schema *schema = NULL;
    struct arena errors;
    struct str error = STR_NULL;
    int option, err;

    a.options.servers = a.servers;
    while ((option = getopt_long(argc, argv, "", names, NULL)) != -1)
        take(&a, option);
    if (optind != argc)
        wrong_usage("no argument is expected");
    if (!a.descriptor_set)
        wrong_usage("--descriptor-set is needed");
    arena_init(&errors, 0);
    err = schema_load_file(a.descriptor_set, &errors, &schema, &error);
    if (!err)
        err = write_document(schema, &a.options, &errors, &error);
    if (err)
        fprintf(stderr, "stoa-openapi: %.*s\n", STR_FMT(error));
    schema_free(schema);
    arena_free(&errors);
    return err ? 1 : 0;
}
