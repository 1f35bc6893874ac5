/* SPDX-License-Identifier: Apache-2.0
 *
 * The outstanding questions: a fixed pool, and an index by question, so that identical ones are
 * asked once. What is done with them is forward.c's business. No I/O, no clock.
 */
#pragma once

#include "dns/resolve/alarms.h"
#include "dns/resolve/list.h"
#include "dns/resolve/servers.h"
#include "dns/wire/relay.h"

/** One question that is being asked, and everything that was tried. */
struct transaction {
	struct asker asker; /* the first requestor's: this is what goes upstream */
	uint16_t qtype;
	struct transaction *next;
	uint64_t hash;
	bool indexed; /* others may join */

	/* forward.c's */
	struct link waiters; /* none: it was begun for the cache's sake */
	struct link in_flight;
	uint32_t routes_turn; /* which routes it was begun with */
	bool below_search;    /* its name is below a search domain */
	bool of_domain;       /* it is asked to know whether a search domain exists: */
	uint8_t domain;       /* … this one */
	bool distrusted;      /* an NXDOMAIN denies too much: it is not remembered */

	/* asking.c's */
	struct alarm alarm; /* the earliest of the following, and of attempts that get late */
	int64_t since_ns;
	int64_t deadline_ns;
	int64_t overdue_ns; /* when its owner is told that it takes long; 0: was told */
	int64_t next_ns;    /* when the next server is asked, too */
	struct link attempts;
	uint8_t server_count;
	uint8_t server[SERVERS_LIST_MAX]; /* slots, in the order in which they are asked */
	uint8_t asked[SERVERS_LIST_MAX];  /* how often each was */
	uint8_t turn;                     /* whose turn it is, once all were asked */
	uint32_t over_tcp;                /* a bit for each of `server` that was asked over TCP */
	uint32_t unreachable; /* a bit for each of `server`; all of them: a network error */
	uint8_t *verbatim;    /* a query that is passed on as it is; owned; else NULL */
	size_t verbatim_len;
	uint8_t *fallback; /* the best response so far that is no answer; owned; else NULL */
	size_t fallback_len;
	unsigned fallback_rank;
	bool tcp_repeated;
};

struct transactions {
	struct transaction *pool;
	struct transaction *unused; /* linked through next */
	struct transaction **index; /* chained through next */
	size_t size;
	size_t used; /* how much of the pool was ever used */
	size_t mask; /* of the index */
	uint64_t seed;
	size_t count;
};

/** @param seed  random, so that nobody can choose what collides. @return 0; -ENOMEM */
int transactions_init(struct transactions *transactions, size_t size, uint64_t seed)
	__attribute__((warn_unused_result));

/**
 * The outstanding transaction that asks the same: name folded, type, class, RD, CD, DO, subnet.
 *
 * A query with records of its own (TSIG, SIG(0)) never finds one: its signature is its own.
 */
struct transaction *transactions_find(
	const struct transactions *transactions, const struct query *q);

/** A transaction for this query, in no list yet; NULL where all are taken, or out of memory. */
struct transaction *transactions_take(struct transactions *transactions, const struct query *q);

/** Nobody can join any more. */
void transactions_unindex(struct transactions *transactions, struct transaction *t);

/** Give it back; it is in no list and not indexed. */
void transactions_give(struct transactions *transactions, struct transaction *t);

/** Free the pool and the index. */
void transactions_free(struct transactions *transactions);
