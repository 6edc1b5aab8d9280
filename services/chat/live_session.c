/* Sessions: their beginning and end, and what their clients ask for. An action that is what an RPC
 * does is a call of that RPC (rpc_local_new()), with all that belongs to it. */
#include "limits.h"
#include "live_internal.h"
#include "live_parts.h"
#include "typing.h"

#include "base/log.h"
#include "base/utf8.h"

#include <errno.h>
#include <stdlib.h>

/* Between the end of a session and its client's notice of it. */
#define END_TIMEOUT (5 * NSEC_PER_SEC)

#define CONNECT "/stoa.chat.v1.LiveService/Connect"

const struct rpc_error live_no_memory = {.code = RPC_RESOURCE_EXHAUSTED,
                                         .message = STR("out of memory"),
                                         .reason = "OVERLOADED",
                                         .retry_after_ms = RETRY_AFTER_MS};

const struct rpc_error live_stopping = {
    .code = RPC_UNAVAILABLE,
    .message = STR("STOPPING: the instance stops, connect again"),
    .reason = "STOPPING",
    .retry_after_ms = 1,
};

static void session_ref(struct live_session *session)
{
    atomic_fetch_add_explicit(&session->refs, 1, memory_order_relaxed);
}

static void session_unref(struct live_session *session)
{
    if (atomic_fetch_sub_explicit(&session->refs, 1, memory_order_acq_rel) == 1)
        session->carrier->transport->free(session);
}

/* ---- telling the client; under the lock ---- */

static void end_slow(struct live_session *session)
{
    metrics_add(&session->carrier->hub->counts.slow, 1);
    session_end(session,
                &(struct rpc_error){
                    .code = RPC_RESOURCE_EXHAUSTED,
                    .message = STR("SLOW_CONSUMER: too much waits to be read; connect again, and "
                                   "subscribe after the last number of each room"),
                    .reason = "SLOW_CONSUMER",
                    .retry_after_ms = RETRY_AFTER_MS},
                true);
}

bool session_send(struct live_session *session, const struct rpc_packed *part)
{
    if (session->ended)
        return false;
    if (session->carrier->transport->send(session, part) == 0)
        return true;
    end_slow(session);
    return false;
}

bool session_send_event(struct live_session *session, const struct rpc_packed *part, int64_t room,
                        int64_t seq)
{
    const struct live_transport *transport = session->carrier->transport;

    if (!transport->send_event)
        return session_send(session, part);
    if (session->ended)
        return false;
    if (transport->send_event(session, part, room, seq) == 0)
        return true;
    end_slow(session);
    return false;
}

bool session_tell(struct live_session *session, struct rpc_packed *part)
{
    bool told;

    if (!part) {
        session_end(session, &live_no_memory, true);
        return false;
    }
    told = session_send(session, part);
    rpc_packed_unref(part);
    return told;
}

void session_refuse(struct live_session *session, const char *id, int64_t room,
                    const struct rpc_error *error)
{
    if (session->kind == LIVE_SUBSCRIBE)
        session_end(session, error, false);
    else
        session_tell(session, part_error(id ? id : "", room, error));
}

void session_after_room(struct live_session *session)
{
    if (session->kind == LIVE_SUBSCRIBE)
        session_end(session, NULL, false);
}

/* ---- the end; under the lock ---- */

static void end_subscriptions(struct live_session *session)
{
    struct subscription *subscription;

    while ((subscription = LIST_FIRST(&session->subscriptions)) != NULL)
        subscription_end(subscription);
}

void session_end(struct live_session *session, const struct rpc_error *error, bool at_once)
{
    if (session->ended)
        return;
    session->ended = true;
    session->ended_ns = clock_monotonic_ns();
    end_subscriptions(session);
    session->carrier->transport->end(session, error, at_once);
}

void session_look(struct live_session *session, int64_t now)
{
    struct rpc_error error;

    if (!session->ended) {
        if (service_caller_ended(session->carrier->hub->service, &session->caller, &error))
            session_end(session, &error, false);
    } else if (!session->cut && now - session->ended_ns > END_TIMEOUT) {
        session->cut = true;
        session->carrier->transport->end(session, NULL, true);
    }
}

/* ---- accounts; under the lock ---- */

/* -ENOMEM; -EMFILE: it has too many. */
static int add_to_account(struct hub *hub, struct live_session *session)
{
    struct account_sessions *account;
    int64_t id = session->caller.account_id;

    HASH_FIND(hh, hub->accounts, &id, sizeof(id), account);
    if (!account) {
        unsigned before = HASH_COUNT(hub->accounts);

        account = calloc(1, sizeof(*account));
        if (!account)
            return -ENOMEM;
        account->id = id;
        HASH_ADD(hh, hub->accounts, id, sizeof(account->id), account);
        if (HASH_COUNT(hub->accounts) == before) {
            free(account);
            return -ENOMEM;
        }
    }
    if (account->n >= (size_t)hub->settings.max_connections)
        return -EMFILE;
    account->n++;
    LIST_INSERT_HEAD(&account->sessions, session, siblings);
    session->account = account;
    return 0;
}

static void remove_from_account(struct hub *hub, struct live_session *session)
{
    struct account_sessions *account = session->account;

    LIST_REMOVE(session, siblings);
    session->account = NULL;
    if (--account->n > 0)
        return;
    HASH_DEL(hub->accounts, account);
    free(account);
}

/* ---- the beginning ---- */

void live_carrier_init(struct live_carrier *carrier, struct hub *hub,
                       const struct live_transport *transport)
{
    *carrier = (struct live_carrier){.transport = transport, .hub = hub};
}

static void refuse_session(struct live_session *session, int r)
{
    struct rpc_error error = live_no_memory;

    metrics_add(&session->carrier->hub->counts.refused_sessions, 1);
    if (r == -ESHUTDOWN)
        error = live_stopping;
    else if (r == -EMFILE)
        error = (struct rpc_error){.code = RPC_RESOURCE_EXHAUSTED,
                                   .message = STR("the account has too many connections"),
                                   .reason = "TOO_MANY_CONNECTIONS",
                                   .retry_after_ms = RETRY_AFTER_MS};
    session_end(session, &error, false);
}

void live_open(struct live_session *session, struct live_carrier *carrier, enum live_kind kind,
               const struct service_caller *caller, bool resumed)
{
    struct hub *hub = carrier->hub;
    int r;

    session->carrier = carrier;
    session->kind = kind;
    session->caller = *caller;
    session->caller.token = STR_NULL;
    atomic_init(&session->refs, 1);
    hub_lock(hub);
    TAILQ_INSERT_TAIL(&hub->sessions, session, next);
    metrics_add(&hub->counts.sessions[kind], 1);
    r = hub->stopping ? -ESHUTDOWN : add_to_account(hub, session);
    if (r < 0)
        refuse_session(session, r);
    else if (kind == LIVE_CONNECT)
        session_tell(session, resumed ? part_resumed() : part_welcome(caller->expires_us));
    hub_unlock(hub);
}

void live_closed(struct live_session *session)
{
    struct hub *hub = session->carrier->hub;

    hub_lock(hub);
    session->ended = true;
    end_subscriptions(session);
    TAILQ_REMOVE(&hub->sessions, session, next);
    count_down(&hub->counts.sessions[session->kind]);
    if (session->account)
        remove_from_account(hub, session);
    hub_unlock(hub);
    session_unref(session);
}

void live_drained(struct live_session *session)
{
    struct hub *hub = session->carrier->hub;
    struct subscription *subscription, *next;

    hub_lock(hub);
    subscription = LIST_FIRST(&session->subscriptions);
    for (; subscription && !session->ended; subscription = next) {
        next = LIST_NEXT(subscription, siblings);
        if (subscription->state == REPLAYING)
            subscription_pump(subscription); /* may end the session, and with it the next one */
    }
    hub_unlock(hub);
}

static void end_if_answered(struct live_session *session)
{
    if (session->half_closed && session->n_actions == 0)
        session_end(session, NULL, false);
}

void live_half_closed(struct live_session *session)
{
    struct hub *hub = session->carrier->hub;

    hub_lock(hub);
    session->half_closed = true;
    end_if_answered(session);
    hub_unlock(hub);
}

/* ---- actions ---- */

/* In the arena of its call. */
struct action {
    struct live_session *session; /* a reference */
    char id[LIVE_ID_BYTES];
    int64_t room, seq; /* of the ack, unless the answer says another */
};

/* told: the part is taken over; NULL, for want of memory, cuts the session off. */
static void end_action(const struct action *action, bool told, struct rpc_packed *part)
{
    struct live_session *session = action->session;
    struct hub *hub = session->carrier->hub;

    hub_lock(hub);
    session->n_actions--;
    if (told && !session->ended)
        session_tell(session, part);
    else
        rpc_packed_unref(part);
    end_if_answered(session);
    hub_unlock(hub);
    session_unref(session);
}

static void acknowledge(const struct action *action, int64_t seq)
{
    bool told = action->id[0] != '\0';

    end_action(action, told, told ? part_ack(action->id, action->room, seq) : NULL);
}

static void on_failed(void *user, struct rpc_call *call, const struct rpc_error *error)
{
    const struct action *action = user;

    (void)call;
    end_action(action, true, part_error(action->id, action->room, error));
}

static void on_replied(void *user, struct rpc_call *call, const ProtobufCMessage *response)
{
    const struct action *action = user;
    int64_t seq = action->seq;

    (void)call;
    if (response->descriptor == &stoa__chat__v1__send_message_response__descriptor)
        seq = ((const Stoa__Chat__V1__SendMessageResponse *)response)->message->seq;
    else if (response->descriptor == &stoa__chat__v1__mark_read_response__descriptor)
        seq = ((const Stoa__Chat__V1__MarkReadResponse *)response)->read_seq;
    acknowledge(action, seq);
}

/* An action as a call, in whose arena its request is to be made. NULL: it has been refused. */
static struct rpc_call *begin_action(struct live_session *session, const char *id, int64_t room,
                                     int64_t seq, const struct rpc_local *local)
{
    struct hub *hub = session->carrier->hub;
    struct rpc_call *call = NULL;
    struct rpc_error error = live_no_memory;
    struct action *action = NULL;
    struct service_caller caller;
    bool may;
    int r;

    hub_lock(hub);
    caller = session->caller;
    may = session->n_actions < (size_t)hub->settings.max_actions;
    session->n_actions++;
    hub_unlock(hub);
    r = may ? rpc_local_new(service_rpc(hub->service), local, &call) : -EBUSY;
    if (r == 0 && service_call_as(call, &caller) == 0)
        action = arena_alloc(rpc_call_arena(call), sizeof(*action));
    if (action) {
        session_ref(session);
        action->session = session;
        snprintf(action->id, sizeof(action->id), "%s", id);
        action->room = room;
        action->seq = seq;
        rpc_local_set_user(call, action);
        return call;
    }
    if (r == 0)
        rpc_local_end(call);
    if (r == -EBUSY)
        error = (struct rpc_error){.code = RPC_RESOURCE_EXHAUSTED,
                                   .message = STR("too many actions wait for their answers"),
                                   .reason = "TOO_MANY_ACTIONS",
                                   .retry_after_ms = RETRY_AFTER_MS};
    else if (r == -EAGAIN)
        error.message = STR("the service is overloaded");
    hub_lock(hub);
    session->n_actions--;
    session_refuse(session, id, room, &error);
    hub_unlock(hub);
    return NULL;
}

/* A copy of a string of the message, which is gone before the call is; NULL without memory. */
static char *keep(struct rpc_call *call, const char *s)
{
    return (char *)arena_copy(rpc_call_arena(call), str_of(s)).p;
}

#define RPC(NAME)                                                                               \
    &(const struct rpc_local)                                                                   \
    {                                                                                           \
        .method = "/stoa.chat.v1.RoomService/" NAME, .replied = on_replied, .failed = on_failed \
    }

/* An empty message in the call's arena. NULL without memory. */
static void *make_message(struct rpc_call *call, const ProtobufCMessageDescriptor *type)
{
    void *message = arena_alloc(rpc_call_arena(call), type->sizeof_message);

    if (message)
        protobuf_c_message_init(type, message);
    return message;
}

/* begin_action() with an empty request. NULL: it has been refused. */
static void *begin_request(struct live_session *session, const char *id, int64_t room, int64_t seq,
                           const struct rpc_local *local, const ProtobufCMessageDescriptor *type,
                           struct rpc_call **ret_call)
{
    struct rpc_call *call = begin_action(session, id, room, seq, local);
    void *request = call ? make_message(call, type) : NULL;

    if (call && !request)
        rpc_fail_with(call, &live_no_memory);
    *ret_call = call;
    return request;
}

/* made: all that is in the request is there. */
static void run(struct rpc_call *call, const ProtobufCMessage *request, bool made)
{
    if (made)
        rpc_local_run(call, request);
    else
        rpc_fail_with(call, &live_no_memory);
}

static void begin_send(struct live_session *session, const char *id,
                       const Stoa__Chat__V1__SendAction *action)
{
    struct rpc_call *call;
    Stoa__Chat__V1__SendMessageRequest *request =
        begin_request(session, id, action->room, 0, RPC("SendMessage"),
                      &stoa__chat__v1__send_message_request__descriptor, &call);
    Stoa__Chat__V1__SendMessageRequest__NewMessage *message;

    if (!request)
        return;
    message = make_message(call, &stoa__chat__v1__send_message_request__new_message__descriptor);
    if (message) {
        message->text = keep(call, action->text);
        message->client_id = keep(call, action->client_id);
        message->_reply_to_case =
            (Stoa__Chat__V1__SendMessageRequest__NewMessage__ReplyToCase)action->_reply_to_case;
        message->reply_to = action->reply_to;
    }
    request->room = action->room;
    request->message = message;
    run(call, &request->base, message && message->text && message->client_id);
}

static void begin_edit(struct live_session *session, const char *id,
                       const Stoa__Chat__V1__EditAction *action)
{
    struct rpc_call *call;
    Stoa__Chat__V1__EditMessageRequest *request =
        begin_request(session, id, action->room, action->seq, RPC("EditMessage"),
                      &stoa__chat__v1__edit_message_request__descriptor, &call);

    if (!request)
        return;
    request->room = action->room;
    request->seq = action->seq;
    request->text = keep(call, action->text);
    request->client_id = keep(call, action->client_id);
    run(call, &request->base, request->text && request->client_id);
}

static void begin_delete(struct live_session *session, const char *id,
                         const Stoa__Chat__V1__DeleteAction *action)
{
    struct rpc_call *call;
    Stoa__Chat__V1__DeleteMessageRequest *request =
        begin_request(session, id, action->room, action->seq, RPC("DeleteMessage"),
                      &stoa__chat__v1__delete_message_request__descriptor, &call);

    if (!request)
        return;
    request->room = action->room;
    request->seq = action->seq;
    request->client_id = keep(call, action->client_id);
    run(call, &request->base, request->client_id);
}

static void begin_add_reaction(struct live_session *session, const char *id,
                               const Stoa__Chat__V1__ReactAction *action)
{
    struct rpc_call *call;
    Stoa__Chat__V1__AddReactionRequest *request =
        begin_request(session, id, action->room, action->seq, RPC("AddReaction"),
                      &stoa__chat__v1__add_reaction_request__descriptor, &call);

    if (!request)
        return;
    request->room = action->room;
    request->seq = action->seq;
    request->emoji = keep(call, action->emoji);
    request->client_id = keep(call, action->client_id);
    run(call, &request->base, request->emoji && request->client_id);
}

static void begin_remove_reaction(struct live_session *session, const char *id,
                                  const Stoa__Chat__V1__ReactAction *action)
{
    struct rpc_call *call;
    Stoa__Chat__V1__RemoveReactionRequest *request =
        begin_request(session, id, action->room, action->seq, RPC("RemoveReaction"),
                      &stoa__chat__v1__remove_reaction_request__descriptor, &call);

    if (!request)
        return;
    request->room = action->room;
    request->seq = action->seq;
    request->emoji = keep(call, action->emoji);
    request->client_id = keep(call, action->client_id);
    run(call, &request->base, request->emoji && request->client_id);
}

static void begin_read_mark(struct live_session *session, const char *id,
                            const Stoa__Chat__V1__ReadAction *action)
{
    struct rpc_call *call;
    Stoa__Chat__V1__MarkReadRequest *request =
        begin_request(session, id, action->room, action->seq, RPC("MarkRead"),
                      &stoa__chat__v1__mark_read_request__descriptor, &call);

    if (!request)
        return;
    request->room = action->room;
    request->seq = action->seq;
    run(call, &request->base, true);
}

/* ---- another token ---- */

static void on_renewed(void *user, struct rpc_call *call)
{
    const struct action *action = user;
    struct live_session *session = action->session;
    struct hub *hub = session->carrier->hub;
    const struct service_caller *caller = service_caller(call);
    bool same;

    hub_lock(hub);
    same = caller->account_id == session->caller.account_id;
    if (same && !session->ended) {
        session->caller = *caller;
        session->caller.token = STR_NULL;
        if (session->carrier->transport->resume_state)
            session->carrier->transport->resume_state(session, caller->token);
    }
    hub_unlock(hub);
    if (!same) {
        rpc_fail_with(call, &(struct rpc_error){.code = RPC_PERMISSION_DENIED,
                                                .message = STR("the token is another account's"),
                                                .reason = "OTHER_ACCOUNT"});
        return;
    }
    acknowledge(action, 0);
    rpc_local_end(call);
}

static void begin_renew(struct live_session *session, const char *id,
                        const Stoa__Chat__V1__RenewAction *action)
{
    const struct rpc_local local = {.method = CONNECT, .proceed = on_renewed, .failed = on_failed};
    struct rpc_call *call = begin_action(session, id, 0, 0, &local);
    struct rpc_local_metadata *metadata;

    if (!call)
        return;
    metadata = arena_alloc(rpc_call_arena(call), sizeof(*metadata));
    if (metadata) {
        metadata->key = STR("authorization");
        metadata->value = arena_printf(rpc_call_arena(call), "Bearer %s", action->access_token);
    }
    if (!metadata || !metadata->value.p) {
        rpc_fail_with(call, &live_no_memory);
        return;
    }
    rpc_local_set_metadata(call, metadata, 1, STR_NULL);
    rpc_local_authenticate(call);
}

/* ---- rooms ---- */

void live_subscribe(struct live_session *session, int64_t room, int64_t after_seq, const char *id)
{
    struct hub *hub = session->carrier->hub;
    size_t max = (size_t)hub->settings.max_subscriptions;

    hub_lock(hub);
    if (session->ended) {
        hub_unlock(hub);
        return;
    }
    if (session->n_subscriptions >= max && !session_subscription(session, room))
        session_refuse(session, id, room,
                       &(struct rpc_error){.code = RPC_RESOURCE_EXHAUSTED,
                                           .message = STR("the connection follows too many rooms"),
                                           .reason = "TOO_MANY_SUBSCRIPTIONS"});
    else
        room_subscribe(hub, session, room, after_seq, id);
    hub_unlock(hub);
}

static void unsubscribe(struct live_session *session, const char *id, int64_t room)
{
    struct hub *hub = session->carrier->hub;
    struct subscription *subscription;

    hub_lock(hub);
    subscription = session_subscription(session, room);
    if (subscription)
        subscription_end(subscription);
    if (*id)
        session_tell(session, part_ack(id, room, 0));
    hub_unlock(hub);
}

/* ---- typing ---- */

static void type(struct live_session *session, const char *id, int64_t room)
{
    struct hub *hub = session->carrier->hub;
    struct rpc_error error = {
        .code = RPC_FAILED_PRECONDITION,
        .message = STR("the connection does not follow the room"),
        .reason = "NOT_SUBSCRIBED",
    };
    const struct subscription *subscription;
    int64_t account;
    bool may;

    hub_lock(hub);
    subscription = session_subscription(session, room);
    account = session->caller.account_id;
    may = subscription && subscription->state != ASKED;
    hub_unlock(hub);
    if (may)
        may = limits_allow(chat_limits(hub->service), LIMIT_TYPING, account, room, "", &error);
    if (may)
        typing_said(presence_typing(hub->presence), room, account);
    hub_lock(hub);
    if (!may)
        session_refuse(session, id, room, &error);
    else if (*id)
        session_tell(session, part_ack(id, room, 0));
    hub_unlock(hub);
}

/* ---- what comes ---- */

/* The room that an action is about; 0: none. */
static int64_t room_of(const Stoa__Chat__V1__ConnectRequest *message)
{
    switch (message->action_case) {
    case STOA__CHAT__V1__CONNECT_REQUEST__ACTION_SUBSCRIBE:
        return message->subscribe->room;
    case STOA__CHAT__V1__CONNECT_REQUEST__ACTION_UNSUBSCRIBE:
        return message->unsubscribe->room;
    case STOA__CHAT__V1__CONNECT_REQUEST__ACTION_SEND:
        return message->send->room;
    case STOA__CHAT__V1__CONNECT_REQUEST__ACTION_EDIT:
        return message->edit->room;
    case STOA__CHAT__V1__CONNECT_REQUEST__ACTION_DELETE:
        return message->delete_->room;
    case STOA__CHAT__V1__CONNECT_REQUEST__ACTION_REACT:
        return message->react->room;
    case STOA__CHAT__V1__CONNECT_REQUEST__ACTION_READ:
        return message->read->room;
    case STOA__CHAT__V1__CONNECT_REQUEST__ACTION_TYPING:
        return message->typing->room;
    default:
        return 0;
    }
}

/* One that is too long is cut, between characters: what is told is UTF-8. */
static void cut_id(const char *id, char ret[LIVE_ID_BYTES])
{
    size_t n = 0, left = strlen(id), length;

    while ((length = utf8_length(id + n, left - n)) > 0 && n + length < LIVE_ID_BYTES)
        n += length;
    memcpy(ret, id, n);
    ret[n] = '\0';
}

void live_refused(struct live_session *session, const Stoa__Chat__V1__ConnectRequest *message,
                  const struct rpc_error *error)
{
    struct hub *hub = session->carrier->hub;
    char id[LIVE_ID_BYTES];

    cut_id(message->id, id);
    hub_lock(hub);
    session_refuse(session, id, room_of(message), error);
    hub_unlock(hub);
}

/* Of what has no limit of its own as an RPC: over HTTP the gateway's for requests holds, and here
 * nothing would. False: it has been refused. */
static bool may_ask(struct live_session *session, const char *id, int64_t room)
{
    struct hub *hub = session->carrier->hub;
    struct rpc_error error;
    int64_t account;

    hub_lock(hub);
    account = session->caller.account_id;
    hub_unlock(hub);
    if (limits_allow(chat_limits(hub->service), LIMIT_FOLLOW, account, 0, "", &error))
        return true;
    hub_lock(hub);
    session_refuse(session, id, room, &error);
    hub_unlock(hub);
    return false;
}

void live_ask(struct live_session *session, int64_t room, int64_t after_seq, const char *id)
{
    if (may_ask(session, id, room))
        live_subscribe(session, room, after_seq, id);
}

void live_message(struct live_session *session, const Stoa__Chat__V1__ConnectRequest *message)
{
    const char *id = message->id;

    switch (message->action_case) {
    case STOA__CHAT__V1__CONNECT_REQUEST__ACTION_SUBSCRIBE: {
        const Stoa__Chat__V1__SubscribeAction *action = message->subscribe;

        live_ask(session, action->room, action->_after_seq_case ? action->after_seq : -1, id);
        break;
    }
    case STOA__CHAT__V1__CONNECT_REQUEST__ACTION_UNSUBSCRIBE:
        unsubscribe(session, id, message->unsubscribe->room);
        break;
    case STOA__CHAT__V1__CONNECT_REQUEST__ACTION_SEND:
        begin_send(session, id, message->send);
        break;
    case STOA__CHAT__V1__CONNECT_REQUEST__ACTION_EDIT:
        begin_edit(session, id, message->edit);
        break;
    case STOA__CHAT__V1__CONNECT_REQUEST__ACTION_DELETE:
        begin_delete(session, id, message->delete_);
        break;
    case STOA__CHAT__V1__CONNECT_REQUEST__ACTION_REACT:
        if (message->react->remove)
            begin_remove_reaction(session, id, message->react);
        else
            begin_add_reaction(session, id, message->react);
        break;
    case STOA__CHAT__V1__CONNECT_REQUEST__ACTION_READ:
        if (may_ask(session, id, message->read->room))
            begin_read_mark(session, id, message->read);
        break;
    case STOA__CHAT__V1__CONNECT_REQUEST__ACTION_TYPING:
        type(session, id, message->typing->room);
        break;
    case STOA__CHAT__V1__CONNECT_REQUEST__ACTION_RENEW:
        if (may_ask(session, id, 0))
            begin_renew(session, id, message->renew);
        break;
    default:
        live_refused(session, message,
                     &(struct rpc_error){.code = RPC_UNIMPLEMENTED,
                                         .message = STR("there is no such action here"),
                                         .reason = "UNKNOWN_ACTION"});
    }
}
