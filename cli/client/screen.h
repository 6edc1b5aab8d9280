/* Private to screen*.c: a room on the whole screen. */
#ifndef STOA_CLI_CLIENT_SCREEN_H
#define STOA_CLI_CLIENT_SCREEN_H

#include "keyboard.h"
#include "live.h"
#include "room_view.h"

enum connection {
    LOST,        /* begun again at retry_at */
    CONNECTING,  /* no welcome yet */
    CATCHING_UP, /* subscribed */
    CONNECTED,
};

struct screen {
    struct client *c;
    int64_t room;
    char title[256];
    int64_t after;  /* the last number that has come */
    int64_t marked; /* told as read */
    bool has_all;   /* the room's beginning is in the view */
    struct room_view view;
    struct input_line input;
    struct live live;
    enum connection connection;
    int64_t heard_ns; /* when something came last */
    bool asked;       /* whether anybody is there, since */
    struct str token;
    int64_t retry_at_ns, pause_ms;
    int32_t online; /* -1: not told */
    char typing[160];
    int64_t typing_until_ns, said_typing_ns;
    char problem[512];
    size_t scroll; /* lines up from the bottom */
    struct keyboard keyboard;
    bool stops;
    int status;
};

/* ---- screen_draw.c ---- */

/* Draws all of it. `scroll` gets less where it is further up than there are lines. */
void screen_draw(struct screen *s);

#endif
