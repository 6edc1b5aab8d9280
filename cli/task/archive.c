/* What is done: do, archive, report. */
#include "task.h"

#include <errno.h>
#include <time.h>

static bool is_done(struct str text)
{
    return str_starts(text, STR("x "));
}

/* todo first, then done. */
static void archive(struct change *c, struct file *todo, struct file *done)
{
    struct task *t = c->t;
    size_t kept = 0;

    file_remove_empty(todo);
    todo->keep_backup = true;
    for (size_t i = 0; i < todo->n; i++) {
        struct str text = text_at(todo, i);

        if (!is_done(text)) {
            todo->lines[kept++] = todo->lines[i];
            continue;
        }
        if (t->set.verbose > 0) {
            buf_append_str(&t->out, text);
            buf_append_char(&t->out, '\n');
        }
        file_append(&c->files, done, text);
        todo->changed = true;
    }
    todo->n = kept;
    if (t->set.verbose > 0)
        buf_printf(&t->out, "TODO: %s archived.\n", t->set.todo_file);
}

/* Archiving may be an add-on's; then it comes after the change, as its own. */
static bool archives_itself(struct task *t, const char **ret_addon)
{
    *ret_addon = NULL;
    return !addon_find(t, "archive", ret_addon);
}

static int run_archive(struct task *t, const char *addon)
{
    static char name[] = "archive";
    char *argv[] = {name, NULL};
    struct task other;

    flush(t);
    other = *t;
    other.argv = argv + 1;
    other.argc = 0;
    return addon_run(&other, addon);
}

int action_archive(struct task *t)
{
    struct change c;
    int status = change_begin(&c, t, (const char *const[]){t->set.done_file, t->set.todo_file}, 2);

    if (!status)
        archive(&c, files_at(&c.files, 1), files_at(&c.files, 0));
    return change_end(&c, status);
}

/* A task that recurs is followed by its next one. Only by the name of `stoa task`. */
static void recur(struct change *c, struct file *file, struct str text)
{
    struct task *t = c->t;
    struct str next = STR_NULL;
    struct line l;
    int err;

    line_read(text, &l);
    err = line_recur(&l, t->today, &t->arena, &next);
    if (err == -EINVAL)
        trouble(t, must_print(t, "rec:%.*s is not read: rec:3d, rec:+1w, rec:m, rec:1y or rec:5b",
                              STR_FMT(line_tag(l.body, STR("rec")))));
    else if (err == -ENOMEM)
        must_have(t, NULL);
    else if (!err)
        add_line(c, file, next);
}

static int do_item(struct change *c, struct file *file, const char *item, const char *usage)
{
    struct task *t = c->t;
    struct str old;
    size_t at;
    int status = find_item(t, file, item, usage, &at);

    if (status)
        return status;
    old = text_at(file, at);
    if (is_done(old)) {
        buf_printf(&t->out, "TODO: %s is already marked done.\n", item);
        return 0;
    }
    file->keep_backup = true;
    file_set(file, at,
             concat(t, must_print(t, "x %s ", today_text(t)), str_skip(old, priority_length(old)),
                    STR("")));
    if (t->set.verbose > 0) {
        say_item(t, item, text_at(file, at));
        buf_printf(&t->out, "TODO: %s marked as done.\n", item);
    }
    if (!t->is_todo_sh)
        recur(c, file, old);
    return 0;
}

int action_do(struct task *t)
{
    const char *usage = "do ITEM#[, ITEM#, ITEM#, ...]", *addon = NULL;
    bool archives = t->set.auto_archive && archives_itself(t, &addon);
    /* Without archiving the done file is not needed: it may be one that cannot be written. */
    const char *names[] = {t->set.todo_file, t->set.todo_file};
    struct change c;
    char **items;
    size_t n = split_items(t, &items);
    int status;

    if (!t->argc)
        return die(t, "usage: %s %s", t->program, usage);
    if (archives)
        names[0] = t->set.done_file;
    status = change_begin(&c, t, names, 2);
    for (size_t i = 0; i < n && !status; i++)
        status = do_item(&c, files_at(&c.files, 1), items[i], usage);
    if (!status && archives)
        archive(&c, files_at(&c.files, 1), files_at(&c.files, 0));
    status = change_end(&c, status);
    return !status && t->set.auto_archive && !archives ? run_archive(t, addon) : status;
}

static int report(struct change *c, struct file *todo, struct file *done, struct file *to)
{
    struct task *t = c->t;
    struct str last = to->n ? text_at(to, to->n - 1) : STR("");
    const char *space = last.n ? memchr(last.p, ' ', last.n) : NULL;
    struct str data = must_print(t, "%zu %zu", todo->n, done->n);
    bool same = str_eq(space ? str_skip(last, (size_t)(space - last.p) + 1) : last, data);
    time_t now = time(NULL);
    char stamp[32];
    struct tm tm;

    if (!same) {
        if (!localtime_r(&now, &tm) || !strftime(stamp, sizeof(stamp), "%Y-%m-%dT%T", &tm))
            return trouble(t, STR("the clock has no time of day"));
        last = must_print(t, "%s %.*s", stamp, STR_FMT(data));
        file_append(&c->files, to, last);
    }
    buf_append_str(&t->out, last);
    buf_append_char(&t->out, '\n');
    if (t->set.verbose <= 0)
        return 1; /* as todo.sh ends */
    buf_append_str(&t->out, same ? STR("TODO: Report file is up-to-date.\n")
                                 : STR("TODO: Report file updated.\n"));
    return 0;
}

int action_report(struct task *t)
{
    const char *names[] = {t->set.done_file, t->set.todo_file, t->set.report_file};
    const char *addon;
    bool archives = archives_itself(t, &addon);
    struct change c;
    int status;

    if (!archives)
        run_archive(t, addon); /* how it ends does not matter to the report */
    status = change_begin(&c, t, names, 3);
    if (!status && archives)
        archive(&c, files_at(&c.files, 1), files_at(&c.files, 0));
    if (!status)
        status = report(&c, files_at(&c.files, 1), files_at(&c.files, 0), files_at(&c.files, 2));
    return change_end(&c, status);
}
