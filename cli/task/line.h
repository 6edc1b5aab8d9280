/* One line of a todo.txt file (https://github.com/todotxt/todo.txt): what its parts mean.
 *
 *     x (A) 2026-11-29 2026-11-01 Call Ada +engine @phone due:2026-12-01
 *     |  |      |          |      body, with +projects, @contexts and key:value
 *     |  |      completed  created
 *     |  priority
 *     done
 *
 * A part is seen only where the format has it, followed by one space; everything else, in whatever
 * encoding, is body. So line_print() gives back exactly the bytes that line_read() was given. Pure
 * functions; any thread; texts point into the line that was read.
 */
#ifndef STOA_CLI_TASK_LINE_H
#define STOA_CLI_TASK_LINE_H

#include "date.h"

#include "base/arena.h"
#include "base/buf.h"

struct line {
    bool done;
    char priority;    /* 'A'..'Z', 0: none */
    date_t completed; /* DATE_NONE: not said; always so when not done */
    date_t created;   /* DATE_NONE: not said */
    struct str body;
};

/* Never fails. text has no line end. */
void line_read(struct str text, struct line *ret);
void line_print(const struct line *l, struct buf *to);

enum word_kind { WORD_PLAIN, WORD_PROJECT, WORD_CONTEXT, WORD_TAG };

struct word {
    enum word_kind kind;
    struct str text;       /* all of it: "+engine", "due:2026-12-01" */
    struct str key, value; /* WORD_TAG: "due", "2026-12-01" */
};

/* The next word of *rest, which is cut to what follows it. False: there is none. Words are parted
 * by spaces and tabs. A URL is no tag. */
bool line_next_word(struct str *rest, struct word *ret);

/* The value of the first tag of that key in body; {NULL, 0}: none. */
struct str line_tag(struct str body, struct str key);

/* The date of the tag; DATE_NONE: none, or none that is a date. */
date_t line_tag_date(struct str body, struct str key);

/* The body with the tag set to value, in its place or at the end; {NULL, 0} without memory. */
struct str line_with_tag(struct str body, struct str key, struct str value,
                         struct arena *arena) MUST_CHECK;

/* What comes after a task that has `rec:` when it is done today: the text of the new task in *ret.
 * rec:1w counts from today, rec:+1w from its due date. t: keeps its distance to due:. A task
 * without due: gets one. -ENOENT: does not recur; -EINVAL: rec: cannot be read; -ENOMEM. */
int line_recur(const struct line *l, date_t today, struct arena *arena, struct str *ret) MUST_CHECK;

#endif
