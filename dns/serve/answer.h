/* SPDX-License-Identifier: Apache-2.0
 *
 * The decision: one function holds the whole policy of the server. No I/O, no clock, no allocation.
 */
#pragma once

#include "dns/mesh/table.h"
#include "dns/resolve/cache.h"
#include "dns/resolve/routes.h"
#include "dns/wire/hop.h"
#include "dns/wire/query.h"

enum { MESH_ZONES_MAX = 32 };

/** The zones whose names are answered here or nowhere. */
struct mesh_zones {
	unsigned count;
	struct dname item[MESH_ZONES_MAX];
};

/** What answers are made of. Borrowed during the call. */
struct authority {
	const struct table *table; /* NULL before the first one */
	const uint32_t *tag;       /* what table_fetch_slot gave for the name; NULL: not asked */
	const struct mesh_zones *zones;
	struct routes *routes;   /* loops that are seen are noted in it */
	struct cache *cache;     /* NULL: none; remembers what is asked for */
	bool prefetch;           /* answers of the cache that end soon are to be refreshed */
	unsigned special_groups; /* enum special_group: what is answered here */
	bool can_pass;           /* what is not ours may go to the server that was asked … */
	bool elsewhere;          /* … and that is none of those we would ask */
	struct hop hop;
	uint32_t rotation; /* any number, another each time: which address comes first */
	int64_t now_ms;    /* CLOCK_MONOTONIC */
};

enum verdict {
	VERDICT_SEND,    /* the response stands in `out` */
	VERDICT_CANARY,  /* likewise; `q` is one of our own kind, and counts nowhere */
	VERDICT_REFRESH, /* likewise; and `q` is to be asked upstream, before its answer ends */
	VERDICT_FORWARD, /* not ours: `q` is good and has to be asked upstream */
	VERDICT_PASS,    /* for the very server that was asked, octet for octet */
	VERDICT_EXPLAIN, /* `q` asks how a name would be answered: see explain.h */
	VERDICT_DROP,    /* no answer is ever owed */
	VERDICT_SHED /* never of answer(): others would have to be asked, which is too much now */
};

/** Where an answer came from, for the counters. */
enum source { SOURCE_LOCAL, SOURCE_CACHE };

/** What answer() has to say besides the response. */
struct answered {
	enum source source;
	struct edns_options options; /* of our own OPT; with VERDICT_FORWARD and VERDICT_EXPLAIN */
};

/**
 * Decide what becomes of a message, and compose the response where it is ours to give.
 *
 * @param[out] q          the query as read; with VERDICT_DROP only its id is meaningful
 * @param      message    octets from the network
 * @param      authority  what answers are made of
 * @param      limit      0 for UDP: the requestor's size, at most out->size - out->len, counts;
 *                        else the largest response over TCP, 65535
 * @param      out        room for the response, at least 512 octets; its `len` grows by the
 *                        response's
 * @param[out] answered   where it came from
 */
enum verdict answer(struct query *q, struct span message, struct authority *authority, size_t limit,
	struct writer *out, struct answered *answered);

/** As answer(). @param q  as query_parse has read it; its RCODE may change */
enum verdict answer_query(struct query *q, struct authority *authority, size_t limit,
	struct writer *out, struct answered *answered);

/** The longest mesh zone that is the name or above it; NULL where there is none. */
const struct dname *mesh_zone_of(const struct mesh_zones *zones, const struct dname *name);
