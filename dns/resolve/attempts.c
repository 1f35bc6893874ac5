/* SPDX-License-Identifier: Apache-2.0
 *
 * Taking and giving back attempts, and finding one by its ID.
 */
#include "dns/resolve/attempts.h"

#include <errno.h>
#include <stdlib.h>

static struct attempt **bucket_of(struct attempts *attempts, uint16_t id)
{
	return &attempts->by_id[id % ATTEMPTS_ID_BUCKETS];
}

struct attempt *attempts_find(const struct attempts *attempts, uint16_t id)
{
	struct attempt *a = attempts->by_id[id % ATTEMPTS_ID_BUCKETS];
	while (a && a->id != id) {
		a = a->next_by_id;
	}
	return a;
}

static uint16_t draw_id(struct attempts *attempts)
{
	uint16_t id;
	do {
		id = entropy_u16(attempts->entropy);
	} while (attempts_find(attempts, id));
	return id;
}

struct attempt *attempts_take(struct attempts *attempts)
{
	struct attempt *a = attempts->unused;
	if (a) {
		attempts->unused = a->next_by_id;
	} else if (attempts->used < attempts->size) {
		a = &attempts->pool[attempts->used++];
	} else {
		return NULL;
	}
	memset(a, 0, sizeof(*a));
	link_init(&a->sibling);
	link_init(&a->port_link);
	link_init(&a->ended_link);
	a->id = draw_id(attempts);
	struct attempt **bucket = bucket_of(attempts, a->id);
	a->next_by_id = *bucket;
	*bucket = a;
	return a;
}

void attempts_give(struct attempts *attempts, struct attempt *attempt)
{
	struct attempt **at = bucket_of(attempts, attempt->id);
	while (*at != attempt) {
		at = &(*at)->next_by_id;
	}
	*at = attempt->next_by_id;
	attempt->next_by_id = attempts->unused;
	attempts->unused = attempt;
}

int attempts_init(struct attempts *attempts, size_t count, struct entropy *entropy)
{
	attempts->entropy = entropy;
	attempts->size = count < ATTEMPTS_MAX ? count : ATTEMPTS_MAX;
	attempts->pool = calloc(attempts->size, sizeof(*attempts->pool));
	return attempts->pool ? 0 : -ENOMEM;
}

void attempts_free(struct attempts *attempts)
{
	free(attempts->pool);
	attempts->pool = NULL;
}
