/* How much an account may do in a time, and how much may be done to a room: sending, changing,
 * opening rooms, typing, following rooms, taking them out.
 *
 * A handler asks once for each call, before it binds anything that waits; a message of a live
 * connection is such a call too, so a limit holds whichever way the account takes. It is answered
 * at once, so calls go on in the order in which they came. Instances count together
 * (redis/shared_rate.h).
 *
 * What is sent again with the client_id of something that was let through here lately, as clients
 * do after a lost answer, counts by itself, and not once more with what is new. */
#ifndef STOA_CHAT_LIMITS_H
#define STOA_CHAT_LIMITS_H

#include "chat.h"
#include "redis/redis.h"

/* Limits on attempts: "10/1m", or "off". */
struct limit_settings {
    struct str send_account, send_room, change_account, change_room;
    struct str rooms, typing, follow, exports;
    int64_t entries;
};

/* Rows of chat's table of settings. AT(member): where a member of struct limit_settings is. */
#define LIMIT_SETTINGS(AT)                                                                       \
    {"STOA_CHAT_SEND_ACCOUNT_RATE",                                                              \
     CONFIG_STRING,                                                                              \
     AT(send_account),                                                                           \
     "100/10s",                                                                                  \
     1,                                                                                          \
     32,                                                                                         \
     false,                                                                                      \
     "Messages that an account may send in a time; off: any number."},                           \
        {"STOA_CHAT_SEND_ROOM_RATE",                                                             \
         CONFIG_STRING,                                                                          \
         AT(send_room),                                                                          \
         "1000/10s",                                                                             \
         1,                                                                                      \
         32,                                                                                     \
         false,                                                                                  \
         "Messages that may be sent to a room in a time, by everybody; off: any number."},       \
        {"STOA_CHAT_CHANGE_ACCOUNT_RATE",                                                        \
         CONFIG_STRING,                                                                          \
         AT(change_account),                                                                     \
         "100/10s",                                                                              \
         1,                                                                                      \
         32,                                                                                     \
         false,                                                                                  \
         "Edits, deletions, reactions, and changes of rooms and memberships of an account in a " \
         "time; off: any number."},                                                              \
        {"STOA_CHAT_CHANGE_ROOM_RATE",                                                           \
         CONFIG_STRING,                                                                          \
         AT(change_room),                                                                        \
         "1000/10s",                                                                             \
         1,                                                                                      \
         32,                                                                                     \
         false,                                                                                  \
         "The same kinds of changes in a room, by everybody, in a time; off: any number."},      \
        {"STOA_CHAT_ROOMS_RATE",                                                                 \
         CONFIG_STRING,                                                                          \
         AT(rooms),                                                                              \
         "30/10m",                                                                               \
         1,                                                                                      \
         32,                                                                                     \
         false,                                                                                  \
         "Rooms that an account may open in a time; off: any number."},                          \
        {"STOA_CHAT_TYPING_RATE",                                                                \
         CONFIG_STRING,                                                                          \
         AT(typing),                                                                             \
         "30/10s",                                                                               \
         1,                                                                                      \
         32,                                                                                     \
         false,                                                                                  \
         "How often an account may say in a time that it is typing; off: any number."},          \
        {"STOA_CHAT_FOLLOW_RATE",                                                                \
         CONFIG_STRING,                                                                          \
         AT(follow),                                                                             \
         "3000/10s",                                                                             \
         1,                                                                                      \
         32,                                                                                     \
         false,                                                                                  \
         "How often an account may ask in a time, over live connections, to follow a room, to "  \
         "mark it read, or to go on with another token; off: any number."},                      \
        {"STOA_CHAT_EXPORT_RATE",                                                                \
         CONFIG_STRING,                                                                          \
         AT(exports),                                                                            \
         "20/1h",                                                                                \
         1,                                                                                      \
         32,                                                                                     \
         false,                                                                                  \
         "Exports that an account may begin in a time; off: any number."},                       \
    {                                                                                            \
        "STOA_CHAT_LIMIT_ENTRIES", CONFIG_INT, AT(entries), "65536", 64, 1 << 24, false,         \
            "Accounts, rooms and messages that an instance remembers for its limits; 16 bytes "  \
            "each."                                                                              \
    }

/* -ENOMEM, -EIO, -EINVAL with one line in *ret_error. */
int limits_new(struct service *service, const struct limit_settings *settings, struct limits **ret,
               struct str *ret_error) MUST_CHECK;
/* Which database the accounts and rooms are of: others may count in the same Redis. Until it is
 * known, each instance counts by itself. Any thread. */
void limits_set_database(struct limits *limits, struct str identity);
/* Once, before the first call. -ENOMEM. */
int limits_use_redis(struct limits *limits, struct redis *redis) MUST_CHECK;
/* After the last call and Redis. NULL is nothing. */
void limits_free(struct limits *limits);

/* Whether an account may do it in a room (0: in none) now, and has done so; else *ret_error says
 * why not, and lives as long as the process. Any thread. */
bool limits_allow(struct limits *limits, enum chat_limit limit, int64_t account, int64_t room,
                  const char *client_id, struct rpc_error *ret_error) MUST_CHECK;

#endif
