/* The keys that this instance signs with: from their files, published, and changed while it runs.
 */
#ifndef STOA_AUTH_KEYS_H
#define STOA_AUTH_KEYS_H

#include "auth.h"

#define AUTH_KEY_CONDITION "signing key published"

/* Makes the key file if there is none, and loads it. On error one line in *ret_error. */
int auth_keys_new(struct auth *auth, struct auth_keys **ret, struct str *ret_error) MUST_CHECK;
void auth_keys_free(struct auth_keys *keys); /* after the last call and the database */

/* Engine thread: makes the key known to all services; then the service may be ready. */
void auth_keys_publish(struct auth_keys *keys);

/* Main thread: the key is changed now, to what the file holds or, when it still holds the one that
 * signs, to a new one. */
void auth_keys_rotate(struct auth_keys *keys);

/* Main thread. Returns milliseconds until it wants to be called again. */
int auth_keys_tick(struct auth_keys *keys);

#endif
