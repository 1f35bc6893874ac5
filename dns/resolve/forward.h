/* SPDX-License-Identifier: Apache-2.0
 *
 * Requestors and what they asked for: joins those that ask the same, remembers answers in the
 * cache, gives old ones while there is no new one. Belongs to one worker and runs on its loop.
 * Every query that is handed in gets exactly one reply, within forward_timeout_ms.
 */
#pragma once

#include "conf/endpoint.h"
#include "dns/resolve/asking.h"
#include "dns/resolve/routes.h"
#include "dns/wire/relay.h"

#include <stdint.h>

struct cache;
struct conf;
struct event_base;
struct forward;
struct stats;

/** Who asked, so that the answer finds the way back. Opaque to forward; the transport fills it in.
 */
struct requestor {
	struct endpoint peer; /* UDP: where to; TCP: for the record */
	struct endpoint
		local; /* the address that was asked; len 0: UDP on one that is not a wildcard */
	uint32_t slot; /* UDP: which socket; TCP: which connection … */
	uint32_t generation; /* … and whose turn in that slot */
	bool tcp;
	bool elsewhere; /* its query was redirected, and for a server that is none of ours */
};

/**
 * Takes a response to its requestor. Also called inside forward_query.
 *
 * @param message  borrowed: valid during the call
 */
typedef void forward_reply(void *ctx, const struct requestor *to, struct span message);

/**
 * @param base   the worker's loop
 * @param conf   borrowed during the call: time-outs, limit, mark (0 where no redirection needs it)
 * @param cache  the worker's; borrowed until forward_close; NULL: nothing is remembered
 * @param stats  the worker's; borrowed until forward_close
 * @return 0; -ENOMEM; -errno
 */
int forward_open(struct forward **forward, struct event_base *base, const struct conf *conf,
	struct cache *cache, struct stats *stats, forward_reply *reply, void *ctx)
	__attribute__((warn_unused_result));

/**
 * Ask according to these routes from now on. What others than today's servers said is forgotten;
 * questions that are being asked go on with the servers they began with. To be called before the
 * first query.
 *
 * @param routes  transferred: one reference
 */
void forward_set_routes(struct forward *forward, struct routes *routes);

/**
 * Take a query that is not ours to answer; the reply comes later, or inside this call.
 *
 * An identical question in flight (see transactions_find) is joined. The same query of the same
 * requestor again (a retransmission) is dropped: the first one will be answered.
 *
 * @param q        as query_parse left it, without error; borrowed during the call
 * @param options  of our own OPT in the response
 * @param limit    octets of the largest response the requestor takes
 */
void forward_query(struct forward *forward, const struct query *q,
	const struct edns_options *options, const struct requestor *from, size_t limit);

/** Have a question asked whose answer nobody waits for, so that the cache has it. */
void forward_refresh(struct forward *forward, const struct query *q);

/** Requestors that wait now. */
unsigned forward_waiting(const struct forward *forward);

/** As asking_order. */
unsigned forward_order(const struct forward *forward, const struct route *route, uint8_t order[]);

/** As asking_report. */
void forward_report(const struct forward *forward, unsigned server, struct server_report *report);

/** Answer every waiting requestor (SERVFAIL, EDE 23), close every socket and free. NULL is a no-op.
 */
void forward_close(struct forward *forward);
