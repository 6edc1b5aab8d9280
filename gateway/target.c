#include "target.h"

#include "grpc_json.h"

/* nginx wants this without const. */
static char is_duplicate[] = "is duplicate";

char *grpc_json_target_set(ngx_conf_t *cf, ngx_command_t *command, void *data)
{
    struct grpc_json_target *target = (void *)((char *)data + command->offset);
    ngx_str_t *args = cf->args->elts;
    ngx_http_compile_complex_value_t compile = {.cf = cf, .value = &args[1]};
    ngx_url_t url = {.url = args[1], .uri_part = 1, .no_resolve = 1};

    if (target->enabled != NGX_CONF_UNSET)
        return is_duplicate;
    target->enabled = !str_eq(grpc_json_str(args[1]), STR("off"));
    if (!target->enabled)
        return NGX_CONF_OK;
    if (ngx_http_script_variables_count(&args[1])) {
        target->name = ngx_palloc(cf->pool, sizeof(*target->name));
        compile.complex_value = target->name;
        return target->name && ngx_http_compile_complex_value(&compile) == NGX_OK ? NGX_CONF_OK
                                                                                  : NGX_CONF_ERROR;
    }
    target->upstream = ngx_http_upstream_add(cf, &url, 0);
    return target->upstream ? NGX_CONF_OK : NGX_CONF_ERROR;
}

void grpc_json_target_merge(const struct grpc_json_target *prev, struct grpc_json_target *conf)
{
    if (conf->enabled == NGX_CONF_UNSET) {
        conf->upstream = prev->upstream;
        conf->name = prev->name;
    }
    ngx_conf_merge_value(conf->enabled, prev->enabled, 0);
}

ngx_http_upstream_srv_conf_t *grpc_json_upstream_named(ngx_http_request_t *r, ngx_str_t name)
{
    ngx_http_upstream_main_conf_t *all = ngx_http_get_module_main_conf(r, ngx_http_upstream_module);
    ngx_http_upstream_srv_conf_t **upstream = all->upstreams.elts;

    for (ngx_uint_t i = 0; i < all->upstreams.nelts; i++) {
        if (str_eq_nocase(grpc_json_str(upstream[i]->host), grpc_json_str(name)) &&
            upstream[i]->peer.data)
            return upstream[i];
    }
    ngx_log_error(NGX_LOG_ERR, r->connection->log, 0, "grpc_json: there is no upstream \"%V\"",
                  &name);
    return NULL;
}

ngx_http_upstream_srv_conf_t *grpc_json_target_find(ngx_http_request_t *r,
                                                    const struct grpc_json_target *target)
{
    ngx_str_t name;

    if (target->upstream)
        return target->upstream;
    if (ngx_http_complex_value(r, target->name, &name) != NGX_OK)
        return NULL;
    return grpc_json_upstream_named(r, name);
}

struct grpc_h2_header *grpc_json_flatten(ngx_http_request_t *r, const ngx_list_t *list,
                                         size_t *ret_n)
{
    struct grpc_h2_header *headers;
    size_t n = 0;

    for (const ngx_list_part_t *part = &list->part; part; part = part->next)
        n += part->nelts;
    headers = ngx_palloc(r->pool, (n + 1) * sizeof(*headers));
    *ret_n = 0;
    for (const ngx_list_part_t *part = &list->part; headers && part; part = part->next) {
        const ngx_table_elt_t *h = part->elts;

        for (ngx_uint_t i = 0; i < part->nelts; i++)
            headers[(*ret_n)++] = (struct grpc_h2_header){{(char *)h[i].lowcase_key, h[i].key.len},
                                                          grpc_json_str(h[i].value)};
    }
    return headers;
}
