/* SPDX-License-Identifier: Apache-2.0
 *
 * Whatever an upstream sends: what we pass on fits, is a response to the question that was asked,
 * has of upstream's options only the scope of the requestor's own subnet and extended errors, and
 * relayed once more stays as it is. The first two octets of the input say who asks.
 */
#include "dns/wire/relay.h"

#include <ldns/ldns.h>
#include <stdlib.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

enum { ROOM = 65535 + RELAY_GROWTH_MAX };

static const struct edns_options some_options = {
	EDNS_OPTIONS_MAX, "\0\12\0\30clientckserver-cookie!!!\0\13\0\2\0\144"};
static uint8_t some_subnet[EDNS_SUBNET_MAX] = "\0\10\0\7\0\1\30\0\300\0\2";

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
	if ((who[0] & 9) == 9) {
		q.edns.subnet = (struct span){some_subnet, 11};
	}
	asker_init(a, &q, who[0] & 4 ? 512 + (size_t)who[1] * 4 : UINT16_MAX,
		(who[0] & 0x11) == 0x11 ? &some_options : NULL);
	return true;
}

/* The subnet of the response, if it has one: so that it can be the right one. */
static void ask_with_its_subnet(struct asker *a, struct span response)
{
	struct edns_response edns;
	struct asker without = *a;
	struct relayed r;
	without.subnet_len = 0;
	if (a->subnet_len == 0 || relayed_read(&r, response, &without) || r.opt_at == 0) {
		return;
	}
	edns_response_read(
		&edns, (struct span){response.data + r.opt_at + OPT_LEN, r.opt_len - OPT_LEN});
	if (edns.subnet.len > 0) {
		struct writer w = {.data = a->subnet, .size = sizeof(a->subnet)};
		edns_put_subnet(&w, edns.subnet, 0);
		a->subnet_len = (uint8_t)w.len;
	}
}

/* ldns reads it, with what a server may know, and nothing else. */
static void query_is_sound(const struct asker *a)
{
	uint8_t octets[RELAY_QUERY_MAX];
	struct writer out = {.data = octets, .size = sizeof(octets)};
	struct query q;
	ldns_pkt *packet = NULL;
	size_t len = relay_query(a, 0x4321, a->has_opt, &out);
	require(len > 0 && query_parse(&q, (struct span){octets, len}) == 0);
	require(q.rcode == RCODE_NOERROR && (q.flags & FLAG_AD) && q.has_opt == a->has_opt);
	require(q.edns.cookie.len == 0 && q.edns.keepalive == EDNS_KEEPALIVE_NONE);
	require(q.edns.subnet.len == a->subnet_len);
	require(ldns_wire2pkt(&packet, octets, len) == LDNS_STATUS_OK);
	ldns_pkt_free(packet);
}

/* OPT ends the message: our options, the subnet, errors; ldns reads it behind the question. */
static void opt_is_sound(const struct asker *a, struct span opt, struct span message)
{
	static uint8_t bare[ROOM];
	size_t start = HEADER_LEN + (size_t)a->question_len;
	ldns_pkt *packet = NULL;
	memcpy(bare, message.data, start);
	memcpy(bare + 6, "\0\0\0\0\0\1", 6);
	memcpy(bare + start, opt.data, opt.len);
	require(ldns_wire2pkt(&packet, bare, start + opt.len) == LDNS_STATUS_OK);
	require(ldns_pkt_edns(packet) && ldns_pkt_edns_do(packet) == a->edns_do);
	ldns_pkt_free(packet);

	struct reader r = reader_over(opt);
	(void)reader_span(&r, OPT_LEN);
	struct span ours = reader_span(&r, a->options.len);
	require(!r.fault && memcmp(ours.data, a->options.octets, ours.len) == 0);
	struct span subnet = reader_span(&r, a->subnet_len);
	require(!r.fault && edns_subnet_answers(asker_subnet(a), subnet));
	while (reader_left(&r) > 0) {
		require(reader_u16(&r) == 15);
		(void)reader_span(&r, reader_u16(&r));
		require(!r.fault);
	}
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	static uint8_t once[ROOM];
	static uint8_t twice[ROOM];
	struct asker a;
	struct relayed r;
	if (size < 2 || !asker_of(&a, data, (struct span){data + 2, size - 2})) {
		return 0;
	}
	const struct span response = {data + 2, size - 2};
	ask_with_its_subnet(&a, response);
	query_is_sound(&a);
	if (relayed_read(&r, response, &a)) {
		return 0;
	}
	struct writer out = {.data = once, .size = response.len + RELAY_GROWTH_MAX};
	struct span first = {once, relay_response(&r, &a, &out)};
	require(first.len == out.len && first.len <= a.limit);
	require(octets_u16(once) == a.id && (once[2] & 0x80) && octets_u16(once + 4) == 1);
	require(memcmp(once + HEADER_LEN, a.question, a.question_len) == 0);
	require(!(octets_u16(once + 2) & FLAG_TC) || (r.flags & FLAG_TC) ||
		response.len + RELAY_GROWTH_MAX > a.limit);

	require(relayed_read(&r, first, &a) == 0 && r.end == first.len);
	require((r.opt_at != 0) == a.has_opt);
	if (a.has_opt) {
		require(r.opt_at + r.opt_len == first.len);
		opt_is_sound(&a, (struct span){once + r.opt_at, r.opt_len}, first);
	}
	out = (struct writer){.data = twice, .size = ROOM};
	require(relay_response(&r, &a, &out) == first.len);
	require(memcmp(once, twice, first.len) == 0);

	relay_lower_ttls(twice, first.len, 60);
	require(relayed_read(&r, (struct span){twice, first.len}, &a) == 0 && r.ttl_max <= 60);
	return 0;
}
