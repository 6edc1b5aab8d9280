/* WebSocket frames (RFC 6455 section 5), on the server's side: messages and control frames out of
 * bytes as they come, and the headers of those that go.
 *
 * A reader belongs to one session and is used by one thread at a time. While nothing waits in it,
 * it owns no memory. permessage-deflate (RFC 7692) is in websocket_deflate.h; the reader inflates
 * by itself.
 */
#ifndef STOA_HTTP_WEBSOCKET_H
#define STOA_HTTP_WEBSOCKET_H

#include "base/buf.h"

/* Section 5.2. Control frames have the bit 8. */
enum websocket_opcode {
    WEBSOCKET_CONTINUATION = 0x0,
    WEBSOCKET_TEXT = 0x1,
    WEBSOCKET_BINARY = 0x2,
    WEBSOCKET_CLOSE = 0x8,
    WEBSOCKET_PING = 0x9,
    WEBSOCKET_PONG = 0xa,
};

/* Section 7.4.1, and the registry that it makes (1012 to 1014). */
enum websocket_code {
    WEBSOCKET_NORMAL = 1000,
    WEBSOCKET_GOING_AWAY = 1001,
    WEBSOCKET_PROTOCOL_ERROR = 1002,
    WEBSOCKET_UNACCEPTABLE = 1003, /* a kind of message that is not taken */
    WEBSOCKET_NO_CODE = 1005,      /* never sent: a close frame without a code */
    WEBSOCKET_LOST = 1006,         /* never sent: no close frame came */
    WEBSOCKET_BAD_DATA = 1007,     /* text that is not UTF-8, damaged compression */
    WEBSOCKET_POLICY = 1008,
    WEBSOCKET_TOO_BIG = 1009,
    WEBSOCKET_INTERNAL_ERROR = 1011,
    WEBSOCKET_RESTART = 1012,
    WEBSOCKET_TRY_LATER = 1013,
    WEBSOCKET_BAD_GATEWAY = 1014,
};

#define WEBSOCKET_CONTROL_PAYLOAD_MAX 125
#define WEBSOCKET_REASON_MAX 123
#define WEBSOCKET_MESSAGE_MAX (UINT32_C(1) << 30) /* no reader takes larger ones */

/* ---- what comes ---- */

/* All of it private to websocket_reader.c; here for its size, 64 bytes. */
struct websocket_reader {
    /* Of the message in work, when it comes in pieces, and behind them those of the control frame
     * in work. Never between messages. */
    struct buf bytes;
    union {
        struct {
            unsigned char bytes[14];
            unsigned char n;
        } header; /* as far as it has come */
        struct {
            uint32_t left, size; /* bytes still to come, and in all */
            unsigned char mask[4];
        } payload;
    } frame;
    uint32_t max;
    unsigned char first; /* byte of the frame: FIN, RSV, opcode */
    unsigned char type;  /* opcode of the message in work; 0: none is */
    unsigned char text;  /* where in a character its text is; 0 after whole ones; utf8_check() */
    bool deflate : 1;    /* was negotiated */
    bool compressed : 1; /* the message in work */
    bool in_payload : 1;
    bool done : 1; /* a close frame has come, or an error */
};

/* max: bytes of a message (inflated, if it comes compressed), at most WEBSOCKET_MESSAGE_MAX.
 * deflate: permessage-deflate was negotiated. Takes no memory. */
void websocket_reader_init(struct websocket_reader *reader, uint32_t max, bool deflate);
void websocket_reader_free(struct websocket_reader *reader);

/* Bytes that have come; what is read is taken off, and unmasked where it is. */
struct websocket_input {
    char *p;
    size_t n;
};

struct websocket_event {
    enum websocket_opcode opcode; /* TEXT, BINARY: a whole message; PING, PONG, CLOSE */
    struct str payload;           /* CLOSE: the reason */
    unsigned code;                /* CLOSE: 1000 to 4999, WEBSOCKET_NO_CODE if there was none */
};

/* Reads up to the end of the next message or control frame. Control frames come between the
 * fragments of a message, as they were sent. The payload is part of the input or of the reader, and
 * valid until either is touched. Call it until it returns other than 1: that gives memory back.
 *
 * Returns 1, an event; 0, the input is used up. On an error the event has the code and the reason
 * (a literal) to close with, as CLOSE:
 * -EPROTO: the bytes break the protocol; -EILSEQ: text or a reason is not UTF-8, found at the first
 * wrong byte (compressed: at the end); -EBADMSG: compression is damaged; -EMSGSIZE: the message is
 * larger than max; -ENOMEM.
 * After an error or a CLOSE all input is dropped, and 0 is returned. */
int websocket_read(struct websocket_reader *reader, struct websocket_input *in,
                   struct websocket_event *ret) MUST_CHECK;

/* Whether a message has begun that is not whole, or a frame: the session is not idle. */
bool websocket_reader_busy(const struct websocket_reader *reader);

/* ---- what goes ---- */

#define WEBSOCKET_HEADER_MAX 10
#define WEBSOCKET_CONTROL_FRAME_MAX (2 + WEBSOCKET_CONTROL_PAYLOAD_MAX)

#define WEBSOCKET_FIN 0x80u        /* the last frame of a message, and every control frame */
#define WEBSOCKET_COMPRESSED 0x40u /* RSV1 of RFC 7692: on the first frame of a message */

/* The header of a frame to a client (unmasked). flags: of the two above. Returns its size. */
size_t websocket_header(char to[WEBSOCKET_HEADER_MAX], enum websocket_opcode opcode, unsigned flags,
                        uint64_t length);

/* A whole ping or pong; the payload is at most WEBSOCKET_CONTROL_PAYLOAD_MAX bytes, as that of a
 * ping that came is. Returns its size. */
size_t websocket_control_frame(char to[WEBSOCKET_CONTROL_FRAME_MAX], enum websocket_opcode opcode,
                               struct str payload);

/* A whole close frame. WEBSOCKET_NO_CODE: without code and reason. Bytes of the reason that are not
 * UTF-8 become U+FFFD, and whole characters of it are left out that do not fit. Returns its size.
 */
size_t websocket_close_frame(char to[WEBSOCKET_CONTROL_FRAME_MAX], unsigned code,
                             struct str reason);

#endif
