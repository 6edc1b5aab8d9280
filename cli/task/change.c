/* The actions of todo.sh that change files. Each works on the lines in memory, under lock, and says
 * what it did; change_end() writes. */
#include "task.h"

#include "base/utf8.h"

#include <ctype.h>
#include <errno.h>
#include <inttypes.h>
#include <regex.h>
#include <stdlib.h>

/* ---- a change ---- */

/* The journal of the list, also when a change is about other files. */
static const char *journal_owner(struct task *t)
{
    char *real = realpath(t->set.todo_file, NULL);
    const char *owner = must_copy(t, str_of(real ? real : t->set.todo_file)).p;

    free(real);
    return owner;
}

int change_begin(struct change *c, struct task *t, const char *const *names, size_t n)
{
    *c = (struct change){.t = t, .said = t->out.n};
    if (files_begin(&c->files, &t->arena, names, n))
        return trouble(t, c->files.error);
    journal_open(&c->journal, &t->arena, journal_owner(t));
    c->journal.command = joined(t, -1);
    c->files.journal = journal_add;
    c->files.journal_data = &c->journal;
    return 0;
}

int change_end(struct change *c, int status)
{
    if (files_commit(&c->files)) {
        c->t->out.n = c->said;
        status = trouble(c->t, c->files.error);
    } else if (c->journal.problem.p) {
        trouble(c->t, c->journal.problem); /* the change itself is made */
    }
    files_end(&c->files);
    return status;
}

struct str prefix_of(struct task *t, const char *name)
{
    const char *slash = strrchr(name, '/');
    struct str base = must_copy(t, str_of(slash ? slash + 1 : name));

    for (size_t i = 0; i + 1 < base.n; i++) {
        if (base.p[i] == '.' && base.p[i + 1] != '.') {
            base.n = i;
            break;
        }
    }
    for (size_t i = 0; i < base.n; i++)
        ((char *)base.p)[i] =
            (char)(base.p[i] >= 'a' && base.p[i] <= 'z' ? base.p[i] - 32 : base.p[i]);
    return base;
}

static bool is_number(const char *s)
{
    return *s && s[strspn(s, "0123456789")] == '\0';
}

int find_item(struct task *t, const struct file *file, const char *item, const char *usage,
              size_t *ret)
{
    uintmax_t number;

    *ret = 0;
    if (!item || !is_number(item))
        return die(t, "usage: %s %s", t->program, usage);
    errno = 0;
    number = strtoumax(item, NULL, 10);
    if (errno || number < 1 || number > file->n || file_line_is_empty(file, number - 1))
        return die(t, "%.*s: No task %s.", STR_FMT(prefix_of(t, file->name)), item);
    *ret = (size_t)number - 1;
    return 0;
}

void say_item(struct task *t, const char *item, struct str text)
{
    buf_append_str(&t->out, str_of(item));
    buf_append_char(&t->out, ' ');
    buf_append_str(&t->out, text);
    buf_append_char(&t->out, '\n');
}

/* The item as it is now. A task that has become empty ends the action, as with todo.sh. */
static int say_new(struct task *t, const struct file *file, const char *item, size_t at)
{
    struct str text = text_at(file, at);

    if (!text.n)
        return die(t, "%.*s: No updated task %s.", STR_FMT(prefix_of(t, file->name)), item);
    say_item(t, item, text);
    return 0;
}

size_t priority_length(struct str text)
{
    size_t n;

    if (text.n < 4 || text.p[0] != '(')
        return 0;
    n = utf8_length(text.p + 1, text.n - 1);
    n = n ? n : 1;
    return str_starts(str_skip(text, 1 + n), STR(") ")) ? n + 3 : 0;
}

const char *today_text(struct task *t)
{
    char *text = must_have(t, arena_alloc(&t->arena, DATE_CHARS + 1));

    date_print(t->today, text);
    return text;
}

/* A task is one line. */
static struct str one_line(struct task *t, struct str text)
{
    struct str copy = must_copy(t, text);

    for (size_t i = 0; i < copy.n; i++) {
        if (copy.p[i] == '\n' || copy.p[i] == '\r')
            ((char *)copy.p)[i] = ' ';
    }
    return copy;
}

struct str concat(struct task *t, struct str a, struct str b, struct str c)
{
    char *p = must_have(t, arena_alloc(&t->arena, a.n + b.n + c.n + 1));
    size_t n = 0;

    for (const struct str *s = (const struct str[]){a, b, c}, *end = s + 3; s < end; s++) {
        if (s->p)
            memcpy(p + n, s->p, s->n);
        n += s->n;
    }
    p[n] = '\0';
    return (struct str){p, n};
}

/* The arguments from `from` on; when there are none, what the user answers. */
static struct str input(struct task *t, int from, struct str prompt)
{
    if ((t->argc <= from || !t->argv[from][0]) && !t->set.force)
        return ask(t, prompt);
    return joined(t, from);
}

size_t split_items(struct task *t, char ***ret)
{
    struct str all = must_copy(t, joined(t, 0));
    size_t n = 0, room = all.n / 2 + 1;
    char *save = NULL;

    *ret = must_have(t, arena_calloc(&t->arena, room, sizeof(char *)));
    for (char *item = strtok_r((char *)all.p, ", \t\n", &save); item;
         item = strtok_r(NULL, ", \t\n", &save))
        (*ret)[n++] = item;
    return n;
}

/* ---- add ---- */

static struct str new_task(struct task *t, struct str text)
{
    struct str task = one_line(t, text);
    size_t head = 0;

    if (task.n >= 3 && task.p[0] == '(' && task.p[1] >= 'a' && task.p[1] <= 'z' && task.p[2] == ')')
        ((char *)task.p)[1] = (char)(task.p[1] - 32);
    if (!t->set.date_on_add)
        return task;
    if (task.n >= 4 && task.p[0] == '(' && task.p[1] >= 'A' && task.p[1] <= 'Z')
        head = priority_length(task);
    return concat(t, (struct str){task.p, head}, must_print(t, "%s ", today_text(t)),
                  str_skip(task, head));
}

void add_line(struct change *c, struct file *file, struct str text)
{
    struct task *t = c->t;
    struct str task = new_task(t, text);

    file_append(&c->files, file, task);
    if (t->set.verbose > 0) {
        buf_printf(&t->out, "%zu ", file->n);
        buf_append_str(&t->out, task);
        buf_printf(&t->out, "\n%.*s: %zu added.\n", STR_FMT(prefix_of(t, file->name)), file->n);
    }
}

static int add_to(struct task *t, const char *name, struct str text, bool lines)
{
    struct change c;
    int status = change_begin(&c, t, &name, 1);

    while (!status && text.n && lines) {
        const char *lf = memchr(text.p, '\n', text.n);
        size_t n = lf ? (size_t)(lf - text.p) : text.n;

        if (n)
            add_line(&c, files_at(&c.files, 0), (struct str){text.p, n});
        text = str_skip(text, n + 1);
    }
    if (!status && !lines)
        add_line(&c, files_at(&c.files, 0), text);
    return change_end(&c, status);
}

static int add(struct task *t, bool lines)
{
    if ((!t->argc || !t->argv[0][0]) && t->set.force)
        return die(t, "usage: %s %s \"TODO ITEM\"", t->program, lines ? "addm" : "add");
    return add_to(t, t->set.todo_file, input(t, 0, STR("Add: ")), lines);
}

int action_add(struct task *t)
{
    return add(t, false);
}

int action_addm(struct task *t)
{
    return add(t, true);
}

int action_addto(struct task *t)
{
    struct str dest;

    if (t->argc < 2 || !t->argv[0][0] || !t->argv[1][0])
        return die(t, "usage: %s addto DEST \"TODO ITEM\"", t->program);
    dest = must_print(t, "%s/%s", t->set.todo_dir, t->argv[0]);
    if (!is_file(dest.p))
        return die(t, "TODO: Destination file %s does not exist.", dest.p);
    return add_to(t, dest.p, joined(t, 1), false);
}

/* ---- one item ---- */

/* Before a question is asked: is there such an item? Its text in *ret. No lock is held meanwhile.
 */
static int look_at_item(struct task *t, const char *name, const char *item, const char *usage,
                        struct str *ret)
{
    struct files files;
    size_t at = 0;
    int status;

    if (files_look(&files, &t->arena, &name, 1)) {
        status = trouble(t, files.error);
    } else {
        status = find_item(t, files_at(&files, 0), item, usage, &at);
        if (!status)
            *ret = must_copy(t, text_at(files_at(&files, 0), at));
    }
    files_end(&files);
    return status;
}

/* The item under lock, still with the text that the user was asked about. */
static int find_same(struct task *t, const struct file *file, const char *item, const char *usage,
                     struct str text, size_t *ret)
{
    int status = find_item(t, file, item, usage, ret);

    if (!status && !str_eq(text_at(file, *ret), text))
        status = trouble(t, must_print(t,
                                       "task %s was changed by another program just now; nothing "
                                       "was changed",
                                       item));
    return status;
}

static const char *item_argument(const struct task *t)
{
    return t->argc ? t->argv[0] : "";
}

int action_append(struct task *t)
{
    const char *usage = "append ITEM# \"TEXT TO APPEND\"", *item = item_argument(t);
    const char *delimiters = getenv("SENTENCE_DELIMITERS");
    struct change c;
    struct str old = STR_NULL, text;
    struct file *file;
    size_t at;
    int status = look_at_item(t, t->set.todo_file, item, usage, &old);

    if (status)
        return status;
    text = one_line(t, input(t, 1, STR("Append: ")));
    status = change_begin(&c, t, (const char *const[]){t->set.todo_file}, 1);
    file = files_at(&c.files, 0);
    if (!status)
        status = find_same(t, file, item, usage, old, &at);
    if (!status) {
        bool joins = text.n && delimiters && strchr(delimiters, text.p[0]);

        file->keep_backup = true;
        file_set(file, at, concat(t, old, joins ? STR("") : STR(" "), text));
        if (t->set.verbose > 0)
            status = say_new(t, file, item, at);
    }
    return change_end(&c, status);
}

/* "(A) 2026-11-29 " in front of a task, as todo.sh sees it: years of two to four digits. */
static void read_head(struct str text, size_t *ret_priority, size_t *ret_date)
{
    struct str rest;
    size_t years = 0;

    *ret_priority = priority_length(text);
    *ret_date = 0;
    rest = str_skip(text, *ret_priority);
    while (rest.p && years < rest.n && years < 4 && isdigit((unsigned char)rest.p[years]))
        years++;
    if (years < 2 || rest.n < years + 7)
        return;
    rest = str_skip(rest, years);
    for (int i = 0; i < 7; i++) {
        if ((i == 0 || i == 3) ? rest.p[i] != '-'
            : i == 6           ? rest.p[i] != ' '
                               : !isdigit((unsigned char)rest.p[i]))
            return;
    }
    *ret_date = years + 7;
}

static struct str with_head(struct task *t, struct str old, struct str text, bool replaces)
{
    size_t priority, date, new_priority, new_date;
    struct str head, rest;

    read_head(old, &priority, &date);
    rest = replaces ? STR("") : str_skip(old, priority + date);
    read_head(text, &new_priority, &new_date);
    if (replaces && (new_priority || new_date))
        date = 0;
    head = (struct str){old.p, priority + date};
    return concat(t, concat(t, head, text, replaces ? STR("") : STR(" ")), rest, STR(""));
}

static int replace_or_prepend(struct task *t, bool replaces)
{
    const char *usage =
        replaces ? "replace ITEM# \"UPDATED ITEM\"" : "prepend ITEM# \"TEXT TO PREPEND\"";
    const char *item = item_argument(t);
    struct change c;
    struct str old = STR_NULL, text;
    struct file *file;
    size_t at;
    int status = look_at_item(t, t->set.todo_file, item, usage, &old);

    if (status)
        return status;
    text = one_line(t, input(t, 1, replaces ? STR("Replacement: ") : STR("Prepend: ")));
    status = change_begin(&c, t, (const char *const[]){t->set.todo_file}, 1);
    file = files_at(&c.files, 0);
    if (!status)
        status = find_same(t, file, item, usage, old, &at);
    if (!status) {
        file->keep_backup = true;
        file_set(file, at, with_head(t, old, text, replaces));
        if (t->set.verbose > 0 && !text_at(file, at).n) {
            status = say_new(t, file, item, at);
        } else if (t->set.verbose > 0) {
            if (replaces) {
                say_item(t, item, old);
                buf_append_str(&t->out, STR("TODO: Replaced task with:\n"));
            }
            status = say_new(t, file, item, at);
        }
    }
    return change_end(&c, status);
}

int action_prepend(struct task *t)
{
    return replace_or_prepend(t, false);
}

int action_replace(struct task *t)
{
    return replace_or_prepend(t, true);
}

int action_pri(struct task *t)
{
    const char *usage = "pri ITEM# PRIORITY\nnote: PRIORITY must be anywhere from A to Z.";
    const char *item = item_argument(t);
    struct change c;
    struct file *file;
    struct str text;
    char old, new;
    size_t at, head;
    int status;

    if (t->argc != 2 || strlen(t->argv[1]) != 1 || !isalpha((unsigned char)t->argv[1][0]))
        return die(t, "usage: %s %s", t->program, usage);
    new = (char)toupper((unsigned char)t->argv[1][0]);
    status = change_begin(&c, t, (const char *const[]){t->set.todo_file}, 1);
    file = files_at(&c.files, 0);
    if (!status)
        status = find_item(t, file, item, usage, &at);
    if (status)
        return change_end(&c, status);
    text = text_at(file, at);
    head = priority_length(text);
    old = head ? text.p[1] : '\0';
    if (old != new) {
        file->keep_backup = true;
        file_set(file, at, concat(t, must_print(t, "(%c) ", new), str_skip(text, head), STR("")));
    }
    if (t->set.verbose > 0)
        say_item(t, item, text_at(file, at));
    if (old == new)
        buf_printf(&t->out, "TODO: %s already prioritized (%c).\n", item, new);
    else if (t->set.verbose > 0 && head)
        buf_printf(&t->out, "TODO: %s re-prioritized from (%.*s) to (%c).\n", item, (int)head - 3,
                   text.p + 1, new);
    else if (t->set.verbose > 0)
        buf_printf(&t->out, "TODO: %s prioritized (%c).\n", item, new);
    return change_end(&c, status);
}

/* ---- del ---- */

struct substitution {
    const char *before, *after; /* around the term, in sed's regular expressions */
    const char *with;           /* "\1": the first group */
};

/* sed's s/pattern/with/g. */
static struct str substitute(struct task *t, struct str text, const regex_t *pattern,
                             const char *with)
{
    struct buf to = {.max = FILE_BYTES_MAX};
    struct str result;
    size_t at = 0;
    bool after_match = false;

    while (at <= text.n) {
        regmatch_t m[2] = {{0, (regoff_t)(text.n - at)}, {-1, -1}};

        if (regexec(pattern, text.p + at, 2, m, REG_STARTEND | (at ? REG_NOTBOL : 0)))
            break;
        buf_append(&to, text.p + at, (size_t)m[0].rm_so);
        /* An empty match right behind another one counts for nothing. */
        if (m[0].rm_eo > 0 || !after_match) {
            if (with[0] != '\\')
                buf_append_str(&to, str_of(with));
            else if (m[1].rm_so >= 0)
                buf_append(&to, text.p + at + m[1].rm_so, (size_t)(m[1].rm_eo - m[1].rm_so));
        }
        after_match = m[0].rm_eo > m[0].rm_so;
        at += (size_t)m[0].rm_eo;
        if (!after_match && at < text.n)
            buf_append_char(&to, text.p[at]);
        at += !after_match;
    }
    if (at < text.n)
        buf_append_str(&to, str_skip(text, at));
    result = buf_error(&to) ? (struct str){must_have(t, NULL), 0} : must_copy(t, buf_str(&to));
    buf_free(&to);
    return result;
}

static int remove_term(struct task *t, const char *term, struct str *text)
{
    static const struct substitution all[] = {
        {"^\\((.) \\)\\{0,1\\} *", " *", "\\1"},
        {" *", " *$", ""},
        {"  *", " *", " "},
        {" *", "  *", " "},
        {"", "", ""},
    };

    for (size_t i = 0; i < ARRAY_SIZE(all); i++) {
        struct str pattern = must_print(t, "%s%s%s", all[i].before, term, all[i].after);
        regex_t compiled;
        char why[128];
        int err = regcomp(&compiled, pattern.p, 0);

        if (err) {
            regerror(err, &compiled, why, sizeof(why));
            return trouble(t, must_print(t, "%s: %s", term, why));
        }
        *text = substitute(t, *text, &compiled, all[i].with);
        regfree(&compiled);
    }
    return 0;
}

static int delete_term(struct task *t, struct file *file, const char *item, size_t at)
{
    struct str old = text_at(file, at), new = must_copy(t, old); /* ends with a NUL */
    const char *term = t->argv[1];

    /* A term that cannot be read is not found, either. */
    if (remove_term(t, term, &new))
        new = old;
    if (str_eq(new, old)) {
        if (t->set.verbose > 0)
            say_item(t, item, old);
        return die(t, "TODO: '%s' not found; no removal done.", term);
    }
    file->keep_backup = true;
    file_set(file, at, new);
    if (!new.n)
        return say_new(t, file, item, at);
    if (t->set.verbose > 0) {
        say_item(t, item, old);
        buf_printf(&t->out, "TODO: Removed '%s' from task.\n", term);
        return say_new(t, file, item, at);
    }
    return 0;
}

/* Leaves an empty line, so that the numbers of the others stay, or none. */
static void take_out(struct task *t, struct file *file, size_t at)
{
    file->keep_backup = true;
    file_set(file, at, STR(""));
    if (!t->set.preserve)
        file_remove_empty(file);
}

static bool agrees(struct task *t, struct str question)
{
    return t->set.force || str_eq(ask(t, question), STR("y"));
}

int action_del(struct task *t)
{
    const char *usage = "del ITEM# [TERM]", *item = item_argument(t);
    bool whole = t->argc < 2 || !t->argv[1][0];
    struct change c;
    struct str old = STR_NULL;
    struct file *file;
    size_t at;
    int status = look_at_item(t, t->set.todo_file, item, usage, &old);

    if (status)
        return status;
    if (whole && !agrees(t, concat(t, STR("Delete '"), old, STR("'?  (y/n)\n"))))
        return buf_append_str(&t->out, STR("TODO: No tasks were deleted.\n")), 0;
    status = change_begin(&c, t, (const char *const[]){t->set.todo_file}, 1);
    file = files_at(&c.files, 0);
    if (!status)
        status = find_same(t, file, item, usage, old, &at);
    if (!status && !whole) {
        status = delete_term(t, file, item, at);
    } else if (!status) {
        take_out(t, file, at);
        if (t->set.verbose > 0) {
            say_item(t, item, old);
            buf_printf(&t->out, "TODO: %s deleted.\n", item);
        }
    }
    return change_end(&c, status);
}

int action_move(struct task *t)
{
    const char *usage = "mv ITEM# DEST [SRC]", *item = item_argument(t);
    const char *dest = must_print(t, "%s/%s", t->set.todo_dir, t->argc > 1 ? t->argv[1] : "").p;
    const char *src = t->argc > 2 && t->argv[2][0]
                          ? must_print(t, "%s/%s", t->set.todo_dir, t->argv[2]).p
                          : t->set.todo_file;
    struct change c;
    struct str old = STR_NULL;
    size_t at;
    int status;

    if (!is_file(src))
        return die(t, "TODO: Source file %s does not exist.", src);
    if (!is_file(dest))
        return die(t, "TODO: Destination file %s does not exist.", dest);
    status = look_at_item(t, src, item, usage, &old);
    if (status)
        return status;
    if (!agrees(t, concat(t, concat(t, STR("Move '"), old, STR("' from ")),
                          must_print(t, "%s to %s? (y/n)\n", src, dest), STR(""))))
        return buf_append_str(&t->out, STR("TODO: No tasks moved.\n")), 0;
    status = change_begin(&c, t, (const char *const[]){dest, src}, 2);
    if (!status)
        status = find_same(t, files_at(&c.files, 1), item, usage, old, &at);
    if (!status) {
        take_out(t, files_at(&c.files, 1), at);
        file_append(&c.files, files_at(&c.files, 0), old);
        if (t->set.verbose > 0) {
            say_item(t, item, old);
            buf_printf(&t->out, "TODO: %s moved from '%s' to '%s'.\n", item, src, dest);
        }
    }
    return change_end(&c, status);
}

/* ---- many items ---- */

int action_depri(struct task *t)
{
    const char *usage = "depri ITEM#[, ITEM#, ITEM#, ...]";
    struct change c;
    struct file *file;
    char **items;
    size_t n = split_items(t, &items), at;
    int status;

    if (!t->argc)
        return die(t, "usage: %s %s", t->program, usage);
    status = change_begin(&c, t, (const char *const[]){t->set.todo_file}, 1);
    file = files_at(&c.files, 0);
    for (size_t i = 0; i < n && !status; i++) {
        status = find_item(t, file, items[i], usage, &at);
        if (status)
            break;
        size_t head = priority_length(text_at(file, at));

        if (!head) {
            buf_printf(&t->out, "TODO: %s is not prioritized.\n", items[i]);
            continue;
        }
        file->keep_backup = true;
        file_set(file, at, str_skip(text_at(file, at), head));
        if (t->set.verbose > 0)
            status = say_new(t, file, items[i], at);
        if (t->set.verbose > 0 && !status)
            buf_printf(&t->out, "TODO: %s deprioritized.\n", items[i]);
    }
    return change_end(&c, status);
}

/* ---- the whole file ---- */

static uint32_t hash(struct str s)
{
    uint32_t h = 2166136261U;

    for (size_t i = 0; i < s.n; i++)
        h = (h ^ (unsigned char)s.p[i]) * 16777619U;
    return h;
}

/* Whether a line like this one stands before it: an open hash table of line numbers plus one. */
static bool seen_before(const struct file *file, size_t at, size_t *table, size_t mask)
{
    size_t i = hash(text_at(file, at)) & mask;

    for (; table[i]; i = (i + 1) & mask) {
        if (str_eq(text_at(file, table[i] - 1), text_at(file, at)))
            return true;
    }
    table[i] = at + 1;
    return false;
}

static size_t deduplicate(struct task *t, struct file *file)
{
    size_t room = 64, found = 0, kept = 0;
    size_t *table;
    bool *twice;

    while (room < file->n * 2)
        room *= 2;
    table = must_have(t, arena_calloc(&t->arena, room, sizeof(*table)));
    twice = must_have(t, arena_calloc(&t->arena, file->n + 1, sizeof(*twice)));
    for (size_t i = 0; i < file->n; i++)
        twice[i] = seen_before(file, i, table, room - 1);
    for (size_t i = 0; i < file->n; i++) {
        found += twice[i] && text_at(file, i).n;
        if (twice[i] && text_at(file, i).n)
            file_set(file, i, STR(""));
        if (!twice[i] || t->set.preserve)
            file->lines[kept++] = file->lines[i];
    }
    file->changed |= kept != file->n;
    file->n = kept;
    return found;
}

int action_deduplicate(struct task *t)
{
    struct change c;
    size_t found = 0;
    int status = change_begin(&c, t, (const char *const[]){t->set.todo_file}, 1);

    if (!status) {
        files_at(&c.files, 0)->keep_backup = true;
        found = deduplicate(t, files_at(&c.files, 0));
        if (found)
            buf_printf(&t->out, "TODO: %zu duplicate task(s) removed\n", found);
        else
            buf_append_str(&t->out, STR("TODO: No duplicate tasks found\n"));
    }
    return change_end(&c, status);
}
