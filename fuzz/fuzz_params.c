/* SPDX-License-Identifier: Apache-2.0
 *
 * What is read of a query string is inside its bounds, and says the same when it is written again.
 */
#include "dns/admin/params.h"

#include <stdlib.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

enum { COUNT = 2 };

static void write_again(struct writer *w, const struct param *param)
{
	writer_octets(w, w->len ? "&" : "", w->len ? 1 : 0);
	writer_octets(w, param->key, strlen(param->key));
	writer_u8(w, '=');
	for (size_t i = 0; i < param->len; i++) {
		uint8_t octet = (uint8_t)param->value[i];
		writer_u8(w, '%');
		writer_u8(w, (uint8_t) "0123456789abcdef"[octet >> 4]);
		writer_u8(w, (uint8_t) "0123456789ABCDEF"[octet & 15]);
	}
}

static bool same(const struct param *a, const struct param *b)
{
	return a->given == b->given && a->len == b->len && a->len < PARAM_SIZE &&
	       a->value[a->len] == '\0' && memcmp(a->value, b->value, a->len) == 0;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	static uint8_t octets[COUNT * (8 + 3 * PARAM_SIZE)];
	static struct param first[COUNT], second[COUNT];
	struct writer again = {.data = octets, .size = sizeof(octets)};
	first[0].key = second[0].key = "name";
	first[1].key = second[1].key = "type";
	if (!params_read((struct span){.data = data, .len = size}, first, COUNT)) {
		return 0;
	}
	for (size_t i = 0; i < COUNT; i++) {
		if (first[i].given) {
			write_again(&again, &first[i]);
		}
	}
	if (again.fault || !params_read((struct span){octets, again.len}, second, COUNT) ||
		!same(&first[0], &second[0]) || !same(&first[1], &second[1])) {
		abort();
	}
	return 0;
}
