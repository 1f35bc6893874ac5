/* SPDX-License-Identifier: Apache-2.0
 *
 * UDP with real sockets on the loopback. The server is a function that the test gives: it answers
 * with the message itself, QR set, unless the octet behind the header says otherwise.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "dns/admin/stats.h"
#include "dns/serve/udp.h"

#include <arpa/inet.h>
#include <errno.h>
#include <event2/event.h>
#include <stdlib.h>
#include <sys/socket.h>
#include <sys/time.h>
#include <unistd.h>

enum { ORDER_DROP = 'd', ORDER_FORWARD = 'f', ORDER_LARGEST = 'l', ORDER_CANARY = 'c' };

struct server {
	struct event_base *base;
	struct udp *udp;
	struct stats stats;
	struct endpoint at;
	unsigned served;
	unsigned told;         /* of messages, before the first of their batch was served */
	uint8_t orders[64];    /* theirs */
	unsigned forwarded[2]; /* as many as are bearable, by socket */
	size_t last_len;
	struct requestor last;
};

/* Seams: the kernel's refusals, and what is allocated. */
int __real_sendmmsg(int fd, struct mmsghdr *messages, unsigned count, int flags);
int __wrap_sendmmsg(int fd, struct mmsghdr *messages, unsigned count, int flags);
ssize_t __real_sendto(int fd, const void *octets, size_t len, int flags,
	const struct sockaddr *peer, socklen_t peer_len);
ssize_t __wrap_sendto(int fd, const void *octets, size_t len, int flags,
	const struct sockaddr *peer, socklen_t peer_len);
int __real_recvmmsg(
	int fd, struct mmsghdr *messages, unsigned count, int flags, struct timespec *timeout);
int __wrap_recvmmsg(
	int fd, struct mmsghdr *messages, unsigned count, int flags, struct timespec *timeout);
void *__real_malloc(size_t size);
void *__wrap_malloc(size_t size);
void *__real_calloc(size_t count, size_t size);
void *__wrap_calloc(size_t count, size_t size);

static unsigned sendmmsg_calls;
static unsigned sendto_calls;
static unsigned allocations;
static int refused_octet; /* datagrams with it behind the header are refused … */
static int refused_error; /* … with this error */
static unsigned failures; /* of recvmmsg, the next times … */
static int failure;       /* … with this error */

static bool is_refused(const uint8_t *octets)
{
	return refused_error != 0 && octets[HEADER_LEN] == refused_octet;
}

/* As the kernel does: those before the failure are sent, and only a failure of the first is told.
 */
int __wrap_sendmmsg(int fd, struct mmsghdr *messages, unsigned count, int flags)
{
	unsigned good = 0;
	sendmmsg_calls++;
	while (good < count && !is_refused(messages[good].msg_hdr.msg_iov->iov_base)) {
		good++;
	}
	if (good == 0) {
		errno = refused_error;
		return -1;
	}
	return __real_sendmmsg(fd, messages, good, flags);
}

ssize_t __wrap_sendto(int fd, const void *octets, size_t len, int flags,
	const struct sockaddr *peer, socklen_t peer_len)
{
	sendto_calls++;
	if (is_refused(octets)) {
		errno = refused_error;
		return -1;
	}
	return __real_sendto(fd, octets, len, flags, peer, peer_len);
}

int __wrap_recvmmsg(
	int fd, struct mmsghdr *messages, unsigned count, int flags, struct timespec *timeout)
{
	if (failures > 0) {
		failures--;
		errno = failure;
		return -1;
	}
	return __real_recvmmsg(fd, messages, count, flags, timeout);
}

void *__wrap_malloc(size_t size)
{
	allocations++;
	return __real_malloc(size);
}

void *__wrap_calloc(size_t count, size_t size)
{
	allocations++;
	return __real_calloc(count, size);
}

static enum verdict serve(
	void *ctx, struct span message, const struct requestor *from, struct writer *out)
{
	struct server *s = ctx;
	uint8_t order = message.len > HEADER_LEN ? message.data[HEADER_LEN] : 0;
	s->served++;
	s->last_len = message.len;
	s->last = *from;
	if (order == ORDER_DROP || message.len < HEADER_LEN) {
		return VERDICT_DROP;
	}
	if (order == ORDER_FORWARD) {
		s->forwarded[from->slot] += udp_may_forward(s->udp, from);
		return VERDICT_FORWARD;
	}
	uint8_t *begin = out->data + out->len;
	writer_octets(out, message.data, message.len);
	begin[2] |= 0x80;
	if (order == ORDER_LARGEST) {
		size_t left = out->size - out->len;
		memset(writer_room(out, left), 'x', left);
	}
	assert_false(out->fault);
	return order == ORDER_CANARY ? VERDICT_CANARY : VERDICT_SEND;
}

static struct endpoint endpoint_of(const char *text, uint16_t port)
{
	struct endpoint e;
	memset(&e, 0, sizeof(e));
	if (inet_pton(AF_INET, text, &e.in.sin_addr) == 1) {
		e.in.sin_family = AF_INET;
		e.in.sin_port = htons(port);
		e.len = sizeof(e.in);
	} else {
		assert_int_equal(inet_pton(AF_INET6, text, &e.in6.sin6_addr), 1);
		e.in6.sin6_family = AF_INET6;
		e.in6.sin6_port = htons(port);
		e.len = sizeof(e.in6);
	}
	return e;
}

static int setup(void **state)
{
	struct server *s = calloc(1, sizeof(*s));
	assert_non_null(s);
	s->base = event_base_new();
	assert_non_null(s->base);
	assert_int_equal(udp_open(&s->udp, s->base, &s->stats, serve, s), 0);
	refused_error = 0;
	failures = 0;
	*state = s;
	return 0;
}

static int teardown(void **state)
{
	struct server *s = *state;
	udp_close(s->udp);
	event_base_free(s->base);
	free(s);
	return 0;
}

static bool has_ipv6(void)
{
	struct endpoint e = endpoint_of("::1", 0);
	int fd = socket(AF_INET6, SOCK_DGRAM | SOCK_CLOEXEC, 0);
	bool has = fd >= 0 && bind(fd, &e.sa, e.len) == 0;
	if (fd >= 0) {
		close(fd);
	}
	return has;
}

static void listen_at(struct server *s, const char *address)
{
	s->at = endpoint_of(address, 0);
	assert_int_equal(udp_listen(s->udp, &s->at, 0), 0);
	assert_int_not_equal(endpoint_port(&s->at), 0);
}

/* A socket that sends to `address` and takes datagrams from there alone. */
static int client_to(const struct server *s, const char *address)
{
	struct endpoint to = endpoint_of(address, endpoint_port(&s->at));
	int fd = socket(to.sa.sa_family, SOCK_DGRAM | SOCK_CLOEXEC, 0);
	struct timeval patience = {.tv_sec = 5};
	int large = 1 << 20;
	assert_true(fd >= 0);
	assert_int_equal(connect(fd, &to.sa, to.len), 0);
	assert_int_equal(setsockopt(fd, SOL_SOCKET, SO_RCVTIMEO, &patience, sizeof(patience)), 0);
	(void)setsockopt(fd, SOL_SOCKET, SO_RCVBUF, &large, sizeof(large));
	return fd;
}

/* A header with the ID, and one octet of orders. */
static void ask(int fd, uint16_t id, char order)
{
	uint8_t message[HEADER_LEN + 1] = {0};
	octets_put_u16(message, id);
	message[HEADER_LEN] = (uint8_t)order;
	assert_int_equal(send(fd, message, sizeof(message), 0), sizeof(message));
}

static void turn(struct server *s)
{
	assert_true(event_base_loop(s->base, EVLOOP_NONBLOCK) >= 0);
}

/* Take one datagram. @return its ID */
static uint16_t take(int fd, size_t *len)
{
	uint8_t message[UDP_SLOT_SIZE + 1];
	ssize_t n = recv(fd, message, sizeof(message), 0);
	assert_true(n >= HEADER_LEN);
	assert_int_equal(message[2] & 0x80, 0x80);
	*len = (size_t)n;
	return octets_u16(message);
}

/** One turn of the loop, where turn() has as many as there is something to do. */
static void one_turn(struct server *s)
{
	assert_true(event_base_loop(s->base, EVLOOP_ONCE | EVLOOP_NONBLOCK) >= 0);
}

static void nothing_left(int fd)
{
	uint8_t octet;
	assert_int_equal(recv(fd, &octet, 1, MSG_DONTWAIT), -1);
	assert_int_equal(errno, EAGAIN);
}

static void a_query_is_answered(void **state)
{
	struct server *s = *state;
	size_t len;
	listen_at(s, "127.0.0.1");
	int fd = client_to(s, "127.0.0.1");
	ask(fd, 7, 'x');
	turn(s);
	assert_int_equal(take(fd, &len), 7);
	assert_int_equal(len, HEADER_LEN + 1);
	assert_int_equal(s->last.local.len, 0);
	assert_false(s->last.tcp);
	close(fd);
}

static void batches_are_answered_with_one_call_each(void **state)
{
	struct server *s = *state;
	enum { QUERIES = 3 * UDP_BATCH + 8 };
	size_t len;
	listen_at(s, "127.0.0.1");
	int fd = client_to(s, "127.0.0.1");
	for (uint16_t i = 0; i < QUERIES; i++) {
		ask(fd, i, 'x');
	}
	sendmmsg_calls = 0;
	allocations = 0;
	turn(s);
	assert_int_equal(sendmmsg_calls, 4);
	assert_int_equal(allocations, 0);
	for (uint16_t i = 0; i < QUERIES; i++) {
		assert_int_equal(take(fd, &len), i);
	}
	nothing_left(fd);
	assert_int_equal(s->stats.request.count, QUERIES);
	assert_int_equal(s->stats.value[STAT_DROP_SEND], 0);
	close(fd);
}

/* Unless the kernel has to be told where it leaves from. */
static void an_answer_alone_leaves_by_the_shorter_call(void **state)
{
	struct server *s = *state;
	size_t len;
	listen_at(s, "127.0.0.1");
	int one = client_to(s, "127.0.0.1");
	listen_at(s, "0.0.0.0");
	int wild = client_to(s, "127.0.0.2");
	sendmmsg_calls = sendto_calls = 0;
	ask(one, 1, 'x');
	turn(s);
	assert_int_equal(sendto_calls, 1);
	assert_int_equal(sendmmsg_calls, 0);
	ask(wild, 2, 'x');
	turn(s);
	assert_int_equal(sendto_calls, 1);
	assert_int_equal(sendmmsg_calls, 1);
	assert_int_equal(take(one, &len), 1);
	assert_int_equal(take(wild, &len), 2);
	close(one);
	close(wild);
}

static void expect(void *ctx, const struct span *messages, unsigned count)
{
	struct server *s = ctx;
	assert_int_equal(s->served, s->told);
	assert_in_range(count, 1, UDP_BATCH);
	for (unsigned i = 0; i < count; i++) {
		s->orders[s->told++] = messages[i].data[HEADER_LEN];
	}
}

static void a_batch_is_told_of_before_it_is_served(void **state)
{
	struct server *s = *state;
	listen_at(s, "127.0.0.1");
	udp_set_expect(s->udp, expect);
	int fd = client_to(s, "127.0.0.1");
	for (uint16_t i = 0; i < 6; i++) {
		ask(fd, i, "abdfgh"[i]);
	}
	turn(s);
	ask(fd, 7, 'z');
	turn(s);
	assert_int_equal(s->told, 7);
	assert_int_equal(s->served, 7);
	assert_memory_equal(s->orders, "abdfghz", 7);
	close(fd);
}

/* One behind the other, whatever their lengths, and in one call. */
static void answers_of_all_lengths_leave_together(void **state)
{
	struct server *s = *state;
	size_t len;
	listen_at(s, "127.0.0.1");
	int fd = client_to(s, "127.0.0.1");
	for (uint16_t i = 0; i < UDP_BATCH; i++) {
		ask(fd, i, i % 3 == 0 ? ORDER_LARGEST : i % 3 == 1 ? ORDER_DROP : 'x');
	}
	sendmmsg_calls = 0;
	turn(s);
	assert_int_equal(sendmmsg_calls, 1);
	for (uint16_t i = 0; i < UDP_BATCH; i++) {
		if (i % 3 != 1) {
			assert_int_equal(take(fd, &len), i);
			assert_int_equal(len, i % 3 == 0 ? UDP_SLOT_SIZE : HEADER_LEN + 1);
		}
	}
	nothing_left(fd);
	close(fd);
}

/* What a turn of the loop takes: full batches. */
enum { TURN = 4 * UDP_BATCH };

static void ask_to_forward(int fd, unsigned count)
{
	for (unsigned i = 0; i < count; i++) {
		ask(fd, 1, ORDER_FORWARD);
	}
}

/* Others are asked for all of it, as long as a full buffer can be what waits. */
static void a_burst_is_forwarded_whole(void **state)
{
	struct server *s = *state;
	listen_at(s, "127.0.0.1");
	int fd = client_to(s, "127.0.0.1");
	for (unsigned burst = 0; burst < 5; burst++) {
		for (unsigned i = 0; i < 10; i++) { /* 40 full batches in a row, and then none */
			ask_to_forward(fd, TURN);
			turn(s);
		}
		turn(s);
		ask_to_forward(fd, 1);
		turn(s);
	}
	assert_int_equal(s->served, 5 * (10 * TURN + 1));
	assert_int_equal(s->forwarded[0], s->served);
	close(fd);
}

/* Each is taken whole, and then there is nothing: the end of what waits falls between batches. */
static void bursts_of_full_batches_are_forwarded_whole(void **state)
{
	struct server *s = *state;
	listen_at(s, "127.0.0.1");
	int fd = client_to(s, "127.0.0.1");
	for (unsigned burst = 0; burst < 400; burst++) {
		ask_to_forward(fd, burst % 5 < 4 ? UDP_BATCH : TURN);
		turn(s);
		turn(s);
	}
	assert_int_equal(s->forwarded[0], s->served);
	close(fd);
}

static void count(evutil_socket_t fd, short what, void *arg)
{
	unsigned *times = arg;
	(void)fd, (void)what;
	++*times;
}

/* Nothing comes any more that would make the loop look; and others have their turn meanwhile. */
static void what_is_more_than_a_turn_is_answered_without_a_reminder(void **state)
{
	struct server *s = *state;
	enum { TURNS = 5 };
	unsigned times = 0;
	listen_at(s, "127.0.0.1");
	int fd = client_to(s, "127.0.0.1");
	for (uint16_t i = 0; i < TURNS * TURN + 1; i++) {
		ask(fd, i, ORDER_DROP);
	}
	struct event *other = event_new(s->base, fd, EV_WRITE | EV_PERSIST, count, &times);
	assert_int_equal(event_add(other, NULL), 0);
	for (unsigned i = 1; i <= TURNS; i++) {
		one_turn(s);
		assert_int_equal(s->served, i * TURN);
		assert_int_equal(times, i);
	}
	one_turn(s);
	assert_int_equal(s->served, TURNS * TURN + 1);
	event_free(other);
	close(fd);
}

/* However much comes to another socket in each turn. */
static void what_is_more_than_a_turn_waits_for_no_other_socket(void **state)
{
	struct server *s = *state;
	listen_at(s, "127.0.0.1");
	int one = client_to(s, "127.0.0.1");
	listen_at(s, "127.0.0.1");
	int other = client_to(s, "127.0.0.1");
	ask_to_forward(other, TURN + UDP_BATCH);
	one_turn(s);
	assert_int_equal(s->forwarded[1], TURN);
	ask_to_forward(one, TURN);
	one_turn(s);
	assert_int_equal(s->forwarded[1], TURN + UDP_BATCH);
	for (unsigned i = 1; i < 10; i++) {
		assert_int_equal(s->forwarded[0], i * TURN);
		ask_to_forward(one, TURN);
		one_turn(s);
	}
	close(one);
	close(other);
}

static void an_error_says_nothing_of_what_is_behind_it(void **state)
{
	struct server *s = *state;
	static const int errors[] = {EINTR, ENOMEM, ECONNREFUSED};
	size_t len;
	listen_at(s, "127.0.0.1");
	int fd = client_to(s, "127.0.0.1");
	for (uint16_t i = 0; i < sizeof(errors) / sizeof(errors[0]); i++) {
		failure = errors[i];
		for (unsigned times = 1; times <= 9; times += 4) {
			failures = times;
			ask(fd, i, 'x');
			for (unsigned n = 0; n < 4; n++) {
				one_turn(s);
			}
			assert_int_equal(failures, 0);
			assert_int_equal(take(fd, &len), i);
		}
	}
	close(fd);
}

/** Until one finds no room. */
static void ask_too_much(const struct server *s, int fd)
{
	uint64_t before = udp_overflows(s->udp);
	while (udp_overflows(s->udp) == before) {
		ask(fd, 1, ORDER_FORWARD);
	}
}

/* Without time for a while, and then as much work as ever: what waits becomes less, slowly. */
static void after_a_pause_all_that_waits_is_forwarded(void **state)
{
	struct server *s = *state;
	listen_at(s, "127.0.0.1");
	int fd = client_to(s, "127.0.0.1");
	ask_too_much(s, fd);
	uint64_t lost = udp_overflows(s->udp);
	for (unsigned i = 0; i < 60; i++) {
		one_turn(s);
		ask_to_forward(fd, i < 3 ? 0 : 200); /* the kernel makes room by the quarter */
	}
	turn(s);
	assert_int_equal(udp_overflows(s->udp), lost);
	assert_int_equal(s->forwarded[0], s->served);
	close(fd);
}

/* The buffer overflows all the time: half as many of a batch, and half of these, but never none. */
static void of_too_much_a_share_is_forwarded(void **state)
{
	struct server *s = *state;
	unsigned share = 0;
	listen_at(s, "127.0.0.1");
	int fd = client_to(s, "127.0.0.1");
	for (unsigned i = 0; i < 90; i++) { /* 360 full batches */
		ask_too_much(s, fd);
		s->forwarded[0] = 0;
		one_turn(s);
		assert_true(i == 0 || s->forwarded[0] <= share);
		share = s->forwarded[0];
	}
	assert_int_equal(share, 4); /* one of each batch */

	/* As soon as there is an end to it, more and more, until it is all. */
	turn(s);
	for (unsigned i = 0; i < UDP_BATCH; i++) {
		ask_to_forward(fd, i % 2 ? 1 : UDP_BATCH); /* nothing is behind either */
		turn(s);
	}
	ask_to_forward(fd, TURN);
	s->forwarded[0] = 0;
	turn(s);
	assert_int_equal(s->forwarded[0], TURN);
	close(fd);
}

/* Neither do those of the one get less for the other's sake, nor those of the other more. */
static void each_socket_has_a_share_of_its_own(void **state)
{
	struct server *s = *state;
	listen_at(s, "127.0.0.1");
	int much = client_to(s, "127.0.0.1");
	listen_at(s, "127.0.0.1");
	int little = client_to(s, "127.0.0.1");
	for (unsigned i = 0; i < 90; i++) {
		ask_too_much(s, much);
		ask_to_forward(little, 10);
		s->forwarded[0] = 0;
		one_turn(s);
	}
	assert_int_equal(s->forwarded[0], 4);
	turn(s);
	assert_int_equal(s->forwarded[1], 90 * 10);
	close(much);
	close(little);
}

static void answers_go_to_who_asked(void **state)
{
	struct server *s = *state;
	int fd[5];
	size_t len;
	listen_at(s, "127.0.0.1");
	for (uint16_t i = 0; i < 5; i++) {
		fd[i] = client_to(s, "127.0.0.1");
		ask(fd[i], i, i == 2 ? ORDER_DROP : i == 3 ? ORDER_FORWARD : 'x');
	}
	turn(s);
	assert_int_equal(s->served, 5);
	for (uint16_t i = 0; i < 5; i++) {
		if (i == 2 || i == 3) {
			nothing_left(fd[i]);
		} else {
			assert_int_equal(take(fd[i], &len), i);
		}
		close(fd[i]);
	}
	assert_int_equal(s->stats.request.count, 3);
}

static void answers_to_canaries_are_sent_and_not_counted(void **state)
{
	struct server *s = *state;
	size_t len;
	listen_at(s, "127.0.0.1");
	int fd = client_to(s, "127.0.0.1");
	for (uint16_t i = 0; i < 4; i++) {
		ask(fd, i, i == 1 ? 'x' : ORDER_CANARY);
	}
	turn(s);
	for (uint16_t i = 0; i < 4; i++) {
		assert_int_equal(take(fd, &len), i);
	}
	assert_int_equal(s->stats.request.count, 1);
	ask(fd, 5, 'x');
	turn(s);
	assert_int_equal(take(fd, &len), 5);
	assert_int_equal(s->stats.request.count, 2);
	close(fd);
}

static void answers_leave_from_the_ipv4_address_asked(void **state)
{
	struct server *s = *state;
	size_t len;
	listen_at(s, "0.0.0.0");
	int one = client_to(s, "127.0.0.1");
	int two = client_to(s, "127.0.0.2");
	ask(one, 1, 'x');
	ask(two, 2, 'x');
	turn(s);
	assert_int_equal(take(one, &len), 1);
	assert_int_equal(take(two, &len), 2);
	nothing_left(one);
	close(one);
	close(two);
}

/* What has arrived is answered still; what comes is for who shares the port. */
static void who_leaves_gets_nothing_more(struct server *s, const char *address, const char *asked)
{
	enum { CLIENTS = 32 };
	struct server second = {.base = s->base};
	int fd[CLIENTS];
	size_t len;
	listen_at(s, address);
	int early = client_to(s, asked);
	ask(early, 99, 'x');
	assert_int_equal(udp_open(&second.udp, s->base, &second.stats, serve, &second), 0);
	second.at = s->at;
	assert_int_equal(udp_listen(second.udp, &second.at, 0), 0);
	udp_leave(s->udp);
	for (uint16_t i = 0; i < CLIENTS; i++) {
		fd[i] = client_to(s, asked);
		ask(fd[i], i, 'x');
	}
	turn(s);
	assert_int_equal(s->served, 1);
	assert_int_equal(take(early, &len), 99);
	for (uint16_t i = 0; i < CLIENTS; i++) {
		assert_int_equal(take(fd[i], &len), i);
		close(fd[i]);
	}
	assert_int_equal(second.served, CLIENTS);
	close(early);
	udp_close(second.udp);
}

static void another_of_us_gets_what_comes_after_leaving(void **state)
{
	who_leaves_gets_nothing_more(*state, "127.0.0.1", "127.0.0.1");
}

static void another_of_us_gets_it_on_a_wildcard_address_too(void **state)
{
	who_leaves_gets_nothing_more(*state, "0.0.0.0", "127.0.0.2");
}

static void answers_leave_from_the_ipv6_address_asked(void **state)
{
	struct server *s = *state;
	size_t len;
	if (!has_ipv6()) {
		print_message("no IPv6 here\n");
		skip();
	}
	listen_at(s, "::");
	int fd = client_to(s, "::1");
	ask(fd, 3, 'x');
	turn(s);
	assert_int_equal(take(fd, &len), 3);
	assert_int_equal(s->last.local.sa.sa_family, AF_INET6);
	close(fd);
}

static void a_forwarded_reply_leaves_from_the_address_asked(void **state)
{
	struct server *s = *state;
	uint8_t reply[HEADER_LEN] = {0, 9, 0x80};
	size_t len;
	listen_at(s, "127.0.0.1");
	listen_at(s, "0.0.0.0"); /* the second socket: the slot matters */
	int fd = client_to(s, "127.0.0.2");
	ask(fd, 9, ORDER_FORWARD);
	turn(s);
	nothing_left(fd);
	assert_int_equal(s->last.slot, 1);
	udp_send(s->udp, &s->last, (struct span){.data = reply, .len = sizeof(reply)});
	turn(s);
	assert_int_equal(take(fd, &len), 9);
	assert_int_equal(len, sizeof(reply));
	close(fd);
}

static void sockets_of_both_kinds_share_the_buffers(void **state)
{
	struct server *s = *state;
	size_t len;
	listen_at(s, "0.0.0.0");
	int wild = client_to(s, "127.0.0.2");
	listen_at(s, "127.0.0.1");
	int plain = client_to(s, "127.0.0.1");
	for (uint16_t i = 0; i < 3; i++) {
		ask(wild, i, 'x');
		turn(s);
		assert_int_equal(take(wild, &len), i);
		ask(plain, i, 'x');
		turn(s);
		assert_int_equal(take(plain, &len), i);
	}
	close(wild);
	close(plain);
}

static void of_a_datagram_that_was_cut_the_header_is_served(void **state)
{
	struct server *s = *state;
	static const uint8_t huge[UDP_SLOT_SIZE + 1] = {0, 5};
	size_t len;
	listen_at(s, "127.0.0.1");
	int fd = client_to(s, "127.0.0.1");
	assert_int_equal(send(fd, huge, sizeof(huge) - 1, 0), sizeof(huge) - 1);
	turn(s);
	assert_int_equal(s->last_len, UDP_SLOT_SIZE);
	assert_int_equal(take(fd, &len), 5);
	assert_int_equal(send(fd, huge, sizeof(huge), 0), sizeof(huge));
	turn(s);
	assert_int_equal(s->last_len, HEADER_LEN);
	assert_int_equal(take(fd, &len), 5);
	ask(fd, 6, 'x'); /* the slot is whole again */
	turn(s);
	assert_int_equal(take(fd, &len), 6);
	close(fd);
}

static void an_empty_datagram_is_served_as_such(void **state)
{
	struct server *s = *state;
	struct requestor nobody = {.slot = 99};
	listen_at(s, "127.0.0.1");
	int fd = client_to(s, "127.0.0.1");
	assert_int_equal(send(fd, "", 0, 0), 0);
	ask(fd, 1, ORDER_DROP);
	turn(s);
	assert_int_equal(s->served, 2);
	udp_send(s->udp, &nobody, (struct span){.data = (const uint8_t *)"x", .len = 1});
	nothing_left(fd);
	close(fd);
}

static void the_largest_response_fits_one_slot(void **state)
{
	struct server *s = *state;
	size_t len;
	listen_at(s, "127.0.0.1");
	int fd = client_to(s, "127.0.0.1");
	for (uint16_t i = 0; i < UDP_BATCH; i++) {
		ask(fd, i, ORDER_LARGEST);
	}
	turn(s);
	for (uint16_t i = 0; i < UDP_BATCH; i++) {
		assert_int_equal(take(fd, &len), i);
		assert_int_equal(len, UDP_SLOT_SIZE);
	}
	assert_int_equal(s->stats.value[STAT_DROP_SEND], 0);
	close(fd);
}

static void what_the_kernel_refuses_loses_nothing_else(void **state)
{
	struct server *s = *state;
	static const int errors[] = {EPERM, EAGAIN, ENOBUFS, ECONNREFUSED, ENETUNREACH};
	size_t len;
	listen_at(s, "127.0.0.1");
	int fd = client_to(s, "127.0.0.1");
	for (unsigned e = 0; e < sizeof(errors) / sizeof(errors[0]); e++) {
		refused_error = errors[e];
		refused_octet = 'r';
		for (uint16_t i = 0; i < 10; i++) {
			ask(fd, i, i == 0 || i == 4 || i == 5 || i == 9 ? 'r' : 'x');
		}
		turn(s);
		for (uint16_t i = 0; i < 10; i++) {
			if (i != 0 && i != 4 && i != 5 && i != 9) {
				assert_int_equal(take(fd, &len), i);
			}
		}
		nothing_left(fd);
		assert_int_equal(s->stats.value[STAT_DROP_SEND], 4 * (e + 1));
	}
	close(fd);
}

static void an_answer_alone_that_the_kernel_refuses_is_counted(void **state)
{
	struct server *s = *state;
	size_t len;
	listen_at(s, "127.0.0.1");
	int fd = client_to(s, "127.0.0.1");
	refused_error = EPERM;
	refused_octet = 'r';
	ask(fd, 1, 'r');
	turn(s);
	ask(fd, 2, 'x');
	turn(s);
	assert_int_equal(take(fd, &len), 2);
	nothing_left(fd);
	assert_int_equal(s->stats.value[STAT_DROP_SEND], 1);
	close(fd);
}

static void a_reply_that_the_kernel_refuses_is_counted(void **state)
{
	struct server *s = *state;
	static const uint8_t message[HEADER_LEN];
	listen_at(s, "127.0.0.1");
	struct requestor to = {.peer = endpoint_of("127.0.0.1", 0)}; /* port 0: EINVAL */
	udp_send(s->udp, &to, (struct span){.data = message, .len = sizeof(message)});
	turn(s);
	assert_int_equal(s->stats.value[STAT_DROP_SEND], 1);
}

/* More of them than are collected, a large one among them, and through two sockets in turn. */
static void replies_leave_together_and_none_is_lost(void **state)
{
	struct server *s = *state;
	enum { COUNT = 100, LARGE = 4000 };
	static uint8_t reply[LARGE] = {[2] = 0x80};
	size_t len;
	struct requestor to[2];
	int fd[2];
	for (unsigned i = 0; i < 2; i++) {
		const char *at = i == 0 ? "127.0.0.1" : "127.0.0.2";
		listen_at(s, at);
		fd[i] = client_to(s, at);
		ask(fd[i], 9, ORDER_FORWARD);
		turn(s);
		to[i] = s->last;
	}
	sendmmsg_calls = sendto_calls = 0;
	for (uint16_t i = 0; i < COUNT; i++) {
		octets_put_u16(reply, i);
		udp_send(s->udp, &to[i < 50 ? 0 : i % 2],
			(struct span){.data = reply, .len = i % 10 == 0 ? LARGE : 100});
	}
	assert_true(sendmmsg_calls + sendto_calls > 50); /* of the second half each */
	sendmmsg_calls = 0;
	udp_send(s->udp, &to[0], (struct span){.data = reply, .len = HEADER_LEN});
	turn(s);
	bool seen[COUNT] = {false};
	for (unsigned i = 0; i < COUNT + 1; i++) {
		unsigned side = i < 76 ? 0 : 1; /* 50, 25 of the rest, and the last one */
		uint16_t id = take(fd[side], &len);
		seen[id] = true;
		assert_true(len == LARGE || len == 100 || len == HEADER_LEN);
	}
	for (unsigned i = 0; i < COUNT; i++) {
		assert_true(seen[i]);
	}
	nothing_left(fd[0]);
	nothing_left(fd[1]);
	close(fd[0]);
	close(fd[1]);
}

static void two_workers_share_a_port(void **state)
{
	struct server *s = *state;
	struct udp *other;
	listen_at(s, "127.0.0.1");
	struct endpoint same = s->at;
	assert_int_equal(udp_open(&other, s->base, &s->stats, serve, s), 0);
	assert_int_equal(udp_listen(other, &same, 0), 0);
	udp_close(other);
}

static void all_of_loopback_answers_from_where_it_was_asked(void **state)
{
	struct server *s = *state;
	size_t len;
	s->at = endpoint_of("0.0.0.0", 0);
	assert_int_equal(udp_listen(s->udp, &s->at, LISTEN_INSIDE | LISTEN_ELSEWHERE), 0);
	int fd = client_to(s, "127.107.4.1"); /* takes nothing from elsewhere */
	ask(fd, 7, 0);
	turn(s);
	assert_int_equal(take(fd, &len), 7);
	assert_int_equal(s->last.local.in.sin_addr.s_addr, inet_addr("127.107.4.1"));
	assert_true(s->last.elsewhere);
	close(fd);
}

static void an_address_that_is_not_ours_is_an_error(void **state)
{
	struct server *s = *state;
	struct endpoint foreign = endpoint_of("192.0.2.1", 0);
	assert_int_equal(udp_listen(s->udp, &foreign, 0), -EADDRNOTAVAIL);
}

static void datagrams_that_found_no_room_are_counted(void **state)
{
	struct server *s = *state;
	static const uint8_t message[1000];
	listen_at(s, "127.0.0.1");
	int fd = client_to(s, "127.0.0.1");
	assert_int_equal(udp_overflows(s->udp), 0);
	for (unsigned i = 0; i < 20000 && udp_overflows(s->udp) == 0; i++) {
		(void)send(fd, message, sizeof(message), 0);
	}
	assert_true(udp_overflows(s->udp) > 0);
	close(fd);
}

#define STATEMENT(name) cmocka_unit_test_setup_teardown(name, setup, teardown)

int main(void)
{
	const struct CMUnitTest tests[] = {
		STATEMENT(a_query_is_answered),
		STATEMENT(batches_are_answered_with_one_call_each),
		STATEMENT(an_answer_alone_leaves_by_the_shorter_call),
		STATEMENT(what_is_more_than_a_turn_is_answered_without_a_reminder),
		STATEMENT(what_is_more_than_a_turn_waits_for_no_other_socket),
		STATEMENT(an_error_says_nothing_of_what_is_behind_it),
		STATEMENT(a_batch_is_told_of_before_it_is_served),
		STATEMENT(answers_of_all_lengths_leave_together),
		STATEMENT(a_burst_is_forwarded_whole),
		STATEMENT(bursts_of_full_batches_are_forwarded_whole),
		STATEMENT(after_a_pause_all_that_waits_is_forwarded),
		STATEMENT(of_too_much_a_share_is_forwarded),
		STATEMENT(each_socket_has_a_share_of_its_own),
		STATEMENT(answers_go_to_who_asked),
		STATEMENT(answers_to_canaries_are_sent_and_not_counted),
		STATEMENT(answers_leave_from_the_ipv4_address_asked),
		STATEMENT(another_of_us_gets_what_comes_after_leaving),
		STATEMENT(another_of_us_gets_it_on_a_wildcard_address_too),
		STATEMENT(answers_leave_from_the_ipv6_address_asked),
		STATEMENT(a_forwarded_reply_leaves_from_the_address_asked),
		STATEMENT(sockets_of_both_kinds_share_the_buffers),
		STATEMENT(of_a_datagram_that_was_cut_the_header_is_served),
		STATEMENT(an_empty_datagram_is_served_as_such),
		STATEMENT(the_largest_response_fits_one_slot),
		STATEMENT(what_the_kernel_refuses_loses_nothing_else),
		STATEMENT(an_answer_alone_that_the_kernel_refuses_is_counted),
		STATEMENT(a_reply_that_the_kernel_refuses_is_counted),
		STATEMENT(replies_leave_together_and_none_is_lost),
		STATEMENT(two_workers_share_a_port),
		STATEMENT(all_of_loopback_answers_from_where_it_was_asked),
		STATEMENT(an_address_that_is_not_ours_is_an_error),
		STATEMENT(datagrams_that_found_no_room_are_counted),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
