/* SPDX-License-Identifier: Apache-2.0
 *
 * Tests of interception.c: canaries over real sockets to a server on the loopback that is, as a
 * test says, ourselves, another daemon, a name server, silent, or worse. It counts what it is
 * asked.
 */
#include "dns/admin/interception.h"

#include "conf/clock.h"
#include "conf/log.h"
#include "dns/wire/canary.h"
#include "dns/wire/response.h"

#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include <cmocka.h>

#include <event2/event.h>

enum {
	PRIORITY = 5,
	PATIENCE_MS = 150,
	INTERVAL_MS = 100,
	LIMIT_MS = 20000,
	CONNECTIONS_MAX = 128
};

enum manner {
	OURSELVES,
	ALIKE,    /* another daemon */
	STRANGER, /* NXDOMAIN */
	SILENT,
	NOISY,         /* first what is no answer to this, then the answer */
	CLOSING,       /* TCP alone */
	IN_PIECES,     /* TCP alone: octet by octet */
	HUGE_FRAME,    /* TCP alone */
	ALIKE_AT_FIRST /* … three times */
};

struct fixture;

struct connection {
	struct fixture *server;
	struct event *event;
	int fd;
	unsigned piece;
	size_t sent;
	size_t len;
	uint8_t out[512];
};

struct fixture {
	struct event_base *base;
	struct interception *interception;
	struct interception_settings settings;
	enum manner udp_manner;
	enum manner tcp_manner;
	unsigned udp_asked;
	unsigned tcp_asked;
	unsigned settled;
	int udp;
	int tcp;
	struct event *udp_event;
	struct event *tcp_event;
	struct endpoint at; /* of both */
	struct connection connection[CONNECTIONS_MAX];
};

static const struct cookie_secret ours = {.octets = "ours"};
static const struct cookie_secret others = {.octets = "others"};

/* The seams: what the log was told, where nobody can connect, and the priority of sockets. */
static char last_line[256];
static unsigned lines;
static unsigned priorities;
static int connect_error;

void __wrap_log_line(struct log_site *site, enum log_level level, const char *format, ...)
	__attribute__((format(printf, 3, 4)));
int __real_connect(int fd, const struct sockaddr *address, socklen_t len);
int __wrap_connect(int fd, const struct sockaddr *address, socklen_t len);
int __real_setsockopt(int fd, int level, int name, const void *value, socklen_t len);
int __wrap_setsockopt(int fd, int level, int name, const void *value, socklen_t len);

void __wrap_log_line(struct log_site *site, enum log_level level, const char *format, ...)
{
	va_list args;
	(void)site, (void)level;
	va_start(args, format);
	vsnprintf(last_line, sizeof(last_line), format, args);
	va_end(args);
	lines++;
}

int __wrap_connect(int fd, const struct sockaddr *address, socklen_t len)
{
	errno = connect_error;
	return connect_error ? -1 : __real_connect(fd, address, len);
}

int __wrap_setsockopt(int fd, int level, int name, const void *value, socklen_t len)
{
	if (level == SOL_SOCKET && name == SO_PRIORITY) {
		int priority;
		memcpy(&priority, value, sizeof(priority));
		assert_int_equal(priority, PRIORITY);
		priorities++;
	}
	return __real_setsockopt(fd, level, name, value, len);
}

/* The server */

static size_t compose(
	uint8_t *room, size_t size, struct span message, enum manner manner, unsigned asked)
{
	struct writer out = {.data = room, .size = size};
	struct query q;
	assert_int_equal(query_parse(&q, message), 0);
	assert_true(canary_is(&q));
	bool alike = manner == ALIKE || (manner == ALIKE_AT_FIRST && asked <= 3);
	if (manner == STRANGER) {
		response_error(&q, &out, size, RCODE_NXDOMAIN, EDE_NONE);
	} else {
		canary_answer(&q, alike ? &others : &ours, (struct span){0}, &out, size);
	}
	return out.len;
}

static void on_datagram(evutil_socket_t fd, short what, void *arg)
{
	struct fixture *f = arg;
	uint8_t in[512], out[512];
	struct endpoint peer = {.len = sizeof(peer.in6)};
	(void)what;
	ssize_t n = recvfrom(fd, in, sizeof(in), 0, &peer.sa, &peer.len);
	assert_int_equal(n, CANARY_QUERY_LEN);
	f->udp_asked++;
	if (f->udp_manner == SILENT) {
		return;
	}
	size_t len = compose(
		out, sizeof(out), (struct span){in, (size_t)n}, f->udp_manner, f->udp_asked);
	if (f->udp_manner == NOISY) {
		(void)sendto(fd, in, (size_t)n, 0, &peer.sa, peer.len); /* a query */
		(void)sendto(fd, "", 0, 0, &peer.sa, peer.len);
		out[0] ^= 1;
		(void)sendto(fd, out, len, 0, &peer.sa, peer.len); /* another ID */
		out[0] ^= 1;
	}
	(void)sendto(fd, out, len, 0, &peer.sa, peer.len);
}

/* Where it is in pieces: one octet, later ten, later the rest. */
static void send_piece(struct connection *c)
{
	static const size_t ends[] = {1, 11, sizeof(c->out)};
	struct timeval later = {.tv_usec = 2000};
	bool in_pieces = c->server->tcp_manner == IN_PIECES && c->len > ends[c->piece];
	size_t end = in_pieces ? ends[c->piece++] : c->len;
	(void)send(c->fd, c->out + c->sent, end - c->sent, MSG_NOSIGNAL);
	c->sent = end;
	if (in_pieces) {
		assert_int_equal(event_add(c->event, &later), 0);
	} else {
		(void)shutdown(c->fd, SHUT_WR);
	}
}

/* The query, whole; or time for the next piece of its answer. */
static void on_request(evutil_socket_t fd, short what, void *arg)
{
	struct connection *c = arg;
	struct fixture *f = c->server;
	uint8_t in[2 + CANARY_QUERY_LEN];
	if (what & EV_TIMEOUT) {
		send_piece(c);
		return;
	}
	ssize_t n = recv(fd, in, sizeof(in), MSG_DONTWAIT);
	if (n <= 0 || f->tcp_manner == SILENT) {
		return;
	}
	assert_int_equal(n, sizeof(in));
	assert_int_equal(octets_u16(in), CANARY_QUERY_LEN);
	size_t len = compose(c->out + 2, sizeof(c->out) - 2,
		(struct span){in + 2, CANARY_QUERY_LEN}, f->tcp_manner, f->tcp_asked);
	octets_put_u16(c->out, f->tcp_manner == HUGE_FRAME ? 65535 : (uint16_t)len);
	c->len = 2 + len;
	send_piece(c);
}

static void on_connection(evutil_socket_t fd, short what, void *arg)
{
	struct fixture *f = arg;
	struct connection *c = &f->connection[f->tcp_asked++];
	(void)what;
	assert_true(f->tcp_asked < CONNECTIONS_MAX);
	*c = (struct connection){.server = f, .fd = accept(fd, NULL, NULL)};
	assert_true(c->fd >= 0);
	c->event = event_new(f->base, c->fd, EV_READ, on_request, c);
	if (f->tcp_manner == CLOSING) {
		(void)shutdown(c->fd, SHUT_RDWR);
	} else {
		assert_int_equal(event_add(c->event, NULL), 0);
	}
}

static void on_settled(void *ctx)
{
	struct fixture *f = ctx;
	f->settled++;
}

static int open_server(struct fixture *f)
{
	if (endpoint_parse(&f->at, "127.0.0.1:1", 0)) {
		return -1;
	}
	f->at.in.sin_port = 0;
	f->tcp = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
	f->udp = socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0);
	if (bind(f->tcp, &f->at.sa, f->at.len) || getsockname(f->tcp, &f->at.sa, &f->at.len) ||
		listen(f->tcp, 64) || bind(f->udp, &f->at.sa, f->at.len)) {
		return -1;
	}
	f->udp_event = event_new(f->base, f->udp, EV_READ | EV_PERSIST, on_datagram, f);
	f->tcp_event = event_new(f->base, f->tcp, EV_READ | EV_PERSIST, on_connection, f);
	return event_add(f->udp_event, NULL) || event_add(f->tcp_event, NULL);
}

static int set_up(void **state)
{
	struct fixture *f = calloc(1, sizeof(*f));
	if (!f) {
		return -1;
	}
	*state = f;
	lines = 0;
	last_line[0] = '\0';
	priorities = 0;
	connect_error = 0;
	f->base = event_base_new();
	f->settings = (struct interception_settings){.interval_ms = INTERVAL_MS,
		.patience_ms = LIMIT_MS,
		.required = true,
		.priority = PRIORITY,
		.secret = &ours};
	return open_server(f);
}

static int tear_down(void **state)
{
	struct fixture *f = *state;
	interception_close(f->interception);
	for (unsigned i = 0; i < f->tcp_asked; i++) {
		event_free(f->connection[i].event);
		close(f->connection[i].fd);
	}
	event_free(f->udp_event);
	event_free(f->tcp_event);
	close(f->udp);
	close(f->tcp);
	event_base_free(f->base);
	free(f);
	return 0;
}

/* Both ways to the server. */
static void watch(struct fixture *f)
{
	const struct way ways[] = {{.server = f->at}, {.server = f->at, .tcp = true}};
	if (!f->interception) {
		assert_int_equal(
			interception_open(&f->interception, f->base, &f->settings, on_settled, f),
			0);
	}
	interception_watch(f->interception, ways, 2);
}

static void run_rounds(struct fixture *f, unsigned rounds)
{
	unsigned until = f->settled + rounds;
	int64_t limit = clock_ms() + LIMIT_MS;
	while (f->settled < until) {
		assert_true(clock_ms() < limit);
		assert_int_equal(event_base_loop(f->base, EVLOOP_ONCE), 0);
	}
}

static const struct way *way_of(const struct fixture *f, bool tcp)
{
	const struct interception_status *s = interception_status(f->interception);
	assert_int_equal(s->count, 2);
	assert_int_equal(s->way[tcp].tcp, tcp);
	return &s->way[tcp];
}

static void assert_way(
	const struct fixture *f, bool tcp, enum way_state expected, const char *problem)
{
	assert_int_equal(way_of(f, tcp)->state, expected);
	assert_string_equal(way_of(f, tcp)->problem, problem);
}

/* Tests */

static void canaries_that_come_back_prove_it(void **state)
{
	struct fixture *f = *state;
	watch(f);
	assert_way(f, false, WAY_UNKNOWN, "");
	assert_false(interception_status(f->interception)->settled);
	run_rounds(f, 1);
	assert_way(f, false, WAY_OURS, "");
	assert_way(f, true, WAY_OURS, "");
	assert_true(interception_status(f->interception)->settled);
	assert_int_equal(f->udp_asked, 1);
	assert_int_equal(f->tcp_asked, 1);
	assert_int_equal(priorities, 2);
	assert_string_equal(last_line, "2 of 2 canaries came back: queries are intercepted");
	run_rounds(f, 2);
	assert_int_equal(f->udp_asked, 3);
	assert_int_equal(lines, 1);
}

static void a_way_that_is_silent_is_lost_after_a_second_canary(void **state)
{
	struct fixture *f = *state;
	char text[WAY_TEXT_SIZE];
	f->settings.patience_ms = PATIENCE_MS;
	f->udp_manner = SILENT;
	int64_t begin = clock_ms();
	watch(f);
	run_rounds(f, 1);
	assert_true(clock_ms() - begin >= 2 * PATIENCE_MS - 2);
	assert_way(f, false, WAY_LOST, "no answer");
	assert_way(f, true, WAY_OURS, "");
	assert_int_equal(f->udp_asked, 2);
	way_format(way_of(f, false), text);
	assert_memory_equal(text, "IPv4, UDP, server 127.0.0.1:", 28);
	assert_int_equal(lines, 1);
	assert_memory_equal(last_line, "not intercepted: IPv4, UDP, ", 28);
	run_rounds(f, 2);
	assert_int_equal(lines, 1);
	f->udp_manner = OURSELVES;
	run_rounds(f, 1);
	assert_way(f, false, WAY_OURS, "");
	assert_int_equal(lines, 2);
	assert_memory_equal(last_line, "intercepted again: IPv4, UDP, ", 30);
}

static void tcp_that_is_silent_is_lost_too(void **state)
{
	struct fixture *f = *state;
	f->settings.patience_ms = PATIENCE_MS;
	f->tcp_manner = SILENT;
	watch(f);
	run_rounds(f, 1);
	assert_way(f, false, WAY_OURS, "");
	assert_way(f, true, WAY_LOST, "no answer");
	assert_int_equal(f->tcp_asked, 2);
}

static void what_others_answer_is_lost(void **state)
{
	struct fixture *f = *state;
	f->udp_manner = STRANGER;
	f->tcp_manner = STRANGER;
	watch(f);
	run_rounds(f, 1);
	assert_way(f, false, WAY_LOST, "somebody else answers");
	assert_way(f, true, WAY_LOST, "somebody else answers");
	assert_int_equal(f->udp_asked, 2);
	assert_int_equal(f->tcp_asked, 2);
}

static void another_daemon_is_not_we(void **state)
{
	struct fixture *f = *state;
	f->udp_manner = ALIKE;
	f->tcp_manner = ALIKE;
	watch(f);
	run_rounds(f, 1);
	assert_way(f, false, WAY_LOST, "another kuma-dns answers");
	assert_way(f, true, WAY_LOST, "another kuma-dns answers");
	assert_int_equal(f->udp_asked, 64);
	assert_int_equal(f->tcp_asked, 64);
}

/* A predecessor has a share of our ports. */
static void another_port_may_lead_to_us(void **state)
{
	struct fixture *f = *state;
	f->udp_manner = ALIKE_AT_FIRST;
	f->tcp_manner = ALIKE_AT_FIRST;
	watch(f);
	run_rounds(f, 1);
	assert_way(f, false, WAY_OURS, "");
	assert_way(f, true, WAY_OURS, "");
	assert_int_equal(f->udp_asked, 4);
}

static void noise_is_passed_over(void **state)
{
	struct fixture *f = *state;
	f->udp_manner = NOISY;
	f->tcp_manner = IN_PIECES;
	watch(f);
	run_rounds(f, 1);
	assert_way(f, false, WAY_OURS, "");
	assert_way(f, true, WAY_OURS, "");
	assert_int_equal(f->udp_asked, 1);
	assert_int_equal(f->tcp_asked, 1);
}

static void connections_that_end_or_lie_are_lost(void **state)
{
	struct fixture *f = *state;
	f->tcp_manner = HUGE_FRAME;
	watch(f);
	run_rounds(f, 1);
	assert_way(f, true, WAY_LOST, "somebody else answers");
	f->tcp_manner = CLOSING;
	run_rounds(f, 1);
	assert_int_equal(way_of(f, true)->state, WAY_LOST);
	assert_string_not_equal(way_of(f, true)->problem, "no answer");
}

static void a_port_where_nobody_is_is_lost_at_once(void **state)
{
	struct fixture *f = *state;
	int64_t begin = clock_ms();
	event_del(f->tcp_event);
	event_del(f->udp_event);
	close(f->udp);
	close(f->tcp);
	f->udp = f->tcp = -1;
	watch(f);
	run_rounds(f, 1);
	assert_way(f, false, WAY_LOST, "Connection refused");
	assert_way(f, true, WAY_LOST, "Connection refused");
	assert_true(clock_ms() - begin < LIMIT_MS);
}

/* Applications hear of it before anything is sent: nothing can be caught. */
static void a_server_without_a_route_is_not_lost(void **state)
{
	struct fixture *f = *state;
	struct way ways[1] = {{.tcp = false}};
	assert_int_equal(endpoint_parse(&ways[0].server, "[2001:db8::53]:53", 0), 0);
	assert_int_equal(
		interception_open(&f->interception, f->base, &f->settings, on_settled, f), 0);
	connect_error = ENETUNREACH;
	interception_watch(f->interception, ways, 1);
	assert_int_equal(f->settled, 1);
	assert_int_equal(interception_status(f->interception)->way[0].state, WAY_NO_ROUTE);
	assert_memory_equal(last_line, "not to be reached by anybody: IPv6, UDP, ", 41);
	connect_error = EPERM; /* a firewall of this host */
	interception_watch(f->interception, ways, 1);
	assert_int_equal(interception_status(f->interception)->way[0].state, WAY_LOST);
	assert_string_equal(
		interception_status(f->interception)->way[0].problem, "Operation not permitted");
}

static void nothing_to_watch_is_settled_at_once(void **state)
{
	struct fixture *f = *state;
	assert_int_equal(
		interception_open(&f->interception, f->base, &f->settings, on_settled, f), 0);
	interception_watch(f->interception, NULL, 0);
	assert_true(interception_status(f->interception)->settled);
	assert_int_equal(f->settled, 1);
	assert_int_equal(lines, 0);
}

static void what_is_known_of_a_way_stays_while_it_is_watched(void **state)
{
	struct fixture *f = *state;
	watch(f);
	run_rounds(f, 1);
	struct way ways[] = {{.server = f->at, .tcp = true}, {.server = f->at}};
	f->udp_manner = SILENT;
	assert_int_equal(endpoint_parse(&ways[1].server, "127.0.0.2:9", 0), 0);
	interception_watch(f->interception, ways, 2);
	const struct interception_status *s = interception_status(f->interception);
	assert_int_equal(s->way[0].state, WAY_OURS);
	assert_true(s->way[0].tcp);
	assert_true(s->settled);
	assert_true(s->way[1].state == WAY_UNKNOWN || s->way[1].state == WAY_LOST);
	assert_int_equal(s->count, 2);
}

/* In the middle of a round: its sockets are closed, and its results count no more. */
static void another_list_takes_the_place_of_a_round(void **state)
{
	struct fixture *f = *state;
	f->udp_manner = SILENT;
	watch(f);
	f->udp_manner = OURSELVES;
	watch(f);
	run_rounds(f, 1);
	assert_way(f, false, WAY_OURS, "");
	assert_way(f, true, WAY_OURS, "");
	assert_int_equal(f->settled, 1);
}

/* Name servers are not to be bothered for ever by who is asked directly on purpose. */
static void rounds_in_vain_become_seldom_unless_required(void **state)
{
	struct fixture *f = *state;
	f->settings.required = false;
	f->udp_manner = STRANGER;
	f->tcp_manner = STRANGER;
	watch(f);
	run_rounds(f, 1);
	int64_t begin = clock_ms();
	run_rounds(f, 2); /* after 200 and 400 ms */
	assert_true(clock_ms() - begin >= 6 * INTERVAL_MS - 5);
	f->udp_manner = OURSELVES;
	run_rounds(f, 1); /* after 800 */
	assert_way(f, false, WAY_OURS, "");
	unsigned asked = f->udp_asked;
	begin = clock_ms();
	run_rounds(f, 1);
	assert_int_equal(f->udp_asked, asked + 1);
	assert_true(clock_ms() - begin < 15 * INTERVAL_MS); /* not 1600 */
}

static void closing_in_flight_leaves_nothing_behind(void **state)
{
	struct fixture *f = *state;
	int before = dup(f->udp);
	close(before);
	watch(f);
	interception_close(f->interception);
	f->interception = NULL;
	interception_close(NULL);
	int after = dup(f->udp);
	assert_int_equal(after, before);
	close(after);
}

#define STATEMENT(name) cmocka_unit_test_setup_teardown(name, set_up, tear_down)

int main(void)
{
	const struct CMUnitTest tests[] = {
		STATEMENT(canaries_that_come_back_prove_it),
		STATEMENT(a_way_that_is_silent_is_lost_after_a_second_canary),
		STATEMENT(tcp_that_is_silent_is_lost_too),
		STATEMENT(what_others_answer_is_lost),
		STATEMENT(another_daemon_is_not_we),
		STATEMENT(another_port_may_lead_to_us),
		STATEMENT(noise_is_passed_over),
		STATEMENT(connections_that_end_or_lie_are_lost),
		STATEMENT(a_port_where_nobody_is_is_lost_at_once),
		STATEMENT(a_server_without_a_route_is_not_lost),
		STATEMENT(nothing_to_watch_is_settled_at_once),
		STATEMENT(what_is_known_of_a_way_stays_while_it_is_watched),
		STATEMENT(another_list_takes_the_place_of_a_round),
		STATEMENT(rounds_in_vain_become_seldom_unless_required),
		STATEMENT(closing_in_flight_leaves_nothing_behind),
	};
	return cmocka_run_group_tests_name("interception", tests, NULL, NULL);
}
