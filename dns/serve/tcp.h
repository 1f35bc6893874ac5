/* SPDX-License-Identifier: Apache-2.0
 *
 * DNS over TCP (RFC 7766): the listeners and connections of one worker. Queries are pipelined,
 * answers leave as they are ready; every limit of `conf` is kept here. Decides nothing about DNS.
 *
 * SIGPIPE must be ignored or blocked.
 */
#pragma once

#include "conf/conf.h"
#include "dns/serve/serve.h"

struct event_base;
struct stats;
struct tcp;

enum {
	TCP_LISTENERS_MAX = CONF_LISTEN_MAX + 6,
	TCP_IN_FLIGHT_MAX = 128 /* forwarded queries of one connection that wait for an answer */
};

/**
 * @param base   the worker's loop
 * @param conf   limits; borrowed until tcp_close
 * @param stats  the worker's; borrowed until tcp_close
 * @param serve  called for each query; `out` has room for 65535 octets
 * @return 0; -ENOMEM
 */
int tcp_open(struct tcp **tcp, struct event_base *base, const struct conf *conf,
	struct stats *stats, serve_message *serve, void *ctx) __attribute__((warn_unused_result));

/**
 * Listen at one more address.
 *
 * @param how  enum listen_how, or'ed
 * @return 0; -EMFILE beyond TCP_LISTENERS_MAX listeners; -errno of socket, bind or listen
 */
int tcp_listen(struct tcp *tcp, const struct endpoint *at, unsigned how)
	__attribute__((warn_unused_result));

/** Send a response on the connection that `to` came from; dropped where that is gone. */
void tcp_send(struct tcp *tcp, const struct requestor *to, struct span message);

/**
 * A query of this connection was passed on, inside `serve`: what comes back, however much, comes by
 * tcp_send_passed; until tcp_end nobody but the peer closes it for being idle.
 */
void tcp_hold(struct tcp *tcp, const struct requestor *from);

/** Whether a peer takes more. */
enum tcp_peer {
	TCP_READY,
	TCP_FULL, /* it has much to read: wait for TCP_DRAINED */
	TCP_GONE
};

/** As tcp_send, of what was passed on: no query is answered by it. */
enum tcp_peer tcp_send_passed(struct tcp *tcp, const struct requestor *to, struct span message);

/** Close the connection that `to` came from, once its answers are out. Not inside `serve`. */
void tcp_end(struct tcp *tcp, const struct requestor *to);

/** The address and port that a connection came to. @return 0; -errno: it is gone */
int tcp_local(const struct tcp *tcp, const struct requestor *of, struct endpoint *local)
	__attribute__((warn_unused_result));

/** What becomes of a connection. */
enum tcp_news { TCP_DRAINED, TCP_HALF_CLOSED, TCP_CLOSED };

/** Tells it; not to call back into tcp_end. @param slot  as in struct requestor */
typedef void tcp_notify(void *ctx, uint32_t slot, uint32_t generation, enum tcp_news news);

/** Whom to tell, with the `ctx` of `serve`; before the first connection. */
void tcp_set_notify(struct tcp *tcp, tcp_notify *notify);

/** Have `expect` called before what one read brought is served, with the `ctx` of `serve`; of many
 * messages only the first are told of. */
void tcp_set_expect(struct tcp *tcp, serve_expect *expect);

/** Stop listening and reading; connections close as their answers are out. */
void tcp_finish(struct tcp *tcp);

/** Connections that are open. */
unsigned tcp_connections(const struct tcp *tcp);

/** Close every connection and listener, and free. NULL is a no-op. */
void tcp_close(struct tcp *tcp);
