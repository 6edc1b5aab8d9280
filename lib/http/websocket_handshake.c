/* Headers of the WebSocket handshake. See websocket_handshake.h. */
#include "http/websocket_handshake.h"

#include "base/base64.h"
#include "http/scan.h"
#include "http/websocket_deflate.h"

#include <openssl/err.h>
#include <openssl/evp.h>
#include <stdio.h>

/* ---- Sec-WebSocket-Key ---- */

#define KEY_SIZE 24 /* of 16 bytes in base64 */
#define SHA1_SIZE 20
#define ACCEPT_GUID "258EAFA5-E914-47DA-95CA-C5AB0DC85B11" /* RFC 6455 section 1.3 */

static bool is_base64_digit(char c)
{
    return base64_value(c) >= 0 && c != '-' && c != '_';
}

static bool is_key(struct str key)
{
    if (key.n != KEY_SIZE || !str_ends(key, STR("==")))
        return false;
    for (size_t i = 0; i < KEY_SIZE - 2; i++) {
        if (!is_base64_digit(key.p[i]))
            return false;
    }
    return true;
}

int websocket_accept(struct str key, char ret[WEBSOCKET_ACCEPT_SIZE])
{
    char text[KEY_SIZE + sizeof(ACCEPT_GUID) - 1];
    unsigned char hash[SHA1_SIZE];

    if (!is_key(key))
        return -EINVAL;
    memcpy(text, key.p, KEY_SIZE);
    memcpy(text + KEY_SIZE, ACCEPT_GUID, sizeof(ACCEPT_GUID) - 1);
    if (EVP_Digest(text, sizeof(text), hash, NULL, EVP_sha1(), NULL) != 1) {
        ERR_clear_error(); /* a connection with TLS asks the same queue */
        return -ENOMEM;
    }
    base64_encode(ret, (struct str){(const char *)hash, sizeof(hash)});
    return 0;
}

/* ---- lists ---- */

/* Moves to the next element of a list; some may be empty. Returns whether there is one. */
static bool next_element(struct scan *s)
{
    do
        scan_space(s);
    while (scan_take(s, ','));
    return s->at < s->end;
}

/* Behind an element: the list ends, or a comma comes. */
static bool is_element_end(struct scan *s)
{
    scan_space(s);
    return s->at == s->end || *s->at == ',';
}

/* ---- Sec-WebSocket-Protocol ---- */

static bool is_one_of(struct str name, const struct str *known, size_t n)
{
    for (size_t i = 0; i < n; i++) {
        if (str_eq(name, known[i]))
            return true;
    }
    return false;
}

int websocket_protocols_read(struct str line, const struct str *known, size_t n,
                             struct websocket_protocols *io)
{
    struct scan s = scan_of(line);

    while (next_element(&s)) {
        struct str name = scan_token(&s);

        if (!name.n || !is_element_end(&s))
            return -EINVAL;
        if (str_starts(name, STR(WEBSOCKET_BEARER))) {
            name = str_skip(name, sizeof(WEBSOCKET_BEARER) - 1);
            if (!name.n || io->bearer.p)
                return -EINVAL;
            io->bearer = name;
        } else if (!io->chosen.p && is_one_of(name, known, n)) {
            io->chosen = name;
        }
    }
    return 0;
}

/* ---- Sec-WebSocket-Extensions ---- */

#define DEFLATE "permessage-deflate"

/* A value that was quoted must be a token all the same (RFC 6455 section 9.1). */
static bool is_quoted_token(struct str text)
{
    for (size_t i = 0; i < text.n; i++) {
        if (text.p[i] == '\\' && i + 1 < text.n)
            i++;
        if (!scan_is_token_char(text.p[i]))
            return false;
    }
    return text.n > 0;
}

/* The next parameter; without a value it is {NULL, 0}. Returns 1, 0 (there is none) or -EINVAL. */
static int next_parameter(struct scan *s, struct str *ret_name, struct str *ret_value)
{
    *ret_value = STR_NULL;
    scan_space(s);
    if (!scan_take(s, ';'))
        return 0;
    scan_space(s);
    *ret_name = scan_token(s);
    if (!ret_name->n)
        return -EINVAL;
    scan_space(s);
    if (!scan_take(s, '='))
        return 1;
    scan_space(s);
    if (scan_take(s, '"'))
        return scan_quoted(s, ret_value) || !is_quoted_token(*ret_value) ? -EINVAL : 1;
    *ret_value = scan_token(s);
    return ret_value->n ? 1 : -EINVAL;
}

/* 8 to 15, without leading zeros; else 0. */
static unsigned read_window(struct str value)
{
    int64_t n;

    if (!value.n || value.p[0] < '1' || value.p[0] > '9' || str_to_int64(value, &n))
        return 0;
    return n >= 8 && n <= 15 ? (unsigned)n : 0;
}

/* An offer of permessage-deflate, parameter by parameter. */
struct offer {
    bool server_no_context, client_no_context, client_window, refused;
    unsigned window; /* the client's server_max_window_bits; 0: none */
};

/* RFC 7692 section 7.1: each parameter once at most, with the value that it has to have. */
static void offer_add(struct offer *o, struct str name, struct str value)
{
    bool twice = false, damaged = false;

    if (str_eq(name, STR("server_no_context_takeover"))) {
        twice = o->server_no_context;
        damaged = value.p != NULL;
        o->server_no_context = true;
    } else if (str_eq(name, STR("client_no_context_takeover"))) {
        twice = o->client_no_context;
        damaged = value.p != NULL;
        o->client_no_context = true;
    } else if (str_eq(name, STR("client_max_window_bits"))) {
        twice = o->client_window;
        damaged = value.p && !read_window(value);
        o->client_window = true;
    } else if (str_eq(name, STR("server_max_window_bits"))) {
        twice = o->window > 0;
        o->window = read_window(value);
        damaged = !o->window;
    } else {
        damaged = true; /* a parameter of something else */
    }
    o->refused |= twice || damaged;
}

/* The window to answer an offer with: we use no more than websocket_deflate()'s, and say so to
 * those who asked for a bound. */
static unsigned offer_window(const struct offer *o)
{
    if (o->refused)
        return 0;
    if (!o->window)
        return WEBSOCKET_WINDOW_ANY;
    return o->window < WEBSOCKET_WINDOW ? o->window : WEBSOCKET_WINDOW;
}

int websocket_extensions_read(struct str line, unsigned *io_window)
{
    struct scan s = scan_of(line);

    while (next_element(&s)) {
        struct str extension = scan_token(&s), name, value;
        struct offer offer = {.refused = !str_eq(extension, STR(DEFLATE))};
        int more;

        if (!extension.n)
            return -EINVAL;
        while ((more = next_parameter(&s, &name, &value)) > 0)
            offer_add(&offer, name, value);
        if (more < 0 || !is_element_end(&s))
            return -EINVAL;
        if (!*io_window)
            *io_window = offer_window(&offer);
    }
    return 0;
}

size_t websocket_extensions_print(char to[WEBSOCKET_EXTENSIONS_SIZE], unsigned window)
{
    static const char always[] = DEFLATE "; server_no_context_takeover; client_no_context_takeover";

    if (window == WEBSOCKET_WINDOW_ANY)
        return (size_t)snprintf(to, WEBSOCKET_EXTENSIONS_SIZE, "%s", always);
    return (size_t)snprintf(to, WEBSOCKET_EXTENSIONS_SIZE, "%s; server_max_window_bits=%u", always,
                            window);
}
