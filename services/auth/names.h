/* What an account may be called, and when two names are the same. Pure; any thread. */
#ifndef STOA_AUTH_NAMES_H
#define STOA_AUTH_NAMES_H

#include "base/arena.h"

/* What is wrong with a username, in plain words, or NULL. Length and blankness are rules of the
 * contract (auth.proto); these are the rules about characters, so that no name passes for another
 * or upsets the text around it. */
const char *username_fault(struct str username);

/* An e-mail address in lower case (ASCII; the contract lets no other letters in), NUL-terminated in
 * the arena; {NULL, 0} without memory. */
struct str email_key(struct str email, struct arena *arena) MUST_CHECK;

#endif
