/* SPDX-License-Identifier: Apache-2.0
 *
 * The rules of answering, in the order in which they are asked: is it a query, is it ours, what do
 * we have.
 */
#include "dns/serve/answer.h"

#include "dns/wire/response.h"

enum {
	NEGATIVE_TTL = 5 /* seconds: a service that appears must not stay hidden (RFC 2308 §5) */
};

/* One question on its way to its answer. */
struct decision {
	const struct query *query;
	const struct authority *authority;
	const struct dname *zone; /* the mesh zone that holds the name, or NULL */
	struct writer *out;
	size_t limit;
};

/* The longest mesh zone that is the name or above it. */
static const struct dname *zone_of(const struct mesh_zones *zones, const struct dname *name)
{
	const struct dname *longest = NULL;
	for (unsigned i = 0; i < zones->count; i++) {
		const struct dname *zone = &zones->item[i];
		if (dname_is_under(name, zone) && (!longest || zone->len > longest->len)) {
			longest = zone;
		}
	}
	return longest;
}

/* Labels of the name before its zone's apex; 0 where a public name is shadowed: it is its own apex.
 */
static unsigned labels_before_apex(const struct decision *d)
{
	if (!d->zone) {
		return 0;
	}
	const struct dname *name = &d->query->qname;
	size_t end = (size_t)name->len - d->zone->len;
	unsigned labels = 0;
	for (size_t at = 0; at < end; at += 1U + name->octets[at]) {
		labels++;
	}
	return labels;
}

static enum verdict send_error(const struct decision *d, enum rcode rcode, enum ede ede)
{
	(void)response_error(d->query, d->out, d->limit, (uint16_t)rcode, ede);
	return VERDICT_SEND;
}

/* NODATA or NXDOMAIN: RFC 2308 §2, with the SOA of §3. */
static enum verdict send_negative(const struct decision *d, enum rcode rcode)
{
	struct response r;
	response_begin(&r, d->query, d->out, d->limit);
	r.flags |= FLAG_AA;
	r.rcode = (uint16_t)rcode;
	response_soa(
		&r, labels_before_apex(d), NEGATIVE_TTL, table_generation(d->authority->table));
	(void)response_end(&r);
	return VERDICT_SEND;
}

/* The RRset of `count` addresses, beginning with another one each time. */
static void add_addresses(struct response *r, const struct authority *from, uint16_t type,
	const uint8_t *addresses, uint16_t count)
{
	size_t len = type == TYPE_A ? 4 : 16;
	uint32_t ttl = table_ttl(from->table);
	size_t at = count ? from->rotation % count : 0;
	for (uint16_t i = 0; i < count; i++) {
		response_answer(r, type, ttl, (struct span){addresses + at * len, len});
		at = at + 1 < count ? at + 1 : 0;
	}
}

static enum verdict send_addresses(const struct decision *d, const struct table_addresses *found)
{
	uint16_t qtype = d->query->qtype;
	bool a = (qtype == TYPE_A || qtype == TYPE_ANY) && found->a_count > 0;
	bool aaaa = (qtype == TYPE_AAAA || qtype == TYPE_ANY) && found->aaaa_count > 0;
	if (!a && !aaaa) { /* the name exists: never NXDOMAIN, or clients give up on the other
			      family */
		return send_negative(d, RCODE_NOERROR);
	}
	struct response r;
	response_begin(&r, d->query, d->out, d->limit);
	r.flags |= FLAG_AA;
	if (a) {
		add_addresses(&r, d->authority, TYPE_A, found->a, found->a_count);
	}
	if (aaaa) {
		add_addresses(&r, d->authority, TYPE_AAAA, found->aaaa, found->aaaa_count);
	}
	(void)response_end(&r);
	return VERDICT_SEND;
}

static enum verdict answer_name(const struct decision *d, const struct table_addresses *found)
{
	switch (d->query->qtype) {
	case TYPE_A:
	case TYPE_AAAA:
	case TYPE_ANY: /* RFC 8482 §4.1 */
		return send_addresses(d, found);
	case TYPE_HTTPS:
	case TYPE_SVCB: /* a public one would lead around the mesh */
		return send_negative(d, RCODE_NOERROR);
	default:
		return d->zone ? send_negative(d, RCODE_NOERROR) : VERDICT_FORWARD;
	}
}

/* The names of a table address; what is no address of the table's is not ours. */
static enum verdict answer_reverse(const struct decision *d)
{
	const struct query *q = d->query;
	const struct table *table = d->authority->table;
	struct address address;
	uint32_t cursor = 0;

	if (dname_reverse_address(&q->qname, &address) == 0) {
		return VERDICT_FORWARD;
	}
	struct span name = table_reverse(table, &address, &cursor);
	if (name.len == 0) {
		return VERDICT_FORWARD;
	}
	if (q->qtype != TYPE_PTR && q->qtype != TYPE_ANY) {
		return send_negative(d, RCODE_NOERROR);
	}
	struct response r;
	response_begin(&r, q, d->out, d->limit);
	r.flags |= FLAG_AA;
	while (name.len > 0 && !(r.flags & FLAG_TC)) {
		response_answer(&r, TYPE_PTR, table_ttl(table), name);
		name = table_reverse(table, &address, &cursor);
	}
	(void)response_end(&r);
	return VERDICT_SEND;
}

static enum verdict answer_question(const struct decision *d)
{
	const struct query *q = d->query;
	struct table_addresses found;

	/* RFC 5936 §2.2.1, RFC 1995: transfers are for the server that was asked, which we do not
	 * know. */
	if (q->qtype == TYPE_AXFR || q->qtype == TYPE_IXFR) {
		return send_error(d, RCODE_REFUSED, EDE_NONE);
	}
	if (q->qclass != CLASS_IN && q->qclass != CLASS_ANY) {
		return d->zone ? send_error(d, RCODE_REFUSED, EDE_NONE) : VERDICT_FORWARD;
	}
	if (!d->authority->table) {
		return d->zone ? send_error(d, RCODE_SERVFAIL, EDE_NOT_READY) : VERDICT_FORWARD;
	}
	switch (table_lookup(d->authority->table, &q->qname, &found)) {
	case TABLE_NAME:
		return answer_name(d, &found);
	case TABLE_EMPTY:
		return d->zone ? send_negative(d, RCODE_NOERROR) : VERDICT_FORWARD;
	case TABLE_ABSENT:
		break;
	}
	if (d->zone) {
		bool apex = d->zone->len == q->qname.len;
		return send_negative(d, apex ? RCODE_NOERROR : RCODE_NXDOMAIN);
	}
	return answer_reverse(d);
}

enum verdict answer(struct query *q, struct span message, const struct authority *authority,
	size_t limit, struct writer *out)
{
	if (query_parse(q, message)) {
		return VERDICT_DROP;
	}
	struct decision d = {
		.query = q,
		.authority = authority,
		.out = out,
		.limit = limit ? limit : q->udp_size,
	};
	if (q->rcode != RCODE_NOERROR) {
		return send_error(&d, (enum rcode)q->rcode, EDE_NONE);
	}
	d.zone = zone_of(authority->zones, &q->qname);
	return answer_question(&d);
}
