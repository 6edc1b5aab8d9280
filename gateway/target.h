/* Where the calls of a location go: the upstream that grpc_json_pass and grpc_json_websocket name.
 * It has to be in the clear. */
#ifndef STOA_GATEWAY_TARGET_H
#define STOA_GATEWAY_TARGET_H

#include "h2.h"

/* Part of struct grpc_json_conf. Zeroed and with `enabled` unset when it begins. */
struct grpc_json_target {
    ngx_flag_t enabled;
    ngx_http_upstream_srv_conf_t *upstream; /* NULL: the name has variables */
    ngx_http_complex_value_t *name;         /* of an upstream of the configuration then */
};

/* A directive's set function, with the target at its offset: UPSTREAM or off. A name without
 * variables may be an address as well. */
char *grpc_json_target_set(ngx_conf_t *cf, ngx_command_t *command, void *data);
void grpc_json_target_merge(const struct grpc_json_target *prev, struct grpc_json_target *conf);

/* The upstream for this request; NULL when there is none of that name, as the log says then. */
ngx_http_upstream_srv_conf_t *grpc_json_target_find(ngx_http_request_t *r,
                                                    const struct grpc_json_target *target);

/* The upstream of the configuration that has this name; NULL: none, as the log says then. */
ngx_http_upstream_srv_conf_t *grpc_json_upstream_named(ngx_http_request_t *r, ngx_str_t name);

/* A list of ngx_table_elt_t, with names in lower case, as h2.h wants metadata: *ret_n of them in
 * the request's pool, nothing else copied. NULL without memory. */
struct grpc_h2_header *grpc_json_flatten(ngx_http_request_t *r, const ngx_list_t *list,
                                         size_t *ret_n);

#endif
