/* Who may try to sign in, to sign up and to refresh: throttle.h for calls. */
#ifndef STOA_AUTH_ADMISSION_H
#define STOA_AUTH_ADMISSION_H

#include "auth.h"
#include "throttle.h"

/* service_rpc() is there, and not started. On error one line in *ret_error. */
int admission_new(struct auth *auth, struct admission **ret, struct str *ret_error) MUST_CHECK;
void admission_free(struct admission *admission); /* after the last call and the database */

/* The database's engine thread. */
void admission_database_ready(struct admission *admission);

/* Once for each attempt, before anything is looked up. done runs exactly once, at once or later; it
 * ends a call that is not allowed by admission_fail(). */
void admission_ask(struct admission *admission, struct rpc_call *call,
                   enum throttle_attempt attempt, struct str account, shared_rate_done_fn *done,
                   void *user);

/* For an attempt with a password: whether it is allowed and there is room for hashing. If not, the
 * password is forgotten and the call ended. */
bool admission_passed(const struct auth *auth, struct rpc_call *call, char *password,
                      const struct shared_rate_verdict *verdict) MUST_CHECK;

/* Families of attempts, and of Redis. */
void admission_write_metrics(const struct admission *admission, struct buf *text);

/* RESOURCE_EXHAUSTED, with the time to wait. */
void admission_fail(struct rpc_call *call, const struct shared_rate_verdict *verdict);

#endif
