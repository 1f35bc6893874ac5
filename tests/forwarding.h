/* SPDX-License-Identifier: Apache-2.0
 *
 * A forwarder between a test and scripted name servers on the loopback, in virtual time.
 */
#pragma once

/* Before ldns, which else makes bool a char. */
#include <stdbool.h>

#include "tests/message.h"
#include "tests/scripted_server.h"
#include "tests/virtual_time.h"

#include "conf/conf.h"
#include "dns/admin/stats.h"
#include "dns/resolve/cache.h"
#include "dns/resolve/forward.h"
#include "dns/resolve/health.h"
#include "dns/wire/response.h"

enum {
	SERVERS = 3,
	REPLIES_MAX = 2048,
	TRY_MS = 80,
	TIMEOUT_MS = 400,
	AGES_MS = 5000, /* a try that no test waits for: what comes before came at once */
	PATIENCE_MS = 10000
};

struct reply {
	struct requestor to;
	int64_t at_ms;
	size_t len;
	uint8_t *octets;
};

struct world {
	struct event_base *base;
	struct conf conf;
	struct stats stats;
	struct cache *cache;   /* NULL: none */
	struct routes *routes; /* as they were set last; forward's reference */
	unsigned attempts;     /* of the routes that `start` makes */
	bool rotate;
	struct scripted server[SERVERS];
	struct forward *forward;
	unsigned count;
	struct reply reply[REPLIES_MAX];
	unsigned follow_ups; /* queries that the next replies bring */
};

static struct world w;

static inline int64_t now_ms(void)
{
	return vt_ms();
}

static inline uint64_t stat(enum counter which)
{
	return atomic_load(&w.stats.value[which]);
}

/* What is known of the i-th server of the routes. */
static inline struct server_report report_of(unsigned server)
{
	struct server_report report;
	forward_report(w.forward, server, &report);
	return report;
}

static inline uint64_t failures(unsigned server, enum upstream_failure why)
{
	return report_of(server).failures[why];
}

static inline struct requestor requestor_of(uint16_t port)
{
	struct requestor r = {.slot = 1};
	r.peer.in.sin_family = AF_INET;
	r.peer.in.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
	r.peer.in.sin_port = htons(port);
	r.peer.len = sizeof(r.peer.in);
	return r;
}

static inline void ask_octets(struct span octets, const struct requestor *from, size_t limit)
{
	static const struct edns_options none;
	struct query q;
	assert_int_equal(query_parse(&q, octets), 0);
	assert_int_equal(q.rcode, RCODE_NOERROR);
	forward_query(w.forward, &q, &none, from, limit);
}

/* A query with OPT from the requestor at `port`. */
static inline void ask(const char *name, uint16_t type, uint16_t id, uint16_t port)
{
	struct message m;
	struct requestor from = requestor_of(port);
	message_query(&m, name, type);
	message_opt(&m, (struct opt){.size = 4096});
	octets_put_u16(m.octets, id);
	ask_octets(message_span(&m), &from, 4096);
}

static inline void on_reply(void *ctx, const struct requestor *to, struct span message)
{
	assert_ptr_equal(ctx, &w);
	assert_true(w.count < REPLIES_MAX);
	struct reply *r = &w.reply[w.count++];
	r->to = *to;
	r->at_ms = now_ms();
	r->len = message.len;
	r->octets = malloc(message.len);
	assert_non_null(r->octets);
	memcpy(r->octets, message.data, message.len);
	if (w.follow_ups > 0) {
		w.follow_ups--;
		ask("follow-up.example", TYPE_A, (uint16_t)(100 + w.follow_ups), 999);
		assert_memory_equal(r->octets, message.data, message.len);
	}
}

static inline int setup(void **state)
{
	(void)state;
	memset(&w, 0, sizeof(w));
	w.base = event_base_new();
	vt_open(w.base);
	w.conf.forward_timeout_ms = TIMEOUT_MS;
	w.conf.forward_try_ms = TRY_MS;
	w.conf.transactions_max = 512;
	w.conf.cache_ttl_max = CACHE_TTL_MAX;
	w.conf.cache_negative_ttl_max = CACHE_NEGATIVE_TTL_MAX;
	return 0;
}

static inline struct routes *new_routes(void)
{
	struct routes *routes = routes_new();
	assert_non_null(routes);
	routes->try_ms = w.conf.forward_try_ms;
	routes->attempts = w.attempts;
	routes->rotate = w.rotate;
	return routes;
}

static inline void add_server(struct routes *routes, struct route *route, const struct scripted *s)
{
	assert_int_equal(routes_add_server(routes, route, &s->at, false, 0x1000 + s->number), 0);
}

static inline void set_routes(struct routes *routes)
{
	w.routes = routes;
	forward_set_routes(w.forward, routes);
}

static inline void start_with(struct routes *routes)
{
	assert_int_equal(
		forward_open(&w.forward, w.base, &w.conf, w.cache, &w.stats, on_reply, &w), 0);
	set_routes(routes);
}

static inline void start_at(unsigned servers, const char *address)
{
	struct routes *routes = new_routes();
	for (unsigned i = 0; i < servers; i++) {
		scripted_open(&w.server[i], w.base, address, (uint8_t)(i + 1));
		add_server(routes, &routes->route[0], &w.server[i]);
	}
	start_with(routes);
}

static inline void start(unsigned servers)
{
	start_at(servers, "127.0.0.1");
}

static inline int teardown(void **state)
{
	(void)state;
	forward_close(w.forward);
	cache_free(w.cache);
	for (unsigned i = 0; i < SERVERS; i++) {
		scripted_close(&w.server[i]);
	}
	for (unsigned i = 0; i < w.count; i++) {
		free(w.reply[i].octets);
	}
	vt_close();
	event_base_free(w.base);
	return 0;
}

static inline void await_replies(unsigned count)
{
	vt_await(&w.count, count, PATIENCE_MS);
	assert_int_equal(w.count, count);
}

static inline void await_seen(const struct scripted *s, unsigned count)
{
	vt_await(&s->count, count, PATIENCE_MS);
}

static inline void run_for(int64_t ms)
{
	vt_pass(ms);
}

static inline uint16_t rcode_of(unsigned reply)
{
	return octets_u16(w.reply[reply].octets + 2) & FLAG_RCODE;
}

static inline bool is_cut(unsigned reply)
{
	return octets_u16(w.reply[reply].octets + 2) & FLAG_TC;
}

/* The one address in the answer, by its last octet; 0 where there is none. */
static inline unsigned answered_by(unsigned reply)
{
	ldns_pkt *packet = packet_of((struct span){w.reply[reply].octets, w.reply[reply].len});
	unsigned by = 0;
	if (ldns_pkt_ancount(packet) > 0) {
		const ldns_rr *rr = ldns_rr_list_rr(ldns_pkt_answer(packet), 0);
		assert_int_equal(ldns_rdf_size(ldns_rr_a_address(rr)), 4);
		by = ldns_rdf_data(ldns_rr_a_address(rr))[3];
	}
	ldns_pkt_free(packet);
	return by;
}

/* The extended error of a reply with nothing but a question and OPT; -1 where there is none. */
static inline int ede_of(unsigned reply)
{
	struct reader r = reader_over((struct span){w.reply[reply].octets, w.reply[reply].len});
	(void)reader_span(
		&r, HEADER_LEN + scripted_question_len(w.reply[reply].octets, w.reply[reply].len));
	(void)reader_span(&r, 9);
	if (reader_u16(&r) < 6 || reader_u16(&r) != 15) {
		return -1;
	}
	(void)reader_u16(&r);
	return reader_u16(&r);
}
