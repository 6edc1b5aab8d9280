/* What clients of live rooms are told, encoded. Pure; each returns NULL without memory. */
#ifndef STOA_CHAT_LIVE_PARTS_H
#define STOA_CHAT_LIVE_PARTS_H

#include "chat.h"

/* Parts of a ConnectResponse alone. */
struct rpc_packed *part_welcome(int64_t expires_us);
struct rpc_packed *part_resumed(void);
struct rpc_packed *part_ack(const char *id, int64_t room, int64_t seq);
struct rpc_packed *part_error(const char *id, int64_t room, const struct rpc_error *error);

/* Parts that a SubscribeResponse has too, with the same bytes. */
struct rpc_packed *part_event(int64_t room, Stoa__Chat__V1__Event *event);
struct rpc_packed *part_live(int64_t room, int64_t seq);
struct rpc_packed *part_reset(int64_t room, int64_t last_seq);
struct rpc_packed *part_read(int64_t room, Stoa__Chat__V1__Author *account, int64_t seq);
struct rpc_packed *part_gone(int64_t room, Stoa__Chat__V1__GoneReason reason);

struct rpc_packed *part_typing(int64_t room, Stoa__Chat__V1__Author **accounts, size_t n,
                               int32_t count);
struct rpc_packed *part_presence(int64_t room, int64_t online, Stoa__Chat__V1__Author **came,
                                 size_t n_came, Stoa__Chat__V1__Author **went, size_t n_went);

/* The event of a message as it was sent, for everybody. */
struct rpc_packed *part_message(int64_t room, const Stoa__Chat__V1__Message *message);

/* A part_event() that shows a message, with that message as it is now. */
struct rpc_packed *part_event_again(struct str bytes, const Stoa__Chat__V1__Message *message);

/* Of a part that another instance may have sent. */
#define PART_BYTES_MAX ((size_t)64 << 10)

/* Whether bytes that somebody has put into Redis are a part_message() of the room with this seq,
 * and can be shown as they are. Their strings are not looked at: schema_check_wire() does that. */
bool part_is_message(struct str bytes, int64_t room, int64_t seq, int64_t *ret_created_us);
/* The same for a part_read(). */
bool part_is_read(struct str bytes, int64_t room);

/* A time of the contract in microseconds since the epoch; 0: NULL. */
int64_t part_time_us(const Google__Protobuf__Timestamp *time);

#endif
