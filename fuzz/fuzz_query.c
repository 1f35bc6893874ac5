/* SPDX-License-Identifier: Apache-2.0
 *
 * A query that we accept is one for ldns too, with the same name, type and OPT; and none is
 * accepted twice differently.
 */
#include "dns/wire/query.h"

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

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct query q;
	bool owed = query_parse(&q, (struct span){data, size}) == 0;
	require(owed == (size >= HEADER_LEN && !(data[2] & 0x80)));
	if (!owed) {
		return 0;
	}
	require(q.udp_size >= UDP_LEN_MIN);
	require(q.question.len == 0 || q.question.len == (size_t)q.qname.len + 4);
	require((query_opcode(&q) != 0) == (q.rcode == RCODE_NOTIMP));
	if (q.rcode == RCODE_NOERROR && !q.has_other) {
		same_as_ldns(&q);
	}
	return 0;
}
