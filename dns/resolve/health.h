/* SPDX-License-Identifier: Apache-2.0
 *
 * What we remember of the servers between transactions: who is silent, and who stumbles over OPT.
 * Pure: the time is a parameter.
 */
#pragma once

#include "dns/resolve/servers.h"

#include <stdint.h>

enum {
	HEALTH_MISSES = 3,        /* tries in a row without an answer make a server silent */
	HEALTH_SILENT_MS = 5000,  /* how long a silent server is not asked first */
	HEALTH_PROBE_MS = 1000,   /* … and then one query in this time finds out */
	HEALTH_NO_OPT_MS = 300000 /* how long a server is asked without OPT */
};

struct health {
	struct {
		unsigned misses;
		int64_t silent_until_ms;
		int64_t no_opt_until_ms;
	} server[SERVERS_LIST_MAX];
};

/**
 * Which of `count` servers a new transaction asks first: the first in order that is not silent.
 *
 * @param now_ms  CLOCK_MONOTONIC, above 0
 */
unsigned health_first(struct health *health, unsigned count, int64_t now_ms);

/** The server answered, whatever it said. */
void health_answered(struct health *health, unsigned server);

/** The server did not answer a query in the usual time. */
void health_missed(struct health *health, unsigned server, int64_t now_ms);

/** Whether to send OPT to this server. */
bool health_takes_opt(const struct health *health, unsigned server, int64_t now_ms);

/** The server answered only without OPT (RFC 6891 §6.2.2 lets us remember that). */
void health_refuses_opt(struct health *health, unsigned server, int64_t now_ms);
