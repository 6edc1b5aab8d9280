/* Sessions that have been ended, and whose access tokens are refused until they expire by
 * themselves.
 *
 * auth writes them to Postgres in the transaction that ends the session (auth.revocations); each
 * process reads what is new several times a second and keeps it until it has no meaning any more.
 * How many there are is bounded by how many sessions passwords can start in a token's lifetime.
 */
#ifndef STOA_SERVICE_REVOCATIONS_H
#define STOA_SERVICE_REVOCATIONS_H

#include "base/uuid.h"
#include "pg/db.h"

struct revocations;

/* What revocations_tick() runs; a row of the service's table of statements. */
extern const struct db_statement revocations_statement;

/* Both callbacks run on the database's engine thread. wake: revocations_tick() has something to do.
 * known: for the first time all of them have been read. */
struct revocations_options {
    void (*wake)(void *user);
    void (*known)(void *user);
    void *user;
};

/* Options are copied. -ENOMEM. */
int revocations_new(const struct revocations_options *options, struct revocations **ret) MUST_CHECK;
void revocations_free(struct revocations *revocations); /* after db_close() */

/* Any thread. */
bool revocations_are_known(struct revocations *revocations);
bool revocations_have(struct revocations *revocations, const struct uuid *session);

/* Any thread: this process has ended a session itself and need not read of it. expires_at_us: when
 * the last of its access tokens has expired, Unix time. Without memory the next reading brings it.
 */
void revocations_add(struct revocations *revocations, const struct uuid *session,
                     int64_t expires_at_us);

/* Any thread: the database may be another one than before: read all of it again. */
void revocations_read_again(struct revocations *revocations);

/* One thread (the service's main one): reads when it is time. statement: the index of
 * revocations_statement. Returns milliseconds until it wants to be called again. */
int revocations_tick(struct revocations *revocations, struct db *db, size_t statement);

#endif
