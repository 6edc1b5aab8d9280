#include "common_password.h"

#include <stdlib.h>

/* Longer than any in the list. */
#define LONGEST 64

static int compare(const void *key, const void *entry)
{
    return strcmp(key, *(const char *const *)entry);
}

bool password_is_common(struct str password)
{
    char lower[LONGEST + 1];
    bool found;

    if (password.n > LONGEST || memchr(password.p, '\0', password.n))
        return false;
    for (size_t i = 0; i < password.n; i++) {
        char c = password.p[i];

        lower[i] = c >= 'A' && c <= 'Z' ? (char)(c - 'A' + 'a') : c;
    }
    lower[password.n] = '\0';
    found = bsearch(lower, common_passwords, n_common_passwords, sizeof(*common_passwords),
                    compare) != NULL;
    explicit_bzero(lower, sizeof(lower));
    return found;
}
