/* Hexadecimal digits. Pure functions; any thread. */
#ifndef STOA_BASE_HEX_H
#define STOA_BASE_HEX_H

#include "base/base.h"

/* The value of a digit in either case, or -1. */
static inline int hex_value(char c)
{
    if (c >= '0' && c <= '9')
        return c - '0';
    if (c >= 'a' && c <= 'f')
        return c - 'a' + 10;
    return c >= 'A' && c <= 'F' ? c - 'A' + 10 : -1;
}

/* The digit of the low four bits, in lower case and in upper case. */
static inline char hex_digit(unsigned value)
{
    return "0123456789abcdef"[value & 15];
}

static inline char hex_digit_upper(unsigned value)
{
    return "0123456789ABCDEF"[value & 15];
}

/* Two digits, in lower case, for each byte. Returns the end of what it wrote. */
static inline char *hex_encode(char *to, const uint8_t *bytes, size_t n)
{
    for (size_t i = 0; i < n; i++) {
        *to++ = hex_digit(bytes[i] >> 4);
        *to++ = hex_digit(bytes[i]);
    }
    return to;
}

#define HEX_UINT64_MAX 16

/* A number without leading zeros, in lower case. Returns the end of what it wrote. */
static inline char *hex_from_uint64(char *to, uint64_t value)
{
    for (int bits = (63 - __builtin_clzll(value | 1)) & ~3; bits >= 0; bits -= 4)
        *to++ = hex_digit((unsigned)(value >> bits));
    return to;
}

/* A number of up to 16 digits, in lower case. False: there is something else. */
static inline bool hex_to_uint64(struct str digits, uint64_t *ret)
{
    *ret = 0;
    for (size_t i = 0; i < digits.n; i++) {
        int value = hex_value(digits.p[i]);

        if (value < 0 || hex_digit((unsigned)value) != digits.p[i])
            return false;
        *ret = *ret << 4 | (uint64_t)value;
    }
    return true;
}

#endif
