/* SPDX-License-Identifier: Apache-2.0
 *
 * Composing a response in place, in the buffer that is sent: header, question as asked, records,
 * OPT, and TC when it does not fit. No I/O, no clock, no allocation.
 */
#pragma once

#include "dns/wire/query.h"

enum ede { /* extended DNS errors, RFC 8914 §4 */
	EDE_NONE = -1,
	EDE_STALE_ANSWER = 3,
	EDE_CACHED_ERROR = 13,
	EDE_NOT_READY = 14,
	EDE_BLOCKED = 15,
	EDE_STALE_NXDOMAIN = 19,
	EDE_NO_REACHABLE_AUTHORITY = 22,
	EDE_NETWORK_ERROR = 23
};

/** A response under construction: `response_begin`, then records, then `response_end`. */
struct response {
	struct writer w;    /* as far as it is written; `size` octets may be sent, OPT included */
	struct writer *out; /* where it goes; grows at response_end */
	const struct query *query; /* borrowed until response_end */
	struct span options;       /* of OPT; borrowed until response_end */
	uint16_t flags;
	uint16_t rcode;
	uint16_t class; /* of all records: IN, unless the question's is CH */
	uint16_t ancount;
	uint16_t nscount;
	int ede; /* enum ede */
};

/**
 * Begin the response to `query`: header and question.
 *
 * @param query  as query_parse left it; borrowed until response_end
 * @param out    where the response goes; `size` at least 512; its `len` is where it begins
 * @param limit  largest message that may be sent: the requestor's udp_size, or 65535 over TCP
 */
void response_begin(
	struct response *r, const struct query *query, struct writer *out, size_t limit);

/**
 * Set what our OPT says: COOKIE, edns-tcp-keepalive. Before the first record.
 *
 * @param options  as in struct edns_options, or empty; borrowed until response_end; sent only where
 *                 the requestor sent OPT
 */
static inline void response_options(struct response *r, struct span options)
{
	r->options = options;
}

/**
 * Set an extended error; sent only where the requestor sent OPT, and left out where it would cost a
 * record (RFC 8914 §3).
 */
static inline void response_ede(struct response *r, enum ede code)
{
	r->ede = code;
}

/**
 * Add to the answer section one record of the name asked.
 *
 * Where it does not fit, TC is set and nothing more is added to this section: whole records remain,
 * which resolvers that never ask again over TCP can use (RFC 2181 §9).
 *
 * @param type   RR type
 * @param ttl    seconds
 * @param rdata  1..65535 octets, uncompressed
 */
void response_answer(struct response *r, uint16_t type, uint32_t ttl, struct span rdata);

/**
 * Add the SOA of a negative response (RFC 2308 §3) to the authority section.
 *
 * @param owner_labels  how many labels of the name asked stand before the zone's apex: 0 makes the
 *                      name itself the apex
 * @param ttl           seconds; also the MINIMUM field, so how long absence may be remembered
 * @param serial        the table's generation
 */
void response_soa(struct response *r, unsigned owner_labels, uint32_t ttl, uint32_t serial);

/**
 * Write the counts and flags, and OPT if and only if the requestor sent one (RFC 6891 §7).
 *
 * @return length of the message that now stands at the start of the writer's room
 */
size_t response_end(struct response *r);

/**
 * A whole response that has no records: for errors, and for what cannot be forwarded.
 *
 * @return as response_end
 */
size_t response_error(
	const struct query *query, struct writer *out, size_t limit, uint16_t rcode, enum ede ede);

/**
 * The same, with options of our own: 512 octets have room for them with every question.
 *
 * @param options  as response_options takes them
 */
size_t response_error_with(const struct query *query, struct span options, struct writer *out,
	size_t limit, uint16_t rcode, enum ede ede);
