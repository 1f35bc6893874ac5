/* SPDX-License-Identifier: Apache-2.0
 *
 * Follows what a path leads to: tells when the file may have become another, however that came
 * about, and reads nothing itself. It walks the path as the kernel does, link by link, and watches
 * each name that is looked up on the way, and the file. Costs nothing while nothing happens, but a
 * look now and then for what inotify does not tell: mounts, network file systems, mapped memory.
 */
#pragma once

#include <stdbool.h>
#include <stdint.h>

struct event_base;
struct follower;

enum { FOLLOWER_BLIND_MS = 5000 /* at most between looks where there is no inotify */ };

struct follower_options {
	const char *path;   /* copied; need not exist, nor its directory */
	uint32_t settle_ms; /* of quiet before a change is told; at most ten times that in all */
	uint32_t poll_ms;   /* between looks */
};

/**
 * Called from the loop: as soon as it runs (`changed`); when something happened to the file, and
 * has settled (`changed`); and at each look that found nothing. The follower must not be closed in
 * it.
 */
typedef void follower_look(void *ctx, bool changed);

/**
 * @return 0; -ENAMETOOLONG; -ENOMEM. Without inotify (EMFILE, ENOSYS, no more watches) the looks
 * come more often, which is logged, and inotify is tried again at each
 */
int follower_open(struct follower **follower, struct event_base *base,
	const struct follower_options *options, follower_look *look, void *ctx)
	__attribute__((warn_unused_result));

/** Stop and free. NULL is a no-op. */
void follower_close(struct follower *follower);
