/* Errors as the caller gets them: a code, one sentence, and google.rpc.Status in
 * grpc-status-details-bin (https://google.aip.dev/193). Any thread. */
#include "google/protobuf/any.pb-c.h"
#include "google/rpc/error_details.pb-c.h"
#include "google/rpc/status.pb-c.h"
#include "grpc/internal.h"

#include <assert.h>
#include <stdio.h>

#define ERROR_DOMAIN "stoa"

/* Clients refuse more than 8 KiB of trailers, and base64 adds a third: the details get what is left
 * over beside the message, and no single text takes it all. */
#define MAX_VIOLATIONS_BYTES 3072
#define MAX_TEXT_BYTES 512

#define MAX_DETAILS 4

struct details {
    struct arena arena;
    Google__Protobuf__Any *items[MAX_DETAILS];
    size_t n;
};

/* At most max bytes of s, cut between characters. */
static struct str cut(struct str s, size_t max)
{
    if (s.n > max) {
        s.n = max;
        while (s.n > 0 && ((unsigned char)s.p[s.n] & 0xc0) == 0x80)
            s.n--;
    }
    return s;
}

/* A NUL-terminated copy for protobuf-c; empty when memory is used up. */
static char *text(struct arena *arena, struct str s)
{
    struct str copy = arena_copy(arena, cut(s, MAX_TEXT_BYTES));

    return copy.p ? (char *)copy.p : (char *)protobuf_c_empty_string;
}

static void pack_detail(struct details *details, const ProtobufCMessage *message)
{
    Google__Protobuf__Any *any = arena_alloc(&details->arena, sizeof(*any));
    size_t size = protobuf_c_message_get_packed_size(message);
    uint8_t *bytes = arena_alloc(&details->arena, size);
    struct str url =
        arena_printf(&details->arena, "type.googleapis.com/%s", message->descriptor->name);

    if (!any || !bytes || !url.p)
        return; /* the code and the sentence still arrive */
    google__protobuf__any__init(any);
    any->type_url = (char *)url.p;
    any->value.len = protobuf_c_message_pack(message, bytes);
    any->value.data = bytes;
    assert(details->n < MAX_DETAILS);
    details->items[details->n++] = any;
}

static void add_error_info(struct details *details, const char *reason)
{
    Google__Rpc__ErrorInfo info = GOOGLE__RPC__ERROR_INFO__INIT;

    info.reason = (char *)reason;
    info.domain = (char *)ERROR_DOMAIN;
    pack_detail(details, &info.base);
}

/* One violation of the list; false when it does not fit any more. */
static bool add_violation(struct details *details, Google__Rpc__BadRequest *bad,
                          const struct schema_fault *fault, size_t *room)
{
    Google__Rpc__BadRequest__FieldViolation *violation =
        arena_alloc(&details->arena, sizeof(*violation));
    size_t size;

    if (!violation)
        return false;
    google__rpc__bad_request__field_violation__init(violation);
    violation->field = text(&details->arena, fault->path);
    violation->description = text(&details->arena, fault->message);
    size = protobuf_c_message_get_packed_size(&violation->base) + 3;
    if (size > *room)
        return false;
    *room -= size;
    bad->field_violations[bad->n_field_violations++] = violation;
    return true;
}

static void add_bad_request(struct details *details, const struct rpc_error *error)
{
    Google__Rpc__BadRequest bad = GOOGLE__RPC__BAD_REQUEST__INIT;
    size_t room = MAX_VIOLATIONS_BYTES;

    bad.field_violations =
        arena_calloc(&details->arena, error->n_violations, sizeof(*bad.field_violations));
    if (!bad.field_violations)
        return;
    for (size_t i = 0; i < error->n_violations; i++)
        if (!add_violation(details, &bad, &error->violations[i], &room))
            break;
    pack_detail(details, &bad.base);
}

static void add_resource_info(struct details *details, const struct rpc_error *error)
{
    Google__Rpc__ResourceInfo info = GOOGLE__RPC__RESOURCE_INFO__INIT;

    info.resource_type = (char *)error->resource_type;
    info.resource_name = text(&details->arena, error->resource_name);
    if (error->resource_description)
        info.description = text(&details->arena, str_of(error->resource_description));
    pack_detail(details, &info.base);
}

static void add_retry_info(struct details *details, int64_t after_ms)
{
    Google__Rpc__RetryInfo info = GOOGLE__RPC__RETRY_INFO__INIT;
    Google__Protobuf__Duration delay = GOOGLE__PROTOBUF__DURATION__INIT;

    delay.seconds = after_ms / 1000;
    delay.nanos = (int32_t)(after_ms % 1000 * 1000000);
    info.retry_delay = &delay;
    pack_detail(details, &info.base);
}

static grpc_slice pack_status(struct details *details, const struct rpc_error *error)
{
    Google__Rpc__Status status = GOOGLE__RPC__STATUS__INIT;

    status.code = (int32_t)error->code;
    status.message = text(&details->arena, error->message);
    status.n_details = details->n;
    status.details = details->items;
    return message_pack(&status.base);
}

void status_make(struct rpc_status *status, const struct rpc_error *error)
{
    struct details details = {.n = 0};
    struct str message;

    *status = (struct rpc_status){
        .code = GRPC_STATUS_OK, .message = grpc_empty_slice(), .details = grpc_empty_slice()};
    if (!error)
        return;
    assert(error->code != RPC_OK);
    message = cut(error->message, MAX_TEXT_BYTES);
    status->code = (grpc_status_code)error->code;
    status->message = grpc_slice_from_copied_buffer(message.p ? message.p : "", message.n);
    arena_init(&details.arena, 0);
    if (error->reason)
        add_error_info(&details, error->reason);
    if (error->n_violations > 0)
        add_bad_request(&details, error);
    if (error->resource_type)
        add_resource_info(&details, error);
    if (error->retry_after_ms > 0)
        add_retry_info(&details, error->retry_after_ms);
    if (details.n > 0)
        status->details = pack_status(&details, error);
    arena_free(&details.arena);
}

void status_free(struct rpc_status *status)
{
    grpc_slice_unref(status->message);
    grpc_slice_unref(status->details);
    status->message = status->details = grpc_empty_slice();
}
