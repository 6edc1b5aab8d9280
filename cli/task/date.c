#include "date.h"

#include <errno.h>
#include <stdio.h>
#include <time.h>

/* Counted from 1 March of year 0, so that the leap day is the last of its year. */
date_t date_of(struct civil c)
{
    int64_t year = c.month <= 2 ? c.year - 1 : c.year;
    int64_t era = (year >= 0 ? year : year - 399) / 400;
    int64_t of_era = year - era * 400;
    int64_t of_year = (153 * (c.month + (c.month > 2 ? -3 : 9)) + 2) / 5 + c.day - 1;

    return (date_t)(era * 146097 + of_era * 365 + of_era / 4 - of_era / 100 + of_year - 719468);
}

struct civil date_civil(date_t d)
{
    int64_t days = (int64_t)d + 719468;
    int64_t era = (days >= 0 ? days : days - 146096) / 146097;
    int64_t of_era = days - era * 146097;
    int64_t year = (of_era - of_era / 1460 + of_era / 36524 - of_era / 146096) / 365;
    int64_t of_year = of_era - (365 * year + year / 4 - year / 100);
    int64_t month = (5 * of_year + 2) / 153;
    struct civil c = {.day = (int)(of_year - (153 * month + 2) / 5 + 1),
                      .month = (int)(month < 10 ? month + 3 : month - 9)};

    c.year = (int)(year + era * 400 + (c.month <= 2));
    return c;
}

int date_month_length(int year, int month)
{
    static const int lengths[] = {31, 28, 31, 30, 31, 30, 31, 31, 30, 31, 30, 31};

    if (month == 2 && (year % 4 == 0 && (year % 100 != 0 || year % 400 == 0)))
        return 29;
    return lengths[month - 1];
}

int date_weekday(date_t d)
{
    int w = (int)(((int64_t)d + 3) % 7); /* 1970-01-01 was a Thursday */

    return w < 0 ? w + 7 : w;
}

static int digits(struct str s, size_t at, size_t n)
{
    int value = 0;

    for (size_t i = at; i < at + n; i++) {
        if (s.p[i] < '0' || s.p[i] > '9')
            return -1;
        value = value * 10 + (s.p[i] - '0');
    }
    return value;
}

int date_read(struct str s, date_t *ret)
{
    struct civil c;

    if (s.n != DATE_CHARS || s.p[4] != '-' || s.p[7] != '-')
        return -EINVAL;
    c = (struct civil){digits(s, 0, 4), digits(s, 5, 2), digits(s, 8, 2)};
    if (c.year < 0 || c.month < 1 || c.month > 12 || c.day < 1 ||
        c.day > date_month_length(c.year, c.month))
        return -EINVAL;
    *ret = date_of(c);
    return 0;
}

void date_print(date_t d, char ret[DATE_CHARS + 1])
{
    struct civil c = date_civil(d);

    /* Nothing here makes a year outside: date_add() keeps to it. */
    snprintf(ret, DATE_CHARS + 1, "%04u-%02u-%02u", (unsigned)c.year % 10000,
             (unsigned)c.month % 100, (unsigned)c.day % 100);
}

int interval_read(struct str s, struct interval *ret)
{
    int64_t count = 1;

    if (s.n < 1 || !strchr("dwmyb", s.p[s.n - 1]) || s.p[s.n - 1] == '\0')
        return -EINVAL;
    if (s.n > 1 && (str_to_int64((struct str){s.p, s.n - 1}, &count) || s.p[0] == '+'))
        return -EINVAL;
    if (count < 1 || count > DATE_MAX_STEP)
        return -EINVAL;
    *ret = (struct interval){(int)count, s.p[s.n - 1]};
    return 0;
}

static date_t add_months(date_t d, int months)
{
    struct civil c = date_civil(d);
    int64_t all = (int64_t)c.year * 12 + c.month - 1 + months;

    c.year = (int)(all / 12);
    c.month = (int)(all % 12) + 1;
    if (c.year < 0 || c.year > 9999 || c.month < 1)
        return d;
    if (c.day > date_month_length(c.year, c.month))
        c.day = date_month_length(c.year, c.month);
    return date_of(c);
}

static date_t add_work_days(date_t d, int count)
{
    int step = count < 0 ? -1 : 1;

    for (int left = count * step; left > 0;) {
        d += step;
        if (date_weekday(d) < 5)
            left--;
    }
    return d;
}

date_t date_add(date_t d, struct interval by)
{
    date_t last = date_of((struct civil){9999, 12, 31}), first = date_of((struct civil){0, 1, 1});
    date_t sum = d;

    switch (by.unit) {
    case 'd':
        sum = d + by.count;
        break;
    case 'w':
        sum = d + by.count * 7;
        break;
    case 'm':
        sum = add_months(d, by.count);
        break;
    case 'y':
        sum = add_months(d, by.count * 12);
        break;
    default:
        sum = add_work_days(d, by.count);
    }
    return sum < first ? first : sum > last ? last : sum;
}

static int weekday_named(struct str s)
{
    static const char *const names[] = {"monday", "tuesday",  "wednesday", "thursday",
                                        "friday", "saturday", "sunday"};

    for (int i = 0; i < 7; i++) {
        struct str name = str_of(names[i]);

        if (str_eq_nocase(s, name) || str_eq_nocase(s, (struct str){name.p, 3}))
            return i;
    }
    return -1;
}

int date_read_human(struct str s, date_t today, date_t *ret)
{
    int weekday = weekday_named(s);
    struct interval by;

    if (weekday >= 0) {
        int ahead = (weekday - date_weekday(today) + 7) % 7;

        *ret = today + (ahead ? ahead : 7);
        return 0;
    }
    if (str_eq_nocase(s, STR("today")) || str_eq_nocase(s, STR("tomorrow")) ||
        str_eq_nocase(s, STR("yesterday"))) {
        *ret = today + (s.n == 8) - (s.n == 9);
        return 0;
    }
    if (s.n > 1 && (s.p[0] == '+' || s.p[0] == '-')) {
        if (interval_read(str_skip(s, 1), &by))
            return -EINVAL;
        if (s.p[0] == '-')
            by.count = -by.count;
        *ret = date_add(today, by);
        return 0;
    }
    return date_read(s, ret);
}

date_t date_today(void)
{
    time_t now = time(NULL);
    struct tm tm;

    if (!localtime_r(&now, &tm))
        return DATE_NONE; /* a clock beyond what an int holds as a year */
    return date_of((struct civil){tm.tm_year + 1900, tm.tm_mon + 1, tm.tm_mday});
}
