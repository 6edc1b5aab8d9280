/* edit and undo: changes that are made in an editor, and the way back from any change. */
#include "task.h"

#include "../editor.h"

#include <errno.h>
#include <stdlib.h>
#include <unistd.h>

/* ---- edit ---- */

/* Puts the new text in the place of the old one, of line `at`, or of the whole file (SIZE_MAX). */
static int put_edited(struct task *t, size_t at, struct str old, struct str new)
{
    struct change c;
    struct file *file;
    int status = change_begin(&c, t, (const char *const[]){t->set.todo_file}, 1);

    file = files_at(&c.files, 0);
    if (!status) {
        struct str now = at == SIZE_MAX ? (struct str){file->bytes, file->size}
                         : at < file->n ? file->lines[at].text
                                        : STR("");

        if (!str_eq(now, old))
            status = trouble(t, STR("the tasks were changed by another program meanwhile"));
        else if (at == SIZE_MAX)
            file_replace(&c.files, file, new);
        else
            file_set(file, at, new);
    }
    status = change_end(&c, status);
    if (!status && t->set.verbose > 0)
        buf_append_str(&t->out, STR("TODO: Edited.\n"));
    return status;
}

/* The first line of what came back. */
static struct str first_line(struct str s)
{
    const char *lf = s.n ? memchr(s.p, '\n', s.n) : NULL;

    if (lf)
        s.n = (size_t)(lf - s.p);
    if (s.n && s.p[s.n - 1] == '\r')
        s.n--;
    return s;
}

static int edit_draft(struct task *t, size_t at, struct str old)
{
    bool whole = at == SIZE_MAX;
    struct buf draft CLEANUP(buf_free) = {.max = FILE_BYTES_MAX};
    struct str new = STR_NULL;
    struct editor editor;
    int status;

    buf_append_str(&draft, old);
    if (!whole)
        buf_append_char(&draft, '\n');
    if (buf_error(&draft))
        must_have(t, NULL);
    if (editor_write(&editor, &t->arena, NULL, ".txt", buf_str(&draft)))
        return trouble(t, editor.error);
    flush(t);
    status = editor_run(&editor, &new) ? trouble(t, editor.error) : 0;
    if (!status && str_eq(new, buf_str(&draft))) {
        buf_append_str(&t->out, STR("TODO: Nothing was changed.\n"));
    } else if (!status) {
        status = put_edited(t, at, old, whole ? new : first_line(new));
        if (status) {
            trouble(t, must_print(t, "what you wrote is in %s", editor.path));
            return status;
        }
    }
    unlink(editor.path);
    return status;
}

int action_edit(struct task *t)
{
    struct files files;
    size_t at = SIZE_MAX;
    struct str old = STR_NULL;
    int status = 0;

    if (files_look(&files, &t->arena, (const char *const[]){t->set.todo_file}, 1))
        status = trouble(t, files.error);
    else if (t->argc)
        status = find_item(t, files_at(&files, 0), t->argv[0], "edit [ITEM#]", &at);
    if (!status)
        old = must_copy(t, at == SIZE_MAX ? (struct str){files.file[0].bytes, files.file[0].size}
                                          : files.file[0].lines[at].text);
    files_end(&files);
    return status ? status : edit_draft(t, at, old);
}

/* ---- undo ---- */

/* One entry; -ENOENT: that one never happened. */
static int undo_entry(struct task *t, struct journal *journal, const char **names, size_t n)
{
    struct files files;
    struct str command = STR_NULL;
    int err = files_begin(&files, &t->arena, names, n);

    if (!err)
        err = journal_undo(journal, &files, &command);
    if (err == -ESTALE)
        files.error = STR("the files were changed since by another program; nothing was undone");
    if (!err)
        err = files_commit(&files);
    if (!err || err == -ENOENT) {
        int dropped = journal_drop(journal);

        if (dropped) {
            files.error = must_print(t, "cannot write %s: %s", journal->path, strerror(-dropped));
            err = dropped;
        }
    }
    if (!err) {
        buf_append_str(&t->out, STR("TODO: Undone: "));
        terminal_clean(&t->out, command, false); /* addm takes several lines */
        buf_append_char(&t->out, '\n');
    } else if (err != -ENOENT) {
        trouble(t, files.error.p ? files.error : str_of(strerror(-err)));
    }
    files_end(&files);
    return err;
}

int action_undo(struct task *t)
{
    char *real = realpath(t->set.todo_file, NULL);
    const char *names[FILES_MAX];
    struct journal journal;
    size_t n;
    int err;

    journal_open(&journal, &t->arena, real ? real : t->set.todo_file);
    free(real);
    do {
        err = journal_newest(&journal, names, &n);
        if (err == -ENOENT)
            return die(t, "TODO: There is nothing to undo.");
        if (err)
            return trouble(t, must_print(t, "cannot read %s: %s", journal.path, strerror(-err)));
        err = undo_entry(t, &journal, names, n);
    } while (err == -ENOENT);
    return err ? 1 : 0;
}
