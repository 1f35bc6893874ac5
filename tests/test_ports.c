/* SPDX-License-Identifier: Apache-2.0
 *
 * Sockets towards servers of the loopback; which slot is chosen, and what the kernel refuses, are
 * seams, and the time is a parameter.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "conf/log.h"
#include "dns/resolve/ports.h"

#include <errno.h>
#include <event2/event.h>
#include <poll.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#define COUNT(array) (sizeof(array) / sizeof(array)[0])

enum { SERVERS = 10, NOW_MS = 5000, PATIENCE_MS = 10000 };

/* The seams. */
enum call { CALLOC, EVENT_NEW, EVENT_ADD, SOCKET, CONNECT, SEND, SETSOCKOPT, CALLS };

static unsigned refused[CALLS]; /* so many from now on */
static int refused_with;
static uint16_t slot; /* that is chosen */
static unsigned logged;

void *__real_calloc(size_t count, size_t size);
void *__wrap_calloc(size_t count, size_t size);
struct event *__real_event_new(struct event_base *base, evutil_socket_t fd, short what,
	event_callback_fn callback, void *arg);
struct event *__wrap_event_new(struct event_base *base, evutil_socket_t fd, short what,
	event_callback_fn callback, void *arg);
int __real_event_add(struct event *event, const struct timeval *timeout);
int __wrap_event_add(struct event *event, const struct timeval *timeout);
int __real_socket(int family, int type, int protocol);
int __wrap_socket(int family, int type, int protocol);
int __real_connect(int fd, const struct sockaddr *to, socklen_t len);
int __wrap_connect(int fd, const struct sockaddr *to, socklen_t len);
ssize_t __real_send(int fd, const void *data, size_t len, int flags);
ssize_t __wrap_send(int fd, const void *data, size_t len, int flags);
int __real_setsockopt(int fd, int level, int name, const void *value, socklen_t len);
int __wrap_setsockopt(int fd, int level, int name, const void *value, socklen_t len);
uint16_t __wrap_entropy_u16(struct entropy *e);
void __wrap_log_line(struct log_site *site, enum log_level level, const char *format, ...)
	__attribute__((format(printf, 3, 4)));

static bool is_refused(enum call call)
{
	if (refused[call] == 0) {
		return false;
	}
	refused[call]--;
	errno = refused_with;
	return true;
}

void *__wrap_calloc(size_t count, size_t size)
{
	return is_refused(CALLOC) ? NULL : __real_calloc(count, size);
}

struct event *__wrap_event_new(struct event_base *base, evutil_socket_t fd, short what,
	event_callback_fn callback, void *arg)
{
	return is_refused(EVENT_NEW) ? NULL : __real_event_new(base, fd, what, callback, arg);
}

int __wrap_event_add(struct event *event, const struct timeval *timeout)
{
	return is_refused(EVENT_ADD) ? -1 : __real_event_add(event, timeout);
}

int __wrap_socket(int family, int type, int protocol)
{
	return is_refused(SOCKET) ? -1 : __real_socket(family, type, protocol);
}

int __wrap_connect(int fd, const struct sockaddr *to, socklen_t len)
{
	return is_refused(CONNECT) ? -1 : __real_connect(fd, to, len);
}

ssize_t __wrap_send(int fd, const void *data, size_t len, int flags)
{
	return is_refused(SEND) ? -1 : __real_send(fd, data, len, flags);
}

int __wrap_setsockopt(int fd, int level, int name, const void *value, socklen_t len)
{
	return name == SO_MARK && is_refused(SETSOCKOPT)
		       ? -1
		       : __real_setsockopt(fd, level, name, value, len);
}

uint16_t __wrap_entropy_u16(struct entropy *e)
{
	(void)e;
	return slot;
}

void __wrap_log_line(struct log_site *site, enum log_level level, const char *format, ...)
{
	(void)site, (void)level, (void)format;
	logged++;
}

/** Ports, and the servers they lead to: all the same socket, as far as the kernel knows. */
static struct world {
	struct event_base *base;
	struct ports *ports;
	struct entropy entropy;
	struct endpoint servers[PORTS_SERVERS_MAX];
	int server;
	unsigned heard;
	unsigned broken;
	int broken_with;
	struct port *last;
	struct link *release; /* what is taken off `outstanding` as soon as something is heard */
} w;

static void on_message(void *ctx, struct port *port, struct span message)
{
	assert_ptr_equal(ctx, &w);
	assert_int_equal(message.len, 3);
	w.heard++;
	w.last = port;
	if (w.release) {
		link_remove(w.release);
		port_release(port);
	}
}

static void on_broken(void *ctx, struct port *port, int error)
{
	assert_ptr_equal(ctx, &w);
	assert_true(port->retired);
	w.broken++;
	w.broken_with = error;
	w.last = port;
}

static void open_ports(uint32_t mark)
{
	assert_int_equal(ports_open(&w.ports, w.base, w.servers, mark, &w.entropy, on_message,
				 on_broken, &w),
		0);
}

static int setup(void **state)
{
	struct endpoint at;
	(void)state;
	memset(&w, 0, sizeof(w));
	memset(refused, 0, sizeof(refused));
	logged = 0;
	slot = 3;
	assert_int_equal(endpoint_parse(&at, "127.0.0.1", 1), 0);
	at.in.sin_port = 0;
	w.base = event_base_new();
	w.server = socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0);
	assert_non_null(w.base);
	assert_int_equal(bind(w.server, &at.sa, at.len), 0);
	assert_int_equal(getsockname(w.server, &at.sa, &at.len), 0);
	for (unsigned i = 0; i < SERVERS; i++) {
		w.servers[i] = at;
	}
	open_ports(0);
	return 0;
}

static int teardown(void **state)
{
	(void)state;
	ports_close(w.ports);
	if (w.server >= 0) {
		close(w.server);
	}
	event_base_free(w.base);
	return 0;
}

static int send_to(unsigned server, int64_t now_ms, struct port **port)
{
	return ports_send(w.ports, server, (struct span){(const uint8_t *)"ask", 3}, now_ms, port);
}

static struct port *sent_to(unsigned server, int64_t now_ms)
{
	struct port *port = NULL;
	assert_int_equal(send_to(server, now_ms, &port), 0);
	assert_non_null(port);
	assert_int_equal(port->server, server);
	return port;
}

/* Have the server answer what it was asked last. */
static void answer(void)
{
	char question[16];
	struct endpoint from = {.len = sizeof(from.in6)};
	struct pollfd readable = {.fd = w.server, .events = POLLIN};
	assert_int_equal(poll(&readable, 1, PATIENCE_MS), 1);
	ssize_t n = recvfrom(w.server, question, sizeof(question), 0, &from.sa, &from.len);
	assert_int_equal(n, 3);
	assert_int_equal(sendto(w.server, "yes", 3, 0, &from.sa, from.len), 3);
}

/* Whether something comes before all patience is gone. */
static void await(const unsigned *number, unsigned value)
{
	const struct timeval patience = {.tv_sec = PATIENCE_MS / 1000};
	(void)event_base_loopexit(w.base, &patience);
	while (*number < value && !event_base_got_exit(w.base)) {
		(void)event_base_loop(w.base, EVLOOP_ONCE);
	}
	assert_int_equal(*number, value);
}

static void answers_are_heard(void **state)
{
	(void)state;
	struct port *port = sent_to(4, NOW_MS);
	answer();
	await(&w.heard, 1);
	assert_ptr_equal(w.last, port);
	assert_int_equal(w.broken, 0);
}

static void a_port_is_replaced_after_its_uses(void **state)
{
	(void)state;
	struct link outstanding;
	struct port *first = sent_to(0, NOW_MS);
	link_append(&first->outstanding, &outstanding);
	for (unsigned i = 1; i < PORT_USES_MAX; i++) {
		assert_false(first->retired);
		assert_ptr_equal(sent_to(0, NOW_MS), first);
	}
	assert_true(first->retired);
	struct port *second = sent_to(0, NOW_MS);
	assert_ptr_not_equal(second, first);
	/* what is outstanding is still heard */
	w.release = &outstanding;
	answer();
	await(&w.heard, 1);
	assert_ptr_equal(w.last, first); /* which is closed now */
	assert_ptr_equal(sent_to(0, NOW_MS), second);
}

static void idle_ports_are_closed(void **state)
{
	struct link outstanding;
	(void)state;
	struct port *port = sent_to(0, NOW_MS);
	assert_true(ports_reap(w.ports, NOW_MS + PORT_IDLE_MS - 1));
	assert_ptr_equal(sent_to(0, NOW_MS + 1), port);
	link_append(&port->outstanding, &outstanding);
	assert_true(ports_reap(w.ports, NOW_MS + 1 + PORT_IDLE_MS));
	assert_true(port->retired); /* yet somebody waits */
	link_remove(&outstanding);
	assert_false(ports_reap(w.ports, NOW_MS + 1 + PORT_IDLE_MS));
}

static void a_late_answer_is_heard_for_a_while(void **state)
{
	(void)state;
	struct port *port = sent_to(0, NOW_MS);
	port_retire_late(port);
	port_release(port);
	assert_ptr_not_equal(sent_to(0, NOW_MS + PORT_LATE_MS), port);
	assert_true(ports_reap(w.ports, NOW_MS + PORT_LATE_MS - 1));
	answer();
	await(&w.heard, 1);
	assert_ptr_equal(w.last, port);
	assert_true(ports_reap(w.ports, NOW_MS + PORT_LATE_MS)); /* the other one */
	assert_false(ports_reap(w.ports, NOW_MS + PORT_LATE_MS + PORT_IDLE_MS));
}

static void a_server_that_is_retired_gets_new_ports(void **state)
{
	(void)state;
	struct port *one = sent_to(0, NOW_MS);
	struct port *other = sent_to(1, NOW_MS);
	ports_retire(w.ports, 0);
	assert_true(one->retired);
	assert_ptr_not_equal(sent_to(0, NOW_MS), one);
	assert_ptr_equal(sent_to(1, NOW_MS), other);
}

/* ICMP: the socket reports it, who waits is told, and a new port is opened. */
static void a_refused_port_is_told(void **state)
{
	struct link outstanding;
	(void)state;
	struct port *port = sent_to(0, NOW_MS);
	link_append(&port->outstanding, &outstanding);
	close(w.server);
	w.server = -1;
	assert_int_equal(__real_send(port->fd, "ask", 3, 0), 3);
	await(&w.broken, 1);
	assert_ptr_equal(w.last, port);
	assert_int_equal(w.broken_with, ECONNREFUSED);
	link_remove(&outstanding);
	port_release(port);
	assert_false(ports_reap(w.ports, NOW_MS));
}

/* It is the answer to an earlier datagram: this one goes through another port. */
static void a_refusal_on_sending_is_tried_once_more(void **state)
{
	struct link outstanding;
	struct port *port = NULL;
	(void)state;
	struct port *before = sent_to(0, NOW_MS);
	link_append(&before->outstanding, &outstanding);
	refused_with = ECONNREFUSED;
	refused[SEND] = 1;
	struct port *after = sent_to(0, NOW_MS);
	assert_ptr_not_equal(after, before);
	assert_int_equal(w.broken, 1);
	assert_ptr_equal(w.last, before);
	link_remove(&outstanding);
	port_release(before);

	refused[SEND] = 3;
	assert_int_equal(send_to(0, NOW_MS, &port), -ECONNREFUSED);
	assert_int_equal(refused[SEND], 1);
	refused[SEND] = 0;
	assert_false(ports_reap(w.ports, NOW_MS));
}

static void what_else_fails_on_sending_is_final(void **state)
{
	static const int errors[] = {ENETUNREACH, EMSGSIZE, EPERM};
	struct port *port = NULL;
	(void)state;
	for (size_t i = 0; i < COUNT(errors); i++) {
		refused_with = errors[i];
		refused[SEND] = 2;
		assert_int_equal(send_to(0, NOW_MS, &port), -errors[i]);
		assert_int_equal(refused[SEND], 1);
		assert_int_equal(w.broken, i + 1);
		assert_int_equal(w.broken_with, errors[i]);
		assert_false(ports_reap(w.ports, NOW_MS));
	}
}

/* What was sent before is on its way, and its answers come through the same port. */
static void want_on_sending_ends_nothing_else(void **state)
{
	static const int errors[] = {EAGAIN, ENOBUFS, ENOMEM};
	(void)state;
	for (size_t i = 0; i < COUNT(errors); i++) {
		struct link outstanding;
		struct port *before = sent_to(0, NOW_MS);
		struct port *port = NULL;
		link_append(&before->outstanding, &outstanding);
		refused_with = errors[i];
		refused[SEND] = 2;
		assert_int_equal(send_to(0, NOW_MS, &port), -errors[i]);
		assert_ptr_equal(port, before);
		assert_int_equal(refused[SEND], 1);
		refused[SEND] = 0;
		assert_int_equal(w.broken, 0);
		assert_ptr_not_equal(sent_to(0, NOW_MS), before); /* it is left alone */
		link_remove(&outstanding);
		port_release(before);
	}
}

static void without_a_new_port_an_open_one_serves(void **state)
{
	static const enum call calls[] = {CALLOC, EVENT_NEW, EVENT_ADD, SOCKET, CONNECT};
	struct port *port = NULL;
	(void)state;
	for (size_t i = 0; i < COUNT(calls); i++) {
		bool memory = calls[i] <= EVENT_ADD;
		refused_with = memory ? ENOMEM : calls[i] == SOCKET ? ENFILE : ENETUNREACH;
		slot = 3;
		refused[calls[i]] = 1;
		assert_int_equal(send_to(0, NOW_MS, &port), -refused_with);
		assert_false(ports_reap(w.ports, NOW_MS));
		struct port *open = sent_to(0, NOW_MS);
		slot = 60; /* the next one that is open is 3, all round */
		refused[calls[i]] = 1;
		assert_ptr_equal(sent_to(0, NOW_MS), open);
		assert_int_equal(refused[calls[i]], 0);
		assert_int_equal(open->slot, 3);
		assert_ptr_not_equal(sent_to(0, NOW_MS), open);
		assert_false(ports_reap(w.ports, NOW_MS + PORT_IDLE_MS));
	}
}

static void want_of_ports_is_logged_once_a_second(void **state)
{
	struct port *port = NULL;
	(void)state;
	refused_with = EMFILE;
	for (int64_t ms = 0; ms < 2500; ms += 100) {
		refused[SOCKET] = 1;
		assert_int_equal(send_to(0, NOW_MS + ms, &port), -EMFILE);
	}
	assert_int_equal(logged, 3);
}

/* Eight servers have them all; the ninth takes the oldest that nobody waits at. */
static void no_server_takes_all_ports(void **state)
{
	enum { FULL = PORTS_MAX / PORTS_PER_SERVER };
	static struct port *all[FULL][PORTS_PER_SERVER];
	static struct link outstanding[FULL][PORTS_PER_SERVER];
	struct port *port = NULL;
	(void)state;
	for (unsigned server = 0; server < FULL; server++) {
		for (slot = 0; slot < PORTS_PER_SERVER; slot++) {
			struct port *one = sent_to(server, NOW_MS);
			assert_int_equal(one->slot, slot);
			link_append(&one->outstanding, &outstanding[server][slot]);
			all[server][slot] = one;
		}
	}
	assert_int_equal(logged, 0);
	slot = 3;
	assert_int_equal(send_to(FULL, NOW_MS, &port), -EMFILE);
	link_remove(&outstanding[2][7]);
	link_remove(&outstanding[5][0]);
	struct port *first = sent_to(FULL, NOW_MS);
	struct link at_first;
	link_append(&first->outstanding, &at_first);
	slot = 7; /* that was the older one: it is to be opened again, and there are no more */
	struct port *serves = sent_to(2, NOW_MS);
	assert_ptr_equal(serves, all[2][8]);
	slot = 0;
	assert_ptr_equal(sent_to(5, NOW_MS), all[5][0]); /* still there */
	assert_ptr_equal(sent_to(FULL, NOW_MS), first);  /* one is enough */
	(void)sent_to(FULL + 1, NOW_MS);                 /* instead of the other one */
	assert_ptr_equal(sent_to(5, NOW_MS), all[5][1]);
	link_remove(&at_first);
}

static void without_memory_there_are_none(void **state)
{
	struct ports *none = NULL;
	(void)state;
	refused[CALLOC] = 1;
	assert_int_equal(
		ports_open(&none, w.base, w.servers, 0, &w.entropy, on_message, on_broken, &w),
		-ENOMEM);
	assert_null(none);
	ports_close(NULL);
}

/* Who may not mark sockets asks all the same, and says so once: not for each of them. */
static void a_mark_that_is_not_allowed_is_logged_once(void **state)
{
	(void)state;
	ports_close(w.ports);
	open_ports(0x1234);
	refused_with = EPERM;
	refused[SETSOCKOPT] = 3;
	for (slot = 0; slot < 3; slot++) {
		(void)sent_to(0, NOW_MS);
	}
	assert_int_equal(refused[SETSOCKOPT], 0);
	assert_int_equal(logged, 1);
	int fd = server_socket(&w.servers[0], SOCK_STREAM, 0);
	assert_true(fd >= 0);
	close(fd);
}

int main(void)
{
#define TEST(name) cmocka_unit_test_setup_teardown(name, setup, teardown)
	const struct CMUnitTest tests[] = {
		TEST(answers_are_heard),
		TEST(a_port_is_replaced_after_its_uses),
		TEST(idle_ports_are_closed),
		TEST(a_late_answer_is_heard_for_a_while),
		TEST(a_server_that_is_retired_gets_new_ports),
		TEST(a_refused_port_is_told),
		TEST(a_refusal_on_sending_is_tried_once_more),
		TEST(what_else_fails_on_sending_is_final),
		TEST(want_on_sending_ends_nothing_else),
		TEST(without_a_new_port_an_open_one_serves),
		TEST(want_of_ports_is_logged_once_a_second),
		TEST(no_server_takes_all_ports),
		TEST(without_memory_there_are_none),
		TEST(a_mark_that_is_not_allowed_is_logged_once),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
