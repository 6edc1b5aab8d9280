#include "settings.h"

#include "../paths.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>

#define WORD_MAX (64 << 10)

static const char *const override_names[SET_COUNT] = {
    [SET_AUTO_ARCHIVE] = "TODOTXT_AUTO_ARCHIVE",
    [SET_FORCE] = "TODOTXT_FORCE",
    [SET_PRESERVE_LINE_NUMBERS] = "TODOTXT_PRESERVE_LINE_NUMBERS",
    [SET_PLAIN] = "TODOTXT_PLAIN",
    [SET_DATE_ON_ADD] = "TODOTXT_DATE_ON_ADD",
    [SET_DISABLE_FILTER] = "TODOTXT_DISABLE_FILTER",
    [SET_VERBOSE] = "TODOTXT_VERBOSE",
    [SET_DEFAULT_ACTION] = "TODOTXT_DEFAULT_ACTION",
    [SET_SORT_COMMAND] = "TODOTXT_SORT_COMMAND",
    [SET_FINAL_FILTER] = "TODOTXT_FINAL_FILTER",
};

/* The values that a configuration file starts from, whatever the environment has. */
static const struct {
    const char *name, *value;
} color_defaults[] = {
    {"NONE", ""},
    {"BLACK", "\\\\033[0;30m"},
    {"RED", "\\\\033[0;31m"},
    {"GREEN", "\\\\033[0;32m"},
    {"BROWN", "\\\\033[0;33m"},
    {"BLUE", "\\\\033[0;34m"},
    {"PURPLE", "\\\\033[0;35m"},
    {"CYAN", "\\\\033[0;36m"},
    {"LIGHT_GREY", "\\\\033[0;37m"},
    {"DARK_GREY", "\\\\033[1;30m"},
    {"LIGHT_RED", "\\\\033[1;31m"},
    {"LIGHT_GREEN", "\\\\033[1;32m"},
    {"YELLOW", "\\\\033[1;33m"},
    {"LIGHT_BLUE", "\\\\033[1;34m"},
    {"LIGHT_PURPLE", "\\\\033[1;35m"},
    {"LIGHT_CYAN", "\\\\033[1;36m"},
    {"WHITE", "\\\\033[1;37m"},
    {"DEFAULT", "\\\\033[0m"},
    {"PRI_A", "\\\\033[1;33m"},
    {"PRI_B", "\\\\033[0;32m"},
    {"PRI_C", "\\\\033[1;34m"},
    {"PRI_X", "\\\\033[1;37m"},
    {"COLOR_PROJECT", ""},
    {"COLOR_CONTEXT", ""},
    {"COLOR_DONE", "\\\\033[0;37m"},
    {"SENTENCE_DELIMITERS", ",.:;"},
};

static const char *env_or(const char *name, const char *fallback)
{
    const char *value = getenv(name);

    return value && *value ? value : fallback;
}

void settings_begin(struct settings *s)
{
    for (size_t i = 0; i < SET_COUNT; i++)
        s->override[i] = env_or(override_names[i], NULL);
}

/* ---- words ---- */

struct scan {
    const char *p, *end;
    size_t line, last_line; /* where it is, and up to where the statement may go */
    unsigned depth;
    struct buf *to; /* the value that is read */
};

static bool is_name(char c, bool first)
{
    return c == '_' || (c >= 'A' && c <= 'Z') || (c >= 'a' && c <= 'z') ||
           (!first && c >= '0' && c <= '9');
}

static struct str scan_name(struct scan *s)
{
    const char *start = s->p;

    while (s->p < s->end && is_name(*s->p, s->p == start))
        s->p++;
    return (struct str){start, (size_t)(s->p - start)};
}

static const char *value_of(struct str name)
{
    char text[256];

    if (name.n >= sizeof(text))
        return NULL;
    memcpy(text, name.p, name.n);
    text[name.n] = '\0';
    return getenv(text);
}

static bool scan_part(struct scan *s, bool quoted, char stop);

/* What stands in quotes or braces, which may have more of them in it. */
static bool scan_inside(struct scan *s, char stop)
{
    bool good = s->depth++ < SETTINGS_DEPTH_MAX && scan_part(s, true, stop);

    s->depth--;
    return good;
}

/* After "${": NAME}, NAME:-word}, NAME-word}. */
static bool scan_braces(struct scan *s)
{
    struct str name = scan_name(s);
    const char *value = value_of(name);
    size_t mark;
    bool colon = s->p < s->end && *s->p == ':';

    if (!name.n || s->p >= s->end)
        return false;
    s->p += colon;
    mark = s->to->n;
    if (s->p < s->end && *s->p == '-') {
        s->p++;
        if (!scan_inside(s, '}'))
            return false;
        if (value && (*value || !colon)) {
            s->to->n = mark;
            buf_append_str(s->to, str_of(value));
        }
    } else if (!colon && s->p < s->end && *s->p == '}') {
        s->p++;
        buf_append_str(s->to, str_of(value));
    } else {
        return false;
    }
    return true;
}

/* After "$". False: something that only a shell can do. */
static bool scan_dollar(struct scan *s)
{
    struct str name;

    if (s->p < s->end && *s->p == '{') {
        s->p++;
        return scan_braces(s);
    }
    if (s->p < s->end && *s->p == '(')
        return false;
    name = scan_name(s);
    if (name.n)
        buf_append_str(s->to, str_of(value_of(name)));
    else
        buf_append_char(s->to, '$');
    return true;
}

static bool scan_backslash(struct scan *s, bool quoted)
{
    char c = s->p < s->end ? *s->p : '\\';

    if (s->p < s->end)
        s->p++;
    if (c == '\n') {
        s->line++;
        return true;
    }
    if (quoted && !strchr("$`\"\\", c))
        buf_append_char(s->to, '\\');
    buf_append_char(s->to, c);
    return true;
}

static bool scan_single_quotes(struct scan *s)
{
    const char *end = memchr(s->p, '\'', (size_t)(s->end - s->p));

    if (!end)
        return false;
    for (; s->p < end && s->line <= s->last_line; s->p++) {
        s->line += *s->p == '\n';
        buf_append_char(s->to, *s->p);
    }
    s->p++;
    return s->line <= s->last_line;
}

/* Up to `stop`, which is taken; stop 0: up to the end of an unquoted word. */
static bool scan_part(struct scan *s, bool quoted, char stop)
{
    while (s->p < s->end) {
        char c = *s->p;
        bool good = true;

        if (stop ? c == stop : strchr(" \t\r\n;&|<>()", c) != NULL) {
            s->p += stop != 0;
            return true;
        }
        s->p++;
        s->line += c == '\n';
        if (c == '`' || s->line > s->last_line)
            return false;
        if (c == '$')
            good = scan_dollar(s);
        else if (c == '\\')
            good = scan_backslash(s, quoted);
        else if (c == '"' && stop != '"')
            good = scan_inside(s, '"');
        else if (c == '\'' && !quoted)
            good = scan_single_quotes(s);
        else
            buf_append_char(s->to, c);
        if (!good)
            return false;
    }
    return !stop;
}

static bool scan_word(struct scan *s)
{
    if (s->p < s->end && *s->p == '~' &&
        (s->p + 1 == s->end || strchr("/ \t\r\n;", s->p[1]) != NULL)) {
        s->p++;
        buf_append_str(s->to, str_of(getenv("HOME")));
    }
    return scan_part(s, false, 0);
}

int settings_expand(struct str text, struct buf *ret)
{
    struct scan s = {.p = text.p, .end = text.p + text.n, .last_line = SIZE_MAX, .to = ret};
    const char *before;

    while (s.p < s.end) {
        if (strchr(" \t()", *s.p)) { /* a list of files is written ("$A" "$B") */
            s.p++;
            continue;
        }
        before = s.p;
        if (!scan_word(&s) || s.p == before)
            return -EINVAL;
        buf_append_char(ret, '\0');
    }
    return buf_error(ret);
}

/* ---- the file ---- */

static void skip_blanks(struct scan *s)
{
    while (s->p < s->end && (*s->p == ' ' || *s->p == '\t' || *s->p == '\r'))
        s->p++;
}

static void skip_line(struct scan *s)
{
    while (s->p < s->end && *s->p != '\n')
        s->p++;
}

static bool take_word(struct scan *s, struct str word)
{
    struct str rest = {s->p, (size_t)(s->end - s->p)};

    if (!str_starts(rest, word) || (rest.n > word.n && is_name(rest.p[word.n], false)))
        return false;
    s->p += word.n;
    skip_blanks(s);
    return true;
}

/* NAME=value, or NAME alone after export. */
static bool read_assignment(struct scan *s, bool exported)
{
    struct str name = scan_name(s);
    char text[256];
    bool good = true;

    if (!name.n || name.n >= sizeof(text))
        return false;
    if (s->p >= s->end || *s->p != '=')
        return exported;
    s->p++;
    s->to->n = 0;
    good = scan_word(s);
    buf_append_char(s->to, '\0');
    if (!good || s->to->failed || memchr(s->to->p, '\0', s->to->n) != s->to->p + s->to->n - 1)
        return false;
    memcpy(text, name.p, name.n);
    text[name.n] = '\0';
    return setenv(text, s->to->p, 1) == 0;
}

/* One line; more than one setting may stand on it. False: it is not plain. */
static bool read_statement(struct scan *s)
{
    bool exported;

    skip_blanks(s);
    exported = take_word(s, STR("export"));
    while (s->p < s->end && *s->p != '\n' && *s->p != '#') {
        if (*s->p == ';') {
            s->p++;
            skip_blanks(s);
            exported = take_word(s, STR("export"));
            continue;
        }
        if (!read_assignment(s, exported))
            return false;
        if (s->p < s->end && !strchr(" \t\r\n;", *s->p))
            return false;
        skip_blanks(s);
    }
    skip_line(s); /* a comment */
    return true;
}

int settings_read(struct str text, const char *name, struct buf *warnings)
{
    struct buf value CLEANUP(buf_free) = {.max = WORD_MAX};
    struct scan s = {.p = text.p, .end = text.p + text.n, .line = 1, .to = &value};

    while (s.p < s.end) {
        struct scan start = s;

        s.last_line = s.line + SETTINGS_LINES_MAX - 1;
        if (!read_statement(&s)) {
            if (value.no_memory)
                return -ENOMEM;
            value.failed = false;
            buf_printf(warnings, "%s:%zu: only plain settings are read; this line is passed over\n",
                       name, start.line);
            s = start;
            skip_line(&s);
        }
        if (s.p < s.end) {
            s.p++;
            s.line++;
        }
    }
    return 0;
}

static int read_config(const char *path, struct arena *arena, struct buf *warnings,
                       struct str *ret_error)
{
    struct buf text CLEANUP(buf_free) = {.max = CONFIG_BYTES_MAX};
    int fd = open(path, O_RDONLY | O_CLOEXEC);
    ssize_t n = fd < 0 ? -1 : 1;

    while (n > 0) {
        char *to = buf_reserve(&text, 4096);

        n = to ? read(fd, to, 4096) : -1;
        text.n += n > 0 ? (size_t)n : 0;
    }
    if (fd >= 0)
        close(fd);
    if (n < 0 || settings_read(buf_str(&text), path, warnings)) {
        *ret_error = arena_printf(arena, "Fatal Error: Cannot read configuration file %s", path);
        return -EINVAL;
    }
    return 0;
}

static const char *join(struct arena *arena, const char *folder, const char *name)
{
    return folder ? arena_printf(arena, "%s%s", folder, name).p : NULL;
}

static bool exists(const char *path)
{
    return path && access(path, F_OK) == 0;
}

static bool is_folder(const char *path)
{
    struct stat st;

    return path && *path && stat(path, &st) == 0 && S_ISDIR(st.st_mode);
}

static const char *find_config(const struct settings *s, const char *program, struct arena *arena)
{
    const char *home = env_or("HOME", "");
    const char *slash = strrchr(program, '/');
    const char *first =
        s->config ? s->config : env_or("TODOTXT_CFG_FILE", join(arena, home, "/.todo/config"));
    const char *places[] = {
        first,
        join(arena, home, "/todo.cfg"),
        join(arena, home, "/.todo.cfg"),
        join(arena, paths_xdg(arena, "XDG_CONFIG_HOME", "/.config"), "/todo/config"),
        slash ? arena_printf(arena, "%.*s/todo.cfg", (int)(slash - program), program).p : NULL,
        env_or("TODOTXT_GLOBAL_CFG_FILE", "/etc/todo-txt/config"),
    };

    for (size_t i = 0; i < ARRAY_SIZE(places); i++) {
        if (exists(places[i]))
            return places[i];
    }
    return first;
}

static void find_actions(struct settings *s, struct arena *arena)
{
    const char *home = env_or("HOME", "");
    const char *places[] = {
        getenv("TODO_ACTIONS_DIR"),
        join(arena, home, "/.todo/actions"),
        join(arena, home, "/.todo.actions.d"),
        join(arena, paths_xdg(arena, "XDG_CONFIG_HOME", "/.config"), "/todo/actions"),
    };

    s->actions_dir = places[1];
    for (size_t i = 0; i < ARRAY_SIZE(places); i++) {
        if (is_folder(places[i])) {
            s->actions_dir = places[i];
            break;
        }
    }
    if (s->actions_dir)
        setenv("TODO_ACTIONS_DIR", s->actions_dir, 1);
}

static const char *chosen(const struct settings *s, enum override which, const char *fallback)
{
    return s->override[which] ? s->override[which] : env_or(override_names[which], fallback);
}

static bool is(const char *a, const char *b)
{
    return strcmp(a, b) == 0;
}

static int choose_files(struct settings *s, struct arena *arena, struct str *ret_error)
{
    static const struct {
        const char *name, *file;
    } files[] = {{"TODO_FILE", "todo"}, {"DONE_FILE", "done"}, {"REPORT_FILE", "report"}};
    const char **to[] = {&s->todo_file, &s->done_file, &s->report_file};

    s->todo_dir = getenv("TODO_DIR");
    if (s->no_config && (!s->todo_dir || !*s->todo_dir))
        s->todo_dir =
            join(arena, paths_xdg(arena, "XDG_DATA_HOME", "/.local/share"), "/stoa/tasks");
    if (!s->todo_dir)
        s->todo_dir = "";
    for (size_t i = 0; i < ARRAY_SIZE(files); i++) {
        if (s->list)
            *to[i] =
                i == 0 ? arena_printf(arena, "%s/%s.txt", s->todo_dir, s->list).p
                       : arena_printf(arena, "%s/%s.%s.txt", s->todo_dir, s->list, files[i].file).p;
        else
            *to[i] = env_or(files[i].name,
                            arena_printf(arena, "%s/%s.txt", s->todo_dir, files[i].file).p);
        if (!*to[i]) {
            *ret_error = STR("out of memory");
            return -ENOMEM;
        }
    }
    return 0;
}

int settings_finish(struct settings *s, const char *program, struct arena *arena,
                    struct buf *warnings, struct str *ret_error)
{
    const char *config = find_config(s, program, arena);
    bool asked = s->config || getenv("TODOTXT_CFG_FILE");
    int err;

    for (size_t i = 0; i < ARRAY_SIZE(color_defaults); i++)
        setenv(color_defaults[i].name, color_defaults[i].value, 1);
    find_actions(s, arena);
    s->no_config = !asked && !exists(config);
    if (!s->no_config) {
        err = read_config(config, arena, warnings, ret_error);
        if (err)
            return err;
        setenv("TODOTXT_CFG_FILE", config, 1);
    }
    s->verbose = atoi(chosen(s, SET_VERBOSE, "1"));
    s->auto_archive = is(chosen(s, SET_AUTO_ARCHIVE, "1"), "1");
    s->force = !is(chosen(s, SET_FORCE, "0"), "0");
    s->preserve = !is(chosen(s, SET_PRESERVE_LINE_NUMBERS, "1"), "0");
    s->plain = is(chosen(s, SET_PLAIN, "0"), "1");
    s->date_on_add = is(chosen(s, SET_DATE_ON_ADD, "0"), "1");
    s->default_action = chosen(s, SET_DEFAULT_ACTION, "");
    s->sort_command = chosen(s, SET_SORT_COMMAND, NULL);
    if (s->sort_command && is(s->sort_command, "env LC_COLLATE=C sort -f -k2"))
        s->sort_command = NULL;
    s->final_filter = chosen(s, SET_FINAL_FILTER, NULL);
    if (is(chosen(s, SET_DISABLE_FILTER, ""), "1") ||
        (s->final_filter && is(s->final_filter, "cat")))
        s->final_filter = NULL;
    s->actions_dir = env_or("TODO_ACTIONS_DIR", s->actions_dir);
    return choose_files(s, arena, ret_error);
}

void settings_export(const struct settings *s)
{
    static const char *const fallbacks[SET_COUNT] = {
        "1", "0", "1", "0", "0", "", "1", "", "env LC_COLLATE=C sort -f -k2", "cat"};

    for (size_t i = 0; i < SET_COUNT; i++)
        setenv(override_names[i], chosen(s, (enum override)i, fallbacks[i]), 1);
    setenv("TODO_DIR", s->todo_dir, 1);
    setenv("TODO_FILE", s->todo_file, 1);
    setenv("DONE_FILE", s->done_file, 1);
    setenv("REPORT_FILE", s->report_file, 1);
    if (s->actions_dir)
        setenv("TODO_ACTIONS_DIR", s->actions_dir, 1);
}
