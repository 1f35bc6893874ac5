/* SPDX-License-Identifier: Apache-2.0
 *
 * Asking each worker, in its own thread, for what only it may read.
 */
#include "dns/admin/gather.h"

static void add_server(struct server_report *sum, const struct server_report *one)
{
	sum->loop = sum->loop || one->loop;
	sum->silent = sum->silent || one->silent;
	sum->no_opt = sum->no_opt || one->no_opt;
	sum->no_udp = sum->no_udp || one->no_udp;
	if (sum->smoothed_us == 0) {
		sum->smoothed_us = one->smoothed_us;
		sum->p95_us = one->p95_us;
	}
	sum->udp_queries += one->udp_queries;
	sum->tcp_queries += one->tcp_queries;
	sum->hedges += one->hedges;
	sum->probes += one->probes;
	for (unsigned i = 0; i < UPSTREAM_FAILURES; i++) {
		sum->failures[i] += one->failures[i];
	}
}

static void add_servers(struct gathered *all, const struct worker_inside *inside)
{
	const struct routes *routes = inside->authority.routes;
	bool first = all->server_count == 0;
	for (unsigned i = 0; i < routes->server_count; i++) {
		struct server_report report;
		forward_report(inside->forward, i, &report);
		if (first) {
			all->server[i] = report;
		} else if (i < all->server_count) {
			add_server(&all->server[i], &report);
		}
	}
	all->server_count = first ? routes->server_count : all->server_count;
}

static void add_cache(struct gathered *all, const struct cache *cache)
{
	struct cache_figures one = cache_figures(cache);
	struct cache_figures *sum = &all->cache;
	all->has_cache = true;
	sum->size += one.size;
	sum->entries += one.entries;
	sum->octets += one.octets;
	sum->hits += one.hits;
	sum->misses += one.misses;
	sum->covered += one.covered;
	sum->stale += one.stale;
	sum->failed += one.failed;
	sum->insertions += one.insertions;
	sum->evictions += one.evictions;
	sum->refused += one.refused;
	sum->prefetches += one.prefetches;
}

static void add_worker(void *ctx, const struct worker_inside *inside)
{
	struct gathered *all = ctx;
	if (inside->forward) {
		add_servers(all, inside);
	}
	if (inside->authority.cache) {
		add_cache(all, inside->authority.cache);
	}
	if (all->table_since_ms == 0) {
		all->table_since_ms = inside->table_since_ms;
	}
}

void gather(struct gathered *all, const struct state *state)
{
	memset(all, 0, sizeof(*all));
	for (unsigned i = 0; state->workers && i < state->conf->workers; i++) {
		if (state->workers[i]) {
			stats_sum(&all->stats, worker_stats(state->workers[i]));
			all->overflows += worker_udp_overflows(state->workers[i]);
			worker_call(state->workers[i], add_worker, all);
		}
	}
}
