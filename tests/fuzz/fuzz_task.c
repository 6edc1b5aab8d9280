/* libFuzzer target for the lines of todo.txt files and the terms that choose among them. What is
 * printed is, byte for byte, what was read; words are parts of the line, in order; a task that
 * recurs is a line again; and a filter and its negation never agree. */
#include "../../cli/task/filter.h"
#include "../../cli/task/line.h"

#include <errno.h>
#include <limits.h>
#include <stdlib.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void check(bool holds)
{
    if (!holds)
        abort();
}

static void check_words(const struct line *l)
{
    const char *at = l->body.p;
    struct str rest = l->body;
    struct word w;

    while (line_next_word(&rest, &w)) {
        check(w.text.n && w.text.p >= at && w.text.p + w.text.n <= l->body.p + l->body.n);
        at = w.text.p + w.text.n;
        if (w.kind == WORD_TAG)
            check(w.key.n && w.value.n && w.key.n + 1 + w.value.n == w.text.n);
    }
}

static void check_recurrence(const struct line *l, date_t today, struct arena *arena)
{
    struct str next;
    struct line again;
    int err = line_recur(l, today, arena, &next);

    check(err == 0 || err == -ENOENT || err == -EINVAL);
    if (err)
        return;
    check(!memchr(next.p, '\n', next.n));
    line_read(next, &again);
    check(line_tag(again.body, STR("rec")).p);
    check(line_tag_date(again.body, STR("due")) != DATE_NONE ||
          line_tag_date(again.body, STR("t")) != DATE_NONE);
}

static void check_line(struct str text, date_t today, struct arena *arena)
{
    struct buf printed = {.max = INT_MAX};
    struct str changed;
    struct line l;

    line_read(text, &l);
    line_print(&l, &printed);
    check(!buf_error(&printed) && str_eq(buf_str(&printed), text));
    buf_free(&printed);
    check_words(&l);
    check_recurrence(&l, today, arena);
    changed = line_with_tag(l.body, STR("due"), STR("2026-11-29"), arena);
    check(changed.p && line_tag_date(changed, STR("due")) == today);
    check(line_tag(l.body, STR("due")).p || str_starts(changed, l.body));
}

static bool chooses(const char *term, struct str text, date_t today, struct arena *arena,
                    bool *ret_matches)
{
    struct filter *f;
    struct str error;
    int err = filter_make(&term, 1, true, today, arena, &f, &error);

    check(err == 0 || (err == -EINVAL && error.n));
    if (!err)
        *ret_matches = filter_matches(f, text, text.n);
    filter_free(f);
    return !err;
}

static void check_term(struct str term, struct str text, date_t today, struct arena *arena)
{
    struct str positive = arena_copy(arena, term), negative;
    bool matches, does_not;

    check(positive.p);
    if (positive.p[0] == '-' || strlen(positive.p) > 64)
        return; /* a long pattern of repeated groups takes glibc any time: it is the user's own */
    negative = arena_printf(arena, "-%s", positive.p);
    check(negative.p);
    if (strpbrk(positive.p, "*{+\\"))
        return; /* the same */
    if (!chooses(positive.p, text, today, arena, &matches))
        return;
    check(chooses(negative.p, text, today, arena, &does_not) && matches != does_not);
}

/* The first line is a term, each that follows a task. */
int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    date_t today = date_of((struct civil){2026, 11, 29});
    struct str rest = {(const char *)data, size}, term = STR_NULL;
    struct arena arena;

    arena_init(&arena, 0);
    for (bool first = true; rest.n; first = false) {
        const char *lf = memchr(rest.p, '\n', rest.n);
        struct str line = {rest.p, lf ? (size_t)(lf - rest.p) : rest.n};
        struct str copy = arena_copy(&arena, line); /* ends where the sanitizer looks */

        check(copy.p);
        if (first)
            term = copy;
        else
            check_term(term, copy, today, &arena);
        check_line(copy, today, &arena);
        rest = str_skip(rest, line.n + 1);
    }
    arena_free(&arena);
    return 0;
}
