/* SPDX-License-Identifier: Apache-2.0
 *
 * A name server that does as it is told, over UDP and TCP on one port of the loopback, on the
 * test's own event loop. It keeps the queries it saw.
 */
#pragma once

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "conf/endpoint.h"
#include "dns/wire/query.h"

#include <errno.h>
#include <event2/event.h>
#include <netinet/in.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

enum act {
	ACT_ANSWER, /* one A record, 192.0.2.<number> */
	ACT_SILENT,
	ACT_HOLD, /* the test answers, with scripted_say */
	ACT_WRONG_ID_FIRST,
	ACT_WRONG_QUESTION_FIRST,
	ACT_WRONG_PORT_FIRST,
	ACT_NO_RESPONSE_FIRST, /* the query itself comes back, QR clear */
	ACT_TWICE,
	ACT_TRUNCATED,
	ACT_FORMERR_ON_OPT, /* FORMERR without OPT to a query with one, else an answer */
	ACT_FORMERR,
	ACT_SERVFAIL,
	ACT_SERVFAIL_BARE, /* without a question */
	ACT_REFUSED,
	ACT_NOTIMP,
	ACT_NXDOMAIN,
	ACT_CUT,      /* ends inside a record */
	ACT_GARBAGE,  /* octets that are no message */
	ACT_BIG,      /* over UDP 5,000 octets, over TCP 64 KiB */
	ACT_DROP_OPT, /* silence to a query with OPT, else an answer */
	ACT_DELAYED,  /* an answer, `delay_ms` later */
	ACT_DENIED,   /* NXDOMAIN with the root's SOA, so that it can be remembered */
	ACT_CLOSE     /* TCP: closes the connection instead */
};

enum { SEEN_MAX = 2048, SEEN_OCTETS = 1500, CONNECTIONS_MAX = 64, DELAYED_MAX = 256 };

struct seen {
	bool tcp;
	int fd; /* TCP: of the connection */
	struct sockaddr_storage from;
	socklen_t from_len;
	uint16_t port; /* source, host order */
	uint16_t id;
	size_t len;
	uint8_t octets[SEEN_OCTETS];
};

struct scripted;

struct connection {
	struct scripted *server;
	struct event *event;
	int fd;
	unsigned queries;
	size_t len;
	uint8_t octets[8192];
};

/* An answer that is still to come; for one of `seen`. */
struct delayed {
	struct scripted *server;
	struct event *event;
	const struct seen *query;
};

/** What is done about a query, where that depends on the query. */
typedef enum act scripted_choice(const struct scripted *s, const struct seen *q);

struct scripted {
	struct event_base *base;
	struct endpoint at;
	uint8_t number;
	enum act udp;
	enum act tcp;
	scripted_choice *choose; /* NULL: `udp` and `tcp` say it */
	uint32_t ttl;            /* of answers; 60 */
	uint32_t delay_ms;
	struct delayed delayed[DELAYED_MAX];
	unsigned probes;      /* which count here, not in `count` */
	struct seen probe;    /* the last one */
	bool close_after;     /* TCP: after each answer */
	unsigned tcp_answers; /* one more query than this closes the connection; 0: none does */
	unsigned count;
	unsigned tcp_count;
	unsigned accepted;
	struct seen *seen;
	int udp_fd;
	int tcp_fd;
	struct event *udp_event;
	struct event *tcp_event;
	struct connection *connections[CONNECTIONS_MAX];
};

static inline size_t scripted_question_len(const uint8_t *message, size_t len)
{
	size_t at = HEADER_LEN;
	while (at < len && message[at] != 0) {
		at += message[at] + 1U;
	}
	return at + 5 - HEADER_LEN;
}

static inline bool scripted_has_opt(const struct seen *q)
{
	return octets_u16(q->octets + 10) > 0;
}

static inline void scripted_octets(
	const struct scripted *s, const struct seen *to, const uint8_t *octets, size_t len)
{
	if (!to->tcp) {
		(void)sendto(s->udp_fd, octets, len, 0, (const struct sockaddr *)&to->from,
			to->from_len);
		return;
	}
	uint8_t *frame = malloc(len + 2);
	assert_non_null(frame);
	octets_put_u16(frame, (uint16_t)len);
	memcpy(frame + 2, octets, len);
	assert_int_equal(send(to->fd, frame, len + 2, MSG_NOSIGNAL), len + 2);
	free(frame);
}

/* Whether a query is asked for the server's own sake: the root's name servers, or a loop's token.
 */
static inline bool scripted_is_probe(const uint8_t *octets, size_t len)
{
	static const uint8_t root[] = {0, 0, TYPE_NS, 0, CLASS_IN};
	static const uint8_t zone[] = "\4loop\10kuma-dns\10internal";
	if (len >= HEADER_LEN + sizeof(root) &&
		memcmp(octets + HEADER_LEN, root, sizeof(root)) == 0) {
		return true;
	}
	return len > HEADER_LEN + 25 + sizeof(zone) && octets[HEADER_LEN] == 24 &&
	       memcmp(octets + HEADER_LEN + 25, zone, sizeof(zone)) == 0;
}

/* Header, question and `addresses` A records, 16 octets each. */
static inline size_t scripted_response(const struct scripted *s, const struct seen *q,
	uint16_t flags, unsigned addresses, bool denied, struct writer *w)
{
	size_t question = scripted_question_len(q->octets, q->len);
	bool opt = scripted_has_opt(q) && (flags & FLAG_RCODE) != RCODE_FORMERR;
	writer_u16(w, q->id);
	writer_u16(w, (uint16_t)(FLAG_QR | FLAG_RD | FLAG_RA | flags));
	writer_u16(w, 1);
	writer_u16(w, (uint16_t)addresses);
	writer_u16(w, denied);
	writer_u16(w, opt);
	writer_octets(w, q->octets + HEADER_LEN, question);
	for (unsigned i = 0; i < addresses; i++) {
		writer_octets(w, "\xc0\x0c\0\1\0\1", 6);
		writer_u32(w, s->ttl);
		writer_octets(w, "\0\4\xc0\0\2", 5);
		writer_u8(w, s->number);
	}
	if (denied) { /* RFC 2308 §3; MINIMUM as its TTL */
		writer_octets(w, "\0\0\6\0\1", 5);
		writer_u32(w, s->ttl);
		writer_octets(w, "\0\x16\0\0\0\0\0\1\0\0\0\1\0\0\0\1\0\0\0\1", 20);
		writer_u32(w, s->ttl);
	}
	if (opt) {
		writer_octets(w, "\0\0\x29\x10\0\0\0\0\0\0\0", 11);
	}
	assert_false(w->fault);
	return w->len;
}

static inline void scripted_say(struct scripted *s, const struct seen *q, enum act act);

static inline void scripted_say_now(evutil_socket_t fd, short what, void *arg)
{
	(void)fd, (void)what;
	struct delayed *d = arg;
	scripted_say(d->server, d->query, ACT_ANSWER);
	event_free(d->event);
	d->event = NULL;
}

static inline void scripted_say_later(struct scripted *s, const struct seen *q)
{
	struct timeval wait = {
		.tv_sec = s->delay_ms / 1000, .tv_usec = (suseconds_t)(s->delay_ms % 1000) * 1000};
	for (unsigned i = 0; i < DELAYED_MAX; i++) {
		struct delayed *d = &s->delayed[i];
		if (!d->event) {
			d->server = s;
			d->query = q;
			d->event = evtimer_new(s->base, scripted_say_now, d);
			event_add(d->event, &wait);
			return;
		}
	}
	fail_msg("too many answers to come");
}

/** Answer a query as `act` says. */
static inline void scripted_say(struct scripted *s, const struct seen *q, enum act act)
{
	static uint8_t octets[65535];
	static const uint16_t flags[] = {[ACT_TRUNCATED] = FLAG_TC,
		[ACT_FORMERR] = RCODE_FORMERR,
		[ACT_SERVFAIL] = RCODE_SERVFAIL,
		[ACT_SERVFAIL_BARE] = RCODE_SERVFAIL,
		[ACT_REFUSED] = RCODE_REFUSED,
		[ACT_NOTIMP] = RCODE_NOTIMP,
		[ACT_NXDOMAIN] = RCODE_NXDOMAIN,
		[ACT_DENIED] = RCODE_NXDOMAIN,
		[ACT_CLOSE] = 0};
	struct writer w = {.data = octets, .size = sizeof(octets)};
	unsigned addresses = flags[act] ? 0 : 1;
	if (act == ACT_BIG) {
		addresses = q->tcp ? 4090 : 312;
	}
	if (act == ACT_FORMERR_ON_OPT && scripted_has_opt(q)) {
		scripted_say(s, q, ACT_FORMERR);
		return;
	}
	if (act == ACT_DELAYED) {
		scripted_say_later(s, q);
		return;
	}
	if (act == ACT_DROP_OPT && scripted_has_opt(q)) {
		return;
	}
	size_t len = scripted_response(s, q, flags[act], addresses, act == ACT_DENIED, &w);
	switch (act) {
	case ACT_SILENT:
	case ACT_HOLD:
		return;
	case ACT_WRONG_ID_FIRST:
		octets[0] ^= 0x55;
		scripted_octets(s, q, octets, len);
		octets[0] ^= 0x55;
		break;
	case ACT_WRONG_QUESTION_FIRST:
		octets[HEADER_LEN + 1] ^= 1;
		scripted_octets(s, q, octets, len);
		octets[HEADER_LEN + 1] ^= 1;
		break;
	case ACT_NO_RESPONSE_FIRST:
		scripted_octets(s, q, q->octets, q->len);
		break;
	case ACT_WRONG_PORT_FIRST: {
		int fd = socket(s->at.sa.sa_family, SOCK_DGRAM, 0);
		assert_true(fd >= 0);
		octets[len - (scripted_has_opt(q) ? 12 : 1)] = 66; /* 192.0.2.66 */
		(void)sendto(fd, octets, len, 0, (const struct sockaddr *)&q->from, q->from_len);
		octets[len - (scripted_has_opt(q) ? 12 : 1)] = s->number;
		close(fd);
		break;
	}
	case ACT_TWICE:
		scripted_octets(s, q, octets, len);
		break;
	case ACT_CUT:
		len -= 14;
		break;
	case ACT_GARBAGE:
		memset(octets, 0xff, len);
		break;
	case ACT_SERVFAIL_BARE:
		octets_put_u16(octets + 4, 0);
		octets_put_u16(octets + 10, 0);
		len = HEADER_LEN;
		break;
	default:
		break;
	}
	scripted_octets(s, q, octets, len);
}

static inline struct seen *scripted_note(
	struct scripted *s, bool tcp, const uint8_t *octets, size_t len)
{
	bool probe = scripted_is_probe(octets, len);
	assert_true(s->count < SEEN_MAX);
	struct seen *q = probe ? &s->probe : &s->seen[s->count++];
	s->probes += probe;
	memset(q, 0, sizeof(*q));
	q->tcp = tcp;
	assert_true(len >= HEADER_LEN && len <= sizeof(q->octets));
	memcpy(q->octets, octets, len);
	q->len = len;
	q->id = octets_u16(octets);
	return q;
}

static inline void scripted_udp_readable(evutil_socket_t fd, short what, void *arg)
{
	(void)what;
	struct scripted *s = arg;
	uint8_t octets[65535];
	struct sockaddr_storage from;
	socklen_t from_len = sizeof(from);
	ssize_t n = recvfrom(
		(int)fd, octets, sizeof(octets), MSG_DONTWAIT, (struct sockaddr *)&from, &from_len);
	if (n < 0) {
		return;
	}
	struct seen *q = scripted_note(s, false, octets, (size_t)n);
	q->from = from;
	q->from_len = from_len;
	q->port = ntohs(from.ss_family == AF_INET
				? ((const struct sockaddr_in *)(const void *)&from)->sin_port
				: ((const struct sockaddr_in6 *)(const void *)&from)->sin6_port);
	scripted_say(s, q, s->choose ? s->choose(s, q) : s->udp);
}

static inline void scripted_hang_up(struct connection *c)
{
	for (unsigned i = 0; i < CONNECTIONS_MAX; i++) {
		if (c->server->connections[i] == c) {
			c->server->connections[i] = NULL;
		}
	}
	event_free(c->event);
	close(c->fd);
	free(c);
}

/** Close every TCP connection. */
static inline void scripted_hang_up_all(struct scripted *s)
{
	for (unsigned i = 0; i < CONNECTIONS_MAX; i++) {
		if (s->connections[i]) {
			scripted_hang_up(s->connections[i]);
		}
	}
}

static inline unsigned scripted_connections(const struct scripted *s)
{
	unsigned count = 0;
	for (unsigned i = 0; i < CONNECTIONS_MAX; i++) {
		count += s->connections[i] != NULL;
	}
	return count;
}

static inline void scripted_tcp_readable(evutil_socket_t fd, short what, void *arg)
{
	(void)what;
	struct connection *c = arg;
	struct scripted *s = c->server;
	ssize_t n = recv((int)fd, c->octets + c->len, sizeof(c->octets) - c->len, MSG_DONTWAIT);
	if (n <= 0) {
		scripted_hang_up(c);
		return;
	}
	c->len += (size_t)n;
	while (c->len >= 2 && c->len >= 2U + octets_u16(c->octets)) {
		size_t len = octets_u16(c->octets);
		struct seen *q = scripted_note(s, true, c->octets + 2, len);
		q->fd = c->fd;
		s->tcp_count++;
		memmove(c->octets, c->octets + 2 + len, c->len - 2 - len);
		c->len -= 2 + len;
		bool enough = s->tcp_answers > 0 && c->queries++ >= s->tcp_answers;
		if (s->tcp != ACT_CLOSE && !enough) {
			scripted_say(s, q, s->choose ? s->choose(s, q) : s->tcp);
		}
		if (s->tcp == ACT_CLOSE || s->close_after || enough) {
			scripted_hang_up(c);
			return;
		}
	}
}

static inline void scripted_acceptable(evutil_socket_t fd, short what, void *arg)
{
	(void)what;
	struct scripted *s = arg;
	int got = accept((int)fd, NULL, NULL);
	assert_true(got >= 0);
	struct connection *c = calloc(1, sizeof(*c));
	assert_non_null(c);
	c->server = s;
	c->fd = got;
	c->event = event_new(s->base, got, EV_READ | EV_PERSIST, scripted_tcp_readable, c);
	event_add(c->event, NULL);
	s->accepted++;
	for (unsigned i = 0; i < CONNECTIONS_MAX; i++) {
		if (!s->connections[i]) {
			s->connections[i] = c;
			return;
		}
	}
	fail_msg("too many connections");
}

static inline int scripted_bind(struct scripted *s, int type)
{
	int fd = socket(s->at.sa.sa_family, type, 0);
	assert_true(fd >= 0);
	if (bind(fd, &s->at.sa, s->at.len) != 0) {
		close(fd);
		return -1;
	}
	return fd;
}

/** @param address  "127.0.0.1", "::1" */
static inline void scripted_open(
	struct scripted *s, struct event_base *base, const char *address, uint8_t number)
{
	memset(s, 0, sizeof(*s));
	s->base = base;
	s->number = number;
	s->ttl = 60;
	s->seen = calloc(SEEN_MAX, sizeof(*s->seen));
	assert_non_null(s->seen);
	do { /* until one port is free for both */
		assert_int_equal(endpoint_parse(&s->at, address, 1), 0);
		s->at.in.sin_port = 0; /* at the same place in both families */
		s->udp_fd = scripted_bind(s, SOCK_DGRAM);
		assert_true(s->udp_fd >= 0);
		socklen_t len = s->at.len;
		assert_int_equal(getsockname(s->udp_fd, &s->at.sa, &len), 0);
		s->tcp_fd = scripted_bind(s, SOCK_STREAM);
		if (s->tcp_fd < 0) {
			close(s->udp_fd);
		}
	} while (s->tcp_fd < 0);
	assert_int_equal(listen(s->tcp_fd, 16), 0);
	s->udp_event = event_new(base, s->udp_fd, EV_READ | EV_PERSIST, scripted_udp_readable, s);
	s->tcp_event = event_new(base, s->tcp_fd, EV_READ | EV_PERSIST, scripted_acceptable, s);
	event_add(s->udp_event, NULL);
	event_add(s->tcp_event, NULL);
}

/** Stop listening over TCP: connections are refused. */
static inline void scripted_close_tcp(struct scripted *s)
{
	if (s->tcp_event) {
		event_free(s->tcp_event);
		close(s->tcp_fd);
		s->tcp_event = NULL;
	}
}

/** Stop listening over UDP: the kernel answers with ICMP. */
static inline void scripted_close_udp(struct scripted *s)
{
	if (s->udp_event) {
		event_free(s->udp_event);
		close(s->udp_fd);
		s->udp_event = NULL;
	}
}

static inline void scripted_close(struct scripted *s)
{
	if (!s->seen) {
		return;
	}
	for (unsigned i = 0; i < DELAYED_MAX; i++) {
		if (s->delayed[i].event) {
			event_free(s->delayed[i].event);
		}
	}
	scripted_hang_up_all(s);
	scripted_close_tcp(s);
	scripted_close_udp(s);
	free(s->seen);
	s->seen = NULL;
}
