/* SPDX-License-Identifier: Apache-2.0
 *
 * Whatever upstream servers send: what comes out of the cache is what was put in, no TTL has grown,
 * what covers a name below still says the same, and all stays within the slab. The first two octets
 * of the input say who asks, how often, and when.
 */
#include "dns/resolve/cache.h"
#include "dns/wire/record.h"

#include <ldns/ldns.h>
#include <stdlib.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

enum { ROOM = 65535 + 512, COPIES = 150 };

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

/* Equal up to OPT but for AA and TTLs, which are not 0 and did not grow. */
static void require_same(const struct relayed *out, const struct relayed *in)
{
	struct reader got = reader_over(out->message);
	struct reader put = reader_over(in->message);
	size_t end = out->opt_at ? out->opt_at : out->end;
	uint32_t ttl = 0;
	require(end == (in->opt_at ? in->opt_at : in->end));
	require(out->flags == (in->flags & ~FLAG_AA) && out->rcode == in->rcode);
	require(memcmp(out->counts, in->counts, sizeof(in->counts)) == 0);
	got.at = put.at = HEADER_LEN + (size_t)in->question_len;
	require(memcmp(got.data + HEADER_LEN, put.data + HEADER_LEN, in->question_len) == 0);
	while (got.at < end) {
		struct record a;
		struct record b;
		require(record_read(&a, &got) == 0 && record_read(&b, &put) == 0);
		size_t head = (size_t)(a.rdata.data - got.data) - 6 - a.at;
		require(got.at == put.at && memcmp(got.data + a.at, put.data + b.at, head) == 0);
		require(a.ttl > 0 && a.ttl <= b.ttl && a.ttl <= 86400);
		require(ttl == 0 || a.ttl == ttl);
		require(a.rdata.len == 0 || memcmp(a.rdata.data, b.rdata.data, a.rdata.len) == 0);
		ttl = a.ttl;
	}
}

/* All is there, in whole records, within the limit; OPT is last, and only for who sent one. */
static void require_whole(
	struct relayed *r, struct span out, const struct asker *a, const struct cache_ask *ask)
{
	require(out.len <= ask->limit);
	require(relayed_read(r, out, a) == 0 && r->end == out.len);
	require((r->opt_at != 0) == a->has_opt);
	require(r->opt_at == 0 || r->opt_at + r->opt_len == r->end);
	if (a->has_opt) { /* RFC 7871 §7.2.2 */
		struct edns_response edns;
		edns_response_read(
			&edns, (struct span){out.data + r->opt_at + OPT_LEN, r->opt_len - OPT_LEN});
		require(edns.subnet.len == ask->key.subnet.len &&
			edns_subnet_answers(ask->key.subnet, edns.subnet));
	}
}

/* The authority section as text, without TTLs; NULL where ldns cannot read it. */
static char *authority_of(struct span message)
{
	ldns_pkt *packet = NULL;
	if (ldns_wire2pkt(&packet, message.data, message.len) != LDNS_STATUS_OK) {
		return NULL;
	}
	ldns_rr_list *list = ldns_pkt_authority(packet);
	for (size_t i = 0; i < ldns_rr_list_rr_count(list); i++) {
		ldns_rr_set_ttl(ldns_rr_list_rr(list, i), 1);
	}
	char *text = ldns_rr_list2str(list);
	ldns_pkt_free(packet);
	return text;
}

/* One label more in front: only NXDOMAIN may come of it, for the same reason. */
static void require_covered(struct cache *cache, struct cache_ask ask, int64_t now, struct span in)
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
	q.has_opt = ask.query->has_opt;
	q.edns_do = ask.query->edns_do;
	q.flags = ask.query->flags;
	ask.key = cache_key_query(&q, ask.key.subnet);
	ask.query = &q;
	struct writer out = {.data = octets, .size = ROOM};
	struct cache_found found;
	struct asker a;
	struct relayed r;
	if (cache_get(cache, &ask, now, &out, &found) != CACHE_HIT) {
		return;
	}
	asker_init(&a, &q, UINT16_MAX, NULL);
	require_whole(&r, (struct span){octets, out.len}, &a, &ask);
	require(found.covered && ask.key.subnet.len == 0);
	require(found.rcode == RCODE_NXDOMAIN && r.rcode == RCODE_NXDOMAIN && r.counts[0] == 0);
	char *before = authority_of(in);
	char *after = before ? authority_of((struct span){octets, out.len}) : NULL;
	require(!before || (after && strcmp(before, after) == 0));
	free(before);
	free(after);
	require(cache_distrust(cache, &ask.key) && !cache_has(cache, &ask.key, now));
}

/* What a requestor gets, at a time and with a limit. */
static void exercise_get(struct cache *cache, const struct relayed *in, struct cache_ask *ask,
	const struct asker *a, int64_t now)
{
	static uint8_t got[ROOM];
	struct writer out = {.data = got, .size = ROOM};
	struct cache_found found;
	struct relayed r;
	bool has = cache_has(cache, &ask->key, now);
	enum cache_result result = cache_get(cache, ask, now, &out, &found);
	require(result != CACHE_FAILED && (result == CACHE_HIT || out.len == 0));
	require(ask->stale || has == (result == CACHE_HIT));
	if (result != CACHE_HIT) {
		return;
	}
	require_whole(&r, (struct span){got, out.len}, a, ask);
	require(r.rcode == found.rcode && !found.covered);
	if (r.flags & FLAG_TC) {
		require(r.counts[0] <= in->counts[0] && r.counts[1] == 0);
	} else if (!found.stale) {
		require_same(&r, in);
	}
}

static void exercise(struct cache *cache, const struct relayed *r, struct cache_ask *ask,
	const struct asker *a, int64_t age)
{
	static uint8_t whole[ROOM];
	struct writer out = {.data = whole, .size = ROOM};
	struct span in = {whole, relay_response(r, a, &out)};
	struct relayed put;
	if (!cache_put(cache, &ask->key, r, 0)) {
		require(!cache_has(cache, &ask->key, age));
		return;
	}
	require(cache_has(cache, &ask->key, 999));
	/* With records behind OPT, relaying may keep more than we do. */
	require(relayed_read(&put, in, a) == 0);
	if (r->opt_at == 0 || r->opt_at + r->opt_len == r->end) {
		exercise_get(cache, &put, ask, a, age);
		ask->stale = true;
		exercise_get(cache, &put, ask, a, age);
		ask->stale = false;
		ask->limit = UDP_LEN_MIN;
		exercise_get(cache, &put, ask, a, age);
		ask->limit = UINT16_MAX;
	}
	require_covered(cache, *ask, age, in);
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
	struct cache *cache = cache_new(&settings);
	unsigned copies = data[0] & 8 ? COPIES : 2;
	for (uint8_t i = 0; i < copies; i++) {
		/* None, or one of many. */
		uint8_t subnet[] = {0, 8, 0, 5, 0, 1, 8, 0, i};
		a.subnet_len = i == 0 ? 0 : sizeof(subnet);
		memcpy(a.subnet, subnet, sizeof(subnet));
		struct cache_ask ask = {.key = cache_key_query(&q, asker_subnet(&a)),
			.query = &q,
			.limit = UINT16_MAX};
		if (relayed_read(&r, (struct span){data + 2, size - 2}, &a) == 0) {
			exercise(cache, &r, &ask, &a, (int64_t)data[1] * 500);
		}
	}
	require(cache_check(cache));
	struct cache_figures f = cache_figures(cache);
	require(f.octets <= f.size && f.entries <= f.insertions);
	cache_free(cache);
	return 0;
}
