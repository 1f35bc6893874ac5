/* SPDX-License-Identifier: Apache-2.0
 *
 * The ways into a table's arena while it is made: from names to entries, and from addresses back
 * to names. For builder.c, which makes them of nothing, and patch.c, which takes most of them over
 * from another table.
 */
#pragma once

#include "dns/mesh/layout.h"

enum {
	SLOT_BITS_MIN = 9,
	SLOT_BITS_MAX = 30,
	NEW_SLOTS_MAX = 128 /* of one name: itself and its ancestors */
};

/** Whether an index of so many slots may get one more name when `used` are taken. */
static inline bool slots_suffice(unsigned bits, size_t used)
{
	return used + NEW_SLOTS_MAX <= ((size_t)1 << bits) / 4 * 3;
}

/** Put a slot of another index into a new one, which has room. */
static inline void slot_put(struct slot *slots, unsigned bits, struct slot slot)
{
	size_t mask = ((size_t)1 << bits) - 1;
	size_t to = slot.tag >> (32 - bits);
	while (slots[to].name != 0) {
		to = (to + 1) & mask;
	}
	slots[to] = slot;
}

/** Make a slot, as slot_find gave it, that of the name at `name`. */
void slot_fill(struct table *table, struct slot *slot, uint32_t tag, size_t name);

/** Put the ancestors of an entry's name into the index, up to the first one that is there: every
 * name has all of its ancestors in the index. */
void ancestors_add(struct table *table, size_t name);

/** The bucket of one of an entry's addresses, which are numbered from 0, those of AAAA last. */
size_t bucket_of_address(
	const struct table *table, const struct table_addresses *addresses, size_t number);

/** Allocate buckets, all of them empty, for `pair_count`. @return 0; -ENOMEM */
int reverse_reserve(struct table *table) __attribute__((warn_unused_result));

/** Sort all addresses of the arena, but those of wildcards, into reserved buckets by counting. */
void reverse_fill(struct table *table);
