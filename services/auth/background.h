/* Threads whose work can wait. */
#ifndef STOA_AUTH_BACKGROUND_H
#define STOA_AUTH_BACKGROUND_H

#include "base/base.h"

/* Puts the calling thread, for good, behind everything else on the machine: it works on what is
 * left of the cores, and whatever wakes up has its core at once. It must hold no lock that others
 * wait for: on a busy machine it may be a second until it goes on. -errno where that is forbidden.
 */
int background_enter(void) MUST_CHECK;

#endif
