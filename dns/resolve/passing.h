/* SPDX-License-Identifier: Apache-2.0
 *
 * Passing on, octet for octet, to the very server that a requestor asked, and back: as if we were
 * not there. What is not ours to answer and not ours to ask elsewhere goes this way: queries to
 * servers that are none of resolv.conf's, other opcodes (RFC 1996, RFC 2136), transfers (RFC 5936,
 * RFC 1995). Nothing is matched, cached or repeated: that is the requestor's business.
 *
 * Belongs to one worker and runs on its loop.
 */
#pragma once

#include "dns/resolve/forward.h"

struct passing_udp;
struct passing_tcp;

enum {
	PASSING_FLOWS_MAX = 1024,   /* UDP, of one worker: the one idle for longest makes room */
	PASSING_IDLE_MS = 10000,    /* an answer may take so long */
	PASSING_ANSWERED_MS = 2000, /* as many answers as queries came; there may be another one */
	PASSING_CONNECT_MS = 5000,
	PASSING_SILENCE_MS = 120000 /* over TCP: the server has said nothing for so long */
};

/**
 * Datagrams: a socket for each flow of a requestor to a server.
 *
 * @param mark   SO_MARK of every socket; 0: none
 * @param flows  at most, of 1..PASSING_FLOWS_MAX: each has a descriptor
 * @param reply  as forward_reply; also called with SERVFAIL where the server's host says that
 *               nobody is there
 * @return 0; -ENOMEM
 */
int passing_udp_open(struct passing_udp **passing, struct event_base *base, uint32_t mark,
	unsigned flows, forward_reply *reply, void *ctx) __attribute__((warn_unused_result));

/** The server of a flow that is under way; NULL where there is none. Borrowed, for
 * passing_udp_send. */
const struct endpoint *passing_udp_server(
	const struct passing_udp *passing, const struct requestor *from);

/**
 * Send a message on.
 *
 * @param message  HEADER_LEN octets and more; borrowed during the call
 * @return 0; -errno: it could not be sent, and there will be no reply
 */
int passing_udp_send(struct passing_udp *passing, struct span message, const struct requestor *from,
	const struct endpoint *server) __attribute__((warn_unused_result));

/** NULL is a no-op. */
void passing_udp_close(struct passing_udp *passing);

/** What a requestor's connection says to a message for it. */
enum passing_peer {
	PASSING_READY,
	PASSING_FULL, /* no more until passing_tcp_resume */
	PASSING_GONE
};

/** Takes a message to its requestor; never inside a function of this module. */
typedef enum passing_peer passing_reply(void *ctx, const struct requestor *to, struct span message);

/** The server has closed, or cannot be reached: so is the requestor's connection to be. */
typedef void passing_end(void *ctx, const struct requestor *to);

/**
 * Messages over TCP: a connection to the server for each connection of a requestor.
 *
 * @param slots  a requestor's `slot` is below this
 * @return 0; -ENOMEM
 */
int passing_tcp_open(struct passing_tcp **passing, struct event_base *base, uint32_t mark,
	uint32_t slots, passing_reply *reply, passing_end *end, void *ctx)
	__attribute__((warn_unused_result));

/** As passing_udp_server. */
const struct endpoint *passing_tcp_server(
	const struct passing_tcp *passing, const struct requestor *from);

/** As passing_udp_send. What one requestor has not sent yet is bounded: -ENOBUFS. */
int passing_tcp_send(struct passing_tcp *passing, struct span message, const struct requestor *from,
	const struct endpoint *server) __attribute__((warn_unused_result));

/** A requestor that was PASSING_FULL takes more; harmless for any other. */
void passing_tcp_resume(struct passing_tcp *passing, uint32_t slot, uint32_t generation);

/** A requestor sends no more, and waits for what is still to come; harmless for any other. */
void passing_tcp_half_close(struct passing_tcp *passing, uint32_t slot, uint32_t generation);

/** A requestor's connection is gone; harmless for any other. */
void passing_tcp_gone(struct passing_tcp *passing, uint32_t slot, uint32_t generation);

/** NULL is a no-op. */
void passing_tcp_close(struct passing_tcp *passing);
