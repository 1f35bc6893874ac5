/* SPDX-License-Identifier: Apache-2.0
 *
 * TCP with real sockets on the loopback, server and clients on one loop. The server is a function
 * that the test gives: it answers with the message itself, QR set, unless the octet behind the
 * header says otherwise.
 */
#pragma once

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "conf/conf.h"
#include "dns/admin/stats.h"
#include "dns/serve/tcp.h"

#include <errno.h>
#include <event2/event.h>
#include <netinet/tcp.h>
#include <poll.h>
#include <signal.h>
#include <stdlib.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

enum {
	ORDER_ANSWER = 'x',
	ORDER_DROP = 'd',
	ORDER_FORWARD = 'f',
	ORDER_BIG = 'b',
	ORDER_CANARY = 'c',
	BIG_LEN = 60000,
	FRAME_LEN =
		2 + HEADER_LEN + 1, /* of the queries here, and of the answers that are not big */
	FORWARDED_MAX = 1024,
	PATIENCE_MS = 10000
};

struct server {
	struct event_base *base;
	struct event *heartbeat; /* so that a turn of the loop always ends */
	struct tcp *tcp;
	struct conf conf;
	struct stats stats;
	struct endpoint at;
	unsigned served;
	bool at_once; /* a forwarded query is answered before serve returns */
	unsigned forwarded;
	struct requestor asked[FORWARDED_MAX];
	uint16_t id[FORWARDED_MAX];
};

static inline void reply(struct server *s, unsigned which)
{
	uint8_t message[HEADER_LEN + 1] = {0, 0, 0x80};
	octets_put_u16(message, s->id[which]);
	message[HEADER_LEN] = ORDER_FORWARD;
	tcp_send(s->tcp, &s->asked[which], (struct span){message, sizeof(message)});
}

static inline enum verdict forward(
	struct server *s, struct span message, const struct requestor *from)
{
	assert_true(s->forwarded < FORWARDED_MAX);
	s->asked[s->forwarded] = *from;
	s->id[s->forwarded] = octets_u16(message.data);
	s->forwarded++;
	if (s->at_once) {
		reply(s, s->forwarded - 1);
	}
	return VERDICT_FORWARD;
}

static inline enum verdict serve(
	void *ctx, struct span message, const struct requestor *from, struct writer *out)
{
	struct server *s = ctx;
	assert_true(message.len >= HEADER_LEN);
	assert_true(from->tcp);
	assert_true(out->size - out->len >= 65535);
	uint8_t order = message.len > HEADER_LEN ? message.data[HEADER_LEN] : ORDER_ANSWER;
	s->served++;
	if (order == ORDER_DROP) {
		return VERDICT_DROP;
	}
	if (order == ORDER_FORWARD) {
		return forward(s, message, from);
	}
	uint8_t *begin = out->data + out->len;
	writer_octets(out, message.data, message.len);
	begin[2] |= 0x80;
	if (order == ORDER_BIG) {
		memset(writer_room(out, BIG_LEN - message.len), 'b', BIG_LEN - message.len);
	}
	return order == ORDER_CANARY ? VERDICT_CANARY : VERDICT_SEND;
}

static inline void on_heartbeat(evutil_socket_t fd, short what, void *arg)
{
	(void)fd;
	(void)what;
	(void)arg;
}

static inline int setup(void **state)
{
	struct server *s = calloc(1, sizeof(*s));
	struct timeval interval = {.tv_usec = 10000};
	assert_non_null(s);
	s->base = event_base_new();
	assert_non_null(s->base);
	s->heartbeat = event_new(s->base, -1, EV_PERSIST, on_heartbeat, NULL);
	assert_non_null(s->heartbeat);
	assert_int_equal(event_add(s->heartbeat, &interval), 0);
	s->conf.tcp_connections_max = 8;
	s->conf.tcp_connections_peer_max = 8;
	s->conf.tcp_idle_ms = PATIENCE_MS * 2;
	s->conf.tcp_unsent_max = 256 << 10;
	s->conf.tcp_frame_max = 4096;
	s->conf.forward_timeout_ms = 4000;
	*state = s;
	return 0;
}

static inline int teardown(void **state)
{
	struct server *s = *state;
	tcp_close(s->tcp);
	event_free(s->heartbeat);
	event_base_free(s->base);
	free(s);
	return 0;
}

static inline struct endpoint loopback(uint16_t port)
{
	struct endpoint e;
	memset(&e, 0, sizeof(e));
	e.in.sin_family = AF_INET;
	e.in.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
	e.in.sin_port = htons(port);
	e.len = sizeof(e.in);
	return e;
}

/* A port that is free now, found by binding it. */
static inline uint16_t free_port(void)
{
	struct endpoint e = loopback(0);
	int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
	assert_true(fd >= 0);
	assert_int_equal(bind(fd, &e.sa, e.len), 0);
	assert_int_equal(getsockname(fd, &e.sa, &e.len), 0);
	close(fd);
	return endpoint_port(&e);
}

/* After the test has set its limits. */
static inline void start(struct server *s)
{
	assert_int_equal(tcp_open(&s->tcp, s->base, &s->conf, &s->stats, serve, s), 0);
	int r = -EADDRINUSE;
	for (unsigned tries = 0; r == -EADDRINUSE && tries < 16; tries++) {
		s->at = loopback(free_port());
		r = tcp_listen(s->tcp, &s->at, 0);
	}
	assert_int_equal(r, 0);
}

static inline uint64_t count(const struct server *s, enum counter which)
{
	return s->stats.value[which];
}

static inline int64_t now_ms(void)
{
	struct timespec t;
	clock_gettime(CLOCK_MONOTONIC, &t);
	return (int64_t)t.tv_sec * 1000 + t.tv_nsec / 1000000;
}

static inline void turn(struct server *s)
{
	assert_true(event_base_loop(s->base, EVLOOP_ONCE) >= 0);
}

#define RUN_UNTIL(s, condition)                                                                    \
	for (int64_t limit_ = now_ms() + PATIENCE_MS; !(condition); turn(s)) {                     \
		assert_true(now_ms() < limit_);                                                    \
	}

/* So that what follows is later by the clock. */
static inline void pass_ms(struct server *s, int64_t ms)
{
	int64_t begin = now_ms();
	RUN_UNTIL(s, now_ms() - begin >= ms);
}

/* Let the server do all that it can now: a turn in which only the heartbeat is heard follows. */
static inline void settle(struct server *s)
{
	for (unsigned i = 0; i < 64; i++) {
		assert_true(event_base_loop(s->base, EVLOOP_NONBLOCK) >= 0);
	}
}

static inline int client(const struct server *s)
{
	int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
	assert_true(fd >= 0);
	assert_int_equal(connect(fd, &s->at.sa, s->at.len), 0);
	assert_int_equal(evutil_make_socket_nonblocking(fd), 0);
	int on = 1; /* what is sent is there when the server looks */
	assert_int_equal(setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof(on)), 0);
	return fd;
}

static inline void put_query(uint8_t *frame, uint16_t id, char order)
{
	memset(frame, 0, FRAME_LEN);
	octets_put_u16(frame, FRAME_LEN - 2);
	octets_put_u16(frame + 2, id);
	frame[2 + HEADER_LEN] = (uint8_t)order;
}

static inline void ask(int fd, uint16_t id, char order)
{
	uint8_t frame[FRAME_LEN];
	put_query(frame, id, order);
	assert_int_equal(send(fd, frame, sizeof(frame), MSG_NOSIGNAL), sizeof(frame));
}

static inline bool readable(int fd)
{
	struct pollfd p = {.fd = fd, .events = POLLIN};
	return poll(&p, 1, 0) == 1;
}

static inline void take_octets(struct server *s, int fd, uint8_t *into, size_t len)
{
	for (size_t got = 0; got < len;) {
		RUN_UNTIL(s, readable(fd));
		ssize_t n = recv(fd, into + got, len - got, 0);
		assert_true(n > 0);
		got += (size_t)n;
	}
}

/* Take one answer. @return its ID */
static inline uint16_t take(struct server *s, int fd)
{
	static uint8_t message[65535];
	uint8_t prefix[2];
	take_octets(s, fd, prefix, sizeof(prefix));
	size_t len = octets_u16(prefix);
	take_octets(s, fd, message, len);
	assert_true(message[2] & 0x80);
	assert_int_equal(len, message[HEADER_LEN] == ORDER_BIG ? BIG_LEN : FRAME_LEN - 2);
	return octets_u16(message);
}

/* The server ends the connection, with FIN or with RST. */
static inline void take_end(struct server *s, int fd)
{
	uint8_t octet;
	RUN_UNTIL(s, readable(fd));
	ssize_t n = recv(fd, &octet, 1, 0);
	assert_true(n == 0 || (n < 0 && errno == ECONNRESET));
	close(fd);
}

/* Close with RST. */
static inline void reset(int fd)
{
	struct linger now = {.l_onoff = 1};
	assert_int_equal(setsockopt(fd, SOL_SOCKET, SO_LINGER, &now, sizeof(now)), 0);
	close(fd);
}

#define STATEMENT(name) cmocka_unit_test_setup_teardown(name, setup, teardown)
