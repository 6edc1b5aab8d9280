#include "page.h"

#include "statements.h"

#include <errno.h>
#include <inttypes.h>

/* ---- a request's page ---- */

static int32_t at_most_a_page(int32_t n)
{
    return n > POSTS_MAX_PAGE ? POSTS_MAX_PAGE : n;
}

static bool fail_token(struct rpc_call *call, const char *why)
{
    service_fail_field(call, RPC_INVALID_ARGUMENT, "INVALID_FIELDS", "page_token", why);
    return false;
}

bool page_read(struct rpc_call *call, const struct page_request *request, struct page *page)
{
    struct str token = str_of(request->page_token);
    int r;

    page->offset = request->offset;
    page->after = (struct cursor){INT64_MAX, INT64_MAX};
    page->by_token = token.n > 0 || request->page_size > 0;
    if (!page->by_token) {
        page->size = page->rows =
            request->has_limit ? at_most_a_page(request->limit) : request->default_size;
        return true;
    }
    page->size =
        request->page_size > 0 ? at_most_a_page(request->page_size) : request->default_size;
    page->rows = page->size + 1;
    if (request->has_limit || request->offset > 0)
        return fail_token(call, "can't be combined with limit or offset");
    if (token.n == 0)
        return true;
    r = page_token_read(rpc_call_arena(call), page->list, token, &page->after);
    if (r == -ENOMEM) {
        service_fail_memory(call);
        return false;
    }
    return r == 0 || fail_token(call, "is not a token of this list");
}

/* ---- where the next one is ---- */

int page_next(struct arena *arena, const struct page *page, struct cursor last,
              struct page_next *ret)
{
    ret->token = page_token_make(arena, page->list, last);
    if (!ret->token.p)
        return -ENOMEM;
    /* Without a path the reference means the one of the request (RFC 3986 section 5.2.2). */
    ret->link = arena_printf(arena, "<?%.*spage_size=%" PRId32 "&page_token=%.*s>; rel=\"next\"",
                             STR_FMT(page->query), page->size, STR_FMT(ret->token));
    return ret->link.p ? 0 : -ENOMEM;
}

bool page_add_link(struct rpc_call *call, struct str link)
{
    if (rpc_call_add_header(call, STR("link"), link) == 0)
        return true;
    service_fail_memory(call);
    return false;
}

bool page_has_next(struct rpc_call *call, const struct page *page, struct cursor last,
                   struct str *ret_token)
{
    struct page_next next;

    if (page_next(rpc_call_arena(call), page, last, &next) < 0) {
        service_fail_memory(call);
        return false;
    }
    *ret_token = next.token;
    return page_add_link(call, next.link);
}

static bool is_unreserved(char c)
{
    return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') ||
           (c && strchr("-._~", c));
}

struct str page_query_add(struct arena *arena, struct str query, const char *name, struct str value)
{
    char *encoded = arena_alloc(arena, 3 * value.n + 1), *at = encoded;
    static const char digits[] = "0123456789ABCDEF";

    if (!encoded)
        return STR_NULL;
    for (size_t i = 0; i < value.n; i++) {
        unsigned char c = (unsigned char)value.p[i];

        if (is_unreserved(value.p[i])) {
            *at++ = value.p[i];
        } else {
            *at++ = '%';
            *at++ = digits[c >> 4];
            *at++ = digits[c & 15];
        }
    }
    return arena_printf(arena, "%.*s%s=%.*s&", STR_FMT(query), name, (int)(at - encoded), encoded);
}
