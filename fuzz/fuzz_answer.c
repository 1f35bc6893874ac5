/* SPDX-License-Identifier: Apache-2.0
 *
 * answer() as a whole: silence only where it is due, a response that ldns reads and that belongs to
 * the query, nothing of a mesh zone forwarded.
 */
#include "dns/serve/answer.h"

#include "dns/wire/response.h"

#include <ldns/ldns.h>
#include <stdlib.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static struct table *table;
static struct mesh_zones zones;

static void require(bool holds)
{
	if (!holds) {
		abort();
	}
}

static struct dname name_of(const char *text)
{
	struct dname name;
	require(dname_from_text(&name, text, strlen(text)) == 0);
	return name;
}

static void set_up(void)
{
	static const char *const names[] = {
		"a.mesh", "*.w.mesh", "db.example.com", "x.y.mesh.local"};
	struct table_builder *b = table_builder_new(1, 1 << 20);
	for (uint8_t i = 0; i < 200; i++) {
		struct dname name = name_of(names[i % 4]);
		struct address both[2] = {{4, {241, 0, 0, i}}, {16, {[15] = i}}};
		require(table_builder_add(b, &name, both, 1 + (i & 1)) == 0);
	}
	table = table_builder_finish(b, 30);
	zones = (struct mesh_zones){.count = 2, .item = {name_of("mesh"), name_of("mesh.local")}};
}

static void belongs(const struct query *q, struct span response)
{
	ldns_pkt *packet = NULL;
	require(ldns_wire2pkt(&packet, response.data, response.len) == LDNS_STATUS_OK);
	require(ldns_pkt_size(packet) == response.len);
	require(ldns_pkt_id(packet) == q->id && ldns_pkt_qr(packet));
	require((uint8_t)ldns_pkt_get_opcode(packet) == query_opcode(q));
	require(ldns_pkt_edns(packet) == q->has_opt);
	require(q->question.len == 0 ||
		memcmp(response.data + HEADER_LEN, q->question.data, q->question.len) == 0);
	ldns_pkt_free(packet);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	static uint8_t octets[4096];
	struct query q;
	if (!table) {
		set_up();
	}
	for (unsigned way = 0; way < 4; way++) { /* UDP and TCP, with a table and before it */
		struct authority authority = {way & 1 ? table : NULL, &zones, (uint32_t)size};
		struct writer out = {.data = octets, .size = sizeof(octets)};
		enum verdict verdict = answer(&q, (struct span){data, size}, &authority,
			way & 2 ? sizeof(octets) : 0, &out);
		require((verdict == VERDICT_DROP) == (size < HEADER_LEN || (data[2] & 0x80)));
		require((verdict == VERDICT_SEND) == (out.len > 0));
		if (verdict == VERDICT_SEND) {
			require(out.len <= (way & 2 ? sizeof(octets) : q.udp_size));
			belongs(&q, (struct span){octets, out.len});
		} else if (verdict == VERDICT_FORWARD) {
			require(q.rcode == RCODE_NOERROR && q.question.len > 0);
			require(!dname_is_under(&q.qname, &zones.item[0]));
			require(!dname_is_under(&q.qname, &zones.item[1]));
		}
	}
	return 0;
}
