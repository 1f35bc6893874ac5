/* SPDX-License-Identifier: Apache-2.0
 *
 * Where links of programs that last are pinned: a directory of bpffs for each network namespace.
 */
#pragma once

#include <stdbool.h>
#include <stdint.h>

struct redirect_error;

enum { PINS_PATH_SIZE = 128 };

/** The directory of a network namespace, by its cookie. @return `path` */
const char *pins_path(uint64_t netns, char path[PINS_PATH_SIZE]);

/** Whether links are pinned for it, as far as we may see. */
bool pins_exist(uint64_t netns);

/**
 * Pin links in place of those that are there; these go when the new ones are in place.
 *
 * @param name  of each link
 * @param fd    of each link
 * @return 0; -EOPNOTSUPP: no bpffs; -errno; `error` set, and nothing has changed
 */
int pins_replace(uint64_t netns, const char *const name[], const int fd[], unsigned count,
	struct redirect_error *error) __attribute__((warn_unused_result));

/** Remove the directory of a network namespace with the links in it. @return 0, also where there is
 * none; -errno, `error` set */
int pins_remove(uint64_t netns, struct redirect_error *error) __attribute__((warn_unused_result));

/** Remove pinned links that the kernel has detached, since their cgroup is gone: best effort. */
void pins_sweep(void);
