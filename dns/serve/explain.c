/* SPDX-License-Identifier: Apache-2.0
 *
 * The way of a query once more, told instead of taken. What would be answered is found out by
 * asking answer() itself, without the cache, which would count the question.
 */
#include "dns/serve/explain.h"

#include "dns/serve/special.h"
#include "dns/wire/canary.h"
#include "dns/wire/record.h"
#include "dns/wire/response.h"
#include "dns/wire/rrtype.h"

#include <arpa/inet.h>
#include <stdarg.h>
#include <stdio.h>
#include <unistd.h>

enum {
	LINE_MAX_LEN = 255, /* one character string of TXT (RFC 1035 §3.3.14) */
	EXPLAIN_LABEL = 7,  /* octets of "explain" */
	SCRATCH = 4096
};

/* What is being explained. */
struct subject {
	struct explanation *e;
	const struct worker_inside *inside;
	const struct dname *name;
	uint16_t qtype;
	const struct dname *zone; /* of the mesh, or NULL */
	char text[DNAME_TEXT_SIZE];
};

static void line(struct explanation *e, const char *format, ...)
	__attribute__((format(printf, 2, 3)));

/* A line that is too long is cut; one that finds no room is left out. */
static void line(struct explanation *e, const char *format, ...)
{
	char text[LINE_MAX_LEN + 1];
	va_list args;
	va_start(args, format);
	int n = vsnprintf(text, sizeof(text), format, args);
	va_end(args);
	size_t len = n < 0 ? 0 : (size_t)n < sizeof(text) ? (size_t)n : sizeof(text) - 1;
	if (e->len + len + 1 < sizeof(e->text)) {
		memcpy(e->text + e->len, text, len);
		e->text[e->len + len] = '\n';
		e->len += len + 1;
	}
}

static const char *name_text(const struct dname *name, char text[DNAME_TEXT_SIZE])
{
	(void)dname_to_text(dname_span(name), text);
	return text;
}

/* The table. */

static void tell_table(const struct subject *s)
{
	const struct table *table = s->inside->authority.table;
	if (!table) {
		line(s->e, "table: none yet");
		return;
	}
	long long age = (s->inside->authority.now_ms - s->inside->table_since_ms) / 1000;
	line(s->e, "table: generation %u, %u names, here for %lld s", table_generation(table),
		table_count(table), age);
}

/* The wildcard whose addresses these are: at the closest encloser (RFC 4592 §3.3.1). */
static const char *wildcard_of(const struct subject *s, char text[DNAME_TEXT_SIZE])
{
	const struct table *table = s->inside->authority.table;
	const struct dname *name = s->name;
	size_t at = 0;
	do { /* the root has no wildcard's addresses, so there is a label */
		at += 1U + name->octets[at];
		struct dname wildcard = {.len = (uint8_t)(name->len - at + 2), .octets = {1, '*'}};
		struct table_addresses found;
		memcpy(wildcard.octets + 2, name->octets + at, name->len - at);
		if (table_lookup(table, &wildcard, &found) == TABLE_NAME && !found.wildcard) {
			return name_text(&wildcard, text);
		}
	} while (name->octets[at] != 0);
	return "*";
}

static void tell_name_of_table(const struct subject *s, const struct table_addresses *found)
{
	char zone[DNAME_TEXT_SIZE];
	char wildcard[DNAME_TEXT_SIZE];
	line(s->e, "rule: %s%s%s%s",
		found->wildcard ? "by the wildcard of the mesh " : "a name of the mesh",
		found->wildcard ? wildcard_of(s, wildcard) : "",
		s->zone ? ", in the mesh zone " : ", which shadows the public name",
		s->zone ? name_text(s->zone, zone) : "");
}

/* What a name of the table is asked for that is never asked upstream: its addresses, and what would
 * lead around them. */
static bool is_of_table(uint16_t qtype)
{
	return qtype == TYPE_A || qtype == TYPE_AAAA || qtype == TYPE_ANY || qtype == TYPE_HTTPS ||
	       qtype == TYPE_SVCB;
}

/* @return whether there is more to say: the mesh has no answer */
static bool tell_mesh(const struct subject *s)
{
	const struct table *table = s->inside->authority.table;
	struct table_addresses found;
	struct address address;
	uint32_t cursor = 0;
	char zone[DNAME_TEXT_SIZE];
	enum table_found how = table ? table_lookup(table, s->name, &found) : TABLE_ABSENT;
	if (how == TABLE_NAME) {
		tell_name_of_table(s, &found);
		return !s->zone && !is_of_table(s->qtype);
	}
	if (s->zone) {
		line(s->e, "rule: in the mesh zone %s, %s", name_text(s->zone, zone),
			!table               ? "and there is no table yet"
			: how == TABLE_EMPTY ? "where names exist below it"
					     : "and not in the table");
		return false;
	}
	if (table && dname_reverse_address(s->name, &address) != 0 &&
		table_reverse(table, &address, &cursor).len > 0) {
		line(s->e, "rule: the reverse name of an address of the table");
		return false;
	}
	return true;
}

/* Who else. */

static void tell_entry(struct explanation *e, const struct cache_entry *entry)
{
	long long left = entry->left_ms / 1000;
	line(e, "cache: %s%s%s, %s %lld s of %u s, asked for %u time%s",
		entry->failure                   ? "a failure"
		: entry->rcode == RCODE_NXDOMAIN ? "NXDOMAIN"
						 : "NOERROR",
		entry->edns_do ? ", DO" : "", entry->cd ? ", CD" : "",
		entry->left_ms > 0 ? "good for" : "over since", entry->left_ms > 0 ? left : -left,
		entry->ttl, entry->hits, entry->hits == 1 ? "" : "s");
}

/* Who asks with DO or CD gets another answer. What was asked with a client subnet is for nobody
 * who asks without. */
static void tell_cache(const struct subject *s, const struct route *route)
{
	const struct authority *a = &s->inside->authority;
	struct cache_key key = {.name = dname_span(s->name),
		.qtype = s->qtype,
		.qclass = CLASS_IN,
		.zone_labels = route->labels};
	bool any = false;
	if (!a->cache) {
		line(s->e, "cache: off");
		return;
	}
	bool known = cache_has(a->cache, &key, a->now_ms);
	for (unsigned bits = 0; bits < 4; bits++) {
		struct cache_entry found[2];
		key.edns_do = bits & 1;
		key.cd = bits & 2;
		unsigned count = cache_look(a->cache, &key, a->now_ms, found);
		for (unsigned i = 0; i < count; i++) {
			tell_entry(s->e, &found[i]);
			any = true;
		}
	}
	if (!any) {
		line(s->e, known ? "cache: denied by an NXDOMAIN for it or a name above it"
				 : "cache: nothing");
	}
}

static void tell_server(struct explanation *e, unsigned place, const struct server_report *r)
{
	char address[ENDPOINT_TEXT_SIZE];
	char latency[64] = "never answered";
	if (r->smoothed_us > 0) {
		(void)snprintf(latency, sizeof(latency), "%u.%03u ms, 95%% within %u.%03u ms",
			r->smoothed_us / 1000, r->smoothed_us % 1000, r->p95_us / 1000,
			r->p95_us % 1000);
	}
	line(e, "server %u: %s, %s, %s%s%s", place, endpoint_format(&r->at, address),
		r->silent ? "silent" : "well", latency, r->no_opt ? ", without EDNS" : "",
		r->no_udp ? ", over TCP only" : "");
}

static void tell_servers(const struct subject *s, const struct route *route)
{
	const struct worker_inside *inside = s->inside;
	uint8_t order[SERVERS_LIST_MAX];
	struct server_report report;
	if (!inside->forward) {
		return;
	}
	unsigned count = forward_order(inside->forward, route, order);
	for (unsigned i = 0; i < count; i++) {
		forward_report(inside->forward, order[i], &report);
		tell_server(s->e, i + 1, &report);
	}
	for (unsigned i = 0; i < route->count; i++) {
		char address[ENDPOINT_TEXT_SIZE];
		forward_report(inside->forward, route->server[i], &report);
		if (report.ours || report.loop) {
			line(s->e, "not asked: %s, which %s", endpoint_format(&report.at, address),
				report.ours ? "is ourselves" : "leads back to us");
		}
	}
	if (route->count == 0) {
		line(s->e, "servers: none");
	}
}

static void tell_foreign(const struct subject *s)
{
	const struct authority *a = &s->inside->authority;
	const struct route *route = routes_find(a->routes, s->name);
	char zone[DNAME_TEXT_SIZE];
	if (route->answer != ROUTE_FORWARD) {
		line(s->e, "rule: policy for the zone %s: %s", name_text(&route->zone, zone),
			route->answer == ROUTE_REFUSE ? "refuse" : "nxdomain");
		return;
	}
	if (!route->configured &&
		special_find(s->name, s->qtype, a->special_groups).answer != SPECIAL_NONE) {
		line(s->e, "rule: a special name, which is answered here (RFC 6303, RFC 6761)");
		return;
	}
	if (route->configured) {
		line(s->e, "rule: forwarded, by upstreams, zone %s", name_text(&route->zone, zone));
	} else {
		line(s->e, "rule: forwarded");
	}
	struct dname above;
	unsigned domain;
	if (routes_search(a->routes, s->name, &above, &domain)) {
		line(s->e, "search domain: %s is asked for, too", name_text(&above, zone));
	}
	tell_cache(s, route);
	tell_servers(s, route);
}

/* What comes out. */

/* Records of a response of ours, whose names are not compressed. */
static void tell_records(struct explanation *e, struct span response, size_t at, unsigned count)
{
	struct reader r = reader_over(response);
	struct record record;
	r.at = at;
	for (unsigned i = 0; i < count && record_read(&record, &r) == 0; i++) {
		char type[RRTYPE_TEXT_SIZE];
		char text[DNAME_TEXT_SIZE];
		if (record.type == TYPE_A || record.type == TYPE_AAAA) {
			(void)inet_ntop(record.type == TYPE_A ? AF_INET : AF_INET6,
				record.rdata.data, text, sizeof(text));
		} else {
			(void)dname_to_text(record.rdata, text);
		}
		line(e, "  %s %s", rrtype_to_text(record.type, type), text);
	}
}

static void tell_answer(const struct subject *s)
{
	static const char *const rcodes[] = {
		"NOERROR", "FORMERR", "SERVFAIL", "NXDOMAIN", "NOTIMP", "REFUSED"};
	uint8_t question[HEADER_LEN + DNAME_MAX + 4];
	uint8_t scratch[SCRATCH];
	struct writer ask = {.data = question, .size = sizeof(question)};
	struct writer out = {.data = scratch, .size = sizeof(scratch)};
	struct authority authority = s->inside->authority;
	struct answered answered;
	struct query q;
	static const uint16_t header[] = {0, FLAG_RD, 1, 0, 0, 0};
	for (size_t i = 0; i < sizeof(header) / sizeof(header[0]); i++) {
		writer_u16(&ask, header[i]);
	}
	writer_octets(&ask, s->name->octets, s->name->len);
	writer_u16(&ask, s->qtype);
	writer_u16(&ask, CLASS_IN);
	authority.cache = NULL;
	enum verdict verdict =
		answer(&q, (struct span){question, ask.len}, &authority, SCRATCH, &out, &answered);
	if (verdict == VERDICT_CANARY) {
		line(s->e, "answer: what nobody else knows");
		return;
	}
	if (verdict != VERDICT_SEND) {
		line(s->e, "answer: from the cache while it is good, else from the servers");
		return;
	}
	unsigned rcode = octets_u16(scratch + 2) & FLAG_RCODE;
	unsigned records = octets_u16(scratch + 6);
	line(s->e, "answer: %s%s, %u record%s", rcode < 6 ? rcodes[rcode] : "error",
		rcode == RCODE_NOERROR && records == 0 ? " (NODATA)" : "", records,
		records == 1 ? "" : "s");
	tell_records(s->e, (struct span){scratch, out.len}, HEADER_LEN + q.question.len, records);
}

static void tell_rule(const struct subject *s)
{
	if (s->qtype == TYPE_AXFR || s->qtype == TYPE_IXFR) {
		line(s->e, "rule: a transfer, for the server that is asked, where that is known");
	} else if (s->qtype == TYPE_TXT && canary_is_name(s->name)) {
		line(s->e, "rule: a canary, which shows that queries are intercepted");
	} else if (tell_mesh(s)) {
		tell_foreign(s);
	}
}

/* answer() would take it for one that came round, and the server would not be asked any more. */
static bool is_probe(const struct subject *s)
{
	return s->qtype == TYPE_A && routes_is_probe(s->inside->authority.routes, s->name);
}

static void tell_probe(const struct subject *s)
{
	line(s->e, "rule: a probe of ours, which comes back where a name server asks us");
	line(s->e, "answer: NXDOMAIN, 0 records");
}

void explain(struct explanation *e, const struct worker_inside *inside, const struct dname *name,
	uint16_t qtype)
{
	struct subject s = {.e = e, .inside = inside, .name = name, .qtype = qtype};
	char type[RRTYPE_TEXT_SIZE];
	e->len = 0;
	s.zone = mesh_zone_of(inside->authority.zones, name);
	line(e, "name: %s, type %s", name_text(name, s.text), rrtype_to_text(qtype, type));
	tell_table(&s);
	if (is_probe(&s)) {
		tell_probe(&s);
	} else {
		tell_rule(&s);
		tell_answer(&s);
	}
	e->text[e->len] = '\0';
}

/* Over DNS. */

/* Whether an address is one of this machine's: only then can a socket have it. */
static bool is_local(const struct endpoint *peer)
{
	struct endpoint at = *peer;
	if (at.sa.sa_family == AF_INET) {
		at.in.sin_port = 0;
	} else {
		at.in6.sin6_port = 0;
	}
	int fd = socket(at.sa.sa_family, SOCK_DGRAM | SOCK_CLOEXEC, 0);
	bool local = fd >= 0 && bind(fd, &at.sa, at.len) == 0;
	if (fd >= 0) {
		close(fd);
	}
	return local;
}

/* `explain.NAME.kuma-dns.` or `explain-TYPE.NAME.kuma-dns.` */
static bool read_question(const struct dname *asked, struct dname *name, uint16_t *qtype)
{
	enum { ZONE_LEN = sizeof("\10kuma-dns") };
	size_t label = asked->octets[0];
	*qtype = TYPE_A;
	if (label > EXPLAIN_LABEL) {
		const char *type = (const char *)asked->octets + 1 + EXPLAIN_LABEL + 1;
		if (!rrtype_from_text(qtype, type, label - EXPLAIN_LABEL - 1)) {
			return false;
		}
	}
	size_t len = asked->len - (1 + label) - ZONE_LEN;
	memcpy(name->octets, asked->octets + 1 + label, len);
	name->octets[len] = 0;
	name->len = (uint8_t)(len + 1);
	return true;
}

static void send_lines(struct response *r, const struct explanation *e)
{
	const char *at = e->text;
	for (const char *end = strchr(at, '\n'); end; end = strchr(at, '\n')) {
		uint8_t rdata[1 + LINE_MAX_LEN];
		size_t len = (size_t)(end - at);
		rdata[0] = (uint8_t)len;
		memcpy(rdata + 1, at, len);
		response_answer(r, TYPE_TXT, 0, (struct span){rdata, 1 + len});
		at = end + 1;
	}
}

void explain_query(const struct worker_inside *inside, const struct query *q,
	const struct edns_options *options, const struct endpoint *peer, size_t limit,
	struct writer *out)
{
	static _Thread_local struct explanation e;
	struct dname name;
	uint16_t qtype;
	bool local = is_local(peer);
	if (!local || !read_question(&q->qname, &name, &qtype)) {
		(void)response_error_with(q, edns_options_span(options), out, limit,
			local ? RCODE_FORMERR : RCODE_REFUSED, EDE_NONE);
		return;
	}
	explain(&e, inside, &name, qtype);
	struct response r;
	response_begin(&r, q, out, limit);
	response_options(&r, edns_options_span(options));
	r.flags |= FLAG_AA;
	send_lines(&r, &e);
	(void)response_end(&r);
}
