/* What the commands about articles share. */
#ifndef STOA_CLI_CLIENT_POST_H
#define STOA_CLI_CLIENT_POST_H

#include "client.h"
#include "document.h"
#include "text_source.h"

#include "stoa/posts/v1/posts.pb-c.h"

/* An article or a draft, as an argument names it: "hello-stoa", "draft/42". */
struct post_name {
    char *slug;
    uint32_t draft; /* 0: an article */
};
int post_name_read(struct client *c, char *text, struct post_name *ret) MUST_CHECK;

/* One of both as a document, with its entity tag, and the message. 0 or an exit status, told. */
struct post {
    struct document document;
    struct str etag;
    const Stoa__Posts__V1__Article *article; /* NULL: a draft */
    const Stoa__Posts__V1__Draft *draft;
    const ProtobufCMessage *response;
};
int post_fetch(struct client *c, const struct post_name *name, struct post *ret) MUST_CHECK;

struct str document_text(struct client *c, const struct document *d);

/* A new random Idempotency-Key. */
struct str new_key(struct client *c);

#endif
