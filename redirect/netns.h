/* SPDX-License-Identifier: Apache-2.0
 *
 * What a network namespace is known by, and whether it is still there.
 */
#pragma once

#include <stdbool.h>
#include <stdint.h>

enum { NETNS_NAME_SIZE = 320 };

/** The cookie of ours, as programs see it. @return 0; -errno */
int netns_find(uint64_t *cookie) __attribute__((warn_unused_result));

/**
 * Write the name of ours that no other one ever has until the system starts anew: a file handle of
 * nsfs, which takes Linux 6.18.
 *
 * @return 0; -EOPNOTSUPP; -errno
 */
int netns_name(char name[NETNS_NAME_SIZE]) __attribute__((warn_unused_result));

/** Whether the one of that name is gone, for sure: it takes CAP_SYS_ADMIN in the first user
 * namespace to see all that are there, which is for the caller to know. */
bool netns_is_gone(const char *name);
