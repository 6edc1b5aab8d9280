#include "base/log.h"

#include "base/buf.h"

#include <inttypes.h>
#include <time.h>
#include <unistd.h>

#define LINE_MAX_BYTES 16384

static const char *log_service = "stoa";
static enum log_level log_lowest = LOG_INFO;

void log_setup(const char *service, enum log_level lowest)
{
    log_service = service;
    log_lowest = lowest;
}

/* Bytes that are not UTF-8 pass through: a log line with a strange byte beats a lost one. */
static void append_json_string(struct buf *b, struct str s)
{
    buf_append_char(b, '"');
    for (size_t i = 0; i < s.n; i++) {
        unsigned char c = (unsigned char)s.p[i];
        if (c == '"' || c == '\\')
            buf_printf(b, "\\%c", c);
        else if (c < 0x20 || c == 0x7f)
            buf_printf(b, "\\u%04x", c);
        else
            buf_append_char(b, (char)c);
    }
    buf_append_char(b, '"');
}

static void append_time(struct buf *b)
{
    int64_t us = clock_realtime_us();
    time_t sec = (time_t)(us / 1000000);
    struct tm tm;
    char text[32];

    gmtime_r(&sec, &tm);
    strftime(text, sizeof(text), "%Y-%m-%dT%H:%M:%S", &tm);
    buf_printf(b, "{\"time\":\"%s.%03dZ\"", text, (int)(us % 1000000 / 1000));
}

void log_write(enum log_level level, const char *msg, const struct log_field *fields)
{
    static const char *const names[] = {"debug", "info", "warn", "error"};
    struct buf b CLEANUP(buf_free) = {.max = LINE_MAX_BYTES};

    if (level < log_lowest)
        return;
    append_time(&b);
    buf_printf(&b, ",\"level\":\"%s\",\"service\":\"%s\",\"msg\":", names[level], log_service);
    append_json_string(&b, str_of(msg));
    for (const struct log_field *f = fields; f->key; f++) {
        size_t before = b.n;

        if (f->type == LOG_FIELD_STR && !f->s.p)
            continue;
        buf_printf(&b, ",\"%s\":", f->key);
        if (f->type == LOG_FIELD_INT)
            buf_printf(&b, "%" PRId64, f->i);
        else
            append_json_string(&b, f->s);
        if (b.failed || b.n + 2 > b.max) { /* too long: the line ends before this field */
            b.failed = b.no_memory = false;
            b.n = before;
            break;
        }
    }
    buf_append(&b, "}\n", 2);
    /* Nothing can be done about a log that cannot be written; the service must go on. */
    ssize_t written UNUSED = write(STDERR_FILENO, b.p, b.n);
}
