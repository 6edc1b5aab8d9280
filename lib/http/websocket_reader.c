/* Messages and control frames out of bytes. See websocket.h; sections are RFC 6455's. */
#include "base/utf8.h"
#include "http/websocket.h"
#include "http/websocket_deflate.h"

#include <errno.h>

#define OPCODE_BITS 0x0fu
#define RESERVED_BITS 0x30u /* RSV2 and RSV3, of no extension that we know */
#define CONTROL_BIT 0x08u
#define MASK_BIT 0x80u
#define LENGTH_BITS 0x7fu

/* What compression may add to a message: no compressor of zlib's kind adds more. */
#define COMPRESSED_MAX(size) ((size_t)(size) + (size) / 8 + 64)

_Static_assert(sizeof(struct websocket_reader) == 64, "an idle session pays for each byte");

void websocket_reader_init(struct websocket_reader *r, uint32_t max, bool deflate)
{
    *r = (struct websocket_reader){.max = max, .deflate = deflate};
    if (r->max > WEBSOCKET_MESSAGE_MAX)
        r->max = WEBSOCKET_MESSAGE_MAX;
    buf_init(&r->bytes, COMPRESSED_MAX(r->max) + WEBSOCKET_CONTROL_PAYLOAD_MAX);
}

void websocket_reader_free(struct websocket_reader *r)
{
    buf_free(&r->bytes);
    r->done = true;
}

bool websocket_reader_busy(const struct websocket_reader *r)
{
    return !r->done && (r->type || r->in_payload || r->frame.header.n);
}

static int fail(struct websocket_reader *r, struct websocket_event *ret, int err, unsigned code,
                const char *reason)
{
    r->done = true;
    buf_free(&r->bytes);
    *ret = (struct websocket_event){WEBSOCKET_CLOSE, str_of(reason), code};
    return err;
}

static int broken(struct websocket_reader *r, struct websocket_event *ret, const char *reason)
{
    return fail(r, ret, -EPROTO, WEBSOCKET_PROTOCOL_ERROR, reason);
}

static int not_text(struct websocket_reader *r, struct websocket_event *ret, const char *reason)
{
    return fail(r, ret, -EILSEQ, WEBSOCKET_BAD_DATA, reason);
}

static int too_big(struct websocket_reader *r, struct websocket_event *ret)
{
    return fail(r, ret, -EMSGSIZE, WEBSOCKET_TOO_BIG, "the message is too large");
}

static int no_memory(struct websocket_reader *r, struct websocket_event *ret)
{
    return fail(r, ret, -ENOMEM, WEBSOCKET_INTERNAL_ERROR, "out of memory");
}

static enum websocket_opcode opcode_of(unsigned char first)
{
    return first & OPCODE_BITS;
}

static bool is_control(unsigned char first)
{
    return first & CONTROL_BIT;
}

/* ---- headers (5.2) ---- */

static int check_first(struct websocket_reader *r, unsigned char first, struct websocket_event *ret)
{
    enum websocket_opcode opcode = opcode_of(first);

    if (opcode > WEBSOCKET_PONG || (opcode > WEBSOCKET_BINARY && opcode < WEBSOCKET_CLOSE))
        return broken(r, ret, "an unknown opcode");
    if (first & RESERVED_BITS)
        return broken(r, ret, "a reserved bit is set");
    if (is_control(first) && !(first & WEBSOCKET_FIN))
        return broken(r, ret, "a control frame in fragments");
    if (opcode == WEBSOCKET_CONTINUATION && !r->type)
        return broken(r, ret, "a continuation of no message");
    if (!is_control(first) && opcode != WEBSOCKET_CONTINUATION && r->type)
        return broken(r, ret, "a message inside another one");
    /* RFC 7692 section 6: on the first frame of a message alone. */
    if ((first & WEBSOCKET_COMPRESSED) &&
        (!r->deflate || is_control(first) || opcode == WEBSOCKET_CONTINUATION))
        return broken(r, ret, "compression where there is none");
    return 0;
}

static int check_second(struct websocket_reader *r, unsigned char first, unsigned char second,
                        struct websocket_event *ret)
{
    if (!(second & MASK_BIT))
        return broken(r, ret, "a frame is not masked");
    if (is_control(first) && (second & LENGTH_BITS) > WEBSOCKET_CONTROL_PAYLOAD_MAX)
        return broken(r, ret, "a control frame is too long");
    return 0;
}

/* Bytes of the length that follow the second byte. */
static size_t length_size(unsigned char second)
{
    unsigned length = second & LENGTH_BITS;

    return length == 126 ? 2 : length == 127 ? 8 : 0;
}

static size_t header_size(const unsigned char *bytes, size_t n)
{
    return n < 2 ? 2 : 2 + length_size(bytes[1]) + sizeof(uint32_t);
}

static int read_length(struct websocket_reader *r, const unsigned char *header,
                       uint64_t *ret_length, struct websocket_event *ret)
{
    size_t size = length_size(header[1]);
    uint64_t length = size ? 0 : header[1] & LENGTH_BITS;

    for (size_t i = 0; i < size; i++)
        length = length << 8 | header[2 + i];
    if (length >> 63)
        return broken(r, ret, "a length of more than 63 bits");
    if ((size == 2 && length < 126) || (size == 8 && length <= UINT16_MAX))
        return broken(r, ret, "a length in more bytes than it needs");
    *ret_length = length;
    return 0;
}

static int begin_payload(struct websocket_reader *r, struct websocket_event *ret)
{
    unsigned char header[sizeof(r->frame.header.bytes)];
    unsigned char *mask = header + 2;
    uint64_t length = 0;
    int err;

    memcpy(header, r->frame.header.bytes, sizeof(header));
    err = read_length(r, header, &length, ret);
    if (err)
        return err;
    mask += length_size(header[1]);
    r->first = header[0];
    if (opcode_of(r->first) == WEBSOCKET_TEXT || opcode_of(r->first) == WEBSOCKET_BINARY) {
        r->type = opcode_of(r->first);
        r->compressed = r->first & WEBSOCKET_COMPRESSED;
    }
    if (!is_control(r->first) &&
        length > (r->compressed ? COMPRESSED_MAX(r->max) : r->max) - r->bytes.n)
        return too_big(r, ret);
    r->in_payload = true;
    r->frame.payload.left = r->frame.payload.size = (uint32_t)length;
    memcpy(r->frame.payload.mask, mask, sizeof(r->frame.payload.mask));
    return 0;
}

static int read_header(struct websocket_reader *r, struct websocket_input *in,
                       struct websocket_event *ret)
{
    unsigned char *bytes = r->frame.header.bytes;
    size_t n = r->frame.header.n;
    int err = 0;

    /* Each byte is judged as it comes, so that what a peer hears does not depend on packets. */
    while (in->n && !err && n < header_size(bytes, n)) {
        bytes[n++] = (unsigned char)*in->p++;
        in->n--;
        if (n == 1)
            err = check_first(r, bytes[0], ret);
        else if (n == 2)
            err = check_second(r, bytes[0], bytes[1], ret);
    }
    r->frame.header.n = (unsigned char)n;
    if (err || n < header_size(bytes, n))
        return err;
    return begin_payload(r, ret);
}

/* ---- payloads ---- */

/* Leaves the mask as the bytes that follow need it (5.3). */
static void unmask(char *p, size_t n, unsigned char mask[4])
{
    unsigned char turned[4];
    uint32_t half;
    uint64_t key, word;
    size_t at = 0;

    memcpy(&half, mask, sizeof(half));
    key = (uint64_t)half << 32 | half;
    for (; n - at >= sizeof(word); at += sizeof(word)) {
        memcpy(&word, p + at, sizeof(word));
        word ^= key;
        memcpy(p + at, &word, sizeof(word));
    }
    for (; at < n; at++)
        p[at] = (char)(p[at] ^ mask[at % 4]);
    for (size_t i = 0; i < 4; i++)
        turned[i] = mask[(n + i) % 4];
    memcpy(mask, turned, sizeof(turned));
}

/* 7.4: codes that an endpoint may send. */
static bool is_valid_code(unsigned code)
{
    return (code >= 1000 && code <= 1003) || (code >= 1007 && code <= 1014) ||
           (code >= 3000 && code <= 4999);
}

/* 5.5.1. */
static int end_close(struct websocket_reader *r, struct str payload, struct websocket_event *ret)
{
    unsigned code = WEBSOCKET_NO_CODE;

    if (payload.n == 1)
        return broken(r, ret, "a close code of one byte");
    if (payload.n) {
        code = (unsigned)(unsigned char)payload.p[0] << 8 | (unsigned char)payload.p[1];
        if (!is_valid_code(code))
            return broken(r, ret, "a close code that has no meaning");
        payload = str_skip(payload, 2);
        if (!utf8_valid(payload))
            return not_text(r, ret, "a close reason is not UTF-8");
    }
    r->done = true;
    r->bytes.n = 0; /* the message in work will never be whole */
    *ret = (struct websocket_event){WEBSOCKET_CLOSE, payload, code};
    return 1;
}

static int end_control(struct websocket_reader *r, struct str payload, struct websocket_event *ret)
{
    if (opcode_of(r->first) == WEBSOCKET_CLOSE)
        return end_close(r, payload, ret);
    *ret = (struct websocket_event){opcode_of(r->first), payload, 0};
    return 1;
}

/* The inflated message takes the place of its pieces. */
static int inflate_message(struct websocket_reader *r, struct str *io, struct websocket_event *ret)
{
    struct buf message;
    int err;

    buf_init(&message, r->max);
    err = websocket_inflate(*io, &message);
    if (err)
        buf_free(&message);
    if (err == -EMSGSIZE)
        return too_big(r, ret);
    if (err == -EBADMSG)
        return fail(r, ret, err, WEBSOCKET_BAD_DATA, "compression is damaged");
    if (err)
        return no_memory(r, ret);
    *io = buf_str(&message);
    message.max = r->bytes.max;
    buf_free(&r->bytes);
    r->bytes = message;
    return 0;
}

static int end_message(struct websocket_reader *r, struct str payload, struct websocket_event *ret)
{
    int err;

    if (r->compressed) {
        err = inflate_message(r, &payload, ret);
        if (err)
            return err;
        if (r->type == WEBSOCKET_TEXT && !utf8_valid(payload))
            return not_text(r, ret, "text is not UTF-8");
    } else if (r->text) {
        return not_text(r, ret, "text ends inside a character");
    }
    *ret = (struct websocket_event){(enum websocket_opcode)r->type, payload, 0};
    r->type = 0;
    r->bytes.n = 0; /* what is there is given back by the next call */
    return 1;
}

/* The frame's payload has come as a whole. In one piece it is where it was read; `kept` pieces are
 * at the end of r->bytes. */
static int end_payload(struct websocket_reader *r, struct str piece, bool kept,
                       struct websocket_event *ret)
{
    size_t size = r->frame.payload.size;

    r->in_payload = false;
    r->frame.header.n = 0;
    if (!is_control(r->first))
        return r->first & WEBSOCKET_FIN ? end_message(r, kept ? buf_str(&r->bytes) : piece, ret)
                                        : 0;
    if (kept) {
        r->bytes.n -= size;
        piece = (struct str){r->bytes.p + r->bytes.n, size};
    }
    return end_control(r, piece, ret);
}

static int read_payload(struct websocket_reader *r, struct websocket_input *in,
                        struct websocket_event *ret)
{
    size_t n = in->n < r->frame.payload.left ? in->n : r->frame.payload.left;
    bool is_whole = n == r->frame.payload.size;
    bool is_plain_text = !is_control(r->first) && r->type == WEBSOCKET_TEXT && !r->compressed;
    struct str piece = {in->p, n};
    bool keep;

    unmask(in->p, n, r->frame.payload.mask);
    *in = (struct websocket_input){in->p + n, in->n - n};
    r->frame.payload.left -= (uint32_t)n;
    if (is_plain_text && !utf8_check(&r->text, piece))
        return not_text(r, ret, "text is not UTF-8");
    if (is_control(r->first))
        keep = !is_whole;
    else
        keep = !is_whole || r->bytes.n || !(r->first & WEBSOCKET_FIN);
    if (keep) {
        buf_append(&r->bytes, piece.p, piece.n);
        if (r->bytes.failed)
            return no_memory(r, ret);
    }
    return r->frame.payload.left ? 0 : end_payload(r, piece, keep, ret);
}

int websocket_read(struct websocket_reader *r, struct websocket_input *in,
                   struct websocket_event *ret)
{
    int rc = 0;

    if (r->bytes.n == 0)
        buf_free(&r->bytes);
    while (rc == 0 && !r->done && (in->n || (r->in_payload && r->frame.payload.left == 0)))
        rc = r->in_payload ? read_payload(r, in, ret) : read_header(r, in, ret);
    if (rc == 0 && r->done)
        *in = (struct websocket_input){in->p + in->n, 0};
    return rc;
}
