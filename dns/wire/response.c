/* SPDX-License-Identifier: Apache-2.0
 *
 * A response is composed once, in place; every record's owner is the question's name or an ancestor
 * of it, so a pointer into the question names it.
 */
#include "dns/wire/response.h"

#include "dns/wire/record.h"

enum {
	POINTER = 0xc000,               /* RFC 1035 §4.1.4 */
	RECORD_LEN = 2 + 2 + 2 + 4 + 2, /* pointer, type, class, TTL, RDLENGTH */
	SOA_REFRESH = 3600,             /* nobody transfers these zones: customary values */
	SOA_RETRY = 600,
	SOA_EXPIRE = 86400
};

static size_t opt_len(const struct response *r)
{
	if (!r->query->has_opt) {
		return 0;
	}
	return OPT_LEN + r->options.len + (r->ede == EDE_NONE ? 0 : EDNS_EDE_LEN);
}

static void record_begin(
	struct response *r, size_t owner_at, uint16_t type, uint32_t ttl, size_t rdata_len)
{
	uint8_t *p = writer_room(&r->w, RECORD_LEN);
	if (p) {
		octets_put_u16(p, (uint16_t)(POINTER | owner_at));
		octets_put_u16(p + 2, type);
		octets_put_u16(p + 4, r->class);
		octets_put_u32(p + 6, ttl);
		octets_put_u16(p + 10, (uint16_t)rdata_len);
	}
}

/* Whether `len` octets more can be sent, OPT included. An extended error gives way to them: it must
 * not be what sets TC (RFC 8914 §3). */
static bool response_fits(struct response *r, size_t len)
{
	size_t all = r->w.len + len + opt_len(r);
	if (all <= r->w.size) {
		return true;
	}
	if (r->ede == EDE_NONE || !r->query->has_opt || all - EDNS_EDE_LEN > r->w.size) {
		return false;
	}
	r->ede = EDE_NONE;
	return true;
}

void response_begin(struct response *r, const struct query *query, struct writer *out, size_t limit)
{
	size_t room = out->size - out->len;
	r->w = (struct writer){.data = out->data + out->len, .size = limit < room ? limit : room};
	r->out = out;
	r->query = query;
	r->flags = FLAG_QR | FLAG_RA | (query->flags & (FLAG_OPCODE | FLAG_RD | FLAG_CD));
	r->rcode = RCODE_NOERROR;
	r->class = query->qclass == CLASS_CH ? CLASS_CH : CLASS_IN;
	r->ancount = 0;
	r->nscount = 0;
	r->options = (struct span){0};
	r->ede = EDE_NONE;
	(void)writer_room(&r->w, HEADER_LEN);
	writer_octets(&r->w, query->question.data, query->question.len);
}

void response_answer(struct response *r, uint16_t type, uint32_t ttl, struct span rdata)
{
	if (r->flags & FLAG_TC) {
		return;
	}
	if (!response_fits(r, RECORD_LEN + rdata.len)) {
		r->flags |= FLAG_TC;
		return;
	}
	record_begin(r, HEADER_LEN, type, ttl, rdata.len);
	writer_octets(&r->w, rdata.data, rdata.len);
	r->ancount++;
}

void response_soa(struct response *r, unsigned owner_labels, uint32_t ttl, uint32_t serial)
{
	static const uint8_t mailbox[] = "\12hostmaster";
	enum { RDATA_LEN = 2 + sizeof(mailbox) - 1 + 2 + 5 * 4 };

	size_t apex = HEADER_LEN;
	for (unsigned i = 0; i < owner_labels; i++) {
		apex += 1U + r->w.data[apex];
	}
	if (!response_fits(r, RECORD_LEN + RDATA_LEN)) {
		r->flags |= FLAG_TC;
		return;
	}
	record_begin(r, apex, TYPE_SOA, ttl, RDATA_LEN);
	writer_u16(&r->w, (uint16_t)(POINTER | apex)); /* MNAME */
	writer_octets(&r->w, mailbox, sizeof(mailbox) - 1);
	writer_u16(&r->w, (uint16_t)(POINTER | apex)); /* RNAME */
	writer_u32(&r->w, serial);
	writer_u32(&r->w, SOA_REFRESH);
	writer_u32(&r->w, SOA_RETRY);
	writer_u32(&r->w, SOA_EXPIRE);
	writer_u32(&r->w, ttl); /* MINIMUM: RFC 2308 §4 */
	r->nscount++;
}

static void opt_write(struct response *r)
{
	size_t at = edns_begin(&r->w, UDP_LEN_OURS, r->rcode, r->query->edns_do);
	writer_octets(&r->w, r->options.data, r->options.len);
	if (r->ede != EDE_NONE) {
		edns_put_ede(&r->w, (uint16_t)r->ede, (struct span){0});
	}
	edns_end(&r->w, at);
}

size_t response_end(struct response *r)
{
	uint8_t *header = r->w.data;
	octets_put_u16(header, r->query->id);
	octets_put_u16(header + 2, (uint16_t)(r->flags | (r->rcode & FLAG_RCODE)));
	octets_put_u16(header + 4, r->query->question.len > 0);
	octets_put_u16(header + 6, r->ancount);
	octets_put_u16(header + 8, r->nscount);
	octets_put_u16(header + 10, r->query->has_opt);
	if (r->query->has_opt) {
		opt_write(r);
	}
	r->out->len += r->w.len;
	return r->w.len;
}

size_t response_error(
	const struct query *query, struct writer *out, size_t limit, uint16_t rcode, enum ede ede)
{
	return response_error_with(query, (struct span){0}, out, limit, rcode, ede);
}

size_t response_error_with(const struct query *query, struct span options, struct writer *out,
	size_t limit, uint16_t rcode, enum ede ede)
{
	struct response r;
	response_begin(&r, query, out, limit);
	r.rcode = rcode;
	response_options(&r, options);
	response_ede(&r, ede);
	return response_end(&r);
}
