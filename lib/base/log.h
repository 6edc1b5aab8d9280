/* The log: one JSON object a line on standard error.
 *
 *     log_warn("postgres connection lost", LOG_S("cause", cause), LOG_I("attempt", n));
 *     {"time":"2026-01-02T03:04:05.678Z","level":"warn","service":"posts","msg":"postgres ...",...}
 *
 * Any thread may log; a line is one write(2), so lines never mix. Never give a password, a token
 * or a message body: the log is read by more people than the database.
 */
#ifndef STOA_BASE_LOG_H
#define STOA_BASE_LOG_H

#include "base/base.h"

enum log_level { LOG_DEBUG, LOG_INFO, LOG_WARN, LOG_ERROR };

struct log_field {
    const char *key; /* NULL ends the list; a string that is absent is left out of the line */
    enum { LOG_FIELD_STR, LOG_FIELD_INT } type;
    struct str s;
    int64_t i;
};

#define LOG_S(k, v) ((struct log_field){.key = (k), .type = LOG_FIELD_STR, .s = (v)})
#define LOG_C(k, v) ((struct log_field){.key = (k), .type = LOG_FIELD_STR, .s = str_of(v)})
#define LOG_I(k, v) ((struct log_field){.key = (k), .type = LOG_FIELD_INT, .i = (v)})

#define log_at(level, msg, ...) \
    log_write((level), (msg), (const struct log_field[]){__VA_ARGS__ __VA_OPT__(, ){.key = NULL}})
#define log_debug(msg, ...) log_at(LOG_DEBUG, msg __VA_OPT__(, ) __VA_ARGS__)
#define log_info(msg, ...) log_at(LOG_INFO, msg __VA_OPT__(, ) __VA_ARGS__)
#define log_warn(msg, ...) log_at(LOG_WARN, msg __VA_OPT__(, ) __VA_ARGS__)
#define log_error(msg, ...) log_at(LOG_ERROR, msg __VA_OPT__(, ) __VA_ARGS__)

/* Names the process in each line and sets the lowest level that is written. Call once, before
 * threads start. service is kept, not copied. */
void log_setup(const char *service, enum log_level lowest);

/* What the macros call. A long string is cut, and ends with "..."; bytes that are not UTF-8 become
 * U+FFFD. A line that cannot be written at once is lost, since a service must go on without its
 * log; how many were is told by the first line that can be written again. */
void log_write(enum log_level level, const char *msg, const struct log_field *fields);
/* How many lines were lost. Any thread. */
uint64_t log_lines_lost(void);

#endif
