/* SPDX-License-Identifier: Apache-2.0
 *
 * Every rule of answering, read back with ldns; and that no answer allocates.
 */
#include "tests/message.h"

#include "dns/mesh/table.h"
#include "dns/serve/answer.h"
#include "dns/serve/special.h"
#include "dns/wire/response.h"

#include <arpa/inet.h>

/* The seam: all of the archive's allocations pass here (-Wl,--wrap), and are counted. */
static unsigned allocations;

void *__real_malloc(size_t size);
void *__real_calloc(size_t count, size_t size);
void *__real_realloc(void *old, size_t size);
void *__wrap_malloc(size_t size);
void *__wrap_calloc(size_t count, size_t size);
void *__wrap_realloc(void *old, size_t size);

void *__wrap_malloc(size_t size)
{
	allocations++;
	return __real_malloc(size);
}

void *__wrap_calloc(size_t count, size_t size)
{
	allocations++;
	return __real_calloc(count, size);
}

void *__wrap_realloc(void *old, size_t size)
{
	allocations++;
	return __real_realloc(old, size);
}

static struct mesh_zones zones;
static struct table *table;
static struct routes *routes;
static struct cookie_secret secret;

enum { NOW_MS = 1000000 };

/* What all answers are made of but where a test says otherwise. */
static struct authority usual(void)
{
	return (struct authority){
		.table = table,
		.zones = &zones,
		.routes = routes,
		.special_groups = SPECIAL_ALL & ~(unsigned)SPECIAL_REVERSE_PRIVATE,
		.hop = {.secret = &secret, .peer = {.len = 4, .octets = {127, 0, 0, 1}}},
		.now_ms = NOW_MS,
	};
}

/* One asked question: what was decided, and the response as ldns reads it. */
struct outcome {
	enum verdict verdict;
	struct query q;
	struct answered answered;
	size_t len;
	uint8_t octets[4096];
	ldns_pkt *packet; /* with VERDICT_SEND and VERDICT_REFRESH */
};

static struct outcome *outcome_of(
	const struct message *m, const struct authority *from, size_t limit)
{
	static struct outcome o;
	struct writer out = {.data = o.octets, .size = sizeof(o.octets)};
	struct authority authority = *from;
	unsigned before = allocations;
	o.verdict = answer(&o.q, message_span(m), &authority, limit, &out, &o.answered);
	assert_int_equal(allocations, before);
	o.len = out.len;
	o.packet = NULL;
	if (o.verdict == VERDICT_SEND || o.verdict == VERDICT_REFRESH ||
		o.verdict == VERDICT_CANARY) {
		o.packet = packet_of((struct span){o.octets, out.len});
	} else {
		assert_int_equal(out.len, 0);
	}
	return &o;
}

static struct outcome *asked_of(const struct authority *from, const char *name, uint16_t type)
{
	struct message m;
	message_query(&m, name, type);
	message_opt(&m, (struct opt){.size = 1232});
	return outcome_of(&m, from, 0);
}

static struct outcome *asked(const char *name, uint16_t type)
{
	const struct authority from = usual();
	return asked_of(&from, name, type);
}

static void outcome_end(struct outcome *o)
{
	ldns_pkt_free(o->packet);
	o->packet = NULL;
}

static void expect_negative(const char *name, uint16_t type, int rcode, const char *apex)
{
	struct outcome *o = asked(name, type);
	char soa[600];
	(void)snprintf(soa, sizeof(soa), "%s\t5\tIN\tSOA\t%s hostmaster.%s 7 3600 600 86400 5",
		apex, apex, apex);
	assert_int_equal(o->verdict, VERDICT_SEND);
	assert_int_equal(ldns_pkt_get_rcode(o->packet), rcode);
	assert_true(ldns_pkt_aa(o->packet));
	assert_int_equal(ldns_pkt_ancount(o->packet), 0);
	assert_record(ldns_pkt_authority(o->packet), 0, soa);
	outcome_end(o);
}

static void expect_forward(const char *name, uint16_t type)
{
	assert_int_equal(asked(name, type)->verdict, VERDICT_FORWARD);
}

static void expect_rcode(const struct message *m, int rcode)
{
	const struct authority from = usual();
	struct outcome *o = outcome_of(m, &from, 0);
	assert_int_equal(o->verdict, VERDICT_SEND);
	assert_int_equal(ldns_pkt_get_rcode(o->packet), rcode);
	outcome_end(o);
}

static void table_name_gives_its_addresses(void **state)
{
	(void)state;
	struct outcome *o = asked("ReDiS.svc.mesh.local", TYPE_A);
	assert_int_equal(o->verdict, VERDICT_SEND);
	assert_int_equal(ldns_pkt_get_rcode(o->packet), LDNS_RCODE_NOERROR);
	assert_true(ldns_pkt_aa(o->packet) && ldns_pkt_ra(o->packet) && ldns_pkt_edns(o->packet));
	assert_record(ldns_pkt_question(o->packet), 0, "ReDiS.svc.mesh.local.\tIN\tA");
	assert_record(ldns_pkt_answer(o->packet), 0, "ReDiS.svc.mesh.local.\t30\tIN\tA\t241.0.0.1");
	outcome_end(o);
	o = asked("redis.svc.mesh.local", TYPE_AAAA);
	assert_record(ldns_pkt_answer(o->packet), 0,
		"redis.svc.mesh.local.\t30\tIN\tAAAA\t::ffff:241.0.0.1");
	outcome_end(o);
	o = asked("redis.svc.mesh.local", TYPE_ANY); /* RFC 8482 §4.1 */
	assert_int_equal(ldns_pkt_ancount(o->packet), 2);
	outcome_end(o);
}

/* Never NXDOMAIN: clients that got it for AAAA gave up on A. */
static void name_without_the_family_is_nodata(void **state)
{
	(void)state;
	expect_negative("v4only.mesh", TYPE_AAAA, LDNS_RCODE_NOERROR, "mesh.");
	expect_negative("db.example.com", TYPE_AAAA, LDNS_RCODE_NOERROR, "db.example.com.");
	expect_negative("empty.mesh", TYPE_A, LDNS_RCODE_NOERROR, "mesh.");
}

static void other_types_of_a_mesh_name_are_nodata(void **state)
{
	(void)state;
	static const uint16_t types[] = {TYPE_NS, TYPE_SOA, 16, 33, TYPE_HTTPS, TYPE_SVCB, 65280};
	for (size_t i = 0; i < sizeof(types) / sizeof(types[0]); i++) {
		expect_negative(
			"redis.svc.mesh.local", types[i], LDNS_RCODE_NOERROR, "mesh.local.");
	}
}

static void other_types_of_a_shadowed_name_are_forwarded(void **state)
{
	(void)state;
	struct outcome *o = asked("db.example.com", TYPE_A);
	assert_record(ldns_pkt_answer(o->packet), 0, "db.example.com.\t30\tIN\tA\t242.0.0.9");
	outcome_end(o);
	expect_forward("db.example.com", 16);
	expect_forward("db.example.com", TYPE_NS);
	/* a public HTTPS record would lead around the mesh */
	expect_negative("db.example.com", TYPE_HTTPS, LDNS_RCODE_NOERROR, "db.example.com.");
	expect_negative("db.example.com", TYPE_SVCB, LDNS_RCODE_NOERROR, "db.example.com.");
	expect_forward("example.com", TYPE_A);
	expect_forward("x.db.example.com", TYPE_A);
}

static void unknown_name_in_a_mesh_zone_is_nxdomain(void **state)
{
	(void)state;
	expect_negative("nothing.mesh", TYPE_A, LDNS_RCODE_NXDOMAIN, "mesh.");
	expect_negative("x.redis.svc.mesh.local", TYPE_A, LDNS_RCODE_NXDOMAIN, "mesh.local.");
}

/* RFC 8020 §2: where names exist below, the name exists. */
static void name_above_others_is_nodata(void **state)
{
	(void)state;
	expect_negative("svc.mesh.local", TYPE_A, LDNS_RCODE_NOERROR, "mesh.local.");
	expect_negative("mesh.local", TYPE_A, LDNS_RCODE_NOERROR, "mesh.local.");
	expect_negative("mesh", TYPE_SOA, LDNS_RCODE_NOERROR, "mesh.");
}

static void names_outside_are_forwarded(void **state)
{
	(void)state;
	expect_forward("example.org", TYPE_A);
	expect_forward("local", TYPE_A);
	expect_forward("notmesh", TYPE_A);
	expect_forward(".", TYPE_NS);
	expect_forward("kubernetes.default.svc.cluster.local", TYPE_A);
}

/* RFC 4592; the owner is the name that was asked. */
static void wildcard_answers_for_the_name_asked(void **state)
{
	(void)state;
	struct outcome *o = asked("Any.wild.mesh", TYPE_A);
	assert_record(ldns_pkt_answer(o->packet), 0, "Any.wild.mesh.\t30\tIN\tA\t241.0.0.7");
	outcome_end(o);
	expect_negative("any.wild.mesh", TYPE_AAAA, LDNS_RCODE_NOERROR, "mesh.");
}

static void reverse_name_of_a_table_address_gives_its_names(void **state)
{
	(void)state;
	struct outcome *o = asked("1.0.0.241.in-addr.arpa", TYPE_PTR);
	assert_record(ldns_pkt_answer(o->packet), 0,
		"1.0.0.241.in-addr.arpa.\t30\tIN\tPTR\tredis.svc.mesh.local.");
	assert_int_equal(ldns_pkt_ancount(o->packet), 1);
	outcome_end(o);
	o = asked("1.0.0.0.0.0.1.f.f.f.f.f.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.ip6.arpa",
		TYPE_PTR);
	assert_int_equal(ldns_pkt_ancount(o->packet), 1);
	outcome_end(o);
	expect_forward("2.0.0.241.in-addr.arpa", TYPE_PTR);
	expect_negative(
		"1.0.0.241.in-addr.arpa", 16, LDNS_RCODE_NOERROR, "1.0.0.241.in-addr.arpa.");
}

static void addresses_rotate(void **state)
{
	(void)state;
	struct message m;
	message_query(&m, "many.mesh", TYPE_A);
	for (uint32_t rotation = 0; rotation < 6; rotation++) {
		char first[64];
		char second[64];
		(void)snprintf(
			first, sizeof(first), "many.mesh.\t30\tIN\tA\t241.1.0.%u", rotation % 3);
		(void)snprintf(second, sizeof(second), "many.mesh.\t30\tIN\tA\t241.1.0.%u",
			(rotation + 1) % 3);
		struct authority from = usual();
		from.rotation = rotation;
		struct outcome *o = outcome_of(&m, &from, 0);
		assert_int_equal(ldns_pkt_ancount(o->packet), 3);
		assert_record(ldns_pkt_answer(o->packet), 0, first);
		assert_record(ldns_pkt_answer(o->packet), 1, second);
		outcome_end(o);
	}
}

static void answer_over_the_requestors_size_has_tc_and_tcp_has_all(void **state)
{
	(void)state;
	struct message m;
	message_query(&m, "crowd.mesh", TYPE_A);
	const struct authority authority = usual();
	struct outcome *o = outcome_of(&m, &authority, 0);
	assert_true(ldns_pkt_tc(o->packet));
	assert_true(ldns_pkt_size(o->packet) <= 512);
	outcome_end(o);
	o = outcome_of(&m, &authority, 65535);
	assert_false(ldns_pkt_tc(o->packet));
	assert_int_equal(ldns_pkt_ancount(o->packet), 100);
	outcome_end(o);
	message_opt(&m, (struct opt){.size = 4096});
	o = outcome_of(&m, &authority, 0);
	assert_false(ldns_pkt_tc(o->packet));
	outcome_end(o);
}

static void before_the_first_table_mesh_names_are_not_ready(void **state)
{
	(void)state;
	struct authority none = usual();
	none.table = NULL;
	struct message m;
	message_query(&m, "redis.svc.mesh.local", TYPE_A);
	message_opt(&m, (struct opt){.size = 1232});
	struct outcome *o = outcome_of(&m, &none, 0);
	assert_int_equal(o->verdict, VERDICT_SEND);
	assert_int_equal(ldns_pkt_get_rcode(o->packet), LDNS_RCODE_SERVFAIL);
	assert_memory_equal(ldns_rdf_data(ldns_pkt_edns_data(o->packet)), "\0\17\0\2\0\16", 6);
	outcome_end(o);
	message_query(&m, "example.org", TYPE_A);
	assert_int_equal(outcome_of(&m, &none, 0)->verdict, VERDICT_FORWARD);
	message_query(&m, "1.0.0.241.in-addr.arpa", TYPE_PTR);
	assert_int_equal(outcome_of(&m, &none, 0)->verdict, VERDICT_FORWARD);
}

static void longest_mesh_zone_owns_the_soa(void **state)
{
	(void)state;
	struct mesh_zones nested = {.count = 2};
	nested.item[0] = name_of("local");
	nested.item[1] = name_of("mesh.local");
	struct authority from = usual();
	from.zones = &nested;
	struct outcome *o = asked_of(&from, "x.mesh.local", TYPE_A);
	assert_record(ldns_pkt_authority(o->packet), 0,
		"mesh.local.\t5\tIN\tSOA\tmesh.local. hostmaster.mesh.local. 7 3600 600 86400 5");
	outcome_end(o);
}

static enum verdict verdict_for(const struct authority *from, const char *name, uint16_t type)
{
	struct outcome *o = asked_of(from, name, type);
	enum verdict verdict = o->verdict;
	outcome_end(o);
	return verdict;
}

/* What is for the very server that was asked, where somebody knows which that is. */
static void transfers_and_other_opcodes_are_passed_on_where_they_can(void **state)
{
	(void)state;
	static const uint16_t types[] = {TYPE_AXFR, TYPE_IXFR};
	struct authority from = usual();
	struct message m;
	from.can_pass = true;
	for (size_t i = 0; i < 2; i++) {
		assert_int_equal(verdict_for(&from, "example.org", types[i]), VERDICT_PASS);
		assert_int_equal(verdict_for(&from, "mesh.local", types[i]), VERDICT_SEND);
		assert_int_equal(
			verdict_for(&from, "redis.svc.mesh.local", types[i]), VERDICT_SEND);
	}
	assert_int_equal(verdict_for(&from, "x.refused.example", TYPE_AXFR), VERDICT_SEND);
	assert_int_equal(verdict_for(&from, "x.denied.example", TYPE_IXFR), VERDICT_SEND);
	for (unsigned opcode = 1; opcode < 16; opcode++) {
		message_query(&m, "redis.svc.mesh.local", TYPE_SOA);
		m.octets[2] = (uint8_t)(opcode << 3);
		assert_int_equal(outcome_of(&m, &from, 0)->verdict, VERDICT_PASS);
	}
	assert_int_equal(verdict_for(&from, "www.example.org", TYPE_A), VERDICT_FORWARD);
}

static void transfers_are_refused(void **state)
{
	(void)state;
	static const uint16_t types[] = {TYPE_AXFR, TYPE_IXFR};
	for (size_t i = 0; i < 2; i++) {
		struct message m;
		message_query(&m, "example.org", types[i]);
		expect_rcode(&m, LDNS_RCODE_REFUSED);
	}
}

static void other_classes_of_mesh_names_are_refused(void **state)
{
	(void)state;
	struct message m;
	message_query(&m, "redis.svc.mesh.local", TYPE_A);
	octets_put_u16(m.octets + m.w.len - 2, CLASS_CH);
	expect_rcode(&m, LDNS_RCODE_REFUSED);
	message_query(&m, "version.bind", 16);
	octets_put_u16(m.octets + m.w.len - 2, CLASS_CH);
	const struct authority from = usual();
	assert_int_equal(outcome_of(&m, &from, 0)->verdict, VERDICT_FORWARD);
}

static enum verdict verdict_of(const char *octets, size_t len, uint16_t type, uint16_t class)
{
	const struct authority from = usual();
	struct message m;
	message_begin(&m, FLAG_RD);
	writer_octets(&m.w, octets, len);
	writer_u16(&m.w, type);
	writer_u16(&m.w, class);
	octets_put_u16(m.octets + 4, 1);
	struct outcome *o = outcome_of(&m, &from, 0);
	enum verdict verdict = o->verdict;
	outcome_end(o);
	return verdict;
}

static void names_that_ask_to_explain_are_told_apart(void **state)
{
	(void)state;
#define NAME(text) text, sizeof(text)
	static const struct {
		const char *octets;
		size_t len;
		bool explained;
	} asked_for[] = {
		{NAME("\7explain\1a\7example\10kuma-dns"), true},
		{NAME("\12EXPLAIN-mx\1a\10Kuma-DNS"), true},
		{NAME("\11explain-a\10kuma-dns"), true}, /* the root's */
		{NAME("\7explain\10kuma-dns"), true},
		{NAME("\7explain\1a\11kuma-dnss"), false},
		{NAME("\10explains\1a\10kuma-dns"), false},
		{NAME("\7explaim\1a\10kuma-dns"), false},
		{NAME("\1a\10kuma-dns"), false},
		{NAME("\10kuma-dns"), false},
		/* the zone's octets, but inside of a label */
		{NAME("\21explain-\10kuma-dns"), false},
		{NAME("\7explain\12a\10kuma-dns"), false},
	};
#undef NAME
	for (size_t i = 0; i < sizeof(asked_for) / sizeof(asked_for[0]); i++) {
		enum verdict verdict = asked_for[i].explained ? VERDICT_EXPLAIN : VERDICT_FORWARD;
		assert_int_equal(
			verdict_of(asked_for[i].octets, asked_for[i].len, TYPE_TXT, CLASS_CH),
			verdict);
		assert_int_equal(
			verdict_of(asked_for[i].octets, asked_for[i].len, TYPE_TXT, CLASS_IN),
			verdict);
		assert_int_equal(
			verdict_of(asked_for[i].octets, asked_for[i].len, TYPE_A, CLASS_IN),
			VERDICT_FORWARD);
	}
}

/* Whatever the configuration says of the zone that they are in. */
static void canaries_are_answered_here(void **state)
{
	(void)state;
	static const char name[] = "0123456789abcdef01234567.canary.kuma-dns.internal";
	struct mesh_zones internal = {.count = 1, .item = {name_of("internal")}};
	struct authority from = usual();
	struct outcome *o = asked(name, TYPE_TXT);
	assert_int_equal(o->verdict, VERDICT_CANARY);
	assert_int_equal(ldns_rr_list_rr_count(ldns_pkt_answer(o->packet)), 1);
	outcome_end(o);
	from.zones = &internal;
	from.table = NULL;
	o = asked_of(&from, name, TYPE_TXT);
	assert_int_equal(o->verdict, VERDICT_CANARY);
	outcome_end(o);
	o = asked(name, TYPE_A);
	assert_int_equal(o->verdict, VERDICT_FORWARD);
	outcome_end(o);
}

/* RFC 8906: every shape of query gets an answer, but for what can only be a loop. */
static void errors_are_answers(void **state)
{
	(void)state;
	const struct authority from = usual();
	struct message m;
	message_begin(&m, FLAG_RD);
	expect_rcode(&m, LDNS_RCODE_FORMERR);
	message_begin(&m, 4 << 11);
	expect_rcode(&m, LDNS_RCODE_NOTIMPL);
	message_query(&m, "redis.svc.mesh.local", TYPE_A);
	message_opt(&m, (struct opt){.size = 1232, .version = 1});
	struct outcome *o = outcome_of(&m, &from, 0);
	assert_int_equal(ldns_pkt_edns_extended_rcode(o->packet), 1);
	outcome_end(o);
	message_begin(&m, FLAG_QR);
	assert_int_equal(outcome_of(&m, &from, 0)->verdict, VERDICT_DROP);
}

/* Options. */

static const uint8_t *option_of(const struct outcome *o, uint16_t code, size_t *len)
{
	const ldns_rdf *rdata = ldns_pkt_edns_data(o->packet);
	const uint8_t *at = rdata ? ldns_rdf_data(rdata) : NULL;
	const uint8_t *end = rdata ? at + ldns_rdf_size(rdata) : NULL;
	while (at && at + 4 <= end) {
		*len = octets_u16(at + 2);
		if (octets_u16(at) == code) {
			return at + 4;
		}
		at += 4 + *len;
	}
	return NULL;
}

enum { OPTION_COOKIE = 10, OPTION_KEEPALIVE = 11, OPTION_EDE = 15 };

static void expect_ede(const struct outcome *o, int ede)
{
	size_t len = 0;
	const uint8_t *option = option_of(o, OPTION_EDE, &len);
	assert_non_null(option);
	assert_int_equal(octets_u16(option), ede);
}

/* A query with a client cookie, and for keepalive. */
static void hop_query(struct message *m, const char *name, uint16_t type)
{
	message_query(m, name, type);
	message_opt(
		m, (struct opt){
			   .size = 1232, .rdata = "\0\12\0\10abcdefgh\0\13\0\0", .rdata_len = 16});
}

static void expect_hop_options(const struct outcome *o)
{
	size_t len = 0;
	const uint8_t *cookie = option_of(o, OPTION_COOKIE, &len);
	assert_non_null(cookie);
	assert_int_equal(len, 24);
	assert_memory_equal(cookie, "abcdefgh", 8);
	const uint8_t *keepalive = option_of(o, OPTION_KEEPALIVE, &len);
	assert_non_null(keepalive);
	assert_int_equal(octets_u16(keepalive), 100);
}

/* RFC 7873 §5.2, RFC 7828 §3.3: whatever is answered. */
static void every_kind_of_response_has_our_options(void **state)
{
	(void)state;
	static const struct {
		const char *name;
		uint16_t type;
		int rcode;
	} kinds[] = {
		{"redis.svc.mesh.local", TYPE_A, LDNS_RCODE_NOERROR},
		{"redis.svc.mesh.local", TYPE_TXT, LDNS_RCODE_NOERROR},
		{"nothing.mesh", TYPE_A, LDNS_RCODE_NXDOMAIN},
		{"1.0.0.241.in-addr.arpa", TYPE_PTR, LDNS_RCODE_NOERROR},
		{"example.org", TYPE_AXFR, LDNS_RCODE_REFUSED},
		{"localhost", TYPE_A, LDNS_RCODE_NOERROR},
		{"a.invalid", TYPE_A, LDNS_RCODE_NXDOMAIN},
		{"x.refused.example", TYPE_A, LDNS_RCODE_REFUSED},
		{"x.denied.example", TYPE_A, LDNS_RCODE_NXDOMAIN},
	};
	struct authority from = usual();
	struct message m;
	struct outcome *o;
	from.hop.keepalive_ms = 10000;
	for (size_t i = 0; i < sizeof(kinds) / sizeof(kinds[0]); i++) {
		hop_query(&m, kinds[i].name, kinds[i].type);
		o = outcome_of(&m, &from, 65535);
		assert_int_equal(o->verdict, VERDICT_SEND);
		assert_int_equal(ldns_pkt_get_rcode(o->packet), kinds[i].rcode);
		expect_hop_options(o);
		outcome_end(o);
	}
	from.table = NULL;
	hop_query(&m, "redis.svc.mesh.local", TYPE_A);
	o = outcome_of(&m, &from, 65535);
	expect_ede(o, EDE_NOT_READY);
	expect_hop_options(o);
	outcome_end(o);
	octets_put_u16(m.octets + 2, 4 << 11); /* NOTIFY */
	o = outcome_of(&m, &from, 65535);
	assert_int_equal(ldns_pkt_get_rcode(o->packet), LDNS_RCODE_NOTIMPL);
	outcome_end(o);
	/* What goes on takes them with it. */
	hop_query(&m, "example.org", TYPE_A);
	o = outcome_of(&m, &from, 65535);
	assert_int_equal(o->verdict, VERDICT_FORWARD);
	assert_int_equal(o->answered.options.len, EDNS_COOKIE_LEN + EDNS_KEEPALIVE_LEN);
	/* Over UDP there is nothing to keep alive, and without OPT there are no options. */
	from = usual();
	hop_query(&m, "nothing.mesh", TYPE_A);
	o = outcome_of(&m, &from, 0);
	size_t len;
	assert_non_null(option_of(o, OPTION_COOKIE, &len));
	assert_null(option_of(o, OPTION_KEEPALIVE, &len));
	outcome_end(o);
	message_query(&m, "x.denied.example", TYPE_A);
	o = outcome_of(&m, &from, 0);
	assert_false(ldns_pkt_edns(o->packet));
	outcome_end(o);
}

static void malformed_options_are_formerr(void **state)
{
	(void)state;
	struct authority from = usual();
	struct message m;
	message_query(&m, "redis.svc.mesh.local", TYPE_A);
	message_opt(&m, (struct opt){.size = 1232, .rdata = "\0\12\0\1a", .rdata_len = 5});
	expect_rcode(&m, LDNS_RCODE_FORMERR);
	message_query(&m, "redis.svc.mesh.local", TYPE_A);
	message_opt(&m, (struct opt){.size = 1232, .rdata = "\0\13\0\1a", .rdata_len = 5});
	expect_rcode(&m, LDNS_RCODE_NOERROR);
	from.hop.keepalive_ms = 10000; /* over TCP it counts */
	struct outcome *o = outcome_of(&m, &from, 65535);
	assert_int_equal(ldns_pkt_get_rcode(o->packet), LDNS_RCODE_FORMERR);
	outcome_end(o);
}

/* Policy. */

static void policy_answers_for_its_zone(void **state)
{
	(void)state;
	struct outcome *o = asked("a.b.refused.example", TYPE_A);
	assert_int_equal(o->verdict, VERDICT_SEND);
	assert_int_equal(ldns_pkt_get_rcode(o->packet), LDNS_RCODE_REFUSED);
	expect_ede(o, EDE_BLOCKED);
	outcome_end(o);
	o = asked("a.b.denied.example", TYPE_HTTPS);
	assert_int_equal(ldns_pkt_get_rcode(o->packet), LDNS_RCODE_NXDOMAIN);
	expect_ede(o, EDE_BLOCKED);
	assert_record(ldns_pkt_authority(o->packet), 0,
		"denied.example.\t5\tIN\tSOA\tdenied.example. hostmaster.denied.example. 1 3600 "
		"600 86400 5");
	outcome_end(o);
	o = asked("denied.example", TYPE_A); /* the zone itself */
	assert_int_equal(ldns_pkt_get_rcode(o->packet), LDNS_RCODE_NXDOMAIN);
	outcome_end(o);
	/* A longer zone with servers is an exception; a name that only looks like it is not in it.
	 */
	expect_forward("x.open.refused.example", TYPE_A);
	expect_forward("xrefused.example", TYPE_A);
	expect_forward("example", TYPE_A);
	/* What the mesh has is the mesh's. */
	o = asked("db.refused.example", TYPE_A);
	assert_record(ldns_pkt_answer(o->packet), 0, "db.refused.example.\t30\tIN\tA\t242.0.0.8");
	outcome_end(o);
}

/* Special names. */

static void special_names_are_answered_here(void **state)
{
	(void)state;
	struct outcome *o = asked("a.localhost", TYPE_A);
	assert_record(ldns_pkt_answer(o->packet), 0, "a.localhost.\t86400\tIN\tA\t127.0.0.1");
	outcome_end(o);
	o = asked("localhost", TYPE_AAAA);
	assert_record(ldns_pkt_answer(o->packet), 0, "localhost.\t86400\tIN\tAAAA\t::1");
	outcome_end(o);
	o = asked("localhost", TYPE_ANY);
	assert_int_equal(ldns_pkt_ancount(o->packet), 2);
	outcome_end(o);
	o = asked("1.0.0.127.in-addr.arpa", TYPE_PTR);
	assert_record(ldns_pkt_answer(o->packet), 0,
		"1.0.0.127.in-addr.arpa.\t86400\tIN\tPTR\tlocalhost.");
	outcome_end(o);
	o = asked("x.onion", TYPE_A);
	assert_int_equal(ldns_pkt_get_rcode(o->packet), LDNS_RCODE_NXDOMAIN);
	outcome_end(o);
	o = asked("localhost", 15);
	assert_int_equal(ldns_pkt_get_rcode(o->packet), LDNS_RCODE_NOERROR);
	assert_int_equal(ldns_pkt_ancount(o->packet), 0);
	outcome_end(o);
	/* The usual configuration leaves private networks to the site. */
	expect_forward("1.0.0.10.in-addr.arpa", TYPE_PTR);
}

static void special_names_can_be_switched_off_and_have_servers(void **state)
{
	(void)state;
	struct authority from = usual();
	from.special_groups = 0;
	assert_int_equal(asked_of(&from, "x.onion", TYPE_A)->verdict, VERDICT_FORWARD);
	expect_forward("a.test", TYPE_A); /* has an upstream */
	struct outcome *o = asked("a.invalid", TYPE_A);
	assert_int_equal(o->verdict, VERDICT_SEND);
	outcome_end(o);
	/* Only in class IN. */
	struct message m;
	message_query(&m, "localhost", TYPE_A);
	octets_put_u16(m.octets + m.w.len - 2, CLASS_CH);
	from = usual();
	assert_int_equal(outcome_of(&m, &from, 0)->verdict, VERDICT_FORWARD);
}

/* Loops. */

static void a_probe_of_ours_that_comes_back_is_caught(void **state)
{
	(void)state;
	struct dname name;
	char text[DNAME_TEXT_SIZE];
	routes_probe_name(routes, 0, 7, &name);
	(void)dname_to_text(dname_span(&name), text);
	assert_false(routes_is_loop(routes, 0, NOW_MS));
	expect_forward(text, TYPE_AAAA);
	struct outcome *o = asked(text, TYPE_A);
	assert_int_equal(o->verdict, VERDICT_SEND);
	assert_int_equal(ldns_pkt_get_rcode(o->packet), LDNS_RCODE_NXDOMAIN);
	assert_int_equal(ldns_pkt_nscount(o->packet), 0); /* not to be remembered by anybody */
	outcome_end(o);
	assert_true(routes_is_loop(routes, 0, NOW_MS));
	/* Somebody else's goes on. */
	expect_forward("0123456789abcdef.loop.kuma-dns.internal", TYPE_A);
}

/* The cache. */

enum { CACHED_TTL = 100 };

static void put(struct cache *cache, const struct message *question, const char *octets, size_t len,
	uint16_t flags)
{
	struct query q;
	struct asker asker;
	struct relayed r;
	struct message m = *question;
	assert_int_equal(query_parse(&q, message_span(question)), 0);
	asker_init(&asker, &q, 4096, NULL);
	struct cache_key key = cache_key_query(&q, (struct span){0});
	m.w.data = m.octets;
	octets_put_u16(m.octets + 2, (uint16_t)(FLAG_QR | FLAG_RD | FLAG_RA | flags));
	octets_put_u16(m.octets + 6, len > 0);
	writer_octets(&m.w, octets, len);
	assert_int_equal(relayed_read(&r, message_span(&m), &asker), 0);
	assert_true(cache_put(cache, &key, &r, NOW_MS));
}

static struct cache *new_cache(void)
{
	const struct cache_settings settings = {.size = CACHE_SIZE_MIN,
		.seed = 1,
		.ttl_max = CACHE_TTL_MAX,
		.negative_ttl_max = CACHE_NEGATIVE_TTL_MAX,
		.stale_max = CACHE_STALE_MAX,
		.nxdomain_covers = true};
	struct cache *cache = cache_new(&settings);
	assert_non_null(cache);
	return cache;
}

static void what_the_cache_has_is_sent(void **state)
{
	(void)state;
	static const char record[] = "\xc0\x0c\0\1\0\1\0\0\0\x64\0\4\xc0\0\2\7";
	struct authority from = usual();
	struct message m;
	from.cache = new_cache();
	from.prefetch = true;
	assert_int_equal(asked_of(&from, "www.example.org", TYPE_A)->verdict, VERDICT_FORWARD);
	message_query(&m, "www.example.org", TYPE_A);
	put(from.cache, &m, record, sizeof(record) - 1, 0);
	from.now_ms = NOW_MS + 10000;
	from.hop.keepalive_ms = 10000;
	hop_query(&m, "WWW.example.org", TYPE_A);
	struct outcome *o = outcome_of(&m, &from, 65535);
	assert_int_equal(o->verdict, VERDICT_SEND);
	assert_int_equal(o->answered.source, SOURCE_CACHE);
	assert_record(ldns_pkt_answer(o->packet), 0, "WWW.example.org.\t90\tIN\tA\t192.0.2.7");
	expect_hop_options(o);
	outcome_end(o);
	/* Asked for often, and about to end: once it is to be refreshed, if that is wanted. */
	for (unsigned i = 0; i < 5; i++) {
		outcome_end(asked_of(&from, "www.example.org", TYPE_A));
	}
	from.now_ms = NOW_MS + 95000;
	from.prefetch = false;
	o = asked_of(&from, "www.example.org", TYPE_A);
	assert_int_equal(o->verdict, VERDICT_SEND);
	outcome_end(o);
	from.now_ms += 1000;
	from.prefetch = true;
	o = asked_of(&from, "www.example.org", TYPE_A);
	assert_int_equal(o->verdict, VERDICT_REFRESH);
	assert_int_equal(ldns_pkt_ancount(o->packet), 1);
	outcome_end(o);
	from.now_ms = NOW_MS + CACHED_TTL * 1000;
	assert_int_equal(asked_of(&from, "www.example.org", TYPE_A)->verdict, VERDICT_FORWARD);
	cache_free(from.cache);
}

static void what_failed_moments_ago_fails_again(void **state)
{
	(void)state;
	struct authority from = usual();
	struct message m;
	struct query q;
	from.cache = new_cache();
	message_query(&m, "www.example.org", TYPE_A);
	assert_int_equal(query_parse(&q, message_span(&m)), 0);
	struct cache_key key = cache_key_query(&q, (struct span){0});
	cache_put_failure(from.cache, &key, RCODE_SERVFAIL, EDE_NO_REACHABLE_AUTHORITY, NOW_MS,
		NOW_MS + 1000);
	hop_query(&m, "www.example.org", TYPE_A);
	from.hop.keepalive_ms = 10000;
	struct outcome *o = outcome_of(&m, &from, 65535);
	assert_int_equal(o->verdict, VERDICT_SEND);
	assert_int_equal(o->answered.source, SOURCE_CACHE);
	assert_int_equal(ldns_pkt_get_rcode(o->packet), LDNS_RCODE_SERVFAIL);
	expect_ede(o, EDE_NO_REACHABLE_AUTHORITY);
	expect_hop_options(o);
	outcome_end(o);
	from.now_ms += 1000;
	assert_int_equal(asked_of(&from, "www.example.org", TYPE_A)->verdict, VERDICT_FORWARD);
	cache_put_failure(
		from.cache, &key, RCODE_REFUSED, EDE_CACHED_ERROR, from.now_ms, from.now_ms + 1000);
	o = asked_of(&from, "www.example.org", TYPE_A);
	assert_int_equal(ldns_pkt_get_rcode(o->packet), LDNS_RCODE_REFUSED);
	outcome_end(o);
	cache_free(from.cache);
}

/* A server that is none of ours was asked: only what is ours in any case is answered. */
static void what_is_for_another_server_is_passed_on(void **state)
{
	(void)state;
	static const char record[] = "\xc0\x0c\0\1\0\1\0\0\0\x64\0\4\xc0\0\2\7";
	static const char *const ours[] = {"redis.svc.mesh.local", "nothing.mesh", "localhost",
		"db.example.com", "x.refused.example", "x.denied.example", "x.onion"};
	struct authority from = usual();
	struct message m;
	from.cache = new_cache();
	message_query(&m, "www.example.org", TYPE_A);
	put(from.cache, &m, record, sizeof(record) - 1, 0);
	from.can_pass = true;
	assert_int_equal(verdict_for(&from, "www.example.org", TYPE_A), VERDICT_SEND);
	from.elsewhere = true;
	assert_int_equal(verdict_for(&from, "www.example.org", TYPE_A), VERDICT_PASS);
	assert_int_equal(verdict_for(&from, "www.example.org", 15), VERDICT_PASS);
	for (size_t i = 0; i < sizeof(ours) / sizeof(ours[0]); i++) {
		assert_int_equal(verdict_for(&from, ours[i], TYPE_A), VERDICT_SEND);
	}
	message_query(&m, "version.bind", TYPE_TXT);
	octets_put_u16(m.octets + m.w.len - 2, CLASS_CH);
	assert_int_equal(outcome_of(&m, &from, 0)->verdict, VERDICT_PASS);
	from.can_pass = false;
	assert_int_equal(verdict_for(&from, "www.example.org", TYPE_A), VERDICT_SEND);
	cache_free(from.cache);
}

/* A name of the table, of policy, or a special one is never the cache's. */
static void what_is_ours_does_not_come_from_the_cache(void **state)
{
	(void)state;
	static const char record[] = "\xc0\x0c\0\1\0\1\0\0\0\x64\0\4\xc0\0\2\7";
	static const char *const names[] = {"redis.svc.mesh.local", "db.example.com",
		"x.refused.example", "x.denied.example", "localhost", "nothing.mesh"};
	struct authority from = usual();
	from.cache = new_cache();
	for (size_t i = 0; i < sizeof(names) / sizeof(names[0]); i++) {
		struct message m;
		message_query(&m, names[i], TYPE_A);
		put(from.cache, &m, record, sizeof(record) - 1, 0);
		struct outcome *o = outcome_of(&m, &from, 0);
		assert_int_equal(o->answered.source, SOURCE_LOCAL);
		assert_int_equal(o->verdict, VERDICT_SEND);
		outcome_end(o);
	}
	cache_free(from.cache);
}

/* The counter that outcome_of trusts does count the archive's allocations. */
static void allocations_are_seen(void **state)
{
	(void)state;
	unsigned before = allocations;
	table_builder_free(table_builder_new(1, 1 << 20));
	assert_true(allocations > before);
}

static void add(struct table_builder *b, const char *name, const char *const *texts, size_t count)
{
	struct address addresses[128];
	struct dname owner = name_of(name);
	for (size_t i = 0; i < count; i++) {
		bool six = strchr(texts[i], ':') != NULL;
		addresses[i].len = six ? 16 : 4;
		assert_int_equal(
			inet_pton(six ? AF_INET6 : AF_INET, texts[i], addresses[i].octets), 1);
	}
	assert_int_equal(table_builder_add(b, &owner, addresses, count), 0);
}

static void add_zone(const char *text, enum route_answer answer)
{
	struct dname zone = name_of(text);
	struct route *route = routes_add(routes, &zone);
	assert_non_null(route);
	route->configured = true;
	route->answer = answer;
}

static int set_up(void **state)
{
	(void)state;
	struct table_builder *b = table_builder_new(42, 1 << 20);
	assert_non_null(b);
	add(b, "redis.svc.mesh.local", (const char *[]){"241.0.0.1", "::ffff:f100:1"}, 2);
	add(b, "v4only.mesh", (const char *[]){"241.0.0.3"}, 1);
	add(b, "empty.mesh", NULL, 0);
	add(b, "db.example.com", (const char *[]){"242.0.0.9"}, 1);
	add(b, "db.refused.example", (const char *[]){"242.0.0.8"}, 1);
	add(b, "*.wild.mesh", (const char *[]){"241.0.0.7"}, 1);
	add(b, "many.mesh", (const char *[]){"241.1.0.0", "241.1.0.1", "241.1.0.2"}, 3);
	for (int i = 0; i < 100; i++) {
		char text[32];
		(void)snprintf(text, sizeof(text), "241.2.0.%d", i);
		add(b, "crowd.mesh", (const char *[]){text}, 1);
	}
	table = table_builder_finish(b, 30);
	assert_non_null(table);
	table_set_generation(table, 7);
	zones.count = 2;
	zones.item[0] = name_of("mesh");
	zones.item[1] = name_of("mesh.local");
	routes = routes_new();
	assert_non_null(routes);
	struct endpoint server;
	assert_int_equal(endpoint_parse(&server, "192.0.2.53", 53), 0);
	assert_int_equal(routes_add_server(routes, &routes->route[0], &server, false, 0x1234), 0);
	add_zone("refused.example", ROUTE_REFUSE);
	add_zone("denied.example", ROUTE_NXDOMAIN);
	add_zone("open.refused.example", ROUTE_FORWARD);
	add_zone("test", ROUTE_FORWARD);
	return 0;
}

static int tear_down(void **state)
{
	(void)state;
	table_unref(table);
	routes_unref(routes);
	return 0;
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(table_name_gives_its_addresses),
		cmocka_unit_test(name_without_the_family_is_nodata),
		cmocka_unit_test(other_types_of_a_mesh_name_are_nodata),
		cmocka_unit_test(other_types_of_a_shadowed_name_are_forwarded),
		cmocka_unit_test(unknown_name_in_a_mesh_zone_is_nxdomain),
		cmocka_unit_test(name_above_others_is_nodata),
		cmocka_unit_test(names_outside_are_forwarded),
		cmocka_unit_test(wildcard_answers_for_the_name_asked),
		cmocka_unit_test(reverse_name_of_a_table_address_gives_its_names),
		cmocka_unit_test(addresses_rotate),
		cmocka_unit_test(answer_over_the_requestors_size_has_tc_and_tcp_has_all),
		cmocka_unit_test(before_the_first_table_mesh_names_are_not_ready),
		cmocka_unit_test(longest_mesh_zone_owns_the_soa),
		cmocka_unit_test(transfers_are_refused),
		cmocka_unit_test(transfers_and_other_opcodes_are_passed_on_where_they_can),
		cmocka_unit_test(what_is_for_another_server_is_passed_on),
		cmocka_unit_test(other_classes_of_mesh_names_are_refused),
		cmocka_unit_test(names_that_ask_to_explain_are_told_apart),
		cmocka_unit_test(canaries_are_answered_here),
		cmocka_unit_test(errors_are_answers),
		cmocka_unit_test(every_kind_of_response_has_our_options),
		cmocka_unit_test(malformed_options_are_formerr),
		cmocka_unit_test(policy_answers_for_its_zone),
		cmocka_unit_test(special_names_are_answered_here),
		cmocka_unit_test(special_names_can_be_switched_off_and_have_servers),
		cmocka_unit_test(a_probe_of_ours_that_comes_back_is_caught),
		cmocka_unit_test(what_the_cache_has_is_sent),
		cmocka_unit_test(what_failed_moments_ago_fails_again),
		cmocka_unit_test(what_is_ours_does_not_come_from_the_cache),
		cmocka_unit_test(allocations_are_seen),
	};
	return cmocka_run_group_tests_name("answer", tests, set_up, tear_down);
}
