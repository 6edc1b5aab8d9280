#include "task.h"

#include <stdlib.h>

/* Settings write the escape character as one or more backslashes and 033. */
struct str color_of(struct task *t, const char *setting)
{
    const char *value = getenv(setting);
    char *to;
    size_t n = 0;

    if (!t->wants_color || !value || !*value)
        return STR("");
    to = must_have(t, arena_alloc(&t->arena, strlen(value) + 1));
    while (*value) {
        size_t slashes = strspn(value, "\\");

        if (slashes && strncmp(value + slashes, "033", 3) == 0) {
            to[n++] = '\033';
            value += slashes + 3;
        } else {
            to[n++] = *value++;
        }
    }
    return (struct str){to, n};
}

struct str color_of_priority(struct task *t, char priority)
{
    char name[] = "PRI_?";
    struct str color;

    name[4] = priority;
    color = color_of(t, name);
    return color.n ? color : color_of(t, "PRI_X");
}
