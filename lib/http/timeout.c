#include "http/timeout.h"

#include <errno.h>

#define MAX_DIGITS 9

/* The digits at the start of s as a number; false when there are none or too many. */
static bool take_digits(struct str *s, uint64_t *ret, size_t *ret_n)
{
    size_t n = 0;

    *ret = 0;
    while (n < s->n && n <= MAX_DIGITS && s->p[n] >= '0' && s->p[n] <= '9')
        *ret = *ret * 10 + (uint64_t)(s->p[n++] - '0');
    *s = str_skip(*s, n);
    *ret_n = n;
    return n > 0 && n <= MAX_DIGITS;
}

int request_timeout_read(struct str header, uint32_t *ret_ms)
{
    uint64_t seconds, fraction = 0, ms;
    size_t n;

    if (!take_digits(&header, &seconds, &n))
        return -EINVAL;
    if (header.n) {
        if (header.p[0] != '.')
            return -EINVAL;
        header = str_skip(header, 1);
        if (!take_digits(&header, &fraction, &n) || header.n)
            return -EINVAL;
        for (; n < MAX_DIGITS; n++)
            fraction *= 10;
    }
    ms = seconds * 1000 + (fraction + NSEC_PER_MSEC - 1) / NSEC_PER_MSEC;
    if (ms == 0)
        return -EINVAL;
    *ret_ms = ms < REQUEST_TIMEOUT_MAX_MS ? (uint32_t)ms : REQUEST_TIMEOUT_MAX_MS;
    return 0;
}
