/* SPDX-License-Identifier: Apache-2.0
 *
 * A tick each second, and for each server the question whether it wants a probe. A probe is a query
 * like any other but for its name, which says who asked, and through whom.
 */
#include "dns/resolve/probing.h"

#include "conf/clock.h"
#include "conf/log.h"
#include "conf/tick.h"
#include "dns/resolve/entropy.h"

#include <errno.h>
#include <stdlib.h>

enum {
	NS_IN_MS = 1000000,
	TICK_MS = 1000,
	ACTIVE_MS = 30000,        /* servers are looked after for so long after a question */
	PROBE_AGE_MS = 10000,     /* a server that was not heard of for this time is probed … */
	LOOP_AGE_FIRST_MS = 1000, /* … and for loops all are: soon, then ever more seldom */
	LOOP_AGE_MAX_MS = 30000
};

struct probing {
	struct pool *pool;
	struct upstream *upstream;
	bool loop_probe;
	struct tick *tick;
	int64_t active_ns; /* when the last question came */
	int64_t loop_age_ms;
	uint32_t nonce;
};

/** How a probe is asked. */
struct form {
	bool tcp;
	bool with_opt;
	bool changed; /* not as other queries are */
};

/* What a probe asks for. */
static void probe_question(struct probing *p, struct pool_server *s)
{
	struct query q = {.flags = FLAG_RD, .qtype = TYPE_A, .qclass = CLASS_IN};
	uint8_t question[DNAME_MAX + 4];
	struct writer w = {.data = question, .size = sizeof(question)};
	if (p->loop_probe) {
		routes_probe_name(p->pool->routes, s->index, p->nonce++, &q.qname);
	} else {
		q.qname = (struct dname){.len = 1};
		q.qtype = TYPE_NS;
	}
	writer_octets(&w, q.qname.octets, q.qname.len);
	writer_u16(&w, q.qtype);
	writer_u16(&w, q.qclass);
	q.question = (struct span){question, w.len};
	asker_init(&s->probe, &q, UINT16_MAX, NULL);
}

/* As other queries are asked; but each second time a server that lacks something gets a chance to
 * show that it does not: one packet that was lost is no reason to do without OPT for minutes. */
static struct form probe_form(const struct pool_server *s, int64_t now)
{
	const struct health *h = &s->health;
	bool lacks = !health_wants_opt(h, now) || !health_wants_udp(h, now);
	if (lacks && s->counts.probes % 2 == 1) {
		return (struct form){.with_opt = true, .changed = true};
	}
	return (struct form){
		.tcp = !health_wants_udp(h, now),
		.with_opt = health_wants_opt(h, now) && (h->takes_opt || !health_is_silent(h)),
	};
}

static void send_probe(struct probing *p, unsigned slot, int64_t now)
{
	struct pool_server *s = &p->pool->server[slot];
	uint8_t octets[RELAY_QUERY_MAX];
	struct writer out = {.data = octets, .size = sizeof(octets)};
	const struct form form = probe_form(s, now);
	probe_question(p, s);
	size_t len = relay_query(&s->probe, 0, form.with_opt, &out);
	s->counts.probes++;
	s->probed_ns = now;
	s->probing = upstream_send(p->upstream, slot, form.tcp, &s->probe, octets, len, NULL, now);
	if (s->probing) {
		s->probing->with_opt = form.with_opt;
		s->probing->changed = form.changed;
	} else if (!form.changed) {
		health_missed(&s->health);
	}
}

/* What the form of the probe that was answered says about the server. */
static void learn_from_probe(
	struct health *h, const struct attempt *a, const struct relayed *r, int64_t now)
{
	if (attempt_stumbled(a, r)) {
		health_refuses_opt(h, now);
	} else if (a->changed) {
		health_takes_opt(h);
		health_takes_udp(h);
	} else if (!a->with_opt && !h->takes_opt && health_wants_opt(h, a->sent_ns)) {
		health_refuses_opt(h, now);
	}
}

void probing_done(struct probing *probing, const struct attempt *a, enum outcome outcome,
	const struct relayed *r)
{
	struct pool_server *s = &probing->pool->server[a->server];
	int64_t now = clock_ns();
	s->probing = NULL;
	if (outcome == OUTCOME_RESPONSE) {
		learn_from_probe(&s->health, a, r, now);
		health_answered(&s->health, a->tcp ? 0 : now - a->sent_ns, now);
	} else if (!a->changed) {
		health_missed(&s->health);
	}
}

/* Questions came lately. */
static bool is_active(const struct probing *p, int64_t now)
{
	return now - p->active_ns < (int64_t)ACTIVE_MS * NS_IN_MS;
}

static bool leads_back(const struct probing *p, const struct pool_server *s, int64_t now)
{
	return s->state == SLOT_USED && !p->pool->routes->server[s->index].ours &&
	       routes_is_loop(p->pool->routes, s->index, now / NS_IN_MS);
}

static bool is_looked_after(const struct probing *p, const struct pool_server *s, int64_t now)
{
	return s->state == SLOT_USED && !p->pool->routes->server[s->index].ours &&
	       (is_active(p, now) || leads_back(p, s, now));
}

/* Whether to ask a server something for its own sake. */
static bool wants_probe(const struct probing *p, const struct pool_server *s, int64_t now)
{
	int64_t probed_ms = (now - s->probed_ns) / NS_IN_MS;
	int64_t heard_ms = (now - s->health.answered_ns) / NS_IN_MS;
	if (s->probing || !is_looked_after(p, s, now)) {
		return false;
	}
	if (s->health.misses > 0 || (p->loop_probe && s->probed_ns == 0)) {
		return true;
	}
	return (p->loop_probe && probed_ms >= p->loop_age_ms) ||
	       (probed_ms >= PROBE_AGE_MS && heard_ms >= PROBE_AGE_MS);
}

/* One that is not answered within a tick was in vain. */
static void end_probe(struct probing *p, struct pool_server *s, int64_t now)
{
	if (s->probing && now - s->probing->sent_ns >= (int64_t)TICK_MS * NS_IN_MS / 2) {
		struct attempt *a = s->probing;
		s->probing = NULL;
		if (!a->changed) {
			s->counts.failures[UPSTREAM_TIMEOUT]++;
			health_missed(&s->health);
		}
		upstream_late(a);
		upstream_cancel(p->upstream, a);
	}
}

/* Log the beginning and the end of a loop; once, for all workers. */
static void tell_loop(struct probing *p, struct pool_server *s, bool loop)
{
	char text[ENDPOINT_TEXT_SIZE];
	if (loop == s->loop_told) {
		return;
	}
	s->loop_told = loop;
	if (s->state != SLOT_USED || !routes_tell_loop(p->pool->routes, s->index, loop)) {
		return;
	}
	if (loop) {
		log_warning("name server %s leads back to us: not asked",
			endpoint_format(&s->at, text));
	} else {
		log_info("name server %s does not lead back to us any more",
			endpoint_format(&s->at, text));
	}
}

static void start_ticking(struct probing *p, bool at_once)
{
	if (at_once || !tick_is_running(p->tick)) {
		tick_start(p->tick, at_once ? 0 : TICK_MS);
	}
}

/* Look after the servers, as long as questions come, or one of them leads back to us; where there
 * is none, sleep. */
static void on_tick(void *ctx)
{
	struct probing *p = ctx;
	int64_t now = clock_ns();
	bool go_on = false;
	bool probed = false;
	for (unsigned slot = 0; slot < POOL_MAX; slot++) {
		struct pool_server *s = &p->pool->server[slot];
		if (s->state == SLOT_FREE) {
			continue;
		}
		end_probe(p, s, now);
		if (wants_probe(p, s, now)) {
			send_probe(p, slot, now);
			probed = true;
		}
		tell_loop(p, s, leads_back(p, s, now));
		go_on = go_on || s->probing || s->loop_told || is_looked_after(p, s, now);
	}
	if (probed && p->loop_age_ms < LOOP_AGE_MAX_MS) {
		p->loop_age_ms *= 2;
	}
	if (go_on) {
		start_ticking(p, false);
	}
}

void probing_begin(struct probing *probing, int64_t now_ns)
{
	bool at_once = probing->loop_probe;
	if (at_once || is_active(probing, now_ns)) {
		start_ticking(probing, at_once);
	}
	probing->loop_age_ms = LOOP_AGE_FIRST_MS;
	probing->active_ns = now_ns;
}

void probing_on(struct probing *probing, int64_t now_ns)
{
	probing->active_ns = now_ns;
	start_ticking(probing, false);
}

int probing_open(struct probing **probing, struct event_base *base, struct pool *pool,
	struct upstream *upstream, bool loop_probe)
{
	struct entropy entropy = {.left = 0};
	struct probing *p = calloc(1, sizeof(*p));
	if (!p) {
		return -ENOMEM;
	}
	p->pool = pool;
	p->upstream = upstream;
	p->loop_probe = loop_probe;
	p->nonce = (uint32_t)entropy_u64(&entropy); /* begins elsewhere in each worker */
	int error = tick_open(&p->tick, base, on_tick, p);
	if (error != 0) {
		free(p);
		return error;
	}
	*probing = p;
	return 0;
}

void probing_close(struct probing *probing)
{
	if (!probing) {
		return;
	}
	for (unsigned slot = 0; slot < POOL_MAX; slot++) {
		struct pool_server *s = &probing->pool->server[slot];
		if (s->probing) {
			upstream_cancel(probing->upstream, s->probing);
		}
	}
	tick_close(probing->tick);
	free(probing);
}
