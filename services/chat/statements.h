/* Every SQL statement of chat, by name. */
#ifndef STOA_CHAT_STATEMENTS_H
#define STOA_CHAT_STATEMENTS_H

#include "pg/db.h"

enum chat_statement {
    CREATE_ROOM,
    OPEN_DIRECT_ROOM,
    UPDATE_ROOM,
    DELETE_ROOM,
    GET_ROOM,
    LIST_ROOMS,
    LIST_MY_ROOMS,
    JOIN_ROOM,
    LEAVE_ROOM,
    LIST_MEMBERS,
    INVITE_MEMBER,
    REMOVE_MEMBER,
    SET_MEMBER_ROLE,
    SEND_MESSAGE,
    SEND_MESSAGES,
    EDIT_MESSAGE,
    DELETE_MESSAGE,
    ADD_REACTION,
    REMOVE_REACTION,
    MARK_READ,
    LIST_MESSAGES_AFTER,
    LIST_MESSAGES_BEFORE,
    LIST_EVENTS,
    ROOM_EVENTS,
    ROOMS_AHEAD,
    DATABASE_IDENTITY,
    PROFILES,
    ROOM_PRESENCE,
    SEARCH_MESSAGES,
    LIMIT_SEARCH, /* service/turns.h */
    SWEEP_ROOM,
    LIMIT_ROOMS,
    PURGE_ROOM,
    PURGE_ACCOUNT,
    SORT_SEARCH_INDEX,
    CHAT_STATEMENTS
};

extern const struct db_statement chat_statements[CHAT_STATEMENTS];

/* What came of a change: text, outcomes.c; the first column of each statement that changes. */
#define OUTCOME 0

/* CREATE_ROOM, OPEN_DIRECT_ROOM: the room's id. */
#define OUTCOME_ROOM 1

/* GET_ROOM and the lists of rooms. */
enum room_column {
    ROOM_ID,
    ROOM_NAME,
    ROOM_DESCRIPTION,
    ROOM_LAST_SEQ,
    ROOM_CREATED_AT,
    ROOM_KIND,
    ROOM_MEMBER_COUNT,
    ROOM_ACTIVE_AT,
    ROOM_ROLE, /* as enum Role of the contract */
    ROOM_READ_SEQ,
    ROOM_UNREAD,
    ROOM_PEER_USERNAME,
    ROOM_PEER_IMAGE,
    ROOM_FIRST_SEQ,   /* of what is kept */
    ROOM_RETAIN_DAYS, /* 0: no limit */
    ROOM_RETAIN_MESSAGES,
};

/* LIST_MEMBERS; INVITE_MEMBER, SET_MEMBER_ROLE, which have the outcome first. A list begins with
 * whether the caller may read the room; then, if there is nobody to list, all is NULL. */
enum member_column {
    MEMBER_MAY_READ = OUTCOME,
    MEMBER_ACCOUNT_ID,
    MEMBER_ROLE,
    MEMBER_JOINED_AT,
    MEMBER_USERNAME,
    MEMBER_IMAGE,
};

/* A message, all NULL when there is none. SEND_MESSAGE, SEND_MESSAGES: of one that they have stored
 * MESSAGE_TEXT to MESSAGE_REACTIONS are NULL but for MESSAGE_CREATED_AT, as they are what was
 * given. */
enum message_column {
    MESSAGE_SEQ = 1,
    MESSAGE_TEXT,
    MESSAGE_CLIENT_ID,
    MESSAGE_CREATED_AT,
    MESSAGE_REPLY_TO,
    MESSAGE_EDITED_AT,
    MESSAGE_DELETED_AT,
    MESSAGE_REACTIONS, /* text[]: count, + or -, emoji (chat.reaction_list) */
    MESSAGE_AUTHOR_USERNAME,
    MESSAGE_AUTHOR_IMAGE,
    MESSAGE_COLUMNS_END,
};

/* What comes before and after it: in changes the outcome first, in lists whether the caller may
 * read the room. */
enum message_list_column {
    MESSAGES_MAY_READ = OUTCOME,
    MESSAGES_LAST_SEQ = MESSAGE_COLUMNS_END, /* of the room */
    MESSAGES_FIRST_SEQ,                      /* of the room: of what is kept */
};

/* LIST_EVENTS, ROOM_EVENTS: also a message, of events that are about one. */
enum event_column {
    EVENT_SEQ = MESSAGES_FIRST_SEQ + 1,
    EVENT_KIND,
    EVENT_CREATED_AT,
    EVENT_ACTOR_USERNAME,
    EVENT_ACTOR_IMAGE,
    EVENT_MESSAGE_SEQ,
    EVENT_EMOJI,
    EVENT_REACTION_COUNT,
    EVENT_REACTION_MINE,
    EVENT_SUBJECT_USERNAME,
    EVENT_SUBJECT_IMAGE,
    EVENT_ROLE,
    /* Of ROOM_EVENTS alone. */
    EVENT_SUBJECT_ID,
    EVENT_ROOM_KIND,
    EVENT_MEMBERS, /* in the last row: the ids of all members, ascending, of 8 bytes each */
};

/* ROOMS_AHEAD. last_seq NULL: there is no such room any more. */
enum ahead_column { AHEAD_ROOM, AHEAD_LAST_SEQ, AHEAD_FIRST_SEQ };

/* SEND_MESSAGES: which of the messages given, from 1 on. */
#define SENT_NUMBER MESSAGE_COLUMNS_END

/* SEARCH_MESSAGES: may read NULL: there is no such room. */
#define SEARCH_ROOM MESSAGE_COLUMNS_END

/* PROFILES */
enum profile_column { PROFILE_ID, PROFILE_USERNAME, PROFILE_IMAGE };

/* ROOM_PRESENCE: all but the first NULL when nobody is named. */
enum presence_column { PRESENCE_MAY_READ, PRESENCE_USERNAME, PRESENCE_IMAGE };

/* ADD_REACTION, REMOVE_REACTION */
enum reaction_column { REACTION_COUNT = 1, REACTION_MINE };

/* MARK_READ */
enum mark_column {
    MARK_MAY_READ,
    MARK_READ_SEQ,
    MARK_UNREAD,
    MARK_MOVED, /* it was elsewhere before */
    MARK_MEMBER_COUNT,
    MARK_USERNAME,
    MARK_IMAGE,
};

/* The longest page; and a row more, which says that there is a next one. The statements count on
 * it. */
#define CHAT_MAX_PAGE 100
#define CHAT_MAX_ROWS 101

/* The longest page of ROOM_EVENTS. */
#define CHAT_MAX_REPLAY 1000

/* Unread messages are counted among so many of the latest numbers of a room. */
#define CHAT_MAX_UNREAD 1000

/* Members of a room in which everybody is told of everybody's read marks. */
#define CHAT_MAX_READERS 100

/* Rows that PURGE_ROOM removes at once, and rooms that LIMIT_ROOMS changes. */
#define CHAT_PURGE_BATCH 1000

/* Numbers that SWEEP_ROOM removes at once, with up to four times as many reactions; or one, with
 * all of its own. Whoever writes to the room waits for it. */
#define CHAT_SWEEP_BATCH 500

/* Rows of each kind that PURGE_ACCOUNT removes at once. Whoever writes to their rooms waits for
 * it. */
#define CHAT_ERASE_BATCH 500

#endif
