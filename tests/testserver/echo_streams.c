/* stoa.test.v1.EchoService: streams of answers, of requests, and of both. */
#include "testserver.h"

#include <errno.h>
#include <stdlib.h>

#define MAX_PADDING (16 << 20)

static void refuse(struct rpc_call *call, enum rpc_code code, struct str message)
{
    rpc_stream_finish(call, &(struct rpc_error){.code = code, .message = message});
}

/* What every stream begins with; false: it has been refused. */
static bool begin(struct rpc_call *call, const Stoa__Test__V1__Outcome *outcome)
{
    struct rpc_error error;

    if (outcome_metadata(call, outcome, &error) == 0)
        return true;
    rpc_stream_finish(call, &error);
    return false;
}

static void end_as(struct rpc_call *call, const Stoa__Test__V1__Outcome *outcome)
{
    struct rpc_error error;

    rpc_stream_finish(call, outcome_error(call, outcome, &error) ? &error : NULL);
}

/* ---- Count ---- */

struct count {
    const Stoa__Test__V1__CountRequest *request;
    int64_t number; /* the last one sent */
    bool begun;
    char *padding;
};

static enum production count_next(void *state, int64_t *ret_delay_us)
{
    struct count *count = state;
    const Stoa__Test__V1__CountRequest *request = count->request;

    *ret_delay_us = duration_us(request->interval);
    if (!count->begun)
        *ret_delay_us = request->outcome ? duration_us(request->outcome->delay) : 0;
    count->begun = true;
    if (request->count == 0 || count->number < request->count)
        return PRODUCE_MESSAGE;
    *ret_delay_us = 0;
    return PRODUCE_END;
}

static int64_t count_send(void *state, struct rpc_call *call)
{
    struct count *count = state;
    Stoa__Test__V1__CountResponse response = STOA__TEST__V1__COUNT_RESPONSE__INIT;
    int r;

    response.number = count->number + 1;
    response.padding = count->padding;
    r = rpc_stream_send(call, &response.base);
    if (r < 0)
        return r;
    count->number++;
    return count->request->padding;
}

static void count_end(void *state, struct rpc_call *call)
{
    struct count *count = state;

    end_as(call, count->request->outcome);
}

static void count_open(void *service UNUSED, struct rpc_call *call, const ProtobufCMessage *message)
{
    static const struct producer_source source = {count_next, count_send, count_end};
    const Stoa__Test__V1__CountRequest *request = (const Stoa__Test__V1__CountRequest *)message;
    struct count *count = arena_calloc(rpc_call_arena(call), 1, sizeof(*count));
    bool bad = request->padding < 0 || request->padding > MAX_PADDING || request->count < 0 ||
               request->after < 0;
    struct producer *producer;

    if (!begin(call, request->outcome))
        return;
    if (bad) {
        refuse(call, RPC_INVALID_ARGUMENT, STR("a number is out of range"));
        return;
    }
    producer = count ? producer_new(call, &source, count) : NULL;
    if (producer)
        count->padding = arena_alloc(rpc_call_arena(call), (size_t)request->padding + 1);
    if (!producer || !count->padding) {
        rpc_call_set_context(call, NULL);
        refuse(call, RPC_RESOURCE_EXHAUSTED, STR("no memory"));
        return;
    }
    memset(count->padding, 'x', (size_t)request->padding);
    count->padding[request->padding] = '\0';
    count->request = request;
    count->number = request->after;
    producer_lock(producer);
    producer_unlock(producer);
}

const struct rpc_stream_handler echo_count = {
    .open = count_open, .drained = producer_drained, .closed = producer_closed};

/* ---- Download ---- */

struct download {
    const Stoa__Test__V1__DownloadRequest *request;
    struct str text;
    size_t at; /* in the text */
    int32_t rounds;
    bool begun;
};

static enum production download_next(void *state, int64_t *ret_delay_us)
{
    struct download *download = state;
    const Stoa__Test__V1__DownloadRequest *request = download->request;

    *ret_delay_us = duration_us(request->interval);
    if (!download->begun)
        *ret_delay_us = request->outcome ? duration_us(request->outcome->delay) : 0;
    download->begun = true;
    if (download->at == download->text.n && download->rounds > 1) {
        download->at = 0;
        download->rounds--;
    }
    if (download->at < download->text.n)
        return PRODUCE_MESSAGE;
    *ret_delay_us = 0;
    return PRODUCE_END;
}

static int64_t download_send(void *state, struct rpc_call *call)
{
    struct download *download = state;
    const Stoa__Test__V1__DownloadRequest *request = download->request;
    Google__Api__HttpBody body = GOOGLE__API__HTTP_BODY__INIT;
    size_t n = download->text.n - download->at;
    int r;

    if (request->part > 0 && n > (size_t)request->part)
        n = (size_t)request->part;
    body.content_type = request->content_type;
    body.data.data = (uint8_t *)download->text.p + download->at;
    body.data.len = n;
    r = rpc_stream_send(call, &body.base);
    if (r < 0)
        return r;
    download->at += n;
    return (int64_t)n;
}

static void download_end(void *state, struct rpc_call *call)
{
    struct download *download = state;

    end_as(call, download->request->outcome);
}

static void download_open(void *service UNUSED, struct rpc_call *call,
                          const ProtobufCMessage *message)
{
    static const struct producer_source source = {download_next, download_send, download_end};
    const Stoa__Test__V1__DownloadRequest *request =
        (const Stoa__Test__V1__DownloadRequest *)message;
    struct download *download = arena_calloc(rpc_call_arena(call), 1, sizeof(*download));
    struct producer *producer;

    if (!begin(call, request->outcome))
        return;
    producer = download ? producer_new(call, &source, download) : NULL;
    if (!producer) {
        refuse(call, RPC_RESOURCE_EXHAUSTED, STR("no memory"));
        return;
    }
    download->request = request;
    download->text = str_of(request->text);
    download->rounds = request->repeat;
    producer_lock(producer);
    producer_unlock(producer);
}

const struct rpc_stream_handler echo_download = {
    .open = download_open, .drained = producer_drained, .closed = producer_closed};

/* ---- Chat and ChatRaw ---- */

static void chat_open(void *service UNUSED, struct rpc_call *call,
                      const ProtobufCMessage *request UNUSED)
{
    (void)begin(call, NULL);
}

static void chat_half_close(void *service UNUSED, struct rpc_call *call)
{
    rpc_stream_finish(call, NULL);
}

/* The queue has room, for a paced stream: what fails has ended already. */
static void send_back(struct rpc_call *call, const ProtobufCMessage *message)
{
    static const struct rpc_error full = {.code = RPC_RESOURCE_EXHAUSTED,
                                          .message = {"the queue is full", 17}};

    if (rpc_stream_send(call, message) == -ENOBUFS)
        rpc_stream_cancel(call, &full);
}

static void chat_message(void *service UNUSED, struct rpc_call *call,
                         const ProtobufCMessage *message)
{
    const Stoa__Test__V1__ChatRequest *request = (const Stoa__Test__V1__ChatRequest *)message;
    Stoa__Test__V1__ChatResponse response = STOA__TEST__V1__CHAT_RESPONSE__INIT;
    long code = 0;

    if (strncmp(request->message, "fail ", 5) == 0)
        code = strtol(request->message + 5, NULL, 10);
    if (code > 0) {
        rpc_fail(call, (enum rpc_code)code, "as you wish");
        return;
    }
    if (strcmp(request->message, "bye") == 0) {
        rpc_stream_finish(call, NULL);
        return;
    }
    response.message = request->message;
    response.number = request->number;
    response.data = request->data;
    response.extra = request->extra;
    send_back(call, &response.base);
}

const struct rpc_stream_handler echo_chat = {
    .open = chat_open, .message = chat_message, .half_close = chat_half_close, .paced = true};

static void chat_raw_message(void *service UNUSED, struct rpc_call *call,
                             const ProtobufCMessage *message)
{
    send_back(call, message);
}

const struct rpc_stream_handler echo_chat_raw = {
    .open = chat_open, .message = chat_raw_message, .half_close = chat_half_close, .paced = true};

/* ---- Collect ---- */

static void collect_open(void *service UNUSED, struct rpc_call *call,
                         const ProtobufCMessage *request UNUSED)
{
    Stoa__Test__V1__CollectResponse *sum = arena_alloc(rpc_call_arena(call), sizeof(*sum));

    if (!sum) {
        refuse(call, RPC_RESOURCE_EXHAUSTED, STR("no memory"));
        return;
    }
    stoa__test__v1__collect_response__init(sum);
    rpc_call_set_context(call, sum);
    (void)begin(call, NULL);
}

static void collect_message(void *service UNUSED, struct rpc_call *call,
                            const ProtobufCMessage *message)
{
    const Stoa__Test__V1__CollectRequest *request = (const Stoa__Test__V1__CollectRequest *)message;
    Stoa__Test__V1__CollectResponse *sum = rpc_call_context(call);

    sum->messages++;
    sum->bytes += (int64_t)(strlen(request->message) + request->data.len);
}

static void collect_half_close(void *service UNUSED, struct rpc_call *call)
{
    rpc_reply(call, &((Stoa__Test__V1__CollectResponse *)rpc_call_context(call))->base);
}

const struct rpc_stream_handler echo_collect = {
    .open = collect_open, .message = collect_message, .half_close = collect_half_close};

/* ---- Room ---- */

static void room_open(void *service UNUSED, struct rpc_call *call,
                      const ProtobufCMessage *request UNUSED)
{
    refuse(call, RPC_UNIMPLEMENTED, STR("only in an Attach"));
}

/* Of a stream that has been refused. */
static void room_message(void *service UNUSED, struct rpc_call *call UNUSED,
                         const ProtobufCMessage *message UNUSED)
{
}

const struct rpc_stream_handler echo_room = {.open = room_open, .message = room_message};
