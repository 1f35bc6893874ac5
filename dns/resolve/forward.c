/* SPDX-License-Identifier: Apache-2.0
 *
 * The life of a transaction: begun or joined by a query, asked of one server after the other, and
 * ended by the first answer, by failure of all servers, or by its deadline. All delays are
 * constant, so lists in order of time are first-in-first-out, and one timer serves them all.
 */
#include "dns/resolve/forward.h"

#include "conf/conf.h"
#include "dns/admin/stats.h"
#include "dns/resolve/entropy.h"
#include "dns/resolve/health.h"
#include "dns/resolve/transactions.h"
#include "dns/resolve/upstream.h"
#include "dns/resolve/waiters.h"
#include "dns/wire/response.h"

#include <errno.h>
#include <event2/event.h>
#include <stdlib.h>
#include <time.h>

enum {
	ERROR_MAX = 512, /* of responses without records */
	RESPONSE_MAX = 65535 + RELAY_GROWTH_MAX
};

enum { RANK_NONE, RANK_REFUSED, RANK_SERVFAIL, RANK_TRUNCATED };

struct forward {
	struct event_base *base;
	struct stats *stats;
	forward_reply *reply;
	void *ctx;
	unsigned server_count;
	int64_t timeout_ns;
	int64_t try_ns;
	struct upstream *upstream;
	struct health health;
	struct entropy entropy;
	struct transactions transactions;
	struct waiters waiters;
	struct link deadlines;
	struct link tries;
	struct event *timer;
	int64_t timer_ns; /* what it is armed for, while it is pending */
	uint8_t *out;     /* RESPONSE_MAX octets, where responses are composed */
};

static int64_t now_ns(void)
{
	struct timespec ts;
	clock_gettime(CLOCK_MONOTONIC, &ts);
	return (int64_t)ts.tv_sec * 1000000000 + ts.tv_nsec;
}

static int64_t to_ms(int64_t ns)
{
	return ns / 1000000;
}

/* Replies. */

static void count_reply(
	struct forward *f, uint16_t qtype, uint16_t rcode, int64_t since_ns, int64_t now)
{
	stats_add(f->stats,
		qtype == TYPE_A      ? STAT_UPSTREAM_A
		: qtype == TYPE_AAAA ? STAT_UPSTREAM_AAAA
				     : STAT_UPSTREAM_OTHER,
		1);
	stats_add(f->stats,
		rcode == RCODE_NOERROR    ? STAT_NOERROR
		: rcode == RCODE_NXDOMAIN ? STAT_NXDOMAIN
		: rcode == RCODE_SERVFAIL ? STAT_SERVFAIL
					  : STAT_OTHER_RCODE,
		1);
	histogram_add(&f->stats->request, (uint64_t)(now - since_ns), 1);
}

/* A signed response is passed on untouched but for its ID; one that is too large is cut to its
 * question, with TC. */
static size_t relay_verbatim(const struct relayed *r, const struct asker *a, struct writer *w)
{
	size_t len = r->message.len;
	bool cut = len > a->limit;
	if (cut) {
		len = HEADER_LEN + (size_t)r->question_len;
	}
	writer_octets(w, r->message.data, len);
	octets_put_u16(w->data, a->id);
	if (cut) {
		octets_put_u16(w->data + 2, r->flags | FLAG_TC);
		memset(w->data + 6, 0, 6);
	}
	return len;
}

/** How a transaction ends: with a response, or with our own error. */
struct ending {
	const struct relayed *response; /* NULL: SERVFAIL with `ede` */
	enum ede ede;
};

static size_t compose(const struct transaction *t, const struct asker *a, const struct ending *end,
	struct writer *w)
{
	if (!end->response) {
		struct query q;
		asker_query(a, &q);
		return response_error_with(
			&q, edns_options_span(&a->options), w, a->limit, RCODE_SERVFAIL, end->ede);
	}
	return t->verbatim ? relay_verbatim(end->response, a, w)
			   : relay_response(end->response, a, w);
}

/* A reply may bring the next query, which may fail inside it. So errors have a place of their own:
 * what the transport has borrowed is not overwritten. */
static void reply_to(struct forward *f, struct transaction *t, struct waiter *waiter,
	const struct ending *end, int64_t now)
{
	uint8_t error[ERROR_MAX];
	struct writer w = {.data = error, .size = sizeof(error)};
	if (end->response) {
		w = (struct writer){.data = f->out, .size = RESPONSE_MAX};
	}
	size_t len = compose(t, &waiter->asker, end, &w);
	struct requestor to = waiter->from;
	count_reply(f, t->qtype, octets_u16(w.data + 2) & FLAG_RCODE, waiter->since_ns, now);
	waiters_give(&f->waiters, waiter);
	f->reply(f->ctx, &to, (struct span){.data = w.data, .len = len});
}

/* Answer all who wait. The transaction is out of every list before the first reply. */
static void finish(struct forward *f, struct transaction *t, const struct ending *end)
{
	int64_t now = now_ns();
	transactions_unindex(&f->transactions, t);
	link_remove(&t->deadline_link);
	link_remove(&t->try_link);
	while (!link_empty(&t->attempts)) {
		struct attempt *a = link_entry(t->attempts.next, struct attempt, sibling);
		link_remove(&a->sibling);
		upstream_cancel(f->upstream, a);
	}
	while (!link_empty(&t->waiters)) {
		reply_to(f, t, link_entry(t->waiters.next, struct waiter, link), end, now);
	}
	if (!end->response) {
		stats_add(f->stats, STAT_UPSTREAM_FAILURES, 1);
	}
	histogram_add(&f->stats->upstream, (uint64_t)(now - t->since_ns), 1);
	stats_lower(f->stats, STAT_TRANSACTIONS_NOW);
	transactions_give(&f->transactions, t);
}

/* Without an answer: the best of what servers said instead, or our own SERVFAIL (RFC 8914 §4.23,
 * §4.24). */
static void give_up(struct forward *f, struct transaction *t)
{
	struct relayed r;
	struct ending end = {.ede = EDE_NO_REACHABLE_AUTHORITY};
	if (t->unreachable == t->asked) {
		end.ede = EDE_NETWORK_ERROR;
	}
	const struct span said = {.data = t->fallback, .len = t->fallback_len};
	if (t->fallback && relayed_read(&r, said, &t->asker) == 0) {
		end.response = &r;
	}
	finish(f, t, &end);
}

/* A response of our own, without a transaction. */
static void refuse(struct forward *f, const struct query *q, const struct requestor *from,
	size_t limit, enum ede ede)
{
	uint8_t octets[ERROR_MAX];
	struct writer w = {.data = octets, .size = sizeof(octets)};
	int64_t now = now_ns();
	size_t len = response_error(q, &w, limit, RCODE_SERVFAIL, ede);
	count_reply(f, q->qtype, RCODE_SERVFAIL, now, now);
	f->reply(f->ctx, from, (struct span){.data = octets, .len = len});
}

/* Asking. */

static void arm_timer(struct forward *f, int64_t now)
{
	int64_t at = INT64_MAX;
	if (!link_empty(&f->deadlines)) {
		at = link_entry(f->deadlines.next, struct transaction, deadline_link)->deadline_ns;
	}
	if (!link_empty(&f->tries)) {
		int64_t try_ns = link_entry(f->tries.next, struct transaction, try_link)->try_ns;
		at = try_ns < at ? try_ns : at;
	}
	if (at == INT64_MAX || (evtimer_pending(f->timer, NULL) && f->timer_ns <= at)) {
		return;
	}
	f->timer_ns = at;
	int64_t us = at > now ? (at - now) / 1000 + 1 : 1;
	struct timeval wait = {.tv_sec = us / 1000000, .tv_usec = us % 1000000};
	evtimer_add(f->timer, &wait);
}

static void count_failure(struct forward *f, unsigned server, enum upstream_failure why)
{
	stats_bump(&f->stats->server[server].failures[why], 1);
}

/* No fragments (RFC 9715): a query too large for one datagram goes over TCP. */
static bool ask_octets(struct forward *f, struct transaction *t, unsigned server, bool tcp,
	bool with_opt, uint8_t *query, size_t len)
{
	tcp = tcp || len > UDP_LEN_OURS;
	struct attempt *a = upstream_send(f->upstream, server, tcp, &t->asker, query, len, t);
	if (!a) {
		return false;
	}
	a->with_opt = with_opt;
	link_append(&t->attempts, &a->sibling);
	stats_bump(
		tcp ? &f->stats->server[server].tcp_queries : &f->stats->server[server].udp_queries,
		1);
	return true;
}

/* Ask one server. False where nothing could be sent. */
static bool ask(struct forward *f, struct transaction *t, unsigned server, bool tcp, bool with_opt)
{
	int64_t now = now_ns();
	uint8_t octets[RELAY_QUERY_MAX];
	struct writer w = {.data = octets, .size = sizeof(octets)};
	t->asked |= 1U << server;
	bool sent = t->verbatim ? ask_octets(f, t, server, tcp, false, t->verbatim, t->verbatim_len)
				: ask_octets(f, t, server, tcp, with_opt, octets,
					  relay_query(&t->asker, 0, with_opt, &w));
	if (!sent) {
		t->unreachable |= 1U << server;
		count_failure(f, server, UPSTREAM_UNREACHABLE);
		return false;
	}
	link_remove(&t->try_link);
	t->try_ns = now + f->try_ns;
	link_append(&f->tries, &t->try_link);
	arm_timer(f, now);
	return true;
}

/* Ask the next server, or the next that can be asked. False where none can. */
static bool ask_next(struct forward *f, struct transaction *t)
{
	for (unsigned i = 0; i < f->server_count; i++) {
		unsigned server = t->next_server;
		t->next_server = (server + 1) % f->server_count;
		if (ask(f, t, server, false,
			    health_takes_opt(&f->health, server, to_ms(now_ns())))) {
			return true;
		}
	}
	return false;
}

/* A server failed: ask one that was not asked yet. Where there is none, wait for those that were,
 * and where nothing is outstanding, that is the end. */
static void move_on(struct forward *f, struct transaction *t)
{
	for (unsigned i = 0; i < f->server_count; i++) {
		unsigned server = (t->next_server + i) % f->server_count;
		if (t->asked & 1U << server) {
			continue;
		}
		t->next_server = (server + 1) % f->server_count;
		if (ask(f, t, server, false,
			    health_takes_opt(&f->health, server, to_ms(now_ns())))) {
			return;
		}
	}
	if (link_empty(&t->attempts)) {
		give_up(f, t);
	}
}

/* Time. */

/* Nothing came back in the usual time from those that were asked. */
static void mark_late(struct forward *f, struct transaction *t, int64_t now)
{
	for (struct link *l = t->attempts.next; l != &t->attempts; l = l->next) {
		struct attempt *a = link_entry(l, struct attempt, sibling);
		if (!a->late) {
			upstream_late(f->upstream, a);
			health_missed(&f->health, a->server, to_ms(now));
			count_failure(f, a->server, UPSTREAM_TIMEOUT);
			t->unreachable &= ~(1U << a->server);
		}
	}
}

static void on_timer(evutil_socket_t fd, short what, void *arg)
{
	(void)fd, (void)what;
	struct forward *f = arg;
	int64_t now = now_ns();
	while (!link_empty(&f->deadlines)) {
		struct transaction *t =
			link_entry(f->deadlines.next, struct transaction, deadline_link);
		if (t->deadline_ns > now) {
			break;
		}
		mark_late(f, t, now);
		give_up(f, t);
	}
	while (!link_empty(&f->tries)) {
		struct transaction *t = link_entry(f->tries.next, struct transaction, try_link);
		if (t->try_ns > now) {
			break;
		}
		link_remove(&t->try_link);
		mark_late(f, t, now);
		if (!ask_next(f, t) && link_empty(&t->attempts)) {
			give_up(f, t);
		}
	}
	arm_timer(f, now);
}

/* What came back. */

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

/* RFC 6891 §7: FORMERR without OPT is how a server says that it knows no EDNS. */
static bool stumbles_over_opt(const struct attempt *a, const struct relayed *r)
{
	return a->with_opt && r->rcode == RCODE_FORMERR && r->opt_at == 0;
}

/* It answers without OPT, after it did not with OPT. */
static void remember_opt(struct forward *f, const struct transaction *t, const struct attempt *a,
	const struct relayed *r)
{
	int64_t now = to_ms(now_ns());
	if (!a->with_opt && !t->verbatim && health_takes_opt(&f->health, a->server, now) &&
		(r->rcode == RCODE_NOERROR || r->rcode == RCODE_NXDOMAIN)) {
		health_refuses_opt(&f->health, a->server, now);
	}
}

static void on_response(
	struct forward *f, struct transaction *t, const struct attempt *a, const struct relayed *r)
{
	unsigned server = a->server;
	health_answered(&f->health, server);
	t->unreachable &= ~(1U << server);
	if (stumbles_over_opt(a, r)) {
		if (!ask(f, t, server, a->tcp, false)) {
			move_on(f, t);
		}
		return;
	}
	remember_opt(f, t, a, r);
	if (!a->tcp && (r->flags & FLAG_TC)) {
		stats_add(f->stats, STAT_UPSTREAM_TRUNCATED, 1);
		keep_fallback(t, r, RANK_TRUNCATED);
		if (!ask(f, t, server, true, a->with_opt)) {
			move_on(f, t);
		}
	} else if (r->rcode == RCODE_SERVFAIL) {
		count_failure(f, server, UPSTREAM_SERVFAIL);
		keep_fallback(t, r, RANK_SERVFAIL);
		move_on(f, t);
	} else if (r->rcode == RCODE_REFUSED || r->rcode == RCODE_NOTIMP) {
		count_failure(f, server, UPSTREAM_REFUSED);
		keep_fallback(t, r, RANK_REFUSED);
		move_on(f, t);
	} else {
		finish(f, t, &(struct ending){.response = r});
	}
}

static void on_failure(
	struct forward *f, struct transaction *t, const struct attempt *a, enum outcome outcome)
{
	/* RFC 7766 §6.2.4: a server may close an idle connection just when we use it again. */
	if (outcome == OUTCOME_UNREACHABLE && a->reused && !t->tcp_repeated) {
		t->tcp_repeated = true;
		if (ask(f, t, a->server, true, a->with_opt)) {
			return;
		}
	} else if (outcome == OUTCOME_UNREACHABLE) {
		t->unreachable |= 1U << a->server;
		count_failure(f, a->server, UPSTREAM_UNREACHABLE);
	} else if (outcome == OUTCOME_MALFORMED) {
		t->unreachable &= ~(1U << a->server);
		count_failure(f, a->server, UPSTREAM_MALFORMED);
	} else if (!a->late) {
		count_failure(f, a->server, UPSTREAM_TIMEOUT);
	}
	move_on(f, t);
}

static void on_done(
	void *ctx, struct attempt *attempt, enum outcome outcome, const struct relayed *r)
{
	struct forward *f = ctx;
	struct transaction *t = attempt->owner;
	link_remove(&attempt->sibling);
	if (outcome == OUTCOME_RESPONSE) {
		on_response(f, t, attempt, r);
	} else {
		on_failure(f, t, attempt, outcome);
	}
}

/* Coming in. */

static void begin(struct forward *f, struct transaction *t, struct waiter *first, int64_t now)
{
	link_append(&t->waiters, &first->link);
	stats_add(f->stats, STAT_TRANSACTIONS, 1);
	stats_add(f->stats, STAT_TRANSACTIONS_NOW, 1);
	t->since_ns = now;
	t->deadline_ns = now + f->timeout_ns;
	link_append(&f->deadlines, &t->deadline_link);
	t->next_server = health_first(&f->health, f->server_count, to_ms(now));
	if (!ask_next(f, t)) {
		give_up(f, t);
	}
}

void forward_query(
	struct forward *forward, const struct query *q, const struct requestor *from, size_t limit)
{
	struct forward *f = forward;
	if (waiters_has(&f->waiters, from, q)) {
		return;
	}
	if (f->server_count == 0) {
		refuse(f, q, from, limit, EDE_NETWORK_ERROR);
		return;
	}
	int64_t now = now_ns();
	struct waiter *w = waiters_take(&f->waiters, from, q, limit, now);
	struct transaction *t = w ? transactions_find(&f->transactions, q) : NULL;
	if (t) {
		stats_add(f->stats, STAT_TRANSACTIONS_JOINED, 1);
		link_append(&t->waiters, &w->link);
		return;
	}
	t = w ? transactions_take(&f->transactions, q) : NULL;
	if (t) {
		begin(f, t, w, now);
		return;
	}
	if (w) {
		waiters_give(&f->waiters, w);
	}
	stats_add(f->stats, STAT_TRANSACTIONS_REFUSED, 1);
	refuse(f, q, from, limit, EDE_NONE);
}

unsigned forward_waiting(const struct forward *forward)
{
	return forward->waiters.count;
}

/* Opening and closing. */

static int allocate(struct forward *f, const struct conf *conf)
{
	f->timer = evtimer_new(f->base, on_timer, f);
	f->out = malloc(RESPONSE_MAX);
	if (!f->timer || !f->out) {
		return -ENOMEM;
	}
	int error = transactions_init(
		&f->transactions, conf->transactions_max, entropy_u64(&f->entropy));
	if (error != 0) {
		return error;
	}
	return waiters_init(&f->waiters, conf->transactions_max, entropy_u64(&f->entropy));
}

int forward_open(struct forward **forward, struct event_base *base, const struct conf *conf,
	const struct servers *servers, struct stats *stats, forward_reply *reply, void *ctx)
{
	struct forward *f = calloc(1, sizeof(*f));
	if (!f) {
		return -ENOMEM;
	}
	f->base = base;
	f->stats = stats;
	f->reply = reply;
	f->ctx = ctx;
	f->server_count = servers->count;
	f->timeout_ns = (int64_t)conf->forward_timeout_ms * 1000000;
	f->try_ns = (int64_t)conf->forward_try_ms * 1000000;
	link_init(&f->deadlines);
	link_init(&f->tries);
	int error = allocate(f, conf);
	if (error == 0) {
		error = upstream_open(&f->upstream, base, conf, servers, stats, on_done, f);
	}
	if (error != 0) {
		forward_close(f);
		return error;
	}
	*forward = f;
	return 0;
}

void forward_close(struct forward *forward)
{
	struct forward *f = forward;
	if (!f) {
		return;
	}
	f->server_count = 0; /* what a reply brings now is refused */
	while (!link_empty(&f->deadlines)) {
		struct transaction *t =
			link_entry(f->deadlines.next, struct transaction, deadline_link);
		finish(f, t, &(struct ending){.ede = EDE_NETWORK_ERROR});
	}
	upstream_close(f->upstream);
	if (f->timer) {
		event_free(f->timer);
	}
	transactions_free(&f->transactions);
	waiters_free(&f->waiters);
	free(f->out);
	free(f);
}
