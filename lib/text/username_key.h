/* When two usernames count as the same: the form in which they are compared. Any thread. */
#ifndef STOA_TEXT_USERNAME_KEY_H
#define STOA_TEXT_USERNAME_KEY_H

#include "base/arena.h"

/* The case-folded NFKC form (Unicode Standard section 3.13, D146): "Ａda", "ADA" and "ada" have one
 * key. auth stores it beside each username, unique; whoever looks an account up by name compares
 * keys. NUL-terminated, in the arena. Returns 0, -EILSEQ (not UTF-8) or -ENOMEM. */
int username_key(struct str username, struct arena *arena, struct str *ret) MUST_CHECK;

#endif
