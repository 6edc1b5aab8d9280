/* Searches take turns on the database's pool: one runs, a few wait (3, or up to 15 when turns are
 * so short that these wait for 10 ms at most), and what comes then is refused. So the pool's other
 * thread stays with what changes things, however many search. */
#ifndef STOA_SERVICE_TURNS_H
#define STOA_SERVICE_TURNS_H

#include "service/service.h"

#include <sys/queue.h>

/* Of a service's table of statements, the first one of each search: after three seconds it is given
 * up, or sooner if it has less. */
#define TURN_LIMIT                                                                           \
    {                                                                                        \
        "limit_search",                                                                      \
            "SELECT set_config('statement_timeout', least(3000, 1000 * extract("             \
            "epoch FROM current_setting('statement_timeout')::interval))::int::text, true)", \
            DB_READ,                                                                         \
        {                                                                                    \
            DB_END                                                                           \
        }                                                                                    \
    }

/* What a call does in its turn; in its arena. */
struct turn {
    struct rpc_call *call;
    struct db *db;
    struct db_query *limit, *query; /* limit: of TURN_LIMIT */
    /* Reads what the query found, within the transaction. */
    int (*found)(void *user, const struct db_result *result);
    /* As for service_transaction(); the turn is over. */
    void (*done)(void *user, const struct db_result *outcome, int found_result);
    void *user;

    STAILQ_ENTRY(turn) next;
};

/* Runs it now or when those before it have ended. May have failed the call when it returns. Any
 * thread. */
void turn_take(struct turn *turn);

#endif
