/* SPDX-License-Identifier: Apache-2.0
 *
 * Whether an upstream's response may be remembered, for how long, and what of it. All rules of the
 * RFCs about that are here. No I/O, no clock, no allocation.
 */
#pragma once

#include "dns/resolve/cache.h"

enum { CUT_POINTERS_MAX = 32 };

/** What is remembered of a response. Borrows the message. */
struct cacheable {
	uint32_t ttl;       /* seconds: 1 and up */
	uint16_t flags;     /* AA, RA, AD, Z, RCODE */
	uint16_t counts[3]; /* records in answer, authority, additional; OPT is none */
	struct span body;   /* these records */
	bool cut;           /* it denies the name, and can be given for one below it */
	uint8_t pointer_count;
	uint16_t pointers[CUT_POINTERS_MAX]; /* with `cut`: where in `body` names point elsewhere */
};

/**
 * Judge a response.
 *
 * @param[out] c         what to remember; only where the result is true
 * @param      r         as relayed_read left it; borrowed by `c`
 * @param      key       what was asked
 * @param      settings  the limits of TTLs
 * @return whether it may be remembered
 * Cost: O(length); one pass over its records.
 */
bool cacheable_read(struct cacheable *c, const struct relayed *r, const struct cache_key *key,
	const struct cache_settings *settings);
