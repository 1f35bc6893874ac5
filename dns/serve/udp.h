/* SPDX-License-Identifier: Apache-2.0
 *
 * Datagrams in and out: the UDP sockets of one worker, which share its buffers. Received in
 * batches, answered in place, sent in batches. Decides nothing about DNS.
 */
#pragma once

#include "conf/conf.h"
#include "dns/serve/serve.h"

struct event_base;
struct stats;
struct udp;

enum {
	UDP_SOCKETS_MAX = CONF_LISTEN_MAX + 6,
	UDP_BATCH = SERVE_BATCH, /* datagrams of one recvmmsg and one sendmmsg */
	UDP_SLOT_SIZE =
		4096 /* octets of the largest query that is read and response that is sent */
};

/**
 * @param base   the worker's loop
 * @param stats  the worker's; borrowed until udp_close
 * @param serve  called for each datagram; one that was cut is presented as its header alone, which
 *               makes it a query that is owed FORMERR
 * @return 0; -ENOMEM
 */
int udp_open(struct udp **udp, struct event_base *base, struct stats *stats, serve_message *serve,
	void *ctx) __attribute__((warn_unused_result));

/** Have `expect` called before each batch is served, with the `ctx` of udp_open. */
void udp_set_expect(struct udp *udp, serve_expect *expect);

/**
 * Bind one more socket and read from it. On a wildcard address, answers leave from the address that
 * was asked (RFC 2181 §4.1).
 *
 * @param[in,out] at   where; with port 0, the port that the kernel chose is filled in
 * @param         how  enum listen_how, or'ed
 * @return 0; -EMFILE beyond UDP_SOCKETS_MAX sockets; -errno of socket, bind or the loop
 */
int udp_listen(struct udp *udp, struct endpoint *at, unsigned how)
	__attribute__((warn_unused_result));

/**
 * Whether somebody else shall be asked for the message that is being served, which costs several
 * times what an answer of our own does. Always, unless the socket's buffer has been overflowing for
 * a while: then a share is, as large as is bearable, and the rest is best dropped without a word,
 * as the kernel drops what finds no room. Counts; ask once a message.
 *
 * @param from  who sent it; over UDP
 */
bool udp_may_forward(struct udp *udp, const struct requestor *from);

/**
 * Send one datagram, through the socket and from the address that `to` asked: not at once, but with
 * others in the loop's next turn. A failure is counted.
 *
 * @param message  copied, unless it is sent at once
 */
void udp_send(struct udp *udp, const struct requestor *to, struct span message);

/**
 * Take no datagrams from now on but those that have arrived: the kernel gives the others to who
 * shares our ports. Replies can be sent still.
 */
void udp_leave(struct udp *udp);

/** Datagrams that the kernel dropped because a receive buffer was full. Any thread. */
uint64_t udp_overflows(const struct udp *udp);

/** Close the sockets and free. NULL is a no-op. */
void udp_close(struct udp *udp);
