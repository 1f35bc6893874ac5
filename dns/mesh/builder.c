/* SPDX-License-Identifier: Apache-2.0
 *
 * The table, made: entries appended to the arena, their names and ancestors put into the index,
 * in the end the way back from addresses to names. Addresses of a name that comes again are kept
 * aside, because an entry cannot grow; if there were any, the table is made once more.
 */
#include "conf/giveway.h"
#include "dns/mesh/patch.h"

#include <errno.h>
#include <stdlib.h>

enum {
	SLOT_BITS_MIN = 9,
	SLOT_BITS_MAX = 30,
	ADDRESSES_MAX = 4096, /* of a family; no message of 65,535 octets could carry more */
	FEW = 16,             /* addresses that are compared one by one */
	SEEN_BITS = 13,       /* twice ADDRESSES_MAX */
	LABELS_MAX = 64,
	SPARE_PART = 8, /* of an arena, for the changes of tables to come: one in so many octets, */
	SPARE_MIN = 4096, /* and these */
	/* Some 5 µs of work. */
	SLOTS_A_TURN = 1024,
	NAMES_A_TURN = 256
};

/* An address of a name that was there before; united with it in the end. */
struct extra {
	uint32_t name;
	uint32_t order;
	struct address address;
};

struct table_builder {
	struct table *table;
	size_t limit;
	struct extra *extras;
	size_t extra_count;
	size_t extra_size;
	uint16_t *seen;      /* set of addresses of one record, by index from 1 */
	uint64_t text;       /* hash of the next record's, 0: unknown */
	struct patch *patch; /* NULL: the table is made of nothing */
};

struct table_builder *table_builder_new(uint64_t seed, size_t limit)
{
	struct table_builder *builder = calloc(1, sizeof *builder);
	struct table *table = calloc(1, sizeof *table);
	struct slot *slots = calloc((size_t)1 << SLOT_BITS_MIN, sizeof *slots);
	struct arena *arena = calloc(1, sizeof *arena + DNAME_MAX);
	if (!builder || !table || !slots || !arena) {
		free(arena);
		free(slots);
		free(table);
		free(builder);
		return NULL;
	}
	atomic_init(&table->references, 1);
	table->seed = seed;
	table->slots = slots;
	table->slot_bits = SLOT_BITS_MIN;
	atomic_init(&arena->references, 1);
	arena->size = DNAME_MAX;
	table->shared = arena;
	table->arena = arena->octets;
	builder->table = table;
	builder->limit = limit;
	return builder;
}

struct table_builder *table_builder_after(const struct table *former, size_t limit)
{
	struct table_builder *builder = table_builder_new(former->seed, limit);
	if (builder) {
		builder->patch = patch_new(former);
	}
	if (builder && !builder->patch) {
		table_builder_free(builder);
		return NULL;
	}
	return builder;
}

/* Whether the finished table may grow by `more` octets. */
static bool within_limit(const struct table_builder *builder, size_t more)
{
	size_t held = table_bound(builder->table) + builder->extra_count * sizeof(struct extra);
	return held <= builder->limit && more <= builder->limit - held;
}

static int arena_resize(struct table *table, size_t size)
{
	size = size < UINT32_MAX ? size : UINT32_MAX;
	struct arena *arena = realloc(table->shared, sizeof *arena + size);
	if (!arena) {
		return -ENOMEM;
	}
	arena->size = (uint32_t)size;
	table->shared = arena;
	table->arena = arena->octets;
	return 0;
}

/* Room for `len` more octets in the arena, and for comparing names at its end. */
static int arena_reserve(struct table *table, size_t len)
{
	size_t need = table->shared->len + len + DNAME_MAX;
	if (need > UINT32_MAX) {
		return -E2BIG; /* places in the arena are 32 bits wide */
	}
	return need <= table->shared->size ? 0 : arena_resize(table, need + need / 2);
}

/* Put a slot of another index into a new one, which has room. */
static void slot_put(struct slot *slots, unsigned bits, struct slot slot)
{
	size_t mask = ((size_t)1 << bits) - 1;
	size_t to = slot.tag >> (32 - bits);
	while (slots[to].name != 0) {
		to = (to + 1) & mask;
	}
	slots[to] = slot;
}

/* Move every slot into an index of twice the size. Slots come in the order of their positions. */
static int slots_grow(struct table_builder *builder)
{
	struct table *table = builder->table;
	if (table->slot_bits == SLOT_BITS_MAX || !within_limit(builder, slots_octets(table))) {
		return -E2BIG;
	}
	unsigned bits = table->slot_bits + 1;
	size_t count = (size_t)1 << table->slot_bits;
	struct slot *slots = calloc(2 * count, sizeof *slots);
	if (!slots) {
		return -ENOMEM;
	}
	for (size_t i = 0; i < count; i++) {
		if (i % SLOTS_A_TURN == 0) {
			give_way();
		}
		if (table->slots[i].name != 0) {
			slot_put(slots, bits, table->slots[i]);
		}
	}
	free(table->slots);
	table->slots = slots;
	table->slot_bits = bits;
	return 0;
}

/* Whether the address was met before among the `count` at `list`; if not it is remembered as the
 * next one. */
static bool seen_before(struct table_builder *builder, const uint8_t *list, size_t count,
	const uint8_t *octets, size_t len)
{
	size_t mask = ((size_t)1 << SEEN_BITS) - 1;
	size_t i = (size_t)hash(builder->table, octets, len) & mask;
	for (; builder->seen[i] != 0; i = (i + 1) & mask) {
		if (memcmp(list + (builder->seen[i] - (size_t)1) * len, octets, len) == 0) {
			return true;
		}
	}
	builder->seen[i] = (uint16_t)(count + 1);
	return false;
}

static int seen_clear(struct table_builder *builder)
{
	size_t size = sizeof *builder->seen << SEEN_BITS;
	if (!builder->seen) {
		builder->seen = malloc(size);
	}
	if (!builder->seen) {
		return -ENOMEM;
	}
	memset(builder->seen, 0, size);
	return 0;
}

/* Append the addresses of `len` octets, each once, in their order. */
static int family_append(struct table_builder *builder, const struct address *addresses,
	size_t count, size_t len, uint16_t *kept)
{
	struct table *table = builder->table;
	size_t start = table->shared->len;
	bool few = count <= FEW;
	int rc = few ? 0 : seen_clear(builder);
	*kept = 0;
	for (size_t i = 0; rc == 0 && i < count && *kept < ADDRESSES_MAX; i++) {
		const uint8_t *octets = addresses[i].octets;
		const uint8_t *list = table->arena + start;
		if (addresses[i].len != len ||
			(few ? list_has(list, *kept, octets, len)
			     : seen_before(builder, list, *kept, octets, len))) {
			continue;
		}
		rc = arena_reserve(table, len);
		if (rc == 0) {
			memcpy(table->arena + table->shared->len, octets, len);
			table->shared->len += (uint32_t)len;
			++*kept;
		}
	}
	return rc;
}

/* Append an entry; its name is at `*name` then. @param text  hash of what it is made of */
static int entry_append(struct table_builder *builder, const struct dname *owner,
	const struct address *addresses, size_t count, uint64_t text, size_t *name)
{
	struct table *table = builder->table;
	size_t header = table->shared->len;
	int rc = arena_reserve(table, (size_t)HEADER_LEN + owner->len);
	if (rc < 0) {
		return rc;
	}
	*name = header + HEADER_LEN;
	table->arena[*name - 1] = owner->len;
	memcpy(table->arena + *name, owner->octets, owner->len);
	table->shared->len = (uint32_t)*name + owner->len;

	uint16_t kept[2] = {0};
	rc = family_append(builder, addresses, count, 4, &kept[0]);
	if (rc == 0) {
		rc = family_append(builder, addresses, count, 16, &kept[1]);
	}
	memcpy(table->arena + header, &text, sizeof text);
	memcpy(table->arena + header + sizeof text, kept, sizeof kept);
	table->pair_count += (uint32_t)pairs_of(table, *name);
	return rc;
}

static int extras_add(
	struct table_builder *builder, uint32_t name, const struct address *addresses, size_t count)
{
	size_t need = builder->extra_count + count;
	if (need > UINT32_MAX || !within_limit(builder, count * sizeof(struct extra))) {
		return -E2BIG;
	}
	if (need > builder->extra_size) {
		size_t size = need + need / 2;
		struct extra *extras = realloc(builder->extras, size * sizeof *extras);
		if (!extras) {
			return -ENOMEM;
		}
		builder->extras = extras;
		builder->extra_size = size;
	}
	for (size_t i = 0; i < count; i++) {
		size_t order = builder->extra_count++;
		builder->extras[order] = (struct extra){
			.name = name, .order = (uint32_t)order, .address = addresses[i]};
	}
	return 0;
}

int table_builder_add(struct table_builder *builder, const struct dname *name,
	const struct address *addresses, size_t count)
{
	struct table *table = builder->table;
	uint64_t text = builder->text;
	builder->text = 0;
	if (!slots_suffice(table->slot_bits, table->slots_used)) {
		int rc = slots_grow(builder);
		if (rc < 0) {
			return rc;
		}
	}
	uint32_t tag = name_tag(table, name->octets, name->len);
	struct slot *slot = slot_find(table, name->octets, name->len, tag);
	if (slot->name != 0 && (slot->tag & RECORD) != 0) {
		return builder->patch ? -EAGAIN : extras_add(builder, slot->name, addresses, count);
	}
	size_t place;
	int rc = entry_append(builder, name, addresses, count, text, &place);
	if (rc < 0) {
		return rc;
	}
	slot_fill(table, slot, tag | RECORD | (slot->tag & PARENT), place);
	table->count++;
	(void)ancestors_add(table, place, false);
	if (!within_limit(builder, 0)) {
		return -E2BIG;
	}
	return builder->patch ? patch_change(builder->patch, table, place) : 0;
}

/* Never 0. */
static uint64_t text_hash(const struct table_builder *builder, struct span text)
{
	return hash(builder->table, text.data, text.len) | 1;
}

int table_builder_keep(struct table_builder *builder, struct span text)
{
	return builder->patch ? patch_keep(builder->patch, text_hash(builder, text)) : 0;
}

void table_builder_text(struct table_builder *builder, struct span text)
{
	builder->text = text_hash(builder, text);
}

void table_builder_skip(struct table_builder *builder)
{
	builder->table->skipped++;
}

int table_builder_label(struct table_builder *builder, const char *name, const char *value)
{
	struct table *table = builder->table;
	size_t name_size = strlen(name) + 1;
	size_t value_size = strlen(value) + 1;
	size_t octets = name_size + value_size + sizeof *table->labels;
	if (table->label_count == LABELS_MAX || !within_limit(builder, octets)) {
		return -E2BIG;
	}
	if (!table->labels) {
		table->labels = calloc(LABELS_MAX, sizeof *table->labels);
	}
	char *text = malloc(name_size + value_size);
	if (!table->labels || !text) {
		free(text);
		return -ENOMEM;
	}
	memcpy(text, name, name_size);
	memcpy(text + name_size, value, value_size);
	table->labels[table->label_count++] =
		(struct table_label){.name = text, .value = text + name_size};
	table->label_octets += octets;
	return 0;
}

static int extra_compare(const void *left, const void *right)
{
	const struct extra *a = left;
	const struct extra *b = right;
	if (a->name != b->name) {
		return a->name < b->name ? -1 : 1;
	}
	return a->order < b->order ? -1 : 1; /* the order is never the same */
}

/* Put the addresses of an entry and its extras into `list`, which has room for all of them. */
static size_t addresses_gather(const struct table *table, size_t name, const struct extra *extras,
	size_t extra_count, struct address *list)
{
	struct table_addresses own = entry_addresses(table, name);
	size_t count = 0;
	for (size_t i = 0; i < own.a_count; i++) {
		list[count].len = 4;
		memcpy(list[count++].octets, own.a + i * 4, 4);
	}
	for (size_t i = 0; i < own.aaaa_count; i++) {
		list[count].len = 16;
		memcpy(list[count++].octets, own.aaaa + i * 16, 16);
	}
	for (size_t i = 0; i < extra_count; i++) {
		list[count++] = extras[i].address;
	}
	return count;
}

/* Add every entry of `from` and its extras, sorted, to `to`. */
static int entries_unite(struct table_builder *to, const struct table_builder *from)
{
	struct address *list =
		malloc((2 * (size_t)ADDRESSES_MAX + from->extra_count) * sizeof *list);
	if (!list) {
		return -ENOMEM;
	}
	int rc = 0;
	size_t first = 0;
	size_t names = 0;
	for (size_t name = HEADER_LEN; rc == 0 && name < from->table->shared->len;
		name = entry_end(from->table, name) + HEADER_LEN) {
		if (++names % NAMES_A_TURN == 0) {
			give_way();
		}
		size_t last = first;
		while (last < from->extra_count && from->extras[last].name == name) {
			last++;
		}
		size_t count = addresses_gather(
			from->table, name, from->extras + first, last - first, list);
		struct dname owner = {.len = entry_name_len(from->table, name)};
		memcpy(owner.octets, from->table->arena + name, owner.len);
		rc = table_builder_add(to, &owner, list, count);
		first = last;
	}
	free(list);
	return rc;
}

/* Give every name that came twice all of its addresses: the table is built once more. */
static int extras_merge(struct table_builder *builder)
{
	if (builder->extra_count == 0) {
		return 0;
	}
	qsort(builder->extras, builder->extra_count, sizeof *builder->extras, extra_compare);
	/* The limit was kept with the extras counted, and they take more than what they become. */
	struct table_builder *united = table_builder_new(builder->table->seed, SIZE_MAX);
	if (!united) {
		return -ENOMEM;
	}
	int rc = entries_unite(united, builder);
	if (rc == 0) {
		struct table *old = builder->table;
		struct table *new = united->table;
		new->skipped = old->skipped;
		labels_move(new, old);
		builder->table = new;
		united->table = old;
	}
	table_builder_free(united);
	return rc;
}

/* All entries of the arena are the table's, and there is room for those of tables to come, if there
 * is memory. */
static int arena_close(struct table *table)
{
	size_t len = table->shared->len;
	table->runs = malloc(sizeof *table->runs);
	if (!table->runs) {
		return -ENOMEM;
	}
	table->runs[0] = (struct run){.begin = 0, .end = (uint32_t)len};
	table->run_count = len > 0;
	(void)arena_resize(table, len + DNAME_MAX + SPARE_MIN + len / SPARE_PART);
	memset(table->arena + len, 0, DNAME_MAX);
	return 0;
}

static int reverse_build(struct table *table)
{
	int rc = reverse_reserve(table, bucket_bits_for(table->pair_count));
	if (rc == 0) {
		reverse_fill(table);
	}
	return rc;
}

struct table *table_builder_finish(struct table_builder *builder, uint32_t ttl)
{
	struct table *table = NULL;
	if (builder->patch) {
		table = patch_apply(builder->patch, builder->table, builder->limit);
	} else if (extras_merge(builder) == 0 && arena_close(builder->table) == 0 &&
		   reverse_build(builder->table) == 0) {
		table = builder->table;
		builder->table = NULL;
	}
	if (table) {
		table->ttl = ttl;
	}
	table_builder_free(builder);
	return table;
}

void table_builder_free(struct table_builder *builder)
{
	if (builder) {
		table_unref(builder->table);
		free(builder->extras);
		free(builder->seen);
		patch_free(builder->patch);
		free(builder);
	}
}
