#include "base/network.h"

#include <arpa/inet.h>
#include <errno.h>

#define V4_PREFIX_BITS 96 /* of ::ffff:0:0/96 */

/* Returns the address's own bits, 32 or 128, or 0 when the text is no address. */
static unsigned read_address(struct str text, uint8_t ret[16])
{
    char copy[INET6_ADDRSTRLEN];

    if (text.n == 0 || text.n >= sizeof(copy) || memchr(text.p, '\0', text.n))
        return 0;
    memcpy(copy, text.p, text.n);
    copy[text.n] = '\0';
    if (inet_pton(AF_INET6, copy, ret) == 1)
        return 128;
    memset(ret, 0, 10);
    memset(ret + 10, 0xff, 2);
    return inet_pton(AF_INET, copy, ret + 12) == 1 ? 32 : 0;
}

/* Whether the first `bits` bits are the same. */
static bool same_bits(const uint8_t *a, const uint8_t *b, unsigned bits)
{
    unsigned rest = bits % 8;

    if (memcmp(a, b, bits / 8) != 0)
        return false;
    return rest == 0 || (a[bits / 8] ^ b[bits / 8]) >> (8 - rest) == 0;
}

static int read_network(struct str text, struct network *ret)
{
    const char *slash = text.n ? memchr(text.p, '/', text.n) : NULL;
    struct str address = {text.p, slash ? (size_t)(slash - text.p) : text.n};
    unsigned own = read_address(address, ret->address);
    uint8_t masked[16] = {0};
    int64_t bits = own;

    if (own == 0 || (slash && str_to_int64(str_skip(text, address.n + 1), &bits) < 0) || bits < 0 ||
        bits > own)
        return -EINVAL;
    ret->bits = (unsigned)bits + (own == 32 ? V4_PREFIX_BITS : 0);
    /* 10.1.2.3/8 is more likely a slip than a wish for 10.0.0.0/8. */
    for (unsigned i = 0; i < ret->bits; i++)
        masked[i / 8] |= (uint8_t)(ret->address[i / 8] & (0x80 >> i % 8));
    return memcmp(masked, ret->address, sizeof(masked)) == 0 ? 0 : -EINVAL;
}

static struct str trimmed(struct str s)
{
    while (s.n > 0 && s.p[0] == ' ')
        s = str_skip(s, 1);
    while (s.n > 0 && s.p[s.n - 1] == ' ')
        s.n--;
    return s;
}

int network_list_parse(struct str text, struct arena *arena, struct network_list *ret,
                       struct str *ret_wrong)
{
    size_t room = 1;

    *ret = (struct network_list){NULL, 0};
    if (trimmed(text).n == 0)
        return 0;
    for (size_t i = 0; i < text.n; i++)
        room += text.p[i] == ',';
    ret->networks = arena_calloc(arena, room, sizeof(*ret->networks));
    if (!ret->networks)
        return -ENOMEM;
    for (;;) {
        const char *comma = text.n ? memchr(text.p, ',', text.n) : NULL;
        struct str part = {text.p, comma ? (size_t)(comma - text.p) : text.n};

        if (read_network(trimmed(part), &ret->networks[ret->n]) < 0) {
            *ret_wrong = trimmed(part);
            return -EINVAL;
        }
        ret->n++;
        if (!comma)
            return 0;
        text = str_skip(text, part.n + 1);
    }
}

bool network_list_has(const struct network_list *list, struct str text)
{
    uint8_t address[16];

    if (list->n == 0 || read_address(text, address) == 0)
        return false;
    for (size_t i = 0; i < list->n; i++) {
        if (same_bits(list->networks[i].address, address, list->networks[i].bits))
            return true;
    }
    return false;
}
