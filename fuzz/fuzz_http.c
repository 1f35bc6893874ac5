/* SPDX-License-Identifier: Apache-2.0
 *
 * However the octets of a response are cut into pieces, the result is the same; and no body is
 * larger than was allowed.
 */
#include "dns/mesh/http.h"

#include <stdlib.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

enum { LIMIT = 1000 };

/* Feed `step` octets at a time. @return what http_feed or http_end said last */
static int feed(
	struct http_response *response, const uint8_t *data, size_t size, size_t step, size_t *used)
{
	http_init(response, LIMIT);
	int rc = 0;
	*used = 0;
	while (rc == 0 && *used < size && !http_is_complete(response)) {
		size_t taken = 0;
		size_t len = size - *used < step ? size - *used : step;
		rc = http_feed(response, (struct span){data + *used, len}, &taken);
		*used += taken;
	}
	return rc == 0 ? http_end(response) : rc;
}

static bool is_equal(const struct http_response *a, const struct http_response *b)
{
	return a->status == b->status && a->keep_alive == b->keep_alive &&
	       strcmp(a->etag, b->etag) == 0 && a->body_len == b->body_len &&
	       (a->body_len == 0 || memcmp(a->body, b->body, a->body_len) == 0);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	static struct http_response whole;
	static struct http_response pieces;
	size_t whole_used;
	size_t pieces_used;
	int rc = feed(&whole, data, size, size, &whole_used);
	int pieces_rc = feed(&pieces, data, size, 1 + size % 3, &pieces_used);
	if (rc != pieces_rc || whole.body_len > LIMIT ||
		(rc == 0 && (whole_used != pieces_used || !is_equal(&whole, &pieces)))) {
		abort();
	}
	http_free(&whole);
	http_free(&pieces);
	return 0;
}
