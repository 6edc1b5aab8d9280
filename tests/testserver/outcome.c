/* Chosen ends: metadata, statuses with details, waiting times. */
#include "testserver.h"

#include "google/rpc/status.pb-c.h"

#include <errno.h>

#define MAX_DELAY_US INT64_C(60000000)

int64_t duration_us(const Google__Protobuf__Duration *duration)
{
    if (!duration || duration->seconds < 0 || duration->nanos < 0)
        return 0;
    if (duration->seconds >= MAX_DELAY_US / 1000000)
        return MAX_DELAY_US;
    return duration->seconds * 1000000 + duration->nanos / 1000;
}

static int add(struct rpc_call *call, const Stoa__Test__V1__Metadata *metadata, bool trailer)
{
    struct str name = str_of(metadata->name), value = STR("");

    if (metadata->value_case == STOA__TEST__V1__METADATA__VALUE_TEXT)
        value = str_of(metadata->text);
    else if (metadata->value_case == STOA__TEST__V1__METADATA__VALUE_DATA)
        value = (struct str){(const char *)metadata->data.data, metadata->data.len};
    return trailer ? rpc_call_add_trailer(call, name, value)
                   : rpc_call_add_header(call, name, value);
}

static int add_all(struct rpc_call *call, Stoa__Test__V1__Metadata *const *list, size_t n,
                   bool trailer)
{
    int r = 0;

    for (size_t i = 0; i < n && r == 0; i++)
        r = add(call, list[i], trailer);
    return r;
}

int outcome_metadata(struct rpc_call *call, const Stoa__Test__V1__Outcome *outcome,
                     struct rpc_error *ret_error)
{
    struct str initial = rpc_call_metadata(call, "x-grpc-test-echo-initial");
    struct str trailing = rpc_call_metadata(call, "x-grpc-test-echo-trailing-bin");
    int r = 0;

    if (initial.p)
        r = rpc_call_add_header(call, STR("x-grpc-test-echo-initial"), initial);
    if (r == 0 && trailing.p)
        r = rpc_call_add_trailer(call, STR("x-grpc-test-echo-trailing-bin"), trailing);
    if (r == 0 && outcome)
        r = add_all(call, outcome->headers, outcome->n_headers, false);
    if (r == 0 && outcome)
        r = add_all(call, outcome->trailers, outcome->n_trailers, true);
    if (r < 0)
        *ret_error = (struct rpc_error){
            .code = RPC_INVALID_ARGUMENT,
            .message = STR("a name or value is not metadata, or there are too many"),
        };
    return r;
}

/* What lib/grpc does for the errors it knows: the whole status, as a trailer. */
static int add_details(struct rpc_call *call, const Google__Rpc__Status *status)
{
    size_t size = google__rpc__status__get_packed_size(status);
    uint8_t *bytes = arena_alloc(rpc_call_arena(call), size);

    if (!bytes)
        return -ENOMEM;
    google__rpc__status__pack(status, bytes);
    return rpc_call_add_trailer(call, STR("grpc-status-details-bin"),
                                (struct str){(const char *)bytes, size});
}

bool outcome_error(struct rpc_call *call, const Stoa__Test__V1__Outcome *outcome,
                   struct rpc_error *ret_error)
{
    const Google__Rpc__Status *status = outcome ? outcome->status : NULL;

    if (!status || status->code == 0)
        return false;
    *ret_error =
        (struct rpc_error){.code = (enum rpc_code)status->code, .message = str_of(status->message)};
    if (status->n_details > 0 && add_details(call, status) < 0)
        *ret_error = (struct rpc_error){.code = RPC_INVALID_ARGUMENT,
                                        .message = STR("there is no room for the details")};
    return true;
}
