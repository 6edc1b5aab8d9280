/* Questions on the terminal. One thread. */
#ifndef STOA_CLI_CLIENT_PROMPT_H
#define STOA_CLI_CLIENT_PROMPT_H

#include "client.h"

/* A line, without its end: from the terminal after the prompt, or the next one of standard input
 * when that is none. 0 or an exit status, told. In the arena. */
int prompt_line(struct client *c, const char *prompt, struct str *ret) MUST_CHECK;

/* The same, of which the terminal shows nothing. Interrupted, the terminal is as it was. The caller
 * wipes it (prompt_wipe). */
int prompt_password(struct client *c, const char *prompt, struct str *ret) MUST_CHECK;
void prompt_wipe(struct str secret);

/* Whether the answer is yes; without a terminal nobody is asked: false. */
bool prompt_yes(const char *prompt);

#endif
