/* Tells what goes on for long that the worker is asked to end (reload, quit). nginx knows only
 * connections: it closes idle ones then, so one that is nothing but idle serves as the bell. */
#include "grpc_json.h"

/* nginx passes over descriptor -1; no other is ever used on this one. */
#define NO_DESCRIPTOR ((ngx_socket_t)-2)

static ngx_queue_t hooks;
static ngx_connection_t *bell;

static void silence(void)
{
    if (!bell)
        return;
    bell->idle = 0;
    ngx_free_connection(bell);
    bell->fd = (ngx_socket_t)-1;
    bell = NULL;
}

static void ring(ngx_event_t *event)
{
    (void)event;
    silence();
    while (!ngx_queue_empty(&hooks)) {
        struct grpc_json_exit_hook *hook =
            ngx_queue_data(ngx_queue_head(&hooks), struct grpc_json_exit_hook, queue);

        grpc_json_exit_forget(hook);
        hook->handler(hook->data);
    }
}

ngx_int_t grpc_json_exit_start(ngx_cycle_t *cycle)
{
    ngx_queue_init(&hooks);
    if (ngx_process != NGX_PROCESS_WORKER && ngx_process != NGX_PROCESS_SINGLE)
        return NGX_OK;
    bell = ngx_get_connection(0, cycle->log);
    if (!bell)
        return NGX_ERROR;
    bell->fd = NO_DESCRIPTOR;
    bell->read->handler = ring;
    bell->read->log = cycle->log;
    bell->write->log = cycle->log;
    bell->idle = 1;
    return NGX_OK;
}

void grpc_json_exit_wait(struct grpc_json_exit_hook *hook)
{
    hook->waits = true;
    ngx_queue_insert_tail(&hooks, &hook->queue);
}

void grpc_json_exit_forget(struct grpc_json_exit_hook *hook)
{
    if (!hook->waits)
        return;
    hook->waits = false;
    ngx_queue_remove(&hook->queue);
}
