/* SPDX-License-Identifier: Apache-2.0
 *
 * The input is the RDATA of an OPT. What we take from it we can write, and it reads back the same;
 * spans lie within the input. ldns's reader of options accepts what ours does.
 */
#include "dns/wire/edns.h"

#include <ldns/ldns.h>
#include <stdlib.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

enum { ROOM = 65535 + 64 };
static uint8_t octets[ROOM];

static void require(bool holds)
{
	if (!holds) {
		abort();
	}
}

static void require_same(struct span a, struct span b)
{
	require(a.len == b.len && (a.len == 0 || memcmp(a.data, b.data, a.len) == 0));
}

static void require_within(struct span inner, const uint8_t *data, size_t size)
{
	require(inner.len == 0 || (inner.data >= data && inner.data + inner.len <= data + size));
}

/* The options of the OPT that stands at the start of `octets`. */
static struct span options_written(const struct writer *w)
{
	require(!w->fault && octets_u16(octets + OPT_LEN - 2) == w->len - OPT_LEN);
	return (struct span){octets + OPT_LEN, w->len - OPT_LEN};
}

static void query_comes_back(const struct edns_query *e)
{
	struct writer w = {.data = octets, .size = ROOM};
	struct edns_query again;
	size_t at = edns_begin(&w, 1232, 0, false);
	edns_put_subnet(&w, e->subnet, 0);
	if (e->cookie.len == 24) {
		edns_put_cookie(&w, e->cookie.data);
	}
	if (e->keepalive == EDNS_KEEPALIVE_ASKED) {
		edns_put_keepalive(&w, 10000);
	}
	edns_end(&w, at);
	require(edns_query_read(&again, options_written(&w)) == 0);
	require_same(e->subnet, again.subnet);
	require(again.cookie.len == (e->cookie.len == 24 ? 24 : 0));
	require(e->cookie.len != 24 || memcmp(e->cookie.data, again.cookie.data, 24) == 0);
	require((e->keepalive == EDNS_KEEPALIVE_ASKED) ==
		(again.keepalive == EDNS_KEEPALIVE_ASKED));
}

static void response_comes_back(const struct edns_response *e)
{
	struct writer w = {.data = octets, .size = ROOM};
	struct edns_response again;
	size_t at = edns_begin(&w, 1232, 0, true);
	edns_put_subnet(&w, e->subnet, edns_subnet_scope(e->subnet));
	for (unsigned i = 0; i < e->ede_count; i++) {
		edns_put_ede(&w, e->ede[i].code, e->ede[i].text);
	}
	edns_end(&w, at);
	edns_response_read(&again, options_written(&w));
	require_same(e->subnet, again.subnet);
	require(edns_subnet_answers(e->subnet, again.subnet));
	require(e->ede_count == again.ede_count);
	for (unsigned i = 0; i < e->ede_count; i++) {
		require(e->ede[i].code == again.ede[i].code);
		require_same(e->ede[i].text, again.ede[i].text);
	}
}

static bool ldns_reads(const uint8_t *data, size_t size)
{
	ldns_rdf *rdf = ldns_rdf_new_frm_data(LDNS_RDF_TYPE_NONE, size, data);
	ldns_pkt *packet = ldns_pkt_new();
	require(rdf && packet);
	ldns_pkt_set_edns_data(packet, rdf);
	ldns_edns_option_list *list = ldns_pkt_edns_get_option_list(packet);
	ldns_pkt_free(packet);
	return list != NULL;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct edns_query query;
	struct edns_response response;
	if (size > UINT16_MAX) {
		return 0;
	}
	struct span rdata = {data, size};
	bool good = edns_query_read(&query, rdata) == 0;
	if (good) {
		require(query.subnet.len == 0 || query.subnet.len >= 8);
		require(query.subnet.len <= EDNS_SUBNET_MAX);
		require(query.cookie.len <= 40);
		require_within(query.subnet, data, size);
		require_within(query.cookie, data, size);
		require(size == 0 || ldns_reads(data, size));
		query_comes_back(&query);
	}
	edns_response_read(&response, rdata);
	require_within(response.subnet, data, size);
	for (unsigned i = 0; i < response.ede_count; i++) {
		require_within(response.ede[i].text, data, size);
	}
	response_comes_back(&response);
	return 0;
}
