/* SPDX-License-Identifier: Apache-2.0
 *
 * The pool of waiters and its index by address, port and ID.
 */
#include "dns/resolve/waiters.h"

#include <errno.h>
#include <stdlib.h>

#define XXH_INLINE_ALL
#include <xxhash.h>

static uint32_t bucket_of(const struct waiters *w, const struct requestor *from, uint16_t id)
{
	struct {
		uint8_t address[16];
		uint32_t slot;
		uint16_t port;
		uint16_t id;
	} key;
	memset(&key, 0, sizeof(key));
	if (from->peer.sa.sa_family == AF_INET) {
		memcpy(key.address, &from->peer.in.sin_addr, sizeof(from->peer.in.sin_addr));
		key.port = from->peer.in.sin_port;
	} else if (from->peer.sa.sa_family == AF_INET6) {
		memcpy(key.address, &from->peer.in6.sin6_addr, sizeof(key.address));
		key.port = from->peer.in6.sin6_port;
	}
	key.slot = from->slot;
	key.id = id;
	return (uint32_t)(XXH3_64bits_withSeed(&key, sizeof(key), w->seed) & w->mask);
}

static bool same_requestor(const struct requestor *a, const struct requestor *b)
{
	return a->tcp == b->tcp && a->slot == b->slot && a->generation == b->generation &&
	       endpoint_equal(&a->peer, &b->peer);
}

bool waiters_has(const struct waiters *waiters, const struct requestor *from, const struct query *q)
{
	const struct waiter *w = waiters->index[bucket_of(waiters, from, q->id)];
	for (; w; w = w->next) {
		if (w->asker.id == q->id && w->asker.question_len == q->question.len &&
			same_requestor(&w->from, from) &&
			memcmp(w->asker.question, q->question.data, q->question.len) == 0) {
			return true;
		}
	}
	return false;
}

struct waiter *waiters_take(struct waiters *waiters, const struct requestor *from,
	const struct query *q, const struct edns_options *options, size_t limit, int64_t now_ns)
{
	struct waiter *w = waiters->unused;
	if (w) {
		waiters->unused = w->next;
	} else if (waiters->used < waiters->size) {
		w = &waiters->pool[waiters->used++];
	} else {
		return NULL;
	}
	w->from = *from;
	asker_init(&w->asker, q, limit, options);
	w->since_ns = now_ns;
	link_init(&w->link);
	w->bucket = bucket_of(waiters, from, q->id);
	w->next = waiters->index[w->bucket];
	waiters->index[w->bucket] = w;
	waiters->count++;
	return w;
}

void waiters_give(struct waiters *waiters, struct waiter *waiter)
{
	struct waiter **at = &waiters->index[waiter->bucket];
	while (*at != waiter) {
		at = &(*at)->next;
	}
	*at = waiter->next;
	link_remove(&waiter->link);
	waiter->next = waiters->unused;
	waiters->unused = waiter;
	waiters->count--;
}

int waiters_init(struct waiters *waiters, size_t size, uint64_t seed)
{
	size_t buckets = 64;
	while (buckets < size) {
		buckets *= 2;
	}
	memset(waiters, 0, sizeof(*waiters));
	waiters->size = size;
	waiters->mask = buckets - 1;
	waiters->seed = seed;
	waiters->pool = calloc(size, sizeof(*waiters->pool));
	waiters->index = calloc(buckets, sizeof(*waiters->index));
	return waiters->pool && waiters->index ? 0 : -ENOMEM;
}

void waiters_free(struct waiters *waiters)
{
	free(waiters->pool);
	free(waiters->index);
}
