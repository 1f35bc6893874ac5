/* SPDX-License-Identifier: Apache-2.0 */
#include "tests/message.h"

#include "dns/serve/special.h"

#define COUNT(array) (sizeof(array) / sizeof((array)[0]))
#define ZEROS_30     "0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0"

enum { TYPE_MX = 15, TYPE_DS = 43 };

static struct special find(const char *text, uint16_t qtype)
{
	struct dname name = name_of(text);
	return special_find(&name, qtype, SPECIAL_ALL);
}

static void assert_answer(const char *text, uint16_t qtype, enum special_answer answer)
{
	struct special s = find(text, qtype);
	if (s.answer != answer) {
		fail_msg("%s type %u: %d, not %d", text, qtype, (int)s.answer, (int)answer);
	}
}

/* RFC 6761 §6.3: addresses for the name and all below it; negative answers for other types */
static void localhost_is_the_loopback_address(void **state)
{
	(void)state;
	static const char *const names[] = {"localhost", "db.localhost", "a.b.c.localhost"};
	for (size_t i = 0; i < COUNT(names); i++) {
		assert_answer(names[i], TYPE_A, SPECIAL_LOOPBACK);
		assert_answer(names[i], TYPE_AAAA, SPECIAL_LOOPBACK);
		assert_answer(names[i], TYPE_ANY, SPECIAL_LOOPBACK);
		assert_answer(names[i], TYPE_MX, SPECIAL_NODATA);
		assert_answer(names[i], TYPE_HTTPS, SPECIAL_NODATA);
		assert_int_equal(find(names[i], TYPE_MX).owner_labels, i == 2 ? 3 : i);
	}
}

static void loopback_rdata_is_what_the_rfc_says(void **state)
{
	(void)state;
	static const uint8_t ipv6[16] = {[15] = 1};
	struct span a = special_rdata(TYPE_A);
	struct span aaaa = special_rdata(TYPE_AAAA);
	struct span ptr = special_rdata(TYPE_PTR);
	assert_int_equal(a.len, 4);
	assert_memory_equal(a.data, "\177\0\0\1", 4);
	assert_int_equal(aaaa.len, 16);
	assert_memory_equal(aaaa.data, ipv6, 16);
	struct dname localhost = name_of("localhost");
	assert_int_equal(ptr.len, localhost.len);
	assert_memory_equal(ptr.data, localhost.octets, localhost.len);
	assert_int_equal(special_rdata(TYPE_MX).len, 0);
}

static void top_level_names_of_nobody_do_not_exist(void **state)
{
	(void)state;
	static const struct {
		const char *name;
		enum special_group group;
		unsigned owner_labels;
	} vectors[] = {
		{"invalid", SPECIAL_INVALID, 0}, /* RFC 6761 §6.4 */
		{"a.b.invalid", SPECIAL_INVALID, 2},
		{"test", SPECIAL_TEST, 0}, /* RFC 6761 §6.2 */
		{"www.test", SPECIAL_TEST, 1},
		{"onion", SPECIAL_ONION, 0}, /* RFC 7686 §2 */
		{"duckduckgogg42xjoc72x3sjasowoarfbgcmvfimaftt6twagswzczad.onion", SPECIAL_ONION,
			1},
		{"alt", SPECIAL_ALT, 0}, /* RFC 9476 */
		{"name.gns.alt", SPECIAL_ALT, 2},
	};
	static const uint16_t types[] = {TYPE_A, TYPE_AAAA, TYPE_NS, TYPE_SOA, TYPE_DS, TYPE_ANY};
	for (size_t i = 0; i < COUNT(vectors); i++) {
		for (size_t t = 0; t < COUNT(types); t++) {
			struct special s = find(vectors[i].name, types[t]);
			if (s.answer != SPECIAL_NXDOMAIN || s.group != vectors[i].group ||
				s.owner_labels != vectors[i].owner_labels) {
				fail_msg("%s type %u", vectors[i].name, types[t]);
			}
		}
	}
}

/* RFC 6303 §4 and RFC 7793, each with the name of its zone. */
static const struct {
	const char *zone;
	enum special_group group;
} reverse_zones[] = {
	{"10.in-addr.arpa", SPECIAL_REVERSE_PRIVATE},
	{"16.172.in-addr.arpa", SPECIAL_REVERSE_PRIVATE},
	{"17.172.in-addr.arpa", SPECIAL_REVERSE_PRIVATE},
	{"18.172.in-addr.arpa", SPECIAL_REVERSE_PRIVATE},
	{"19.172.in-addr.arpa", SPECIAL_REVERSE_PRIVATE},
	{"20.172.in-addr.arpa", SPECIAL_REVERSE_PRIVATE},
	{"21.172.in-addr.arpa", SPECIAL_REVERSE_PRIVATE},
	{"22.172.in-addr.arpa", SPECIAL_REVERSE_PRIVATE},
	{"23.172.in-addr.arpa", SPECIAL_REVERSE_PRIVATE},
	{"24.172.in-addr.arpa", SPECIAL_REVERSE_PRIVATE},
	{"25.172.in-addr.arpa", SPECIAL_REVERSE_PRIVATE},
	{"26.172.in-addr.arpa", SPECIAL_REVERSE_PRIVATE},
	{"27.172.in-addr.arpa", SPECIAL_REVERSE_PRIVATE},
	{"28.172.in-addr.arpa", SPECIAL_REVERSE_PRIVATE},
	{"29.172.in-addr.arpa", SPECIAL_REVERSE_PRIVATE},
	{"30.172.in-addr.arpa", SPECIAL_REVERSE_PRIVATE},
	{"31.172.in-addr.arpa", SPECIAL_REVERSE_PRIVATE},
	{"168.192.in-addr.arpa", SPECIAL_REVERSE_PRIVATE},
	{"64.100.in-addr.arpa", SPECIAL_REVERSE_PRIVATE},
	{"100.100.in-addr.arpa", SPECIAL_REVERSE_PRIVATE},
	{"127.100.in-addr.arpa", SPECIAL_REVERSE_PRIVATE},
	{"d.f.ip6.arpa", SPECIAL_REVERSE_PRIVATE},
	{"0.in-addr.arpa", SPECIAL_REVERSE_NOBODY},
	{"127.in-addr.arpa", SPECIAL_REVERSE_NOBODY},
	{"254.169.in-addr.arpa", SPECIAL_REVERSE_NOBODY},
	{"2.0.192.in-addr.arpa", SPECIAL_REVERSE_NOBODY},
	{"100.51.198.in-addr.arpa", SPECIAL_REVERSE_NOBODY},
	{"113.0.203.in-addr.arpa", SPECIAL_REVERSE_NOBODY},
	{"255.255.255.255.in-addr.arpa", SPECIAL_REVERSE_NOBODY},
	{"0.0." ZEROS_30 ".ip6.arpa", SPECIAL_REVERSE_NOBODY},
	{"8.e.f.ip6.arpa", SPECIAL_REVERSE_NOBODY},
	{"9.e.f.ip6.arpa", SPECIAL_REVERSE_NOBODY},
	{"a.e.f.ip6.arpa", SPECIAL_REVERSE_NOBODY},
	{"b.e.f.ip6.arpa", SPECIAL_REVERSE_NOBODY},
	{"8.b.d.0.1.0.0.2.ip6.arpa", SPECIAL_REVERSE_NOBODY},
};

static void reverse_zones_are_empty(void **state)
{
	(void)state;
	for (size_t i = 0; i < COUNT(reverse_zones); i++) {
		char below[128];
		struct special s = find(reverse_zones[i].zone, TYPE_PTR);
		if (s.answer != SPECIAL_NODATA || s.group != reverse_zones[i].group ||
			s.owner_labels != 0) {
			fail_msg("%s", reverse_zones[i].zone);
		}
		assert_answer(reverse_zones[i].zone, TYPE_NS, SPECIAL_NODATA);
		assert_true(snprintf(below, sizeof(below), "7.x.%s", reverse_zones[i].zone) <
			    (int)sizeof(below));
		s = find(below, TYPE_PTR);
		if (s.answer != SPECIAL_NXDOMAIN || s.group != reverse_zones[i].group ||
			s.owner_labels != 2) {
			fail_msg("%s", below);
		}
	}
}

/* RFC 4035 §3.1.4.1: DS of the apex is the parent's, so the upstream's; below, there is none */
static void ds_of_a_reverse_zone_is_asked_upstream(void **state)
{
	(void)state;
	for (size_t i = 0; i < COUNT(reverse_zones); i++) {
		assert_answer(reverse_zones[i].zone, TYPE_DS, SPECIAL_NONE);
	}
	assert_answer("0.10.in-addr.arpa", TYPE_DS, SPECIAL_NXDOMAIN);
}

static void loopback_addresses_have_a_name(void **state)
{
	(void)state;
	static const char *const names[] = {"1.0.0.127.in-addr.arpa", "1.0." ZEROS_30 ".ip6.arpa"};
	for (size_t i = 0; i < COUNT(names); i++) {
		assert_answer(names[i], TYPE_PTR, SPECIAL_LOOPBACK_NAME);
		assert_answer(names[i], TYPE_ANY, SPECIAL_LOOPBACK_NAME);
		assert_answer(names[i], TYPE_TXT, SPECIAL_NODATA);
	}
	assert_int_equal(find(names[0], TYPE_PTR).owner_labels, 3);
	assert_answer("2.0.0.127.in-addr.arpa", TYPE_PTR, SPECIAL_NXDOMAIN);
	assert_answer("0.1.0.0.127.in-addr.arpa", TYPE_PTR, SPECIAL_NXDOMAIN);
	assert_answer("0.1.0." ZEROS_30 ".ip6.arpa", TYPE_PTR, SPECIAL_NXDOMAIN);
	/* nibbles under the other family's name */
	assert_answer("1.0." ZEROS_30 ".in-addr.arpa", TYPE_PTR, SPECIAL_NXDOMAIN);
	assert_answer("1.0.0.127.ip6.arpa", TYPE_PTR, SPECIAL_NONE);
}

/* RFC 8020: NXDOMAIN would cover 1.0.0.127.in-addr.arpa */
static void nothing_above_a_name_that_exists_is_nxdomain(void **state)
{
	(void)state;
	assert_answer("0.127.in-addr.arpa", TYPE_PTR, SPECIAL_NODATA);
	assert_answer("0.0.127.in-addr.arpa", TYPE_PTR, SPECIAL_NODATA);
	assert_answer("1.127.in-addr.arpa", TYPE_PTR, SPECIAL_NXDOMAIN);
	assert_answer("1.0.127.in-addr.arpa", TYPE_PTR, SPECIAL_NXDOMAIN);
}

/* RFC 8375 §4: as RFC 6303 has it, except DS of the apex */
static void home_arpa_stays_here_but_for_its_ds(void **state)
{
	(void)state;
	assert_answer("home.arpa", TYPE_NS, SPECIAL_NODATA);
	assert_answer("nas.home.arpa", TYPE_A, SPECIAL_NXDOMAIN);
	assert_answer("home.arpa", TYPE_DS, SPECIAL_NONE);
	assert_int_equal(find("x.nas.home.arpa", TYPE_A).owner_labels, 2);
	assert_int_equal(find("x.nas.home.arpa", TYPE_A).group, SPECIAL_HOME);
}

/* RFC 9462 §6.1 and §6.4 */
static void resolver_arpa_has_nothing_and_is_never_passed_on(void **state)
{
	(void)state;
	static const char *const names[] = {
		"resolver.arpa", "_dns.resolver.arpa", "x.resolver.arpa"};
	static const uint16_t types[] = {TYPE_SVCB, TYPE_A, TYPE_AAAA, TYPE_DS, TYPE_NS};
	for (size_t i = 0; i < COUNT(names); i++) {
		for (size_t t = 0; t < COUNT(types); t++) {
			assert_answer(names[i], types[t], SPECIAL_NODATA);
		}
		assert_int_equal(find(names[i], TYPE_SVCB).group, SPECIAL_RESOLVER);
	}
}

static void all_other_names_go_on(void **state)
{
	(void)state;
	static const char *const names[] = {
		".",
		"com",
		"www.example.com",
		"example",       /* RFC 6761 §6.5: as any other name */
		"printer.local", /* RFC 6762: not on this link */
		"api.svc.cluster.local",
		"ipv4only.arpa", /* RFC 8880 §7.1: upstream knows its DNS64 */
		"arpa",
		"in-addr.arpa",
		"ip6.arpa",
		"e164.arpa",
		"in-addr.arpa.example",
		"localhost.example.com",
		"notlocalhost",
		"localhosts",
		"xtest",
		"onion.com",
		"test.resolver.example",
		"myhome.arpa",
		"8.8.8.8.in-addr.arpa",
		"172.in-addr.arpa",
		"15.172.in-addr.arpa",
		"32.172.in-addr.arpa",
		"100.in-addr.arpa",
		"63.100.in-addr.arpa",
		"128.100.in-addr.arpa",
		"192.in-addr.arpa",
		"0.192.in-addr.arpa",
		"3.0.192.in-addr.arpa",
		"255.in-addr.arpa",
		"255.255.255.in-addr.arpa",
		"254.255.255.255.in-addr.arpa",
		"10.11.in-addr.arpa",
		"010.in-addr.arpa", /* no address is spelled so */
		"266.in-addr.arpa",
		"1a.in-addr.arpa",
		"10.x.in-addr.arpa",
		"f.ip6.arpa",
		"c.f.ip6.arpa", /* RFC 6303 §4.4 has fd00::/8 only */
		"e.f.ip6.arpa",
		"c.e.f.ip6.arpa",
		"0.ip6.arpa",
		ZEROS_30 ".ip6.arpa",
		"8.b.d.0.1.0.1.2.ip6.arpa",
		"df.ip6.arpa",
		"10.ip6.arpa",
		"d.f.in-addr.arpa",
	};
	for (size_t i = 0; i < COUNT(names); i++) {
		assert_answer(names[i], TYPE_A, SPECIAL_NONE);
		assert_answer(names[i], TYPE_PTR, SPECIAL_NONE);
	}
}

static void each_group_can_be_passed_on(void **state)
{
	(void)state;
	static const char *const names[] = {"localhost", "x.invalid", "x.test", "x.onion", "x.alt",
		"x.home.arpa", "_dns.resolver.arpa", "1.0.0.127.in-addr.arpa", "1.10.in-addr.arpa"};
	for (size_t i = 0; i < COUNT(names); i++) {
		struct dname name = name_of(names[i]);
		unsigned group = 1U << i;
		struct special s = special_find(&name, TYPE_A, group);
		assert_int_not_equal(s.answer, SPECIAL_NONE);
		assert_int_equal(s.group, group);
		s = special_find(&name, TYPE_A, SPECIAL_ALL & ~group);
		assert_int_equal(s.answer, SPECIAL_NONE);
	}
	assert_int_equal(SPECIAL_ALL, (1 << COUNT(names)) - 1);
}

static void longest_names_are_walked_to_their_end(void **state)
{
	(void)state;
	struct dname name = {.len = DNAME_MAX};
	/* 123 labels of one octet, and "localhost" or "4arpa" with what fits before it */
	for (size_t at = 0; at < 244; at += 2) {
		memcpy(name.octets + at, "\1x", 2);
	}
	memcpy(name.octets + 244, "\11localhost", 11);
	struct special s = special_find(&name, TYPE_A, SPECIAL_ALL);
	assert_int_equal(s.answer, SPECIAL_LOOPBACK);
	assert_int_equal(s.owner_labels, 122);
	memcpy(name.octets + 238, "\00210\7in-addr\4arpa", 17);
	s = special_find(&name, TYPE_A, SPECIAL_ALL);
	assert_int_equal(s.answer, SPECIAL_NXDOMAIN);
	assert_int_equal(s.owner_labels, 119);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(localhost_is_the_loopback_address),
		cmocka_unit_test(loopback_rdata_is_what_the_rfc_says),
		cmocka_unit_test(top_level_names_of_nobody_do_not_exist),
		cmocka_unit_test(reverse_zones_are_empty),
		cmocka_unit_test(ds_of_a_reverse_zone_is_asked_upstream),
		cmocka_unit_test(loopback_addresses_have_a_name),
		cmocka_unit_test(nothing_above_a_name_that_exists_is_nxdomain),
		cmocka_unit_test(home_arpa_stays_here_but_for_its_ds),
		cmocka_unit_test(resolver_arpa_has_nothing_and_is_never_passed_on),
		cmocka_unit_test(all_other_names_go_on),
		cmocka_unit_test(each_group_can_be_passed_on),
		cmocka_unit_test(longest_names_are_walked_to_their_end),
	};
	return cmocka_run_group_tests_name("special", tests, NULL, NULL);
}
