/* SPDX-License-Identifier: Apache-2.0
 *
 * Slots given and taken, and the order of servers.
 */
#include "dns/resolve/pool.h"

enum { NS_IN_MS = 1000000 };

static uint8_t find(const struct pool *pool, const struct endpoint *at)
{
	for (uint8_t slot = 0; slot < POOL_MAX; slot++) {
		const struct pool_server *s = &pool->server[slot];
		if (s->state != SLOT_FREE && endpoint_equal(&s->at, at)) {
			return slot;
		}
	}
	return POOL_NONE;
}

static uint8_t take(struct pool *pool, const struct endpoint *at)
{
	for (uint8_t slot = 0; slot < POOL_MAX; slot++) {
		struct pool_server *s = &pool->server[slot];
		if (s->state == SLOT_FREE) {
			memset(s, 0, sizeof(*s));
			s->at = *at;
			return slot;
		}
	}
	return POOL_NONE;
}

/* Nothing refers any more to who was retired so long ago. */
static void free_old(struct pool *pool, int64_t keep_ns, int64_t now_ns)
{
	for (unsigned slot = 0; slot < POOL_MAX; slot++) {
		struct pool_server *s = &pool->server[slot];
		if (s->state == SLOT_RETIRED && !s->probing && now_ns - s->retired_ns > keep_ns) {
			s->state = SLOT_FREE;
		}
	}
}

static bool is_in(const struct routes *routes, const struct endpoint *at)
{
	for (unsigned i = 0; i < routes->server_count; i++) {
		if (endpoint_equal(&routes->server[i].at, at)) {
			return true;
		}
	}
	return false;
}

static void retire_missing(struct pool *pool, const struct routes *routes, int64_t now_ns,
	void (*changed)(void *ctx, unsigned slot), void *ctx)
{
	for (unsigned slot = 0; slot < POOL_MAX; slot++) {
		struct pool_server *s = &pool->server[slot];
		if (s->state == SLOT_USED && !is_in(routes, &s->at)) {
			s->state = SLOT_RETIRED;
			s->retired_ns = now_ns;
			changed(ctx, slot);
		}
	}
}

void pool_set_routes(struct pool *pool, struct routes *routes, int64_t keep_ns, int64_t now_ns,
	void (*changed)(void *ctx, unsigned slot), void *ctx)
{
	free_old(pool, keep_ns, now_ns);
	retire_missing(pool, routes, now_ns, changed, ctx);
	pool->routes = routes;
	for (unsigned i = 0; i < routes->server_count; i++) {
		const struct endpoint *at = &routes->server[i].at;
		uint8_t slot = find(pool, at);
		slot = slot == POOL_NONE ? take(pool, at) : slot;
		pool->slot_of[i] = slot;
		if (slot == POOL_NONE) {
			continue;
		}
		struct pool_server *s = &pool->server[slot];
		s->index = (uint8_t)i;
		if (s->state != SLOT_USED) {
			s->state = SLOT_USED;
			changed(ctx, slot);
		}
	}
}

bool pool_is_short(const struct pool *pool)
{
	return memchr(pool->slot_of, POOL_NONE, pool->routes->server_count) != NULL;
}

unsigned pool_order(const struct pool *pool, const struct route *route, unsigned rotation,
	int64_t now_ns, uint8_t slots[])
{
	const struct health *health[SERVERS_LIST_MAX] = {NULL};
	uint8_t usable[SERVERS_LIST_MAX];
	uint8_t order[SERVERS_LIST_MAX];
	unsigned count = 0;
	for (unsigned i = 0; i < route->count; i++) {
		uint8_t slot = pool->slot_of[route->server[i]];
		if (slot != POOL_NONE &&
			!routes_is_loop(pool->routes, route->server[i], now_ns / NS_IN_MS)) {
			health[count] = &pool->server[slot].health;
			usable[count++] = slot;
		}
	}
	health_order(health, count, rotation, order);
	for (unsigned i = 0; i < count; i++) {
		slots[i] = usable[order[i]];
	}
	return count;
}
