/* What is shown of a room: its messages and what else has happened, in the room's order, and what
 * has been typed and is not yet acknowledged. Pure; one thread. */
#ifndef STOA_CLI_CLIENT_ROOM_VIEW_H
#define STOA_CLI_CLIENT_ROOM_VIEW_H

#include "base/buf.h"

#define VIEW_ENTRIES_MAX 5000 /* the oldest go */
#define VIEW_REACTIONS 8
#define VIEW_ID_MAX 64

struct view_reaction {
    char emoji[36];
    int count;
};

struct view_entry {
    int64_t seq;  /* 0: not yet acknowledged */
    char *author; /* NULL: something that happened; the text tells it */
    char *text;   /* for the screen: cleaned, and with emoji in parts */
    int64_t at_s; /* Unix time */
    bool edited, deleted;
    char *sent;               /* what is not acknowledged, as it was typed */
    char id[VIEW_ID_MAX + 1]; /* and its client_id */
    char *problem;            /* it was refused, and why; NULL: not */
    struct view_reaction reactions[VIEW_REACTIONS];
    size_t n_reactions;
};

struct room_view {
    struct view_entry *entries; /* by seq; those without at the end */
    size_t n, room;
};

void room_view_free(struct room_view *v);
/* All but what is not acknowledged. */
void room_view_forget(struct room_view *v);

/* The entry of that number, made where it is missing; its text (somebody's: it is cleaned), author
 * and time are those that are given. NULL without memory. */
struct view_entry *room_view_put(struct room_view *v, int64_t seq, const char *author,
                                 const char *text, int64_t at_s);
struct view_entry *room_view_find(struct room_view *v, int64_t seq);
void room_view_react(struct room_view *v, int64_t seq, const char *emoji, int count);

/* Typed, on its way. False without memory. */
bool room_view_pend(struct room_view *v, const char *id, const char *author, const char *text,
                    int64_t at_s) MUST_CHECK;
/* It has that number now. */
void room_view_acknowledge(struct room_view *v, const char *id, int64_t seq);
void room_view_refuse(struct room_view *v, const char *id, const char *problem);

/* The first that is not acknowledged, nor refused, from place *at on; moves *at behind it. NULL. */
const struct view_entry *room_view_pending(const struct room_view *v, size_t *at);

/* A line of the screen: its text; how many bytes of it are the author's name, from where; whether
 * it is about something else than a message. */
struct view_line {
    struct str text; /* in the buffer that it was made in */
    size_t bold_from, bold_bytes;
    bool dim;
};

#define VIEW_LINES_MAX 512

/* The lines of an entry in `width` columns, the first at 0; at most VIEW_LINES_MAX, their text
 * appended to `to`. clock: "14:05". Their number; 0 when `to` has failed. */
size_t room_view_lines(const struct view_entry *e, const char *clock, size_t width, struct buf *to,
                       struct view_line lines[VIEW_LINES_MAX]);

#endif
