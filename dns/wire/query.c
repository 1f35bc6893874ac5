/* SPDX-License-Identifier: Apache-2.0
 *
 * Reading a query from top to bottom: header, question, the records behind it.
 */
#include "dns/wire/query.h"

#include "dns/wire/record.h"

#include <errno.h>

/* The header's four counts. */
struct counts {
	uint16_t question;
	uint16_t answer;
	uint16_t authority;
	uint16_t additional;
};

static int question_read(struct query *q, struct reader *r)
{
	size_t start = r->at;
	/* A pointer could only lead into the header: the name must stand there as it is. */
	if (dname_read(&q->qname, r) || r->at - start != q->qname.len) {
		return -EBADMSG;
	}
	q->qtype = reader_u16(r);
	q->qclass = reader_u16(r);
	if (r->fault) {
		return -EBADMSG;
	}
	q->question = (struct span){r->data + start, r->at - start};
	return 0;
}

static void opt_none(struct query *q)
{
	q->udp_size = UDP_LEN_MIN;
	q->has_opt = false;
	q->edns_do = false;
	q->edns = (struct edns_query){.keepalive = EDNS_KEEPALIVE_NONE};
}

static uint16_t opt_read(struct query *q, const struct record *opt)
{
	/* RFC 6891 §6.1.1: more than one OPT is a format error; §6.1.2: its owner is the root. */
	if (q->has_opt || !opt->root) {
		return RCODE_FORMERR;
	}
	q->has_opt = true;
	q->edns_do = (opt->ttl & EDNS_DO) != 0;
	q->udp_size = opt->class < UDP_LEN_MIN ? UDP_LEN_MIN : opt->class;
	/* RFC 6891 §6.1.3: the version is the second octet of the TTL. What options mean in a
	 * version to come, we do not know. */
	if ((opt->ttl >> 16 & 0xff) != 0) {
		return RCODE_BADVERS;
	}
	if (opt->rdata.len == 0) { /* as most are */
		return RCODE_NOERROR;
	}
	return edns_query_read(&q->edns, opt->rdata) ? RCODE_FORMERR : RCODE_NOERROR;
}

static uint16_t records_read(struct query *q, struct reader *r, const struct counts *counts)
{
	unsigned before = (unsigned)counts->answer + counts->authority;
	unsigned all = before + counts->additional;
	uint16_t rcode = RCODE_NOERROR;

	for (unsigned i = 0; i < all; i++) {
		struct record record;
		if (record_read(&record, r)) {
			return RCODE_FORMERR;
		}
		if (record.type != TYPE_OPT) {
			q->is_signed |= record.type == TYPE_TSIG || record.type == TYPE_SIG;
			continue;
		}
		uint16_t found = i < before ? RCODE_FORMERR : opt_read(q, &record);
		if (found == RCODE_FORMERR) {
			return found;
		}
		rcode = found;
	}
	return rcode;
}

/* Whatever the opcode calls the first section: its entries have the form of questions. */
static bool questions_skip(struct reader *r, unsigned count)
{
	for (unsigned i = 0; i < count && !r->fault; i++) {
		if (dname_skip(r)) {
			return false;
		}
		(void)reader_u32(r); /* type and class */
	}
	return !r->fault;
}

/* RFC 6891 §7: what is not implemented is answered with OPT, too. One that cannot be found, or is
 * malformed, is none: the requestor is owed NOTIMP all the same. */
static void opt_find(struct query *q, struct reader *r, const struct counts *counts)
{
	if (!questions_skip(r, counts->question) || records_read(q, r, counts) == RCODE_FORMERR) {
		opt_none(q);
	}
}

int query_parse(struct query *q, struct span message)
{
	struct reader r = reader_over(message);

	q->message = message;
	q->question = (struct span){0};
	q->rcode = RCODE_NOERROR;
	q->qtype = 0;
	q->qclass = 0;
	q->is_signed = false;
	q->qname.len = 0;
	opt_none(q);

	q->id = reader_u16(&r);
	q->flags = reader_u16(&r);
	struct counts counts;
	counts.question = reader_u16(&r);
	counts.answer = reader_u16(&r);
	counts.authority = reader_u16(&r);
	counts.additional = reader_u16(&r);
	if (r.fault || (q->flags & FLAG_QR)) {
		return -EBADMSG;
	}
	if (query_opcode(q) != 0) {
		q->rcode = RCODE_NOTIMP;
		opt_find(q, &r, &counts);
		return 0;
	}
	/* RFC 9619 §4: QUERY has one question. */
	if (counts.question != 1 || question_read(q, &r)) {
		q->rcode = RCODE_FORMERR;
		return 0;
	}
	q->rcode = records_read(q, &r, &counts);
	return 0;
}
