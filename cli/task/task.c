/* Options, settings and the choice of the action. */
#include "task.h"

#include "../paths.h"
#include "../usage.h"

#include <ctype.h>
#include <errno.h>
#include <limits.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

enum { OPTION_JSON = 256, OPTION_HELP, OPTION_MANUAL, OPTION_COMPLETE };

struct options {
    struct settings set;
    bool json, help, manual, short_help, version;
    const char *complete;
    int first; /* of the arguments that are no options */
};

/* ---- output ---- */

int trouble(const struct task *t, struct str error)
{
    fprintf(stderr, "%s: %.*s\n", t->program, STR_FMT(error));
    return 1;
}

void *must_have(const struct task *t, void *p)
{
    if (p)
        return p;
    exit(trouble(t, STR("out of memory; nothing was changed")));
}

struct str must_copy(struct task *t, struct str s)
{
    struct str copy = arena_copy(&t->arena, s.p ? s : STR(""));

    must_have(t, (void *)copy.p);
    return copy;
}

struct str must_print(struct task *t, const char *fmt, ...)
{
    struct buf text = {.max = OUTPUT_MAX};
    struct str copy;
    va_list ap;
    char *to;
    int n;

    va_start(ap, fmt);
    n = vsnprintf(NULL, 0, fmt, ap);
    va_end(ap);
    to = must_have(t, n < 0 ? NULL : buf_reserve(&text, (size_t)n + 1));
    va_start(ap, fmt);
    vsnprintf(to, (size_t)n + 1, fmt, ap);
    va_end(ap);
    copy = must_copy(t, (struct str){to, (size_t)n});
    buf_free(&text);
    return copy;
}

int die(struct task *t, const char *fmt, ...)
{
    va_list ap;
    char *text;

    va_start(ap, fmt);
    if (vasprintf(&text, fmt, ap) < 0)
        text = NULL;
    va_end(ap);
    buf_append_str(&t->out, str_of(must_have(t, text)));
    buf_append_char(&t->out, '\n');
    free(text);
    return 1;
}

void flush(struct task *t)
{
    int err = buf_error(&t->out) ? buf_error(&t->out) : terminal_write(buf_str(&t->out));

    t->out.n = 0;
    if (err)
        exit(trouble(t, must_print(t, "cannot write the output: %s", strerror(-err))));
}

struct str ask(struct task *t, struct str prompt)
{
    char *line = NULL;
    size_t room = 0;
    struct str answer;
    ssize_t n;

    buf_append_str(&t->out, prompt);
    flush(t);
    n = getline(&line, &room, stdin);
    answer = (struct str){line, n > 0 ? (size_t)n : 0};
    while (answer.n && strchr(" \t\n", answer.p[answer.n - 1]))
        answer.n--;
    while (answer.n && strchr(" \t", answer.p[0]))
        answer = str_skip(answer, 1);
    answer = must_copy(t, answer);
    free(line);
    return answer;
}

struct str joined(struct task *t, int from)
{
    size_t n = 0;
    char *text, *to;

    for (int i = from; i < t->argc; i++)
        n += strlen(t->argv[i]) + 1;
    text = to = must_have(t, arena_alloc(&t->arena, n + 1));
    for (int i = from; i < t->argc; i++) {
        to = stpcpy(to, t->argv[i]);
        if (i + 1 < t->argc)
            *to++ = ' ';
    }
    *to = '\0';
    return (struct str){text, (size_t)(to - text)};
}

bool is_file(const char *path)
{
    struct stat st;

    return stat(path, &st) == 0 && S_ISREG(st.st_mode);
}

/* ---- options ---- */

static const struct argp_option option_table[] = {
    {NULL, '@', NULL, 0, NULL, 0},
    {NULL, '+', NULL, 0, NULL, 0},
    {NULL, 'P', NULL, 0, NULL, 0},
    {NULL, 'a', NULL, 0, NULL, 0},
    {NULL, 'A', NULL, 0, NULL, 0},
    {NULL, 'c', NULL, 0, NULL, 0},
    {"config", 'd', "FILE", 0, NULL, 0},
    {NULL, 'f', NULL, 0, NULL, 0},
    {NULL, 'h', NULL, 0, NULL, 0},
    {"list", 'l', "NAME", 0, NULL, 0},
    {NULL, 'n', NULL, 0, NULL, 0},
    {NULL, 'N', NULL, 0, NULL, 0},
    {NULL, 'p', NULL, 0, NULL, 0},
    {NULL, 't', NULL, 0, NULL, 0},
    {NULL, 'T', NULL, 0, NULL, 0},
    {NULL, 'v', NULL, 0, NULL, 0},
    {"version", 'V', NULL, 0, NULL, 0},
    {NULL, 'x', NULL, 0, NULL, 0},
    {"json", OPTION_JSON, NULL, 0, NULL, 0},
    {"help", OPTION_HELP, NULL, 0, NULL, 0},
    {"man", OPTION_MANUAL, NULL, 0, NULL, 0},
    {"complete", OPTION_COMPLETE, "KIND", 0, NULL, 0},
    {NULL, 0, NULL, 0, NULL, 0},
};

/* An odd number of times hides. The environment counts as well. */
static void toggle(const char *counter, const char *setting, const char *pattern)
{
    const char *before = getenv(counter);
    long times = (before ? strtol(before, NULL, 10) : 0) + 1;
    char text[24];

    snprintf(text, sizeof(text), "%ld", times);
    setenv(counter, text, 1);
    if (times % 2)
        setenv(setting, pattern, 1);
    else
        unsetenv(setting);
}

static void more_verbose(void)
{
    const char *before = getenv("TODOTXT_VERBOSE");
    char text[24];

    snprintf(text, sizeof(text), "%ld", (before ? strtol(before, NULL, 10) : 0) + 1);
    setenv("TODOTXT_VERBOSE", text, 1);
}

static bool is_list_name(const char *name)
{
    return *name && name[0] != '.' && name[0] != '-' && !strchr(name, '/');
}

static bool take_setting(int key, struct settings *s)
{
    static const struct {
        char key;
        unsigned char which;
        const char *value;
    } simple[] = {
        {'a', SET_AUTO_ARCHIVE, "0"},
        {'A', SET_AUTO_ARCHIVE, "1"},
        {'c', SET_PLAIN, "0"},
        {'p', SET_PLAIN, "1"},
        {'f', SET_FORCE, "1"},
        {'n', SET_PRESERVE_LINE_NUMBERS, "0"},
        {'N', SET_PRESERVE_LINE_NUMBERS, "1"},
        {'t', SET_DATE_ON_ADD, "1"},
        {'T', SET_DATE_ON_ADD, "0"},
        {'x', SET_DISABLE_FILTER, "1"},
    };

    for (size_t i = 0; i < ARRAY_SIZE(simple); i++) {
        if (simple[i].key == key) {
            s->override[simple[i].which] = simple[i].value;
            return true;
        }
    }
    return false;
}

static error_t take(int key, char *arg, struct argp_state *state)
{
    struct options *o = state->input;

    if (take_setting(key, &o->set))
        return 0;
    switch (key) {
    case '@':
        toggle("HIDE_CONTEXT_NAMES", "HIDE_CONTEXTS_SUBSTITUTION",
               "[[:space:]]@[[:graph:]]\\{1,\\}");
        return 0;
    case '+':
        toggle("HIDE_PROJECT_NAMES", "HIDE_PROJECTS_SUBSTITUTION",
               "[[:space:]][+][[:graph:]]\\{1,\\}");
        return 0;
    case 'P':
        toggle("HIDE_PRIORITY_LABELS", "HIDE_PRIORITY_SUBSTITUTION", "([A-Z])[[:space:]]");
        return 0;
    case 'd':
        o->set.config = arg;
        return 0;
    case 'l':
        if (!is_list_name(arg))
            usage_error(state, "'%s' is no name of a list", arg);
        o->set.list = arg;
        return 0;
    case 'v':
        more_verbose();
        return 0;
    case 'h':
        o->short_help = true;
        return 0;
    case 'V':
        o->version = true;
        return 0;
    case OPTION_JSON:
        o->json = true;
        return 0;
    case OPTION_HELP:
        o->help = true;
        return 0;
    case OPTION_MANUAL:
        o->manual = true;
        return 0;
    case OPTION_COMPLETE:
        o->complete = arg;
        return 0;
    case ARGP_KEY_ARG: /* the action: what follows is its own */
        o->first = state->next - 1;
        state->next = state->argc;
        return 0;
    case ARGP_KEY_ERROR:
        usage_bad_option(state);
    default:
        return ARGP_ERR_UNKNOWN;
    }
}

/* ---- completion ---- */

/* What the scripts in completion/ ask for. */
static int complete(struct task *t, const char *kind)
{
    t->set.verbose = 0;
    t->is_todo_sh = true;
    if (strcmp(kind, "commands") == 0) {
        for (size_t i = 0; i < n_commands; i++) {
            buf_printf(&t->out, "%s\n", commands[i].name);
            if (commands[i].alias)
                buf_printf(&t->out, "%s\n", commands[i].alias);
        }
        return action_listaddons(t);
    }
    if (strcmp(kind, "projects") == 0)
        return action_listproj(t);
    if (strcmp(kind, "contexts") == 0)
        return action_listcon(t);
    if (strcmp(kind, "files") == 0)
        return action_listfile(t);
    return trouble(t, STR("--complete: commands, projects, contexts or files"));
}

/* ---- running ---- */

static int make_file(struct task *t, const char *name)
{
    struct stat st;
    FILE *made;

    if (stat(name, &st) == 0 && (S_ISREG(st.st_mode) || S_ISCHR(st.st_mode)))
        return 0;
    made = fopen(name, "a");
    if (made && fclose(made) == 0)
        return 0;
    return trouble(t, must_print(t, "cannot make %s: %s", name, strerror(errno)));
}

/* Whoever asks for help gets it, also when nothing else can be done. */
static int die_with_help(struct task *t, struct str error)
{
    t->argc = 0;
    if (strcmp(t->action, "help") == 0)
        action_help(t);
    else if (strcmp(t->action, "shorthelp") == 0)
        action_shorthelp(t);
    return die(t, "%.*s", STR_FMT(error));
}

/* As todo.sh: the folder and three files are there from the first run on. A list with a name begins
 * with its first task instead. */
static int prepare_files(struct task *t)
{
    struct stat st;
    bool is_there = stat(t->set.todo_dir, &st) == 0;

    if ((is_there && !S_ISDIR(st.st_mode)) ||
        (!is_there && paths_make_folders(t->set.todo_dir, 0777)))
        return die_with_help(t,
                             must_print(t, "Fatal Error: %s is not a directory", t->set.todo_dir));
    if (t->set.list) {
        const struct command *c = command_find(t->action);

        if (stat(t->set.todo_file, &st) && c && c->run != action_add && c->run != action_addm)
            return die(t, "TODO: There is no list %s; `%s -l %s add TEXT' begins one.", t->set.list,
                       t->program, t->set.list);
        return 0;
    }
    /* What cannot be made is told, and is empty for what only reads, as with todo.sh. */
    (void)make_file(t, t->set.todo_file);
    (void)make_file(t, t->set.done_file);
    (void)make_file(t, t->set.report_file);
    return 0;
}

/* Options may also follow the action, by the name of `stoa task`. */
static bool take_late_options(struct task *t, const struct command *c, int *ret_status)
{
    int kept = 0;
    bool lists = strncmp(c->name, "list", 4) == 0 || c->run == action_due ||
                 c->run == action_next || c->run == action_stats || c->run == action_calendar;

    if (t->is_todo_sh)
        return false;
    if (t->argc && strcmp(t->argv[0], "--help") == 0) {
        print_command(t, c);
        *ret_status = 0;
        return true;
    }
    for (int i = 0; i < t->argc; i++) {
        if (lists && strcmp(t->argv[i], "--json") == 0)
            t->json = true;
        else
            t->argv[kept++] = t->argv[i];
    }
    t->argc = kept;
    return false;
}

static const char *lower_case(struct task *t, const char *s)
{
    char *lower = must_have(t, arena_alloc(&t->arena, strlen(s) + 1));
    size_t i = 0;

    for (; s[i]; i++)
        lower[i] = (char)(s[i] >= 'A' && s[i] <= 'Z' ? s[i] + 32 : s[i]);
    lower[i] = '\0';
    return lower;
}

static int run_action(struct task *t)
{
    const struct command *c;
    const char *addon;
    int status;

    if (strcmp(t->action, "command") == 0) {
        if (take_late_options(t, command_find(t->action), &status))
            return status;
        if (t->argc)
            t->action = lower_case(t, t->argv[0]);
        t->argv++;
        t->argc = t->argc ? t->argc - 1 : 0;
    } else if (addon_find(t, t->action, &addon)) {
        return addon_run(t, addon);
    }
    c = command_find(t->action);
    if (!c || !c->run) {
        print_usage(t);
        return 1;
    }
    return take_late_options(t, c, &status) ? status : c->run(t);
}

static int choose_action(struct task *t, const struct options *o, int argc, char **argv)
{
    static char shorthelp[] = "shorthelp";
    static char *short_help_argv[] = {shorthelp, NULL};

    t->argv = argv + argc;
    if (o->first < argc) {
        t->argv = argv + o->first + 1;
        t->argc = argc - o->first - 1;
        t->action = lower_case(t, argv[o->first]);
    }
    if (o->short_help) {
        t->argv = short_help_argv + 1;
        t->argc = 0;
        t->action = shorthelp;
    }
    if (!t->action || !*t->action)
        t->action = lower_case(t, t->set.default_action);
    if (*t->action)
        return 0;
    print_usage(t);
    return 1;
}

static int finish(struct task *t, int status)
{
    int err = buf_error(&t->out);

    if (!err)
        err = t->pages ? terminal_page(buf_str(&t->out)) : terminal_write(buf_str(&t->out));
    if (err)
        status = trouble(t, must_print(t, "cannot write the output: %s", strerror(-err)));
    buf_free(&t->out);
    arena_free(&t->arena);
    return status;
}

static void warn(const struct task *t, struct str warnings)
{
    while (warnings.n) {
        size_t n = (size_t)((const char *)memchr(warnings.p, '\n', warnings.n) - warnings.p);

        trouble(t, (struct str){warnings.p, n});
        warnings = str_skip(warnings, n + 1);
    }
}

/* Colours: as todo.sh by its name, else on terminals. */
static void choose_colors(struct task *t)
{
    const char *plain = t->set.override[SET_PLAIN];

    if (plain)
        t->wants_color = !t->set.plain;
    else if (t->is_todo_sh)
        t->wants_color = !t->set.plain && !terminal_no_color();
    else
        t->wants_color = !t->set.plain && terminal_has_color();
}

static int run(struct task *t, const struct options *o, int argc, char **argv)
{
    struct buf warnings CLEANUP(buf_free) = {.max = CONFIG_BYTES_MAX * 2};
    struct str error = STR_NULL;
    int status;

    t->today = date_today();
    t->json = o->json;
    t->pages = !t->is_todo_sh && isatty(STDOUT_FILENO);
    if (settings_finish(&t->set, argv[0], &t->arena, &warnings, &error)) {
        t->action = o->first < argc ? argv[o->first] : "";
        return die_with_help(t, error);
    }
    warn(t, buf_str(&warnings));
    choose_colors(t);
    if (o->complete) {
        t->argv = argv + argc;
        return complete(t, o->complete);
    }
    status = choose_action(t, o, argc, argv);
    if (!status)
        status = prepare_files(t);
    return status ? status : run_action(t);
}

/* The program by which add-on actions call us back: beside this one. */
static const char *full_name(struct task *t)
{
    char self[PATH_MAX];
    ssize_t n = readlink("/proc/self/exe", self, sizeof(self));
    char *slash;

    if (n < 0 || (size_t)n == sizeof(self))
        return "stoa-todo";
    self[n] = '\0';
    slash = strrchr(self, '/');
    return must_print(t, "%.*s/stoa-todo", (int)(slash - self), self).p;
}

static int start(const char *program, bool is_todo_sh, int argc, char **argv)
{
    static const struct argp argp = {.options = option_table, .parser = take};
    struct task t = {.program = program, .is_todo_sh = is_todo_sh};
    struct options o = {.first = argc};
    char name[32];
    error_t err;
    int status;

    arena_init(&t.arena, 0);
    buf_init(&t.out, OUTPUT_MAX);
    settings_begin(&o.set);
    snprintf(name, sizeof(name), "%s", program);
    if (argc)
        argv[0] = argv[0][0] == '/' || strchr(argv[0], '/') ? argv[0] : name;
    err = argp_parse(&argp, argc, argv, ARGP_IN_ORDER | ARGP_NO_HELP | ARGP_NO_ERRS, NULL, &o);
    if (err)
        return finish(&t, trouble(&t, must_print(&t, "%s", strerror(err))));
    t.set = o.set;
    t.full_name = full_name(&t);
    if (o.version) {
        buf_printf(&t.out, "%s\n", argp_program_version);
        return finish(&t, is_todo_sh); /* as todo.sh ends */
    }
    if (o.manual) {
        t.program = "stoa task";
        print_manual(&t);
        return finish(&t, 0);
    }
    if (o.help) {
        t.set.actions_dir = NULL;
        return finish(&t, action_help(&t));
    }
    status = run(&t, &o, argc, argv);
    return finish(&t, status);
}

int task_main(int argc, char **argv)
{
    return start("stoa task", false, argc, argv);
}

int task_main_todo_sh(int argc, char **argv)
{
    return start("stoa-todo", true, argc, argv);
}
