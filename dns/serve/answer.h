/* SPDX-License-Identifier: Apache-2.0
 *
 * The decision: one function holds the whole policy of the server. No I/O, no clock, no allocation.
 */
#pragma once

#include "dns/mesh/table.h"
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
	const struct mesh_zones *zones;
	uint32_t rotation; /* any number, another each time: which address comes first */
};

enum verdict {
	VERDICT_SEND,    /* the response stands in `out` */
	VERDICT_FORWARD, /* not ours: `q` is good and has to be asked upstream */
	VERDICT_DROP     /* no answer is ever owed */
};

/**
 * Decide what becomes of a message, and compose the response where it is ours to give.
 *
 * @param[out] q          the query as read; with VERDICT_DROP only its id is meaningful
 * @param      message    octets from the network
 * @param      authority  table, zones, rotation
 * @param      limit      0 for UDP: the requestor's size, at most out->size - out->len, counts;
 *                        else the largest response over TCP, 65535
 * @param      out        room for the response, at least 512 octets; its `len` grows by the
 * response's
 */
enum verdict answer(struct query *q, struct span message, const struct authority *authority,
	size_t limit, struct writer *out);
