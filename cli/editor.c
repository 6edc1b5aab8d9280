#include "editor.h"

#include "file.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/wait.h>
#include <unistd.h>

static int fail(struct editor *e, int err, struct str error)
{
    e->error = error.p ? error : STR("out of memory");
    return err;
}

int editor_write(struct editor *e, struct arena *arena, const char *folder, const char *suffix,
                 struct str text)
{
    const char *temporary = getenv("TMPDIR");
    int fd, err;

    *e = (struct editor){.arena = arena};
    if (!folder)
        folder = temporary && *temporary ? temporary : "/tmp";
    snprintf(e->path, sizeof(e->path), "%s/stoa-edit-XXXXXX%s", folder, suffix);
    fd = mkostemps(e->path, (int)strlen(suffix), O_CLOEXEC);
    err = fd < 0 ? -errno : write_all(fd, text);
    if (fd >= 0 && close(fd) && !err)
        err = -errno;
    if (!err)
        return 0;
    if (fd >= 0)
        unlink(e->path);
    return fail(e, err, arena_printf(arena, "cannot write %s: %s", e->path, strerror(-err)));
}

static const char *editor_name(void)
{
    const char *editor = getenv("VISUAL");

    if (!editor || !*editor)
        editor = getenv("EDITOR");
    return editor && *editor ? editor : "editor";
}

static int read_back(struct editor *e, struct str *ret)
{
    const char *path = e->path;
    struct files draft;
    int err = files_look(&draft, e->arena, &path, 1);

    if (err)
        e->error = draft.error;
    else
        *ret = arena_copy(e->arena, (struct str){draft.file[0].bytes, draft.file[0].size});
    files_end(&draft);
    return err || ret->p ? err : fail(e, -ENOMEM, STR_NULL);
}

int editor_run(struct editor *e, struct str *ret)
{
    const char *editor = editor_name();
    /* A setting of the user, as git has it: may have arguments. */
    struct str command = arena_printf(e->arena, "%s \"$STOA_DRAFT\"", editor);
    int status;

    *ret = STR_NULL;
    if (!command.p || setenv("STOA_DRAFT", e->path, 1))
        return fail(e, -ENOMEM, STR_NULL);
    status = system(command.p);
    if (status == -1 || !WIFEXITED(status) || WEXITSTATUS(status))
        return fail(e, -ECANCELED,
                    arena_printf(e->arena, "the editor '%s' failed; nothing was changed", editor));
    return read_back(e, ret);
}
