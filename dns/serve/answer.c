/* SPDX-License-Identifier: Apache-2.0
 *
 * The rules of answering, in the order in which they are asked: is it a query, is it ours, what do
 * we have.
 */
#include "dns/serve/answer.h"

#include "dns/serve/special.h"
#include "dns/wire/canary.h"
#include "dns/wire/response.h"

enum {
	NEGATIVE_TTL = 5, /* seconds: a service that appears must not stay hidden (RFC 2308 §5) */
	SPECIAL_TTL = 86400 /* seconds: what never changes */
};

/* One question on its way to its answer. */
struct decision {
	const struct query *query;
	struct authority *authority;
	const struct dname *zone; /* the mesh zone that holds the name, or NULL */
	struct writer *out;
	size_t limit;
	struct answered *answered;
};

const struct dname *mesh_zone_of(const struct mesh_zones *zones, const struct dname *name)
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
	return dname_labels(&d->query->qname) - dname_labels(d->zone);
}

static void begin(const struct decision *d, struct response *r)
{
	response_begin(r, d->query, d->out, d->limit);
	response_options(r, edns_options_span(&d->answered->options));
}

static enum verdict send_error(const struct decision *d, enum rcode rcode, enum ede ede)
{
	(void)response_error_with(d->query, edns_options_span(&d->answered->options), d->out,
		d->limit, (uint16_t)rcode, ede);
	return VERDICT_SEND;
}

/* RFC 2308 §2, with the SOA of §3, whose owner is the name without its first labels. */
static enum verdict send_nothing(const struct decision *d, enum rcode rcode, unsigned owner_labels,
	uint32_t serial, enum ede ede)
{
	struct response r;
	begin(d, &r);
	r.flags |= FLAG_AA;
	r.rcode = (uint16_t)rcode;
	response_ede(&r, ede);
	response_soa(&r, owner_labels, NEGATIVE_TTL, serial);
	(void)response_end(&r);
	return VERDICT_SEND;
}

/* NODATA or NXDOMAIN for a name of the mesh. */
static enum verdict send_negative(const struct decision *d, enum rcode rcode)
{
	return send_nothing(
		d, rcode, labels_before_apex(d), table_generation(d->authority->table), EDE_NONE);
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
	begin(d, &r);
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

/* Names that are nobody's to ask for, unless somebody is configured to be asked (RFC 6761). */
static enum verdict answer_special(const struct decision *d, const struct special *found)
{
	const struct query *q = d->query;
	if (found->answer == SPECIAL_NXDOMAIN || found->answer == SPECIAL_NODATA) {
		enum rcode rcode =
			found->answer == SPECIAL_NXDOMAIN ? RCODE_NXDOMAIN : RCODE_NOERROR;
		return send_nothing(d, rcode, found->owner_labels, 1, EDE_NONE);
	}
	static const uint16_t types[] = {TYPE_A, TYPE_AAAA, TYPE_PTR};
	struct response r;
	begin(d, &r);
	r.flags |= FLAG_AA;
	for (size_t i = 0; i < sizeof(types) / sizeof(types[0]); i++) {
		bool name = types[i] == TYPE_PTR;
		if ((q->qtype == types[i] || q->qtype == TYPE_ANY) &&
			name == (found->answer == SPECIAL_LOOPBACK_NAME)) {
			response_answer(&r, types[i], SPECIAL_TTL, special_rdata(types[i]));
		}
	}
	(void)response_end(&r);
	return VERDICT_SEND;
}

static enum verdict answer_cached(const struct decision *d, const struct route *route)
{
	struct authority *from = d->authority;
	struct cache_found found;
	struct cache_ask ask = {
		.key = cache_key_query(d->query, d->query->edns.subnet),
		.query = d->query,
		.limit = d->limit,
		.options = edns_options_span(&d->answered->options),
	};
	if (from->can_pass && from->elsewhere) {
		return VERDICT_PASS;
	}
	if (!from->cache) {
		return VERDICT_FORWARD;
	}
	ask.key.zone_labels = route->labels;
	switch (cache_get(from->cache, &ask, from->now_ms, d->out, &found)) {
	case CACHE_HIT:
		d->answered->source = SOURCE_CACHE;
		return found.prefetch && from->prefetch ? VERDICT_REFRESH : VERDICT_SEND;
	case CACHE_FAILED:
		d->answered->source = SOURCE_CACHE;
		return send_error(d, (enum rcode)found.rcode, found.ede);
	case CACHE_STALE:
	case CACHE_MISS:
		break;
	}
	return VERDICT_FORWARD;
}

/* Not a name of the mesh: policy, special names, what the cache knows, or whom to ask. */
static enum verdict answer_foreign(const struct decision *d)
{
	const struct query *q = d->query;
	struct authority *from = d->authority;
	if (q->qtype == TYPE_A && routes_catch_probe(from->routes, &q->qname, from->now_ms)) {
		return send_error(d, RCODE_NXDOMAIN, EDE_NONE);
	}
	const struct route *route = routes_find(from->routes, &q->qname);
	if (route->answer == ROUTE_REFUSE) {
		return send_error(d, RCODE_REFUSED, EDE_BLOCKED);
	}
	if (route->answer == ROUTE_NXDOMAIN) {
		unsigned owner_labels = dname_labels(&q->qname) - route->labels;
		return send_nothing(d, RCODE_NXDOMAIN, owner_labels, 1, EDE_BLOCKED);
	}
	if (!route->configured && q->qclass == CLASS_IN) {
		struct special special = special_find(&q->qname, q->qtype, from->special_groups);
		if (special.answer != SPECIAL_NONE) {
			return answer_special(d, &special);
		}
	}
	return answer_cached(d, route);
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
		return d->zone ? send_negative(d, RCODE_NOERROR) : answer_foreign(d);
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
		return answer_foreign(d);
	}
	struct span name = table_reverse(table, &address, &cursor);
	if (name.len == 0) {
		return answer_foreign(d);
	}
	if (q->qtype != TYPE_PTR && q->qtype != TYPE_ANY) {
		return send_negative(d, RCODE_NOERROR);
	}
	struct response r;
	begin(d, &r);
	r.flags |= FLAG_AA;
	while (name.len > 0 && !(r.flags & FLAG_TC)) {
		response_answer(&r, TYPE_PTR, table_ttl(table), name);
		name = table_reverse(table, &address, &cursor);
	}
	(void)response_end(&r);
	return VERDICT_SEND;
}

/* `explain.NAME.kuma-dns.`, or `explain-TYPE.NAME.kuma-dns.` */
static bool asks_to_explain(const struct dname *name)
{
	static const uint8_t verb[] = "explain";
	static const struct dname zone = {.len = 10, .octets = "\10kuma-dns"};
	enum { VERB_LEN = sizeof(verb) - 1 };
	return name->octets[0] >= VERB_LEN && memcmp(name->octets + 1, verb, VERB_LEN) == 0 &&
	       (name->octets[0] == VERB_LEN || name->octets[1 + VERB_LEN] == '-') &&
	       dname_is_under(name, &zone);
}

static enum table_found look_up(
	const struct authority *from, const struct dname *name, struct table_addresses *found)
{
	return from->tag ? table_lookup_fetched(from->table, name, *from->tag, found)
			 : table_lookup(from->table, name, found);
}

static enum verdict answer_question(const struct decision *d)
{
	const struct query *q = d->query;
	struct table_addresses found;

	/* RFC 5936 §2.2.1, RFC 1995: transfers are for the server that was asked. */
	if (q->qtype == TYPE_AXFR || q->qtype == TYPE_IXFR) {
		const struct route *route = routes_find(d->authority->routes, &q->qname);
		if (route->answer != ROUTE_FORWARD) {
			return send_error(d, RCODE_REFUSED, EDE_BLOCKED);
		}
		return d->authority->can_pass && !d->zone ? VERDICT_PASS
							  : send_error(d, RCODE_REFUSED, EDE_NONE);
	}
	if (q->qtype == TYPE_TXT && (q->qclass == CLASS_CH || q->qclass == CLASS_IN) &&
		asks_to_explain(&q->qname)) {
		return VERDICT_EXPLAIN;
	}
	if (canary_is(q)) {
		canary_answer(q, d->authority->hop.secret, edns_options_span(&d->answered->options),
			d->out, d->limit);
		return VERDICT_CANARY;
	}
	if (q->qclass != CLASS_IN && q->qclass != CLASS_ANY) {
		return d->zone ? send_error(d, RCODE_REFUSED, EDE_NONE) : answer_foreign(d);
	}
	if (!d->authority->table) {
		return d->zone ? send_error(d, RCODE_SERVFAIL, EDE_NOT_READY) : answer_foreign(d);
	}
	switch (look_up(d->authority, &q->qname, &found)) {
	case TABLE_NAME:
		return answer_name(d, &found);
	case TABLE_EMPTY:
		return d->zone ? send_negative(d, RCODE_NOERROR) : answer_foreign(d);
	case TABLE_ABSENT:
		break;
	}
	if (d->zone) {
		bool apex = d->zone->len == q->qname.len;
		return send_negative(d, apex ? RCODE_NOERROR : RCODE_NXDOMAIN);
	}
	return answer_reverse(d);
}

enum verdict answer(struct query *q, struct span message, struct authority *authority, size_t limit,
	struct writer *out, struct answered *answered)
{
	*answered = (struct answered){.source = SOURCE_LOCAL};
	if (query_parse(q, message)) {
		return VERDICT_DROP;
	}
	return answer_query(q, authority, limit, out, answered);
}

enum verdict answer_query(struct query *q, struct authority *authority, size_t limit,
	struct writer *out, struct answered *answered)
{
	answered->source = SOURCE_LOCAL;
	answered->options.len = 0;
	struct decision d = {
		.query = q,
		.authority = authority,
		.out = out,
		.limit = limit ? limit : q->udp_size,
		.answered = answered,
	};
	if (q->rcode == RCODE_NOTIMP && authority->can_pass) {
		return VERDICT_PASS; /* RFC 2136, RFC 1996: another opcode */
	}
	if (hop_options(&answered->options, q, &authority->hop)) {
		q->rcode = RCODE_FORMERR;
	}
	if (q->rcode != RCODE_NOERROR) {
		return send_error(&d, (enum rcode)q->rcode, EDE_NONE);
	}
	d.zone = mesh_zone_of(authority->zones, &q->qname);
	return answer_question(&d);
}
