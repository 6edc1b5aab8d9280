/* Frames on their way to clients. Free of nginx; a worker's one thread.
 *
 * A frame is made once, whole, and may wait in the queues of many sessions: a queue holds
 * references. An empty queue holds no memory.
 */
#ifndef STOA_GATEWAY_FRAME_QUEUE_H
#define STOA_GATEWAY_FRAME_QUEUE_H

#include "http/websocket.h"

struct frame {
    uint32_t refs;
    uint32_t n;
    char bytes[];
};

/* One reference, the caller's. flags: those of websocket_header(). NULL without memory, or when the
 * payload is larger than WEBSOCKET_MESSAGE_MAX. */
struct frame *frame_new(enum websocket_opcode opcode, unsigned flags, struct str payload);
struct frame *frame_new_close(unsigned code, struct str reason);
void frame_release(struct frame *frame);
/* Bytes of all frames that there are in this process: one that many wait for counts once. */
size_t frame_memory(void);

struct frame_queue {
    struct frame **ring;
    uint32_t head, count, cap; /* cap: a power of two, or 0 */
    uint32_t at;               /* bytes of the first frame that have gone */
    size_t bytes;              /* left, of all frames */
};

/* Bytes of all queues of this process. */
size_t frame_queue_waiting(void);

/* Takes a reference of its own. false without memory. */
bool frame_queue_push(struct frame_queue *queue, struct frame *frame) MUST_CHECK;
/* What goes next, in one piece: small frames are put together in room. Until it has gone, another
 * call gives the same bytes at the same place, or those and more behind them (TLS needs that).
 * Empty: nothing waits. */
struct str frame_queue_peek(const struct frame_queue *queue, char *room, size_t size);
/* n bytes of that have gone. */
void frame_queue_take(struct frame_queue *queue, size_t n);
/* Drops what has not begun to go. */
void frame_queue_trim(struct frame_queue *queue);
void frame_queue_clear(struct frame_queue *queue);

#endif
