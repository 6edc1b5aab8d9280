/* libFuzzer target for the JSON mapping. The first byte says what to do with the rest:
 *
 *   bits 0-2  the message type
 *   bit 3     the rest is JSON (else wire bytes)
 *   bit 4     print_unset
 *   bit 5     long_fractions
 *   bit 6     refuse_unknown
 *   bit 7     few items, for JSON
 *
 * What is accepted in either form must be writable as JSON, and that JSON must be read back, even
 * strictly, to something that is written the same way. The canonical form of wire bytes must be
 * canonical itself, and be read back from JSON as the bytes themselves are.
 */
#include "../unit/json_schema.h"

#include <errno.h>

#define MAX_OUTPUT (8 << 20)
#define MAX_ARENA (64 << 20)
#define FEW_ITEMS 8

int LLVMFuzzerInitialize(int *argc, char ***argv);
int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static struct schema *schema;
static const struct schema_message *types[8];

int LLVMFuzzerInitialize(int *argc UNUSED, char ***argv UNUSED)
{
    static const char *const names[ARRAY_SIZE(types)] = {
        "stoa.test.All",   "stoa.test.Scalars",
        "stoa.test.Lists", "stoa.test.Maps",
        "stoa.test.Node",  "stoa.test.WellKnown",
        "stoa.test.Old",   "stoa.posts.v1.GetArticleResponse",
    };

    schema = json_test_schema();
    for (size_t i = 0; i < ARRAY_SIZE(types); i++) {
        types[i] = schema_message(schema, str_of(names[i]));
        if (!types[i])
            abort();
    }
    return 0;
}

struct run {
    const struct schema_message *type;
    struct schema_json_options options;
    struct arena arena;
};

/* Out of room is no finding: the limits are the harness's. */
static bool done(int err, const struct schema_fault *fault)
{
    if (err == -EBADMSG && (!fault->path.p || !fault->message.p || !fault->message.n))
        abort();
    if (err && err != -EBADMSG && err != -ENOMEM && err != -EMSGSIZE)
        abort();
    return err != 0;
}

static int to_wire(struct run *run, struct str json, bool strict, struct buf *wire)
{
    struct schema_json_options options = run->options;
    struct schema_fault fault = {0};
    int err;

    options.refuse_unknown = strict;
    if (strict)
        options.max_items = 0;
    err = schema_json_read(schema, run->type, json, &options, wire, &run->arena, &fault);
    return done(err, &fault) ? err : 0;
}

static int to_json(struct run *run, struct str wire, struct buf *json)
{
    struct schema_fault fault = {0};
    int err = schema_json_write(schema, run->type, wire, &run->options, json, &run->arena, &fault);

    return done(err, &fault) ? err : 0;
}

/* accepted: the bytes came from our own reader, so that they must be writable. */
static void check_wire(struct run *run, struct str wire, bool accepted)
{
    struct buf json, wire_again, json_again;
    int err;

    buf_init(&json, MAX_OUTPUT);
    buf_init(&wire_again, MAX_OUTPUT);
    buf_init(&json_again, MAX_OUTPUT);
    err = to_json(run, wire, &json);
    if (err == -EBADMSG && accepted && !run->options.print_unset)
        abort();
    if (!err) {
        err = to_wire(run, buf_str(&json), true, &wire_again);
        if (err == -EBADMSG)
            abort();
    }
    if (!err) {
        err = to_json(run, buf_str(&wire_again), &json_again);
        if (err == -EBADMSG || (!err && !str_eq(buf_str(&json), buf_str(&json_again))))
            abort();
    }
    buf_free(&json);
    buf_free(&wire_again);
    buf_free(&json_again);
}

static int to_canonical(struct run *run, struct str wire, struct buf *to)
{
    struct schema_fault fault = {0};
    int err = schema_canonical_wire(run->type, wire, to, &run->arena, &fault);

    return done(err, &fault) ? err : 0;
}

/* By way of JSON and back: what the mapping keeps, in canonical form. */
static int kept_by_json(struct run *run, struct str wire, struct buf *to)
{
    struct buf json, read;
    int err;

    buf_init(&json, MAX_OUTPUT);
    buf_init(&read, MAX_OUTPUT);
    err = to_json(run, wire, &json);
    if (!err)
        err = to_wire(run, buf_str(&json), false, &read);
    if (!err)
        err = to_canonical(run, buf_str(&read), to);
    buf_free(&json);
    buf_free(&read);
    return err;
}

static void check_canonical(struct run *run, struct str wire)
{
    struct buf once, twice, kept, kept_once;
    int err, err_once;

    buf_init(&once, MAX_OUTPUT);
    buf_init(&twice, MAX_OUTPUT);
    buf_init(&kept, MAX_OUTPUT);
    buf_init(&kept_once, MAX_OUTPUT);
    if (to_canonical(run, wire, &once) == 0) {
        err = to_canonical(run, buf_str(&once), &twice);
        if (err == -EBADMSG || (!err && !str_eq(buf_str(&once), buf_str(&twice))))
            abort();
        err = kept_by_json(run, wire, &kept);
        err_once = kept_by_json(run, buf_str(&once), &kept_once);
        if ((err == -EBADMSG) != (err_once == -EBADMSG) && (!err || !err_once))
            abort();
        if (!err && !err_once && !str_eq(buf_str(&kept), buf_str(&kept_once)))
            abort();
    }
    buf_free(&once);
    buf_free(&twice);
    buf_free(&kept);
    buf_free(&kept_once);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct run run = {0};
    struct str rest;
    struct buf wire;

    if (size < 1)
        return 0;
    rest = (struct str){(const char *)data + 1, size - 1};
    run.type = types[data[0] & 7];
    run.options.print_unset = data[0] & 16;
    run.options.long_fractions = data[0] & 32;
    run.options.refuse_unknown = data[0] & 64;
    arena_init(&run.arena, MAX_ARENA);
    if (data[0] & 8) {
        run.options.max_items = data[0] & 128 ? FEW_ITEMS : 0;
        buf_init(&wire, MAX_OUTPUT);
        if (to_wire(&run, rest, run.options.refuse_unknown, &wire) == 0)
            check_wire(&run, buf_str(&wire), true);
        buf_free(&wire);
    } else {
        check_wire(&run, rest, false);
        check_canonical(&run, rest);
    }
    arena_free(&run.arena);
    return 0;
}
