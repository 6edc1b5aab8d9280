/* Scratch memory of a worker. A worker is one thread, and nobody keeps scratch memory over a return
 * to the event loop, so one arena and one buffer serve all requests in turn. */
#include "grpc_json.h"

#define SCRATCH_MAX (64 << 20)
#define SCRATCH_KEPT (1 << 20) /* a buffer larger than this is given back */

static struct arena arena = {.max = SCRATCH_MAX};
static struct buf buf;

struct arena *grpc_json_scratch(void)
{
    arena_reset(&arena);
    return &arena;
}

struct buf *grpc_json_scratch_buf(size_t max)
{
    if (buf.cap > SCRATCH_KEPT)
        buf_free(&buf);
    buf.n = 0;
    buf.failed = buf.no_memory = false;
    buf.max = max > buf.cap ? max : buf.cap;
    return &buf;
}

ngx_str_t grpc_json_copy(ngx_http_request_t *r, struct str s)
{
    ngx_str_t copy = {s.n, ngx_pnalloc(r->pool, s.n ? s.n : 1)};

    if (!copy.data)
        copy.len = 0;
    else if (s.n)
        ngx_memcpy(copy.data, s.p, s.n);
    return copy;
}

void grpc_json_free_scratch(ngx_cycle_t *cycle)
{
    (void)cycle;
    arena_free(&arena);
    buf_free(&buf);
}
