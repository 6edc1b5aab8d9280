/* Private to lib/trace: a span as it waits, and how spans become a message. */
#ifndef STOA_TRACE_INTERNAL_H
#define STOA_TRACE_INTERNAL_H

#include "trace/trace.h"

#define TRACE_INSTANCE_SIZE 96

struct kept_span {
    struct trace_context trace;
    enum trace_kind kind;
    int code;
    bool failed;
    int64_t begun_us, end_us;
    size_t name_size, detail_size;
    char name[TRACE_NAME_MAX];
    char detail[16];
};

/* ---- otlp.c ---- */

/* In the arena, as are the spans; NULL without memory. */
const trace_export_request *export_request(const char *service, const char *instance,
                                           const struct kept_span *spans, size_t n,
                                           struct arena *arena) MUST_CHECK;

#endif
