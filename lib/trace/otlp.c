/* Spans as OTLP has them, with the attributes of OpenTelemetry's semantic conventions for HTTP, RPC
 * and database spans (https://opentelemetry.io/docs/specs/semconv/). */
#include "trace/internal.h"

#include "base/hex.h"
#include "base/version.h"
#include "opentelemetry/proto/collector/trace/v1/trace_service.pb-c.h"

#define MAX_ATTRIBUTES 5

typedef Opentelemetry__Proto__Common__V1__AnyValue any_value;
typedef Opentelemetry__Proto__Common__V1__KeyValue key_value;
typedef Opentelemetry__Proto__Trace__V1__Span otlp_span;
typedef Opentelemetry__Proto__Trace__V1__Status otlp_status;
typedef Opentelemetry__Proto__Trace__V1__ScopeSpans scope_spans;
typedef Opentelemetry__Proto__Trace__V1__ResourceSpans resource_spans;
typedef Opentelemetry__Proto__Resource__V1__Resource resource;

/* ---- attributes ---- */

struct attributes {
    struct arena *arena;
    size_t n;
    bool failed;
    key_value *items[MAX_ATTRIBUTES];
};

/* The value of a new attribute; NULL without memory, which is remembered. */
static any_value *add(struct attributes *to, const char *key)
{
    struct {
        key_value pair;
        any_value value;
    } *made = arena_alloc(to->arena, sizeof(*made));

    if (!made) {
        to->failed = true;
        return NULL;
    }
    opentelemetry__proto__common__v1__key_value__init(&made->pair);
    opentelemetry__proto__common__v1__any_value__init(&made->value);
    made->pair.key = (char *)key;
    made->pair.value = &made->value;
    to->items[to->n++] = &made->pair;
    return &made->value;
}

static void add_text(struct attributes *to, const char *key, struct str text)
{
    struct str copy = arena_copy(to->arena, text); /* NUL-terminated */
    any_value *value = copy.p ? add(to, key) : NULL;

    if (!value) {
        to->failed = true;
        return;
    }
    value->value_case = OPENTELEMETRY__PROTO__COMMON__V1__ANY_VALUE__VALUE_STRING_VALUE;
    value->string_value = (char *)copy.p;
}

static void add_number(struct attributes *to, const char *key, int64_t number)
{
    any_value *value = add(to, key);

    if (!value)
        return;
    value->value_case = OPENTELEMETRY__PROTO__COMMON__V1__ANY_VALUE__VALUE_INT_VALUE;
    value->int_value = number;
}

static key_value **finish(const struct attributes *attributes, size_t *ret_n)
{
    key_value **items = attributes->failed
                            ? NULL
                            : arena_calloc(attributes->arena, MAX_ATTRIBUTES, sizeof(key_value *));

    if (items)
        memcpy(items, attributes->items, attributes->n * sizeof(key_value *));
    *ret_n = items ? attributes->n : 0;
    return items;
}

/* ---- a span ---- */

/* "/package.Service/Method" without its first slash. */
static struct str rpc_name(struct str path)
{
    return str_skip(path, path.n > 0 && path.p[0] == '/');
}

static void describe(const struct kept_span *span, struct attributes *to)
{
    struct str name = {span->name, span->name_size}, detail = {span->detail, span->detail_size};
    const char *slash;

    switch (span->kind) {
    case TRACE_HTTP:
        add_text(to, "http.request.method", detail);
        add_text(to, "http.route", str_skip(name, detail.n + 1));
        add_number(to, "http.response.status_code", span->code);
        return;
    case TRACE_RPC:
        name = rpc_name(name);
        slash = name.n ? memchr(name.p, '/', name.n) : NULL;
        add_text(to, "rpc.system", STR("grpc"));
        if (slash) {
            add_text(to, "rpc.service", (struct str){name.p, (size_t)(slash - name.p)});
            add_text(to, "rpc.method", str_skip(name, (size_t)(slash - name.p) + 1));
        }
        add_number(to, "rpc.grpc.status_code", span->code);
        return;
    case TRACE_SQL:
        add_text(to, "db.system.name", STR("postgresql"));
        add_text(to, "db.query.summary", name);
        if (span->code > 1)
            add_number(to, "db.operation.batch.size", span->code);
        if (detail.n > 0)
            add_text(to, "db.response.status_code", detail);
        return;
    }
}

static ProtobufCBinaryData id_bytes(const char *hex, size_t n, struct arena *arena)
{
    uint8_t *bytes = arena_alloc(arena, n / 2);

    for (size_t i = 0; bytes && i < n / 2; i++)
        bytes[i] =
            (uint8_t)((unsigned)hex_value(hex[2 * i]) << 4 | (unsigned)hex_value(hex[2 * i + 1]));
    return (ProtobufCBinaryData){bytes ? n / 2 : 0, bytes};
}

static otlp_span *make_span(const struct kept_span *from, struct arena *arena)
{
    struct attributes attributes = {.arena = arena};
    struct str name = {from->name, from->name_size};
    struct {
        otlp_span span;
        otlp_status status;
    } *made = arena_alloc(arena, sizeof(*made));

    if (!made)
        return NULL;
    opentelemetry__proto__trace__v1__span__init(&made->span);
    opentelemetry__proto__trace__v1__status__init(&made->status);
    name = arena_copy(arena, from->kind == TRACE_RPC ? rpc_name(name) : name);
    made->span.name = (char *)name.p;
    made->span.trace_id = id_bytes(from->trace.id, TRACE_ID_SIZE, arena);
    made->span.span_id = id_bytes(from->trace.span, TRACE_SPAN_SIZE, arena);
    if (from->trace.has_parent)
        made->span.parent_span_id = id_bytes(from->trace.parent, TRACE_SPAN_SIZE, arena);
    made->span.kind = from->kind == TRACE_SQL
                          ? OPENTELEMETRY__PROTO__TRACE__V1__SPAN__SPAN_KIND__SPAN_KIND_CLIENT
                          : OPENTELEMETRY__PROTO__TRACE__V1__SPAN__SPAN_KIND__SPAN_KIND_SERVER;
    made->span.start_time_unix_nano = (uint64_t)from->begun_us * NSEC_PER_USEC;
    made->span.end_time_unix_nano = (uint64_t)from->end_us * NSEC_PER_USEC;
    made->span.flags = from->trace.sampled;
    if (from->failed) {
        made->status.code = OPENTELEMETRY__PROTO__TRACE__V1__STATUS__STATUS_CODE__STATUS_CODE_ERROR;
        made->span.status = &made->status;
    }
    describe(from, &attributes);
    made->span.attributes = finish(&attributes, &made->span.n_attributes);
    if (!name.p || !made->span.trace_id.data || !made->span.span_id.data ||
        (from->trace.has_parent && !made->span.parent_span_id.data) || !made->span.attributes)
        return NULL;
    return &made->span;
}

/* ---- the message ---- */

/* What a request is made of, but for its spans. */
struct parts {
    trace_export_request request;
    resource_spans of_resource, *of_resources[1];
    resource resource;
    scope_spans of_scope, *of_scopes[1];
};

static bool describe_resource(resource *to, const char *service, const char *instance,
                              struct arena *arena)
{
    struct attributes attributes = {.arena = arena};

    add_text(&attributes, "service.namespace", STR("stoa"));
    add_text(&attributes, "service.name", str_of(service));
    add_text(&attributes, "service.version", STR(STOA_VERSION));
    add_text(&attributes, "service.instance.id", str_of(instance));
    to->attributes = finish(&attributes, &to->n_attributes);
    return to->attributes != NULL;
}

const trace_export_request *export_request(const char *service, const char *instance,
                                           const struct kept_span *spans, size_t n,
                                           struct arena *arena)
{
    struct parts *parts = arena_alloc(arena, sizeof(*parts));
    otlp_span **made = arena_calloc(arena, n, sizeof(otlp_span *));

    if (!parts || !made)
        return NULL;
    opentelemetry__proto__collector__trace__v1__export_trace_service_request__init(&parts->request);
    opentelemetry__proto__trace__v1__resource_spans__init(&parts->of_resource);
    opentelemetry__proto__resource__v1__resource__init(&parts->resource);
    opentelemetry__proto__trace__v1__scope_spans__init(&parts->of_scope);
    for (size_t i = 0; i < n; i++) {
        made[i] = make_span(&spans[i], arena);
        if (!made[i])
            return NULL;
    }
    if (!describe_resource(&parts->resource, service, instance, arena))
        return NULL;
    parts->of_scope.n_spans = n;
    parts->of_scope.spans = made;
    parts->of_scopes[0] = &parts->of_scope;
    parts->of_resource.resource = &parts->resource;
    parts->of_resource.n_scope_spans = 1;
    parts->of_resource.scope_spans = parts->of_scopes;
    parts->of_resources[0] = &parts->of_resource;
    parts->request.n_resource_spans = 1;
    parts->request.resource_spans = parts->of_resources;
    return &parts->request;
}
