/* SPDX-License-Identifier: Apache-2.0
 *
 * What tcp.c, the connections of a worker, and tcp_listen.c, where they come from, share. Nobody
 * else includes it.
 */
#pragma once

#include "dns/serve/tcp.h"

#include <event2/buffer.h>
#include <event2/bufferevent.h>

struct evconnlistener;
struct event;

struct connection {
	struct tcp *tcp;
	struct bufferevent *bev; /* NULL: the slot is free */
	struct endpoint peer;
	uint32_t slot;
	uint32_t generation;
	unsigned waiting; /* forwarded queries without an answer yet */
	bool elsewhere;
	bool held;         /* queries of it were passed on */
	bool ending;       /* reads no more, and closes once its answers are out */
	bool starved;      /* an answer was lost for want of memory: to be closed */
	bool large;        /* a message beyond the limit of queries arrives: one of `large` */
	bool crowded;      /* one is to arrive, once others make room: nothing is read until then */
	int64_t active_ms; /* last whole query or answer */
	int64_t frame_ms;  /* when the frame that is not whole yet began; 0: none */
	int64_t taken_ms;  /* when the peer last took some of what is unsent */
};

struct listener {
	struct tcp *tcp;
	struct evconnlistener *event;
	bool elsewhere;
};

struct tcp {
	struct event_base *base;
	const struct conf *conf;
	struct stats *stats;
	serve_message *serve;
	void *ctx;
	tcp_notify *notify;   /* NULL: nobody */
	serve_expect *expect; /* NULL: nobody wants to know */
	struct tick *tick;    /* running only while there are connections, or listening is paused */
	unsigned listeners;
	struct listener listener[TCP_LISTENERS_MAX];
	bool paused; /* listeners are disabled: no descriptors left */
	unsigned open;
	unsigned large;                /* connections with a large message that arrives */
	size_t unsent;                 /* octets of output, of all connections together */
	struct connection *connection; /* conf->tcp_connections_max slots */
	struct writer answers;         /* of the connection that is being served */
};

/** Octets of output that the peer has not taken. */
static inline size_t tcp_unsent(const struct connection *c)
{
	return evbuffer_get_length(bufferevent_get_output(c->bev));
}

/** Begin to read. `fd` is transferred, and closed by a failure. @return 0; -ENOMEM */
int tcp_connection_open(struct connection *c, int fd, const struct endpoint *peer, bool elsewhere)
	__attribute__((warn_unused_result));

void tcp_connection_close(struct connection *c);

/** Look after the limits of time, as long as there are connections or listening is paused. */
void tcp_start_ticking(struct tcp *t);

void tcp_resume_listening(struct tcp *t);

void tcp_close_listeners(struct tcp *t);
