/* SPDX-License-Identifier: Apache-2.0
 *
 * The only file that knows c-ares: a channel for each TCP connection, opened when it is needed,
 * with exactly one server and one try.
 *
 * c-ares may call back inside ares_send, ares_process_fd and ares_destroy, and must not be entered
 * again from some of these places. So its callbacks only take notes; owners are told once no
 * function of c-ares is on the stack.
 */
#include "dns/resolve/upstream.h"

#include "conf/clock.h"
#include "conf/conf.h"
#include "conf/log.h"
#include "conf/tick.h"
#include "dns/admin/stats.h"
#include "dns/resolve/attempts.h"
#include "dns/resolve/ports.h"

/* Later versions deprecate what 1.18 has nothing newer for. */
#define CARES_NO_DEPRECATED
#include <ares.h>
#include <errno.h>
#include <event2/event.h>
#include <stdlib.h>
#include <sys/uio.h>
#include <unistd.h>

enum {
	ATTEMPTS_PER_TRANSACTION = 4,
	ARES_TIMEOUT_EXTRA_MS = 1000, /* our own deadline always comes first */
	TICK_MS = 1000,               /* housekeeping, only while something is open */
	TCP_IDLE_MS = 5000,           /* RFC 7766 §6.2.3 */
	TCP_PIPELINE_MAX = 64, /* queries outstanding on a connection: then another one is opened */
	TCP_CONNECTIONS_MAX = 8, /* to one server */
	CANCELLED_MAX = 64       /* queries whose answers are still known as such */
};

/** A connection: a c-ares channel with its one server. */
struct channel {
	struct upstream *upstream;
	ares_channel ares;
	struct link link;
	struct event *event; /* NULL while there is no connection */
	int64_t used_ms;
	unsigned outstanding;
	uint8_t server;
	bool draining; /* takes no new queries */
};

/** A query over UDP that was cancelled: its answer may come yet. */
struct cancelled {
	struct late_answer late; /* sent_ns 0: none */
	uint16_t id;
	uint8_t server;
};

struct upstream {
	struct event_base *base;
	struct stats *stats;
	upstream_done *done;
	upstream_heard *heard;
	void *ctx;
	struct endpoint server[UPSTREAM_SERVERS_MAX];
	uint32_t mark;
	int ares_timeout_ms;
	struct entropy entropy;
	struct attempts attempts;
	struct ports *ports;
	struct tick *tick;
	struct event *tell;                        /* something is in `ended` */
	struct channel *tcp[UPSTREAM_SERVERS_MAX]; /* those that take new queries */
	struct link channels;                      /* all of them */
	struct link ended;
	struct attempt *sending; /* inside ares_send */
	unsigned next_cancelled;
	struct cancelled cancelled[CANCELLED_MAX]; /* the oldest is overwritten */
};

static void start_tick(struct upstream *u)
{
	if (!tick_is_running(u->tick)) {
		tick_start(u->tick, TICK_MS);
	}
}

static void free_attempt(struct upstream *u, struct attempt *a)
{
	link_remove(&a->ended_link);
	free(a->answer);
	attempts_give(&u->attempts, a);
}

static void leave_port(struct attempt *a)
{
	struct port *port = a->port;
	if (port) {
		a->port = NULL;
		link_remove(&a->port_link);
		port_release(port);
	}
}

/* Note how an attempt ended; its owner is told from the loop. */
static void end_attempt(struct upstream *u, struct attempt *a, enum outcome outcome)
{
	if (link_empty(&a->ended_link)) {
		a->outcome = outcome;
		link_append(&u->ended, &a->ended_link);
		event_active(u->tell, EV_TIMEOUT, 0);
	}
}

/* What c-ares calls at the end of a query. Takes notes only. */
static void on_ares(void *arg, int status, int timeouts, unsigned char *octets, int len)
{
	(void)timeouts;
	struct attempt *a = arg;
	struct upstream *u = a->channel->upstream;
	a->in_ares = false;
	a->channel->outstanding--;
	if (a->orphan) {
		free_attempt(u, a);
	} else if (a == u->sending) {
		return; /* the caller looks at in_ares */
	} else if (status == ARES_SUCCESS && len > 0) {
		a->answer = malloc((size_t)len);
		a->answer_len = (size_t)len;
		if (a->answer) {
			memcpy(a->answer, octets, (size_t)len);
		}
		end_attempt(u, a, a->answer ? OUTCOME_RESPONSE : OUTCOME_UNREACHABLE);
	} else {
		end_attempt(u, a, status == ARES_ETIMEOUT ? OUTCOME_TIMEOUT : OUTCOME_UNREACHABLE);
	}
}

/* TCP: real sockets, with our mark and towards our own idea of the address, scope included. */

static ares_socket_t tcp_socket(int family, int type, int protocol, void *arg)
{
	(void)family, (void)type, (void)protocol;
	const struct channel *c = arg;
	const struct upstream *u = c->upstream;
	int fd = server_socket(&u->server[c->server], SOCK_STREAM, u->mark);
	if (fd < 0) {
		errno = -fd;
		return ARES_SOCKET_BAD;
	}
	return fd;
}

static int tcp_close(ares_socket_t fd, void *arg)
{
	(void)arg;
	return close(fd);
}

static int tcp_connect(ares_socket_t fd, const struct sockaddr *to, ares_socklen_t len, void *arg)
{
	(void)to, (void)len;
	const struct channel *c = arg;
	const struct endpoint *server = &c->upstream->server[c->server];
	return connect(fd, &server->sa, server->len);
}

static ares_ssize_t tcp_send(ares_socket_t fd, const struct iovec *iov, int count, void *arg)
{
	(void)arg;
	struct msghdr message = {0};
	struct iovec parts[16];
	int n = count < 16 ? count : 16;
	memcpy(parts, iov, (size_t)n * sizeof(*iov));
	message.msg_iov = parts;
	message.msg_iovlen = (size_t)n;
	return sendmsg(fd, &message, MSG_NOSIGNAL | MSG_DONTWAIT);
}

static ares_ssize_t tcp_receive(ares_socket_t fd, void *data, size_t size, int flags,
	struct sockaddr *from, ares_socklen_t *from_len, void *arg)
{
	(void)from, (void)from_len, (void)arg;
	return recv(fd, data, size, flags | MSG_DONTWAIT);
}

static void tcp_ready(evutil_socket_t fd, short what, void *arg)
{
	struct channel *c = arg;
	ares_process_fd(c->ares, what & EV_READ ? (ares_socket_t)fd : ARES_SOCKET_BAD,
		what & EV_WRITE ? (ares_socket_t)fd : ARES_SOCKET_BAD);
}

/* c-ares says what it waits for on the connection. */
static void tcp_state(void *arg, ares_socket_t fd, int readable, int writable)
{
	struct channel *c = arg;
	short what = EV_PERSIST;
	what = (short)(what | (readable ? EV_READ : 0) | (writable ? EV_WRITE : 0));
	if (c->event) {
		event_free(c->event);
		c->event = NULL;
	}
	if (readable || writable) {
		c->event = event_new(c->upstream->base, fd, what, tcp_ready, c);
		if (c->event && event_add(c->event, NULL) != 0) {
			event_free(c->event);
			c->event = NULL;
		}
	}
}

/* Channels. */

static const struct ares_socket_functions tcp_functions = {
	.asocket = tcp_socket,
	.aclose = tcp_close,
	.aconnect = tcp_connect,
	.arecvfrom = tcp_receive,
	.asendv = tcp_send,
};

/* Every option is given: what is missing c-ares looks for in resolv.conf, the environment and the
 * host's name. */
static int init_ares(struct channel *c)
{
	static char lookups[] = "b";
	struct ares_options o = {
		.flags = ARES_FLAG_NOCHECKRESP | ARES_FLAG_NOSEARCH | ARES_FLAG_NOALIASES |
			 ARES_FLAG_STAYOPEN | ARES_FLAG_USEVC,
		.timeout = c->upstream->ares_timeout_ms,
		.tries = 1,
		.ndots = 1,
		.lookups = lookups,
		.sock_state_cb = tcp_state,
		.sock_state_cb_data = c,
	};
	int mask = ARES_OPT_FLAGS | ARES_OPT_TIMEOUTMS | ARES_OPT_TRIES | ARES_OPT_NDOTS |
		   ARES_OPT_SERVERS | ARES_OPT_DOMAINS | ARES_OPT_LOOKUPS | ARES_OPT_SORTLIST |
		   ARES_OPT_NOROTATE | ARES_OPT_SOCK_STATE_CB;
#ifdef ARES_OPT_QUERY_CACHE
	mask |= ARES_OPT_QUERY_CACHE; /* with a maximum TTL of 0: none */
#endif
#ifdef ARES_OPT_SERVER_FAILOVER
	mask |= ARES_OPT_SERVER_FAILOVER; /* with a chance of 0: no probes of its own */
#endif
	return ares_init_options(&c->ares, &o, mask);
}

static int set_server(struct channel *c)
{
	const struct endpoint *e = &c->upstream->server[c->server];
	struct ares_addr_port_node node = {.family = e->sa.sa_family,
		.udp_port = endpoint_port(e),
		.tcp_port = endpoint_port(e)};
	if (e->sa.sa_family == AF_INET) {
		node.addr.addr4 = e->in.sin_addr;
	} else {
		memcpy(&node.addr.addr6, &e->in6.sin6_addr, sizeof(node.addr.addr6));
	}
	return ares_set_servers_ports(c->ares, &node);
}

/* It takes no new queries, and closes once nothing is outstanding. */
static void drain_channel(struct channel *c)
{
	struct upstream *u = c->upstream;
	c->draining = true;
	if (u->tcp[c->server] == c) {
		u->tcp[c->server] = NULL;
	}
}

static void close_channel(struct channel *c)
{
	drain_channel(c);
	link_remove(&c->link);
	ares_destroy(c->ares);
	free(c);
}

static struct channel *open_channel(struct upstream *u, unsigned server)
{
	struct channel *c = calloc(1, sizeof(*c));
	if (!c) {
		return NULL;
	}
	c->upstream = u;
	c->server = (uint8_t)server;
	link_init(&c->link);
	int status = init_ares(c);
	if (status != ARES_SUCCESS) {
		log_error("c-ares: %s", ares_strerror(status));
		free(c);
		return NULL;
	}
	ares_set_socket_functions(c->ares, &tcp_functions, c);
	status = set_server(c);
	if (status != ARES_SUCCESS) {
		log_error("c-ares: %s", ares_strerror(status));
		ares_destroy(c->ares);
		free(c);
		return NULL;
	}
	link_append(&u->channels, &c->link);
	return c;
}

/* RFC 7766 §6.2.1.1: queries share a connection, as long as they are not too many for one. Another
 * one that has room, or a new one; NULL where there may be no more. */
static struct channel *next_connection(struct upstream *u, unsigned server)
{
	unsigned count = 0;
	for (struct link *l = u->channels.next; l != &u->channels; l = l->next) {
		struct channel *c = link_entry(l, struct channel, link);
		if (c->server != server) {
			continue;
		}
		if (!c->draining && c->outstanding < TCP_PIPELINE_MAX) {
			return c;
		}
		count++;
	}
	return count < TCP_CONNECTIONS_MAX ? open_channel(u, server) : NULL;
}

static struct channel *channel_for(struct upstream *u, unsigned server)
{
	struct channel **at = &u->tcp[server];
	if (!*at || (*at)->outstanding >= TCP_PIPELINE_MAX) {
		struct channel *other = next_connection(u, server);
		if (!other) {
			return NULL;
		}
		*at = other;
	}
	return *at;
}

/* Sending. */

static bool send_udp(struct upstream *u, struct attempt *a, struct span query)
{
	if (ports_send(u->ports, a->server, query, a->sent_ns / 1000000, &a->port) != 0) {
		a->port = NULL;
		return false;
	}
	link_append(&a->port->outstanding, &a->port_link);
	return true;
}

static bool send_tcp(struct upstream *u, struct attempt *a, struct span query)
{
	struct channel *c = channel_for(u, a->server);
	if (!c) {
		return false;
	}
	a->channel = c;
	a->reused = c->event != NULL;
	c->used_ms = a->sent_ns / 1000000;
	c->outstanding++;
	a->in_ares = true;
	u->sending = a;
	/* The callback may run in here; then nothing was sent. */
	ares_send(c->ares, query.data, (int)query.len, on_ares, a);
	u->sending = NULL;
	return a->in_ares;
}

struct attempt *upstream_send(struct upstream *upstream, unsigned server, bool tcp,
	const struct asker *asker, uint8_t *query, size_t len, void *owner, int64_t now_ns)
{
	struct upstream *u = upstream;
	const struct span octets = {.data = query, .len = len};
	struct attempt *a = attempts_take(&u->attempts);
	if (!a) {
		return NULL;
	}
	a->owner = owner;
	a->sent_ns = now_ns;
	a->server = (uint8_t)server;
	a->tcp = tcp;
	a->asker = asker;
	octets_put_u16(query, a->id);
	start_tick(u);
	if (!(tcp ? send_tcp(u, a, octets) : send_udp(u, a, octets))) {
		free_attempt(u, a);
		return NULL;
	}
	return a;
}

void upstream_late(struct attempt *attempt)
{
	attempt->late = true;
	if (attempt->port) {
		port_retire_late(attempt->port);
	} else if (attempt->tcp && attempt->in_ares) {
		/* The rest of its queries may still be answered; new ones get a new connection. */
		drain_channel(attempt->channel);
	}
}

static void note_cancelled(struct upstream *u, const struct attempt *a)
{
	u->cancelled[u->next_cancelled++ % CANCELLED_MAX] =
		(struct cancelled){.late = {.sent_ns = a->sent_ns, .with_opt = a->with_opt},
			.id = a->id,
			.server = a->server};
}

void upstream_cancel(struct upstream *upstream, struct attempt *attempt)
{
	if (!attempt->tcp) {
		note_cancelled(upstream, attempt);
	}
	leave_port(attempt);
	link_remove(&attempt->ended_link);
	if (attempt->in_ares) {
		/* c-ares cannot drop one TCP query; its callback frees the attempt. */
		attempt->orphan = true;
	} else {
		free_attempt(upstream, attempt);
	}
}

/* Receiving. */

/* Tell the owner, who does not know the attempt any more afterwards. */
static void finish(
	struct upstream *u, struct attempt *a, enum outcome outcome, const struct relayed *r)
{
	leave_port(a);
	link_remove(&a->ended_link);
	u->done(u->ctx, a, outcome, r);
	if (a->in_ares) {
		a->orphan = true;
	} else {
		free_attempt(u, a);
	}
}

static void tell_ended(evutil_socket_t fd, short what, void *arg)
{
	(void)fd, (void)what;
	struct upstream *u = arg;
	while (!link_empty(&u->ended)) {
		struct attempt *a = link_entry(u->ended.next, struct attempt, ended_link);
		link_remove(&a->ended_link);
		struct relayed r;
		enum outcome outcome = a->outcome;
		if (outcome == OUTCOME_RESPONSE &&
			relayed_read(&r, (struct span){.data = a->answer, .len = a->answer_len},
				a->asker) != 0) {
			outcome = OUTCOME_MALFORMED;
		}
		finish(u, a, outcome, outcome == OUTCOME_RESPONSE ? &r : NULL);
	}
}

/* Not what we wait for: too late, or none of ours. */
static void on_stray(struct upstream *u, unsigned server, struct span message)
{
	bool whole = message.len >= HEADER_LEN;
	uint16_t id = whole ? octets_u16(message.data) : 0;
	for (unsigned i = 0; i < CANCELLED_MAX && whole; i++) {
		struct cancelled *c = &u->cancelled[i];
		if (c->late.sent_ns != 0 && c->id == id && c->server == server) {
			struct late_answer late = c->late;
			unsigned rcode = octets_u16(message.data + 2) & FLAG_RCODE;
			late.with_opt = late.with_opt &&
					(rcode == RCODE_NOERROR || rcode == RCODE_NXDOMAIN);
			c->late.sent_ns = 0;
			u->heard(u->ctx, server, &late);
			return;
		}
	}
	stats_add(u->stats, STAT_UPSTREAM_MISMATCHED, 1);
	u->heard(u->ctx, server, NULL);
}

/* RFC 5452 §9.1: the ID of an outstanding query, at the port it was sent from, from the server it
 * was sent to (the socket is connected), and with the same question. */
static void on_message(void *ctx, struct port *port, struct span message)
{
	struct upstream *u = ctx;
	struct attempt *a = NULL;
	if (message.len >= HEADER_LEN) {
		a = attempts_find(&u->attempts, octets_u16(message.data));
	}
	struct relayed r;
	int error = -ENOMSG;
	if (a && a->port == port) {
		error = relayed_read(&r, message, a->asker);
	}
	if (error == -ENOMSG) {
		on_stray(u, port->server, message);
	} else if (error != 0) {
		finish(u, a, OUTCOME_MALFORMED, NULL);
	} else {
		finish(u, a, OUTCOME_RESPONSE, &r);
	}
}

/* May run inside ares_send. */
static void on_broken(void *ctx, struct port *port, int error)
{
	struct upstream *u = ctx;
	log_debug("name server %u: %s", port->server + 1U, strerror(error));
	for (struct link *l = port->outstanding.next; l != &port->outstanding; l = l->next) {
		end_attempt(u, link_entry(l, struct attempt, port_link), OUTCOME_UNREACHABLE);
	}
}

/* Housekeeping: let c-ares see its time-outs, close what is idle, and stop when all is closed. */
static void on_tick(void *ctx)
{
	struct upstream *u = ctx;
	int64_t now = clock_ms();
	bool busy = ports_reap(u->ports, now);
	struct link *next;
	for (struct link *l = u->channels.next; l != &u->channels; l = next) {
		struct channel *c = link_entry(l, struct channel, link);
		next = l->next;
		if (c->outstanding > 0) {
			ares_process_fd(c->ares, ARES_SOCKET_BAD, ARES_SOCKET_BAD);
		}
		bool idle = now - c->used_ms >= TCP_IDLE_MS;
		if (c->outstanding == 0 && (c->draining || idle)) {
			close_channel(c);
		} else {
			busy = true;
		}
	}
	if (busy) {
		start_tick(u);
	}
}

/* Servers come and go. */

/* Nothing new goes through what is open towards a server. */
static void leave_server(struct upstream *u, unsigned server)
{
	for (struct link *l = u->channels.next; l != &u->channels; l = l->next) {
		struct channel *c = link_entry(l, struct channel, link);
		if (c->server == server) {
			drain_channel(c);
		}
	}
	ports_retire(u->ports, server);
}

void upstream_retire_server(struct upstream *upstream, unsigned server)
{
	leave_server(upstream, server);
	start_tick(upstream);
}

/* Questions that began before the last one went may have opened something since. */
void upstream_set_server(struct upstream *upstream, unsigned server, const struct endpoint *at)
{
	leave_server(upstream, server);
	upstream->server[server] = *at;
}

/* Opening and closing. */

static int allocate(struct upstream *u, const struct conf *conf)
{
	size_t count = (size_t)conf->transactions_max * ATTEMPTS_PER_TRANSACTION;
	int error = attempts_init(&u->attempts, count, &u->entropy);
	u->tell = event_new(u->base, -1, 0, tell_ended, u);
	if (error == 0) {
		error = u->tell ? tick_open(&u->tick, u->base, on_tick, u) : -ENOMEM;
	}
	return error;
}

int upstream_open(struct upstream **upstream, struct event_base *base, const struct conf *conf,
	struct stats *stats, upstream_done *done, upstream_heard *heard, void *ctx)
{
	struct upstream *u = calloc(1, sizeof(*u));
	if (!u) {
		return -ENOMEM;
	}
	u->base = base;
	u->stats = stats;
	u->done = done;
	u->heard = heard;
	u->ctx = ctx;
	u->mark = conf->mark;
	u->ares_timeout_ms = (int)conf->forward_timeout_ms + ARES_TIMEOUT_EXTRA_MS;
	link_init(&u->channels);
	link_init(&u->ended);
	int error = allocate(u, conf);
	if (error == 0) {
		error = ports_open(
			&u->ports, base, u->server, u->mark, &u->entropy, on_message, on_broken, u);
	}
	if (error != 0) {
		upstream_close(u);
		return error;
	}
	*upstream = u;
	return 0;
}

void upstream_close(struct upstream *upstream)
{
	struct upstream *u = upstream;
	if (!u) {
		return;
	}
	while (!link_empty(&u->channels)) {
		close_channel(link_entry(u->channels.next, struct channel, link));
	}
	ports_close(u->ports);
	tick_close(u->tick);
	if (u->tell) {
		event_free(u->tell);
	}
	attempts_free(&u->attempts);
	free(u);
}
