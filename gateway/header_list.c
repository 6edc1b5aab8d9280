/* nginx's lists of headers: finding the lines of a name, and adding one to an answer. */
#include "grpc_json.h"

struct grpc_json_lines grpc_json_lines(const ngx_list_t *list)
{
    return (struct grpc_json_lines){&list->part, 0};
}

struct grpc_json_lines grpc_json_client_lines(ngx_http_request_t *r)
{
    return grpc_json_lines(&r->headers_in.headers);
}

const ngx_table_elt_t *grpc_json_next_header_line(struct grpc_json_lines *at)
{
    while (at->part && at->next == at->part->nelts) {
        at->part = at->part->next;
        at->next = 0;
    }
    return at->part ? (const ngx_table_elt_t *)at->part->elts + at->next++ : NULL;
}

bool grpc_json_next_line(struct grpc_json_lines *at, struct str name, struct str *ret)
{
    const ngx_table_elt_t *line;

    while ((line = grpc_json_next_header_line(at)) != NULL) {
        if (str_eq((struct str){(char *)line->lowcase_key, line->key.len}, name)) {
            *ret = grpc_json_str(line->value);
            return true;
        }
    }
    return false;
}

struct str grpc_json_request_header(ngx_http_request_t *r, struct str name)
{
    struct grpc_json_lines at = grpc_json_client_lines(r);
    struct str line;

    return grpc_json_next_line(&at, name, &line) ? line : STR_NULL;
}

/* In memory of one piece: a client may send thousands of lines. */
static ngx_int_t join(ngx_http_request_t *r, struct str name, size_t size, struct str *ret)
{
    struct grpc_json_lines at = grpc_json_client_lines(r);
    u_char *start = ngx_pnalloc(r->pool, size), *end = start;
    struct str line;

    if (!start)
        return NGX_ERROR;
    while (grpc_json_next_line(&at, name, &line)) {
        if (end > start)
            end = ngx_cpymem(end, ", ", 2);
        end = ngx_cpymem(end, line.p, line.n);
    }
    *ret = (struct str){(char *)start, (size_t)(end - start)};
    return NGX_OK;
}

ngx_int_t grpc_json_client_header(ngx_http_request_t *r, struct str name, struct str *ret,
                                  unsigned *ret_lines)
{
    struct grpc_json_lines at = grpc_json_client_lines(r);
    struct str line;
    size_t size = 0;

    *ret = STR_NULL;
    *ret_lines = 0;
    while (grpc_json_next_line(&at, name, &line)) {
        if (++*ret_lines == 1)
            *ret = line;
        size += line.n + 2;
    }
    return *ret_lines > 1 ? join(r, name, size, ret) : NGX_OK;
}

ngx_table_elt_t *grpc_json_push_header(ngx_http_request_t *r, const char *name, ngx_str_t value)
{
    ngx_table_elt_t *h = ngx_list_push(&r->headers_out.headers);

    if (!h)
        return NULL;
    ngx_memzero(h, sizeof(*h));
    h->hash = 1;
    h->key.data = (u_char *)(uintptr_t)name;
    h->key.len = ngx_strlen(name);
    h->value = value;
    return h;
}
