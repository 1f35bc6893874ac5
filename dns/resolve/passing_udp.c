/* SPDX-License-Identifier: Apache-2.0
 *
 * Flows of datagrams that are passed on. A flow has a socket of its own, so that the kernel picks a
 * source port that nobody else has, and hands us what comes from that very server alone.
 */
#include "conf/clock.h"
#include "conf/tick.h"
#include "dns/resolve/list.h"
#include "dns/resolve/passing.h"
#include "dns/resolve/ports.h"
#include "dns/wire/response.h"

#include <errno.h>
#include <event2/event.h>
#include <event2/event_struct.h>
#include <stdlib.h>
#include <sys/socket.h>
#include <unistd.h>

enum {
	HEADS = 1024, /* a power of two */
	TICK_MS = 1000,
	DATAGRAM_MAX = 65535,
	ERROR_MAX = 512
};

struct flow {
	struct passing_udp *passing;
	struct link by_age; /* among all, the one that was used last at the end */
	struct flow *next;  /* of the same head */
	struct event readable;
	struct requestor from;
	struct endpoint server;
	int fd;
	unsigned owed; /* answers */
	int64_t used_ms;
	uint16_t question_len; /* of the last query; 0: it has none that we could read */
	uint8_t question[HEADER_LEN + DNAME_MAX + 4];
};

struct passing_udp {
	struct event_base *base;
	struct tick *tick; /* running only while there are flows */
	forward_reply *reply;
	void *ctx;
	uint32_t mark;
	unsigned count;
	unsigned most;
	struct link by_age;
	struct flow *head[HEADS];
	uint8_t answer[DATAGRAM_MAX];
};

/* Finding */

static unsigned head_of(const struct requestor *from)
{
	return endpoint_port(&from->peer) & (HEADS - 1);
}

/** With eBPF our own address says which server was asked. */
static bool same_local(const struct endpoint *a, const struct endpoint *b)
{
	return a->len == b->len && (a->len == 0 || endpoint_equal(a, b));
}

static bool is_of(const struct flow *f, const struct requestor *from)
{
	return f->from.slot == from->slot && endpoint_equal(&f->from.peer, &from->peer) &&
	       same_local(&f->from.local, &from->local);
}

static struct flow *find(const struct passing_udp *p, const struct requestor *from)
{
	struct flow *f = p->head[head_of(from)];
	while (f && !is_of(f, from)) {
		f = f->next;
	}
	return f;
}

/* A flow's life */

static void close_flow(struct flow *f)
{
	struct passing_udp *p = f->passing;
	struct flow **at = &p->head[head_of(&f->from)];
	while (*at != f) {
		at = &(*at)->next;
	}
	*at = f->next;
	link_remove(&f->by_age);
	p->count--;
	(void)event_del(&f->readable);
	close(f->fd);
	free(f);
}

static struct flow *oldest(const struct passing_udp *p)
{
	return link_entry(p->by_age.next, struct flow, by_age);
}

static void use(struct flow *f)
{
	f->used_ms = clock_ms();
	link_remove(&f->by_age);
	link_append(&f->passing->by_age, &f->by_age);
}

static void start_ticking(struct passing_udp *p)
{
	if (p->count > 0 && !tick_is_running(p->tick)) {
		tick_start(p->tick, TICK_MS);
	}
}

static void on_tick(void *ctx)
{
	struct passing_udp *p = ctx;
	int64_t now = clock_ms();
	struct link *next;
	for (struct link *l = p->by_age.next; l != &p->by_age; l = next) {
		struct flow *f = link_entry(l, struct flow, by_age);
		int64_t limit = f->owed > 0 ? PASSING_IDLE_MS : PASSING_ANSWERED_MS;
		next = l->next;
		if (now - f->used_ms >= limit) {
			close_flow(f);
		}
	}
	start_ticking(p);
}

/* Coming back */

/** Nobody is there: the requestor is told, where the host of the server would have told it. */
static void reply_unreachable(const struct flow *f)
{
	const struct passing_udp *p = f->passing;
	uint8_t octets[ERROR_MAX];
	struct writer w = {.data = octets, .size = sizeof(octets)};
	struct query q;
	if (f->question_len == 0 ||
		query_parse(&q, (struct span){f->question, f->question_len}) != 0) {
		return;
	}
	struct requestor to = f->from;
	(void)response_error_with(&q, (struct span){0}, &w, sizeof(octets), RCODE_SERVFAIL,
		EDE_NO_REACHABLE_AUTHORITY);
	p->reply(p->ctx, &to, (struct span){octets, w.len});
}

static void on_readable(evutil_socket_t fd, short what, void *arg)
{
	struct flow *f = arg;
	struct passing_udp *p = f->passing;
	(void)what;
	ssize_t n = recv(fd, p->answer, sizeof(p->answer), MSG_DONTWAIT);
	if (n >= HEADER_LEN) {
		struct requestor to = f->from;
		f->owed -= f->owed > 0;
		f->used_ms = clock_ms();
		p->reply(p->ctx, &to, (struct span){p->answer, (size_t)n});
	} else if (n < 0 && errno != EAGAIN && errno != EINTR) {
		if (f->owed > 0) {
			f->owed = 0;
			reply_unreachable(f);
		}
	}
}

/* Going on */

/** As the requestor's own socket would: its message may be larger than the path takes. */
static void allow_fragments(int fd, int family)
{
	const int want = IP_PMTUDISC_WANT;
	const int want6 = IPV6_PMTUDISC_WANT;
	if (family == AF_INET) {
		(void)setsockopt(fd, IPPROTO_IP, IP_MTU_DISCOVER, &want, sizeof(want));
	} else {
		(void)setsockopt(fd, IPPROTO_IPV6, IPV6_MTU_DISCOVER, &want6, sizeof(want6));
	}
}

static int connect_socket(const struct passing_udp *p, const struct endpoint *server)
{
	int fd = server_socket(server, SOCK_DGRAM, p->mark);
	if (fd >= 0) {
		allow_fragments(fd, server->sa.sa_family);
	}
	if (fd >= 0 && connect(fd, &server->sa, server->len) != 0) {
		int error = errno;
		close(fd);
		fd = -error;
	}
	return fd;
}

static struct flow *open_flow(
	struct passing_udp *p, const struct requestor *from, const struct endpoint *server)
{
	if (p->count == p->most) {
		close_flow(oldest(p));
	}
	int fd = connect_socket(p, server);
	if ((fd == -EMFILE || fd == -ENFILE) && p->count > 0) {
		close_flow(oldest(p));
		fd = connect_socket(p, server);
	}
	if (fd < 0) {
		errno = -fd;
		return NULL;
	}
	struct flow *f = calloc(1, sizeof(*f));
	if (!f || event_assign(&f->readable, p->base, fd, EV_READ | EV_PERSIST, on_readable, f) ||
		event_add(&f->readable, NULL) != 0) {
		close(fd);
		free(f);
		errno = ENOMEM;
		return NULL;
	}
	f->passing = p;
	f->from = *from;
	f->server = *server;
	f->fd = fd;
	f->next = p->head[head_of(from)];
	p->head[head_of(from)] = f;
	link_append(&p->by_age, &f->by_age);
	p->count++;
	start_ticking(p);
	return f;
}

/** Header and question, for reply_unreachable. */
static void keep_question(struct flow *f, struct span message)
{
	struct query q;
	f->question_len = 0;
	if (query_parse(&q, message) == 0 && q.question.len > 0) {
		f->question_len = (uint16_t)(HEADER_LEN + q.question.len);
		memcpy(f->question, message.data, f->question_len);
		memset(f->question + 6, 0, 6); /* no records follow */
	}
}

const struct endpoint *passing_udp_server(
	const struct passing_udp *passing, const struct requestor *from)
{
	const struct flow *f = find(passing, from);
	return f && f->owed > 0 ? &f->server : NULL;
}

int passing_udp_send(struct passing_udp *passing, struct span message, const struct requestor *from,
	const struct endpoint *server)
{
	struct flow *f = find(passing, from);
	struct endpoint to = *server; /* it may be the flow's own */
	if (f && !endpoint_equal(&f->server, &to)) {
		close_flow(f); /* the requestor's port was given to another flow */
		f = NULL;
	}
	if (!f) {
		f = open_flow(passing, from, &to);
	}
	if (!f) {
		return -errno;
	}
	use(f);
	/* A pending error is another query's; the second send is this one's. */
	if (send(f->fd, message.data, message.len, MSG_DONTWAIT) < 0 &&
		send(f->fd, message.data, message.len, MSG_DONTWAIT) < 0) {
		return -errno;
	}
	f->owed++;
	keep_question(f, message);
	return 0;
}

/* The whole */

int passing_udp_open(struct passing_udp **passing, struct event_base *base, uint32_t mark,
	unsigned flows, forward_reply *reply, void *ctx)
{
	struct passing_udp *p = calloc(1, sizeof(*p));
	if (!p) {
		return -ENOMEM;
	}
	p->base = base;
	p->mark = mark;
	p->most = flows < 1 ? 1 : flows > PASSING_FLOWS_MAX ? PASSING_FLOWS_MAX : flows;
	p->reply = reply;
	p->ctx = ctx;
	link_init(&p->by_age);
	int error = tick_open(&p->tick, base, on_tick, p);
	if (error != 0) {
		free(p);
		return error;
	}
	*passing = p;
	return 0;
}

void passing_udp_close(struct passing_udp *passing)
{
	if (!passing) {
		return;
	}
	while (passing->count > 0) {
		close_flow(oldest(passing));
	}
	tick_close(passing->tick);
	free(passing);
}
