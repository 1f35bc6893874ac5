/* SPDX-License-Identifier: Apache-2.0 */
#include "dns/mesh/plain.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

static struct plain_record record;

/* Octets read, or 0 where it is not plain. Reading ends where the text does, whatever is behind it.
 */
static size_t read_text(const char *text)
{
	struct reader r = reader_over((struct span){(const uint8_t *)text, strlen(text)});
	bool plain = plain_record_read(&r, &record);
	assert_true(plain || r.at == 0);
	return r.at;
}

static void assert_plain(const char *text, const char *name, size_t count)
{
	struct dname expected;
	size_t used = read_text(text);
	if (used == 0) {
		fail_msg("not plain: %s", text);
	}
	assert_int_equal(text[used - 1], '}');
	assert_int_equal(dname_from_text(&expected, name, strlen(name)), 0);
	assert_int_equal(record.owner.len, expected.len);
	assert_memory_equal(record.owner.octets, expected.octets, expected.len);
	assert_int_equal(record.count, count);
}

static void records_are_read_in_all_their_usual_forms(void **state)
{
	static const struct {
		const char *text;
		const char *name;
		size_t count;
	} rows[] = {
		{"{\"name\":\"a.b\",\"ips\":[\"1.2.3.4\"]}", "a.b", 1},
		{"{\"name\":\"a.b\",\"ips\":[\"1.2.3.4\",\"::1\",\"::ffff:f100:1\"]},{", "a.b", 3},
		{" \t\r\n{ \"name\" :\n\"a\" , \"ips\" : [ \"::1\" , \"::2\" ] }", "a", 2},
		{"{\"ips\":[\"::1\"],\"name\":\"Web_Demo.mesh.\"}", "web_demo.mesh", 1},
		{"{\"name\":\"a\",\"ips\":null}", "a", 0},
		{"{\"name\":\"a\",\"ips\":[]}", "a", 0},
		{"{\"\\u006eame\":\"a\\u002Eb\\\\.c\\/\",\"ips\":[\"\\u003a:1\"]}", "a.b\\.c/", 1},
		{"{\"x\":\"y\",\"name\":\"a\",\"\":0,\"ips\":[],\"z\":[-12,true,false,null,{}]}",
			"a", 0},
		{"{\"name\":\"a\",\"ips\":[],\"x\":{\"name\":[[],{\"ips\":123456789012345}]}}", "a",
			0},
	};
	(void)state;
	for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++) {
		assert_plain(rows[i].text, rows[i].name, rows[i].count);
	}
}

/* Some of these are good, others are not; all are left to jansson. */
static void what_is_not_surely_plain_is_left_alone(void **state)
{
	static const char *const rows[] = {
		"",
		"{",
		"{}",
		"[]",
		"{\"name\":\"a\"}",
		"{\"ips\":[]}",
		"{\"name\":\"a\",\"ips\":[]",
		"{\"name\":\"a\",\"ips\":[],}",
		"{\"name\":\"a\",\"ips\":[}",
		"{\"name\":\"a\",\"ips\":[\"1.2.3.4\",]}",
		"{\"name\":\"a\" \"ips\":[]}",
		"{\"name\":\"a\",\"name\":\"b\",\"ips\":[]}",
		"{\"name\":\"a\",\"ips\":[],\"ips\":[]}",
		"{\"name\":null,\"ips\":[]}",
		"{\"name\":\"\",\"ips\":[]}",
		"{\"name\":\"a..b\",\"ips\":[]}",
		"{\"name\":\"a\",\"ips\":\"1.2.3.4\"}",
		"{\"name\":\"a\",\"ips\":[1]}",
		"{\"name\":\"a\",\"ips\":[\"1.2.3\"]}",
		"{\"name\":\"a\",\"ips\":[\"0000:0000:0000:0000:0000:0000:255.255.255.2555\"]}",
		"{\"name\":\"\xc3\xa4\",\"ips\":[]}",
		"{\"name\":\"a\\u0000\",\"ips\":[]}",
		"{\"name\":\"a\\u00e4\",\"ips\":[]}",
		"{\"name\":\"a\\n\",\"ips\":[]}",
		"{\"name\":\"a\\x\",\"ips\":[]}",
		"{\"name\":\"a\\u00g0\",\"ips\":[]}",
		"{\"name\":\"a\\u002",
		"{\"name\":\"a\\",
		"{\"name\":\"a\n\",\"ips\":[]}",
		"{\"name\":\"a\x7f\",\"ips\":[]}",
		"{\"name\":\"a\",\"ips\":nul}",
		"{\"name\":\"a\",\"ips\":[],\"x\":01}",
		"{\"name\":\"a\",\"ips\":[],\"x\":-}",
		"{\"name\":\"a\",\"ips\":[],\"x\":1.5}",
		"{\"name\":\"a\",\"ips\":[],\"x\":1e5}",
		"{\"name\":\"a\",\"ips\":[],\"x\":1234567890123456}",
		"{\"name\":\"a\",\"ips\":[],\"x\":truefalse}",
		"{\"name\":\"a\",\"ips\":[],\"x\":nope}",
		"{\"name\":\"a\",\"ips\":[],\"x\":[1,]}",
		"{\"name\":\"a\",\"ips\":[],\"x\":{1:2}}",
		"{\"name\":\"a\",\"ips\":[],\"x\":[[[[[[[[[[[[]]]]]]]]]]]]}",
		"{\"name\":\"a\",\"ips\":[],\"x\"}",
		"{\"name\":\"a\",\"ips\":[],\"x\":- 1}",
	};
	(void)state;
	for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++) {
		if (read_text(rows[i]) != 0) {
			fail_msg("plain: %s", rows[i]);
		}
	}
}

/* Escapes have a buffer; what needs none may be longer, as long as it makes a name. */
static void long_texts_are_read_or_left_alone(void **state)
{
	static const char *const escapes[] = {"", "\\u0061"};
	static const struct {
		size_t len; /* of another member's value */
		bool escaped, plain;
	} rows[] = {{255, true, true}, {256, true, false}, {300, true, false}, {4000, false, true}};
	char text[8192], value[4001];
	(void)state;
	for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++) {
		memset(value, 'x', rows[i].len);
		value[rows[i].len] = '\0';
		for (int behind = 0; behind < 2; behind++) {
			const char *escape = escapes[rows[i].escaped];
			snprintf(text, sizeof text, "{\"x\":\"%s%s%s\",\"name\":\"a\",\"ips\":[]}",
				behind ? "" : escape, value, behind ? escape : "");
			assert_int_equal(read_text(text) > 0, rows[i].plain);
		}
	}
}

static void only_so_many_addresses_are_plain(void **state)
{
	char text[2048];
	(void)state;
	for (size_t count = PLAIN_ADDRESSES; count <= PLAIN_ADDRESSES + 1; count++) {
		int len = snprintf(text, sizeof text, "{\"name\":\"a\",\"ips\":[");
		for (size_t i = 0; i < count; i++) {
			len += snprintf(text + len, sizeof text - (size_t)len, "%s\"10.0.0.%zu\"",
				i > 0 ? "," : "", i);
		}
		snprintf(text + len, sizeof text - (size_t)len, "]}");
		assert_int_equal(read_text(text) > 0, count == PLAIN_ADDRESSES);
	}
}

static void no_prefix_is_plain(void **state)
{
	static const char whole[] =
		" {\"x\":{\"y\":[1,\"\\u0061\"]},\"name\":\"a\",\"ips\":[\"::1\"]}";
	char *text = malloc(sizeof whole);
	(void)state;
	assert_non_null(text);
	for (size_t len = 0; len < sizeof whole - 1; len++) {
		/* At the end of its memory, so that a sanitizer sees what is read behind it. */
		uint8_t *end = (uint8_t *)text + sizeof whole - len;
		memcpy(end, whole, len);
		struct reader r = reader_over((struct span){end, len});
		assert_false(plain_record_read(&r, &record));
	}
	free(text);
	assert_plain(whole, "a", 1);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(records_are_read_in_all_their_usual_forms),
		cmocka_unit_test(what_is_not_surely_plain_is_left_alone),
		cmocka_unit_test(long_texts_are_read_or_left_alone),
		cmocka_unit_test(only_so_many_addresses_are_plain),
		cmocka_unit_test(no_prefix_is_plain),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
