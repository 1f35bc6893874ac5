/* SPDX-License-Identifier: Apache-2.0
 *
 * Text becomes a name, and the name text that gives the same name; names from the wire likewise.
 */
#include "dns/wire/dname.h"

#include <stdlib.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void require(bool holds)
{
	if (!holds) {
		abort();
	}
}

static void comes_back(const struct dname *name)
{
	char text[DNAME_TEXT_SIZE];
	struct dname again;
	size_t len = dname_to_text(dname_span(name), text);
	require(len < DNAME_TEXT_SIZE && strlen(text) == len);
	require(dname_from_text(&again, text, len) == 0);
	require(again.len == name->len && memcmp(again.octets, name->octets, name->len) == 0);
	require(dname_is_under(name, &again));
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct dname name;
	struct address address;
	if (dname_from_text(&name, (const char *)data, size) == 0) {
		comes_back(&name);
	}
	if (size == 0) {
		return 0;
	}
	struct reader r = reader_over((struct span){data + 1, size - 1});
	r.at = data[0] % size;
	struct reader skipped = r;
	if (dname_read(&name, &r) == 0) {
		comes_back(&name);
		require(dname_skip(&skipped) == 0 && skipped.at == r.at);
		size_t len = dname_reverse_address(&name, &address);
		require(len == 0 || len == address.len);
	}
	return 0;
}
