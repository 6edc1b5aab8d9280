/* libFuzzer target for headers that callers write: entity tags and conditions, trace contexts,
 * time-outs and origins; and for the text of events, which is made of what services write. What is
 * made of a text is well-formed, and the same when it is read again. */
#include "http/entity_tag.h"
#include "http/origin.h"
#include "http/sse.h"
#include "http/timeout.h"
#include "http/trace_context.h"

#include <stdlib.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void check(bool holds)
{
    if (!holds)
        abort();
}

static void check_tags(struct arena *arena, struct str text)
{
    struct str tag, again;
    int err = entity_tag_of(arena, text, &tag);

    (void)entity_tag_judge(text, text, tag);
    if (!err) {
        check(entity_tags_valid(tag) && entity_tags_match(tag, tag, ENTITY_TAG_WEAK));
        check(tag.n > ENTITY_TAG_MAX ||
              (entity_tag_of(arena, tag, &again) == 0 && str_eq(again, tag)));
    }
}

static void check_trace(struct arena *arena, struct str text)
{
    static const unsigned char random[TRACE_RANDOM_SIZE];
    struct trace_context trace, again;
    char parent[TRACE_PARENT_SIZE];
    struct str state = trace_state(arena, text);

    trace_start(&trace, text, random);
    trace_parent(&trace, parent);
    check(trace_start(&again, (struct str){parent, sizeof(parent)}, random));
    check(memcmp(trace.id, again.id, sizeof(trace.id)) == 0 && trace.sampled == again.sampled);
    if (state.p)
        check(state.n <= TRACE_STATE_SIZE && str_eq(trace_state(arena, state), state));
}

/* A pattern without wildcards allows itself; one of all hosts below a domain not the domain. */
static void check_origin(struct str text)
{
    (void)origin_matches(STR("https://*.example.com:*"), text);
    if (origin_pattern_valid(text) && !memchr(text.p, '*', text.n))
        check(origin_matches(text, text));
}

/* Each line is one of ours: nothing in the text begins one of its own. */
static void check_event(struct str text)
{
    struct buf event CLEANUP(buf_free) = {.max = SIZE_MAX};
    struct str rest;
    const char *end;

    (void)sse_id(&event, text);
    sse_data(&event, text);
    check(!event.failed && str_ends(buf_str(&event), STR("\n\n")));
    for (rest = buf_str(&event); rest.n > 1; rest = str_skip(rest, (size_t)(end - rest.p) + 1)) {
        check(str_starts(rest, STR("id: ")) || str_starts(rest, STR("data: ")));
        end = memchr(rest.p, '\n', rest.n);
        check(end && !memchr(rest.p, '\r', (size_t)(end - rest.p)));
    }
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct str text = {(const char *)data, size};
    struct arena arena;
    uint32_t ms;

    arena_init(&arena, 0);
    check_tags(&arena, text);
    check_trace(&arena, text);
    check_origin(text);
    check_event(text);
    if (request_timeout_read(text, &ms) == 0)
        check(ms >= 1 && ms <= REQUEST_TIMEOUT_MAX_MS);
    arena_free(&arena);
    return 0;
}
