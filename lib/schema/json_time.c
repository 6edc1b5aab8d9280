/* google.protobuf.Timestamp and Duration as text (google/protobuf/timestamp.proto, duration.proto;
 * RFC 3339). Pure functions. */
#include "schema/json.h"

#define SECONDS_PER_DAY 86400
#define MIN_TIMESTAMP INT64_C(-62135596800) /* 0001-01-01T00:00:00Z */
#define MAX_DURATION INT64_C(315576000000)  /* 10,000 years of 365.25 days */
#define MAX_DURATION_DIGITS 12
#define NANOS_PER_SECOND 1000000000

/* ---- the calendar ---- */

/* Years run from March here, so that the leap day is the last one; the calendar repeats every
 * 146,097 days (400 years). */
#define DAYS_PER_ERA 146097
#define DAYS_BEFORE_EPOCH 719468 /* from 0000-03-01 to 1970-01-01 */

struct date {
    int64_t year;
    unsigned month, day;
};

static int64_t days_from_date(struct date d)
{
    int64_t year = d.year - (d.month <= 2), era = year / 400; /* years are not negative here */
    unsigned month = d.month > 2 ? d.month - 3 : d.month + 9;
    unsigned day_of_year = (153 * month + 2) / 5 + d.day - 1;
    int64_t year_of_era = year - era * 400;

    return era * DAYS_PER_ERA + year_of_era * 365 + year_of_era / 4 - year_of_era / 100 +
           day_of_year - DAYS_BEFORE_EPOCH;
}

static struct date date_from_days(int64_t days)
{
    int64_t era, year_of_era, day_of_era, day_of_year, month;
    struct date d;

    days += DAYS_BEFORE_EPOCH; /* not negative: the year is 1 or later */
    era = days / DAYS_PER_ERA;
    day_of_era = days % DAYS_PER_ERA;
    year_of_era =
        (day_of_era - day_of_era / 1460 + day_of_era / 36524 - day_of_era / (DAYS_PER_ERA - 1)) /
        365;
    day_of_year = day_of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    month = (5 * day_of_year + 2) / 153;
    d.day = (unsigned)(day_of_year - (153 * month + 2) / 5 + 1);
    d.month = (unsigned)(month < 10 ? month + 3 : month - 9);
    d.year = era * 400 + year_of_era + (d.month <= 2);
    return d;
}

static unsigned days_in_month(int64_t year, unsigned month)
{
    static const uint8_t days[] = {31, 28, 31, 30, 31, 30, 31, 31, 30, 31, 30, 31};
    bool leap = year % 4 == 0 && (year % 100 != 0 || year % 400 == 0);

    return month == 2 && leap ? 29 : days[month - 1];
}

/* ---- parsing ---- */

static bool is_digit(char ch)
{
    return ch >= '0' && ch <= '9';
}

/* Takes exactly `digits` digits between min and max. */
static bool take_digits(struct str *s, unsigned digits, unsigned min, unsigned max, unsigned *ret)
{
    unsigned v = 0;

    if (s->n < digits)
        return false;
    for (unsigned i = 0; i < digits; i++) {
        if (!is_digit(s->p[i]))
            return false;
        v = v * 10 + (unsigned)(s->p[i] - '0');
    }
    *s = str_skip(*s, digits);
    *ret = v;
    return v >= min && v <= max;
}

static bool take_char(struct str *s, char ch)
{
    if (!s->n || *s->p != ch)
        return false;
    *s = str_skip(*s, 1);
    return true;
}

/* Takes nothing, or a point and one to nine digits. */
static bool take_fraction(struct str *s, int32_t *ret_nanos)
{
    int32_t nanos = 0, unit = NANOS_PER_SECOND;

    *ret_nanos = 0;
    if (!take_char(s, '.'))
        return true;
    if (!s->n || !is_digit(*s->p))
        return false;
    for (; s->n && is_digit(*s->p); *s = str_skip(*s, 1)) {
        unit /= 10;
        if (!unit)
            return false;
        nanos += unit * (*s->p - '0');
    }
    *ret_nanos = nanos;
    return true;
}

/* Z or +hh:mm, as seconds to add to get UTC. */
static bool take_offset(struct str *s, int64_t *ret)
{
    unsigned hours, minutes;
    bool ahead;

    *ret = 0;
    if (take_char(s, 'Z'))
        return true;
    ahead = s->n && *s->p == '+';
    if (!take_char(s, ahead ? '+' : '-') || !take_digits(s, 2, 0, 23, &hours) ||
        !take_char(s, ':') || !take_digits(s, 2, 0, 59, &minutes))
        return false;
    *ret = (int64_t)(hours * 3600 + minutes * 60);
    if (ahead)
        *ret = -*ret;
    return true;
}

int json_parse_timestamp(struct str s, struct json_time *ret)
{
    unsigned year, month, day, hour, minute, second;
    int64_t offset;

    if (!take_digits(&s, 4, 1, 9999, &year) || !take_char(&s, '-') ||
        !take_digits(&s, 2, 1, 12, &month) || !take_char(&s, '-') ||
        !take_digits(&s, 2, 1, days_in_month(year, month), &day) || !take_char(&s, 'T') ||
        !take_digits(&s, 2, 0, 23, &hour) || !take_char(&s, ':') ||
        !take_digits(&s, 2, 0, 59, &minute) || !take_char(&s, ':') ||
        !take_digits(&s, 2, 0, 59, &second) || !take_fraction(&s, &ret->nanos) ||
        !take_offset(&s, &offset) || s.n)
        return -EINVAL;
    ret->seconds = days_from_date((struct date){year, month, day}) * SECONDS_PER_DAY + hour * 3600 +
                   minute * 60 + second + offset;
    return ret->seconds < MIN_TIMESTAMP || ret->seconds > LAST_TIME_S ? -EINVAL : 0;
}

int json_parse_duration(struct str s, struct json_time *ret)
{
    bool negative = take_char(&s, '-');
    int64_t seconds = 0;
    size_t digits = 0;

    for (; s.n && is_digit(*s.p); s = str_skip(s, 1)) {
        if (++digits > MAX_DURATION_DIGITS)
            return -EINVAL;
        seconds = seconds * 10 + (*s.p - '0');
    }
    if (!digits || !take_fraction(&s, &ret->nanos) || !take_char(&s, 's') || s.n ||
        seconds > MAX_DURATION)
        return -EINVAL;
    ret->seconds = negative ? -seconds : seconds;
    if (negative)
        ret->nanos = -ret->nanos;
    return 0;
}

/* ---- printing ---- */

static char *put_digits(char *to, uint64_t v, unsigned digits)
{
    for (unsigned i = digits; i; i--) {
        to[i - 1] = (char)('0' + v % 10);
        v /= 10;
    }
    return to + digits;
}

/* Nothing, or a point and 3, 6 or 9 digits. */
static char *put_fraction(char *to, uint32_t nanos, bool long_fraction)
{
    unsigned digits = 9;

    if (nanos == 0 && !long_fraction)
        return to;
    for (; digits > 3 && nanos % 1000 == 0; digits -= 3)
        nanos /= 1000;
    *to++ = '.';
    return put_digits(to, nanos, digits);
}

int json_format_timestamp(char *to, struct json_time t, bool long_fraction)
{
    char *begin = to;
    int64_t days;
    uint64_t second;
    struct date d;

    if (t.seconds < MIN_TIMESTAMP || t.seconds > LAST_TIME_S || t.nanos < 0 ||
        t.nanos >= NANOS_PER_SECOND)
        return -ERANGE;
    /* Counted from 0001-01-01, so that the division is of a positive number. */
    days = (t.seconds - MIN_TIMESTAMP) / SECONDS_PER_DAY;
    second = (uint64_t)((t.seconds - MIN_TIMESTAMP) % SECONDS_PER_DAY);
    d = date_from_days(days + MIN_TIMESTAMP / SECONDS_PER_DAY);
    *to++ = '"';
    to = put_digits(to, (uint64_t)d.year, 4);
    *to++ = '-';
    to = put_digits(to, d.month, 2);
    *to++ = '-';
    to = put_digits(to, d.day, 2);
    *to++ = 'T';
    to = put_digits(to, second / 3600, 2);
    *to++ = ':';
    to = put_digits(to, second / 60 % 60, 2);
    *to++ = ':';
    to = put_digits(to, second % 60, 2);
    to = put_fraction(to, (uint32_t)t.nanos, long_fraction);
    *to++ = 'Z';
    *to++ = '"';
    return (int)(to - begin);
}

int json_format_duration(char *to, struct json_time t)
{
    char *begin = to;
    bool negative = t.seconds < 0 || t.nanos < 0;

    if (t.seconds < -MAX_DURATION || t.seconds > MAX_DURATION || t.nanos <= -NANOS_PER_SECOND ||
        t.nanos >= NANOS_PER_SECOND || (negative && (t.seconds > 0 || t.nanos > 0)))
        return -ERANGE;
    *to++ = '"';
    if (negative)
        *to++ = '-';
    to += json_format_uint64(to, (uint64_t)(negative ? -t.seconds : t.seconds));
    to = put_fraction(to, (uint32_t)(negative ? -t.nanos : t.nanos), false);
    *to++ = 's';
    *to++ = '"';
    return (int)(to - begin);
}
