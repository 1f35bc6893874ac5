/* SPDX-License-Identifier: Apache-2.0
 *
 * The table, read: look-ups and shared ownership. builder.c makes it.
 */
#include "dns/mesh/layout.h"

#include <stdlib.h>

enum { CACHE_LINE = 64 };

static bool entry_has(const struct table *table, size_t name, const struct address *address)
{
	struct table_addresses all = entry_addresses(table, name);
	return address->len == 4 ? list_has(all.a, all.a_count, address->octets, 4)
				 : list_has(all.aaaa, all.aaaa_count, address->octets, 16);
}

/* RFC 4592 §3.3.1: the wildcard at the closest encloser of a name that does not exist. */
static const struct slot *wildcard_find(const struct table *table, const struct dname *name)
{
	size_t at = 0;
	const struct slot *encloser;
	do {
		at += (size_t)1 + name->octets[at];
		size_t len = name->len - at;
		encloser = slot_find(
			table, name->octets + at, len, name_tag(table, name->octets + at, len));
	} while (encloser->name == 0);

	/* The root exists in every table with a name, and a closest encloser lacks at least one
	 * label of the name: there is room for the asterisk. */
	uint8_t source[2 + DNAME_MAX] = {1, '*'};
	size_t len = name->len - at;
	memcpy(source + 2, name->octets + at, len);
	return slot_find(table, source, len + 2, name_tag(table, source, len + 2));
}

enum table_found table_lookup_fetched(const struct table *table, const struct dname *name,
	uint32_t tag, struct table_addresses *found)
{
	const struct slot *slot = slot_find(table, name->octets, name->len, tag);
	bool wildcard = slot->name == 0 && table->wildcards;
	if (wildcard) {
		slot = wildcard_find(table, name);
	}
	if (slot->name == 0) {
		return TABLE_ABSENT;
	}
	if ((slot->tag & RECORD) == 0) {
		return TABLE_EMPTY;
	}
	*found = entry_addresses(table, slot->name);
	found->wildcard = wildcard;
	return TABLE_NAME;
}

enum table_found table_lookup(
	const struct table *table, const struct dname *name, struct table_addresses *found)
{
	uint32_t tag = name_tag(table, name->octets, name->len);
	return table_lookup_fetched(table, name, tag, found);
}

/** The slot of the first name with this tag, nearly always the only one. */
static const struct slot *slot_of_tag(const struct table *table, uint32_t tag)
{
	size_t mask = ((size_t)1 << table->slot_bits) - 1;
	size_t i = tag >> (32 - table->slot_bits);
	while (table->slots[i].name != 0 && ((table->slots[i].tag ^ tag) & ~NO_HASH) != 0) {
		i = (i + 1) & mask;
	}
	return &table->slots[i];
}

uint32_t table_fetch_slot(const struct table *table, const struct dname *name)
{
	uint32_t tag = name_tag(table, name->octets, name->len);
	__builtin_prefetch(&table->slots[tag >> (32 - table->slot_bits)]);
	return tag;
}

bool table_fetch_entry(const struct table *table, uint32_t tag)
{
	const struct slot *slot = slot_of_tag(table, tag);
	const uint8_t *name = table->arena + slot->name;
	__builtin_prefetch(name);
	__builtin_prefetch(name + CACHE_LINE);
	return slot->name != 0;
}

struct span table_reverse(
	const struct table *table, const struct address *address, uint32_t *cursor)
{
	if (table->pair_count == 0) {
		return (struct span){0};
	}
	size_t bucket = bucket_of(table, address->octets, address->len);
	size_t begin = bucket == 0 ? 0 : table->bucket_ends[bucket - 1];
	size_t end = table->bucket_ends[bucket];
	for (size_t i = begin + *cursor; i < end; i++) {
		uint32_t name = table->pairs[i];
		/* A name with two addresses in this bucket is there twice, side by side. */
		if ((i > begin && table->pairs[i - 1] == name) ||
			!entry_has(table, name, address)) {
			continue;
		}
		*cursor = (uint32_t)(i - begin + 1);
		return (struct span){table->arena + name, entry_name_len(table, name)};
	}
	*cursor = (uint32_t)(end - begin);
	return (struct span){0};
}

struct span table_next(
	const struct table *table, struct table_cursor *cursor, struct table_addresses *addresses)
{
	size_t name = entry_next(table, cursor);
	if (name == 0) {
		return (struct span){0};
	}
	*addresses = entry_addresses(table, name);
	return (struct span){table->arena + name, entry_name_len(table, name)};
}

uint32_t table_ttl(const struct table *table)
{
	return table->ttl;
}

uint32_t table_count(const struct table *table)
{
	return table->count;
}

uint32_t table_skipped(const struct table *table)
{
	return table->skipped;
}

uint32_t table_generation(const struct table *table)
{
	return table->generation;
}

size_t table_memory(const struct table *table)
{
	size_t reverse = table->pair_count == 0 ? 0
						: (sizeof(uint32_t) << table->bucket_bits) +
							  table->pair_count * sizeof(uint32_t);
	return sizeof *table + sizeof *table->shared + table->shared->len + DNAME_MAX +
	       table->run_count * sizeof *table->runs + slots_octets(table) + reverse +
	       table->label_octets;
}

const struct table_label *table_labels(const struct table *table, size_t *count)
{
	*count = table->label_count;
	return table->labels;
}

void table_set_generation(struct table *table, uint32_t generation)
{
	table->generation = generation;
}

struct table *table_ref(struct table *table)
{
	atomic_fetch_add_explicit(&table->references, 1, memory_order_relaxed);
	return table;
}

/* Whether that was the last of the references. */
static bool is_last(_Atomic uint32_t *references)
{
	return atomic_fetch_sub_explicit(references, 1, memory_order_acq_rel) == 1;
}

static void arena_unref(struct arena *arena)
{
	if (arena && is_last(&arena->references)) {
		free(arena);
	}
}

static void table_free(struct table *table)
{
	for (size_t i = 0; i < table->label_count; i++) {
		free((void *)(uintptr_t)table->labels[i].name); /* the value is behind it */
	}
	free(table->labels);
	free(table->pairs);
	free(table->bucket_ends);
	free(table->slots);
	free(table->runs);
	arena_unref(table->shared);
	free(table);
}

void table_unref(struct table *table)
{
	if (table && is_last(&table->references)) {
		table_free(table);
	}
}
