/* SPDX-License-Identifier: Apache-2.0
 *
 * The state (struct sockets_state) that programs at the sockets go by already, so that others can
 * go by the same: what one has given out as a server's alias is the same server's to all.
 */
#pragma once

#include <stdint.h>

struct sockets_state;

/** Whether an open map is such a state. @return 0; -EPROTO: it is something else; -errno */
int inherit_check(int map) __attribute__((warn_unused_result));

/**
 * The state of programs for this network namespace: of those that are pinned, or else of a daemon's
 * at this cgroup.
 *
 * @param netns  its cookie
 * @return a descriptor of the map, the caller's; -ENOENT: there are none; -EPERM: we may not look,
 * which takes bpffs or CAP_SYS_ADMIN; -errno
 */
int inherit_find(uint64_t netns, int cgroup) __attribute__((warn_unused_result));

/**
 * Share it. @return 0, and `state` stays until inherit_unmap, whatever becomes of the descriptor;
 * -errno
 */
int inherit_map(struct sockets_state **state, int map) __attribute__((warn_unused_result));
void inherit_unmap(struct sockets_state *state);
