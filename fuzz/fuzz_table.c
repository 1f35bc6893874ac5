/* SPDX-License-Identifier: Apache-2.0
 *
 * The table against a list that is searched from end to end: the same names exist, are empty, or
 * are covered by a wildcard. The input is a list of names of few different labels, records first,
 * then the questions.
 */
#include "dns/mesh/table.h"

#include <stdlib.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

enum { RECORDS_MAX = 24 };

/* A name of up to seven labels out of `*`, `a`, `b`, `c`. */
static struct dname name_of(const uint8_t *data)
{
	struct dname name = {0};
	for (unsigned i = 0; i < data[0] % 8U; i++) {
		name.octets[name.len++] = 1;
		name.octets[name.len++] = (uint8_t) "*abc"[(data[1 + i / 4] >> (i % 4 * 2)) & 3];
	}
	name.len++;
	return name;
}

static bool ends_with(const struct dname *name, const uint8_t *suffix, size_t len)
{
	return name->len >= len && memcmp(name->octets + name->len - len, suffix, len) == 0 &&
	       (name->len - len) % 2 == 0;
}

/* The plain reading of RFC 4592; `*record` becomes the one that answers. */
static enum table_found model(
	const struct dname *names, size_t count, const uint8_t *name, size_t len, size_t *record)
{
	enum table_found found = TABLE_ABSENT;
	for (size_t i = 0; i < count && found != TABLE_NAME; i++) {
		if (names[i].len == len && ends_with(&names[i], name, len)) {
			*record = i;
			found = TABLE_NAME;
		} else if (ends_with(&names[i], name, len)) {
			found = TABLE_EMPTY;
		}
	}
	return found;
}

static enum table_found model_lookup(
	const struct dname *names, size_t count, const struct dname *name, size_t *record)
{
	enum table_found found = model(names, count, name->octets, name->len, record);
	for (size_t at = 2; found == TABLE_ABSENT && at < name->len; at += 2) {
		if (model(names, count, name->octets + at, name->len - at, record) !=
			TABLE_ABSENT) {
			uint8_t source[DNAME_MAX + 2] = {1, '*'};
			memcpy(source + 2, name->octets + at, name->len - at);
			return model(names, count, source, name->len - at + 2, record);
		}
	}
	return found;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct dname names[RECORDS_MAX];
	struct table_builder *builder = table_builder_new(size, SIZE_MAX);
	size_t records = size > 0 ? data[0] % RECORDS_MAX : 0;
	size_t count = 0;
	size_t at = 1;
	for (; builder && count < records && at + 3 <= size; at += 3) {
		struct address address = {.len = 4, .octets = {241, 0, 0, (uint8_t)count}};
		names[count] = name_of(data + at);
		if (table_builder_add(builder, &names[count++], &address, 1) < 0) {
			abort();
		}
	}
	struct table *table = builder ? table_builder_finish(builder, 30) : NULL;
	for (; table && at + 3 <= size; at += 3) {
		struct dname name = name_of(data + at);
		struct table_addresses found = {0};
		size_t record = 0;
		enum table_found kind = model_lookup(names, count, &name, &record);
		/* A name that came several times has all its addresses, the first one first. */
		if (table_lookup(table, &name, &found) != kind ||
			(kind == TABLE_NAME && (found.a_count < 1 || found.a[3] != record))) {
			abort();
		}
	}
	table_unref(table);
	return 0;
}
