/* SPDX-License-Identifier: Apache-2.0
 *
 * The table: an immutable map from mesh name to addresses, and back. Shared by counted references;
 * what changes is another table. Look-ups do no I/O and no allocation.
 */
#pragma once

#include "dns/wire/dname.h"

struct table;
struct table_builder;

/** One label of the table's `extraLabels`, for metrics; NUL-terminated, valid as long as the table.
 */
struct table_label {
	const char *name;
	const char *value;
};

enum table_found {
	TABLE_ABSENT, /* no such name, and none below it */
	TABLE_EMPTY,  /* names exist below it, it has no record itself (RFC 4592 §2.2.2) */
	TABLE_NAME    /* it has a record, its own or a wildcard's */
};

/** What a name has: packed addresses, `a_count` of 4 octets and `aaaa_count` of 16. Borrowed. */
struct table_addresses {
	const uint8_t *a;
	const uint8_t *aaaa;
	uint16_t a_count;
	uint16_t aaaa_count;
	bool wildcard; /* they are a wildcard's */
};

/**
 * Find a name: itself, else the wildcard at its closest encloser (RFC 4592 §3.3.1).
 *
 * @param      name   folded
 * @param[out] found  set where TABLE_NAME is returned; points into the table
 * Cost: one probe for a name that is there; for others, where the table has wildcards, one for
 * each label at most.
 */
enum table_found table_lookup(
	const struct table *table, const struct dname *name, struct table_addresses *found);

/**
 * Begin to bring what table_lookup will read into the processor's cache. First the slot; when that
 * is there, the entry.
 *
 * @param name  folded
 * @return for table_fetch_entry of the same table
 */
uint32_t table_fetch_slot(const struct table *table, const struct dname *name);

/** @return whether there is a name with this tag, very likely the one that was meant */
bool table_fetch_entry(const struct table *table, uint32_t tag);

/** As table_lookup. @param tag  what table_fetch_slot gave for this name */
enum table_found table_lookup_fetched(const struct table *table, const struct dname *name,
	uint32_t tag, struct table_addresses *found);

/**
 * The names of an address, one a call.
 *
 * @param         address  whose names
 * @param[in,out] cursor   0 at first; afterwards as it was left
 * @return a name on the wire, uncompressed, without wildcards; an empty span after the last.
 * Borrowed.
 */
struct span table_reverse(
	const struct table *table, const struct address *address, uint32_t *cursor);

/** How far a walk has come; all 0 at first. */
struct table_cursor {
	uint32_t run;
	uint32_t at;
};

/**
 * Every name with a record, one a call, in the order of the document.
 *
 * @param[in,out] cursor  as it was left
 * @return the owner name on the wire; an empty span after the last. Borrowed.
 */
struct span table_next(
	const struct table *table, struct table_cursor *cursor, struct table_addresses *addresses);

uint32_t table_ttl(const struct table *table);        /* seconds, 0..2^31-1 (RFC 2181 §8) */
uint32_t table_count(const struct table *table);      /* names with a record */
uint32_t table_skipped(const struct table *table);    /* records that could not be used */
uint32_t table_generation(const struct table *table); /* as set by table_set_generation, 1 and up */
size_t table_memory(const struct table *table);       /* octets held */
const struct table_label *table_labels(const struct table *table, size_t *count);

/** Number the table; before it is shared. */
void table_set_generation(struct table *table, uint32_t generation);

/** One more owner of the table. Any thread. */
struct table *table_ref(struct table *table);

/** One owner less; the last one frees. Any thread. NULL is a no-op. */
void table_unref(struct table *table);

/**
 * Start a table.
 *
 * @param seed   random; no requestor must know it (it keys the hash)
 * @param limit  octets the finished table may hold: a hostile document must not take all memory
 * @return NULL without memory
 */
struct table_builder *table_builder_new(uint64_t seed, size_t limit);

/**
 * Start a table that will have much in common with `former`: what did not change is taken over, at
 * a small part of what making it costs.
 *
 * @param former  borrowed until the builder is freed
 * @param limit   as of table_builder_new
 * @return NULL without memory
 */
struct table_builder *table_builder_after(const struct table *former, size_t limit);

/**
 * Take over an entry of the former table, if one of the next few was made of the same text.
 *
 * @return 1: it is taken over; 0: it is not, or there is no former table, and the record has to be
 * added; -ENOMEM
 */
int table_builder_keep(struct table_builder *builder, struct span text)
	__attribute__((warn_unused_result));

/** Remember what the record is made of that will be added next. @param text  of it alone, and all
 * of it: the same octets make the same record, whatever follows them */
void table_builder_text(struct table_builder *builder, struct span text);

/**
 * Add a record. A second record of the same name adds its addresses; an address given twice counts
 * once. `count` 0 makes a name that has no address: NODATA for every type.
 *
 * @return 0; -ENOMEM; -E2BIG beyond the limit; -EAGAIN: it has to be made without the former table.
 * After an error the builder can only be freed.
 */
int table_builder_add(struct table_builder *builder, const struct dname *name,
	const struct address *addresses, size_t count) __attribute__((warn_unused_result));

/** Count a record that cannot be used. */
void table_builder_skip(struct table_builder *builder);

/** Add a label for metrics; both texts are copied. @return 0; -ENOMEM; -E2BIG beyond 64 labels */
int table_builder_label(struct table_builder *builder, const char *name, const char *value)
	__attribute__((warn_unused_result));

/**
 * Finish: the builder is freed, whatever is returned.
 *
 * @param ttl  seconds
 * @return the table with one reference, generation 0; NULL without memory, or if it has to be made
 * without the former table
 */
struct table *table_builder_finish(struct table_builder *builder, uint32_t ttl);

/** Give up. NULL is a no-op. */
void table_builder_free(struct table_builder *builder);
