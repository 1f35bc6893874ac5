/* SPDX-License-Identifier: Apache-2.0
 *
 * A timer for housekeeping. It is a descriptor that the kernel keeps (timerfd_create(2)), not one
 * of the loop's own timers: while any of these is pending, the kernel has to set and cancel a timer
 * each time that the loop waits, which is for each query that comes alone. For what is seldom due
 * and often pending.
 */
#pragma once

#include <stdbool.h>
#include <stdint.h>

struct event_base;
struct tick;

/** It is due, and no longer running; it may be started again from here. */
typedef void tick_due(void *ctx);

/**
 * @param base  calls `due`, with `ctx`; borrowed until tick_close
 * @return 0; -errno
 */
int tick_open(struct tick **tick, struct event_base *base, tick_due *due, void *ctx)
	__attribute__((warn_unused_result));

/** Let it be due once, in `ms`; one that is running is set anew. Cost: a system call. */
void tick_start(struct tick *tick, uint32_t ms);

bool tick_is_running(const struct tick *tick);

/** Stop and free. NULL is a no-op. */
void tick_close(struct tick *tick);
