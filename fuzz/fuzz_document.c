/* SPDX-License-Identifier: Apache-2.0
 *
 * A table that was made of a document is whole: each of its names is found, with the addresses that
 * the walk gives, and each address leads back to the name unless that is a wildcard.
 */
#include "dns/mesh/document.h"

#include <stdlib.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void require(bool condition)
{
	if (!condition) {
		abort();
	}
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
	int rc = document_read(&table, (struct span){data, size}, size, 1 << 24, &report);
	require((rc == 0) == (report.error[0] == '\0'));
	if (rc < 0) {
		return 0;
	}
	uint32_t cursor = 0;
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
