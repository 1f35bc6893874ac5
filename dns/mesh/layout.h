/* SPDX-License-Identifier: Apache-2.0
 *
 * How the table lies in memory; for table.c, which reads it, and for builder.c, index.c and
 * patch.c, which make it.
 *
 * Entries are packed in an arena:
 *
 *     text u64 | a_count u16 | aaaa_count u16 | name_len u8 | name | a_count * 4 octets |
 * aaaa_count * 16 octets
 *
 * `text` is the hash of the octets that the entry was made of, 0 where it may not be made of the
 * same ones again. Tables have an arena in common as long as few entries change: a new one is put
 * behind all others, what is in use changes never. So each table says which runs of entries are
 * its own, in the order of the document.
 *
 * Names are found through an open-addressing index of 8-octet slots, each with 30 bits of the
 * name's hash and the place of the name in the arena. A name without a record (an empty
 * non-terminal) is a suffix of some entry's name, so its slot points into the middle of that one,
 * also when the entry is no longer the table's.
 * Positions come from the upper bits of the hash: growing needs no name and goes through memory in
 * order. Addresses are found through buckets of entries.
 */
#pragma once

#include "dns/mesh/table.h"

#include <stdatomic.h>

#define XXH_INLINE_ALL
#include <xxhash.h>

enum { HEADER_LEN = 13 };

/* The bits of a slot's tag that are not of the hash. */
static const uint32_t RECORD = 1; /* it has a record */
static const uint32_t PARENT = 2; /* there are names below it, or were when there were others */
static const uint32_t NO_HASH = 3;

struct slot {
	uint32_t tag;
	uint32_t name; /* place in the arena; 0: the slot is free */
};

struct arena {
	_Atomic uint32_t references; /* of tables */
	/* The rest is for who makes tables, one thread alone. */
	uint32_t len;  /* octets in use, and DNAME_MAX more that are 0: names are compared there */
	uint32_t size; /* octets there are */
	uint8_t octets[];
};

/* Entries side by side: the first octet, and behind the last one. */
struct run {
	uint32_t begin;
	uint32_t end;
};

struct table {
	/* Any thread counts. The last one down orders all uses before the free. */
	_Atomic uint32_t references;
	uint32_t generation;
	uint32_t ttl;
	uint32_t count;
	uint32_t skipped;
	bool wildcards; /* some name begins with the label `*`, or one that is gone did */
	uint64_t seed;
	struct arena *shared;
	uint8_t *arena; /* octets of that one */
	struct run *runs;
	uint32_t run_count;
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
	return (uint32_t)(hash(table, name, len) >> 32) & ~NO_HASH;
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
		if (((slot->tag ^ tag) & ~NO_HASH) == 0) {
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

static inline uint64_t entry_text(const struct table *table, size_t name)
{
	uint64_t text;
	memcpy(&text, table->arena + name - HEADER_LEN, sizeof text);
	return text;
}

static inline struct table_addresses entry_addresses(const struct table *table, size_t name)
{
	const uint8_t *counts = table->arena + name - 5;
	struct table_addresses addresses = {
		.a_count = host_u16(counts),
		.aaaa_count = host_u16(counts + 2),
		.a = table->arena + name + entry_name_len(table, name),
	};
	addresses.aaaa = addresses.a + (size_t)4 * addresses.a_count;
	return addresses;
}

/* Behind the last octet of an entry. */
static inline size_t entry_end(const struct table *table, size_t name)
{
	struct table_addresses addresses = entry_addresses(table, name);
	return (size_t)(addresses.aaaa - table->arena) + (size_t)16 * addresses.aaaa_count;
}

/* The name of the entry at the cursor, which moves on; 0 behind the last one. */
static inline size_t entry_next(const struct table *table, struct table_cursor *cursor)
{
	if (cursor->run == table->run_count) {
		return 0;
	}
	const struct run *run = &table->runs[cursor->run];
	size_t name = run->begin + cursor->at + (size_t)HEADER_LEN;
	size_t end = entry_end(table, name);
	*cursor = end == run->end ? (struct table_cursor){.run = cursor->run + 1}
				  : (struct table_cursor){
					    .run = cursor->run, .at = (uint32_t)end - run->begin};
	return name;
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

/* Labels come to another table, which has none. */
static inline void labels_move(struct table *to, struct table *from)
{
	to->labels = from->labels;
	to->label_count = from->label_count;
	to->label_octets = from->label_octets;
	from->labels = NULL;
	from->label_count = 0;
	from->label_octets = 0;
}
