/* SPDX-License-Identifier: Apache-2.0
 *
 * Log lines: form, escapes, length, limit. The clock is ours (link-time seam), standard error a
 * pipe.
 */
#include "conf/log.h"

#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include <cmocka.h>

static _Atomic int64_t now_ms;
static int log_pipe[2];
static int saved_stderr;
static char text[128 * 1024];

/* 2026-11-23T08:00:00Z */
static const int64_t epoch_s = 1795420800;

int __wrap_clock_gettime(clockid_t clock, struct timespec *ts);
int __wrap_clock_gettime(clockid_t clock, struct timespec *ts)
{
	int64_t now = now_ms;

	ts->tv_sec = now / 1000 + (clock == CLOCK_REALTIME ? epoch_s : 0);
	ts->tv_nsec = now % 1000 * 1000000;
	return 0;
}

static int set_up(void **state)
{
	(void)state;
	now_ms = 123;
	log_set_level(LOG_LEVEL_INFO);
	if (pipe2(log_pipe, O_NONBLOCK) < 0) {
		return -1;
	}
	fcntl(log_pipe[1], F_SETPIPE_SZ, 1 << 20);
	saved_stderr = dup(STDERR_FILENO);
	return dup2(log_pipe[1], STDERR_FILENO) < 0 ? -1 : 0;
}

static int tear_down(void **state)
{
	(void)state;
	dup2(saved_stderr, STDERR_FILENO);
	close(saved_stderr);
	close(log_pipe[0]);
	close(log_pipe[1]);
	return 0;
}

/* What was written since the last call. */
static const char *written(void)
{
	ssize_t len = read(log_pipe[0], text, sizeof text - 1);

	text[len > 0 ? len : 0] = '\0';
	return text;
}

static int count_lines(const char *lines)
{
	int count = 0;

	for (; *lines; lines++) {
		count += *lines == '\n';
	}
	return count;
}

static void a_line_has_time_level_and_message(void **state)
{
	(void)state;
	log_info("table %d of %s", 7, "Envoy");
	assert_string_equal(written(), "2026-11-23T08:00:00.123Z info: table 7 of Envoy\n");
	now_ms = 3600007;
	log_error("e");
	log_warning("w");
	assert_string_equal(written(), "2026-11-23T09:00:00.007Z error: e\n"
				       "2026-11-23T09:00:00.007Z warning: w\n");
}

static void lines_above_the_level_are_not_written(void **state)
{
	(void)state;
	log_debug("no");
	assert_string_equal(written(), "");
	log_set_level(LOG_LEVEL_DEBUG);
	log_debug("yes");
	assert_string_equal(written(), "2026-11-23T08:00:00.123Z debug: yes\n");
	log_set_level(LOG_LEVEL_ERROR);
	log_warning("no");
	assert_string_equal(written(), "");
}

static void a_message_cannot_forge_a_line_or_drive_a_terminal(void **state)
{
	(void)state;
	log_error("a\nb\r\t\x1b[2J\x7f\xc2\x9b");
	assert_string_equal(written(), "2026-11-23T08:00:00.123Z error: "
				       "a\\x0ab\\x0d\\x09\\x1b[2J\\x7f\\xc2\\x9b\n");
}

static void a_long_line_is_cut(void **state)
{
	char message[5000];
	size_t len;

	(void)state;
	memset(message, 'x', sizeof message);
	for (size_t message_len = 900; message_len < 1100; message_len++) {
		struct log_site site = {0};

		message[message_len] = '\0';
		log_line(&site, LOG_LEVEL_ERROR, "%s", message);
		message[message_len] = 'x';
		len = strlen(written());
		assert_true(len <= 1024);
		assert_int_equal(count_lines(text), 1);
		assert_int_equal(text[len - 1], '\n');
		/* whole, or marked as cut */
		assert_true(len == message_len + 33 || strcmp(text + len - 5, "x...\n") == 0);
	}
	message[sizeof message - 1] = '\0';
	log_error("%s", message);
	assert_non_null(strstr(written(), "xxx...\n"));

	memset(message, '\n', sizeof message - 1); /* no escape is cut in half */
	log_error("%s", message);
	assert_non_null(strstr(written(), "\\x0a...\n"));
	assert_true(strlen(text) <= 1024);
}

static void log_many(struct log_site *site, int count)
{
	for (int i = 0; i < count; i++) {
		log_line(site, LOG_LEVEL_ERROR, "again");
	}
}

static void each_place_writes_ten_lines_in_ten_seconds(void **state)
{
	struct log_site site = {0};
	struct log_site other = {0};

	(void)state;
	log_many(&site, 25);
	assert_int_equal(count_lines(written()), 10);
	assert_null(strstr(text, "left out"));
	log_many(&other, 1);
	assert_int_equal(count_lines(written()), 1);

	now_ms += 9000;
	log_many(&site, 1);
	assert_string_equal(written(), "");
	now_ms += 1000;
	log_many(&site, 2);
	assert_string_equal(written(),
		"2026-11-23T08:00:10.123Z error: again (16 similar lines left out)\n"
		"2026-11-23T08:00:10.123Z error: again\n");
}

static void lines_below_the_level_do_not_count(void **state)
{
	struct log_site site = {0};

	(void)state;
	for (int i = 0; i < 20; i++) {
		log_line(&site, LOG_LEVEL_DEBUG, "quiet");
	}
	log_many(&site, 1);
	assert_string_equal(written(), "2026-11-23T08:00:00.123Z error: again\n");
}

static void errno_survives(void **state)
{
	(void)state;
	errno = ENOTTY;
	log_error("x");
	assert_int_equal(errno, ENOTTY);
	close(STDERR_FILENO);
	log_error("to nobody");
	assert_int_equal(errno, ENOTTY);
}

static void a_full_pipe_blocks_nobody(void **state)
{
	char octets[4096] = "";
	struct log_site site = {0};

	(void)state;
	while (write(log_pipe[1], octets, sizeof octets) > 0) {
	}
	fcntl(log_pipe[1], F_SETFL, 0); /* a write that blocks now would never end */
	alarm(10);
	log_line(&site, LOG_LEVEL_ERROR, "lost");
	while (read(log_pipe[0], text, sizeof text) > 0) {
	}
	now_ms += 10000;
	log_line(&site, LOG_LEVEL_ERROR, "said");
	alarm(0);
	assert_non_null(strstr(written(), " error: said (1 similar lines left out)\n"));
}

static void *log_from_thread(void *site)
{
	for (int i = 0; i < 1000; i++) {
		log_line(site, LOG_LEVEL_ERROR, "from a thread %d", i % 10);
	}
	return NULL;
}

static void threads_share_a_place_without_mixing_lines(void **state)
{
	struct log_site site = {0};
	pthread_t threads[4];

	(void)state;
	for (int i = 0; i < 4; i++) {
		assert_int_equal(pthread_create(&threads[i], NULL, log_from_thread, &site), 0);
	}
	for (int i = 0; i < 4; i++) {
		pthread_join(threads[i], NULL);
	}
	assert_int_equal(count_lines(written()), 10);
	for (char *line = text; *line; line += strcspn(line, "\n") + 1) {
		assert_memory_equal(line, "2026-11-23T08:00:00.123Z error: from a thread ", 46);
		assert_int_equal(strcspn(line, "\n"), 47);
	}
	assert_int_equal(site.dropped, 3990);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup_teardown(
			a_line_has_time_level_and_message, set_up, tear_down),
		cmocka_unit_test_setup_teardown(
			lines_above_the_level_are_not_written, set_up, tear_down),
		cmocka_unit_test_setup_teardown(
			a_message_cannot_forge_a_line_or_drive_a_terminal, set_up, tear_down),
		cmocka_unit_test_setup_teardown(a_long_line_is_cut, set_up, tear_down),
		cmocka_unit_test_setup_teardown(
			each_place_writes_ten_lines_in_ten_seconds, set_up, tear_down),
		cmocka_unit_test_setup_teardown(
			lines_below_the_level_do_not_count, set_up, tear_down),
		cmocka_unit_test_setup_teardown(errno_survives, set_up, tear_down),
		cmocka_unit_test_setup_teardown(a_full_pipe_blocks_nobody, set_up, tear_down),
		cmocka_unit_test_setup_teardown(
			threads_share_a_place_without_mixing_lines, set_up, tear_down),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
