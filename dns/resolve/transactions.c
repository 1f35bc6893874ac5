/* SPDX-License-Identifier: Apache-2.0
 *
 * The pool of transactions and its index by question.
 */
#include "dns/resolve/transactions.h"

#include <errno.h>
#include <stdlib.h>

#define XXH_INLINE_ALL
#include <xxhash.h>

/* RFC 4035 §3.2.2: what these flags ask for differs in the answer. AD is always set upstream. */
static const uint16_t asking_flags = FLAG_RD | FLAG_CD;

static uint64_t hash_of(const struct transactions *ts, const struct query *q)
{
	uint64_t what = (uint64_t)q->qtype << 48 | (uint64_t)q->qclass << 32 |
			(uint64_t)(q->flags & asking_flags) << 8 | q->edns_do;
	struct span subnet = q->edns.subnet;
	if (subnet.len > 0) {
		what ^= XXH3_64bits_withSeed(subnet.data, subnet.len, ts->seed);
	}
	return XXH3_64bits_withSeed(q->qname.octets, q->qname.len, ts->seed ^ what);
}

static bool same_subnet(const struct asker *a, const struct query *q)
{
	struct span asked = asker_subnet(a);
	struct span subnet = q->edns.subnet;
	return asked.len == subnet.len &&
	       (asked.len == 0 || memcmp(asked.data, subnet.data, asked.len) == 0);
}

static bool same_question(const struct asker *a, const struct query *q)
{
	if (a->question_len != q->question.len || a->edns_do != q->edns_do ||
		((a->flags ^ q->flags) & asking_flags) || !same_subnet(a, q)) {
		return false;
	}
	size_t name_len = q->question.len - 4;
	if (!octets_equal_folded(a->question, q->question.data, name_len)) {
		return false;
	}
	return memcmp(a->question + name_len, q->question.data + name_len, 4) == 0;
}

struct transaction *transactions_find(
	const struct transactions *transactions, const struct query *q)
{
	if (q->is_signed) {
		return NULL;
	}
	uint64_t hash = hash_of(transactions, q);
	struct transaction *t = transactions->index[hash & transactions->mask];
	while (t && (t->hash != hash || !same_question(&t->asker, q))) {
		t = t->next;
	}
	return t;
}

static int keep_verbatim(struct transaction *t, const struct query *q)
{
	t->verbatim = malloc(q->message.len);
	if (!t->verbatim) {
		return -ENOMEM;
	}
	memcpy(t->verbatim, q->message.data, q->message.len);
	t->verbatim_len = q->message.len;
	return 0;
}

static struct transaction *take(struct transactions *ts)
{
	struct transaction *t = ts->unused;
	if (t) {
		ts->unused = t->next;
	} else if (ts->used < ts->size) {
		t = &ts->pool[ts->used++];
	} else {
		return NULL;
	}
	memset(t, 0, sizeof(*t));
	link_init(&t->waiters);
	link_init(&t->attempts);
	link_init(&t->in_flight);
	ts->count++;
	return t;
}

struct transaction *transactions_take(struct transactions *transactions, const struct query *q)
{
	struct transaction *t = take(transactions);
	if (!t) {
		return NULL;
	}
	asker_init(&t->asker, q, UINT16_MAX, NULL);
	t->qtype = q->qtype;
	if (q->is_signed) {
		if (keep_verbatim(t, q) != 0) {
			transactions_give(transactions, t);
			return NULL;
		}
		return t;
	}
	t->hash = hash_of(transactions, q);
	t->next = transactions->index[t->hash & transactions->mask];
	transactions->index[t->hash & transactions->mask] = t;
	t->indexed = true;
	return t;
}

void transactions_unindex(struct transactions *transactions, struct transaction *t)
{
	if (!t->indexed) {
		return;
	}
	struct transaction **at = &transactions->index[t->hash & transactions->mask];
	while (*at != t) {
		at = &(*at)->next;
	}
	*at = t->next;
	t->indexed = false;
}

void transactions_give(struct transactions *transactions, struct transaction *t)
{
	free(t->verbatim);
	free(t->fallback);
	t->verbatim = NULL;
	t->fallback = NULL;
	t->next = transactions->unused;
	transactions->unused = t;
	transactions->count--;
}

int transactions_init(struct transactions *transactions, size_t size, uint64_t seed)
{
	size_t buckets = 64;
	while (buckets < size) {
		buckets *= 2;
	}
	memset(transactions, 0, sizeof(*transactions));
	transactions->size = size;
	transactions->mask = buckets - 1;
	transactions->seed = seed;
	transactions->pool = calloc(size, sizeof(*transactions->pool));
	transactions->index = calloc(buckets, sizeof(*transactions->index));
	return transactions->pool && transactions->index ? 0 : -ENOMEM;
}

void transactions_free(struct transactions *transactions)
{
	free(transactions->pool);
	free(transactions->index);
}
