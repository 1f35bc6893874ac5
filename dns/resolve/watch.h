/* SPDX-License-Identifier: Apache-2.0
 *
 * Follows resolv.conf: reads it again when it changes, however that comes about, and tells when it
 * says something else than before. Runs on the main thread's loop.
 */
#pragma once

#include "dns/resolve/resolvconf.h"

struct event_base;
struct watch;

enum { WATCH_POLL_MS = 30000 /* between looks for changes that the kernel does not tell */ };

/** For operators. */
struct watch_status {
	uint64_t changes;  /* told since the watch was opened */
	char problem[256]; /* why the last reading counts for nothing; empty where it did */
};

/**
 * Called from the loop when the file says something else, and names a server.
 *
 * @param now  borrowed. The watch must not be closed in it
 */
typedef void watch_changed(void *ctx, const struct resolv_conf *now);

/**
 * Follow the file. While it is absent, empty, unreadable or names no server, what it said last goes
 * on; that is logged once for each such trouble. A change is told 100 ms after the last write to
 * it, at most 1 s after the first.
 *
 * @param path     copied; neither it nor its directory need exist
 * @param poll_ms  WATCH_POLL_MS, but in tests
 * @param first    what was read of it already; copied
 * @return 0; -ENAMETOOLONG; -ENOMEM. A system without inotify is looked at more often
 */
int watch_open(struct watch **watch, struct event_base *base, const char *path, uint32_t poll_ms,
	const struct resolv_conf *first, watch_changed *changed, void *ctx)
	__attribute__((warn_unused_result));

/** Borrowed; current until the loop runs again. */
const struct watch_status *watch_status(const struct watch *watch);

/** Stop and free. NULL is a no-op. */
void watch_close(struct watch *watch);
