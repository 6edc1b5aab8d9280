/* `stoa task` and `stoa-todo`: what the files of the task manager share.
 *
 * One run is one struct task: settings, arguments, and the output, which is held back until the
 * change that it tells of is on the disk. By the name stoa-todo the actions of todo.sh do what
 * todo.sh does; by the name `stoa task` they understand more (filter.h, rec:, --help), and colours
 * are for terminals. One thread; memory lives as long as the run.
 */
#ifndef STOA_CLI_TASK_TASK_H
#define STOA_CLI_TASK_TASK_H

#include "../file.h"
#include "journal.h"
#include "line.h"
#include "settings.h"

#include "../cli.h"

#define OUTPUT_MAX (INT64_C(2) << 30)

struct task {
    struct arena arena;
    struct settings set;
    struct buf out;
    const char *program;   /* as people call it: "stoa-todo", "stoa task" */
    const char *full_name; /* a program that add-on actions can call */
    bool is_todo_sh;       /* called as stoa-todo */
    bool json, wants_color;
    bool pages; /* output goes through the pager when it is long: lists are held back for it */
    date_t today;
    const char *action; /* in lower case */
    int argc;           /* of what follows the action */
    char **argv;        /* argv[-1]: the action as it was typed */
};

/* ---- task.c ---- */

/* The group `task`, for main.c. */
int task_main(int argc, char **argv);
int task_main_todo_sh(int argc, char **argv);

/* A line on standard output, and 1: how todo.sh ends what cannot be done. */
int die(struct task *t, const char *fmt, ...) PRINTF_LIKE(2, 3);

/* A line on standard error, with the program's name in front; always 1. */
int trouble(const struct task *t, struct str error);

/* Writes the output so far. */
void flush(struct task *t);

/* Shows the prompt and reads a line; without blanks around it, {"", 0} at the end of the input. */
struct str ask(struct task *t, struct str prompt);

/* The arguments from `from` on, joined by spaces. */
struct str joined(struct task *t, int from);

/* A regular file, or a link to one. */
bool is_file(const char *path);

/* Memory, or the end of the program: nothing has been changed when it is asked for. */
void *must_have(const struct task *t, void *p);
struct str must_copy(struct task *t, struct str s);
struct str must_print(struct task *t, const char *fmt, ...) PRINTF_LIKE(2, 3);

/* ---- change.c: the actions of todo.sh that change files ---- */

int action_add(struct task *t);
int action_addm(struct task *t);
int action_addto(struct task *t);
int action_append(struct task *t);
int action_deduplicate(struct task *t);
int action_del(struct task *t);
int action_depri(struct task *t);
int action_move(struct task *t);
int action_prepend(struct task *t);
int action_pri(struct task *t);
int action_replace(struct task *t);

/* ---- archive.c: what is done ---- */

int action_archive(struct task *t);
int action_do(struct task *t);
int action_report(struct task *t);

/* ---- edit.c ---- */

int action_edit(struct task *t);
int action_undo(struct task *t);

/* A change of files under lock, with its journal. */
struct change {
    struct task *t;
    struct files files;
    struct journal journal;
    size_t said; /* output before the change */
};

/* 0, or 1 after the error was told. Then change_end(), in both cases. */
int change_begin(struct change *c, struct task *t, const char *const *names, size_t n) MUST_CHECK;
/* Commits, and gives the exit status: `status`, or 1 when the files could not be written; what was
 * said of the change is then taken back. */
int change_end(struct change *c, int status) MUST_CHECK;

/* The item of that number, 0 the first, in *ret; or 1 after the error was told. usage: for an
 * argument that is no number. */
int find_item(struct task *t, const struct file *file, const char *item, const char *usage,
              size_t *ret) MUST_CHECK;

/* "TODO" of a/todo.txt. */
struct str prefix_of(struct task *t, const char *name);

/* What archive.c also needs. */

static inline struct str text_at(const struct file *file, size_t at)
{
    return file->lines[at].text;
}

void say_item(struct task *t, const char *item, struct str text);
/* "(A) " with any one character inside; the bytes that it takes, 0: none. */
size_t priority_length(struct str text);
const char *today_text(struct task *t);
struct str concat(struct task *t, struct str a, struct str b, struct str c);
/* The items of "1,2 3" in the arguments. */
size_t split_items(struct task *t, char ***ret);
void add_line(struct change *c, struct file *file, struct str text);

/* ---- list.c: the lists of todo.sh ---- */

int action_list(struct task *t);
int action_listall(struct task *t);
int action_listcon(struct task *t);
int action_listfile(struct task *t);
int action_listpri(struct task *t);
int action_listproj(struct task *t);

/* ---- views.c: lists that todo.sh has not ---- */

int action_calendar(struct task *t);
int action_due(struct task *t);
int action_lists(struct task *t);
int action_next(struct task *t);
int action_stats(struct task *t);

/* ---- color.c ---- */

/* The escape codes of a setting (PRI_A, COLOR_DONE, DEFAULT, RED); "" when colours are off.
 * Priorities without one of their own have PRI_X's. */
struct str color_of(struct task *t, const char *setting);
struct str color_of_priority(struct task *t, char priority);

/* Those of a list, looked up once. */
struct colors {
    struct str done, end, project, context, overdue;
    struct str priority[26];
    bool hides_priority, looks_at_words;
};

void colors_choose(struct task *t, struct colors *c);
/* Appends a line of a list, "3" and "(A) Call Ada @phone", with its colours. */
void colors_append(struct task *t, const struct colors *c, struct str number, struct str text,
                   struct buf *to);

/* ---- json.c ---- */

struct json_t;

/* What --json prints of a line of a file, number 1 the first. */
struct json_t *json_task(struct task *t, const char *file, size_t number, struct str text);
struct json_t *json_text(struct task *t, struct str text);
/* Prints and frees it. 0. */
int json_say(struct task *t, struct json_t *value);

/* ---- addon.c: actions that people add ---- */

/* True: there is one of that name, in *ret_path. */
bool addon_find(struct task *t, const char *name, const char **ret_path);
/* Runs it with the arguments from argv[-1] on, and gives its exit status. */
int addon_run(struct task *t, const char *path);
int action_listaddons(struct task *t);
/* What the add-ons print as their usage. */
void addon_usages(struct task *t, struct buf *to);
/* Runs a shell command with `input`; what it prints in *ret. 0 or negative errno. */
int run_shell(struct task *t, const char *command, struct str input, struct buf *ret) MUST_CHECK;

/* ---- help.c ---- */

struct command {
    const char *name, *alias; /* alias: NULL, none */
    int (*run)(struct task *t);
    bool own;              /* todo.sh has none of that name */
    const char *arguments; /* "ITEM# [TERM]" */
    const char *summary;   /* one line */
    const char *details;   /* NULL or more lines */
    const char *examples;  /* lines, without the program's name; NULL: none */
};

extern const struct command commands[];
extern const size_t n_commands;

const struct command *command_find(const char *name);
int action_help(struct task *t);
int action_shorthelp(struct task *t);
void print_usage(struct task *t); /* two lines, as of todo.sh */
void print_command(struct task *t, const struct command *c);
void print_manual(struct task *t); /* the manual page, in roff */

#endif
