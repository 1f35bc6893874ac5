/* SPDX-License-Identifier: Apache-2.0
 *
 * Messages that arrived together are read together, before the first is answered: memory is slow,
 * and what their answers are made of need not be waited for one after the other. No I/O, no clock,
 * no allocation.
 */
#pragma once

#include "dns/mesh/table.h"
#include "dns/resolve/cache.h"

enum { AHEAD_MAX = 64 };

/** A message that was read. */
struct ahead_item {
	const uint8_t *message; /* where it stands; NULL: nothing was read */
	int result;             /* of query_parse */
	bool has_tag;
	uint32_t tag; /* of the name in the table: table_fetch_slot */
	struct query query;
};

/** All zero at first. */
struct ahead {
	unsigned count;
	unsigned next; /* to be taken */
	struct ahead_item item[AHEAD_MAX];
	struct ahead_item one; /* that was not read with others */
};

/**
 * Read messages, and begin to bring into the processor's cache what their answers are made of:
 * slots and entries of the table, and for names that are not there, chains and entries of the
 * cache.
 *
 * @param messages  octets from the network, `count` of them, at most AHEAD_MAX; borrowed until they
 *                  were taken, or others are read
 * @param table     NULL: none yet; the one that they will be answered from
 * @param cache     NULL: none
 */
void ahead_read(struct ahead *a, const struct span *messages, unsigned count,
	const struct table *table, const struct cache *cache);

/**
 * What a message says. They are taken in the order in which they were read; any may be left out,
 * and one that was not read is read now.
 *
 * @return valid until others are read or taken
 */
struct ahead_item *ahead_take(struct ahead *a, struct span message);
