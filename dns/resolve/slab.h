/* SPDX-License-Identifier: Apache-2.0
 *
 * Where the cache's entries live: two rings of octets in memory of a fixed size, and chains that
 * find an entry by its hash. Decides which entries stay when room is short; knows nothing of DNS.
 * No I/O, no clock, no allocation.
 *
 * Which entries stay is S3-FIFO's decision (Yang, Zhang, Qiu, Yue, Rashmi: "FIFO queues are all you
 * need for cache eviction", SOSP 2023): a newcomer enters a small queue, a tenth of the room; at
 * its end, what was asked for again goes on to the main queue, and all else leaves, remembered by
 * its hash alone; who comes back while that is remembered enters the main queue at once. There, at
 * the end, an entry goes round once more for each time it was asked for, at most three.
 *
 * It was chosen because it needs queues that are only ever taken from at one end and added to at
 * the other. Such a queue of entries of any size is a ring: an entry is one piece, so that a hit is
 * one copy; there is no list of holes, and nothing to fragment, because room becomes free in the
 * order in which it was taken. The price is that an entry that stays is copied, and that one that
 * is forgotten early (replaced by a larger one, flushed) holds its room until the ring comes round.
 */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum chain {
	CHAIN_KEY, /* by all that makes a key */
	CHAIN_CUT, /* names that do not exist, by name alone; only where `cut` is set */
	CHAIN_COUNT
};

enum queue { QUEUE_SMALL, QUEUE_MAIN, QUEUE_COUNT };

enum {
	SLAB_ALIGN = 8,
	SLAB_LABELS = 128 /* more than a name has */
};

/** An entry. slab.c owns `size` to `freq` and `next`; the others are the cache's (entry.h). */
struct entry {
	uint32_t size; /* octets of its place in the ring */
	bool live;     /* else nobody's: skipped when the ring comes round */
	uint8_t queue; /* enum queue */
	uint8_t freq;  /* how often it was asked for, up to 3 */
	bool cut;      /* in CHAIN_CUT, too */
	uint32_t next[CHAIN_COUNT];
	uint32_t hash[CHAIN_COUNT]; /* set before slab_link */
	int64_t stored_ms;
	uint32_t life_ms; /* from stored_ms */
	uint32_t hits;
	uint32_t prefetch_ms; /* from stored_ms: when it was last to be fetched again; 0: never */
	uint16_t qtype;
	uint16_t qclass;
	uint16_t flags;
	uint16_t ede; /* extended error that came with it, or ENTRY_NO_EDE */
	uint16_t body_len;
	uint16_t counts[3];
	uint8_t bits;
	uint8_t labels; /* of its name; 0..127 */
	uint8_t name_len;
	uint8_t subnet_len;
	uint8_t pointer_count;
	uint8_t scope; /* of the subnet */
	uint8_t data[];
};

/** A ring of entries; offsets in octets from its beginning. */
struct ring {
	uint32_t begin; /* where it begins in the slab */
	uint32_t size;
	uint32_t head; /* where the next entry goes */
	uint32_t tail; /* the oldest entry */
	uint32_t used; /* from tail to head */
};

struct slab {
	uint8_t *memory;
	uint32_t *heads[CHAIN_COUNT];
	uint32_t masks[CHAIN_COUNT];
	uint32_t *ghosts; /* hashes of those that left the small queue, each in the one place it has
			   */
	uint32_t ghost_mask;
	struct ring rings[QUEUE_COUNT];
	uint32_t cuts_of[SLAB_LABELS]; /* entries in CHAIN_CUT, by the labels of their names */
	unsigned rounds;    /* how many entries may still go round for the sake of one newcomer */
	uint64_t entries;   /* linked now */
	uint64_t octets;    /* that these take */
	uint64_t evictions; /* since slab_init */
};

/**
 * Begin with no entries.
 *
 * @param memory  `size` octets, aligned to SLAB_ALIGN; borrowed as long as the slab is used; only
 *                the chains' heads, some 7 % at its beginning, are touched before they are needed
 * @param size    32 KiB at least
 */
void slab_init(struct slab *slab, void *memory, size_t size);

/** Octets of the largest entry that is taken. */
size_t slab_entry_max(const struct slab *slab);

/**
 * Make room for a new entry. Others may move or leave: no pointer to an entry holds after this.
 *
 * @param hash  of its key
 * @param len   octets, header included; at most slab_entry_max
 * @return its place, for the caller to fill and to hand to slab_link next
 */
struct entry *slab_take(struct slab *slab, uint32_t hash, size_t len);

/**
 * As slab_take, in the place of `old`, or at least in its queue and with its merits.
 *
 * @param old  a linked entry with the same key; gone afterwards
 */
struct entry *slab_renew(struct slab *slab, struct entry *old, size_t len);

/** An entry that slab_take or slab_renew gave is filled: from now on it is found. */
void slab_link(struct slab *slab, struct entry *e);

/** Forget a linked entry. */
void slab_drop(struct slab *slab, struct entry *e);

/** An entry was asked for. */
static inline void slab_touch(struct entry *e)
{
	if (e->freq < 3) {
		e->freq++;
	}
}

/** The entry at a place; NULL where it is none. Its octets are fetched from memory meanwhile. */
static inline struct entry *slab_at(const struct slab *slab, uint32_t place)
{
	uint8_t *at = slab->memory + (size_t)place * SLAB_ALIGN;
	__builtin_prefetch(at + 64);
	__builtin_prefetch(at + 128);
	return place ? (struct entry *)(void *)at : NULL;
}

/** Where a chain begins: a place. */
static inline uint32_t *slab_head(const struct slab *slab, enum chain chain, uint32_t hash)
{
	return &slab->heads[chain][hash & slab->masks[chain]];
}

/** The first entry with this hash from a place in a chain on; NULL where there is none. */
static inline struct entry *slab_seek(
	const struct slab *slab, enum chain chain, uint32_t place, uint32_t hash)
{
	struct entry *e = slab_at(slab, place);
	while (e && e->hash[chain] != hash) {
		e = slab_at(slab, e->next[chain]);
	}
	return e;
}

/** The first entry with this hash in a chain; NULL where there is none. */
static inline struct entry *slab_first(const struct slab *slab, enum chain chain, uint32_t hash)
{
	return slab_seek(slab, chain, *slab_head(slab, chain, hash), hash);
}

/** The next one with the same hash; NULL after the last. */
static inline struct entry *slab_next(
	const struct slab *slab, enum chain chain, const struct entry *e)
{
	return slab_seek(slab, chain, e->next[chain], e->hash[chain]);
}

/**
 * Every linked entry, one a call. An entry may be dropped on the way, none may be taken.
 *
 * @param[in,out] cursor  0 at first
 * @return NULL after the last
 */
struct entry *slab_walk(const struct slab *slab, uint32_t *cursor);

/** Whether rings, chains and counts agree. */
bool slab_check(const struct slab *slab);
