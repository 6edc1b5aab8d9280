/* Days of the Gregorian calendar, as task files write them. Pure functions; any thread. */
#ifndef STOA_CLI_TASK_DATE_H
#define STOA_CLI_TASK_DATE_H

#include "base/base.h"

/* Days since 1970-01-01. */
typedef int32_t date_t;

#define DATE_NONE INT32_MIN
#define DATE_CHARS 10
#define DATE_MAX_STEP 100000 /* of anything: more is a slip of the hand */

struct civil {
    int year, month, day; /* month 1..12, day 1..31 */
};

date_t date_of(struct civil c);
struct civil date_civil(date_t d);
int date_month_length(int year, int month);
int date_weekday(date_t d); /* 0: Monday .. 6: Sunday */

/* "2026-11-29", all of s and a day that exists; -EINVAL. */
int date_read(struct str s, date_t *ret) MUST_CHECK;
void date_print(date_t d, char ret[DATE_CHARS + 1]);

/* A length of time: "3d", "2w", "m" (1), "1y", "5b" (days of work, Monday to Friday). */
struct interval {
    int count;
    char unit; /* d, w, m, y or b */
};

/* All of s; -EINVAL. */
int interval_read(struct str s, struct interval *ret) MUST_CHECK;

/* A month that is too short gives its last day. count may be negative. */
date_t date_add(date_t d, struct interval by);

/* What people type: a date, "today", "tomorrow", "yesterday", "mon" .. "sunday" (the next one,
 * today not counted), "+2w", "-3d". -EINVAL. */
int date_read_human(struct str s, date_t today, date_t *ret) MUST_CHECK;

/* The day and the time of the machine's zone. */
date_t date_today(void);

#endif
