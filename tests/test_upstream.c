/* SPDX-License-Identifier: Apache-2.0
 *
 * Single attempts: when their end is told and when not, which sockets they leave, what is closed.
 */
/* Before ldns, which else makes bool a char. */
#include <stdbool.h>

#include "tests/descriptors.h"
#include "tests/message.h"
#include "tests/scripted_server.h"

#include "conf/conf.h"
#include "dns/admin/stats.h"
#include "dns/resolve/upstream.h"

#include <sys/timerfd.h>
#include <time.h>

enum { TIMEOUT_MS = 100, PATIENCE_MS = 10000 };

struct world {
	struct event_base *base;
	struct event *heartbeat;
	struct conf conf;
	struct stats stats;
	struct scripted server;
	struct upstream *upstream;
	struct asker asker;
	bool sending;
	unsigned told;
	unsigned heard;
	struct late_answer late;
	unsigned outcomes[OUTCOME_TIMEOUT + 1];
	struct attempt *last;
	int owner;
};

static struct world w;

/* Moved by tests that would have to wait. */
static time_t clock_ahead;

int __real_clock_gettime(clockid_t id, struct timespec *ts);
int __wrap_clock_gettime(clockid_t id, struct timespec *ts);

int __wrap_clock_gettime(clockid_t id, struct timespec *ts)
{
	int error = __real_clock_gettime(id, ts);
	ts->tv_sec += clock_ahead;
	return error;
}

static unsigned ticks; /* that were set */

int __real_timerfd_settime(
	int fd, int flags, const struct itimerspec *wait, struct itimerspec *before);
int __wrap_timerfd_settime(
	int fd, int flags, const struct itimerspec *wait, struct itimerspec *before);

int __wrap_timerfd_settime(
	int fd, int flags, const struct itimerspec *wait, struct itimerspec *before)
{
	ticks += wait->it_value.tv_sec > 0 || wait->it_value.tv_nsec > 0;
	return __real_timerfd_settime(fd, flags, wait, before);
}

static bool no_memory;

void *__real_malloc(size_t size);
void *__wrap_malloc(size_t size);
void *__real_calloc(size_t count, size_t size);
void *__wrap_calloc(size_t count, size_t size);

void *__wrap_malloc(size_t size)
{
	return no_memory ? NULL : __real_malloc(size);
}

void *__wrap_calloc(size_t count, size_t size)
{
	return no_memory ? NULL : __real_calloc(count, size);
}

static int64_t now_ms(void)
{
	struct timespec ts;
	__real_clock_gettime(CLOCK_MONOTONIC, &ts);
	return (int64_t)ts.tv_sec * 1000 + ts.tv_nsec / 1000000;
}

/* As its user tells it, moved with the rest. */
static int64_t clock_ns(void)
{
	struct timespec ts;
	clock_gettime(CLOCK_MONOTONIC, &ts);
	return (int64_t)ts.tv_sec * 1000000000 + ts.tv_nsec;
}

static void on_done(
	void *ctx, struct attempt *attempt, enum outcome outcome, const struct relayed *r)
{
	assert_ptr_equal(ctx, &w);
	assert_false(w.sending);
	assert_ptr_equal(attempt->owner, &w.owner);
	assert_int_equal(outcome == OUTCOME_RESPONSE, r != NULL);
	w.told++;
	w.outcomes[outcome]++;
	w.last = attempt;
}

static void on_heard(void *ctx, unsigned server, const struct late_answer *late)
{
	w.late = late ? *late : (struct late_answer){.sent_ns = 0};
	assert_ptr_equal(ctx, &w);
	assert_int_equal(server, 0);
	w.heard++;
}

static void nothing(evutil_socket_t fd, short what, void *arg)
{
	(void)fd, (void)what, (void)arg;
}

static int setup(void **state)
{
	(void)state;
	memset(&w, 0, sizeof(w));
	clock_ahead = 0;
	no_memory = false;
	w.base = event_base_new();
	w.heartbeat = event_new(w.base, -1, EV_PERSIST, nothing, NULL);
	const struct timeval beat = {.tv_usec = 10000};
	event_add(w.heartbeat, &beat);
	w.conf.forward_timeout_ms = TIMEOUT_MS;
	w.conf.transactions_max = 1000;
	scripted_open(&w.server, w.base, "127.0.0.1", 1);
	struct message m;
	struct query q;
	message_query(&m, "www.example", TYPE_A);
	assert_int_equal(query_parse(&q, message_span(&m)), 0);
	asker_init(&w.asker, &q, 512, NULL);
	return 0;
}

static void start(void)
{
	assert_int_equal(
		upstream_open(&w.upstream, w.base, &w.conf, &w.stats, on_done, on_heard, &w), 0);
	upstream_set_server(w.upstream, 0, &w.server.at);
}

static int teardown(void **state)
{
	(void)state;
	upstream_close(w.upstream);
	scripted_close(&w.server);
	event_free(w.heartbeat);
	event_base_free(w.base);
	return 0;
}

static struct attempt *send_query(bool tcp)
{
	uint8_t octets[512];
	struct writer out = {.data = octets, .size = sizeof(octets)};
	size_t len = relay_query(&w.asker, 0, true, &out);
	w.sending = true;
	struct attempt *a =
		upstream_send(w.upstream, 0, tcp, &w.asker, octets, len, &w.owner, clock_ns());
	w.sending = false;
	return a;
}

static struct attempt *sent_query(bool tcp)
{
	struct attempt *a = send_query(tcp);
	assert_non_null(a);
	return a;
}

/* Run the loop until the number is reached; fail where it is not. */
static void await(const unsigned *number, unsigned value)
{
	int64_t patience = now_ms() + PATIENCE_MS;
	while (*number < value && now_ms() < patience) {
		event_base_loop(w.base, EVLOOP_ONCE);
	}
	assert_int_equal(*number, value);
}

static void run_for(int64_t ms)
{
	int64_t until = now_ms() + ms;
	while (now_ms() < until) {
		event_base_loop(w.base, EVLOOP_ONCE);
	}
}

static void a_response_ends_the_attempt(void **state)
{
	(void)state;
	start();
	struct attempt *udp = sent_query(false);
	await(&w.told, 1);
	assert_ptr_equal(w.last, udp);
	struct attempt *tcp = sent_query(true);
	await(&w.told, 2);
	assert_ptr_equal(w.last, tcp);
	assert_int_equal(w.outcomes[OUTCOME_RESPONSE], 2);
}

static void outstanding_ids_are_unique(void **state)
{
	(void)state;
	enum { QUERIES = 2000 };
	static bool seen[65536];
	memset(seen, 0, sizeof(seen));
	start();
	w.server.udp = ACT_HOLD;
	static struct attempt *attempts[QUERIES];
	for (unsigned i = 0; i < QUERIES; i++) {
		attempts[i] = sent_query(false);
		await(&w.server.count, i + 1);
		uint16_t id = w.server.seen[i].id;
		assert_int_equal(attempts[i]->id, id);
		assert_false(seen[id]);
		seen[id] = true;
	}
	for (unsigned i = 0; i < QUERIES; i++) {
		upstream_cancel(w.upstream, attempts[i]);
	}
	assert_int_equal(w.told, 0);
}

static void attempts_are_limited_and_cancelling_gives_them_back(void **state)
{
	(void)state;
	w.conf.transactions_max = 1;
	start();
	w.server.udp = ACT_SILENT;
	struct attempt *attempts[64];
	unsigned count = 0;
	while (count < 64 && (attempts[count] = send_query(false))) {
		count++;
	}
	assert_in_range(count, 1, 63);
	upstream_cancel(w.upstream, attempts[--count]);
	attempts[count++] = sent_query(false);
	assert_null(send_query(false));
	while (count > 0) {
		upstream_cancel(w.upstream, attempts[--count]);
	}
}

static void a_cancelled_attempt_is_not_told(void **state)
{
	(void)state;
	start();
	w.server.udp = ACT_HOLD;
	struct attempt *a = sent_query(false);
	a->with_opt = true;
	await(&w.server.count, 1);
	upstream_cancel(w.upstream, a);
	scripted_say(&w.server, &w.server.seen[0], ACT_ANSWER);
	run_for(30);
	assert_int_equal(w.told, 0);
	assert_int_equal(w.heard, 1);    /* its server is alive all the same … */
	assert_true(w.late.sent_ns > 0); /* … and it is known how long it took … */
	assert_true(w.late.with_opt);    /* … and what form it had */
	assert_int_equal(atomic_load(&w.stats.value[STAT_UPSTREAM_MISMATCHED]), 0);
	/* Once more, it is none of ours. */
	scripted_say(&w.server, &w.server.seen[0], ACT_ANSWER);
	run_for(30);
	assert_int_equal(w.heard, 2);
	assert_int_equal(w.late.sent_ns, 0);
	assert_int_equal(atomic_load(&w.stats.value[STAT_UPSTREAM_MISMATCHED]), 1);
}

/* c-ares cannot drop a single query over TCP: it holds it until its own time-out. */
static void a_cancelled_tcp_attempt_is_given_back_in_the_end(void **state)
{
	(void)state;
	w.conf.transactions_max = 1;
	start();
	w.server.tcp = ACT_SILENT;
	unsigned count = 0;
	struct attempt *a;
	while (count < 64 && (a = send_query(true))) {
		upstream_cancel(w.upstream, a);
		count++;
	}
	assert_in_range(count, 1, 63);
	int64_t patience = now_ms() + PATIENCE_MS;
	while (!(a = send_query(false)) && now_ms() < patience) {
		event_base_loop(w.base, EVLOOP_ONCE);
	}
	assert_non_null(a);
	await(&w.told, 1);
	assert_int_equal(w.outcomes[OUTCOME_RESPONSE], 1);
}

/* Over UDP it is for ever its owner's; over TCP c-ares has a time-out that cannot be left out. */
static void a_tcp_attempt_that_nobody_cancels_times_out(void **state)
{
	(void)state;
	start();
	w.server.tcp = ACT_SILENT;
	(void)sent_query(true);
	await(&w.told, 1);
	assert_int_equal(w.outcomes[OUTCOME_TIMEOUT], 1);
}

/* The callback of c-ares runs inside ares_send where connecting fails at once. */
static void failing_at_once_is_told_by_the_return_value(void **state)
{
	(void)state;
	/* No route: to the class E broadcast address the kernel connects nothing. */
	struct endpoint nowhere;
	assert_int_equal(endpoint_parse(&nowhere, "255.255.255.255", 53), 0);
	start();
	upstream_set_server(w.upstream, 0, &nowhere);
	assert_null(send_query(false));
	assert_null(send_query(true));
	run_for(20);
	assert_int_equal(w.told, 0);
}

static void without_memory_for_a_connection_nothing_is_sent(void **state)
{
	(void)state;
	start();
	no_memory = true;
	assert_null(send_query(true));
	no_memory = false;
	struct attempt *a = sent_query(true);
	await(&w.told, 1);
	assert_ptr_equal(w.last, a);
	assert_int_equal(w.outcomes[OUTCOME_RESPONSE], 1);
}

/* It comes back from c-ares, and there is nowhere to keep it. */
static void without_memory_for_a_response_the_attempt_has_failed(void **state)
{
	(void)state;
	start();
	(void)sent_query(true);
	await(&w.server.count, 1); /* it was answered at once */
	assert_int_equal(w.told, 0);
	no_memory = true;
	await(&w.told, 1);
	no_memory = false;
	assert_int_equal(w.outcomes[OUTCOME_UNREACHABLE], 1);
}

static void a_refused_connection_fails_all_that_wait_for_it(void **state)
{
	(void)state;
	scripted_close_tcp(&w.server);
	start();
	unsigned sent = 0;
	for (unsigned i = 0; i < 5; i++) {
		sent += send_query(true) != NULL;
	}
	await(&w.told, sent);
	assert_int_equal(w.outcomes[OUTCOME_UNREACHABLE], sent);
}

static void a_cut_connection_fails_all_that_wait_on_it(void **state)
{
	(void)state;
	start();
	w.server.tcp = ACT_SILENT;
	for (unsigned i = 0; i < 5; i++) {
		(void)sent_query(true);
	}
	await(&w.server.count, 5);
	scripted_hang_up_all(&w.server);
	await(&w.told, 5);
	assert_int_equal(w.outcomes[OUTCOME_UNREACHABLE], 5);
	w.server.tcp = ACT_ANSWER;
	assert_false(sent_query(true)->reused);
	await(&w.told, 6);
	assert_int_equal(w.outcomes[OUTCOME_RESPONSE], 1);
}

static void a_frame_without_octets_ends_the_connection(void **state)
{
	(void)state;
	start();
	w.server.tcp = ACT_HOLD;
	(void)sent_query(true);
	await(&w.server.count, 1);
	assert_int_equal(send(w.server.seen[0].fd, "\0\0", 2, MSG_NOSIGNAL), 2);
	await(&w.told, 1);
	assert_int_equal(w.outcomes[OUTCOME_UNREACHABLE], 1);
}

static void a_response_in_single_octets_is_read(void **state)
{
	(void)state;
	start();
	w.server.tcp = ACT_HOLD;
	(void)sent_query(true);
	await(&w.server.count, 1);
	const struct seen *q = &w.server.seen[0];
	uint8_t frame[512];
	struct writer out = {.data = frame + 2, .size = sizeof(frame) - 2};
	size_t len = scripted_response(&w.server, q, 0, 1, false, &out);
	octets_put_u16(frame, (uint16_t)len);
	for (size_t i = 0; i < len + 2; i++) {
		assert_int_equal(send(q->fd, frame + i, 1, MSG_NOSIGNAL), 1);
		event_base_loop(w.base, EVLOOP_NONBLOCK);
		assert_true(w.told == 0 || i == len + 1);
	}
	await(&w.told, 1);
	assert_int_equal(w.outcomes[OUTCOME_RESPONSE], 1);
}

static void a_late_answer_leaves_the_connection_to_those_that_are_on_it(void **state)
{
	(void)state;
	start();
	w.server.tcp = ACT_HOLD;
	struct attempt *first = sent_query(true);
	struct attempt *second = sent_query(true);
	assert_true(second->reused);
	await(&w.server.count, 2);
	upstream_late(first);
	assert_false(sent_query(true)->reused);
	await(&w.server.count, 3);
	assert_int_equal(w.server.accepted, 2);
	for (unsigned i = 0; i < 3; i++) {
		scripted_say(&w.server, &w.server.seen[i], ACT_ANSWER);
	}
	await(&w.told, 3);
	assert_int_equal(w.outcomes[OUTCOME_RESPONSE], 3);
	/* The abandoned connection is closed once it has nothing to wait for. */
	int64_t patience = now_ms() + PATIENCE_MS;
	while (scripted_connections(&w.server) > 1 && now_ms() < patience) {
		event_base_loop(w.base, EVLOOP_ONCE);
	}
	assert_int_equal(scripted_connections(&w.server), 1);
}

static void idle_sockets_are_closed_and_then_no_timer_runs(void **state)
{
	(void)state;
	start();
	unsigned descriptors = open_descriptors();
	int events = event_base_get_num_events(w.base, EVENT_BASE_COUNT_ADDED);
	for (unsigned i = 0; i < 20; i++) {
		(void)sent_query(false);
		await(&w.told, i + 1);
	}
	(void)sent_query(true);
	await(&w.told, 21);
	assert_true(open_descriptors() > descriptors + 10);
	clock_ahead += 11;
	int64_t patience = now_ms() + PATIENCE_MS;
	while (event_base_get_num_events(w.base, EVENT_BASE_COUNT_ADDED) > events &&
		now_ms() < patience) {
		event_base_loop(w.base, EVLOOP_ONCE);
	}
	assert_int_equal(event_base_get_num_events(w.base, EVENT_BASE_COUNT_ADDED), events);
	assert_int_equal(open_descriptors(), descriptors);
	unsigned before = ticks;
	const struct timeval longer_than_a_tick = {.tv_sec = 1, .tv_usec = 300000};
	assert_int_equal(event_base_loopexit(w.base, &longer_than_a_tick), 0);
	assert_true(event_base_dispatch(w.base) >= 0);
	assert_int_equal(ticks, before);
	/* And all comes back when it is needed. */
	(void)sent_query(true);
	(void)sent_query(false);
	await(&w.told, 23);
	assert_int_equal(w.outcomes[OUTCOME_RESPONSE], 23);
}

/* RFC 7766 §6.2.1.1: many queries on few connections. */
static void connections_are_shared_by_64_queries_and_are_8_at_most(void **state)
{
	(void)state;
	enum { SHARE = 64, CONNECTIONS = 8 };
	start();
	w.server.tcp = ACT_HOLD;
	for (unsigned i = 0; i < SHARE; i++) {
		(void)sent_query(true);
	}
	await(&w.server.count, SHARE);
	assert_int_equal(w.server.accepted, 1);
	for (unsigned i = SHARE; i < SHARE * CONNECTIONS; i++) {
		(void)sent_query(true);
	}
	await(&w.server.count, SHARE * CONNECTIONS);
	assert_int_equal(w.server.accepted, CONNECTIONS);
	assert_null(send_query(true));
	/* Any that has room takes the next one. */
	unsigned third = 2 * SHARE;
	scripted_say(&w.server, &w.server.seen[third], ACT_ANSWER);
	await(&w.told, 1);
	(void)sent_query(true);
	await(&w.server.count, SHARE * CONNECTIONS + 1);
	assert_int_equal(w.server.accepted, CONNECTIONS);
	assert_int_equal(w.server.seen[SHARE * CONNECTIONS].fd, w.server.seen[third].fd);
	for (unsigned i = 0; i < w.server.count; i++) {
		if (i != third) {
			scripted_say(&w.server, &w.server.seen[i], ACT_ANSWER);
		}
	}
	await(&w.told, SHARE * CONNECTIONS + 1);
	assert_int_equal(w.outcomes[OUTCOME_RESPONSE], SHARE * CONNECTIONS + 1);
}

static void an_idle_connection_is_closed_after_5_s(void **state)
{
	(void)state;
	start();
	(void)sent_query(true);
	(void)sent_query(false);
	await(&w.told, 2);
	clock_ahead += 3;
	run_for(1100);
	assert_int_equal(scripted_connections(&w.server), 1);
	assert_true(sent_query(true)->reused);
	await(&w.told, 3);
	clock_ahead += 5;
	int64_t patience = now_ms() + PATIENCE_MS;
	while (scripted_connections(&w.server) > 0 && now_ms() < patience) {
		event_base_loop(w.base, EVLOOP_ONCE);
	}
	assert_int_equal(scripted_connections(&w.server), 0);
	assert_int_equal(w.server.accepted, 1);
}

/* Its number may be another's later: nothing of it may answer then. */
static void a_retired_server_keeps_what_is_outstanding_and_gets_nothing_new(void **state)
{
	(void)state;
	struct scripted other;
	scripted_open(&other, w.base, "127.0.0.1", 2);
	start();
	w.server.udp = ACT_HOLD;
	w.server.tcp = ACT_HOLD;
	(void)sent_query(false);
	(void)sent_query(true);
	await(&w.server.count, 2);
	upstream_retire_server(w.upstream, 0);
	for (unsigned i = 0; i < 2; i++) {
		scripted_say(&w.server, &w.server.seen[i], ACT_ANSWER);
	}
	await(&w.told, 2);
	assert_int_equal(w.outcomes[OUTCOME_RESPONSE], 2);
	upstream_set_server(w.upstream, 0, &other.at);
	(void)sent_query(false);
	assert_false(sent_query(true)->reused);
	await(&w.told, 4);
	assert_int_equal(w.outcomes[OUTCOME_RESPONSE], 4);
	assert_int_equal(other.count, 2);
	assert_int_equal(w.server.count, 2);
	scripted_close(&other);
}

/* A question that began before its server went asks it once more afterwards. What that opened is
 * not for whoever has the number next. */
static void what_was_opened_after_a_server_went_is_not_its_successors(void **state)
{
	(void)state;
	enum { QUERIES = 256 }; /* each through one of 64 ports, drawn at random */
	struct scripted other;
	scripted_open(&other, w.base, "127.0.0.1", 2);
	start();
	upstream_retire_server(w.upstream, 0);
	for (unsigned i = 0; i < 16; i++) {
		(void)sent_query(false);
	}
	(void)sent_query(true);
	await(&w.told, 17);
	upstream_set_server(w.upstream, 0, &other.at);
	assert_false(sent_query(true)->reused);
	await(&w.told, 18);
	for (unsigned i = 0; i < QUERIES; i++) {
		(void)sent_query(false);
		await(&w.told, 19 + i);
	}
	assert_int_equal(w.server.count, 17);
	assert_int_equal(other.count, 1 + QUERIES);
	scripted_close(&other);
}

static void a_late_answer_is_heard_after_its_port_was_left(void **state)
{
	(void)state;
	start();
	w.server.udp = ACT_HOLD;
	struct attempt *a = sent_query(false);
	await(&w.server.count, 1);
	upstream_late(a);
	upstream_cancel(w.upstream, a);
	scripted_say(&w.server, &w.server.seen[0], ACT_ANSWER);
	await(&w.heard, 1);
	/* Not for ever. */
	unsigned open = open_descriptors();
	clock_ahead += 3;
	int64_t patience = now_ms() + PATIENCE_MS;
	while (open_descriptors() >= open && now_ms() < patience) {
		event_base_loop(w.base, EVLOOP_ONCE);
	}
	assert_int_equal(open_descriptors(), open - 1);
}

static void closing_with_queries_in_flight_tells_nobody(void **state)
{
	(void)state;
	start();
	w.server.udp = ACT_SILENT;
	w.server.tcp = ACT_SILENT;
	struct attempt *udp = sent_query(false);
	struct attempt *tcp = sent_query(true);
	await(&w.server.count, 2);
	upstream_cancel(w.upstream, udp);
	upstream_cancel(w.upstream, tcp);
	upstream_close(w.upstream);
	w.upstream = NULL;
	run_for(20);
	assert_int_equal(w.told, 0);
}

#define test(function) cmocka_unit_test_setup_teardown(function, setup, teardown)

int main(void)
{
	const struct CMUnitTest tests[] = {
		test(a_response_ends_the_attempt),
		test(outstanding_ids_are_unique),
		test(attempts_are_limited_and_cancelling_gives_them_back),
		test(a_cancelled_attempt_is_not_told),
		test(a_cancelled_tcp_attempt_is_given_back_in_the_end),
		test(a_tcp_attempt_that_nobody_cancels_times_out),
		test(failing_at_once_is_told_by_the_return_value),
		test(without_memory_for_a_connection_nothing_is_sent),
		test(without_memory_for_a_response_the_attempt_has_failed),
		test(a_refused_connection_fails_all_that_wait_for_it),
		test(a_cut_connection_fails_all_that_wait_on_it),
		test(a_frame_without_octets_ends_the_connection),
		test(a_response_in_single_octets_is_read),
		test(a_late_answer_leaves_the_connection_to_those_that_are_on_it),
		test(idle_sockets_are_closed_and_then_no_timer_runs),
		test(connections_are_shared_by_64_queries_and_are_8_at_most),
		test(an_idle_connection_is_closed_after_5_s),
		test(a_retired_server_keeps_what_is_outstanding_and_gets_nothing_new),
		test(what_was_opened_after_a_server_went_is_not_its_successors),
		test(a_late_answer_is_heard_after_its_port_was_left),
		test(closing_with_queries_in_flight_tells_nobody),
	};
	return cmocka_run_group_tests_name("upstream", tests, NULL, NULL);
}
