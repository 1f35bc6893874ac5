/* SPDX-License-Identifier: Apache-2.0
 *
 * One pass over a response's records, in the order in which they stand: the answer section has to
 * follow the aliases from the name asked to the last one, the authority section has to hold the SOA
 * of a negative response.
 */
#include "dns/resolve/cacheable.h"

#include "dns/wire/record.h"

enum {
	TYPE_DNAME = 39,
	TYPE_RRSIG = 46,
	TYPE_NSEC = 47,
	TYPE_NSEC3 = 50,
	TYPE_META = 128, /* 128..254: not types of data (RFC 6895 §3.1) */
	TYPE_META_END = 254,
	FLAG_Z = 0x0040,
	LABELS_MAX = 128, /* of all names of a cut */
	RRSIG_FIXED = 18, /* octets in front of the signer's name (RFC 4034 §3.1) */
	POINTER = 0xc0,
	POINTER_OFFSET = 0x3fff,
	SOA_NUMBERS_LEN = 5 * 4,
	SOA_MINIMUM_AT = 4 * 4
};

/* Where the pass stands. */
struct pass {
	struct cacheable *c;
	struct span message; /* up to OPT, or the last record */
	const struct cache_key *key;
	size_t question_end;
	bool at_first;               /* `name` is still the name asked */
	bool answered;               /* `name` has records of the type asked */
	bool soa;                    /* of a zone that holds `name` */
	uint32_t lowest;             /* TTL of all records */
	uint32_t minimum;            /* of the SOA */
	struct dname name;           /* the last name of the chain so far */
	struct dname before;         /* the alias that led to it, or len 0 */
	struct dname rewrite;        /* the owner of the last DNAME, or len 0 */
	unsigned label_count;        /* of a cut */
	uint16_t labels[LABELS_MAX]; /* where labels and pointers begin, behind the question */
};

static struct reader reader_at(const struct pass *p, size_t at)
{
	struct reader r = reader_over(p->message);
	r.at = at;
	return r;
}

/* RFC 2181 §8: a TTL with its highest bit set is 0. */
static uint32_t ttl_of(uint32_t ttl)
{
	return ttl > INT32_MAX ? 0 : ttl;
}

static bool same_name(const struct dname *a, const struct dname *b)
{
	return a->len == b->len && memcmp(a->octets, b->octets, a->len) == 0;
}

/* Answer section. */

static bool alias_read(struct pass *p, const struct record *record)
{
	struct reader r = reader_at(p, (size_t)(record->rdata.data - p->message.data));
	size_t end = r.at + record->rdata.len;
	p->before = p->name;
	p->at_first = false;
	return dname_read(&p->name, &r) == 0 && r.at == end;
}

/* A record of the chain's last name. */
static bool answer_of_name(struct pass *p, const struct record *record)
{
	uint16_t qtype = p->key->qtype;
	if (record->type == qtype || (qtype == TYPE_ANY && record->type != TYPE_RRSIG)) {
		p->answered = true;
		return true;
	}
	if (record->type == TYPE_CNAME) { /* RFC 2181 §10.1: it stands alone */
		return !p->answered && alias_read(p, record);
	}
	return record->type == TYPE_RRSIG;
}

/* A record of another name: what leads from alias to alias, or signs it. */
static bool answer_on_the_way(struct pass *p, const struct record *record)
{
	struct dname owner;
	struct reader r = reader_at(p, record->at);
	if (dname_read(&owner, &r)) {
		return false;
	}
	if (same_name(&owner, &p->name)) {
		return answer_of_name(p, record);
	}
	if (record->type == TYPE_DNAME && dname_is_under(&p->name, &owner)) {
		p->rewrite = owner;
		return true;
	}
	return record->type == TYPE_RRSIG &&
	       (same_name(&owner, &p->before) || same_name(&owner, &p->rewrite));
}

static bool answer_record(struct pass *p, const struct record *record)
{
	const uint8_t *owner = p->message.data + record->at;
	if (p->at_first && owner[0] == POINTER && owner[1] == HEADER_LEN) {
		return answer_of_name(p, record); /* the question's name, as most owners are */
	}
	return answer_on_the_way(p, record);
}

/* What can be given for a name below, too: RFC 8020. */

/* Whether a label or a pointer begins there, in the question's name or in one that was seen. */
static bool is_label(const struct pass *p, size_t target)
{
	const struct span *name = &p->key->name;
	for (size_t at = 0; name->data[at] != 0; at += 1U + name->data[at]) {
		if (HEADER_LEN + at == target) {
			return true;
		}
	}
	for (unsigned i = 0; i < p->label_count; i++) {
		if (p->labels[i] == target) {
			return true;
		}
	}
	return false;
}

/* The next octet of a name, where a label or a pointer begins; 0 at its end. */
static uint8_t cut_label(struct pass *p, struct reader *r)
{
	uint8_t octet = reader_u8(r);
	if (octet == 0) {
		return 0;
	}
	if (p->label_count == LABELS_MAX) {
		r->fault = true;
		return 0;
	}
	p->labels[p->label_count++] = (uint16_t)(r->at - 1);
	return octet;
}

/* A name that ends with a pointer: remember where it stands. Where it leads to a name that we know,
 * it can be made to lead there again once the question is longer. */
static bool cut_name(struct pass *p, struct reader *r)
{
	struct cacheable *c = p->c;
	uint8_t octet = cut_label(p, r);
	while (octet != 0 && octet < POINTER) {
		(void)reader_span(r, octet);
		octet = cut_label(p, r);
	}
	if (octet == 0) {
		return !r->fault;
	}
	size_t target = (size_t)(octet << 8 | reader_u8(r)) & POINTER_OFFSET;
	if (r->fault || !is_label(p, target) || c->pointer_count == CUT_POINTERS_MAX) {
		return false;
	}
	c->pointers[c->pointer_count++] = (uint16_t)(r->at - 2 - p->question_end);
	return true;
}

/* The names in the RDATA of what proves that a name does not exist. */
static bool cut_rdata(struct pass *p, const struct record *record)
{
	struct reader r = reader_at(p, (size_t)(record->rdata.data - p->message.data));
	r.len = r.at + record->rdata.len;
	switch (record->type) {
	case TYPE_SOA:
		return cut_name(p, &r) && cut_name(p, &r);
	case TYPE_RRSIG:
		(void)reader_span(&r, RRSIG_FIXED);
		return cut_name(p, &r);
	case TYPE_NSEC:
		return cut_name(p, &r);
	default:
		return record->type == TYPE_NSEC3;
	}
}

/* Who owns an SOA, or is proven to be there, exists; so does all above it, whatever the RCODE. */
static bool cut_owner(const struct pass *p, const struct record *record)
{
	struct reader r = reader_at(p, record->at);
	struct dname owner;
	return dname_read(&owner, &r) == 0 && !dname_is_under(&owner, &p->name);
}

static bool cut_record(struct pass *p, const struct record *record)
{
	struct reader r = reader_at(p, record->at);
	return cut_name(p, &r) && cut_rdata(p, record) && cut_owner(p, record);
}

/* Authority section. */

/* RFC 2308 §3, §5. The SOA of another zone says nothing about the name. */
static bool soa_read(struct pass *p, const struct record *record)
{
	struct reader r = reader_at(p, record->at);
	struct dname name;
	if (dname_read(&name, &r)) {
		return false;
	}
	size_t end = (size_t)(record->rdata.data - p->message.data) + record->rdata.len;
	r = reader_at(p, end - record->rdata.len);
	if (dname_skip(&r) || dname_skip(&r) || r.at + SOA_NUMBERS_LEN != end) {
		return false;
	}
	if (record->class != p->key->qclass || !dname_is_under(&p->name, &name)) {
		return true;
	}
	uint32_t minimum = ttl_of(octets_u32(p->message.data + r.at + SOA_MINIMUM_AT));
	p->minimum = minimum < p->minimum ? minimum : p->minimum;
	p->soa = true;
	return true;
}

static bool authority_record(struct pass *p, const struct record *record)
{
	if (record->type == TYPE_SOA && !soa_read(p, record)) {
		return false;
	}
	p->c->cut = p->c->cut && cut_record(p, record);
	return true;
}

/* All of it. */

static bool section_read(
	struct pass *p, const struct relayed *r, unsigned section, struct reader *cursor)
{
	for (unsigned i = 0; i < r->counts[section]; i++) {
		struct record record;
		if (cursor->at == r->opt_at) {
			/* What stands behind OPT is left out: it is optional (RFC 2181 §9), and
			 * would not mean the same where it moves to. */
			return true;
		}
		if (record_read(&record, cursor)) {
			return false;
		}
		uint32_t ttl = ttl_of(record.ttl);
		p->lowest = ttl < p->lowest ? ttl : p->lowest;
		p->c->counts[section]++;
		if (section == 0 &&
			(record.class != p->key->qclass || !answer_record(p, &record))) {
			return false;
		}
		if (section == 1 && !authority_record(p, &record)) {
			return false;
		}
	}
	return true;
}

static bool question_is(const struct relayed *r, const struct cache_key *key)
{
	const uint8_t *question = r->message.data + HEADER_LEN;
	if (r->question_len != key->name.len + 4) {
		return false;
	}
	if (!octets_equal_folded(question, key->name.data, key->name.len)) {
		return false;
	}
	return octets_u16(question + key->name.len) == key->qtype &&
	       octets_u16(question + key->name.len + 2) == key->qclass;
}

static bool kind_is_cacheable(const struct relayed *r, const struct cache_key *key)
{
	bool meta =
		key->qtype == TYPE_OPT || (key->qtype >= TYPE_META && key->qtype <= TYPE_META_END);
	return (r->flags & FLAG_QR) && !(r->flags & FLAG_TC) && !meta && r->end <= UINT16_MAX &&
	       (r->rcode == RCODE_NOERROR || r->rcode == RCODE_NXDOMAIN) && question_is(r, key);
}

/* RFC 7871 §7.3: an answer for another subnet than asked with is somebody else's. */
static bool options_read(struct cacheable *c, const struct relayed *r, const struct cache_key *key)
{
	const struct edns_response *edns = &r->edns;
	c->ede = edns->ede_count > 0 ? edns->ede[0].code : ENTRY_NO_EDE;
	c->scope = edns_subnet_scope(edns->subnet);
	return edns_subnet_answers(key->subnet, edns->subnet);
}

static uint32_t lower(uint32_t a, uint32_t b)
{
	return a < b ? a : b;
}

/* What is no answer to what was asked: NXDOMAIN with an answer contradicts itself, and without SOA
 * it may be a referral, or where a chain was broken off (RFC 2308 §2.2). */
static bool is_answer(const struct pass *p, const struct relayed *r)
{
	if (p->answered) {
		return r->rcode == RCODE_NOERROR;
	}
	return p->soa || r->rcode == RCODE_NXDOMAIN || (r->counts[0] == 0 && r->counts[1] == 0);
}

/* How long, in seconds; 0: not at all. */
static uint32_t lifetime(const struct pass *p, const struct cache_settings *settings)
{
	if (p->answered) {
		return lower(p->lowest, settings->ttl_max);
	}
	/* RFC 2308 §5: without SOA it is not to be kept; a referral has none either (§2.2). */
	return p->soa ? lower(lower(p->lowest, p->minimum), settings->negative_ttl_max) : 0;
}

bool cacheable_read(struct cacheable *c, const struct relayed *r, const struct cache_key *key,
	const struct cache_settings *settings)
{
	if (!kind_is_cacheable(r, key) || !options_read(c, r, key)) {
		return false;
	}
	size_t end = r->opt_at ? r->opt_at : r->end;
	struct pass p = {
		.c = c,
		.message = {r->message.data, end},
		.key = key,
		.question_end = HEADER_LEN + (size_t)r->question_len,
		.at_first = true,
		.lowest = UINT32_MAX,
		.minimum = UINT32_MAX,
	};
	p.name.len = (uint8_t)key->name.len;
	memcpy(p.name.octets, key->name.data, key->name.len);
	c->flags = (uint16_t)((r->flags & (FLAG_RA | FLAG_AD | FLAG_Z)) | r->rcode);
	c->body = (struct span){r->message.data + p.question_end, end - p.question_end};
	memset(c->counts, 0, sizeof(c->counts));
	c->pointer_count = 0;
	/* RFC 2308 §2.1, RFC 8020 §2: where there are aliases, it is the last one's target that
	 * does not exist. The root always does. */
	c->exists = r->rcode == RCODE_NOERROR || r->counts[0] > 0;
	c->cut = settings->nxdomain_covers && !c->exists && key->name.len > 1 &&
		 key->subnet.len == 0;

	struct reader cursor = reader_at(&p, p.question_end);
	for (unsigned section = 0; section < 3; section++) {
		if (!section_read(&p, r, section, &cursor)) {
			return false;
		}
	}
	c->cut = c->cut && c->counts[2] == 0;
	c->pointer_count = c->cut ? c->pointer_count : 0;
	c->ttl = lifetime(&p, settings);
	return is_answer(&p, r);
}
