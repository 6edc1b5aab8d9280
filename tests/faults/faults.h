/* Makes allocations fail, for tests. faults.c stands in front of malloc and its kin, as a library
 * that is preloaded (nginx) or as an object that is linked into a program (unit tests); wrap.c does
 * the same for what the gateway's module asks of nginx's pools and of lib/base.
 *
 * Every call that may fail for want of memory is a place. Places are counted from 1 while a process
 * is watched; the one with the number fail_at fails, as if memory had run out there.
 */
#ifndef STOA_TESTS_FAULTS_H
#define STOA_TESTS_FAULTS_H

#include <stdbool.h>
#include <stdint.h>

enum fault_mode {
    FAULT_ONCE, /* place fail_at fails */
    FAULT_FROM, /* fail_at and all after it */
    FAULT_EACH, /* at each place a child process is made, in which that one fails, and waited for;
                 * from fault_begin() on */
};

/* Shared with whoever drives it: the file that STOA_FAULTS names, or this process alone. All 64
 * bits wide, so that Python finds them: faults_fixture.py. */
struct fault_control {
    int64_t pid; /* whose places count; 0: nobody's, -1: this process, without asking */
    int64_t mode;
    int64_t fail_at; /* 0: none */
    int64_t seen;    /* places since `seen` was last set to 0 */
    int64_t failed;  /* of them failed */
    int64_t live;    /* blocks that the process holds, as of its last call of malloc's kin */
    /* FAULT_EACH: how the children ended */
    int64_t harmless; /* with status 0 */
    int64_t refused;  /* with another status */
    int64_t crashed;  /* by a signal */
    int64_t crash_at; /* the first of those */
    int64_t stride;   /* only each such place gets a child; 0: each */
};

extern struct fault_control *fault_control;

/* A place is reached. True: it has to fail. */
bool stoa_fault(void);
/* The module has been loaded: FAULT_EACH may begin. What libraries do before is theirs. */
void stoa_fault_begin(void);

#endif
