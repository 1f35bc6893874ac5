/* SPDX-License-Identifier: Apache-2.0
 *
 * In rounds over the batch, so that the waits of a round overlap: where each name would be, what is
 * there, and where that leads. A message is only glanced at; who answers it reads it.
 */
#include "dns/serve/ahead.h"

#include "dns/wire/query.h"

enum {
	COUNT_MIN = 4, /* fewer have little to overlap */
	OPT_DO_AT = 7, /* octets before the flags of an OPT: RFC 6891 §6.1.2, §6.1.3 */
	OPT_DO_BIT = 0x80
};

/** The name that is asked for. @return whether there is one; `r` stands behind it */
static bool read_name(struct reader *r, struct dname *name, struct span message)
{
	*r = reader_over(message);
	(void)reader_span(r, HEADER_LEN);
	return !r->fault && dname_read(name, r) == 0;
}

/** A key as it mostly is: any record behind the question is an OPT, which has no client subnet. */
static struct cache_key guess_key(struct reader *r, const struct dname *name)
{
	struct cache_key key = {.name = dname_span(name)};
	key.qtype = reader_u16(r);
	key.qclass = reader_u16(r);
	key.cd = (octets_u16(r->data + 2) & FLAG_CD) != 0;
	(void)reader_span(r, OPT_DO_AT);
	key.edns_do = (reader_u8(r) & OPT_DO_BIT) != 0;
	return key;
}

static uint32_t fetch_chain(const struct cache *cache, struct span message)
{
	struct reader r;
	struct dname name UNCLEARED;
	if (!read_name(&r, &name, message)) {
		return 0;
	}
	struct cache_key key = guess_key(&r, &name);
	return cache_fetch_chain(cache, &key);
}

void ahead(const struct span *messages, unsigned count, const struct table *table,
	const struct cache *cache)
{
	uint32_t tag[AHEAD_MAX] UNCLEARED;
	uint32_t hash[AHEAD_MAX] UNCLEARED;
	bool foreign[AHEAD_MAX] UNCLEARED;
	struct dname name UNCLEARED;
	struct reader r;

	if (count < COUNT_MIN) {
		return;
	}
	for (unsigned i = 0; i < count && table; i++) {
		tag[i] = read_name(&r, &name, messages[i]) ? table_fetch_slot(table, &name) : 0;
	}
	for (unsigned i = 0; i < count; i++) {
		foreign[i] = (!table || !table_fetch_entry(table, tag[i])) && cache;
		if (foreign[i]) {
			hash[i] = fetch_chain(cache, messages[i]);
		}
	}
	for (unsigned i = 0; i < count; i++) {
		if (foreign[i]) {
			cache_fetch_entry(cache, hash[i]);
		}
	}
}
