/* Numbers in hexadecimal: short, and nothing that callers would be tempted to calculate with. */
#include "page_token.h"

#include "base/hex.h"

#include <errno.h>
#include <inttypes.h>
#include <stdio.h>

void page_token_write(const int64_t *numbers, size_t n, char ret[PAGE_TOKEN_SIZE])
{
    for (size_t i = 0; i < n; i++)
        snprintf(ret + PAGE_TOKEN_CHARS(i), PAGE_TOKEN_CHARS(1) + 1, "%016" PRIx64,
                 (uint64_t)numbers[i]);
}

static int read_number(const char *p, int64_t *ret)
{
    uint64_t number;

    if (!hex_to_uint64((struct str){p, PAGE_TOKEN_CHARS(1)}, &number) || number == 0 ||
        number > INT64_MAX)
        return -EINVAL;
    *ret = (int64_t)number;
    return 0;
}

int page_token_read(struct str token, int64_t *ret, size_t n)
{
    int64_t numbers[PAGE_TOKEN_NUMBERS];

    if (token.n != PAGE_TOKEN_CHARS(n))
        return -EINVAL;
    for (size_t i = 0; i < n; i++) {
        if (read_number(token.p + PAGE_TOKEN_CHARS(i), &numbers[i]) < 0)
            return -EINVAL;
    }
    memcpy(ret, numbers, n * sizeof(*ret));
    return 0;
}
