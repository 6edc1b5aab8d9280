/* libFuzzer target for the configuration file of todo.sh. A warning names a line that there is; a
 * value that is written in quotes is read as it was. */
#include "../../cli/task/settings.h"

#include <stdlib.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void check(bool holds)
{
    if (!holds)
        abort();
}

static size_t count_lines(struct str text)
{
    size_t n = 1;

    for (size_t i = 0; i < text.n; i++)
        n += text.p[i] == '\n';
    return n;
}

/* "c:LINE: ..." */
static void check_warnings(struct str warnings, size_t lines)
{
    size_t last = 0;

    while (warnings.n) {
        const char *lf = memchr(warnings.p, '\n', warnings.n);
        size_t line;

        check(lf && str_starts(warnings, STR("c:")));
        line = strtoul(warnings.p + 2, NULL, 10);
        check(line > last && line <= lines);
        last = line;
        warnings = str_skip(warnings, (size_t)(lf - warnings.p) + 1);
    }
}

static void read_any(struct str text)
{
    struct buf warnings = {.max = SIZE_MAX}, words = {.max = SIZE_MAX};

    check(settings_read(text, "c", &warnings) == 0);
    check_warnings(buf_str(&warnings), count_lines(text));
    check(setenv("B", "b b", 1) == 0);
    if (settings_expand(text, &words) == 0)
        check(!words.n || !words.p[words.n - 1]);
    buf_free(&warnings);
    buf_free(&words);
}

/* In quotes of each kind. */
static void append_quoted(struct buf *to, struct str value, char quote)
{
    buf_append_str(to, STR("export A="));
    buf_append_char(to, quote);
    for (size_t i = 0; i < value.n; i++) {
        if (quote == '\'' && value.p[i] == '\'') {
            buf_append_str(to, STR("'\\''"));
        } else {
            if (quote == '"' && strchr("$`\"\\", value.p[i]))
                buf_append_char(to, '\\');
            buf_append_char(to, value.p[i]);
        }
    }
    buf_append_char(to, quote);
    buf_append_char(to, '\n');
}

static void read_quoted(struct str value, char quote)
{
    struct buf text = {.max = SIZE_MAX}, warnings = {.max = SIZE_MAX};

    append_quoted(&text, value, quote);
    check(settings_read(buf_str(&text), "c", &warnings) == 0 && warnings.n == 0);
    check(str_eq(str_of(getenv("A")), value));
    buf_free(&text);
    buf_free(&warnings);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct str text = {(const char *)data, size};

    check(clearenv() == 0 && setenv("HOME", "/home/ada", 1) == 0);
    read_any(text);
    check(clearenv() == 0);
    if (!(size && memchr(data, '\0', size)) && count_lines(text) < SETTINGS_LINES_MAX &&
        size < 32 << 10) {
        read_quoted(text, '\'');
        read_quoted(text, '"');
    }
    return 0;
}
