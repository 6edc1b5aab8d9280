/* What every other file uses: attributes, strings with a length, and small numeric helpers.
 *
 * Conventions of the whole tree:
 *   - fallible functions return 0 or a negative errno and are marked MUST_CHECK;
 *   - out parameters come last and are named ret_...;
 *   - a length always travels with its pointer (struct str).
 */
#ifndef STOA_BASE_BASE_H
#define STOA_BASE_BASE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#define MUST_CHECK __attribute__((warn_unused_result))
#define PRINTF_LIKE(fmt, first) __attribute__((format(printf, fmt, first)))
#define CLEANUP(fn) __attribute__((cleanup(fn)))
#define UNUSED __attribute__((unused))
#define ARRAY_SIZE(a) (sizeof(a) / sizeof((a)[0]))
#define CONTAINER_OF(ptr, type, member) ((type *)((char *)(ptr)-offsetof(type, member)))

#define NSEC_PER_SEC INT64_C(1000000000)
#define NSEC_PER_MSEC INT64_C(1000000)
#define NSEC_PER_USEC INT64_C(1000)
#define USEC_PER_SEC INT64_C(1000000)

/* The last second that a timestamp may name, 9999-12-31T23:59:59Z (RFC 3339 section 5.6 has four
 * digits for a year). */
#define LAST_TIME_S INT64_C(253402300799)

/* Bytes that somebody else owns; not NUL-terminated unless said so. {NULL, 0} is "absent". */
struct str {
    const char *p;
    size_t n;
};

#define STR(literal) ((struct str){"" literal, sizeof(literal) - 1})
#define STR_NULL ((struct str){NULL, 0})
/* For "%.*s". */
#define STR_FMT(s) (int)(s).n, (s).p ? (s).p : ""

static inline struct str str_of(const char *cstr)
{
    return cstr ? (struct str){cstr, strlen(cstr)} : STR_NULL;
}

static inline bool str_eq(struct str a, struct str b)
{
    return a.n == b.n && (a.n == 0 || memcmp(a.p, b.p, a.n) == 0);
}

static inline bool str_starts(struct str s, struct str prefix)
{
    return s.n >= prefix.n && (prefix.n == 0 || memcmp(s.p, prefix.p, prefix.n) == 0);
}

static inline bool str_ends(struct str s, struct str suffix)
{
    return s.n >= suffix.n &&
           (suffix.n == 0 || memcmp(s.p + s.n - suffix.n, suffix.p, suffix.n) == 0);
}

/* s without its first n bytes (n is cut to the length). */
static inline struct str str_skip(struct str s, size_t n)
{
    if (n > s.n)
        n = s.n;
    return (struct str){s.p ? s.p + n : NULL, s.n - n};
}

/* ASCII case folded comparison, for header names and schemes (RFC 9110 section 5.1). */
bool str_eq_nocase(struct str a, struct str b);

/* True when s has nothing but white space (ASCII space, \t\n\v\f\r). */
bool str_is_blank(struct str s);

/* s without white space (the same) around it. */
struct str str_trim(struct str s);

/* Parses a whole decimal number. Returns 0, -EINVAL (not a number) or -ERANGE. */
int str_to_int64(struct str s, int64_t *ret) MUST_CHECK;

/* Nanoseconds on CLOCK_MONOTONIC: for deadlines and durations. */
int64_t clock_monotonic_ns(void);

/* Microseconds since the Unix epoch on CLOCK_REALTIME: for time stamps. */
int64_t clock_realtime_us(void);

/* How many CPUs the calling thread may run on, as its affinity says; 1 when that is not known. */
unsigned cpu_count(void);

#endif
