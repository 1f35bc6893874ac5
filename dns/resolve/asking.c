/* SPDX-License-Identifier: Apache-2.0
 *
 * One question, and the servers. The best one is asked first; when its answer takes longer than
 * nineteen in twenty do, the next one is asked, too (Dean and Barroso, "The tail at scale", 2013),
 * and so on; once all were asked, they are asked again, in other forms. The first answer counts.
 */
#include "dns/resolve/asking.h"

#include "conf/clock.h"
#include "conf/conf.h"
#include "dns/resolve/pool.h"
#include "dns/resolve/probing.h"
#include "dns/resolve/upstream.h"

#include <errno.h>
#include <event2/event.h>
#include <stdlib.h>

enum {
	NS_IN_MS = 1000000,
	/* An extra query because an answer is late is bought with this many ordinary ones, unless
	 * the server says nothing at all; and so many may be bought at once. */
	HEDGE_PRICE = 10,
	HEDGE_CREDIT_MAX = 32 * HEDGE_PRICE,
	REPEAT_FACTOR = 4, /* of the time for an answer: then the only server is asked again … */
	REPEAT_MIN_MS = 100,
	SLOT_EXTRA_MS = 2000 /* a retired slot may still have queries in c-ares */
};

enum { RANK_NONE, RANK_REFUSED, RANK_SERVFAIL, RANK_TRUNCATED };

struct asking {
	struct event_base *base;
	struct stats *stats;
	asking_done *done;
	asking_overdue *overdue;
	void *ctx;
	int64_t timeout_ns;
	struct upstream *upstream;
	struct pool pool;
	struct alarms alarms;
	struct event *timer;
	int64_t timer_ns; /* what it is armed for; INT64_MAX: it is not; INT64_MIN: it is due */
	struct probing *probing;
	unsigned credit;
};

static struct health *health_of(struct asking *k, unsigned slot)
{
	return &k->pool.server[slot].health;
}

static struct server_counts *counts_of(struct asking *k, unsigned slot)
{
	return &k->pool.server[slot].counts;
}

static int64_t try_ns(const struct asking *k)
{
	return (int64_t)k->pool.routes->try_ms * NS_IN_MS;
}

/* Time. */

static void arm_timer(struct asking *k, int64_t now)
{
	const struct alarm *first = alarms_first(&k->alarms);
	if (!first || k->timer_ns <= first->at_ns) {
		return;
	}
	k->timer_ns = first->at_ns;
	int64_t us = first->at_ns > now ? (first->at_ns - now) / 1000 + 1 : 1;
	struct timeval wait = {.tv_sec = us / 1000000, .tv_usec = us % 1000000};
	evtimer_add(k->timer, &wait);
}

/* Nobody is woken for a question that has been answered, where it was the only one. */
static void disarm_timer(struct asking *k)
{
	if (!alarms_first(&k->alarms) && k->timer_ns != INT64_MIN && k->timer_ns != INT64_MAX) {
		k->timer_ns = INT64_MAX;
		evtimer_del(k->timer);
	}
}

/* What comes next for a question is the earliest of three. */
static void set_alarm(struct asking *k, struct transaction *t, int64_t now)
{
	int64_t at = t->deadline_ns < t->next_ns ? t->deadline_ns : t->next_ns;
	if (t->overdue_ns != 0 && t->overdue_ns < at) {
		at = t->overdue_ns;
	}
	alarm_set(&k->alarms, &t->alarm, at);
	arm_timer(k, now);
}

/* Endings. */

void asking_stop(struct asking *asking, struct transaction *t)
{
	alarm_clear(&asking->alarms, &t->alarm);
	disarm_timer(asking);
	while (!link_empty(&t->attempts)) {
		struct attempt *a = link_entry(t->attempts.next, struct attempt, sibling);
		link_remove(&a->sibling);
		if (a->missed && !a->tcp) { /* c-ares#650: the port may lead to who is gone */
			upstream_late(a);
		}
		upstream_cancel(asking->upstream, a);
	}
}

static void finish(struct asking *k, struct transaction *t, const struct relayed *r, enum ede ede)
{
	asking_stop(k, t);
	k->done(k->ctx, t, r, ede);
}

/* Without an answer: the best of what servers said instead, or the reason (RFC 8914 §4.23, §4.24).
 */
static void give_up(struct asking *k, struct transaction *t)
{
	struct relayed r;
	const struct span said = {.data = t->fallback, .len = t->fallback_len};
	if (t->fallback && relayed_read(&r, said, &t->asker) == 0) {
		finish(k, t, &r, EDE_NONE);
		return;
	}
	bool network = t->unreachable == (1U << t->server_count) - 1;
	finish(k, t, NULL, network ? EDE_NETWORK_ERROR : EDE_NO_REACHABLE_AUTHORITY);
}

static void keep_fallback(struct transaction *t, const struct relayed *r, unsigned rank)
{
	if (rank < t->fallback_rank || r->message.len == 0) {
		return;
	}
	uint8_t *copy = malloc(r->message.len);
	if (!copy) {
		return;
	}
	memcpy(copy, r->message.data, r->message.len);
	free(t->fallback);
	t->fallback = copy;
	t->fallback_len = r->message.len;
	t->fallback_rank = rank;
}

/* Asking one server. */

/** How a query is asked. */
struct form {
	bool tcp;
	bool with_opt;
	bool changed; /* not as at first */
};

/* Of the n-th query to a server. Where nothing comes back the network may be to blame, or the form:
 * some never answer OPT, some paths lose what is larger than 512 octets, some block UDP. */
static struct form form_of(const struct health *h, unsigned n, int64_t now)
{
	struct form form = {.tcp = !health_wants_udp(h, now), .with_opt = health_wants_opt(h, now)};
	if (n == 1) {
		form.changed = form.with_opt && !h->takes_opt;
		form.with_opt = form.with_opt && h->takes_opt;
	} else if (n > 1) {
		form.changed = true;
		form.tcp = n % 2 == 0;
		form.with_opt = form.with_opt && n % 2 == 0;
	}
	return form;
}

static struct attempt *send_octets(struct asking *k, struct transaction *t, unsigned slot,
	const struct form *form, int64_t now)
{
	uint8_t octets[RELAY_QUERY_MAX];
	struct writer w = {.data = octets, .size = sizeof(octets)};
	uint8_t *query = t->verbatim;
	size_t len = t->verbatim_len;
	bool with_opt = form->with_opt && !t->verbatim;
	if (!query) {
		query = octets;
		len = relay_query(&t->asker, 0, with_opt, &w);
	}
	/* No fragments (RFC 9715): a query too large for one datagram goes over TCP. */
	bool tcp = form->tcp || len > UDP_LEN_OURS;
	struct attempt *a = upstream_send(k->upstream, slot, tcp, &t->asker, query, len, t, now);
	if (a) {
		a->with_opt = with_opt;
		a->changed = form->changed;
	}
	return a;
}

/* Ask the i-th server of a question. False where nothing could be sent. */
static bool ask(
	struct asking *k, struct transaction *t, unsigned i, const struct form *form, int64_t now)
{
	unsigned slot = t->server[i];
	struct server_counts *counts = counts_of(k, slot);
	struct attempt *a = send_octets(k, t, slot, form, now);
	t->over_tcp |= (uint32_t)form->tcp << i;
	t->asked[i] = (uint8_t)(t->asked[i] + (t->asked[i] < UINT8_MAX));
	if (!a) {
		t->unreachable |= 1U << i;
		counts->failures[UPSTREAM_UNREACHABLE]++;
		return false;
	}
	link_append(&t->attempts, &a->sibling);
	counts->udp_queries += !a->tcp;
	counts->tcp_queries += a->tcp;
	return true;
}

static unsigned index_of(const struct transaction *t, unsigned slot)
{
	unsigned i = 0;
	while (i < t->server_count && t->server[i] != slot) {
		i++;
	}
	return i;
}

/* Asking one after the other. */

enum { NOBODY = SERVERS_LIST_MAX };

/* The first that was not asked yet. */
static unsigned first_unasked(const struct transaction *t)
{
	unsigned i = 0;
	while (i < t->server_count && t->asked[i] > 0) {
		i++;
	}
	return i < t->server_count ? i : NOBODY;
}

/* Whose turn it is; NOBODY where each was asked as often as may be. */
static unsigned next_in_turn(const struct asking *k, struct transaction *t)
{
	unsigned most = k->pool.routes->attempts;
	for (unsigned n = 0; n < t->server_count; n++) {
		unsigned i = t->turn;
		t->turn = (uint8_t)((i + 1) % t->server_count);
		if (most == 0 || t->asked[i] < most) {
			return i;
		}
	}
	return NOBODY;
}

/* How long to wait for more than one round trip. */
static int64_t long_patience_ns(struct asking *k, unsigned slot)
{
	int64_t ns = health_hedge_ns(health_of(k, slot)) * REPEAT_FACTOR;
	int64_t least = (int64_t)REPEAT_MIN_MS * NS_IN_MS;
	int64_t most = try_ns(k);
	ns = ns < least ? least : ns;
	return ns < most ? ns : most;
}

/* How long to wait for the i-th server, which was asked just now, before another one is. */
static int64_t patience_ns(struct asking *k, const struct transaction *t, unsigned i)
{
	int64_t most = try_ns(k);
	if (t->asked[i] > 1 || link_empty(&t->waiters)) { /* where nobody waits there is no hurry */
		return most;
	}
	if (first_unasked(t) == NOBODY) { /* the same ones once more */
		return long_patience_ns(k, t->server[i]);
	}
	int64_t hedge = health_hedge_ns(health_of(k, t->server[i]));
	return hedge < most ? hedge : most;
}

/* Ask the same server again at once, in another form. */
static bool ask_again(
	struct asking *k, struct transaction *t, const struct attempt *a, bool tcp, bool with_opt)
{
	int64_t now = clock_ns();
	const struct form form = {.tcp = tcp, .with_opt = with_opt};
	if (!ask(k, t, index_of(t, a->server), &form, now)) {
		return false;
	}
	t->next_ns = now + long_patience_ns(k, a->server);
	set_alarm(k, t, now);
	return true;
}

static bool ask_in_turn(struct asking *k, struct transaction *t, unsigned i, int64_t now)
{
	const struct form form = form_of(health_of(k, t->server[i]), t->asked[i], now);
	if (!ask(k, t, i, &form, now)) {
		return false;
	}
	t->next_ns = now + patience_ns(k, t, i);
	return true;
}

/* Ask those that were not asked yet, until one can be. @return which one; NOBODY: none could */
static unsigned ask_unasked(struct asking *k, struct transaction *t, int64_t now)
{
	unsigned i = first_unasked(t);
	while (i != NOBODY && !ask_in_turn(k, t, i, now)) {
		i = first_unasked(t);
	}
	return i;
}

/* Ask one of those that were asked already. */
static bool ask_once_more(struct asking *k, struct transaction *t, int64_t now)
{
	for (unsigned n = 0; n < t->server_count; n++) {
		unsigned i = next_in_turn(k, t);
		if (i != NOBODY && ask_in_turn(k, t, i, now)) {
			return true;
		}
	}
	return false;
}

/* Ask a server over TCP whose UDP port nobody can be reached at. */
static bool ask_over_tcp(struct asking *k, struct transaction *t, int64_t now)
{
	for (unsigned i = 0; i < t->server_count; i++) {
		const struct form form = {.tcp = true,
			.with_opt = health_wants_opt(health_of(k, t->server[i]), now),
			.changed = true};
		uint32_t bit = 1U << i;
		if ((t->unreachable & bit) && !(t->over_tcp & bit) && ask(k, t, i, &form, now)) {
			t->next_ns = now + long_patience_ns(k, t->server[i]);
			return true;
		}
	}
	return false;
}

/* A server failed: ask one that was not asked yet. Where there is none, wait for those that were,
 * and where nothing is outstanding, TCP is the last way. */
static void move_on(struct asking *k, struct transaction *t)
{
	int64_t now = clock_ns();
	if (ask_unasked(k, t, now) == NOBODY && link_empty(&t->attempts) &&
		!ask_over_tcp(k, t, now)) {
		give_up(k, t);
		return;
	}
	set_alarm(k, t, now);
}

/* Waiting. */

/* Note who is silent. @return whether all are: none of those asked said anything at all since */
static bool note_silence(struct asking *k, struct transaction *t, int64_t now)
{
	bool all = true;
	for (struct link *l = t->attempts.next; l != &t->attempts; l = l->next) {
		struct attempt *a = link_entry(l, struct attempt, sibling);
		struct health *h = health_of(k, a->server);
		int64_t waited = now - a->sent_ns;
		if (h->answered_ns > a->sent_ns) {
			all = false;
		} else if (!a->missed && waited >= health_hedge_ns(h)) {
			a->missed = true;
			health_missed(h);
		}
		if (!a->late && waited >= try_ns(k)) {
			upstream_late(a);
			counts_of(k, a->server)->failures[UPSTREAM_TIMEOUT]++;
			t->unreachable &= ~(1U << index_of(t, a->server));
		}
	}
	return all;
}

static int64_t last_sent(const struct transaction *t)
{
	int64_t last = t->since_ns;
	for (struct link *l = t->attempts.next; l != &t->attempts; l = l->next) {
		const struct attempt *a = link_entry(l, struct attempt, sibling);
		last = a->sent_ns > last ? a->sent_ns : last;
	}
	return last;
}

static bool pay_for_hedge(struct asking *k)
{
	if (k->credit < HEDGE_PRICE) {
		return false;
	}
	k->credit -= HEDGE_PRICE;
	return true;
}

/* It takes long: ask one more. */
static void ask_one_more(struct asking *k, struct transaction *t, int64_t now)
{
	bool silent = note_silence(k, t, now);
	int64_t patient_until = last_sent(t) + try_ns(k);
	if (now < patient_until && !silent && !pay_for_hedge(k)) {
		t->next_ns = patient_until; /* servers are well, only this answer takes its time */
		return;
	}
	unsigned hedged = ask_unasked(k, t, now);
	if (hedged != NOBODY) {
		counts_of(k, t->server[hedged])->hedges++;
	} else if (!ask_once_more(k, t, now)) {
		/* resolv.conf(5): `timeout` for each of `attempts` */
		int64_t allowed = t->since_ns + (int64_t)k->pool.routes->attempts * try_ns(k);
		int64_t until = allowed > patient_until ? allowed : patient_until;
		t->next_ns = now < until ? until : INT64_MAX;
	}
}

static void on_alarm(struct asking *k, struct transaction *t, int64_t now)
{
	if (now >= t->deadline_ns) {
		(void)note_silence(k, t, now);
		give_up(k, t);
		return;
	}
	if (now >= t->next_ns) {
		ask_one_more(k, t, now);
		if (t->next_ns == INT64_MAX) { /* all were asked as often as may be, in vain */
			give_up(k, t);
			return;
		}
	}
	bool overdue = t->overdue_ns != 0 && now >= t->overdue_ns;
	if (overdue) {
		t->overdue_ns = 0;
	}
	set_alarm(k, t, now);
	if (overdue) {
		k->overdue(k->ctx, t);
	}
}

static void on_timer(evutil_socket_t fd, short what, void *arg)
{
	(void)fd, (void)what;
	struct asking *k = arg;
	int64_t now = clock_ns();
	k->timer_ns = INT64_MIN; /* not armed from inside */
	for (struct alarm *a = alarms_first(&k->alarms); a && a->at_ns <= now;
		a = alarms_first(&k->alarms)) {
		on_alarm(k, link_entry(a, struct transaction, alarm), now);
	}
	k->timer_ns = INT64_MAX;
	arm_timer(k, now);
}

/* What comes back. */

/* What the form of the query that was answered says about the server. */
static void learn_form(struct asking *k, const struct transaction *t, const struct attempt *a,
	const struct relayed *r)
{
	struct health *h = health_of(k, a->server);
	if (r->rcode != RCODE_NOERROR && r->rcode != RCODE_NXDOMAIN) {
		return;
	}
	if (a->with_opt) {
		h->takes_opt = true;
	} else if (!t->verbatim && (a->changed || !h->takes_opt) &&
		   health_wants_opt(h, a->sent_ns)) {
		h->takes_opt = false;
		health_refuses_opt(h, a->sent_ns);
	}
	if (a->tcp && a->changed && health_wants_udp(h, a->sent_ns)) {
		health_refuses_udp(h, a->sent_ns);
	}
}

/* What no other server would say better. YXDOMAIN: RFC 6672 §2.2. */
static bool is_final(uint16_t rcode)
{
	return rcode == RCODE_NOERROR || rcode == RCODE_NXDOMAIN || rcode == RCODE_YXDOMAIN;
}

static void on_response(
	struct asking *k, struct transaction *t, const struct attempt *a, const struct relayed *r)
{
	int64_t now = clock_ns();
	health_answered(health_of(k, a->server), a->tcp ? 0 : now - a->sent_ns, now);
	t->unreachable &= ~(1U << index_of(t, a->server));
	if (attempt_stumbled(a, r)) {
		health_of(k, a->server)->takes_opt = false;
		if (!ask_again(k, t, a, a->tcp, false)) {
			move_on(k, t);
		}
		return;
	}
	learn_form(k, t, a, r);
	uint64_t *failures = counts_of(k, a->server)->failures;
	if (r->flags & FLAG_TC) {
		stats_add(k->stats, STAT_UPSTREAM_TRUNCATED, 1);
		keep_fallback(t, r, RANK_TRUNCATED);
		if (a->tcp || !ask_again(k, t, a, true, a->with_opt)) {
			move_on(k, t);
		}
	} else if (is_final(r->rcode)) {
		finish(k, t, r, EDE_NONE);
	} else if (r->rcode == RCODE_SERVFAIL) {
		failures[UPSTREAM_SERVFAIL]++;
		keep_fallback(t, r, RANK_SERVFAIL);
		move_on(k, t);
	} else {
		failures[UPSTREAM_REFUSED]++;
		keep_fallback(t, r, RANK_REFUSED);
		move_on(k, t);
	}
}

static void on_failure(
	struct asking *k, struct transaction *t, const struct attempt *a, enum outcome outcome)
{
	unsigned i = index_of(t, a->server);
	uint64_t *failures = counts_of(k, a->server)->failures;
	/* RFC 7766 §6.2.4: a server may close an idle connection just when we use it again. */
	if (outcome == OUTCOME_UNREACHABLE && a->reused && !t->tcp_repeated) {
		t->tcp_repeated = true;
		if (ask_again(k, t, a, true, a->with_opt)) {
			return;
		}
	} else if (outcome == OUTCOME_UNREACHABLE) {
		t->unreachable |= 1U << i;
		failures[UPSTREAM_UNREACHABLE]++;
		health_missed(health_of(k, a->server));
	} else if (outcome == OUTCOME_MALFORMED) {
		t->unreachable &= ~(1U << i);
		failures[UPSTREAM_MALFORMED]++;
	} else if (!a->late) {
		failures[UPSTREAM_TIMEOUT]++;
	}
	move_on(k, t);
}

static void on_done(
	void *ctx, struct attempt *attempt, enum outcome outcome, const struct relayed *r)
{
	struct asking *k = ctx;
	struct transaction *t = attempt->owner;
	if (!t) {
		probing_done(k->probing, attempt, outcome, r);
		return;
	}
	link_remove(&attempt->sibling);
	if (outcome == OUTCOME_RESPONSE) {
		on_response(k, t, attempt, r);
	} else {
		on_failure(k, t, attempt, outcome);
	}
}

/* Too late to be of use, but it says how the server is: where the same question in another form was
 * answered first, it was the question that took long, and not the form that was at fault. */
static void on_heard(void *ctx, unsigned server, const struct late_answer *late)
{
	struct asking *k = ctx;
	struct health *h = health_of(k, server);
	int64_t now = clock_ns();
	health_answered(h, late ? now - late->sent_ns : 0, now);
	if (late) {
		health_takes_udp(h);
	}
	if (late && late->with_opt) {
		health_takes_opt(h);
	}
}

/* Servers. */

static void on_slot_changed(void *ctx, unsigned slot)
{
	struct asking *k = ctx;
	const struct pool_server *s = &k->pool.server[slot];
	if (s->state == SLOT_USED) {
		upstream_set_server(k->upstream, slot, &s->at);
	} else {
		upstream_retire_server(k->upstream, slot);
	}
}

static void give_slots(struct asking *k, struct routes *routes, int64_t now)
{
	int64_t keep_ns = k->timeout_ns + (int64_t)SLOT_EXTRA_MS * NS_IN_MS;
	pool_set_routes(&k->pool, routes, keep_ns, now, on_slot_changed, k);
}

static void choose_servers(
	struct asking *k, struct transaction *t, const struct route *route, int64_t now)
{
	struct pool *pool = &k->pool;
	unsigned rotation = pool->routes->rotate ? pool->rotation++ : 0;
	t->server_count = (uint8_t)pool_order(pool, route, rotation, now, t->server);
	if (t->server_count < route->count && pool_is_short(pool)) {
		/* Routes changed more often than slots come free: some may be free by now. */
		give_slots(k, pool->routes, now);
		t->server_count = (uint8_t)pool_order(pool, route, rotation, now, t->server);
	}
}

/* Beginning. */

void asking_begin(
	struct asking *asking, struct transaction *t, const struct route *route, int64_t now_ns)
{
	struct asking *k = asking;
	t->since_ns = now_ns;
	t->deadline_ns = now_ns + k->timeout_ns;
	t->overdue_ns = now_ns + (int64_t)ASKING_OVERDUE_MS * NS_IN_MS;
	t->next_ns = INT64_MAX;
	choose_servers(k, t, route, now_ns);
	k->credit += k->credit < HEDGE_CREDIT_MAX;
	probing_on(k->probing, now_ns);
	if (ask_unasked(k, t, now_ns) == NOBODY && !ask_over_tcp(k, t, now_ns)) {
		give_up(k, t);
		return;
	}
	set_alarm(k, t, now_ns);
}

void asking_set_routes(struct asking *asking, struct routes *routes)
{
	struct asking *k = asking;
	int64_t now = clock_ns();
	give_slots(k, routes, now);
	probing_begin(k->probing, now);
}

unsigned asking_order(const struct asking *asking, const struct route *route, uint8_t order[])
{
	unsigned count = pool_order(&asking->pool, route, 0, clock_ns(), order);
	for (unsigned i = 0; i < count; i++) {
		order[i] = asking->pool.server[order[i]].index;
	}
	return count;
}

void asking_report(const struct asking *asking, unsigned server, struct server_report *report)
{
	static const struct pool_server unknown;
	const struct routes *routes = asking->pool.routes;
	uint8_t slot = asking->pool.slot_of[server];
	const struct pool_server *s = slot == POOL_NONE ? &unknown : &asking->pool.server[slot];
	int64_t now = clock_ns();
	*report = (struct server_report){
		.at = routes->server[server].at,
		.ours = routes->server[server].ours,
		.loop = routes_is_loop(routes, server, now / NS_IN_MS),
		.silent = health_is_silent(&s->health),
		.no_opt = !health_wants_opt(&s->health, now),
		.no_udp = !health_wants_udp(&s->health, now),
		.smoothed_us = s->health.smoothed_us,
		.p95_us = s->health.p95_us,
		.udp_queries = s->counts.udp_queries,
		.tcp_queries = s->counts.tcp_queries,
		.hedges = s->counts.hedges,
		.probes = s->counts.probes,
	};
	memcpy(report->failures, s->counts.failures, sizeof(report->failures));
}

/* Opening and closing. */

int asking_open(struct asking **asking, struct event_base *base, const struct conf *conf,
	struct stats *stats, asking_done *done, asking_overdue *overdue, void *ctx)
{
	struct asking *k = calloc(1, sizeof(*k));
	if (!k) {
		return -ENOMEM;
	}
	k->base = base;
	k->stats = stats;
	k->done = done;
	k->overdue = overdue;
	k->ctx = ctx;
	k->timeout_ns = (int64_t)conf->forward_timeout_ms * NS_IN_MS;
	k->timer_ns = INT64_MAX;
	k->credit = HEDGE_CREDIT_MAX;
	k->timer = evtimer_new(base, on_timer, k);
	int error = k->timer ? alarms_init(&k->alarms, conf->transactions_max) : -ENOMEM;
	if (error == 0) {
		error = upstream_open(&k->upstream, base, conf, stats, on_done, on_heard, k);
	}
	if (error == 0) {
		error = probing_open(&k->probing, base, &k->pool, k->upstream, conf->loop_probe);
	}
	if (error != 0) {
		asking_close(k);
		return error;
	}
	*asking = k;
	return 0;
}

void asking_close(struct asking *asking)
{
	struct asking *k = asking;
	if (!k) {
		return;
	}
	probing_close(k->probing);
	upstream_close(k->upstream);
	if (k->timer) {
		event_free(k->timer);
	}
	alarms_free(&k->alarms);
	free(k);
}
