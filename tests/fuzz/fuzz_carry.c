/* libFuzzer target for the gateway's reader of CarryResponse: of what protobuf-c can read it sees
 * the same answers; what is read is written, and read again to the same. */
#include "contract.h"
#include "grpc/carry_wire.h"

#include "stoa/edge/v1/call.pb-c.h"

int LLVMFuzzerInitialize(int *argc, char ***argv);
int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

typedef Stoa__Edge__V1__CarriedAnswer answer_type;

static void check(bool holds)
{
    if (!holds)
        abort();
}

static bool same(struct str got, const ProtobufCBinaryData *wanted)
{
    return str_eq(got, (struct str){(const char *)wanted->data, wanted->len});
}

static void compare_metadata(const struct carry_answer *got, const answer_type *wanted)
{
    struct schema_reader r = schema_reader_of(got->item);
    size_t n[2] = {0, 0};
    struct carry_metadata m;

    while (carry_next_metadata(&r, &m) == 1) {
        size_t at = n[m.trailing]++;
        const Stoa__Edge__V1__Metadata *item =
            m.trailing ? wanted->trailers[at] : wanted->metadata[at];

        check(str_eq(m.name, str_of(item->name)) && str_eq(m.value, str_of(item->value)));
    }
    check(n[0] == wanted->n_metadata && n[1] == wanted->n_trailers);
}

static void compare(const struct carry_answer *got, const answer_type *wanted)
{
    check(got->id == wanted->id && (uint32_t)got->size == wanted->size);
    check(same(got->message, &wanted->message));
    check(got->ended == (wanted->end != NULL));
    if (got->ended) {
        check(got->code == wanted->end->code && same(got->details, &wanted->end->details));
        check(str_eq(got->text, str_of(wanted->end->message)));
    }
    compare_metadata(got, wanted);
}

static void write_again(const struct carry_answer *answer)
{
    struct buf wire = {.max = SIZE_MAX};
    struct carry_answer again;
    struct schema_reader r;
    bool going = false;
    size_t mark = carry_begin_answer(&wire, answer->id);

    carry_end_answer(&wire, mark, answer);
    check(!wire.failed);
    r = schema_reader_of(buf_str(&wire));
    check(carry_next(&r, &again, &going) == 1 && r.at == r.end && !going);
    check(again.id == answer->id && again.size == answer->size && again.ended == answer->ended);
    check(again.code == answer->code && str_eq(again.message, answer->message));
    check(str_eq(again.text, answer->text) && str_eq(again.details, answer->details));
    buf_free(&wire);
}

static const struct schema *schema;
static const struct schema_message *type;

int LLVMFuzzerInitialize(int *argc UNUSED, char ***argv UNUSED)
{
    schema = load_contract("stoa/edge/v1/call.proto");
    type = schema_message(schema, STR("stoa.edge.v1.CarryResponse"));
    check(type);
    return 0;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct str wire = {(const char *)data, size}, clean;
    struct schema_reader r = schema_reader_of(wire);
    Stoa__Edge__V1__CarryResponse *response = NULL;
    struct carry_answer answer;
    struct schema_fault fault;
    struct arena arena;
    bool going = false;
    size_t n = 0;

    arena_init(&arena, 0);
    /* protobuf-c looks at types less closely. */
    if (schema_clean_wire(type, wire, &arena, &clean, &fault) == 0) {
        response = stoa__edge__v1__carry_response__unpack(NULL, clean.n, (const uint8_t *)clean.p);
        check(response);
        r = schema_reader_of(clean);
    }
    while (carry_next(&r, &answer, &going) == 1) {
        write_again(&answer);
        if (response)
            compare(&answer, response->answers[n]);
        n++;
    }
    if (response) {
        check(n == response->n_answers && (going || !response->going));
        stoa__edge__v1__carry_response__free_unpacked(response, NULL);
    }
    arena_free(&arena);
    return 0;
}
