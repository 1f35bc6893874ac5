/* SPDX-License-Identifier: Apache-2.0
 *
 * A small HTTP server on libevent's buffers: one request a connection, without a body. libevent's
 * own server cannot count its connections nor limit the time of a whole request, and one of ours
 * may listen on the network. Everything a peer can hold is limited here: connections, octets,
 * seconds.
 */
#pragma once

#include "dns/wire/cursor.h"

struct event_base;
struct evbuffer;
struct httpd_server;

enum {
	HTTPD_CONNECTIONS_MAX = 64,
	HTTPD_HEAD_MAX = 8192,    /* octets of a request, its blank line included */
	HTTPD_REQUEST_MS = 5000,  /* from the connection to the last octet of the request */
	HTTPD_STALL_MS = 5000,    /* without an octet being taken of the response */
	HTTPD_RESPONSE_MS = 60000 /* for the whole response */
};

enum httpd_method {
	HTTPD_OTHER,
	HTTPD_GET,
	HTTPD_HEAD, /* no body of the response is wanted */
	HTTPD_POST  /* its body is not read */
};

/** What is asked, spans into the request: the path as it was sent, the query without its `?`. */
struct httpd_request {
	enum httpd_method method;
	bool chunked; /* HTTP/1.1: chunks are understood */
	struct span path;
	struct span query;
};

enum httpd_more {
	HTTPD_MORE, /* call again when this has left */
	HTTPD_END,
	HTTPD_ABORT /* close without the end: the peer sees that it is cut */
};

/** Response, to be filled in. `status` 0 is no response: the connection is closed. */
struct httpd_reply {
	unsigned status;
	struct evbuffer *body;    /* borrowed; to be added to */
	const char *content_type; /* static; NULL: plain text */
	const char *allow;        /* static; with 405: the methods of the page */

	/* Set where the body is long: called whenever all before has left, adds some 10 KiB. */
	enum httpd_more (*more)(void *stream, struct evbuffer *body);
	void (*free)(void *stream); /* called once, when no more is wanted */
	void *stream;
};

typedef void httpd_handler(
	void *ctx, const struct httpd_request *request, struct httpd_reply *reply);

/**
 * Read the head of a request (RFC 9112 §2 to §5). Pure.
 *
 * @param head  hostile; through the blank line; borrowed as long as `request` is used
 * @return the status to answer with: 200 where `request` is set, else 400 or 505
 */
unsigned httpd_request_parse(struct httpd_request *request, struct span head);

/**
 * Serve on a listening socket.
 *
 * @param fd  transferred, also on failure
 * @return 0; -ENOMEM
 */
int httpd_open(struct httpd_server **server, struct event_base *base, int fd,
	httpd_handler *handler, void *ctx) __attribute__((warn_unused_result));

/** Close the socket and all connections; streams are freed. NULL is a no-op. */
void httpd_close(struct httpd_server *server);
