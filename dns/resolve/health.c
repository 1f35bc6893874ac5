/* SPDX-License-Identifier: Apache-2.0
 *
 * The memory of servers. One that is silent costs a query its whole try; so it moves to the end,
 * and only now and then a query is spent on finding out whether it is back.
 */
#include "dns/resolve/health.h"

unsigned health_first(struct health *health, unsigned count, int64_t now_ms)
{
	for (unsigned i = 0; i < count; i++) {
		if (health->server[i].misses < HEALTH_MISSES) {
			return i;
		}
		if (health->server[i].silent_until_ms <= now_ms) {
			health->server[i].silent_until_ms = now_ms + HEALTH_PROBE_MS;
			return i;
		}
	}
	return 0;
}

void health_answered(struct health *health, unsigned server)
{
	health->server[server].misses = 0;
}

void health_missed(struct health *health, unsigned server, int64_t now_ms)
{
	if (health->server[server].misses < HEALTH_MISSES) {
		health->server[server].misses++;
	}
	health->server[server].silent_until_ms = now_ms + HEALTH_SILENT_MS;
}

bool health_takes_opt(const struct health *health, unsigned server, int64_t now_ms)
{
	return health->server[server].no_opt_until_ms <= now_ms;
}

void health_refuses_opt(struct health *health, unsigned server, int64_t now_ms)
{
	health->server[server].no_opt_until_ms = now_ms + HEALTH_NO_OPT_MS;
}
