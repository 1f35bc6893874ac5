/* SPDX-License-Identifier: Apache-2.0 */
#include "tests/message.h"

#include "dns/wire/dname.h"

#include <errno.h>

#define READER(octets) reader_over((struct span){(const uint8_t *)(octets), sizeof(octets) - 1})

static void expect_text(const struct dname *name, const char *expected)
{
	char text[DNAME_TEXT_SIZE];
	size_t len = dname_to_text(dname_span(name), text);
	assert_string_equal(text, expected);
	assert_int_equal(len, strlen(expected));
}

static void plain_name_is_read_and_folded(void **state)
{
	(void)state;
	struct dname name;
	struct reader r = READER("\3WeB\4MESH\0rest");
	assert_int_equal(dname_read(&name, &r), 0);
	assert_int_equal(name.len, 10);
	assert_int_equal(r.at, 10);
	expect_text(&name, "web.mesh");
}

static void only_ascii_letters_are_folded(void **state)
{
	(void)state;
	struct dname name;
	struct reader r = READER("\4@Z[\xc4\0");
	assert_int_equal(dname_read(&name, &r), 0);
	assert_memory_equal(name.octets, "\4@z[\xc4", 5);
}

static void pointer_is_followed_and_the_cursor_stands_behind_it(void **state)
{
	(void)state;
	struct dname name;
	struct reader r = READER("\4mesh\0\3web\xc0\0rest");
	r.at = 6;
	assert_int_equal(dname_read(&name, &r), 0);
	expect_text(&name, "web.mesh");
	assert_int_equal(r.at, 12);
}

/* RFC 1035 §4.1.4 and RFC 9267 §2: what hostile names look like. */
static void malformed_names_are_refused(void **state)
{
	(void)state;
	static const struct {
		const char *what;
		const char *octets;
		size_t len;
		size_t at;
	} vectors[] = {
		{"empty input", "", 0, 0},
		{"no root label", "\3web", 4, 0},
		{"label beyond the end", "\11web", 4, 0},
		{"pointer to itself", "\xc0\0", 2, 0},
		{"pointer forwards", "\xc0\2\0", 3, 0},
		{"pointer to the start of its own name", "\0\1a\xc0\1", 5, 1},
		{"pointer loop of two", "\xc0\2\xc0\0", 4, 2},
		{"half a pointer", "\0\xc0", 2, 1},
		{"label type 0x40", "\x41z\0", 3, 0},
		{"label type 0x80", "\x81z\0", 3, 0},
	};
	for (size_t i = 0; i < sizeof(vectors) / sizeof(vectors[0]); i++) {
		struct dname name;
		struct reader r = reader_over(
			(struct span){(const uint8_t *)vectors[i].octets, vectors[i].len});
		r.at = vectors[i].at;
		if (dname_read(&name, &r) != -EBADMSG) {
			fail_msg("accepted: %s", vectors[i].what);
		}
	}
}

static void name_of_255_octets_is_the_longest(void **state)
{
	(void)state;
	uint8_t octets[260] = {0};
	for (size_t label = 0; label < 4; label++) {
		size_t len = label < 3 ? 63 : 61;
		octets[label * 64] = (uint8_t)len;
		memset(octets + label * 64 + 1, 'a', len);
	}
	struct dname name;
	struct reader r = reader_over((struct span){octets, 255});
	assert_int_equal(dname_read(&name, &r), 0);
	assert_int_equal(name.len, 255);

	octets[192] = 62;
	memset(octets + 193, 'a', 62);
	r = reader_over((struct span){octets, sizeof(octets)});
	assert_int_equal(dname_read(&name, &r), -EBADMSG);
}

/* Thousands of pointers that lead to each other cost as many steps for each record that uses them:
 * no more than a name has labels are followed. */
static void long_chain_of_pointers_is_refused(void **state)
{
	(void)state;
	uint8_t octets[1 + 128 * 2] = {0};
	struct dname name;
	for (size_t at = 1; at < sizeof(octets); at += 2) {
		octets_put_u16(octets + at, (uint16_t)(0xc000 | (at == 1 ? 0 : at - 2)));
	}
	struct reader r = reader_over((struct span){octets, sizeof(octets)});
	r.at = 1 + 126 * 2;
	assert_int_equal(dname_read(&name, &r), 0);
	assert_int_equal(r.at, 1 + 127 * 2);
	assert_int_equal(dname_read(&name, &r), -EBADMSG);
}

static void skip_stops_behind_name_or_pointer(void **state)
{
	(void)state;
	struct reader r = READER("\3web\0rest");
	assert_int_equal(dname_skip(&r), 0);
	assert_int_equal(r.at, 5);
	r = READER("\3web\xc0\0rest");
	assert_int_equal(dname_skip(&r), 0);
	assert_int_equal(r.at, 6);
	r = READER("\3we");
	assert_int_equal(dname_skip(&r), -EBADMSG);
	r = READER("\x80");
	assert_int_equal(dname_skip(&r), -EBADMSG);
}

static void text_becomes_a_name(void **state)
{
	(void)state;
	static const char *const pairs[][2] = {
		{"Redis.SVC.mesh.local", "redis.svc.mesh.local"},
		{"web.mesh.", "web.mesh"},
		{".", "."},
		{"web_demo_svc_80.mesh", "web_demo_svc_80.mesh"},
		{"a\\.b.mesh", "a\\.b.mesh"},
		{"\\065b.mesh", "ab.mesh"},
		{"\\000.mesh", "\\000.mesh"},
		{"*.web.mesh", "*.web.mesh"},
	};
	for (size_t i = 0; i < sizeof(pairs) / sizeof(pairs[0]); i++) {
		struct dname name;
		assert_int_equal(dname_from_text(&name, pairs[i][0], strlen(pairs[i][0])), 0);
		expect_text(&name, pairs[i][1]);
	}
}

static void text_that_is_no_name_is_refused(void **state)
{
	(void)state;
	static const char *const texts[] = {
		"",
		"..",
		".web",
		"web..mesh",
		"web\\",
		"web\\1",
		"web\\25x",
		"web\\256.mesh",
		"a123456789b123456789c123456789d123456789e123456789f123456789g123.mesh",
	};
	for (size_t i = 0; i < sizeof(texts) / sizeof(texts[0]); i++) {
		struct dname name;
		if (dname_from_text(&name, texts[i], strlen(texts[i])) != -EINVAL) {
			fail_msg("accepted: \"%s\"", texts[i]);
		}
	}
}

static void text_is_read_no_further_than_its_length(void **state)
{
	(void)state;
	struct dname name;
	assert_int_equal(dname_from_text(&name, "web.mesh.local", 8), 0);
	expect_text(&name, "web.mesh");
}

static void zone_holds_itself_and_what_is_below(void **state)
{
	(void)state;
	static const struct {
		const char *name;
		const char *zone;
		bool under;
	} vectors[] = {
		{"mesh", "mesh", true},
		{"web.mesh", "mesh", true},
		{"a.b.web.mesh", "mesh", true},
		{"webmesh", "mesh", false},
		{"mesh.local", "mesh", false},
		{"local", "mesh.local", false},
		{"web.mesh.local", "mesh.local", true},
		{"web.mesh", ".", true},
		/* the zone's octets stand at the end, but begin inside a label */
		{"a\\004mesh", "mesh", false},
	};
	for (size_t i = 0; i < sizeof(vectors) / sizeof(vectors[0]); i++) {
		struct dname name = name_of(vectors[i].name);
		struct dname zone = name_of(vectors[i].zone);
		if (dname_is_under(&name, &zone) != vectors[i].under) {
			fail_msg("%s under %s", vectors[i].name, vectors[i].zone);
		}
	}
}

/* Held against ldns_rdf_address_reverse. */
static void reverse_names_give_their_address(void **state)
{
	(void)state;
	static const char *const addresses[] = {
		"241.0.0.1", "0.0.0.0", "255.255.255.255", "::ffff:f100:1", "2001:db8::89ab:cdef"};
	for (size_t i = 0; i < sizeof(addresses) / sizeof(addresses[0]); i++) {
		bool six = strchr(addresses[i], ':') != NULL;
		ldns_rdf *rdf = ldns_rdf_new_frm_str(
			six ? LDNS_RDF_TYPE_AAAA : LDNS_RDF_TYPE_A, addresses[i]);
		ldns_rdf *reverse = ldns_rdf_address_reverse(rdf);
		char *text = ldns_rdf2str(reverse);
		struct dname name = name_of(text);
		struct address address = {0};
		assert_int_equal(dname_reverse_address(&name, &address), six ? 16 : 4);
		assert_int_equal(address.len, six ? 16 : 4);
		assert_memory_equal(address.octets, ldns_rdf_data(rdf), address.len);
		free(text);
		ldns_rdf_deep_free(reverse);
		ldns_rdf_deep_free(rdf);
	}
}

static void other_names_have_no_reverse_address(void **state)
{
	(void)state;
	static const char *const names[] = {
		".",
		"arpa",
		"in-addr.arpa",
		"1.in-addr.arpa",
		"0.0.241.in-addr.arpa",
		"1.0.0.0.241.in-addr.arpa",
		"256.0.0.241.in-addr.arpa",
		"01.0.0.241.in-addr.arpa",
		"x.0.0.241.in-addr.arpa",
		"1.0.0.241.in-addr.mesh",
		"1.0.0.ip6.arpa",
		"g.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.ip6.arpa",
	};
	for (size_t i = 0; i < sizeof(names) / sizeof(names[0]); i++) {
		struct dname name = name_of(names[i]);
		struct address address;
		if (dname_reverse_address(&name, &address) != 0) {
			fail_msg("has an address: %s", names[i]);
		}
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(plain_name_is_read_and_folded),
		cmocka_unit_test(only_ascii_letters_are_folded),
		cmocka_unit_test(pointer_is_followed_and_the_cursor_stands_behind_it),
		cmocka_unit_test(malformed_names_are_refused),
		cmocka_unit_test(name_of_255_octets_is_the_longest),
		cmocka_unit_test(long_chain_of_pointers_is_refused),
		cmocka_unit_test(skip_stops_behind_name_or_pointer),
		cmocka_unit_test(text_becomes_a_name),
		cmocka_unit_test(text_that_is_no_name_is_refused),
		cmocka_unit_test(text_is_read_no_further_than_its_length),
		cmocka_unit_test(zone_holds_itself_and_what_is_below),
		cmocka_unit_test(reverse_names_give_their_address),
		cmocka_unit_test(other_names_have_no_reverse_address),
	};
	return cmocka_run_group_tests_name("dname", tests, NULL, NULL);
}
