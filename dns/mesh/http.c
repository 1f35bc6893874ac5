/* SPDX-License-Identifier: Apache-2.0
 *
 * A response, line by line up to its body. Refuses what is ambiguous instead of guessing: two
 * lengths, folded lines, control characters. Nothing is allocated for what a header only promises.
 */
#include "dns/mesh/http.h"

#include <errno.h>
#include <stdlib.h>
#include <strings.h>

void http_init(struct http_response *response, size_t body_limit)
{
	/* The line needs no clearing: it is large, and read up to line_len only. */
	memset(response, 0, offsetof(struct http_response, line));
	response->body_limit = body_limit;
}

void http_free(struct http_response *response)
{
	free(response->body);
	response->body = NULL;
	response->body_len = 0;
}

bool http_is_begun(const struct http_response *response)
{
	return response->part != HTTP_STATUS_LINE || response->header_len > 0;
}

static bool is_digit(char c)
{
	return c >= '0' && c <= '9';
}

/* RFC 9110 §5.6.2: a token. */
static bool is_token(const char *text, size_t len)
{
	for (size_t i = 0; i < len; i++) {
		unsigned char c = (unsigned char)text[i];
		if (c <= ' ' || c >= 0x7f || strchr("\"(),/:;<=>?@[\\]{}", c)) {
			return false;
		}
	}
	return len > 0;
}

static bool is_text(const char *text, size_t len, const char *word)
{
	return len == strlen(word) && strncasecmp(text, word, len) == 0;
}

/* RFC 9112 §4: HTTP/1.x, three digits, a reason that nobody reads. */
static int status_read(struct http_response *response)
{
	const char *line = response->line;
	if (response->line_len < 12 || memcmp(line, "HTTP/1.", 7) != 0 || !is_digit(line[7]) ||
		line[8] != ' ' || !is_digit(line[9]) || !is_digit(line[10]) ||
		!is_digit(line[11]) || (response->line_len > 12 && line[12] != ' ')) {
		return -EBADMSG;
	}
	response->status =
		(unsigned)((line[9] - '0') * 100 + (line[10] - '0') * 10 + line[11] - '0');
	response->keep_alive = line[7] != '0';
	response->part = HTTP_HEADER;
	return response->status >= 100 && response->status != 101 ? 0 : -EBADMSG;
}

static int length_read(struct http_response *response, const char *value, size_t len)
{
	uint64_t length = 0;
	for (size_t i = 0; i < len; i++) {
		if (!is_digit(value[i])) {
			return -EBADMSG;
		}
		if (length > UINT64_MAX / 10 - 1) {
			return -E2BIG;
		}
		length = length * 10 + (uint64_t)(value[i] - '0');
	}
	if (len == 0 || (response->has_length && response->length != length)) {
		return -EBADMSG;
	}
	response->has_length = true;
	response->length = length;
	return 0;
}

/* Connection: a list of tokens. */
static void connection_read(struct http_response *response, const char *value, size_t len)
{
	while (len > 0) {
		size_t token = 0;
		while (token < len && value[token] != ',') {
			token++;
		}
		size_t end = token;
		while (end > 0 && (value[end - 1] == ' ' || value[end - 1] == '\t')) {
			end--;
		}
		if (is_text(value, end, "close")) {
			response->keep_alive = false;
		}
		size_t next = token;
		while (next < len &&
			(value[next] == ',' || value[next] == ' ' || value[next] == '\t')) {
			next++;
		}
		value += next;
		len -= next;
	}
}

static int field_take(struct http_response *response, const char *name, size_t name_len,
	const char *value, size_t len)
{
	if (is_text(name, name_len, "content-length")) {
		return length_read(response, value, len);
	}
	if (is_text(name, name_len, "transfer-encoding")) {
		if (response->chunked || !is_text(value, len, "chunked")) {
			return -EBADMSG; /* no other was offered */
		}
		response->chunked = true;
	} else if (is_text(name, name_len, "connection")) {
		connection_read(response, value, len);
	} else if (is_text(name, name_len, "etag") && len < HTTP_ETAG_SIZE) {
		memcpy(response->etag, value, len);
		response->etag[len] = '\0';
	}
	return 0;
}

/* RFC 9112 §5: name, colon, value, with spaces around the value alone; no folded lines. */
static int field_read(struct http_response *response, bool trailer)
{
	const char *line = response->line;
	const char *colon = memchr(line, ':', response->line_len);
	if (!colon || !is_token(line, (size_t)(colon - line))) {
		return -EBADMSG;
	}
	const char *value = colon + 1;
	const char *end = line + response->line_len;
	while (value < end && (*value == ' ' || *value == '\t')) {
		value++;
	}
	while (end > value && (end[-1] == ' ' || end[-1] == '\t')) {
		end--;
	}
	if (trailer) {
		return 0; /* RFC 9110 §6.5.1: what frames a message does not count there */
	}
	return field_take(response, line, (size_t)(colon - line), value, (size_t)(end - value));
}

/* RFC 9112 §6.3: how long the body is. */
static int header_finish(struct http_response *response)
{
	unsigned status = response->status;
	if (status < 200) { /* RFC 9110 §15.2: the real response follows */
		response->part = HTTP_STATUS_LINE;
		response->has_length = false;
		response->chunked = false;
		response->etag[0] = '\0';
		return 0;
	}
	if (status == 204 || status == 304) {
		response->part = HTTP_COMPLETE;
		return 0;
	}
	if (response->chunked) {
		response->part = HTTP_CHUNK_SIZE;
		return response->has_length ? -EBADMSG : 0;
	}
	if (!response->has_length) {
		response->part = HTTP_BODY_TO_END;
		response->keep_alive = false;
		return 0;
	}
	response->left = response->length;
	response->part = response->left > 0 ? HTTP_BODY : HTTP_COMPLETE;
	return response->left > response->body_limit ? -E2BIG : 0;
}

static int hex_value(char c)
{
	return is_digit(c)            ? c - '0'
	       : c >= 'a' && c <= 'f' ? c - 'a' + 10
	       : c >= 'A' && c <= 'F' ? c - 'A' + 10
				      : -1;
}

/* RFC 9112 §7.1: hexadecimal digits, then perhaps extensions. */
static int chunk_size_read(struct http_response *response)
{
	uint64_t size = 0;
	size_t i = 0;
	for (; i < response->line_len && hex_value(response->line[i]) >= 0; i++) {
		if (size > UINT64_MAX >> 4) {
			return -E2BIG;
		}
		size = size << 4 | (uint64_t)hex_value(response->line[i]);
	}
	if (i == 0 || (i < response->line_len && !strchr("; \t", response->line[i]))) {
		return -EBADMSG;
	}
	if (size > response->body_limit - response->body_len) {
		return -E2BIG;
	}
	response->left = size;
	response->part = size > 0 ? HTTP_CHUNK : HTTP_TRAILER;
	return 0;
}

static int line_take(struct http_response *response)
{
	switch (response->part) {
	case HTTP_STATUS_LINE:
		return status_read(response);
	case HTTP_HEADER:
		return response->line_len == 0 ? header_finish(response)
					       : field_read(response, false);
	case HTTP_CHUNK_SIZE:
		return chunk_size_read(response);
	case HTTP_CHUNK_END:
		response->part = HTTP_CHUNK_SIZE;
		return response->line_len == 0 ? 0 : -EBADMSG;
	default:
		if (response->line_len > 0) {
			return field_read(response, true);
		}
		response->part = HTTP_COMPLETE;
		return 0;
	}
}

/* Control characters have no place in a line; a CR only before its LF, and that one is cut here. */
static bool line_is_clean(struct http_response *response)
{
	if (response->line_len > 0 && response->line[response->line_len - 1] == '\r') {
		response->line_len--;
	}
	for (size_t i = 0; i < response->line_len; i++) {
		unsigned char c = (unsigned char)response->line[i];
		if ((c < ' ' && c != '\t') || c == 0x7f) {
			return false;
		}
	}
	return true;
}

/* Collect a line, and read it when it ends. */
static int line_feed(struct http_response *response, struct span octets, size_t *used)
{
	const uint8_t *end = memchr(octets.data, '\n', octets.len);
	size_t len = end ? (size_t)(end - octets.data) : octets.len;
	*used = end ? len + 1 : len;
	/* Chunk sizes are as many as there are chunks, which the body's limit bounds. */
	bool counts = response->part != HTTP_CHUNK_SIZE && response->part != HTTP_CHUNK_END;
	if (len > HTTP_HEADER_MAX - response->line_len ||
		(counts && *used > HTTP_HEADER_MAX - response->header_len)) {
		return -E2BIG;
	}
	memcpy(response->line + response->line_len, octets.data, len);
	response->line_len += len;
	response->header_len += counts ? *used : 0;
	if (!end) {
		return 0;
	}
	int rc = line_is_clean(response) ? line_take(response) : -EBADMSG;
	response->line_len = 0;
	return rc;
}

static int body_reserve(struct http_response *response, size_t len)
{
	size_t need = response->body_len + len;
	if (need <= response->body_room) {
		return 0;
	}
	size_t room = need < 4096 ? 4096 : need + need / 2;
	/* The last growth is exact: the length is often known. */
	if (response->has_length && room > response->length) {
		room = (size_t)response->length;
	}
	uint8_t *body = realloc(response->body, room);
	if (!body) {
		return -ENOMEM;
	}
	response->body = body;
	response->body_room = room;
	return 0;
}

static int body_feed(struct http_response *response, struct span octets, size_t *used)
{
	bool to_end = response->part == HTTP_BODY_TO_END;
	size_t len = octets.len;
	if (!to_end && len > response->left) {
		len = (size_t)response->left;
	}
	*used = len;
	if (len > response->body_limit - response->body_len) {
		return -E2BIG;
	}
	int rc = body_reserve(response, len);
	if (rc < 0) {
		return rc;
	}
	memcpy(response->body + response->body_len, octets.data, len);
	response->body_len += len;
	if (to_end) {
		return 0;
	}
	response->left -= len;
	if (response->left == 0) {
		response->part = response->part == HTTP_CHUNK ? HTTP_CHUNK_END : HTTP_COMPLETE;
	}
	return 0;
}

int http_feed(struct http_response *response, struct span octets, size_t *used)
{
	*used = 0;
	while (*used < octets.len && response->part != HTTP_COMPLETE) {
		struct span rest = {octets.data + *used, octets.len - *used};
		bool body = response->part == HTTP_BODY || response->part == HTTP_BODY_TO_END ||
			    response->part == HTTP_CHUNK;
		size_t step = 0;
		int rc = body ? body_feed(response, rest, &step) : line_feed(response, rest, &step);
		if (rc < 0) {
			return rc;
		}
		*used += step;
	}
	return 0;
}

int http_end(struct http_response *response)
{
	if (response->part == HTTP_BODY_TO_END) {
		response->part = HTTP_COMPLETE;
	}
	return http_is_complete(response) ? 0 : -EBADMSG;
}
