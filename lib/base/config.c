#include "base/config.h"

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdlib.h>
#include <unistd.h>

#define VALUE_MAX 4096

/* Reads a small file whole; the trailing newline is cut. */
static int read_value_file(const char *path, struct arena *arena, struct str *ret)
{
    char text[VALUE_MAX + 1];
    ssize_t n = 0, got;
    int fd = open(path, O_RDONLY | O_CLOEXEC);

    if (fd < 0)
        return -errno;
    do {
        got = read(fd, text + n, sizeof(text) - (size_t)n);
        if (got > 0)
            n += got;
    } while (got > 0 && (size_t)n < sizeof(text));
    got = got < 0 ? -errno : 0;
    close(fd);
    if (got < 0)
        return (int)got;
    if ((size_t)n == sizeof(text))
        return -EFBIG;
    while (n > 0 && (text[n - 1] == '\n' || text[n - 1] == '\r'))
        n--;
    *ret = arena_copy(arena, (struct str){text, (size_t)n});
    explicit_bzero(text, sizeof(text));
    return ret->p ? 0 : -ENOMEM;
}

/* The raw text of a setting: the variable, the file it names, or the fallback. */
static int raw_value(const struct config_setting *s, struct arena *arena, struct str *ret,
                     struct str *ret_error)
{
    char file_name[128];
    const char *direct = getenv(s->name), *path;
    int r;

    snprintf(file_name, sizeof(file_name), "%s_FILE", s->name);
    path = getenv(file_name);
    if (direct && path) {
        *ret_error =
            arena_printf(arena, "%s and %s are both set: set only one", s->name, file_name);
        return -EINVAL;
    }
    if (path) {
        r = read_value_file(path, arena, ret);
        if (r < 0)
            *ret_error = arena_printf(arena, "%s: cannot read %s (%s): name a readable file",
                                      file_name, path, strerror(-r));
        return r;
    }
    if (!direct && !s->fallback) {
        *ret_error = arena_printf(arena, "%s is not set: %s", s->name, s->help);
        return -EINVAL;
    }
    *ret = str_of(direct ? direct : s->fallback);
    return 0;
}

static int store_value(const struct config_setting *s, struct str raw, char *member,
                       struct arena *arena, struct str *ret_error)
{
    switch (s->type) {
    case CONFIG_INT: {
        int64_t v;
        if (str_to_int64(raw, &v) < 0 || v < s->min || v > s->max) {
            *ret_error =
                arena_printf(arena, "%s=%.*s: set a whole number from %" PRId64 " to %" PRId64,
                             s->name, STR_FMT(s->secret ? STR("...") : raw), s->min, s->max);
            return -EINVAL;
        }
        memcpy(member, &v, sizeof(v));
        return 0;
    }
    case CONFIG_BOOL: {
        bool on = str_eq(raw, STR("on")) || str_eq(raw, STR("true")) || str_eq(raw, STR("1"));
        bool off = str_eq(raw, STR("off")) || str_eq(raw, STR("false")) || str_eq(raw, STR("0"));
        if (!on && !off) {
            *ret_error = arena_printf(arena, "%s=%.*s: set on or off", s->name, STR_FMT(raw));
            return -EINVAL;
        }
        memcpy(member, &on, sizeof(on));
        return 0;
    }
    case CONFIG_STRING: {
        int64_t max = s->max ? s->max : VALUE_MAX;
        if ((int64_t)raw.n < s->min || (int64_t)raw.n > max) {
            *ret_error =
                arena_printf(arena, "%s: its value has %zu bytes: set %" PRId64 " to %" PRId64,
                             s->name, raw.n, s->min, max);
            return -EINVAL;
        }
        struct str copy = arena_copy(arena, raw);
        if (!copy.p)
            return -ENOMEM;
        memcpy(member, &copy, sizeof(copy));
        return 0;
    }
    }
    return -EINVAL;
}

int config_read(const struct config_setting *table, size_t n, void *config, struct arena *arena,
                struct str *ret_error)
{
    *ret_error = STR("out of memory");
    for (size_t i = 0; i < n; i++) {
        struct str raw = STR_NULL;
        int r = raw_value(&table[i], arena, &raw, ret_error);
        if (r >= 0)
            r = store_value(&table[i], raw, (char *)config + table[i].offset, arena, ret_error);
        if (r < 0)
            return r;
    }
    return 0;
}

void config_print_help(const struct config_setting *table, size_t n, FILE *to)
{
    for (size_t i = 0; i < n; i++)
        fprintf(to, "  %-33s %s\n  %-33s default: %s\n", table[i].name, table[i].help, "",
                !table[i].fallback    ? "none, it must be set"
                : !*table[i].fallback ? "empty"
                                      : table[i].fallback);
}
