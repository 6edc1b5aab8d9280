/* sched(7). Three things say that a thread can wait, since each is heard in another place:
 *
 *   - SCHED_IDLE: who wakes up doesn't wait for it. Since Linux 6.12 only within one scheduling
 *     group. Groups are cgroups and, where autogroup is on (it is by default), sessions: each
 *     process of Postgres is one by itself.
 *   - a long slice, since 6.12 and between groups too: who wakes up with a shorter one goes first.
 *     Without it Postgres waited 4 ms for a core where a password was hashed; with it 0.4 ms.
 *   - the nice value, for what shows it.
 */
#include "background.h"

#include <errno.h>
#include <sched.h>
#include <sys/syscall.h>
#include <unistd.h>

#define LEAST_PRIORITY 19
#define LONGEST_SLICE_NS (100 * NSEC_PER_MSEC)

/* struct sched_attr of sched_setattr(2), which glibc has from 2.41 on. */
struct attributes {
    uint32_t size, policy;
    uint64_t flags;
    int32_t nice;
    uint32_t priority;
    uint64_t runtime, deadline, period;
};

int background_enter(void)
{
    /* The slice can't be set together with SCHED_IDLE, but it stays; older kernels ignore it. */
    struct attributes attributes = {
        .size = sizeof(attributes),
        .policy = SCHED_BATCH,
        .nice = LEAST_PRIORITY,
        .runtime = LONGEST_SLICE_NS,
    };
    const struct sched_param no_priority = {0};

    if (syscall(SYS_sched_setattr, 0, &attributes, 0) < 0 ||
        sched_setscheduler(0, SCHED_IDLE, &no_priority) < 0)
        return -errno;
    return 0;
}
