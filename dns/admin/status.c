/* SPDX-License-Identifier: Apache-2.0
 *
 * /status: what a person wants to know first, a line a subject.
 */
#include "conf/clock.h"
#include "conf/privileges.h"
#include "dns/admin/gather.h"
#include "dns/admin/pages.h"
#include "dns/admin/process.h"
#include "dns/admin/text.h"

#include <inttypes.h>

enum { REASON_SIZE = 640 };

struct named {
	enum counter stat;
	const char *name;
};

static uint64_t load(const _Atomic uint64_t *counter)
{
	return atomic_load_explicit(counter, memory_order_relaxed);
}

static void put_ready(struct text *text, const struct state *state)
{
	char reason[REASON_SIZE];
	bool ready = state_ready(state, reason, sizeof(reason));
	text_add(text, "ready:        %s%s", ready ? "yes" : "no", reason[0] ? ": " : "");
	text_add_foreign(text, reason);
	text_add(text, "\n");
}

static long long seconds_since(int64_t ms)
{
	return (long long)(clock_ms() - ms) / 1000;
}

static void put_listening(struct text *text, const struct state *state)
{
	/* All workers listen on the same addresses. */
	unsigned count = 0;
	const struct endpoint *item = NULL;
	if (state->workers && state->workers[0]) {
		item = worker_listening(state->workers[0], &count);
	}
	text_add(text, "listening:   ");
	for (unsigned i = 0; i < count; i++) {
		char address[ENDPOINT_TEXT_SIZE];
		text_add(text, " %s", endpoint_format(&item[i], address));
	}
	text_add(text, "%s; %u worker%s\n", count ? "" : " nowhere", state->conf->workers,
		state->conf->workers == 1 ? "" : "s");
}

static void put_redirect(struct text *text, const struct state *state)
{
	static const char *const names[] = {
		[REDIRECT_OFF] = "off",
		[REDIRECT_WAITING] = "waiting",
		[REDIRECT_ACTIVE] = "active",
		[REDIRECT_FAILED] = "failed",
	};
	text_add(text, "redirect:     %s%s", names[state->redirect],
		state->redirect_text[0] ? ": " : "");
	text_add_foreign(text, state->redirect_text);
	text_add(text, "\n");
}

/** Who this process is, and what it may do. */
static void put_privileges(struct text *text)
{
	char what[PRIVILEGES_TEXT_SIZE];
	text_add(text, "running as:   %s\n", privileges_describe(what, sizeof(what)));
}

static void put_interception(struct text *text, const struct interception_status *s)
{
	static const char *const results[] = {
		[WAY_UNKNOWN] = "on its way",
		[WAY_OURS] = "came back",
		[WAY_LOST] = "lost",
		[WAY_NO_ROUTE] = "not sent",
	};
	for (unsigned i = 0; s && i < s->count; i++) {
		char way[WAY_TEXT_SIZE];
		text_add(text, "canary:       %s: %s\n", results[s->way[i].state],
			way_format(&s->way[i], way));
	}
}

static void put_table(struct text *text, const struct state *state)
{
	const struct table *table = state->table;
	if (!table) {
		text_add(text, "table:        none yet\n");
		return;
	}
	text_add(text,
		"table:        %" PRIu32 " names, TTL %" PRIu32 " s, %" PRIu32
		" records skipped, generation %" PRIu32 ", %zu KiB\n",
		table_count(table), table_ttl(table), table_skipped(table), table_generation(table),
		table_memory(table) / 1024);
}

static void put_mesh(struct text *text, const struct state *state)
{
	if (!state->mesh) {
		return;
	}
	const struct mesh_status *mesh = mesh_status(state->mesh);
	text_add(text, "source:       %s", mesh_source_name(mesh->source));
	if (mesh->source != MESH_NONE) {
		text_add(text, ", loaded %lld s ago", seconds_since(mesh->loaded_ms));
	}
	if (mesh->source == MESH_FILE || mesh->source == MESH_SOCKET) {
		text_add(text, ", confirmed %lld s ago", seconds_since(mesh->confirmed_ms));
	}
	text_add(text,
		"\nfetches:      %" PRIu64 ": %" PRIu64 " unchanged, %" PRIu64
		" unreachable, %" PRIu64 " rejected\n",
		mesh->fetches, mesh->unchanged, mesh->unreachable, mesh->rejected);
	if (mesh->problem[0]) {
		text_add(text, "last problem: ");
		text_add_foreign(text, mesh->problem);
		text_add(text, "\n");
	}
}

static void put_named(struct text *text, const char *subject, const struct stats *stats,
	const struct named *named, size_t count)
{
	text_add(text, "%-13s", subject);
	for (size_t i = 0; i < count; i++) {
		text_add(text, "%s %" PRIu64 " %s", i ? "," : "",
			load(&stats->value[named[i].stat]), named[i].name);
	}
	text_add(text, "\n");
}

static void put_counts(struct text *text, const struct stats *stats, uint64_t overflows)
{
	static const struct named local[] = {
		{STAT_LOCAL_A, "A"}, {STAT_LOCAL_AAAA, "AAAA"}, {STAT_LOCAL_OTHER, "other"}};
	static const struct named forwarded[] = {{STAT_UPSTREAM_A, "A"},
		{STAT_UPSTREAM_AAAA, "AAAA"}, {STAT_UPSTREAM_OTHER, "other"},
		{STAT_UPSTREAM_FAILURES, "failed"}};
	static const struct named responses[] = {{STAT_NOERROR, "NOERROR"},
		{STAT_NXDOMAIN, "NXDOMAIN"}, {STAT_SERVFAIL, "SERVFAIL"},
		{STAT_OTHER_RCODE, "other"}};
	static const struct named transactions[] = {{STAT_TRANSACTIONS_NOW, "now"},
		{STAT_TRANSACTIONS, "begun"}, {STAT_TRANSACTIONS_JOINED, "joined"},
		{STAT_TRANSACTIONS_REFUSED, "refused"}};
	static const struct named tcp[] = {
		{STAT_TCP_CONNECTIONS_NOW, "connections now"}, {STAT_TCP_CONNECTIONS, "accepted"}};
	static const struct named drops[] = {{STAT_DROP_SHORT, "short"},
		{STAT_DROP_RESPONSE, "responses"}, {STAT_DROP_OVERLOAD, "overload"},
		{STAT_DROP_SEND, "not sent"}, {STAT_DROP_TCP_LIMIT, "TCP limit"},
		{STAT_DROP_TCP_FRAME, "TCP frame"}, {STAT_DROP_TCP_IDLE, "TCP idle"},
		{STAT_DROP_TCP_UNSENT, "TCP unread"}};
#define PUT(subject, named)                                                                        \
	put_named(text, subject, stats, named, sizeof(named) / sizeof((named)[0]))
	PUT("local:", local);
	PUT("forwarded:", forwarded);
	PUT("responses:", responses);
	PUT("transactions:", transactions);
	PUT("TCP:", tcp);
	PUT("drops:", drops);
#undef PUT
	text_add(text, "overflows:    %" PRIu64 " datagrams\n", overflows);
}

/* Whether a server is asked, and if not why. */
static const char *server_condition(const struct server_report *server)
{
	return server->ours     ? "is ourselves"
	       : server->loop   ? "leads back to us"
	       : server->silent ? "silent"
				: "up";
}

/* In milliseconds, to a tenth. */
static void put_latency(struct text *text, const struct server_report *server)
{
	if (server->smoothed_us == 0) {
		text_add(text, ", no answer yet");
		return;
	}
	uint32_t smoothed = (server->smoothed_us + 50) / 100;
	uint32_t p95 = (server->p95_us + 50) / 100;
	text_add(text, ", %" PRIu32 ".%" PRIu32 " ms (95 %% within %" PRIu32 ".%" PRIu32 " ms)",
		smoothed / 10, smoothed % 10, p95 / 10, p95 % 10);
}

static void put_server(struct text *text, const struct server_report *server)
{
	static const char *const failures[UPSTREAM_FAILURES] = {
		[UPSTREAM_TIMEOUT] = "timeout",
		[UPSTREAM_REFUSED] = "refused",
		[UPSTREAM_SERVFAIL] = "SERVFAIL",
		[UPSTREAM_UNREACHABLE] = "unreachable",
		[UPSTREAM_MALFORMED] = "malformed",
	};
	char address[ENDPOINT_TEXT_SIZE];
	text_add(text, "upstream:     %s: %s", endpoint_format(&server->at, address),
		server_condition(server));
	put_latency(text, server);
	text_add(text,
		"%s%s, %" PRIu64 " UDP, %" PRIu64 " TCP, %" PRIu64 " hedge%s, %" PRIu64 " probe%s",
		server->no_opt ? ", without EDNS" : "", server->no_udp ? ", over TCP only" : "",
		server->udp_queries, server->tcp_queries, server->hedges,
		server->hedges == 1 ? "" : "s", server->probes, server->probes == 1 ? "" : "s");
	for (size_t i = 0; i < UPSTREAM_FAILURES; i++) {
		text_add(
			text, "%s %" PRIu64 " %s", i ? "," : ";", server->failures[i], failures[i]);
	}
	text_add(text, "\n");
}

static void put_servers(struct text *text, const struct gathered *all)
{
	for (unsigned i = 0; i < all->server_count; i++) {
		put_server(text, &all->server[i]);
	}
	if (all->server_count == 0) {
		text_add(text, "upstream:     no servers\n");
	}
}

static void put_zone(struct text *text, const struct routes *routes, const struct route *route)
{
	char name[DNAME_TEXT_SIZE];
	(void)dname_to_text(dname_span(&route->zone), name);
	text_add(text, "zone:         %s:", name);
	if (route->answer != ROUTE_FORWARD) {
		text_add(text, " %s\n", route->answer == ROUTE_REFUSE ? "refuse" : "nxdomain");
		return;
	}
	for (unsigned i = 0; i < route->count; i++) {
		char address[ENDPOINT_TEXT_SIZE];
		text_add(text, "%s %s", i ? "," : "",
			endpoint_format(&routes->server[route->server[i]].at, address));
	}
	text_add(text, "%s\n", route->count ? "" : " no servers");
}

static void put_search(struct text *text, const struct routes *routes, uint64_t probes)
{
	if (routes->search_count == 0) {
		text_add(text, "search:       no domains\n");
		return;
	}
	text_add(text, "search:      ");
	for (unsigned i = 0; i < routes->search_count; i++) {
		char name[DNAME_TEXT_SIZE];
		(void)dname_to_text(dname_span(&routes->search[i]), name);
		text_add(text, "%s %s", i ? "," : "", name);
	}
	text_add(text, "; %" PRIu64 " probe%s\n", probes, probes == 1 ? "" : "s");
}

static void put_routes(struct text *text, const struct state *state, const struct stats *stats)
{
	const struct routes *routes = state->routes;
	for (unsigned i = 0; routes && i < routes->count; i++) {
		if (routes->route[i].configured) {
			put_zone(text, routes, &routes->route[i]);
		}
	}
	if (routes) {
		put_search(text, routes, load(&stats->value[STAT_SEARCH_PROBES]));
	}
}

static void put_resolv_conf(struct text *text, const struct state *state)
{
	if (!state->watch) {
		return;
	}
	const struct watch_status *watch = watch_status(state->watch);
	text_add(text, "resolv.conf:  ");
	text_add_foreign(text, state->conf->resolv_conf);
	text_add(text, ", %" PRIu64 " change%s%s", watch->changes, watch->changes == 1 ? "" : "s",
		watch->problem[0] ? "; " : "");
	text_add_foreign(text, watch->problem);
	text_add(text, "\n");
}

static void put_cache(struct text *text, const struct gathered *all)
{
	const struct cache_figures *f = &all->cache;
	if (!all->has_cache) {
		text_add(text, "cache:        none\n");
		return;
	}
	text_add(text,
		"cache:        %" PRIu64 " KiB, %" PRIu64 " entries in %" PRIu64 " KiB; %" PRIu64
		" hits, %" PRIu64 " misses, %" PRIu64 " stale, %" PRIu64 " evictions\n",
		f->size / 1024, f->entries, f->octets / 1024, f->hits, f->misses, f->stale,
		f->evictions);
}

static void put_memory(struct text *text)
{
	struct process process;
	process_read(&process);
	if (process.resident != PROCESS_UNKNOWN) {
		text_add(text, "memory:       %" PRIu64 " KiB resident\n", process.resident / 1024);
	}
}

void page_status(struct httpd_reply *reply, const struct page_ask *ask)
{
	const struct state *state = ask->state;
	struct text text = {.out = reply->body};
	static struct gathered all;
	gather(&all, state);
	text_add(&text, "kuma-dns %s, up %lld s\n", KUMA_DNS_VERSION,
		seconds_since(state->started_ms));
	put_ready(&text, state);
	put_listening(&text, state);
	put_redirect(&text, state);
	put_privileges(&text);
	put_interception(&text, state->interception);
	put_table(&text, state);
	put_mesh(&text, state);
	put_servers(&text, &all);
	put_routes(&text, state, &all.stats);
	put_resolv_conf(&text, state);
	put_cache(&text, &all);
	put_counts(&text, &all.stats, all.overflows);
	put_memory(&text);
	reply->status = text.fault ? 0 : 200;
}
