#include "base/uuid.h"

#include "base/hex.h"

#include <errno.h>
#include <sys/random.h>

int uuid_new(struct uuid *ret)
{
    uint64_t ms = (uint64_t)clock_realtime_us() / 1000;
    uint8_t *b = ret->bytes;

    if (getrandom(b, sizeof(ret->bytes), 0) != sizeof(ret->bytes))
        return -EIO;
    for (int i = 0; i < 6; i++)
        b[i] = (uint8_t)(ms >> (40 - 8 * i));
    b[6] = (uint8_t)(0x70 | (b[6] & 0x0f));
    b[8] = (uint8_t)(0x80 | (b[8] & 0x3f));
    return 0;
}

static bool has_hyphen(size_t byte)
{
    return byte == 4 || byte == 6 || byte == 8 || byte == 10;
}

void uuid_print(const struct uuid *id, char ret[UUID_CHARS + 1])
{
    char *to = ret;

    for (size_t i = 0; i < sizeof(id->bytes); i++) {
        if (has_hyphen(i))
            *to++ = '-';
        *to++ = hex_digit(id->bytes[i] >> 4);
        *to++ = hex_digit(id->bytes[i]);
    }
    *to = '\0';
}

int uuid_parse(struct str text, struct uuid *ret)
{
    const char *at = text.p;

    if (text.n != UUID_CHARS)
        return -EINVAL;
    for (size_t i = 0; i < sizeof(ret->bytes); i++) {
        int high, low;

        if (has_hyphen(i) && *at++ != '-')
            return -EINVAL;
        high = hex_value(*at++);
        low = hex_value(*at++);
        if (high < 0 || low < 0)
            return -EINVAL;
        ret->bytes[i] = (uint8_t)(high << 4 | low);
    }
    return 0;
}
