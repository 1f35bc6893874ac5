/* SPDX-License-Identifier: Apache-2.0
 *
 * The pool of attempts, and the message IDs they have on the wire: random, and unique among those
 * that are outstanding.
 */
#pragma once

#include "dns/resolve/entropy.h"
#include "dns/resolve/upstream.h"

enum {
	ATTEMPTS_MAX = 32768, /* half of all IDs, so that drawing a free one is quick */
	ATTEMPTS_ID_BUCKETS = 4096
};

struct attempts {
	struct entropy *entropy; /* borrowed */
	struct attempt *by_id[ATTEMPTS_ID_BUCKETS];
	struct attempt *pool;
	struct attempt *unused; /* linked through next_by_id */
	size_t size;
	size_t used; /* how much of the pool was ever used: the rest is not even mapped */
};

/** @param count  how many may be outstanding; at most ATTEMPTS_MAX are. @return 0; -ENOMEM */
int attempts_init(struct attempts *attempts, size_t count, struct entropy *entropy)
	__attribute__((warn_unused_result));

/** An attempt, all zero but for its ID; NULL where all are taken. */
struct attempt *attempts_take(struct attempts *attempts);

/** The outstanding one with this ID, or NULL. */
struct attempt *attempts_find(const struct attempts *attempts, uint16_t id);

/** Give an attempt and its ID back. */
void attempts_give(struct attempts *attempts, struct attempt *attempt);

/** Free the pool. */
void attempts_free(struct attempts *attempts);
