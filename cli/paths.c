#include "paths.h"

#include <errno.h>
#include <limits.h>
#include <stdlib.h>
#include <sys/stat.h>

const char *paths_xdg(struct arena *arena, const char *variable, const char *in_home)
{
    const char *set = getenv(variable), *home = getenv("HOME");

    if (set && set[0] == '/')
        return set;
    return home && home[0] == '/' ? arena_printf(arena, "%s%s", home, in_home).p : NULL;
}

int paths_make_folders(const char *path, mode_t mode)
{
    char text[PATH_MAX];
    size_t n = strlen(path);

    if (!n)
        return -ENOENT;
    if (n >= sizeof(text))
        return -ENAMETOOLONG;
    memcpy(text, path, n + 1);
    for (char *p = strchr(text + 1, '/');; p = strchr(p + 1, '/')) {
        if (p)
            *p = '\0';
        if (mkdir(text, mode) && errno != EEXIST)
            return -errno;
        if (!p)
            return 0;
        *p = '/';
    }
}
