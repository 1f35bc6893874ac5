/* SPDX-License-Identifier: Apache-2.0
 *
 * Finds the cgroup that holds the application, from our own, and opens it.
 */
#pragma once

#include <limits.h>
#include <stdbool.h>

struct redirect_error;

/** A mount of cgroup2. */
struct cgroup_mount {
	char root[PATH_MAX];  /* what of the hierarchy is mounted, as our cgroup namespace has it */
	char point[PATH_MAX]; /* where */
};

/** Read a line of /proc/PID/mountinfo (proc(5)). @return whether it is a mount of cgroup2 */
bool cgroup_read_mount(struct cgroup_mount *mount, const char *line);

/**
 * Which cgroup holds the application: on Kubernetes the pod's, where containers are side by side;
 * elsewhere all of them. The programs are limited to our network namespace, so that the root cgroup
 * is no more than the namespace.
 *
 * @param root      of the mount, as above
 * @param own       our cgroup, as /proc/self/cgroup has it
 * @param[out] below  the pod's, below the mount; "" for all that is mounted
 * @return whether it is a pod's
 */
bool cgroup_choose(const char *root, const char *own, char below[PATH_MAX]);

/**
 * Open the cgroup that is named, or the one that holds the application where none is.
 *
 * @param name       a path; "": find it
 * @param[out] path  its path, for people
 * @return a descriptor, the caller's; -ENOENT, `error` set: no cgroup2, or only our own container's
 */
int cgroup_open(const char *name, char path[PATH_MAX], struct redirect_error *error)
	__attribute__((warn_unused_result));

/** Whether this process is in an open cgroup, or below it; false where that is not to be seen. */
bool cgroup_holds_us(int cgroup);
