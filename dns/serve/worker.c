/* SPDX-License-Identifier: Apache-2.0
 *
 * The worker's thread, and the way of a query through it: from a transport to the decision, and
 * from there back, or on to the forwarder. Owns all that a query touches; the two things other
 * threads touch are the inbox for tables and the order to stop.
 */
#include "dns/serve/worker.h"

#include "conf/conf.h"
#include "conf/log.h"
#include "dns/resolve/forward.h"
#include "dns/serve/listening.h"
#include "dns/serve/tcp.h"
#include "dns/serve/udp.h"

#include <errno.h>
#include <event2/event.h>
#include <pthread.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <unistd.h>

enum {
	TCP_RESPONSE_MAX = 65535,
	DRAIN_TURNS = 32,    /* of the loop, for what arrived before the order to stop */
	FLUSH_LIMIT_MS = 700 /* for what peers have yet to take of their answers */
};

struct worker {
	const struct conf *conf;
	const struct mesh_zones *zones;
	struct event_base *base;
	struct udp *udp;
	struct tcp *tcp;
	struct forward *forward; /* NULL: stopping, nothing is forwarded any more */
	struct table *table;     /* the worker's own reference */
	uint32_t rotation;       /* never 0 */

	/* Written by the main thread, which exchanges a reference in, and by the worker, which
	 * exchanges it out: whoever takes a reference out owns it. Acquire and release, so that the
	 * table is seen whole by the worker. */
	_Atomic(struct table *) inbox;
	/* Written by the main thread, read by the worker after it was woken; release, acquire. */
	atomic_bool stopping;
	int wake; /* eventfd: look at the two above */
	struct event *woken;

	pthread_t thread;
	unsigned listening_count;
	struct endpoint listening[CONF_LISTEN_MAX];
	struct stats stats; /* read by the main thread */
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

static enum verdict serve(
	void *ctx, struct span message, const struct requestor *from, struct writer *out)
{
	struct worker *w = ctx;
	struct query q;
	struct authority authority = {
		.table = w->table, .zones = w->zones, .rotation = next_rotation(w)};
	size_t begin = out->len;
	enum verdict verdict =
		answer(&q, message, &authority, from->tcp ? TCP_RESPONSE_MAX : 0, out);
	switch (verdict) {
	case VERDICT_SEND:
		stats_add(&w->stats, stat_of_type(q.qtype), 1);
		stats_add(&w->stats,
			stat_of_rcode(q.rcode ? q.rcode : header_rcode(out->data + begin)), 1);
		break;
	case VERDICT_FORWARD:
		if (!w->forward) {
			return VERDICT_DROP;
		}
		forward_query(w->forward, &q, from, response_limit(&q, from));
		break;
	case VERDICT_DROP:
		stats_add(&w->stats,
			message.len < HEADER_LEN ? STAT_DROP_SHORT : STAT_DROP_RESPONSE, 1);
		break;
	}
	return verdict;
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

/* The thread */

/** Answer what has arrived, then who waits for others, and let TCP peers take it all. */
static void drain(struct worker *w)
{
	struct timeval limit = {.tv_usec = FLUSH_LIMIT_MS * 1000};
	for (unsigned turn = 0; turn < DRAIN_TURNS; turn++) {
		(void)event_base_loop(w->base, EVLOOP_NONBLOCK);
	}
	struct forward *forward = w->forward;
	w->forward = NULL;
	forward_close(forward);
	tcp_finish(w->tcp);
	(void)event_base_loop(w->base, EVLOOP_NONBLOCK); /* what came while that was done */
	udp_close(w->udp); /* from here on, who shares our ports gets the datagrams */
	w->udp = NULL;
	(void)event_base_loopexit(w->base, &limit);
	while (tcp_connections(w->tcp) > 0 && !event_base_got_exit(w->base)) {
		(void)event_base_loop(w->base, EVLOOP_ONCE);
	}
}

static void *run(void *arg)
{
	struct worker *w = arg;
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
		(void)pthread_sigmask(SIG_SETMASK, &before, NULL);
	}
	return -r;
}

void worker_stop(struct worker *worker)
{
	atomic_store_explicit(&worker->stopping, true, memory_order_release);
	wake(worker);
	(void)pthread_join(worker->thread, NULL);
}

/* Opening */

/** Bind UDP and TCP to one address; where any port will do, the same one for both. */
static int listen_at(struct worker *w, const struct endpoint *configured)
{
	struct endpoint at = *configured;
	int r = udp_listen(w->udp, &at);
	if (r != 0) {
		return r;
	}
	r = tcp_listen(w->tcp, &at);
	if (r == 0) {
		w->listening[w->listening_count++] = at;
	}
	return r;
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

static int open_parts(struct worker *w, const struct servers *servers)
{
	w->base = new_base();
	if (!w->base) {
		return -ENOMEM;
	}
	int r = open_wake(w);
	if (r == 0) {
		r = udp_open(&w->udp, w->base, &w->stats, serve, w);
	}
	if (r == 0) {
		r = tcp_open(&w->tcp, w->base, w->conf, &w->stats, serve, w);
	}
	if (r == 0) {
		r = forward_open(&w->forward, w->base, w->conf, servers, &w->stats, reply, w);
	}
	if (r != 0) {
		log_error("cannot open a worker: %s", strerror(-r));
		return r;
	}
	return 0;
}

int worker_open(struct worker **worker, const struct conf *conf, const struct servers *servers,
	const struct mesh_zones *zones)
{
	struct worker *w = calloc(1, sizeof(*w));
	if (!w) {
		return -ENOMEM;
	}
	w->conf = conf;
	w->zones = zones;
	w->wake = -1;
	w->rotation = (uint32_t)(uintptr_t)w | 1; /* begins elsewhere in each worker and process */
	int r = open_parts(w, servers);
	if (r != 0) {
		worker_close(w);
		return r;
	}
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
	tcp_close(worker->tcp);
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
	free(worker);
}
