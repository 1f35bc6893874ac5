/* SPDX-License-Identifier: Apache-2.0
 *
 * Where programs that last are pinned: a directory of bpffs for each network namespace, with the
 * links and with the state that they share with daemons.
 */
#pragma once

#include <stdbool.h>
#include <stdint.h>

struct redirect_error;

enum { PINS_PATH_SIZE = 128 };

/** What is to be pinned. */
struct pin {
	const char *name;
	int fd;
};

extern const char PINS_STATE[]; /* the name of the state */

/** The directory of a network namespace, by its cookie. @return `path` */
const char *pins_path(uint64_t netns, char path[PINS_PATH_SIZE]);

/** Whether something is pinned for it, as far as we may see. */
bool pins_exist(uint64_t netns);

/** Whether something is pinned for anybody, as far as we may see. */
bool pins_exist_at_all(void);

/** @return the state that is pinned for it, the caller's; -ENOENT; -EACCES, -EPERM; -errno */
int pins_open_state(uint64_t netns) __attribute__((warn_unused_result));

/**
 * Keep others who change pins away; waits some seconds for them. What follows is for whoever holds
 * this.
 *
 * @return a descriptor: closing it lets others go on; -EOPNOTSUPP: no bpffs; -EWOULDBLOCK: they do
 * not end; -errno; `error` set
 */
int pins_lock(struct redirect_error *error) __attribute__((warn_unused_result));

/**
 * Pin these in place of what is there, which is put aside, not removed: its links stay attached.
 *
 * @return 0, and either pins_forget or pins_restore is due; -errno, `error` set, and nothing has
 * changed
 */
int pins_replace(uint64_t netns, const struct pin *pins, unsigned count,
	struct redirect_error *error) __attribute__((warn_unused_result));

/**
 * Put what is there aside, with nothing in its place.
 *
 * @return as pins_replace; 0 also where there is nothing
 */
int pins_put_aside(uint64_t netns, struct redirect_error *error)
	__attribute__((warn_unused_result));

/** What was put aside goes. */
void pins_forget(uint64_t netns);

/** What was put aside is back in its place, and what was pinned instead is gone. */
void pins_restore(uint64_t netns);

/**
 * Remove what is of no use any more, best effort: the kernel has detached it, since its cgroup is
 * gone, or its network namespace is gone.
 *
 * @param sees_all  as netns_is_gone wants it; false: cgroups only
 */
void pins_sweep(bool sees_all);
