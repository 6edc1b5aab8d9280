#include "base/base64.h"

#include <errno.h>

static const char digits[] = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";

char *base64_encode(char *to, struct str bytes)
{
    const uint8_t *p = (const uint8_t *)bytes.p;
    size_t left = bytes.n;

    for (; left >= 3; p += 3, left -= 3, to += 4) {
        uint32_t v = (uint32_t)p[0] << 16 | (uint32_t)p[1] << 8 | p[2];

        to[0] = digits[v >> 18];
        to[1] = digits[v >> 12 & 0x3f];
        to[2] = digits[v >> 6 & 0x3f];
        to[3] = digits[v & 0x3f];
    }
    if (left) {
        uint32_t v = (uint32_t)p[0] << 16 | (left == 2 ? (uint32_t)p[1] << 8 : 0);

        to[0] = digits[v >> 18];
        to[1] = digits[v >> 12 & 0x3f];
        to[2] = left == 2 ? digits[v >> 6 & 0x3f] : '=';
        to[3] = '=';
        to += 4;
    }
    return to;
}

int base64_value(char c)
{
    if (c >= 'A' && c <= 'Z')
        return c - 'A';
    if (c >= 'a' && c <= 'z')
        return c - 'a' + 26;
    if (c >= '0' && c <= '9')
        return c - '0' + 52;
    if (c == '+' || c == '-')
        return 62;
    return c == '/' || c == '_' ? 63 : -1;
}

ssize_t base64_decode(char *to, struct str text)
{
    char *begin = to;
    uint32_t v = 0;
    unsigned held = 0;

    if (text.n % 4 == 0 && text.n && text.p[text.n - 1] == '=')
        text.n -= text.p[text.n - 2] == '=' ? 2 : 1;
    if (text.n % 4 == 1)
        return -EINVAL;
    for (size_t i = 0; i < text.n; i++) {
        int digit = base64_value(text.p[i]);

        if (digit < 0)
            return -EINVAL;
        v = v << 6 | (uint32_t)digit;
        if (++held == 4) {
            *to++ = (char)(v >> 16);
            *to++ = (char)(v >> 8);
            *to++ = (char)v;
            v = 0;
            held = 0;
        }
    }
    if (held == 2) {
        *to++ = (char)(v >> 4);
    } else if (held == 3) {
        *to++ = (char)(v >> 10);
        *to++ = (char)(v >> 2);
    }
    return to - begin;
}
