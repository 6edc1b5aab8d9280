#include "base/log.h"

#include "base/buf.h"
#include "base/utf8.h"

#include <inttypes.h>
#include <limits.h>
#include <poll.h>
#include <pthread.h>
#include <stdatomic.h>
#include <time.h>
#include <unistd.h>

/* What a pipe takes in one piece, or not at all. */
#define LINE_MAX_BYTES PIPE_BUF
/* Of one string, so that a long one leaves room for the fields behind it. */
#define VALUE_MAX_BYTES 2048
#define CUT "..."

static const char *log_service = "stoa";
static enum log_level log_lowest = LOG_INFO;

void log_setup(const char *service, enum log_level lowest)
{
    log_service = service;
    log_lowest = lowest;
}

static pthread_mutex_t log_lock = PTHREAD_MUTEX_INITIALIZER;
static uint64_t log_lost_untold; /* under log_lock */
static bool log_is_midline;      /* under log_lock: the last write took a part of its line */
static _Atomic uint64_t log_lost;

static void append_json_string(struct buf *b, struct str s)
{
    size_t end = b->n + VALUE_MAX_BYTES;

    buf_append_char(b, '"');
    for (size_t i = 0, n; i < s.n; i += n) {
        unsigned char c = (unsigned char)s.p[i];

        if (b->n > end) {
            buf_append_str(b, STR(CUT));
            break;
        }
        n = utf8_length(s.p + i, s.n - i);
        if (n == 0) {
            buf_append_str(b, STR("\\ufffd"));
            n = 1;
        } else if (c == '"' || c == '\\') {
            buf_printf(b, "\\%c", c);
        } else if (c < 0x20 || c == 0x7f) {
            buf_printf(b, "\\u%04x", c);
        } else {
            buf_append(b, s.p + i, n);
        }
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

static void append_line(struct buf *b, enum log_level level, const char *msg,
                        const struct log_field *fields)
{
    static const char *const names[] = {"debug", "info", "warn", "error"};

    append_time(b);
    buf_printf(b, ",\"level\":\"%s\",\"service\":\"%s\",\"msg\":", names[level], log_service);
    append_json_string(b, str_of(msg));
    for (const struct log_field *f = fields; f->key; f++) {
        size_t before = b->n;

        if (f->type == LOG_FIELD_STR && !f->s.p)
            continue;
        buf_printf(b, ",\"%s\":", f->key);
        if (f->type == LOG_FIELD_INT)
            buf_printf(b, "%" PRId64, f->i);
        else
            append_json_string(b, f->s);
        if (b->failed || b->n + 2 > b->max) { /* too long: the line ends before this field */
            b->failed = b->no_memory = false;
            b->n = before;
            break;
        }
    }
    buf_append(b, "}\n", 2);
}

/* Whether it was written. A pipe that is ready takes PIPE_BUF bytes without a wait, as long as
 * nobody else writes into it: the lock keeps other threads away. */
static bool write_at_once(struct str line)
{
    struct pollfd fd = {.fd = STDERR_FILENO, .events = POLLOUT};
    ssize_t n;

    if (poll(&fd, 1, 0) != 1 || !(fd.revents & POLLOUT))
        return false;
    n = write(STDERR_FILENO, line.p, line.n);
    if (n > 0)
        log_is_midline = (size_t)n < line.n; /* a full disk takes a part */
    return n == (ssize_t)line.n;
}

/* What comes next does not join the half of a line. */
static bool end_midline(void)
{
    return !log_is_midline || write_at_once(STR("\n"));
}

static bool tell_lost(void)
{
    struct buf b CLEANUP(buf_free) = {.max = LINE_MAX_BYTES};

    if (log_lost_untold == 0)
        return true;
    append_line(
        &b, LOG_WARN, "log lines were lost",
        (const struct log_field[]){LOG_I("lines", (int64_t)log_lost_untold), {.key = NULL}});
    if (!write_at_once(buf_str(&b)))
        return false;
    log_lost_untold = 0;
    return true;
}

void log_write(enum log_level level, const char *msg, const struct log_field *fields)
{
    struct buf b CLEANUP(buf_free) = {.max = LINE_MAX_BYTES};

    if (level < log_lowest)
        return;
    append_line(&b, level, msg, fields);
    pthread_mutex_lock(&log_lock);
    if (b.failed || !end_midline() || !tell_lost() || !write_at_once(buf_str(&b))) {
        log_lost_untold++;
        atomic_fetch_add_explicit(&log_lost, 1, memory_order_relaxed);
    }
    pthread_mutex_unlock(&log_lock);
}

uint64_t log_lines_lost(void)
{
    return atomic_load_explicit(&log_lost, memory_order_relaxed);
}
