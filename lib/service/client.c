/* Where a call comes from: its own end of the connection, or what the gateway says of its client
 * and of its request. */
#include "http/trace_context.h"
#include "service/internal.h"

#include <arpa/inet.h>

#define MAX_USER_AGENT 512
#define MAX_REQUEST_ID 64

/* An IP address in its usual form; an IPv4 address in IPv6 clothes (RFC 4291 section 2.5.5.2)
 * without them. {NULL, 0} when it is none. */
static struct str normal_address(struct str text, struct arena *arena)
{
    char copy[INET6_ADDRSTRLEN], printed[INET6_ADDRSTRLEN];
    struct in6_addr v6;
    struct in_addr v4;

    if (text.n == 0 || text.n >= sizeof(copy))
        return STR_NULL;
    memcpy(copy, text.p, text.n);
    copy[text.n] = '\0';
    if (inet_pton(AF_INET, copy, &v4) == 1)
        return arena_copy(arena, str_of(inet_ntop(AF_INET, &v4, printed, sizeof(printed))));
    if (inet_pton(AF_INET6, copy, &v6) != 1)
        return STR_NULL;
    if (IN6_IS_ADDR_V4MAPPED(&v6))
        return arena_copy(arena,
                          str_of(inet_ntop(AF_INET, &v6.s6_addr[12], printed, sizeof(printed))));
    return arena_copy(arena, str_of(inet_ntop(AF_INET6, &v6, printed, sizeof(printed))));
}

static struct str before_last(struct str s, char c)
{
    const char *at = s.n ? memrchr(s.p, c, s.n) : NULL;

    return at ? (struct str){s.p, (size_t)(at - s.p)} : s;
}

/* "ipv4:192.0.2.7:4711", "ipv6:[2001:db8::1]:4711"; brackets may be percent-encoded, and a zone may
 * follow the address (RFC 6874). */
static struct str address_of_peer(struct str peer, struct arena *arena)
{
    struct str address = STR_NULL;
    const char *zone;

    if (str_starts(peer, STR("ipv4:")))
        return normal_address(before_last(str_skip(peer, 5), ':'), arena);
    if (str_starts(peer, STR("ipv6:[")))
        address = before_last(str_skip(peer, 6), ']');
    else if (str_starts(peer, STR("ipv6:%5B")))
        address = before_last(before_last(str_skip(peer, 8), ':'), '%');
    zone = address.n ? memchr(address.p, '%', address.n) : NULL;
    if (zone)
        address.n = (size_t)(zone - address.p);
    return normal_address(address, arena);
}

/* Header values may have any bytes but control characters (RFC 9110 section 5.5); what is not ASCII
 * has no agreed meaning. */
static struct str printable(struct str text, struct arena *arena)
{
    struct str copy = {text.p, text.n < MAX_USER_AGENT ? text.n : MAX_USER_AGENT};
    char *at;

    if (copy.n == 0)
        return STR_NULL;
    copy = arena_copy(arena, copy);
    at = (char *)copy.p;
    for (size_t i = 0; i < copy.n; i++) {
        if (at[i] < ' ' || at[i] > '~')
            at[i] = '?';
    }
    return copy;
}

static bool is_gateway(const struct service *service, struct str peer, struct str address)
{
    return str_starts(peer, STR("unix:")) || network_list_has(&service->gateways, address);
}

bool service_called_by_gateway(const struct service *service, struct rpc_call *call)
{
    struct str peer = rpc_call_peer(call);

    return is_gateway(service, peer, address_of_peer(peer, rpc_call_arena(call)));
}

struct service_client service_client(const struct service *service, struct rpc_call *call)
{
    struct arena *arena = rpc_call_arena(call);
    struct str peer = rpc_call_peer(call), told = STR_NULL;
    const char *agent = "user-agent";
    struct service_client client = {.address = address_of_peer(peer, arena)};

    if (is_gateway(service, peer, client.address))
        told = rpc_call_metadata(call, "x-client-address");
    if (told.p) {
        agent = "x-forwarded-user-agent";
        client.address = normal_address(told, arena);
    }
    client.user_agent = printable(rpc_call_metadata(call, agent), arena);
    return client;
}

/* ---- log lines ---- */

struct str service_trace_id(const struct rpc_call *call)
{
    return trace_id_of(rpc_call_metadata(call, "traceparent"));
}

/* As the gateway lets them through (gateway/nginx.conf.in): anybody may call, and choose this. */
struct str service_request_id(const struct rpc_call *call)
{
    struct str id = rpc_call_metadata(call, "x-request-id");

    if (id.n == 0 || id.n > MAX_REQUEST_ID)
        return STR_NULL;
    for (size_t i = 0; i < id.n; i++) {
        unsigned char c = (unsigned char)id.p[i];
        bool alphanumeric = (c >= '0' && c <= '9') || ((c | 0x20) >= 'a' && (c | 0x20) <= 'z');

        if (!alphanumeric && (i == 0 || (c != '.' && c != '_' && c != '-')))
            return STR_NULL;
    }
    return id;
}
