/* How a service reaches Redis: its settings, and opening it. */
#ifndef STOA_SERVICE_REDIS_SETTINGS_H
#define STOA_SERVICE_REDIS_SETTINGS_H

#include "redis/redis.h"
#include "service/service.h"

struct redis_settings {
    const char *name;   /* of the setting that has the address; NULL: STOA_REDIS */
    struct str address; /* empty: there is none */
    struct str username, password;
    int64_t timeout_ms;
};

/* Rows of a service's table of settings. AT(member): where a member of struct redis_settings is.
 * about: what it is for, for --help. */
#define REDIS_SETTINGS(AT, about)                                                              \
    {"STOA_REDIS", CONFIG_STRING, AT(address), "", 0, 0, false, about},                        \
        {"STOA_REDIS_USERNAME",                                                                \
         CONFIG_STRING,                                                                        \
         AT(username),                                                                         \
         "",                                                                                   \
         0,                                                                                    \
         0,                                                                                    \
         false,                                                                                \
         "User of Redis, when it has users."},                                                 \
        {"STOA_REDIS_PASSWORD",                                                                \
         CONFIG_STRING,                                                                        \
         AT(password),                                                                         \
         "",                                                                                   \
         0,                                                                                    \
         0,                                                                                    \
         true,                                                                                 \
         "Password of Redis; better given by STOA_REDIS_PASSWORD_FILE."},                      \
    {                                                                                          \
        "STOA_REDIS_TIMEOUT_MS", CONFIG_INT, AT(timeout_ms), "250", 1, 10000, false,           \
            "How long an answer of Redis may take, in milliseconds; then it counts as out of " \
            "reach."                                                                           \
    }

/* The name of the setting that has the address, for messages. */
const char *redis_settings_name(const struct redis_settings *settings);

/* redis_open() with these settings, which are not empty, and more options. On error one line in
 * *ret_error (the service's). For start(). */
int service_open_redis(struct service *service, const struct redis_settings *settings,
                       struct redis_options more, struct redis **ret,
                       struct str *ret_error) MUST_CHECK;

#endif
