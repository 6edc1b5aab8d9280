/* Page tokens: where the next page of rooms begins. Pure; any thread. */
#ifndef STOA_CHAT_PAGE_TOKEN_H
#define STOA_CHAT_PAGE_TOKEN_H

#include "base/base.h"

#define PAGE_TOKEN_CHARS 16

/* Writes the token of the page after the room of this id, NUL-terminated. */
void page_token_write(int64_t last_id, char ret[PAGE_TOKEN_CHARS + 1]);

/* Returns 0 or -EINVAL: not a token of ours. */
int page_token_read(struct str token, int64_t *ret_last_id) MUST_CHECK;

#endif
