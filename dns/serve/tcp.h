/* SPDX-License-Identifier: Apache-2.0
 *
 * DNS over TCP (RFC 7766): the listeners and connections of one worker. Queries are pipelined,
 * answers leave as they are ready; every limit of `conf` is kept here. Decides nothing about DNS.
 *
 * SIGPIPE must be ignored or blocked.
 */
#pragma once

#include "dns/serve/serve.h"

struct conf;
struct event_base;
struct stats;
struct tcp;

enum { TCP_IN_FLIGHT_MAX = 128 }; /* forwarded queries of one connection that wait for an answer */

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
 * @return 0; -EMFILE beyond CONF_LISTEN_MAX listeners; -errno of socket, bind or listen
 */
int tcp_listen(struct tcp *tcp, const struct endpoint *at) __attribute__((warn_unused_result));

/** Send a response on the connection that `to` came from; dropped where that is gone. */
void tcp_send(struct tcp *tcp, const struct requestor *to, struct span message);

/** Stop listening and reading; connections close as their answers are out. */
void tcp_finish(struct tcp *tcp);

/** Connections that are open. */
unsigned tcp_connections(const struct tcp *tcp);

/** Close every connection and listener, and free. NULL is a no-op. */
void tcp_close(struct tcp *tcp);
