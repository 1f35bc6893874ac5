/* SPDX-License-Identifier: Apache-2.0
 *
 * Passing an upstream's response on: octet for octet but for ID, the question's spelling, OPT, and
 * what does not fit (RFC 5625 §6.2). No I/O, no clock, no allocation.
 */
#pragma once

#include "dns/wire/query.h"

enum { OPT_LEN = 11 }; /* an OPT record without options: root, type, class, TTL, RDLENGTH */

/** What must be remembered of a query in order to answer it later. */
struct asker {
	uint16_t id;
	uint16_t flags; /* of the query */
	uint16_t limit; /* octets of the largest response that may be sent: 512..65535 */
	bool has_opt;
	bool edns_do;
	uint16_t question_len;
	uint8_t question[DNAME_MAX + 4]; /* as spelled, uncompressed, with type and class */
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
	size_t end; /* offset behind the last record */
};

/** Remember what `q` needs of its answer. `q->question` must not be empty. */
void asker_init(struct asker *a, const struct query *q, size_t limit);

/** The query again, as far as composing an error needs it; borrows `a`. */
void asker_query(const struct asker *a, struct query *q);

/**
 * Write the query that goes upstream: header with RD, AD, CD as the requestor set them, the
 * question as spelled, and last our own OPT without options: UDP_LEN_OURS octets, DO as the
 * requestor's.
 *
 * @param with_opt  false for a server that is known to stumble over OPT
 * @return its length; 0 where `out` is too small (HEADER_LEN + question + OPT_LEN suffices)
 */
size_t relay_query(const struct asker *a, uint16_t id, bool with_opt, struct writer *out);

/**
 * Read a response to `a`, from its header to its last record, following no pointer but in the
 * question.
 *
 * @return 0; -EBADMSG if it is cut, has a count that lies, or two OPTs; -ENOMSG if it is no
 * response, or its question is not `a`'s (RFC 5452 §4.2). An empty question section is accepted
 * where the RCODE is FORMERR, NOTIMP, SERVFAIL or REFUSED: some servers leave it out. Octets behind
 * the last record are ignored.
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
 * @param out  at least r->message.len + OPT_LEN + HEADER_LEN + DNAME_MAX + 4 octets of room
 * @return length of the message
 */
size_t relay_response(const struct relayed *r, const struct asker *a, struct writer *out);
