/* SPDX-License-Identifier: Apache-2.0
 *
 * The worker's thread, and the way of a query through it: from a transport to the decision, and
 * from there back, or on to the forwarder. Owns all that a query touches; the two things other
 * threads touch are the inbox for tables and the order to stop.
 */
#include "dns/serve/worker.h"

#include "conf/conf.h"
#include "conf/log.h"
#include "conf/privileges.h"
#include "dns/resolve/entropy.h"
#include "dns/resolve/passing.h"
#include "dns/serve/ahead.h"
#include "dns/serve/explain.h"
#include "dns/serve/listening.h"
#include "dns/serve/tcp.h"
#include "dns/serve/udp.h"
#include "dns/wire/response.h"

#include <errno.h>
#include <event2/event.h>
#include <pthread.h>
#include <semaphore.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/resource.h>
#include <time.h>
#include <unistd.h>

_Static_assert((int)AHEAD_MAX == (int)SERVE_BATCH, "a batch is looked ahead in as a whole");

enum {
	TCP_RESPONSE_MAX = 65535,
	DRAIN_TURNS = 32,    /* of the loop, for what arrived before the order to stop */
	FLUSH_LIMIT_MS = 700 /* for what peers have yet to take of their answers */
};

/** Something another thread wants to have done here. */
struct call {
	worker_task *task;
	void *ctx;
	sem_t done;
};

struct worker {
	const struct conf *conf;
	struct cookie_secret secret;
	struct authority authority; /* what does not change from query to query */
	struct event_base *base;
	struct udp *udp;
	struct tcp *tcp;
	struct forward *forward;   /* NULL: stopping, nothing is forwarded any more */
	struct cache *cache;       /* NULL: none */
	worker_original *original; /* NULL: nothing is passed on */
	void *original_ctx;
	struct passing_udp *passing_udp;
	struct passing_tcp *passing_tcp;
	struct ahead ahead;
	struct table *table; /* the worker's own reference */
	int64_t table_since_ms;
	uint32_t rotation; /* never 0 */

	/* Written by the main thread, which exchanges a reference in, and by the worker, which
	 * exchanges it out: whoever takes a reference out owns it. Acquire and release, so that the
	 * table is seen whole by the worker. */
	_Atomic(struct table *) inbox;
	/* Written by the main thread, read by the worker after it was woken; release, acquire. */
	atomic_bool stopping;
	/* Written by the main thread, which then waits; taken out by the worker; acquire, release.
	 */
	_Atomic(struct call *) call;
	bool running; /* the main thread's: the thread is there to do calls */
	int wake;     /* eventfd: look at the three above */
	struct event *woken;

	pthread_t thread;
	unsigned listening_count;
	struct endpoint listening[CONF_LISTEN_MAX];
	unsigned udp_count;
	struct endpoint udp_at[UDP_SOCKETS_MAX]; /* where each UDP socket is bound */
	struct stats stats;                      /* read by the main thread */
};

/* The way of a query */

static enum counter stat_of_type(uint16_t qtype)
{
	return qtype == TYPE_A      ? STAT_LOCAL_A
	       : qtype == TYPE_AAAA ? STAT_LOCAL_AAAA
				    : STAT_LOCAL_OTHER;
}

static enum counter stat_of_rcode(unsigned rcode)
{
	switch (rcode) {
	case RCODE_NOERROR:
		return STAT_NOERROR;
	case RCODE_NXDOMAIN:
		return STAT_NXDOMAIN;
	case RCODE_SERVFAIL:
		return STAT_SERVFAIL;
	default:
		return STAT_OTHER_RCODE;
	}
}

/** RCODE of a response as its header has it. */
static unsigned header_rcode(const uint8_t *message)
{
	return octets_u16(message + 2) & FLAG_RCODE;
}

/** Octets of the largest response that may go back. */
static size_t response_limit(const struct query *q, const struct requestor *from)
{
	if (from->tcp) {
		return TCP_RESPONSE_MAX;
	}
	return q->udp_size < UDP_SLOT_SIZE ? q->udp_size : UDP_SLOT_SIZE;
}

/**
 * A number for each query, after Marsaglia's xorshift. A counter will not do: A and AAAA are asked
 * in turns, and of two addresses each would always begin with the same one.
 */
static uint32_t next_rotation(struct worker *w)
{
	w->rotation ^= w->rotation << 13;
	w->rotation ^= w->rotation >> 17;
	w->rotation ^= w->rotation << 5;
	return w->rotation;
}

static int64_t now_ms(void)
{
	struct timespec ts;
	/* Good to some 4 ms, for a fifth of the price: TTLs are counted in seconds. */
	clock_gettime(CLOCK_MONOTONIC_COARSE, &ts);
	return (int64_t)ts.tv_sec * 1000 + ts.tv_nsec / 1000000;
}

static void set_peer(struct address *peer, const struct endpoint *e)
{
	if (e->sa.sa_family == AF_INET) {
		peer->len = 4;
		memcpy(peer->octets, &e->in.sin_addr, 4);
	} else {
		peer->len = 16;
		memcpy(peer->octets, &e->in6.sin6_addr, 16);
	}
}

/** The time of what is served next: once for all that arrived together. */
static void look_at_clock(struct worker *w)
{
	w->authority.now_ms = now_ms();
	w->authority.hop.now = (uint32_t)time(NULL);
}

/** What answers to one query are made of. */
static void prepare(struct worker *w, const struct requestor *from)
{
	struct authority *a = &w->authority;
	a->table = w->table;
	a->tag = NULL;
	a->rotation = next_rotation(w);
	a->elsewhere = from->elsewhere;
	a->can_pass = false;
	a->hop.keepalive_ms = from->tcp ? w->conf->tcp_idle_ms : 0;
	set_peer(&a->hop.peer, &from->peer);
}

static void count_answer(struct worker *w, const struct query *q, const struct answered *answered,
	const uint8_t *response)
{
	enum counter type = stat_of_type(q->qtype);
	if (answered->source == SOURCE_CACHE) {
		type = type - STAT_LOCAL_A + STAT_UPSTREAM_A;
	}
	stats_add(&w->stats, type, 1);
	stats_add(&w->stats, stat_of_rcode(q->rcode ? q->rcode : header_rcode(response)), 1);
}

static void inside(struct worker *w, struct worker_inside *inside)
{
	static const struct requestor nobody = {.peer.sa.sa_family = AF_INET};
	look_at_clock(w);
	prepare(w, &nobody);
	inside->authority = w->authority;
	inside->forward = w->forward;
	inside->table_since_ms = w->table_since_ms;
}

/* Passing on */

/** Where a datagram of this requestor arrived. */
static struct endpoint udp_local(const struct worker *w, const struct requestor *from)
{
	struct endpoint local = w->udp_at[from->slot];
	if (from->local.len > 0 && local.sa.sa_family == AF_INET) {
		local.in.sin_addr = from->local.in.sin_addr;
	} else if (from->local.len > 0) {
		local.in6.sin6_addr = from->local.in6.sin6_addr;
	}
	return local;
}

/** Which server a requestor asked; where it has just asked it, that is known without a look-up. */
static int find_asked(struct worker *w, const struct requestor *from, struct endpoint *server)
{
	struct endpoint local;
	const struct endpoint *known = from->tcp ? passing_tcp_server(w->passing_tcp, from)
						 : passing_udp_server(w->passing_udp, from);
	int r = 0;
	if (known) {
		*server = *known;
	} else if (!from->tcp) {
		local = udp_local(w, from);
		r = w->original(w->original_ctx, &from->peer, &local, false, server);
	} else {
		r = tcp_local(w->tcp, from, &local);
		r = r ? r : w->original(w->original_ctx, &from->peer, &local, true, server);
	}
	return r;
}

/** Pass a message on to the server that was asked. @return 0; -errno: it cannot be reached */
static int pass(struct worker *w, const struct query *q, const struct requestor *from,
	const struct endpoint *server)
{
	int r = from->tcp ? passing_tcp_send(w->passing_tcp, q->message, from, server)
			  : passing_udp_send(w->passing_udp, q->message, from, server);
	if (r != 0) {
		return r;
	}
	if (from->tcp) {
		tcp_hold(w->tcp, from);
	}
	stats_add(&w->stats, STAT_PASSED, 1);
	stats_add(&w->stats, stat_of_type(q->qtype) - STAT_LOCAL_A + STAT_UPSTREAM_A, 1);
	return 0;
}

static void count_passed(struct worker *w, struct span message)
{
	if (message.len >= HEADER_LEN) {
		stats_add(&w->stats, stat_of_rcode(header_rcode(message.data)), 1);
	}
}

static void reply_passed_udp(void *ctx, const struct requestor *to, struct span message)
{
	struct worker *w = ctx;
	count_passed(w, message);
	udp_send(w->udp, to, message);
}

static enum passing_peer reply_passed_tcp(
	void *ctx, const struct requestor *to, struct span message)
{
	static const enum passing_peer of[] = {
		[TCP_READY] = PASSING_READY, [TCP_FULL] = PASSING_FULL, [TCP_GONE] = PASSING_GONE};
	struct worker *w = ctx;
	count_passed(w, message);
	return of[tcp_send_passed(w->tcp, to, message)];
}

static void end_passed(void *ctx, const struct requestor *to)
{
	struct worker *w = ctx;
	tcp_end(w->tcp, to);
}

static void on_tcp_news(void *ctx, uint32_t slot, uint32_t generation, enum tcp_news news)
{
	struct worker *w = ctx;
	if (news == TCP_DRAINED) {
		passing_tcp_resume(w->passing_tcp, slot, generation);
	} else if (news == TCP_HALF_CLOSED) {
		passing_tcp_half_close(w->passing_tcp, slot, generation);
	} else {
		passing_tcp_gone(w->passing_tcp, slot, generation);
	}
}

/* Deciding */

/** Whether others are asked for the message: over TCP who asks too much is not read. */
static bool may_ask(struct worker *w, const struct requestor *from)
{
	return from->tcp || udp_may_forward(w->udp, from);
}

static enum verdict decide(struct worker *w, struct ahead_item *item, const struct requestor *from,
	struct writer *out, struct answered *answered)
{
	size_t limit = from->tcp ? TCP_RESPONSE_MAX : 0;
	struct authority *a = &w->authority;
	struct query *q = &item->query;
	if (item->result != 0) {
		return VERDICT_DROP;
	}
	prepare(w, from);
	a->can_pass = w->original != NULL;
	a->tag = item->has_tag ? &item->tag : NULL;
	enum verdict verdict = answer_query(q, a, limit, out, answered);
	if ((verdict == VERDICT_FORWARD || verdict == VERDICT_PASS) && !may_ask(w, from)) {
		return VERDICT_SHED;
	}
	if (verdict != VERDICT_PASS) {
		return verdict;
	}
	struct endpoint server;
	if (!w->forward || find_asked(w, from, &server) != 0) {
		a->can_pass = false; /* as if we had been asked ourselves */
		return answer_query(q, a, limit, out, answered);
	}
	if (pass(w, q, from, &server) != 0) { /* and nobody else is asked in its stead */
		(void)response_error_with(q, (struct span){0}, out,
			limit ? limit : response_limit(q, from), RCODE_SERVFAIL,
			EDE_NO_REACHABLE_AUTHORITY);
		answered->source = SOURCE_LOCAL;
		return VERDICT_SEND;
	}
	return verdict;
}

static enum verdict serve(
	void *ctx, struct span message, const struct requestor *from, struct writer *out)
{
	struct worker *w = ctx;
	struct ahead_item *item = ahead_take(&w->ahead, message);
	struct query *q = &item->query;
	struct answered answered UNCLEARED;
	size_t begin = out->len;
	enum verdict verdict = decide(w, item, from, out, &answered);
	if (verdict == VERDICT_EXPLAIN) {
		struct worker_inside here;
		inside(w, &here);
		explain_query(
			&here, q, &answered.options, &from->peer, response_limit(q, from), out);
		verdict = VERDICT_SEND;
	}
	switch (verdict) {
	case VERDICT_REFRESH:
	case VERDICT_EXPLAIN:
	case VERDICT_SEND:
		count_answer(w, q, &answered, out->data + begin);
		if (verdict == VERDICT_REFRESH && w->forward && may_ask(w, from)) {
			forward_refresh(w->forward, q);
		}
		return VERDICT_SEND;
	case VERDICT_PASS:
		return VERDICT_FORWARD;
	case VERDICT_FORWARD:
		if (!w->forward) {
			return VERDICT_DROP;
		}
		forward_query(w->forward, q, &answered.options, from, response_limit(q, from));
		break;
	case VERDICT_CANARY:
		break;
	case VERDICT_SHED:
		stats_add(&w->stats, STAT_DROP_OVERLOAD, 1);
		return VERDICT_DROP;
	case VERDICT_DROP:
		stats_add(&w->stats,
			message.len < HEADER_LEN ? STAT_DROP_SHORT : STAT_DROP_RESPONSE, 1);
		break;
	}
	return verdict;
}

static void expect(void *ctx, const struct span *messages, unsigned count)
{
	struct worker *w = ctx;
	look_at_clock(w);
	ahead_read(&w->ahead, messages, count, w->table, w->cache);
}

/** A forwarded query's answer goes back the way that its query came. */
static void reply(void *ctx, const struct requestor *to, struct span message)
{
	struct worker *w = ctx;
	if (to->tcp) {
		tcp_send(w->tcp, to, message);
	} else {
		udp_send(w->udp, to, message);
	}
}

/* What other threads hand in */

static void take_table(struct worker *w)
{
	struct table *table = atomic_exchange_explicit(&w->inbox, NULL, memory_order_acq_rel);
	if (table) {
		table_unref(w->table);
		w->table = table;
		w->table_since_ms = now_ms();
	}
}

static void take_call(struct worker *w)
{
	struct call *call = atomic_exchange_explicit(&w->call, NULL, memory_order_acq_rel);
	if (call) {
		struct worker_inside here;
		inside(w, &here);
		call->task(call->ctx, &here);
		(void)sem_post(&call->done); /* `call` may be gone now */
	}
}

static void on_woken(evutil_socket_t fd, short what, void *arg)
{
	struct worker *w = arg;
	uint64_t times;
	(void)what;
	/* Before the exchange: a table that comes after it wakes us again. */
	(void)!read(fd, &times, sizeof(times));
	take_table(w);
	take_call(w);
	if (atomic_load_explicit(&w->stopping, memory_order_acquire)) {
		(void)event_base_loopbreak(w->base);
	}
}

static void wake(struct worker *w)
{
	uint64_t once = 1;
	(void)!write(w->wake, &once, sizeof(once)); /* fails only where it is pending anyway */
}

void worker_publish(struct worker *worker, struct table *table)
{
	table_unref(atomic_exchange_explicit(&worker->inbox, table, memory_order_acq_rel));
	wake(worker);
}

void worker_call(struct worker *worker, worker_task *task, void *ctx)
{
	struct call call = {.task = task, .ctx = ctx};
	(void)sem_init(&call.done, 0, 0);
	atomic_store_explicit(&worker->call, &call, memory_order_release);
	if (worker->running) {
		wake(worker);
		while (sem_wait(&call.done) != 0) {
			/* a signal: go on waiting */
		}
	} else {
		take_call(worker);
	}
	(void)sem_destroy(&call.done);
}

/** One reference for ourselves, one for the forwarder. */
static void take_routes(struct worker *w, struct routes *routes)
{
	struct routes *before = w->authority.routes;
	w->authority.routes = routes_ref(routes);
	if (w->forward) {
		forward_set_routes(w->forward, routes_ref(routes));
	}
	routes_unref(before);
}

struct new_routes {
	struct worker *worker;
	struct routes *routes;
};

static void set_routes(void *ctx, const struct worker_inside *inside)
{
	const struct new_routes *new = ctx;
	(void)inside;
	take_routes(new->worker, new->routes);
}

void worker_set_routes(struct worker *worker, struct routes *routes)
{
	struct new_routes new = {.worker = worker, .routes = routes};
	worker_call(worker, set_routes, &new);
}

/* The thread */

/** Answer what has arrived, then who waits for others, and let TCP peers take it all. */
static void drain(struct worker *w)
{
	struct timeval limit = {.tv_usec = FLUSH_LIMIT_MS * 1000};
	udp_leave(w->udp); /* from here on, who shares our ports gets the datagrams */
	for (unsigned turn = 0; turn < DRAIN_TURNS; turn++) {
		(void)event_base_loop(w->base, EVLOOP_NONBLOCK);
	}
	struct forward *forward = w->forward;
	w->forward = NULL;
	forward_close(forward);
	passing_udp_close(w->passing_udp); /* what it hears has nowhere to go soon */
	w->passing_udp = NULL;
	tcp_finish(w->tcp);
	(void)event_base_loop(w->base, EVLOOP_NONBLOCK); /* what came while that was done */
	udp_close(w->udp);
	w->udp = NULL;
	(void)event_base_loopexit(w->base, &limit);
	while (tcp_connections(w->tcp) > 0 && !event_base_got_exit(w->base)) {
		(void)event_base_loop(w->base, EVLOOP_ONCE);
	}
}

static void *run(void *arg)
{
	struct worker *w = arg;
	(void)!privileges_narrow(w->conf); /* a failure is logged; the first thread ends with it */
	take_table(w); /* one that came before the thread is there for its first query */
	(void)event_base_dispatch(w->base);
	drain(w);
	return NULL;
}

int worker_start(struct worker *worker)
{
	sigset_t all, before;
	sigfillset(&all);
	int r = pthread_sigmask(SIG_BLOCK, &all, &before); /* the thread inherits it */
	if (r == 0) {
		r = pthread_create(&worker->thread, NULL, run, worker);
		worker->running = r == 0;
		(void)pthread_sigmask(SIG_SETMASK, &before, NULL);
	}
	return -r;
}

void worker_order_stop(struct worker *worker)
{
	atomic_store_explicit(&worker->stopping, true, memory_order_release);
	wake(worker);
}

void worker_stop(struct worker *worker)
{
	worker_order_stop(worker);
	(void)pthread_join(worker->thread, NULL);
	worker->running = false;
}

/* Opening */

/** Bind UDP and TCP to one address; where any port will do, the same one for both. */
static int bind_both(struct worker *w, struct endpoint *at, unsigned how)
{
	int r = udp_listen(w->udp, at, how);
	if (r != 0) {
		return r;
	}
	w->udp_at[w->udp_count++] = *at;
	return tcp_listen(w->tcp, at, how);
}

static int listen_at(struct worker *w, const struct endpoint *configured)
{
	struct endpoint at = *configured;
	int r = bind_both(w, &at, 0);
	if (r == 0) {
		w->listening[w->listening_count++] = at;
	}
	return r;
}

/** Both transports at all of loopback, for eBPF; not to be had without IPv6, or by a user before
 * Linux 5.7. */
static int listen_inside(struct worker *w, uint16_t port, unsigned how)
{
	struct endpoint_list list;
	listening_aliases(&list, w->conf, port);
	for (unsigned i = 0; i < list.count; i++) {
		int r = bind_both(w, &list.item[i], how | LISTEN_INSIDE);
		if (r != 0 && list.item[i].sa.sa_family == AF_INET) {
			return r;
		}
	}
	return 0;
}

int worker_listen_inside(struct worker *worker)
{
	return listen_inside(worker, worker->conf->port, 0);
}

int worker_listen_elsewhere(struct worker *worker, uint16_t port)
{
	struct endpoint at4 = listening_loopback4(port);
	struct endpoint at6 = listening_loopback6(port);
	int r = bind_both(worker, &at4, LISTEN_ELSEWHERE);
	if (r == 0 && worker->conf->ip_family_mode == CONF_DUALSTACK) {
		r = bind_both(worker, &at6, LISTEN_ELSEWHERE);
		r = r == -EAFNOSUPPORT || r == -EADDRNOTAVAIL ? 0 : r; /* nor is it redirected */
	}
	return r == 0 ? listen_inside(worker, port, LISTEN_ELSEWHERE) : r;
}

void worker_set_original(struct worker *worker, worker_original *original, void *ctx)
{
	worker->original = original;
	worker->original_ctx = ctx;
}

/** Whether an address may be missing: the default one of IPv6, where the kernel has none. */
static bool may_be_absent(const struct worker *w, const struct endpoint *at, int error)
{
	return w->conf->listen.count == 0 && at->sa.sa_family == AF_INET6 &&
	       (error == -EAFNOSUPPORT || error == -EADDRNOTAVAIL);
}

int worker_listen(struct worker *worker)
{
	struct worker *w = worker;
	struct endpoint_list list;
	char text[ENDPOINT_TEXT_SIZE];
	listening_list(&list, w->conf);
	for (unsigned i = 0; i < list.count; i++) {
		int r = listen_at(w, &list.item[i]);
		if (r == 0) {
			continue;
		}
		endpoint_format(&list.item[i], text);
		if (!may_be_absent(w, &list.item[i], r)) {
			log_error("cannot listen on %s: %s", text, strerror(-r));
			return r;
		}
		log_info("no IPv6 here: not listening on %s", text);
	}
	return 0;
}

/** A loop of one thread: no locks in it. */
static struct event_base *new_base(void)
{
	struct event_config *config = event_config_new();
	if (!config) {
		return NULL;
	}
	(void)event_config_set_flag(config, EVENT_BASE_FLAG_NOLOCK);
	struct event_base *base = event_base_new_with_config(config);
	event_config_free(config);
	return base;
}

static int open_wake(struct worker *w)
{
	w->wake = eventfd(0, EFD_NONBLOCK | EFD_CLOEXEC);
	if (w->wake < 0) {
		return -errno;
	}
	w->woken = event_new(w->base, w->wake, EV_READ | EV_PERSIST, on_woken, w);
	return w->woken && event_add(w->woken, NULL) == 0 ? 0 : -ENOMEM;
}

/** NULL where none is wanted, or there is no memory for one. */
static struct cache *open_cache(const struct conf *conf)
{
	struct entropy entropy = {.left = 0};
	if (conf->cache_size == 0) {
		return NULL;
	}
	struct cache_settings settings = {
		.size = conf->cache_size,
		.seed = entropy_u64(&entropy),
		.ttl_max = conf->cache_ttl_max,
		.negative_ttl_max = conf->cache_negative_ttl_max,
		.stale_max = conf->cache_stale_max,
		.nxdomain_covers = conf->cache_nxdomain_covers,
	};
	struct cache *cache = cache_new(&settings);
	if (!cache) {
		log_warning("no memory for a cache of %llu octets: going on without",
			(unsigned long long)conf->cache_size);
	}
	return cache;
}

static void fill_authority(struct worker *w, const struct mesh_zones *zones)
{
	w->authority = (struct authority){
		.zones = zones,
		.cache = w->cache,
		.prefetch = w->conf->cache_prefetch,
		.special_groups = w->conf->special_names,
		.hop.secret = &w->secret,
	};
}

/** Flows that are passed on have an eighth of the descriptors. */
static unsigned flows_for(const struct conf *conf)
{
	struct rlimit limit;
	if (getrlimit(RLIMIT_NOFILE, &limit) != 0 || conf->workers == 0) {
		return PASSING_FLOWS_MAX;
	}
	rlim_t flows = limit.rlim_cur / 8 / conf->workers;
	return flows < PASSING_FLOWS_MAX ? (unsigned)flows : PASSING_FLOWS_MAX;
}

static int open_parts(struct worker *w)
{
	w->base = new_base();
	int r = w->base ? open_wake(w) : -ENOMEM;
	if (r == 0) {
		r = udp_open(&w->udp, w->base, &w->stats, serve, w);
	}
	if (r == 0) {
		udp_set_expect(w->udp, expect);
		r = tcp_open(&w->tcp, w->base, w->conf, &w->stats, serve, w);
	}
	if (r == 0) {
		w->cache = open_cache(w->conf);
		r = forward_open(&w->forward, w->base, w->conf, w->cache, &w->stats, reply, w);
	}
	if (r == 0) {
		r = passing_udp_open(&w->passing_udp, w->base, w->conf->mark, flows_for(w->conf),
			reply_passed_udp, w);
	}
	if (r == 0) {
		tcp_set_expect(w->tcp, expect);
		tcp_set_notify(w->tcp, on_tcp_news);
		r = passing_tcp_open(&w->passing_tcp, w->base, w->conf->mark,
			w->conf->tcp_connections_max, reply_passed_tcp, end_passed, w);
	}
	return r;
}

static int cannot_open(int error)
{
	log_error("cannot open a worker: %s", strerror(-error));
	return error;
}

int worker_open(struct worker **worker, const struct conf *conf, struct routes *routes,
	const struct mesh_zones *zones, const struct cookie_secret *secret)
{
	struct entropy entropy = {.left = 0};
	struct worker *w = calloc(1, sizeof(*w));
	if (!w) {
		return cannot_open(-ENOMEM);
	}
	w->conf = conf;
	w->secret = *secret;
	w->wake = -1;
	w->rotation = (uint32_t)entropy_u64(&entropy) | 1; /* begins elsewhere in each worker */
	int r = open_parts(w);
	if (r != 0) {
		worker_close(w);
		return cannot_open(r);
	}
	fill_authority(w, zones);
	take_routes(w, routes);
	*worker = w;
	return 0;
}

const struct stats *worker_stats(const struct worker *worker)
{
	return &worker->stats;
}

uint64_t worker_udp_overflows(const struct worker *worker)
{
	return worker->udp ? udp_overflows(worker->udp) : 0;
}

const struct endpoint *worker_listening(const struct worker *worker, unsigned *count)
{
	*count = worker->listening_count;
	return worker->listening;
}

void worker_close(struct worker *worker)
{
	if (!worker) {
		return;
	}
	forward_close(worker->forward);
	cache_free(worker->cache);
	tcp_close(worker->tcp); /* which tells passing_tcp */
	passing_tcp_close(worker->passing_tcp);
	passing_udp_close(worker->passing_udp);
	udp_close(worker->udp);
	if (worker->woken) {
		event_free(worker->woken);
	}
	if (worker->base) {
		event_base_free(worker->base);
	}
	if (worker->wake >= 0) {
		close(worker->wake);
	}
	table_unref(atomic_load_explicit(&worker->inbox, memory_order_acquire));
	table_unref(worker->table);
	routes_unref(worker->authority.routes);
	free(worker);
}
