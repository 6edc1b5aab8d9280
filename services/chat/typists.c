#include "typists.h"

#include <stdlib.h>

void typists_free(struct typists *typists)
{
    for (size_t i = 0; i < typists->n; i++)
        free(typists->list[i].image);
    free(typists->list);
    typists->list = NULL;
    typists->n = 0;
}

/* One more, at the end; NULL without memory. */
static struct typist *add(struct typists *typists)
{
    struct typist *list = reallocarray(typists->list, typists->n + 1, sizeof(*list));

    if (!list)
        return NULL;
    typists->list = list;
    list[typists->n] = (struct typist){.until_ns = 0};
    return &list[typists->n++];
}

static struct typist *find(struct typists *typists, const char *username)
{
    for (size_t i = 0; i < typists->n; i++) {
        if (strcmp(typists->list[i].username, username) == 0)
            return &typists->list[i];
    }
    return NULL;
}

bool typists_add(struct typists *typists, const Stoa__Chat__V1__Author *author, int64_t now_ns)
{
    struct typist *typist = find(typists, author->username);

    if (!typist) {
        if (typists->n == MAX_TYPISTS || strlen(author->username) >= TYPISTS_USERNAME ||
            (author->_image_case && strlen(author->image) >= TYPISTS_IMAGE))
            return false;
        typist = add(typists);
        if (!typist)
            return false;
        typist->image = author->_image_case ? strdup(author->image) : NULL;
        snprintf(typist->username, sizeof(typist->username), "%s", author->username);
        typists->changed = true;
    }
    typist->until_ns = now_ns + TYPING_LASTS;
    return true;
}

void typists_remove(struct typists *typists, const char *username)
{
    struct typist *typist = find(typists, username);

    if (typist)
        typist->until_ns = INT64_MIN;
    typists_drop(typists, INT64_MIN);
}

void typists_drop(struct typists *typists, int64_t now_ns)
{
    for (size_t i = typists->n; i-- > 0;) {
        if (typists->list[i].until_ns > now_ns)
            continue;
        free(typists->list[i].image);
        memmove(&typists->list[i], &typists->list[i + 1],
                (--typists->n - i) * sizeof(typists->list[0]));
        typists->changed = true;
    }
    if (typists->n == 0)
        typists_free(typists);
}

size_t typists_named(struct typists *typists, Stoa__Chat__V1__Author ret[TYPISTS_NAMED])
{
    size_t n = typists->n < TYPISTS_NAMED ? typists->n : TYPISTS_NAMED;

    for (size_t i = 0; i < n; i++) {
        stoa__chat__v1__author__init(&ret[i]);
        ret[i].username = typists->list[i].username;
        if (typists->list[i].image) {
            ret[i]._image_case = STOA__CHAT__V1__AUTHOR___IMAGE_IMAGE;
            ret[i].image = typists->list[i].image;
        }
    }
    return n;
}
