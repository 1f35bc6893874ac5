/* SPDX-License-Identifier: Apache-2.0
 *
 * The time that only goes forward (CLOCK_MONOTONIC).
 */
#pragma once

#include <stdint.h>
#include <time.h>

/** In ns. Cost: no system call where the vDSO knows the time. */
static inline int64_t clock_ns(void)
{
	struct timespec now;
	clock_gettime(CLOCK_MONOTONIC, &now);
	return (int64_t)now.tv_sec * 1000000000 + now.tv_nsec;
}

/** In ms. */
static inline int64_t clock_ms(void)
{
	return clock_ns() / 1000000;
}
