/* libFuzzer target for the gateway's reader of AttachResponse: of what protobuf-c can read it sees
 * the same items; what cannot be read it refuses, and never looks beyond the bytes. */
#include "contract.h"
#include "edge/attach_wire.h"

#include "stoa/edge/v1/edge.pb-c.h"

int LLVMFuzzerInitialize(int *argc, char ***argv);
int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

typedef Stoa__Edge__V1__Down down_type;

static void check(bool holds)
{
    if (!holds)
        abort();
}

static bool same(struct str got, const ProtobufCBinaryData *wanted)
{
    return str_eq(got, (struct str){(const char *)wanted->data, wanted->len});
}

static bool same_text(struct str got, const char *wanted)
{
    return str_eq(got, str_of(wanted));
}

static void compare(const struct attach_down *got, const down_type *wanted)
{
    check(got->session == wanted->session && got->tell_drained == wanted->tell_drained);
    check((int)got->what == (int)wanted->what_case);
    switch (got->what) {
    case ATTACH_DOWN_MESSAGE:
        check(same(got->bytes, &wanted->message));
        break;
    case ATTACH_RESUME_STATE:
        check(same(got->bytes, &wanted->resume_state));
        break;
    case ATTACH_END:
        check(got->code == wanted->end->code && same_text(got->bytes, wanted->end->message));
        check(same(got->details, &wanted->end->details));
        break;
    case ATTACH_CHANNEL:
        check(got->channel == wanted->channel->channel && got->seq == wanted->channel->seq);
        check(got->live == wanted->channel->live);
        break;
    case ATTACH_LEFT_CHANNEL:
        check(got->channel == wanted->left_channel);
        break;
    case ATTACH_BROADCAST:
        check(got->channel == wanted->broadcast->channel && got->seq == wanted->broadcast->seq);
        check(same(got->bytes, &wanted->broadcast->message));
        break;
    default:
        break;
    }
}

static void write_again(const struct attach_down *down)
{
    struct buf wire = {.max = SIZE_MAX};
    struct schema_reader r;
    struct attach_down again;

    if (down->what == ATTACH_NOTHING)
        return;
    attach_put_down(&wire, down);
    check(!wire.failed);
    r = schema_reader_of(buf_str(&wire));
    check(attach_next(&r, &again) == 1 && r.at == r.end);
    check(again.session == down->session && again.what == down->what);
    check(str_eq(again.bytes, down->bytes) && str_eq(again.details, down->details));
    check(again.channel == down->channel && again.seq == down->seq && again.code == down->code);
    check(again.live == down->live && again.tell_drained == down->tell_drained);
    buf_free(&wire);
}

static const struct schema *schema;
static const struct schema_message *type;

int LLVMFuzzerInitialize(int *argc UNUSED, char ***argv UNUSED)
{
    schema = load_contract("stoa/edge/v1/edge.proto");
    type = schema_message(schema, STR("stoa.edge.v1.AttachResponse"));
    check(type);
    return 0;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct str wire = {(const char *)data, size}, clean;
    struct schema_reader r = schema_reader_of(wire);
    Stoa__Edge__V1__AttachResponse *response = NULL;
    struct attach_down down;
    struct schema_fault fault;
    struct arena arena;
    size_t n = 0;

    arena_init(&arena, 0);
    /* protobuf-c looks at types less closely. */
    if (schema_clean_wire(type, wire, &arena, &clean, &fault) == 0) {
        check(attach_is_whole(wire));
        response = stoa__edge__v1__attach_response__unpack(NULL, clean.n, (const uint8_t *)clean.p);
        check(response);
    }
    while (attach_next(&r, &down) == 1) {
        write_again(&down);
        if (response)
            compare(&down, response->items[n]);
        n++;
    }
    if (response) {
        check(n == response->n_items);
        stoa__edge__v1__attach_response__free_unpacked(response, NULL);
    }
    arena_free(&arena);
    return 0;
}
