/* An article as a text file, for editors and scripts: a head of `name: value` lines, an empty line,
 * and the body in Markdown. Pure; any thread. */
#ifndef STOA_CLI_CLIENT_DOCUMENT_H
#define STOA_CLI_CLIENT_DOCUMENT_H

#include "base/arena.h"
#include "base/buf.h"

#define DOCUMENT_TAGS_MAX 64 /* more than the service takes: it says so then */

struct document {
    struct str title, description, body;
    struct str tags[DOCUMENT_TAGS_MAX];
    size_t n_tags;
    /* Of a text that could not be sent: the Idempotency-Key that it was sent with, or the entity
     * tag of the state that it is to change. {NULL, 0}: none. */
    struct str key, etag;
};

/* Strings are parts of text. -EINVAL and one line in *ret_error (in the arena). */
int document_read(struct str text, struct document *ret, struct arena *arena,
                  struct str *ret_error) MUST_CHECK;

/* Line ends in title and description become spaces: in a head a value is a line. */
void document_print(const struct document *d, struct buf *to);

/* Whether they have the same tags in the same order. */
bool document_same_tags(const struct document *a, const struct document *b);

#endif
