/*
 * proc.h - the process: signals as a file descriptor, limits, hardening, memory.
 */
#ifndef VIVACE_SYS_PROC_H
#define VIVACE_SYS_PROC_H

#include "common/base/err.h"

#include <stdint.h>

/* Before any thread: ignores SIGPIPE, blocks SIGTERM SIGINT SIGHUP in all threads and gives a signalfd for
 * them, no new privileges, locale C, open-file limit raised to its hard value. */
MUST_CHECK enum err proc_init(int *ret_signal_fd);
int proc_signal_read(int signal_fd); /* the signal's number, 0 when none is pending */

uint64_t proc_memory_limit_bytes(void); /* the cgroup's (v1 or v2) limit; 0 when there is none */
/* The same from a /proc/self/cgroup file and the place where cgroups are mounted: tests give their own. */
uint64_t proc_memory_limit_in(const char *cgroup_file, const char *mount_path);
uint64_t proc_memory_total_bytes(void); /* of the machine */
uint64_t proc_rss_bytes(void);
void proc_give_memory_back(
    void); /* what is free goes to the system: after work that took much of it */
double proc_cpu_seconds(void); /* user + system of this process */
const char *proc_hostname(void);

#endif
