/* Settings from environment variables (https://12factor.net/config), checked at start.
 *
 * A service lists its settings once, in a table; the same table fills a struct, checks ranges and
 * prints `--help`. NAME_FILE=path gives the value from a file instead (for secrets); the file's
 * trailing newline is cut. Setting both NAME and NAME_FILE is an error.
 */
#ifndef STOA_BASE_CONFIG_H
#define STOA_BASE_CONFIG_H

#include "base/arena.h"

#include <stdio.h>

enum config_type {
    CONFIG_STRING, /* struct str, NUL-terminated, in the arena */
    CONFIG_INT,    /* int64_t between min and max */
    CONFIG_BOOL,   /* bool: on/off, true/false, 1/0 */
};

struct config_setting {
    const char *name; /* "STOA_AUTH_PORT" */
    enum config_type type;
    size_t offset;        /* of the member that takes the value */
    const char *fallback; /* value when unset; NULL: required */
    int64_t min, max;     /* CONFIG_INT: range; CONFIG_STRING: length (max 0: 4096) */
    bool secret;          /* its value never appears in an error or in the help */
    const char *help;     /* one sentence */
};

/* Fills *config by the table. On error returns -EINVAL and *ret_error is one line that names the
 * setting, the cause and the cure (in the arena). */
int config_read(const struct config_setting *table, size_t n, void *config, struct arena *arena,
                struct str *ret_error) MUST_CHECK;

/* The table for people: name, default, meaning. */
void config_print_help(const struct config_setting *table, size_t n, FILE *to);

#endif
