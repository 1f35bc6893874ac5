/* SPDX-License-Identifier: Apache-2.0
 *
 * Whatever an upstream sends: what we pass on fits, is a response to the question that was asked,
 * and relayed once more stays as it is. The first two octets of the input say who asks.
 */
#include "dns/wire/relay.h"

#include <stdlib.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void require(bool holds)
{
	if (!holds) {
		abort();
	}
}

/* A requestor that asks for what the response says it answers. */
static bool asker_of(struct asker *a, const uint8_t *who, struct span response)
{
	uint8_t octets[HEADER_LEN + DNAME_MAX + 4] = {0x12, 0x34, who[1] & 1, who[1] & 0x30, 0, 1};
	struct reader r = reader_over(response);
	struct dname name;
	struct query q;
	(void)reader_span(&r, HEADER_LEN);
	if (r.fault || dname_read(&name, &r) || reader_left(&r) < 4) {
		return false;
	}
	memcpy(octets + HEADER_LEN, name.octets, name.len);
	memcpy(octets + HEADER_LEN + name.len, r.data + r.at, 4);
	require(query_parse(&q, (struct span){octets, (size_t)HEADER_LEN + name.len + 4}) == 0);
	q.has_opt = (who[0] & 1) != 0;
	q.edns_do = (who[0] & 3) == 3;
	asker_init(a, &q, who[0] & 4 ? 512 + (size_t)who[1] * 4 : UINT16_MAX);
	return true;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	enum { ROOM = 65535 + 512 };
	static uint8_t once[ROOM];
	static uint8_t twice[ROOM];
	struct asker a;
	struct relayed r;
	if (size < 2 || !asker_of(&a, data, (struct span){data + 2, size - 2}) ||
		relayed_read(&r, (struct span){data + 2, size - 2}, &a)) {
		return 0;
	}
	struct writer out = {.data = once, .size = ROOM};
	struct span first = {once, relay_response(&r, &a, &out)};
	require(first.len == out.len && first.len <= a.limit);
	require(octets_u16(once) == a.id && (once[2] & 0x80) && octets_u16(once + 4) == 1);
	require(memcmp(once + HEADER_LEN, a.question, a.question_len) == 0);

	require(relayed_read(&r, first, &a) == 0 && r.end == first.len);
	require((r.opt_at != 0) == a.has_opt);
	out = (struct writer){.data = twice, .size = ROOM};
	require(relay_response(&r, &a, &out) == first.len);
	require(memcmp(once, twice, first.len) == 0);
	return 0;
}
