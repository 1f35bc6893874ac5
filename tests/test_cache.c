/* SPDX-License-Identifier: Apache-2.0 */
#include "tests/message.h"

#include "dns/resolve/cache.h"

enum { TYPE_MX = 15, TYPE_DNAME = 39, TYPE_RRSIG = 46, TYPE_NSEC = 47, TYPE_NSEC3 = 50 };

static const uint8_t address[] = {192, 0, 2, 1};
/* The client subnet 192.0.2.0/24 as an option; its eighth octet is the scope. */
static const uint8_t subnet24[] = {0, 8, 0, 7, 0, 1, 24, 0, 192, 0, 2};
static const struct cache_settings usual = {
	.size = CACHE_SIZE_MIN,
	.seed = 0x6b756d61,
	.ttl_max = CACHE_TTL_MAX,
	.negative_ttl_max = CACHE_NEGATIVE_TTL_MAX,
	.stale_max = CACHE_STALE_MAX,
	.nxdomain_covers = true,
};
static const int64_t start = 1000000; /* ms: when tests begin */

/* Building responses. */

static void begin(struct message *m, const char *name, uint16_t type, unsigned flags)
{
	message_begin(m, (uint16_t)(FLAG_QR | FLAG_RD | FLAG_RA | flags));
	message_question(m, name, type);
}

/* A name as RDATA: its octets, uncompressed. */
static void add_name(struct message *m, unsigned section, const char *owner, uint16_t type,
	uint32_t ttl, const char *target)
{
	struct dname name = name_of(target);
	message_record(m, section, owner, type, ttl, name.octets, name.len);
}

static void add_a(struct message *m, const char *owner, uint32_t ttl)
{
	message_record(m, 1, owner, TYPE_A, ttl, address, sizeof(address));
}

/* An SOA whose owner is a pointer to `owner_at`, and whose names are pointers to it, too. */
static void add_soa(struct message *m, size_t owner_at, uint32_t ttl, uint32_t minimum)
{
	writer_u16(&m->w, (uint16_t)(0xc000 | owner_at));
	writer_u16(&m->w, TYPE_SOA);
	writer_u16(&m->w, CLASS_IN);
	writer_u32(&m->w, ttl);
	writer_u16(&m->w, 5 + 5 + 20);
	writer_octets(&m->w, "\2ns", 3);
	writer_u16(&m->w, (uint16_t)(0xc000 | owner_at));
	writer_octets(&m->w, "\2me", 3);
	writer_u16(&m->w, (uint16_t)(0xc000 | owner_at));
	for (uint32_t i = 0; i < 4; i++) {
		writer_u32(&m->w, i + 1);
	}
	writer_u32(&m->w, minimum);
	message_count(m, 2);
}

/* NXDOMAIN (or NODATA) of a name in example.com, whose label comes before it. */
static void begin_negative(struct message *m, const char *name, uint16_t type, unsigned rcode)
{
	begin(m, name, type, rcode);
	add_soa(m, HEADER_LEN + strlen(name) - strlen("example.com"), 900, 20);
}

/* Putting and getting. */

/* Who asks, and what for. */
struct asking {
	const char *name;
	uint16_t type;
	uint16_t flags;
	const struct opt *opt;
	struct span subnet;
	struct span options;
	size_t limit;
	bool stale;
	int64_t at; /* ms after `start` */
};

static const struct opt plain_opt = {.size = 1232};
static const struct opt do_opt = {.size = 1232, .edns_do = true};

/* What came back. */
struct got {
	enum cache_result result;
	struct cache_found found;
	uint8_t octets[4096];
	size_t len;
};

static void query_of(struct query *q, struct message *m, const struct asking *asking)
{
	message_begin(m, asking->flags ? asking->flags : FLAG_RD);
	message_question(m, asking->name, asking->type);
	if (asking->opt) {
		message_opt(m, *asking->opt);
	}
	assert_int_equal(query_parse(q, message_span(m)), 0);
}

static struct got get(struct cache *cache, struct asking asking)
{
	struct got got = {.result = CACHE_MISS};
	struct message m;
	struct query q;
	query_of(&q, &m, &asking);
	struct cache_ask ask = {
		.key = cache_key_query(&q, asking.subnet),
		.query = &q,
		.limit = asking.limit ? asking.limit : 1232,
		.options = asking.options,
		.stale = asking.stale,
	};
	struct writer out = {.data = got.octets, .size = sizeof(got.octets)};
	got.result = cache_get(cache, &ask, start + asking.at, &out, &got.found);
	got.len = out.len;
	assert_int_equal(got.len > 0, got.result == CACHE_HIT);
	assert_true(got.len <= ask.limit);
	return got;
}

static bool put_for(struct cache *cache, const struct message *m, struct asking asking)
{
	struct message query;
	struct query q;
	struct asker a;
	struct relayed r;
	struct dname name;
	query_of(&q, &query, &asking);
	q.edns.subnet = asking.subnet;
	asker_init(&a, &q, UINT16_MAX, NULL);
	assert_int_equal(relayed_read(&r, message_span(m), &a), 0);
	struct cache_key key = cache_key_asker(&name, &a, asking.subnet);
	bool kept = cache_put(cache, &key, &r, start + asking.at);
	assert_true(cache_check(cache));
	return kept;
}

/* Put a response to the question that it has itself. */
static bool put_at(struct cache *cache, const struct message *m, int64_t at)
{
	char text[DNAME_TEXT_SIZE];
	struct reader r = reader_over(message_span(m));
	struct dname name;
	r.at = HEADER_LEN;
	assert_int_equal(dname_read(&name, &r), 0);
	(void)dname_to_text(dname_span(&name), text);
	return put_for(cache, m, (struct asking){.name = text, .type = reader_u16(&r), .at = at});
}

static bool put(struct cache *cache, const struct message *m)
{
	return put_at(cache, m, 0);
}

static void put_a(struct cache *cache, const char *name, uint32_t ttl, int64_t at)
{
	struct message m;
	begin(&m, name, TYPE_A, 0);
	add_a(&m, NULL, ttl);
	assert_true(put_at(cache, &m, at));
}

static void fail_a(struct cache *cache, const char *text, int64_t at, int64_t until)
{
	struct dname name = name_of(text);
	struct cache_key key = {.name = dname_span(&name), .qtype = TYPE_A, .qclass = CLASS_IN};
	cache_put_failure(
		cache, &key, RCODE_SERVFAIL, EDE_NETWORK_ERROR, start + at, start + until);
	assert_true(cache_check(cache));
}

static enum cache_result result_of(struct cache *cache, const char *name, int64_t at)
{
	return get(cache, (struct asking){.name = name, .type = TYPE_A, .at = at}).result;
}

static ldns_pkt *packet(const struct got *got)
{
	assert_int_equal(got->result, CACHE_HIT);
	return packet_of((struct span){got->octets, got->len});
}

/* The TTL of the first record in a section (1 answer, 2 authority) of a hit. */
static uint32_t ttl_at(struct cache *cache, const char *name, int64_t at)
{
	struct got got = get(cache, (struct asking){.name = name, .type = TYPE_A, .at = at});
	ldns_pkt *p = packet(&got);
	const ldns_rr_list *list =
		ldns_pkt_ancount(p) > 0 ? ldns_pkt_answer(p) : ldns_pkt_authority(p);
	uint32_t ttl = ldns_rr_ttl(ldns_rr_list_rr(list, 0));
	ldns_pkt_free(p);
	return ttl;
}

static int setup(void **state)
{
	*state = cache_new(&usual);
	return *state ? 0 : -1;
}

static int teardown(void **state)
{
	bool sound = cache_check(*state);
	cache_free(*state);
	return sound ? 0 : -1;
}

/* What comes out. */

static void hit_is_the_response_with_the_requestors_id_and_spelling(void **state)
{
	struct message m;
	begin(&m, "www.example.com", TYPE_A, 0);
	add_name(&m, 1, NULL, TYPE_CNAME, 300, "Host.example.net");
	add_a(&m, "Host.example.net", 300);
	message_opt(&m, plain_opt);
	assert_true(put(*state, &m));
	struct got got = get(*state, (struct asking){.name = "WWW.example.COM", .type = TYPE_A});
	ldns_pkt *p = packet(&got);
	assert_int_equal(ldns_pkt_id(p), 0x1234);
	assert_true(ldns_pkt_qr(p) && ldns_pkt_rd(p) && ldns_pkt_ra(p));
	assert_false(ldns_pkt_tc(p) || ldns_pkt_ad(p) || ldns_pkt_cd(p) || ldns_pkt_edns(p));
	assert_record(ldns_pkt_question(p), 0, "WWW.example.COM.\tIN\tA");
	assert_record(ldns_pkt_answer(p), 0, "WWW.example.COM.\t300\tIN\tCNAME\thost.example.net.");
	assert_record(ldns_pkt_answer(p), 1, "Host.example.net.\t300\tIN\tA\t192.0.2.1");
	assert_int_equal(ldns_pkt_arcount(p), 0);
	assert_int_equal(got.found.rcode, RCODE_NOERROR);
	assert_false(got.found.stale || got.found.covered || got.found.prefetch);
	ldns_pkt_free(p);
}

/* RFC 6891 §7; RFC 7873: what a requestor's options ask for is our business. */
static void opt_is_ours_and_carries_our_options(void **state)
{
	put_a(*state, "example.com", 300, 0);
	struct asking asking = {.name = "example.com", .type = TYPE_A, .opt = &plain_opt};
	struct got got = get(*state, asking);
	assert_memory_equal(got.octets + got.len - OPT_LEN, "\0\0\51\4\320\0\0\0\0\0\0", OPT_LEN);
	static const uint8_t keepalive[] = {0, 11, 0, 2, 0, 100};
	asking.options = (struct span){keepalive, sizeof(keepalive)};
	got = get(*state, asking);
	assert_memory_equal(got.octets + got.len - 8, "\0\6\0\13\0\2\0\144", 8);
	assert_int_equal(octets_u16(got.octets + 10), 1);
}

/* RFC 6840 §5.8; RFC 4035 §3.2.3 */
static void ad_is_only_for_who_sets_ad_or_do(void **state)
{
	static const struct {
		uint16_t asked;
		bool edns_do;
		uint16_t expected;
	} rows[] = {
		{FLAG_RD, false, FLAG_QR | FLAG_RD | FLAG_RA},
		{FLAG_RD | FLAG_AD, false, FLAG_QR | FLAG_RD | FLAG_RA | FLAG_AD},
		{FLAG_RD, true, FLAG_QR | FLAG_RD | FLAG_RA | FLAG_AD},
		{FLAG_AD, false, FLAG_QR | FLAG_RA | FLAG_AD},
		{FLAG_RD | FLAG_CD, true, FLAG_QR | FLAG_RD | FLAG_RA | FLAG_AD | FLAG_CD},
	};
	for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
		struct message m;
		struct asking asking = {.name = "example.com", .type = TYPE_A};
		asking.flags = rows[i].asked;
		asking.opt = rows[i].edns_do ? &do_opt : &plain_opt;
		begin(&m, "example.com", TYPE_A, FLAG_AD);
		add_a(&m, NULL, 300);
		assert_true(put_for(*state, &m, asking));
		struct got got = get(*state, asking);
		assert_int_equal(octets_u16(got.octets + 2), rows[i].expected);
	}
}

/* RFC 4035 §3.2.1, §3.2.2; RFC 7871 §7.3.1 */
static void type_do_cd_and_subnet_are_part_of_the_key(void **state)
{
	struct asking asked = {.name = "example.com", .type = TYPE_A};
	put_a(*state, "example.com", 300, 0);
	assert_int_equal(get(*state, asked).result, CACHE_HIT);
	struct asking other = asked;
	other.type = TYPE_AAAA;
	assert_int_equal(get(*state, other).result, CACHE_MISS);
	other = asked;
	other.opt = &do_opt;
	assert_int_equal(get(*state, other).result, CACHE_MISS);
	other = asked;
	other.flags = FLAG_RD | FLAG_CD;
	assert_int_equal(get(*state, other).result, CACHE_MISS);
	other = asked;
	other.subnet = (struct span){subnet24, sizeof(subnet24)};
	assert_int_equal(get(*state, other).result, CACHE_MISS);
	assert_int_equal(result_of(*state, "example.org", 0), CACHE_MISS);
}

/* RFC 7871 §7.2.1: with the scope that the server chose, 0 where it said nothing. */
static void subnet_goes_back_with_the_servers_scope(void **state)
{
	static const struct {
		const char *rdata;
		uint8_t scope;
	} rows[] = {
		{"\0\10\0\7\0\1\30\20\300\0\2", 16},
		{"\0\10\0\7\0\1\30\40\300\0\2", 32},
		{"\0\12\0\7\0\1\30\20\300\0\2", 0}, /* another option */
		{"\0\10\0\7\0\1\30\41\300\0\2", 0}, /* malformed */
		{NULL, 0},
	};
	struct asking asking = {.name = "example.com", .type = TYPE_A, .opt = &plain_opt};
	for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
		struct message m;
		struct opt opt = {.size = 1232, .rdata = rows[i].rdata};
		opt.rdata_len = rows[i].rdata ? sizeof(subnet24) : 0;
		asking.subnet = (struct span){subnet24, sizeof(subnet24)};
		begin(&m, "example.com", TYPE_A, 0);
		add_a(&m, NULL, 300);
		message_opt(&m, opt);
		assert_true(put_for(*state, &m, asking));
		struct got got = get(*state, asking);
		uint8_t expected[sizeof(subnet24)];
		memcpy(expected, subnet24, sizeof(expected));
		expected[7] = rows[i].scope;
		assert_int_equal(got.len, HEADER_LEN + 17 + 16 + OPT_LEN + sizeof(expected));
		assert_memory_equal(
			got.octets + got.len - sizeof(expected), expected, sizeof(expected));
		assert_int_equal(got.octets[got.len - sizeof(expected) - 1], sizeof(expected));
		asking.subnet = (struct span){0};
		assert_int_equal(get(*state, asking).result, CACHE_MISS);
	}
}

/* RFC 7871 §7.3 */
static void answer_for_another_subnet_is_refused(void **state)
{
	static const char other[] = "\0\10\0\7\0\1\30\20\300\0\3";
	struct asking asking = {.name = "example.com", .type = TYPE_A, .opt = &plain_opt};
	struct message m;
	struct message query;
	struct query q;
	struct asker a;
	struct relayed r;
	begin(&m, "example.com", TYPE_A, 0);
	add_a(&m, NULL, 300);
	message_opt(&m, (struct opt){.size = 1232, .rdata = other, .rdata_len = sizeof(subnet24)});
	query_of(&q, &query, &asking);
	q.edns.subnet = (struct span){(const uint8_t *)other, sizeof(subnet24)};
	asker_init(&a, &q, UINT16_MAX, NULL);
	assert_int_equal(relayed_read(&r, message_span(&m), &a), 0);
	struct cache_key key = cache_key_query(&q, (struct span){subnet24, sizeof(subnet24)});
	assert_false(cache_put(*state, &key, &r, start));
	key.subnet = q.edns.subnet;
	assert_true(cache_put(*state, &key, &r, start));
	assert_true(put(*state, &m)); /* not asked for: not looked at */
	assert_int_equal(get(*state, asking).len, HEADER_LEN + 17 + 16 + OPT_LEN);
}

/* RFC 2181 §9 */
static void what_is_too_large_is_cut_to_whole_records_with_tc(void **state)
{
	struct message m;
	begin(&m, "example.com", TYPE_A, 0);
	for (int i = 0; i < 60; i++) {
		add_a(&m, NULL, 300);
	}
	assert_true(put(*state, &m));
	struct asking asking = {.name = "example.com", .type = TYPE_A, .limit = 512};
	for (int with_opt = 0; with_opt < 2; with_opt++) {
		asking.opt = with_opt ? &plain_opt : NULL;
		struct got got = get(*state, asking);
		ldns_pkt *p = packet(&got);
		assert_true(ldns_pkt_tc(p));
		assert_int_equal(ldns_pkt_edns(p), with_opt);
		assert_int_equal(ldns_pkt_ancount(p), (512 - 12 - 17 - with_opt * OPT_LEN) / 16);
		ldns_pkt_free(p);
	}
	asking.limit = 1232;
	struct got got = get(*state, asking);
	assert_int_equal(got.len, 12 + 17 + 60 * 16 + OPT_LEN);
}

/* A response of ours and one that is relayed are the same octets; but we are no authority (RFC 1035
 * §4.1.1). */
static void hit_equals_the_relayed_response(void **state)
{
	struct message m;
	struct message query;
	struct query q;
	struct asker a;
	struct relayed r;
	struct asking asking = {.name = "a.example.com", .type = TYPE_MX, .opt = &plain_opt};
	begin(&m, "a.example.com", TYPE_MX, FLAG_AA);
	message_record(&m, 1, NULL, TYPE_MX, 60, "\0\12\2mx\300\16", 7);
	add_name(&m, 2, "example.com", TYPE_NS, 60, "ns.example.com");
	message_record(&m, 3, "ns.example.com", TYPE_A, 60, address, sizeof(address));
	message_opt(&m, plain_opt);
	assert_true(put(*state, &m));
	query_of(&q, &query, &asking);
	asker_init(&a, &q, 1232, NULL);
	assert_int_equal(relayed_read(&r, message_span(&m), &a), 0);
	uint8_t octets[2048];
	struct writer out = {.data = octets, .size = sizeof(octets)};
	size_t len = relay_response(&r, &a, &out);
	struct got got = get(*state, asking);
	assert_int_equal(got.len, len);
	octets[2] &= (uint8_t) ~(FLAG_AA >> 8);
	assert_memory_equal(got.octets, octets, len);
}

/* RFC 8914 §3: the first code, without its text, to who sent OPT. */
static void extended_error_of_upstream_is_kept(void **state)
{
	static const struct opt opt = {
		.size = 1232, .rdata = "\0\17\0\4\0\17ad\0\17\0\2\0\4", .rdata_len = 14};
	struct asking asking = {.name = "none.example.com", .type = TYPE_A, .opt = &plain_opt};
	struct message m;
	begin_negative(&m, "none.example.com", TYPE_A, RCODE_NXDOMAIN);
	message_opt(&m, opt);
	assert_true(put(*state, &m));
	struct got got = get(*state, asking);
	assert_memory_equal(got.octets + got.len - 8, "\0\6\0\17\0\2\0\17", 8);
	assert_int_equal(got.found.ede, EDE_BLOCKED);
	asking.name = "a.none.example.com";
	got = get(*state, asking);
	assert_memory_equal(got.octets + got.len - 2, "\0\0", 2);
	assert_int_equal(got.found.ede, EDE_NONE);
	assert_int_equal(result_of(*state, "none.example.com", 0), CACHE_HIT);
}

static void query_with_a_signature_is_a_miss(void **state)
{
	struct message m;
	struct query q;
	uint8_t octets[512];
	struct writer out = {.data = octets, .size = sizeof(octets)};
	struct cache_found found;
	put_a(*state, "example.com", 300, 0);
	query_of(&q, &m, &(struct asking){.name = "example.com", .type = TYPE_A});
	q.is_signed = true;
	struct cache_ask ask = {
		.key = cache_key_query(&q, (struct span){0}), .query = &q, .limit = 512};
	assert_int_equal(cache_get(*state, &ask, start, &out, &found), CACHE_MISS);
}

/* Time. */

/* RFC 1035 §3.2.1, RFC 2181 §8, RFC 2308 §5 */
static void ttls_are_capped_and_counted_down(void **state)
{
	static const struct {
		uint32_t ttl;
		int64_t at;
		uint32_t expected; /* 0: no longer */
	} rows[] = {
		{300, 0, 300},
		{300, 999, 300},
		{300, 1000, 299},
		{300, 299999, 1},
		{300, 300000, 0},
		{1, 999, 1},
		{1, 1000, 0},
		{300, -5000, 300}, /* a clock that goes back */
		{604800, 0, 86400},
		{604800, 86399000, 1},
		{604800, 86400000, 0},
		{0x7fffffff, 0, 86400},
	};
	for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
		put_a(*state, "example.com", rows[i].ttl, 0);
		if (rows[i].expected > 0) {
			assert_int_equal(
				ttl_at(*state, "example.com", rows[i].at), rows[i].expected);
		} else {
			assert_int_equal(result_of(*state, "example.com", rows[i].at), CACHE_STALE);
		}
	}
}

/* RFC 2181 §5.2: one TTL for an RRset; the lowest of a response is the response's. */
static void lowest_ttl_counts_for_all(void **state)
{
	struct message m;
	begin(&m, "www.example.com", TYPE_A, 0);
	add_name(&m, 1, NULL, TYPE_CNAME, 3600, "host.example.com");
	add_a(&m, "host.example.com", 60);
	add_a(&m, "host.example.com", 20);
	assert_true(put(*state, &m));
	struct got got =
		get(*state, (struct asking){.name = "www.example.com", .type = TYPE_A, .at = 5000});
	ldns_pkt *p = packet(&got);
	for (size_t i = 0; i < 3; i++) {
		assert_int_equal(ldns_rr_ttl(ldns_rr_list_rr(ldns_pkt_answer(p), i)), 15);
	}
	ldns_pkt_free(p);
}

/* RFC 2308 §5: the lower one of the SOA's TTL and MINIMUM, and our limit. */
static void negative_ttl_is_the_lowest_of_soa_minimum_and_limit(void **state)
{
	static const struct {
		uint32_t ttl, minimum, expected;
	} rows[] = {
		{900, 20, 20},
		{10, 900, 10},
		{900, 900, 30},
		{900, 0, 0},
		{0, 900, 0},
		{0x80000000, 900, 0}, /* RFC 2181 §8 */
		{900, 0x80000000, 0},
	};
	for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
		struct message m;
		begin(&m, "none.example.com", TYPE_A, i % 2 ? RCODE_NOERROR : RCODE_NXDOMAIN);
		add_soa(&m, HEADER_LEN + 5, rows[i].ttl, rows[i].minimum);
		assert_int_equal(put(*state, &m), rows[i].expected > 0);
		if (rows[i].expected > 0) {
			assert_int_equal(ttl_at(*state, "none.example.com", 0), rows[i].expected);
			assert_int_equal(
				ttl_at(*state, "none.example.com", 4000), rows[i].expected - 4);
		}
		assert_int_equal(cache_clear(*state), rows[i].expected > 0);
	}
}

/* What may be remembered. */

static void build_servfail(struct message *m)
{
	begin(m, "example.com", TYPE_A, RCODE_SERVFAIL);
}

static void build_refused(struct message *m)
{
	begin(m, "example.com", TYPE_A, RCODE_REFUSED);
	add_a(m, NULL, 300);
}

static void build_extended_rcode(struct message *m)
{
	begin(m, "example.com", TYPE_A, 0);
	add_a(m, NULL, 300);
	message_opt(m, plain_opt);
	m->octets[m->w.len - 6] = 1; /* 16: the upper bits are OPT's */
}

static void build_truncated(struct message *m)
{
	begin(m, "example.com", TYPE_A, FLAG_TC);
	add_a(m, NULL, 300);
}

static void build_ttl_zero(struct message *m)
{
	begin(m, "example.com", TYPE_A, 0);
	add_a(m, NULL, 0);
}

static void build_ttl_negative(struct message *m)
{
	begin(m, "example.com", TYPE_A, 0);
	add_a(m, NULL, 0x80000000);
}

static void build_no_soa(struct message *m)
{
	begin(m, "example.com", TYPE_A, RCODE_NXDOMAIN);
}

static void build_referral(struct message *m)
{
	begin(m, "example.com", TYPE_A, 0);
	add_name(m, 2, "com", TYPE_NS, 300, "ns.com");
}

static void build_soa_of_another_zone(struct message *m)
{
	begin(m, "example.com", TYPE_A, RCODE_NXDOMAIN);
	message_record(m, 2, "example.net", TYPE_SOA, 300,
		"\0\0\0\0\0\1\0\0\0\1\0\0\0\1\0\0\0\1\0\0\0\1", 22);
}

static void build_soa_of_child(struct message *m)
{
	begin(m, "example.com", TYPE_A, RCODE_NXDOMAIN);
	message_record(m, 2, "a.example.com", TYPE_SOA, 300,
		"\0\0\0\0\0\1\0\0\0\1\0\0\0\1\0\0\0\1\0\0\0\1", 22);
}

static void build_short_soa(struct message *m)
{
	begin(m, "example.com", TYPE_A, RCODE_NXDOMAIN);
	message_record(m, 2, "com", TYPE_SOA, 300, "\0\0\0\0\0\1\0\0\0\1\0\0\0\1", 14);
}

static void build_foreign_answer(struct message *m)
{
	begin(m, "example.com", TYPE_A, 0);
	add_a(m, NULL, 300);
	add_a(m, "bank.example.net", 300);
}

static void build_foreign_alias(struct message *m)
{
	begin(m, "example.com", TYPE_A, 0);
	add_name(m, 1, "example.org", TYPE_CNAME, 300, "example.com");
	add_a(m, NULL, 300);
}

static void build_chain_backwards(struct message *m)
{
	begin(m, "example.com", TYPE_A, 0);
	add_a(m, "host.example.com", 300);
	add_name(m, 1, NULL, TYPE_CNAME, 300, "host.example.com");
}

static void build_alias_beside_data(struct message *m)
{
	begin(m, "example.com", TYPE_A, 0);
	add_a(m, NULL, 300);
	add_name(m, 1, NULL, TYPE_CNAME, 300, "host.example.com");
}

static void build_two_aliases(struct message *m)
{
	begin(m, "example.com", TYPE_A, 0);
	add_name(m, 1, NULL, TYPE_CNAME, 300, "a.example.com");
	add_name(m, 1, NULL, TYPE_CNAME, 300, "b.example.com");
	add_a(m, "a.example.com", 300);
}

static void build_alias_that_ends(struct message *m)
{
	begin(m, "example.com", TYPE_A, 0);
	add_name(m, 1, NULL, TYPE_CNAME, 300, "a.example.com");
}

static void build_foreign_dname(struct message *m)
{
	begin(m, "www.example.com", TYPE_A, 0);
	add_name(m, 1, "example.net", TYPE_DNAME, 300, "example.org");
	add_a(m, NULL, 300);
}

static void build_other_type(struct message *m)
{
	begin(m, "example.com", TYPE_A, 0);
	message_record(m, 1, NULL, TYPE_TXT, 300, "\1x", 2);
}

static void build_nxdomain_with_answer(struct message *m)
{
	begin(m, "a.example.com", TYPE_A, RCODE_NXDOMAIN);
	add_a(m, NULL, 300);
	add_soa(m, HEADER_LEN + 2, 900, 20);
}

static void build_transfer(struct message *m)
{
	begin(m, "example.com", TYPE_AXFR, 0);
	add_soa(m, HEADER_LEN, 900, 20);
}

static void build_other_class(struct message *m)
{
	begin(m, "example.com", TYPE_A, 0);
	add_a(m, NULL, 300);
	m->octets[m->w.len - 11] = CLASS_CH;
}

static void what_must_not_be_remembered_is_refused(void **state)
{
	static void (*const rows[])(struct message *) = {
		build_servfail,            /* RFC 2308 §7.1: not as an answer */
		build_refused,             /* an error */
		build_extended_rcode,      /* BADVERS is between two neighbours */
		build_truncated,           /* RFC 2181 §9 */
		build_ttl_zero,            /* RFC 1035 §3.2.1 */
		build_ttl_negative,        /* RFC 2181 §8 */
		build_no_soa,              /* RFC 2308 §5 */
		build_referral,            /* RFC 2308 §2.2 */
		build_soa_of_another_zone, /* RFC 2308 §3 */
		build_soa_of_child,
		build_short_soa,
		build_foreign_answer, /* RFC 5452 §6 */
		build_foreign_alias,
		build_chain_backwards,
		build_alias_beside_data, /* RFC 2181 §10.1 */
		build_two_aliases,
		build_alias_that_ends,
		build_foreign_dname,
		build_other_type,
		build_nxdomain_with_answer,
		build_transfer, /* RFC 5936 */
		build_other_class,
	};
	size_t count = sizeof(rows) / sizeof(rows[0]);
	for (size_t i = 0; i < count; i++) {
		struct message m;
		rows[i](&m);
		if (put(*state, &m)) {
			fail_msg("row %zu was remembered", i);
		}
	}
	assert_int_equal(cache_figures(*state).refused, count);
	assert_int_equal(cache_figures(*state).entries, 0);
}

static void build_large(struct message *m)
{
	static const char text[1800];
	begin(m, "example.com", TYPE_A, 0);
	add_a(m, NULL, 300);
	message_record(m, 2, NULL, TYPE_TXT, 300, text, sizeof(text));
}

static void build_nodata_without_soa(struct message *m)
{
	begin(m, "example.com", TYPE_A, 0);
}

/* RFC 8767 §4: it has refreshed what was known, even if it is not kept. */
static void answer_that_is_not_kept_ends_the_old_one(void **state)
{
	static const struct {
		void (*build)(struct message *);
		bool ends;
	} rows[] = {
		{build_ttl_zero, true},
		{build_large, true},
		{build_no_soa, true},
		{build_nodata_without_soa, true},
		{build_servfail, false},
		{build_truncated, false},
		{build_referral, false},
		{build_foreign_answer, false},
		{build_alias_that_ends, false},
	};
	for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
		struct message m;
		put_a(*state, "example.com", 300, 0);
		fail_a(*state, "example.com", 0, 5000);
		rows[i].build(&m);
		assert_false(put(*state, &m));
		assert_int_equal(
			result_of(*state, "example.com", 0), rows[i].ends ? CACHE_MISS : CACHE_HIT);
		assert_int_equal(cache_clear(*state), rows[i].ends ? 0 : 2);
	}
}

/* Never anything whose question does not match: also where the caller did not look. */
static void response_to_another_question_is_refused(void **state)
{
	static const struct {
		const char *name;
		uint16_t type, class;
	} rows[] = {
		{"example.net", TYPE_A, CLASS_IN},
		{"example.com", TYPE_AAAA, CLASS_IN},
		{"example.com", TYPE_A, CLASS_CH},
		{"www.example.com", TYPE_A, CLASS_IN},
	};
	struct message m;
	struct message query;
	struct query q;
	struct asker a;
	struct relayed r;
	begin(&m, "example.com", TYPE_A, 0);
	add_a(&m, NULL, 300);
	query_of(&q, &query, &(struct asking){.name = "example.com", .type = TYPE_A});
	asker_init(&a, &q, 512, NULL);
	assert_int_equal(relayed_read(&r, message_span(&m), &a), 0);
	for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
		struct dname name = name_of(rows[i].name);
		struct cache_key key = {
			.name = dname_span(&name), .qtype = rows[i].type, .qclass = rows[i].class};
		assert_false(cache_put(*state, &key, &r, start));
	}
}

/* RFC 6672 §3.1, RFC 4035 §3.1.1: in the order in which servers give it. */
static void chain_with_signatures_and_dname_is_remembered(void **state)
{
	static const char sig[] = "\0\1\10\2\0\0\1\54\0\0\0\0\0\0\0\0\0\0\0abc";
	struct message m;
	begin(&m, "a.old.example", TYPE_A, 0);
	add_name(&m, 1, "old.example", TYPE_DNAME, 300, "new.example");
	message_record(&m, 1, "old.example", TYPE_RRSIG, 300, sig, sizeof(sig) - 1);
	add_name(&m, 1, NULL, TYPE_CNAME, 300, "a.new.example");
	add_name(&m, 1, "A.NEW.example", TYPE_CNAME, 300, "b.new.example");
	message_record(&m, 1, "a.new.example", TYPE_RRSIG, 300, sig, sizeof(sig) - 1);
	add_a(&m, "b.new.example", 300);
	message_record(&m, 1, "b.new.example", TYPE_RRSIG, 300, sig, sizeof(sig) - 1);
	assert_true(put(*state, &m));
	struct got got = get(*state, (struct asking){.name = "a.old.example", .type = TYPE_A});
	ldns_pkt *p = packet(&got);
	assert_int_equal(ldns_pkt_ancount(p), 7);
	assert_record(ldns_pkt_answer(p), 5, "b.new.example.\t300\tIN\tA\t192.0.2.1");
	ldns_pkt_free(p);
}

static void records_behind_opt_are_left_out(void **state)
{
	struct message m;
	begin(&m, "example.com", TYPE_A, 0);
	add_a(&m, NULL, 300);
	message_record(&m, 3, NULL, TYPE_A, 300, address, sizeof(address));
	message_opt(&m, plain_opt);
	message_record(&m, 3, NULL, TYPE_A, 300, address, sizeof(address));
	assert_true(put(*state, &m));
	struct got got = get(*state, (struct asking){.name = "example.com", .type = TYPE_A});
	ldns_pkt *p = packet(&got);
	assert_int_equal(ldns_pkt_ancount(p), 1);
	assert_int_equal(ldns_pkt_arcount(p), 1);
	ldns_pkt_free(p);
}

static void refresh_takes_the_place_of_the_old_answer(void **state)
{
	struct message m;
	put_a(*state, "example.com", 10, 0);
	put_a(*state, "example.com", 300, 9000);
	assert_int_equal(ttl_at(*state, "example.com", 20000), 289);
	begin(&m, "example.com", TYPE_A, 0);
	for (int i = 0; i < 20; i++) {
		add_a(&m, NULL, 300); /* larger than its place */
	}
	assert_true(put_at(*state, &m, 20000));
	assert_int_equal(ttl_at(*state, "example.com", 20000), 300);
	put_a(*state, "example.com", 40, 30000); /* much smaller */
	assert_int_equal(ttl_at(*state, "example.com", 30000), 40);
	assert_int_equal(cache_figures(*state).entries, 1);
	assert_int_equal(cache_figures(*state).insertions, 4);
}

/* RFC 8020. */

static void nxdomain_covers_other_types_and_all_below(void **state)
{
	static const char *const names[] = {
		"none.example.com", "a.none.example.com", "b.A.NONE.example.com"};
	struct message m;
	begin_negative(&m, "none.example.com", TYPE_AAAA, RCODE_NXDOMAIN);
	assert_true(put(*state, &m));
	for (size_t i = 0; i < 3; i++) {
		struct got got =
			get(*state, (struct asking){.name = names[i], .type = TYPE_A, .at = 3000});
		ldns_pkt *p = packet(&got);
		assert_true(got.found.covered);
		assert_int_equal(ldns_pkt_get_rcode(p), LDNS_RCODE_NXDOMAIN);
		assert_int_equal(ldns_pkt_ancount(p), 0);
		char *owner =
			ldns_rdf2str(ldns_rr_owner(ldns_rr_list_rr(ldns_pkt_authority(p), 0)));
		assert_string_equal(owner, "example.com.");
		free(owner);
		assert_record(ldns_pkt_authority(p), 0,
			"example.com.\t17\tIN\tSOA\tns.example.com. me.example.com. 1 2 3 4 20");
		ldns_pkt_free(p);
	}
	assert_int_equal(cache_figures(*state).covered, 3);
	assert_int_equal(result_of(*state, "example.com", 0), CACHE_MISS);
	assert_int_equal(result_of(*state, "nonone.example.com", 0), CACHE_MISS);
	assert_int_equal(result_of(*state, "one.example.com", 0), CACHE_MISS);
	assert_int_equal(result_of(*state, "a.none.example.com", 20000), CACHE_MISS);
}

/* Names in the authority section that point to each other, behind the question. */
static void covering_moves_pointers_behind_the_question(void **state)
{
	struct message m;
	begin(&m, "none.example.com", TYPE_A, RCODE_NXDOMAIN);
	size_t at = m.w.len;
	message_record(&m, 2, "com", TYPE_SOA, 300, "", 0);
	m.w.len -= 2; /* RDLENGTH, and RDATA with pointers into this very record */
	writer_u16(&m.w, 4 + 20);
	writer_u16(&m.w, (uint16_t)(0xc000 | at));
	writer_u16(&m.w, (uint16_t)(0xc000 | at));
	writer_octets(&m.w, "\0\0\0\1\0\0\0\2\0\0\0\3\0\0\0\4\0\0\0\5", 20);
	assert_true(put(*state, &m));
	struct got got =
		get(*state, (struct asking){.name = "www.none.example.com", .type = TYPE_A});
	ldns_pkt *p = packet(&got);
	assert_record(ldns_pkt_authority(p), 0, "com.\t5\tIN\tSOA\tcom. com. 1 2 3 4 5");
	ldns_pkt_free(p);
}

/* RFC 1035 §4.1.4 does not forbid a pointer into the header, where 0 makes a root; it cannot move.
 */
static void pointer_into_the_header_keeps_from_covering(void **state)
{
	struct message m;
	begin(&m, "none.example.com", TYPE_A, RCODE_NXDOMAIN);
	add_soa(&m, 4, 900, 20);
	assert_true(put(*state, &m));
	assert_int_equal(result_of(*state, "none.example.com", 0), CACHE_HIT);
	assert_int_equal(result_of(*state, "a.none.example.com", 0), CACHE_MISS);
}

/* Where a pointer leads to octets that are no name that we know, nobody can tell what it would mean
 * behind a longer question. */
static void pointer_into_other_data_keeps_from_covering(void **state)
{
	struct message m;
	begin(&m, "none.example.com", TYPE_A, RCODE_NXDOMAIN);
	add_soa(&m, HEADER_LEN + 5, 900, 20);
	/* The lower half of the SOA's MINIMUM is \0\24; its upper half is a root. */
	writer_u16(&m.w, (uint16_t)(0xc000 | (m.w.len - 4)));
	writer_octets(&m.w, "\0\57\0\1\0\0\1\0\0\1\0", 11);
	message_count(&m, 2);
	assert_true(put(*state, &m));
	assert_int_equal(result_of(*state, "none.example.com", 0), CACHE_HIT);
	assert_int_equal(result_of(*state, "a.none.example.com", 0), CACHE_MISS);
}

/* RFC 3597 §4 lets receivers expand them; RFC 4034 §4.1.1 forbids senders to write them. */
static void covering_moves_pointers_in_proofs(void **state)
{
	static const char sig[] = "\0\57\10\2\0\0\1\54\0\0\0\0\0\0\0\0\0\0\300\21";
	struct message m;
	begin_negative(&m, "none.example.com", TYPE_A, RCODE_NXDOMAIN);
	message_record(&m, 2, "nond.example.com", TYPE_NSEC, 300, "\1z\300\21\0\1\100", 7);
	message_record(&m, 2, "nond.example.com", TYPE_RRSIG, 300, sig, sizeof(sig));
	assert_true(put(*state, &m));
	struct got got = get(*state, (struct asking){.name = "a.none.example.com", .type = TYPE_A});
	assert_int_equal(got.result, CACHE_HIT);
	assert_memory_equal(got.octets + got.len - 3, "\300\23", 3);
	const uint8_t *next = memmem(got.octets, got.len, "\1z\300\23\0\1\100", 7);
	assert_non_null(next);
}

static void build_rrsig_short(struct message *m)
{
	begin_negative(m, "none.example.com", TYPE_A, RCODE_NXDOMAIN);
	message_record(m, 2, "example.com", TYPE_RRSIG, 300, "\0\57", 2);
	message_record(m, 2, "example.com", TYPE_NSEC, 300, "\0\0\1\100", 4);
}

static void build_rrsig_without_signer(struct message *m)
{
	static const char sig[] = "\0\57\10\2\0\0\1\54\0\0\0\0\0\0\0\0\0\0\300";
	begin_negative(m, "none.example.com", TYPE_A, RCODE_NXDOMAIN);
	message_record(m, 2, "example.com", TYPE_RRSIG, 300, sig, sizeof(sig) - 1);
	message_record(m, 2, NULL, TYPE_NSEC3, 300, "", 0);
}

static void build_other_authority(struct message *m)
{
	begin_negative(m, "none.example.com", TYPE_A, RCODE_NXDOMAIN);
	message_record(m, 2, "example.com", TYPE_NS, 300, "\2ns\0", 4);
}

static void build_additional(struct message *m)
{
	begin_negative(m, "none.example.com", TYPE_A, RCODE_NXDOMAIN);
	message_record(m, 3, "example.com", TYPE_A, 300, address, sizeof(address));
}

/* The name has an SOA: what filters names answers so. */
static void build_soa_of_the_name(struct message *m)
{
	begin(m, "none.example.com", TYPE_A, RCODE_NXDOMAIN);
	add_soa(m, HEADER_LEN, 900, 20);
}

/* An empty non-terminal, denied. */
static void build_nsec_below(struct message *m)
{
	begin_negative(m, "none.example.com", TYPE_A, RCODE_NXDOMAIN);
	message_record(m, 2, "a.none.example.com", TYPE_NSEC, 300, "\0\0\1\100", 4);
}

static void build_many_labels(struct message *m)
{
	begin_negative(m, "none.example.com", TYPE_A, RCODE_NXDOMAIN);
	for (int i = 0; i < 45; i++) {
		message_record(m, 2, "a.b.c", TYPE_NSEC, 300, "\0\0\1\100", 4);
	}
}

static void build_many_pointers(struct message *m)
{
	begin_negative(m, "none.example.com", TYPE_A, RCODE_NXDOMAIN);
	for (int i = 0; i < 40; i++) {
		writer_octets(&m->w, "\300\21\0\57\0\1\0\0\1\0\0\4\0\0\1\100", 16);
		message_count(m, 2);
	}
}

static void odd_nxdomain_is_remembered_but_covers_nothing(void **state)
{
	static void (*const rows[])(struct message *) = {
		build_rrsig_short,
		build_rrsig_without_signer,
		build_other_authority,
		build_additional,
		build_soa_of_the_name,
		build_nsec_below,
		build_many_labels,
		build_many_pointers,
	};
	for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
		struct message m;
		rows[i](&m);
		assert_true(put(*state, &m));
		assert_int_equal(result_of(*state, "none.example.com", 0), CACHE_HIT);
		if (result_of(*state, "a.none.example.com", 0) != CACHE_MISS) {
			fail_msg("row %zu covers", i);
		}
	}
}

static void covering_keeps_the_key_apart(void **state)
{
	struct message m;
	begin_negative(&m, "none.example.com", TYPE_A, RCODE_NXDOMAIN);
	assert_true(put(*state, &m));
	struct asking asking = {.name = "a.none.example.com", .type = TYPE_A, .opt = &do_opt};
	assert_int_equal(get(*state, asking).result, CACHE_MISS);
	asking.opt = NULL;
	asking.flags = FLAG_RD | FLAG_CD;
	assert_int_equal(get(*state, asking).result, CACHE_MISS);
}

/* RFC 2308 §2.1, RFC 8020 §2: what does not exist is the alias's target. */
static void nxdomain_behind_an_alias_covers_nothing(void **state)
{
	struct message m;
	begin(&m, "www.example.com", TYPE_A, RCODE_NXDOMAIN);
	add_name(&m, 1, NULL, TYPE_CNAME, 300, "none.example.com");
	add_soa(&m, HEADER_LEN + 4, 900, 20);
	assert_true(put(*state, &m));
	assert_int_equal(result_of(*state, "www.example.com", 0), CACHE_HIT);
	assert_int_equal(result_of(*state, "a.www.example.com", 0), CACHE_MISS);
	struct asking asking = {.name = "www.example.com", .type = TYPE_CNAME};
	assert_int_equal(get(*state, asking).result, CACHE_MISS);
	asking.type = TYPE_AAAA;
	assert_int_equal(get(*state, asking).result, CACHE_MISS);
}

static void nodata_covers_nothing(void **state)
{
	struct message m;
	begin_negative(&m, "none.example.com", TYPE_A, RCODE_NOERROR);
	assert_true(put(*state, &m));
	assert_int_equal(result_of(*state, "none.example.com", 0), CACHE_HIT);
	assert_int_equal(result_of(*state, "a.none.example.com", 0), CACHE_MISS);
	struct asking other = {.name = "none.example.com", .type = TYPE_AAAA};
	assert_int_equal(get(*state, other).result, CACHE_MISS);
}

static void what_exists_is_found_under_a_name_that_does_not(void **state)
{
	struct message m;
	put_a(*state, "a.none.example.com", 300, 0);
	begin_negative(&m, "none.example.com", TYPE_A, RCODE_NXDOMAIN);
	assert_true(put(*state, &m));
	struct got got = get(*state, (struct asking){.name = "a.none.example.com", .type = TYPE_A});
	assert_int_equal(got.found.rcode, RCODE_NOERROR);
	assert_int_equal(result_of(*state, "b.none.example.com", 0), CACHE_HIT);
	put_a(*state, "a.none.example.com", 300, 1000); /* it still exists: so does what is above */
	assert_int_equal(result_of(*state, "b.none.example.com", 1000), CACHE_MISS);
}

/* RFC 8020 §4: some servers deny what has names below it; who uses these must not suffer. */
static void name_that_had_an_answer_is_not_covered(void **state)
{
	struct message m;
	struct dname name = name_of("a.none.example.com");
	struct cache_key key = {.name = dname_span(&name), .qtype = TYPE_A, .qclass = CLASS_IN};
	put_a(*state, "a.none.example.com", 5, 0);
	begin_negative(&m, "none.example.com", TYPE_A, RCODE_NXDOMAIN);
	assert_true(put_at(*state, &m, 4999));
	assert_int_equal(result_of(*state, "b.none.example.com", 5000), CACHE_HIT);
	assert_int_equal(result_of(*state, "a.none.example.com", 5000), CACHE_STALE);
	assert_false(cache_has(*state, &key, start + 5000));
	assert_true(put_at(*state, &m, 5000)); /* denied anew, when there was no answer */
	assert_int_equal(result_of(*state, "a.none.example.com", 5000), CACHE_HIT);
	assert_true(cache_has(*state, &key, start + 5000));
}

/* RFC 2308 §2.1: the name asked is an alias, so it exists, and all above it. */
static void alias_ends_the_nxdomain_above_it(void **state)
{
	struct message m;
	begin_negative(&m, "none.example.com", TYPE_A, RCODE_NXDOMAIN);
	assert_true(put(*state, &m));
	begin(&m, "www.none.example.com", TYPE_A, RCODE_NXDOMAIN);
	add_name(&m, 1, NULL, TYPE_CNAME, 300, "gone.example.com");
	add_soa(&m, HEADER_LEN + 9, 900, 20);
	assert_true(put(*state, &m));
	assert_int_equal(result_of(*state, "b.none.example.com", 0), CACHE_MISS);
}

/* An answer to one with DO says as much to one without. */
static void what_exists_ends_nxdomain_of_all_kinds(void **state)
{
	struct asking asking = {.name = "none.example.com", .type = TYPE_AAAA, .opt = &do_opt};
	struct message m;
	begin_negative(&m, "none.example.com", TYPE_AAAA, RCODE_NXDOMAIN);
	assert_true(put_for(*state, &m, asking));
	asking.flags = FLAG_RD | FLAG_CD;
	assert_true(put_for(*state, &m, asking));
	asking.name = "a.none.example.com";
	assert_int_equal(get(*state, asking).result, CACHE_HIT);
	put_a(*state, "a.none.example.com", 300, 0);
	assert_int_equal(get(*state, asking).result, CACHE_MISS);
	assert_int_equal(cache_figures(*state).entries, 1);
}

static void distrust_forgets_nxdomain_of_the_name_and_above(void **state)
{
	static const char *const names[] = {
		"b.a.example.com", "a.example.com", "x.a.example.com", "c.b.a.example.com"};
	struct dname name = name_of("b.a.example.com");
	struct cache_key key = {.name = dname_span(&name), .qclass = CLASS_CH};
	for (size_t i = 0; i < 4; i++) {
		struct message m;
		begin_negative(&m, names[i], TYPE_A, RCODE_NXDOMAIN);
		assert_true(put(*state, &m));
	}
	put_a(*state, "example.com", 300, 0);
	cache_distrust(*state, &key);
	assert_int_equal(cache_figures(*state).entries, 5);
	key.qclass = CLASS_IN;
	cache_distrust(*state, &key);
	assert_true(cache_check(*state));
	assert_int_equal(cache_figures(*state).entries, 3);
	assert_int_equal(result_of(*state, "b.a.example.com", 0), CACHE_MISS);
	assert_int_equal(result_of(*state, "a.example.com", 0), CACHE_MISS);
	assert_int_equal(result_of(*state, "x.a.example.com", 0), CACHE_HIT);
	assert_int_equal(result_of(*state, "d.c.b.a.example.com", 0), CACHE_HIT);
	assert_int_equal(result_of(*state, "example.com", 0), CACHE_HIT);
	name = name_of(".");
	key.name = dname_span(&name);
	cache_distrust(*state, &key);
	assert_int_equal(cache_figures(*state).entries, 3);
}

/* Who serves a zone of its own knows more than who denied a name above it. */
static void nxdomain_of_others_denies_nothing_in_a_zone(void **state)
{
	struct message m;
	struct dname name = name_of("a.none.example.com");
	struct cache_key key = {.name = dname_span(&name), .qtype = TYPE_A, .qclass = CLASS_IN};
	begin_negative(&m, "none.example.com", TYPE_A, RCODE_NXDOMAIN);
	assert_true(put(*state, &m));
	for (key.zone_labels = 0; key.zone_labels < 6; key.zone_labels++) {
		assert_int_equal(cache_has(*state, &key, start), key.zone_labels <= 3);
	}
	assert_false(cache_distrust(*state, &key)); /* nor is it a lie */
	key.zone_labels = 3;
	assert_true(cache_distrust(*state, &key));
	assert_false(cache_distrust(*state, &key));
}

/* Of one name, so that looking for it never takes long. */
static void nxdomain_of_many_types_is_remembered_for_few(void **state)
{
	struct message m;
	for (uint16_t type = 1; type <= 40; type++) {
		begin_negative(&m, "none.example.com", type, RCODE_NXDOMAIN);
		assert_true(put(*state, &m));
	}
	assert_int_equal(cache_figures(*state).entries, 8);
	struct asking asking = {.name = "none.example.com", .type = 1};
	assert_true(get(*state, asking).found.covered);
	asking.type = 40;
	assert_false(get(*state, asking).found.covered);
}

/* RFC 7871 §7.4 leaves it open whom a negative answer is for: nobody else gets it. */
static void nxdomain_for_a_subnet_covers_nothing(void **state)
{
	struct message m;
	struct asking asking = {.name = "none.example.com", .type = TYPE_A};
	begin_negative(&m, "none.example.com", TYPE_A, RCODE_NXDOMAIN);
	asking.subnet = (struct span){subnet24, sizeof(subnet24)};
	assert_true(put_for(*state, &m, asking));
	assert_int_equal(get(*state, asking).result, CACHE_HIT);
	assert_int_equal(result_of(*state, "none.example.com", 0), CACHE_MISS);
	assert_true(put(*state, &m));
	asking.name = "a.none.example.com";
	assert_int_equal(get(*state, asking).result, CACHE_MISS);
	assert_int_equal(result_of(*state, "a.none.example.com", 0), CACHE_HIT);
}

static void covering_can_be_switched_off(void **state)
{
	(void)state;
	struct message m;
	struct cache_settings settings = usual;
	settings.nxdomain_covers = false;
	struct cache *cache = cache_new(&settings);
	begin_negative(&m, "none.example.com", TYPE_A, RCODE_NXDOMAIN);
	assert_true(put(cache, &m));
	assert_int_equal(result_of(cache, "none.example.com", 0), CACHE_HIT);
	assert_int_equal(result_of(cache, "a.none.example.com", 0), CACHE_MISS);
	cache_free(cache);
}

/* RFC 4034 §4.1.1, RFC 4035 §3.1.3: the proof that a name does not exist goes with it. */
static void covering_gives_the_proof_too(void **state)
{
	static const char nsec[] = "\1a\7example\3com\0\0\1\100";
	struct message m;
	struct asking asking = {.name = "none.example.com", .type = TYPE_A, .opt = &do_opt};
	begin_negative(&m, "none.example.com", TYPE_A, RCODE_NXDOMAIN);
	message_record(&m, 2, "example.com", TYPE_NSEC, 300, nsec, sizeof(nsec) - 1);
	assert_true(put_for(*state, &m, asking));
	asking.name = "a.none.example.com";
	struct got got = get(*state, asking);
	ldns_pkt *p = packet(&got);
	assert_int_equal(ldns_pkt_nscount(p), 2);
	ldns_pkt_free(p);
}

/* RFC 8767, RFC 9520. */

static void stale_answer_is_given_only_where_it_may_be(void **state)
{
	struct asking asking = {.name = "example.com", .type = TYPE_A, .at = 300000};
	put_a(*state, "example.com", 300, 0);
	assert_int_equal(get(*state, asking).result, CACHE_STALE);
	asking.stale = true;
	struct got got = get(*state, asking);
	ldns_pkt *p = packet(&got);
	assert_true(got.found.stale);
	assert_record(ldns_pkt_answer(p), 0, "example.com.\t30\tIN\tA\t192.0.2.1");
	assert_false(ldns_pkt_edns(p));
	ldns_pkt_free(p);
	asking.at = 300000 + 3600 * 1000 - 1;
	assert_int_equal(get(*state, asking).result, CACHE_HIT);
	asking.at++;
	assert_int_equal(get(*state, asking).result, CACHE_MISS);
	asking.at = 299999;
	assert_false(get(*state, asking).found.stale);
}

/* RFC 8914 §4.4, §4.20 */
static void stale_answer_says_so_to_who_sent_opt(void **state)
{
	struct message m;
	struct asking asking = {.type = TYPE_A, .at = 400000, .stale = true, .opt = &plain_opt};
	put_a(*state, "example.com", 300, 0);
	begin_negative(&m, "none.example.com", TYPE_A, RCODE_NXDOMAIN);
	assert_true(put(*state, &m));
	asking.name = "example.com";
	struct got got = get(*state, asking);
	assert_memory_equal(got.octets + got.len - 8, "\0\6\0\17\0\2\0\3", 8);
	assert_int_equal(got.found.ede, EDE_STALE_ANSWER);
	asking.name = "none.example.com";
	got = get(*state, asking);
	assert_memory_equal(got.octets + got.len - 8, "\0\6\0\17\0\2\0\23", 8);
	assert_int_equal(got.found.rcode, RCODE_NXDOMAIN);
}

static void stale_answer_has_no_ad(void **state)
{
	struct message m;
	struct asking asking = {.name = "example.com", .type = TYPE_A, .flags = FLAG_AD};
	begin(&m, "example.com", TYPE_A, FLAG_AD);
	add_a(&m, NULL, 300);
	assert_true(put(*state, &m));
	assert_true(octets_u16(get(*state, asking).octets + 2) & FLAG_AD);
	asking.at = 400000;
	asking.stale = true;
	assert_false(octets_u16(get(*state, asking).octets + 2) & FLAG_AD);
}

/* RFC 8914 §3: it must not be what makes a response too large. */
static void extended_error_does_not_cost_the_answer(void **state)
{
	struct message m;
	begin(&m, "example.com", TYPE_TXT, 0);
	char text[512 - 12 - 17 - 12 - OPT_LEN];
	memset(text, 'x', sizeof(text));
	message_record(&m, 1, NULL, TYPE_TXT, 300, text, sizeof(text));
	assert_true(put(*state, &m));
	struct got got = get(*state, (struct asking){.name = "example.com",
					     .type = TYPE_TXT,
					     .at = 400000,
					     .stale = true,
					     .limit = 512,
					     .opt = &plain_opt});
	assert_int_equal(got.len, 512);
	assert_int_equal(octets_u16(got.octets + 6), 1);
	assert_int_equal(got.found.ede, EDE_NONE);
}

static void failure_is_remembered_for_five_seconds_at_most(void **state)
{
	fail_a(*state, "example.com", 0, 60000);
	struct got got =
		get(*state, (struct asking){.name = "example.com", .type = TYPE_A, .at = 4999});
	assert_int_equal(got.result, CACHE_FAILED);
	assert_int_equal(got.found.ede, EDE_NETWORK_ERROR);
	assert_int_equal(got.found.rcode, RCODE_SERVFAIL);
	assert_int_equal(result_of(*state, "example.com", 5000), CACHE_MISS);
	assert_int_equal(result_of(*state, "a.example.com", 0), CACHE_MISS);
	fail_a(*state, "example.com", 6000, 7000);
	assert_int_equal(result_of(*state, "example.com", 6999), CACHE_FAILED);
	assert_int_equal(result_of(*state, "example.com", 7000), CACHE_MISS);
	fail_a(*state, "example.com", 8000, 8000);
	assert_int_equal(result_of(*state, "example.com", 8000), CACHE_MISS);
}

static void answer_ends_the_failure(void **state)
{
	fail_a(*state, "example.com", 0, 5000);
	put_a(*state, "example.com", 1, 100);
	assert_int_equal(result_of(*state, "example.com", 200), CACHE_HIT);
	assert_int_equal(result_of(*state, "example.com", 1200), CACHE_STALE);
}

/* RFC 8767 §5: while servers are known to fail, at once. */
static void stale_answer_comes_at_once_after_a_failure(void **state)
{
	put_a(*state, "example.com", 10, 0);
	fail_a(*state, "example.com", 5000, 10000);
	assert_false(get(*state, (struct asking){.name = "example.com", .type = TYPE_A, .at = 6000})
			     .found.stale);
	fail_a(*state, "example.com", 10000, 15000);
	struct got got =
		get(*state, (struct asking){.name = "example.com", .type = TYPE_A, .at = 12000});
	assert_int_equal(got.result, CACHE_HIT);
	assert_true(got.found.stale);
	assert_int_equal(result_of(*state, "example.com", 15000), CACHE_STALE);
}

/* … and that for as long as a failure may be remembered: nobody waits for it. */
static void failure_beside_an_old_answer_lasts_longest(void **state)
{
	put_a(*state, "example.com", 10, 0);
	fail_a(*state, "example.com", 10000, 11000);
	assert_int_equal(result_of(*state, "example.com", 14999), CACHE_HIT);
	assert_int_equal(result_of(*state, "example.com", 15000), CACHE_STALE);
}

/* Prefetch. */

static void hot_entry_wants_to_be_fetched_again(void **state)
{
	struct asking asking = {.name = "example.com", .type = TYPE_A, .at = 90001};
	put_a(*state, "example.com", 100, 0);
	assert_false(get(*state, asking).found.prefetch); /* its first hit: not hot */
	asking.at = 90000;
	assert_false(get(*state, asking).found.prefetch); /* a tenth is left: not less */
	asking.at = 90001;
	assert_true(get(*state, asking).found.prefetch);
	assert_false(get(*state, asking).found.prefetch);
	put_a(*state, "example.com", 100, 90500);
	asking.at = 189000;
	assert_false(get(*state, asking).found.prefetch);
	assert_true(get(*state, asking).found.prefetch);
	assert_int_equal(cache_figures(*state).prefetches, 2);
}

/* Once a second; and not while it is known that servers fail. */
static void hot_entry_that_was_not_fetched_is_tried_again(void **state)
{
	struct asking asking = {.name = "example.com", .type = TYPE_A, .at = 92000};
	put_a(*state, "example.com", 100, 0);
	assert_false(get(*state, asking).found.prefetch);
	assert_true(get(*state, asking).found.prefetch);
	asking.at = 92999;
	assert_false(get(*state, asking).found.prefetch);
	asking.at = 93000;
	assert_true(get(*state, asking).found.prefetch);
	fail_a(*state, "example.com", 93500, 98500);
	asking.at = 98499;
	struct got got = get(*state, asking);
	assert_int_equal(got.result, CACHE_HIT);
	assert_false(got.found.prefetch || got.found.stale);
	asking.at = 98500;
	assert_true(get(*state, asking).found.prefetch);
}

/* For operators. */

static void flush_forgets_a_name_or_all_below_or_all(void **state)
{
	static const char *const names[] = {
		"example.com", "a.example.com", "b.a.example.com", "ample.com", "xexample.com"};
	struct dname name = name_of("example.com");
	for (size_t i = 0; i < 5; i++) {
		put_a(*state, names[i], 300, 0);
	}
	fail_a(*state, "example.com", 0, 5000);
	assert_int_equal(cache_flush(*state, &name, false), 2);
	assert_int_equal(result_of(*state, "example.com", 0), CACHE_MISS);
	assert_int_equal(result_of(*state, "a.example.com", 0), CACHE_HIT);
	assert_true(cache_check(*state));
	assert_int_equal(cache_flush(*state, &name, true), 2);
	assert_int_equal(result_of(*state, "b.a.example.com", 0), CACHE_MISS);
	assert_int_equal(result_of(*state, "xexample.com", 0), CACHE_HIT);
	assert_int_equal(cache_clear(*state), 2);
	assert_int_equal(cache_figures(*state).entries, 0);
	assert_int_equal(cache_figures(*state).octets, 0);
}

static void flush_forgets_what_covers_the_name(void **state)
{
	struct dname name = name_of("b.none.example.com");
	for (int below = 0; below < 2; below++) {
		struct message m;
		begin_negative(&m, "none.example.com", TYPE_A, RCODE_NXDOMAIN);
		assert_true(put(*state, &m));
		put_a(*state, "example.com", 300, 0);
		assert_int_equal(cache_flush(*state, &name, below != 0), 1);
		assert_int_equal(result_of(*state, "b.none.example.com", 0), CACHE_MISS);
		assert_int_equal(result_of(*state, "example.com", 0), CACHE_HIT);
	}
}

static bool has(const struct cache *cache, const char *text, uint16_t type, int64_t at)
{
	struct dname name = name_of(text);
	struct cache_key key = {.name = dname_span(&name), .qtype = type, .qclass = CLASS_IN};
	return cache_has(cache, &key, start + at);
}

static void has_looks_for_answer_failure_and_cut(void **state)
{
	struct message m;
	put_a(*state, "example.com", 10, 0);
	fail_a(*state, "www.example.com", 0, 5000);
	begin_negative(&m, "none.example.com", TYPE_A, RCODE_NXDOMAIN);
	assert_true(put(*state, &m));
	struct cache_figures before = cache_figures(*state);
	assert_true(has(*state, "example.com", TYPE_A, 9999));
	assert_false(has(*state, "example.com", TYPE_A, 10000)); /* stale */
	assert_false(has(*state, "example.com", TYPE_AAAA, 0));
	assert_true(has(*state, "www.example.com", TYPE_A, 4999));
	assert_false(has(*state, "www.example.com", TYPE_A, 5000));
	assert_true(has(*state, "a.none.example.com", TYPE_AAAA, 19999));
	assert_false(has(*state, "a.none.example.com", TYPE_AAAA, 20000));
	assert_false(has(*state, ".", TYPE_NS, 0));
	struct cache_figures after = cache_figures(*state);
	assert_memory_equal(&before, &after, sizeof(before));
}

static void find_tells_of_all_entries_of_a_name(void **state)
{
	struct cache_entry found[4];
	struct message m;
	struct dname name = name_of("none.example.com");
	struct asking asking = {.name = "none.example.com", .type = TYPE_AAAA, .opt = &do_opt};
	asking.subnet = (struct span){subnet24, sizeof(subnet24)};
	begin_negative(&m, "none.example.com", TYPE_AAAA, RCODE_NXDOMAIN);
	message_opt(&m, (struct opt){.size = 1232,
				.rdata = "\0\10\0\7\0\1\30\20\300\0\2",
				.rdata_len = sizeof(subnet24)});
	assert_true(put_for(*state, &m, asking));
	(void)get(*state, asking);
	fail_a(*state, "none.example.com", 0, 3000);
	assert_int_equal(cache_find(*state, &name, start + 1000, found, 4), 2);
	assert_int_equal(found[0].qtype, TYPE_AAAA);
	assert_int_equal(found[0].qclass, CLASS_IN);
	assert_int_equal(found[0].rcode, RCODE_NXDOMAIN);
	assert_true(found[0].edns_do && !found[0].cd && !found[0].failure);
	assert_int_equal(found[0].ttl, 20);
	assert_int_equal(found[0].left_ms, 19000);
	assert_int_equal(found[0].hits, 1);
	assert_int_equal(found[0].subnet_len, sizeof(subnet24));
	assert_memory_equal(found[0].subnet, subnet24, sizeof(subnet24));
	assert_int_equal(found[0].scope, 16);
	assert_true(found[1].failure);
	assert_int_equal(found[1].left_ms, 2000);
	assert_int_equal(found[0].size + found[1].size, cache_figures(*state).octets);
	assert_int_equal(cache_find(*state, &name, start, found, 1), 2);
	name = name_of("example.com");
	assert_int_equal(cache_find(*state, &name, start, found, 4), 0);
}

static void figures_add_up(void **state)
{
	put_a(*state, "example.com", 10, 0);
	(void)result_of(*state, "example.com", 0);
	(void)result_of(*state, "example.com", 10000);
	(void)get(*state,
		(struct asking){.name = "example.com", .type = TYPE_A, .at = 11000, .stale = true});
	(void)get(*state, (struct asking){.name = "b.com", .type = TYPE_A, .stale = true});
	(void)result_of(*state, "b.com", 0);
	fail_a(*state, "b.com", 0, 5000);
	(void)result_of(*state, "b.com", 0);
	struct cache_figures f = cache_figures(*state);
	assert_int_equal(f.size, CACHE_SIZE_MIN);
	assert_int_equal(f.entries, 2);
	assert_int_equal(f.hits, 1);
	assert_int_equal(f.stale, 1);
	assert_int_equal(f.misses, 2);
	assert_int_equal(f.failed, 1);
	assert_int_equal(f.insertions, 2);
	assert_int_equal(f.evictions, 0);
}

/* Room. */

static void name_number(char text[static 64], unsigned number)
{
	(void)snprintf(text, 64, "host-%u.service.example.com", number);
}

/* Like put, but without a check each time. Sizes vary: 1 to 12 addresses. */
static bool put_number(struct cache *cache, unsigned number, unsigned turn)
{
	char text[64];
	struct message m;
	struct asker a = {.limit = UINT16_MAX};
	struct relayed r;
	struct dname name;
	name_number(text, number);
	begin(&m, text, TYPE_A, 0);
	for (unsigned i = 0; i <= (number * 7 + turn) % 12; i++) {
		add_a(&m, NULL, 3600);
	}
	struct dname wire = name_of(text);
	a.question_len = (uint16_t)(wire.len + 4);
	memcpy(a.question, m.octets + HEADER_LEN, a.question_len);
	assert_int_equal(relayed_read(&r, message_span(&m), &a), 0);
	struct cache_key key = cache_key_asker(&name, &a, (struct span){0});
	return cache_put(cache, &key, &r, start);
}

static bool has_number(struct cache *cache, unsigned number)
{
	char text[64];
	name_number(text, number);
	return result_of(cache, text, 0) == CACHE_HIT;
}

static void entries_never_outgrow_the_slab(void **state)
{
	for (unsigned i = 0; i < 20000; i++) {
		assert_true(put_number(*state, i, 0));
		struct cache_figures f = cache_figures(*state);
		assert_true(f.octets <= f.size);
		assert_int_equal(f.entries + f.evictions, f.insertions);
	}
	assert_true(cache_check(*state));
	struct cache_figures f = cache_figures(*state);
	assert_true(f.octets > f.size * 8 / 10);
	assert_true(has_number(*state, 19999));
	assert_false(has_number(*state, 15000));
}

static void entry_too_large_for_the_slab_is_refused(void **state)
{
	struct message m;
	begin(&m, "example.com", TYPE_TXT, 0);
	static const char text[1800];
	message_record(&m, 1, NULL, TYPE_TXT, 300, text, sizeof(text));
	assert_false(put(*state, &m));
	assert_int_equal(cache_figures(*state).refused, 1);
}

static void hot_entries_stay_while_names_pass_by(void **state)
{
	enum { HOT = 60 };
	for (unsigned i = 0; i < HOT; i++) {
		assert_true(put_number(*state, i, 0));
	}
	unsigned kept = 0;
	for (unsigned i = 0; i < 20000; i++) {
		bool hit = has_number(*state, i % HOT);
		kept += hit ? 1 : 0;
		if (!hit) {
			assert_true(put_number(*state, i % HOT, 0));
		}
		assert_true(put_number(*state, 1000 + i, 0)); /* asked for once, never again */
	}
	assert_true(cache_check(*state));
	assert_true(kept > 19000);
}

/* A scan, or random names below a zone: nobody asks for the hot ones meanwhile. */
static void hot_entries_survive_a_flood_of_names_asked_once(void **state)
{
	enum { HOT = 60, FLOOD = 50000 };
	for (unsigned i = 0; i < 2000; i++) {
		assert_true(put_number(*state, 1000 + i, 0));
	}
	for (unsigned i = 0; i < HOT; i++) {
		assert_true(put_number(*state, i, 0));
		for (unsigned turn = 0; turn < 3; turn++) {
			assert_true(has_number(*state, i));
		}
	}
	for (unsigned i = 0; i < FLOOD; i++) {
		assert_true(put_number(*state, 10000 + i, 0));
	}
	for (unsigned i = 0; i < HOT; i++) {
		assert_true(has_number(*state, i));
	}
	assert_true(cache_check(*state));
}

/* A response as large as TCP allows, in a cache of the usual size. */
struct large {
	uint8_t octets[UINT16_MAX];
	struct writer w;
};

static void large_begin(struct large *l, const char *name, uint16_t type, unsigned flags)
{
	struct message m;
	begin(&m, name, type, flags);
	l->w = (struct writer){.data = l->octets, .size = sizeof(l->octets)};
	writer_octets(&l->w, m.octets, m.w.len);
}

static void large_add(struct large *l, unsigned section, const char *head, size_t rdata_len)
{
	static const uint8_t zero[UINT16_MAX];
	uint8_t *count = l->octets + 4 + (size_t)section * 2;
	octets_put_u16(count, (uint16_t)(octets_u16(count) + 1));
	writer_octets(&l->w, head, 10);
	writer_u16(&l->w, (uint16_t)rdata_len);
	writer_octets(&l->w, zero, rdata_len);
	assert_false(l->w.fault);
}

static struct cache *large_put(const struct large *l, struct asking asking)
{
	struct cache_settings settings = usual;
	settings.size = CACHE_SIZE;
	struct cache *cache = cache_new(&settings);
	struct message m;
	struct query q;
	struct asker a;
	struct relayed r;
	query_of(&q, &m, &asking);
	asker_init(&a, &q, UINT16_MAX, NULL);
	assert_int_equal(relayed_read(&r, (struct span){l->octets, l->w.len}, &a), 0);
	struct cache_key key = cache_key_query(&q, (struct span){0});
	assert_true(cache_put(cache, &key, &r, start));
	assert_true(cache_check(cache));
	return cache;
}

static void largest_response_comes_out_whole(void **state)
{
	(void)state;
	static struct large in;
	static uint8_t octets[UINT16_MAX + 512];
	struct asking asking = {.name = "example.com", .type = TYPE_TXT};
	large_begin(&in, "example.com", TYPE_TXT, 0);
	while (in.w.len < 65000) {
		large_add(&in, 1, "\300\14\0\20\0\1\0\0\1\54", 9);
	}
	large_add(&in, 1, "\300\14\0\20\0\1\0\0\1\54", UINT16_MAX - in.w.len - 12);
	assert_int_equal(in.w.len, UINT16_MAX);
	struct cache *cache = large_put(&in, asking);
	for (int with_opt = 0; with_opt < 2; with_opt++) {
		struct message m;
		struct query q;
		struct cache_found found;
		asking.opt = with_opt ? &plain_opt : NULL;
		query_of(&q, &m, &asking);
		struct cache_ask ask = {.key = cache_key_query(&q, (struct span){0}),
			.query = &q,
			.limit = UINT16_MAX};
		struct writer out = {.data = octets, .size = sizeof(octets)};
		assert_int_equal(cache_get(cache, &ask, start, &out, &found), CACHE_HIT);
		if (with_opt) { /* one record too many */
			assert_true(octets_u16(octets + 2) & FLAG_TC);
			assert_int_equal(octets_u16(octets + 6), octets_u16(in.octets + 6) - 1);
		} else {
			assert_int_equal(out.len, in.w.len);
			assert_memory_equal(octets, in.octets, out.len);
		}
	}
	cache_free(cache);
}

/* RFC 1035 §4.1.4: no pointer reaches farther than 16,383 octets; NSEC3 is opaque enough to try. */
static void nxdomain_whose_pointers_would_not_reach_covers_nothing(void **state)
{
	(void)state;
	static struct large in;
	static const size_t lens[] = {16000, 17000};
	for (size_t i = 0; i < 2; i++) {
		struct message m;
		large_begin(&in, "none.example.com", TYPE_A, RCODE_NXDOMAIN);
		begin_negative(&m, "none.example.com", TYPE_A, RCODE_NXDOMAIN);
		writer_octets(&in.w, m.octets + in.w.len, m.w.len - in.w.len);
		octets_put_u16(in.octets + 8, 1);
		large_add(&in, 2, "\300\21\0\62\0\1\0\0\1\54", lens[i]);
		struct cache *cache =
			large_put(&in, (struct asking){.name = "none.example.com", .type = TYPE_A});
		assert_int_equal(
			result_of(cache, "a.none.example.com", 0), i == 0 ? CACHE_HIT : CACHE_MISS);
		cache_free(cache);
	}
}

/* What is forgotten holds its room until the queue comes round; that must not last. */
static void room_is_there_after_a_flush(void **state)
{
	enum { COUNT = 200 };
	unsigned kept = 0;
	for (unsigned i = 0; i < 3000; i++) {
		assert_true(put_number(*state, i, 0));
	}
	(void)cache_clear(*state);
	for (unsigned i = 0; i < COUNT; i++) {
		assert_true(put_number(*state, 5000 + i, 0));
	}
	for (unsigned i = 0; i < COUNT; i++) {
		kept += has_number(*state, 5000 + i) ? 1 : 0;
	}
	assert_int_equal(kept, COUNT);
	assert_true(cache_check(*state));
}

/* S3-FIFO's ghosts: who comes back soon is no newcomer. */
static void entry_that_comes_back_soon_stays(void **state)
{
	enum { BACK = 10, PASSING = 40 };
	unsigned next = 1000;
	unsigned stayed = 0;
	while (next < 3000) {
		assert_true(put_number(*state, next++, 0));
	}
	for (unsigned turn = 0; turn < 2; turn++) {
		for (unsigned i = 0; i < BACK; i++) {
			assert_false(has_number(*state, i));
			assert_true(put_number(*state, i, 0));
		}
		for (unsigned i = 0; i < PASSING; i++) {
			assert_true(put_number(*state, next++, 0));
		}
	}
	for (unsigned i = 0; i < BACK; i++) {
		stayed += has_number(*state, i) ? 1 : 0;
	}
	assert_true(stayed >= BACK / 2);
}

/* A generator of its own, so that a failure can be repeated (Marsaglia's xorshift64). */
static double next_random(uint64_t *seed)
{
	*seed ^= *seed << 13;
	*seed ^= *seed >> 7;
	*seed ^= *seed << 17;
	return (double)(*seed >> 11) / 9007199254740992.0;
}

/* How popular names are: the n-th is asked for 1/n as often as the first (Zipf). */
struct popularity {
	unsigned count;
	double up_to[20000]; /* sums */
};

static void popularity_init(struct popularity *p)
{
	double sum = 0;
	p->count = sizeof(p->up_to) / sizeof(p->up_to[0]);
	for (unsigned i = 0; i < p->count; i++) {
		sum += 1.0 / (i + 1);
		p->up_to[i] = sum;
	}
}

static unsigned next_rank(const struct popularity *p, uint64_t *seed)
{
	double at = next_random(seed) * p->up_to[p->count - 1];
	unsigned low = 0;
	unsigned high = p->count - 1;
	while (low < high) {
		unsigned middle = (low + high) / 2;
		if (p->up_to[middle] < at) {
			low = middle + 1;
		} else {
			high = middle;
		}
	}
	return low;
}

/* The ideal keeps for ever the most popular names that fit. Answers that change their size are
 * stored anew every now and then, as they are when their time is over. */
static void hit_ratio_is_near_the_ideal_after_a_million_queries(void **state)
{
	enum { QUERIES = 1000000, LAST = QUERIES / 4 };
	static struct popularity popularity;
	uint64_t seed = 88172645463325252;
	unsigned hits = 0;
	unsigned ideal = 0;
	popularity_init(&popularity);
	for (unsigned i = 0; i < QUERIES; i++) {
		struct cache_figures f = cache_figures(*state);
		uint64_t fit = f.entries ? f.size * f.entries / f.octets : 0;
		unsigned number = next_rank(&popularity, &seed);
		bool hit = has_number(*state, number);
		if (i >= QUERIES - LAST) {
			hits += hit ? 1 : 0;
			ideal += number < fit ? 1 : 0;
		}
		if (!hit || next_random(&seed) < 0.05) {
			assert_true(put_number(*state, number, i % 11));
		}
	}
	assert_true(cache_check(*state));
	print_message(
		"          hits %u, ideal %u: %.3f\n", hits, ideal, (double)hits / (double)ideal);
	assert_true(hits > ideal * 0.9);
}

/* All that can be done to a cache, in any order: it stays sound, and never gives but what was last
 * put. */
static void any_order_of_operations_keeps_it_sound(void **state)
{
	enum { NAMES = 300, STEPS = 60000 };
	unsigned records[NAMES] = {0}; /* of the answer that may be there */
	uint64_t seed = 2463534242;
	for (unsigned step = 0; step < STEPS; step++) {
		unsigned number = (unsigned)(next_random(&seed) * NAMES);
		double what = next_random(&seed);
		char text[64];
		name_number(text, number);
		struct dname name = name_of(text);
		struct cache_key key = {
			.name = dname_span(&name), .qtype = TYPE_A, .qclass = CLASS_IN};
		if (what < 0.5) {
			assert_true(put_number(*state, number, step));
			records[number] = 1 + (number * 7 + step) % 12;
		} else if (what < 0.6) {
			cache_put_failure(
				*state, &key, RCODE_SERVFAIL, EDE_NONE, start, start + 1000);
		} else if (what < 0.605) {
			(void)cache_flush(*state, &name, false);
			records[number] = 0;
		} else if (what < 0.61) {
			struct message m;
			begin_negative(&m, text, TYPE_AAAA, RCODE_NXDOMAIN);
			assert_true(put_at(*state, &m, 0));
		} else if (what < 0.62) {
			cache_distrust(*state, &key);
		}
		struct got got = get(*state, (struct asking){.name = text, .type = TYPE_A});
		if (got.result == CACHE_HIT && !got.found.covered) {
			assert_int_equal(octets_u16(got.octets + 6), records[number]);
		}
		assert_true(step % 100 != 0 || cache_check(*state));
	}
}

int main(void)
{
#define TEST(name) cmocka_unit_test_setup_teardown(name, setup, teardown)
	const struct CMUnitTest tests[] = {
		TEST(hit_is_the_response_with_the_requestors_id_and_spelling),
		TEST(opt_is_ours_and_carries_our_options),
		TEST(ad_is_only_for_who_sets_ad_or_do),
		TEST(type_do_cd_and_subnet_are_part_of_the_key),
		TEST(subnet_goes_back_with_the_servers_scope),
		TEST(answer_for_another_subnet_is_refused),
		TEST(what_is_too_large_is_cut_to_whole_records_with_tc),
		TEST(hit_equals_the_relayed_response),
		TEST(extended_error_of_upstream_is_kept),
		TEST(query_with_a_signature_is_a_miss),
		TEST(ttls_are_capped_and_counted_down),
		TEST(lowest_ttl_counts_for_all),
		TEST(negative_ttl_is_the_lowest_of_soa_minimum_and_limit),
		TEST(what_must_not_be_remembered_is_refused),
		TEST(answer_that_is_not_kept_ends_the_old_one),
		TEST(response_to_another_question_is_refused),
		TEST(chain_with_signatures_and_dname_is_remembered),
		TEST(records_behind_opt_are_left_out),
		TEST(refresh_takes_the_place_of_the_old_answer),
		TEST(nxdomain_covers_other_types_and_all_below),
		TEST(covering_moves_pointers_behind_the_question),
		TEST(pointer_into_the_header_keeps_from_covering),
		TEST(pointer_into_other_data_keeps_from_covering),
		TEST(covering_moves_pointers_in_proofs),
		TEST(odd_nxdomain_is_remembered_but_covers_nothing),
		TEST(covering_keeps_the_key_apart),
		TEST(nxdomain_behind_an_alias_covers_nothing),
		TEST(nodata_covers_nothing),
		TEST(what_exists_is_found_under_a_name_that_does_not),
		TEST(name_that_had_an_answer_is_not_covered),
		TEST(alias_ends_the_nxdomain_above_it),
		TEST(what_exists_ends_nxdomain_of_all_kinds),
		TEST(distrust_forgets_nxdomain_of_the_name_and_above),
		TEST(nxdomain_of_others_denies_nothing_in_a_zone),
		TEST(nxdomain_of_many_types_is_remembered_for_few),
		TEST(nxdomain_for_a_subnet_covers_nothing),
		TEST(covering_can_be_switched_off),
		TEST(covering_gives_the_proof_too),
		TEST(stale_answer_is_given_only_where_it_may_be),
		TEST(stale_answer_says_so_to_who_sent_opt),
		TEST(stale_answer_has_no_ad),
		TEST(extended_error_does_not_cost_the_answer),
		TEST(failure_is_remembered_for_five_seconds_at_most),
		TEST(answer_ends_the_failure),
		TEST(stale_answer_comes_at_once_after_a_failure),
		TEST(failure_beside_an_old_answer_lasts_longest),
		TEST(hot_entry_wants_to_be_fetched_again),
		TEST(hot_entry_that_was_not_fetched_is_tried_again),
		TEST(flush_forgets_a_name_or_all_below_or_all),
		TEST(flush_forgets_what_covers_the_name),
		TEST(has_looks_for_answer_failure_and_cut),
		TEST(find_tells_of_all_entries_of_a_name),
		TEST(figures_add_up),
		TEST(entries_never_outgrow_the_slab),
		TEST(entry_too_large_for_the_slab_is_refused),
		TEST(hot_entries_stay_while_names_pass_by),
		TEST(hot_entries_survive_a_flood_of_names_asked_once),
		TEST(largest_response_comes_out_whole),
		TEST(nxdomain_whose_pointers_would_not_reach_covers_nothing),
		TEST(room_is_there_after_a_flush),
		TEST(entry_that_comes_back_soon_stays),
		TEST(hit_ratio_is_near_the_ideal_after_a_million_queries),
		TEST(any_order_of_operations_keeps_it_sound),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
