/* SPDX-License-Identifier: Apache-2.0
 *
 * Looking ahead in a batch: memory is slow, and what its answers are made of need not be waited for
 * one after the other. Nothing but time depends on it. No I/O, no clock, no allocation.
 */
#pragma once

#include "dns/mesh/table.h"
#include "dns/resolve/cache.h"

enum { AHEAD_MAX = 64 };

/**
 * Begin to bring into the processor's cache what the answers to these messages are made of: slots
 * and entries of the table, and for names that are not there, chains and entries of the cache.
 *
 * @param messages  octets from the network, `count` of them, at most AHEAD_MAX; few are not worth
 *                  it, and are let be
 * @param table     NULL: none yet
 * @param cache     NULL: none
 */
void ahead(const struct span *messages, unsigned count, const struct table *table,
	const struct cache *cache);
