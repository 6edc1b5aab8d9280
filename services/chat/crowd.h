/* The accounts that are online in a room, as far as they are named. Pure; its owner's lock guards
 * it. */
#ifndef STOA_CHAT_CROWD_H
#define STOA_CHAT_CROWD_H

#include "base/base.h"

#define CROWD_MAX_NAMES 100

/* {.listed = true}: nobody. */
struct crowd {
    int64_t online; /* how many; about, when they are not listed */
    int64_t *ids;   /* all of them, ascending, if listed; else none */
    size_t n;
    bool listed;
};

void crowd_free(struct crowd *crowd);

/* One more instance's people: "COUNT id id ...", without ids when there are too many. What is not
 * that is nobody. The crowd is to be settled then. -ENOMEM. */
int crowd_add(struct crowd *crowd, struct str text) MUST_CHECK;

/* Sorts the list, and counts an account that is in it twice once. One longer than names is none. */
void crowd_settle(struct crowd *crowd, size_t names);

bool crowd_has(const struct crowd *crowd, int64_t id);
bool crowd_equals(const struct crowd *a, const struct crowd *b);

#endif
