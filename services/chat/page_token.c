/* A room's id in hexadecimal: short, and nothing that callers would be tempted to calculate with.
 */
#include "page_token.h"

#include <errno.h>
#include <inttypes.h>
#include <stdio.h>

void page_token_write(int64_t last_id, char ret[PAGE_TOKEN_CHARS + 1])
{
    snprintf(ret, PAGE_TOKEN_CHARS + 1, "%016" PRIx64, (uint64_t)last_id);
}

int page_token_read(struct str token, int64_t *ret_last_id)
{
    static const char digits[] = "0123456789abcdef";
    uint64_t id = 0;

    if (token.n != PAGE_TOKEN_CHARS)
        return -EINVAL;
    for (size_t i = 0; i < token.n; i++) {
        const char *digit = memchr(digits, token.p[i], 16);
        if (!digit)
            return -EINVAL;
        id = id << 4 | (uint64_t)(digit - digits);
    }
    if (id == 0 || id > INT64_MAX)
        return -EINVAL;
    *ret_last_id = (int64_t)id;
    return 0;
}
