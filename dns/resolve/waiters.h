/* SPDX-License-Identifier: Apache-2.0
 *
 * The requestors that wait, each with what is needed to answer it. A fixed pool, and an index that
 * finds a retransmission without a search.
 */
#pragma once

#include "dns/resolve/forward.h"
#include "dns/resolve/list.h"

/** One requestor's query. */
struct waiter {
	struct requestor from;
	struct asker asker;
	struct link link; /* in its transaction's list */
	struct waiter *next;
	uint32_t bucket;
	int64_t since_ns; /* CLOCK_MONOTONIC */
};

struct waiters {
	struct waiter *pool;
	struct waiter *unused; /* linked through next */
	struct waiter **index; /* chained through next */
	size_t size;
	size_t used; /* how much of the pool was ever used */
	size_t mask; /* of the index */
	uint64_t seed;
	unsigned count;
};

/** @param seed  random, so that nobody can choose what collides. @return 0; -ENOMEM */
int waiters_init(struct waiters *waiters, size_t size, uint64_t seed)
	__attribute__((warn_unused_result));

/** Whether this very query waits already: same requestor, same ID, same question. */
bool waiters_has(
	const struct waiters *waiters, const struct requestor *from, const struct query *q);

/** A waiter for this query, in no list yet; NULL where all are taken. */
struct waiter *waiters_take(struct waiters *waiters, const struct requestor *from,
	const struct query *q, const struct edns_options *options, size_t limit, int64_t now_ns);

/** Give a waiter back, out of its list. */
void waiters_give(struct waiters *waiters, struct waiter *waiter);

/** Free the pool and the index. */
void waiters_free(struct waiters *waiters);
