/* SPDX-License-Identifier: Apache-2.0 */
#include "dns/mesh/http.h"

#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>

#include <cmocka.h>

enum { LIMIT = 1000 };

static struct http_response response;

/* Feed `step` octets at a time; the connection then ends. @return what was said last */
static int feed_steps(const char *text, size_t len, size_t step, size_t *used)
{
	http_init(&response, LIMIT);
	int rc = 0;
	*used = 0;
	while (rc == 0 && *used < len && !http_is_complete(&response)) {
		size_t now = len - *used < step ? len - *used : step;
		size_t taken = 0;
		rc = http_feed(
			&response, (struct span){(const uint8_t *)text + *used, now}, &taken);
		*used += taken;
	}
	return rc == 0 ? http_end(&response) : rc;
}

struct row {
	const char *text;
	int rc;
	unsigned status;
	bool keep_alive;
	const char *etag;
	const char *body;
	size_t left; /* octets behind the response */
};

static void assert_row(const struct row *row, size_t step)
{
	size_t used;
	int rc = feed_steps(row->text, strlen(row->text), step, &used);
	if (rc != row->rc) {
		fail_msg("%d instead of %d, %zu at a time: %s", rc, row->rc, step, row->text);
	}
	if (rc == 0) {
		assert_int_equal(response.status, row->status);
		assert_int_equal(response.keep_alive, row->keep_alive);
		assert_string_equal(response.etag, row->etag ? row->etag : "");
		assert_int_equal(response.body_len, row->body ? strlen(row->body) : 0);
		if (row->body) {
			assert_memory_equal(response.body, row->body, response.body_len);
		}
		assert_int_equal(strlen(row->text) - used, row->left);
	}
	http_free(&response);
}

static void assert_rows(const struct row *rows, size_t count)
{
	for (size_t i = 0; i < count; i++) {
		assert_row(&rows[i], strlen(rows[i].text) + 1);
		assert_row(&rows[i], 1);
		assert_row(&rows[i], 3);
	}
}

#define OK_LINE "HTTP/1.1 200 OK\r\n"

static void responses_are_read(void **state)
{
	(void)state;
	static const struct row rows[] = {
		/* as Envoy writes them */
		{OK_LINE "etag: 0123abc\r\ncontent-length: 5\r\ncontent-type: text/plain\r\n"
			 "date: Mon, 01 Jan 2026 00:00:00 GMT\r\nserver: envoy\r\n\r\nhello",
			0, 200, true, "0123abc", "hello", 0},
		{"HTTP/1.1 304 Not Modified\r\nserver: envoy\r\n\r\n", 0, 304, true, NULL, NULL, 0},
		{OK_LINE "connection: close\r\ncontent-length: 2\r\n\r\nhi", 0, 200, false, NULL,
			"hi", 0},
		/* RFC 9112 §6.3: no body, whatever the length says */
		{"HTTP/1.1 304 Not Modified\r\nContent-Length: 5\r\n\r\n", 0, 304, true, NULL, NULL,
			0},
		{"HTTP/1.1 204 No Content\r\n\r\nHTTP/1.1", 0, 204, true, NULL, NULL, 8},
		{OK_LINE "content-length: 0\r\n\r\nrest", 0, 200, true, NULL, NULL, 4},
		/* names in any case, values as they are */
		{OK_LINE "ETAG:\t\"W/x y\" \t\r\nCONTENT-Length:1\r\n\r\nx", 0, 200, true,
			"\"W/x y\"", "x", 0},
		/* the same length twice */
		{OK_LINE "content-length: 1\r\ncontent-length: 1\r\n\r\nx", 0, 200, true, NULL, "x",
			0},
		{OK_LINE "Connection: keep-alive, Close\r\ncontent-length: 0\r\n\r\n", 0, 200,
			false, NULL, NULL, 0},
		/* chunks, with extensions and trailers */
		{OK_LINE "Transfer-Encoding: Chunked\r\n\r\n3\r\nabc\r\nA;x=\"y\"\r\n0123456789\r\n"
			 "00\r\nx: y\r\netag: late\r\n\r\nrest",
			0, 200, true, NULL, "abc0123456789", 4},
		/* until the end */
		{OK_LINE "\r\nall of it", 0, 200, false, NULL, "all of it", 0},
		{OK_LINE "\r\n", 0, 200, false, NULL, NULL, 0},
		{"HTTP/1.0 200 OK\r\ncontent-length: 1\r\n\r\nx", 0, 200, false, NULL, "x", 0},
		/* RFC 9110 §15.2 */
		{"HTTP/1.1 100 Continue\r\netag: no\r\n\r\nHTTP/1.1 103 Early\r\n\r\n"
		 "HTTP/1.1 404 Not Found\r\ncontent-length: 0\r\n\r\n",
			0, 404, true, NULL, NULL, 0},
		/* RFC 9112 §2.2: LF alone may end a line; §4: the reason may be absent */
		{"HTTP/1.1 200\ncontent-length: 1\n\nx", 0, 200, true, NULL, "x", 0},
		{"HTTP/1.1 503 \r\ncontent-length: 1\r\n\r\nx", 0, 503, true, NULL, "x", 0},
	};
	assert_rows(rows, sizeof rows / sizeof *rows);
}

static void what_is_no_response_is_refused(void **state)
{
	(void)state;
	static const struct row rows[] = {
		{.text = "", .rc = -EBADMSG},
		{.text = "\r\n\r\n", .rc = -EBADMSG},
		{.text = "SSH-2.0-OpenSSH\r\n", .rc = -EBADMSG},
		{.text = "HTTP/2 200\r\n\r\n", .rc = -EBADMSG},
		{.text = "HTTP/1.1 20 OK\r\n\r\n", .rc = -EBADMSG},
		{.text = "HTTP/1.1 2000 OK\r\n\r\n", .rc = -EBADMSG},
		{.text = "HTTP/1.1 099 OK\r\n\r\n", .rc = -EBADMSG},
		{.text = "HTTP/1.1 101 Switching Protocols\r\n\r\n", .rc = -EBADMSG},
		{.text = OK_LINE "no colon\r\n\r\n", .rc = -EBADMSG},
		{.text = OK_LINE ": no name\r\n\r\n", .rc = -EBADMSG},
		{.text = OK_LINE "space : x\r\n\r\n", .rc = -EBADMSG},
		{.text = OK_LINE "a: b\r\n folded\r\n\r\n", .rc = -EBADMSG},
		{.text = OK_LINE "etag: a\rb\r\n\r\n", .rc = -EBADMSG},
		{.text = OK_LINE "etag: a\x01\r\n\r\n", .rc = -EBADMSG},
		{.text = OK_LINE "content-length: 1\r\ncontent-length: 2\r\n\r\nxy",
			.rc = -EBADMSG},
		{.text = OK_LINE "content-length: -1\r\n\r\n", .rc = -EBADMSG},
		{.text = OK_LINE "content-length: 1,1\r\n\r\nx", .rc = -EBADMSG},
		{.text = OK_LINE "content-length: \r\n\r\n", .rc = -EBADMSG},
		{.text = OK_LINE "content-length: 1\r\ntransfer-encoding: chunked\r\n\r\n",
			.rc = -EBADMSG},
		{.text = OK_LINE "transfer-encoding: gzip\r\n\r\n", .rc = -EBADMSG},
		{.text = OK_LINE "transfer-encoding: chunked\r\n\r\nx\r\n", .rc = -EBADMSG},
		{.text = OK_LINE "transfer-encoding: chunked\r\n\r\n\r\n", .rc = -EBADMSG},
		{.text = OK_LINE "transfer-encoding: chunked\r\n\r\n1\r\nxy\r\n", .rc = -EBADMSG},
		{.text = OK_LINE "transfer-encoding: chunked\r\n\r\n0x1\r\nx\r\n0\r\n\r\n",
			.rc = -EBADMSG},
	};
	assert_rows(rows, sizeof rows / sizeof *rows);
}

static void a_response_that_is_cut_is_refused(void **state)
{
	(void)state;
	static const char *const texts[] = {
		OK_LINE "content-length: 5\r\n\r\nhello",
		OK_LINE "transfer-encoding: chunked\r\n\r\n5\r\nhello\r\n0\r\na: b\r\n\r\n",
		"HTTP/1.1 304 Not Modified\r\n\r\n",
	};
	for (size_t i = 0; i < sizeof texts / sizeof *texts; i++) {
		size_t used;
		for (size_t len = 0; len < strlen(texts[i]); len++) {
			assert_int_equal(feed_steps(texts[i], len, len + 1, &used), -EBADMSG);
			assert_int_equal(http_is_begun(&response), len > 0);
			http_free(&response);
		}
		assert_int_equal(feed_steps(texts[i], strlen(texts[i]), 7, &used), 0);
		http_free(&response);
	}
}

static void the_body_is_limited_while_it_is_read(void **state)
{
	(void)state;
	static const struct row rows[] = {
		{.text = OK_LINE "content-length: 1001\r\n\r\n", .rc = -E2BIG},
		{.text = OK_LINE "content-length: 99999999999999999999999\r\n\r\n", .rc = -E2BIG},
		{.text = OK_LINE "transfer-encoding: chunked\r\n\r\n3e9\r\n", .rc = -E2BIG},
		{.text = OK_LINE "transfer-encoding: chunked\r\n\r\n10000000000000000\r\n",
			.rc = -E2BIG},
		{.text = OK_LINE "transfer-encoding: chunked\r\n\r\n1\r\nx\r\n3e8\r\n",
			.rc = -E2BIG},
	};
	assert_rows(rows, sizeof rows / sizeof *rows);

	char text[2000] = OK_LINE "\r\n";
	size_t head = strlen(text);
	memset(text + head, 'x', LIMIT + 1);
	size_t used;
	assert_int_equal(feed_steps(text, head + LIMIT, 100, &used), 0);
	assert_int_equal(response.body_len, LIMIT);
	http_free(&response);
	assert_int_equal(feed_steps(text, head + LIMIT + 1, 100, &used), -E2BIG);
	http_free(&response);
}

/* A header of `len` octets with its empty line. */
static int feed_header(size_t len, const char *line)
{
	char *text = malloc(len + 64);
	static const char status[] = "HTTP/1.1 204 x\r\n";
	size_t at = sizeof status - 1;
	memcpy(text, status, at);
	for (size_t step = strlen(line); at + step + 2 <= len; at += step) {
		memcpy(text + at, line, step);
	}
	while (at + 2 < len) { /* what is missing goes into the last line's value */
		memmove(text + at - 1, text + at - 2, 2);
		text[at - 2] = 'y';
		at++;
	}
	memcpy(text + at, "\r\n", 2);
	size_t used;
	int rc = feed_steps(text, at + 2, 1000, &used);
	free(text);
	http_free(&response);
	return rc;
}

static void the_header_is_limited(void **state)
{
	(void)state;
	assert_int_equal(feed_header(HTTP_HEADER_MAX, "abc: def\r\n"), 0);
	assert_int_equal(feed_header(HTTP_HEADER_MAX + 1, "abc: def\r\n"), -E2BIG);
	/* without any end of a line, and with endless ones before the response */
	char *text = malloc(HTTP_HEADER_MAX + 1);
	memset(text, 'H', HTTP_HEADER_MAX + 1);
	size_t used;
	assert_int_equal(feed_steps(text, HTTP_HEADER_MAX + 1, 1000, &used), -E2BIG);
	static const char hint[] = "HTTP/1.1 103 x\r\n\r\n";
	for (size_t i = 0; i <= HTTP_HEADER_MAX; i++) {
		text[i] = hint[i % (sizeof hint - 1)];
	}
	assert_int_equal(feed_steps(text, HTTP_HEADER_MAX + 1, 1000, &used), -E2BIG);
	free(text);
}

static void an_etag_too_long_to_keep_counts_as_none(void **state)
{
	(void)state;
	char text[1024];
	char etag[HTTP_ETAG_SIZE + 1];
	memset(etag, 'e', sizeof etag);
	etag[HTTP_ETAG_SIZE] = '\0';
	size_t used;
	snprintf(text, sizeof text, "HTTP/1.1 204 x\r\netag: %s\r\n\r\n", etag);
	assert_int_equal(feed_steps(text, strlen(text), 5000, &used), 0);
	assert_string_equal(response.etag, "");
	snprintf(text, sizeof text, "HTTP/1.1 204 x\r\netag: %s\r\n\r\n", etag + 1);
	assert_int_equal(feed_steps(text, strlen(text), 5000, &used), 0);
	assert_string_equal(response.etag, etag + 1);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(responses_are_read),
		cmocka_unit_test(what_is_no_response_is_refused),
		cmocka_unit_test(a_response_that_is_cut_is_refused),
		cmocka_unit_test(the_body_is_limited_while_it_is_read),
		cmocka_unit_test(the_header_is_limited),
		cmocka_unit_test(an_etag_too_long_to_keep_counts_as_none),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
