/* Markdown (CommonMark with tables, task lists and strikethrough, as read by md4c) for a terminal:
 * wrapped to its width, with colours or without. What the author wrote cannot do anything to the
 * terminal (terminal_clean). Pure; any thread. */
#ifndef STOA_CLI_CLIENT_MARKDOWN_H
#define STOA_CLI_CLIENT_MARKDOWN_H

#include "base/buf.h"

/* Appends it. -ENOMEM; else problems are in buf_error(to). */
int markdown_render(struct buf *to, struct str text, size_t width, bool color) MUST_CHECK;

#endif
