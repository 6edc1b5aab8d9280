/* ExportRoom: the room, its members and its log, page by page. A page is read when the one before
 * is with the transport, so that an export of any length has one page in memory, and goes at the
 * speed of its reader. Each page is read as the member that the caller is then, or no longer is,
 * and while the token would still be accepted.
 *
 * Pages are asked for on pollers and on the database's engine thread, and sent from the latter. */
#include "chat.h"

#include <errno.h>
#include <pthread.h>

#define PAGE_ARENA (1 << 20)

struct room_export {
    struct service_caller caller; /* the call's context: what the callbacks find the rest by */
    struct request request;

    pthread_mutex_t lock; /* guards what follows */
    bool reading;         /* a page is on its way, or being sent: it has a reference to the call */
    bool drained;         /* since the last of it was queued */
    bool over;            /* ended by us, or closed */

    /* Of whoever reads. */
    struct arena page;
    enum { OF_ROOM, OF_MEMBERS, OF_EVENTS } part;
    int64_t member;   /* the last one sent: an account's id */
    int64_t seq;      /* everything up to here has been sent */
    int64_t last_seq; /* and will be up to here */
};

/* NULL: it was refused when it opened. */
static struct room_export *export_of(const struct rpc_call *call)
{
    const struct service_caller *caller = service_caller(call);

    return caller ? CONTAINER_OF(caller, struct room_export, caller) : NULL;
}

/* ---- sending ---- */

/* 0, -EPIPE: the caller has gone, or the call has been failed. */
static int send(struct room_export *task, const Stoa__Chat__V1__ExportRoomResponse *response)
{
    struct rpc_call *call = task->request.call;
    int r = rpc_stream_send(call, &response->base);

    /* A page is less than a queue holds. */
    if (r == -ENOBUFS) {
        service_fail_overloaded(call);
        r = -EPIPE;
    }
    return r;
}

/* Whatever drained before this belongs to what was sent before it. */
static int send_last_of_page(struct room_export *task,
                             const Stoa__Chat__V1__ExportRoomResponse *response)
{
    pthread_mutex_lock(&task->lock);
    task->drained = false;
    pthread_mutex_unlock(&task->lock);
    return send(task, response);
}

static int send_end(struct room_export *task)
{
    Stoa__Chat__V1__ExportRoomResponse response = STOA__CHAT__V1__EXPORT_ROOM_RESPONSE__INIT;
    Stoa__Chat__V1__ExportEnd end = STOA__CHAT__V1__EXPORT_END__INIT;

    end.last_seq = task->last_seq;
    response.item_case = STOA__CHAT__V1__EXPORT_ROOM_RESPONSE__ITEM_END;
    response.end = &end;
    if (send(task, &response) == 0)
        rpc_stream_finish(task->request.call, NULL);
    return -EPIPE;
}

/* ---- pages: 0, or -EPIPE: nothing more is to be sent ---- */

static int send_room(struct room_export *task, const struct db_result *result)
{
    Stoa__Chat__V1__ExportRoomResponse response = STOA__CHAT__V1__EXPORT_ROOM_RESPONSE__INIT;
    struct request *request = &task->request;
    struct room_row row;

    if (service_query_failed(request->call, result))
        return -EPIPE;
    if (db_rows(result) == 0) {
        fail_no_room(request);
        return -EPIPE;
    }
    room_from_row(chat_retention(request->service), result, 0, &row);
    if (row.room.role == STOA__CHAT__V1__ROLE__ROLE_UNSPECIFIED) {
        fail_not_member(request);
        return -EPIPE;
    }
    task->last_seq = row.room.last_seq;
    task->part = task->seq > 0 ? OF_EVENTS : OF_MEMBERS;
    if (task->seq < row.room.first_seq - 1)
        task->seq = row.room.first_seq - 1;
    response.item_case = STOA__CHAT__V1__EXPORT_ROOM_RESPONSE__ITEM_ROOM;
    response.room = &row.room;
    return send_last_of_page(task, &response);
}

static int send_members(struct room_export *task, const struct db_result *result)
{
    Stoa__Chat__V1__ExportRoomResponse response = STOA__CHAT__V1__EXPORT_ROOM_RESPONSE__INIT;
    int n = db_rows(result), r = 0;

    if (read_failed(&task->request, result))
        return -EPIPE;
    response.item_case = STOA__CHAT__V1__EXPORT_ROOM_RESPONSE__ITEM_MEMBER;
    if (n < CHAT_MAX_PAGE)
        task->part = OF_EVENTS;
    if (db_is_null(result, 0, MEMBER_ACCOUNT_ID))
        n = 0;
    for (int i = 0; r == 0 && i < n; i++) {
        struct member_row row;

        member_from_row(result, i, &row);
        response.member = &row.member;
        r = i < n - 1 ? send(task, &response) : send_last_of_page(task, &response);
        task->member = db_get_int8(result, i, MEMBER_ACCOUNT_ID);
    }
    return r;
}

/* What was to come next has been removed meanwhile: whoever reads would see a hole. */
static int fail_overtaken(struct room_export *task)
{
    rpc_fail_with(task->request.call,
                  &(struct rpc_error){.code = RPC_ABORTED,
                                      .message = STR("what comes next is kept no longer"),
                                      .reason = "KEPT_NO_LONGER"});
    return -EPIPE;
}

static int send_event(struct room_export *task, const struct db_result *result, int i, bool last)
{
    Stoa__Chat__V1__ExportRoomResponse response = STOA__CHAT__V1__EXPORT_ROOM_RESPONSE__INIT;
    struct event_row row;

    if (db_get_int8(result, i, EVENT_SEQ) != task->seq + 1)
        return fail_overtaken(task);
    if (event_from_row(result, i, task->request.room, &task->page, &row) < 0) {
        service_fail_memory(task->request.call);
        return -EPIPE;
    }
    task->seq++;
    response.item_case = STOA__CHAT__V1__EXPORT_ROOM_RESPONSE__ITEM_EVENT;
    response.event = &row.event;
    return last ? send_last_of_page(task, &response) : send(task, &response);
}

static int send_events(struct room_export *task, const struct db_result *result)
{
    int n = db_rows(result), r = 0;

    if (read_failed(&task->request, result))
        return -EPIPE;
    if (db_is_null(result, 0, EVENT_SEQ))
        n = 0;
    if (task->seq < task->last_seq && n == 0)
        return fail_overtaken(task);
    for (int i = 0; r == 0 && i < n && task->seq < task->last_seq; i++)
        r = send_event(task, result, i, i == n - 1);
    if (r == 0 && task->seq >= task->last_seq)
        r = send_end(task);
    return r;
}

/* ---- reading ---- */

static void read_page(struct room_export *task);

/* The page has been sent, or nothing more will be. */
static void page_done(struct room_export *task, bool over)
{
    struct rpc_call *call = task->request.call;
    bool again;

    pthread_mutex_lock(&task->lock);
    task->over |= over;
    again = task->drained && !task->over;
    task->reading = again;
    if (task->over)
        arena_free(&task->page);
    pthread_mutex_unlock(&task->lock);
    if (again)
        read_page(task);
    rpc_call_unref(call);
}

static void on_page(void *user, const struct db_result *result)
{
    static int (*const parts[])(struct room_export *, const struct db_result *) = {
        [OF_ROOM] = send_room, [OF_MEMBERS] = send_members, [OF_EVENTS] = send_events};
    struct room_export *task = user;

    page_done(task, parts[task->part](task, result) < 0);
}

static void bind_page(struct room_export *task, struct db_query *query)
{
    db_bind_int8(query, task->caller.account_id);
    db_bind_int8(query, task->request.room);
    if (task->part == OF_ROOM)
        return;
    db_bind_int8(query, task->part == OF_MEMBERS ? task->member : task->seq);
    db_bind_int4(query, CHAT_MAX_PAGE);
}

/* reading is set, by the caller. */
static void read_page(struct room_export *task)
{
    static const enum chat_statement statements[] = {
        [OF_ROOM] = GET_ROOM, [OF_MEMBERS] = LIST_MEMBERS, [OF_EVENTS] = LIST_EVENTS};
    struct rpc_call *call = task->request.call;
    struct db_query *query;
    struct rpc_error error;

    rpc_call_ref(call);
    if (service_caller_ended(task->request.service, &task->caller, &error)) {
        rpc_fail_with(call, &error);
        page_done(task, true);
        return;
    }
    arena_free(&task->page);
    query = db_query(service_db(task->request.service), &task->page, statements[task->part]);
    if (query)
        bind_page(task, query);
    if (!service_query_with(call, query, on_page, task))
        page_done(task, true);
}

/* ---- the stream ---- */

static void opened(void *service, struct rpc_call *call, const ProtobufCMessage *request)
{
    const Stoa__Chat__V1__ExportRoomRequest *message =
        (const Stoa__Chat__V1__ExportRoomRequest *)request;
    struct request asked = {.service = service, .call = call, .room = message->room};
    struct room_export *task = arena_calloc(rpc_call_arena(call), 1, sizeof(*task));
    bool failed = limit_failed(&asked, LIMIT_EXPORT, "");

    if (!failed && !task)
        service_fail_memory(call);
    if (failed || !task) {
        rpc_call_set_context(call, NULL);
        return;
    }
    task->caller = *service_caller(call);
    task->request = asked;
    task->seq = message->after_seq;
    task->reading = true;
    pthread_mutex_init(&task->lock, NULL);
    arena_init(&task->page, PAGE_ARENA);
    rpc_call_set_context(call, &task->caller);
    read_page(task);
}

static void drained(void *service UNUSED, struct rpc_call *call)
{
    struct room_export *task = export_of(call);
    bool go_on;

    pthread_mutex_lock(&task->lock);
    go_on = !task->reading && !task->over;
    task->reading |= go_on;
    task->drained = true;
    pthread_mutex_unlock(&task->lock);
    if (go_on)
        read_page(task);
}

static void closed(void *service UNUSED, struct rpc_call *call)
{
    struct room_export *task = export_of(call);

    if (!task)
        return;
    pthread_mutex_lock(&task->lock);
    task->over = true;
    if (!task->reading)
        arena_free(&task->page);
    pthread_mutex_unlock(&task->lock);
}

static const struct rpc_stream_handler export_room_stream = {
    .open = opened, .drained = drained, .closed = closed, .begins_late = true};

const struct rpc_handler export_room_handler = {.method = "ExportRoom",
                                                .stream = &export_room_stream};
