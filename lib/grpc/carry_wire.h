/* The messages of stoa.edge.v1.CallService/Carry (proto/stoa/edge/v1/call.proto), written and read
 * without building objects: calls as the gateway writes them, answers as a server writes and the
 * gateway reads them. Pure functions; any thread.
 */
#ifndef STOA_GRPC_CARRY_WIRE_H
#define STOA_GRPC_CARRY_WIRE_H

#include "schema/tables.h"

#define CARRY_CALL_MAX (16 << 10) /* bytes of headers and message: a larger call goes by itself */
#define CARRY_CALLS_MAX 1024      /* open at once in a stream */
#define CARRY_METADATA_MAX 128    /* of a call; longer ones than these, in bytes, are none: */
#define CARRY_NAME_MAX 256
#define CARRY_VALUE_MAX 8192
#define CARRY_REQUEST_MAX (256 << 10) /* a CarryRequest of the gateway */
#define CARRY_PIECE_MAX (64 << 10)    /* of a response in one CarriedAnswer */
#define CARRY_RESPONSE_MAX (1 << 20)  /* a CarryResponse */

/* Whether metadata can be a carried call's: it is no longer than the contract says, could stand in
 * a header of a call of its own, and would stand there as it is (-bin would not). */
bool carry_is_metadata(struct str name, struct str value);

/* ---- calls: appended to a CarryRequest ---- */

/* Begins a call; its metadata follows, then its end. Returns what the end is to be told. */
size_t carry_begin_call(struct buf *to, uint64_t id, struct str method) MUST_CHECK;
void carry_put_metadata(struct buf *to, struct str name, struct str value);
void carry_end_call(struct buf *to, size_t mark, struct str message, uint64_t timeout_ms);
void carry_put_cancelled(struct buf *to, uint64_t id);

/* ---- ends: what stoa.edge.v1.End holds, also on other streams ---- */

void carry_put_end(struct buf *to, int32_t code, struct str text, struct str details);
/* Sets what is there; strings are parts of wire. Returns 0 or -EBADMSG. */
int carry_read_end(struct str wire, int32_t *code, struct str *text,
                   struct str *details) MUST_CHECK;

/* ---- answers ---- */

struct carry_answer {
    uint64_t id;
    struct str message; /* {NULL, 0}: none */
    uint64_t size;      /* of the whole response, in the first of several pieces; 0: this is all */
    bool ended;         /* the last piece; then: */
    int32_t code;
    struct str text, details;
    struct str item; /* for carry_next_metadata() */
};

/* Appends an answer to a CarryResponse: begins it, which its metadata follows, then its end. */
size_t carry_begin_answer(struct buf *to, uint64_t id) MUST_CHECK;
void carry_put_header(struct buf *to, struct str name, struct str value, bool trailing);
/* Of *answer without id and item. */
void carry_end_answer(struct buf *to, size_t mark, const struct carry_answer *answer);
void carry_put_going(struct buf *to);

/* The next answer of a CarryResponse; strings are parts of it. Sets *ret_going when it says so.
 * Returns 1, 0 at the end, or -EBADMSG. */
int carry_next(struct schema_reader *r, struct carry_answer *ret, bool *ret_going) MUST_CHECK;

struct carry_metadata {
    struct str name, value;
    bool trailing;
};
/* The next one of an answer; r: over its `item`. Returns 1, 0 at the end, or -EBADMSG. */
int carry_next_metadata(struct schema_reader *r, struct carry_metadata *ret) MUST_CHECK;

#endif
