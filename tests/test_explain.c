/* SPDX-License-Identifier: Apache-2.0
 *
 * What is said of names of each kind, by a worker's inside that is made by hand; the forwarder is a
 * seam that has its servers in the order of the routes turned round.
 */
#include "tests/message.h"

#include "dns/serve/explain.h"

#include "dns/serve/special.h"

#include <stdio.h>

#define COUNT(array) (sizeof(array) / sizeof(array)[0])

enum { TYPE_MX = 15, TABLE_NUMBER = 5, NOW_MS = 100000, TEXT_SIZE = 16384 };

/* The seam. */
struct forward {
	const struct routes *routes;
	struct server_report report[ROUTES_SERVERS_MAX];
};

unsigned __wrap_forward_order(const struct forward *f, const struct route *route, uint8_t order[]);
void __wrap_forward_report(const struct forward *f, unsigned server, struct server_report *report);

unsigned __wrap_forward_order(const struct forward *f, const struct route *route, uint8_t order[])
{
	unsigned count = 0;
	for (unsigned i = route->count; i-- > 0;) {
		const struct server_report *r = &f->report[route->server[i]];
		if (!r->ours && !r->loop) {
			order[count++] = route->server[i];
		}
	}
	return count;
}

void __wrap_forward_report(const struct forward *f, unsigned server, struct server_report *report)
{
	*report = f->report[server];
	report->at = f->routes->server[server].at;
}

struct fixture {
	struct worker_inside inside;
	struct mesh_zones zones;
	struct cookie_secret secret;
	struct table *table;
	struct forward forward;
	struct explanation e;
};

static struct address address_of(const char *text)
{
	struct address a;
	struct endpoint e;
	assert_int_equal(endpoint_parse(&e, text, 53), 0);
	a.len = e.sa.sa_family == AF_INET ? 4 : 16;
	if (a.len == 4) {
		memcpy(a.octets, &e.in.sin_addr, 4);
	} else {
		memcpy(a.octets, &e.in6.sin6_addr, 16);
	}
	return a;
}

static struct table *new_table(void)
{
	static const struct {
		const char *name;
		const char *addresses[3];
	} records[] = {
		{"redis.mesh", {"241.0.0.1", "241.0.0.2", "fd00::1"}},
		{"*.wild.mesh", {"241.0.0.3"}},
		{"*.in.wild.mesh", {"241.0.0.4"}},
		{"www.shadowed.example", {"241.0.0.5"}},
		{"*.any.example", {"241.0.0.6"}},
		{"bare.mesh", {NULL}},
	};
	struct table_builder *builder = table_builder_new(1, 1 << 20);
	assert_non_null(builder);
	for (size_t i = 0; i < COUNT(records); i++) {
		struct dname name = name_of(records[i].name);
		struct address address[3];
		size_t count = 0;
		for (; count < 3 && records[i].addresses[count]; count++) {
			address[count] = address_of(records[i].addresses[count]);
		}
		assert_int_equal(table_builder_add(builder, &name, address, count), 0);
	}
	struct table *table = table_builder_finish(builder, 30);
	assert_non_null(table);
	table_set_generation(table, TABLE_NUMBER);
	return table;
}

static struct route *add_zone(struct fixture *f, const char *text, enum route_answer answer)
{
	struct dname zone = name_of(text);
	struct route *route = routes_add(f->inside.authority.routes, &zone);
	assert_non_null(route);
	route->configured = true;
	route->answer = answer;
	return route;
}

static void add_server(struct fixture *f, struct route *route, const char *text)
{
	struct routes *routes = f->inside.authority.routes;
	struct endpoint at;
	assert_int_equal(endpoint_parse(&at, text, 53), 0);
	assert_int_equal(
		routes_add_server(routes, route, &at, false, 0xabc0U + routes->server_count), 0);
}

static void use_forward(struct fixture *f)
{
	f->forward.routes = f->inside.authority.routes;
	f->inside.forward = &f->forward;
}

static void use_cache(struct fixture *f)
{
	const struct cache_settings settings = {.size = CACHE_SIZE_MIN,
		.ttl_max = CACHE_TTL_MAX,
		.negative_ttl_max = CACHE_NEGATIVE_TTL_MAX,
		.stale_max = CACHE_STALE_MAX,
		.nxdomain_covers = true};
	f->inside.authority.cache = cache_new(&settings);
	assert_non_null(f->inside.authority.cache);
}

static int setup(void **state)
{
	static struct fixture f;
	memset(&f, 0, sizeof(f));
	f.zones.count = 2;
	f.zones.item[0] = name_of("mesh");
	f.zones.item[1] = name_of("in.mesh");
	f.table = new_table();
	struct authority *a = &f.inside.authority;
	a->table = f.table;
	a->zones = &f.zones;
	a->routes = routes_new();
	a->special_groups = SPECIAL_ALL;
	a->hop.secret = &f.secret;
	a->now_ms = NOW_MS;
	f.inside.table_since_ms = NOW_MS - 61500;
	assert_non_null(a->routes);
	*state = &f;
	return 0;
}

static int teardown(void **state)
{
	struct fixture *f = *state;
	cache_free(f->inside.authority.cache);
	routes_unref(f->inside.authority.routes);
	table_unref(f->table);
	return 0;
}

static const char *tell(struct fixture *f, const char *text, uint16_t qtype)
{
	struct dname name = name_of(text);
	memset(&f->e, 0xa5, sizeof(f->e));
	explain(&f->e, &f->inside, &name, qtype);
	assert_int_equal(strlen(f->e.text), f->e.len);
	return f->e.text;
}

/* What comes behind the lines of the name and of the table. */
static const char *rules(struct fixture *f, const char *text, uint16_t qtype)
{
	const char *all = strchr(tell(f, text, qtype), '\n');
	assert_non_null(all);
	all = strchr(all + 1, '\n');
	assert_non_null(all);
	return all + 1;
}

struct rule {
	const char *name;
	uint16_t qtype;
	const char *text;
};

static void assert_rules(struct fixture *f, const struct rule *cases, size_t count)
{
	for (size_t i = 0; i < count; i++) {
		const char *text = rules(f, cases[i].name, cases[i].qtype);
		if (strcmp(text, cases[i].text) != 0) {
			fail_msg("%s type %u:\n%s\nnot\n%s", cases[i].name, cases[i].qtype, text,
				cases[i].text);
		}
	}
}

#define OF_UPSTREAM "answer: from the cache while it is good, else from the servers\n"

static void name_and_table_come_first(void **state)
{
	struct fixture *f = *state;
	assert_string_equal(tell(f, "Bare.MESH", 4711),
		"name: bare.mesh, type TYPE4711\n"
		"table: generation 5, 6 names, here for 61 s\n"
		"rule: a name of the mesh, in the mesh zone mesh\n"
		"answer: NOERROR (NODATA), 0 records\n");
}

static void names_of_the_mesh(void **state)
{
	static const struct rule cases[] = {
		{"redis.mesh", TYPE_A,
			"rule: a name of the mesh, in the mesh zone mesh\n"
			"answer: NOERROR, 2 records\n  A 241.0.0.1\n  A 241.0.0.2\n"},
		{"redis.mesh", TYPE_AAAA,
			"rule: a name of the mesh, in the mesh zone mesh\n"
			"answer: NOERROR, 1 record\n  AAAA fd00::1\n"},
		{"redis.mesh", TYPE_ANY,
			"rule: a name of the mesh, in the mesh zone mesh\n"
			"answer: NOERROR, 3 records\n  A 241.0.0.1\n  A 241.0.0.2\n"
			"  AAAA fd00::1\n"},
		{"redis.mesh", TYPE_MX,
			"rule: a name of the mesh, in the mesh zone mesh\n"
			"answer: NOERROR (NODATA), 0 records\n"},
		{"nobody.mesh", TYPE_A,
			"rule: in the mesh zone mesh, and not in the table\n"
			"answer: NXDOMAIN, 0 records\n"},
		{"nobody.in.mesh", TYPE_A,
			"rule: in the mesh zone in.mesh, and not in the table\n"
			"answer: NXDOMAIN, 0 records\n"},
		{"mesh", TYPE_A,
			"rule: in the mesh zone mesh, where names exist below it\n"
			"answer: NOERROR (NODATA), 0 records\n"},
	};
	assert_rules(*state, cases, COUNT(cases));
}

static void the_wildcard_is_named(void **state)
{
	static const struct rule cases[] = {
		{"any.wild.mesh", TYPE_A,
			"rule: by the wildcard of the mesh *.wild.mesh, in the mesh zone mesh\n"
			"answer: NOERROR, 1 record\n  A 241.0.0.3\n"},
		{"a.b.c.wild.mesh", TYPE_A,
			"rule: by the wildcard of the mesh *.wild.mesh, in the mesh zone mesh\n"
			"answer: NOERROR, 1 record\n  A 241.0.0.3\n"},
		{"a.b.in.wild.mesh", TYPE_A,
			"rule: by the wildcard of the mesh *.in.wild.mesh, in the mesh zone mesh\n"
			"answer: NOERROR, 1 record\n  A 241.0.0.4\n"},
		{"in.wild.mesh", TYPE_A,
			"rule: in the mesh zone mesh, where names exist below it\n"
			"answer: NOERROR (NODATA), 0 records\n"},
		{"*.wild.mesh", TYPE_A,
			"rule: a name of the mesh, in the mesh zone mesh\n"
			"answer: NOERROR, 1 record\n  A 241.0.0.3\n"},
		{"x.any.example", TYPE_A,
			"rule: by the wildcard of the mesh *.any.example, which shadows the public "
			"name\n"
			"answer: NOERROR, 1 record\n  A 241.0.0.6\n"},
	};
	assert_rules(*state, cases, COUNT(cases));
}

/* Addresses, and what would lead around them, are the mesh's; all else is forwarded. */
static void a_shadowed_name_is_forwarded_for_other_types_alone(void **state)
{
	static const char shadows[] = "rule: a name of the mesh, which shadows the public name\n";
	static const uint16_t ours[] = {TYPE_A, TYPE_AAAA, TYPE_ANY, TYPE_HTTPS, TYPE_SVCB};
	static const struct rule others = {"www.shadowed.example", TYPE_MX,
		"rule: a name of the mesh, which shadows the public name\n"
		"rule: forwarded\ncache: off\n" OF_UPSTREAM};
	struct fixture *f = *state;
	for (size_t i = 0; i < COUNT(ours); i++) {
		const char *text = rules(f, "www.shadowed.example", ours[i]);
		assert_memory_equal(text, shadows, strlen(shadows));
		text += strlen(shadows);
		if (strncmp(text, "answer: NOERROR", strlen("answer: NOERROR")) != 0) {
			fail_msg("type %u: %s", ours[i], text);
		}
	}
	assert_rules(f, &others, 1);
}

static void reverse_names(void **state)
{
	static const struct rule cases[] = {
		{"1.0.0.241.in-addr.arpa", TYPE_PTR,
			"rule: the reverse name of an address of the table\n"
			"answer: NOERROR, 1 record\n  PTR redis.mesh\n"},
		{"1.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.d.f.ip6.arpa",
			TYPE_PTR,
			"rule: the reverse name of an address of the table\n"
			"answer: NOERROR, 1 record\n  PTR redis.mesh\n"},
		{"1.0.0.241.in-addr.arpa", TYPE_MX,
			"rule: the reverse name of an address of the table\n"
			"answer: NOERROR (NODATA), 0 records\n"},
		{"9.0.0.241.in-addr.arpa", TYPE_PTR, "rule: forwarded\ncache: off\n" OF_UPSTREAM},
		{"0.0.241.in-addr.arpa", TYPE_PTR, "rule: forwarded\ncache: off\n" OF_UPSTREAM},
		{"1.0.0.127.in-addr.arpa", TYPE_PTR,
			"rule: a special name, which is answered here (RFC 6303, RFC 6761)\n"
			"answer: NOERROR, 1 record\n  PTR localhost\n"},
	};
	assert_rules(*state, cases, COUNT(cases));
}

static void special_names(void **state)
{
	static const struct rule cases[] = {
		{"localhost", TYPE_ANY,
			"rule: a special name, which is answered here (RFC 6303, RFC 6761)\n"
			"answer: NOERROR, 2 records\n  A 127.0.0.1\n  AAAA ::1\n"},
		{"localhost", TYPE_MX,
			"rule: a special name, which is answered here (RFC 6303, RFC 6761)\n"
			"answer: NOERROR (NODATA), 0 records\n"},
		{"www.invalid", TYPE_A,
			"rule: a special name, which is answered here (RFC 6303, RFC 6761)\n"
			"answer: NXDOMAIN, 0 records\n"},
		{"printer.home.arpa", TYPE_A,
			"rule: forwarded, by upstreams, zone home.arpa\ncache: off\n" OF_UPSTREAM},
	};
	struct fixture *f = *state;
	add_zone(f, "home.arpa", ROUTE_FORWARD);
	assert_rules(f, cases, COUNT(cases));
	f->inside.authority.special_groups = 0;
	assert_string_equal(
		rules(f, "www.invalid", TYPE_A), "rule: forwarded\ncache: off\n" OF_UPSTREAM);
}

static void policies(void **state)
{
	static const struct rule cases[] = {
		{"www.ads.test", TYPE_A,
			"rule: policy for the zone ads.test: refuse\nanswer: REFUSED, 0 records\n"},
		{"www.gone.test", TYPE_A,
			"rule: policy for the zone gone.test: nxdomain\n"
			"answer: NXDOMAIN, 0 records\n"},
		{"www.not.gone.test", TYPE_A,
			"rule: forwarded, by upstreams, zone not.gone.test\n"
			"cache: off\n" OF_UPSTREAM},
	};
	struct fixture *f = *state;
	add_zone(f, "ads.test", ROUTE_REFUSE);
	add_zone(f, "gone.test", ROUTE_NXDOMAIN);
	add_zone(f, "not.gone.test", ROUTE_FORWARD);
	assert_rules(f, cases, COUNT(cases));
}

static void search_domains(void **state)
{
	struct fixture *f = *state;
	struct routes *routes = f->inside.authority.routes;
	routes->search_count = 1;
	routes->search[0] = name_of("svc.cluster.local");
	assert_string_equal(rules(f, "api.example.com.svc.cluster.local", TYPE_A),
		"rule: forwarded\n"
		"search domain: com.svc.cluster.local is asked for, too\n"
		"cache: off\n" OF_UPSTREAM);
	assert_string_equal(rules(f, "com.svc.cluster.local", TYPE_A),
		"rule: forwarded\ncache: off\n" OF_UPSTREAM);
}

/* RFC 5936 §2.2.1, RFC 1995 */
static void transfers_are_refused(void **state)
{
	static const char *const names[] = {"redis.mesh", "www.example.com", "localhost"};
	struct fixture *f = *state;
	for (size_t i = 0; i < COUNT(names); i++) {
		for (uint16_t type = TYPE_IXFR; type <= TYPE_AXFR; type++) {
			assert_string_equal(rules(f, names[i], type),
				"rule: a transfer, for the server that is asked, where that is "
				"known\nanswer: REFUSED, 0 records\n");
		}
	}
}

static void canaries_are_answered_here(void **state)
{
	static const char name[] = "0123456789abcdef01234567.canary.kuma-dns.internal";
	struct fixture *f = *state;
	assert_string_equal(rules(f, name, TYPE_TXT),
		"rule: a canary, which shows that queries are intercepted\n"
		"answer: what nobody else knows\n");
	assert_non_null(strstr(rules(f, name, TYPE_A), "rule: forwarded\n"));
}

static void before_the_first_table(void **state)
{
	struct fixture *f = *state;
	f->inside.authority.table = NULL;
	assert_string_equal(tell(f, "redis.mesh", TYPE_A),
		"name: redis.mesh, type A\n"
		"table: none yet\n"
		"rule: in the mesh zone mesh, and there is no table yet\n"
		"answer: SERVFAIL, 0 records\n");
	assert_string_equal(tell(f, "1.0.0.241.in-addr.arpa", TYPE_PTR),
		"name: 1.0.0.241.in-addr.arpa, type PTR\n"
		"table: none yet\n"
		"rule: forwarded\n"
		"cache: off\n" OF_UPSTREAM);
}

/* Servers. */

static void servers_are_told_in_their_order(void **state)
{
	struct fixture *f = *state;
	struct route *root = &f->inside.authority.routes->route[0];
	struct server_report *report = f->forward.report;
	add_server(f, root, "192.0.2.1");
	add_server(f, root, "[2001:db8::1]:5353");
	add_server(f, root, "192.0.2.3");
	add_server(f, root, "192.0.2.4");
	use_forward(f);
	report[0] = (struct server_report){.silent = true, .no_udp = true};
	report[1] = (struct server_report){.smoothed_us = 12034, .p95_us = 1002, .no_opt = true};
	report[2].ours = true;
	report[3].loop = true;
	assert_string_equal(rules(f, "www.example.com", TYPE_A),
		"rule: forwarded\n"
		"cache: off\n"
		"server 1: [2001:db8::1]:5353, well, 12.034 ms, 95% within 1.002 ms, without "
		"EDNS\n"
		"server 2: 192.0.2.1:53, silent, never answered, over TCP only\n"
		"not asked: 192.0.2.3:53, which is ourselves\n"
		"not asked: 192.0.2.4:53, which leads back to us\n" OF_UPSTREAM);
}

static void a_zone_has_its_own_servers(void **state)
{
	struct fixture *f = *state;
	struct routes *routes = f->inside.authority.routes;
	add_server(f, &routes->route[0], "192.0.2.1");
	add_server(f, add_zone(f, "corp.test", ROUTE_FORWARD), "192.0.2.2");
	add_zone(f, "lonely.test", ROUTE_FORWARD);
	use_forward(f);
	assert_string_equal(rules(f, "www.corp.test", TYPE_A),
		"rule: forwarded, by upstreams, zone corp.test\n"
		"cache: off\n"
		"server 1: 192.0.2.2:53, well, never answered\n" OF_UPSTREAM);
	assert_string_equal(rules(f, "www.lonely.test", TYPE_A),
		"rule: forwarded, by upstreams, zone lonely.test\n"
		"cache: off\n"
		"servers: none\n" OF_UPSTREAM);
}

/* Who wonders about a name that is seen on the wire must not make us believe that it came round. */
static void a_probe_for_loops_is_not_taken_for_one_that_came_round(void **state)
{
	struct fixture *f = *state;
	struct routes *routes = f->inside.authority.routes;
	struct dname name;
	add_server(f, &routes->route[0], "192.0.2.1");
	routes_probe_name(routes, 0, 7, &name);
	explain(&f->e, &f->inside, &name, TYPE_A);
	assert_false(routes_is_loop(routes, 0, NOW_MS));
	assert_non_null(strstr(f->e.text,
		"\nrule: a probe of ours, which comes back where a name server asks us\n"
		"answer: NXDOMAIN, 0 records\n"));
	explain(&f->e, &f->inside, &name, TYPE_AAAA);
	assert_non_null(strstr(f->e.text, "\nrule: forwarded\n"));
	assert_true(routes_catch_probe(routes, &name, NOW_MS));
	assert_true(routes_is_loop(routes, 0, NOW_MS));
}

/* The cache. */

struct entry {
	const char *name;
	uint16_t qtype;
	uint16_t rcode;
	bool edns_do;
	bool cd;
	const uint8_t *subnet; /* 11 octets */
	unsigned ttl;
	int64_t age_ms;
};

static struct cache_key key_of(const struct entry *e, struct dname *name)
{
	*name = name_of(e->name);
	return (struct cache_key){.name = dname_span(name),
		.qtype = e->qtype,
		.qclass = CLASS_IN,
		.edns_do = e->edns_do,
		.cd = e->cd,
		.subnet = {e->subnet, e->subnet ? 11 : 0}};
}

static void put(struct fixture *f, const struct entry *e)
{
	static const uint8_t soa[] = "\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\x1e";
	struct message m;
	struct query q;
	struct asker a;
	struct relayed r;
	struct dname name;
	struct cache_key key = key_of(e, &name);
	message_query(&m, e->name, e->qtype);
	assert_int_equal(query_parse(&q, message_span(&m)), 0);
	q.edns.subnet = key.subnet;
	asker_init(&a, &q, UINT16_MAX, NULL);
	message_begin(&m, (uint16_t)(FLAG_QR | FLAG_RD | FLAG_RA | e->rcode));
	message_question(&m, e->name, e->qtype);
	if (e->rcode == RCODE_NOERROR) {
		message_record(&m, 1, NULL, e->qtype, e->ttl, "\300\0\2\1", 4);
	} else {
		message_record(&m, 2, "example", TYPE_SOA, e->ttl, soa, 22);
	}
	assert_int_equal(relayed_read(&r, message_span(&m), &a), 0);
	assert_true(cache_put(f->inside.authority.cache, &key, &r, NOW_MS - e->age_ms));
}

static void assert_cache(struct fixture *f, const char *name, const char *text)
{
	char expected[512];
	(void)snprintf(expected, sizeof(expected), "rule: forwarded\n%s" OF_UPSTREAM, text);
	assert_string_equal(rules(f, name, TYPE_A), expected);
}

static void entries_of_the_cache(void **state)
{
	static const uint8_t subnet[] = {0, 8, 0, 7, 0, 1, 24, 0, 192, 0, 2};
	static const struct entry entries[] = {
		{"plain.example", TYPE_A, .ttl = 60, .age_ms = 1500},
		{"other.example", TYPE_MX, .ttl = 60},
		{"do.example", TYPE_A, .edns_do = true, .ttl = 60},
		{"cd.example", TYPE_A, .cd = true, .ttl = 60},
		{"subnet.example", TYPE_A, .subnet = subnet, .ttl = 60},
		{"old.example", TYPE_A, .ttl = 60, .age_ms = 95000},
		{"gone.example", TYPE_A, RCODE_NXDOMAIN, .ttl = 20},
	};
	static const struct entry failed = {.name = "failed.example", .qtype = TYPE_A};
	struct fixture *f = *state;
	struct dname name;
	use_cache(f);
	for (size_t i = 0; i < COUNT(entries); i++) {
		put(f, &entries[i]);
	}
	struct cache_key key = key_of(&failed, &name);
	cache_put_failure(f->inside.authority.cache, &key, RCODE_SERVFAIL, EDE_NETWORK_ERROR,
		NOW_MS, NOW_MS + 3000);
	struct cache_figures before = cache_figures(f->inside.authority.cache);

	assert_cache(f, "nothing.example", "cache: nothing\n");
	assert_cache(
		f, "plain.example", "cache: NOERROR, good for 58 s of 60 s, asked for 0 times\n");
	assert_cache(f, "other.example", "cache: nothing\n");
	assert_cache(
		f, "do.example", "cache: NOERROR, DO, good for 60 s of 60 s, asked for 0 times\n");
	assert_cache(
		f, "cd.example", "cache: NOERROR, CD, good for 60 s of 60 s, asked for 0 times\n");
	assert_cache(f, "subnet.example", "cache: nothing\n");
	assert_cache(
		f, "old.example", "cache: NOERROR, over since 35 s of 60 s, asked for 0 times\n");
	assert_cache(
		f, "gone.example", "cache: NXDOMAIN, good for 20 s of 20 s, asked for 0 times\n");
	assert_cache(
		f, "failed.example", "cache: a failure, good for 3 s of 3 s, asked for 0 times\n");
	assert_cache(f, "below.gone.example",
		"cache: denied by an NXDOMAIN for it or a name above it\n");

	struct cache_figures after = cache_figures(f->inside.authority.cache);
	assert_memory_equal(&before, &after, sizeof(before));
}

/* Lines. */

/* A name of 255 octets, each of which is four characters of text. */
static struct dname longest_name(void)
{
	struct dname name = {.len = DNAME_MAX};
	memset(name.octets, 1, sizeof(name.octets));
	for (size_t at = 0; at < 192; at += 64) {
		name.octets[at] = 63;
	}
	name.octets[192] = 61;
	name.octets[254] = 0;
	return name;
}

static void a_line_that_is_too_long_is_cut(void **state)
{
	struct fixture *f = *state;
	struct dname name = longest_name();
	explain(&f->e, &f->inside, &name, TYPE_A);
	assert_memory_equal(f->e.text, "name: \\001\\001", 14);
	assert_int_equal(strcspn(f->e.text, "\n"), 255);
	assert_non_null(strstr(f->e.text, "\nrule: forwarded\n"));
}

/* The largest answer that is told, and the longest lines before it, find room. */
static void the_longest_explanation_is_whole(void **state)
{
	struct fixture *f = *state;
	struct dname name = longest_name();
	struct table_builder *builder = table_builder_new(1, 1 << 20);
	struct address address[400];
	assert_non_null(builder);
	for (size_t i = 0; i < COUNT(address); i++) {
		memset(&address[i], 0xfe, sizeof(address[i]));
		address[i].len = 16;
		octets_put_u16(address[i].octets + 14, (uint16_t)(0x1000 + i));
	}
	assert_int_equal(table_builder_add(builder, &name, address, COUNT(address)), 0);
	struct table *table = table_builder_finish(builder, 30);
	assert_non_null(table);
	f->inside.authority.table = table;
	explain(&f->e, &f->inside, &name, TYPE_AAAA);
	table_unref(table);
	assert_true(f->e.len < EXPLANATION_SIZE);
	assert_int_equal(f->e.text[f->e.len - 1], '\n');
	assert_int_equal(strlen(f->e.text), f->e.len);
	const char *answer = strstr(f->e.text, "\nanswer: NOERROR, ");
	assert_non_null(answer);
	unsigned said = (unsigned)strtoul(answer + strlen("\nanswer: NOERROR, "), NULL, 10);
	unsigned told = 0;
	for (const char *at = strstr(answer, "\n  AAAA "); at; at = strstr(at + 1, "\n  AAAA ")) {
		told++;
	}
	assert_true(said > 100);
	assert_int_equal(told, said);
}

/* Over DNS. */

struct asked {
	const char *name;
	uint16_t qclass;
	const char *peer;
	struct edns_options options;
	size_t limit;
	bool opt;
	uint8_t response[TEXT_SIZE];
	size_t len;
};

static ldns_pkt *ask(struct fixture *f, struct asked *asked)
{
	struct message m;
	struct query q;
	struct endpoint peer;
	struct writer out = {.data = asked->response, .size = sizeof(asked->response), .len = 3};
	message_query(&m, asked->name, TYPE_TXT);
	octets_put_u16(m.octets + m.w.len - 2, asked->qclass);
	if (asked->opt) {
		message_opt(&m, (struct opt){.size = 1232});
	}
	assert_int_equal(query_parse(&q, message_span(&m)), 0);
	assert_int_equal(endpoint_parse(&peer, asked->peer, 4711), 0);
	explain_query(&f->inside, &q, &asked->options, &peer, asked->limit, &out);
	asked->len = out.len - 3;
	assert_true(asked->len <= asked->limit);
	return packet_of((struct span){asked->response + 3, asked->len});
}

/* The texts of all TXT records, a line each. */
static void read_lines(ldns_pkt *packet, uint16_t qclass, char text[TEXT_SIZE])
{
	const ldns_rr_list *answer = ldns_pkt_answer(packet);
	size_t len = 0;
	for (size_t i = 0; i < ldns_rr_list_rr_count(answer); i++) {
		const ldns_rr *rr = ldns_rr_list_rr(answer, i);
		assert_int_equal(ldns_rr_get_type(rr), LDNS_RR_TYPE_TXT);
		assert_int_equal(ldns_rr_get_class(rr), qclass);
		assert_int_equal(ldns_rr_ttl(rr), 0);
		assert_int_equal(ldns_rr_rd_count(rr), 1);
		const uint8_t *data = ldns_rdf_data(ldns_rr_rdf(rr, 0));
		assert_true(len + data[0] + 2 < TEXT_SIZE);
		memcpy(text + len, data + 1, data[0]);
		len += data[0];
		text[len++] = '\n';
	}
	text[len] = '\0';
}

static void assert_explains(struct fixture *f, const char *asked_name, uint16_t qclass,
	const char *name, uint16_t qtype)
{
	char text[TEXT_SIZE];
	struct asked asked = {
		.name = asked_name, .qclass = qclass, .peer = "127.0.0.1", .limit = 8192};
	ldns_pkt *packet = ask(f, &asked);
	read_lines(packet, qclass, text);
	assert_int_equal(ldns_pkt_get_rcode(packet), LDNS_RCODE_NOERROR);
	assert_true(ldns_pkt_aa(packet));
	assert_int_equal(ldns_pkt_id(packet), 0x1234);
	assert_string_equal(text, tell(f, name, qtype));
	ldns_pkt_free(packet);
}

static void each_line_is_a_text(void **state)
{
	struct fixture *f = *state;
	for (unsigned i = 0; i < 2; i++) {
		uint16_t qclass = i == 0 ? CLASS_CH : CLASS_IN;
		assert_explains(f, "explain.redis.mesh.kuma-dns", qclass, "redis.mesh", TYPE_A);
		assert_explains(
			f, "Explain-AAAA.Redis.Mesh.Kuma-DNS", qclass, "redis.mesh", TYPE_AAAA);
	}
}

static void type_and_name_are_in_the_name(void **state)
{
	static const struct {
		const char *asked;
		const char *name;
		uint16_t qtype;
	} cases[] = {
		{"explain.kuma-dns", ".", TYPE_A},
		{"explain-mx.kuma-dns", ".", TYPE_MX},
		{"explain.com.kuma-dns", "com", TYPE_A},
		{"explain-type4711.www.example.kuma-dns", "www.example", 4711},
		{"explain-any.kuma-dns.kuma-dns", "kuma-dns", TYPE_ANY},
		{"explain-ptr.1.0.0.241.in-addr.arpa.kuma-dns", "1.0.0.241.in-addr.arpa", TYPE_PTR},
	};
	for (size_t i = 0; i < COUNT(cases); i++) {
		assert_explains(*state, cases[i].asked, CLASS_CH, cases[i].name, cases[i].qtype);
	}
}

static void assert_error(struct fixture *f, const char *name, const char *peer, unsigned rcode)
{
	struct asked asked = {.name = name,
		.qclass = CLASS_CH,
		.peer = peer,
		.limit = 512,
		.opt = true,
		.options = {.len = 4, .octets = {0, 11, 0, 0}}};
	ldns_pkt *packet = ask(f, &asked);
	assert_int_equal(ldns_pkt_get_rcode(packet), rcode);
	assert_int_equal(ldns_pkt_ancount(packet), 0);
	assert_true(ldns_pkt_edns(packet));
	assert_memory_equal(asked.response + 3 + asked.len - 4, asked.options.octets, 4);
	ldns_pkt_free(packet);
}

static void a_type_that_is_none_is_an_error_of_form(void **state)
{
	static const char *const names[] = {
		"explain-.redis.mesh.kuma-dns",
		"explain-nonsense.redis.mesh.kuma-dns",
		"explain-type65536.redis.mesh.kuma-dns",
		"explain-type.redis.mesh.kuma-dns",
		"explain-a-a.redis.mesh.kuma-dns",
	};
	for (size_t i = 0; i < COUNT(names); i++) {
		assert_error(*state, names[i], "127.0.0.1", LDNS_RCODE_FORMERR);
	}
}

static void others_are_told_nothing(void **state)
{
	static const char *const peers[] = {"192.0.2.1", "2001:db8::1"};
	for (size_t i = 0; i < COUNT(peers); i++) {
		assert_error(*state, "explain.redis.mesh.kuma-dns", peers[i], LDNS_RCODE_REFUSED);
		/* nor whether what they ask is right */
		assert_error(
			*state, "explain-nonsense.mesh.kuma-dns", peers[i], LDNS_RCODE_REFUSED);
	}
}

static void what_does_not_fit_is_cut_and_said_so(void **state)
{
	struct fixture *f = *state;
	char text[TEXT_SIZE];
	struct asked asked = {.name = "explain-any.redis.mesh.kuma-dns",
		.qclass = CLASS_CH,
		.peer = "127.0.0.1",
		.limit = 200,
		.opt = true,
		.options = {.len = 4, .octets = {0, 11, 0, 0}}};
	ldns_pkt *packet = ask(f, &asked);
	read_lines(packet, CLASS_CH, text);
	assert_true(ldns_pkt_tc(packet));
	assert_int_equal(ldns_pkt_ancount(packet), 2);
	assert_memory_equal(text, tell(f, "redis.mesh", TYPE_ANY), strlen(text));
	assert_memory_equal(asked.response + 3 + asked.len - 4, asked.options.octets, 4);
	ldns_pkt_free(packet);
}

int main(void)
{
#define TEST(name) cmocka_unit_test_setup_teardown(name, setup, teardown)
	const struct CMUnitTest tests[] = {
		TEST(name_and_table_come_first),
		TEST(names_of_the_mesh),
		TEST(the_wildcard_is_named),
		TEST(a_shadowed_name_is_forwarded_for_other_types_alone),
		TEST(reverse_names),
		TEST(special_names),
		TEST(policies),
		TEST(search_domains),
		TEST(transfers_are_refused),
		TEST(canaries_are_answered_here),
		TEST(before_the_first_table),
		TEST(servers_are_told_in_their_order),
		TEST(a_zone_has_its_own_servers),
		TEST(a_probe_for_loops_is_not_taken_for_one_that_came_round),
		TEST(entries_of_the_cache),
		TEST(a_line_that_is_too_long_is_cut),
		TEST(the_longest_explanation_is_whole),
		TEST(each_line_is_a_text),
		TEST(type_and_name_are_in_the_name),
		TEST(a_type_that_is_none_is_an_error_of_form),
		TEST(others_are_told_nothing),
		TEST(what_does_not_fit_is_cut_and_said_so),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
