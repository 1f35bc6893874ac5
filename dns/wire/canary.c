/* SPDX-License-Identifier: Apache-2.0
 *
 * The right answer is known octet for octet before it comes: it is composed twice, once to be sent,
 * once to be compared with.
 */
#include "dns/wire/canary.h"

#include "dns/wire/response.h"

static const uint8_t zone[] = "\6canary\10kuma-dns\10internal";

static void put_digits(uint8_t *at, uint64_t number, unsigned count)
{
	static const char digits[] = "0123456789abcdef";
	while (count-- > 0) {
		at[count] = (uint8_t)digits[number & 0xf];
		number >>= 4;
	}
}

void canary_query(uint8_t message[CANARY_QUERY_LEN], const struct canary *canary)
{
	enum { NONCE_DIGITS = 16 };
	uint8_t *name = message + HEADER_LEN;
	memset(message, 0, HEADER_LEN);
	octets_put_u16(message, canary->id);
	octets_put_u16(message + 2, FLAG_RD); /* as stub resolvers do */
	octets_put_u16(message + 4, 1);
	name[0] = CANARY_DIGITS;
	put_digits(name + 1, canary->nonce, NONCE_DIGITS);
	put_digits(name + 1 + NONCE_DIGITS, canary->more, CANARY_DIGITS - NONCE_DIGITS);
	memcpy(name + 1 + CANARY_DIGITS, zone, sizeof(zone));
	octets_put_u16(name + CANARY_NAME_LEN, TYPE_TXT);
	octets_put_u16(name + CANARY_NAME_LEN + 2, CLASS_IN);
}

bool canary_is_name(const struct dname *name)
{
	return name->len == CANARY_NAME_LEN && name->octets[0] == CANARY_DIGITS &&
	       memcmp(name->octets + 1 + CANARY_DIGITS, zone, sizeof(zone)) == 0;
}

void canary_answer(const struct query *q, const struct cookie_secret *secret, struct span options,
	struct writer *out, size_t limit)
{
	uint8_t token[1 + CANARY_TOKEN_DIGITS] = {CANARY_TOKEN_DIGITS};
	struct response r;
	/* CANARY_NAME_LEN octets, where a cookie's hash is over 20 or 32: neither gives away the
	 * other. */
	uint64_t hash = cookie_siphash(secret->octets, dname_span(&q->qname));
	put_digits(token + 1, hash, CANARY_TOKEN_DIGITS);
	response_begin(&r, q, out, limit);
	response_options(&r, options);
	r.flags |= FLAG_AA;
	response_answer(&r, TYPE_TXT, 0, (struct span){token, sizeof(token)});
	(void)response_end(&r);
}

enum canary_sender canary_read(
	struct span message, const struct canary *canary, const struct cookie_secret *secret)
{
	uint8_t asked[CANARY_QUERY_LEN];
	uint8_t expected[CANARY_RESPONSE_LEN];
	struct writer out = {.data = expected, .size = sizeof(expected)};
	struct query q;
	canary_query(asked, canary);
	if (message.len < HEADER_LEN || octets_u16(message.data) != canary->id ||
		!(octets_u16(message.data + 2) & FLAG_QR) ||
		query_parse(&q, (struct span){asked, sizeof(asked)}) != 0) {
		return CANARY_NOBODY;
	}
	canary_answer(&q, secret, (struct span){0}, &out, sizeof(expected));
	if (message.len != out.len ||
		memcmp(message.data, expected, out.len - CANARY_TOKEN_DIGITS) != 0) {
		return CANARY_STRANGER;
	}
	return memcmp(message.data, expected, out.len) == 0 ? CANARY_US : CANARY_LIKE_US;
}
