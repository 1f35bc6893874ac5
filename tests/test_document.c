/* SPDX-License-Identifier: Apache-2.0 */
#include "dns/mesh/document.h"

#include <arpa/inet.h>
#include <errno.h>
#include <jansson.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>

#include <cmocka.h>

#include "tests/ways.h"

enum { SEED = 7, LIMIT = 1 << 20 };

static struct document_report report;

static int read_octets(struct table **table, const char *text, size_t len)
{
	return document_read(
		table, (struct span){(const uint8_t *)text, len}, NULL, SEED, LIMIT, &report);
}

static struct table *accepted(const char *text)
{
	struct table *table = NULL;
	int rc = read_octets(&table, text, strlen(text));
	if (rc < 0) {
		fail_msg("%s: %s", text, report.error);
	}
	assert_string_equal(report.error, "");
	return table;
}

static void assert_has(const struct table *table, const char *text, const char *a, const char *aaaa)
{
	struct dname name;
	struct table_addresses found;
	assert_int_equal(dname_from_text(&name, text, strlen(text)), 0);
	assert_int_equal(table_lookup(table, &name, &found), TABLE_NAME);
	char buffer[INET6_ADDRSTRLEN] = "";
	if (found.a_count > 0) {
		inet_ntop(AF_INET, found.a, buffer, sizeof buffer);
	}
	assert_string_equal(buffer, a);
	buffer[0] = '\0';
	if (found.aaaa_count > 0) {
		inet_ntop(AF_INET6, found.aaaa, buffer, sizeof buffer);
	}
	assert_string_equal(buffer, aaaa);
}

static void kumas_own_document_is_read(void **state)
{
	(void)state;
	struct table *table = accepted(
		"{\"records\":[{\"name\":\"redis.svc.mesh.local\",\"ips\":[\"241.0.0.1\","
		"\"::ffff:f100:1\"]}],\n \"ttl\":30,\n \"extraLabels\":{\"mesh\":\"default\","
		"\"kuma_io_zone\":\"east\"}}\n");
	assert_int_equal(table_count(table), 1);
	assert_int_equal(table_ttl(table), 30);
	assert_has(table, "redis.svc.mesh.local", "241.0.0.1", "::ffff:241.0.0.1");
	size_t count;
	const struct table_label *labels = table_labels(table, &count);
	assert_int_equal(count, 2);
	assert_string_equal(labels[0].name, "mesh");
	assert_string_equal(labels[1].value, "east");
	table_unref(table);
}

/* Nearly all records are read by a short way; what is a little different is read all the same. */
static void what_is_nearly_plain_is_read_like_what_is_plain(void **state)
{
	static const struct {
		const char *record;
		const char *name; /* NULL: the record is skipped, or has no address */
		const char *a;
	} rows[] = {
		{"{\"name\":\"a\",\"ips\":[\"1.2.3.4\"]}", "a", "1.2.3.4"},
		{"{ \"name\":\"a\",\"ips\":[\"1.2.3.4\"]}", "a", "1.2.3.4"},
		{"{\"name\":\"A\\u0062\",\"ips\":[\"1.2.3.4\"]}", "ab", "1.2.3.4"},
		{"{\"name\":\"a\",\"ips\":[\"1.2\\u002e3.4\"]}", "a", "1.2.3.4"},
		{"{\"name\":\"a\",\"ips\":[\"1.2.3.4\"],\"more\":{\"name\":1}}", "a", "1.2.3.4"},
		{"{\"name\":\"a\",\"ips\":[\"1.2.3.4\" ]}", "a", "1.2.3.4"},
		{"{\"name\":\"a\",\"ips\":[\"1.2.3.4\", \"::1\"]}", "a", "1.2.3.4"},
		{"{\"name\":\"a\",\"ips\":[\"x\",\"1.2.3.4\"]}", "a", "1.2.3.4"},
		{"{\"name\":\"a\",\"ips\":[\"x\"]}", NULL, NULL},
		{"{\"name\":\"a..b\",\"ips\":[\"1.2.3.4\"]}", NULL, NULL},
		{"{\"ips\":[\"1.2.3.4\"],\"name\":\"a\"}", "a", "1.2.3.4"},
		{"{\"name\":\"b\",\"ips\":[\"9.9.9.9\"],\"name\":\"a\",\"ips\":[\"1.2.3.4\"]}", "a",
			"1.2.3.4"},
	};
	char text[512];
	(void)state;
	for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++) {
		snprintf(text, sizeof text, "{\"records\":[%s,{\"name\":\"z\",\"ips\":[\"::9\"]}]}",
			rows[i].record);
		struct table *table = accepted(text);
		if (rows[i].name) {
			const char *six = strstr(rows[i].record, "::1") ? "::1" : "";
			assert_has(table, rows[i].name, rows[i].a, six);
		}
		assert_has(table, "z", "", "::9");
		assert_int_equal(table_count(table), rows[i].name ? 2 : 1);
		assert_int_equal(report.skipped_records, rows[i].name == NULL);
		table_unref(table);
	}
}

/* A record with a number in the place of its `%u`. */
static size_t record_write(char *out, size_t size, const char *record, unsigned number)
{
	const char *place = strstr(record, "%u");
	return (size_t)snprintf(
		out, size, "%.*s%u%s", (int)(place - record), record, number, place + 2);
}

/* jansson's tree of a record costs several times what the rest does: no record may need one that is
 * spelled as Kuma spells it, or any other writer of JSON; only the document around them does. */
static unsigned trees;

json_t *__real_json_loadb(const char *text, size_t len, size_t flags, json_error_t *error);
json_t *__wrap_json_loadb(const char *text, size_t len, size_t flags, json_error_t *error);

json_t *__wrap_json_loadb(const char *text, size_t len, size_t flags, json_error_t *error)
{
	trees++;
	return __real_json_loadb(text, len, flags, error);
}

static void usual_records_take_the_short_way(void **state)
{
	static const char *const records[] = {
		"{\"name\":\"a%u.svc.mesh.local\",\"ips\":[\"241.0.0.1\",\"::ffff:f100:1\"]}",
		"{\"name\": \"a%u.svc.mesh.local\", \"ips\": [\"241.0.0.1\", \"10.0.0.1\"]}",
		"{\n  \"ips\": [\n    \"fd00::1\"\n  ],\n  \"name\": \"a%u.mesh\"\n}",
		"{\"name\":\"Web_Demo_%u.mesh.\",\"ips\":null}",
		"{\"name\":\"*.a%u.mesh\",\"ips\":[]}",
		"{\"name\":\"a%u.\\u0061\\/b.mesh\",\"ips\":[\"\\u003a:1\"]}",
		"{\"kind\":\"x\",\"name\":\"a%u.mesh\",\"ips\":[],\"tags\":{\"n\":[1,true,null]}}",
	};
	enum { COUNT = 100 };
	static char text[32768];
	(void)state;
	for (size_t row = 0; row < sizeof records / sizeof records[0]; row++) {
		size_t len = (size_t)snprintf(text, sizeof text, "{\"records\":[");
		for (unsigned n = 0; n < COUNT; n++) {
			text[len] = ',';
			len += n > 0;
			len += record_write(text + len, sizeof text - len, records[row], n);
		}
		snprintf(text + len, sizeof text - len, "],\"ttl\":30}");
		trees = 0;
		struct table *table = accepted(text);
		assert_int_equal(table_count(table), COUNT);
		assert_int_equal(report.skipped_records, 0);
		assert_int_equal(trees, 3); /* two names of members, and the TTL */
		table_unref(table);
	}
}

/* Every few microseconds, whatever is done at the time: records are read, the index grows, names
 * are found by their addresses. */
static void reading_gives_way_all_the_time(void **state)
{
	enum { COUNT = 4096, RECORD = 64 };
	static char text[COUNT * RECORD];
	size_t len = (size_t)snprintf(text, sizeof text, "{\"records\":[");
	(void)state;
	for (unsigned i = 0; i < COUNT; i++) {
		len += (size_t)snprintf(text + len, sizeof text - len,
			"%s{\"name\":\"n%u.mesh\",\"ips\":[\"241.0.%u.%u\"]}", i ? "," : "", i,
			i / 256, i % 256);
	}
	snprintf(text + len, sizeof text - len, "]}");
	ways = 0;
	struct table *table = accepted(text);
	unsigned of_reading = COUNT / 16;
	unsigned of_growing = (512 + 1024 + 2048 + 4096) / 1024;
	unsigned of_addresses = 2 * COUNT / 256;
	unsigned all = of_reading + of_growing + of_addresses;
	assert_in_range(ways, all, COUNT);
	table_unref(table);
	/* With a name that comes twice the table is built once more. */
	snprintf(text + len, sizeof text - len, ",{\"name\":\"n0.mesh\",\"ips\":[\"::1\"]}]}");
	ways = 0;
	table = accepted(text);
	assert_int_equal(table_count(table), COUNT);
	assert_in_range(ways, all + of_growing + COUNT / 256, COUNT);
	table_unref(table);
}

/* More addresses than the short way takes, and as many. */
static void long_lists_of_addresses_are_whole(void **state)
{
	static const unsigned counts[] = {1, 63, 64, 65, 1000};
	static char text[32768];
	(void)state;
	for (size_t i = 0; i < sizeof counts / sizeof counts[0]; i++) {
		struct dname name = {.len = 3, .octets = {1, 'a'}};
		struct table_addresses found;
		int len = snprintf(text, sizeof text, "{\"records\":[{\"name\":\"a\",\"ips\":[");
		for (unsigned n = 0; n < counts[i]; n++) {
			len += snprintf(text + len, sizeof text - (size_t)len, "%s\"10.0.%u.%u\"",
				n ? "," : "", n / 256, n % 256);
		}
		snprintf(text + len, sizeof text - (size_t)len, "]}]}");
		struct table *table = accepted(text);
		assert_int_equal(table_lookup(table, &name, &found), TABLE_NAME);
		assert_int_equal(found.a_count, counts[i]);
		table_unref(table);
	}
}

static void a_colon_decides_for_aaaa(void **state)
{
	(void)state;
	struct table *table =
		accepted("{\"records\":[{\"name\":\"a\",\"ips\":[\"::ffff:241.0.0.1\"]},"
			 "{\"name\":\"b\",\"ips\":[\"241.0.0.2\"]}]}");
	assert_has(table, "a", "", "::ffff:241.0.0.1");
	assert_has(table, "b", "241.0.0.2", "");
	table_unref(table);
}

static void null_is_an_empty_list(void **state)
{
	(void)state;
	struct table *table = accepted("{\"records\":null,\"extraLabels\":null}");
	assert_int_equal(table_count(table), 0);
	table_unref(table);
	table = accepted("{ \"records\" : [ {\"ips\":null,\"name\":\"a.mesh.\"} ] }");
	assert_has(table, "A.mesh", "", "");
	assert_int_equal(report.skipped_records, 0);
	table_unref(table);
	table = accepted("{\"records\":[]}");
	assert_int_equal(table_count(table), 0);
	table_unref(table);
}

static void the_ttl_has_a_default_and_a_ceiling(void **state)
{
	(void)state;
	static const struct {
		const char *text;
		uint32_t ttl;
	} rows[] = {
		{"{\"records\":[]}", 30},
		{"{\"records\":[],\"ttl\":0}", 0},
		{"{\"ttl\":7,\"records\":[]}", 7},
		{"{\"records\":[],\"ttl\":2147483647}", 0x7fffffff},
		{"{\"records\":[],\"ttl\":2147483648}", 0x7fffffff}, /* RFC 2181 §8 */
		{"{\"records\":[],\"ttl\":9223372036854775807}", 0x7fffffff},
	};
	for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
		struct table *table = accepted(rows[i].text);
		assert_int_equal(table_ttl(table), rows[i].ttl);
		table_unref(table);
	}
}

static void unknown_members_are_ignored(void **state)
{
	(void)state;
	struct table *table =
		accepted("{\"version\":[1,{\"records\":3}],\"records\":[{\"name\":\"a\","
			 "\"ips\":[\"10.0.0.1\"],\"kind\":{\"x\":null}}],\"z\":1.5}");
	assert_has(table, "a", "10.0.0.1", "");
	table_unref(table);
}

static void what_cannot_be_used_is_skipped_counted_and_named(void **state)
{
	(void)state;
	struct table *table = accepted(
		"{\"records\":["
		"{\"name\":\"good.mesh\",\"ips\":[\"10.0.0.1\",\"10.0.0\",\"fe80::1%eth0\"]},"
		"{\"name\":\"a..mesh\",\"ips\":[\"10.0.0.1\"]},"
		"{\"name\":\"hopeless.mesh\",\"ips\":[\"10.0.0.256\",\"\"]},"
		"{\"name\":\"\",\"ips\":[]},"
		"{\"name\":\"xxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxx."
		"mesh\","
		"\"ips\":[\"10.0.0.1\"]}]}");
	assert_int_equal(table_count(table), 1);
	assert_has(table, "good.mesh", "10.0.0.1", "");
	assert_int_equal(table_skipped(table), 4);
	assert_int_equal(report.skipped_records, 4);
	assert_int_equal(report.skipped_addresses, 4);
	assert_non_null(strstr(report.skipped_text, "10.0.0 of good.mesh (not an address)"));
	assert_non_null(strstr(report.skipped_text, "a..mesh (not a domain name)"));
	table_unref(table);
}

static void labels_that_prometheus_refuses_are_left_out(void **state)
{
	(void)state;
	struct table *table =
		accepted("{\"records\":[],\"extraLabels\":{\"ok_1\":\"a\\nb\","
			 "\"1st\":\"x\",\"a-b\":\"x\",\"\":\"x\",\"__name__\":\"x\"}}");
	size_t count;
	const struct table_label *labels = table_labels(table, &count);
	assert_int_equal(count, 1);
	assert_string_equal(labels[0].name, "ok_1");
	assert_string_equal(labels[0].value, "a\nb");
	assert_int_equal(report.skipped_labels, 4);
	table_unref(table);
}

static void names_given_twice_are_united(void **state)
{
	(void)state;
	struct table *table =
		accepted("{\"records\":[{\"name\":\"Web.mesh\",\"ips\":[\"10.0.0.1\"]},"
			 "{\"name\":\"web.mesh.\",\"ips\":[\"fd00::1\"]}]}");
	assert_int_equal(table_count(table), 1);
	assert_has(table, "web.mesh", "10.0.0.1", "fd00::1");
	table_unref(table);
}

static void bad_documents_are_refused_with_a_sentence(void **state)
{
	(void)state;
	static const struct {
		const char *text;
		const char *sentence;
	} rows[] = {
		{"", "not JSON at line 1, column 1: '{' expected, found the end"},
		{"[]", "not JSON at line 1, column 1: '{' expected"},
		{"{\"records\":[]", "'}' expected, found the end"},
		{"{\"records\":[]}x", "not JSON at line 1, column 15: the end expected"},
		{"{\"records\":[{\"name\":\"a\",\"ips\":[\"241.0", "not JSON at line 1"},
		{"{\"records\":[\n\n  {\"name\" 3}]}", "not JSON at line 3, column"},
		{"{\"records\":[{\"name\":\"a\",\"ips\":[]} {}]}", "']' expected"},
		{"{\"records\":[],}", "not JSON at line 1"},
		{"{\"records\":[{\"name\":\"a\",\"ips\":[]},]}", "not JSON at line 1"},
		{"{records:[]}", "not JSON at line 1"},
		{"{3:[]}", "a member's name expected"},
		{"{\"records\" []}", "':' expected"},
		{"{\"ttl\":30}", "records: expected a list of objects, found nothing"},
		{"{\"records\":{}}", "records: expected a list of objects, found an object"},
		{"{\"records\":[7]}", "records[0]: expected an object, found a whole number"},
		{"{\"records\":[{\"ips\":[]}]}", "records[0].name: expected a text, found nothing"},
		{"{\"records\":[{\"name\":true,\"ips\":[]}]}",
			"records[0].name: expected a text, found true or false"},
		{"{\"records\":[{\"name\":\"a\",\"ips\":[]},{\"name\":\"b\"}]}",
			"records[1].ips: expected a list of texts, found nothing"},
		{"{\"records\":[{\"name\":\"a\",\"ips\":\"10.0.0.1\"}]}",
			"records[0].ips: expected a list of texts, found a text"},
		{"{\"records\":[{\"name\":\"a\",\"ips\":[\"10.0.0.1\",null]}]}",
			"records[0].ips[1]: expected a text, found null"},
		{"{\"records\":[],\"ttl\":-1}", "ttl: expected 0 or more seconds, found -1"},
		{"{\"records\":[],\"ttl\":30.5}", "ttl: expected whole seconds, found a fraction"},
		{"{\"records\":[],\"ttl\":\"30\"}", "ttl: expected whole seconds, found a text"},
		{"{\"records\":[],\"ttl\":null}", "ttl: expected whole seconds, found null"},
		{"{\"records\":[],\"extraLabels\":[]}",
			"extraLabels: expected an object of texts, found a list"},
		{"{\"records\":[],\"extraLabels\":{\"a\":1}}",
			"extraLabels.a: expected a text, found a whole number"},
		{"{\"records\":[],\"records\":[]}", "records: given twice"},
		{"{\"records\":[{\"name\":\"a\\u0000b\",\"ips\":[]}]}", "not JSON at line 1"},
		{"{\"records\":[{\"name\":\"\xff\",\"ips\":[]}]}", "not JSON at line 1"},
	};
	for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
		struct table *table;
		int rc = read_octets(&table, rows[i].text, strlen(rows[i].text));
		if (rc != -EBADMSG || !strstr(report.error, rows[i].sentence)) {
			fail_msg("%s: %d, %s", rows[i].text, rc, report.error);
		}
	}
}

static void nul_octets_are_refused(void **state)
{
	(void)state;
	struct table *table;
	static const char outside[] = "{\"records\":\0[]}";
	static const char inside[] = "{\"records\":[{\"name\":\"a\0b\",\"ips\":[]}]}";
	assert_int_equal(read_octets(&table, outside, sizeof outside - 1), -EBADMSG);
	assert_int_equal(read_octets(&table, inside, sizeof inside - 1), -EBADMSG);
}

static void every_prefix_of_a_document_is_refused(void **state)
{
	(void)state;
	static const char whole[] = "{\"records\":[{\"name\":\"a.b\",\"ips\":[\"10.0.0.1\"]}],"
				    "\"ttl\":30,\"extraLabels\":{\"mesh\":\"m\"}}";
	for (size_t len = 0; len < sizeof whole - 1; len++) {
		/* an exact copy, so that reading beyond it is seen */
		char *part = malloc(len + 1);
		memcpy(part, whole, len);
		part = realloc(part, len > 0 ? len : 1);
		struct table *table;
		assert_int_equal(read_octets(&table, part, len), -EBADMSG);
		free(part);
	}
	table_unref(accepted(whole));
}

/* A document of `count` times `item` between `before` and `after`. */
static int read_repeated(const char *before, const char *item, size_t count, const char *after)
{
	size_t len = strlen(item);
	size_t size = strlen(before) + count * len + strlen(after);
	char *text = malloc(size);
	memcpy(text, before, strlen(before));
	size_t at = strlen(before);
	for (size_t i = 0; i < count; i++, at += len) {
		memcpy(text + at, item, len);
	}
	memcpy(text + at, after, strlen(after));
	struct table *table = NULL;
	int rc = read_octets(&table, text, size);
	if (rc == 0) {
		table_unref(table);
	}
	free(text);
	return rc;
}

static void memory_is_limited_for_one_value_as_well(void **state)
{
	(void)state;
	assert_int_equal(read_repeated("{\"x\":[0", ",0", 200000, "],\"records\":[]}"), -E2BIG);
	assert_non_null(strstr(report.error, "more memory than is allowed"));
	assert_int_equal(read_repeated("{\"records\":[{\"name\":\"a\",\"ips\":[\"\"", ",\"\"",
				 200000, "]}]}"),
		-E2BIG);
	/* deeper than any document is */
	assert_int_equal(read_repeated("{\"x\":", "[", 100000, ""), -EBADMSG);
	/* many small records take no more than one, and their table is small: one name */
	assert_int_equal(read_repeated("{\"records\":[{\"name\":\"a\",\"ips\":[]}",
				 ",{\"name\":\"a\",\"ips\":[]}", 50000, "]}"),
		0);
}

static void a_table_beyond_the_limit_is_refused(void **state)
{
	(void)state;
	size_t size = 4000000;
	char *text = malloc(size);
	size_t len = (size_t)snprintf(text, size, "{\"records\":[");
	for (int i = 0; i < 50000; i++) {
		len += (size_t)snprintf(text + len, size - len,
			"%s{\"name\":\"n%d.mesh\",\"ips\":[\"10.0.0.1\"]}", i ? "," : "", i);
	}
	len += (size_t)snprintf(text + len, size - len, "]}");
	struct table *table;
	assert_int_equal(read_octets(&table, text, len), -E2BIG);
	free(text);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(kumas_own_document_is_read),
		cmocka_unit_test(what_is_nearly_plain_is_read_like_what_is_plain),
		cmocka_unit_test(usual_records_take_the_short_way),
		cmocka_unit_test(reading_gives_way_all_the_time),
		cmocka_unit_test(long_lists_of_addresses_are_whole),
		cmocka_unit_test(a_colon_decides_for_aaaa),
		cmocka_unit_test(null_is_an_empty_list),
		cmocka_unit_test(the_ttl_has_a_default_and_a_ceiling),
		cmocka_unit_test(unknown_members_are_ignored),
		cmocka_unit_test(what_cannot_be_used_is_skipped_counted_and_named),
		cmocka_unit_test(labels_that_prometheus_refuses_are_left_out),
		cmocka_unit_test(names_given_twice_are_united),
		cmocka_unit_test(bad_documents_are_refused_with_a_sentence),
		cmocka_unit_test(nul_octets_are_refused),
		cmocka_unit_test(every_prefix_of_a_document_is_refused),
		cmocka_unit_test(memory_is_limited_for_one_value_as_well),
		cmocka_unit_test(a_table_beyond_the_limit_is_refused),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
