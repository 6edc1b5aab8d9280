/* What Linux says of processes, under the names that every Prometheus client uses
 * (https://prometheus.io/docs/instrumenting/writing_clientlibs/#process-metrics). */
#ifndef STOA_METRICS_PROCESS_H
#define STOA_METRICS_PROCESS_H

#include "metrics/text.h"

#include <sys/types.h>

/* Appends the figures of this process. What /proc does not tell is left out. */
void metrics_write_process(struct buf *text);

/* Of several processes as one: times and memory are sums, the start is the youngest one's. Those
 * that are gone are left out; open files, which only a process's own account may count, too. */
void metrics_write_processes(struct buf *text, const pid_t *pids, size_t n);

/* stoa_build_info. service: "posts", "gateway". */
void metrics_write_build(struct buf *text, const char *service);

#endif
