/* SPDX-License-Identifier: Apache-2.0
 *
 * Who is asked for what: how routes come from configuration and resolv.conf, which one a name has,
 * and how loops are found.
 */
#include "tests/message.h"

#include "conf/conf.h"
#include "conf/log.h"
#include "dns/resolve/resolvconf.h"
#include "dns/resolve/routes.h"

#include <errno.h>
#include <stdio.h>

#define COUNT(array) (sizeof(array) / sizeof((array)[0]))

enum { TRY_MS = 800, TIMEOUT_MS = 4000 };

/* Seams: the log, and memory that is not there. */
void __wrap_log_line(struct log_site *site, enum log_level level, const char *format, ...)
	__attribute__((format(printf, 3, 4)));
void *__real_calloc(size_t count, size_t size);
void *__wrap_calloc(size_t count, size_t size);

static unsigned warnings;
static bool no_memory;

void __wrap_log_line(struct log_site *site, enum log_level level, const char *format, ...)
{
	(void)site, (void)format;
	warnings += level == LOG_LEVEL_WARNING;
}

void *__wrap_calloc(size_t count, size_t size)
{
	return no_memory ? NULL : __real_calloc(count, size);
}

static struct endpoint at(const char *text)
{
	struct endpoint e;
	assert_int_equal(endpoint_parse(&e, text, 53), 0);
	return e;
}

/* The n-th of many. */
static struct endpoint nth(unsigned n)
{
	char text[ENDPOINT_TEXT_SIZE];
	(void)snprintf(text, sizeof(text), "10.0.%u.%u", n / 200, 1 + n % 200);
	return at(text);
}

/* Filling by hand. */

static void add_server(
	struct routes *routes, struct route *route, const struct endpoint *server, uint64_t token)
{
	assert_int_equal(routes_add_server(routes, route, server, false, token), 0);
}

static struct route *add(struct routes *routes, const char *zone)
{
	struct dname name = name_of(zone);
	struct route *route = routes_add(routes, &name);
	assert_non_null(route);
	return route;
}

static void new_routes_have_the_root_without_servers(void **state)
{
	(void)state;
	struct routes *routes = routes_new();
	struct dname name = name_of("www.example");
	assert_int_equal(routes->count, 1);
	assert_int_equal(routes->server_count, 0);
	const struct route *route = routes_find(routes, &name);
	assert_ptr_equal(route, &routes->route[0]);
	assert_int_equal(route->zone.len, 1);
	assert_int_equal(route->labels, 0);
	assert_int_equal(route->count, 0);
	assert_int_equal(route->answer, ROUTE_FORWARD);
	assert_false(route->configured);
	routes_unref(routes);
}

static void the_root_is_replaced_other_zones_are_added(void **state)
{
	(void)state;
	struct routes *routes = routes_new();
	struct endpoint server = at("192.0.2.1");
	add_server(routes, &routes->route[0], &server, 1);
	struct route *root = add(routes, ".");
	assert_ptr_equal(root, &routes->route[0]);
	assert_int_equal(root->count, 0);
	assert_int_equal(routes->count, 1);
	for (unsigned i = 1; i < ROUTES_MAX; i++) {
		char zone[32];
		(void)snprintf(zone, sizeof(zone), "zone-%u.example", i);
		assert_ptr_equal(add(routes, zone), &routes->route[i]);
		assert_int_equal(routes->route[i].labels, 2);
	}
	struct dname more = name_of("more.example");
	struct dname again = name_of(".");
	assert_null(routes_add(routes, &more));
	assert_ptr_equal(routes_add(routes, &again), root);
	assert_int_equal(routes->count, ROUTES_MAX);
	routes_unref(routes);
}

static void a_server_counts_once(void **state)
{
	(void)state;
	struct routes *routes = routes_new();
	struct route *other = add(routes, "corp.example");
	struct endpoint one = at("192.0.2.1");
	struct endpoint two = at("192.0.2.1:5353");
	assert_int_equal(routes_add_server(routes, &routes->route[0], &one, true, 7), 0);
	assert_int_equal(routes_add_server(routes, &routes->route[0], &one, false, 8), 0);
	add_server(routes, other, &two, 9);
	assert_int_equal(routes_add_server(routes, other, &one, false, 10), 0);
	assert_int_equal(routes->server_count, 2);
	assert_int_equal(routes->route[0].count, 1);
	assert_int_equal(routes->server[0].token, 7);
	assert_true(routes->server[0].ours);
	assert_int_equal(other->count, 2);
	assert_int_equal(other->server[0], 1);
	assert_int_equal(other->server[1], 0);
	routes_unref(routes);
}

static void a_route_has_room_for_sixteen_servers(void **state)
{
	(void)state;
	struct routes *routes = routes_new();
	struct route *route = add(routes, "corp.example");
	struct endpoint server;
	for (unsigned i = 0; i < SERVERS_LIST_MAX; i++) {
		server = nth(i);
		add_server(routes, route, &server, i);
	}
	server = nth(SERVERS_LIST_MAX);
	assert_int_equal(routes_add_server(routes, route, &server, false, 1), -ENOSPC);
	assert_int_equal(route->count, SERVERS_LIST_MAX);
	assert_int_equal(routes->server_count, SERVERS_LIST_MAX); /* nobody asks that one */
	server = nth(3);
	assert_int_equal(
		routes_add_server(routes, route, &server, false, 1), 0); /* there already */
	routes_unref(routes);
}

static void all_routes_have_room_for_64_servers(void **state)
{
	(void)state;
	struct routes *routes = routes_new();
	struct endpoint server;
	for (unsigned i = 0; i < ROUTES_SERVERS_MAX; i++) {
		char zone[32];
		(void)snprintf(zone, sizeof(zone), "zone-%u.example", i / SERVERS_LIST_MAX);
		struct route *route = i % SERVERS_LIST_MAX == 0 ? add(routes, zone)
								: &routes->route[routes->count - 1];
		server = nth(i);
		add_server(routes, route, &server, i);
	}
	assert_int_equal(routes->server_count, ROUTES_SERVERS_MAX);
	struct route *last = add(routes, "last.example");
	server = nth(ROUTES_SERVERS_MAX);
	assert_int_equal(routes_add_server(routes, last, &server, false, 1), -ENOSPC);
	server = nth(ROUTES_SERVERS_MAX - 1);
	assert_int_equal(routes_add_server(routes, last, &server, false, 1), 0);
	assert_int_equal(last->count, 1);
	assert_int_equal(routes->server_count, ROUTES_SERVERS_MAX);
	routes_unref(routes);
}

/* Compiling. */

static struct conf conf;
static struct resolv_conf resolv;

static int begin(void **state)
{
	(void)state;
	memset(&conf, 0, sizeof(conf));
	memset(&resolv, 0, sizeof(resolv));
	conf.forward_try_ms = TRY_MS;
	conf.forward_timeout_ms = TIMEOUT_MS;
	resolv.ndots = 1;
	warnings = 0;
	return 0;
}

static void configure_server(const char *text)
{
	conf.servers.item[conf.servers.count++] = at(text);
}

static void resolv_server(const char *text)
{
	resolv.servers.item[resolv.servers.count++] = at(text);
}

static struct conf_upstream *configure_upstream(
	const char *zone, enum conf_policy answer, const char *server)
{
	struct conf_upstream *u = &conf.upstreams.item[conf.upstreams.count++];
	(void)snprintf(u->zone, sizeof(u->zone), "%s", zone);
	u->answer = answer;
	if (server) {
		u->servers.item[u->servers.count++] = at(server);
	}
	return u;
}

/** Which address is ours, and how often we were asked. */
struct ours {
	struct endpoint at;
	unsigned calls;
};

static bool is_ours(void *ctx, const struct endpoint *server)
{
	struct ours *ours = ctx;
	ours->calls++;
	return endpoint_equal(&ours->at, server);
}

static struct routes *compile(void)
{
	struct ours nothing = {.calls = 0};
	struct routes *routes = routes_compile(&conf, &resolv, is_ours, &nothing);
	assert_non_null(routes);
	assert_int_equal(routes->references, 1);
	return routes;
}

static void assert_servers(
	const struct routes *routes, const struct route *route, const char *expected)
{
	char text[1024] = "";
	for (unsigned i = 0; i < route->count; i++) {
		char server[ENDPOINT_TEXT_SIZE];
		size_t len = strlen(text);
		(void)snprintf(text + len, sizeof(text) - len, "%s%s", i > 0 ? " " : "",
			endpoint_format(&routes->server[route->server[i]].at, server));
	}
	assert_string_equal(text, expected);
}

static void servers_of_resolv_conf_come_with_its_options(void **state)
{
	(void)state;
	resolv_server("192.0.2.2");
	resolv_server("192.0.2.1");
	resolv.timeout_ms = 2000;
	resolv.attempts = 3;
	resolv.rotate = true;
	struct routes *routes = compile();
	assert_servers(routes, &routes->route[0], "192.0.2.2:53 192.0.2.1:53");
	assert_int_equal(routes->try_ms, 2000);
	assert_int_equal(routes->attempts, 3);
	assert_true(routes->rotate);
	assert_false(routes->route[0].configured);
	assert_int_equal(warnings, 0);
	routes_unref(routes);
}

static void options_that_are_not_given_leave_the_configuration(void **state)
{
	(void)state;
	static const struct {
		uint32_t timeout_ms;
		uint32_t try_ms;
	} vectors[] = {{0, TRY_MS}, {1000, 1000}, {3999, 3999}, {4000, 4000}, {5000, TIMEOUT_MS},
		{30000, TIMEOUT_MS}};
	resolv_server("192.0.2.1");
	for (size_t i = 0; i < COUNT(vectors); i++) {
		resolv.timeout_ms = vectors[i].timeout_ms;
		struct routes *routes = compile();
		assert_int_equal(routes->try_ms, vectors[i].try_ms);
		assert_int_equal(routes->attempts, 0);
		assert_false(routes->rotate);
		routes_unref(routes);
	}
}

static void configured_servers_come_instead_of_resolv_conf_and_its_options(void **state)
{
	(void)state;
	configure_server("192.0.2.9:5353");
	configure_server("[2001:db8::9]:53");
	resolv_server("192.0.2.1");
	resolv.timeout_ms = 2000;
	resolv.attempts = 3;
	resolv.rotate = true;
	struct routes *routes = compile();
	assert_servers(routes, &routes->route[0], "192.0.2.9:5353 [2001:db8::9]:53");
	assert_int_equal(routes->server_count, 2);
	assert_int_equal(routes->try_ms, TRY_MS);
	assert_int_equal(routes->attempts, 0);
	assert_false(routes->rotate);
	routes_unref(routes);
}

static void search_domains_count_in_any_case(void **state)
{
	(void)state;
	for (unsigned i = 0; i < RESOLV_SEARCH_MAX; i++) {
		char text[32];
		(void)snprintf(text, sizeof(text), "search-%u.example", i);
		resolv.search[resolv.search_count++] = name_of(text);
	}
	for (int configured = 0; configured < 2; configured++) {
		struct routes *routes = compile();
		assert_int_equal(routes->search_count, RESOLV_SEARCH_MAX);
		assert_memory_equal(routes->search, resolv.search, sizeof(resolv.search));
		routes_unref(routes);
		configure_server("192.0.2.9");
	}
}

static void nothing_configured_is_a_root_without_servers(void **state)
{
	(void)state;
	struct routes *routes = compile();
	assert_int_equal(routes->count, 1);
	assert_int_equal(routes->server_count, 0);
	assert_int_equal(routes->search_count, 0);
	assert_int_equal(routes->try_ms, TRY_MS);
	routes_unref(routes);
}

static void upstreams_become_routes(void **state)
{
	(void)state;
	resolv_server("192.0.2.1");
	configure_upstream("Corp.Example", CONF_FORWARD, "192.0.2.2");
	configure_upstream("ads.example", CONF_REFUSE, NULL);
	configure_upstream("a.b.c.example", CONF_NXDOMAIN, NULL);
	struct conf_upstream *u = configure_upstream("arpa", CONF_FORWARD, "192.0.2.1");
	u->servers.item[u->servers.count++] = at("192.0.2.2");
	struct routes *routes = compile();
	static const struct {
		const char *zone;
		unsigned labels;
		enum route_answer answer;
		const char *servers;
	} expected[] = {
		{".", 0, ROUTE_FORWARD, "192.0.2.1:53"},
		{"corp.example", 2, ROUTE_FORWARD, "192.0.2.2:53"},
		{"ads.example", 2, ROUTE_REFUSE, ""},
		{"a.b.c.example", 4, ROUTE_NXDOMAIN, ""},
		{"arpa", 1, ROUTE_FORWARD, "192.0.2.1:53 192.0.2.2:53"},
	};
	assert_int_equal(routes->count, COUNT(expected));
	assert_int_equal(routes->server_count, 2);
	for (size_t i = 0; i < COUNT(expected); i++) {
		const struct route *route = &routes->route[i];
		struct dname zone = name_of(expected[i].zone);
		assert_int_equal(route->zone.len, zone.len);
		assert_memory_equal(route->zone.octets, zone.octets, zone.len);
		assert_int_equal(route->labels, expected[i].labels);
		assert_int_equal(route->answer, expected[i].answer);
		assert_int_equal(route->configured, i > 0);
		assert_servers(routes, route, expected[i].servers);
	}
	assert_int_equal(warnings, 0);
	routes_unref(routes);
}

/* They would be probed and reported, and asked for nothing. */
static void an_upstream_for_the_root_leaves_no_other_servers(void **state)
{
	(void)state;
	resolv_server("192.0.2.1");
	resolv.timeout_ms = 2000;
	resolv.attempts = 3;
	resolv.rotate = true;
	configure_upstream("corp.example", CONF_FORWARD, "192.0.2.2");
	configure_upstream(".", CONF_FORWARD, "192.0.2.3");
	for (int configured = 0; configured < 2; configured++) {
		struct routes *routes = compile();
		assert_int_equal(routes->count, 2);
		assert_int_equal(routes->server_count, 2);
		assert_true(routes->route[0].configured);
		assert_servers(routes, &routes->route[0], "192.0.2.3:53");
		assert_servers(routes, &routes->route[1], "192.0.2.2:53");
		assert_int_equal(routes->try_ms, TRY_MS);
		assert_int_equal(routes->attempts, 0);
		assert_false(routes->rotate);
		routes_unref(routes);
		configure_server("192.0.2.9");
	}
	begin(NULL);
	resolv_server("192.0.2.1");
	configure_upstream(".", CONF_REFUSE, NULL);
	struct routes *routes = compile();
	assert_int_equal(routes->server_count, 0);
	assert_int_equal(routes->route[0].answer, ROUTE_REFUSE);
	routes_unref(routes);
}

static void a_zone_that_is_no_name_is_left_out_and_told(void **state)
{
	(void)state;
	configure_upstream("a..example", CONF_REFUSE, NULL);
	configure_upstream("", CONF_FORWARD, "192.0.2.2");
	configure_upstream("ads.example", CONF_REFUSE, NULL);
	struct routes *routes = compile();
	assert_int_equal(routes->count, 2);
	assert_int_equal(routes->server_count, 0);
	assert_int_equal(warnings, 2);
	routes_unref(routes);
}

static void servers_that_find_no_place_are_left_out_and_told(void **state)
{
	(void)state;
	for (unsigned i = 0; i < CONF_UPSTREAMS_MAX; i++) {
		char zone[32];
		(void)snprintf(zone, sizeof(zone), "zone-%u.example", i);
		struct conf_upstream *u = configure_upstream(zone, CONF_FORWARD, NULL);
		for (u->servers.count = 0; u->servers.count < 3; u->servers.count++) {
			u->servers.item[u->servers.count] = nth(i * 3 + u->servers.count);
		}
	}
	resolv_server("192.0.2.1");
	struct routes *routes = compile();
	assert_int_equal(routes->count, ROUTES_MAX);
	assert_int_equal(routes->server_count, ROUTES_SERVERS_MAX);
	assert_int_equal(routes->route[0].count, 1); /* that one is wanted most */
	assert_int_equal(routes->route[21].count, 3);
	assert_int_equal(routes->route[22].count, 0);
	assert_int_equal(routes->route[22].answer, ROUTE_FORWARD);
	assert_int_equal(warnings, 1 + CONF_UPSTREAMS_MAX * 3 - ROUTES_SERVERS_MAX);
	routes_unref(routes);
}

static void without_memory_there_are_no_routes(void **state)
{
	(void)state;
	struct ours nothing = {.calls = 0};
	no_memory = true;
	struct routes *made = routes_new();
	struct routes *compiled = routes_compile(&conf, &resolv, is_ours, &nothing);
	no_memory = false;
	assert_null(made);
	assert_null(compiled);
}

/* Finding. */

static void the_longest_zone_wins(void **state)
{
	(void)state;
	configure_upstream("example", CONF_FORWARD, "192.0.2.1");
	configure_upstream("b.corp.example", CONF_FORWARD, "192.0.2.2");
	configure_upstream("corp.example", CONF_FORWARD, "192.0.2.3");
	configure_upstream("ads.corp.example", CONF_REFUSE, NULL);
	struct routes *routes = compile();
	static const struct {
		const char *name;
		const char *zone;
	} vectors[] = {
		{".", "."}, {"com", "."}, {"example.com", "."}, {"corp.example.com", "."},
		{"notexample", "."}, {"example", "example"}, {"EXAMPLE", "example"},
		{"www.example", "example"},
		{"xcorp.example", "example"}, /* ends in the octets, but not at a label */
		{"b-corp.example", "example"}, {"corp.example", "corp.example"},
		{"www.corp.example", "corp.example"}, {"WWW.Corp.Example", "corp.example"},
		{"xb.corp.example", "corp.example"}, {"b.corp.example", "b.corp.example"},
		{"a.a.a.b.corp.example", "b.corp.example"},
		{"ads.corp.example", "ads.corp.example"},
		{"x.ads.corp.example", "ads.corp.example"},
		{"\\004corp\\007example", "."}, /* one label that looks like two */
	};
	for (size_t i = 0; i < COUNT(vectors); i++) {
		struct dname name = name_of(vectors[i].name);
		struct dname zone = name_of(vectors[i].zone);
		const struct route *route = routes_find(routes, &name);
		if (route->zone.len != zone.len ||
			memcmp(route->zone.octets, zone.octets, zone.len) != 0) {
			fail_msg("%s is not in %s", vectors[i].name, vectors[i].zone);
		}
	}
	routes_unref(routes);
}

static void the_label_next_to_the_search_domain_is_found(void **state)
{
	(void)state;
	static const char *const search[] = {
		"default.svc.cluster.local", "svc.cluster.local", "cluster.local", "corp.example"};
	for (size_t i = 0; i < COUNT(search); i++) {
		resolv.search[resolv.search_count++] = name_of(search[i]);
	}
	configure_upstream("com.corp.example", CONF_REFUSE, NULL);
	configure_upstream("www.org.corp.example", CONF_FORWARD, "192.0.2.1");
	configure_upstream("net.corp.example", CONF_FORWARD, "192.0.2.1");
	struct routes *routes = compile();
	static const struct {
		const char *name;
		const char *above; /* NULL: nothing to ask */
	} vectors[] = {
		/* two labels and more before the domain */
		{"www.example.com.default.svc.cluster.local", "com.default.svc.cluster.local"},
		{"example.com.default.svc.cluster.local", "com.default.svc.cluster.local"},
		{"example.com.svc.cluster.local", "com.svc.cluster.local"},
		{"example.com.cluster.local", "com.cluster.local"},
		{"WWW.Example.DE.Corp.Example", "de.corp.example"},
		/* one label: the name itself is what would be asked */
		{"com.default.svc.cluster.local", NULL}, {"com.svc.cluster.local", NULL},
		{"default.svc.cluster.local", NULL}, /* a domain is a name, too */
		{"svc.cluster.local", NULL}, {"cluster.local", NULL}, {"corp.example", NULL},
		/* the longest domain counts */
		{"a.b.default.svc.cluster.local", "b.default.svc.cluster.local"},
		{"a.xdefault.svc.cluster.local", "xdefault.svc.cluster.local"},
		/* below no domain */
		{".", NULL}, {"local", NULL}, {"www.example.com", NULL},
		{"www.example.xcorp.example", NULL}, {"www.example", NULL},
		/* another route begins in between: others know what is there */
		{"www.org.corp.example", NULL}, {"a.www.org.corp.example", NULL},
		{"b.org.corp.example", "org.corp.example"},
		{"www.net.corp.example", NULL}, /* others than those of the search domain */
		{"www.com.corp.example", NULL}, /* nobody is asked there */
	};
	for (size_t i = 0; i < COUNT(vectors); i++) {
		struct dname name = name_of(vectors[i].name);
		struct dname above = {.len = 0};
		unsigned domain;
		bool found = routes_search(routes, &name, &above, &domain);
		if (found != (vectors[i].above != NULL)) {
			fail_msg("%s: %d", vectors[i].name, found);
		}
		if (found) {
			char text[DNAME_TEXT_SIZE];
			(void)dname_to_text(dname_span(&above), text);
			assert_string_equal(text, vectors[i].above);
			assert_int_equal(above.octets[above.len - 1], 0);
		}
	}
	routes_unref(routes);
}

static void without_search_domains_there_is_nothing_above(void **state)
{
	(void)state;
	struct routes *routes = compile();
	struct dname name = name_of("a.b.c.example");
	struct dname above;
	unsigned domain;
	assert_false(routes_search(routes, &name, &above, &domain));
	routes_unref(routes);
}

/* 127 labels, the most there are (RFC 1035 §2.3.4). */
static void the_longest_names_are_searched(void **state)
{
	(void)state;
	struct dname name = {.len = DNAME_MAX};
	struct dname above;
	for (size_t i = 0; i + 1 < DNAME_MAX; i += 2) {
		name.octets[i] = 1;
		name.octets[i + 1] = 'a';
	}
	for (uint8_t len = 3; len < DNAME_MAX; len = (uint8_t)(len + 2)) {
		resolv.search_count = 1;
		resolv.search[0].len = len;
		memcpy(resolv.search[0].octets, name.octets + DNAME_MAX - len, len);
		struct routes *routes = compile();
		unsigned domain;
		assert_int_equal(
			routes_search(routes, &name, &above, &domain), len + 2 < DNAME_MAX);
		if (len + 2 < DNAME_MAX) {
			assert_int_equal(above.len, len + 2);
			assert_memory_equal(
				above.octets, name.octets + DNAME_MAX - above.len, above.len);
		}
		routes_unref(routes);
	}
}

/* Loops. */

static const uint64_t tokens[] = {0x0123456789abcdef, 0, UINT64_MAX, 0xfedcba9876543210, 1, 0xf0};

static struct routes *with_tokens(void)
{
	struct routes *routes = routes_new();
	for (unsigned i = 0; i < COUNT(tokens); i++) {
		struct endpoint server = nth(i);
		add_server(routes, &routes->route[0], &server, tokens[i]);
	}
	return routes;
}

static void a_probe_has_its_token_in_hex(void **state)
{
	(void)state;
	static const char *const expected[] = {"0123456789abcdef00000007.loop.kuma-dns.internal",
		"000000000000000000000007.loop.kuma-dns.internal",
		"ffffffffffffffff00000007.loop.kuma-dns.internal"};
	struct routes *routes = with_tokens();
	for (unsigned i = 0; i < COUNT(expected); i++) {
		struct dname probe;
		struct dname name = name_of(expected[i]);
		routes_probe_name(routes, i, 7, &probe);
		assert_int_equal(probe.len, name.len);
		assert_memory_equal(probe.octets, name.octets, name.len);
	}
	routes_unref(routes);
}

static void a_probe_that_comes_back_tells_its_server(void **state)
{
	(void)state;
	for (unsigned i = 0; i < COUNT(tokens); i++) {
		struct routes *routes = with_tokens();
		struct dname probe;
		routes_probe_name(routes, i, 7, &probe);
		for (unsigned k = 0; k < COUNT(tokens); k++) {
			assert_false(routes_is_loop(routes, k, 1));
		}
		assert_true(routes_catch_probe(routes, &probe, 1));
		for (unsigned k = 0; k < COUNT(tokens); k++) {
			assert_int_equal(routes_is_loop(routes, k, 1), k == i);
		}
		routes_unref(routes);
	}
}

static void a_loop_is_told_once(void **state)
{
	(void)state;
	struct routes *routes = with_tokens();
	assert_false(routes_tell_loop(routes, 0, false));
	assert_true(routes_tell_loop(routes, 0, true));
	assert_false(routes_tell_loop(routes, 0, true));
	assert_true(routes_tell_loop(routes, 1, true));
	struct routes *next = with_tokens();
	routes_inherit(next, routes);
	assert_false(routes_tell_loop(next, 0, true));
	assert_true(routes_tell_loop(next, 0, false));
	assert_false(routes_tell_loop(next, 0, false));
	routes_unref(next);
	routes_unref(routes);
}

static void letters_in_a_probe_may_come_back_in_upper_case(void **state)
{
	(void)state;
	struct routes *routes = with_tokens();
	struct dname name = name_of("0123456789aBcDEf89abcDEF.LOOP.Kuma-DNS.Internal");
	assert_true(routes_catch_probe(routes, &name, 1));
	assert_true(routes_is_loop(routes, 0, 1));
	routes_unref(routes);
}

static void other_names_are_no_probes(void **state)
{
	(void)state;
	static const char *const names[] = {".", "internal", "kuma-dns.internal",
		"loop.kuma-dns.internal", "0123456789abcdee.loop.kuma-dns.internal",
		"fedcba987654321100000007.loop.kuma-dns.internal",
		"123456789abcdef00000007.loop.kuma-dns.internal",
		"00123456789abcdef00000007.loop.kuma-dns.internal",
		"0123456789abcdeg00000007.loop.kuma-dns.internal",
		"00000000000000eg00000007.loop.kuma-dns.internal", /* 0xe0 | 16 */
		"0123456789abcde/00000007.loop.kuma-dns.internal",
		"0123456789abcde\\:00000007.loop.kuma-dns.internal",
		"0123456789abcde\\`00000007.loop.kuma-dns.internal",
		"0123456789abcde\\00000000007.loop.kuma-dns.internal",
		"-123456789abcdef00000007.loop.kuma-dns.internal",
		"0123456789abcdef00000007.loop.kuma-dns.example",
		"0123456789abcdef00000007.looq.kuma-dns.internal",
		"0123456789abcdef00000007.kuma-dns.internal",
		"0123456789abcdef00000007.loop.kuma-dns",
		"x.0123456789abcdef.loop.kuma-dns.internal",
		"01234567.89abcde.loop.kuma-dns.internal",
		"0123456789abcdef00000007\\004loop.kuma-dns.internal",
		"0123456789abcdef00000007.loop\\010kuma-dns.internal"};
	struct routes *routes = with_tokens();
	for (size_t i = 0; i < COUNT(names); i++) {
		struct dname name = name_of(names[i]);
		if (routes_catch_probe(routes, &name, 1)) {
			fail_msg("%s is a probe", names[i]);
		}
	}
	for (unsigned k = 0; k < COUNT(tokens); k++) {
		assert_false(routes_is_loop(routes, k, 1));
	}
	routes_unref(routes);
}

static void a_loop_is_gone_when_it_was_not_seen_for_two_probes(void **state)
{
	(void)state;
	struct routes *routes = with_tokens();
	struct dname probe;
	routes_probe_name(routes, 2, 7, &probe);
	assert_true(routes_catch_probe(routes, &probe, 1000));
	assert_true(routes_is_loop(routes, 2, 990)); /* another worker's time is a bit behind */
	assert_true(routes_is_loop(routes, 2, 1000));
	assert_true(routes_is_loop(routes, 2, 1000 + ROUTES_LOOP_MS - 1));
	assert_false(routes_is_loop(routes, 2, 1000 + ROUTES_LOOP_MS));

	assert_true(routes_catch_probe(routes, &probe, 50000));
	assert_true(routes_is_loop(routes, 2, 50000 + ROUTES_LOOP_MS - 1));
	assert_false(routes_is_loop(routes, 2, 50000 + ROUTES_LOOP_MS));
	routes_unref(routes);
}

static void each_server_has_a_token_of_its_own(void **state)
{
	(void)state;
	for (unsigned i = 0; i < SERVERS_LIST_MAX; i++) {
		resolv.servers.item[resolv.servers.count++] = nth(i);
	}
	struct routes *routes = compile();
	struct routes *others = compile();
	for (unsigned i = 0; i < SERVERS_LIST_MAX; i++) {
		struct dname probe;
		routes_probe_name(routes, i, 7, &probe);
		assert_false(routes_catch_probe(others, &probe, 1)); /* of somebody else */
		assert_true(routes_catch_probe(routes, &probe, 1));
		for (unsigned k = 0; k < SERVERS_LIST_MAX; k++) {
			assert_int_equal(routes_is_loop(routes, k, 1), k <= i);
		}
	}
	routes_unref(others);
	routes_unref(routes);
}

static void tokens_and_loops_are_inherited(void **state)
{
	(void)state;
	resolv_server("192.0.2.1");
	resolv_server("192.0.2.2");
	resolv_server("192.0.2.3");
	struct routes *before = compile();
	struct dname looping;
	struct dname out;
	routes_probe_name(before, 1, 7, &looping);
	routes_probe_name(before, 2, 7, &out);
	assert_true(routes_catch_probe(before, &looping, 1000));

	begin(NULL);
	resolv_server("192.0.2.2");
	resolv_server("192.0.2.4");
	resolv_server("192.0.2.3");
	resolv_server("192.0.2.1:5353"); /* not the same one */
	struct routes *routes = compile();
	routes_inherit(routes, before);
	routes_unref(before);
	for (unsigned i = 0; i < 4; i++) {
		assert_int_equal(routes_is_loop(routes, i, 2000), i == 0);
	}
	/* One that was sent before the change comes back after it. */
	assert_true(routes_catch_probe(routes, &out, 2000));
	assert_true(routes_is_loop(routes, 2, 2000));
	assert_true(routes_catch_probe(routes, &looping, 2000));
	assert_false(routes_is_loop(routes, 1, 2000));
	assert_false(routes_is_loop(routes, 3, 2000));
	routes_unref(routes);
}

static void who_listens_where_we_do_is_a_loop_for_ever(void **state)
{
	(void)state;
	struct ours ours = {.at = at("127.0.0.1:15053")};
	resolv_server("127.0.0.1:15053");
	resolv_server("192.0.2.1");
	configure_upstream("corp.example", CONF_FORWARD, "127.0.0.1:15053");
	configure_upstream("other.example", CONF_FORWARD, "192.0.2.1");
	struct routes *before = routes_compile(&conf, &resolv, is_ours, &ours);
	assert_int_equal(ours.calls, 2); /* each server once: it is told in the log */
	assert_true(routes_is_loop(before, 0, 1));
	assert_true(routes_is_loop(before, 0, INT64_MAX));
	assert_false(routes_is_loop(before, 1, 1));

	struct routes *routes = routes_compile(&conf, &resolv, is_ours, &ours);
	routes_inherit(routes, before);
	assert_true(routes_is_loop(routes, 0, INT64_MAX));
	assert_false(routes_is_loop(routes, 1, INT64_MAX));
	routes_unref(before);
	routes_unref(routes);
}

/* Sharing. */

static void routes_live_as_long_as_somebody_holds_them(void **state)
{
	(void)state;
	struct routes *routes = routes_new();
	assert_ptr_equal(routes_ref(routes), routes);
	assert_ptr_equal(routes_ref(routes), routes);
	routes_unref(routes);
	routes_unref(routes);
	assert_int_equal(routes->references, 1);
	routes_unref(routes); /* AddressSanitizer finds the memory if this was not the last */
	routes_unref(NULL);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(new_routes_have_the_root_without_servers),
		cmocka_unit_test(the_root_is_replaced_other_zones_are_added),
		cmocka_unit_test(a_server_counts_once),
		cmocka_unit_test(a_route_has_room_for_sixteen_servers),
		cmocka_unit_test(all_routes_have_room_for_64_servers),
		cmocka_unit_test_setup(servers_of_resolv_conf_come_with_its_options, begin),
		cmocka_unit_test_setup(options_that_are_not_given_leave_the_configuration, begin),
		cmocka_unit_test_setup(
			configured_servers_come_instead_of_resolv_conf_and_its_options, begin),
		cmocka_unit_test_setup(search_domains_count_in_any_case, begin),
		cmocka_unit_test_setup(nothing_configured_is_a_root_without_servers, begin),
		cmocka_unit_test_setup(upstreams_become_routes, begin),
		cmocka_unit_test_setup(an_upstream_for_the_root_leaves_no_other_servers, begin),
		cmocka_unit_test_setup(a_zone_that_is_no_name_is_left_out_and_told, begin),
		cmocka_unit_test_setup(servers_that_find_no_place_are_left_out_and_told, begin),
		cmocka_unit_test_setup(without_memory_there_are_no_routes, begin),
		cmocka_unit_test_setup(the_longest_zone_wins, begin),
		cmocka_unit_test_setup(the_label_next_to_the_search_domain_is_found, begin),
		cmocka_unit_test_setup(without_search_domains_there_is_nothing_above, begin),
		cmocka_unit_test_setup(the_longest_names_are_searched, begin),
		cmocka_unit_test(a_probe_has_its_token_in_hex),
		cmocka_unit_test(a_probe_that_comes_back_tells_its_server),
		cmocka_unit_test(a_loop_is_told_once),
		cmocka_unit_test(letters_in_a_probe_may_come_back_in_upper_case),
		cmocka_unit_test(other_names_are_no_probes),
		cmocka_unit_test(a_loop_is_gone_when_it_was_not_seen_for_two_probes),
		cmocka_unit_test_setup(each_server_has_a_token_of_its_own, begin),
		cmocka_unit_test_setup(tokens_and_loops_are_inherited, begin),
		cmocka_unit_test_setup(who_listens_where_we_do_is_a_loop_for_ever, begin),
		cmocka_unit_test(routes_live_as_long_as_somebody_holds_them),
	};
	return cmocka_run_group_tests_name("routes", tests, NULL, NULL);
}
