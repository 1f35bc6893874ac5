/* SPDX-License-Identifier: Apache-2.0
 *
 * How an answer is found, and what comes of it. cacheable.c says what may come in, entry.c what is
 * kept of it, slab.c what has to go.
 */
#include "dns/resolve/cache.h"

#include "dns/resolve/entry.h"

#include <stdlib.h>

enum {
	HOT_HITS = 2,           /* so often asked for, that it is fetched again early … */
	PREFETCH_PART = 10,     /* … in the last tenth of its time */
	TTL_LIMIT = 30 * 86400, /* so that it is less than 2^32 ms */
	POINTER_MAX = 0x3fff    /* RFC 1035 §4.1.4 */
};

#define XXH_INLINE_ALL
#include <xxhash.h>

struct cache {
	struct slab slab;
	struct cache_settings settings;
	struct cache_figures figures;
};

/* Keys. */

struct cache_key cache_key_query(const struct query *q, struct span subnet)
{
	return (struct cache_key){
		.name = dname_span(&q->qname),
		.qtype = q->qtype,
		.qclass = q->qclass,
		.edns_do = q->edns_do,
		.cd = (q->flags & FLAG_CD) != 0,
		.subnet = subnet,
	};
}

struct cache_key cache_key_asker(struct dname *name, const struct asker *a, struct span subnet)
{
	size_t len = a->question_len - 4U;
	for (size_t i = 0; i < len; i++) { /* lengths of labels are below 'A' */
		name->octets[i] = octet_folded(a->question[i]);
	}
	name->len = (uint8_t)len;
	return (struct cache_key){
		.name = dname_span(name),
		.qtype = octets_u16(a->question + len),
		.qclass = octets_u16(a->question + len + 2),
		.edns_do = a->edns_do,
		.cd = (a->flags & FLAG_CD) != 0,
		.subnet = subnet,
	};
}

static uint8_t bits_of(const struct cache_key *key)
{
	return (uint8_t)((key->edns_do ? BIT_DO : 0) | (key->cd ? BIT_CD : 0));
}

static uint32_t hash_of(
	const struct cache *c, const struct cache_key *key, struct span name, uint16_t qtype)
{
	uint64_t what = (uint64_t)qtype << 48 | (uint64_t)key->qclass << 32 | bits_of(key);
	if (key->subnet.len > 0) {
		what ^= XXH3_64bits_withSeed(key->subnet.data, key->subnet.len, c->settings.seed);
	}
	uint64_t hash = XXH3_64bits_withSeed(name.data, name.len, c->settings.seed ^ what);
	return (uint32_t)(hash ^ hash >> 32);
}

static bool same_octets(const uint8_t *octets, size_t len, struct span with)
{
	return len == with.len && (len == 0 || memcmp(octets, with.data, len) == 0);
}

/* Whether an entry is for this key, but for its type and BIT_FAILURE; `name` is the key's, or one
 * above it. */
static bool entry_is_for(const struct entry *e, const struct cache_key *key, struct span name)
{
	return e->qclass == key->qclass && (e->bits & ~BIT_FAILURE) == bits_of(key) &&
	       same_octets(e->data, e->name_len, name) &&
	       same_octets(e->data + e->name_len, e->subnet_len, key->subnet);
}

/* The two entries that a key can have: its answer, and that there was none. */
struct pair {
	uint32_t hash;
	struct entry *answer;
	struct entry *failure;
};

static struct pair find(const struct cache *c, const struct cache_key *key)
{
	struct pair found = {.hash = hash_of(c, key, key->name, key->qtype)};
	struct entry *e = slab_first(&c->slab, CHAIN_KEY, found.hash);
	for (; e; e = slab_next(&c->slab, CHAIN_KEY, e)) {
		if (e->qtype != key->qtype || !entry_is_for(e, key, key->name)) {
			continue;
		}
		if (e->bits & BIT_FAILURE) {
			found.failure = e;
		} else {
			found.answer = e;
		}
	}
	return found;
}

static bool is_usable_stale(const struct cache *c, const struct entry *e, int64_t now_ms)
{
	return entry_left_ms(e, now_ms) > -(int64_t)c->settings.stale_max * 1000;
}

/* Getting. */

/* An NXDOMAIN within its time, of the key's name or of one above it (RFC 8020 §2). */
static struct entry *find_cut(const struct cache *c, const struct cache_key *key, int64_t now_ms)
{
	unsigned labels = 0;
	for (size_t at = 0; key->name.data[at] != 0; at += 1U + key->name.data[at]) {
		labels++;
	}
	struct span name = key->name;
	for (; labels > 0; labels--) {
		if (c->slab.cuts_of[labels] > 0) {
			uint32_t hash = hash_of(c, key, name, 0);
			struct entry *e = slab_first(&c->slab, CHAIN_CUT, hash);
			for (; e; e = slab_next(&c->slab, CHAIN_CUT, e)) {
				if (entry_is_for(e, key, name) && entry_left_ms(e, now_ms) > 0) {
					return e;
				}
			}
		}
		size_t label = 1U + name.data[0];
		name = (struct span){name.data + label, name.len - label};
	}
	return NULL;
}

/* Hot, and in its last tenth; true once. */
static bool wants_prefetch(struct entry *e, int64_t now_ms)
{
	if (e->prefetched || e->hits < HOT_HITS ||
		entry_left_ms(e, now_ms) * PREFETCH_PART >= e->life_ms) {
		return false;
	}
	e->prefetched = true;
	return true;
}

static bool give(
	struct entry *e, struct entry_response *o, struct writer *out, struct cache_found *found)
{
	o->e = e;
	if (!entry_compose(o, out)) {
		return false;
	}
	e->hits++;
	slab_touch(e);
	found->rcode = entry_rcode(e);
	found->ede = o->ede;
	return true;
}

static bool give_fresh(struct cache *c, struct entry *e, const struct cache_ask *ask,
	int64_t now_ms, struct writer *out, struct cache_found *found)
{
	struct entry_response o = {.ask = ask, .ttl = entry_ttl(e, now_ms), .ede = EDE_NONE};
	if (!give(e, &o, out, found)) {
		return false;
	}
	found->prefetch = wants_prefetch(e, now_ms);
	c->figures.hits++;
	return true;
}

static bool give_cut(struct cache *c, struct entry *e, const struct cache_ask *ask, int64_t now_ms,
	struct writer *out, struct cache_found *found)
{
	struct entry_response o = {.ask = ask, .ttl = entry_ttl(e, now_ms), .ede = EDE_NONE};
	o.shift = ask->key.name.len - e->name_len;
	if (HEADER_LEN + ask->query->question.len + e->body_len > POINTER_MAX ||
		!give(e, &o, out, found)) {
		return false;
	}
	found->covered = true;
	c->figures.hits++;
	c->figures.covered++;
	return true;
}

/* RFC 8767 §4: with a TTL of 30 s, and RFC 8914 §4.4, §4.20 */
static bool give_stale(struct cache *c, struct entry *e, const struct cache_ask *ask,
	struct writer *out, struct cache_found *found)
{
	struct entry_response o = {.ask = ask, .ttl = CACHE_STALE_TTL, .ede = EDE_STALE_ANSWER};
	if (entry_rcode(e) == RCODE_NXDOMAIN) {
		o.ede = EDE_STALE_NXDOMAIN;
	}
	if (!give(e, &o, out, found)) {
		return false;
	}
	found->stale = true;
	c->figures.stale++;
	return true;
}

/* No answer within its time is there. */
static enum cache_result get_late(struct cache *c, const struct pair *pair,
	const struct cache_ask *ask, int64_t now_ms, struct writer *out, struct cache_found *found)
{
	bool failed = pair->failure && entry_left_ms(pair->failure, now_ms) > 0;
	bool stale = pair->answer && is_usable_stale(c, pair->answer, now_ms);
	if (stale && (failed || ask->stale) && give_stale(c, pair->answer, ask, out, found)) {
		return CACHE_HIT;
	}
	if (failed) {
		found->rcode = RCODE_SERVFAIL;
		found->ede = (int16_t)pair->failure->flags;
		c->figures.failed++;
		return CACHE_FAILED;
	}
	c->figures.misses += !ask->stale;
	return stale ? CACHE_STALE : CACHE_MISS;
}

enum cache_result cache_get(struct cache *cache, const struct cache_ask *ask, int64_t now_ms,
	struct writer *out, struct cache_found *found)
{
	*found = (struct cache_found){.ede = EDE_NONE};
	if (ask->query->has_other) {
		cache->figures.misses++;
		return CACHE_MISS;
	}
	struct pair pair = find(cache, &ask->key);
	if (pair.answer && entry_left_ms(pair.answer, now_ms) > 0 &&
		give_fresh(cache, pair.answer, ask, now_ms, out, found)) {
		return CACHE_HIT;
	}
	struct entry *cut = find_cut(cache, &ask->key, now_ms);
	if (cut && give_cut(cache, cut, ask, now_ms, out, found)) {
		return CACHE_HIT;
	}
	return get_late(cache, &pair, ask, now_ms, out, found);
}

/* Putting. */

/* A place for an entry, `old`'s where there is one; NULL where it would be too large. */
static struct entry *take(struct cache *c, const struct cache_key *key, struct entry *old,
	uint32_t hash, const struct cacheable *what)
{
	size_t len = entry_size(key, what);
	if (len > slab_entry_max(&c->slab) || key->subnet.len > CACHE_SUBNET_MAX) {
		return NULL;
	}
	struct entry *e = old ? slab_renew(&c->slab, old, len) : slab_take(&c->slab, hash, len);
	e->hash[CHAIN_KEY] = hash;
	entry_begin(e, key);
	return e;
}

static void add_cut(struct cache *c, struct entry *e, const struct cache_key *key)
{
	e->cut = true;
	e->hash[CHAIN_CUT] = hash_of(c, key, key->name, 0);
	for (size_t at = 0; key->name.data[at] != 0; at += 1U + key->name.data[at]) {
		e->labels++;
	}
}

/* What exists was not denied rightly: neither it nor what is above it. */
static void drop_cuts(struct cache *c, const struct cache_key *key, int64_t now_ms)
{
	struct entry *cut = find_cut(c, key, now_ms);
	for (; cut; cut = find_cut(c, key, now_ms)) {
		slab_drop(&c->slab, cut);
	}
}

bool cache_put(
	struct cache *cache, const struct cache_key *key, const struct relayed *r, int64_t now_ms)
{
	struct cacheable what;
	if (!cacheable_read(&what, r, key, &cache->settings)) {
		cache->figures.refused++;
		return false;
	}
	if (r->rcode == RCODE_NOERROR) {
		drop_cuts(cache, key, now_ms);
	}
	struct pair pair = find(cache, key);
	if (pair.failure) {
		slab_drop(&cache->slab, pair.failure);
	}
	struct entry *e = take(cache, key, pair.answer, pair.hash, &what);
	if (!e) {
		cache->figures.refused++;
		return false;
	}
	entry_fill(e, &what, now_ms);
	if (what.cut) {
		add_cut(cache, e, key);
	}
	slab_link(&cache->slab, e);
	cache->figures.insertions++;
	return true;
}

void cache_put_failure(struct cache *cache, const struct cache_key *key, enum ede ede,
	int64_t now_ms, int64_t until_ms)
{
	int64_t most = now_ms + CACHE_FAILURE_MAX_MS;
	until_ms = until_ms < most ? until_ms : most;
	struct pair pair = find(cache, key);
	struct entry *e =
		until_ms > now_ms ? take(cache, key, pair.failure, pair.hash, NULL) : NULL;
	if (!e) {
		return;
	}
	e->bits |= BIT_FAILURE;
	e->flags = (uint16_t)ede;
	e->stored_ms = now_ms;
	e->life_ms = (uint32_t)(until_ms - now_ms);
	slab_link(&cache->slab, e);
	cache->figures.insertions++;
}

/* For operators. */

static bool entry_is_below(const struct entry *e, const struct dname *name)
{
	struct dname own = {.len = e->name_len};
	memcpy(own.octets, e->data, e->name_len);
	return dname_is_under(&own, name);
}

size_t cache_flush(struct cache *cache, const struct dname *name, bool below)
{
	size_t count = 0;
	uint32_t cursor = 0;
	struct entry *e = slab_walk(&cache->slab, &cursor);
	for (; e; e = slab_walk(&cache->slab, &cursor)) {
		if (!name || same_octets(e->data, e->name_len, dname_span(name)) ||
			(below && entry_is_below(e, name))) {
			slab_drop(&cache->slab, e);
			count++;
		}
	}
	return count;
}

size_t cache_find(const struct cache *cache, const struct dname *name, int64_t now_ms,
	struct cache_entry *found, size_t room)
{
	size_t count = 0;
	uint32_t cursor = 0;
	const struct entry *e = slab_walk(&cache->slab, &cursor);
	for (; e; e = slab_walk(&cache->slab, &cursor)) {
		if (!same_octets(e->data, e->name_len, dname_span(name))) {
			continue;
		}
		if (count < room) {
			entry_describe(&found[count], e, now_ms);
		}
		count++;
	}
	return count;
}

struct cache_figures cache_figures(const struct cache *cache)
{
	struct cache_figures figures = cache->figures;
	figures.entries = cache->slab.entries;
	figures.octets = cache->slab.octets;
	figures.evictions = cache->slab.evictions;
	return figures;
}

bool cache_check(const struct cache *cache)
{
	if (!slab_check(&cache->slab)) {
		return false;
	}
	uint32_t cursor = 0;
	const struct entry *e = slab_walk(&cache->slab, &cursor);
	while (e && entry_check(e)) {
		e = slab_walk(&cache->slab, &cursor);
	}
	return e == NULL;
}

/* Beginning and end. */

struct cache *cache_new(const struct cache_settings *settings)
{
	size_t size = settings->size;
	size = size < CACHE_SIZE_MIN ? CACHE_SIZE_MIN : size;
	size = size > CACHE_SIZE_MAX ? CACHE_SIZE_MAX : size;
	struct cache *c = malloc(size);
	if (!c) {
		return NULL;
	}
	memset(c, 0, sizeof(*c));
	c->settings = *settings;
	if (c->settings.ttl_max > TTL_LIMIT) {
		c->settings.ttl_max = TTL_LIMIT;
	}
	if (c->settings.negative_ttl_max > TTL_LIMIT) {
		c->settings.negative_ttl_max = TTL_LIMIT;
	}
	c->figures.size = size;
	slab_init(&c->slab, c + 1, (size - sizeof(*c)) & ~(size_t)(SLAB_ALIGN - 1));
	return c;
}

void cache_free(struct cache *cache)
{
	free(cache);
}
