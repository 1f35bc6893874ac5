/* SPDX-License-Identifier: Apache-2.0
 *
 * Transactions: one outstanding upstream question each, and the requestors that wait for it.
 * Belongs to one worker and runs on its loop. Every query that is handed in gets exactly one reply,
 * within forward_timeout_ms.
 */
#pragma once

#include "conf/endpoint.h"
#include "dns/resolve/servers.h"
#include "dns/wire/relay.h"

#include <stdint.h>

struct conf;
struct event_base;
struct forward;
struct stats;

/** Who asked, so that the answer finds the way back. Opaque to forward; the transport fills it in.
 */
struct requestor {
	struct endpoint peer; /* UDP: where to; TCP: for the record */
	struct endpoint
		local;       /* UDP on a wildcard socket: the address that was asked; else len 0 */
	uint32_t slot;       /* UDP: which socket; TCP: which connection … */
	uint32_t generation; /* … and whose turn in that slot */
	bool tcp;
};

/**
 * Takes a response to its requestor. Also called inside forward_query.
 *
 * @param message  borrowed: valid during the call
 */
typedef void forward_reply(void *ctx, const struct requestor *to, struct span message);

/**
 * @param base     the worker's loop
 * @param conf     borrowed during the call: time-outs, limit, mark (0 where no redirection needs
 * it)
 * @param servers  copied; may be empty: every query then gets SERVFAIL with EDE 22 or 23
 * @param stats    the worker's; borrowed until forward_close
 * @return 0; -ENOMEM; -errno
 */
int forward_open(struct forward **forward, struct event_base *base, const struct conf *conf,
	const struct servers *servers, struct stats *stats, forward_reply *reply, void *ctx)
	__attribute__((warn_unused_result));

/**
 * Take a query that is not ours to answer; the reply comes later, or inside this call.
 *
 * An identical question in flight (name folded, type, class, RD, AD, CD, DO, client subnet) is
 * joined. The same query of the same requestor again (a retransmission) is dropped: the first one
 * will be answered.
 *
 * @param q      as query_parse left it, without error; borrowed during the call
 * @param limit  octets of the largest response the requestor takes
 */
void forward_query(
	struct forward *forward, const struct query *q, const struct requestor *from, size_t limit);

/** Requestors that wait now. */
unsigned forward_waiting(const struct forward *forward);

/** Answer every waiting requestor (SERVFAIL, EDE 23), close every socket and free. NULL is a no-op.
 */
void forward_close(struct forward *forward);
