#include "edge/attach_wire.h"

#include "grpc/carry_wire.h"

#include <errno.h>

#define ITEMS 1   /* AttachRequest.items, AttachResponse.items */
#define BEAT 2    /* AttachRequest.beat, AttachResponse.beat */
#define SESSION 1 /* Up.session, Down.session */
#define TELL_DRAINED 9
#define TAG_SIZE 1 /* of all fields here */

/* ---- up ---- */

static size_t varint_size(uint64_t v)
{
    size_t n = 1;

    for (; v >= 0x80; v >>= 7)
        n++;
    return n;
}

void attach_put_beat(struct buf *to)
{
    schema_put_number(to, BEAT, 1);
}

void attach_put_item(struct buf *to, uint64_t session, enum attach_up what, struct str value)
{
    size_t n = TAG_SIZE + varint_size(session) + TAG_SIZE + varint_size(value.n) + value.n;

    schema_put_tag(to, ITEMS, SCHEMA_WIRE_LENGTH);
    schema_put_varint(to, n);
    schema_put_number(to, SESSION, session);
    schema_put_bytes(to, what, value);
}

void attach_put_method(struct buf *to, struct str method)
{
    schema_put_bytes(to, 1, method);
}

void attach_put_metadata(struct buf *to, struct str name, struct str value)
{
    schema_put_tag(to, 2, SCHEMA_WIRE_LENGTH);
    schema_put_varint(to, TAG_SIZE + varint_size(name.n) + name.n + TAG_SIZE +
                              varint_size(value.n) + value.n);
    schema_put_bytes(to, 1, name);
    schema_put_bytes(to, 2, value);
}

void attach_put_resumed(struct buf *to, struct str state)
{
    schema_put_number(to, 3, 1);
    schema_put_bytes(to, 4, state);
}

void attach_put_position(struct buf *to, uint64_t channel, int64_t seq)
{
    size_t n = (channel ? TAG_SIZE + varint_size(channel) : 0) +
               (seq ? TAG_SIZE + varint_size((uint64_t)seq) : 0);

    schema_put_tag(to, 5, SCHEMA_WIRE_LENGTH);
    schema_put_varint(to, n);
    schema_put_number(to, 1, channel);
    schema_put_number(to, 2, (uint64_t)seq);
}

/* ---- down ---- */

static size_t number_size(uint64_t value)
{
    return value ? TAG_SIZE + varint_size(value) : 0;
}

static size_t bytes_size(struct str value)
{
    return value.n ? TAG_SIZE + varint_size(value.n) + value.n : 0;
}

/* Of the message behind the field `what`. */
static size_t inner_size(const struct attach_down *down)
{
    size_t place = number_size(down->channel) + number_size((uint64_t)down->seq);

    switch (down->what) {
    case ATTACH_DOWN_MESSAGE:
    case ATTACH_RESUME_STATE:
        return down->bytes.n;
    case ATTACH_END:
        return number_size((uint64_t)down->code) + bytes_size(down->bytes) +
               bytes_size(down->details);
    case ATTACH_CHANNEL:
        return place + number_size(down->live);
    case ATTACH_BROADCAST:
        return place + bytes_size(down->bytes);
    default:
        return 0;
    }
}

static void put_inner(struct buf *to, const struct attach_down *down)
{
    switch (down->what) {
    case ATTACH_DOWN_MESSAGE:
    case ATTACH_RESUME_STATE:
        buf_append_str(to, down->bytes);
        break;
    case ATTACH_END:
        carry_put_end(to, down->code, down->bytes, down->details);
        break;
    case ATTACH_CHANNEL:
    case ATTACH_BROADCAST:
        schema_put_number(to, 1, down->channel);
        schema_put_number(to, 2, (uint64_t)down->seq);
        if (down->what == ATTACH_CHANNEL)
            schema_put_number(to, 3, down->live);
        else
            schema_put_some(to, 3, down->bytes);
        break;
    default:
        break;
    }
}

void attach_put_down(struct buf *to, const struct attach_down *down)
{
    size_t inner = inner_size(down);
    size_t what =
        down->what == ATTACH_LEFT_CHANNEL ? varint_size(down->channel) : varint_size(inner) + inner;

    schema_put_tag(to, ITEMS, SCHEMA_WIRE_LENGTH);
    schema_put_varint(to, number_size(down->session) + TAG_SIZE + what +
                              number_size(down->tell_drained));
    schema_put_number(to, SESSION, down->session);
    if (down->what == ATTACH_LEFT_CHANNEL) {
        schema_put_tag(to, ATTACH_LEFT_CHANNEL, SCHEMA_WIRE_VARINT);
        schema_put_varint(to, down->channel);
    } else {
        schema_put_tag(to, down->what, SCHEMA_WIRE_LENGTH);
        schema_put_varint(to, inner);
        put_inner(to, down);
    }
    schema_put_number(to, TELL_DRAINED, down->tell_drained);
}

/* ChannelState and Broadcast: the third field tells them apart. */
static int read_place(struct str wire, struct attach_down *ret)
{
    struct schema_reader r = schema_reader_of(wire);
    struct schema_wire_field f;
    int got;

    while ((got = schema_read_field(&r, &f)) == 1) {
        if (schema_field_is(&f, 1, SCHEMA_WIRE_VARINT))
            ret->channel = f.scalar;
        else if (schema_field_is(&f, 2, SCHEMA_WIRE_VARINT))
            ret->seq = (int64_t)f.scalar;
        else if (ret->what == ATTACH_CHANNEL && schema_field_is(&f, 3, SCHEMA_WIRE_VARINT))
            ret->live = f.scalar != 0;
        else if (ret->what == ATTACH_BROADCAST && schema_field_is(&f, 3, SCHEMA_WIRE_LENGTH))
            ret->bytes = f.bytes;
    }
    return got;
}

/* One of a oneof: what came before it counts no more. */
static int read_what(const struct schema_wire_field *f, struct attach_down *ret)
{
    if (ret->what != (enum attach_what)f->number)
        *ret = (struct attach_down){
            .session = ret->session,
            .what = (enum attach_what)f->number,
            .bytes = STR(""),
            .details = STR_NULL,
            .tell_drained = ret->tell_drained,
        };
    switch (ret->what) {
    case ATTACH_LEFT_CHANNEL:
        ret->channel = f->scalar;
        return 0;
    case ATTACH_DOWN_MESSAGE:
    case ATTACH_RESUME_STATE:
        ret->bytes = f->bytes;
        return 0;
    case ATTACH_END:
        return carry_read_end(f->bytes, &ret->code, &ret->bytes, &ret->details);
    case ATTACH_CHANNEL:
    case ATTACH_BROADCAST:
        return read_place(f->bytes, ret);
    default:
        return 0;
    }
}

static int read_item(struct str wire, struct attach_down *ret)
{
    struct schema_reader r = schema_reader_of(wire);
    struct schema_wire_field f;
    int got, err = 0;

    *ret = (struct attach_down){.bytes = STR(""), .details = STR_NULL};
    while (!err && (got = schema_read_field(&r, &f)) != 0) {
        if (got < 0)
            err = got;
        else if (schema_field_is(&f, SESSION, SCHEMA_WIRE_VARINT))
            ret->session = f.scalar;
        else if (schema_field_is(&f, TELL_DRAINED, SCHEMA_WIRE_VARINT))
            ret->tell_drained = f.scalar != 0;
        else if (f.number >= ATTACH_OPENED && f.number <= ATTACH_BROADCAST &&
                 f.wire_type ==
                     (f.number == ATTACH_LEFT_CHANNEL ? SCHEMA_WIRE_VARINT : SCHEMA_WIRE_LENGTH))
            err = read_what(&f, ret);
    }
    return err;
}

bool attach_has_beat(struct str wire)
{
    struct schema_reader r = schema_reader_of(wire);
    struct schema_wire_field f;

    while (schema_read_field(&r, &f) == 1) {
        if (schema_field_is(&f, BEAT, SCHEMA_WIRE_VARINT))
            return f.scalar != 0;
    }
    return false;
}

int attach_next(struct schema_reader *r, struct attach_down *ret)
{
    struct schema_wire_field f;
    int got;

    while ((got = schema_read_field(r, &f)) == 1) {
        if (!schema_field_is(&f, ITEMS, SCHEMA_WIRE_LENGTH))
            continue;
        got = read_item(f.bytes, ret);
        return got < 0 ? got : 1;
    }
    return got;
}

bool attach_is_whole(struct str wire)
{
    struct schema_reader r = schema_reader_of(wire);
    struct attach_down down;
    int got;

    while ((got = attach_next(&r, &down)) == 1)
        ;
    return got == 0;
}
