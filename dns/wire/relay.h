/* SPDX-License-Identifier: Apache-2.0
 *
 * Passing an upstream's response on: octet for octet but for ID, the question's spelling, OPT, and
 * what does not fit (RFC 5625 §6.2). No I/O, no clock, no allocation.
 */
#pragma once

#include "dns/wire/query.h"

enum {
	/* octets of a query that we compose */
	RELAY_QUERY_MAX = HEADER_LEN + DNAME_MAX + 4 + OPT_LEN + EDNS_SUBNET_MAX,
	/* of our OPT in a response, without the extended errors that upstream's had, too */
	RELAY_OPT_MAX = OPT_LEN + EDNS_OPTIONS_MAX + EDNS_SUBNET_MAX,
	/* what a response grows by at most: upstream's may lack question and OPT */
	RELAY_GROWTH_MAX = DNAME_MAX + 4 + RELAY_OPT_MAX
};

/** What must be remembered of a query in order to answer it later. */
struct asker {
	uint16_t id;
	uint16_t flags; /* of the query */
	uint16_t limit; /* octets of the largest response that may be sent: 512..65535 */
	bool has_opt;
	bool edns_do;
	uint16_t question_len;
	uint8_t question[DNAME_MAX + 4]; /* as spelled, uncompressed, with type and class */
	struct edns_options options;     /* that the response's OPT shall have */
	uint8_t subnet_len;              /* 0: none */
	uint8_t subnet[EDNS_SUBNET_MAX]; /* the client subnet option, as struct edns_query has it */
};

/** An upstream's response, read and found whole. Borrows the message. */
struct relayed {
	struct span message;
	uint16_t flags;
	uint16_t rcode;        /* 0..4095, the OPT's upper bits included (RFC 6891 §6.1.3) */
	uint16_t question_len; /* octets from HEADER_LEN */
	uint16_t counts[3];    /* records in answer, authority, additional */
	size_t opt_at;         /* offset of OPT; 0 where there is none */
	size_t opt_len;
	size_t end;                /* offset behind the last record */
	uint32_t ttl_max;          /* largest TTL of these records; seconds */
	struct edns_response edns; /* what OPT's options say; no client subnet but the asker's */
};

/**
 * Remember what `q` needs of its answer.
 *
 * @param q        read without error: `q->question` must not be empty
 * @param limit    octets of the largest response: 512 and up
 * @param options  of our own for the response's OPT; copied; NULL: none
 */
void asker_init(
	struct asker *a, const struct query *q, size_t limit, const struct edns_options *options);

/**
 * The query again, as far as composing a response without records needs it: of its options only
 * the client subnet. Borrows `a`, whose own options are for response_error_with.
 */
void asker_query(const struct asker *a, struct query *q);

/** The client subnet option that was asked with, or an empty span; borrows `a`. */
static inline struct span asker_subnet(const struct asker *a)
{
	return (struct span){.data = a->subnet, .len = a->subnet_len};
}

/**
 * Write the query that goes upstream: header with RD and CD as the requestor set them, the question
 * as spelled, and last our own OPT: UDP_LEN_OURS octets, DO as the requestor's, and of options the
 * client subnet where the requestor sent one (RFC 7871 §7.1.3), nothing else: no cookie
 * (RFC 7873), no padding.
 *
 * AD is always set (RFC 6840 §5.7), so that one response serves those who understand it, too;
 * relay_response keeps it from the others.
 *
 * @param with_opt  false for a server that is known to stumble over OPT: then without subnet, too
 * @return its length; 0 where `out` is too small (RELAY_QUERY_MAX always suffices)
 */
size_t relay_query(const struct asker *a, uint16_t id, bool with_opt, struct writer *out);

/**
 * Read a response to `a`, from its header to its last record, following no pointer but in the
 * question.
 *
 * @return 0; -EBADMSG if it is cut, has a count that lies, or two OPTs; -ENOMSG if it is no
 * response, its question is not `a`'s (RFC 5452 §4.2), or its client subnet is another one than
 * `a`'s (RFC 7871 §7.3). An empty question section is accepted where the RCODE is FORMERR, NOTIMP,
 * SERVFAIL or REFUSED: some servers leave it out. Malformed options, a client subnet that was not
 * asked for, and octets behind the last record are ignored.
 */
int relayed_read(struct relayed *r, struct span message, const struct asker *a)
	__attribute__((warn_unused_result));

/**
 * Compose for `a` the response `r`.
 *
 * ID and spelling are the requestor's; OPT is ours, and there if and only if the requestor sent
 * one; AD is cleared unless the requestor set AD or DO (RFC 6840 §5.8); RA is as upstream set it.
 * Over `a->limit`: whole records of the answer section as far as they fit, and TC.
 *
 * OPT has `a`'s options; `a`'s client subnet, with upstream's scope, or 0 where upstream did not
 * say (RFC 7871 §7.2.2); and upstream's extended errors as far as there is room for them: first
 * their texts are dropped, then the errors, the last one first (RFC 8914 §3).
 *
 * @param out  at least r->message.len + RELAY_GROWTH_MAX octets of room, or a->limit if that is
 *             less
 * @return length of the message
 */
size_t relay_response(const struct relayed *r, const struct asker *a, struct writer *out);

/**
 * Lower the TTLs of a response that relay_response composed: what is over `most` becomes that, and
 * what is 2^31 or more 0 (RFC 2181 §8).
 */
void relay_lower_ttls(uint8_t *message, size_t len, uint32_t most);
