/* SPDX-License-Identifier: Apache-2.0
 *
 * Having a question answered: which servers are asked, in which order, how, when the next one is
 * asked too, and when it is given up. Remembers of each server whether and how fast it answers,
 * and finds out about those that do not. Belongs to one worker and runs on its loop. Knows neither
 * requestors nor the cache.
 */
#pragma once

#include "dns/admin/stats.h"
#include "dns/resolve/routes.h"
#include "dns/resolve/transactions.h"
#include "dns/wire/response.h"

struct asking;
struct conf;
struct event_base;

/** What a worker knows of one server; counters since it has known it. */
struct server_report {
	struct endpoint at;
	bool ours;            /* we are it */
	bool loop;            /* what we ask it comes back to us */
	bool silent;          /* it does not answer */
	bool no_opt;          /* it is asked without OPT */
	bool no_udp;          /* it is asked over TCP only */
	uint32_t smoothed_us; /* response time; 0: it never answered */
	uint32_t p95_us;
	uint64_t udp_queries;
	uint64_t tcp_queries;
	uint64_t hedges; /* queries to it because another one took long */
	uint64_t probes;
	uint64_t failures[UPSTREAM_FAILURES];
};

/**
 * Tells how a question ended; the transaction is in no list of ours any more.
 *
 * @param r    the response, borrowed during the call: the answer, or the best of what servers said
 *             instead; NULL where nothing can be passed on
 * @param ede  with NULL: why
 */
typedef void asking_done(void *ctx, struct transaction *t, const struct relayed *r, enum ede ede);

/** Tells that a question has been asked for ASKING_OVERDUE_MS; it goes on, unless it is stopped. */
typedef void asking_overdue(void *ctx, struct transaction *t);

enum { ASKING_OVERDUE_MS = 1800 }; /* RFC 8767 §5: the client response timer */

/**
 * @param base   the worker's loop
 * @param conf   borrowed during the call: time-outs, limits, mark
 * @param stats  the worker's; borrowed until asking_close
 * @return 0; -ENOMEM; -errno
 */
int asking_open(struct asking **asking, struct event_base *base, const struct conf *conf,
	struct stats *stats, asking_done *done, asking_overdue *overdue, void *ctx)
	__attribute__((warn_unused_result));

/**
 * Ask according to these routes from now on; questions that are being asked go on as they began.
 *
 * @param routes  borrowed: the caller holds a reference until the next call or asking_close
 */
void asking_set_routes(struct asking *asking, struct routes *routes);

/**
 * Ask a question; make this call the last statement: `done` may be called inside.
 *
 * @param t      its asker is set
 * @param route  of its name, in the routes that were set last
 */
void asking_begin(
	struct asking *asking, struct transaction *t, const struct route *route, int64_t now_ns);

/** Stop asking; nothing is told. */
void asking_stop(struct asking *asking, struct transaction *t);

/**
 * Who would be asked now for names of a route, the first one first.
 *
 * @param[out] order  room for SERVERS_LIST_MAX: indexes in struct routes
 * @return how many
 */
unsigned asking_order(const struct asking *asking, const struct route *route, uint8_t order[]);

/** What is known of a server of the routes that were set last. */
void asking_report(const struct asking *asking, unsigned server, struct server_report *report);

/** Close every socket and free; no question is being asked. NULL is a no-op. */
void asking_close(struct asking *asking);
