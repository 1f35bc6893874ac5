/* SPDX-License-Identifier: Apache-2.0
 *
 * A response is composed by one copy, with the same TTL written to every place where one stands.
 */
#include "dns/resolve/entry.h"

#include "dns/wire/edns.h"
#include "dns/wire/record.h"

enum { PLACE_LEN = 2, TTL_LEN = 4, RDLENGTH_LEN = 2 };

static const uint8_t *entry_places(const struct entry *e)
{
	return e->data + e->name_len + e->subnet_len;
}

static size_t entry_records(const struct entry *e)
{
	return (size_t)e->counts[0] + e->counts[1] + e->counts[2];
}

static const uint8_t *entry_body(const struct entry *e)
{
	return entry_places(e) + PLACE_LEN * (entry_records(e) + e->pointer_count);
}

/* Filling. */

size_t entry_size(const struct cache_key *key, const struct cacheable *what)
{
	size_t len = offsetof(struct entry, data) + key->name.len + key->subnet.len;
	if (!what) {
		return len;
	}
	size_t records = (size_t)what->counts[0] + what->counts[1] + what->counts[2];
	return len + PLACE_LEN * (records + what->pointer_count) + what->body.len;
}

void entry_begin(struct entry *e, const struct cache_key *key)
{
	e->qtype = key->qtype;
	e->qclass = key->qclass;
	e->bits = (uint8_t)((key->edns_do ? BIT_DO : 0) | (key->cd ? BIT_CD : 0));
	e->hits = 0;
	e->prefetch_ms = 0;
	e->scope = 0;
	e->ede = ENTRY_NO_EDE;
	e->labels = 0;
	e->pointer_count = 0;
	e->body_len = 0;
	memset(e->counts, 0, sizeof(e->counts));
	e->name_len = (uint8_t)key->name.len;
	e->subnet_len = (uint8_t)key->subnet.len;
	memcpy(e->data, key->name.data, key->name.len);
	if (key->subnet.len > 0) {
		memcpy(e->data + e->name_len, key->subnet.data, key->subnet.len);
	}
}

/* Where the TTLs stand, then where the pointers do. */
static void places_put(uint8_t *place, const struct cacheable *what)
{
	struct reader r = reader_over(what->body);
	struct record record;
	while (reader_left(&r) > 0 && record_read(&record, &r) == 0) {
		size_t rdata_at = (size_t)(record.rdata.data - what->body.data);
		octets_put_u16(place, (uint16_t)(rdata_at - RDLENGTH_LEN - TTL_LEN));
		place += PLACE_LEN;
	}
	for (unsigned i = 0; i < what->pointer_count; i++, place += PLACE_LEN) {
		octets_put_u16(place, what->pointers[i]);
	}
}

void entry_fill(struct entry *e, const struct cacheable *what, int64_t now_ms)
{
	e->stored_ms = now_ms;
	e->life_ms = what->ttl * 1000;
	e->flags = what->flags;
	e->scope = what->scope;
	e->ede = what->ede;
	e->body_len = (uint16_t)what->body.len;
	e->pointer_count = what->pointer_count;
	memcpy(e->counts, what->counts, sizeof(e->counts));
	uint8_t *data = e->data + e->name_len + e->subnet_len;
	places_put(data, what);
	data += PLACE_LEN * (entry_records(e) + e->pointer_count);
	memcpy(data, what->body.data, what->body.len);
}

void entry_describe(struct cache_entry *to, const struct entry *e, int64_t now_ms)
{
	*to = (struct cache_entry){
		.qtype = e->qtype,
		.qclass = e->qclass,
		.rcode = entry_rcode(e),
		.edns_do = (e->bits & BIT_DO) != 0,
		.cd = (e->bits & BIT_CD) != 0,
		.failure = (e->bits & BIT_FAILURE) != 0,
		.subnet_len = e->subnet_len,
		.scope = e->scope,
		.left_ms = entry_left_ms(e, now_ms),
		.ttl = e->life_ms / 1000,
		.hits = e->hits,
		.size = e->size,
	};
	memcpy(to->subnet, e->data + e->name_len, e->subnet_len);
}

/* Composing. */

static size_t opt_len(const struct entry_response *o)
{
	if (!o->ask->query->has_opt) {
		return 0;
	}
	return OPT_LEN + o->ask->options.len + o->ask->key.subnet.len +
	       (o->ede == EDE_NONE ? 0 : EDNS_EDE_LEN);
}

static void opt_put(const struct entry_response *o, struct writer *w)
{
	if (!o->ask->query->has_opt) {
		return;
	}
	size_t at = edns_begin(w, UDP_LEN_OURS, RCODE_NOERROR, o->ask->query->edns_do);
	writer_octets(w, o->ask->options.data, o->ask->options.len);
	edns_put_subnet(w, o->ask->key.subnet, o->e->scope);
	if (o->ede != EDE_NONE) {
		edns_put_ede(w, (uint16_t)o->ede, (struct span){0});
	}
	edns_end(w, at);
}

static void header_put(
	const struct entry_response *o, uint8_t *p, const uint16_t counts[3], unsigned tc)
{
	const struct query *q = o->ask->query;
	unsigned stored = o->e->flags;
	if (o->stale || (!q->edns_do && !(q->flags & FLAG_AD))) { /* RFC 6840 §5.8 */
		stored &= ~(unsigned)FLAG_AD;
	}
	octets_put_u16(p, q->id);
	octets_put_u16(p + 2, (uint16_t)(FLAG_QR | stored | (q->flags & (FLAG_RD | FLAG_CD)) | tc));
	octets_put_u16(p + 4, 1);
	octets_put_u16(p + 6, counts[0]);
	octets_put_u16(p + 8, counts[1]);
	octets_put_u16(p + 10, (uint16_t)(counts[2] + q->has_opt));
}

/* The first `records` of the body, `len` octets, with our TTL and pointers that fit the question.
 */
static void body_put(const struct entry_response *o, uint8_t *p, size_t records, size_t len)
{
	const uint8_t *place = entry_places(o->e);
	memcpy(p, entry_body(o->e), len);
	for (size_t i = 0; i < records; i++, place += PLACE_LEN) {
		octets_put_u32(p + octets_u16(place), o->ttl);
	}
	if (o->shift == 0) {
		return;
	}
	for (unsigned i = 0; i < o->e->pointer_count; i++, place += PLACE_LEN) {
		uint8_t *pointer = p + octets_u16(place);
		octets_put_u16(pointer, (uint16_t)(octets_u16(pointer) + o->shift));
	}
}

/* How many records of the answer section fit into `room`, and their octets. */
static size_t records_that_fit(const struct entry *e, size_t room, size_t *len)
{
	const uint8_t *body = entry_body(e);
	const uint8_t *place = entry_places(e);
	size_t count = 0;
	*len = 0;
	for (; count < e->counts[0]; count++, place += PLACE_LEN) {
		size_t rdata_at = octets_u16(place) + (size_t)TTL_LEN + RDLENGTH_LEN;
		size_t end = rdata_at + octets_u16(body + rdata_at - RDLENGTH_LEN);
		if (end > room) {
			break;
		}
		*len = end;
	}
	return count;
}

bool entry_compose(struct entry_response *o, struct writer *out)
{
	const struct query *q = o->ask->query;
	size_t room = out->size - out->len;
	size_t limit = o->ask->limit < room ? o->ask->limit : room;
	size_t start = HEADER_LEN + q->question.len;
	if (o->ede != EDE_NONE && start + o->e->body_len + opt_len(o) > limit) {
		o->ede = EDE_NONE; /* it must not cost the answer */
	}
	if (start + opt_len(o) > limit) {
		return false;
	}
	size_t len = o->e->body_len;
	size_t records = entry_records(o->e);
	uint16_t counts[3] = {o->e->counts[0], o->e->counts[1], o->e->counts[2]};
	unsigned tc = 0;
	if (start + len + opt_len(o) > limit) {
		records = records_that_fit(o->e, limit - start - opt_len(o), &len);
		counts[0] = (uint16_t)records;
		counts[1] = 0;
		counts[2] = 0;
		tc = FLAG_TC;
		o->shift = 0; /* no pointer is left that would need it */
	}
	uint8_t *p = out->data + out->len;
	header_put(o, p, counts, tc);
	memcpy(p + HEADER_LEN, q->question.data, q->question.len);
	body_put(o, p + start, records, len);
	out->len += start + len;
	opt_put(o, out);
	return true;
}

/* Checking. */

bool entry_check(const struct entry *e)
{
	size_t places = entry_records(e) + e->pointer_count;
	if ((size_t)(entry_body(e) - (const uint8_t *)e) + e->body_len > e->size) {
		return false;
	}
	for (size_t i = 0; i < places; i++) {
		size_t len = i < entry_records(e) ? TTL_LEN : PLACE_LEN;
		if (octets_u16(entry_places(e) + i * PLACE_LEN) + len > e->body_len) {
			return false;
		}
	}
	return true;
}
