/* SPDX-License-Identifier: Apache-2.0
 *
 * Canaries: queries that we send as an application would, to see whether they come to us. Their
 * answer is one that nobody can give who does not know our secret. No I/O, no clock, no allocation.
 *
 *     <24 hex digits>.canary.kuma-dns.internal. TXT → "<16 hex digits>", TTL 0
 *
 * internal. is nobody's (ICANN, SAC113): a canary that flies past us ends at the first server that
 * knows the root.
 */
#pragma once

#include "dns/wire/cookie.h"
#include "dns/wire/query.h"

enum {
	CANARY_DIGITS = 24, /* of the nonce */
	CANARY_NAME_LEN =
		1 + CANARY_DIGITS + 7 + 9 + 9 + 1, /* behind it canary.kuma-dns.internal. */
	CANARY_QUERY_LEN = HEADER_LEN + CANARY_NAME_LEN + 4,
	CANARY_TOKEN_DIGITS = 16,
	/* its owner is a pointer, and the text is one string */
	CANARY_RESPONSE_LEN = CANARY_QUERY_LEN + 12 + 1 + CANARY_TOKEN_DIGITS
};

/** A canary: what is random about it. */
struct canary {
	uint16_t id;
	uint64_t nonce;
	uint32_t more; /* of the nonce */
};

/** Write its query, without EDNS: every application can do that. */
void canary_query(uint8_t message[CANARY_QUERY_LEN], const struct canary *canary);

/** Whether it is the name of a canary, of ours or of another daemon. */
bool canary_is_name(const struct dname *name);

/** Whether a query is a canary. Cost: a comparison of the type for nearly all. */
static inline bool canary_is(const struct query *q)
{
	return q->qtype == TYPE_TXT && q->qclass == CLASS_IN && canary_is_name(&q->qname);
}

/**
 * Answer a canary.
 *
 * @param secret   that of cookies; what is hashed here is longer than anything that is hashed there
 * @param options  as response_options takes them
 * @param limit    as response_begin takes it
 */
void canary_answer(const struct query *q, const struct cookie_secret *secret, struct span options,
	struct writer *out, size_t limit);

enum canary_sender {
	CANARY_NOBODY,  /* no response to this canary: to be ignored */
	CANARY_US,      /* whoever has this secret */
	CANARY_LIKE_US, /* another daemon such as we */
	CANARY_STRANGER /* a name server */
};

/** Who sent what came back. @param message  hostile */
enum canary_sender canary_read(
	struct span message, const struct canary *canary, const struct cookie_secret *secret);
