/* SPDX-License-Identifier: Apache-2.0
 *
 * The servers that a worker knows, each in a slot that stays its own as long as anything refers to
 * it: those of the routes, and those that were in them moments ago and still owe answers. Pure
 * data: no I/O, no clock.
 */
#pragma once

#include "dns/admin/stats.h"
#include "dns/resolve/health.h"
#include "dns/resolve/routes.h"
#include "dns/wire/relay.h"

struct attempt;

enum { POOL_MAX = 128, POOL_NONE = 255 };

enum slot_state { SLOT_FREE, SLOT_USED, SLOT_RETIRED };

/** Counters of one server; see struct server_report. */
struct server_counts {
	uint64_t udp_queries;
	uint64_t tcp_queries;
	uint64_t hedges;
	uint64_t probes;
	uint64_t failures[UPSTREAM_FAILURES];
};

struct pool_server {
	enum slot_state state;
	struct endpoint at;
	int64_t retired_ns;
	uint8_t index; /* in routes, while used */
	struct health health;
	struct server_counts counts;
	struct asker probe;      /* what is asked … */
	struct attempt *probing; /* … as long as this is not NULL */
	int64_t probed_ns;       /* when last; 0: never */
	bool loop_told;          /* the worker has seen that it leads back to us */
};

struct pool {
	struct routes *routes; /* borrowed; NULL before the first ones */
	unsigned rotation;
	uint8_t slot_of[ROUTES_SERVERS_MAX]; /* POOL_NONE: there was no slot left */
	struct pool_server server[POOL_MAX];
};

/**
 * Change to other routes. Servers that are in both keep their slots, and all that is known of them.
 *
 * @param keep_ns  how long a slot that is not used any more is kept
 * @param changed  told of each slot that is given to a server or taken away from one
 */
void pool_set_routes(struct pool *pool, struct routes *routes, int64_t keep_ns, int64_t now_ns,
	void (*changed)(void *ctx, unsigned slot), void *ctx);

/**
 * Whether a server of the routes has no slot. Once others' time is over there is one: setting the
 * same routes again finds it.
 */
bool pool_is_short(const struct pool *pool);

/**
 * The slots of a route's servers in the order in which they are to be asked; without those that
 * lead back to us.
 *
 * @param[out] slots  room for SERVERS_LIST_MAX
 * @return how many
 */
unsigned pool_order(const struct pool *pool, const struct route *route, unsigned rotation,
	int64_t now_ns, uint8_t slots[]);
