/* SPDX-License-Identifier: Apache-2.0
 *
 * Who is asked for what: zones, each with its servers or with an answer that needs none, the search
 * domains that applications append, and how often and how long a server is asked. Made whole by the
 * main thread, shared by all workers, replaced whole when resolv.conf changes. Nothing in it
 * changes but the memory of loops.
 */
#pragma once

#include "dns/resolve/servers.h"
#include "dns/wire/dname.h"

#include <stdatomic.h>

struct conf;
struct resolv_conf;

enum {
	ROUTES_MAX = 33,         /* the root's, and those that the configuration names */
	ROUTES_SERVERS_MAX = 64, /* different servers of all routes together */
	ROUTES_SEARCH_MAX = 32,
	ROUTES_LOOP_MS = 70000 /* a loop that was not seen for this time is gone: two probes */
};

enum route_answer { ROUTE_FORWARD, ROUTE_REFUSE, ROUTE_NXDOMAIN };

/** A zone, and who answers for it. */
struct route {
	struct dname zone;
	uint8_t labels;  /* of the zone, without the root's */
	bool configured; /* by `upstreams`: it overrides what is special about names */
	enum route_answer answer;
	unsigned count;                   /* with ROUTE_FORWARD; may be 0: then nobody is asked */
	uint8_t server[SERVERS_LIST_MAX]; /* in struct routes, in the order of the configuration */
};

struct route_server {
	struct endpoint at;
	bool ours;      /* an address that we listen on: never asked */
	uint64_t token; /* random: who sees it in a query knows that the query came round */
	/* When the token came back last, in ms; 0: never. Written by whichever worker sees it, read
	 * by all and by the main thread; relaxed: nothing hangs on it. */
	_Atomic int64_t looped_ms;
	/* The log has that it leads back to us. Exchanged by whichever worker finds that it does,
	 * or does no longer; relaxed: nothing hangs on it. */
	atomic_bool told;
};

struct routes {
	_Atomic unsigned references;
	unsigned server_count;
	struct route_server server[ROUTES_SERVERS_MAX];
	unsigned count;
	struct route route[ROUTES_MAX]; /* the first one is the root's */
	unsigned search_count;
	struct dname search[ROUTES_SEARCH_MAX];
	uint32_t try_ms;   /* until a server that was asked is asked again */
	unsigned attempts; /* how often each is asked; 0: as often as there is time */
	bool rotate;       /* queries begin with one server after the other */
};

/**
 * Begin routes that only have the root's, without servers; the caller fills in the rest.
 *
 * @return one reference; NULL without memory
 */
struct routes *routes_new(void);

/**
 * Add a route.
 *
 * @param zone  the root replaces what stands there
 * @return it, without servers; NULL where there are ROUTES_MAX
 */
struct route *routes_add(struct routes *routes, const struct dname *zone);

/**
 * Add a server to a route, once.
 *
 * @param ours   whether it is an address that we listen on
 * @param token  random; not used where the server is known from another route
 * @return 0; -ENOSPC where there is no room for one more
 */
int routes_add_server(struct routes *routes, struct route *route, const struct endpoint *server,
	bool ours, uint64_t token) __attribute__((warn_unused_result));

/** Whether an address is one that we listen on. */
typedef bool routes_is_ours(void *ctx, const struct endpoint *at);

/**
 * Fill routes from the configuration and from what resolv.conf says: its servers where the
 * configuration names none, then with its time-outs, and its search domains in any case. An
 * upstream for the root comes instead of both lists of servers, so nobody is in `server` whom no
 * route asks.
 *
 * What finds no place is left out, with a line in the log.
 *
 * @param is_ours  called once for each server
 * @return one reference; NULL without memory
 */
struct routes *routes_compile(const struct conf *conf, const struct resolv_conf *resolv,
	routes_is_ours *is_ours, void *ctx);

/** Take over tokens and loops of the servers that are in `before` too. */
void routes_inherit(struct routes *routes, const struct routes *before);

/** The route of the longest zone that is the name or above it. Cost: O(routes). */
const struct route *routes_find(const struct routes *routes, const struct dname *name);

/**
 * The label next to a search domain (RFC 8020): for a name at least two labels longer than the
 * longest search domain above it, that domain and one label more.
 *
 * @param[out] above   that name
 * @param[out] domain  which search domain
 * @return whether there is one, and the same servers answer for all three
 */
bool routes_search(const struct routes *routes, const struct dname *name, struct dname *above,
	unsigned *domain);

/** Whether a query to this server comes back to us. */
bool routes_is_loop(const struct routes *routes, unsigned server, int64_t now_ms);

/** Whether the log has yet to be told that a server leads back to us, or does no longer; said to
 * one of all workers that ask. */
bool routes_tell_loop(struct routes *routes, unsigned server, bool loop);

/**
 * Write the name that finds a loop through this server: 24 hex digits, `loop.kuma-dns.internal.`
 * internal. is nobody's (ICANN, SAC113), so it ends at the first server that knows the root.
 *
 * @param nonce  another one each time: a forwarder may remember what it was told of a name
 */
void routes_probe_name(
	const struct routes *routes, unsigned server, uint32_t nonce, struct dname *name);

/** Whether a name is such a probe of ours. */
bool routes_is_probe(const struct routes *routes, const struct dname *name);

/**
 * Likewise; then the loop is noted.
 *
 * @param now_ms  CLOCK_MONOTONIC, above 0
 */
bool routes_catch_probe(struct routes *routes, const struct dname *name, int64_t now_ms);

struct routes *routes_ref(struct routes *routes);

/** NULL is a no-op. Any thread. */
void routes_unref(struct routes *routes);
