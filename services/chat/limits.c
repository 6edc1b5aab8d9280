#include "limits.h"

#include "base/log.h"
#include "redis/shared_rate.h"

#include <errno.h>
#include <stdlib.h>

/* For so long a client_id is known to have been let through, and an account to be in a room. */
#define REMEMBERED_S 600

/* What is counted. By account and by room; what is sent again counts apart. */
enum subject { ACCOUNT, ROOM, SUBJECTS };

struct limits {
    struct rate_limit limits[CHAT_LIMITS][SUBJECTS]; /* quota 0: none */
    struct shared_rate *rate;
};

/* ---- life ---- */

static const struct {
    const char *name;
    enum chat_limit limit;
    enum subject subject;
    size_t offset;
} table[] = {
    {"STOA_CHAT_SEND_ACCOUNT_RATE", LIMIT_SEND, ACCOUNT,
     offsetof(struct limit_settings, send_account)},
    {"STOA_CHAT_SEND_ROOM_RATE", LIMIT_SEND, ROOM, offsetof(struct limit_settings, send_room)},
    {"STOA_CHAT_CHANGE_ACCOUNT_RATE", LIMIT_CHANGE, ACCOUNT,
     offsetof(struct limit_settings, change_account)},
    {"STOA_CHAT_CHANGE_ROOM_RATE", LIMIT_CHANGE, ROOM,
     offsetof(struct limit_settings, change_room)},
    {"STOA_CHAT_ROOMS_RATE", LIMIT_OPEN, ACCOUNT, offsetof(struct limit_settings, rooms)},
    {"STOA_CHAT_TYPING_RATE", LIMIT_TYPING, ACCOUNT, offsetof(struct limit_settings, typing)},
    {"STOA_CHAT_FOLLOW_RATE", LIMIT_FOLLOW, ACCOUNT, offsetof(struct limit_settings, follow)},
    {"STOA_CHAT_EXPORT_RATE", LIMIT_EXPORT, ACCOUNT, offsetof(struct limit_settings, exports)},
};

static int read_settings(struct service *service, const struct limit_settings *settings,
                         struct limits *ret, struct str *ret_error)
{
    for (size_t i = 0; i < ARRAY_SIZE(table); i++) {
        struct str text = *(const struct str *)((const char *)settings + table[i].offset);

        if (str_eq(text, STR("off")))
            continue;
        if (rate_parse(text, &ret->limits[table[i].limit][table[i].subject]) < 0) {
            *ret_error = arena_printf(service_arena(service),
                                      "%s=%s: set off, or a number in a time up to a day, such as "
                                      "100/10s",
                                      table[i].name, text.p);
            return -EINVAL;
        }
    }
    return 0;
}

int limits_new(struct service *service, const struct limit_settings *settings, struct limits **ret,
               struct str *ret_error)
{
    const struct shared_rate_options options = {
        .entries = (size_t)settings->entries,
        .prefix = "stoa:chat:limit:",
        .about = "messages and changes of chat",
    };
    struct limits *limits = calloc(1, sizeof(*limits));
    int r;

    if (!limits)
        return -ENOMEM;
    r = read_settings(service, settings, limits, ret_error);
    if (r == 0)
        r = shared_rate_new(&options, &limits->rate);
    if (r < 0) {
        limits_free(limits);
        return r;
    }
    *ret = limits;
    return 0;
}

/* What is counted by is a number of ours: nobody chooses it, and it is no secret. */
void limits_set_database(struct limits *limits, struct str identity)
{
    uint8_t secret[SHARED_RATE_SECRET_BYTES] = {0};

    memcpy(secret, identity.p, identity.n < sizeof(secret) ? identity.n : sizeof(secret));
    shared_rate_set_secret(limits->rate, secret);
}

int limits_use_redis(struct limits *limits, struct redis *redis)
{
    return shared_rate_use_redis(limits->rate, redis);
}

void limits_free(struct limits *limits)
{
    if (!limits)
        return;
    shared_rate_free(limits->rate);
    free(limits);
}

/* ---- asking ---- */

#define MAX_CLIENT_ID 256 /* 64 characters, by the contract's rules */

/* What is counted by: plain bytes. */
struct who {
    char limit, subject, again;
    char number[sizeof(int64_t)];
};

static struct who who(enum chat_limit limit, enum subject subject, bool again, int64_t number)
{
    struct who ret = {.limit = (char)limit, .subject = (char)subject, .again = (char)again};

    memcpy(ret.number, &number, sizeof(number));
    return ret;
}

/* A client_id of an account in a room. */
struct sent {
    struct who account;
    char room[sizeof(int64_t)];
    char client_id[MAX_CLIENT_ID];
};

static struct str sent(enum chat_limit limit, int64_t account, int64_t room, const char *client_id,
                       struct sent *ret)
{
    size_t n = strlen(client_id);

    n = n < MAX_CLIENT_ID ? n : MAX_CLIENT_ID;
    ret->account = who(limit, SUBJECTS, false, account);
    memcpy(ret->room, &room, sizeof(room));
    memcpy(ret->client_id, client_id, n);
    return (struct str){(const char *)ret, offsetof(struct sent, client_id) + n};
}

/* That an account is in a room: what no client_id is sent as. */
static struct str membership(int64_t account, int64_t room, struct sent *ret)
{
    return sent(LIMIT_SEND, account, room, "", ret);
}

/* subjects: SUBJECTS, or ROOM: what comes counts for the account alone. */
static bool allow(struct limits *limits, enum chat_limit limit, int64_t account, int64_t room,
                  int subjects, const char *client_id, struct rpc_error *ret_error)
{
    struct sent buffer;
    struct str what = sent(limit, account, room, client_id, &buffer);
    bool named = *client_id, again = named && shared_rate_remembers(limits->rate, what);
    struct who by[SUBJECTS] = {
        [ACCOUNT] = who(limit, ACCOUNT, again, account), [ROOM] = who(limit, ROOM, again, room)};
    struct shared_rate_count counts[SUBJECTS];
    struct shared_rate_verdict verdict;

    for (int i = 0; i < subjects; i++)
        counts[i] = (struct shared_rate_count){&limits->limits[limit][i],
                                               {(const char *)&by[i], sizeof(by[i])}};
    if (shared_rate_take(limits->rate, counts, subjects, &verdict) < 0) {
        *ret_error = (struct rpc_error){.code = RPC_RESOURCE_EXHAUSTED,
                                        .message = STR("out of memory"),
                                        .reason = "OVERLOADED",
                                        .retry_after_ms = 1000};
        return false;
    }
    if (verdict.allowed && named && !again)
        shared_rate_remember(limits->rate, what, REMEMBERED_S);
    if (!verdict.allowed)
        *ret_error = (struct rpc_error){
            .code = RPC_RESOURCE_EXHAUSTED,
            .message =
                STR("too much came from this account, or to this room: wait, then try again"),
            .reason = "TOO_FAST",
            .retry_after_ms = verdict.retry_after_ms};
    return verdict.allowed;
}

bool limits_allow(struct limits *limits, enum chat_limit limit, int64_t account, int64_t room,
                  const char *client_id, struct rpc_error *ret_error)
{
    return allow(limits, limit, account, room, SUBJECTS, client_id, ret_error);
}

bool limit_failed(struct request *request, enum chat_limit limit, const char *client_id)
{
    struct limits *limits = chat_limits(request->service);
    int64_t account = service_caller_id(request->call);
    struct rpc_error error;
    struct sent buffer;

    request->limit = limit;
    if (request->room > 0 && limits->limits[limit][ROOM].quota > 0)
        request->room_limit =
            shared_rate_remembers(limits->rate, membership(account, request->room, &buffer))
                ? ROOM_COUNTED
                : ROOM_NOT_COUNTED;
    if (allow(limits, limit, account, request->room,
              request->room_limit == ROOM_NOT_COUNTED ? ROOM : SUBJECTS, client_id, &error))
        return false;
    rpc_fail_with(request->call, &error);
    return true;
}

void limit_settle(const struct request *request, bool member)
{
    struct limits *limits = chat_limits(request->service);
    struct who by = who(request->limit, ROOM, false, request->room);
    const struct shared_rate_count count = {&limits->limits[request->limit][ROOM],
                                            {(const char *)&by, sizeof(by)}};
    struct shared_rate_verdict verdict;
    struct sent buffer;
    struct str what;

    if (request->room_limit == ROOM_WITHOUT_LIMIT ||
        member == (request->room_limit == ROOM_COUNTED))
        return;
    what = membership(service_caller_id(request->call), request->room, &buffer);
    if (!member) {
        shared_rate_forget(limits->rate, what);
        return;
    }
    shared_rate_remember(limits->rate, what, REMEMBERED_S);
    /* It may be one too many: a member's first in a while is not refused for the others'. */
    if (shared_rate_take(limits->rate, &count, 1, &verdict) < 0)
        log_error("no memory for a limit of a room", LOG_I("room", request->room));
}
