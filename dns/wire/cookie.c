/* SPDX-License-Identifier: Apache-2.0
 *
 * RFC 9018 §4: server cookie = version 1 | reserved | time | SipHash-2-4(client cookie | version |
 * reserved | time | client address).
 */
#include "dns/wire/cookie.h"

enum {
	VERSION = 1,
	HASH_AT = COOKIE_CLIENT_LEN + 8, /* the hash is the last part of the cookie … */
	HASH_LEN = 8,
	TIME_AT = COOKIE_CLIENT_LEN + 4, /* … the time the one before it */
	AGE_MAX = 3600,                  /* seconds, RFC 9018 §4.3 */
	AGE_RENEWED = 1800,
	AHEAD_MAX = 300
};

static uint64_t rotated(uint64_t x, unsigned bits)
{
	return x << bits | x >> (64 - bits);
}

static uint64_t little_endian(const uint8_t *p, size_t len)
{
	uint64_t x = 0;
	for (size_t i = 0; i < len; i++) {
		x |= (uint64_t)p[i] << 8 * i;
	}
	return x;
}

static void sip_rounds(uint64_t v[4], unsigned count)
{
	while (count-- > 0) {
		v[0] += v[1];
		v[1] = rotated(v[1], 13) ^ v[0];
		v[0] = rotated(v[0], 32);
		v[2] += v[3];
		v[3] = rotated(v[3], 16) ^ v[2];
		v[0] += v[3];
		v[3] = rotated(v[3], 21) ^ v[0];
		v[2] += v[1];
		v[1] = rotated(v[1], 17) ^ v[2];
		v[2] = rotated(v[2], 32);
	}
}

static void sip_word(uint64_t v[4], uint64_t word)
{
	v[3] ^= word;
	sip_rounds(v, 2);
	v[0] ^= word;
}

uint64_t cookie_siphash(const uint8_t key[16], struct span message)
{
	uint64_t k0 = little_endian(key, 8);
	uint64_t k1 = little_endian(key + 8, 8);
	uint64_t v[4] = {k0 ^ 0x736f6d6570736575, k1 ^ 0x646f72616e646f6d, k0 ^ 0x6c7967656e657261,
		k1 ^ 0x7465646279746573};
	size_t at = 0;

	for (; message.len - at >= 8; at += 8) {
		sip_word(v, little_endian(message.data + at, 8));
	}
	/* What is left of the message, and its length in the upper octet. */
	uint64_t last = little_endian(message.data + at, message.len - at);
	sip_word(v, last | (uint64_t)message.len << 56);
	v[2] ^= 0xff;
	sip_rounds(v, 4);
	return v[0] ^ v[1] ^ v[2] ^ v[3];
}

/* The hash of a cookie whose other parts are there, as it stands on the wire. */
static void hash_of(uint8_t hash[HASH_LEN], const struct cookie_secret *secret,
	const uint8_t *cookie, const struct address *peer)
{
	uint8_t octets[HASH_AT + sizeof(peer->octets)];
	memcpy(octets, cookie, HASH_AT);
	memcpy(octets + HASH_AT, peer->octets, peer->len);
	uint64_t sum = cookie_siphash(secret->octets, (struct span){octets, HASH_AT + peer->len});
	for (unsigned i = 0; i < HASH_LEN; i++) {
		hash[i] = (uint8_t)(sum >> 8 * i);
	}
}

void cookie_make(uint8_t cookie[COOKIE_LEN], const struct cookie_secret *secret,
	const uint8_t client[COOKIE_CLIENT_LEN], const struct address *peer, uint32_t now)
{
	memcpy(cookie, client, COOKIE_CLIENT_LEN);
	octets_put_u32(cookie + COOKIE_CLIENT_LEN, (uint32_t)VERSION << 24);
	octets_put_u32(cookie + TIME_AT, now);
	hash_of(cookie + HASH_AT, secret, cookie, peer);
}

/* Without a branch that depends on where they differ. */
static bool hashes_equal(const uint8_t *a, const uint8_t *b)
{
	unsigned differs = 0;
	for (unsigned i = 0; i < HASH_LEN; i++) {
		differs |= a[i] ^ b[i];
	}
	return differs == 0;
}

enum cookie_state cookie_check(const struct cookie_secret *secret, struct span cookie,
	const struct address *peer, uint32_t now)
{
	uint8_t hash[HASH_LEN];

	if (cookie.len != COOKIE_LEN || cookie.data[COOKIE_CLIENT_LEN] != VERSION) {
		return COOKIE_INVALID;
	}
	/* RFC 9018 §4.3: serial number arithmetic, good beyond 2106. */
	int32_t age = (int32_t)(now - octets_u32(cookie.data + TIME_AT));
	/* RFC 9018 §4.2: reserved octets of other servers are hashed as they came. */
	hash_of(hash, secret, cookie.data, peer);
	if (!hashes_equal(hash, cookie.data + HASH_AT) || age > AGE_MAX || age < -AHEAD_MAX) {
		return COOKIE_INVALID;
	}
	return age > AGE_RENEWED ? COOKIE_AGEING : COOKIE_VALID;
}

enum cookie_state cookie_answer(uint8_t answer[COOKIE_LEN], const struct cookie_secret *secret,
	struct span cookie, const struct address *peer, uint32_t now)
{
	enum cookie_state state = cookie_check(secret, cookie, peer, now);
	if (state == COOKIE_VALID) {
		memcpy(answer, cookie.data, COOKIE_LEN);
	} else {
		cookie_make(answer, secret, cookie.data, peer, now);
	}
	return state;
}
