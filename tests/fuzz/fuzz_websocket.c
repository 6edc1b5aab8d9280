/* libFuzzer target for WebSocket: bytes as a session's frames, as headers of the handshake and as a
 * message to compress. A session hears the same however its bytes are cut, what it hears keeps the
 * rules of RFC 6455, and heard again in a frame of its own each event is the same.
 *
 * The first byte chooses the session, the second one how the rest is cut. */
#include "base/utf8.h"
#include "http/websocket.h"
#include "http/websocket_deflate.h"
#include "http/websocket_handshake.h"

#include <errno.h>
#include <stdlib.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void check(bool holds)
{
    if (!holds)
        abort();
}

struct session {
    struct websocket_reader reader;
    struct buf heard;
    uint32_t max;
    int rc;
};

static void check_error(int rc, const struct websocket_event *event)
{
    check(event->opcode == WEBSOCKET_CLOSE && utf8_valid(event->payload));
    check((rc == -EPROTO && event->code == WEBSOCKET_PROTOCOL_ERROR) ||
          (rc == -EMSGSIZE && event->code == WEBSOCKET_TOO_BIG) ||
          ((rc == -EILSEQ || rc == -EBADMSG) && event->code == WEBSOCKET_BAD_DATA));
}

static void check_event(const struct session *s, const struct websocket_event *event)
{
    struct str payload = event->payload;

    switch (event->opcode) {
    case WEBSOCKET_TEXT:
        check(payload.n <= s->max && utf8_valid(payload));
        break;
    case WEBSOCKET_BINARY:
        check(payload.n <= s->max);
        break;
    case WEBSOCKET_PING:
    case WEBSOCKET_PONG:
        check(payload.n <= WEBSOCKET_CONTROL_PAYLOAD_MAX);
        break;
    case WEBSOCKET_CLOSE:
        check(payload.n <= WEBSOCKET_REASON_MAX && utf8_valid(payload));
        check(event->code >= 1000 && event->code <= 4999);
        break;
    default:
        abort();
    }
}

/* The event in a frame from a client, whose mask leaves bytes as they are. */
static void put_frame(struct buf *to, const struct websocket_event *event)
{
    char frame[WEBSOCKET_CONTROL_FRAME_MAX], header[WEBSOCKET_HEADER_MAX];
    struct str payload = event->payload;
    size_t n;

    if (event->opcode == WEBSOCKET_CLOSE) {
        n = websocket_close_frame(frame, event->code, payload);
        payload = (struct str){frame + 2, n - 2};
    }
    n = websocket_header(header, event->opcode, WEBSOCKET_FIN, payload.n);
    header[1] = (char)(header[1] | 0x80);
    buf_append(to, header, n);
    buf_append(to, "\0\0\0\0", 4);
    buf_append_str(to, payload);
}

static void check_again(const struct websocket_event *event)
{
    struct websocket_reader reader;
    struct websocket_event again;
    struct websocket_input in;
    struct buf frame;

    buf_init(&frame, SIZE_MAX);
    put_frame(&frame, event);
    in = (struct websocket_input){frame.p, frame.n};
    websocket_reader_init(&reader, WEBSOCKET_MESSAGE_MAX, false);
    check(websocket_read(&reader, &in, &again) == 1);
    check(again.opcode == event->opcode && again.code == event->code);
    check(str_eq(again.payload, event->payload));
    check(websocket_read(&reader, &in, &again) == 0 && in.n == 0 && !reader.bytes.p);
    websocket_reader_free(&reader);
    buf_free(&frame);
}

static void hear(struct session *s, char *bytes, size_t n)
{
    struct websocket_input in = {bytes, n};
    struct websocket_event event;

    do {
        s->rc = websocket_read(&s->reader, &in, &event);
        if (s->rc == 0)
            break;
        buf_append(&s->heard, &s->rc, sizeof(s->rc));
        buf_append(&s->heard, &event.opcode, sizeof(event.opcode));
        buf_append(&s->heard, &event.code, sizeof(event.code));
        buf_append_str(&s->heard, event.payload);
        if (s->rc < 0) {
            check_error(s->rc, &event);
        } else {
            check_event(s, &event);
            check_again(&event);
        }
    } while (s->rc == 1);
    check(s->rc || in.n == 0);
    check(websocket_reader_busy(&s->reader) || !s->reader.bytes.p);
}

/* piece: 0: whole; else in pieces of growing sizes around it. */
static void hear_all(struct session *s, unsigned char first, struct str bytes, size_t piece)
{
    static const uint32_t limits[] = {10, 300, 5000, 1 << 20};
    size_t step = 0;

    s->max = limits[first >> 1 & 3];
    websocket_reader_init(&s->reader, s->max, first & 1);
    buf_init(&s->heard, SIZE_MAX);
    while (bytes.n) {
        size_t wanted = piece ? 1 + (piece + step++ * 7) % 24 : bytes.n;
        size_t n = wanted < bytes.n ? wanted : bytes.n;
        char *block = malloc(n); /* with bounds that AddressSanitizer sees */

        check(block);
        memcpy(block, bytes.p, n);
        hear(s, block, n);
        free(block);
        bytes = str_skip(bytes, n);
    }
    websocket_reader_free(&s->reader);
}

static void check_frames(unsigned char first, unsigned char piece, struct str bytes)
{
    struct session whole, pieces;

    hear_all(&whole, first, bytes, 0);
    hear_all(&pieces, first, bytes, 1 + piece);
    check(str_eq(buf_str(&whole.heard), buf_str(&pieces.heard)));
    buf_free(&whole.heard);
    buf_free(&pieces.heard);
}

static void check_deflate(struct str message)
{
    struct buf payload, back;

    buf_init(&payload, message.n + 4);
    buf_init(&back, message.n);
    if (websocket_deflate(message, &payload) == 1) {
        check(payload.n < message.n);
        check(websocket_inflate(buf_str(&payload), &back) == 0);
        check(str_eq(buf_str(&back), message));
    }
    buf_free(&payload);
    buf_free(&back);
}

static bool is_inside(struct str part, struct str whole)
{
    return !part.p || (part.p >= whole.p && part.p + part.n <= whole.p + whole.n);
}

static void check_handshake(struct str text)
{
    static const struct str known[] = {{"stoa.v1", 7}};
    struct websocket_protocols protocols = {STR_NULL, STR_NULL};
    char accept[WEBSOCKET_ACCEPT_SIZE], answer[WEBSOCKET_EXTENSIONS_SIZE];
    unsigned window = 0, again = 0;

    if (websocket_accept(text, accept) == 0)
        check(text.n == 24 && accept[WEBSOCKET_ACCEPT_SIZE - 1] == '=');
    if (websocket_protocols_read(text, known, 1, &protocols) == 0) {
        check(is_inside(protocols.chosen, text) && is_inside(protocols.bearer, text));
        check(!protocols.chosen.p || str_eq(protocols.chosen, known[0]));
    }
    if (websocket_extensions_read(text, &window) == 0 && window) {
        size_t n = websocket_extensions_print(answer, window);

        /* What is answered is an offer as well, of the same window. */
        check(window >= 8 && window <= WEBSOCKET_WINDOW_ANY && n < sizeof(answer));
        check(websocket_extensions_read((struct str){answer, n}, &again) == 0 && again == window);
    }
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct str bytes = {(const char *)data, size};

    check_handshake(bytes);
    check_deflate(bytes);
    if (size >= 2)
        check_frames(data[0], data[1], str_skip(bytes, 2));
    return 0;
}
