/* SPDX-License-Identifier: Apache-2.0
 *
 * Mnemonics of RR types, held against ldns, which has its own table.
 */
#include "dns/wire/rrtype.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>
#include <ldns/ldns.h>

#define COUNT(array) (sizeof(array) / sizeof(array)[0])

/* As IANA has them (DNS Parameters, Resource Record TYPEs). */
static const struct {
	const char *text;
	uint16_t type;
} known[] = {
	{"A", 1},
	{"NS", 2},
	{"CNAME", 5},
	{"SOA", 6},
	{"PTR", 12},
	{"HINFO", 13},
	{"MX", 15},
	{"TXT", 16},
	{"AAAA", 28},
	{"LOC", 29},
	{"SRV", 33},
	{"NAPTR", 35},
	{"CERT", 37},
	{"DNAME", 39},
	{"DS", 43},
	{"SSHFP", 44},
	{"RRSIG", 46},
	{"NSEC", 47},
	{"DNSKEY", 48},
	{"NSEC3", 50},
	{"NSEC3PARAM", 51},
	{"TLSA", 52},
	{"CDS", 59},
	{"CDNSKEY", 60},
	{"OPENPGPKEY", 61},
	{"SVCB", 64},
	{"HTTPS", 65},
	{"SPF", 99},
	{"AXFR", 252},
	{"ANY", 255},
	{"URI", 256},
	{"CAA", 257},
};

static bool from_text(uint16_t *type, const char *text)
{
	return rrtype_from_text(type, text, strlen(text));
}

static void common_types_have_their_mnemonic_both_ways(void **state)
{
	(void)state;
	for (size_t i = 0; i < COUNT(known); i++) {
		char text[RRTYPE_TEXT_SIZE];
		uint16_t type = 0;
		assert_ptr_equal(rrtype_to_text(known[i].type, text), text);
		assert_string_equal(text, known[i].text);
		assert_true(from_text(&type, known[i].text));
		assert_int_equal(type, known[i].type);
	}
}

static void every_type_reads_back_into_the_same(void **state)
{
	(void)state;
	for (unsigned i = 0; i <= UINT16_MAX; i++) {
		char text[RRTYPE_TEXT_SIZE];
		uint16_t type = (uint16_t)~i;
		assert_true(from_text(&type, rrtype_to_text((uint16_t)i, text)));
		assert_int_equal(type, i);
	}
}

static void every_text_is_what_ldns_reads(void **state)
{
	(void)state;
	for (unsigned i = 0; i <= UINT16_MAX; i++) {
		char text[RRTYPE_TEXT_SIZE];
		(void)rrtype_to_text((uint16_t)i, text);
		assert_int_equal(ldns_get_rr_type_by_name(text), i);
	}
}

/* Where we have a mnemonic, ldns writes the same; the numbers stand for the others. */
static void no_mnemonic_differs_from_that_of_ldns(void **state)
{
	(void)state;
	size_t mnemonics = 0;
	for (unsigned i = 0; i <= UINT16_MAX; i++) {
		char text[RRTYPE_TEXT_SIZE];
		if (strncmp(rrtype_to_text((uint16_t)i, text), "TYPE", 4) == 0) {
			assert_int_equal(strtoul(text + 4, NULL, 10), i);
			continue;
		}
		char *theirs = ldns_rr_type2str((ldns_rr_type)i);
		assert_string_equal(text, theirs);
		free(theirs);
		mnemonics++;
	}
	assert_int_equal(mnemonics, COUNT(known));
}

static void case_does_not_matter(void **state)
{
	(void)state;
	static const struct {
		const char *text;
		uint16_t type;
	} vectors[] = {{"a", 1}, {"aaaa", 28}, {"AaAa", 28}, {"nsec3param", 51}, {"nSeC3pArAm", 51},
		{"type257", 257}, {"Type64", 64}, {"tYPE0", 0}};
	for (size_t i = 0; i < COUNT(vectors); i++) {
		uint16_t type = 0xffff;
		assert_true(from_text(&type, vectors[i].text));
		assert_int_equal(type, vectors[i].type);
	}
}

/* RFC 3597 §5: the word TYPE immediately followed by the decimal RR type number, of any type. */
static void any_type_is_written_as_a_number(void **state)
{
	(void)state;
	static const struct {
		const char *text;
		uint16_t type;
	} vectors[] = {{"TYPE0", 0}, {"TYPE1", 1}, {"TYPE28", 28}, {"TYPE123", 123},
		{"TYPE00028", 28}, {"TYPE9999", 9999}, {"TYPE65535", 65535}};
	for (size_t i = 0; i < COUNT(vectors); i++) {
		uint16_t type = 0xeeee;
		assert_true(from_text(&type, vectors[i].text));
		assert_int_equal(type, vectors[i].type);
	}
	char text[RRTYPE_TEXT_SIZE];
	assert_string_equal(rrtype_to_text(0, text), "TYPE0");
	assert_string_equal(rrtype_to_text(123, text), "TYPE123");
	assert_string_equal(rrtype_to_text(65535, text), "TYPE65535");
}

static void anything_else_is_refused(void **state)
{
	(void)state;
	static const char *const bad[] = {"", " ", "A ", " A", "AA", "AAA", "AAAAA", "B", "NSEC3P",
		"NSEC3PARAMS", "NSEC3PARA", "TYP", "TYPE", "type", "TYPE1x", "TYPEx", "TYPE-1",
		"TYPE+1", "TYPE 1", "TYPE1 ", "TYPE1.0", "TYPE0x1", "TYPE65536", "TYPE99999",
		"TYPE100000", "TYPE000001", "TYPE4294967297", "TYPE18446744073709551617", "TYPF1",
		"1", "255", "*", "CLASS1", "\xc1", "A\xff", "AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA",
		"TYPE111111111111111111111111111111111111111111111111111111111"};
	for (size_t i = 0; i < COUNT(bad); i++) {
		uint16_t type = 0xeeee;
		if (from_text(&type, bad[i])) {
			fail_msg("\"%s\" is accepted", bad[i]);
		}
		assert_int_equal(type, 0xeeee); /* untouched */
	}
}

static void a_nul_is_no_end(void **state)
{
	(void)state;
	static const char nul[] = "A\0\0\0";
	static const char number[] = "TYPE1\0";
	uint16_t type;
	assert_true(rrtype_from_text(&type, nul, 1));
	for (size_t len = 2; len <= sizeof(nul); len++) {
		assert_false(rrtype_from_text(&type, nul, len));
	}
	assert_false(rrtype_from_text(&type, nul + 1, 1));
	assert_true(rrtype_from_text(&type, number, 5));
	assert_false(rrtype_from_text(&type, number, 6));
}

/* Texts as labels have them: nothing behind them may be read. */
static void nothing_behind_the_text_is_read(void **state)
{
	(void)state;
	uint16_t type;
	assert_true(rrtype_from_text(&type, "AAAA", 1));
	assert_int_equal(type, 1);
	assert_true(rrtype_from_text(&type, "NSEC3PARAM", 4));
	assert_int_equal(type, 47);
	assert_true(rrtype_from_text(&type, "TYPE1234", 6));
	assert_int_equal(type, 12);
	for (size_t i = 0; i < COUNT(known); i++) {
		for (size_t len = 1; len <= strlen(known[i].text); len++) {
			char *text = malloc(len); /* its end is AddressSanitizer's */
			assert_non_null(text);
			memcpy(text, known[i].text, len);
			bool whole = known[i].text[len] == '\0';
			assert_true(rrtype_from_text(&type, text, len) || !whole);
			free(text);
		}
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(common_types_have_their_mnemonic_both_ways),
		cmocka_unit_test(every_type_reads_back_into_the_same),
		cmocka_unit_test(every_text_is_what_ldns_reads),
		cmocka_unit_test(no_mnemonic_differs_from_that_of_ldns),
		cmocka_unit_test(case_does_not_matter),
		cmocka_unit_test(any_type_is_written_as_a_number),
		cmocka_unit_test(anything_else_is_refused),
		cmocka_unit_test(a_nul_is_no_end),
		cmocka_unit_test(nothing_behind_the_text_is_read),
	};
	return cmocka_run_group_tests_name("rrtype", tests, NULL, NULL);
}
