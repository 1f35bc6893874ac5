/* SPDX-License-Identifier: Apache-2.0
 *
 * Whether two tables say the same: the one made of nothing, the other of a former table. Both have
 * the same seed. What differs is where things lie, and marks that say "perhaps".
 */
#pragma once

#include "dns/mesh/document.h"
#include "dns/mesh/layout.h"

#include <string.h>

/* The length of the name at a place of the arena; 0 where there is none. */
static inline size_t same_name_len(const struct table *table, size_t place)
{
	size_t at = place;
	while (at < table->shared->len && table->arena[at] != 0) {
		at += (size_t)1 + table->arena[at];
	}
	size_t len = at + 1 - place;
	return at < table->shared->len && len <= DNAME_MAX ? len : 0;
}

/* Whether names can be compared at the end of the arena. */
static inline bool same_end(const struct table *table)
{
	static const uint8_t none[DNAME_MAX];
	return memcmp(table->arena + table->shared->len, none, sizeof none) == 0;
}

/* Whether slots lead to names, each to another one, and look-ups come to each of them. */
static inline bool same_index_is_sound(const struct table *table)
{
	size_t used = 0;
	for (size_t i = 0; i < (size_t)1 << table->slot_bits; i++) {
		const struct slot *slot = &table->slots[i];
		size_t len = slot->name != 0 ? same_name_len(table, slot->name) : 0;
		const uint8_t *name = table->arena + slot->name;
		if (slot->name == 0) {
			continue;
		}
		used++;
		if (len == 0 || (slot->tag & ~NO_HASH) != name_tag(table, name, len) ||
			slot_find(table, name, len, slot->tag) != slot) {
			return false;
		}
	}
	return used == table->slots_used && used < (size_t)1 << table->slot_bits;
}

/* The names of a sound index, found in another one: those with a record, and those above others. */
static inline bool same_names(const struct table *whole, const struct table *patched)
{
	for (size_t i = 0; i < (size_t)1 << whole->slot_bits; i++) {
		struct slot slot = whole->slots[i];
		if (slot.name == 0) {
			continue;
		}
		const uint8_t *name = whole->arena + slot.name;
		size_t len = same_name_len(whole, slot.name);
		const struct slot *found = slot_find(patched, name, len, slot.tag);
		bool parent = (found->tag & PARENT) != 0 || (slot.tag & PARENT) == 0;
		if (found->name == 0 || (found->tag | PARENT) != (slot.tag | PARENT) || !parent) {
			return false;
		}
	}
	return true;
}

/* The entries, one by one, and that look-ups come to these and no others. */
static inline bool same_entries(const struct table *whole, const struct table *patched)
{
	struct table_cursor cursor = {0}, other = {0};
	for (size_t name; (name = entry_next(whole, &cursor)) != 0;) {
		size_t same = entry_next(patched, &other);
		size_t len = entry_end(whole, name) - name;
		if (same == 0 || entry_end(patched, same) - same != len ||
			memcmp(whole->arena + name - HEADER_LEN, patched->arena + same - HEADER_LEN,
				len + HEADER_LEN) != 0) {
			return false;
		}
		size_t name_len = entry_name_len(patched, same);
		const uint8_t *octets = patched->arena + same;
		uint32_t tag = name_tag(patched, octets, name_len);
		if (slot_find(patched, octets, name_len, tag)->name != same) {
			return false;
		}
	}
	return entry_next(patched, &other) == 0;
}

static inline bool same_labels(const struct table *table, const struct table *other)
{
	if (table->label_count != other->label_count ||
		table->label_octets != other->label_octets) {
		return false;
	}
	for (size_t i = 0; i < table->label_count; i++) {
		if (strcmp(table->labels[i].name, other->labels[i].name) != 0 ||
			strcmp(table->labels[i].value, other->labels[i].value) != 0) {
			return false;
		}
	}
	return true;
}

/* Whether an address leads to the same names, in the same order. */
static inline bool same_way_back(
	const struct table *whole, const struct table *patched, const struct address *address)
{
	uint32_t cursor = 0, other = 0;
	struct span name, same;
	do {
		name = table_reverse(whole, address, &cursor);
		same = table_reverse(patched, address, &other);
		if (name.len != same.len ||
			(name.len > 0 && memcmp(name.data, same.data, name.len) != 0)) {
			return false;
		}
	} while (name.len > 0);
	return true;
}

/* Whether addresses lead back as they should, and there are no pairs besides. */
static inline bool same_pairs(const struct table *whole, const struct table *patched)
{
	struct table_cursor cursor = {0};
	for (size_t name; (name = entry_next(whole, &cursor)) != 0;) {
		struct table_addresses all = entry_addresses(whole, name);
		for (size_t i = 0; i < (size_t)all.a_count + all.aaaa_count; i++) {
			bool four = i < all.a_count;
			struct address address = {.len = four ? 4 : 16};
			memcpy(address.octets,
				four ? all.a + 4 * i : all.aaaa + 16 * (i - all.a_count),
				address.len);
			if (!same_way_back(whole, patched, &address)) {
				return false;
			}
		}
	}
	return patched->pair_count == 0 ||
	       patched->bucket_ends[((size_t)1 << patched->bucket_bits) - 1] == patched->pair_count;
}

/** @return what differs; NULL: nothing. The patched one may have room for more names. */
static inline const char *table_differs(const struct table *whole, const struct table *patched)
{
	return patched->seed != whole->seed         ? "seed"
	       : patched->count != whole->count     ? "count"
	       : patched->skipped != whole->skipped ? "skipped"
	       : patched->ttl != whole->ttl         ? "ttl"
	       : patched->generation != whole->generation ||
			       patched->references != whole->references
		       ? "owners"
	       : !same_labels(whole, patched)             ? "labels"
	       : !same_end(patched)                       ? "end"
	       : !same_entries(whole, patched)            ? "entries"
	       : !patched->wildcards && whole->wildcards  ? "wildcards"
	       : !same_index_is_sound(whole)              ? "index of the whole one"
	       : !same_index_is_sound(patched)            ? "index"
	       : patched->slots_used != whole->slots_used ? "number of slots"
	       : patched->slot_bits < whole->slot_bits    ? "room for slots"
	       : !same_names(whole, patched)              ? "names"
	       : patched->pair_count != whole->pair_count ? "number of pairs"
	       : !same_pairs(whole, patched)              ? "pairs"
							  : NULL;
}

/** @return whether the two say the same */
static inline bool same_report(
	const struct document_report *report, const struct document_report *other)
{
	return strcmp(report->error, other->error) == 0 &&
	       report->skipped_records == other->skipped_records &&
	       report->skipped_addresses == other->skipped_addresses &&
	       report->skipped_labels == other->skipped_labels &&
	       strcmp(report->skipped_text, other->skipped_text) == 0;
}
