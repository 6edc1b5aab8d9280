/* stoa: the command line. This file knows the names that the program goes by and its groups of
 * commands; a group has a folder of its own. */
#include "task/task.h"

#include <argp.h>
#include <errno.h>
#include <locale.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>

#define STOA_VERSION "1.0"

static const struct command_group groups[] = {
    {"task", "tasks in todo.txt files", task_main},
};

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
            argp_error(state, "there is no command '%s'", arg);
        choice->argv = &state->argv[state->next - 1];
        choice->argc = state->argc - state->next + 1;
        state->next = state->argc;
        return 0;
    case ARGP_KEY_NO_ARGS:
        argp_usage(state); /* does not return */
        return EINVAL;
    default:
        return ARGP_ERR_UNKNOWN;
    }
}

static int run(int argc, char **argv)
{
    static const struct argp argp = {
        .parser = take,
        .args_doc = "COMMAND [ARGUMENT...]",
        .doc = "Stoa on the command line.\v"
               "Commands:\n"
               "  task        tasks in todo.txt files\n\n"
               "`stoa COMMAND --help' tells more, `man stoa-task' all of it.\n\n"
               "Examples:\n"
               "  stoa task add 'Call Ada @phone due:2026-12-01'\n"
               "  stoa task ls @phone\n"
               "  stoa task do 1\n",
    };
    struct choice choice = {NULL, 0, NULL};
    error_t err = argp_parse(&argp, argc, argv, ARGP_IN_ORDER, NULL, &choice);

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
