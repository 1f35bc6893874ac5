/* SPDX-License-Identifier: Apache-2.0
 *
 * What the daemon knows about itself, for operators. Plain data of the main thread: daemon.c and
 * redirecting.c fill it in, the admin socket reads it.
 */
#pragma once

#include "conf/conf.h"
#include "dns/admin/interception.h"
#include "dns/mesh/mesh.h"
#include "dns/resolve/routes.h"
#include "dns/resolve/watch.h"
#include "dns/serve/worker.h"

enum redirect_state {
	REDIRECT_OFF,     /* not wanted: --no-redirect */
	REDIRECT_WAITING, /* wanted, not yet installed */
	REDIRECT_ACTIVE,
	REDIRECT_FAILED
};

struct state {
	const struct conf *conf;
	const struct routes *routes; /* that were set last */
	const struct watch *watch;   /* NULL: resolv.conf is not followed */
	struct worker **workers;     /* conf->workers of them */
	const struct mesh *mesh;
	struct table *table; /* the one that was published last; NULL before */
	bool listening;
	enum redirect_state redirect;
	char redirect_text[512];                        /* what is captured, or why not */
	const struct interception_status *interception; /* NULL: no canaries are sent */
	int64_t started_ms;                             /* CLOCK_MONOTONIC */
	int64_t table_ready_ms; /* CLOCK_MONOTONIC of the first table from a source; 0 before */
};

/**
 * Whether queries are served: listening, a table loaded, rules in place, no canary lost where they
 * are required, and not each server of all names one that leads back to us. A saved table counts:
 * it is better than none, and a remark says that it is old.
 *
 * @param[out] reason  one line: why not; where ready, remarks or empty; cut where it is too long
 * @param      size    of `reason`, at least 1
 */
bool state_ready(const struct state *state, char *reason, size_t size);

/** Whether the table that is served is the saved one, and no source has spoken yet. */
bool state_table_old(const struct state *state);
