/* SPDX-License-Identifier: Apache-2.0
 *
 * What the kernel knows about this process. /proc may be out of sight: then values are unknown.
 */
#include "dns/admin/process.h"

#include <dirent.h>
#include <inttypes.h>
#include <stdio.h>
#include <time.h>
#include <unistd.h>

static uint64_t resident(void)
{
	uint64_t pages = 0;
	FILE *statm = fopen("/proc/self/statm", "re");
	if (!statm) {
		return PROCESS_UNKNOWN;
	}
	int found = fscanf(statm, "%*u %" SCNu64, &pages);
	fclose(statm);
	return found == 1 ? pages * (uint64_t)sysconf(_SC_PAGESIZE) : PROCESS_UNKNOWN;
}

static uint64_t open_fds(void)
{
	DIR *dir = opendir("/proc/self/fd");
	if (!dir) {
		return PROCESS_UNKNOWN;
	}
	uint64_t count = 0;
	for (struct dirent *entry = readdir(dir); entry; entry = readdir(dir)) {
		count += entry->d_name[0] != '.';
	}
	closedir(dir);
	return count ? count - 1 : 0; /* less the one that counted */
}

static uint64_t cpu_ns(void)
{
	struct timespec t;
	if (clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &t) < 0) {
		return PROCESS_UNKNOWN;
	}
	return (uint64_t)t.tv_sec * 1000000000 + (uint64_t)t.tv_nsec;
}

void process_read(struct process *process)
{
	*process = (struct process){
		.resident = resident(), .open_fds = open_fds(), .cpu_ns = cpu_ns()};
}
