/* What the load driver says and understands: JSON as `stoa.chat.v1.LiveService/Connect` has it over
 * a WebSocket, and packets of Engine.IO 4 and Socket.IO 5, as Socket.IO's version 4 speaks them
 * over its WebSocket transport (https://socket.io/docs/v4/engine-io-protocol,
 * .../socket-io-protocol). chat.h.
 *
 * Nothing is parsed as a whole: a server is trusted to name things in the order in which it does.
 */
#include "chat.h"

#include <stdio.h>
#include <stdlib.h>

#define HANDSHAKE                                                      \
    "Host: localhost\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n" \
    "Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n"

#define MAX_TEXT 2048

static void send_text(struct client *client, const char *text, int n)
{
    if (n < 0 || n >= MAX_TEXT)
        fail("a message of %d bytes", n);
    client_send(client, text, (size_t)n);
}

/* The number behind the first `key` in p, or -1. */
static int64_t number_after(struct str text, struct str key)
{
    const char *at = memmem(text.p, text.n, key.p, key.n), *end = text.p + text.n;
    int64_t number = 0;

    if (!at)
        return -1;
    at += key.n;
    if (at == end || *at < '0' || *at > '9')
        return -1;
    for (; at < end && *at >= '0' && *at <= '9'; at++)
        number = number * 10 + (*at - '0');
    return number;
}

/* ---- Stoa ---- */

#define SUBSCRIBED "s" /* the id of what subscribes; those of messages are numbers */

static void stoa_handshake(const struct client *client, struct buf *out)
{
    buf_printf(out, "GET /api/chat/ws HTTP/1.1\r\n" HANDSHAKE "Authorization: Bearer %s\r\n\r\n",
               token_of(client->account));
}

static void stoa_upgraded(struct client *client)
{
    char text[MAX_TEXT], after[40] = "";

    if (client->after >= 0)
        snprintf(after, sizeof(after), ",\"afterSeq\":\"%lld\"", (long long)client->after);
    send_text(client, text,
              snprintf(text, sizeof(text),
                       "{\"id\":\"" SUBSCRIBED "\",\"subscribe\":{\"room\":\"%s\"%s}}",
                       client->room->id, after));
}

static void stoa_send(struct client *client, int64_t id, const char *message)
{
    static int64_t start; /* a resend is never meant: another run's numbers are others */
    char text[MAX_TEXT];

    if (start == 0)
        start = clock_realtime_us();
    send_text(client, text,
              snprintf(text, sizeof(text),
                       "{\"id\":\"%lld\",\"send\":{\"room\":\"%s\",\"text\":\"%s\",\"clientId\":"
                       "\"%llx-%llx\"}}",
                       (long long)id, client->room->id, message, (long long)start, (long long)id));
}

static void stoa_acknowledged(struct client *client, struct str text)
{
    int64_t seq = number_after(text, STR("\"seq\":\""));
    int64_t id = number_after(text, STR("\"id\":\""));

    if (seq > client->room->seq)
        client->room->seq = seq;
    if (id >= 0)
        chat_on_ack(id);
    else if (client->after < 0)
        chat_on_ready(client);
}

static void stoa_text(struct client *client, const char *p, size_t n)
{
    struct str text = {p, n};

    if (str_starts(text, STR("{\"event\":")))
        chat_on_delivery(client, p, n);
    else if (str_starts(text, STR("{\"ack\":")))
        stoa_acknowledged(client, text);
    else if (str_starts(text, STR("{\"live\":")) && client->after >= 0)
        chat_on_ready(client);
    else if (str_starts(text, STR("{\"error\":")) || str_starts(text, STR("{\"reset\":")) ||
             str_starts(text, STR("{\"gone\":")))
        fail("client %u: %.*s", client->number, STR_FMT(text));
}

const struct dialect dialect_stoa = {
    .name = "stoa",
    .handshake = stoa_handshake,
    .upgraded = stoa_upgraded,
    .send = stoa_send,
    .text = stoa_text,
};

/* ---- Socket.IO ---- */

/* The first id of an acknowledgement is that of the room. */
#define JOINED 0

static void io_handshake(const struct client *client UNUSED, struct buf *out)
{
    buf_printf(out, "GET /socket.io/?EIO=4&transport=websocket HTTP/1.1\r\n" HANDSHAKE "\r\n");
}

static void io_upgraded(struct client *client UNUSED)
{
    /* The server speaks first. */
}

static void io_send(struct client *client, int64_t id, const char *message)
{
    char text[MAX_TEXT];

    send_text(client, text,
              snprintf(text, sizeof(text), "42%lld[\"msg\",{\"room\":%s,\"body\":\"%s\"}]",
                       (long long)id + JOINED + 1, client->room->id, message));
}

static void io_acknowledged(struct client *client, struct str text)
{
    int64_t id = number_after(text, STR("43"));

    if (memmem(text.p, text.n, "\"error\"", 7))
        fail("client %u: %.*s", client->number, STR_FMT(text));
    if (id == JOINED)
        chat_on_ready(client);
    else
        chat_on_ack(id - JOINED - 1);
}

static void io_text(struct client *client, const char *p, size_t n)
{
    struct str text = {p, n};
    char answer[MAX_TEXT];

    if (str_starts(text, STR("42")))
        chat_on_delivery(client, p, n);
    else if (str_starts(text, STR("43")))
        io_acknowledged(client, text);
    else if (str_starts(text, STR("2")))
        send_text(client, "3", 1);
    else if (str_starts(text, STR("0")))
        send_text(client, answer,
                  snprintf(answer, sizeof(answer), "40{\"uid\":%u}", client->account + 1));
    else if (str_starts(text, STR("40")))
        send_text(client, answer,
                  snprintf(answer, sizeof(answer), "42%d[\"join\",%s]", JOINED, client->room->id));
    else
        fail("client %u: %.*s", client->number, STR_FMT(text));
}

const struct dialect dialect_socket_io = {
    .name = "socket.io",
    .handshake = io_handshake,
    .upgraded = io_upgraded,
    .send = io_send,
    .text = io_text,
};
