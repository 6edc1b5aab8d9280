/* stoa.test.v1.EchoService: calls with one request and one answer. */
#include "testserver.h"

#include "base/buf.h"

#include <errno.h>

#define MAX_PADDING (32 << 20)
#define MAX_RETURNED 64
#define MAX_VALUE 8192

/* ---- answers that may have to wait ---- */

/* A call whose answer is made, and waits for its time. */
struct later {
    struct timer timer;
    struct rpc_call *call;
    const ProtobufCMessage *response; /* NULL: error */
    struct rpc_error error;
};

static void answer(struct timer *timer)
{
    struct later *later = CONTAINER_OF(timer, struct later, timer);

    if (later->response)
        rpc_reply(later->call, later->response);
    else
        rpc_fail_with(later->call, &later->error);
}

/* Ends the call as its outcome says. The request is in the call's arena, as the response must be.
 */
static void finish(struct rpc_call *call, const Stoa__Test__V1__Outcome *outcome,
                   const ProtobufCMessage *response)
{
    struct later *later = arena_calloc(rpc_call_arena(call), 1, sizeof(*later));
    int64_t delay_us = outcome ? duration_us(outcome->delay) : 0;

    if (!later) {
        rpc_fail(call, RPC_RESOURCE_EXHAUSTED, "no memory");
        return;
    }
    *later = (struct later){.timer = {.fire = answer}, .call = call, .response = response};
    if (outcome_metadata(call, outcome, &later->error) < 0 ||
        outcome_error(call, outcome, &later->error))
        later->response = NULL;
    if (delay_us == 0)
        answer(&later->timer);
    else if (timer_set(&later->timer, clock_monotonic_ns() + delay_us * NSEC_PER_USEC) < 0)
        rpc_fail(call, RPC_RESOURCE_EXHAUSTED, "no memory for a timer");
}

/* ---- Echo ---- */

/* The value of a request's metadata as text: bytes in hexadecimal, for a name that ends in -bin. */
static char *metadata_text(struct rpc_call *call, const char *name)
{
    struct str value = rpc_call_metadata(call, name);
    struct buf hex CLEANUP(buf_free) = {.max = (size_t)2 * MAX_VALUE};

    if (str_ends(str_of(name), STR("-bin"))) {
        for (size_t i = 0; i < value.n; i++)
            buf_printf(&hex, "%02x", (unsigned char)value.p[i]);
        value = hex.failed ? STR_NULL : buf_str(&hex);
    }
    return (char *)arena_copy(rpc_call_arena(call), value.p ? value : STR("")).p;
}

static int return_metadata(struct rpc_call *call, const Stoa__Test__V1__EchoRequest *request,
                           Stoa__Test__V1__EchoResponse *response)
{
    struct arena *arena = rpc_call_arena(call);
    size_t n = request->n_return_metadata;
    Stoa__Test__V1__EchoResponse__MetadataEntry *entries;

    if (n > MAX_RETURNED)
        return -ENOSPC;
    entries = arena_calloc(arena, n, sizeof(*entries));
    response->metadata = arena_calloc(arena, n, sizeof(*response->metadata));
    if (!entries || !response->metadata)
        return -ENOMEM;
    for (size_t i = 0; i < n; i++) {
        if (!rpc_call_metadata(call, request->return_metadata[i]).p)
            continue;
        stoa__test__v1__echo_response__metadata_entry__init(&entries[i]);
        entries[i].key = request->return_metadata[i];
        entries[i].value = metadata_text(call, request->return_metadata[i]);
        if (!entries[i].value)
            return -ENOMEM;
        response->metadata[response->n_metadata++] = &entries[i];
    }
    return 0;
}

/* n times "x", as a C string; NULL when that is too many. */
static char *padding(struct arena *arena, int32_t n)
{
    char *p = n >= 0 && n <= MAX_PADDING ? arena_alloc(arena, (size_t)n + 1) : NULL;

    if (p) {
        memset(p, 'x', (size_t)n);
        p[n] = '\0';
    }
    return p;
}

static void echo(void *service UNUSED, struct rpc_call *call,
                 const Stoa__Test__V1__EchoRequest *request)
{
    struct arena *arena = rpc_call_arena(call);
    Stoa__Test__V1__EchoResponse *response = arena_alloc(arena, sizeof(*response));

    if (!response) {
        rpc_fail(call, RPC_RESOURCE_EXHAUSTED, "no memory");
        return;
    }
    stoa__test__v1__echo_response__init(response);
    response->message = request->message;
    response->data = request->data;
    response->value = request->value;
    response->etag = request->etag;
    response->padding = padding(arena, request->padding);
    response->timeout_ms = (rpc_call_deadline_ns(call) - clock_monotonic_ns()) / NSEC_PER_MSEC;
    if (!response->padding || return_metadata(call, request, response) < 0) {
        rpc_fail(call, RPC_INVALID_ARGUMENT, "too much is asked for");
        return;
    }
    finish(call, request->outcome, &response->base);
}

RPC_UNARY(echo, void, Stoa__Test__V1__EchoRequest)

/* ---- bodies ---- */

static const Google__Api__HttpBody no_body = GOOGLE__API__HTTP_BODY__INIT;

static void echo_body(void *service UNUSED, struct rpc_call *call,
                      const Stoa__Test__V1__EchoBodyRequest *request)
{
    finish(call, request->outcome, request->body ? &request->body->base : &no_body.base);
}

RPC_UNARY(echo_body, void, Stoa__Test__V1__EchoBodyRequest)

static void echo_whole_body(void *service UNUSED, struct rpc_call *call,
                            const ProtobufCMessage *request)
{
    rpc_reply(call, request);
}

/* ---- the service ---- */

int echo_add(struct rpc_server *server, struct str *ret_error)
{
    static const struct rpc_handler handlers[] = {
        {.method = "Echo", .unary = echo_rpc},
        {.method = "EchoBody", .unary = echo_body_rpc},
        {.method = "EchoWholeBody", .unary = echo_whole_body},
        {.method = "Count", .stream = &echo_count},
        {.method = "Download", .stream = &echo_download},
        {.method = "Chat", .stream = &echo_chat},
        {.method = "ChatRaw", .stream = &echo_chat_raw},
        {.method = "Collect", .stream = &echo_collect},
        {.method = "Room", .stream = &echo_room},
    };

    return rpc_server_add(server, &stoa__test__v1__echo_service__descriptor, handlers,
                          ARRAY_SIZE(handlers), NULL, ret_error);
}
