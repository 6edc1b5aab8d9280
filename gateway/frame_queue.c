#include "frame_queue.h"

#include <stdlib.h>

#define FIRST_RING 8

static size_t memory;

size_t frame_memory(void)
{
    return memory;
}

struct frame *frame_new(enum websocket_opcode opcode, unsigned flags, struct str payload)
{
    char header[WEBSOCKET_HEADER_MAX];
    size_t n = websocket_header(header, opcode, flags, payload.n);
    struct frame *frame;

    if (payload.n > WEBSOCKET_MESSAGE_MAX)
        return NULL;
    frame = malloc(sizeof(*frame) + n + payload.n);
    if (!frame)
        return NULL;
    frame->refs = 1;
    frame->n = (uint32_t)(n + payload.n);
    memory += frame->n;
    memcpy(frame->bytes, header, n);
    if (payload.n)
        memcpy(frame->bytes + n, payload.p, payload.n);
    return frame;
}

struct frame *frame_new_close(unsigned code, struct str reason)
{
    struct frame *frame = malloc(sizeof(*frame) + WEBSOCKET_CONTROL_FRAME_MAX);

    if (!frame)
        return NULL;
    frame->refs = 1;
    frame->n = (uint32_t)websocket_close_frame(frame->bytes, code, reason);
    memory += frame->n;
    return frame;
}

static size_t waiting;

size_t frame_queue_waiting(void)
{
    return waiting;
}

void frame_release(struct frame *frame)
{
    if (frame && --frame->refs == 0) {
        memory -= frame->n;
        free(frame);
    }
}

static struct frame **slot(const struct frame_queue *queue, uint32_t i)
{
    return &queue->ring[(queue->head + i) & (queue->cap - 1)];
}

static bool grow(struct frame_queue *queue)
{
    uint32_t cap = queue->cap ? queue->cap * 2 : FIRST_RING;
    struct frame **ring = malloc(cap * sizeof(struct frame *));

    if (!ring)
        return false;
    for (uint32_t i = 0; i < queue->count; i++)
        ring[i] = *slot(queue, i);
    free(queue->ring);
    queue->ring = ring;
    queue->head = 0;
    queue->cap = cap;
    return true;
}

bool frame_queue_push(struct frame_queue *queue, struct frame *frame)
{
    if (queue->count == queue->cap && !grow(queue))
        return false;
    frame->refs++;
    *slot(queue, queue->count++) = frame;
    queue->bytes += frame->n;
    waiting += frame->n;
    return true;
}

struct str frame_queue_peek(const struct frame_queue *queue, char *room, size_t size)
{
    const struct frame *first;
    size_t n;

    if (queue->count == 0)
        return STR("");
    first = *slot(queue, 0);
    n = first->n - queue->at;
    /* Whether it is one frame or several, the answer must be the same while none has gone. */
    if (n >= size)
        return (struct str){first->bytes + queue->at, size};
    memcpy(room, first->bytes + queue->at, n);
    for (uint32_t i = 1; i < queue->count && n < size; i++) {
        const struct frame *next = *slot(queue, i);
        size_t part = next->n < size - n ? next->n : size - n;

        memcpy(room + n, next->bytes, part);
        n += part;
    }
    return (struct str){room, n};
}

void frame_queue_take(struct frame_queue *queue, size_t n)
{
    queue->bytes -= n;
    waiting -= n;
    while (n) {
        struct frame *first = *slot(queue, 0);
        size_t left = first->n - queue->at;

        if (n < left) {
            queue->at += (uint32_t)n;
            return;
        }
        n -= left;
        queue->at = 0;
        frame_release(first);
        queue->head = (queue->head + 1) & (queue->cap - 1);
        queue->count--;
    }
    if (queue->count == 0)
        frame_queue_clear(queue);
}

void frame_queue_trim(struct frame_queue *queue)
{
    uint32_t kept = queue->at ? 1 : 0;

    while (queue->count > kept) {
        struct frame *last = *slot(queue, --queue->count);

        queue->bytes -= last->n;
        waiting -= last->n;
        frame_release(last);
    }
    if (queue->count == 0)
        frame_queue_clear(queue);
}

void frame_queue_clear(struct frame_queue *queue)
{
    for (uint32_t i = 0; i < queue->count; i++)
        frame_release(*slot(queue, i));
    waiting -= queue->bytes;
    free(queue->ring);
    *queue = (struct frame_queue){0};
}
