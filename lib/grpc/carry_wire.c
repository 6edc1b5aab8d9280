#include "grpc/carry_wire.h"

/* CarryRequest */
#define CALLS 1
#define CANCELLED 2
/* CarriedCall */
#define CALL_ID 1
#define CALL_METHOD 2
#define CALL_METADATA 3
#define CALL_MESSAGE 4
#define CALL_TIMEOUT 5
/* CarryResponse */
#define ANSWERS 1
#define GOING 2
/* CarriedAnswer */
#define ANSWER_ID 1
#define ANSWER_METADATA 2
#define ANSWER_MESSAGE 3
#define ANSWER_SIZE 4
#define ANSWER_END 5
#define ANSWER_TRAILERS 6
/* End */
#define END_CODE 1
#define END_MESSAGE 2
#define END_DETAILS 3
/* Metadata */
#define METADATA_NAME 1
#define METADATA_VALUE 2

static void put_metadata(struct buf *to, uint32_t number, struct str name, struct str value)
{
    size_t mark = schema_put_begin(to, number);

    schema_put_some(to, METADATA_NAME, name);
    schema_put_some(to, METADATA_VALUE, value);
    schema_put_end(to, mark);
}

bool carry_is_metadata(struct str name, struct str value)
{
    if (name.n == 0 || name.n > CARRY_NAME_MAX || value.n > CARRY_VALUE_MAX ||
        str_ends(name, STR("-bin")))
        return false;
    for (size_t i = 0; i < name.n; i++) {
        char c = name.p[i];

        if (!((c >= 'a' && c <= 'z') || (c >= '0' && c <= '9') || c == '-' || c == '_' || c == '.'))
            return false;
    }
    for (size_t i = 0; i < value.n; i++) {
        if (value.p[i] < ' ' || value.p[i] > '~')
            return false;
    }
    return true;
}

/* ---- calls ---- */

size_t carry_begin_call(struct buf *to, uint64_t id, struct str method)
{
    size_t mark = schema_put_begin(to, CALLS);

    schema_put_number(to, CALL_ID, id);
    schema_put_some(to, CALL_METHOD, method);
    return mark;
}

void carry_put_metadata(struct buf *to, struct str name, struct str value)
{
    put_metadata(to, CALL_METADATA, name, value);
}

void carry_end_call(struct buf *to, size_t mark, struct str message, uint64_t timeout_ms)
{
    schema_put_some(to, CALL_MESSAGE, message);
    schema_put_number(to, CALL_TIMEOUT, timeout_ms);
    schema_put_end(to, mark);
}

void carry_put_cancelled(struct buf *to, uint64_t id)
{
    schema_put_number(to, CANCELLED, id);
}

/* ---- ends ---- */

void carry_put_end(struct buf *to, int32_t code, struct str text, struct str details)
{
    schema_put_number(to, END_CODE, (uint64_t)code);
    schema_put_some(to, END_MESSAGE, text);
    schema_put_some(to, END_DETAILS, details);
}

int carry_read_end(struct str wire, int32_t *code, struct str *text, struct str *details)
{
    struct schema_reader r = schema_reader_of(wire);
    struct schema_wire_field f;
    int got;

    while ((got = schema_read_field(&r, &f)) == 1) {
        if (schema_field_is(&f, END_CODE, SCHEMA_WIRE_VARINT))
            *code = (int32_t)f.scalar;
        else if (schema_field_is(&f, END_MESSAGE, SCHEMA_WIRE_LENGTH))
            *text = f.bytes;
        else if (schema_field_is(&f, END_DETAILS, SCHEMA_WIRE_LENGTH))
            *details = f.bytes;
    }
    return got;
}

/* ---- answers, written ---- */

size_t carry_begin_answer(struct buf *to, uint64_t id)
{
    size_t mark = schema_put_begin(to, ANSWERS);

    schema_put_number(to, ANSWER_ID, id);
    return mark;
}

void carry_put_header(struct buf *to, struct str name, struct str value, bool trailing)
{
    put_metadata(to, trailing ? ANSWER_TRAILERS : ANSWER_METADATA, name, value);
}

void carry_end_answer(struct buf *to, size_t mark, const struct carry_answer *answer)
{
    schema_put_some(to, ANSWER_MESSAGE, answer->message);
    schema_put_number(to, ANSWER_SIZE, answer->size);
    if (answer->ended) {
        size_t end = schema_put_begin(to, ANSWER_END);

        carry_put_end(to, answer->code, answer->text, answer->details);
        schema_put_end(to, end);
    }
    schema_put_end(to, mark);
}

void carry_put_going(struct buf *to)
{
    schema_put_number(to, GOING, 1);
}

/* ---- answers, read ---- */

static int read_end(struct str wire, struct carry_answer *ret)
{
    ret->ended = true;
    return carry_read_end(wire, &ret->code, &ret->text, &ret->details);
}

static int read_answer(struct str wire, struct carry_answer *ret)
{
    struct schema_reader r = schema_reader_of(wire);
    struct schema_wire_field f;
    int got;

    *ret = (struct carry_answer){.item = wire};
    while ((got = schema_read_field(&r, &f)) == 1) {
        if (schema_field_is(&f, ANSWER_ID, SCHEMA_WIRE_VARINT))
            ret->id = f.scalar;
        else if (schema_field_is(&f, ANSWER_MESSAGE, SCHEMA_WIRE_LENGTH))
            ret->message = f.bytes;
        else if (schema_field_is(&f, ANSWER_SIZE, SCHEMA_WIRE_VARINT))
            ret->size = f.scalar;
        else if (schema_field_is(&f, ANSWER_END, SCHEMA_WIRE_LENGTH) &&
                 (got = read_end(f.bytes, ret)) < 0)
            break;
    }
    return got;
}

int carry_next(struct schema_reader *r, struct carry_answer *ret, bool *ret_going)
{
    struct schema_wire_field f;
    int got;

    while ((got = schema_read_field(r, &f)) == 1) {
        if (schema_field_is(&f, GOING, SCHEMA_WIRE_VARINT))
            *ret_going = *ret_going || f.scalar != 0;
        if (!schema_field_is(&f, ANSWERS, SCHEMA_WIRE_LENGTH))
            continue;
        got = read_answer(f.bytes, ret);
        return got < 0 ? got : 1;
    }
    return got;
}

static int read_metadata(struct str wire, struct carry_metadata *ret)
{
    struct schema_reader r = schema_reader_of(wire);
    struct schema_wire_field f;
    int got;

    while ((got = schema_read_field(&r, &f)) == 1) {
        if (schema_field_is(&f, METADATA_NAME, SCHEMA_WIRE_LENGTH))
            ret->name = f.bytes;
        else if (schema_field_is(&f, METADATA_VALUE, SCHEMA_WIRE_LENGTH))
            ret->value = f.bytes;
    }
    return got;
}

int carry_next_metadata(struct schema_reader *r, struct carry_metadata *ret)
{
    struct schema_wire_field f;
    int got;

    while ((got = schema_read_field(r, &f)) == 1) {
        if (!schema_field_is(&f, ANSWER_METADATA, SCHEMA_WIRE_LENGTH) &&
            !schema_field_is(&f, ANSWER_TRAILERS, SCHEMA_WIRE_LENGTH))
            continue;
        *ret = (struct carry_metadata){
            .name = STR(""), .value = STR(""), .trailing = f.number == ANSWER_TRAILERS};
        got = read_metadata(f.bytes, ret);
        return got < 0 ? got : 1;
    }
    return got;
}
