/* SPDX-License-Identifier: Apache-2.0
 *
 * Whatever upstream servers send: what comes out of the cache is what was put in, no TTL has grown,
 * and all stays within the slab. The first two octets of the input say who asks, and when.
 */
#include "dns/resolve/cache.h"
#include "dns/wire/record.h"

#include <stdlib.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

enum { ROOM = 65535 + 512, COPIES = 200 };

static void require(bool holds)
{
	if (!holds) {
		abort();
	}
}

/* A query for what the response says it answers. */
static bool query_of(struct query *q, uint8_t octets[HEADER_LEN + DNAME_MAX + 4], uint8_t who,
	struct span response)
{
	static const uint8_t header[HEADER_LEN] = {0x12, 0x34, 1, 0, 0, 1};
	struct reader r = reader_over(response);
	struct dname name;
	(void)reader_span(&r, HEADER_LEN);
	if (r.fault || dname_read(&name, &r) || reader_left(&r) < 4) {
		return false;
	}
	memcpy(octets, header, HEADER_LEN);
	memcpy(octets + HEADER_LEN, name.octets, name.len);
	memcpy(octets + HEADER_LEN + name.len, r.data + r.at, 4);
	require(query_parse(q, (struct span){octets, (size_t)HEADER_LEN + name.len + 4}) == 0);
	q->has_opt = (who & 1) != 0;
	q->edns_do = (who & 3) == 3;
	q->flags |= who & 4 ? FLAG_CD : 0;
	return true;
}

/* Equal but for TTLs, which are not 0 and did not grow. */
static void require_same(struct span out, struct span in, size_t question_len)
{
	struct reader got = reader_over(out);
	struct reader put = reader_over(in);
	require(out.len == in.len && memcmp(out.data, in.data, HEADER_LEN) == 0);
	got.at = put.at = HEADER_LEN + question_len;
	while (reader_left(&put) > 0) {
		struct record a;
		struct record b;
		require(record_read(&a, &got) == 0 && record_read(&b, &put) == 0);
		size_t head = (size_t)(a.rdata.data - out.data) - 6 - a.at;
		require(got.at == put.at && memcmp(out.data + a.at, in.data + b.at, head) == 0);
		require(a.type == TYPE_OPT || (a.ttl > 0 && a.ttl <= b.ttl && a.ttl <= 86400));
		require(a.rdata.len == 0 || memcmp(a.rdata.data, b.rdata.data, a.rdata.len) == 0);
	}
}

/* One name more in front: only NXDOMAIN may come of it. */
static void require_covered(struct cache *cache, struct cache_ask ask, int64_t now)
{
	static uint8_t octets[ROOM];
	uint8_t message[HEADER_LEN + DNAME_MAX + 4] = {0x12, 0x34, 1, 0, 0, 1};
	struct span old = ask.query->question;
	struct query q;
	if (old.len + 2 > DNAME_MAX + 4) {
		return;
	}
	memcpy(message + HEADER_LEN, "\1x", 2);
	memcpy(message + HEADER_LEN + 2, old.data, old.len);
	require(query_parse(&q, (struct span){message, HEADER_LEN + 2 + old.len}) == 0);
	q.edns_do = ask.query->edns_do;
	q.flags = ask.query->flags;
	ask.key = cache_key_query(&q, ask.key.subnet);
	ask.query = &q;
	struct writer out = {.data = octets, .size = ROOM};
	struct cache_found found;
	struct asker a;
	struct relayed r;
	if (cache_get(cache, &ask, now, &out, &found) == CACHE_HIT) {
		asker_init(&a, &q, UINT16_MAX, NULL);
		require(found.covered && found.rcode == RCODE_NXDOMAIN);
		require(relayed_read(&r, (struct span){octets, out.len}, &a) == 0 &&
			r.rcode == RCODE_NXDOMAIN && r.counts[0] == 0 && r.end == out.len);
	}
}

static void exercise(struct cache *cache, const struct relayed *r, struct cache_ask *ask,
	const struct asker *a, int64_t age)
{
	static uint8_t got[ROOM];
	static uint8_t whole[ROOM];
	struct writer out = {.data = whole, .size = ROOM};
	struct relayed bare = *r;
	bare.edns.ede_count = 0; /* not remembered */
	struct span in = {whole, relay_response(&bare, a, &out)};
	struct cache_found found;
	if (!cache_put(cache, &ask->key, r, 0)) {
		return;
	}
	out = (struct writer){.data = got, .size = ROOM};
	enum cache_result result = cache_get(cache, ask, age, &out, &found);
	require(result == CACHE_HIT || result == CACHE_STALE || result == CACHE_MISS);
	require(age >= 1000 || result == CACHE_HIT);
	/* With records behind OPT, relaying may keep more. */
	if (result == CACHE_HIT && (r->opt_at == 0 || r->opt_at + r->opt_len == r->end)) {
		require_same((struct span){got, out.len}, in, a->question_len);
	}
	require_covered(cache, *ask, age);
	ask->limit = 512;
	out = (struct writer){.data = got, .size = ROOM};
	if (cache_get(cache, ask, age, &out, &found) == CACHE_HIT) {
		struct relayed cut;
		require(out.len <= 512);
		require(relayed_read(&cut, (struct span){got, out.len}, a) == 0);
		require(cut.end == out.len && (cut.opt_at != 0) == a->has_opt);
	}
	ask->limit = UINT16_MAX;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	static const struct cache_settings settings = {.size = CACHE_SIZE_MIN,
		.ttl_max = CACHE_TTL_MAX,
		.negative_ttl_max = CACHE_NEGATIVE_TTL_MAX,
		.stale_max = CACHE_STALE_MAX,
		.nxdomain_covers = true};
	uint8_t octets[HEADER_LEN + DNAME_MAX + 4];
	struct query q;
	struct asker a;
	struct relayed r;
	if (size < 2 || !query_of(&q, octets, data[0], (struct span){data + 2, size - 2})) {
		return 0;
	}
	asker_init(&a, &q, UINT16_MAX, NULL);
	if (relayed_read(&r, (struct span){data + 2, size - 2}, &a)) {
		return 0;
	}
	struct cache *cache = cache_new(&settings);
	for (uint8_t i = 0; i < COPIES; i++) {
		uint8_t subnet[CACHE_SUBNET_MAX] = {i};
		struct span key = {subnet, i % (CACHE_SUBNET_MAX + 1U)};
		struct cache_ask ask = {
			.key = cache_key_query(&q, key), .query = &q, .limit = UINT16_MAX};
		exercise(cache, &r, &ask, &a, (int64_t)data[1] * 500);
	}
	require(cache_check(cache));
	struct cache_figures f = cache_figures(cache);
	require(f.octets <= f.size && f.entries <= f.insertions);
	cache_free(cache);
	return 0;
}
