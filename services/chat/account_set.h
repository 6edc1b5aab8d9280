/* A set of account ids: who is in a room. Pure; its owner's lock guards it. */
#ifndef STOA_CHAT_ACCOUNT_SET_H
#define STOA_CHAT_ACCOUNT_SET_H

#include "base/base.h"

struct account_set {
    int64_t *ids; /* ascending */
    size_t n, cap;
};

void account_set_free(struct account_set *set);

/* From n * 8 bytes, each id in network order, ascending: as the statement ROOM_EVENTS gives them.
 * -EBADMSG, -ENOMEM. */
int account_set_read(struct account_set *set, struct str bytes) MUST_CHECK;

bool account_set_has(const struct account_set *set, int64_t id);

/* -ENOMEM. One that is there stays. */
int account_set_add(struct account_set *set, int64_t id) MUST_CHECK;
void account_set_remove(struct account_set *set, int64_t id);

#endif
