/* The RPCs of stoa.chat.v1.RoomService. */
#ifndef STOA_CHAT_ROOMS_H
#define STOA_CHAT_ROOMS_H

#include "service/service.h"
#include "statements.h"

#define CHAT_DEFAULT_PAGE 50

/* The page size that a request's page_size asks for; it is not negative, by the contract's rules.
 */
static inline int chat_page_size(int32_t asked)
{
    if (asked == 0)
        return CHAT_DEFAULT_PAGE;
    return asked > CHAT_MAX_PAGE ? CHAT_MAX_PAGE : asked;
}

/* NOT_FOUND for a room. */
void room_fail_not_found(struct rpc_call *call, int64_t room);

/* messages.c */
extern const struct rpc_handler send_message_handler, list_messages_handler;

/* Adds the service, with the handlers of messages.c, to the server of a service that starts. */
int rooms_register(struct service *service, struct str *ret_error) MUST_CHECK;

#endif
