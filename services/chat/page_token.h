/* Page tokens: the numbers of the row that the next page comes after. Pure; any thread. */
#ifndef STOA_CHAT_PAGE_TOKEN_H
#define STOA_CHAT_PAGE_TOKEN_H

#include "base/base.h"

#define PAGE_TOKEN_NUMBERS 3 /* at most */
#define PAGE_TOKEN_CHARS(n) ((n)*16)
#define PAGE_TOKEN_SIZE (PAGE_TOKEN_CHARS(PAGE_TOKEN_NUMBERS) + 1)

/* Writes n numbers, NUL-terminated. None is negative. */
void page_token_write(const int64_t *numbers, size_t n, char ret[PAGE_TOKEN_SIZE]);

/* Returns 0 or -EINVAL: not a token of n numbers above 0; then ret is as it was. */
int page_token_read(struct str token, int64_t *ret, size_t n) MUST_CHECK;

#endif
