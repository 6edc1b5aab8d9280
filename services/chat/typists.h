/* Who is typing in a room. Pure; its owner's lock guards it. */
#ifndef STOA_CHAT_TYPISTS_H
#define STOA_CHAT_TYPISTS_H

#include "chat.h"

#define MAX_TYPISTS 16 /* more are not noticed */
#define TYPISTS_NAMED 3
#define TYPISTS_USERNAME 260 /* bytes of one at most, with a NUL */
#define TYPISTS_IMAGE 8193   /* the same */

/* How long somebody is typing who has said so once. */
#define TYPING_LASTS (5 * NSEC_PER_SEC)

struct typist {
    char username[TYPISTS_USERNAME];
    char *image; /* NULL: none */
    int64_t until_ns;
};

/* All zero: nobody. */
struct typists {
    struct typist *list;
    size_t n;
    bool changed; /* since its owner has cleared it */
};

void typists_free(struct typists *typists);

/* Somebody says so. False: there are so many already, or it is nobody's name or image, or there is
 * no memory. */
bool typists_add(struct typists *typists, const Stoa__Chat__V1__Author *author, int64_t now_ns);

/* Somebody goes; nothing when they are not there. */
void typists_remove(struct typists *typists, const char *username);

/* Those go who have not said so for long. */
void typists_drop(struct typists *typists, int64_t now_ns);

/* The first ones, as authors whose strings are the list's. How many. */
size_t typists_named(struct typists *typists, Stoa__Chat__V1__Author ret[TYPISTS_NAMED]);

#endif
