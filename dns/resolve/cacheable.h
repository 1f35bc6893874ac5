/* SPDX-License-Identifier: Apache-2.0
 *
 * Whether an upstream's response may be remembered, for how long, and what of it. All rules of the
 * RFCs about that are here. No I/O, no clock, no allocation.
 */
#pragma once

#include "dns/resolve/cache.h"

enum { CUT_POINTERS_MAX = 32, ENTRY_NO_EDE = 0xffff };

/** What is remembered of a response. Borrows the message. */
struct cacheable {
	uint32_t ttl;   /* seconds; 0: not to be remembered */
	uint16_t flags; /* RA, AD, Z, RCODE; not AA, for we are no authority (RFC 1035 §4.1.1) */
	uint16_t ede;   /* the first extended error, or ENTRY_NO_EDE */
	uint16_t counts[3]; /* records in answer, authority, additional; OPT is none */
	struct span body;   /* these records */
	uint8_t scope;      /* of the client subnet asked with, in bits (RFC 7871 §7.2.1) */
	bool exists;        /* the name asked does */
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
 * @return whether it tells about what was asked, so that what was known before is known no longer
 *         (RFC 8767 §4), even if it must not be remembered itself; false for errors, referrals, and
 *         what contradicts itself
 * Cost: O(length); one pass over its records.
 */
bool cacheable_read(struct cacheable *c, const struct relayed *r, const struct cache_key *key,
	const struct cache_settings *settings);
