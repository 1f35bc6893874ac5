/* SPDX-License-Identifier: Apache-2.0
 *
 * What the kernel knows about this process, for metrics and status.
 */
#pragma once

#include <stdint.h>

#define PROCESS_UNKNOWN UINT64_MAX

struct process {
	uint64_t resident; /* octets */
	uint64_t open_fds;
	uint64_t cpu_ns; /* user and system */
};

/** Read it; what cannot be read is PROCESS_UNKNOWN. */
void process_read(struct process *process);
