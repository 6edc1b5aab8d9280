/* libFuzzer target for media types: any text as Content-Type and as Accept. What is read is a part
 * of the text, and a quality is one. */
#include "http/media.h"

#include <stdlib.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void check(bool holds)
{
    if (!holds)
        abort();
}

static bool is_inside(struct str part, struct str whole)
{
    return part.n == 0 || (part.p >= whole.p && part.p + part.n <= whole.p + whole.n);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct str text = {(const char *)data, size};
    struct media_type type;

    if (media_type_read(text, &type) == 0) {
        check(type.name.n >= 3 && memchr(type.name.p, '/', type.name.n));
        check(is_inside(type.name, text) && is_inside(type.charset, text));
    }
    check(media_accepts(text, STR("application/json")) <= 1000);
    check(media_accepts(text, STR("text/event-stream")) <= 1000);
    return 0;
}
