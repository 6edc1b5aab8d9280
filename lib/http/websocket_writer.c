/* Frames to clients. See websocket.h. */
#include "base/utf8.h"
#include "http/websocket.h"

#include <assert.h>

#define REPLACEMENT STR("\xef\xbf\xbd")

size_t websocket_header(char to[WEBSOCKET_HEADER_MAX], enum websocket_opcode opcode, unsigned flags,
                        uint64_t length)
{
    size_t size = length < 126 ? 0 : length <= UINT16_MAX ? 2 : 8;

    to[0] = (char)(flags | opcode);
    to[1] = (char)(size == 0 ? length : size == 2 ? 126 : 127);
    for (size_t i = 0; i < size; i++)
        to[2 + i] = (char)(length >> 8 * (size - 1 - i));
    return 2 + size;
}

size_t websocket_control_frame(char to[WEBSOCKET_CONTROL_FRAME_MAX], enum websocket_opcode opcode,
                               struct str payload)
{
    size_t header = websocket_header(to, opcode, WEBSOCKET_FIN, payload.n);

    assert(payload.n <= WEBSOCKET_CONTROL_PAYLOAD_MAX);
    if (payload.n)
        memcpy(to + header, payload.p, payload.n);
    return header + payload.n;
}

/* As much of the reason as fits, in whole characters. */
static size_t put_reason(char to[WEBSOCKET_REASON_MAX], struct str reason)
{
    size_t used = 0;

    while (reason.n) {
        size_t n = utf8_length(reason.p, reason.n);
        struct str character = n ? (struct str){reason.p, n} : REPLACEMENT;

        if (used + character.n > WEBSOCKET_REASON_MAX)
            break;
        memcpy(to + used, character.p, character.n);
        used += character.n;
        reason = str_skip(reason, n ? n : 1);
    }
    return used;
}

size_t websocket_close_frame(char to[WEBSOCKET_CONTROL_FRAME_MAX], unsigned code, struct str reason)
{
    char payload[WEBSOCKET_CONTROL_PAYLOAD_MAX];
    size_t n = 0;

    assert(code <= UINT16_MAX);
    if (code != WEBSOCKET_NO_CODE) {
        payload[0] = (char)(code >> 8);
        payload[1] = (char)(code & 0xff);
        n = 2 + put_reason(payload + 2, reason);
    }
    return websocket_control_frame(to, WEBSOCKET_CLOSE, (struct str){payload, n});
}
