/* stoa: the command line. This file knows the names that the program goes by and what there is:
 * groups of commands in this program, which have folders of their own, and those of stoa-client,
 * which takes longer to load: it is started in this one's place. */
#include "task/task.h"
#include "usage.h"

#include <errno.h>
#include <limits.h>
#include <locale.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

/* From the folder of this program. */
#define CLIENT "../libexec/stoa/stoa-client"

static int client_main(int argc, char **argv);

static const struct command_group groups[] = {
    {"task", "tasks in todo.txt files", task_main},
    {"register", "make an account", client_main},
    {"login", "sign in", client_main},
    {"logout", "sign out", client_main},
    {"whoami", "tell who is signed in", client_main},
    {"sessions", "list and end one's sign-ins", client_main},
    {"post", "articles: list, show, write, publish, search", client_main},
    {"comment", "comments on articles", client_main},
    {"feed", "articles of those whom one follows", client_main},
    {"follow", "follow somebody", client_main},
    {"unfollow", "follow somebody no longer", client_main},
    {"chat", "rooms and messages", client_main},
    {"status", "whether the services answer", client_main},
    {"complete", NULL, client_main}, /* for the scripts in completion/ */
};

/* argv[-1], the name of this program, is there: the group's name is no option's. */
static int client_main(int argc UNUSED, char **argv)
{
    char path[PATH_MAX];
    ssize_t n = readlink("/proc/self/exe", path, sizeof(path));
    char *slash = n > 0 ? memrchr(path, '/', (size_t)n) : NULL;

    if (slash && (size_t)(slash + 1 - path) + sizeof(CLIENT) <= sizeof(path)) {
        memcpy(slash + 1, CLIENT, sizeof(CLIENT));
        execv(path, argv - 1);
    }
    fprintf(stderr, "stoa: cannot start %s: %s; is stoa installed as a whole?\n",
            slash ? path : CLIENT, strerror(errno));
    return 10; /* as stoa-client for what is amiss on this machine */
}

struct choice {
    const struct command_group *group;
    int argc;
    char **argv;
};

const char *argp_program_version = "stoa " STOA_VERSION;

static const struct command_group *find_group(const char *name)
{
    for (size_t i = 0; i < ARRAY_SIZE(groups); i++) {
        if (strcmp(groups[i].name, name) == 0)
            return &groups[i];
    }
    return NULL;
}

/* Everything from the group's name on is the group's. */
static error_t take(int key, char *arg, struct argp_state *state)
{
    struct choice *choice = state->input;

    switch (key) {
    case ARGP_KEY_ARG:
        choice->group = find_group(arg);
        if (!choice->group)
            usage_error(state, "there is no command '%s'", arg);
        choice->argv = &state->argv[state->next - 1];
        choice->argc = state->argc - state->next + 1;
        state->next = state->argc;
        return 0;
    case ARGP_KEY_NO_ARGS:
        usage_error(state, "there is no command");
    default:
        return ARGP_ERR_UNKNOWN;
    }
}

/* What --help tells, as argp has it. */
static void print_doc(struct buf *doc)
{
    buf_append_str(doc, STR("Stoa on the command line.\vCommands:\n"));
    for (size_t i = 0; i < ARRAY_SIZE(groups) && groups[i].summary; i++)
        buf_printf(doc, "  %-11s %s\n", groups[i].name, groups[i].summary);
    buf_append_str(doc, STR("\n`stoa COMMAND --help' tells more; all of it: `man stoa', "
                            "`man stoa-task'.\n\n"
                            "Examples:\n"
                            "  stoa login ada@example.com\n"
                            "  stoa post show hello-stoa\n"
                            "  stoa task add 'Call Ada @phone due:2026-12-01'\n"
                            "  stoa task ls @phone\n"));
    buf_append_char(doc, '\0');
}

static int run(int argc, char **argv)
{
    struct argp argp = {
        .parser = take,
        .args_doc = "COMMAND [ARGUMENT...]",
        .children = usage_children,
    };
    struct choice choice = {NULL, 0, NULL};
    struct buf doc = {.max = 4096};
    error_t err;

    print_doc(&doc);
    argp.doc = doc.p;
    err = buf_error(&doc) ? ENOMEM
                          : argp_parse(&argp, argc, argv,
                                       ARGP_IN_ORDER | ARGP_NO_HELP | ARGP_NO_ERRS, NULL, &choice);
    buf_free(&doc);
    if (err) {
        fprintf(stderr, "stoa: %s\n", strerror(err));
        return 1;
    }
    return choice.group->main(choice.argc, choice.argv);
}

int main(int argc, char **argv)
{
    const char *slash = strrchr(argc ? argv[0] : "", '/');
    const char *name = slash ? slash + 1 : argc ? argv[0] : "stoa";

    argp_err_exit_status = 2;
    /* What is needed: characters and their order. The other categories take as long again. */
    setlocale(LC_CTYPE, "");
    setlocale(LC_COLLATE, "");
    signal(SIGPIPE, SIG_IGN); /* terminal_write() sees to it */
    signal(SIGXFSZ, SIG_IGN); /* a limit on file sizes is an error of write(), not the end */
    return strcmp(name, "stoa-todo") == 0 ? task_main_todo_sh(argc, argv) : run(argc, argv);
}
