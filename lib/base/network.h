/* Lists of addresses and networks, as an operator writes them: "10.0.0.0/8, 192.0.2.7,
 * 2001:db8::/32".
 *
 * Addresses are compared as IPv6 ones, IPv4 in the form of RFC 4291 section 2.5.5.2:
 * ::ffff:192.0.2.7 and 192.0.2.7 are the same.
 */
#ifndef STOA_BASE_NETWORK_H
#define STOA_BASE_NETWORK_H

#include "base/arena.h"

struct network {
    uint8_t address[16];
    unsigned bits; /* of the address that count, 0 to 128 */
};

struct network_list {
    struct network *networks; /* in the arena */
    size_t n;
};

/* Parted by commas, spaces around them; empty: none. -EINVAL: *ret_wrong is the part that is no
 * address or network (bits beyond its length are set, a length too long, a host name); -ENOMEM. */
int network_list_parse(struct str text, struct arena *arena, struct network_list *ret,
                       struct str *ret_wrong) MUST_CHECK;

/* Whether an address as text is in one of them; false for what is no address. */
bool network_list_has(const struct network_list *list, struct str address);

#endif
