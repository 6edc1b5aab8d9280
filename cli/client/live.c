#include "live.h"

#include <errno.h>
#include <stdlib.h>
#include <sys/eventfd.h>
#include <unistd.h>

int live_init(struct live *l)
{
    *l = (struct live){.wake_fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK)};
    l->last = &l->first;
    if (l->wake_fd < 0)
        return -errno;
    return -pthread_mutex_init(&l->lock, NULL);
}

static void push(struct live *l, struct live_item *item)
{
    uint64_t one = 1;

    pthread_mutex_lock(&l->lock);
    *l->last = item;
    l->last = &item->next;
    pthread_mutex_unlock(&l->lock);
    (void)!write(l->wake_fd, &one, sizeof(one)); /* full: it is awake */
}

/* The reader. */
static void *receive_all(void *data)
{
    struct live *l = data;
    bool ended = false;

    while (!ended) {
        struct live_item *item = must_have(calloc(1, sizeof(*item)));
        int err;

        arena_init(&item->arena, 0);
        err = rpc_client_receive(l->stream, -1, &item->arena, &item->answer);
        if (err == -ENOMEM)
            must_have(NULL);
        item->is_end = ended = err == -EPIPE;
        push(l, item);
    }
    return NULL;
}

int live_start(struct live *l, struct rpc_client *client, struct str token)
{
    char header[8192];
    struct rpc_pair metadata = {STR("authorization"), {header, 0}};
    const struct rpc_request request = {
        .service = &stoa__chat__v1__live_service__descriptor,
        .method = "Connect",
        .metadata = &metadata,
        .n_metadata = 1,
    };
    int n = snprintf(header, sizeof(header), "Bearer %.*s", STR_FMT(token)), err;

    if (n < 0 || (size_t)n >= sizeof(header))
        return -EMSGSIZE;
    metadata.value.n = (size_t)n;
    err = rpc_client_open(client, &request, &l->stream);
    explicit_bzero(header, sizeof(header));
    if (err)
        return err;
    err = -pthread_create(&l->thread, NULL, receive_all, l);
    if (err) {
        rpc_client_close(l->stream);
        l->stream = NULL;
    }
    return err;
}

void live_stop(struct live *l)
{
    struct live_item *item;

    if (!l->stream)
        return;
    rpc_client_cancel(l->stream);
    pthread_join(l->thread, NULL);
    rpc_client_close(l->stream);
    l->stream = NULL;
    while ((item = live_next(l)))
        live_item_free(item);
}

void live_free(struct live *l)
{
    live_stop(l);
    close(l->wake_fd);
    pthread_mutex_destroy(&l->lock);
}

struct live_item *live_next(struct live *l)
{
    struct live_item *item;
    uint64_t count;

    pthread_mutex_lock(&l->lock);
    item = l->first;
    if (item)
        l->first = item->next;
    if (!l->first) {
        l->last = &l->first;
        (void)!read(l->wake_fd, &count, sizeof(count)); /* under the lock: nothing is missed */
    }
    pthread_mutex_unlock(&l->lock);
    return item;
}

void live_item_free(struct live_item *item)
{
    arena_free(&item->arena);
    free(item);
}

int live_send(struct live *l, const Stoa__Chat__V1__ConnectRequest *request)
{
    return l->stream ? rpc_client_send(l->stream, &request->base) : -EPIPE;
}
