/* Random bytes for ids. The kernel's, taken a page at a time: nginx's own $request_id asks OpenSSL
 * for sixteen bytes a request, which costs the worker more than routing and JSON do. Only workers
 * come here, after they were forked, so no two share a page. */
#include "grpc_json.h"

#include <errno.h>
#include <sys/random.h>

#define PAGE 4096

static u_char page[PAGE];
static size_t left; /* bytes at the end of the page that nobody has had */

static ngx_int_t fill(void)
{
    size_t have = 0;

    while (have < PAGE) {
        ssize_t n = getrandom(page + have, PAGE - have, 0);

        if (n < 0 && errno == EINTR)
            continue;
        if (n <= 0)
            return NGX_ERROR;
        have += (size_t)n;
    }
    left = PAGE;
    return NGX_OK;
}

ngx_int_t grpc_json_random(u_char *to, size_t n)
{
    if (n > PAGE || (left < n && fill() != NGX_OK))
        return NGX_ERROR;
    ngx_memcpy(to, page + PAGE - left, n);
    left -= n;
    return NGX_OK;
}
