#include "text_source.h"

#include "../file.h"
#include "../paths.h"

#include <errno.h>
#include <unistd.h>

/* Not in /tmp, which is emptied: what somebody has written stays until it is sent. */
static int keeping_folder(struct client *c, const char **ret)
{
    const char *state = paths_xdg(&c->arena, "XDG_STATE_HOME", "/.local/state");
    int err;

    if (!state)
        return fail(c, LOCAL, "set HOME or XDG_STATE_HOME to an absolute path: for your texts");
    *ret = TEXT(c, "%s/stoa/client/kept", state).p;
    err = paths_make_folders(*ret, 0700);
    return err ? fail(c, LOCAL, "cannot make %s: %s", *ret, strerror(-err)) : 0;
}

static int edit(struct text_source *s, struct client *c, struct str start)
{
    const char *folder = NULL;
    int status = keeping_folder(c, &folder);

    if (status)
        return status;
    if (editor_write(&s->editor, &c->arena, folder, ".md", start))
        return fail(c, LOCAL, "%.*s", STR_FMT(s->editor.error));
    s->edited = true;
    if (editor_run(&s->editor, &s->text)) {
        status = fail(c, LOCAL, "%.*s", STR_FMT(s->editor.error));
        text_source_done(s);
        return status;
    }
    if (s->text.n && memchr(s->text.p, '\0', s->text.n))
        return fail(c, REFUSED, "there is a NUL byte in %s, which you have written: it is no text",
                    s->editor.path);
    return 0;
}

int text_source_nothing(struct text_source *s, struct client *c)
{
    text_source_done(s);
    return fail(c, FAILED, "nothing was written, so nothing is sent");
}

int text_source_read(struct text_source *s, struct client *c, struct str start)
{
    int status;

    *s = (struct text_source){.file = option_of(c, 'F')};
    if (s->file)
        status = read_text(c, s->file, &s->text);
    else
        status = isatty(STDIN_FILENO) ? edit(s, c, start) : read_text(c, "-", &s->text);
    return status || !str_is_blank(s->text) ? status : text_source_nothing(s, c);
}

int text_source_words(struct text_source *s, struct client *c, struct str *ret)
{
    struct str text = STR_NULL;
    int status = 0;

    *s = (struct text_source){.file = NULL};
    for (int i = 1; i < c->argc; i++)
        text = TEXT(c, "%.*s%s%s", STR_FMT(text), i > 1 ? " " : "", c->argv[i]);
    if (c->argc <= 1) {
        status = text_source_read(s, c, STR(""));
        text = s->text;
    }
    while (text.n && strchr(" \t\r\n", text.p[text.n - 1]))
        text.n--;
    *ret = must_str(arena_copy(&c->arena, text.p ? text : STR("")));
    return status;
}

void text_source_done(struct text_source *s)
{
    if (s->edited)
        unlink(s->editor.path);
    s->edited = false;
}

const char *text_source_keep(struct text_source *s, struct client *c, struct str text)
{
    const char *folder = NULL, *path = s->editor.path;
    struct files files;
    int err;

    if (s->file && strcmp(s->file, "-") != 0 && str_eq(text, s->text))
        return NULL;
    if (!s->edited) {
        if (keeping_folder(c, &folder))
            return NULL;
        if (editor_write(&s->editor, &c->arena, folder, ".md", text)) {
            fail(c, LOCAL, "%.*s", STR_FMT(s->editor.error));
            return NULL;
        }
        return path;
    }
    if (str_eq(text, s->text))
        return path; /* as the editor left it */
    err = files_begin(&files, &c->arena, &path, 1);
    if (!err) {
        file_replace(&files, &files.file[0], text);
        err = files_commit(&files);
    }
    if (err) /* then it is there without what was to be added */
        fail(c, LOCAL, "%.*s", STR_FMT(files.error));
    files_end(&files);
    return path;
}

int text_source_fail(struct text_source *s, struct client *c, int status, struct str line,
                     struct str text, const char *again)
{
    const char *path = text.p ? text_source_keep(s, c, text) : NULL;

    return path ? fail(c, (enum exit_status)status,
                       "%.*s; what you wrote is in %s: `%s -F %s' sends it", STR_FMT(line), path,
                       again, path)
                : fail(c, (enum exit_status)status, "%.*s", STR_FMT(line));
}
