#include "service/redis_settings.h"

#include <errno.h>

const char *redis_settings_name(const struct redis_settings *settings)
{
    return settings->name ? settings->name : "STOA_REDIS";
}

int service_open_redis(struct service *service, const struct redis_settings *settings,
                       struct redis_options more, struct redis **ret, struct str *ret_error)
{
    int r;

    more.address = settings->address;
    more.username = settings->username;
    more.password = settings->password;
    more.timeout_ms = settings->timeout_ms;
    r = redis_open(&more, ret);
    if (r == -EINVAL)
        *ret_error = arena_printf(service_arena(service), "%s=%s: set unix:/path, or host:port",
                                  redis_settings_name(settings), settings->address.p);
    return r;
}
