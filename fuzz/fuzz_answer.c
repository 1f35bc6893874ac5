/* SPDX-License-Identifier: Apache-2.0
 *
 * answer() as a whole: silence only where it is due, a response that ldns reads and that belongs to
 * the query, nothing of a mesh zone or of a policy zone forwarded; with a cache and without, with a
 * table and before it. What asks to be explained is explained.
 */
#include "dns/serve/answer.h"

#include "dns/serve/explain.h"
#include "dns/serve/special.h"
#include "dns/wire/response.h"

#include <ldns/ldns.h>
#include <stdlib.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static struct table *table;
static struct mesh_zones zones;
static struct routes *routes;
static struct cache *cache;
static const struct cookie_secret secret;

enum { NOW_MS = 1000000, LIMIT = 4096 };

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

static void add_zone(const char *text, enum route_answer answer)
{
	struct dname zone = name_of(text);
	struct route *route = routes_add(routes, &zone);
	require(route != NULL);
	route->configured = true;
	route->answer = answer;
}

/* Remember a response with these octets behind its question, or a failure where there are none. */
static void remember(
	const char *text, uint16_t type, uint16_t flags, const char *octets, size_t len)
{
	uint8_t message[512];
	struct writer w = {.data = message, .size = sizeof(message)};
	struct dname name = name_of(text);
	struct query q;
	struct asker asker;
	struct relayed r;
	static const uint16_t header[] = {0, FLAG_RD, 1, 0, 0, 0};
	for (size_t i = 0; i < 6; i++) {
		writer_u16(&w, header[i]);
	}
	writer_octets(&w, name.octets, name.len);
	writer_u16(&w, type);
	writer_u16(&w, CLASS_IN);
	require(query_parse(&q, (struct span){message, w.len}) == 0 && q.rcode == 0);
	asker_init(&asker, &q, LIMIT, NULL);
	struct cache_key key = cache_key_query(&q, (struct span){0});
	if (len == 0) {
		cache_put_failure(
			cache, &key, RCODE_SERVFAIL, EDE_NETWORK_ERROR, NOW_MS, NOW_MS + 1000);
		return;
	}
	octets_put_u16(message + 2, (uint16_t)(FLAG_QR | FLAG_RD | FLAG_RA | flags));
	octets_put_u16(message + (flags ? 8 : 6), 1);
	writer_octets(&w, octets, len);
	require(relayed_read(&r, (struct span){message, w.len}, &asker) == 0);
	require(cache_put(cache, &key, &r, NOW_MS));
}

static void set_up_others(void)
{
	static const char a[] = "\xc0\x0c\0\1\0\1\0\0\0\x64\0\4\xc0\0\2\7";
	static const char soa[] = "\0\0\6\0\1\0\0\0\x64\0\x16\0\0\0\0\0\1\0\0\0\1\0\0\0\1\0"
				  "\0\0\1\0\0\0\x64";
	const struct cache_settings settings = {.size = CACHE_SIZE_MIN,
		.ttl_max = CACHE_TTL_MAX,
		.negative_ttl_max = CACHE_NEGATIVE_TTL_MAX,
		.stale_max = CACHE_STALE_MAX,
		.nxdomain_covers = true};
	struct endpoint server = {.len = sizeof(server.in), .in.sin_family = AF_INET};
	routes = routes_new();
	cache = cache_new(&settings);
	require(routes && cache);
	require(routes_add_server(routes, &routes->route[0], &server, false, 0x0123456789abcdef) ==
		0);
	add_zone("r.example", ROUTE_REFUSE);
	add_zone("n.example", ROUTE_NXDOMAIN);
	add_zone("o.r.example", ROUTE_FORWARD);
	add_zone("test", ROUTE_FORWARD);
	routes->search[routes->search_count++] = name_of("cluster.local");
	remember("www.example", TYPE_A, 0, a, sizeof(a) - 1);
	remember("nx.example", TYPE_A, RCODE_NXDOMAIN, soa, sizeof(soa) - 1);
	remember("f.example", TYPE_A, 0, NULL, 0);
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
	set_up_others();
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

/* Only what nobody here has an answer for goes on. */
static void may_go_on(const struct query *q)
{
	static const char *const kept[] = {"mesh", "mesh.local", "r.example", "n.example"};
	struct dname open = name_of("o.r.example");
	require(q->rcode == RCODE_NOERROR && q->question.len > 0);
	for (size_t i = 0; i < sizeof(kept) / sizeof(kept[0]); i++) {
		struct dname zone = name_of(kept[i]);
		require(!dname_is_under(&q->qname, &zone) || dname_is_under(&q->qname, &open));
	}
}

static void explain_it(const struct query *q, const struct authority *authority,
	const struct answered *answered, size_t limit)
{
	static uint8_t octets[LIMIT];
	struct endpoint peer = {.len = sizeof(peer.in), .in.sin_family = AF_INET};
	struct worker_inside inside = {.authority = *authority};
	struct writer out = {.data = octets, .size = sizeof(octets)};
	peer.in.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
	explain_query(&inside, q, &answered->options, &peer, limit, &out);
	require(out.len >= HEADER_LEN && out.len <= limit);
	belongs(q, (struct span){octets, out.len});
}

/* The ways: UDP or TCP, with a table or before it, with a cache or without. */
static void ask(struct span message, unsigned way)
{
	static uint8_t octets[LIMIT];
	struct query q;
	struct answered answered;
	struct authority authority = {
		.table = way & 1 ? table : NULL,
		.zones = &zones,
		.routes = routes,
		.cache = way & 4 ? cache : NULL,
		.prefetch = true,
		.can_pass = way & 8,
		.elsewhere = way & 4,
		.special_groups = SPECIAL_ALL,
		.hop = {.secret = &secret, .peer = {.len = 4}, .keepalive_ms = way & 2 ? 1000 : 0},
		.rotation = (uint32_t)message.len,
		.now_ms = NOW_MS + 500,
	};
	struct writer out = {.data = octets, .size = sizeof(octets)};
	size_t limit = way & 2 ? sizeof(octets) : 0;
	enum verdict verdict = answer(&q, message, &authority, limit, &out, &answered);
	bool sent =
		verdict == VERDICT_SEND || verdict == VERDICT_REFRESH || verdict == VERDICT_CANARY;
	require((verdict == VERDICT_DROP) ==
		(message.len < HEADER_LEN || (message.data[2] & 0x80)));
	require(sent == (out.len > 0));
	require(answered.source == SOURCE_LOCAL || ((way & 4) && sent));
	limit = limit ? limit : q.udp_size < LIMIT ? q.udp_size : LIMIT;
	if (sent) {
		require(out.len <= limit);
		belongs(&q, (struct span){octets, out.len});
	} else if (verdict == VERDICT_FORWARD) {
		may_go_on(&q);
	} else if (verdict == VERDICT_PASS) {
		require(authority.can_pass);
		require(q.rcode == RCODE_NOTIMP || authority.elsewhere || q.qtype == TYPE_AXFR ||
			q.qtype == TYPE_IXFR);
		if (q.rcode != RCODE_NOTIMP) {
			may_go_on(&q);
		}
	} else if (verdict == VERDICT_EXPLAIN) {
		explain_it(&q, &authority, &answered, limit);
	}
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	if (!table) {
		set_up();
	}
	for (unsigned way = 0; way < 16; way++) {
		ask((struct span){data, size}, way);
	}
	return 0;
}
