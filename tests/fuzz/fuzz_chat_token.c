/* libFuzzer target for the page tokens of chat: any text as a token of one to three numbers, and
 * any numbers. What is read is written again to the same, but for capitals; what is written is
 * read. */
#include "../../services/chat/page_token.h"

#include <errno.h>
#include <stdlib.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void check(bool holds)
{
    if (!holds)
        abort();
}

static void read_any(struct str token, size_t n)
{
    int64_t numbers[PAGE_TOKEN_NUMBERS] = {-1, -1, -1};
    char again[PAGE_TOKEN_SIZE];
    int r = page_token_read(token, numbers, n);

    check(r == 0 || r == -EINVAL);
    for (size_t i = 0; i < PAGE_TOKEN_NUMBERS; i++)
        check(r == 0 && i < n ? numbers[i] > 0 : numbers[i] == -1);
    if (r < 0)
        return;
    page_token_write(numbers, n, again);
    check(str_eq_nocase(str_of(again), token));
}

static void write_and_read(const int64_t *numbers, size_t n)
{
    int64_t again[PAGE_TOKEN_NUMBERS];
    char token[PAGE_TOKEN_SIZE];
    bool positive = true;

    for (size_t i = 0; i < n; i++)
        positive = positive && numbers[i] > 0;
    page_token_write(numbers, n, token);
    check(strlen(token) == PAGE_TOKEN_CHARS(n));
    check(page_token_read(str_of(token), again, n) == (positive ? 0 : -EINVAL));
    check(!positive || memcmp(again, numbers, n * sizeof(*again)) == 0);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    int64_t numbers[PAGE_TOKEN_NUMBERS] = {0};
    size_t most = size < sizeof(numbers) ? size : sizeof(numbers);

    if (most)
        memcpy(numbers, data, most);
    for (size_t n = 1; n <= PAGE_TOKEN_NUMBERS; n++) {
        read_any((struct str){(const char *)data, size}, n);
        write_and_read(numbers, n);
    }
    return 0;
}
