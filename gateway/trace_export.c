/* The gateway's spans, to an OpenTelemetry collector: each worker records its own, and sends what
 * it has once a second, by OTLP on a stream of its shared connections (h2.h). Requests wait for
 * nothing of it. What a collector does not take is lost, and one line a minute says so. */
#include "grpc_json.h"
#include "h2.h"
#include "opentelemetry/proto/collector/trace/v1/trace_service.pb-c.h"
#include "trace/trace.h"

#include <errno.h>

#define EXPORT_PATH "/opentelemetry.proto.collector.trace.v1.TraceService/Export"
#define EVERY 1000 /* ms */
#define CALL_TIMEOUT 10000
#define RESPONSE_LIMIT (64 << 10)
#define REQUEST_LIMIT ((size_t)4 << 20)
#define LOG_EVERY 60000

struct grpc_json_trace_export {
    ngx_http_upstream_srv_conf_t *upstream;
    unsigned one_in;
};

/* Of this worker. */
static struct {
    const struct grpc_json_trace_export *conf;
    struct trace_recorder *recorder; /* NULL: nothing is recorded */
    ngx_event_t timer;
    struct grpc_h2_stream *call; /* the export on its way; NULL: none */
    size_t sent;                 /* spans in it */
    size_t lost;                 /* since it was last logged */
    ngx_msec_t logged;
    bool has_logged;
} worker;

/* ---- exporting ---- */

static void lost(size_t n, struct str cause)
{
    worker.lost += n;
    if (worker.has_logged && ngx_current_msec - worker.logged < LOG_EVERY)
        return;
    ngx_log_error(NGX_LOG_WARN, ngx_cycle->log, 0, "%uz spans were not exported: %*s", worker.lost,
                  cause.n, cause.p);
    worker.has_logged = true;
    worker.logged = ngx_current_msec;
    worker.lost = 0;
}

static void go_on(void)
{
    struct trace_stats stats;

    trace_stats(worker.recorder, &stats);
    if (worker.call)
        return; /* its end goes on */
    if (stats.waiting >= TRACE_BATCH) {
        ngx_add_timer(&worker.timer, 1);
    } else if (stats.waiting > 0 && !worker.timer.timer_set) {
        ngx_add_timer(&worker.timer, EVERY);
    }
}

static void on_opened(void *data)
{
    (void)data;
}

static bool on_message(void *data, struct str message)
{
    Opentelemetry__Proto__Collector__Trace__V1__ExportTraceServiceResponse *response;

    (void)data;
    response = opentelemetry__proto__collector__trace__v1__export_trace_service_response__unpack(
        NULL, message.n, (const uint8_t *)message.p);
    if (response && response->partial_success && response->partial_success->rejected_spans > 0)
        lost((size_t)response->partial_success->rejected_spans,
             str_of(response->partial_success->error_message));
    if (response)
        protobuf_c_message_free_unpacked(&response->base, NULL);
    return true;
}

static void on_writable(void *data)
{
    (void)data;
}

static void on_ended(void *data, const struct grpc_h2_end *end)
{
    (void)data;
    worker.call = NULL;
    if (end->status != 0)
        lost(worker.sent,
             end->message.n ? end->message : STR("the collector could not be reached"));
    go_on();
}

static const struct grpc_h2_callbacks callbacks = {
    .opened = on_opened,
    .message = on_message,
    .writable = on_writable,
    .ended = on_ended,
};

/* The request's bytes; {NULL, 0} without memory. */
static struct str pack(const trace_export_request *request, struct arena *arena)
{
    size_t n = protobuf_c_message_get_packed_size(&request->base);
    uint8_t *bytes = arena_alloc(arena, n);

    return bytes ? (struct str){(char *)bytes, protobuf_c_message_pack(&request->base, bytes)}
                 : STR_NULL;
}

static bool send_request(struct str bytes)
{
    worker.call = grpc_h2_open(worker.conf->upstream, STR(EXPORT_PATH), NULL, 0, CALL_TIMEOUT,
                               RESPONSE_LIMIT, &callbacks, NULL, ngx_cycle->log);
    if (!worker.call)
        return false;
    if (grpc_h2_send(worker.call, bytes) == NGX_ERROR) {
        grpc_h2_cancel(worker.call);
        worker.call = NULL;
        return false;
    }
    grpc_h2_half_close(worker.call);
    return true;
}

static void on_timer(ngx_event_t *event)
{
    struct arena arena;
    const trace_export_request *request;
    struct str bytes;
    int n;

    (void)event;
    arena_init(&arena, REQUEST_LIMIT);
    n = trace_take(worker.recorder, &arena, &request);
    if (n > 0) {
        worker.sent = (size_t)n;
        bytes = pack(request, &arena);
        if (!bytes.p || !send_request(bytes))
            lost((size_t)n, STR("out of memory"));
    }
    arena_free(&arena);
    go_on();
}

/* ---- recording ---- */

/* The way that a request took, without what clients choose: "GET /api/articles/{slug}". */
static struct str name_of(ngx_http_request_t *r, const struct grpc_json_ctx *ctx, u_char *room,
                          size_t size, struct str *ret_method)
{
    struct schema_binding_description binding = {.path = STR_NULL};
    u_char *end;

    if (ctx->routed && !ctx->route_error)
        schema_binding_describe(ctx->match.binding, &binding);
    end = ngx_snprintf(room, size, "%V %*s", &r->method_name, binding.path.n,
                       binding.path.n ? binding.path.p : "");
    *ret_method = (struct str){(char *)room, ngx_min(r->method_name.len, size)};
    return (struct str){(char *)room, (size_t)(end - room)};
}

/* LOG phase. */
static ngx_int_t record(ngx_http_request_t *r)
{
    struct grpc_json_conf *location = ngx_http_get_module_loc_conf(r, ngx_http_grpc_json_module);
    ngx_uint_t status = r->err_status ? r->err_status : r->headers_out.status;
    u_char room[TRACE_NAME_MAX];
    struct trace_span span;
    struct grpc_json_ctx *ctx;

    if (!worker.recorder || r != r->main || !location->enabled || !location->trace)
        return NGX_OK;
    ctx = grpc_json_ctx(r);
    if (!ctx || grpc_json_start_trace(r, ctx) != NGX_OK || !ctx->trace.context.sampled)
        return NGX_OK;
    span = (struct trace_span){
        .trace = &ctx->trace.context,
        .kind = TRACE_HTTP,
        .code = (int)status,
        .failed = status >= NGX_HTTP_INTERNAL_SERVER_ERROR,
        .begun_us = (int64_t)r->start_sec * 1000000 + (int64_t)r->start_msec * 1000,
        .end_us = clock_realtime_us(),
    };
    span.name = name_of(r, ctx, room, sizeof(room), &span.detail);
    trace_record(worker.recorder, &span);
    go_on();
    return NGX_OK;
}

bool grpc_json_trace_sampled(ngx_http_request_t *r, const struct trace_context *trace)
{
    struct grpc_json_main_conf *conf = ngx_http_get_module_main_conf(r, ngx_http_grpc_json_module);

    return !conf->trace_export || trace_is_chosen(trace, conf->trace_export->one_in);
}

/* ---- configuration and workers ---- */

/* nginx wants these without const. */
static char is_duplicate[] = "is duplicate";
static char wants[] = "wants a collector's address and one_in=NUMBER";

/* COLLECTOR one_in=NUMBER: an address, or the name of an upstream. */
char *grpc_json_trace_export_set(ngx_conf_t *cf, ngx_command_t *command, void *data)
{
    struct grpc_json_main_conf *conf = data;
    ngx_str_t *args = cf->args->elts;
    ngx_url_t url = {.url = args[1], .no_resolve = 1};
    struct str number = grpc_json_str(args[2]);
    ngx_int_t one_in;

    (void)command;
    if (conf->trace_export)
        return is_duplicate;
    if (!str_starts(number, STR("one_in=")))
        return wants;
    number = str_skip(number, sizeof("one_in=") - 1);
    one_in = ngx_atoi((u_char *)number.p, number.n);
    if (one_in == NGX_ERROR || one_in > 1000000000)
        return wants;
    conf->trace_export = ngx_pcalloc(cf->pool, sizeof(*conf->trace_export));
    if (!conf->trace_export)
        return NGX_CONF_ERROR;
    conf->trace_export->one_in = (unsigned)one_in;
    conf->trace_export->upstream = ngx_http_upstream_add(cf, &url, 0);
    return conf->trace_export->upstream ? NGX_CONF_OK : NGX_CONF_ERROR;
}

ngx_int_t grpc_json_trace_export_install(ngx_conf_t *cf)
{
    ngx_http_core_main_conf_t *core = ngx_http_conf_get_module_main_conf(cf, ngx_http_core_module);
    struct grpc_json_main_conf *conf =
        ngx_http_conf_get_module_main_conf(cf, ngx_http_grpc_json_module);
    ngx_http_handler_pt *handler;

    if (!conf->trace_export)
        return NGX_OK;
    handler = ngx_array_push(&core->phases[NGX_HTTP_LOG_PHASE].handlers);
    if (!handler)
        return NGX_ERROR;
    *handler = record;
    return NGX_OK;
}

ngx_int_t grpc_json_trace_export_start(ngx_cycle_t *cycle)
{
    struct grpc_json_main_conf *conf =
        ngx_http_cycle_get_module_main_conf(cycle, ngx_http_grpc_json_module);
    const struct trace_recorder_options options = {.service = "gateway"};

    if (!conf || !conf->trace_export ||
        (ngx_process != NGX_PROCESS_WORKER && ngx_process != NGX_PROCESS_SINGLE))
        return NGX_OK;
    worker.conf = conf->trace_export;
    worker.timer.handler = on_timer;
    worker.timer.data = &worker;
    worker.timer.log = cycle->log;
    return trace_recorder_new(&options, &worker.recorder) < 0 ? NGX_ERROR : NGX_OK;
}

void grpc_json_trace_export_exit(void)
{
    trace_recorder_free(worker.recorder);
    worker.recorder = NULL;
}
