#include "usage.h"

#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define OPTION_USAGE 0x10000

void usage_error(const struct argp_state *state, const char *fmt, ...)
{
    va_list ap;

    fprintf(stderr, "%s: ", state->name);
    va_start(ap, fmt);
    vfprintf(stderr, fmt, ap);
    va_end(ap);
    fprintf(stderr, ": `%s --help' tells what there is\n", state->name);
    exit(argp_err_exit_status);
}

static const struct argp_option options[] = {
    {"help", '?', NULL, 0, "this text", -1},
    {"usage", OPTION_USAGE, NULL, 0, "the options in short", -1},
    {"version", 'V', NULL, 0, "the version", -1},
    {NULL, 0, NULL, 0, NULL, 0},
};

/* ---- what is wrong with a word ---- */

static const struct argp_option *next_of(const struct argp_option *o, const char *word, size_t n,
                                         bool is_long)
{
    for (; o && (o->name || o->key || o->doc); o++) {
        if (is_long ? o->name && strncmp(o->name, word, n) == 0 : o->key == word[0])
            return o;
    }
    return NULL;
}

/* The option of that name, or of what only one begins with; of one letter: n is 1. */
static const struct argp_option *find(const struct argp_option *own, const char *word, size_t n,
                                      bool is_long)
{
    const struct argp_option *sets[] = {own, options}, *found = NULL;

    for (size_t i = 0; i < ARRAY_SIZE(sets); i++) {
        for (const struct argp_option *o = sets[i]; (o = next_of(o, word, n, is_long)); o++) {
            if (!is_long || o->name[n] == '\0')
                return o;
            if (found)
                return NULL;
            found = o;
        }
    }
    return found;
}

enum verdict { GOOD, INVALID, NEEDS_VALUE };

static enum verdict judge(const struct argp_option *own, const char *word)
{
    const struct argp_option *o;
    size_t n;

    if (word[0] != '-')
        return GOOD;
    if (word[1] == '-') {
        n = strcspn(word + 2, "=");
        o = find(own, word + 2, n, true);
        if (!o || (word[2 + n] && !o->arg))
            return INVALID;
        return o->arg && !word[2 + n] ? NEEDS_VALUE : GOOD;
    }
    for (word++; *word; word++) {
        o = find(own, word, 1, false);
        if (!o)
            return INVALID;
        if (o->arg)
            return word[1] ? GOOD : NEEDS_VALUE;
    }
    return GOOD;
}

/* getopt stands behind the word, or still at it when there are letters behind the one that is
 * wrong. */
void usage_bad_option(const struct argp_state *state)
{
    const struct argp_option *own = state->root_argp->options;
    int at = state->next - 1;

    if (at < 1 || judge(own, state->argv[at]) == GOOD)
        at++;
    if (at >= state->argc)
        usage_error(state, "invalid option");
    if (judge(own, state->argv[at]) == NEEDS_VALUE)
        usage_error(state, "option %s needs a value", state->argv[at]);
    usage_error(state, "invalid option %s", state->argv[at]);
}

/* ---- options of every program ---- */

static error_t take(int key, char *arg UNUSED, struct argp_state *state)
{
    if (key == ARGP_KEY_ERROR)
        usage_bad_option(state);
    if (key == 'V')
        printf("%s\n", argp_program_version);
    else if (key == '?' || key == OPTION_USAGE)
        argp_help(state->root_argp, stdout,
                  key == '?' ? ARGP_HELP_STD_HELP & ~ARGP_HELP_EXIT_OK : ARGP_HELP_USAGE,
                  state->name);
    else
        return ARGP_ERR_UNKNOWN;
    exit(ferror(stdout) || fflush(stdout) ? EXIT_FAILURE : EXIT_SUCCESS);
}

static const struct argp usage = {.options = options, .parser = take};

const struct argp_child usage_children[] = {{&usage, 0, NULL, 0}, {NULL, 0, NULL, 0}};
