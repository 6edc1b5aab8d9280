/* Other programs: the actions that people add (executables in the actions folder, as with todo.sh),
 * and the sort command and the filter of the settings. */
#include "task.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <jansson.h>
#include <limits.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <unistd.h>

static void export_all(const struct task *t)
{
    settings_export(&t->set);
    setenv("TODO_SH", t->program, 1);
    setenv("TODO_FULL_SH", t->full_name, 1);
}

/* 128 + the signal, as a shell counts. */
static int wait_for(pid_t child)
{
    int status;

    while (waitpid(child, &status, 0) < 0) {
        if (errno != EINTR)
            return -errno;
    }
    return WIFEXITED(status) ? WEXITSTATUS(status) : 128 + WTERMSIG(status);
}

/* Starts argv with these descriptors; -1: ours. */
static pid_t start(const struct task *t, char **argv, int in, int out)
{
    pid_t child = fork();

    if (child)
        return child;
    export_all(t);
    signal(SIGPIPE, SIG_DFL);
    if ((in < 0 || dup2(in, STDIN_FILENO) >= 0) && (out < 0 || dup2(out, STDOUT_FILENO) >= 0))
        execvp(argv[0], argv);
    _exit(127);
}

/* Runs argv with `in` as its input and appends what it prints. ret_status: its exit status. */
static int capture(struct task *t, char **argv, int in, struct buf *ret, int *ret_status)
{
    int pipes[2], err;
    pid_t child;

    if (pipe2(pipes, O_CLOEXEC))
        return -errno;
    child = start(t, argv, in, pipes[1]);
    close(pipes[1]);
    err = child < 0 ? -errno : read_all(pipes[0], ret);
    close(pipes[0]);
    *ret_status = child < 0 ? 0 : wait_for(child);
    return err ? err : *ret_status < 0 ? *ret_status : 0;
}

int run_shell(struct task *t, const char *command, struct str input, struct buf *ret)
{
    char sh[] = "/bin/sh", c[] = "-c";
    char *argv[] = {sh, c, (char *)command, NULL};
    int in = memfd_create("stoa", MFD_CLOEXEC); /* no pipe: both sides could wait for each other */
    int err = in < 0 ? -errno : 0, status;

    if (!err)
        err = write_all(in, input);
    if (!err && lseek(in, 0, SEEK_SET) < 0)
        err = -errno;
    if (!err)
        err = capture(t, argv, in, ret, &status);
    if (in >= 0)
        close(in);
    return err;
}

static bool is_program(const char *path)
{
    struct stat st;

    return stat(path, &st) == 0 && S_ISREG(st.st_mode) && access(path, X_OK) == 0;
}

/* A program of that name, or one of that name in a folder of that name. */
bool addon_find(struct task *t, const char *name, const char **ret_path)
{
    char path[PATH_MAX];

    if (!t->set.actions_dir || !*name || strchr(name, '/') || name[0] == '.')
        return false;
    for (int nested = 1; nested >= 0; nested--) {
        int n = snprintf(path, sizeof(path), "%s/%s%s%s", t->set.actions_dir, name,
                         nested ? "/" : "", nested ? name : "");

        if (n > 0 && (size_t)n < sizeof(path) && is_program(path)) {
            *ret_path = must_copy(t, str_of(path)).p;
            return true;
        }
    }
    return false;
}

int addon_run(struct task *t, const char *path)
{
    char **argv = must_have(t, arena_calloc(&t->arena, (size_t)t->argc + 3, sizeof(*argv)));
    pid_t child;
    int status;

    argv[0] = (char *)path;
    for (int i = 0; i <= t->argc; i++)
        argv[i + 1] = t->argv[i - 1];
    flush(t);
    child = start(t, argv, -1, -1);
    status = child < 0 ? -errno : wait_for(child);
    if (status < 0)
        return trouble(t, must_print(t, "cannot run %s: %s", path, strerror(-status)));
    return status;
}

/* ---- all of them ---- */

static int compare_names(const void *a, const void *b)
{
    return strcoll(*(const char *const *)a, *(const char *const *)b);
}

/* Sorted names, in the arena. */
static size_t addon_names(struct task *t, const char ***ret)
{
    DIR *folder = t->set.actions_dir ? opendir(t->set.actions_dir) : NULL;
    const char **names = NULL, *path;
    size_t n = 0, room = 0;
    struct dirent *e;

    while (folder && (e = readdir(folder))) {
        if (!addon_find(t, e->d_name, &path))
            continue;
        if (n == room) {
            const char **more;

            room = room ? room * 2 : 16;
            more = must_have(t, arena_calloc(&t->arena, room, sizeof(*more)));
            for (size_t i = 0; i < n; i++)
                more[i] = names[i];
            names = more;
        }
        names[n++] = must_copy(t, str_of(e->d_name)).p;
    }
    if (folder)
        closedir(folder);
    if (n)
        qsort(names, n, sizeof(*names), compare_names);
    *ret = names;
    return n;
}

int action_listaddons(struct task *t)
{
    const char **names;
    size_t n = addon_names(t, &names);
    json_t *array = t->json ? must_have(t, json_array()) : NULL;

    for (size_t i = 0; i < n; i++) {
        if (!array)
            buf_printf(&t->out, "%s\n", names[i]);
        else if (json_array_append_new(array, json_text(t, str_of(names[i]))))
            must_have(t, NULL);
    }
    return array ? json_say(t, array) : 0;
}

void addon_usages(struct task *t, struct buf *to)
{
    const char **names, *path;
    size_t n = addon_names(t, &names);
    char usage[] = "usage";

    if (n)
        buf_append_str(to, STR("\n  Add-on Actions:\n"));
    for (size_t i = 0; i < n; i++) {
        char *argv[] = {NULL, usage, NULL};
        int status;

        if (addon_find(t, names[i], &path)) {
            argv[0] = (char *)path;
            if (capture(t, argv, -1, to, &status))
                buf_printf(to, "    %s (its usage cannot be had)\n", names[i]);
        }
    }
}
