/* SPDX-License-Identifier: Apache-2.0
 *
 * Connections that come and go: each asks one query over TCP, takes the answer, and makes room for
 * the next. What a server has to bear beside its datagrams.
 */
#pragma once

#include "tests/bench/queries.h"

#include <netinet/in.h>

enum { CHURN_MAX = 1024 };

struct churn {
	struct sockaddr_in server;
	uint32_t count; /* connections at a time */
	uint32_t next;
	int fds[CHURN_MAX]; /* -1: not open */
	uint64_t answered;
	uint64_t refused; /* closed before they were answered */
	uint64_t wrong;
};

/** No connection is open yet. @param count  0..CHURN_MAX */
void churn_init(struct churn *churn, const struct sockaddr_in *server, uint32_t count);

/** See to the next few connections, without waiting. */
void churn_turn(struct churn *churn, const struct queries *queries);
