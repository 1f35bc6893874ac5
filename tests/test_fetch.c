/* SPDX-License-Identifier: Apache-2.0 */
#include "tests/envoy.h"

#include "dns/mesh/fetch.h"

#include <errno.h>
#include <signal.h>
#include <stdlib.h>

enum { LIMIT = 1000, PATIENCE_MS = 10000, SHORT_MS = 100, HOUR_MS = 3600000 };

#define OK(headers, body) "HTTP/1.1 200 OK\r\n" headers "\r\n" body
#define FIRST             OK("etag: 0aB1\r\ncontent-length: 5\r\n", "hello")
#define UNCHANGED         "HTTP/1.1 304 Not Modified\r\nserver: envoy\r\n\r\n"
#define script(...)                                                                                \
	static const struct envoy_reply replies[] = {__VA_ARGS__};                                 \
	envoy_script(&envoy, replies, sizeof replies / sizeof *replies)

static char directory[64];
static struct event_base *base;
static struct fetch *fetch;
static struct envoy envoy;

/* What was reported, in order. */
static struct {
	unsigned count;
	enum source_event event[64];
	char text[LIMIT + 1];
	char problem[256];
	int answer;
} seen;

static int report(void *ctx, enum source_event event, struct span document, const char *problem)
{
	assert_ptr_equal(ctx, &seen);
	seen.event[seen.count++ % 64] = event;
	snprintf(seen.problem, sizeof seen.problem, "%s", problem ? problem : "");
	if (event == SOURCE_DOCUMENT) {
		assert_true(document.len <= LIMIT);
		memcpy(seen.text, document.data, document.len);
		seen.text[document.len] = '\0';
	}
	return seen.answer;
}

static int set_up(void **state)
{
	(void)state;
	memset(&seen, 0, sizeof seen);
	memset(&envoy, 0, sizeof envoy);
	snprintf(directory, sizeof directory, "/tmp/kuma-dns-fetch-XXXXXX");
	base = event_base_new();
	return mkdtemp(directory) && base ? 0 : -1;
}

static int tear_down(void **state)
{
	(void)state;
	fetch_close(fetch);
	fetch = NULL;
	envoy_close(&envoy);
	event_base_free(base);
	return rmdir(directory);
}

static void listen_there(void)
{
	char path[sizeof((struct sockaddr_un *)0)->sun_path];
	fetch_socket_path(directory, path);
	envoy_open(&envoy, base, path);
}

static void fetch_with(uint32_t interval_ms, uint32_t timeout_ms)
{
	struct fetch_options options = {.work_dir = directory,
		.interval_ms = interval_ms,
		.timeout_ms = timeout_ms,
		.body_max = LIMIT};
	assert_int_equal(fetch_open(&fetch, base, &options, report, &seen), 0);
}

static void run_for(int64_t ms)
{
	for (int64_t until = envoy_now_ms() + ms; envoy_now_ms() < until;) {
		struct timeval step = {.tv_usec = 5000};
		event_base_loopexit(base, &step);
		event_base_dispatch(base);
	}
}

static void await(const unsigned *counter, unsigned count)
{
	for (int64_t until = envoy_now_ms() + PATIENCE_MS; *counter < count; run_for(1)) {
		if (envoy_now_ms() > until) {
			fail_msg("%u of %u; the last problem: %s", *counter, count, seen.problem);
		}
	}
}

static void assert_events(unsigned count, ...)
{
	await(&seen.count, count);
	va_list events;
	va_start(events, count);
	for (unsigned i = 0; i < count; i++) {
		assert_int_equal(seen.event[i], va_arg(events, int));
	}
	va_end(events);
}

static bool is_conditional(unsigned request)
{
	return strstr(envoy.request[request], "If-None-Match") != NULL;
}

static void the_socket_is_where_kuma_puts_it(void **state)
{
	(void)state;
	char path[sizeof((struct sockaddr_un *)0)->sun_path];
	fetch_socket_path("/tmp/kuma-dp-123", path);
	assert_string_equal(path, "/tmp/kuma-dp-123/kuma-mesh-metric-config.sock");
	fetch_socket_path("/tmp/kuma-dp-123//", path);
	assert_string_equal(path, "/tmp/kuma-dp-123/kuma-mesh-metric-config.sock");
	fetch_socket_path("/", path);
	assert_string_equal(path, "/kuma-mesh-metric-config.sock");
	char work_dir[300];
	memset(work_dir, 'w', sizeof work_dir);
	work_dir[sizeof work_dir - 1] = '\0';
	for (size_t len = 299; len > 60; len--) {
		work_dir[len] = '\0';
		char whole[400];
		int end = snprintf(whole, sizeof whole, "%s/kuma-mesh-metric-config", work_dir);
		snprintf(whole + (end > 98 ? 98 : end), 8, ".sock");
		fetch_socket_path(work_dir, path);
		assert_string_equal(path, whole);
	}
}

static void the_first_request_comes_at_once_and_the_next_ones_name_the_etag(void **state)
{
	(void)state;
	script({.text = FIRST}, {.text = UNCHANGED});
	listen_there();
	fetch_with(SHORT_MS, PATIENCE_MS);
	int64_t begun = envoy_now_ms();
	assert_events(3, SOURCE_DOCUMENT, SOURCE_UNCHANGED, SOURCE_UNCHANGED);
	assert_true(envoy.at_ms[0] - begun < SHORT_MS);
	assert_string_equal(seen.text, "hello");
	assert_int_equal(strncmp(envoy.request[0], "GET /dns HTTP/1.1\r\nHost: ", 25), 0);
	assert_false(is_conditional(0));
	assert_non_null(strstr(envoy.request[1], "\r\nIf-None-Match: 0aB1\r\n"));
	assert_non_null(strstr(envoy.request[2], "\r\nIf-None-Match: 0aB1\r\n"));
	assert_int_equal(envoy.connections, 1);
}

static void the_interval_is_from_start_to_start(void **state)
{
	(void)state;
	script({.text = FIRST, .delay_ms = 2 * SHORT_MS}, {.text = UNCHANGED});
	listen_there();
	fetch_with(3 * SHORT_MS, PATIENCE_MS);
	await(&seen.count, 2);
	int64_t between = envoy.at_ms[1] - envoy.at_ms[0];
	assert_in_range(between, 3 * SHORT_MS - 20, 5 * SHORT_MS - 20);
}

static void a_missing_socket_is_tried_again(void **state)
{
	(void)state;
	script({.text = FIRST});
	fetch_with(SHORT_MS, PATIENCE_MS);
	assert_events(2, SOURCE_UNREACHABLE, SOURCE_UNREACHABLE);
	assert_non_null(strstr(seen.problem, "No such file"));
	listen_there();
	while (seen.event[seen.count - 1] != SOURCE_DOCUMENT) {
		await(&seen.count, seen.count + 1);
	}
}

static void a_socket_left_behind_is_tried_again_and_the_etag_kept(void **state)
{
	(void)state;
	script({.text = FIRST}, {.text = UNCHANGED});
	listen_there();
	fetch_with(SHORT_MS, PATIENCE_MS);
	assert_events(1, SOURCE_DOCUMENT);
	envoy_stop(&envoy);
	assert_events(2, SOURCE_DOCUMENT, SOURCE_UNREACHABLE);
	assert_non_null(strstr(seen.problem, "Connection refused"));
	unsigned asked = envoy.requests;
	listen_there();
	await(&envoy.requests, asked + 1);
	assert_true(is_conditional(asked));
}

static void a_404_keeps_the_etag(void **state)
{
	(void)state;
	script({.text = FIRST}, {.text = "HTTP/1.1 404 Not Found\r\ncontent-length: 0\r\n\r\n"},
		{.text = UNCHANGED});
	listen_there();
	fetch_with(SHORT_MS, PATIENCE_MS);
	assert_events(3, SOURCE_DOCUMENT, SOURCE_UNREACHABLE, SOURCE_UNCHANGED);
	assert_true(is_conditional(2));
	assert_int_equal(envoy.connections, 1);
	assert_true(envoy.at_ms[2] - envoy.at_ms[1] < 2 * SHORT_MS);
}

static void a_document_that_is_refused_loses_its_etag(void **state)
{
	(void)state;
	script({.text = FIRST});
	seen.answer = -EBADMSG;
	listen_there();
	fetch_with(SHORT_MS, PATIENCE_MS);
	assert_events(2, SOURCE_DOCUMENT, SOURCE_DOCUMENT);
	assert_false(is_conditional(1));
	assert_true(envoy.at_ms[1] - envoy.at_ms[0] < 2 * SHORT_MS - 20);
	seen.answer = 0;
	await(&envoy.requests, 4);
	assert_true(is_conditional(3));
}

static void other_answers_make_it_wait_longer_and_forget_the_etag(void **state)
{
	(void)state;
	static const char trouble[] =
		"HTTP/1.1 503 Service Unavailable\r\ncontent-length: 2\r\n\r\nno";
	script({.text = FIRST}, {.text = trouble}, {.text = trouble}, {.text = trouble},
		{.text = FIRST}, {.text = UNCHANGED});
	listen_there();
	fetch_with(SHORT_MS, PATIENCE_MS);
	assert_events(6, SOURCE_DOCUMENT, SOURCE_REJECTED, SOURCE_REJECTED, SOURCE_REJECTED,
		SOURCE_DOCUMENT, SOURCE_UNCHANGED);
	assert_true(is_conditional(1));
	assert_false(is_conditional(2));
	assert_true(envoy.at_ms[2] - envoy.at_ms[1] >= 2 * SHORT_MS - 20);
	assert_true(envoy.at_ms[3] - envoy.at_ms[2] >= 4 * SHORT_MS - 20);
	assert_true(envoy.at_ms[4] - envoy.at_ms[3] >= 8 * SHORT_MS - 20);
	assert_true(envoy.at_ms[5] - envoy.at_ms[4] < 8 * SHORT_MS); /* back to normal */
}

static void a_silent_source_is_given_up(void **state)
{
	(void)state;
	script({.text = FIRST}, {.text = "HTTP/1.1 200 OK\r\n", .delay_ms = PATIENCE_MS});
	listen_there();
	fetch_with(SHORT_MS, 2 * SHORT_MS);
	assert_events(2, SOURCE_DOCUMENT, SOURCE_UNREACHABLE);
	assert_non_null(strstr(seen.problem, "no complete answer"));
	unsigned asked = envoy.requests;
	await(&envoy.requests, asked + 1);
	assert_false(is_conditional(asked));
}

static void a_dripping_source_is_given_up(void **state)
{
	(void)state;
	script({.text = OK("content-length: 999\r\n", "h"), .after = ENVOY_DRIP});
	listen_there();
	fetch_with(SHORT_MS, 3 * SHORT_MS);
	assert_events(1, SOURCE_UNREACHABLE);
	assert_non_null(strstr(seen.problem, "no complete answer"));
}

static void a_connection_closed_between_requests_is_made_again_at_once(void **state)
{
	(void)state;
	script({.text = FIRST, .after = ENVOY_CLOSE});
	listen_there();
	fetch_with(HOUR_MS, PATIENCE_MS);
	assert_events(2, SOURCE_DOCUMENT, SOURCE_DOCUMENT);
	assert_int_equal(envoy.connections, 2);
	assert_true(is_conditional(1));
	run_for(2 * SHORT_MS); /* but not in a loop, although it was closed again */
	assert_int_equal(envoy.requests, 2);
}

static void a_request_that_crosses_the_closing_is_made_again(void **state)
{
	(void)state;
	script({.text = FIRST}, {.text = "", .after = ENVOY_CLOSE}, {.text = UNCHANGED});
	listen_there();
	fetch_with(SHORT_MS, PATIENCE_MS);
	assert_events(2, SOURCE_DOCUMENT, SOURCE_UNCHANGED);
	assert_int_equal(envoy.connections, 2);
	assert_true(envoy.at_ms[2] - envoy.at_ms[1] < SHORT_MS - 20);
}

static void a_source_that_only_closes_is_in_trouble(void **state)
{
	(void)state;
	script({.text = "", .after = ENVOY_CLOSE});
	listen_there();
	fetch_with(SHORT_MS, PATIENCE_MS);
	assert_events(3, SOURCE_UNREACHABLE, SOURCE_UNREACHABLE, SOURCE_UNREACHABLE);
	assert_true(envoy.at_ms[2] - envoy.at_ms[1] >= 4 * SHORT_MS - 20);
}

static void half_an_answer_is_rejected_and_asked_for_again(void **state)
{
	(void)state;
	script({.text = FIRST},
		{.text = OK("etag: x\r\ncontent-length: 9\r\n", "half"), .after = ENVOY_CLOSE},
		{.text = FIRST});
	listen_there();
	fetch_with(SHORT_MS, PATIENCE_MS);
	assert_events(3, SOURCE_DOCUMENT, SOURCE_REJECTED, SOURCE_DOCUMENT);
	assert_false(is_conditional(2));
	assert_true(envoy.at_ms[2] - envoy.at_ms[1] < 2 * SHORT_MS - 20);
}

static void a_draining_listener_is_left(void **state)
{
	(void)state;
	script({.text = OK("etag: x\r\nconnection: close\r\ncontent-length: 5\r\n", "hello")},
		{.text = UNCHANGED});
	listen_there();
	fetch_with(SHORT_MS, PATIENCE_MS);
	assert_events(2, SOURCE_DOCUMENT, SOURCE_UNCHANGED);
	assert_int_equal(envoy.connections, 2);
	assert_true(is_conditional(1));
}

static void a_body_may_come_in_chunks_or_end_with_the_connection(void **state)
{
	(void)state;
	script({.text = OK("transfer-encoding: chunked\r\n", "5\r\nhello\r\n2\r\n, \r\n0\r\n\r\n")},
		{.text = OK("", "until the end"), .after = ENVOY_CLOSE});
	listen_there();
	fetch_with(SHORT_MS, PATIENCE_MS);
	assert_events(1, SOURCE_DOCUMENT);
	assert_string_equal(seen.text, "hello, ");
	assert_events(2, SOURCE_DOCUMENT, SOURCE_DOCUMENT);
	assert_string_equal(seen.text, "until the end");
	assert_false(is_conditional(1)); /* there was no ETag */
}

static void answers_that_make_no_sense_are_rejected(void **state)
{
	(void)state;
	script({.text = "SSH-2.0-OpenSSH_9.2\r\n"}, {.text = UNCHANGED},
		{.text = OK("content-length: 1001\r\n", "")}, {.text = FIRST});
	listen_there();
	fetch_with(50, PATIENCE_MS);
	assert_events(1, SOURCE_REJECTED);
	assert_non_null(strstr(seen.problem, "not HTTP"));
	assert_events(2, SOURCE_REJECTED, SOURCE_REJECTED);
	assert_non_null(strstr(seen.problem, "status 304")); /* to a request without a condition */
	assert_events(3, SOURCE_REJECTED, SOURCE_REJECTED, SOURCE_REJECTED);
	assert_non_null(strstr(seen.problem, "larger than allowed"));
	assert_events(4, SOURCE_REJECTED, SOURCE_REJECTED, SOURCE_REJECTED, SOURCE_DOCUMENT);
}

static void what_nobody_asked_for_ends_the_connection(void **state)
{
	(void)state;
	script({.text = FIRST "HTTP/1.1 200 OK\r\ncontent-length: 4\r\n\r\nevil"},
		{.text = UNCHANGED});
	listen_there();
	fetch_with(SHORT_MS, PATIENCE_MS);
	assert_events(2, SOURCE_DOCUMENT, SOURCE_UNCHANGED);
	assert_string_equal(seen.text, "hello");
	assert_int_equal(envoy.connections, 2);
	envoy_say(&envoy, FIRST);
	assert_events(3, SOURCE_DOCUMENT, SOURCE_UNCHANGED, SOURCE_UNCHANGED);
	assert_int_equal(envoy.connections, 3);
}

#define with_envoy(test) cmocka_unit_test_setup_teardown(test, set_up, tear_down)

int main(void)
{
	signal(SIGPIPE, SIG_IGN);
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(the_socket_is_where_kuma_puts_it),
		with_envoy(the_first_request_comes_at_once_and_the_next_ones_name_the_etag),
		with_envoy(the_interval_is_from_start_to_start),
		with_envoy(a_missing_socket_is_tried_again),
		with_envoy(a_socket_left_behind_is_tried_again_and_the_etag_kept),
		with_envoy(a_404_keeps_the_etag),
		with_envoy(a_document_that_is_refused_loses_its_etag),
		with_envoy(other_answers_make_it_wait_longer_and_forget_the_etag),
		with_envoy(a_silent_source_is_given_up),
		with_envoy(a_dripping_source_is_given_up),
		with_envoy(a_connection_closed_between_requests_is_made_again_at_once),
		with_envoy(a_request_that_crosses_the_closing_is_made_again),
		with_envoy(a_source_that_only_closes_is_in_trouble),
		with_envoy(half_an_answer_is_rejected_and_asked_for_again),
		with_envoy(a_draining_listener_is_left),
		with_envoy(a_body_may_come_in_chunks_or_end_with_the_connection),
		with_envoy(answers_that_make_no_sense_are_rejected),
		with_envoy(what_nobody_asked_for_ends_the_connection),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
