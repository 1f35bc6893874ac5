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
#include "dns/serve/worker.h"

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
	size_t limit;
};

static atomic_uint forwarded; /* by any worker; the test waits for it */
static atomic_size_t last_limit;

int __wrap_forward_open(struct forward **forward, struct event_base *base, const struct conf *conf,
	const struct servers *servers, struct stats *stats, forward_reply *reply, void *ctx);
void __wrap_forward_query(
	struct forward *f, const struct query *q, const struct requestor *from, size_t limit);
void __wrap_forward_close(struct forward *f);

int __wrap_forward_open(struct forward **forward, struct event_base *base, const struct conf *conf,
	const struct servers *servers, struct stats *stats, forward_reply *reply, void *ctx)
{
	(void)base;
	(void)conf;
	(void)servers;
	(void)stats;
	*forward = calloc(1, sizeof(**forward));
	assert_non_null(*forward);
	(*forward)->reply = reply;
	(*forward)->ctx = ctx;
	return 0;
}

void __wrap_forward_query(
	struct forward *f, const struct query *q, const struct requestor *from, size_t limit)
{
	f->from[f->waiting] = *from;
	f->id[f->waiting] = q->id;
	f->waiting++;
	atomic_store(&last_limit, limit);
	atomic_fetch_add(&forwarded, 1);
}

void __wrap_forward_close(struct forward *f)
{
	if (!f) {
		return;
	}
	for (unsigned i = 0; i < f->waiting; i++) {
		uint8_t message[HEADER_LEN] = {0, 0, 0x80, RCODE_SERVFAIL};
		octets_put_u16(message, f->id[i]);
		f->reply(f->ctx, &f->from[i], (struct span){message, sizeof(message)});
	}
	free(f);
}

static struct mesh_zones zones;
static const struct servers no_servers;

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
		assert_int_equal(worker_open(&worker, conf, &no_servers, &zones), 0);
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
	int fd = socket(AF_INET, type | SOCK_CLOEXEC, 0);
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
	assert_int_equal(worker_open(&worker, &conf, &no_servers, &zones), 0);
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
	if (worker_open(&worker, &conf, &no_servers, &zones) != 0 || worker_listen(worker) != 0) {
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

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(local_names_are_answered_over_udp_and_tcp),
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
	};
	(void)signal(SIGPIPE, SIG_IGN);
	zones.count = 1;
	zones.item[0] = name_of("mesh");
	return cmocka_run_group_tests(tests, NULL, NULL);
}
