/* SPDX-License-Identifier: Apache-2.0
 *
 * TCP with real sockets on the loopback, server and clients on one loop. The server is a function
 * that the test gives: it answers with the message itself, QR set, unless the octet behind the
 * header says otherwise.
 */
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

static void reply(struct server *s, unsigned which)
{
	uint8_t message[HEADER_LEN + 1] = {0, 0, 0x80};
	octets_put_u16(message, s->id[which]);
	message[HEADER_LEN] = ORDER_FORWARD;
	tcp_send(s->tcp, &s->asked[which], (struct span){message, sizeof(message)});
}

static enum verdict forward(struct server *s, struct span message, const struct requestor *from)
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

static enum verdict serve(
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

static void on_heartbeat(evutil_socket_t fd, short what, void *arg)
{
	(void)fd;
	(void)what;
	(void)arg;
}

static int setup(void **state)
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

static int teardown(void **state)
{
	struct server *s = *state;
	tcp_close(s->tcp);
	event_free(s->heartbeat);
	event_base_free(s->base);
	free(s);
	return 0;
}

static struct endpoint loopback(uint16_t port)
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
static uint16_t free_port(void)
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
static void start(struct server *s)
{
	assert_int_equal(tcp_open(&s->tcp, s->base, &s->conf, &s->stats, serve, s), 0);
	int r = -EADDRINUSE;
	for (unsigned tries = 0; r == -EADDRINUSE && tries < 16; tries++) {
		s->at = loopback(free_port());
		r = tcp_listen(s->tcp, &s->at, 0);
	}
	assert_int_equal(r, 0);
}

static uint64_t count(const struct server *s, enum counter which)
{
	return s->stats.value[which];
}

static int64_t now_ms(void)
{
	struct timespec t;
	clock_gettime(CLOCK_MONOTONIC, &t);
	return (int64_t)t.tv_sec * 1000 + t.tv_nsec / 1000000;
}

static void turn(struct server *s)
{
	assert_true(event_base_loop(s->base, EVLOOP_ONCE) >= 0);
}

#define RUN_UNTIL(s, condition)                                                                    \
	for (int64_t limit_ = now_ms() + PATIENCE_MS; !(condition); turn(s)) {                     \
		assert_true(now_ms() < limit_);                                                    \
	}

/* So that what follows is later by the clock. */
static void pass_ms(struct server *s, int64_t ms)
{
	int64_t begin = now_ms();
	RUN_UNTIL(s, now_ms() - begin >= ms);
}

/* Let the server do all that it can now: a turn in which only the heartbeat is heard follows. */
static void settle(struct server *s)
{
	for (unsigned i = 0; i < 64; i++) {
		assert_true(event_base_loop(s->base, EVLOOP_NONBLOCK) >= 0);
	}
}

static int client(const struct server *s)
{
	int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
	assert_true(fd >= 0);
	assert_int_equal(connect(fd, &s->at.sa, s->at.len), 0);
	assert_int_equal(evutil_make_socket_nonblocking(fd), 0);
	int on = 1; /* what is sent is there when the server looks */
	assert_int_equal(setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof(on)), 0);
	return fd;
}

static void put_query(uint8_t *frame, uint16_t id, char order)
{
	memset(frame, 0, FRAME_LEN);
	octets_put_u16(frame, FRAME_LEN - 2);
	octets_put_u16(frame + 2, id);
	frame[2 + HEADER_LEN] = (uint8_t)order;
}

static void ask(int fd, uint16_t id, char order)
{
	uint8_t frame[FRAME_LEN];
	put_query(frame, id, order);
	assert_int_equal(send(fd, frame, sizeof(frame), MSG_NOSIGNAL), sizeof(frame));
}

static bool readable(int fd)
{
	struct pollfd p = {.fd = fd, .events = POLLIN};
	return poll(&p, 1, 0) == 1;
}

static void take_octets(struct server *s, int fd, uint8_t *into, size_t len)
{
	for (size_t got = 0; got < len;) {
		RUN_UNTIL(s, readable(fd));
		ssize_t n = recv(fd, into + got, len - got, 0);
		assert_true(n > 0);
		got += (size_t)n;
	}
}

/* Take one answer. @return its ID */
static uint16_t take(struct server *s, int fd)
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
static void take_end(struct server *s, int fd)
{
	uint8_t octet;
	RUN_UNTIL(s, readable(fd));
	ssize_t n = recv(fd, &octet, 1, 0);
	assert_true(n == 0 || (n < 0 && errno == ECONNRESET));
	close(fd);
}

/* Close with RST. */
static void reset(int fd)
{
	struct linger now = {.l_onoff = 1};
	assert_int_equal(setsockopt(fd, SOL_SOCKET, SO_LINGER, &now, sizeof(now)), 0);
	close(fd);
}

static void answers_to_canaries_are_sent_and_not_counted(void **state)
{
	struct server *s = *state;
	start(s);
	int fd = client(s);
	ask(fd, 1, ORDER_CANARY);
	assert_int_equal(take(s, fd), 1);
	assert_int_equal(s->stats.request.count, 0);
	ask(fd, 2, ORDER_ANSWER);
	assert_int_equal(take(s, fd), 2);
	assert_int_equal(s->stats.request.count, 1);
	close(fd);
}

static void a_query_is_answered(void **state)
{
	struct server *s = *state;
	start(s);
	int fd = client(s);
	ask(fd, 1, ORDER_ANSWER);
	assert_int_equal(take(s, fd), 1);
	assert_int_equal(count(s, STAT_TCP_CONNECTIONS), 1);
	assert_int_equal(count(s, STAT_TCP_CONNECTIONS_NOW), 1);
	assert_int_equal(s->stats.request.count, 1);
	close(fd);
	RUN_UNTIL(s, tcp_connections(s->tcp) == 0);
	assert_int_equal(count(s, STAT_TCP_CONNECTIONS_NOW), 0);
}

static void pipelined_queries_are_all_answered(void **state)
{
	struct server *s = *state;
	enum { QUERIES = 2000 };
	static uint8_t frames[QUERIES * FRAME_LEN];
	start(s);
	int fd = client(s);
	for (uint16_t i = 0; i < QUERIES; i++) {
		put_query(frames + (size_t)i * FRAME_LEN, i, ORDER_ANSWER);
	}
	assert_int_equal(send(fd, frames, sizeof(frames), 0), sizeof(frames));
	for (uint16_t i = 0; i < QUERIES; i++) {
		assert_int_equal(take(s, fd), i);
	}
	close(fd);
}

static void frames_may_come_octet_by_octet(void **state)
{
	struct server *s = *state;
	uint8_t frames[2 * FRAME_LEN];
	start(s);
	int fd = client(s);
	put_query(frames, 1, ORDER_ANSWER);
	put_query(frames + FRAME_LEN, 2, ORDER_ANSWER);
	for (size_t i = 0; i < sizeof(frames); i++) {
		assert_int_equal(s->served, i / FRAME_LEN);
		assert_int_equal(send(fd, frames + i, 1, 0), 1);
		settle(s);
	}
	assert_int_equal(take(s, fd), 1);
	assert_int_equal(take(s, fd), 2);
	close(fd);
}

static void forwarded_answers_come_as_they_are_ready(void **state)
{
	struct server *s = *state;
	start(s);
	int fd = client(s);
	ask(fd, 1, ORDER_FORWARD);
	ask(fd, 2, ORDER_FORWARD);
	ask(fd, 3, ORDER_ANSWER);
	assert_int_equal(take(s, fd), 3);
	assert_int_equal(s->forwarded, 2);
	reply(s, 1);
	assert_int_equal(take(s, fd), 2);
	reply(s, 0);
	assert_int_equal(take(s, fd), 1);
	close(fd);
}

static void a_forwarded_query_may_be_answered_at_once(void **state)
{
	struct server *s = *state;
	s->at_once = true;
	start(s);
	int fd = client(s);
	for (uint16_t i = 0; i < 2 * TCP_IN_FLIGHT_MAX; i++) {
		ask(fd, i, ORDER_FORWARD);
	}
	for (uint16_t i = 0; i < 2 * TCP_IN_FLIGHT_MAX; i++) {
		assert_int_equal(take(s, fd), i);
	}
	close(fd);
}

static void what_is_dropped_leaves_no_frame(void **state)
{
	struct server *s = *state;
	start(s);
	int fd = client(s);
	ask(fd, 1, ORDER_ANSWER);
	ask(fd, 2, ORDER_DROP);
	ask(fd, 3, ORDER_ANSWER);
	assert_int_equal(take(s, fd), 1);
	assert_int_equal(take(s, fd), 3);
	close(fd);
}

static void a_half_closed_peer_gets_all_its_answers(void **state)
{
	struct server *s = *state;
	start(s);
	int fd = client(s);
	ask(fd, 1, ORDER_BIG);
	ask(fd, 2, ORDER_FORWARD);
	ask(fd, 3, ORDER_ANSWER);
	assert_int_equal(send(fd, "\0", 1, 0), 1); /* half a prefix is nothing to wait for */
	assert_int_equal(shutdown(fd, SHUT_WR), 0);
	assert_int_equal(take(s, fd), 1);
	assert_int_equal(take(s, fd), 3);
	settle(s);
	assert_int_equal(tcp_connections(s->tcp), 1);
	reply(s, 0);
	assert_int_equal(take(s, fd), 2);
	take_end(s, fd);
	assert_int_equal(tcp_connections(s->tcp), 0);
}

/* Answers that the peer is slow to take, while more of its queries wait here than may be in flight.
 */
static void a_slow_half_closed_peer_gets_all_its_answers(void **state)
{
	struct server *s = *state;
	enum { BIG = 200, FORWARDED = 200 };
	s->conf.tcp_unsent_max = 64 << 20;
	s->conf.tcp_idle_ms = 400; /* a tick every 100 ms */
	start(s);
	int fd = client(s);
	for (uint16_t i = 0; i < BIG; i++) {
		ask(fd, i, ORDER_BIG);
	}
	for (uint16_t i = 0; i < FORWARDED; i++) {
		ask(fd, i, ORDER_FORWARD);
	}
	assert_int_equal(shutdown(fd, SHUT_WR), 0);
	RUN_UNTIL(s, s->forwarded == TCP_IN_FLIGHT_MAX);
	reply(s, 0);
	pass_ms(s, 250);
	for (unsigned i = 0; i < BIG; i++) {
		assert_int_equal(take(s, fd), i);
	}
	for (unsigned i = 1; i < FORWARDED; i++) {
		RUN_UNTIL(s, s->forwarded > i);
		reply(s, i);
	}
	for (unsigned i = 0; i < FORWARDED; i++) {
		(void)take(s, fd);
	}
	take_end(s, fd);
}

static void a_reply_to_a_connection_that_left_is_dropped(void **state)
{
	struct server *s = *state;
	start(s);
	int fd = client(s);
	ask(fd, 1, ORDER_FORWARD);
	RUN_UNTIL(s, s->forwarded == 1);
	reset(fd);
	RUN_UNTIL(s, tcp_connections(s->tcp) == 0);
	reply(s, 0);
	int next = client(s); /* has the slot now */
	ask(next, 2, ORDER_FORWARD);
	RUN_UNTIL(s, s->forwarded == 2);
	assert_int_equal(s->asked[1].slot, s->asked[0].slot);
	reply(s, 0);
	reply(s, 1);
	assert_int_equal(take(s, next), 2);
	close(next);
}

static void a_reply_to_nowhere_is_dropped(void **state)
{
	struct server *s = *state;
	start(s);
	s->asked[0].slot = s->conf.tcp_connections_max;
	reply(s, 0);
}

static void a_reset_harms_nobody_else(void **state)
{
	struct server *s = *state;
	uint8_t frame[FRAME_LEN];
	start(s);
	int good = client(s);
	ask(good, 1, ORDER_FORWARD);
	for (unsigned i = 0; i < 20; i++) {
		int fd = client(s);
		ask(fd, 9, ORDER_BIG);
		put_query(frame, 9, ORDER_BIG);
		assert_int_equal(send(fd, frame, i % FRAME_LEN, 0), i % FRAME_LEN);
		if (i % 2) {
			settle(s);
		}
		reset(fd);
	}
	RUN_UNTIL(s, s->forwarded == 1 && tcp_connections(s->tcp) == 1);
	reply(s, 0);
	assert_int_equal(take(s, good), 1);
	close(good);
}

static void a_frame_shorter_than_a_header_ends_the_connection(void **state)
{
	struct server *s = *state;
	start(s);
	int fd = client(s);
	ask(fd, 1, ORDER_ANSWER);
	assert_int_equal(send(fd, "\0\13", 2, 0), 2);
	assert_int_equal(take(s, fd), 1);
	take_end(s, fd);
	assert_int_equal(count(s, STAT_DROP_TCP_FRAME), 1);
}

static void a_frame_over_the_limit_ends_the_connection(void **state)
{
	struct server *s = *state;
	uint8_t frame[2 + 512] = {2, 0};
	s->conf.tcp_frame_max = 512;
	start(s);
	int fd = client(s);
	frame[2 + HEADER_LEN] = ORDER_FORWARD; /* a frame at the limit is a frame */
	assert_int_equal(send(fd, frame, sizeof(frame), 0), sizeof(frame));
	RUN_UNTIL(s, s->forwarded == 1);
	reply(s, 0);
	assert_int_equal(take(s, fd), 0);
	/* It is a query: what is passed on may be longer. */
	assert_int_equal(send(fd, "\2\1\0\0\1\0", 6, 0), 6);
	take_end(s, fd);
	assert_int_equal(count(s, STAT_DROP_TCP_FRAME), 1);
}

/* Messages that are no queries */

/** An UPDATE of that length, with octets that all differ from their neighbours'. */
static void put_update(uint8_t frame[2 + 65535], size_t len, char order)
{
	for (size_t i = 0; i < len; i++) {
		frame[2 + i] = (uint8_t)(i ^ i >> 8);
	}
	octets_put_u16(frame, (uint16_t)len);
	frame[2 + 2] = 5 << 3;
	frame[2 + HEADER_LEN] = (uint8_t)order;
}

/** Send all, or as much as is taken while the server reads. @return how much */
static size_t send_slowly(struct server *s, int fd, const uint8_t *octets, size_t len)
{
	size_t sent = 0;
	for (unsigned idle = 0; sent < len && idle < 20;) {
		ssize_t n = send(fd, octets + sent, len - sent, MSG_NOSIGNAL);
		sent += n > 0 ? (size_t)n : 0;
		idle = n > 0 ? 0 : idle + 1;
		turn(s);
	}
	return sent;
}

static void what_is_no_query_may_be_as_long_as_messages_get(void **state)
{
	static const size_t lengths[] = {4097, 30000, 65535};
	static uint8_t frame[2 + 65535], back[2 + 65535];
	struct server *s = *state;
	start(s);
	int fd = client(s);
	for (size_t i = 0; i < sizeof(lengths) / sizeof(*lengths); i++) {
		size_t len = 2 + lengths[i];
		put_update(frame, lengths[i], ORDER_ANSWER);
		assert_int_equal(send_slowly(s, fd, frame, len), len);
		take_octets(s, fd, back, len);
		frame[2 + 2] |= 0x80;
		assert_memory_equal(back, frame, len);
	}
	ask(fd, 7, ORDER_ANSWER); /* and what comes behind them is read */
	assert_int_equal(take(s, fd), 7);
	close(fd);
}

static void what_it_is_is_waited_for(void **state)
{
	struct server *s = *state;
	start(s);
	int fd = client(s);
	assert_int_equal(send(fd, "\377\377", 2, 0), 2);
	settle(s);
	assert_int_equal(send(fd, "\1\2\0", 3, 0), 3);
	settle(s);
	assert_int_equal(count(s, STAT_DROP_TCP_FRAME), 0);
	assert_int_equal(send(fd, "\0", 1, 0), 1);
	take_end(s, fd);
	assert_int_equal(count(s, STAT_DROP_TCP_FRAME), 1);
}

enum { AT_ONCE = 16 }; /* large messages that may arrive */

/** However many begin to send large messages, the others wait; queries do not. */
static void large_messages_are_few_at_once(void **state)
{
	static uint8_t frame[2 + 65535];
	struct server *s = *state;
	int fd[AT_ONCE + 1];
	s->conf.tcp_connections_max = s->conf.tcp_connections_peer_max = 32;
	start(s);
	put_update(frame, 65535, ORDER_FORWARD);
	for (unsigned i = 0; i < AT_ONCE; i++) {
		fd[i] = client(s);
		assert_int_equal(send_slowly(s, fd[i], frame, 60000), 60000);
	}
	int late = fd[AT_ONCE] = client(s);
	ask(late, 1, ORDER_ANSWER);
	assert_int_equal(take(s, late), 1);
	(void)send_slowly(s, late, frame, sizeof(frame));
	pass_ms(s, 50);
	assert_int_equal(s->forwarded, 0);
	int other = client(s);
	ask(other, 2, ORDER_ANSWER);
	assert_int_equal(take(s, other), 2);
	close(other);
	reset(fd[0]); /* which makes room */
	RUN_UNTIL(s, s->forwarded == 1);
	for (unsigned i = 1; i < AT_ONCE; i++) {
		assert_int_equal(send_slowly(s, fd[i], frame + 60000, 5537), 5537);
		RUN_UNTIL(s, s->forwarded == 1 + i);
	}
	fd[0] = client(s);
	assert_int_equal(send_slowly(s, fd[0], frame, sizeof(frame)), sizeof(frame));
	RUN_UNTIL(s, s->forwarded == 1 + AT_ONCE);
	for (unsigned i = 0; i <= AT_ONCE; i++) {
		close(fd[i]);
	}
}

/** Who says that no more comes keeps no room, though it may still wait for answers. */
static void who_sends_half_a_large_message_keeps_no_room(void **state)
{
	static uint8_t frame[2 + 65535];
	struct server *s = *state;
	int fd[AT_ONCE];
	s->conf.tcp_connections_max = s->conf.tcp_connections_peer_max = 32;
	start(s);
	put_update(frame, 65535, ORDER_FORWARD);
	for (unsigned i = 0; i < AT_ONCE; i++) {
		fd[i] = client(s);
		ask(fd[i], 1, ORDER_FORWARD);
		assert_int_equal(send_slowly(s, fd[i], frame, 60000), 60000);
		assert_int_equal(shutdown(fd[i], SHUT_WR), 0);
	}
	int late = client(s);
	(void)send_slowly(s, late, frame, sizeof(frame));
	RUN_UNTIL(s, s->forwarded == AT_ONCE + 1);
	assert_int_equal(tcp_connections(s->tcp), AT_ONCE + 1);
	close(late);
	for (unsigned i = 0; i < AT_ONCE; i++) {
		close(fd[i]);
	}
}

static void who_reads_no_answers_is_read_no_more_and_closed(void **state)
{
	struct server *s = *state;
	uint8_t frame[FRAME_LEN];
	unsigned asked = 0;
	s->conf.tcp_idle_ms = 300;
	start(s);
	int fd = client(s);
	put_query(frame, 1, ORDER_BIG);
	/* Until neither we nor the server take any more. */
	while (send(fd, frame, sizeof(frame), MSG_NOSIGNAL) == (ssize_t)sizeof(frame) &&
		asked < 1000) {
		asked++;
		settle(s);
	}
	/* What the kernel holds of ours and of the peer's buffer, and 256 KiB, and one answer. */
	assert_true(s->served < 300);
	unsigned served = s->served;
	int other = client(s);
	ask(other, 2, ORDER_ANSWER);
	assert_int_equal(take(s, other), 2);
	RUN_UNTIL(s, count(s, STAT_DROP_TCP_UNSENT) == 1);
	assert_int_equal(s->served, served + 1);
	close(other);
	close(fd);
}

static void large_answers_for_all_at_once_are_not_kept_without_limit(void **state)
{
	static uint8_t large[BIG_LEN] = {0, 0, 0x80};
	struct server *s = *state;
	s->conf.tcp_unsent_max = 4096; /* 256 KiB for all */
	start(s);
	int fd = client(s), other = client(s);
	for (uint16_t i = 0; i < TCP_IN_FLIGHT_MAX; i++) {
		ask(fd, i, ORDER_FORWARD);
	}
	RUN_UNTIL(s, s->forwarded == TCP_IN_FLIGHT_MAX);
	ask(other, 1, ORDER_FORWARD);
	RUN_UNTIL(s, s->forwarded == TCP_IN_FLIGHT_MAX + 1);
	for (unsigned i = 0; i < TCP_IN_FLIGHT_MAX; i++) {
		tcp_send(s->tcp, &s->asked[i], (struct span){large, sizeof(large)});
	}
	assert_int_equal(count(s, STAT_DROP_TCP_UNSENT), 1);
	reply(s, TCP_IN_FLIGHT_MAX); /* who owes nothing is answered all the same */
	assert_int_equal(take(s, other), 1);
	RUN_UNTIL(s, tcp_connections(s->tcp) == 1);
	close(fd);
	close(other);
}

static void who_reads_late_gets_everything(void **state)
{
	struct server *s = *state;
	start(s);
	int fd = client(s);
	for (uint16_t i = 0; i < 300; i++) {
		ask(fd, i, ORDER_BIG);
	}
	settle(s);
	assert_true(s->served < 300);
	for (uint16_t i = 0; i < 300; i++) {
		assert_int_equal(take(s, fd), i);
	}
	close(fd);
}

static void queries_in_flight_are_limited(void **state)
{
	struct server *s = *state;
	start(s);
	int fd = client(s);
	for (uint16_t i = 0; i < TCP_IN_FLIGHT_MAX + 50; i++) {
		ask(fd, i, ORDER_FORWARD);
	}
	settle(s);
	assert_int_equal(s->forwarded, TCP_IN_FLIGHT_MAX);
	for (unsigned i = 0; i < 50; i++) {
		reply(s, i);
		assert_int_equal(take(s, fd), i);
	}
	RUN_UNTIL(s, s->forwarded == TCP_IN_FLIGHT_MAX + 50);
	assert_int_equal(shutdown(fd, SHUT_WR), 0);
	for (unsigned i = 50; i < TCP_IN_FLIGHT_MAX + 50; i++) {
		reply(s, i);
		assert_int_equal(take(s, fd), i);
	}
	take_end(s, fd);
}

static void a_query_that_is_never_answered_holds_nothing_for_ever(void **state)
{
	struct server *s = *state;
	s->conf.forward_timeout_ms = 50;
	s->conf.tcp_idle_ms = 100;
	start(s);
	int fd = client(s);
	ask(fd, 1, ORDER_FORWARD);
	assert_int_equal(shutdown(fd, SHUT_WR), 0);
	take_end(s, fd);
}

static void an_idle_connection_is_closed(void **state)
{
	struct server *s = *state;
	s->conf.tcp_idle_ms = 200;
	start(s);
	int64_t begin = now_ms();
	int fd = client(s);
	ask(fd, 1, ORDER_ANSWER);
	assert_int_equal(take(s, fd), 1);
	take_end(s, fd);
	assert_true(now_ms() - begin >= 200);
	assert_int_equal(count(s, STAT_DROP_TCP_IDLE), 1);
}

static void who_waits_for_an_answer_is_not_idle(void **state)
{
	struct server *s = *state;
	s->conf.tcp_idle_ms = 50;
	start(s);
	int fd = client(s);
	ask(fd, 1, ORDER_FORWARD);
	int64_t begin = now_ms();
	RUN_UNTIL(s, now_ms() - begin > 250);
	assert_int_equal(tcp_connections(s->tcp), 1);
	reply(s, 0);
	assert_int_equal(take(s, fd), 1);
	take_end(s, fd);
}

static void a_frame_that_drips_is_given_up(void **state)
{
	struct server *s = *state;
	uint8_t frame[FRAME_LEN];
	size_t sent = 0;
	s->conf.tcp_idle_ms = 200;
	start(s);
	int fd = client(s);
	put_query(frame, 1, ORDER_ANSWER);
	/* An octet each turn, at most every 10 ms: never idle, never whole before the limit. */
	for (int64_t begin = now_ms(), last = 0; !readable(fd); turn(s)) {
		assert_true(now_ms() < begin + PATIENCE_MS);
		if (sent < sizeof(frame) - 1 && now_ms() - last >= 30) {
			assert_int_equal(send(fd, frame + sent, 1, MSG_NOSIGNAL), 1);
			sent++;
			last = now_ms();
		}
	}
	assert_true(sent < sizeof(frame) - 1);
	take_end(s, fd);
	assert_int_equal(count(s, STAT_DROP_TCP_IDLE), 1);
	assert_int_equal(s->served, 0);
}

static void at_the_cap_of_all_the_longest_idle_makes_room(void **state)
{
	struct server *s = *state;
	s->conf.tcp_connections_max = 2;
	start(s);
	int one = client(s), two = client(s);
	ask(one, 1, ORDER_ANSWER);
	assert_int_equal(take(s, one), 1);
	pass_ms(s, 2);
	ask(two, 2, ORDER_ANSWER);
	assert_int_equal(take(s, two), 2);
	int three = client(s);
	ask(three, 3, ORDER_ANSWER);
	assert_int_equal(take(s, three), 3);
	take_end(s, one);
	ask(two, 4, ORDER_ANSWER);
	assert_int_equal(take(s, two), 4);
	assert_int_equal(count(s, STAT_DROP_TCP_LIMIT), 1);
	close(two);
	close(three);
}

static void who_waits_for_an_answer_makes_no_room(void **state)
{
	struct server *s = *state;
	s->conf.tcp_connections_max = 2;
	start(s);
	int one = client(s), two = client(s);
	ask(one, 1, ORDER_FORWARD);
	ask(two, 2, ORDER_FORWARD);
	RUN_UNTIL(s, s->forwarded == 2);
	int three = client(s);
	take_end(s, three);
	assert_int_equal(count(s, STAT_DROP_TCP_LIMIT), 1);
	reply(s, 0);
	reply(s, 1);
	(void)take(s, one);
	(void)take(s, two);
	close(one);
	close(two);
}

static void at_the_cap_of_its_peer_others_keep_their_connections(void **state)
{
	struct server *s = *state;
	s->conf.tcp_connections_peer_max = 2;
	start(s);
	struct endpoint elsewhere = loopback(0);
	elsewhere.in.sin_addr.s_addr = htonl(INADDR_LOOPBACK + 1);
	int other = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
	assert_int_equal(bind(other, &elsewhere.sa, elsewhere.len), 0);
	assert_int_equal(connect(other, &s->at.sa, s->at.len), 0);
	RUN_UNTIL(s, tcp_connections(s->tcp) == 1);
	pass_ms(s, 2);
	int one = client(s);
	RUN_UNTIL(s, tcp_connections(s->tcp) == 2);
	pass_ms(s, 2);
	int two = client(s), three = client(s);
	take_end(s, one);
	assert_int_equal(count(s, STAT_DROP_TCP_LIMIT), 1);
	ask(other, 4, ORDER_ANSWER);
	assert_int_equal(take(s, other), 4);
	ask(two, 2, ORDER_ANSWER);
	assert_int_equal(take(s, two), 2);
	ask(three, 3, ORDER_ANSWER);
	assert_int_equal(take(s, three), 3);
	close(two);
	close(three);
	close(other);
}

static void without_descriptors_the_next_waits_its_turn(void **state)
{
	struct server *s = *state;
	struct rlimit before, none;
	s->conf.tcp_idle_ms = 200;
	start(s);
	settle(s);
	int fd = client(s);
	assert_int_equal(getrlimit(RLIMIT_NOFILE, &before), 0);
	none = before;
	none.rlim_cur = (rlim_t)fd + 1;
	assert_int_equal(setrlimit(RLIMIT_NOFILE, &none), 0);
	ask(fd, 1, ORDER_ANSWER);
	settle(s);
	assert_int_equal(tcp_connections(s->tcp), 0);
	assert_int_equal(setrlimit(RLIMIT_NOFILE, &before), 0);
	assert_int_equal(take(s, fd), 1);
	close(fd);
}

static void at_the_finish_every_answer_is_sent(void **state)
{
	struct server *s = *state;
	start(s);
	int waits = client(s), idle = client(s), slow = client(s);
	ask(waits, 1, ORDER_FORWARD);
	ask(idle, 2, ORDER_ANSWER);
	assert_int_equal(take(s, idle), 2);
	for (uint16_t i = 0; i < 100; i++) {
		ask(slow, i, ORDER_BIG);
	}
	RUN_UNTIL(s, s->forwarded == 1);
	settle(s);
	tcp_finish(s->tcp);
	take_end(s, idle);
	unsigned owed = s->served - 2;
	for (uint16_t i = 0; i < owed; i++) {
		assert_int_equal(take(s, slow), i);
	}
	take_end(s, slow);
	assert_int_equal(tcp_connections(s->tcp), 1);
	reply(s, 0);
	assert_int_equal(take(s, waits), 1);
	take_end(s, waits);
	assert_int_equal(tcp_connections(s->tcp), 0);
}

static void closing_does_not_wait(void **state)
{
	struct server *s = *state;
	start(s);
	int fd = client(s);
	ask(fd, 1, ORDER_FORWARD);
	ask(fd, 1, ORDER_BIG);
	RUN_UNTIL(s, s->forwarded == 1);
	tcp_close(s->tcp);
	s->tcp = NULL;
	close(fd);
}

static void two_workers_share_a_port(void **state)
{
	struct server *s = *state;
	struct tcp *other;
	start(s);
	assert_int_equal(tcp_open(&other, s->base, &s->conf, &s->stats, serve, s), 0);
	assert_int_equal(tcp_listen(other, &s->at, 0), 0);
	tcp_close(other);
}

static void all_of_loopback_is_listened_at_and_told_apart(void **state)
{
	struct server *s = *state;
	struct endpoint all;
	start(s);
	all = s->at;
	all.in.sin_addr.s_addr = htonl(INADDR_ANY);
	assert_int_equal(tcp_listen(s->tcp, &all, LISTEN_INSIDE | LISTEN_ELSEWHERE), 0);
	s->at.in.sin_addr.s_addr = htonl(0x7f6b0401); /* 127.107.4.1 */
	int fd = client(s);
	ask(fd, 1, ORDER_FORWARD);
	RUN_UNTIL(s, s->forwarded == 1);
	struct endpoint local;
	assert_int_equal(tcp_local(s->tcp, &s->asked[0], &local), 0);
	assert_true(endpoint_equal(&local, &s->at));
	assert_true(s->asked[0].elsewhere);
	close(fd);
}

static void an_address_that_is_not_ours_is_an_error(void **state)
{
	struct server *s = *state;
	start(s);
	struct endpoint foreign = loopback(0);
	foreign.in.sin_addr.s_addr = htonl(0xc0000201); /* 192.0.2.1 */
	assert_int_equal(tcp_listen(s->tcp, &foreign, 0), -EADDRNOTAVAIL);
}

#define STATEMENT(name) cmocka_unit_test_setup_teardown(name, setup, teardown)

int main(void)
{
	const struct CMUnitTest tests[] = {
		STATEMENT(a_query_is_answered),
		STATEMENT(answers_to_canaries_are_sent_and_not_counted),
		STATEMENT(pipelined_queries_are_all_answered),
		STATEMENT(frames_may_come_octet_by_octet),
		STATEMENT(forwarded_answers_come_as_they_are_ready),
		STATEMENT(a_forwarded_query_may_be_answered_at_once),
		STATEMENT(what_is_dropped_leaves_no_frame),
		STATEMENT(a_half_closed_peer_gets_all_its_answers),
		STATEMENT(a_slow_half_closed_peer_gets_all_its_answers),
		STATEMENT(a_reply_to_a_connection_that_left_is_dropped),
		STATEMENT(a_reply_to_nowhere_is_dropped),
		STATEMENT(a_reset_harms_nobody_else),
		STATEMENT(a_frame_shorter_than_a_header_ends_the_connection),
		STATEMENT(a_frame_over_the_limit_ends_the_connection),
		STATEMENT(what_is_no_query_may_be_as_long_as_messages_get),
		STATEMENT(what_it_is_is_waited_for),
		STATEMENT(large_messages_are_few_at_once),
		STATEMENT(who_sends_half_a_large_message_keeps_no_room),
		STATEMENT(who_reads_no_answers_is_read_no_more_and_closed),
		STATEMENT(large_answers_for_all_at_once_are_not_kept_without_limit),
		STATEMENT(who_reads_late_gets_everything),
		STATEMENT(queries_in_flight_are_limited),
		STATEMENT(a_query_that_is_never_answered_holds_nothing_for_ever),
		STATEMENT(an_idle_connection_is_closed),
		STATEMENT(who_waits_for_an_answer_is_not_idle),
		STATEMENT(a_frame_that_drips_is_given_up),
		STATEMENT(at_the_cap_of_all_the_longest_idle_makes_room),
		STATEMENT(who_waits_for_an_answer_makes_no_room),
		STATEMENT(at_the_cap_of_its_peer_others_keep_their_connections),
		STATEMENT(without_descriptors_the_next_waits_its_turn),
		STATEMENT(at_the_finish_every_answer_is_sent),
		STATEMENT(closing_does_not_wait),
		STATEMENT(two_workers_share_a_port),
		STATEMENT(all_of_loopback_is_listened_at_and_told_apart),
		STATEMENT(an_address_that_is_not_ours_is_an_error),
	};
	(void)signal(SIGPIPE, SIG_IGN);
	return cmocka_run_group_tests(tests, NULL, NULL);
}
