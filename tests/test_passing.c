/* SPDX-License-Identifier: Apache-2.0
 *
 * Passing on, between a requestor that is a callback and a server that is a socket of the test.
 */
#include "tests/virtual_time.h"

#include "tests/message.h"

#include "dns/resolve/passing.h"

#include <arpa/inet.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <unistd.h>

enum { SLOTS = 4, TYPE_SOMETHING = 4711, LARGE = 60000 };

static struct {
	struct event_base *base;
	struct passing_udp *udp;
	struct passing_tcp *tcp;
	int server; /* UDP */
	int listener;
	struct endpoint udp_at;
	struct endpoint tcp_at;

	unsigned replies;
	struct requestor to; /* of the last one */
	size_t len;
	uint8_t octets[65535];
	enum passing_peer says; /* the requestor, over TCP */
	unsigned ended;
} w;

static void on_reply(void *ctx, const struct requestor *to, struct span message)
{
	(void)ctx;
	w.replies++;
	w.to = *to;
	w.len = message.len;
	memcpy(w.octets, message.data, message.len);
}

static enum passing_peer on_tcp_reply(void *ctx, const struct requestor *to, struct span message)
{
	on_reply(ctx, to, message);
	return w.says;
}

static void on_end(void *ctx, const struct requestor *to)
{
	(void)ctx;
	w.to = *to;
	w.ended++;
}

static int bound(int type, struct endpoint *at)
{
	int fd = socket(AF_INET, type | SOCK_NONBLOCK, 0);
	*at = (struct endpoint){.in.sin_family = AF_INET, .len = sizeof(at->in)};
	at->in.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
	assert_true(fd >= 0);
	assert_int_equal(bind(fd, &at->sa, at->len), 0);
	assert_int_equal(getsockname(fd, &at->sa, &at->len), 0);
	return fd;
}

static int setup(void **state)
{
	(void)state;
	memset(&w, 0, sizeof(w));
	w.base = event_base_new();
	vt_open(w.base);
	w.server = bound(SOCK_DGRAM, &w.udp_at);
	w.listener = bound(SOCK_STREAM, &w.tcp_at);
	assert_int_equal(listen(w.listener, 8), 0);
	assert_int_equal(passing_udp_open(&w.udp, w.base, 0, PASSING_FLOWS_MAX, on_reply, NULL), 0);
	assert_int_equal(passing_tcp_open(&w.tcp, w.base, 0, SLOTS, on_tcp_reply, on_end, NULL), 0);
	return 0;
}

static int teardown(void **state)
{
	(void)state;
	passing_udp_close(w.udp);
	passing_tcp_close(w.tcp);
	close(w.server);
	close(w.listener);
	vt_close();
	event_base_free(w.base);
	return 0;
}

static struct requestor client(uint16_t port)
{
	struct requestor from = {.peer.in = {.sin_family = AF_INET, .sin_port = htons(port)},
		.peer.len = sizeof(from.peer.in)};
	from.peer.in.sin_addr.s_addr = htonl(0xc0000201);
	return from;
}

static struct requestor connection(uint32_t slot, uint32_t generation)
{
	return (struct requestor){.slot = slot, .generation = generation, .tcp = true};
}

static const struct message *a_query(void)
{
	static struct message m;
	message_query(&m, "www.example.org", TYPE_SOMETHING);
	return &m;
}

/* UDP. */

static void pass(uint16_t port)
{
	struct requestor from = client(port);
	assert_int_equal(passing_udp_send(w.udp, message_span(a_query()), &from, &w.udp_at), 0);
}

/** What the server has got. @return the port that it came from */
static uint16_t arrived(struct endpoint *from)
{
	uint8_t octets[512];
	struct message query = *a_query();
	from->len = sizeof(from->in6);
	ssize_t n = recvfrom(w.server, octets, sizeof(octets), 0, &from->sa, &from->len);
	assert_int_equal(n, query.w.len);
	assert_memory_equal(octets, query.octets, query.w.len);
	return endpoint_port(from);
}

static void say(const struct endpoint *to, const char *text)
{
	assert_int_equal(sendto(w.server, text, strlen(text), 0, &to->sa, to->len), strlen(text));
	vt_settle();
}

static void a_datagram_goes_there_and_its_answer_back(void **state)
{
	struct endpoint from;
	struct requestor one = client(1000);
	(void)state;
	pass(1000);
	(void)arrived(&from);
	assert_true(endpoint_equal(passing_udp_server(w.udp, &one), &w.udp_at));
	say(&from, "whatever it is");
	assert_int_equal(w.replies, 1);
	assert_true(endpoint_equal(&w.to.peer, &one.peer));
	assert_int_equal(w.len, 14);
	assert_memory_equal(w.octets, "whatever it is", 14);
	assert_null(passing_udp_server(w.udp, &one));
	say(&from, "and once more.");
	assert_int_equal(w.replies, 2);
	say(&from, "too short");
	assert_int_equal(w.replies, 2);
}

static void a_flow_has_one_port_until_it_is_over(void **state)
{
	struct endpoint from;
	(void)state;
	pass(1000);
	uint16_t port = arrived(&from);
	pass(1000);
	assert_int_equal(arrived(&from), port);
	pass(1001);
	assert_int_not_equal(arrived(&from), port);
	vt_pass(PASSING_IDLE_MS - 1000);
	pass(1000);
	assert_int_equal(arrived(&from), port);
	say(&from, "first answer");
	say(&from, "second answer");
	say(&from, "third answer");
	vt_pass(PASSING_ANSWERED_MS + 1000);
	pass(1000);
	assert_int_not_equal(arrived(&from), port);
	vt_pass(PASSING_IDLE_MS + 1000);
	say(&from, "nobody waits");
	assert_int_equal(w.replies, 3);
}

static void a_port_that_asks_another_server_is_another_flow(void **state)
{
	struct endpoint from;
	struct endpoint other;
	struct requestor one = client(1000);
	int fd = bound(SOCK_DGRAM, &other);
	(void)state;
	pass(1000);
	(void)arrived(&from);
	assert_int_equal(passing_udp_send(w.udp, message_span(a_query()), &one, &other), 0);
	say(&from, "from the first");
	assert_int_equal(w.replies, 0);
	assert_true(endpoint_equal(passing_udp_server(w.udp, &one), &other));
	close(fd);
}

/* With eBPF one port asks as many servers as it likes, and our own address tells them apart. */
static void each_address_of_ours_is_another_flow(void **state)
{
	struct endpoint from;
	struct requestor one = client(1000);
	struct requestor other = client(1000);
	(void)state;
	one.local.len = other.local.len = sizeof(one.local.in);
	one.local.in =
		(struct sockaddr_in){.sin_family = AF_INET, .sin_addr.s_addr = htonl(0x7f6b0001)};
	other.local.in =
		(struct sockaddr_in){.sin_family = AF_INET, .sin_addr.s_addr = htonl(0x7f6b0002)};
	assert_int_equal(passing_udp_send(w.udp, message_span(a_query()), &one, &w.udp_at), 0);
	(void)arrived(&from);
	assert_non_null(passing_udp_server(w.udp, &one));
	assert_null(passing_udp_server(w.udp, &other));
}

static void where_nobody_is_there_the_answer_is_servfail(void **state)
{
	struct requestor one = client(1000);
	ldns_pkt *packet;
	(void)state;
	close(w.server);
	w.server = -1;
	for (unsigned i = 1; i <= 2; i++) { /* the first error is not the second query's */
		assert_int_equal(
			passing_udp_send(w.udp, message_span(a_query()), &one, &w.udp_at), 0);
		vt_settle();
		assert_int_equal(w.replies, i);
		packet = packet_of((struct span){w.octets, w.len});
		assert_int_equal(ldns_pkt_get_rcode(packet), LDNS_RCODE_SERVFAIL);
		assert_int_equal(ldns_pkt_id(packet), 0x1234);
		assert_int_equal(ldns_pkt_qdcount(packet), 1);
		ldns_pkt_free(packet);
	}
}

/* RFC 2136 has no question that we could read: it is owed none. */
static void an_update_without_a_server_is_answered_by_its_header(void **state)
{
	struct requestor one = client(1000);
	struct message m;
	(void)state;
	close(w.server);
	w.server = -1;
	message_begin(&m, 5 << 11);
	assert_int_equal(passing_udp_send(w.udp, message_span(&m), &one, &w.udp_at), 0);
	vt_settle();
	assert_int_equal(w.replies, 0);
}

static void without_descriptors_the_oldest_flow_makes_room(void **state)
{
	struct rlimit before;
	struct rlimit few;
	struct endpoint from;
	struct requestor first = client(1000);
	(void)state;
	assert_int_equal(getrlimit(RLIMIT_NOFILE, &before), 0);
	few = before;
	int next = dup(0);
	close(next);
	few.rlim_cur = (rlim_t)next + 3;
	assert_int_equal(setrlimit(RLIMIT_NOFILE, &few), 0);
	for (uint16_t port = 1000; port < 1010; port++) {
		pass(port);
		(void)arrived(&from);
	}
	assert_null(passing_udp_server(w.udp, &first));
	say(&from, "to the last one");
	assert_int_equal(w.replies, 1);
	assert_int_equal(endpoint_port(&w.to.peer), 1009);
	assert_int_equal(setrlimit(RLIMIT_NOFILE, &before), 0);
}

static void there_are_no_more_flows_than_that(void **state)
{
	struct rlimit limit;
	struct endpoint from;
	struct requestor first = client(1000);
	struct requestor second = client(1001);
	(void)state;
	assert_int_equal(getrlimit(RLIMIT_NOFILE, &limit), 0);
	limit.rlim_cur = limit.rlim_max;
	(void)setrlimit(RLIMIT_NOFILE, &limit);
	for (unsigned i = 0; i < PASSING_FLOWS_MAX; i++) {
		pass((uint16_t)(1000 + i));
		(void)arrived(&from);
	}
	assert_non_null(passing_udp_server(w.udp, &first));
	pass(60000);
	assert_null(passing_udp_server(w.udp, &first));
	assert_non_null(passing_udp_server(w.udp, &second));
}

/* TCP. */

/** The server's end of the connection that was opened last. */
static int accepted(void)
{
	vt_settle();
	int fd = accept4(w.listener, NULL, NULL, SOCK_NONBLOCK);
	assert_true(fd >= 0);
	return fd;
}

static void pass_tcp(uint32_t slot, uint32_t generation)
{
	struct requestor from = connection(slot, generation);
	assert_int_equal(passing_tcp_send(w.tcp, message_span(a_query()), &from, &w.tcp_at), 0);
}

static void say_frame(int fd, size_t len)
{
	static uint8_t frame[2 + 65535];
	octets_put_u16(frame, (uint16_t)len);
	memset(frame + 2, 'x', len);
	assert_int_equal(send(fd, frame, 2 + len, MSG_NOSIGNAL), 2 + len);
	vt_settle();
}

static void frames_go_there_and_back(void **state)
{
	uint8_t got[512];
	struct message query = *a_query();
	(void)state;
	pass_tcp(2, 7);
	pass_tcp(2, 7);
	int fd = accepted();
	assert_int_equal(recv(fd, got, sizeof(got), 0), 2 * (2 + query.w.len));
	assert_int_equal(octets_u16(got), query.w.len);
	assert_memory_equal(got + 2, query.octets, query.w.len);
	say_frame(fd, LARGE);
	say_frame(fd, 20);
	assert_int_equal(w.replies, 2);
	assert_int_equal(w.len, 20);
	assert_true(w.to.slot == 2 && w.to.generation == 7);
	assert_int_equal(send(fd, "\0\4ab", 4, 0), 4);
	vt_settle();
	assert_int_equal(w.replies, 2); /* not whole yet */
	assert_int_equal(send(fd, "cd", 2, 0), 2);
	vt_settle();
	assert_int_equal(w.replies, 3);
	close(fd);
	vt_settle();
	assert_int_equal(w.ended, 1);
}

/* RFC 7766 §6.2.4: a requestor may close its side once it has sent all; so does the server see. */
static void a_half_close_goes_on_behind_what_was_sent(void **state)
{
	uint8_t got[512];
	struct message query = *a_query();
	(void)state;
	pass_tcp(0, 1);
	passing_tcp_half_close(w.tcp, 0, 2);
	passing_tcp_half_close(w.tcp, 0, 1);
	int fd = accepted();
	vt_settle();
	assert_int_equal(recv(fd, got, sizeof(got), 0), 2 + query.w.len);
	assert_int_equal(recv(fd, got, sizeof(got), 0), 0);
	say_frame(fd, 100);
	assert_int_equal(w.replies, 1);
	close(fd);
	vt_settle();
	assert_int_equal(w.ended, 1);
}

static void a_slow_requestor_slows_the_server_down(void **state)
{
	struct requestor from = connection(0, 1);
	(void)state;
	w.says = PASSING_FULL;
	pass_tcp(0, 1);
	int fd = accepted();
	for (unsigned i = 0; i < 3; i++) {
		say_frame(fd, 1000);
	}
	assert_int_equal(w.replies, 1);
	close(fd); /* what was said before is not lost */
	vt_settle();
	assert_int_equal(w.ended, 0);
	passing_tcp_resume(w.tcp, 1, 1);
	passing_tcp_resume(w.tcp, 0, 2);
	vt_settle();
	assert_int_equal(w.replies, 1); /* nobody's resumption but its own */
	for (unsigned i = 2; i <= 3; i++) {
		passing_tcp_resume(w.tcp, 0, 1);
		assert_int_equal(w.replies, i - 1); /* later, not inside the call */
		vt_settle();
		assert_int_equal(w.replies, i);
	}
	w.says = PASSING_READY;
	passing_tcp_resume(w.tcp, 0, 1);
	vt_settle();
	assert_int_equal(w.ended, 1);
	assert_null(passing_tcp_server(w.tcp, &from));
}

static void who_is_gone_takes_the_connection_along(void **state)
{
	uint8_t octet;
	(void)state;
	pass_tcp(0, 1);
	int fd = accepted();
	passing_tcp_gone(w.tcp, 0, 2);
	passing_tcp_gone(w.tcp, 3, 1);
	passing_tcp_gone(w.tcp, SLOTS, 1);
	assert_int_equal(recv(fd, &octet, 1, MSG_PEEK), 1);
	passing_tcp_gone(w.tcp, 0, 1);
	vt_settle();
	assert_int_equal(w.ended, 0);
	pass_tcp(0, 2); /* the slot is another's now */
	int next = accepted();
	w.says = PASSING_GONE;
	say_frame(next, 10);
	struct requestor from = connection(0, 2);
	assert_null(passing_tcp_server(w.tcp, &from));
	assert_int_equal(w.ended, 0);
	close(fd);
	close(next);
}

static void where_nobody_listens_the_connection_ends(void **state)
{
	(void)state;
	close(w.listener);
	w.listener = -1;
	pass_tcp(0, 1);
	assert_int_equal(w.ended, 0); /* never inside the call */
	vt_settle();
	assert_int_equal(w.ended, 1);
}

static void what_is_unsent_is_bounded(void **state)
{
	static uint8_t octets[LARGE] = {0};
	struct requestor from = connection(0, 1);
	unsigned sent = 0;
	(void)state;
	while (passing_tcp_send(w.tcp, (struct span){octets, LARGE}, &from, &w.tcp_at) == 0) {
		assert_in_range(++sent, 1, 8);
	}
	assert_int_equal(
		passing_tcp_send(w.tcp, (struct span){octets, LARGE}, &from, &w.tcp_at), -ENOBUFS);
	vt_settle();
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, setup, teardown)

int main(void)
{
	const struct CMUnitTest tests[] = {
		TEST(a_datagram_goes_there_and_its_answer_back),
		TEST(a_flow_has_one_port_until_it_is_over),
		TEST(a_port_that_asks_another_server_is_another_flow),
		TEST(each_address_of_ours_is_another_flow),
		TEST(where_nobody_is_there_the_answer_is_servfail),
		TEST(an_update_without_a_server_is_answered_by_its_header),
		TEST(without_descriptors_the_oldest_flow_makes_room),
		TEST(there_are_no_more_flows_than_that),
		TEST(frames_go_there_and_back),
		TEST(a_half_close_goes_on_behind_what_was_sent),
		TEST(a_slow_requestor_slows_the_server_down),
		TEST(who_is_gone_takes_the_connection_along),
		TEST(where_nobody_listens_the_connection_ends),
		TEST(what_is_unsent_is_bounded),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
