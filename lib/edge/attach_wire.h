/* The messages of stoa.edge.v1.EdgeService/Attach (proto/stoa/edge/v1/edge.proto), item by item,
 * without building objects: what the gateway writes and reads, and what a service writes. Pure
 * functions; any thread.
 */
#ifndef STOA_EDGE_ATTACH_WIRE_H
#define STOA_EDGE_ATTACH_WIRE_H

#include "schema/tables.h"

#define ATTACH_MESSAGE_MAX (64 << 10) /* of a session, each way, and of a broadcast */
#define ATTACH_REQUEST_MAX (4 << 20)  /* an AttachRequest */
#define ATTACH_RESPONSE_MAX (1 << 20) /* an AttachResponse */
#define ATTACH_STATE_MAX 4096         /* Down.resume_state */
#define ATTACH_CHANNELS_MAX 1024      /* of a session */
#define ATTACH_ITEM_OVERHEAD 32       /* what an item has beyond its message, at most */

/* Appends `beat` to either message, and looks for it in one. */
void attach_put_beat(struct buf *to);
bool attach_has_beat(struct str wire);

/* ---- up: appended to an AttachRequest ---- */

/* Field numbers of Up.what. */
enum attach_up {
    ATTACH_OPEN = 2,
    ATTACH_UP_MESSAGE = 3,
    ATTACH_HALF_CLOSE = 4,
    ATTACH_CLOSE = 5,
    ATTACH_DRAINED = 6,
};

/* Appends an item. value: the message, or the serialized one of that field. */
void attach_put_item(struct buf *to, uint64_t session, enum attach_up what, struct str value);

/* Append the parts of an Open. */
void attach_put_method(struct buf *to, struct str method);
void attach_put_metadata(struct buf *to, struct str name, struct str value);
void attach_put_resumed(struct buf *to, struct str state);
void attach_put_position(struct buf *to, uint64_t channel, int64_t seq);

/* ---- down ---- */

/* Field numbers of Down.what. */
enum attach_what {
    ATTACH_NOTHING = 0, /* of a newer contract */
    ATTACH_OPENED = 2,
    ATTACH_DOWN_MESSAGE = 3,
    ATTACH_END = 4,
    ATTACH_RESUME_STATE = 5,
    ATTACH_CHANNEL = 6,
    ATTACH_LEFT_CHANNEL = 7,
    ATTACH_BROADCAST = 8,
};

struct attach_down {
    uint64_t session;
    enum attach_what what;
    struct str bytes;   /* MESSAGE, BROADCAST, RESUME_STATE; END: its message */
    struct str details; /* END */
    uint64_t channel;   /* CHANNEL, LEFT_CHANNEL, BROADCAST */
    int64_t seq;        /* CHANNEL, BROADCAST */
    int32_t code;       /* END */
    bool live;          /* CHANNEL */
    bool tell_drained;
};

/* Appends an item to an AttachResponse. Of *down only what `what` has counts. */
void attach_put_down(struct buf *to, const struct attach_down *down);
/* The next item of an AttachResponse; strings are parts of it. Returns 1, 0 at the end, or
 * -EBADMSG. */
int attach_next(struct schema_reader *r, struct attach_down *ret) MUST_CHECK;
/* Whether all of an AttachResponse can be read. */
bool attach_is_whole(struct str wire);

#endif
