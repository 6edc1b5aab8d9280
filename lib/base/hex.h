/* Hexadecimal digits. Pure functions; any thread. */
#ifndef STOA_BASE_HEX_H
#define STOA_BASE_HEX_H

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

#endif
