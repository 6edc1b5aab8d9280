/* The codec of lib/schema as a testee of protobuf's conformance runner:
 *
 *     testee DESCRIPTOR-SET
 *
 * answers requests on standard input until it ends (the runner puts the program's own name before
 * the descriptor set once more). A request and its answer are each four bytes of length, little
 * endian, and a conformance.ConformanceRequest or -Response of so many bytes, as
 * conformance/conformance.proto in protobuf's source declares them. Both are read and written by
 * their field numbers, so that the program builds without that source.
 */
#include "schema/tables.h"

#include <endian.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>

#define MAX_MESSAGE (64 << 20)

enum format { FORMAT_UNSPECIFIED, FORMAT_PROTOBUF, FORMAT_JSON }; /* WireFormat */

#define CATEGORY_IGNORE_UNKNOWN 3 /* TestCategory.JSON_IGNORE_UNKNOWN_PARSING_TEST */

/* Fields of ConformanceResponse. */
enum result {
    RESULT_PARSE_ERROR = 1,
    RESULT_RUNTIME_ERROR = 2,
    RESULT_PROTOBUF = 3,
    RESULT_JSON = 4,
    RESULT_SKIPPED = 5,
    RESULT_SERIALIZE_ERROR = 6,
};

struct request {
    enum format input, output;
    struct str payload;
    struct str message_type;
    uint64_t category;
};

struct conversion {
    const struct schema *schema;
    const struct schema_message *type;
    struct schema_json_options options;
    struct arena arena;
    struct schema_fault fault;
};

static int read_request(struct str bytes, struct request *ret)
{
    struct schema_reader r = schema_reader_of(bytes);
    struct schema_wire_field f;
    int got;

    *ret = (struct request){0};
    while ((got = schema_read_field(&r, &f)) > 0) {
        switch (f.number) {
        case 1:
        case 2:
            ret->input = f.number == 1 ? FORMAT_PROTOBUF : FORMAT_JSON;
            ret->payload = f.bytes;
            break;
        case 3:
            ret->output = (enum format)f.scalar;
            break;
        case 4:
            ret->message_type = f.bytes;
            break;
        case 5:
            ret->category = f.scalar;
            break;
        default:
            break;
        }
    }
    return got;
}

static void put_result(struct buf *to, enum result result, struct str value)
{
    size_t mark = schema_put_begin(to, result);

    buf_append_str(to, value);
    schema_put_end(to, mark);
}

/* What went wrong, in the answer. */
static void put_failure(struct buf *to, const struct conversion *c, enum result result, int err)
{
    char text[512];
    const struct schema_fault *f = &c->fault;

    if (err == -EBADMSG)
        snprintf(text, sizeof(text), "%.*s: %.*s", STR_FMT(f->path), STR_FMT(f->message));
    else
        snprintf(text, sizeof(text), "%s", strerror(-err));
    put_result(to, err == -EBADMSG ? result : RESULT_RUNTIME_ERROR, str_of(text));
}

static void convert(struct conversion *c, const struct request *request, struct buf *to)
{
    struct buf wire CLEANUP(buf_free) = {.max = MAX_MESSAGE};
    struct buf out CLEANUP(buf_free) = {.max = MAX_MESSAGE};
    struct str payload = request->payload.p ? request->payload : STR("");
    int err;

    if (request->input == FORMAT_PROTOBUF)
        err = schema_canonical_wire(c->type, payload, &wire, &c->arena, &c->fault);
    else
        err =
            schema_json_read(c->schema, c->type, payload, &c->options, &wire, &c->arena, &c->fault);
    if (err) {
        put_failure(to, c, RESULT_PARSE_ERROR, err);
        return;
    }
    if (request->output == FORMAT_PROTOBUF) {
        put_result(to, RESULT_PROTOBUF, buf_str(&wire));
        return;
    }
    err = schema_json_write(c->schema, c->type, buf_str(&wire), &c->options, &out, &c->arena,
                            &c->fault);
    if (err)
        put_failure(to, c, RESULT_SERIALIZE_ERROR, err);
    else
        put_result(to, RESULT_JSON, buf_str(&out));
}

static void answer(const struct schema *schema, struct str bytes, struct buf *to)
{
    struct conversion c = {.schema = schema};
    struct request request;

    if (read_request(bytes, &request)) {
        put_result(to, RESULT_RUNTIME_ERROR, STR("the request is not well-formed"));
        return;
    }
    /* The runner's first question: is there a list of failures? */
    if (str_eq(request.message_type, STR("conformance.FailureSet"))) {
        put_result(to, RESULT_PROTOBUF, STR(""));
        return;
    }
    if (!request.input || (request.output != FORMAT_PROTOBUF && request.output != FORMAT_JSON)) {
        put_result(to, RESULT_SKIPPED, STR("neither protobuf nor JSON"));
        return;
    }
    c.type = schema_message(schema, request.message_type);
    if (!c.type) {
        put_result(to, RESULT_RUNTIME_ERROR, STR("the descriptor set has no such message type"));
        return;
    }
    c.options.refuse_unknown = request.category != CATEGORY_IGNORE_UNKNOWN;
    arena_init(&c.arena, MAX_MESSAGE);
    convert(&c, &request, to);
    arena_free(&c.arena);
}

/* Returns 1, 0 at the end of input, or -1. */
static int read_frame(struct buf *to)
{
    uint32_t size;
    size_t got = fread(&size, 1, sizeof(size), stdin);
    char *room;

    to->n = 0;
    if (got == 0 && feof(stdin))
        return 0;
    size = le32toh(size);
    room = got == sizeof(size) ? buf_reserve(to, size) : NULL;
    if (!room || fread(room, 1, size, stdin) != size)
        return -1;
    to->n = size;
    return 1;
}

static bool write_frame(const struct buf *b)
{
    uint32_t size = htole32((uint32_t)b->n);

    return !b->failed && fwrite(&size, sizeof(size), 1, stdout) == 1 &&
           fwrite(b->p, 1, b->n, stdout) == b->n && fflush(stdout) == 0;
}

int main(int argc, char **argv)
{
    struct buf request, response;
    struct schema *schema;
    struct arena arena;
    struct str error;
    int got;

    if (argc < 2) {
        fprintf(stderr, "usage: testee DESCRIPTOR-SET\n");
        return 2;
    }
    arena_init(&arena, 0);
    if (schema_load_file(argv[argc - 1], &arena, &schema, &error)) {
        fprintf(stderr, "testee: %.*s\n", STR_FMT(error));
        return 1;
    }
    buf_init(&request, MAX_MESSAGE);
    buf_init(&response, 2 * MAX_MESSAGE);
    while ((got = read_frame(&request)) > 0) {
        response.n = 0;
        answer(schema, buf_str(&request), &response);
        if (!write_frame(&response))
            got = -1;
        if (got < 0)
            break;
    }
    buf_free(&request);
    buf_free(&response);
    schema_free(schema);
    arena_free(&arena);
    if (got < 0)
        fprintf(stderr, "testee: a request was cut short, or its answer could not be written\n");
    return got < 0;
}
