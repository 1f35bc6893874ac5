/* SPDX-License-Identifier: Apache-2.0
 *
 * HTTP/1.1 responses (RFC 9112), read as the octets come. No I/O; allocates the body alone.
 */
#pragma once

#include "dns/wire/cursor.h"

enum {
	HTTP_HEADER_MAX = 16384, /* octets of status line, header, and trailers together */
	HTTP_ETAG_SIZE = 256
};

enum http_part {
	HTTP_STATUS_LINE,
	HTTP_HEADER,
	HTTP_BODY,        /* as long as Content-Length says */
	HTTP_BODY_TO_END, /* until the connection is closed */
	HTTP_CHUNK_SIZE,
	HTTP_CHUNK,
	HTTP_CHUNK_END,
	HTTP_TRAILER,
	HTTP_COMPLETE
};

/** A response as far as it has been read. The first group is for callers, once it is complete. */
struct http_response {
	unsigned status;
	bool keep_alive;           /* the connection can carry another request */
	char etag[HTTP_ETAG_SIZE]; /* exactly as spelled; empty if absent or too long to be one */
	uint8_t *body;             /* body_len octets, owned */
	size_t body_len;

	enum http_part part;
	size_t body_room;
	size_t body_limit;
	uint64_t left; /* octets of body or chunk that are to come */
	uint64_t length;
	bool has_length;
	bool chunked;
	size_t header_len; /* of all lines so far */
	size_t line_len;
	char line[HTTP_HEADER_MAX]; /* the one that is being read */
};

/** Expect a response, whose body may have `body_limit` octets. */
void http_init(struct http_response *response, size_t body_limit);

/**
 * Read the octets that have come.
 *
 * @param[out] used  how many belong to this response; all, unless it is complete
 * @return 0, see http_is_complete; -EBADMSG if this is no response, or in a coding that was not
 * asked for; -E2BIG if header or body exceed their limits; -ENOMEM. After an error it can only be
 * freed. Cost: O(octets).
 */
int http_feed(struct http_response *response, struct span octets, size_t *used)
	__attribute__((warn_unused_result));

/** The connection was closed. @return 0 if that completes the response; -EBADMSG if it cuts it */
int http_end(struct http_response *response) __attribute__((warn_unused_result));

static inline bool http_is_complete(const struct http_response *response)
{
	return response->part == HTTP_COMPLETE;
}

/** Whether anything of it has been read. */
bool http_is_begun(const struct http_response *response);

/** Free the body. */
void http_free(struct http_response *response);
