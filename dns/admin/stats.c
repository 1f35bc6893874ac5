/* SPDX-License-Identifier: Apache-2.0
 *
 * Counters: recording a time, and adding one worker's counters to a sum. Knows nothing of how they
 * are shown.
 */
#include "dns/admin/stats.h"

#include <stddef.h>

/* Upper bounds, inclusive: "le" in Prometheus means less or equal. */
static const uint64_t bounds_ns[HISTOGRAM_BUCKETS] = {
	5000000,
	10000000,
	25000000,
	50000000,
	100000000,
	250000000,
	500000000,
	1000000000,
	2500000000,
	5000000000,
	10000000000,
};

void histogram_add(struct histogram *h, uint64_t ns, uint64_t count)
{
	size_t i = 0;
	while (i < HISTOGRAM_BUCKETS && ns > bounds_ns[i]) {
		i++;
	}
	if (i < HISTOGRAM_BUCKETS) {
		stats_bump(&h->bucket[i], count);
	}
	stats_bump(&h->count, count);
	stats_bump(&h->sum_ns, ns * count);
}

static void add(_Atomic uint64_t *into, const _Atomic uint64_t *from)
{
	stats_bump(into, atomic_load_explicit(from, memory_order_relaxed));
}

static void histogram_sum(struct histogram *into, const struct histogram *from)
{
	for (size_t i = 0; i < HISTOGRAM_BUCKETS; i++) {
		add(&into->bucket[i], &from->bucket[i]);
	}
	add(&into->count, &from->count);
	add(&into->sum_ns, &from->sum_ns);
}

void stats_sum(struct stats *into, const struct stats *from)
{
	for (size_t i = 0; i < STAT_COUNT; i++) {
		add(&into->value[i], &from->value[i]);
	}
	histogram_sum(&into->request, &from->request);
	histogram_sum(&into->upstream, &from->upstream);
}
