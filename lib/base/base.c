#include "base/base.h"

#include <errno.h>
#include <sched.h>
#include <time.h>

static unsigned char ascii_lower(char c)
{
    return (c >= 'A' && c <= 'Z') ? (unsigned char)(c - 'A' + 'a') : (unsigned char)c;
}

bool str_eq_nocase(struct str a, struct str b)
{
    if (a.n != b.n)
        return false;
    for (size_t i = 0; i < a.n; i++) {
        if (ascii_lower(a.p[i]) != ascii_lower(b.p[i]))
            return false;
    }
    return true;
}

static bool is_space(char c)
{
    return c == ' ' || (c >= '\t' && c <= '\r');
}

bool str_is_blank(struct str s)
{
    for (size_t i = 0; i < s.n; i++) {
        if (!is_space(s.p[i]))
            return false;
    }
    return true;
}

struct str str_trim(struct str s)
{
    while (s.n && is_space(s.p[0]))
        s = str_skip(s, 1);
    while (s.n && is_space(s.p[s.n - 1]))
        s.n--;
    return s;
}

int str_to_int64(struct str s, int64_t *ret)
{
    size_t i = 0;
    bool negative = s.n > 0 && s.p[0] == '-';
    int64_t v = 0;

    if (negative)
        i = 1;
    if (i == s.n)
        return -EINVAL;
    /* Collected as a negative number, because INT64_MIN has no positive twin. */
    for (; i < s.n; i++) {
        if (s.p[i] < '0' || s.p[i] > '9')
            return -EINVAL;
        if (__builtin_mul_overflow(v, 10, &v) || __builtin_sub_overflow(v, s.p[i] - '0', &v))
            return -ERANGE;
    }
    if (!negative && v == INT64_MIN)
        return -ERANGE;
    *ret = negative ? v : -v;
    return 0;
}

int64_t clock_monotonic_ns(void)
{
    struct timespec ts;
    clock_gettime(CLOCK_MONOTONIC, &ts);
    return (int64_t)ts.tv_sec * NSEC_PER_SEC + ts.tv_nsec;
}

int64_t clock_realtime_us(void)
{
    struct timespec ts;
    clock_gettime(CLOCK_REALTIME, &ts);
    return (int64_t)ts.tv_sec * 1000000 + ts.tv_nsec / 1000;
}

unsigned cpu_count(void)
{
    cpu_set_t mine;
    bool known = sched_getaffinity(0, sizeof(mine), &mine) == 0;

    return known ? (unsigned)CPU_COUNT(&mine) : 1;
}
