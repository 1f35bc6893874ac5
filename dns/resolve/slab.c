/* SPDX-License-Identifier: Apache-2.0
 *
 * Rings, chains and the S3-FIFO between them. An entry is known by its place: its offset in the
 * slab in units of SLAB_ALIGN; 0 is none.
 */
#include "dns/resolve/slab.h"

#include <assert.h>
#include <string.h>

enum {
	OCTETS_PER_HEAD = 128, /* what a small entry takes: chains are one entry long at most */
	SMALL_SHARE = 10,      /* one part in ten (S3-FIFO, §4.1) */
	FREQ_TO_MAIN = 2,      /* asked for so often in the small queue (S3-FIFO, §4.1) */
	ENTRY_SHARE = 4,       /* of the small queue, at most, for one entry */
	ROUNDS_MAX = 64        /* entries that go round once more, for one newcomer */
};

/* Where a ring has no room for an entry before its end, this fills it. */
struct filler {
	uint32_t size;
	bool live; /* false */
	uint8_t unused[3];
};

_Static_assert(sizeof(struct filler) == SLAB_ALIGN, "the smallest gap holds a filler");
_Static_assert(offsetof(struct filler, live) == offsetof(struct entry, live), "it passes as entry");

static uint32_t place_of(const struct slab *slab, const struct entry *e)
{
	return (uint32_t)((size_t)((const uint8_t *)e - slab->memory) / SLAB_ALIGN);
}

static uint32_t aligned(size_t len)
{
	return (uint32_t)((len + SLAB_ALIGN - 1) & ~(size_t)(SLAB_ALIGN - 1));
}

/* Chains. */

static void chain_add(struct slab *slab, enum chain chain, struct entry *e)
{
	uint32_t *head = slab_head(slab, chain, e->hash[chain]);
	e->next[chain] = *head;
	*head = place_of(slab, e);
}

static void chain_remove(struct slab *slab, enum chain chain, const struct entry *e)
{
	uint32_t *at = slab_head(slab, chain, e->hash[chain]);
	uint32_t place = place_of(slab, e);
	while (*at != place) {
		at = &slab_at(slab, *at)->next[chain];
	}
	*at = e->next[chain];
}

void slab_link(struct slab *slab, struct entry *e)
{
	e->live = true;
	chain_add(slab, CHAIN_KEY, e);
	if (e->cut) {
		chain_add(slab, CHAIN_CUT, e);
		slab->cuts_of[e->labels]++;
	}
	slab->entries++;
	slab->octets += e->size;
}

void slab_drop(struct slab *slab, struct entry *e)
{
	e->live = false;
	chain_remove(slab, CHAIN_KEY, e);
	if (e->cut) {
		chain_remove(slab, CHAIN_CUT, e);
		slab->cuts_of[e->labels]--;
	}
	slab->entries--;
	slab->octets -= e->size;
}

/* Rings. */

static struct entry *ring_entry(const struct slab *slab, const struct ring *r, uint32_t at)
{
	return (struct entry *)(void *)(slab->memory + r->begin + at);
}

static bool ring_fits(const struct ring *r, uint32_t len)
{
	if (r->used == 0) {
		return len <= r->size;
	}
	if (r->head <= r->tail) {
		return len <= r->tail - r->head;
	}
	return len <= r->size - r->head || len <= r->tail;
}

/* The next `len` octets, which fit. */
static struct entry *ring_push(const struct slab *slab, struct ring *r, uint32_t len)
{
	if (r->used == 0) {
		r->head = 0;
		r->tail = 0;
	} else if (r->head > r->tail && len > r->size - r->head) {
		uint32_t gap = r->size - r->head;
		*(struct filler *)(void *)(slab->memory + r->begin + r->head) =
			(struct filler){.size = gap};
		r->used += gap;
		r->head = 0;
	}
	struct entry *e = ring_entry(slab, r, r->head);
	r->used += len;
	r->head += len;
	if (r->head == r->size) {
		r->head = 0;
	}
	return e;
}

/* The oldest entry leaves; its octets stay as they are until the next push. */
static struct entry *ring_pop(const struct slab *slab, struct ring *r)
{
	struct entry *e = ring_entry(slab, r, r->tail);
	r->tail += e->size;
	r->used -= e->size;
	if (r->tail == r->size) {
		r->tail = 0;
	}
	return e;
}

/* Queues. */

/* Main queue, at its end: once more round, or out. The place that a pop frees is large enough to
 * push the same entry again, and memmove minds that the two may overlap. */
static void main_evict(struct slab *slab)
{
	struct ring *r = &slab->rings[QUEUE_MAIN];
	struct entry *old = ring_pop(slab, r);
	if (!old->live) {
		return;
	}
	slab_drop(slab, old);
	if (old->freq == 0 || slab->rounds == 0) {
		slab->evictions++;
		return;
	}
	slab->rounds--;
	uint32_t size = old->size;
	struct entry *e = ring_push(slab, r, size);
	memmove(e, old, size);
	e->freq--;
	slab_link(slab, e);
}

/* What was forgotten early leaves the end of the main queue before anyone is sent away: after a
 * flush, its room is there for everyone. */
static void main_sweep(struct slab *slab)
{
	struct ring *r = &slab->rings[QUEUE_MAIN];
	while (r->used > 0 && !ring_entry(slab, r, r->tail)->live) {
		(void)ring_pop(slab, r);
	}
}

static struct entry *main_take(struct slab *slab, uint32_t size)
{
	struct ring *r = &slab->rings[QUEUE_MAIN];
	while (!ring_fits(r, size)) {
		main_evict(slab);
	}
	return ring_push(slab, r, size);
}

/* Small queue, at its end: to the main queue, or out. Before the main queue was ever full, everyone
 * goes there. */
static void small_evict(struct slab *slab)
{
	struct entry *old = ring_pop(slab, &slab->rings[QUEUE_SMALL]);
	if (!old->live) {
		return;
	}
	slab_drop(slab, old);
	main_sweep(slab);
	if (old->freq < FREQ_TO_MAIN && !ring_fits(&slab->rings[QUEUE_MAIN], old->size)) {
		slab->ghosts[old->hash[CHAIN_KEY] & slab->ghost_mask] = old->hash[CHAIN_KEY];
		slab->evictions++;
		return;
	}
	struct entry *e = main_take(slab, old->size);
	memcpy(e, old, old->size);
	e->queue = QUEUE_MAIN;
	e->freq = 0;
	slab_link(slab, e);
}

static struct entry *take_in(struct slab *slab, enum queue queue, uint32_t size)
{
	struct ring *small = &slab->rings[QUEUE_SMALL];
	struct entry *e;
	slab->rounds = ROUNDS_MAX;
	if (queue == QUEUE_MAIN) {
		e = main_take(slab, size);
	} else {
		while (!ring_fits(small, size)) {
			small_evict(slab);
		}
		e = ring_push(slab, small, size);
	}
	e->size = size;
	e->live = false;
	e->queue = (uint8_t)queue;
	e->freq = 0;
	e->cut = false;
	return e;
}

struct entry *slab_take(struct slab *slab, uint32_t hash, size_t len)
{
	assert(len <= slab_entry_max(slab));
	uint32_t *ghost = &slab->ghosts[hash & slab->ghost_mask];
	if (*ghost != hash) {
		return take_in(slab, QUEUE_SMALL, aligned(len));
	}
	*ghost = 0;
	return take_in(slab, QUEUE_MAIN, aligned(len));
}

struct entry *slab_renew(struct slab *slab, struct entry *old, size_t len)
{
	assert(len <= slab_entry_max(slab));
	uint32_t size = aligned(len);
	uint8_t freq = old->freq;
	slab_drop(slab, old);
	struct entry *e = old;
	/* In its old place where that is not much too large. */
	if (size > old->size || size < old->size / 2) {
		e = take_in(slab, (enum queue)old->queue, size);
	}
	e->freq = freq;
	e->cut = false;
	return e;
}

/* All of it. */

static uint32_t power_of_two(size_t least)
{
	uint32_t n = 64;
	while (n < least) {
		n *= 2;
	}
	return n;
}

/* The next `size` octets of the slab, as a ring. */
static void ring_init(struct ring *r, size_t *at, size_t size)
{
	*r = (struct ring){.begin = (uint32_t)*at, .size = (uint32_t)size};
	*at += size;
}

/* The next `count` words of the slab, all zero. */
static uint32_t *words_init(struct slab *slab, size_t *at, uint32_t count)
{
	uint32_t *words = (uint32_t *)(void *)(slab->memory + *at);
	memset(words, 0, (size_t)count * sizeof(*words));
	*at += (size_t)count * sizeof(*words);
	return words;
}

void slab_init(struct slab *slab, void *memory, size_t size)
{
	memset(slab, 0, sizeof(*slab));
	slab->memory = memory;
	uint32_t heads = power_of_two(size / OCTETS_PER_HEAD);
	size_t at = 0;
	slab->heads[CHAIN_KEY] = words_init(slab, &at, heads);
	slab->masks[CHAIN_KEY] = heads - 1;
	slab->heads[CHAIN_CUT] = words_init(slab, &at, heads / 2);
	slab->masks[CHAIN_CUT] = heads / 2 - 1;
	slab->ghosts = words_init(slab, &at, heads / 2);
	slab->ghost_mask = heads / 2 - 1;

	size_t room = size - at;
	size_t small = room / SMALL_SHARE & ~(size_t)(SLAB_ALIGN - 1);
	ring_init(&slab->rings[QUEUE_SMALL], &at, small);
	ring_init(&slab->rings[QUEUE_MAIN], &at, (room - small) & ~(size_t)(SLAB_ALIGN - 1));
}

size_t slab_entry_max(const struct slab *slab)
{
	return slab->rings[QUEUE_SMALL].size / ENTRY_SHARE;
}

/* The entry, live or not, `*cursor` octets behind the first ring's tail; `*cursor` moves on. */
static struct entry *walk_any(const struct slab *slab, uint32_t *cursor)
{
	uint32_t at = *cursor;
	for (unsigned queue = 0; queue < QUEUE_COUNT; queue++) {
		const struct ring *r = &slab->rings[queue];
		if (at >= r->used) {
			at -= r->used;
			continue;
		}
		uint32_t offset = r->tail + at;
		struct entry *e = ring_entry(slab, r, offset < r->size ? offset : offset - r->size);
		*cursor += e->size;
		return e;
	}
	return NULL;
}

struct entry *slab_walk(const struct slab *slab, uint32_t *cursor)
{
	struct entry *e;
	do {
		e = walk_any(slab, cursor);
	} while (e && !e->live);
	return e;
}

/* Checking. */

static bool chain_holds(const struct slab *slab, enum chain chain, const struct entry *e)
{
	const struct entry *found = slab_first(slab, chain, e->hash[chain]);
	while (found && found != e) {
		found = slab_next(slab, chain, found);
	}
	return found == e;
}

/* How many entries hang in a chain's heads; more than `most` where one is closed to a circle. */
static uint64_t chain_count(const struct slab *slab, enum chain chain, uint64_t most)
{
	uint64_t count = 0;
	for (uint32_t i = 0; i <= slab->masks[chain]; i++) {
		const struct entry *e = slab_at(slab, slab->heads[chain][i]);
		for (; e && count <= most; e = slab_at(slab, e->next[chain])) {
			count++;
		}
	}
	return count;
}

/* Entries follow each other up to the head without a gap. */
static bool ring_check(const struct slab *slab, const struct ring *r)
{
	uint32_t used = 0;
	uint32_t at = r->tail;
	while (used < r->used) {
		const struct entry *e = ring_entry(slab, r, at);
		if (e->size == 0 || e->size % SLAB_ALIGN != 0 || e->size > r->size - at) {
			return false;
		}
		used += e->size;
		at = at + e->size == r->size ? 0 : at + e->size;
	}
	return used == r->used && (used == 0 || at == r->head) && used <= r->size;
}

bool slab_check(const struct slab *slab)
{
	if (!ring_check(slab, &slab->rings[QUEUE_SMALL]) ||
		!ring_check(slab, &slab->rings[QUEUE_MAIN])) {
		return false;
	}
	uint32_t cursor = 0;
	uint64_t entries = 0;
	uint64_t octets = 0;
	uint64_t cuts = 0;
	for (struct entry *e = slab_walk(slab, &cursor); e; e = slab_walk(slab, &cursor)) {
		entries++;
		octets += e->size;
		cuts += e->cut;
		if (!chain_holds(slab, CHAIN_KEY, e) ||
			(e->cut && !chain_holds(slab, CHAIN_CUT, e))) {
			return false;
		}
	}
	uint64_t counted = 0;
	for (unsigned labels = 0; labels < SLAB_LABELS; labels++) {
		counted += slab->cuts_of[labels];
	}
	return entries == slab->entries && octets == slab->octets && cuts == counted &&
	       chain_count(slab, CHAIN_KEY, entries) == entries &&
	       chain_count(slab, CHAIN_CUT, cuts) == cuts;
}
