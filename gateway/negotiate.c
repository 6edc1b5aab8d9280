/* What the client says of its own body and of the answer that it takes: Content-Type,
 * Content-Encoding, Accept. All lines of a header count, as if they were one list. */
#include "grpc_json.h"
#include "http/media.h"

unsigned grpc_json_accepts(ngx_http_request_t *r, struct str type)
{
    struct str accept;
    unsigned lines;

    /* Without memory the answer, whatever its type, will find none either. */
    if (grpc_json_client_header(r, STR("accept"), &accept, &lines) != NGX_OK || lines == 0)
        return 1000;
    return media_accepts(accept, type);
}

/* JSON in UTF-8 (RFC 8259 section 8.1), said once or not at all. */
static bool is_json(ngx_http_request_t *r)
{
    struct grpc_json_lines at = grpc_json_client_lines(r);
    struct str line, another;
    struct media_type type;

    if (!grpc_json_next_line(&at, STR("content-type"), &line))
        return true;
    if (grpc_json_next_line(&at, STR("content-type"), &another))
        return false;
    if (str_is_blank(line))
        return true;
    return media_type_read(line, &type) == 0 && str_eq_nocase(type.name, STR("application/json")) &&
           (type.charset.n == 0 || str_eq_nocase(type.charset, STR("utf-8")));
}

/* Nothing here unpacks bodies. */
static bool is_plain(ngx_http_request_t *r)
{
    struct grpc_json_lines at = grpc_json_client_lines(r);
    struct str line;

    while (grpc_json_next_line(&at, STR("content-encoding"), &line)) {
        if (!str_is_blank(line) && !str_eq_nocase(line, STR("identity")))
            return false;
    }
    return true;
}

/* What would have been taken is told by a header, too (RFC 9110 section 15.5.16). */
ngx_int_t grpc_json_check_body_type(ngx_http_request_t *r, struct grpc_json_ctx *ctx, bool raw,
                                    struct problem *problem)
{
    if (!is_plain(r)) {
        ngx_str_set(&ctx->answer.accept_encoding, "identity");
        problem_init(problem, NGX_HTTP_UNSUPPORTED_MEDIA_TYPE);
        problem_add(problem, STR("contentEncoding"), STR("must be identity"));
        return NGX_DECLINED;
    }
    if (!raw && !is_json(r)) {
        ngx_str_set(&ctx->answer.accept, "application/json");
        problem_init(problem, NGX_HTTP_UNSUPPORTED_MEDIA_TYPE);
        problem_add(problem, STR("contentType"), STR("must be application/json in UTF-8"));
        return NGX_DECLINED;
    }
    return NGX_OK;
}
