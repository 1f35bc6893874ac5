/* SPDX-License-Identifier: Apache-2.0
 *
 * Datagrams in batches: one recvmmsg, the answers composed straight into the slots of one sendmmsg,
 * or of one sendto where there is one. Owns the sockets and buffers; headers and vectors are laid
 * out once, and a batch touches only what changes. No allocation of ours after udp_listen, no other
 * system call on the way of an answer.
 */
#include "dns/serve/udp.h"

#include "conf/clock.h"
#include "conf/conf.h"
#include "dns/admin/stats.h"

#include <errno.h>
#include <event2/event.h>
#include <linux/sock_diag.h>
#include <netinet/ip.h>
#include <stdlib.h>
#include <sys/socket.h>
#include <unistd.h>

#ifndef SO_MEMINFO
#define SO_MEMINFO                                                                                 \
	55 /* absent from older libc headers; the same on every architecture we run on             \
	    */
#endif

enum {
	ROUNDS = 4,              /* batches in one turn: then TCP and the upstreams have theirs */
	BUFFER_OCTETS = 1 << 20, /* of the kernel, each way: a full batch of the largest fits */
	/* Full batches in a row that are more than the kernel's buffer, which has twice the room
	 * asked for, can have held of the smallest datagrams: what overflows after so many is no
	 * burst, nor what came while we had no time at all, but more than we can do. */
	STANDING = 2 * BUFFER_OCTETS / 768 / UDP_BATCH + 1,
	/* Slots a whole number of pages apart would all fall into the same few cache sets. */
	SLOT_STRIDE = UDP_SLOT_SIZE + 128,
	REPLIES = 32,     /* that are collected, before they are sent */
	REPLY_SIZE = 1280 /* octets of one of these: nearly all are smaller */
};

/** Room for the one control message that we use. */
struct control {
	_Alignas(struct cmsghdr) uint8_t octets[CMSG_SPACE(sizeof(struct in6_pktinfo))];
};

struct udp_socket {
	struct udp *udp;
	struct event *readable;
	struct event *again; /* due at once, where there is more than a turn's work */
	int fd;
	uint32_t index;
	unsigned full;     /* batches in a row */
	uint32_t lost;     /* in the kernel's full buffer, when that was looked at last */
	unsigned asked;    /* for the batch, of others */
	unsigned bearable; /* of these */
	bool elsewhere;
};

/** Replies to forwarded queries: answers come in together, from many ports, and leave together. */
struct replies {
	struct event *flush; /* active while there are any: the loop's next turn sends them */
	unsigned count;
	uint32_t socket; /* that they leave through */
	struct mmsghdr out[REPLIES];
	struct iovec octets[REPLIES];
	struct control control[REPLIES];
	struct endpoint peer[REPLIES];
	uint8_t slot[REPLIES][REPLY_SIZE];
};

struct udp {
	struct event_base *base;
	struct stats *stats;
	serve_message *serve;
	serve_expect *expect; /* NULL: nobody wants to know */
	void *ctx;
	unsigned count;
	struct udp_socket socket[UDP_SOCKETS_MAX];

	struct mmsghdr in[UDP_BATCH];
	struct mmsghdr out[UDP_BATCH];
	struct iovec in_octets[UDP_BATCH];
	struct iovec out_octets[UDP_BATCH];
	struct control in_control[UDP_BATCH];
	struct control out_control[UDP_BATCH];
	struct requestor from[UDP_BATCH];
	struct replies replies;
	unsigned canaries; /* among the answers to the batch */
	struct span message[UDP_BATCH];
	uint8_t in_slot[UDP_BATCH][SLOT_STRIDE];
	/* Answers to a batch, one behind the other: most are short, and few pages are touched. */
	uint8_t answers[UDP_BATCH * UDP_SLOT_SIZE];
};

/** The address that a datagram was sent to; `len` 0 where the socket does not tell. */
static struct endpoint address_asked(struct msghdr *header)
{
	struct endpoint e = {.len = 0};
	struct cmsghdr *c = CMSG_FIRSTHDR(header);
	if (!c) {
		return e;
	}
	if (c->cmsg_level == IPPROTO_IP && c->cmsg_type == IP_PKTINFO) {
		struct in_pktinfo info;
		memcpy(&info, CMSG_DATA(c), sizeof(info));
		e.in = (struct sockaddr_in){.sin_family = AF_INET, .sin_addr = info.ipi_spec_dst};
		e.len = sizeof(e.in);
	} else if (c->cmsg_level == IPPROTO_IPV6 && c->cmsg_type == IPV6_PKTINFO) {
		struct in6_pktinfo info;
		memcpy(&info, CMSG_DATA(c), sizeof(info));
		e.in6 = (struct sockaddr_in6){.sin6_family = AF_INET6,
			.sin6_addr = info.ipi6_addr,
			.sin6_scope_id = info.ipi6_ifindex};
		e.len = sizeof(e.in6);
	}
	return e;
}

static void control_put(struct msghdr *header, int level, int type, const void *data, size_t len)
{
	struct cmsghdr *c = header->msg_control;
	c->cmsg_level = level;
	c->cmsg_type = type;
	c->cmsg_len = CMSG_LEN(len);
	memcpy(CMSG_DATA(c), data, len);
	header->msg_controllen = CMSG_SPACE(len);
}

/** Make a datagram leave from `local`; `header` has room for the control message. */
static void send_from(struct msghdr *header, const struct endpoint *local)
{
	if (local->len == 0) {
		header->msg_controllen = 0;
	} else if (local->sa.sa_family == AF_INET) {
		struct in_pktinfo info = {.ipi_spec_dst = local->in.sin_addr};
		control_put(header, IPPROTO_IP, IP_PKTINFO, &info, sizeof(info));
	} else {
		/* RFC 3542 §6.2: the interface is only needed where the address alone means
		 * nothing; elsewhere routing decides, as it did for the query. */
		struct in6_pktinfo info = {.ipi6_addr = local->in6.sin6_addr};
		if (IN6_IS_ADDR_LINKLOCAL(&info.ipi6_addr)) {
			info.ipi6_ifindex = local->in6.sin6_scope_id;
		}
		control_put(header, IPPROTO_IPV6, IPV6_PKTINFO, &info, sizeof(info));
	}
}

/** What was received into slot `i`. */
static struct span message_received(const struct udp *u, unsigned i)
{
	size_t len = u->in[i].msg_len;
	if (u->in[i].msg_hdr.msg_flags & MSG_TRUNC) {
		/* No query that we would understand is so long. The header alone cannot be right
		 * with any QDCOUNT: RFC 1035 §4.1.1, it is owed FORMERR. */
		len = HEADER_LEN;
	}
	return (struct span){.data = u->in_slot[i], .len = len};
}

/** Who sent what is in slot `i`; its header is made ready for the next batch. */
static const struct requestor *requestor_received(const struct udp_socket *s, unsigned i)
{
	struct requestor *from = &s->udp->from[i];
	struct msghdr *header = &s->udp->in[i].msg_hdr;
	from->peer.len = header->msg_namelen;
	from->local = address_asked(header);
	from->slot = s->index;
	from->elsewhere = s->elsewhere;
	header->msg_namelen = sizeof(from->peer.in6);
	header->msg_controllen = sizeof(s->udp->in_control[i]);
	return from;
}

/** Tell who wants to know what will be served. */
static void announce(struct udp *u, unsigned received)
{
	for (unsigned i = 0; i < received; i++) {
		u->message[i] = message_received(u, i);
	}
	if (u->expect) {
		u->expect(u->ctx, u->message, received);
	}
}

/** Compose the answers to a batch. @return how many are the first of `out` */
static unsigned compose(struct udp_socket *s, unsigned received)
{
	struct udp *u = s->udp;
	unsigned ready = 0;
	uint8_t *end = u->answers;
	u->canaries = 0;
	s->asked = 0;
	announce(u, received);
	for (unsigned i = 0; i < received; i++) {
		const struct requestor *from = requestor_received(s, i);
		struct writer w = {.data = end, .size = UDP_SLOT_SIZE};
		enum verdict verdict = u->serve(u->ctx, u->message[i], from, &w);
		if (verdict != VERDICT_SEND && verdict != VERDICT_CANARY) {
			continue;
		}
		u->canaries += verdict == VERDICT_CANARY;
		struct msghdr *header = &u->out[ready].msg_hdr;
		header->msg_name = &u->from[i].peer;
		header->msg_namelen = from->peer.len;
		send_from(header, &from->local);
		u->out_octets[ready] = (struct iovec){.iov_base = end, .iov_len = w.len};
		end += w.len;
		ready++;
	}
	return ready;
}

/** As sendmmsg; an answer that goes alone, as most do, spares the kernel reading its headers. */
static int send_some(int fd, struct mmsghdr *out, unsigned count)
{
	const struct msghdr *first = &out->msg_hdr;
	if (count > 1 || first->msg_controllen > 0) {
		return sendmmsg(fd, out, count, MSG_DONTWAIT);
	}
	ssize_t n = sendto(fd, first->msg_iov->iov_base, first->msg_iov->iov_len, MSG_DONTWAIT,
		first->msg_name, first->msg_namelen);
	return n < 0 ? -1 : 1;
}

/**
 * Send the first `count` responses. One that the kernel refuses (a firewall, no route, a full
 * queue) is counted and passed over: the others are owed to other requestors.
 *
 * A full queue is not waited for. The send buffer takes a batch of the largest responses, so it is
 * the interface that is congested; waiting would delay every other requestor of this worker, and
 * the one concerned asks again.
 */
static void send_batch(const struct udp_socket *s, struct mmsghdr *out, unsigned count)
{
	unsigned done = 0;
	while (done < count) {
		int n = send_some(s->fd, out + done, count - done);
		if (n > 0) {
			done += (unsigned)n;
		} else if (errno != EINTR) {
			stats_add(s->udp->stats, STAT_DROP_SEND, 1);
			done++;
		}
	}
}

/** Datagrams that found no room in the buffer of a socket since it is there; wraps. */
static uint32_t lost_of(int fd)
{
	uint32_t info[SK_MEMINFO_VARS] = {0};
	socklen_t len = sizeof(info);
	return getsockopt(fd, SOL_SOCKET, SO_MEMINFO, info, &len) == 0 ? info[SK_MEMINFO_DROPS] : 0;
}

/** Whether the buffer overflowed since this was asked last. */
static bool has_lost(struct udp_socket *s)
{
	uint32_t before = s->lost;
	s->lost = lost_of(s->fd);
	return s->lost != before;
}

/**
 * More than we can do is lost anyway, in the kernel's full buffer: names of the mesh, which cost
 * little, as well as others, which cost several times as much. So of the others fewer are asked for
 * until nothing is lost any more: half as many each time, then more by and by.
 *
 * Full batches alone mean nothing: who has a window of them, or comes back from a pause (a
 * container's quota), makes them too, and loses nothing by waiting its turn.
 */
static void weigh(struct udp_socket *s, unsigned received)
{
	if (received < UDP_BATCH) {
		s->full = 0;
	} else if (++s->full % STANDING != 0) {
		return;
	} else if (has_lost(s)) {
		s->bearable -= s->full > STANDING ? s->bearable / 2 : 0; /* never none */
		return;
	}
	s->bearable += s->bearable < UDP_BATCH;
}

bool udp_may_forward(struct udp *udp, const struct requestor *from)
{
	struct udp_socket *s = &udp->socket[from->slot];
	return s->asked++ < s->bearable;
}

/**
 * Called once for what has come (EV_ET), not as long as there is some: else the loop looks at the
 * socket a second time before it waits, each time that a query comes alone. So there has to be
 * nothing left, or we have to call ourselves.
 */
static void udp_readable(evutil_socket_t fd, short what, void *arg)
{
	struct udp_socket *s = arg;
	struct udp *u = s->udp;
	(void)what;
	for (unsigned round = 0; round < ROUNDS; round++) {
		int received = recvmmsg(fd, u->in, UDP_BATCH, MSG_DONTWAIT, NULL);
		bool empty = received < 0 && errno == EAGAIN;
		weigh(s, received > 0 ? (unsigned)received : 0);
		if (empty) {
			return;
		}
		if (received <= 0) {
			continue; /* not for long: this says nothing of what is behind it */
		}
		int64_t begin = clock_ns();
		unsigned ready = compose(s, (unsigned)received);
		if (ready > 0) {
			send_batch(s, u->out, ready);
			histogram_add(&u->stats->request, (uint64_t)(clock_ns() - begin),
				ready - u->canaries);
		}
		if (received < UDP_BATCH) {
			return; /* that was all */
		}
	}
	/* Others have their turn first; unless there is no memory for that. */
	if (event_add(s->again, &(struct timeval){0}) != 0) {
		event_active(s->again, EV_TIMEOUT, 0);
	}
}

static void on_again(evutil_socket_t fd, short what, void *arg)
{
	struct udp_socket *s = arg;
	(void)fd;
	udp_readable(s->fd, what, s);
}

/** Lay out what never changes from batch to batch. */
static void lay_out(struct udp *u)
{
	for (unsigned i = 0; i < UDP_BATCH; i++) {
		u->in_octets[i] =
			(struct iovec){.iov_base = u->in_slot[i], .iov_len = UDP_SLOT_SIZE};
		u->in[i].msg_hdr = (struct msghdr){.msg_name = &u->from[i].peer,
			.msg_namelen = sizeof(u->from[i].peer.in6),
			.msg_iov = &u->in_octets[i],
			.msg_iovlen = 1,
			.msg_control = &u->in_control[i],
			.msg_controllen = sizeof(u->in_control[i])};
		u->out[i].msg_hdr = (struct msghdr){.msg_iov = &u->out_octets[i],
			.msg_iovlen = 1,
			.msg_control = &u->out_control[i]};
	}
	for (unsigned i = 0; i < REPLIES; i++) {
		struct replies *r = &u->replies;
		r->octets[i].iov_base = r->slot[i];
		r->out[i].msg_hdr = (struct msghdr){.msg_name = &r->peer[i],
			.msg_iov = &r->octets[i],
			.msg_iovlen = 1,
			.msg_control = &r->control[i]};
	}
}

static void flush_replies(struct udp *u)
{
	unsigned count = u->replies.count;
	u->replies.count = 0;
	if (count > 0) {
		send_batch(&u->socket[u->replies.socket], u->replies.out, count);
	}
}

static void on_flush(evutil_socket_t fd, short what, void *arg)
{
	(void)fd, (void)what;
	flush_replies(arg);
}

int udp_open(struct udp **udp, struct event_base *base, struct stats *stats, serve_message *serve,
	void *ctx)
{
	struct udp *u = calloc(1, sizeof(*u)); /* pages of slots that are never used stay unborn */
	if (!u) {
		return -ENOMEM;
	}
	u->base = base;
	u->stats = stats;
	u->serve = serve;
	u->ctx = ctx;
	lay_out(u);
	u->replies.flush = event_new(base, -1, 0, on_flush, u);
	if (!u->replies.flush) {
		free(u);
		return -ENOMEM;
	}
	*udp = u;
	return 0;
}

void udp_set_expect(struct udp *udp, serve_expect *expect)
{
	udp->expect = expect;
}

static int set_int(int fd, int level, int name, int value)
{
	return setsockopt(fd, level, name, &value, sizeof(value));
}

/** Sizes, and no fragmentation by what strangers claim about the path; best effort. */
static void tune(int fd, int family)
{
	if (set_int(fd, SOL_SOCKET, SO_RCVBUFFORCE, BUFFER_OCTETS) != 0) {
		(void)set_int(fd, SOL_SOCKET, SO_RCVBUF, BUFFER_OCTETS);
	}
	if (set_int(fd, SOL_SOCKET, SO_SNDBUFFORCE, BUFFER_OCTETS) != 0) {
		(void)set_int(fd, SOL_SOCKET, SO_SNDBUF, BUFFER_OCTETS);
	}
	/* A forged "fragmentation needed" must not shrink what we send to somebody. */
	if (family == AF_INET) {
		(void)set_int(fd, IPPROTO_IP, IP_MTU_DISCOVER, IP_PMTUDISC_OMIT);
	} else {
		(void)set_int(fd, IPPROTO_IPV6, IPV6_MTU_DISCOVER, IPV6_PMTUDISC_OMIT);
	}
}

static bool is_wildcard(const struct endpoint *e)
{
	return e->sa.sa_family == AF_INET ? e->in.sin_addr.s_addr == htonl(INADDR_ANY)
					  : IN6_IS_ADDR_UNSPECIFIED(&e->in6.sin6_addr);
}

/** Ask the kernel for the address each datagram was sent to. */
static int want_address_asked(int fd, int family)
{
	return family == AF_INET ? set_int(fd, IPPROTO_IP, IP_PKTINFO, 1)
				 : set_int(fd, IPPROTO_IPV6, IPV6_RECVPKTINFO, 1);
}

/** Answers may leave from any address of loopback, also from one that is not configured. */
static bool tie_to_loopback(int fd, int family)
{
	return setsockopt(fd, SOL_SOCKET, SO_BINDTODEVICE, "lo", sizeof("lo")) == 0 &&
	       (family == AF_INET || set_int(fd, IPPROTO_IPV6, IPV6_FREEBIND, 1) == 0);
}

static int bind_socket(int fd, struct endpoint *at, bool inside)
{
	int family = at->sa.sa_family;
	bool v6 = family == AF_INET6;
	if (set_int(fd, SOL_SOCKET, SO_REUSEPORT, 1) != 0 ||
		(inside && !tie_to_loopback(fd, family)) ||
		(v6 && set_int(fd, IPPROTO_IPV6, IPV6_V6ONLY, 1) != 0) ||
		(is_wildcard(at) && want_address_asked(fd, family) != 0) ||
		bind(fd, &at->sa, at->len) != 0 || getsockname(fd, &at->sa, &at->len) != 0) {
		return -errno;
	}
	tune(fd, family);
	return 0;
}

/** Bind a new socket. @param[out] fd  ours to close, where 0 is returned */
static int open_socket(int *fd, struct endpoint *at, bool inside)
{
	*fd = socket(at->sa.sa_family, SOCK_DGRAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
	if (*fd < 0) {
		return -errno;
	}
	int r = bind_socket(*fd, at, inside);
	if (r != 0) {
		close(*fd);
	}
	return r;
}

static void forget(struct event *event)
{
	if (event) {
		event_free(event);
	}
}

int udp_listen(struct udp *udp, struct endpoint *at, unsigned how)
{
	if (udp->count == UDP_SOCKETS_MAX) {
		return -EMFILE;
	}
	struct udp_socket *s = &udp->socket[udp->count];
	int r = open_socket(&s->fd, at, (how & LISTEN_INSIDE) != 0);
	if (r != 0) {
		return r;
	}
	s->udp = udp;
	s->index = udp->count;
	s->bearable = UDP_BATCH;
	s->elsewhere = (how & LISTEN_ELSEWHERE) != 0;
	s->readable = event_new(udp->base, s->fd, EV_READ | EV_PERSIST | EV_ET, udp_readable, s);
	s->again = evtimer_new(udp->base, on_again, s);
	if (!s->again || !s->readable || event_add(s->readable, NULL) != 0) {
		forget(s->readable);
		forget(s->again);
		close(s->fd);
		return -ENOMEM;
	}
	udp->count++;
	return 0;
}

/** Put a reply behind those that are to be sent. */
static void add_reply(struct udp *u, const struct requestor *to, struct span message)
{
	struct replies *r = &u->replies;
	unsigned i = r->count++;
	r->socket = to->slot;
	r->peer[i] = to->peer;
	memcpy(r->slot[i], message.data, message.len);
	r->octets[i].iov_len = message.len;
	r->out[i].msg_hdr.msg_namelen = to->peer.len;
	send_from(&r->out[i].msg_hdr, &to->local);
	if (r->count == 1) {
		event_active(r->flush, EV_TIMEOUT, 0);
	}
}

/** One that is too large to be collected leaves from where it stands. */
static void send_large(struct udp *u, const struct requestor *to, struct span message)
{
	struct requestor copy = *to;
	struct control control = {.octets = {0}};
	struct iovec octets = {.iov_len = message.len};
	/* sendmmsg takes no const data, yet does not write it. */
	memcpy(&octets.iov_base, &message.data, sizeof(octets.iov_base));
	struct mmsghdr out = {.msg_hdr = {.msg_name = &copy.peer,
				      .msg_namelen = to->peer.len,
				      .msg_iov = &octets,
				      .msg_iovlen = 1,
				      .msg_control = &control}};
	send_from(&out.msg_hdr, &to->local);
	send_batch(&u->socket[to->slot], &out, 1);
}

void udp_send(struct udp *udp, const struct requestor *to, struct span message)
{
	struct replies *r = &udp->replies;
	if (to->slot >= udp->count) {
		return;
	}
	if (r->count == REPLIES || (r->count > 0 && r->socket != to->slot)) {
		flush_replies(udp);
	}
	if (message.len <= REPLY_SIZE) {
		add_reply(udp, to, message);
	} else {
		send_large(udp, to, message);
	}
}

uint64_t udp_overflows(const struct udp *udp)
{
	uint64_t sum = 0;
	for (unsigned i = 0; i < udp->count; i++) {
		sum += lost_of(udp->socket[i].fd);
	}
	return sum;
}

/* Of sockets that share a port (SO_REUSEPORT) those that are connected get what their peer sends,
 * and nothing else: connected to themselves, nothing at all. */
void udp_leave(struct udp *udp)
{
	for (unsigned i = 0; i < udp->count; i++) {
		struct endpoint self = {.len = sizeof(self.in6)};
		if (getsockname(udp->socket[i].fd, &self.sa, &self.len) == 0) {
			(void)connect(udp->socket[i].fd, &self.sa, self.len);
		}
	}
}

void udp_close(struct udp *udp)
{
	if (!udp) {
		return;
	}
	flush_replies(udp);
	event_free(udp->replies.flush);
	for (unsigned i = 0; i < udp->count; i++) {
		event_free(udp->socket[i].readable);
		event_free(udp->socket[i].again);
		close(udp->socket[i].fd);
	}
	free(udp);
}
