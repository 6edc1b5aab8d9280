/* Where the tasks are and how they are shown: the environment and the configuration file of
 * todo.sh.
 *
 * The file is a shell script there; here its settings are read and nothing is run: NAME=value and
 * `export NAME=value` with quotes, backslashes, `~`, $NAME, ${NAME} and ${NAME:-value}. Any other
 * line is passed over with a warning. What it sets goes into the environment, as with todo.sh, so
 * that add-on actions and filters see it. One thread.
 */
#ifndef STOA_CLI_TASK_SETTINGS_H
#define STOA_CLI_TASK_SETTINGS_H

#include "base/arena.h"
#include "base/buf.h"

#define CONFIG_BYTES_MAX (1 << 20)
#define SETTINGS_DEPTH_MAX 32  /* of quotes and ${} inside one another */
#define SETTINGS_LINES_MAX 256 /* of one statement; more is a quote that nobody has closed */

/* What options, environment and file say, in this order; the settings that an option or the
 * environment has win over the file. */
enum override {
    SET_AUTO_ARCHIVE,
    SET_FORCE,
    SET_PRESERVE_LINE_NUMBERS,
    SET_PLAIN,
    SET_DATE_ON_ADD,
    SET_DISABLE_FILTER,
    SET_VERBOSE,
    SET_DEFAULT_ACTION,
    SET_SORT_COMMAND,
    SET_FINAL_FILTER,
    SET_COUNT,
};

struct settings {
    const char *override[SET_COUNT]; /* NULL: not said */
    const char *config;              /* -d; NULL: not said */
    const char *list;                /* -l; NULL: the one of TODO_FILE */

    int verbose;
    bool auto_archive, force, preserve, plain, date_on_add;
    const char *default_action;
    const char *sort_command; /* NULL: todo.sh's own, which needs no program */
    const char *final_filter; /* NULL: none */
    const char *todo_dir, *todo_file, *done_file, *report_file;
    const char *actions_dir; /* may not exist */
    bool no_config;          /* there is none: folders by the XDG rules */
};

/* Takes from the environment what it says; before the options are read. */
void settings_begin(struct settings *s);

/* Reads the configuration file and fills the rest. program: for the file beside it. On failure
 * -EINVAL and *ret_error. Warnings go to *warnings, a line each. */
int settings_finish(struct settings *s, const char *program, struct arena *arena,
                    struct buf *warnings, struct str *ret_error) MUST_CHECK;

/* Reads one configuration text; name is for warnings. 0 or -ENOMEM. */
int settings_read(struct str text, const char *name, struct buf *warnings) MUST_CHECK;

/* Puts all settings into the environment, for a program that is started. */
void settings_export(const struct settings *s);

/* A word with $NAME expanded; for TODOTXT_SOURCEVAR. The words of `text`, each ended by NUL, in
 * *ret. */
int settings_expand(struct str text, struct buf *ret) MUST_CHECK;

#endif
