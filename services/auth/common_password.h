/* Passwords that many people use, and that are therefore tried first (NIST SP 800-63B section
 * 5.1.1.2). */
#ifndef STOA_AUTH_COMMON_PASSWORD_H
#define STOA_AUTH_COMMON_PASSWORD_H

#include "base/base.h"

/* In the order of strcmp(), in lower case; generated (deploy/embed-common-passwords). */
extern const char *const common_passwords[];
extern const size_t n_common_passwords;

/* Without regard to case. Any thread. */
bool password_is_common(struct str password);

#endif
