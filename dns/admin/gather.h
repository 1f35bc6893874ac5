/* SPDX-License-Identifier: Apache-2.0
 *
 * What all workers know, added up. Main thread.
 */
#pragma once

#include "dns/admin/state.h"

struct gathered {
	struct stats stats;
	uint64_t overflows; /* datagrams that the kernel dropped */
	unsigned server_count;
	struct server_report server[ROUTES_SERVERS_MAX]; /* as in state->routes */
	bool has_cache;
	struct cache_figures cache;
	int64_t table_since_ms; /* CLOCK_MONOTONIC; of the first worker */
};

/**
 * Counters are added up; a server is silent, or asked in another form, where any worker finds so,
 * and has the response times of the first worker that knows some.
 *
 * Cost: waits for each worker to come to the end of its turn.
 */
void gather(struct gathered *all, const struct state *state);
