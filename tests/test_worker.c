/* SPDX-License-Identifier: Apache-2.0
 *
 * Workers with their threads and sockets, on ports of the loopback that the kernel chooses. The
 * forwarder is a seam: what is forwarded waits until the test, or the worker's end, has it
 * answered.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "conf/conf.h"
#include "dns/resolve/forward.h"
#include "dns/serve/explain.h"
#include "dns/serve/udp.h"
#include "dns/serve/worker.h"
#include "dns/wire/canary.h"

#include <errno.h>
#include <net/if.h>
#include <pthread.h>
#include <sched.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/ioctl.h>
#include <sys/socket.h>
#include <sys/time.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

enum {
	WORKERS = 4,
	CLIENTS = 4,
	PUBLICATIONS = 20000,
	WAITING_MAX = 64,
	QUERY_MAX = 64,
	RESPONSE_MAX = 4096
};

/* The seam: one forwarder for each worker, on the worker's thread. */
struct forward {
	forward_reply *reply;
	void *ctx;
	unsigned waiting;
	struct requestor from[WAITING_MAX];
	uint16_t id[WAITING_MAX];
	struct routes *routes;
};

static atomic_uint forwarded; /* by any worker; the test waits for it */
static atomic_uint refreshed;
static atomic_bool overloaded;
static atomic_bool at_once; /* what is forwarded is answered inside the call */
static atomic_size_t last_limit;

int __wrap_forward_open(struct forward **forward, struct event_base *base, const struct conf *conf,
	struct cache *cache, struct stats *stats, forward_reply *reply, void *ctx);
void __wrap_forward_set_routes(struct forward *f, struct routes *routes);
void __wrap_forward_query(struct forward *f, const struct query *q,
	const struct edns_options *options, const struct requestor *from, size_t limit);
void __wrap_forward_close(struct forward *f);
bool __real_udp_may_forward(struct udp *udp, const struct requestor *from);
bool __wrap_udp_may_forward(struct udp *udp, const struct requestor *from);
void __wrap_forward_refresh(struct forward *f, const struct query *q);
unsigned __wrap_forward_order(const struct forward *f, const struct route *route, uint8_t order[]);
void __wrap_forward_report(const struct forward *f, unsigned server, struct server_report *report);

int __wrap_forward_open(struct forward **forward, struct event_base *base, const struct conf *conf,
	struct cache *cache, struct stats *stats, forward_reply *reply, void *ctx)
{
	(void)base;
	(void)conf;
	(void)cache;
	(void)stats;
	*forward = calloc(1, sizeof(**forward));
	assert_non_null(*forward);
	(*forward)->reply = reply;
	(*forward)->ctx = ctx;
	return 0;
}

static void answer_late(struct forward *f, const struct requestor *to, uint16_t id)
{
	uint8_t message[HEADER_LEN] = {0, 0, 0x80, RCODE_SERVFAIL};
	octets_put_u16(message, id);
	f->reply(f->ctx, to, (struct span){message, sizeof(message)});
}

void __wrap_forward_query(struct forward *f, const struct query *q,
	const struct edns_options *options, const struct requestor *from, size_t limit)
{
	(void)options;
	assert_non_null(f->routes);
	atomic_store(&last_limit, limit);
	atomic_fetch_add(&forwarded, 1);
	if (atomic_load(&at_once)) {
		answer_late(f, from, q->id);
		return;
	}
	f->from[f->waiting] = *from;
	f->id[f->waiting] = q->id;
	f->waiting++;
}

bool __wrap_udp_may_forward(struct udp *udp, const struct requestor *from)
{
	return __real_udp_may_forward(udp, from) && !atomic_load(&overloaded);
}

void __wrap_forward_refresh(struct forward *f, const struct query *q)
{
	(void)f, (void)q;
	atomic_fetch_add(&refreshed, 1);
}

unsigned __wrap_forward_order(const struct forward *f, const struct route *route, uint8_t order[])
{
	(void)f;
	memcpy(order, route->server, route->count);
	return route->count;
}

void __wrap_forward_report(const struct forward *f, unsigned server, struct server_report *report)
{
	memset(report, 0, sizeof(*report));
	report->at = f->routes->server[server].at;
	report->smoothed_us = 1234;
	report->p95_us = 2345;
}

void __wrap_forward_set_routes(struct forward *f, struct routes *routes)
{
	routes_unref(f->routes);
	f->routes = routes;
}

void __wrap_forward_close(struct forward *f)
{
	if (!f) {
		return;
	}
	for (unsigned i = 0; i < f->waiting; i++) {
		answer_late(f, &f->from[i], f->id[i]);
	}
	routes_unref(f->routes);
	free(f);
}

static struct mesh_zones zones;
static struct routes *no_servers;
static const struct cookie_secret secret;

static struct dname name_of(const char *text)
{
	struct dname name;
	assert_int_equal(dname_from_text(&name, text, strlen(text)), 0);
	return name;
}

/* `redis.mesh` has one address, which is the table's number; `two.mesh` has two. */
static struct table *new_table(uint32_t number)
{
	struct table_builder *builder = table_builder_new(number, 1 << 20);
	struct dname redis = name_of("redis.mesh"), two = name_of("two.mesh");
	struct address pair[2] = {{.len = 4, .octets = {1}}, {.len = 4, .octets = {2}}};
	struct address address = {.len = 4};
	octets_put_u32(address.octets, number);
	assert_non_null(builder);
	assert_int_equal(table_builder_add(builder, &redis, &address, 1), 0);
	assert_int_equal(table_builder_add(builder, &two, pair, 2), 0);
	struct table *table = table_builder_finish(builder, 30);
	assert_non_null(table);
	table_set_generation(table, number);
	return table;
}

static void limits(struct conf *conf)
{
	memset(conf, 0, sizeof(*conf));
	conf->workers = WORKERS;
	conf->tcp_connections_max = 16;
	conf->tcp_connections_peer_max = 16;
	conf->tcp_idle_ms = 10000;
	conf->tcp_unsent_max = 256 << 10;
	conf->tcp_frame_max = 4096;
	conf->forward_timeout_ms = 4000;
}

/* A worker at 127.0.0.1 and the port of conf->listen, chosen by the kernel where that is 0. */
static struct worker *open_worker(struct conf *conf)
{
	struct worker *worker = NULL;
	int r = -EADDRINUSE; /* a port that is free for UDP may be taken for TCP */
	if (conf->listen.count == 0) {
		conf->listen.count = 1;
		conf->listen.item[0].in.sin_family = AF_INET;
		conf->listen.item[0].in.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
		conf->listen.item[0].len = sizeof(conf->listen.item[0].in);
	}
	for (unsigned tries = 0; r == -EADDRINUSE && tries < 16; tries++) {
		assert_int_equal(worker_open(&worker, conf, no_servers, &zones, &secret), 0);
		r = worker_listen(worker);
		if (r != 0) {
			worker_close(worker);
		}
	}
	assert_int_equal(r, 0);
	unsigned count;
	const struct endpoint *listening = worker_listening(worker, &count);
	assert_int_equal(count, 1);
	conf->listen.item[0] = listening[0];
	return worker;
}

static int client(const struct conf *conf, int type)
{
	const struct endpoint *to = &conf->listen.item[0];
	struct timeval patience = {.tv_sec = 20};
	int fd = socket(to->sa.sa_family, type | SOCK_CLOEXEC, 0);
	assert_true(fd >= 0);
	assert_int_equal(connect(fd, &to->sa, to->len), 0);
	assert_int_equal(setsockopt(fd, SOL_SOCKET, SO_RCVTIMEO, &patience, sizeof(patience)), 0);
	return fd;
}

static size_t put_query(uint8_t message[QUERY_MAX], uint16_t id, const char *text)
{
	struct writer w = {.data = message, .size = QUERY_MAX};
	struct dname name = name_of(text);
	writer_u16(&w, id);
	writer_u16(&w, FLAG_RD);
	writer_octets(&w, "\0\1\0\0\0\0\0\0", 8);
	writer_octets(&w, name.octets, name.len);
	writer_u16(&w, TYPE_A);
	writer_u16(&w, CLASS_IN);
	return w.len;
}

static void ask_udp(int fd, uint16_t id, const char *name)
{
	uint8_t message[QUERY_MAX];
	size_t len = put_query(message, id, name);
	assert_int_equal(send(fd, message, len, 0), len);
}

static void ask_tcp(int fd, uint16_t id, const char *name)
{
	uint8_t frame[2 + QUERY_MAX];
	size_t len = put_query(frame + 2, id, name);
	octets_put_u16(frame, (uint16_t)len);
	assert_int_equal(send(fd, frame, len + 2, MSG_NOSIGNAL), len + 2);
}

/* @return RCODE of the next answer, which has to have this ID */
static unsigned take_udp(int fd, uint16_t id)
{
	uint8_t message[RESPONSE_MAX];
	ssize_t n = recv(fd, message, sizeof(message), 0);
	assert_true(n >= HEADER_LEN);
	assert_int_equal(octets_u16(message), id);
	return message[3] & FLAG_RCODE;
}

static unsigned take_tcp(int fd, uint16_t id)
{
	uint8_t frame[2 + RESPONSE_MAX];
	assert_int_equal(recv(fd, frame, 2, MSG_WAITALL), 2);
	size_t len = octets_u16(frame);
	assert_true(len <= RESPONSE_MAX);
	assert_int_equal(recv(fd, frame + 2, len, MSG_WAITALL), len);
	assert_int_equal(octets_u16(frame + 2), id);
	return frame[5] & FLAG_RCODE;
}

/* Another thread forwards: nothing to wait on but its count. */
static void wait_forwarded(unsigned wanted)
{
	struct timespec moment = {.tv_nsec = 1000000};
	for (unsigned ms = 0; atomic_load(&forwarded) < wanted; ms++) {
		assert_true(ms < 20000);
		nanosleep(&moment, NULL);
	}
}

static uint64_t count(const struct worker *worker, enum counter which)
{
	return atomic_load_explicit(&worker_stats(worker)->value[which], memory_order_relaxed);
}

static void local_names_are_answered_over_udp_and_tcp(void **state)
{
	struct conf conf;
	(void)state;
	limits(&conf);
	struct worker *worker = open_worker(&conf);
	worker_publish(worker, new_table(1));
	assert_int_equal(worker_start(worker), 0);
	int udp = client(&conf, SOCK_DGRAM), tcp = client(&conf, SOCK_STREAM);
	ask_udp(udp, 1, "redis.mesh");
	assert_int_equal(take_udp(udp, 1), RCODE_NOERROR);
	ask_tcp(tcp, 2, "redis.mesh");
	ask_tcp(tcp, 3, "nobody.mesh");
	assert_int_equal(take_tcp(tcp, 2), RCODE_NOERROR);
	assert_int_equal(take_tcp(tcp, 3), RCODE_NXDOMAIN);
	assert_int_equal(send(udp, "short", 5, 0), 5);
	ask_udp(udp, 4, "redis.mesh");
	assert_int_equal(take_udp(udp, 4), RCODE_NOERROR);
	worker_stop(worker);
	assert_int_equal(count(worker, STAT_LOCAL_A), 4);
	assert_int_equal(count(worker, STAT_NOERROR), 3);
	assert_int_equal(count(worker, STAT_NXDOMAIN), 1);
	assert_int_equal(count(worker, STAT_DROP_SHORT), 1);
	assert_int_equal(worker_udp_overflows(worker), 0);
	worker_close(worker);
	close(udp);
	close(tcp);
}

/* What is fetched for a batch before it is served takes messages as hostile as they come. */
static void a_burst_of_all_kinds_is_answered(void **state)
{
	static const uint8_t loop[HEADER_LEN + 6] = {
		0, 9, 1, 0, 0, 1, 0, 0, 0, 0, 0, 0, 0xc0, HEADER_LEN, 0, 1, 0, 1};
	struct conf conf;
	(void)state;
	limits(&conf);
	struct worker *worker = open_worker(&conf);
	worker_publish(worker, new_table(1));
	int udp = client(&conf, SOCK_DGRAM);
	for (uint16_t i = 0; i < 3; i++) {
		ask_udp(udp, 1, "redis.mesh");
		assert_int_equal(send(udp, loop, i, 0), i);
		assert_int_equal(send(udp, loop, HEADER_LEN + i, 0), HEADER_LEN + i);
		assert_int_equal(send(udp, loop, sizeof(loop), 0), sizeof(loop));
		ask_udp(udp, 2, "nobody.mesh");
	}
	assert_int_equal(worker_start(worker), 0); /* all of it is there, and makes one batch */
	for (uint16_t i = 0; i < 3; i++) {
		assert_int_equal(take_udp(udp, 1), RCODE_NOERROR);
		assert_int_equal(take_udp(udp, 9), RCODE_FORMERR);
		assert_int_equal(take_udp(udp, 9), RCODE_FORMERR);
		assert_int_equal(take_udp(udp, 2), RCODE_NXDOMAIN);
	}
	worker_stop(worker);
	assert_int_equal(count(worker, STAT_DROP_SHORT), 3);
	worker_close(worker);
	close(udp);
}

/* What nobody else has to be asked for, and what comes over TCP, where who asks too much waits. */
static void under_overload_our_own_names_are_answered(void **state)
{
	struct conf conf;
	(void)state;
	limits(&conf);
	atomic_store(&forwarded, 0);
	atomic_store(&at_once, true);
	atomic_store(&overloaded, true);
	struct worker *worker = open_worker(&conf);
	worker_publish(worker, new_table(1));
	assert_int_equal(worker_start(worker), 0);
	int udp = client(&conf, SOCK_DGRAM), tcp = client(&conf, SOCK_STREAM);
	ask_udp(udp, 1, "foreign.example");
	ask_udp(udp, 2, "redis.mesh");
	ask_tcp(tcp, 3, "foreign.example");
	assert_int_equal(take_udp(udp, 2), RCODE_NOERROR);
	assert_int_equal(take_tcp(tcp, 3), RCODE_SERVFAIL);
	atomic_store(&overloaded, false);
	ask_udp(udp, 4, "foreign.example");
	assert_int_equal(take_udp(udp, 4), RCODE_SERVFAIL);
	worker_stop(worker);
	assert_int_equal(count(worker, STAT_DROP_OVERLOAD), 1);
	assert_int_equal(count(worker, STAT_DROP_RESPONSE), 0);
	assert_int_equal(atomic_load(&forwarded), 2);
	atomic_store(&at_once, false);
	worker_close(worker);
	close(udp);
	close(tcp);
}

/* By any worker, with the secret of all of them; and figures of the application know nothing of it.
 */
static void a_canary_comes_back_and_is_not_counted(void **state)
{
	static const struct canary canary = {.id = 7, .nonce = 8, .more = 9};
	uint8_t query[CANARY_QUERY_LEN], message[RESPONSE_MAX];
	struct conf conf;
	(void)state;
	limits(&conf);
	atomic_store(&forwarded, 0);
	struct worker *worker = open_worker(&conf);
	assert_int_equal(worker_start(worker), 0);
	int udp = client(&conf, SOCK_DGRAM);
	canary_query(query, &canary);
	assert_int_equal(send(udp, query, sizeof(query), 0), sizeof(query));
	ssize_t n = recv(udp, message, sizeof(message), 0);
	assert_true(n > 0);
	assert_int_equal(
		canary_read((struct span){message, (size_t)n}, &canary, &secret), CANARY_US);
	worker_stop(worker);
	for (enum counter which = 0; which < STAT_COUNT; which++) {
		assert_int_equal(count(worker, which), 0);
	}
	assert_int_equal(worker_stats(worker)->request.count, 0);
	assert_int_equal(atomic_load(&forwarded), 0);
	worker_close(worker);
	close(udp);
}

/* Most clients ask for A and AAAA in turns: neither may always get the same address first. */
static void addresses_take_turns_for_who_asks_two_questions(void **state)
{
	struct conf conf;
	uint8_t message[RESPONSE_MAX];
	unsigned first[3] = {0};
	(void)state;
	limits(&conf);
	struct worker *worker = open_worker(&conf);
	worker_publish(worker, new_table(1));
	assert_int_equal(worker_start(worker), 0);
	int udp = client(&conf, SOCK_DGRAM);
	for (uint16_t i = 0; i < 64; i++) {
		ask_udp(udp, i, "two.mesh");
		ssize_t n = recv(udp, message, sizeof(message), 0);
		assert_true(n > 32);
		assert_in_range(message[n - 20], 1, 2); /* the first octet of the first address */
		first[message[n - 20]]++;
		ask_udp(udp, i, "redis.mesh");
		assert_int_equal(take_udp(udp, i), RCODE_NOERROR);
	}
	assert_in_range(first[1], 8, 56);
	worker_stop(worker);
	worker_close(worker);
	close(udp);
}

static void before_the_first_table_mesh_names_fail(void **state)
{
	struct conf conf;
	(void)state;
	limits(&conf);
	struct worker *worker = open_worker(&conf);
	assert_int_equal(worker_start(worker), 0);
	int udp = client(&conf, SOCK_DGRAM);
	ask_udp(udp, 1, "redis.mesh");
	assert_int_equal(take_udp(udp, 1), RCODE_SERVFAIL);
	close(udp);
	worker_stop(worker);
	worker_close(worker);
}

static void a_table_may_come_before_the_start(void **state)
{
	struct conf conf;
	(void)state;
	limits(&conf);
	struct worker *worker = open_worker(&conf);
	worker_publish(worker, new_table(1));
	worker_publish(worker, new_table(2));
	assert_int_equal(worker_start(worker), 0);
	int udp = client(&conf, SOCK_DGRAM);
	ask_udp(udp, 1, "redis.mesh");
	assert_int_equal(take_udp(udp, 1), RCODE_NOERROR);
	close(udp);
	worker_stop(worker);
	worker_close(worker);
}

static void a_worker_that_never_ran_is_closed(void **state)
{
	struct conf conf;
	(void)state;
	limits(&conf);
	struct worker *worker = open_worker(&conf);
	worker_publish(worker, new_table(1));
	worker_close(worker);
	worker_close(NULL);
}

static void an_address_that_is_not_ours_is_an_error(void **state)
{
	struct conf conf;
	struct worker *worker;
	(void)state;
	limits(&conf);
	conf.listen.count = 1;
	assert_int_equal(endpoint_parse(&conf.listen.item[0], "192.0.2.1:53", 0), 0);
	assert_int_equal(worker_open(&worker, &conf, no_servers, &zones, &secret), 0);
	assert_int_equal(worker_listen(worker), -EADDRNOTAVAIL);
	worker_close(worker);
}

enum { CHILD_GOOD, CHILD_BAD, CHILD_SKIPS };

/* In a namespace of its own, so that any port is free, and IPv6 ours to take away. */
static int listen_by_default(bool with_ipv6)
{
	struct conf conf;
	struct worker *worker;
	unsigned count = 0;
	if (unshare(CLONE_NEWUSER | CLONE_NEWNET) != 0) {
		return CHILD_SKIPS;
	}
	int fd = socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0);
	struct ifreq lo = {.ifr_name = "lo", .ifr_flags = IFF_UP};
	if (fd < 0 || ioctl(fd, SIOCSIFFLAGS, &lo) != 0) {
		return CHILD_SKIPS;
	}
	close(fd);
	FILE *disable = fopen("/proc/sys/net/ipv6/conf/all/disable_ipv6", "we");
	if (!disable || fputs(with_ipv6 ? "0" : "1", disable) < 0 || fclose(disable) != 0) {
		return CHILD_SKIPS;
	}
	limits(&conf);
	conf.port = 15053;
	if (worker_open(&worker, &conf, no_servers, &zones, &secret) != 0 ||
		worker_listen(worker) != 0) {
		return CHILD_BAD;
	}
	const struct endpoint *listening = worker_listening(worker, &count);
	bool good = count == (with_ipv6 ? 2 : 1) && listening[0].sa.sa_family == AF_INET &&
		    endpoint_port(&listening[0]) == 15053 &&
		    (!with_ipv6 || listening[1].sa.sa_family == AF_INET6);
	worker_close(worker);
	return good ? CHILD_GOOD : CHILD_BAD;
}

static void assert_default(bool with_ipv6)
{
	int status = 0;
	pid_t pid = fork();
	assert_true(pid >= 0);
	if (pid == 0) {
		_exit(listen_by_default(with_ipv6));
	}
	assert_int_equal(waitpid(pid, &status, 0), pid);
	assert_true(WIFEXITED(status));
	if (WEXITSTATUS(status) == CHILD_SKIPS) {
		print_message("no network namespace, or no IPv6, to be had here\n");
		skip();
	}
	assert_int_equal(WEXITSTATUS(status), CHILD_GOOD);
}

static void the_default_is_loopback_of_both_families(void **state)
{
	(void)state;
	assert_default(true);
}

static void without_ipv6_the_default_is_ipv4_alone(void **state)
{
	(void)state;
	assert_default(false);
}

static void who_waits_is_answered_at_the_stop(void **state)
{
	struct conf conf;
	(void)state;
	limits(&conf);
	atomic_store(&forwarded, 0);
	struct worker *worker = open_worker(&conf);
	assert_int_equal(worker_start(worker), 0);
	int udp = client(&conf, SOCK_DGRAM), tcp = client(&conf, SOCK_STREAM);
	ask_udp(udp, 1, "www.example.com");
	wait_forwarded(1);
	assert_int_equal(atomic_load(&last_limit), UDP_LEN_MIN);
	ask_tcp(tcp, 2, "www.example.com");
	wait_forwarded(2);
	assert_int_equal(atomic_load(&last_limit), 65535);
	ask_udp(udp, 3, "www.example.com"); /* has arrived, and may not have been read */
	worker_stop(worker);
	assert_int_equal(take_udp(udp, 1), RCODE_SERVFAIL);
	assert_int_equal(take_udp(udp, 3), RCODE_SERVFAIL);
	assert_int_equal(take_tcp(tcp, 2), RCODE_SERVFAIL);
	uint8_t octet;
	assert_int_equal(recv(tcp, &octet, 1, 0), 0);
	worker_close(worker);
	close(udp);
	close(tcp);
}

static void a_peer_that_reads_nothing_delays_the_stop_no_longer_than_a_second(void **state)
{
	struct conf conf;
	struct timespec begin, end;
	uint8_t frame[2 + QUERY_MAX];
	(void)state;
	limits(&conf);
	struct worker *worker = open_worker(&conf);
	assert_int_equal(worker_start(worker), 0);
	int tcp = client(&conf, SOCK_STREAM);
	struct timeval full = {.tv_usec = 100000}; /* then neither side takes any more */
	assert_int_equal(setsockopt(tcp, SOL_SOCKET, SO_SNDTIMEO, &full, sizeof(full)), 0);
	size_t len = put_query(frame + 2, 1, "redis.mesh");
	octets_put_u16(frame, (uint16_t)len);
	ssize_t n;
	do {
		n = send(tcp, frame, len + 2, MSG_NOSIGNAL);
	} while (n == (ssize_t)len + 2);
	clock_gettime(CLOCK_MONOTONIC, &begin);
	worker_stop(worker);
	clock_gettime(CLOCK_MONOTONIC, &end);
	assert_true(end.tv_sec - begin.tv_sec <= 2);
	worker_close(worker);
	close(tcp);
}

/* A client that asks without a pause, and checks that the table it sees never goes back: its
 * address and port lead to one worker. */
struct asker_thread {
	pthread_t thread;
	const struct conf *conf;
	atomic_bool *stop;
	uint32_t seen; /* number of the table that answered last */
	unsigned changes;
	unsigned answers;
	bool backwards;
};

static void *ask_without_pause(void *arg)
{
	struct asker_thread *a = arg;
	int fd = client(a->conf, SOCK_DGRAM);
	uint8_t message[RESPONSE_MAX];
	for (uint16_t id = 0; !atomic_load(a->stop) || a->answers == 0; id++) {
		ask_udp(fd, id, "redis.mesh");
		ssize_t n = recv(fd, message, sizeof(message), 0);
		if (n < HEADER_LEN + 4 || octets_u16(message) != id || (message[3] & 15) != 0) {
			break;
		}
		uint32_t number = octets_u32(message + n - 4); /* the last record's RDATA */
		a->backwards = a->backwards || number < a->seen;
		a->changes += number != a->seen;
		a->seen = number;
		a->answers++;
	}
	close(fd);
	return NULL;
}

static void tables_are_handed_over_under_load(void **state)
{
	struct conf conf;
	struct worker *worker[WORKERS];
	struct asker_thread asker[CLIENTS];
	atomic_bool stop = false;
	(void)state;
	limits(&conf);
	for (unsigned i = 0; i < WORKERS; i++) {
		worker[i] = open_worker(&conf);
		worker_publish(worker[i], new_table(1));
		assert_int_equal(worker_start(worker[i]), 0);
	}
	for (unsigned i = 0; i < CLIENTS; i++) {
		asker[i] = (struct asker_thread){.conf = &conf, .stop = &stop};
		assert_int_equal(
			pthread_create(&asker[i].thread, NULL, ask_without_pause, &asker[i]), 0);
	}
	for (uint32_t number = 2; number <= PUBLICATIONS; number++) {
		struct table *table = new_table(number);
		for (unsigned i = 0; i < WORKERS; i++) {
			worker_publish(worker[i], table_ref(table));
		}
		table_unref(table);
	}
	atomic_store(&stop, true);
	unsigned changes = 0;
	for (unsigned i = 0; i < CLIENTS; i++) {
		assert_int_equal(pthread_join(asker[i].thread, NULL), 0);
		assert_false(asker[i].backwards);
		assert_true(asker[i].answers > 0);
		changes += asker[i].changes;
	}
	print_message("%u tables, %u seen by requestors\n", PUBLICATIONS, changes);
	assert_true(changes > CLIENTS);
	/* The last one is what everybody gets from now on. */
	atomic_store(&stop, true);
	struct asker_thread last = {.conf = &conf, .stop = &stop};
	for (unsigned i = 0; i < 1000 && last.seen != PUBLICATIONS; i++) {
		last.answers = 0;
		(void)ask_without_pause(&last);
	}
	assert_int_equal(last.seen, PUBLICATIONS);
	for (unsigned i = 0; i < WORKERS; i++) {
		worker_stop(worker[i]);
		worker_close(worker[i]);
	}
}

/* Calls. */

struct visit {
	pthread_t where;
	const struct table *table;
	struct routes *routes;
	const struct forward *forward;
	unsigned times;
};

static void visit(void *ctx, const struct worker_inside *inside)
{
	struct visit *v = ctx;
	v->where = pthread_self();
	v->table = inside->authority.table;
	v->routes = inside->authority.routes;
	v->forward = inside->forward;
	v->times++;
}

static void a_call_is_done_in_the_worker_while_it_runs(void **state)
{
	struct conf conf;
	struct visit v = {.times = 0};
	(void)state;
	limits(&conf);
	struct worker *worker = open_worker(&conf);
	worker_call(worker, visit, &v);
	assert_int_equal(v.times, 1);
	assert_true(pthread_equal(v.where, pthread_self()));
	assert_ptr_equal(v.routes, no_servers);
	assert_non_null(v.forward);
	struct table *table = new_table(1);
	worker_publish(worker, table_ref(table));
	assert_int_equal(worker_start(worker), 0);
	for (unsigned i = 0; i < 100; i++) {
		worker_call(worker, visit, &v);
		assert_false(pthread_equal(v.where, pthread_self()));
		assert_ptr_equal(v.table, table);
	}
	worker_stop(worker);
	worker_call(worker, visit, &v);
	assert_int_equal(v.times, 102);
	assert_true(pthread_equal(v.where, pthread_self()));
	assert_null(v.forward); /* it has ended with the thread */
	worker_close(worker);
	table_unref(table);
}

static struct routes *routes_with(uint16_t port)
{
	struct routes *routes = routes_new();
	struct endpoint server;
	assert_non_null(routes);
	assert_int_equal(endpoint_parse(&server, "192.0.2.53", port), 0);
	assert_int_equal(routes_add_server(routes, &routes->route[0], &server, false, port), 0);
	return routes;
}

static void routes_are_changed_before_while_and_after_running(void **state)
{
	struct conf conf;
	struct visit v = {.times = 0};
	(void)state;
	limits(&conf);
	struct worker *worker = open_worker(&conf);
	for (uint16_t i = 1; i <= 3; i++) {
		struct routes *routes = routes_with(i);
		worker_set_routes(worker, routes);
		worker_call(worker, visit, &v);
		assert_ptr_equal(v.routes, routes);
		routes_unref(routes);
		if (i == 1) {
			assert_int_equal(worker_start(worker), 0);
		} else if (i == 2) {
			worker_stop(worker);
		}
	}
	worker_close(worker);
}

/* A client whose names are the mesh's and others' in turns. */
static void *ask_for_both(void *arg)
{
	struct asker_thread *a = arg;
	int fd = client(a->conf, SOCK_DGRAM);
	uint8_t message[RESPONSE_MAX];
	for (uint16_t id = 0; !atomic_load(a->stop); id++) {
		ask_udp(fd, id, id & 1 ? "www.example.com" : "redis.mesh");
		ssize_t n = recv(fd, message, sizeof(message), 0);
		if (n < HEADER_LEN || octets_u16(message) != id) {
			a->backwards = true;
			break;
		}
		a->answers++;
	}
	close(fd);
	return NULL;
}

static void routes_and_calls_under_load(void **state)
{
	enum { CHANGES = 2000 };
	struct conf conf;
	struct worker *worker[WORKERS];
	struct asker_thread asker[CLIENTS];
	atomic_bool stop = false;
	struct visit v = {.times = 0};
	(void)state;
	limits(&conf);
	atomic_store(&at_once, true);
	for (unsigned i = 0; i < WORKERS; i++) {
		worker[i] = open_worker(&conf);
		worker_publish(worker[i], new_table(1));
		assert_int_equal(worker_start(worker[i]), 0);
	}
	for (unsigned i = 0; i < CLIENTS; i++) {
		asker[i] = (struct asker_thread){.conf = &conf, .stop = &stop};
		assert_int_equal(
			pthread_create(&asker[i].thread, NULL, ask_for_both, &asker[i]), 0);
	}
	for (unsigned n = 1; n <= CHANGES; n++) {
		struct routes *routes = routes_with((uint16_t)n);
		for (unsigned i = 0; i < WORKERS; i++) {
			worker_set_routes(worker[i], routes);
			worker_call(worker[i], visit, &v);
			assert_ptr_equal(v.routes, routes);
		}
		routes_unref(routes);
	}
	atomic_store(&stop, true);
	for (unsigned i = 0; i < CLIENTS; i++) {
		assert_int_equal(pthread_join(asker[i].thread, NULL), 0);
		assert_false(asker[i].backwards);
		assert_true(asker[i].answers > 0);
	}
	for (unsigned i = 0; i < WORKERS; i++) {
		worker_stop(worker[i]);
		worker_call(worker[i], visit, &v);
		worker_close(worker[i]);
	}
	atomic_store(&at_once, false);
	assert_int_equal(v.times, WORKERS * (CHANGES + 1));
}

/* Explaining. */

static size_t put_explain(uint8_t message[QUERY_MAX], uint16_t id, const char *name)
{
	size_t len = put_query(message, id, name);
	octets_put_u16(message + len - 4, TYPE_TXT);
	octets_put_u16(message + len - 2, CLASS_CH);
	return len;
}

static bool mentions(const uint8_t *message, ssize_t len, const char *text)
{
	return len > 0 && memmem(message, (size_t)len, text, strlen(text)) != NULL;
}

static void who_asks_from_this_machine_is_told_why(void **state)
{
	struct conf conf;
	uint8_t query[2 + QUERY_MAX], message[RESPONSE_MAX];
	(void)state;
	limits(&conf);
	struct routes *routes = routes_with(53);
	struct worker *worker = open_worker(&conf);
	worker_set_routes(worker, routes);
	worker_publish(worker, new_table(7));
	assert_int_equal(worker_start(worker), 0);
	int udp = client(&conf, SOCK_DGRAM), tcp = client(&conf, SOCK_STREAM);
	size_t len = put_explain(query, 1, "explain.redis.mesh.kuma-dns");
	assert_int_equal(send(udp, query, len, 0), len);
	ssize_t n = recv(udp, message, sizeof(message), 0);
	assert_true(n >= HEADER_LEN && n <= UDP_LEN_MIN);
	assert_int_equal(octets_u16(message), 1);
	assert_int_equal(message[3] & FLAG_RCODE, RCODE_NOERROR);
	assert_true(octets_u16(message + 6) > 0);
	assert_true(mentions(message, n, "generation 7"));
	assert_true(mentions(message, n, "redis.mesh"));

	len = put_explain(query + 2, 2, "explain-mx.www.example.kuma-dns");
	octets_put_u16(query, (uint16_t)len);
	assert_int_equal(send(tcp, query, len + 2, MSG_NOSIGNAL), len + 2);
	assert_int_equal(recv(tcp, message, 2, MSG_WAITALL), 2);
	n = recv(tcp, message + 2, octets_u16(message), MSG_WAITALL);
	assert_true(mentions(message, n, "type MX"));
	assert_true(mentions(message, n, "rule: forwarded"));
	assert_true(mentions(message, n, "192.0.2.53:53, well, 1.234 ms"));

	len = put_explain(query, 3, "explain-nonsense.www.example.kuma-dns");
	assert_int_equal(send(udp, query, len, 0), len);
	assert_int_equal(take_udp(udp, 3), RCODE_FORMERR);
	worker_stop(worker);
	assert_int_equal(count(worker, STAT_LOCAL_OTHER), 3);
	worker_close(worker);
	routes_unref(routes);
	close(udp);
	close(tcp);
}

struct foreign {
	const char *peer;
	unsigned rcode;
	size_t len;
};

static void ask_as(void *ctx, const struct worker_inside *inside)
{
	static const struct edns_options none;
	struct foreign *f = ctx;
	uint8_t message[QUERY_MAX], response[RESPONSE_MAX];
	struct writer out = {.data = response, .size = sizeof(response)};
	struct endpoint peer;
	struct query q;
	size_t len = put_explain(message, 1, "explain.redis.mesh.kuma-dns");
	assert_int_equal(query_parse(&q, (struct span){message, len}), 0);
	assert_int_equal(endpoint_parse(&peer, f->peer, 1234), 0);
	explain_query(inside, &q, &none, &peer, sizeof(response), &out);
	f->rcode = response[3] & FLAG_RCODE;
	f->len = out.len;
}

static bool has_ipv6(const struct endpoint *at)
{
	int fd = socket(AF_INET6, SOCK_DGRAM | SOCK_CLOEXEC, 0);
	bool has = fd >= 0 && bind(fd, &at->sa, at->len) == 0;
	if (fd >= 0) {
		close(fd);
	}
	return has;
}

static void who_asks_over_ipv6_is_answered_and_told_why(void **state)
{
	struct conf conf;
	uint8_t query[QUERY_MAX], message[RESPONSE_MAX];
	(void)state;
	limits(&conf);
	conf.listen.count = 1;
	assert_int_equal(endpoint_parse(&conf.listen.item[0], "::1", 1), 0);
	conf.listen.item[0].in6.sin6_port = 0;
	if (!has_ipv6(&conf.listen.item[0])) {
		print_message("no IPv6 here\n");
		skip();
	}
	struct worker *worker = open_worker(&conf);
	worker_publish(worker, new_table(7));
	assert_int_equal(worker_start(worker), 0);
	int udp = client(&conf, SOCK_DGRAM), tcp = client(&conf, SOCK_STREAM);
	ask_udp(udp, 1, "redis.mesh");
	assert_int_equal(take_udp(udp, 1), RCODE_NOERROR);
	ask_tcp(tcp, 2, "nobody.mesh");
	assert_int_equal(take_tcp(tcp, 2), RCODE_NXDOMAIN);
	size_t len = put_explain(query, 3, "explain.redis.mesh.kuma-dns");
	assert_int_equal(send(udp, query, len, 0), len);
	ssize_t n = recv(udp, message, sizeof(message), 0);
	assert_true(mentions(message, n, "generation 7"));
	worker_stop(worker);
	worker_close(worker);
	close(udp);
	close(tcp);
}

static void who_asks_from_elsewhere_is_not_told(void **state)
{
	static const char *const elsewhere[] = {"192.0.2.1", "8.8.8.8", "2001:db8::1"};
	struct conf conf;
	(void)state;
	limits(&conf);
	struct worker *worker = open_worker(&conf);
	for (size_t i = 0; i < sizeof(elsewhere) / sizeof(elsewhere[0]); i++) {
		struct foreign f = {.peer = elsewhere[i]};
		worker_call(worker, ask_as, &f);
		assert_int_equal(f.rcode, RCODE_REFUSED);
		assert_true(f.len < 64);
	}
	struct foreign here = {.peer = "127.0.0.7"};
	worker_call(worker, ask_as, &here);
	assert_int_equal(here.rcode, RCODE_NOERROR);
	worker_close(worker);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(local_names_are_answered_over_udp_and_tcp),
		cmocka_unit_test(a_burst_of_all_kinds_is_answered),
		cmocka_unit_test(under_overload_our_own_names_are_answered),
		cmocka_unit_test(a_canary_comes_back_and_is_not_counted),
		cmocka_unit_test(addresses_take_turns_for_who_asks_two_questions),
		cmocka_unit_test(before_the_first_table_mesh_names_fail),
		cmocka_unit_test(a_table_may_come_before_the_start),
		cmocka_unit_test(a_worker_that_never_ran_is_closed),
		cmocka_unit_test(an_address_that_is_not_ours_is_an_error),
		cmocka_unit_test(the_default_is_loopback_of_both_families),
		cmocka_unit_test(without_ipv6_the_default_is_ipv4_alone),
		cmocka_unit_test(who_waits_is_answered_at_the_stop),
		cmocka_unit_test(a_peer_that_reads_nothing_delays_the_stop_no_longer_than_a_second),
		cmocka_unit_test(tables_are_handed_over_under_load),
		cmocka_unit_test(a_call_is_done_in_the_worker_while_it_runs),
		cmocka_unit_test(routes_are_changed_before_while_and_after_running),
		cmocka_unit_test(routes_and_calls_under_load),
		cmocka_unit_test(who_asks_from_this_machine_is_told_why),
		cmocka_unit_test(who_asks_over_ipv6_is_answered_and_told_why),
		cmocka_unit_test(who_asks_from_elsewhere_is_not_told),
	};
	(void)signal(SIGPIPE, SIG_IGN);
	zones.count = 1;
	zones.item[0] = name_of("mesh");
	no_servers = routes_new();
	assert_non_null(no_servers);
	int failed = cmocka_run_group_tests(tests, NULL, NULL);
	routes_unref(no_servers);
	return failed;
}
