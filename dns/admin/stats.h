/* SPDX-License-Identifier: Apache-2.0
 *
 * Counters of one worker. One writer each, the worker's thread; the main thread reads and adds up.
 * Relaxed loads and stores are enough: no counter orders anything else.
 */
#pragma once

#include <stdatomic.h>
#include <stdint.h>

enum counter {
	/* answered queries, by source and type: kuma_dp_dns_queries_total */
	STAT_LOCAL_A,
	STAT_LOCAL_AAAA,
	STAT_LOCAL_OTHER,
	STAT_UPSTREAM_A,
	STAT_UPSTREAM_AAAA,
	STAT_UPSTREAM_OTHER,
	/* responses sent: kuma_dp_dns_response_codes_total */
	STAT_NOERROR,
	STAT_NXDOMAIN,
	STAT_SERVFAIL,
	STAT_OTHER_RCODE,
	/* forwarding */
	STAT_UPSTREAM_FAILURES,    /* transactions that ended without a response to pass on */
	STAT_TRANSACTIONS,         /* begun */
	STAT_TRANSACTIONS_JOINED,  /* queries that joined one in flight */
	STAT_TRANSACTIONS_REFUSED, /* SERVFAIL at once: the limit was reached */
	STAT_TRANSACTIONS_NOW,     /* gauge */
	STAT_UPSTREAM_MISMATCHED,  /* datagrams with the wrong port, ID or question, dropped */
	STAT_UPSTREAM_TRUNCATED,   /* answers with TC, asked again over TCP */
	STAT_SEARCH_PROBES,        /* questions for the label next to a search domain */
	STAT_PASSED,               /* messages passed on to the server that was asked */
	STAT_CACHE_PREFETCHES,     /* questions for what the cache is about to lose */
	/* TCP from requestors */
	STAT_TCP_CONNECTIONS,     /* accepted */
	STAT_TCP_CONNECTIONS_NOW, /* gauge */
	/* drops, by reason: kuma_dns_drops_total */
	STAT_DROP_SHORT,     /* less than a header */
	STAT_DROP_RESPONSE,  /* QR=1 */
	STAT_DROP_OVERLOAD,  /* others would have had to be asked, and more came than can be done */
	STAT_DROP_SEND,      /* the kernel took no response (full buffer, unreachable) */
	STAT_DROP_TCP_LIMIT, /* connection closed at the cap, in all or of the peer: the longest
				idle one, else the newest */
	STAT_DROP_TCP_FRAME, /* connection closed: frame over the limit or shorter than a header */
	STAT_DROP_TCP_IDLE,  /* connection closed: idle or slow */
	STAT_DROP_TCP_UNSENT, /* connection closed: it did not read its answers */
	STAT_COUNT
};

enum { HISTOGRAM_BUCKETS = 11 };

/** Prometheus' default buckets, in seconds: .005 .01 .025 .05 .1 .25 .5 1 2.5 5 10; above is count
 * alone. */
struct histogram {
	_Atomic uint64_t bucket[HISTOGRAM_BUCKETS]; /* not cumulative */
	_Atomic uint64_t count;
	_Atomic uint64_t sum_ns;
};

/** Why a query to a server was in vain. */
enum upstream_failure {
	UPSTREAM_TIMEOUT,
	UPSTREAM_REFUSED, /* RCODE REFUSED, NOTIMP, FORMERR or another that is no answer */
	UPSTREAM_SERVFAIL,
	UPSTREAM_UNREACHABLE, /* ICMP, connection refused or cut */
	UPSTREAM_MALFORMED,
	UPSTREAM_FAILURES
};

struct stats {
	_Atomic uint64_t value[STAT_COUNT];
	struct histogram request;  /* time of a request, local or forwarded */
	struct histogram upstream; /* time of a forwarded request */
};

/** Add to a counter; the owning thread only. */
static inline void stats_bump(_Atomic uint64_t *counter, uint64_t n)
{
	atomic_store_explicit(counter, atomic_load_explicit(counter, memory_order_relaxed) + n,
		memory_order_relaxed);
}

static inline void stats_add(struct stats *s, enum counter which, uint64_t n)
{
	stats_bump(&s->value[which], n);
}

/** Lower a gauge by one; the owning thread only. */
static inline void stats_lower(struct stats *s, enum counter which)
{
	stats_bump(&s->value[which], UINT64_MAX);
}

/** Record `count` events that took `ns` each; the owning thread only. */
void histogram_add(struct histogram *h, uint64_t ns, uint64_t count);

/** Add all of `from` to `into`; any thread may own `into`, `from` keeps being written. */
void stats_sum(struct stats *into, const struct stats *from);
