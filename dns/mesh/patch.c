/* SPDX-License-Identifier: Apache-2.0
 *
 * While records are read, entries are collected in runs, those of the former table and those that
 * were made anew, and what the former table has besides is noted: it is gone.
 */
#include "dns/mesh/patch.h"

#include "conf/giveway.h"

#include <errno.h>
#include <stdlib.h>

enum {
	/* How much may have changed, or else all is made of nothing: one entry of so many in all,
	 * at once, and one of so many that were passed. */
	AT_ONCE = 64,
	ON_THE_WAY = 16,
	GARBAGE = 4,     /* of so many octets of an arena at most one is of no use */
	RUNS_MAX = 4096, /* more are too scattered */
	MOVES_MAX = 512, /* with more, the way from addresses to names is made of nothing */
	AHEAD = 4,       /* entries that a record is compared with */
	RUNS_AHEAD = 64, /* that a name is looked for in */
	/* Of these, until somebody else may have his turn. */
	OCTETS_A_TURN = 1 << 15,
	NAMES_A_TURN = 32,
	PAIRS_A_TURN = 256,
	BUCKETS_A_TURN = 4096
};

/* Places of names, in a list that grows. */
struct places {
	uint32_t *place;
	size_t count;
	size_t room;
};

struct piece {
	struct run run;
	bool is_new; /* it is in the arena of the changes */
};

struct patch {
	const struct table *former;
	struct table_cursor cursor; /* of the former table, at the entry that is compared next */
	uint32_t passed;            /* entries of the former table … */
	uint32_t kept;              /* … and those of them that were taken over */
	uint32_t changed;           /* entries that were made anew */
	struct piece *pieces;
	size_t piece_count;
	size_t piece_room;
	struct places gone; /* the others of the former table */
	struct places lost; /* names that had others below them, and are no longer in the index */
};

struct patch *patch_new(const struct table *former)
{
	struct patch *patch = calloc(1, sizeof *patch);
	if (patch) {
		patch->former = former;
	}
	return patch;
}

void patch_free(struct patch *patch)
{
	if (patch) {
		free(patch->lost.place);
		free(patch->gone.place);
		free(patch->pieces);
		free(patch);
	}
}

static int places_add(struct places *places, size_t place)
{
	if (places->count == places->room) {
		size_t room = places->room * 2 + 16;
		uint32_t *larger = realloc(places->place, room * sizeof *larger);
		if (!larger) {
			return -ENOMEM;
		}
		places->place = larger;
		places->room = room;
	}
	places->place[places->count++] = (uint32_t)place;
	return 0;
}

/* One more entry, behind all others. */
static int append(struct patch *patch, const struct table *of, size_t name)
{
	struct piece *last = patch->piece_count > 0 ? &patch->pieces[patch->piece_count - 1] : NULL;
	bool is_new = of != patch->former;
	struct run run = {(uint32_t)name - HEADER_LEN, (uint32_t)entry_end(of, name)};
	if (last && last->is_new == is_new && last->run.end == run.begin) {
		last->run.end = run.end;
		return 0;
	}
	if (patch->piece_count == patch->piece_room) {
		size_t room = patch->piece_room * 2 + 16;
		struct piece *larger = realloc(patch->pieces, room * sizeof *larger);
		if (!larger) {
			return -ENOMEM;
		}
		patch->pieces = larger;
		patch->piece_room = room;
	}
	patch->pieces[patch->piece_count++] = (struct piece){.run = run, .is_new = is_new};
	return 0;
}

/* The next entry of the former table is gone. @param[out] name  its place, 0 behind the last one */
static int pass(struct patch *patch, size_t *name)
{
	*name = entry_next(patch->former, &patch->cursor);
	if (*name == 0) {
		return 0;
	}
	if (++patch->passed % NAMES_A_TURN == 0) {
		give_way();
	}
	return places_add(&patch->gone, *name);
}

int patch_keep(struct patch *patch, uint64_t text)
{
	struct table_cursor behind = patch->cursor;
	unsigned between = 0;
	size_t name;
	while ((name = entry_next(patch->former, &behind)) != 0 &&
		entry_text(patch->former, name) != text) {
		if (++between == AHEAD) {
			return 0;
		}
	}
	if (name == 0) {
		return 0;
	}
	for (size_t passed; between > 0; between--) {
		int rc = pass(patch, &passed);
		if (rc < 0) {
			return rc;
		}
	}
	patch->cursor = behind;
	patch->passed++;
	patch->kept++;
	int rc = append(patch, patch->former, name);
	return rc < 0 ? rc : 1;
}

/* Whether a name of the former table is still to be compared, and not far ahead. */
static bool is_ahead(const struct patch *patch, uint32_t name)
{
	const struct table *former = patch->former;
	uint32_t at = patch->cursor.at;
	for (uint32_t i = patch->cursor.run;
		i < former->run_count && i - patch->cursor.run < RUNS_AHEAD; i++, at = 0) {
		if (former->runs[i].begin + at <= name && name < former->runs[i].end) {
			return true;
		}
	}
	return false;
}

int patch_change(struct patch *patch, const struct table *changes, size_t name)
{
	const struct table *former = patch->former;
	if (++patch->changed > former->count / AT_ONCE + patch->passed / ON_THE_WAY) {
		return -EAGAIN;
	}
	const uint8_t *octets = changes->arena + name;
	size_t len = entry_name_len(changes, name);
	const struct slot *slot = slot_find(former, octets, len, name_tag(former, octets, len));
	int rc = 0;
	if (slot->name != 0 && (slot->tag & RECORD) != 0 && is_ahead(patch, slot->name)) {
		/* What comes behind it is compared next. */
		size_t passed;
		do {
			rc = pass(patch, &passed);
		} while (rc == 0 && passed != 0 && passed != slot->name);
	}
	return rc == 0 ? append(patch, changes, name) : rc;
}

/* What has not been compared is gone. */
static int pass_all(struct patch *patch)
{
	size_t name;
	int rc;
	do {
		rc = pass(patch, &name);
	} while (rc == 0 && name != 0);
	return rc;
}

static void *copy(const void *from, size_t len)
{
	uint8_t *to = malloc(len);
	for (size_t at = 0; to && at < len; at += OCTETS_A_TURN) {
		size_t left = len - at;
		memcpy(to + at, (const uint8_t *)from + at,
			left < OCTETS_A_TURN ? left : OCTETS_A_TURN);
		give_way();
	}
	return to;
}

/* Put the changes behind all that is in the arena. Workers may be comparing names with what follows
 * the last entry: that stays as it is. @param[out] base  where the changes begin */
static int arena_extend(struct table *table, const struct table *changes, uint32_t *base)
{
	struct arena *arena = table->shared;
	size_t len = changes->shared->len;
	*base = arena->len + DNAME_MAX;
	if (len == 0) {
		return 0;
	}
	if (*base + len + DNAME_MAX > arena->size) {
		return -EAGAIN;
	}
	memcpy(arena->octets + *base, changes->arena, len);
	memset(arena->octets + *base + len, 0, DNAME_MAX);
	arena->len = *base + (uint32_t)len;
	return 0;
}

static int runs_take(const struct patch *patch, struct table *table, uint32_t base)
{
	size_t in_use = 0;
	if (patch->piece_count > RUNS_MAX) {
		return -EAGAIN;
	}
	table->runs = malloc((patch->piece_count + 1) * sizeof *table->runs);
	if (!table->runs) {
		return -ENOMEM;
	}
	for (size_t i = 0; i < patch->piece_count; i++) {
		struct run run = patch->pieces[i].run;
		uint32_t by = patch->pieces[i].is_new ? base : 0;
		table->runs[i] = (struct run){run.begin + by, run.end + by};
		in_use += run.end - run.begin;
	}
	table->run_count = (uint32_t)patch->piece_count;
	size_t len = table->shared->len;
	return len - in_use > len / GARBAGE ? -EAGAIN : 0;
}

static struct slot *name_slot(const struct table *table, const uint8_t *name, size_t len)
{
	return slot_find(table, name, len, name_tag(table, name, len));
}

/* Free a slot; those behind it that could not be where they belong move up. */
static void slot_free(struct table *table, struct slot *slot)
{
	size_t mask = ((size_t)1 << table->slot_bits) - 1;
	size_t hole = (size_t)(slot - table->slots);
	for (size_t i = (hole + 1) & mask; table->slots[i].name != 0; i = (i + 1) & mask) {
		size_t home = table->slots[i].tag >> (32 - table->slot_bits);
		if (((i - home) & mask) >= ((i - hole) & mask)) {
			table->slots[hole] = table->slots[i];
			hole = i;
		}
	}
	table->slots[hole] = (struct slot){0};
	table->slots_used--;
}

/* Take a name out of the index, and its ancestors that have no record: whether there is something
 * else below these will be seen. */
static int name_remove(struct patch *patch, struct table *table, size_t name)
{
	size_t end = name + entry_name_len(table, name);
	int rc = 0;
	for (size_t at = name; rc == 0 && at < end; at += (size_t)1 + table->arena[at]) {
		struct slot *slot = name_slot(table, table->arena + at, end - at);
		if (slot->name == 0 || (at != name && (slot->tag & RECORD) != 0)) {
			continue;
		}
		if ((slot->tag & PARENT) != 0) {
			rc = places_add(&patch->lost, at);
		}
		slot_free(table, slot);
	}
	return rc;
}

/* Names that are gone leave the index, unless there is something new of the same name. */
static int gone_remove(
	struct patch *patch, struct table *table, const struct table *changes, uint32_t base)
{
	int rc = 0;
	for (size_t i = 0; rc == 0 && i < patch->gone.count; i++) {
		if (i % NAMES_A_TURN == 0) {
			give_way();
		}
		size_t name = patch->gone.place[i];
		size_t len = entry_name_len(table, name);
		const struct slot *again = name_slot(changes, table->arena + name, len);
		if (again->name != 0 && (again->tag & RECORD) != 0) {
			name_slot(table, table->arena + name, len)->name = base + again->name;
		} else {
			rc = name_remove(patch, table, name);
		}
	}
	return rc;
}

/* Put the entries that were made anew into the index. */
static int changes_add(struct table *table, uint32_t base)
{
	size_t count = 0;
	for (size_t name = base + HEADER_LEN; name < table->shared->len;
		name = entry_end(table, name) + HEADER_LEN) {
		const uint8_t *octets = table->arena + name;
		size_t len = entry_name_len(table, name);
		uint32_t tag = name_tag(table, octets, len);
		struct slot *slot = slot_find(table, octets, len, tag);
		if (slot->name != name) {
			if (slot->name != 0 && (slot->tag & RECORD) != 0) {
				return -EEXIST;
			}
			slot_fill(table, slot, tag | RECORD | (slot->tag & PARENT), name);
		}
		(void)ancestors_add(table, name, false); /* the rest: see ancestors_restore */
		if (++count % NAMES_A_TURN == 0) {
			give_way();
		}
	}
	return 0;
}

/* How many of the lost are not in the index again with something below them. */
static size_t lost_count(const struct places *lost, const struct table *table)
{
	size_t count = 0;
	for (size_t i = 0; i < lost->count; i++) {
		const uint8_t *name = table->arena + lost->place[i];
		size_t len = 1;
		for (const uint8_t *label = name; *label != 0; label += (size_t)1 + *label) {
			len += (size_t)1 + *label;
		}
		count += (name_slot(table, name, len)->tag & PARENT) == 0;
		if (i % NAMES_A_TURN == 0) {
			give_way();
		}
	}
	return count;
}

/* Go through all entries until there is no name any more that one of them could be below. A name
 * that is in the index says nothing of its ancestors here: they may be among the lost. */
static void ancestors_restore(const struct places *lost, struct table *table)
{
	struct table_cursor cursor = {0};
	size_t left = lost_count(lost, table);
	size_t count = 0;
	for (size_t name; left > 0 && (name = entry_next(table, &cursor)) != 0;) {
		left -= ancestors_add(table, name, true);
		if (++count % NAMES_A_TURN == 0) {
			give_way();
		}
	}
}

static int slots_take(
	struct patch *patch, struct table *table, const struct table *changes, uint32_t base)
{
	const struct table *former = patch->former;
	if (!slots_suffice(former->slot_bits, former->slots_used + (size_t)changes->slots_used)) {
		return -EAGAIN;
	}
	table->slot_bits = former->slot_bits;
	table->slots_used = former->slots_used;
	table->wildcards = former->wildcards;
	table->slots = copy(former->slots, slots_octets(former));
	if (!table->slots) {
		return -ENOMEM;
	}
	int rc = gone_remove(patch, table, changes, base);
	if (rc == 0) {
		rc = changes_add(table, base);
	}
	if (rc == 0) {
		ancestors_restore(&patch->lost, table);
	}
	return rc;
}

/* A pair of address and name that comes to a bucket, or leaves it. */
struct move {
	uint32_t bucket;
	uint32_t name;
	bool comes;
};

static int move_compare(const void *left, const void *right)
{
	const struct move *a = left;
	const struct move *b = right;
	if (a->bucket != b->bucket) {
		return a->bucket < b->bucket ? -1 : 1;
	}
	return a->name < b->name ? -1 : a->name > b->name;
}

static size_t moves_add(struct move *moves, const struct table *table, size_t name, bool comes)
{
	struct table_addresses all = entry_addresses(table, name);
	size_t count = pairs_of(table, name);
	for (size_t i = 0; i < count; i++) {
		moves[i] = (struct move){.bucket = (uint32_t)bucket_of_address(table, &all, i),
			.name = (uint32_t)name,
			.comes = comes};
	}
	return count;
}

/* All of them, sorted; behind them one of no bucket. */
static struct move *moves_collect(const struct patch *patch, const struct table *table,
	uint32_t base, struct move moves[MOVES_MAX + 1])
{
	size_t count = 0;
	for (size_t i = 0; i < patch->gone.count; i++) {
		count += moves_add(moves + count, table, patch->gone.place[i], false);
		if (i % PAIRS_A_TURN == 0) {
			give_way();
		}
	}
	for (size_t name = base + HEADER_LEN; name < table->shared->len;
		name = entry_end(table, name) + HEADER_LEN) {
		count += moves_add(moves + count, table, name, true);
	}
	qsort(moves, count, sizeof *moves, move_compare);
	moves[count].bucket = UINT32_MAX;
	return moves;
}

/* Runs by where they are in the arena, for finding where they are in the document. */
struct ranked {
	uint32_t begin;
	uint32_t number;
};

static int ranked_compare(const void *left, const void *right)
{
	const struct ranked *a = left;
	const struct ranked *b = right;
	return a->begin < b->begin ? -1 : a->begin > b->begin;
}

static struct ranked *runs_rank(const struct table *table)
{
	struct ranked *ranked = malloc((table->run_count + (size_t)1) * sizeof *ranked);
	for (uint32_t i = 0; ranked && i < table->run_count; i++) {
		ranked[i] = (struct ranked){.begin = table->runs[i].begin, .number = i};
	}
	if (ranked) {
		qsort(ranked, table->run_count, sizeof *ranked, ranked_compare);
	}
	return ranked;
}

/* What is before it in the document has a smaller one. @param name  of an entry of the table */
static uint64_t rank(const struct ranked *ranked, size_t count, uint32_t name)
{
	size_t low = 0;
	while (count > 1) {
		size_t half = count / 2;
		low += ranked[low + half].begin <= name ? half : 0;
		count -= half;
	}
	return (uint64_t)ranked[low].number << 32 | name;
}

/* Whether a name leaves the bucket of these moves. Those that come have other places. */
static bool leaves(const struct move *moves, size_t count, uint32_t name)
{
	struct move key = {.bucket = moves->bucket, .name = name};
	return bsearch(&key, moves, count, sizeof *moves, move_compare) != NULL;
}

/* Ways from addresses to names, being made of those of a former table. */
struct reverse {
	struct table *table;
	const struct table *former;
	const struct ranked *ranked;
};

/* Copy buckets up to `end`, in which nothing changes. */
static void buckets_copy(const struct reverse *reverse, size_t begin, size_t end)
{
	const struct table *former = reverse->former;
	struct table *table = reverse->table;
	uint32_t from = begin > 0 ? former->bucket_ends[begin - 1] : 0;
	uint32_t to = begin > 0 ? table->bucket_ends[begin - 1] : 0;
	for (size_t bucket = begin; bucket < end; bucket++) {
		table->bucket_ends[bucket] = former->bucket_ends[bucket] - from + to;
	}
	uint32_t last = end > 0 ? former->bucket_ends[end - 1] : 0;
	memcpy(table->pairs + to, former->pairs + from, (last - from) * sizeof *table->pairs);
}

static uint64_t rank_of(const struct reverse *reverse, uint32_t name)
{
	return rank(reverse->ranked, reverse->table->run_count, name);
}

/* Fill a bucket, in the order of the document. @return behind its moves */
static const struct move *bucket_fill(const struct reverse *reverse, const struct move *moves)
{
	const struct table *former = reverse->former;
	struct table *table = reverse->table;
	uint32_t bucket = moves->bucket;
	uint32_t from = bucket > 0 ? former->bucket_ends[bucket - 1] : 0;
	uint32_t to = bucket > 0 ? table->bucket_ends[bucket - 1] : 0;
	size_t count = 0;
	while (moves[count].bucket == bucket) {
		count++;
	}
	const struct move *end = moves + count;
	const struct move *next = moves; /* that comes; they have the order of the document */
	for (; from < former->bucket_ends[bucket]; from++) {
		uint32_t name = former->pairs[from];
		if (from % PAIRS_A_TURN == 0) {
			give_way();
		}
		if (leaves(moves, count, name)) {
			continue;
		}
		for (; next < end &&
			(!next->comes || rank_of(reverse, next->name) < rank_of(reverse, name));
			next++) {
			if (next->comes) {
				table->pairs[to++] = next->name;
			}
		}
		table->pairs[to++] = name;
	}
	for (; next < end; next++) {
		if (next->comes) {
			table->pairs[to++] = next->name;
		}
	}
	table->bucket_ends[bucket] = to;
	return end;
}

static void pairs_fill(const struct reverse *reverse, const struct move *moves)
{
	size_t buckets = (size_t)1 << reverse->table->bucket_bits;
	for (size_t bucket = 0; bucket < buckets;) {
		size_t end = bucket + BUCKETS_A_TURN < buckets ? bucket + BUCKETS_A_TURN : buckets;
		bool changes = moves->bucket < end;
		end = changes ? moves->bucket : end;
		buckets_copy(reverse, bucket, end);
		if (changes) {
			moves = bucket_fill(reverse, moves);
		}
		bucket = end + changes;
		give_way();
	}
}

/* Take over what leads from addresses to names, but for few moves. */
static int pairs_take(const struct patch *patch, struct table *table, uint32_t base)
{
	struct move moves[MOVES_MAX + 1];
	struct ranked *ranked = runs_rank(table);
	if (!ranked) {
		return -ENOMEM;
	}
	struct reverse reverse = {.table = table, .former = patch->former, .ranked = ranked};
	pairs_fill(&reverse, moves_collect(patch, table, base, moves));
	free(ranked);
	return 0;
}

static int reverse_take(
	const struct patch *patch, struct table *table, const struct table *changes, uint32_t base)
{
	const struct table *former = patch->former;
	size_t leaving = 0;
	for (size_t i = 0; i < patch->gone.count; i++) {
		leaving += pairs_of(table, patch->gone.place[i]);
		if (i % PAIRS_A_TURN == 0) {
			give_way();
		}
	}
	table->pair_count = former->pair_count - (uint32_t)leaving + changes->pair_count;
	unsigned bits = bucket_bits_for(table->pair_count);
	/* A bucket may become twice as full, lest it is all made anew each time that a table grows
	 * and shrinks. */
	bool same = former->pair_count > 0 && leaving + changes->pair_count <= MOVES_MAX &&
		    (bits == former->bucket_bits || bits == former->bucket_bits + 1);
	int rc = reverse_reserve(table, same ? former->bucket_bits : bits);
	if (rc < 0 || table->pair_count == 0) {
		return rc;
	}
	if (same) {
		return pairs_take(patch, table, base);
	}
	reverse_fill(table);
	return 0;
}

struct table *patch_apply(struct patch *patch, struct table *changes, size_t limit)
{
	const struct table *former = patch->former;
	/* Without names there is no root, where looking for wildcards ends. */
	bool some = patch->kept + changes->count > 0;
	struct table *table = some ? calloc(1, sizeof *table) : NULL;
	if (!table) {
		return NULL;
	}
	atomic_init(&table->references, 1);
	atomic_fetch_add_explicit(&former->shared->references, 1, memory_order_relaxed);
	table->seed = former->seed;
	table->shared = former->shared;
	table->arena = former->arena;
	table->count = patch->kept + changes->count;
	table->skipped = changes->skipped;
	labels_move(table, changes);
	const uint32_t len = table->shared->len;
	uint32_t base;
	if (pass_all(patch) < 0 || arena_extend(table, changes, &base) < 0 ||
		runs_take(patch, table, base) < 0 || slots_take(patch, table, changes, base) < 0 ||
		reverse_take(patch, table, changes, base) < 0 || table_bound(table) > limit) {
		table->shared->len = len; /* nobody has seen what is behind it */
		table_unref(table);
		return NULL;
	}
	return table;
}
