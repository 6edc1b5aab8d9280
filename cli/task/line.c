#include "line.h"

#include <errno.h>
#include <limits.h>

static bool take_date(struct str *s, date_t *ret)
{
    if (s->n <= DATE_CHARS || s->p[DATE_CHARS] != ' ' ||
        date_read((struct str){s->p, DATE_CHARS}, ret))
        return false;
    *s = str_skip(*s, DATE_CHARS + 1);
    return true;
}

void line_read(struct str text, struct line *ret)
{
    *ret = (struct line){.completed = DATE_NONE, .created = DATE_NONE};
    if (str_starts(text, STR("x "))) {
        ret->done = true;
        text = str_skip(text, 2);
    }
    if (text.n >= 4 && text.p[0] == '(' && text.p[1] >= 'A' && text.p[1] <= 'Z' &&
        text.p[2] == ')' && text.p[3] == ' ') {
        ret->priority = text.p[1];
        text = str_skip(text, 4);
    }
    if (!ret->done || take_date(&text, &ret->completed))
        (void)take_date(&text, &ret->created); /* may well have none */
    ret->body = text;
}

void line_print(const struct line *l, struct buf *to)
{
    char date[DATE_CHARS + 1];

    if (l->done)
        buf_append_str(to, STR("x "));
    if (l->priority)
        buf_printf(to, "(%c) ", l->priority);
    if (l->completed != DATE_NONE) {
        date_print(l->completed, date);
        buf_printf(to, "%s ", date);
    }
    if (l->created != DATE_NONE) {
        date_print(l->created, date);
        buf_printf(to, "%s ", date);
    }
    buf_append_str(to, l->body);
}

static bool is_gap(char c)
{
    return c == ' ' || c == '\t';
}

static void read_tag(struct word *w)
{
    const char *colon = memchr(w->text.p, ':', w->text.n);
    size_t n = colon ? (size_t)(colon - w->text.p) : 0;

    if (n == 0 || n + 1 == w->text.n || str_starts(str_skip(w->text, n + 1), STR("//")))
        return;
    w->kind = WORD_TAG;
    w->key = (struct str){w->text.p, n};
    w->value = str_skip(w->text, n + 1);
}

bool line_next_word(struct str *rest, struct word *ret)
{
    size_t n = 0;

    while (rest->n && is_gap(*rest->p))
        *rest = str_skip(*rest, 1);
    if (!rest->n)
        return false;
    while (n < rest->n && !is_gap(rest->p[n]))
        n++;
    *ret = (struct word){.text = {rest->p, n}};
    *rest = str_skip(*rest, n);
    if (n > 1 && ret->text.p[0] == '+')
        ret->kind = WORD_PROJECT;
    else if (n > 1 && ret->text.p[0] == '@')
        ret->kind = WORD_CONTEXT;
    else
        read_tag(ret);
    return true;
}

struct str line_tag(struct str body, struct str key)
{
    struct word w;

    while (line_next_word(&body, &w)) {
        if (w.kind == WORD_TAG && str_eq(w.key, key))
            return w.value;
    }
    return STR_NULL;
}

date_t line_tag_date(struct str body, struct str key)
{
    struct str value = line_tag(body, key);
    date_t d;

    return value.p && date_read(value, &d) == 0 ? d : DATE_NONE;
}

/* Not by printf: a text may have a NUL in it. */
struct str line_with_tag(struct str body, struct str key, struct str value, struct arena *arena)
{
    struct str old = line_tag(body, key);
    size_t before = old.p ? (size_t)(old.p - body.p) : body.n;
    struct buf text = {.max = INT_MAX};
    struct str result;

    buf_append(&text, body.p ? body.p : "", before);
    if (!old.p) {
        if (body.n)
            buf_append_char(&text, ' ');
        buf_append_str(&text, key);
        buf_append_char(&text, ':');
    }
    buf_append_str(&text, value);
    buf_append_str(&text, str_skip(body, before + old.n));
    result = buf_error(&text) ? STR_NULL : arena_copy(arena, buf_str(&text));
    buf_free(&text);
    return result;
}

static int set_date(struct line *l, struct str key, date_t d, struct arena *arena)
{
    char text[DATE_CHARS + 1];

    date_print(d, text);
    l->body = line_with_tag(l->body, key, str_of(text), arena);
    return l->body.p ? 0 : -ENOMEM;
}

int line_recur(const struct line *l, date_t today, struct arena *arena, struct str *ret)
{
    struct str rec = line_tag(l->body, STR("rec"));
    date_t due = line_tag_date(l->body, STR("due")), start = line_tag_date(l->body, STR("t"));
    bool strict = rec.n && rec.p[0] == '+';
    struct line next = *l;
    struct buf text = {.max = INT_MAX};
    struct interval by;
    date_t from, to;
    int err;

    if (!rec.p)
        return -ENOENT;
    if (interval_read(str_skip(rec, strict), &by))
        return -EINVAL;
    next.done = false;
    next.completed = DATE_NONE;
    if (next.created != DATE_NONE)
        next.created = today;
    from = due != DATE_NONE ? due : start;
    to = date_add(strict && from != DATE_NONE ? from : today, by);
    if (due == DATE_NONE && start != DATE_NONE) {
        err = set_date(&next, STR("t"), to, arena);
    } else {
        err = set_date(&next, STR("due"), to, arena);
        if (!err && start != DATE_NONE)
            err =
                set_date(&next, STR("t"), date_add(to, (struct interval){start - due, 'd'}), arena);
    }
    if (err)
        return err;
    line_print(&next, &text);
    *ret = arena_copy(arena, buf_str(&text));
    err = buf_error(&text) ? buf_error(&text) : ret->p ? 0 : -ENOMEM;
    buf_free(&text);
    return err;
}
