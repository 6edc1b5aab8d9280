/* Numbers as text: parsing by JSON's grammar, exact conversion to integers, and the shortest
 * decimal that reads back as the same double or float.
 *
 * The C library converts what the fast paths do not; its conversions follow the thread's locale, so
 * they run in the "C" locale.
 */
#include "schema/json.h"

#include <float.h>
#include <locale.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>

#define MAX_EXPONENT 1000000000 /* more is as good as infinite */

/* ---- parsing ---- */

static bool is_digit(char ch)
{
    return ch >= '0' && ch <= '9';
}

static const uint64_t tens[] = {
    UINT64_C(1),
    UINT64_C(10),
    UINT64_C(100),
    UINT64_C(1000),
    UINT64_C(10000),
    UINT64_C(100000),
    UINT64_C(1000000),
    UINT64_C(10000000),
    UINT64_C(100000000),
    UINT64_C(1000000000),
    UINT64_C(10000000000),
    UINT64_C(100000000000),
    UINT64_C(1000000000000),
    UINT64_C(10000000000000),
    UINT64_C(100000000000000),
    UINT64_C(1000000000000000),
    UINT64_C(10000000000000000),
    UINT64_C(100000000000000000),
    UINT64_C(1000000000000000000),
    UINT64_C(10000000000000000000),
};

/* Appends a digit. Zeros are held back until another digit follows, so that those at the end
 * only move the exponent: 1.000 and 1e3 are as exact as 1 and 1000. */
static void push_digit(struct json_number *n, unsigned digit, uint64_t *held)
{
    if (digit == 0) {
        ++*held;
        return;
    }
    if (n->magnitude == 0)
        *held = 0;
    if (*held + 1 >= ARRAY_SIZE(tens) ||
        __builtin_mul_overflow(n->magnitude, tens[*held + 1], &n->magnitude) ||
        __builtin_add_overflow(n->magnitude, digit, &n->magnitude))
        n->exact = false;
    *held = 0;
}

static const char *parse_exponent(const char *at, const char *end, int64_t *ret)
{
    bool negative = false;
    int64_t v = 0;

    if (at < end && (*at == '+' || *at == '-'))
        negative = *at++ == '-';
    if (at == end || !is_digit(*at)) {
        *ret = -1;
        return at;
    }
    for (; at < end && is_digit(*at); at++) {
        if (v < MAX_EXPONENT)
            v = v * 10 + (*at - '0');
    }
    *ret = negative ? -v : v;
    return at;
}

const char *json_parse_number(const char *at, const char *end, struct json_number *ret,
                              const char **ret_stop)
{
    const char *begin = at, *digits;
    uint64_t held = 0;
    int64_t exponent;

    *ret = (struct json_number){.exact = true};
    if (at < end && *at == '-') {
        ret->negative = true;
        at++;
    }
    digits = at;
    for (; at < end && is_digit(*at); at++) {
        push_digit(ret, (unsigned)(*at - '0'), &held);
        if (at == digits && *at == '0') { /* no digit may follow a leading zero */
            at++;
            break;
        }
    }
    if (at == digits)
        goto refuse;
    ret->exponent = (int64_t)held;
    if (at < end && *at == '.') {
        digits = ++at;
        for (; at < end && is_digit(*at); at++)
            push_digit(ret, (unsigned)(*at - '0'), &held);
        if (at == digits)
            goto refuse;
        ret->exponent = (int64_t)held - (at - digits);
    }
    if (at < end && (*at == 'e' || *at == 'E')) {
        at = parse_exponent(at + 1, end, &exponent);
        if (!is_digit(at[-1]))
            goto refuse;
        ret->exponent += exponent;
    }
    ret->text = (struct str){begin, (size_t)(at - begin)};
    return at;

refuse:
    *ret_stop = at;
    return NULL;
}

int json_number_to_uint64(const struct json_number *n, uint64_t *ret)
{
    uint64_t v = n->magnitude;
    int64_t exponent = n->exponent;

    *ret = v;
    /* The last digit is no zero: a negative exponent leaves a fraction. */
    if (n->exact && v == 0)
        return 0;
    if (exponent < 0)
        return -EINVAL;
    if (!n->exact || exponent >= 20)
        return -ERANGE;
    for (; exponent > 0; exponent--) {
        if (__builtin_mul_overflow(v, 10, &v))
            return -ERANGE;
    }
    *ret = v;
    return 0;
}

/* ---- decimal to binary ---- */

/* Powers of ten that a double holds exactly. */
static const double exact_tens[] = {1e0,  1e1,  1e2,  1e3,  1e4,  1e5,  1e6,  1e7,
                                    1e8,  1e9,  1e10, 1e11, 1e12, 1e13, 1e14, 1e15,
                                    1e16, 1e17, 1e18, 1e19, 1e20, 1e21, 1e22};

/* Until when the decimal is read: the C library wants a NUL. */
static char *terminated(struct json_context *c, struct str text, char *small, size_t size)
{
    char *p = text.n < size ? small : json_scratch_alloc(c, text.n + 1);

    if (p) {
        memcpy(p, text.p, text.n);
        p[text.n] = '\0';
    }
    return p;
}

int json_number_to_double(struct json_context *c, const struct json_number *n, double *ret)
{
    struct json_mark mark = json_scratch_mark(c);
    char small[64];
    char *text;
    locale_t locale;
    double v;

    /* Both operands are exact, so that the one rounding is the right one. */
    if (n->exact && n->magnitude <= UINT64_C(1) << 53 && n->exponent >= -22 && n->exponent <= 22) {
        v = (double)n->magnitude;
        v = n->exponent < 0 ? v / exact_tens[-n->exponent] : v * exact_tens[n->exponent];
        *ret = n->negative ? -v : v;
        return 0;
    }
    text = terminated(c, n->text, small, sizeof(small));
    locale = newlocale(LC_ALL_MASK, "C", (locale_t)0);
    if (!text || !locale)
        return -ENOMEM;
    v = strtod_l(text, NULL, locale);
    freelocale(locale);
    json_scratch_release(c, mark);
    *ret = v;
    return isinf(v) ? -ERANGE : 0;
}

int json_number_to_float(struct json_context *c, const struct json_number *n, float *ret)
{
    struct json_mark mark = json_scratch_mark(c);
    char small[64];
    char *text;
    locale_t locale;
    float v;

    if (n->exact && n->magnitude <= UINT64_C(1) << 24 && n->exponent >= -10 && n->exponent <= 10) {
        v = (float)n->magnitude;
        v = n->exponent < 0 ? v / (float)exact_tens[-n->exponent]
                            : v * (float)exact_tens[n->exponent];
        *ret = n->negative ? -v : v;
        return 0;
    }
    /* Not by way of a double: that would round twice. */
    text = terminated(c, n->text, small, sizeof(small));
    locale = newlocale(LC_ALL_MASK, "C", (locale_t)0);
    if (!text || !locale)
        return -ENOMEM;
    v = strtof_l(text, NULL, locale);
    freelocale(locale);
    json_scratch_release(c, mark);
    *ret = v;
    return isinf(v) ? -ERANGE : 0;
}

/* ---- printing ---- */

size_t json_format_uint64(char *to, uint64_t v)
{
    char digits[20];
    size_t n = sizeof(digits);

    do {
        digits[--n] = (char)('0' + v % 10);
        v /= 10;
    } while (v);
    memcpy(to, digits + n, sizeof(digits) - n);
    return sizeof(digits) - n;
}

size_t json_format_int64(char *to, int64_t v)
{
    if (v >= 0)
        return json_format_uint64(to, (uint64_t)v);
    *to = '-';
    return 1 + json_format_uint64(to + 1, -(uint64_t)v);
}

static size_t copy_text(char *to, struct str text)
{
    memcpy(to, text.p, text.n);
    return text.n;
}

static size_t format_special(char *to, double v)
{
    if (isnan(v))
        return copy_text(to, STR("\"NaN\""));
    return copy_text(to, v > 0 ? STR("\"Infinity\"") : STR("\"-Infinity\""));
}

/* Digits with a point before the last `fraction` of them. */
static size_t format_fixed(char *to, uint64_t digits, unsigned fraction)
{
    char text[JSON_SHORT];
    size_t n = json_format_uint64(text, digits), whole, at = 0;

    whole = n > fraction ? n - fraction : 0;
    memcpy(to, text, whole);
    at = whole;
    if (!whole)
        to[at++] = '0';
    to[at++] = '.';
    for (size_t zeros = fraction - (n - whole); zeros; zeros--)
        to[at++] = '0';
    memcpy(to + at, text + whole, n - whole);
    return at + n - whole;
}

/* Whole numbers and those with a few decimals, which are most, without the C library. A decimal of
 * at most 15 digits that converts back exactly is the shortest one. Returns 0 if v is no such. */
static size_t format_simple(char *to, double v)
{
    double magnitude = fabs(v);
    size_t sign = 0;

    if (signbit(v))
        to[sign++] = '-';
    if (magnitude <= 0x1p53 && magnitude == (double)(uint64_t)magnitude)
        return sign + json_format_uint64(to + sign, (uint64_t)magnitude);
    if (magnitude < 1e-3 || magnitude >= 1e9)
        return 0;
    for (unsigned fraction = 1; fraction <= 6; fraction++) {
        uint64_t digits = (uint64_t)(magnitude * exact_tens[fraction] + 0.5);

        if ((double)digits / exact_tens[fraction] == magnitude)
            return sign + format_fixed(to + sign, digits, fraction);
    }
    return 0;
}

size_t json_format_double(char *to, double v)
{
    locale_t locale, before;
    int n = 0;
    size_t simple;

    if (!isfinite(v))
        return format_special(to, v);
    simple = format_simple(to, v);
    if (simple)
        return simple;
    locale = newlocale(LC_ALL_MASK, "C", (locale_t)0);
    before = uselocale(locale);
    /* Subnormal numbers have fewer digits to tell. */
    for (int precision = fabs(v) < DBL_MIN ? 1 : DBL_DIG; precision <= DBL_DECIMAL_DIG;
         precision++) {
        n = snprintf(to, JSON_SHORT, "%.*g", precision, v);
        if (strtod(to, NULL) == v)
            break;
    }
    uselocale(before);
    freelocale(locale);
    return (size_t)n;
}

size_t json_format_float(char *to, float v)
{
    locale_t locale, before;
    int n = 0;

    if (!isfinite(v))
        return format_special(to, v);
    if (fabsf(v) <= 0x1p24f && v == (float)(int32_t)v)
        return format_simple(to, v);
    locale = newlocale(LC_ALL_MASK, "C", (locale_t)0);
    before = uselocale(locale);
    for (int precision = fabsf(v) < FLT_MIN ? 1 : FLT_DIG; precision <= FLT_DECIMAL_DIG;
         precision++) {
        n = snprintf(to, JSON_SHORT, "%.*g", precision, (double)v);
        if (strtof(to, NULL) == v)
            break;
    }
    uselocale(before);
    freelocale(locale);
    return (size_t)n;
}
