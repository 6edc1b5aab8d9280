#include "room_view.h"

#include "../cli.h"

#include <errno.h>
#include <stdlib.h>

#define TEXT_MAX ((size_t)64 << 10)
#define INDENT 6 /* of a message's second line */

static void entry_free(struct view_entry *e)
{
    free(e->author);
    free(e->text);
    free(e->sent);
    free(e->problem);
}

void room_view_free(struct room_view *v)
{
    for (size_t i = 0; i < v->n; i++)
        entry_free(&v->entries[i]);
    free(v->entries);
    *v = (struct room_view){.n = 0};
}

void room_view_forget(struct room_view *v)
{
    size_t n = 0;

    for (size_t i = 0; i < v->n; i++) {
        if (v->entries[i].seq)
            entry_free(&v->entries[i]);
        else
            v->entries[n++] = v->entries[i];
    }
    v->n = n;
}

static char *clean(const char *text, bool lines)
{
    struct buf to = {.max = TEXT_MAX};

    terminal_clean(&to, str_of(text), lines);
    terminal_part(&to, 0);
    buf_append_char(&to, '\0');
    if (buf_error(&to) == -ENOMEM)
        buf_free(&to);
    else if (to.failed) /* longer than any message is */
        to.p[to.n - 1] = '\0';
    return to.p;
}

/* Where the entry of that number is, or would be. */
static size_t place_of(const struct room_view *v, int64_t seq)
{
    size_t low = 0, high = v->n;

    while (high && !v->entries[high - 1].seq) /* those that wait */
        high--;
    while (low < high) {
        size_t middle = (low + high) / 2;

        if (v->entries[middle].seq < seq)
            low = middle + 1;
        else
            high = middle;
    }
    return low;
}

static struct view_entry *insert(struct room_view *v, size_t at)
{
    if (v->n == v->room) {
        size_t room = v->room ? v->room * 2 : 64;
        struct view_entry *more = reallocarray(v->entries, room, sizeof(*more));

        if (!more)
            return NULL;
        v->entries = more;
        v->room = room;
    }
    memmove(v->entries + at + 1, v->entries + at, (v->n - at) * sizeof(*v->entries));
    v->n++;
    v->entries[at] = (struct view_entry){.seq = 0};
    return &v->entries[at];
}

static void remove_at(struct room_view *v, size_t at)
{
    entry_free(&v->entries[at]);
    v->n--;
    memmove(v->entries + at, v->entries + at + 1, (v->n - at) * sizeof(*v->entries));
}

struct view_entry *room_view_find(struct room_view *v, int64_t seq)
{
    size_t at = place_of(v, seq);

    return at < v->n && v->entries[at].seq == seq ? &v->entries[at] : NULL;
}

struct view_entry *room_view_put(struct room_view *v, int64_t seq, const char *author,
                                 const char *text, int64_t at_s)
{
    struct view_entry *e = room_view_find(v, seq);
    char *copy = clean(text, true), *name = author ? clean(author, false) : NULL;

    if (!e && copy && (name || !author)) {
        if (v->n >= VIEW_ENTRIES_MAX && place_of(v, seq) > 0)
            remove_at(v, 0);
        e = insert(v, place_of(v, seq));
    }
    if (!e || !copy || (author && !name)) {
        free(copy);
        free(name);
        return NULL;
    }
    free(e->text);
    free(e->author);
    e->seq = seq;
    e->text = copy;
    e->author = name;
    e->at_s = at_s;
    return e;
}

void room_view_react(struct room_view *v, int64_t seq, const char *emoji, int count)
{
    struct view_entry *e = room_view_find(v, seq);
    struct view_reaction *r;
    char *text = e ? clean(emoji, false) : NULL;
    size_t i = 0;

    if (!text)
        return;
    while (i < e->n_reactions && strcmp(e->reactions[i].emoji, text) != 0)
        i++;
    r = &e->reactions[i];
    if (i < e->n_reactions && count > 0) {
        r->count = count;
    } else if (i < e->n_reactions) {
        e->n_reactions--;
        memmove(r, r + 1, (e->n_reactions - i) * sizeof(*r));
    } else if (i < VIEW_REACTIONS && count > 0 && strlen(text) < sizeof(r->emoji)) {
        memcpy(r->emoji, text, strlen(text) + 1);
        r->count = count;
        e->n_reactions++;
    }
    free(text);
}

/* ---- what waits ---- */

bool room_view_pend(struct room_view *v, const char *id, const char *author, const char *text,
                    int64_t at_s)
{
    char *copy = clean(text, true), *name = clean(author, false), *sent = strdup(text);
    struct view_entry *e =
        copy && name && sent && strlen(id) <= VIEW_ID_MAX ? insert(v, v->n) : NULL;

    if (!e) {
        free(copy);
        free(name);
        free(sent);
        return false;
    }
    e->text = copy;
    e->sent = sent;
    e->author = name;
    e->at_s = at_s;
    memcpy(e->id, id, strlen(id) + 1);
    return true;
}

static size_t place_of_id(const struct room_view *v, const char *id)
{
    for (size_t i = v->n; i-- > 0 && !v->entries[i].seq;) {
        if (strcmp(v->entries[i].id, id) == 0)
            return i;
    }
    return SIZE_MAX;
}

void room_view_acknowledge(struct room_view *v, const char *id, int64_t seq)
{
    size_t from = place_of_id(v, id), to;
    struct view_entry e;

    if (from == SIZE_MAX)
        return;
    if (room_view_find(v, seq)) { /* its event was here first */
        remove_at(v, from);
        return;
    }
    to = place_of(v, seq);
    e = v->entries[from];
    memmove(v->entries + to + 1, v->entries + to, (from - to) * sizeof(e));
    e.seq = seq;
    v->entries[to] = e;
}

void room_view_refuse(struct room_view *v, const char *id, const char *problem)
{
    size_t at = place_of_id(v, id);

    if (at != SIZE_MAX && !v->entries[at].problem)
        v->entries[at].problem = clean(problem, false);
}

const struct view_entry *room_view_pending(const struct room_view *v, size_t *at)
{
    while (*at < v->n) {
        const struct view_entry *e = &v->entries[(*at)++];

        if (!e->seq && !e->problem)
            return e;
    }
    return NULL;
}

/* ---- lines ---- */

static void print_head(const struct view_entry *e, const char *clock, struct buf *to)
{
    buf_printf(to, "%-*s", INDENT, clock);
    if (!e->author)
        buf_append_str(to, STR("* "));
    else
        buf_printf(to, "%s  ", e->author);
}

static void print_tail(const struct view_entry *e, struct buf *to)
{
    if (e->edited && !e->deleted)
        buf_append_str(to, STR(" (changed)"));
    if (!e->seq)
        buf_printf(to, e->problem ? " (not sent: %s)" : " (on its way)", e->problem);
    for (size_t i = 0; i < e->n_reactions; i++)
        buf_printf(to, "%s%s %d", i ? "  " : "\n", e->reactions[i].emoji, e->reactions[i].count);
}

size_t room_view_lines(const struct view_entry *e, const char *clock, size_t width, struct buf *to,
                       struct view_line lines[VIEW_LINES_MAX])
{
    size_t start = to->n, head, n = 0;
    struct str rest;

    print_head(e, clock, to);
    head = to->n - start;
    buf_append_str(to, e->deleted ? STR("(deleted)") : str_of(e->text));
    print_tail(e, to);
    if (buf_error(to))
        return 0;
    rest = (struct str){to->p + start, to->n - start};
    while (n < VIEW_LINES_MAX && (rest.n || !n)) {
        size_t room = n && width > INDENT * 2 ? width - INDENT : width;

        lines[n] =
            (struct view_line){.text = terminal_wrap(&rest, room), .dim = !e->author || !e->seq};
        n++;
    }
    if (e->author && head > INDENT + 2) {
        lines[0].bold_from = INDENT;
        lines[0].bold_bytes = head - INDENT - 2;
        if (lines[0].bold_from + lines[0].bold_bytes > lines[0].text.n)
            lines[0].bold_bytes = 0; /* a name that is wider than the screen */
    }
    return n;
}
