/* SPDX-License-Identifier: Apache-2.0
 *
 * What a daemon may do, and how it gives up all that it needs no more. UIDs and capabilities are
 * those of a thread, and new threads get the ones of their parent; so in this order:
 *
 *     privileges_choose(&who, &conf);    who we shall be
 *       … what only root can: files in root's directories
 *     privileges_become(&who, &conf);    from now on that user, with what opening sockets takes
 *       … sockets, which belong to that user
 *       … threads; first of all each does
 *     privileges_narrow(&conf);          with what running takes
 *       … rules, programs in the kernel
 *     privileges_narrow(&conf);          and so does the first thread
 */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct conf;

/** The user that we shall be. */
struct privileges {
	bool changes; /* it is another one than now: `uid` and `gid` are not ours yet */
	uint32_t uid;
	uint32_t gid;
};

/**
 * Choose the user: that of the key `user`; without it, for root that of kumaDPUser, where we can
 * become it, else who we are. The log says why we stay root.
 *
 * @return 0; -ENOENT where `user` names nobody; -EPERM where we cannot become it; logged
 */
int privileges_choose(struct privileges *who, const struct conf *conf)
	__attribute__((warn_unused_result));

/**
 * Become that user, with its group and no other, and keep the capabilities that starting takes.
 * The bounding, the ambient and the inheritable set are empty from now on (the first where
 * CAP_SETPCAP lets us), and no program that we might execute has more than we do (no_new_privs).
 *
 * @return 0; -EPERM where the kernel refuses; logged. What was given up by then is not regained.
 */
int privileges_become(const struct privileges *who, const struct conf *conf)
	__attribute__((warn_unused_result));

/** Keep what running takes: CAP_NET_ADMIN where rules or marks do. Of the calling thread; as above.
 */
int privileges_narrow(const struct conf *conf) __attribute__((warn_unused_result));

/** Whether this thread has this capability now, CAP_… of linux/capability.h. */
bool privileges_have(unsigned capability);

enum { PRIVILEGES_TEXT_SIZE = 128 };

/** Write who we are and what we may of what
 * the daemon can need: `UID 5678, GID 5678, CAP_NET_ADMIN`. @return `text` */
const char *privileges_describe(char *text, size_t size);
