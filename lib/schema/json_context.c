/* What one conversion between JSON and wire carries along: its limits, where it is, what is wrong,
 * and its scratch memory. */
#include "schema/json.h"

#include <stdarg.h>
#include <stdio.h>

#define DEFAULT_DEPTH 100
#define MAX_DEPTH 1000     /* levels cost stack: about half a kilobyte each */
#define MAX_KEY_IN_PATH 64 /* bytes of a stranger's key that go into a path */
#define FIRST_CHUNK 1024

void json_context_init(struct json_context *c, const struct schema *schema,
                       const struct schema_json_options *options, struct buf *out,
                       struct arena *arena, struct schema_fault *ret_fault)
{
    unsigned depth = options && options->max_depth ? options->max_depth : DEFAULT_DEPTH;

    c->schema = schema;
    c->arena = arena;
    c->out = out;
    c->fault = ret_fault;
    c->path = NULL;
    c->depth = 0;
    c->max_depth = depth < MAX_DEPTH ? depth : MAX_DEPTH;
    c->refuse_unknown = options && options->refuse_unknown;
    c->print_unset = options && options->print_unset;
    c->long_fractions = options && options->long_fractions;
    c->mask_next = false;
    c->seen = 0;
    /* The table of chunks is filled as it is used. */
    c->scratch.n_chunks = 0;
    c->scratch.current = 0;
    c->scratch.used = 0;
    c->start = c->at = c->end = NULL;
    c->looked_ahead = c->items = 0;
    c->max_items = options && options->max_items ? options->max_items : SIZE_MAX;
}

/* ---- scratch ---- */

void *json_scratch_alloc(struct json_context *c, size_t n)
{
    struct json_scratch *s = &c->scratch;
    size_t size;
    void *p;

    if (n > SIZE_MAX / 2)
        return NULL;
    n = (n + 15) & ~(size_t)15;
    while (s->current < s->n_chunks && s->chunks[s->current].size - s->used < n) {
        s->current++;
        s->used = 0;
    }
    if (s->current == s->n_chunks) {
        if (s->n_chunks == JSON_SCRATCH_CHUNKS)
            return NULL;
        size = s->n_chunks ? s->chunks[s->n_chunks - 1].size * 2 : FIRST_CHUNK;
        if (size < n)
            size = n;
        p = arena_alloc(c->arena, size);
        if (!p)
            return NULL;
        s->chunks[s->n_chunks].p = p;
        s->chunks[s->n_chunks].size = size;
        s->n_chunks++;
    }
    p = s->chunks[s->current].p + s->used;
    s->used += n;
    return p;
}

/* ---- faults ---- */

/* At most MAX_KEY_IN_PATH bytes, whole characters. */
static struct str shortened(struct str name)
{
    size_t n = name.n;

    if (n <= MAX_KEY_IN_PATH)
        return name;
    n = MAX_KEY_IN_PATH;
    while (n && ((uint8_t)name.p[n] & 0xc0) == 0x80)
        n--;
    return (struct str){name.p, n};
}

static void append_segment(struct buf *b, const struct json_segment *s)
{
    switch (s->kind) {
    case JSON_SEGMENT_NONE:
        break;
    case JSON_SEGMENT_MEMBER:
        if (b->n)
            buf_append_char(b, '.');
        buf_append_str(b, shortened(s->name));
        break;
    case JSON_SEGMENT_KEY:
        buf_append_str(b, STR("[\""));
        buf_append_str(b, shortened(s->name));
        buf_append_str(b, STR("\"]"));
        break;
    case JSON_SEGMENT_INDEX:
        buf_printf(b, "[%zu]", s->index);
        break;
    }
}

static struct str path_text(struct json_context *c)
{
    const struct json_segment **segments;
    struct buf b;
    struct str path;
    size_t n = 0;

    for (const struct json_segment *s = c->path; s; s = s->up)
        n++;
    segments = arena_calloc(c->arena, n, sizeof(struct json_segment *));
    if (!segments)
        return STR_NULL;
    for (const struct json_segment *s = c->path; s; s = s->up)
        segments[--n] = s;
    buf_init(&b, SIZE_MAX);
    for (const struct json_segment *s = c->path; s; s = s->up, n++)
        append_segment(&b, segments[n]);
    path = b.failed ? STR_NULL : arena_copy(c->arena, b.n ? buf_str(&b) : STR(""));
    buf_free(&b);
    return path;
}

static int set_fault(struct json_context *c, struct str path, struct str message)
{
    if (!path.p || !message.p)
        return -ENOMEM;
    *c->fault = (struct schema_fault){.path = path, .message = message};
    return -EBADMSG;
}

int json_fault(struct json_context *c, const char *message)
{
    return set_fault(c, path_text(c), arena_copy(c->arena, str_of(message)));
}

int json_faultf(struct json_context *c, const char *fmt, ...)
{
    char message[256];
    va_list ap;

    va_start(ap, fmt);
    vsnprintf(message, sizeof(message), fmt, ap);
    va_end(ap);
    return json_fault(c, message);
}

int json_syntax(struct json_context *c, const char *what, const char *at)
{
    size_t byte = (size_t)(at - c->start) + 1;

    return set_fault(c, STR(""),
                     arena_printf(c->arena, "is not valid JSON: %s at byte %zu", what, byte));
}

int json_unexpected(struct json_context *c)
{
    return json_syntax(c, c->at == c->end ? "unexpected end" : "unexpected character", c->at);
}

int json_wrong_kind(struct json_context *c, const char *message)
{
    int err = json_skip_value(c);

    return err ? err : json_fault(c, message);
}

int json_too_deep(struct json_context *c)
{
    return set_fault(
        c, STR(""),
        arena_printf(c->arena, "is nested too deeply (maximum is %u levels)", c->max_depth));
}

int json_too_many(struct json_context *c)
{
    return set_fault(c, STR(""),
                     arena_printf(c->arena, "has too many items in lists and maps (maximum is %zu)",
                                  c->max_items));
}

const struct schema_message *json_type_of_url(const struct json_context *c, struct str url)
{
    const char *slash = url.n ? memrchr(url.p, '/', url.n) : NULL;

    return slash ? schema_message(c->schema, str_skip(url, (size_t)(slash - url.p) + 1)) : NULL;
}
