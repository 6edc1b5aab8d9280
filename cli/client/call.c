/* Calls: the right channel, the token, another try where it is safe, and errors in one line. */
#include "client.h"

#include <errno.h>
#include <stdlib.h>
#include <sys/random.h>
#include <time.h>
#include <unistd.h>

#define TRIES 3
#define PAUSE_MS 150

extern const char stoa_api_descriptor_set[], stoa_api_descriptor_set_end[];

const struct schema *contract(struct client *c)
{
    struct str set = {stoa_api_descriptor_set,
                      (size_t)(stoa_api_descriptor_set_end - stoa_api_descriptor_set)};
    struct str error;

    if (!c->schema && schema_load(set, &c->arena, &c->schema, &error))
        exit(fail(c, FAILED, "%.*s", STR_FMT(error)));
    return c->schema;
}

/* The service that a call goes to. */
static enum service service_of(const ProtobufCServiceDescriptor *descriptor)
{
    for (size_t i = 0; i < N_SERVICES; i++) {
        /* "stoa.auth.v1" */
        if (str_starts(str_skip(str_of(descriptor->package), strlen("stoa.")),
                       str_of(service_names[i])))
            return (enum service)i;
    }
    abort();
}

static const char *or_null(struct str s)
{
    return s.n ? s.p : NULL;
}

struct rpc_client *channel(struct client *c, enum service service)
{
    struct rpc_client_options options = {
        .schema = contract(c),
        .address = c->set.address[service].p,
        .user_agent = "stoa/" STOA_VERSION,
        .tls = settings_use_tls(&c->set, service),
        .ca_file = or_null(c->set.ca_file),
        .certificate_file = or_null(c->set.certificate_file),
        .key_file = or_null(c->set.key_file),
    };
    struct str error;

    if (!c->channels[service] && rpc_client_new(&options, &c->arena, &c->channels[service], &error))
        exit(fail(c, LOCAL, "%.*s", STR_FMT(error)));
    return c->channels[service];
}

void channel_renew(struct client *c, enum service service)
{
    rpc_client_free(c->channels[service]);
    c->channels[service] = NULL;
}

bool is_lost(enum rpc_code code)
{
    return code == RPC_UNAVAILABLE || code == RPC_DEADLINE_EXCEEDED || code == RPC_CANCELLED ||
           code == RPC_INTERNAL || code == RPC_UNKNOWN || code == RPC_RESOURCE_EXHAUSTED;
}

/* ---- errors ---- */

/* The end of what the core says of a connection: "Connection refused". */
static struct str cause_of(struct str message)
{
    for (size_t i = message.n; i >= 2; i--) {
        if (message.p[i - 2] == ':' && message.p[i - 1] == ' ')
            return str_skip(message, i);
    }
    return message;
}

static bool has(struct str text, const char *part)
{
    return memmem(text.p, text.n, part, strlen(part)) != NULL;
}

static struct str unreachable(struct client *c, enum service service, struct str message)
{
    const char *name = service_names[service];
    struct str address = c->set.address[service], cause = cause_of(message);

    if (has(message, "certificate verify failed") || has(message, "CERTIFICATE_VERIFY_FAILED"))
        return TEXT(c, "%s at %.*s shows a certificate %.*s", name, STR_FMT(address),
                    STR_FMT(certificate_problem(c, service)));
    if (has(message, "Peer name"))
        return TEXT(c,
                    "%s at %.*s shows a certificate for another name: --%s-address says the one "
                    "that it is for",
                    name, STR_FMT(address), name);
    if (has(message, "Ssl handshake failed"))
        return TEXT(c, "no TLS with %s at %.*s (%.*s): does it speak it? --no-tls is without", name,
                    STR_FMT(address), STR_FMT(cause));
    return TEXT(c,
                "cannot reach %s at %.*s (%.*s): is it running? --%s-address names another place%s",
                name, STR_FMT(address), STR_FMT(cause), name,
                settings_use_tls(&c->set, service) ? "" : ", --tls is for one with TLS");
}

static struct str join_violations(struct client *c, const struct rpc_answer *a)
{
    struct buf line = {.max = 65536};
    struct str copy;

    for (size_t i = 0; i < a->n_violations; i++)
        buf_printf(&line, "%s%.*s %.*s", i ? "; " : "", STR_FMT(a->violations[i].path),
                   STR_FMT(a->violations[i].message));
    copy = buf_error(&line) ? a->message : must_str(arena_copy(&c->arena, buf_str(&line)));
    buf_free(&line);
    return copy;
}

static struct str slow_down(struct client *c, const struct rpc_answer *a)
{
    if (!a->retry_after_ms)
        return a->message;
    return TEXT(c, "%.*s: try again in %lld s", STR_FMT(a->message),
                (long long)(a->retry_after_ms + 999) / 1000);
}

/* With what lists those that are there. */
static struct str not_found(struct client *c, struct str message)
{
    static const struct {
        const char *what, *cure;
    } cures[] = {
        {"article not found", "`stoa post list' and `search' tell which there are"},
        {"draft not found", "`stoa post list --drafts' tells which there are"},
        {"room not found", "`stoa chat rooms --all' tells which there are"},
        {"comment not found", "`stoa comment list SLUG' tells which there are"},
        {"session not found", "`stoa sessions' tells which there are"},
        {"profile not found", "`stoa post list' tells who writes here"},
    };

    for (size_t i = 0; i < ARRAY_SIZE(cures); i++) {
        if (str_eq(message, str_of(cures[i].what)))
            return TEXT(c, "%.*s: %s", STR_FMT(message), cures[i].cure);
    }
    return message;
}

int describe(struct client *c, enum service service, const struct rpc_answer *a, struct str *ret)
{
    const char *name = service_names[service];

    *ret = a->message.n ? a->message : STR("it could not be done");
    switch (a->code) {
    case RPC_UNAUTHENTICATED:
        if (strcmp(a->reason, "TOKEN_MISSING") == 0)
            *ret = TEXT(c, "nobody is signed in at %.*s: `stoa login EMAIL'",
                        STR_FMT(c->set.address[SERVICE_AUTH]));
        return SIGN_IN;
    case RPC_PERMISSION_DENIED:
        return FORBIDDEN;
    case RPC_NOT_FOUND:
        *ret = not_found(c, *ret);
        return MISSING;
    case RPC_INVALID_ARGUMENT:
    case RPC_OUT_OF_RANGE:
        if (a->n_violations)
            *ret = join_violations(c, a);
        return REFUSED;
    case RPC_ALREADY_EXISTS:
    case RPC_FAILED_PRECONDITION:
    case RPC_ABORTED:
        if (a->n_violations)
            *ret = join_violations(c, a);
        return CONFLICT;
    case RPC_RESOURCE_EXHAUSTED:
        *ret = slow_down(c, a);
        return TOO_MUCH;
    case RPC_DEADLINE_EXCEEDED:
        *ret = TEXT(c, "no answer from %s at %.*s within %lld s: --timeout gives it more", name,
                    STR_FMT(c->set.address[service]), (long long)c->set.timeout_s);
        return UNREACHABLE;
    case RPC_UNAVAILABLE:
        *ret = a->by_peer
                   ? TEXT(c, "%s cannot answer now (%.*s): try again", name, STR_FMT(a->message))
                   : unreachable(c, service, a->message);
        return UNREACHABLE;
    case RPC_UNIMPLEMENTED:
        *ret = TEXT(c, "%s at %.*s does not know this call: is it of another version?", name,
                    STR_FMT(c->set.address[service]));
        return FAILED;
    default:
        return FAILED;
    }
}

int told(struct client *c, enum service service, const struct rpc_answer *answer)
{
    struct str line;
    int status = describe(c, service, answer, &line);

    return fail(c, status, "%.*s", STR_FMT(line));
}

/* ---- calls ---- */

static void pause_ms(int64_t ms)
{
    nanosleep(&(struct timespec){ms / 1000, (long)(ms % 1000) * 1000000}, NULL);
}

static void once(struct client *c, const struct call *call, struct str token,
                 struct rpc_answer *ret)
{
    struct rpc_pair metadata[3];
    struct rpc_request request = {
        .service = call->service,
        .method = call->method,
        .message = call->request,
        .metadata = metadata,
        .timeout_ms = c->set.timeout_s * 1000,
    };

    if (token.p)
        metadata[request.n_metadata++] =
            (struct rpc_pair){STR("authorization"), TEXT(c, "Bearer %.*s", STR_FMT(token))};
    if (call->idempotency_key.p)
        metadata[request.n_metadata++] =
            (struct rpc_pair){STR("idempotency-key"), call->idempotency_key};
    if (call->if_match.p)
        metadata[request.n_metadata++] = (struct rpc_pair){STR("if-match"), call->if_match};
    if (rpc_client_call(channel(c, service_of(call->service)), &request, &c->arena, ret))
        must_have(NULL);
}

static void say_waiting(struct client *c, enum service service, const struct rpc_answer *refused)
{
    struct str line = refused->message;

    if (!isatty(STDERR_FILENO))
        return;
    if (refused->code == RPC_UNAVAILABLE)
        line = TEXT(c, "%s cannot answer now (%.*s)", service_names[service], STR_FMT(line));
    fail(c, DONE, "%.*s; trying again for %lld s", STR_FMT(line), (long long)c->set.timeout_s);
}

/* The service has said when to come again. A little later, by chance, since others were told the
 * same; in all as long as one waits for an answer: then whoever asked decides. */
static bool wait_as_told(struct client *c, const struct call *call,
                         const struct rpc_answer *refused, int64_t *left_ms)
{
    int64_t ms = refused->retry_after_ms;
    uint32_t chance;

    if (!ms || ms > *left_ms)
        return false;
    if (*left_ms == c->set.timeout_s * 1000)
        say_waiting(c, service_of(call->service), refused);
    if (getrandom(&chance, sizeof(chance), GRND_NONBLOCK) == sizeof(chance))
        ms += chance % (ms / 2 + 1);
    *left_ms -= ms;
    pause_ms(ms);
    return true;
}

/* What was refused before anything was done for it is sent again; what may be sent twice, also
 * when nobody knows what was done, while the service or its database restarts. */
static void repeatedly(struct client *c, const struct call *call, bool idempotent, struct str token,
                       struct rpc_answer *ret)
{
    bool twice = idempotent || call->idempotency_key.p || call->repeatable;
    int64_t left_ms = c->notice ? 0 : c->set.timeout_s * 1000;

    for (int i = 1;;) {
        once(c, call, token, ret);
        if (ret->code != RPC_RESOURCE_EXHAUSTED && (ret->code != RPC_UNAVAILABLE || !twice))
            return;
        if (wait_as_told(c, call, ret, &left_ms))
            continue;
        if (ret->code != RPC_UNAVAILABLE || i == TRIES)
            return;
        pause_ms(PAUSE_MS * (1 << i++));
    }
}

/* 0 or an exit status, told. */
static int with_token(struct client *c, const struct call *call, struct rpc_answer *ret)
{
    struct str path = TEXT(c, "/%s/%s", call->service->name, call->method);
    const struct schema_method *method = schema_method(contract(c), path);
    struct str token = STR_NULL, used;
    int status = 0;

    if (method->auth != SCHEMA_AUTH_NONE)
        status = access_token(c, STR_NULL, &token);
    if (status)
        return status;
    if (method->auth == SCHEMA_AUTH_REQUIRED && !token.p) {
        *ret = (struct rpc_answer){.code = RPC_UNAUTHENTICATED, .reason = "TOKEN_MISSING"};
        return 0;
    }
    repeatedly(c, call, method->idempotent, token, ret);
    used = token;
    if (ret->code != RPC_UNAUTHENTICATED || !token.p)
        return 0;
    /* Refused before its time: the session has ended, or a key is no more. */
    status = access_token(c, used, &token);
    if (!status && token.p && !str_eq(token, used))
        repeatedly(c, call, method->idempotent, token, ret);
    return status;
}

enum rpc_code try_call(struct client *c, const struct call *call, struct rpc_answer *ret)
{
    int status = with_token(c, call, ret);

    if (status)
        exit(status); /* it has been told */
    return ret->code;
}

int make_call(struct client *c, const struct call *call, struct rpc_answer *ret)
{
    int status = with_token(c, call, ret);

    if (status)
        return status;
    return ret->code == RPC_OK ? 0 : told(c, service_of(call->service), ret);
}
