/* What argp has of its own, with errors in one line that says the cure: --help, --usage, --version.
 *
 * Programs parse with ARGP_NO_HELP | ARGP_NO_ERRS and have usage_children as children. One thread.
 */
#ifndef STOA_CLI_USAGE_H
#define STOA_CLI_USAGE_H

#include "base/base.h"

#include <argp.h>

extern const struct argp_child usage_children[];

/* "NAME: what is wrong: `NAME --help' tells what there is", and the end of the program, with
 * argp_err_exit_status. */
_Noreturn void usage_error(const struct argp_state *state, const char *fmt, ...) PRINTF_LIKE(2, 3);

/* The same of the option at which argp stopped, for ARGP_KEY_ERROR. */
_Noreturn void usage_bad_option(const struct argp_state *state);

#endif
