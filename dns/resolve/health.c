/* SPDX-License-Identifier: Apache-2.0
 *
 * The memory of servers. The percentile is followed by steps that go up nineteen times as far as
 * they go down, and so rest where one answer in twenty is slower (Robbins and Monro, "A stochastic
 * approximation method", 1951).
 */
#include "dns/resolve/health.h"

#include <string.h>

enum {
	NS_IN_US = 1000,
	NS_IN_MS = 1000000,
	STEP_DOWN = 128, /* one part of so many */
	UP_PER_DOWN = 19,
	US_MAX = 60000000
};

static void follow_percentile(struct health *h, uint32_t us)
{
	if (h->p95_us == 0) {
		h->p95_us = us * 2;
		return;
	}
	uint32_t step = h->p95_us / STEP_DOWN + 1;
	if (us > h->p95_us) {
		h->p95_us += step * UP_PER_DOWN;
	} else if (h->p95_us > step) {
		h->p95_us -= step;
	}
}

static uint32_t us_of(int64_t ns)
{
	int64_t us = ns / NS_IN_US + 1;
	return us < US_MAX ? (uint32_t)us : US_MAX;
}

void health_answered(struct health *h, int64_t took_ns, int64_t now_ns)
{
	h->misses = 0;
	h->answered_ns = now_ns;
	if (took_ns <= 0) {
		return;
	}
	uint32_t us = us_of(took_ns);
	/* RFC 6298 §2: one eighth of the new one. */
	h->smoothed_us = h->smoothed_us ? h->smoothed_us - h->smoothed_us / 8 + us / 8 : us;
	follow_percentile(h, us);
}

int64_t health_hedge_ns(const struct health *h)
{
	int64_t ns = h->p95_us ? (int64_t)h->p95_us * NS_IN_US
			       : (int64_t)HEALTH_HEDGE_FIRST_MS * NS_IN_MS;
	int64_t least = (int64_t)HEALTH_HEDGE_MIN_MS * NS_IN_MS;
	int64_t most = (int64_t)HEALTH_HEDGE_MAX_MS * NS_IN_MS;
	return ns < least ? least : ns > most ? most : ns;
}

void health_refuses_opt(struct health *h, int64_t now_ns)
{
	h->no_opt_until_ns = now_ns + (int64_t)HEALTH_MEMORY_S * 1000 * NS_IN_MS;
}

void health_refuses_udp(struct health *h, int64_t now_ns)
{
	h->tcp_until_ns = now_ns + (int64_t)HEALTH_MEMORY_S * 1000 * NS_IN_MS;
}

/* The response time of the fastest that is not silent; 0 where none is known. */
static uint32_t fastest_of(const struct health *const of[], unsigned count)
{
	uint32_t fastest = 0;
	for (unsigned i = 0; i < count; i++) {
		uint32_t us = of[i]->smoothed_us;
		if (!health_is_silent(of[i]) && us != 0 && (fastest == 0 || us < fastest)) {
			fastest = us;
		}
	}
	return fastest;
}

enum rank { RANK_FAST, RANK_SLOW, RANK_SILENT, RANK_COUNT };

static enum rank rank_of(const struct health *h, uint32_t fastest)
{
	if (health_is_silent(h)) {
		return RANK_SILENT;
	}
	uint64_t limit = (uint64_t)fastest * HEALTH_SLOW_FACTOR + HEALTH_SLOW_MS * 1000U;
	return h->smoothed_us > limit ? RANK_SLOW : RANK_FAST;
}

static void rotate(uint8_t order[], unsigned count, unsigned by)
{
	uint8_t was[SERVERS_LIST_MAX];
	memcpy(was, order, count);
	for (unsigned i = 0; i < count; i++) {
		order[i] = was[(i + by) % count];
	}
}

void health_order(const struct health *const of[], unsigned count, unsigned first, uint8_t order[])
{
	uint32_t fastest = fastest_of(of, count);
	unsigned n = 0;
	for (enum rank rank = RANK_FAST; rank < RANK_COUNT; rank++) {
		for (unsigned i = 0; i < count; i++) {
			if (rank_of(of[i], fastest) == rank) {
				order[n++] = (uint8_t)i;
			}
		}
		if (rank == RANK_FAST && first > 0 && n > 1) {
			rotate(order, n, first % n);
		}
	}
}
