/* The details of an error, as a client decodes them. */
#ifndef STOA_TESTS_RPC_DETAILS_H
#define STOA_TESTS_RPC_DETAILS_H

#include "rpc_fixture.h"

#include "google/rpc/error_details.pb-c.h"
#include "google/rpc/status.pb-c.h"

struct answer_details {
    Google__Rpc__Status *status;
    Google__Rpc__BadRequest *bad_request;
    Google__Rpc__ErrorInfo *error_info;
    Google__Rpc__ResourceInfo *resource_info;
    Google__Rpc__RetryInfo *retry_info;
};

static void *unpack_any(const Google__Protobuf__Any *any, const ProtobufCMessageDescriptor *type)
{
    char url[128];

    snprintf(url, sizeof(url), "type.googleapis.com/%s", type->name);
    if (strcmp(any->type_url, url) != 0)
        return NULL;
    return protobuf_c_message_unpack(type, NULL, any->value.len, any->value.data);
}

static UNUSED struct answer_details details_of(const struct client_call *call)
{
    struct str bytes = client_find(&call->trailers, "grpc-status-details-bin");
    struct answer_details d = {NULL};

    assert_non_null(bytes.p);
    d.status = google__rpc__status__unpack(NULL, bytes.n, (const uint8_t *)bytes.p);
    assert_non_null(d.status);
    for (size_t i = 0; i < d.status->n_details; i++) {
        const Google__Protobuf__Any *any = d.status->details[i];
        void *p;
        if ((p = unpack_any(any, &google__rpc__bad_request__descriptor)))
            d.bad_request = p;
        else if ((p = unpack_any(any, &google__rpc__error_info__descriptor)))
            d.error_info = p;
        else if ((p = unpack_any(any, &google__rpc__resource_info__descriptor)))
            d.resource_info = p;
        else if ((p = unpack_any(any, &google__rpc__retry_info__descriptor)))
            d.retry_info = p;
        else
            fail_msg("unknown detail %s", any->type_url);
    }
    return d;
}

static UNUSED void free_details(struct answer_details *d)
{
    google__rpc__status__free_unpacked(d->status, NULL);
    google__rpc__bad_request__free_unpacked(d->bad_request, NULL);
    google__rpc__error_info__free_unpacked(d->error_info, NULL);
    google__rpc__resource_info__free_unpacked(d->resource_info, NULL);
    google__rpc__retry_info__free_unpacked(d->retry_info, NULL);
}

#endif
