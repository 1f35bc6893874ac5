/* SPDX-License-Identifier: Apache-2.0
 *
 * How the table lies in memory; for table.c, which reads it, and builder.c, which makes it.
 *
 * Entries are packed in one arena, in the order of the document:
 *
 *     a_count u16 | aaaa_count u16 | name_len u8 | name | a_count * 4 octets | aaaa_count * 16
 * octets
 *
 * Names are found through an open-addressing index of 8-octet slots, each with 31 bits of the
 * name's hash and the place of the name in the arena. A name without a record (an empty
 * non-terminal) is a suffix of some entry's name, so its slot points into the middle of that one.
 * Positions come from the upper bits of the hash: growing needs no name and goes through memory in
 * order. Addresses are found through buckets of entries.
 */
#pragma once

#include "dns/mesh/table.h"

#include <stdatomic.h>

#define XXH_INLINE_ALL
#include <xxhash.h>

enum { HEADER_LEN = 5 };

static const uint32_t RECORD = 1; /* the bit of a slot's tag that is not of the hash */

struct slot {
	uint32_t tag;
	uint32_t name; /* place in the arena; 0: the slot is free */
};

struct table {
	/* Any thread counts. The last one down orders all uses before the free. */
	_Atomic uint32_t references;
	uint32_t generation;
	uint32_t ttl;
	uint32_t count;
	uint32_t skipped;
	bool wildcards; /* some name begins with the label `*` */
	uint64_t seed;
	uint8_t *arena;
	size_t arena_len; /* DNAME_MAX octets more are always allocated: names are compared there */
	struct slot *slots;
	unsigned slot_bits;
	uint32_t slots_used;
	uint32_t *bucket_ends; /* bucket i of `pairs` ends before bucket_ends[i] */
	unsigned bucket_bits;
	uint32_t *pairs; /* places of names in the arena, one for each address of each */
	uint32_t pair_count;
	struct table_label *labels;
	size_t label_count;
	size_t label_octets;
};

static inline uint64_t hash(const struct table *table, const uint8_t *octets, size_t len)
{
	return XXH3_64bits_withSeed(octets, len, table->seed);
}

static inline uint32_t name_tag(const struct table *table, const uint8_t *name, size_t len)
{
	return (uint32_t)(hash(table, name, len) >> 32) & ~RECORD;
}

/* The slot of a name, or the free one where it belongs. Names end themselves, so that comparing the
 * length of one of them decides. */
static inline struct slot *slot_find(
	const struct table *table, const uint8_t *name, size_t len, uint32_t tag)
{
	size_t mask = ((size_t)1 << table->slot_bits) - 1;
	size_t i = tag >> (32 - table->slot_bits);
	for (;; i = (i + 1) & mask) {
		struct slot *slot = &table->slots[i];
		if (slot->name == 0) {
			return slot;
		}
		if (((slot->tag ^ tag) & ~RECORD) == 0) {
			const uint8_t *found = table->arena + slot->name;
			__builtin_prefetch(found + len); /* the addresses, in another line mostly */
			if (memcmp(found, name, len) == 0) {
				return slot;
			}
		}
	}
}

static inline bool is_wildcard(const uint8_t *name)
{
	return name[0] == 1 && name[1] == '*';
}

static inline uint16_t host_u16(const uint8_t *p)
{
	uint16_t value;
	memcpy(&value, p, sizeof value);
	return value;
}

static inline uint8_t entry_name_len(const struct table *table, size_t name)
{
	return table->arena[name - 1];
}

static inline struct table_addresses entry_addresses(const struct table *table, size_t name)
{
	const uint8_t *header = table->arena + name - HEADER_LEN;
	struct table_addresses addresses = {
		.a_count = host_u16(header),
		.aaaa_count = host_u16(header + 2),
		.a = table->arena + name + entry_name_len(table, name),
	};
	addresses.aaaa = addresses.a + (size_t)4 * addresses.a_count;
	return addresses;
}

/* Where the next entry's name is, the first one's being at HEADER_LEN. */
static inline size_t entry_after(const struct table *table, size_t name)
{
	struct table_addresses addresses = entry_addresses(table, name);
	return (size_t)(addresses.aaaa - table->arena) + (size_t)16 * addresses.aaaa_count +
	       HEADER_LEN;
}

static inline bool entry_exists(const struct table *table, size_t name)
{
	return name < table->arena_len;
}

static inline bool list_has(const uint8_t *list, size_t count, const uint8_t *octets, size_t len)
{
	for (size_t i = 0; i < count; i++) {
		if (memcmp(list + i * len, octets, len) == 0) {
			return true;
		}
	}
	return false;
}

static inline size_t bucket_of(const struct table *table, const uint8_t *octets, size_t len)
{
	return (size_t)(hash(table, octets, len) >> (64 - table->bucket_bits));
}

static inline size_t slots_octets(const struct table *table)
{
	return sizeof(struct slot) << table->slot_bits;
}
