/* SPDX-License-Identifier: Apache-2.0
 *
 * A table that was made of a document is whole: each of its names is found, with the addresses that
 * the walk gives, and each address leads back to the name unless that is a wildcard. Read again
 * with that table at hand, it gives the same one.
 */
#include "tests/same_table.h"

#include <stdlib.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void require(bool condition)
{
	if (!condition) {
		abort();
	}
}

/* The length of white space. */
static size_t space(const uint8_t *text, size_t len)
{
	size_t at = 0;
	while (at < len && text[at] != 0 && strchr(" \t\r\n", text[at])) {
		at++;
	}
	return at;
}

/* The same document with the first member of each record given twice, so that jansson reads all of
 * them; of two the second one counts. */
static struct span doubled(struct span text)
{
	static const char *const first[] = {"\"name\"", "\"ips\""};
	enum { MORE = 10 };
	uint8_t *copy = malloc((MORE + 1) * text.len + 1);
	size_t len = 0;
	require(copy != NULL);
	for (size_t at = 0; at < text.len; at++) {
		copy[len++] = text.data[at];
		if (text.data[at] != '{') {
			continue;
		}
		size_t member = at + 1 + space(text.data + at + 1, text.len - at - 1);
		for (size_t i = 0; i < 2; i++) {
			size_t size = strlen(first[i]);
			if (text.len - member >= size &&
				memcmp(text.data + member, first[i], size) == 0) {
				memcpy(copy + len, first[i], size);
				memcpy(copy + len + size, ":\"\",", 4);
				len += size + 4;
			}
		}
	}
	return (struct span){copy, len};
}

/* What is plain is read here as jansson reads it. */
static void jansson_says_the_same(
	struct span text, const struct table *table, const struct document_report *report)
{
	struct table *other;
	struct document_report of_other;
	struct table_addresses addresses, same;
	struct table_cursor cursor = {0}, other_cursor = {0};
	struct span copy = doubled(text);
	require(document_read(&other, copy, NULL, text.len, 1 << 24, &of_other) == 0);
	require(table_count(other) == table_count(table) && table_ttl(other) == table_ttl(table));
	require(of_other.skipped_records == report->skipped_records);
	require(of_other.skipped_addresses == report->skipped_addresses);
	require(strcmp(of_other.skipped_text, report->skipped_text) == 0);
	for (struct span name = table_next(table, &cursor, &addresses); name.len > 0;
		name = table_next(table, &cursor, &addresses)) {
		struct span again = table_next(other, &other_cursor, &same);
		require(again.len == name.len && memcmp(again.data, name.data, name.len) == 0);
		require(same.a_count == addresses.a_count);
		require(same.aaaa_count == addresses.aaaa_count);
		require(memcmp(same.a, addresses.a, 4U * same.a_count) == 0);
		require(memcmp(same.aaaa, addresses.aaaa, 16U * same.aaaa_count) == 0);
	}
	table_unref(other);
	free((void *)(uintptr_t)copy.data);
}

static void again_it_is_the_same(
	struct span text, const struct table *table, const struct document_report *report)
{
	struct table *again;
	struct document_report of_again;
	require(document_read(&again, text, table, text.len, 1 << 24, &of_again) == 0);
	require(same_report(report, &of_again));
	require(table_differs(table, again) == NULL);
	table_unref(again);
}

static void address_leads_to(
	const struct table *table, const uint8_t *octets, uint8_t len, struct span name)
{
	struct address address = {.len = len};
	memcpy(address.octets, octets, len);
	uint32_t cursor = 0;
	struct span found;
	do {
		found = table_reverse(table, &address, &cursor);
		require(found.len > 0);
	} while (found.len != name.len || memcmp(found.data, name.data, name.len) != 0);
}

static void name_is_whole(
	const struct table *table, struct span name, const struct table_addresses *walked)
{
	struct dname owner = {.len = (uint8_t)name.len};
	memcpy(owner.octets, name.data, name.len);
	struct table_addresses found;
	require(table_lookup(table, &owner, &found) == TABLE_NAME);
	require(found.a == walked->a && found.a_count == walked->a_count);
	require(found.aaaa == walked->aaaa && found.aaaa_count == walked->aaaa_count);
	bool wildcard = name.data[0] == 1 && name.data[1] == '*';
	for (size_t i = 0; !wildcard && i < found.a_count; i++) {
		address_leads_to(table, found.a + 4 * i, 4, name);
	}
	for (size_t i = 0; !wildcard && i < found.aaaa_count; i++) {
		address_leads_to(table, found.aaaa + 16 * i, 16, name);
	}
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct table *table;
	struct document_report report;
	int rc = document_read(&table, (struct span){data, size}, NULL, size, 1 << 24, &report);
	require((rc == 0) == (report.error[0] == '\0'));
	if (rc < 0) {
		return 0;
	}
	jansson_says_the_same((struct span){data, size}, table, &report);
	again_it_is_the_same((struct span){data, size}, table, &report);
	struct table_cursor cursor = {0};
	uint32_t count = 0;
	struct table_addresses addresses;
	struct span name;
	while ((name = table_next(table, &cursor, &addresses)).len > 0) {
		name_is_whole(table, name, &addresses);
		count++;
	}
	require(count == table_count(table));
	table_unref(table);
	return 0;
}
