/* SPDX-License-Identifier: Apache-2.0
 *
 * What a worker remembers of a server between queries: how fast it answers, whether it does, and
 * which forms of a query it stumbles over; and in which order servers are asked because of it.
 * Pure: the time is a parameter, CLOCK_MONOTONIC in nanoseconds, above 0.
 */
#pragma once

#include "dns/resolve/servers.h"

#include <stdint.h>

enum {
	HEALTH_MISSES = 3,        /* queries in a row without an answer make a server silent */
	HEALTH_MEMORY_S = 300,    /* how long a form of query is avoided that got no answer */
	HEALTH_HEDGE_MIN_MS = 5,  /* an answer is waited for so long at least … */
	HEALTH_HEDGE_MAX_MS = 80, /* … and so long at most, before the next server is asked, too */
	HEALTH_HEDGE_FIRST_MS = 50, /* of a server that never answered yet */
	HEALTH_SLOW_FACTOR = 4,     /* slower than the fastest by this factor … */
	HEALTH_SLOW_MS = 20         /* … and this time: then it comes behind the others */
};

struct health {
	unsigned misses;      /* in a row */
	bool takes_opt;       /* it has answered a query with OPT */
	uint32_t smoothed_us; /* response time, as RFC 6298 smooths it; 0: none yet */
	uint32_t p95_us;      /* its 95th percentile, about */
	int64_t answered_ns;  /* when it last answered; 0: never */
	int64_t no_opt_until_ns;
	int64_t tcp_until_ns;
};

/** It answered a query, whatever it said. @param took_ns  0: not known, or not typical */
void health_answered(struct health *h, int64_t took_ns, int64_t now_ns);

/** A query got no answer in the usual time, and nothing else came from it in that time. */
static inline void health_missed(struct health *h)
{
	h->misses += h->misses < HEALTH_MISSES;
}

/** Whether it is asked only where no other is left. */
static inline bool health_is_silent(const struct health *h)
{
	return h->misses >= HEALTH_MISSES;
}

/** How long to wait for its answer before another server is asked, too: its 95th percentile. */
int64_t health_hedge_ns(const struct health *h);

/** Queries with OPT get no answer, or FORMERR (RFC 6891 §6.2.2 lets us remember that). */
void health_refuses_opt(struct health *h, int64_t now_ns);

/** Queries over UDP get no answer, over TCP they do. */
void health_refuses_udp(struct health *h, int64_t now_ns);

/** It answers queries with OPT … */
static inline void health_takes_opt(struct health *h)
{
	h->takes_opt = true;
	h->no_opt_until_ns = 0;
}

/** … and queries over UDP. */
static inline void health_takes_udp(struct health *h)
{
	h->tcp_until_ns = 0;
}

static inline bool health_wants_opt(const struct health *h, int64_t now_ns)
{
	return h->no_opt_until_ns <= now_ns;
}

static inline bool health_wants_udp(const struct health *h, int64_t now_ns)
{
	return h->tcp_until_ns <= now_ns;
}

/**
 * The order in which to ask: as configured, but those that are much slower than the fastest behind
 * the others, and those that are silent behind all.
 *
 * @param of      `count` servers in the order of the configuration; at most SERVERS_LIST_MAX
 * @param first   which of the fast ones begins; 0 unless queries are to be spread over them
 * @param[out] order  their indexes
 */
void health_order(const struct health *const of[], unsigned count, unsigned first, uint8_t order[]);
