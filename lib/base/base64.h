/* Base64 (RFC 4648): written in the standard alphabet with padding; read in that and the one for
 * URLs, padded or not. Pure functions; any thread. */
#ifndef STOA_BASE_BASE64_H
#define STOA_BASE_BASE64_H

#include "base/base.h"

#include <sys/types.h>

#define BASE64_SIZE(n) (((n) + 2) / 3 * 4)

/* The value of a digit of either alphabet, or -1. */
int base64_value(char c);
/* Writes BASE64_SIZE(bytes.n) digits, without a NUL; returns their end. */
char *base64_encode(char *to, struct str bytes);
/* Writes less than text.n bytes and returns how many, or -EINVAL. to may be text.p. */
ssize_t base64_decode(char *to, struct str text) MUST_CHECK;

#endif
