/* SPDX-License-Identifier: Apache-2.0
 *
 * The outstanding questions: a fixed pool, and an index by question, so that identical ones are
 * asked once. What is done with them is forward.c's business. No I/O, no clock.
 */
#pragma once

#include "dns/resolve/list.h"
#include "dns/wire/relay.h"

/** One question that is being asked, and everything that was tried. */
struct transaction {
	struct asker asker; /* the first requestor's: this is what goes upstream */
	uint16_t qtype;
	bool indexed; /* others may join */
	struct transaction *next;
	uint64_t hash;
	struct link waiters;
	struct link attempts;
	struct link deadline_link;
	struct link try_link;
	int64_t since_ns;
	int64_t deadline_ns;
	int64_t try_ns;    /* when the next server is asked, too */
	uint8_t *verbatim; /* a query that is passed on as it is; owned; else NULL */
	size_t verbatim_len;
	uint8_t *fallback; /* the best response so far that is no answer; owned; else NULL */
	size_t fallback_len;
	unsigned fallback_rank;
	uint32_t asked;       /* bit for each server */
	uint32_t unreachable; /* bit for each server; all of `asked`: a network error */
	unsigned next_server;
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
 * The outstanding transaction that asks the same: name folded, type, class, RD, AD, CD, DO,
 * client subnet.
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
