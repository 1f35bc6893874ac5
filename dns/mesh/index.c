/* SPDX-License-Identifier: Apache-2.0
 *
 * Both ways into the arena: open addressing for names, buckets sorted by counting for addresses.
 */
#include "dns/mesh/index.h"

#include "conf/giveway.h"

#include <errno.h>
#include <stdlib.h>

enum { NAMES_A_TURN = 256 /* some 5 µs of work */ };

void slot_fill(struct table *table, struct slot *slot, uint32_t tag, size_t name)
{
	if (slot->name == 0) {
		table->slots_used++;
	}
	*slot = (struct slot){.tag = tag, .name = (uint32_t)name};
	if (is_wildcard(table->arena + name)) {
		table->wildcards = true;
	}
}

size_t ancestors_add(struct table *table, size_t name, bool all)
{
	size_t new_parents = 0;
	size_t end = name + entry_name_len(table, name);
	bool more = true;
	for (name += (size_t)1 + table->arena[name]; more && name < end;
		name += (size_t)1 + table->arena[name]) {
		uint32_t tag = name_tag(table, table->arena + name, end - name);
		struct slot *slot = slot_find(table, table->arena + name, end - name, tag);
		more = all || slot->name == 0;
		if (slot->name == 0) {
			slot_fill(table, slot, tag, name);
		}
		new_parents += (slot->tag & PARENT) == 0;
		slot->tag |= PARENT;
	}
	return new_parents;
}

size_t pairs_of(const struct table *table, size_t name)
{
	struct table_addresses all = entry_addresses(table, name);
	return is_wildcard(table->arena + name) ? 0 : (size_t)all.a_count + all.aaaa_count;
}

size_t bucket_of_address(
	const struct table *table, const struct table_addresses *addresses, size_t number)
{
	return number < addresses->a_count
		       ? bucket_of(table, addresses->a + 4 * number, 4)
		       : bucket_of(table, addresses->aaaa + 16 * (number - addresses->a_count), 16);
}

unsigned bucket_bits_for(size_t pair_count)
{
	unsigned bits = 1;
	while ((size_t)2 << bits <= pair_count) {
		bits++;
	}
	return bits;
}

int reverse_reserve(struct table *table, unsigned bits)
{
	if (table->pair_count == 0) {
		return 0;
	}
	table->bucket_bits = bits;
	table->bucket_ends = calloc((size_t)1 << bits, sizeof *table->bucket_ends);
	table->pairs = malloc(table->pair_count * sizeof *table->pairs);
	return table->bucket_ends && table->pairs ? 0 : -ENOMEM;
}

/* Call for each address of each name that is no wildcard: count them (`pairs` NULL) or place them.
 */
static void pairs_walk(struct table *table, uint32_t *pairs)
{
	struct table_cursor cursor = {0};
	size_t count = 0;
	for (size_t name; (name = entry_next(table, &cursor)) != 0;) {
		if (++count % NAMES_A_TURN == 0) {
			give_way();
		}
		struct table_addresses all = entry_addresses(table, name);
		size_t pairs_here = pairs_of(table, name);
		for (size_t i = 0; i < pairs_here; i++) {
			uint32_t at = table->bucket_ends[bucket_of_address(table, &all, i)]++;
			if (pairs) {
				pairs[at] = (uint32_t)name;
			}
		}
	}
}

/* `bucket_ends` holds the counts, then the beginnings, and after the second walk the ends. */
void reverse_fill(struct table *table)
{
	if (table->pair_count == 0) {
		return;
	}
	pairs_walk(table, NULL);
	uint32_t begin = 0;
	for (size_t i = 0; i < (size_t)1 << table->bucket_bits; i++) {
		uint32_t count = table->bucket_ends[i];
		table->bucket_ends[i] = begin;
		begin += count;
	}
	pairs_walk(table, table->pairs);
}
