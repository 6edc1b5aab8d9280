/* Where the program keeps things: the XDG base directories
 * (https://specifications.freedesktop.org/basedir-spec/). One thread. */
#ifndef STOA_CLI_PATHS_H
#define STOA_CLI_PATHS_H

#include "base/arena.h"

#include <sys/types.h>

/* The folder that the variable (XDG_STATE_HOME) names, or else the one of that name
 * ("/.local/state") in $HOME. As the specification has it only absolute ones count. NULL: there is
 * none, or no memory.
 */
const char *paths_xdg(struct arena *arena, const char *variable, const char *in_home) MUST_CHECK;

/* Makes a folder and those that it is in, where they are missing. Negative errno. */
int paths_make_folders(const char *path, mode_t mode) MUST_CHECK;

#endif
