/* What the gateway's module asks of nginx and of lib/base, with places that fail (faults.h). nginx
 * takes most of its memory from pools and lib/base from blocks that it keeps, so that a failing
 * malloc alone would reach few of the callers. The linker leads their calls here (--wrap, in the
 * Makefile); without faults.c beside it nothing ever fails. */
#include <ngx_config.h>
#include <ngx_core.h>
#include <ngx_event.h>
#include <ngx_http.h>

#include "base/arena.h"
#include "base/buf.h"

bool stoa_fault(void) __attribute__((weak));
void stoa_fault_begin(void) __attribute__((weak));

__attribute__((constructor)) static void begin(void)
{
    if (stoa_fault_begin)
        stoa_fault_begin();
}

static bool due(void)
{
    return stoa_fault && stoa_fault();
}

/* clang-format off */
#define WRAP(type, failure, name, parameters, arguments) \
    type __real_##name parameters;                       \
    type __wrap_##name parameters;                       \
    type __wrap_##name parameters                        \
    {                                                    \
        return due() ? (failure) : __real_##name arguments; \
    }

/* ---- nginx's pools ---- */

WRAP(void *, NULL, ngx_palloc, (ngx_pool_t *pool, size_t n), (pool, n))
WRAP(void *, NULL, ngx_pnalloc, (ngx_pool_t *pool, size_t n), (pool, n))
WRAP(void *, NULL, ngx_pcalloc, (ngx_pool_t *pool, size_t n), (pool, n))
WRAP(ngx_pool_cleanup_t *, NULL, ngx_pool_cleanup_add, (ngx_pool_t *pool, size_t n), (pool, n))
WRAP(ngx_http_cleanup_t *, NULL, ngx_http_cleanup_add, (ngx_http_request_t *r, size_t n), (r, n))
WRAP(ngx_array_t *, NULL, ngx_array_create, (ngx_pool_t *pool, ngx_uint_t n, size_t size), (pool, n, size))
WRAP(void *, NULL, ngx_array_push, (ngx_array_t *array), (array))
WRAP(void *, NULL, ngx_list_push, (ngx_list_t *list), (list))
WRAP(ngx_chain_t *, NULL, ngx_alloc_chain_link, (ngx_pool_t *pool), (pool))
WRAP(ngx_buf_t *, NULL, ngx_create_temp_buf, (ngx_pool_t *pool, size_t n), (pool, n))
WRAP(void *, NULL, ngx_slab_alloc, (ngx_slab_pool_t *pool, size_t n), (pool, n))
WRAP(void *, NULL, ngx_slab_calloc, (ngx_slab_pool_t *pool, size_t n), (pool, n))

/* ---- what nginx does with memory of its own ---- */

WRAP(ngx_int_t, NGX_ERROR, ngx_http_complex_value,
     (ngx_http_request_t *r, ngx_http_complex_value_t *value, ngx_str_t *ret), (r, value, ret))
WRAP(ngx_int_t, NGX_ERROR, ngx_http_subrequest,
     (ngx_http_request_t *r, ngx_str_t *uri, ngx_str_t *args, ngx_http_request_t **ret,
      ngx_http_post_subrequest_t *ended, ngx_uint_t flags), (r, uri, args, ret, ended, flags))
WRAP(ngx_connection_t *, NULL, ngx_get_connection, (ngx_socket_t s, ngx_log_t *log), (s, log))
WRAP(ngx_int_t, NGX_ERROR, ngx_event_connect_peer, (ngx_peer_connection_t *pc), (pc))
WRAP(ngx_int_t, NGX_ERROR, ngx_handle_read_event, (ngx_event_t *event, ngx_uint_t flags), (event, flags))
WRAP(ngx_int_t, NGX_ERROR, ngx_handle_write_event, (ngx_event_t *event, size_t low), (event, low))

/* What is given a place in the queue needs no memory for one. */
ngx_int_t __real_ngx_http_post_request(ngx_http_request_t *r, ngx_http_posted_request_t *posted);
ngx_int_t __wrap_ngx_http_post_request(ngx_http_request_t *r, ngx_http_posted_request_t *posted);
ngx_int_t __wrap_ngx_http_post_request(ngx_http_request_t *r, ngx_http_posted_request_t *posted)
{
    return !posted && due() ? NGX_ERROR : __real_ngx_http_post_request(r, posted);
}

/* ---- lib/base ---- */

WRAP(void *, NULL, arena_alloc, (struct arena *a, size_t n), (a, n))
WRAP(void *, NULL, arena_calloc, (struct arena *a, size_t count, size_t size), (a, count, size))
WRAP(struct str, STR_NULL, arena_copy, (struct arena *a, struct str s), (a, s))

static char *fail_buf(struct buf *b)
{
    b->failed = b->no_memory = true;
    return NULL;
}

/* The room that was last reserved. */
static const struct buf *roomy;
static size_t roomy_to;

/* An append to a buffer that has failed, or into room that is there, asks for nothing. */
static bool buf_due(const struct buf *b, size_t n)
{
    if (b->failed || (b == roomy && b->n + n <= roomy_to))
        return false;
    return due();
}

#define WRAP_APPEND(name, size, parameters, arguments) \
    void __real_##name parameters;                     \
    void __wrap_##name parameters;                     \
    void __wrap_##name parameters                      \
    {                                                  \
        if (buf_due(b, size))                          \
            fail_buf(b);                               \
        else                                           \
            __real_##name arguments;                   \
    }

WRAP_APPEND(buf_append, n, (struct buf *b, const void *p, size_t n), (b, p, n))
WRAP_APPEND(buf_append_str, s.n, (struct buf *b, struct str s), (b, s))
/* clang-format on */

char *__real_buf_reserve(struct buf *b, size_t n);
char *__wrap_buf_reserve(struct buf *b, size_t n);
char *__wrap_buf_reserve(struct buf *b, size_t n)
{
    char *to = buf_due(b, n) ? fail_buf(b) : __real_buf_reserve(b, n);

    if (to) {
        roomy = b;
        roomy_to = b->n + n;
    }
    return to;
}

/* These two are written again: what has "..." cannot be handed on. */

struct str __wrap_arena_printf(struct arena *a, const char *fmt, ...);
struct str __wrap_arena_printf(struct arena *a, const char *fmt, ...)
{
    va_list ap;
    char text[4096];
    int n;

    va_start(ap, fmt);
    n = vsnprintf(text, sizeof(text), fmt, ap);
    va_end(ap);
    if (n < 0 || (size_t)n >= sizeof(text))
        abort();
    return due() ? STR_NULL : __real_arena_copy(a, (struct str){text, (size_t)n});
}

void __wrap_buf_printf(struct buf *b, const char *fmt, ...);
void __wrap_buf_printf(struct buf *b, const char *fmt, ...)
{
    va_list ap;
    char text[4096];
    int n;

    va_start(ap, fmt);
    n = vsnprintf(text, sizeof(text), fmt, ap);
    va_end(ap);
    if (n < 0 || (size_t)n >= sizeof(text))
        abort();
    __wrap_buf_append(b, text, (size_t)n);
}
