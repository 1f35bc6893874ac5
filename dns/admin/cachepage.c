/* SPDX-License-Identifier: Apache-2.0
 *
 * /cache and /cache/flush: what the workers remember. Each has a cache of its own: figures are
 * added up, entries are shown for each, and all of them forget.
 */
#include "dns/admin/gather.h"
#include "dns/admin/pages.h"
#include "dns/admin/text.h"
#include "dns/wire/record.h"
#include "dns/wire/rrtype.h"

#include <arpa/inet.h>
#include <event2/buffer.h>
#include <inttypes.h>

enum { ENTRIES_MAX = 64 /* of a name, in one worker; a name has few types that are asked for */ };

static unsigned worker_count(const struct state *state)
{
	return state->workers ? state->conf->workers : 0;
}

/* @return whether there is none; then that is the reply */
static bool is_off(struct httpd_reply *reply, const struct state *state)
{
	if (state->conf->cache_size > 0) {
		return false;
	}
	reply->status = evbuffer_add_printf(reply->body, "there is no cache: cache.size is 0\n") < 0
				? 0
				: 404;
	return true;
}

/* Figures */

static void put_figures(
	struct text *text, const struct cache_figures *f, unsigned workers, uint64_t prefetches)
{
	uint64_t queries = f->hits + f->misses;
	uint64_t rate = queries ? f->hits * 1000 / queries : 0; /* in tenths of a percent */
	text_add(text, "size:         %" PRIu64 " octets, of %u worker%s\n", f->size, workers,
		workers == 1 ? "" : "s");
	text_add(text, "entries:      %" PRIu64 "\n", f->entries);
	text_add(text, "used:         %" PRIu64 " octets\n", f->octets);
	text_add(text, "hits:         %" PRIu64 "\n", f->hits);
	text_add(text, "misses:       %" PRIu64 "\n", f->misses);
	text_add(text, "hit rate:     %" PRIu64 ".%" PRIu64 " %%\n", rate / 10, rate % 10);
	text_add(text, "covered:      %" PRIu64 " by the NXDOMAIN of a name above\n", f->covered);
	text_add(text, "stale:        %" PRIu64 " after their time\n", f->stale);
	text_add(text, "failed:       %" PRIu64 " SERVFAIL, moments after a failure\n", f->failed);
	text_add(text, "insertions:   %" PRIu64 "\n", f->insertions);
	text_add(text, "evictions:    %" PRIu64 "\n", f->evictions);
	text_add(text, "refused:      %" PRIu64 " that may not be remembered\n", f->refused);
	text_add(text, "prefetches:   %" PRIu64 "\n", prefetches);
}

static void show_figures(struct httpd_reply *reply, const struct state *state)
{
	static struct gathered all;
	struct text text = {.out = reply->body};
	gather(&all, state);
	put_figures(&text, &all.cache, worker_count(state),
		atomic_load_explicit(
			&all.stats.value[STAT_CACHE_PREFETCHES], memory_order_relaxed));
	reply->status = text.fault ? 0 : 200;
}

/* Entries of a name */

struct finding {
	struct dname name;
	size_t count;
	struct cache_entry entry[ENTRIES_MAX];
};

static void find(void *ctx, const struct worker_inside *inside)
{
	struct finding *f = ctx;
	const struct authority *a = &inside->authority;
	f->count = a->cache ? cache_find(a->cache, &f->name, a->now_ms, f->entry, ENTRIES_MAX) : 0;
}

static const char *rcode_text(const struct cache_entry *e)
{
	return e->failure ? "failure" : e->rcode == RCODE_NXDOMAIN ? "NXDOMAIN" : "NOERROR";
}

static void put_life(struct text *text, const struct cache_entry *e)
{
	if (e->left_ms > 0) {
		text_add(text, "%" PRId64 "/%" PRIu32 " s", e->left_ms / 1000, e->ttl);
	} else {
		text_add(text, "0/%" PRIu32 " s, over for %" PRId64 " s", e->ttl,
			-e->left_ms / 1000);
	}
}

/* RFC 7871 §6: code, length, family, source prefix, scope prefix, and the address as far as the
 * source prefix goes. */
static void put_subnet(struct text *text, const struct cache_entry *e)
{
	enum { FAMILY = 4, SOURCE = 6, ADDRESS = 8, FAMILY_IPV4 = 1 };
	if (e->subnet_len < ADDRESS) {
		return;
	}
	uint8_t address[CACHE_SUBNET_MAX] = {0};
	char presentation[INET6_ADDRSTRLEN];
	int family = octets_u16(e->subnet + FAMILY) == FAMILY_IPV4 ? AF_INET : AF_INET6;
	memcpy(address, e->subnet + ADDRESS, (size_t)e->subnet_len - ADDRESS);
	text_add(text, ", subnet %s/%u scope %u",
		inet_ntop(family, address, presentation, sizeof(presentation)), e->subnet[SOURCE],
		e->scope);
}

static void put_entry(struct text *text, const struct dname *owner, const struct cache_entry *e)
{
	char type[RRTYPE_TEXT_SIZE];
	text_add_name(text, owner);
	text_add(text, " %s %s ", rrtype_to_text(e->qtype, type), rcode_text(e));
	put_life(text, e);
	text_add(text, ", asked for %" PRIu32 " time%s, %zu octets%s%s", e->hits,
		e->hits == 1 ? "" : "s", e->size, e->edns_do ? ", DO" : "", e->cd ? ", CD" : "");
	put_subnet(text, e);
	if (e->qclass != CLASS_IN) {
		text_add(text, ", class %u", e->qclass);
	}
}

/* @param worker  from 1; 0: there is one only */
static void put_entries(struct text *text, const struct finding *f, unsigned worker)
{
	char who[32] = "";
	if (worker > 0) {
		(void)snprintf(who, sizeof(who), ", worker %u", worker);
	}
	for (size_t i = 0; i < f->count && i < ENTRIES_MAX; i++) {
		put_entry(text, &f->name, &f->entry[i]);
		text_add(text, "%s\n", who);
	}
	if (f->count > ENTRIES_MAX) {
		text_add(text, "and %zu more%s\n", f->count - ENTRIES_MAX, who);
	}
}

static void show_entries(
	struct httpd_reply *reply, const struct state *state, const struct param *name)
{
	static struct finding f;
	struct text text = {.out = reply->body};
	unsigned workers = worker_count(state);
	if (!page_name(reply, name, &f.name)) {
		return;
	}
	reply->status = 404;
	for (unsigned i = 0; i < workers; i++) {
		worker_call(state->workers[i], find, &f);
		put_entries(&text, &f, workers > 1 ? i + 1 : 0);
		reply->status = f.count > 0 ? 200 : reply->status;
	}
	if (reply->status == 404) {
		text_add_name(&text, &f.name);
		text_add(&text, " is not in the cache\n");
	}
	reply->status = text.fault ? 0 : reply->status;
}

void page_cache(struct httpd_reply *reply, const struct page_ask *ask)
{
	struct param name = {.key = "name"};
	if (!page_params(reply, ask->query, &name, 1) || is_off(reply, ask->state)) {
		return;
	}
	if (name.given) {
		show_entries(reply, ask->state, &name);
	} else {
		show_figures(reply, ask->state);
	}
}

/* Forgetting */

struct flushing {
	const struct dname *name; /* NULL: all */
	size_t count;
};

static void flush(void *ctx, const struct worker_inside *inside)
{
	struct flushing *f = ctx;
	if (inside->authority.cache) {
		struct cache *cache = inside->authority.cache;
		f->count += f->name ? cache_flush(cache, f->name, true) : cache_clear(cache);
	}
}

void page_cache_flush(struct httpd_reply *reply, const struct page_ask *ask)
{
	const struct state *state = ask->state;
	struct text text = {.out = reply->body};
	struct param param = {.key = "name"};
	struct dname name;
	if (!page_params(reply, ask->query, &param, 1) || is_off(reply, state) ||
		(param.given && !page_name(reply, &param, &name))) {
		return;
	}
	struct flushing f = {.name = param.given ? &name : NULL};
	for (unsigned i = 0; i < worker_count(state); i++) {
		worker_call(state->workers[i], flush, &f);
	}
	if (f.name) {
		text_add_name(&text, f.name);
		text_add(&text, " and below it: ");
	}
	text_add(&text, "%zu entr%s forgotten\n", f.count, f.count == 1 ? "y" : "ies");
	reply->status = text.fault ? 0 : 200;
}
