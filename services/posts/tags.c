/* Tags as they are stored: trimmed, sorted, without doubles. Pure; any thread. */
#include "tags.h"

#include "text/plain_text.h"

#include <errno.h>
#include <stdlib.h>
#include <unictype.h>
#include <unistr.h>

struct str tag_trim(struct str tag)
{
    const uint8_t *start = (const uint8_t *)tag.p, *end = start + tag.n, *previous;
    ucs4_t c;

    while (start < end) {
        int n = u8_mbtouc(&c, start, (size_t)(end - start));
        if (!uc_is_property_white_space(c))
            break;
        start += n;
    }
    while ((previous = u8_prev(&c, end, start)) && uc_is_property_white_space(c))
        end = previous;
    return (struct str){(const char *)start, (size_t)(end - start)};
}

/* Bytes in order, which for UTF-8 is the order of code points, and Postgres' COLLATE "C". */
static int compare(const void *a, const void *b)
{
    const struct str *x = a, *y = b;
    int order = memcmp(x->p, y->p, x->n < y->n ? x->n : y->n);

    return order ? order : (x->n > y->n) - (x->n < y->n);
}

int tags_normalise(const char *const *tags, size_t n, struct arena *arena, struct str **ret,
                   struct tags_fault *ret_fault)
{
    struct str *list = arena_calloc(arena, n, sizeof(*list));
    size_t kept = 0;

    if (!list)
        return -ENOMEM;
    for (size_t i = 0; i < n; i++) {
        const char *fault;

        list[i] = tag_trim(str_of(tags[i]));
        fault = list[i].n == 0 ? "can't be blank" : plain_text_fault(list[i], PLAIN_TEXT_ONE_LINE);
        if (fault) {
            *ret_fault = (struct tags_fault){i, fault};
            return -EINVAL;
        }
    }
    if (n > 1)
        qsort(list, n, sizeof(*list), compare);
    for (size_t i = 0; i < n; i++) {
        if (kept == 0 || !str_eq(list[i], list[kept - 1]))
            list[kept++] = list[i];
    }
    *ret = list;
    return (int)kept;
}
