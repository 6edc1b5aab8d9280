/* From wire bytes to a checked message, and back. Runs on poller threads (decoding) and on any
 * thread (packing). */
#include "grpc/internal.h"

#include <assert.h>
#include <errno.h>
#include <stdlib.h>

/* ---- reading ---- */

int message_contiguous(const grpc_byte_buffer *buffer, struct arena *arena, struct str *ret)
{
    const grpc_slice_buffer *slices = &buffer->data.raw.slice_buffer;
    char *p, *at;

    if (slices->count == 1) {
        *ret = slice_str(&slices->slices[0]);
        return 0;
    }
    p = at = arena_alloc(arena, slices->length);
    if (!p)
        return -ENOMEM;
    for (size_t i = 0; i < slices->count; i++) {
        struct str piece = slice_str(&slices->slices[i]);
        if (piece.n)
            memcpy(at, piece.p, piece.n);
        at += piece.n;
    }
    *ret = (struct str){p, slices->length};
    return 0;
}

/* protobuf-c's view of an arena. */
static void *arena_allocator_alloc(void *arena, size_t n)
{
    return arena_alloc(arena, n);
}

static void arena_allocator_free(void *arena UNUSED, void *p UNUSED)
{
}

ProtobufCAllocator arena_allocator(struct arena *arena)
{
    return (ProtobufCAllocator){arena_allocator_alloc, arena_allocator_free, arena};
}

static int malformed(struct arena *arena, const struct schema_fault *fault, struct rpc_error *error)
{
    *error = (struct rpc_error){
        .code = RPC_INVALID_ARGUMENT,
        .reason = "MALFORMED_MESSAGE",
        .message = fault->path.n ? arena_printf(arena, "%.*s %.*s", STR_FMT(fault->path),
                                                STR_FMT(fault->message))
                                 : fault->message,
    };
    if (fault->path.n) {
        struct schema_fault *copy = arena_alloc(arena, sizeof(*copy));
        if (copy) {
            *copy = *fault;
            error->violations = copy;
            error->n_violations = 1;
        }
    }
    return -EBADMSG;
}

int message_invalid(struct arena *arena, const struct schema_fault *faults, size_t n,
                    struct rpc_error *error)
{
    struct str first = faults[0].path.n ? arena_printf(arena, "%.*s %.*s", STR_FMT(faults[0].path),
                                                       STR_FMT(faults[0].message))
                                        : faults[0].message;

    *error = (struct rpc_error){
        .code = RPC_INVALID_ARGUMENT,
        .reason = "INVALID_FIELDS",
        .message =
            n > 1 ? arena_printf(arena, "%.*s (and %zu more)", STR_FMT(first), n - 1) : first,
        .violations = faults,
        .n_violations = n,
    };
    return -EDOM;
}

static int too_much_memory(struct rpc_error *error)
{
    *error = (struct rpc_error){
        .code = RPC_RESOURCE_EXHAUSTED,
        .message = STR("the message needs too much memory"),
    };
    return -EBADMSG;
}

int message_decode_bytes(const struct rpc_method *method, struct str bytes, struct arena *arena,
                         const ProtobufCMessage **ret, struct rpc_error *ret_error)
{
    ProtobufCAllocator allocator = arena_allocator(arena);
    struct schema_fault fault = {STR_NULL, STR_NULL}, *faults = NULL;
    const struct schema_message *type = method->schema->input;
    ProtobufCMessage *message;
    int n = schema_clean_wire(type, bytes, arena, &bytes, &fault);

    if (n == -EBADMSG)
        return malformed(arena, &fault, ret_error);
    if (n < 0)
        return too_much_memory(ret_error);
    message =
        protobuf_c_message_unpack(method->input, &allocator, bytes.n, (const uint8_t *)bytes.p);
    if (!message) /* the bytes were checked: only memory can fail */
        return too_much_memory(ret_error);
    n = schema_validate(type, message, arena, &faults);
    if (n < 0)
        return too_much_memory(ret_error);
    *ret = message;
    return n > 0 ? message_invalid(arena, faults, (size_t)n, ret_error) : 0;
}

int message_decode(struct rpc_call *call, struct arena *arena, const ProtobufCMessage **ret,
                   struct rpc_error *ret_error)
{
    struct str bytes;
    int r;

    if (call->carried)
        return message_decode_bytes(call->method, call->carried->request, arena, ret, ret_error);
    r = message_contiguous(call->incoming, arena, &bytes);

    r = r < 0 ? too_much_memory(ret_error)
              : message_decode_bytes(call->method, bytes, arena, ret, ret_error);
    grpc_byte_buffer_destroy(call->incoming);
    call->incoming = NULL;
    return r;
}

/* ---- writing ---- */

static struct rpc_packed *packed_of(grpc_slice bytes)
{
    struct rpc_packed *packed = malloc(sizeof(*packed));

    if (!packed) {
        grpc_slice_unref(bytes);
        return NULL;
    }
    atomic_init(&packed->refs, 1);
    packed->bytes = bytes;
    return packed;
}

struct rpc_packed *rpc_pack(const ProtobufCMessage *message)
{
    return packed_of(message_pack(message));
}

struct rpc_packed *rpc_packed_copy(struct str bytes)
{
    return packed_of(grpc_slice_from_copied_buffer(bytes.n ? bytes.p : "", bytes.n));
}

struct rpc_packed *rpc_packed_take(struct buf *bytes)
{
    struct buf taken = *bytes;

    buf_init(bytes, taken.max);
    if (!taken.failed)
        return packed_of(grpc_slice_new(taken.p, taken.n, free));
    buf_free(&taken);
    return NULL;
}

struct rpc_packed *rpc_error_details(const struct rpc_error *error)
{
    struct rpc_status status;
    struct rpc_packed *packed = NULL;

    status_make(&status, error);
    if (GRPC_SLICE_LENGTH(status.details) > 0)
        packed = packed_of(grpc_slice_ref(status.details));
    status_free(&status);
    return packed;
}

struct rpc_packed *rpc_packed_ref(struct rpc_packed *packed)
{
    atomic_fetch_add_explicit(&packed->refs, 1, memory_order_relaxed);
    return packed;
}

void rpc_packed_unref(struct rpc_packed *packed)
{
    if (!packed || atomic_fetch_sub_explicit(&packed->refs, 1, memory_order_acq_rel) > 1)
        return;
    grpc_slice_unref(packed->bytes);
    free(packed);
}

struct str rpc_packed_bytes(const struct rpc_packed *packed)
{
    return slice_str(&packed->bytes);
}

grpc_slice message_pack(const ProtobufCMessage *message)
{
    size_t size = protobuf_c_message_get_packed_size(message);
    grpc_slice slice = grpc_slice_malloc(size);
    size_t written = protobuf_c_message_pack(message, GRPC_SLICE_START_PTR(slice));

    assert(written == size);
    return slice;
}
