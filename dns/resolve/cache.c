/* SPDX-License-Identifier: Apache-2.0
 *
 * How an answer is found, and what comes of it. cacheable.c says what may come in, entry.c what is
 * kept of it, slab.c what has to go.
 */
#include "dns/resolve/cache.h"

#include "dns/resolve/entry.h"

#include <stdlib.h>

enum {
	CUTS_MAX = 8,            /* NXDOMAIN remembered for one name, that deny what is below it */
	HOT_HITS = 2,            /* so often asked for, that it is fetched again early … */
	PREFETCH_PART = 10,      /* … in the last tenth of its time … */
	PREFETCH_EACH_MS = 1000, /* … and once more, where nothing came of it */
	TTL_LIMIT = 30 * 86400,  /* so that it is less than 2^32 ms */
	POINTER_MAX = 0x3fff     /* RFC 1035 §4.1.4 */
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
	octets_fold(name->octets, a->question, len); /* lengths of labels are below 'A' */
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

static uint32_t hash_octets(struct span octets, uint64_t seed)
{
	uint64_t hash = XXH3_64bits_withSeed(octets.data, octets.len, seed);
	return (uint32_t)(hash ^ hash >> 32);
}

static uint32_t hash_of(const struct cache *c, const struct cache_key *key)
{
	uint64_t what = (uint64_t)key->qtype << 48 | (uint64_t)key->qclass << 32 | bits_of(key);
	if (key->subnet.len > 0) {
		what ^= XXH3_64bits_withSeed(key->subnet.data, key->subnet.len, c->settings.seed);
	}
	return hash_octets(key->name, c->settings.seed ^ what);
}

static bool same_octets(const uint8_t *octets, size_t len, struct span with)
{
	return len == with.len && (len == 0 || memcmp(octets, with.data, len) == 0);
}

/* Whether an entry is for this key, but for BIT_FAILURE. */
static bool entry_is_for(const struct entry *e, const struct cache_key *key)
{
	return e->qtype == key->qtype && e->qclass == key->qclass &&
	       (e->bits & ~BIT_FAILURE) == bits_of(key) &&
	       same_octets(e->data, e->name_len, key->name) &&
	       same_octets(e->data + e->name_len, e->subnet_len, key->subnet);
}

/* The two entries that a key can have: its answer, and that there was none. */
struct pair {
	uint32_t hash;
	struct entry *answer;
	struct entry *failure;
};

static struct pair find(const struct cache *c, const struct cache_key *key, uint32_t hash)
{
	struct pair found = {.hash = hash};
	struct entry *e = slab_first(&c->slab, CHAIN_KEY, hash);
	for (; e; e = slab_next(&c->slab, CHAIN_KEY, e)) {
		if (!entry_is_for(e, key)) {
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

static bool is_fresh(const struct entry *e, int64_t now_ms)
{
	return e && entry_left_ms(e, now_ms) > 0;
}

/* The answer within its time. Most queries end here, so it looks no further than it must. */
static struct entry *find_fresh(
	const struct cache *c, const struct cache_key *key, uint32_t hash, int64_t now_ms)
{
	struct entry *e = slab_first(&c->slab, CHAIN_KEY, hash);
	while (e && (e->bits & BIT_FAILURE || !is_fresh(e, now_ms) || !entry_is_for(e, key))) {
		e = slab_next(&c->slab, CHAIN_KEY, e);
	}
	return e;
}

static bool is_usable_stale(const struct cache *c, const struct entry *e, int64_t now_ms)
{
	return e && entry_left_ms(e, now_ms) > -(int64_t)c->settings.stale_max * 1000;
}

/* Cuts: what NXDOMAIN denies, the name and all below it (RFC 8020 §2). CHAIN_CUT goes by name
 * alone, so that all of a name's are found at once. With a client subnet there is none. */

/* A name, then those above it, up to a top-level domain. */
struct climb {
	struct span name;
	unsigned labels; /* 0: there are no more */
};

static struct climb climb_from(struct span name)
{
	struct climb climb = {.name = name};
	for (size_t at = 0; name.data[at] != 0; at += 1U + name.data[at]) {
		climb.labels++;
	}
	return climb;
}

static void climb_up(struct climb *climb)
{
	size_t label = 1U + climb->name.data[0];
	climb->name = (struct span){climb->name.data + label, climb->name.len - label};
	climb->labels--;
}

/* The next one in the chain that denies this very name, `e` included. */
static struct entry *cut_seek(const struct slab *slab, struct entry *e, struct span name)
{
	while (e && !same_octets(e->data, e->name_len, name)) {
		e = slab_next(slab, CHAIN_CUT, e);
	}
	return e;
}

static struct entry *cut_first(const struct cache *c, const struct climb *at)
{
	if (c->slab.cuts_of[at->labels] == 0) { /* mostly so: no need to look */
		return NULL;
	}
	uint32_t hash = hash_octets(at->name, c->settings.seed);
	return cut_seek(&c->slab, slab_first(&c->slab, CHAIN_CUT, hash), at->name);
}

static struct entry *cut_next(const struct cache *c, const struct entry *e)
{
	struct span name = {e->data, e->name_len};
	return cut_seek(&c->slab, slab_next(&c->slab, CHAIN_CUT, e), name);
}

/* Whether a name had an answer within its time when it was denied: then it may be a server that
 * denies empty non-terminals (RFC 8020 §4), and somebody has to ask. */
static bool contradicts(const struct entry *answer, const struct entry *cut)
{
	return answer && entry_rcode(answer) == RCODE_NOERROR &&
	       entry_left_ms(answer, cut->stored_ms) > 0;
}

/* Labels of the highest name whose NXDOMAIN says something about the key's: of its zone, but not
 * the root. */
static unsigned top_of(const struct cache_key *key)
{
	return key->zone_labels > 0 ? key->zone_labels : 1;
}

/* An NXDOMAIN within its time that denies the key's name, for which `answer` is there, or NULL. */
static struct entry *find_cut(const struct cache *c, const struct cache_key *key,
	const struct entry *answer, int64_t now_ms)
{
	struct climb at = climb_from(key->name);
	unsigned top = top_of(key);
	for (; at.labels >= top && key->subnet.len == 0; climb_up(&at)) {
		for (struct entry *e = cut_first(c, &at); e; e = cut_next(c, e)) {
			if (e->qclass == key->qclass && e->bits == bits_of(key) &&
				is_fresh(e, now_ms) && !contradicts(answer, e)) {
				return e;
			}
		}
	}
	return NULL;
}

/* Getting. */

/* Hot, and in its last tenth; and it was not tried moments ago. */
static bool wants_prefetch(
	const struct cache *c, struct entry *e, const struct cache_key *key, int64_t now_ms)
{
	uint32_t age_ms = (uint32_t)entry_age_ms(e, now_ms);
	if (e->hits < HOT_HITS || entry_left_ms(e, now_ms) * PREFETCH_PART >= e->life_ms ||
		(e->prefetch_ms > 0 && age_ms - e->prefetch_ms < PREFETCH_EACH_MS) ||
		is_fresh(find(c, key, e->hash[CHAIN_KEY]).failure, now_ms)) {
		return false;
	}
	e->prefetch_ms = age_ms;
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
	struct entry_response o = {.ask = ask, .ttl = entry_ttl(e, now_ms), .ede = entry_ede(e)};
	if (!give(e, &o, out, found)) {
		return false;
	}
	found->prefetch = wants_prefetch(c, e, &ask->key, now_ms);
	c->figures.prefetches += found->prefetch;
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
	struct entry_response o = {
		.ask = ask, .ttl = CACHE_STALE_TTL, .stale = true, .ede = EDE_STALE_ANSWER};
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
	bool failed = is_fresh(pair->failure, now_ms);
	bool stale = is_usable_stale(c, pair->answer, now_ms);
	if (stale && (failed || ask->stale) && give_stale(c, pair->answer, ask, out, found)) {
		return CACHE_HIT;
	}
	if (failed) {
		found->rcode = entry_rcode(pair->failure);
		found->ede = entry_ede(pair->failure);
		c->figures.failed += !ask->stale;
		return CACHE_FAILED;
	}
	c->figures.misses += !ask->stale;
	return stale ? CACHE_STALE : CACHE_MISS;
}

enum cache_result cache_get(struct cache *cache, const struct cache_ask *ask, int64_t now_ms,
	struct writer *out, struct cache_found *found)
{
	*found = (struct cache_found){.ede = EDE_NONE};
	if (ask->query->is_signed) {
		cache->figures.misses++;
		return CACHE_MISS;
	}
	uint32_t hash = hash_of(cache, &ask->key);
	struct entry *fresh = find_fresh(cache, &ask->key, hash, now_ms);
	if (fresh && give_fresh(cache, fresh, ask, now_ms, out, found)) {
		return CACHE_HIT;
	}
	struct pair pair = find(cache, &ask->key, hash);
	struct entry *cut = find_cut(cache, &ask->key, pair.answer, now_ms);
	if (cut && give_cut(cache, cut, ask, now_ms, out, found)) {
		return CACHE_HIT;
	}
	return get_late(cache, &pair, ask, now_ms, out, found);
}

uint32_t cache_fetch_chain(const struct cache *cache, const struct cache_key *key)
{
	uint32_t hash = hash_of(cache, key);
	__builtin_prefetch(slab_head(&cache->slab, CHAIN_KEY, hash));
	return hash;
}

void cache_fetch_entry(const struct cache *cache, uint32_t hash)
{
	const struct slab *slab = &cache->slab;
	__builtin_prefetch(slab_at(slab, *slab_head(slab, CHAIN_KEY, hash)));
}

bool cache_has(const struct cache *cache, const struct cache_key *key, int64_t now_ms)
{
	struct pair pair = find(cache, key, hash_of(cache, key));
	return is_fresh(pair.answer, now_ms) || is_fresh(pair.failure, now_ms) ||
	       find_cut(cache, key, pair.answer, now_ms) != NULL;
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

/* A name may be denied once for each type, class, DO and CD. Few of these are enough, and many
 * would make a long chain: the oldest go. */
static void trim_cuts(struct cache *c, const struct climb *at)
{
	unsigned count = 0;
	struct entry *e = cut_first(c, at);
	while (e) {
		struct entry *next = cut_next(c, e);
		if (++count >= CUTS_MAX) {
			slab_drop(&c->slab, e);
		}
		e = next;
	}
}

static void add_cut(struct cache *c, struct entry *e, const struct climb *at)
{
	trim_cuts(c, at);
	e->cut = true;
	e->hash[CHAIN_CUT] = hash_octets(at->name, c->settings.seed);
	e->labels = (uint8_t)at->labels;
}

bool cache_distrust(struct cache *cache, const struct cache_key *key)
{
	bool any = false;
	struct climb at = climb_from(key->name);
	unsigned top = top_of(key);
	for (; at.labels >= top; climb_up(&at)) {
		struct entry *e = cut_first(cache, &at);
		while (e) {
			struct entry *next = cut_next(cache, e);
			if (e->qclass == key->qclass) {
				slab_drop(&cache->slab, e);
				any = true;
			}
			e = next;
		}
	}
	return any;
}

bool cache_put(
	struct cache *cache, const struct cache_key *key, const struct relayed *r, int64_t now_ms)
{
	struct cacheable what;
	if (!cacheable_read(&what, r, key, &cache->settings)) {
		cache->figures.refused++;
		return false;
	}
	if (what.exists) {
		(void)cache_distrust(cache, key);
	}
	struct pair pair = find(cache, key, hash_of(cache, key));
	if (pair.failure) {
		slab_drop(&cache->slab, pair.failure);
	}
	struct entry *e = what.ttl > 0 ? take(cache, key, pair.answer, pair.hash, &what) : NULL;
	if (!e) {
		if (pair.answer) {
			slab_drop(&cache->slab, pair.answer);
		}
		cache->figures.refused++;
		return false;
	}
	entry_fill(e, &what, now_ms);
	if (what.cut) {
		struct climb at = climb_from(key->name);
		add_cut(cache, e, &at);
	}
	slab_link(&cache->slab, e);
	cache->figures.insertions++;
	return true;
}

void cache_put_failure(struct cache *cache, const struct cache_key *key, uint16_t rcode,
	enum ede ede, int64_t now_ms, int64_t until_ms)
{
	int64_t most = now_ms + CACHE_FAILURE_MAX_MS;
	struct pair pair = find(cache, key, hash_of(cache, key));
	if (until_ms > most || is_usable_stale(cache, pair.answer, now_ms)) {
		until_ms = most; /* nobody waits: there is an old answer to be given meanwhile */
	}
	struct entry *e =
		until_ms > now_ms ? take(cache, key, pair.failure, pair.hash, NULL) : NULL;
	if (!e) {
		return;
	}
	e->bits |= BIT_FAILURE;
	e->flags = rcode & FLAG_RCODE;
	e->ede = (uint16_t)ede;
	e->stored_ms = now_ms;
	e->life_ms = (uint32_t)(until_ms - now_ms);
	slab_link(&cache->slab, e);
	cache->figures.insertions++;
}

/* For operators. */

/* Whether a name is `zone` or below it. */
static bool is_under(struct span name, struct span zone)
{
	struct climb at = climb_from(name);
	while (at.name.len > zone.len) {
		climb_up(&at);
	}
	return same_octets(at.name.data, at.name.len, zone);
}

/* Whether it says anything about `name`: has it, is below it where these are meant, too, or denies
 * it from above. */
static bool entry_concerns(const struct entry *e, struct span name, bool below)
{
	struct span own = {e->data, e->name_len};
	return same_octets(own.data, own.len, name) || (below && is_under(own, name)) ||
	       (e->cut && is_under(name, own));
}

static void begin_slab(struct cache *c)
{
	size_t room = (c->figures.size - sizeof(*c)) & ~(size_t)(SLAB_ALIGN - 1);
	uint64_t evictions = c->slab.evictions;
	slab_init(&c->slab, c + 1, room);
	c->slab.evictions = evictions;
}

size_t cache_clear(struct cache *cache)
{
	size_t count = cache->slab.entries;
	begin_slab(cache);
	return count;
}

size_t cache_flush(struct cache *cache, const struct dname *name, bool below)
{
	size_t count = 0;
	uint32_t cursor = 0;
	struct entry *e = slab_walk(&cache->slab, &cursor);
	for (; e; e = slab_walk(&cache->slab, &cursor)) {
		if (entry_concerns(e, dname_span(name), below)) {
			slab_drop(&cache->slab, e);
			count++;
		}
	}
	return count;
}

unsigned cache_look(const struct cache *cache, const struct cache_key *key, int64_t now_ms,
	struct cache_entry found[2])
{
	const struct pair pair = find(cache, key, hash_of(cache, key));
	unsigned count = 0;
	if (pair.answer) {
		entry_describe(&found[count++], pair.answer, now_ms);
	}
	if (pair.failure) {
		entry_describe(&found[count++], pair.failure, now_ms);
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
	begin_slab(c);
	return c;
}

void cache_free(struct cache *cache)
{
	free(cache);
}
