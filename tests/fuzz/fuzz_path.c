/* libFuzzer target for paths: "METHOD path?query body", the parts separated by NUL.
 *
 * The first byte chooses what the rest is for:
 *   't'  the text of a path template: read, or refused with a cause
 *   else a request against the routes of the tests and of the contract: what matches is made a
 *        message, which must be well formed, and each capture is a part of the path. The body is
 *        also a message of a stream, and the bytes of an answer; the query is also an event's id.
 */
#include "../unit/protoc_schema.h"
#include "schema/route.h"

#include <errno.h>
#include <stdlib.h>

int LLVMFuzzerInitialize(int *argc, char ***argv);
int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static struct schema *schema;

static void check(bool holds)
{
    if (!holds)
        abort();
}

int LLVMFuzzerInitialize(int *argc UNUSED, char ***argv UNUSED)
{
    schema = protoc_schema("protoc --include_imports -o /dev/stdout -Itests/unit/protos -Iproto "
                           "-I/usr/include routes.proto stoa/auth/v1/auth.proto "
                           "stoa/posts/v1/posts.proto stoa/chat/v1/chat.proto "
                           "stoa/chat/v1/live.proto");
    return 0;
}

static struct str next_part(struct str *rest)
{
    const char *end = rest->n ? memchr(rest->p, 0, rest->n) : NULL;
    struct str part = *rest;

    if (end)
        part.n = (size_t)(end - rest->p);
    *rest = str_skip(*rest, part.n + 1);
    return part;
}

/* JSON may carry a NUL in a string, which the services refuse. */
static void check_request(const struct schema_match *match, struct str wire, struct arena *arena)
{
    struct schema_fault fault = {STR_NULL, STR_NULL};

    if (schema_check_wire(match->method->input, wire, arena, &fault))
        check(str_eq(fault.message, STR("must not contain a NUL character")));
}

static void build(const struct schema_match *match, struct str query, struct str body,
                  struct arena *arena)
{
    const struct schema_json_options options = {.refuse_unknown = query.n % 2 != 0};
    struct schema_fault fault = {STR_NULL, STR_NULL};
    enum schema_part part;
    struct buf wire;
    int err;

    buf_init(&wire, 1 << 20);
    err = schema_request(schema, match, query, body, &options, &wire, arena, &part, &fault);
    if (err == -EBADMSG)
        check(fault.path.p && fault.message.n);
    if (!err)
        check_request(match, buf_str(&wire), arena);
    buf_free(&wire);
}

/* Behind each other, as a stream's first message has them. */
static void build_stream(const struct schema_match *match, struct str id, struct str body,
                         struct arena *arena)
{
    const struct schema_json_options options = {.refuse_unknown = id.n % 2 != 0};
    struct schema_fault fault = {STR_NULL, STR_NULL};
    struct buf wire;
    int err;

    buf_init(&wire, 1 << 20);
    err = schema_stream_request(schema, match, body, &options, &wire, arena, &fault);
    if (!err)
        err = schema_put_last_event_id(schema, match->method, id, &wire, arena, &fault);
    if (err == -EBADMSG)
        check(fault.path.p && fault.message.n);
    else if (!err)
        check_request(match, buf_str(&wire), arena);
    (void)schema_sets_apart(match->method, id);
    buf_free(&wire);
}

static bool is_inside(struct str part, struct str whole)
{
    return part.n == 0 || (part.p >= whole.p && part.p + part.n <= whole.p + whole.n);
}

/* Any bytes: the gateway does not check what services send. */
static void print(const struct schema_match *match, struct str wire, struct arena *arena)
{
    const struct schema_json_options options = {.print_unset = wire.n % 2 != 0};
    struct schema_fault fault = {STR_NULL, STR_NULL};
    struct str id, tag = schema_entity_tag(match->method, wire), type, data;
    char room[SCHEMA_EVENT_ID_ROOM];
    struct buf json;
    int err;

    buf_init(&json, 8 << 20);
    err = schema_response(schema, match, wire, &options, &json, arena, &fault);
    if (err == -EBADMSG)
        check(fault.path.p && fault.message.n);
    else if (!err)
        check(schema_json_valid(buf_str(&json), 1000));
    buf_free(&json);
    id = schema_event_id(match->method, wire, room);
    check(is_inside(tag, wire));
    check(is_inside(id, wire) || is_inside(id, (struct str){room, sizeof(room)}));
    if (schema_read_http_body(wire, &type, &data) == 0)
        check(is_inside(type, wire) && is_inside(data, wire));
}

static void route(struct str input)
{
    struct str method = next_part(&input), path = next_part(&input), query = next_part(&input);
    struct schema_match match;
    struct arena arena;
    int err = schema_route(schema, method, path, &match);

    check(err == 0 || err == -ENOENT || err == -EPERM);
    if (err == -EPERM) {
        arena_init(&arena, 1 << 20);
        check(schema_allow(schema, &match, &arena).n > 0);
        arena_free(&arena);
    }
    if (err)
        return;
    for (unsigned i = 0; i < match.n_captures; i++) {
        const struct schema_capture *c = &match.captures[i];

        check(c->raw.p >= path.p && c->raw.p + c->raw.n <= path.p + path.n);
    }
    arena_init(&arena, 16 << 20);
    build(&match, query, input, &arena);
    build_stream(&match, query, input, &arena);
    print(&match, input, &arena);
    arena_free(&arena);
}

static void parse(struct str text)
{
    struct route_template template;
    const char *cause = NULL;
    struct arena arena;

    arena_init(&arena, 1 << 20);
    if (route_parse(text, &arena, &template, &cause) == -EINVAL)
        check(cause && *cause);
    arena_free(&arena);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    if (size && data[0] == 't')
        parse((struct str){(const char *)data + 1, size - 1});
    else
        route((struct str){(const char *)data, size});
    return 0;
}
