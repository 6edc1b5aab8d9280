/* libFuzzer target for the page tokens of posts: any text as a token of any list, and any place in
 * it. What is read is written again to the same, and what is written is read. */
#include "../../services/posts/page_token.h"

#include <errno.h>
#include <stdlib.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void check(bool holds)
{
    if (!holds)
        abort();
}

static void read_any(struct arena *arena, struct str list, struct str token)
{
    struct cursor cursor;
    int r = page_token_read(arena, list, token, &cursor);

    check(r == 0 || r == -EINVAL);
    check(r < 0 || str_eq(page_token_make(arena, list, cursor), token));
}

static void write_and_read(struct arena *arena, struct str list, struct cursor cursor)
{
    struct str token = page_token_make(arena, list, cursor);
    struct cursor again;

    check(token.n == PAGE_TOKEN_CHARS);
    check(page_token_read(arena, list, token, &again) == 0);
    check(again.order == cursor.order && again.id == cursor.id);
    /* With a byte that is no digit of ours anywhere. */
    for (size_t i = 0; i < PAGE_TOKEN_CHARS; i++) {
        check(memchr("0123456789abcdef", token.p[i], 16));
        ((char *)token.p)[i] ^= 0x40;
        check(page_token_read(arena, list, token, &again) == -EINVAL);
        ((char *)token.p)[i] ^= 0x40;
    }
}

/* How long the list is, a place, the list, the token. */
int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct str text = {(const char *)data, size}, list;
    struct arena arena CLEANUP(arena_free) = {0};
    struct cursor cursor;

    if (size < 1 + sizeof(cursor))
        return 0;
    arena_init(&arena, 0);
    memcpy(&cursor, data + 1, sizeof(cursor));
    text = str_skip(text, 1 + sizeof(cursor));
    list = (struct str){text.p, data[0] < text.n ? data[0] : text.n};
    read_any(&arena, list, str_skip(text, list.n));
    write_and_read(&arena, list, cursor);
    return 0;
}
