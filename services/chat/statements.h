/* Every SQL statement of chat, by name. */
#ifndef STOA_CHAT_STATEMENTS_H
#define STOA_CHAT_STATEMENTS_H

#include "pg/db.h"

enum chat_statement {
    CREATE_ROOM,
    GET_ROOM,
    LIST_ROOMS,
    SEND_MESSAGE,
    LIST_MESSAGES_AFTER,
    LIST_MESSAGES_BEFORE,
    PURGE_ACCOUNT,
    CHAT_STATEMENTS
};

extern const struct db_statement chat_statements[CHAT_STATEMENTS];

/* The columns of a room. */
enum room_column {
    ROOM_ID,
    ROOM_NAME,
    ROOM_DESCRIPTION,
    ROOM_LAST_SEQ,
    ROOM_CREATED_AT,
};

/* The columns of a message, all NULL when there is none; the author's are NULL when that is gone.
 * In lists the room's last_seq follows. */
enum message_column {
    MESSAGE_SEQ,
    MESSAGE_TEXT,
    MESSAGE_CLIENT_ID,
    MESSAGE_CREATED_AT,
    MESSAGE_AUTHOR_USERNAME,
    MESSAGE_AUTHOR_IMAGE,
    MESSAGES_LAST_SEQ,
};

/* The longest page. The statements count on it. */
#define CHAT_MAX_PAGE 100

#endif
