/* SPDX-License-Identifier: Apache-2.0
 *
 * In rounds over the batch, so that the waits of a round overlap: where each name would be, what is
 * there, and where that leads.
 */
#include "dns/serve/ahead.h"

#include "dns/wire/query.h"

enum { COUNT_MIN = 4 /* fewer have little to overlap */ };

static void read_item(struct ahead_item *item, struct span message)
{
	item->message = message.data;
	item->result = query_parse(&item->query, message);
	item->has_tag = false;
}

/** Round one: slots of the table. */
static void fetch_slots(struct ahead *a, const struct table *table)
{
	for (unsigned i = 0; i < a->count; i++) {
		struct ahead_item *item = &a->item[i];
		if (item->result == 0) {
			item->tag = table_fetch_slot(table, &item->query.qname);
			item->has_tag = true;
		}
	}
}

/** Round two: entries of the table, or where the cache would have them. */
static void fetch_entries(const struct ahead *a, const struct table *table,
	const struct cache *cache, bool foreign[AHEAD_MAX], uint32_t hash[AHEAD_MAX])
{
	for (unsigned i = 0; i < a->count; i++) {
		const struct ahead_item *item = &a->item[i];
		bool ours = item->has_tag && table_fetch_entry(table, item->tag);
		foreign[i] = cache && item->result == 0 && !ours;
		if (foreign[i]) {
			struct cache_key key =
				cache_key_query(&item->query, item->query.edns.subnet);
			hash[i] = cache_fetch_chain(cache, &key);
		}
	}
}

void ahead_read(struct ahead *a, const struct span *messages, unsigned count,
	const struct table *table, const struct cache *cache)
{
	bool foreign[AHEAD_MAX] UNCLEARED;
	uint32_t hash[AHEAD_MAX] UNCLEARED;
	for (unsigned i = 0; i < count; i++) {
		read_item(&a->item[i], messages[i]);
	}
	a->count = count;
	a->next = 0;
	if (table) {
		fetch_slots(a, table);
	}
	if (count < COUNT_MIN) {
		return;
	}
	fetch_entries(a, table, cache, foreign, hash);
	for (unsigned i = 0; i < count; i++) {
		if (foreign[i]) {
			cache_fetch_entry(cache, hash[i]);
		}
	}
}

struct ahead_item *ahead_take(struct ahead *a, struct span message)
{
	while (a->next < a->count) {
		struct ahead_item *item = &a->item[a->next++];
		if (item->message == message.data) {
			return item;
		}
	}
	read_item(&a->one, message);
	return &a->one;
}
