/* Colours: what the settings say, and where they are in a line. */
#include "task.h"

#include <ctype.h>
#include <stdlib.h>

/* Settings write the escape character as one or more backslashes and 033. */
struct str color_of(struct task *t, const char *setting)
{
    const char *value = getenv(setting);
    char *to;
    size_t n = 0;

    if (!t->wants_color || !value || !*value)
        return STR("");
    to = must_have(t, arena_alloc(&t->arena, strlen(value) + 1));
    while (*value) {
        size_t slashes = strspn(value, "\\");

        if (slashes && strncmp(value + slashes, "033", 3) == 0) {
            to[n++] = '\033';
            value += slashes + 3;
        } else {
            to[n++] = *value++;
        }
    }
    return (struct str){to, n};
}

struct str color_of_priority(struct task *t, char priority)
{
    char name[] = "PRI_?";
    struct str color;

    name[4] = priority;
    color = color_of(t, name);
    return color.n ? color : color_of(t, "PRI_X");
}

/* ---- of a line ---- */

void colors_choose(struct task *t, struct colors *c)
{
    *c = (struct colors){
        .done = color_of(t, "COLOR_DONE"),
        .end = color_of(t, "DEFAULT"),
        .project = color_of(t, getenv("HIDE_PROJECTS_SUBSTITUTION") ? "NONE" : "COLOR_PROJECT"),
        .context = color_of(t, getenv("HIDE_CONTEXTS_SUBSTITUTION") ? "NONE" : "COLOR_CONTEXT"),
        .overdue = t->is_todo_sh ? STR("") : color_of(t, "RED"),
        .hides_priority = getenv("HIDE_PRIORITY_SUBSTITUTION") != NULL,
    };
    for (int i = 0; i < 26; i++)
        c->priority[i] = color_of_priority(t, (char)('A' + i));
    c->looks_at_words = c->project.n || c->context.n || c->overdue.n;
}

static bool ends_a_name(struct str word)
{
    unsigned char c = (unsigned char)word.p[word.n - 1];

    return word.n > 1 && c < 0x80 && (isalnum(c) || c == '_');
}

static struct str color_of_word(struct task *t, const struct colors *c, struct str word, bool done)
{
    date_t due;

    if (word.p[0] == '+' && ends_a_name(word))
        return c->project;
    if (word.p[0] == '@' && ends_a_name(word))
        return c->context;
    if (!done && c->overdue.n && str_starts(word, STR("due:")) &&
        date_read(str_skip(word, 4), &due) == 0 && due < t->today)
        return c->overdue;
    return STR("");
}

static void append_words(struct task *t, const struct colors *c, struct str text, struct str color,
                         bool done, struct buf *to)
{
    struct word w;
    struct str rest = text;

    for (const char *at = text.p; line_next_word(&rest, &w); at = rest.p) {
        struct str own = color_of_word(t, c, w.text, done);

        buf_append(to, at, (size_t)(w.text.p - at));
        buf_append_str(to, own);
        buf_append_str(to, w.text);
        if (own.n) {
            buf_append_str(to, c->end);
            buf_append_str(to, color);
        }
        text = rest;
    }
    buf_append_str(to, text); /* blanks at the end */
}

static char *put(char *to, struct str s)
{
    return s.n ? mempcpy(to, s.p, s.n) : to;
}

/* A line in one colour, as most are: with one look at how much room there is. */
static void append_plain(struct str color, struct str number, struct str text, struct str end,
                         struct buf *to)
{
    char *start = buf_reserve(to, color.n + number.n + 1 + text.n + end.n), *p = start;

    if (!p)
        return;
    p = put(put(p, color), number);
    *p++ = ' ';
    p = put(put(p, text), end);
    to->n += (size_t)(p - start);
}

void colors_append(struct task *t, const struct colors *c, struct str number, struct str text,
                   struct buf *to)
{
    struct str color = STR("");
    bool done = str_starts(text, STR("x "));
    bool has_priority = text.n >= 4 && text.p[0] == '(' && text.p[1] >= 'A' && text.p[1] <= 'Z' &&
                        text.p[2] == ')' && text.p[3] == ' ';

    if (done)
        color = c->done;
    else if (has_priority)
        color = c->priority[text.p[1] - 'A'];
    if (has_priority && c->hides_priority)
        text = str_skip(text, 4);
    if (!c->looks_at_words) {
        append_plain(color, number, text, color.n ? c->end : STR(""), to);
        return;
    }
    buf_append_str(to, color);
    append_words(t, c, number, color, done, to);
    buf_append_char(to, ' ');
    append_words(t, c, text, color, done, to);
    if (color.n)
        buf_append_str(to, c->end);
}
