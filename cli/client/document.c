#include "document.h"

#include <errno.h>

static int fail(struct str *ret_error, struct str error)
{
    *ret_error = error.p ? error : STR("out of memory");
    return -EINVAL;
}

static int read_tags(struct str list, struct document *ret, struct str *ret_error)
{
    while (list.n) {
        const char *comma = memchr(list.p, ',', list.n);
        size_t n = comma ? (size_t)(comma - list.p) : list.n;
        struct str tag = str_trim((struct str){list.p, n});

        if (tag.n && ret->n_tags == DOCUMENT_TAGS_MAX)
            return fail(ret_error, STR("there are too many tags"));
        if (tag.n)
            ret->tags[ret->n_tags++] = tag;
        list = str_skip(list, n + 1);
    }
    return 0;
}

/* What goes into a header of the call. */
static bool is_header(struct str s)
{
    for (size_t i = 0; i < s.n; i++) {
        if (s.p[i] < ' ' || s.p[i] > '~')
            return false;
    }
    return true;
}

static int read_line(struct str line, unsigned number, struct document *ret, struct arena *arena,
                     struct str *ret_error)
{
    struct {
        struct str name, *to;
    } names[] = {{STR("title"), &ret->title},
                 {STR("description"), &ret->description},
                 {STR("key"), &ret->key},
                 {STR("etag"), &ret->etag}};
    const char *colon = memchr(line.p, ':', line.n);
    struct str name = str_trim((struct str){line.p, colon ? (size_t)(colon - line.p) : 0});
    struct str value = colon ? str_trim(str_skip(line, (size_t)(colon - line.p) + 1)) : STR_NULL;

    if (str_eq_nocase(name, STR("tags")))
        return read_tags(value, ret, ret_error);
    for (size_t i = 0; colon && i < ARRAY_SIZE(names); i++) {
        if (str_eq_nocase(name, names[i].name)) {
            if (i >= 2 && !is_header(value))
                return fail(ret_error,
                            arena_printf(arena, "line %u: key: and etag: are of visible characters",
                                         number));
            *names[i].to = value;
            return 0;
        }
    }
    return fail(ret_error,
                arena_printf(arena,
                             "line %u: title:, description: or tags: is expected, and an "
                             "empty line before the text",
                             number));
}

int document_read(struct str text, struct document *ret, struct arena *arena, struct str *ret_error)
{
    *ret = (struct document){.body = STR("")};
    if (text.n && memchr(text.p, '\0', text.n)) /* what is sent would end there */
        return fail(ret_error, STR("there is a NUL byte in it: it is no text"));
    for (unsigned number = 1; text.n; number++) {
        const char *lf = memchr(text.p, '\n', text.n);
        size_t n = lf ? (size_t)(lf - text.p) : text.n;
        struct str line = str_trim((struct str){text.p, n});

        text = str_skip(text, n + 1);
        if (!line.n)
            break;
        if (read_line(line, number, ret, arena, ret_error))
            return -EINVAL;
    }
    /* Editors end the last line; the body does not have that end. */
    while (text.n && strchr(" \t\r\n", text.p[text.n - 1]))
        text.n--;
    ret->body = text.n ? text : STR("");
    return 0;
}

static void print_line(struct buf *to, const char *name, struct str value)
{
    buf_printf(to, "%s: ", name);
    for (size_t i = 0; i < value.n; i++)
        buf_append_char(to, value.p[i] == '\n' || value.p[i] == '\r' ? ' ' : value.p[i]);
    buf_append_char(to, '\n');
}

void document_print(const struct document *d, struct buf *to)
{
    print_line(to, "title", d->title);
    print_line(to, "description", d->description);
    buf_append_str(to, STR("tags:"));
    for (size_t i = 0; i < d->n_tags; i++) {
        buf_append_str(to, i ? STR(", ") : STR(" "));
        buf_append_str(to, d->tags[i]);
    }
    buf_append_char(to, '\n');
    if (d->key.p)
        print_line(to, "key", d->key);
    if (d->etag.p)
        print_line(to, "etag", d->etag);
    buf_append_char(to, '\n');
    buf_append_str(to, d->body);
    if (d->body.n && d->body.p[d->body.n - 1] != '\n')
        buf_append_char(to, '\n');
}

bool document_same_tags(const struct document *a, const struct document *b)
{
    if (a->n_tags != b->n_tags)
        return false;
    for (size_t i = 0; i < a->n_tags; i++) {
        if (!str_eq(a->tags[i], b->tags[i]))
            return false;
    }
    return true;
}
