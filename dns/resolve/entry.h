/* SPDX-License-Identifier: Apache-2.0
 *
 * What the cache's entries hold, and how a response is composed of one. No I/O, no clock, no
 * allocation.
 *
 * An entry's data: the name, the subnet, the places of all TTLs and of a cut's pointers (16 bits
 * each, counted from the body), the body: all records, as they came. The question in front of them
 * is the key's, and has the same length in every response, so that pointers in the body stay true.
 */
#pragma once

#include "dns/resolve/cacheable.h"
#include "dns/resolve/slab.h"

enum { /* an entry's bits */
	BIT_DO = 1,
	BIT_CD = 2,
	BIT_FAILURE = 4 /* no answer */
};

/** A response on its way out. */
struct entry_response {
	const struct entry *e;
	const struct cache_ask *ask;
	uint32_t ttl; /* of all records */
	bool stale;   /* after its time: nobody vouches for it, so AD is clear */
	int ede;      /* enum ede; EDE_NONE afterwards where there was no room for it */
	size_t shift; /* octets that the question is longer than the entry's */
};

/** How long ago it was stored; a clock that goes back makes nothing younger. */
static inline int64_t entry_age_ms(const struct entry *e, int64_t now_ms)
{
	return now_ms > e->stored_ms ? now_ms - e->stored_ms : 0;
}

/** Until its time is over; below 0 after it. */
static inline int64_t entry_left_ms(const struct entry *e, int64_t now_ms)
{
	return (int64_t)e->life_ms - entry_age_ms(e, now_ms);
}

/** Whole seconds: 1 and up, as long as its time is not over. */
static inline uint32_t entry_ttl(const struct entry *e, int64_t now_ms)
{
	return e->life_ms / 1000 - (uint32_t)(entry_age_ms(e, now_ms) / 1000);
}

/** The extended error that came with it: enum ede. */
static inline int entry_ede(const struct entry *e)
{
	return e->ede == ENTRY_NO_EDE ? EDE_NONE : e->ede;
}

static inline uint16_t entry_rcode(const struct entry *e)
{
	return e->flags & FLAG_RCODE;
}

/** Octets of an entry with this key; `what` is NULL for a failure. */
size_t entry_size(const struct cache_key *key, const struct cacheable *what);

/** Fill in what does not depend on the response: a failure that was never asked for. */
void entry_begin(struct entry *e, const struct cache_key *key);

/** Fill in a response. */
void entry_fill(struct entry *e, const struct cacheable *what, int64_t now_ms);

/** Say to an operator what it is. */
void entry_describe(struct cache_entry *to, const struct entry *e, int64_t now_ms);

/**
 * Compose a response, as cache_get says.
 *
 * @param[in,out] o  what to compose
 * @return whether there is room for the question and OPT at least
 */
bool entry_compose(struct entry_response *o, struct writer *out);

/** Whether all places in it lie inside its body, and the body inside it. */
bool entry_check(const struct entry *e);
