/* SPDX-License-Identifier: Apache-2.0
 *
 * What is measured besides counting: latencies, as a histogram, and the CPU time of other
 * processes.
 */
#pragma once

#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

/* 32 steps for each doubling: an error of 3 %, over all of 64 bits. */
enum { LATENCY_STEP_BITS = 5, LATENCY_STEPS = (64 - LATENCY_STEP_BITS + 1) << LATENCY_STEP_BITS };

/** A histogram in the manner of HDR: a logarithm, with linear steps between its powers of two. */
struct latency {
	uint64_t count;
	uint64_t steps[LATENCY_STEPS];
};

void latency_add(struct latency *latency, uint64_t ns);

/** The latency that `part` (0..1) of all stay below. @return microseconds; 0 of an empty one */
double latency_percentile_us(const struct latency *latency, double part);

/**
 * CPU time that processes have used, all threads that live, from the scheduler's own accounting.
 *
 * @return nanoseconds; the program ends with a message where a process is gone
 */
uint64_t cpu_time_ns(const pid_t *pids, uint32_t count);
