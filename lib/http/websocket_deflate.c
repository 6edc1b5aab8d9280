/* permessage-deflate. See websocket_deflate.h; sections are RFC 7692's. */
#include "http/websocket_deflate.h"

#include <errno.h>
#include <limits.h>
#include <zlib.h>

/* Raw deflate, says zlib's minus. */
#define RAW(window) (-(window))
#define MEMORY 5 /* zlib's memLevel: a hash table that fits the window */

/* An empty stored block without its first bits: what a flush ends with, and what is not sent
 * (7.2.1, 7.2.2). */
#define TAIL STR("\0\0\xff\xff")

/* ---- out ---- */

static int deflate_all(z_stream *z, struct str message, struct buf *to)
{
    /* Room for as much as the message is, and for the end of the flush, which is cut off: when zlib
     * fills it, nothing is gained. */
    size_t room = message.n + TAIL.n;
    char *p = buf_reserve(to, room);

    if (!p)
        return -ENOMEM;
    z->next_in = (z_const Bytef *)message.p;
    z->avail_in = (uInt)message.n;
    z->next_out = (Bytef *)p;
    z->avail_out = (uInt)room;
    if (deflate(z, Z_SYNC_FLUSH) != Z_OK || z->avail_out == 0)
        return 0;
    to->n += room - z->avail_out - TAIL.n;
    return 1;
}

int websocket_deflate(struct str message, struct buf *to)
{
    z_stream z = {0};
    int rc;

    if (message.n == 0 || message.n > UINT_MAX - TAIL.n)
        return 0;
    if (deflateInit2(&z, Z_DEFAULT_COMPRESSION, Z_DEFLATED, RAW(WEBSOCKET_WINDOW), MEMORY,
                     Z_DEFAULT_STRATEGY) != Z_OK)
        return -ENOMEM;
    rc = deflate_all(&z, message, to);
    deflateEnd(&z);
    return rc;
}

bool websocket_deflate_suits(unsigned window, size_t n)
{
    /* No match reaches further back than the message. */
    return window >= WEBSOCKET_WINDOW || (window && n <= (size_t)1 << window);
}

/* ---- in ---- */

#define STEP 1024 /* at least so much room when zlib is asked for more */

/* One call of inflate() into what room there is. */
static int inflate_step(z_stream *z, struct buf *to, bool *ret_ended)
{
    size_t left = to->max - to->n;
    unsigned char beyond[1];
    char *p = buf_reserve(to, left < STEP ? left : STEP);
    size_t room = p ? to->cap - to->n : 0;
    int rc;

    if (!p)
        return -ENOMEM;
    /* A full buffer may still be followed by input that makes no output. */
    z->next_out = room ? (Bytef *)p : beyond;
    z->avail_out = room ? (uInt)room : sizeof(beyond);
    rc = inflate(z, Z_SYNC_FLUSH);
    if (rc == Z_MEM_ERROR)
        return -ENOMEM;
    /* Z_BUF_ERROR: there was nothing to do. */
    if (rc != Z_OK && rc != Z_BUF_ERROR && rc != Z_STREAM_END)
        return -EBADMSG;
    if (!room && z->avail_out == 0)
        return -EMSGSIZE;
    if (room)
        to->n += room - z->avail_out;
    *ret_ended = rc == Z_STREAM_END;
    /* After the last block another one may follow, from the next byte on and with what is in the
     * window (7.2.3.4). */
    return !*ret_ended || inflateResetKeep(z) == Z_OK ? 0 : -EBADMSG;
}

/* Until all of the input is used. *ret_ended: with it a block ended that said to be the last one.
 */
static int inflate_part(z_stream *z, struct str part, struct buf *to, bool *ret_ended)
{
    int err;

    z->next_in = (z_const Bytef *)part.p;
    z->avail_in = (uInt)part.n;
    do {
        err = inflate_step(z, to, ret_ended);
    } while (!err && (z->avail_in || (z->avail_out == 0 && !*ret_ended)));
    return err;
}

static int inflate_all(z_stream *z, struct str payload, struct buf *to)
{
    bool ended;
    int err = inflate_part(z, payload, to, &ended);

    /* Behind a last block the payload should have a byte 0, for the tail; who forgets it has said
     * all the same where the message ends. */
    if (err || ended)
        return err;
    err = inflate_part(z, TAIL, to, &ended);
    if (err)
        return err;
    /* zlib: 128 says that a block has just ended. */
    return ended || (z->data_type & 128) ? 0 : -EBADMSG;
}

int websocket_inflate(struct str payload, struct buf *to)
{
    z_stream z = {0};
    int err;

    if (payload.n > UINT_MAX)
        return -EMSGSIZE;
    if (inflateInit2(&z, RAW(WEBSOCKET_WINDOW_ANY)) != Z_OK)
        return -ENOMEM;
    err = inflate_all(&z, payload, to);
    inflateEnd(&z);
    return err;
}
