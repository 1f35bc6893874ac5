/* SPDX-License-Identifier: Apache-2.0
 *
 * A query that we accept is one for ldns too, with the same name, type and OPT; its options lie
 * within it; and the error that any of them is owed is one for ldns.
 */
#include "dns/wire/hop.h"
#include "dns/wire/response.h"

#include <ldns/ldns.h>
#include <stdlib.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void require(bool holds)
{
	if (!holds) {
		abort();
	}
}

static void same_as_ldns(const struct query *q)
{
	ldns_pkt *packet = NULL;
	require(ldns_wire2pkt(&packet, q->message.data, q->message.len) == LDNS_STATUS_OK);
	ldns_rr *question = ldns_rr_list_rr(ldns_pkt_question(packet), 0);
	ldns_rr2canonical(question);
	ldns_rdf *owner = ldns_rr_owner(question);
	require(ldns_rdf_size(owner) == q->qname.len);
	require(memcmp(ldns_rdf_data(owner), q->qname.octets, q->qname.len) == 0);
	require((uint16_t)ldns_rr_get_type(question) == q->qtype);
	require(ldns_pkt_id(packet) == q->id);
	require(ldns_pkt_edns(packet) == q->has_opt);
	require(ldns_pkt_edns_do(packet) == q->edns_do);
	ldns_pkt_free(packet);
}

static void require_within(struct span inner, struct span outer)
{
	require(inner.len == 0 ||
		(inner.data >= outer.data && inner.data + inner.len <= outer.data + outer.len));
}

static void options_are_sound(const struct query *q)
{
	require_within(q->edns.cookie, q->message);
	require_within(q->edns.subnet, q->message);
	require(q->edns.cookie.len <= 40 && q->edns.subnet.len <= EDNS_SUBNET_MAX);
	require(q->has_opt || (q->edns.cookie.len == 0 && q->edns.subnet.len == 0 &&
				      q->edns.keepalive == EDNS_KEEPALIVE_NONE));
	require(q->has_opt || (!q->edns_do && q->udp_size == UDP_LEN_MIN));
}

/* With what a hop adds, over UDP or TCP. */
static void error_reads_back(const struct query *q)
{
	static const struct cookie_secret secret;
	const struct hop hop = {.secret = &secret,
		.peer = {4, {192, 0, 2, 1}},
		.keepalive_ms = q->id & 1 ? 9999 : 0};
	uint8_t octets[UDP_LEN_MIN];
	struct writer out = {.data = octets, .size = sizeof(octets)};
	struct edns_options options;
	ldns_pkt *packet = NULL;
	bool good = hop_options(&options, q, &hop) == 0;
	require(good || (hop.keepalive_ms && q->edns.keepalive == EDNS_KEEPALIVE_MALFORMED));
	require(q->has_opt || options.len == 0);
	size_t len = response_error_with(q, edns_options_span(&options), &out, UDP_LEN_MIN,
		good ? q->rcode : RCODE_FORMERR, EDE_BLOCKED);
	require(ldns_wire2pkt(&packet, octets, len) == LDNS_STATUS_OK);
	require(ldns_pkt_edns(packet) == q->has_opt && ldns_pkt_size(packet) == len);
	require(!q->has_opt ||
		ldns_rdf_size(ldns_pkt_edns_data(packet)) == (size_t)options.len + EDNS_EDE_LEN);
	ldns_pkt_free(packet);
}

/* A question, and OPT at most: ldns reads more into other records than we do. */
static bool is_bare(const struct query *q)
{
	const uint8_t *counts = q->message.data + 6;
	return octets_u16(counts) == 0 && octets_u16(counts + 2) == 0 &&
	       octets_u16(counts + 4) == q->has_opt;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct query q;
	memset(&q, 0xff, sizeof(q));
	bool owed = query_parse(&q, (struct span){data, size}) == 0;
	require(owed == (size >= HEADER_LEN && !(data[2] & 0x80)));
	if (!owed) {
		return 0;
	}
	require(q.udp_size >= UDP_LEN_MIN);
	require(q.question.len == 0 || q.question.len == (size_t)q.qname.len + 4);
	require((query_opcode(&q) != 0) == (q.rcode == RCODE_NOTIMP));
	options_are_sound(&q);
	error_reads_back(&q);
	if (q.rcode == RCODE_NOERROR && is_bare(&q)) {
		require(!q.is_signed);
		same_as_ldns(&q);
	}
	return 0;
}
