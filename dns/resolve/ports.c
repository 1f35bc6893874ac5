/* SPDX-License-Identifier: Apache-2.0
 *
 * The pool of UDP sockets: choosing, opening, retiring, receiving. What a datagram means, and
 * whether it was expected, the user decides.
 */
#include "dns/resolve/ports.h"

#include "conf/log.h"

#include <errno.h>
#include <event2/event.h>
#include <netinet/tcp.h>
#include <stdlib.h>
#include <unistd.h>

enum {
	BATCH = 8,
	TELL_EACH_MS = 1000, /* want of ports is logged so often at most */
	DATAGRAM_MAX = 65535 /* nothing is cut, however large a server's idea of UDP is */
};

struct ports {
	struct event_base *base;
	struct entropy *entropy;
	const struct endpoint *servers;
	uint32_t mark;
	ports_message *message;
	ports_broken *broken;
	void *ctx;
	struct link all;
	unsigned open;
	int64_t told_ms; /* when the log last had that there is no new port */
	struct port *slot[PORTS_SERVERS_MAX][PORTS_PER_SERVER];
	uint8_t *buffers; /* BATCH of DATAGRAM_MAX octets */
};

static void set_mark(int fd, uint32_t mark)
{
	static _Atomic bool told;
	if (mark == 0 || setsockopt(fd, SOL_SOCKET, SO_MARK, &mark, sizeof(mark)) == 0) {
		return;
	}
	/* Without redirection nothing depends on the mark, so this is no reason to fail; with it,
	 * the operator has to know why queries come back to us. */
	if (!told) {
		told = true;
		log_error("SO_MARK 0x%x: %s (CAP_NET_ADMIN is missing): queries to name servers "
			  "would be redirected to this program",
			mark, strerror(errno));
	}
}

/* RFC 9715 §3.1: no fragments. PROBE sets DF and ignores what ICMP says about the path's MTU, which
 * anybody can forge; our queries are far smaller than any MTU. */
static void set_dont_fragment(int fd, int family)
{
	int probe = IP_PMTUDISC_PROBE;
	int probe6 = IPV6_PMTUDISC_PROBE;
	if (family == AF_INET) {
		(void)setsockopt(fd, IPPROTO_IP, IP_MTU_DISCOVER, &probe, sizeof(probe));
	} else {
		(void)setsockopt(fd, IPPROTO_IPV6, IPV6_MTU_DISCOVER, &probe6, sizeof(probe6));
	}
}

int server_socket(const struct endpoint *server, int type, uint32_t mark)
{
	int family = server->sa.sa_family;
	int fd = socket(family, type | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
	if (fd < 0) {
		return -errno;
	}
	set_mark(fd, mark);
	if (type == SOCK_DGRAM) {
		set_dont_fragment(fd, family);
	} else {
		int on = 1;
		(void)setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof(on));
	}
	return fd;
}

static void close_port(struct port *port)
{
	link_remove(&port->link);
	port->pool->open--;
	event_free(port->event);
	close(port->fd);
	free(port);
}

void port_retire(struct port *port)
{
	if (!port->retired) {
		port->retired = true;
		port->pool->slot[port->server][port->slot] = NULL;
	}
}

void port_retire_late(struct port *port)
{
	port_retire(port);
	port->late = true;
}

void port_release(struct port *port)
{
	if (port->retired && !port->late && !port->busy && link_empty(&port->outstanding)) {
		close_port(port);
	}
}

static void break_port(struct port *port, int error)
{
	port_retire(port);
	port->late = false;
	port->pool->broken(port->pool->ctx, port, error);
}

static void hand_out(struct port *port, struct mmsghdr *messages, int count)
{
	struct ports *p = port->pool;
	for (int i = 0; i < count; i++) {
		p->message(p->ctx, port,
			(struct span){.data = messages[i].msg_hdr.msg_iov->iov_base,
				.len = messages[i].msg_len});
	}
}

static void port_readable(evutil_socket_t fd, short what, void *arg)
{
	(void)what;
	struct port *port = arg;
	struct iovec iov[BATCH];
	struct mmsghdr messages[BATCH];
	memset(messages, 0, sizeof(messages));
	for (size_t i = 0; i < BATCH; i++) {
		iov[i] = (struct iovec){.iov_base = port->pool->buffers + i * DATAGRAM_MAX,
			.iov_len = DATAGRAM_MAX};
		messages[i].msg_hdr.msg_iov = &iov[i];
		messages[i].msg_hdr.msg_iovlen = 1;
	}
	port->busy = true;
	int count = recvmmsg((int)fd, messages, BATCH, MSG_DONTWAIT, NULL);
	if (count >= 0) {
		hand_out(port, messages, count);
	} else if (errno != EAGAIN && errno != EINTR) {
		/* ICMP, which the kernel has matched to this very socket. */
		break_port(port, errno);
	}
	port->busy = false;
	port_release(port);
}

/* The kernel chooses the port at random while it connects. */
static int open_port(struct ports *p, unsigned server, uint16_t slot)
{
	const struct endpoint *to = &p->servers[server];
	struct port *port = calloc(1, sizeof(*port));
	int fd = p->open < PORTS_MAX ? server_socket(to, SOCK_DGRAM, p->mark) : -EMFILE;
	int error = port ? fd : -ENOMEM;
	if (!port || fd < 0) {
		goto fail;
	}
	if (connect(fd, &to->sa, to->len) != 0) {
		error = -errno;
		goto fail;
	}
	error = -ENOMEM;
	port->event = event_new(p->base, fd, EV_READ | EV_PERSIST, port_readable, port);
	if (!port->event || event_add(port->event, NULL) != 0) {
		goto fail;
	}
	port->pool = p;
	port->fd = fd;
	port->server = (uint8_t)server;
	port->slot = slot;
	link_init(&port->outstanding);
	link_init(&port->link);
	link_append(&p->all, &port->link);
	p->open++;
	p->slot[server][slot] = port;
	return 0;
fail:
	if (port && port->event) {
		event_free(port->event);
	}
	free(port);
	if (fd >= 0) {
		close(fd);
	}
	return error;
}

static void tell_want(struct ports *p, unsigned server, int error, int64_t now_ms)
{
	if (p->told_ms == 0 || now_ms - p->told_ms >= TELL_EACH_MS) {
		p->told_ms = now_ms;
		log_warning("no new port towards name server %u: %s", server + 1, strerror(-error));
	}
}

/* The next open port of the pool; NULL where there is none. */
static struct port *next_open(const struct ports *p, unsigned server, unsigned slot)
{
	for (unsigned i = 0; i < PORTS_PER_SERVER; i++) {
		struct port *port = p->slot[server][(slot + i) % PORTS_PER_SERVER];
		if (port) {
			return port;
		}
	}
	return NULL;
}

/* Close the oldest port that nothing is outstanding on. @return whether there was one */
static bool take_back(struct ports *p)
{
	for (struct link *l = p->all.next; l != &p->all; l = l->next) {
		struct port *port = link_entry(l, struct port, link);
		if (!port->busy && link_empty(&port->outstanding)) {
			port_retire(port);
			close_port(port);
			return true;
		}
	}
	return false;
}

/* A random slot of the pool; where it is empty and cannot be filled (ports or descriptors are used
 * up), the next one that is not; and where there is none, other servers have had them all. */
static int choose(struct ports *p, unsigned server, int64_t now_ms, struct port **port)
{
	uint16_t slot = entropy_u16(p->entropy) % PORTS_PER_SERVER;
	int error = 0;
	if (!p->slot[server][slot]) {
		error = open_port(p, server, slot);
	}
	if (error != 0) {
		tell_want(p, server, error, now_ms);
	}
	struct port *found = next_open(p, server, slot);
	if (!found && error == -EMFILE && take_back(p)) {
		error = open_port(p, server, slot);
		found = p->slot[server][slot];
	}
	if (!found) {
		return error != 0 ? error : -EMFILE;
	}
	*port = found;
	return 0;
}

/* Whether it is want of memory or a full queue that kept one datagram from being sent. Other errors
 * may be what an earlier one met on its way. */
static bool is_want(int error)
{
	return error == EAGAIN || error == ENOBUFS || error == ENOMEM;
}

static int send_once(
	struct ports *p, unsigned server, struct span message, int64_t now_ms, struct port **port)
{
	struct port *chosen = NULL;
	int error = choose(p, server, now_ms, &chosen);
	if (error != 0) {
		return error;
	}
	*port = chosen;
	if (send(chosen->fd, message.data, message.len, MSG_DONTWAIT | MSG_NOSIGNAL) < 0) {
		error = -errno;
		if (is_want(-error)) {
			port_retire(chosen); /* others may still get their answers through it */
		} else {
			break_port(chosen, -error);
		}
		port_release(chosen);
		return error;
	}
	chosen->used_ms = now_ms;
	if (++chosen->uses >= PORT_USES_MAX) {
		port_retire(chosen);
	}
	return 0;
}

int ports_send(struct ports *ports, unsigned server, struct span message, int64_t now_ms,
	struct port **port)
{
	int error = send_once(ports, server, message, now_ms, port);
	if (error == -ECONNREFUSED) {
		/* That was the answer to an earlier datagram; this one was not sent. */
		error = send_once(ports, server, message, now_ms, port);
	}
	return error;
}

void ports_retire(struct ports *ports, unsigned server)
{
	for (unsigned slot = 0; slot < PORTS_PER_SERVER; slot++) {
		if (ports->slot[server][slot]) {
			port_retire(ports->slot[server][slot]);
		}
	}
}

bool ports_reap(struct ports *ports, int64_t now_ms)
{
	struct link *next;
	for (struct link *l = ports->all.next; l != &ports->all; l = next) {
		struct port *port = link_entry(l, struct port, link);
		next = l->next;
		if (now_ms - port->used_ms >= (port->late ? PORT_LATE_MS : PORT_IDLE_MS)) {
			port_retire(port);
			port->late = false;
		}
		port_release(port);
	}
	return !link_empty(&ports->all);
}

int ports_open(struct ports **ports, struct event_base *base, const struct endpoint *servers,
	uint32_t mark, struct entropy *entropy, ports_message *message, ports_broken *broken,
	void *ctx)
{
	struct ports *p = calloc(1, sizeof(*p));
	if (!p) {
		return -ENOMEM;
	}
	p->base = base;
	p->servers = servers;
	p->mark = mark;
	p->entropy = entropy;
	p->message = message;
	p->broken = broken;
	p->ctx = ctx;
	link_init(&p->all);
	p->buffers = malloc((size_t)BATCH * DATAGRAM_MAX);
	if (!p->buffers) {
		free(p);
		return -ENOMEM;
	}
	*ports = p;
	return 0;
}

void ports_close(struct ports *ports)
{
	if (!ports) {
		return;
	}
	while (!link_empty(&ports->all)) {
		close_port(link_entry(ports->all.next, struct port, link));
	}
	free(ports->buffers);
	free(ports);
}
