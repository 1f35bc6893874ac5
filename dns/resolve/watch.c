/* SPDX-License-Identifier: Apache-2.0
 *
 * Reads at every look, since a file may change without a trace in its times, and compares meaning:
 * whoever rewrites the same servers disturbs nobody.
 */
#include "dns/resolve/watch.h"

#include "conf/follower.h"
#include "conf/log.h"

#include <errno.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>

enum { SETTLE_MS = 100 };

struct watch {
	watch_changed *changed;
	void *ctx;
	char path[PATH_MAX];
	struct follower *follower;
	struct resolv_conf current; /* the last good one */
	struct watch_status status;
};

/* Logged where it is another than before. */
static void problem_set(struct watch *watch, const char *problem)
{
	if (strcmp(watch->status.problem, problem) != 0) {
		log_warning("%s: %s; the last good one stays", watch->path, problem);
		(void)snprintf(watch->status.problem, sizeof watch->status.problem, "%s", problem);
	}
}

static void take(struct watch *watch, const struct resolv_conf *now)
{
	if (watch->status.problem[0]) {
		watch->status.problem[0] = '\0';
		log_info("%s is good again", watch->path);
	}
	if (resolv_conf_equal(now, &watch->current)) {
		return;
	}
	watch->current = *now;
	watch->status.changes++;
	log_info("%s has changed: %u name servers, %u search domains", watch->path,
		now->servers.count, now->search_count);
	watch->changed(watch->ctx, &watch->current);
}

static void look(void *ctx, bool changed)
{
	struct watch *watch = ctx;
	struct resolv_conf now;
	(void)changed;
	int rc = resolv_conf_load(&now, watch->path);
	if (rc < 0) {
		problem_set(watch, strerror(-rc));
	} else if (now.servers.count == 0) {
		problem_set(watch, "it names no server");
	} else {
		take(watch, &now);
	}
}

int watch_open(struct watch **out, struct event_base *base, const char *path, uint32_t poll_ms,
	const struct resolv_conf *first, watch_changed *changed, void *ctx)
{
	size_t len = strlen(path);
	if (len >= PATH_MAX) {
		return -ENAMETOOLONG;
	}
	struct watch *watch = calloc(1, sizeof *watch);
	if (!watch) {
		return -ENOMEM;
	}
	watch->changed = changed;
	watch->ctx = ctx;
	watch->current = *first;
	memcpy(watch->path, path, len + 1);
	struct follower_options follow = {.path = path, .settle_ms = SETTLE_MS, .poll_ms = poll_ms};
	int rc = follower_open(&watch->follower, base, &follow, look, watch);
	if (rc < 0) {
		free(watch);
		return rc;
	}
	*out = watch;
	return 0;
}

const struct watch_status *watch_status(const struct watch *watch)
{
	return &watch->status;
}

void watch_close(struct watch *watch)
{
	if (!watch) {
		return;
	}
	follower_close(watch->follower);
	free(watch);
}
