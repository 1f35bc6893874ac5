/* SPDX-License-Identifier: Apache-2.0
 *
 * Every rule of answering, read back with ldns; and that no answer allocates.
 */
#include "tests/message.h"

#include "dns/mesh/table.h"
#include "dns/serve/answer.h"
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

/* One asked question: what was decided, and the response as ldns reads it. */
struct outcome {
	enum verdict verdict;
	struct query q;
	uint8_t octets[4096];
	ldns_pkt *packet; /* with VERDICT_SEND */
};

static struct outcome *outcome_of(
	const struct message *m, const struct authority *authority, size_t limit)
{
	static struct outcome o;
	struct writer out = {.data = o.octets, .size = sizeof(o.octets)};
	unsigned before = allocations;
	o.verdict = answer(&o.q, message_span(m), authority, limit, &out);
	assert_int_equal(allocations, before);
	o.packet = NULL;
	if (o.verdict == VERDICT_SEND) {
		o.packet = packet_of((struct span){o.octets, out.len});
	} else {
		assert_int_equal(out.len, 0);
	}
	return &o;
}

static struct outcome *asked(const char *name, uint16_t type)
{
	struct message m;
	message_query(&m, name, type);
	message_opt(&m, (struct opt){.size = 1232});
	return outcome_of(&m, &(struct authority){table, &zones, 0}, 0);
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
	struct outcome *o = outcome_of(m, &(struct authority){table, &zones, 0}, 0);
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
		struct outcome *o = outcome_of(&m, &(struct authority){table, &zones, rotation}, 0);
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
	const struct authority authority = {table, &zones, 0};
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
	const struct authority none = {NULL, &zones, 0};
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
	struct message m;
	message_query(&m, "x.mesh.local", TYPE_A);
	struct outcome *o = outcome_of(&m, &(struct authority){table, &nested, 0}, 0);
	assert_record(ldns_pkt_authority(o->packet), 0,
		"mesh.local.\t5\tIN\tSOA\tmesh.local. hostmaster.mesh.local. 7 3600 600 86400 5");
	outcome_end(o);
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
	assert_int_equal(
		outcome_of(&m, &(struct authority){table, &zones, 0}, 0)->verdict, VERDICT_FORWARD);
}

/* RFC 8906: every shape of query gets an answer, but for what can only be a loop. */
static void errors_are_answers(void **state)
{
	(void)state;
	struct message m;
	message_begin(&m, FLAG_RD);
	expect_rcode(&m, LDNS_RCODE_FORMERR);
	message_begin(&m, 4 << 11);
	expect_rcode(&m, LDNS_RCODE_NOTIMPL);
	message_query(&m, "redis.svc.mesh.local", TYPE_A);
	message_opt(&m, (struct opt){.size = 1232, .version = 1});
	struct outcome *o = outcome_of(&m, &(struct authority){table, &zones, 0}, 0);
	assert_int_equal(ldns_pkt_edns_extended_rcode(o->packet), 1);
	outcome_end(o);
	message_begin(&m, FLAG_QR);
	assert_int_equal(
		outcome_of(&m, &(struct authority){table, &zones, 0}, 0)->verdict, VERDICT_DROP);
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

static int set_up(void **state)
{
	(void)state;
	struct table_builder *b = table_builder_new(42, 1 << 20);
	assert_non_null(b);
	add(b, "redis.svc.mesh.local", (const char *[]){"241.0.0.1", "::ffff:f100:1"}, 2);
	add(b, "v4only.mesh", (const char *[]){"241.0.0.3"}, 1);
	add(b, "empty.mesh", NULL, 0);
	add(b, "db.example.com", (const char *[]){"242.0.0.9"}, 1);
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
	return 0;
}

static int tear_down(void **state)
{
	(void)state;
	table_unref(table);
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
		cmocka_unit_test(other_classes_of_mesh_names_are_refused),
		cmocka_unit_test(errors_are_answers),
		cmocka_unit_test(allocations_are_seen),
	};
	return cmocka_run_group_tests_name("answer", tests, set_up, tear_down);
}
