/* The OpenAPI document of the location's descriptor set. Made once, when the configuration is
 * loaded, so that a contract that cannot be described refuses the configuration and not a request.
 * Served from memory; nginx's own filters do conditional requests and compression. */
#include "openapi/openapi.h"
#include "grpc_json.h"

#include <ngx_md5.h>

#define MAX_DOCUMENT (16 << 20)

/* ---- directives ---- */

/* nginx wants these without const. */
static char is_duplicate[] = "is duplicate";
static char is_empty[] = "must not be empty";

static struct grpc_json_openapi *openapi_of(ngx_conf_t *cf, struct grpc_json_conf *conf)
{
    if (!conf->openapi)
        conf->openapi = ngx_pcalloc(cf->pool, sizeof(*conf->openapi));
    return conf->openapi;
}

/* TITLE VERSION: the location serves the document. */
char *grpc_json_set_openapi(ngx_conf_t *cf, ngx_command_t *command, void *data)
{
    ngx_http_core_loc_conf_t *core = ngx_http_conf_get_module_loc_conf(cf, ngx_http_core_module);
    struct grpc_json_openapi *o = openapi_of(cf, data);
    ngx_str_t *args = cf->args->elts;

    (void)command;
    if (!o)
        return NGX_CONF_ERROR;
    if (o->title.len)
        return is_duplicate;
    if (!args[1].len || !args[2].len)
        return is_empty;
    o->title = args[1];
    o->version = args[2];
    core->handler = grpc_json_openapi_handler;
    return NGX_CONF_OK;
}

char *grpc_json_set_openapi_description(ngx_conf_t *cf, ngx_command_t *command, void *data)
{
    struct grpc_json_openapi *o = openapi_of(cf, data);

    (void)command;
    if (!o)
        return NGX_CONF_ERROR;
    if (o->description.len)
        return is_duplicate;
    o->description = ((ngx_str_t *)cf->args->elts)[1];
    return NGX_CONF_OK;
}

char *grpc_json_set_openapi_server(ngx_conf_t *cf, ngx_command_t *command, void *data)
{
    struct grpc_json_openapi *o = openapi_of(cf, data);
    ngx_str_t *url;

    (void)command;
    if (o && !o->servers)
        o->servers = ngx_array_create(cf->pool, 2, sizeof(*url));
    url = o && o->servers ? ngx_array_push(o->servers) : NULL;
    if (!url)
        return NGX_CONF_ERROR;
    *url = ((ngx_str_t *)cf->args->elts)[1];
    return url->len ? NGX_CONF_OK : is_empty;
}

/* ---- when the configuration is loaded ---- */

/* A strong entity tag (RFC 9110 section 8.8.3) of the bytes. */
static ngx_int_t set_etag(ngx_conf_t *cf, struct grpc_json_openapi *o)
{
    u_char digest[16], *end;
    ngx_md5_t md5;

    o->etag.data = ngx_pnalloc(cf->pool, 2 * sizeof(digest) + 2);
    if (!o->etag.data)
        return NGX_ERROR;
    ngx_md5_init(&md5);
    ngx_md5_update(&md5, o->document.data, o->document.len);
    ngx_md5_final(digest, &md5);
    o->etag.data[0] = '"';
    end = ngx_hex_dump(o->etag.data + 1, digest, sizeof(digest));
    *end++ = '"';
    o->etag.len = (size_t)(end - o->etag.data);
    return NGX_OK;
}

static ngx_int_t keep(ngx_conf_t *cf, struct grpc_json_openapi *o, const struct buf *json)
{
    o->document.data = ngx_pnalloc(cf->pool, json->n);
    if (!o->document.data)
        return NGX_ERROR;
    ngx_memcpy(o->document.data, json->p, json->n);
    o->document.len = json->n;
    return set_etag(cf, o);
}

static ngx_int_t list_servers(ngx_conf_t *cf, const struct grpc_json_openapi *o,
                              struct openapi_options *options)
{
    const ngx_str_t *url = o->servers ? o->servers->elts : NULL;
    struct openapi_server *servers;

    if (!url)
        return NGX_OK;
    servers = ngx_pcalloc(cf->pool, o->servers->nelts * sizeof(*servers));
    if (!servers)
        return NGX_ERROR;
    for (ngx_uint_t i = 0; i < o->servers->nelts; i++)
        servers[i].url = grpc_json_str(url[i]);
    options->servers = servers;
    options->n_servers = o->servers->nelts;
    return NGX_OK;
}

ngx_int_t grpc_json_make_openapi(ngx_conf_t *cf, struct grpc_json_conf *conf)
{
    struct grpc_json_openapi *o = conf->openapi;
    struct openapi_options options = {
        .title = grpc_json_str(o->title),
        .version = grpc_json_str(o->version),
        .description = grpc_json_str(o->description),
        .print_unset = (conf->print & GRPC_JSON_PRINT_UNSET) != 0,
        .refuse_unknown = conf->refuse_unknown,
    };
    struct buf json;
    struct arena errors;
    struct str error = STR("out of memory");
    ngx_int_t rc = NGX_ERROR;

    if (!o->title.len) {
        ngx_conf_log_error(NGX_LOG_EMERG, cf, 0,
                           "the location has no \"grpc_json_openapi\" to say more about");
        return NGX_ERROR;
    }
    if (!conf->schema) {
        ngx_conf_log_error(NGX_LOG_EMERG, cf, 0,
                           "\"grpc_json_openapi\" needs a \"grpc_json_descriptor_set\"");
        return NGX_ERROR;
    }
    if (list_servers(cf, o, &options) != NGX_OK)
        return NGX_ERROR;
    buf_init(&json, MAX_DOCUMENT);
    arena_init(&errors, 0);
    if (openapi_write(conf->schema, &options, &json, &errors, &error) == 0)
        rc = keep(cf, o, &json);
    else
        ngx_conf_log_error(NGX_LOG_EMERG, cf, 0, "grpc_json_openapi: %*s", error.n, error.p);
    buf_free(&json);
    arena_free(&errors);
    return rc;
}

/* ---- a request ---- */

static ngx_int_t set_headers(ngx_http_request_t *r, const struct grpc_json_openapi *o)
{
    r->headers_out.etag = grpc_json_push_header(r, "ETag", o->etag);
    if (!r->headers_out.etag)
        return NGX_ERROR;
    r->headers_out.status = NGX_HTTP_OK;
    r->headers_out.content_length_n = (off_t)o->document.len;
    ngx_str_set(&r->headers_out.content_type, "application/json");
    r->headers_out.content_type_len = r->headers_out.content_type.len;
    return NGX_OK;
}

ngx_int_t grpc_json_openapi_handler(ngx_http_request_t *r)
{
    struct grpc_json_conf *conf = ngx_http_get_module_loc_conf(r, ngx_http_grpc_json_module);
    const struct grpc_json_openapi *o = conf->openapi;
    ngx_chain_t out = {0};
    ngx_int_t rc;

    if (!grpc_json_begin_document(r, &rc))
        return rc;
    if (set_headers(r, o) != NGX_OK)
        return NGX_HTTP_INTERNAL_SERVER_ERROR;
    rc = ngx_http_send_header(r);
    if (rc == NGX_ERROR || rc > NGX_OK || r->header_only)
        return rc;
    out.buf = ngx_calloc_buf(r->pool);
    if (!out.buf)
        return NGX_ERROR;
    out.buf->pos = out.buf->start = o->document.data;
    out.buf->last = out.buf->end = o->document.data + o->document.len;
    out.buf->memory = 1; /* of the configuration, not to be changed */
    out.buf->last_buf = 1;
    out.buf->last_in_chain = 1;
    return ngx_http_output_filter(r, &out);
}
