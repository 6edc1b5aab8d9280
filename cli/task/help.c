/* The commands, each told once: for `help`, for `--help`, for the manual page and for completion.
 */
#include "task.h"

const struct command commands[] = {
    {"add", "a", action_add, false, "TEXT...", "add a task",
     "Words like +project, @context, due:2026-12-01, t:2026-11-30 (not before) and rec:1w mean "
     "something; (A) in front is a priority. Without TEXT it is asked for.",
     "add Call Ada @phone due:2026-12-01\nadd '(A) Pay the rent rec:+1m due:2026-12-01'"},
    {"addm", NULL, action_addm, false, "LINES...", "add several tasks, one a line", NULL,
     "addm 'Buy bread\nBuy tea'"},
    {"addto", NULL, action_addto, false, "DEST TEXT...", "add a line to a file of the todo folder",
     NULL, "addto ideas.txt A clock that runs backwards"},
    {"append", "app", action_append, false, "ITEM# TEXT...", "add text to the end of a task",
     "Without a space in between when TEXT begins with one of SENTENCE_DELIMITERS.",
     "append 3 and ask for a receipt"},
    {"archive", NULL, action_archive, false, "", "move done tasks to the done file",
     "Empty lines go as well.", "archive"},
    {"command", NULL, NULL, false, "ACTION...", "run a built-in action, no add-on", NULL,
     "command ls @phone"},
    {"deduplicate", NULL, action_deduplicate, false, "", "remove tasks that are there twice", NULL,
     "deduplicate"},
    {"del", "rm", action_del, false, "ITEM# [TERM]", "delete a task, or TERM in it",
     "TERM is a basic regular expression. Asks first, unless -f is given.", "del 3\ndel 3 @phone"},
    {"depri", "dp", action_depri, false, "ITEM#...", "remove the priority of tasks", NULL,
     "depri 3 5\ndp 3,5"},
    {"do", "done", action_do, false, "ITEM#...", "mark tasks as done, and archive them",
     "A task with rec: is followed by its next one: rec:1w is a week from today, rec:+1w a week "
     "from its due date; d, w, m, y and b (days of work).",
     "do 3\ndo 3,5"},
    {"help", NULL, action_help, false, "[ACTION...]", "tell about options and actions", NULL,
     "help\nhelp do"},
    {"list", "ls", action_list, false, "[TERM...]", "list tasks that have each TERM",
     "TERM is a basic regular expression in any case; `-TERM' leaves out what has it. Also: "
     "pri:A, pri:A-C, pri:none; due, t, created and done with <, <=, >, >= or = and a date "
     "(2026-12-01, today, fri, +2w); due:none, due:any; /extended regular expression/.",
     "ls @home -+work\nls pri:A-C 'due<+1w'\nls '/call (ada|bob)/'"},
    {"listall", "lsa", action_listall, false, "[TERM...]", "list open and done tasks", NULL,
     "lsa +engine"},
    {"listaddons", NULL, action_listaddons, false, "", "list the add-on actions", NULL,
     "listaddons"},
    {"listcon", "lsc", action_listcon, false, "[TERM...]", "list the contexts", NULL,
     "lsc\nlsc +engine"},
    {"listfile", "lf", action_listfile, false, "[SRC [TERM...]]",
     "list the lines of a file of the todo folder, or its files", NULL, "lf\nlf done.txt ada"},
    {"listpri", "lsp", action_listpri, false, "[PRIORITIES] [TERM...]",
     "list tasks that have a priority", "PRIORITIES: one (A) or a range (A-C).", "lsp\nlsp A-C"},
    {"listproj", "lsprj", action_listproj, false, "[TERM...]", "list the projects", NULL,
     "lsprj\nlsprj @phone"},
    {"move", "mv", action_move, false, "ITEM# DEST [SRC]",
     "move a line from one file of the todo folder to another", NULL, "mv 3 someday.txt"},
    {"prepend", "prep", action_prepend, false, "ITEM# TEXT...",
     "add text to the beginning of a task", NULL, "prepend 3 Today:"},
    {"pri", "p", action_pri, false, "ITEM# PRIORITY", "give a task a priority, A to Z", NULL,
     "pri 3 A"},
    {"replace", NULL, action_replace, false, "ITEM# TEXT...", "put another text in a task's place",
     "Its priority stays, and its date unless TEXT begins with one.", "replace 3 Call Bob"},
    {"report", NULL, action_report, false, "",
     "archive, and note the numbers of open and done tasks", NULL, "report"},
    {"shorthelp", NULL, action_shorthelp, false, "", "list the actions, a line each", NULL,
     "shorthelp"},

    {"calendar", "cal", action_calendar, true, "[YYYY-MM] [TERM...]",
     "show a month, and what is due in it", "In brackets: how many tasks are due.",
     "calendar\ncalendar 2026-12 +engine"},
    {"due", NULL, action_due, true, "[DAYS] [TERM...]",
     "list tasks by due date, those that are late in red",
     "DAYS: only what is due until then. Leaves out what waits for its t:.", "due\ndue 7 @phone"},
    {"edit", NULL, action_edit, true, "[ITEM#]", "change a task, or all, in $VISUAL or $EDITOR",
     NULL, "edit 3\nedit"},
    {"lists", NULL, action_lists, true, "", "list the lists, for option -l", NULL,
     "lists\n-l work ls"},
    {"next", NULL, action_next, true, "[COUNT] [TERM...]", "show what to do next",
     "What is due comes first, then by priority, due date and age.", "next\nnext 5 @home"},
    {"stats", NULL, action_stats, true, "", "show figures: open, overdue, done, by project", NULL,
     "stats"},
    {"undo", NULL, action_undo, true, "", "take back the last change; again: the one before", NULL,
     "undo"},
};

const size_t n_commands = ARRAY_SIZE(commands);

#define HELP_COLUMNS 79
#define CALL_COLUMNS 26 /* of an action; what is longer has a line of its own */
#define OPTION_COLUMNS 10

struct option_help {
    const char *option, *meaning;
};

static const struct option_help options[] = {
    {"-@", "hide contexts; twice: show them"},
    {"-+", "hide projects; twice: show them"},
    {"-P", "hide priorities; twice: show them"},
    {"-a", "do not archive what is done (TODOTXT_AUTO_ARCHIVE=0)"},
    {"-A", "archive what is done (default)"},
    {"-c", "colours"},
    {"-d FILE", "read this configuration file"},
    {"-f", "ask no questions (TODOTXT_FORCE=1)"},
    {"-h", "same as the action shorthelp"},
    {"-l NAME", "the list NAME.txt of the todo folder, with NAME.done.txt"},
    {"-n", "deleting removes the line (TODOTXT_PRESERVE_LINE_NUMBERS=0)"},
    {"-N", "deleting leaves an empty line, so that numbers stay (default)"},
    {"-p", "no colours (TODOTXT_PLAIN=1)"},
    {"-t", "put today's date in front of new tasks (TODOTXT_DATE_ON_ADD=1)"},
    {"-T", "do not (default)"},
    {"-v", "tell more (TODOTXT_VERBOSE); twice: still more"},
    {"-V", "the version"},
    {"-x", "do not use TODOTXT_FINAL_FILTER"},
    {"--json", "lists as JSON"},
    {"--help", "this text; after an action: what it does"},
};

const struct command *command_find(const char *name)
{
    for (size_t i = 0; i < n_commands; i++) {
        if (strcmp(commands[i].name, name) == 0 ||
            (commands[i].alias && strcmp(commands[i].alias, name) == 0))
            return &commands[i];
    }
    return NULL;
}

static struct str usage_line(struct task *t)
{
    return must_print(t, "%s [-fhpantvV] [-d todo_config] action [task_number] [task_description]",
                      t->program);
}

void print_usage(struct task *t)
{
    buf_printf(&t->out, "Usage: %.*s\nTry '%s -h' for more information.\n", STR_FMT(usage_line(t)),
               t->program);
}

static void print_call(struct buf *out, const struct command *c)
{
    buf_printf(out, "%s%s%s%s%s", c->name, c->alias ? "|" : "", c->alias ? c->alias : "",
               *c->arguments ? " " : "", c->arguments);
}

/* Text in lines behind so many blanks. */
static void print_text(struct buf *out, struct str text, size_t indent)
{
    do {
        struct str line = terminal_wrap(&text, HELP_COLUMNS - indent);

        buf_printf(out, "%*s%.*s\n", (int)indent, "", STR_FMT(line));
    } while (text.n);
}

/* "    NAME    what it is", that in as many lines as it takes. */
static void print_row(struct buf *out, struct str name, size_t columns, const char *meaning)
{
    size_t indent = 4 + columns + 1;
    struct str rest = str_of(meaning), first = STR_NULL;

    if (name.n <= columns)
        first = terminal_wrap(&rest, HELP_COLUMNS - indent);
    buf_printf(out, "    %-*.*s%s%.*s\n", first.n ? (int)columns : 0, STR_FMT(name),
               first.n ? " " : "", STR_FMT(first));
    if (rest.n)
        print_text(out, rest, indent);
}

static void print_group(struct task *t, const char *title, bool own)
{
    struct buf call CLEANUP(buf_free) = {.max = 4096};

    buf_printf(&t->out, "\n  %s:\n", title);
    for (size_t i = 0; i < n_commands; i++) {
        if (commands[i].own != own)
            continue;
        call.n = 0;
        print_call(&call, &commands[i]);
        print_row(&t->out, buf_str(&call), CALL_COLUMNS, commands[i].summary);
    }
}

static void print_actions(struct task *t)
{
    print_group(t, "Actions", false);
    print_group(t, "Actions that todo.sh has not", true);
    addon_usages(t, &t->out);
}

/* Help is long: on a terminal it goes through the pager. */
static int page(struct task *t)
{
    int err = buf_error(&t->out) ? buf_error(&t->out) : terminal_page(buf_str(&t->out));

    t->out.n = 0;
    return err ? trouble(t, must_print(t, "cannot write: %s", strerror(-err))) : 0;
}

int action_shorthelp(struct task *t)
{
    buf_printf(&t->out, "  Usage: %.*s\n", STR_FMT(usage_line(t)));
    print_actions(t);
    buf_append_str(&t->out, STR("\n  See \"help\" for more details.\n"));
    return page(t);
}

static void print_options(struct task *t)
{
    buf_append_str(&t->out, STR("\n  Options:\n"));
    for (size_t i = 0; i < ARRAY_SIZE(options); i++)
        print_row(&t->out, str_of(options[i].option), OPTION_COLUMNS, options[i].meaning);
}

/* An example of two lines is one command when the first leaves a quote open. */
static void print_examples(struct buf *out, const char *program, const char *examples)
{
    bool open = false;

    for (const char *p = examples; *p;) {
        size_t n = strcspn(p, "\n");

        buf_printf(out, "      %s%s%.*s\n", open ? "" : program, open ? "" : " ", (int)n, p);
        for (size_t i = 0; i < n; i++)
            open ^= p[i] == '\'';
        p += n + (p[n] == '\n');
    }
}

void print_command(struct task *t, const struct command *c)
{
    struct buf *out = &t->out;

    buf_append_str(out, STR("    "));
    print_call(out, c);
    buf_printf(out, "\n      %s\n", c->summary);
    if (c->details)
        print_text(out, str_of(c->details), 6);
    if (c->examples) {
        buf_append_str(out, STR("      Examples:\n"));
        print_examples(out, must_print(t, "  %s", t->program).p, c->examples);
    }
    buf_append_char(out, '\n');
}

int action_help(struct task *t)
{
    const char *addon;

    if (!t->argc) {
        buf_printf(&t->out, "  Usage: %.*s\n", STR_FMT(usage_line(t)));
        print_options(t);
        print_actions(t);
        buf_printf(&t->out, "\n  `%s help ACTION' tells more of an action.\n", t->program);
        return page(t);
    }
    for (int i = 0; i < t->argc; i++) {
        const struct command *c = command_find(t->argv[i]);
        char usage[] = "usage";
        char *argv[] = {t->argv[i], usage, NULL};
        struct task other;

        if (addon_find(t, t->argv[i], &addon)) {
            flush(t);
            other = *t;
            other.argv = argv + 1;
            other.argc = 0;
            argv[0] = usage; /* it is asked as `PROGRAM usage' */
            argv[1] = NULL;
            (void)addon_run(&other, addon);
            continue;
        }
        if (!c)
            return die(t, "TODO: No action \"%s\" exists.", t->argv[i]);
        print_command(t, c);
    }
    return 0;
}

/* ---- the manual page ---- */

static void manual_command(struct task *t, const struct command *c)
{
    struct buf *out = &t->out;
    struct buf text CLEANUP(buf_free) = {.max = 65536};

    buf_append_str(out, STR(".TP\n.B "));
    print_call(&text, c);
    buf_append_char(&text, '\0');
    if (buf_error(&text))
        return;
    roff_line(out, text.p);
    buf_printf(out, "%c", c->summary[0] - 32);
    roff_line(out, c->summary + 1);
    if (c->details) {
        buf_append_str(out, STR(".br\n"));
        roff_text(out, c->details);
    }
    if (c->examples) {
        text.n = 0;
        print_examples(&text, t->program, c->examples);
        buf_append_char(&text, '\0');
        if (buf_error(&text))
            return;
        buf_append_str(out, STR(".IP\n.nf\n"));
        roff_line(out, text.p);
        buf_append_str(out, STR(".fi\n"));
    }
}

void print_manual(struct task *t)
{
    struct buf *out = &t->out;

    roff_title(out, "stoa-task");
    buf_append_str(
        out, STR(".SH NAME\n"
                 "stoa\\-task, stoa\\-todo \\- tasks in todo.txt files\n.SH SYNOPSIS\n"
                 ".B stoa task\n[\\fIOPTION\\fR...] \\fIACTION\\fR [\\fIARGUMENT\\fR...]\n.br\n"
                 ".B stoa\\-todo\n[\\fIOPTION\\fR...] \\fIACTION\\fR [\\fIARGUMENT\\fR...]\n"
                 ".SH DESCRIPTION\n"
                 "Keeps tasks in text files of the todo.txt format, a task a line. Called as\n"
                 ".BR stoa\\-todo ,\nthe actions of todo.sh do what they do there, byte for byte.\n"
                 "A change is written beside the old file, flushed, and then put in its place.\n"
                 ".SH OPTIONS\n"));
    for (size_t i = 0; i < ARRAY_SIZE(options); i++) {
        buf_append_str(out, STR(".TP\n.B "));
        roff_line(out, options[i].option);
        roff_text(out, options[i].meaning);
    }
    buf_append_str(out, STR(".SH ACTIONS\n"));
    for (size_t i = 0; i < n_commands; i++)
        manual_command(t, &commands[i]);
    buf_append_str(
        out,
        STR(".SH FILES\n.TP\n.I ~/.todo/config, ~/todo.cfg, ~/.todo.cfg,\n"
            "$XDG_CONFIG_HOME/todo/config, /etc/todo\\-txt/config: the settings of todo.sh;\n"
            "lines NAME=value are read, nothing is run.\n"
            ".TP\n.I $XDG_DATA_HOME/stoa/tasks\nthe tasks when there is no configuration file.\n"
            ".TP\n.I $XDG_STATE_HOME/stoa/undo\nwhat undo needs.\n"
            ".TP\n.I todo.txt.bak\nthe file before the last change.\n"
            ".SH ENVIRONMENT\n"
            "TODO_DIR, TODO_FILE, DONE_FILE, REPORT_FILE, TODO_ACTIONS_DIR and TODOTXT_*\n"
            "as with todo.sh; NO_COLOR, PAGER, VISUAL, EDITOR, XDG_CONFIG_HOME,\n"
            "XDG_DATA_HOME, XDG_STATE_HOME.\n.SH EXIT STATUS\n"
            "0: done. 1: it could not be done. 2: wrong options.\n"));
}
