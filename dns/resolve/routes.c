/* SPDX-License-Identifier: Apache-2.0
 *
 * Filling routes, and asking them. Lists are short: they are searched from end to end.
 */
#include "dns/resolve/routes.h"

#include "conf/conf.h"
#include "conf/log.h"
#include "dns/resolve/entropy.h"
#include "dns/resolve/resolvconf.h"

#include <errno.h>
#include <stdlib.h>

/* Behind the token's label. */
static const uint8_t probe_zone[] = "\4loop\10kuma-dns\10internal";

enum {
	TOKEN_DIGITS = 16,
	NONCE_DIGITS = 8,
	LABEL_DIGITS = TOKEN_DIGITS + NONCE_DIGITS,
	PROBE_LEN = 1 + LABEL_DIGITS + sizeof(probe_zone)
};

/* Filling. */

struct routes *routes_new(void)
{
	struct routes *routes = calloc(1, sizeof(*routes));
	if (routes) {
		atomic_init(&routes->references, 1);
		routes->count = 1;
		routes->route[0].zone.len = 1;
	}
	return routes;
}

struct route *routes_add(struct routes *routes, const struct dname *zone)
{
	struct route *route = &routes->route[0];
	if (zone->len > 1) {
		if (routes->count == ROUTES_MAX) {
			return NULL;
		}
		route = &routes->route[routes->count++];
	}
	memset(route, 0, sizeof(*route));
	route->zone = *zone;
	route->labels = (uint8_t)dname_labels(zone);
	return route;
}

static unsigned find_server(const struct routes *routes, const struct endpoint *at)
{
	unsigned i = 0;
	while (i < routes->server_count && !endpoint_equal(&routes->server[i].at, at)) {
		i++;
	}
	return i;
}

int routes_add_server(struct routes *routes, struct route *route, const struct endpoint *server,
	bool ours, uint64_t token)
{
	unsigned i = find_server(routes, server);
	if (memchr(route->server, (int)i, route->count)) {
		return 0;
	}
	if (route->count == SERVERS_LIST_MAX || i == ROUTES_SERVERS_MAX) {
		return -ENOSPC;
	}
	if (i == routes->server_count) {
		routes->server_count++;
		routes->server[i].at = *server;
		routes->server[i].ours = ours;
		routes->server[i].token = token;
	}
	route->server[route->count++] = (uint8_t)i;
	return 0;
}

void routes_inherit(struct routes *routes, const struct routes *before)
{
	for (unsigned i = 0; i < routes->server_count; i++) {
		unsigned was = find_server(before, &routes->server[i].at);
		if (was < before->server_count) {
			routes->server[i].token = before->server[was].token;
			atomic_store_explicit(&routes->server[i].looped_ms,
				atomic_load_explicit(
					&before->server[was].looped_ms, memory_order_relaxed),
				memory_order_relaxed);
			bool told = atomic_load_explicit(
				&before->server[was].told, memory_order_relaxed);
			atomic_store_explicit(&routes->server[i].told, told, memory_order_relaxed);
		}
	}
}

/* Compiling. */

struct compilation {
	struct routes *routes;
	struct entropy entropy;
	routes_is_ours *is_ours;
	void *ctx;
};

static void add_server(struct compilation *c, struct route *route, const struct endpoint *at)
{
	char text[ENDPOINT_TEXT_SIZE];
	bool known = find_server(c->routes, at) < c->routes->server_count;
	bool ours = !known && c->is_ours(c->ctx, at);
	if (routes_add_server(c->routes, route, at, ours, entropy_u64(&c->entropy)) != 0) {
		log_warning("name server %s: one too many, not asked", endpoint_format(at, text));
	}
}

static void add_upstream(struct compilation *c, const struct conf_upstream *upstream)
{
	static const enum route_answer answers[] = {
		[CONF_FORWARD] = ROUTE_FORWARD,
		[CONF_REFUSE] = ROUTE_REFUSE,
		[CONF_NXDOMAIN] = ROUTE_NXDOMAIN,
	};
	struct dname zone;
	struct route *route = NULL;
	if (dname_from_text(&zone, upstream->zone, strlen(upstream->zone)) == 0) {
		route = routes_add(c->routes, &zone);
	}
	if (!route) {
		log_warning("upstreams: %s: no domain name, or one too many", upstream->zone);
		return;
	}
	route->configured = true;
	route->answer = answers[upstream->answer];
	for (unsigned i = 0; i < upstream->servers.count; i++) {
		add_server(c, route, &upstream->servers.item[i]);
	}
}

/* Whether the root's servers, or its answer, come from `upstreams`. */
static bool names_root(const struct conf_upstreams *upstreams)
{
	for (unsigned i = 0; i < upstreams->count; i++) {
		if (strcmp(upstreams->item[i].zone, ".") == 0) {
			return true;
		}
	}
	return false;
}

static void add_resolv_conf(
	struct compilation *c, const struct conf *conf, const struct resolv_conf *resolv)
{
	struct routes *routes = c->routes;
	for (unsigned i = 0; i < resolv->servers.count; i++) {
		add_server(c, &routes->route[0], &resolv->servers.item[i]);
	}
	if (resolv->timeout_ms != 0) {
		routes->try_ms = resolv->timeout_ms < conf->forward_timeout_ms
					 ? resolv->timeout_ms
					 : conf->forward_timeout_ms;
	}
	routes->attempts = resolv->attempts;
	routes->rotate = resolv->rotate;
}

struct routes *routes_compile(const struct conf *conf, const struct resolv_conf *resolv,
	routes_is_ours *is_ours, void *ctx)
{
	struct compilation c = {.routes = routes_new(), .is_ours = is_ours, .ctx = ctx};
	struct routes *routes = c.routes;
	if (!routes) {
		return NULL;
	}
	routes->try_ms = conf->forward_try_ms;
	bool root = names_root(&conf->upstreams);
	for (unsigned i = 0; i < conf->servers.count && !root; i++) {
		add_server(&c, &routes->route[0], &conf->servers.item[i]);
	}
	if (conf->servers.count == 0 && !root) {
		add_resolv_conf(&c, conf, resolv);
	}
	for (unsigned i = 0; i < conf->upstreams.count; i++) {
		add_upstream(&c, &conf->upstreams.item[i]);
	}
	for (unsigned i = 0; i < resolv->search_count && i < ROUTES_SEARCH_MAX; i++) {
		routes->search[routes->search_count++] = resolv->search[i];
	}
	return routes;
}

/* Asking. */

const struct route *routes_find(const struct routes *routes, const struct dname *name)
{
	const struct route *longest = &routes->route[0];
	for (unsigned i = 1; i < routes->count; i++) {
		const struct route *route = &routes->route[i];
		if (route->zone.len > longest->zone.len && dname_is_under(name, &route->zone)) {
			longest = route;
		}
	}
	return longest;
}

/* The last `len` octets of a name, which begin with a label. */
static void suffix(const struct dname *name, size_t len, struct dname *out)
{
	out->len = (uint8_t)len;
	memcpy(out->octets, name->octets + name->len - len, len);
}

/* The longest search domain that is the name or above it; `search_count` where there is none. */
static unsigned search_domain_of(const struct routes *routes, const struct dname *name)
{
	unsigned longest = routes->search_count;
	size_t len = 0;
	for (unsigned i = 0; i < routes->search_count; i++) {
		const struct dname *domain = &routes->search[i];
		if (domain->len > len && dname_is_under(name, domain)) {
			len = domain->len;
			longest = i;
		}
	}
	return longest;
}

bool routes_search(const struct routes *routes, const struct dname *name, struct dname *above,
	unsigned *domain)
{
	*domain = search_domain_of(routes, name);
	if (*domain == routes->search_count) {
		return false;
	}
	const struct dname *zone = &routes->search[*domain];
	size_t end = (size_t)name->len - zone->len; /* of the labels before it */
	size_t last = 0;                            /* where the label next to it begins */
	for (size_t at = 0; at < end; at += 1U + name->octets[at]) {
		last = at;
	}
	if (last == 0) {
		return false; /* nothing stands before that label, or there is none */
	}
	suffix(name, name->len - last, above);
	const struct route *route = routes_find(routes, name);
	return routes_find(routes, above) == route && routes_find(routes, zone) == route;
}

bool routes_is_loop(const struct routes *routes, unsigned server, int64_t now_ms)
{
	const struct route_server *s = &routes->server[server];
	int64_t looped = atomic_load_explicit(&s->looped_ms, memory_order_relaxed);
	return s->ours || (looped != 0 && now_ms - looped < ROUTES_LOOP_MS);
}

bool routes_tell_loop(struct routes *routes, unsigned server, bool loop)
{
	return atomic_exchange_explicit(&routes->server[server].told, loop, memory_order_relaxed) !=
	       loop;
}

/* Probes. */

static void digits_put(uint8_t *at, uint64_t number, unsigned count)
{
	static const char digits[] = "0123456789abcdef";
	while (count-- > 0) {
		at[count] = (uint8_t)digits[number & 0xf];
		number >>= 4;
	}
}

void routes_probe_name(
	const struct routes *routes, unsigned server, uint32_t nonce, struct dname *name)
{
	name->len = PROBE_LEN;
	name->octets[0] = LABEL_DIGITS;
	digits_put(name->octets + 1, routes->server[server].token, TOKEN_DIGITS);
	digits_put(name->octets + 1 + TOKEN_DIGITS, nonce, NONCE_DIGITS);
	memcpy(name->octets + 1 + LABEL_DIGITS, probe_zone, sizeof(probe_zone));
}

static bool token_read(const struct dname *name, uint64_t *token)
{
	const uint8_t *octets = name->octets;
	if (name->len != PROBE_LEN || octets[0] != LABEL_DIGITS ||
		memcmp(octets + 1 + LABEL_DIGITS, probe_zone, sizeof(probe_zone)) != 0) {
		return false;
	}
	*token = 0;
	for (size_t i = 1; i <= TOKEN_DIGITS; i++) {
		uint8_t c = octets[i];
		bool decimal = c >= '0' && c <= '9';
		if (!decimal && (c < 'a' || c > 'f')) {
			return false;
		}
		*token = *token << 4 | (decimal ? c - (unsigned)'0' : c - (unsigned)'a' + 10);
	}
	return true;
}

/* The server that a probe is for; server_count where it is none of ours. */
static unsigned find_probed(const struct routes *routes, const struct dname *name)
{
	uint64_t token;
	unsigned i = 0;
	if (!token_read(name, &token)) {
		return routes->server_count;
	}
	while (i < routes->server_count && routes->server[i].token != token) {
		i++;
	}
	return i;
}

bool routes_is_probe(const struct routes *routes, const struct dname *name)
{
	return find_probed(routes, name) < routes->server_count;
}

bool routes_catch_probe(struct routes *routes, const struct dname *name, int64_t now_ms)
{
	unsigned server = find_probed(routes, name);
	if (server == routes->server_count) {
		return false;
	}
	atomic_store_explicit(&routes->server[server].looped_ms, now_ms, memory_order_relaxed);
	return true;
}

/* Sharing. */

struct routes *routes_ref(struct routes *routes)
{
	atomic_fetch_add_explicit(&routes->references, 1, memory_order_relaxed);
	return routes;
}

void routes_unref(struct routes *routes)
{
	if (routes &&
		atomic_fetch_sub_explicit(&routes->references, 1, memory_order_acq_rel) == 1) {
		free(routes);
	}
}
