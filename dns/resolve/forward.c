/* SPDX-License-Identifier: Apache-2.0
 *
 * The life of a transaction, seen from those who wait for it: begun or joined by a query, and ended
 * by an answer, by an old answer, or by an error. How it is asked is asking.c's business.
 */
#include "dns/resolve/forward.h"

#include "conf/clock.h"
#include "conf/conf.h"
#include "conf/log.h"
#include "dns/admin/stats.h"
#include "dns/resolve/cache.h"
#include "dns/resolve/entropy.h"
#include "dns/resolve/search.h"
#include "dns/resolve/transactions.h"
#include "dns/resolve/waiters.h"
#include "dns/wire/response.h"

#include <errno.h>
#include <event2/event.h>
#include <stdlib.h>

enum {
	NS_IN_MS = 1000000,
	ERROR_MAX = 512, /* of responses without records */
	RESPONSE_MAX = 65535 + RELAY_GROWTH_MAX,
	FAILURE_MS = 1000,      /* RFC 9520 §3.2: at least */
	SPARE_TRANSACTIONS = 4, /* one in so many is left for questions that requestors ask */
};

struct forward {
	struct stats *stats;
	forward_reply *reply;
	void *ctx;
	struct cache *cache;
	struct routes *routes; /* our reference */
	uint32_t routes_turn;
	struct asking *asking;
	bool searches; /* look into search domains */
	struct search search;
	bool closing;
	struct entropy entropy;
	struct transactions transactions;
	struct waiters waiters;
	struct link in_flight; /* all transactions */
	uint8_t *out;          /* RESPONSE_MAX octets, where responses are composed */
	uint32_t ttl_max;      /* seconds */
	uint32_t negative_ttl_max;
};

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
static void relay_verbatim(const struct relayed *r, const struct asker *a, struct writer *w)
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
}

/** How a transaction ends: with a response, or with our own error. */
struct ending {
	const struct relayed *response; /* NULL: SERVFAIL with `ede` */
	enum ede ede;
};

/* Whoever asks over TCP has been cut short already: TC would send it nowhere (RFC 7766 §5). */
static bool is_dead_end(const struct waiter *waiter, const struct relayed *r)
{
	return waiter->from.tcp && (r->flags & FLAG_TC);
}

/* The first answer says no more than those from the cache will. */
static uint32_t ttl_limit(const struct forward *f, const struct relayed *r)
{
	bool negative = r->rcode == RCODE_NXDOMAIN || r->counts[0] == 0;
	return negative ? f->negative_ttl_max : f->ttl_max;
}

static void compose(const struct forward *f, const struct transaction *t,
	const struct waiter *waiter, const struct relayed *r, struct writer *w)
{
	if (t->verbatim) {
		relay_verbatim(r, &waiter->asker, w);
		return;
	}
	(void)relay_response(r, &waiter->asker, w);
	if (r->ttl_max > ttl_limit(f, r)) {
		relay_lower_ttls(w->data, w->len, ttl_limit(f, r));
	}
}

/* The waiter is nobody's any more before its reply is sent, which may bring the next query. */
static void send_reply(struct forward *f, struct transaction *t, struct waiter *waiter,
	const struct writer *w, int64_t now)
{
	struct requestor to = waiter->from;
	count_reply(f, t->qtype, octets_u16(w->data + 2) & FLAG_RCODE, waiter->since_ns, now);
	waiters_give(&f->waiters, waiter);
	f->reply(f->ctx, &to, (struct span){.data = w->data, .len = w->len});
}

/* The next query may fail inside the reply. So errors have a place of their own: what the transport
 * has borrowed is not overwritten. */
static void reply_error(
	struct forward *f, struct transaction *t, struct waiter *waiter, enum ede ede, int64_t now)
{
	uint8_t error[ERROR_MAX];
	struct writer w = {.data = error, .size = sizeof(error)};
	const struct asker *a = &waiter->asker;
	struct query q;
	asker_query(a, &q);
	(void)response_error_with(
		&q, edns_options_span(&a->options), &w, a->limit, RCODE_SERVFAIL, ede);
	send_reply(f, t, waiter, &w, now);
}

static void reply_to(struct forward *f, struct transaction *t, struct waiter *waiter,
	const struct ending *end, int64_t now)
{
	if (!end->response || is_dead_end(waiter, end->response)) {
		reply_error(f, t, waiter, end->response ? EDE_NETWORK_ERROR : end->ede, now);
		return;
	}
	struct writer w = {.data = f->out, .size = RESPONSE_MAX};
	compose(f, t, waiter, end->response, &w);
	send_reply(f, t, waiter, &w, now);
}

/* What a transaction is remembered by. An NXDOMAIN above the zone of its route is others' word. */
static struct cache_key key_of(const struct forward *f, const struct asker *a, struct dname *name)
{
	struct cache_key key = cache_key_asker(name, a, asker_subnet(a));
	key.zone_labels = routes_find(f->routes, name)->labels;
	return key;
}

/* RFC 8767 §4, §5: an answer whose time is over, rather than none. */
static bool reply_stale(
	struct forward *f, struct transaction *t, struct waiter *waiter, int64_t now)
{
	struct query q;
	struct dname name;
	struct cache_found found;
	struct writer w = {.data = f->out, .size = RESPONSE_MAX};
	if (!f->cache || t->verbatim) {
		return false;
	}
	asker_query(&waiter->asker, &q);
	struct cache_ask ask = {
		.key = key_of(f, &waiter->asker, &name),
		.query = &q,
		.limit = waiter->asker.limit,
		.options = edns_options_span(&waiter->asker.options),
		.stale = true,
	};
	if (cache_get(f->cache, &ask, now / NS_IN_MS, &w, &found) != CACHE_HIT) {
		return false;
	}
	send_reply(f, t, waiter, &w, now);
	return true;
}

/* A response of our own, without a transaction. */
static void refuse(struct forward *f, const struct query *q, const struct edns_options *options,
	const struct requestor *from, size_t limit, enum ede ede)
{
	uint8_t octets[ERROR_MAX];
	struct writer w = {.data = octets, .size = sizeof(octets)};
	int64_t now = clock_ns();
	(void)response_error_with(q, edns_options_span(options), &w, limit, RCODE_SERVFAIL, ede);
	count_reply(f, q->qtype, RCODE_SERVFAIL, now, now);
	f->reply(f->ctx, from, (struct span){.data = octets, .len = w.len});
}

/* Search domains. */

/** A question of our own: type A, as another one is asked. */
struct own_question {
	struct query query;
	uint8_t octets[DNAME_MAX + 4];
};

static void own_question(
	struct own_question *own, const struct dname *name, bool edns_do, uint16_t flags)
{
	struct writer w = {.data = own->octets, .size = sizeof(own->octets)};
	memset(&own->query, 0, sizeof(own->query));
	own->query.qname = *name;
	own->query.qtype = TYPE_A;
	own->query.qclass = CLASS_IN;
	own->query.flags = flags & (FLAG_RD | FLAG_CD);
	own->query.edns_do = edns_do;
	own->query.has_opt = edns_do;
	writer_octets(&w, name->octets, name->len);
	writer_u16(&w, TYPE_A);
	writer_u16(&w, CLASS_IN);
	own->query.question = (struct span){own->octets, w.len};
}

static void begin(struct forward *f, struct transaction *t, int64_t now);

/* Ask one for the sake of names that may come, unless that is known, or is being asked; another
 * question in flight that asks for the same may have asked otherwise than we would. */
static void ask_own(struct forward *f, const struct own_question *own,
	const struct search_question *q, int64_t now)
{
	struct cache_key key = cache_key_query(&own->query, (struct span){0});
	key.zone_labels = routes_find(f->routes, &q->name)->labels;
	const struct transactions *all = &f->transactions;
	if ((!q->of_domain && cache_has(f->cache, &key, now / NS_IN_MS)) ||
		transactions_find(all, &own->query) ||
		all->count > all->size - all->size / SPARE_TRANSACTIONS) {
		return;
	}
	struct transaction *t = transactions_take(&f->transactions, &own->query);
	if (!t) {
		return;
	}
	if (q->of_domain) {
		t->of_domain = true;
		t->domain = (uint8_t)q->domain;
		search_asked(&f->search, q->domain);
	}
	stats_add(f->stats, STAT_SEARCH_PROBES, 1);
	begin(f, t, now);
}

/* The question that brings us here is asked all the same, and at the same time: nobody waits
 * longer, and a server that denies too much is found out. */
static void begin_below_search(
	struct forward *f, struct transaction *t, const struct search_question *q, int64_t now)
{
	struct own_question own;
	own_question(&own, &q->name, t->asker.edns_do, t->asker.flags);
	t->below_search = true;
	begin(f, t, now); /* the transaction may be over now */
	ask_own(f, &own, q, now);
}

static void distrust(struct forward *f, int64_t now)
{
	search_distrust(&f->search, now / NS_IN_MS);
	log_warning("a name server says NXDOMAIN for a name that has names below it (RFC 8020): "
		    "search domains are not looked into for %d s",
		SEARCH_DISTRUST_MS / 1000);
}

/* This name exists, so what is above it was not denied rightly. */
static void check_above(
	struct forward *f, const struct transaction *t, const struct cache_key *key, int64_t now)
{
	struct dname name;
	struct dname above;
	unsigned domain;
	struct own_question own;
	if (cache_distrust(f->cache, key)) {
		distrust(f, now);
	}
	(void)cache_key_asker(&name, &t->asker, (struct span){0});
	if (!routes_search(f->routes, &name, &above, &domain)) {
		return;
	}
	own_question(&own, &above, t->asker.edns_do, t->asker.flags);
	struct transaction *asked = transactions_find(&f->transactions, &own.query);
	if (asked) {
		asked->distrusted = true;
	}
}

/* Remembering. */

static void remember_response(
	struct forward *f, struct transaction *t, const struct relayed *r, int64_t now)
{
	struct dname name;
	struct cache_key key = key_of(f, &t->asker, &name);
	if (r->rcode == RCODE_NXDOMAIN && t->of_domain) {
		return; /* our own question must not deny all that is in the domain */
	}
	if (r->rcode == RCODE_NXDOMAIN && t->distrusted) {
		distrust(f, now);
		return;
	}
	if (r->rcode == RCODE_NOERROR && t->below_search) {
		check_above(f, t, &key, now);
	}
	(void)cache_put(f->cache, &key, r, now / NS_IN_MS);
}

static void remember_failure(
	struct forward *f, struct transaction *t, uint16_t rcode, enum ede ede, int64_t now)
{
	struct dname name;
	struct cache_key key = key_of(f, &t->asker, &name);
	int64_t now_ms = now / NS_IN_MS;
	cache_put_failure(f->cache, &key, rcode, ede, now_ms, now_ms + FAILURE_MS);
}

/* No answer: RFC 9520 §2.2, §2.4. YXDOMAIN is one (RFC 6672 §2.2). */
static bool is_failure(const struct relayed *r)
{
	return r->rcode != RCODE_NOERROR && r->rcode != RCODE_NXDOMAIN &&
	       r->rcode != RCODE_YXDOMAIN;
}

/* As its requestor was told: an extended one is between the server and us. */
static uint16_t failure_rcode(const struct relayed *r)
{
	return r->rcode > FLAG_RCODE ? RCODE_SERVFAIL : r->rcode;
}

/* What a transaction with other servers than today's brought says nothing about today's; and what
 * was asked without recursion is no answer. */
static void remember(struct forward *f, struct transaction *t, const struct relayed *r,
	enum ede ede, int64_t now)
{
	if (!f->cache || t->verbatim || t->routes_turn != f->routes_turn ||
		!(t->asker.flags & FLAG_RD) || t->server_count == 0) {
		return;
	}
	if (!r) {
		remember_failure(f, t, RCODE_SERVFAIL, ede, now);
	} else if (is_failure(r)) {
		remember_failure(f, t, failure_rcode(r), EDE_CACHED_ERROR, now);
	} else {
		remember_response(f, t, r, now);
	}
}

/* Ending. */

static bool is_answer(const struct relayed *r)
{
	return r && (r->rcode == RCODE_NOERROR || r->rcode == RCODE_NXDOMAIN) &&
	       !(r->flags & FLAG_TC);
}

/* Answer all who wait. The transaction is out of every list before the first reply. */
static void finish(struct forward *f, struct transaction *t, const struct relayed *r, enum ede ede)
{
	int64_t now = clock_ns();
	const struct ending end = {.response = r, .ede = ede};
	transactions_unindex(&f->transactions, t);
	link_remove(&t->in_flight);
	remember(f, t, r, ede, now);
	if (t->of_domain && t->routes_turn == f->routes_turn) {
		search_answered(&f->search, t->domain, r ? r->rcode : RCODE_SERVFAIL);
	}
	while (!link_empty(&t->waiters)) {
		struct waiter *waiter = link_entry(t->waiters.next, struct waiter, link);
		if (is_answer(r) || !reply_stale(f, t, waiter, now)) {
			reply_to(f, t, waiter, &end, now);
		}
	}
	if (!r) {
		stats_add(f->stats, STAT_UPSTREAM_FAILURES, 1);
	}
	histogram_add(&f->stats->upstream, (uint64_t)(now - t->since_ns), 1);
	stats_lower(f->stats, STAT_TRANSACTIONS_NOW);
	transactions_give(&f->transactions, t);
}

static void on_done(void *ctx, struct transaction *t, const struct relayed *r, enum ede ede)
{
	finish(ctx, t, r, ede);
}

/* RFC 8767 §5: whoever waits for so long gets what there is; the question goes on, for the cache.
 */
static void on_overdue(void *ctx, struct transaction *t)
{
	struct forward *f = ctx;
	int64_t now = clock_ns();
	struct link *next;
	for (struct link *l = t->waiters.next; l != &t->waiters; l = next) {
		next = l->next;
		(void)reply_stale(f, t, link_entry(l, struct waiter, link), now);
	}
}

/* Coming in. */

static void begin(struct forward *f, struct transaction *t, int64_t now)
{
	const struct route *route = &f->routes->route[0];
	if (f->routes->count > 1) {
		struct dname name;
		(void)cache_key_asker(&name, &t->asker, (struct span){0});
		route = routes_find(f->routes, &name);
	}
	stats_add(f->stats, STAT_TRANSACTIONS, 1);
	stats_add(f->stats, STAT_TRANSACTIONS_NOW, 1);
	t->routes_turn = f->routes_turn;
	link_append(&f->in_flight, &t->in_flight);
	asking_begin(f->asking, t, route, now);
}

/* @return whether it was begun: its name is below a search domain, of which there is more to know
 */
static bool begin_with_search(struct forward *f, struct transaction *t, int64_t now)
{
	struct dname name;
	struct search_question q;
	const struct cache_key key = cache_key_asker(&name, &t->asker, asker_subnet(&t->asker));
	if (key.qclass != CLASS_IN || key.subnet.len > 0 || t->verbatim ||
		!search_next(&f->search, f->routes, &name, now / NS_IN_MS, &q)) {
		return false;
	}
	begin_below_search(f, t, &q, now);
	return true;
}

static void begin_for(struct forward *f, struct transaction *t, struct waiter *first, int64_t now)
{
	if (first) {
		link_append(&t->waiters, &first->link);
	}
	if (!f->searches || f->routes->search_count == 0 || !begin_with_search(f, t, now)) {
		begin(f, t, now);
	}
}

static void join(struct forward *f, struct transaction *t, struct waiter *waiter, int64_t now)
{
	stats_add(f->stats, STAT_TRANSACTIONS_JOINED, 1);
	link_append(&t->waiters, &waiter->link);
	if (t->overdue_ns == 0) {
		(void)reply_stale(f, t, waiter, now);
	}
}

void forward_query(struct forward *forward, const struct query *q,
	const struct edns_options *options, const struct requestor *from, size_t limit)
{
	struct forward *f = forward;
	if (waiters_has(&f->waiters, from, q)) {
		return;
	}
	if (f->closing) {
		refuse(f, q, options, from, limit, EDE_NETWORK_ERROR);
		return;
	}
	int64_t now = clock_ns();
	struct waiter *w = waiters_take(&f->waiters, from, q, options, limit, now);
	struct transaction *t = w ? transactions_find(&f->transactions, q) : NULL;
	if (t) {
		join(f, t, w, now);
		return;
	}
	t = w ? transactions_take(&f->transactions, q) : NULL;
	if (t) {
		begin_for(f, t, w, now);
		return;
	}
	if (w) {
		waiters_give(&f->waiters, w);
	}
	stats_add(f->stats, STAT_TRANSACTIONS_REFUSED, 1);
	refuse(f, q, options, from, limit, EDE_NONE);
}

void forward_refresh(struct forward *forward, const struct query *q)
{
	struct forward *f = forward;
	if (f->closing || !(q->flags & FLAG_RD) || /* its answer would not be remembered */
		transactions_find(&f->transactions, q)) {
		return;
	}
	struct transaction *t = transactions_take(&f->transactions, q);
	if (t) {
		stats_add(f->stats, STAT_CACHE_PREFETCHES, 1);
		begin_for(f, t, NULL, clock_ns());
	}
}

unsigned forward_waiting(const struct forward *forward)
{
	return forward->waiters.count;
}

/* Servers. */

void forward_set_routes(struct forward *forward, struct routes *routes)
{
	struct forward *f = forward;
	struct routes *before = f->routes;
	for (struct link *l = f->in_flight.next; l != &f->in_flight; l = l->next) {
		/* who asks from now on asks the new servers */
		transactions_unindex(
			&f->transactions, link_entry(l, struct transaction, in_flight));
	}
	f->routes = routes;
	f->routes_turn++;
	search_init(&f->search);
	if (f->cache && before) {
		(void)cache_clear(f->cache);
	}
	asking_set_routes(f->asking, routes);
	routes_unref(before);
}

unsigned forward_order(const struct forward *forward, const struct route *route, uint8_t order[])
{
	return asking_order(forward->asking, route, order);
}

void forward_report(const struct forward *forward, unsigned server, struct server_report *report)
{
	asking_report(forward->asking, server, report);
}

/* Opening and closing. */

static int allocate(struct forward *f, const struct conf *conf)
{
	f->out = malloc(RESPONSE_MAX);
	if (!f->out) {
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
	struct cache *cache, struct stats *stats, forward_reply *reply, void *ctx)
{
	struct forward *f = calloc(1, sizeof(*f));
	if (!f) {
		return -ENOMEM;
	}
	f->stats = stats;
	f->reply = reply;
	f->ctx = ctx;
	f->cache = cache;
	f->ttl_max = conf->cache_ttl_max;
	f->negative_ttl_max = conf->cache_negative_ttl_max;
	f->searches = cache && conf->search_shortcut && conf->cache_nxdomain_covers;
	link_init(&f->in_flight);
	int error = allocate(f, conf);
	if (error == 0) {
		error = asking_open(&f->asking, base, conf, stats, on_done, on_overdue, f);
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
	f->closing = true; /* what a reply brings now is refused */
	while (f->in_flight.next && !link_empty(&f->in_flight)) {
		struct transaction *t =
			link_entry(f->in_flight.next, struct transaction, in_flight);
		asking_stop(f->asking, t);
		t->routes_turn--; /* nothing is to be learnt from this */
		finish(f, t, NULL, EDE_NETWORK_ERROR);
	}
	asking_close(f->asking);
	transactions_free(&f->transactions);
	waiters_free(&f->waiters);
	routes_unref(f->routes);
	free(f->out);
	free(f);
}
