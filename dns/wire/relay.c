/* SPDX-License-Identifier: Apache-2.0
 *
 * Between a requestor and an upstream server. Records are copied as they stand: the question in
 * front of them keeps its length, so every compression pointer stays true.
 */
#include "dns/wire/relay.h"

#include "dns/wire/record.h"

#include <errno.h>

void asker_init(
	struct asker *a, const struct query *q, size_t limit, const struct edns_options *options)
{
	a->id = q->id;
	a->flags = q->flags;
	a->limit = limit > UINT16_MAX ? UINT16_MAX : (uint16_t)limit;
	a->has_opt = q->has_opt;
	a->edns_do = q->edns_do;
	a->question_len = (uint16_t)q->question.len;
	memcpy(a->question, q->question.data, q->question.len);
	a->options.len = 0;
	if (options) {
		a->options = *options;
	}
	a->subnet_len = (uint8_t)q->edns.subnet.len;
	if (a->subnet_len > 0) {
		memcpy(a->subnet, q->edns.subnet.data, a->subnet_len);
	}
}

void asker_query(const struct asker *a, struct query *q)
{
	memset(q, 0, sizeof(*q));
	q->question = (struct span){a->question, a->question_len};
	q->id = a->id;
	q->flags = a->flags;
	q->udp_size = a->limit;
	q->has_opt = a->has_opt;
	q->edns_do = a->edns_do;
	q->edns.subnet = asker_subnet(a);
}

static void header_put(
	struct writer *out, uint16_t id, unsigned flags, const uint16_t counts[3], bool has_opt)
{
	writer_u16(out, id);
	writer_u16(out, (uint16_t)flags);
	writer_u16(out, 1);
	writer_u16(out, counts[0]);
	writer_u16(out, counts[1]);
	writer_u16(out, (uint16_t)(counts[2] + has_opt));
}

size_t relay_query(const struct asker *a, uint16_t id, bool with_opt, struct writer *out)
{
	static const uint16_t none[3] = {0};
	size_t start = out->len;
	header_put(out, id, (a->flags & (FLAG_RD | FLAG_CD)) | FLAG_AD, none, with_opt);
	writer_octets(out, a->question, a->question_len);
	if (with_opt) {
		size_t at = edns_begin(out, UDP_LEN_OURS, RCODE_NOERROR, a->edns_do);
		edns_put_subnet(out, asker_subnet(a), 0);
		edns_end(out, at);
	}
	return out->fault ? 0 : out->len - start;
}

/* QNAME by folded case; type and class follow it and hold no letters that matter: compared as they
 * are. */
static bool question_matches(struct span found, const struct asker *a)
{
	size_t name_len = a->question_len - 4U;
	if (!octets_equal_folded(found.data, a->question, name_len)) {
		return false;
	}
	return memcmp(found.data + name_len, a->question + name_len, 4) == 0;
}

static bool rcode_may_lack_question(uint16_t rcode)
{
	return rcode == RCODE_FORMERR || rcode == RCODE_SERVFAIL || rcode == RCODE_NOTIMP ||
	       rcode == RCODE_REFUSED;
}

static int relayed_question(
	struct relayed *r, struct reader *cursor, uint16_t qdcount, const struct asker *a)
{
	if (qdcount == 0 && rcode_may_lack_question(r->rcode)) {
		return 0;
	}
	struct span question = reader_span(cursor, a->question_len);
	if (qdcount != 1 || cursor->fault || !question_matches(question, a)) {
		return -ENOMSG;
	}
	r->question_len = a->question_len;
	return 0;
}

static int relayed_opt(struct relayed *r, const struct record *opt, size_t end)
{
	if (r->opt_at != 0 || !opt->root) {
		return -EBADMSG;
	}
	r->opt_at = opt->at;
	r->opt_len = end - opt->at;
	r->rcode = (uint16_t)(r->rcode | (opt->ttl >> 24) << 4);
	edns_response_read(&r->edns, opt->rdata);
	return 0;
}

/* RFC 7871 §7.3: one for another subnet is dropped, like one to another question. One that nobody
 * asked for says nothing. */
static int relayed_subnet(struct relayed *r, const struct asker *a)
{
	if (a->subnet_len == 0) {
		r->edns.subnet = (struct span){0};
		return 0;
	}
	return edns_subnet_answers(asker_subnet(a), r->edns.subnet) ? 0 : -ENOMSG;
}

static int relayed_records(struct relayed *r, struct reader *cursor)
{
	for (unsigned section = 0; section < 3; section++) {
		for (unsigned i = 0; i < r->counts[section]; i++) {
			struct record record;
			if (record_read(&record, cursor)) {
				return -EBADMSG;
			}
			if (record.type != TYPE_OPT) {
				r->ttl_max = record.ttl > r->ttl_max ? record.ttl : r->ttl_max;
				continue;
			}
			if (section != 2 || relayed_opt(r, &record, cursor->at)) {
				return -EBADMSG;
			}
		}
	}
	r->end = cursor->at;
	return 0;
}

int relayed_read(struct relayed *r, struct span message, const struct asker *a)
{
	struct reader cursor = reader_over(message);

	memset(r, 0, sizeof(*r));
	r->message = message;
	(void)reader_u16(&cursor); /* the ID: the caller found the transaction by it */
	r->flags = reader_u16(&cursor);
	r->rcode = r->flags & FLAG_RCODE;
	uint16_t qdcount = reader_u16(&cursor);
	for (unsigned section = 0; section < 3; section++) {
		r->counts[section] = reader_u16(&cursor);
	}
	if (cursor.fault || !(r->flags & FLAG_QR) || (r->flags & FLAG_OPCODE)) {
		return -ENOMSG;
	}
	int rc = relayed_question(r, &cursor, qdcount, a);
	if (rc) {
		return rc;
	}
	r->end = cursor.at;
	if (r->question_len ==
		0) { /* an error without a question: nothing of it can be passed on */
		memset(r->counts, 0, sizeof(r->counts));
		return 0;
	}
	rc = relayed_records(r, &cursor);
	if (rc && (r->flags & FLAG_TC)) {
		/* Cut in the middle of a record: TC is all there is to know. */
		memset(r->counts, 0, sizeof(r->counts));
		memset(&r->edns, 0, sizeof(r->edns));
		r->opt_at = 0;
		r->opt_len = 0;
		return 0;
	}
	return rc ? rc : relayed_subnet(r, a);
}

/* Whether the record's octets mean the same where OPT in front of them is taken out. */
static bool record_moves(const struct relayed *r, const struct record *record)
{
	if (record->root) {
		return true;
	}
	struct reader cursor = reader_over(r->message);
	cursor.at = record->at;
	uint8_t octet = reader_u8(&cursor);
	while (octet != 0 && octet < 0xc0) {
		(void)reader_span(&cursor, octet);
		octet = reader_u8(&cursor);
	}
	size_t target = octet == 0 ? 0 : (size_t)((octet & 0x3f) << 8 | reader_u8(&cursor));
	return target < r->opt_at;
}

/* Only these types, seen behind OPT, surely hold no compressed name in their RDATA. */
static bool rdata_has_no_name(uint16_t type)
{
	enum { TYPE_RRSIG = 46 };
	return type == TYPE_A || type == TYPE_AAAA || type == TYPE_SIG || type == TYPE_RRSIG ||
	       type == TYPE_TSIG;
}

/*
 * How many records of the additional section stand behind OPT, and can follow what stands before
 * it. Where one cannot, none is kept: additional records are optional (RFC 2181 §9).
 */
static unsigned records_behind_opt(const struct relayed *r, unsigned *dropped)
{
	struct reader cursor = reader_over((struct span){r->message.data, r->end});
	cursor.at = r->opt_at + r->opt_len;
	unsigned count = 0;
	bool moves = true;
	while (reader_left(&cursor) > 0) {
		struct record record;
		if (record_read(&record, &cursor)) {
			break;
		}
		count++;
		moves = moves && rdata_has_no_name(record.type) && record_moves(r, &record);
	}
	*dropped = moves ? 0 : count;
	return moves ? count : 0;
}

/* All records, without upstream's OPT. */
static void body_whole(const struct relayed *r, struct writer *w, uint16_t counts[3])
{
	size_t start = HEADER_LEN + (size_t)r->question_len;
	const uint8_t *data = r->message.data;
	if (r->opt_at == 0) {
		writer_octets(w, data + start, r->end - start);
		return;
	}
	writer_octets(w, data + start, r->opt_at - start);
	unsigned dropped;
	if (records_behind_opt(r, &dropped) > 0) {
		size_t behind = r->opt_at + r->opt_len;
		writer_octets(w, data + behind, r->end - behind);
	}
	counts[2] = (uint16_t)(counts[2] - 1U - dropped);
}

/* Whole records of the answer section, as many as fit: some resolvers use them and never ask over
 * TCP. */
static void body_cut(const struct relayed *r, struct writer *w, uint16_t counts[3])
{
	struct reader cursor = reader_over((struct span){r->message.data, r->end});
	cursor.at = HEADER_LEN + (size_t)r->question_len;
	uint16_t fit = 0;
	while (fit < r->counts[0]) {
		struct record record;
		if (record_read(&record, &cursor) || cursor.at - record.at > w->size - w->len) {
			break;
		}
		writer_octets(w, r->message.data + record.at, cursor.at - record.at);
		fit++;
	}
	counts[0] = fit;
	counts[1] = 0;
	counts[2] = 0;
}

static unsigned response_flags(const struct relayed *r, const struct asker *a)
{
	enum { FLAG_Z = 0x0040 };
	unsigned flags = FLAG_QR | (r->flags & (FLAG_AA | FLAG_TC | FLAG_RA | FLAG_Z));
	flags |= a->flags & (FLAG_RD | FLAG_CD);
	if (a->edns_do || (a->flags & FLAG_AD)) { /* RFC 6840 §5.8 */
		flags |= r->flags & FLAG_AD;
	}
	/* An extended RCODE is about upstream's OPT and ours: between the two of us. */
	return flags | (r->rcode > FLAG_RCODE ? RCODE_SERVFAIL : r->rcode);
}

/* Of our OPT, extended errors left aside: they take what is left. */
static size_t opt_len_min(const struct asker *a)
{
	return a->has_opt ? (size_t)OPT_LEN + a->options.len + a->subnet_len : 0;
}

/* No text costs another error. */
static void errors_put(struct writer *w, const struct edns_response *edns)
{
	for (unsigned i = 0; i < edns->ede_count; i++) {
		const struct edns_ede *ede = &edns->ede[i];
		size_t codes = (size_t)(edns->ede_count - i) * EDNS_EDE_LEN;
		bool roomy = codes + ede->text.len <= w->size - w->len;
		edns_put_ede(w, ede->code, roomy ? ede->text : (struct span){0});
	}
}

static void opt_put(struct writer *w, const struct relayed *r, const struct asker *a)
{
	size_t at = edns_begin(w, UDP_LEN_OURS, RCODE_NOERROR, a->edns_do);
	writer_octets(w, a->options.octets, a->options.len);
	/* RFC 7871 §7.2.2: also where upstream made nothing of it, which is a scope of 0 (§7.3). */
	edns_put_subnet(w, asker_subnet(a), edns_subnet_scope(r->edns.subnet));
	errors_put(w, &r->edns);
	edns_end(w, at);
}

size_t relay_response(const struct relayed *r, const struct asker *a, struct writer *out)
{
	size_t opt_len = opt_len_min(a);
	size_t room = out->size - out->len;
	size_t start = HEADER_LEN + (size_t)a->question_len;
	size_t records = r->question_len ? r->end - HEADER_LEN - r->question_len : 0;
	unsigned flags = response_flags(r, a);
	uint16_t counts[3] = {r->counts[0], r->counts[1], r->counts[2]};

	struct writer w = {.data = out->data + out->len, .size = a->limit < room ? a->limit : room};
	bool fits = start + records - r->opt_len + opt_len <= w.size;
	w.size -= opt_len;
	w.len = start; /* header and question are written last, when the counts are known */
	if (records > 0 && fits) {
		body_whole(r, &w, counts);
	} else if (records > 0) {
		body_cut(r, &w, counts);
		flags |= FLAG_TC;
	}
	w.size += opt_len;
	if (a->has_opt) {
		opt_put(&w, r, a);
	}

	struct writer head = {.data = w.data, .size = start};
	header_put(&head, a->id, flags, counts, a->has_opt);
	writer_octets(&head, a->question, a->question_len);
	out->len += w.len;
	return w.len;
}

void relay_lower_ttls(uint8_t *message, size_t len, uint32_t most)
{
	enum { RDLENGTH_AND_TTL_LEN = 6 };
	struct reader cursor = reader_over((struct span){message, len});
	struct record record;
	cursor.at = HEADER_LEN;
	if (dname_skip(&cursor)) {
		return;
	}
	(void)reader_u32(&cursor); /* type and class */
	while (reader_left(&cursor) > 0 && record_read(&record, &cursor) == 0) {
		if (record.type != TYPE_OPT && record.ttl > most) {
			size_t at = cursor.at - record.rdata.len - RDLENGTH_AND_TTL_LEN;
			octets_put_u32(message + at, record.ttl > INT32_MAX ? 0 : most);
		}
	}
}
