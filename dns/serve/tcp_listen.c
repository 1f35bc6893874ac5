/* SPDX-License-Identifier: Apache-2.0
 *
 * Where connections come from: the listeners, and which connection gives way where there are too
 * many. Owns the listeners.
 */
#include "dns/serve/tcp_inside.h"

#include "dns/admin/stats.h"

#include <errno.h>
#include <event2/listener.h>
#include <netinet/tcp.h>
#include <string.h>
#include <unistd.h>

enum { BACKLOG = 256 };

/* Listening, on and off */

static void pause_listening(struct tcp *t)
{
	for (unsigned i = 0; i < t->listeners; i++) {
		(void)evconnlistener_disable(t->listener[i].event);
	}
	t->paused = true;
}

void tcp_resume_listening(struct tcp *t)
{
	for (unsigned i = 0; i < t->listeners; i++) {
		(void)evconnlistener_enable(t->listener[i].event);
	}
	t->paused = false;
}

/* Accepting */

static bool same_address(const struct endpoint *a, const struct endpoint *b)
{
	if (a->sa.sa_family != b->sa.sa_family) {
		return false;
	}
	return a->sa.sa_family == AF_INET ? a->in.sin_addr.s_addr == b->in.sin_addr.s_addr
					  : memcmp(&a->in6.sin6_addr, &b->in6.sin6_addr,
						    sizeof(a->in6.sin6_addr)) == 0;
}

/** The one of two connections, either may be NULL, that is to make room for a new one. */
static struct connection *idler(struct connection *one, struct connection *other)
{
	if (other->waiting > 0 || other->held || tcp_unsent(other) > 0) {
		return one;
	}
	return !one || other->active_ms < one->active_ms ? other : one;
}

/**
 * A slot for a new connection of `peer`. Where it, or all together, have their share, the one that
 * is idle for the longest time makes room (RFC 7766 §6.2.3); NULL where none is idle.
 */
static struct connection *find_slot(struct tcp *t, const struct endpoint *peer)
{
	struct connection *slot = NULL, *idle = NULL, *idle_of_peer = NULL;
	uint32_t of_peer = 0;
	for (uint32_t i = 0; i < t->conf->tcp_connections_max; i++) {
		struct connection *c = &t->connection[i];
		if (!c->bev) {
			slot = slot ? slot : c;
			continue;
		}
		idle = idler(idle, c);
		if (same_address(&c->peer, peer)) {
			idle_of_peer = idler(idle_of_peer, c);
			of_peer++;
		}
	}
	if (of_peer < t->conf->tcp_connections_peer_max && slot) {
		return slot;
	}
	slot = of_peer < t->conf->tcp_connections_peer_max ? idle : idle_of_peer;
	stats_add(t->stats, STAT_DROP_TCP_LIMIT, 1);
	if (slot) {
		tcp_connection_close(slot);
	}
	return slot;
}

static void on_accept(struct evconnlistener *listener, evutil_socket_t fd, struct sockaddr *sa,
	int len, void *arg)
{
	const struct listener *l = arg;
	struct tcp *t = l->tcp;
	struct endpoint peer = {.len = (socklen_t)len};
	int on = 1;
	(void)listener;
	memcpy(&peer.in6, sa, (size_t)len < sizeof(peer.in6) ? (size_t)len : sizeof(peer.in6));
	struct connection *c = find_slot(t, &peer);
	if (!c) {
		close(fd);
		return;
	}
	(void)setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof(on));
	if (tcp_connection_open(c, fd, &peer, l->elsewhere) != 0) {
		stats_add(t->stats, STAT_DROP_TCP_LIMIT, 1);
		return;
	}
	tcp_start_ticking(t);
}

/** accept failed: without descriptors or memory, wait for the tick or for a connection to close. */
static void on_accept_error(struct evconnlistener *listener, void *arg)
{
	struct tcp *t = ((const struct listener *)arg)->tcp;
	int error = EVUTIL_SOCKET_ERROR();
	(void)listener;
	if (error == EMFILE || error == ENFILE || error == ENOBUFS || error == ENOMEM) {
		pause_listening(t);
		tcp_start_ticking(t);
	}
}

/* Listeners */

static bool set_on(int fd, int level, int name)
{
	const int on = 1;
	return setsockopt(fd, level, name, &on, sizeof(on)) == 0;
}

static int bind_socket(int fd, const struct endpoint *at, bool inside)
{
	bool done =
		set_on(fd, SOL_SOCKET, SO_REUSEADDR) && set_on(fd, SOL_SOCKET, SO_REUSEPORT) &&
		(at->sa.sa_family != AF_INET6 || set_on(fd, IPPROTO_IPV6, IPV6_V6ONLY)) &&
		(!inside || setsockopt(fd, SOL_SOCKET, SO_BINDTODEVICE, "lo", sizeof("lo")) == 0) &&
		bind(fd, &at->sa, at->len) == 0;
	return done ? 0 : -errno;
}

/** evconnlistener_new_bind would do, but that it ties nothing to an interface. */
static int add_listener(struct tcp *t, int fd, bool elsewhere)
{
	struct listener *l = &t->listener[t->listeners];
	*l = (struct listener){.tcp = t, .elsewhere = elsewhere};
	errno = 0;
	l->event = evconnlistener_new(t->base, on_accept, l, LEV_OPT_CLOSE_ON_FREE, BACKLOG, fd);
	if (!l->event) {
		return errno != 0 ? -errno : -ENOMEM;
	}
	evconnlistener_set_error_cb(l->event, on_accept_error);
	t->listeners++;
	return 0;
}

int tcp_listen(struct tcp *tcp, const struct endpoint *at, unsigned how)
{
	if (tcp->listeners == TCP_LISTENERS_MAX) {
		return -EMFILE;
	}
	int fd = socket(at->sa.sa_family, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
	if (fd < 0) {
		return -errno;
	}
	int r = bind_socket(fd, at, (how & LISTEN_INSIDE) != 0);
	if (r == 0) {
		r = add_listener(tcp, fd, (how & LISTEN_ELSEWHERE) != 0);
	}
	if (r != 0) {
		close(fd);
	}
	return r;
}

void tcp_close_listeners(struct tcp *t)
{
	while (t->listeners > 0) {
		evconnlistener_free(t->listener[--t->listeners].event);
	}
}
