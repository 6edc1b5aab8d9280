/* Which tasks a list shows: the TERMs of todo.sh (basic regular expressions in any case, `-` in
 * front for "not"), and in the extended form also, combined by "and":
 *
 *     pri:A  pri:A-C  pri:none     due<2026-12-01  due<=+1w  due>today  due=fri  due:none  due:any
 *     /extended regular expression/           and a `-` in front of any of these
 *
 * with the dates `due`, `t`, `created` and `done`. One thread.
 */
#ifndef STOA_CLI_TASK_FILTER_H
#define STOA_CLI_TASK_FILTER_H

#include "line.h"

struct filter;

/* terms are kept. -EINVAL with *ret_error: a term cannot be read. */
int filter_make(const char *const *terms, size_t n, bool extended, date_t today,
                struct arena *arena, struct filter **ret, struct str *ret_error) MUST_CHECK;
void filter_free(struct filter *f);

/* shown: what todo.sh's terms look at, NUL-terminated after shown.n; its last text_length bytes are
 * the line of the file (in front of it: its number, where a list shows one). */
bool filter_matches(const struct filter *f, struct str shown, size_t text_length);

/* The commands of todo.sh that do the same, for its debugging line; "" when there is no term. */
void filter_describe(const char *const *terms, size_t n, struct buf *to);

#endif
