/* SPDX-License-Identifier: Apache-2.0
 *
 * What is taken for a request lies inside its octets, and its path can be compared and logged.
 */
#include "dns/admin/httpd.h"

#include <stdlib.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void check(struct span part, const uint8_t *data, size_t size)
{
	if (part.len > 0 && (part.data < data || part.data + part.len > data + size)) {
		abort();
	}
	for (size_t i = 0; i < part.len; i++) {
		if (part.data[i] <= ' ' || part.data[i] > '~') {
			abort();
		}
	}
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct httpd_request request;
	unsigned status = httpd_request_parse(&request, (struct span){.data = data, .len = size});
	if (status == 200) {
		check(request.path, data, size);
		check(request.query, data, size);
		if (request.path.len == 0 || request.path.data[0] != '/') {
			abort();
		}
	} else if (status != 400 && status != 505) {
		abort();
	}
	return 0;
}
