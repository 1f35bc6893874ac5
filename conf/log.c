/* SPDX-License-Identifier: Apache-2.0
 *
 * Log lines: composed on the stack and handed to the kernel in one write, so that lines of two
 * threads never mix. No lock: a place that two threads use at once may write a line more than its
 * limit.
 */
#include "conf/log.h"

#include "conf/clock.h"

#include <errno.h>
#include <poll.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stdio.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

enum { LINE_SIZE = 1024, WINDOW_MS = 10 * 1000, WINDOW_LINES = 10 };

/* Writer: the main thread, at start; readers: all threads; relaxed. */
static _Atomic int log_level_max = LOG_LEVEL_INFO;

static const char *const level_names[] = {
	[LOG_LEVEL_ERROR] = "error",
	[LOG_LEVEL_WARNING] = "warning",
	[LOG_LEVEL_INFO] = "info",
	[LOG_LEVEL_DEBUG] = "debug",
};

/* A line that grows to the right; what does not fit before `limit` is left away. */
struct line {
	char text[LINE_SIZE];
	size_t len;
	size_t limit;
	bool cut;
};

void log_set_level(enum log_level level)
{
	atomic_store_explicit(&log_level_max, (int)level, memory_order_relaxed);
}

/* Count a line against its place's limit; a new window hands out what the last one dropped. */
static bool site_admits(struct log_site *site, uint32_t *left_out)
{
	int64_t window = atomic_load_explicit(&site->window_ms, memory_order_relaxed);
	int64_t now = clock_ms();

	if (now - window >= WINDOW_MS &&
		atomic_compare_exchange_strong_explicit(&site->window_ms, &window, now,
			memory_order_relaxed, memory_order_relaxed)) {
		atomic_store_explicit(&site->lines, 0, memory_order_relaxed);
		*left_out = atomic_exchange_explicit(&site->dropped, 0, memory_order_relaxed);
	}
	if (atomic_fetch_add_explicit(&site->lines, 1, memory_order_relaxed) < WINDOW_LINES) {
		return true;
	}
	atomic_fetch_add_explicit(&site->dropped, 1, memory_order_relaxed);
	return false;
}

static void line_put(struct line *line, const char *text, size_t len)
{
	if (line->cut || len > line->limit - line->len) {
		line->cut = true;
		return;
	}
	memcpy(line->text + line->len, text, len);
	line->len += len;
}

/* Anything but printable ASCII as \xNN: neither a terminal nor a log reader may be misled. */
static void line_put_escaped(struct line *line, const char *text)
{
	static const char hex[] = "0123456789abcdef";

	for (; *text && !line->cut; text++) {
		unsigned char c = (unsigned char)*text;
		char escape[4] = {'\\', 'x', hex[c >> 4], hex[c & 15]};

		if (c >= 0x20 && c < 0x7f) {
			line_put(line, text, 1);
		} else {
			line_put(line, escape, sizeof escape);
		}
	}
}

static void line_put_prefix(struct line *line, enum log_level level)
{
	struct timespec ts;
	struct tm tm;
	char text[64];
	int len;

	clock_gettime(CLOCK_REALTIME, &ts);
	gmtime_r(&ts.tv_sec, &tm);
	len = snprintf(text, sizeof text,
		"%04d-%02d-%02dT%02d:%02d:%02d.%03dZ %s: ", tm.tm_year + 1900, tm.tm_mon + 1,
		tm.tm_mday, tm.tm_hour, tm.tm_min, tm.tm_sec, (int)(ts.tv_nsec / 1000000),
		level_names[level]);
	line_put(line, text, (size_t)len);
}

/* The ellipsis, the count of lines left out, the newline; always fits: see `limit`. */
static void line_put_end(struct line *line, uint32_t left_out)
{
	char text[64];
	int len;

	if (line->cut) {
		line->cut = false;
		line->limit += 3;
		line_put(line, "...", 3);
	}
	line->limit = sizeof line->text;
	if (left_out) {
		len = snprintf(text, sizeof text, " (%u similar lines left out)", left_out);
		line_put(line, text, (size_t)len);
	}
	line_put(line, "\n", 1);
}

/* Queries do not wait for who reads the log: a pipe that is ready takes PIPE_BUF octets at once. */
static bool stderr_takes_line(void)
{
	struct pollfd p = {.fd = STDERR_FILENO, .events = POLLOUT};

	return poll(&p, 1, 0) == 1;
}

void log_line(struct log_site *site, enum log_level level, const char *format, ...)
{
	char message[LINE_SIZE];
	struct line line = {.len = 0, .limit = sizeof line.text - 64};
	uint32_t left_out = 0;
	int saved_errno = errno;
	va_list args;
	ssize_t written;

	if ((int)level > atomic_load_explicit(&log_level_max, memory_order_relaxed) ||
		!site_admits(site, &left_out)) {
		errno = saved_errno;
		return;
	}
	va_start(args, format);
	vsnprintf(message, sizeof message, format, args);
	va_end(args);
	line_put_prefix(&line, level);
	line_put_escaped(&line, message);
	line_put_end(&line, left_out);
	if (stderr_takes_line()) {
		do {
			written = write(STDERR_FILENO, line.text, line.len);
		} while (written < 0 && errno == EINTR);
	} else {
		atomic_fetch_add_explicit(&site->dropped, 1, memory_order_relaxed);
	}
	errno = saved_errno;
}
