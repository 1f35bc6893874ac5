/* SPDX-License-Identifier: Apache-2.0
 *
 * Server cookies that other servers understand too (RFC 9018): which one a requestor gets, and
 * whether one that comes back is ours. Nothing is remembered of any requestor. No I/O, no clock, no
 * allocation.
 */
#pragma once

#include "dns/wire/dname.h"

enum {
	COOKIE_CLIENT_LEN = 8,
	COOKIE_SERVER_LEN = 16, /* version, reserved, time, hash (RFC 9018 §4) */
	COOKIE_LEN = COOKIE_CLIENT_LEN + COOKIE_SERVER_LEN,
	COOKIE_SECRET_LEN = 16
};

enum cookie_state {
	COOKIE_INVALID, /* no server cookie, not ours, or too old */
	COOKIE_AGEING,  /* ours, but older than half an hour: to be replaced */
	COOKIE_VALID
};

/** What makes our cookies ours: random, the same for all workers. */
struct cookie_secret {
	uint8_t octets[COOKIE_SECRET_LEN];
};

/**
 * Make a cookie: the client's part, and ours for it (RFC 9018 §4).
 *
 * @param[out] cookie  what COOKIE holds in the response
 * @param      client  8 octets, as they came
 * @param      peer    who asks; an IPv4 address as such, never mapped into IPv6
 * @param      now     seconds since 1970, modulo 2^32 (RFC 9018 §4.3)
 * Cost: one SipHash-2-4 of 20 or 32 octets.
 */
void cookie_make(uint8_t cookie[COOKIE_LEN], const struct cookie_secret *secret,
	const uint8_t client[COOKIE_CLIENT_LEN], const struct address *peer, uint32_t now);

/**
 * Whether a cookie is one that we made for this peer, at most one hour ago, and not over five
 * minutes in the future (RFC 9018 §4.3). The hash is compared in constant time.
 *
 * @param cookie  as in struct edns_query: 8, or 16..40 octets
 */
enum cookie_state cookie_check(const struct cookie_secret *secret, struct span cookie,
	const struct address *peer, uint32_t now);

/**
 * The cookie of a response: the requestor's own where it is valid, else a new one.
 *
 * @param[out] answer  COOKIE's data
 * @param      cookie  at least 8 octets: as in struct edns_query
 * @return what cookie_check says of it
 */
enum cookie_state cookie_answer(uint8_t answer[COOKIE_LEN], const struct cookie_secret *secret,
	struct span cookie, const struct address *peer, uint32_t now);

/** SipHash-2-4 (Aumasson, Bernstein 2012): a keyed hash of short messages. */
uint64_t cookie_siphash(const uint8_t key[16], struct span message);
