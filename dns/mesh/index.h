/* SPDX-License-Identifier: Apache-2.0
 *
 * The ways into a table's arena while it is made: from names to entries, and from addresses back
 * to names. For builder.c, which makes them of nothing, and patch.c, which takes most of them over
 * from another table.
 */
#pragma once

#include "dns/mesh/layout.h"

enum { NEW_SLOTS_MAX = 128 /* of one name: itself and its ancestors */ };

/** Whether an index of so many slots may get one more name when `used` are taken. */
static inline bool slots_suffice(unsigned bits, size_t used)
{
	return used + NEW_SLOTS_MAX <= ((size_t)1 << bits) / 4 * 3;
}

/** Octets that a table will hold at most when it is finished, but for spare room. An address that
 * is to be found backwards counts 4 in `pairs`, and at most 4 in `bucket_ends`. */
static inline size_t table_bound(const struct table *table)
{
	return sizeof *table + sizeof *table->shared + table->shared->len + DNAME_MAX +
	       (table->run_count + (size_t)1) * sizeof *table->runs + slots_octets(table) +
	       table->pair_count * (size_t)8 + table->label_octets;
}

/** Make a slot, as slot_find gave it, that of the name at `name`. */
void slot_fill(struct table *table, struct slot *slot, uint32_t tag, size_t name);

/**
 * Put the ancestors of an entry's name into the index.
 *
 * @param all  false: up to the first one that is there. That is enough where every name of the
 * index has all of its ancestors there
 * @return how many are parents only now
 */
size_t ancestors_add(struct table *table, size_t name, bool all);

/** How many addresses of an entry lead back to its name: none of a wildcard. */
size_t pairs_of(const struct table *table, size_t name);

/** The bucket of one of an entry's addresses, which are numbered from 0, those of AAAA last. */
size_t bucket_of_address(
	const struct table *table, const struct table_addresses *addresses, size_t number);

/** How many buckets there are for so many addresses, of which there are some: as a power of 2. */
unsigned bucket_bits_for(size_t pair_count);

/** Allocate 2^bits buckets, all of them empty, for `pair_count`. @return 0; -ENOMEM */
int reverse_reserve(struct table *table, unsigned bits) __attribute__((warn_unused_result));

/** Sort all addresses of the arena, but those of wildcards, into reserved buckets by counting. */
void reverse_fill(struct table *table);
